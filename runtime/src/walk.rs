//! Walking the kernel's lists. A walk ends: at the head, at a fault, or when it finds that it goes round in circles.
//!
//! What a list is made of is said by an accessor: `head.entries(task_struct::tasks)`.

use crate::fault::{Fault, FaultKind};
use crate::memory::Memory;
use crate::view::{Ptr, View};

/// A node of a list that is embedded in its entries. Crate `kernel` implements it for `list_head` and `hlist_node`.
pub trait Node<'m>: View<'m> {
    /// The address of the next node.
    fn next_node(self) -> u64;

    /// Whether an address is no node but the list's end, apart from the head.
    fn is_end(address: u64) -> bool;
}

/// The entries of a list.
pub struct Entries<'m, T, N, F> {
    memory: &'m Memory,
    member: F,
    offset: u64,
    /// Where a circular list ends; 0 for others.
    head: u64,
    current: u64,
    cycle: CycleGuard,
    /// What ended the walk, to be handed out after the last entry.
    fault: Option<Fault>,
    types: std::marker::PhantomData<fn() -> (T, N)>,
}

impl<'m, T: View<'m>, N: Node<'m>, F: Fn(T) -> N> Entries<'m, T, N, F> {
    /// A walk from the node at `first` up to `head`.
    #[inline]
    pub fn new(memory: &'m Memory, head: u64, first: u64, member: F) -> Self {
        let offset = member(T::phantom(memory)).addr();
        Entries {
            memory,
            member,
            offset,
            head,
            current: first,
            cycle: CycleGuard::new(first),
            fault: None,
            types: std::marker::PhantomData,
        }
    }
}

impl<'m, T: View<'m>, N: Node<'m>, F: Fn(T) -> N> Iterator for Entries<'m, T, N, F> {
    type Item = Result<T, Fault>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let node = self.current;
        if node == self.head || N::is_end(node) {
            return self.fault.take().map(Err);
        }
        let address = self.memory.wrap(node.wrapping_sub(self.offset));
        let entry = T::at(self.memory, address).map_err(|fault| match node {
            // The fault is the link's, not that of what would lie around it.
            0 => Fault {
                address: 0,
                kind: FaultKind::Null,
            },
            _ => fault,
        });
        let next = match entry {
            Ok(entry) => Ok((self.member)(entry).next_node()),
            // The entry can't be read as a whole; its link perhaps can.
            Err(_) => N::at(self.memory, node).map(N::next_node),
        };
        match next {
            Ok(next) if next != self.head && !N::is_end(next) && self.cycle.step(next) => {
                self.current = self.head;
                self.fault = Some(Fault {
                    address: next,
                    kind: FaultKind::Cycle,
                });
            }
            Ok(next) => self.current = next,
            Err(_) => self.current = self.head,
        }
        Some(entry)
    }
}

/// Structs that point to the next of their kind, up to the null pointer: `dev_base`, then each `next`.
///
/// A chain that goes round in circles ends with a fault.
pub fn chain<'m, T: View<'m>>(
    first: Result<Ptr<'m, T>, Fault>,
    next: impl Fn(T) -> Ptr<'m, T>,
) -> impl Iterator<Item = Result<T, Fault>> {
    let mut cycle = CycleGuard::new(0);
    let mut current = Some(first);
    std::iter::from_fn(move || {
        let pointer = match current.take()? {
            Ok(pointer) if pointer.is_null() => return None,
            Ok(pointer) => pointer,
            Err(fault) => return Some(Err(fault)),
        };
        if cycle.step(pointer.addr()) {
            return Some(Err(Fault {
                address: pointer.addr(),
                kind: FaultKind::Cycle,
            }));
        }
        let value = pointer.deref();
        if let Ok(value) = value {
            current = Some(Ok(next(value)));
        }
        Some(value)
    })
}

/// Finds out that a walk goes round in circles, in constant space and one comparison a step (Brent's algorithm).
struct CycleGuard {
    mark: u64,
    steps: u64,
    limit: u64,
}

impl CycleGuard {
    fn new(start: u64) -> Self {
        CycleGuard {
            mark: start,
            steps: 0,
            limit: 1,
        }
    }

    /// Takes a step; says whether it leads to where the walk has been.
    #[inline]
    fn step(&mut self, address: u64) -> bool {
        if address == self.mark {
            return true;
        }
        self.steps += 1;
        if self.steps == self.limit {
            self.steps = 0;
            self.limit *= 2;
            self.mark = address;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::CycleGuard;

    /// Walks `next` from 0 and returns after how many steps the guard speaks up.
    fn steps_until_found(next: impl Fn(u64) -> u64, most: u64) -> Option<u64> {
        let mut guard = CycleGuard::new(0);
        let mut at = 0;
        for step in 1..=most {
            at = next(at);
            if guard.step(at) {
                return Some(step);
            }
        }
        None
    }

    #[test]
    fn every_cycle_is_found_soon() {
        for tail in 0..40 {
            for length in 1..40 {
                let next = |at| {
                    if at + 1 == tail + length {
                        tail
                    } else {
                        at + 1
                    }
                };
                let found = steps_until_found(next, 10_000);
                assert!(
                    found.is_some_and(|steps| steps <= 4 * (tail + length)),
                    "{tail}+{length}: {found:?}"
                );
            }
        }
    }

    #[test]
    fn a_straight_walk_is_left_alone() {
        assert_eq!(steps_until_found(|at| at + 1, 100_000), None);
    }
}

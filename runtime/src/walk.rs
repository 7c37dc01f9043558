//! Walking the kernel's containers. A walk ends: at the head, at a fault, or when it finds that it goes round in circles.
//!
//! What a list is made of is said by an accessor: `head.entries(task_struct::tasks)`. Lists are here, the rest is in modules.

pub mod free_list;
pub mod maple;
mod parallel;
pub mod radix;
pub mod rbtree;
mod ring;

pub use parallel::{par_index, par_walk, set_bits};
pub use ring::Ring;

use crate::fault::{Fault, FaultKind};
use crate::memory::Memory;
use crate::view::{Part, Ptr, View};

/// A node of a list that is embedded in its entries. Crate `kernel` implements it for `list_head` and `hlist_node`.
pub trait Node<'m>: View<'m> {
    /// The address of the next node.
    fn next_node(self) -> u64;

    /// Whether an address is no node but the list's end, apart from the head.
    fn is_end(address: u64) -> bool;

    /// Whether nodes, and the head, lead back to the one before.
    const IS_DOUBLE: bool = false;

    /// The address of the node before, of the last one for the head: where they lead back.
    fn node_before(self) -> u64 {
        0
    }
}

/// The entries of a list. Where nodes lead back to the one before, a list is whole only if each does: one that was cut short or that skips
/// entries has a fault ([`FaultKind::Inconsistent`]) after the last entry, at the first node that doesn't.
pub struct Entries<'m, T, N> {
    memory: &'m Memory,
    /// Of the node in an entry.
    offset: u64,
    /// Where a circular list ends; 0 for others.
    head: u64,
    current: u64,
    /// The node that led to the current one, if the list is sound so far.
    before: u64,
    /// Whether the list is one with links back, and all of them were right so far: then no node was met twice, as it would have two
    /// before it. Not so any more when the head's was looked at.
    is_sound: bool,
    cycle: CycleGuard,
    /// What ended the walk, to be handed out after the last entry.
    fault: Option<Fault>,
    types: std::marker::PhantomData<fn() -> (T, N)>,
}

impl<'m, T: View<'m>, N: Node<'m>> Entries<'m, T, N> {
    /// A walk from the node at `first` up to `head`.
    #[inline]
    pub fn new(memory: &'m Memory, head: u64, first: u64, member: impl Fn(T) -> N) -> Self {
        Entries {
            memory,
            offset: member(T::phantom(memory)).addr(),
            head,
            current: first,
            before: head,
            is_sound: N::IS_DOUBLE,
            cycle: CycleGuard::new(first),
            fault: None,
            types: std::marker::PhantomData,
        }
    }
}

impl<'m, T: View<'m>, N: Node<'m>> Entries<'m, T, N> {
    /// Whether there are no more entries.
    #[inline]
    pub fn is_at_end(&self) -> bool {
        (self.current == self.head || N::is_end(self.current))
            && self.fault.is_none()
            && !self.head_contradicts()
    }

    /// What ended the walk that is over: the head, or the mark of the list's end (that of an `hlist_nulls` says whose it is). After a fault
    /// it is the head.
    pub fn end(&self) -> u64 {
        self.current
    }

    /// Whether the head doesn't lead back to the node that led to it.
    #[inline]
    fn head_contradicts(&self) -> bool {
        self.is_sound
            && N::at(self.memory, self.head).is_ok_and(|head| head.node_before() != self.before)
    }
}

impl<'m, T: View<'m>, N: Node<'m>> Iterator for Entries<'m, T, N> {
    type Item = Result<T, Fault>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let node = self.current;
        if node == self.head || N::is_end(node) {
            if self.head_contradicts() {
                self.fault = Some(contradiction(self.head));
            }
            self.is_sound = false;
            return self.fault.take().map(Err);
        }
        let (entry, link) = entry_of::<T, N>(self.memory, node, self.offset);
        let Some(link) = link else {
            (self.current, self.is_sound) = (self.head, false);
            return Some(entry);
        };
        let next = link.next_node();
        self.current = next;
        if self.is_sound {
            if link.node_before() == self.before {
                self.before = node;
            } else {
                self.is_sound = false;
                self.fault = Some(contradiction(node));
            }
        } else if next != self.head && !N::is_end(next) && self.cycle.step(next) {
            self.current = self.head;
            self.fault = Some(Fault {
                address: next,
                kind: FaultKind::Cycle,
            });
        }
        Some(entry)
    }
}

/// A node, or the head, that doesn't lead back to the one before. The walk's first is handed out after the last entry.
#[cold]
#[inline(never)]
fn contradiction(address: u64) -> Fault {
    Fault {
        address,
        kind: FaultKind::Inconsistent,
    }
}

/// The entry that a node lies in, and the node, which may be there where the rest of the entry isn't.
#[inline]
fn entry_of<'m, T: View<'m>, N: View<'m>>(
    memory: &'m Memory,
    node: u64,
    offset: u64,
) -> (Result<T, Fault>, Option<N>) {
    // Where both are found in one look. The CPU goes on by the node's own place, and need not wait for the entry's.
    if let Some(bytes) = memory.around(node, offset as usize, T::SIZE) {
        let part = |address, bytes| Part {
            memory,
            address,
            bytes: Some(bytes),
        };
        let link = bytes
            .get(offset as usize..)
            .and_then(|rest| rest.get(..N::SIZE));
        if let (true, Some(link)) = (bytes.len() >= T::SIZE, link) {
            let entry = T::new(part(node.wrapping_sub(offset), bytes));
            return (Ok(entry), Some(N::new(part(node, link))));
        }
    }
    entry_elsewhere(memory, node, offset)
}

#[inline(never)]
fn entry_elsewhere<'m, T: View<'m>, N: View<'m>>(
    memory: &'m Memory,
    node: u64,
    offset: u64,
) -> (Result<T, Fault>, Option<N>) {
    let entry = T::at(memory, memory.wrap(node.wrapping_sub(offset)));
    let entry = entry.map_err(|fault| bad_link(memory, node, fault));
    match N::at(memory, node) {
        Ok(link) => (entry, Some(link)),
        // What follows is lost then, which an entry alone would not say: it is there, and memory for a copy of its node is not.
        Err(fault) => (entry.and(Err(fault)), None),
    }
}

/// What is wrong with a link that leads to what can't be read. Where the link itself says it (null, poison), the fault is the
/// link's, not that of what would lie around it.
#[cold]
pub(crate) fn bad_link(memory: &Memory, link: u64, fault: Fault) -> Fault {
    let kind = match link {
        0 => FaultKind::Null,
        _ if is_poison(memory, link) => FaultKind::Poison,
        _ => return fault,
    };
    Fault {
        address: link,
        kind,
    }
}

/// Whether a link is a value that the kernel leaves where there is nothing any more (include/linux/poison.h): what
/// `list_del` writes, and memory that the slab allocator filled.
fn is_poison(memory: &Memory, link: u64) -> bool {
    // POISON_POINTER_DELTA: CONFIG_ILLEGAL_POINTER_VALUE of 64-bit machines, which is no address on any of them.
    let (delta, fill) = match memory.kernel().pointer_size {
        4 => (0, 0x0101_0101),
        _ => (0xdead_0000_0000_0000, 0x0101_0101_0101_0101),
    };
    // LIST_POISON1; LIST_POISON2 now and before 4.15, 2.6's on 64-bit machines without delta.
    let is_deleted = |delta: u64| [0x100, 0x122, 0x200].contains(&link.wrapping_sub(delta));
    // POISON_FREE, POISON_INUSE; POISON_END is the last byte.
    let is_filled = [0x6b, 0x5a].iter().any(|byte| {
        let filled = fill * byte;
        link == filled || link | 0xff == filled | 0xff
    });
    is_deleted(delta) || is_deleted(0x0010_0000) || is_deleted(0) || is_filled
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
    /// Steps until the mark is set anew, and how many there were when it was set last.
    left: u64,
    interval: u64,
}

impl CycleGuard {
    fn new(start: u64) -> Self {
        CycleGuard {
            mark: start,
            left: 1,
            interval: 1,
        }
    }

    /// Takes a step; says whether it leads to where the walk has been.
    #[inline]
    fn step(&mut self, address: u64) -> bool {
        if address == self.mark {
            return true;
        }
        self.left -= 1;
        if self.left == 0 {
            self.interval *= 2;
            self.left = self.interval;
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

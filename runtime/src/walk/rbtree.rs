//! Red-black trees (include/linux/rbtree.h). Augmented trees are the same trees with more in their entries.
//!
//! A node must name as its parent the node that led to it, and its two children must differ. So each node is met once at
//! most, whatever a dump says: a walk ends, and a pointer that leads into another tree is a fault and not more entries.

use crate::fault::{Fault, FaultKind};
use crate::memory::Memory;
use crate::view::View;

use super::bad_link;

/// The deepest tree: a sound one is no deeper than twice the logarithm of its nodes, of which 64 bits of address space have
/// fewer than 2^60.
const DEEPEST: usize = 128;

/// A node of a tree that is embedded in its entries. Crate `kernel` implements it for `rb_node`.
pub trait TreeNode<'m>: View<'m> {
    /// The address of the left child, whose entries come before; 0 if there is none.
    fn left(self) -> u64;
    /// The address of the right child; 0 if there is none.
    fn right(self) -> u64;
    /// The address of the parent, without the colour; 0 for the root.
    fn parent(self) -> u64;
}

/// In which order a walk hands out entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As the tree is sorted.
    In,
    /// Children before their parent.
    Post,
}

/// The entries of a tree. A fault stands where the entries below it would; the walk goes on beside it.
pub struct TreeEntries<'m, T, N> {
    memory: &'m Memory,
    offset: u64,
    order: Order,
    stack: Vec<Step>,
    types: std::marker::PhantomData<fn() -> (T, N)>,
}

#[derive(Clone, Copy)]
enum Step {
    /// Look at a node, which must have this parent.
    Enter(u64, u64),
    /// Hand out its entry.
    Visit(u64),
    /// Hand out a fault.
    Fail(Fault),
}

impl<'m, T: View<'m>, N: TreeNode<'m>> TreeEntries<'m, T, N> {
    /// A walk from the root node at `root`; 0 is an empty tree. `member` is the accessor of the node.
    pub fn new(memory: &'m Memory, root: u64, order: Order, member: impl Fn(T) -> N) -> Self {
        TreeEntries {
            memory,
            offset: member(T::phantom(memory)).addr(),
            order,
            stack: vec![Step::Enter(root, 0)],
            types: std::marker::PhantomData,
        }
    }

    /// What must be done for a node: its children, and itself between or behind them.
    fn enter(&mut self, address: u64, parent: u64) -> Result<(), Fault> {
        let node =
            N::at(self.memory, address).map_err(|fault| bad_link(self.memory, address, fault))?;
        let (left, right) = (node.left(), node.right());
        let contradicts = node.parent() != parent || (left == right && left != 0);
        if contradicts || self.stack.len() > 2 * DEEPEST {
            return Err(Fault {
                address,
                kind: FaultKind::Inconsistent,
            });
        }
        // What is pushed last is done first.
        let [left, right] = [left, right].map(|child| Step::Enter(child, address));
        let visit = Step::Visit(address);
        self.stack.extend(match self.order {
            Order::In => [right, visit, left],
            Order::Post => [visit, right, left],
        });
        Ok(())
    }
}

impl<'m, T: View<'m>, N: TreeNode<'m>> Iterator for TreeEntries<'m, T, N> {
    type Item = Result<T, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.stack.pop()? {
                Step::Enter(0, _) => {}
                Step::Enter(address, parent) => {
                    if let Err(fault) = self.enter(address, parent) {
                        self.stack.push(Step::Fail(fault));
                    }
                }
                Step::Visit(address) => {
                    let entry = self.memory.wrap(address.wrapping_sub(self.offset));
                    return Some(T::at(self.memory, entry));
                }
                Step::Fail(fault) => return Some(Err(fault)),
            }
        }
    }
}

//! Maple trees (include/linux/maple_tree.h, lib/maple_tree.c; 6.1 and later): ranges of indices, each with an entry.
//!
//! A walk ends whatever a dump says: it goes no deeper than a tree can be, and looks at each node once.

use std::collections::HashSet;

use crate::bits;
use crate::fault::{Fault, FaultKind};
use crate::memory::Memory;

use super::bad_link;

/// `MAPLE_HEIGHT_MAX`
const DEEPEST: usize = 31;
/// `MAPLE_NODE_MASK`: nodes are aligned to 256 bytes; below are type and marks.
const NODE_MASK: u64 = 255;

/// Where a kernel's nodes have what. Offsets are bytes from the start of a node.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Bytes in a node.
    pub size: usize,
    /// The pointer to the parent, with a number in its low bits.
    pub parent: usize,
    /// `maple_dense`: a leaf of single indices.
    pub dense: Part,
    /// `maple_leaf_64` and `maple_range_64`.
    pub range: Part,
    /// `maple_arange_64`: an inner node of a tree that can be asked for gaps.
    pub arange: Part,
}

/// The arrays of one type of node.
#[derive(Debug, Clone, Copy, Default)]
pub struct Part {
    /// Where the pivots start: each the last index of the slot of the same number.
    pub pivots: usize,
    /// How many there are.
    pub pivot_count: usize,
    /// Where the slots start.
    pub slots: usize,
    /// How many there are.
    pub slot_count: usize,
}

/// A range of indices and what it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first index.
    pub first: u64,
    /// The last index.
    pub last: u64,
    /// The entry: a pointer, or a value that is shifted left by one and odd.
    pub entry: u64,
}

/// The entries of a tree by index. A fault stands where the entries below it would; the walk goes on beside it.
pub struct MapleEntries<'m> {
    memory: &'m Memory,
    layout: Layout,
    alone: Option<Result<Range, Fault>>,
    stack: Vec<Frame<'m>>,
    /// The nodes that were looked at.
    seen: HashSet<u64>,
}

struct Frame<'m> {
    address: u64,
    bytes: &'m [u8],
    part: Part,
    is_leaf: bool,
    /// The first index of the next slot; `None` when there is none.
    first: Option<u64>,
    last: u64,
    next: usize,
}

impl<'m> MapleEntries<'m> {
    /// A walk from `ma_root`.
    pub fn new(memory: &'m Memory, root: u64, layout: Layout) -> Self {
        let mut walk = MapleEntries {
            memory,
            layout,
            alone: None,
            stack: Vec::new(),
            seen: HashSet::new(),
        };
        if is_node(root) {
            let last = memory.wrap(u64::MAX);
            if let Err(fault) = walk.enter(root, None, 0, last) {
                walk.alone = Some(Err(fault));
            }
        } else if is_entry(root) {
            walk.alone = Some(Ok(Range {
                first: 0,
                last: 0,
                entry: root,
            }));
        }
        walk
    }

    fn enter(
        &mut self,
        node: u64,
        parent: Option<u64>,
        first: u64,
        last: u64,
    ) -> Result<(), Fault> {
        let address = node & !NODE_MASK;
        let contradicts = Fault {
            address,
            kind: FaultKind::Inconsistent,
        };
        let bytes = self
            .memory
            .bytes(address, self.layout.size)
            .map_err(|fault| bad_link(self.memory, node, fault))?;
        // `mte_node_type`
        let (part, is_leaf) = match node >> 3 & 15 {
            0 => (self.layout.dense, true),
            1 => (self.layout.range, true),
            2 => (self.layout.range, false),
            3 => (self.layout.arange, false),
            _ => return Err(contradicts),
        };
        // The root's parent is the tree, with bit 0 set; a node that was replaced is its own parent.
        let said = self.word(bytes, self.layout.parent);
        let agrees = match parent {
            None => said & 1 != 0,
            Some(parent) => said & 1 == 0 && said & !NODE_MASK == parent,
        };
        if !agrees || self.stack.len() >= DEEPEST {
            return Err(contradicts);
        }
        if !self.seen.insert(address) {
            return Err(Fault {
                address,
                kind: FaultKind::Cycle,
            });
        }
        self.stack.push(Frame {
            address,
            bytes,
            part,
            is_leaf,
            first: Some(first),
            last,
            next: 0,
        });
        Ok(())
    }

    fn word(&self, bytes: &[u8], offset: usize) -> u64 {
        let kernel = self.memory.kernel();
        let field = bytes.get(offset..offset + usize::from(kernel.pointer_size));
        field.map_or(0, |field| bits::uint(field, kernel.big_endian))
    }
}

/// `xa_is_node`: ends in the bits 10, and isn't one of the small marks.
fn is_node(word: u64) -> bool {
    word & 3 == 2 && word > 4096
}

/// Neither empty nor a mark of the tree's own (`XA_ZERO_ENTRY` while a process forks).
fn is_entry(word: u64) -> bool {
    word != 0 && word & 3 != 2
}

impl Iterator for MapleEntries<'_> {
    type Item = Result<Range, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(alone) = self.alone.take() {
            return Some(alone);
        }
        let width = usize::from(self.memory.kernel().pointer_size);
        loop {
            let frame = self.stack.last()?;
            let (number, part) = (frame.next, frame.part);
            let (Some(first), true) = (frame.first, number < part.slot_count) else {
                self.stack.pop();
                continue;
            };
            let last = match number < part.pivot_count {
                _ if part.pivot_count == 0 => first,
                // `mas_logical_pivot`: a pivot that isn't set stands for the end, but for the first one.
                true => match self.word(frame.bytes, part.pivots + number * width) {
                    0 if number > 0 => frame.last,
                    pivot => pivot,
                },
                false => frame.last,
            };
            let word = self.word(frame.bytes, part.slots + number * width);
            let (address, is_leaf, end) = (frame.address, frame.is_leaf, frame.last);
            let is_sound = first <= last && last <= end;
            if let Some(frame) = self.stack.last_mut() {
                frame.next += 1;
                frame.first = (is_sound && last < end).then(|| last.wrapping_add(1));
            }
            if !is_sound {
                return Some(Err(Fault {
                    address,
                    kind: FaultKind::Inconsistent,
                }));
            }
            if is_leaf {
                if is_entry(word) {
                    return Some(Ok(Range {
                        first,
                        last,
                        entry: word,
                    }));
                }
            } else if let Err(fault) = self.enter(word, Some(address), first, last) {
                return Some(Err(fault));
            }
        }
    }
}

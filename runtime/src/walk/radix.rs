//! Radix trees of all generations: XArray (include/linux/xarray.h, 4.20 and later), radix trees (include/linux/radix-tree.h),
//! and the layers of the first IDR (include/linux/idr.h before 4.11).
//!
//! A walk ends whatever a dump says: it goes down by one level at a time, and looks at each node once.

use std::collections::HashSet;

use crate::bits;
use crate::fault::{Fault, FaultKind};
use crate::memory::Memory;

use super::bad_link;

/// Where a kernel's nodes have what. Offsets are bytes from the start of a node.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Bytes in a node.
    pub size: usize,
    /// The slots, and how many there are: a power of two.
    pub slots: usize,
    /// See [`Layout::slots`].
    pub count: usize,
    /// The byte that says by how many bits a node shifts an index; `None` where only the root's height says it.
    pub shift: Option<usize>,
    /// The pointer to the parent; `None` in kernels whose nodes have none.
    pub parent: Option<usize>,
    /// How nodes and entries are told apart.
    pub tags: Tags,
}

/// How the two lowest bits of a slot tell what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tags {
    /// XArray: 2 is a node or a mark of the array's own, an odd number is a value.
    XArray,
    /// Radix trees of 4.7 to 4.19: 1 is a node, 2 is a value.
    Internal,
    /// Before: what lies above the lowest level is a node. The root has bit 0 set if it is one; 2 is a value.
    Height,
    /// The first IDR: no tags at all. What lies above the lowest level is a layer.
    Layers,
}

/// What a slot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// A pointer.
    Pointer(u64),
    /// A number, without the bits that mark it as one.
    Value(u64),
    /// An index that is taken and has no entry (`XA_ZERO_ENTRY`).
    Reserved,
}

impl Entry {
    /// The pointer, if it is one.
    pub fn pointer(self) -> Option<u64> {
        match self {
            Entry::Pointer(address) => Some(address),
            _ => None,
        }
    }
}

/// An entry and its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The first index that leads to it.
    pub index: u64,
    /// How many indices lead to it: more than one for what has an order, such as a large folio.
    pub span: u64,
    /// What it is.
    pub entry: Entry,
}

/// What a word in a slot means.
enum Word {
    Empty,
    Node(u64),
    /// The entry before goes on here.
    Sibling,
    Entry(Entry),
}

/// The entries of a tree by index. A fault stands where the entries below it would; the walk goes on beside it.
pub struct RadixEntries<'m> {
    memory: &'m Memory,
    layout: Layout,
    /// Entry 0 of a tree that has no node, or what was found wrong at the root.
    alone: Option<Result<Slot, Fault>>,
    stack: Vec<Frame<'m>>,
    /// The nodes that were looked at.
    seen: HashSet<u64>,
}

struct Frame<'m> {
    address: u64,
    slots: &'m [u8],
    shift: u32,
    base: u64,
    next: usize,
}

impl<'m> RadixEntries<'m> {
    /// A walk from the word in the root (`xa_head`, `rnode`). `height` is the number of levels, for kernels whose nodes don't
    /// say where they are.
    pub fn new(memory: &'m Memory, root: u64, height: Option<u32>, layout: Layout) -> Self {
        let mut walk = RadixEntries {
            memory,
            layout,
            alone: None,
            stack: Vec::new(),
            seen: HashSet::new(),
        };
        let levels_above = height.map_or(0, |height| height.min(64));
        match walk.classify(root, 0, levels_above) {
            Word::Empty | Word::Sibling => {}
            Word::Entry(entry) => {
                walk.alone = Some(Ok(Slot {
                    index: 0,
                    span: 1,
                    entry,
                }));
            }
            Word::Node(address) => {
                let shift =
                    height.map(|height| height.saturating_sub(1).saturating_mul(walk.bits()));
                if let Err(fault) = walk.enter(address, 0, shift, 0) {
                    walk.alone = Some(Err(fault));
                }
            }
        }
        walk
    }

    fn bits(&self) -> u32 {
        self.layout.count.trailing_zeros()
    }

    fn classify(&self, word: u64, node: u64, levels_above: u32) -> Word {
        let count = self.layout.count as u64;
        match self.layout.tags {
            _ if word == 0 => Word::Empty,
            Tags::XArray => match word & 3 {
                // `xa_is_node`: marks are small, and nodes are not in the first page.
                2 if word > 4096 => Word::Node(word - 2),
                2 => match word >> 2 {
                    sibling if sibling < count => Word::Sibling,
                    257 => Word::Entry(Entry::Reserved),
                    // 256 says that a reader should try again; others have no meaning.
                    _ => Word::Empty,
                },
                1 | 3 => Word::Entry(Entry::Value(word >> 1)),
                _ => Word::Entry(Entry::Pointer(word)),
            },
            Tags::Internal => match word & 3 {
                // `RADIX_TREE_RETRY` is the mark of a node, and nothing else.
                1 if word == 1 => Word::Empty,
                // What continues an entry points to that entry's slot.
                1 if word.wrapping_sub(node) < self.layout.size as u64 => Word::Sibling,
                1 => Word::Node(word - 1),
                2 | 3 => Word::Entry(Entry::Value(word >> 2)),
                _ => Word::Entry(Entry::Pointer(word)),
            },
            Tags::Layers if levels_above > 0 => Word::Node(word),
            Tags::Layers => Word::Entry(Entry::Pointer(word)),
            Tags::Height if levels_above > 0 => Word::Node(word & !1),
            Tags::Height if word & 2 != 0 => Word::Entry(Entry::Value(word >> 2)),
            Tags::Height => Word::Entry(Entry::Pointer(word)),
        }
    }

    /// Goes down to a node, which must have this parent and, if it is known, this shift.
    fn enter(
        &mut self,
        address: u64,
        parent: u64,
        expected: Option<u32>,
        base: u64,
    ) -> Result<(), Fault> {
        let contradicts = Fault {
            address,
            kind: FaultKind::Inconsistent,
        };
        let bytes = self
            .memory
            .bytes(address, self.layout.size)
            .map_err(|fault| bad_link(self.memory, address, fault))?;
        let width = usize::from(self.memory.kernel().pointer_size);
        let said = self
            .layout
            .shift
            .and_then(|offset| bytes.get(offset))
            .map(|shift| u32::from(*shift));
        let shift = said.or(expected).ok_or(contradicts)?;
        if expected.is_some_and(|expected| expected != shift)
            || shift >= 64
            || self.bits() == 0
            || !shift.is_multiple_of(self.bits())
        {
            return Err(contradicts);
        }
        if let Some(offset) = self.layout.parent {
            let field = bytes.get(offset..offset + width).ok_or(contradicts)?;
            if bits::uint(field, self.memory.kernel().big_endian) != parent {
                return Err(contradicts);
            }
        }
        if !self.seen.insert(address) {
            return Err(Fault {
                address,
                kind: FaultKind::Cycle,
            });
        }
        let start = self.layout.slots;
        let slots = bytes
            .get(start..start + self.layout.count * width)
            .ok_or(contradicts)?;
        self.stack.push(Frame {
            address,
            slots,
            shift,
            base,
            next: 0,
        });
        Ok(())
    }

    fn word(&self, slots: &[u8], index: usize) -> u64 {
        let width = usize::from(self.memory.kernel().pointer_size);
        let field = slots.get(index * width..(index + 1) * width);
        field.map_or(0, |field| {
            bits::uint(field, self.memory.kernel().big_endian)
        })
    }
}

impl Iterator for RadixEntries<'_> {
    type Item = Result<Slot, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(alone) = self.alone.take() {
            return Some(alone);
        }
        let count = self.layout.count;
        loop {
            let frame = self.stack.last_mut()?;
            if frame.next >= count {
                self.stack.pop();
                continue;
            }
            let number = frame.next;
            frame.next += 1;
            let &mut Frame {
                address: node,
                slots,
                shift,
                base,
                ..
            } = frame;
            let levels_above = shift / self.bits();
            let word = self.word(slots, number);
            let found = self.classify(word, node, levels_above);
            if matches!(found, Word::Empty) {
                continue;
            }
            // The highest level of a tree of 64-bit indices has fewer slots that mean something.
            let offset = (number as u64) << shift;
            if offset >> shift != number as u64 {
                return Some(Err(Fault {
                    address: node,
                    kind: FaultKind::Inconsistent,
                }));
            }
            match found {
                Word::Empty | Word::Sibling => {}
                Word::Entry(entry) => {
                    let siblings = (number + 1..count)
                        .take_while(|next| {
                            let word = self.word(slots, *next);
                            matches!(self.classify(word, node, levels_above), Word::Sibling)
                        })
                        .count() as u64;
                    return Some(Ok(Slot {
                        index: base.wrapping_add(offset),
                        span: (siblings + 1).saturating_mul(1 << shift),
                        entry,
                    }));
                }
                Word::Node(address) => {
                    let below = shift.checked_sub(self.bits());
                    let entered = match below {
                        Some(below) => {
                            self.enter(address, node, Some(below), base.wrapping_add(offset))
                        }
                        None => Err(Fault {
                            address,
                            kind: FaultKind::Inconsistent,
                        }),
                    };
                    if let Err(fault) = entered {
                        return Some(Err(fault));
                    }
                }
            }
        }
    }
}

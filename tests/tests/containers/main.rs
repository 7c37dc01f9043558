//! Walkers of containers over dumps that are built beside the assertion: sound ones of all shapes, and each damaged in a thousand
//! ways, after which a walk must end, and say so where it could not go on.

mod damage;
#[allow(non_camel_case_types, reason = "names are the kernel's own")]
mod views;

// What crate `kernel` has by hand, against these structs.
#[path = "../../../generated/src/counts.rs"]
#[allow(dead_code, reason = "tested elsewhere")]
mod counts;
#[path = "../../../generated/src/lists.rs"]
#[allow(dead_code, reason = "tested elsewhere")]
mod lists;
#[path = "../../../generated/src/rings.rs"]
mod rings;
#[path = "../../../generated/src/tables.rs"]
mod tables;
#[path = "../../../generated/src/trees.rs"]
#[allow(dead_code, reason = "tested elsewhere")]
mod trees;
#[path = "../../../generated/src/waits.rs"]
mod waits;

use std::collections::BTreeMap;

use kstruct::table::StructInfo;
use kstruct::view::{Part, Raw};
use kstruct::walk::rbtree::{Order, TreeEntries, TreeNode};
use kstruct::walk::{Entries, Node, maple, radix};
use kstruct::{Fault, FaultKind, Memory, View};
use tests::{Random, Synthetic};
use views::*;

/// Where x86_64's direct map starts, and where things are put in it.
const DIRECT: u64 = 0xffff_8880_0000_0000;
const HEAP: u64 = DIRECT + 0x10_0000;
/// Ways in which each container is damaged.
const DAMAGES: u64 = 1000;
/// No walk of these containers has so many entries: one that has goes on for ever. What a walk may have goes by its heap,
/// see [`damage`].
const ENOUGH: usize = 100_000;

/// Words of memory by address.
#[derive(Clone, Default)]
struct Heap(BTreeMap<u64, u64>);

impl Heap {
    fn set(&mut self, address: u64, value: u64) {
        self.0.insert(address, value);
    }

    /// The word at an address; 0 where none was set.
    fn get(&self, address: u64) -> u64 {
        self.0.get(&address).copied().unwrap_or(0)
    }

    fn open(&self) -> Memory {
        self.dump().open().expect("a dump that can be opened")
    }

    /// With more lines in VMCOREINFO.
    fn open_with_note(&self, note: &str) -> Memory {
        let mut dump = self.dump();
        dump.add_vmcoreinfo(note);
        dump.open().expect("a dump that can be opened")
    }

    /// Of a machine whose CPUs' areas are at the offsets that the table says.
    fn open_with_cpus(&self, offsets: u64, count: u32) -> Memory {
        let dump = self.dump();
        let address = offsets;
        let kernel = kstruct::KernelInfo {
            per_cpu_offset: Some(kstruct::Words { address, count }),
            ..*dump.kernel()
        };
        let kernel = Box::leak(Box::new(kernel));
        Memory::open(dump.save().path(), kernel, false).expect("a dump that can be opened")
    }

    fn dump(&self) -> Synthetic {
        let mut dump = Synthetic::x86_64(4);
        for (address, value) in &self.0 {
            dump.put(address - DIRECT, &value.to_le_bytes());
        }
        dump
    }

    /// One word becomes another: null, poison, a wild pointer, another word of the heap, or its own with a bit changed.
    fn damaged(&self, random: &mut Random) -> Heap {
        let words: Vec<(u64, u64)> = self.0.iter().map(|(at, value)| (*at, *value)).collect();
        let pick = |random: &mut Random| words[random.below(words.len())];
        let (at, old) = pick(random);
        let new = match random.below(6) {
            0 => 0,
            1 => 0xdead_0000_0000_0100,
            2 => random.next(),
            3 => pick(random).1,
            4 => pick(random).0 & !7,
            _ => old ^ 1 << random.below(64),
        };
        let mut heap = self.clone();
        heap.set(at, new);
        heap
    }
}

/// Damages a heap in many ways. Each walk must end within as many entries and faults as its words and Brent's algorithm can
/// give. Returns how many damages were reported, and how many gave other entries and no fault: those that no walk can see, such
/// as a link that leads to a later entry of the same list.
fn damage<T: PartialEq>(
    name: &str,
    heap: &Heap,
    walk: impl Fn(&Memory) -> Vec<Result<T, Fault>>,
) -> (u64, u64) {
    let mut random = Random::new(0);
    let sound = walk(&heap.open());
    assert!(sound.iter().all(Result::is_ok), "{name}");
    let (mut faults, mut silent) = (0, 0);
    let most = 4 * (sound.len() + heap.0.len()) + 64;
    assert!(most < ENOUGH, "{name}");
    for number in 0..DAMAGES {
        let found = walk(&heap.damaged(&mut random).open());
        assert!(
            found.len() < most,
            "{name}: damage {number} gives {} entries",
            found.len()
        );
        if found.iter().any(Result::is_err) {
            faults += 1;
        } else if found != sound {
            silent += 1;
        }
    }
    println!("{name}: {DAMAGES} damages, {faults} reported, {silent} silently other entries");
    (faults, silent)
}

/// `struct list_head`, `struct hlist_node`.
#[derive(Clone, Copy)]
struct Link<'m>(Raw<'m, 16>);

impl<'m> View<'m> for Link<'m> {
    const INFO: &'static StructInfo = &StructInfo {
        name: "struct list_head",
        size: 16,
        members: "next 0 8 p struct list_head *;prev 8 8 p struct list_head *;",
        structs: &[],
        enums: &[],
    };
    fn new(part: Part<'m>) -> Self {
        Link(Raw::new(part))
    }
    fn part(self) -> Part<'m> {
        self.0.part()
    }
}

impl<'m> Node<'m> for Link<'m> {
    fn next_node(self) -> u64 {
        self.0.u64(0)
    }
    fn is_end(_: u64) -> bool {
        false
    }
}

/// `struct rb_node`
#[derive(Clone, Copy)]
struct Rb<'m>(Raw<'m, 24>);

impl<'m> View<'m> for Rb<'m> {
    const INFO: &'static StructInfo = &StructInfo {
        name: "struct rb_node",
        size: 24,
        members: "__rb_parent_color 0 8 u unsigned long;rb_right 8 8 p struct rb_node *;rb_left 16 8 p struct rb_node *;",
        structs: &[],
        enums: &[],
    };
    fn new(part: Part<'m>) -> Self {
        Rb(Raw::new(part))
    }
    fn part(self) -> Part<'m> {
        self.0.part()
    }
}

impl<'m> TreeNode<'m> for Rb<'m> {
    fn left(self) -> u64 {
        self.0.u64(16)
    }
    fn right(self) -> u64 {
        self.0.u64(8)
    }
    fn parent(self) -> u64 {
        self.0.u64(0) & !3
    }
}

/// `struct entry { unsigned long number; union { struct rb_node node; struct list_head link; }; }`
#[derive(Clone, Copy)]
struct Entry<'m>(Raw<'m, 32>);

impl<'m> View<'m> for Entry<'m> {
    const INFO: &'static StructInfo = &StructInfo {
        name: "struct entry",
        size: 32,
        members: "number 0 8 u unsigned long;",
        structs: &[],
        enums: &[],
    };
    fn new(part: Part<'m>) -> Self {
        Entry(Raw::new(part))
    }
    fn part(self) -> Part<'m> {
        self.0.part()
    }
}

impl<'m> Entry<'m> {
    fn number(self) -> u64 {
        self.0.u64(0)
    }
    fn node(self) -> Rb<'m> {
        self.0.sub(8)
    }
    fn link(self) -> Link<'m> {
        self.0.sub(8)
    }
}

/// The node of entry `number`.
fn node(number: u64) -> u64 {
    HEAP + 0x40 * (number + 1) + 8
}

/// A balanced tree of `count` entries: the middle is the root.
fn tree(count: u64) -> (Heap, u64) {
    fn build(heap: &mut Heap, from: u64, to: u64, parent: u64) -> u64 {
        if from >= to {
            return 0;
        }
        let middle = from + (to - from) / 2;
        let at = node(middle);
        heap.set(at - 8, middle);
        heap.set(at, parent | middle & 1);
        let left = build(heap, from, middle, at);
        let right = build(heap, middle + 1, to, at);
        heap.set(at + 8, right);
        heap.set(at + 16, left);
        at
    }
    let mut heap = Heap::default();
    heap.set(HEAP, 0);
    let root = build(&mut heap, 0, count, 0);
    (heap, root)
}

fn walk_tree(memory: &Memory, root: u64, order: Order) -> Vec<Result<u64, Fault>> {
    TreeEntries::new(memory, root, order, Entry::node)
        .take(ENOUGH)
        .map(|entry| entry.map(Entry::number))
        .collect()
}

#[test]
fn trees_are_walked_in_both_orders() {
    for count in [0, 1, 2, 3, 7, 100, 1000] {
        let (heap, root) = tree(count);
        let memory = heap.open();
        let numbers = walk_tree(&memory, root, Order::In);
        assert!(numbers.into_iter().eq((0..count).map(Ok)), "{count}");
        let numbers = walk_tree(&memory, root, Order::Post);
        assert_eq!(numbers.len() as u64, count);
        assert!(count == 0 || numbers.last() == Some(&Ok(count / 2)));
    }
    // 1 is the root, with 0 and 2 below.
    let (heap, root) = tree(3);
    let numbers = walk_tree(&heap.open(), root, Order::Post);
    assert_eq!(numbers, [Ok(0), Ok(2), Ok(1)]);
}

#[test]
fn a_tree_with_a_circle_or_a_shared_child_says_so() {
    let (mut heap, root) = tree(7);
    let fault = |at, kind| Err(Fault { address: at, kind });
    // The leaf 0 leads back to the root.
    heap.set(node(0) + 16, root);
    let numbers = walk_tree(&heap.open(), root, Order::In);
    assert_eq!(numbers[0], fault(root, FaultKind::Inconsistent));
    assert_eq!(numbers[1..], [0, 1, 2, 3, 4, 5, 6].map(Ok));
    // Both children are the same: 64 levels of that would have 2^64 entries.
    let (mut heap, root) = tree(7);
    heap.set(node(1) + 16, node(2));
    let numbers = walk_tree(&heap.open(), root, Order::In);
    assert_eq!(numbers[0], fault(node(1), FaultKind::Inconsistent));
    // Poison, with what is beside it.
    let (mut heap, root) = tree(3);
    heap.set(root + 16, 0xdead_0000_0000_0122);
    let numbers = walk_tree(&heap.open(), root, Order::In);
    let poison = fault(0xdead_0000_0000_0122, FaultKind::Poison);
    assert_eq!(numbers, [poison, Ok(1), Ok(2)]);
}

#[test]
fn damaged_trees_end() {
    let (heap, root) = tree(100);
    for order in [Order::In, Order::Post] {
        let (faults, _) = damage("rbtree", &heap, |memory| walk_tree(memory, root, order));
        assert!(faults > DAMAGES / 4, "{faults}");
    }
}

#[test]
fn damaged_lists_end_and_poison_is_named() {
    let mut heap = Heap::default();
    for number in 0..100 {
        let next = if number == 99 { HEAP } else { node(number + 1) };
        heap.set(node(number) - 8, number);
        heap.set(node(number), next);
    }
    heap.set(HEAP, node(0));
    let walk = |memory: &Memory| {
        let first = memory.word(HEAP).expect("the head is in the dump");
        Entries::new(memory, HEAD_OF_LIST, first, Entry::link)
            .take(ENOUGH)
            .map(|entry| entry.map(Entry::number))
            .collect::<Vec<_>>()
    };
    let (faults, _) = damage("list", &heap, walk);
    assert!(faults > DAMAGES / 4, "{faults}");
    heap.set(node(5), 0xdead_0000_0000_0100);
    let found = walk(&heap.open());
    assert_eq!(found[..6], [0, 1, 2, 3, 4, 5].map(Ok));
    let poison = Fault {
        address: 0xdead_0000_0000_0100,
        kind: FaultKind::Poison,
    };
    assert_eq!(found[6..], [Err(poison)]);
}

const HEAD_OF_LIST: u64 = HEAP;

/// `struct xa_node` with 16 slots: shift, parent, slots.
const XA: radix::Layout = radix::Layout {
    size: 16 + 16 * 8,
    slots: 16,
    count: 16,
    shift: Some(0),
    parent: Some(8),
    tags: radix::Tags::XArray,
};

/// An array that has `entries`, as the kernel would build it; the root's word.
fn xarray(entries: &[(u64, u64)]) -> (Heap, u64) {
    let mut heap = Heap::default();
    let mut nodes: BTreeMap<(u32, u64), u64> = BTreeMap::new();
    let most = entries.iter().map(|(index, _)| *index).max().unwrap_or(0);
    let mut top = 0;
    while top + 4 < 64 && most >> (top + 4) != 0 {
        top += 4;
    }
    let mut next = HEAP;
    for (index, entry) in entries {
        let mut parent = 0;
        for shift in (0..=top).rev().step_by(4) {
            let prefix = index.checked_shr(shift + 4).unwrap_or(0);
            let is_new = !nodes.contains_key(&(shift, prefix));
            let at = *nodes.entry((shift, prefix)).or_insert_with(|| {
                next += 0x100;
                next
            });
            if is_new {
                heap.set(at, u64::from(shift));
                heap.set(at + 8, parent);
                for slot in 0..16 {
                    heap.set(at + 16 + slot * 8, 0);
                }
                if parent != 0 {
                    heap.set(parent + 16 + (prefix & 15) * 8, at | 2);
                }
            }
            parent = at;
        }
        heap.set(parent + 16 + (index & 15) * 8, *entry);
    }
    (heap, nodes[&(top, 0)] | 2)
}

fn walk_radix(memory: &Memory, root: u64) -> Vec<Result<radix::Slot, Fault>> {
    radix::RadixEntries::new(memory, root, None, XA)
        .take(ENOUGH)
        .collect()
}

#[test]
fn arrays_give_their_entries_by_index() {
    let mut random = Random::new(7);
    for bits in [4, 8, 16, 32, 64] {
        let mut entries: BTreeMap<u64, u64> = BTreeMap::new();
        for _ in 0..50 {
            let index = random.next() >> (64 - bits);
            let entry = if random.below(4) == 0 {
                (random.next() % 1000) << 1 | 1
            } else {
                HEAP + ((random.next() % 1000) << 3)
            };
            entries.insert(index, entry);
        }
        let list: Vec<(u64, u64)> = entries.iter().map(|(i, e)| (*i, *e)).collect();
        let (heap, root) = xarray(&list);
        let found: Vec<(u64, u64)> = walk_radix(&heap.open(), root)
            .into_iter()
            .map(|slot| {
                let slot = slot.expect("a sound array");
                assert_eq!(slot.span, 1);
                match slot.entry {
                    radix::Entry::Pointer(address) => (slot.index, address),
                    radix::Entry::Value(value) => (slot.index, value << 1 | 1),
                    radix::Entry::Reserved => panic!("none is"),
                }
            })
            .collect();
        assert_eq!(found, list, "{bits}");
    }
}

#[test]
fn arrays_have_entries_without_a_node_and_large_ones() {
    let memory = Heap::default().open();
    assert_eq!(walk_radix(&memory, 0), []);
    let alone = radix::Slot {
        index: 0,
        span: 1,
        entry: radix::Entry::Pointer(HEAP),
    };
    assert_eq!(walk_radix(&memory, HEAP), [Ok(alone)]);
    // Index 4 to 7 is one entry: three siblings name slot 4. Slot 9 is taken and has nothing.
    let (heap, root) = xarray(&[
        (4, HEAP),
        (5, 4 << 2 | 2),
        (6, 18),
        (7, 18),
        (9, 257 << 2 | 2),
    ]);
    let found: Vec<_> = walk_radix(&heap.open(), root)
        .into_iter()
        .map(|slot| slot.expect("a sound array"))
        .map(|slot| (slot.index, slot.span, slot.entry))
        .collect();
    let pointer = radix::Entry::Pointer(HEAP);
    assert_eq!(found, [(4, 4, pointer), (9, 1, radix::Entry::Reserved)]);
}

#[test]
fn trees_of_before_xarray_are_told_by_their_tags() {
    // Two levels, of which nodes say nothing; the values are those of 2.6 (bit 0 at the root) and of the first IDR (none).
    let mut heap = Heap::default();
    let (top, below) = (HEAP, HEAP + 0x100);
    for slot in 0..16 {
        heap.set(top + slot * 8, 0);
        heap.set(below + slot * 8, 0);
    }
    heap.set(top + 3 * 8, below);
    heap.set(below + 5 * 8, HEAP + 0x800);
    for (tags, root) in [(radix::Tags::Height, top | 1), (radix::Tags::Layers, top)] {
        let layout = radix::Layout {
            size: 128,
            slots: 0,
            count: 16,
            shift: None,
            parent: None,
            tags,
        };
        let memory = heap.open();
        let found: Vec<_> = radix::RadixEntries::new(&memory, root, Some(2), layout).collect();
        let expected = radix::Slot {
            index: 0x35,
            span: 1,
            entry: radix::Entry::Pointer(HEAP + 0x800),
        };
        assert_eq!(found, [Ok(expected)], "{tags:?}");
    }
    // 4.7 to 4.19: nodes have bit 0.
    let (heap, root) = xarray(&[(0x35, HEAP + 0x800)]);
    let mut heap = heap;
    for value in heap.0.values_mut() {
        if *value & 3 == 2 {
            *value = *value & !3 | 1;
        }
    }
    let layout = radix::Layout {
        tags: radix::Tags::Internal,
        ..XA
    };
    let memory = heap.open();
    let found: Vec<_> = radix::RadixEntries::new(&memory, root & !3 | 1, None, layout).collect();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].map(|slot| slot.index), Ok(0x35));
}

#[test]
fn damaged_arrays_end() {
    let entries: Vec<(u64, u64)> = (0..200)
        .map(|index| (index * 7, HEAP + index * 8))
        .collect();
    let (heap, root) = xarray(&entries);
    let (faults, _) = damage("xarray", &heap, |memory| walk_radix(memory, root));
    assert!(faults > DAMAGES / 20, "{faults}");
}

/// As on 64-bit machines (include/linux/maple_tree.h).
const MAPLE: maple::Layout = maple::Layout {
    size: 256,
    parent: 0,
    dense: maple::Part {
        pivots: 0,
        pivot_count: 0,
        slots: 8,
        slot_count: 31,
    },
    range: maple::Part {
        pivots: 8,
        pivot_count: 15,
        slots: 128,
        slot_count: 16,
    },
    arange: maple::Part {
        pivots: 8,
        pivot_count: 9,
        slots: 80,
        slot_count: 10,
    },
};

/// A maple tree of ranges that follow each other, in leaves of 16 below an inner node; `ma_root`. `kind` is 2 or 3.
fn maple_tree(ranges: &[(u64, u64)], kind: u64) -> (Heap, u64) {
    let mut heap = Heap::default();
    let top = HEAP;
    let part = if kind == 2 { MAPLE.range } else { MAPLE.arange };
    heap.set(top, (HEAP + 0x8000) | 1);
    for offset in (8..256).step_by(8) {
        heap.set(top + offset, 0);
    }
    let leaves: Vec<_> = ranges.chunks(16).collect();
    assert!(leaves.len() <= part.slot_count);
    for (number, leaf) in leaves.iter().enumerate() {
        let at = HEAP + 0x100 * (number as u64 + 1);
        heap.set(at, top | (number as u64) << 3 | 6);
        for offset in (8..256).step_by(8) {
            heap.set(at + offset, 0);
        }
        for (slot, (last, entry)) in leaf.iter().enumerate() {
            if slot < 15 && (slot == 0 || *last != u64::MAX) {
                heap.set(at + 8 + slot as u64 * 8, *last);
            }
            heap.set(at + 128 + slot as u64 * 8, *entry);
        }
        let last = leaf.last().map_or(0, |(last, _)| *last);
        if number < part.pivot_count && (number == 0 || last != u64::MAX) {
            heap.set(top + part.pivots as u64 + number as u64 * 8, last);
        }
        heap.set(top + part.slots as u64 + number as u64 * 8, at | 1 << 3 | 4);
    }
    (heap, top | kind << 3 | 2 | 4)
}

fn walk_maple(memory: &Memory, root: u64) -> Vec<Result<maple::Range, Fault>> {
    maple::MapleEntries::new(memory, root, MAPLE)
        .take(ENOUGH)
        .collect()
}

/// Every third range is empty; the last goes to the end of all indices.
fn ranges(count: u64) -> Vec<(u64, u64)> {
    (1..=count)
        .map(|number| {
            let last = if number == count {
                u64::MAX
            } else {
                number * number * 16
            };
            let entry = if number % 3 == 0 {
                0
            } else {
                HEAP + number * 64
            };
            (last, entry)
        })
        .collect()
}

#[test]
fn maple_trees_give_their_ranges() {
    for kind in [2, 3] {
        for count in [1, 2, 15, 16, 17, 100, 150, 160] {
            let list = ranges(count);
            let (heap, root) = maple_tree(&list, kind);
            let mut first = 0;
            let mut expected = Vec::new();
            for (last, entry) in list {
                if entry != 0 {
                    expected.push(Ok(maple::Range { first, last, entry }));
                }
                first = last.wrapping_add(1);
            }
            assert_eq!(walk_maple(&heap.open(), root), expected, "{kind} {count}");
        }
    }
    // One entry at 0, and none.
    let memory = Heap::default().open();
    let alone = maple::Range {
        first: 0,
        last: 0,
        entry: HEAP,
    };
    assert_eq!(walk_maple(&memory, HEAP), [Ok(alone)]);
    assert_eq!(walk_maple(&memory, 0), []);
    // A dense leaf.
    let mut heap = Heap::default();
    heap.set(HEAP, HEAP | 1);
    for slot in 0..31 {
        heap.set(
            HEAP + 8 + slot * 8,
            if slot % 2 == 0 { 0 } else { slot << 1 | 1 },
        );
    }
    let found = walk_maple(&heap.open(), HEAP | 2 | 4);
    assert_eq!(found.len(), 15);
    assert_eq!(
        found[1].map(|range| (range.first, range.last, range.entry)),
        Ok((3, 3, 7))
    );
}

#[test]
fn damaged_maple_trees_end() {
    for kind in [2, 3] {
        let (heap, root) = maple_tree(&ranges(150), kind);
        let (faults, _) = damage("maple tree", &heap, |memory| walk_maple(memory, root));
        assert!(faults > DAMAGES / 20, "{faults}");
    }
}

//! Memory, page tables, lists and strings over dumps that are built beside the assertion.

use kstruct::table::StructInfo;
use kstruct::view::{CharPtr, Part, Raw};
use kstruct::walk::{Entries, Node};
use kstruct::{Fault, FaultKind, Memory, Ptr, View};
use tests::{LARGE, PRESENT, PROTNONE, Page, Synthetic};

/// Where x86_64's direct map starts.
const DIRECT: u64 = 0xffff_8880_0000_0000;
/// In the vmalloc area, which only page tables map.
const VMALLOC: u64 = 0xffff_c900_0000_0000;

/// `struct link { struct link *next; }`
#[derive(Clone, Copy)]
struct Link<'m>(Raw<'m, 8>);

impl<'m> View<'m> for Link<'m> {
    const INFO: &'static StructInfo = &StructInfo {
        name: "struct link",
        size: 8,
        members: "next 0 8 p struct link *;",
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

/// `struct entry { int number; struct link link; }`
#[derive(Clone, Copy)]
struct Entry<'m>(Raw<'m, 16>);

impl<'m> View<'m> for Entry<'m> {
    const INFO: &'static StructInfo = &StructInfo {
        name: "struct entry",
        size: 16,
        members: "number 0 4 i int;link 8 8 s0 struct link;",
        structs: &[Link::INFO],
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
    fn number(self) -> i32 {
        self.0.i32(0)
    }
    fn link(self) -> Link<'m> {
        self.0.sub(8)
    }
}

/// The head of the list that [`list`] lays out.
const HEAD: u64 = DIRECT + 0x10_0000;
/// A pointer to nowhere.
const WILD: u64 = 0xdead_4ead_dead_beef;

/// The link of entry `number`, counted from 1.
fn link(number: u64) -> u64 {
    HEAD + number * 0x40 + 8
}

/// A list whose links lead to `next` in turn, the head's first.
fn list(next: &[u64]) -> Memory {
    let mut dump = Synthetic::x86_64(4);
    for (number, next) in (0..).zip(next) {
        let at = if number == 0 { HEAD } else { link(number) } - DIRECT;
        dump.put(at, &next.to_le_bytes());
        if number != 0 {
            dump.put(at - 8, &(number as u32).to_le_bytes());
        }
    }
    dump.open().expect("a dump that can be opened")
}

/// The numbers of the entries, and what ended the walk if it was a fault.
fn walk(memory: &Memory) -> (Vec<i32>, Option<(u64, FaultKind)>) {
    let first = memory.word(HEAD).expect("the head is in the dump");
    let mut numbers = Vec::new();
    for entry in Entries::new(memory, HEAD, first, Entry::link).take(1000) {
        match entry {
            Ok(entry) => numbers.push(entry.number()),
            Err(fault) => return (numbers, Some((fault.address, fault.kind))),
        }
    }
    (numbers, None)
}

#[test]
fn a_sound_list_ends_at_its_head() {
    assert_eq!(walk(&list(&[HEAD])), (vec![], None));
    let memory = list(&[link(1), link(3), HEAD, link(2)]);
    assert_eq!(walk(&memory), (vec![1, 3, 2], None));
}

/// `struct pair { struct pair *next, *prev; }`, as the kernel's `list_head`.
#[derive(Clone, Copy)]
struct Pair<'m>(Raw<'m, 16>);

impl<'m> View<'m> for Pair<'m> {
    const INFO: &'static StructInfo = &StructInfo {
        name: "struct pair",
        size: 16,
        members: "next 0 8 p struct pair *;prev 8 8 p struct pair *;",
        structs: &[],
        enums: &[],
    };
    fn new(part: Part<'m>) -> Self {
        Pair(Raw::new(part))
    }
    fn part(self) -> Part<'m> {
        self.0.part()
    }
}

impl<'m> Node<'m> for Pair<'m> {
    fn next_node(self) -> u64 {
        self.0.u64(0)
    }
    fn is_end(_: u64) -> bool {
        false
    }
    const IS_DOUBLE: bool = true;
    fn node_before(self) -> u64 {
        self.0.u64(8)
    }
}

/// Where node `number` of a list of pairs is; 0 is the head.
fn pair(number: u64) -> u64 {
    HEAD + number * 0x40
}

/// Walks a list of pairs, of each its two links. Gives the numbers, and what was wrong at which number.
fn walk_pairs(links: &[(u64, u64)]) -> (Vec<u64>, Option<(u64, FaultKind)>) {
    let mut dump = Synthetic::x86_64(4);
    for (number, (next, before)) in (0..).zip(links) {
        dump.put(pair(number) - DIRECT, &pair(*next).to_le_bytes());
        dump.put(pair(number) + 8 - DIRECT, &pair(*before).to_le_bytes());
    }
    let memory = dump.open().expect("a dump that can be opened");
    let first = memory.word(HEAD).expect("the head is in the dump");
    let number = |address: u64| (address - HEAD) / 0x40;
    let mut entries = Entries::new(&memory, HEAD, first, |pair: Pair<'_>| pair);
    let is_empty = entries.is_at_end();
    let mut numbers = Vec::new();
    let mut fault = None;
    for entry in entries.by_ref() {
        assert!(!is_empty && fault.is_none());
        match entry {
            Ok(pair) => numbers.push(number(pair.part().address)),
            Err(Fault { address, kind }) => fault = Some((number(address), kind)),
        }
    }
    assert!(entries.is_at_end() && entries.next().is_none());
    assert_eq!(is_empty, numbers.is_empty() && fault.is_none());
    (numbers, fault)
}

#[test]
fn a_list_whose_links_contradict_each_other_has_a_fault() {
    let wrong = |number| Some((number, FaultKind::Inconsistent));
    assert_eq!(walk_pairs(&[(0, 0)]), (vec![], None));
    let sound = [(1, 3), (2, 0), (3, 1), (0, 2)];
    assert_eq!(walk_pairs(&sound), (vec![1, 2, 3], None));
    // The head is alone, and leads back to the last one.
    let cut = [(0, 3), (2, 0), (3, 1), (0, 2)];
    assert_eq!(walk_pairs(&cut), (vec![], wrong(0)));
    // 1 is the last one; it is left out; 2 is.
    let short = [(1, 3), (0, 0), (3, 1), (0, 2)];
    assert_eq!(walk_pairs(&short), (vec![1], wrong(0)));
    let first_is_left_out = [(2, 3), (2, 0), (3, 1), (0, 2)];
    assert_eq!(walk_pairs(&first_is_left_out), (vec![2, 3], wrong(2)));
    let skips = [(1, 3), (3, 0), (3, 1), (0, 2)];
    assert_eq!(walk_pairs(&skips), (vec![1, 3], wrong(3)));
    // A link back that is wrong by itself costs no entry.
    let back = [(1, 3), (2, 0), (3, 3), (0, 2)];
    assert_eq!(walk_pairs(&back), (vec![1, 2, 3], wrong(2)));
    // A circle is told before all else.
    let circle = [(1, 3), (2, 0), (3, 1), (2, 2)];
    let (numbers, fault) = walk_pairs(&circle);
    assert!(numbers.starts_with(&[1, 2, 3]), "{numbers:?}");
    assert!(matches!(fault, Some((_, FaultKind::Cycle))), "{fault:?}");
}

#[test]
fn a_list_that_misses_its_head_ends_with_a_fault() {
    // 1 -> 2 -> 3 -> 2
    let memory = list(&[link(1), link(2), link(3), link(2)]);
    let (numbers, fault) = walk(&memory);
    assert!(numbers.starts_with(&[1, 2, 3]), "{numbers:?}");
    assert!(numbers.len() < 12, "{numbers:?}");
    assert!(matches!(fault, Some((_, FaultKind::Cycle))), "{fault:?}");

    let alone = list(&[link(1), link(1)]);
    let (numbers, fault) = walk(&alone);
    assert_eq!(
        (numbers, fault),
        (vec![1], Some((link(1), FaultKind::Cycle)))
    );
}

#[test]
fn a_null_link_ends_the_walk_with_a_fault() {
    let memory = list(&[link(1), link(2), 0]);
    assert_eq!(walk(&memory), (vec![1, 2], Some((0, FaultKind::Null))));
    // Never initialised.
    assert_eq!(walk(&list(&[0])), (vec![], Some((0, FaultKind::Null))));
}

#[test]
fn a_wild_link_ends_the_walk_with_a_fault() {
    let memory = list(&[link(1), WILD]);
    assert_eq!(
        walk(&memory),
        (vec![1], Some((WILD - 8, FaultKind::NotMapped)))
    );
    let first = list(&[WILD]);
    assert_eq!(
        walk(&first),
        (vec![], Some((WILD - 8, FaultKind::NotMapped)))
    );
}

#[test]
fn an_entry_that_is_cut_off_does_not_hide_those_behind_it() {
    // Entry 1's link starts a page; the page before, with its number, is not in the dump.
    let mut dump = Synthetic::x86_64(4);
    let cut = DIRECT + 0x20_0000;
    dump.put(HEAD - DIRECT, &cut.to_le_bytes());
    dump.put(cut - DIRECT, &link(2).to_le_bytes());
    dump.put(link(2) - DIRECT, &HEAD.to_le_bytes());
    dump.put(link(2) - 8 - DIRECT, &2u32.to_le_bytes());
    let memory = dump.open().expect("it opens");
    let found: Vec<_> = Entries::new(&memory, HEAD, cut, Entry::link)
        .map(|entry| entry.map(Entry::number).map_err(|fault| fault.kind))
        .collect();
    assert_eq!(found, [Err(FaultKind::NotInDump), Ok(2)]);
}

#[test]
fn every_size_of_page_is_walked() {
    for levels in [4, 5] {
        let (small, large, huge) = (VMALLOC, VMALLOC + (1 << 31), VMALLOC + (1 << 32));
        let mut dump = Synthetic::x86_64(levels);
        dump.map(small, 0x7000, Page::Small)
            .map(large, 0x40_0000, Page::Large)
            .map(huge, 0x4000_0000, Page::Huge)
            .put(0x7123, b"small")
            .put(0x40_0000 + 0x12_3456, b"large")
            .put(0x4000_0000 + 0x1234_5678, b"huge");
        let memory = dump.open().expect("it opens");
        assert_eq!(memory.paging_levels(), levels);
        assert_eq!(memory.bytes(small + 0x123, 5), Ok(&b"small"[..]));
        assert_eq!(memory.bytes(large + 0x12_3456, 5), Ok(&b"large"[..]));
        assert_eq!(memory.bytes(huge + 0x1234_5678, 4), Ok(&b"huge"[..]));
        for beyond in [small + 0x1000, large + (1 << 21), huge + (1 << 30)] {
            let fault = memory
                .bytes(beyond, 1)
                .expect_err("nothing is mapped there");
            assert_eq!((fault.address, fault.kind), (beyond, FaultKind::NotMapped));
        }
    }
}

#[test]
fn five_levels_reach_what_four_can_not() {
    // Above the 47 bits that 4 levels have for the kernel; canonical with 57 bits.
    let high = 0xff11_0000_0000_0000;
    for (levels, expected) in [(4, None), (5, Some(0x7000))] {
        let mut dump = Synthetic::x86_64(levels);
        dump.map(high, 0x7000, Page::Small).put(0x7000, &[1]);
        let memory = dump.open().expect("it opens");
        let found = memory.physical_address(high);
        assert_eq!(found.ok(), expected, "{levels} levels");
        if let Err(fault) = found {
            assert_eq!(fault.kind, FaultKind::NotMapped);
        }
    }
}

#[test]
fn addresses_that_are_not_canonical_are_not_mapped() {
    for levels in [4u32, 5] {
        let mut dump = Synthetic::x86_64(levels);
        dump.map(VMALLOC, 0x7000, Page::Small).put(0x7000, &[1]);
        let memory = dump.open().expect("it opens");
        assert!(memory.bytes(VMALLOC, 1).is_ok());
        let top = 11 + 9 * levels;
        for bit in [top, top + 1, 62, 63] {
            let address = VMALLOC ^ (1 << bit);
            if bit == top {
                // The sign itself: the other half of the table, where nothing is mapped.
                assert!(memory.bytes(address, 1).is_err());
                continue;
            }
            let kind = memory.bytes(address, 1).map_err(|fault| fault.kind);
            assert_eq!(kind, Err(FaultKind::NotMapped), "{address:#x}");
        }
    }
}

#[test]
fn pae_is_walked() {
    // vmalloc's and the fixmap's places; low memory is mapped directly.
    let (vmalloc, large) = (0xf880_0000, 0xfe00_0000u64);
    let mut dump = Synthetic::i386();
    dump.map(vmalloc, 0x7000, Page::Small)
        .map(large, 0x1_0040_0000, Page::Large)
        .put(0x7000, b"small")
        .put(0x1_0040_0000 + 0x1_2345, b"above 4 GB");
    // An ELF32 core can't describe what lies above 4 GB.
    dump.put(0x40_0000, b"below");
    let memory = dump.open().expect("it opens");
    assert_eq!(memory.paging_levels(), 3);
    assert_eq!(memory.bytes(vmalloc, 5), Ok(&b"small"[..]));
    assert_eq!(
        memory.walk_page_tables(large + 0x1_2345),
        Ok(0x1_0040_0000 + 0x1_2345)
    );
    let kind = |address| memory.walk_page_tables(address).map_err(|fault| fault.kind);
    assert_eq!(kind(vmalloc + 0x1000), Err(FaultKind::NotMapped));
    assert_eq!(kind(0x1000_0000), Err(FaultKind::NotMapped));
    assert_eq!(kind(0), Err(FaultKind::NotMapped));
}

/// `translate` used to drop the upper half of an address: 4 GB + x was read as x.
#[test]
fn pae_has_no_address_above_4_gb() {
    let mut dump = Synthetic::i386();
    dump.map(0xf880_0000, 0x7000, Page::Small).put(0x7000, &[1]);
    let memory = dump.open().expect("it opens");
    assert!(memory.bytes(0xf880_0000, 1).is_ok());
    let kind = memory.bytes(0x1_f880_0000, 1).map_err(|fault| fault.kind);
    assert_eq!(kind, Err(FaultKind::NotMapped));
}

#[test]
fn an_entry_without_present_maps_nothing() {
    let mut dump = Synthetic::x86_64(4);
    dump.put(0x7000, &[1])
        .map(VMALLOC, 0x7000, Page::Small)
        .entry(VMALLOC + 0x1000, 0, 0x7000) // not present
        .entry(VMALLOC + (1 << 21), 1, 0x40_0000 | LARGE) // a 2 MB page that is not present
        .entry(VMALLOC + (1 << 30), 2, 0x2000) // a whole directory
        .entry(VMALLOC + (1 << 39), 3, 0x2000);
    let memory = dump.open().expect("it opens");
    assert!(memory.bytes(VMALLOC, 1).is_ok());
    for skip in [0x1000, 1 << 21, 1 << 30, 1 << 39] {
        let address = VMALLOC + skip;
        let kind = memory.bytes(address, 1).map_err(|fault| fault.kind);
        assert_eq!(kind, Err(FaultKind::NotMapped), "{address:#x}");
    }
}

#[test]
fn a_page_without_access_is_read_where_it_was() {
    const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
    let mut dump = Synthetic::x86_64(4);
    // The kernel inverts the address of a page that nobody may access (arch/x86/include/asm/pgtable-invert.h).
    dump.put(0x7000, b"inverted")
        .entry(VMALLOC, 0, (!0x7000 & ADDRESS) | PROTNONE)
        .put(0x60_0000, b"large")
        .entry(
            VMALLOC + (1 << 21),
            1,
            (!0x60_0000 & ADDRESS) | PROTNONE | LARGE,
        );
    let memory = dump.open().expect("it opens");
    assert_eq!(memory.bytes(VMALLOC, 8), Ok(&b"inverted"[..]));
    assert_eq!(memory.bytes(VMALLOC + (1 << 21), 5), Ok(&b"large"[..]));
}

#[test]
fn page_tables_outside_the_dump_are_a_fault() {
    let mut dump = Synthetic::x86_64(4);
    dump.entry(VMALLOC, 2, 0x7_0000_0000 | PRESENT).entry(
        VMALLOC + (1 << 30),
        2,
        0x000f_ffff_ffff_f000 | PRESENT,
    );
    let memory = dump.open().expect("it opens");
    for address in [VMALLOC, VMALLOC + (1 << 30)] {
        let kind = memory.bytes(address, 1).map_err(|fault| fault.kind);
        assert_eq!(kind, Err(FaultKind::NotInDump));
    }
}

#[test]
fn a_view_straddles_pages_that_are_not_neighbours() {
    let mut dump = Synthetic::x86_64(4);
    // Neighbours in virtual memory, in reverse order in physical memory.
    dump.map(VMALLOC, 0x9000, Page::Small)
        .map(VMALLOC + 0x1000, 0x7000, Page::Small)
        .put(0x9ff8, &7u32.to_le_bytes())
        .put(0x7000, &0x1122_3344_5566_7788u64.to_le_bytes());
    let memory = dump.open().expect("it opens");
    let entry = Entry::at(&memory, VMALLOC + 0xff8).expect("both pages are there");
    assert_eq!(entry.number(), 7);
    assert_eq!(entry.link().next_node(), 0x1122_3344_5566_7788);
    assert_eq!(entry.link().addr(), VMALLOC + 0x1000);
    // The copy is made once.
    let again = Entry::at(&memory, VMALLOC + 0xff8).expect("both pages are there");
    assert_eq!(entry.bytes().as_ptr(), again.bytes().as_ptr());
}

#[test]
fn a_view_is_as_sound_as_its_last_page() {
    let mut dump = Synthetic::x86_64(4);
    dump.map(VMALLOC, 0x9000, Page::Small).put(0x9000, &[1]);
    dump.map(VMALLOC + 0x10_0000, 0x9000, Page::Small).map(
        VMALLOC + 0x10_1000,
        0x5000_0000,
        Page::Small,
    );
    let memory = dump.open().expect("it opens");
    let fault = |address| Entry::at(&memory, address).err().map(|fault| fault.kind);
    assert_eq!(fault(VMALLOC + 0xff0), None);
    assert_eq!(fault(VMALLOC + 0xff8), Some(FaultKind::NotMapped));
    assert_eq!(fault(VMALLOC + 0x10_0ff8), Some(FaultKind::NotInDump));
    assert_eq!(fault(0), Some(FaultKind::Null));
    assert_eq!(fault(0xfff), Some(FaultKind::Null));
    // Beyond the last address there is none.
    assert!(fault(u64::MAX - 3).is_some());
}

/// A pointer to a string that lies at `start` in two pages that aren't neighbours, and that ends `length` bytes later.
fn string(start: u64, length: usize) -> (Memory, u64) {
    let mut dump = Synthetic::x86_64(4);
    dump.map(VMALLOC, 0x9000, Page::Small)
        .map(VMALLOC + 0x1000, 0x7000, Page::Small)
        .put(0x7000, &[0xff; 4096])
        .put(0x9000, &[0xff; 4096]);
    for index in 0..=length as u64 {
        let at = start + index;
        let physical = if at < 0x1000 {
            0x9000 + at
        } else {
            0x6000 + at
        };
        let byte = if index == length as u64 { 0 } else { b'a' };
        dump.put(physical, &[byte]);
    }
    (dump.open().expect("it opens"), VMALLOC + start)
}

#[test]
fn strings_cross_pages() {
    for (start, length) in [
        (0, 0),
        (0, 5),
        (0xffc, 3),
        (0xffc, 4),
        (0xffc, 100),
        (0xf80, 4000),
        (0, 8191),
        (0x1fff, 0),
    ] {
        let (memory, address) = string(start, length);
        let text = CharPtr::new(&memory, address)
            .read()
            .unwrap_or_else(|fault| panic!("{length} bytes at {start:#x}: {fault}"));
        assert_eq!(text.as_bytes(), vec![b'a'; length]);
    }
}

/// The search used to take four times as many bytes in each step, be they mapped or not: a string of more than 1024
/// bytes that ends in the last mapped page could not be read.
#[test]
fn a_long_string_before_an_unmapped_page_is_read() {
    for length in [63, 64, 255, 256, 1023, 1024, 1025, 2000, 3000] {
        let (memory, address) = string(0x2000 - 1 - length, length as usize);
        let text = CharPtr::new(&memory, address)
            .read()
            .unwrap_or_else(|fault| panic!("{length} bytes: {fault}"));
        assert_eq!(text.as_bytes().len() as u64, length);
    }
}

#[test]
fn a_string_without_end_is_a_fault() {
    let mut dump = Synthetic::x86_64(4);
    dump.put(0x10_0000, &vec![b'a'; 0x2_0000])
        .map(VMALLOC, 0x10_0000, Page::Small);
    let memory = dump.open().expect("it opens");
    let kind = |address| {
        let text = CharPtr::new(&memory, address).read();
        text.map(|text| text.raw().len())
            .map_err(|fault| fault.kind)
    };
    assert_eq!(kind(DIRECT + 0x10_0000), Err(FaultKind::Unterminated));
    // It runs into a page that isn't mapped.
    assert_eq!(kind(VMALLOC), Err(FaultKind::NotMapped));
    assert_eq!(kind(0), Err(FaultKind::Null));
}

#[test]
fn absurd_lengths_are_refused_at_once() {
    let mut dump = Synthetic::x86_64(4);
    dump.put(0x10_0000, &[1]);
    let memory = dump.open().expect("it opens");
    let pointer = Ptr::<u64>::new(&memory, DIRECT + 0x10_0000);
    for length in [1 << 20, 1 << 40, 1 << 60, usize::MAX / 8, usize::MAX] {
        let found = pointer.array(length).map(|array| array.len());
        assert!(found.is_err(), "{length}");
    }
}

/// The sum of the segments' sizes used to overflow.
#[test]
fn segments_of_absurd_size_are_no_panic() {
    let mut dump = Synthetic::x86_64(4);
    dump.put(0x10_0000, &[1]);
    let mut bytes = dump.bytes();
    // In the file, the highest run of pages comes first: program header 1 is that of 0x100000, 2 that of the tables.
    let size = |header: usize| 64 + 56 * header + 32;
    for at in [size(1), size(1) + 8] {
        bytes[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
    }
    let file = tempfile::NamedTempFile::new().expect("there is room");
    std::fs::write(file.path(), &bytes).expect("it can be written");
    let opened = kstruct::Dump::open(file.path()).expect("its headers can be read");
    // What is above the segment's start, and what is below it.
    assert!(opened.memory_size() >= u64::MAX - 0x10_0000);
    assert!(opened.missing_bytes() > 0);
}

/// A length from corrupt memory and headers that speak of more memory than there can be used to be taken at their word:
/// gigabytes of zeros were copied.
#[test]
fn a_length_of_gigabytes_is_refused() {
    let mut dump = Synthetic::x86_64(4);
    dump.put(0x10_0000, &[1]);
    let mut bytes = dump.bytes();
    let memory_size = 64 + 56 + 40;
    bytes[memory_size..memory_size + 8].copy_from_slice(&(1u64 << 40).to_le_bytes());
    let file = tempfile::NamedTempFile::new().expect("there is room");
    std::fs::write(file.path(), &bytes).expect("it can be written");
    let memory = Memory::open(file.path(), dump.kernel(), false).expect("it opens");
    let pointer = Ptr::<u64>::new(&memory, DIRECT + 0x10_0000);
    let kind = |length| {
        let array = pointer.array(length).map(|array| array.len());
        array.map_err(|fault| fault.kind)
    };
    // What a segment has and the file doesn't was left out (makedumpfile -E), and is not taken for zeros.
    assert_eq!(kind(1 << 10), Err(FaultKind::Excluded));
    for length in [1 << 26, 1 << 30, 1 << 36, usize::MAX / 8] {
        assert_eq!(kind(length), Err(FaultKind::TooLarge), "{length}");
    }
}

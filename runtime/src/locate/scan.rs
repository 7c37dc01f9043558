//! VMCOREINFO in memory, where no note has it: the kernel keeps the text in a page of its own (`vmcoreinfo_data`, kernel/vmcore_info.c)
//! and once more as a note. There may be other copies: a dump in the page cache, a buffer of a program, what an earlier kernel left.
//! So each is taken at its word only if what follows from it is true: see [`super::confirms`].

use std::collections::HashSet;

use memchr::memmem;

use crate::dump::{Dump, VmcoreInfo, Window};

/// What the text begins with, in every kernel that has one (2.6.24 and later).
const START: &[u8] = b"OSRELEASE=";
/// `VMCOREINFO_BYTES` is a page, which has at most 64 KB.
const LONGEST: u64 = 1 << 16;
/// Texts with fewer lines are something else: a script that prints one.
const FEWEST_LINES: usize = 8;
/// More different texts than this are not tried: each may cost a search for the banner.
const MOST_TEXTS: usize = 64;
/// As much is searched at a time.
const STEP: u64 = 1 << 20;

/// The texts in a dump's memory that look like VMCOREINFO, each once, in the order of physical addresses. Memory is read from its
/// start until enough are taken; what is decompressed for that is not kept. The running kernel's is not searched: nothing bounds its size.
pub(super) fn vmcoreinfos(dump: &Dump) -> impl Iterator<Item = VmcoreInfo> {
    let mut seen = HashSet::new();
    let mut window = Window::new(dump);
    let runs = if dump.is_live() {
        Vec::new()
    } else {
        dump.joined_runs()
    };
    runs.into_iter()
        .flat_map(|(start, size)| {
            let steps = (0..size).step_by(STEP as usize);
            steps.map(move |skip| (start + skip, size - skip))
        })
        .flat_map(move |(start, rest)| texts(&mut window, start, rest))
        .filter(move |text| seen.insert(text.clone()))
        .take(MOST_TEXTS)
        .map(|text| VmcoreInfo::parse(&text))
}

/// The texts that begin in one step of a run, of which so much is left.
fn texts(window: &mut Window<'_>, start: u64, rest: u64) -> Vec<Vec<u8>> {
    let bytes = window.bytes(start, (STEP + LONGEST).min(rest) as usize);
    let places: Vec<usize> = memmem::find_iter(bytes, START).collect();
    let mut found = Vec::new();
    for (index, at) in places.iter().enumerate() {
        if *at as u64 >= STEP {
            break;
        }
        // Where the next one begins, this one is at its end: so all of them are no longer than the memory that they lie in.
        let next = places.get(index + 1).copied().unwrap_or(bytes.len());
        found.extend(text(&bytes[*at..next.min(at + LONGEST as usize)]));
    }
    found
}

/// The text at the start of some bytes: lines of `KEY=value` in ASCII.
fn text(bytes: &[u8]) -> Option<Vec<u8>> {
    let is_text = |byte: &u8| matches!(byte, b'\n' | b' '..=b'~');
    let end = bytes.iter().position(|byte| !is_text(byte));
    let text = &bytes[..end.unwrap_or(bytes.len())];
    // What follows the last whole line is no part of it, or was cut off.
    let text = &text[..text.iter().rposition(|byte| *byte == b'\n')? + 1];
    let lines = text.iter().filter(|byte| **byte == b'\n').count();
    (lines >= FEWEST_LINES).then(|| text.to_owned())
}

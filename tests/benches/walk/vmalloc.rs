//! 100,000 reads in vmalloc space, each of which says where the next one is.

use std::hint::black_box;

use kstruct::{Fault, Memory};

use crate::raw::RawDump;
use crate::{BY_HAND, GENERATED, Sum, Way};

const READS: u64 = 100_000;
const PAGE: u64 = 4096;

pub fn ways<'w>(memory: &'w Memory, raw: &'w RawDump<'w>) -> Result<Vec<Way<'w>>, Fault> {
    let mut pages = Vec::new();
    for area in linux::vmalloc::areas(memory)? {
        let area = area?;
        let all = (area.va_start()..area.va_end()).step_by(PAGE as usize);
        // There are guard pages, and what is device memory or was left out of the dump.
        pages.extend(all.filter(|page| memory.bytes(*page, 8).is_ok()));
    }
    pages.retain(|page| raw.translate(*page).is_some_and(|at| raw.has(at)));
    let same = pages.clone();
    Ok(vec![
        Way {
            name: GENERATED,
            run: Box::new(move || generated(black_box(memory), &pages)),
        },
        Way {
            name: BY_HAND,
            run: Box::new(move || Ok(by_hand(black_box(raw), &same))),
        },
    ])
}

/// Where the next read is: some page, by what was read, and some word in it. The same in `xtask/bench/walks.py`.
#[inline(always)]
fn next(read: u64, step: u64, pages: &[u64]) -> u64 {
    let mixed = (read ^ step).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    pages[((mixed >> 32) % pages.len() as u64) as usize] + mixed % 512 * 8
}

#[inline(never)]
fn generated(memory: &Memory, pages: &[u64]) -> Result<Sum, Fault> {
    let mut sum = Sum::default();
    let mut at = pages[0];
    for step in 0..READS {
        let read = memory.word(at)?;
        sum.add(read);
        at = next(read, step, pages);
    }
    Ok(sum)
}

#[inline(never)]
fn by_hand(dump: &RawDump<'_>, pages: &[u64]) -> Sum {
    let mut sum = Sum::default();
    let mut at = pages[0];
    for step in 0..READS {
        let read = dump.translate(at).map_or(0, |at| dump.u64(at));
        sum.add(read);
        at = next(read, step, pages);
    }
    sum
}

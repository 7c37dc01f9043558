//! Each `struct page`: its flags.

use std::hint::black_box;

use kernel::{page, sym};
use kstruct::{Fault, Memory, View as _, offset_of};
use linux::page::Pages;

use crate::raw::{RawDump, u64_at};
use crate::{BY_HAND, GENERATED, Sum, Way};

pub fn ways<'w>(memory: &'w Memory, raw: &'w RawDump<'w>) -> Result<Vec<Way<'w>>, Fault> {
    let pages = Pages::of(memory)?;
    let vmemmap = memory.get(sym::vmemmap_base)?;
    Ok(vec![
        Way {
            name: GENERATED,
            run: Box::new(move || generated(black_box(pages))),
        },
        Way {
            name: BY_HAND,
            run: Box::new(move || Ok(by_hand(black_box(raw), vmemmap, pages.count()))),
        },
    ])
}

#[inline(never)]
fn generated(pages: Pages<'_>) -> Result<Sum, Fault> {
    let mut sum = Sum::default();
    for (_, page) in pages.iter() {
        sum.add(page?.flags());
    }
    Ok(sum)
}

const FLAGS: usize = offset_of!(page, flags);
/// Structs in the 2 MB that one entry of a page table maps.
const TOGETHER: u64 = (2 << 20) / page::SIZE as u64;

#[inline(never)]
fn by_hand(dump: &RawDump<'_>, vmemmap: u64, count: u64) -> Sum {
    let mut sum = Sum::default();
    for first in (0..count).step_by(TOGETHER as usize) {
        let Some(start) = dump.translate(vmemmap + first * page::SIZE as u64) else {
            continue;
        };
        let here = TOGETHER.min(count - first) as usize;
        for page in dump
            .bytes(start, here * page::SIZE)
            .chunks_exact(page::SIZE)
        {
            sum.add(u64_at(page, FLAGS));
        }
    }
    sum
}

//! All allocated objects of one slab cache, that of dentries: found page by page, as full slabs are on no list.

use std::hint::black_box;

use kernel::{dentry, kmem_cache, page, slab, sym};
use kstruct::{Fault, FaultKind, Memory, View as _, offset_of};
use linux::page::Pages;

use crate::raw::{RawDump, u32_at, u64_at};
use crate::{BY_HAND, GENERATED, Sum, Way};

pub fn ways<'w>(memory: &'w Memory, raw: &'w RawDump<'w>) -> Result<Vec<Way<'w>>, Fault> {
    let cache = linux::slab::caches(memory)?
        .find_map(|cache| match cache {
            Ok(cache) => {
                let name = cache.name().read().ok()?;
                (name == "dentry").then_some(Ok(cache))
            }
            Err(fault) => Some(Err(fault)),
        })
        .ok_or(Fault {
            address: 0,
            kind: FaultKind::Null,
        })??;
    let cpus: Vec<u32> = linux::cpu::online(memory)?;
    let vmemmap = memory.get(sym::vmemmap_base)?;
    let count = Pages::of(memory)?.count();
    let mut held = Vec::new();
    for cpu in &cpus {
        let own = cache.cpu_slab().on_cpu(*cpu)?.deref()?;
        held.push((own.slab().addr(), own.freelist().addr()));
    }
    let known = Known {
        vmemmap,
        count,
        cache: cache.addr(),
        held,
        size: cache.size().into(),
        offset: cache.offset().into(),
        random: cache.random(),
        slab_flag: kernel::pageflags::INFO
            .constants()
            .find(|(name, _)| *name == "PG_slab")
            .map(|(_, bit)| bit as u32),
        guarded: linux::slab::guarded(memory)?,
    };
    let same = known.clone();
    Ok(vec![
        Way {
            name: GENERATED,
            run: Box::new(move || generated(black_box(cache), &cpus)),
        },
        Way {
            name: BY_HAND,
            run: Box::new(move || Ok(by_hand::<false>(black_box(raw), &known))),
        },
        Way {
            name: "the same, with the walker's checks of damage",
            run: Box::new(move || Ok(by_hand::<true>(black_box(raw), &same))),
        },
    ])
}

#[inline(never)]
fn generated(cache: kmem_cache<'_>, cpus: &[u32]) -> Result<Sum, Fault> {
    let mut sum = Sum::default();
    let mut result = Ok(());
    linux::slab::allocated(cache, cpus)?.for_each(|object| {
        match object.and_then(|object| object.view::<dentry>()) {
            Ok(entry) => sum.add(entry.d_flags().into()),
            Err(fault) => result = Err(fault),
        }
    });
    result.map(|()| sum)
}

#[derive(Clone)]
struct Known {
    vmemmap: u64,
    count: u64,
    cache: u64,
    held: Vec<(u64, u64)>,
    size: u64,
    offset: u64,
    random: u64,
    slab_flag: Option<u32>,
    /// Objects that KFENCE guards look like slabs of one.
    guarded: std::ops::Range<u64>,
}

const CACHE: usize = offset_of!(slab, slab_cache);
const FREE: usize = offset_of!(slab, freelist);
const COUNTERS: usize = offset_of!(slab, counters);
const FLAGS: u64 = offset_of!(dentry, d_flags) as u64;
/// 6.12 says in the page's type that it is a slab, 6.1 in its flags.
const TYPE: usize = offset_of!(page, page_type);
const PAGE_FLAGS: usize = offset_of!(page, flags);

/// With checks it ends as the generated code does where a list of free objects leads out of its slab or does not end, or where a slab's
/// counts disagree.
#[inline(never)]
fn by_hand<const CHECKS: bool>(dump: &RawDump<'_>, known: &Known) -> Sum {
    let mut sum = Sum::default();
    let together = (2 << 20) / page::SIZE as u64;
    for first in (0..known.count).step_by(together as usize) {
        let Some(start) = dump.translate(known.vmemmap + first * page::SIZE as u64) else {
            continue;
        };
        let here = together.min(known.count - first) as usize;
        let pages = dump.bytes(start, here * page::SIZE);
        for (index, page) in pages.chunks_exact(page::SIZE).enumerate() {
            if u64_at(page, CACHE) != known.cache || !is_slab(page, known.slab_flag) {
                continue;
            }
            let frame = first + index as u64;
            let slab = known.vmemmap + frame * page::SIZE as u64;
            let base = dump.page_offset + frame * 4096;
            let counters = u32_at(page, COUNTERS);
            let objects = u64::from(counters >> 16 & 0x7fff);
            if CHECKS && known.guarded.contains(&base) {
                continue;
            }
            let held = known.held.iter().find(|(of, _)| *of == slab);
            let mut free = [0_u64; 8];
            for head in [u64_at(page, FREE), held.map_or(0, |(_, head)| *head)] {
                let mut object = head;
                while object != 0 {
                    let number = object.wrapping_sub(base) / known.size;
                    if CHECKS {
                        let is_one = base + number * known.size == object && number < objects;
                        if !is_one || free[number as usize / 64] >> (number % 64) & 1 != 0 {
                            return Sum::default();
                        }
                    }
                    free[number as usize / 64] |= 1 << (number % 64);
                    let place = object + known.offset;
                    object = dump.u64(place) ^ known.random ^ place.swap_bytes();
                }
                // The first list has what isn't in use.
                if CHECKS && head == u64_at(page, FREE) {
                    let count: u32 = free.iter().map(|word| word.count_ones()).sum();
                    if u64::from(count + (counters & 0xffff)) != objects {
                        return Sum::default();
                    }
                }
            }
            for number in 0..objects {
                if free[number as usize / 64] >> (number % 64) & 1 == 0 {
                    sum.add(dump.u32(base + number * known.size + FLAGS).into());
                }
            }
        }
    }
    sum
}

#[inline(always)]
fn is_slab(page: &[u8], flag: Option<u32>) -> bool {
    match flag {
        Some(bit) => u64_at(page, PAGE_FLAGS) >> bit & 1 != 0,
        None => u32_at(page, TYPE) >> 24 == 0xf5,
    }
}

//! What is said of each page frame, in the bits of /proc/kpageflags (include/uapi/linux/kernel-page-flags.h).

use std::collections::{BTreeMap, BTreeSet};

use kstruct::{Memory, View as _};
use linux::page::{Mapping, Pages, Part, flag_names, free_blocks, mapping, part};
use linux::slab::Slabs;
use serde_json::{Value, json};

use super::Result;

/// Flags of a page, and their bits there.
const FLAGS: [(&str, u32); 13] = [
    ("PG_locked", 0),
    ("PG_referenced", 2),
    ("PG_uptodate", 3),
    ("PG_dirty", 4),
    ("PG_lru", 5),
    ("PG_active", 6),
    ("PG_writeback", 8),
    ("PG_reclaim", 9),
    ("PG_swapbacked", 14),
    ("PG_unevictable", 18),
    ("PG_mlocked", 33),
    ("PG_reserved", 32),
    ("PG_private", 35),
];
const SLAB: u32 = 7;
const BUDDY: u32 = 10;
const ANONYMOUS: u32 = 12;
const HEAD: u32 = 15;
const TAIL: u32 = 16;

/// For each page frame: its bits, how often processes map it, the cache whose slab it is, and how many hold it; nothing where there is no page.
pub fn report(k: &Memory, slabs: &Slabs<'_>) -> Result<Value> {
    let pages = Pages::of(k)?;
    let mut free = BTreeSet::new();
    for block in free_blocks(pages)? {
        let block = block?;
        free.extend(block.frame..block.frame + (1 << block.order));
    }
    let mut of_slabs = BTreeMap::new();
    for cache in linux::slab::caches(k)? {
        let cache = cache?;
        let name = cache.name().read()?.to_string();
        for slab in slabs.of_cache(cache) {
            of_slabs.insert(slab.addr(), name.clone());
        }
    }
    let mut found = Vec::new();
    for frame in 0..pages.count() {
        let Ok(page) = pages.page(frame) else {
            found.push(Value::Null);
            continue;
        };
        let part = part(page);
        let head = match part {
            Part::Tail(head) => head,
            _ => page.addr(),
        };
        let cache = of_slabs.get(&head);
        let is_slab = cache.is_some();
        let is_free = free.contains(&frame);
        let mut bits = 0_u64;
        if !matches!(part, Part::Tail(_)) {
            let names = flag_names(page.flags());
            for (name, bit) in FLAGS {
                bits |= u64::from(names.contains(&name)) << bit;
            }
        }
        bits |= u64::from(part == Part::Head) << HEAD;
        bits |= u64::from(matches!(part, Part::Tail(_))) << TAIL;
        bits |= u64::from(is_slab) << SLAB;
        bits |= u64::from(is_free) << BUDDY;
        let owner = mapping(kernel::page::at(k, head)?);
        if matches!(owner, Mapping::Anonymous(_) | Mapping::Ksm(_)) && !is_slab {
            bits |= 1 << ANONYMOUS;
        }
        found.push(json!([
            bits,
            page._mapcount().value(),
            cache,
            page._refcount().value()
        ]));
    }
    Ok(json!(found))
}

//! The slab allocator (mm/slub.c; `struct slab` is 5.17 and later): caches, how many objects they have, and which.
#![cfg(all(
    kernel_has = "slab.slab_cache",
    kernel_has = "kmem_cache.cpu_slab",
    kernel_has = "kmem_cache.red_left_pad",
    kernel_has = "kmem_cache_node.total_objects",
    kernel_has = "sym:slab_caches",
    kernel_has = "sym:vmemmap_base",
    // 6.10 and 6.11 tell slabs in yet another way.
    any(
        kernel_has = "const:PGTY_slab",
        all(kernel_has = "const:PG_slab", not(kernel_has = "pagetype"))
    )
))]

use std::collections::{BTreeMap, HashSet};

use kernel::{kmem_cache, slab, sym};
use kstruct::walk::free_list::{Disguise, Objects, free_objects};
use kstruct::{Fault, FaultKind, Memory, View as _};

use crate::page::Pages;

/// All caches.
pub fn caches(k: &Memory) -> Result<impl Iterator<Item = Result<kmem_cache<'_>, Fault>>, Fault> {
    Ok(k.get(sym::slab_caches)?.entries(kmem_cache::list))
}

/// How many objects a cache has, as /proc/slabinfo counts them: those in the hands of a CPU count as active.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// `active_objs`
    pub active: u64,
    /// `num_objs`
    pub total: u64,
    /// `num_slabs`
    pub slabs: u64,
}

/// Counts a cache's objects (`get_slabinfo`).
pub fn counts(cache: kmem_cache<'_>) -> Result<Counts, Fault> {
    let mut counts = Counts {
        active: 0,
        total: 0,
        slabs: 0,
    };
    let mut free: u64 = 0;
    for node in nodes(cache)? {
        // Nothing can overflow in a sound dump, and in a damaged one nothing may panic.
        let [slabs, objects] = [node.nr_slabs(), node.total_objects()];
        counts.slabs = counts.slabs.wrapping_add(slabs.counter().cast_unsigned());
        counts.total = counts.total.wrapping_add(objects.counter().cast_unsigned());
        for slab in node.partial().entries(slab::slab_list) {
            let slab = slab?;
            free += u64::from(slab.objects()).saturating_sub(u64::from(slab.inuse()));
        }
    }
    counts.active = counts.total.saturating_sub(free);
    Ok(counts)
}

/// The cache's part of each NUMA node. The array's declared length is not what it has: there is memory for as many nodes as
/// the machine can have.
fn nodes(cache: kmem_cache<'_>) -> Result<Vec<kernel::kmem_cache_node<'_>>, Fault> {
    #[cfg(kernel_has = "sym:nr_node_ids")]
    let count = cache.memory().get(sym::nr_node_ids)? as usize;
    #[cfg(not(kernel_has = "sym:nr_node_ids"))]
    let count = 1;
    let mut nodes = Vec::new();
    for node in cache.node().iter().take(count) {
        nodes.extend(node.deref_or_null()?);
    }
    Ok(nodes)
}

/// All slabs of a dump by their cache, and what each CPU holds of them: found once, for any number of caches.
///
/// Full slabs are on no list, so this looks at each page.
pub struct Slabs<'m> {
    pages: Pages<'m>,
    by_cache: BTreeMap<u64, Vec<slab<'m>>>,
}

impl<'m> Slabs<'m> {
    /// Looks at all pages.
    pub fn of(k: &'m Memory) -> Result<Self, Fault> {
        let pages = Pages::of(k)?;
        let guarded = guarded(k)?;
        let mut by_cache: BTreeMap<u64, Vec<slab<'m>>> = BTreeMap::new();
        for frame in 0..pages.count() {
            // Memory has holes, of which there are no pages.
            let Ok(page) = pages.page(frame) else {
                continue;
            };
            if !is_slab(page) || guarded.contains(&pages.memory_of(page.addr())?) {
                continue;
            }
            let slab = slab::at(k, page.addr())?;
            by_cache
                .entry(slab.slab_cache().addr())
                .or_default()
                .push(slab);
        }
        Ok(Slabs { pages, by_cache })
    }

    /// The slabs of a cache, by address.
    pub fn of_cache(&self, cache: kmem_cache<'m>) -> &[slab<'m>] {
        self.by_cache.get(&cache.addr()).map_or(&[], Vec::as_slice)
    }

    /// The addresses of the objects of a cache that are allocated, in order. Where a slab's list of free objects is damaged,
    /// there is a fault in place of its objects.
    pub fn allocated(
        &self,
        cache: kmem_cache<'m>,
        cpus: &[u32],
    ) -> Result<Vec<Result<u64, Fault>>, Fault> {
        // What a CPU allocates from next is free, though its slab says that it is in use.
        let mut held = BTreeMap::new();
        for cpu in cpus {
            let own = cache.cpu_slab().on_cpu(*cpu)?.deref()?;
            held.insert(own.slab().addr(), own.freelist().addr());
        }
        let mut found = Vec::new();
        for slab in self.of_cache(cache) {
            match self.free(cache, *slab, held.get(&slab.addr()).copied()) {
                Ok((first, free)) => found.extend(
                    (0..u64::from(slab.objects()))
                        .map(|index| first.wrapping_add(index * u64::from(cache.size())))
                        .filter(|object| !free.contains(object))
                        .map(Ok),
                ),
                Err(fault) => found.push(Err(fault)),
            }
        }
        Ok(found)
    }

    /// The first object of a slab, and all that are free.
    fn free(
        &self,
        cache: kmem_cache<'m>,
        slab: slab<'m>,
        held: Option<u64>,
    ) -> Result<(u64, HashSet<u64>), Fault> {
        let k = cache.memory();
        let first = self.pages.memory_of(slab.addr())?;
        let first = first.wrapping_add(u64::from(cache.red_left_pad()));
        let objects = Objects {
            first,
            size: cache.size().into(),
            count: slab.objects().into(),
            link: cache.offset().into(),
            disguise: disguise(cache),
        };
        // All that isn't in use is on the slab's own list, whoever holds the slab; what its CPU holds counts as in use.
        let own = free_objects(k, objects, [slab.freelist().addr()])?;
        if own.len() as u64 + u64::from(slab.inuse()) != objects.count {
            return Err(Fault {
                address: slab.addr(),
                kind: FaultKind::Inconsistent,
            });
        }
        let heads = [slab.freelist().addr(), held.unwrap_or(0)];
        Ok((first, free_objects(k, objects, heads)?))
    }
}

/// How links of free objects are disguised: hardened kernels mix in a number and the place (`freelist_ptr_decode`).
#[cfg(kernel_has = "kmem_cache.random")]
fn disguise(cache: kmem_cache<'_>) -> Disguise {
    Disguise::Swapped(cache.random())
}

#[cfg(not(kernel_has = "kmem_cache.random"))]
fn disguise(_: kmem_cache<'_>) -> Disguise {
    Disguise::None
}

/// Whether a page is the first of a slab.
#[cfg(kernel_has = "const:PGTY_slab")]
fn is_slab(page: kernel::page<'_>) -> bool {
    i64::from(page.page_type() >> 24) == kernel::constants::PGTY_slab as i64
}

#[cfg(all(not(kernel_has = "const:PGTY_slab"), kernel_has = "const:PG_slab"))]
fn is_slab(page: kernel::page<'_>) -> bool {
    page.flags() >> kernel::constants::PG_slab & 1 != 0
}

/// Objects that KFENCE guards look like slabs of one object. They are in memory of their own.
#[cfg(kernel_has = "sym:__kfence_pool")]
fn guarded(k: &Memory) -> Result<std::ops::Range<u64>, Fault> {
    /// `KFENCE_POOL_SIZE` with `CONFIG_KFENCE_NUM_OBJECTS=255`, which distributions don't change.
    const SIZE: u64 = 2 << 20;
    let start = k.get(sym::__kfence_pool)?.addr();
    Ok(start..if start == 0 {
        0
    } else {
        start.wrapping_add(SIZE)
    })
}

#[cfg(not(kernel_has = "sym:__kfence_pool"))]
fn guarded(_: &Memory) -> Result<std::ops::Range<u64>, Fault> {
    Ok(0..0)
}

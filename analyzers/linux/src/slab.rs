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

use std::collections::BTreeMap;

use kernel::{kmem_cache, slab, sym};
use kstruct::walk::free_list::{Disguise, FreeObjects, Objects, add_free_objects};
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
    unreadable: Unreadable,
}

/// Pages of which it can't be said whether they are slabs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unreadable {
    /// How many.
    pub count: u64,
    /// Why the first one of them is.
    pub first: Option<Fault>,
}

impl<'m> Slabs<'m> {
    /// Those of all caches.
    pub fn of(k: &'m Memory) -> Result<Self, Fault> {
        let pages = Pages::of(k)?;
        let mut by_cache: BTreeMap<u64, Vec<slab<'m>>> = BTreeMap::new();
        let unreadable = for_each_slab(
            pages,
            |_| true,
            |slab| {
                let cache = slab.slab_cache().addr();
                by_cache.entry(cache).or_default().push(slab);
            },
        )?;
        Ok(Slabs {
            pages,
            by_cache,
            unreadable,
        })
    }

    /// Those of one cache: several times as fast, if no others are needed.
    pub fn of_one(cache: kmem_cache<'m>) -> Result<Self, Fault> {
        let pages = Pages::of(cache.memory())?;
        let mut slabs = Vec::new();
        let is_its = |slab: slab<'m>| slab.slab_cache().addr() == cache.addr();
        let unreadable = for_each_slab(pages, is_its, |slab| slabs.push(slab))?;
        Ok(Slabs {
            pages,
            by_cache: BTreeMap::from([(cache.addr(), slabs)]),
            unreadable,
        })
    }

    /// Pages that may be slabs as well, but whose `struct page` is not in the dump.
    pub fn unreadable(&self) -> Unreadable {
        self.unreadable
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
    ) -> Result<impl Iterator<Item = Result<u64, Fault>>, Fault> {
        // What a CPU allocates from next is free, though its slab says that it is in use.
        let mut held = Vec::new();
        for cpu in cpus {
            let own = cache.cpu_slab().on_cpu(*cpu)?.deref()?;
            held.push((own.slab().addr(), own.freelist().addr()));
        }
        let (pages, size) = (self.pages, u64::from(cache.size()));
        let mut slabs = self.of_cache(cache).iter();
        let mut free = FreeObjects::default();
        // The first object of a slab, the number of the next one, and how many there are.
        let (mut first, mut next, mut count) = (0_u64, 0, 0);
        Ok(std::iter::from_fn(move || {
            loop {
                while next < count {
                    let number = next;
                    next += 1;
                    if !free.contains(number) {
                        return Some(Ok(first.wrapping_add(number.wrapping_mul(size))));
                    }
                }
                let slab = *slabs.next()?;
                let held = held.iter().find(|(of, _)| *of == slab.addr());
                let held = held.map_or(0, |(_, head)| *head);
                match find_free(pages, cache, slab, held, &mut free) {
                    Ok(objects) => (first, next, count) = (objects.first, 0, objects.count),
                    Err(fault) => return Some(Err(fault)),
                }
            }
        }))
    }
}

/// The slabs among all pages that are wanted. The test is done before it is known whether a page is a slab.
fn for_each_slab<'m>(
    pages: Pages<'m>,
    is_wanted: impl Fn(slab<'m>) -> bool,
    mut take: impl FnMut(slab<'m>),
) -> Result<Unreadable, Fault> {
    let guarded = guarded(pages.memory())?;
    let mut unreadable = Unreadable::default();
    for (frame, page) in pages.iter() {
        let page = match page {
            Ok(page) => page,
            Err(fault) => {
                unreadable.count += 1;
                unreadable.first = unreadable.first.or(Some(fault));
                continue;
            }
        };
        let Some(slab) = page_slab(page) else {
            continue;
        };
        if is_wanted(slab) && is_slab(page) && !guarded.contains(&pages.memory_at(frame)) {
            take(slab);
        }
    }
    Ok(unreadable)
}

/// A page's bytes as those of the slab that it is, if it is one.
fn page_slab(page: kernel::page<'_>) -> Option<slab<'_>> {
    const { assert!(slab::SIZE <= kernel::page::SIZE) };
    let bytes = page.bytes().get(..slab::SIZE)?;
    Some(slab::new(kstruct::Part {
        bytes: Some(bytes),
        ..page.part()
    }))
}

/// A slab's objects, and which are free.
fn find_free<'m>(
    pages: Pages<'m>,
    cache: kmem_cache<'m>,
    slab: slab<'m>,
    held: u64,
    free: &mut FreeObjects,
) -> Result<Objects, Fault> {
    let k = cache.memory();
    let first = pages.memory_of(slab.addr())?;
    let objects = Objects {
        first: first.wrapping_add(u64::from(cache.red_left_pad())),
        size: cache.size().into(),
        count: slab.objects().into(),
        link: cache.offset().into(),
        disguise: disguise(cache),
    };
    free.reset(objects.count);
    // All that isn't in use is on the slab's own list, whoever holds the slab; what its CPU holds counts as in use.
    add_free_objects(k, objects, slab.freelist().addr(), free)?;
    if free.count() + u64::from(slab.inuse()) != objects.count {
        return Err(Fault {
            address: slab.addr(),
            kind: FaultKind::Inconsistent,
        });
    }
    add_free_objects(k, objects, held, free)?;
    Ok(objects)
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

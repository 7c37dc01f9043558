//! The slab allocator (mm/slub.c; `struct slab` is 5.17 and later): caches, how many objects they have, and which.
#![cfg(all(
    kernel_has = "slab.slab_cache",
    kernel_has = "kmem_cache.cpu_slab",
    kernel_has = "kmem_cache.red_left_pad",
    kernel_has = "kmem_cache_node.total_objects",
    kernel_has = "sym:slab_caches",
    // As crate::page.
    kernel_has = "sym:page_offset_base",
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
use kstruct::{Fault, FaultKind, Memory, Part, View};

use crate::page::{AllPages, Pages};

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
    by_cache: BTreeMap<u64, Vec<Met<'m>>>,
    unreadable: Unreadable,
}

/// A slab, and what it says of its objects: read while it is at hand, since by the time that all pages were looked at no cache has
/// it any more.
#[derive(Clone, Copy)]
struct Met<'m> {
    slab: slab<'m>,
    free: u64,
    objects: u64,
    in_use: u64,
}

impl<'m> Met<'m> {
    fn new(slab: slab<'m>) -> Self {
        Met {
            slab,
            free: slab.freelist().addr(),
            objects: slab.objects().into(),
            in_use: slab.inuse().into(),
        }
    }
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
        let mut by_cache: BTreeMap<u64, Vec<Met<'m>>> = BTreeMap::new();
        let mut unreadable = Unreadable::default();
        for met in SlabPages::of(pages, |_| true)? {
            match met {
                Ok(met) => {
                    let cache = met.slab.slab_cache().addr();
                    by_cache.entry(cache).or_default().push(met);
                }
                Err(fault) => {
                    unreadable.count += 1;
                    unreadable.first = unreadable.first.or(Some(fault));
                }
            }
        }
        Ok(Slabs {
            pages,
            by_cache,
            unreadable,
        })
    }

    /// Pages that may be slabs as well, but whose `struct page` is not in the dump.
    pub fn unreadable(&self) -> Unreadable {
        self.unreadable
    }

    /// The slabs of a cache, by address.
    pub fn of_cache(&self, cache: kmem_cache<'m>) -> impl Iterator<Item = slab<'m>> {
        self.met(cache).iter().map(|met| met.slab)
    }

    fn met(&self, cache: kmem_cache<'m>) -> &[Met<'m>] {
        self.by_cache.get(&cache.addr()).map_or(&[], Vec::as_slice)
    }

    /// The objects of a cache that are allocated, by address. Where a slab's list of free objects is damaged, there is a fault in
    /// place of its objects.
    pub fn allocated(
        &self,
        cache: kmem_cache<'m>,
        cpus: &[u32],
    ) -> Result<impl Iterator<Item = Result<Object<'m>, Fault>>, Fault> {
        Allocated::of(
            self.pages,
            cache,
            cpus,
            self.met(cache).iter().copied().map(Ok),
        )
    }
}

/// The objects of one cache that are allocated, by address: in less time than [`Slabs::of`] takes, which finds all caches'
/// slabs. A page of which it can't be said whether it is a slab is a fault, and so is a slab whose list of free objects is
/// damaged.
pub fn allocated<'m>(
    cache: kmem_cache<'m>,
    cpus: &[u32],
) -> Result<impl Iterator<Item = Result<Object<'m>, Fault>>, Fault> {
    let pages = Pages::of(cache.memory())?;
    let is_its = move |slab: slab<'m>| slab.slab_cache().addr() == cache.addr();
    Allocated::of(pages, cache, cpus, SlabPages::of(pages, is_its)?)
}

/// An object of a slab.
#[derive(Clone, Copy)]
pub struct Object<'m> {
    memory: &'m Memory,
    address: u64,
    /// What lies there and behind it, if that is at hand.
    bytes: &'m [u8],
}

impl<'m> Object<'m> {
    /// Where it lies.
    #[inline]
    pub fn addr(self) -> u64 {
        self.address
    }

    /// The struct that it begins with.
    #[inline]
    pub fn view<T: View<'m>>(self) -> Result<T, Fault> {
        match self.bytes.get(..T::SIZE) {
            Some(bytes) => Ok(T::new(Part {
                memory: self.memory,
                address: self.address,
                bytes: Some(bytes),
            })),
            None => T::at(self.memory, self.address),
        }
    }
}

/// The objects of a cache that are allocated.
struct Allocated<'m, S> {
    memory: &'m Memory,
    size: u64,
    batch: Batch<'m>,
    // On the heap, so that no address of the others is taken: they stay in registers.
    later: Box<Later<'m, S>>,
}

impl<'m, S: Iterator<Item = Result<Met<'m>, Fault>>> Allocated<'m, S> {
    fn of(pages: Pages<'m>, cache: kmem_cache<'m>, cpus: &[u32], slabs: S) -> Result<Self, Fault> {
        // What a CPU allocates from next is free, though its slab says that it is in use.
        let mut held = Vec::new();
        for cpu in cpus {
            let own = cache.cpu_slab().on_cpu(*cpu)?.deref()?;
            held.push((own.slab().addr(), own.freelist().addr()));
        }
        Ok(Allocated {
            memory: pages.memory(),
            size: cache.size().into(),
            batch: Batch::default(),
            later: Box::new(Later {
                pages,
                slabs,
                held,
                before: u64::from(cache.red_left_pad()),
                objects: Objects {
                    first: 0,
                    size: cache.size().into(),
                    count: 0,
                    link: cache.offset().into(),
                    disguise: disguise(cache),
                },
                bytes: &[],
                free: FreeObjects::default(),
                next: 0,
            }),
        })
    }
}

impl<'m, S: Iterator<Item = Result<Met<'m>, Fault>>> Iterator for Allocated<'m, S> {
    type Item = Result<Object<'m>, Fault>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        while self.batch.allocated == 0 {
            match self.later.next()? {
                Ok(batch) => self.batch = batch,
                Err(fault) => return Some(Err(fault)),
            }
        }
        let Batch {
            allocated,
            address,
            bytes,
        } = self.batch;
        self.batch.allocated &= allocated - 1;
        let offset = u64::from(allocated.trailing_zeros()).wrapping_mul(self.size);
        Some(Ok(Object {
            memory: self.memory,
            address: address.wrapping_add(offset),
            bytes: bytes.get(offset as usize..).unwrap_or_default(),
        }))
    }

    /// For walks by `for_each` and the like: slab by slab, without going back to where objects are asked for one by one.
    #[inline]
    fn fold<B, F: FnMut(B, Self::Item) -> B>(mut self, init: B, mut each: F) -> B {
        let (mut found, mut batch) = (init, self.batch);
        loop {
            let Batch { address, bytes, .. } = batch;
            while batch.allocated != 0 {
                let offset = u64::from(batch.allocated.trailing_zeros()).wrapping_mul(self.size);
                batch.allocated &= batch.allocated - 1;
                found = each(
                    found,
                    Ok(Object {
                        memory: self.memory,
                        address: address.wrapping_add(offset),
                        bytes: bytes.get(offset as usize..).unwrap_or_default(),
                    }),
                );
            }
            match self.later.next() {
                Some(Ok(next)) => batch = next,
                Some(Err(fault)) => found = each(found, Err(fault)),
                None => return found,
            }
        }
    }
}

/// 64 objects of a slab, or the rest of it.
#[derive(Clone, Copy, Default)]
struct Batch<'m> {
    /// Those that are allocated and weren't given out yet.
    allocated: u64,
    /// The address of the first.
    address: u64,
    /// What lies there, as far as it lies in the dump in one piece.
    bytes: &'m [u8],
}

/// Those that come later.
struct Later<'m, S> {
    pages: Pages<'m>,
    slabs: S,
    /// The slabs that CPUs hold, and the first of the free objects that each has of it.
    held: Vec<(u64, u64)>,
    /// Bytes from the start of a slab to its first object.
    before: u64,
    /// Those of the slab that is looked at.
    objects: Objects,
    /// Their bytes, as far as they lie in the dump in one piece.
    bytes: &'m [u8],
    free: FreeObjects,
    /// The number of the first object that is not looked at yet.
    next: u64,
}

impl<'m, S: Iterator<Item = Result<Met<'m>, Fault>>> Later<'m, S> {
    /// The next 64 objects, or as many as the slab has.
    // A call for each slab is 2 % of a walk.
    #[inline(always)]
    fn next(&mut self) -> Option<Result<Batch<'m>, Fault>> {
        if self.next >= self.objects.count {
            let found = match self.slabs.next()? {
                // Most slabs are full, and nobody allocates from them.
                Ok(met) if self.is_full(met) => match self.all_of(met) {
                    Ok(batch) => return Some(Ok(batch)),
                    Err(fault) => Err(fault),
                },
                found => found.and_then(|met| self.look_at(met)),
            };
            if let Err(fault) = found {
                self.objects.count = 0;
                return Some(Err(fault));
            }
        }
        let number = self.next;
        self.next += 64;
        let offset = number.wrapping_mul(self.objects.size);
        Some(Ok(Batch {
            allocated: self.free.others(number, self.objects.count),
            address: self.objects.first.wrapping_add(offset),
            bytes: self.bytes.get(offset as usize..).unwrap_or_default(),
        }))
    }

    /// Whether all objects of a slab are allocated, and one [`Batch`] has room for them.
    #[inline]
    fn is_full(&self, met: Met<'m>) -> bool {
        met.free == 0
            && met.in_use == met.objects
            && (1..=64).contains(&met.objects)
            && self.held.iter().all(|(slab, _)| *slab != met.slab.addr())
    }

    /// The objects of such a slab.
    #[inline]
    fn all_of(&mut self, met: Met<'m>) -> Result<Batch<'m>, Fault> {
        let address = self.pages.memory_of(met.slab.addr())?;
        let address = address.wrapping_add(self.before);
        Ok(Batch {
            allocated: u64::MAX >> (64 - met.objects),
            address,
            bytes: self.bytes_of(address, met.objects),
        })
    }

    /// Mostly a slab's objects are in one piece. Why something isn't there is said of each object.
    #[inline]
    fn bytes_of(&self, first: u64, objects: u64) -> &'m [u8] {
        let k = self.pages.memory();
        let length = objects.wrapping_mul(self.objects.size) as usize;
        match k.bytes(first, length) {
            Ok(bytes) => bytes,
            Err(_) => k.run(first, length).unwrap_or_default(),
        }
    }

    /// Finds a slab's objects, and which are free.
    fn look_at(&mut self, met: Met<'m>) -> Result<(), Fault> {
        let k = self.pages.memory();
        let slab = met.slab.addr();
        let first = self.pages.memory_of(slab)?;
        let first = first.wrapping_add(self.before);
        self.objects.first = first;
        self.objects.count = met.objects;
        self.next = 0;
        self.bytes = self.bytes_of(first, met.objects);
        self.free.reset(0);
        let held = self.held.iter().find(|(of, _)| *of == slab);
        let held = held.map_or(0, |(_, head)| *head);
        // Most slabs are full.
        if met.free != 0 || held != 0 {
            self.free.reset(met.objects);
            // All that isn't in use is on the slab's own list, whoever holds the slab; what its CPU holds counts as in use.
            add_free_objects(k, &self.objects, met.free, &mut self.free)?;
        }
        if self.free.count() + met.in_use != met.objects {
            return Err(Fault {
                address: slab,
                kind: FaultKind::Inconsistent,
            });
        }
        add_free_objects(k, &self.objects, held, &mut self.free)
    }
}

/// The slabs among all pages that are wanted. The test is done before it is known whether a page is a slab.
struct SlabPages<'m, W> {
    pages: Pages<'m>,
    rest: AllPages<'m>,
    guarded: std::ops::Range<u64>,
    is_wanted: W,
}

impl<'m, W: Fn(slab<'m>) -> bool> SlabPages<'m, W> {
    fn of(pages: Pages<'m>, is_wanted: W) -> Result<Self, Fault> {
        Ok(SlabPages {
            pages,
            rest: pages.iter(),
            guarded: guarded(pages.memory())?,
            is_wanted,
        })
    }
}

impl<'m, W: Fn(slab<'m>) -> bool> Iterator for SlabPages<'m, W> {
    type Item = Result<Met<'m>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        let is_wanted = &self.is_wanted;
        loop {
            let (frame, page) = self
                .rest
                .next_where(|page| page_slab(page).is_some_and(is_wanted) && is_slab(page))?;
            match page {
                Ok(_) if self.guarded.contains(&self.pages.memory_at(frame)) => {}
                Ok(page) => return page_slab(page).map(|slab| Ok(Met::new(slab))),
                Err(fault) => return Some(Err(fault)),
            }
        }
    }
}

/// A page's bytes as those of the slab that it is, if it is one.
#[inline]
fn page_slab(page: kernel::page<'_>) -> Option<slab<'_>> {
    const { assert!(slab::SIZE <= kernel::page::SIZE) };
    let bytes = page.bytes().get(..slab::SIZE)?;
    Some(slab::new(Part {
        bytes: Some(bytes),
        ..page.part()
    }))
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
#[inline]
fn is_slab(page: kernel::page<'_>) -> bool {
    i64::from(page.page_type() >> 24) == kernel::constants::PGTY_slab as i64
}

#[cfg(all(not(kernel_has = "const:PGTY_slab"), kernel_has = "const:PG_slab"))]
#[inline]
fn is_slab(page: kernel::page<'_>) -> bool {
    page.flags() >> kernel::constants::PG_slab & 1 != 0
}

/// The memory of objects that KFENCE guards: they look like slabs of one object.
#[cfg(kernel_has = "sym:__kfence_pool")]
pub fn guarded(k: &Memory) -> Result<std::ops::Range<u64>, Fault> {
    /// `KFENCE_POOL_SIZE` with `CONFIG_KFENCE_NUM_OBJECTS=255`, which distributions don't change.
    const SIZE: u64 = 2 << 20;
    let start = k.get(sym::__kfence_pool)?.addr();
    Ok(start..if start == 0 {
        0
    } else {
        start.wrapping_add(SIZE)
    })
}

/// The memory of objects that KFENCE guards: none.
#[cfg(not(kernel_has = "sym:__kfence_pool"))]
pub fn guarded(_: &Memory) -> Result<std::ops::Range<u64>, Fault> {
    Ok(0..0)
}

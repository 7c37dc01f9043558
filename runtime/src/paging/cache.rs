//! What was translated lately. Each thread has its own, so that nobody waits and no entry is ever half of two.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Format, PAGE, PageTable, translate, x86};
use crate::dump::Dump;
use crate::fault::{Fault, FaultKind};

/// How many places a thread remembers: 12 KB of memory.
const SLOTS: usize = 512;

/// Where something is.
#[derive(Clone, Copy)]
struct Slot {
    /// The number of the tables, from 1.
    owner: u64,
    /// The page that the address is in; with x86's tables of 64-bit entries the 2 MB.
    place: u64,
    /// The page's physical address; of 2 MB that have a table, the table's address with [`TABLE`].
    physical: u64,
}

/// Marks the address of a table: nothing smaller than a page has an address of its own here.
const TABLE: u64 = 1;

thread_local! {
    static SLOT: [Cell<Slot>; SLOTS] = const {
        [const { Cell::new(Slot { owner: 0, place: 0, physical: 0 }) }; SLOTS]
    };
}

/// A name in the cache for one set of page tables, which don't change while it is used.
#[derive(Debug)]
pub(crate) struct Cache {
    owner: u64,
}

impl Cache {
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Cache {
            owner: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// As [`translate`]; only what is found is remembered.
    #[inline]
    pub fn translate(&self, dump: &Dump, table: &PageTable, address: u64) -> Result<u64, Fault> {
        let Format::X86 {
            levels,
            encryption_mask,
        } = table.format
        else {
            let first = self.remembered(address / PAGE, || {
                Ok(translate(dump, table, address)? & !(PAGE - 1))
            })?;
            return Ok(first | (address % PAGE));
        };
        // What is looked for all over vmalloc space is in as many pages as it likes, but in few directories' entries: the table that
        // these lead to costs one read, which a processor's cache has eight pages of.
        let fault = |kind: FaultKind| Fault { address, kind };
        let place = address >> x86::DIRECTORY_BITS;
        let known = self.remembered(place, || {
            let (found, _) = x86::directory(dump, table.root, levels, encryption_mask, address)
                .map_err(fault)?;
            Ok(match found {
                x86::Directory::Table(table) => table | TABLE,
                x86::Directory::Page(physical) => physical,
            })
        })?;
        if known & TABLE == 0 {
            return Ok(known | (address % (1 << x86::DIRECTORY_BITS)));
        }
        let page = x86::page(dump, known & !TABLE, encryption_mask, address).map_err(fault)?;
        Ok(page | (address % PAGE))
    }

    /// What is remembered of a place, or else is found out.
    #[inline]
    fn remembered(
        &self,
        place: u64,
        find: impl FnOnce() -> Result<u64, Fault>,
    ) -> Result<u64, Fault> {
        // Kernels lay their areas out in large powers of two, which the upper bits of a product tell apart (Fibonacci hashing).
        let mixed = (place ^ self.owner << 48).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let index = (mixed >> (64 - SLOTS.trailing_zeros())) as usize;
        SLOT.with(|slots| {
            let slot = slots[index].get();
            if slot.owner == self.owner && slot.place == place {
                return Ok(slot.physical);
            }
            let physical = find()?;
            slots[index].set(Slot {
                owner: self.owner,
                place,
                physical,
            });
            Ok(physical)
        })
    }
}

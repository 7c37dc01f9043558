//! What was translated lately. Each thread has its own, so that nobody waits and no entry is ever half of two.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{PAGE, PageTable, translate};
use crate::dump::Dump;
use crate::fault::Fault;

/// How many pages a thread remembers: 16 KB of memory.
const SLOTS: usize = 512;

/// A page of a dump, and where it is.
#[derive(Clone, Copy)]
struct Slot {
    /// The number of the tables, from 1.
    owner: u64,
    page: u64,
    physical: u64,
}

thread_local! {
    static SLOT: [Cell<Slot>; SLOTS] = const {
        [const { Cell::new(Slot { owner: 0, page: 0, physical: 0 }) }; SLOTS]
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
    pub fn translate(&self, dump: &Dump, table: &PageTable, address: u64) -> Result<u64, Fault> {
        let page = address & !(PAGE - 1);
        // Neighbours have neighbouring slots; the tables' number keeps two of them apart.
        let index = (page / PAGE).wrapping_add(self.owner.wrapping_mul(67)) as usize % SLOTS;
        SLOT.with(|slots| {
            let slot = slots[index].get();
            if slot.owner == self.owner && slot.page == page {
                return Ok(slot.physical | (address % PAGE));
            }
            let physical = translate(dump, table, address)?;
            slots[index].set(Slot {
                owner: self.owner,
                page,
                physical: physical & !(PAGE - 1),
            });
            Ok(physical)
        })
    }
}

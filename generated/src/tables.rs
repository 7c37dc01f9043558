//! The kernel's hash tables that grow (include/linux/rhashtable.h), told to the runtime.
#![cfg(all(
    kernel_has = "rhashtable.tbl",
    kernel_has = "rhash_head.next",
    kernel_has = "bucket_table.buckets",
    kernel_has = "bucket_table.future_tbl"
))]

use std::collections::HashSet;

use kstruct::Fault;
use kstruct::view::View;
use kstruct::walk::{Entries, Node, chain};
#[cfg(kernel_has = "bucket_table.nest")]
use kstruct::{FaultKind, Memory};

use crate::{bucket_table, rhash_head, rhashtable};

impl<'m> Node<'m> for rhash_head<'m> {
    #[inline]
    fn next_node(self) -> u64 {
        self.next().addr()
    }

    /// The end is an odd number that says which bucket ended.
    #[inline]
    fn is_end(address: u64) -> bool {
        address & 1 != 0
    }
}

impl<'m> rhashtable<'m> {
    /// The structs in the table, by bucket; while it is being resized also those that are in the next table already, none twice.
    /// `member` is the accessor of the link: `nl_table.hash().entries(netlink_sock::node)`.
    ///
    /// In a table of lists (`rhltable`) these are the lists' first entries: each leads to those of the same key by
    /// `rhlist_head.next`.
    pub fn entries<T: View<'m>>(
        self,
        member: impl Fn(T) -> rhash_head<'m> + Copy,
    ) -> impl Iterator<Item = Result<T, Fault>> {
        let memory = self.memory();
        let mut heads = Vec::new();
        let mut tables = 0;
        for table in chain(Ok(self.tbl()), bucket_table::future_tbl) {
            tables += 1;
            match table {
                Ok(table) => add_buckets(table, &mut heads),
                Err(fault) => heads.push(Err(fault)),
            }
        }
        // While an entry is moved, the chain that it leaves leads into the one that it is put into.
        let mut seen = (tables > 1).then(HashSet::new);
        heads
            .into_iter()
            .flat_map(move |first| {
                let (first, fault) = match first {
                    Ok(first) => (first, None),
                    Err(fault) => (1, Some(Err(fault))),
                };
                let entries = Entries::<T, rhash_head<'m>>::new(memory, 0, first, member);
                fault.into_iter().chain(entries)
            })
            .filter(move |entry| match (entry, &mut seen) {
                (Ok(entry), Some(seen)) => seen.insert(entry.addr()),
                _ => true,
            })
    }
}

/// Adds the first entries of the buckets that are not empty, or the fault of those that can't be read.
fn add_buckets(table: bucket_table<'_>, heads: &mut Vec<Result<u64, Fault>>) {
    let memory = table.memory();
    let buckets = table.buckets();
    #[cfg(kernel_has = "bucket_table.nest")]
    if table.nest() != 0 {
        let bits = page_bits(memory);
        let mut nested = Nested {
            memory,
            bits,
            seen: HashSet::new(),
            heads,
        };
        match buckets.deref() {
            // `nested_bucket_table_alloc`: no level has more than a page.
            Ok(top) if table.nest() <= bits => {
                let below = table.size() >> table.nest();
                nested.add_pages(top.addr(), 1 << table.nest(), below);
            }
            Ok(_) => nested.add_fault(table.addr(), FaultKind::Inconsistent),
            Err(fault) => nested.heads.push(Err(fault)),
        }
        return;
    }
    let width = u64::from(memory.kernel().pointer_size);
    match buckets.array(table.size() as usize) {
        Ok(all) => heads.extend(
            (0..)
                .zip(all.iter())
                .filter_map(|(index, bucket)| {
                    let at = buckets.addr().wrapping_add(index * width);
                    first(at, bucket.addr())
                })
                .map(Ok),
        ),
        Err(fault) => heads.push(Err(fault)),
    }
}

/// The first entry of the bucket at `address`, in which `value` stands; `None` if it is empty.
fn first(address: u64, value: u64) -> Option<u64> {
    // Bit 0, in 5.2 bit 1, is the bucket's lock. An empty one is null, or in 5.2 has the mark of its end.
    #[cfg(kernel_has = "rhash_lock_head")]
    let (first, is_empty) = (value & !3, value & !3 == address);
    // Before, the locks were elsewhere, and the mark of the end was where the first entry would be.
    #[cfg(not(kernel_has = "rhash_lock_head"))]
    let (first, is_empty) = (value, value & 1 != 0 || value == address);
    (!is_empty && first != 0).then_some(first)
}

/// Bits of an index into a page of pointers.
#[cfg(kernel_has = "bucket_table.nest")]
fn page_bits(memory: &Memory) -> u32 {
    let pointers = memory.page_size() / u64::from(memory.kernel().pointer_size);
    pointers.max(1).ilog2()
}

/// A table for which there was not enough memory in one piece (`nested_table`, lib/rhashtable.c): pages of pointers to pages of
/// buckets.
#[cfg(kernel_has = "bucket_table.nest")]
struct Nested<'a, 'm> {
    memory: &'m Memory,
    bits: u32,
    /// Pages: one that is shared would be gone through again and again.
    seen: HashSet<u64>,
    heads: &'a mut Vec<Result<u64, Fault>>,
}

#[cfg(kernel_has = "bucket_table.nest")]
impl Nested<'_, '_> {
    fn add_fault(&mut self, address: u64, kind: FaultKind) {
        self.heads.push(Err(Fault { address, kind }));
    }

    /// The first `count` words of a page that was not gone through yet.
    fn words(&mut self, page: u64, count: u32) -> Vec<(u64, u64)> {
        let mut words = Vec::new();
        if !self.seen.insert(page) {
            self.add_fault(page, FaultKind::Inconsistent);
            return words;
        }
        let width = u64::from(self.memory.kernel().pointer_size);
        for index in 0..u64::from(count) {
            let at = page.wrapping_add(index * width);
            match self.memory.word(at) {
                Ok(word) => words.push((at, word)),
                Err(fault) => {
                    self.heads.push(Err(fault));
                    break;
                }
            }
        }
        words
    }

    /// Below a page of `count` pointers, each of which leads to `below` buckets.
    fn add_pages(&mut self, page: u64, count: u32, below: u32) {
        for (_, page) in self.words(page, count) {
            // Buckets that nothing was put into have no page.
            if page == 0 {
                continue;
            }
            let most = 1 << self.bits;
            if below > most {
                self.add_pages(page, most, below >> self.bits);
            } else {
                let buckets = self.words(page, below);
                let heads = buckets.into_iter().filter_map(|(at, word)| first(at, word));
                self.heads.extend(heads.map(Ok));
            }
        }
    }
}

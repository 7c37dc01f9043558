//! A dump for someone who knows where everything in it is.

use kernel::{sym, task_struct};
use kstruct::{Memory, View as _};

const PRESENT: u64 = 1;
const LARGE: u64 = 1 << 7;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// A dump's bytes, and the few numbers that one has to know of it.
pub struct RawDump<'f> {
    file: &'f [u8],
    /// Where in the file address 0 of the direct map would lie.
    direct: u64,
    /// Where the direct map begins: `page_offset_base`.
    pub page_offset: u64,
    /// The kernel's page tables, as an address of the direct map.
    tables: u64,
    levels: u32,
}

impl<'f> RawDump<'f> {
    /// Finds out where the direct map lies in the file, by a struct that Memory finds.
    pub fn new(memory: &Memory, file: &'f [u8]) -> Result<Self, Box<dyn std::error::Error>> {
        let task = memory.get(sym::init_task)?.tasks().next().addr()
            - kstruct::offset_of!(task_struct, tasks) as u64;
        let wanted = memory.bytes(task, task_struct::SIZE)?;
        let at = (0..file.len() - wanted.len())
            .find(|at| file[*at..].starts_with(wanted))
            .ok_or("the first task is not in the file as it is in memory")?;
        let page_offset = memory.get(sym::page_offset_base)?;
        let tables = memory.physical_address(memory.address_of(sym::init_top_pgt))?;
        Ok(RawDump {
            file,
            direct: (at as u64).wrapping_sub(task),
            page_offset,
            tables: page_offset + tables,
            levels: memory.paging_levels(),
        })
    }

    #[inline(always)]
    pub fn bytes(&self, address: u64, length: usize) -> &'f [u8] {
        let at = address.wrapping_add(self.direct) as usize;
        &self.file[at..at + length]
    }

    /// Whether the page of an address is in the file.
    pub fn has(&self, address: u64) -> bool {
        let at = address.wrapping_add(self.direct);
        at < self.file.len() as u64 - 4096
    }

    #[inline(always)]
    pub fn u64(&self, address: u64) -> u64 {
        u64_at(self.bytes(address, 8), 0)
    }

    #[inline(always)]
    pub fn u32(&self, address: u64) -> u32 {
        u32_at(self.bytes(address, 4), 0)
    }

    /// Where an address outside of the direct map is in it; `None` if nothing is there.
    #[inline]
    pub fn translate(&self, address: u64) -> Option<u64> {
        let mut table = self.tables;
        let mut shift = 12 + 9 * self.levels;
        loop {
            shift -= 9;
            let entry = self.u64(table + (address >> shift & 511) * 8);
            if entry & PRESENT == 0 {
                return None;
            }
            let next = self.page_offset + (entry & ADDRESS);
            if shift == 12 || (entry & LARGE != 0 && shift < 39) {
                let mask = (1 << shift) - 1;
                return Some((next & !mask) | (address & mask));
            }
            table = next;
        }
    }
}

#[inline(always)]
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..]
        .first_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[inline(always)]
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..]
        .first_chunk()
        .map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

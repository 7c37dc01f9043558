//! z/Architecture (Principles of Operation, chapter 3 "Dynamic Address Translation"): region, segment and page tables of
//! big-endian entries.

use super::entry;
use crate::dump::Dump;
use crate::fault::FaultKind;

/// In every entry above a page table's: it leads nowhere.
const INVALID: u64 = 1 << 5;
/// In a page table's entry: invalid. Linux keeps a page whose access was taken away but that is there (`_PAGE_PRESENT`).
const PAGE_INVALID: u64 = 1 << 10;
const PAGE_PRESENT: u64 = 1;
/// Format control: a segment of 1 MB or a region of 2 GB.
const FORMAT: u64 = 1 << 10;
/// Bits of an entry with its own type, which must be that of the table.
const TYPE: u64 = 3 << 2;

/// The table that translation starts with: the designation type of an address-space-control element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Top {
    Segment,
    Region3,
    Region2,
    Region1,
}

impl Top {
    pub fn levels(self) -> u32 {
        self as u32 + 2
    }

    /// By an address-space-control element.
    pub fn of_asce(element: u64) -> Self {
        match element >> 2 & 3 {
            0 => Top::Segment,
            1 => Top::Region3,
            2 => Top::Region2,
            _ => Top::Region1,
        }
    }
}

pub(super) fn translate(dump: &Dump, root: u64, top: Top, address: u64) -> Result<u64, FaultKind> {
    let mut base = root;
    let reach = 31 + 11 * top as u32;
    if reach < 64 && address >> reach != 0 {
        return Err(FaultKind::NotMapped);
    }
    for kind in (0..=top as u32).rev() {
        let shift = 20 + 11 * kind;
        let found = entry(dump, base, address >> shift & 0x7ff, 8, true)?;
        if found & INVALID != 0 || found & TYPE != u64::from(kind) << 2 {
            return Err(FaultKind::NotMapped);
        }
        if kind <= 1 && found & FORMAT != 0 {
            let offset = (1 << shift) - 1;
            return Ok((found & !offset) | (address & offset));
        }
        // A page table has 256 entries and is aligned to them, other tables to a page.
        base = found & if kind == 0 { !0x7ff } else { !0xfff };
    }
    let page = entry(dump, base, address >> 12 & 0xff, 8, true)?;
    if page & PAGE_INVALID != 0 && page & PAGE_PRESENT == 0 {
        return Err(FaultKind::NotMapped);
    }
    Ok((page & !0xfff) | (address & 0xfff))
}

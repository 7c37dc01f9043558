//! x86 page tables (Intel SDM volume 3, chapter 5): 4 and 5 levels of 64-bit entries, and PAE's 3 levels.

use crate::dump::Dump;
use crate::fault::{Fault, FaultKind};

/// Bytes in the smallest page.
pub(crate) const PAGE: u64 = 4096;

const PRESENT: u64 = 1;
/// In a directory entry: it maps a 2 MB or 1 GB page itself.
const LARGE: u64 = 1 << 7;
/// `_PAGE_PROTNONE`, the bit that marks a page whose access was taken away but that is still there; it is the global
/// bit's, which means nothing while PRESENT is clear.
const PROTNONE: u64 = 1 << 8;
/// Bits 12 to 51: the physical address.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Where a kernel's page tables are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageTable {
    /// Physical address of the top level.
    pub root: u64,
    /// 5 or 4; 3 with PAE; 0 where there are none.
    pub levels: u32,
    /// Bits in entries that encrypt memory (AMD SME) and belong to no address.
    pub encryption_mask: u64,
}

/// The physical address of a virtual one.
pub(crate) fn translate(dump: &Dump, table: &PageTable, address: u64) -> Result<u64, Fault> {
    let fault = |kind| Fault { address, kind };
    if table.levels == 0 {
        return Err(fault(FaultKind::NotMapped));
    }
    if table.levels > 3 {
        // The upper bits must repeat the highest one that is translated.
        let unused = 64 - (12 + 9 * table.levels);
        let extended = ((address << unused).cast_signed() >> unused).cast_unsigned();
        if extended != address {
            return Err(fault(FaultKind::NotMapped));
        }
    }
    if table.levels == 3 && address >> 32 != 0 {
        return Err(fault(FaultKind::NotMapped));
    }
    let mut base = table.root;
    for level in (0..table.levels).rev() {
        let shift = 12 + 9 * level;
        let index = (address >> shift)
            & if table.levels == 3 && level == 2 {
                3
            } else {
                511
            };
        let bytes = dump
            .physical(base.wrapping_add(index * 8), 8)
            .map_err(fault)?;
        let entry = crate::bits::uint(bytes, false);
        // With PRESENT clear and PROTNONE set, the kernel inverts the address (the L1TF mitigation).
        let value = match entry & (PRESENT | PROTNONE) {
            0 => return Err(fault(FaultKind::NotMapped)),
            PROTNONE => !entry,
            _ => entry,
        };
        let physical = value & ADDRESS & !table.encryption_mask;
        let large = entry & LARGE != 0 && (level == 1 || (level == 2 && table.levels > 3));
        if level == 0 || large {
            let offset = (1 << shift) - 1;
            return Ok((physical & !offset) | (address & offset));
        }
        base = physical;
    }
    Err(fault(FaultKind::NotMapped))
}

//! x86 (Intel SDM volume 3, chapter 5): 4 and 5 levels of 64-bit entries, PAE's 3 levels, and 2 levels of 32-bit entries.

use super::{Mapping, entry, is_canonical};
use crate::dump::Dump;
use crate::fault::FaultKind;

const PRESENT: u64 = 1;
/// In a directory entry: it maps a large page itself.
const LARGE: u64 = 1 << 7;
/// `_PAGE_PROTNONE`, the bit that marks a page whose access was taken away but that is still there; it is the global
/// bit's, which means nothing while PRESENT is clear.
const PROTNONE: u64 = 1 << 8;
/// Bits 12 to 51: the physical address.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// What the directories say of 2 MB of addresses.
#[derive(Clone, Copy)]
pub(super) enum Directory {
    /// The physical address of a table that has an entry for each 4 KB.
    Table(u64),
    /// The first physical address of a page of 2 MB, or of that part of a page of 1 GB.
    Page(u64),
}

/// Bits of an address that the last table translates, and the offset in a page.
pub(super) const DIRECTORY_BITS: u32 = 21;

/// Tables of 64-bit entries: 4 or 5 levels, or PAE's 3.
pub(super) fn translate(
    dump: &Dump,
    root: u64,
    levels: u32,
    encryption_mask: u64,
    address: u64,
) -> Result<Mapping, FaultKind> {
    let (found, bits) = directory(dump, root, levels, encryption_mask, address)?;
    match found {
        Directory::Table(table) => Ok(Mapping::of(
            address,
            page(dump, table, encryption_mask, address)?,
            12,
        )),
        Directory::Page(physical) => Ok(Mapping::of(address, physical, bits)),
    }
}

/// What all levels but the last say of an address, and bits of an offset in what that maps.
pub(super) fn directory(
    dump: &Dump,
    root: u64,
    levels: u32,
    encryption_mask: u64,
    address: u64,
) -> Result<(Directory, u32), FaultKind> {
    let is_pae = levels == 3;
    let reaches = if is_pae {
        address >> 32 == 0
    } else {
        is_canonical(address, 12 + 9 * levels)
    };
    if !reaches {
        return Err(FaultKind::NotMapped);
    }
    let mut base = root;
    for level in (1..levels).rev() {
        let shift = 12 + 9 * level;
        let is_top_of_pae = is_pae && level == 2;
        let index = (address >> shift) & if is_top_of_pae { 3 } else { 511 };
        let (physical, flags) = follow(dump, base, index, encryption_mask)?;
        if flags & LARGE != 0 && (level == 1 || (level == 2 && !is_pae)) {
            let part = address & ((1 << shift) - (1 << DIRECTORY_BITS));
            let first = physical >> shift << shift;
            return Ok((Directory::Page(first | part), shift));
        }
        base = physical;
    }
    Ok((Directory::Table(base), 12))
}

/// The physical address of the page of 4 KB that an address is in, by the last table.
#[inline]
pub(super) fn page(
    dump: &Dump,
    table: u64,
    encryption_mask: u64,
    address: u64,
) -> Result<u64, FaultKind> {
    follow(dump, table, (address >> 12) & 511, encryption_mask).map(|(physical, _)| physical)
}

/// The physical address in an entry, and the entry.
#[inline]
fn follow(
    dump: &Dump,
    table: u64,
    index: u64,
    encryption_mask: u64,
) -> Result<(u64, u64), FaultKind> {
    let entry = entry(dump, table, index, 8, false)?;
    // With PRESENT clear and PROTNONE set, the kernel inverts the address (the L1TF mitigation).
    let value = match entry & (PRESENT | PROTNONE) {
        0 => return Err(FaultKind::NotMapped),
        PROTNONE => !entry,
        _ => entry,
    };
    Ok((value & ADDRESS & !encryption_mask, entry))
}

/// Tables of 32-bit entries, with pages of 4 KB and 4 MB.
pub(super) fn translate_legacy(dump: &Dump, root: u64, address: u64) -> Result<Mapping, FaultKind> {
    if address >> 32 != 0 {
        return Err(FaultKind::NotMapped);
    }
    let directory = entry(dump, root, address >> 22, 4, false)?;
    // There is no L1TF mitigation here: such a processor has no room to invert into.
    if directory & (PRESENT | PROTNONE) == 0 {
        return Err(FaultKind::NotMapped);
    }
    if directory & LARGE != 0 {
        // Bits 13 to 20 are bits 32 to 39 of the address (PSE-36).
        let high = (directory >> 13 & 0xff) << 32;
        return Ok(Mapping::of(address, high | directory & 0xffc0_0000, 22));
    }
    let entry = entry(
        dump,
        directory & 0xffff_f000,
        address >> 12 & 0x3ff,
        4,
        false,
    )?;
    if entry & (PRESENT | PROTNONE) == 0 {
        return Err(FaultKind::NotMapped);
    }
    Ok(Mapping::of(address, entry & 0xffff_f000, 12))
}

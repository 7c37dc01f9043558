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

/// Tables of 64-bit entries: 4 or 5 levels, or PAE's 3.
pub(super) fn translate(
    dump: &Dump,
    root: u64,
    levels: u32,
    encryption_mask: u64,
    address: u64,
) -> Result<Mapping, FaultKind> {
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
    for level in (0..levels).rev() {
        let shift = 12 + 9 * level;
        let is_top_of_pae = is_pae && level == 2;
        let index = (address >> shift) & if is_top_of_pae { 3 } else { 511 };
        let entry = entry(dump, base, index, 8, false)?;
        // With PRESENT clear and PROTNONE set, the kernel inverts the address (the L1TF mitigation).
        let value = match entry & (PRESENT | PROTNONE) {
            0 => return Err(FaultKind::NotMapped),
            PROTNONE => !entry,
            _ => entry,
        };
        let physical = value & ADDRESS & !encryption_mask;
        let large = entry & LARGE != 0 && (level == 1 || (level == 2 && !is_pae));
        if level == 0 || large {
            return Ok(Mapping::of(address, physical, shift));
        }
        base = physical;
    }
    Err(FaultKind::NotMapped)
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

//! AArch64 (Arm ARM, D8 "The AArch64 Virtual Memory System Architecture"): granules of 4, 16 and 64 KB; virtual addresses of up to
//! 52 bits; physical ones of up to 52 bits (FEAT_LPA with 64 KB, FEAT_LPA2 with less).

use super::{entry, is_canonical};
use crate::dump::Dump;
use crate::fault::FaultKind;

const VALID: u64 = 1;
/// In an entry that is not of the last level: it leads to a table. In one of the last: it is a page.
const TABLE: u64 = 1 << 1;
/// `PTE_PROT_NONE` (arch/arm64/include/asm/pgtable-prot.h, until 6.10): a page whose access was taken away but that is still there.
const PROT_NONE: u64 = 1 << 58;

/// How many levels of tables it takes: each resolves what one page of 8-byte entries can.
pub(super) fn levels(page_bits: u32, address_bits: u32) -> u32 {
    address_bits
        .saturating_sub(page_bits)
        .div_ceil(page_bits.saturating_sub(3).max(1))
}

pub(super) fn translate(
    dump: &Dump,
    root: u64,
    page_bits: u32,
    address_bits: u32,
    address: u64,
) -> Result<u64, FaultKind> {
    // The kernel's half has ones above, user space zeros: which half it is says the root, so both are let through.
    let is_user = address >> address_bits == 0;
    if !is_user && !is_canonical(address, address_bits.saturating_add(1).min(64)) {
        return Err(FaultKind::NotMapped);
    }
    let index_bits = page_bits - 3;
    let levels = levels(page_bits, address_bits);
    let mut base = root;
    for level in (0..levels).rev() {
        let shift = page_bits + index_bits * level;
        let bits = index_bits.min(address_bits - shift);
        let index = (address >> shift) & ((1 << bits) - 1);
        let entry = entry(dump, base, index, 8, false)?;
        if entry & VALID == 0 && (level != 0 || entry & PROT_NONE == 0) {
            return Err(FaultKind::NotMapped);
        }
        let physical = output_address(entry, page_bits, address_bits);
        if level == 0 || entry & TABLE == 0 {
            // The last level has pages only; and there is no block that is larger than the format says.
            let is_page = level == 0 && (entry & TABLE != 0 || entry & VALID == 0);
            if !is_page && !has_blocks(page_bits, address_bits, level) {
                return Err(FaultKind::NotMapped);
            }
            let offset = (1 << shift) - 1;
            return Ok((physical & !offset) | (address & offset));
        }
        base = physical;
    }
    Err(FaultKind::NotMapped)
}

/// Whether an entry that is so many levels above the last may map a block (table D8-16 and its neighbours).
fn has_blocks(page_bits: u32, address_bits: u32, level: u32) -> bool {
    let wide = address_bits > 48;
    match (page_bits, level) {
        (_, 1) => true,
        (12, 2) => true,
        // 512 GB, 64 GB and 4 TB: with 52-bit addresses only.
        (12, 3) | (14 | 16, 2) => wide,
        _ => false,
    }
}

/// The physical address in an entry. What lies above bit 47 is kept where lower bits are free: in 15:12 with 64 KB; with less,
/// and then only if addresses have 52 bits (`TCR_ELx.DS`), in 9:8.
fn output_address(entry: u64, page_bits: u32, address_bits: u32) -> u64 {
    let low = (1 << page_bits) - 1;
    if page_bits == 16 {
        return (entry & 0x0000_ffff_ffff_ffff & !low) | (entry >> 12 & 0xf) << 48;
    }
    if address_bits > 48 {
        return (entry & 0x0003_ffff_ffff_ffff & !low) | (entry >> 8 & 3) << 50;
    }
    entry & 0x0000_ffff_ffff_ffff & !low
}

#[cfg(test)]
mod tests {
    use super::{levels, output_address};

    #[test]
    fn levels_are_those_of_the_kernels_configurations() {
        // CONFIG_PGTABLE_LEVELS, arch/arm64/Kconfig.
        for (page, bits, expected) in [
            (12, 39, 3),
            (12, 48, 4),
            (12, 52, 5),
            (14, 36, 2),
            (14, 47, 3),
            (14, 48, 4),
            (14, 52, 4),
            (16, 42, 2),
            (16, 48, 3),
            (16, 52, 3),
        ] {
            assert_eq!(levels(page, bits), expected, "{page} {bits}");
        }
    }

    #[test]
    fn high_bits_are_kept_low() {
        assert_eq!(output_address(0x0040_0000_8000_0f03, 12, 48), 0x8000_0000);
        assert_eq!(output_address(0x8000_5003, 16, 52), 0x5_0000_8000_0000);
        assert_eq!(
            output_address(0x0002_0000_8000_0303, 12, 52),
            0xe_0000_8000_0000
        );
    }
}

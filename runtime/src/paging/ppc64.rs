//! Book3S-64 with radix translation (Power ISA 3.0, book III, chapter 5.7.10 "Radix Tree Translation"): tables of big-endian entries, also
//! under little-endian kernels. Each directory's entry says how many bits the next level resolves.

use super::entry;
use crate::dump::Dump;
use crate::fault::FaultKind;

const VALID: u64 = 1 << 63;
/// A page, of whichever size its level has, and not a table.
const LEAF: u64 = 1 << 62;
/// Bits of a directory's entry: where the next table is, and how many bits of the address its index has.
const NEXT: u64 = 0x0fff_ffff_ffff_ff00;
const NEXT_BITS: u64 = 0x1f;
/// `PTE_RPN_MASK` (arch/powerpc/include/asm/book3s/64/pgtable.h): physical addresses have up to 53 bits.
const PHYSICAL: u64 = 0x001f_ffff_ffff_f000;

/// Bits of an effective address that are translated: both page sizes of Linux come to that.
const ADDRESS_BITS: u32 = 52;
/// Bits that the top table resolves (`RADIX_PGD_INDEX_SIZE`).
const TOP_BITS: u32 = 13;
/// 64 KB pages and 4 KB pages both have four levels.
pub(super) const LEVELS: u32 = 4;

/// The kernel's addresses have `0xc00` above the bits that are translated, user space's zeros.
const KERNEL: u64 = 0xc00;

pub(super) fn translate(dump: &Dump, root: u64, address: u64) -> Result<u64, FaultKind> {
    if !matches!(address >> ADDRESS_BITS, 0 | KERNEL) {
        return Err(FaultKind::NotMapped);
    }
    let (mut base, mut shift, mut bits) = (root, ADDRESS_BITS, TOP_BITS);
    for _ in 0..LEVELS {
        // A table of no entries, or of more than there are addresses left for, is none.
        if bits == 0 || shift < bits + 12 {
            return Err(FaultKind::NotMapped);
        }
        shift -= bits;
        let index = address >> shift & ((1 << bits) - 1);
        let found = entry(dump, base, index, 8, true)?;
        if found & VALID == 0 {
            return Err(FaultKind::NotMapped);
        }
        if found & LEAF != 0 {
            let offset = (1 << shift) - 1;
            return Ok((found & PHYSICAL & !offset) | (address & offset));
        }
        base = found & NEXT;
        bits = (found & NEXT_BITS) as u32;
    }
    Err(FaultKind::NotMapped)
}

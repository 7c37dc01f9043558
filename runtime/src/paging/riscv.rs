//! RISC-V (privileged architecture, chapter "Supervisor-Level ISA"): Sv39, Sv48 and Sv57.

use super::{entry, is_canonical};
use crate::dump::Dump;
use crate::fault::FaultKind;

const VALID: u64 = 1;
/// Readable, writable, executable: an entry with none of them leads to a table.
const LEAF: u64 = 7 << 1;
/// `_PAGE_PROT_NONE`, which is the global bit (arch/riscv/include/asm/pgtable-bits.h).
const PROT_NONE: u64 = 1 << 5;

pub(super) fn translate(
    dump: &Dump,
    root: u64,
    levels: u32,
    address: u64,
) -> Result<u64, FaultKind> {
    if !is_canonical(address, 12 + 9 * levels) {
        return Err(FaultKind::NotMapped);
    }
    let mut base = root;
    for level in (0..levels).rev() {
        let shift = 12 + 9 * level;
        let entry = entry(dump, base, address >> shift & 511, 8, false)?;
        let is_hidden_page = level == 0 && entry & PROT_NONE != 0;
        if entry & VALID == 0 && !is_hidden_page {
            return Err(FaultKind::NotMapped);
        }
        // Bits 10 to 53; above them are the memory type (Svpbmt) and others.
        let physical = (entry >> 10 & 0xfff_ffff_ffff) << 12;
        if entry & LEAF != 0 || is_hidden_page {
            let offset = (1 << shift) - 1;
            // A leaf whose low bits are not clear is 64 KB in 16 entries (Svnapot), or else misaligned, which faults.
            let is_napot = level == 0 && entry >> 63 != 0;
            if is_napot {
                return Ok((physical & !0xffff) | (address & 0xffff));
            }
            if physical & offset != 0 {
                return Err(FaultKind::NotMapped);
            }
            return Ok(physical | (address & offset));
        }
        base = physical;
    }
    Err(FaultKind::NotMapped)
}

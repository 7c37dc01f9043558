//! Page tables: from a virtual address to a physical one, by the tables that the machine itself would walk.
//!
//! Each architecture's entries are in a file of their own, named after the manual that defines them. A walk takes no more steps than
//! the format has levels, whatever the tables say.

mod arm64;
mod cache;
mod ppc64;
mod riscv;
mod s390;
mod x86;

use crate::dump::Dump;
use crate::fault::{Fault, FaultKind};

pub(crate) use cache::Cache;

/// The smallest unit in which memory is read page by page. Larger pages are whole multiples.
pub(crate) const PAGE: u64 = 4096;

/// What page tables look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// There are none.
    None,
    /// 64-bit entries of x86: 4 or 5 levels, or PAE's 3. Bits in entries that encrypt memory (AMD SME) belong to no address.
    X86 { levels: u32, encryption_mask: u64 },
    /// 32-bit entries of x86: 2 levels.
    X86Legacy,
    /// AArch64 (VMSAv8-64): bits of an offset in a page (12, 14 or 16), and of a virtual address.
    Arm64 { page_bits: u32, address_bits: u32 },
    /// z/Architecture: the type of the top table, as in an address-space-control element.
    S390 { table: s390::Top },
    /// RISC-V: Sv39, Sv48 and Sv57 by their levels.
    RiscV { levels: u32 },
    /// Radix tables of powerpc64: bits of an offset in a page (12 or 16).
    Radix { page_bits: u32 },
}

pub(crate) use s390::Top as S390Top;

impl Format {
    /// How many levels of tables there are.
    pub fn levels(self) -> u32 {
        match self {
            Format::None => 0,
            Format::X86 { levels, .. } | Format::RiscV { levels } => levels,
            Format::X86Legacy => 2,
            Format::Arm64 {
                page_bits,
                address_bits,
            } => arm64::levels(page_bits, address_bits),
            Format::S390 { table } => table.levels(),
            Format::Radix { .. } => ppc64::LEVELS,
        }
    }
}

/// Where page tables are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageTable {
    /// Physical address of the top level.
    pub root: u64,
    pub format: Format,
}

impl PageTable {
    /// No tables: nothing is mapped.
    pub const NONE: PageTable = PageTable {
        root: 0,
        format: Format::None,
    };
}

/// What an address is mapped to, and how many bytes from there on are by the same entry of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub physical: u64,
    pub left: u64,
}

impl Mapping {
    /// A page of `1 << bits` bytes; of the page's physical address, lower bits don't count.
    fn of(address: u64, page: u64, bits: u32) -> Self {
        let offset = address & ((1 << bits) - 1);
        Mapping {
            physical: (page >> bits << bits) | offset,
            left: (1 << bits) - offset,
        }
    }
}

/// The physical address of a virtual one. What comes out is right for all of the 4 KB that the address is in.
///
/// # Errors
///
/// `NotMapped` where the tables have nothing; where a table is not in the dump, the dump's fault.
pub(crate) fn translate(dump: &Dump, table: &PageTable, address: u64) -> Result<u64, Fault> {
    mapping(dump, table, address).map(|mapping| mapping.physical)
}

/// The same, with what else is right.
pub(crate) fn mapping(dump: &Dump, table: &PageTable, address: u64) -> Result<Mapping, Fault> {
    // Some walks don't say how large the page is.
    let small = |physical: Result<u64, FaultKind>| {
        physical.map(|physical| Mapping::of(address, physical, PAGE.trailing_zeros()))
    };
    let root = table.root;
    let found = match table.format {
        Format::None => Err(FaultKind::NotMapped),
        Format::X86 {
            levels,
            encryption_mask,
        } => x86::translate(dump, root, levels, encryption_mask, address),
        Format::X86Legacy => x86::translate_legacy(dump, root, address),
        Format::Arm64 {
            page_bits,
            address_bits,
        } => small(arm64::translate(
            dump,
            root,
            page_bits,
            address_bits,
            address,
        )),
        Format::S390 { table } => small(s390::translate(dump, root, table, address)),
        Format::RiscV { levels } => small(riscv::translate(dump, root, levels, address)),
        Format::Radix { .. } => small(ppc64::translate(dump, root, address)),
    };
    found.map_err(|kind| Fault { address, kind })
}

/// An entry of a table: `width` bytes.
fn entry(
    dump: &Dump,
    table: u64,
    index: u64,
    width: usize,
    big_endian: bool,
) -> Result<u64, FaultKind> {
    let at = table.wrapping_add(index.wrapping_mul(width as u64));
    Ok(crate::bits::uint(dump.physical(at, width)?, big_endian))
}

/// Whether the bits above those that are translated repeat the highest of them.
fn is_canonical(address: u64, bits: u32) -> bool {
    let unused = 64 - bits;
    ((address << unused).cast_signed() >> unused).cast_unsigned() == address
}

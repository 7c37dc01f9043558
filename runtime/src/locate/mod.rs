//! Where a kernel lies in a dump: what VMCOREINFO says, and where it says nothing, what the memory itself does.
//!
//! Without VMCOREINFO the banner is looked for at each address to which the kernel may have been moved. That it is the kernel's own, and
//! not a copy in a log, the page tables must confirm: they lie as far from the banner as they were linked, and lead back to it.

mod arm64;
mod riscv;
mod s390;
mod x86;

use crate::dump::{Dump, OpenError, VmcoreInfo};
use crate::kernel::KernelInfo;
use crate::paging::{Format, PageTable, translate};

/// ELF's `e_machine` of i386.
pub const EM_386: u16 = 3;
/// ELF's `e_machine` of s390x.
pub const EM_S390: u16 = 22;
/// ELF's `e_machine` of x86_64.
pub const EM_X86_64: u16 = 62;
/// ELF's `e_machine` of arm64.
pub const EM_AARCH64: u16 = 183;

/// ELF's `e_machine` of RISC-V.
pub const EM_RISCV: u16 = 243;

/// Virtual memory that is mapped by subtraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Linear {
    pub start: u64,
    pub size: u64,
    pub physical: u64,
}

impl Linear {
    /// Nothing: the page tables have it all.
    pub const NONE: Linear = Linear {
        start: 0,
        size: 0,
        physical: 0,
    };

    #[inline]
    pub fn physical(&self, address: u64) -> Option<u64> {
        let offset = address.wrapping_sub(self.start);
        (offset < self.size).then(|| offset.wrapping_add(self.physical))
    }
}

/// Where a kernel lies in a dump.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Located {
    /// Bytes by which KASLR moved the image.
    pub kaslr: u64,
    /// Linked addresses from here on have moved; those below are offsets, such as x86_64's of per-CPU variables.
    pub linked_from: u64,
    pub direct: Linear,
    pub image: Linear,
    pub page_table: PageTable,
}

/// Finds out where the kernel was loaded.
pub(crate) fn locate(dump: &Dump, kernel: &KernelInfo) -> Result<Located, OpenError> {
    match kernel.machine {
        EM_X86_64 => x86::locate_x86_64(dump, kernel),
        EM_386 => Ok(x86::locate_i386(dump, kernel)),
        EM_AARCH64 => arm64::locate(dump, kernel),
        EM_S390 => s390::locate(dump, kernel),
        EM_RISCV if kernel.pointer_size == 8 => riscv::locate(dump, kernel),
        other => Err(no_kernel(
            dump,
            format!("dumps of ELF machine {other} are not supported yet"),
        )),
    }
}

fn no_kernel(dump: &Dump, what: impl Into<String>) -> OpenError {
    OpenError::NoKernel {
        path: dump.path().to_owned(),
        what: what.into(),
    }
}

/// `NUMBER(name)`, which some kernels write in decimal and others in hexadecimal after `0x`.
fn number(info: &VmcoreInfo, name: &str) -> Option<u64> {
    let text = info.get(&format!("NUMBER({name})"))?;
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse::<i64>().ok().map(i64::cast_unsigned),
    }
}

/// The physical addresses at which the banner is, of those that lie a multiple of `step` behind `first`. Only memory that is in the
/// dump is looked at, so that a header which promises all addresses there are costs nothing.
fn banners<'d>(
    dump: &'d Dump,
    kernel: &KernelInfo,
    first: u64,
    step: u64,
) -> impl Iterator<Item = u64> + 'd {
    let banner = kernel.banner.as_bytes();
    let runs = match banner {
        [] => Vec::new(),
        _ => dump.runs(),
    };
    let places = runs.into_iter().flat_map(move |(start, size)| {
        let skip = first.wrapping_sub(start) % step;
        let end = start.saturating_add(size);
        (start.saturating_add(skip)..end).step_by(step as usize)
    });
    places
        .filter(move |at| *at >= first)
        .filter(move |at| dump.physical(*at, banner.len()) == Ok(banner))
}

/// Whether page tables map an address to where it must be.
fn maps(dump: &Dump, table: &PageTable, address: u64, physical: u64) -> bool {
    translate(dump, table, address) == Ok(physical)
}

/// The first of some formats by which the tables at `root` map an address to where it must be.
fn format_that_maps(
    dump: &Dump,
    root: u64,
    formats: &[Format],
    address: u64,
    physical: u64,
) -> Option<PageTable> {
    formats
        .iter()
        .map(|format| PageTable {
            root,
            format: *format,
        })
        .find(|table| maps(dump, table, address, physical))
}

//! Where a kernel lies in a dump: what VMCOREINFO says, and where it says nothing, what the memory itself does.
//!
//! Without VMCOREINFO in the dump's notes the banner is looked for at each address to which the kernel may have been moved. That it is the
//! kernel's own, and not a copy in a log, the page tables must confirm: they lie as far from the banner as they were linked, and lead back
//! to it. What that doesn't find, the text of VMCOREINFO in memory may (`scan.rs`), or the page tables that a CPU was using.

mod arm64;
mod ppc64;
mod riscv;
mod s390;
mod scan;
mod x86;

use crate::dump::{Dump, OpenError, VmcoreInfo, Window};
use crate::kernel::KernelInfo;
use crate::paging::{Format, PageTable, translate};

/// ELF's `e_machine` of i386.
pub const EM_386: u16 = 3;
/// ELF's `e_machine` of powerpc64.
pub const EM_PPC64: u16 = 21;
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

/// What somebody knows of a kernel's place. The dump has the last word: what contradicts it is an error.
#[derive(Debug, Default, Clone)]
pub struct Hints {
    /// Bytes by which the kernel was moved from where it was linked: crash's `--kaslr`.
    pub kaslr: Option<u64>,
    /// x86_64: the physical address minus the offset in the kernel's mapping (`phys_base`): crash's `-m phys_base=`.
    pub physical_base: Option<u64>,
    /// What VMCOREINFO would say if the dump had it.
    pub vmcoreinfo: VmcoreInfo,
}

impl Hints {
    /// Whether a kernel that was moved so far may be meant.
    fn allow(&self, kaslr: u64) -> bool {
        self.kaslr.is_none_or(|given| given == kaslr)
    }
}

/// Finds out where the kernel was loaded; and what VMCOREINFO says, if that was found in memory.
pub(crate) fn locate(
    dump: &Dump,
    kernel: &KernelInfo,
    hints: &Hints,
) -> Result<(Located, Option<VmcoreInfo>), OpenError> {
    if hints.physical_base.is_some() && kernel.machine != EM_X86_64 {
        return Err(contradiction(
            dump,
            "a physical base (--phys-base) was given, which only x86_64 has",
        ));
    }
    let (given, noted) = (&hints.vmcoreinfo, dump.vmcoreinfo());
    if let Some((key, value)) = given
        .lines()
        .find(|(key, value)| noted.get(key).is_some_and(|noted| noted != *value))
    {
        return Err(contradiction(
            dump,
            format!(
                "the VMCOREINFO that was given (--vmcoreinfo) has {key}={value}, but the dump's has {key}={}",
                noted.get(key).unwrap_or_default()
            ),
        ));
    }
    for (key, own) in [("OSRELEASE", kernel.release), ("BUILD-ID", kernel.build_id)] {
        if let Some(value) = given.get(key)
            && !own.is_empty()
            && value != own
        {
            return Err(contradiction(
                dump,
                format!(
                    "the VMCOREINFO that was given (--vmcoreinfo) has {key}={value}, but the program was built for {own}"
                ),
            ));
        }
    }
    let info = if noted.is_empty() { given } else { noted };
    let mut error = match by_info(dump, kernel, info, hints) {
        Ok(located) => return checked(dump, located, hints).map(|located| (located, None)),
        // Each of them has a VMCOREINFO of its own.
        Err(error @ OpenError::Ambiguous { .. }) => return Err(error),
        Err(error) => error,
    };
    if info.is_empty() {
        for (located, info) in by_scan(dump, kernel) {
            match checked(dump, located, hints) {
                Ok(located) => return Ok((located, Some(info))),
                Err(contradiction) => error = contradiction,
            }
        }
    }
    Err(error)
}

/// VMCOREINFO in the memory of a kernel that was found without it.
pub(crate) fn vmcoreinfo_in_memory(
    dump: &Dump,
    kernel: &KernelInfo,
    located: &Located,
) -> Option<VmcoreInfo> {
    let place = |located: &Located| (located.kaslr, located.page_table);
    by_scan(dump, kernel)
        .find(|(other, _)| place(other) == place(located))
        .map(|(_, info)| info)
}

/// By the texts in memory that say nothing but what is true.
fn by_scan(dump: &Dump, kernel: &KernelInfo) -> impl Iterator<Item = (Located, VmcoreInfo)> {
    scan::vmcoreinfos(dump)
        .filter(|info| info.get("OSRELEASE") == Some(kernel.release))
        .filter_map(|info| {
            let located = by_info(dump, kernel, &info, &Hints::default()).ok()?;
            confirms(dump, kernel, &info, &located).then_some((located, info))
        })
}

/// By what VMCOREINFO says, which may be nothing.
fn by_info(
    dump: &Dump,
    kernel: &KernelInfo,
    info: &VmcoreInfo,
    hints: &Hints,
) -> Result<Located, OpenError> {
    match kernel.machine {
        EM_X86_64 => x86::locate_x86_64(dump, kernel, info, hints),
        EM_386 => Ok(x86::locate_i386(dump, kernel, info, hints)),
        EM_AARCH64 => arm64::locate(dump, kernel, info),
        EM_PPC64 => ppc64::locate(dump, kernel, info, hints),
        EM_S390 => s390::locate(dump, kernel, info, hints),
        EM_RISCV if kernel.pointer_size == 8 => riscv::locate(dump, kernel, info),
        other => Err(no_kernel(
            dump,
            format!("dumps of ELF machine {other} are not supported yet"),
        )),
    }
}

/// Refuses a place that is not the one that was given by hand.
fn checked(dump: &Dump, located: Located, hints: &Hints) -> Result<Located, OpenError> {
    if let Some(given) = hints.kaslr
        && given != located.kaslr
    {
        return Err(contradiction(
            dump,
            format!(
                "{given:#x} was given as the kernel's offset (--kaslr), but the dump says that it was moved by {:#x}",
                located.kaslr
            ),
        ));
    }
    let found = located.image.physical.wrapping_sub(located.image.start);
    let found = found.wrapping_add(x86::X86_64_IMAGE);
    match hints.physical_base {
        Some(given) if given != found => Err(contradiction(
            dump,
            format!(
                "{given:#x} was given as phys_base (--phys-base), but the dump says that it is {found:#x}"
            ),
        )),
        _ => Ok(located),
    }
}

/// Whether memory is as a text found in it says: the page tables lead to themselves and to the kernel's banner.
fn confirms(dump: &Dump, kernel: &KernelInfo, info: &VmcoreInfo, located: &Located) -> bool {
    let table = &located.page_table;
    let symbol = |name: &str| info.hex(&format!("SYMBOL({name})"));
    let top = symbol("swapper_pg_dir")
        .or_else(|| symbol("init_top_pgt"))
        .or_else(|| symbol("init_level4_pgt"));
    let has_tables = top.map(|top| maps(dump, table, top, table.root));
    let banner = kernel.banner.as_bytes();
    let has_banner = kernel.banner_address.map(|linked| {
        let mut address = linked.wrapping_add(located.kaslr);
        if kernel.pointer_size == 4 {
            address &= 0xffff_ffff;
        }
        let physical = translate(dump, table, address);
        physical.is_ok_and(|physical| dump.physical(physical, banner.len()) == Ok(banner))
    });
    let said = [has_tables, has_banner];
    said.contains(&Some(true)) && !said.contains(&Some(false))
}

fn contradiction(dump: &Dump, what: impl Into<String>) -> OpenError {
    OpenError::Contradiction {
        path: dump.path().to_owned(),
        what: what.into(),
    }
}

fn no_kernel(dump: &Dump, what: impl Into<String>) -> OpenError {
    OpenError::NoKernel {
        path: dump.path().to_owned(),
        what: what.into(),
    }
}

/// What an architecture whose kernels can't be found by their banner is refused with.
fn no_vmcoreinfo(dump: &Dump, kernel: &str) -> OpenError {
    no_kernel(
        dump,
        format!(
            "it has no VMCOREINFO note, which says where {kernel} kernel was loaded, and no VMCOREINFO in its memory fits that memory; under QEMU, add `-device vmcoreinfo`, or give it (--vmcoreinfo)"
        ),
    )
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
    let mut window = Window::new(dump);
    let runs = match banner {
        [] => Vec::new(),
        _ => dump.joined_runs(),
    };
    let places = runs.into_iter().flat_map(move |(start, size)| {
        let skip = first.wrapping_sub(start) % step;
        let end = start.saturating_add(size);
        (start.saturating_add(skip)..end).step_by(step as usize)
    });
    // What a file has bounds the places; what the running kernel says that it has, nothing.
    const MOST_LIVE: usize = 1 << 20;
    let most = if dump.is_live() {
        MOST_LIVE
    } else {
        usize::MAX
    };
    places
        .take(most)
        .filter(move |at| *at >= first)
        .filter(move |at| window.bytes(*at, banner.len()) == banner)
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

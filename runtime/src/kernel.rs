//! Which kernel a program was compiled for, and where that kernel lies in a dump.

use crate::dump::{Dump, OpenError};
use crate::memory::Memory;
use crate::module::FindSection;
use crate::paging::PageTable;
use crate::symbol::Functions;

/// ELF's `e_machine` of i386.
pub const EM_386: u16 = 3;
/// ELF's `e_machine` of x86_64.
pub const EM_X86_64: u16 = 62;

/// `__START_KERNEL_map`: where x86_64 maps the kernel image (Documentation/arch/x86/x86_64/mm.rst).
const X86_64_IMAGE: u64 = 0xffff_ffff_8000_0000;
/// The image's room where VMCOREINFO doesn't say: 1 GB, after which modules start.
const X86_64_IMAGE_SIZE: u64 = 1 << 30;
/// `PAGE_OFFSET` of x86_64 without memory randomisation: 4 levels, from 4.20 on.
const X86_64_DIRECT: u64 = 0xffff_8880_0000_0000;
/// `PAGE_OFFSET` of i386 with the usual 3:1 split, and where low memory ends at the latest (896 MB).
const I386_DIRECT: u64 = 0xc000_0000;
const I386_LOW_MEMORY: u64 = 896 << 20;

/// A kernel's identity, and what is needed to find it in a dump. All addresses are those at which it was linked.
#[derive(Debug)]
pub struct KernelInfo {
    /// `uname -r`.
    pub release: &'static str,
    /// The GNU build id in hexadecimal; empty where the kernel has none.
    pub build_id: &'static str,
    /// `linux_banner` without its newline.
    pub banner: &'static str,
    /// ELF's `e_machine`.
    pub machine: u16,
    /// Bytes in a pointer.
    pub pointer_size: u8,
    /// Whether numbers are big-endian.
    pub big_endian: bool,
    /// `linux_banner`.
    pub banner_address: Option<u64>,
    /// The top of the kernel's page tables: `init_top_pgt`, `swapper_pg_dir`.
    pub page_table: Option<u64>,
    /// `page_offset_base`: where the direct map starts, for kernels that move it.
    pub page_offset_base: Option<u64>,
    /// `__per_cpu_offset`.
    pub per_cpu_offset: Option<Words>,
    /// Finds the sections of loaded modules; `None` for a kernel without modules.
    pub module_section: Option<FindSection>,
    /// Functions by address.
    pub functions: Functions,
}

/// An array of pointer-sized numbers in the kernel.
#[derive(Debug, Clone, Copy)]
pub struct Words {
    /// Linked address.
    pub address: u64,
    /// How many.
    pub count: u32,
}

/// Virtual memory that is mapped by subtraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Linear {
    pub start: u64,
    pub size: u64,
    pub physical: u64,
}

impl Linear {
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
    pub direct: Linear,
    pub image: Linear,
    pub page_table: PageTable,
}

/// Refuses a dump whose VMCOREINFO names another kernel.
pub(crate) fn check_identity(dump: &Dump, kernel: &KernelInfo) -> Result<(), OpenError> {
    let expected = || {
        let mut name = describe(kernel.release, kernel.machine);
        if !kernel.build_id.is_empty() {
            name.push_str(&format!(" (build id {})", kernel.build_id));
        }
        name
    };
    let other = |found: String| {
        Err(OpenError::OtherKernel {
            path: dump.path().to_owned(),
            found,
            expected: expected(),
        })
    };
    let info = dump.vmcoreinfo();
    let release = info.get("OSRELEASE");
    let build_id = info.get("BUILD-ID");
    if dump.machine() != kernel.machine {
        let release = release.map(str::to_owned).or_else(|| dump.release());
        return other(describe(
            release.as_deref().unwrap_or("unknown"),
            dump.machine(),
        ));
    }
    if release.is_some_and(|release| release != kernel.release) {
        return other(describe(release.unwrap_or_default(), dump.machine()));
    }
    if let Some(build_id) = build_id
        && !kernel.build_id.is_empty()
        && build_id != kernel.build_id
    {
        return other(format!(
            "{} (build id {build_id})",
            describe(release.unwrap_or("unknown"), dump.machine())
        ));
    }
    Ok(())
}

fn describe(release: &str, machine: u16) -> String {
    let machine = match machine {
        EM_386 => "i386".to_owned(),
        EM_X86_64 => "x86_64".to_owned(),
        other => format!("machine {other}"),
    };
    format!("{release} for {machine}")
}

/// Compares the banner at its place in memory: the last word on whether the addresses are right.
pub(crate) fn check_banner(memory: &Memory) -> Result<(), OpenError> {
    let kernel = memory.kernel();
    let Some(address) = kernel.banner_address else {
        return Ok(());
    };
    let expected = kernel.banner.as_bytes();
    let path = || memory.dump().path().to_owned();
    match memory.bytes(memory.relocated(address), expected.len()) {
        Ok(found) if found == expected => Ok(()),
        _ if memory.dump().missing_bytes() > 0 => Err(OpenError::NoKernel {
            path: path(),
            what: format!(
                "the file is truncated: its headers promise {} bytes more than it has",
                memory.dump().missing_bytes()
            ),
        }),
        Ok(_) | Err(_) => match memory.dump().scan_banner() {
            Some(banner) if banner.as_bytes() != expected => Err(OpenError::OtherKernel {
                path: path(),
                found: banner,
                expected: kernel.banner.to_owned(),
            }),
            _ => Err(OpenError::NoKernel {
                path: path(),
                what: format!("there is no linux_banner at {address:#x}"),
            }),
        },
    }
}

/// What can't be found in a file that was cut short is missing for that reason.
pub(crate) fn truncated_first(dump: &Dump, error: OpenError) -> OpenError {
    match dump.missing_bytes() {
        0 => error,
        missing => OpenError::NoKernel {
            path: dump.path().to_owned(),
            what: format!(
                "the file is truncated: its headers promise {missing} bytes more than it has"
            ),
        },
    }
}

/// Finds out where the kernel was loaded.
pub(crate) fn locate(dump: &Dump, kernel: &KernelInfo) -> Result<Located, OpenError> {
    match kernel.machine {
        EM_X86_64 => locate_x86_64(dump, kernel),
        EM_386 => Ok(locate_i386(dump, kernel)),
        other => Err(OpenError::NoKernel {
            path: dump.path().to_owned(),
            what: format!("dumps of ELF machine {other} are not supported yet"),
        }),
    }
}

fn locate_x86_64(dump: &Dump, kernel: &KernelInfo) -> Result<Located, OpenError> {
    let no_kernel = |what: String| OpenError::NoKernel {
        path: dump.path().to_owned(),
        what,
    };
    let info = dump.vmcoreinfo();
    if info.is_empty() {
        return Err(no_kernel(
            "it has no VMCOREINFO note, which says where an x86_64 kernel was loaded; under QEMU, add `-device vmcoreinfo`".into(),
        ));
    }
    let number = |name: &str| info.number(name);
    let kaslr = info.hex("KERNELOFFSET").unwrap_or(0);
    let physical_base = number("phys_base")
        .ok_or_else(|| no_kernel("VMCOREINFO has no NUMBER(phys_base)".into()))?;
    let image = Linear {
        start: X86_64_IMAGE,
        size: number("KERNEL_IMAGE_SIZE")
            .and_then(|size| u64::try_from(size).ok())
            .unwrap_or(X86_64_IMAGE_SIZE),
        physical: physical_base.cast_unsigned(),
    };
    let in_image = |address: u64| image.physical(address);
    let root = info
        .hex("SYMBOL(init_top_pgt)")
        .or_else(|| info.hex("SYMBOL(swapper_pg_dir)"))
        .or(kernel.page_table.map(|address| address.wrapping_add(kaslr)))
        .and_then(in_image)
        .ok_or_else(|| {
            no_kernel("neither VMCOREINFO nor the bindings name the page tables".into())
        })?;
    let levels = if number("pgtable_l5_enabled").unwrap_or(0) != 0 {
        5
    } else {
        4
    };
    let direct_start = match kernel.page_offset_base {
        None => X86_64_DIRECT,
        Some(address) => {
            let bytes = in_image(address.wrapping_add(kaslr))
                .and_then(|physical| dump.physical(physical, 8).ok())
                .ok_or_else(|| no_kernel("page_offset_base can't be read".into()))?;
            crate::bits::uint(bytes, false)
        }
    };
    Ok(Located {
        kaslr,
        direct: Linear {
            start: direct_start,
            // Randomisation may put vmalloc space right behind the end of memory, so no more than that is direct.
            size: dump.memory_end(),
            physical: 0,
        },
        image,
        page_table: PageTable {
            root,
            levels,
            encryption_mask: number("sme_mask").unwrap_or(0).cast_unsigned(),
        },
    })
}

/// Kernels of i386 without VMCOREINFO were not relocated.
fn locate_i386(dump: &Dump, kernel: &KernelInfo) -> Located {
    let direct = Linear {
        start: I386_DIRECT,
        // QEMU describes ROM and video memory too, which lie above; with little memory, vmalloc space starts below 896 MB.
        size: dump.main_end().min(I386_LOW_MEMORY),
        physical: 0,
    };
    let root = kernel
        .page_table
        .and_then(|address| direct.physical(address));
    Located {
        kaslr: 0,
        direct,
        image: direct,
        page_table: PageTable {
            root: root.unwrap_or(0),
            levels: if root.is_some() { 3 } else { 0 },
            encryption_mask: 0,
        },
    }
}

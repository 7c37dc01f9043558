//! Which kernel a program was compiled for, and whether a dump is of that kernel.

use crate::dump::{Dump, OpenError, VmcoreInfo};
use crate::fault::{Fault, FaultKind};
use crate::locate::{EM_386, EM_AARCH64, EM_PPC64, EM_RISCV, EM_S390, EM_X86_64};
use crate::memory::Memory;
use crate::module::FindSection;
use crate::symbol::Functions;

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
    /// The top of the kernel's page tables: `init_top_pgt`, `init_level4_pgt`, `swapper_pg_dir`.
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

/// Refuses a dump whose machine is another, or whose VMCOREINFO names another kernel.
pub(crate) fn check_identity(
    dump: &Dump,
    info: &VmcoreInfo,
    kernel: &KernelInfo,
) -> Result<(), OpenError> {
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
    let release = info.get("OSRELEASE");
    let build_id = info.get("BUILD-ID");
    // An image of memory doesn't say what machine it is of; what is found in it must.
    if dump.machine() != kernel.machine && dump.machine() != EM_NONE {
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

/// ELF's `e_machine` where nothing is known.
const EM_NONE: u16 = 0;

fn describe(release: &str, machine: u16) -> String {
    let machine = match machine {
        EM_NONE => return release.to_owned(),
        EM_386 => "i386".to_owned(),
        EM_X86_64 => "x86_64".to_owned(),
        EM_AARCH64 => "arm64".to_owned(),
        EM_PPC64 => "powerpc64".to_owned(),
        EM_S390 => "s390x".to_owned(),
        EM_RISCV => "riscv".to_owned(),
        other => format!("machine {other}"),
    };
    format!("{release} for {machine}")
}

/// Compares the banner at its place in memory: the last word on whether the addresses are right. A page may be damaged, or missing: then the
/// build id in VMCOREINFO is enough, and why the banner could not be compared is returned.
pub(crate) fn check_banner(memory: &Memory) -> Result<Option<Fault>, OpenError> {
    let kernel = memory.kernel();
    let Some(address) = kernel.banner_address else {
        return Ok(None);
    };
    let expected = kernel.banner.as_bytes();
    let path = || memory.dump().path().to_owned();
    match memory.bytes(memory.relocated(address), expected.len()) {
        Ok(found) if found == expected => Ok(None),
        Err(fault) if fault.kind == FaultKind::MemoryLimit => Err(truncated_first(
            memory.dump(),
            OpenError::NoKernel {
                path: path(),
                what: fault.to_string(),
            },
        )),
        _ if memory.dump().missing_bytes() > 0 => Err(truncated(memory.dump())),
        // It isn't where the page tables don't lead.
        Err(fault) if fault.kind != FaultKind::NotMapped => {
            if is_of_build(memory) {
                return Ok(Some(fault));
            }
            Err(OpenError::NoKernel {
                path: path(),
                what: format!(
                    "linux_banner can't be read, with the kernel moved by {:#x}, and there is no build id to go by: {fault}",
                    memory.kaslr_offset()
                ),
            })
        }
        Ok(_) | Err(_) => match memory.dump().scan_banner() {
            Some(banner) if banner.as_bytes() != expected => Err(OpenError::OtherKernel {
                path: path(),
                found: banner,
                expected: kernel.banner.to_owned(),
            }),
            _ => Err(OpenError::NoKernel {
                path: path(),
                what: format!(
                    "there is no linux_banner at {:#x}, with the kernel moved by {:#x}",
                    memory.relocated(address),
                    memory.kaslr_offset()
                ),
            }),
        },
    }
}

/// Whether VMCOREINFO, which is of the program's kernel, says so by its build id.
fn is_of_build(memory: &Memory) -> bool {
    let build_id = memory.vmcoreinfo().get("BUILD-ID");
    build_id.is_some_and(|id| !id.is_empty() && id == memory.kernel().build_id)
}

/// What can't be found in a file that was cut short is missing for that reason, and what could not be read for want of memory for
/// that one.
pub(crate) fn truncated_first(dump: &Dump, error: OpenError) -> OpenError {
    if matches!(error, OpenError::Contradiction { .. }) {
        return error;
    }
    if let Some((limit, 1..)) = dump.memory_limit() {
        return OpenError::NoKernel {
            path: dump.path().to_owned(),
            what: format!("the memory limit of {limit} bytes was reached before"),
        };
    }
    if dump.missing_bytes() == 0 {
        return error;
    }
    truncated(dump)
}

fn truncated(dump: &Dump) -> OpenError {
    OpenError::NoKernel {
        path: dump.truncated_file().to_owned(),
        what: format!(
            "the file is truncated: its headers promise at least {} bytes more than it has",
            dump.missing_bytes()
        ),
    }
}

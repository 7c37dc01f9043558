//! riscv64 (Documentation/riscv/vm-layout.rst): the direct map begins where VMCOREINFO says, the image is by the page tables.

use super::{Linear, Located, no_kernel, no_vmcoreinfo, number};
use crate::dump::{Dump, OpenError, VmcoreInfo};
use crate::kernel::KernelInfo;
use crate::paging::{Format, PageTable};

/// No kernel was ever linked below the direct map of the smallest address space, which is in the upper half.
const LINKED_FROM: u64 = 1 << 63;

pub(super) fn locate(
    dump: &Dump,
    kernel: &KernelInfo,
    info: &VmcoreInfo,
) -> Result<Located, OpenError> {
    if info.is_empty() {
        return Err(no_vmcoreinfo(dump, "a riscv64"));
    }
    let needed = |name: &str| {
        number(info, name).ok_or_else(|| {
            no_kernel(
                dump,
                format!(
                    "VMCOREINFO has no NUMBER({name}), which says where a riscv64 kernel was loaded"
                ),
            )
        })
    };
    let start = needed("PAGE_OFFSET")?;
    let physical = needed("phys_ram_base")?;
    let offset = needed("va_kernel_pa_offset")?;
    let levels = match needed("VA_BITS")? {
        39 => 3,
        48 => 4,
        57 => 5,
        other => {
            return Err(no_kernel(
                dump,
                format!("VMCOREINFO says that riscv64 addresses have {other} bits"),
            ));
        }
    };
    let kaslr = info.hex("KERNELOFFSET").unwrap_or(0);
    let root = info
        .hex("SYMBOL(swapper_pg_dir)")
        .or(kernel.page_table.map(|address| address.wrapping_add(kaslr)))
        .ok_or_else(|| {
            no_kernel(
                dump,
                "neither VMCOREINFO nor the bindings name the page tables",
            )
        })?
        .wrapping_sub(offset);
    Ok(Located {
        kaslr,
        linked_from: LINKED_FROM,
        direct: Linear {
            start,
            size: dump.memory_end().saturating_sub(physical),
            physical,
        },
        image: Linear::NONE,
        page_table: PageTable {
            root,
            format: Format::RiscV { levels },
        },
    })
}

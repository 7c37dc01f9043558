//! arm64 (Documentation/arm64/memory.rst): the linear map is at one end of the kernel's half of the address space, the image somewhere
//! in the rest. The image is read by the page tables: what is behind it is not known, and may be anything.

use super::{Linear, Located, maps, no_kernel, no_vmcoreinfo, number};
use crate::dump::{Dump, OpenError, VmcoreInfo};
use crate::kernel::KernelInfo;
use crate::paging::{Format, PageTable};

/// The lowest address at which an image was ever linked: the upper half of the smallest address space (36 bits).
const LINKED_FROM: u64 = !0 << 52;

pub(super) fn locate(
    dump: &Dump,
    kernel: &KernelInfo,
    info: &VmcoreInfo,
) -> Result<Located, OpenError> {
    if info.is_empty() {
        return Err(no_vmcoreinfo(dump, "an arm64"));
    }
    let needed = |name: &str| {
        number(info, name).ok_or_else(|| {
            no_kernel(
                dump,
                format!(
                    "VMCOREINFO has no NUMBER({name}), which says where an arm64 kernel was loaded"
                ),
            )
        })
    };
    let offset = needed("kimage_voffset")?;
    let physical_start = needed("PHYS_OFFSET")?;
    let configured = needed("VA_BITS")?;
    let page_size = info.get("PAGESIZE").and_then(|text| text.parse().ok());
    let page_bits = match page_size {
        Some(4096) | None => 12,
        Some(16384) => 14,
        Some(65536) => 16,
        Some(other) => {
            return Err(no_kernel(
                dump,
                format!("VMCOREINFO says that arm64 pages have {other} bytes"),
            ));
        }
    };
    // A kernel for 52 bits runs with 48 on older processors. With 64 KB its tables have the same shape in both cases.
    let actual = number(info, "TCR_EL1_T1SZ")
        .or_else(|| number(info, "tcr_el1_t1sz"))
        .and_then(|unused| 64u64.checked_sub(unused))
        .filter(|_| page_bits != 16)
        .unwrap_or(configured);
    let in_range = |bits: u64| (36..=52).contains(&bits);
    if !in_range(actual) || !in_range(configured) {
        return Err(no_kernel(
            dump,
            format!(
                "VMCOREINFO says that arm64 addresses have {configured} bits, {actual} of them in use"
            ),
        ));
    }
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
    let page_table = PageTable {
        root,
        format: Format::Arm64 {
            page_bits,
            address_bits: actual as u32,
        },
    };
    Ok(Located {
        kaslr,
        linked_from: LINKED_FROM,
        direct: linear_map(dump, &page_table, configured, physical_start),
        image: Linear::NONE,
        page_table,
    })
}

/// The linear map is the lower half of the kernel's addresses since 5.4, and the upper one before. The page tables say which: they
/// themselves are mapped there as well as in the image.
fn linear_map(dump: &Dump, table: &PageTable, bits: u64, physical_start: u64) -> Linear {
    let half = 1u64 << (bits - 1);
    let lower = 0u64.wrapping_sub(1 << bits);
    let offset = table.root.wrapping_sub(physical_start);
    let found = [lower, lower + half]
        .into_iter()
        .find(|start| maps(dump, table, start.wrapping_add(offset), table.root));
    Linear {
        start: found.unwrap_or(lower),
        // Without that proof everything goes by the page tables.
        size: match found {
            Some(_) => dump.memory_end().wrapping_sub(physical_start).min(half),
            None => 0,
        },
        physical: physical_start,
    }
}

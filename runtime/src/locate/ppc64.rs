//! powerpc64 with radix translation (arch/powerpc/include/asm/book3s/64/radix.h): all of memory is mapped from `PAGE_OFFSET` on, and the
//! kernel's image is in it, where it was linked unless it was moved (a kdump kernel). What lies behind, modules among them, is in page
//! tables. Kernels with hash translation, whose tables are the processor's, are refused.

use super::{Hints, Linear, Located, banners, maps, no_kernel};
use crate::dump::{Dump, OpenError, VmcoreInfo};
use crate::kernel::KernelInfo;
use crate::paging::{Format, PageTable};

/// `PAGE_OFFSET`.
const DIRECT: u64 = 0xc000_0000_0000_0000;
/// Where vmalloc space starts, which bounds what is direct (`RADIX_KERN_VIRT_START`).
const VIRTUAL: u64 = 0xc008_0000_0000_0000;
/// A relocatable kernel is moved by multiples of 64 KB.
const STEP: u64 = 0x1_0000;

pub(super) fn locate(
    dump: &Dump,
    kernel: &KernelInfo,
    info: &VmcoreInfo,
    hints: &Hints,
) -> Result<Located, OpenError> {
    if info.get("NUMBER(RADIX_MMU)") == Some("0") {
        return Err(no_kernel(dump, HASH));
    }
    let page_bits = match info.get("PAGESIZE") {
        None | Some("65536") => 16,
        Some("4096") => 12,
        Some(other) => {
            return Err(no_kernel(
                dump,
                format!("VMCOREINFO says that powerpc64 pages have {other} bytes"),
            ));
        }
    };
    let (Some(banner), Some(top)) = (kernel.banner_address, kernel.page_table) else {
        return Err(no_kernel(
            dump,
            "the bindings don't name linux_banner and the page tables",
        ));
    };
    let physical = |address: u64| address.wrapping_sub(DIRECT);
    let tables = |moved: u64| {
        let page_table = PageTable {
            root: physical(top.wrapping_add(moved)),
            format: Format::Radix { page_bits },
        };
        let banner = banner.wrapping_add(moved);
        maps(dump, &page_table, banner, physical(banner)).then_some((moved, page_table))
    };
    let said = info
        .hex("SYMBOL(swapper_pg_dir)")
        .map(|found| found.wrapping_sub(top))
        .and_then(tables);
    let (kaslr, page_table) = said
        .or_else(|| {
            banners(dump, kernel, physical(banner) % STEP, STEP)
                .map(|found| found.wrapping_sub(physical(banner)))
                .filter(|moved| hints.allow(*moved))
                .find_map(tables)
        })
        .ok_or_else(|| {
            no_kernel(
                dump,
                format!("the kernel's banner is not where its page tables are; {HASH}"),
            )
        })?;
    let direct = Linear {
        start: DIRECT,
        size: dump.memory_end().min(VIRTUAL - DIRECT),
        physical: 0,
    };
    Ok(Located {
        kaslr,
        linked_from: DIRECT,
        direct,
        image: Linear::NONE,
        page_table,
    })
}

const HASH: &str = "powerpc64 kernels with hash translation (before POWER9, or with disable_radix) are not supported";

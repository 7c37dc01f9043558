//! s390x (arch/s390/kernel/setup.c): before 6.10 the kernel's addresses are physical ones, for all of memory. Since then all of memory is
//! mapped from `__identity_base` on, and the image somewhere else; VMCOREINFO says where (`__pa` in arch/s390/include/asm/page.h). What lies
//! behind, modules among them, is in page tables.

use super::{Hints, Linear, Located, banners, format_that_maps, no_kernel};
use crate::dump::{Dump, OpenError, VmcoreInfo};
use crate::kernel::KernelInfo;
use crate::paging::{Format, PAGE, S390Top};

/// A kernel is moved by multiples of its stacks' size (arch/s390/boot/kaslr.c), which is more than this.
const STEP: u64 = PAGE;

pub(super) fn locate(
    dump: &Dump,
    kernel: &KernelInfo,
    info: &VmcoreInfo,
    hints: &Hints,
) -> Result<Located, OpenError> {
    let (Some(banner), Some(top)) = (kernel.banner_address, kernel.page_table) else {
        return Err(no_kernel(
            dump,
            "the bindings don't name linux_banner and the page tables",
        ));
    };
    let formats =
        [S390Top::Region3, S390Top::Region2, S390Top::Region1].map(|table| Format::S390 { table });
    if let Some(identity) = info.hex("IDENTITYBASE") {
        return uncoupled(dump, info, identity, &formats, (banner, top));
    }
    let tables = |kaslr: u64| {
        let (root, address) = (top.wrapping_add(kaslr), banner.wrapping_add(kaslr));
        format_that_maps(dump, root, &formats, address, address).map(|table| (kaslr, table))
    };
    let said = info.hex("KERNELOFFSET").and_then(tables);
    let (kaslr, page_table) = said
        .or_else(|| {
            banners(dump, kernel, banner % STEP, STEP)
                .map(|found| found.wrapping_sub(banner))
                .filter(|kaslr| hints.allow(*kaslr))
                .find_map(tables)
        })
        .ok_or_else(|| no_kernel(dump, "the kernel's banner is not where its page tables are"))?;
    Ok(Located {
        kaslr,
        linked_from: 0,
        direct: identity_map(dump, 0),
        image: Linear::NONE,
        page_table,
    })
}

/// All of memory but the first page, which is the CPU's own, and where null pointers lead.
fn identity_map(dump: &Dump, start: u64) -> Linear {
    Linear {
        start: start.wrapping_add(PAGE),
        size: dump.memory_end().saturating_sub(PAGE),
        physical: PAGE,
    }
}

/// As much room an image has (`KERNEL_IMAGE_SIZE`), and what the address that it was linked for is a multiple of: 0 at first, then
/// `CONFIG_KERNEL_IMAGE_BASE`.
const IMAGE_SIZE: u64 = 512 << 20;

/// A kernel whose image and memory are mapped apart from each other: `KERNELOFFSET` is where the image is in virtual memory, and not how far
/// it was moved, `KERNELOFFPHYS` where it is in physical memory.
fn uncoupled(
    dump: &Dump,
    info: &VmcoreInfo,
    identity: u64,
    formats: &[Format],
    (banner, top): (u64, u64),
) -> Result<Located, OpenError> {
    let needed = |name: &str| {
        let what = || format!("VMCOREINFO has IDENTITYBASE and no {name}");
        info.hex(name).ok_or_else(|| no_kernel(dump, what()))
    };
    let linked = banner / IMAGE_SIZE * IMAGE_SIZE;
    let kaslr = needed("KERNELOFFSET")?.wrapping_sub(linked);
    let physical = needed("KERNELOFFPHYS")?.wrapping_sub(linked);
    let page_table = format_that_maps(
        dump,
        physical.wrapping_add(top),
        formats,
        banner.wrapping_add(kaslr),
        physical.wrapping_add(banner),
    );
    Ok(Located {
        kaslr,
        linked_from: linked,
        direct: identity_map(dump, identity),
        image: Linear::NONE,
        page_table: page_table.ok_or_else(|| {
            no_kernel(
                dump,
                "the page tables don't map the kernel's banner to where VMCOREINFO says that it is",
            )
        })?,
    })
}

//! s390x (arch/s390/kernel/setup.c): the kernel's addresses are physical ones, for all of memory. What lies behind it, modules among them, is in page tables.

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
    if info.get("IDENTITYBASE").is_some() {
        return Err(no_kernel(
            dump,
            "s390x kernels since 6.10, whose addresses are not physical ones, are not supported yet",
        ));
    }
    let (Some(banner), Some(top)) = (kernel.banner_address, kernel.page_table) else {
        return Err(no_kernel(
            dump,
            "the bindings don't name linux_banner and the page tables",
        ));
    };
    let formats =
        [S390Top::Region3, S390Top::Region2, S390Top::Region1].map(|table| Format::S390 { table });
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
    // The first page is the CPU's own, and where null pointers lead.
    let direct = Linear {
        start: PAGE,
        size: dump.memory_end().saturating_sub(PAGE),
        physical: PAGE,
    };
    Ok(Located {
        kaslr,
        linked_from: 0,
        direct,
        image: Linear::NONE,
        page_table,
    })
}

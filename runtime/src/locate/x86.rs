//! x86: x86_64, whose image and direct map are moved apart from each other, and i386, where one offset says it all.

use super::{Linear, Located, banners, format_that_maps, maps, no_kernel};
use crate::dump::{Dump, OpenError};
use crate::kernel::KernelInfo;
use crate::paging::{Format, PageTable};

/// `__START_KERNEL_map`: where x86_64 maps the kernel image (Documentation/arch/x86/x86_64/mm.rst).
const X86_64_IMAGE: u64 = 0xffff_ffff_8000_0000;
/// The image's room where VMCOREINFO doesn't say: 1 GB, after which modules start.
const X86_64_IMAGE_SIZE: u64 = 1 << 30;
/// `PAGE_OFFSET` of x86_64 without memory randomisation: 4 levels, from 4.20 on.
const X86_64_DIRECT: u64 = 0xffff_8880_0000_0000;
/// `CONFIG_PHYSICAL_ALIGN` of x86_64 is 2 MB at least, and randomisation moves by multiples of it.
const X86_64_STEP: u64 = 2 << 20;

/// `PAGE_OFFSET` of i386 by `CONFIG_VMSPLIT_*`, the highest first.
const I386_SPLITS: [u64; 5] = [
    0xc000_0000,
    0xb000_0000,
    0x8000_0000,
    0x7800_0000,
    0x4000_0000,
];
/// What is left above low memory at the least (`__VMALLOC_RESERVE`).
const I386_RESERVE: u64 = 128 << 20;
/// The least `CONFIG_PHYSICAL_ALIGN` of i386.
const I386_STEP: u64 = 0x2000;

fn tables(levels: u32, encryption_mask: u64) -> Format {
    Format::X86 {
        levels,
        encryption_mask,
    }
}

pub(super) fn locate_x86_64(dump: &Dump, kernel: &KernelInfo) -> Result<Located, OpenError> {
    let info = dump.vmcoreinfo();
    let (kaslr, image, page_table) = if info.is_empty() {
        by_banner(dump, kernel).ok_or_else(|| {
            no_kernel(
                dump,
                "it has no VMCOREINFO note, which says where an x86_64 kernel was loaded, and the kernel's banner is not where its page tables are; under QEMU, add `-device vmcoreinfo`",
            )
        })?
    } else {
        by_vmcoreinfo(dump, kernel)?
    };
    let direct_start = match kernel.page_offset_base {
        None => X86_64_DIRECT,
        Some(address) => {
            let bytes = image
                .physical(address.wrapping_add(kaslr))
                .and_then(|physical| dump.physical(physical, 8).ok())
                .ok_or_else(|| no_kernel(dump, "page_offset_base can't be read"))?;
            crate::bits::uint(bytes, false)
        }
    };
    Ok(Located {
        kaslr,
        linked_from: X86_64_IMAGE,
        direct: Linear {
            start: direct_start,
            // Randomisation may put vmalloc space right behind the end of memory, so no more than that is direct.
            size: dump.memory_end(),
            physical: 0,
        },
        image,
        page_table,
    })
}

/// The kernel's own word.
fn by_vmcoreinfo(dump: &Dump, kernel: &KernelInfo) -> Result<(u64, Linear, PageTable), OpenError> {
    let info = dump.vmcoreinfo();
    let number = |name: &str| info.number(name);
    let kaslr = info.hex("KERNELOFFSET").unwrap_or(0);
    let physical_base = number("phys_base")
        .ok_or_else(|| no_kernel(dump, "VMCOREINFO has no NUMBER(phys_base)"))?;
    let image = Linear {
        start: X86_64_IMAGE,
        size: number("KERNEL_IMAGE_SIZE")
            .and_then(|size| u64::try_from(size).ok())
            .unwrap_or(X86_64_IMAGE_SIZE),
        physical: physical_base.cast_unsigned(),
    };
    let root = info
        .hex("SYMBOL(init_top_pgt)")
        .or_else(|| info.hex("SYMBOL(swapper_pg_dir)"))
        .or(kernel.page_table.map(|address| address.wrapping_add(kaslr)))
        .and_then(|address| image.physical(address))
        .ok_or_else(|| {
            no_kernel(
                dump,
                "neither VMCOREINFO nor the bindings name the page tables",
            )
        })?;
    let levels = if number("pgtable_l5_enabled").unwrap_or(0) != 0 {
        5
    } else {
        4
    };
    let mask = number("sme_mask").unwrap_or(0).cast_unsigned();
    let format = tables(levels, mask);
    Ok((kaslr, image, PageTable { root, format }))
}

/// The banner says how far the image was moved in physical memory, the page tables how far in virtual memory.
fn by_banner(dump: &Dump, kernel: &KernelInfo) -> Option<(u64, Linear, PageTable)> {
    let linked = kernel.banner_address?;
    let top = kernel.page_table?;
    let formats = [tables(4, 0), tables(5, 0)];
    banners(dump, kernel, linked % X86_64_STEP, X86_64_STEP).find_map(|banner| {
        let root = banner.wrapping_add(top.wrapping_sub(linked));
        (0..X86_64_IMAGE_SIZE / X86_64_STEP).find_map(|step| {
            let kaslr = step * X86_64_STEP;
            let address = linked.checked_add(kaslr)?;
            let page_table = format_that_maps(dump, root, &formats, address, banner)?;
            let image = Linear {
                start: X86_64_IMAGE,
                size: X86_64_IMAGE_SIZE,
                physical: banner.wrapping_sub(address.wrapping_sub(X86_64_IMAGE)),
            };
            Some((kaslr, image, page_table))
        })
    })
}

/// On i386 all of low memory, the image among it, is at its physical address plus `PAGE_OFFSET`.
pub(super) fn locate_i386(dump: &Dump, kernel: &KernelInfo) -> Located {
    let linked = kernel.page_table.or(kernel.banner_address);
    let start = linked.and_then(|linked| I386_SPLITS.into_iter().find(|split| *split <= linked));
    let start = start.unwrap_or(I386_SPLITS[0]);
    let mut direct = Linear {
        start,
        // QEMU describes ROM and video memory too, which lie above; with little memory, vmalloc space starts below 896 MB.
        size: dump.main_end().min((1 << 32) - start - I386_RESERVE),
        physical: 0,
    };
    let kaslr = i386_offset(dump, kernel, &direct);
    let top = kernel.page_table.map(|linked| linked.wrapping_add(kaslr));
    let proven = top.and_then(|top| i386_tables(dump, top, &direct));
    if let Some(table) = &proven {
        shorten(dump, table, &mut direct);
    }
    let unproven = || {
        let root = direct.physical(top?)?;
        let format = tables(3, 0);
        Some(PageTable { root, format })
    };
    Located {
        kaslr,
        linked_from: start,
        direct,
        image: direct,
        page_table: proven.or_else(unproven).unwrap_or(PageTable::NONE),
    }
}

/// How far the image was moved: VMCOREINFO has no `KERNELOFFSET` on i386, but symbols; without it, where the banner is.
fn i386_offset(dump: &Dump, kernel: &KernelInfo, direct: &Linear) -> u64 {
    let info = dump.vmcoreinfo();
    if let Some(offset) = info.hex("KERNELOFFSET") {
        return offset;
    }
    if let (Some(moved), Some(linked)) = (info.hex("SYMBOL(swapper_pg_dir)"), kernel.page_table) {
        return moved.wrapping_sub(linked);
    }
    let Some((linked, top)) = kernel.banner_address.zip(kernel.page_table) else {
        return 0;
    };
    let physical = linked.wrapping_sub(direct.start);
    banners(dump, kernel, physical % I386_STEP, I386_STEP)
        .map(|banner| banner.wrapping_sub(physical))
        .find(|offset| {
            let banner = linked.wrapping_add(*offset);
            i386_tables(dump, top.wrapping_add(*offset), direct)
                .is_some_and(|table| maps(dump, &table, banner, banner.wrapping_sub(direct.start)))
        })
        .unwrap_or(0)
}

/// The page tables at an address, in the one of the two formats in which they map themselves.
fn i386_tables(dump: &Dump, address: u64, direct: &Linear) -> Option<PageTable> {
    let root = direct.physical(address)?;
    let (pae, legacy) = (tables(3, 0), Format::X86Legacy);
    let formats = if dump.vmcoreinfo().get("CONFIG_X86_PAE") == Some("y") {
        [pae, pae]
    } else {
        [pae, legacy]
    };
    format_that_maps(dump, root, &formats, address, root)
}

/// Ends the direct map where the page tables do: `vmalloc=` makes low memory smaller.
fn shorten(dump: &Dump, table: &PageTable, direct: &mut Linear) {
    const CHUNK: u64 = 2 << 20;
    let mapped = (0..direct.size)
        .step_by(CHUNK as usize)
        .take_while(|offset| maps(dump, table, direct.start + offset, *offset))
        .count() as u64;
    direct.size = direct.size.min(mapped * CHUNK);
}

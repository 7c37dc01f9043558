//! x86: x86_64, whose image and direct map are moved apart from each other, and i386, where one offset says it all.

use super::{Hints, Linear, Located, banners, format_that_maps, maps, no_kernel};
use crate::dump::{Cpu, Dump, OpenError, VmcoreInfo};
use crate::kernel::KernelInfo;
use crate::paging::{Format, PageTable, translate};

/// `__START_KERNEL_map`: where x86_64 maps the kernel image (Documentation/arch/x86/x86_64/mm.rst).
pub(super) const X86_64_IMAGE: u64 = 0xffff_ffff_8000_0000;
/// The image's room where VMCOREINFO doesn't say: 1 GB, after which modules start.
const X86_64_IMAGE_SIZE: u64 = 1 << 30;
/// `PAGE_OFFSET` of x86_64 without memory randomisation: with 4 levels from 4.20 on, from 2.6.27 on, from 2.6.11 on, before; with 5
/// levels from 4.20 on, before.
const X86_64_DIRECT: [u64; 6] = [
    0xffff_8880_0000_0000,
    0xffff_8800_0000_0000,
    0xffff_8100_0000_0000,
    0x0000_0100_0000_0000,
    0xff11_0000_0000_0000,
    0xff10_0000_0000_0000,
];
/// `CONFIG_PHYSICAL_ALIGN` of x86_64 is 2 MB at least, and randomisation moves by multiples of it.
const X86_64_STEP: u64 = 2 << 20;

/// In CR4: page tables of 5 levels.
const CR4_LA57: u64 = 1 << 12;
/// In CR4: PAE.
const CR4_PAE: u64 = 1 << 5;
/// Bits of CR3 that are an address.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

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

/// An x86_64 image: how far it was moved, what it is mapped to, and the page tables.
type Image = (u64, Linear, PageTable);

pub(super) fn locate_x86_64(
    dump: &Dump,
    kernel: &KernelInfo,
    info: &VmcoreInfo,
    hints: &Hints,
) -> Result<Located, OpenError> {
    // Before 4.10 VMCOREINFO has the address of `phys_base`, and not what is there.
    let (kaslr, image, page_table) = if info.number("phys_base").is_some() {
        by_vmcoreinfo(dump, kernel, info)?
    } else {
        let said = info.hex("KERNELOFFSET");
        by_banner(dump, kernel, said, hints)?
            .or_else(|| by_cpus(dump, kernel, said, hints))
            .ok_or_else(|| not_found(dump, info, hints))?
    };
    let direct_start = match kernel.page_offset_base {
        None => direct_map(dump, &page_table),
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

fn not_found(dump: &Dump, info: &VmcoreInfo, hints: &Hints) -> OpenError {
    let mut what = if info.is_empty() {
        "it has no VMCOREINFO note, which says where an x86_64 kernel was loaded".to_owned()
    } else {
        "VMCOREINFO has no NUMBER(phys_base), which says where an x86_64 kernel was loaded"
            .to_owned()
    };
    what.push_str(", and the kernel's banner is not where its page tables are");
    if let Some(kaslr) = hints.kaslr {
        what.push_str(&format!(" with an offset of {kaslr:#x} (--kaslr)"));
    }
    if let Some(base) = hints.physical_base {
        what.push_str(&format!(" with a physical base of {base:#x} (--phys-base)"));
    }
    what.push_str(if dump.machine() == 0 {
        "; is it an image of this kernel's memory, all of it, and from the address that was given?"
    } else {
        "; under QEMU, add `-device vmcoreinfo`"
    });
    no_kernel(dump, what)
}

/// Where the direct map starts in a kernel that doesn't move it: where the page tables have themselves. Where they don't say, the
/// newest kernels' is taken.
fn direct_map(dump: &Dump, table: &PageTable) -> u64 {
    X86_64_DIRECT
        .into_iter()
        .find(|start| maps(dump, table, start.wrapping_add(table.root), table.root))
        .unwrap_or(X86_64_DIRECT[0])
}

/// The kernel's own word.
fn by_vmcoreinfo(dump: &Dump, kernel: &KernelInfo, info: &VmcoreInfo) -> Result<Image, OpenError> {
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
        .or_else(|| info.hex("SYMBOL(init_level4_pgt)"))
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

/// How far an image may have been moved in virtual memory: as it is said, or by each step.
fn offsets(said: Option<u64>, hints: &Hints) -> Vec<u64> {
    match said.or(hints.kaslr) {
        Some(kaslr) => vec![kaslr],
        None => (0..X86_64_IMAGE_SIZE)
            .step_by(X86_64_STEP as usize)
            .collect(),
    }
}

/// The image whose banner is at one virtual and one physical address, if that may be meant.
fn image_at(address: u64, physical: u64, hints: &Hints) -> Option<Linear> {
    let base = physical.wrapping_sub(address.wrapping_sub(X86_64_IMAGE));
    let image = Linear {
        start: X86_64_IMAGE,
        size: X86_64_IMAGE_SIZE,
        physical: base,
    };
    hints
        .physical_base
        .is_none_or(|given| given == base)
        .then_some(image)
}

/// The banner says how far the image was moved in physical memory, the page tables how far in virtual memory.
///
/// # Errors
///
/// There are two such kernels: after a panic that may be the one that panicked and its crash kernel, which is mostly the same one. Nothing here
/// says which is meant.
fn by_banner(
    dump: &Dump,
    kernel: &KernelInfo,
    said: Option<u64>,
    hints: &Hints,
) -> Result<Option<Image>, OpenError> {
    let Some((linked, top)) = kernel.banner_address.zip(kernel.page_table) else {
        return Ok(None);
    };
    let formats = [tables(4, 0), tables(5, 0)];
    let offsets = offsets(said, hints);
    let mut images =
        banners(dump, kernel, linked % X86_64_STEP, X86_64_STEP).filter_map(|banner| {
            let root = banner.wrapping_add(top.wrapping_sub(linked));
            offsets.iter().find_map(|&kaslr| {
                let address = linked.checked_add(kaslr)?;
                let page_table = format_that_maps(dump, root, &formats, address, banner)?;
                Some((kaslr, image_at(address, banner, hints)?, page_table))
            })
        });
    let (first, second) = (images.next(), images.next());
    if let (Some(first), Some(second)) = (first, second) {
        let place = |(kaslr, image, _): Image| {
            format!("--kaslr {kaslr:x} --phys-base {:x}", image.physical)
        };
        return Err(OpenError::Ambiguous {
            path: dump.path().to_owned(),
            what: format!(
                "there are two kernels of this build in the dump's memory; after a panic, one is the crash kernel. Say which is meant: {} or {}",
                place(first),
                place(second)
            ),
        });
    }
    Ok(first)
}

/// The page tables that a CPU was using have the kernel's half, too, and in it the banner.
fn by_cpus(dump: &Dump, kernel: &KernelInfo, said: Option<u64>, hints: &Hints) -> Option<Image> {
    let linked = kernel.banner_address?;
    let banner = kernel.banner.as_bytes();
    let offsets = offsets(said, hints);
    dump.cpus().iter().find_map(|cpu| {
        let format = tables(if cpu.cr4 & CR4_LA57 != 0 { 5 } else { 4 }, 0);
        // With page-table isolation the tables of user mode, which lack most of the kernel, are the page behind the whole ones.
        [cpu.cr3 & !0xfff, cpu.cr3 & !0x1fff]
            .into_iter()
            .find_map(|root| {
                let table = PageTable {
                    root: root & ADDRESS,
                    format,
                };
                offsets.iter().find_map(|&kaslr| {
                    let address = linked.checked_add(kaslr)?;
                    let physical = translate(dump, &table, address).ok()?;
                    if banner.is_empty() || dump.physical(physical, banner.len()) != Ok(banner) {
                        return None;
                    }
                    let image = image_at(address, physical, hints)?;
                    // The kernel's own rather than those of the process that happened to run.
                    let own = kernel
                        .page_table
                        .and_then(|top| image.physical(top.wrapping_add(kaslr)))
                        .and_then(|top| format_that_maps(dump, top, &[format], address, physical));
                    Some((kaslr, image, own.unwrap_or(table)))
                })
            })
    })
}

/// On i386 all of low memory, the image among it, is at its physical address plus `PAGE_OFFSET`.
pub(super) fn locate_i386(
    dump: &Dump,
    kernel: &KernelInfo,
    info: &VmcoreInfo,
    hints: &Hints,
) -> Located {
    let linked = kernel.page_table.or(kernel.banner_address);
    let start = linked.and_then(|linked| I386_SPLITS.into_iter().find(|split| *split <= linked));
    let start = start.unwrap_or(I386_SPLITS[0]);
    let mut direct = Linear {
        start,
        // QEMU describes ROM and video memory too, which lie above; with little memory, vmalloc space starts below 896 MB.
        size: dump.main_end().min((1 << 32) - start - I386_RESERVE),
        physical: 0,
    };
    let is_pae = info.get("CONFIG_X86_PAE") == Some("y");
    let kaslr = i386_offset(dump, kernel, info, hints, &direct);
    let top = kernel.page_table.map(|linked| linked.wrapping_add(kaslr));
    let proven = top
        .and_then(|top| i386_tables(dump, top, is_pae, &direct))
        .or_else(|| i386_by_cpus(dump, kernel, kaslr, &direct));
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
fn i386_offset(
    dump: &Dump,
    kernel: &KernelInfo,
    info: &VmcoreInfo,
    hints: &Hints,
    direct: &Linear,
) -> u64 {
    if let Some(offset) = info.hex("KERNELOFFSET") {
        return offset;
    }
    if let (Some(moved), Some(linked)) = (info.hex("SYMBOL(swapper_pg_dir)"), kernel.page_table) {
        return moved.wrapping_sub(linked);
    }
    let Some(linked) = kernel.banner_address else {
        return hints.kaslr.unwrap_or(0);
    };
    let physical = linked.wrapping_sub(direct.start);
    banners(dump, kernel, physical % I386_STEP, I386_STEP)
        .map(|banner| banner.wrapping_sub(physical))
        .filter(|offset| hints.allow(*offset))
        .find(|offset| {
            let banner = linked.wrapping_add(*offset);
            let own = kernel.page_table;
            own.and_then(|top| i386_tables(dump, top.wrapping_add(*offset), false, direct))
                .is_some_and(|table| maps(dump, &table, banner, banner.wrapping_sub(direct.start)))
                || i386_by_cpus(dump, kernel, *offset, direct).is_some()
        })
        .or(hints.kaslr)
        .unwrap_or(0)
}

/// The page tables at an address, in the one of the two formats in which they map themselves.
fn i386_tables(dump: &Dump, address: u64, is_pae: bool, direct: &Linear) -> Option<PageTable> {
    let root = direct.physical(address)?;
    let (pae, legacy) = (tables(3, 0), Format::X86Legacy);
    let formats = [pae, if is_pae { pae } else { legacy }];
    format_that_maps(dump, root, &formats, address, root)
}

/// The page tables that a CPU was using, if they have the banner where it is with an offset.
fn i386_by_cpus(
    dump: &Dump,
    kernel: &KernelInfo,
    kaslr: u64,
    direct: &Linear,
) -> Option<PageTable> {
    let banner = kernel.banner_address?.wrapping_add(kaslr);
    let physical = direct.physical(banner)?;
    let text = kernel.banner.as_bytes();
    if text.is_empty() || dump.physical(physical, text.len()) != Ok(text) {
        return None;
    }
    let table = |cpu: &Cpu| {
        // PAE's four entries are aligned to 32 bytes, other tables to a page.
        let (format, mask) = match cpu.cr4 & CR4_PAE {
            0 => (Format::X86Legacy, 0xffff_f000),
            _ => (tables(3, 0), 0xffff_ffe0),
        };
        format_that_maps(dump, cpu.cr3 & mask, &[format], banner, physical)
    };
    dump.cpus().iter().find_map(table)
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

//! Page tables of all architectures, and where their kernels are found, over dumps that are built beside the assertion.

use kstruct::{
    EM_386, EM_AARCH64, EM_PPC64, EM_RISCV, EM_S390, EM_X86_64, FaultKind, OpenError, UserSpace,
};
use tests::Random;
use tests::machine::{BANNER, Machine};

const PAGE: u64 = 4096;

/// An arm64 machine whose tables begin at 1 GB and 64 KB, with what VMCOREINFO says of it.
fn arm64(page_bits: u32, configured: u32, actual: u32) -> Machine {
    let mut machine = Machine::new(EM_AARCH64);
    machine.info.page_table = Some(ARM64_IMAGE + 0x1_0000);
    machine.vmcoreinfo = format!(
        "OSRELEASE=6.1.0-test\nPAGESIZE={}\nSYMBOL(swapper_pg_dir)={:x}\nNUMBER(VA_BITS)={configured}\nNUMBER(kimage_voffset)={:#x}\nNUMBER(PHYS_OFFSET)=0x40000000\nNUMBER(TCR_EL1_T1SZ)={:#x}\nKERNELOFFSET=0\n",
        1 << page_bits,
        ARM64_IMAGE + 0x1_0000,
        ARM64_IMAGE - 0x4000_0000,
        64 - actual,
    );
    machine.put(ARM64_ROOT, &[0; 8]);
    machine
}

const ARM64_IMAGE: u64 = 0xffff_8000_0800_0000;
const ARM64_ROOT: u64 = 0x4001_0000;

/// Maps one page, with tables of 64 KB each from 0x4010_0000 on.
fn arm64_map(
    machine: &mut Machine,
    (page_bits, address_bits): (u32, u32),
    address: u64,
    last_level: u32,
    value: u64,
) {
    let step = page_bits - 3;
    let levels = (address_bits - page_bits).div_ceil(step);
    let mut table = ARM64_ROOT;
    for level in (last_level..levels).rev() {
        let shift = page_bits + step * level;
        let index = (address >> shift) & ((1 << step.min(address_bits - shift)) - 1);
        if level == last_level {
            machine.entry(table, index, value);
            return;
        }
        let next = 0x4010_0000 + u64::from(levels - level) * 0x1_0000 + (index % 7) * 0x10_0000;
        machine.put(next, &[0]);
        machine.entry(table, index, next | 3);
        table = next;
    }
}

#[test]
fn arm64_has_three_granules_and_many_sizes() {
    for (page_bits, address_bits) in [
        (12, 39),
        (12, 48),
        (12, 52),
        (14, 36),
        (14, 47),
        (14, 48),
        (14, 52),
        (16, 42),
        (16, 48),
        (16, 52),
    ] {
        let shape = (page_bits, address_bits);
        let mut machine = arm64(page_bits, address_bits, address_bits);
        let address = 0u64.wrapping_sub(0x1234_0000) & !((1 << page_bits) - 1);
        arm64_map(&mut machine, shape, address, 0, 0x5000_0000 | 0x403);
        // A block one level above the last: 2 MB, 32 MB, 512 MB.
        let block_bits = page_bits + page_bits - 3;
        let block = 0u64.wrapping_sub(3 << block_bits);
        arm64_map(&mut machine, shape, block, 1, (1 << (block_bits + 1)) | 1);
        machine.put(0x5000_0123, b"page");
        machine.put((1 << (block_bits + 1)) + 0x12_3456, b"block");
        let memory = machine.opened();
        assert_eq!(
            memory.bytes(address + 0x123, 4),
            Ok(&b"page"[..]),
            "{shape:?}"
        );
        assert_eq!(
            memory.bytes(block + 0x12_3456, 5),
            Ok(&b"block"[..]),
            "{shape:?}"
        );
        assert_eq!(memory.page_size(), 1 << page_bits);
        let beyond = address.wrapping_sub(1 << page_bits);
        let fault = memory.bytes(beyond, 1).expect_err("nothing is there");
        assert_eq!(fault.kind, FaultKind::NotMapped, "{shape:?}");
        // Neither in the kernel's half nor in the user's.
        let hole = memory.bytes(1 << 56, 1).expect_err("no table has it");
        assert_eq!(hole.kind, FaultKind::NotMapped, "{shape:?}");
    }
}

#[test]
fn arm64_physical_addresses_of_52_bits_are_put_together() {
    for (page_bits, value, physical) in [
        (16, 0x5000_3003, 0x3_0000_5000_0000),
        (12, 0x1_0000_5000_0203, 0x9_0000_5000_0000),
    ] {
        let mut machine = arm64(page_bits, 52, 52);
        let address = 0u64.wrapping_sub(1 << 20);
        arm64_map(&mut machine, (page_bits, 52), address, 0, value);
        let memory = machine.opened();
        assert_eq!(
            memory.physical_address(address),
            Ok(physical),
            "{page_bits}"
        );
    }
}

#[test]
fn arm64s_linear_map_is_where_the_tables_say() {
    // Since 5.4 it is the lower half of the kernel's addresses, before it was the upper one.
    for start in [0xffff_0000_0000_0000u64, 0xffff_8000_0000_0000] {
        let mut machine = arm64(12, 48, 48);
        let offset = ARM64_ROOT - 0x4000_0000;
        arm64_map(&mut machine, (12, 48), start + offset, 0, ARM64_ROOT | 3);
        machine.put(0x4800_0000, b"linear");
        let memory = machine.opened();
        assert_eq!(memory.bytes(start + 0x800_0000, 6), Ok(&b"linear"[..]));
        assert_eq!(memory.paging_levels(), 4);
    }
}

#[test]
fn arm64_without_what_it_takes_is_refused_by_name() {
    for (gone, other) in [
        ("NUMBER(kimage_voffset)", "kimage_voffset"),
        ("NUMBER(PHYS_OFFSET)", "PHYS_OFFSET"),
        ("NUMBER(VA_BITS)", "VA_BITS"),
    ] {
        let mut machine = arm64(12, 48, 48);
        machine.vmcoreinfo = machine.vmcoreinfo.replace(gone, "NUMBER(x)");
        let error = machine.open().err().expect("it is needed").to_string();
        assert!(error.contains(other), "{error}");
    }
    for (from, to) in [
        ("PAGESIZE=4096", "PAGESIZE=5000"),
        ("VA_BITS)=48", "VA_BITS)=99"),
        ("T1SZ)=0x10", "T1SZ)=0x3f"),
        ("T1SZ)=0x10", "T1SZ)=0x0"),
    ] {
        let mut machine = arm64(12, 48, 48);
        assert!(machine.vmcoreinfo.contains(from));
        machine.vmcoreinfo = machine.vmcoreinfo.replace(from, to);
        assert!(
            matches!(machine.open(), Err(OpenError::NoKernel { .. })),
            "{to}"
        );
    }
}

#[test]
fn riscv_is_walked() {
    for (bits, levels) in [(39, 3), (48, 4), (57, 5)] {
        let mut machine = Machine::new(EM_RISCV);
        machine.vmcoreinfo = format!(
            "OSRELEASE=6.1.0-test\nSYMBOL(swapper_pg_dir)=ffffffff81000000\nNUMBER(VA_BITS)={bits}\nNUMBER(PAGE_OFFSET)=0xff60000000000000\nNUMBER(phys_ram_base)=0x80000000\nNUMBER(va_kernel_pa_offset)=0xfffffffeff000000\n"
        );
        let root = 0x8200_0000;
        let address = 0xffff_ffff_ffff_7000u64;
        let mut table = root;
        for level in (1..levels).rev() {
            let next = table + PAGE;
            machine.entry(table, 511, (next >> 12) << 10 | 1);
            // 2 MB beside it.
            if level == 1 {
                machine.entry(table, 510, (0x9020_0000 >> 12) << 10 | 0xf);
                machine.entry(table, 509, (0x9020_1000 >> 12) << 10 | 0xf);
            }
            table = next;
        }
        machine.entry(table, address >> 12 & 511, (0x9000_0000 >> 12) << 10 | 0xcf);
        machine.put(0x9000_0010, b"page").put(0x9021_0000, b"large");
        machine.put(0x8300_0000, b"direct");
        let memory = machine.opened();
        assert_eq!(memory.bytes(address + 16, 4), Ok(&b"page"[..]));
        assert_eq!(memory.bytes(0xffff_ffff_ffc1_0000, 5), Ok(&b"large"[..]));
        assert_eq!(memory.bytes(0xff60_0000_0300_0000, 6), Ok(&b"direct"[..]));
        // A large page that is not aligned is none.
        let crooked = memory.physical_address(0xffff_ffff_ffa0_0000);
        assert_eq!(
            crooked.map_err(|fault| fault.kind),
            Err(FaultKind::NotMapped)
        );
        assert_eq!(memory.paging_levels(), levels);
    }
}

/// An s390x machine that was moved by 0x4000; its tables are of three levels.
fn s390() -> Machine {
    let mut machine = Machine::new(EM_S390);
    machine.info.banner = BANNER;
    machine.info.banner_address = Some(0x10_0100);
    machine.info.page_table = Some(0x20_0000);
    machine.put(0x10_4100, BANNER.as_bytes());
    let root = 0x20_4000;
    // A region of 2 GB by a segment table, in it memory by segments of 1 MB and a page of modules.
    machine.entry(root, 0, 0x30_0000 | 7 | 1 << 2);
    for segment in 0..8 {
        machine.entry(0x30_0000, segment, segment << 20 | 0x400);
    }
    machine.entry(0x30_0000, 0x400, 0x31_0800);
    machine.entry(0x31_0800, 3, 0x40_0000);
    machine.entry(0x31_0800, 4, 0x40_0000 | 0x400); // invalid
    machine.entry(0x31_0800, 5, 0x40_0000 | 0x401); // without access
    machine.put(0x40_0020, b"module");
    machine.entry(0x30_0000, 0x401, 0x20); // an invalid segment
    machine
}

#[test]
fn s390_is_found_by_its_banner_and_walked() {
    let memory = s390().opened();
    assert_eq!(memory.kaslr_offset(), 0x4000);
    assert_eq!(memory.paging_levels(), 3);
    assert_eq!(memory.bytes(0x4000_3020, 6), Ok(&b"module"[..]));
    assert_eq!(memory.bytes(0x4000_5020, 6), Ok(&b"module"[..]));
    assert_eq!(memory.bytes(0x40_0020, 6), Ok(&b"module"[..]));
    for nothing in [0x4000_4020, 0x4010_0000, 1 << 50] {
        let kind = memory.physical_address(nothing).map_err(|fault| fault.kind);
        assert_eq!(kind, Err(FaultKind::NotMapped), "{nothing:#x}");
    }
    // The first page is there, but a null pointer is one.
    let null = memory.bytes(0x10, 4).map_err(|fault| fault.kind);
    assert_eq!(null, Err(FaultKind::Null));
}

#[test]
fn s390_user_space_has_tables_of_other_depths() {
    let mut machine = s390();
    machine.entry(0x50_0000, 1, 0x51_0000); // a segment table of its own
    machine.entry(0x51_0000, 2, 0x60_0000);
    machine.put(0x60_0ffe, b"ab");
    machine.entry(0x51_0000, 1, 0x400); // invalid
    machine.entry(0x51_0000, 3, 0x60_2000);
    machine.put(0x60_2000, b"cd");
    let memory = machine.opened();
    let space = UserSpace::by_asce(&memory, 0x50_0000);
    assert_eq!(space.bytes(0x10_2ffe, 4), Ok(b"abcd".to_vec()));
    let kind = space.bytes(0x10_1000, 1).map_err(|fault| fault.kind);
    assert_eq!(kind, Err(FaultKind::NotMapped));
    let kind = space.bytes(0x10_2000, 1 << 40).map_err(|fault| fault.kind);
    assert_eq!(kind, Err(FaultKind::TooLarge));
}

#[test]
fn s390_tables_of_the_wrong_type_are_none() {
    let mut machine = s390();
    // The type of a region's second table.
    machine.entry(0x20_4000, 0, 0x30_0000 | 7 | 2 << 2);
    assert!(matches!(machine.open(), Err(OpenError::NoKernel { .. })));
}

/// An i386 machine without PAE whose kernel was moved by 16 MB; low memory is mapped by pages of 4 MB.
fn i386(split: u64) -> Machine {
    let mut machine = Machine::new(EM_386);
    machine.info.banner = BANNER;
    machine.info.banner_address = Some(split + 0x180_0040);
    machine.info.page_table = Some(split + 0x190_0000);
    machine.put(0x280_0040, BANNER.as_bytes());
    let root = 0x290_0000;
    for large in 0..16u32 {
        let index = (split >> 22) + u64::from(large);
        machine.entry32(root, index, large << 22 | 0x81);
    }
    machine.entry32(root, 0x3fc, 0x30_0001); // vmalloc space
    machine.entry32(0x30_0000, 7, 0x31_0001);
    machine.put(0x31_0000, b"vmalloc");
    machine.put(0x3f0_0000, b"low");
    machine
}

#[test]
fn i386_is_found_at_every_split() {
    for split in [
        0xc000_0000,
        0xb000_0000,
        0x8000_0000,
        0x7800_0000,
        0x4000_0000,
    ] {
        let without = i386(split);
        let mut with = i386(split);
        with.vmcoreinfo = format!(
            "OSRELEASE=6.1.0-test\nSYMBOL(swapper_pg_dir)={:x}\n",
            split + 0x290_0000
        );
        for machine in [without, with] {
            let memory = machine.opened();
            assert_eq!(memory.kaslr_offset(), 0x100_0000, "{split:#x}");
            assert_eq!(memory.paging_levels(), 2);
            assert_eq!(memory.bytes(split + 0x3f0_0000, 3), Ok(&b"low"[..]));
            assert_eq!(memory.bytes(0xff00_7000, 7), Ok(&b"vmalloc"[..]));
            let kind = memory
                .physical_address(0xff00_8000)
                .map_err(|fault| fault.kind);
            assert_eq!(kind, Err(FaultKind::NotMapped));
            let kind = memory.physical_address(1 << 32).map_err(|fault| fault.kind);
            assert_eq!(kind, Err(FaultKind::NotMapped));
        }
    }
}

#[test]
fn large_pages_of_i386_reach_above_4_gb() {
    let mut machine = i386(0xc000_0000);
    machine.entry32(0x290_0000, 0x3fd, 0x0040_0000 | 0x81 | 5 << 13);
    let memory = machine.opened();
    assert_eq!(memory.physical_address(0xff40_1234), Ok(0x5_0040_1234));
}

const X86_64_IMAGE: u64 = 0xffff_ffff_8000_0000;

/// An x86_64 machine without VMCOREINFO, its image moved by 32 MB in physical and by 64 MB in virtual memory.
fn x86_64(levels: u64) -> Machine {
    let mut machine = Machine::new(EM_X86_64);
    machine.info.banner = BANNER;
    machine.info.banner_address = Some(X86_64_IMAGE + 0x120_0100);
    machine.info.page_table = Some(X86_64_IMAGE + 0x140_0000);
    machine.put(0x320_0100, BANNER.as_bytes());
    let mut table = 0x340_0000;
    for _ in 0..levels - 3 {
        machine.entry(table, 511, (table + PAGE) | 1);
        table += PAGE;
    }
    machine.entry(table, 510, (table + PAGE) | 1);
    for large in 0..16 {
        machine.entry(
            table + PAGE,
            40 + large,
            (0x300_0000 + (large << 21)) | 0x81,
        );
    }
    machine
}

#[test]
fn x86_64_is_found_by_its_banner() {
    for levels in [4, 5] {
        let mut machine = x86_64(levels);
        machine.put(0x345_6000, b"data");
        // A copy of the banner, where no kernel is.
        machine.put(0x100, BANNER.as_bytes());
        machine.put(0x100_0100, BANNER.as_bytes());
        let memory = machine.opened();
        assert_eq!(u64::from(memory.paging_levels()), levels);
        assert_eq!(memory.kaslr_offset(), 0x400_0000);
        let linked = X86_64_IMAGE + 0x145_6000;
        assert_eq!(memory.bytes(memory.relocated(linked), 4), Ok(&b"data"[..]));
    }
}

#[test]
fn a_banner_without_page_tables_is_no_kernel() {
    let mut machine = x86_64(4);
    machine.entry(0x340_0000, 511, 0);
    let error = machine
        .open()
        .err()
        .expect("there are no tables")
        .to_string();
    assert!(error.contains("-device vmcoreinfo"), "{error}");
}

#[test]
fn a_user_space_of_x86_64_is_read_by_its_own_tables() {
    let mut machine = x86_64(4);
    machine.entry(0x50_0000, 0, 0x50_1007);
    machine.entry(0x50_1000, 0, 0x50_2007);
    machine.entry(0x50_2000, 2, 0x50_3007);
    machine.entry(0x50_3000, 0, 0x70_0007);
    machine.entry(0x50_3000, 1, 0x80_0007);
    machine.put(0x70_0ffc, b"argv").put(0x80_0000, b"\0more");
    let memory = machine.opened();
    let pgd = 0xffff_8880_0050_0000;
    let space = UserSpace::new(&memory, pgd).expect("it is in the direct map");
    assert_eq!(space.bytes(0x40_0ffc, 9), Ok(b"argv\0more".to_vec()));
    // Twice, as the second time nothing is walked; and another process has another page there.
    assert_eq!(space.bytes(0x40_0ffc, 4), Ok(b"argv".to_vec()));
    let other = UserSpace::new(&memory, pgd + 0x1000).expect("it is in the direct map");
    assert!(other.bytes(0x40_0ffc, 4).is_err());
    let kind = space.bytes(0x40_2000, 1).map_err(|fault| fault.kind);
    assert_eq!(kind, Err(FaultKind::NotMapped));
}

/// 100,000 pointers, each in another of 200 pages that only tables map: what is remembered is what is found, in less time. Times are
/// printed and not tested (`--nocapture`).
#[test]
fn a_chase_through_page_tables_is_remembered() {
    const PAGES: u64 = 200;
    let start = 0xffff_c900_0000_0000u64;
    let mut machine = x86_64(4);
    machine.entry(0x340_0000, start >> 39 & 511, 0x50_0001);
    machine.entry(0x50_0000, start >> 30 & 511, 0x50_1001);
    machine.entry(0x50_1000, start >> 21 & 511, 0x50_2001);
    for page in 0..PAGES {
        let physical = 0x60_0000 + page * PAGE;
        machine.entry(0x50_2000, (start >> 12 & 511) + page, physical | 1);
        let next = start + (page * 77 + 1) % PAGES * PAGE;
        machine.put(physical, &next.to_le_bytes());
    }
    let memory = machine.opened();
    let chase = |step: &dyn Fn(u64) -> u64| {
        let once = || {
            let begin = std::time::Instant::now();
            let mut at = start;
            let mut sum = 0u64;
            for _ in 0..100_000 {
                at = step(at);
                sum = sum.wrapping_add(at);
            }
            (begin.elapsed(), sum)
        };
        // The machine has other things to do as well.
        let (least, sum) = (0..5).map(|_| once()).min().expect("there are five");
        (sum, least)
    };
    let direct = 0xffff_8880_0000_0000u64;
    let walked = chase(&|at| {
        let physical = memory.walk_page_tables(at).expect("it is mapped");
        memory.word(direct + physical).expect("it is there")
    });
    let remembered = chase(&|at| memory.word(at).expect("it is there"));
    assert_eq!(walked.0, remembered.0);
    println!(
        "100,000 pointers: walked {:?}, remembered {:?}",
        walked.1, remembered.1
    );
}

#[test]
fn tables_of_noise_end_in_an_address_or_a_fault() {
    let machines: [fn() -> Machine; 7] = [
        || x86_64(5),
        || i386(0xc000_0000),
        s390,
        || arm64(12, 48, 48),
        || arm64(16, 52, 52),
        || ppc64(16, 0),
        || s390_uncoupled(0),
    ];
    let mut random = Random::new(0);
    for machine in machines {
        for _ in 0..40 {
            let mut machine = machine();
            let tables: Vec<u64> = machine.pages.keys().copied().collect();
            // Entries that lead into the tables, themselves among them, and entries of noise.
            for _ in 0..300 {
                let number = random.next();
                let table = tables[(number % tables.len() as u64) as usize];
                let target = tables[(number >> 20) as usize % tables.len()];
                let value = match number >> 60 {
                    0..8 => target | random.next() & 0x4ff,
                    8..12 => random.next(),
                    _ => table | 3,
                };
                machine.entry(table, random.next() & 511, value);
            }
            // Its own tables may be spoilt as well: then it is refused, and that is all.
            let Ok(memory) = machine.open() else { continue };
            for _ in 0..200 {
                let address = match random.next() & 3 {
                    0 => random.next(),
                    1 => random.next() | 0xffff_8000_0000_0000,
                    2 => random.next() & 0xffff_ffff,
                    _ => random.next() >> 17,
                };
                let first = memory.walk_page_tables(address);
                // What is remembered is what was found.
                let linear = memory.physical_address(address);
                assert_eq!(linear, memory.physical_address(address));
                assert_eq!(first, memory.walk_page_tables(address));
                let _ = memory.bytes(address, 64);
                if let Ok(space) = UserSpace::new(&memory, address) {
                    let _ = space.bytes(random.next() >> 17, 5000);
                }
            }
        }
    }
}

/// An s390x machine since 6.10: memory is mapped from 1 TB on, the image at 3 TB and in physical memory at 2 MB.
fn s390_uncoupled(linked: u64) -> Machine {
    let mut machine = Machine::new(EM_S390);
    machine.info.banner = BANNER;
    machine.info.banner_address = Some(linked + 0x10_0100);
    machine.info.page_table = Some(linked + 0x20_0000);
    machine.put(0x30_0100, BANNER.as_bytes());
    let image = 3u64 << 40;
    machine.vmcoreinfo = format!(
        "OSRELEASE=6.1.0-test\nIDENTITYBASE={:x}\nKERNELOFFSET={image:x}\nKERNELOFFPHYS=200000\n",
        1u64 << 40
    );
    // A region's third table, 2 GB to an entry, and a segment table.
    machine.entry(0x40_0000, 0, 0x20);
    machine.entry(0x40_0000, image >> 31 & 0x7ff, 0x50_0000 | 7 | 1 << 2);
    for segment in 0..8 {
        let physical = (segment << 20) + 0x20_0000;
        machine.entry(0x50_0000, segment, physical | 0x400);
    }
    machine.put(0x60_0000, b"image").put(0x70_0000, b"memory");
    machine
}

#[test]
fn s390_since_6_10_is_mapped_in_two_places() {
    for linked in [0, 0x3ff_e000_0000] {
        let memory = s390_uncoupled(linked).opened();
        let image = memory.relocated(linked + 0x40_0000);
        assert_eq!(image, (3 << 40) + 0x40_0000);
        assert_eq!(memory.bytes(image, 5), Ok(&b"image"[..]));
        assert_eq!(memory.bytes((1 << 40) + 0x70_0000, 6), Ok(&b"memory"[..]));
        let kind = memory.bytes(0x70_0000, 6).map_err(|fault| fault.kind);
        assert_eq!(kind, Err(FaultKind::NotMapped));
    }
    for (from, to) in [
        ("KERNELOFFPHYS=2", "KERNELOFFPHYS=3"),
        ("KERNELOFFSET=3", "KERNELOFFSET=2"),
        ("KERNELOFFPHYS=", "OTHER="),
    ] {
        let mut machine = s390_uncoupled(0);
        assert!(machine.vmcoreinfo.contains(from));
        machine.vmcoreinfo = machine.vmcoreinfo.replace(from, to);
        assert!(matches!(machine.open(), Err(OpenError::NoKernel { .. })));
    }
}

/// A powerpc64 machine with pages of 4 or 64 KB, its kernel moved as a kdump kernel is. Entries are big-endian whatever the kernel is.
fn ppc64(page_bits: u32, moved: u64) -> Machine {
    let mut machine = Machine::new(EM_PPC64);
    machine.info.banner = BANNER;
    machine.info.banner_address = Some(PPC64 + 0x20_0100);
    machine.info.page_table = Some(PPC64 + 0x30_0000);
    machine.vmcoreinfo = format!("OSRELEASE=6.1.0-test\nPAGESIZE={}\n", 1 << page_bits);
    machine.put(0x20_0100 + moved, BANNER.as_bytes());
    let top = 0x30_0000 + moved;
    // The direct map by 1 GB: the level below the top.
    radix(&mut machine, top, 0, 0x50_0000, 9);
    radix_leaf(&mut machine, 0x50_0000, 0, 0);
    // vmalloc space, down to pages.
    let page = 0x77_0000 >> page_bits << page_bits;
    radix(&mut machine, top, 1 << 12, 0x51_0000, 9);
    radix(&mut machine, 0x51_0000, 0, 0x52_0000, 9);
    radix(
        &mut machine,
        0x52_0000,
        1,
        0x53_0000,
        if page_bits == 16 { 5 } else { 9 },
    );
    radix_leaf(&mut machine, 0x53_0000, 2, page);
    radix_leaf(&mut machine, 0x52_0000, 3, 0x80_0000);
    machine.put(page + 0xf00, b"page").put(0x81_2345, b"large");
    machine
}

const PPC64: u64 = 0xc000_0000_0000_0000;

fn radix(machine: &mut Machine, table: u64, index: u64, next: u64, bits: u64) {
    let value = 1 << 63 | next | bits;
    machine.put(next, &[0; 8]);
    machine.put(table + index * 8, &value.to_be_bytes());
}

fn radix_leaf(machine: &mut Machine, table: u64, index: u64, physical: u64) {
    let value = 3u64 << 62 | physical | 0x18e;
    machine.put(table + index * 8, &value.to_be_bytes());
}

#[test]
fn powerpc64_is_walked_with_both_page_sizes() {
    for page_bits in [12, 16] {
        for (moved, symbol) in [(0, false), (0x200_0000, false), (0x200_0000, true)] {
            let mut machine = ppc64(page_bits, moved);
            if symbol {
                let top = PPC64 + 0x30_0000 + moved;
                machine.vmcoreinfo += &format!("SYMBOL(swapper_pg_dir)={top:x}\n");
            }
            machine.put(0x312_3456, b"direct");
            let memory = machine.opened();
            assert_eq!(memory.kaslr_offset(), moved);
            assert_eq!(memory.page_size(), 1 << page_bits);
            assert_eq!(memory.paging_levels(), 4);
            assert_eq!(memory.bytes(PPC64 + 0x312_3456, 6), Ok(&b"direct"[..]));
            assert_eq!(memory.walk_page_tables(PPC64 + 0x312_3456), Ok(0x312_3456));
            // 2 MB is what one entry of the third level maps, in both.
            let vmalloc = 0xc008_0000_0000_0000u64;
            let page = vmalloc + (1 << 21) + (2 << page_bits);
            assert_eq!(memory.bytes(page + 0xf00, 4), Ok(&b"page"[..]));
            assert_eq!(
                memory.bytes(vmalloc + (3 << 21) + 0x1_2345, 5),
                Ok(&b"large"[..])
            );
            for nothing in [
                vmalloc,
                page + (1 << page_bits),
                0xc018_0000_0000_0000,
                0xc080_0000_0000_0000,
                0xd000_0000_0000_0000,
                0x8000_0000_0000_0000,
            ] {
                let kind = memory.physical_address(nothing).map_err(|fault| fault.kind);
                assert_eq!(kind, Err(FaultKind::NotMapped), "{nothing:#x}");
            }
        }
    }
}

#[test]
fn powerpc64_without_radix_tables_is_refused_by_name() {
    let mut machine = ppc64(16, 0);
    machine.vmcoreinfo += "NUMBER(RADIX_MMU)=0\n";
    let error = machine.open().err().expect("it is hashed").to_string();
    assert!(error.contains("hash translation"), "{error}");
    let mut machine = ppc64(16, 0);
    machine.put(0x30_0000, &[0; 8]);
    let error = machine.open().err().expect("nothing is mapped").to_string();
    assert!(error.contains("hash translation"), "{error}");
    let mut machine = ppc64(16, 0);
    machine.vmcoreinfo = "OSRELEASE=6.1.0-test\nPAGESIZE=5\n".into();
    assert!(matches!(machine.open(), Err(OpenError::NoKernel { .. })));
}

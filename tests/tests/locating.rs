//! Where kernels are found that no note speaks of: by VMCOREINFO in memory, by what CPUs were using, by what is given by hand; and what
//! of that is refused.

use kstruct::{
    EM_386, EM_AARCH64, EM_RISCV, EM_X86_64, FaultKind, Hints, KernelInfo, Memory, OpenError,
    VmcoreInfo,
};
use tests::Synthetic;
use tests::machine::{BANNER, Machine};

const PAGE: u64 = 4096;
const X86_64_IMAGE: u64 = 0xffff_ffff_8000_0000;
const ARM64_IMAGE: u64 = 0xffff_8000_0800_0000;

/// An x86_64 machine, its image moved by 32 MB in physical and by 64 MB in virtual memory, mapped by large pages.
fn x86_64() -> Machine {
    let mut machine = Machine::new(EM_X86_64);
    machine.info.banner = BANNER;
    machine.info.banner_address = Some(X86_64_IMAGE + 0x120_0100);
    machine.info.page_table = Some(X86_64_IMAGE + 0x140_0000);
    machine.put(0x320_0100, BANNER.as_bytes());
    tables(&mut machine, 0x340_0000, 40, 0x300_0000);
    machine
}

/// Four levels: from the index of 2 MB in the image's 1 GB on, 16 large pages.
fn tables(machine: &mut Machine, root: u64, first: u64, physical: u64) {
    machine.entry(root, 511, (root + PAGE) | 1);
    machine.entry(root + PAGE, 510, (root + 2 * PAGE) | 1);
    for large in 0..16 {
        let entry = (physical + (large << 21)) | 0x81;
        machine.entry(root + 2 * PAGE, first + large, entry);
    }
}

/// What the kernel of [`x86_64`] would have left.
fn x86_64_text() -> String {
    let mut text = format!(
        "OSRELEASE=6.1.0-test\nPAGESIZE=4096\nSYMBOL(init_uts_ns)=ffffffff85000000\nSYMBOL(swapper_pg_dir)={0:x}\nSYMBOL(init_top_pgt)={0:x}\nNUMBER(phys_base)=-33554432\nNUMBER(pgtable_l5_enabled)=0\nKERNELOFFSET=4000000\n",
        X86_64_IMAGE + 0x540_0000
    );
    text.push_str("NUMBER(KERNEL_IMAGE_SIZE)=1073741824\nCRASHTIME=1700000000\n");
    text
}

fn refused(opened: Result<Memory, OpenError>) -> String {
    match opened {
        Ok(memory) => panic!("it was found, moved by {:#x}", memory.kaslr_offset()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn vmcoreinfo_is_found_in_memory() {
    // As a text in a page of its own; as a note that begins somewhere and goes over the end of a page.
    for at in [0x800_0000, 0x800_0000 + PAGE - 100] {
        let mut machine = x86_64();
        machine.put(at, x86_64_text().as_bytes());
        let memory = machine.open_lime(&Hints::default()).expect("it is found");
        assert_eq!(memory.kaslr_offset(), 0x400_0000);
        let info = memory.vmcoreinfo();
        assert_eq!(info.get("CRASHTIME"), Some("1700000000"));
        assert_eq!(memory.dump().vmcoreinfo().get("CRASHTIME"), None);
    }
    // Where there is none, there is none.
    let memory = x86_64().open_lime(&Hints::default()).expect("it is found");
    assert!(memory.vmcoreinfo().is_empty());
}

#[test]
fn the_banners_address_is_not_needed_where_vmcoreinfo_is_in_memory() {
    let mut machine = x86_64();
    machine.info.banner_address = None;
    machine.info.page_table = None;
    machine.put(0x800_0000, x86_64_text().as_bytes());
    let memory = machine.open_lime(&Hints::default()).expect("it is found");
    assert_eq!(memory.kaslr_offset(), 0x400_0000);
    assert_eq!(memory.paging_levels(), 4);
    let mut machine = x86_64();
    machine.info.banner_address = None;
    refused(machine.open_lime(&Hints::default()));
}

/// Encrypted memory (SME): entries have a bit that only VMCOREINFO tells of. So the banner alone finds nothing.
fn encrypted() -> Machine {
    let mask = 1 << 47;
    let mut machine = Machine::new(EM_X86_64);
    machine.info = x86_64().info;
    machine.put(0x320_0100, BANNER.as_bytes());
    machine.entry(0x340_0000, 511, 0x340_1000 | mask | 1);
    machine.entry(0x340_1000, 510, 0x340_2000 | mask | 1);
    for large in 0..16 {
        let entry = (0x300_0000 + (large << 21)) | mask | 0x81;
        machine.entry(0x340_2000, 40 + large, entry);
    }
    machine
}

#[test]
fn copies_of_vmcoreinfo_that_are_not_true_are_passed_over() {
    let good = x86_64_text() + &format!("NUMBER(sme_mask)={}\n", 1_u64 << 47);
    let stale = [
        // Of an earlier boot: another offset.
        good.replace("KERNELOFFSET=4000000", "KERNELOFFSET=6000000"),
        good.replace("phys_base)=-33554432", "phys_base)=-31457280"),
        good.replace("phys_base)=-33554432", "phys_base)=9223372036854775807"),
        good.replace(
            &format!("{:x}", X86_64_IMAGE + 0x540_0000),
            "ffffffff85600000",
        ),
        good.replace("sme_mask)=140737488355328", "sme_mask)=0"),
        // Of another kernel.
        good.replace("6.1.0-test", "6.1.0-other"),
        // Cut off, and the beginning of something else.
        good[..90].to_owned(),
        "OSRELEASE=6.1.0-test\n".to_owned(),
        "OSRELEASE=".to_owned(),
    ];
    let mut machine = encrypted();
    for (index, text) in stale.iter().enumerate() {
        assert!(*text != good, "{index}");
        machine.put(0x10_0000 + index as u64 * PAGE, text.as_bytes());
    }
    let error = refused(machine.open_lime(&Hints::default()));
    assert!(
        error.contains("banner is not where its page tables are"),
        "{error}"
    );
    let mut machine = encrypted();
    for (index, text) in stale.iter().enumerate() {
        machine.put(0x10_0000 + index as u64 * PAGE, text.as_bytes());
    }
    machine.put(0x900_0018, good.as_bytes());
    let memory = machine.open_lime(&Hints::default()).expect("it is found");
    assert_eq!(memory.kaslr_offset(), 0x400_0000);
    assert_eq!(memory.vmcoreinfo().number("sme_mask"), Some(1 << 47));
    assert_eq!(memory.vmcoreinfo().get("KERNELOFFSET"), Some("4000000"));
}

/// Memory full of beginnings: each could be as long as a page, and all together as long as nobody has memory for.
#[test]
fn memory_full_of_beginnings_is_searched_soon() {
    let mut machine = encrypted();
    let line = "OSRELEASE=6.1.0-test\na=\nb=\nc=\nd=\ne=\nf=\ng=\n";
    machine.put(0x100_0000, line.repeat((2 << 20) / line.len()).as_bytes());
    let many: String = (0..1000)
        .map(|index| format!("{line}h={index}\n"))
        .collect();
    machine.put(0x140_0000, many.as_bytes());
    let begin = std::time::Instant::now();
    let error = refused(machine.open_lime(&Hints::default()));
    assert!(
        error.contains("banner is not where its page tables are"),
        "{error}"
    );
    assert!(begin.elapsed() < std::time::Duration::from_secs(20));
}

/// An arm64 machine with 4 levels, memory from 1 GB on; its image is mapped by 2 MB, and its tables as a part of it.
fn arm64() -> (Machine, String) {
    let mut machine = Machine::new(EM_AARCH64);
    machine.info.banner = BANNER;
    machine.info.banner_address = Some(ARM64_IMAGE + 0x20_0100);
    machine.info.page_table = Some(ARM64_IMAGE + 0x1_0000);
    let moved = 0x1234_0000_0000;
    let root = 0x4801_0000;
    let image = ARM64_IMAGE + moved;
    machine.put(0x4820_0100, BANNER.as_bytes());
    machine.entry(root, image >> 39 & 511, 0x4901_0003);
    machine.entry(0x4901_0000, image >> 30 & 511, 0x4901_1003);
    for block in 0..4 {
        let index = (image >> 21 & 511) + block;
        machine.entry(0x4901_1000, index, (0x4800_0000 + (block << 21)) | 1);
    }
    let text = format!(
        "OSRELEASE=6.1.0-test\nPAGESIZE=4096\nSYMBOL(swapper_pg_dir)={:x}\nNUMBER(VA_BITS)=48\nNUMBER(kimage_voffset)={:#x}\nNUMBER(PHYS_OFFSET)=0x40000000\nNUMBER(TCR_EL1_T1SZ)=0x10\nKERNELOFFSET={moved:x}\n",
        image + 0x1_0000,
        image - 0x4800_0000,
    );
    (machine, text)
}

#[test]
fn arm64_is_found_by_vmcoreinfo_in_memory() {
    let (mut machine, text) = arm64();
    let stale = text.replace("kimage_voffset)=0x", "kimage_voffset)=0x1");
    assert_ne!(stale, text);
    machine.put(0x4a00_0000, stale.as_bytes());
    machine.put(0x4b00_0018, text.as_bytes());
    let memory = machine.open_lime(&Hints::default()).expect("it is found");
    assert_eq!(memory.kaslr_offset(), 0x1234_0000_0000);
    let (machine, _) = arm64();
    let error = refused(machine.open_lime(&Hints::default()));
    assert!(
        error.contains("no VMCOREINFO note") && error.contains("arm64"),
        "{error}"
    );
}

#[test]
fn riscv64_is_found_by_vmcoreinfo_in_memory() {
    let mut machine = Machine::new(EM_RISCV);
    let image = 0xffff_ffff_8000_0000_u64;
    machine.info.banner = BANNER;
    machine.info.banner_address = Some(image + 0x20_0100);
    machine.put(0x8040_0100, BANNER.as_bytes());
    // Sv39; the image is at 0x80200000, by 2 MB.
    let root = 0x8100_0000;
    machine.entry(root, 510, (0x8100_1000 >> 12) << 10 | 1);
    for block in 0..8 {
        let physical = 0x8020_0000 + (block << 21);
        machine.entry(0x8100_1000, block, (physical >> 12) << 10 | 0xf);
    }
    let text = format!(
        "OSRELEASE=6.1.0-test\nPAGESIZE=4096\nSYMBOL(swapper_pg_dir)={:x}\nNUMBER(VA_BITS)=39\nNUMBER(PAGE_OFFSET)=0xff60000000000000\nNUMBER(phys_ram_base)=0x80000000\nNUMBER(va_kernel_pa_offset)={:#x}\nNUMBER(x)=1\n",
        image + 0xe0_0000,
        image - 0x8020_0000
    );
    machine.put(0x8300_0000, text.as_bytes());
    let memory = machine.open_lime(&Hints::default()).expect("it is found");
    assert_eq!(memory.bytes(image + 0x20_0100, 5), Ok(&b"Linux"[..]));
    assert_eq!(memory.vmcoreinfo().number("VA_BITS"), Some(39));
}

fn kaslr(offset: u64) -> Hints {
    Hints {
        kaslr: Some(offset),
        ..Hints::default()
    }
}

fn physical_base(base: u64) -> Hints {
    Hints {
        physical_base: Some(base),
        ..Hints::default()
    }
}

#[test]
fn what_is_given_by_hand_must_be_true() {
    let base = 0u64.wrapping_sub(32 << 20);
    for with_note in [false, true] {
        let machine = || {
            let mut machine = x86_64();
            if with_note {
                machine.vmcoreinfo = x86_64_text();
            }
            machine
        };
        let both = Hints {
            kaslr: Some(0x400_0000),
            physical_base: Some(base),
            ..Hints::default()
        };
        for hints in [kaslr(0x400_0000), physical_base(base), both] {
            let memory = machine().open_with(&hints).expect("it is true");
            assert_eq!(memory.kaslr_offset(), 0x400_0000);
        }
        for (hints, words) in [
            (kaslr(0x200_0000), "--kaslr"),
            (kaslr(0), "--kaslr"),
            (kaslr(u64::MAX), "--kaslr"),
            (kaslr(0x400_0000 + PAGE), "--kaslr"),
            (physical_base(0), "--phys-base"),
            (physical_base(base + PAGE), "--phys-base"),
        ] {
            let error = refused(machine().open_with(&hints));
            assert!(error.contains(words), "{error}");
            assert_eq!(error.contains("contradicts"), with_note, "{error}");
        }
    }
}

/// What VMCOREINFO in memory says counts as the dump's word.
#[test]
fn what_is_given_by_hand_must_fit_vmcoreinfo_in_memory() {
    for (hints, words) in [
        (kaslr(0x200_0000), "--kaslr"),
        (physical_base(PAGE), "--phys-base"),
    ] {
        let mut machine = x86_64();
        machine.put(0x800_0000, x86_64_text().as_bytes());
        let error = refused(machine.open_lime(&hints));
        assert!(
            error.contains("contradicts") && error.contains(words),
            "{error}"
        );
    }
}

/// Two kernels with the same banner: a kdump kernel, which crashed as well, beside the one that it was to dump.
#[test]
fn what_is_given_by_hand_chooses_between_two_kernels() {
    let machine = || {
        let mut machine = x86_64();
        machine.put(0x1020_0100, BANNER.as_bytes());
        tables(&mut machine, 0x1040_0000, 56, 0x1000_0000);
        machine
    };
    let error = refused(machine().open_with(&Hints::default()));
    assert!(error.contains("two kernels of this build"), "{error}");
    assert!(
        error.contains("--kaslr 4000000 ") && error.contains("--kaslr 6000000 "),
        "{error}"
    );
    for offset in [0x400_0000, 0x600_0000] {
        let memory = machine().open_with(&kaslr(offset)).expect("it is there");
        assert_eq!(memory.kaslr_offset(), offset);
    }
    let base = 0x1000_0000 - 0x700_0000;
    let memory = machine()
        .open_with(&physical_base(base))
        .expect("it is there");
    assert_eq!(memory.kaslr_offset(), 0x600_0000);
}

#[test]
fn another_kernels_vmcoreinfo_is_refused() {
    for text in [
        "OSRELEASE=6.2.0-other\n",
        "OSRELEASE=6.1.0-test\nBUILD-ID=00\n",
    ] {
        let mut machine = x86_64();
        machine.info.build_id = "11";
        let hints = Hints {
            vmcoreinfo: VmcoreInfo::parse(text.as_bytes()),
            ..Hints::default()
        };
        let error = refused(machine.open_lime(&hints));
        assert!(error.contains("but the program was built for"), "{error}");
    }
}

#[test]
fn vmcoreinfo_may_be_given_by_hand() {
    let hints = |text: &str| Hints {
        vmcoreinfo: VmcoreInfo::parse(text.as_bytes()),
        ..Hints::default()
    };
    let (machine, text) = arm64();
    let memory = machine.open_with(&hints(&text)).expect("it is true");
    assert_eq!(memory.kaslr_offset(), 0x1234_0000_0000);
    // Not true of the dump.
    let (machine, text) = arm64();
    let wrong = text.replace("kimage_voffset)=0x", "kimage_voffset)=0x1");
    let error = refused(machine.open_with(&hints(&wrong)));
    assert!(error.contains("can't find the kernel"), "{error}");
    // Not what the dump says itself.
    let (mut machine, text) = arm64();
    machine.vmcoreinfo = text.clone();
    let error = refused(machine.open_with(&hints(&wrong)));
    assert!(
        error.contains("contradicts") && error.contains("kimage_voffset"),
        "{error}"
    );
    let (mut machine, text) = arm64();
    machine.vmcoreinfo = text.clone();
    assert!(machine.open_with(&hints(&text)).is_ok());
    // Only x86_64 has a physical base.
    let (mut machine, text) = arm64();
    machine.vmcoreinfo = text;
    let error = refused(machine.open_with(&physical_base(0)));
    assert!(error.contains("--phys-base"), "{error}");
}

/// Kernels before 4.10 say where `phys_base` is, and not what it is.
#[test]
fn vmcoreinfo_may_lack_the_physical_base() {
    for offset in ["", "KERNELOFFSET=4000000\n"] {
        let mut machine = x86_64();
        machine.vmcoreinfo = format!(
            "OSRELEASE=6.1.0-test\nSYMBOL(phys_base)=ffffffff81a00000\nSYMBOL(init_level4_pgt)=ffffffff85400000\n{offset}"
        );
        let memory = machine.opened();
        assert_eq!(memory.kaslr_offset(), 0x400_0000);
    }
    let mut machine = x86_64();
    machine.vmcoreinfo = "OSRELEASE=6.1.0-test\nKERNELOFFSET=2000000\n".into();
    let error = refused(machine.open());
    assert!(error.contains("no NUMBER(phys_base)"), "{error}");
}

/// The direct map of kernels that don't move it is where their page tables have themselves.
#[test]
fn the_direct_map_is_where_the_tables_say() {
    for start in [
        0xffff_8880_0000_0000_u64,
        0xffff_8800_0000_0000,
        0xffff_8100_0000_0000,
        0x0000_0100_0000_0000,
    ] {
        let mut machine = x86_64();
        machine.entry(0x340_0000, start >> 39 & 511, 0x350_0001);
        machine.entry(0x350_0000, start >> 30 & 511, 0x81);
        machine.put(0x5000_0000, b"direct");
        let memory = machine.opened();
        // Behind what the tables map, and so by subtraction.
        assert_eq!(memory.bytes(start + 0x5000_0000, 6), Ok(&b"direct"[..]));
        assert!(memory.walk_page_tables(start + 0x5000_0000).is_err());
    }
}

/// A note as QEMU writes it for each CPU of x86: 440 bytes.
fn cpu(cr3: u64, cr4: u64) -> Vec<u8> {
    let mut note = Vec::new();
    for word in [5_u32, 440, 0] {
        note.extend(word.to_le_bytes());
    }
    note.extend(b"QEMU\0\0\0\0");
    let mut state = vec![0; 440];
    state[..4].copy_from_slice(&1_u32.to_le_bytes());
    state[4..8].copy_from_slice(&440_u32.to_le_bytes());
    state[416..424].copy_from_slice(&cr3.to_le_bytes());
    state[424..432].copy_from_slice(&cr4.to_le_bytes());
    note.extend(state);
    note
}

#[test]
fn x86_64_is_found_by_the_tables_that_a_cpu_was_using() {
    // The bindings don't name the tables, or what they name is not in the dump. The process's tables, in which the kernel's half is the
    // same; those that a process with page-table isolation has in user mode, with a PCID, lack it.
    for top in [None, Some(X86_64_IMAGE + 0x160_0000)] {
        for cr3 in [0x340_0000, 0x5000_0000, 0x5000_1005] {
            let mut machine = x86_64();
            machine.info.page_table = top;
            machine.entry(0x5000_0000, 511, 0x340_1001);
            machine.put(0x5000_1000, &[0; 8]);
            machine.notes = [cpu(0xdead_0000, 0x20), cpu(cr3, 0x20)].concat();
            let memory = machine.opened();
            assert_eq!(memory.kaslr_offset(), 0x400_0000, "{cr3:#x}");
            assert_eq!(memory.paging_levels(), 4);
        }
    }
    let mut machine = x86_64();
    machine.info.page_table = None;
    refused(machine.open());
    // A note that is cut off, or has another version.
    let mut machine = x86_64();
    machine.info.page_table = None;
    machine.notes = cpu(0x340_0000, 0x20);
    machine.notes[20] = 2;
    refused(machine.open());
}

#[test]
fn i386_is_found_by_the_tables_that_a_cpu_was_using() {
    for pae in [false, true] {
        let mut machine = Machine::new(EM_386);
        machine.info.banner = BANNER;
        machine.info.banner_address = Some(0xc180_0040);
        machine.put(0x280_0040, BANNER.as_bytes());
        let root = 0x290_0020;
        if pae {
            machine.entry(root, 3, 0x291_0001);
            for large in 0..32 {
                machine.entry(0x291_0000, large, large << 21 | 0x81);
            }
            machine.entry(0x291_0000, 511, 0x292_0001);
            machine.entry(0x292_0000, 7, 0x30_0001);
        } else {
            for large in 0..16 {
                machine.entry32(0x290_0000, 0x300 + u64::from(large), large << 22 | 0x81);
            }
            machine.entry32(0x290_0000, 0x3ff, 0x292_0001);
            machine.entry32(0x292_0000, 0x207, 0x30_0001);
        }
        machine.put(0x30_0000, b"fixmap");
        let cr3 = if pae { root } else { root & !0xfff };
        machine.notes = cpu(cr3, if pae { 0x20 } else { 0 });
        let memory = machine.opened();
        assert_eq!(memory.kaslr_offset(), 0x100_0000);
        assert_eq!(memory.bytes(0xffe0_7000, 6), Ok(&b"fixmap"[..]), "{pae}");
    }
}

#[test]
fn a_wrong_offset_of_i386_is_refused() {
    let machine = || {
        let mut machine = Machine::new(EM_386);
        machine.info.banner = BANNER;
        machine.info.banner_address = Some(0xc180_0040);
        machine.info.page_table = Some(0xc190_0000);
        machine.put(0x280_0040, BANNER.as_bytes());
        for large in 0..16 {
            machine.entry32(0x290_0000, 0x300 + u64::from(large), large << 22 | 0x81);
        }
        machine
    };
    let memory = machine().open_with(&kaslr(0x100_0000)).expect("it is true");
    assert_eq!(memory.kaslr_offset(), 0x100_0000);
    let error = refused(machine().open_with(&kaslr(0x80_0000)));
    assert!(error.contains("moved by 0x800000"), "{error}");
    let mut noted = machine();
    noted.vmcoreinfo = "OSRELEASE=6.1.0-test\nSYMBOL(swapper_pg_dir)=c2900000\n".into();
    let error = refused(noted.open_with(&kaslr(0x80_0000)));
    assert!(error.contains("contradicts"), "{error}");
}

/// A page of the kernel may be damaged, the one with its banner as well as any other.
#[test]
fn where_the_banner_cannot_be_read_the_build_id_is_enough() {
    const OWN: &str =
        "Linux version 6.1.0-test (somebody@somewhere) (gcc 14.2.0) #1 SMP PREEMPT_DYNAMIC";
    let mut dump = Synthetic::x86_64(4);
    let kernel: &'static KernelInfo = Box::leak(Box::new(KernelInfo {
        build_id: "00c0ffee",
        banner: OWN,
        banner_address: Some(0xffff_ffff_8010_0000),
        ..*dump.kernel()
    }));
    let open = |dump: &Synthetic| Memory::open(dump.save().path(), kernel, false);
    let refused = |dump: &Synthetic| open(dump).err().expect("it isn't known").to_string();
    let said = refused(&dump);
    assert!(said.contains("linux_banner can't be read"), "{said}");
    dump.add_vmcoreinfo("BUILD-ID=00c0ffee\n");
    let unconfirmed = open(&dump).expect("it says so").unconfirmed();
    assert_eq!(
        unconfirmed.expect("it isn't there").kind,
        FaultKind::NotInDump
    );
    // What can be read must be right, whatever else says so.
    dump.put(0x10_0000, OWN.replace("#1", "#2").as_bytes());
    assert!(matches!(open(&dump), Err(OpenError::OtherKernel { .. })));
    dump.put(0x10_0000, OWN.as_bytes());
    assert_eq!(open(&dump).expect("it is it").unconfirmed(), None);
}

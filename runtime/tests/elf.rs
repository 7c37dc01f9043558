//! ELF dumps made byte by byte: segments that overlap, too many of them, none with a physical address.

use std::path::PathBuf;

use kstruct::{Dump, FaultKind};

/// A segment: virtual and physical address, bytes of memory, and what is in the file of it.
struct Load<'a>(u64, u64, u64, &'a [u8]);

fn elf64(loads: &[Load<'_>]) -> Vec<u8> {
    let mut out = b"\x7fELF\x02\x01\x01".to_vec();
    out.resize(64, 0);
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(16, &4_u16.to_le_bytes());
    put(18, &62_u16.to_le_bytes());
    put(32, &128_u64.to_le_bytes());
    put(40, &64_u64.to_le_bytes());
    put(54, &56_u16.to_le_bytes());
    // More than 16 bits: section header 0 has the number in sh_info.
    let short = u16::try_from(loads.len())
        .ok()
        .filter(|count| *count != 0xffff);
    put(56, &short.unwrap_or(0xffff).to_le_bytes());
    out.resize(128, 0);
    out[64 + 44..64 + 48].copy_from_slice(&(loads.len() as u32).to_le_bytes());
    let mut at = 128 + 56 * loads.len();
    for Load(virtual_address, physical, size, bytes) in loads {
        out.extend(1_u64.to_le_bytes());
        let fields = [
            at as u64,
            *virtual_address,
            *physical,
            bytes.len() as u64,
            *size,
            0,
        ];
        out.extend(fields.iter().flat_map(|field| field.to_le_bytes()));
        at += bytes.len();
    }
    for Load(.., bytes) in loads {
        out.extend(*bytes);
    }
    out
}

fn open(bytes: &[u8]) -> Result<Dump, String> {
    let folder = tempfile::tempdir().expect("there is room");
    let path: PathBuf = folder.path().join("vmcore");
    std::fs::write(&path, bytes).expect("there is room");
    Dump::open(&path).map_err(|error| error.to_string())
}

/// What a header says of more than the file has is told, also where all of its memory is there.
#[test]
fn headers_that_promise_too_much() {
    /// `p_filesz` of the first program header.
    const FILE_SIZE: usize = 128 + 32;
    let whole = elf64(&[Load(0, 0x1000, 4, b"abcd")]);
    let length = whole.len() as u64;
    assert_eq!(open(&whole).expect("sound").missing_bytes(), 0);
    let with = |kind: u32, size: u64| {
        let mut bytes = elf64(&[Load(0, 0x1000, 4, b"abcd"), Load(0, 0x2000, 4, b"efgh")]);
        bytes[128..132].copy_from_slice(&kind.to_le_bytes());
        bytes[FILE_SIZE..FILE_SIZE + 8].copy_from_slice(&size.to_le_bytes());
        open(&bytes).expect("memory is there")
    };
    // The other segment's header and bytes are behind it.
    let offset = length + 56 - 4;
    let length = length + 56 + 4;
    for (kind, size, missing) in [
        (1, 8, 0),
        (1, 9, 1),
        (1, u64::MAX, u64::MAX - length),
        (4, 1 << 40, (1 << 40) + offset - length),
        (4, 8, 0),
    ] {
        let dump = with(kind, size);
        assert_eq!(dump.missing_bytes(), missing, "type {kind}, {size} bytes");
    }
}

/// /proc/vmcore has the kernel's text twice, and QEMU with `paging` most of memory.
#[test]
fn segments_may_speak_of_the_same_memory() {
    let memory: Vec<u8> = (0..40_000_u32).map(|at| (at / 7) as u8).collect();
    let loads = [
        Load(
            0xffff_ffff_8100_0000,
            0x2000,
            0x1000,
            &memory[0x1000..0x2000],
        ),
        Load(0xffff_8880_0000_1000, 0x1000, 0x5000, &memory[..0x5000]),
        Load(
            0xffff_c900_0000_0000,
            0x5000,
            0x2000,
            &memory[0x4000..0x6000],
        ),
        // QEMU: what is mapped but is no memory.
        Load(0xffff_c900_0001_0000, 0xf000, 0x1000, &[]),
    ];
    let dump = open(&elf64(&loads)).expect("physical addresses are there");
    assert_eq!(dump.physical(0x1000, 0x5000), Ok(&memory[..0x5000]));
    assert_eq!(dump.physical(0x6000, 0x1000), Ok(&memory[0x5000..0x6000]));
    assert_eq!(dump.physical(0xf000, 1), Err(FaultKind::Excluded));
    assert_eq!(dump.physical(0x7000, 1), Err(FaultKind::NotInDump));
    assert_eq!(dump.memory_size(), 0x7000);
    let scanned = dump.scan(|piece| piece.bytes.ok().map(<[u8]>::to_vec));
    assert_eq!(scanned.concat(), memory[..0x6000]);
}

/// makedumpfile -E writes what it kept, and says how much it left out behind it.
#[test]
fn what_is_left_out_of_a_segment_is_not_zero() {
    let dump = open(&elf64(&[Load(0, 0x1000, 0x3000, &[7; 0x1000])])).expect("it is sound");
    assert_eq!(dump.physical(0x1fff, 1), Ok(&[7][..]));
    assert_eq!(dump.physical(0x1fff, 2), Err(FaultKind::Excluded));
    assert_eq!(dump.physical(0x3fff, 1), Err(FaultKind::Excluded));
    assert_eq!(dump.physical(0x3fff, 2), Err(FaultKind::NotInDump));
}

#[test]
fn more_segments_than_16_bits_can_say() {
    let loads: Vec<_> = (0..70_000)
        .map(|index| {
            Load(
                0,
                index * 0x2000,
                0x1000,
                if index == 69_999 { &[5; 0x1000] } else { &[] },
            )
        })
        .collect();
    let dump = open(&elf64(&loads)).expect("it is sound");
    assert_eq!(dump.physical(69_999 * 0x2000, 1), Ok(&[5][..]));
    assert_eq!(dump.memory_size(), 70_000 * 0x1000);
}

#[test]
fn virtual_addresses_alone_are_refused() {
    for physical in [0, u64::MAX] {
        let loads = [
            Load(0xffff_8880_0000_0000, physical, 0x1000, &[1; 0x1000]),
            Load(0xffff_ffff_8000_0000, physical, 0x1000, &[1; 0x1000]),
        ];
        let error = open(&elf64(&loads)).err().expect("nothing says where");
        assert!(error.contains("virtual addresses only"), "{error}");
    }
    // One without is passed over if others have one: /proc/kcore's vmalloc space.
    let loads = [
        Load(0xffff_c900_0000_0000, u64::MAX, 0x1000, &[1; 0x1000]),
        Load(0xffff_8880_0000_0000, 0, 0x1000, &[2; 0x1000]),
    ];
    let dump = open(&elf64(&loads)).expect("one has an address");
    assert_eq!(dump.physical(0, 1), Ok(&[2][..]));
    assert_eq!(dump.memory_size(), 0x1000);
}

/// Kernels since 6.2 have a second banner, without the number of the build; it may come first in memory.
#[test]
fn the_banner_is_the_one_that_the_kernel_prints() {
    let banner = |number: &str| format!("Linux version 6.12.1 (a@b) (gcc) #{number} SMP\n\0");
    let memory = [banner(""), banner("1")].concat();
    let dump = open(&elf64(&[Load(0, 0x1000, 0x1000, memory.as_bytes())])).expect("it opens");
    assert_eq!(
        dump.scan_banner().as_deref(),
        Some("Linux version 6.12.1 (a@b) (gcc) #1 SMP")
    );
}

/// Without VMCOREINFO the banner is looked for in what the file has, and not in what its headers promise.
#[test]
fn the_search_for_a_banner_ends() {
    let banner = b"Linux version 2.6.9 (gcc) #1 SMP\n";
    let mut bytes = elf64(&[Load(0, 0x1000, 0x1000, banner)]);
    for (size, end) in [(64, 33), (1_u64 << 62, 1)] {
        // p_filesz and p_memsz
        for at in [128 + 32, 128 + 40] {
            bytes[at..at + 8].copy_from_slice(&size.to_le_bytes());
        }
        assert!(open(&bytes).expect("it opens").missing_bytes() > 0);
        assert_eq!(
            open(&bytes).expect("it opens").release().as_deref(),
            Some("2.6.9")
        );
        let cut = &bytes[..bytes.len() - end];
        assert_eq!(open(cut).expect("it opens").release(), None);
    }
}

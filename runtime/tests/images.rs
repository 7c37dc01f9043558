//! Images of memory without notes, made byte by byte: LiME's, and raw ones, which are named with an address.

use std::path::{Path, PathBuf};

use kstruct::{Dump, FaultKind, OpenError};

const PAGE: usize = 4096;

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Files(tempfile::tempdir().expect("there is room"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn add(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("there is room");
        path
    }
}

fn error(opened: Result<Dump, OpenError>) -> String {
    match opened {
        Ok(_) => panic!("it should not open"),
        Err(error) => error.to_string(),
    }
}

/// A range as LiME writes it: its last address, and not the one behind.
fn range(big: bool, start: u64, bytes: &[u8]) -> Vec<u8> {
    let order = |mut little: Vec<u8>| {
        if big {
            little.reverse();
        }
        little
    };
    let mut out = order(0x4c69_4d45_u32.to_le_bytes().to_vec());
    out.extend(order(1_u32.to_le_bytes().to_vec()));
    out.extend(order(start.to_le_bytes().to_vec()));
    let last = start + bytes.len() as u64 - 1;
    out.extend(order(last.to_le_bytes().to_vec()));
    out.extend([0; 8]);
    out.extend(bytes);
    out
}

#[test]
fn lime_images_are_read_in_both_byte_orders() {
    let files = Files::new();
    for big in [false, true] {
        // The first page is the CPU's own on many machines, so the first range begins in the middle of nowhere.
        let (low, high) = (vec![1; 3 * PAGE - 24], vec![2; PAGE]);
        let bytes = [range(big, 0x1000, &low), range(big, 1 << 32, &high)].concat();
        assert_eq!(bytes.starts_with(b"EMiL"), !big);
        let dump = Dump::open(&files.add("lime", &bytes)).expect("it opens");
        assert_eq!(dump.physical(0x1000, low.len()), Ok(&low[..]));
        assert_eq!(dump.physical(1 << 32, PAGE), Ok(&high[..]));
        let outside = [
            (0xfff, 1),
            (0x1000, low.len() + 1),
            (0x4000, 1),
            ((1 << 32) + 4095, 2),
        ];
        for (address, length) in outside {
            let found = dump.physical(address, length);
            assert_eq!(found, Err(FaultKind::NotInDump), "{address:#x}");
        }
        assert_eq!(dump.memory_size(), (low.len() + PAGE) as u64);
        assert_eq!(dump.memory_end(), (1 << 32) + PAGE as u64);
        assert_eq!((dump.machine(), dump.missing_bytes()), (0, 0));
        let runs = [(0x1000, low.len() as u64), (1 << 32, PAGE as u64)];
        assert_eq!(dump.runs(), runs);
    }
}

#[test]
fn a_lime_image_that_was_cut_short_is_called_that() {
    let files = Files::new();
    let first = range(false, 0, &[1; PAGE]);
    let bytes = [first.clone(), range(false, 0x10_0000, &[2; PAGE])].concat();
    for (length, missing) in [
        (bytes.len(), 0),
        (bytes.len() - 1, 1),
        (first.len() + 32 + 100, PAGE as u64 - 100),
        (first.len() + 32, PAGE as u64),
        (first.len() + 31, 1),
        (first.len() + 1, 31),
        // Nobody can know.
        (first.len(), 0),
        (first.len() - 10, 10),
    ] {
        let dump = Dump::open(&files.add("lime", &bytes[..length])).expect("it opens");
        assert_eq!(dump.missing_bytes(), missing, "{length}");
        assert_eq!(dump.physical(0, 100), Ok(&[1; 100][..]));
        if missing > 100 {
            let end = dump.physical(0x10_0000 + PAGE as u64 - 1, 1);
            assert_eq!(end, Err(FaultKind::Truncated), "{length}");
        }
    }
    for length in [4, 31] {
        let cut = error(Dump::open(&files.add("lime", &bytes[..length])));
        assert!(cut.contains("the file ends within its header"), "{cut}");
    }
}

#[test]
fn lime_headers_that_lie_are_refused() {
    let files = Files::new();
    let good = [
        range(false, 0x1000, &[1; PAGE]),
        range(false, 0x8000, &[2; PAGE]),
    ]
    .concat();
    let second = 32 + PAGE;
    for (at, value, words) in [
        (4, 2, "version 2 at offset 0x0"),
        (second + 4, 0, "version 0 at offset 0x1020"),
        (second, 0, "no LiME header at offset 0x1020"),
    ] {
        let mut bytes = good.clone();
        bytes[at] = value;
        let error = error(Dump::open(&files.add("lime", &bytes)));
        assert!(error.contains(words), "{error}");
    }
    // The end before the start, and all of the address space.
    for (start, last) in [(0x2000_u64, 0x1000_u64), (0, u64::MAX)] {
        let mut bytes = good.clone();
        bytes[8..16].copy_from_slice(&start.to_le_bytes());
        bytes[16..24].copy_from_slice(&last.to_le_bytes());
        let error = error(Dump::open(&files.add("lime", &bytes)));
        assert!(error.contains("speaks of memory from"), "{error}");
    }
    // Nearly all of it: only the file is too short.
    let mut bytes = good.clone();
    bytes[16..24].copy_from_slice(&(u64::MAX - 1).to_le_bytes());
    let dump = Dump::open(&files.add("lime", &bytes)).expect("it may be so");
    assert!(dump.missing_bytes() > 1 << 63);
    assert_eq!(dump.physical(1 << 50, 8), Err(FaultKind::Truncated));
    // Two ranges of the same memory: each byte counts once.
    let bytes = [range(false, 0, &[1; PAGE]), range(false, 0x800, &[2; PAGE])].concat();
    let dump = Dump::open(&files.add("lime", &bytes)).expect("it may be so");
    assert_eq!(dump.memory_size(), 0x1800);
    assert_eq!(dump.physical(0xfff, 1), Ok(&[1][..]));
    assert_eq!(dump.physical(0x17ff, 1), Ok(&[2][..]));
    // Nobody flattens LiME's.
    let mut flat = b"makedumpfile".to_vec();
    flat.resize(4096, 0);
    flat.extend(0_u64.to_be_bytes());
    flat.extend((good.len() as u64).to_be_bytes());
    flat.extend(&good);
    flat.extend([0xff; 16]);
    let flat = error(Dump::open(&files.add("flat", &flat)));
    assert!(flat.contains("not an ELF file"), "{flat}");
    let avml = error(Dump::open(&files.add("avml", b"AVML\x02\0\0\0")));
    assert!(avml.contains("avml-convert"), "{avml}");
}

fn at(path: &Path, address: &str) -> PathBuf {
    PathBuf::from(format!("{}@{address}", path.display()))
}

#[test]
fn raw_images_are_named_with_their_address() {
    let files = Files::new();
    let raw = files.add("raw", &[[1; PAGE], [2; PAGE]].concat());
    for (address, start) in [("0", 0_u64), ("0x80000000", 1 << 31), ("40000000", 1 << 30)] {
        let dump = Dump::open(&at(&raw, address)).expect("it opens");
        assert_eq!(dump.path(), raw);
        let both = dump.physical(start + PAGE as u64 - 1, 2);
        assert_eq!(both, Ok(&[1, 2][..]), "{address}");
        let behind = dump.physical(start + 2 * PAGE as u64, 1);
        assert_eq!(behind, Err(FaultKind::NotInDump));
        assert_eq!(dump.memory_end(), start + 2 * PAGE as u64);
        assert_eq!((dump.machine(), dump.missing_bytes()), (0, 0));
    }
    // Without an address nothing says that it is one, and the error says how to.
    let bare = error(Dump::open(&raw));
    assert!(
        bare.contains("not a memory dump") && bare.contains("FILE@0"),
        "{bare}"
    );
    for bad in ["", "0x", "zz", "1", "123", "-1000", "100000000000000"] {
        let error = error(Dump::open(&at(&raw, bad)));
        assert!(error.contains("a multiple of 4096"), "{bad}: {error}");
    }
    // A file may have such a name.
    let odd = files.add("raw@0", b"\x7fELF");
    let error = error(Dump::open(&odd));
    assert!(error.contains("ELF header"), "{error}");
}

#[test]
fn the_memory_of_a_machine_may_be_in_several_raw_images() {
    let files = Files::new();
    let low = files.add("low", &[1; 3 * PAGE]);
    let high = files.add("high", &[2; 4 * PAGE]);
    let parts = [at(&high, "100000000"), at(&low, "0")];
    let dump = Dump::open_parts(&parts).expect("they open");
    assert_eq!(dump.physical(0x2fff, 1), Ok(&[1][..]));
    assert_eq!(dump.physical(0x3000, 1), Err(FaultKind::NotInDump));
    assert_eq!(dump.physical((1 << 32) + 0x3fff, 1), Ok(&[2][..]));
    assert_eq!(
        dump.physical((1 << 32) + 0x3fff, 2),
        Err(FaultKind::NotInDump)
    );
    assert_eq!(dump.runs(), [(0, 3 * 4096), (1 << 32, 4 * 4096)]);
    assert_eq!(dump.memory_size(), 7 * 4096);
    // Neighbours in memory that are none in a file: what is in both can't be borrowed as one.
    let parts = [at(&low, "0"), at(&high, "3000")];
    let dump = Dump::open_parts(&parts).expect("they open");
    assert_eq!(dump.physical(0x2fff, 1), Ok(&[1][..]));
    assert_eq!(dump.physical(0x3000, 1), Ok(&[2][..]));
    assert_eq!(dump.physical(0x2fff, 2), Err(FaultKind::NotInDump));
    for (parts, words) in [
        (
            [at(&low, "0"), at(&high, "2000")],
            "two images have the memory at physical address 0x2000",
        ),
        (
            [at(&high, "1000"), at(&low, "0")],
            "two images have the memory at physical address 0x1000",
        ),
        ([at(&low, "0"), high.clone()], "this one without an address"),
        ([low.clone(), high.clone()], "not a memory dump"),
    ] {
        let error = error(Dump::open_parts(&parts));
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn what_is_something_else_is_no_raw_image() {
    let files = Files::new();
    let lime = range(false, 0, &[1; PAGE]);
    let mut flat = b"makedumpfile\0".to_vec();
    flat.resize(PAGE, 0);
    for (bytes, words) in [
        (&b"\x7fELF\x02\x01\x01"[..], "an ELF file"),
        (b"\x7fELF", "an ELF file"),
        (b"KDUMP   \x06\0\0\0", "a kdump"),
        (b"DISKDUMP", "a diskdump"),
        (&lime, "a LiME image"),
        (&flat, "a flattened dump"),
        (b"\x1f\x8b\x08\0", "gzip"),
        (b"", "the file is empty"),
    ] {
        let error = error(Dump::open(&at(&files.add("file", bytes), "0")));
        assert!(error.contains(words), "{error}");
    }
}

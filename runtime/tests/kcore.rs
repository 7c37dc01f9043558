//! A file that can't be mapped, as /proc/kcore can't: a sparse one that is larger than any address space. It stands for a kernel
//! whose memory changes while it is read; `cargo xtask test --lab` reads real ones.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use kstruct::{Dump, FaultKind};

const PAGE: u64 = 4096;
/// The file's size, and where the direct map is in it.
const SIZE: u64 = 1 << 62;
const DIRECT: u64 = 1 << 47;
const NO_ADDRESS: u64 = u64::MAX;

const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;

/// A file in memory, where files may have that size.
struct Kcore {
    file: tempfile::NamedTempFile,
}

impl Kcore {
    /// Program headers: type, offset, virtual and physical address, size.
    fn new(programs: &[(u32, u64, u64, u64, u64)]) -> Self {
        let file = tempfile::NamedTempFile::new_in("/dev/shm").expect("Linux has /dev/shm");
        let kcore = Kcore { file };
        let mut head = b"\x7fELF\x02\x01\x01".to_vec();
        head.resize(64, 0);
        for (at, value) in [(16, 4_u16), (18, 62), (32, 64), (54, 56)] {
            head[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        head[56..58].copy_from_slice(&(programs.len() as u16).to_le_bytes());
        for (kind, offset, address, physical, size) in programs {
            head.extend(kind.to_le_bytes());
            head.extend(7_u32.to_le_bytes());
            for field in [offset, address, physical, size, size, &PAGE] {
                head.extend(field.to_le_bytes());
            }
        }
        kcore.write(0, &head);
        kcore.file().set_len(SIZE).expect("it takes no room");
        kcore
    }

    fn file(&self) -> &File {
        self.file.as_file()
    }

    fn path(&self) -> &Path {
        self.file.path()
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        self.file().write_all_at(bytes, at).expect("there is room");
    }
}

fn note(name: &str, text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for field in [name.len() + 1, text.len(), 0] {
        out.extend((field as u32).to_le_bytes());
    }
    for part in [&format!("{name}\0"), text] {
        out.extend(part.as_bytes());
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}

#[test]
fn memory_is_read_page_by_page_and_each_page_once() {
    let notes = [
        note("CORE", "status"),
        note("VMCOREINFO", "OSRELEASE=6.12\n"),
    ]
    .concat();
    let kcore = Kcore::new(&[
        (PT_NOTE, 0x800, 0, 0, notes.len() as u64),
        (PT_LOAD, 1 << 46, 0xffff_c900_0000_0000, NO_ADDRESS, 1 << 45),
        (PT_LOAD, DIRECT, 0xffff_8880_0000_1000, 0x1000, 0x9_f000),
        (
            PT_LOAD,
            DIRECT + 0xf_f000,
            0xffff_8880_0010_0000,
            0x10_0000,
            8 * PAGE,
        ),
        // The kernel does not give this one.
        (PT_LOAD, SIZE, 0xffff_8880_0100_0000, 0x100_0000, PAGE),
    ]);
    kcore.write(0x800, &notes);
    kcore.write(DIRECT, &[1; 3 * PAGE as usize]);

    let dump = Dump::open(kcore.path()).expect("it can be read");
    assert!(dump.is_live());
    assert_eq!(dump.release().as_deref(), Some("6.12"));
    assert_eq!(dump.memory_end(), 0x100_1000);
    assert_eq!(dump.missing_bytes(), 0);
    let first = dump.physical(0x1ffc, 4).expect("a page");
    assert_eq!(first, [1; 4]);

    // The memory changes: what was read stays, and what was not is as it is now.
    kcore.write(DIRECT, &[2; 3 * PAGE as usize]);
    assert_eq!(dump.physical(0x1ffc, 8), Ok(&[1, 1, 1, 1, 2, 2, 2, 2][..]));
    kcore.write(DIRECT, &[3; 3 * PAGE as usize]);
    assert_eq!(dump.physical(0x1ffc, 8), Ok(&[1, 1, 1, 1, 2, 2, 2, 2][..]));
    assert_eq!(dump.physical(0x3000, 1), Ok(&[3][..]));
    assert_eq!(first, [1; 4]);

    assert_eq!(dump.physical(0x10_0000, 4), Ok(&[0; 4][..]));
    assert_eq!(dump.physical(0, 1), Err(FaultKind::NotInDump));
    assert_eq!(dump.physical(0xf_ffff, 1), Err(FaultKind::NotInDump));
    for _ in 0..2 {
        assert_eq!(dump.physical(0x100_0000, 1), Err(FaultKind::Unreadable));
    }
}

/// Whatever its headers say, there is an answer soon.
#[test]
fn headers_bound_no_work() {
    let begin = Instant::now();
    let kcore = Kcore::new(&[
        (PT_NOTE, PAGE, 0, 0, 1 << 61),
        (PT_LOAD, DIRECT, 0xffff_8880_0000_0000, 0, 1 << 30),
    ]);
    let dump = Dump::open(kcore.path()).expect("the notes are zeros");
    assert!(dump.vmcoreinfo().is_empty());
    // A note of 4 GB.
    kcore.write(PAGE, &[0xff; 12]);
    let dump = Dump::open(kcore.path()).expect("the notes make no sense");
    assert!(dump.vmcoreinfo().is_empty());
    kcore.write(56, &[0xff; 2]);
    let error = Dump::open(kcore.path()).err().expect("too many segments");
    assert!(error.to_string().contains("65535"), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(20));
}

/// What can't be mapped and is no ELF file is no dump.
#[test]
fn other_files_are_refused() {
    let kcore = Kcore::new(&[]);
    for signature in [b"KDUMP   ", b"makedump", &[0; 8]] {
        kcore.write(0, signature);
        let error = Dump::open(kcore.path()).err().expect("it is no ELF file");
        assert!(error.to_string().contains("not a memory dump"), "{error}");
    }
}

/// Where this machine's kernel can't be read, the user is told why and what to do instead.
#[test]
fn a_kernel_that_cannot_be_read_is_explained() {
    match Dump::open(Path::new(kstruct::KCORE)) {
        Ok(dump) => assert!(dump.is_live()),
        Err(error) => {
            let error = error.to_string();
            assert!(error.contains("--core DUMP"), "{error}");
        }
    }
}

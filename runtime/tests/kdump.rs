//! Compressed dumps made byte by byte: every version and width of the headers, and files that lie.

use std::io::Write as _;
use std::path::PathBuf;

use kstruct::{Dump, FaultKind, OpenError};

const BLOCK: usize = 4096;

/// A dump to be written: page frames 1 and 2 and 9 are in it, 3 was excluded, and the machine has no others.
struct Builder {
    version: u32,
    machine: &'static str,
    wide: bool,
    /// ELF's i386: numbers of 8 bytes are aligned to 4.
    packed: bool,
    big: bool,
    frames: u64,
    /// What the header's 32-bit number of page frames says.
    short_frames: u32,
    part: Option<(u64, u64)>,
    status: u32,
}

const X86_64: Builder = Builder {
    version: 6,
    machine: "x86_64",
    wide: true,
    packed: false,
    big: false,
    frames: 16,
    short_frames: 16,
    part: None,
    status: 1,
};

const FRAMES: [u64; 3] = [1, 2, 9];

fn page(frame: u64) -> Vec<u8> {
    (0..BLOCK as u64)
        .map(|at| (at / 8 * frame + 3) as u8)
        .collect()
}

impl Builder {
    fn uint(&self, value: u64, size: usize) -> Vec<u8> {
        if self.big {
            value.to_be_bytes()[8 - size..].to_vec()
        } else {
            value.to_le_bytes()[..size].to_vec()
        }
    }

    /// Where the descriptors are.
    const TABLE: usize = 4 * BLOCK;

    fn bytes(&self) -> Vec<u8> {
        let mut out = b"KDUMP   ".to_vec();
        out.extend(self.uint(self.version.into(), 4));
        out.resize(12 + 4 * 65, 0);
        out.extend(self.machine.as_bytes());
        out.resize(if self.wide { 424 } else { 412 }, 0);
        for value in [self.status, BLOCK as u32, 1, 2, self.short_frames] {
            out.extend(self.uint(value.into(), 4));
        }
        out.resize(BLOCK, 0);

        let word = if self.wide { 8 } else { 4 };
        let long = |out: &mut Vec<u8>, value: u64| {
            let alignment = if self.packed { 4 } else { 8 };
            out.resize(out.len().next_multiple_of(alignment), 0);
            out.extend(self.uint(value, 8));
        };
        let (start, end) = self.part.unwrap_or_default();
        let text = 2 * BLOCK as u64 - 64;
        out.extend(self.uint(0, word));
        out.extend(self.uint(31, 4));
        if self.version >= 2 {
            out.extend(self.uint(self.part.is_some().into(), 4));
            out.extend(self.uint(start, word));
            out.extend(self.uint(end, word));
        }
        if self.version >= 3 {
            long(&mut out, text);
            out.extend(self.uint(16, word));
        }
        for _ in 4..=self.version.min(5) {
            long(&mut out, 0);
            out.extend(self.uint(0, word));
        }
        if self.version >= 6 {
            long(&mut out, start);
            long(&mut out, end);
            long(&mut out, self.frames);
        }
        out.resize(text as usize, 0);
        out.extend(b"OSRELEASE=2.6.9\n");
        out.resize(2 * BLOCK, 0);

        for frames in [&[1, 2, 3, 9][..], &FRAMES] {
            let start = out.len();
            out.resize(start + BLOCK, 0);
            for frame in frames {
                out[start + *frame as usize / 8] |= 1 << (frame % 8);
            }
        }
        assert_eq!(out.len(), Self::TABLE);

        let here = FRAMES.iter().filter(|frame| match self.part {
            Some((start, end)) => (start..end).contains(frame),
            None => true,
        });
        let here: Vec<u64> = here.copied().collect();
        let mut data = Vec::new();
        for frame in &here {
            let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), Default::default());
            zlib.write_all(&page(*frame)).expect("to memory");
            let small = zlib.finish().expect("to memory");
            let at = Self::TABLE + 24 * here.len() + data.len();
            out.extend(self.uint(at as u64, 8));
            out.extend(self.uint(small.len() as u64, 4));
            out.extend(self.uint(1, 4));
            out.extend([0; 8]);
            data.extend(small);
        }
        out.extend(data);
        out
    }
}

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Files(tempfile::tempdir().expect("there is room"))
    }

    fn add(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).expect("there is room");
        path
    }

    fn open(&self, bytes: &[u8]) -> Result<Dump, OpenError> {
        Dump::open(&self.add("dump", bytes))
    }
}

/// The file as makedumpfile -F writes it, in chunks of a size that fits nothing, the last ones first.
fn flattened(bytes: &[u8], chunk: usize) -> Vec<u8> {
    let mut out = b"makedumpfile".to_vec();
    out.resize(4096, 0);
    let chunks: Vec<_> = bytes.chunks(chunk).enumerate().collect();
    let chunks = chunks.iter().rev();
    let chunks = chunks.map(|(index, data)| (index * chunk, *data));
    // What is written first is written again: the last word counts.
    for (offset, data) in std::iter::once((0, &[0xee; 700][..])).chain(chunks) {
        out.extend((offset as u64).to_be_bytes());
        out.extend((data.len() as u64).to_be_bytes());
        out.extend(data);
    }
    out.extend([0xff; 16]);
    out
}

fn check(dump: &Dump) {
    for frame in FRAMES {
        assert_eq!(dump.physical(frame * 4096, 4096), Ok(&page(frame)[..]));
    }
    let both = [page(1), page(2)].concat();
    assert_eq!(dump.physical(4096 + 100, 8000), Ok(&both[100..8100]));
    assert_eq!(dump.physical(2 * 4096, 4097), Err(FaultKind::Excluded));
    assert_eq!(dump.physical(3 * 4096, 1), Err(FaultKind::Excluded));
    for address in [0, 4 * 4096, 10 * 4096, 1 << 40, u64::MAX] {
        assert_eq!(dump.physical(address, 8), Err(FaultKind::NotInDump));
    }
    assert_eq!(dump.physical(4096, usize::MAX), Err(FaultKind::NotInDump));
    assert_eq!(dump.runs(), [(4096, 8192), (9 * 4096, 4096)]);
    assert_eq!(dump.memory_size(), 4 * 4096);
    assert_eq!(dump.missing_bytes(), 0);
}

#[test]
fn every_version_width_and_byte_order_is_read() {
    let files = Files::new();
    let machines = [
        ("x86_64", true, false, false, 62),
        ("", true, false, false, 0),
        ("i686", false, true, false, 3),
        ("armv7l", false, false, false, 40),
        ("s390x", true, false, true, 22),
        ("ppc64", true, false, true, 21),
        ("ppc", false, false, true, 20),
    ];
    for (machine, wide, packed, big, number) in machines {
        for version in 1..=6 {
            let builder = Builder {
                version,
                machine,
                wide,
                packed,
                big,
                // From version 6 on, the 64-bit number counts.
                short_frames: if version < 6 { 16 } else { 5 },
                ..X86_64
            };
            let bytes = builder.bytes();
            let release = (version >= 3).then_some("2.6.9");
            for bytes in [&bytes, &flattened(&bytes, 1000), &flattened(&bytes, 4096)] {
                let dump = files.open(bytes).expect("it is sound");
                assert_eq!(dump.machine(), number, "{machine} {version}");
                assert_eq!(dump.vmcoreinfo().get("OSRELEASE"), release);
                assert!(!dump.is_incomplete());
                check(&dump);
            }
        }
    }
}

/// A scan hands out what reading gives, in order, and keeps nothing.
#[test]
fn a_scan_has_all_pages_and_their_faults() {
    let files = Files::new();
    let mut bytes = X86_64.bytes();
    let table = Builder::TABLE;
    bytes[table + 24 + 8..table + 24 + 12].fill(0xff); // the size of page 2
    for bytes in [&bytes, &flattened(&bytes, 1000)] {
        let mut dump = files.open(bytes).expect("the headers are sound");
        // What was made before is used, and nothing else may be made.
        dump.physical(9 * 4096, 1).expect("it is there");
        dump.set_memory_limit(0);
        let pieces = dump.scan(|piece| Some((piece.address, piece.bytes.map(<[u8]>::to_vec))));
        let expected = [
            (4096, Ok(page(1))),
            (2 * 4096, Err(FaultKind::Damaged)),
            (9 * 4096, Ok(page(9))),
        ];
        assert_eq!(pieces, expected);
    }
}

#[test]
fn split_files_are_read_together() {
    let files = Files::new();
    let part = |start, end| Builder {
        part: Some((start, end)),
        ..X86_64
    };
    let [one, none, two] = [(0, 2), (2, 2), (2, 16)].map(|(start, end)| part(start, end).bytes());
    let one = files.add("one", &one);
    let none = files.add("none", &none);
    let two = files.add("two", &two);
    check(&Dump::open_parts(&[&two, &none, &one]).expect("all is there"));
    let missing = Dump::open_parts(&[&none, &two]).err();
    assert!(
        matches!(
            missing,
            Some(OpenError::MissingPart {
                start: 0,
                end: 8192,
                ..
            })
        ),
        "{missing:?}"
    );
    let missing = Dump::open(&one).err();
    assert!(
        matches!(
            missing,
            Some(OpenError::MissingPart {
                start: 8192,
                end: 65536,
                ..
            })
        ),
        "{missing:?}"
    );
    let twice = Dump::open_parts(&[&one, &one, &two]).err();
    assert!(
        matches!(twice, Some(OpenError::Damaged { .. })),
        "{twice:?}"
    );
}

#[test]
fn headers_that_lie_are_refused() {
    let files = Files::new();
    let good = X86_64.bytes();
    let refused = |at: usize, bytes: &[u8], words: &str| {
        let mut bad = good.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        let error = files.open(&bad).err().expect("it lies").to_string();
        assert!(error.contains(words), "{at}: {error}");
    };
    let max = [0xff; 8];
    refused(8, &[7, 0, 0, 0], "header version 7");
    refused(428, &[0; 4], "blocks of 0 bytes");
    refused(428, &max[..4], "blocks of");
    refused(432, &max[..4], "the file ends within its bitmaps");
    refused(436, &[0; 4], "too small for 0x10 pages");
    refused(BLOCK + 96, &max, "more than there are addresses");
    refused(BLOCK + 96, &[0; 8], "no memory");
    refused(BLOCK + 96, &(1_u64 << 40).to_le_bytes(), "too small for");
    refused(BLOCK + 32, &max, "the file ends within its VMCOREINFO");
    refused(BLOCK + 40, &max, "the file ends within its VMCOREINFO");
    for length in [8, 12, 443, BLOCK + 95, 3 * BLOCK] {
        assert!(files.open(&good[..length]).is_err(), "{length}");
    }
}

#[test]
fn damaged_pages_are_faults_of_their_own() {
    let files = Files::new();
    let good = X86_64.bytes();
    let found = |at: usize, bytes: &[u8]| {
        let mut bad = good.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        let dump = files.open(&bad).expect("the headers are sound");
        // The others are read all the same.
        assert_eq!(dump.physical(2 * 4096, 4096), Ok(&page(2)[..]));
        dump.physical(4096, 1).map(|_| ())
    };
    let table = Builder::TABLE;
    let place = u64::from_le_bytes(good[table..table + 8].try_into().expect("8")) as usize;
    assert_eq!(found(table, &[0; 8]), Err(FaultKind::Truncated));
    assert_eq!(found(table, &[0xff; 8]), Err(FaultKind::Truncated));
    assert_eq!(found(table + 8, &[0; 4]), Err(FaultKind::Damaged));
    assert_eq!(found(table + 8, &[0xff; 4]), Err(FaultKind::Damaged));
    assert_eq!(found(table + 12, &[0; 4]), Err(FaultKind::Damaged));
    for flags in [2, 4, 0x20, 3] {
        assert_eq!(found(table + 12, &[flags, 0]), Err(FaultKind::Damaged));
    }
    assert_eq!(found(place + 5, &[0x55; 4]), Err(FaultKind::Damaged));
}

/// A file that was cut short is opened, and says so; what is gone is a fault.
#[test]
fn truncated_dumps_say_what_they_lack() {
    let files = Files::new();
    let good = X86_64.bytes();
    for (length, first) in [
        (good.len() - 1, Ok(())),
        (Builder::TABLE + 30, Err(FaultKind::Truncated)),
    ] {
        let dump = files.open(&good[..length]).expect("the headers are there");
        assert!(dump.missing_bytes() > 0);
        assert_eq!(dump.physical(4096, 1).map(|_| ()), first);
        assert_eq!(dump.physical(9 * 4096, 1), Err(FaultKind::Truncated));
    }
    // Of a split dump it is said which part.
    let parts = [(0, 2), (2, 16)].map(|(start, end)| {
        let part = Some((start, end));
        Builder { part, ..X86_64 }.bytes()
    });
    for cut in 0..2 {
        let paths = [0, 1].map(|part| {
            let bytes = &parts[part];
            let length = bytes.len() - usize::from(part == cut);
            files.add(&format!("{cut}.{part}"), &bytes[..length])
        });
        let dump = Dump::open_parts(&paths).expect("the headers are there");
        assert_eq!(dump.missing_bytes(), 1);
        assert_eq!(dump.truncated_file(), paths[cut]);
    }
    // A descriptor that can't be true is no sign of it: its page is damaged.
    let mut bad = good.clone();
    let last = Builder::TABLE + 24 * (FRAMES.len() - 1);
    for (at, bytes) in [(last, &[0xff; 8][..]), (last + 8, &[0xff; 4][..])] {
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        assert_eq!(files.open(&bad).expect("it opens").missing_bytes(), 0);
        bad.copy_from_slice(&good);
    }
    let flat = flattened(&good, 1000);
    let dump = files
        .open(&flat[..flat.len() - 16])
        .expect("all is there but the mark of the end");
    assert_eq!(dump.missing_bytes(), 1);
    let incomplete = Builder {
        status: 1 | 8,
        ..X86_64
    };
    assert!(
        files
            .open(&incomplete.bytes())
            .expect("it opens")
            .is_incomplete()
    );
}

/// What is refused stays refused, and is not what the page is; what was read stays.
#[test]
fn no_more_pages_are_made_than_there_is_memory_for() {
    let files = Files::new();
    for flat in [false, true] {
        let mut bytes = X86_64.bytes();
        let mut index = 0;
        if flat {
            // Of each chunk it is known where it begins, where that is in the file, and how long it is.
            index = 24 * bytes.len().div_ceil(1000) as u64;
            bytes = flattened(&bytes, 1000);
        }
        let mut dump = files.open(&bytes).expect("it opens");
        let limit = index + 2 * BLOCK as u64 + 100;
        dump.set_memory_limit(limit);
        let read = |dump: &Dump, frame: u64| {
            let found = dump.physical(frame * BLOCK as u64, BLOCK);
            found.map(|bytes| assert_eq!(bytes, page(frame)))
        };
        for _ in 0..2 {
            assert_eq!(read(&dump, 9), Ok(()));
            assert_eq!(read(&dump, 1), Ok(()));
            assert_eq!(read(&dump, 2), Err(FaultKind::MemoryLimit));
            assert_eq!(read(&dump, 3), Err(FaultKind::Excluded));
            assert_eq!(dump.memory_limit(), Some((limit, 1)));
        }
        // The banner is looked for in pages that are not kept.
        assert_eq!(dump.scan_banner(), None);
        dump.forget_pages().expect("there is room");
        assert_eq!(dump.memory_limit(), Some((limit, 0)));
        assert_eq!(read(&dump, 2), Ok(()));
        assert_eq!(read(&dump, 1), Ok(()));
        assert_eq!(read(&dump, 9), Err(FaultKind::MemoryLimit));
        // An index that is more than the limit leaves nothing.
        if flat {
            dump.set_memory_limit(index - 1);
            assert_eq!(read(&dump, 9), Err(FaultKind::MemoryLimit));
        }
    }
}

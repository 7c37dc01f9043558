//! One dump of a real kernel in every format that makedumpfile writes: the analyzers must print the same, byte for byte.
//!
//! `cargo xtask test --lab` runs it. makedumpfile converts; what this Debian's is not built to write (zstd, snappy), and
//! files that are split evenly, are made here from what it wrote.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use kstruct::{Dump, FaultKind};
use tests::{read_json, root, run_soon, shown, text, xtask};

const ZLIB: u32 = 1;
const SNAPPY: u32 = 4;
const ZSTD: u32 = 0x20;
const BLOCK: usize = 4096;

/// A machine of the lab with its dump in many formats, made once.
struct Formats {
    release: String,
    vmcore: PathBuf,
    folder: PathBuf,
}

static FORMATS: LazyLock<Formats> = LazyLock::new(|| {
    let list =
        std::env::var("KSTRUCT_LAB_MACHINES").expect("run these tests by `cargo xtask test --lab`");
    let machine = Path::new(list.split(':').next_back().expect("there is one"));
    let release = text(&read_json(&machine.join("lab.json"))["release"]);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("formats-{release}"));
    fs::create_dir_all(&folder).expect("it can be made");
    let formats = Formats {
        release,
        vmcore: machine.join("vmcore"),
        folder,
    };
    formats.convert();
    let output = xtask(&["build", "--kernel", &formats.release, "ps", "netdev"]);
    assert!(output.status.success(), "{}", shown(&output));
    formats
});

impl Formats {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn convert(&self) {
        let standard = self.path("standard.elf");
        standard_layout(&self.vmcore, &standard);
        for (name, options) in [
            ("zlib", &["-c", "-d0"][..]),
            ("lzo", &["-l", "-d0"]),
            ("raw", &["-d0"]),
            ("zlib-31", &["-c", "-d31"]),
            ("elf-0", &["-E", "-d0"]),
            ("elf-31", &["-E", "-d31"]),
        ] {
            let target = self.path(name);
            let _ = fs::remove_file(&target);
            let output = Command::new("makedumpfile")
                .args(options)
                .args([&standard, &target])
                .output()
                .expect("makedumpfile runs");
            assert!(output.status.success(), "{name}: {}", shown(&output));
        }
        for (name, options) in [
            ("flat-zlib", &["-F", "-c", "-d0"][..]),
            ("flat-elf", &["-F", "-E", "-d0"]),
        ] {
            let target = fs::File::create(self.path(name)).expect("it can be made");
            let status = Command::new("makedumpfile")
                .args(options)
                .arg(&standard)
                .stdout(target)
                .stderr(Stdio::null())
                .status()
                .expect("makedumpfile runs");
            assert!(status.success(), "{name}");
        }
        let zlib = Kdump::read(&self.path("zlib"));
        zlib.write(ZSTD, 0..zlib.frames, None, &self.path("zstd"));
        zlib.write(SNAPPY, 0..zlib.frames, None, &self.path("snappy"));
        let cuts = [0, zlib.frames / 9 + 1, zlib.frames / 5, zlib.frames];
        for part in 0..3 {
            let range = cuts[part]..cuts[part + 1];
            let target = self.path(&format!("part-{part}"));
            zlib.write(ZLIB, range.clone(), Some(range), &target);
        }
    }

    /// Runs an analyzer of this kernel.
    fn run(&self, analyzer: &str, files: &[PathBuf], options: &[&str]) -> Output {
        let program = root()
            .join("target/analyzers")
            .join(&self.release)
            .join(analyzer);
        let mut args: Vec<&str> = Vec::new();
        for file in files {
            args.extend(["--core", file.to_str().expect("paths here are UTF-8")]);
        }
        args.extend(options);
        run_soon(&program, &args, Duration::from_secs(60))
    }
}

const REPORTS: [(&str, &[&str]); 4] = [
    ("ps", &["-T"]),
    ("ps", &["-T", "--format", "json"]),
    ("netdev", &[]),
    ("netdev", &["--format", "json"]),
];

#[test]
fn every_format_prints_the_same() {
    let formats = &*FORMATS;
    let expected: Vec<Vec<u8>> = REPORTS
        .iter()
        .map(|(analyzer, options)| {
            let output = formats.run(analyzer, std::slice::from_ref(&formats.vmcore), options);
            assert!(output.status.success(), "{}", shown(&output));
            assert!(output.stdout.len() > 5000, "{}", shown(&output));
            output.stdout
        })
        .collect();
    let one = |name: &str| vec![formats.path(name)];
    let mut cases: Vec<(&str, Vec<PathBuf>)> = [
        "standard.elf",
        "elf-0",
        "elf-31",
        "zlib",
        "lzo",
        "raw",
        "zstd",
        "snappy",
        "flat-zlib",
        "flat-elf",
    ]
    .map(|name| (name, one(name)))
    .into();
    let parts = ["part-2", "part-0", "part-1"].map(|name| formats.path(name));
    cases.push(("split", parts.into()));
    for (name, files) in &cases {
        for ((analyzer, options), expected) in REPORTS.iter().zip(&expected) {
            let output = formats.run(analyzer, files, options);
            assert!(output.status.success(), "{name}: {}", shown(&output));
            assert!(
                output.stdout == *expected,
                "{name}: {analyzer} {options:?} differs"
            );
        }
    }
    println!("{} formats, {} reports each", cases.len(), REPORTS.len());
}

/// makedumpfile leaves out pages that 6.12 needs: every difference must come with the word that a page was left out.
#[test]
fn what_was_left_out_is_reported_as_that() {
    let formats = &*FORMATS;
    let whole = Dump::open(&formats.vmcore).expect("it opens");
    let filtered = Dump::open(&formats.path("zlib-31")).expect("it opens");
    let (mut same, mut excluded) = (0, 0);
    for (start, size) in Dump::open(&formats.path("zlib")).expect("it opens").runs() {
        for address in (start..start + size).step_by(BLOCK) {
            match filtered.physical(address, BLOCK) {
                Ok(page) => {
                    assert_eq!(whole.physical(address, BLOCK), Ok(page), "{address:#x}");
                    same += 1;
                }
                Err(kind) => {
                    assert_eq!(kind, FaultKind::Excluded, "{address:#x}");
                    excluded += 1;
                }
            }
        }
    }
    assert!(same > 1000 && excluded > 1000, "{same}, {excluded}");
    println!("{same} pages are the same, {excluded} are excluded");
    let output = formats.run("ps", &[formats.path("zlib-31")], &["--format", "json"]);
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let faults = report["faults"].as_array().expect("faults");
    assert!(!faults.is_empty());
    for fault in faults {
        assert_eq!(fault["why"], "excluded from the dump");
    }
}

#[test]
fn a_missing_part_is_named() {
    let formats = &*FORMATS;
    let part = |number: u32| formats.path(&format!("part-{number}"));
    let cases: [(&[PathBuf], &str); 4] = [
        (&[part(0), part(2)], "a part of this dump is missing"),
        (&[part(1)], "a part of this dump is missing"),
        (
            &[part(0), part(1), part(1), part(2)],
            "was one named twice?",
        ),
        (
            &[part(0), formats.path("zlib")],
            "not a part of the same dump",
        ),
    ];
    for (files, words) in cases {
        let output = formats.run("ps", files, &[]);
        assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(words), "{error}");
    }
}

/// 300 files with some bytes changed: whatever they say, there is an answer soon, and a page that can't be read is a fault.
#[test]
fn damaged_dumps_give_faults() {
    let formats = &*FORMATS;
    let good = fs::read(formats.path("zlib-31")).expect("it can be read");
    let kdump = Kdump::read(&formats.path("zlib-31"));
    let (bitmaps, descriptors) = (kdump.bitmaps, kdump.descriptors);
    let data = descriptors + kdump.pages.len() * 24;
    let regions = [
        0..BLOCK,
        BLOCK..bitmaps,
        bitmaps..descriptors,
        descriptors..data,
        data..good.len(),
    ];
    let target = formats.path("damaged");
    fs::write(&target, &good).expect("it can be written");
    let file = fs::File::options()
        .write(true)
        .open(&target)
        .expect("it can be opened");
    let mut seed = 2026_u64;
    let mut next = |below: usize| {
        seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (seed >> 33) as usize % below
    };
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let begin = Instant::now();
    use std::os::unix::fs::FileExt as _;
    for round in 0..300 {
        let region = regions[round % regions.len()].clone();
        // In the headers most bytes are padding: these have the version, the sizes, and the sub-header's members.
        let (start, room) = match round % 5 {
            0 => (424, 20),
            1 => (region.start, 104),
            _ => (region.start, region.len() - 8),
        };
        let at = start + next(room);
        let length = 1 + next(8);
        let bytes: Vec<u8> = (0..length)
            .map(|_| [0, 0xff, 0x7f, next(256) as u8][next(4)])
            .collect();
        file.write_all_at(&bytes, at as u64)
            .expect("it can be written");
        match Dump::open(&target) {
            Err(_) => *counts.entry("refused".into()).or_default() += 1,
            Ok(dump) => {
                let _ = (dump.missing_bytes(), dump.memory_size(), dump.release());
                for &(frame, ..) in kdump.pages.iter().step_by(97) {
                    let what = match dump.physical(frame * BLOCK as u64, BLOCK) {
                        Ok(_) => "read".to_owned(),
                        Err(kind) => kind.to_string(),
                    };
                    *counts.entry(what).or_default() += 1;
                }
                // The page that was damaged itself, if it is one.
                let hit = kdump
                    .pages
                    .iter()
                    .find(|(_, place, size)| (*place..*place + *size).contains(&at));
                if let Some((frame, _, size)) = hit {
                    *counts.entry("hit".into()).or_default() += 1;
                    let changed = good[at..at + length] != bytes;
                    match dump.physical(frame * BLOCK as u64, BLOCK) {
                        // zlib's own checksum finds what was changed in its stream; what is not compressed has none.
                        Ok(_) => assert!(!changed || *size == BLOCK, "{at:#x} {bytes:x?}"),
                        Err(kind) => assert_eq!(kind, FaultKind::Damaged),
                    }
                }
            }
        }
        file.write_all_at(&good[at..at + length], at as u64)
            .expect("it can be written");
    }
    println!("{counts:?} in {:?}", begin.elapsed());
    assert!(
        counts["refused"] > 10 && counts["read"] > 10_000,
        "{counts:?}"
    );
    assert!(counts["hit"] > 30, "{counts:?}");
    assert!(begin.elapsed() < Duration::from_secs(300));
}

/// Rewrites QEMU's ELF file, whose program headers follow a section header, as makedumpfile wants it.
fn standard_layout(from: &Path, to: &Path) {
    let source = fs::read(from).expect("the lab has it");
    let uint = |at: usize, size: usize| {
        let mut bytes = [0; 8];
        bytes[..size].copy_from_slice(&source[at..at + size]);
        u64::from_le_bytes(bytes) as usize
    };
    let (table, count) = (uint(32, 8), uint(56, 2));
    let mut head = source[..64].to_vec();
    head[32..40].copy_from_slice(&64_u64.to_le_bytes());
    head[40..48].fill(0);
    head[52..64].fill(0);
    for (at, value) in [(52, 64), (54, 56), (56, count as u16)] {
        head[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
    let mut data = Vec::new();
    let start = (64 + 56 * count).next_multiple_of(BLOCK);
    for index in 0..count {
        let at = table + 56 * index;
        let (offset, size) = (uint(at + 8, 8), uint(at + 32, 8));
        let mut program = source[at..at + 56].to_vec();
        program[8..16].copy_from_slice(&((start + data.len()) as u64).to_le_bytes());
        head.extend(program);
        data.extend(&source[offset..offset + size]);
        data.resize(data.len().next_multiple_of(BLOCK), 0);
    }
    head.resize(start, 0);
    let mut out = fs::File::create(to).expect("it can be made");
    out.write_all(&head).expect("there is room");
    out.write_all(&data).expect("there is room");
}

/// A compressed dump of x86_64, read by this test's own means.
struct Kdump {
    bytes: Vec<u8>,
    bitmaps: usize,
    descriptors: usize,
    frames: u64,
    /// Page frame, offset, size: in the order of the descriptors.
    pages: Vec<(u64, usize, usize)>,
}

impl Kdump {
    fn read(path: &Path) -> Self {
        let bytes = fs::read(path).expect("makedumpfile wrote it");
        let uint =
            |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4")) as usize;
        assert!(bytes.starts_with(b"KDUMP   "));
        assert_eq!(uint(428), BLOCK);
        let (sub, blocks, frames) = (uint(432), uint(436), uint(440) as u64);
        let bitmaps = BLOCK * (1 + sub);
        let descriptors = bitmaps + BLOCK * blocks;
        let dumpable = &bytes[bitmaps + BLOCK * blocks / 2..descriptors];
        let marked = |frame: &u64| dumpable[*frame as usize / 8] >> (frame % 8) & 1 != 0;
        let pages = (0..frames)
            .filter(marked)
            .enumerate()
            .map(|(index, frame)| {
                let at = descriptors + 24 * index;
                let offset = u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8"));
                (frame, offset as usize, uint(at + 8))
            })
            .collect();
        Kdump {
            bitmaps,
            descriptors,
            frames,
            pages,
            bytes,
        }
    }

    /// Writes the pages of some frames, compressed in another way; as a part of a split dump, if it is to be one.
    fn write(
        &self,
        flag: u32,
        range: std::ops::Range<u64>,
        part: Option<std::ops::Range<u64>>,
        to: &Path,
    ) {
        let mut head = self.bytes[..self.descriptors].to_vec();
        head[424..428].copy_from_slice(&flag.to_le_bytes());
        if let Some(part) = part {
            // kdump_sub_header: split at 12, start_pfn and end_pfn at 16 and 24, and at 80 and 88.
            head[BLOCK + 12] = 1;
            for (at, value) in [
                (16, part.start),
                (24, part.end),
                (80, part.start),
                (88, part.end),
            ] {
                head[BLOCK + at..BLOCK + at + 8].copy_from_slice(&value.to_le_bytes());
            }
        }
        let wanted = self.pages.iter().enumerate();
        let wanted: Vec<_> = wanted.filter(|(_, page)| range.contains(&page.0)).collect();
        let start = self.descriptors + 24 * wanted.len();
        let (mut table, mut data) = (Vec::new(), Vec::new());
        let mut seen: BTreeMap<usize, (u64, u32, u32)> = BTreeMap::new();
        for (index, &(_, offset, size)) in wanted {
            let place = *seen.entry(offset).or_insert_with(|| {
                let stored = &self.bytes[offset..offset + size];
                let mut page = Vec::new();
                if size == BLOCK {
                    page.extend(stored);
                } else {
                    let read = flate2::read::ZlibDecoder::new(stored).read_to_end(&mut page);
                    assert_eq!(read.expect("it is zlib's"), BLOCK);
                }
                let small = match flag {
                    ZSTD => zstd::bulk::compress(&page, 3).expect("it is small"),
                    SNAPPY => snap::raw::Encoder::new()
                        .compress_vec(&page)
                        .expect("small"),
                    _ if size < BLOCK => stored.to_vec(),
                    _ => page.clone(),
                };
                let at = (start + data.len()) as u64;
                let (bytes, flag) = if small.len() < BLOCK {
                    (&small, flag)
                } else {
                    (&page, 0)
                };
                data.extend(bytes);
                (at, bytes.len() as u32, flag)
            });
            table.extend(place.0.to_le_bytes());
            table.extend(place.1.to_le_bytes());
            table.extend(place.2.to_le_bytes());
            table.extend(&self.bytes[self.descriptors + 24 * index + 16..][..8]);
        }
        fs::write(to, [head, table, data].concat()).expect("there is room");
    }
}

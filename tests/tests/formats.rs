//! Dumps of one moment of a real kernel in every format, by whoever writes it: the analyzers must print the same, byte for byte.
//!
//! `cargo xtask test --lab` runs it. The kernel panicked: its crash kernel copied /proc/vmcore, then QEMU dumped the same memory in its own
//! formats, and makedumpfile converts the copy here: Debian's, and for zstd and snappy, which that is not built to write, one that the lab
//! has built (`KSTRUCT_MAKEDUMPFILE`). Files that are split unevenly are made from what it wrote. A file is gone once it was compared.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use kstruct::{Dump, FaultKind};
use tests::{array, lab_machines, read_json, root, run_soon, shown, text, xtask};

const SNAPPY: u32 = 4;
const ZSTD: u32 = 0x20;
const BLOCK: usize = 4096;

/// A kernel that panicked, with the analyzers for it.
struct Crash {
    release: String,
    machine: PathBuf,
    vmcore: PathBuf,
    /// Where dumps are made.
    folder: PathBuf,
}

/// The oldest and the newest of the lab.
static CRASHES: LazyLock<[Crash; 2]> = LazyLock::new(|| {
    let mut machines = lab_machines(&["panic"]);
    machines.sort_by_key(|machine| read_json(&machine.join("lab.json"))["levels"].as_u64());
    let [older, .., newer] = &machines[..] else {
        panic!("there are two kernels that panicked, not {machines:?}");
    };
    [older, newer].map(|machine| Crash::new(machine))
});

/// How a dump comes to be.
enum Origin {
    /// QEMU wrote it.
    Qemu(&'static str),
    /// makedumpfile writes it, of /proc/vmcore, with these options.
    Makedumpfile(&'static [&'static str]),
    /// The lab's own makedumpfile does, with these options; most pages are then compressed in this way.
    Built(u32, &'static [&'static str]),
    /// Debian's makedumpfile writes it into a pipe.
    Flattened(&'static [&'static str]),
    /// makedumpfile -R puts a flattened file of QEMU in order.
    Rearranged(&'static str),
    /// makedumpfile --split, into so many files.
    Split(usize),
    /// Made of makedumpfile's file with zlib: three uneven parts.
    Parts,
}
use Origin::{Built, Flattened, Makedumpfile, Parts, Qemu, Rearranged, Split};

const COMPRESSED: (&str, Origin) = ("zlib", Makedumpfile(&["-c", "-d0"]));

/// What leaves nothing out.
const WHOLE: [(&str, Origin); 15] = [
    ("qemu-elf", Qemu("qemu-elf")),
    ("qemu-elf-paging", Qemu("qemu-elf-paging")),
    ("qemu-kdump-zlib", Qemu("qemu-kdump-zlib")),
    ("qemu-rearranged", Rearranged("qemu-kdump-zlib")),
    COMPRESSED,
    ("lzo", Makedumpfile(&["-l", "-d0"])),
    ("raw", Makedumpfile(&["-d0"])),
    ("elf-0", Makedumpfile(&["-E", "-d0"])),
    ("flat-zlib", Flattened(&["-F", "-c", "-d0"])),
    ("flat-raw", Flattened(&["-F", "-d0"])),
    ("flat-elf", Flattened(&["-F", "-E", "-d0"])),
    ("split", Split(3)),
    ("parts", Parts),
    ("zstd", Built(ZSTD, &["-z", "-d0"])),
    ("snappy", Built(SNAPPY, &["-p", "-d0"])),
];

/// The makedumpfile that the lab has built. Where it could not be, that is said.
static BUILT: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    let program = std::env::var_os("KSTRUCT_MAKEDUMPFILE").map(PathBuf::from);
    if program.is_none() {
        let what = "there is no makedumpfile that writes zstd and snappy";
        assert!(
            std::env::var_os("KSTRUCT_REQUIRE_TOOLS").is_none(),
            "KSTRUCT_REQUIRE_TOOLS is set, and {what}"
        );
        println!("not done: {what}");
    }
    program
});

/// Whether a format can be made here.
fn can_be_made(origin: &Origin) -> bool {
    !matches!(origin, Built(..)) || BUILT.is_some()
}

/// What leaves out pages of zeros, of the cache, of processes, and those that are free.
const FILTERED: [(&str, Origin); 6] = [
    ("zlib-31", Makedumpfile(&["-c", "-d31"])),
    ("lzo-31", Makedumpfile(&["-l", "-d31"])),
    ("elf-31", Makedumpfile(&["-E", "-d31"])),
    ("flat-31", Flattened(&["-F", "-c", "-d31"])),
    ("zstd-31", Built(ZSTD, &["-z", "-d31"])),
    ("snappy-31", Built(SNAPPY, &["-p", "-d31"])),
];

impl Crash {
    fn new(machine: &Path) -> Self {
        let release = text(&read_json(&machine.join("lab.json"))["release"]);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("formats-{release}"));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("it can be made");
        let output = xtask(&["build", "--kernel", &release, "ps", "netdev"]);
        assert!(output.status.success(), "{}", shown(&output));
        let crash = Crash {
            release,
            machine: machine.into(),
            vmcore: machine.join("vmcore"),
            folder,
        };
        // What others are made of, or damaged.
        for (name, origin) in [&COMPRESSED, &FILTERED[0], &("parts", Parts)] {
            crash.make(name, origin);
        }
        crash
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Makes a dump; says which files it is.
    fn make(&self, name: &str, origin: &Origin) -> Vec<PathBuf> {
        let target = self.path(name);
        let run = |command: &mut Command| {
            let output = command.output().expect("makedumpfile runs");
            assert!(output.status.success(), "{name}: {}", shown(&output));
        };
        let mut makedumpfile = Command::new("makedumpfile");
        match origin {
            Qemu(file) => return vec![self.machine.join(file)],
            Makedumpfile(_) | Built(..) if target.is_file() => {}
            Built(flag, options) => {
                let program = BUILT.as_ref().expect("it was asked before");
                run(Command::new(program)
                    .args(*options)
                    .args([&self.vmcore, &target]));
                let written = Kdump::read(&target);
                let count = written.compressed_by(*flag);
                assert!(2 * count > written.pages.len(), "{name}: {count} pages");
                println!(
                    "{name}: {count} of {} pages are compressed so",
                    written.pages.len()
                );
            }
            Makedumpfile(options) => run(makedumpfile.args(*options).args([&self.vmcore, &target])),
            Flattened(options) => {
                let pipe = fs::File::create(&target).expect("it can be made");
                let status = makedumpfile
                    .args(*options)
                    .arg(&self.vmcore)
                    .stdout(pipe)
                    .stderr(Stdio::null())
                    .status();
                assert!(status.expect("makedumpfile runs").success(), "{name}");
            }
            Rearranged(file) => {
                let pipe = fs::File::open(self.machine.join(file)).expect("QEMU wrote it");
                run(makedumpfile.arg("-R").arg(&target).stdin(pipe));
            }
            Split(count) => {
                let parts: Vec<_> = (0..*count)
                    .map(|part| self.path(&format!("{name}-{part}")))
                    .collect();
                run(makedumpfile
                    .args(["--split", "-c", "-d0"])
                    .arg(&self.vmcore)
                    .args(&parts));
                return parts;
            }
            Parts => {
                let parts = ["part-2", "part-0", "part-1"].map(|part| self.path(part));
                if !parts[0].is_file() {
                    let zlib = Kdump::read(&self.path("zlib"));
                    let cuts = [0, zlib.frames / 9 + 1, zlib.frames / 5, zlib.frames];
                    for part in 0..3 {
                        let range = cuts[part]..cuts[part + 1];
                        let target = self.path(&format!("part-{part}"));
                        zlib.write_part(range, &target);
                    }
                }
                return parts.into();
            }
        }
        vec![target]
    }

    /// Removes a dump that no other test needs.
    fn remove(&self, name: &str, files: &[PathBuf]) {
        if ![COMPRESSED.0, FILTERED[0].0, "parts"].contains(&name) {
            for file in files.iter().filter(|file| file.starts_with(&self.folder)) {
                fs::remove_file(file).expect("it was made here");
            }
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

    /// What the analyzers say of /proc/vmcore.
    fn expected(&self) -> Vec<Vec<u8>> {
        let report = |(analyzer, options): &(&str, &[&str])| {
            let output = self.run(analyzer, std::slice::from_ref(&self.vmcore), options);
            assert!(output.status.success(), "{}", shown(&output));
            assert!(output.stdout.len() > 5000, "{}", shown(&output));
            output.stdout
        };
        REPORTS.iter().map(report).collect()
    }
}

const REPORTS: [(&str, &[&str]); 5] = [
    ("ps", &["-T"]),
    ("ps", &["-T", "--format", "json"]),
    ("ps", &["--args", "--format", "json"]),
    ("netdev", &[]),
    ("netdev", &["--format", "json"]),
];

#[test]
fn every_format_of_the_older_kernel_prints_the_same() {
    every_format_prints_the_same(&CRASHES[0]);
}

#[test]
fn every_format_of_the_newer_kernel_prints_the_same() {
    every_format_prints_the_same(&CRASHES[1]);
}

fn every_format_prints_the_same(crash: &Crash) {
    let expected = crash.expected();
    let mut count = 0;
    for (name, origin) in &WHOLE {
        if !can_be_made(origin) {
            continue;
        }
        count += 1;
        let files = crash.make(name, origin);
        for ((analyzer, options), expected) in REPORTS.iter().zip(&expected) {
            let output = crash.run(analyzer, &files, options);
            assert!(output.status.success(), "{name}: {}", shown(&output));
            assert!(
                output.stdout == *expected,
                "{name}: {analyzer} {options:?} differs"
            );
        }
        crash.remove(name, &files);
    }
    println!(
        "{}: {count} formats and /proc/vmcore, {} reports each",
        crash.release,
        REPORTS.len()
    );
}

/// What a filter left out may be missing, and nothing else: each report says what, and the rest of it is the same. For 6.12,
/// which is newer than Debian's makedumpfile, that is more than it meant to leave out.
#[test]
fn what_was_left_out_is_reported_as_that() {
    for crash in &*CRASHES {
        let expected = crash.expected();
        for (name, origin) in FILTERED.iter().filter(|(_, origin)| can_be_made(origin)) {
            let files = crash.make(name, origin);
            let (mut same, mut faults) = (0, 0);
            for ((analyzer, options), expected) in REPORTS.iter().zip(&expected) {
                let output = crash.run(analyzer, &files, options);
                if output.status.success() {
                    assert!(output.stdout == *expected, "{name}: {analyzer} {options:?}");
                    same += 1;
                    continue;
                }
                assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
                let errors = String::from_utf8_lossy(&output.stderr);
                let mut lines = errors.lines();
                let first = lines.next().unwrap_or_default();
                assert!(first.ends_with("could not be read:"), "{errors}");
                for line in lines.filter(|line| !line.starts_with("  ... (")) {
                    assert!(line.ends_with("excluded from the dump"), "{line}");
                    faults += 1;
                }
            }
            assert!(same == REPORTS.len() || faults > 0);
            println!(
                "{} {name}: {same} of {} reports are the same, the others say what is excluded",
                crash.release,
                REPORTS.len()
            );
            crash.remove(name, &files);
        }
    }
}

/// Of a kernel that makedumpfile knows nothing that the analyzers read of the kernel itself is left out, and of processes' memory
/// what is left out is named. Debian's knows the older one.
#[test]
fn of_a_kernel_that_makedumpfile_knows_only_user_pages_are_missed() {
    only_user_pages_are_missed(&CRASHES[0], &FILTERED[0]);
    // The lab's knows both.
    let known = ("known-31", Built(ZSTD, &["-z", "-d31"] as &[_]));
    for crash in CRASHES.iter().filter(|_| can_be_made(&known.1)) {
        only_user_pages_are_missed(crash, &known);
    }
}

fn only_user_pages_are_missed(crash: &Crash, (name, origin): &(&str, Origin)) {
    let filtered = crash.make(name, origin);
    let mut missed = 0;
    for ((analyzer, options), expected) in REPORTS.iter().zip(crash.expected()) {
        let output = crash.run(analyzer, &filtered, options);
        if !options.contains(&"--args") {
            assert!(output.status.success(), "{}", shown(&output));
            assert!(output.stdout == expected, "{analyzer} {options:?} differs");
            continue;
        }
        let json = |bytes: &[u8]| -> serde_json::Value {
            serde_json::from_slice(bytes).expect("the analyzer prints JSON")
        };
        let (mut found, mut whole) = (json(&output.stdout), json(&expected));
        let faults = array(&found["faults"]).len();
        assert!(faults > 20, "{}", found["faults"]);
        missed += faults;
        for fault in array(&found["faults"]) {
            assert_eq!(fault["why"], "excluded from the dump");
        }
        // Without arguments and faults they are the same.
        for report in [&mut found, &mut whole] {
            for name in ["faults", "fault_count"] {
                report[name].take();
            }
            for task in report["tasks"].as_array_mut().expect("tasks") {
                task["args"].take();
            }
        }
        assert_eq!(found, whole);
    }
    println!(
        "{} {name}: all is the same but for {missed} command lines",
        crash.release
    );
    crash.remove(name, &filtered);
}

/// Page by page, against /proc/vmcore: what a filtered dump has is the same, and the rest is excluded.
#[test]
fn every_page_is_the_same_or_excluded() {
    let crash = &CRASHES[1];
    let open = |path: &Path| Dump::open(path).expect("it opens");
    let (whole, filtered) = (open(&crash.vmcore), open(&crash.path(FILTERED[0].0)));
    let unfiltered = open(&crash.path(COMPRESSED.0));
    let qemu = open(&crash.machine.join("qemu-kdump-zlib"));
    let (mut same, mut excluded, mut moved) = (0, 0, 0);
    for (start, size) in whole.runs() {
        for address in (start..start + size).step_by(BLOCK) {
            let page = whole.physical(address, BLOCK).expect("it is in its runs");
            assert_eq!(
                unfiltered.physical(address, BLOCK),
                Ok(page),
                "{address:#x}"
            );
            moved += usize::from(qemu.physical(address, BLOCK) != Ok(page));
            match filtered.physical(address, BLOCK) {
                Ok(found) => {
                    assert_eq!(found, page, "{address:#x}");
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
    println!(
        "{same} pages are the same, {excluded} are excluded; QEMU saw {moved} others a moment later"
    );
    // The crash kernel has not touched the memory of the one that panicked.
    assert_eq!(moved, 0);
}

#[test]
fn a_missing_part_is_named() {
    let formats = &CRASHES[1];
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
    let formats = &CRASHES[1];
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

    /// How many pages' descriptors say that they are compressed in this way.
    fn compressed_by(&self, flag: u32) -> usize {
        let flags = (0..self.pages.len()).map(|index| self.descriptors + 24 * index + 12);
        flags
            .filter(|at| self.bytes[*at..*at + 4] == flag.to_le_bytes())
            .count()
    }

    /// Writes the pages of some frames as a part of a split dump.
    fn write_part(&self, range: std::ops::Range<u64>, to: &Path) {
        let mut head = self.bytes[..self.descriptors].to_vec();
        // kdump_sub_header: split at 12, start_pfn and end_pfn at 16 and 24, and at 80 and 88.
        head[BLOCK + 12] = 1;
        for (at, value) in [
            (16, range.start),
            (24, range.end),
            (80, range.start),
            (88, range.end),
        ] {
            head[BLOCK + at..BLOCK + at + 8].copy_from_slice(&value.to_le_bytes());
        }
        let wanted = self.pages.iter().enumerate();
        let wanted: Vec<_> = wanted.filter(|(_, page)| range.contains(&page.0)).collect();
        let start = self.descriptors + 24 * wanted.len();
        let (mut table, mut data) = (Vec::new(), Vec::new());
        let mut seen: BTreeMap<usize, u64> = BTreeMap::new();
        for (index, &(_, offset, size)) in wanted {
            let place = *seen.entry(offset).or_insert_with(|| {
                let at = (start + data.len()) as u64;
                data.extend(&self.bytes[offset..offset + size]);
                at
            });
            table.extend(place.to_le_bytes());
            table.extend(&self.bytes[self.descriptors + 24 * index + 8..][..16]);
        }
        fs::write(to, [head, table, data].concat()).expect("there is room");
    }
}

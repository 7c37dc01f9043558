//! The memory of a real kernel in forms without headers and notes: the analyzers must print what they print of QEMU's dump, byte for
//! byte.
//!
//! `cargo xtask test --lab` runs it. The machine has less memory than would make a hole below 4 GB.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use kstruct::{Dump, EM_X86_64, Kallsyms, KernelInfo, Memory};
use tests::images::{memory, write_flattened, write_lime, write_raw, write_sparse};
use tests::machine::Machine;
use tests::{lab_machines, read_json, root, run_soon, shown, text, xtask};

/// A machine of the lab with its memory in many forms, made once.
struct Images {
    release: String,
    vmcore: PathBuf,
    folder: PathBuf,
}

static IMAGES: LazyLock<Images> = LazyLock::new(|| {
    let machine = lab_machines(&["stop"]).pop().expect("there is one");
    let release = text(&read_json(&machine.join("lab.json"))["release"]);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("images-{release}"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("it can be made");
    let images = Images {
        release,
        vmcore: machine.join("vmcore"),
        folder,
    };
    images.write();
    let output = xtask(&["build", "--kernel", &images.release, "ps", "netdev"]);
    assert!(output.status.success(), "{}", shown(&output));
    images
});

/// Where the raw image is cut in two: in the middle of a large page.
const CUT: u64 = 0x765_4000;

impl Images {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn write(&self) {
        let mut core = fs::read(&self.vmcore).expect("the lab has it");
        let runs = memory(&core);
        let end = runs.iter().map(|run| run.start + run.size).max();
        let end = end.expect("there is memory");
        assert!(end < 0xc000_0000, "{end:#x}");
        write_raw(&self.path("raw"), &runs, 0, end);
        write_raw(&self.path("low"), &runs, 0, CUT);
        write_raw(&self.path("high"), &runs, CUT, end);
        write_lime(&self.path("lime"), &runs);
        // The same file without VMCOREINFO, and then without what QEMU says of the CPUs.
        for (name, gone) in [
            ("without-vmcoreinfo", &b"VMCOREINFO\0"[..]),
            ("without-notes", b"QEMU\0"),
        ] {
            let head = &core[..64 << 10];
            let places: Vec<usize> = memchr::memmem::find_iter(head, gone).collect();
            assert!(!places.is_empty(), "{name}");
            places.iter().for_each(|at| core[*at] = b'X');
            let file = fs::File::create(self.path(name)).expect("it can be made");
            write_sparse(&file, &core, 0).expect("there is room");
        }
        write_flattened(&self.path("flat"), &core);
    }

    /// `--core` for each.
    fn files(&self, names: &[&str]) -> Vec<String> {
        names
            .iter()
            .map(|name| self.path(name).to_str().expect("it is text").to_owned())
            .collect()
    }

    /// Runs an analyzer of this kernel.
    fn run(&self, analyzer: &str, files: &[String], options: &[&str]) -> Output {
        let program = root()
            .join("target/analyzers")
            .join(&self.release)
            .join(analyzer);
        let mut args: Vec<&str> = Vec::new();
        for file in files {
            args.extend(["--core", file]);
        }
        args.extend(options);
        run_soon(&program, &args, Duration::from_secs(60))
    }

    fn vmcore(&self) -> Vec<String> {
        vec![self.vmcore.to_str().expect("it is text").to_owned()]
    }

    /// As much as is known of a kernel before its symbols are.
    fn kernel(&self) -> &'static KernelInfo {
        let dump = Dump::open(&self.vmcore).expect("it opens");
        let banner = dump.scan_banner().expect("it has one");
        assert!(banner.starts_with(&format!("Linux version {} ", self.release)));
        Box::leak(Box::new(KernelInfo {
            release: self.release.clone().leak(),
            banner: banner.leak(),
            ..Machine::new(EM_X86_64).info
        }))
    }
}

const REPORTS: [(&str, &[&str]); 4] = [
    ("ps", &["-T"]),
    ("ps", &["-T", "--format", "json"]),
    ("netdev", &[]),
    ("netdev", &["--format", "json"]),
];

#[test]
fn every_image_prints_the_same() {
    let images = &*IMAGES;
    let cases = [
        images.files(&["raw@0"]),
        images.files(&["high@7654000", "low@0"]),
        images.files(&["lime"]),
        images.files(&["without-vmcoreinfo"]),
        images.files(&["without-notes"]),
        images.files(&["flat"]),
    ];
    for (analyzer, options) in REPORTS {
        let expected = images.run(analyzer, &images.vmcore(), options);
        assert!(expected.status.success(), "{}", shown(&expected));
        assert!(expected.stdout.len() > 5000, "{}", shown(&expected));
        for files in &cases {
            let begin = Instant::now();
            let output = images.run(analyzer, files, options);
            let took = begin.elapsed();
            assert!(output.status.success(), "{files:?}: {}", shown(&output));
            assert!(
                output.stdout == expected.stdout,
                "{files:?}: {analyzer} {options:?} differs"
            );
            let name = files[0].rsplit('/').next().unwrap_or_default();
            println!("{name}: {analyzer} {options:?} is the same, in {took:?}");
        }
    }
}

/// The text in memory is the note's, and leads to all of the kernel's symbols.
#[test]
fn vmcoreinfo_in_memory_is_that_of_the_note() {
    let images = &*IMAGES;
    let kernel = images.kernel();
    let noted = Memory::open(&images.vmcore, kernel, false).expect("it opens");
    let lines: Vec<(&str, &str)> = noted.dump().vmcoreinfo().lines().collect();
    assert!(lines.len() > 50, "{lines:?}");
    for name in ["raw@0", "lime", "without-vmcoreinfo"] {
        let begin = Instant::now();
        let memory = Memory::open(&images.path(name), kernel, false).expect("it is found");
        println!("{name}: found in {:?}", begin.elapsed());
        assert!(memory.dump().vmcoreinfo().is_empty());
        assert_eq!(memory.kaslr_offset(), noted.kaslr_offset());
        assert!(
            memory.vmcoreinfo().lines().eq(lines.iter().copied()),
            "{name}"
        );
        let symbols = |memory: &Memory| {
            let list = Kallsyms::read(memory).expect("it is sound");
            let list = list.expect("it is named");
            let entries = list
                .iter()
                .map(|symbol| (symbol.address, symbol.name.to_owned()));
            entries.collect::<Vec<_>>()
        };
        let found = symbols(&memory);
        assert!(found.len() > 50_000, "{}", found.len());
        assert!(found == symbols(&noted), "{name}");
    }
}

#[test]
fn what_is_given_by_hand_must_be_true() {
    let images = &*IMAGES;
    let noted = Memory::open(&images.vmcore, images.kernel(), false).expect("it opens");
    let moved = noted.kaslr_offset();
    let base = noted
        .dump()
        .vmcoreinfo()
        .number("phys_base")
        .expect("it is there");
    assert_ne!(moved, 0);
    let (offset, base) = (format!("{moved:#x}"), format!("{base:x}"));
    let raw = images.files(&["raw@0"]);
    let expected = images.run("ps", &images.vmcore(), &["-T"]);
    let note = images.path("note");
    let lines = noted.dump().vmcoreinfo().lines();
    let lines = lines.map(|(key, value)| format!("{key}={value}\n"));
    fs::write(&note, lines.collect::<String>()).expect("there is room");
    let note = note.to_str().expect("it is text");
    for files in [&raw, &images.vmcore()] {
        for options in [
            &["--kaslr", &offset][..],
            &["--phys-base", &base],
            &["--kaslr", &offset, "--phys-base", &base],
            &["--vmcoreinfo", note],
        ] {
            let output = images.run("ps", files, &[options, &["-T"]].concat());
            assert!(output.status.success(), "{}", shown(&output));
            assert!(output.stdout == expected.stdout, "{options:?}");
        }
        let wrong = format!("{:x}", moved ^ 0x20_0000);
        for options in [
            ["--kaslr", &wrong],
            ["--kaslr", "0"],
            ["--phys-base", "1000"],
            ["--phys-base", &offset],
        ] {
            let output = images.run("ps", files, &options);
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
            assert!(
                output.stdout.is_empty() && error.contains(options[0]),
                "{error}"
            );
        }
    }
}

/// Raw at another address than it was at: nothing is found, and that is said soon.
#[test]
fn a_raw_image_at_the_wrong_address_is_refused() {
    let images = &*IMAGES;
    for (name, words) in [
        ("raw@40000000", "can't find the kernel"),
        ("raw@1000", "can't find the kernel"),
        ("raw", "FILE@0"),
        ("lime@0", "it begins like a LiME image"),
    ] {
        let output = images.run("ps", &images.files(&[name]), &[]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
        assert!(error.contains(words), "{error}");
    }
}

/// How much memory the process needed is what it may, and a part of what it needs without a limit.
#[test]
fn a_memory_limit_is_kept() {
    let images = &*IMAGES;
    let flat = images.files(&["flat"]);
    let whole = images.run("ps", &flat, &["-T", "--memory-limit", "100M"]);
    assert!(whole.status.success(), "{}", shown(&whole));
    let mut seen = 0;
    for limit in ["16K", "64K", "256K", "512K", "1M", "2M", "4M", "8M"] {
        let output = images.run("ps", &flat, &["-T", "--memory-limit", limit]);
        let error = String::from_utf8_lossy(&output.stderr);
        println!(
            "{limit}: {} lines",
            output.stdout.split(|byte| *byte == b'\n').count()
        );
        if output.status.success() {
            assert!(output.stdout == whole.stdout && error.is_empty(), "{error}");
            continue;
        }
        seen += 1;
        assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
        assert!(error.contains("memory limit of"), "{error}");
        assert!(output.stdout != whole.stdout);
    }
    assert!((2..8).contains(&seen), "{seen}");
}

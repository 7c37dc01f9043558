//! The fixture's memory in forms without QEMU's headers and notes: the analyzers must print the same, byte for byte.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use tests::images::{
    Run, core_note, memory, write_flattened, write_lime, write_netdump, write_raw,
};
use tests::{built, fixture_vmcore, run_soon, shown};

const SOON: Duration = Duration::from_secs(20);
/// Where the fixture's RAM ends.
const RAM_END: u64 = 32 << 20;

const REPORTS: [(&str, &[&str]); 4] = [
    ("ps", &["-T"]),
    ("ps", &["--format", "json"]),
    ("netdev", &[]),
    ("netdev", &["--format", "json"]),
];

struct Fixture {
    core: Vec<u8>,
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Fixture {
            core: fs::read(fixture_vmcore()).expect("the fixture is there"),
            folder: tempfile::tempdir().expect("there is room"),
        }
    }

    fn memory(&self) -> Vec<Run<'_>> {
        memory(&self.core)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn run(analyzer: &str, files: &[&str], options: &[&str]) -> Output {
    let mut args = Vec::new();
    for file in files {
        args.extend(["--core", *file]);
    }
    args.extend(options);
    run_soon(built(analyzer), &args, SOON)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are text")
}

/// Asserts that all reports are those of the fixture.
fn assert_same(files: &[&str], more: &[&str]) {
    let core = fixture_vmcore();
    for (analyzer, options) in REPORTS {
        let expected = run(analyzer, &[text(&core)], options);
        assert!(expected.status.success(), "{}", shown(&expected));
        assert!(expected.stdout.len() > 300, "{}", shown(&expected));
        let output = run(analyzer, files, &[options, more].concat());
        assert!(output.status.success(), "{files:?}: {}", shown(&output));
        assert!(output.stderr.is_empty(), "{}", shown(&output));
        let (found, expected) = [&output, &expected]
            .map(|output| String::from_utf8_lossy(&output.stdout))
            .into();
        assert_eq!(found, expected, "{files:?}: {analyzer} {options:?}");
    }
}

#[test]
fn a_raw_image_is_read_like_the_dump() {
    let fixture = Fixture::new();
    let raw = fixture.path("memory");
    write_raw(&raw, &fixture.memory(), 0, RAM_END);
    let named = format!("{}@0", text(&raw));
    assert_same(&[&named], &[]);
    assert_same(&[&named], &["--kaslr", "0"]);
    // In two files, the second of which has the kernel's end.
    let (low, high) = (fixture.path("low"), fixture.path("high"));
    write_raw(&low, &fixture.memory(), 0, 0x10_5000);
    write_raw(&high, &fixture.memory(), 0x10_5000, RAM_END);
    let parts = [
        format!("{}@105000", text(&high)),
        format!("{}@0x0", text(&low)),
    ];
    assert_same(&[&parts[0], &parts[1]], &[]);
    assert_same(&[&parts[1], &parts[0]], &[]);
    // By cargo xtask run, which must find the kernel first.
    let xtask = run_soon(
        built("xtask"),
        &["run", "netdev", "--core", &named],
        Duration::from_secs(600),
    );
    let expected = run("netdev", &[text(&fixture_vmcore())], &[]);
    assert!(xtask.status.success(), "{}", shown(&xtask));
    assert_eq!(xtask.stdout, expected.stdout);
}

#[test]
fn a_raw_image_at_the_wrong_address_is_refused() {
    let fixture = Fixture::new();
    let raw = fixture.path("memory");
    write_raw(&raw, &fixture.memory(), 0, RAM_END);
    let named = |address: &str| format!("{}@{address}", text(&raw));
    for (file, words) in [
        (named("40000000"), "can't find the kernel in the dump"),
        (named("1000"), "can't find the kernel in the dump"),
        (named("7"), "a multiple of 4096"),
        (text(&raw).to_owned(), "FILE@0"),
        (
            format!("{}@0", text(&fixture_vmcore())),
            "it begins like an ELF file",
        ),
        (
            format!("{}@0", text(&fixture.path("missing"))),
            "No such file",
        ),
    ] {
        for analyzer in ["ps", "netdev"] {
            let output = run(analyzer, &[&file], &[]);
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
            assert_eq!(error.lines().count(), 1, "{error}");
            assert!(error.contains(words), "{error}");
        }
    }
    // The kernel was not moved.
    for offset in ["400000", "0x1000", "ffffffffffffffff"] {
        let output = run("ps", &[&named("0")], &["--kaslr", offset]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
        assert!(error.contains("can't find the kernel"), "{error}");
    }
    let output = run("ps", &[&named("0")], &["--phys-base", "0"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("only x86_64 has"), "{error}");
}

#[test]
fn a_lime_image_is_read_like_the_dump() {
    let fixture = Fixture::new();
    let lime = fixture.path("lime");
    write_lime(&lime, &fixture.memory());
    assert_same(&[text(&lime)], &[]);
    // As a kernel has its memory, without what the BIOS keeps, and cut at the end.
    let runs = fixture.memory();
    let high = runs.iter().find(|run| run.start == 0xc_0000);
    let high = high.expect("the fixture's memory is there");
    let kernel = Run {
        start: 0x10_0000,
        size: RAM_END - 0x10_0000,
        bytes: &high.bytes[0x4_0000..],
    };
    write_lime(&lime, &[kernel]);
    assert_same(&[text(&lime)], &[]);
    let file = fs::File::options().write(true).open(&lime);
    file.and_then(|file| file.set_len(16 << 20))
        .expect("it can be cut");
    let output = run("ps", &[text(&lime)], &["-T"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("is truncated: at least"), "{error}");
}

/// netdump of 2.6.9's time: no VMCOREINFO and no QEMU notes, and memory as one segment, with the holes in it.
#[test]
fn netdumps_of_both_widths_are_read_like_the_dump() {
    let fixture = Fixture::new();
    let core = fixture.path("vmcore");
    // elf_prstatus of i386, elf_prpsinfo, and a task_struct.
    let notes = [
        core_note(1, &[0; 144]),
        core_note(3, &[0; 124]),
        core_note(4, &[0; 1500]),
    ]
    .concat();
    const EM_386: u16 = 3;
    for wide in [false, true] {
        for virtual_address in [0, 0xc000_0000] {
            let class = (wide, EM_386);
            write_netdump(&core, &fixture.memory(), class, virtual_address, &notes);
            assert_same(&[text(&core)], &[]);
        }
    }
    // The crash ended netdump before it had sent everything.
    let file = fs::File::options().write(true).open(&core);
    file.and_then(|file| file.set_len(3 << 20))
        .expect("it can be cut");
    let output = run("ps", &[text(&core)], &["-T"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("is truncated: at least"), "{error}");
}

#[test]
fn a_memory_limit_is_kept_and_reported() {
    let fixture = Fixture::new();
    let flat = fixture.path("flat");
    write_flattened(&flat, &fixture.core);
    assert_same(&[text(&flat)], &[]);
    assert_same(&[text(&flat)], &["--memory-limit", "16M"]);
    // A mapped file needs none.
    assert_same(&[text(&fixture_vmcore())], &["--memory-limit", "1"]);
    let needed = (1..)
        .find(|pages| {
            let limit = format!("{}K", pages * 4);
            let output = run("ps", &[text(&flat)], &["-T", "--memory-limit", &limit]);
            if output.status.success() {
                return true;
            }
            let error = String::from_utf8_lossy(&output.stderr);
            let bytes = pages * 4096;
            assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
            let says = format!("the memory limit of {bytes} bytes was reached");
            assert!(error.contains(&says), "{}", shown(&output));
            if !output.stdout.is_empty() {
                assert!(error.contains("the memory limit is reached"), "{error}");
                assert!(error.contains("could not be read:"), "{error}");
            }
            false
        })
        .expect("it ends");
    assert!((5..150).contains(&needed), "{needed} pages");
    for bad in ["", "x", "1.5G", "5MB", "-3"] {
        let limit = format!("--memory-limit={bad}");
        let output = run("ps", &[text(&flat)], &[&limit]);
        assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn vmcoreinfo_files_that_are_none_are_refused() {
    let fixture = Fixture::new();
    let file = fixture.path("info");
    for (contents, words) in [
        (vec![], "no VMCOREINFO"),
        (b"hello\n".to_vec(), "no VMCOREINFO"),
        (vec![b'a'; 1 << 17], "too large"),
    ] {
        fs::write(&file, contents).expect("there is room");
        let output = run(
            "ps",
            &[text(&fixture_vmcore())],
            &["--vmcoreinfo", text(&file)],
        );
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
        assert!(
            error.starts_with("error: ") && error.contains(words),
            "{error}"
        );
    }
    fs::write(&file, "OSRELEASE=2.6.9-kstruct\n").expect("there is room");
    assert_same(&[text(&fixture_vmcore())], &["--vmcoreinfo", text(&file)]);
}

//! A real dump that is damaged in thousands of ways, through every analyzer: each ends soon, within its memory, with an answer or an error.
//!
//! `cargo xtask test --lab` runs it. `KSTRUCT_CASES=20000` makes it longer.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use kstruct::{Dump, EM_X86_64, KernelInfo, Memory};
use tests::machine::Machine;
use tests::{Random, lab_machines, read_json, root, shown, text, xtask};
use wait4::Wait4 as _;

/// No analyzer may take longer, whatever is in the dump.
const SOON: Duration = Duration::from_secs(10);
/// What analyzers are told to keep to, and what they may take altogether: with the program itself and what it maps of a small file.
const LIMIT: &str = "--memory-limit=64M";
const MOST_MEMORY: u64 = 256 << 20;
const PAGE: u64 = 4096;

const ANALYZERS: &[(&str, &[&str])] = &[
    ("ps", &["-T"]),
    ("ps", &["--files"]),
    ("netdev", &[]),
    ("netdev", &["--details", "--packets"]),
    ("struct", &["task_struct", "--list", "tasks", "init_task"]),
    (
        "struct",
        &["pid", "--idr", "init_pid_ns.idr", "-m", "numbers,count"],
    ),
    ("sym", &["-q", "task"]),
    ("route", &["--format=json"]),
    ("netstat", &["--devices"]),
    ("softnet", &[]),
    ("netns", &[]),
    ("tcp", &["-tanpieom"]),
    ("tcpcheck", &[]),
    ("sockets", &[]),
    ("crashinfo", &["--format=json"]),
    ("crashinfo", &["summary", "log", "modules", "memory"]),
    (
        "netfilter",
        &["iptables", "nft", "hooks", "conntrack", "counts"],
    ),
];

/// A damaged file and what analyzers made of it.
struct Subject {
    release: String,
    /// As it was, and as it is.
    sound: File,
    path: PathBuf,
    file: File,
    /// What the analyzers print of it when it is sound.
    expected: Vec<Vec<u8>>,
    /// Whether what is read takes memory.
    is_compressed: bool,
}

/// How many cases ended how.
#[derive(Default, Debug)]
struct Ends {
    /// As if nothing had been damaged.
    same: u32,
    /// With another answer, and no fault: a number that was changed is still a number.
    other: u32,
    /// With what could be read, and faults.
    faults: u32,
    /// With an error.
    refused: u32,
}

impl Subject {
    fn new(folder: &Path, name: &str, sound: &Path, release: &str, is_compressed: bool) -> Self {
        let path = folder.join(name);
        fs::copy(sound, &path).expect("there is room for a copy");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(&path, mode).expect("it is ours");
        let file = File::options().read(true).write(true).open(&path);
        let mut subject = Subject {
            release: release.to_owned(),
            sound: File::open(sound).expect("it is there"),
            file: file.expect("it is ours"),
            path,
            expected: Vec::new(),
            is_compressed,
        };
        for analyzer in ANALYZERS.iter().copied() {
            let (code, output) = subject.run(analyzer, "undamaged");
            assert_eq!(
                code,
                0,
                "{}: {}",
                analyzer.0,
                String::from_utf8_lossy(&output)
            );
            subject.expected.push(output);
        }
        subject
    }

    /// Runs an analyzer: its exit status, which is 0 or 2, and what it printed.
    fn run(&self, (analyzer, options): (&str, &[&str]), what: &str) -> (i32, Vec<u8>) {
        let program = root()
            .join("target/analyzers")
            .join(&self.release)
            .join(analyzer);
        let [stdout, stderr] = [(); 2].map(|()| tempfile::tempfile().expect("there is room"));
        let pipe = |file: &File| Stdio::from(file.try_clone().expect("a file can be shared"));
        let mut child = Command::new(&program)
            .arg("--core")
            .arg(&self.path)
            .arg(LIMIT)
            .args(options)
            .stdin(Stdio::null())
            .stdout(pipe(&stdout))
            .stderr(pipe(&stderr))
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        // It is killed if it doesn't end, and then has no exit code.
        let id = child.id().to_string();
        let (ended, end) = mpsc::channel::<()>();
        let watch = std::thread::spawn(move || {
            if end.recv_timeout(SOON) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = Command::new("kill").args(["-9", &id]).status();
            }
        });
        let result = child.wait4().expect("it was started here");
        drop(ended);
        watch.join().expect("it only waits");
        let [stdout, stderr] = [stdout, stderr].map(|file| {
            let mut bytes = vec![0; file.metadata().map_or(0, |data| data.len()) as usize];
            file.read_exact_at(&mut bytes, 0).expect("it can be read");
            bytes
        });
        let output = std::process::Output {
            status: std::process::ExitStatus::from_raw(result.status.into_raw()),
            stdout,
            stderr,
        };
        // A check that finds something has read all.
        let code = output.status.code().map(|code| {
            if analyzer == "tcpcheck" && code == 1 {
                0
            } else {
                code
            }
        });
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(
            matches!(code, Some(0 | 2)) && !told.contains("panicked at "),
            "{what}: {analyzer}: {}",
            shown(&output)
        );
        assert!(
            code == Some(0) || !told.is_empty() || !output.stdout.is_empty(),
            "{what}: {analyzer}: no word of what was wrong"
        );
        if self.is_compressed {
            let peak = result.rusage.maxrss;
            assert!(peak < MOST_MEMORY, "{what}: {analyzer}: {peak} bytes");
        }
        (code.unwrap_or(2), output.stdout)
    }

    /// Runs the first analyzers, and some of the others by turns: all of them for each case would take as many minutes as there are.
    fn examine(&self, case: u64, what: &str, ends: &mut Ends) {
        const ALWAYS: usize = 3;
        const TURNS: u64 = 4;
        for (index, (analyzer, expected)) in ANALYZERS.iter().zip(&self.expected).enumerate() {
            if index >= ALWAYS && !(index as u64 + case).is_multiple_of(TURNS) {
                continue;
            }
            match self.run(*analyzer, what) {
                (0, output) if output == *expected => ends.same += 1,
                (0, _) => ends.other += 1,
                (_, output) if output.is_empty() => ends.refused += 1,
                _ => ends.faults += 1,
            }
        }
    }

    fn len(&self) -> u64 {
        self.sound.metadata().expect("it is there").len()
    }

    fn bytes(&self, at: u64, length: u64) -> Vec<u8> {
        let mut bytes = vec![0; length.min(self.len() - at) as usize];
        self.sound
            .read_exact_at(&mut bytes, at)
            .expect("it is in the file");
        bytes
    }

    fn word(&self, at: u64) -> u64 {
        let bytes = self.bytes(at, 8);
        u64::from_le_bytes(bytes.try_into().unwrap_or_default())
    }

    fn write(&self, at: u64, bytes: &[u8], damaged: &mut Vec<(u64, u64)>) {
        let length = (bytes.len() as u64).min(self.len() - at);
        let written = self.file.write_all_at(&bytes[..length as usize], at);
        written.expect("there is room");
        damaged.push((at, length));
    }

    /// Makes it sound again.
    fn heal(&self, damaged: &[(u64, u64)]) {
        let now = self.file.metadata().expect("it is there").len();
        self.file.set_len(self.len()).expect("there is room");
        let cut = (now < self.len()).then(|| (now, self.len() - now));
        for (at, length) in damaged.iter().copied().chain(cut) {
            for skip in (0..length).step_by(1 << 20) {
                let bytes = self.bytes(at + skip, (length - skip).min(1 << 20));
                let written = self.file.write_all_at(&bytes, at + skip);
                written.expect("there is room");
            }
        }
    }
}

/// What stands where something was deleted, freed or never was.
const VALUES: [u64; 8] = [
    0,
    1,
    u64::MAX,
    0xdead_0000_0000_0100,
    0xdead_0000_0000_0122,
    0x6b6b_6b6b_6b6b_6b6b,
    1 << 63,
    0x7fff_ffff_ffff_f000,
];

/// Damages one place in some way; says what it did.
fn damage(
    subject: &Subject,
    places: &[u64],
    random: &mut Random,
    damaged: &mut Vec<(u64, u64)>,
) -> String {
    let length = subject.len();
    // Mostly near what analyzers read, and anywhere else.
    let mut place = || {
        let any = random.next() % (length - 8);
        let at = match random.next() % 4 {
            0 => any,
            _ => {
                let near = places[random.next() as usize % places.len()];
                near + random.next() % 10_000
            }
        };
        at.min(length - 8) & !7
    };
    let (at, other) = (place(), place());
    match random.next() % 8 {
        0 | 1 => {
            let bits = 1 + random.next() % 8;
            let word = (0..bits).fold(subject.word(at), |word, _| word ^ 1 << (random.next() % 64));
            subject.write(at, &word.to_le_bytes(), damaged);
            format!("{bits} bits at {at:#x}")
        }
        2 => {
            let value = VALUES[random.next() as usize % VALUES.len()];
            subject.write(at, &value.to_le_bytes(), damaged);
            format!("{value:#x} at {at:#x}")
        }
        3 | 4 => {
            // A pointer becomes another one: loops, and lists that flow into each other.
            let is_pointer = |at: &u64| subject.word(*at) >> 48 >= 0xff00;
            let next = |from: u64| {
                (from..(from + 4096).min(length - 8))
                    .step_by(8)
                    .find(is_pointer)
            };
            let (to, from) = (next(at).unwrap_or(at), next(other).unwrap_or(other));
            let value = subject.word(from).wrapping_add(random.next() % 3 * 8);
            subject.write(to, &value.to_le_bytes(), damaged);
            format!("pointer at {to:#x} is that at {from:#x}, {value:#x}")
        }
        5 => {
            let (one, two) = (at / PAGE * PAGE, other / PAGE * PAGE);
            let pages = [subject.bytes(one, PAGE), subject.bytes(two, PAGE)];
            subject.write(one, &pages[1], damaged);
            subject.write(two, &pages[0], damaged);
            format!("pages at {one:#x} and {two:#x} in each other's place")
        }
        6 => {
            let size = 8 << (random.next() % 8);
            let bytes: Vec<u8> = (0..size).map(|_| random.next() as u8).collect();
            subject.write(at, &bytes, damaged);
            format!("noise over {size} bytes at {at:#x}")
        }
        _ => {
            // Of a large file the last part, so that it is made whole again soon.
            let least = if subject.is_compressed {
                0
            } else {
                length - (4 << 20)
            };
            let to = least + random.next() % (length - least);
            subject.file.set_len(to).expect("it can be cut");
            format!("cut at {to:#x}")
        }
    }
}

fn damage_often(subject: &Subject, places: &[u64], cases: u64, seed: u64) -> Ends {
    let mut ends = Ends::default();
    for case in 0..cases {
        let mut random = Random::new(seed ^ case);
        let mut damaged = Vec::new();
        let count = 1 + random.next() % 3;
        let what: Vec<String> = (0..count)
            .map(|_| damage(subject, places, &mut random, &mut damaged))
            .collect();
        subject.examine(
            case,
            &format!("case {case} of {seed:#x}: {}", what.join("; ")),
            &mut ends,
        );
        subject.heal(&damaged);
    }
    ends
}

/// Where in an ELF dump the structs lie whose addresses analyzers print.
fn places(subject: &Subject) -> Vec<u64> {
    let dump = Dump::open(&subject.path).expect("it opens");
    let banner = dump.scan_banner().expect("it has one");
    let kernel = KernelInfo {
        release: subject.release.clone().leak(),
        banner: banner.leak(),
        ..Machine::new(EM_X86_64).info
    };
    let memory = Memory::of_dump(dump, Box::leak(Box::new(kernel)), false).expect("it is found");
    let head = subject.bytes(0, 64 << 10);
    let uint = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("8 bytes"));
    let count = usize::from(u16::from_le_bytes([head[56], head[57]]));
    let segments: Vec<usize> = (0..count)
        .map(|index| uint(32) as usize + 56 * index)
        .collect();
    let in_file = |physical: u64| {
        segments.iter().find_map(|segment| {
            let skip = physical.checked_sub(uint(segment + 24))?;
            (head[*segment] == 1 && skip < uint(segment + 32)).then(|| uint(segment + 8) + skip)
        })
    };
    let printed = subject.expected.concat();
    let words = printed.split(|byte| !byte.is_ascii_hexdigit());
    let places: Vec<u64> = words
        .filter(|word| word.len() == 16 && word.starts_with(b"ff"))
        .filter_map(|word| u64::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok())
        .filter_map(|address| in_file(memory.physical_address(address).ok()?))
        .collect();
    assert!(places.len() > 100, "{places:?}");
    places
}

/// Damages each page of a compressed dump, many at a time: who says that all is well must say what is said of the sound one.
fn miss_pages(subject: &Subject) {
    const AT_ONCE: u64 = 128;
    const DESCRIPTOR: u64 = 24;
    // Behind the header, the second one and the bitmaps (makedumpfile's `struct disk_dump_header`).
    let block = |at: u64| subject.word(at) as u32;
    let table = PAGE * u64::from(1 + block(432) + block(436));
    let data = subject.word(table);
    assert!(data > table && data < subject.len(), "{table:#x} {data:#x}");
    let count = (data - table) / DESCRIPTOR;
    let is_silent = |analyzer: usize, pages: std::ops::Range<u64>| {
        let (code, output) = subject.run(ANALYZERS[analyzer], &format!("pages {pages:?}"));
        code == 0 && output != subject.expected[analyzer]
    };
    let damage = |pages: std::ops::Range<u64>| {
        let mut damaged = Vec::new();
        for page in pages {
            // No page is compressed to so little.
            let size = table + page * DESCRIPTOR + 8;
            subject.write(size, &10_u32.to_le_bytes(), &mut damaged);
        }
        damaged
    };
    let mut silent = Vec::new();
    for first in (0..count).step_by(AT_ONCE as usize) {
        let pages = first..count.min(first + AT_ONCE);
        let damaged = damage(pages.clone());
        for (analyzer, (name, options)) in ANALYZERS.iter().enumerate() {
            if is_silent(analyzer, pages.clone()) {
                silent.push(format!("{name} {options:?}: pages {pages:?}"));
            }
        }
        subject.heal(&damaged);
    }
    println!("{count} pages that can't be read, {AT_ONCE} at a time");
    assert!(count > 10_000, "{count}");
    assert_eq!(silent, [""; 0], "other answers without a word");
}

#[test]
fn a_damaged_dump_ends_no_analyzer() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("damage");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("it can be made");
    let machine = |how| lab_machines(&[how]).pop().expect("there is one");
    let (stopped, crashed) = (machine("stop"), machine("panic"));
    // Debian's makedumpfile knows this one: of newer kernels it leaves out what it must not.
    let levels = |machine: &PathBuf| read_json(&machine.join("lab.json"))["levels"].as_u64();
    let older = lab_machines(&["panic"]).into_iter().min_by_key(levels);
    let older = older.expect("there is one");
    let release = |machine: &Path| text(&read_json(&machine.join("lab.json"))["release"]);
    let releases = BTreeMap::from([
        ("elf", release(&stopped)),
        ("kdump", release(&crashed)),
        ("filtered", release(&older)),
    ]);
    for release in releases.values() {
        let mut args = vec!["build", "--kernel", release];
        let mut analyzers: Vec<&str> = ANALYZERS.iter().map(|(analyzer, _)| *analyzer).collect();
        // One is there with several options, one behind the other.
        analyzers.dedup();
        args.extend(analyzers);
        let output = xtask(&args);
        assert!(output.status.success(), "{}", shown(&output));
    }
    let [kdump, filtered] = [("-d1", &crashed), ("-d31", &older)].map(|(level, machine)| {
        let kdump = folder.join(format!("sound{level}"));
        let output = Command::new("makedumpfile")
            .args(["-c", level])
            .args([&machine.join("vmcore"), &kdump])
            .output()
            .expect("makedumpfile is there");
        assert!(output.status.success(), "{}", shown(&output));
        kdump
    });
    let elf = Subject::new(
        &folder,
        "elf",
        &stopped.join("vmcore"),
        &releases["elf"],
        false,
    );
    let kdump = Subject::new(&folder, "kdump", &kdump, &releases["kdump"], true);
    let filtered = Subject::new(&folder, "filtered", &filtered, &releases["filtered"], true);

    let cases = match std::env::var("KSTRUCT_CASES") {
        Ok(number) => number.parse().expect("KSTRUCT_CASES is a number"),
        Err(_) => 2000,
    };
    let in_memory = places(&elf);
    // Headers, bitmaps and descriptors, and some pages.
    let in_headers: Vec<u64> = (0..64).map(|index| index * 8192).collect();
    let all = std::thread::scope(|scope| {
        let elf = scope.spawn(|| damage_often(&elf, &in_memory, cases / 2, 0xe1f));
        let kdump = scope.spawn(|| damage_often(&kdump, &in_headers, cases - cases / 2, 0xd0c));
        [("ELF", elf), ("kdump", kdump)].map(|(name, ends)| (name, ends.join()))
    });
    miss_pages(&filtered);
    for (name, ends) in all {
        let ends = ends.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        println!("{name}: {ends:?}");
        // The damage is where it is seen.
        let seen = ends.other + ends.faults + ends.refused;
        assert!(u64::from(seen) > cases / 10, "{name}: {ends:?}");
        assert!(u64::from(ends.faults) > cases / 20, "{name}: {ends:?}");
    }
    fs::remove_dir_all(&folder).expect("it was made here");
}

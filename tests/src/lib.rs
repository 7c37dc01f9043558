//! What the tests share: where things are, and how to run them.
#![forbid(unsafe_code)]

pub mod compare;
pub mod elf;
pub mod fuzz;
pub mod generated;
pub mod images;
pub mod machine;
pub mod procfs;
mod random;
mod synthetic;
pub mod types;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

pub use random::Random;
pub use synthetic::{LARGE, PRESENT, PROTNONE, Page, Synthetic};

/// The top of the work tree.
pub fn root() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .canonicalize()
        .expect("the tests lie in the work tree")
}

/// The Rust sources in a folder and those below it, in order.
pub fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the work tree is there");
    let mut entries: Vec<PathBuf> = entries
        .map(|entry| entry.expect("it can be listed").path())
        .collect();
    entries.sort();
    let mut files = Vec::new();
    for path in entries {
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The fixture's kernel.
pub fn fixture_vmlinux() -> PathBuf {
    root().join("tests/fixture/vmlinux-2.6.9")
}

/// The fixture's modules, in the order of their names.
pub fn fixture_modules() -> Vec<PathBuf> {
    let folder = root().join("tests/fixture/modules-debug");
    let files = std::fs::read_dir(&folder).expect("the fixture is there");
    let mut files: Vec<PathBuf> = files
        .map(|file| file.expect("the fixture is there").path())
        .collect();
    files.sort();
    files
}

/// The fixture's dump.
pub fn fixture_vmcore() -> PathBuf {
    root().join("tests/fixture/vmcore-2.6.9")
}

/// `cargo xtask`, as users run it.
pub fn xtask(args: &[&str]) -> Output {
    Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["run", "--quiet", "--release", "--package", "xtask", "--"])
        .args(args)
        .output()
        .expect("cargo runs")
}

/// Examples of this package, built against a folder of bindings of a kernel of the lab. What knows no kernel is compiled
/// once for all kernels and examples.
pub fn build_examples<const N: usize>(
    names: [&str; N],
    release: &str,
    bindings: &Path,
    environment: &[(&str, &str)],
) -> [PathBuf; N] {
    // Not among the kernels' target directories, which begin with what the last one has.
    let target = root().join("target/lab/examples");
    let output = Command::new(env!("CARGO"))
        .current_dir(root())
        .env("KSTRUCT_KERNEL", bindings)
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_INCREMENTAL", "0")
        .envs(environment.iter().copied())
        .args(["build", "--quiet", "--release", "--package=tests"])
        .arg("--features=lab")
        .args(names.iter().flat_map(|name| ["--example", name]))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", shown(&output));
    // The next kernel's take their places.
    names.map(|name| {
        let program = target.join(format!("{name}-{release}"));
        let _ = std::fs::remove_file(&program);
        std::fs::copy(target.join("release/examples").join(name), &program)
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        program
    })
}

/// A program of this workspace, built for the fixture's kernel with checks for overflow: `xtask`, `ps`, `netdev`, `struct`, `sym`.
pub fn built(program: &str) -> &'static Path {
    static BUILT: LazyLock<Vec<PathBuf>> = LazyLock::new(|| {
        let output = Command::new(env!("CARGO"))
            .current_dir(root())
            .env_remove("KSTRUCT_KERNEL")
            .args([
                "build",
                "--quiet",
                "--message-format=json-render-diagnostics",
            ])
            .args(["--package=xtask", "--package=ps", "--package=netdev"])
            .args(["--package=structs", "--package=tests", "--bins", "--lib"])
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{}", shown(&output));
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| {
                let message: serde_json::Value = serde_json::from_str(line).ok()?;
                Some(PathBuf::from(message.get("executable")?.as_str()?))
            })
            .collect()
    });
    match BUILT.iter().find(|path| path.ends_with(program)) {
        Some(path) => path,
        None => panic!("cargo built {BUILT:?}, and no {program}"),
    }
}

/// Compiles C with debug information into an ELF file in a folder.
pub fn compile_c(folder: &Path, name: &str, source: &str) -> PathBuf {
    let (from, to) = (folder.join(format!("{name}.c")), folder.join(name));
    std::fs::write(&from, source).expect("it can be written");
    let output = Command::new("gcc")
        .args(["-g", "-O1", "-fno-pie", "-no-pie", "-nostdlib", "-static"])
        .args(["-fms-extensions", "-Wl,-e0", "-Wl,--build-id=sha1", "-o"])
        .args([&to, &from])
        .output()
        .unwrap_or_else(|error| panic!("this test compiles C, and gcc can't be run: {error}"));
    assert!(output.status.success(), "{}", shown(&output));
    to
}

/// Runs a program that must end by itself within some seconds.
pub fn run_soon(program: &Path, args: &[&str], most: Duration) -> Output {
    let outputs = [(); 2].map(|()| tempfile::tempfile().expect("there is room for a small file"));
    let [stdout, stderr] = outputs.each_ref().map(|file| {
        let file = file.try_clone().expect("a file can be shared");
        Stdio::from(file)
    });
    let mut child = Command::new(program)
        .args(args)
        .current_dir(root())
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("it was started here") {
            break status;
        }
        if start.elapsed() > most {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{} {args:?} still runs after {most:?}", program.display());
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let [stdout, stderr] = outputs.map(|mut file| {
        use std::io::{Read as _, Seek as _};
        let mut bytes = Vec::new();
        file.rewind().expect("it is a file");
        file.read_to_end(&mut bytes).expect("it can be read");
        bytes
    });
    Output {
        status,
        stdout,
        stderr,
    }
}

/// What a program printed, for messages of assertions: of a long report the end, where its faults are.
pub fn shown(output: &Output) -> String {
    const MOST: usize = 20_000;
    let [stdout, stderr] = [&output.stdout, &output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(MOST)..]));
    format!(
        "{}\n--- stdout\n{stdout}\n--- stderr\n{stderr}",
        output.status
    )
}

/// What an analyzer prints as JSON of a dump, by `cargo xtask run`. Fails if it could not read everything.
pub fn analyze(analyzer: &str, core: &Path, options: &[&str]) -> serde_json::Value {
    let core = core.to_str().expect("paths here are UTF-8");
    let mut args = vec!["run", analyzer, "--core", core, "--", "--format", "json"];
    args.extend(options);
    let output = xtask(&args);
    assert!(output.status.success(), "{analyzer}: {}", shown(&output));
    let report: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("the analyzer prints JSON");
    assert_eq!(report["fault_count"], 0, "{}", report["faults"]);
    report
}

/// The folders of the lab's machines that became one of these: `stop`, `panic`, `live`, `crowd`.
pub fn lab_machines(how: &[&str]) -> Vec<PathBuf> {
    let list =
        std::env::var("KSTRUCT_LAB_MACHINES").expect("run these tests by `cargo xtask test --lab`");
    let became = |folder: &PathBuf| {
        let lab = read_json(&folder.join("lab.json"));
        how.contains(&lab["how"].as_str().unwrap_or("stop"))
    };
    let mut machines: Vec<PathBuf> = list.split(':').map(PathBuf::from).collect();
    machines.retain(became);
    machines
}

/// The kernel's workers that were idle when a machine recorded itself, and that the dump of its panic has on a run queue
/// (`task_struct.on_rq`, which is another word than the state): a timer woke them while /proc/sysrq-trigger printed to the
/// serial line. That is rare, since the recorder panics between two of the clock's ticks, and no more than two are believed.
/// None where a machine didn't panic.
pub fn woken_workers(folder: &Path) -> BTreeSet<u64> {
    const WORKER: u64 = 0x20; // PF_WQ_WORKER
    const QUEUED: u64 = 1; // TASK_ON_RQ_QUEUED
    const MOST: usize = 2;
    if read_json(&folder.join("lab.json"))["how"] != "panic" {
        return BTreeSet::new();
    }
    let number = |value: &serde_json::Value| value.as_u64().expect("a number");
    let list = "--list tasks sym:init_task -m pid,on_rq";
    let mut options = vec!["task_struct"];
    options.extend(list.split(' '));
    let report = analyze("struct", &folder.join("vmcore"), &options);
    let queued: BTreeSet<u64> = array(&report["structs"])
        .iter()
        .filter(|task| number(&task["value"]["on_rq"]) == QUEUED)
        .map(|task| number(&task["value"]["pid"]))
        .collect();
    let woken: BTreeSet<u64> = array(&read_json(&folder.join("truth/tasks.json")))
        .iter()
        .filter(|task| number(&task["flags"]) & WORKER != 0 && task["state"] == "I")
        .map(|task| number(&task["tid"]))
        .filter(|tid| queued.contains(tid))
        .collect();
    println!(
        "{}: {} of {} tasks on run queues are workers that were woken after the recording: {woken:?}",
        folder.display(),
        woken.len(),
        queued.len()
    );
    assert!(woken.len() <= MOST);
    woken
}

/// The elements of a JSON array; fails if it is none.
pub fn array(value: &serde_json::Value) -> &Vec<serde_json::Value> {
    value
        .as_array()
        .unwrap_or_else(|| panic!("not an array: {value}"))
}

/// A JSON value as text: strings without quotes.
pub fn text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(string) => string.clone(),
        value => value.to_string(),
    }
}

/// Reads a JSON file.
pub fn read_json(path: &Path) -> serde_json::Value {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A file of this name, or compressed with xz, somewhere below a folder.
pub fn find_file(folder: &Path, name: &str) -> Option<PathBuf> {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    entries.sort();
    entries.iter().find_map(|path| {
        if path.is_dir() && !path.is_symlink() {
            return find_file(path, name);
        }
        let file = path.file_name()?.to_str()?;
        (file == name || file.strip_suffix(".xz") == Some(name)).then(|| path.clone())
    })
}

/// TCP's states by number (include/net/tcp_states.h), as `ss` names them.
pub const TCP_STATES: [&str; 13] = [
    "",
    "ESTAB",
    "SYN-SENT",
    "SYN-RECV",
    "FIN-WAIT-1",
    "FIN-WAIT-2",
    "TIME-WAIT",
    "UNCONN",
    "CLOSE-WAIT",
    "LAST-ACK",
    "LISTEN",
    "CLOSING",
    "SYN-RECV",
];

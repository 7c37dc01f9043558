//! Containers of real kernels, walked in their dumps, against what each kernel said of itself a moment before, and against each
//! other: what is allocated in a slab cache must be what the lists and trees of such objects have.
//!
//! `cargo xtask test --lab` boots the machines and names them in `KSTRUCT_LAB_MACHINES`.

mod clocks;
mod frames;
mod subject;
mod tables;
mod tcpcheck;
mod waits;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use serde_json::Value;
use tests::{array, build_examples, lab_machines, read_json, root, shown, text, xtask};

/// Real containers that were damaged: a walk ends, and mostly says so. A name with other letters, or an object that is free but
/// isn't on the list any more, nobody can see.
#[test]
fn damaged_containers_end() {
    for folder in lab_machines(&["stop"]) {
        let release = text(&read_json(&folder.join("lab.json"))["release"]);
        let copy =
            tempfile::NamedTempFile::new_in(root().join("target/lab")).expect("there is room");
        std::fs::copy(folder.join("vmcore"), copy.path()).expect("there is room for a copy");
        let mut permissions = copy
            .as_file()
            .metadata()
            .expect("it is there")
            .permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
        std::fs::set_permissions(copy.path(), permissions).expect("it is ours");
        let output = Command::new(build("damages", &release))
            .arg(copy.path())
            .output()
            .expect("it was built");
        assert!(output.status.success(), "{release}: {}", shown(&output));
        let found: Value = serde_json::from_slice(&output.stdout).expect("the example prints JSON");
        println!("{release}: {found}");
        for name in ["module_symbols", "vmap_areas", "slabs"] {
            let [damages, faults] = ["damages", "faults"].map(|count| found[name][count].as_u64());
            assert_eq!(damages, Some(1000), "{name}");
            assert!(faults > Some(50), "{name}: {faults:?}");
        }
    }
}

#[test]
fn containers_have_what_the_guest_says() {
    for folder in lab_machines(&["stop"]) {
        let release = text(&read_json(&folder.join("lab.json"))["release"]);
        let output = Command::new(build("containers", &release))
            .arg(folder.join("vmcore"))
            .output()
            .expect("it was built");
        assert!(output.status.success(), "{release}: {}", shown(&output));
        let found = serde_json::from_slice(&output.stdout).expect("the example prints JSON");
        println!("{release}:");
        let machine = Machine {
            found,
            truth: folder.join("truth"),
            after: folder.join("truth-after"),
        };
        machine.trees();
        machine.address_spaces();
        machine.numbers();
        machine.slabs();
        machine.pages();
        machine.vmalloc();
        machine.symbols();
        machine.frames();
        machine.timers();
        machine.clocks();
        machine.rings();
        machine.queues();
        machine.counts();
    }
}

/// One dump: what the example found in it, and what the guest said.
struct Machine {
    found: Value,
    truth: PathBuf,
    after: PathBuf,
}

impl Machine {
    fn system(&self, name: &str) -> String {
        read(&self.truth.join("system").join(name))
    }

    /// Red-black trees: all of sysfs; klists: the device model's, which sysfs shows. Lists backwards.
    fn trees(&self) {
        let caches: BTreeSet<String> = self
            .system("slab_sysfs")
            .lines()
            .map(|line| line.split('/').take(5).collect::<Vec<_>>().join("/"))
            .collect();
        assert_eq!(strings(&self.found["sysfs"]["caches"]), caches);
        let shown: BTreeSet<String> = self
            .system("module_sections")
            .lines()
            .filter_map(|line| Some(line.rsplit_once(':')?.0.to_owned()))
            .collect();
        let sections = strings(&self.found["sysfs"]["sections"]);
        assert!(
            shown.is_subset(&sections),
            "{:?}",
            shown.difference(&sections)
        );
        let nodes = &self.found["sysfs"]["nodes"];
        assert!(nodes.as_u64() > Some(10_000), "{nodes}");

        let buses = self.found["buses"].as_object().expect("an object");
        let mut devices = 0;
        for (name, bus) in buses {
            assert_eq!(bus["klist"], bus["sysfs"], "{name}");
            devices += array(&bus["klist"]).len();
        }
        assert!(buses.len() > 10 && devices > 50);
        assert_eq!(self.found["backwards"], true);
        println!(
            "  sysfs: {} caches, {} of {} sections, {nodes} nodes in all; {devices} devices on {} klists",
            caches.len(),
            shown.len(),
            sections.len(),
            buses.len()
        );
    }

    /// Maple trees: each line of each /proc/PID/maps.
    fn address_spaces(&self) {
        let found = self.found["vmas"].as_object().expect("an object");
        let mut expected = BTreeMap::new();
        for process in std::fs::read_dir(self.truth.join("proc")).expect("it was recorded") {
            let process = process.expect("it can be listed");
            let lines: Vec<String> = read(&process.path().join("maps"))
                .lines()
                // It is no mapping, but shown in each.
                .filter(|line| !line.ends_with("[vsyscall]"))
                .map(|line| line.split(' ').take(3).collect::<Vec<_>>().join(" "))
                .collect();
            if !lines.is_empty() {
                expected.insert(process.file_name().into_string().expect("a number"), lines);
            }
        }
        let count: usize = expected.values().map(Vec::len).sum();
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            expected.keys().collect::<Vec<_>>()
        );
        for (process, lines) in &expected {
            let found: Vec<String> = array(&found[process]).iter().map(text).collect();
            assert_eq!(&found, lines, "maps of {process}");
        }
        assert!(count > 300, "{count}");
        println!("  {count} lines of {} /proc/PID/maps", expected.len());
    }

    /// IDR: the pids of all threads. IDA: mount ids. Radix or maple tree: interrupts.
    fn numbers(&self) {
        let tids: BTreeSet<u64> = array(&read_json(&self.truth.join("tasks.json")))
            .iter()
            .filter_map(|task| task["tid"].as_u64())
            .collect();
        let pids = array(&self.found["pids"]);
        let of_threads: BTreeSet<u64> = pids
            .iter()
            .filter(|pid| pid[1] == true)
            .filter_map(|pid| pid[0].as_u64())
            .collect();
        assert_eq!(of_threads, tids);

        let mounts = &self.found["mount_ids"];
        assert_eq!(mounts["ida"], mounts["mounts"]);
        assert_eq!(mounts["faults"], 0);
        let ids = numbers(&mounts["ida"]);
        let mut shown = BTreeSet::new();
        for process in std::fs::read_dir(self.truth.join("proc")).expect("it was recorded") {
            let path = process.expect("it can be listed").path().join("mountinfo");
            // A zombie has none.
            let text = std::fs::read_to_string(path).unwrap_or_default();
            shown.extend(text.lines().filter_map(|line| {
                let number = line.split(' ').next()?;
                number.parse::<u64>().ok()
            }));
        }
        assert!(!shown.is_empty() && shown.is_subset(&ids));

        let descriptors = numbers(&self.found["irqs"]);
        let interrupts: BTreeSet<u64> = self
            .system("interrupts")
            .lines()
            .filter_map(|line| line.split_once(':')?.0.trim().parse().ok())
            .collect();
        // Those that nobody asked for are not shown.
        assert!(!interrupts.is_empty() && interrupts.is_subset(&descriptors));
        println!(
            "  {} pids, {} mount ids ({} shown), {} interrupts ({} shown)",
            tids.len(),
            ids.len(),
            shown.len(),
            descriptors.len(),
            interrupts.len()
        );
    }

    /// Each line of /proc/slabinfo that is the same before and after the dump; and the objects themselves.
    fn slabs(&self) {
        let found = self.found["slabinfo"].as_object().expect("an object");
        let before = slabinfo(&self.system("slabinfo"));
        let after = slabinfo(&read(&self.after.join("system/slabinfo")));
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            before.keys().collect::<Vec<_>>()
        );
        let (mut same, mut objects) = (0, 0);
        for (name, line) in &before {
            let cache = &found[name];
            // By the counters and by looking at all pages.
            assert_eq!(cache["in_pages"], cache["total"], "{name}");
            assert_eq!(cache["slab_pages"], cache["slabs"], "{name}");
            assert_eq!(cache["faults"], 0, "{name}: lists of free objects");
            assert!(
                cache["allocated"].as_u64() <= cache["active"].as_u64(),
                "{name}"
            );
            objects += cache["allocated"].as_u64().unwrap_or(0);
            if after.get(name) == Some(line) {
                let counts = ["active", "total", "slabs"].map(|count| cache[count].as_u64());
                assert_eq!(counts, line.map(Some), "{name}");
                same += 1;
            }
        }
        assert!(same > 150, "{same} of {}", before.len());
        println!(
            "  {same} of {} caches stood still and are equal; {objects} objects are allocated",
            before.len()
        );
        for name in ["task_structs", "vm_area_structs", "dentries"] {
            let both = &self.found[name];
            assert_eq!(both["faults"], 0, "{name}: {both}");
            assert_eq!(
                both["only_walked"],
                Value::Array(Vec::new()),
                "{name}: {both}"
            );
            assert_eq!(
                both["only_allocated"],
                Value::Array(Vec::new()),
                "{name}: {both}"
            );
            println!(
                "  {} {name} are allocated, and all were walked",
                both["allocated"]
            );
        }
        assert!(self.found["hashed_dentries"].as_u64() > Some(1000));
    }

    /// The page cache, per inode as the mapping counts; what all memory is promised, exactly as meminfo shows it.
    fn pages(&self) {
        let cache = &self.found["page_cache"];
        assert_eq!(cache["differ"], Value::Array(Vec::new()), "{cache}");
        assert_eq!(cache["walked"], cache["counted"]);
        let meminfo = self.system("meminfo");
        let kilobytes = |name: &str| -> u64 {
            let line = meminfo.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().nth(1));
            number
                .and_then(|number| number.parse().ok())
                .expect("a number")
        };
        // The lab has neither swap nor block devices with files: the cache is what files have.
        let pages = cache["walked"].as_u64().expect("a number");
        assert_eq!(pages * 4, kilobytes("Cached") + kilobytes("Buffers"));
        let committed = self.found["committed"]["exact"].as_u64().expect("a number");
        assert_eq!(committed * 4, kilobytes("Committed_AS"));
        println!(
            "  {pages} pages of {} files; {committed} pages committed; flags: {}",
            cache["inodes"], self.found["page_flags"]
        );
    }

    /// Size and caller of each area; the addresses are hashed in what the guest shows.
    fn vmalloc(&self) {
        let mut found: Vec<String> = array(&self.found["vmalloc"]).iter().map(text).collect();
        let mut shown: Vec<String> = self
            .system("vmallocinfo")
            .lines()
            .map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                let caller = words[2].split('/').next().unwrap_or_default();
                format!("{} {caller}", words[1])
            })
            .collect();
        found.sort();
        shown.sort();
        assert_eq!(found, shown);
        assert!(found.len() > 100);
        println!("  {} areas of vmalloc space", found.len());
    }

    /// Each line of /proc/kallsyms.
    fn symbols(&self) {
        let kallsyms = self.system("kallsyms");
        let (mut kernel, mut modules) = (Vec::new(), Vec::new());
        for line in kallsyms.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let address = u64::from_str_radix(words[0], 16).expect("an address");
            match words[3..] {
                [] => kernel.push((
                    address,
                    words[1].to_owned(),
                    words[2].to_owned(),
                    String::new(),
                )),
                // BPF programs and trampolines are no modules.
                ["[bpf]" | "[__builtin__ftrace]" | "[__builtin__kprobes]"] => {}
                [module] => modules.push((
                    address,
                    // Whether a module exports it is not in its table.
                    words[1].to_lowercase(),
                    words[2].to_owned(),
                    module.trim_matches(['[', ']']).to_owned(),
                )),
                _ => panic!("{line}"),
            }
        }
        let rows = |name: &str| -> Vec<(u64, String, String, String)> {
            array(&self.found[name])
                .iter()
                .map(|row| {
                    let module = row.get(3).map(text).unwrap_or_default();
                    (
                        row[0].as_u64().expect("an address"),
                        text(&row[1]),
                        text(&row[2]),
                        module,
                    )
                })
                .collect()
        };
        let found = rows("symbols");
        assert_eq!(found.len(), kernel.len());
        let different = found.iter().zip(&kernel).find(|(one, other)| one != other);
        assert_eq!(different, None);
        let mut found = rows("module_symbols");
        for row in &mut found {
            row.1.make_ascii_lowercase();
        }
        found.sort();
        modules.sort();
        assert_eq!(found.len(), modules.len());
        let different = found.iter().zip(&modules).find(|(one, other)| one != other);
        assert_eq!(different, None);
        println!(
            "  {} symbols of the kernel and {} of modules are /proc/kallsyms",
            kernel.len(),
            modules.len()
        );
    }
}

/// By name: active objects, all objects, slabs.
fn slabinfo(text: &str) -> BTreeMap<String, [u64; 3]> {
    text.lines()
        .skip(2)
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let numbers = [1, 2, 14].map(|at| words[at].parse().expect("a number"));
            (words[0].to_owned(), numbers)
        })
        .collect()
}

fn strings(value: &Value) -> BTreeSet<String> {
    array(value).iter().map(text).collect()
}

fn numbers(value: &Value) -> BTreeSet<u64> {
    array(value).iter().filter_map(Value::as_u64).collect()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// An analyzer for a kernel, which many damaged dumps are given to: `cargo xtask run` takes longer than it.
fn analyzer(release: &str, name: &str) -> PathBuf {
    let built = xtask(&["build", "--kernel", release, name]);
    assert!(built.status.success(), "{}", shown(&built));
    root().join("target/analyzers").join(release).join(name)
}

/// Builds an example against what both and the walkers that analyzers share name of a kernel.
fn build(example: &str, release: &str) -> PathBuf {
    /// The programs by kernel. Both are made at once: each kernel's bindings, and what is built on them, take longer than the programs.
    static BUILT: Mutex<BTreeMap<String, [PathBuf; 2]>> = Mutex::new(BTreeMap::new());
    const NAMES: [&str; 2] = ["containers", "damages"];
    let number = NAMES.iter().position(|name| *name == example);
    let number = number.expect("one of the two");
    // Tests of one program run at once.
    let mut built = BUILT.lock().expect("the other test built them");
    if let Some(programs) = built.get(release) {
        return programs[number].clone();
    }
    let folder = root().join("target/lab/containers").join(release);
    let path = |path: &Path| path.to_str().expect("paths here are UTF-8").to_owned();
    let output = xtask(&[
        "gen",
        release,
        "--used-by",
        &path(&root().join("analyzers/linux/src")),
        "--used-by",
        &path(&root().join("tests/examples/containers")),
        "--used-by",
        &path(&root().join("tests/examples/damages")),
        "--into",
        &path(&folder),
    ]);
    assert!(output.status.success(), "{}", shown(&output));
    let programs = build_examples(NAMES, release, &folder, &[]);
    let program = programs[number].clone();
    built.insert(release.to_owned(), programs);
    program
}

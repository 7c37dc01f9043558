//! `crashinfo` on dumps of real kernels, against what each kernel said of itself a moment before the dump.
//!
//! `cargo xtask test --lab` boots the machines and names them in `KSTRUCT_LAB_MACHINES`. Each row and each column is
//! compared; what can't be the same is named here, one by one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;
use tests::compare::{Comparison, Row};
use tests::{analyze, array, lab_machines, read_json, text, woken_workers};

/// A machine that was dumped, and what `crashinfo` says of it.
struct Machine {
    name: String,
    /// `stop` or `panic`.
    how: String,
    /// Its kind: `amd64`, `i386-pae`, `arm64`.
    kind: String,
    folder: PathBuf,
    report: Value,
}

fn machines() -> Vec<Machine> {
    let machines: Vec<Machine> = lab_machines(&["stop", "panic"])
        .into_iter()
        .map(|folder| {
            let lab = read_json(&folder.join("lab.json"));
            let how = lab["how"].as_str().unwrap_or("stop").to_owned();
            Machine {
                name: format!("{} ({how})", text(&lab["release"])),
                how,
                kind: lab["machine"].as_str().unwrap_or("amd64").to_owned(),
                report: analyze("crashinfo", &folder.join("vmcore"), &[]),
                folder,
            }
        })
        .collect();
    assert!(!machines.is_empty());
    machines
}

impl Machine {
    /// A file of the truth.
    fn truth(&self, path: &str) -> String {
        let path = self.folder.join("truth").join(path);
        let bytes = std::fs::read(&path);
        let bytes = bytes.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What /proc says of when a thread ran, in one of the recordings; `None` where that isn't there.
    fn ran(&self, recording: &str, tid: u64) -> Option<Ran> {
        let processes = self.folder.join(recording).join("proc");
        let tasks = read_json(&self.folder.join("truth/tasks.json"));
        let task = array(&tasks)
            .iter()
            .find(|task| task["tid"].as_u64() == Some(tid))?;
        let path = format!("{}/task/{tid}/sched", task["tgid"]);
        let sched = std::fs::read_to_string(processes.join(path)).ok()?;
        let seconds = |name| -> f64 {
            let milliseconds = sched
                .lines()
                .find_map(|line| line.strip_prefix(name)?.split_once(':'))
                .and_then(|(_, milliseconds)| milliseconds.trim().parse().ok());
            milliseconds.map_or_else(|| panic!("{sched}"), |milliseconds: f64| milliseconds / 1e3)
        };
        Some(Ran {
            start: seconds("se.exec_start"),
            seconds: seconds("se.sum_exec_runtime"),
        })
    }

    /// The same some seconds after the dump; `None` for a machine that panicked.
    fn truth_after(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.folder.join("truth-after").join(path)).ok()
    }
}

/// What the scheduler says of a task.
#[derive(Debug)]
struct Ran {
    /// When it was last seen to run, in seconds of the scheduler's clock.
    start: f64,
    /// For how long it ran in all.
    seconds: f64,
}

fn row<const N: usize>(columns: [(&'static str, String); N]) -> Row {
    columns.into_iter().collect()
}

/// `0-1,4` as numbers.
fn numbers(list: &str) -> Vec<u64> {
    let number = |text: &str| text.trim().parse::<u64>().expect("a number");
    list.split(',')
        .filter(|part| !part.trim().is_empty())
        .flat_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            number(first)..=number(last)
        })
        .collect()
}

#[test]
fn the_kernel_and_the_machine_are_what_the_guest_said() {
    for machine in machines() {
        let recorded = machine.truth("tools/system.txt");
        let said = |name: &str| {
            let line = recorded
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or_else(|| panic!("{}: no {name}", machine.name))
                .to_owned()
        };
        let system = &machine.report["system"];
        let names = &system["names"];
        let cpus = &machine.report["cpus"];
        let list = |value: &Value| {
            array(value)
                .iter()
                .map(|cpu| cpu.as_u64().expect("a number"))
                .collect::<Vec<_>>()
        };
        let online: Vec<u64> = array(&cpus["running"])
            .iter()
            .map(|cpu| cpu["cpu"].as_u64().expect("a number"))
            .collect();
        let found = row([
            ("sysname", text(&names["sysname"])),
            ("nodename", text(&names["nodename"])),
            ("domainname", text(&names["domainname"])),
            ("release", text(&names["release"])),
            ("version", text(&names["version"])),
            ("banner", text(&system["banner"])),
            ("command line", text(&system["command_line"])),
            ("taint", text(&system["taint"]["mask"])),
            ("possible", format!("{:?}", list(&cpus["possible"]))),
            ("present", format!("{:?}", list(&cpus["present"]))),
            ("online", format!("{:?}", list(&cpus["online"]))),
            ("running", format!("{online:?}")),
            (
                "hung after",
                text(&machine.report["tasks"]["hung_after_seconds"]),
            ),
        ]);
        let truth = row([
            ("sysname", said("ostype")),
            ("nodename", said("hostname")),
            ("domainname", said("domainname")),
            ("release", said("osrelease")),
            ("version", said("version")),
            (
                "banner",
                machine.truth("system/version").trim_end().to_owned(),
            ),
            (
                "command line",
                machine.truth("system/cmdline").trim_end().to_owned(),
            ),
            ("taint", said("tainted")),
            ("possible", format!("{:?}", numbers(&said("possible")))),
            ("present", format!("{:?}", numbers(&said("present")))),
            ("online", format!("{:?}", numbers(&said("online")))),
            ("running", format!("{:?}", numbers(&said("online")))),
            ("hung after", said("hung_task_timeout_secs")),
        ]);
        let mut comparison = Comparison::default();
        let one = |row| BTreeMap::from([(0, row)]);
        comparison.tables("machine", &one(found), &one(truth));
        comparison.finish(&format!("{}: kernel and machine", machine.name));

        // system2 asks for U; a module without its signature brings E where there are modules with one.
        let letters = text(&system["taint"]["letters"]);
        assert!(letters.contains('U'), "{letters}");
        let dies = &system["panic"];
        if machine.how == "panic" {
            let died = (&dies["message"], &dies["cpu"], &dies["task"]["pid"]);
            let expected = (&"sysrq triggered crash".into(), &0.into(), &1.into());
            assert_eq!(died, expected, "{}", machine.name);
        } else {
            assert_eq!(*dies, Value::Null, "{}", machine.name);
        }
    }
}

/// No more of the guest's tasks than these run or wait at a time.
const ACTIVE: f64 = 16.0;

#[test]
fn the_clocks_are_the_guests() {
    for machine in machines() {
        let clocks = &machine.report["system"]["clocks"];
        let clock = |name: &str| clocks[name].as_i64().expect("nanoseconds");
        // /proc/timer_list has what is added to the monotonic clock.
        let timers = machine.truth("system/timer_list");
        let mut lines = timers.lines();
        let offset = loop {
            let line = lines.next().expect("there is a clock");
            // clock 1 is CLOCK_REALTIME
            if line.trim() == "clock 1:" {
                let offset = lines.find_map(|line| line.trim().strip_prefix(".offset:"));
                break offset.expect("it has an offset").to_owned();
            }
        };
        let offset: i64 = offset
            .trim()
            .trim_end_matches(" nsecs")
            .parse()
            .expect("nanoseconds");
        assert_eq!(
            clock("real_ns") - clock("monotonic_ns"),
            offset,
            "{}",
            machine.name
        );
        let uptime = |text: &str| {
            let seconds = text.split(' ').next().and_then(|text| text.parse().ok());
            seconds.expect("seconds")
        };
        // The recording ended before the dump, and the next began after it. A tick may be as long as the kernel likes while all sleep.
        let before: f64 = uptime(&machine.truth("system/uptime"));
        let after: f64 = match machine.truth_after("system/uptime") {
            Some(text) => uptime(&text),
            None => before + 60.0,
        };
        let boot = clock("boot_ns") as f64 / 1e9;
        assert!((before..=after).contains(&boot), "{before} {boot} {after}");
        println!(
            "{}: 1 offset compared, 0 differ; up for {boot:.2} s, of which {before} were over and {after} not yet",
            machine.name
        );
        let load = array(&machine.report["system"]["load"]);
        let loads = |text: &str| {
            let words = text.split(' ').take(3);
            words
                .map(|word| word.parse::<f64>().expect("a load"))
                .collect::<Vec<_>>()
        };
        let first = loads(&machine.truth("system/loadavg"));
        // They are reckoned anew every five seconds.
        let last = match machine.truth_after("system/loadavg") {
            Some(text) => loads(&text),
            None => vec![f64::MAX; 3],
        };
        // Where that comes half a minute and more after the dump's truth, it may have risen and fallen in between: no higher than the two updates
        // before the dump can bring it (`calc_load`; `EXP_1`, `EXP_5`, `EXP_15`).
        let is_long = after - before > 30.0;
        let kept = [1884.0, 2014.0, 2037.0].map(|kept: f64| (kept / 2048.0).powi(2));
        for (((load, first), last), kept) in load.iter().zip(&first).zip(&last).zip(kept) {
            let load = load.as_f64().expect("a load");
            let mut highest = first.max(*last);
            if is_long {
                highest = highest.max(first * kept + ACTIVE * (1.0 - kept));
            }
            let between = first.min(*last)..=highest;
            assert!(between.contains(&load), "{first} {load} {last}");
        }
    }
}

#[test]
fn tasks_are_counted_and_those_that_wait_are_named() {
    for machine in machines() {
        let truth = read_json(&machine.folder.join("truth/tasks.json"));
        let tasks = &machine.report["tasks"];
        let woken = woken_workers(&machine.folder);
        let mut states = BTreeMap::<String, u64>::new();
        let mut waiting = BTreeMap::new();
        let mut processes = 0;
        for task in array(&truth) {
            let tid = task["tid"].as_u64().expect("tid");
            processes += u64::from(task["tid"] == task["tgid"]);
            let state = match (tid, &*machine.how) {
                // The recorder runs while it reads its own state, and sleeps when the machine is stopped.
                (1, "stop") => "S".to_owned(),
                _ if woken.contains(&tid) => "R".to_owned(),
                _ => text(&task["state"]),
            };
            if state == "D" {
                waiting.insert(tid, machine.ran("truth", tid).expect("it was recorded"));
            }
            *states.entry(state).or_default() += 1;
        }
        // Threads of the kernel may come and go only where a machine is emulated at length; nothing of that was seen.
        let found: BTreeMap<String, u64> = tasks["states"]
            .as_object()
            .expect("states")
            .iter()
            .map(|(state, count)| (state.clone(), count.as_u64().expect("a number")))
            .collect();
        assert_eq!(found, states, "{}", machine.name);
        assert_eq!(tasks["threads"], array(&truth).len(), "{}", machine.name);
        assert_eq!(tasks["processes"], processes, "{}", machine.name);
        // By the scheduler's clock, which stands apart from the others by what the machine took at its start. The recorder ran before and after.
        let before = machine.ran("truth", 1).expect("it was recorded").start;
        let after = machine.ran("truth-after", 1).map(|ran| ran.start);
        let (mut first, mut last) = (before, after.unwrap_or(before + 60.0));
        for task in array(&tasks["uninterruptible"]) {
            let pid = task["pid"].as_u64().expect("pid");
            let ran = waiting.remove(&pid);
            let ran = ran.unwrap_or_else(|| panic!("{}: {pid}", machine.name));
            // It got the CPU no longer before it gave it up than it ran in all.
            let seconds = task["seconds"].as_f64().expect("seconds");
            first = f64::max(first, ran.start + seconds - ran.seconds);
            last = f64::min(last, ran.start + seconds);
            // The guest's kernel never complains.
            assert_eq!(task["hung"], false);
        }
        // CPUs agree to a tick or two.
        assert!(
            first <= last + 0.02,
            "{}: by when tasks ran last, and since when they wait, it was {first} s or later, and {last} s or earlier",
            machine.name
        );
        assert!(waiting.is_empty(), "{}: {waiting:?}", machine.name);
        println!(
            "{}: {} states of {} tasks compared, {} of them wait uninterruptibly, 0 differ",
            machine.name,
            states.len(),
            array(&truth).len(),
            array(&tasks["uninterruptible"]).len()
        );
    }
}

#[test]
fn modules_are_as_proc_shows_them() {
    for machine in machines() {
        let found = array(&machine.report["modules"])
            .iter()
            .enumerate()
            .map(|(index, module)| {
                let users = array(&module["used_by"]).iter().map(text);
                let mut users: Vec<String> = users.collect();
                if module["permanent"] == true {
                    users.push("[permanent]".to_owned());
                }
                let columns = row([
                    ("name", text(&module["name"])),
                    ("size", text(&module["size"])),
                    ("references", text(&module["references"])),
                    ("users", users.join(",")),
                    ("state", text(&module["state"])),
                    ("address", text(&module["address"])),
                    ("taint", text(&module["taint"])),
                ]);
                (index, columns)
            })
            .collect();
        let truth: BTreeMap<usize, Row> = machine
            .truth("system/modules")
            .lines()
            .enumerate()
            .map(|(index, line)| {
                let words: Vec<&str> = line.split(' ').collect();
                let taint = words
                    .get(6)
                    .map_or("", |word| word.trim_matches(['(', ')']));
                let users = words[3].trim_end_matches(',');
                let address = words[5].trim_start_matches("0x");
                let address = u64::from_str_radix(address, 16).expect("an address");
                let columns = row([
                    ("name", words[0].to_owned()),
                    ("size", words[1].to_owned()),
                    ("references", words[2].to_owned()),
                    ("users", users.trim_start_matches('-').to_owned()),
                    ("state", words[4].to_owned()),
                    ("address", format!("{address:#x}")),
                    ("taint", taint.to_owned()),
                ]);
                (index, columns)
            })
            .collect();
        let tainting = truth.values().filter(|row| !row["taint"].is_empty());
        println!("{}: {} modules taint", machine.name, tainting.count());
        let mut comparison = Comparison::default();
        comparison.tables("module", &found, &truth);
        comparison.finish(&format!("{}: modules", machine.name));
    }
}

#[test]
fn the_log_is_what_dmesg_shows() {
    for machine in machines() {
        let mut lines = Vec::new();
        let mut sequence = None;
        for record in array(&machine.report["log"]) {
            let number = record["sequence"].as_u64().expect("they are counted");
            assert!(sequence.is_none_or(|before| before < number));
            sequence = Some(number);
            let time = record["time_ns"].as_u64().expect("they are stamped");
            let level = record["level"].as_u64().expect("a level");
            let facility = record["facility"].as_u64().expect("a facility");
            let (seconds, part) = (time / 1_000_000_000, time % 1_000_000_000 / 1000);
            for line in text(&record["text"]).split('\n') {
                let number = facility << 3 | level;
                lines.push(format!("<{number}>[{seconds:5}.{part:06}] {line}"));
            }
        }
        let recorded = machine.truth("system/dmesg");
        let truth: Vec<&str> = recorded.lines().collect();
        // What was printed after the recording comes at the end: it says that it panics, if it does.
        let more = lines.len().checked_sub(truth.len());
        let more = more.unwrap_or_else(|| panic!("{}: lines are missing", machine.name));
        let pairs = lines.iter().zip(&truth);
        let differ: Vec<_> = pairs.filter(|(found, truth)| *found != *truth).collect();
        println!(
            "{}: {} lines compared, {} differ; {more} came after the recording",
            machine.name,
            truth.len(),
            differ.len()
        );
        assert!(differ.is_empty(), "{}: {differ:?}", machine.name);
        assert!(truth.len() > 100, "{}", machine.name);
        let incidents = array(&machine.report["incidents"]);
        let panics = incidents.iter().any(|record| {
            let text = text(&record["text"]);
            text == "Kernel panic - not syncing: sysrq triggered crash"
        });
        assert_eq!(panics, machine.how == "panic", "{}", machine.name);
        assert!(more == 0 || machine.how == "panic", "{}", machine.name);
    }
}

/// Rows of /proc/meminfo that `crashinfo` doesn't have: they are no counters of pages (sizes of address space, of the direct map's pages),
/// or of huge pages and of machines with high memory, or always 0 (`NFS_Unstable`, `VmallocChunk`, from 6.12 on `Bounce`).
const NOT_SHOWN: [&str; 28] = [
    "AnonHugePages",
    "Bounce",
    "CmaFree",
    "CmaTotal",
    "DirectMap1G",
    "DirectMap1M",
    "DirectMap2G",
    "DirectMap2M",
    "DirectMap4M",
    "DirectMap64k",
    "DirectMap4k",
    "FileHugePages",
    "FilePmdMapped",
    "HardwareCorrupted",
    "HighFree",
    "HighTotal",
    "LowFree",
    "LowTotal",
    "NFS_Unstable",
    "Percpu",
    "ShmemHugePages",
    "ShmemPmdMapped",
    "Unaccepted",
    "VmallocChunk",
    "VmallocTotal",
    "VmallocUsed",
    "Zswap",
    "Zswapped",
];

/// Rows that move while nothing seems to happen: memory that the recorder's own writing takes and gives back, and what each CPU held back of
/// a counter and adds to it at its next tick. Kilobytes by which they may lie outside of both recordings.
const MOVES: [(&str, u64); 7] = [
    ("MemFree", 2048),
    ("MemAvailable", 2048),
    ("KReclaimable", 1024),
    ("Slab", 1024),
    ("SReclaimable", 1024),
    ("SUnreclaim", 1024),
    ("PageTables", 256),
];

#[test]
fn memory_is_what_meminfo_shows() {
    for machine in machines() {
        let rows = |text: &str| -> BTreeMap<String, u64> {
            text.lines()
                .filter_map(|line| {
                    let (name, rest) = line.split_once(':')?;
                    let number = rest.split_whitespace().next()?.parse().ok()?;
                    Some((name.to_owned(), number))
                })
                .collect()
        };
        let before = rows(&machine.truth("system/meminfo"));
        let after = machine.truth_after("system/meminfo");
        let after = after.map_or_else(|| before.clone(), |text| rows(&text));
        let found = machine.report["memory"].as_object().expect("rows");
        for name in before.keys() {
            let not_shown = name.starts_with("Huge") || NOT_SHOWN.contains(&&**name);
            assert_ne!(
                found.contains_key(name),
                not_shown,
                "{}: {name}",
                machine.name
            );
        }
        let (mut same, mut moved) = (0, Vec::new());
        for (name, kilobytes) in found {
            let kilobytes = kilobytes.as_u64().expect("a number");
            let (first, last) = (before[name], after[name]);
            if kilobytes == first {
                same += 1;
                continue;
            }
            let slack = MOVES.iter().find(|(moves, _)| moves == name);
            let slack = slack.map_or(0, |(_, slack)| *slack);
            let least = first.min(last).saturating_sub(slack);
            let between = least..=first.max(last) + slack;
            assert!(
                between.contains(&kilobytes),
                "{}: {name} is {kilobytes}, and was {first}, then {last}",
                machine.name
            );
            moved.push(name.as_str());
        }
        println!(
            "{}: {} rows of /proc/meminfo compared, {same} are equal, 0 differ; {} moved: {}",
            machine.name,
            found.len(),
            moved.len(),
            moved.join(" ")
        );
        assert!(found.len() > 25, "{}", machine.name);
        // system2 has turned swap space on where there are loop devices.
        let swap = before["SwapTotal"];
        assert!(swap > 0 || machine.kind != "amd64", "{}", machine.name);
    }
}

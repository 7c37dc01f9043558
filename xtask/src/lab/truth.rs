//! What the guest says of itself: unpacked from its disk, made into tables, and compared between before and after the dump.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::guest::{REGIONS, Region, open_region};
use super::how::How;
use super::programs;

/// One row of `tasks.json`: a thread as `/proc/PID/task/TID/stat` and `status` show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    pub tid: u64,
    pub tgid: u64,
    pub ppid: u64,
    /// As the kernel prints it: a worker's name carries what it did last, `kworker/0:1-events`.
    pub comm: String,
    pub state: String,
    pub threads: u64,
    /// The CPU it last ran on.
    pub cpu: u64,
    /// `VmRSS` and `VmSize` of `status`; a kernel thread and a zombie have none.
    pub vm_rss_kb: Option<u64>,
    pub vm_size_kb: Option<u64>,
    pub priority: i64,
    pub nice: i64,
    /// `task_struct.flags`.
    pub flags: u64,
    /// Clock ticks (1/100 s) after boot.
    pub start_ticks: u64,
}

impl Task {
    /// The name as `task_struct.comm` has it: without what a worker did last, and of a kernel thread's long name 15 bytes.
    pub fn plain_comm(&self) -> &str {
        let name = match self.comm.strip_prefix("kworker/") {
            Some(rest) if !rest.starts_with('R') => {
                self.comm.split(['-', '+']).next().unwrap_or_default()
            }
            _ => &self.comm,
        };
        name.get(..15).unwrap_or(name)
    }
}

/// What must not differ between before and after the dump, and what does.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Stability {
    /// By name of what is compared, the differences; every list must be empty.
    pub strict: BTreeMap<String, Vec<String>>,
    /// Every other file that differs, with its first line that does: `-` before the dump, `+` after it.
    pub differs: BTreeMap<String, [String; 2]>,
    /// Files that are there only before, or only after.
    pub missing: Vec<String>,
    /// How many files are the same to the byte.
    pub same: usize,
}

impl Stability {
    pub fn is_stable(&self) -> bool {
        self.strict.values().all(Vec::is_empty)
    }

    /// The same for machines that are emulated at length, and whose queues let out a packet before the second recording: of the
    /// counters of queues and of softirqs the dump's values then lie between the two.
    pub fn is_stable_but_for_queues(&self) -> bool {
        let may_move = |name: &str| name.starts_with("tools/") || name.ends_with("softnet_stat");
        self.strict
            .iter()
            .all(|(name, differences)| differences.is_empty() || may_move(name))
    }
}

/// Unpacks the recorder's disk into `truth` and `truth-after` and adds the tables that are derived from them.
pub fn unpack(disk: &Path, folder: &Path, how: How) -> Result<()> {
    let is_there =
        |region| how.records_again() || matches!(region, Region::Tools | Region::Snapshot);
    for (offset, region) in REGIONS {
        if !is_there(region) {
            continue;
        }
        let into = folder.join(match region {
            Region::Tools | Region::Snapshot => "truth",
            Region::ToolsAfter | Region::SnapshotAfter => "truth-after",
        });
        std::fs::create_dir_all(&into)?;
        let archive = open_region(disk, offset)?;
        programs::output(
            programs::command("tar")
                .args(["-x", "--no-same-owner", "-C"])
                .arg(&into)
                .stdin(archive),
        )
        .with_context(|| format!("can't unpack what the guest wrote as {region:?}"))?;
    }
    for name in ["truth", "truth-after"] {
        let into = folder.join(name);
        if !into.is_dir() {
            continue;
        }
        write_json(&into.join("tasks.json"), &tasks(&into)?)?;
    }
    Ok(())
}

/// Lists, for whoever compares a dump with the truth, what can't be the same, and why.
pub fn write_exceptions(truth: &Path, how: How) -> Result<()> {
    let (state, reason) = match how {
        How::Stop => (
            "S",
            "PID 1 is the recorder: it runs while it reads its own state, and sleeps in read() of /dev/ttyS1 when the machine is stopped",
        ),
        How::Panic => (
            "R",
            "PID 1 is the recorder: it runs while it reads its own state, and when it writes to /proc/sysrq-trigger",
        ),
        How::Live => (
            "S",
            "PID 1 is the recorder: it runs while it reads its own state, and sleeps in waitpid() while the analyzers run",
        ),
        // It records no tasks.
        How::Crowd => return Ok(()),
    };
    let mut exceptions = vec![json!({
        "tid": 1, "field": "state", "truth": "R", "dump": state, "reason": reason,
    })];
    if how == How::Live {
        exceptions.push(json!({
            "tid": 1, "field": "vm_rss_kb", "truth": null, "dump": null,
            "reason": "the recorder forks to run the analyzers, and 6.1 counts up to 64 of a thread's pages later than they come: the value lies between the two recordings",
        }));
    }
    let tasks = tasks(truth)?;
    for task in tasks.iter().filter(|task| task.comm == "lab-spin") {
        exceptions.push(json!({
            "tid": task.tid, "field": "utime", "truth": null, "dump": null,
            "reason": "the spinner is in user mode on CPU 1 all the time: its state is R in both, its times are not the same",
        }));
    }
    let general = [
        (
            "any",
            "comm of kworker/*",
            "procfs decorates a worker's name with its last work (kworker/0:1-events); task_struct.comm is the name before '-' or '+'; kworker/R-* is a whole name",
        ),
        (
            "any",
            "comm of kernel threads with long names",
            "procfs shows the whole name (rcu_tasks_kthread); task_struct.comm has its first 15 bytes",
        ),
        (
            "tools/*/ip_addr.*",
            "gc_timer and other *_timer of a bridge",
            "it counts down to periodic work that sends nothing",
        ),
        (
            "any",
            "times, context switches, vruntime",
            "timers, kernel threads and the recorder go on for the milliseconds between the truth and the stop",
        ),
        (
            "system/*",
            "any",
            "counters of the machine as a whole (uptime, interrupts, vmstat, slab counts, free pages) move on as well",
        ),
        (
            "net/*/{tcp,tcp6,nf_conntrack}",
            "tm->when, retrnsmt, timeout",
            "timers count down; no packet leaves, since the freeze drops it, yet retransmission timers still fire and back off",
        ),
        (
            "net/*/{snmp,netstat}",
            "OutSegs, RetransSegs, TCPTimeouts and the like",
            "a retransmission counts although the freeze drops it",
        ),
        (
            "tools/*/ss_*.txt",
            "netlink sockets of ss, ip and tc",
            "the tools see their own sockets",
        ),
    ];
    exceptions
        .extend(general.map(
            |(what, field, reason)| json!({ "what": what, "field": field, "reason": reason }),
        ));
    write_json(&truth.join("exceptions.json"), &exceptions)
}

/// Every thread below `proc`, by thread id.
pub fn tasks(truth: &Path) -> Result<Vec<Task>> {
    let mut tasks = Vec::new();
    for process in names(&truth.join("proc"))? {
        for thread in names(&truth.join("proc").join(&process).join("task"))? {
            let folder = truth.join("proc").join(&process).join("task").join(&thread);
            let read = |name: &str| {
                std::fs::read(folder.join(name))
                    .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                    .unwrap_or_default()
            };
            // A thread that ended while the recorder listed it has left an empty file; the recorder's second look had none.
            let (stat, status) = (read("stat"), read("status"));
            if !stat.is_empty() {
                tasks.push(task(&stat, &status).with_context(|| {
                    format!("{} is not a stat line: {stat:?}", folder.display())
                })?);
            }
        }
    }
    tasks.sort_by_key(|task| task.tid);
    if tasks.len() < 50 {
        bail!(
            "the guest recorded only {} threads in {}",
            tasks.len(),
            truth.display()
        );
    }
    Ok(tasks)
}

/// Compares the two recordings file by file; the strict ones value by value.
pub fn compare(folder: &Path, how: How) -> Result<Stability> {
    let (before, after) = (folder.join("truth"), folder.join("truth-after"));
    let mut stability = Stability {
        strict: BTreeMap::new(),
        differs: BTreeMap::new(),
        missing: Vec::new(),
        same: 0,
    };
    stability.strict.insert(
        "tasks".into(),
        compare_tasks(&tasks(&before)?, &tasks(&after)?, how),
    );

    let all: BTreeSet<_> = files(&before)?.into_iter().chain(files(&after)?).collect();
    for file in all {
        let name = file.to_string_lossy().into_owned();
        let (Ok(one), Ok(other)) = (
            std::fs::read(before.join(&file)),
            std::fs::read(after.join(&file)),
        ) else {
            if !is_only_before(&name) {
                stability.missing.push(name);
            }
            continue;
        };
        let strict = is_strict(&name);
        if strict {
            stability.strict.entry(name.clone()).or_default();
        }
        let (one, other) = if strict && name.ends_with(".json") {
            (without_timers(&one)?, without_timers(&other)?)
        } else {
            (one, other)
        };
        match first_difference(&one, &other) {
            None => stability.same += 1,
            Some([was, is]) if strict => stability
                .strict
                .entry(name)
                .or_default()
                .extend([format!("- {was}"), format!("+ {is}")]),
            Some(lines) => drop(stability.differs.insert(name, lines)),
        }
    }
    Ok(stability)
}

/// Files whose every byte must be the same.
fn is_strict(name: &str) -> bool {
    let parts: Vec<_> = name.split('/').collect();
    match parts[..] {
        ["net", _, file] => [
            "dev",
            "softnet_stat",
            "if_inet6",
            "dev_mcast",
            "igmp",
            "igmp6",
            "packet",
            "route",
            "ipv6_route",
        ]
        .contains(&file),
        ["tools", _, file] => [
            "ip_addr.json",
            "tc_qdisc.json",
            "tc_qdisc.txt",
            "tc_class_veth0.txt",
        ]
        .contains(&file),
        _ => false,
    }
}

/// What `ip` and `tc` say, one value a line, but for the timers of a bridge, which count down to periodic work that sends nothing, and
/// how long addresses still live.
fn without_timers(text: &[u8]) -> Result<Vec<u8>> {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.retain(|key, _| !key.ends_with("_timer") && !key.ends_with("_life_time"));
                map.values_mut().for_each(strip);
            }
            Value::Array(values) => values.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut value = serde_json::from_slice(text).context("a tool's output is not JSON")?;
    strip(&mut value);
    Ok(serde_json::to_vec_pretty(&value)?)
}

/// What is recorded once, because it can't change.
fn is_only_before(name: &str) -> bool {
    [
        "system/kallsyms",
        "system/slab_sysfs",
        "system/module_sections",
        "labd.manifest",
        "exceptions.json",
    ]
    .contains(&name)
}

fn compare_tasks(before: &[Task], after: &[Task], how: How) -> Vec<String> {
    let by_id = |tasks: &[Task]| -> BTreeMap<u64, Task> {
        tasks.iter().map(|task| (task.tid, task.clone())).collect()
    };
    let (before, after) = (by_id(before), by_id(after));
    let mut differences = Vec::new();
    for tid in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
        let (Some(was), Some(is)) = (before.get(tid), after.get(tid)) else {
            let task = before.get(tid).or(after.get(tid));
            differences.push(format!(
                "{} {tid} ({})",
                if before.contains_key(tid) {
                    "gone:"
                } else {
                    "new:"
                },
                task.map_or("", |task| &task.comm)
            ));
            continue;
        };
        let shown = |task: &Task| {
            let state = if task.tid == 1 { "-" } else { &task.state };
            let grows = task.tid == 1 && how == How::Live;
            let rss = task.vm_rss_kb.filter(|_| !grows);
            format!(
                "{} {} {} {} {state} {} {} {:?} {:?}",
                task.tid,
                task.tgid,
                task.ppid,
                task.plain_comm(),
                task.threads,
                task.cpu,
                rss,
                task.vm_size_kb
            )
        };
        if shown(was) != shown(is) {
            differences.extend([format!("- {}", shown(was)), format!("+ {}", shown(is))]);
        }
    }
    differences
}

/// `pid (comm) S ppid ...`: a comm may have spaces and parentheses of its own, so its end is the last one.
fn task(stat: &str, status: &str) -> Option<Task> {
    let (head, rest) = stat.rsplit_once(") ")?;
    let (tid, comm) = head.split_once(" (")?;
    // proc(5) counts from 1; the state is field 3.
    let fields: Vec<_> = rest.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).copied();
    let of_status = |name: &str| -> Option<u64> {
        let line = status
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    Some(Task {
        tid: tid.parse().ok()?,
        tgid: of_status("Tgid")?,
        ppid: field(4)?.parse().ok()?,
        comm: comm.into(),
        state: field(3)?.into(),
        threads: field(20)?.parse().ok()?,
        cpu: field(39)?.parse().ok()?,
        vm_rss_kb: of_status("VmRSS"),
        vm_size_kb: of_status("VmSize"),
        priority: field(18)?.parse().ok()?,
        nice: field(19)?.parse().ok()?,
        flags: field(9)?.parse().ok()?,
        start_ticks: field(22)?.parse().ok()?,
    })
}

fn first_difference(one: &[u8], other: &[u8]) -> Option<[String; 2]> {
    if one == other {
        return None;
    }
    let (mut one, mut other) = (
        one.split(|byte| *byte == b'\n'),
        other.split(|byte| *byte == b'\n'),
    );
    loop {
        let (was, is) = (one.next(), other.next());
        if was != is || was.is_none() {
            let shown = |line: Option<&[u8]>| {
                let line = line.map_or("(the end)".into(), String::from_utf8_lossy);
                line.chars().take(300).collect()
            };
            return Some([shown(was), shown(is)]);
        }
    }
}

/// The files below `folder`, relative to it and sorted.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    fn walk(top: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                walk(top, &entry.path(), files)?;
            } else {
                files.push(entry.path().strip_prefix(top)?.into());
            }
        }
        Ok(())
    }
    let mut files = Vec::new();
    walk(folder, folder, &mut files)?;
    files.sort();
    Ok(files)
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Ok(Vec::new());
    };
    entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}

/// Writes a value with indentation, so that a person can read it.
pub fn write_json(file: &Path, value: &impl Serialize) -> Result<()> {
    std::fs::write(file, serde_json::to_string_pretty(value)? + "\n")
        .with_context(|| format!("can't write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "82 (a) b (c) S 79 79 0 0 -1 4194368 50 0 0 0 1 2 0 0 20 0 23 0 512 999424 77 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0\n";
    const STATUS: &str = "Name:\ta) b (c\nTgid:\t80\nVmSize:\t     976 kB\nVmRSS:\t     308 kB\n";

    #[test]
    fn stat_lines() {
        let task = task(STAT, STATUS).unwrap();
        assert_eq!(
            (task.tid, task.tgid, task.ppid, task.comm.as_str()),
            (82, 80, 79, "a) b (c")
        );
        assert_eq!((task.state.as_str(), task.threads, task.cpu), ("S", 23, 1));
        assert_eq!((task.vm_rss_kb, task.vm_size_kb), (Some(308), Some(976)));
        assert_eq!(
            (task.priority, task.nice, task.flags, task.start_ticks),
            (20, 0, 4194368, 512)
        );
    }

    #[test]
    fn workers_have_decorated_names() {
        let named = |comm: &str| Task {
            comm: comm.into(),
            ..task(STAT, STATUS).unwrap()
        };
        assert_eq!(named("kworker/0:1H-kblockd").plain_comm(), "kworker/0:1H");
        assert_eq!(
            named("kworker/u4:2+flush-254:0").plain_comm(),
            "kworker/u4:2"
        );
        assert_eq!(named("kworker/R-rcu_g").plain_comm(), "kworker/R-rcu_g");
        assert_eq!(named("lab-spin").plain_comm(), "lab-spin");
        assert_eq!(named("rcu_tasks_kthread").plain_comm(), "rcu_tasks_kthre");
        assert_eq!(
            compare_tasks(
                &[named("kworker/0:1-events")],
                &[named("kworker/0:1")],
                How::Stop
            ),
            [""; 0]
        );
        assert_eq!(
            compare_tasks(&[named("a")], &[named("b")], How::Stop).len(),
            2
        );
        assert_eq!(
            compare_tasks(&[named("a")], &[], How::Stop),
            ["gone: 82 (a)"]
        );
    }

    #[test]
    fn differences_show_their_first_line() {
        assert_eq!(first_difference(b"a\nb\n", b"a\nb\n"), None);
        assert_eq!(
            first_difference(b"a\nb\n", b"a\nc\n"),
            Some(["b".into(), "c".into()])
        );
        assert_eq!(
            first_difference(b"a", b"a\nb"),
            Some(["(the end)".into(), "b".into()])
        );
        assert!(
            is_strict("net/lab/dev")
                && is_strict("tools/root/tc_qdisc.json")
                && is_strict("tools/lab/ip_addr.json")
        );
        assert_eq!(
            without_timers(b"[{\"a\": 1, \"b\": {\"gc_timer\": 2.5}}]").unwrap(),
            without_timers(b"[{\"a\":1,\"b\":{}}]").unwrap()
        );
        assert!(!is_strict("net/root/tcp") && !is_strict("system/stat"));
    }
}

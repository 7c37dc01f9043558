//! The analyzers on dumps of real kernels, against what each kernel said of itself a moment before the dump.
//!
//! `cargo xtask test --lab` boots the machines and names them in `KSTRUCT_LAB_MACHINES`. Each row and each column is
//! compared; what can't be the same is named here, one by one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kstruct_codegen::dwarf;
use kstruct_codegen::image::Image;
use kstruct_oracle::btf;
use serde_json::Value;
use tests::compare::{Comparison, Row};
use tests::{analyze, array, lab_machines, read_json, text, woken_workers};

/// One machine of the lab.
struct Machine {
    release: String,
    folder: PathBuf,
    /// What became of it: `stop`, `panic` or `live`.
    how: String,
    /// Its kind: `amd64`, `i386-pae`, `arm64`.
    kind: String,
    levels: u64,
    vmcore: PathBuf,
    system_map: PathBuf,
    config: PathBuf,
    truth: PathBuf,
    /// The same some seconds after the dump.
    truth_after: PathBuf,
}

/// All of them. What is compared is the same whether a machine was stopped and dumped by QEMU, panicked and was dumped by its crash
/// kernel, or ran the analyzers on itself.
fn machines() -> Vec<Machine> {
    machines_that(&["stop", "panic", "live"])
}

fn machines_that(how: &[&str]) -> Vec<Machine> {
    let machines: Vec<Machine> = lab_machines(how)
        .iter()
        .map(|folder| {
            let lab = read_json(&folder.join("lab.json"));
            Machine {
                release: text(&lab["release"]),
                folder: folder.clone(),
                how: lab["how"].as_str().unwrap_or("stop").to_owned(),
                kind: lab["machine"].as_str().unwrap_or("amd64").to_owned(),
                levels: lab["levels"].as_u64().expect("levels"),
                vmcore: folder.join("vmcore"),
                // lab.json's paths are relative to target/lab.
                system_map: folder.join("../..").join(text(&lab["system_map"])),
                config: folder.join("../..").join(text(&lab["config"])),
                truth: folder.join("truth"),
                truth_after: folder.join("truth-after"),
            }
        })
        .collect();
    assert!(!machines.is_empty());
    machines
}

fn read(path: PathBuf) -> String {
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `cargo xtask test --kernels` does the same for kernels that are not booted.
#[test]
fn every_layout_is_as_the_kernels_own_btf_says() {
    for machine in machines_that(&["stop"]) {
        if !read(machine.config.clone()).contains("CONFIG_DEBUG_INFO_BTF=y") {
            println!("{}: it has no BTF of its own", machine.release);
            continue;
        }
        let package = machine.system_map.parent().expect("it is in a folder");
        let vmlinux = package.join("vmlinux");
        let mut modules: Vec<PathBuf> = std::fs::read_dir(package.join("modules-debug"))
            .expect("the modules' debug files are there")
            .map(|entry| entry.expect("it can be listed").path())
            .collect();
        modules.sort();
        let open = |path: &PathBuf| Image::open(path).unwrap_or_else(|error| panic!("{error}"));
        let images: Vec<Image> = modules.iter().map(open).collect();
        let model = dwarf::read(&open(&vmlinux), &images, &|_| ()).expect("the DWARF is sound");
        assert_eq!(model.problems.total(), 0, "{:?}", model.problems);
        let ours = kstruct_oracle::model::layouts(&model).expect("C has no circles");
        let types = btf::Btf::read(&vmlinux).unwrap_or_else(|error| panic!("{error}"));
        let mut theirs = btf::layouts(&types).unwrap_or_else(|error| panic!("{error}"));
        btf::add_modules(&types, &vmlinux, &modules, &mut theirs)
            .unwrap_or_else(|error| panic!("{error}"));
        let found = kstruct_oracle::compare(&ours, &theirs);
        println!(
            "{} with {} modules: {} types, {} members, {} bit-fields, {} differ",
            machine.release,
            modules.len(),
            found.types,
            found.members,
            found.bit_fields,
            found.differences.len()
        );
        let differences: Vec<String> = found.differences.iter().map(|d| d.summary()).collect();
        assert_eq!(differences, [""; 0], "{}", machine.release);
        assert!(found.types > 7000 && found.members > 45_000);
        // A cloud kernel of arm64 has fewer drivers with them.
        let least = if machine.kind == "amd64" { 1500 } else { 1000 };
        assert!(found.bit_fields > least, "{}", found.bit_fields);
    }
}

fn row<const N: usize>(columns: [(&'static str, String); N]) -> Row {
    columns.into_iter().collect()
}

#[test]
fn the_machines_are_of_both_paging_levels_and_moved() {
    let mut levels = Vec::new();
    for machine in machines() {
        let report = machine.report("ps", &[]);
        assert_eq!(
            report["kernel"]["paging_levels"], machine.levels,
            "{}",
            machine.release
        );
        // KASLR is on: the kernel was not where it was linked, and the guest says where it was.
        let moved = address_of_start(&machine.truth.join("system/kallsyms"))
            - address_of_start(&machine.system_map);
        // But for s390x under QEMU, whose emulated CPU has no random numbers to move by, and powerpc, where only the kernels of embedded
        // CPUs move (arch/powerpc/Kconfig, RANDOMIZE_BASE).
        let stays = ["s390x", "ppc64le"].contains(&&*machine.kind);
        assert_eq!(moved == 0, stays, "{}", machine.release);
        assert_eq!(
            report["kernel"]["kaslr_offset"],
            format!("{moved:#x}"),
            "{}",
            machine.release
        );
        if machine.kind == "amd64" {
            levels.push(machine.levels);
        }
        println!(
            "{} with {} levels, moved by {}",
            machine.name(),
            machine.levels,
            report["kernel"]["kaslr_offset"]
        );
    }
    levels.sort();
    levels.dedup();
    assert!(levels.is_empty() || levels == [4, 5], "{levels:?}");
}

impl Machine {
    /// For messages.
    fn name(&self) -> String {
        format!("{} ({})", self.release, self.how)
    }

    /// What an analyzer says of it, by its dump or on the machine itself. Fails if it could not read everything.
    fn report(&self, analyzer: &str, options: &[&str]) -> Value {
        if self.how != "live" {
            return analyze(analyzer, &self.vmcore, options);
        }
        let mut report = self.said(match (analyzer, options) {
            ("ps", ["--args"]) => "ps-args",
            ("ps", [] | ["-T"]) => "ps",
            ("netdev", []) => "netdev",
            _ => panic!("the guest does not run {analyzer} {options:?}"),
        });
        assert_eq!(report["fault_count"], 0, "{}", report["faults"]);
        if analyzer == "ps" {
            self.remove_ps_itself(&mut report);
        }
        report
    }

    /// JSON of an analyzer that ran on the machine, and could read everything.
    fn said(&self, name: &str) -> Value {
        let file = |kind| self.folder.join(format!("truth-after/live/{name}.{kind}"));
        let (status, errors) = (read(file("status")), read(file("err")));
        assert_eq!((&*status, &*errors), ("0\n", ""), "{}: {name}", self.name());
        read_json(&file("out"))
    }

    /// The recorder forks to run the analyzers (`exceptions.json`): its memory lies between the two recordings.
    fn allow_the_recorder_to_grow(
        &self,
        found: &BTreeMap<i64, Row>,
        truth: &mut BTreeMap<i64, Row>,
    ) {
        let after = read_json(&self.truth_after.join("tasks.json"));
        let after = array(&after)
            .iter()
            .find(|task| task["tid"] == 1)
            .expect("the recorder");
        let after = BTreeMap::from([(1, row([("rss", text(&after["vm_rss_kb"]))]))]);
        let recorder = truth.remove_entry(&1).expect("the recorder");
        let mut recorder = BTreeMap::from([recorder]);
        allow_between(found, &mut recorder, &after);
        truth.append(&mut recorder);
    }

    /// `ps` sees itself, which ran, and the shell that started it for the recorder; no recording has them.
    fn remove_ps_itself(&self, report: &mut Value) {
        let recorded = array(&read_json(&self.truth.join("tasks.json")))
            .iter()
            .map(|task| task["tid"].as_i64())
            .collect::<Vec<_>>();
        let tasks = report["tasks"].as_array_mut().expect("tasks");
        let mut new = Vec::new();
        tasks.retain(|task| {
            let pid = task["pid"].as_i64();
            let known = pid == Some(0) || recorded.contains(&pid);
            if !known {
                new.push(task.clone());
            }
            known
        });
        let [shell, ps] = &new[..] else {
            panic!("{}: not the shell and ps alone: {new:?}", self.name());
        };
        for (task, name, parent) in [
            (shell, "busybox", &Value::from(1)),
            (ps, "ps", &shell["pid"]),
        ] {
            assert_eq!((&task["name"], &task["ppid"]), (&name.into(), parent));
        }
        assert_eq!(ps["state"], "R", "{}", self.name());
    }

    /// On machines that are emulated at length, counters of queues move on after the dump: see [`allow_between`]. On amd64 there is one
    /// truth. Says how many counters moved.
    fn allow_between<K: Ord>(
        &self,
        found: &BTreeMap<K, Row>,
        before: &mut BTreeMap<K, Row>,
        read: impl Fn(&Path) -> BTreeMap<K, Row>,
    ) -> usize {
        match self.kind.as_str() {
            "amd64" => 0,
            _ => allow_between(found, before, &read(&self.truth_after)),
        }
    }
}

/// Counters that move on after the dump have no one truth: what both recordings don't agree on must lie between them.
fn allow_between<K: Ord>(
    found: &BTreeMap<K, Row>,
    before: &mut BTreeMap<K, Row>,
    after: &BTreeMap<K, Row>,
) -> usize {
    let number = |row: Option<&Row>, column| row?.get(column)?.parse::<u64>().ok();
    let mut moved = 0;
    for (key, row) in before {
        for (column, was) in row {
            let (Some(first), Some(here), Some(last)) = (
                was.parse::<u64>().ok(),
                number(found.get(key), column),
                number(after.get(key), column),
            ) else {
                continue;
            };
            // A queue that lets out a packet has fewer.
            let between = first.min(last)..=first.max(last);
            if first != last && between.contains(&here) {
                *was = here.to_string();
                moved += 1;
            }
        }
    }
    moved
}

/// Where `_stext` is, by a list of symbols as of nm or /proc/kallsyms.
fn address_of_start(symbols: &Path) -> u64 {
    let symbols = read(symbols.to_owned());
    let line = symbols.lines().find(|line| line.ends_with(" _stext"));
    let address = line.and_then(|line| line.split(' ').next());
    u64::from_str_radix(address.expect("there is a _stext"), 16).expect("an address")
}

/// `PF_WQ_WORKER`: /proc shows what a worker works at behind its name, and that goes on changing.
const WORKER: u64 = 0x20;

#[test]
fn ps_equals_the_guests_process_list() {
    for machine in machines() {
        let report = machine.report("ps", &["-T"]);
        let truth = read_json(&machine.truth.join("tasks.json"));
        let exceptions = read_json(&machine.truth.join("exceptions.json"));
        // The recorder runs while it reads its own state, and sleeps when the machine is stopped.
        let recorder = array(&exceptions)
            .iter()
            .find(|exception| exception["tid"] == 1 && exception["field"] == "state")
            .expect("the recorder's state is an exception");
        let workers: BTreeMap<i64, bool> = array(&truth)
            .iter()
            .map(|task| {
                let flags = task["flags"].as_u64().expect("flags");
                (task["tid"].as_i64().expect("tid"), flags & WORKER != 0)
            })
            .collect();
        let name = |tid: i64, name: &str| {
            if workers.get(&tid) == Some(&true) && !name.starts_with("kworker/R-") {
                name.split(['-', '+']).next().unwrap_or_default().to_owned()
            } else {
                name.to_owned()
            }
        };
        let woken = woken_workers(&machine.folder);
        let size = |value: &Value| {
            if value.is_null() {
                "0".to_owned()
            } else {
                text(value)
            }
        };
        let mut found = BTreeMap::new();
        let mut idle = 0;
        for task in array(&report["tasks"]) {
            let tid = task["pid"].as_i64().expect("pid");
            if tid == 0 {
                idle += 1; // /proc does not show the idle tasks
                continue;
            }
            let columns = row([
                ("tgid", text(&task["tgid"])),
                ("ppid", text(&task["ppid"])),
                ("name", name(tid, &text(&task["name"]))),
                ("state", text(&task["state"])),
                ("threads", text(&task["threads"])),
                ("cpu", text(&task["cpu"])),
                ("rss", text(&task["rss_kb"])),
                ("vsz", text(&task["vsz_kb"])),
            ]);
            assert!(found.insert(tid, columns).is_none(), "{tid} is there twice");
        }
        let cpus = read(machine.truth.join("net/root/softnet_stat"));
        assert_eq!(idle, cpus.lines().count(), "one idle task a CPU");
        let mut truth: BTreeMap<i64, Row> = array(&truth)
            .iter()
            .map(|task| {
                let tid = task["tid"].as_i64().expect("tid");
                let state = if tid == 1 {
                    text(&recorder["dump"])
                } else if woken.contains(&tid.unsigned_abs()) {
                    "R".to_owned()
                } else {
                    text(&task["state"])
                };
                let columns = row([
                    ("tgid", text(&task["tgid"])),
                    ("ppid", text(&task["ppid"])),
                    ("name", name(tid, &text(&task["comm"]))),
                    ("state", state),
                    ("threads", text(&task["threads"])),
                    ("cpu", text(&task["cpu"])),
                    ("rss", size(&task["vm_rss_kb"])),
                    ("vsz", size(&task["vm_size_kb"])),
                ]);
                (tid, columns)
            })
            .collect();
        if machine.how == "live" {
            machine.allow_the_recorder_to_grow(&found, &mut truth);
        }
        let mut comparison = Comparison::default();
        comparison.tables("task", &found, &truth);
        comparison.finish(&format!("{}: ps and /proc/*/task/*", machine.name()));
    }
}

/// The guest's network namespaces by the inode numbers that the analyzer shows.
fn namespaces(machine: &Machine, report: &Value) -> BTreeMap<&'static str, String> {
    let inode = |pid: &str| {
        let links = read(machine.truth.join("proc").join(pid).join("ns.txt"));
        let link = links
            .lines()
            .find_map(|line| line.strip_prefix("net -> net:["));
        link.and_then(|rest| rest.strip_suffix(']'))
            .expect("a link to a network namespace")
            .to_owned()
    };
    let manifest = read(machine.truth.join("labd.manifest"));
    let pid = manifest
        .lines()
        .find_map(|line| line.strip_prefix("LAB netns pid="));
    let (root, lab) = (
        inode("1"),
        inode(pid.expect("labd tells its namespace's process")),
    );
    let mut others: Vec<String> = array(&report["interfaces"])
        .iter()
        .map(|interface| text(&interface["netns"]))
        .filter(|netns| *netns != root && *netns != lab)
        .collect();
    others.dedup();
    let [idle] = others.as_slice() else {
        panic!("there is one more namespace, not {others:?}");
    };
    BTreeMap::from([("root", root), ("lab", lab), ("idle", idle.clone())])
}

/// An interface's key: its namespace and its name.
type Key = (&'static str, String);

/// The analyzer's interfaces by namespace and name.
fn interfaces<'r>(machine: &Machine, report: &'r Value) -> BTreeMap<Key, &'r Value> {
    let namespaces = namespaces(machine, report);
    let mut out = BTreeMap::new();
    for interface in array(&report["interfaces"]) {
        let netns = text(&interface["netns"]);
        let (namespace, _) = namespaces
            .iter()
            .find(|(_, inode)| **inode == netns)
            .expect("each interface is in one of the namespaces");
        let key = (*namespace, text(&interface["name"]));
        assert!(
            out.insert(key.clone(), interface).is_none(),
            "{key:?} is there twice"
        );
    }
    out
}

const NAMESPACES: [&str; 3] = ["root", "lab", "idle"];

#[test]
fn netdev_equals_proc_net_dev() {
    const RX: [&str; 8] = [
        "bytes",
        "packets",
        "errors",
        "dropped",
        "fifo",
        "frame",
        "compressed",
        "multicast",
    ];
    const TX: [&str; 8] = [
        "bytes",
        "packets",
        "errors",
        "dropped",
        "fifo",
        "collisions",
        "carrier",
        "compressed",
    ];
    const NAMES: [&str; 16] = [
        "rx bytes",
        "rx packets",
        "rx errs",
        "rx drop",
        "rx fifo",
        "rx frame",
        "rx compressed",
        "rx multicast",
        "tx bytes",
        "tx packets",
        "tx errs",
        "tx drop",
        "tx fifo",
        "tx colls",
        "tx carrier",
        "tx compressed",
    ];
    for machine in machines() {
        let report = machine.report("netdev", &[]);
        let found = interfaces(&machine, &report)
            .into_iter()
            .map(|(key, interface)| {
                let rx = RX.iter().map(|column| text(&interface["rx"][column]));
                let tx = TX.iter().map(|column| text(&interface["tx"][column]));
                (key, NAMES.into_iter().zip(rx.chain(tx)).collect())
            })
            .collect();
        let mut truth = BTreeMap::new();
        for namespace in NAMESPACES {
            for line in read(machine.truth.join("net").join(namespace).join("dev"))
                .lines()
                .skip(2)
            {
                let (name, counters) = line.split_once(':').expect("a name and a colon");
                let counters = counters.split_whitespace().map(str::to_owned);
                let columns: Row = NAMES.into_iter().zip(counters).collect();
                assert_eq!(columns.len(), NAMES.len());
                truth.insert((namespace, name.trim().to_owned()), columns);
            }
        }
        let mut comparison = Comparison::default();
        comparison.tables("interface", &found, &truth);
        comparison.finish(&format!("{}: netdev and /proc/net/dev", machine.name()));
    }
}

fn list(values: impl Iterator<Item = String>) -> String {
    values.collect::<Vec<_>>().join(", ")
}

/// The flags that `ip` shows for those that the kernel gives: it shows the lack of RUNNING, which the analyzer shows as well.
fn ip_flags(flags: &Value) -> Vec<String> {
    let mut flags: Vec<String> = array(flags).iter().map(text).collect();
    flags.retain(|flag| flag != "RUNNING");
    flags.sort();
    flags
}

#[test]
fn netdev_equals_ip_addr() {
    let optional = |value: &Value, name: &str| value.get(name).map_or_else(String::new, text);
    for machine in machines() {
        let report = machine.report("netdev", &[]);
        let found = interfaces(&machine, &report)
            .into_iter()
            .map(|(key, interface)| {
                let ipv4 = array(&interface["ipv4"]).iter().map(|address| {
                    format!(
                        "{}/{} peer {} brd {} scope {} {} secondary {}",
                        text(&address["address"]),
                        text(&address["prefix"]),
                        optional(address, "peer"),
                        optional(address, "broadcast"),
                        text(&address["scope"]),
                        text(&address["label"]),
                        address["secondary"]
                    )
                });
                let ipv6 = array(&interface["ipv6"]).iter().map(|address| {
                    format!(
                        "{}/{} scope {}",
                        text(&address["address"]),
                        text(&address["prefix"]),
                        text(&address["scope"])
                    )
                });
                let stats = &interface["stats"];
                let columns = row([
                    ("ifindex", text(&interface["ifindex"])),
                    ("flags", list(ip_flags(&interface["flags"]).into_iter())),
                    ("mtu", text(&interface["mtu"])),
                    ("operstate", text(&interface["operstate"])),
                    ("address", text(&interface["mac"])),
                    ("kind", text(&interface["kind"])),
                    ("ipv4", list(ipv4)),
                    ("ipv6", list(ipv6)),
                    ("rx errors", text(&stats["rx_errors"])),
                    ("rx dropped", text(&stats["rx_dropped"])),
                    ("rx over_errors", text(&stats["rx_over_errors"])),
                    ("tx dropped", text(&stats["tx_dropped"])),
                    ("tx carrier_errors", text(&stats["tx_carrier_errors"])),
                ]);
                (key, columns)
            })
            .collect();
        let mut truth = BTreeMap::new();
        for namespace in NAMESPACES {
            let devices = read_json(
                &machine
                    .truth
                    .join("tools")
                    .join(namespace)
                    .join("ip_addr.json"),
            );
            for device in array(&devices) {
                let family = |family: &'static str| {
                    array(&device["addr_info"])
                        .iter()
                        .filter(move |address| address["family"] == family)
                };
                let ipv4 = family("inet").map(|address| {
                    // `ip` shows the peer as "address" beside "local", and leaves it out where they are the same.
                    format!(
                        "{}/{} peer {} brd {} scope {} {} secondary {}",
                        text(&address["local"]),
                        text(&address["prefixlen"]),
                        optional(address, "address"),
                        optional(address, "broadcast"),
                        text(&address["scope"]),
                        text(&address["label"]),
                        address.get("secondary").is_some()
                    )
                });
                let ipv6 = family("inet6").map(|address| {
                    format!(
                        "{}/{} scope {}",
                        text(&address["local"]),
                        text(&address["prefixlen"]),
                        text(&address["scope"])
                    )
                });
                let mut flags: Vec<String> = array(&device["flags"]).iter().map(text).collect();
                flags.sort();
                let (rx, tx) = (&device["stats64"]["rx"], &device["stats64"]["tx"]);
                let columns = row([
                    ("ifindex", text(&device["ifindex"])),
                    ("flags", list(flags.into_iter())),
                    ("mtu", text(&device["mtu"])),
                    ("operstate", text(&device["operstate"])),
                    ("address", optional(device, "address")),
                    (
                        "kind",
                        device
                            .get("linkinfo")
                            .map_or_else(String::new, |info| optional(info, "info_kind")),
                    ),
                    ("ipv4", list(ipv4)),
                    ("ipv6", list(ipv6)),
                    ("rx errors", text(&rx["errors"])),
                    ("rx dropped", text(&rx["dropped"])),
                    ("rx over_errors", text(&rx["over_errors"])),
                    ("tx dropped", text(&tx["dropped"])),
                    ("tx carrier_errors", text(&tx["carrier_errors"])),
                ]);
                truth.insert((namespace, text(&device["ifname"])), columns);
            }
        }
        let mut comparison = Comparison::default();
        comparison.tables("interface", &found, &truth);
        comparison.finish(&format!("{}: netdev and ip addr", machine.name()));
    }
}

const QDISC_NUMBERS: [&str; 7] = [
    "bytes",
    "packets",
    "drops",
    "overlimits",
    "requeues",
    "backlog",
    "qlen",
];

/// What `tc -s -j qdisc` said.
fn qdiscs(folder: &Path) -> BTreeMap<(&'static str, String, usize), Row> {
    let mut truth = BTreeMap::new();
    for namespace in NAMESPACES {
        let qdiscs = read_json(&folder.join("tools").join(namespace).join("tc_qdisc.json"));
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for qdisc in array(&qdiscs) {
            let device = text(&qdisc["dev"]);
            let index = seen.entry(device.clone()).or_default();
            let mut columns: Row = QDISC_NUMBERS
                .into_iter()
                .map(|column| (column, text(&qdisc[column])))
                .collect();
            columns.insert("kind", text(&qdisc["kind"]));
            columns.insert("handle", text(&qdisc["handle"]));
            let parent = if qdisc.get("root").is_some() {
                "root".into()
            } else {
                text(&qdisc["parent"])
            };
            columns.insert("parent", parent);
            truth.insert((namespace, device, *index), columns);
            *index += 1;
        }
    }
    truth
}

#[test]
fn netdev_equals_tc_qdisc() {
    for machine in machines() {
        let report = machine.report("netdev", &[]);
        let mut found = BTreeMap::new();
        for ((namespace, name), interface) in interfaces(&machine, &report) {
            for (index, qdisc) in array(&interface["qdiscs"]).iter().enumerate() {
                let mut columns: Row = QDISC_NUMBERS
                    .into_iter()
                    .map(|column| (column, text(&qdisc[column])))
                    .collect();
                columns.extend(
                    ["kind", "handle", "parent"].map(|column| (column, text(&qdisc[column]))),
                );
                // The order is part of the comparison.
                found.insert((namespace, name.clone(), index), columns);
            }
        }
        let mut truth = qdiscs(&machine.truth);
        let moved = machine.allow_between(&found, &mut truth, qdiscs);
        println!("{}: {moved} counters of queues moved on", machine.release);
        let mut comparison = Comparison::default();
        comparison.tables("qdisc", &found, &truth);
        comparison.finish(&format!("{}: netdev and tc -s qdisc", machine.name()));
    }
}

/// The columns of /proc/net/softnet_stat (softnet_seq_show, net/core/net-procfs.c).
fn softnet(folder: &Path) -> BTreeMap<u64, Row> {
    let mut truth = BTreeMap::new();
    for line in read(folder.join("net/root/softnet_stat")).lines() {
        let columns: Vec<u64> = line
            .split_whitespace()
            .map(|number| u64::from_str_radix(number, 16).expect("hexadecimal"))
            .collect();
        // These have no meaning any more.
        assert_eq!(columns[3..9], [0; 6]);
        let at = |index: usize| columns[index].to_string();
        let mut row = row([
            ("processed", at(0)),
            ("dropped", at(1)),
            ("time_squeeze", at(2)),
            ("received_rps", at(9)),
            ("flow_limit", at(10)),
            ("backlog", at(11)),
        ]);
        // Two columns that came in 6.4 part the backlog; before, both must be 0 where their sum is.
        if columns.len() > 13 {
            row.insert("input", at(13));
            row.insert("process", at(14));
        } else {
            assert_eq!(columns[11], 0, "this kernel doesn't part its backlog");
            row.insert("input", "0".into());
            row.insert("process", "0".into());
        }
        truth.insert(columns[12], row);
    }
    truth
}

#[test]
fn netdev_equals_softnet_stat() {
    for machine in machines() {
        let report = machine.report("netdev", &[]);
        let number = |value: &Value| value.as_u64().expect("a number");
        let found = array(&report["softnet"])
            .iter()
            .map(|cpu| {
                let waiting = number(&cpu["input_qlen"]) + number(&cpu["process_qlen"]);
                let mut columns = row([
                    ("processed", text(&cpu["processed"])),
                    ("dropped", text(&cpu["dropped"])),
                    ("time_squeeze", text(&cpu["time_squeeze"])),
                    ("received_rps", text(&cpu["received_rps"])),
                    ("flow_limit", text(&cpu["flow_limit"])),
                    ("backlog", waiting.to_string()),
                ]);
                columns.insert("input", text(&cpu["input_qlen"]));
                columns.insert("process", text(&cpu["process_qlen"]));
                (number(&cpu["cpu"]), columns)
            })
            .collect();
        let mut truth = softnet(&machine.truth);
        let moved = machine.allow_between(&found, &mut truth, softnet);
        println!("{}: {moved} counters of softirqs moved on", machine.release);
        let mut comparison = Comparison::default();
        comparison.tables("CPU", &found, &truth);
        comparison.finish(&format!(
            "{}: netdev and /proc/net/softnet_stat",
            machine.name()
        ));
    }
}

#[test]
fn ps_args_equal_proc_cmdline() {
    for machine in machines() {
        let report = machine.report("ps", &["--args"]);
        let mut found = BTreeMap::new();
        for task in array(&report["tasks"]) {
            let pid = task["pid"].as_i64().expect("pid");
            if pid != 0 {
                let words: Vec<String> = array(&task["args"]).iter().map(text).collect();
                found.insert(pid, row([("arguments", format!("{words:?}"))]));
            }
        }
        let mut truth = BTreeMap::new();
        let tasks = read_json(&machine.truth.join("tasks.json"));
        for task in array(&tasks) {
            let (tid, tgid) = (task["tid"].as_i64(), task["tgid"].as_i64());
            if tid != tgid {
                continue;
            }
            let pid = tid.expect("tid");
            let file = machine.truth.join(format!("proc/{pid}/cmdline"));
            let bytes = std::fs::read(&file).expect("the recorder read it");
            let mut words: Vec<String> = bytes
                .split(|byte| *byte == 0)
                .map(|word| String::from_utf8_lossy(word).into_owned())
                .collect();
            // Each argument has a NUL behind it.
            words.pop();
            truth.insert(pid, row([("arguments", format!("{words:?}"))]));
        }
        let of_users = truth.values().filter(|row| row["arguments"] != "[]");
        assert!(of_users.count() > 20, "{}", machine.release);
        let mut comparison = Comparison::default();
        comparison.tables("process", &found, &truth);
        comparison.finish(&format!("{}: ps --args and cmdline", machine.name()));
    }
}

/// A copy of a dump whose VMCOREINFO note has another name.
fn without_vmcoreinfo(vmcore: &Path) -> tempfile::NamedTempFile {
    use std::io::{Read as _, Seek as _, Write as _};

    let copy = tempfile::NamedTempFile::new_in(vmcore.parent().expect("it is in a folder"));
    let copy = copy.expect("there is room for a copy");
    std::fs::copy(vmcore, copy.path()).expect("it can be copied");
    let mut file = std::fs::OpenOptions::new();
    let mut file = file
        .read(true)
        .write(true)
        .open(copy.path())
        .expect("it is there");
    let mut head = vec![0; 1 << 16];
    file.read_exact(&mut head).expect("a dump is longer");
    let name = head.windows(10).position(|part| part == b"VMCOREINFO");
    let at = name.expect("the note comes before the memory") as u64;
    file.seek(std::io::SeekFrom::Start(at))
        .expect("it is a file");
    file.write_all(b"NOTHINGHERE").expect("it can be written");
    copy
}

#[test]
fn without_vmcoreinfo_the_kernel_is_found_all_the_same() {
    for machine in machines_that(&["stop", "panic"]) {
        if ["s390x", "ppc64le"].contains(&&*machine.kind) {
            println!("{}: QEMU has no such note of it", machine.release);
            continue; // it is always found by its banner
        }
        if machine.kind == "arm64" {
            println!("{}: refused by name, see translation.rs", machine.release);
            continue; // nothing in memory says where memory begins
        }
        let copy = without_vmcoreinfo(&machine.vmcore);
        let (with, without) = (
            analyze("ps", &machine.vmcore, &["-T"]),
            analyze("ps", copy.path(), &["-T"]),
        );
        assert_eq!(with, without, "{}", machine.release);
        assert!(array(&with["tasks"]).len() > 50);
        println!("{}: found by its banner", machine.release);
    }
}

#[test]
fn a_live_kernel_is_read_by_root_only_and_asked_for_by_no_name() {
    if lab_machines(&["live"]).is_empty() && machines().iter().all(|own| own.kind != "amd64") {
        println!("not done: only machines of the own architecture analyze themselves");
        return;
    }
    for machine in machines_that(&["live"]) {
        let live = |name: &str| read(machine.folder.join("truth-after/live").join(name));
        let error = live("nobody.err");
        assert_eq!(live("nobody.status"), "2\n");
        assert!(
            error.contains("/proc/kcore: Permission denied") && error.contains("read by root only"),
            "{error}"
        );
        // With its name and without it: the same kernel.
        let table = live("ps-table.out");
        let rows = table.lines().count() - 1;
        assert_eq!(
            (&*live("ps-table.status"), &*live("ps-table.err")),
            ("0\n", "")
        );
        // Processes are tasks without -T, too: as many as leaders of threads.
        let leaders = array(&machine.said("ps")["tasks"])
            .iter()
            .filter(|task| task["pid"] == task["tgid"])
            .count();
        assert_eq!(rows, leaders, "{table}");
    }
}

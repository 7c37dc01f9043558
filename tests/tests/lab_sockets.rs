//! `tcp` and `sockets` on dumps of real kernels, against /proc/net and what `ss` said a moment before the dump: every row, every column.
//!
//! Clocks go on between the recording and the dump, and some seconds after it there is a second recording. What is the same in both must be
//! the same in the dump; a number that isn't must lie between the two. A timer that ran out between the two began anew: what it counts is
//! then between as well, but when it expires next can't be known, and is left out. Nothing else is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tests::compare::{Comparison, Row};
use tests::procfs::ends_of;
use tests::{TCP_STATES, analyze, array, lab_machines, read_json, shown, text, xtask};

/// Network namespaces of which there is a recording.
const SPACES: [&str; 3] = ["root", "lab", "idle"];

struct Machine {
    folder: PathBuf,
    name: String,
}

fn machines() -> Vec<Machine> {
    let machines: Vec<Machine> = lab_machines(&["stop"])
        .into_iter()
        .map(|folder| Machine {
            name: text(&read_json(&folder.join("lab.json"))["release"]),
            folder,
        })
        .collect();
    assert!(!machines.is_empty());
    machines
}

impl Machine {
    fn report(&self, analyzer: &str, options: &[&str]) -> Value {
        analyze(analyzer, &self.folder.join("vmcore"), options)
    }

    /// What is printed for people.
    fn table(&self, analyzer: &str, options: &[&str]) -> String {
        let core = self.folder.join("vmcore");
        let core = core.to_str().expect("paths here are UTF-8");
        let mut args = vec!["run", analyzer, "--core", core, "--"];
        args.extend(options);
        let output = xtask(&args);
        assert!(output.status.success(), "{analyzer}: {}", shown(&output));
        String::from_utf8(output.stdout).expect("it is text")
    }

    fn is_little_endian(&self) -> bool {
        !self.folder.to_string_lossy().contains("s390x")
    }

    /// A file of both recordings; empty where there is none.
    fn truth(&self, path: &str) -> [String; 2] {
        ["truth", "truth-after"].map(|when| {
            let path = self.folder.join(when).join(path);
            read(&path)
        })
    }

    /// The inode numbers of the namespaces, by what `ip netns` and the recorder call them.
    fn spaces(&self) -> BTreeMap<u64, &'static str> {
        let manifest = read(&self.folder.join("truth/labd.manifest"));
        let pid_of = |line_start: &str| {
            let line = manifest
                .lines()
                .find(|line| line.starts_with(line_start))
                .unwrap_or_else(|| panic!("{line_start}"));
            let pid = line.split("pid=").nth(1).expect("a pid");
            pid.split(' ').next().expect("a number").to_owned()
        };
        let tasks = read_json(&self.folder.join("truth/tasks.json"));
        let idle = array(&tasks)
            .iter()
            .find(|task| task["comm"] == "lab-idlens")
            .expect("the process of namespace idle");
        [
            ("root", "1".to_owned()),
            ("lab", pid_of("LAB netns pid=")),
            ("idle", text(&idle["tid"])),
        ]
        .into_iter()
        .map(|(name, pid)| {
            let spaces = read(&self.folder.join(format!("truth/proc/{pid}/ns.txt")));
            let line = spaces
                .lines()
                .find(|line| line.starts_with("net -> "))
                .expect("a network namespace");
            let inode = line
                .trim_start_matches("net -> net:[")
                .trim_end_matches(']');
            (inode.parse().expect("a number"), name)
        })
        .collect()
    }
}

fn read(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Rows of the same key get numbers, so that none is lost.
fn add(rows: &mut BTreeMap<String, Row>, key: &str, row: Row) {
    let mut number = 0;
    loop {
        let key = match number {
            0 => key.to_owned(),
            number => format!("{key} #{number}"),
        };
        if let std::collections::btree_map::Entry::Vacant(place) = rows.entry(key) {
            place.insert(row);
            return;
        }
        number += 1;
    }
}

/// Rows of the same two ends told apart by the socket's inode, as kernels list them in orders of their own.
fn by_inode(rows: BTreeMap<String, Row>) -> BTreeMap<String, Row> {
    rows.into_iter()
        .map(|(key, row)| {
            let ends = key.split(" #").next().unwrap_or_default();
            (format!("{ends} {}", row["ino"]), row)
        })
        .collect()
}

/// Where a number changed between the recordings and the dump's is between the two, what was found is right.
fn allow_between(
    found: &BTreeMap<String, Row>,
    truth: &mut BTreeMap<String, Row>,
    after: &BTreeMap<String, Row>,
) -> usize {
    let mut allowed = 0;
    for (key, row) in truth {
        let (Some(found), Some(after)) = (found.get(key), after.get(key)) else {
            continue;
        };
        for (column, value) in row {
            let [Some(found), Some(after)] = [found.get(column), after.get(column)] else {
                continue;
            };
            let numbers = [&*value, found, after].map(|text| text.parse::<f64>());
            let [Ok(before), Ok(is), Ok(then)] = numbers else {
                continue;
            };
            if before != then && before.min(then) <= is && is <= before.max(then) {
                value.clone_from(found);
                allowed += 1;
            }
        }
    }
    allowed
}

/// Of sockets that are gone when the second recording is made, as their probes ran out, the numbers of the dump can't lie between two: those
/// that count tries and times are at least what they were, and when the next try is can't be known. Of a TIME_WAIT that was over, less is left than
/// was. What /proc says of them was recorded after ss, and is compared by itself.
fn allow_grown(
    found: &BTreeMap<String, Row>,
    truth: &mut BTreeMap<String, Row>,
    after: &BTreeMap<String, Row>,
) -> usize {
    const GROW: [&str; 7] = [
        "backoff",
        "busy",
        "lastack",
        "lastrcv",
        "lastsnd",
        "segs_out",
        "timer_count",
    ];
    let mut allowed = 0;
    for (key, row) in truth {
        let Some(found) = found.get(key).filter(|_| !after.contains_key(key)) else {
            continue;
        };
        let is_grown = |column: &str| {
            let number = |row: &Row| row.get(column).and_then(|text| text.parse::<u64>().ok());
            number(row) < number(found)
        };
        let mut columns: Vec<&str> = GROW.into_iter().filter(|column| is_grown(column)).collect();
        let wait = |row: &Row| {
            let is_wait = row.get("timer").is_some_and(|timer| timer == "timewait");
            let left = row.get("expires").filter(|_| is_wait)?;
            left.parse::<u64>().ok()
        };
        let less_is_left = wait(row).zip(wait(found)).is_some_and(|(was, is)| is < was);
        if columns.contains(&"timer_count") || less_is_left {
            columns.push("expires");
        }
        for column in columns {
            if let (Some(value), Some(found)) = (row.get_mut(column), found.get(column)) {
                value.clone_from(found);
                allowed += 1;
            }
        }
    }
    allowed
}

/// ss shows no zeros: a number that is in one recording only was 0 in the other, and may be in the dump.
fn add_zeros(
    found: &mut BTreeMap<String, Row>,
    truth: &mut BTreeMap<String, Row>,
    after: &mut BTreeMap<String, Row>,
) {
    for (key, before) in truth {
        let (Some(found), Some(after)) = (found.get_mut(key), after.get_mut(key)) else {
            continue;
        };
        let columns: Vec<(&'static str, String)> = before
            .iter()
            .chain(after.iter())
            .map(|(column, value)| (*column, value.clone()))
            .collect();
        for (column, value) in columns {
            let in_one = before.contains_key(column) != after.contains_key(column);
            if in_one && value.parse::<f64>().is_ok() {
                for row in [&mut *before, &mut *after, &mut *found] {
                    row.entry(column).or_insert_with(|| "0".to_owned());
                }
            }
        }
    }
}

/// When timers expire that began anew between the recordings: what they count has changed. A request whose accept is deferred counts nothing
/// (`reqsk_timer_handler`): it began anew if it has more time than it had. /proc's own value was recorded after ss, and is compared by itself.
fn leave_out_timers_that_ran_out(
    found: &mut BTreeMap<String, Row>,
    truth: &mut BTreeMap<String, Row>,
    after: &BTreeMap<String, Row>,
    expires: &'static str,
    counts: &[&str],
) -> usize {
    let mut left_out = 0;
    for (key, row) in truth {
        let Some(after) = after.get(key) else {
            continue;
        };
        let later = |row: &Row| row.get(expires).and_then(|time| time.parse::<f64>().ok());
        let ran_out = counts
            .iter()
            .any(|count| row.get(*count) != after.get(*count))
            || later(after) > later(row)
            || row.get("state").is_some_and(|state| state == "SYN-RECV")
                && found.get(key).and_then(later) > later(row);
        if ran_out {
            row.remove(expires);
            if let Some(found) = found.get_mut(key) {
                found.remove(expires);
            }
            left_out += 1;
        }
    }
    left_out
}

fn hex(text: &str) -> String {
    u64::from_str_radix(text, 16)
        .unwrap_or_else(|_| panic!("{text}"))
        .to_string()
}

/// The lines of /proc/net/{tcp,udp,raw,...} and their IPv6 counterparts.
fn proc_inet(file: &str, little: bool, is_tcp: bool) -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::new();
    for line in file.lines().skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [local, remote] =
            ends_of(line, little).map(|end| format!("{} {}", end.ip(), end.port()));
        let (tx, rx) = words[4].split_once(':').expect("queues");
        let (timer, when) = words[5].split_once(':').expect("a timer");
        let mut row: Row = [
            ("state", hex(words[3])),
            ("tx_queue", hex(tx)),
            ("rx_queue", hex(rx)),
            ("timer", hex(timer)),
            ("when", hex(when)),
            ("retransmits", hex(words[6])),
            ("uid", words[7].to_owned()),
            ("probes", words[8].to_owned()),
            ("inode", words[9].to_owned()),
            ("refcount", words[10].to_owned()),
        ]
        .into_iter()
        .collect();
        // words[11] is the socket's address, disguised (%pK): nothing can be compared with it.
        let rest: &[&'static str] = if is_tcp {
            &["rto", "ato", "quick", "cwnd", "ssthresh"]
        } else {
            &["drops"]
        };
        for (name, word) in rest.iter().zip(&words[12..]) {
            row.insert(name, (*word).to_owned());
        }
        let closed = if is_tcp { "" } else { words[9] };
        add(&mut rows, &format!("{local} {remote} {closed}"), row);
    }
    rows
}

/// The number of a state as /proc has it.
fn state_number(name: &str) -> usize {
    TCP_STATES
        .iter()
        .position(|state| *state == name)
        .unwrap_or_else(|| panic!("{name}"))
}

/// `jiffies_to_clock_t` of microseconds.
fn ticks(microseconds: &Value) -> u64 {
    microseconds.as_u64().expect("a number") / 10_000
}

fn ends(socket: &Value) -> String {
    ["local", "local_port", "remote", "remote_port"]
        .map(|column| text(&socket[column]))
        .join(" ")
}

/// A TCP socket as /proc/net/tcp would show it.
fn as_proc_tcp(socket: &Value) -> Row {
    let timer = &socket["timer"];
    let which = ["off", "on", "keepalive", "timewait", "persist"]
        .iter()
        .position(|which| timer["which"] == *which)
        .expect("a timer");
    let expires = timer["expires_ms"].as_i64().expect("a number").max(0);
    let is_listener = socket["state"] == "LISTEN";
    let info = &socket["info"];
    let number = |value: &Value| value.as_u64().unwrap_or(0).to_string();
    let mut row: Row = [
        ("state", state_number(&text(&socket["state"])).to_string()),
        // /proc has the limit of a listener's queue nowhere.
        (
            "tx_queue",
            if is_listener {
                "0".to_owned()
            } else {
                text(&socket["tx_queue"])
            },
        ),
        ("rx_queue", text(&socket["rx_queue"])),
        ("timer", which.to_string()),
        ("when", (expires / 10).to_string()),
        // Only what the timer of retransmissions counts, whichever timer is pending.
        (
            "retransmits",
            match &*text(&socket["form"]) {
                "full" => number(&info["retransmits"]),
                "request" => text(&socket["timeouts"]),
                _ => "0".to_owned(),
            },
        ),
        ("uid", text(&socket["uid"])),
        ("probes", number(&info["probes"])),
        ("inode", text(&socket["inode"])),
        // /proc has none of requests.
        (
            "refcount",
            if socket["form"] == "request" {
                "0".to_owned()
            } else {
                text(&socket["refcount"])
            },
        ),
    ]
    .into_iter()
    .collect();
    if socket["form"] == "full" {
        let threshold = if is_listener {
            text(&socket["listener"]["max_fastopen"])
        } else if info["snd_ssthresh"].as_u64() >= Some(0x7fff_ffff) {
            "-1".to_owned()
        } else {
            text(&info["snd_ssthresh"])
        };
        row.extend([
            ("rto", ticks(&info["rto"]).to_string()),
            ("ato", ticks(&info["ato"]).to_string()),
            ("quick", text(&info["quick_and_pingpong"])),
            ("cwnd", text(&info["snd_cwnd"])),
            ("ssthresh", threshold),
        ]);
    }
    row
}

#[test]
fn tcp_is_what_proc_says() {
    for machine in machines() {
        let report = machine.report("tcp", &[]);
        let spaces = machine.spaces();
        let mut comparison = Comparison::default();
        let (mut between, mut left_out) = (0, 0);
        for space in SPACES {
            for (file, family) in [("tcp", "inet"), ("tcp6", "inet6")] {
                let [mut truth, after] = machine
                    .truth(&format!("net/{space}/{file}"))
                    .map(|file| proc_inet(&file, machine.is_little_endian(), true));
                let mut found = BTreeMap::new();
                for socket in array(&report["sockets"]) {
                    let inode = socket["netns"].as_u64().expect("a namespace");
                    // Those that are bound to nothing, or bound and no more, /proc doesn't have.
                    if spaces[&inode] == space
                        && socket["family"] == family
                        && socket["state"] != "UNCONN"
                    {
                        let key = format!("{} ", ends(socket));
                        add(&mut found, &key, as_proc_tcp(socket));
                    }
                }
                left_out += leave_out_timers_that_ran_out(
                    &mut found,
                    &mut truth,
                    &after,
                    "when",
                    &["retransmits", "probes", "timer"],
                );
                between += allow_between(&found, &mut truth, &after);
                comparison.tables(&format!("{space} {file}"), &found, &truth);
            }
        }
        println!(
            "{}: {between} values lie between the recordings, {left_out} timers began anew",
            machine.name
        );
        comparison.finish(&format!("{}: /proc/net/tcp, tcp6", machine.name));
    }
}

#[test]
fn datagram_sockets_are_what_proc_says() {
    for machine in machines() {
        let report = machine.report("sockets", &[]);
        let spaces = machine.spaces();
        let mut comparison = Comparison::default();
        for space in SPACES {
            for (file, netid, family) in [
                ("udp", "udp", "inet"),
                ("udp6", "udp", "inet6"),
                ("udplite", "udplite", "inet"),
                ("udplite6", "udplite", "inet6"),
                ("raw", "raw", "inet"),
                ("raw6", "raw", "inet6"),
                ("icmp", "icmp", "inet"),
                ("icmp6", "icmp", "inet6"),
            ] {
                let [truth, _] = machine
                    .truth(&format!("net/{space}/{file}"))
                    .map(|file| proc_inet(&file, machine.is_little_endian(), false));
                let mut found = BTreeMap::new();
                for socket in array(&report["datagram"]) {
                    let inode = socket["netns"].as_u64().expect("a namespace");
                    if spaces[&inode] != space
                        || socket["netid"] != netid
                        || socket["family"] != family
                    {
                        continue;
                    }
                    let state = state_number(&text(&socket["state"])).to_string();
                    let row = [
                        ("state", state),
                        ("tx_queue", text(&socket["tx_queue"])),
                        ("rx_queue", text(&socket["rx_queue"])),
                        ("timer", "0".to_owned()),
                        ("when", "0".to_owned()),
                        ("retransmits", "0".to_owned()),
                        ("uid", text(&socket["uid"])),
                        ("probes", "0".to_owned()),
                        ("inode", text(&socket["inode"])),
                        ("refcount", text(&socket["refcount"])),
                        ("drops", text(&socket["memory"]["drops"])),
                    ];
                    let key = format!("{} {}", ends(socket), text(&socket["inode"]));
                    add(&mut found, &key, row.into_iter().collect());
                }
                comparison.tables(&format!("{space} {file}"), &found, &truth);
            }
        }
        comparison.finish(&format!(
            "{}: /proc/net/udp, udplite, raw, icmp and of IPv6",
            machine.name
        ));
    }
}

#[test]
fn unix_sockets_are_what_proc_says() {
    const TYPES: [(&str, &str); 3] = [("stream", "0001"), ("dgram", "0002"), ("seqpacket", "0005")];
    for machine in machines() {
        let report = machine.report("sockets", &["-x"]);
        let spaces = machine.spaces();
        let mut comparison = Comparison::default();
        for space in SPACES {
            let [file, _] = machine.truth(&format!("net/{space}/unix"));
            let mut truth = BTreeMap::new();
            for line in file.lines().skip(1) {
                // `address: refcount protocol flags type state inode name`, and a name may have blanks.
                let mut rest = line;
                let columns: Vec<&str> = (0..7)
                    .map(|_| {
                        let (column, behind) = rest.split_once(' ').unwrap_or((rest, ""));
                        rest = behind.trim_start();
                        column
                    })
                    .skip(1)
                    .collect();
                let name = rest;
                let row = [
                    ("refcount", hex(columns[0])),
                    ("protocol", hex(columns[1])),
                    ("flags", columns[2].to_owned()),
                    ("type", columns[3].to_owned()),
                    ("state", hex(columns[4])),
                    ("name", name.to_owned()),
                ];
                add(&mut truth, columns[5], row.into_iter().collect());
            }
            let mut found = BTreeMap::new();
            for socket in array(&report["unix"]) {
                if spaces[&socket["netns"].as_u64().expect("a namespace")] != space {
                    continue;
                }
                let kind = text(&socket["type"]);
                let kind = TYPES.iter().find(|(name, _)| *name == kind);
                let is_listener = socket["state"] == "LISTEN";
                let row = [
                    ("refcount", text(&socket["refcount"])),
                    ("protocol", "0".to_owned()),
                    // __SO_ACCEPTCON
                    (
                        "flags",
                        if is_listener { "00010000" } else { "00000000" }.to_owned(),
                    ),
                    ("type", kind.map_or("?", |(_, number)| number).to_owned()),
                    ("state", text(&socket["socket_state"])),
                    ("name", socket["name"].as_str().unwrap_or("").to_owned()),
                ];
                add(
                    &mut found,
                    &text(&socket["inode"]),
                    row.into_iter().collect(),
                );
            }
            comparison.tables(&format!("{space} unix"), &found, &truth);
        }
        comparison.finish(&format!("{}: /proc/net/unix", machine.name));
    }
}

#[test]
fn netlink_sockets_are_what_proc_says() {
    for machine in machines() {
        let report = machine.report("sockets", &["-k"]);
        let spaces = machine.spaces();
        let mut comparison = Comparison::default();
        for space in SPACES {
            let [file, _] = machine.truth(&format!("net/{space}/netlink"));
            let mut truth = BTreeMap::new();
            for line in file.lines().skip(1) {
                let words: Vec<&str> = line.split_whitespace().collect();
                let names = [
                    "groups", "rmem", "wmem", "dumping", "refcount", "drops", "inode",
                ];
                let row = names
                    .into_iter()
                    .zip(words[3..].iter().map(ToString::to_string));
                add(
                    &mut truth,
                    &format!("{} {}", words[1], words[2]),
                    row.collect(),
                );
            }
            let mut found = BTreeMap::new();
            for socket in array(&report["netlink"]) {
                if spaces[&socket["netns"].as_u64().expect("a namespace")] != space {
                    continue;
                }
                // The first word of the groups.
                let groups = array(&socket["groups"])
                    .iter()
                    .map(|group| group.as_u64().expect("a number"))
                    .filter(|group| *group <= 32)
                    .fold(0_u32, |groups, group| groups | 1 << (group - 1));
                let memory = &socket["memory"];
                let row = [
                    ("groups", format!("{groups:08x}")),
                    ("rmem", text(&memory["rmem_alloc"])),
                    ("wmem", text(&memory["wmem_alloc"])),
                    ("dumping", u8::from(socket["dumping"] == true).to_string()),
                    ("refcount", text(&socket["refcount"])),
                    ("drops", text(&memory["drops"])),
                    ("inode", text(&socket["inode"])),
                ];
                let key = format!("{} {}", text(&socket["protocol"]), text(&socket["portid"]));
                add(&mut found, &key, row.into_iter().collect());
            }
            comparison.tables(&format!("{space} netlink"), &found, &truth);
        }
        comparison.finish(&format!("{}: /proc/net/netlink", machine.name));
    }
}

#[test]
fn packet_sockets_are_what_proc_says() {
    const TYPES: [(&str, &str); 3] = [("dgram", "2"), ("raw", "3"), ("packet", "10")];
    for machine in machines() {
        let report = machine.report("sockets", &["-0"]);
        let spaces = machine.spaces();
        let mut comparison = Comparison::default();
        for space in SPACES {
            let [file, _] = machine.truth(&format!("net/{space}/packet"));
            let mut truth = BTreeMap::new();
            for line in file.lines().skip(1) {
                let words: Vec<&str> = line.split_whitespace().collect();
                let names = [
                    "refcount", "type", "proto", "iface", "running", "rmem", "uid",
                ];
                let row = names
                    .into_iter()
                    .zip(words[1..8].iter().map(ToString::to_string));
                add(&mut truth, words[8], row.collect());
            }
            let mut found = BTreeMap::new();
            for socket in array(&report["packet"]) {
                if spaces[&socket["netns"].as_u64().expect("a namespace")] != space {
                    continue;
                }
                let kind = text(&socket["type"]);
                let kind = TYPES.iter().find(|(name, _)| *name == kind);
                let protocol = socket["ethertype"].as_u64().expect("a number");
                let row = [
                    ("refcount", text(&socket["refcount"])),
                    ("type", kind.map_or("?", |(_, number)| number).to_owned()),
                    ("proto", format!("{protocol:04x}")),
                    ("iface", text(&socket["packet_ifindex"])),
                    ("running", u8::from(socket["running"] == true).to_string()),
                    ("rmem", text(&socket["memory"]["rmem_alloc"])),
                    ("uid", text(&socket["uid"])),
                ];
                add(
                    &mut found,
                    &text(&socket["inode"]),
                    row.into_iter().collect(),
                );
            }
            comparison.tables(&format!("{space} packet"), &found, &truth);
        }
        comparison.finish(&format!("{}: /proc/net/packet", machine.name));
    }
}

/// What stands in a line of ss behind the addresses, by name: `rto:204` and `send 12Mbps` have values, `sack` is there or not.
fn words_of_ss(line: &str) -> Row {
    let mut row = Row::new();
    let mut words = line.split_whitespace();
    while let Some(word) = words.next() {
        if ["send", "pacing_rate", "delivery_rate"].contains(&word) {
            let rate = words.next().unwrap_or_default();
            // A maximum may stand behind it.
            let (rate, most) = rate.split_once('/').unwrap_or((rate, ""));
            row.insert(leaked(word), rate.to_owned());
            if !most.is_empty() {
                row.insert("max_pacing_rate", most.to_owned());
            }
            continue;
        }
        match word.split_once(':') {
            Some(("users", rest)) => drop(row.insert("users", sorted_users(rest))),
            Some(("timer", rest)) => {
                let parts = rest.trim_matches(['(', ')']);
                for (name, part) in ["timer", "expires", "timer_count"]
                    .iter()
                    .zip(parts.split(','))
                {
                    row.insert(name, part.to_owned());
                }
                let expires = milliseconds(&row["expires"]);
                row.insert("expires", expires.to_string());
            }
            Some(("rtt" | "retrans" | "wscale", pair)) => {
                let name = word.split(':').next().unwrap_or_default();
                for (index, value) in pair.split(['/', ',']).enumerate() {
                    row.insert(leaked(&format!("{name}{index}")), value.to_owned());
                }
            }
            Some(("skmem", rest)) => {
                for part in rest.trim_matches(['(', ')']).split(',') {
                    let digits = part.find(|c: char| c.is_ascii_digit()).expect("a number");
                    let (name, number) = part.split_at(digits);
                    row.insert(leaked(&format!("skmem {name}")), number.to_owned());
                }
            }
            Some((name @ ("rwnd_limited" | "sndbuf_limited"), value)) => {
                let (time, share) = value.split_once("ms(").expect("a time and a share");
                row.insert(leaked(name), time.to_owned());
                row.insert(
                    leaked(&format!("{name} %")),
                    share.trim_end_matches("%)").to_owned(),
                );
            }
            // The name stands by itself as well.
            Some((name @ ("bbr" | "dctcp"), value)) => {
                row.insert(leaked(&format!("{name} info")), value.to_owned());
            }
            Some((name, value)) => {
                let value = value.strip_suffix("ms").unwrap_or(value);
                row.insert(leaked(name), value.to_owned());
            }
            None => drop(row.insert(leaked(word), String::new())),
        }
    }
    row
}

/// Names of columns live as long as the test.
fn leaked(name: &str) -> &'static str {
    Box::leak(name.to_owned().into_boxed_str())
}

/// Who holds a socket, in an order.
fn sorted_users(text: &str) -> String {
    let mut users: Vec<&str> = text.trim_matches(['(', ')']).split("),(").collect();
    users.sort_unstable();
    users.join(" ")
}

/// `1min4sec`, `2.036ms`, `204ms`
fn milliseconds(text: &str) -> u64 {
    let (minutes, rest) = text.split_once("min").unwrap_or(("0", text));
    let number = |text: &str| text.parse::<u64>().unwrap_or_else(|_| panic!("{text}"));
    let rest = if let Some(seconds) = rest.strip_suffix("sec") {
        number(seconds) * 1000
    } else if let Some(rest) = rest.strip_suffix("ms") {
        match rest.split_once('.') {
            Some((seconds, rest)) => number(seconds) * 1000 + number(rest),
            None => number(rest),
        }
    } else {
        assert!(rest.is_empty(), "{text}");
        0
    };
    number(minutes) * 60_000 + rest
}

/// Lines of `ss -O`, and of our tables, by their ends and state.
fn lines_of_ss<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let mut words = line.split_whitespace();
        let mut next = || words.next().unwrap_or_else(|| panic!("{line}"));
        let (state, rx, tx, local, remote) = (next(), next(), next(), next(), next());
        let rest: Vec<&str> = words.collect();
        let mut row = words_of_ss(&rest.join(" "));
        row.insert("state", state.to_owned());
        row.insert("rx_queue", rx.to_owned());
        row.insert("tx_queue", tx.to_owned());
        add(&mut rows, &format!("{local} {remote}"), row);
    }
    rows
}

#[test]
fn tcp_is_what_ss_says() {
    /// What we add, and what the ss of the recordings didn't know.
    const OURS: [&str; 5] = ["sock", "waits-at", "usec_ts", "rcv_wnd", "rehash"];
    for machine in machines() {
        let table = machine.table("tcp", &["-tanpieom", "--state", "connected,listening"]);
        let spaces = machine.spaces();
        let mut comparison = Comparison::default();
        let (mut between, mut left_out, mut ended, mut grown) = (0, 0, 0, 0);
        for space in SPACES {
            let own = table
                .split("== network namespace ")
                .skip(1)
                .find(|part| {
                    let inode = part.lines().next().expect("a number");
                    spaces[&inode.parse().expect("a number")] == space
                })
                .unwrap_or_default();
            // The second line of a socket belongs to its first.
            let own = own.replace("\n        ", " ");
            let mut found = lines_of_ss(own.lines().skip(2));
            for row in found.values_mut() {
                row.retain(|name, _| !OURS.contains(name));
            }
            let [mut truth, mut after] = machine
                .truth(&format!("tools/{space}/ss_tcp.txt"))
                .map(|file| lines_of_ss(file.lines()));
            // What /proc was asked for after ss, and before the dump: a slow machine's TIME_WAIT is over by then.
            let mut proc = BTreeSet::new();
            for file in ["tcp", "tcp6"] {
                let [file, _] = machine.truth(&format!("net/{space}/{file}"));
                for line in file.lines().skip(1) {
                    let ends = ends_of(line, machine.is_little_endian());
                    proc.insert(ends.map(|end| end.to_string()).join(" "));
                }
            }
            let before = truth.len();
            truth.retain(|key, row| {
                let waits = row.get("timer").is_some_and(|timer| timer == "timewait");
                !waits || found.contains_key(key) || proc.contains(key)
            });
            ended += before - truth.len();
            add_zeros(&mut found, &mut truth, &mut after);
            without_cgroups_of_other_namespaces(space, &mut found);
            without_cgroups_of_other_namespaces(space, &mut truth);
            left_out += leave_out_timers_that_ran_out(
                &mut found,
                &mut truth,
                &after,
                "expires",
                &["timer_count", "timer", "retrans0", "retrans1", "backoff"],
            );
            between += allow_between(&found, &mut truth, &after);
            grown += allow_grown(&found, &mut truth, &after);
            comparison.tables(space, &found, &truth);
        }
        println!(
            "{}: {between} values lie between the recordings, {left_out} timers began anew, {ended} waits ended before /proc was read, {grown} values grew of sockets that then ended",
            machine.name
        );
        comparison.finish(&format!("{}: ss -tanpieom", machine.name));
    }
}

/// What ss shows of all sockets of a family.
fn base_words(socket: &Value) -> Row {
    let mut row = Row::new();
    let memory = &socket["memory"];
    for (name, column) in [
        ("skmem r", "rmem_alloc"),
        ("skmem rb", "rcvbuf"),
        ("skmem t", "wmem_alloc"),
        ("skmem tb", "sndbuf"),
        ("skmem f", "fwd_alloc"),
        ("skmem w", "wmem_queued"),
        ("skmem o", "optmem"),
        ("skmem bl", "backlog"),
        ("skmem d", "drops"),
    ] {
        row.insert(name, text(&memory[column]));
    }
    let holders: Vec<String> = array(&socket["holders"])
        .iter()
        .map(|holder| {
            let [comm, pid, fd] = ["comm", "pid", "fd"].map(|name| text(&holder[name]));
            format!("(\"{comm}\",pid={pid},fd={fd})")
        })
        .collect();
    if !holders.is_empty() {
        row.insert("users", sorted_users(&format!("({})", holders.join(","))));
    }
    row.insert("rx_queue", text(&socket["rx_queue"]));
    row.insert("tx_queue", text(&socket["tx_queue"]));
    row.insert("state", text(&socket["state"]));
    row
}

/// ` <->`: which way a socket still goes.
fn ways(socket: &Value) -> String {
    let shutdown = socket["shutdown"].as_u64().expect("a number");
    let receives = if shutdown & 1 == 0 { '<' } else { '-' };
    let sends = if shutdown & 2 == 0 { '>' } else { '-' };
    format!("{receives}-{sends}")
}

/// An address and a port as ss has them.
fn ss_end(socket: &Value, which: &str) -> String {
    let address: IpAddr = text(&socket[which]).parse().expect("an address");
    let port = &socket[format!("{which}_port")];
    let device = match (which, socket["device"].as_str()) {
        ("local", Some(device)) => format!("%{device}"),
        _ => String::new(),
    };
    let address = match address {
        IpAddr::V6(address) if address.is_unspecified() && socket["v6only"] == false => {
            "*".to_owned()
        }
        IpAddr::V6(address) => format!("[{address}]"),
        IpAddr::V4(address) => address.to_string(),
    };
    match port.as_u64() {
        Some(0) => format!("{address}{device}:*"),
        _ => format!("{address}{device}:{port}"),
    }
}

/// Outside the first namespace, ss has a /sys of its own in which there are no cgroups, and says so.
fn without_cgroups_of_other_namespaces(space: &str, rows: &mut BTreeMap<String, Row>) {
    if space != "root" {
        for row in rows.values_mut() {
            row.remove("cgroup");
        }
    }
}

/// The sockets of one family that are in a namespace.
fn in_space<'a>(
    report: &'a Value,
    family: &str,
    spaces: &BTreeMap<u64, &'static str>,
    space: &str,
) -> Vec<&'a Value> {
    array(&report[family])
        .iter()
        .filter(|socket| spaces[&socket["netns"].as_u64().expect("a namespace")] == space)
        .collect()
}

#[test]
fn datagram_sockets_are_what_ss_says() {
    for machine in machines() {
        let report = machine.report("sockets", &["-uw"]);
        let spaces = machine.spaces();
        let mut comparison = Comparison::default();
        for space in SPACES {
            // ss shows no UDP-Lite and no ping sockets.
            for netid in ["udp", "raw"] {
                let [mut truth, _] = machine
                    .truth(&format!("tools/{space}/ss_{netid}.txt"))
                    .map(|file| lines_of_ss(file.lines()));
                let mut found = BTreeMap::new();
                for socket in in_space(&report, "datagram", &spaces, space) {
                    if socket["netid"] != netid {
                        continue;
                    }
                    let mut row = base_words(socket);
                    row.insert("ino", text(&socket["inode"]));
                    let cookie = socket["cookie"].as_u64().expect("a number");
                    row.insert("sk", format!("{cookie:x}"));
                    if let Some(mark @ 1..) = socket["mark"].as_u64() {
                        row.insert("fwmark", format!("{mark:#x}"));
                    }
                    row.insert("cgroup", text(&socket["cgroup"]));
                    if socket["family"] == "inet6" && socket["state"] == "UNCONN" {
                        let v6only = u8::from(socket["v6only"] == true);
                        row.insert("v6only", v6only.to_string());
                    }
                    row.insert(leaked(&ways(socket)), String::new());
                    let key = format!("{} {}", ss_end(socket, "local"), ss_end(socket, "remote"));
                    add(&mut found, &key, row);
                }
                without_cgroups_of_other_namespaces(space, &mut found);
                without_cgroups_of_other_namespaces(space, &mut truth);
                let (found, truth) = (by_inode(found), by_inode(truth));
                comparison.tables(&format!("{space} {netid}"), &found, &truth);
            }
        }
        comparison.finish(&format!("{}: ss of UDP and raw sockets", machine.name));
    }
}

#[test]
fn unix_sockets_are_what_ss_says() {
    for machine in machines() {
        let report = machine.report("sockets", &["-x"]);
        let spaces = machine.spaces();
        let mut comparison = Comparison::default();
        for space in SPACES {
            let [file, _] = machine.truth(&format!("tools/{space}/ss_unix.txt"));
            let mut truth = BTreeMap::new();
            for line in file.lines().filter(|line| !line.is_empty()) {
                // `u_str ESTAB 0 0 name with blanks 12 * 13 users:...`
                let (ends, rest) = match line.find(" users:") {
                    Some(at) => line.split_at(at),
                    None => line.split_at(line.find(" skmem:").expect("its memory")),
                };
                let words: Vec<&str> = ends.split_whitespace().collect();
                let [name @ .., inode, "*", peer] = &words[4..] else {
                    panic!("{line}");
                };
                let (rest, peers) = rest.split_once("peers:").unwrap_or((rest, ""));
                let mut row = words_of_ss(rest);
                row.insert("netid", words[0].to_owned());
                row.insert("state", words[1].to_owned());
                row.insert("rx_queue", words[2].to_owned());
                row.insert("tx_queue", words[3].to_owned());
                row.insert("name", name.join(" "));
                row.insert("peer", (*peer).to_owned());
                let peers: Vec<&str> = peers.split_whitespace().collect();
                row.insert("peers", peers.join(" "));
                add(&mut truth, inode, row);
            }
            let mut found = BTreeMap::new();
            for socket in in_space(&report, "unix", &spaces, space) {
                // Those that wait to be accepted have no number, and ss doesn't show them.
                if socket["inode"] == 0 {
                    continue;
                }
                let mut row = base_words(socket);
                row.insert(
                    "netid",
                    match &*text(&socket["type"]) {
                        "stream" => "u_str",
                        "dgram" => "u_dgr",
                        _ => "u_seq",
                    }
                    .to_owned(),
                );
                row.insert("name", socket["name"].as_str().unwrap_or("*").to_owned());
                row.insert("peer", text(&socket["peer_inode"]));
                row.insert(leaked(&ways(socket)), String::new());
                if let Some(device) = socket["vfs_device"].as_u64() {
                    row.insert("ino", text(&socket["vfs_inode"]));
                    row.insert("dev", format!("{}/{}", device >> 20, device & 0xf_ffff));
                }
                let waiting: Vec<String> = array(&socket["waiting"]).iter().map(text).collect();
                row.insert("peers", waiting.join(" "));
                add(&mut found, &text(&socket["inode"]), row);
            }
            comparison.tables(&format!("{space} unix"), &found, &truth);
        }
        comparison.finish(&format!("{}: ss of unix sockets", machine.name));
    }
}

#[test]
fn netlink_sockets_are_what_ss_says() {
    for machine in machines() {
        let report = machine.report("sockets", &["-k"]);
        let spaces = machine.spaces();
        let mut comparison = Comparison::default();
        for space in SPACES {
            let [file, _] = machine.truth(&format!("tools/{space}/ss_netlink.txt"));
            let mut found = BTreeMap::new();
            for socket in in_space(&report, "netlink", &spaces, space) {
                let mut row = base_words(socket);
                // ss shows memory as the queues, and no state.
                row.insert("rx_queue", text(&socket["memory"]["rmem_alloc"]));
                row.insert("tx_queue", text(&socket["memory"]["wmem_alloc"]));
                row.remove("state");
                row.remove("users");
                let groups = array(&socket["groups"])
                    .iter()
                    .map(|group| group.as_u64().expect("a number"))
                    .filter(|group| *group <= 32)
                    .fold(0_u32, |groups, group| groups | 1 << (group - 1));
                row.insert("groups", format!("{groups:#010x}"));
                let key = format!("{}:{}", text(&socket["protocol"]), text(&socket["portid"]));
                add(&mut found, &key, row);
            }
            let mut truth = BTreeMap::new();
            for line in file.lines().filter(|line| !line.is_empty()) {
                let words: Vec<&str> = line.split_whitespace().collect();
                let mut row = words_of_ss(&words[8..].join(" "));
                row.insert("rx_queue", words[1].to_owned());
                row.insert("tx_queue", words[2].to_owned());
                let groups = words[7].trim_start_matches("groups=").to_owned();
                row.insert("groups", groups);
                // Those that listen to groups come a second time, by the list of these.
                truth.insert(words[3].to_owned(), row);
            }
            // NETLINK_SOCK_DIAG: ss itself, and the kernel's end of what it asked.
            for rows in [&mut found, &mut truth] {
                rows.retain(|key, _| !key.starts_with("4:"));
            }
            comparison.tables(&format!("{space} netlink"), &found, &truth);
        }
        comparison.finish(&format!("{}: ss of netlink sockets", machine.name));
    }
}

#[test]
fn packet_sockets_are_what_ss_says() {
    const MODES: [&str; 8] = ["hash", "lb", "cpu", "roll", "random", "qm", "cbpf", "ebpf"];
    for machine in machines() {
        let report = machine.report("sockets", &["-0"]);
        let spaces = machine.spaces();
        let mut comparison = Comparison::default();
        for space in SPACES {
            let [file, _] = machine.truth(&format!("tools/{space}/ss_packet.txt"));
            let mut truth = BTreeMap::new();
            for line in file.lines().filter(|line| !line.is_empty()) {
                let words: Vec<&str> = line.split_whitespace().collect();
                // The flags have blanks around them.
                let rest = words[6..].join(" ").replace("( ", "(").replace(" )", ")");
                let mut row = words_of_ss(&rest.replace("flags(", "flags:("));
                for name in ["fanout", "ring_rx"] {
                    if let Some(word) = rest.split(' ').find(|word| word.starts_with(name)) {
                        row.insert(name, word.to_owned());
                        row.retain(|column, _| !column.starts_with(&format!("{name}(")));
                    }
                }
                row.insert("netid", words[0].to_owned());
                row.insert("state", words[1].to_owned());
                row.insert("local", words[4].to_owned());
                row.insert("rx_queue", words[2].to_owned());
                row.insert("tx_queue", words[3].to_owned());
                add(&mut truth, &row["ino"].clone(), row);
            }
            let mut found = BTreeMap::new();
            for socket in in_space(&report, "packet", &spaces, space) {
                let mut row = base_words(socket);
                row.insert("rx_queue", text(&socket["memory"]["rmem_alloc"]));
                // ss has none.
                row.insert("tx_queue", "0".to_owned());
                let is_raw = socket["type"] == "raw";
                row.insert("netid", if is_raw { "p_raw" } else { "p_dgr" }.to_owned());
                let device = socket["packet_device"].as_str().unwrap_or("*");
                row.insert("local", format!("[{}]:{device}", socket["ethertype"]));
                row.insert("ino", text(&socket["inode"]));
                let cookie = socket["cookie"].as_u64().expect("a number");
                row.insert("sk", format!("{cookie:x}"));
                row.insert("ver", text(&socket["version"]));
                row.insert("cpy_thresh", text(&socket["copy_threshold"]));
                let running = socket["running"] == true;
                row.insert(
                    "flags",
                    if running { "(running)" } else { "(0)" }.to_owned(),
                );
                if let Some(mode) = socket["fanout"]["mode"].as_u64() {
                    let id = &socket["fanout"]["id"];
                    let mode = MODES[mode as usize];
                    row.insert("fanout", format!("fanout(id:{id},type:{mode})"));
                }
                let ring = &socket["rx_ring"];
                if !ring.is_null() {
                    let [size, blocks, frame, frames] =
                        ["block_size", "blocks", "frame_size", "frames"]
                            .map(|name| text(&ring[name]));
                    let ring = format!(
                        "ring_rx(blk_size:{size},blk_nr:{blocks},frm_size:{frame},frm_nr:{frames},tmo:0,features:0x0)"
                    );
                    row.insert("ring_rx", ring);
                }
                add(&mut found, &text(&socket["inode"]), row);
            }
            comparison.tables(&format!("{space} packet"), &found, &truth);
        }
        comparison.finish(&format!("{}: ss of packet sockets", machine.name));
    }
}

/// The numbers of open files and what their links say; a name may have a line break in it.
fn links(text: &str) -> Vec<(u32, String)> {
    let mut links: Vec<(u32, String)> = Vec::new();
    for line in text.lines() {
        let link = line
            .split_once(" -> ")
            .and_then(|(number, path)| Some((number.parse().ok()?, path.to_owned())));
        match (link, links.last_mut()) {
            (Some(link), _) => links.push(link),
            (None, Some((_, path))) => *path = format!("{path}\n{line}"),
            (None, None) => panic!("{line}"),
        }
    }
    links
}

/// The processes of which there is a recording.
fn processes(machine: &Machine) -> Vec<(String, PathBuf)> {
    let folder = machine.folder.join("truth/proc");
    std::fs::read_dir(&folder)
        .expect("processes were recorded")
        .map(|entry| {
            let entry = entry.expect("it can be listed");
            let pid = entry.file_name().to_string_lossy().into_owned();
            (pid, entry.path())
        })
        .filter(|(_, folder)| folder.join("fd.txt").exists())
        .collect()
}

/// The recorder reads folders of /proc while it records, and not at the dump.
fn is_open_for_recording(pid: &str, path: &str) -> bool {
    pid == "1" && path.starts_with("/proc")
}

#[test]
fn files_are_what_proc_says() {
    for machine in machines() {
        let report = machine.report("ps", &["--files"]);
        let mut found = BTreeMap::new();
        for task in array(&report["tasks"]) {
            for file in array(&task["files"]) {
                let flags = file["flags"].as_u64().expect("a number");
                let row = [
                    ("path", text(&file["path"])),
                    ("pos", text(&file["pos"])),
                    ("flags", format!("0{flags:o}")),
                    ("mnt_id", text(&file["mount"])),
                    ("ino", text(&file["inode"])),
                ];
                let key = format!("{} {}", text(&task["pid"]), text(&file["fd"]));
                add(&mut found, &key, row.into_iter().collect());
            }
        }
        let mut truth = BTreeMap::new();
        for (pid, folder) in processes(&machine) {
            for (number, path) in links(&read(&folder.join("fd.txt"))) {
                if is_open_for_recording(&pid, &path) {
                    continue;
                }
                let mut row = Row::from([("path", path)]);
                // What stands behind these four depends on the kind of file.
                let info = read(&folder.join(format!("fdinfo/{number}")));
                for line in info.lines().take(4) {
                    let (name, value) = line.split_once(':').expect("a name");
                    row.insert(leaked(name), value.trim().to_owned());
                }
                add(&mut truth, &format!("{pid} {number}"), row);
            }
        }
        let mut comparison = Comparison::default();
        comparison.tables("file", &found, &truth);
        comparison.finish(&format!("{}: /proc/PID/fd, fdinfo", machine.name));
    }
}

#[test]
fn sockets_are_with_the_processes_that_hold_them() {
    for machine in machines() {
        let report = machine.report("ps", &["--sockets"]);
        let mut found = BTreeMap::new();
        for task in array(&report["tasks"]) {
            for socket in array(&task["sockets"]) {
                let key = format!("{} {}", text(&task["pid"]), text(&socket["fd"]));
                let row = Row::from([("inode", text(&socket["inode"]))]);
                add(&mut found, &key, row);
            }
        }
        let mut truth = BTreeMap::new();
        for (pid, folder) in processes(&machine) {
            for (number, path) in links(&read(&folder.join("fd.txt"))) {
                if let Some(rest) = path.strip_prefix("socket:[") {
                    let row = Row::from([("inode", rest.trim_end_matches(']').to_owned())]);
                    add(&mut truth, &format!("{pid} {number}"), row);
                }
            }
        }
        let mut comparison = Comparison::default();
        comparison.tables("socket", &found, &truth);
        comparison.finish(&format!("{}: sockets among /proc/PID/fd", machine.name));
    }
}

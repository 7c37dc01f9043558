//! Analyzers beside drgn and crash on the same dumps: TCP sockets, interfaces, neighbours, structs.
//!
//! drgn comes from PyPI into `target/lab/drgn-VERSION`, or is that of the Python that `KSTRUCT_DRGN_PYTHON` names. Where one of the two
//! is not to be had, its tests say so and pass; with `KSTRUCT_REQUIRE_TOOLS=1`, as in CI, that is an error.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tests::compare::{Comparison, Row};
use tests::{TCP_STATES, analyze, array, lab_machines, read_json, root, text};

/// That with which these tests were written.
const DRGN: &str = "0.3.0";

struct Machine {
    release: String,
    vmlinux: PathBuf,
    vmcore: PathBuf,
}

fn machines() -> Vec<Machine> {
    let machines: Vec<Machine> = lab_machines(&["stop"])
        .iter()
        .map(|folder| {
            let lab = read_json(&folder.join("lab.json"));
            // Its paths are relative to the lab's folder.
            let top = folder.parent().and_then(Path::parent).expect("the lab");
            Machine {
                release: text(&lab["release"]),
                vmlinux: top.join(text(&lab["vmlinux"])),
                vmcore: folder.join("vmcore"),
            }
        })
        .collect();
    assert!(!machines.is_empty());
    machines
}

fn skip(what: &str) {
    assert!(
        std::env::var_os("KSTRUCT_REQUIRE_TOOLS").is_none(),
        "KSTRUCT_REQUIRE_TOOLS is set, and {what}"
    );
    println!("not compared: {what}");
}

/// A Python that has drgn.
fn drgn_python() -> Option<PathBuf> {
    if let Some(python) = std::env::var_os("KSTRUCT_DRGN_PYTHON") {
        return Some(python.into());
    }
    let folder = root().join(format!("target/lab/drgn-{DRGN}"));
    let python = folder.join("bin/python");
    if python.is_file() {
        return Some(python);
    }
    let partial = folder.with_file_name(format!(".partial-drgn-{}", std::process::id()));
    let done = |command: &mut Command| command.status().is_ok_and(|status| status.success());
    let made = done(Command::new("python3").args(["-m", "venv"]).arg(&partial))
        && done(Command::new(partial.join("bin/python")).args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            &format!("drgn=={DRGN}"),
        ]))
        && std::fs::rename(&partial, &folder).is_ok();
    let _ = std::fs::remove_dir_all(&partial);
    made.then_some(python)
}

/// The values of an object by the names of the other side's.
fn row_of(value: &Value) -> Row {
    value
        .as_object()
        .expect("an object")
        .iter()
        .map(|(name, value)| (&*Box::leak(name.clone().into_boxed_str()), text(value)))
        .collect()
}

fn table(value: &Value) -> BTreeMap<String, Row> {
    value
        .as_object()
        .expect("an object")
        .iter()
        .map(|(address, row)| (address.clone(), row_of(row)))
        .collect()
}

#[test]
fn drgn_finds_the_same_network() {
    let Some(python) = drgn_python() else {
        return skip("drgn can't be installed: it needs python3-venv and PyPI");
    };
    for machine in machines() {
        let output = Command::new(&python)
            .arg(root().join("tests/debuggers/drgn_net.py"))
            .args([&machine.vmlinux, &machine.vmcore])
            .output()
            .expect("Python runs");
        assert!(output.status.success(), "{}", tests::shown(&output));
        let drgn: Value = serde_json::from_slice(&output.stdout).expect("JSON");

        let mut comparison = Comparison::default();
        let report = analyze("tcp", &machine.vmcore, &[]);
        let mut truth = table(&drgn["tcp"]);
        for row in truth.values_mut() {
            let state: usize = row["state"].parse().expect("a number");
            row.insert("state", TCP_STATES[state].to_owned());
        }
        let mut found = BTreeMap::new();
        for socket in array(&report["sockets"]) {
            let address = text(&socket["address"]);
            // Those that are bound to nothing are in no table, and drgn has no list of them.
            if let Some(known) = truth.get(&address) {
                found.insert(address, tcp_row(socket, known));
            } else {
                assert_eq!(socket["state"], "UNCONN", "{address} is in no table");
            }
        }
        comparison.tables("tcp", &found, &truth);
        comparison.finish(&format!("{}: tcp and drgn", machine.release));

        let mut comparison = Comparison::default();
        let report = analyze("netdev", &machine.vmcore, &["-d"]);
        let found = array(&report["interfaces"])
            .iter()
            .map(|row| (text(&row["address"]), interface_row(row)))
            .collect();
        comparison.tables("interface", &found, &table(&drgn["interfaces"]));
        comparison.finish(&format!("{}: netdev and drgn", machine.release));

        let mut comparison = Comparison::default();
        let report = analyze("route", &machine.vmcore, &["neigh"]);
        let found = array(&report["neighbours"])
            .iter()
            .map(|row| (text(&row["neighbour"]), neighbour_row(row)))
            .collect();
        comparison.tables("neighbour", &found, &table(&drgn["neighbours"]));
        comparison.finish(&format!("{}: route neigh and drgn", machine.release));
    }
}

/// The columns that drgn's row has, with the analyzer's values.
fn tcp_row(socket: &Value, known: &Row) -> Row {
    known
        .keys()
        .map(|column| {
            // What waits for a process to take it has no inode yet.
            let value = [socket, &socket["memory"], &socket["info"]]
                .into_iter()
                .find_map(|part| part.get(column));
            (*column, value.map_or_else(String::new, text))
        })
        .collect()
}

fn interface_row(row: &Value) -> Row {
    let link = &row["link"];
    let addresses = |family: &str| {
        let mut list: Vec<String> = array(&row[family])
            .iter()
            // drgn has the other end's address where there is one (`ifa_address`); of IPv6 it has the interface's own.
            .map(|one| match one.get("peer") {
                Some(peer) if family == "ipv4" => text(peer),
                _ => text(&one["address"]),
            })
            .map(|address| address.split('/').next().unwrap_or_default().to_owned())
            .collect();
        list.sort();
        serde_json::to_string(&list).expect("text")
    };
    let mut found: Row = ["netns", "name", "ifindex", "mtu"]
        .map(|column| (column, text(&row[column])))
        .into();
    for column in [
        "txqlen",
        "num_tx_queues",
        "num_rx_queues",
        "promiscuity",
        "allmulti",
    ] {
        found.insert(column, text(&link[column]));
    }
    // The others the kernel derives for its tools, and drgn shows them as they are kept.
    const DERIVED: u64 = 0x40 | 0x100 | 0x200 | 0x10000 | 0x20000;
    let flags = text(&row["flags_value"]);
    let flags = u64::from_str_radix(flags.trim_start_matches("0x"), 16).expect("hexadecimal");
    found.insert("flags", format!("{:#x}", flags & !DERIVED));
    found.insert("carrier_up", text(&link["carrier_up_count"]));
    found.insert("carrier_down", text(&link["carrier_down_count"]));
    found.insert(
        "kind",
        row.get("kind").map_or_else(String::new, |kind| match kind {
            Value::Null => String::new(),
            kind => text(kind),
        }),
    );
    found.insert("ipv4", addresses("ipv4"));
    found.insert("ipv6", addresses("ipv6"));
    found
}

fn neighbour_row(row: &Value) -> Row {
    // NUD_*, include/uapi/linux/neighbour.h.
    const STATES: [(&str, u32); 8] = [
        ("INCOMPLETE", 1),
        ("REACHABLE", 2),
        ("STALE", 4),
        ("DELAY", 8),
        ("PROBE", 16),
        ("FAILED", 32),
        ("NOARP", 64),
        ("PERMANENT", 128),
    ];
    let state: u32 = array(&row["state"])
        .iter()
        .filter_map(|name| STATES.iter().find(|(known, _)| name == known))
        .map(|(_, bit)| bit)
        .sum();
    let protocol = match text(&row["protocol"]).as_str() {
        "unspec" => "0".to_owned(),
        "bgp" => "186".to_owned(),
        "static" => "4".to_owned(),
        other => other.to_owned(),
    };
    Row::from([
        ("netns", text(&row["netns"])),
        ("address", text(&row["address"])),
        ("dev", text(&row["dev"])),
        ("state", state.to_string()),
        ("probes", text(&row["probes"])),
        ("queued", text(&row["queued"])),
        ("protocol", protocol),
    ])
}

/// What crash prints for some commands. `None` if it doesn't open the dump.
fn crash(machine: &Machine, commands: &str) -> Option<String> {
    let mut child = Command::new("crash")
        .args(["-s", "--no_modules"])
        .args([&machine.vmlinux, &machine.vmcore])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("crash runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    // It closes the pipe where it ends by itself.
    let _ = writeln!(stdin, "{commands}\nquit");
    drop(stdin);
    let output = child.wait_with_output().expect("crash ends");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(printed)
}

/// crash 8.0.2 (bookworm's) has `net` for the initial namespace, and `struct`. `net -s` needs a process of its list: of Debian's 6.1 it
/// lists the two idle tasks and what runs on CPU 1 ("active task ... not found in PID hash"), and none of those has a socket. It ends
/// without a word on the 6.12 with five levels of page tables.
#[test]
fn crash_finds_the_same_interfaces_and_structs() {
    if !Command::new("crash")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
    {
        return skip("crash isn't installed");
    }
    let mut compared = 0;
    for machine in machines() {
        let Some(printed) = crash(&machine, "net") else {
            assert!(machine.release.starts_with("6.12"), "{}", machine.release);
            println!("{}: crash doesn't open it", machine.release);
            continue;
        };
        compared += 1;
        let mut comparison = Comparison::default();
        let mut truth = BTreeMap::new();
        for line in printed.lines() {
            let mut words = line.split_whitespace();
            let (Some(address), Some(name)) = (words.next(), words.next()) else {
                continue;
            };
            if address.len() == 16 && u64::from_str_radix(address, 16).is_ok() {
                let addresses: Vec<&str> = words.map(|word| word.trim_end_matches(',')).collect();
                let row = [
                    ("name", name.to_owned()),
                    ("addresses", addresses.join(" ")),
                ];
                truth.insert(format!("0x{address}"), Row::from(row));
            }
        }
        let report = analyze("netdev", &machine.vmcore, &[]);
        let mut found = BTreeMap::new();
        for row in array(&report["interfaces"]) {
            if row["netns"] != report["interfaces"][0]["netns"] {
                continue;
            }
            // As drgn, it shows the other end's address.
            let addresses: Vec<String> = array(&row["ipv4"])
                .iter()
                .map(|one| text(one.get("peer").unwrap_or(&one["address"])))
                .map(|address| address.split('/').next().unwrap_or_default().to_owned())
                .collect();
            let columns = [
                ("name", text(&row["name"])),
                ("addresses", addresses.join(" ")),
            ];
            found.insert(text(&row["address"]), Row::from(columns));
        }
        comparison.tables("net", &found, &truth);
        comparison.finish(&format!("{}: netdev and crash's net", machine.release));

        let tcp = analyze("tcp", &machine.vmcore, &["--state", "ESTAB"]);
        let mut structs: Vec<(&str, String)> = found
            .keys()
            .map(|address| ("net_device", address.clone()))
            .collect();
        let socket = |socket: &Value| ("tcp_sock", text(&socket["address"]));
        structs.extend(array(&tcp["sockets"]).iter().take(100).map(socket));
        compare_structs(&machine, &structs);
    }
    assert!(compared > 0, "crash opened no dump");
}

/// Members of structs that are decimal numbers to both, `struct` and crash's `struct`.
fn compare_structs(machine: &Machine, structs: &[(&str, String)]) {
    let commands: Vec<String> = structs
        .iter()
        .map(|(name, address)| format!("struct {name} {}", address.trim_start_matches("0x")))
        .collect();
    let printed = crash(machine, &commands.join("\n")).expect("it opened the dump before");
    let mut members: Vec<BTreeMap<String, String>> = Vec::new();
    for line in printed.lines() {
        if line == "struct net_device {" || line == "struct tcp_sock {" {
            members.push(BTreeMap::new());
        } else if let Some((name, value)) = line
            .strip_prefix("  ")
            .and_then(|line| line.trim_end_matches(',').split_once(" = "))
            && !name.starts_with(' ')
            && value.parse::<i128>().is_ok()
            && let Some(last) = members.last_mut()
        {
            last.insert(name.to_owned(), value.to_owned());
        }
    }
    assert_eq!(members.len(), structs.len());
    let mut comparison = Comparison::default();
    for name in ["net_device", "tcp_sock"] {
        let wanted: Vec<(usize, &str)> = structs
            .iter()
            .enumerate()
            .filter(|(_, (own, _))| *own == name)
            .map(|(index, (_, address))| (index, address.as_str()))
            .collect();
        let mut args = vec![name];
        args.extend(wanted.iter().map(|(_, address)| *address));
        let report = analyze("struct", &machine.vmcore, &args);
        let shown = array(&report["structs"]);
        assert_eq!(shown.len(), wanted.len());
        let (mut found, mut truth) = (BTreeMap::new(), BTreeMap::new());
        for ((index, address), own) in wanted.into_iter().zip(shown) {
            for (member, value) in &members[index] {
                let key = (address.to_owned(), member.clone());
                truth.insert(key.clone(), Row::from([("value", value.clone())]));
                let own = text(&own["value"][member]);
                found.insert(key, Row::from([("value", own)]));
            }
        }
        comparison.tables(name, &found, &truth);
    }
    comparison.finish(&format!("{}: struct and crash's struct", machine.release));
}

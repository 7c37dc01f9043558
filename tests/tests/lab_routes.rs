//! `route`, `netstat`, `softnet` and `netns` on dumps of real kernels, against what each kernel and `ip` said a moment before the dump.
//!
//! `cargo xtask test --lab` boots the machines and names them in `KSTRUCT_LAB_MACHINES`. Each row and each column is compared. What
//! counts down or up by itself (ages, when something expires, what retransmissions count) must lie between what was recorded before the
//! dump and after it; each such column is named here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tests::compare::{Comparison, Row};
use tests::{analyze, array, lab_machines, read_json, shown, text, xtask};

/// The guest's network namespaces.
const NAMESPACES: [&str; 3] = ["root", "lab", "idle"];

struct Machine {
    release: String,
    is_big_endian: bool,
    vmcore: PathBuf,
    truth: PathBuf,
    /// The same some seconds after the dump.
    after: PathBuf,
    /// Inode numbers of [`NAMESPACES`].
    inodes: BTreeMap<&'static str, u64>,
}

fn machines() -> Vec<Machine> {
    let machines: Vec<Machine> = lab_machines(&["stop"])
        .iter()
        .map(|folder| {
            let truth = folder.join("truth");
            let lab = read_json(&folder.join("lab.json"));
            Machine {
                release: text(&lab["release"]),
                is_big_endian: lab["machine"] == "s390x",
                vmcore: folder.join("vmcore"),
                inodes: inodes(&truth),
                truth,
                after: folder.join("truth-after"),
            }
        })
        .collect();
    assert!(!machines.is_empty());
    machines
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn inodes(truth: &Path) -> BTreeMap<&'static str, u64> {
    let inode = |pid: &str| -> u64 {
        read(&truth.join("proc").join(pid).join("ns.txt"))
            .lines()
            .find_map(|line| line.strip_prefix("net -> net:[")?.strip_suffix(']'))
            .and_then(|inode| inode.parse().ok())
            .expect("a link to a network namespace")
    };
    let manifest = read(&truth.join("labd.manifest"));
    let lab = manifest
        .lines()
        .find_map(|line| line.strip_prefix("LAB netns pid="))
        .expect("labd tells its namespace's process");
    let tasks = read_json(&truth.join("tasks.json"));
    let idle = array(&tasks)
        .iter()
        .find(|task| task["comm"] == "lab-idlens")
        .expect("a process is in it");
    BTreeMap::from([
        ("root", inode("1")),
        ("lab", inode(lab)),
        ("idle", inode(&text(&idle["tid"]))),
    ])
}

impl Machine {
    /// The analyzer's text by namespace and heading.
    fn sections(&self, what: &[&str]) -> BTreeMap<(&'static str, String), Vec<String>> {
        let core = self.vmcore.to_str().expect("paths here are UTF-8");
        let mut args = vec!["run", "route", "--core", core, "--"];
        args.extend(what);
        let output = xtask(&args);
        assert!(output.status.success(), "{}", shown(&output));
        let mut sections: BTreeMap<(&'static str, String), Vec<String>> = BTreeMap::new();
        let (mut namespace, mut heading) = ("", String::new());
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            if let Some(inode) = line.strip_prefix("== network namespace ") {
                let known = self.inodes.iter().find(|(_, it)| it.to_string() == inode);
                namespace = known.expect("a namespace of the guest").0;
            } else if let Some(title) = line.strip_prefix("-- ") {
                title.clone_into(&mut heading);
            } else {
                let lines = sections.entry((namespace, heading.clone())).or_default();
                lines.push(line.to_owned());
            }
        }
        sections
    }

    fn namespace_of(&self, row: &Value) -> &'static str {
        let found = self
            .inodes
            .iter()
            .find(|(_, inode)| row["netns"] == **inode);
        found.expect("a namespace of the guest").0
    }
}

/// Lines as rows: what is written is the key, and where it stands is compared. Lines that are the same have a number. What continues a line
/// belongs to it.
fn rows(lines: &[String]) -> BTreeMap<(String, usize), Row> {
    let mut whole: Vec<String> = Vec::new();
    for line in lines {
        // How many blanks are between two words differs between versions of `ip`.
        let indent = line.len() - line.trim_start().len();
        let words: Vec<&str> = line.split_whitespace().collect();
        let line = format!("{}{}", &line[..indent], words.join(" "));
        match whole.last_mut() {
            Some(last) if line.starts_with([' ', '\t']) => {
                last.push('\n');
                last.push_str(&line);
            }
            _ => whole.push(line),
        }
    }
    let mut rows = BTreeMap::new();
    for (position, line) in whole.into_iter().enumerate() {
        let (line, seconds) = without_expiry(&line);
        let mut key = (line, 0);
        while rows.contains_key(&key) {
            key.1 += 1;
        }
        let mut row = Row::from([("position", position.to_string())]);
        if let Some(seconds) = seconds {
            row.insert("expires", seconds.to_string());
        }
        rows.insert(key, row);
    }
    rows
}

/// `expires 597sec` counts down.
fn without_expiry(line: &str) -> (String, Option<i64>) {
    let Some((before, rest)) = line.split_once("expires ") else {
        return (line.to_owned(), None);
    };
    let Some((seconds, rest)) = rest.split_once("sec") else {
        return (line.to_owned(), None);
    };
    (format!("{before}expires {rest}"), seconds.parse().ok())
}

/// What moves must lie between two recordings, whichever is larger; then it is taken for what was found.
fn allow_between<K: Ord>(
    found: &BTreeMap<K, Row>,
    truth: &mut BTreeMap<K, Row>,
    after: &BTreeMap<K, Row>,
    may_move: impl Fn(&K, &str) -> bool,
) -> usize {
    let mut moved = 0;
    for (key, row) in truth {
        for (column, value) in row {
            let number = |row: Option<&Row>| row?.get(column)?.parse::<i64>().ok();
            let (Some(now), Some(then), Ok(before)) = (
                number(found.get(key)),
                number(after.get(key)),
                value.parse::<i64>(),
            ) else {
                continue;
            };
            if may_move(key, column) && (before.min(then)..=before.max(then)).contains(&now) {
                moved += usize::from(now != before);
                *value = now.to_string();
            }
        }
    }
    moved
}

fn lines_of(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// Each line of `ip route`, `ip -6 route`, `ip rule`, `ip nexthop`, `ip route show cache`, `ip neigh show proxy`, in its order.
#[test]
fn every_line_of_ip_is_the_same() {
    /// File of the truth, and the analyzer's heading.
    const FILES: [(&str, &str); 8] = [
        ("ip_route.txt", "IPv4 routes"),
        ("ip6_route.txt", "IPv6 routes"),
        ("ip_rule.txt", "IPv4 rules"),
        ("ip6_rule.txt", "IPv6 rules"),
        ("ip_nexthop.txt", "next hop objects"),
        ("ip_route_cache.txt", "IPv4 exceptions"),
        ("ip6_route_cache.txt", "IPv6 exceptions"),
        ("ip_neigh_proxy.txt", "proxies"),
    ];
    for machine in machines() {
        let sections = machine.sections(&[]);
        for (file, heading) in FILES {
            let mut comparison = Comparison::default();
            for namespace in NAMESPACES {
                let read_lines = |truth: &Path| {
                    let path = truth.join("tools").join(namespace).join(file);
                    let mut lines = lines_of(&read(&path));
                    // Those of multicast routers, which have a test of their own, come last: they alone name where packets come in.
                    let is_mroute =
                        |line: &String| line.starts_with("multicast ") && line.contains(" iif ");
                    if let Some(first) = lines.iter().position(is_mroute) {
                        lines.truncate(first);
                    }
                    // `ip route show table all` without a family has IPv6's behind IPv4's.
                    if file == "ip_route.txt" || file == "ip_route_cache.txt" {
                        let six = file.replace("ip_", "ip6_");
                        let six = lines_of(&read(&truth.join("tools").join(namespace).join(six)));
                        let rest = lines.split_off(lines.len().saturating_sub(six.len()));
                        let same = |lines: &[String]| -> Vec<String> {
                            lines.iter().map(|line| without_expiry(line).0).collect()
                        };
                        assert_eq!(same(&rest), same(&six), "{namespace} {file}");
                    }
                    rows(&lines)
                };
                let mut truth = read_lines(&machine.truth);
                let after = read_lines(&machine.after);
                let empty = Vec::new();
                let found = sections.get(&(namespace, heading.to_owned()));
                let found = rows(found.unwrap_or(&empty));
                allow_between(&found, &mut truth, &after, |_, column| column == "expires");
                comparison.tables(&format!("{namespace} {file}"), &found, &truth);
            }
            comparison.finish(&format!("{}: {heading} and {file}", machine.release));
        }
    }
}

/// `ip -j -d route` and `ip -j -d -6 route`, column by column, against the analyzer's JSON. Of a route with an encapsulation `ip` writes
/// `dst`, `src` and `tos` twice, with the tunnel's last; so these are compared in its lines alone.
#[test]
fn every_column_of_a_route_is_the_same() {
    for machine in machines() {
        let report = analyze("route", &machine.vmcore, &["route"]);
        let mut comparison = Comparison::default();
        for (family, file) in [("inet", "ip_route.json"), ("inet6", "ip6_route.json")] {
            for namespace in NAMESPACES {
                let found: BTreeMap<usize, Row> = array(&report["routes"])
                    .iter()
                    .filter(|route| {
                        machine.namespace_of(route) == namespace && route["family"] == family
                    })
                    .map(found_route)
                    .enumerate()
                    .collect();
                let path = machine.truth.join("tools").join(namespace).join(file);
                let said = read_json(&path);
                let mut said: Vec<Row> = array(&said).iter().map(said_route).collect();
                // Without a family, those of IPv6 are behind.
                if family == "inet" {
                    said.truncate(found.len());
                }
                let truth = said.into_iter().enumerate().collect();
                comparison.tables(&format!("{namespace} {file}"), &found, &truth);
            }
        }
        comparison.finish(&format!("{}: ip -j -d route", machine.release));
    }
}

/// Next hops as text: router, interface, weight, flags.
fn hops(list: &Value) -> String {
    let hops = list.as_array().map_or(&[][..], Vec::as_slice);
    let hop = |hop: &Value| {
        let gateway = hop.get("gateway").or_else(|| hop["via"].get("host"));
        let realm = match &hop["flow"]["to"] {
            Value::Null => hop["realm"].as_u64().unwrap_or(0).to_string(),
            realm => text(realm),
        };
        format!(
            "{} {} {} {} {realm}",
            gateway.map_or_else(String::new, text),
            optional(&hop["dev"]),
            hop["weight"],
            hop["flags"]
        )
    };
    hops.iter().map(hop).collect::<Vec<_>>().join("; ")
}

fn said_route(route: &Value) -> Row {
    let has_encap = route.get("encap").is_some();
    let own = |column: &str| {
        if has_encap {
            "(the tunnel's)".to_owned()
        } else {
            optional(&route[column])
        }
    };
    let gateway = route.get("gateway").or_else(|| route["via"].get("host"));
    let metrics = route["metrics"][0].as_object().cloned().unwrap_or_default();
    let metrics: BTreeMap<String, String> = metrics
        .into_iter()
        .map(|(name, value)| (name, optional(&value)))
        .collect();
    Row::from([
        ("type", text(&route["type"])),
        ("dst", own("dst")),
        ("from", optional(&route["from"])),
        ("gateway", gateway.map_or_else(String::new, text)),
        ("dev", optional(&route["dev"])),
        ("table", text(&route["table"])),
        ("protocol", text(&route["protocol"])),
        ("scope", text(&route["scope"])),
        ("prefsrc", optional(&route["prefsrc"])),
        ("metric", route["metric"].as_u64().unwrap_or(0).to_string()),
        ("flags", text(&route["flags"])),
        ("tos", own("tos")),
        ("nhid", optional(&route["nhid"])),
        ("encap", optional(&route["encap"])),
        ("pref", optional(&route["pref"])),
        ("metrics", format!("{metrics:?}")),
        ("nexthops", hops(&route["nexthops"])),
    ])
}

fn found_route(route: &Value) -> Row {
    let is_multipath = route["multipath"] == true;
    let hop = if is_multipath {
        &Value::Null
    } else {
        &route["nexthops"][0]
    };
    let has_encap = hop.get("encap").is_some();
    let own = |value: String| {
        if has_encap {
            "(the tunnel's)".to_owned()
        } else {
            value
        }
    };
    let mut metrics = BTreeMap::new();
    for metric in array(&route["metrics"]) {
        let value = metric["value"].as_u64().expect("a number");
        match text(&metric["name"]).as_str() {
            "features" if value == 1 => metrics.insert("ecn".to_owned(), String::new()),
            "congctl" => metrics.insert("congestion".to_owned(), text(&metric["text"])),
            "rtt" => metrics.insert("rtt".to_owned(), (value / 8).to_string()),
            "rttvar" => metrics.insert("rttvar".to_owned(), (value / 4).to_string()),
            name => metrics.insert(name.to_owned(), value.to_string()),
        };
    }
    let tos = match route["tos"].as_u64() {
        Some(0) | None => String::new(),
        Some(tos) => format!("{tos:#04x}"),
    };
    Row::from([
        ("type", text(&route["type"])),
        ("dst", own(prefix(&route["dst"]))),
        ("from", prefix(&route["src"])),
        ("gateway", optional(&hop["gateway"])),
        ("dev", optional(&hop["dev"])),
        ("table", text(&route["table_name"])),
        ("protocol", text(&route["protocol"])),
        ("scope", text(&route["scope"])),
        ("prefsrc", optional(&route["prefsrc"])),
        ("metric", text(&route["metric"])),
        ("flags", text(&route["flags"])),
        ("tos", own(tos)),
        ("nhid", optional(&route["nhid"])),
        ("encap", optional(&hop["encap"]["type"])),
        ("pref", optional(&route["pref"])),
        ("metrics", format!("{metrics:?}")),
        (
            "nexthops",
            if is_multipath {
                hops(&route["nexthops"])
            } else {
                String::new()
            },
        ),
    ])
}

/// A prefix as `ip` writes it.
fn prefix(prefix: &Value) -> String {
    let Some(prefix) = prefix.as_str() else {
        return String::new();
    };
    let (address, length) = prefix.split_once('/').expect("a prefix");
    match length {
        "0" => "default".to_owned(),
        "32" if !address.contains(':') => address.to_owned(),
        "128" => address.to_owned(),
        _ => prefix.to_owned(),
    }
}

/// `ip -j rule` and `ip -j -6 rule`, column by column, against the analyzer's JSON.
#[test]
fn every_column_of_a_rule_is_the_same() {
    for machine in machines() {
        let report = analyze("route", &machine.vmcore, &["rule"]);
        let mut comparison = Comparison::default();
        for (family, file) in [("inet", "ip_rule.json"), ("inet6", "ip6_rule.json")] {
            for namespace in NAMESPACES {
                let found: BTreeMap<usize, Row> = array(&report["rules"])
                    .iter()
                    .filter(|rule| {
                        machine.namespace_of(rule) == namespace && rule["family"] == family
                    })
                    .map(found_rule)
                    .enumerate()
                    .collect();
                let path = machine.truth.join("tools").join(namespace).join(file);
                let said = read_json(&path);
                let truth = array(&said).iter().map(said_rule).enumerate();
                comparison.tables(&format!("{namespace} {file}"), &found, &truth.collect());
            }
        }
        comparison.finish(&format!("{}: ip -j rule", machine.release));
    }
}

fn said_rule(rule: &Value) -> Row {
    let has = |column: &str| rule.get(column).is_some();
    let flag = |column: &str| has(column).to_string();
    let addresses = |address: &str, length: &str| match (&rule[address], &rule[length]) {
        (Value::Null, _) => "all".to_owned(),
        (address, Value::Null) => text(address),
        (address, length) => format!("{}/{length}", text(address)),
    };
    let range = |both: &str, first: &str, last: &str| match (&rule[both], &rule[first]) {
        (Value::Null, Value::Null) => String::new(),
        (Value::Null, from) => format!("{from}-{}", rule[last]),
        (both, _) => format!("{both}-{both}"),
    };
    let action = match () {
        () if has("goto") => "goto".to_owned(),
        () if has("nop") => "nop".to_owned(),
        () if has("action") => text(&rule["action"]),
        () => "to_tbl".to_owned(),
    };
    Row::from([
        ("priority", text(&rule["priority"])),
        ("not", flag("not")),
        ("src", addresses("src", "srclen")),
        ("dst", addresses("dst", "dstlen")),
        ("tos", optional(&rule["tos"])),
        ("fwmark", optional(&rule["fwmark"])),
        ("fwmask", optional(&rule["fwmask"])),
        ("iif", optional(&rule["iif"])),
        ("iif_detached", flag("iif_detached")),
        ("oif", optional(&rule["oif"])),
        ("oif_detached", flag("oif_detached")),
        ("l3mdev", flag("l3mdev")),
        ("uids", range("uid", "uid_start", "uid_end")),
        ("ipproto", optional(&rule["ipproto"])),
        ("sport", range("sport", "sport_start", "sport_end")),
        ("dport", range("dport", "dport_start", "dport_end")),
        ("tun_id", rule["tun_id"].as_u64().unwrap_or(0).to_string()),
        ("table", optional(&rule["table"])),
        ("suppress_prefixlen", optional(&rule["suppress_prefixlen"])),
        ("suppress_ifgroup", optional(&rule["suppress_ifgroup"])),
        ("flow_from", optional(&rule["flow_from"])),
        ("flow_to", optional(&rule["flow_to"])),
        ("goto", optional(&rule["goto"])),
        ("unresolved", flag("unresolved")),
        ("action", action),
        ("protocol", optional(&rule["protocol"])),
    ])
}

fn found_rule(rule: &Value) -> Row {
    let flag = |column: &str| (rule[column] == true).to_string();
    let addresses = |column: &str| match prefix(&rule[column]) {
        none if none.is_empty() => "all".to_owned(),
        prefix => prefix,
    };
    let range = |column: &str| match rule[column].as_array() {
        Some(range) => format!("{}-{}", range[0], range[1]),
        None => String::new(),
    };
    let number = |column: &str| rule[column].as_i64().expect("a number");
    let hex = |number: i64| format!("{number:#x}");
    let (mark, mask) = (number("fwmark"), number("fwmask"));
    let unless = |value: i64, none: i64| {
        if value == none {
            String::new()
        } else {
            value.to_string()
        }
    };
    let tos = match number("tos") {
        0 => String::new(),
        0x20 => "CS1".to_owned(),
        tos => format!("{tos:#04x}"),
    };
    let realms = number("realms");
    Row::from([
        ("priority", text(&rule["priority"])),
        ("not", flag("not")),
        ("src", addresses("src")),
        ("dst", addresses("dst")),
        ("tos", tos),
        (
            "fwmark",
            if mark == 0 && mask == 0 {
                String::new()
            } else {
                hex(mark)
            },
        ),
        (
            "fwmask",
            if mask == 0 || mask == 0xffff_ffff {
                String::new()
            } else {
                hex(mask)
            },
        ),
        ("iif", optional(&rule["iif"])),
        ("iif_detached", flag("iif_detached")),
        ("oif", optional(&rule["oif"])),
        ("oif_detached", flag("oif_detached")),
        ("l3mdev", flag("l3mdev")),
        ("uids", range("uid_range")),
        ("ipproto", optional(&rule["ipproto"])),
        ("sport", range("sport")),
        ("dport", range("dport")),
        ("tun_id", text(&rule["tun_id"])),
        (
            "table",
            if number("table") == 0 {
                String::new()
            } else {
                text(&rule["table_name"])
            },
        ),
        (
            "suppress_prefixlen",
            unless(number("suppress_prefixlength"), -1),
        ),
        ("suppress_ifgroup", unless(number("suppress_ifgroup"), -1)),
        ("flow_from", unless(realms >> 16, 0)),
        ("flow_to", unless(realms & 0xffff, 0)),
        ("goto", optional(&rule["goto"])),
        ("unresolved", flag("goto_unresolved")),
        ("action", text(&rule["action"])),
        (
            "protocol",
            match text(&rule["protocol"]).as_str() {
                "kernel" | "unspec" => String::new(),
                other => other.to_owned(),
            },
        ),
    ])
}

/// /proc/net/fib_trie and fib_triestat, line by line. Lookups count on: packets that are sent again look up where to.
#[test]
fn every_node_of_the_tries_is_there() {
    for machine in machines() {
        let sections = machine.sections(&["trie"]);
        let mut comparison = Comparison::default();
        for namespace in NAMESPACES {
            for file in ["fib_trie", "fib_triestat"] {
                let number = |lines: &[String]| -> BTreeMap<usize, Row> {
                    let row = |line: &String| {
                        let (text, count) = line.split_once("= ").unwrap_or((line, ""));
                        Row::from([
                            ("line", text.trim_end().to_owned()),
                            ("count", count.trim_end().to_owned()),
                        ])
                    };
                    lines.iter().map(row).enumerate().collect()
                };
                let read_lines = |truth: &Path| {
                    let path = truth.join("net").join(namespace).join(file);
                    number(&lines_of(&read(&path)))
                };
                let found = sections.get(&(namespace, file.to_owned()));
                let found = number(found.map_or(&[][..], Vec::as_slice));
                let mut truth = read_lines(&machine.truth);
                let after = read_lines(&machine.after);
                allow_between(&found, &mut truth, &after, |_, column| column == "count");
                comparison.tables(&format!("{namespace} {file}"), &found, &truth);
            }
        }
        comparison.finish(&format!("{}: fib_trie, fib_triestat", machine.release));
    }
}

/// A key of a neighbour: namespace, address and interface.
type Key = (&'static str, String, String);

/// `ip -s -j neigh show nud all`, each column. Ages grow.
#[test]
fn every_neighbour_has_its_state_and_ages() {
    for machine in machines() {
        let report = analyze("route", &machine.vmcore, &["neigh"]);
        let mut states = std::collections::BTreeSet::new();
        let mut found: BTreeMap<Key, Row> = BTreeMap::new();
        for entry in array(&report["neighbours"]) {
            let age = |column: &str| {
                let seconds = entry[column]["seconds"].as_f64().expect("HZ is known");
                (seconds.floor() as i64).to_string()
            };
            states.insert(text(&entry["state"]));
            let row = Row::from([
                ("lladdr", optional(&entry["lladdr"])),
                ("state", text(&entry["state"])),
                ("flags", text(&entry["flags"])),
                ("refcnt", text(&entry["refcnt"])),
                ("probes", text(&entry["probes"])),
                ("used", age("used")),
                ("confirmed", age("confirmed")),
                ("updated", age("updated")),
                ("protocol", text(&entry["protocol"])),
            ]);
            let key = (
                machine.namespace_of(entry),
                text(&entry["address"]),
                text(&entry["dev"]),
            );
            assert!(found.insert(key, row).is_none(), "{entry}");
        }
        let said = |truth: &Path| {
            let mut rows: BTreeMap<Key, Row> = BTreeMap::new();
            for namespace in NAMESPACES {
                let path = truth
                    .join("tools")
                    .join(namespace)
                    .join("ip_neigh_all.json");
                for entry in array(&read_json(&path)) {
                    let number = |column: &str| entry[column].as_i64().unwrap_or(0).to_string();
                    let flags: Vec<&str> =
                        ["router", "proxy", "managed", "extern_learn", "offload"]
                            .into_iter()
                            .filter(|flag| entry.get(flag).is_some())
                            .collect();
                    let protocol = match &entry["protocol"] {
                        Value::Null => "unspec".to_owned(),
                        protocol => text(protocol),
                    };
                    let row = Row::from([
                        ("lladdr", optional(&entry["lladdr"])),
                        ("state", text(&entry["state"])),
                        ("flags", Value::from(flags).to_string()),
                        ("refcnt", number("refcnt")),
                        ("probes", number("probes")),
                        ("used", number("used")),
                        ("confirmed", number("confirmed")),
                        ("updated", number("updated")),
                        ("protocol", protocol),
                    ]);
                    rows.insert((namespace, text(&entry["dst"]), text(&entry["dev"])), row);
                }
            }
            rows
        };
        let mut truth = said(&machine.truth);
        let after = said(&machine.after);
        allow_between(&found, &mut truth, &after, |_, column| {
            matches!(column, "used" | "confirmed" | "updated")
        });
        let mut comparison = Comparison::default();
        comparison.tables("neighbour", &found, &truth);
        comparison.finish(&format!("{}: ip -s neigh show nud all", machine.release));
        println!("{}: states {states:?}", machine.release);
        assert!(states.len() >= 8, "{states:?}");
    }
}

fn optional(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        value => text(value),
    }
}

/// /proc/net/arp, each column.
#[test]
fn every_line_of_arp_is_right() {
    for machine in machines() {
        let report = analyze("route", &machine.vmcore, &["neigh", "proxy", "-4"]);
        let mut comparison = Comparison::default();
        for namespace in NAMESPACES {
            let mut found: BTreeMap<(String, String, String), Row> = BTreeMap::new();
            let none = "00:00:00:00:00:00".to_owned();
            for entry in array(&report["neighbours"]) {
                // `neigh_seq_start` is told to leave out NOARP.
                if machine.namespace_of(entry) != namespace
                    || entry["state"] == serde_json::json!(["NOARP"])
                {
                    continue;
                }
                let is = |state: &str| array(&entry["state"]).iter().any(|it| it == state);
                // ATF_PERM, ATF_COM
                let flags = match () {
                    () if is("PERMANENT") => 6,
                    () if is("INCOMPLETE") || is("FAILED") => 0,
                    () => 2,
                };
                let lladdr = entry["lladdr"].as_str().map_or(none.clone(), str::to_owned);
                found.insert(
                    (
                        text(&entry["address"]),
                        text(&entry["dev"]),
                        format!("{flags:#x}"),
                    ),
                    Row::from([("lladdr", lladdr), ("type", "0x1".to_owned())]),
                );
            }
            for entry in array(&report["proxies"]) {
                if machine.namespace_of(entry) == namespace {
                    found.insert(
                        (
                            text(&entry["address"]),
                            text(&entry["dev"]),
                            "0xc".to_owned(),
                        ),
                        Row::from([("lladdr", none.clone()), ("type", "0x1".to_owned())]),
                    );
                }
            }
            let truth = read(&machine.truth.join("net").join(namespace).join("arp"));
            let truth = truth.lines().skip(1).map(|line| {
                let columns: Vec<&str> = line.split_whitespace().collect();
                let [address, kind, flags, lladdr, _, dev] = columns[..] else {
                    panic!("{line}");
                };
                let key = (address.to_owned(), dev.to_owned(), flags.to_owned());
                // What no address is known of has what was there before, which `ip` does not show.
                let lladdr = if flags == "0x0" {
                    none.clone()
                } else {
                    lladdr.to_owned()
                };
                (
                    key,
                    Row::from([("lladdr", lladdr), ("type", kind.to_owned())]),
                )
            });
            comparison.tables(&format!("{namespace} arp"), &found, &truth.collect());
        }
        comparison.finish(&format!("{}: /proc/net/arp", machine.release));
    }
}

/// Next hop objects that the routes use which are asked for, whether or not these are shown; and rules for interfaces that are gone.
#[test]
fn what_is_chosen_is_all_that_fits() {
    let numbers = |report: &Value, list: &str, column: &str| -> Vec<String> {
        let mut found: Vec<String> = array(&report[list])
            .iter()
            .filter(|row| !row[column].is_null())
            .map(|row| format!("{} {}", row["netns"], row[column]))
            .collect();
        found.sort();
        found.dedup();
        found
    };
    for machine in machines() {
        let run = |options: &[&str]| analyze("route", &machine.vmcore, options);
        let all = run(&["route", "nexthop", "--to", "10.90.3.1"]);
        let alone = run(&["nexthop", "--to", "10.90.3.1"]);
        let used = numbers(&all, "routes", "nhid");
        println!("{}: {used:?} used", machine.release);
        assert!(!used.is_empty());
        assert_eq!(numbers(&all, "nexthops", "id"), used);
        assert_eq!(numbers(&alone, "nexthops", "id"), used);
        assert_eq!(array(&alone["routes"]).len(), 0);

        let gone = run(&["rule", "--dev", "nowhere0"]);
        let rules = array(&gone["rules"]);
        assert_eq!(rules.len(), 1);
        assert_eq!(rules[0]["iif_detached"], true);

        // A multicast router's interface: what comes in there, and what goes out.
        let all = run(&["mroute"]);
        let over = |route: &&Value| {
            let goes = array(&route["oifs"]).iter().map(|out| &out["oif"]);
            goes.chain([&route["iif"]]).any(|dev| dev == "rn1")
        };
        let wanted: Vec<&Value> = array(&all["multicast_routes"])
            .iter()
            .filter(over)
            .collect();
        let comes = wanted.iter().filter(|route| route["iif"] == "rn1").count();
        assert!(0 < comes && comes < wanted.len());
        let chosen = run(&["mroute", "--dev", "rn1"]);
        assert_eq!(
            array(&chosen["multicast_routes"])
                .iter()
                .collect::<Vec<_>>(),
            wanted
        );
    }
}

/// /proc/net/route, each column: what `ip route` doesn't say in this form.
#[test]
fn every_line_of_proc_net_route_is_right() {
    for machine in machines() {
        let report = analyze(
            "route",
            &machine.vmcore,
            &["route", "-4", "--table", "main"],
        );
        let mut comparison = Comparison::default();
        for namespace in NAMESPACES {
            let mut found: BTreeMap<usize, Row> = BTreeMap::new();
            for route in array(&report["routes"]) {
                let kind = text(&route["type"]);
                if machine.namespace_of(route) != namespace
                    || matches!(kind.as_str(), "broadcast" | "multicast")
                {
                    continue;
                }
                found.insert(found.len(), proc_route(route, &kind, machine.is_big_endian));
            }
            let truth = read(&machine.truth.join("net").join(namespace).join("route"));
            let truth = truth.lines().skip(1).map(|line| {
                let columns: Vec<&str> = line.split_whitespace().collect();
                let column = |index: usize| (*columns.get(index).expect("11 columns")).to_owned();
                Row::from([
                    ("iface", column(0)),
                    ("destination", column(1)),
                    ("gateway", column(2)),
                    ("flags", column(3)),
                    ("refcnt", column(4)),
                    ("use", column(5)),
                    ("metric", column(6)),
                    ("mask", column(7)),
                    ("mtu", column(8)),
                    ("window", column(9)),
                    ("irtt", column(10)),
                ])
            });
            comparison.tables(
                &format!("{namespace} route"),
                &found,
                &truth.enumerate().collect(),
            );
        }
        comparison.finish(&format!("{}: /proc/net/route", machine.release));
    }
}

/// `fib_route_seq_show`, net/ipv4/fib_trie.c. Addresses are words of the machine's order.
fn proc_route(route: &Value, kind: &str, is_big_endian: bool) -> Row {
    let word_of = if is_big_endian {
        u32::from_be_bytes
    } else {
        u32::from_le_bytes
    };
    let word = |address: &str| -> String {
        let address: std::net::Ipv4Addr = address.parse().expect("an IPv4 address");
        format!("{:08X}", word_of(address.octets()))
    };
    let dst = text(&route["dst"]);
    let (address, length) = dst.split_once('/').expect("a prefix");
    let length: u32 = length.parse().expect("a number");
    let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
    let hop = &route["nexthops"][0];
    let gateway = hop["gateway"].as_str().filter(|it| !it.contains(':'));
    let metric = |name: &str| -> u64 {
        let metrics = array(&route["metrics"]);
        let metric = metrics.iter().find(|metric| metric["name"] == name);
        metric.map_or(0, |metric| metric["value"].as_u64().expect("a number"))
    };
    // RTF_UP, RTF_GATEWAY (any word of the gateway, also of IPv6), RTF_HOST, RTF_REJECT
    let mut flags = 1;
    if hop.get("gateway").is_some() {
        flags |= 2;
    }
    if length == 32 {
        flags |= 4;
    }
    if matches!(kind, "unreachable" | "prohibit") {
        flags |= 0x200;
    }
    let mtu = match metric("advmss") {
        0 => 0,
        advmss => advmss + 40,
    };
    Row::from([
        ("iface", hop["dev"].as_str().unwrap_or("*").to_owned()),
        ("destination", word(address)),
        (
            "gateway",
            gateway.map_or_else(|| "00000000".to_owned(), word),
        ),
        ("flags", format!("{flags:04X}")),
        ("refcnt", "0".to_owned()),
        ("use", "0".to_owned()),
        // Written as a signed number.
        (
            "metric",
            (route["metric"].as_u64().expect("a number") as u32)
                .cast_signed()
                .to_string(),
        ),
        ("mask", word(&std::net::Ipv4Addr::from(mask).to_string())),
        ("mtu", mtu.to_string()),
        ("window", metric("window").to_string()),
        ("irtt", (metric("rtt") >> 3).to_string()),
    ])
}

/// /proc/net/ipv6_route, each column. It has the entry that ends a search (`fib6_null_entry`) where a table has no default route, which is
/// no route.
#[test]
fn every_line_of_proc_net_ipv6_route_is_right() {
    for machine in machines() {
        let report = analyze("route", &machine.vmcore, &["route", "-6"]);
        let mut comparison = Comparison::default();
        for namespace in NAMESPACES {
            let mut found: BTreeMap<usize, Row> = BTreeMap::new();
            for route in array(&report["routes"]) {
                if machine.namespace_of(route) != namespace {
                    continue;
                }
                // Of a next hop object the first path is shown.
                let hops = array(&route["nexthops"]);
                let count = if route.get("nhid").is_some() {
                    1
                } else {
                    hops.len()
                };
                for hop in hops.iter().take(count) {
                    found.insert(found.len(), proc_route6(route, hop));
                }
            }
            let truth = read(&machine.truth.join("net").join(namespace).join("ipv6_route"));
            let truth = truth
                .lines()
                .map(|line| {
                    let columns: Vec<&str> = line.split_whitespace().collect();
                    let column = |index: usize| (*columns.get(index).expect("10")).to_owned();
                    Row::from([
                        ("dst", column(0)),
                        ("length", column(1)),
                        ("src", column(2)),
                        ("src length", column(3)),
                        ("gateway", column(4)),
                        ("metric", column(5)),
                        ("refcnt", column(6)),
                        ("use", column(7)),
                        ("flags", column(8)),
                        ("dev", column(9)),
                    ])
                })
                // RTF_REJECT, RTF_NONEXTHOP
                .filter(|row| row["flags"] != "00200200" || row["metric"] != "ffffffff");
            comparison.tables(
                &format!("{namespace} ipv6_route"),
                &found,
                &truth.enumerate().collect(),
            );
        }
        comparison.finish(&format!("{}: /proc/net/ipv6_route", machine.release));
    }
}

/// `ipv6_route_native_seq_show`, net/ipv6/ip6_fib.c.
fn proc_route6(route: &Value, hop: &Value) -> Row {
    let address = |address: &str| -> String {
        let address: std::net::Ipv6Addr = address.parse().expect("an IPv6 address");
        format!("{:032x}", u128::from(address))
    };
    let prefix = |prefix: &Value| -> (String, String) {
        let prefix = prefix.as_str().unwrap_or("::/0");
        let (start, length) = prefix.split_once('/').expect("a prefix");
        let length: u8 = length.parse().expect("a number");
        (address(start), format!("{length:02x}"))
    };
    let (dst, length) = prefix(&route["dst"]);
    let (src, src_length) = prefix(&route["src"]);
    let gateway = hop["gateway"].as_str();
    let flags = text(&hop["route"]["flags"]);
    let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).expect("hexadecimal");
    // RTF_GATEWAY
    let flags = flags | if gateway.is_some() { 2 } else { 0 };
    let refcnt = hop["route"]["refcnt"].as_i64().expect("a number");
    let metric = route["metric"].as_u64().expect("a number");
    Row::from([
        ("dst", dst),
        ("length", length),
        ("src", src),
        ("src length", src_length),
        ("gateway", address(gateway.unwrap_or("::"))),
        ("metric", format!("{metric:08x}")),
        ("refcnt", format!("{refcnt:08x}")),
        ("use", "00000000".to_owned()),
        ("flags", format!("{flags:08x}")),
        ("dev", hop["dev"].as_str().unwrap_or("").to_owned()),
    ])
}

/// Names and values in pairs of lines: /proc/net/snmp and netstat.
fn pairs(text: &str, rows: &mut BTreeMap<String, Row>) {
    let lines: Vec<&str> = text.lines().collect();
    for pair in lines.chunks(2) {
        let [names, values] = pair else {
            panic!("{pair:?}");
        };
        let protocol = names.split(':').next().unwrap_or_default();
        for (name, value) in names
            .split_whitespace()
            .zip(values.split_whitespace())
            .skip(1)
        {
            let row = Row::from([("value", value.to_owned())]);
            rows.insert(format!("{protocol}{name}"), row);
        }
    }
}

/// Names and values in one line.
fn lines(text: &str, rows: &mut BTreeMap<String, Row>) {
    for line in text.lines() {
        let mut columns = line.split_whitespace();
        let (name, value) = (columns.next(), columns.next());
        let row = Row::from([("value", value.expect("a value").to_owned())]);
        rows.insert(name.expect("a name").to_owned(), row);
    }
}

fn counters(list: &Value) -> BTreeMap<String, Row> {
    array(list)
        .iter()
        .map(|counter| {
            let row = Row::from([("value", text(&counter["value"]))]);
            (text(&counter["name"]), row)
        })
        .collect()
}

/// /proc/net/{snmp,netstat,snmp6,xfrm_stat,dev_snmp6/*,sockstat,sockstat6,rt6_stats}. Retransmissions go on until the machine is stopped,
/// although nothing leaves it; so what they count must lie between the two recordings.
#[test]
fn every_counter_is_what_the_kernel_said() {
    for machine in machines() {
        let report = analyze("netstat", &machine.vmcore, &["--all", "--devices"]);
        let mut comparison = Comparison::default();
        let mut moved = 0;
        for namespace in array(&report["namespaces"]) {
            let name = machine.namespace_of(namespace);
            let found = counters(&namespace["counters"]);
            let said = |truth: &Path| {
                let file = |file: &str| read(&truth.join("net").join(name).join(file));
                let mut rows = BTreeMap::new();
                pairs(&file("snmp"), &mut rows);
                pairs(&file("netstat"), &mut rows);
                lines(&file("snmp6"), &mut rows);
                lines(&file("xfrm_stat"), &mut rows);
                rows
            };
            let (mut truth, after) = (said(&machine.truth), said(&machine.after));
            moved += allow_between(&found, &mut truth, &after, |_, _| true);
            comparison.tables(&format!("{name} counter"), &found, &truth);

            let folder = machine.truth.join("net").join(name).join("dev_snmp6");
            let mut files: Vec<String> = std::fs::read_dir(&folder)
                .expect("the guest recorded it")
                .map(|entry| entry.expect("it can be listed").file_name())
                .map(|file| file.to_string_lossy().into_owned())
                .collect();
            files.sort();
            let devices = array(&namespace["devices"]);
            let mut names: Vec<String> = devices.iter().map(|it| text(&it["name"])).collect();
            names.sort();
            assert_eq!(names, files, "{name}");
            for device in devices {
                let mut found = counters(&device["counters"]);
                let row = Row::from([("value", text(&device["ifindex"]))]);
                found.insert("ifIndex".to_owned(), row);
                let said = |truth: &Path| {
                    let folder = truth.join("net").join(name).join("dev_snmp6");
                    let mut rows = BTreeMap::new();
                    lines(&read(&folder.join(text(&device["name"]))), &mut rows);
                    rows
                };
                let (mut truth, after) = (said(&machine.truth), said(&machine.after));
                moved += allow_between(&found, &mut truth, &after, |_, _| true);
                comparison.tables(&format!("{name} {}", device["name"]), &found, &truth);
            }

            let mut found: BTreeMap<String, Row> = BTreeMap::new();
            for sockets in array(&namespace["sockets"]) {
                for number in array(&sockets["numbers"]) {
                    let row = Row::from([("value", text(&number[1]))]);
                    let name = format!("{} {}", text(&sockets["protocol"]), text(&number[0]));
                    found.insert(name, row);
                }
            }
            let said = |truth: &Path| {
                let mut rows: BTreeMap<String, Row> = BTreeMap::new();
                for file in ["sockstat", "sockstat6"] {
                    for line in read(&truth.join("net").join(name).join(file)).lines() {
                        let (protocol, rest) = line.split_once(':').expect("a protocol");
                        let words: Vec<&str> = rest.split_whitespace().collect();
                        for pair in words.chunks(2) {
                            let row = Row::from([("value", pair[1].to_owned())]);
                            rows.insert(format!("{protocol} {}", pair[0]), row);
                        }
                    }
                }
                rows
            };
            let (mut truth, after) = (said(&machine.truth), said(&machine.after));
            moved += allow_between(&found, &mut truth, &after, |_, _| true);
            comparison.tables(&format!("{name} sockstat"), &found, &truth);

            let found: Vec<String> = array(&namespace["rt6"])
                .iter()
                .map(|counter| format!("{:04x}", counter["value"].as_u64().expect("a number")))
                .collect();
            let truth = read(&machine.truth.join("net").join(name).join("rt6_stats"));
            let column = |text: String| BTreeMap::from([(0, Row::from([("columns", text)]))]);
            comparison.tables(
                &format!("{name} rt6_stats"),
                &column(found.join(" ")),
                &column(truth.trim().to_owned()),
            );
        }
        let columns = [
            "entries",
            "in_slow_tot",
            "in_slow_mc",
            "in_no_route",
            "in_brd",
            "in_martian_dst",
            "in_martian_src",
            "out_slow_tot",
            "out_slow_mc",
        ];
        let found: BTreeMap<usize, Row> = array(&report["rt_cache"])
            .iter()
            .map(|cpu| {
                let counters = counters(&cpu["counters"]);
                columns.map(|column| (column, counters[column]["value"].clone()))
            })
            .map(Row::from)
            .enumerate()
            .collect();
        let said = |truth: &Path| -> BTreeMap<usize, Row> {
            let text = read(&truth.join("net/root/stat/rt_cache"));
            let mut lines = text.lines();
            let names: Vec<&str> = lines.next().expect("names").split_whitespace().collect();
            let row = |line: &str| {
                let values: Vec<&str> = line.split_whitespace().collect();
                let value = |column: &str| {
                    let index = names.iter().position(|name| *name == column);
                    let value = values[index.expect("the kernel has it")];
                    u64::from_str_radix(value, 16)
                        .expect("hexadecimal")
                        .to_string()
                };
                Row::from(columns.map(|column| (column, value(column))))
            };
            lines.map(row).enumerate().collect()
        };
        let (mut truth, after) = (said(&machine.truth), said(&machine.after));
        moved += allow_between(&found, &mut truth, &after, |_, _| true);
        comparison.tables("rt_cache", &found, &truth);
        comparison.finish(&format!(
            "{}: stat/rt_cache, snmp, netstat, snmp6, dev_snmp6, xfrm_stat, sockstat, sockstat6, rt6_stats ({moved} moved on)",
            machine.release
        ));
    }
}

/// /proc/net/softnet_stat, and the lines NET_RX and NET_TX of /proc/softirqs, which count on.
#[test]
fn every_cpus_queues_are_as_in_softnet_stat() {
    for machine in machines() {
        let report = analyze("softnet", &machine.vmcore, &[]);
        let mut found: BTreeMap<u64, Row> = BTreeMap::new();
        for cpu in array(&report["cpus"]) {
            let columns = [
                "processed",
                "dropped",
                "time_squeeze",
                "received_rps",
                "flow_limit",
                "input_qlen",
                "process_qlen",
                "net_rx",
                "net_tx",
            ];
            let row = columns.map(|column| (column, text(&cpu[column])));
            for (queue, length) in [
                ("input_packets", "input_qlen"),
                ("process_packets", "process_qlen"),
            ] {
                let packets = array(&cpu[queue]).len() as u64;
                assert_eq!(cpu[length].as_u64(), Some(packets), "{queue}");
            }
            found.insert(cpu["cpu"].as_u64().expect("a number"), row.into());
        }
        let said = |truth: &Path| {
            let mut rows: BTreeMap<u64, Row> = BTreeMap::new();
            for line in read(&truth.join("net/root/softnet_stat")).lines() {
                let columns: Vec<u64> = line
                    .split_whitespace()
                    .map(|word| u64::from_str_radix(word, 16).expect("hexadecimal"))
                    .collect();
                let column = |index: usize| columns.get(index).copied().unwrap_or(0).to_string();
                rows.insert(
                    columns[12],
                    Row::from([
                        ("processed", column(0)),
                        ("dropped", column(1)),
                        ("time_squeeze", column(2)),
                        ("received_rps", column(9)),
                        ("flow_limit", column(10)),
                        ("input_qlen", column(13)),
                        ("process_qlen", column(14)),
                    ]),
                );
            }
            for line in read(&truth.join("system/softirqs")).lines() {
                let name = match line.split(':').next().map(str::trim) {
                    Some("NET_RX") => "net_rx",
                    Some("NET_TX") => "net_tx",
                    _ => continue,
                };
                for (cpu, count) in line.split_whitespace().skip(1).enumerate() {
                    if let Some(row) = rows.get_mut(&(cpu as u64)) {
                        row.insert(name, count.to_owned());
                    }
                }
            }
            rows
        };
        let mut truth = said(&machine.truth);
        let after = said(&machine.after);
        allow_between(&found, &mut truth, &after, |_, column| {
            matches!(column, "net_rx" | "net_tx")
        });
        // 6.1 has no columns for the two queues apart.
        for (cpu, row) in &mut truth {
            if machine.release.starts_with("6.1.") {
                for column in ["input_qlen", "process_qlen"] {
                    row.insert(column, found[cpu][column].clone());
                }
            }
        }
        let mut comparison = Comparison::default();
        comparison.tables("CPU", &found, &truth);
        comparison.finish(&format!("{}: softnet_stat, softirqs", machine.release));
    }
}

/// Who is in which namespace by /proc/*/ns, what namespaces are called, their interfaces, loopback and settings.
#[test]
fn every_namespace_has_its_tasks_and_names() {
    for machine in machines() {
        let report = analyze("netns", &machine.vmcore, &[]);
        let mut comparison = Comparison::default();
        let mut in_namespace: BTreeMap<u64, Vec<i64>> = BTreeMap::new();
        let tasks = read_json(&machine.truth.join("tasks.json"));
        for task in array(&tasks) {
            let (tid, tgid) = (task["tid"].as_i64(), task["tgid"].as_i64());
            let path = machine.truth.join(format!("proc/{}/ns.txt", task["tid"]));
            // A zombie is in none.
            let Ok(links) = std::fs::read_to_string(&path) else {
                continue;
            };
            let inode = links
                .lines()
                .find_map(|line| line.strip_prefix("net -> net:[")?.strip_suffix(']'));
            if let (Some(inode), true) = (inode, tid == tgid) {
                let inode = inode.parse().expect("a number");
                in_namespace.entry(inode).or_default().extend(tid);
            }
        }
        let mut found: BTreeMap<&'static str, Row> = BTreeMap::new();
        let mut truth: BTreeMap<&'static str, Row> = BTreeMap::new();
        for namespace in array(&report["namespaces"]) {
            let name = machine.namespace_of(namespace);
            let mut pids: Vec<i64> = array(&namespace["tasks"])
                .iter()
                .filter_map(|task| task["pid"].as_i64())
                .collect();
            pids.sort_unstable();
            found.insert(
                name,
                Row::from([
                    ("names", text(&namespace["names"])),
                    ("tasks", format!("{pids:?}")),
                    ("devices", text(&namespace["devices"])),
                    ("loopback", text(&namespace["loopback_is_up"])),
                ]),
            );
            let mut pids = in_namespace
                .remove(&machine.inodes[name])
                .unwrap_or_default();
            pids.sort_unstable();
            let links = read_json(&machine.truth.join("tools").join(name).join("ip_addr.json"));
            let links = array(&links);
            let loopback = links.iter().find(|link| link["ifname"] == "lo");
            let is_up = array(&loopback.expect("there is one")["flags"])
                .iter()
                .any(|flag| flag == "UP");
            let names = match name {
                "root" => "[]".to_owned(),
                name => format!("[\"{name}\"]"),
            };
            truth.insert(
                name,
                Row::from([
                    ("names", names),
                    ("tasks", format!("{pids:?}")),
                    ("devices", links.len().to_string()),
                    ("loopback", is_up.to_string()),
                ]),
            );
        }
        comparison.tables("namespace", &found, &truth);
        comparison.finish(&format!("{}: network namespaces", machine.release));
    }
}

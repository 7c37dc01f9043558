//! What few machines have, and what tools say that /proc says otherwise: multicast routes (`ip mroute`, /proc/net/ip_mr_*), expected
//! connections and the counters of connection tracking, `nstat`, `lsns`, `ip netns`, and settings of network namespaces.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tests::compare::{Comparison, Row};
use tests::{analyze, array, lab_machines, read_json, text};

/// The guest's network namespaces, and a process that is in each.
const NAMESPACES: [(&str, &str); 3] = [
    ("root", "/bin/sh /init"),
    ("lab", "/bin/labd netns"),
    ("idle", "/bin/labd mroute"),
];

struct Machine {
    release: String,
    is_big_endian: bool,
    vmcore: PathBuf,
    truth: PathBuf,
    /// The same some seconds after the dump.
    after: PathBuf,
    /// Names of namespaces by their inode numbers.
    names: BTreeMap<u64, &'static str>,
}

fn machines() -> Vec<Machine> {
    let machines: Vec<Machine> = lab_machines(&["stop"])
        .iter()
        .map(|folder| {
            let truth = folder.join("truth");
            let names = lsns(&truth)
                .iter()
                .map(|row| {
                    let command = text(&row["command"]);
                    // Where another program starts the guest, its script lies elsewhere.
                    let command = command.replace("/etc/lab/init", "/init");
                    let known = NAMESPACES.iter().find(|(_, known)| *known == command);
                    (
                        row["ns"].as_u64().expect("a number"),
                        known.expect("a known process").0,
                    )
                })
                .collect();
            let lab = read_json(&folder.join("lab.json"));
            Machine {
                release: text(&lab["release"]),
                is_big_endian: lab["machine"] == "s390x",
                vmcore: folder.join("vmcore"),
                after: folder.join("truth-after"),
                names,
                truth,
            }
        })
        .collect();
    assert!(!machines.is_empty());
    machines
}

impl Machine {
    fn name(&self, row: &Value) -> &'static str {
        self.names[&row["netns"].as_u64().expect("a number")]
    }

    /// A file of the truth before the dump, and after it.
    fn both(&self, file: &str) -> [String; 2] {
        [&self.truth, &self.after].map(|truth| read(&truth.join(file)))
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Rows of `lsns`, which hangs namespaces below the one that their maker is in.
fn lsns(truth: &Path) -> Vec<Value> {
    fn flat(rows: &Value, out: &mut Vec<Value>) {
        for row in rows.as_array().into_iter().flatten() {
            out.push(row.clone());
            flat(&row["children"], out);
        }
    }
    let mut rows = Vec::new();
    flat(
        &read_json(&truth.join("tools/root/lsns.json"))["namespaces"],
        &mut rows,
    );
    rows
}

/// Where a number is between two recordings, what was found is right.
fn between(found: &str, [before, after]: [&str; 2]) -> String {
    let number = |text: &str| text.parse::<i128>().ok();
    match (number(found), number(before), number(after)) {
        (Some(found), Some(before), Some(after))
            if (before.min(after)..=before.max(after)).contains(&found) =>
        {
            found.to_string()
        }
        _ => before.to_owned(),
    }
}

#[test]
fn every_counter_is_what_nstat_says() {
    const NO_COUNTERS: [&str; 7] = [
        "IpForwarding",
        "IpDefaultTTL",
        "TcpRtoAlgorithm",
        "TcpRtoMin",
        "TcpRtoMax",
        "TcpMaxConn",
        "TcpCurrEstab",
    ];
    for machine in machines() {
        let report = analyze("netstat", &machine.vmcore, &["--all"]);
        let mut comparison = Comparison::default();
        for namespace in array(&report["namespaces"]) {
            let name = machine.name(namespace);
            let said = [&machine.truth, &machine.after]
                .map(|truth| read_json(&truth.join(format!("tools/{name}/nstat.json"))));
            let (mut found, mut truth) = (BTreeMap::new(), BTreeMap::new());
            for counter in array(&namespace["counters"]) {
                let key = text(&counter["name"]);
                // /proc/net/xfrm_stat, which nstat doesn't read, and what it calls useless (`useless_number` of its source).
                if !key.starts_with("Xfrm") && !NO_COUNTERS.contains(&key.as_str()) {
                    found.insert(key, Row::from([("value", text(&counter["value"]))]));
                }
            }
            for (key, before) in said[0]["kernel"].as_object().expect("counters") {
                let (before, after) = (text(before), text(&said[1]["kernel"][key]));
                let own = found.get(key).map_or("", |row| row["value"].as_str());
                let value = between(own, [&before, &after]);
                truth.insert(key.clone(), Row::from([("value", value)]));
            }
            comparison.tables(&format!("{name} counter"), &found, &truth);
        }
        comparison.finish(&format!("{}: nstat -az", machine.release));
    }
}

/// `lsns -t net`, `ip netns`, `ip netns list-id`, and of /proc/sys/net what `netns` shows.
#[test]
fn every_namespace_is_as_lsns_and_sysctl_say() {
    for machine in machines() {
        let report = analyze("netns", &machine.vmcore, &[]);
        let mut comparison = Comparison::default();
        let (mut found, mut truth) = (BTreeMap::new(), BTreeMap::new());
        for namespace in array(&report["namespaces"]) {
            let tasks = array(&namespace["tasks"]);
            let first = tasks.iter().filter_map(|task| task["pid"].as_u64()).min();
            let nsid = match &namespace["nsid"] {
                Value::Null => "unassigned".to_owned(),
                number => text(number),
            };
            let name = machine.name(namespace);
            let mut row = Row::from([
                ("names", text(&namespace["names"])),
                ("pid", first.expect("somebody is in it").to_string()),
                ("nsid", nsid),
            ]);
            // In the first one, tools and kernel threads come and go.
            if name != "root" {
                row.insert("nprocs", tasks.len().to_string());
            }
            found.insert(name, row);
        }
        for row in lsns(&machine.truth) {
            let name = machine.names[&row["ns"].as_u64().expect("a number")];
            let names = match row["nsfs"].as_str() {
                Some(path) => format!("[\"{}\"]", path.trim_start_matches("/run/netns/")),
                None => "[]".to_owned(),
            };
            let mut known = Row::from([
                ("names", names),
                ("pid", text(&row["pid"])),
                ("nsid", text(&row["netnsid"])),
            ]);
            if name != "root" {
                known.insert("nprocs", text(&row["nprocs"]));
            }
            truth.insert(name, known);
        }
        comparison.tables("lsns", &found, &truth);

        let netns = read_json(&machine.truth.join("tools/root/ip_netns.json"));
        let (mut found, mut truth) = (BTreeMap::new(), BTreeMap::new());
        for row in array(&netns) {
            let id = row.get("id").map_or("null".to_owned(), text);
            truth.insert(text(&row["name"]), Row::from([("id", id)]));
        }
        for namespace in array(&report["namespaces"]) {
            for name in array(&namespace["names"]) {
                found.insert(text(name), Row::from([("id", text(&namespace["nsid"]))]));
            }
        }
        comparison.tables("ip netns", &found, &truth);

        for namespace in array(&report["namespaces"]) {
            let name = machine.name(namespace);
            let said = read(&machine.truth.join(format!("tools/{name}/sysctl_net.txt")));
            let said: BTreeMap<&str, &str> = said
                .lines()
                .filter_map(|line| line.split_once(':'))
                .collect();
            let (mut found, mut truth) = (BTreeMap::new(), BTreeMap::new());
            for setting in array(&namespace["sysctls"]) {
                let key = text(&setting[0]);
                let path = format!("/proc/sys/net/{}", key.replace('.', "/"));
                let value = said.get(path.as_str()).copied().unwrap_or("not there");
                truth.insert(key.clone(), Row::from([("value", value.to_owned())]));
                found.insert(key, Row::from([("value", text(&setting[1]))]));
            }
            comparison.tables(&format!("{name} setting"), &found, &truth);
            comparison.tables(
                &format!("{name} size"),
                &sizes(namespace),
                &known_sizes(&machine, name, &sizes(namespace)),
            );
        }
        comparison.finish(&format!(
            "{}: lsns, ip netns, /proc/sys/net",
            machine.release
        ));
    }
}

fn sizes(namespace: &Value) -> BTreeMap<String, Row> {
    array(&namespace["sizes"])
        .iter()
        .map(|size| (text(&size[0]), Row::from([("value", text(&size[1]))])))
        .collect()
}

/// What there is of each, by /proc/net/sockstat, rt6_stats, and lines of rules; multicast routers have rules, too.
fn known_sizes(
    machine: &Machine,
    name: &str,
    found: &BTreeMap<String, Row>,
) -> BTreeMap<String, Row> {
    let number = |line: &str, what: &str| {
        machine.both(&format!("net/{name}/sockstat")).map(|text| {
            let line = text.lines().find_map(|it| it.strip_prefix(line));
            let words: Vec<&str> = line.expect("a line").split_whitespace().collect();
            let at = words.iter().position(|word| *word == what);
            words[at.expect("a number") + 1].to_owned()
        })
    };
    let routes = machine.both(&format!("net/{name}/rt6_stats")).map(|text| {
        // fib_nodes fib_route_nodes fib_rt_alloc fib_rt_entries ...
        let column = text.split_whitespace().nth(3).expect("a column").to_owned();
        u64::from_str_radix(&column, 16)
            .expect("hexadecimal")
            .to_string()
    });
    let rules: usize = ["ip_rule", "ip6_rule", "ip_mrule", "ip6_mrule"]
        .iter()
        .map(|file| read(&machine.truth.join(format!("tools/{name}/{file}.txt"))))
        .map(|text| text.lines().count())
        .sum();
    let rules = rules.to_string();
    [
        ("sockets", number("sockets:", "used")),
        ("tcp_time_wait", number("TCP:", "tw")),
        ("ipv4_fragments_bytes", number("FRAG:", "memory")),
        ("ipv6_routes", routes),
        ("rules", [rules.clone(), rules]),
    ]
    .into_iter()
    .map(|(what, [before, after])| {
        let own = found.get(what).map_or("", |row| row["value"].as_str());
        let value = between(own, [&before, &after]);
        (what.to_owned(), Row::from([("value", value)]))
    })
    .collect()
}

/// /proc/net/nf_conntrack_expect and stat/nf_conntrack.
#[test]
fn every_expected_connection_is_there() {
    for machine in machines() {
        let report = analyze("netfilter", &machine.vmcore, &["conntrack", "counts"]);
        let mut comparison = Comparison::default();
        let mut found: BTreeMap<(&str, String), Row> = BTreeMap::new();
        let mut truth = BTreeMap::new();
        for (name, _) in NAMESPACES {
            let [before, after] = machine
                .both(&format!("net/{name}/nf_conntrack_expect"))
                .map(|text| -> BTreeMap<String, String> {
                    text.lines()
                        .filter_map(|line| line.split_once(' '))
                        .map(|(left, rest)| (rest.trim().to_owned(), left.to_owned()))
                        .collect()
                });
            for (line, left) in before {
                let least = after.get(&line).cloned().unwrap_or_else(|| "0".to_owned());
                truth.insert((name, line), [left, least]);
            }
        }
        for expected in array(&report["conntrack"]["expectations"]) {
            let tuple = &expected["tuple"];
            let protocol = match tuple["sport"].is_null() {
                false => format!(
                    "sport={} dport={}",
                    text(&tuple["sport"]),
                    text(&tuple["dport"])
                ),
                true => String::new(),
            };
            let flags: Vec<String> = array(&expected["flags"]).iter().map(text).collect();
            let flags = match flags.join(",") {
                flags if flags.is_empty() => flags,
                flags => flags + " ",
            };
            let class = match &expected["class"] {
                Value::Null => String::new(),
                class => format!("/{}", text(class)),
            };
            let family = if text(&tuple["src"]).contains(':') {
                10
            } else {
                2
            };
            let line = format!(
                "l3proto = {family} proto={} src={} dst={} {protocol} {flags}{}{class}",
                text(&expected["protonum"]),
                text(&tuple["src"]),
                text(&tuple["dst"]),
                text(&expected["helper"]),
            );
            found.insert(
                (machine.name(expected), line),
                Row::from([("left", text(&expected["timeout"]))]),
            );
        }
        let truth: BTreeMap<(&str, String), Row> = truth
            .into_iter()
            .map(|(key, [before, after])| {
                let own = found.get(&key).map_or("", |row| row["left"].as_str());
                let row = Row::from([("left", between(own, [&before, &after]))]);
                (key, row)
            })
            .collect();
        comparison.tables("expected", &found, &truth);

        for namespace in array(&report["conntrack"]["counts"]["namespaces"]) {
            let name = machine.name(namespace);
            let [before, after] = machine
                .both(&format!("net/{name}/stat/nf_conntrack"))
                .map(|text| sums(&text));
            let statistics = namespace["statistics"].as_object().expect("counters");
            let (mut found, mut truth) = (BTreeMap::new(), BTreeMap::new());
            for (column, value) in statistics {
                let value = text(value);
                let theirs = between(
                    &value,
                    [&before, &after].map(|sums| sums.get(column).map_or("none", String::as_str)),
                );
                truth.insert(column.clone(), Row::from([("value", theirs)]));
                found.insert(column.clone(), Row::from([("value", value)]));
            }
            comparison.tables(&format!("{name} statistics"), &found, &truth);
            // What nobody counts any more is 0.
            for (column, value) in &before {
                assert!(statistics.contains_key(column) || value == "0", "{column}");
            }
        }
        comparison.finish(&format!(
            "{}: nf_conntrack_expect, stat/nf_conntrack",
            machine.release
        ));
    }
}

/// Sums over CPUs of the columns of /proc/net/stat/nf_conntrack, but for `entries`, which is the same in each line and compared elsewhere.
fn sums(text: &str) -> BTreeMap<String, String> {
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().expect("names").split_whitespace().collect();
    let mut sums = vec![0_u64; names.len()];
    for line in lines {
        for (sum, column) in sums.iter_mut().zip(line.split_whitespace()) {
            *sum += u64::from_str_radix(column, 16).expect("hexadecimal");
        }
    }
    names
        .iter()
        .zip(sums)
        .skip(1)
        .map(|(name, sum)| {
            let name = match *name {
                "clashres" => "clash_resolve",
                "chainlength" => "chaintoolong",
                name => name,
            };
            (name.to_owned(), sum.to_string())
        })
        .collect()
}

/// `ip -s -d mroute` of both families, column by column of IPv4's JSON and line by line, and /proc/net/{ip_mr_vif,ip_mr_cache,ip6_mr_vif,ip6_mr_cache}.
#[test]
fn every_multicast_route_is_there() {
    for machine in machines() {
        let report = analyze("route", &machine.vmcore, &["mroute"]);
        let mut comparison = Comparison::default();
        for (name, _) in NAMESPACES {
            for (family, prefix) in [("inet", "ip"), ("inet6", "ip6")] {
                let of = |list: &str| -> Vec<Value> {
                    array(&report[list])
                        .iter()
                        .filter(|row| machine.name(row) == name && row["family"] == family)
                        .cloned()
                        .collect()
                };
                let routes = of("multicast_routes");
                let vifs = of("multicast_interfaces");
                let lines = machine.both(&format!("tools/{name}/{prefix}_mroute.txt"));
                mroute_lines(
                    &mut comparison,
                    &format!("{name} {family}"),
                    &routes,
                    &lines,
                );
                // /proc has the first table.
                let main = ["default", "main"][usize::from(family == "inet6")];
                let in_main = |row: &&Value| row["table_name"] == main;
                let column = |lines: Vec<String>| -> BTreeMap<usize, Row> {
                    lines
                        .into_iter()
                        .map(|line| Row::from([("line", line)]))
                        .enumerate()
                        .collect()
                };
                let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
                let said = |file: &str| {
                    let text = read(&machine.truth.join(format!("net/{name}/{file}")));
                    column(text.lines().skip(1).map(words).collect())
                };
                let found = vifs.iter().filter(in_main).map(|vif| proc_vif(vif, family));
                let found = column(found.collect());
                comparison.tables(
                    &format!("{name} {prefix}_mr_vif"),
                    &found,
                    &said(&format!("{prefix}_mr_vif")),
                );
                let found = routes
                    .iter()
                    .filter(in_main)
                    .map(|route| proc_cache(route, &vifs, machine.is_big_endian));
                let found = column(found.collect());
                comparison.tables(
                    &format!("{name} {prefix}_mr_cache"),
                    &found,
                    &said(&format!("{prefix}_mr_cache")),
                );
            }
            mroute_columns(&mut comparison, &machine, name, &report);
        }
        comparison.finish(&format!(
            "{}: ip mroute, ip_mr_vif, ip_mr_cache and of IPv6",
            machine.release
        ));
    }
}

/// The age of a route in hundredths of a second.
fn hundredths(text: &str) -> String {
    let age: f64 = text.parse().expect("a number");
    format!("{:.0}", age * 100.0)
}

/// Pairs of lines: `(SRC,DST) Iif: ...` and counters with an age.
fn mroute_lines(
    comparison: &mut Comparison,
    what: &str,
    routes: &[Value],
    [before, after]: &[String; 2],
) {
    let row = |pair: &[&str]| {
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let (counters, rest) = pair[1].split_once(", Age ").expect("an age");
        let (age, table) = rest.split_once(' ').expect("a table");
        Row::from([
            ("route", words(pair[0])),
            ("counters", words(counters)),
            ("age", hundredths(age)),
            ("table", words(table)),
        ])
    };
    let rows = |text: &str| -> BTreeMap<usize, Row> {
        let lines: Vec<&str> = text.lines().collect();
        lines.chunks(2).map(row).enumerate().collect()
    };
    let mut found = BTreeMap::new();
    for (index, route) in routes.iter().enumerate() {
        let oifs: String = array(&route["oifs"])
            .iter()
            .map(|output| match output["ttl"].as_u64() {
                Some(ttl @ 2..) => format!("{}(ttl {ttl}) ", text(&output["oif"])),
                _ => format!("{} ", text(&output["oif"])),
            })
            .collect();
        let oifs = match oifs.as_str() {
            "" => String::new(),
            oifs => format!("Oifs: {oifs}"),
        };
        let line = format!(
            "({},{}) Iif: {} {oifs}State: resolved",
            text(&route["src"]),
            text(&route["dst"]),
            text(&route["iif"])
        );
        let age = route["age"]["seconds"].as_f64().expect("HZ is known");
        let row = Row::from([
            ("route", line),
            (
                "counters",
                format!(
                    "{} packets, {} bytes",
                    text(&route["packets"]),
                    text(&route["bytes"])
                ),
            ),
            ("age", hundredths(&age.to_string())),
            ("table", format!("Table: {}", text(&route["table_name"]))),
        ]);
        found.insert(index, row);
    }
    let (mut truth, after) = (rows(before), rows(after));
    for (index, row) in &mut truth {
        let own = found.get(index).map_or("", |row| row["age"].as_str());
        let age = between(own, [&row["age"], &after[index]["age"]]);
        row.insert("age", age);
    }
    comparison.tables(&format!("{what} mroute"), &found, &truth);
}

/// IPv4's JSON of ip, of which iproute2 6.1 knows all columns; of IPv6 it prints the same lines.
fn mroute_columns(comparison: &mut Comparison, machine: &Machine, name: &str, report: &Value) {
    let path = machine.truth.join(format!("tools/{name}/ip_mroute.json"));
    let said = read_json(&path);
    let outputs = |list: &Value| -> String {
        let shown = |output: &Value| {
            let ttl = output["ttl"].as_u64().unwrap_or(1);
            format!("{} {ttl}", text(&output["oif"]))
        };
        array(list).iter().map(shown).collect::<Vec<_>>().join(", ")
    };
    let rows = |list: &[&Value], outs: &str, table: &str| -> BTreeMap<usize, Row> {
        list.iter()
            .map(|route| {
                let mut row: Row = ["src", "dst", "iif", "packets", "bytes"]
                    .map(|column| (column, text(&route[column])))
                    .into();
                row.insert("outputs", outputs(&route[outs]));
                row.insert("table", text(&route[table]));
                row
            })
            .enumerate()
            .collect()
    };
    let truth: Vec<&Value> = array(&said).iter().collect();
    let found: Vec<&Value> = array(&report["multicast_routes"])
        .iter()
        .filter(|row| machine.name(row) == name && row["family"] == "inet")
        .collect();
    comparison.tables(
        &format!("{name} mroute columns"),
        &rows(&found, "oifs", "table_name"),
        &rows(&truth, "multipath", "table"),
    );
}

/// `ipmr_vif_seq_show`, `ip6mr_vif_seq_show`
fn proc_vif(vif: &Value, family: &str) -> String {
    let number = |name: &str| vif[name].as_u64().expect("a number");
    let mut out = format!(
        "{} {} {} {} {} {} {:05X}",
        text(&vif["vif"]),
        text(&vif["name"]),
        text(&vif["bytes_in"]),
        text(&vif["pkts_in"]),
        text(&vif["bytes_out"]),
        text(&vif["pkts_out"]),
        number("flags"),
    );
    if family == "inet" {
        out += &format!(" {:08X} {:08X}", number("local"), number("remote"));
    }
    out
}

/// `ipmr_mfc_seq_show`, `ip6mr_mfc_seq_show`
fn proc_cache(route: &Value, vifs: &[Value], is_big_endian: bool) -> String {
    // The kernel prints the bytes of an address as a number.
    let number = if is_big_endian {
        u32::from_be_bytes
    } else {
        u32::from_le_bytes
    };
    let address = |name: &str| {
        let address: std::net::IpAddr = text(&route[name]).parse().expect("an address");
        match address {
            std::net::IpAddr::V4(address) => {
                format!("{:08X}", number(address.octets()))
            }
            std::net::IpAddr::V6(address) => {
                let groups = address.segments().map(|group| format!("{group:04x}"));
                groups.join(":")
            }
        }
    };
    let parent = vifs
        .iter()
        .find(|vif| vif["name"] == route["iif"] && vif["table"] == route["table"])
        .expect("the interface is in the table");
    let outputs: String = array(&route["oifs"])
        .iter()
        .map(|output| format!(" {}:{}", text(&output["vif"]), text(&output["ttl"])))
        .collect();
    format!(
        "{} {} {} {} {} {}{outputs}",
        address("dst"),
        address("src"),
        text(&parent["vif"]),
        text(&route["packets"]),
        text(&route["bytes"]),
        text(&route["wrong_if"])
    )
}

//! The analyzers on the fixture's dump, against what is true of it by hand (tests/fixture/expected.json).

use std::collections::BTreeMap;

use serde_json::Value;
use tests::compare::{Comparison, Row};
use tests::{analyze, array, fixture_vmcore, read_json, root, shown, text, xtask};

fn expected() -> Value {
    read_json(&root().join("tests/fixture/expected.json"))
}

fn row<const N: usize>(columns: [(&'static str, String); N]) -> Row {
    columns.into_iter().collect()
}

#[test]
fn ps_shows_every_task() {
    let report = analyze("ps", &fixture_vmcore(), &["-T"]);
    let mut found = BTreeMap::new();
    let mut idle = Vec::new();
    for task in array(&report["tasks"]) {
        let key = task["pid"].as_i64();
        // expected.json lists what is on the list of tasks; the CPUs' idle tasks are not.
        if key == Some(0) {
            idle.push((text(&task["cpu"]), text(&task["comm"])));
            continue;
        }
        let columns = row([
            ("tgid", text(&task["tgid"])),
            ("ppid", text(&task["ppid"])),
            ("comm", text(&task["comm"])),
            ("state", text(&task["state"])),
            ("threads", text(&task["threads"])),
            ("rss", text(&task["rss_kb"])),
            ("kernel_thread", text(&task["kernel_thread"])),
        ]);
        assert!(
            found.insert(key, columns).is_none(),
            "{key:?} is there twice"
        );
    }
    let expected = expected();
    let truth = array(&expected["tasks"])
        .iter()
        .map(|task| {
            let columns = row([
                ("tgid", text(&task["tgid"])),
                ("ppid", text(&task["ppid"])),
                ("comm", text(&task["comm"])),
                ("state", text(&task["state"])),
                ("threads", text(&task["threads"])),
                ("rss", text(&task["rss"])),
                ("kernel_thread", text(&task["kernel_thread"])),
            ]);
            (task["pid"].as_i64(), columns)
        })
        .collect();
    let swapper = |cpu: &str| (cpu.to_owned(), "swapper".to_owned());
    assert_eq!(idle, [swapper("0"), swapper("1")]);
    let mut comparison = Comparison::default();
    comparison.tables("task", &found, &truth);
    comparison.finish("tasks of the fixture");
}

#[test]
fn crashinfo_sums_it_up() {
    let report = analyze("crashinfo", &fixture_vmcore(), &[]);
    let expected = expected();
    let machine = &expected["machine"];
    let names = &report["system"]["names"];
    for (found, truth) in [
        ("nodename", "hostname"),
        ("release", "release"),
        ("version", "version"),
    ] {
        assert_eq!(names[found], machine[truth], "{found}");
    }
    let clocks = &report["system"]["clocks"];
    let seconds = |name: &str| clocks[name].as_i64().map(|time| time / 1_000_000_000);
    assert_eq!(seconds("real_ns"), machine["time"].as_i64());
    assert_eq!(seconds("boot_ns"), machine["uptime_seconds"].as_i64());
    assert_eq!(clocks["utc"], "2005-11-18 08:46:40");
    // avenrun in tests/fixture/kernel/timer.c: 4096, 2867 and 1638 of 2048.
    assert_eq!(report["system"]["load"], serde_json::json!([2.0, 1.4, 0.8]));
    // Nothing there says that it panicked, and it has no taint, no command line.
    assert_eq!(report["system"]["panic"], Value::Null);
    let cpus = &report["cpus"];
    assert_eq!(cpus["possible"], machine["cpus_possible"]);
    assert_eq!(cpus["online"], machine["cpus_online"]);
    let running: Vec<(Value, Value)> = array(&cpus["running"])
        .iter()
        .map(|task| (task["cpu"].clone(), task["pid"].clone()))
        .collect();
    let truth: Vec<(Value, Value)> = array(&machine["running"])
        .iter()
        .map(|task| (task["cpu"].clone(), task["pid"].clone()))
        .collect();
    assert_eq!(running, truth);

    let mut states = BTreeMap::<String, u64>::new();
    let mut waiting = Vec::new();
    for task in array(&expected["tasks"]) {
        *states.entry(text(&task["state"])).or_default() += 1;
        if task["state"] == "D" {
            waiting.push(task["pid"].clone());
        }
    }
    let tasks = &report["tasks"];
    assert_eq!(tasks["states"], serde_json::json!(states));
    assert_eq!(tasks["threads"], array(&expected["tasks"]).len());
    let found: Vec<Value> = array(&tasks["uninterruptible"])
        .iter()
        .map(|task| task["pid"].clone())
        .collect();
    assert_eq!(found, waiting);

    let modules = array(&report["modules"]);
    let names: Vec<&Value> = modules.iter().map(|module| &module["name"]).collect();
    let truth: Vec<&Value> = array(&expected["modules"]).iter().collect();
    assert_eq!(names, truth);
    // `totalram_pages` in tests/fixture/mm/memory.c.
    assert_eq!(report["memory"]["MemTotal"], 7711 * 4);
    let log: Vec<(u64, String)> = array(&report["log"])
        .iter()
        .map(|record| {
            (
                record["level"].as_u64().expect("a level"),
                text(&record["text"]),
            )
        })
        .collect();
    assert_eq!(log.len(), 9, "tests/fixture/kernel/printk.c");
    let version = text(&machine["version"]);
    let first = format!("Linux version 2.6.9-kstruct (kstruct@fixture) {version}");
    assert_eq!(log[0], (4, first));
    let last = "e1000: eth1: e1000_watchdog: NIC Link is Down";
    assert_eq!(log[8], (6, last.to_owned()));
}

#[test]
fn ps_marks_what_runs() {
    let report = analyze("ps", &fixture_vmcore(), &["-T", "-A"]);
    let running: Vec<(String, String)> = array(&report["tasks"])
        .iter()
        .map(|task| (text(&task["cpu"]), text(&task["pid"])))
        .collect();
    let expected = expected();
    let truth: Vec<(String, String)> = array(&expected["machine"]["running"])
        .iter()
        .map(|task| (text(&task["cpu"]), text(&task["pid"])))
        .collect();
    assert_eq!(running, truth);
}

/// `global` is the scope that the kernel's headers call universe.
fn scope(value: &Value) -> String {
    match text(value).as_str() {
        "universe" => "global".into(),
        other => other.into(),
    }
}

fn addresses(list: &Value) -> String {
    let rows: Vec<String> = array(list)
        .iter()
        .map(|address| {
            format!(
                "{}/{} {} {}",
                text(&address["address"]),
                text(&address["prefix"]),
                scope(&address["scope"]),
                address.get("label").map_or_else(String::new, text)
            )
        })
        .collect();
    rows.join(", ")
}

fn qdisc(qdisc: &Value) -> String {
    let columns = [
        "kind", "handle", "qlen", "backlog", "packets", "bytes", "drops",
    ];
    columns.map(|column| text(&qdisc[column])).join(" ")
}

#[test]
fn netdev_shows_every_interface() {
    let report = analyze("netdev", &fixture_vmcore(), &[]);
    let found = array(&report["interfaces"])
        .iter()
        .map(|interface| {
            let flag = |name: &str| array(&interface["flags"]).iter().any(|flag| flag == name);
            let state = |name: &str| array(&interface["state"]).iter().any(|bit| bit == name);
            let configured: Vec<String> = array(&interface["flags"])
                .iter()
                .map(text)
                .filter(|flag| flag != "RUNNING")
                .collect();
            let stats = &interface["stats"];
            let mut columns = row([
                ("ifindex", text(&interface["ifindex"])),
                ("flags", configured.join(",")),
                ("running", (flag("RUNNING") && state("START")).to_string()),
                ("start", state("START").to_string()),
                ("present", state("PRESENT").to_string()),
                ("carrier", (!state("NOCARRIER")).to_string()),
                ("queue_stopped", state("XOFF").to_string()),
                ("mtu", text(&interface["mtu"])),
                ("mac", text(&interface["mac"])),
                ("ipv4", addresses(&interface["ipv4"])),
                ("ipv6", addresses(&interface["ipv6"])),
                ("last_rx", text(&interface["last_rx"]["jiffies"])),
                ("trans_start", text(&interface["trans_start"]["jiffies"])),
                (
                    "qdiscs",
                    array(&interface["qdiscs"])
                        .iter()
                        .map(qdisc)
                        .collect::<Vec<_>>()
                        .join("; "),
                ),
                (
                    "bands",
                    array(&interface["qdiscs"])
                        .iter()
                        .filter_map(|qdisc| Some(qdisc.get("bands")?.to_string()))
                        .collect(),
                ),
            ]);
            for counter in COUNTERS {
                columns.insert(counter, text(&stats[counter]));
            }
            (text(&interface["name"]), columns)
        })
        .collect();
    let expected = expected();
    let truth = array(&expected["interfaces"])
        .iter()
        .map(|interface| {
            let is = |name: &str| interface[name] == true;
            let mut flags: Vec<String> = array(&interface["flags"]).iter().map(text).collect();
            // What `ip link` shows: promiscuity that only packet sockets want is not in it.
            flags.retain(|flag| flag != "PROMISC");
            flags.sort_by_key(|flag| ORDER.iter().position(|known| known == flag));
            let mut qdiscs = Vec::new();
            let mut bands = String::new();
            let root = &interface["qdisc"];
            if !root.is_null() && root["kind"] != "noqueue" {
                qdiscs.push(qdisc(root));
                qdiscs.extend(array(&root["children"]).iter().map(qdisc));
                if let Some(list) = root.get("bands").and_then(Value::as_array)
                    && root["kind"] == "pfifo_fast"
                {
                    let lengths: Vec<String> =
                        list.iter().map(|band| text(&band["qlen"])).collect();
                    bands = format!("[{}]", lengths.join(","));
                }
            }
            let mut columns = row([
                ("ifindex", text(&interface["ifindex"])),
                ("flags", flags.join(",")),
                // RUNNING needs a carrier; the fixture's `running` is the driver's.
                ("running", (is("running") && is("carrier")).to_string()),
                ("start", is("running").to_string()),
                ("present", is("present").to_string()),
                ("carrier", is("carrier").to_string()),
                ("queue_stopped", is("queue_stopped").to_string()),
                ("mtu", text(&interface["mtu"])),
                ("mac", text(&interface["mac"])),
                ("ipv4", addresses(&interface["ipv4"])),
                ("ipv6", addresses(&interface["ipv6"])),
                (
                    "last_rx",
                    interface
                        .get("last_rx_jiffies_ago")
                        .map_or("null".into(), text),
                ),
                (
                    "trans_start",
                    interface
                        .get("trans_start_jiffies_ago")
                        .map_or("null".into(), text),
                ),
                ("qdiscs", qdiscs.join("; ")),
                ("bands", bands),
            ]);
            for counter in COUNTERS {
                columns.insert(counter, interface.get(counter).map_or("0".into(), text));
            }
            (text(&interface["name"]), columns)
        })
        .collect();
    let mut comparison = Comparison::default();
    comparison.tables("interface", &found, &truth);
    comparison.finish("interfaces of the fixture");
}

const ORDER: [&str; 7] = [
    "UP",
    "BROADCAST",
    "LOOPBACK",
    "POINTOPOINT",
    "NOARP",
    "PROMISC",
    "MULTICAST",
];
const COUNTERS: [&str; 11] = [
    "rx_packets",
    "tx_packets",
    "rx_bytes",
    "tx_bytes",
    "rx_errors",
    "tx_errors",
    "rx_dropped",
    "tx_dropped",
    "multicast",
    "rx_missed_errors",
    "collisions",
];

#[test]
fn netdev_shows_every_cpu() {
    let columns = [
        ("processed", "processed"),
        ("dropped", "dropped"),
        ("time_squeeze", "time_squeeze"),
        ("input_queue", "input_qlen"),
    ];
    let report = analyze("netdev", &fixture_vmcore(), &[]);
    let found = array(&report["softnet"])
        .iter()
        .map(|cpu| {
            (
                text(&cpu["cpu"]),
                columns
                    .iter()
                    .map(|(name, ours)| (*name, text(&cpu[ours])))
                    .collect(),
            )
        })
        .collect();
    let expected = expected();
    let truth = array(&expected["softnet"])
        .iter()
        .map(|cpu| {
            (
                text(&cpu["cpu"]),
                columns
                    .iter()
                    .map(|(name, _)| (*name, text(&cpu[name])))
                    .collect(),
            )
        })
        .collect();
    let mut comparison = Comparison::default();
    comparison.tables("CPU", &found, &truth);
    comparison.finish("softnet of the fixture");
}

/// What is in `value`, or else what stands for it when it isn't there.
fn or(value: &Value, otherwise: &str) -> String {
    match value {
        Value::Null => otherwise.into(),
        value => text(value),
    }
}

/// The rows of a table by their keys, none twice.
fn keyed(rows: impl Iterator<Item = (String, Row)>) -> BTreeMap<String, Row> {
    let mut found = BTreeMap::new();
    for (key, columns) in rows {
        let row = format!("{key}: {columns:?}");
        assert!(found.insert(key, columns).is_none(), "{row} is there twice");
    }
    found
}

fn metric(route: &Value, name: &str) -> String {
    let metric = array(&route["metrics"])
        .iter()
        .find(|metric| metric["name"] == name);
    metric.map_or_else(String::new, |metric| text(&metric["value"]))
}

#[test]
fn route_shows_every_ipv4_route_and_rule() {
    let report = analyze("route", &fixture_vmcore(), &["-4"]);
    let routes = |list: &Value, hops: &str, gateway: &str, truth: bool| {
        keyed(array(list).iter().map(|route| {
            let key = format!(
                "{} {} {} {}",
                text(&route["table"]),
                text(&route["dst"]),
                or(&route["tos"], "0"),
                or(&route["metric"], "0")
            );
            let ways: Vec<String> = array(&route[hops])
                .iter()
                .map(|hop| {
                    format!(
                        "{} {} {}",
                        or(&hop[gateway], "-"),
                        or(&hop["dev"], "-"),
                        text(&hop["weight"])
                    )
                })
                .collect();
            let set = |name: &str| {
                if truth {
                    or(&route[name], "")
                } else {
                    metric(route, name)
                }
            };
            let columns = row([
                ("type", text(&route["type"])),
                ("protocol", text(&route["protocol"])),
                ("scope", text(&route["scope"])),
                ("prefsrc", or(&route["prefsrc"], "-")),
                ("hops", ways.join(", ")),
                ("mtu", set("mtu")),
                ("advmss", set("advmss")),
            ]);
            (key, columns)
        }))
    };
    let expected = expected();
    let truth = &expected["routes"];
    let mut comparison = Comparison::default();
    comparison.tables(
        "route",
        &routes(&report["routes"], "nexthops", "gateway", false),
        &routes(&truth["ipv4"], "hops", "via", true),
    );
    let rules = |list: &Value| {
        keyed(array(list).iter().map(|rule| {
            let action = match text(&rule["action"]).as_str() {
                "to_tbl" => "lookup".to_owned(),
                other => other.to_owned(),
            };
            let columns = row([
                ("src", or(&rule["src"], "-")),
                ("dst", or(&rule["dst"], "-")),
                ("tos", or(&rule["tos"], "0")),
                ("fwmark", or(&rule["fwmark"], "0")),
                ("iif", or(&rule["iif"], "-")),
                ("action", action),
                ("table", text(&rule["table"])),
            ]);
            (text(&rule["priority"]), columns)
        }))
    };
    comparison.tables("rule", &rules(&report["rules"]), &rules(&truth["rules"]));
    comparison.finish("IPv4 routes and rules of the fixture");
}

#[test]
fn route_shows_every_ipv6_route() {
    let report = analyze("route", &fixture_vmcore(), &["-6"]);
    let key = |route: &Value, dev: &Value| format!("{} {}", text(&route["dst"]), text(dev));
    let found = keyed(array(&report["routes"]).iter().map(|route| {
        let hop = &route["nexthops"][0];
        let columns = row([
            ("type", text(&route["type"])),
            ("protocol", text(&route["protocol"])),
            ("metric", text(&route["metric"])),
            ("mtu", metric(route, "mtu")),
            ("advmss", metric(route, "advmss")),
            ("via", or(&hop["gateway"], "-")),
            ("expires", or(&route["expires"]["seconds"], "-")),
        ]);
        (key(route, &hop["dev"]), columns)
    }));
    let expected = expected();
    let truth = keyed(array(&expected["routes"]["ipv6"]).iter().map(|route| {
        let columns = row([
            ("type", text(&route["type"])),
            ("protocol", text(&route["protocol"])),
            ("metric", text(&route["metric"])),
            ("mtu", or(&route["mtu"], "")),
            ("advmss", or(&route["advmss"], "")),
            ("via", or(&route["via"], "-")),
            ("expires", or(&route["expires_seconds"], "-")),
        ]);
        (key(route, &route["dev"]), columns)
    }));
    let mut comparison = Comparison::default();
    comparison.tables("route", &found, &truth);
    comparison.finish("IPv6 routes of the fixture");
}

#[test]
fn route_shows_every_neighbour() {
    let report = analyze("route", &fixture_vmcore(), &["neigh", "proxy"]);
    let found = keyed(array(&report["neighbours"]).iter().map(|entry| {
        let states: Vec<String> = array(&entry["state"]).iter().map(text).collect();
        let router = array(&entry["flags"]).iter().any(|flag| flag == "router");
        let columns = row([
            ("dev", text(&entry["dev"])),
            ("lladdr", or(&entry["lladdr"], "-")),
            ("state", states.join(",")),
            ("router", router.to_string()),
            ("probes", text(&entry["probes"])),
            ("refcnt", text(&entry["refcnt"])),
            ("used", text(&entry["used"]["jiffies"])),
            ("confirmed", text(&entry["confirmed"]["jiffies"])),
            ("updated", text(&entry["updated"]["jiffies"])),
        ]);
        (text(&entry["address"]), columns)
    }));
    let expected = expected();
    let truth = keyed(
        array(&expected["routes"]["neighbours"])
            .iter()
            .map(|entry| {
                let columns = row([
                    ("dev", text(&entry["dev"])),
                    ("lladdr", or(&entry["lladdr"], "-")),
                    ("state", text(&entry["state"])),
                    ("router", or(&entry["router"], "false")),
                    ("probes", text(&entry["probes"])),
                    ("refcnt", text(&entry["refcnt"])),
                    ("used", text(&entry["used"])),
                    ("confirmed", text(&entry["confirmed"])),
                    ("updated", text(&entry["updated"])),
                ]);
                (text(&entry["address"]), columns)
            }),
    );
    let mut comparison = Comparison::default();
    comparison.tables("neighbour", &found, &truth);
    let proxies = |list: &Value| {
        keyed(
            array(list)
                .iter()
                .map(|proxy| (text(&proxy["address"]), row([("dev", text(&proxy["dev"]))]))),
        )
    };
    comparison.tables(
        "proxy",
        &proxies(&report["proxies"]),
        &proxies(&expected["routes"]["proxies"]),
    );
    comparison.finish("neighbours of the fixture");
}

/// `10.0.0.1:80`, `[::1]:80`
fn end(socket: &Value, address: &str, port: &str) -> String {
    let (address, port) = (text(&socket[address]), text(&socket[port]));
    if address.contains(':') {
        format!("[{address}]:{port}")
    } else {
        format!("{address}:{port}")
    }
}

fn ends(socket: &Value) -> String {
    let local = end(socket, "local", "local_port");
    format!("{local} {}", end(socket, "remote", "remote_port"))
}

/// `pid/fd` of each process that holds a socket.
fn owners(socket: &Value) -> String {
    let holders = array(&socket["holders"]).iter();
    let owners: Vec<String> = holders
        .map(|holder| format!("{}/{}", text(&holder["pid"]), text(&holder["fd"])))
        .collect();
    or_dash(owners.join(","))
}

fn or_dash(text: String) -> String {
    if text.is_empty() { "-".into() } else { text }
}

/// States as the kernel's header names them, and as ss does.
fn as_ss(state: &str) -> &str {
    match state {
        "ESTABLISHED" | "connected" => "ESTAB",
        "SYN_RECV" => "SYN-RECV",
        "SYN_SENT" => "SYN-SENT",
        "FIN_WAIT1" => "FIN-WAIT-1",
        "FIN_WAIT2" => "FIN-WAIT-2",
        "TIME_WAIT" => "TIME-WAIT",
        "CLOSE_WAIT" => "CLOSE-WAIT",
        "CLOSE" | "unconnected" => "UNCONN",
        "listen" => "LISTEN",
        other => other,
    }
}

/// A number of the report in microseconds as one in milliseconds, which here is jiffies.
fn milliseconds(value: &Value) -> String {
    let value = value.as_u64().unwrap_or(0);
    assert_eq!(value % 1000, 0, "{value} is no number of jiffies");
    (value / 1000).to_string()
}

fn found_tcp(sockets: &[Value]) -> BTreeMap<String, Row> {
    let by_address: BTreeMap<String, String> = sockets
        .iter()
        .map(|socket| (text(&socket["address"]), end(socket, "local", "local_port")))
        .collect();
    keyed(sockets.iter().map(|socket| {
        let (info, memory) = (&socket["info"], &socket["memory"]);
        let number = |part: &Value, name: &str| or(&part[name], "0");
        let is_listener = !socket["listener"].is_null();
        let queue = |name: &str| {
            if is_listener {
                "0".into()
            } else {
                text(&socket[name])
            }
        };
        // Of a listener `unacked` and `sacked` are its queue.
        let packets = |name: &str| {
            if is_listener {
                "0".into()
            } else {
                number(info, name)
            }
        };
        let mut options: Vec<String> = [("ts", "timestamps"), ("sack", "sack")]
            .iter()
            .filter(|(name, _)| info[*name] == true)
            .map(|(_, shown)| (*shown).to_owned())
            .collect();
        if let Some(scale) = info["wscale"].as_array() {
            options.push(format!("wscale:{},{}", text(&scale[0]), text(&scale[1])));
        }
        let states = ["Open", "Disorder", "CWR", "Recovery", "Loss"];
        let ca_state = info["ca_state"].as_u64().unwrap_or(0) as usize;
        let timer = &socket["timer"];
        let retries = number(timer, "retransmits");
        let retries = |which: &str, field: &str| {
            let expected = number(info, field);
            if timer["which"] == which && !info.is_null() {
                assert_eq!(retries, expected, "{}", ends(socket));
            }
            expected
        };
        let listener = |name: &str| number(&socket["listener"], name);
        let columns = row([
            ("state", text(&socket["state"])),
            ("family", text(&socket["family"])),
            ("type", text(&socket["type"])),
            ("inode", text(&socket["inode"])),
            ("uid", text(&socket["uid"])),
            ("owner", owners(socket)),
            ("refcount", text(&socket["refcount"])),
            ("shutdown", text(&socket["shutdown"])),
            ("backlog", listener("backlog")),
            ("max_backlog", listener("max_backlog")),
            ("syn_queue", listener("requests")),
            ("syn_young", listener("young")),
            (
                "waits_at",
                by_address
                    .get(&text(&socket["waits_at"]))
                    .cloned()
                    .unwrap_or_else(|| or(&socket["waits_at"], "-")),
            ),
            ("unacked", queue("tx_queue")),
            ("unread", queue("rx_queue")),
            ("rmem", number(memory, "rmem_alloc")),
            ("wmem_queued", number(memory, "wmem_queued")),
            ("fwd_alloc", number(memory, "fwd_alloc")),
            ("sndbuf", number(memory, "sndbuf")),
            ("rcvbuf", number(memory, "rcvbuf")),
            ("cwnd", number(info, "snd_cwnd")),
            ("ssthresh", number(info, "snd_ssthresh")),
            ("rtt", milliseconds(&info["rtt"])),
            ("mdev", milliseconds(&info["rttvar"])),
            ("rto", milliseconds(&info["rto"])),
            ("ato", milliseconds(&info["ato"])),
            ("rcv_rtt", milliseconds(&info["rcv_rtt"])),
            ("backoff", number(info, "backoff")),
            (
                "retransmits",
                if info.is_null() {
                    number(socket, "timeouts")
                } else {
                    retries("on", "retransmits")
                },
            ),
            ("probes", retries("persist", "probes")),
            ("packets_out", packets("unacked")),
            ("sacked_out", packets("sacked")),
            ("lost_out", number(info, "lost")),
            ("retrans_out", number(info, "retrans")),
            ("ca_state", states[ca_state].into()),
            ("mss", number(info, "snd_mss")),
            ("rcv_mss", number(info, "rcv_mss")),
            ("advmss", number(info, "advmss")),
            ("pmtu", number(info, "pmtu")),
            ("snd_wnd", number(info, "snd_wnd")),
            ("rcv_wnd", number(info, "rcv_wnd")),
            ("rcv_ssthresh", number(info, "rcv_ssthresh")),
            ("rcv_space", number(info, "rcv_space")),
            ("not_sent", number(info, "notsent_bytes")),
            ("pingpong", number(info, "quick_and_pingpong")),
            ("last_send", number(info, "last_data_sent_ms")),
            ("last_receive", number(info, "last_data_recv_ms")),
            ("last_ack", number(info, "last_ack_recv_ms")),
            ("options", options.join(",")),
            ("congestion", or(&socket["congestion"], "-")),
            (
                "timer",
                match text(&timer["which"]).as_str() {
                    "off" => "-".into(),
                    which => format!("{which} {}", text(&timer["expires_ms"])),
                },
            ),
        ]);
        (ends(socket), columns)
    }))
}

fn true_tcp(sockets: &[Value]) -> BTreeMap<String, Row> {
    keyed(sockets.iter().map(|socket| {
        let number = |name: &str| or(&socket[name], "0");
        let local = text(&socket["local"]);
        let is_full = socket.get("sndbuf").is_some();
        let timer = &socket["timer"];
        let waits_at = [&socket["waits_for_accept"], &socket["listener"]];
        let options = socket.get("options").map_or(Vec::new(), |options| {
            array(options).iter().map(text).collect()
        });
        let mut columns = row([
            ("state", as_ss(&text(&socket["state"])).into()),
            (
                "family",
                if local.starts_with('[') {
                    "inet6"
                } else {
                    "inet"
                }
                .into(),
            ),
            ("type", "stream".into()),
            ("owner", or(&socket["owner"], "-")),
            (
                "waits_at",
                waits_at
                    .iter()
                    .find(|at| !at.is_null())
                    .map_or("-".into(), |at| text(at)),
            ),
            (
                "ssthresh",
                // TCP_INFINITE_SSTHRESH
                or(
                    &socket["ssthresh"],
                    if is_full { "2147483647" } else { "0" },
                ),
            ),
            ("ca_state", or(&socket["ca_state"], "Open")),
            ("options", options.join(",")),
            ("congestion", or(&socket["congestion"], "-")),
            (
                "timer",
                if timer.is_null() {
                    "-".into()
                } else {
                    let which = match text(&timer["kind"]).as_str() {
                        "retransmit" | "synack" => "on".to_owned(),
                        "probe" => "persist".to_owned(),
                        other => other.to_owned(),
                    };
                    format!("{which} {}", text(&timer["expires"]))
                },
            ),
        ]);
        for name in [
            "inode",
            "uid",
            "refcount",
            "shutdown",
            "backlog",
            "max_backlog",
            "syn_queue",
            "syn_young",
            "unacked",
            "unread",
            "rmem",
            "wmem_queued",
            "fwd_alloc",
            "sndbuf",
            "rcvbuf",
            "cwnd",
            "rtt",
            "mdev",
            "rto",
            "ato",
            "rcv_rtt",
            "backoff",
            "retransmits",
            "probes",
            "packets_out",
            "sacked_out",
            "lost_out",
            "retrans_out",
            "mss",
            "rcv_mss",
            "advmss",
            "pmtu",
            "snd_wnd",
            "rcv_wnd",
            "rcv_ssthresh",
            "rcv_space",
            "not_sent",
            "pingpong",
            "last_send",
            "last_receive",
            "last_ack",
        ] {
            columns.insert(name, number(name));
        }
        let key = format!("{local} {}", text(&socket["remote"]));
        (key, columns)
    }))
}

#[test]
fn tcp_shows_every_socket() {
    let report = analyze("tcp", &fixture_vmcore(), &[]);
    let expected = expected();
    let mut comparison = Comparison::default();
    comparison.tables(
        "socket",
        &found_tcp(array(&report["sockets"])),
        &true_tcp(array(&expected["sockets"]["tcp"])),
    );
    // The accept queue is in the order in which connections came.
    let children: Vec<String> = array(&report["sockets"][0]["listener"]["accept_queue"])
        .iter()
        .map(|child| {
            let sockets = array(&report["sockets"]).iter();
            let mut child = sockets.filter(|socket| socket["address"] == *child);
            child
                .next()
                .map_or_else(String::new, |child| end(child, "remote", "remote_port"))
        })
        .collect();
    assert_eq!(children, ["10.20.30.9:1112", "10.20.30.8:1113"]);
    comparison.finish("TCP sockets of the fixture");
}

/// The fixture has a connection that sends again, a request that was answered again, and one whose peer has closed its window
/// (`machine/sockets.c`). Nothing else is wrong with its sockets.
#[test]
fn tcpcheck_finds_what_the_fixture_made_sick() {
    let core = fixture_vmcore();
    let core = core.to_str().expect("paths here are UTF-8");
    let check = |options: &[&str]| {
        let mut args = vec!["run", "tcpcheck", "--core", core, "--", "--format", "json"];
        args.extend(options);
        let output = xtask(&args);
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", shown(&output)));
        assert_eq!(report["fault_count"], 0);
        let found: Vec<[String; 2]> = array(&report["findings"])
            .iter()
            .map(|finding| ["rule", "ends"].map(|column| text(&finding[column])))
            .collect();
        (output.status.code(), found)
    };
    let all = [
        ["retransmits", "10.20.30.41:7001 10.20.30.8:51234"],
        ["retransmits", "10.20.30.41:7001 203.0.113.78:2002"],
        ["zero-window", "10.20.30.41:32768 192.0.2.10:80"],
    ]
    .map(|finding| finding.map(str::to_owned));
    assert_eq!(check(&[]), (Some(1), all.to_vec()));
    assert_eq!(
        check(&["--skip", "retransmits"]),
        (Some(1), all[2..].to_vec())
    );
    assert_eq!(
        check(&["--retransmits", "4", "--rule", "retransmits"]),
        (Some(0), Vec::new())
    );
}

fn datagrams(report: &Value) -> BTreeMap<String, Row> {
    keyed(array(&report["datagram"]).iter().map(|socket| {
        let columns = row([
            ("netid", text(&socket["netid"])),
            ("state", text(&socket["state"])),
            ("inode", text(&socket["inode"])),
            ("uid", text(&socket["uid"])),
            ("owner", owners(socket)),
            ("rmem", text(&socket["rx_queue"])),
            ("wmem", text(&socket["tx_queue"])),
            ("icmp_filter", or(&socket["icmp_filter"], "-")),
        ]);
        (ends(socket), columns)
    }))
}

fn true_datagrams(expected: &Value) -> BTreeMap<String, Row> {
    let columns = |socket: &Value, netid: &str, state: &str| {
        row([
            ("netid", netid.into()),
            ("state", as_ss(state).into()),
            ("inode", text(&socket["inode"])),
            ("uid", text(&socket["uid"])),
            ("owner", or(&socket["owner"], "-")),
            ("rmem", or(&socket["rmem"], "0")),
            ("wmem", "0".into()),
            ("icmp_filter", or(&socket["icmp_filter"], "-")),
        ])
    };
    let udp = array(&expected["udp"]).iter().map(|socket| {
        let key = format!("{} {}", text(&socket["local"]), text(&socket["remote"]));
        (key, columns(socket, "udp", &text(&socket["state"])))
    });
    // ss has a raw socket's protocol where others have their port.
    let raw = array(&expected["raw"]).iter().map(|socket| {
        let (local, protocol) = (text(&socket["local"]), text(&socket["protocol"]));
        let key = format!("{local}:{protocol} 0.0.0.0:0");
        (key, columns(socket, "raw", "CLOSE"))
    });
    keyed(udp.chain(raw))
}

fn unix(report: &Value) -> BTreeMap<String, Row> {
    keyed(array(&report["unix"]).iter().map(|socket| {
        let columns = row([
            ("type", text(&socket["type"])),
            ("state", text(&socket["state"])),
            ("path", or(&socket["name"], "-")),
            ("uid", text(&socket["uid"])),
            ("owner", owners(socket)),
            ("peer_inode", text(&socket["peer_inode"])),
            ("rx_queue", text(&socket["rx_queue"])),
            ("tx_queue", text(&socket["tx_queue"])),
        ]);
        (text(&socket["inode"]), columns)
    }))
}

fn true_unix(expected: &Value) -> BTreeMap<String, Row> {
    keyed(array(&expected["unix"]).iter().map(|socket| {
        let sent = ["wmem", "max_backlog"];
        let columns = row([
            ("type", text(&socket["type"])),
            ("state", as_ss(&text(&socket["state"])).into()),
            ("path", or(&socket["path"], "-")),
            ("uid", text(&socket["uid"])),
            ("owner", or(&socket["owner"], "-")),
            ("peer_inode", or(&socket["peer_inode"], "0")),
            ("rx_queue", or(&socket["rx_queue"], "0")),
            (
                "tx_queue",
                sent.iter()
                    .find_map(|name| socket.get(name))
                    .map_or("0".into(), text),
            ),
        ]);
        (text(&socket["inode"]), columns)
    }))
}

/// Numbers of groups as bits.
fn group_bits(groups: &Value) -> String {
    let bits = array(groups)
        .iter()
        .filter_map(Value::as_u64)
        .fold(0_u64, |bits, group| bits | 1 << (group - 1));
    bits.to_string()
}

#[test]
fn sockets_shows_every_family() {
    let report = analyze("sockets", &fixture_vmcore(), &[]);
    let expected = expected();
    let truth = &expected["sockets"];
    let mut comparison = Comparison::default();
    comparison.tables(
        "TCP socket",
        &found_tcp(array(&report["tcp"])),
        &true_tcp(array(&truth["tcp"])),
    );
    comparison.tables("datagram", &datagrams(&report), &true_datagrams(truth));
    comparison.tables("unix", &unix(&report), &true_unix(truth));
    let netlink = keyed(array(&report["netlink"]).iter().map(|socket| {
        let columns = row([
            ("protocol", text(&socket["protocol"])),
            ("groups", group_bits(&socket["groups"])),
            ("inode", text(&socket["inode"])),
            ("uid", text(&socket["uid"])),
            ("owner", owners(socket)),
        ]);
        (text(&socket["portid"]), columns)
    }));
    let true_netlink = keyed(array(&truth["netlink"]).iter().map(|socket| {
        let columns = row([
            ("protocol", text(&socket["protocol"])),
            ("groups", text(&socket["groups"])),
            ("inode", or(&socket["inode"], "0")),
            ("uid", or(&socket["uid"], "0")),
            ("owner", or(&socket["owner"], "-")),
        ]);
        (text(&socket["pid"]), columns)
    }));
    comparison.tables("netlink", &netlink, &true_netlink);
    let packet = |list: &Value, names: [&str; 3]| {
        keyed(array(list).iter().map(|socket| {
            let [protocol, interface, drops] = names;
            let drops = socket.get(drops).unwrap_or(&socket["memory"]["drops"]);
            let columns = row([
                ("type", text(&socket["type"])),
                ("protocol", text(&socket[protocol])),
                ("interface", text(&socket[interface])),
                ("uid", text(&socket["uid"])),
                (
                    "owner",
                    socket.get("owner").map_or_else(|| owners(socket), text),
                ),
                ("packets", text(&socket["packets"])),
                ("drops", text(drops)),
            ]);
            (text(&socket["inode"]), columns)
        }))
    };
    comparison.tables(
        "packet",
        &packet(&report["packet"], ["ethertype", "packet_device", "-"]),
        &packet(&truth["packet"], ["protocol", "interface", "drops"]),
    );
    assert_eq!(array(&report["others"]).len(), 0, "{}", report["others"]);
    comparison.finish("sockets of the fixture");
}

/// What `iptables-save -c` would print of a table.
fn saved(table: &Value) -> (BTreeMap<String, Row>, BTreeMap<String, Row>) {
    let mut chains = BTreeMap::new();
    let mut rules = BTreeMap::new();
    for chain in array(&table["chains"]) {
        let policy = &chain["policy"];
        if !policy.is_null() {
            let counters = format!("[{},{}]", chain["packets"], chain["bytes"]);
            let columns = row([("policy", text(policy)), ("counters", counters)]);
            chains.insert(text(&chain["name"]), columns);
        }
        for rule in array(&chain["rules"]) {
            let line = format!(
                "[{}:{}] {}",
                rule["packets"],
                rule["bytes"],
                text(&rule["text"])
            );
            rules.insert(format!("{:02}", rules.len()), row([("line", line)]));
        }
    }
    (chains, rules)
}

#[test]
fn netfilter_shows_every_rule() {
    let report = analyze("netfilter", &fixture_vmcore(), &["iptables"]);
    let expected = expected();
    let tables = array(&report["iptables"]);
    let names: Vec<String> = tables.iter().map(|table| text(&table["name"])).collect();
    assert_eq!(names, ["filter", "nat"]);
    let mut comparison = Comparison::default();
    for table in tables {
        let truth = &expected["netfilter"][text(&table["name"])];
        let (chains, rules) = saved(table);
        let policies = truth["policies"].as_object().expect("policies by chain");
        let true_chains = policies
            .iter()
            .map(|(chain, policy)| {
                let counters = truth["policy_counters"][chain].to_string();
                let columns = row([("policy", text(policy)), ("counters", counters)]);
                (chain.clone(), columns)
            })
            .collect();
        let true_rules = array(&truth["rules"])
            .iter()
            .zip(0..)
            .map(|(rule, index)| (format!("{index:02}"), row([("line", text(rule))])))
            .collect();
        comparison.tables("chain", &chains, &true_chains);
        comparison.tables("rule", &rules, &true_rules);
    }
    comparison.finish("iptables of the fixture");
}

#[test]
fn netfilter_shows_every_hook() {
    let report = analyze("netfilter", &fixture_vmcore(), &["hooks"]);
    let mut found: BTreeMap<String, Row> = BTreeMap::new();
    for hook in array(&report["hooks"]) {
        assert_eq!(hook["family"], "ip");
        let key = format!("{} {}", text(&hook["hook"]), text(&hook["priority"]));
        found.insert(key, row([("function", text(&hook["function"]))]));
    }
    let expected = expected();
    let mut truth = BTreeMap::new();
    for hook in array(&expected["netfilter"]["hooks"]) {
        let name = match text(&hook["hook"]).as_str() {
            "PRE_ROUTING" => "prerouting",
            "LOCAL_IN" => "input",
            "FORWARD" => "forward",
            "LOCAL_OUT" => "output",
            _ => "postrouting",
        };
        for function in array(&hook["functions"]) {
            let key = format!("{name} {}", text(&function[0]));
            truth.insert(key, row([("function", text(&function[1]))]));
        }
    }
    let mut comparison = Comparison::default();
    comparison.tables("hook", &found, &truth);
    comparison.finish("hooks of the fixture");
}

#[test]
fn netfilter_shows_every_connection() {
    let core = fixture_vmcore();
    let core = core.to_str().expect("paths here are UTF-8");
    let lines = |filters: &[&str]| {
        let mut args = vec!["run", "netfilter", "--core", core, "--", "conntrack"];
        args.extend(filters);
        let output = xtask(&args);
        assert!(output.status.success(), "{}", shown(&output));
        let printed = String::from_utf8(output.stdout).expect("text");
        let mut lines = BTreeMap::new();
        for line in printed.lines().filter(|line| !line.starts_with('#')) {
            // What stands behind it is not in /proc.
            let (line, _) = line.split_once("  #").expect("a comment");
            let words: Vec<&str> = line.split_whitespace().collect();
            lines.insert(words.join(" "), Row::new());
        }
        lines
    };
    let expected = expected();
    let tracked = &expected["netfilter"]["conntrack"];
    let truth: BTreeMap<String, Row> = array(&tracked["entries"])
        .iter()
        .map(|line| (text(line), Row::new()))
        .collect();
    let mut comparison = Comparison::default();
    comparison.tables("connection", &lines(&[]), &truth);
    for (filters, word) in [
        (&["--proto", "udp"][..], "udp 17"),
        (&["--state", "syn_sent"], "SYN_SENT"),
        (&["--state", "unreplied"], "[UNREPLIED]"),
        (&["--state", "DST_NAT"], "dst=10.20.30.99"),
        (&["--address", "203.0.113.0/24"], "203.0.113."),
        (&["--port", "8080"], "dport=8080"),
        (&["--port", "1"], "port=1 "),
    ] {
        let wanted = truth
            .iter()
            .filter(|(line, _)| line.contains(word))
            .map(|(line, row)| (line.clone(), row.clone()))
            .collect();
        comparison.tables("connection", &lines(filters), &wanted);
    }
    // That there is none is said.
    let filter = ["--mark", "0x12345678"];
    let none = xtask(&[&["run", "netfilter", "--core", core, "--"], &filter[..]].concat());
    assert_eq!(none.status.code(), Some(0), "{}", shown(&none));
    assert_eq!(
        String::from_utf8_lossy(&none.stdout),
        "# there are no connections that the options ask for\n"
    );
    let report = analyze("netfilter", &fixture_vmcore(), &["counts"]);
    let counts = &report["conntrack"]["counts"];
    for (ours, theirs) in [("max", "max"), ("buckets", "buckets"), ("entries", "count")] {
        assert_eq!(counts[ours], tracked[theirs], "{ours}");
    }
    assert_eq!(counts["namespaces"][0]["count"], tracked["count"]);
    assert_eq!(counts["longest_chain"], 2);
    let udp = analyze("netfilter", &fixture_vmcore(), &["counts", "--proto=udp"]);
    let counts = &udp["conntrack"]["counts"]["namespaces"][0];
    assert_eq!(
        (&counts["entries"], &counts["count"]),
        (&1.into(), &5.into())
    );
    comparison.finish("connections of the fixture");
}

#[test]
fn netfilter_names_what_it_does_not_know() {
    let core = fixture_vmcore();
    let core = core.to_str().expect("paths here are UTF-8");
    for (options, wanted) in [
        (&["--table", "mangle"][..], "there is filter, nat"),
        (&["--chain", "INPUTS"], "there is INPUT, FORWARD"),
        (&["--netns", "7"], "there is 0"),
        (&["hooks", "--proto", "tcp"], "conntrack and counts"),
        (&["counts", "--table", "nat"], "iptables and nft"),
        (&["--proto", "bogus"], "known are ipv4"),
        (&["--state", "bogus"], "known are NONE"),
    ] {
        let mut args = vec!["run", "netfilter", "--core", core, "--"];
        args.extend(options);
        let output = xtask(&args);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{options:?}: {message}");
        assert!(message.contains(wanted), "{options:?}: {message}");
    }
}

#[test]
fn ps_shows_open_files() {
    let report = analyze("ps", &fixture_vmcore(), &["--files", "1", "2143", "4200"]);
    let row = |fds: Vec<(String, String)>| {
        let files = fds.into_iter().map(|(fd, path)| format!("{fd} {path}"));
        let files: std::collections::BTreeSet<String> = files.collect();
        row([("files", files.into_iter().collect::<Vec<_>>().join(", "))])
    };
    let mut found = BTreeMap::new();
    for task in array(&report["tasks"]) {
        let files = array(&task["files"]).iter();
        let files = files.map(|file| (text(&file["fd"]), text(&file["path"])));
        found.insert(text(&task["pid"]), row(files.collect()));
        for file in array(&task["files"]) {
            let name = text(&file["path"]);
            if let Some(inode) = name.strip_prefix("socket:") {
                assert_eq!(inode, format!("[{}]", file["inode"]));
            }
            let is_log = name == "/var/messages";
            assert_eq!(file["pos"], if is_log { 123_456 } else { 0 }, "{name}");
            assert_eq!(file["flags"], if is_log { 0o2001 } else { 2 }, "{name}");
        }
    }
    let expected = expected();
    let truth = array(&expected["sockets"]["files"])
        .iter()
        .map(|process| {
            let fds = process["fds"].as_object().expect("files by number");
            let fds = fds.iter().map(|(fd, path)| (fd.clone(), text(path)));
            (text(&process["pid"]), row(fds.collect()))
        })
        .collect();
    let mut comparison = Comparison::default();
    comparison.tables("process", &found, &truth);
    comparison.finish("open files of the fixture");
}

/// A copy of the fixture's dump with a word at a kernel address changed.
fn with_word(address: u64, change: impl Fn(u32) -> u32) -> tempfile::NamedTempFile {
    use std::os::unix::fs::FileExt as _;

    let copy = tempfile::NamedTempFile::new().expect("there is room");
    std::fs::copy(fixture_vmcore(), copy.path()).expect("there is room");
    let mut options = std::fs::File::options();
    let file = options.read(true).write(true).open(copy.path());
    let file = file.expect("it is a copy");
    // i386's `PAGE_OFFSET`.
    let place = tests::elf::Elf::of(&file).offset(address - 0xc000_0000);
    let mut word = [0; 4];
    file.read_exact_at(&mut word, place).expect("it is there");
    let word = change(u32::from_le_bytes(word));
    file.write_all_at(&word.to_le_bytes(), place)
        .expect("there is room");
    copy
}

/// What a program says of a dump: its exit status, output and errors.
fn run(program: &str, core: &tempfile::NamedTempFile) -> (Option<i32>, String, String) {
    let core = core.path().to_str().expect("paths here are UTF-8");
    let output = xtask(&["run", program, "--core", core]);
    let [said, errors] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    (output.status.code(), said.into_owned(), errors.into_owned())
}

/// What a process of 2.6.9 has locked (`sk_lock.owner`) is named: rules leave it out.
#[test]
fn tcpcheck_says_what_is_locked() {
    let report = analyze("tcp", &fixture_vmcore(), &["--state", "listen"]);
    let socket = text(&array(&report["sockets"])[0]["address"]);
    let address = u64::from_str_radix(socket.trim_start_matches("0x"), 16);
    // Where it is in `struct sock`.
    let owner = address.expect("an address") + 40;
    let (status, said, errors) = run("tcpcheck", &with_word(owner, |_| 1));
    assert_eq!(status, Some(1), "{errors}");
    let line = format!("locked, so that some rules leave them out: 1 socket: {socket}\n");
    assert!(said.contains(&line), "{said}");
}

/// The size of a table is a power of two, and one bit of it that is wrong makes none of it: a fault, and no shorter answer.
#[test]
fn sizes_that_cannot_be_are_faults() {
    for (program, variable, offset, fault) in [
        ("tcp", "tcp_hashinfo", 12, "__tcp_ehash: "),
        ("tcpcheck", "tcp_hashinfo", 12, "__tcp_ehash: "),
        ("route", "rt_hash_mask", 0, "route cache: "),
        ("crashinfo", "log_buf_len", 0, "log: "),
        ("ps", "nr_threads", 0, "task list: "),
        ("crashinfo", "nr_threads", 0, "task list: "),
    ] {
        let found = analyze("sym", &fixture_vmcore(), &[variable]);
        let address = text(&array(&found["symbols"])[0]["address"]);
        let address = u64::from_str_radix(address.trim_start_matches("0x"), 16);
        let address = address.expect("an address") + offset;
        let (status, _, errors) = run(program, &with_word(address, |word| word ^ 2));
        assert_eq!(status, Some(2), "{program}: {variable}");
        assert!(errors.contains(fault), "{program}: {variable}: {errors}");
    }
}

/// Interfaces that the list lost, all or the last two of them, are still in the hash of their indices.
#[test]
fn interfaces_that_are_on_no_list_are_faults() {
    let address = |value: &Value| {
        let address = text(value);
        let address = u64::from_str_radix(address.trim_start_matches("0x"), 16);
        address.expect("an address")
    };
    let base = analyze("sym", &fixture_vmcore(), &["dev_base"]);
    let base = address(&array(&base["symbols"])[0]["address"]);
    let first = analyze("netdev", &fixture_vmcore(), &["lo"]);
    // Where `next` is in `struct net_device`.
    let next = address(&array(&first["interfaces"])[0]["address"]) + 40;
    for (place, lost) in [(base, 3), (next, 2)] {
        let (status, _, errors) = run("netdev", &with_word(place, |_| 0));
        assert_eq!(status, Some(2), "{errors}");
        let found = errors.matches("interfaces by their indices: ").count();
        assert_eq!(found, lost, "{errors}");
    }
}

/// Whether a program takes one word of the fixture's dump for a contradiction, each with what it says of it.
fn contradict(program: &str, words: &[(u64, u32, &str)]) {
    for (address, word, fault) in words {
        let (status, _, errors) = run(program, &with_word(*address, |_| *word));
        assert_eq!(status, Some(2), "{program}: {address:#x}: {errors}");
        assert!(errors.contains(fault), "{program}: {address:#x}: {errors}");
        assert!(errors.len() < 2_000, "{program}: {address:#x}: {errors}");
    }
}

/// What netfilter's modules have lies where the fixture's page tables say.
#[test]
fn netfilter_finds_contradictions() {
    let name = u32::from_le_bytes;
    contradict(
        "netfilter",
        &[
            // The first letters of `module.name`.
            (
                0xc1c2_f38c,
                name(*b"Ip_t"),
                "name of the module of x_tables: Ip_tables: ",
            ),
            (
                0xc1c2_340c,
                name(*b"Ip_c"),
                "name of the module of nf_conntrack: Ip_conntrack: ",
            ),
            // `ip_conntrack_htable_size`, which is 256.
            (0xc1c2_31a4, 0, "ip_conntrack_htable_size: "),
            (0xc1c2_31a4, 0x80, "ip_conntrack_htable_size: "),
            (0xc1c2_31a4, 0x10_0000, "ip_conntrack_htable_size: "),
            // `ip_conntrack_count`
            (
                0xc1c2_31ac,
                4,
                "connections, of which ip_conntrack_count counts fewer: ",
            ),
            // `valid_hooks` and `name` of table nat, and the name of the target of names.
            (0xc1c2_708c, 0b10001, "hooks of table nat: "),
            (0xc1c2_7068, name(*b"raw\0"), "name of table raw: "),
            (0xc1c2_f1a8, name(*b"ERRO") ^ 1, "name of target ERROR: "),
            // Where POSTROUTING begins and ends in that table, and how many entries this has.
            (0xc1c3_701c, 208, "chains of table nat: "),
            (0xc1c3_7030, 356, "policies of table nat: "),
            (0xc1c3_7004, 5, "entries of table nat: "),
        ],
    );
    // What names were wrong for is read all the same.
    let sound = run("netfilter", &with_word(0xc1c2_708c, |word| word)).1;
    for (address, word) in [(0xc1c2_708c, 0b10001), (0xc1c2_f1a8, name(*b"ERRO") ^ 1)] {
        let (_, said, _) = run("netfilter", &with_word(address, |_| word));
        assert_eq!(said, sound, "{address:#x}");
    }
}

/// A table of routes has its zones twice, each counts its nodes, and next hops have their interface twice.
#[test]
fn route_finds_contradictions() {
    contradict(
        "route",
        &[
            // `fz_next` of a zone of table main, `fn_zone_list` of it, and a place of `fn_zones`.
            (0xc011_a958, 0, "IPv4 routing zones: "),
            (0xc011_aaa4, 0, "IPv4 routing zones: "),
            (0xc011_aa20, 0, "IPv4 routing zones: "),
            // Main is on no list any more, and a list has lost its only node.
            (0xc010_5298, 0, "IPv4 routing tables: "),
            (
                0xc011_ab94,
                0,
                "IPv4 routes of a zone, which counts others: ",
            ),
            // `nh_dev` of the default route.
            (0xc011_a084, 0, "next hop: "),
            // `rt_hash_mask`, half of it.
            (0xc010_580c, 127, "route cache: "),
            // `entries` of ARP.
            (
                0xc010_4d94,
                5,
                "entries of a neighbour table, of which it counts fewer: ",
            ),
            // Where ways part in the tree of IPv6, one is gone, and both are one.
            (0xc011_ba84, 0, "IPv6 routing tree: "),
            (0xc011_ba84, 0xc011_bab8, "IPv6 routing tree: "),
            // Routes of a node, of which it has none.
            (0xc011_baac, 0, "IPv6 routes of a node: "),
        ],
    );
    // What the list of zones lost, the array has.
    let sound = run("route", &with_word(0xc011_a958, |word| word)).1;
    for address in [0xc011_a958, 0xc011_aaa4] {
        let (_, said, _) = run("route", &with_word(address, |_| 0));
        assert_eq!(said, sound, "{address:#x}");
    }
}

/// A list that goes round in circles gives what is on it once, and a fault.
#[test]
fn what_is_on_a_circle_is_shown_once() {
    let options = [
        "task_struct",
        "init_task",
        "--list",
        "tasks",
        "-m",
        "tasks.next",
    ];
    let report = analyze("struct", &fixture_vmcore(), &options);
    let number = |value: &Value| {
        let number = text(value);
        let number = u64::from_str_radix(number.trim_start_matches("0x"), 16);
        number.expect("an address")
    };
    let tasks: Vec<(u64, u64)> = array(&report["structs"])
        .iter()
        .map(|task| {
            (
                number(&task["address"]),
                number(&task["value"]["tasks.next"]["address"]),
            )
        })
        .collect();
    assert!(tasks.len() > 10);
    // The sixth leads back to the fourth.
    let link = tasks[0].1 - tasks[1].0;
    let back = u32::try_from(tasks[3].0 + link).expect("32 bits");
    let circle = with_word(tasks[5].0 + link, |_| back);
    let core = circle.path().to_str().expect("paths here are UTF-8");
    let args = [&["run", "struct", "--core", core, "--"], &options[..]].concat();
    let output = xtask(&args);
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    let said = String::from_utf8_lossy(&output.stdout);
    let shown: Vec<&str> = said.lines().map(|line| &line[..8]).collect();
    let expected = tasks[..6].iter().map(|task| format!("{:x}", task.0));
    assert_eq!(shown, expected.collect::<Vec<_>>());
}

/// A table has the rules that lead to it, and an address those that may be for it; neighbours are of no table.
#[test]
fn route_chooses_rules_as_it_does_routes() {
    let sources = |options: &[&str]| -> Vec<String> {
        let report = analyze("route", &fixture_vmcore(), options);
        assert_eq!(array(&report["neighbours"]).len(), 0, "{options:?}");
        let rules = array(&report["rules"]).iter();
        rules.map(|rule| text(&rule["priority"])).collect()
    };
    assert_eq!(sources(&["--table", "100"]), ["1000"]);
    // It has no routes.
    assert_eq!(sources(&["--table", "default"]), ["32767"]);
    assert_eq!(sources(&["--dev", "eth0", "rule"]), ["1500"]);
    assert_eq!(
        sources(&["--to", "10.99.1.1"]),
        ["0", "1000", "1500", "32766", "32767"]
    );
    assert_eq!(
        sources(&["--to", "10.98.1.1"]),
        ["0", "1000", "32766", "32767"]
    );
    let vmcore = fixture_vmcore();
    let core = vmcore.to_str().expect("paths here are UTF-8");
    let options = ["neigh", "--to", "10.20.30.77"];
    let output = xtask(&[&["run", "route", "--core", core, "--"][..], &options].concat());
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, "there is nothing that the options ask for\n");
}

#[test]
fn route_shows_what_is_cached() {
    let report = analyze("route", &fixture_vmcore(), &["cache"]);
    let table = |list: &Value, age: &dyn Fn(&Value) -> String, local: &dyn Fn(&Value) -> bool| {
        keyed(array(list).iter().map(|route| {
            let columns = row([
                ("src", text(&route["src"])),
                ("gateway", text(&route["gateway"])),
                ("dev", text(&route["dev"])),
                ("refcnt", text(&route["refcnt"])),
                ("use", text(&route["use"])),
                ("last_used", age(route)),
                ("local", local(route).to_string()),
            ]);
            (text(&route["dst"]), columns)
        }))
    };
    let found = table(
        &report["cached"],
        &|route| text(&route["last_used"]["jiffies"]),
        &|route| array(&route["flags"]).iter().any(|flag| flag == "local"),
    );
    let expected = expected();
    let truth = table(
        &expected["routes"]["cache"]["entries"],
        &|route| text(&route["last_used"]),
        &|route| route["local"] == true,
    );
    let mut comparison = Comparison::default();
    comparison.tables("cached route", &found, &truth);
    comparison.finish("route cache of the fixture");
}

#[test]
fn what_is_not_there_is_an_error_in_all_analyzers() {
    let core = fixture_vmcore();
    let core = core.to_str().expect("paths here are UTF-8");
    for (analyzer, options, wanted) in [
        ("route", &["--dev", "nosuch"][..], "there is lo, eth0, eth1"),
        (
            "route",
            &["--netns", "4"],
            "network namespace 4; there is 0",
        ),
        ("route", &["--table", "77"], "there is 100, main, local"),
        ("route", &["--to", "10.1.1.1", "-6"], "version of IP"),
        (
            "tcp",
            &["--netns", "net:[5]"],
            "network namespace 5; there is 0",
        ),
        ("tcp", &["--pid", "9"], "there is no process 9"),
        ("sockets", &["--pid", "9"], "there is no process 9"),
        ("sockets", &["--process", "x"], "no process of the name x"),
        ("netdev", &["nosuch"], "there is lo, eth0, eth1"),
        ("ps", &["nosuch"], "no task is nosuch"),
    ] {
        let mut args = vec!["run", analyzer, "--core", core, "--"];
        args.extend(options);
        let output = xtask(&args);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {message}");
        assert!(message.contains(wanted), "{args:?}: {message}");
    }
}

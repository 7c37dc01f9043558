//! The analyzers on the fixture's dump, against what is true of it by hand (tests/fixture/expected.json).

use std::collections::BTreeMap;

use serde_json::Value;
use tests::compare::{Comparison, Row};
use tests::{analyze, array, fixture_vmcore, read_json, root, text};

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

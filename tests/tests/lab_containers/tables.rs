//! What a table lost, or what contradicts it, is a fault: no shorter answer, and no wrong one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use tests::{array, lab_machines, read_json, shown, text, xtask};

use super::subject::Subject;

/// Each damage, the command that it concerns, and what that says of it.
const DAMAGES: [(&str, &[&str], &str); 138] = [
    ("mib", &["netstat"], "IPv4 counters: "),
    ("qdisc-root", &["netdev", "--qdiscs"], "qdisc of lo: "),
    ("classes", &["netdev", "--qdiscs"], "classes of htb "),
    ("link-name", &["netdev"], "name of an interface: "),
    ("link-index", &["netdev"], "index of lo: "),
    (
        "link-address-length",
        &["netdev"],
        "length of the hardware addresses of lo: ",
    ),
    ("link-namespace", &["netdev"], "network namespace of lo: "),
    ("link-lost", &["netdev"], "interfaces by their indices: "),
    (
        "link-queues",
        &["netdev", "--queues"],
        "transmit queue 1 of lo: ",
    ),
    (
        "link-real-queues",
        &["netdev"],
        "number of transmit queues of lo: ",
    ),
    (
        "link-napi-function",
        &["netdev", "--queues"],
        "function of NAPI of ",
    ),
    ("link-napi-weight", &["netdev", "--queues"], "NAPI of "),
    (
        "link-multicast",
        &["netdev", "-d"],
        "multicast addresses of lo: ",
    ),
    (
        "link-configuration",
        &["netdev"],
        "IPv4 configuration of lo: ",
    ),
    ("link-prefix", &["netdev"], "IPv4 address of lo: "),
    (
        "link-vlan-lower",
        &["netdev", "-d"],
        "interface that dummy0.100 lies on: ",
    ),
    (
        "link-vlan-number",
        &["netdev", "-d"],
        "number of the VLAN dummy0.100: ",
    ),
    ("link-vlan-count", &["netdev", "-d"], "VLANs of dummy0: "),
    (
        "link-peer",
        &["netdev", "-d"],
        "interface that veth0 lies on: ",
    ),
    ("link-bond-count", &["netdev", "-d"], "slaves of bond0: "),
    (
        "link-bond-active",
        &["netdev", "-d"],
        "active slave of bond0: ",
    ),
    (
        "link-bond-idle",
        &["netdev", "-d"],
        "active slave of bond0, which dummy2 seems to be: ",
    ),
    ("link-bond-mode", &["netdev", "-d"], "mode of bond0: "),
    ("link-bond-slave", &["netdev", "-d"], "slaves of bond0: "),
    (
        "link-bridge-table",
        &["netdev", "-d"],
        "forwarding table of br1: ",
    ),
    ("link-bridge-groups", &["netdev", "-d"], "groups of br1: "),
    ("link-bridge-port", &["netdev", "-d"], "ports of br1: "),
    ("link-bridge-state", &["netdev", "-d"], "state of "),
    ("link-bridge-vlans", &["netdev", "-d"], "VLANs of br1: "),
    ("qdisc-hashsize", &["netdev", "--qdiscs"], "classes of htb "),
    ("qdisc-hashmask", &["netdev", "--qdiscs"], "classes of htb "),
    ("qdisc-flags", &["netdev", "--qdiscs"], "flags of qdisc "),
    ("qdisc-hidden", &["netdev", "--qdiscs"], "flags of qdisc "),
    ("qdisc-per-cpu", &["netdev", "--qdiscs"], "flags of qdisc "),
    (
        "qdisc-level",
        &["netdev", "--qdiscs"],
        "level of htb class ",
    ),
    (
        "qdisc-depth",
        &["netdev", "--qdiscs"],
        "level of htb class ",
    ),
    (
        "qdisc-parent",
        &["netdev", "--qdiscs"],
        "level of htb class ",
    ),
    (
        "qdisc-hfsc-parent",
        &["netdev", "--qdiscs"],
        "level of hfsc class ",
    ),
    (
        "qdisc-id-minor",
        &["netdev", "--qdiscs"],
        "id of htb class ",
    ),
    (
        "qdisc-id-major",
        &["netdev", "--qdiscs"],
        "id of htb class ",
    ),
    (
        "qdisc-id-twice",
        &["netdev", "--qdiscs"],
        "id of htb class ",
    ),
    (
        "qdisc-id-bucket",
        &["netdev", "--qdiscs"],
        "id of htb class ",
    ),
    ("qdisc-rate", &["netdev", "--qdiscs"], "rate of htb class "),
    ("qdisc-ceil", &["netdev", "--qdiscs"], "ceil of htb class "),
    ("qdisc-leaf", &["netdev", "--qdiscs"], "leaf of htb class "),
    ("qdisc-qlen", &["netdev", "--qdiscs"], "packets of qdisc "),
    (
        "qdisc-qlen-wanted",
        &["netdev", "--packets"],
        "packets of qdisc ",
    ),
    (
        "qdisc-backlog",
        &["netdev", "--packets"],
        "packets of qdisc ",
    ),
    (
        "qdisc-priority",
        &["netdev", "--qdiscs"],
        "priority of u32 filters of htb ",
    ),
    ("qdisc-flows", &["netdev", "--qdiscs"], "flows of qdisc "),
    ("qdisc-bands", &["netdev", "--qdiscs"], "bands of qdisc "),
    (
        "qdisc-divisor",
        &["netdev", "--qdiscs"],
        "divisor of qdisc ",
    ),
    (
        "qdisc-buckets",
        &["netdev", "--qdiscs"],
        "buckets of qdisc ",
    ),
    (
        "qdisc-block",
        &["netdev", "--qdiscs"],
        "block of filters of qdisc ",
    ),
    (
        "qdisc-queue",
        &["netdev", "--qdiscs"],
        "qdisc of transmit queue ",
    ),
    ("socket-half", &["tcp"], "ehash_mask: "),
    ("socket-larger", &["tcp"], "ehash_mask: "),
    ("socket-larger", &["sockets"], "ehash_mask: "),
    ("socket-smallest", &["tcp"], "ehash_mask: "),
    (
        "socket-bucket",
        &["tcp"],
        "TCP socket that its table has lost: ",
    ),
    (
        "socket-udp",
        &["sockets"],
        "socket that its table has lost: ",
    ),
    ("socket-udp-half", &["sockets"], "udp: table: "),
    (
        "socket-packet",
        &["sockets"],
        "packet sockets, of which it counts others: ",
    ),
    ("socket-udp-larger", &["sockets"], "udp: table: "),
    (
        "socket-netlink-none",
        &["sockets"],
        "netlink sockets of protocol 0, of which it counts others: ",
    ),
    (
        "socket-netlink-larger",
        &["sockets"],
        "netlink sockets of protocol 0",
    ),
    ("neighbours-more", &["route", "neigh"], "neighbour table: "),
    ("fib-list", &["route"], "IPv4 routing tables: "),
    ("fib-alias", &["route"], "IPv4 route: "),
    ("fib-prefix", &["route"], "IPv4 route: "),
    (
        "fib-main",
        &["route"],
        "IPv4 routing table that is on no list: ",
    ),
    (
        "fib-local",
        &["route"],
        "IPv4 routing table 255 that is on no list, of which there are routes: ",
    ),
    ("fib-pointer", &["route"], "IPv4 routing tables: "),
    (
        "fib6-main",
        &["route"],
        "IPv6 routing table that is on no list: ",
    ),
    (
        "fib6-local",
        &["route"],
        "IPv6 routing table that is on no list: ",
    ),
    (
        "fib-child",
        &["route"],
        "children of a node of the IPv4 routing trie: ",
    ),
    ("fib-leaf", &["route"], "routes of a leaf: "),
    (
        "neighbour-chains",
        &["route", "neigh"],
        "neighbours that several buckets have: ",
    ),
    (
        "neighbour-count",
        &["route", "neigh"],
        "entries of a neighbour table, of which it counts fewer: ",
    ),
    ("route-hops", &["route"], "next hops of a route: "),
    ("route-gateway", &["route"], "next hop: "),
    ("route-type", &["route"], "IPv4 route: "),
    (
        "route-trie",
        &["route"],
        "IPv4 routes that are in no table (",
    ),
    (
        "route-trie",
        &["route", "trie"],
        "IPv4 routes that are in no table (",
    ),
    ("route-siblings", &["route"], "next hops of an IPv6 route: "),
    (
        "route-no-siblings",
        &["route"],
        "next hops of an IPv6 route: ",
    ),
    ("route-prefix6", &["route"], "IPv6 route: "),
    ("route-type6", &["route"], "IPv6 route: "),
    ("route-device6", &["route"], "next hops of an IPv6 route: "),
    (
        "route-object",
        &["route", "route"],
        "next hop object that its namespace doesn't have: ",
    ),
    (
        "route-empty-group",
        &["route", "nexthop"],
        "next hop objects: ",
    ),
    (
        "route-nested-group",
        &["route", "nexthop"],
        "next hop objects: ",
    ),
    (
        "route-object-number",
        &["route", "nexthop"],
        "next hop objects: ",
    ),
    (
        "route-neighbour-key",
        &["route", "neigh"],
        "neighbour table: ",
    ),
    (
        "route-neighbour-device",
        &["route", "neigh"],
        "hardware address of a neighbour: ",
    ),
    ("fib6-null", &["route"], "IPv6 routing tables: "),
    ("fib6-lists", &["route"], "IPv6 routing tables: "),
    (
        "neighbours",
        &["route", "neigh"],
        "neighbour that is in no bucket: ",
    ),
    (
        "conntrack",
        &["netfilter", "conntrack"],
        "nf_conntrack_hash: ",
    ),
    (
        "filter-no-buckets",
        &["netfilter", "counts"],
        "nf_conntrack_htable_size: ",
    ),
    (
        "filter-odd-buckets",
        &["netfilter", "conntrack"],
        "nf_conntrack_htable_size: ",
    ),
    (
        "filter-fewer-buckets",
        &["netfilter", "conntrack"],
        "nf_conntrack_hash, which has more chains than nf_conntrack_htable_size: ",
    ),
    (
        "filter-count",
        &["netfilter", "conntrack"],
        "connections of namespace ",
    ),
    (
        "filter-namespace",
        &["netfilter", "conntrack"],
        "nf_conntrack_hash: ",
    ),
    (
        "filter-extension",
        &["netfilter", "conntrack"],
        "nf_conntrack_hash: ",
    ),
    (
        "filter-protocol",
        &["netfilter", "conntrack"],
        "nf_conntrack_hash: ",
    ),
    (
        "filter-family",
        &["netfilter", "conntrack"],
        "nf_conntrack_hash: ",
    ),
    (
        "filter-direction",
        &["netfilter", "counts"],
        "nf_conntrack_hash: ",
    ),
    (
        "filter-hook-entry",
        &["netfilter", "iptables"],
        "table filter of namespace ",
    ),
    (
        "filter-underflow",
        &["netfilter", "iptables"],
        "policies of table filter of namespace ",
    ),
    (
        "filter-entries",
        &["netfilter", "iptables"],
        "entries of table filter of namespace ",
    ),
    (
        "filter-no-rules",
        &["netfilter", "iptables"],
        "entries of table filter of namespace ",
    ),
    (
        "filter-target",
        &["netfilter", "iptables"],
        "table filter of namespace ",
    ),
    ("filter-no-key", &["netfilter", "nft"], "key of set "),
    ("filter-long-key", &["netfilter", "nft"], "key of set "),
    ("filter-short-key", &["netfilter", "nft"], "key of set "),
    ("filter-elements", &["netfilter", "nft"], "elements of set "),
    (
        "filter-set-count",
        &["netfilter", "nft"],
        "elements of set ",
    ),
    ("filter-set-buckets", &["netfilter", "nft"], " table "),
    ("filter-hooks", &["netfilter", "hooks"], "ip hook "),
    ("filter-no-hooks", &["netfilter", "hooks"], "ip hook "),
    ("filter-no-function", &["netfilter", "hooks"], "ip hook "),
    (
        "filter-name-nf_tables",
        &["netfilter", "nft"],
        "list of modules: ",
    ),
    (
        "filter-name-nf_tables",
        &["netfilter", "nft"],
        "name of the module of nf_tables: ",
    ),
    (
        "filter-name-nf_tables",
        &["netfilter", "nft"],
        "chain of nf_tables, which is not loaded: ",
    ),
    (
        "filter-name-x_tables",
        &["netfilter", "iptables"],
        "name of the module of x_tables: ",
    ),
    (
        "filter-name-ip_tables",
        &["netfilter", "iptables"],
        "list of modules: ",
    ),
    (
        "filter-name-nf_conntrack",
        &["netfilter", "conntrack"],
        "name of the module of nf_conntrack: ",
    ),
    (
        "filter-more-buckets",
        &["netfilter", "conntrack"],
        "nf_conntrack_htable_size: ",
    ),
    (
        "filter-expect-size",
        &["netfilter", "conntrack"],
        "nf_ct_expect_hsize: ",
    ),
    (
        "filter-expect-buckets",
        &["netfilter", "conntrack"],
        "nf_ct_expect_hash: ",
    ),
    (
        "filter-expect-count",
        &["netfilter", "conntrack"],
        "expectations of namespace ",
    ),
    (
        "filter-valid-hooks",
        &["netfilter", "iptables"],
        "hooks of table filter of namespace ",
    ),
    (
        "filter-table-name",
        &["netfilter", "iptables"],
        "name of table ",
    ),
    (
        "filter-error-target",
        &["netfilter", "iptables"],
        "name of target ERROR: ",
    ),
    (
        "vmcoreinfo-kallsyms_names",
        &["sym", "tcp_v4_rcv"],
        "the kernel's list of symbols: ",
    ),
    (
        "vmcoreinfo-kallsyms_relative_base",
        &["sym", "tcp_v4_rcv"],
        "the kernel's list of symbols: ",
    ),
    (
        "vmcoreinfo-without-kallsyms_offsets",
        &["sym", "tcp_v4_rcv"],
        "the kernel's list of symbols: ",
    ),
];

#[test]
fn damaged_tables_are_faults() {
    for folder in lab_machines(&["stop"]) {
        let release = text(&read_json(&folder.join("lab.json"))["release"]);
        let vmcore = folder.join("vmcore");
        let program = super::build("damages", &release);
        let mut subject = Subject::of(&program, &vmcore);
        let vmcore = vmcore.to_str().expect("paths here are UTF-8");
        let names: BTreeSet<&str> = DAMAGES.iter().map(|(_, command, _)| command[0]).collect();
        let analyzers: BTreeMap<&str, PathBuf> = names
            .into_iter()
            .map(|name| (name, super::analyzer(&release, name)))
            .collect();
        let run = |command: &[&str], core: &str| -> Output {
            let mut program = Command::new(&analyzers[command[0]]);
            program.args(["--core", core]).args(&command[1..]);
            program.output().expect("it was built")
        };
        let mut sound = BTreeMap::new();
        for (damage, command, what) in DAMAGES {
            let sound = sound.entry(command).or_insert_with(|| {
                let sound = run(command, vmcore);
                assert_eq!(sound.status.code(), Some(0), "{}", shown(&sound));
                sound
            });
            let output = run(command, subject.damage(damage, ""));
            assert_eq!(
                output.status.code(),
                Some(2),
                "{damage}: {}",
                shown(&output)
            );
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains(what), "{release}: {damage}: {said}");
            // What is damaged isn't told of a thousand times.
            assert!(
                output.stdout.len() < 2 * sound.stdout.len(),
                "{release}: {damage}"
            );
            assert!(said.len() < 10_000, "{release}: {damage}: {said}");
            // Functions are where they were; whether others see them (`T` and `t`) bindings don't say.
            let [one, other] = [&output, &*sound].map(|output| output.stdout.to_ascii_lowercase());
            if command[0] == "sym" {
                assert_eq!(one, other, "{release}: {damage}");
            }
            let last = said.lines().last().unwrap_or_default();
            println!("{release}: {damage}: {last}");
        }
        neighbours_are_counted(&release, vmcore, &mut subject);
    }
}

/// Entries that a bucket lost need not be damage for who looks at the dump: they may have been removed while somebody has a reference to them. How
/// many there are is said, and of a sound dump nothing.
fn neighbours_are_counted(release: &str, vmcore: &str, subject: &mut Subject<'_>) {
    let run = |core: &str, options: &[&str]| {
        let output = xtask(&[&["run", "route", "--core", core, "--", "neigh"], options].concat());
        assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
        String::from_utf8(output.stdout).expect("it is text")
    };
    let remark = "# ARP: ";
    assert!(!run(vmcore, &[]).contains(remark), "{release}");
    let report = |core: &str| -> Value {
        serde_json::from_str(&run(core, &["--format", "json"])).expect("JSON")
    };
    let sound = report(vmcore);
    for table in array(&sound["neighbour_tables"]) {
        let family = &table["family"];
        assert_eq!(table["allocated"], table["hashed"], "{release}: {family}");
        let listed = array(&sound["neighbours"]).iter();
        let listed = listed.filter(|entry| entry["family"] == *family).count();
        assert_eq!(table["hashed"], listed, "{release}: {family}");
        assert!(listed > 1, "{release}: {family}");
    }
    let core = subject.damage("neighbour-bucket", "");
    let said = run(core, &[]);
    let line = said.lines().find(|line| line.starts_with(remark));
    let line = line.unwrap_or_else(|| panic!("{release}: {said}"));
    let table = &report(core)["neighbour_tables"][0];
    let lost = table["allocated"].as_i64().zip(table["hashed"].as_i64());
    let lost = lost.map(|(allocated, hashed)| allocated - hashed);
    assert!(lost > Some(0), "{release}: {table}");
    assert_eq!(table["allocated"], sound["neighbour_tables"][0]["hashed"]);
    println!("{release}: neighbour-bucket: {line}");
}

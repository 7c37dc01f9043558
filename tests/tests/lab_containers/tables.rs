//! What a table lost, or what contradicts it, is a fault: no shorter answer, and no wrong one.

use std::process::Output;

use tests::{lab_machines, read_json, shown, text, xtask};

use super::subject::Subject;

/// Each damage, the command that it concerns, and what that says of it.
const DAMAGES: [(&str, &[&str], &str); 18] = [
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
        "IPv4 routing table 255, of which there are routes: ",
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
        let run = |command: &[&str], core: &str| -> Output {
            let (analyzer, options) = command.split_first().expect("a command");
            xtask(&[&["run", analyzer, "--core", core, "--"], options].concat())
        };
        let vmcore = vmcore.to_str().expect("paths here are UTF-8");
        for (damage, command, what) in DAMAGES {
            let sound = run(command, vmcore);
            assert_eq!(sound.status.code(), Some(0), "{}", shown(&sound));
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
            let [one, other] = [&output, &sound].map(|output| output.stdout.to_ascii_lowercase());
            if command[0] == "sym" {
                assert_eq!(one, other, "{release}: {damage}");
            }
            let last = said.lines().last().unwrap_or_default();
            println!("{release}: {damage}: {last}");
        }
    }
}

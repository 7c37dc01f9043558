//! The packets that wait: as many, and with as many bytes, as the disciplines have counted.

use std::collections::BTreeSet;

use tests::{array, text};

use crate::{finish, machines_that};

#[test]
fn packets_that_wait_are_those_that_were_counted() {
    // Each boot leaves other packets behind in rings that they were taken out of.
    for machine in machines_that(&["stop", "panic"]) {
        let (mut rows, mut packets, mut differences) = (0, 0, Vec::new());
        let mut seen = BTreeSet::new();
        for (namespace, name, interface) in machine.interfaces() {
            let qdiscs = array(&interface["qdiscs"]);
            for qdisc in qdiscs {
                let handle = text(&qdisc["handle"]);
                let is_above = qdiscs.iter().any(|other| {
                    let parent = text(&other["parent"]);
                    handle != "0:" && parent.starts_with(&handle)
                });
                // Their children without a handle are not shown by themselves.
                let kind = text(&qdisc["kind"]);
                if is_above || ["prio", "hfsc", "drr", "red", "tbf"].contains(&kind.as_str()) {
                    continue;
                }
                rows += 1;
                let waiting = qdisc["waiting"].as_array().cloned().unwrap_or_default();
                let bytes: u64 = waiting.iter().filter_map(|one| one["len"].as_u64()).sum();
                packets += waiting.len();
                for packet in &waiting {
                    if !seen.insert(text(&packet["address"])) {
                        differences.push(format!("{name}: {packet} waits twice"));
                    }
                }
                if qdisc["qlen"] != waiting.len() || qdisc["backlog"] != bytes {
                    differences.push(format!(
                        "{namespace} {name} {kind} {handle}: {} packets and {bytes} bytes, counted {} and {}",
                        waiting.len(),
                        qdisc["qlen"],
                        qdisc["backlog"]
                    ));
                }
            }
        }
        let what = format!("{}: packets that wait", machine.release);
        assert!(packets > 50, "{what}: {packets}");
        finish(&what, rows, packets, &differences);
    }
}

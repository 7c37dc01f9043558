//! `tc -s -j qdisc`: options and counters that disciplines have of their own. What all have is compared in lab.rs.

use serde_json::{Map, Value};
use tests::{array, text};

use crate::{NAMESPACES, compare, finish, machines};

/// What tc says of a discipline that isn't in the dump, or isn't the discipline's.
fn without_tcs_own(kind: &str, options: &Value) -> Value {
    let mut options = options.as_object().cloned().unwrap_or_default();
    // The version of the interface between htb and tc: a number in htb's source.
    options.remove("ver");
    // tc prints it although kernels haven't said it since 2.6.27.
    options.remove("multiqueue");
    match kind {
        // What is a flag has no value in tc's JSON.
        "fq" => {
            for name in ["horizon_drop", "horizon_cap"] {
                if let Some(value) = options.get_mut(name) {
                    *value = Value::Bool(true);
                }
            }
        }
        // tc 6.1 prints `fwmark` of cake, by which nothing is masked, as "0".
        "cake" if options.get("fwmark") == Some(&"0".into()) => {
            options.remove("fwmark");
        }
        _ => {}
    }
    Value::Object(options)
}

const COMMON: [&str; 15] = [
    "kind",
    "handle",
    "dev",
    "root",
    "parent",
    "options",
    "bytes",
    "packets",
    "drops",
    "overlimits",
    "requeues",
    "backlog",
    "qlen",
    "ingress_block",
    "egress_block",
];

#[test]
fn options_and_counters_are_those_of_tc_qdisc() {
    for machine in machines() {
        let (mut rows, mut values, mut differences) = (0, 0, Vec::new());
        for namespace in NAMESPACES {
            let truth = machine.json(namespace, "tc_qdisc.json");
            let mut truth = array(&truth).iter();
            for (_, name, interface) in machine
                .interfaces()
                .filter(|interface| interface.0 == namespace)
            {
                for qdisc in array(&interface["qdiscs"]) {
                    let was = truth.next().expect("tc shows as many disciplines");
                    let what = format!("{namespace} {name} {}", text(&qdisc["handle"]));
                    let kind = text(&qdisc["kind"]);
                    for same in ["kind", "handle", "ingress_block", "egress_block"] {
                        compare(
                            &what,
                            &qdisc[same],
                            &was[same],
                            &mut values,
                            &mut differences,
                        );
                    }
                    assert_eq!(text(&was["dev"]), name);
                    let options = without_tcs_own(&kind, &was["options"]);
                    let found = qdisc
                        .get("options")
                        .cloned()
                        .unwrap_or(Value::Object(Map::new()));
                    compare(&what, &found, &options, &mut values, &mut differences);
                    // tc puts them beside the common ones.
                    let mut own = was.as_object().cloned().unwrap_or_default();
                    own.retain(|name, _| !COMMON.contains(&name.as_str()));
                    let found = qdisc["statistics"].as_object().cloned().unwrap_or_default();
                    if let Some(refcnt) = own.get("refcnt") {
                        compare(
                            &what,
                            &qdisc["refcnt"],
                            refcnt,
                            &mut values,
                            &mut differences,
                        );
                        own.remove("refcnt");
                    }
                    // Reckoned from the clock when somebody asks.
                    own.remove("drop_next");
                    own.remove("next_packet_delay");
                    compare(
                        &what,
                        &Value::Object(found),
                        &Value::Object(own),
                        &mut values,
                        &mut differences,
                    );
                    rows += 1;
                }
            }
            assert!(truth.next().is_none(), "tc shows more disciplines");
        }
        finish(
            &format!("{}: netdev and tc -s -j qdisc", machine.release),
            rows,
            values,
            &differences,
        );
    }
}

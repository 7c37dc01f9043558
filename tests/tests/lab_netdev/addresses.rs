//! `ip -d -j addr`: flags and lifetimes of addresses. Scopes are compared in lab.rs.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tests::{array, text};

use crate::{NAMESPACES, compare, finish, machines};

/// Seconds from what `ip` said to the dump.
const LATER: i64 = 120;

#[test]
fn addresses_are_those_of_ip_addr() {
    for machine in machines() {
        let (mut rows, mut values, mut differences) = (0, 0, Vec::new());
        for namespace in NAMESPACES {
            let truth = machine.json(namespace, "ip_addr.json");
            let truth: BTreeMap<String, &Value> = array(&truth)
                .iter()
                .map(|link| (text(&link["ifname"]), &link["addr_info"]))
                .collect();
            let interfaces = machine.interfaces();
            for (_, name, interface) in interfaces.filter(|one| one.0 == namespace) {
                let mut found = interface.get("addr_info").cloned().unwrap_or(json!([]));
                let mut was = truth[&name].clone();
                let what = format!("{namespace} {name}");
                if array(&found).len() != array(&was).len() {
                    differences.push(format!("{what}: is {found}, and was {was}"));
                    continue;
                }
                let pairs = found.as_array_mut().into_iter().flatten();
                for (found, was) in pairs.zip(was.as_array_mut().into_iter().flatten()) {
                    rows += 1;
                    was.as_object_mut().expect("an object").remove("scope");
                    // What is left of a life grows less until the dump.
                    for name in ["valid_life_time", "preferred_life_time"] {
                        let (now, then) = (found[name].as_i64(), was[name].as_i64());
                        if let (Some(now), Some(then)) = (now, then)
                            && (0..LATER).contains(&(then - now))
                        {
                            found[name] = then.into();
                        }
                    }
                    compare(&what, found, was, &mut values, &mut differences);
                    // Flags have no value; none may be invented.
                    let flags = |row: &Value| -> Vec<String> {
                        let row = row.as_object().expect("an object").iter();
                        row.filter(|(_, value)| **value == Value::Bool(true))
                            .map(|(name, _)| name.clone())
                            .collect()
                    };
                    if flags(found) != flags(was) {
                        differences.push(format!("{what}: is {found}, and was {was}"));
                    }
                }
            }
        }
        let what = format!("{}: netdev and ip -d addr", machine.release);
        finish(&what, rows, values, &differences);
    }
}

//! `ip -d -s -j link`, `ip -j maddr`, `bridge -s -d -j fdb`, `vlan` and `mdb`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tests::{array, text};

use crate::{NAMESPACES, compare, finish, machines};

/// Compared in lab.rs, with `ip -d -s addr`.
const ELSEWHERE: [&str; 8] = [
    "ifindex",
    "ifname",
    "flags",
    "mtu",
    "operstate",
    "address",
    "stats64",
    "linkinfo",
];

#[test]
fn links_are_those_of_ip_link() {
    for machine in machines() {
        let (mut rows, mut values, mut differences) = (0, 0, Vec::new());
        for namespace in NAMESPACES {
            let truth = machine.json(namespace, "ip_link_details.json");
            let truth: BTreeMap<String, &Value> = array(&truth)
                .iter()
                .map(|link| (text(&link["ifname"]), link))
                .collect();
            let interfaces = machine.interfaces();
            for (_, name, interface) in interfaces.filter(|one| one.0 == namespace) {
                let was = truth[&name];
                let what = format!("{namespace} {name}");
                let mut generic = was.as_object().cloned().unwrap_or_default();
                generic.retain(|name, _| !ELSEWHERE.contains(&name.as_str()));
                let found = generic_as_ip_shows_it(interface, &mut generic);
                let generic = Value::Object(generic);
                compare(&what, &found, &generic, &mut values, &mut differences);
                let info = &was["linkinfo"];
                for part in ["info_data", "info_slave_data"] {
                    if let Some(truth) = info.get(part) {
                        let mut found = interface.get(part).cloned().unwrap_or(json!({}));
                        timers(&what, &mut found, truth, &mut values, &mut differences);
                        let mut truth = without_ips_own(truth);
                        if machine.is_big_endian {
                            without_half_a_number(&mut truth);
                        }
                        compare(
                            &format!("{what} {part}"),
                            &found,
                            &truth,
                            &mut values,
                            &mut differences,
                        );
                    }
                }
                if let Some(kind) = info.get("info_slave_kind") {
                    let found = &interface["info_slave_kind"];
                    compare(&what, found, kind, &mut values, &mut differences);
                }
                rows += 1;
            }
            assert_eq!(
                truth.len(),
                machine
                    .interfaces()
                    .filter(|one| one.0 == namespace)
                    .count()
            );
        }
        let what = format!("{}: netdev and ip -d link", machine.release);
        finish(&what, rows, values, &differences);
    }
}

/// The kernel says a bond's partner's state with 16 bits (`bond_fill_slave_info`, drivers/net/bonding/bond_netlink.c), and ip reads the first
/// 8 of them (ip/iplink_bond_slave.c): on a big-endian machine it prints 0 whatever the state is.
fn without_half_a_number(truth: &mut Value) {
    const STATE: &str = "ad_partner_oper_port_state";
    let Some(truth) = truth
        .as_object_mut()
        .filter(|truth| truth.contains_key(STATE))
    else {
        return;
    };
    assert_eq!(truth.remove(STATE), Some(json!(0)));
    assert_eq!(
        truth.remove("ad_partner_oper_port_state_str"),
        Some(json!([]))
    );
}

/// Names and values as `ip` has them.
fn generic_as_ip_shows_it(interface: &Value, truth: &mut Map<String, Value>) -> Value {
    let mut found = interface["link"].as_object().cloned().unwrap_or_default();
    // The group's name, which /etc/iproute2/group says.
    if found["group"] == 0 {
        found.insert("group".into(), "default".into());
    } else {
        let number = text(&found["group"]);
        found.insert("group".into(), number.into());
    }
    // The kind of the root; what is there before an interface was ever up.
    let root = array(&interface["qdiscs"])
        .iter()
        .find(|qdisc| qdisc["parent"] == "root");
    let qdisc = root.map_or_else(|| "noop".into(), |root| root["kind"].clone());
    found.insert("qdisc".into(), qdisc);
    // `ip` shows the lack of a lower interface, of kinds that may have one, as null.
    if truth.get("link") == Some(&Value::Null) {
        assert!(!found.contains_key("link"));
        truth.remove("link");
    }
    Value::Object(found)
}

/// Compares timers of bridges and takes them out of what was found. They count down between the truth and the dump, which is made within
/// two minutes.
fn timers(
    what: &str,
    found: &mut Value,
    truth: &Value,
    values: &mut usize,
    differences: &mut Vec<String>,
) {
    const MOST: f64 = 120.0;
    let Some(found) = found.as_object_mut() else {
        return;
    };
    let names: Vec<String> = found
        .keys()
        .filter(|name| name.ends_with("_timer"))
        .cloned()
        .collect();
    for name in names {
        let (ours, was) = (
            found.remove(&name).and_then(|it| it.as_f64()),
            &truth[&name],
        );
        *values += 1;
        let fits = match (ours, was.as_f64()) {
            (Some(ours), Some(was)) => ours <= was && ours >= (was - MOST).max(0.0),
            _ => false,
        };
        if !fits {
            differences.push(format!("{what} {name}: {ours:?}, and was {was}"));
        }
    }
}

/// What isn't in the dump as `ip` shows it.
fn without_ips_own(data: &Value) -> Value {
    let mut data = data.as_object().cloned().unwrap_or_default();
    // They count down, and are compared by themselves.
    data.retain(|name, _| !name.ends_with("_timer"));
    // The same mask once more.
    data.remove("group_fwd_mask_str");
    // iproute2 6.1 prints `none` so.
    if data.get("arp_validate") == Some(&Value::Null) {
        data.insert("arp_validate".into(), "none".into());
    }
    Value::Object(data)
}

#[test]
fn groups_are_those_of_ip_maddr() {
    for machine in machines() {
        let (mut rows, mut values, mut differences) = (0, 0, Vec::new());
        for namespace in NAMESPACES {
            let truth = machine.json(namespace, "ip_maddr.json");
            let truth: BTreeMap<String, &Value> = array(&truth)
                .iter()
                .map(|link| (text(&link["ifname"]), &link["maddr"]))
                .collect();
            let interfaces = machine.interfaces();
            for (_, name, interface) in interfaces.filter(|one| one.0 == namespace) {
                let mut found = interface.get("maddr").cloned().unwrap_or(json!([]));
                for row in found.as_array_mut().expect("an array") {
                    // `ip` leaves out what is one.
                    let row = row.as_object_mut().expect("an object");
                    if row.get("users") == Some(&1.into()) {
                        row.remove("users");
                    }
                }
                let was = truth.get(&name).map_or(json!([]), |rows| (*rows).clone());
                rows += array(&was).len();
                let what = format!("{namespace} {name} maddr");
                values += array(&was).len();
                if found != was {
                    differences.push(format!("{what}: is {found}, and was {was}"));
                }
            }
        }
        let what = format!("{}: netdev and ip maddr", machine.release);
        finish(&what, rows, values, &differences);
    }
}

/// A row of a forwarding table without what grows: how long ago it was used is compared to the second, give or take those between the two.
fn forwarding_row(row: &Value, interface: &str) -> (String, [i64; 2]) {
    let mut row = row.as_object().cloned().unwrap_or_default();
    row.entry("ifname").or_insert_with(|| interface.into());
    let mut age = |name: &str| row.remove(name).and_then(|age| age.as_i64()).unwrap_or(-1);
    let ages = [age("used"), age("updated")];
    (Value::Object(row).to_string(), ages)
}

#[test]
fn forwarding_tables_are_those_of_bridge_fdb() {
    /// Seconds from what the tools said to the dump.
    const LATER: i64 = 120;
    for machine in machines() {
        let (mut rows, mut values, mut differences) = (0, 0, Vec::new());
        for namespace in NAMESPACES {
            let collect = |rows: &mut dyn Iterator<Item = (String, [i64; 2])>| {
                let mut found: BTreeMap<String, Vec<[i64; 2]>> = BTreeMap::new();
                for (row, ages) in rows {
                    found.entry(row).or_default().push(ages);
                }
                found
            };
            let truth = machine.json(namespace, "bridge_fdb.json");
            let mut truth = array(&truth).iter().map(|row| forwarding_row(row, ""));
            let truth = collect(&mut truth);
            let mut found = machine
                .interfaces()
                .filter(|one| one.0 == namespace)
                .flat_map(|(_, name, interface)| {
                    let rows = interface["fdb"].as_array().cloned().unwrap_or_default();
                    rows.into_iter().map(move |row| forwarding_row(&row, &name))
                });
            let found = collect(&mut found);
            for row in truth.keys().chain(found.keys()) {
                rows += 1;
                values += row.split(',').count() + 2;
                let (now, then) = (found.get(row), truth.get(row));
                let (Some(now), Some(then)) = (now, then) else {
                    let missing = if now.is_none() { "missing" } else { "invented" };
                    differences.push(format!("{namespace}: {missing} {row}"));
                    continue;
                };
                let close = now.len() == then.len()
                    && now.iter().zip(then).all(|(now, then)| {
                        now.iter()
                            .zip(then)
                            .all(|(now, then)| (0..LATER).contains(&(now - then)))
                    });
                if !close {
                    differences.push(format!("{namespace} {row}: is {now:?}, and was {then:?}"));
                }
            }
            rows -= truth.len();
        }
        let what = format!("{}: netdev and bridge -s -d fdb", machine.release);
        finish(&what, rows, values, &differences);
    }
}

#[test]
fn vlans_and_groups_are_those_of_bridge() {
    for machine in machines() {
        let (mut rows, mut values, mut differences) = (0, 0, Vec::new());
        for namespace in NAMESPACES {
            let truth = machine.json(namespace, "bridge_vlan.json");
            let truth: BTreeMap<String, &Value> = array(&truth)
                .iter()
                .map(|link| (text(&link["ifname"]), &link["vlans"]))
                .collect();
            let mut groups = Vec::new();
            let interfaces = machine.interfaces();
            for (_, name, interface) in interfaces.filter(|one| one.0 == namespace) {
                let found = interface.get("vlans").cloned().unwrap_or(json!([]));
                let mut was = truth.get(&name).map_or(json!([]), |rows| (*rows).clone());
                for row in was.as_array_mut().expect("an array") {
                    // Of the VLAN's own multicast context, which isn't used unless mcast_vlan_snooping is on.
                    row.as_object_mut()
                        .expect("an object")
                        .remove("mcast_router");
                }
                rows += array(&was).len();
                let what = format!("{namespace} {name} vlan");
                compare(&what, &found, &was, &mut values, &mut differences);
                if let Some(own) = interface["mdb"].as_array() {
                    groups.extend(own.iter().cloned());
                }
            }
            let mdb = machine.json(namespace, "bridge_mdb.json");
            for (found, was) in groups.iter().zip(array(&mdb[0]["mdb"])) {
                let mut was = was.clone();
                let row = was.as_object_mut().expect("an object");
                // It counts down; its bridge is named, too; the protocol's number has that name in /etc/iproute2.
                row.remove("timer");
                row.remove("index");
                if row.get("protocol") == Some(&"static".into()) {
                    assert_eq!(found["rt_protocol"], 4);
                    row.remove("protocol");
                }
                rows += 1;
                let what = format!("{namespace} mdb");
                compare(&what, found, &was, &mut values, &mut differences);
            }
            assert_eq!(groups.len(), array(&mdb[0]["mdb"]).len());
        }
        let what = format!("{}: netdev and bridge -d vlan, mdb", machine.release);
        finish(&what, rows, values, &differences);
    }
}

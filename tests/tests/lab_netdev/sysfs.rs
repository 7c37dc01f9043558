//! /sys/class/net of the initial namespace: attributes of interfaces and of their queues.

use std::collections::BTreeMap;

use serde_json::Value;
use tests::{array, text};

use crate::{finish, machines};

/// What is compared: attributes by the names that `netdev` has for them.
const ATTRIBUTES: [(&str, &str); 13] = [
    ("carrier_changes", "carrier_changes"),
    ("carrier_up_count", "carrier_up_count"),
    ("carrier_down_count", "carrier_down_count"),
    ("tx_queue_len", "txqlen"),
    ("netdev_group", "group"),
    ("gro_flush_timeout", "gro_flush_timeout"),
    ("napi_defer_hard_irqs", "napi_defer_hard_irqs"),
    ("name_assign_type", "name_assign_type"),
    ("addr_assign_type", "addr_assign_type"),
    ("dev_id", "dev_id"),
    ("dev_port", "dev_port"),
    ("link_mode", "linkmode"),
    ("proto_down", "proto_down"),
];

#[test]
fn attributes_are_those_of_sys() {
    for machine in machines() {
        let bytes = std::fs::read(machine.truth.join("tools/root/sysfs_net.txt"));
        let text_of_sys = String::from_utf8_lossy(&bytes.expect("it was recorded")).into_owned();
        let mut sys: BTreeMap<(String, String), String> = BTreeMap::new();
        for line in text_of_sys.lines() {
            let Some((path, value)) = line
                .strip_prefix("/sys/class/net/")
                .and_then(|line| line.split_once(':'))
            else {
                continue;
            };
            if let Some((name, attribute)) = path.split_once('/') {
                sys.insert((name.to_owned(), attribute.to_owned()), value.to_owned());
            }
        }
        let (mut rows, mut values, mut differences) = (0, 0, Vec::new());
        for (_, name, interface) in machine.interfaces().filter(|one| one.0 == "root") {
            rows += 1;
            let mut check = |attribute: &str, found: String| {
                let Some(was) = sys.get(&(name.clone(), attribute.to_owned())) else {
                    return;
                };
                values += 1;
                if found != *was {
                    differences.push(format!("{name} {attribute}: is {found}, and was {was}"));
                }
            };
            for (attribute, own) in ATTRIBUTES {
                check(
                    attribute,
                    as_sys_shows_it(attribute, &interface["link"][own]),
                );
            }
            for queue in array(&interface["queues"]["tx"]) {
                let path = |attribute: &str| format!("queues/tx-{}/{attribute}", queue["index"]);
                check(&path("tx_timeout"), text(&queue["tx_timeout"]));
                check(&path("tx_maxrate"), text(&queue["tx_maxrate"]));
                check(&path("xps_cpus"), mask(&queue["xps_cpus"]));
                let limits = &queue["byte_queue_limits"];
                for name in ["limit", "limit_max", "limit_min", "inflight"] {
                    check(
                        &path(&format!("byte_queue_limits/{name}")),
                        text(&limits[name]),
                    );
                }
            }
            for queue in array(&interface["queues"]["rx"]) {
                let path = |attribute: &str| format!("queues/rx-{}/{attribute}", queue["index"]);
                check(&path("rps_cpus"), mask(&queue["rps_cpus"]));
                check(&path("rps_flow_cnt"), text(&queue["rps_flow_cnt"]));
            }
        }
        let what = format!("{}: netdev and /sys/class/net", machine.release);
        finish(&what, rows, values, &differences);
    }
}

/// A list of CPUs as a mask.
fn mask(cpus: &Value) -> String {
    let bits = array(cpus).iter().filter_map(Value::as_u64);
    format!("{:x}", bits.fold(0_u64, |mask, cpu| mask | 1 << cpu))
}

fn as_sys_shows_it(attribute: &str, value: &Value) -> String {
    match attribute {
        "dev_id" => format!("{:#x}", value.as_u64().unwrap_or_default()),
        "link_mode" => match text(value).as_str() {
            "DEFAULT" => "0".into(),
            "DORMANT" => "1".into(),
            other => other.to_owned(),
        },
        "proto_down" => u8::from(value == &Value::Bool(true)).to_string(),
        _ => text(value),
    }
}

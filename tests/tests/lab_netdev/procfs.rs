//! /proc/net/bonding and /proc/net/vlan.

use std::collections::BTreeMap;

use serde_json::Value;
use tests::text;

use crate::{finish, machines};

/// A part of /proc/net/bonding's file: `Aggregator ID: 1`, those of an LACP packet behind its side's name.
fn values(part: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut side = "";
    for line in part.lines() {
        if let Some(name) = line.strip_prefix("details ") {
            side = name.split(' ').next().unwrap_or_default();
        } else if let Some((name, value)) = line.trim().split_once(": ") {
            let name = if line.starts_with("    ") {
                format!("{side} {name}")
            } else {
                name.to_owned()
            };
            found.insert(name, value.trim().to_owned());
        }
    }
    found
}

#[test]
fn bonds_are_those_of_proc_net_bonding() {
    for machine in machines() {
        let (mut rows, mut count, mut differences) = (0, 0, Vec::new());
        let interfaces: BTreeMap<String, &Value> = machine
            .interfaces()
            .filter(|one| one.0 == "root")
            .map(|(_, name, interface)| (name, interface))
            .collect();
        let bonds = interfaces.iter().filter(|one| one.1["kind"] == "bond");
        for (bond, interface) in bonds {
            let path = machine.truth.join("net/root/bonding").join(bond);
            let file = crate::read(&path);
            let mut parts = file.split("\nSlave Interface: ");
            let head = values(parts.next().unwrap_or_default());
            let own = &interface["info_data"];
            let mut check = |what: &str, was: Option<&String>, found: String| {
                let Some(was) = was else {
                    return;
                };
                count += 1;
                if *was != found {
                    differences.push(format!("{bond} {what}: is {found}, and was {was}"));
                }
            };
            rows += 1;
            let lacp = &own["ad_info"];
            for (name, value) in [
                ("MII Polling Interval (ms)", &own["miimon"]),
                ("Up Delay (ms)", &own["updelay"]),
                ("Down Delay (ms)", &own["downdelay"]),
                ("LACP active", &own["ad_lacp_active"]),
                ("LACP rate", &own["ad_lacp_rate"]),
                ("Min links", &own["min_links"]),
                ("System priority", &own["ad_system_priority"]),
                ("System MAC address", &own["ad_system_mac"]),
                ("Aggregator ID", &lacp["aggregator"]),
                ("Number of ports", &lacp["num_ports"]),
                ("Actor Key", &lacp["actor_key"]),
                ("Partner Key", &lacp["partner_key"]),
                ("Partner Mac Address", &lacp["partner_mac"]),
                ("Currently Active Slave", &own["active_slave"]),
                ("ARP Polling Interval (ms)", &own["arp_interval"]),
                ("ARP Missed Max", &own["arp_missed_max"]),
            ] {
                check(name, head.get(name), text(value));
            }
            for part in parts {
                rows += 1;
                let name = part.lines().next().unwrap_or_default();
                let was = values(part);
                let slave = &interfaces[name]["info_slave_data"];
                let status = match text(&slave["mii_status"]).as_str() {
                    "UP" => "up",
                    "GOING_DOWN" => "going down",
                    "DOWN" => "down",
                    _ => "going back",
                };
                let speed = match slave["speed"].as_u64() {
                    Some(4_294_967_295) | None => "Unknown".to_owned(),
                    Some(speed) => format!("{speed} Mbps"),
                };
                let duplex = match slave["duplex"].as_u64() {
                    Some(0) => "half",
                    Some(1) => "full",
                    _ => "Unknown",
                };
                check("MII Status", was.get("MII Status"), status.into());
                check("Speed", was.get("Speed"), speed);
                check("Duplex", was.get("Duplex"), duplex.into());
                for (name, value) in [
                    ("Link Failure Count", "link_failure_count"),
                    ("Permanent HW addr", "perm_hwaddr"),
                    ("Slave queue ID", "queue_id"),
                    ("Aggregator ID", "ad_aggregator_id"),
                    ("Actor Churn State", "actor_churn_state"),
                    ("Partner Churn State", "partner_churn_state"),
                    ("Actor Churned Count", "actor_churned_count"),
                    ("Partner Churned Count", "partner_churned_count"),
                ] {
                    check(name, was.get(name), text(&slave[value]));
                }
                for side in ["actor", "partner"] {
                    for (name, value) in slave[side].as_object().into_iter().flatten() {
                        let name = format!("{side} {}", name.replace('_', " "));
                        assert!(was.contains_key(&name), "{name}: {was:?}");
                        check(&name, was.get(&name), text(value));
                    }
                }
            }
        }
        let what = format!("{}: netdev and /proc/net/bonding", machine.release);
        finish(&what, rows, count, &differences);
    }
}

/// What xtask/lab/guest/wireguard.c has configured: no tool in the guest shows it.
#[test]
fn peers_of_wireguard_are_those_that_were_configured() {
    for machine in machines() {
        let (_, _, interface) = machine
            .interfaces()
            .find(|one| one.1 == "wg1")
            .expect("the guest has it");
        let own = &interface["info_data"];
        let expected = serde_json::json!({
            // Of the private key of 0x11 bytes.
            "public_key": "e06Qm75//kTEZaIgA31gjuNYl9Me+XLwf3SJLLD3PxM=",
            "listen_port": 51820,
            "fwmark": "0x77",
            "peers": [
                {
                    "public_key": "IiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiI=",
                    "preshared": true,
                    "endpoint": "203.0.113.77:51821",
                    "allowed_ips": ["10.77.1.0/24", "10.77.2.128/25", "fd00:77::/32"],
                    "latest_handshake": 0,
                    "rx_bytes": 0,
                    "tx_bytes": 0,
                    "persistent_keepalive": 25,
                    "handshake_attempts": 0,
                    "staged_packets": 0,
                },
                {
                    "public_key": "REREREREREREREREREREREREREREREREREREREREREQ=",
                    "preshared": false,
                    "endpoint": "[fd00:ffff::77]:51822",
                    "allowed_ips": ["fd00:78:9abc:def0:1234::/80"],
                    "latest_handshake": 0,
                    "rx_bytes": 0,
                    "tx_bytes": 0,
                    "persistent_keepalive": 0,
                    "handshake_attempts": 0,
                    "staged_packets": 0,
                },
            ],
        });
        assert_eq!(*own, expected, "{}", machine.release);
        println!("{}: wireguard with 2 peers", machine.release);
    }
}

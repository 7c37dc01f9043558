//! `tc -s -d filter show` of every interface in both directions, word by word.

use serde_json::Value;
use tests::{array, text};

use crate::tc::{rate, size};
use crate::{NAMESPACES, finish, machines};

#[test]
fn filters_are_those_of_tc_filter() {
    for machine in machines() {
        let (mut rows, mut words, mut differences) = (0, 0, Vec::new());
        for namespace in NAMESPACES {
            let truth = machine.tool(namespace, "tc_filter_all.txt");
            let mut truth = split(&truth).into_iter();
            let order = machine.tool(namespace, "devices.txt");
            for name in order.lines() {
                let interfaces = machine.interfaces();
                let (_, _, interface) = interfaces
                    .filter(|one| one.0 == namespace)
                    .find(|one| one.1 == name)
                    .expect("it was listed");
                // Without a direction, tc shows those of the root.
                for direction in ["", "ingress", "egress"] {
                    for found in filters(interface, direction) {
                        let Some(was) = truth.next() else {
                            differences.push(format!("{name}: invented {found:?}"));
                            continue;
                        };
                        rows += 1;
                        words += was
                            .iter()
                            .map(|line| line.split(' ').count())
                            .sum::<usize>();
                        if found != was {
                            differences.push(format!("{name}: is\n{found:#?}\nand was\n{was:#?}"));
                        }
                    }
                }
            }
            differences.extend(truth.map(|was| format!("{namespace}: missing {was:?}")));
        }
        let what = format!("{}: netdev and tc -s -d filter", machine.release);
        finish(&what, rows, words, &differences);
    }
}

/// A filter's lines, sorted: tc's order of keys is its own. Blanks are made one.
type Lines = Vec<String>;

fn split(text: &str) -> Vec<Lines> {
    let mut found: Vec<Lines> = Vec::new();
    for line in text.lines() {
        let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
        if line.starts_with("filter ") {
            found.push(vec![words]);
        } else if let (Some(last), false) = (found.last_mut(), words.is_empty()) {
            last.push(without_tcs_own(&words));
        }
    }
    found.iter_mut().for_each(|lines| lines.sort());
    found
}

/// Ages grow until the dump. iproute2 6.1 reads a mask of `nat` in the machine's byte order, so that the length behind its first address is
/// wrong on little-endian ones.
fn without_tcs_own(line: &str) -> String {
    let line = match line.split_once(" installed ") {
        Some((head, _)) => head.to_owned(),
        None => line.to_owned(),
    };
    match line.split_once(": nat ") {
        Some((head, rest)) => {
            let words: Vec<&str> = rest
                .split(' ')
                .map(|word| word.split('/').next().unwrap_or_default())
                .collect();
            format!("{head}: nat {}", words.join(" "))
        }
        None => line,
    }
}

/// The filters that tc shows for a direction, as it prints them.
fn filters(interface: &Value, direction: &str) -> Vec<Lines> {
    let mut found = Vec::new();
    for qdisc in array(&interface["qdiscs"]) {
        let is_root = qdisc["parent"] == "root";
        for filter in qdisc["filters"].as_array().into_iter().flatten() {
            let own = filter["direction"].as_str().unwrap_or_default();
            if own != direction || direction.is_empty() && !is_root {
                continue;
            }
            let mut head = "filter".to_owned();
            if let Some(block) = filter.get("block") {
                head.push_str(&format!(" block {block}"));
            } else if direction.is_empty() {
                head.push_str(&format!(" parent {}", text(&qdisc["handle"])));
            }
            head.push_str(&format!(
                " protocol {} pref {} {} chain {}",
                text(&filter["protocol"]),
                filter["pref"],
                text(&filter["kind"]),
                filter["chain"]
            ));
            let mut lines = vec![head];
            if let Some(options) = filter.get("options") {
                own_lines(&text(&filter["kind"]), options, &mut lines);
                if let Some(name) = options.get("indev") {
                    lines.push(format!("indev {}", text(name)));
                }
                for action in options["actions"].as_array().into_iter().flatten() {
                    action_lines(action, &mut lines);
                }
            }
            let mut lines: Lines = lines.iter().map(|line| without_tcs_own(line)).collect();
            lines.sort();
            found.push(lines);
        }
    }
    found
}

fn own_lines(kind: &str, options: &Value, lines: &mut Lines) {
    let word = |name: &str| text(&options[name]);
    let has = |name: &str| options.get(name).is_some();
    let mut head = String::new();
    let mut hardware: Vec<&str> = ["skip_hw", "skip_sw", "in_hw", "not_in_hw"]
        .into_iter()
        .filter(|name| has(name))
        .collect();
    match kind {
        "u32" => {
            head = format!(" fh {}", word("fh"));
            if has("ht_divisor") {
                head.push_str(&format!(" ht divisor {}", word("ht_divisor")));
            } else {
                head.push_str(&format!(
                    " order {} key ht {} bkt {}",
                    word("order"),
                    word("key_ht"),
                    word("bkt")
                ));
                let terminal = options["terminal"] == true;
                if has("flowid") {
                    let star = if terminal { "*" } else { "" };
                    head.push_str(&format!(" {star}flowid {}", word("flowid")));
                } else if terminal {
                    head.push_str(" terminal flowid");
                }
                if has("link") {
                    head.push_str(&format!(" link {}", word("link")));
                }
                for name in hardware.drain(..) {
                    head.push_str(&format!(" {name}"));
                }
                head.push_str(&format!(
                    " (rule hit {} success {})",
                    word("rule_hit"),
                    word("success")
                ));
                for one in array(&options["matches"]) {
                    lines.push(format!(
                        "match {:0>8}/{:0>8} at {} (success {} )",
                        text(&one["value"]),
                        text(&one["mask"]),
                        one["off"],
                        one["success"]
                    ));
                }
                if has("hash_mask") {
                    lines.push(format!(
                        "hash mask {:0>8} at {}",
                        word("hash_mask"),
                        word("hash_off")
                    ));
                }
            }
        }
        "fw" => {
            head = format!(" handle {}", word("handle"));
            if has("mask") {
                head.push_str(&format!("/{}", word("mask")));
            }
            head.push_str(&format!(" classid {}", word("classid")));
        }
        "route" => {
            head = format!(
                " fh {} flowid {} to {} from {}",
                word("fh"),
                word("flowid"),
                word("to"),
                word("from")
            );
        }
        _ => {
            let handle = &options["handle"];
            head.push_str(&match handle.as_u64() {
                Some(handle) => format!(" handle {handle:#x}"),
                None => format!(" handle {}", text(handle)),
            });
            for name in ["flowid", "classid"] {
                if has(name) {
                    head.push_str(&format!(" {name} {}", word(name)));
                }
            }
            if kind == "bpf" {
                for name in hardware.drain(..) {
                    head.push_str(&format!(" {name}"));
                }
                head.push_str(&format!(" bytecode '{}'", bytecode(&options["bytecode"])));
            }
            if kind == "matchall" {
                // The last of them has the count behind it.
                let last = hardware.pop().unwrap_or_default();
                lines.push(format!("{last} (rule hit {})", word("rule_hit")));
            }
        }
    }
    lines[0].push_str(&head);
    lines.extend(hardware.iter().map(|name| (*name).to_owned()));
    for (name, value) in options["keys"].as_object().into_iter().flatten() {
        let value = match value.get("start") {
            Some(start) => format!("{start}-{}", value["end"]),
            None => text(value),
        };
        lines.push(format!("{name} {value}"));
    }
    let mut before = String::new();
    for one in options["ematches"].as_array().into_iter().flatten() {
        let not = if one.get("not").is_some() { "NOT " } else { "" };
        lines.push(format!("{before}{not}{}", text(&one["expression"])));
        before = one["then"]
            .as_str()
            .map_or_else(String::new, |then| format!("{} ", then.to_uppercase()));
    }
}

fn bytecode(code: &Value) -> String {
    let mut out = text(&code["length"]);
    for one in array(&code["insns"]) {
        out.push_str(&format!(
            ",{} {} {} {}",
            one["code"], one["jt"], one["jf"], one["k"]
        ));
    }
    out
}

fn control(action: &Value) -> String {
    match text(&action["type"]).as_str() {
        "goto" => format!("goto chain {}", action["chain"]),
        other => other.to_owned(),
    }
}

fn action_lines(action: &Value, lines: &mut Lines) {
    let word = |name: &str| text(&action[name]);
    let has = |name: &str| action.get(name).is_some();
    let number = |name: &str| action[name].as_u64().unwrap_or_default();
    let then = control(&action["control_action"]);
    let mut own = String::new();
    match word("kind").as_str() {
        "gact" => {
            own = format!("gact action {then}");
            let chance = &action["prob"];
            lines.push(format!(
                "random type {} {} val {}",
                text(&chance["random_type"]),
                control(&chance["control_action"]),
                chance["val"]
            ));
        }
        "mirred" => {
            let capital = |word: String| word[..1].to_uppercase() + &word[1..];
            own = format!(
                "mirred ({} {} to device {}) {then}",
                capital(word("direction")),
                capital(word("mirred_action")),
                word("to_dev")
            );
        }
        "police" => {
            own = format!("police {:#x}", number("index"));
            own.push_str(&format!(
                " rate {} burst {} mtu {}",
                rate(number("rate")),
                size(number("burst")),
                size(number("mtu"))
            ));
            if has("peakrate") {
                own.push_str(&format!(" peakrate {}", rate(number("peakrate"))));
            }
            own.push_str(&format!(" action {then}"));
            // What conforms passes, unless something else is said.
            match word("conform").as_str() {
                "pass" => {}
                conform => own.push_str(&format!("/{conform}")),
            }
            own.push_str(&format!(
                " overhead {} linklayer {}",
                size(number("overhead")),
                word("linklayer")
            ));
        }
        "skbedit" => {
            own.push_str("skbedit");
            for name in ["queue_mapping", "priority"] {
                if has(name) {
                    own.push_str(&format!(" {name} {}", word(name)));
                }
            }
            if has("mark") {
                own.push_str(&format!(" mark {}/0x{}", word("mark"), word("mask")));
            }
            own.push_str(&format!(" {then}"));
        }
        "pedit" => {
            own = format!("pedit action {then} keys {}", word("nkeys"));
            for (index, key) in array(&action["keys"]).iter().enumerate() {
                lines.push(format!(
                    "key #{index} at {}+{}: val {:0>8} mask {:0>8}",
                    text(&key["htype"]),
                    key["offset"],
                    text(&key["val"]),
                    text(&key["mask"])
                ));
            }
        }
        "csum" => own = format!("csum ({}) action {then}", word("csum")),
        "nat" => {
            own = format!(
                "nat {} {} {} {then}",
                word("direction"),
                word("old_addr"),
                word("new_addr")
            );
        }
        "vlan" => {
            own = format!("vlan {}", word("vlan_action"));
            for name in ["id", "protocol", "priority"] {
                if has(name) {
                    own.push_str(&format!(" {name} {}", word(name)));
                }
            }
            own.push_str(&format!(" {then}"));
        }
        "sample" => {
            own = format!("sample rate 1/{} group {}", word("rate"), word("group"));
            if has("trunc_size") {
                own.push_str(&format!(" trunc_size {}", word("trunc_size")));
            }
            own.push_str(&format!(" {then}"));
        }
        "ct" => own = format!("ct zone {} {then}", word("zone")),
        "bpf" => {
            let code = bytecode(&action["bytecode"]);
            own = format!("bpf bytecode '{code}' default-action {then}");
        }
        other => panic!("the test knows no action {other}"),
    }
    lines.push(format!("action order {}: {own}", action["order"]));
    let bound = format!("ref {} bind {}", action["ref"], action["bind"]);
    if action["kind"] == "police" {
        lines.push(bound);
    } else {
        lines.push(format!("index {} {bound}", action["index"]));
    }
    let stats = &action["stats"];
    lines.push("Action statistics:".into());
    lines.push(format!(
        "Sent {} bytes {} pkt (dropped {}, overlimits {} requeues {})",
        stats["bytes"], stats["packets"], stats["drops"], stats["overlimits"], stats["requeues"]
    ));
    lines.push(format!(
        "backlog {} {}p requeues {}",
        size(stats["backlog"].as_u64().unwrap_or_default()),
        stats["qlen"],
        stats["requeues"]
    ));
    if has("cookie") {
        lines.push(format!("cookie {}", word("cookie")));
    }
}

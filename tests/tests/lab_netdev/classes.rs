//! `tc -s -d class show` of every interface, word by word. tc 6.1 has no JSON of classes.

use serde_json::Value;
use tests::{array, text};

use crate::tc::{rate, size, time};
use crate::{NAMESPACES, finish, machines};

#[test]
fn classes_are_those_of_tc_class() {
    for machine in machines() {
        let (mut rows, mut words, mut moved, mut differences) = (0, 0, 0, Vec::new());
        for namespace in NAMESPACES {
            let truth = machine.tool(namespace, "tc_class_all.txt");
            let mut truth = split(&truth).into_iter();
            let after = machine.tool_after(namespace, "tc_class_all.txt");
            let mut after = split(&after).into_iter();
            let interfaces = machine.interfaces();
            for (_, name, interface) in interfaces.filter(|one| one.0 == namespace) {
                let qdiscs = array(&interface["qdiscs"]).iter();
                for class in qdiscs
                    .filter_map(|qdisc| qdisc["classes"].as_array())
                    .flatten()
                {
                    let found = lines(class);
                    let was = truth.next().unwrap_or_default();
                    rows += 1;
                    words += was.split_whitespace().count();
                    let then = after.next().unwrap_or_default();
                    if found != was && is_between(&found, &was, &then) {
                        moved += 1;
                    } else if found != was {
                        differences
                            .push(format!("{namespace} {name}: is\n{found}\nand was\n{was}"));
                    }
                }
            }
            differences.extend(truth.map(|was| format!("{namespace}: missing {was}")));
        }
        let what = format!(
            "{}: netdev and tc -s -d class ({moved} moved on)",
            machine.release
        );
        finish(&what, rows, words, &differences);
    }
}

/// Whether each number that is not as it was lies between the recordings: a class may have let a packet out since.
fn is_between(found: &str, was: &str, then: &str) -> bool {
    let [found, was, then] = [found, was, then].map(|text| {
        let words = text.split_whitespace();
        words.collect::<Vec<_>>()
    });
    let number = |word: &str| word.trim_end_matches(['b', 'p']).parse::<i64>().ok();
    found.len() == was.len()
        && was.len() == then.len()
        && found
            .iter()
            .zip(&was)
            .zip(&then)
            .all(|((found, was), then)| {
                found == was
                    || match [found, was, then].map(|word| number(word)) {
                        [Some(found), Some(was), Some(then)] => {
                            (was.min(then)..=was.max(then)).contains(&found)
                        }
                        _ => false,
                    }
            })
}

/// Each class with its blanks made one, and without times that are reckoned from the clock when somebody asks.
fn split(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in text.lines() {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        for name in ["drop_next", "blue_timer"] {
            if let Some(at) = words.iter().position(|word| *word == name) {
                words.drain(at..at + 2);
            }
        }
        let words = words.join(" ");
        if line.starts_with("class ") {
            found.push(words);
        } else if let (Some(last), false) = (found.last_mut(), words.is_empty()) {
            last.push('\n');
            last.push_str(&words);
        }
    }
    found
}

/// A class as tc prints it.
fn lines(class: &Value) -> String {
    let word = |name: &str| text(&class[name]);
    let kind = word("kind");
    let (options, own) = (&class["options"], &class["statistics"]);
    let option = |name: &str| options[name].as_u64().unwrap_or_default();
    let mut out = format!("class {kind} {}", word("handle"));
    match word("parent").as_str() {
        "root" => out.push_str(" root"),
        parent => out.push_str(&format!(" parent {parent}")),
    }
    if let Some(leaf) = class.get("leaf") {
        out.push_str(&format!(" leaf {}", text(leaf)));
    }
    match kind.as_str() {
        "htb" => {
            if options["level"] == 0 {
                out.push_str(&format!(
                    " prio {} quantum {}",
                    option("prio"),
                    option("quantum")
                ));
            }
            out.push_str(&format!(" rate {}", rate(option("rate"))));
            if option("overhead") != 0 {
                out.push_str(&format!(" overhead {}", option("overhead")));
            }
            let mpu = size(option("mpu"));
            out.push_str(&format!(
                " ceil {} linklayer {} burst {}/1 mpu {mpu} cburst {}/1 mpu {mpu} level {}",
                rate(option("ceil")),
                text(&options["linklayer"]),
                size(option("burst")),
                size(option("cburst")),
                option("level")
            ));
        }
        "hfsc" => {
            let curve = |name: &str| {
                let curve = options.get(name)?;
                Some(format!(
                    "m1 {} d {} m2 {}",
                    rate(curve["m1"].as_u64()?),
                    time(curve["d"].as_u64()?),
                    rate(curve["m2"].as_u64()?)
                ))
            };
            let (real, share) = (curve("rt"), curve("ls"));
            if real.is_some() && real == share {
                out.push_str(&format!(" sc {}", real.unwrap_or_default()));
            } else {
                for (name, curve) in [("rt", real), ("ls", share)] {
                    out.extend(curve.map(|curve| format!(" {name} {curve}")));
                }
            }
            out.extend(curve("ul").map(|curve| format!(" ul {curve}")));
        }
        "drr" => out.push_str(&format!(" quantum {}", size(option("quantum")))),
        _ => {}
    }
    // These count nothing of a class's own.
    if ["tbf", "red", "netem"].contains(&kind.as_str()) {
        return out;
    }
    let has_bytes = !["fq_codel", "sfq", "cake"].contains(&kind.as_str());
    out.push('\n');
    if has_bytes {
        out.push_str(&format!(
            "Sent {} bytes {} pkt ",
            word("bytes"),
            word("packets")
        ));
    }
    out.push_str(&format!(
        "(dropped {}, overlimits {} requeues {})\nbacklog {} {}p requeues {}",
        word("drops"),
        word("overlimits"),
        word("requeues"),
        size(class["backlog"].as_u64().unwrap_or_default()),
        word("qlen"),
        word("requeues")
    ));
    let own_word = |name: &str| text(&own[name]);
    let dropping = if own.get("dropping").is_some() {
        " dropping"
    } else {
        ""
    };
    match kind.as_str() {
        "htb" => out.push_str(&format!(
            "\nlended: {} borrowed: {} giants: {}\ntokens: {} ctokens: {}",
            own_word("lended"),
            own_word("borrowed"),
            own_word("giants"),
            own_word("tokens"),
            own_word("ctokens")
        )),
        "hfsc" => {
            out.push_str(&format!("\nperiod {}", own_word("period")));
            for name in ["work", "rtwork"] {
                if own[name] != 0 {
                    out.push_str(&format!(" {name} {} bytes", own_word(name)));
                }
            }
            out.push_str(&format!(" level {}", option("level")));
        }
        "drr" => out.push_str(&format!(
            "\ndeficit {}",
            size(own["deficit"].as_u64().unwrap_or_default())
        )),
        "fq_codel" => out.push_str(&format!(
            "\ndeficit {} count {} lastcount {} ldelay {}{dropping}",
            own_word("deficit"),
            own_word("count"),
            own_word("lastcount"),
            time(own["ldelay"].as_u64().unwrap_or_default())
        )),
        "sfq" => out.push_str(&format!("\nallot {}", own_word("allot"))),
        "cake" => out.push_str(&format!(
            "\ndeficit {} count {}{dropping} blue_prob {}",
            own_word("deficit"),
            own_word("count"),
            own_word("blue_prob")
        )),
        _ => {}
    }
    out
}

//! `netfilter` on dumps of real kernels, against what iptables, nft and /proc said a moment before: every line of every namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tests::compare::{Comparison, Row};
use tests::{array, lab_machines, shown, text, xtask};

/// The namespaces of the guest, as its truth names them.
const NAMESPACES: [&str; 3] = ["root", "lab", "idle"];

fn machines() -> Vec<PathBuf> {
    let machines = lab_machines(&["stop"]);
    assert!(!machines.is_empty());
    machines
}

/// What the analyzer prints for people.
fn printed(machine: &Path, options: &[&str]) -> String {
    let core = machine.join("vmcore");
    let mut args = vec![
        "run",
        "netfilter",
        "--core",
        core.to_str().expect("paths here are UTF-8"),
        "--",
    ];
    args.extend(options);
    let output = xtask(&args);
    assert!(output.status.success(), "{}", shown(&output));
    String::from_utf8(output.stdout).expect("text")
}

/// Lines behind a title with a namespace's number, by the namespace's name.
fn sections(machine: &Path, printed: &str, title: &str) -> BTreeMap<String, Vec<String>> {
    let names = names(machine);
    let mut out: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut current = None;
    for line in printed.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            current = rest.strip_prefix(title).map(|inode| names[inode].clone());
        } else if let Some(current) = &current {
            out.entry(current.clone())
                .or_default()
                .push(line.to_owned());
        }
    }
    out
}

/// Namespaces by inode number: `lab` has an end of the veth, `idle` has none.
fn names(machine: &Path) -> BTreeMap<String, String> {
    let report = tests::analyze("netdev", &machine.join("vmcore"), &[]);
    let mut names = BTreeMap::new();
    for interface in array(&report["interfaces"]) {
        let inode = text(&interface["netns"]);
        let name = match interface["name"].as_str() {
            Some("veth0") => "root",
            Some("veth1") => "lab",
            _ => continue,
        };
        names.insert(inode, name.to_owned());
    }
    for interface in array(&report["interfaces"]) {
        names
            .entry(text(&interface["netns"]))
            .or_insert_with(|| "idle".to_owned());
    }
    names
}

fn truth(machine: &Path, path: &str) -> Vec<String> {
    let path = machine.join(path);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(ToOwned::to_owned).collect()
}

/// Lines as rows, in their order.
fn rows(namespace: &str, lines: &[String]) -> BTreeMap<(String, usize), Row> {
    lines
        .iter()
        .enumerate()
        .map(|(index, line)| {
            let row = Row::from([("line", line.clone())]);
            ((namespace.to_owned(), index), row)
        })
        .collect()
}

#[test]
fn iptables_legacy_save_says_the_same() {
    for machine in machines() {
        let mut comparison = Comparison::default();
        let printed = printed(&machine, &["iptables"]);
        for (family, file) in [
            ("ip", "iptables_legacy_save.txt"),
            ("ip6", "ip6tables_legacy_save.txt"),
        ] {
            let found = sections(
                &machine,
                &printed,
                &format!("{family} tables of network namespace "),
            );
            for namespace in NAMESPACES {
                let mut truth = truth(&machine, &format!("truth/tools/{namespace}/{file}"));
                // When it was written.
                truth.retain(|line| !line.starts_with('#'));
                let found = found.get(namespace).cloned().unwrap_or_default();
                comparison.tables(
                    &format!("{family} tables"),
                    &rows(namespace, &found),
                    &rows(namespace, &truth),
                );
            }
        }
        comparison.finish(&format!("{}: iptables-save", machine.display()));
    }
}

/// Elements' time left goes on between the truth and the dump.
fn without_time_left(line: &str) -> String {
    match line.split_once(" expires ") {
        Some((before, after)) => {
            let end = after.find([' ', ',']).unwrap_or(after.len());
            format!("{before} expires{}", &after[end..])
        }
        None => line.to_owned(),
    }
}

#[test]
fn nft_list_ruleset_says_the_same() {
    for machine in machines() {
        let mut comparison = Comparison::default();
        let printed = printed(&machine, &["nft"]);
        let found = sections(&machine, &printed, "nf_tables of network namespace ");
        let mut as_expressions = Vec::new();
        for namespace in NAMESPACES {
            let mut truth = truth(
                &machine,
                &format!("truth/tools/{namespace}/nft_ruleset.txt"),
            );
            let mut lines = Vec::new();
            // A rule that can't be read back with certainty is shown by its expressions, which the next test compares.
            let mut skipped = BTreeSet::new();
            let (mut table, mut chain) = (String::new(), String::new());
            let mut place = |line: &str| {
                if line.starts_with("table ") {
                    table = line.to_owned();
                } else if line.starts_with("\tchain ") {
                    chain = line.to_owned();
                }
                format!("{table}{chain}")
            };
            for line in found.get(namespace).into_iter().flatten() {
                let place = place(line);
                if let Some(handle) = line.strip_prefix("\t\t# handle ") {
                    skipped.insert((place, handle.to_owned()));
                } else if !line.starts_with("\t\t  [ ") {
                    lines.push(without_time_left(line));
                }
            }
            let (mut table, mut chain) = (String::new(), String::new());
            truth.retain(|line| {
                if line.starts_with("table ") {
                    table.clone_from(line);
                } else if line.starts_with("\tchain ") {
                    chain.clone_from(line);
                }
                let handle = line
                    .rsplit_once(" # handle ")
                    .map_or("", |(_, handle)| handle);
                let is_skipped = line.starts_with("\t\t")
                    && skipped.contains(&(format!("{table}{chain}"), handle.to_owned()));
                if is_skipped {
                    as_expressions.push(line.trim().to_owned());
                }
                !is_skipped
            });
            let truth: Vec<String> = truth.iter().map(|line| without_time_left(line)).collect();
            comparison.tables("nft", &rows(namespace, &lines), &rows(namespace, &truth));
        }
        assert!(as_expressions.is_empty(), "{as_expressions:#?}");
        comparison.finish(&format!("{}: nft list ruleset", machine.display()));
    }
}

#[test]
fn nft_debug_netlink_says_the_same() {
    for machine in machines() {
        let mut comparison = Comparison::default();
        let report = tests::analyze("netfilter", &machine.join("vmcore"), &["nft"]);
        let names = names(&machine);
        for namespace in NAMESPACES {
            let mut found: BTreeMap<(String, usize), Row> = BTreeMap::new();
            for table in array(&report["nftables"]) {
                if names[&text(&table["netns"])] != namespace {
                    continue;
                }
                for chain in array(&table["chains"]) {
                    for rule in array(&chain["rules"]) {
                        let head = format!(
                            "{namespace} {} {} {} {}",
                            text(&table["family"]),
                            text(&table["name"]),
                            text(&chain["name"]),
                            text(&rule["handle"])
                        );
                        for (index, line) in array(&rule["expressions"]).iter().enumerate() {
                            found.insert(
                                (head.clone(), index),
                                Row::from([("expression", text(line))]),
                            );
                        }
                    }
                }
            }
            comparison.tables("expressions", &found, &debug_rows(&machine, namespace));
        }
        comparison.finish(&format!("{}: nft --debug=netlink", machine.display()));
    }
}

/// Rules of `nft --debug=netlink list ruleset`: a line with family, table, chain and handle, then a line for each expression.
fn debug_rows(machine: &Path, namespace: &str) -> BTreeMap<(String, usize), Row> {
    let mut out = BTreeMap::new();
    let mut head = String::new();
    let mut index = 0;
    for line in truth(machine, &format!("truth/tools/{namespace}/nft_debug.txt")) {
        if let Some(expression) = line.strip_prefix("  [ ") {
            let row = Row::from([("expression", format!("[ {expression}"))]);
            out.insert((head.clone(), index), row);
            index += 1;
        } else {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let [
                family @ ("ip" | "ip6" | "inet" | "arp" | "bridge" | "netdev"),
                table,
                chain,
                handle,
                ..,
            ] = words.as_slice()
            {
                head = format!("{namespace} {family} {table} {chain} {handle}");
                index = 0;
            }
        }
    }
    out
}

/// nft 1.0.6 without arguments asks for IPv4, IPv6 and bridges; hooks of ARP and of interfaces it has to be told.
fn asked_for(lines: &[String]) -> Vec<String> {
    let mut is_asked_for = false;
    let mut out = Vec::new();
    for line in lines {
        if let Some(family) = line.strip_prefix("family ") {
            is_asked_for = ["ip {", "ip6 {", "bridge {"].contains(&family);
        }
        if is_asked_for {
            out.push(line.clone());
        }
    }
    out
}

/// Functions of one priority run in the kernel's order, which nft does not keep when it sorts them.
fn sort_equals(lines: &mut [String]) {
    let priority = |line: &String| line.split_whitespace().next().map(ToOwned::to_owned);
    for part in lines.chunk_by_mut(|one, other| priority(one) == priority(other)) {
        part.sort();
    }
}

#[test]
fn nft_list_hooks_says_the_same() {
    for machine in machines() {
        let mut comparison = Comparison::default();
        let printed = printed(&machine, &["hooks"]);
        let mut found = sections(&machine, &printed, "hooks of network namespace ");
        for lines in found.values_mut() {
            *lines = asked_for(lines);
            sort_equals(lines);
        }
        // 6.1 for the cloud has no nfnetlink_hook, which nft asks: there hooks are compared with what the rules say.
        let mut is_empty = true;
        for namespace in NAMESPACES {
            let mut truth = truth(&machine, &format!("truth/tools/{namespace}/nft_hooks.txt"));
            sort_equals(&mut truth);
            is_empty &= truth.iter().all(|line| !line.contains("hook"));
            if !is_empty {
                let found = found.get(namespace).cloned().unwrap_or_default();
                comparison.tables("hooks", &rows(namespace, &found), &rows(namespace, &truth));
            }
        }
        if is_empty {
            println!(
                "{}: this kernel has no nfnetlink_hook to ask",
                machine.display()
            );
        } else {
            comparison.finish(&format!("{}: nft list hooks", machine.display()));
        }
    }
}

/// Lines of connections by what doesn't change: time left, and what is left of it.
fn connections(lines: &[String]) -> BTreeMap<String, (Option<u64>, String)> {
    let mut out = BTreeMap::new();
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        let left = words.get(4).and_then(|word| word.parse().ok());
        let from = words
            .iter()
            .position(|word| word.starts_with("src="))
            .unwrap_or(0);
        let key = words[..4]
            .iter()
            .chain(&words[from..from + 4])
            .copied()
            .collect::<Vec<_>>()
            .join(" ");
        let rest: Vec<&str> = words
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != 4 || left.is_none())
            .map(|(_, word)| *word)
            .collect();
        out.insert(key, (left, rest.join(" ")));
    }
    out
}

#[test]
fn proc_net_nf_conntrack_says_the_same() {
    for machine in machines() {
        let mut comparison = Comparison::default();
        let printed = printed(&machine, &["conntrack"]);
        let found = sections(&machine, &printed, "connections of network namespace ");
        for namespace in NAMESPACES {
            // What stands behind it here is not in /proc.
            let lines: Vec<String> = found
                .get(namespace)
                .into_iter()
                .flatten()
                .filter_map(|line| Some(line.split_once("  #")?.0.to_owned()))
                .collect();
            let found = connections(&lines);
            let before = connections(&truth(
                &machine,
                &format!("truth/net/{namespace}/nf_conntrack"),
            ));
            let after = connections(&truth(
                &machine,
                &format!("truth-after/net/{namespace}/nf_conntrack"),
            ));
            let row = |line: &str, left: &str| {
                Row::from([("line", line.to_owned()), ("left", left.to_owned())])
            };
            let mut ours = BTreeMap::new();
            // What is there again since a packet was sent once more: on a slow host some connections had been over when the truth was told.
            let began: BTreeMap<_, _> = after
                .iter()
                .filter(|(key, _)| !before.contains_key(*key) && found.contains_key(*key))
                .collect();
            assert!(began.len() <= 5, "{}: {began:?}", machine.display());
            for (key, (left, line)) in &found {
                // Time runs between the truth, the dump and the truth after it.
                let most = before.get(key).and_then(|(left, _)| *left);
                let most = most.or_else(|| began.get(key)?.0.map(|_| u64::MAX));
                let least = after.get(key).and_then(|(left, _)| *left).unwrap_or(0);
                let fits = match (left, most) {
                    (Some(left), Some(most)) => (least..=most).contains(left),
                    (None, None) => true,
                    _ => false,
                };
                let shown = if fits {
                    "fits".to_owned()
                } else {
                    format!("{left:?} of {least}..{most:?}")
                };
                ours.insert(key.clone(), row(line, &shown));
            }
            let theirs = before
                .iter()
                .chain(began)
                .map(|(key, (_, line))| (key.clone(), row(line, "fits")))
                .collect();
            comparison.tables(namespace, &ours, &theirs);
        }
        comparison.finish(&format!("{}: /proc/net/nf_conntrack", machine.display()));
    }
}

#[test]
fn names_of_tables_are_those_of_proc() {
    for machine in machines() {
        let mut comparison = Comparison::default();
        let report = tests::analyze(
            "netfilter",
            &machine.join("vmcore"),
            &["iptables", "counts"],
        );
        let names = names(&machine);
        for namespace in NAMESPACES {
            for (family, file) in [("ip", "ip_tables_names"), ("ip6", "ip6_tables_names")] {
                let found: Vec<String> = array(&report["iptables"])
                    .iter()
                    .filter(|table| {
                        names[&text(&table["netns"])] == namespace && table["family"] == family
                    })
                    .map(|table| text(&table["name"]))
                    .collect();
                let truth = truth(&machine, &format!("truth/net/{namespace}/{file}"));
                comparison.tables(file, &rows(namespace, &found), &rows(namespace, &truth));
            }
        }
        let counts = &report["conntrack"]["counts"];
        let number = |path: &str| {
            let lines = truth(&machine, path);
            lines
                .iter()
                .filter(|line| !line.is_empty())
                .count()
                .to_string()
        };
        for row in array(&counts["namespaces"]) {
            let namespace = names[&text(&row["netns"])].clone();
            // As many as before the dump, or after it, or between.
            let lines = |truth: &str| number(&format!("{truth}/net/{namespace}/nf_conntrack"));
            let (before, after) = (lines("truth"), lines("truth-after"));
            let shown = |count: String| {
                let both = [&before, &after].map(|count| count.parse().unwrap_or(0_u64));
                let between = both[0].min(both[1])..=both[0].max(both[1]);
                let fits = count.parse().is_ok_and(|count| between.contains(&count));
                if fits { before.clone() } else { count }
            };
            let found = BTreeMap::from([(
                namespace.clone(),
                Row::from([
                    ("entries", shown(text(&row["entries"]))),
                    ("count", shown(text(&row["count"]))),
                ]),
            )]);
            let truth = BTreeMap::from([(
                namespace,
                Row::from([("entries", before.clone()), ("count", before)]),
            )]);
            comparison.tables("counts", &found, &truth);
        }
        comparison.finish(&format!("{}: tables and counts", machine.display()));
    }
}

//! What `netdev` says in detail, against what ip, tc, bridge and /sys said a moment before the dump. Each row and each column is compared;
//! what can't be the same is named where it is left out.

mod addresses;
mod classes;
mod filters;
mod links;
mod packets;
mod procfs;
mod qdiscs;
mod sysfs;
mod tc;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tests::{analyze, array, lab_machines, read_json, text};

/// A machine of the lab that was stopped, and the analyzer's report on it.
pub struct Machine {
    /// Its kernel.
    pub release: String,
    /// Whether its CPU is.
    pub is_big_endian: bool,
    /// The folder of what it said of itself.
    pub truth: PathBuf,
    /// What the analyzer says.
    pub report: Value,
    /// The network namespaces' names by their inode numbers.
    names: BTreeMap<String, &'static str>,
}

/// The guest's network namespaces.
pub const NAMESPACES: [&str; 3] = ["root", "lab", "idle"];

/// All of them whose guest has recorded what is compared here.
pub fn machines() -> Vec<Machine> {
    machines_that(&["stop"])
}

/// Those that became one of these.
pub fn machines_that(became: &[&str]) -> Vec<Machine> {
    let machines: Vec<Machine> = lab_machines(became)
        .iter()
        .map(|folder| Machine::new(folder))
        .collect();
    assert!(!machines.is_empty());
    machines
}

impl Machine {
    fn new(folder: &Path) -> Self {
        let lab = read_json(&folder.join("lab.json"));
        let truth = folder.join("truth");
        let report = analyze("netdev", &folder.join("vmcore"), &["--packets"]);
        let inode = |pid: &str| {
            let links = read(&truth.join("proc").join(pid).join("ns.txt"));
            let link = links
                .lines()
                .find_map(|line| line.strip_prefix("net -> net:["));
            link.and_then(|rest| rest.strip_suffix(']'))
                .expect("a link to a network namespace")
                .to_owned()
        };
        let manifest = read(&truth.join("labd.manifest"));
        let pid = manifest
            .lines()
            .find_map(|line| line.strip_prefix("LAB netns pid="))
            .expect("labd tells its namespace's process")
            .to_owned();
        let mut names = BTreeMap::from([(inode("1"), "root"), (inode(&pid), "lab")]);
        for interface in array(&report["interfaces"]) {
            names.entry(text(&interface["netns"])).or_insert("idle");
        }
        assert_eq!(names.len(), NAMESPACES.len());
        Machine {
            release: text(&lab["release"]),
            is_big_endian: lab["machine"] == "s390x",
            truth,
            report,
            names,
        }
    }

    /// The interfaces in the order of the report, with their namespace and name.
    pub fn interfaces(&self) -> impl Iterator<Item = (&'static str, String, &Value)> {
        array(&self.report["interfaces"]).iter().map(|interface| {
            let namespace = self.names[&text(&interface["netns"])];
            (namespace, text(&interface["name"]), interface)
        })
    }

    /// What a tool said in a namespace.
    pub fn tool(&self, namespace: &str, file: &str) -> String {
        read(&self.truth.join("tools").join(namespace).join(file))
    }

    /// What it said some seconds after the dump.
    pub fn tool_after(&self, namespace: &str, file: &str) -> String {
        let after = self.truth.with_file_name("truth-after");
        read(&after.join("tools").join(namespace).join(file))
    }

    /// The same of JSON.
    pub fn json(&self, namespace: &str, file: &str) -> Value {
        serde_json::from_str(&self.tool(namespace, file))
            .unwrap_or_else(|error| panic!("{namespace}/{file}: {error}"))
    }
}

/// A text file.
pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Whether two values are the same: of fractions as many digits as tools print.
pub fn same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => {
            one == other
                || (one.fract() != 0.0 || other.fract() != 0.0) && {
                    (one - other).abs() <= 1e-5 * one.abs().max(other.abs())
                }
        }
        _ => one == other,
    }
}

/// Compares what the truth has of an object with what was found: names that are missing, and values that differ. Counts values.
pub fn compare(
    what: &str,
    found: &Value,
    truth: &Value,
    count: &mut usize,
    differences: &mut Vec<String>,
) {
    match (found, truth) {
        (Value::Object(found), Value::Object(truth)) => {
            for (name, value) in truth {
                match found.get(name) {
                    Some(found) => {
                        compare(&format!("{what} {name}"), found, value, count, differences);
                    }
                    None => differences.push(format!("{what} {name}: missing, was {value}")),
                }
            }
        }
        (Value::Array(found), Value::Array(truth)) if found.len() == truth.len() => {
            for (index, (found, truth)) in found.iter().zip(truth).enumerate() {
                compare(&format!("{what} {index}"), found, truth, count, differences);
            }
        }
        _ => {
            *count += 1;
            if !same(found, truth) {
                differences.push(format!("{what}: is {found}, and was {truth}"));
            }
        }
    }
}

/// Prints the counts and fails if anything differed.
pub fn finish(what: &str, rows: usize, values: usize, differences: &[String]) {
    println!(
        "{what}: {rows} rows, {values} values compared, {} differ",
        differences.len()
    );
    assert!(rows > 0, "{what}: there was nothing to compare");
    assert!(
        differences.is_empty(),
        "{what}:\n{}",
        differences.join("\n")
    );
}

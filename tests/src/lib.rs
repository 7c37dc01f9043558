//! What the tests share: where things are, and how to run them.
#![forbid(unsafe_code)]

pub mod compare;
mod synthetic;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub use synthetic::{LARGE, PRESENT, PROTNONE, Page, Synthetic};

/// The top of the work tree.
pub fn root() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .canonicalize()
        .expect("the tests lie in the work tree")
}

/// The fixture's kernel.
pub fn fixture_vmlinux() -> PathBuf {
    root().join("tests/fixture/vmlinux-2.6.9")
}

/// The fixture's dump.
pub fn fixture_vmcore() -> PathBuf {
    root().join("tests/fixture/vmcore-2.6.9")
}

/// `cargo xtask`, as users run it.
pub fn xtask(args: &[&str]) -> Output {
    Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["run", "--quiet", "--release", "--package", "xtask", "--"])
        .args(args)
        .output()
        .expect("cargo runs")
}

/// What a program printed, for messages of assertions.
pub fn shown(output: &Output) -> String {
    format!(
        "{}\n--- stdout\n{}\n--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// What an analyzer prints as JSON of a dump, by `cargo xtask run`. Fails if it could not read everything.
pub fn analyze(analyzer: &str, core: &Path, options: &[&str]) -> serde_json::Value {
    let core = core.to_str().expect("paths here are UTF-8");
    let mut args = vec!["run", analyzer, "--core", core, "--", "--format", "json"];
    args.extend(options);
    let output = xtask(&args);
    assert!(output.status.success(), "{analyzer}: {}", shown(&output));
    let report: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("the analyzer prints JSON");
    assert_eq!(report["fault_count"], 0, "{}", report["faults"]);
    report
}

/// The elements of a JSON array; fails if it is none.
pub fn array(value: &serde_json::Value) -> &Vec<serde_json::Value> {
    value
        .as_array()
        .unwrap_or_else(|| panic!("not an array: {value}"))
}

/// A JSON value as text: strings without quotes.
pub fn text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(string) => string.clone(),
        value => value.to_string(),
    }
}

/// Reads a JSON file.
pub fn read_json(path: &Path) -> serde_json::Value {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

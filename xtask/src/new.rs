//! `cargo xtask new`: a new analyzer to start a check from.

use std::fs;

use anyhow::{Context as _, bail};

use crate::paths;

/// Options of `cargo xtask new`.
#[derive(clap::Args)]
pub struct Args {
    /// The analyzer's name: small letters, digits, - and _
    name: String,
}

/// Writes `analyzers/<name>`: a crate that compiles and runs on every kernel.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let name = &args.name;
    let folder = paths::root().join("analyzers").join(name);
    let is_name = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'));
    if is_name && folder.exists() {
        bail!("{} is there already", folder.display());
    }
    if !is_name || is_taken(name)? {
        bail!(
            "{name:?} can't be the name of an analyzer: take small letters, digits, - and _, and no name that a crate, Rust or cargo has"
        );
    }
    fs::create_dir_all(folder.join("src")).with_context(|| folder.display().to_string())?;
    let files = [
        ("Cargo.toml", MANIFEST.replace("NAME", name)),
        ("build.rs", BUILD.to_owned()),
        ("src/main.rs", SOURCE.replace("NAME", name)),
    ];
    for (file, text) in files {
        let path = folder.join(file);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    println!("analyzers/{name}/src/main.rs is where the check begins. Try it:");
    println!("  cargo xtask run {name} --core tests/fixture/vmcore-2.6.9");
    Ok(())
}

/// What cargo or rustc refuse as a package's name, beside Rust's keywords.
const RESERVED: &[&str] = &[
    "build",
    "core",
    "deps",
    "examples",
    "incremental",
    "std",
    "alloc",
    "test",
    "proc-macro",
];

/// Whether a crate of the workspace or one that it depends on has this name, or nothing may have it.
fn is_taken(name: &str) -> anyhow::Result<bool> {
    let lock = paths::root().join("Cargo.lock");
    let lock = fs::read_to_string(&lock).with_context(|| lock.display().to_string())?;
    let line = format!("name = \"{name}\"");
    let is_keyword = kstruct_codegen::names::constant(name) == format!("{name}_");
    Ok(is_keyword || RESERVED.contains(&name) || lock.lines().any(|known| known == line))
}

const MANIFEST: &str = r#"[package]
name = "NAME"
version.workspace = true
edition.workspace = true
rust-version.workspace = true
license.workspace = true
publish.workspace = true

[dependencies]
anyhow.workspace = true
clap.workspace = true
kernel.workspace = true
kstruct.workspace = true
linux.workspace = true
serde.workspace = true

[build-dependencies]
kstruct-kernel-has.workspace = true

[lints]
workspace = true
"#;

const BUILD: &str = r"//! Answers `kernel_has`.

fn main() {
    kstruct_kernel_has::answer();
}
";

const SOURCE: &str = r#"//! `NAME`: uninterruptible tasks, to begin with.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use kstruct::Memory;
use linux::app::{Common, plain_table, table_text};
use linux::{Faults, Report, task};
use serde::Serialize;

/// Lists tasks that wait uninterruptibly.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(flatten)]
    common: Common,
}

impl AsRef<Common> for Args {
    fn as_ref(&self) -> &Common {
        &self.common
    }
}

fn main() -> ExitCode {
    linux::app::run(analyze)
}

#[derive(Serialize)]
struct Findings {
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Finding {
    pid: i32,
    comm: String,
}

/// The check. `task.` completes to the members that this kernel's task_struct has.
fn analyze(k: &Memory, _: &Args, faults: &mut Faults) -> anyhow::Result<Findings> {
    let states = task::States::new(k)?;
    let mut findings = Vec::new();
    for task in task::leaders(k) {
        let Some(task) = faults.check("task list", task) else {
            continue;
        };
        if states.letter(task) == 'D' {
            findings.push(Finding {
                pid: task.pid(),
                comm: task.comm().to_string(),
            });
        }
    }
    Ok(Findings { findings })
}

impl Report for Findings {
    fn table(&self) -> String {
        let rows = self
            .findings
            .iter()
            .map(|finding| vec![finding.pid.to_string(), finding.comm.clone()]);
        table_text(&plain_table(&["PID", "COMM"], rows))
    }
}
"#;

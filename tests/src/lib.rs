//! What the tests share: where things are, and how to run them.
#![forbid(unsafe_code)]

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

//! Where things lie in the work tree. Every path that xtask knows is named here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The top of the work tree: the folder that holds the workspace's `Cargo.toml`.
pub fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// Where `cargo xtask` is built.
pub fn own_release() -> PathBuf {
    root().join("target/release")
}

/// Where the lab keeps what it downloads and boots: `target/lab`.
pub fn lab() -> PathBuf {
    root().join("target/lab")
}

/// Where `cargo xtask test --kernels` keeps the kernels that it downloads: `target/kernels-debug`.
pub fn kernels_debug() -> PathBuf {
    root().join("target/kernels-debug")
}

/// What `gen --all` takes out of debug packages, each in a folder of its own: `target/unpacked`.
pub fn unpacked() -> PathBuf {
    root().join("target/unpacked")
}

/// What debuginfod servers gave, below which it lies as debug packages would put it: `target/debuginfod`.
pub fn debuginfod() -> PathBuf {
    root().join("target/debuginfod")
}

/// What the lab's guest is made from: its shell scripts, its C program, its firewall rules.
pub fn lab_guest() -> PathBuf {
    root().join("xtask/lab/guest")
}

/// The sources of the crowd's guest, which has 20,000 connections.
pub fn lab_crowd() -> PathBuf {
    root().join("xtask/lab/crowd")
}

/// A kernel's generated bindings.
pub fn bindings(kernel: &str) -> PathBuf {
    root().join("generated").join(kernel)
}

/// Whether this is the name of the fixture's kernel.
pub fn is_fixtures(kernel: &str) -> bool {
    let vmlinux = fixture_vmlinux();
    let file = vmlinux.file_name().and_then(|file| file.to_str());
    file.and_then(|file| file.strip_prefix("vmlinux-")) == Some(kernel)
}

/// Whether a kernel's bindings are part of the repository: the fixture's, and what else git knows.
pub fn is_versioned(kernel: &str) -> bool {
    static VERSIONED: OnceLock<BTreeSet<String>> = OnceLock::new();
    // Where the work tree is no clone, there is no more than the fixture's.
    let listed = || {
        let git = Command::new("git")
            .args(["ls-files", "-z", "generated"])
            .current_dir(root())
            .output();
        let files = git.map_or_else(|_| Vec::new(), |output| output.stdout);
        let files = String::from_utf8_lossy(&files).into_owned();
        let names = files.split('\0').filter_map(|file| {
            let (name, _) = file.strip_prefix("generated/")?.split_once('/')?;
            Some(name.to_owned())
        });
        names.collect()
    };
    is_fixtures(kernel) || VERSIONED.get_or_init(listed).contains(kernel)
}

/// What crate `kernel` has by hand.
pub fn generated_sources() -> PathBuf {
    root().join("generated/src")
}

/// What bindings were made from: `target/generated`.
pub fn stamps() -> PathBuf {
    root().join("target/generated")
}

/// In which dumps kernels were met: `target/seen.json`.
pub fn seen() -> PathBuf {
    root().join("target/seen.json")
}

/// The bindings of what analyzers use of a kernel: what they are compiled against.
pub fn selected(kernel: &str) -> PathBuf {
    root().join("target/selected").join(kernel)
}

/// Where cargo builds for a kernel: each has a target directory of its own, so that switching costs nothing.
pub fn target(kernel: &str) -> PathBuf {
    root().join("target/kernels").join(kernel)
}

/// Where a kernel's finished analyzers are.
pub fn binaries(kernel: &str) -> PathBuf {
    root().join("target/analyzers").join(kernel)
}

/// The fixture's sources, and what is built from them: `tests/fixture`.
pub fn fixture() -> PathBuf {
    root().join("tests/fixture")
}

/// Where the fixture is compiled and linked: `target/fixture`.
pub fn fixture_build() -> PathBuf {
    root().join("target/fixture")
}

/// The fixture's kernel with its debug information.
pub fn fixture_vmlinux() -> PathBuf {
    fixture().join("vmlinux-2.6.9")
}

/// The fixture's modules, where `gen` looks for those of a vmlinux.
pub fn fixture_modules() -> PathBuf {
    fixture().join("modules-debug")
}

/// The fixture's dump.
pub fn fixture_vmcore() -> PathBuf {
    fixture().join("vmcore-2.6.9")
}

/// The versions of the tools that built the committed fixture.
pub fn fixture_built_with() -> PathBuf {
    fixture().join("BUILT_WITH")
}

/// Where `cargo xtask bench` puts what it makes, and removes it.
pub fn bench() -> PathBuf {
    root().join("target/bench")
}

/// The scripts that do an analyzer's work with drgn.
pub fn bench_scripts() -> PathBuf {
    root().join("xtask/bench")
}

//! The programs that the lab runs, and the Debian packages that bring them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::target::Target;

/// Each program with the package that has it.
const NEEDED: &[(&str, &str)] = &[
    ("apt-cache", "apt"),
    ("apt-get", "apt"),
    ("bpftool", "bpftool"),
    ("bridge", "iproute2"),
    ("busybox", "busybox-static"),
    ("depmod", "kmod"),
    ("dpkg-deb", "dpkg"),
    ("gcc", "gcc"),
    ("ip", "iproute2"),
    ("ldd", "libc-bin"),
    ("lsns", "util-linux"),
    ("makedumpfile", "makedumpfile"),
    ("nft", "nftables"),
    ("nstat", "iproute2"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("setpriv", "util-linux"),
    ("ss", "iproute2"),
    ("tar", "tar"),
    ("tc", "iproute2"),
    ("xtables-legacy-multi", "iptables"),
    ("xz", "xz-utils"),
];

/// Names every missing program in one message, with the one command that brings them all.
pub fn check(target: &Target) -> Result<()> {
    let foreign = [target.qemu, target.compiler, ("readelf", "binutils")];
    let foreign: &[_] = if target.is_own() { &[] } else { &foreign };
    let missing: Vec<_> = NEEDED
        .iter()
        .chain(foreign)
        .filter(|(program, _)| find(program).is_none())
        .collect();
    let mut packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    let mut names: Vec<_> = missing
        .iter()
        .map(|(program, _)| program.to_string())
        .collect();
    if find("busybox").is_some_and(|path| !is_static(&path)) {
        names.push("a static busybox".into());
        packages.push("busybox-static");
    }
    if find("gcc").is_some() && !has_static_libc() {
        names.push("libc.a".into());
        packages.push("libc6-dev");
    }
    packages.sort_unstable();
    packages.dedup();
    if !names.is_empty() {
        bail!(
            "the lab needs {}, not found on this machine; install: apt-get update && apt-get install -y {}",
            names.join(", "),
            packages.join(" ")
        );
    }
    Ok(())
}

/// Where a program lies. The folders for administrators count although a user's `PATH` may lack them.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// A command for a program that [`check`] has found.
pub fn command(program: &str) -> Command {
    let mut command = Command::new(find(program).unwrap_or_else(|| program.into()));
    command.stdin(Stdio::null());
    command
}

/// Runs a command to its end and returns what it printed; its error output goes into the error.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output = command
        .output()
        .with_context(|| format!("can't run {shown}"))?;
    if !output.status.success() {
        bail!(
            "{shown}: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Debian's dynamically linked busybox would not run in a guest without libraries: it names an interpreter.
fn is_static(program: &Path) -> bool {
    output(command("ldd").arg(program)).is_err()
}

fn has_static_libc() -> bool {
    output(command("gcc").arg("-print-file-name=libc.a"))
        .is_ok_and(|path| path.trim().starts_with('/'))
}

//! The crowd's guest: one C program as PID 1, servers with 20,000 TCP connections (`xtask/lab/crowd`).

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::initramfs::{Root, plain_module};
use super::packages::Package;
use super::target::Target;
use super::{programs, recipe};

/// For the disk and the clients; the last one is by what QEMU is told where VMCOREINFO is.
const MODULES: [&str; 4] = ["virtio_pci", "virtio_blk", "tun", "qemu_fw_cfg"];

/// Writes the guest's root to `file`; `scratch` takes what is compiled on the way.
pub fn write_initramfs(
    package: &Package,
    target: &Target,
    scratch: &Path,
    file: &Path,
) -> Result<()> {
    let mut root = Root::default();
    let init = scratch.join("crowd");
    programs::output(
        programs::command(target.compiler.0)
            .args(["-O1", "-g", "-static", "-w", "-o"])
            .arg(&init)
            .arg(crate::paths::lab_crowd().join("crowd.c")),
    )?;
    root.copy(&init, "init")?;
    let mut load = String::new();
    let modules = MODULES.map(|name| (name.to_owned(), String::new()));
    for module in package.module_files(&modules)? {
        let path = format!("modules/{}.ko", recipe::module_name(&module));
        root.file(&path, 0o644, plain_module(&module)?);
        load += &format!("/{path}\n");
    }
    root.file("modules.load", 0o644, load.into_bytes());
    std::fs::write(file, root.archive()).with_context(|| format!("can't write {}", file.display()))
}

/// Writes the files that the guest left on its disk, each behind a line with its name and length, into `truth`: `sick`, what was
/// made sick, by the rule that is to find it; `tcp`, `tcp6`, `sockstat` as in /proc/net; `system/cpuinfo`.
pub fn unpack(disk: &Path, truth: &Path) -> Result<()> {
    let bytes = std::fs::read(disk).with_context(|| format!("can't read {}", disk.display()))?;
    std::fs::create_dir_all(truth.join("system"))?;
    let mut rest = &bytes[..];
    loop {
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            bail!("what the guest wrote to its disk has no end");
        };
        let line = String::from_utf8_lossy(&rest[..end]);
        let words: Vec<&str> = line.split(' ').collect();
        let ["LABFILE", name, length] = words[..] else {
            bail!("the guest's disk has {line:?} where a file begins");
        };
        if name == "end" {
            return Ok(());
        }
        let length: usize = length.parse()?;
        let text = rest
            .get(end + 1..end + 1 + length)
            .with_context(|| format!("{name} is longer than the guest's disk"))?;
        let path = match name {
            "cpuinfo" => truth.join("system").join(name),
            _ => truth.join(name),
        };
        std::fs::write(path, text)?;
        rest = &rest[end + 1 + length..];
    }
}

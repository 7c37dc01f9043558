//! The guest's root: busybox, the host's own ip, tc, ss, nft and iptables with their libraries, the modules, labd, the scripts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::how::CRASH_PARAMETERS;
use super::packages::Package;
use super::target::Target;
use super::{programs, recipe, sysroot};

/// What busybox does in the guest under its own name.
const APPLETS: &[&str] = &[
    "sh", "mount", "umount", "cat", "ls", "ps", "sleep", "mkdir", "hostname", "insmod", "basename",
    "cut", "tr", "ping", "dmesg", "uname", "date", "kill", "stat", "grep", "sed", "head", "tail",
    "awk", "ln", "rm", "lsmod", "find", "wc", "touch", "echo",
];

/// Programs that come from the host, with the libraries that they name.
const HOST_PROGRAMS: &[&str] = &[
    "bridge",
    "ip",
    "lsns",
    "nft",
    "nstat",
    "ss",
    "tc",
    "xtables-legacy-multi",
];

/// Sources of labd, which is compiled and not copied.
const C_SOURCES: &[&str] = &[
    "labd.c",
    "sockets.c",
    "sockets2.c",
    "rare.c",
    "processes.c",
    "wireguard.c",
    "crash.c",
    "recorder.c",
];

/// Scripts and rules that init finds in `/etc/lab`.
const SCRIPTS: &[&str] = &[
    "network",
    "routes2",
    "devices2",
    "rare",
    "rare.nft",
    "processes",
    "traffic",
    "sockets2",
    "tools",
    "tools-sockets",
    "tools-routes",
    "tools-rare",
    "tools-system",
    "system2",
    "tools2",
    "live",
    "rules.nft",
    "closing.nft",
    "freeze.nft",
    "netfilter2",
    "netfilter2-rules",
    "netfilter2.nft",
    "netfilter2.lines",
];

/// The module whose signature is broken, so that it taints the kernel.
const UNSIGNED: &str = "act_sample";
/// What a signed module ends with (include/linux/module_signature.h).
const SIGNED: &[u8] = b"~Module signature appended~\n";

/// What a guest has besides.
pub enum Aboard {
    Nothing,
    /// The same kernel once more, with a root of its own that copies /proc/vmcore.
    CrashKernel,
    /// Analyzers for this kernel.
    Analyzers(Vec<PathBuf>),
}

/// Writes the initramfs for `package` to `file`; `scratch` takes what is compiled on the way. Programs come from `sysroot`,
/// or from the host itself.
pub fn write(
    package: &Package,
    modules: &[(String, String)],
    target: &Target,
    sysroot: Option<&Path>,
    aboard: &Aboard,
    scratch: &Path,
    file: &Path,
) -> Result<()> {
    let mut root = Root::default();
    let guest = crate::paths::lab_guest();
    match aboard {
        Aboard::Nothing => {}
        Aboard::CrashKernel => {
            root.copy(&package.vmlinuz(), "crash/kernel")?;
            let crash_root = crash_root(package)?;
            root.file("crash/initramfs", 0o644, crash_root.archive());
            root.file("crash/parameters", 0o644, CRASH_PARAMETERS.into());
        }
        Aboard::Analyzers(programs) => {
            for program in programs {
                let name = program.file_name().unwrap_or_default().to_string_lossy();
                root.copy_program(program, &format!("live/{name}"))?;
            }
        }
    }

    let program = |name: &str| match sysroot {
        Some(sysroot) => sysroot::program(sysroot, name),
        None => program(name),
    };
    root.copy(&program("busybox")?, "bin/busybox")?;
    for applet in APPLETS {
        root.link(&format!("bin/{applet}"), "busybox");
    }
    let labd = scratch.join("labd");
    let sources = C_SOURCES.iter().map(|source| guest.join(source));
    programs::output(
        programs::command(target.compiler.0)
            .args(["-O1", "-g", "-static", "-pthread", "-w", "-o"])
            .arg(&labd)
            .args(sources),
    )?;
    root.copy(&labd, "bin/labd")?;
    match target.before_init {
        None => root.copy(&guest.join("init"), "init")?,
        Some(before) => {
            root.copy(&guest.join("init"), "etc/lab/init")?;
            // /dev is the same file system whenever it is mounted.
            let script =
                format!("#!/bin/sh\nmount -t devtmpfs dev /dev\n{before}\nexec /etc/lab/init\n");
            root.file("init", 0o755, script.into_bytes());
        }
    }
    for script in SCRIPTS {
        root.copy(&guest.join(script), &format!("etc/lab/{script}"))?;
    }

    for name in HOST_PROGRAMS {
        let source = program(name)?;
        let folder = if ["lsns", "nstat", "ss"].contains(name) {
            "usr/bin"
        } else {
            "usr/sbin"
        };
        root.copy(&source, &format!("{folder}/{name}"))?;
        if let Some(sysroot) = sysroot {
            for (library, file) in sysroot::libraries(sysroot, target.triplet, &source)? {
                root.copy(&file, &library.to_string_lossy())?;
            }
            continue;
        }
        root.copy_libraries(&source)?;
    }
    for name in [
        "iptables-legacy",
        "iptables-legacy-restore",
        "iptables-legacy-save",
        "ip6tables-legacy",
        "ip6tables-legacy-restore",
        "ip6tables-legacy-save",
    ] {
        root.link(&format!("usr/sbin/{name}"), "xtables-legacy-multi");
    }
    // iptables loads its matches and targets from here; tc its delay distributions and a few qdiscs.
    let base = sysroot.unwrap_or(Path::new("/"));
    let xtables = format!("usr/lib/{}/xtables", target.triplet);
    for folder in [&xtables, "usr/lib/xtables", "usr/lib/tc", "etc/iproute2"] {
        root.copy_folder(base, folder)?;
    }
    for table in ["etc/protocols", "etc/services"] {
        if base.join(table).is_file() {
            root.copy(&base.join(table), table)?;
        }
    }
    root.file(
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\n".to_vec(),
    );
    root.file("etc/group", 0o644, b"root:x:0:\n".to_vec());

    let parameters: BTreeMap<_, _> = modules
        .iter()
        .map(|(name, parameters)| (name.replace('-', "_"), parameters.as_str()))
        .collect();
    let mut load = String::new();
    for module in package.module_files(modules)? {
        let name = recipe::module_name(&module);
        let mut contents = plain_module(&module)?;
        if name == UNSIGNED {
            let length = contents.strip_suffix(SIGNED).unwrap_or(&contents).len();
            contents.truncate(length);
        }
        root.file(&format!("modules/{name}.ko"), 0o644, contents);
        load += format!("{name}.ko {}", parameters.get(&name).unwrap_or(&"")).trim_end();
        load.push('\n');
    }
    root.file("etc/lab/modules.load", 0o644, load.into_bytes());

    for folder in ["proc", "sys", "dev", "tmp", "run", "mnt", "root", "var"] {
        root.folders(&format!("{folder}/x"));
    }
    std::fs::write(file, root.archive()).with_context(|| format!("can't write {}", file.display()))
}

/// The crash kernel's root. It is small: it shares what memory the crash kernel has.
fn crash_root(package: &Package) -> Result<Root> {
    let mut root = Root::default();
    root.copy(&program("busybox")?, "bin/busybox")?;
    for applet in ["sh", "mount", "insmod", "dd", "stat", "sleep"] {
        root.link(&format!("bin/{applet}"), "busybox");
    }
    root.copy(&crate::paths::lab_guest().join("crash-init"), "init")?;
    let modules = ["virtio_pci", "virtio_blk"].map(|name| (name.to_owned(), String::new()));
    let mut load = String::new();
    for module in package.module_files(&modules)? {
        let name = recipe::module_name(&module);
        root.file(&format!("modules/{name}.ko"), 0o644, plain_module(&module)?);
        load += &format!("{name}.ko\n");
    }
    root.file("modules.load", 0o644, load.into_bytes());
    for folder in ["proc", "dev"] {
        root.folders(&format!("{folder}/x"));
    }
    Ok(root)
}

fn program(name: &str) -> Result<PathBuf> {
    programs::find(name).with_context(|| format!("{name} is not on this machine"))
}

/// The shared libraries and the loader that `ldd` names.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let text = programs::output(programs::command("ldd").arg(program))?;
    if let Some(line) = text.lines().find(|line| line.contains("not found")) {
        bail!("{} can't run here: {}", program.display(), line.trim());
    }
    Ok(text
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect())
}

/// 6.12 ships modules as `.ko.xz`, 6.1 as `.ko`; busybox's insmod wants them plain.
pub fn plain_module(file: &Path) -> Result<Vec<u8>> {
    if file.extension().is_some_and(|extension| extension == "xz") {
        let output = programs::command("xz").arg("-dc").arg(file).output()?;
        if !output.status.success() {
            bail!("xz can't decompress {}", file.display());
        }
        return Ok(output.stdout);
    }
    std::fs::read(file).with_context(|| format!("can't read {}", file.display()))
}

/// A tree of files by path without the first slash; the map's order puts a folder before what is in it.
#[derive(Default)]
pub struct Root(BTreeMap<String, (u32, Vec<u8>)>);

impl Root {
    pub fn file(&mut self, path: &str, permissions: u32, bytes: Vec<u8>) {
        self.folders(path);
        self.0.insert(path.into(), (0o100_000 | permissions, bytes));
    }

    fn link(&mut self, path: &str, target: &str) {
        self.folders(path);
        self.0.insert(path.into(), (0o120_777, target.into()));
    }

    fn folders(&mut self, path: &str) {
        for (at, _) in path.match_indices('/') {
            self.0
                .entry(path[..at].into())
                .or_insert((0o040_755, Vec::new()));
        }
    }

    /// Everything is executable: a program's libraries, too, must be.
    pub fn copy(&mut self, source: &Path, path: &str) -> Result<()> {
        let bytes =
            std::fs::read(source).with_context(|| format!("can't read {}", source.display()))?;
        self.file(path, 0o755, bytes);
        Ok(())
    }

    /// Copies a program of the host, and the libraries that it names.
    fn copy_program(&mut self, source: &Path, path: &str) -> Result<()> {
        self.copy(source, path)?;
        self.copy_libraries(source)
    }

    fn copy_libraries(&mut self, program: &Path) -> Result<()> {
        for library in libraries(program)? {
            let path = library
                .to_string_lossy()
                .trim_start_matches('/')
                .to_string();
            self.copy(&library, &path)?;
        }
        Ok(())
    }

    /// Copies the files right in a folder below `base` to the same path; a folder that isn't there has none.
    fn copy_folder(&mut self, base: &Path, folder: &str) -> Result<()> {
        for entry in std::fs::read_dir(base.join(folder)).into_iter().flatten() {
            let entry = entry?;
            let path = entry.path();
            if path.is_file() {
                let name = entry.file_name();
                self.copy(&path, &format!("{folder}/{}", name.to_string_lossy()))?;
            }
        }
        Ok(())
    }

    /// The tree in cpio's `newc` format (Documentation/driver-api/early-userspace/buffer-format.rst), not compressed:
    /// the emulated CPU would take longer to unpack it than to read it.
    pub fn archive(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, (path, (mode, bytes))) in self.0.iter().enumerate() {
            entry(&mut out, number + 1, path, *mode, bytes);
        }
        entry(&mut out, 0, "TRAILER!!!", 0, &[]);
        out
    }
}

fn entry(out: &mut Vec<u8>, inode: usize, path: &str, mode: u32, bytes: &[u8]) {
    let name_size = path.len() + 1;
    let header = format!(
        "070701{inode:08x}{mode:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{}",
        0,
        0,
        1,
        0,
        bytes.len(),
        "00000000".repeat(4)
    );
    out.extend(header.as_bytes());
    out.extend(format!("{name_size:08x}{:08x}{path}\0", 0).as_bytes());
    pad(out);
    out.extend(bytes);
    pad(out);
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_is_newc() {
        let mut root = Root::default();
        root.file("bin/a", 0o755, b"hello".to_vec());
        root.link("bin/b", "a");
        let archive = root.archive();
        assert_eq!(archive.len() % 4, 0);
        // Header of 110 bytes, "bin\0": the folder comes first.
        assert_eq!(&archive[..14], b"07070100000001");
        assert_eq!(&archive[14..22], b"000041ed");
        assert_eq!(&archive[94..102], b"00000004");
        assert_eq!(&archive[110..114], b"bin\0");
        let text = String::from_utf8_lossy(&archive);
        assert_eq!(text.matches("070701").count(), 4);
        assert!(text.ends_with("TRAILER!!!\0\0\0\0") || text.contains("TRAILER!!!\0"));
    }
}

//! What makes two machines the same machine: the guest's sources and the parameters that it is booted with.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Counts up when the lab's own code starts to make machines or truth differently.
const VERSION: u32 = 1;

/// Every file of a guest's folder (`xtask/lab/guest`), sorted by name.
pub fn guest_sources(folder: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut sources = Vec::new();
    for entry in
        std::fs::read_dir(folder).with_context(|| format!("can't list {}", folder.display()))?
    {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        sources.push((
            name,
            std::fs::read(&path).with_context(|| format!("can't read {}", path.display()))?,
        ));
    }
    sources.sort();
    Ok(sources)
}

/// Eight hexadecimal digits that change when a guest source or one of `parameters` does.
pub fn key(sources: &[(String, Vec<u8>)], parameters: &[String]) -> String {
    let mut hash = Fnv::new();
    hash.field(&VERSION.to_le_bytes());
    for (name, bytes) in sources {
        hash.field(name.as_bytes());
        hash.field(bytes);
    }
    for parameter in parameters {
        hash.field(parameter.as_bytes());
    }
    format!("{:08x}", (hash.0 >> 32) ^ (hash.0 & 0xffff_ffff))
}

/// The modules that the guest loads and their parameters, from the text of `xtask/lab/guest/modules`.
pub fn modules(text: &str) -> Vec<(String, String)> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (name, parameters) = line.split_once(' ').unwrap_or((line, ""));
            (name.to_string(), parameters.trim().to_string())
        })
        .collect()
}

/// A kernel's modules by name, each with the files to load for it, dependencies first; from `modules.dep`.
pub struct Dependencies {
    folder: PathBuf,
    text: String,
}

impl Dependencies {
    /// Reads the `modules.dep` that depmod has written into `folder`.
    pub fn read(folder: &Path) -> Result<Self> {
        let file = folder.join("modules.dep");
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("can't read {}", file.display()))?;
        Ok(Self {
            folder: folder.into(),
            text,
        })
    }

    /// The files to load for a module in their order; none if the kernel has it built in, or does not have it.
    pub fn load_order(&self, module: &str) -> Vec<PathBuf> {
        for line in self.text.lines() {
            let Some((file, needs)) = line.split_once(':') else {
                continue;
            };
            if module_name(Path::new(file)) == module.replace('-', "_") {
                let mut order: Vec<_> = needs
                    .split_whitespace()
                    .rev()
                    .map(|need| self.folder.join(need))
                    .collect();
                order.push(self.folder.join(file));
                return order;
            }
        }
        Vec::new()
    }
}

/// `veth` for `kernel/drivers/net/veth.ko.xz`; dashes become underscores, as in the kernel's own list.
pub fn module_name(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.split('.').next().unwrap_or_default().replace('-', "_")
}

/// FNV-1a: the standard library's hashes may change from release to release, and a cache outlives one.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// The length goes in first, so that two fields never run into each other.
    fn field(&mut self, bytes: &[u8]) {
        for byte in (bytes.len() as u64).to_le_bytes().iter().chain(bytes) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_changes_with_everything_that_matters() {
        let sources = vec![("init".to_string(), b"ab".to_vec())];
        let base = key(&sources, &["-smp 2".into()]);
        assert_eq!(base.len(), 8);
        assert_eq!(base, key(&sources, &["-smp 2".into()]));
        assert_ne!(base, key(&sources, &["-smp 3".into()]));
        assert_ne!(
            base,
            key(&[("inita".to_string(), b"b".to_vec())], &["-smp 2".into()])
        );
        assert_ne!(base, key(&[], &["-smp 2".into()]));
    }

    #[test]
    fn module_lists_and_dependencies() {
        assert_eq!(
            modules("# a comment\nveth\n\n dummy numdummies=0\n"),
            [
                ("veth".to_string(), String::new()),
                ("dummy".to_string(), "numdummies=0".to_string())
            ]
        );
        let dependencies = Dependencies {
            folder: "/m".into(),
            text: "kernel/net/bridge/bridge.ko.xz: kernel/net/802/stp.ko.xz kernel/net/llc/llc.ko.xz\nkernel/x/a-b.ko:\n".into(),
        };
        let order = dependencies.load_order("bridge");
        let names: Vec<_> = order.iter().map(|path| module_name(path)).collect();
        assert_eq!(names, ["llc", "stp", "bridge"]);
        assert_eq!(
            dependencies.load_order("a_b"),
            [PathBuf::from("/m/kernel/x/a-b.ko")]
        );
        assert!(dependencies.load_order("ext4").is_empty());
    }
}

//! In which dumps which kernels were met: `target/seen.json`, which `run` writes.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::stamp::Lock;
use crate::{paths, stamp};

/// So many dumps are remembered, those that were looked at last.
const MOST: usize = 1000;

/// A dump, and which kernel it is of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// The first of its files.
    pub core: PathBuf,
    /// The name that its kernel's bindings have, or would have.
    pub kernel: String,
    /// As the dump says.
    pub release: Option<String>,
    pub build_id: Option<String>,
    /// When it was last looked at, in seconds since 1970.
    pub last: u64,
}

impl Seen {
    /// Whether the dump is still there. What is behind the last `@` of a raw image's name is its address.
    pub fn is_there(&self) -> bool {
        let name = self.core.to_string_lossy();
        let image = name.rsplit_once('@').map(|(image, _)| image);
        self.core.exists() || image.is_some_and(|image| Path::new(image).exists())
    }
}

/// All that are remembered, the newest first.
pub fn all() -> Vec<Seen> {
    stamp::read(&paths::seen()).unwrap_or_default()
}

/// Remembers a dump. That this may fail is no reason not to analyze it.
pub fn record(core: &Path, kernel: &str, release: Option<&str>, build_id: Option<&str>) {
    // The running kernel is in no dump.
    if core == Path::new(kstruct::KCORE) {
        return;
    }
    let seen = Seen {
        core: core.canonicalize().unwrap_or_else(|_| core.to_owned()),
        kernel: kernel.to_owned(),
        release: release.map(str::to_owned),
        build_id: build_id.map(str::to_owned),
        last: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |it| it.as_secs()),
    };
    if let Err(error) = add(&paths::seen(), seen) {
        eprintln!("{error:#}");
    }
}

fn add(path: &Path, new: Seen) -> anyhow::Result<()> {
    let _lock = Lock::take(&path.with_extension("lock"))?;
    let mut all: Vec<Seen> = stamp::read(path).unwrap_or_default();
    all.retain(|old| old.core != new.core);
    all.insert(0, new);
    all.truncate(MOST);
    stamp::write(path, &all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dumps_that_are_gone_are_not_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| Seen {
            core: folder.path().join(name),
            kernel: String::new(),
            release: None,
            build_id: None,
            last: 0,
        };
        std::fs::write(folder.path().join("memory"), "").expect("it can be written");
        assert!(at("memory").is_there() && at("memory@100000").is_there());
        assert!(!at("gone").is_there() && !at("gone@0").is_there());
    }

    #[test]
    fn a_dump_is_remembered_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("seen.json");
        let seen = |core: &str, kernel: &str, last| Seen {
            core: core.into(),
            kernel: kernel.to_owned(),
            release: None,
            build_id: None,
            last,
        };
        let (first, second) = (seen("/a", "6.1", 1), seen("/b", "6.1", 2));
        add(&path, first.clone()).expect("it can be written");
        add(&path, second.clone()).expect("it can be written");
        let read = || stamp::read::<Vec<Seen>>(&path).expect("it is there");
        assert_eq!(read(), [second.clone(), first]);
        // Another dump lies there now.
        let again = seen("/a", "6.12", 3);
        add(&path, again.clone()).expect("it can be written");
        assert_eq!(read(), [again, second]);
    }
}

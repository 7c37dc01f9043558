//! A new kernel's target directory, begun with what another kernel's has, or with what xtask itself was built from: the crates that know no
//! kernel need not be compiled again.

use std::fs::{self, File, FileTimes};
use std::io;
use std::path::{Path, PathBuf};

use crate::paths;

/// Files of this size and more are linked, not copied: cargo replaces libraries and programs, and writes into small files.
const LINKED: u64 = 64 << 10;

/// Fills a target directory that has nothing yet from the one beside it that was used last, or the first one from xtask's own. What goes wrong costs time,
/// and nothing else: cargo compiles what is missing.
pub fn target(target: &Path) {
    let release = target.join("release");
    if release.exists() {
        return;
    }
    let donor = last_used_beside(target).unwrap_or_else(paths::own_release);
    let partial = target.join("release.partial");
    let _ = fs::remove_dir_all(&partial);
    let filled = copy(&donor, &partial).and_then(|()| fs::rename(&partial, &release));
    if filled.is_err() {
        let _ = fs::remove_dir_all(&partial);
    }
}

/// The `release` folder of the kernel that was built last.
fn last_used_beside(target: &Path) -> Option<PathBuf> {
    fs::read_dir(target.parent()?)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path().join("release")))
        .filter_map(|release| {
            let used = release.join(".fingerprint").metadata().ok()?.modified();
            Some((used.ok()?, release))
        })
        .max()
        .map(|(_, release)| release)
}

/// Copies a folder with the times of its files, by which cargo knows what is fresh.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, copy) = (entry.path(), to.join(entry.file_name()));
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            self::copy(&source, &copy)?;
        } else if metadata.len() < LINKED || fs::hard_link(&source, &copy).is_err() {
            fs::copy(&source, &copy)?;
            let times = FileTimes::new().set_modified(metadata.modified()?);
            File::options().write(true).open(&copy)?.set_times(times)?;
        }
    }
    Ok(())
}

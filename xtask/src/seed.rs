//! A new kernel's target directory, begun with what another kernel's has, or with what xtask itself was built from: the crates that know no
//! kernel need not be compiled again.

use std::fs::{self, File, FileTimes};
use std::io;
use std::path::{Path, PathBuf};

use crate::paths;

/// Files of this size and more are linked, not copied: cargo replaces libraries and programs, and writes into small files.
const LINKED: u64 = 64 << 10;

/// Fills a target directory that has nothing yet of a profile (`release`, or `debug`, as cargo calls its folder) from the one beside it that was
/// used last, or the first one from xtask's own, which is a release. What goes wrong costs time, and nothing else: cargo compiles what is missing.
pub fn target(target: &Path, profile: &str) {
    let folder = target.join(profile);
    if folder.exists() {
        return;
    }
    let own = || (profile == "release").then(paths::own_release);
    let Some(donor) = last_used_beside(target, profile).or_else(own) else {
        return;
    };
    let partial = target.join(format!("{profile}.partial"));
    let _ = fs::remove_dir_all(&partial);
    let filled = copy(&donor, &partial).and_then(|()| fs::rename(&partial, &folder));
    if filled.is_err() {
        let _ = fs::remove_dir_all(&partial);
    }
}

/// The folder of that profile of the kernel that was built last.
fn last_used_beside(target: &Path, profile: &str) -> Option<PathBuf> {
    fs::read_dir(target.parent()?)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path().join(profile)))
        .filter_map(|folder| {
            let used = folder.join(".fingerprint").metadata().ok()?.modified();
            Some((used.ok()?, folder))
        })
        .max()
        .map(|(_, folder)| folder)
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

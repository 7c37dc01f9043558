//! Putting files where they belong: written only where they differ, and nothing left over from before.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::emit::Files;

/// What [`write()`] did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Files that were as they should be.
    pub same: usize,
    /// Files that were written, or would be.
    pub changed: Vec<PathBuf>,
    /// Files that don't belong there any more, and were removed, or would be.
    pub stale: Vec<PathBuf>,
}

impl Written {
    /// Whether there was nothing to do.
    pub fn is_fresh(&self) -> bool {
        self.changed.is_empty() && self.stale.is_empty()
    }
}

/// Makes `directory` hold exactly these files. With `check`, only says what would be done.
pub fn write(directory: &Path, files: &Files, check: bool) -> Result<Written, Error> {
    let mut written = Written::default();
    let mut expected = BTreeSet::new();
    for (name, text) in files {
        let path = directory.join(name);
        expected.insert(path.clone());
        if fs::read(&path).is_ok_and(|old| old == text.as_bytes()) {
            written.same += 1;
            continue;
        }
        if !check {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(io(parent))?;
            }
            fs::write(&path, text).map_err(io(&path))?;
        }
        written.changed.push(path);
    }
    let mut present = Vec::new();
    list(directory, &mut present)?;
    for path in present {
        if !expected.contains(&path) {
            if !check {
                fs::remove_file(&path).map_err(io(&path))?;
            }
            written.stale.push(path);
        }
    }
    Ok(written)
}

fn list(directory: &Path, out: &mut Vec<PathBuf>) -> Result<(), Error> {
    if !directory.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(directory).map_err(io(directory))? {
        let entry = entry.map_err(io(directory))?;
        if entry.file_type().map_err(io(directory))?.is_dir() {
            list(&entry.path(), out)?;
        } else {
            out.push(entry.path());
        }
    }
    Ok(())
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, source }
}

//! Putting files where they belong: written only where they differ, and nothing left over from before.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::emit::{Files, HEADER};

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
    if !is_ours(directory)? {
        return Err(Error::NotBindings {
            path: directory.to_owned(),
        });
    }
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
        if !expected.contains(&path) && is_generated(&path) {
            if !check {
                fs::remove_file(&path).map_err(io(&path))?;
            }
            written.stale.push(path);
        }
    }
    Ok(written)
}

/// Whether a folder holds bindings, or nothing at all.
fn is_ours(directory: &Path) -> Result<bool, Error> {
    if !directory.exists() {
        return Ok(true);
    }
    let is_empty = fs::read_dir(directory)
        .map_err(io(directory))?
        .next()
        .is_none();
    let index = fs::read(directory.join("index.json")).unwrap_or_default();
    Ok(is_empty || index.starts_with(b"{\"kernel\":"))
}

/// Whether a file is one that the generator wrote.
fn is_generated(path: &Path) -> bool {
    fs::read(path).is_ok_and(|text| text.starts_with(HEADER.as_bytes()))
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
    move |error| Error::Io { path, error }
}

//! Putting files where they belong: written only where they differ, and nothing left over from before.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::emit::{Files, HEADER};

/// The file that makes a folder one of bindings: it is written last.
const INDEX: &str = "index.json";
/// The file of [`crate::emit::table`].
const TABLE: &str = "types.bin";
/// Files of bindings that don't say in their first line what wrote them.
const TEXTS: &[&str] = &[INDEX, TABLE, "names.txt", "functions.txt"];

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

/// Makes `directory` hold exactly these files, and the table of types. With `check`, only says what would be done.
pub fn write(directory: &Path, files: &Files, table: &[u8], check: bool) -> Result<Written, Error> {
    if !is_ours(directory)? {
        return Err(Error::NotBindings {
            path: directory.to_owned(),
        });
    }
    let mut written = Written::default();
    let mut expected = BTreeSet::new();
    let mut differing = Vec::new();
    let texts = files.iter().map(|(name, text)| (&**name, text.as_bytes()));
    for (name, bytes) in texts.chain([(TABLE, table)]) {
        let path = directory.join(name);
        expected.insert(path.clone());
        if fs::read(&path).is_ok_and(|old| old == bytes) {
            written.same += 1;
        } else {
            differing.push((path.clone(), bytes));
            written.changed.push(path);
        }
    }
    if !check && !differing.is_empty() {
        // Without an index they are no bindings: what an interrupted run leaves is made anew.
        let index = directory.join(INDEX);
        if index.exists() {
            fs::remove_file(&index).map_err(io(&index))?;
        }
        differing.retain(|(path, _)| *path != index);
        differing.extend(files.get(INDEX).map(|text| (index, text.as_bytes())));
        for (path, bytes) in differing {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(io(parent))?;
            }
            fs::write(&path, bytes).map_err(io(&path))?;
        }
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

/// Whether a folder holds bindings, or what an interrupted run left of them, or nothing at all.
fn is_ours(directory: &Path) -> Result<bool, Error> {
    if fs::read(directory.join(INDEX)).is_ok_and(|index| index.starts_with(b"{\"kernel\":")) {
        return Ok(true);
    }
    let mut present = Vec::new();
    list(directory, &mut present)?;
    let is_text = |path: &PathBuf| TEXTS.iter().any(|name| *path == directory.join(name));
    let belongs = |path: &PathBuf| is_generated(path) || is_text(path) || is_empty(path);
    // Rust comes first, so of an interrupted run there is some.
    let has_any =
        present.iter().all(|path| is_empty(path)) || present.iter().any(|path| is_generated(path));
    Ok(has_any && present.iter().all(belongs))
}

/// Whether a file was made, and nothing written to it yet.
fn is_empty(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Files {
        let rust = format!("{HEADER}x`.\n");
        [
            ("constants.rs".into(), rust.clone()),
            (INDEX.into(), "{\"kernel\":1}".into()),
            ("mod.rs".into(), rust),
            ("names.txt".into(), "a\n".into()),
        ]
        .into()
    }

    /// Whatever a run left when it was killed, the next one makes bindings of it.
    #[test]
    fn what_an_interrupted_run_left_is_made_anew() {
        for kept in 0..4 {
            let folder = tempfile::tempdir().expect("a folder");
            let folder = folder.path();
            write(folder, &files(), b"", false).expect("it is empty");
            let order = ["constants.rs", "mod.rs", "names.txt", INDEX];
            for name in &order[kept..] {
                fs::remove_file(folder.join(name)).expect("it is there");
            }
            fs::write(folder.join(order[kept]), "").expect("as if it was just made");
            let written = write(folder, &files(), b"", false).expect("it is what a run left");
            assert_eq!(written.changed.len(), 4 - kept);
            assert!(
                write(folder, &files(), b"", true)
                    .expect("it is ours")
                    .is_fresh()
            );
        }
    }

    #[test]
    fn what_somebody_else_has_is_left_alone() {
        for name in ["notes.txt", "names.txt", "lib.rs"] {
            let folder = tempfile::tempdir().expect("a folder");
            fs::write(folder.path().join(name), "mine").expect("it can be written");
            assert!(
                write(folder.path(), &files(), b"", false).is_err(),
                "{name}"
            );
            let left = fs::read_dir(folder.path()).expect("it is there").count();
            assert_eq!(left, 1);
        }
    }
}

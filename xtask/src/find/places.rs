//! Where kernels' debug information lies: by release, and by build id.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::paths;

/// The variable with folders that are looked into before the system's, separated by colons: like gdb's `debug-file-directory`.
pub const DEBUG_PATH: &str = "KSTRUCT_DEBUG_PATH";

/// Where debug packages put things, below the top of their tree.
const DEBUG: &str = "usr/lib/debug";

/// In a tree of debug information; `*` stands for the release. Debian and Ubuntu, Fedora and RHEL, SUSE before and since /usr was merged,
/// and folders that people fill themselves.
const IN_DEBUG: &[&str] = &[
    "boot/vmlinux-*",
    "lib/modules/*/vmlinux",
    "usr/lib/modules/*/vmlinux",
    "boot/vmlinux-*.debug",
    "lib/modules/*/vmlinux.debug",
    "usr/lib/modules/*/vmlinux.debug",
    "vmlinux-*",
    "*/vmlinux",
];

/// What is no debug package and may have debug information all the same, or a debug file that is found by it: SUSE's and Arch's
/// packages, and kernels that somebody built here.
const IN_SYSTEM: &[&str] = &[
    "boot/vmlinux-*",
    "boot/vmlinux-*.gz",
    "boot/vmlinux-*.xz",
    "boot/vmlinux-*.zst",
    "usr/lib/modules/*/vmlinux",
    "usr/lib/modules/*/vmlinux.xz",
    "usr/lib/modules/*/vmlinux.zst",
    "lib/modules/*/vmlinux",
    "lib/modules/*/build/vmlinux",
];

/// What stands behind a release in the names of files, and is no part of it.
pub const ENDINGS: &[&str] = &[".debug", ".gz", ".xz", ".zst"];

/// Files like these in one folder.
struct Shelf {
    folder: PathBuf,
    patterns: &'static [&'static str],
    /// What lies there is called as its owner likes, and need not be of the release that its name says.
    named_freely: bool,
}

/// A file that there is, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub path: PathBuf,
    /// The release that it is of, going by its name.
    pub release: String,
    /// See [`Shelf::named_freely`].
    pub named_freely: bool,
}

/// All places, in the order in which they are looked at.
pub struct Places {
    shelves: Vec<Shelf>,
    /// Trees of debug information.
    roots: Vec<PathBuf>,
    /// What other debuginfod clients have fetched: a folder for each build id.
    fetched: Vec<PathBuf>,
}

impl Places {
    /// This machine's, and those in the work tree.
    pub fn usual() -> Self {
        let mut places = Places::own();
        let debug_path = std::env::var_os(DEBUG_PATH).unwrap_or_default();
        let debug_path: Vec<PathBuf> = std::env::split_paths(&debug_path)
            .filter(|folder| !folder.as_os_str().is_empty())
            .collect();
        places.add_system(Path::new("/"), &debug_path);
        let lab = paths::lab().join("packages");
        places.add(lab, &["*/vmlinux"], false);
        places.add(paths::kernels_debug(), &["*/vmlinux-*"], false);
        // What `gen --all` unpacked, and what debuginfod servers gave.
        let mut unpacked = children(&paths::unpacked());
        // What is being unpacked, or what an interrupted run left of it.
        unpacked.retain(|tree| !is_hidden(tree));
        unpacked.push(paths::debuginfod());
        for tree in unpacked {
            places.add_root(tree.join(DEBUG));
        }
        places.fetched.extend(elfutils_cache());
        places
    }

    /// Where people put a vmlinux into the work tree, under a name of their own.
    fn own() -> Self {
        let mut places = Places::none();
        places.add(PathBuf::new(), &["vmlinux-*"], true);
        places.add(paths::root().to_owned(), &["vmlinux-*"], true);
        let kernels = paths::root().join("kernels");
        places.add(kernels.clone(), &["vmlinux-*"], true);
        places.add(kernels, &["*/vmlinux"], false);
        places.add(paths::fixture(), &["vmlinux-*"], true);
        places
    }

    pub fn none() -> Self {
        Places {
            shelves: Vec::new(),
            roots: Vec::new(),
            fetched: Vec::new(),
        }
    }

    /// The places of a machine whose root directory is `top`, and before them folders of debug information.
    pub fn add_system(&mut self, top: &Path, debug_path: &[PathBuf]) {
        for folder in debug_path {
            self.add_root(folder.clone());
            // The top of an unpacked package will do as well.
            self.add_root(folder.join(DEBUG));
            self.add(folder.clone(), IN_SYSTEM, false);
        }
        self.add_root(top.join(DEBUG));
        self.add(top.to_owned(), IN_SYSTEM, false);
    }

    pub fn add(&mut self, folder: PathBuf, patterns: &'static [&'static str], named_freely: bool) {
        self.shelves.push(Shelf {
            folder,
            patterns,
            named_freely,
        });
    }

    fn add_root(&mut self, root: PathBuf) {
        self.roots.push(root.clone());
        self.add(root, IN_DEBUG, false);
    }

    /// The folders that are looked into, for a message.
    pub fn shown(&self) -> String {
        let mut shown: Vec<String> = Vec::new();
        for shelf in &self.shelves {
            let folder = if shelf.folder.as_os_str().is_empty() {
                "./".to_owned()
            } else if shelf.folder == Path::new("/") {
                "/boot, /lib/modules".to_owned()
            } else if shelf.folder.starts_with(paths::unpacked()) {
                paths::unpacked().display().to_string()
            } else {
                shelf.folder.display().to_string()
            };
            if !shown.contains(&folder) {
                shown.push(folder);
            }
        }
        shown.join(", ")
    }

    /// Trees of debug information, whether they are there or not.
    pub fn roots(&self) -> &[PathBuf] {
        &self.roots
    }

    /// Where the vmlinux of this release or name would be.
    pub fn of(&self, release: &str) -> Vec<Place> {
        let mut places = Vec::new();
        for shelf in &self.shelves {
            for pattern in shelf.patterns {
                places.push(Place {
                    path: shelf.folder.join(pattern.replace('*', release)),
                    release: release.to_owned(),
                    named_freely: shelf.named_freely,
                });
            }
        }
        places
    }

    /// Every vmlinux that is there, each file once.
    pub fn all(&self) -> Vec<Place> {
        let mut seen = BTreeSet::new();
        let mut places = Vec::new();
        for shelf in &self.shelves {
            for pattern in shelf.patterns {
                for release in releases(&shelf.folder, pattern) {
                    let path = shelf.folder.join(pattern.replace('*', &release));
                    let Ok(real) = path.canonicalize() else {
                        continue;
                    };
                    if real.is_file() && seen.insert(real) {
                        places.push(Place {
                            path,
                            release,
                            named_freely: shelf.named_freely,
                        });
                    }
                }
            }
        }
        places
    }

    /// The files that lie under a build id, or the beginning of one, in hexadecimal: the debug file first, and the file that it was
    /// split off from.
    pub fn by_build_id(&self, id: &str) -> Vec<PathBuf> {
        let Some((first, rest)) = id.split_at_checked(2) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for root in &self.roots {
            for path in children(&root.join(".build-id").join(first)) {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                // Several files may have one build id: they are numbered (`.1.debug`).
                if name.starts_with(rest) && path.is_file() {
                    found.push(path);
                }
            }
        }
        for cache in &self.fetched {
            for folder in children(cache) {
                let name = folder.file_name().unwrap_or_default().to_string_lossy();
                if name.starts_with(id) {
                    let files = ["debuginfo", "executable"].map(|file| folder.join(file));
                    found.extend(files.into_iter().filter(|path| path.is_file()));
                }
            }
        }
        found.sort_by_key(|path| path.extension().is_none_or(|it| it != "debug"));
        found
    }
}

/// What stands for `*` in the files that fit a pattern.
fn releases(folder: &Path, pattern: &str) -> Vec<String> {
    let before = pattern.split('*').next().unwrap_or_default();
    let (above, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    let behind = pattern[before.len()..]
        .strip_prefix('*')
        .unwrap_or_default();
    let suffix = behind.split('/').next().unwrap_or_default();
    let here = folder.join(above);
    let here = if here.as_os_str().is_empty() {
        Path::new(".")
    } else {
        &here
    };
    children(here)
        .iter()
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?;
            let release = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
            let is_release = !release.is_empty()
                && !release.starts_with('.')
                && !ENDINGS.iter().any(|ending| release.ends_with(ending));
            is_release.then(|| release.to_owned())
        })
        .collect()
}

/// What is in a folder, by name; nothing if it isn't there.
fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut children: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    children.sort();
    children
}

fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.as_encoded_bytes().starts_with(b".")
}

/// Where elfutils' client, and so gdb and drgn, keeps what it fetched: as debuginfod-client-config(7) says.
fn elfutils_cache() -> Option<PathBuf> {
    let folder = |name: &str| {
        let value = std::env::var_os(name)?;
        (!value.is_empty()).then(|| PathBuf::from(value))
    };
    folder("DEBUGINFOD_CACHE_PATH")
        .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("debuginfod_client")))
        .or_else(|| Some(folder("HOME")?.join(".cache/debuginfod_client")))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn touch(top: &Path, file: &str) -> PathBuf {
        let path = top.join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, "").expect("it can be written");
        path
    }

    #[test]
    fn what_is_found_by_release_is_listed() {
        let top = tempfile::tempdir().expect("a folder");
        let top = top.path();
        let files = [
            "opt/debug/vmlinux-1.2-mine",
            "opt/debug/1.2-folder/vmlinux",
            "usr/lib/debug/boot/vmlinux-6.1.0-50-amd64",
            "usr/lib/debug/boot/vmlinux-5.3.18-default.debug",
            "usr/lib/debug/lib/modules/5.14.0-427.el9.x86_64/vmlinux",
            "usr/lib/debug/usr/lib/modules/6.4.0-150600-default/vmlinux.debug",
            "boot/vmlinux-5.3.18-default.gz",
            "lib/modules/6.9.1/build/vmlinux",
        ];
        let paths: Vec<PathBuf> = files.iter().map(|file| touch(top, file)).collect();
        touch(top, "boot/vmlinuz-6.1.0-50-amd64");
        let mut places = Places::none();
        places.add_system(top, &[top.join("opt/debug")]);
        let all = places.all();
        let mut found: Vec<(PathBuf, String)> = all
            .iter()
            .map(|place| (place.path.clone(), place.release.clone()))
            .collect();
        found.sort();
        let releases = [
            "1.2-mine",
            "1.2-folder",
            "6.1.0-50-amd64",
            "5.3.18-default",
            "5.14.0-427.el9.x86_64",
            "6.4.0-150600-default",
            "5.3.18-default",
            "6.9.1",
        ];
        let releases = releases.map(str::to_owned);
        let mut expected: Vec<(PathBuf, String)> = paths.into_iter().zip(releases).collect();
        expected.sort();
        assert_eq!(found, expected);
        for place in &all {
            assert!(places.of(&place.release).contains(place), "{place:?}");
        }
    }

    #[test]
    fn what_is_found_by_build_id_may_be_named_by_its_beginning() {
        let top = tempfile::tempdir().expect("a folder");
        let top = top.path();
        let debug = touch(top, "usr/lib/debug/.build-id/7f/76f39faf07.debug");
        let whole = touch(top, "usr/lib/debug/.build-id/7f/76f39faf07");
        touch(top, "usr/lib/debug/.build-id/7f/00f39faf07.debug");
        let mut places = Places::none();
        places.add_system(top, &[]);
        let fetched = touch(top, "cache/7f76f39faf07/debuginfo");
        places.fetched.push(top.join("cache"));
        let expected = [debug, whole, fetched];
        assert_eq!(places.by_build_id("7f76f39faf07"), expected);
        assert_eq!(places.by_build_id("7f76f39f"), expected);
        assert_eq!(places.by_build_id("7f76f39faf08"), [] as [PathBuf; 0]);
        assert_eq!(places.by_build_id("7"), [] as [PathBuf; 0]);
    }
}

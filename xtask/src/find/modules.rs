//! Finding the debug information of a kernel's modules.

use std::path::{Path, PathBuf};

use kstruct_codegen::image::Image;
use kstruct_codegen::{btf, dwarf};

use super::places::Places;
use super::release_in;

/// The debug file of a module of a kernel: by path, beside its vmlinux, or where debug packages put it. The module itself
/// does too, compressed or not, if it has debug information or its debug file can be found.
///
/// `vmlinux` may be BTF: then a module is a file with BTF, where the modules are that one loads, or in /sys.
pub fn module(types: Types, vmlinux: &Path, kernel: &str, wanted: &str) -> Option<PathBuf> {
    let path = Path::new(wanted);
    if path.is_file() {
        return Some(path.to_owned());
    }
    if types == Types::Btf && vmlinux.starts_with(SYS) {
        return Some(vmlinux.with_file_name(wanted)).filter(|path| path.is_file());
    }
    // A module's name has `_` where its file may have `-`.
    let names = [wanted.to_owned(), wanted.replace('_', "-")]
        .map(|name| ENDINGS.map(|ending| format!("{name}{ending}")))
        .concat();
    module_roots(types, vmlinux, kernel)
        .iter()
        .find_map(|root| search(types, root, &names, 0))
}

/// All files of modules of a kernel that may have debug information: those that [`module`] would rather take come first.
pub fn modules(types: Types, vmlinux: &Path, kernel: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if types == Types::Btf && vmlinux.starts_with(SYS) {
        let entries = std::fs::read_dir(SYS).into_iter().flatten();
        found.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
        found.retain(|path| path != vmlinux);
        found.sort();
        return found;
    }
    for root in module_roots(types, vmlinux, kernel) {
        let mut here = Vec::new();
        list(&root, &mut here, 0);
        let (debug, plain): (Vec<_>, Vec<_>) = here
            .into_iter()
            .partition(|path| path.to_string_lossy().ends_with(".ko.debug"));
        found.extend(debug);
        found.extend(plain);
    }
    found
}

fn module_roots(types: Types, vmlinux: &Path, kernel: &str) -> Vec<PathBuf> {
    let mut roots = Vec::new();
    let kernel = release_in(kernel);
    // A vmlinux may be a link into the place where its package was unpacked.
    let real = vmlinux.canonicalize().ok();
    roots.extend(vmlinux.parent().map(|folder| folder.join("modules-debug")));
    if let Some(folder) = real.as_deref().and_then(Path::parent) {
        roots.push(folder.join("modules-debug"));
        roots.push(folder.join("../lib/modules").join(kernel));
        roots.push(folder.join("kernel"));
    }
    for root in Places::usual().roots() {
        roots.push(root.join("lib/modules").join(kernel));
        roots.push(root.join("usr/lib/modules").join(kernel));
    }
    if types == Types::Btf {
        // A debug file has no BTF, the module itself has. The bindings may have any name, and the folder only one kernel.
        if let Some(folder) = real.as_deref().and_then(Path::parent) {
            roots.push(folder.join("lib/modules"));
        }
        roots.push(Path::new("/lib/modules").join(kernel));
    }
    roots
}

fn list(directory: &Path, found: &mut Vec<PathBuf>, depth: u32) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    let mut entries: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    entries.sort();
    for path in entries {
        let name = path.to_string_lossy();
        if path.is_dir() && !path.is_symlink() {
            if depth < DEEPEST {
                list(&path, found, depth + 1);
            }
        } else if ENDINGS.iter().any(|ending| name.ends_with(ending)) {
            found.push(path);
        }
    }
}

/// What describes a kernel's types, and so those of its modules.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Types {
    Dwarf,
    Btf,
}

impl Types {
    /// Whether a file has them.
    pub fn are_in(self, image: &Image) -> bool {
        match self {
            Types::Dwarf => dwarf::is_in(image),
            Types::Btf => btf::is_in(image),
        }
    }
}

/// Where the running kernel shows its BTF and that of its modules, each under its name.
const SYS: &str = "/sys/kernel/btf";

/// How files of modules end; those that have types rather than not come first.
const ENDINGS: [&str; 5] = [".ko.debug", ".ko", ".ko.xz", ".ko.zst", ".ko.gz"];

/// Folders of modules nest no deeper.
const DEEPEST: u32 = 12;

fn search(types: Types, directory: &Path, names: &[String], depth: u32) -> Option<PathBuf> {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(directory)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    entries.sort();
    let is_wanted = |path: &&PathBuf| {
        path.file_name()
            .is_some_and(|file| names.iter().any(|name| file == name.as_str()))
    };
    let mut found: Vec<&PathBuf> = entries.iter().filter(is_wanted).collect();
    found.sort_by_key(|path| names.iter().position(|name| path.ends_with(name)));
    let has_types = |path: &&&PathBuf| Image::open(path).is_ok_and(|image| types.are_in(&image));
    if let Some(found) = found.iter().find(has_types) {
        return Some((*found).clone());
    }
    if depth == DEEPEST {
        return None;
    }
    entries
        .iter()
        .filter(|path| path.is_dir() && !path.is_symlink())
        .find_map(|path| search(types, path, names, depth + 1))
}

//! Tells xtask which generator it is: a hash of all that decides what bindings look like.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Beside the versions of other crates (`Cargo.lock`), which are part of it too. What only the lab, measurements and tests need is not.
const SOURCES: &[&str] = &[
    "Cargo.lock",
    "codegen/Cargo.toml",
    "codegen/src",
    "runtime/src",
    "xtask/src/btf.rs",
    "xtask/src/find",
    "xtask/src/generate.rs",
    "xtask/src/kallsyms.rs",
    "xtask/src/loaded.rs",
    "xtask/src/selected.rs",
    "xtask/src/stamp.rs",
    "xtask/src/workspace.rs",
];

fn main() {
    let here = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let root = Path::new(&here).join("..");
    let mut hasher = DefaultHasher::new();
    for source in SOURCES {
        let path = root.join(source);
        println!("cargo::rerun-if-changed={}", path.display());
        let mut files = Vec::new();
        list(&path, &mut files);
        files.sort();
        for file in files {
            file.strip_prefix(&root)
                .expect("it is below")
                .hash(&mut hasher);
            fs::read(&file).expect("it is there").hash(&mut hasher);
        }
    }
    println!(
        "cargo::rustc-env=KSTRUCT_GENERATOR={:016x}",
        hasher.finish()
    );
}

fn list(path: &Path, files: &mut Vec<PathBuf>) {
    if !path.is_dir() {
        files.push(path.to_owned());
        return;
    }
    for entry in fs::read_dir(path).expect("it is there") {
        list(&entry.expect("it is there").path(), files);
    }
}

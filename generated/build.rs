//! Selects the kernel whose bindings this crate is.

use std::path::Path;
use std::{env, fs, process};

const DEFAULT: &str = "2.6.9";

fn main() {
    println!("cargo::rerun-if-env-changed=KSTRUCT_KERNEL");
    let kernel = env::var("KSTRUCT_KERNEL").unwrap_or_else(|_| DEFAULT.into());
    let here = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let bindings = Path::new(&here).join(&kernel);
    let root = bindings.join("mod.rs");
    let names = bindings.join("names.txt");
    println!("cargo::rerun-if-changed={}", root.display());
    println!("cargo::rerun-if-changed={}", names.display());
    if !root.exists() {
        println!(
            "cargo::error=there are no bindings of kernel {kernel} ({} is missing): run `cargo xtask gen {kernel}`",
            root.display()
        );
        process::exit(1);
    }
    // Every kernel has opaque types and typedefs to re-export; the smallest of tests don't.
    let text = format!(
        "#[path = {:?}]\n#[allow(unused_imports)]\nmod bindings;\npub use bindings::*;\n",
        root.display().to_string()
    );
    let out = env::var("OUT_DIR").expect("cargo sets it");
    fs::write(Path::new(&out).join("bindings.rs"), text).expect("OUT_DIR is writable");
    // The table of types, which only programs that ask for it have in them. Bindings of tests may have none.
    let mut table = bindings.join("types.bin");
    println!("cargo::rerun-if-changed={}", table.display());
    if !table.exists() {
        table = Path::new(&out).join("types.bin");
        fs::write(&table, "").expect("OUT_DIR is writable");
    }
    println!("cargo::rustc-env=KSTRUCT_TYPES={}", table.display());
    println!("cargo::metadata=names={}", names.display());
    kstruct_kernel_has::answer_from(&names);
}

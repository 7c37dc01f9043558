//! One source, two kernels: a member that only one of them has. Each kernel is compiled from C here, its bindings are
//! generated, and a small analyzer is built and run against both.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kstruct_codegen::image::Image;
use kstruct_codegen::{dwarf, emit, output};
use tempfile::TempDir;
use tests::shown;

const OLD: &str = "struct s { int kept; long gone; } variable;";
const NEW: &str = "struct s { short added; int kept; } variable;";

/// Two kernels and room for an analyzer.
struct Workshop {
    folder: TempDir,
}

impl Workshop {
    fn new() -> Self {
        let folder = TempDir::with_prefix("kstruct-kernel-has").expect("there is room");
        for (name, source) in [("old", OLD), ("new", NEW)] {
            let vmlinux = tests::compile_c(folder.path(), name, source);
            let image = Image::open(&vmlinux).expect("gcc wrote it");
            let model = dwarf::read(&image, &[], &|_| ()).expect("gcc's DWARF is sound");
            let files = emit::files(&model, "a test").expect("the generator writes Rust");
            let bindings = folder.path().join("bindings").join(name);
            // Nothing asks for the table of types.
            output::write(&bindings, &files, &[], false).expect("it can be written");
        }
        Workshop { folder }
    }

    fn bindings(&self, kernel: &str) -> PathBuf {
        self.folder.path().join("bindings").join(kernel)
    }

    /// Writes an analyzer, and runs it with cargo for one of the kernels.
    fn run(&self, kernel: &str, source: &str) -> Output {
        let root = tests::root();
        let path = |part: &str| root.join(part).display().to_string();
        let package = self.folder.path().join("analyzer");
        let mut manifest = String::from(
            "[package]\nname = \"analyzer\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n",
        );
        let _ = write!(
            manifest,
            "[dependencies]\nkernel.path = {:?}\nkstruct.path = {:?}\n[build-dependencies]\nkstruct-kernel-has.path = {:?}\n",
            path("generated"),
            path("runtime"),
            path("codegen/kernel-has"),
        );
        write(&package.join("Cargo.toml"), &manifest);
        write(
            &package.join("build.rs"),
            "fn main() {\n    kstruct_kernel_has::answer();\n}\n",
        );
        write(&package.join("src/main.rs"), source);
        // The same versions as the workspace's, which are there without a network.
        fs::copy(root.join("Cargo.lock"), package.join("Cargo.lock")).expect("it can be copied");
        Command::new(env!("CARGO"))
            .current_dir(&package)
            .env("KSTRUCT_KERNEL", self.bindings(kernel))
            .env(
                "CARGO_TARGET_DIR",
                concat!(env!("CARGO_TARGET_TMPDIR"), "/packages"),
            )
            .env("RUSTFLAGS", "-Dwarnings")
            .env("CARGO_TERM_COLOR", "never")
            .args(["run", "--quiet", "--offline"])
            .output()
            .expect("cargo runs")
    }
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("it can be made");
    fs::write(path, text).expect("it can be written");
}

const HEAD: &str = "use kstruct::View as _;\nfn main() {\n";
const WITH_CFG: &str = r#"
    #[cfg(kernel_has = "s.gone")]
    println!("gone at {}", kernel::s::INFO.offset_of("gone"));
    #[cfg(not(kernel_has = "s.gone"))]
    println!("nothing is gone");
    #[cfg(all(kernel_has = "s.added", not(kernel_has = "sym:nothing")))]
    let _ = kernel::s::added;
    #[cfg(kernel_has = "s.gone")]
    let _ = kernel::s::gone;
    println!("kept at {}", kernel::s::INFO.offset_of("kept"));
}
"#;
const WITHOUT_CFG: &str = "    let _ = kernel::s::gone;\n    let _ = kernel::s::INFO;\n}\n";

fn assert_prints(output: &Output, expected: &str) {
    assert!(output.status.success(), "{}", shown(output));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        expected,
        "{}",
        shown(output)
    );
}

fn assert_fails(output: &Output, words: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{}", shown(output));
    for word in words {
        assert!(stderr.contains(word), "not \"{word}\": {}", shown(output));
    }
}

/// All in one test, because all share a target directory and would wait for each other anyway.
#[test]
fn a_member_that_one_kernel_lacks() {
    let workshop = Workshop::new();
    let with = format!("{HEAD}{WITH_CFG}");
    let without = format!("{HEAD}{WITHOUT_CFG}");

    let pointer = if cfg!(target_pointer_width = "64") {
        8
    } else {
        4
    };
    let old = workshop.run("old", &with);
    assert_prints(&old, &format!("gone at {pointer}\nkept at 0\n"));
    assert_prints(&workshop.run("old", &without), "");

    assert_prints(&workshop.run("new", &with), "nothing is gone\nkept at 4\n");
    let error = workshop.run("new", &without);
    assert_fails(
        &error,
        &["named `gone` found for struct `s<", "src/main.rs:3:"],
    );

    // A predicate that is none, on line 4 of the file.
    let bad = format!("{HEAD}\n    #[cfg(kernel_has = \"symbol:variable\")]\n    let _ = 1;\n}}\n");
    let error = workshop.run("new", &bad);
    assert_fails(
        &error,
        &[
            "src/main.rs:4: kernel_has = \"symbol:variable\"",
            "what stands before the colon must be sym or const",
        ],
    );

    let misspelled = with.replacen("kernel_has", "kernel_hass", 1);
    let error = workshop.run("new", &misspelled);
    assert_fails(&error, &["unexpected `cfg` condition name: `kernel_hass`"]);

    let nowhere = workshop.run("nowhere", &with);
    assert_fails(
        &nowhere,
        &["there are no bindings of kernel", "cargo xtask gen"],
    );
}

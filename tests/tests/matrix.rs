//! One C program, compiled with many compilers and options, gives one set of bindings: what a kernel's structs are does
//! not depend on how its debug information is written down.
//!
//! Needs gcc (with multilib), clang, dwz and binutils. Where one is missing, what needs it is skipped and said;
//! with `KSTRUCT_REQUIRE_TOOLS=1`, as in CI, it is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kstruct_codegen::image::Image;
use kstruct_codegen::{dwarf, emit};
use tempfile::TempDir;
use tests::{root, shown};

const SOURCES: [&str; 4] = ["shapes.h", "first.c", "second.c", "matrix.lds"];

/// The sources in a folder of their own, and what becomes of them.
struct Matrix(TempDir);

impl Matrix {
    fn new() -> Self {
        let folder = TempDir::with_prefix("kstruct-matrix").expect("there is room");
        for name in SOURCES {
            fs::copy(
                root().join("tests/matrix").join(name),
                folder.path().join(name),
            )
            .expect("the sources are there");
        }
        Matrix(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs a program in the folder. `None` if there is no such program.
    fn run(&self, program: &str, args: &[&str]) -> Option<()> {
        let output = match Command::new(program)
            .args(args)
            .current_dir(self.0.path())
            .output()
        {
            Ok(output) => output,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                missing(&format!("{program} is not installed"));
                return None;
            }
            Err(error) => panic!("{program}: {error}"),
        };
        assert!(
            output.status.success(),
            "{program} {args:?}: {}",
            shown(&output)
        );
        Some(())
    }

    /// Compiles and links both files.
    fn program(&self, name: &str, compiler: &str, options: &[&str]) -> Option<PathBuf> {
        let objects = ["first", "second"].map(|source| {
            let object = format!("{name}-{source}.o");
            let source = format!("{source}.c");
            let mut args = vec![
                "-c",
                "-O0",
                "-ffreestanding",
                "-fno-pie",
                "-fdata-sections",
                "-ffunction-sections",
            ];
            args.extend(options);
            args.extend(["-o", &object, &source]);
            self.run(compiler, &args)?;
            Some(object)
        });
        let [first, second] = objects;
        let wide = !options.contains(&"-m32");
        let emulation = if wide { "elf_x86_64" } else { "elf_i386" };
        let mut args = vec![
            "-m",
            emulation,
            "-T",
            "matrix.lds",
            "--build-id=sha1",
            "-o",
            name,
        ];
        let (first, second) = (first?, second?);
        args.extend([first.as_str(), second.as_str()]);
        self.run("ld", &args)?;
        Some(self.path(name))
    }
}

/// Says that something is skipped; fails where nothing may be.
fn missing(what: &str) {
    assert!(
        std::env::var_os("KSTRUCT_REQUIRE_TOOLS").is_none(),
        "KSTRUCT_REQUIRE_TOOLS is set, and {what}"
    );
    println!("skipped: {what}");
}

type Files = BTreeMap<String, String>;

/// The bindings of a file, without its build id.
fn bindings(path: &Path) -> Files {
    let image = Image::open(path).unwrap_or_else(|error| panic!("{error}"));
    let model = dwarf::read(&image, &[], &|_| ()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        model.problems.total(),
        0,
        "{}: {:?}",
        path.display(),
        model.problems
    );
    let build_id: String = model
        .kernel
        .build_id
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(build_id.len(), 40, "{}", path.display());
    emit::files(&model, "a test")
        .unwrap_or_else(|error| panic!("{error}"))
        .into_iter()
        .map(|(name, text)| (name, text.replace(&build_id, "BUILD ID")))
        .collect()
}

/// What is to be the same everywhere, and what wasn't.
struct Comparison {
    expected: Files,
    compared: usize,
    differences: String,
}

impl Comparison {
    fn with(expected: Files) -> Self {
        Comparison {
            expected,
            compared: 0,
            differences: String::new(),
        }
    }

    /// Compares bindings byte for byte.
    fn same(&mut self, what: &str, found: &Files) {
        self.compared += 1;
        let empty = String::new();
        let names: BTreeSet<&String> = found.keys().chain(self.expected.keys()).collect();
        for name in names {
            let found = found.get(name).unwrap_or(&empty);
            let expected = self.expected.get(name).unwrap_or(&empty);
            if found == expected {
                continue;
            }
            let _ = writeln!(self.differences, "{what}, in {name}:");
            for (sign, these, those) in [('-', expected, found), ('+', found, expected)] {
                let those: BTreeSet<&str> = those.lines().collect();
                for line in these.lines().filter(|line| !those.contains(line)).take(12) {
                    let line: String = line.chars().take(400).collect();
                    let _ = writeln!(self.differences, "{sign} {line}");
                }
            }
        }
    }

    fn finish(self) {
        assert!(
            self.differences.is_empty(),
            "other bindings:\n{}",
            self.differences
        );
        println!(
            "{} sets of bindings are the same, each of {} files",
            self.compared + 1,
            self.expected.len()
        );
        assert!(self.compared > 0, "there was nothing to compare");
    }
}

/// The bindings that all must equal: gcc's, with DWARF 5.
fn reference(matrix: &Matrix) -> Files {
    let program = matrix
        .program("reference", "gcc", &["-gdwarf-5"])
        .expect("gcc is there");
    let files = bindings(&program);
    let index = &files["index.json"];
    // What the comparison is worth nothing without.
    for name in [
        "struct nested",
        "struct packed_bits",
        "atomic_t",
        "union opaque_union",
        "enum huge",
    ] {
        assert!(
            index.contains(&format!("{{\"name\":\"{name}\"")),
            "{name} is missing"
        );
    }
    files
}

#[test]
fn dwarf_versions_agree() {
    let matrix = Matrix::new();
    let mut comparison = Comparison::with(reference(&matrix));
    for compiler in ["gcc", "clang"] {
        for version in ["-gdwarf-5", "-gdwarf-4", "-gdwarf-3"] {
            let name = format!("{compiler}{version}");
            if let Some(program) = matrix.program(&name, compiler, &[version]) {
                comparison.same(&name, &bindings(&program));
            }
        }
    }
    // DWARF 2 has no tag for restrict.
    for text in comparison.expected.values_mut() {
        *text = text
            .replace("*restrict ", "*")
            .replace("*restrict\"", "*\"");
    }
    for compiler in ["gcc", "clang"] {
        let name = format!("{compiler}-gdwarf-2");
        if let Some(program) = matrix.program(&name, compiler, &["-gdwarf-2", "-gstrict-dwarf"]) {
            comparison.same(&name, &bindings(&program));
        }
    }
    comparison.finish();
}

#[test]
fn type_units_agree() {
    let matrix = Matrix::new();
    let mut comparison = Comparison::with(reference(&matrix));
    for compiler in ["gcc", "clang"] {
        for version in ["-gdwarf-5", "-gdwarf-4"] {
            let name = format!("{compiler}-types{version}");
            if let Some(program) =
                matrix.program(&name, compiler, &[version, "-fdebug-types-section"])
            {
                comparison.same(&name, &bindings(&program));
            }
        }
    }
    comparison.finish();
}

#[test]
fn dwz_agrees() {
    let matrix = Matrix::new();
    let mut comparison = Comparison::with(reference(&matrix));
    for version in ["-gdwarf-5", "-gdwarf-4", "-gdwarf-3"] {
        let name = format!("dwz{version}");
        let Some(program) = matrix.program(&name, "gcc", &[version]) else {
            return;
        };
        fs::copy(&program, matrix.path("other")).expect("there is room");
        let (single, alternate) = (format!("{name}-single"), format!("{name}-alternate"));
        if matrix.run("dwz", &["-o", &single, &name]).is_none() {
            return;
        }
        comparison.same(&single, &bindings(&matrix.path(&single)));
        matrix.run("dwz", &["-m", &alternate, &name, "other"]);
        comparison.same(&alternate, &bindings(&program));
    }
    comparison.finish();
}

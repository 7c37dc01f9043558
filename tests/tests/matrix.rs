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
        self.linked(name, compiler, options, &[])
    }

    fn linked(
        &self,
        name: &str,
        compiler: &str,
        options: &[&str],
        link: &[&str],
    ) -> Option<PathBuf> {
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
        args.extend(link);
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
    for text in comparison.expected.values_mut() {
        *text = without_restrict(text);
    }
    for compiler in ["gcc", "clang"] {
        let name = format!("{compiler}-gdwarf-2");
        if let Some(program) = matrix.program(&name, compiler, &["-gdwarf-2", "-gstrict-dwarf"]) {
            comparison.same(&name, &bindings(&program));
        }
    }
    comparison.finish();
}

/// A vmlinux may keep its relocations, which have been applied, or be a shared object.
#[test]
fn ways_of_linking_agree() {
    let matrix = Matrix::new();
    let mut comparison = Comparison::with(reference(&matrix));
    for (name, option, seen) in [
        ("relocations", "--emit-relocs", ".rela.debug_info"),
        ("position-independent", "-pie", "DW_TAG_compile_unit"),
    ] {
        let program = matrix
            .linked(name, "gcc", &["-gdwarf-5"], &[option])
            .expect("gcc is there");
        assert!(readelf(&program).contains(seen), "{name}");
        comparison.same(name, &bindings(&program));
    }
    comparison.finish();
}

/// Another ABI, and so another set of bindings.
#[test]
fn programs_of_32_bits_agree() {
    let matrix = Matrix::new();
    let Some(program) = matrix.program("reference", "gcc", &["-m32", "-gdwarf-5"]) else {
        return;
    };
    let mut comparison = Comparison::with(bindings(&program));
    for (name, compiler, version) in [
        ("gcc-4", "gcc", "-gdwarf-4"),
        ("gcc-3", "gcc", "-gdwarf-3"),
        ("clang-5", "clang", "-gdwarf-5"),
        ("clang-4", "clang", "-gdwarf-4"),
    ] {
        if let Some(program) = matrix.program(name, compiler, &["-m32", version]) {
            comparison.same(name, &bindings(&program));
        }
    }
    if let Some(program) = matrix.program("types", "gcc", &["-m32", "-g", "-fdebug-types-section"])
    {
        comparison.same("type units", &bindings(&program));
    }
    if matrix
        .run("dwz", &["-L", "none", "-o", "dwz", "gcc-4"])
        .is_some()
    {
        comparison.same("dwz", &bindings(&matrix.path("dwz")));
    }
    matrix.run(
        "objcopy",
        &["--compress-debug-sections=zlib", "reference", "zlib"],
    );
    comparison.same("zlib", &bindings(&matrix.path("zlib")));
    for text in comparison.expected.values_mut() {
        *text = without_restrict(text);
    }
    for compiler in ["gcc", "clang"] {
        let name = format!("{compiler}-2");
        if let Some(program) =
            matrix.program(&name, compiler, &["-m32", "-gdwarf-2", "-gstrict-dwarf"])
        {
            comparison.same(&name, &bindings(&program));
        }
    }
    comparison.finish();
}

/// DWARF 2 has no tag for restrict.
fn without_restrict(text: &str) -> String {
    text.replace("*restrict ", "*").replace("*restrict", "*")
}

/// After link-time optimisation a variable's address is in one unit and its type in another.
#[test]
fn link_time_optimisation_agrees() {
    let matrix = Matrix::new();
    let mut comparison = Comparison::with(reference(&matrix));
    let mut args = vec![
        "-flto",
        "-g",
        "-O0",
        "-ffreestanding",
        "-fno-pie",
        "-fdata-sections",
        "-ffunction-sections",
    ];
    args.extend([
        "-static",
        "-no-pie",
        "-nostdlib",
        "-flto-partition=none",
        "-Wl,-T,matrix.lds",
        "-Wl,--build-id=sha1",
    ]);
    args.extend(["-o", "lto", "first.c", "second.c"]);
    matrix.run("gcc", &args);
    let program = matrix.path("lto");
    assert!(readelf(&program).contains("DW_AT_abstract_origin"));
    comparison.same("lto", &bindings(&program));
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

/// What readelf finds in a file's debug information, to be sure that a compiler did what it was asked for.
fn readelf(path: &Path) -> String {
    let output = Command::new("readelf")
        .args(["-W", "-S", "--debug-dump=info"])
        .arg(path)
        .output()
        .expect("binutils are there: a program was linked");
    String::from_utf8_lossy(&output.stdout).into_owned()
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
        let single = format!("{name}-single");
        // The second is always smaller than what dwz thinks worth its while.
        if matrix
            .run("dwz", &["-L", "none", "-o", &single, &name])
            .is_none()
        {
            return;
        }
        let single = matrix.path(&single);
        assert!(readelf(&single).contains("DW_TAG_partial_unit"), "{name}");
        comparison.same(&format!("{name}, one file"), &bindings(&single));

        for standard in [false, true] {
            let name = format!("{name}-{}", if standard { "sup" } else { "altlink" });
            fs::copy(&program, matrix.path(&name)).expect("there is room");
            fs::copy(&program, matrix.path("other")).expect("there is room");
            let alternate = format!("{name}-alternate");
            let mut args = vec!["-m", &alternate, &name, "other"];
            if standard {
                args.insert(0, "--dwarf-5");
            }
            matrix.run("dwz", &args);
            let program = matrix.path(&name);
            let (section, form) = if standard {
                (".debug_sup", "DW_TAG_imported_unit")
            } else {
                (".gnu_debugaltlink", "alt")
            };
            let seen = readelf(&program);
            assert!(
                seen.contains(section) && seen.contains(form),
                "{name}: {seen}"
            );
            comparison.same(&name, &bindings(&program));
        }
    }
    comparison.finish();
}

#[test]
fn compressed_sections_agree() {
    let matrix = Matrix::new();
    let mut comparison = Comparison::with(reference(&matrix));
    let program = matrix
        .program("plain", "gcc", &["-gdwarf-5"])
        .expect("gcc is there");
    for kind in ["zlib", "zlib-gnu", "zstd"] {
        let option = format!("--compress-debug-sections={kind}");
        if kind == "zstd" && !has_zstd() {
            missing("objcopy can't compress with zstd (binutils before 2.40)");
            continue;
        }
        matrix.run("objcopy", &[&option, "plain", kind]);
        let compressed = matrix.path(kind);
        let size = |path: &Path| path.metadata().expect("it was written").len();
        assert!(size(&compressed) < size(&program), "{kind}");
        comparison.same(kind, &bindings(&compressed));
    }
    comparison.finish();
}

fn has_zstd() -> bool {
    let output = Command::new("objcopy").arg("--help").output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("zstd"))
}

#[test]
fn separate_debug_files_agree() {
    let matrix = Matrix::new();
    let mut comparison = Comparison::with(reference(&matrix));
    let program = matrix
        .program("whole", "gcc", &["-gdwarf-5"])
        .expect("gcc is there");
    let folder = |name: &str| {
        let folder = matrix.path(name);
        fs::create_dir_all(&folder).expect("there is room");
        folder
    };
    matrix.run("objcopy", &["--only-keep-debug", "whole", "whole.debug"]);
    matrix.run(
        "objcopy",
        &[
            "--strip-all",
            "--add-gnu-debuglink=whole.debug",
            "whole",
            "stripped",
        ],
    );
    matrix.run("objcopy", &["--strip-all", "whole", "without-link"]);
    let debug = fs::read(matrix.path("whole.debug")).expect("objcopy wrote it");

    comparison.same("beside", &bindings(&matrix.path("stripped")));
    fs::remove_file(matrix.path("whole.debug")).expect("it is there");
    let error = |path: &Path| {
        let image = Image::open(path).expect("it is there");
        match dwarf::read(&image, &[], &|_| ()) {
            Ok(_) => panic!("{}: it was read", path.display()),
            Err(error) => error.to_string(),
        }
    };
    let message = error(&matrix.path("stripped"));
    for words in [
        "it has no DWARF debug information",
        "whole.debug (no such file)",
    ] {
        assert!(message.contains(words), "{message}");
    }

    fs::write(folder(".debug").join("whole.debug"), &debug).expect("there is room");
    comparison.same("in .debug", &bindings(&matrix.path("stripped")));
    fs::remove_dir_all(matrix.path(".debug")).expect("it is there");

    // As a package lies when it is unpacked somewhere.
    let boot = folder("package/boot");
    fs::copy(matrix.path("stripped"), boot.join("stripped")).expect("there is room");
    fs::copy(matrix.path("without-link"), boot.join("without-link")).expect("there is room");
    fs::write(
        folder("package/usr/lib/debug/boot").join("whole.debug"),
        &debug,
    )
    .expect("there is room");
    comparison.same("by link, in its tree", &bindings(&boot.join("stripped")));
    fs::remove_dir_all(matrix.path("package/usr/lib/debug/boot")).expect("it is there");
    let image = Image::open(&program).expect("it is there");
    let id = image
        .parse()
        .and_then(|elf| elf.kernel())
        .expect("it is sound")
        .build_id;
    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let by_id = folder(&format!("package/usr/lib/debug/.build-id/{}", &id[..2]));
    let by_id = by_id.join(format!("{}.debug", &id[2..]));
    fs::write(&by_id, &debug).expect("there is room");
    comparison.same("by build id", &bindings(&boot.join("without-link")));

    // Another program's debug file in that place is not taken.
    let other = matrix
        .program("another", "gcc", &["-gdwarf-4"])
        .expect("gcc is there");
    fs::copy(other, &by_id).expect("there is room");
    let message = error(&boot.join("without-link"));
    assert!(message.contains("of another build id"), "{message}");
    comparison.finish();
}

#[test]
fn an_alternate_file_that_is_not_there_is_named() {
    let matrix = Matrix::new();
    let Some(program) = matrix.program("one", "gcc", &["-gdwarf-4"]) else {
        return;
    };
    fs::copy(&program, matrix.path("two")).expect("there is room");
    if matrix
        .run("dwz", &["-m", "shared.dwz", "one", "two"])
        .is_none()
    {
        return;
    }
    let error = || {
        let image = Image::open(&program).expect("it is there");
        match dwarf::read(&image, &[], &|_| ()) {
            Ok(_) => panic!("it was read"),
            Err(error) => error.to_string(),
        }
    };
    fs::rename(matrix.path("shared.dwz"), matrix.path("moved")).expect("it is there");
    let message = error();
    assert!(message.contains("alternate file shared.dwz"), "{message}");
    assert!(message.contains("no such file"), "{message}");
    fs::copy(&program, matrix.path("shared.dwz")).expect("there is room");
    let message = error();
    assert!(
        message.contains("shared.dwz (of another build id)"),
        "{message}"
    );
}

//! Modules and other object files (ET_REL): what reading them takes besides DWARF, for each machine that has a kernel here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kstruct_codegen::dwarf;
use kstruct_codegen::image::Image;
use kstruct_codegen::model::{Item, Model, Type};
use tempfile::TempDir;
use tests::shown;

/// Offsets into strings, line tables and abbreviations, and a second type that the first refers to.
const SOURCE: &str = r#"
struct inner { long number; char letters[3]; };
struct outer {
    struct outer *next;
    struct inner inner;
    unsigned int low : 3, high : 7;
    int (*call)(struct inner *);
};
struct outer variable;
int function(struct outer *outer) { return outer->low + outer->high; }
int another(struct outer *outer) { return function(outer->next) + function(outer); }
"#;

fn skip(what: &str) {
    assert!(
        std::env::var_os("KSTRUCT_REQUIRE_TOOLS").is_none(),
        "KSTRUCT_REQUIRE_TOOLS is set, and {what}"
    );
    println!("skipped: {what}");
}

/// Compiles to an object file. `None` if there is no such compiler.
fn compile(folder: &Path, name: &str, compiler: &str, options: &[&str]) -> Option<PathBuf> {
    let source = folder.join("source.c");
    fs::write(&source, SOURCE).expect("there is room");
    let object = folder.join(name);
    let mut command = Command::new(compiler);
    command.args([
        "-c",
        "-g",
        "-O1",
        "-ffreestanding",
        "-ffunction-sections",
        "-w",
    ]);
    command.args(options).arg("-o").args([&object, &source]);
    let output = match command.output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            skip(&format!("{compiler} is not installed"));
            return None;
        }
        Err(error) => panic!("{compiler}: {error}"),
    };
    assert!(
        output.status.success(),
        "{compiler} {options:?}: {}",
        shown(&output)
    );
    Some(object)
}

/// Reads a file as the kernel and as a module of it: only a module's variables are placed in their sections.
fn read(path: &Path) -> Result<Model, kstruct_codegen::Error> {
    let image = Image::open(path)?;
    let module = Image::open(path)?;
    dwarf::read(&image, &[module], &|_| ())
}

fn item<'m>(model: &'m Model, name: &str) -> &'m Item {
    let found = model.items.iter().find(|item| &*item.name == name);
    found.unwrap_or_else(|| panic!("{name} is missing"))
}

/// Asserts that everything which takes a relocation to read is right. `wide`: pointers have 8 bytes.
fn assert_read(what: &str, model: &Model, wide: bool) {
    assert_eq!(model.problems.total(), 0, "{what}: {:?}", model.problems);
    let word = if wide { 8 } else { 4 };
    let (outer, inner) = (item(model, "outer"), item(model, "inner"));
    assert_eq!((inner.size, outer.size), (2 * word, 5 * word), "{what}");
    let place = (outer.place.file.ends_with("source.c"), outer.place.line);
    assert_eq!(place, (true, 3), "{what}: {:?}", outer.place);
    let members = outer.members.iter().map(|member| {
        let bits = member.bits.map(|bits| (bits.offset, bits.size));
        (&*member.name, member.offset, bits)
    });
    let members: Vec<_> = members.collect();
    let first = 3 * word * 8;
    assert_eq!(
        members,
        [
            ("next", 0, None),
            ("inner", word, None),
            ("low", 3 * word, Some((first, 3))),
            ("high", 3 * word, Some((first + 3, 7))),
            ("call", 4 * word, None),
        ],
        "{what}"
    );
    let variable = model
        .variables
        .iter()
        .find(|variable| &*variable.name == "variable" && variable.module.is_some());
    let variable = variable.unwrap_or_else(|| panic!("{what}: no variable"));
    // It is the first in its section.
    assert_eq!((variable.address, variable.place.line), (0, 9), "{what}");
}

#[test]
fn objects_of_all_machines_are_relocated() {
    let folder = TempDir::with_prefix("kstruct-modules").expect("there is room");
    let machines: [(&str, u16, bool, &[&str]); 6] = [
        ("x86_64", 62, false, &[]),
        ("i386", 3, false, &[]),
        ("aarch64", 183, false, &[]),
        ("s390x", 22, true, &[]),
        ("powerpc64le", 21, false, &[]),
        // The linker may move code: lengths are differences, and the compiler leaves them to relocations.
        ("riscv64", 243, false, &["-mrelax"]),
    ];
    for (machine, number, big_endian, options) in machines {
        for version in ["-gdwarf-5", "-gdwarf-4", "-gdwarf-2"] {
            let target = format!("--target={machine}-linux-gnu");
            let mut options = options.to_vec();
            options.extend([target.as_str(), version]);
            let name = format!("{machine}{version}.ko");
            let Some(object) = compile(folder.path(), &name, "clang", &options) else {
                return;
            };
            let model = read(&object).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(
                (model.kernel.machine, model.kernel.big_endian),
                (number, big_endian)
            );
            assert_read(&name, &model, machine != "i386");
        }
    }
}

#[test]
fn objects_with_compressed_sections_and_type_units_are_read() {
    let folder = TempDir::with_prefix("kstruct-modules").expect("there is room");
    let cases: [(&str, &str, &[&str]); 7] = [
        ("zlib", "gcc", &["-gz=zlib"]),
        ("zlib-gnu", "gcc", &["-gz=zlib-gnu"]),
        ("zlib-i386", "gcc", &["-gz=zlib", "-m32"]),
        ("zlib-s390x", "clang", &["-gz", "--target=s390x-linux-gnu"]),
        // Each type unit is in a section of its own, all of one name.
        ("types5", "gcc", &["-fdebug-types-section", "-gdwarf-5"]),
        ("types4", "gcc", &["-fdebug-types-section", "-gdwarf-4"]),
        (
            "types-zlib",
            "gcc",
            &["-fdebug-types-section", "-gdwarf-4", "-gz=zlib"],
        ),
    ];
    for (name, compiler, options) in cases {
        if let Some(object) = compile(folder.path(), name, compiler, options) {
            let model = read(&object).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_read(name, &model, !options.contains(&"-m32"));
        }
    }
}

/// Compresses a file as `depmod` and distributions do.
fn pack(program: &str, path: &Path, ending: &str) -> Option<PathBuf> {
    let out = path.with_file_name(format!("packed.ko.{ending}"));
    let file = fs::File::create(&out).expect("there is room");
    match Command::new(program)
        .arg("-c")
        .arg(path)
        .stdout(file)
        .status()
    {
        Ok(status) => assert!(status.success(), "{program}"),
        Err(_) => {
            skip(&format!("{program} is not installed"));
            return None;
        }
    }
    Some(out)
}

#[test]
fn compressed_modules_are_read() {
    let folder = TempDir::with_prefix("kstruct-modules").expect("there is room");
    let object = compile(folder.path(), "plain.ko", "gcc", &[]).expect("gcc is there");
    for (program, ending) in [("xz", "xz"), ("zstd", "zst"), ("gzip", "gz")] {
        let Some(packed) = pack(program, &object, ending) else {
            continue;
        };
        assert_eq!(dwarf::module_name(&packed), "packed");
        let model = read(&packed).unwrap_or_else(|error| panic!("{error}"));
        assert_read(program, &model, true);

        // Cut short, or with a byte changed, it is an error and not another module.
        let whole = fs::read(&packed).expect("it was written");
        fs::write(&packed, &whole[..whole.len() / 2]).expect("there is room");
        let error = read(&packed)
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(error.contains("packed.ko"), "{program}: {error}");
        assert!(error.contains("damaged"), "{program}: {error}");
    }
}

#[test]
fn a_file_that_grows_without_end_is_refused() {
    let folder = TempDir::with_prefix("kstruct-modules").expect("there is room");
    let zeros = folder.path().join("zeros");
    let file = fs::File::create(&zeros).expect("there is room");
    file.set_len(1 << 26).expect("holes take no room");
    // gzip can't shrink by more than the bound.
    for (program, ending) in [("xz", "xz"), ("zstd", "zst")] {
        let Some(packed) = pack(program, &zeros, ending) else {
            continue;
        };
        let error = read(&packed)
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(
            error.contains("bytes come out: it is no kernel or module"),
            "{program}: {error}"
        );
    }
}

#[test]
fn a_section_that_claims_a_terabyte_is_refused() {
    let folder = TempDir::with_prefix("kstruct-modules").expect("there is room");
    let object = compile(folder.path(), "claim.ko", "gcc", &["-gz=zlib"]).expect("gcc is there");
    let whole = fs::read(&object).expect("gcc wrote it");
    // struct Elf64_Chdr: type 1, reserved 0, size, alignment 1; zlib's data follows.
    let header = |bytes: &[u8]| {
        bytes[..8] == [1, 0, 0, 0, 0, 0, 0, 0]
            && bytes[16..24] == [1, 0, 0, 0, 0, 0, 0, 0]
            && bytes[24] == 0x78
    };
    let at = whole
        .windows(25)
        .position(header)
        .expect("a section is compressed");
    let claimed = u64::from_le_bytes(whole[at + 8..at + 16].try_into().expect("8 bytes"));
    for (claim, words) in [
        (1 << 40, "can't hold"),
        (claimed - 1, "or more"),
        (claimed + 1, "and there are"),
    ] {
        let mut bytes = whole.clone();
        bytes[at + 8..at + 16].copy_from_slice(&u64::to_le_bytes(claim));
        fs::write(&object, &bytes).expect("there is room");
        let error = read(&object)
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(error.contains("section .debug_"), "{claim}: {error}");
        assert!(error.contains(words), "{claim}: {error}");
    }
}

#[test]
fn split_units_are_refused_and_other_languages_skipped() {
    let folder = TempDir::with_prefix("kstruct-modules").expect("there is room");
    let split =
        compile(folder.path(), "split.ko", "gcc", &["-gsplit-dwarf"]).expect("gcc is there");
    let error = read(&split)
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    assert!(
        error.contains("split DWARF (.dwo files) is not supported"),
        "{error}"
    );
    // As C++ the same file describes the same structs. What is left are the names in the symbol table.
    let options = ["-x", "c++", "-Wno-everything"];
    if let Some(other) = compile(folder.path(), "cpp.ko", "clang", &options) {
        let model = read(&other).expect("it is sound");
        assert!(model.items.is_empty(), "{:?}", model.items);
        for variable in &model.variables {
            assert_eq!(variable.ty, Type::Void, "{variable:?}");
        }
    }
}

/// As packages have them: the module without debug information and compressed, its debug file elsewhere.
#[test]
fn a_stripped_module_is_read_by_its_debug_file() {
    let folder = TempDir::with_prefix("kstruct-modules").expect("there is room");
    let object = compile(folder.path(), "whole.ko", "gcc", &[]).expect("gcc is there");
    let objcopy = |args: &[&str]| {
        let mut command = Command::new("objcopy");
        let output = command.args(args).current_dir(folder.path()).output();
        let output = output.unwrap_or_else(|error| panic!("this test needs objcopy: {error}"));
        assert!(output.status.success(), "{}", shown(&output));
    };
    objcopy(&["--only-keep-debug", "whole.ko", "module.ko.debug"]);
    objcopy(&[
        "--strip-debug",
        "--add-gnu-debuglink=module.ko.debug",
        "whole.ko",
        "module.ko",
    ]);
    let Some(packed) = pack("xz", &folder.path().join("module.ko"), "xz") else {
        return;
    };
    fs::remove_file(object).expect("it is there");
    assert_read(
        "by link",
        &read(&packed).unwrap_or_else(|error| panic!("{error}")),
        true,
    );

    // The link says what the file's checksum is; object files have no build id.
    let debug = folder.path().join("module.ko.debug");
    let mut bytes = fs::read(&debug).expect("objcopy wrote it");
    bytes.push(0);
    fs::write(&debug, &bytes).expect("there is room");
    let error = read(&packed)
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    assert!(
        error.contains("its checksum is not that in .gnu_debuglink"),
        "{error}"
    );
}

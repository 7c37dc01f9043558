//! Units that refer to one another in ways that no compiler writes: reading them ends, and says what is wrong.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kstruct_codegen::dwarf;
use kstruct_codegen::image::Image;
use kstruct_codegen::model::Model;
use tempfile::TempDir;
use tests::shown;

/// Much longer than any of this takes on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(10);

fn read(path: &Path) -> Result<Model, kstruct_codegen::Error> {
    let start = Instant::now();
    let image = Image::open(path)?;
    let model = dwarf::read(&image, &[], &|_| ());
    assert!(start.elapsed() < SOON, "it took {:?}", start.elapsed());
    model
}

/// Abbreviations of the units below: 1 a source file, 2 a partial unit, 3 an import, 4 `struct` with name and size,
/// 5 a member with name, type and place, 6 `int`.
const ABBREVIATIONS: &str = "
    .section .debug_abbrev,\"\",@progbits
.Labbrev:
    .byte 1, 0x11, 1, 0x13, 0x0b, 3, 8, 0, 0
    .byte 2, 0x3c, 1, 0, 0
    .byte 3, 0x3d, 0, 0x18, 0x10, 0, 0
    .byte 4, 0x13, 1, 3, 8, 0x0b, 0x0b, 0, 0
    .byte 5, 0x0d, 0, 3, 8, 0x49, 0x10, 0x38, 0x0b, 0, 0
    .byte 6, 0x24, 0, 3, 8, 0x0b, 0x0b, 0x3e, 0x0b, 0, 0
    .byte 0
    .section .debug_info,\"\",@progbits
.Linfo:
";

/// Units in assembly, so that a test can say which byte means what.
struct Units(String);

impl Units {
    fn new() -> Self {
        Units(ABBREVIATIONS.to_owned())
    }

    /// A unit with a label, by which others import it, and what is in it.
    fn unit(&mut self, number: usize, is_source: bool, content: &str) -> &mut Self {
        let root = if is_source {
            format!(".byte 1, 12\n .string \"/src/{number}.c\"")
        } else {
            ".byte 2".to_owned()
        };
        let _ = write!(
            self.0,
            " .long .Lend{number} - .Lstart{number}\n.Lstart{number}:\n .short 4\n .long .Labbrev\n .byte 8\n.Lunit{number}:\n {root}\n{content} .byte 0\n.Lend{number}:\n"
        );
        self
    }

    fn assemble(&self, folder: &Path) -> PathBuf {
        let (source, object) = (folder.join("units.s"), folder.join("units.o"));
        fs::write(&source, &self.0).expect("there is room");
        let mut command = Command::new("as");
        let output = command.arg("-o").args([&object, &source]).output();
        let output = output.unwrap_or_else(|error| panic!("this test needs an assembler: {error}"));
        assert!(output.status.success(), "{}", shown(&output));
        object
    }
}

fn import(number: usize) -> String {
    format!(" .byte 3\n .long .Lunit{number} - .Linfo\n")
}

/// A struct with one member at 0 of a type that another label names.
fn structure(name: &str, size: u8, label: &str, member_type: &str) -> String {
    format!(
        "{label}:\n .byte 4\n .string \"{name}\"\n .byte {size}\n .byte 5\n .string \"m\"\n .long {member_type} - .Linfo\n .byte 0\n .byte 0\n"
    )
}

const INT: &str = ".Lint:\n .byte 6\n .string \"int\"\n .byte 4, 5\n";

fn names(model: &Model) -> Vec<&str> {
    let mut names: Vec<&str> = model.items.iter().map(|item| &*item.name).collect();
    names.sort_unstable();
    names
}

#[test]
fn imports_in_a_circle_end() {
    let folder = TempDir::with_prefix("kstruct-units").expect("there is room");
    let mut units = Units::new();
    units.unit(0, true, &import(1));
    let shared = structure("shared", 4, ".Lshared", ".Lint");
    units.unit(1, false, &(import(2) + INT + &shared));
    let user = structure("user", 4, ".Luser", ".Lshared");
    units.unit(2, false, &(import(1) + &import(2) + &import(0) + &user));
    let model = read(&units.assemble(folder.path())).expect("it is odd, and sound");
    assert_eq!(names(&model), ["shared", "user"]);
    assert_eq!(model.problems.total(), 0, "{:?}", model.problems);
}

#[test]
fn what_no_source_imports_is_left_out() {
    let folder = TempDir::with_prefix("kstruct-units").expect("there is room");
    let mut units = Units::new();
    units.unit(0, true, INT);
    let unused = structure("unused", 4, ".Lunused", ".Lint");
    units.unit(1, false, &unused);
    let model = read(&units.assemble(folder.path())).expect("it is sound");
    assert!(names(&model).is_empty(), "{:?}", names(&model));
}

#[test]
fn structs_that_contain_each_other_across_units_are_counted() {
    let folder = TempDir::with_prefix("kstruct-units").expect("there is room");
    let mut units = Units::new();
    units.unit(
        0,
        true,
        &(import(1) + &structure("first", 4, ".Lfirst", ".Lsecond")),
    );
    units.unit(1, false, &structure("second", 4, ".Lsecond", ".Lfirst"));
    let model = read(&units.assemble(folder.path())).expect("what can be said is said");
    assert!(model.problems.recursive > 0, "{:?}", model.problems);
    // One of them may be there with and without the other in it.
    let mut names = names(&model);
    names.dedup();
    assert_eq!(names, ["first", "second"]);
}

#[test]
fn references_to_nothing_are_counted() {
    let folder = TempDir::with_prefix("kstruct-units").expect("there is room");
    let mut units = Units::new();
    // Into the middle of a unit's header, and behind the last unit.
    let nowhere = import(0)
        + " .byte 3\n .long 0x7fffffff\n"
        + &structure("broken", 4, ".Lbroken", ".Lstart0")
        + " .byte 4\n .string \"other\"\n .byte 4\n .byte 5\n .string \"m\"\n .long 0x7ffffff0\n .byte 0\n .byte 0\n";
    units.unit(0, true, &nowhere);
    let model = read(&units.assemble(folder.path())).expect("what can be said is said");
    assert!(model.problems.dangling >= 2, "{:?}", model.problems);
    assert_eq!(names(&model), ["broken", "other"]);
}

/// 300 units that each import all others are 90,000 imports, and no more.
#[test]
fn units_that_all_import_each_other_do_not_explode() {
    let folder = TempDir::with_prefix("kstruct-units").expect("there is room");
    let mut units = Units::new();
    let count = 300;
    let all: String = (0..count).map(import).collect();
    for number in 0..count {
        let name = format!("s{number}");
        let own = structure(&name, 4, &format!(".Ls{number}"), ".Lint");
        let int = if number == 0 { INT } else { "" };
        units.unit(number, number % 2 == 0, &(all.clone() + int + &own));
    }
    let model = read(&units.assemble(folder.path())).expect("it is odd, and sound");
    assert_eq!(model.items.len(), count);
}

/// Damages files whose units refer to one another.
#[test]
fn damage_is_survived() {
    let folder = TempDir::with_prefix("kstruct-units").expect("there is room");
    let path = |name: &str| folder.path().join(name);
    fs::write(
        path("a.c"),
        "struct s { struct s *next; struct { int a; long b; } in; enum { A, B } e; };\n\
         typedef struct { int x; } t; struct s s; t u;\n",
    )
    .expect("there is room");
    for name in ["b.c", "c.c"] {
        let text = fs::read_to_string(path("a.c")).expect("it was written");
        let text = text.replace(
            "struct s s; t u;",
            &format!("struct s s_{}; t u_{};", &name[..1], &name[..1]),
        );
        fs::write(path(name), text).expect("there is room");
    }
    let (mut read_well, mut refused) = (0, 0);
    for (name, options) in [
        ("types", ["-gdwarf-5", "-fdebug-types-section"]),
        ("types4", ["-gdwarf-4", "-fdebug-types-section"]),
        ("lto", ["-gdwarf-5", "-flto"]),
        ("compressed", ["-gdwarf-5", "-gz"]),
    ] {
        let mut command = Command::new("gcc");
        command.current_dir(folder.path()).args(options);
        command.args([
            "-nostdlib",
            "-static",
            "-no-pie",
            "-w",
            "-Wl,-e0",
            "-o",
            name,
            "a.c",
            "b.c",
            "c.c",
        ]);
        let output = command.output().expect("gcc is there");
        assert!(output.status.success(), "{}", shown(&output));
        let whole = fs::read(path(name)).expect("gcc wrote it");
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for seed in 0..150 {
            let mut bytes = whole.clone();
            for _ in 0..=seed % 6 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let at = bytes.len() / 8 + random as usize % (bytes.len() * 7 / 8);
                bytes[at] ^= 1 << (random >> 60 & 7);
            }
            fs::write(path("damaged"), &bytes).expect("there is room");
            match read(&path("damaged")) {
                Ok(_) => read_well += 1,
                Err(_) => refused += 1,
            }
        }
    }
    assert!(read_well > 20 && refused > 20, "{read_well} {refused}");
}

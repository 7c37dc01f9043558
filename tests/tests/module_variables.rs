//! Variables of modules, from objects that gcc makes: section and offset, whatever the class of the file.

use std::path::{Path, PathBuf};
use std::process::Command;

use kstruct_codegen::image::Image;
use kstruct_codegen::model::Model;
use kstruct_codegen::{dwarf, emit};
use tests::shown;

const KERNEL: &str = r#"
const char linux_banner[] = "Linux version 9.9.9-test (t@t) #1";
struct shared { int a; long b; };
struct shared kernel_one;
int both = 1;
"#;

const MODULE: &str = r#"
struct shared { int a; long b; };
struct private { struct shared s; int last; };
int first = 1;
static struct private second = { .last = 2 };
struct private empty;
int both = 3;
__attribute__((section(".data..percpu"))) int counter = 5;
int per_cpu__older __attribute__((section(".data.percpu"))) = 6;
int *use(void) { return &second.last; }
"#;

/// Compiles without linking, as a module is.
fn object(folder: &Path, name: &str, source: &str, width: &str) -> PathBuf {
    let (from, to) = (folder.join(format!("{name}.c")), folder.join(name));
    std::fs::write(&from, source).expect("it can be written");
    let output = Command::new("gcc")
        .args(["-g", "-O0", "-fno-pie", "-fno-common", width, "-c", "-o"])
        .args([&to, &from])
        .output()
        .unwrap_or_else(|error| panic!("this test compiles C, and gcc can't be run: {error}"));
    assert!(output.status.success(), "{}", shown(&output));
    to
}

/// The variables as lines: name, module, section, whether per CPU; and those of `.data` in the order of their offsets.
fn variables(model: &Model) -> Vec<String> {
    let mut lines: Vec<String> = model
        .variables
        .iter()
        .map(|variable| match &variable.module {
            Some(place) => format!(
                "{} {} {} {}",
                variable.name, place.module, place.section, variable.per_cpu
            ),
            None => variable.name.to_string(),
        })
        .collect();
    lines.sort();
    lines
}

fn read(width: &str) -> Model {
    let folder = tempfile::tempdir().expect("there is room");
    let kernel = object(folder.path(), "vmlinux", KERNEL, width);
    let module = object(folder.path(), "some-thing.ko", MODULE, width);
    let open = |path: &Path| Image::open(path).expect("gcc wrote it");
    dwarf::read(&open(&kernel), &[open(&module)], &|_| ()).expect("gcc's DWARF is sound")
}

#[test]
fn sections_and_offsets_are_those_of_the_file() {
    for width in ["-m64", "-m32"] {
        let model = read(width);
        assert_eq!(
            variables(&model),
            [
                "both",
                "both some_thing .data false",
                "counter some_thing .data..percpu true",
                "empty some_thing .bss false",
                "first some_thing .data false",
                "kernel_one",
                "linux_banner",
                "older some_thing .data.percpu true",
                "second some_thing .data false",
            ],
            "{width}"
        );
        let offset = |name: &str| {
            let found = model
                .variables
                .iter()
                .find(|variable| &*variable.name == name && variable.module.is_some());
            found.expect("it is there").address
        };
        assert_eq!(offset("first"), 0, "{width}");
        assert_eq!(offset("empty"), 0, "{width}");
        assert_eq!(offset("counter"), 0, "{width}");
        assert!(
            0 < offset("second") && offset("second") < offset("both"),
            "{width}"
        );
        assert!(offset("both") < 0x100, "{width}");
        // One struct, though two files define it.
        let shared = model.items.iter().filter(|item| &*item.name == "shared");
        assert_eq!(shared.count(), 1, "{width}");
    }
}

#[test]
fn the_kernels_names_stay_and_modules_are_named() {
    let model = read("-m64");
    let files = emit::files(&model, "test").expect("it is Rust");
    let text = |file: &str| files.get(file).map(String::as_str).unwrap_or_default();
    let squeezed: String = text("sym/letter_b.rs").split_whitespace().collect();
    assert!(
        squeezed.contains("pubconstboth:Sym<i32>=Sym::new("),
        "{squeezed}"
    );
    assert!(
        squeezed.contains("pubconstboth__some_thing:ModuleSym<i32>=ModuleSym::new(&super::super::modules::some_thing,\".data\","),
        "{squeezed}"
    );
    let counter = text("sym/letter_c.rs");
    assert!(
        counter.contains("pub const counter: ModulePerCpu<i32>"),
        "{counter}"
    );
    assert!(text("modules.rs").contains("name: \"some_thing\""));
    assert!(text("names.txt").contains("sym:both__some_thing\n"));
}

#[test]
fn files_that_are_added_give_types_only() {
    let folder = tempfile::tempdir().expect("there is room");
    let kernel = object(folder.path(), "vmlinux", KERNEL, "-m64");
    let extra = object(folder.path(), "extra.o", MODULE, "-m64");
    let open = |path: &Path| Image::open(path).expect("gcc wrote it");
    let model = dwarf::read_with(&open(&kernel), &[], &[open(&extra)], &|_| ())
        .expect("gcc's DWARF is sound");
    assert_eq!(variables(&model), ["both", "kernel_one", "linux_banner"]);
    assert!(model.items.iter().any(|item| &*item.name == "private"));
    let other = object(folder.path(), "other.o", MODULE, "-m32");
    let error = dwarf::read_with(&open(&kernel), &[], &[open(&other)], &|_| ());
    let error = error.expect_err("it is for another machine").to_string();
    assert!(error.contains("for another machine"), "{error}");
}

//! Cases of C that are hard to get right, each with the bindings that it gives (`expected.rs`) and a program that reads the
//! values which the compiler laid out (`check.rs`). They lie in `tests/golden`. `KSTRUCT_BLESS=1` writes what is expected anew.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kstruct_codegen::image::Image;
use kstruct_codegen::{dwarf, emit, output};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
use tempfile::TempDir;
use tests::{Page, Synthetic, root, shown};

/// Where the runtime's memory of a case lies in the file that the check opens.
const PAGE: u64 = 4096;

struct Case {
    name: String,
    sources: PathBuf,
    /// The compiled program, or for a foreign machine the object file.
    program: PathBuf,
}

fn cases(folder: &Path) -> Vec<Case> {
    let mut cases: Vec<Case> = fs::read_dir(root().join("tests/golden"))
        .expect("the cases are there")
        .map(|entry| {
            let sources = entry.expect("it can be listed").path();
            let name = sources
                .file_name()
                .expect("it has a name")
                .to_string_lossy();
            Case {
                program: folder.join(&*name),
                name: name.into_owned(),
                sources,
            }
        })
        .collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(cases.len() > 10, "{}", cases.len());
    cases
}

impl Case {
    /// The compiler and the options that the first line of `input.c` asks for.
    fn compile(&self) {
        let source = fs::read_to_string(self.sources.join("input.c")).expect("it is there");
        let first = source.lines().next().unwrap_or_default();
        let asks = |compiler| {
            let options = first.strip_prefix(compiler)?.strip_suffix(" */")?;
            Some(options.split(' ').map(str::to_owned).collect::<Vec<_>>())
        };
        let map = format!("-fdebug-prefix-map={}=/kernel", self.sources.display());
        let mut command;
        if let Some(options) = asks("/* clang: ") {
            command = Command::new("clang");
            command.args(options).arg("-c");
        } else {
            command = Command::new("gcc");
            command.args(asks("/* gcc: ").unwrap_or_default());
            command.args(["-no-pie", "-nostdlib", "-static", "-Wl,-e0"]);
        }
        command.args(["-g", "-O0", "-ffreestanding", "-fno-pie", "-fms-extensions"]);
        command.arg(map).arg("-o").arg(&self.program);
        for file in ["input.c", "other.c"] {
            if self.sources.join(file).exists() {
                command.arg(file);
            }
        }
        let output = command
            .current_dir(&self.sources)
            .output()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        assert!(output.status.success(), "{}: {}", self.name, shown(&output));
    }

    /// The bindings; what users see of them is compared with what is expected.
    fn bindings(&self) -> emit::Files {
        let image = Image::open(&self.program).expect("the compiler wrote it");
        let model = dwarf::read(&image, &[], &|_| ()).expect("its DWARF is sound");
        assert_eq!(model.problems.total(), 0, "{}", self.name);
        let files = emit::files(&model, "a test").expect("the generator writes Rust");
        let mut text = String::new();
        for (name, file) in &files {
            // Where the linker put a variable is no one's business.
            if name.ends_with(".rs") && name != "identity.rs" && !name.starts_with("sym/") {
                let _ = writeln!(text, "// {name}\n{file}");
            }
        }
        let expected = self.sources.join("expected.rs");
        if std::env::var_os("KSTRUCT_BLESS").is_some() {
            fs::write(&expected, &text).expect("it can be written");
        }
        let known = fs::read_to_string(&expected).unwrap_or_default();
        let line = text.lines().zip(known.lines()).position(|(a, b)| a != b);
        assert!(
            text == known,
            "{}: the bindings differ from {}, first in line {:?}; if they should, run with KSTRUCT_BLESS=1",
            self.name,
            expected.display(),
            line.map(|line| line + 1)
        );
        files
    }

    /// The bytes of its variables as Rust, and its memory as a dump.
    fn data(&self, dump: &mut Synthetic) -> String {
        let bytes = fs::read(&self.program).expect("the compiler wrote it");
        let file = object::File::parse(&*bytes).expect("it is an object file");
        let physical = 0x100_0000;
        for section in file.sections() {
            let address = section.address();
            if address == 0 || !file.is_64() {
                continue;
            }
            let mut data = section
                .uncompressed_data()
                .expect("it has bytes")
                .into_owned();
            data.resize(section.size() as usize, 0);
            let first = address & !(PAGE - 1);
            // Sections share pages, whose physical address goes by the virtual one.
            for page in (first..address + section.size()).step_by(PAGE as usize) {
                dump.map(page, physical + (page & 0xff_ffff), Page::Small);
            }
            dump.put(physical + (address & 0xff_ffff), &data);
        }
        let mut text = String::new();
        for symbol in file.symbols() {
            let (Ok(name), Some(index)) = (symbol.name(), symbol.section_index()) else {
                continue;
            };
            if symbol.kind() != object::SymbolKind::Data || name.contains('.') {
                continue;
            }
            let section = file.section_by_index(index).expect("it lies in a section");
            let start = (symbol.address() - section.address()) as usize;
            let mut data = section.data().expect("it has bytes").to_vec();
            data.resize(section.size() as usize, 0);
            let data = &data[start..start + symbol.size() as usize];
            let raw = if ["async", "type"].contains(&name) {
                "r#"
            } else {
                ""
            };
            if name != "self" {
                let _ = writeln!(text, "pub static {raw}{name}: &[u8] = &{data:?};");
            }
        }
        text
    }
}

#[test]
fn every_case_is_as_expected_and_reads_what_the_compiler_wrote() {
    let folder = TempDir::with_prefix("kstruct-golden").expect("there is room");
    let package = folder.path().join("package");
    let source = package.join("src");
    fs::create_dir_all(&source).expect("it can be made");
    let mut main = String::from(MAIN);
    let mut calls = String::new();
    for case in cases(folder.path()) {
        case.compile();
        let bindings = folder.path().join("bindings").join(&case.name);
        output::write(&bindings, &case.bindings(), &[], false).expect("it can be written");
        let mut dump = Synthetic::x86_64(4);
        let data = case.data(&mut dump);
        let core = folder.path().join(format!("{}.core", case.name));
        fs::write(&core, dump.bytes()).expect("it can be written");
        let name = &case.name;
        let _ = writeln!(
            main,
            "mod {name} {{\n#[path = {:?}]\n#[allow(dead_code, unused_imports, missing_docs)]\npub mod bindings;\n#[path = {:?}]\npub mod check;\n#[allow(dead_code)]\npub mod data {{\n{data}}}\n}}",
            bindings.join("mod.rs"),
            case.sources.join("check.rs"),
        );
        let _ = writeln!(calls, "    run({name:?}, {core:?}, {name}::check::check);");
    }
    let _ = writeln!(main, "fn main() {{\n{calls}}}");
    fs::write(source.join("main.rs"), main).expect("it can be written");
    let manifest = format!(
        "[package]\nname = \"golden\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n[dependencies]\nkstruct.path = {:?}\n",
        root().join("runtime")
    );
    fs::write(package.join("Cargo.toml"), manifest).expect("it can be written");
    // The same versions as the workspace's, which are there without a network.
    fs::copy(root().join("Cargo.lock"), package.join("Cargo.lock")).expect("it can be copied");
    let output = Command::new(env!("CARGO"))
        .current_dir(&package)
        .env(
            "CARGO_TARGET_DIR",
            concat!(env!("CARGO_TARGET_TMPDIR"), "/packages"),
        )
        .env("CARGO_TERM_COLOR", "never")
        .env("RUSTFLAGS", "-Dwarnings")
        .args(["run", "--quiet", "--offline"])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", shown(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.lines().count(), cases(folder.path()).len(), "{text}");
}

/// What the checks share.
const MAIN: &str = r#"
#![allow(unused_imports, non_camel_case_types, non_upper_case_globals, non_snake_case)]

use kstruct::{Functions, KernelInfo, Memory, Part, View};

static KERNEL: KernelInfo = KernelInfo {
    release: "synthetic",
    build_id: "",
    banner: "",
    machine: 62,
    pointer_size: 8,
    big_endian: false,
    banner_address: None,
    page_table: Some(0xffff_ffff_8000_1000),
    page_offset_base: None,
    per_cpu_offset: None,
    functions: Functions(""),
    module_section: None,
};

/// A struct in bytes that are not in the memory: those of another machine.
#[allow(dead_code)]
fn view<'m, T: View<'m>>(memory: &'m Memory, bytes: &'static [u8]) -> T {
    T::new(Part { memory, address: 0x1000, bytes: Some(bytes) })
}

fn run(name: &str, core: &str, check: fn(&Memory)) {
    let memory = Memory::open(core.as_ref(), &KERNEL, false).unwrap_or_else(|error| panic!("{name}: {error}"));
    check(&memory);
    println!("{name}: as the compiler wrote it");
}
"#;

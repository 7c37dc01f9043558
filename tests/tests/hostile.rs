//! Names in debug information that try to be more than names: none of them becomes code, and none a row of a table.

use std::fs;
use std::path::Path;
use std::process::Command;

use kstruct_codegen::image::Image;
use kstruct_codegen::model::{Kernel, Model};
use kstruct_codegen::passes::flattened;
use kstruct_codegen::{btf, dwarf, emit, names, output};
use proc_macro2::{TokenStream, TokenTree};
use tempfile::TempDir;
use tests::{generated, root, shown};

/// What stands in place of `PLACE0`, `PLACE1` and so on.
fn hostile_names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = [
        "x(self) { evil() } pub fn evil",
        "\"; pub fn evil() {} //",
        "\\\"#; evil!(); r#\"",
        "*/ pub fn evil() {} /*",
        "`\n#![feature(evil)]\npub fn evil() {}\n///",
        "a 0 8 u int;evil 0 8 u int;b",
        "A=0;evil=1;B",
        "\u{202e}\u{2066}evil\u{0}",
        "]}; pub const evil: u8 = 0; const _: () = {[",
        "{evil}",
        "'evil: loop {}",
        "r#evil",
        "::evil::evil",
        "",
    ]
    .map(|name| name.as_bytes().to_vec())
    .to_vec();
    names.push(b"\xff\xfeevil\x80;".to_vec());
    names.push([b"evil;".repeat(200_000), b"end".to_vec()].concat());
    names
}

const SOURCE: &str = r#"
struct PLACE0 { int PLACE0; char PLACE1; struct PLACE2 *PLACE2; int PLACE3 : 3; union { int PLACE4; char *PLACE5; };
    struct { int PLACE6; } PLACE7; int PLACE8[3]; int PLACE9; int PLACE10; int PLACE11; int PLACE12; int PLACE14; int PLACE15; };
enum PLACE1 { PLACE3, PLACE4, PLACE5 = 5, PLACE6, PLACE7 = -1, PLACE8, PLACE9, PLACE10, PLACE11, PLACE12, PLACE14, PLACE15 };
struct PLACE4 { int fine; }; struct PLACE8 { int fine; }; struct PLACE9 { int fine; }; struct PLACE14 { int fine; };
union PLACE15 { int fine; }; struct PLACE10 { int fine; };
typedef struct PLACE0 PLACE16; typedef int (*PLACE17)(struct PLACE0 *, enum PLACE1);
PLACE16 PLACE18; PLACE17 PLACE19; enum PLACE1 PLACE20; struct PLACE4 PLACE21; struct PLACE8 PLACE22; struct PLACE9 PLACE23;
struct PLACE14 PLACE24; union PLACE15 PLACE25; struct PLACE10 PLACE26; int PLACE27, PLACE28, PLACE29, PLACE30, PLACE31;
"#;

/// The text as GNU as takes it between quotes.
fn escaped(name: &[u8]) -> String {
    let octal = |byte: &u8| format!("\\{byte:03o}");
    name.iter().map(octal).collect()
}

/// A program whose debug information has other names than its source.
fn compile(folder: &Path, version: u32) -> Image {
    let path = |name: &str| folder.join(format!("{name}{version}"));
    let (source, assembly, object) = (path("hostile-").with_extension("c"), path("a.s"), path("b"));
    fs::write(&source, SOURCE).expect("there is room");
    let gcc = |arguments: &[&str], from: &Path, to: &Path| {
        let output = Command::new("gcc")
            .args(arguments)
            .arg("-o")
            .args([to, from])
            .output()
            .expect("gcc is installed");
        assert!(output.status.success(), "{}", shown(&output));
    };
    let debug = format!("-gdwarf-{version}");
    gcc(
        &["-S", "-ffreestanding", "-fno-pie", &debug],
        &source,
        &assembly,
    );
    let text = fs::read_to_string(&assembly).expect("gcc wrote it");
    let names = hostile_names();
    let mut replaced = 0;
    let mut out = String::new();
    for line in text.lines() {
        let number = line
            .trim()
            .strip_prefix(".string\t\"PLACE")
            .and_then(|rest| rest.strip_suffix('"'))
            .and_then(|number| number.parse::<usize>().ok());
        let file = line.contains(".string") && line.contains("hostile-");
        if let Some(number) = number {
            replaced += 1;
            out.push_str(&format!(
                "\t.ascii \"{}\\0\"\n",
                escaped(&names[number % names.len()])
            ));
        } else if file {
            out.push_str("\t.ascii \"evil`\\n#![evil]\\\"; fn evil() {} //.c\\0\"\n");
        } else {
            out.push_str(line);
            out.push('\n');
        }
    }
    assert!(replaced >= 31, "{replaced}");
    fs::write(&assembly, out).expect("there is room");
    let link = [
        "-x",
        "assembler",
        "-no-pie",
        "-nostdlib",
        "-static",
        "-Wl,-e0",
    ];
    gcc(&link, &assembly, &object);
    Image::open(&object).expect("gcc wrote it")
}

/// BTF of a struct, an enum and a typedef for each name that BTF allows to be so long.
fn hostile_btf() -> Vec<u8> {
    let mut strings = vec![0];
    let mut types: Vec<u32> = Vec::new();
    let mut string = |name: &[u8]| {
        let at = strings.len() as u32;
        strings.extend(name.iter().filter(|byte| **byte != 0));
        strings.push(0);
        at
    };
    // Type 1: `int`.
    types.extend([string(b"int"), 1 << 24, 4, 1 << 24 | 32]);
    let mut last = 1;
    for name in hostile_names().iter().filter(|name| name.len() < 500) {
        let name = string(name);
        types.extend([name, 4 << 24 | 2, 8, name, 1, 0, name, 1, 32]);
        types.extend([name, 6 << 24 | 2, 4, name, 0, name, 1]);
        types.extend([name, 8 << 24, last + 1]);
        last += 3;
    }
    let types: Vec<u8> = types.iter().flat_map(|word| word.to_le_bytes()).collect();
    let mut out = vec![0x9f, 0xeb, 1, 0];
    let (type_length, string_length) = (types.len() as u32, strings.len() as u32);
    for word in [24, 0, type_length, type_length, string_length] {
        out.extend(word.to_le_bytes());
    }
    out.extend(types);
    out.extend(strings);
    out
}

/// Asserts that a model's bindings are sound, and that nothing in them goes by a name of which a hostile name is made up.
fn bindings(model: &Model) -> emit::Files {
    let files = emit::files(model, "a test").expect("the generator writes Rust");
    generated::check(&files);
    let names = names::assign(model).items;
    let members: usize = model
        .items
        .iter()
        .zip(names)
        .filter(|(_, name)| !name.is_empty())
        .map(|(item, _)| flattened(model, item).len())
        .sum();
    let mut rows = 0;
    for (name, text) in files.iter().filter(|(name, _)| name.ends_with(".rs")) {
        assert!(text.len() < 1 << 20, "{name} has {} bytes", text.len());
        let tokens: TokenStream = text.parse().expect("it was checked");
        assert!(!has_evil(tokens), "{name}: something is called evil");
        rows += text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("members: \""))
            .map(|line| line.matches(';').count())
            .sum::<usize>();
    }
    assert_eq!(rows, members, "rows of tables");
    files
}

fn has_evil(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Group(group) => has_evil(group.stream()),
        TokenTree::Ident(ident) => ["evil", "r#evil"].contains(&ident.to_string().as_str()),
        _ => false,
    })
}

#[test]
fn no_name_becomes_code() {
    let folder = TempDir::with_prefix("kstruct-hostile").expect("there is room");
    let mut root_module = String::from("#![allow(warnings)]\n");
    let mut add = |name: &str, files: &emit::Files| {
        let bindings = folder.path().join(name);
        output::write(&bindings, files, b"", false).expect("it can be written");
        let path = bindings.join("mod.rs");
        root_module += &format!("#[path = {path:?}]\npub mod {name};\n");
    };
    for version in [4, 5] {
        let image = compile(folder.path(), version);
        let model = dwarf::read(&image, &[], &|_| ()).expect("only its names are hostile");
        assert!(model.items.len() > 5 && model.variables.len() > 10);
        add(&format!("dwarf{version}"), &bindings(&model));
    }
    let kernel = Kernel {
        pointer_size: 8,
        release: "evil\"; fn evil() {} //".into(),
        banner: "evil\"; fn evil() {} //\\".into(),
        ..Kernel::default()
    };
    let model = btf::read(&hostile_btf(), &[], kernel, btf::Symbols::default())
        .expect("only its names are hostile");
    assert!(model.items.len() > 10, "{}", model.items.len());
    add("btf", &bindings(&model));

    let package = folder.path().join("package");
    fs::create_dir_all(package.join("src")).expect("it can be made");
    fs::write(package.join("src/lib.rs"), root_module).expect("it can be written");
    let manifest = format!(
        "[package]\nname = \"hostile\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n[dependencies]\nkstruct.path = {:?}\n",
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
        .args(["build", "--quiet", "--offline"])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", shown(&output));
}

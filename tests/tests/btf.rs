//! Types from BTF are the types from DWARF: of small C files here, and of the lab's kernels with feature `lab`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use kstruct_codegen::btf::{self, Malformed, Module, Symbols};
use kstruct_codegen::image::Image;
use kstruct_codegen::model::{Item, Kernel, Kind, Model, Type};
use kstruct_codegen::{dwarf, emit, passes};
use tempfile::TempDir;

/// A member as C lets one name it: name, byte offset, bit offset and width, size in bytes.
type Flat = (String, u64, Option<(u64, u64)>, Option<u64>);

fn flat(model: &Model, item: &Item) -> Vec<Flat> {
    let mut members: Vec<Flat> = passes::flattened(model, item)
        .into_iter()
        .map(|member| {
            let bits = member.bits.map(|bits| (bits.offset, bits.size));
            let size = model.size_of(&member.ty).filter(|_| bits.is_none());
            (member.name.to_string(), member.offset, bits, size)
        })
        .collect();
    members.sort();
    members
}

type Layout = (u64, Vec<Flat>);

/// The layouts of each named struct and union: several where a name has several.
fn layouts(model: &Model) -> BTreeMap<(Kind, String), BTreeSet<Layout>> {
    let mut out: BTreeMap<_, BTreeSet<Layout>> = BTreeMap::new();
    for item in &model.items {
        if item.kind != Kind::Enum && !item.name.is_empty() {
            out.entry((item.kind, item.name.to_string()))
                .or_default()
                .insert((item.size, flat(model, item)));
        }
    }
    out
}

const SOURCE: &str = r#"
typedef unsigned char u8;
typedef struct { int counter; } atomic_t;
enum sign { MINUS = -1, ZERO, ONE };
enum big { BIG = 0xffffffff };
enum wide { WIDE = 0x123456789abcdef0ULL };
struct declared;
union either { long a; char b[3]; };
struct inner { short x; struct inner *next; };
struct all {
    u8 byte;
    unsigned a : 3, b : 7;
    int : 4;
    signed c : 9;
    _Bool flag : 1;
    unsigned long long far : 40;
    struct { int one; union { int two; struct { char deep; } ; }; };
    atomic_t count;
    struct inner by_value, *by_pointer;
    union either either;
    enum sign sign;
    enum sign sign_bits : 3;
    enum big big;
    enum wide wide;
    const volatile int *restrict qualified;
    int table[3][5];
    struct declared *declared;
    int (*call)(struct all *, const char *, ...);
    char text[16];
    long tail[];
};
struct packed { char c; int i; unsigned b : 5; } __attribute__((packed));
struct empty {};
struct all all;
struct packed packed;
struct empty empty;
"#;

struct Workshop {
    folder: TempDir,
}

impl Workshop {
    fn new() -> Self {
        Workshop {
            folder: TempDir::with_prefix("kstruct-btf").expect("there is room"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Compiles C to an object, with the BTF that `compiler` or pahole writes.
    fn compile(&self, name: &str, compiler: &[&str], pahole: bool) -> Image {
        self.compile_source(name, compiler, pahole, SOURCE)
    }

    fn compile_source(&self, name: &str, compiler: &[&str], pahole: bool, text: &str) -> Image {
        let (source, object) = (
            self.path(&format!("{name}.c")),
            self.path(&format!("{name}.o")),
        );
        std::fs::write(&source, text).expect("it can be written");
        run(Command::new(compiler[0])
            .args(&compiler[1..])
            .args(["-g", "-c", "-o"])
            .args([&object, &source]));
        if pahole {
            run(Command::new("pahole").arg("-J").arg(&object));
        }
        Image::open(&object).expect("the compiler wrote it")
    }
}

fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("this test needs {command:?}: {error}"));
    assert!(output.status.success(), "{}", tests::shown(&output));
}

fn from_btf(image: &Image) -> Model {
    let kernel = image.parse().expect("ELF").kernel().expect("ELF");
    btf::read_files(image, &[], kernel, Symbols::default()).expect("the BTF is sound")
}

fn item<'m>(model: &'m Model, name: &str) -> &'m Item {
    let mut found = model.items.iter().filter(|item| &*item.name == name);
    let item = found.next().unwrap_or_else(|| panic!("no {name}"));
    assert!(found.next().is_none(), "two of {name}");
    item
}

#[test]
fn paholes_btf_is_gccs_dwarf() {
    let workshop = Workshop::new();
    let image = workshop.compile("gcc", &["gcc", "-O1"], true);
    let dwarf = dwarf::read(&image, &[], &|_| ()).expect("gcc's DWARF is sound");
    let btf = from_btf(&image);
    let (expected, found) = (layouts(&dwarf), layouts(&btf));
    assert_eq!(found, expected);
    assert!(found.len() >= 6, "{:?}", found.keys());
    let enumerators = |model: &Model, name| item(model, name).enumerators.clone();
    for name in ["sign", "wide", "big"] {
        assert_eq!(enumerators(&btf, name), enumerators(&dwarf, name), "{name}");
    }
    assert_eq!(btf.problems.total(), 0);
}

#[test]
fn clangs_btf_is_its_dwarf_in_both_byte_orders() {
    let workshop = Workshop::new();
    for (target, big) in [("bpfel", false), ("bpfeb", true)] {
        let image = workshop.compile(target, &["clang", "-target", target], false);
        let model = from_btf(&image);
        assert_eq!(model.kernel.big_endian, big);
        assert_eq!(model.problems.total(), 0);
        let dwarf = dwarf::read(&image, &[], &|_| ()).expect("clang's DWARF is sound");
        let (expected, found) = (layouts(&dwarf), layouts(&model));
        assert_eq!(found, expected, "{target}");
        assert!(found.len() >= 6, "{:?}", found.keys());
        let sign = &item(&model, "sign").enumerators;
        assert_eq!(sign[0].value, -1, "{target}");
        assert!(emit::files(&model, "a test").is_ok());
    }
}

#[test]
fn a_module_merges_where_it_is_the_same() {
    let workshop = Workshop::new();
    let base = workshop.compile("base", &["gcc"], true);
    let base_path = workshop.path("base.o");
    let modules: Vec<Image> = ["one", "two"]
        .map(|name| {
            let own = if name == "one" { "int one;" } else { "char two[9];" };
            let text = format!(
                "{SOURCE}\nstruct shared {{ struct all *all; int x; }} shared;\nstruct private {{ {own} }} private;\nstruct declared {{ struct shared s; }} declared;"
            );
            let object = workshop.path(&format!("{name}.o"));
            workshop.compile_source(name, &["gcc"], false, &text);
            run(Command::new("pahole")
                .args(["-J", "--btf_base"])
                .args([&base_path, &object]));
            Image::open(&object).expect("pahole wrote it")
        })
        .into();
    let data = |image: &Image| btf::section(image).expect("it has BTF").into_owned();
    let raw = workshop.path("base.btf");
    std::fs::write(&raw, data(&base)).expect("it can be written");
    let blobs: Vec<Vec<u8>> = modules.iter().map(data).collect();
    let kernel = || base.parse().expect("ELF").kernel().expect("ELF");
    let read = |order: [usize; 2]| {
        let names = ["one", "two"];
        let modules = order.map(|index| Module {
            name: names[index],
            build_id: &[],
            data: &blobs[index],
        });
        btf::read(&data(&base), &modules, kernel(), Symbols::default()).expect("sound")
    };
    let model = read([0, 1]);
    let modules: Vec<&str> = model.modules.iter().map(|module| &*module.name).collect();
    assert_eq!(modules, ["one", "two"]);
    // One of each that is the same, also where both modules brought it; two of what differs.
    let shared = item(&model, "shared");
    assert_eq!(shared.members.len(), 2);
    let Type::Pointer(target) = &shared.members[0].ty else {
        panic!("a pointer");
    };
    let Type::Item(id) = **target else {
        panic!("a struct of the kernel");
    };
    assert_eq!(&*model.item(id).name, "all");
    let private = model.items.iter().filter(|item| &*item.name == "private");
    assert_eq!(private.map(|item| item.size).collect::<Vec<_>>(), [4, 9]);
    // What the kernel only declares, the module defines.
    let declared = item(&model, "all")
        .members
        .iter()
        .find(|member| &*member.name == "declared");
    let Some(Type::Pointer(target)) = declared.map(|member| &member.ty) else {
        panic!("a pointer");
    };
    assert!(matches!(**target, Type::Item(_)));
    // The order in which modules are given changes nothing.
    let files = |model: &Model| emit::files(model, "a test").expect("it emits");
    assert!(files(&model) == files(&read([1, 0])));
    assert!(dwarf::module_name(Path::new("nf-x.ko")) == "nf_x");
}

#[test]
fn what_is_cut_or_changed_is_refused_or_counted() {
    let workshop = Workshop::new();
    let image = workshop.compile("hostile", &["gcc"], true);
    let sound = btf::section(&image).expect("it has BTF").into_owned();
    let kernel = Kernel {
        pointer_size: 8,
        ..Kernel::default()
    };
    let read = |data: &[u8]| btf::read(data, &[], kernel.clone(), Symbols::default());
    assert!(read(&sound).is_ok());
    for length in 0..sound.len() {
        assert!(read(&sound[..length]).is_err(), "cut at {length}");
    }
    let mut results = [0, 0];
    for at in 0..sound.len() {
        for value in [0, 1, 0x7f, 0xff, sound[at] ^ 0x80] {
            let mut data = sound.clone();
            data[at] = value;
            match read(&data) {
                Ok(model) => {
                    results[0] += 1;
                    for item in &model.items {
                        for member in passes::flattened(&model, item) {
                            assert!(member.offset <= item.size);
                        }
                    }
                }
                Err(_) => results[1] += 1,
            }
        }
    }
    assert!(results[0] > 100 && results[1] > 100, "{results:?}");
    let error = read(b"\x7fELF, which is no BTF at all.").expect_err("it is no BTF");
    assert_eq!(error.what, Malformed::Magic(0x457f));
}

#[test]
fn a_list_of_symbols_gives_addresses() {
    let symbols = Symbols::from_list(
        "ffffffff81000000 T _text\n0000000000001000 D jiffies_64\n10 d twice\n20 d twice\n30 d own\nffffffffc0000000 t f\t[m]\nnonsense\n",
    );
    assert_eq!(symbols.functions.len(), 1);
    assert_eq!(symbols.objects, [("jiffies_64".to_owned(), 0x1000)]);
    assert_eq!(symbols.unique.get("own"), Some(&0x30));
    assert_eq!(symbols.unique.get("twice"), None);
    assert!(!symbols.are_hidden());
    assert!(Symbols::from_list("0000000000000000 D init_task\n").are_hidden());
}

/// Every struct of every kernel of the lab, and of some modules: what BTF says is what DWARF says.
#[cfg(feature = "lab")]
#[test]
fn the_labs_kernels_have_the_same_layouts_in_both() {
    let packages = std::env::var_os("KSTRUCT_LAB_PACKAGES")
        .map_or_else(|| tests::root().join("target/lab/packages"), PathBuf::from);
    let mut kernels: Vec<PathBuf> = std::fs::read_dir(&packages)
        .expect("the lab has fetched kernels")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    kernels.sort();
    assert!(!kernels.is_empty());
    let (mut wrong, mut compared) = (Vec::new(), 0);
    for folder in &kernels {
        let image = Image::open(&folder.join("vmlinux")).expect("a vmlinux");
        // Debian's for i386.
        if btf::section(&image).is_err() {
            println!("{}: it has no BTF", folder.display());
            continue;
        }
        wrong.extend(compare_kernel(folder));
        compared += 1;
    }
    assert!(compared > 0, "none of {kernels:?} has BTF");
    assert!(wrong.is_empty(), "{} differ: {wrong:#?}", wrong.len());
}

#[cfg(feature = "lab")]
const MODULES: &[&str] = &["nf_tables", "nf_conntrack", "veth", "bridge", "bonding"];

#[cfg(feature = "lab")]
fn compare_kernel(folder: &Path) -> Vec<String> {
    let vmlinux = Image::open(&folder.join("vmlinux")).expect("a vmlinux");
    let scratch = TempDir::with_prefix("kstruct-btf").expect("there is room");
    let mut debug = Vec::new();
    let mut split = Vec::new();
    for module in MODULES {
        let debug_file = folder.join(format!("modules-debug/{module}.ko.debug"));
        let Some(ko) = tests::find_file(&folder.join("lib"), &format!("{module}.ko")) else {
            continue;
        };
        if !debug_file.is_file() {
            continue;
        }
        debug.push(Image::open(&debug_file).expect("it is there"));
        let plain = scratch.path().join(format!("{module}.ko"));
        if ko.extension().is_some_and(|ending| ending == "xz") {
            let output = Command::new("xz").arg("-dc").arg(&ko).output().expect("xz");
            std::fs::write(&plain, output.stdout).expect("there is room");
        } else {
            std::fs::copy(&ko, &plain).expect("there is room");
        }
        split.push(Image::open(&plain).expect("it is there"));
    }
    assert!(!split.is_empty(), "{}: no modules", folder.display());
    let dwarf = dwarf::read(&vmlinux, &debug, &|_| ()).expect("sound DWARF");
    let (kernel, symbols) = btf::identity(&vmlinux).expect("sound").expect("ELF");
    let btf = btf::read_files(&vmlinux, &split, kernel, symbols).expect("sound BTF");
    assert_eq!(btf.kernel, dwarf.kernel);
    assert_eq!(btf.problems.total(), 0);
    let (ours, theirs) = (layouts(&btf), layouts(&dwarf));
    let mut wrong = Vec::new();
    let (mut structs, mut members) = (0, 0);
    for (tag, found) in &ours {
        for (size, flat) in found {
            structs += 1;
            members += flat.len();
            let same = theirs
                .get(tag)
                .is_some_and(|known| known.contains(&(*size, flat.clone())));
            if !same {
                wrong.push(format!(
                    "{}: {tag:?}: {:?} but {:?}",
                    folder.display(),
                    (size, flat),
                    theirs.get(tag)
                ));
            }
        }
    }
    println!(
        "{}: {structs} structs and unions with {members} members; {} differ; {} modules",
        btf.kernel.release,
        wrong.len(),
        split.len()
    );
    assert!(structs > 5000);
    wrong
}

/// An analyzer that is built from BTF and a dump alone prints what one that is built from DWARF prints, and the addresses
/// which the dump's own list of symbols gives are those of System.map.
#[cfg(feature = "lab")]
#[test]
fn analyzers_from_btf_and_a_dump_say_what_those_from_dwarf_say() {
    let machines = tests::lab_machines(&["stop"]);
    // What BTF knows of addresses comes from VMCOREINFO's kallsyms symbols, which are there since 6.0.
    let folder = machines.last().expect("a machine");
    let lab = tests::read_json(&Path::new(folder).join("lab.json"));
    let lab_root = Path::new(folder).join("../..");
    let package = lab_root
        .join(tests::text(&lab["vmlinux"]))
        .parent()
        .expect("it lies in a folder")
        .canonicalize()
        .expect("the lab has it");
    let core = Path::new(folder).join("vmcore").display().to_string();

    // Raw BTF, as /sys/kernel/btf/vmlinux has it, beside the modules' files.
    let scratch = TempDir::with_prefix("kstruct-btf").expect("there is room");
    let image = Image::open(&package.join("vmlinux")).expect("the lab has it");
    let raw = scratch.path().join("vmlinux.btf");
    std::fs::write(&raw, btf::section(&image).expect("it has BTF")).expect("it can be written");
    std::os::unix::fs::symlink(package.join("lib"), scratch.path().join("lib")).expect("a link");
    let raw = raw.to_str().expect("paths here are UTF-8");

    let _removed = Removed("lab-btf");
    let made = tests::xtask(&["gen", "--btf", raw, "--core", &core, "lab-btf"]);
    assert!(made.status.success(), "{}", tests::shown(&made));
    let functions = std::fs::read_to_string(tests::root().join("generated/lab-btf/functions.txt"))
        .expect("it was made");
    let known: BTreeSet<String> = std::fs::read_to_string(package.join("System.map"))
        .expect("the lab has it")
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (address, kind, name) = (words.next()?, words.next()?, words.next()?);
            matches!(kind, "t" | "T" | "w" | "W").then(|| format!("{address} {name}"))
        })
        .collect();
    let strange: Vec<&str> = functions
        .lines()
        .filter(|line| !known.contains(*line))
        .collect();
    let count = functions.lines().count();
    assert!(
        strange.is_empty(),
        "{} of {count}: {:?}",
        strange.len(),
        &strange[..strange.len().min(10)]
    );
    assert!(
        count > 50_000 && count * 100 >= known.len() * 98,
        "{count} of {}",
        known.len()
    );
    println!(
        "{count} functions from the dump's kallsyms: 0 differ from System.map's {}",
        known.len()
    );

    for (analyzer, options) in [
        ("ps", &["-T"][..]),
        ("netdev", &[]),
        ("tcp", &["-tanpieom"]),
        ("sockets", &[]),
    ] {
        let run = |kernel: &[&str]| {
            let args = [
                &["run", analyzer, "--core", &core],
                kernel,
                &["--"],
                options,
            ]
            .concat();
            let output = tests::xtask(&args);
            assert!(output.status.success(), "{}", tests::shown(&output));
            output.stdout
        };
        let (btf, dwarf) = (
            run(&["--kernel", "lab-btf"]),
            run(&["--kernel", &tests::text(&lab["release"])]),
        );
        assert!(btf.len() > 1000);
        assert!(
            btf == dwarf,
            "{analyzer}: from BTF\n{}\nfrom DWARF\n{}",
            String::from_utf8_lossy(&btf),
            String::from_utf8_lossy(&dwarf)
        );
        println!(
            "{analyzer}: {} lines, 0 differ",
            btf.iter().filter(|byte| **byte == b'\n').count()
        );
    }
}

/// What the machine's own folders keep of a kernel would be taken for another kernel's, also after this test has failed.
#[cfg(feature = "lab")]
struct Removed(&'static str);

#[cfg(feature = "lab")]
impl Drop for Removed {
    fn drop(&mut self) {
        for folder in [
            "generated",
            "target/selected",
            "target/kernels",
            "target/analyzers",
        ] {
            let _ = std::fs::remove_dir_all(tests::root().join(folder).join(self.0));
        }
    }
}

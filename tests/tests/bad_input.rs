//! Files that aren't what they should be. A program says so in one line that begins with `error:`, fails, and does so
//! soon. Nothing panics, whatever a file holds.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::mpsc;
use std::time::Duration;

use kstruct_codegen::image::Image;
use kstruct_codegen::model::{Item, ItemId, Kind, Member, Model, Place, Type};
use kstruct_codegen::{dwarf, emit};
use tempfile::TempDir;
use tests::{Random, Synthetic, built, fixture_vmcore, fixture_vmlinux, run_soon, shown};

/// Longer than any of this may take, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(10);

/// Files that are no kernel and no dump, by name. They go away with the folder.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let files = Files(TempDir::with_prefix("kstruct-bad-input").expect("there is room"));
        files.add("text", b"Dear colleague, the dump is attached.\n");
        files.add("empty", b"");
        fs::create_dir(files.path("folder")).expect("it can be made");
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        if name.starts_with('/') {
            return name.into();
        }
        self.0.path().join(name)
    }

    fn add(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).expect("it can be written");
        path
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are text")
}

/// Asserts that a program failed with one line, that this names the file and says this.
fn assert_error(output: &Output, file: &Path, words: &str) {
    let shown = shown(output);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{shown}");
    assert!(output.stdout.is_empty(), "{shown}");
    assert_eq!(stderr.lines().count(), 1, "{shown}");
    assert!(stderr.starts_with("error: "), "{shown}");
    assert!(stderr.contains(text(file)), "{shown}");
    assert!(stderr.contains(words), "not \"{words}\": {shown}");
}

/// The analyzers, and `xtask run` before it builds one.
fn assert_no_dump(file: &Path, words: &str) {
    for analyzer in ["ps", "netdev"] {
        let output = run_soon(built(analyzer), &["--core", text(file)], SOON);
        assert_error(&output, file, words);
    }
    let run = ["run", "netdev", "--core", text(file)];
    assert_error(&run_soon(built("xtask"), &run, SOON), file, words);
}

#[test]
fn what_is_no_dump_is_refused() {
    let files = Files::new();
    for (name, words) in [
        ("text", "not a memory dump: it is not an ELF file"),
        ("empty", "not a memory dump: the file is empty"),
        ("folder", "not a regular file"),
        ("/dev/null", "not a regular file"),
        ("missing", "No such file"),
    ] {
        assert_no_dump(&files.path(name), words);
    }
    assert_no_dump(&fixture_vmlinux(), "is it a vmlinux?");
    assert_no_dump(built("ps"), "is it a vmlinux?");
    let kdump = files.add("kdump", b"KDUMP   \x06\0\0\0");
    assert_no_dump(
        &kdump,
        "headers are damaged: the file ends within its header",
    );
}

#[test]
fn a_dump_that_ends_within_its_headers_is_refused() {
    let files = Files::new();
    let dump = fs::read(fixture_vmcore()).expect("the fixture is there");
    // The ELF header has 64 bytes, the five program headers 56 each; the notes follow.
    for (length, words) in [
        (1, "it is not an ELF file"),
        (4, "damaged"),
        (5, "damaged"),
        (16, "the file ends within its ELF header"),
        (63, "the file ends within its"),
        (64, "the file ends within its program headers"),
        (64 + 4 * 56 + 47, "the file ends within its program headers"),
    ] {
        let file = files.add("cut", &dump[..length]);
        assert_no_dump(&file, words);
    }
}

#[test]
fn a_dump_that_ends_before_the_kernel_is_refused() {
    let files = Files::new();
    let dump = fs::read(fixture_vmcore()).expect("the fixture is there");
    // In the notes; at their end; at the start of memory, before the banner.
    for length in [64 + 6 * 56 + 8, 1000, 0x670, 0x671, 0x1000] {
        let file = files.add("cut", &dump[..length]);
        for analyzer in ["ps", "netdev"] {
            let output = run_soon(built(analyzer), &["--core", text(&file)], SOON);
            assert_error(&output, &file, "the file is truncated");
        }
        let run = ["run", "netdev", "--core", text(&file)];
        let output = run_soon(built("xtask"), &run, SOON);
        assert_error(
            &output,
            &file,
            "neither VMCOREINFO nor the memory names a kernel",
        );
    }
}

#[test]
fn a_dump_that_ends_within_memory_is_read_as_far_as_it_goes() {
    let files = Files::new();
    let dump = fs::read(fixture_vmcore()).expect("the fixture is there");
    let file = files.add("cut", &dump[..300_000]);
    for analyzer in ["ps", "netdev"] {
        let output = run_soon(built(analyzer), &["--core", text(&file)], SOON);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
        assert!(stderr.contains("is truncated: "), "{}", shown(&output));
        assert!(!stderr.contains("panicked"), "{}", shown(&output));
    }
}

#[test]
fn a_dump_of_another_kernel_is_refused() {
    let files = Files::new();
    let mut other = Synthetic::x86_64(4);
    other.vmcoreinfo("OSRELEASE=9.9.9\n").put(0x5000, &[1]);
    let release = files.add("release", &other.bytes());
    other.machine(183);
    let machine = files.add("machine", &other.bytes());
    let mut same = Synthetic::i386();
    same.vmcoreinfo("OSRELEASE=9.9.9\n").put(0x5000, &[1]);
    let fits = files.add("fits", &same.bytes());
    for (file, found) in [
        (&release, "this is a dump of kernel 9.9.9 for x86_64, but"),
        (&machine, "this is a dump of kernel 9.9.9 for arm64, but"),
        (&fits, "this is a dump of kernel 9.9.9 for i386, but"),
    ] {
        for analyzer in ["ps", "netdev"] {
            let output = run_soon(built(analyzer), &["--core", text(file)], SOON);
            assert_error(&output, file, found);
            assert_error(&output, file, "2.6.9-kstruct for i386");
            assert_error(&output, file, "--force");
        }
        let run = ["run", "netdev", "--core", text(file)];
        let output = run_soon(built("xtask"), &run, SOON);
        assert_error(
            &output,
            file,
            "it is a dump of kernel 9.9.9, of which there are no bindings",
        );
    }
}

#[test]
fn what_is_no_vmlinux_is_refused() {
    let files = Files::new();
    // As `strip -g` leaves it, as far as a reader can tell: no section has the name any more.
    let mut stripped = fs::read(fixture_vmlinux()).expect("the fixture is there");
    let name = b"\0.debug_info\0";
    let at = memchr(&stripped, name).expect("the fixture has debug information");
    stripped[at + 1..at + 4].copy_from_slice(b".xx");
    let whole = fs::read(fixture_vmlinux()).expect("the fixture is there");
    files.add("stripped", &stripped);
    files.add("cut", &whole[..whole.len() / 2]);
    files.add("head", &whole[..20]);
    let no_dwarf = "it has no DWARF debug information";
    let mut cases = vec![
        (files.path("text"), "it is not an ELF file"),
        (files.path("empty"), "it is not an ELF file"),
        (files.path("folder"), "not a regular file"),
        ("/dev/null".into(), "not a regular file"),
        (files.path("missing"), "no such file"),
        (files.path("stripped"), no_dwarf),
        (fixture_vmcore(), no_dwarf),
        (files.path("cut"), "the file is truncated or damaged"),
        (files.path("head"), "the file is truncated or damaged"),
    ];
    if Path::new("/bin/true").exists() {
        cases.push(("/bin/true".into(), no_dwarf));
    }
    for (file, words) in cases {
        let output = run_soon(built("xtask"), &["gen", text(&file)], SOON);
        assert_error(&output, &file, words);
        let name = file.file_name().expect("a file's name");
        let bindings = tests::root().join("generated").join(name);
        assert!(!bindings.exists(), "{} was made", bindings.display());
    }
}

/// Where one slice begins in another.
fn memchr(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|part| part == wanted)
}

/// Damages a file: bits flipped, ranges zeroed or overwritten with what stands elsewhere, the end cut off. Half of the
/// damage is done within `hot`, where it hurts.
fn damaged(bytes: &[u8], hot: std::ops::Range<usize>, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut out = bytes.to_vec();
    for _ in 0..=random.below(6) {
        let at = if random.below(2) == 0 {
            hot.start + random.below(hot.len())
        } else {
            random.below(out.len())
        };
        let length = 1 + random.below(64);
        let range = at.min(out.len())..(at + length).min(out.len());
        match random.below(8) {
            0 => out[range].fill(0),
            1 => out[range].fill(0xff),
            2 => {
                let from = random.below(out.len() - range.len());
                out.copy_within(from..from + range.len(), at);
            }
            _ => {
                for byte in &mut out[range.start..range.end.min(range.start + 4)] {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
    }
    if random.below(10) == 0 {
        let length = random.below(out.len());
        out.truncate(length);
    }
    out
}

/// How many files each of the tests below damages; more with `KSTRUCT_CASES=10000`.
fn cases() -> u64 {
    match std::env::var("KSTRUCT_CASES") {
        Ok(number) => number.parse().expect("KSTRUCT_CASES is a number"),
        Err(_) => 300,
    }
}

/// Runs an analyzer over damaged dumps.
fn analyze_damaged(analyzer: &str) {
    let files = Files::new();
    let dump = fs::read(fixture_vmcore()).expect("the fixture is there");
    let mut kinds = [0; 3];
    for seed in 0..cases() {
        let bytes = damaged(&dump, 0..0x638, seed);
        // Headers are soon found to be wrong, so two in three cases leave them whole.
        let bytes = if seed % 3 == 0 {
            bytes
        } else {
            let whole = dump[..0x638.min(bytes.len())].iter();
            whole.chain(bytes.iter().skip(0x638)).copied().collect()
        };
        let file = files.add(&format!("{analyzer}-{seed}"), &bytes);
        let arguments = ["--core", text(&file), "--force", "--format=json"];
        let forced = if seed % 2 == 0 { 3 } else { 2 };
        let output = run_soon(built(analyzer), &arguments[..forced], SOON);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            matches!(output.status.code(), Some(0 | 2)) && !stderr.contains("panicked"),
            "seed {seed}: {}",
            shown(&output)
        );
        let kind = match output.status.code() {
            Some(0) => 0,
            _ if stderr.starts_with("error: ") => 1,
            _ => 2,
        };
        kinds[kind] += 1;
        let _ = fs::remove_file(file);
    }
    // All three happen: nothing harmful, refused, read in part.
    assert!(kinds.iter().all(|count| *count > 0), "{kinds:?}");
}

#[test]
fn ps_survives_damaged_dumps() {
    analyze_damaged("ps");
}

#[test]
fn netdev_survives_damaged_dumps() {
    analyze_damaged("netdev");
}

/// From a vmlinux to the text of bindings; what went wrong as text, if it did.
fn generate(path: &Path) -> Result<usize, String> {
    let error = |error: kstruct_codegen::Error| error.to_string();
    let image = Image::open(path).map_err(error)?;
    let model = dwarf::read(&image, &[], &|_| ()).map_err(error)?;
    let files = emit::files(&model, "cargo xtask gen damaged").map_err(error)?;
    Ok(files.values().map(String::len).sum())
}

/// Like [`generate`], and panics if that panics or takes too long.
fn generate_soon(path: &Path) -> Result<usize, String> {
    let (sender, receiver) = mpsc::channel();
    let owned = path.to_owned();
    std::thread::spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(|| generate(&owned)));
        let _ = sender.send(result);
    });
    match receiver.recv_timeout(SOON) {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => panic!("{}: the generator panics", path.display()),
        Err(_) => panic!("{}: not done after {SOON:?}", path.display()),
    }
}

#[test]
fn the_generator_survives_damaged_kernels() {
    let files = Files::new();
    let vmlinux = fs::read(fixture_vmlinux()).expect("the fixture is there");
    // .debug_info, .debug_abbrev and .debug_line, about.
    let hot = vmlinux.len() * 13 / 100..vmlinux.len() * 93 / 100;
    let (mut read, mut refused) = (0, 0);
    for seed in 0..cases() {
        let file = files.add(
            &format!("vmlinux-{seed}"),
            &damaged(&vmlinux, hot.clone(), seed),
        );
        match generate_soon(&file) {
            Ok(_) => read += 1,
            Err(message) => {
                assert!(!message.contains("defect"), "seed {seed}: {message}");
                refused += 1;
            }
        }
        let _ = fs::remove_file(file);
    }
    assert!(
        read > cases() / 10 && refused > cases() / 10,
        "{read} {refused}"
    );
}

/// A kernel compiled from C, as far as the generator can tell.
fn generate_from_c(source: &str) -> Result<usize, String> {
    let files = Files::new();
    generate_soon(&tests::compile_c(files.0.path(), "hostile", source))
}

/// A function type whose parameters have function types, and so on, is written in 30 lines, and its tree has 4^30 nodes.
#[test]
fn function_types_that_double_do_not_explode() {
    let mut source = String::from("typedef void f0(void);\n");
    for n in 1..=30 {
        let m = n - 1;
        source += &format!("typedef void f{n}(f{m} *, f{m} *, f{m} *, f{m} *);\n");
    }
    source += "struct s { f30 *pointer; int number; } variable; f30 *other;\n";
    generate_from_c(&source).expect("what can be said is said");
}

/// More dimensions than anyone has a use for: the type is as deep.
#[test]
fn arrays_of_thousands_of_dimensions_do_not_overflow_the_stack() {
    let dimensions = "[1]".repeat(4_000);
    let source =
        format!("struct s {{ int x{dimensions}; int y; }} variable; int other{dimensions};");
    generate_from_c(&source).expect("what can be said is said");
}

/// A name is copied wherever it is mentioned.
#[test]
fn long_names_that_are_mentioned_often_do_not_explode() {
    let name = "n".repeat(1 << 20);
    let parameters = "n0,".repeat(100);
    let mut source =
        format!("typedef int {name};\ntypedef {name} n0;\ntypedef void f({parameters} int);\n");
    for n in 0..1000 {
        source += &format!("struct s{n} {{ f *pointer; }} v{n};\n");
    }
    generate_from_c(&source).expect("what can be said is said");
}

/// Nameless unions in nameless unions, where it is their names that are looked for.
#[test]
fn nameless_unions_that_double_do_not_explode() {
    let union = |number: u32| Item {
        kind: Kind::Union,
        name: if number == 39 { "u" } else { "" }.into(),
        by_typedef: false,
        size: 0,
        place: Place::default(),
        members: vec![
            Member {
                name: "".into(),
                ty: Type::Item(ItemId(number.saturating_sub(1))),
                offset: 0,
                bits: None,
            };
            if number == 0 { 0 } else { 2 }
        ],
        enumerators: Vec::new(),
    };
    let model = Model {
        items: (0..40).map(union).collect(),
        ..Model::default()
    };
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(emit::files(&model, "a test")));
    let files = receiver.recv_timeout(SOON).expect("it ends soon");
    files.expect("it is Rust");
}

/// Unions without name in unions without name: each doubles the number of paths to the innermost.
#[test]
fn anonymous_members_that_double_do_not_explode() {
    let union = |name: u32| {
        let anonymous = Member {
            name: "".into(),
            ty: Type::Item(ItemId(name.saturating_sub(1))),
            offset: 0,
            bits: None,
        };
        Item {
            kind: Kind::Union,
            name: format!("u{name}").into(),
            by_typedef: false,
            size: 0,
            place: Place::default(),
            members: vec![anonymous; if name == 0 { 0 } else { 2 }],
            enumerators: Vec::new(),
        }
    };
    let model = Model {
        items: (0..40).map(union).collect(),
        ..Model::default()
    };
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(emit::files(&model, "a test")));
    let files = receiver.recv_timeout(SOON).expect("it ends soon");
    files.expect("it is Rust");
}

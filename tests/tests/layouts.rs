//! Every layout of what this repository carries, against what pahole and bpftool read (`cargo xtask test --kernels` does the
//! same for whole kernels), and bit-fields against the bytes that a compiler made of known values.
//!
//! Needs pahole, bpftool, and compilers. Where one is missing, what needs it is skipped and said; with
//! `KSTRUCT_REQUIRE_TOOLS=1`, as in CI, it is an error.

use std::path::{Path, PathBuf};
use std::process::Command;

use kstruct_codegen::image::Image;
use kstruct_codegen::{dwarf, model};
use kstruct_oracle::btf::{self, Btf};
use kstruct_oracle::{Comparison, Error, Layouts, compare};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
use tests::{fixture_vmlinux, root, shown};

/// Says what is skipped, where that is allowed.
fn missing(what: &str) {
    assert!(
        std::env::var_os("KSTRUCT_REQUIRE_TOOLS").is_none(),
        "KSTRUCT_REQUIRE_TOOLS is set, and {what}"
    );
    println!("skipped: {what}");
}

fn read(file: &Path) -> model::Model {
    let image = Image::open(file).unwrap_or_else(|error| panic!("{error}"));
    let model = dwarf::read(&image, &[], &|_| ()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(model.problems.total(), 0, "{:?}", model.problems);
    model
}

/// What pahole makes of a file; `None` if it is not there.
fn oracle(file: &Path) -> Option<Layouts> {
    let folder = tempfile::tempdir().expect("there is room");
    match Btf::from_dwarf(file, &folder.path().join("btf")).and_then(|btf| btf::layouts(&btf)) {
        Ok(layouts) => Some(layouts),
        Err(error @ Error::Program { .. }) => {
            missing(&error.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn compared(file: &Path) -> Option<Comparison> {
    let theirs = oracle(file)?;
    let ours = kstruct_oracle::model::layouts(&read(file)).expect("C has no circles");
    let found = compare(&ours, &theirs);
    println!(
        "{}: {} types, {} members, {} bit-fields, {} differ",
        file.display(),
        found.types,
        found.members,
        found.bit_fields,
        found.differences.len()
    );
    Some(found)
}

fn summaries(found: &Comparison) -> Vec<String> {
    found.differences.iter().map(|d| d.summary()).collect()
}

#[test]
fn the_fixtures_layouts_are_paholes() {
    let Some(found) = compared(&fixture_vmlinux()) else {
        return;
    };
    assert_eq!(summaries(&found), [""; 0]);
    assert!(found.types >= 90 && found.members >= 1000 && found.bit_fields >= 10);
}

/// Compiles tests/layouts/shapes.c into an object file.
fn shapes(folder: &Path, compiler: &str, options: &[&str]) -> Option<PathBuf> {
    let object = folder.join(format!("{compiler}{}.o", options.concat()));
    let output = Command::new(compiler)
        .args(["-c", "-O1", "-ffreestanding", "-fno-pic", "-o"])
        .arg(&object)
        .args(options)
        .arg(root().join("tests/layouts/shapes.c"))
        .output();
    match output {
        Ok(output) => assert!(output.status.success(), "{}", shown(&output)),
        Err(error) => {
            missing(&format!("{compiler} can't be run: {error}"));
            return None;
        }
    }
    Some(object)
}

const COMPILERS: &[(&str, &[&str])] = &[
    ("gcc", &["-gdwarf-2", "-gstrict-dwarf"]),
    ("gcc", &["-gdwarf-3", "-gstrict-dwarf"]),
    ("gcc", &["-gdwarf-4"]),
    ("gcc", &["-gdwarf-5"]),
    ("gcc", &["-gdwarf-5", "-m32"]),
    ("gcc", &["-gdwarf-2", "-gstrict-dwarf", "-m32"]),
    ("clang", &["-gdwarf-4"]),
    ("clang", &["-gdwarf-5"]),
    ("clang", &["-gdwarf-5", "--target=aarch64-linux-gnu"]),
    ("clang", &["-gdwarf-4", "--target=s390x-linux-gnu"]),
    ("clang", &["-gdwarf-5", "--target=s390x-linux-gnu"]),
    ("clang", &["-gdwarf-5", "--target=powerpc64le-linux-gnu"]),
    ("clang", &["-gdwarf-5", "--target=powerpc-linux-gnu"]),
];

#[test]
fn all_shapes_are_laid_out_as_pahole_says() {
    let folder = tempfile::tempdir().expect("there is room");
    for (compiler, options) in COMPILERS {
        let Some(file) = shapes(folder.path(), compiler, options) else {
            continue;
        };
        let Some(found) = compared(&file) else { return };
        assert_eq!(summaries(&found), [""; 0], "{compiler} {options:?}");
        // To clang, `u32 last : 32` is no bit-field.
        let bit_fields = if *compiler == "clang" { 24 } else { 25 };
        assert_eq!(
            (found.types, found.members, found.bit_fields),
            (13, 63, bit_fields),
            "{compiler} {options:?}"
        );
    }
}

/// The values that shapes.c gives to the bit-fields.
const VALUES: &[(&str, &str, u64)] = &[
    ("bits", "one", 1),
    ("bits", "five", 22),
    ("bits", "wide", 0x15_5aa3),
    ("bits", "negative", 128 - 42),
    ("bits", "byte", 9),
    ("bits", "rest", 6),
    ("bits", "half", 0x1a5),
    ("bits", "huge", 0x12_3456_7891),
    ("bits", "beyond", 0xa_bcde),
    ("bits", "flag", 1),
    ("bits", "last", 0xfedc_ba98),
    ("packed_bits", "a", 5),
    ("packed_bits", "b", 0x5a5_a5a5),
    ("packed_bits", "c", 0x1aa_aa55_55a5),
    ("packed_bits", "d", 0x165),
];

/// Where a bit-field lies is said by no oracle as well as by the bytes: the compiler that wrote the DWARF wrote them too.
#[test]
fn bit_fields_are_where_the_compiler_put_their_values() {
    let folder = tempfile::tempdir().expect("there is room");
    for (compiler, options) in COMPILERS {
        let Some(file) = shapes(folder.path(), compiler, options) else {
            continue;
        };
        let model = read(&file);
        let bytes = std::fs::read(&file).expect("it was written here");
        let elf = object::File::parse(&*bytes).expect("it is ELF");
        for &(name, member, value) in VALUES {
            let item = model
                .items
                .iter()
                .find(|item| &*item.name == name)
                .expect("the struct is there");
            let found = item.members.iter().find(|found| &*found.name == member);
            // A field as wide as its type is none to clang.
            let (offset, size) = match found.expect("the member is there") {
                found if found.bits.is_none() => (
                    found.offset * 8,
                    8 * model.size_of(&found.ty).expect("it has a size"),
                ),
                found => {
                    let bits = found.bits.expect("it has bits");
                    (bits.offset, bits.size)
                }
            };
            let data = variable(&elf, name);
            let read = (offset..offset + size).enumerate().map(|(index, bit)| {
                let byte = data[(bit / 8) as usize];
                if model.kernel.big_endian {
                    u64::from(byte >> (7 - bit % 8) & 1) << (size - 1 - index as u64)
                } else {
                    u64::from(byte >> (bit % 8) & 1) << index
                }
            });
            assert_eq!(
                read.sum::<u64>(),
                value,
                "{name}.{member} by {compiler} {options:?}"
            );
        }
    }
}

/// The bytes of a variable in an object file.
fn variable<'f>(elf: &object::File<'f>, name: &str) -> &'f [u8] {
    let symbol = elf
        .symbols()
        .find(|symbol| symbol.name() == Ok(name))
        .expect("the variable is there");
    let section = symbol.section_index().expect("it is in a section");
    let data = elf.section_by_index(section).expect("the section is there");
    &data.data().expect("it has data")[symbol.address() as usize..][..symbol.size() as usize]
}

/// The check can fail: one number that is wrong in what kstruct read is found, whichever it is.
#[test]
fn a_wrong_number_is_found() {
    let Some(theirs) = oracle(&fixture_vmlinux()) else {
        return;
    };
    let right = read(&fixture_vmlinux());
    let differ = |change: &dyn Fn(&mut model::Item)| {
        let mut wrong = model::Model {
            kernel: right.kernel.clone(),
            items: right.items.clone(),
            typedefs: right.typedefs.clone(),
            ..model::Model::default()
        };
        let is_it = |item: &&mut model::Item| &*item.name == "sk_buff" && !item.members.is_empty();
        change(wrong.items.iter_mut().find(is_it).expect("sk_buff"));
        let ours = kstruct_oracle::model::layouts(&wrong).expect("C has no circles");
        summaries(&compare(&ours, &theirs)).len()
    };
    assert_eq!(differ(&|_| ()), 0);
    assert_eq!(differ(&|item| item.size += 4), 1);
    assert_eq!(differ(&|item| item.members[1].offset += 1), 1);
    assert_eq!(differ(&|item| drop(item.members.pop())), 1);
    assert_eq!(differ(&|item| item.name = "skbuff".into()), 2);
}

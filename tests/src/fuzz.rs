//! What fuzzing calls, and what replays its corpus: each reader on bytes that anyone may have written.
//!
//! A function here ends soon for every input, with a model or an error, and what is emitted from the model is nothing
//! but what the generator writes ([`generated::check`]). Everything else is a panic. Dumps are in [`memory`].

pub mod memory;

use std::path::Path;

use kstruct_codegen::image::Image;
use kstruct_codegen::model::{Kernel, Model};
use kstruct_codegen::{btf, dwarf, emit};

use crate::generated;

/// What stands between the parts of an input. Parts are found by it and not by lengths, so that a mutation which makes one
/// part longer leaves the others whole.
pub const SEPARATOR: &[u8] = b"\n%%%%\n";

/// The parts of an input for [`dwarf()`] behind its flags, in their order. The alternate file's follow in the same order.
pub const SECTIONS: [&str; 8] = [
    ".debug_abbrev",
    ".debug_info",
    ".debug_types",
    ".debug_str",
    ".debug_line",
    ".debug_line_str",
    ".debug_str_offsets",
    ".debug_addr",
];

/// A flag in the first byte of an input: numbers are big-endian.
pub const BIG_ENDIAN: u8 = 1;
/// A flag in the first byte of an input: pointers have four bytes.
pub const NARROW: u8 = 2;

/// A name for what never was a file, in a folder that isn't there.
fn path() -> &'static Path {
    Path::new("/fuzz/input/vmlinux")
}

/// Opens a file: everything that is read from ELF, whether or not there is DWARF in it.
pub fn elf(bytes: &[u8]) {
    let Ok(image) = Image::from_bytes(path(), bytes.to_vec()) else {
        return;
    };
    let Ok(elf) = image.parse() else { return };
    let _ = elf.has_section(".debug_info");
    let _ = elf.debug_link();
    let _ = elf.alternate_link();
    let _ = elf.ids();
    let kernel = elf.kernel();
    assert!(kernel.is_ok_and(|kernel| !kernel.release.contains(char::is_whitespace)));
    for name in SECTIONS.iter().chain(&[".debug_sup", ".BTF"]) {
        let _ = elf.section(name);
    }
    for range in elf.per_cpu_ranges() {
        assert!(range.start <= range.end);
    }
    let functions = elf.functions();
    assert!(functions.is_sorted());
    let objects = elf.objects();
    assert!(objects.is_sorted());
    let _ = elf.module_sections();
    let _ = elf.addresses();
    let _ = btf::section(&image);
    let _ = btf::identity(&image);
    if let Ok(elf) = elf.with_symbols_of(&image) {
        assert_eq!(elf.functions(), functions);
    }
    // Follows links to other files, of which there are none in a folder that isn't there.
    let _ = dwarf::is_in(&image);
}

/// Reads DWARF sections, and emits what they say.
pub fn dwarf<'d>(bytes: &'d [u8]) {
    let Some((kernel, parts)) = parts(bytes) else {
        return;
    };
    let section = |from: usize, name: &str| -> &'d [u8] {
        let index = SECTIONS.iter().position(|known| *known == name);
        let part = index.and_then(|index| parts.get(from + index));
        part.copied().unwrap_or_default()
    };
    let own = |name: &str| section(0, name);
    let alternate = |name: &str| section(SECTIONS.len(), name);
    let alternate: &dyn Fn(&str) -> &'d [u8] = &alternate;
    let has_alternate = parts.len() > SECTIONS.len();
    let model = dwarf::read_sections(path(), kernel, &own, has_alternate.then_some(alternate));
    if let Ok(model) = model {
        emit(&model);
    }
}

/// Reads BTF, and emits what it says. The parts of an input: the kernel's BTF, a list of symbols, and the BTF of modules.
pub fn btf(bytes: &[u8]) {
    let Some((kernel, parts)) = parts(bytes) else {
        return;
    };
    let base = parts.first().copied().unwrap_or_default();
    let list = parts.get(1).copied().unwrap_or_default();
    let split = parts.get(2..).unwrap_or_default();
    let symbols = btf::Symbols::from_list(&String::from_utf8_lossy(list));
    let names: Vec<String> = (0..split.len()).map(|index| format!("m{index}")).collect();
    let modules: Vec<btf::Module<'_>> = names
        .iter()
        .zip(split)
        .map(|(name, data)| btf::Module {
            name,
            data,
            build_id: &[],
        })
        .collect();
    if let Ok(model) = btf::read(base, &modules, kernel, symbols) {
        emit(&model);
    }
}

/// The flags of an input, as a kernel of that kind, and the input's parts.
fn parts(bytes: &[u8]) -> Option<(Kernel, Vec<&[u8]>)> {
    let (flags, rest) = bytes.split_first()?;
    let kernel = Kernel {
        big_endian: flags & BIG_ENDIAN != 0,
        pointer_size: if flags & NARROW != 0 { 4 } else { 8 },
        ..Kernel::default()
    };
    Some((kernel, split(rest)))
}

/// What stands between separators.
fn split(mut rest: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while let Some(end) = rest
        .windows(SEPARATOR.len())
        .position(|window| window == SEPARATOR)
    {
        parts.push(&rest[..end]);
        rest = &rest[end + SEPARATOR.len()..];
    }
    parts.push(rest);
    parts
}

fn emit(model: &Model) {
    match emit::files(model, "a fuzzer") {
        Ok(files) => generated::check(&files),
        Err(error) => panic!("{error}"),
    }
}

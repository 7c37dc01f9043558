//! Makes an input of the fuzz target `dwarf` from an ELF file and, if there is one, its alternate file:
//! `cargo run -p tests --example fuzz_seed -- INPUT FILE [ALTERNATE]`.

use std::path::Path;

use kstruct_codegen::image::Image;
use tests::fuzz::{BIG_ENDIAN, NARROW, SECTIONS, SEPARATOR};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, files @ ..] = &arguments[..] else {
        panic!("which input is to be made, from which files?");
    };
    let mut bytes = vec![0];
    for file in files {
        let image = Image::open(Path::new(file)).expect("it can be opened");
        let elf = image.parse().expect("it is ELF");
        let kernel = elf.kernel().expect("it says what it is for");
        for name in SECTIONS {
            if bytes.len() > 1 || name != SECTIONS[0] {
                bytes.extend_from_slice(SEPARATOR);
            }
            bytes.extend_from_slice(&elf.section(name).expect("it is sound"));
        }
        if kernel.big_endian {
            bytes[0] |= BIG_ENDIAN;
        }
        if kernel.pointer_size == 4 {
            bytes[0] |= NARROW;
        }
    }
    std::fs::write(input, bytes).expect("it can be written");
}

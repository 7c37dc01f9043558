//! The PT_LOADs of a dump in ELF64 that is written to.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// Where physical memory is in a little-endian ELF64 file.
pub struct Elf {
    /// Physical address, bytes, offset in the file.
    segments: Vec<[u64; 3]>,
}

/// Bytes of a program header.
const HEADER: u64 = 56;

impl Elf {
    /// Reads the program headers of a dump.
    pub fn of(file: &File) -> Self {
        // p_type; p_paddr, p_filesz and p_offset.
        let segments = headers(file)
            .chunks_exact(HEADER as usize)
            .map(|header| [0, 24, 32, 8].map(|at| word(header, at)))
            .filter(|[kind, ..]| kind & 0xffff_ffff == 1)
            .map(|[_, physical, size, offset]| [physical, size, offset])
            .collect();
        Elf { segments }
    }

    /// Where in the file a physical address is.
    pub fn offset(&self, physical: u64) -> u64 {
        let [start, _, offset] = self
            .segments
            .iter()
            .find(|[start, size, _]| physical.wrapping_sub(*start) < *size)
            .expect("it is in the dump");
        physical - start + offset
    }

    /// Adds a PT_LOAD of what lies at `offset`. The headers are written anew at the file's end.
    pub fn add_segment(file: &File, physical: u64, offset: u64, size: u64) {
        let mut headers = headers(file);
        let count = (headers.len() as u64 / HEADER + 1) as u16;
        let flags_and_type = 6 << 32 | 1;
        for number in [flags_and_type, offset, 0, physical, size, size, 0] {
            headers.extend(u64::to_le_bytes(number));
        }
        let end = file.metadata().expect("it is there").len();
        let end = end.next_multiple_of(8);
        file.write_all_at(&headers, end).expect("there is room");
        // e_phoff, e_phnum
        file.write_all_at(&end.to_le_bytes(), 32)
            .expect("it can be written");
        file.write_all_at(&count.to_le_bytes(), 56)
            .expect("it can be written");
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// All program headers.
fn headers(file: &File) -> Vec<u8> {
    let mut head = [0; 64];
    file.read_exact_at(&mut head, 0).expect("it is an ELF file");
    let count = word(&head, 56) & 0xffff;
    let mut headers = vec![0; (count * HEADER) as usize];
    file.read_exact_at(&mut headers, word(&head, 32))
        .expect("it has program headers");
    headers
}

//! Machines of every architecture, made by hand: their memory, and what is known of their kernel.

use std::collections::BTreeMap;
use std::io::Write as _;

use kstruct::{Dump, EM_386, EM_S390, Functions, Hints, KernelInfo, Memory, OpenError};

const PAGE: u64 = 4096;
/// The banner of the kernels that tests make.
pub const BANNER: &str = "Linux version 6.1.0-test (a@b) (cc) #1 SMP";

/// Physical memory and what a kernel says of itself.
pub struct Machine {
    /// What the bindings would say of its kernel.
    pub info: KernelInfo,
    /// Physical memory by pages. What is not here is not in the dump.
    pub pages: BTreeMap<u64, Vec<u8>>,
    /// The text of the note; without one there is no note.
    pub vmcoreinfo: String,
    /// Other notes, as they are in the file.
    pub notes: Vec<u8>,
}

impl Machine {
    /// A machine without memory, and a kernel of which nothing is known.
    pub fn new(machine: u16) -> Self {
        Machine {
            info: KernelInfo {
                release: "6.1.0-test",
                build_id: "",
                banner: "",
                machine,
                pointer_size: if machine == EM_386 { 4 } else { 8 },
                big_endian: machine == EM_S390,
                banner_address: None,
                page_table: None,
                page_offset_base: None,
                per_cpu_offset: None,
                module_section: None,
                functions: Functions(""),
            },
            pages: BTreeMap::new(),
            vmcoreinfo: String::new(),
            notes: Vec::new(),
        }
    }

    /// Writes physical memory.
    pub fn put(&mut self, physical: u64, bytes: &[u8]) -> &mut Self {
        let (mut at, mut rest) = (physical, bytes);
        while !rest.is_empty() {
            let start = (at % PAGE) as usize;
            let (part, after) = rest.split_at(rest.len().min(PAGE as usize - start));
            let page = self.pages.entry(at - start as u64);
            let page = page.or_insert_with(|| vec![0; PAGE as usize]);
            page[start..start + part.len()].copy_from_slice(part);
            at = at.wrapping_add(part.len() as u64);
            rest = after;
        }
        self
    }

    /// Sets an entry of 8 bytes of a table.
    pub fn entry(&mut self, table: u64, index: u64, value: u64) -> &mut Self {
        let bytes = if self.info.big_endian {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        };
        self.put(table + index * 8, &bytes)
    }

    /// Sets one of 4 bytes: of i386 without PAE.
    pub fn entry32(&mut self, table: u64, index: u64, value: u32) -> &mut Self {
        self.put(table + index * 4, &value.to_le_bytes())
    }

    /// An ELF64 core of the machine's byte order, as QEMU writes it for 32-bit machines too.
    pub fn bytes(&self) -> Vec<u8> {
        let big = self.info.big_endian;
        let number = |out: &mut Vec<u8>, value: u64, length: usize| {
            let (little, bytes) = (value.to_le_bytes(), value.to_be_bytes());
            out.extend_from_slice(if big {
                &bytes[8 - length..]
            } else {
                &little[..length]
            });
        };
        let mut note = self.notes.clone();
        if !self.vmcoreinfo.is_empty() {
            for word in [11, self.vmcoreinfo.len() as u64, 0] {
                number(&mut note, word, 4);
            }
            note.extend_from_slice(b"VMCOREINFO\0\0");
            note.extend_from_slice(self.vmcoreinfo.as_bytes());
            note.resize(note.len().next_multiple_of(4), 0);
        }
        let count = self.pages.len() as u64 + 1;
        let mut out = vec![0x7f, b'E', b'L', b'F', 2, 1 + u8::from(big), 1];
        out.resize(16, 0);
        number(&mut out, 4, 2);
        number(&mut out, self.info.machine.into(), 2);
        number(&mut out, 1, 4);
        for value in [0, 64, 0] {
            number(&mut out, value, 8);
        }
        number(&mut out, 0, 4);
        for value in [64, 56, count, 0, 0, 0] {
            number(&mut out, value, 2);
        }
        let mut file = 64 + 56 * count;
        let mut program = |kind: u64, physical: u64, size: u64| {
            number(&mut out, kind, 4);
            number(&mut out, 0, 4);
            for value in [file, 0, physical, size, size, 0] {
                number(&mut out, value, 8);
            }
            file += size;
        };
        program(4, 0, note.len() as u64);
        for physical in self.pages.keys() {
            program(1, *physical, PAGE);
        }
        out.extend(note);
        self.pages.values().for_each(|page| out.extend(page));
        out
    }

    /// The memory as LiME writes it, a range for each page.
    pub fn lime(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (physical, page) in &self.pages {
            let mut header: Vec<Vec<u8>> = vec![
                0x4c69_4d45_u32.to_le_bytes().to_vec(),
                1_u32.to_le_bytes().to_vec(),
                physical.to_le_bytes().to_vec(),
                (physical + PAGE - 1).to_le_bytes().to_vec(),
            ];
            if self.info.big_endian {
                header.iter_mut().for_each(|field| field.reverse());
            }
            out.extend(header.concat());
            out.extend([0; 8]);
            out.extend(page);
        }
        out
    }

    /// The memory of an ELF dump.
    pub fn open(self) -> Result<Memory, OpenError> {
        self.open_with(&Hints::default())
    }

    /// The same with what is known of it.
    pub fn open_with(self, hints: &Hints) -> Result<Memory, OpenError> {
        let bytes = self.bytes();
        self.open_file(&bytes, hints)
    }

    /// The memory of a LiME image.
    pub fn open_lime(self, hints: &Hints) -> Result<Memory, OpenError> {
        let bytes = self.lime();
        self.open_file(&bytes, hints)
    }

    fn open_file(self, bytes: &[u8], hints: &Hints) -> Result<Memory, OpenError> {
        let mut file = tempfile::NamedTempFile::new().expect("there is room");
        file.write_all(bytes).expect("it can be written");
        let kernel = Box::leak(Box::new(self.info));
        Memory::of_dump_with(Dump::open(file.path())?, kernel, hints, false)
    }

    /// [`Machine::open`], of a dump that must open.
    pub fn opened(self) -> Memory {
        self.open().unwrap_or_else(|error| panic!("{error}"))
    }
}

//! Dumps made by hand: an ELF core with the memory, the page tables and the notes that a test needs, and no more.
//!
//! ```no_run
//! let mut dump = tests::Synthetic::x86_64(4);
//! dump.put(0x5000, b"hello");
//! dump.map(0xffff_c900_0000_0000, 0x5000, tests::Page::Small);
//! let memory = dump.open().unwrap();
//! ```

use std::collections::BTreeMap;
use std::io::Write as _;

use kstruct::{EM_386, EM_X86_64, Functions, KernelInfo, Memory, OpenError};

const PAGE: u64 = 4096;
/// Where x86_64 maps the kernel image, and where i386 maps all low memory.
const X86_64_IMAGE: u64 = 0xffff_ffff_8000_0000;
const I386_DIRECT: u64 = 0xc000_0000;

/// Bits of page table entries.
pub const PRESENT: u64 = 1;
/// See [`PRESENT`].
pub const LARGE: u64 = 1 << 7;
/// See [`PRESENT`].
pub const PROTNONE: u64 = 1 << 8;

/// How much one entry of a page table maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// 4 KB
    Small,
    /// 2 MB
    Large,
    /// 1 GB
    Huge,
}

/// A dump in the making. The page tables lie at the start of memory.
pub struct Synthetic {
    levels: u32,
    machine: u16,
    /// Physical pages by address.
    pages: BTreeMap<u64, Vec<u8>>,
    next_table: u64,
    vmcoreinfo: String,
}

impl Synthetic {
    /// A machine with 64-bit pointers and this many levels of page tables: 4 or 5.
    pub fn x86_64(levels: u32) -> Self {
        let mut dump = Synthetic::new(EM_X86_64, levels);
        dump.vmcoreinfo = format!(
            "OSRELEASE=synthetic\nNUMBER(phys_base)=0\nNUMBER(pgtable_l5_enabled)={}\nSYMBOL(init_top_pgt)={:x}\n",
            u8::from(levels == 5),
            X86_64_IMAGE + PAGE
        );
        dump
    }

    /// A machine with 32-bit pointers and PAE.
    pub fn i386() -> Self {
        Synthetic::new(EM_386, 3)
    }

    fn new(machine: u16, levels: u32) -> Self {
        let mut dump = Synthetic {
            levels,
            machine,
            pages: BTreeMap::new(),
            next_table: 2 * PAGE,
            vmcoreinfo: String::new(),
        };
        dump.pages.insert(PAGE, vec![0; PAGE as usize]); // the top of the page tables
        dump
    }

    /// Writes physical memory. Pages that are written to are in the dump, others aren't.
    pub fn put(&mut self, physical: u64, bytes: &[u8]) -> &mut Self {
        for (at, byte) in (physical..).zip(bytes) {
            let page = self
                .pages
                .entry(at & !(PAGE - 1))
                .or_insert_with(|| vec![0; PAGE as usize]);
            page[(at % PAGE) as usize] = *byte;
        }
        self
    }

    /// Maps a page of virtual memory.
    pub fn map(&mut self, address: u64, physical: u64, page: Page) -> &mut Self {
        let (level, flags) = match page {
            Page::Small => (0, PRESENT),
            Page::Large => (1, PRESENT | LARGE),
            Page::Huge => (2, PRESENT | LARGE),
        };
        self.entry(address, level, physical | flags)
    }

    /// Sets the entry for an address in the page table of that level, 0 being the one that maps 4 KB pages.
    pub fn entry(&mut self, address: u64, level: u32, value: u64) -> &mut Self {
        let mut table = PAGE;
        for above in (level + 1..self.levels).rev() {
            let at = table + self.index(address, above) * 8;
            let found = self.u64(at);
            table = if found & PRESENT != 0 {
                found & !(PAGE - 1)
            } else {
                let new = self.next_table;
                self.next_table += PAGE;
                self.put(new, &[0; PAGE as usize]);
                self.put(at, &(new | PRESENT).to_le_bytes());
                new
            };
        }
        self.put(table + self.index(address, level) * 8, &value.to_le_bytes())
    }

    fn index(&self, address: u64, level: u32) -> u64 {
        let bits = if self.levels == 3 && level == 2 { 2 } else { 9 };
        (address >> (12 + 9 * level)) & ((1 << bits) - 1)
    }

    fn u64(&self, physical: u64) -> u64 {
        let start = (physical % PAGE) as usize;
        let page = &self.pages[&(physical & !(PAGE - 1))];
        u64::from_le_bytes(page[start..start + 8].try_into().expect("8 bytes"))
    }

    /// The text of the VMCOREINFO note.
    pub fn vmcoreinfo(&mut self, text: &str) -> &mut Self {
        self.vmcoreinfo = text.to_owned();
        self
    }

    /// Adds lines to the text of the VMCOREINFO note.
    pub fn add_vmcoreinfo(&mut self, lines: &str) -> &mut Self {
        self.vmcoreinfo.push_str(lines);
        self
    }

    /// ELF's `e_machine`.
    pub fn machine(&mut self, machine: u16) -> &mut Self {
        self.machine = machine;
        self
    }

    /// The dump's bytes: an ELF core with one PT_LOAD for each run of pages, highest first in the file, so that what
    /// are neighbours in memory aren't by chance neighbours in the file.
    pub fn bytes(&self) -> Vec<u8> {
        let wide = self.machine != EM_386;
        let mut runs: Vec<(u64, Vec<u8>)> = Vec::new();
        for (address, page) in &self.pages {
            match runs.last_mut() {
                Some((start, run)) if *start + run.len() as u64 == *address => {
                    run.extend_from_slice(page);
                }
                _ => runs.push((*address, page.clone())),
            }
        }
        let mut note = Vec::new();
        if !self.vmcoreinfo.is_empty() {
            for word in [11, self.vmcoreinfo.len() as u32, 0] {
                note.extend_from_slice(&word.to_le_bytes());
            }
            note.extend_from_slice(b"VMCOREINFO\0\0");
            note.extend_from_slice(self.vmcoreinfo.as_bytes());
            note.resize(note.len().next_multiple_of(4), 0);
        }
        let (header, entry) = if wide { (64u64, 56u64) } else { (52, 32) };
        let mut file = header + entry * (runs.len() as u64 + 1);
        let mut out = vec![0x7f, b'E', b'L', b'F', 1 + u8::from(wide), 1, 1];
        out.resize(16, 0);
        let word = |out: &mut Vec<u8>, value: u64, length: usize| {
            out.extend_from_slice(&value.to_le_bytes()[..length]);
        };
        let width = if wide { 8 } else { 4 };
        word(&mut out, 4, 2); // ET_CORE
        word(&mut out, self.machine.into(), 2);
        word(&mut out, 1, 4);
        word(&mut out, 0, width); // e_entry
        word(&mut out, header, width); // e_phoff
        word(&mut out, 0, width); // e_shoff
        word(&mut out, 0, 4); // e_flags
        for value in [header, entry, runs.len() as u64 + 1, 0, 0, 0] {
            word(&mut out, value, 2);
        }
        let mut program = |kind: u64, physical: u64, size: u64| {
            let fields = [file, 0, physical, size, size];
            word(&mut out, kind, 4);
            if wide {
                word(&mut out, 0, 4); // p_flags
            }
            for field in fields {
                word(&mut out, field, width);
            }
            if !wide {
                word(&mut out, 0, 4);
            }
            word(&mut out, 0, width); // p_align
            file += size;
        };
        program(4, 0, note.len() as u64);
        for (start, run) in runs.iter().rev() {
            program(1, *start, run.len() as u64);
        }
        out.extend_from_slice(&note);
        for (_, run) in runs.iter().rev() {
            out.extend_from_slice(run);
        }
        out
    }

    /// The dump as a file.
    pub fn save(&self) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("there is room for a small file");
        file.write_all(&self.bytes()).expect("it can be written");
        file
    }

    /// A kernel without name that fits the machine.
    pub fn kernel(&self) -> &'static KernelInfo {
        let wide = self.machine != EM_386;
        Box::leak(Box::new(KernelInfo {
            release: "synthetic",
            build_id: "",
            banner: "",
            machine: if wide { EM_X86_64 } else { EM_386 },
            pointer_size: if wide { 8 } else { 4 },
            big_endian: false,
            banner_address: None,
            page_table: Some(if wide { X86_64_IMAGE } else { I386_DIRECT } + PAGE),
            page_offset_base: None,
            per_cpu_offset: None,
            module_section: None,
            functions: Functions(""),
        }))
    }

    /// The dump's memory. The file has no name any more, and goes away with it.
    pub fn open(&self) -> Result<Memory, OpenError> {
        Memory::open(self.save().path(), self.kernel(), false)
    }
}

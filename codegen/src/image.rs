//! Opening an ELF file with debug information: sections, build id, symbols, the kernel's banner.

use std::borrow::Cow;
use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use object::{Object, ObjectSection, ObjectSymbol, SectionFlags, SectionKind, SymbolKind};

use crate::Error;
use crate::model::{Function, Kernel};

/// An ELF file, mapped.
pub struct Image {
    path: PathBuf,
    map: Mmap,
}

impl Image {
    /// Maps a file. The file must not change while it is in use.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let io = |error| Error::Io {
            path: path.to_owned(),
            error,
        };
        // To open a pipe is to wait for its other end.
        if !path.metadata().map_err(io)?.is_file() {
            return Err(Error::NotAFile {
                path: path.to_owned(),
            });
        }
        let file = File::open(path).map_err(io)?;
        // SAFETY: the map is read-only and private to this process. A file that another process cuts short while it is
        // mapped ends this process with SIGBUS; nothing that maps files can prevent that, and it can't corrupt memory.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        Ok(Image {
            path: path.to_owned(),
            map,
        })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file as it is.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Reads the ELF headers.
    pub fn parse(&self) -> Result<Elf<'_>, Error> {
        let elf_error = |what: String| Error::Elf {
            path: self.path.clone(),
            what,
        };
        if !self.map.starts_with(b"\x7fELF") {
            return Err(elf_error("it is not an ELF file".into()));
        }
        let file = object::File::parse(&self.map[..])
            .map_err(|error| elf_error(format!("the file is truncated or damaged: {error}")))?;
        Ok(Elf {
            path: &self.path,
            file,
        })
    }
}

/// The parsed headers of an [`Image`].
pub struct Elf<'d> {
    path: &'d Path,
    file: object::File<'d>,
}

impl<'d> Elf<'d> {
    /// Whether multi-byte values are big-endian.
    pub fn big_endian(&self) -> bool {
        !self.file.is_little_endian()
    }

    /// The contents of a section, decompressed if need be, and relocated in a module; empty if there is no such section.
    pub fn section(&self, name: &str) -> Result<Cow<'d, [u8]>, Error> {
        let Some(section) = self.file.section_by_name(name) else {
            return Ok(Cow::Borrowed(&[]));
        };
        let bad = |what: String| Error::Elf {
            path: self.path.to_owned(),
            what: format!("section {name}: {what}"),
        };
        let data = section
            .uncompressed_data()
            .map_err(|error| bad(error.to_string()))?;
        // A vmlinux may carry relocations too (CONFIG_RANDOMIZE_BASE keeps them); they have been applied.
        if !self.is_relocatable() {
            return Ok(data);
        }
        let mut data = data.into_owned();
        for (offset, relocation) in section.relocations() {
            self.relocate(&mut data, offset, &relocation)
                .map_err(&bad)?;
        }
        Ok(Cow::Owned(data))
    }

    /// The contents of a section as they are in the file, but decompressed; empty if there is no such section. BTF is
    /// read so: what relocations change in it (clang's, for BPF) is addresses, which are not known before linking.
    pub fn section_as_is(&self, name: &str) -> Result<Cow<'d, [u8]>, Error> {
        let Some(section) = self.file.section_by_name(name) else {
            return Ok(Cow::Borrowed(&[]));
        };
        section.uncompressed_data().map_err(|error| Error::Elf {
            path: self.path.to_owned(),
            what: format!("section {name}: {error}"),
        })
    }

    /// Whether this is a module (ET_REL), whose debug information is complete only after relocation.
    pub fn is_relocatable(&self) -> bool {
        self.file.kind() == object::ObjectKind::Relocatable
    }

    /// Applies one relocation. Debug information holds absolute values only: offsets into other sections, and addresses
    /// relative to the start of theirs.
    fn relocate(
        &self,
        data: &mut [u8],
        offset: u64,
        relocation: &object::Relocation,
    ) -> Result<(), String> {
        use object::{RelocationKind, RelocationTarget};

        if relocation.kind() == RelocationKind::None {
            return Ok(());
        }
        let target = match relocation.target() {
            RelocationTarget::Symbol(index) => self
                .file
                .symbol_by_index(index)
                .map_err(|error| error.to_string())?
                .address(),
            RelocationTarget::Absolute => 0,
            _ => {
                return Err(format!(
                    "a relocation at {offset:#x} with an unknown target"
                ));
            }
        };
        let size = usize::from(relocation.size()) / 8;
        if relocation.kind() != RelocationKind::Absolute || !matches!(size, 4 | 8) {
            return Err(format!(
                "a relocation at {offset:#x} of a kind that is not supported: {relocation:?}"
            ));
        }
        let place = usize::try_from(offset)
            .ok()
            .and_then(|start| data.get_mut(start..start.checked_add(size)?))
            .ok_or_else(|| format!("a relocation at {offset:#x} is outside the section"))?;
        let big = self.big_endian();
        let mut bytes = [0; 8];
        let range = if big { 8 - size..8 } else { 0..size };
        bytes[range.clone()].copy_from_slice(place);
        let implicit = if !relocation.has_implicit_addend() {
            0
        } else if big {
            u64::from_be_bytes(bytes)
        } else {
            u64::from_le_bytes(bytes)
        };
        let value = target
            .wrapping_add_signed(relocation.addend())
            .wrapping_add(implicit);
        let bytes = if big {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        };
        place.copy_from_slice(&bytes[range]);
        Ok(())
    }

    /// Functions by address, from the symbol table.
    pub fn functions(&self) -> Vec<Function> {
        let mut functions: Vec<Function> = self
            .file
            .symbols()
            .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition())
            .filter_map(|symbol| {
                let name = symbol.name().ok().filter(|name| is_printable(name))?;
                Some(Function {
                    address: symbol.address(),
                    name: name.to_owned(),
                })
            })
            .collect();
        functions.sort();
        functions.dedup();
        functions
    }

    /// Global symbols that aren't functions, by name: what the linker script and assembly define among them.
    pub fn objects(&self) -> Vec<(String, u64)> {
        let mut objects: Vec<(String, u64)> = self
            .file
            .symbols()
            .filter(|symbol| {
                symbol.is_global()
                    && symbol.is_definition()
                    && matches!(symbol.kind(), SymbolKind::Data | SymbolKind::Unknown)
            })
            .filter_map(|symbol| {
                let name = symbol.name().ok().filter(|name| is_printable(name))?;
                Some((name.to_owned(), symbol.address()))
            })
            .collect();
        objects.sort();
        objects.dedup_by(|a, b| a.0 == b.0);
        objects
    }

    /// What BTF takes addresses from: functions, and all other symbols with whether other files can name them.
    pub fn symbols(&self) -> crate::btf::Symbols {
        let others = self
            .file
            .symbols()
            .filter(|symbol| {
                symbol.is_definition()
                    && matches!(
                        symbol.kind(),
                        SymbolKind::Data | SymbolKind::Unknown | SymbolKind::Tls
                    )
            })
            .filter_map(|symbol| {
                let name = symbol.name().ok().filter(|name| is_printable(name))?;
                Some((name.to_owned(), symbol.address(), symbol.is_global()))
            })
            .collect();
        crate::btf::Symbols::new(self.functions(), others)
    }

    /// Whether there is DWARF in the file.
    pub fn has_dwarf(&self) -> bool {
        self.has_section(".debug_info") || self.has_section(".zdebug_info")
    }

    /// Whether there is a section of this name that is not empty.
    pub fn has_section(&self, name: &str) -> bool {
        self.file
            .section_by_name(name)
            .is_some_and(|section| section.size() != 0)
    }

    /// The address ranges of the sections that hold the template of the per-CPU area.
    pub fn per_cpu_ranges(&self) -> Vec<std::ops::Range<u64>> {
        self.file
            .sections()
            .filter(|section| {
                let allocated = matches!(section.flags(), SectionFlags::Elf { sh_flags, .. } if sh_flags.contains(object::elf::SHF_ALLOC));
                allocated
                    && section.name().is_ok_and(|name| {
                        name.starts_with(".data..percpu") || name.starts_with(".data.percpu")
                    })
            })
            .map(|section| section.address()..section.address().saturating_add(section.size()))
            .collect()
    }

    /// Which kernel this is. A file without `linux_banner` (a module) has an empty release.
    pub fn kernel(&self) -> Result<Kernel, Error> {
        let (banner_address, banner) = match self.banner() {
            Some((address, text)) => (Some(address), text),
            None => (None, String::new()),
        };
        let release = banner
            .strip_prefix("Linux version ")
            .and_then(|rest| rest.split_whitespace().next())
            .unwrap_or_default()
            .to_owned();
        let build_id = self.file.build_id().ok().flatten().unwrap_or_default();
        Ok(Kernel {
            release,
            build_id: build_id.to_owned(),
            banner,
            banner_address,
            machine: self.machine(),
            pointer_size: if self.file.is_64() { 8 } else { 4 },
            big_endian: self.big_endian(),
        })
    }

    fn machine(&self) -> u16 {
        match &self.file {
            object::File::Elf32(elf) => elf.elf_header().e_machine.get(elf.endian()).0,
            object::File::Elf64(elf) => elf.elf_header().e_machine.get(elf.endian()).0,
            _ => 0,
        }
    }

    /// The text of `linux_banner` and its address. Old kernels have a pointer of that name, new ones an array.
    fn banner(&self) -> Option<(u64, String)> {
        let address = self.file.symbol_by_name("linux_banner")?.address();
        self.banner_text(address)
            .or_else(|| self.banner_text(self.pointer(address)?))
    }

    fn banner_text(&self, address: u64) -> Option<(u64, String)> {
        let text = self.initialized(address)?;
        if !text.starts_with(b"Linux version ") {
            return None;
        }
        let end = text
            .iter()
            .take(512)
            .position(|&byte| byte == 0 || byte == b'\n')?;
        Some((address, String::from_utf8_lossy(&text[..end]).into_owned()))
    }

    fn pointer(&self, address: u64) -> Option<u64> {
        let bytes = self.initialized(address)?;
        Some(match (self.file.is_64(), self.big_endian()) {
            (true, false) => u64::from_le_bytes(*bytes.first_chunk()?),
            (true, true) => u64::from_be_bytes(*bytes.first_chunk()?),
            (false, false) => u32::from_le_bytes(*bytes.first_chunk()?).into(),
            (false, true) => u32::from_be_bytes(*bytes.first_chunk()?).into(),
        })
    }

    /// What the file has at an address, up to the end of the section.
    fn initialized(&self, address: u64) -> Option<&'d [u8]> {
        let section = self.file.sections().find(|section| {
            section.kind() != SectionKind::UninitializedData
                && section.address() != 0
                && (section.address()..section.address().saturating_add(section.size()))
                    .contains(&address)
        })?;
        let start = usize::try_from(address - section.address()).ok()?;
        section.data().ok()?.get(start..)
    }
}

fn is_printable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic())
}

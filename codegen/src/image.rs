//! Opening an ELF file with debug information: sections, build id, symbols, the kernel's banner.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;
use object::{
    CompressionFormat, Object, ObjectSection, ObjectSymbol, SectionFlags, SectionIndex,
    SectionKind, SymbolKind,
};

use crate::model::{Function, Kernel};
use crate::{Error, compress, relocate};

/// A file, mapped; or in memory, if it was compressed as a whole, can't be mapped or never was a file.
pub struct Image {
    path: PathBuf,
    bytes: Bytes,
}

enum Bytes {
    Mapped(Mmap),
    InMemory(Vec<u8>),
}

impl Image {
    /// Maps a file, or decompresses it if it is one that xz, zstd or gzip made. The file must not change while it is in use.
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
        let map = match unsafe { Mmap::map(&file) } {
            Ok(map) => map,
            // BTF in /sys can't be mapped in most kernels, and in others only as a private map.
            Err(_) => {
                return Ok(Image {
                    path: path.to_owned(),
                    bytes: Bytes::InMemory(std::fs::read(path).map_err(io)?),
                });
            }
        };
        let bytes = match compress::file(&map) {
            None => Bytes::Mapped(map),
            Some(Ok(bytes)) => Bytes::InMemory(bytes),
            Some(Err(what)) => {
                return Err(Error::Elf {
                    path: path.to_owned(),
                    what,
                });
            }
        };
        Ok(Image {
            path: path.to_owned(),
            bytes,
        })
    }

    /// Takes the contents of a file, and decompresses them like [`Image::open`]. `path` is what errors name, and where
    /// separate debug files are looked for.
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self, Error> {
        let bytes = match compress::file(&bytes) {
            None => bytes,
            Some(decompressed) => decompressed.map_err(|what| Error::Elf {
                path: path.to_owned(),
                what,
            })?,
        };
        Ok(Image {
            path: path.to_owned(),
            bytes: Bytes::InMemory(bytes),
        })
    }

    /// The file's contents, decompressed.
    pub fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Mapped(map) => map,
            Bytes::InMemory(bytes) => bytes,
        }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the ELF headers.
    pub fn parse(&self) -> Result<Elf<'_>, Error> {
        let elf_error = |what: String| Error::Elf {
            path: self.path.clone(),
            what,
        };
        if !self.bytes().starts_with(b"\x7fELF") {
            return Err(elf_error("it is not an ELF file".into()));
        }
        let file = object::File::parse(self.bytes())
            .map_err(|error| elf_error(format!("the file is truncated or damaged: {error}")))?;
        let mut elf = Elf {
            path: &self.path,
            file,
            symbols: None,
            bases: HashMap::new(),
        };
        if elf.is_relocatable() {
            elf.bases = elf.bases();
        }
        Ok(elf)
    }
}

/// Which alternate debug file is meant.
pub struct AlternateLink {
    /// Its path, relative to the file that names it.
    pub name: Vec<u8>,
    /// Its build id, or its checksum in `.debug_sup`.
    pub id: Vec<u8>,
}

/// The parsed headers of an [`Image`].
pub struct Elf<'d> {
    path: &'d Path,
    file: object::File<'d>,
    /// The file that has the symbols, if it is another.
    symbols: Option<object::File<'d>>,
    /// In a module: see [`Elf::bases`].
    bases: HashMap<SectionIndex, u64>,
}

/// A section of a module that is in memory when the module is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleSection {
    /// Such as `.data`.
    pub name: Arc<str>,
    /// The addresses that debug information, as [`Elf::section`] gives it, has for what lies in the section.
    pub range: std::ops::Range<u64>,
}

impl<'d> Elf<'d> {
    /// Takes the symbols from a separate debug file if this one has none.
    pub fn with_symbols_of(mut self, debug: &'d Image) -> Result<Self, Error> {
        if self.file.symbols().next().is_none() {
            self.symbols = Some(debug.parse()?.file);
        }
        Ok(self)
    }

    fn symbols(&self) -> &object::File<'d> {
        self.symbols.as_ref().unwrap_or(&self.file)
    }

    /// Whether there is a section of that name with something in it, compressed in the old way or not.
    pub fn has_section(&self, name: &str) -> bool {
        let has = |section: object::Section<'_, '_>| {
            section.kind() != SectionKind::UninitializedData && section.size() != 0
        };
        self.file.section_by_name(name).is_some_and(has)
    }

    /// The separate debug file's name and checksum, from `.gnu_debuglink`.
    pub fn debug_link(&self) -> Option<(&'d [u8], u32)> {
        self.file.gnu_debuglink().ok().flatten()
    }

    /// The alternate debug file, as `.gnu_debugaltlink` or DWARF 5's `.debug_sup` names it.
    pub fn alternate_link(&self) -> Result<Option<AlternateLink>, Error> {
        let link = |name: &[u8], id: &[u8]| AlternateLink {
            name: name.to_owned(),
            id: id.to_owned(),
        };
        if let Ok(Some((name, id))) = self.file.gnu_debugaltlink() {
            return Ok(Some(link(name, id)));
        }
        let section = self.section(".debug_sup")?;
        Ok(match supplement(&section) {
            Some((false, name, id)) => Some(link(name, id)),
            _ => None,
        })
    }

    /// What tells this file from others: its build id, or as an alternate file the checksum in `.debug_sup`.
    pub fn ids(&self) -> Vec<Vec<u8>> {
        let mut ids = Vec::new();
        ids.extend(self.build_id().map(<[u8]>::to_owned));
        if let Ok(section) = self.section(".debug_sup")
            && let Some((true, _, id)) = supplement(&section)
        {
            ids.push(id.to_owned());
        }
        ids
    }

    /// The contents of the GNU build-id note.
    pub fn build_id(&self) -> Option<&'d [u8]> {
        self.file.build_id().ok().flatten()
    }

    /// Whether multi-byte values are big-endian.
    pub fn big_endian(&self) -> bool {
        !self.file.is_little_endian()
    }

    /// The contents of a section, decompressed if need be, and relocated in a module; empty if there is no such section.
    /// In an object file there may be several of that name; they follow one another.
    pub fn section(&self, name: &str) -> Result<Cow<'d, [u8]>, Error> {
        let bad = |what: String| Error::Elf {
            path: self.path.to_owned(),
            what: format!("section {name}: {what}"),
        };
        if !self.is_relocatable() {
            // A vmlinux may carry relocations too (CONFIG_RANDOMIZE_BASE keeps them); they have been applied.
            return match self.file.section_by_name(name) {
                Some(section) => contents(&section).map_err(bad),
                None => Ok(Cow::Borrowed(&[])),
            };
        }
        let mut data = Vec::new();
        for section in self.file.sections() {
            if !section
                .name()
                .is_ok_and(|other| is_same_section(other, name))
            {
                continue;
            }
            let start = data.len() as u64;
            data.extend_from_slice(&contents(&section).map_err(&bad)?);
            for (offset, relocation) in section.relocations() {
                let base = |section| self.bases.get(&section).copied().unwrap_or(0);
                let offset = offset.saturating_add(start);
                relocate::apply(&self.file, &mut data, offset, &relocation, base).map_err(&bad)?;
            }
        }
        Ok(Cow::Owned(data))
    }

    /// The contents of a section as they are in the file, but decompressed; empty if there is no such section. BTF is
    /// read so: what relocations change in it (clang's, for BPF) is addresses, which are not known before linking.
    pub fn section_as_is(&self, name: &str) -> Result<Cow<'d, [u8]>, Error> {
        let Some(section) = self.file.section_by_name(name) else {
            return Ok(Cow::Borrowed(&[]));
        };
        contents(&section).map_err(|what| Error::Elf {
            path: self.path.to_owned(),
            what: format!("section {name}: {what}"),
        })
    }

    /// Where sections start. Those that share their name with others are read as one: type units are each in a section of its
    /// own until they are linked. Those of a module that will be in memory each get a range of addresses of its own, so that
    /// an address in debug information says in which section it is; the ranges fit 32 bits if the module does.
    fn bases(&self) -> HashMap<SectionIndex, u64> {
        let mut bases = HashMap::new();
        let mut ends: HashMap<&str, u64> = HashMap::new();
        let mut next = SECTION_GAP;
        for section in self.file.sections() {
            if let Ok(name) = section.name()
                && name.starts_with(".debug_")
            {
                let size = section
                    .compressed_file_range()
                    .map_or(0, |range| range.uncompressed_size);
                let end = ends.entry(name).or_default();
                if *end != 0 {
                    bases.insert(section.index(), *end);
                }
                *end = end.saturating_add(size);
            } else if is_allocated(&section) {
                bases.insert(section.index(), next);
                // Symbols at the end of a section, or a little behind it, must not seem to be in the next one.
                next = next
                    .saturating_add(section.size())
                    .checked_next_multiple_of(SECTION_GAP)
                    .unwrap_or(u64::MAX)
                    .saturating_add(SECTION_GAP);
            }
        }
        bases
    }

    /// Whether this is a module (ET_REL), whose debug information is complete only after relocation.
    pub fn is_relocatable(&self) -> bool {
        self.file.kind() == object::ObjectKind::Relocatable
    }

    /// The sections of a module that are in memory when it is loaded, and where they are here; none for a kernel.
    pub fn module_sections(&self) -> Vec<ModuleSection> {
        self.file
            .sections()
            .filter_map(|section| {
                let base = *self.bases.get(&section.index())?;
                let name = section.name().ok().filter(|name| is_printable(name))?;
                (is_allocated(&section) && section.size() != 0).then(|| ModuleSection {
                    name: Arc::from(name),
                    range: base..base.saturating_add(section.size()),
                })
            })
            .collect()
    }

    /// Functions by address, from the symbol table.
    pub fn functions(&self) -> Vec<Function> {
        let mut functions: Vec<Function> = self
            .symbols()
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
        let without_address = self.without_address();
        let mut objects: Vec<(String, u64)> = self
            .symbols()
            .symbols()
            .filter(|symbol| symbol.is_global() && is_object(symbol, &without_address))
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
    pub fn addresses(&self) -> crate::btf::Symbols {
        let without_address = self.without_address();
        let others = self
            .symbols()
            .symbols()
            .filter(|symbol| is_object(symbol, &without_address))
            .filter_map(|symbol| {
                let name = symbol.name().ok().filter(|name| is_printable(name))?;
                Some((name.to_owned(), symbol.address(), symbol.is_global()))
            })
            .collect();
        crate::btf::Symbols::new(self.functions(), others)
    }

    /// What stands in no memory has no address: gcc marks places in .debug_info so when it optimises at link time.
    fn without_address(&self) -> HashSet<SectionIndex> {
        self.symbols()
            .sections()
            .filter(|section| !is_allocated(section))
            .map(|section| section.index())
            .collect()
    }

    /// The address ranges of the sections that hold the template of the per-CPU area.
    pub fn per_cpu_ranges(&self) -> Vec<std::ops::Range<u64>> {
        self.file
            .sections()
            .filter(|section| is_allocated(section) && section.name().is_ok_and(is_per_cpu))
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
        let build_id = self.build_id().unwrap_or_default();
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

    /// Whether the symbols are those of a kernel, whose banner may not be in this file: it isn't in a debug file.
    pub fn has_banner_symbol(&self) -> bool {
        self.symbols().symbol_by_name("linux_banner").is_some()
    }

    /// The text of `linux_banner` and its address. Old kernels have a pointer of that name, new ones an array.
    fn banner(&self) -> Option<(u64, String)> {
        let address = self.symbols().symbol_by_name("linux_banner")?.address();
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

/// Whether a symbol is of something that has an address and is no function.
fn is_object(symbol: &object::Symbol<'_, '_>, without_address: &HashSet<SectionIndex>) -> bool {
    symbol.is_definition()
        && matches!(symbol.kind(), SymbolKind::Data | SymbolKind::Unknown)
        && symbol
            .section_index()
            .is_none_or(|section| !without_address.contains(&section))
}

/// How far apart the sections of a module are laid out here.
const SECTION_GAP: u64 = 0x1000;

/// Whether a section of this name holds the template of the per-CPU area; before 2.6.33 it had one dot less.
pub fn is_per_cpu(name: &str) -> bool {
    name.starts_with(".data..percpu") || name.starts_with(".data.percpu")
}

fn is_allocated(section: &object::Section<'_, '_>) -> bool {
    matches!(section.flags(), SectionFlags::Elf { sh_flags, .. } if sh_flags.contains(object::elf::SHF_ALLOC))
}

fn contents<'d>(section: &object::Section<'d, '_>) -> Result<Cow<'d, [u8]>, String> {
    let data = section
        .compressed_data()
        .map_err(|error| error.to_string())?;
    if data.format == CompressionFormat::None {
        return Ok(Cow::Borrowed(data.data));
    }
    compress::section(data).map(Cow::Owned)
}

/// `.debug_info` is called `.zdebug_info` where it is compressed in the old way.
fn is_same_section(name: &str, wanted: &str) -> bool {
    let short = name.strip_prefix(".z").zip(wanted.strip_prefix('.'));
    name == wanted || short.is_some_and(|(name, wanted)| name == wanted)
}

/// `.debug_sup` (DWARF 5, section 7.3.6): whether this is the alternate file itself, the name and the checksum of that.
fn supplement(section: &[u8]) -> Option<(bool, &[u8], &[u8])> {
    // The version, in either byte order.
    let ([0, 5, rest @ ..] | [5, 0, rest @ ..]) = section else {
        return None;
    };
    let (is_alternate, rest) = rest.split_first()?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    let (name, rest) = (&rest[..end], &rest[end + 1..]);
    // A checksum of 128 bytes or more has a length of more than one byte; nobody writes that.
    let (length, rest) = rest.split_first()?;
    let id = rest.get(..usize::from(*length))?;
    Some((*is_alternate != 0, name, id))
}

fn is_printable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic())
}

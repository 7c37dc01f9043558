//! Memory dumps: which physical memory a file holds, and what it says of the kernel.

mod bitmap;
mod budget;
mod decompress;
mod elf;
mod extents;
mod file;
mod kcore;
mod kdump;
mod lime;
mod machines;
mod notes;
mod paged;
mod raw;
mod scan;
#[allow(unsafe_code, reason = "pages are written while others are borrowed")]
mod store;
mod vmcoreinfo;
mod window;

use std::path::{Path, PathBuf};

use budget::Budget;
use extents::Extents;
use file::File;
pub use kcore::KCORE;
pub(crate) use notes::Cpu;
use paged::Paged;
pub use scan::Piece;
pub use vmcoreinfo::VmcoreInfo;
pub(crate) use window::Window;

use crate::fault::FaultKind;

/// Why a dump can't be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file can't be opened or mapped.
    #[error("{}: {error}{}", path.display(), kcore::advice(path, error))]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is no memory dump that kstruct knows.
    #[error("{}: not a memory dump: {what}", path.display())]
    NotADump {
        /// The file.
        path: PathBuf,
        /// What it looks like instead.
        what: String,
    },
    /// The file's headers make no sense.
    #[error("{}: the dump's headers are damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// There is no address space for the dump's memory.
    #[error("{}: no address space for the dump's memory: {error}", path.display())]
    NoRoom {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is a part of a dump that was split, and not all parts were given.
    #[error(
        "{}: a part of this dump is missing: physical memory from {start:#x} to {end:#x} is in none of the {given} files given. It was written by makedumpfile --split; name all of its files (--core FILE --core FILE)", path.display()
    )]
    MissingPart {
        /// The first file.
        path: PathBuf,
        /// Physical address of the first byte that no file has.
        start: u64,
        /// Physical address of the next byte that one has, or after the last.
        end: u64,
        /// How many files there are.
        given: usize,
    },
    /// Several files were given that are not the parts of one dump.
    #[error("{}: not a part of the same dump as {}", path.display(), first.display())]
    OtherPart {
        /// The file.
        path: PathBuf,
        /// The first one given.
        first: PathBuf,
    },
    /// The dump is of another kernel than the one that the program was compiled for.
    #[error(
        "{}: this is a dump of kernel {found}, but the program was built for {expected}; build it for the dump's kernel (cargo xtask run finds it from the dump), or give --force", path.display()
    )]
    OtherKernel {
        /// The file.
        path: PathBuf,
        /// The dump's kernel.
        found: String,
        /// The program's kernel.
        expected: String,
    },
    /// What was said of the dump by hand is not true of it.
    #[error("{}: an option contradicts the dump: {what}", path.display())]
    Contradiction {
        /// The file.
        path: PathBuf,
        /// What was said, and what is.
        what: String,
    },
    /// There are several kernels in the dump's memory, and nothing says which is meant.
    #[error("{}: {what}", path.display())]
    Ambiguous {
        /// The file.
        path: PathBuf,
        /// Where they are, and how to choose.
        what: String,
    },
    /// The kernel could not be found in the dump's memory.
    #[error("{}: can't find the kernel in the dump: {what}", path.display())]
    NoKernel {
        /// The file.
        path: PathBuf,
        /// What was missing.
        what: String,
    },
}

/// Why a file can't be opened, before its name is known.
enum Error {
    /// No dump at all.
    Other(String),
    Damaged(String),
    NoRoom(std::io::Error),
    /// No part has the memory from the first physical address to the second.
    MissingPart(u64, u64),
    /// The file of that number is a part of another dump.
    OtherPart(usize),
}

/// A memory dump: physical memory and notes. It does not know any kernel.
///
/// An ELF file is mapped, and what is read of it is borrowed from the map. Pages of other formats are made when they are
/// needed first, and are then borrowed from where they were put.
pub struct Dump {
    /// Where the files are: one, or all parts.
    paths: Vec<PathBuf>,
    /// An ELF file or an image; of other formats nothing.
    map: memmap2::Mmap,
    /// What is mapped.
    file: Option<std::fs::File>,
    /// Raw images may be in several files: those after the first.
    more_maps: Vec<memmap2::Mmap>,
    /// Of what is mapped: sorted by address, without overlap.
    segments: Vec<Segment>,
    /// The part of the first file's biggest segment that is in the file: most reads hit it.
    main: Segment,
    /// Bytes that are missing besides those of segments.
    missing: u64,
    /// Of what can't be mapped: its pages.
    paged: Option<Box<Paged>>,
    machine: u16,
    vmcoreinfo: VmcoreInfo,
    /// CPUs of x86, as far as notes speak of them.
    cpus: Vec<Cpu>,
    incomplete: bool,
    live: bool,
    /// What may be used for what is not mapped.
    budget: Budget,
}

/// A run of physical memory and where it lies in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Segment {
    /// Physical address.
    pub start: u64,
    /// Bytes of memory.
    pub size: u64,
    /// Where it starts in the file.
    pub file: u64,
    /// Bytes of it that the headers say are in the file; the rest was left out.
    pub in_file: u64,
    /// Which file it is in.
    pub map: usize,
}

impl Dump {
    /// Opens a dump. Nothing but its headers and bitmaps is read. A raw image is named with the physical address of its first byte,
    /// in hexadecimal: `FILE@ADDRESS`.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_parts(&[path])
    }

    /// Opens a dump that may be split: all files that `makedumpfile --split` wrote, in any order, or all raw images of a
    /// machine's memory (`FILE@ADDRESS`).
    pub fn open_parts(paths: &[impl AsRef<Path>]) -> Result<Self, OpenError> {
        let names: Vec<raw::Name> = paths
            .iter()
            .map(|path| raw::Name::parse(path.as_ref()))
            .collect();
        let path = |index: usize| {
            let path = names.get(index).map(|name| name.file.clone());
            path.unwrap_or_default()
        };
        let in_file = |index: usize, error: Error| match error {
            Error::Other(what) => OpenError::NotADump {
                path: path(index),
                what,
            },
            Error::Damaged(what) => OpenError::Damaged {
                path: path(index),
                what,
            },
            Error::NoRoom(error) => OpenError::NoRoom {
                path: path(index),
                error,
            },
            Error::MissingPart(start, end) => OpenError::MissingPart {
                path: path(0),
                start,
                end,
                given: paths.len(),
            },
            Error::OtherPart(index) => OpenError::OtherPart {
                path: path(index),
                first: path(0),
            },
        };
        let mut files = Vec::new();
        for index in 0..paths.len().max(1) {
            let file = File::open(&path(index));
            files.push(file.map_err(|error| OpenError::Io {
                path: path(index),
                error,
            })?);
        }
        // What a flattened file that was cut short seems to be is not what it was.
        let cut_short: Vec<bool> = files.iter().map(File::is_cut_short).collect();
        let in_file = |index: usize, error: Error| match error {
            Error::Other(what) | Error::Damaged(what) if cut_short[index] => in_file(
                index,
                Error::Damaged(format!(
                    "the flattened file is truncated; of what is left: {what}"
                )),
            ),
            error => in_file(index, error),
        };
        let mut dump = Dump {
            paths: (0..files.len()).map(path).collect(),
            map: crate::map::nothing()
                .map_err(Error::NoRoom)
                .map_err(|error| in_file(0, error))?,
            file: None,
            more_maps: Vec::new(),
            segments: Vec::new(),
            main: Segment::default(),
            missing: 0,
            paged: None,
            machine: 0,
            vmcoreinfo: VmcoreInfo::default(),
            cpus: Vec::new(),
            incomplete: false,
            live: false,
            budget: Budget::new(None, 0),
        };
        if names.iter().any(raw::Name::is_raw) {
            let segments = raw::segments(&names, &files);
            let segments = segments.map_err(|(index, error)| in_file(index, error))?;
            dump.set_mapped(segments, files);
            return Ok(dump);
        }
        let mut headers = Vec::new();
        for (index, file) in files.iter().enumerate() {
            // A compressed dump's bitmaps are borrowed from the map.
            if !file.is_live() && file.starts_with(kdump::SIGNATURE) {
                headers.push(kdump::parse(file).map_err(|error| in_file(index, error))?);
            } else if files.len() > 1 {
                let what = "several files were given, and it is no part of a split dump (makedumpfile --split)";
                return Err(in_file(index, Error::Other(what.into())));
            }
        }
        let error = |error| in_file(0, error);
        dump.incomplete = headers.iter().any(|header| header.incomplete);
        let in_order = !files[0].is_live() && !files[0].is_flat();
        if headers.is_empty() && in_order && lime::is_lime(&files[0]) {
            let parsed = lime::parse(&files[0]).map_err(error)?;
            dump.missing = parsed.missing;
            dump.set_mapped(parsed.segments, files);
        } else if headers.is_empty() {
            let parsed = elf::parse(&files[0]).map_err(error)?;
            (dump.machine, dump.vmcoreinfo) = (parsed.machine, parsed.vmcoreinfo);
            (dump.cpus, dump.missing) = (parsed.cpus, parsed.missing);
            if files[0].is_flat() || files[0].is_live() {
                let file = files.swap_remove(0);
                dump.live = file.is_live();
                let paged = Paged::flat(file, FlatSegments::new(parsed.segments));
                dump.paged = Some(Box::new(paged.map_err(error)?));
            } else {
                dump.set_mapped(parsed.segments, files);
            }
        } else {
            let paged = Paged::kdump(files, &headers).map_err(error)?;
            dump.paged = Some(Box::new(paged));
            let first = headers.swap_remove(0);
            (dump.machine, dump.vmcoreinfo) = (first.machine, first.vmcoreinfo);
            dump.cpus = first.cpus;
        }
        Ok(dump)
    }

    /// Takes over files that are read through maps, and what is where in them.
    fn set_mapped(&mut self, mut segments: Vec<Segment>, files: Vec<File>) {
        segments.sort_by_key(|segment| segment.start);
        let mut maps = files.into_iter().map(File::into_map);
        if let Some(first) = maps.next() {
            (self.map, self.file) = first;
        }
        self.more_maps = maps.map(|(map, _)| map).collect();
        self.main = main_segment(&segments, self.map.len() as u64);
        self.segments = segments;
    }

    /// The file that a segment is in.
    fn map_of(&self, segment: &Segment) -> &[u8] {
        match segment.map {
            0 => &self.map,
            more => &self.more_maps[more - 1],
        }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        self.paths.first().map_or(Path::new(""), PathBuf::as_path)
    }

    /// ELF's `e_machine`; 0 (`EM_NONE`) of an image, which doesn't say.
    pub fn machine(&self) -> u16 {
        self.machine
    }

    /// What notes say of x86's CPUs.
    pub(crate) fn cpus(&self) -> &[Cpu] {
        &self.cpus
    }

    /// What the kernel left for dump tools in the file's notes; empty where there is nothing. It may still be in memory:
    /// [`Memory::vmcoreinfo`](crate::Memory::vmcoreinfo).
    pub fn vmcoreinfo(&self) -> &VmcoreInfo {
        &self.vmcoreinfo
    }

    /// Bytes of physical memory that the dump's headers speak of.
    pub fn memory_size(&self) -> u64 {
        if let Some(paged) = &self.paged {
            return paged.memory_size();
        }
        self.segments
            .iter()
            .fold(0, |sum, segment| sum.saturating_add(segment.size))
    }

    /// The physical address after the last byte.
    pub fn memory_end(&self) -> u64 {
        if let Some(paged) = &self.paged {
            return paged.memory_end();
        }
        let end = |segment: &Segment| segment.start.saturating_add(segment.size);
        self.segments.last().map_or(0, end)
    }

    /// The physical address after the last byte of the biggest segment.
    pub(crate) fn main_end(&self) -> u64 {
        if let Some(paged) = &self.paged {
            return paged.main_end();
        }
        // Raw images have no ROM and video memory far above.
        if !self.more_maps.is_empty() {
            return self.memory_end();
        }
        self.main.start.saturating_add(self.main.size)
    }

    /// Of a file that is mapped, the biggest run of physical memory that lies in it in one piece.
    pub(crate) fn mapped(&self) -> Segment {
        self.main
    }

    /// A part of the file in a map of its own; empty if the file isn't mapped. It's never wrong not to have it: what lies there is in the
    /// whole file's map, too.
    pub(crate) fn map_part(&self, offset: u64, length: usize) -> std::io::Result<memmap2::Mmap> {
        match &self.file {
            Some(file) if length > 0 => crate::map::map_part(file, offset, Some(length)),
            _ => crate::map::nothing(),
        }
    }

    /// Bytes that the headers promise and the file, cut short, does not have.
    pub fn missing_bytes(&self) -> u64 {
        let all = self.missing_by_file().into_iter();
        all.fold(0, |sum, (_, missing)| sum.saturating_add(missing))
    }

    /// The file that was cut short, the first of several; that which was named first if none was.
    pub fn truncated_file(&self) -> &Path {
        let all = self.missing_by_file().into_iter();
        let first = all.filter(|(_, missing)| *missing > 0).map(|it| it.0).min();
        self.paths
            .get(first.unwrap_or(0))
            .map_or(self.path(), PathBuf::as_path)
    }

    /// What is missing of the files by their numbers, in any order.
    fn missing_by_file(&self) -> Vec<(usize, u64)> {
        if let Some(paged) = &self.paged {
            return paged.missing_by_file();
        }
        let missing = |segment: &Segment| {
            let end = segment.file.saturating_add(segment.in_file);
            let length = self.map_of(segment).len() as u64;
            (segment.map, end.saturating_sub(length).min(segment.in_file))
        };
        let all = self.segments.iter().map(missing);
        all.chain([(0, self.missing)]).collect()
    }

    /// Whether the program that wrote the dump marked it as incomplete: it ran out of room.
    pub fn is_incomplete(&self) -> bool {
        self.incomplete
    }

    /// Whether it is no dump but the memory of the running kernel ([`KCORE`]): each page is as it was when it was read first.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Lets no more than so many bytes of memory be used for pages that can't be borrowed from the file, because they are compressed
    /// or the file is flattened, and for copies of what isn't in one piece. A page that would be more can't be read:
    /// [`FaultKind::MemoryLimit`]. What is borrowed from a mapped file doesn't count: the system takes it back when it needs it.
    ///
    /// The index of a flattened file counts. What was read before doesn't.
    pub fn set_memory_limit(&mut self, bytes: u64) {
        self.budget = self.fresh_budget(Some(bytes));
    }

    fn fresh_budget(&self, limit: Option<u64>) -> Budget {
        let index = self.paged.as_ref().map_or(0, |paged| paged.index_size());
        Budget::new(limit, index)
    }

    /// The limit, and how many times it stood in the way.
    pub fn memory_limit(&self) -> Option<(u64, u64)> {
        Some((self.budget.limit()?, self.budget.refused()))
    }

    /// Counts memory that is used for a copy.
    pub(crate) fn take_memory(&self, bytes: u64) -> Result<(), FaultKind> {
        self.budget.take(bytes)
    }

    /// Gives back all memory that pages take which can't be borrowed from the file. They are made again when they are needed again.
    ///
    /// # Errors
    ///
    /// No address space for them.
    pub fn forget_pages(&mut self) -> std::io::Result<()> {
        if let Some(paged) = &mut self.paged {
            paged.clear()?;
        }
        self.budget = self.fresh_budget(self.budget.limit());
        Ok(())
    }

    /// Runs of physical memory that are in the dump: address and bytes, without overlap. What an ELF file that was cut short
    /// lacks is not in them.
    pub fn runs(&self) -> Vec<(u64, u64)> {
        match &self.paged {
            Some(paged) => paged.runs(),
            None => {
                let run = |segment: &Segment| {
                    let length = self.map_of(segment).len() as u64;
                    let there = length.saturating_sub(segment.file);
                    (segment.start, segment.in_file.min(there))
                };
                self.segments.iter().map(run).collect()
            }
        }
    }

    /// The same, of which those that are neighbours in memory are one, although they may be apart in the file.
    pub(crate) fn joined_runs(&self) -> Vec<(u64, u64)> {
        let mut joined: Vec<(u64, u64)> = Vec::new();
        for (start, size) in self.runs() {
            match joined.last_mut() {
                Some((first, length)) if first.checked_add(*length) == Some(start) => {
                    *length = length.saturating_add(size);
                }
                _ => joined.push((start, size)),
            }
        }
        joined
    }

    /// Physical memory as the dump holds it. The whole range must lie in one segment of an ELF file, or in pages without a
    /// gap.
    ///
    /// # Errors
    ///
    /// [`FaultKind::NotInDump`], [`FaultKind::Excluded`], [`FaultKind::Damaged`], [`FaultKind::Truncated`],
    /// [`FaultKind::MemoryLimit`], and of the running kernel [`FaultKind::Unreadable`].
    #[inline]
    pub fn physical(&self, address: u64, length: usize) -> Result<&[u8], FaultKind> {
        let skip = address.wrapping_sub(self.main.start);
        if skip < self.main.in_file && length as u64 <= self.main.in_file - skip {
            let start = (self.main.file + skip) as usize;
            if let Some(bytes) = self.map.get(start..start + length) {
                return Ok(bytes);
            }
        }
        self.physical_elsewhere(address, length)
    }

    #[cold]
    fn physical_elsewhere(&self, address: u64, length: usize) -> Result<&[u8], FaultKind> {
        if let Some(paged) = &self.paged {
            return paged.physical(address, length, &self.budget);
        }
        self.mapped_physical(address, length)
    }

    /// Physical memory that is mapped with the file: nothing has to be made for it.
    pub(crate) fn in_file(&self, address: u64, length: usize) -> Option<&[u8]> {
        match self.paged {
            Some(_) => None,
            None => self.mapped_physical(address, length).ok(),
        }
    }

    fn mapped_physical(&self, address: u64, length: usize) -> Result<&[u8], FaultKind> {
        let segment = segment_of(&self.segments, address, length)?;
        // Saturation leads past the end of any file.
        let start = segment.file.saturating_add(address - segment.start);
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        self.map_of(segment)
            .get(start..start.saturating_add(length))
            .ok_or(FaultKind::Truncated)
    }

    /// The first `Linux version ...` in the dump's memory: for kernels that left no VMCOREINFO.
    ///
    /// Reads memory from its start until the banner is found; not the running kernel's, whose size nothing bounds and which has
    /// other words for it.
    pub fn scan_banner(&self) -> Option<String> {
        if self.live {
            return None;
        }
        let finder = memchr::memmem::Finder::new(b"Linux version ");
        // As much at a time, and so much more that a banner which begins in it ends in it.
        const STEP: u64 = 1 << 16;
        const LONGEST: u64 = 512;
        let mut window = Window::new(self);
        for (start, size) in self.joined_runs() {
            for skip in (0..size).step_by(STEP as usize) {
                let length = (STEP + LONGEST).min(size - skip);
                let bytes = window.bytes(start + skip, length as usize);
                let banner = finder
                    .find_iter(bytes)
                    .find_map(|at| banner(&bytes[at..bytes.len().min(at + LONGEST as usize)]));
                if banner.is_some() {
                    return banner;
                }
            }
        }
        None
    }

    /// The release of the dump's kernel: from VMCOREINFO, or else from the banner in memory; of the running kernel its own word.
    pub fn release(&self) -> Option<String> {
        if let Some(release) = self.vmcoreinfo.get("OSRELEASE") {
            return Some(release.to_owned());
        }
        if self.live && self.path() == Path::new(KCORE) {
            let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
            return Some(release.trim_end().to_owned());
        }
        let banner = self.scan_banner()?;
        banner.split_whitespace().nth(2).map(str::to_owned)
    }
}

/// A kernel's banner at the start of a text: it names the compiler, and log lines and format strings don't look like it. Kernels since 6.2 have a
/// second one, which nobody uses (init/version.c, `__weak linux_banner`): it lacks the number of the build.
fn banner(text: &[u8]) -> Option<String> {
    let end = text.iter().position(|byte| matches!(byte, b'\n' | 0))?;
    let line = &text[..end];
    let looks_like_it = line.is_ascii()
        && line.get(14).is_some_and(u8::is_ascii_digit)
        && line
            .windows(3)
            .any(|part| part.starts_with(b" #") && part[2].is_ascii_digit());
    looks_like_it.then(|| String::from_utf8_lossy(line).into_owned())
}

/// The part of the first file's biggest segment that is in the file.
fn main_segment(segments: &[Segment], file_size: u64) -> Segment {
    let in_file = |segment: &Segment| Segment {
        in_file: segment.in_file.min(file_size.saturating_sub(segment.file)),
        ..*segment
    };
    let segments = segments.iter().filter(|segment| segment.map == 0);
    segments
        .map(in_file)
        .max_by_key(|segment| segment.in_file)
        .unwrap_or_default()
}

/// The segment that has a range of physical memory in the file.
fn segment_of(segments: &[Segment], address: u64, length: usize) -> Result<&Segment, FaultKind> {
    let after = segments.partition_point(|segment| segment.start <= address);
    let index = after.checked_sub(1).ok_or(FaultKind::NotInDump)?;
    let segment = &segments[index];
    let skip = address - segment.start;
    if skip >= segment.size || segment.size - skip < length as u64 {
        return Err(FaultKind::NotInDump);
    }
    if skip >= segment.in_file || segment.in_file - skip < length as u64 {
        return Err(FaultKind::Excluded);
    }
    Ok(segment)
}

/// The segments of an ELF file that can't be mapped, or whose map is not in order.
struct FlatSegments {
    /// Sorted by address, without overlap.
    segments: Vec<Segment>,
    /// What is in the file of them.
    pieces: Vec<extents::Piece>,
}

impl FlatSegments {
    fn new(segments: Vec<Segment>) -> Self {
        let mut extents = Extents::default();
        for segment in &segments {
            extents.insert(extents::Piece {
                start: segment.start,
                length: segment.in_file,
                file: segment.file,
            });
        }
        FlatSegments {
            segments,
            pieces: extents.finish(),
        }
    }
}

//! ELF dumps: QEMU's `dump-guest-memory`, /proc/vmcore and copies of it, makedumpfile -E, netdump: whatever has PT_LOADs
//! with physical addresses. Where virtual ones are there too, several segments may speak of the same memory.
//! (System V gABI, chapters 4 and 5; the notes are those of Documentation/admin-guide/kdump.)

use super::extents::{Extents, Piece};
use super::file::File;
use super::kcore::MOST_NOTES;
use super::notes::{self, Cpu};
use super::{Error, Segment, VmcoreInfo};

/// What the headers say.
pub(super) struct Parsed {
    pub segments: Vec<Segment>,
    /// Bytes that headers promise and the file doesn't have, besides those of segments' memory: of notes, and of segments that are said to have more
    /// in the file than in memory.
    pub missing: u64,
    pub machine: u16,
    pub vmcoreinfo: VmcoreInfo,
    pub cpus: Vec<Cpu>,
}

const ET_CORE: u64 = 4;
const PT_LOAD: u64 = 1;
const PT_NOTE: u64 = 4;
/// `e_phnum` when there are more program headers than 16 bits can say; section header 0's `sh_info` then has the number.
const PN_XNUM: u64 = 0xffff;

/// A `p_paddr` that says there is none: /proc/kcore's of memory that is mapped by pages, such as vmalloc space.
const NO_ADDRESS: u64 = u64::MAX;

pub(super) fn parse(file: &File) -> Result<Parsed, Error> {
    if file.len() == 0 {
        return Err(Error::Other("the file is empty".into()));
    }
    if !file.starts_with(b"\x7fELF") {
        let what = if file.starts_with(b"DISKDUMP") {
            "it is a diskdump file, a format of kernels before 2.6.13 that is not supported"
        } else if file.starts_with(super::lime::AVML) {
            "it is an AVML image with compressed ranges, which is not supported; `avml-convert` makes a LiME image of it"
        } else {
            "it is not an ELF file, nor a kdump (makedumpfile) file, nor a LiME image. A raw image of memory is named with the physical address of its first byte: FILE@0"
        };
        return Err(Error::Other(what.into()));
    }
    let mut identification = [0; 16];
    file.read(0, &mut identification)
        .ok_or_else(|| Error::Damaged("the file ends within its ELF header".into()))?;
    let reader = Reader {
        file,
        wide: match identification[4] {
            1 => false,
            2 => true,
            _ => return Err(Error::Damaged("neither ELF32 nor ELF64".into())),
        },
        big: match identification[5] {
            1 => false,
            2 => true,
            _ => return Err(Error::Damaged("neither little- nor big-endian".into())),
        },
    };
    let header = |what: &str| Error::Damaged(format!("the file ends within its {what}"));
    let file_type = reader.uint(16, 2).ok_or_else(|| header("ELF header"))?;
    if file_type != ET_CORE {
        return Err(Error::Other(format!(
            "it is an ELF file of type {file_type}, and a dump has type {ET_CORE} (ET_CORE); is it a vmlinux?"
        )));
    }
    let machine = reader.uint(18, 2).ok_or_else(|| header("ELF header"))? as u16;
    let (table, entry_size, mut count) = reader.table().ok_or_else(|| header("ELF header"))?;
    if count == PN_XNUM && file.is_live() {
        return Err(Error::Damaged("65535 program headers or more".into()));
    }
    if count == PN_XNUM {
        count = reader
            .extended_count()
            .ok_or_else(|| header("section header table"))?;
    }
    let minimum = if reader.wide { 56 } else { 32 };
    if count != 0 && entry_size < minimum {
        return Err(Error::Damaged(format!(
            "program headers of {entry_size} bytes, {minimum} at least"
        )));
    }

    let mut segments = Vec::new();
    let mut without_address = 0;
    let mut virtual_only = 0;
    let mut missing: u64 = 0;
    let mut vmcoreinfo = VmcoreInfo::default();
    let mut cpus = Vec::new();
    for index in 0..count {
        let program = index
            .checked_mul(entry_size)
            .and_then(|offset| table.checked_add(offset))
            .and_then(|at| reader.program(at))
            .ok_or_else(|| header("program headers"))?;
        let counted = match program.kind {
            PT_LOAD => program.memory_size.min(program.file_size),
            PT_NOTE => 0,
            _ => program.file_size,
        };
        let promised = program.offset.saturating_add(program.file_size);
        let known = program.offset.saturating_add(counted).max(file.len());
        missing = missing.saturating_add(promised.saturating_sub(known));
        match program.kind {
            PT_LOAD if program.memory_size == 0 => {}
            PT_LOAD if program.physical == NO_ADDRESS => without_address += 1,
            PT_LOAD => {
                virtual_only += u32::from(program.physical == 0 && program.virtual_address != 0);
                segments.push(Segment {
                    start: program.physical,
                    size: program.memory_size,
                    file: program.offset,
                    in_file: program.file_size.min(program.memory_size),
                    map: 0,
                });
            }
            PT_NOTE => {
                let (offset, mut size) = (program.offset, program.file_size);
                if file.is_live() {
                    size = size.min(MOST_NOTES);
                }
                if cpus.is_empty() && !reader.big {
                    cpus = notes::cpus(file, offset, size);
                }
                if vmcoreinfo.is_empty()
                    && let Some(text) = note(file, reader.big, offset, size, b"VMCOREINFO")
                {
                    vmcoreinfo = VmcoreInfo::parse(&text);
                }
            }
            _ => {}
        }
    }
    // One segment may be at physical address 0; several that claim to be have no physical address.
    if (segments.is_empty() && without_address > 0)
        || (virtual_only > 1 && virtual_only as usize == segments.len())
    {
        return Err(Error::Damaged(
            "its segments have virtual addresses only (every p_paddr is -1 or 0), and where they are in physical memory can't be told; such dumps are not supported".into(),
        ));
    }
    if segments.is_empty() {
        return Err(Error::Damaged(
            "there is no memory in it (no PT_LOAD)".into(),
        ));
    }
    let segments = without_overlap(&segments, file.len());
    Ok(Parsed {
        segments,
        missing,
        machine,
        vmcoreinfo,
        cpus,
    })
}

/// What is said of physical memory, each byte once. The kernel's text, and with paging nearly everything, is in several
/// segments with the same contents: that which has most of its bytes in the file counts.
pub(super) fn without_overlap(segments: &[Segment], file_size: u64) -> Vec<Segment> {
    // In place of an offset: not in the file.
    const LEFT_OUT: u64 = u64::MAX;
    let there = |segment: &Segment| {
        let rest = file_size.saturating_sub(segment.file);
        std::cmp::Reverse(segment.in_file.min(rest))
    };
    let mut order: Vec<&Segment> = segments.iter().collect();
    order.sort_by_key(|segment| (there(segment), segment.start, segment.file));
    let mut extents = Extents::default();
    for segment in &order {
        extents.insert(Piece {
            start: segment.start,
            length: segment.in_file,
            file: segment.file,
        });
    }
    for segment in &order {
        extents.insert(Piece {
            start: segment.start,
            length: segment.size,
            file: LEFT_OUT,
        });
    }
    let mut merged: Vec<Segment> = Vec::new();
    for piece in extents.finish() {
        let left_out = piece.file == LEFT_OUT;
        if let Some(last) = merged.last_mut()
            && last.start + last.size == piece.start
        {
            if left_out {
                last.size += piece.length;
                continue;
            }
            if last.in_file == last.size && last.file.checked_add(last.size) == Some(piece.file) {
                last.size += piece.length;
                last.in_file += piece.length;
                continue;
            }
        }
        merged.push(Segment {
            start: piece.start,
            size: piece.length,
            file: piece.file,
            in_file: if left_out { 0 } else { piece.length },
            map: 0,
        });
    }
    merged
}

/// The contents of the first note of that name.
pub(super) fn note(
    file: &File,
    big: bool,
    offset: u64,
    size: u64,
    wanted: &[u8],
) -> Option<Vec<u8>> {
    each_note(file, big, offset, size, |name, contents, size| {
        let found = (name == wanted).then(|| file.bytes(contents, size));
        found.map(|bytes| bytes.map(|bytes| bytes.into_owned()))
    })?
}

/// Shows each note's name, where its contents are, and how many bytes they have, until something is made of one. Notes are aligned
/// to 4 bytes.
pub(super) fn each_note<T>(
    file: &File,
    big: bool,
    offset: u64,
    size: u64,
    mut look: impl FnMut(&[u8], u64, u64) -> Option<T>,
) -> Option<T> {
    let uint = |at: u64| {
        let mut bytes = [0; 4];
        file.read(at, &mut bytes)?;
        Some(crate::bits::uint(&bytes, big))
    };
    let aligned = |length: u64| length.div_ceil(4) * 4;
    let mut at = offset;
    let end = offset.checked_add(size)?;
    while at < end {
        let name_size = uint(at)?;
        let size = uint(at.checked_add(4)?)?;
        let name_at = at.checked_add(12)?;
        let contents = name_at.checked_add(aligned(name_size))?;
        let name = file.bytes(name_at, name_size)?;
        if let Some(made) = look(name.strip_suffix(b"\0").unwrap_or(&name), contents, size) {
            return Some(made);
        }
        at = contents.checked_add(aligned(size))?;
    }
    None
}

/// Reads fields of either width and byte order.
struct Reader<'a> {
    file: &'a File,
    wide: bool,
    big: bool,
}

struct Program {
    kind: u64,
    offset: u64,
    virtual_address: u64,
    physical: u64,
    file_size: u64,
    memory_size: u64,
}

impl Reader<'_> {
    fn uint(&self, at: u64, length: usize) -> Option<u64> {
        let mut bytes = [0; 8];
        let bytes = bytes.get_mut(..length)?;
        self.file.read(at, bytes)?;
        Some(crate::bits::uint(bytes, self.big))
    }

    /// The place, entry size and count of the program headers.
    fn table(&self) -> Option<(u64, u64, u64)> {
        if self.wide {
            Some((self.uint(32, 8)?, self.uint(54, 2)?, self.uint(56, 2)?))
        } else {
            Some((self.uint(28, 4)?, self.uint(42, 2)?, self.uint(44, 2)?))
        }
    }

    fn extended_count(&self) -> Option<u64> {
        if self.wide {
            self.uint(self.uint(40, 8)?.checked_add(44)?, 4)
        } else {
            self.uint(self.uint(32, 4)?.checked_add(28)?, 4)
        }
    }

    fn program(&self, at: u64) -> Option<Program> {
        let field = |offset: u64, length: usize| self.uint(at.checked_add(offset)?, length);
        Some(if self.wide {
            Program {
                kind: field(0, 4)?,
                offset: field(8, 8)?,
                virtual_address: field(16, 8)?,
                physical: field(24, 8)?,
                file_size: field(32, 8)?,
                memory_size: field(40, 8)?,
            }
        } else {
            Program {
                kind: field(0, 4)?,
                offset: field(4, 4)?,
                virtual_address: field(8, 4)?,
                physical: field(12, 4)?,
                file_size: field(16, 4)?,
                memory_size: field(20, 4)?,
            }
        })
    }
}

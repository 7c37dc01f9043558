//! ELF dumps: QEMU's `dump-guest-memory` without paging, and whatever else has physical PT_LOADs.
//! (System V gABI, chapters 4 and 5; the notes are those of Documentation/admin-guide/kdump.)

use super::{Segment, VmcoreInfo};

/// What the headers say.
pub(super) struct Parsed {
    pub segments: Vec<Segment>,
    pub machine: u16,
    pub vmcoreinfo: VmcoreInfo,
}

pub(super) enum Error {
    /// Not an ELF core at all.
    Other(String),
    Damaged(String),
}

const ET_CORE: u64 = 4;
const PT_LOAD: u64 = 1;
const PT_NOTE: u64 = 4;
/// `e_phnum` when there are more program headers than 16 bits can say; section header 0's `sh_info` then has the number.
const PN_XNUM: u64 = 0xffff;

pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, Error> {
    if bytes.is_empty() {
        return Err(Error::Other("the file is empty".into()));
    }
    if !bytes.starts_with(b"\x7fELF") {
        let what = if bytes.starts_with(b"KDUMP   ") || bytes.starts_with(b"makedumpfile\0") {
            "it is a kdump (makedumpfile) file, a format that this version can't read yet"
        } else {
            "it is not an ELF file"
        };
        return Err(Error::Other(what.into()));
    }
    let reader = Reader {
        bytes,
        wide: match bytes.get(4) {
            Some(1) => false,
            Some(2) => true,
            _ => return Err(Error::Damaged("neither ELF32 nor ELF64".into())),
        },
        big: match bytes.get(5) {
            Some(1) => false,
            Some(2) => true,
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
    let mut vmcoreinfo = VmcoreInfo::default();
    for index in 0..count {
        let program = index
            .checked_mul(entry_size)
            .and_then(|offset| table.checked_add(offset))
            .and_then(|at| reader.program(at))
            .ok_or_else(|| header("program headers"))?;
        match program.kind {
            PT_LOAD => segments.push(Segment {
                start: program.physical,
                size: program.memory_size,
                file: program.offset,
                in_file: program.file_size.min(program.memory_size),
            }),
            PT_NOTE => {
                if let Some(text) = reader.note(&program, b"VMCOREINFO") {
                    vmcoreinfo = VmcoreInfo::parse(text);
                }
            }
            _ => {}
        }
    }
    segments.retain(|segment| segment.size != 0);
    if segments.is_empty() {
        return Err(Error::Damaged(
            "there is no memory in it (no PT_LOAD)".into(),
        ));
    }
    segments.sort_by_key(|segment| (segment.start, segment.file));
    for pair in segments.windows(2) {
        if pair[0].start.saturating_add(pair[0].size) > pair[1].start {
            return Err(Error::Damaged(format!(
                "segments overlap at physical address {:#x}; a dump with virtual addresses only is not supported",
                pair[1].start
            )));
        }
    }
    Ok(Parsed {
        segments,
        machine,
        vmcoreinfo,
    })
}

/// Reads fields of either width and byte order.
struct Reader<'a> {
    bytes: &'a [u8],
    wide: bool,
    big: bool,
}

struct Program {
    kind: u64,
    offset: u64,
    physical: u64,
    file_size: u64,
    memory_size: u64,
}

impl<'a> Reader<'a> {
    fn slice(&self, at: u64, length: u64) -> Option<&'a [u8]> {
        let start = usize::try_from(at).ok()?;
        let end = usize::try_from(at.checked_add(length)?).ok()?;
        self.bytes.get(start..end)
    }

    fn uint(&self, at: u64, length: u64) -> Option<u64> {
        let bytes = self.slice(at, length)?;
        let push = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        Some(if self.big {
            bytes.iter().fold(0, push)
        } else {
            bytes.iter().rev().fold(0, push)
        })
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
        let field = |offset: u64, length: u64| self.uint(at.checked_add(offset)?, length);
        Some(if self.wide {
            Program {
                kind: field(0, 4)?,
                offset: field(8, 8)?,
                physical: field(24, 8)?,
                file_size: field(32, 8)?,
                memory_size: field(40, 8)?,
            }
        } else {
            Program {
                kind: field(0, 4)?,
                offset: field(4, 4)?,
                physical: field(12, 4)?,
                file_size: field(16, 4)?,
                memory_size: field(20, 4)?,
            }
        })
    }

    /// The contents of the first note of that name. Notes are aligned to 4 bytes.
    fn note(&self, program: &Program, wanted: &[u8]) -> Option<&'a [u8]> {
        let aligned = |length: u64| length.div_ceil(4) * 4;
        let mut at = program.offset;
        let end = program.offset.checked_add(program.file_size)?;
        while at < end {
            let name_size = self.uint(at, 4)?;
            let size = self.uint(at.checked_add(4)?, 4)?;
            let name_at = at.checked_add(12)?;
            let name = self.slice(name_at, name_size)?;
            let contents = name_at.checked_add(aligned(name_size))?;
            if name.strip_suffix(b"\0").unwrap_or(name) == wanted {
                return self.slice(contents, size);
            }
            at = contents.checked_add(aligned(size))?;
        }
        None
    }
}

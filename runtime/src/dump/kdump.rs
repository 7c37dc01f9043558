//! The headers of makedumpfile's compressed dumps, which QEMU and libvirt write too.
//!
//! A file is blocks of one size: the header, the sub-header, two bitmaps (which page frames the machine has, and which of
//! them are in the file), a descriptor for each page that is in the file, and the pages. (makedumpfile's IMPLEMENTATION,
//! diskdump_mod.h and sadump; QEMU's docs/interop and include/sysemu/dump.h.) Numbers have the byte order and the width of the
//! dumped machine, of which the header says only the name.

use super::file::File;
use super::machines;
use super::notes::{self, Cpu};
use super::{Error, VmcoreInfo};

pub(super) const SIGNATURE: &[u8] = b"KDUMP   ";
/// Bytes of a page descriptor, on all machines.
pub(super) const DESCRIPTOR: u64 = 24;

/// `DUMP_DH_COMPRESSED_INCOMPLETE`: makedumpfile could not write all of it.
const INCOMPLETE: u64 = 0x8;
const NEWEST_VERSION: u64 = 6;

/// What the headers say.
pub(super) struct Header {
    pub big: bool,
    pub machine: u16,
    /// log2 of the block size, which is the page size.
    pub shift: u32,
    /// Page frames that the bitmaps speak of.
    pub frames: u64,
    /// Where the bitmap of the machine's pages is.
    pub valid: u64,
    /// Where the bitmap of the pages in the file is; the same one in dumps that leave out nothing.
    pub dumpable: u64,
    /// Where the page descriptors are.
    pub descriptors: u64,
    /// The page frames that are in this file, of a dump that was split.
    pub part: Option<(u64, u64)>,
    pub incomplete: bool,
    pub vmcoreinfo: VmcoreInfo,
    pub cpus: Vec<Cpu>,
    /// Names, times and sizes: the same in all parts of a dump.
    pub identity: Vec<u8>,
}

pub(super) fn parse(file: &File) -> Result<Header, Error> {
    let damaged = |what: &str| Error::Damaged(what.to_owned());
    let ends = |what: &str| Error::Damaged(format!("the file ends within its {what}"));
    let little = Reader { file, big: false };
    let version = little.uint(8, 4).ok_or_else(|| ends("header"))?;
    let big = version > 0xffff;
    let reader = Reader { file, big };
    let version = reader.uint(8, 4).ok_or_else(|| ends("header"))?;
    if version > NEWEST_VERSION {
        return Err(Error::Damaged(format!(
            "header version {version}; up to {NEWEST_VERSION} is known"
        )));
    }
    let name = reader.machine_name().ok_or_else(|| ends("header"))?;
    let main = reader.main(&name)?;
    if !main.block_size.is_power_of_two() || !(4096..=1 << 20).contains(&main.block_size) {
        return Err(Error::Damaged(format!(
            "blocks of {} bytes; 4096 to 1 MB make sense",
            main.block_size
        )));
    }
    let shift = main.block_size.trailing_zeros();
    let sub = reader.sub(main.block_size, main.wide, &name, version);
    let sub = sub.ok_or_else(|| ends("sub-header"))?;
    let frames = sub.frames.unwrap_or(main.frames);
    if frames == 0 {
        return Err(damaged("it speaks of no memory"));
    }
    if frames > u64::MAX >> (shift + 1) {
        return Err(Error::Damaged(format!(
            "{frames:#x} pages are more than there are addresses"
        )));
    }
    // Two bitmaps, unless there is room for one only: then all pages are in the file (diskdump's form).
    let bitmap_bytes = main.bitmap_blocks << shift;
    let needed = frames.div_ceil(8);
    let two = needed.div_ceil(main.block_size) * 2 <= main.bitmap_blocks;
    if needed > bitmap_bytes {
        return Err(Error::Damaged(format!(
            "bitmaps of {bitmap_bytes} bytes are too small for {frames:#x} pages"
        )));
    }
    let valid = (1 + main.sub_blocks) << shift;
    let descriptors = valid + bitmap_bytes;
    let vmcoreinfo = match sub.vmcoreinfo {
        Some((offset, size)) if size > 0 => {
            let text = file.bytes(offset, size);
            VmcoreInfo::parse(&text.ok_or_else(|| ends("VMCOREINFO"))?)
        }
        _ => sub
            .notes
            .and_then(|(offset, size)| super::elf::note(file, big, offset, size, b"VMCOREINFO"))
            .map(|text| VmcoreInfo::parse(&text))
            .unwrap_or_default(),
    };
    if let Some((start, end)) = sub.part
        && start > end
    {
        return Err(Error::Damaged(format!(
            "it is a part of a split dump, from page {start:#x} to {end:#x}"
        )));
    }
    let mut identity = vec![0; main.after_identity];
    file.read(0, &mut identity).ok_or_else(|| ends("header"))?;
    identity.extend(frames.to_le_bytes());
    Ok(Header {
        big,
        machine: machines::from_name(&name),
        shift,
        frames,
        valid,
        dumpable: valid + if two { bitmap_bytes / 2 } else { 0 },
        descriptors,
        part: sub.part,
        incomplete: main.status & INCOMPLETE != 0,
        vmcoreinfo,
        cpus: match sub.notes {
            Some((offset, size)) if !big => notes::cpus(file, offset, size),
            _ => Vec::new(),
        },
        identity,
    })
}

/// What `struct disk_dump_header` says.
struct Main {
    wide: bool,
    status: u64,
    block_size: u64,
    sub_blocks: u64,
    bitmap_blocks: u64,
    frames: u64,
    /// Bytes of the header up to the time of the dump.
    after_identity: usize,
}

/// What `struct kdump_sub_header` says, as far as this version of it goes.
#[derive(Default)]
struct Sub {
    frames: Option<u64>,
    part: Option<(u64, u64)>,
    vmcoreinfo: Option<(u64, u64)>,
    notes: Option<(u64, u64)>,
}

struct Reader<'a> {
    file: &'a File,
    big: bool,
}

impl Reader<'_> {
    fn uint(&self, at: u64, length: usize) -> Option<u64> {
        let mut bytes = [0; 8];
        self.file.read(at, bytes.get_mut(..length)?)?;
        Some(crate::bits::uint(&bytes[..length], self.big))
    }

    /// `utsname.machine`: behind the signature and the version the fifth of six texts of 65 bytes.
    fn machine_name(&self) -> Option<String> {
        let mut text = [0; 65];
        self.file.read(12 + 4 * 65, &mut text)?;
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        Some(String::from_utf8_lossy(text).into_owned())
    }

    /// `status` follows a `struct timeval`, which is as wide as the machine's `long`. The machine's name says how wide;
    /// where there is none, the sizes behind it tell.
    fn main(&self, name: &str) -> Result<Main, Error> {
        let at = |wide: bool| -> Option<Main> {
            let status: u64 = if wide { 424 } else { 412 };
            let field = |index: u64| self.uint(status + index * 4, 4);
            Some(Main {
                wide,
                status: field(0)?,
                block_size: field(1)?,
                sub_blocks: field(2)?,
                bitmap_blocks: field(3)?,
                frames: field(4)?,
                after_identity: status as usize,
            })
        };
        let ends = || Error::Damaged("the file ends within its header".to_owned());
        let (wide, narrow) = (at(true).ok_or_else(ends)?, at(false).ok_or_else(ends)?);
        let makes_sense = |main: &Main| {
            main.block_size.is_power_of_two()
                && (4096..=1 << 20).contains(&main.block_size)
                && (1..=1024).contains(&main.sub_blocks)
                && main.bitmap_blocks > 0
        };
        Ok(match machines::is_wide(name) {
            Some(true) => wide,
            Some(false) => narrow,
            None if makes_sense(&wide) || !makes_sense(&narrow) => wide,
            None => narrow,
        })
    }

    /// The sub-header's members, each in the version that brought it. On i386 numbers of 8 bytes are aligned to 4.
    fn sub(&self, start: u64, wide: bool, name: &str, version: u64) -> Option<Sub> {
        let word = if wide { 8 } else { 4 };
        let packed = !wide && machines::from_name(name) == machines::I386;
        let mut at = 0;
        let mut take = |size: usize, alignment: u64| {
            at = u64::next_multiple_of(at, alignment);
            let value = self.uint(start + at, size);
            at += size as u64;
            value
        };
        let long = word as u64;
        let wide_alignment = if packed { 4 } else { 8 };
        let mut sub = Sub::default();
        let _physical_base = take(word, long)?;
        let _dump_level = take(4, 4)?;
        if version >= 2 {
            let split = take(4, 4)?;
            let (from, to) = (take(word, long)?, take(word, long)?);
            sub.part = (split != 0).then_some((from, to));
        }
        if version >= 3 {
            sub.vmcoreinfo = Some((take(8, wide_alignment)?, take(word, long)?));
        }
        if version >= 4 {
            sub.notes = Some((take(8, wide_alignment)?, take(word, long)?));
        }
        if version >= 5 {
            let _erased = (take(8, wide_alignment)?, take(word, long)?);
        }
        if version >= 6 {
            let (from, to) = (take(8, wide_alignment)?, take(8, wide_alignment)?);
            sub.part = sub.part.map(|_| (from, to));
            sub.frames = Some(take(8, wide_alignment)?);
        }
        Some(sub)
    }
}

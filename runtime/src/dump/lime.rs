//! LiME's images of memory, in its `lime` format: before each range of physical memory a header of 32 bytes that says where it was.
//! (LiME's doc/README.md, "LiME Memory Range Header Version 1 Specification". AVML writes the same without compression.) Numbers
//! have the byte order of the machine.

use super::file::File;
use super::{Error, Segment};

/// The magic number 0x4C694D45 in either byte order.
pub(super) const LITTLE: &[u8] = b"EMiL";
/// See [`LITTLE`].
pub(super) const BIG: &[u8] = b"LiME";
/// AVML's version 2: the ranges are compressed.
pub(super) const AVML: &[u8] = b"AVML";

const HEADER: u64 = 32;
const MAGIC: u64 = 0x4c69_4d45;

/// What the headers say.
pub(super) struct Parsed {
    pub segments: Vec<Segment>,
    /// Bytes that are missing at the end besides those of segments: the file ends within a header.
    pub missing: u64,
}

pub(super) fn is_lime(file: &File) -> bool {
    file.starts_with(LITTLE) || file.starts_with(BIG)
}

pub(super) fn parse(file: &File) -> Result<Parsed, Error> {
    let big = file.starts_with(BIG);
    let mut segments = Vec::new();
    let mut at = 0;
    // Each turn goes on by a header at least, so there are no more turns than the file has room for.
    while at < file.len() {
        let mut header = [0; HEADER as usize];
        if file.read(at, &mut header).is_none() {
            if at == 0 {
                return Err(Error::Damaged("the file ends within its header".into()));
            }
            let missing = HEADER - (file.len() - at);
            return Ok(finish(segments, file, missing));
        }
        let uint = |range| crate::bits::uint(&header[range], big);
        if uint(0..4) != MAGIC {
            return Err(Error::Damaged(format!(
                "there is no LiME header at offset {at:#x}, where a range ends"
            )));
        }
        let version = uint(4..8);
        if version != 1 {
            return Err(Error::Damaged(format!(
                "a LiME header of version {version} at offset {at:#x}; version 1 is known"
            )));
        }
        // The second address is that of the last byte.
        let (start, last) = (uint(8..16), uint(16..24));
        let size = last
            .checked_sub(start)
            .and_then(|less| less.checked_add(1))
            .ok_or_else(|| {
                Error::Damaged(format!(
                    "the LiME header at offset {at:#x} speaks of memory from {start:#x} to {last:#x}"
                ))
            })?;
        segments.push(Segment {
            start,
            size,
            file: at + HEADER,
            in_file: size,
            map: 0,
        });
        at = (at + HEADER).saturating_add(size);
    }
    Ok(finish(segments, file, 0))
}

fn finish(segments: Vec<Segment>, file: &File, missing: u64) -> Parsed {
    Parsed {
        segments: super::elf::without_overlap(&segments, file.len()),
        missing,
    }
}

//! A dump's file by offset: as it lies on the disk, or put in order where it is flattened.
//!
//! makedumpfile writes into a pipe what it would have written at places of a file: a header of 4096 bytes that begins with
//! `makedumpfile`, then chunks, each with the offset and the size of what follows (makedumpfile's IMPLEMENTATION and
//! README, "flattened format"; all numbers are big-endian). An index puts them in order, nothing is rewritten.

use std::borrow::Cow;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use memmap2::Mmap;

use super::extents::{Extents, Piece, find};
use super::kcore::{Live, MOST_NOTES};

const FLAT_SIGNATURE: &[u8] = b"makedumpfile\0";
/// Bytes before the first chunk.
const FLAT_HEADER: u64 = 4096;
/// A chunk's offset and size.
const CHUNK_HEADER: u64 = 16;

pub(super) struct File {
    map: Mmap,
    /// What is mapped, if it is.
    mapped: Option<std::fs::File>,
    /// In place of a map, for what can't be mapped.
    live: Option<Live>,
    /// Where the bytes are, if they are not in order.
    pieces: Option<Vec<Piece>>,
    length: u64,
    /// A flattened file that ends without the mark of its end.
    cut_short: bool,
}

impl File {
    pub fn open(path: &Path) -> io::Result<Self> {
        let (mut file, map) = crate::map::map(path)?;
        let map = match map {
            Ok(map) => map,
            Err(error) => return Self::live(path).map_err(|_| error),
        };
        if !map.starts_with(FLAT_SIGNATURE) {
            return Ok(File {
                length: map.len() as u64,
                map,
                mapped: Some(file),
                live: None,
                pieces: None,
                cut_short: false,
            });
        }
        let (pieces, complete) = index(&mut file, map.len() as u64);
        Ok(File {
            length: pieces.last().map_or(0, |last| last.start + last.length),
            map,
            mapped: None,
            live: None,
            pieces: Some(pieces),
            cut_short: !complete,
        })
    }

    fn live(path: &Path) -> io::Result<Self> {
        Ok(File {
            map: crate::map::nothing()?,
            mapped: None,
            live: Some(Live::open(path)?),
            pieces: None,
            // What it has is known when it is read.
            length: u64::MAX,
            cut_short: false,
        })
    }

    /// Whether it is read piece by piece, and may change meanwhile.
    pub fn is_live(&self) -> bool {
        self.live.is_some()
    }

    /// The offset after the last byte.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether it is written in chunks that are not in order, so that no part of it can be borrowed for long.
    pub fn is_flat(&self) -> bool {
        self.pieces.is_some()
    }

    /// Bytes that it takes to know where what is.
    pub fn index_size(&self) -> u64 {
        self.pieces
            .as_ref()
            .map_or(0, |pieces| size_of_val(&pieces[..]) as u64)
    }

    /// Whether the file ends before the mark of its end.
    pub fn is_cut_short(&self) -> bool {
        self.cut_short
    }

    /// The whole file, if its bytes are in order.
    #[inline]
    pub fn map(&self) -> &[u8] {
        &self.map
    }

    /// The mapped file itself, and what is mapped.
    pub fn into_map(self) -> (Mmap, Option<std::fs::File>) {
        (self.map, self.mapped)
    }

    /// Whether its first bytes, in order, are these.
    pub fn starts_with(&self, signature: &[u8]) -> bool {
        let start = self.bytes(0, signature.len() as u64);
        start.is_some_and(|start| *start == *signature)
    }

    /// Copies what is at an offset; `None` if that is not all in the file.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> Option<()> {
        if let Some(live) = &self.live {
            return live.read(offset, into);
        }
        let mut done = 0;
        while done < into.len() {
            let piece = self.contiguous(offset.checked_add(done as u64)?)?;
            let count = piece.len().min(into.len() - done);
            into[done..done + count].copy_from_slice(&piece[..count]);
            done += count;
        }
        Some(())
    }

    /// What is at an offset: borrowed where it is in one piece. `None` if it is not all in the file.
    pub fn bytes(&self, offset: u64, length: u64) -> Option<Cow<'_, [u8]>> {
        let length = usize::try_from(length).ok()?;
        if length == 0 {
            return Some(Cow::Borrowed(&[]));
        }
        if self.is_live() {
            let mut copy = vec![0; (length as u64 <= MOST_NOTES).then_some(length)?];
            self.read(offset, &mut copy)?;
            return Some(Cow::Owned(copy));
        }
        let first = self.contiguous(offset)?;
        if let Some(bytes) = first.get(..length) {
            return Some(Cow::Borrowed(bytes));
        }
        // Nothing is allocated for what isn't there: all of it lies somewhere in the file, so it is no longer than that.
        let mut at = offset;
        let end = offset.checked_add(length as u64)?;
        while at < end {
            at = at.checked_add(self.contiguous(at)?.len() as u64)?;
        }
        let mut copy = vec![0; length];
        self.read(offset, &mut copy)?;
        Some(Cow::Owned(copy))
    }

    /// What is in one piece from an offset on: at least one byte. Of a live file, nothing.
    fn contiguous(&self, offset: u64) -> Option<&[u8]> {
        let (start, end) = match &self.pieces {
            None => (offset, self.length),
            Some(pieces) => {
                let piece = find(pieces, offset)?;
                let skip = offset - piece.start;
                (piece.file + skip, piece.file + piece.length)
            }
        };
        let bytes = self
            .map
            .get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)?;
        (!bytes.is_empty()).then_some(bytes)
    }
}

/// Where the chunks belong, and whether the mark of the end was there. What is written twice counts as written last.
///
/// The headers are read, and not looked at in the map: they lie tens of kilobytes apart, and to map a page for each takes twice
/// as long.
fn index(file: &mut (impl Read + Seek), length: u64) -> (Vec<Piece>, bool) {
    let mut header = |at: u64| {
        let mut bytes = [0; CHUNK_HEADER as usize];
        file.seek(SeekFrom::Start(at)).ok()?;
        file.read_exact(&mut bytes).ok()?;
        let (offset, size) = bytes.split_at(8);
        let number = |bytes: &[u8]| crate::bits::uint(bytes, true).cast_signed();
        Some((number(offset), number(size)))
    };
    let mut chunks = Vec::new();
    let mut complete = false;
    let mut at = FLAT_HEADER;
    while let Some((offset, size)) = header(at) {
        // -1 is the mark of the end; whatever else is negative belongs to no file.
        let (Ok(start), Ok(size)) = (u64::try_from(offset), u64::try_from(size)) else {
            complete = offset == -1;
            break;
        };
        let data = at + CHUNK_HEADER;
        let there = size.min(length.saturating_sub(data));
        if there > 0 {
            chunks.push(Piece {
                start,
                length: there,
                file: data,
            });
        }
        if there < size {
            break;
        }
        at = data + size;
    }
    let mut extents = Extents::default();
    for chunk in chunks.into_iter().rev() {
        extents.insert(chunk);
    }
    (extents.finish(), complete)
}

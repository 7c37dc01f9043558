//! Dumps whose pages can't be borrowed from the file: they are compressed, their bytes are not in order, or it can't be mapped.

use std::sync::atomic::{AtomicU64, Ordering};

use super::bitmap::{Bitmap, Ranks, Survey};
use super::budget::Budget;
use super::decompress::Decoder;
use super::extents::{Piece, find};
use super::file::File;
use super::kdump::{DESCRIPTOR, Header};
use super::store::PageStore;
use super::{Error, FlatSegments};
use crate::fault::FaultKind;

pub(super) struct Paged {
    store: PageStore<Scratch>,
    shift: u32,
    source: Source,
    /// One file, or all parts of a dump that was split.
    files: Vec<File>,
}

enum Source {
    Kdump(Kdump),
    /// An ELF file whose bytes are not in order, or can't be mapped: its segments, sorted, and what they have no bytes of.
    Flat(FlatSegments),
}

/// What filling a page needs.
#[derive(Default)]
pub(super) struct Scratch {
    decoder: Decoder,
    input: Vec<u8>,
}

/// A compressed dump: one file, or all parts of one.
struct Kdump {
    valid: Bitmap,
    dumpable: Bitmap,
    ranks: Ranks,
    survey: Survey,
    big: bool,
    /// Sorted by page frames; together they have all.
    parts: Vec<Part>,
    /// Where the page of zeros is that all pages of zeros share; 0 until one was seen.
    zeros: AtomicU64,
}

struct Part {
    /// Which file it is.
    file: usize,
    /// The page frames that it has.
    start: u64,
    end: u64,
    /// How many pages of the dump come before those of this part.
    before: u64,
    descriptors: u64,
}

/// Where a page is in its file, and how it is compressed.
struct Descriptor {
    offset: u64,
    size: u64,
    flags: u32,
}

impl Paged {
    /// A compressed dump, of which each file has the header beside it.
    pub fn kdump(files: Vec<File>, headers: &[Header]) -> Result<Self, Error> {
        let (file, header) = (&files[0], &headers[0]);
        let ends = || Error::Damaged("the file ends within its bitmaps".to_owned());
        let valid = Bitmap::new(file, header.valid, header.frames).ok_or_else(ends)?;
        let dumpable = Bitmap::new(file, header.dumpable, header.frames).ok_or_else(ends)?;
        let bytes = dumpable.bytes(file);
        let ranks = Ranks::new(bytes);
        let mut parts = Vec::new();
        for (index, other) in headers.iter().enumerate() {
            if other.identity != header.identity || other.part.is_some() != header.part.is_some() {
                return Err(Error::OtherPart(index));
            }
            let (start, end) = other.part.unwrap_or((0, header.frames));
            parts.push(Part {
                file: index,
                start,
                end: end.min(header.frames),
                before: ranks.before(bytes, start).unwrap_or(0),
                descriptors: other.descriptors,
            });
        }
        // makedumpfile gives the last files nothing where there is little to split.
        parts.retain(|part| part.start < part.end);
        parts.sort_by_key(|part| (part.start, part.file));
        check_parts(&parts, header)?;
        let chunk_bytes = (PageStore::<Scratch>::CHUNK / 8) as usize;
        let present = bytes
            .chunks(chunk_bytes)
            .map(|chunk| chunk.iter().any(|byte| *byte != 0));
        // What is in the file is memory, whatever the machine's own bitmap says.
        let mut survey = valid.survey(file);
        survey.end = survey.end.max(dumpable.end(file));
        Ok(Paged {
            store: PageStore::new(header.shift, present).map_err(Error::NoRoom)?,
            shift: header.shift,
            source: Source::Kdump(Kdump {
                survey,
                valid,
                dumpable,
                ranks,
                big: header.big,
                parts,
                zeros: AtomicU64::new(0),
            }),
            files,
        })
    }

    /// An ELF file that is flattened, or /proc/kcore.
    pub fn flat(file: File, segments: FlatSegments) -> Result<Self, Error> {
        const SHIFT: u32 = 12;
        let chunk = PageStore::<Scratch>::CHUNK << SHIFT;
        // The last chunk that has memory, and which ones before it do.
        let mut present: Vec<bool> = Vec::new();
        for piece in &segments.pieces {
            let (first, last) = (
                piece.start / chunk,
                (piece.start + piece.length - 1) / chunk,
            );
            // One byte for each 16 MB. An address behind 256 TB is more likely a lie, and would cost memory.
            if last >= 1 << 24 {
                return Err(Error::Damaged(format!(
                    "memory at physical address {:#x}, beyond 256 TB",
                    piece.start
                )));
            }
            present.resize(present.len().max(last as usize + 1), false);
            present[first as usize..=last as usize].fill(true);
        }
        Ok(Paged {
            store: PageStore::new(SHIFT, present.into_iter()).map_err(Error::NoRoom)?,
            shift: SHIFT,
            source: Source::Flat(segments),
            files: vec![file],
        })
    }

    /// Pages that the machine had; for ELF, memory in segments.
    pub fn memory_size(&self) -> u64 {
        match &self.source {
            Source::Kdump(kdump) => kdump.survey.count << self.shift,
            Source::Flat(flat) => flat.size(),
        }
    }

    /// The physical address after the last byte of memory.
    pub fn memory_end(&self) -> u64 {
        match &self.source {
            Source::Kdump(kdump) => kdump.survey.end << self.shift,
            Source::Flat(flat) => flat.end(),
        }
    }

    /// The physical address after the last byte of the longest run of memory.
    pub fn main_end(&self) -> u64 {
        match &self.source {
            Source::Kdump(kdump) => kdump.survey.longest_end << self.shift,
            Source::Flat(flat) => flat.main_end(),
        }
    }

    /// Bytes that the files' indexes take, which put those in order that are flattened.
    pub fn index_size(&self) -> u64 {
        self.files.iter().map(File::index_size).sum()
    }

    /// By file, bytes that descriptors promise and it doesn't have, at least: the last page's end says.
    pub fn missing_by_file(&self) -> Vec<(usize, u64)> {
        match &self.source {
            Source::Kdump(kdump) => {
                let missing = |part| kdump.missing_in(&self.files, part, 1 << self.shift);
                let parts = kdump.parts.iter();
                parts.map(|part| (part.file, missing(part))).collect()
            }
            Source::Flat(flat) => {
                let have = self.files[0].len();
                let missing = |piece: &Piece| {
                    let end = piece.file.saturating_add(piece.length);
                    end.saturating_sub(have).min(piece.length)
                };
                let known = flat.pieces.iter().map(missing);
                let known = known.fold(0, u64::saturating_add);
                vec![(0, known.max(u64::from(self.files[0].is_cut_short())))]
            }
        }
    }

    /// Runs of memory that are in the dump: physical address and size. Runs of one dump don't overlap.
    pub fn runs(&self) -> Vec<(u64, u64)> {
        match &self.source {
            Source::Flat(flat) => flat
                .pieces
                .iter()
                .map(|piece| {
                    let there = self.files[0].len().saturating_sub(piece.file);
                    (piece.start, piece.length.min(there))
                })
                .collect(),
            Source::Kdump(kdump) => {
                let runs = kdump.dumpable.runs(&self.files[0]).into_iter();
                runs.map(|run| (run.start << self.shift, (run.end - run.start) << self.shift))
                    .collect()
            }
        }
    }

    /// Forgets all pages that were made.
    pub fn clear(&mut self) -> std::io::Result<()> {
        self.store.clear()
    }

    /// Copies memory within one page to where there are zeros. What has to be made for that is not kept. After a fault, what is there
    /// is anything.
    pub fn peek(
        &self,
        address: u64,
        scratch: &mut Scratch,
        into: &mut [u8],
    ) -> Result<(), FaultKind> {
        if let Some(bytes) = self.store.ready(address, into.len()) {
            into.copy_from_slice(bytes);
            return Ok(());
        }
        match &self.source {
            Source::Kdump(kdump) => kdump.check(&self.files[0], address >> self.shift)?,
            Source::Flat(flat) => flat.check(address, into.len())?,
        }
        let size = 1 << self.shift;
        if into.len() == size {
            return self.make(address, scratch, into);
        }
        let start = address >> self.shift << self.shift;
        let skip = (address - start) as usize;
        let mut page = vec![0; size];
        self.make(start, scratch, &mut page)?;
        let part = page.get(skip..skip + into.len());
        into.copy_from_slice(part.ok_or(FaultKind::NotInDump)?);
        Ok(())
    }

    /// Makes a page where there are zeros.
    fn make(&self, at: u64, scratch: &mut Scratch, page: &mut [u8]) -> Result<(), FaultKind> {
        match &self.source {
            Source::Kdump(kdump) => {
                kdump.fill(&self.files, at >> self.shift, scratch, page, |_| Ok(()))
            }
            Source::Flat(flat) => flat.fill(&self.files[0], at, page),
        }
    }

    /// Bytes in a page of the dump.
    pub fn page_size(&self) -> u64 {
        1 << self.shift
    }

    /// Physical memory, made on the spot if it wasn't before, as far as there is memory left for it.
    pub fn physical(
        &self,
        address: u64,
        length: usize,
        budget: &Budget,
    ) -> Result<&[u8], FaultKind> {
        if let Source::Flat(flat) = &self.source {
            flat.check(address, length)?;
        }
        if let Some(bytes) = self.store.ready(address, length) {
            return Ok(bytes);
        }
        let last = address
            .checked_add((length as u64).saturating_sub(1))
            .ok_or(FaultKind::NotInDump)?;
        if last >= self.memory_end() {
            return Err(FaultKind::NotInDump);
        }
        let (first, last) = (address >> self.shift, last >> self.shift);
        // First whether all of it is there: a length that is wrong must not decompress the whole dump.
        if let Source::Kdump(kdump) = &self.source {
            for frame in first..=last {
                kdump.check(&self.files[0], frame)?;
            }
        }
        for frame in first..=last {
            let at = frame << self.shift;
            self.store.fill(at, |scratch, page| match &self.source {
                Source::Kdump(kdump) => {
                    let expect = |write: bool| {
                        if write {
                            budget.take(1 << self.shift)?;
                        }
                        // Pages that may never be needed don't count, so none are had in advance where it matters.
                        if !write || budget.limit().is_none() {
                            self.store.expect(at, write);
                        }
                        Ok(())
                    };
                    kdump.fill(&self.files, frame, scratch, page, expect)
                }
                Source::Flat(flat) => {
                    budget.take(1 << self.shift)?;
                    flat.fill(&self.files[0], at, page)
                }
            })?;
        }
        self.store
            .ready(address, length)
            .ok_or(FaultKind::NotInDump)
    }
}

/// A dump that was split is of use only as a whole.
fn check_parts(parts: &[Part], header: &Header) -> Result<(), Error> {
    let mut have = 0;
    for part in parts {
        if part.start < have {
            return Err(Error::Damaged(format!(
                "two parts have the memory at physical address {:#x}; was one named twice?",
                part.start << header.shift
            )));
        }
        if part.start > have {
            return Err(Error::MissingPart(
                have << header.shift,
                part.start << header.shift,
            ));
        }
        have = part.end;
    }
    if have < header.frames {
        return Err(Error::MissingPart(
            have << header.shift,
            header.frames << header.shift,
        ));
    }
    Ok(())
}

impl Kdump {
    /// Whether a page is in the dump.
    fn check(&self, file: &File, frame: u64) -> Result<(), FaultKind> {
        if self.dumpable.get(file, frame) {
            Ok(())
        } else if self.valid.get(file, frame) {
            Err(FaultKind::Excluded)
        } else {
            Err(FaultKind::NotInDump)
        }
    }

    fn fill(
        &self,
        files: &[File],
        frame: u64,
        scratch: &mut Scratch,
        page: &mut [u8],
        expect: impl Fn(bool) -> Result<(), FaultKind>,
    ) -> Result<(), FaultKind> {
        let after = self.parts.partition_point(|part| part.start <= frame);
        let part = after.checked_sub(1).map(|index| &self.parts[index]);
        let part = part.ok_or(FaultKind::NotInDump)?;
        let file = &files[part.file];
        let rank = self.ranks.before(self.dumpable.bytes(&files[0]), frame);
        let descriptor = rank
            .and_then(|rank| rank.checked_sub(part.before))
            .and_then(|number| self.descriptor(file, part, number))
            .ok_or(FaultKind::Truncated)?;
        if descriptor.offset == 0 {
            // Nothing lies there but the header: makedumpfile ran out of room before this page.
            return Err(FaultKind::Truncated);
        }
        if descriptor.size == 0 || descriptor.size > 2 * page.len() as u64 {
            return Err(FaultKind::Damaged);
        }
        // A page of zeros is what there is already. One file's place of it may be something else in another.
        let shared = self.parts.len() == 1;
        if shared && descriptor.offset == self.zeros.load(Ordering::Relaxed) {
            expect(false)?;
            return Ok(());
        }
        let size = descriptor.size as usize;
        let Scratch { decoder, input } = scratch;
        let input = match usize::try_from(descriptor.offset) {
            Ok(start) if !file.is_flat() => file.map().get(start..start.saturating_add(size)),
            _ => {
                input.resize(size, 0);
                file.read(descriptor.offset, input).map(|()| &**input)
            }
        };
        let input = input.ok_or(FaultKind::Truncated)?;
        if descriptor.flags == 0 && input.len() == page.len() && input.iter().all(|byte| *byte == 0)
        {
            if shared {
                self.zeros.store(descriptor.offset, Ordering::Relaxed);
            }
            return Ok(());
        }
        expect(true)?;
        decoder
            .decode(descriptor.flags, input, page)
            .ok_or(FaultKind::Damaged)
    }

    fn descriptor(&self, file: &File, part: &Part, number: u64) -> Option<Descriptor> {
        let mut bytes = [0; DESCRIPTOR as usize];
        let at = part
            .descriptors
            .checked_add(number.checked_mul(DESCRIPTOR)?)?;
        file.read(at, &mut bytes)?;
        let uint = |range| crate::bits::uint(&bytes[range], self.big);
        Some(Descriptor {
            offset: uint(0..8),
            size: uint(8..12),
            flags: uint(12..16) as u32,
        })
    }

    /// Bytes that are missing at a part's end.
    fn missing_in(&self, files: &[File], part: &Part, page: u64) -> u64 {
        let (file, bytes) = (&files[part.file], self.dumpable.bytes(&files[0]));
        let frames = self.dumpable.frames();
        // The last page of the part: how many pages there are up to its end.
        let last = part.end.min(frames).saturating_sub(1);
        let end = self.ranks.before(bytes, last).unwrap_or(0)
            + u64::from(self.dumpable.get(&files[0], last));
        let count = end.saturating_sub(part.before);
        let table = count
            .saturating_mul(DESCRIPTOR)
            .saturating_add(part.descriptors);
        let data = count
            .checked_sub(1)
            .and_then(|last| self.descriptor(file, part, last))
            // Pages lie behind the table, and none takes more than it has: what says otherwise is damaged.
            .filter(|last| {
                let most = count.saturating_mul(page).saturating_add(table);
                last.size <= page && last.offset <= most
            })
            .map_or(0, |last| last.offset.saturating_add(last.size));
        let missing = table.max(data).saturating_sub(file.len());
        // Without the last page's descriptor nothing says how much there was.
        missing.max(u64::from(file.is_cut_short()))
    }
}

impl FlatSegments {
    fn size(&self) -> u64 {
        self.segments
            .iter()
            .fold(0, |sum, segment| sum.saturating_add(segment.size))
    }

    fn end(&self) -> u64 {
        self.segments
            .last()
            .map_or(0, |last| last.start.saturating_add(last.size))
    }

    fn main_end(&self) -> u64 {
        let main = self.segments.iter().max_by_key(|segment| segment.in_file);
        main.map_or(0, |main| main.start.saturating_add(main.size))
    }

    /// Whether a range is in one segment and in the file.
    fn check(&self, address: u64, length: usize) -> Result<(), FaultKind> {
        super::segment_of(&self.segments, address, length).map(|_| ())
    }

    /// Copies what there is of a page. A segment may begin or end within it.
    fn fill(&self, file: &File, start: u64, page: &mut [u8]) -> Result<(), FaultKind> {
        let mut done = 0;
        while done < page.len() {
            let at = start + done as u64;
            let Some(piece) = find(&self.pieces, at) else {
                // The next piece, if it begins in this page.
                let after = self.pieces.partition_point(|piece| piece.start <= at);
                let next = self.pieces.get(after).map_or(u64::MAX, |next| next.start);
                done += usize::try_from(next - at)
                    .unwrap_or(usize::MAX)
                    .min(page.len() - done);
                continue;
            };
            let skip = at - piece.start;
            let count = usize::try_from(piece.length - skip)
                .unwrap_or(usize::MAX)
                .min(page.len() - done);
            file.read(
                piece.file.saturating_add(skip),
                &mut page[done..done + count],
            )
            .ok_or(if file.is_live() {
                FaultKind::Unreadable
            } else {
                FaultKind::Truncated
            })?;
            done += count;
        }
        Ok(())
    }
}

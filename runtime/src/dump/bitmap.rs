//! Bitmaps of pages, as makedumpfile writes them: bit `n & 7` of byte `n >> 3` is page frame `n`.

use std::borrow::Cow;
use std::ops::Range;

use super::file::File;

/// Bytes of bitmap between two counts of the index: a cache line.
const BLOCK: usize = 64;

/// A bitmap that is borrowed from the file where it lies there in one piece.
pub(super) struct Bitmap {
    place: Place,
    /// Page frames that it speaks of.
    frames: u64,
}

enum Place {
    Mapped(Range<usize>),
    Copied(Vec<u8>),
}

impl Bitmap {
    /// The bitmap of `frames` bits at an offset. `None` if it isn't all in the file.
    pub fn new(file: &File, offset: u64, frames: u64) -> Option<Self> {
        let place = match file.bytes(offset, frames.div_ceil(8))? {
            Cow::Owned(bytes) => Place::Copied(bytes),
            // In one piece: but in a flattened file that piece may be anywhere.
            Cow::Borrowed(bytes) if file.is_flat() => Place::Copied(bytes.to_vec()),
            Cow::Borrowed(bytes) => {
                let start = usize::try_from(offset).ok()?;
                Place::Mapped(start..start + bytes.len())
            }
        };
        Some(Bitmap { place, frames })
    }

    /// The page frame after the last.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    pub fn bytes<'a>(&'a self, file: &'a File) -> &'a [u8] {
        match &self.place {
            Place::Mapped(range) => file.map().get(range.clone()).unwrap_or_default(),
            Place::Copied(bytes) => bytes,
        }
    }

    pub fn get(&self, file: &File, frame: u64) -> bool {
        let byte = usize::try_from(frame >> 3).unwrap_or(usize::MAX);
        let bits = self.bytes(file).get(byte).copied().unwrap_or_default();
        frame < self.frames && bits >> (frame & 7) & 1 != 0
    }

    /// How many frames are marked, the frame after the last one, and that after the longest run.
    pub fn survey(&self, file: &File) -> Survey {
        let mut survey = Survey::default();
        let mut run = 0;
        let mut longest = 0;
        for (first, word) in self.words(file) {
            survey.count += u64::from(word.count_ones());
            if word == 0 {
                run = 0;
                continue;
            }
            survey.end = first + 64 - u64::from(word.leading_zeros());
            if word == u64::MAX {
                run += 64;
                if run > longest {
                    (longest, survey.longest_end) = (run, first + 64);
                }
                continue;
            }
            for bit in 0..64 {
                run = if word >> bit & 1 != 0 { run + 1 } else { 0 };
                if run > longest {
                    (longest, survey.longest_end) = (run, first + bit + 1);
                }
            }
        }
        survey
    }

    /// The frame after the last that is marked.
    pub fn end(&self, file: &File) -> u64 {
        let bytes = self.bytes(file);
        // The last byte may have more bits than there are frames.
        let marked = |index: usize| {
            let valid = self.frames.saturating_sub(index as u64 * 8).min(8);
            bytes[index] & ((1_u16 << valid) - 1) as u8
        };
        let last = (0..bytes.len()).rev().find(|index| marked(*index) != 0);
        last.map_or(0, |last| {
            last as u64 * 8 + 8 - u64::from(marked(last).leading_zeros())
        })
    }

    /// Runs of marked frames: the first, and the one after the last.
    pub fn runs(&self, file: &File) -> Vec<Range<u64>> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        for (first, mut word) in self.words(file) {
            let mut at = first;
            while word != 0 {
                let skip = word.trailing_zeros();
                at += u64::from(skip);
                word >>= skip;
                let count = word.trailing_ones();
                match runs.last_mut() {
                    Some(last) if last.end == at => last.end += u64::from(count),
                    _ => runs.push(at..at + u64::from(count)),
                }
                at += u64::from(count);
                word = word.checked_shr(count).unwrap_or(0);
            }
        }
        runs
    }

    /// 64 frames at a time: the first one's number, and a bit for each.
    fn words<'a>(&'a self, file: &'a File) -> impl Iterator<Item = (u64, u64)> {
        words(self.bytes(file)).enumerate().map(|(index, word)| {
            let first = index as u64 * 64;
            let valid = self.frames.saturating_sub(first);
            let word = if valid < 64 {
                word & ((1 << valid) - 1)
            } else {
                word
            };
            (first, word)
        })
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Survey {
    /// Frames that are marked.
    pub count: u64,
    /// The frame after the last that is marked.
    pub end: u64,
    /// The frame after the longest run of marked ones; the first of several that are as long.
    pub longest_end: u64,
}

/// How many frames are marked before each block of a bitmap: with it, a frame's place among all that are marked takes
/// looking at one cache line.
pub(super) struct Ranks(Vec<u64>);

impl Ranks {
    pub fn new(bytes: &[u8]) -> Self {
        let mut sum = 0;
        let blocks = bytes.chunks(BLOCK).map(|block| {
            let before = sum;
            sum += words(block)
                .map(|word| u64::from(word.count_ones()))
                .sum::<u64>();
            before
        });
        Ranks(blocks.collect())
    }

    /// How many frames before this one are marked in the bitmap that the index was made of.
    pub fn before(&self, bytes: &[u8], frame: u64) -> Option<u64> {
        let byte = usize::try_from(frame >> 3).ok()?;
        let block = byte / BLOCK;
        let whole = bytes.get(block * BLOCK..byte)?;
        let last = bytes.get(byte)? & ((1 << (frame & 7)) - 1);
        let count: u64 = words(whole).map(|word| u64::from(word.count_ones())).sum();
        Some(self.0.get(block)? + count + u64::from(last.count_ones()))
    }
}

/// Words in which bit `n` is frame `n`; zeros are added at the end.
fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let (whole, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let last = (!rest.is_empty()).then_some(last);
    whole.iter().copied().chain(last).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::{Bitmap, Place, Ranks};
    use crate::dump::file::File;

    #[test]
    fn ranks_and_surveys_are_what_counting_gives() {
        let mut seed = 1_u64;
        let mut byte = || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1);
            match seed >> 62 {
                0 => 0,
                1 => 0xff,
                _ => (seed >> 40) as u8,
            }
        };
        let some = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(some.path(), b"x").expect("it can be written");
        let file = File::open(some.path()).expect("it is a file");
        for length in [0, 1, 7, 8, 9, 63, 64, 65, 200, 1000] {
            let bytes: Vec<u8> = (0..length).map(|_| byte()).collect();
            let frames = (length as u64 * 8).saturating_sub(3);
            let ranks = Ranks::new(&bytes);
            let bitmap = Bitmap {
                place: Place::Copied(bytes.clone()),
                frames,
            };
            let (mut count, mut end, mut run, mut longest) = (0, 0, 0, (0, 0));
            for frame in 0..frames {
                assert_eq!(ranks.before(&bytes, frame), Some(count), "{frame}");
                let marked = bytes[frame as usize / 8] >> (frame % 8) & 1 != 0;
                assert_eq!(bitmap.get(&file, frame), marked);
                run = if marked { run + 1 } else { 0 };
                if marked {
                    count += 1;
                    end = frame + 1;
                }
                if run > longest.0 {
                    longest = (run, frame + 1);
                }
            }
            let survey = bitmap.survey(&file);
            assert_eq!((survey.count, survey.end), (count, end));
            assert_eq!(survey.longest_end, longest.1);
            assert_eq!(bitmap.end(&file), end);
            let marked = (0..frames).filter(|frame| bitmap.get(&file, *frame));
            let runs = bitmap.runs(&file);
            assert!(runs.iter().cloned().flatten().eq(marked));
            assert!(runs.windows(2).all(|pair| pair[0].end < pair[1].start));
            assert!(!bitmap.get(&file, frames) && !bitmap.get(&file, u64::MAX));
            assert_eq!(ranks.before(&bytes, u64::MAX), None);
        }
    }
}

//! Going through all memory once, on all cores.

use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

use super::Dump;
use super::paged::{Paged, Scratch};
use crate::fault::FaultKind;

/// Bytes that are handed out together: large enough to be worth a turn, small enough to stay in a core's cache.
const PIECE: u64 = 1 << 17;
const PAGE: u64 = 4096;

/// A piece of physical memory, or a page that can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Physical address.
    pub address: u64,
    /// What is there, or why it can't be read.
    pub bytes: Result<&'a [u8], FaultKind>,
}

impl Dump {
    /// Calls a function with all memory that is in the dump, in pieces of at most 128 KB, and gives what it returned, in the order of
    /// addresses. All cores take part, and each has pages decompressed while others are looked at; pages are not kept, so that this costs
    /// no memory and no time for getting it.
    ///
    /// A page that can't be read is a piece of its own. What lies across the end of a piece is in neither. Of the running kernel there is
    /// nothing: the size of its memory is not bounded by any file.
    pub fn scan<R: Send>(&self, each: impl Fn(Piece<'_>) -> Option<R> + Send + Sync) -> Vec<R> {
        let runs = if self.is_live() {
            Vec::new()
        } else {
            self.joined_runs()
        };
        // How many pieces there are before each run.
        let mut count = 0;
        let before: Vec<u64> = runs
            .iter()
            .map(|(start, size)| {
                let before = count;
                count += pieces(*start, *size);
                before
            })
            .collect();
        let found: Vec<Vec<R>> = (0..count)
            .into_par_iter()
            .map_init(
                || (Scratch::default(), Vec::new()),
                |(scratch, buffer), index| {
                    let run = before.partition_point(|before| *before <= index) - 1;
                    let (start, size) = runs[run];
                    let (address, length) = piece(start, size, index - before[run]);
                    let mut found = Vec::new();
                    let mut take = |piece: Piece<'_>| found.extend(each(piece));
                    match &self.paged {
                        Some(paged) => make(paged, address, length, scratch, buffer, &mut take),
                        None => self.borrow(address, length, &mut take),
                    }
                    found
                },
            )
            .collect();
        found.into_iter().flatten().collect()
    }

    /// Hands out what can be borrowed: in one piece, or where that lies in several places of the file, page by page.
    fn borrow(&self, address: u64, length: u64, take: &mut impl FnMut(Piece<'_>)) {
        if let Ok(bytes) = self.physical(address, length as usize) {
            take(Piece {
                address,
                bytes: Ok(bytes),
            });
            return;
        }
        let mut at = address;
        while at < address + length {
            let size = (PAGE - at % PAGE).min(address + length - at);
            take(Piece {
                address: at,
                bytes: self.physical(at, size as usize),
            });
            at += size;
        }
    }
}

/// How many pieces a run is cut into: at addresses that are multiples of their size.
fn pieces(start: u64, size: u64) -> u64 {
    match size {
        0 => 0,
        _ => (start + (size - 1)) / PIECE - start / PIECE + 1,
    }
}

/// Address and length of a piece of a run.
fn piece(start: u64, size: u64, index: u64) -> (u64, u64) {
    let from = start.max((start / PIECE + index) * PIECE);
    let until = (start + (size - 1)).min((start / PIECE + index) * PIECE + (PIECE - 1));
    (from, until - from + 1)
}

/// Hands out what has to be made, in as few pieces as there are gaps.
fn make(
    paged: &Paged,
    address: u64,
    length: u64,
    scratch: &mut Scratch,
    buffer: &mut Vec<u8>,
    take: &mut impl FnMut(Piece<'_>),
) {
    buffer.clear();
    buffer.resize(length as usize, 0);
    // Of the bytes that were made and not handed out.
    let mut first = 0;
    let mut done = 0;
    while done < buffer.len() {
        let at = address + done as u64;
        let size = paged.page_size();
        let size = ((size - at % size) as usize).min(buffer.len() - done);
        let made = paged.peek(at, scratch, &mut buffer[done..done + size]);
        if let Err(kind) = made {
            hand_out(address, first, &buffer[first..done], take);
            take(Piece {
                address: at,
                bytes: Err(kind),
            });
            first = done + size;
        }
        done += size;
    }
    hand_out(address, first, &buffer[first..], take);
}

fn hand_out(address: u64, first: usize, bytes: &[u8], take: &mut impl FnMut(Piece<'_>)) {
    if !bytes.is_empty() {
        take(Piece {
            address: address + first as u64,
            bytes: Ok(bytes),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{PIECE, piece, pieces};

    #[test]
    fn pieces_have_all_of_a_run_once() {
        for (start, size) in [
            (0, 0),
            (0, 1),
            (0, PIECE),
            (1, PIECE),
            (5, 3 * PIECE + 7),
            (PIECE - 1, 2),
            (u64::MAX - PIECE, PIECE),
        ] {
            let mut at = start;
            for index in 0..pieces(start, size) {
                let (address, length) = piece(start, size, index);
                assert_eq!(address, at, "{start} {size}");
                assert!((1..=PIECE).contains(&length), "{start} {size}: {length}");
                at += length;
            }
            assert_eq!(at, start + size);
        }
    }
}

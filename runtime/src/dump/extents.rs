//! Which bytes of a space lie where, put together from descriptions that may overlap.

use std::collections::BTreeMap;

/// A run of addresses (or offsets), and where in a file its bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub start: u64,
    pub length: u64,
    /// Offset in the file.
    pub file: u64,
}

/// Pieces without overlap: of what is described twice the first description counts.
///
/// Covered ranges are kept merged beside the pieces, so that a range which covers many others is looked at once and not
/// again by each that comes after it: descriptions come from files, and may be made to be slow.
#[derive(Default)]
pub(super) struct Extents {
    pieces: Vec<Piece>,
    /// Start and end of what is covered; neighbours are one.
    covered: BTreeMap<u64, u64>,
}

impl Extents {
    /// Adds those parts of a run that are not covered yet.
    pub fn insert(&mut self, piece: Piece) {
        let end = piece.start.saturating_add(piece.length);
        if piece.start == end {
            return;
        }
        let (mut merged_start, mut merged_end) = (piece.start, end);
        let mut from = piece.start;
        if let Some((&start, &covered)) = self.covered.range(..=piece.start).next_back()
            && covered >= piece.start
        {
            merged_start = start;
            merged_end = merged_end.max(covered);
            from = from.max(covered);
            self.covered.remove(&start);
        }
        while let Some((&start, &covered)) = self.covered.range(merged_start..=end).next() {
            self.push(&piece, from, start.min(end));
            from = from.max(covered);
            merged_end = merged_end.max(covered);
            self.covered.remove(&start);
        }
        self.push(&piece, from, end);
        self.covered.insert(merged_start, merged_end);
    }

    fn push(&mut self, piece: &Piece, from: u64, to: u64) {
        if from < to {
            self.pieces.push(Piece {
                start: from,
                length: to - from,
                // Saturation leads past the end of any file.
                file: piece.file.saturating_add(from - piece.start),
            });
        }
    }

    /// All pieces, sorted by their starts.
    pub fn finish(mut self) -> Vec<Piece> {
        self.pieces.sort_unstable_by_key(|piece| piece.start);
        self.pieces
    }
}

/// The piece that an address lies in.
pub(super) fn find(pieces: &[Piece], address: u64) -> Option<&Piece> {
    let after = pieces.partition_point(|piece| piece.start <= address);
    let piece = &pieces[after.checked_sub(1)?];
    (address - piece.start < piece.length).then_some(piece)
}

#[cfg(test)]
mod tests {
    use super::{Extents, Piece, find};

    fn put(runs: &[(u64, u64, u64)]) -> Vec<(u64, u64, u64)> {
        let mut extents = Extents::default();
        for &(start, length, file) in runs {
            extents.insert(Piece {
                start,
                length,
                file,
            });
        }
        let pieces = extents.finish();
        pieces
            .iter()
            .map(|piece| (piece.start, piece.length, piece.file))
            .collect()
    }

    #[test]
    fn the_first_description_counts() {
        assert_eq!(put(&[(10, 10, 100), (10, 10, 500)]), [(10, 10, 100)]);
        assert_eq!(
            put(&[(10, 10, 100), (0, 30, 500)]),
            [(0, 10, 500), (10, 10, 100), (20, 10, 520)]
        );
        assert_eq!(
            put(&[(0, 4, 0), (8, 4, 100), (2, 8, 200), (0, 16, 300)]),
            [(0, 4, 0), (4, 4, 202), (8, 4, 100), (12, 4, 312)]
        );
        assert_eq!(put(&[(5, 0, 1)]), []);
        assert_eq!(
            put(&[(u64::MAX - 1, 9, u64::MAX)]),
            [(u64::MAX - 1, 1, u64::MAX)]
        );
    }

    /// Byte by byte against an array, for many orders of overlapping runs.
    #[test]
    fn every_byte_is_where_it_was_first_said_to_be() {
        let mut seed = 7_u64;
        let mut next = |below: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1);
            (seed >> 33) % below
        };
        for _ in 0..500 {
            let runs: Vec<_> = (0..next(12))
                .map(|_| (next(60), next(20), next(1000) * 100))
                .collect();
            let mut expected = [None; 80];
            for &(start, length, file) in &runs {
                for offset in 0..length {
                    expected[(start + offset) as usize].get_or_insert(file + offset);
                }
            }
            let mut extents = Extents::default();
            for &(start, length, file) in &runs {
                extents.insert(Piece {
                    start,
                    length,
                    file,
                });
            }
            let pieces = extents.finish();
            for (address, expected) in expected.iter().enumerate() {
                let found = find(&pieces, address as u64)
                    .map(|piece| piece.file + (address as u64 - piece.start));
                assert_eq!(found, *expected, "{address} of {runs:?}");
            }
        }
    }

    /// Large runs over many small ones: a quadratic way would take minutes.
    #[test]
    fn what_covers_many_pieces_is_not_slow() {
        let mut extents = Extents::default();
        for index in 0..200_000 {
            extents.insert(Piece {
                start: index * 2,
                length: 1,
                file: index,
            });
        }
        for _ in 0..200_000 {
            extents.insert(Piece {
                start: 0,
                length: 400_000,
                file: 0,
            });
        }
        assert_eq!(extents.finish().len(), 400_000);
    }
}

//! Walks on all cores, and the numbers of set bits.

use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

use crate::view::{Array, Target};

/// Applies a function to each element of an array, on all cores, and returns what it gave in the order of the elements:
/// `par_walk(table, |bucket| bucket.entries(foo::node).collect::<Vec<_>>())`.
///
/// The result doesn't depend on the number of threads.
pub fn par_walk<'m, T, R>(array: Array<'m, T>, each: impl Fn(T::Value) -> R + Send + Sync) -> Vec<R>
where
    T: Target<'m>,
    R: Send,
{
    par_index(array.len(), |index| array.get(index).map(&each))
        .into_iter()
        .flatten()
        .collect()
}

/// Applies a function to the numbers below `count`, on all cores, and returns what it gave in their order: for per-CPU
/// variables and for tables that are not [`Array`]s.
pub fn par_index<R: Send>(count: usize, each: impl Fn(usize) -> R + Send + Sync) -> Vec<R> {
    (0..count).into_par_iter().map(each).collect()
}

/// The numbers of the bits that are set in a bitmap of words that are `width` bits wide: 8 times `pointer_size` for what
/// C has as `unsigned long[]`.
///
/// Words are numbers here. That a big-endian machine has its bytes in another order is undone by who reads them.
pub fn set_bits(words: impl IntoIterator<Item = u64>, width: u32) -> impl Iterator<Item = u64> {
    (0..).zip(words).flat_map(move |(index, word): (u64, u64)| {
        (0..width.min(64))
            .filter(move |bit| word >> bit & 1 != 0)
            .map(move |bit| index * u64::from(width) + u64::from(bit))
    })
}

#[cfg(test)]
mod tests {
    use super::{par_index, set_bits};

    #[test]
    fn results_come_in_order() {
        let found = par_index(10_000, |index| index * 3);
        assert!(found.iter().copied().eq((0..10_000).map(|index| index * 3)));
    }

    #[test]
    fn bits_are_counted_from_the_first_word() {
        let bits =
            |words: &[u64], width| set_bits(words.iter().copied(), width).collect::<Vec<_>>();
        assert_eq!(bits(&[1 << 63 | 1, 2], 64), [0, 63, 65]);
        assert_eq!(bits(&[1 << 31 | 1, 2], 32), [0, 31, 33]);
        assert_eq!(bits(&[0, 0], 32), [0; 0]);
    }
}

//! The list of a slab's free objects (mm/slub.c): each has the address of the next one in itself, which hardened kernels disguise.

use crate::fault::{Fault, FaultKind};
use crate::memory::Memory;

use super::bad_link;

/// A slab's objects, and how its free ones are linked.
#[derive(Debug, Clone, Copy)]
pub struct Objects {
    /// Where the first object is: behind a red zone to the left, if there is one (`kmem_cache.red_left_pad`).
    pub first: u64,
    /// Bytes from one object to the next (`kmem_cache.size`).
    pub size: u64,
    /// How many there are (`objects`).
    pub count: u64,
    /// Where in a free object the link is (`kmem_cache.offset`).
    pub link: u64,
    /// How the link is disguised.
    pub disguise: Disguise,
}

/// What a link is mixed with (`freelist_ptr_decode`; `CONFIG_SLAB_FREELIST_HARDENED`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disguise {
    /// Nothing: it is an address.
    None,
    /// The cache's random number and the link's own address (4.14 to 5.6).
    Place(u64),
    /// The cache's random number and the link's own address with its bytes in the other order.
    Swapped(u64),
}

/// Which objects of a slab are free, by their number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FreeObjects {
    /// A bit for each object.
    words: Vec<u64>,
    count: u64,
}

impl FreeObjects {
    /// Those of 64 objects from `first`, a multiple of 64, on that are not free, as bits. There are `count` objects in all.
    #[inline]
    pub fn others(&self, first: u64, count: u64) -> u64 {
        let here = count.saturating_sub(first).min(64);
        // A shift by 64 would be one by 0.
        let all = u64::MAX.checked_shr(64 - here as u32).unwrap_or(0);
        let word = self.words.get((first / 64) as usize);
        all & !word.copied().unwrap_or(0)
    }

    /// How many are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// None of so many objects is free. There are at most 65,536, and more are never free.
    #[inline]
    pub fn reset(&mut self, objects: u64) {
        self.count = 0;
        self.words.clear();
        let words = objects.min(MOST_OBJECTS).div_ceil(64);
        self.words.resize(words as usize, 0);
    }

    /// Says whether it was not marked before.
    #[inline]
    fn insert(&mut self, number: u64) -> bool {
        let Some(word) = self.words.get_mut((number / 64) as usize) else {
            return false;
        };
        let bit = 1 << (number % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        self.count += 1;
        is_new
    }
}

/// A slab has no more objects than its number of them can say (`OO_SHIFT`, `MAX_OBJS_PER_PAGE`).
const MOST_OBJECTS: u64 = 1 << 16;

/// Marks the free objects on the list that begins with `head`, besides those that are marked already.
///
/// # Errors
///
/// `Inconsistent` if something on the list is no object of the slab, or was found before. What lies behind it can't be found,
/// so that nothing can be said of the slab's objects.
pub fn add_free_objects(
    memory: &Memory,
    objects: &Objects,
    head: u64,
    known: &mut FreeObjects,
) -> Result<(), Fault> {
    let mut object = head;
    while object != 0 {
        let offset = object.wrapping_sub(objects.first);
        let number = offset.checked_div(objects.size).unwrap_or(u64::MAX);
        let is_object = number < objects.count && number * objects.size == offset;
        if !is_object || !known.insert(number) {
            let fault = Fault {
                address: object,
                kind: FaultKind::Inconsistent,
            };
            return Err(bad_link(memory, object, fault));
        }
        let place = memory.wrap(object.wrapping_add(objects.link));
        object = objects.disguise.undo(memory, memory.word(place)?, place);
    }
    Ok(())
}

impl Disguise {
    /// The link that stands as `word` at `place`.
    #[inline]
    fn undo(self, memory: &Memory, word: u64, place: u64) -> u64 {
        let swapped = match memory.kernel().pointer_size {
            4 => u64::from((place as u32).swap_bytes()),
            _ => place.swap_bytes(),
        };
        match self {
            Disguise::None => word,
            Disguise::Place(random) => word ^ random ^ place,
            Disguise::Swapped(random) => word ^ random ^ swapped,
        }
    }
}

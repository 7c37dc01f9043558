//! The list of a slab's free objects (mm/slub.c): each has the address of the next one in itself, which hardened kernels disguise.

use std::collections::HashSet;

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

/// The free objects on the lists that begin with `heads`.
///
/// # Errors
///
/// `Inconsistent` if something on a list is no object of the slab, or is on a list twice. What lies behind it can't be found,
/// so that nothing can be said of the slab's objects.
pub fn free_objects(
    memory: &Memory,
    objects: Objects,
    heads: impl IntoIterator<Item = u64>,
) -> Result<HashSet<u64>, Fault> {
    let mut free = HashSet::new();
    for head in heads {
        let mut object = head;
        while object != 0 {
            let offset = object.wrapping_sub(objects.first);
            let is_object = objects.size != 0
                && offset.is_multiple_of(objects.size)
                && offset / objects.size < objects.count;
            if !is_object || !free.insert(object) {
                let fault = Fault {
                    address: object,
                    kind: FaultKind::Inconsistent,
                };
                return Err(bad_link(memory, object, fault));
            }
            let place = memory.wrap(object.wrapping_add(objects.link));
            object = objects.disguise.undo(memory, memory.word(place)?, place);
        }
    }
    Ok(free)
}

impl Disguise {
    /// The link that stands as `word` at `place`.
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

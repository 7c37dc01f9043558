//! Pages that have to be made before they can be borrowed: each is filled at most once, and stays where it is.
//!
//! All of it lies in one anonymous reservation of address space, in the order of physical addresses, so that what is
//! next to each other in the machine's memory can be borrowed as one slice. Memory is used by what was filled only.

use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::fault::FaultKind;

/// Pages that get their address space together: runs of memory that are further apart take no room for what is between.
const CHUNK: usize = if cfg!(miri) { 4 } else { 4096 };
/// As many pages can be filled at a time.
const STRIPES: usize = 64;
/// In place of a chunk's number: nothing in it is in the dump.
const ABSENT: u32 = u32::MAX;

/// Nobody has needed the page yet.
const EMPTY: u8 = 0;
/// Somebody writes into it, holding the lock of its stripe.
const FILLING: u8 = 1;
/// It is there, and never written again.
const READY: u8 = 2;
/// It could not be made, and never will be.
const DAMAGED: u8 = 3;
const TRUNCATED: u8 = 4;
/// There is no memory left that may be used for it.
const REFUSED: u8 = 5;
const UNREADABLE: u8 = 6;

/// The pages. `S` is what filling one needs besides, such as a decompressor's tables; there are a few of them.
pub(super) struct PageStore<S> {
    reservation: Reservation,
    /// log2 of the page size.
    shift: u32,
    /// For each chunk of physical memory, which chunk of the reservation it is.
    chunks: Vec<u32>,
    /// The states of the reservation's pages, by chunk.
    states: Vec<OnceLock<Box<[AtomicU8]>>>,
    stripes: Vec<Mutex<S>>,
}

impl<S: Default> PageStore<S> {
    /// Forgets all pages; they are made again when they are needed again.
    pub fn clear(&mut self) -> io::Result<()> {
        self.reservation = Reservation::new(self.states.len() * (CHUNK << self.shift))?;
        self.states.fill_with(OnceLock::new);
        Ok(())
    }

    /// How many pages [`PageStore::new`] asks for at a time.
    pub const CHUNK: u64 = CHUNK as u64;

    /// A store for pages of `1 << shift` bytes; `present` says of each chunk of physical memory, from address 0 on,
    /// whether any page of it may be asked for. An error if there is no address space for that much.
    pub fn new(shift: u32, present: impl Iterator<Item = bool>) -> io::Result<Self> {
        let mut next = 0;
        let chunks: Vec<u32> = present
            .map(|present| {
                if present {
                    next += 1;
                    next - 1
                } else {
                    ABSENT
                }
            })
            .collect();
        let too_large = || io::Error::other("more memory than addresses");
        let length = (next as usize)
            .checked_mul(CHUNK << shift)
            .ok_or_else(too_large)?;
        Ok(PageStore {
            reservation: Reservation::new(length)?,
            shift,
            chunks,
            states: (0..next).map(|_| OnceLock::new()).collect(),
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
        })
    }

    /// A range of physical memory, if all of its pages are there.
    pub fn ready(&self, address: u64, length: usize) -> Option<&[u8]> {
        let first = self.index(address)?;
        let offset = (address & ((1 << self.shift) - 1)) as usize;
        let end = offset.checked_add(length.max(1))?;
        let count = end.div_ceil(1 << self.shift);
        for page in 0..count {
            let index = first + page;
            if self.state(index) != READY {
                return None;
            }
            // Chunks that are neighbours in the reservation need not be in memory.
            if index.is_multiple_of(CHUNK) && page > 0 {
                let next = address.checked_add((page as u64) << self.shift)?;
                (self.index(next)? == index).then_some(())?;
            }
        }
        let start = (first << self.shift) + offset;
        // SAFETY: all pages of the range are READY, so nobody writes to them any more (see `fill`), and what was written
        // happened before (Acquire above, Release there).
        Some(unsafe { self.reservation.shared(start, length) })
    }

    /// Makes the page at a physical address, which must be of a chunk that is present, unless that was done before.
    /// Others who want the same page wait. `write` gets a page of zeros.
    pub fn fill(
        &self,
        address: u64,
        write: impl FnOnce(&mut S, &mut [u8]) -> Result<(), FaultKind>,
    ) -> Result<(), FaultKind> {
        let index = self.index(address).ok_or(FaultKind::NotInDump)?;
        let states = self.states[index / CHUNK]
            .get_or_init(|| (0..CHUNK).map(|_| AtomicU8::new(EMPTY)).collect());
        let state = &states[index % CHUNK];
        if state.load(Ordering::Acquire) == READY {
            return Ok(());
        }
        let stripe = &self.stripes[index % STRIPES];
        let mut scratch = stripe.lock().unwrap_or_else(PoisonError::into_inner);
        match state.load(Ordering::Acquire) {
            EMPTY => {}
            READY => return Ok(()),
            TRUNCATED => return Err(FaultKind::Truncated),
            REFUSED => return Err(FaultKind::MemoryLimit),
            UNREADABLE => return Err(FaultKind::Unreadable),
            // With the lock in hand, a page that is being filled is one whose filling panicked.
            _ => return Err(FaultKind::Damaged),
        }
        state.store(FILLING, Ordering::Relaxed);
        // SAFETY: the page was EMPTY until now, so no reference to it was handed out. Only the holder of its stripe's lock,
        // which is this thread, gets past the `match`, and for each page only once, as no state but EMPTY leads here and
        // none goes back to it.
        let page = unsafe {
            self.reservation
                .exclusive(index << self.shift, 1 << self.shift)
        };
        let result = write(&mut scratch, page);
        let after = match result {
            Ok(()) => READY,
            Err(FaultKind::Truncated) => TRUNCATED,
            Err(FaultKind::MemoryLimit) => REFUSED,
            Err(FaultKind::Unreadable) => UNREADABLE,
            Err(_) => DAMAGED,
        };
        state.store(after, Ordering::Release);
        result
    }
}

impl<S> PageStore<S> {
    /// The number in the reservation of the page at a physical address.
    fn index(&self, address: u64) -> Option<usize> {
        let page = usize::try_from(address >> self.shift).ok()?;
        let chunk = *self.chunks.get(page / CHUNK)?;
        (chunk != ABSENT).then(|| chunk as usize * CHUNK + page % CHUNK)
    }

    fn state(&self, index: usize) -> u8 {
        match self.states.get(index / CHUNK).and_then(OnceLock::get) {
            // Acquire: who sees READY sees what was written before.
            Some(states) => states[index % CHUNK].load(Ordering::Acquire),
            None => EMPTY,
        }
    }

    /// Says that the page at a physical address will be written, or read as the zeros that it is. Where the one before it is
    /// there already, somebody reads in order, and memory for some pages is had at once (for zeros that is one page which
    /// all share): asking for one at a time takes as long as decompressing it.
    pub fn expect(&self, address: u64, write: bool) {
        const AT_ONCE: usize = 16;
        if let Some(index) = self.index(address)
            && index.is_multiple_of(AT_ONCE)
            && index > 0
            && self.state(index - 1) == READY
        {
            self.reservation
                .populate(index << self.shift, AT_ONCE << self.shift, write);
        }
    }
}

/// Address space whose pages are zeros until they are written.
struct Reservation {
    #[cfg(not(miri))]
    memory: memmap2::MmapRaw,
    /// Miri knows no `MAP_NORESERVE`; an allocation serves it as well.
    #[cfg(miri)]
    memory: Box<[std::cell::UnsafeCell<u8>]>,
}

// SAFETY: as of a slice of atomics: the callers of `shared` and `exclusive` promise that there is no data race.
#[cfg(miri)]
unsafe impl Sync for Reservation {}

impl Reservation {
    #[cfg(not(miri))]
    fn new(length: usize) -> io::Result<Self> {
        let memory = memmap2::MmapOptions::new()
            .len(length.max(1))
            .no_reserve_swap()
            .map_anon()?;
        // A huge page for each page that is read would be 512 times the memory. A kernel without huge pages refuses.
        #[cfg(target_os = "linux")]
        let _ = memory.advise(memmap2::Advice::NoHugePage);
        Ok(Reservation {
            memory: memory.into(),
        })
    }

    #[cfg(miri)]
    fn new(length: usize) -> io::Result<Self> {
        let zeros = (0..length.max(1)).map(|_| std::cell::UnsafeCell::new(0));
        Ok(Reservation {
            memory: zeros.collect(),
        })
    }

    /// Gets memory for a range; what is in it does not change. A kernel that can't (before 5.14) leaves it for later.
    fn populate(&self, start: usize, length: usize, write: bool) {
        #[cfg(all(target_os = "linux", not(miri)))]
        let _ = self.memory.advise_range(
            if write {
                memmap2::Advice::PopulateWrite
            } else {
                memmap2::Advice::PopulateRead
            },
            start,
            length,
        );
        #[cfg(not(all(target_os = "linux", not(miri))))]
        let _ = (start, length, write);
    }

    fn base(&self) -> *mut u8 {
        #[cfg(not(miri))]
        return self.memory.as_mut_ptr();
        #[cfg(miri)]
        return self.memory.as_ptr().cast_mut().cast();
    }

    /// A pointer to a range; panics if it is not all inside.
    fn range(&self, start: usize, length: usize) -> *mut u8 {
        let inside = start
            .checked_add(length)
            .is_some_and(|end| end <= self.memory.len());
        assert!(inside, "a page outside of the reservation");
        // SAFETY: the start is inside of the reservation or at its end, as was just asserted; a reservation is one
        // allocation and, as mmap and the allocator both see to, not larger than isize::MAX.
        unsafe { self.base().add(start) }
    }

    /// # Safety
    ///
    /// Nobody may write to the range as long as the reservation lives, and what was written must have happened before.
    unsafe fn shared(&self, start: usize, length: usize) -> &[u8] {
        let base = self.range(start, length);
        // SAFETY: the range is inside of one allocation that lives as long as `self`, all of it is initialised (zeros from
        // the beginning), and the caller promises that nobody writes.
        unsafe { std::slice::from_raw_parts(base, length) }
    }

    /// # Safety
    ///
    /// No other reference to the range may be alive, nor come into being before this one ends.
    #[allow(clippy::mut_from_ref, reason = "that is what the caller promises")]
    unsafe fn exclusive(&self, start: usize, length: usize) -> &mut [u8] {
        let base = self.range(start, length);
        // SAFETY: as in `shared`; and the caller promises that there is no other reference.
        unsafe { std::slice::from_raw_parts_mut(base, length) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::{CHUNK, PageStore};
    use crate::fault::FaultKind;

    const SHIFT: u32 = if cfg!(miri) { 4 } else { 12 };
    const PAGE: usize = 1 << SHIFT;

    fn chunk_size() -> u64 {
        (CHUNK * PAGE) as u64
    }

    /// Many threads want the same pages: each is filled once, and all see it whole.
    #[test]
    fn a_page_is_filled_once_whoever_asks() {
        let store = PageStore::<()>::new(SHIFT, [true].into_iter()).expect("there is room");
        let pages = if cfg!(miri) { 3 } else { 300 };
        let fills: Vec<AtomicUsize> = (0..pages).map(|_| AtomicUsize::new(0)).collect();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (store, fills) = (&store, &fills);
                scope.spawn(move || {
                    for round in 0..pages {
                        let page = if thread % 2 == 0 {
                            round
                        } else {
                            pages - 1 - round
                        };
                        let address = (page * PAGE) as u64;
                        store
                            .fill(address, |(), bytes| {
                                fills[page].fetch_add(1, Ordering::Relaxed);
                                bytes.fill(page as u8 ^ 0x5a);
                                Ok(())
                            })
                            .expect("it can be filled");
                        let bytes = store.ready(address, PAGE).expect("it was filled");
                        assert!(bytes.iter().all(|byte| *byte == page as u8 ^ 0x5a));
                    }
                });
            }
        });
        assert!(fills.iter().all(|count| count.load(Ordering::Relaxed) == 1));
    }

    /// A borrow of one page stays while its neighbour is written, and both are then one slice.
    #[test]
    fn neighbours_are_one_slice() {
        let store = PageStore::<()>::new(SHIFT, [true, true].into_iter()).expect("there is room");
        let last = chunk_size() - PAGE as u64;
        let fill = |address, value| {
            store.fill(address, |(), bytes| {
                bytes.fill(value);
                Ok(())
            })
        };
        fill(last, 1).expect("it can be filled");
        let before = store.ready(last, PAGE).expect("it was filled");
        assert_eq!(store.ready(last, PAGE + 1), None);
        fill(chunk_size(), 2).expect("it can be filled");
        let both = store.ready(last + 1, 2 * PAGE - 1).expect("both are there");
        assert_eq!((both[PAGE - 2], both[PAGE - 1]), (1, 2));
        assert_eq!(before[1..], both[..PAGE - 1]);
        assert_eq!(store.ready(chunk_size() * 2 - 1, 2), None);
        assert_eq!(store.ready(0, usize::MAX), None);
        assert_eq!(store.ready(u64::MAX, 1), None);
    }

    /// Chunks that are not neighbours in memory are none in the store either, although they are in the reservation.
    #[test]
    fn what_is_apart_in_memory_is_not_put_together() {
        let present = [true, false, true].into_iter();
        let store = PageStore::<()>::new(SHIFT, present).expect("there is room");
        let (last, far) = (chunk_size() - PAGE as u64, 2 * chunk_size());
        for address in [last, far] {
            store.fill(address, |(), _| Ok(())).expect("it is present");
        }
        assert!(store.ready(last, PAGE).is_some() && store.ready(far, PAGE).is_some());
        assert_eq!(store.ready(last, PAGE + 1), None);
        let absent = store.fill(chunk_size(), |(), _| Ok(()));
        assert_eq!(absent, Err(FaultKind::NotInDump));
    }

    /// What could not be made is not tried again, and not shown.
    #[test]
    fn a_fault_is_kept() {
        let store = PageStore::<()>::new(SHIFT, [true].into_iter()).expect("there is room");
        let kinds = [
            FaultKind::Damaged,
            FaultKind::Truncated,
            FaultKind::MemoryLimit,
            FaultKind::Unreadable,
        ];
        for (page, kind) in kinds.into_iter().enumerate() {
            let address = (page * PAGE) as u64;
            let first = store.fill(address, |(), bytes| {
                bytes.fill(9);
                Err(kind)
            });
            assert_eq!(first, Err(kind));
            let again = store.fill(address, |(), _| panic!("it was tried before"));
            assert_eq!(again, Err(kind));
            assert_eq!(store.ready(address, 1), None);
        }
    }

    /// What is forgotten is zeros again, and is filled again.
    #[test]
    fn what_is_cleared_is_made_again() {
        let mut store = PageStore::<()>::new(SHIFT, [true].into_iter()).expect("there is room");
        for value in [7, 8] {
            let fill = store.fill(0, |(), bytes| {
                assert!(bytes.iter().all(|byte| *byte == 0));
                bytes.fill(value);
                Ok(())
            });
            assert_eq!(fill, Ok(()));
            assert_eq!(store.ready(5, 1), Some(&[value][..]));
            store.clear().expect("there is room");
            assert_eq!(store.ready(5, 1), None);
        }
    }

    /// After a panic the page is damaged, and the others of its stripe are not.
    #[test]
    fn a_panic_leaves_no_half_filled_page() {
        let store = PageStore::<()>::new(SHIFT, [true].into_iter()).expect("there is room");
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            store.fill(0, |(), bytes| {
                bytes[0] = 1;
                panic!("as a decompressor must not");
            })
        }));
        assert!(panicked.is_err());
        assert_eq!(store.fill(0, |(), _| Ok(())), Err(FaultKind::Damaged));
        assert_eq!(store.ready(0, 1), None);
        assert_eq!(store.fill(PAGE as u64, |(), _| Ok(())), Ok(()));
    }

    #[test]
    #[cfg(not(miri))]
    fn what_no_machine_has_is_an_error() {
        let absurd = (0..1 << 20).map(|_| true);
        assert!(PageStore::<()>::new(24, absurd).is_err());
    }
}

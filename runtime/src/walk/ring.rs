//! Rings: arrays of a power of two elements, of which those between two indices are in use (include/linux/kfifo.h, `circ_buf.h`,
//! pipes).

use crate::fault::{Fault, FaultKind};
use crate::memory::Memory;
use crate::view::Target;

/// The elements of a ring that were put in and not yet taken out, the oldest first.
#[derive(Clone, Copy)]
pub struct Ring<'m> {
    memory: &'m Memory,
    data: u64,
    /// Bytes in an element.
    element: u64,
    /// How many elements there is room for, less one.
    mask: u64,
    /// The oldest element.
    start: u64,
    count: u64,
}

impl<'m> Ring<'m> {
    /// A ring whose indices are 32 bits wide and run on without end, as those of kfifos and pipes: the array at `data` has `size`
    /// elements of `element` bytes.
    ///
    /// # Errors
    ///
    /// `Inconsistent` if the size is no power of two, or more is in the ring than there is room for.
    pub fn running(
        memory: &'m Memory,
        data: u64,
        size: u64,
        element: u64,
        [oldest, next]: [u32; 2],
    ) -> Result<Self, Fault> {
        let count = u64::from(next.wrapping_sub(oldest));
        if !size.is_power_of_two() || count > size || element == 0 {
            return Err(Fault {
                address: data,
                kind: FaultKind::Inconsistent,
            });
        }
        Ok(Ring {
            memory,
            data,
            element,
            mask: size - 1,
            start: u64::from(oldest) & (size - 1),
            count,
        })
    }

    /// A ring of bytes whose indices stay below its size, as those of `struct circ_buf`: one byte always stays free.
    ///
    /// # Errors
    ///
    /// `Inconsistent` if the size is no power of two, or an index lies beyond it.
    pub fn wrapped(
        memory: &'m Memory,
        data: u64,
        size: u64,
        [oldest, next]: [u64; 2],
    ) -> Result<Self, Fault> {
        if !size.is_power_of_two() || oldest >= size || next >= size {
            return Err(Fault {
                address: data,
                kind: FaultKind::Inconsistent,
            });
        }
        Ok(Ring {
            memory,
            data,
            element: 1,
            mask: size - 1,
            start: oldest,
            count: next.wrapping_sub(oldest) & (size - 1),
        })
    }

    /// How many elements are in use.
    pub fn len(self) -> u64 {
        self.count
    }

    /// Whether none is.
    pub fn is_empty(self) -> bool {
        self.count == 0
    }

    /// How many elements there is room for.
    pub fn capacity(self) -> u64 {
        self.mask + 1
    }

    /// Where the elements in use lie.
    pub fn addresses(self) -> impl Iterator<Item = u64> + use<'m> {
        (0..self.count).map(move |index| {
            let slot = self.start.wrapping_add(index) & self.mask;
            let offset = slot.wrapping_mul(self.element);
            self.memory.wrap(self.data.wrapping_add(offset))
        })
    }

    /// The elements in use. One that can't be read is a fault in its place, and the last: those behind it can't be read either in
    /// a ring that lies where there is no memory.
    ///
    /// A type of another size than the ring's elements have is one fault, `Inconsistent`.
    pub fn entries<T: Target<'m>>(
        self,
    ) -> impl Iterator<Item = Result<T::Value, Fault>> + use<'m, T> {
        let wrong = (T::SIZE as u64 != self.element).then_some(Err(Fault {
            address: self.data,
            kind: FaultKind::Inconsistent,
        }));
        let mut addresses = self.addresses();
        let mut is_over = wrong.is_some();
        let entries = std::iter::from_fn(move || {
            if is_over {
                return None;
            }
            let entry = T::read(self.memory, addresses.next()?);
            is_over = entry.is_err();
            Some(entry)
        });
        wrong.into_iter().chain(entries)
    }

    /// The bytes in use of a ring of bytes, as one or two pieces: up to the array's end, and on from its start.
    pub fn pieces(self) -> Result<[&'m [u8]; 2], Fault> {
        let bytes = |slot: u64, count: u64| {
            let length = count.saturating_mul(self.element);
            if length == 0 {
                return Ok(&[][..]);
            }
            let at = self.data.wrapping_add(slot.wrapping_mul(self.element));
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            self.memory.bytes(self.memory.wrap(at), length)
        };
        let first = self.count.min(self.mask + 1 - self.start);
        Ok([bytes(self.start, first)?, bytes(0, self.count - first)?])
    }
}

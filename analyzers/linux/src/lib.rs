//! What analyzers share: walkers over the kernel's tasks and network devices, and the frame of a program.
//!
//! Kernels differ. Where they do, `cfg(kernel_has = "...")` here chooses, by what the kernel has and never by its
//! version, so that analyzers need not know.
#![forbid(unsafe_code)]

pub mod app;
pub mod cpu;
pub mod mm;
pub mod net;
pub mod task;
pub mod time;

pub use app::{Faults, Report};

use kstruct::view::{Ptr, View};
use kstruct::{Fault, FaultKind};

/// Structs that point to the next of their kind, up to the null pointer.
///
/// A chain that goes round in circles ends with a fault.
pub fn chain<'m, T: View<'m>>(
    first: Result<Ptr<'m, T>, Fault>,
    next: impl Fn(T) -> Ptr<'m, T>,
) -> impl Iterator<Item = Result<T, Fault>> {
    let mut current = Some(first);
    // Brent's algorithm: a mark that moves on after 1, 2, 4, ... steps is met again in any circle.
    let (mut mark, mut steps, mut limit) = (0, 0u64, 1u64);
    std::iter::from_fn(move || {
        let pointer = match current.take()? {
            Ok(pointer) if pointer.is_null() => return None,
            Ok(pointer) => pointer,
            Err(fault) => return Some(Err(fault)),
        };
        if pointer.addr() == mark {
            return Some(Err(Fault {
                address: mark,
                kind: FaultKind::Cycle,
            }));
        }
        steps += 1;
        if steps == limit {
            (steps, limit, mark) = (0, limit * 2, pointer.addr());
        }
        let value = T::at(pointer.memory(), pointer.addr());
        if let Ok(value) = value {
            current = Some(Ok(next(value)));
        }
        Some(value)
    })
}

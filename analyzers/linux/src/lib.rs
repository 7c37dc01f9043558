//! What analyzers share: walkers over the kernel's tasks and network devices, and the frame of a program.
//!
//! Kernels differ. Where they do, `cfg(kernel_has = "...")` here chooses, by what the kernel has and never by its
//! version, so that analyzers need not know.
#![forbid(unsafe_code)]

use std::collections::HashSet;

use kstruct::{Fault, View};

pub mod app;
pub mod bytes;
pub mod counter;
pub mod cpu;
pub mod dentry;
pub mod details;
pub mod file;
pub mod irq;
pub mod mm;
pub mod net;
pub mod options;
pub mod page;
pub mod pipe;
pub mod serial;
pub mod size;
pub mod slab;
pub mod symbols;
pub mod task;
pub mod time;
pub mod timer;
pub mod vma;
pub mod vmalloc;
pub mod wait;

pub use app::{Faults, Report};

/// The entries of a list, each once. A list that goes round in circles is walked some times before that is known (`FaultKind::Cycle`).
pub fn once<'m, V: View<'m>>(
    entries: impl Iterator<Item = Result<V, Fault>>,
) -> impl Iterator<Item = Result<V, Fault>> {
    let mut seen = HashSet::new();
    entries.filter(move |entry| match entry {
        Ok(entry) => seen.insert(entry.addr()),
        Err(_) => true,
    })
}

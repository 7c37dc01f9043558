use std::fmt;

use crate::module::ModuleName;

/// An address that could not be read, and why. A fault is data: walkers hand it on and analyzers report it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fault {
    /// The virtual address that was asked for. For a variable of a module that can't be found: its offset in its section.
    pub address: u64,
    /// Why it could not be read.
    pub kind: FaultKind,
}

/// Why an address could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// The null pointer, or an address in the first page.
    Null,
    /// No page table entry maps it.
    NotMapped,
    /// It is mapped to physical memory that the dump doesn't hold.
    NotInDump,
    /// The machine has that memory, but the program that wrote the dump left it out (`makedumpfile -d`).
    Excluded,
    /// It is in the dump, but its compressed form is damaged.
    Damaged,
    /// The dump's headers promise it, but the file ends before.
    Truncated,
    /// It can be read, but not within the memory that may be used ([`Dump::set_memory_limit`](crate::Dump::set_memory_limit)).
    MemoryLimit,
    /// The running kernel has that memory, but doesn't let it be read.
    Unreadable,
    /// More bytes than the machine has.
    TooLarge,
    /// An index or a CPU number beyond what there is.
    OutOfRange,
    /// A list that never comes back to its head.
    Cycle,
    /// A link that `list_del` or the slab allocator left where there is nothing any more: the entry was freed.
    Poison,
    /// Parts of a container that contradict each other: a tree's child with another parent, a level that isn't where it must be,
    /// ranges out of order, more in a ring than there is room for. The address is the node's or the array's.
    Inconsistent,
    /// No end of the string within the longest length that makes sense.
    Unterminated,
    /// A variable of a module that isn't loaded.
    NotLoaded(ModuleName),
    /// A variable of a module whose build id is not that of the bindings.
    OtherBuild(ModuleName),
    /// A variable in a section of a loaded module that the kernel names no address of.
    NoSection(ModuleName),
    /// A variable in a section that the kernel freed when the module's initialisation was done (`__initdata`).
    Freed(ModuleName),
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            FaultKind::Null => "null pointer",
            FaultKind::NotMapped => "not mapped",
            FaultKind::NotInDump => "not in the dump",
            FaultKind::Excluded => "excluded from the dump",
            FaultKind::Damaged => "the page is damaged in the dump file",
            FaultKind::Truncated => "the dump file is truncated",
            FaultKind::MemoryLimit => "the memory limit is reached",
            FaultKind::Unreadable => "the running kernel does not let it be read",
            FaultKind::TooLarge => "more bytes than the machine has",
            FaultKind::OutOfRange => "index out of range",
            FaultKind::Cycle => "the list does not end",
            FaultKind::Poison => "poison: what was there has been removed",
            FaultKind::Inconsistent => "what it is made of contradicts itself",
            FaultKind::Unterminated => "unterminated string",
            FaultKind::NotLoaded(module) => return write!(f, "module {module} is not loaded"),
            FaultKind::OtherBuild(module) => {
                return write!(
                    f,
                    "module {module} was loaded from another build than the bindings were made from"
                );
            }
            FaultKind::NoSection(module) => {
                return write!(
                    f,
                    "module {module} is loaded, but not where that section is known"
                );
            }
            FaultKind::Freed(module) => {
                return write!(
                    f,
                    "module {module} gave that section back after its initialisation"
                );
            }
        };
        f.write_str(text)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            // There is no address to tell.
            FaultKind::NotLoaded(_)
            | FaultKind::OtherBuild(_)
            | FaultKind::NoSection(_)
            | FaultKind::Freed(_) => self.kind.fmt(f),
            kind => write!(f, "{:#x}: {kind}", self.address),
        }
    }
}

impl std::error::Error for Fault {}

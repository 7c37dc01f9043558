use std::fmt;

/// An address that could not be read, and why. A fault is data: walkers hand it on and analyzers report it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fault {
    /// The virtual address that was asked for.
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
    /// The dump's headers promise it, but the file ends before.
    Truncated,
    /// More bytes than the machine has.
    TooLarge,
    /// An index or a CPU number beyond what there is.
    OutOfRange,
    /// A list that never comes back to its head.
    Cycle,
    /// No end of the string within the longest length that makes sense.
    Unterminated,
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FaultKind::Null => "null pointer",
            FaultKind::NotMapped => "not mapped",
            FaultKind::NotInDump => "not in the dump",
            FaultKind::Truncated => "the dump file is truncated",
            FaultKind::TooLarge => "more bytes than the machine has",
            FaultKind::OutOfRange => "index out of range",
            FaultKind::Cycle => "the list does not end",
            FaultKind::Unterminated => "unterminated string",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}: {}", self.address, self.kind)
    }
}

impl std::error::Error for Fault {}

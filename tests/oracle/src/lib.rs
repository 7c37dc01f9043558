//! Every layout against an independent reader's.
//!
//! [`model::layouts`] says what kstruct makes of a kernel, [`btf::layouts`] what pahole and bpftool make of it, and
//! [`compare()`] compares them whole: each named struct and union, each member of it with those of anonymous members
//! among the others, and those of members whose type has no name by their path (`tx.lock`).
//!
//! A name may have several definitions in one kernel. So names have sets of layouts, and two sets are equal if each
//! layout of one is in the other.
#![forbid(unsafe_code)]

pub mod btf;
mod compare;
pub mod model;

pub use compare::{Comparison, Difference, compare};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The layouts of all that has a name.
pub type Layouts = BTreeMap<Name, BTreeSet<Layout>>;

/// What a layout is named by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// What it is.
    pub kind: Kind,
    /// Whether the name is a typedef's, of a struct that has no tag.
    pub by_typedef: bool,
    /// The tag or the typedef.
    pub name: String,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Struct => "struct",
            Kind::Union => "union",
        };
        if self.by_typedef {
            write!(f, "typedef {kind} {{...}} {}", self.name)
        } else {
            write!(f, "{kind} {}", self.name)
        }
    }
}

/// What has members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `struct`
    Struct,
    /// `union`
    Union,
}

/// Where the members of a struct or union lie.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Layout {
    /// Bytes.
    pub size: u64,
    /// In the order of their declaration.
    pub members: Vec<Member>,
}

/// A member, however deep in what has no name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// `flags`; in a member whose type has no name `tx.lock`, in an array of such, of however many dimensions, `queues[].lock`.
    pub path: String,
    /// Bytes from the start of the outermost struct; of the first element in arrays.
    pub offset: u64,
    /// Bytes of its type: of a bit-field, of the type that it was declared with.
    pub size: u64,
    /// Set for a bit-field.
    pub bits: Option<Bits>,
}

/// Where a bit-field lies, as DWARF 5 counts (section 5.7.6): in big-endian kernels from the most significant bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bits {
    /// Bits from the start of the outermost struct.
    pub offset: u64,
    /// Width in bits.
    pub size: u64,
}

/// Structs without names nest no deeper than this in any source; deeper is a circle in what was read.
const MAX_DEPTH: u32 = 64;

/// A reader that can't be run, or whose answer makes no sense.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The program isn't there.
    #[error("{program} can't be run ({error}); on Debian: apt-get install {package}")]
    Program {
        /// Its name.
        program: &'static str,
        /// Debian's package of it.
        package: &'static str,
        /// What the system said.
        error: std::io::Error,
    },
    /// The program failed.
    #[error("{program} failed on {file}: {message}")]
    Failed {
        /// Its name.
        program: &'static str,
        /// What it was to read.
        file: String,
        /// What it printed.
        message: String,
    },
    /// A temporary file can't be made.
    #[error("a temporary file: {0}")]
    Io(#[from] std::io::Error),
    /// bpftool's output is no JSON of the expected form.
    #[error("bpftool's JSON of {file}: {error}")]
    Json {
        /// What it read.
        file: String,
        /// What is wrong.
        error: serde_json::Error,
    },
    /// The BTF can't be understood.
    #[error("BTF type {id}: {what}")]
    Btf {
        /// The type's number.
        id: u32,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A struct without a name contains itself.
    #[error("{0} is nested too deep to be C")]
    Circle(String),
}

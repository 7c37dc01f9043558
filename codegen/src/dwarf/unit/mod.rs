//! One compilation unit, parsed into a flat table of its types and the variables that it defines.
//!
//! Of functions only the types are taken that are declared inside them: a debugger may meet these on lists, too.

mod reader;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use gimli::DwAte;

pub use reader::read;

use super::attributes::Plans;
use super::paths::Paths;
use super::strings::{Name, Strings, Text};
use crate::model::Kind;
use reader::Parts;

/// A reference to a type: an offset in this unit, or with [`FOREIGN`] set an index into [`ParsedUnit::foreign`].
/// [`VOID`] and [`DANGLING`] aren't offsets of any entry.
pub type Ref = u32;
/// No type: `void`.
pub const VOID: Ref = 0;
/// The bit that tells references to other units apart. No unit is 2 GB long.
pub const FOREIGN: Ref = 1 << 31;
/// A reference to nothing.
pub const DANGLING: Ref = u32::MAX;

/// An entry of another unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Foreign {
    /// At an offset in `.debug_info` of the same file.
    Info(u64),
    /// At an offset in `.debug_info` of the alternate file.
    Alternate(u64),
    /// The type of the type unit with this signature.
    Signature(u64),
}

/// What units are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitKind {
    /// A source file.
    Compile,
    /// What several units share, put there by dwz. It counts for those who import it.
    Partial,
    /// One type, found by its signature.
    Type {
        /// Of what the type is made of.
        signature: u64,
        /// Where in the unit it stands.
        at: Ref,
    },
}

/// What a unit turned out to be.
pub enum Parsed<'d> {
    Types(Box<ParsedUnit<'d>>),
    /// A unit that is only read where others refer to it.
    Shared(UnitKind),
    OtherLanguage,
    Unsupported(&'static str),
}

/// The types and variables of one unit.
pub struct ParsedUnit<'d> {
    pub kind: UnitKind,
    /// The source file's name, absolute where the compiler says so.
    pub name: String,
    pub address_size: u8,
    pub big_endian: bool,
    pub nodes: Vec<Node>,
    pub members: Vec<RawMember>,
    pub enumerators: Vec<(Name, i128)>,
    /// Counts of array dimensions.
    pub dimensions: Vec<Option<u64>>,
    pub parameters: Vec<Ref>,
    pub variables: Vec<RawVariable>,
    /// What [`Ref`]s with [`FOREIGN`] mean.
    pub foreign: Vec<Foreign>,
    /// The units that this one imports.
    pub imports: Vec<Foreign>,
    /// Variables without a location, by offset; only where other units may refer to them.
    pub declarations: HashMap<Ref, RawVariable>,
    /// Paths by the unit's file number; `None` where nothing kept was declared.
    pub files: Vec<Option<Arc<str>>>,
    strings: Strings<'d>,
    index: Index,
}

impl<'d> ParsedUnit<'d> {
    /// The index of the type at an offset.
    pub fn node(&self, at: Ref) -> Option<usize> {
        self.index.find(at)
    }

    /// The text of a name in this unit's tables.
    pub fn text(&self, name: Name) -> Text<'d> {
        self.strings.text(name)
    }

    /// Whether the unit can be understood by itself.
    pub fn is_complete(&self) -> bool {
        self.foreign.is_empty() && self.imports.is_empty()
    }

    /// The path of a file number, where it is known.
    pub fn file(&self, number: u32) -> Option<&Arc<str>> {
        self.files.get(number as usize)?.as_ref()
    }
}

/// A declaration's file number and line.
#[derive(Debug, Clone, Copy, Default)]
pub struct RawPlace {
    pub file: u32,
    pub line: u32,
}

/// A type as the unit has it.
pub enum Node {
    Base {
        name: Name,
        size: u64,
        encoding: DwAte,
    },
    Pointer(Ref),
    Qualified(&'static str, Ref),
    Typedef {
        name: Name,
        target: Ref,
        place: RawPlace,
    },
    /// A struct, union or enum. `parts` is a range of `members` or of `enumerators`.
    Item {
        kind: Kind,
        name: Name,
        /// `None` for a declaration.
        size: Option<u64>,
        /// For a declaration, where the definition is if that is known; [`VOID`] otherwise.
        definition: Ref,
        parts: Range<u32>,
        place: RawPlace,
        /// Whether it is declared inside a function, so that its name means nothing to the rest of the unit.
        local: bool,
    },
    Array {
        element: Ref,
        dimensions: Range<u32>,
    },
    Function {
        result: Ref,
        parameters: Range<u32>,
        variadic: bool,
    },
}

#[derive(Clone, Copy)]
pub struct RawMember {
    pub name: Name,
    pub ty: Ref,
    pub location: Location,
}

/// Where a member lies, as the compiler wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// Bytes from the start.
    Bytes(u64),
    /// DWARF 4 and 5: bits from the start, and width.
    Bits { offset: u64, size: u64 },
    /// DWARF 2 and 3: the storage unit's place and size (`None`: that of the type), the number of bits between the
    /// most significant bit of the unit and that of the field (negative if the field crosses the unit), and the width.
    Storage {
        bytes: u64,
        storage: Option<u64>,
        from_top: i64,
        size: u64,
    },
}

pub struct RawVariable {
    pub name: Name,
    pub ty: Ref,
    pub address: u64,
    pub external: bool,
    pub place: RawPlace,
    /// The declaration in another unit that says the rest; [`VOID`] otherwise.
    pub declaration: Ref,
}

/// What reading one unit after the other takes again and again.
#[derive(Default)]
pub struct Scratch<'d> {
    plans: Plans,
    paths: Paths<'d>,
    nodes: Vec<Node>,
    members: Vec<RawMember>,
    enumerators: Vec<(Name, i128)>,
    dimensions: Vec<Option<u64>>,
    parameters: Vec<Ref>,
    pending: Parts,
    index: Index,
}

impl<'d> Scratch<'d> {
    /// Takes back the memory of a unit that isn't needed any more.
    pub fn recycle(&mut self, unit: ParsedUnit<'d>) {
        self.nodes = cleared(unit.nodes);
        self.members = cleared(unit.members);
        self.enumerators = cleared(unit.enumerators);
        self.dimensions = cleared(unit.dimensions);
        self.parameters = cleared(unit.parameters);
        self.index = unit.index;
    }
}

fn cleared<T>(mut all: Vec<T>) -> Vec<T> {
    all.clear();
    all
}

/// Which types are at which offsets: a bit for each byte of the unit, and how many bits are set before each word of them.
#[derive(Default)]
struct Index {
    marks: Vec<u64>,
    before: Vec<u32>,
}

impl Index {
    fn reset(&mut self, length: usize) {
        self.marks.clear();
        self.marks.resize(length / 64 + 1, 0);
    }

    /// An entry's offset lies inside the unit.
    fn mark(&mut self, offset: usize) {
        self.marks[offset / 64] |= 1 << (offset % 64);
    }

    fn count(&mut self) {
        self.before.clear();
        let mut sum = 0;
        self.before.extend(self.marks.iter().map(|word| {
            sum += word.count_ones();
            sum - word.count_ones()
        }));
    }

    /// The number of the type at an offset.
    fn find(&self, offset: Ref) -> Option<usize> {
        let word = *self.marks.get(offset as usize / 64)?;
        let bit = 1 << (offset % 64);
        let before = self.before[offset as usize / 64] + (word & (bit - 1)).count_ones();
        (word & bit != 0).then_some(before as usize)
    }
}

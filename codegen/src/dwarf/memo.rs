//! What a thread has seen before.
//!
//! Nearly every definition that a unit has was in an earlier unit already. To see that at little cost, types and
//! definitions are written as words (names as their [`Name`], types as the numbers that earlier types got) and looked up
//! here. Equal words are equal definitions; what isn't found here may still be known to another thread, or under other
//! words, which the full comparison of [`super::merge`] decides.

use std::hash::BuildHasher;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::strings::{Name, Text};
use super::unit::ParsedUnit;
use crate::model::Place;

/// Of a node: its type isn't known here yet.
pub const UNKNOWN: u32 = 0;
/// Of a node: its type is being worked out, or has something about it that must be counted, or is too deep.
pub const NEVER: u32 = 1;
/// The number of `void`.
pub const VOID_TYPE: u32 = 2;

/// How much there is to a type: nothing is taken from here that would be cut off, had it to be worked out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shape {
    /// Types below it, in the longest line.
    pub height: u32,
    /// Types that it mentions, itself included.
    pub mentions: u32,
}

impl Shape {
    /// A type that mentions no other.
    pub const ONE: Shape = Shape {
        height: 0,
        mentions: 1,
    };

    /// A type that mentions another.
    pub fn above(self, inner: Shape) -> Shape {
        Shape {
            height: self.height.max(inner.height.saturating_add(1)),
            mentions: self.mentions.saturating_add(inner.mentions),
        }
    }
}

/// A definition that was seen before.
#[derive(Debug, Clone)]
pub struct Known {
    pub class: u32,
    pub shape: Shape,
    /// The first, by name, of the places where it was seen.
    pub place: Place,
}

/// Types and definitions that a thread has met, and what it knows of the unit in work.
pub struct Memo<'d> {
    /// Types of three words, the others, and those that are found by another number.
    types: HashMap<[u64; 3], u32>,
    long_types: Interner,
    long_numbers: Vec<u32>,
    pointers: Vec<u32>,
    classes: Vec<u32>,
    /// Of types, by number.
    shapes: Vec<Shape>,
    /// Of typedefs, by their type: where they were seen.
    typedefs: Vec<Option<Place>>,
    definitions: Interner,
    known: Vec<Option<Known>>,
    texts: HashMap<&'d [u8], u64>,
    /// Words in the making.
    pub words: Vec<u64>,
    /// By node of the unit: its type by value, and behind a pointer.
    pub of_node: Vec<[u32; 2]>,
    /// By node of the unit: its definition's number and 1; 0 if there is none.
    pub definition_of: Vec<u32>,
}

impl<'d> Default for Memo<'d> {
    fn default() -> Self {
        let mut memo = Memo {
            types: HashMap::new(),
            long_types: Interner::default(),
            long_numbers: Vec::new(),
            pointers: Vec::new(),
            classes: Vec::new(),
            shapes: Vec::new(),
            typedefs: Vec::new(),
            definitions: Interner::default(),
            known: Vec::new(),
            texts: HashMap::new(),
            words: Vec::new(),
            of_node: Vec::new(),
            definition_of: Vec::new(),
        };
        for _ in [UNKNOWN, NEVER, VOID_TYPE] {
            memo.new_type(Shape::ONE);
        }
        memo
    }
}

impl<'d> Memo<'d> {
    /// Forgets the unit that was in work.
    pub fn begin(&mut self, unit: &ParsedUnit<'d>) {
        self.words.clear();
        self.of_node.clear();
        self.of_node.resize(unit.nodes.len(), [UNKNOWN; 2]);
        self.definition_of.clear();
        self.definition_of.resize(unit.nodes.len(), 0);
    }

    /// A name as a word.
    pub fn name(&mut self, unit: &ParsedUnit<'d>, name: Name) -> u64 {
        if name.is_global() {
            return name.word();
        }
        match unit.text(name) {
            Text::Inline(bytes) => u64::from_le_bytes(bytes),
            Text::Long(text) => {
                let next = self.texts.len() as u64;
                Name::in_list(*self.texts.entry(text).or_insert(next)).word()
            }
        }
    }

    /// The number of a type.
    pub fn ty(&mut self, words: [u64; 3], shape: Shape) -> u32 {
        if let Some(number) = self.types.get(&words) {
            return *number;
        }
        let number = self.new_type(shape);
        self.types.insert(words, number);
        number
    }

    /// The number of the type whose words are the last, from `start` on.
    pub fn ty_of_words(&mut self, start: usize, shape: Shape) -> u32 {
        let (index, is_new) = self.long_types.intern(&self.words[start..]);
        self.words.truncate(start);
        if is_new {
            let number = self.new_type(shape);
            self.long_numbers.push(number);
        }
        self.long_numbers[index as usize]
    }

    /// The number of the type of pointers to a type.
    pub fn pointer_to(&mut self, target: u32) -> u32 {
        match self.pointers[target as usize] {
            0 => {
                let number = self.new_type(Shape::ONE.above(self.shape(target)));
                self.pointers[target as usize] = number;
                number
            }
            number => number,
        }
    }

    /// The number of the type of a class.
    pub fn class(&mut self, class: u32, shape: Shape) -> u32 {
        if self.classes.len() <= class as usize {
            self.classes.resize(class as usize + 1, 0);
        }
        match self.classes[class as usize] {
            0 => {
                let number = self.new_type(shape);
                self.classes[class as usize] = number;
                number
            }
            number => number,
        }
    }

    fn new_type(&mut self, shape: Shape) -> u32 {
        self.shapes.push(shape);
        self.typedefs.push(None);
        self.pointers.push(0);
        self.shapes.len() as u32 - 1
    }

    /// The number of the definition whose words are the last, from `start` on.
    pub fn definition_of_words(&mut self, start: usize) -> u32 {
        let (number, is_new) = self.definitions.intern(&self.words[start..]);
        self.words.truncate(start);
        if is_new {
            self.known.push(None);
        }
        number
    }

    pub fn shape(&self, ty: u32) -> Shape {
        self.shapes[ty as usize]
    }

    /// Where a typedef was seen.
    pub fn typedef(&mut self, ty: u32) -> &mut Option<Place> {
        &mut self.typedefs[ty as usize]
    }

    pub fn known(&mut self, definition: u32) -> &mut Option<Known> {
        &mut self.known[definition as usize]
    }
}

/// Gives sequences of words numbers.
#[derive(Default)]
struct Interner {
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// Hashes, and where the words are.
    entries: Vec<(u64, usize, usize)>,
    words: Vec<u64>,
}

impl Interner {
    /// The number of these words, and whether they are new.
    fn intern(&mut self, new: &[u64]) -> (u32, bool) {
        let hash = self.hasher.hash_one(new);
        let (entries, words) = (&self.entries, &self.words);
        let is_same = |number: &u32| {
            let (known, start, end) = entries[*number as usize];
            known == hash && words[start..end] == *new
        };
        let entry = self
            .table
            .entry(hash, is_same, |number| entries[*number as usize].0);
        match entry {
            Entry::Occupied(entry) => (*entry.get(), false),
            Entry::Vacant(entry) => {
                let number = self.entries.len() as u32;
                entry.insert(number);
                let start = self.words.len();
                self.words.extend_from_slice(new);
                self.entries.push((hash, start, self.words.len()));
                (number, true)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Interner;

    #[test]
    fn the_same_words_have_the_same_number() {
        let mut interner = Interner::default();
        assert_eq!(interner.intern(&[1, 2]), (0, true));
        assert_eq!(interner.intern(&[1]), (1, true));
        assert_eq!(interner.intern(&[]), (2, true));
        assert_eq!(interner.intern(&[1, 2]), (0, false));
        assert_eq!(interner.intern(&[]), (2, false));
        assert_eq!(interner.intern(&[2]), (3, true));
    }
}

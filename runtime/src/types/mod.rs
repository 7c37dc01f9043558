//! All types and variables of a kernel by their names: for programs like `struct`, which learn what they are to show when they
//! run. Bindings are faster and are checked by the compiler; this knows everything, and costs nothing to open.
//!
//! The table (`types.bin`, of which crate `kernel` has one for its kernel) is written by `kstruct_codegen::emit::table`. After a magic
//! word it has the offset and the length of each of its sections: the kernel; texts; types; then for items (structs, unions and enums),
//! typedefs, variables and modules their records and, as arrays of 32-bit words, where each begins or the order of some name. In records,
//! numbers have seven bits to a byte, the lowest first; a text or a type is its offset in its section. A type refers to types before
//! it, so that what it is made of has an end; what could go round in circles goes through an item.
//!
//! A table that is damaged reads as one that has less in it.

mod declaration;
mod layout;
mod near;
mod value;

use crate::module::Module;

pub use layout::{keyword, layout, layouts};
pub use near::{near, or_near};
pub use value::{Extent, Field, Value, aggregate, member, value};

const MAGIC: &[u8; 8] = b"KTYPES\0\x01";

/// The sections in the order in which they are in the table.
#[derive(Clone, Copy)]
enum Section {
    Kernel,
    Texts,
    Types,
    ItemPlaces,
    Items,
    ItemsByName,
    ItemsByRust,
    TypedefPlaces,
    Typedefs,
    VariablePlaces,
    Variables,
    VariablesByAddress,
    ModulePlaces,
    Modules,
}

const SECTIONS: usize = Section::Modules as usize + 1;

/// A kernel's table.
#[derive(Debug)]
pub struct Types {
    sections: [&'static [u8]; SECTIONS],
    modules: Vec<Module>,
}

/// What a C tag names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `struct`
    Struct,
    /// `union`
    Union,
    /// `enum`
    Enum,
}

impl Kind {
    /// The C keyword.
    pub fn keyword(self) -> &'static str {
        match self {
            Kind::Struct => "struct",
            Kind::Union => "union",
            Kind::Enum => "enum",
        }
    }

    fn of(code: u8) -> Self {
        match code & 3 {
            0 => Kind::Struct,
            1 => Kind::Union,
            _ => Kind::Enum,
        }
    }
}

/// A struct, union or enum.
#[derive(Debug, Clone, Copy)]
pub struct Item {
    types: &'static Types,
    number: u32,
    /// What it is.
    pub kind: Kind,
    /// Whether its name is a typedef's (`atomic_t`) and not a tag's.
    pub by_typedef: bool,
    /// Its tag, or the typedef that names it; empty if it has neither.
    pub name: &'static str,
    /// Its name in the bindings, by which two of one name are told apart; empty if it has none there.
    pub rust: &'static str,
    /// Bytes.
    pub size: u64,
    /// Where it is declared; empty where that isn't known.
    pub file: &'static str,
    /// The line there.
    pub line: u32,
    /// How many members or enumerators, and where they are.
    count: u64,
    rows: usize,
}

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Item {}

/// A member as it is declared: one without a name is an anonymous struct or union, or the padding of bit-fields.
#[derive(Debug, Clone, Copy)]
pub struct Member {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub ty: Type,
    /// Bytes from the start of the struct that declares it.
    pub offset: u64,
    /// Of a bit-field: its first bit, counted from the start of the struct in the machine's direction, and how many.
    pub bits: Option<(u64, u64)>,
}

/// How a base type's bits are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Two's complement.
    Signed,
    /// Unsigned.
    Unsigned,
    /// `_Bool`
    Bool,
    /// IEEE floating point.
    Float,
    /// `char`
    Char,
    /// Anything else.
    Other,
}

/// A type: its place in the table.
#[derive(Debug, Clone, Copy)]
pub struct Type {
    types: &'static Types,
    place: u32,
}

/// What a type is.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// `void`
    Void,
    /// `int`, `char`, ...: name, bytes and how to read them.
    Base(&'static str, u64, Encoding),
    /// `T *`
    Pointer(Type),
    /// `const T`
    Qualified(&'static str, Type),
    /// A name for another type.
    Typedef(&'static str, Type),
    /// `T[n]`; `T[]` and `T[0]` have no count.
    Array(Type, Option<u64>),
    /// A function.
    Function(Function),
    /// A struct, union or enum.
    Item(Item),
    /// One that is only declared.
    Opaque(Kind, &'static str),
}

/// A function's type.
#[derive(Debug, Clone, Copy)]
pub struct Function {
    /// What it returns.
    pub result: Type,
    /// Whether it ends in `...`.
    pub variadic: bool,
    parameters: (usize, u64),
}

/// A typedef.
#[derive(Debug, Clone, Copy)]
pub struct Typedef {
    /// The name that it gives.
    pub name: &'static str,
    /// To what.
    pub target: Type,
    /// Where it is declared.
    pub file: &'static str,
    /// The line there.
    pub line: u32,
}

/// A variable.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// Its type; `void` where nothing is known but the address.
    pub ty: Type,
    /// Where it was linked; of a per-CPU variable the place in the template; in a module the offset in its section.
    pub address: u64,
    /// Whether each CPU has one.
    pub per_cpu: bool,
    /// Whether other files can name it.
    pub external: bool,
    /// The module and the section that it is in.
    pub module: Option<(&'static Module, &'static str)>,
    /// Where it is declared; empty where that isn't known.
    pub file: &'static str,
    /// The line there.
    pub line: u32,
}

impl Types {
    /// A table. `None` if it is none, or one of another version.
    pub fn new(bytes: &'static [u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let mut sections = [&[][..]; SECTIONS];
        for (index, section) in sections.iter_mut().enumerate() {
            let header = rest.get(index * 8..)?;
            let start = word(header, 0)? as usize;
            *section = bytes.get(start..)?.get(..word(header, 1)? as usize)?;
        }
        let mut types = Types {
            sections,
            modules: Vec::new(),
        };
        types.modules = (0..types.count(Section::ModulePlaces))
            .filter_map(|index| {
                let mut cursor = types.record(Section::ModulePlaces, Section::Modules, index)?;
                Some(Module {
                    name: types.text(&mut cursor)?,
                    build_id: types.text(&mut cursor)?,
                })
            })
            .collect();
        Some(types)
    }

    fn section(&self, section: Section) -> &'static [u8] {
        self.sections[section as usize]
    }

    /// How many words a section has.
    fn count(&self, section: Section) -> usize {
        self.section(section).len() / 4
    }

    fn word(&self, section: Section, index: usize) -> Option<u32> {
        word(self.section(section), index)
    }

    fn cursor(&self, section: Section, at: usize) -> Cursor {
        Cursor {
            bytes: self.section(section),
            at,
        }
    }

    fn record(&self, places: Section, records: Section, index: usize) -> Option<Cursor> {
        let place = self.word(places, index)?;
        Some(self.cursor(records, place as usize))
    }

    /// The text whose place is the next number.
    fn text(&self, cursor: &mut Cursor) -> Option<&'static str> {
        let mut text = self.cursor(Section::Texts, usize::try_from(cursor.number()?).ok()?);
        let length = usize::try_from(text.number()?).ok()?;
        let bytes = text.bytes.get(text.at..)?.get(..length)?;
        std::str::from_utf8(bytes).ok()
    }

    fn ty(&'static self, cursor: &mut Cursor) -> Option<Type> {
        Some(Type {
            types: self,
            place: u32::try_from(cursor.number()?).ok()?,
        })
    }

    /// Bytes in a pointer.
    pub fn pointer_size(&self) -> u64 {
        let size = self.section(Section::Kernel).first().copied();
        size.map_or(8, u64::from)
    }

    /// How many structs, unions and enums there are, nameless ones included.
    pub fn item_count(&self) -> usize {
        self.count(Section::ItemPlaces)
    }

    /// A struct, union or enum by its number.
    pub fn item(&'static self, number: u32) -> Option<Item> {
        let mut cursor = self.record(Section::ItemPlaces, Section::Items, number as usize)?;
        let code = cursor.byte()?;
        Some(Item {
            types: self,
            number,
            kind: Kind::of(code),
            by_typedef: code & 4 != 0,
            name: self.text(&mut cursor)?,
            rust: self.text(&mut cursor)?,
            size: cursor.number()?,
            file: self.text(&mut cursor)?,
            line: cursor.number()? as u32,
            count: cursor.number()?,
            rows: cursor.at,
        })
    }

    /// All structs, unions and enums.
    pub fn items(&'static self) -> impl Iterator<Item = Item> {
        (0..self.item_count() as u32).filter_map(|number| self.item(number))
    }

    /// The structs, unions and enums of this name, without keyword: several may share one. If there are none, the one that the bindings
    /// call so.
    pub fn items_named(&'static self, name: &str) -> Vec<Item> {
        let by_name = self.equal(Section::ItemsByName, name, |item| item.name);
        if by_name.is_empty() {
            return self.equal(Section::ItemsByRust, name, |item| item.rust);
        }
        by_name
    }

    fn equal(
        &'static self,
        order: Section,
        wanted: &str,
        name: impl Fn(Item) -> &'static str,
    ) -> Vec<Item> {
        let item = |index: usize| self.item(self.word(order, index)?);
        let first = partition(self.count(order), |index| {
            item(index).is_some_and(|item| name(item) < wanted)
        });
        (first..self.count(order))
            .map_while(item)
            .take_while(|item| name(*item) == wanted)
            .collect()
    }

    fn typedef(&'static self, index: usize) -> Option<Typedef> {
        let mut cursor = self.record(Section::TypedefPlaces, Section::Typedefs, index)?;
        Some(Typedef {
            name: self.text(&mut cursor)?,
            target: self.ty(&mut cursor)?,
            file: self.text(&mut cursor)?,
            line: cursor.number()? as u32,
        })
    }

    /// All typedefs by name.
    pub fn typedefs(&'static self) -> impl Iterator<Item = Typedef> {
        (0..self.count(Section::TypedefPlaces)).filter_map(|index| self.typedef(index))
    }

    /// The typedefs of this name.
    pub fn typedefs_named(&'static self, name: &str) -> Vec<Typedef> {
        let count = self.count(Section::TypedefPlaces);
        let first = partition(count, |index| {
            self.typedef(index)
                .is_some_and(|typedef| typedef.name < name)
        });
        (first..count)
            .map_while(|index| self.typedef(index))
            .take_while(|typedef| typedef.name == name)
            .collect()
    }

    fn variable(&'static self, index: usize) -> Option<Variable> {
        let mut cursor = self.record(Section::VariablePlaces, Section::Variables, index)?;
        let name = self.text(&mut cursor)?;
        let ty = self.ty(&mut cursor)?;
        let flags = cursor.byte()?;
        let (module, address) = if flags & 4 != 0 {
            let module = self.modules.get(usize::try_from(cursor.number()?).ok()?)?;
            let section = self.text(&mut cursor)?;
            (Some((module, section)), cursor.number()?)
        } else {
            let distance = cursor.number()?;
            let distance = (distance >> 1) ^ (distance & 1).wrapping_neg();
            (None, self.base()?.wrapping_add(distance))
        };
        Some(Variable {
            name,
            ty,
            address,
            per_cpu: flags & 1 != 0,
            external: flags & 2 != 0,
            module,
            file: self.text(&mut cursor)?,
            line: cursor.number()? as u32,
        })
    }

    /// What addresses of variables are counted from.
    fn base(&self) -> Option<u64> {
        let bytes = self.section(Section::Kernel).get(2..10)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }

    /// All variables by name. Compilers' and macros' own ones are left out.
    pub fn variables(&'static self) -> impl Iterator<Item = Variable> {
        (0..self.count(Section::VariablePlaces)).filter_map(|index| self.variable(index))
    }

    /// The variables of this name: the kernel's first, and what other files can name before what they can't.
    pub fn variables_named(&'static self, name: &str) -> Vec<Variable> {
        let count = self.count(Section::VariablePlaces);
        let first = partition(count, |index| {
            self.variable(index)
                .is_some_and(|variable| variable.name < name)
        });
        (first..count)
            .map_while(|index| self.variable(index))
            .take_while(|variable| variable.name == name)
            .collect()
    }

    /// The kernel's variable that this linked address lies in, and how many bytes behind its start. One without a type is there at its
    /// first byte only.
    pub fn variable_at(&'static self, address: u64) -> Option<(Variable, u64)> {
        let variable = |index: usize| {
            let index = self.word(Section::VariablesByAddress, index)?;
            self.variable(index as usize)
        };
        let behind = partition(self.count(Section::VariablesByAddress), |index| {
            variable(index).is_some_and(|variable| variable.address <= address)
        });
        // Of those at one address the first is the best. What has no size lies within what has one.
        const NEIGHBOURS: usize = 8;
        let mut found = None;
        for index in (behind.saturating_sub(NEIGHBOURS)..behind).rev() {
            let candidate = variable(index)?;
            let distance = address - candidate.address.min(address);
            let size = candidate.ty.size().unwrap_or(0).max(1);
            if distance < size {
                if found.is_some_and(|(best, _): (Variable, u64)| best.address > candidate.address)
                {
                    break;
                }
                found = Some((candidate, distance));
            }
        }
        found
    }
}

/// How many of the first numbers this is true for, if it is false for all behind them.
fn partition(count: usize, is_before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if is_before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

impl Item {
    /// Its number in the table.
    pub fn number(self) -> u32 {
        self.number
    }

    /// Its name in C: `struct sock`, `atomic_t`, `struct {...}`.
    pub fn c_name(self) -> String {
        match (self.name.is_empty(), self.by_typedef) {
            (true, _) => format!("{} {{...}}", self.kind.keyword()),
            (false, true) => self.name.to_owned(),
            (false, false) => format!("{} {}", self.kind.keyword(), self.name),
        }
    }

    /// The table that it is in.
    pub fn types(self) -> &'static Types {
        self.types
    }

    /// Its members in order; an enum has none.
    pub fn members(self) -> impl Iterator<Item = Member> {
        let mut cursor = self.types.cursor(Section::Items, self.rows);
        let count = match self.kind {
            Kind::Enum => 0,
            _ => self.count,
        };
        (0..count).map_while(move |_| {
            let name = self.types.text(&mut cursor)?;
            let ty = self.types.ty(&mut cursor)?;
            let (width, offset) = (cursor.number()?, cursor.number()?);
            let bits = width.checked_sub(1).map(|width| (offset, width));
            Some(Member {
                name,
                ty,
                offset: if bits.is_some() { offset / 8 } else { offset },
                bits,
            })
        })
    }

    /// Its enumerators in order; a struct or union has none.
    pub fn enumerators(self) -> impl Iterator<Item = (&'static str, i128)> {
        let mut cursor = self.types.cursor(Section::Items, self.rows);
        let count = match self.kind {
            Kind::Enum => self.count,
            _ => 0,
        };
        (0..count).map_while(move |_| {
            let name = self.types.text(&mut cursor)?;
            let is_negative = cursor.byte()? != 0;
            let value = i128::from(cursor.number()?);
            Some((name, if is_negative { -value } else { value }))
        })
    }

    /// The first enumerator of a value.
    pub fn enumerator(self, value: i128) -> Option<&'static str> {
        self.enumerators()
            .find(|(_, known)| *known == value)
            .map(|(name, _)| name)
    }

    /// The member of this name as C finds it: anonymous members' members are the struct's own. Its offset counts from the start of this
    /// struct.
    pub fn member(self, name: &str) -> Option<Member> {
        self.member_within(name, MOST_NESTED, &mut { MOST_MEMBERS })
    }

    /// `left` is how many members may still be looked at: of a table that is damaged, a struct may contain itself.
    fn member_within(self, name: &str, depth: u32, left: &mut u32) -> Option<Member> {
        if name.is_empty() {
            return None;
        }
        for member in self.members() {
            *left = left.checked_sub(1)?;
            if member.name == name {
                return Some(member);
            }
            if member.name.is_empty()
                && depth > 0
                && let Shape::Item(inner) = member.ty.stripped()
                && let Some(mut found) = inner.member_within(name, depth - 1, left)
            {
                found.offset = found.offset.saturating_add(member.offset);
                if let Some((first, _)) = &mut found.bits {
                    *first = first.saturating_add(member.offset.saturating_mul(8));
                }
                return Some(found);
            }
        }
        None
    }

    /// All members as C lets one name them, those of anonymous members among the others, with offsets from the start of this struct.
    pub fn flattened(self) -> Vec<Member> {
        let mut out = Vec::new();
        self.flatten(0, MOST_NESTED, &mut { MOST_MEMBERS }, &mut out);
        out
    }

    fn flatten(self, base: u64, depth: u32, left: &mut u32, out: &mut Vec<Member>) {
        for mut member in self.members() {
            match left.checked_sub(1) {
                Some(less) => *left = less,
                None => return,
            }
            member.offset = member.offset.saturating_add(base);
            if let Some((first, _)) = &mut member.bits {
                *first = first.saturating_add(base.saturating_mul(8));
            }
            match member.ty.stripped() {
                Shape::Item(inner) if member.name.is_empty() && member.bits.is_none() => {
                    if depth > 0 {
                        inner.flatten(member.offset, depth - 1, left, out);
                    }
                }
                _ if member.name.is_empty() => {}
                _ => out.push(member),
            }
        }
    }
}

/// Anonymous members nest no deeper in C that anyone writes.
const MOST_NESTED: u32 = 32;
/// And no struct has so many members: without a bound, 32 unions that each have the next one twice would have 2^32.
const MOST_MEMBERS: u32 = 1 << 16;
/// Typedefs of typedefs, arrays of arrays: the table has no circles, and this bounds how long a chain may be followed.
const MOST_STEPS: u32 = 1000;

impl Type {
    /// What it is. A type that the table doesn't have is void.
    pub fn shape(self) -> Shape {
        self.read().unwrap_or(Shape::Void)
    }

    fn read(self) -> Option<Shape> {
        let types = self.types;
        let mut cursor = types.cursor(Section::Types, self.place as usize);
        // What it is made of was written before it.
        let part = |cursor: &mut Cursor| types.ty(cursor).filter(|part| part.place < self.place);
        Some(match cursor.byte()? {
            1 => {
                let encoding = match cursor.byte()? {
                    0 => Encoding::Signed,
                    1 => Encoding::Unsigned,
                    2 => Encoding::Bool,
                    3 => Encoding::Float,
                    4 => Encoding::Char,
                    _ => Encoding::Other,
                };
                let size = cursor.number()?;
                Shape::Base(types.text(&mut cursor)?, size, encoding)
            }
            2 => Shape::Pointer(part(&mut cursor)?),
            3 => Shape::Qualified(types.text(&mut cursor)?, part(&mut cursor)?),
            4 => Shape::Typedef(types.text(&mut cursor)?, part(&mut cursor)?),
            5 => {
                let has_count = cursor.byte()? != 0;
                let element = part(&mut cursor)?;
                let count = cursor.number()?;
                Shape::Array(element, has_count.then_some(count))
            }
            6 => {
                let variadic = cursor.byte()? != 0;
                let result = part(&mut cursor)?;
                let count = cursor.number()?;
                Shape::Function(Function {
                    result,
                    variadic,
                    parameters: (cursor.at, count),
                })
            }
            7 => Shape::Item(types.item(u32::try_from(cursor.number()?).ok()?)?),
            8 => {
                let kind = Kind::of(cursor.byte()?);
                Shape::Opaque(kind, types.text(&mut cursor)?)
            }
            _ => Shape::Void,
        })
    }

    /// What it is without typedefs and qualifiers around it.
    pub fn stripped(self) -> Shape {
        self.bare().shape()
    }

    /// The type without typedefs and qualifiers around it.
    pub fn bare(self) -> Type {
        let mut ty = self;
        for _ in 0..MOST_STEPS {
            match ty.shape() {
                Shape::Qualified(_, inner) | Shape::Typedef(_, inner) => ty = inner,
                _ => break,
            }
        }
        ty
    }

    /// Bytes that a value of this type takes; `None` where that isn't known, or is more than `u64` holds.
    pub fn size(self) -> Option<u64> {
        let mut count: u64 = 1;
        let mut ty = self;
        for _ in 0..MOST_STEPS {
            let size = match ty.stripped() {
                Shape::Base(_, size, _) => size,
                Shape::Pointer(_) => self.types.pointer_size(),
                Shape::Item(item) => item.size,
                Shape::Array(element, length) => {
                    count = count.checked_mul(length.unwrap_or(0))?;
                    ty = element;
                    continue;
                }
                _ => return None,
            };
            return size.checked_mul(count);
        }
        None
    }

    /// The struct or union that it is, if it is one.
    pub fn aggregate(self) -> Option<Item> {
        match self.stripped() {
            Shape::Item(item) if item.kind != Kind::Enum => Some(item),
            _ => None,
        }
    }

    /// The table that it is in.
    pub fn types(self) -> &'static Types {
        self.types
    }
}

impl Function {
    /// The types of what it takes.
    pub fn parameters(self) -> impl Iterator<Item = Type> {
        let types = self.result.types;
        let (start, count) = self.parameters;
        let mut cursor = types.cursor(Section::Types, start);
        (0..count).map_while(move |_| {
            // Before the function, as all that it is made of.
            types
                .ty(&mut cursor)
                .filter(|part| (part.place as usize) < start)
        })
    }
}

impl Variable {
    /// Where it lies in a dump; a per-CPU variable's is what [`Memory::per_cpu_address`](crate::Memory::per_cpu_address) takes.
    ///
    /// # Errors
    ///
    /// Its module isn't loaded there, or is of another build.
    pub fn locate(&self, memory: &crate::Memory) -> Result<u64, crate::Fault> {
        match self.module {
            None => Ok(memory.relocated(self.address)),
            Some((module, section)) => crate::Symbol::locate(
                crate::ModuleSym::<()>::new(module, section, self.address),
                memory,
            ),
        }
    }
}

/// Numbers and bytes, one after the other.
struct Cursor {
    bytes: &'static [u8],
    at: usize,
}

impl Cursor {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

fn word(bytes: &[u8], index: usize) -> Option<u32> {
    let start = index.checked_mul(4)?;
    let bytes = bytes.get(start..start.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

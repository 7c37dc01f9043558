//! One compilation unit, parsed into a flat table of its types and the variables that it defines.
//!
//! Of functions only the types are taken that are declared inside them: a debugger may meet these on lists, too.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use gimli::{
    Abbreviation, AttributeValue, DwAte, DwTag, EntriesRaw, Operation, Reader as _, Section as _,
    Unit, UnitHeader, UnitOffset, UnitType, constants as dw,
};

use super::{Dwarf, Slice};
use crate::model::Kind;

/// C nests declarations a handful of levels; input that nests more is not C.
const MAX_DEPTH: u32 = 64;

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
    pub nodes: Vec<Node<'d>>,
    pub members: Vec<RawMember<'d>>,
    pub enumerators: Vec<(&'d [u8], i128)>,
    /// Counts of array dimensions.
    pub dimensions: Vec<Option<u64>>,
    pub parameters: Vec<Ref>,
    pub variables: Vec<RawVariable<'d>>,
    /// What [`Ref`]s with [`FOREIGN`] mean.
    pub foreign: Vec<Foreign>,
    /// The units that this one imports.
    pub imports: Vec<Foreign>,
    /// Variables without a location, by offset; only where other units may refer to them.
    pub declarations: HashMap<Ref, RawVariable<'d>>,
    /// Paths by the unit's file number; `None` where nothing kept was declared.
    pub files: Vec<Option<Arc<str>>>,
    index: Vec<u32>,
}

impl<'d> ParsedUnit<'d> {
    /// The index of the type at an offset.
    pub fn node(&self, at: Ref) -> Option<usize> {
        match self.index.get(at as usize) {
            None | Some(0) => None,
            Some(index) => Some(*index as usize - 1),
        }
    }

    /// Whether the unit can be understood by itself.
    pub fn is_complete(&self) -> bool {
        self.foreign.is_empty() && self.imports.is_empty()
    }

    /// The path of a file number.
    pub fn file(&self, number: u32) -> Arc<str> {
        match self.files.get(number as usize) {
            Some(Some(path)) => path.clone(),
            _ => Arc::from(""),
        }
    }
}

/// A declaration's file number and line.
#[derive(Debug, Clone, Copy, Default)]
pub struct RawPlace {
    pub file: u32,
    pub line: u32,
}

/// A type as the unit has it.
pub enum Node<'d> {
    Base {
        name: &'d [u8],
        size: u64,
        encoding: DwAte,
    },
    Pointer(Ref),
    Qualified(&'static str, Ref),
    Typedef {
        name: &'d [u8],
        target: Ref,
        place: RawPlace,
    },
    /// A struct, union or enum. `parts` is a range of `members` or of `enumerators`.
    Item {
        kind: Kind,
        name: &'d [u8],
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

pub struct RawMember<'d> {
    pub name: &'d [u8],
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

pub struct RawVariable<'d> {
    pub name: &'d [u8],
    pub ty: Ref,
    pub address: u64,
    pub external: bool,
    pub place: RawPlace,
    /// The declaration in another unit that says the rest; [`VOID`] otherwise.
    pub declaration: Ref,
}

/// Parses one unit. With `shared`, units that are there for others are parsed too, and what others may refer to is kept.
pub fn read<'d>(
    dwarf: &Dwarf<'d>,
    header: UnitHeader<Slice<'d>>,
    shared: bool,
) -> Result<Parsed<'d>, gimli::Error> {
    let mut kind = match header.type_() {
        UnitType::Compilation => UnitKind::Compile,
        UnitType::Type {
            type_signature,
            type_offset,
        } => UnitKind::Type {
            signature: type_signature.0,
            at: u32::try_from(type_offset.0).unwrap_or(DANGLING),
        },
        UnitType::Partial => UnitKind::Partial,
        UnitType::Skeleton(_) | UnitType::SplitCompilation(_) | UnitType::SplitType { .. } => {
            return Ok(Parsed::Unsupported(SPLIT));
        }
    };
    if kind != UnitKind::Compile && !shared {
        return Ok(Parsed::Shared(kind));
    }
    let unit = dwarf.unit(header)?;
    let mut entries = unit.entries_raw(None)?;
    let Some(root) = entries.read_abbreviation()? else {
        return Ok(Parsed::OtherLanguage);
    };
    // Before DWARF 5 the header doesn't say it.
    if root.tag() == dw::DW_TAG_partial_unit {
        kind = UnitKind::Partial;
        if !shared {
            return Ok(Parsed::Shared(kind));
        }
    }
    let attributes = Attributes::read(&mut entries, root)?;
    if attributes.split {
        return Ok(Parsed::Unsupported(SPLIT));
    }
    if !attributes.language.is_none_or(is_c) {
        return Ok(Parsed::OtherLanguage);
    }

    let length = header.length_including_self();
    let mut reader = Reader {
        dwarf,
        unit: &unit,
        offset: header.debug_info_offset().map(|offset| offset.0),
        shared,
        in_function: false,
        out: ParsedUnit {
            kind,
            name: String::new(),
            address_size: header.address_size(),
            big_endian: dwarf.debug_info.reader().endian() == gimli::RunTimeEndian::Big,
            nodes: Vec::new(),
            members: Vec::new(),
            enumerators: Vec::new(),
            dimensions: Vec::new(),
            parameters: Vec::new(),
            variables: Vec::new(),
            foreign: Vec::new(),
            imports: Vec::new(),
            declarations: HashMap::new(),
            files: Vec::new(),
            index: vec![0; length],
        },
    };
    let name = reader.string(attributes.name)?;
    reader.out.name = reader.join(None, &String::from_utf8_lossy(name))?;
    if root.has_children() {
        reader.children(&mut entries, None, 0)?;
    }
    reader.files()?;
    Ok(Parsed::Types(Box::new(reader.out)))
}

const SPLIT: &str = "split DWARF (.dwo files)";

/// Assembly units have no types but are harmless; Rust and C++ describe types that aren't C's.
fn is_c(language: gimli::DwLang) -> bool {
    matches!(
        language,
        dw::DW_LANG_C89
            | dw::DW_LANG_C
            | dw::DW_LANG_C99
            | dw::DW_LANG_C11
            | dw::DW_LANG_C17
            | dw::DW_LANG_Mips_Assembler
    )
}

/// The attributes that matter, of one entry. Strings are not looked up before they are needed.
#[derive(Default)]
struct Attributes<'d> {
    name: Option<AttributeValue<Slice<'d>>>,
    language: Option<gimli::DwLang>,
    split: bool,
    byte_size: Option<u64>,
    bit_size: Option<u64>,
    bit_offset: Option<i64>,
    data_bit_offset: Option<u64>,
    location_in_parent: Option<u64>,
    encoding: Option<DwAte>,
    ty: Option<AttributeValue<Slice<'d>>>,
    /// Of a variable, where the rest is said: `DW_AT_specification`, or `DW_AT_abstract_origin` after LTO.
    origin: Option<AttributeValue<Slice<'d>>>,
    import: Option<AttributeValue<Slice<'d>>>,
    signature: Option<AttributeValue<Slice<'d>>>,
    sibling: Option<UnitOffset>,
    declaration: bool,
    external: bool,
    place: RawPlace,
    upper_bound: Option<u64>,
    count: Option<u64>,
    const_value: Option<i128>,
    location: Option<AttributeValue<Slice<'d>>>,
}

impl<'d> Attributes<'d> {
    fn read(
        entries: &mut EntriesRaw<'_, Slice<'d>>,
        abbreviation: &Abbreviation,
    ) -> Result<Self, gimli::Error> {
        let mut out = Self::default();
        for specification in abbreviation.attributes() {
            let attribute = entries.read_attribute_inline(*specification)?;
            let value = attribute.raw_value();
            match attribute.name() {
                dw::DW_AT_name => out.name = Some(value),
                dw::DW_AT_language => {
                    if let AttributeValue::Language(language) = attribute.value() {
                        out.language = Some(language);
                    }
                }
                dw::DW_AT_dwo_name | dw::DW_AT_GNU_dwo_name => out.split = true,
                dw::DW_AT_byte_size => out.byte_size = unsigned(&value),
                dw::DW_AT_bit_size => out.bit_size = unsigned(&value),
                dw::DW_AT_bit_offset => out.bit_offset = sign_extended(&value),
                dw::DW_AT_data_bit_offset => out.data_bit_offset = unsigned(&value),
                dw::DW_AT_data_member_location => out.location_in_parent = member_location(&value),
                dw::DW_AT_encoding => {
                    if let AttributeValue::Encoding(encoding) = attribute.value() {
                        out.encoding = Some(encoding);
                    }
                }
                dw::DW_AT_type => out.ty = Some(value),
                dw::DW_AT_specification | dw::DW_AT_abstract_origin => out.origin = Some(value),
                dw::DW_AT_import => out.import = Some(value),
                dw::DW_AT_signature => out.signature = Some(value),
                dw::DW_AT_sibling => {
                    if let AttributeValue::UnitRef(offset) = value {
                        out.sibling = Some(offset);
                    }
                }
                dw::DW_AT_declaration => out.declaration = value == AttributeValue::Flag(true),
                dw::DW_AT_external => out.external = value == AttributeValue::Flag(true),
                dw::DW_AT_decl_file => {
                    out.place.file = unsigned(&value)
                        .and_then(|n| u32::try_from(n).ok())
                        .unwrap_or(0);
                }
                dw::DW_AT_decl_line => {
                    out.place.line = unsigned(&value)
                        .and_then(|n| u32::try_from(n).ok())
                        .unwrap_or(0);
                }
                dw::DW_AT_upper_bound => out.upper_bound = bound(&value),
                dw::DW_AT_count => out.count = unsigned(&value),
                dw::DW_AT_const_value => out.const_value = constant(&value),
                dw::DW_AT_location => out.location = Some(value),
                _ => {}
            }
        }
        Ok(out)
    }

    /// The number of elements that a subrange gives; `None` for `[]` and `[0]`, however the compiler writes them.
    fn dimension(&self) -> Option<u64> {
        self.count
            .or(self.upper_bound.and_then(|bound| bound.checked_add(1)))
            .filter(|count| *count != 0)
    }
}

/// The name of a base type as gcc spells it: clang spells the same types in another way.
fn base_name(name: &[u8]) -> &[u8] {
    match name {
        b"short" => b"short int",
        b"unsigned short" => b"short unsigned int",
        b"long" => b"long int",
        b"unsigned long" => b"long unsigned int",
        b"long long" => b"long long int",
        b"unsigned long long" => b"long long unsigned int",
        b"bool" => b"_Bool",
        b"__int128 unsigned" | b"unsigned __int128" => b"__int128 unsigned",
        name => name,
    }
}

fn unsigned(value: &AttributeValue<Slice<'_>>) -> Option<u64> {
    match *value {
        AttributeValue::Data1(n) => Some(u64::from(n)),
        AttributeValue::Data2(n) => Some(u64::from(n)),
        AttributeValue::Data4(n) => Some(u64::from(n)),
        AttributeValue::Data8(n) | AttributeValue::Udata(n) => Some(n),
        AttributeValue::Sdata(n) => u64::try_from(n).ok(),
        _ => None,
    }
}

/// An upper bound. All ones, in the width of its form, is how compilers write -1: an array without elements.
fn bound(value: &AttributeValue<Slice<'_>>) -> Option<u64> {
    match *value {
        AttributeValue::Data4(u32::MAX) | AttributeValue::Data8(u64::MAX) => None,
        _ => unsigned(value),
    }
}

/// `DW_AT_bit_offset` may be negative, and is then stored in all the bits of its form.
fn sign_extended(value: &AttributeValue<Slice<'_>>) -> Option<i64> {
    match *value {
        AttributeValue::Data1(n) => Some(i64::from(n.cast_signed())),
        AttributeValue::Data2(n) => Some(i64::from(n.cast_signed())),
        AttributeValue::Data4(n) => Some(i64::from(n.cast_signed())),
        AttributeValue::Data8(n) => Some(n.cast_signed()),
        AttributeValue::Sdata(n) => Some(n),
        AttributeValue::Udata(n) => i64::try_from(n).ok(),
        _ => None,
    }
}

/// An enumerator's value. Whether `data4 0xffffffff` is -1 depends on the enum, which decides when all are known.
fn constant(value: &AttributeValue<Slice<'_>>) -> Option<i128> {
    match *value {
        AttributeValue::Sdata(n) => Some(i128::from(n)),
        AttributeValue::Data16(n) => Some(n.cast_signed()),
        _ => unsigned(value).map(i128::from),
    }
}

/// A constant, or the block `DW_OP_plus_uconst N` of DWARF 2.
fn member_location(value: &AttributeValue<Slice<'_>>) -> Option<u64> {
    match *value {
        AttributeValue::Block(block) => plus_uconst(block),
        AttributeValue::Exprloc(expression) => plus_uconst(expression.0),
        _ => unsigned(value),
    }
}

fn plus_uconst(mut block: Slice<'_>) -> Option<u64> {
    if block.read_u8().ok()? != dw::DW_OP_plus_uconst.0 {
        return None;
    }
    let offset = block.read_uleb128().ok()?;
    block.is_empty().then_some(offset)
}

struct Reader<'a, 'd> {
    dwarf: &'a Dwarf<'d>,
    unit: &'a Unit<Slice<'d>>,
    /// Where the unit starts in `.debug_info`; `None` for one in `.debug_types`.
    offset: Option<usize>,
    /// Whether other units may refer to this one.
    shared: bool,
    /// Whether the entries that are being read are a function's.
    in_function: bool,
    out: ParsedUnit<'d>,
}

impl<'a, 'd> Reader<'a, 'd> {
    /// Reads entries up to the null entry that ends a list of children. `parts` takes what belongs to the parent.
    fn children(
        &mut self,
        entries: &mut EntriesRaw<'a, Slice<'d>>,
        mut parts: Option<&mut Parts<'d>>,
        depth: u32,
    ) -> Result<(), gimli::Error> {
        if depth > MAX_DEPTH {
            return Err(gimli::Error::UnsupportedOffset);
        }
        while !entries.is_empty() {
            let offset = entries.next_offset();
            let Some(abbreviation) = entries.read_abbreviation()? else {
                return Ok(());
            };
            let attributes = Attributes::read(entries, abbreviation)?;
            let tag = abbreviation.tag();
            let is_part = match parts.as_deref_mut() {
                Some(parts) => self.part(parts, tag, &attributes)?,
                None => false,
            };
            if !is_part && self.entry(entries, offset, abbreviation, &attributes, depth)? {
                continue;
            }
            if abbreviation.has_children() {
                self.skip_children(entries, &attributes)?;
            }
        }
        Ok(())
    }

    /// Takes a child that is a part of its parent: a member, a subrange, a parameter, an enumerator.
    fn part(
        &mut self,
        parts: &mut Parts<'d>,
        tag: DwTag,
        attributes: &Attributes<'d>,
    ) -> Result<bool, gimli::Error> {
        match tag {
            dw::DW_TAG_member => parts.members.push(RawMember {
                name: self.string(attributes.name)?,
                ty: self.reference(attributes.ty),
                location: member(attributes),
            }),
            dw::DW_TAG_enumerator => {
                // A value of more than 64 bits has no DW_AT_const_value in DWARF 2: there is nothing to say of it.
                if let Some(value) = attributes.const_value {
                    let name = self.string(attributes.name)?;
                    parts.enumerators.push((name, value));
                }
            }
            dw::DW_TAG_subrange_type => parts.dimensions.push(attributes.dimension()),
            dw::DW_TAG_formal_parameter => parts.parameters.push(self.reference(attributes.ty)),
            dw::DW_TAG_unspecified_parameters => parts.variadic = true,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Takes a type or variable. Says whether its children were consumed.
    fn entry(
        &mut self,
        entries: &mut EntriesRaw<'a, Slice<'d>>,
        offset: UnitOffset,
        abbreviation: &Abbreviation,
        attributes: &Attributes<'d>,
        depth: u32,
    ) -> Result<bool, gimli::Error> {
        let target = self.reference(attributes.ty);
        let node = match abbreviation.tag() {
            dw::DW_TAG_base_type => Node::Base {
                name: base_name(self.string(attributes.name)?),
                size: attributes.byte_size.unwrap_or(0),
                encoding: attributes.encoding.unwrap_or(DwAte(0)),
            },
            dw::DW_TAG_pointer_type => Node::Pointer(target),
            dw::DW_TAG_const_type => Node::Qualified("const", target),
            dw::DW_TAG_volatile_type => Node::Qualified("volatile", target),
            dw::DW_TAG_restrict_type => Node::Qualified("restrict", target),
            dw::DW_TAG_atomic_type => Node::Qualified("_Atomic", target),
            dw::DW_TAG_immutable_type => Node::Qualified("const", target),
            dw::DW_TAG_typedef => Node::Typedef {
                name: self.string(attributes.name)?,
                target,
                place: attributes.place,
            },
            dw::DW_TAG_structure_type | dw::DW_TAG_class_type => {
                return self.item(
                    Kind::Struct,
                    entries,
                    offset,
                    abbreviation,
                    attributes,
                    depth,
                );
            }
            dw::DW_TAG_union_type => {
                return self.item(
                    Kind::Union,
                    entries,
                    offset,
                    abbreviation,
                    attributes,
                    depth,
                );
            }
            dw::DW_TAG_enumeration_type => {
                return self.item(Kind::Enum, entries, offset, abbreviation, attributes, depth);
            }
            dw::DW_TAG_array_type => {
                let parts = self.parts(entries, abbreviation, depth)?;
                let dimensions = append(&mut self.out.dimensions, parts.dimensions);
                self.add(
                    offset,
                    Node::Array {
                        element: target,
                        dimensions,
                    },
                );
                return Ok(true);
            }
            dw::DW_TAG_subroutine_type => {
                let parts = self.parts(entries, abbreviation, depth)?;
                let parameters = append(&mut self.out.parameters, parts.parameters);
                self.add(
                    offset,
                    Node::Function {
                        result: target,
                        parameters,
                        variadic: parts.variadic,
                    },
                );
                return Ok(true);
            }
            dw::DW_TAG_subprogram if abbreviation.has_children() => {
                self.function(entries, depth)?;
                return Ok(true);
            }
            dw::DW_TAG_variable => {
                self.variable(offset, attributes)?;
                return Ok(false);
            }
            dw::DW_TAG_imported_unit => {
                if let Some(foreign) = attributes.import.and_then(foreign) {
                    self.out.imports.push(foreign);
                }
                return Ok(false);
            }
            _ => return Ok(false),
        };
        self.add(offset, node);
        Ok(false)
    }

    fn item(
        &mut self,
        kind: Kind,
        entries: &mut EntriesRaw<'a, Slice<'d>>,
        offset: UnitOffset,
        abbreviation: &Abbreviation,
        attributes: &Attributes<'d>,
        depth: u32,
    ) -> Result<bool, gimli::Error> {
        let parts = self.parts(entries, abbreviation, depth)?;
        let parts = if kind == Kind::Enum {
            append(&mut self.out.enumerators, parts.enumerators)
        } else {
            append(&mut self.out.members, parts.members)
        };
        let definition = self.reference(attributes.signature);
        let is_declaration = attributes.declaration || definition != VOID;
        let node = Node::Item {
            kind,
            name: self.string(attributes.name)?,
            size: (!is_declaration).then_some(attributes.byte_size.unwrap_or(0)),
            definition,
            parts,
            place: attributes.place,
            local: self.in_function,
        };
        self.add(offset, node);
        Ok(true)
    }

    /// Takes the types that are declared inside a function, whose children follow. Nothing else of it is of interest.
    fn function(
        &mut self,
        entries: &mut EntriesRaw<'a, Slice<'d>>,
        depth: u32,
    ) -> Result<(), gimli::Error> {
        self.in_function = true;
        let mut level = 1u32;
        while level > 0 && !entries.is_empty() {
            let offset = entries.next_offset();
            let Some(abbreviation) = entries.read_abbreviation()? else {
                level -= 1;
                continue;
            };
            let tag = abbreviation.tag();
            // What was inlined or is called here is declared elsewhere.
            let is_copy = tag == dw::DW_TAG_inlined_subroutine || tag == dw::DW_TAG_call_site;
            if is_type(tag) || (is_copy && abbreviation.has_children()) {
                let attributes = Attributes::read(entries, abbreviation)?;
                let is_taken =
                    !is_copy && self.entry(entries, offset, abbreviation, &attributes, depth)?;
                if !is_taken && abbreviation.has_children() {
                    self.skip_children(entries, &attributes)?;
                }
            } else {
                entries.skip_attributes(abbreviation.attributes())?;
                level += u32::from(abbreviation.has_children());
            }
        }
        self.in_function = false;
        Ok(())
    }

    fn parts(
        &mut self,
        entries: &mut EntriesRaw<'a, Slice<'d>>,
        abbreviation: &Abbreviation,
        depth: u32,
    ) -> Result<Parts<'d>, gimli::Error> {
        let mut parts = Parts::default();
        if abbreviation.has_children() {
            self.children(entries, Some(&mut parts), depth + 1)?;
        }
        Ok(parts)
    }

    /// Keeps a variable that has an address. Its name and type may stand in a declaration.
    fn variable(
        &mut self,
        offset: UnitOffset,
        attributes: &Attributes<'d>,
    ) -> Result<(), gimli::Error> {
        let address = attributes.location.and_then(|value| self.address(value));
        if address.is_none() && !self.shared {
            return Ok(());
        }
        let origin = self.reference(attributes.origin);
        let declaration = if origin == VOID || origin & FOREIGN != 0 {
            Attributes::default()
        } else {
            let at = UnitOffset(origin as usize);
            let mut entries = self.unit.entries_raw(Some(at))?;
            match entries.read_abbreviation()? {
                Some(abbreviation) => Attributes::read(&mut entries, abbreviation)?,
                None => Attributes::default(),
            }
        };
        let is_foreign = origin & FOREIGN != 0 && origin != DANGLING;
        let name = self.string(attributes.name.or(declaration.name))?;
        let ty = attributes.ty.or(declaration.ty);
        if !is_foreign && (name.is_empty() || ty.is_none()) {
            return Ok(());
        }
        let place = if attributes.place.line != 0 {
            attributes.place
        } else {
            declaration.place
        };
        let variable = RawVariable {
            name,
            ty: self.reference(ty),
            address: address.unwrap_or(0),
            external: attributes.external || declaration.external,
            place,
            declaration: if is_foreign { origin } else { VOID },
        };
        match address {
            Some(_) => self.out.variables.push(variable),
            None => {
                self.out.declarations.insert(offset.0 as u32, variable);
            }
        }
        Ok(())
    }

    /// The address of a location that is just an address.
    fn address(&self, value: AttributeValue<Slice<'d>>) -> Option<u64> {
        let block = match value {
            AttributeValue::Exprloc(expression) => expression.0,
            AttributeValue::Block(block) => block,
            _ => return None,
        };
        let mut bytes = block;
        let operation = Operation::parse(&mut bytes, self.unit.encoding()).ok()?;
        match operation {
            Operation::Address { address } if bytes.is_empty() => Some(address),
            Operation::AddressIndex { index } if bytes.is_empty() => {
                self.dwarf.address(self.unit, index).ok()
            }
            _ => None,
        }
    }

    fn add(&mut self, offset: UnitOffset, node: Node<'d>) {
        self.out.nodes.push(node);
        // The table is as long as the unit, and an entry's offset lies inside the unit.
        self.out.index[offset.0] = self.out.nodes.len() as u32;
    }

    fn reference(&mut self, value: Option<AttributeValue<Slice<'d>>>) -> Ref {
        let offset = match value {
            None => return VOID,
            Some(AttributeValue::UnitRef(offset)) => Some(offset.0),
            Some(AttributeValue::DebugInfoRef(offset)) => self
                .offset
                .and_then(|start| offset.0.checked_sub(start))
                .filter(|offset| *offset < self.out.index.len()),
            Some(_) => None,
        };
        if let Some(offset) = offset {
            return u32::try_from(offset)
                .ok()
                .filter(|offset| *offset < FOREIGN && (*offset as usize) < self.out.index.len())
                .unwrap_or(DANGLING);
        }
        match value.and_then(foreign) {
            Some(foreign) if self.out.foreign.len() < (DANGLING ^ FOREIGN) as usize => {
                self.out.foreign.push(foreign);
                FOREIGN | (self.out.foreign.len() - 1) as u32
            }
            _ => DANGLING,
        }
    }

    fn string(&self, value: Option<AttributeValue<Slice<'d>>>) -> Result<&'d [u8], gimli::Error> {
        match value {
            None => Ok(&[]),
            Some(AttributeValue::String(string)) => Ok(string.slice()),
            Some(value) => Ok(self.dwarf.attr_string(self.unit, value)?.slice()),
        }
    }

    fn skip_children(
        &self,
        entries: &mut EntriesRaw<'a, Slice<'d>>,
        attributes: &Attributes<'d>,
    ) -> Result<(), gimli::Error> {
        if let Some(sibling) = attributes.sibling
            && sibling.0 >= entries.next_offset().0
        {
            *entries = self.unit.entries_raw(Some(sibling))?;
            return Ok(());
        }
        let mut depth = 1u32;
        while depth > 0 && !entries.is_empty() {
            match entries.read_abbreviation()? {
                None => depth -= 1,
                Some(abbreviation) => {
                    entries.skip_attributes(abbreviation.attributes())?;
                    depth += u32::from(abbreviation.has_children());
                }
            }
        }
        Ok(())
    }

    /// Looks up the paths of the files that anything kept was declared in.
    fn files(&mut self) -> Result<(), gimli::Error> {
        let Some(program) = &self.unit.line_program else {
            return Ok(());
        };
        let header = program.header();
        let count = header.file_names().len() + 1;
        let mut wanted = vec![false; count];
        let variables = self.out.variables.iter();
        let variables = variables
            .chain(self.out.declarations.values())
            .map(|variable| variable.place);
        let nodes = self.out.nodes.iter().filter_map(|node| match node {
            Node::Typedef { place, .. } | Node::Item { place, .. } => Some(*place),
            _ => None,
        });
        for place in variables.chain(nodes) {
            if let Some(wanted) = wanted.get_mut(place.file as usize) {
                *wanted = true;
            }
        }
        let mut files = vec![None; count];
        for (number, path) in files.iter_mut().enumerate() {
            // Before DWARF 5 number 0 means that there is no file.
            if !wanted[number] || (number == 0 && header.version() < 5) {
                continue;
            }
            let Some(file) = header.file(number as u64) else {
                continue;
            };
            let name = self.dwarf.attr_string(self.unit, file.path_name())?;
            let directory = match file.directory(header) {
                Some(directory) if file.directory_index() != 0 => {
                    Some(self.dwarf.attr_string(self.unit, directory)?)
                }
                _ => None,
            };
            let directory = directory.map(|directory| directory.to_string_lossy().into_owned());
            *path = Some(Arc::from(
                self.join(directory.as_deref(), &name.to_string_lossy())?,
            ));
        }
        self.out.files = files;
        Ok(())
    }

    /// A file's path: absolute if the compiler was told absolute paths, else relative to the source tree.
    fn join(&self, directory: Option<&str>, name: &str) -> Result<String, gimli::Error> {
        let mut path = String::new();
        if !name.starts_with('/') {
            let directory = directory.unwrap_or_default();
            if !directory.starts_with('/')
                && let Some(base) = self.unit.comp_dir
                && base.slice().starts_with(b"/")
            {
                path.push_str(&base.to_string_lossy());
                path.push('/');
            }
            path.push_str(directory);
            if !directory.is_empty() {
                path.push('/');
            }
        }
        path.push_str(name);
        Ok(normalised(&path))
    }
}

/// Whether an entry is a type that C can declare anywhere.
fn is_type(tag: DwTag) -> bool {
    matches!(
        tag,
        dw::DW_TAG_base_type
            | dw::DW_TAG_pointer_type
            | dw::DW_TAG_const_type
            | dw::DW_TAG_volatile_type
            | dw::DW_TAG_restrict_type
            | dw::DW_TAG_atomic_type
            | dw::DW_TAG_immutable_type
            | dw::DW_TAG_typedef
            | dw::DW_TAG_structure_type
            | dw::DW_TAG_class_type
            | dw::DW_TAG_union_type
            | dw::DW_TAG_enumeration_type
            | dw::DW_TAG_array_type
            | dw::DW_TAG_subroutine_type
    )
}

/// What entries collect from their children.
#[derive(Default)]
struct Parts<'d> {
    members: Vec<RawMember<'d>>,
    enumerators: Vec<(&'d [u8], i128)>,
    dimensions: Vec<Option<u64>>,
    parameters: Vec<Ref>,
    variadic: bool,
}

/// Appends and says where.
fn append<T>(all: &mut Vec<T>, some: Vec<T>) -> Range<u32> {
    let start = all.len() as u32;
    all.extend(some);
    start..all.len() as u32
}

fn foreign(value: AttributeValue<Slice<'_>>) -> Option<Foreign> {
    match value {
        AttributeValue::DebugInfoRef(offset) => Some(Foreign::Info(offset.0 as u64)),
        AttributeValue::DebugInfoRefSup(offset) => Some(Foreign::Alternate(offset.0 as u64)),
        AttributeValue::DebugTypesRef(signature) => Some(Foreign::Signature(signature.0)),
        _ => None,
    }
}

fn member(attributes: &Attributes<'_>) -> Location {
    let bytes = attributes.location_in_parent.unwrap_or(0);
    match (
        attributes.bit_size,
        attributes.data_bit_offset,
        attributes.bit_offset,
    ) {
        (None, _, _) => Location::Bytes(bytes),
        (Some(size), Some(offset), _) => Location::Bits { offset, size },
        (Some(size), None, Some(from_top)) => Location::Storage {
            bytes,
            storage: attributes.byte_size,
            from_top,
            size,
        },
        (Some(size), None, None) => Location::Bits {
            offset: bytes.saturating_mul(8),
            size,
        },
    }
}

/// The path without `.`, `..` and doubled slashes, as far as that can be said from the text alone.
fn normalised(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::normalised;

    #[test]
    fn paths_lose_dots() {
        assert_eq!(
            normalised("/b/linux/arch/x86/../../init//main.c"),
            "/b/linux/init/main.c"
        );
        assert_eq!(
            normalised("./include/linux/./sched.h"),
            "include/linux/sched.h"
        );
        assert_eq!(normalised("../../up.h"), "../../up.h");
    }
}

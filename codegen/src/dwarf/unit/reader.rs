//! One unit's entries, read once from first to last into a flat table.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use gimli::{
    AttributeValue, DwTag, Operation, Reader as _, Section as _, Unit, UnitHeader, UnitType,
    constants as dw,
};

use super::super::attributes::{Attributes, Entries, Plan, Reference};
use super::super::paths::{self, Paths};
use super::super::strings::{Name, Strings};
use super::super::{Dwarf, Slice};
use super::{
    DANGLING, FOREIGN, Foreign, Location, Node, Parsed, ParsedUnit, RawMember, RawPlace,
    RawVariable, Ref, Scratch, UnitKind, VOID,
};
use crate::model::Kind;

/// C nests declarations a handful of levels; input that nests more is not C.
const MAX_DEPTH: u32 = 64;

/// Parses one unit. With `shared`, units that are there for others are parsed too, and what others may refer to is kept.
pub fn read<'d>(
    dwarf: &Dwarf<'d>,
    header: UnitHeader<Slice<'d>>,
    shared: bool,
    scratch: &mut Scratch<'d>,
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
    for specification in root.attributes() {
        let attribute = entries.read_attribute(*specification)?;
        match (attribute.name(), attribute.value()) {
            (dw::DW_AT_dwo_name | dw::DW_AT_GNU_dwo_name, _) => {
                return Ok(Parsed::Unsupported(SPLIT));
            }
            (dw::DW_AT_language, AttributeValue::Language(language)) if !is_c(language) => {
                return Ok(Parsed::OtherLanguage);
            }
            _ => {}
        }
    }
    let first = entries.next_offset();

    let length = header.length_including_self();
    let entries = Entries::new(dwarf, &unit, &mut scratch.plans)?;
    let mut reader = Reader {
        dwarf,
        unit: &unit,
        entries,
        offset: header.debug_info_offset().map(|offset| offset.0),
        length,
        shared,
        pending: std::mem::take(&mut scratch.pending),
        in_function: false,
        out: ParsedUnit {
            kind,
            name: String::new(),
            address_size: header.address_size(),
            big_endian: dwarf.debug_info.reader().endian() == gimli::RunTimeEndian::Big,
            nodes: std::mem::take(&mut scratch.nodes),
            members: std::mem::take(&mut scratch.members),
            enumerators: std::mem::take(&mut scratch.enumerators),
            dimensions: std::mem::take(&mut scratch.dimensions),
            parameters: std::mem::take(&mut scratch.parameters),
            variables: Vec::new(),
            foreign: Vec::new(),
            imports: Vec::new(),
            declarations: HashMap::new(),
            files: Vec::new(),
            strings: Strings::default(),
            index: std::mem::take(&mut scratch.index),
        },
    };
    reader.out.index.reset(length);
    reader.pending.end(Marks::default());
    let name = unit.name.map_or(Cow::Borrowed(""), |name| {
        String::from_utf8_lossy(name.slice())
    });
    let base = unit.comp_dir.map_or(&[][..], |base| base.slice());
    reader.out.name = paths::join(base, b"", name.as_bytes());
    if root.has_children() {
        reader.entries.seek(first.0)?;
        reader.children(false, 0)?;
    }
    let Reader {
        entries,
        mut out,
        pending,
        ..
    } = reader;
    scratch.pending = pending;
    out.strings = entries.strings;
    out.index.count();
    out.files = files(dwarf, &unit, &out, &mut scratch.paths)?;
    Ok(Parsed::Types(Box::new(out)))
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

/// The name of a base type as gcc spells it, where clang spells it in another way.
fn base_name(name: &[u8]) -> Option<&'static [u8]> {
    Some(match name {
        b"short" => b"short int",
        b"unsigned short" => b"short unsigned int",
        b"long" => b"long int",
        b"unsigned long" => b"long unsigned int",
        b"long long" => b"long long int",
        b"unsigned long long" => b"long long unsigned int",
        b"bool" => b"_Bool",
        b"unsigned __int128" => b"__int128 unsigned",
        _ => return None,
    })
}

struct Reader<'a, 'd> {
    dwarf: &'a Dwarf<'d>,
    unit: &'a Unit<Slice<'d>>,
    entries: Entries<'a, 'd>,
    /// Where the unit starts in `.debug_info`; `None` for one in `.debug_types`.
    offset: Option<usize>,
    /// Of the unit, in bytes.
    length: usize,
    /// Whether other units may refer to this one.
    shared: bool,
    /// The parts of the entries that are open, those of the innermost last.
    pending: Parts,
    /// Whether the entries that are being read are a function's.
    in_function: bool,
    out: ParsedUnit<'d>,
}

impl<'d> Reader<'_, 'd> {
    /// Reads entries up to the null entry that ends a list of children. `has_parts` says whether they may be parts of
    /// their parent.
    fn children(&mut self, has_parts: bool, depth: u32) -> Result<(), gimli::Error> {
        if depth > MAX_DEPTH {
            return Err(gimli::Error::UnsupportedOffset);
        }
        while !self.entries.is_empty() {
            let offset = self.entries.next_offset();
            let Some(plan) = self.entries.next()? else {
                return Ok(());
            };
            let mut attributes = Attributes::default();
            self.entries.read(plan, &mut attributes)?;
            let is_part = has_parts && self.part(plan.tag, &attributes)?;
            if !is_part && self.entry(offset, plan, &attributes, depth)? {
                continue;
            }
            if plan.has_children {
                self.skip_children(&attributes)?;
            }
        }
        Ok(())
    }

    /// Takes a child that is a part of its parent: a member, a subrange, a parameter, an enumerator.
    fn part(&mut self, tag: DwTag, attributes: &Attributes<'d>) -> Result<bool, gimli::Error> {
        match tag {
            dw::DW_TAG_member => {
                let member = RawMember {
                    name: self.name(attributes.name)?,
                    ty: self.reference(attributes.ty),
                    location: member(attributes),
                };
                self.pending.members.push(member);
            }
            dw::DW_TAG_enumerator => {
                // A value of more than 64 bits has no DW_AT_const_value in DWARF 2: there is nothing to say of it.
                if let Some(value) = attributes.const_value {
                    let name = self.name(attributes.name)?;
                    self.pending.enumerators.push((name, value));
                }
            }
            dw::DW_TAG_subrange_type => self.pending.dimensions.push(attributes.dimension()),
            dw::DW_TAG_formal_parameter => {
                let ty = self.reference(attributes.ty);
                self.pending.parameters.push(ty);
            }
            dw::DW_TAG_unspecified_parameters => self.pending.variadic = true,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Takes a type or variable. Says whether its children were consumed.
    fn entry(
        &mut self,
        offset: usize,
        plan: Plan,
        attributes: &Attributes<'d>,
        depth: u32,
    ) -> Result<bool, gimli::Error> {
        let target = self.reference(attributes.ty);
        let node = match plan.tag {
            dw::DW_TAG_base_type => {
                let name = self.name(attributes.name)?;
                let text = self.entries.strings.text(name);
                Node::Base {
                    name: match base_name(&text) {
                        Some(name) => self.entries.strings.name(name),
                        None => name,
                    },
                    size: attributes.byte_size.unwrap_or(0),
                    encoding: attributes.encoding(),
                }
            }
            dw::DW_TAG_pointer_type => Node::Pointer(target),
            dw::DW_TAG_const_type => Node::Qualified("const", target),
            dw::DW_TAG_volatile_type => Node::Qualified("volatile", target),
            dw::DW_TAG_restrict_type => Node::Qualified("restrict", target),
            dw::DW_TAG_atomic_type => Node::Qualified("_Atomic", target),
            dw::DW_TAG_immutable_type => Node::Qualified("const", target),
            dw::DW_TAG_typedef => Node::Typedef {
                name: self.name(attributes.name)?,
                target,
                place: place(attributes),
            },
            dw::DW_TAG_structure_type | dw::DW_TAG_class_type => {
                return self.item(Kind::Struct, offset, plan, attributes, depth);
            }
            dw::DW_TAG_union_type => {
                return self.item(Kind::Union, offset, plan, attributes, depth);
            }
            dw::DW_TAG_enumeration_type => {
                return self.item(Kind::Enum, offset, plan, attributes, depth);
            }
            dw::DW_TAG_array_type => {
                let node = self.add(offset, OPEN);
                let marks = self.parts(plan, depth)?;
                let dimensions = append(
                    &mut self.out.dimensions,
                    &mut self.pending.dimensions,
                    marks.dimensions,
                );
                self.pending.end(marks);
                self.out.nodes[node] = Node::Array {
                    element: target,
                    dimensions,
                };
                return Ok(true);
            }
            dw::DW_TAG_subroutine_type => {
                let node = self.add(offset, OPEN);
                let marks = self.parts(plan, depth)?;
                let parameters = append(
                    &mut self.out.parameters,
                    &mut self.pending.parameters,
                    marks.parameters,
                );
                self.out.nodes[node] = Node::Function {
                    result: target,
                    parameters,
                    variadic: self.pending.variadic,
                };
                self.pending.end(marks);
                return Ok(true);
            }
            dw::DW_TAG_subprogram if plan.has_children => {
                self.function(depth)?;
                return Ok(true);
            }
            dw::DW_TAG_variable => {
                self.variable(offset, attributes)?;
                return Ok(false);
            }
            dw::DW_TAG_imported_unit => {
                if let Reference::Foreign(foreign) = attributes.link {
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
        offset: usize,
        plan: Plan,
        attributes: &Attributes<'d>,
        depth: u32,
    ) -> Result<bool, gimli::Error> {
        let name = self.name(attributes.name)?;
        let node = self.add(offset, OPEN);
        let marks = self.parts(plan, depth)?;
        let parts = if kind == Kind::Enum {
            append(
                &mut self.out.enumerators,
                &mut self.pending.enumerators,
                marks.enumerators,
            )
        } else {
            append(
                &mut self.out.members,
                &mut self.pending.members,
                marks.members,
            )
        };
        self.pending.end(marks);
        let definition = self.reference(attributes.link);
        let is_declaration = attributes.declaration || definition != VOID;
        self.out.nodes[node] = Node::Item {
            kind,
            name: if self.entries.strings.is_empty(name) {
                Name::EMPTY
            } else {
                name
            },
            size: (!is_declaration).then_some(attributes.byte_size.unwrap_or(0)),
            definition,
            parts,
            place: place(attributes),
            local: self.in_function,
        };
        Ok(true)
    }

    /// Takes the types that are declared inside a function, whose children follow. Nothing else of it is of interest.
    fn function(&mut self, depth: u32) -> Result<(), gimli::Error> {
        self.in_function = true;
        let mut level = 1u32;
        while level > 0 && !self.entries.is_empty() {
            let offset = self.entries.next_offset();
            let Some(plan) = self.entries.next()? else {
                level -= 1;
                continue;
            };
            // What was inlined or is called here is declared elsewhere.
            let is_copy = matches!(
                plan.tag,
                dw::DW_TAG_inlined_subroutine | dw::DW_TAG_call_site
            );
            if is_type(plan.tag) || (is_copy && plan.has_children) {
                let mut attributes = Attributes::default();
                self.entries.read(plan, &mut attributes)?;
                let is_taken = !is_copy && self.entry(offset, plan, &attributes, depth)?;
                if !is_taken && plan.has_children {
                    self.skip_children(&attributes)?;
                }
            } else {
                self.entries.skip(plan)?;
                level += u32::from(plan.has_children);
            }
        }
        self.in_function = false;
        Ok(())
    }

    /// Reads the parts of an entry, which are then the pending ones from the marks on.
    fn parts(&mut self, plan: Plan, depth: u32) -> Result<Marks, gimli::Error> {
        let marks = self.pending.begin();
        if plan.has_children {
            self.children(true, depth + 1)?;
        }
        Ok(marks)
    }

    /// Keeps a variable that has an address. Its name and type may stand in a declaration.
    fn variable(&mut self, offset: usize, attributes: &Attributes<'d>) -> Result<(), gimli::Error> {
        let address = attributes.location.and_then(|block| self.address(block));
        if address.is_none() && !self.shared {
            return Ok(());
        }
        let origin = self.reference(attributes.link);
        let declaration = if origin == VOID || origin & FOREIGN != 0 {
            Attributes::default()
        } else {
            self.attributes_at(origin as usize)?
        };
        let is_foreign = origin & FOREIGN != 0 && origin != DANGLING;
        let name = self.name(attributes.name.or(declaration.name))?;
        let ty = attributes.ty.or(declaration.ty);
        if !is_foreign && (self.entries.strings.is_empty(name) || ty.is_none()) {
            return Ok(());
        }
        let variable = RawVariable {
            name,
            ty: self.reference(ty),
            address: address.unwrap_or(0),
            external: attributes.external || declaration.external,
            place: if attributes.line != 0 {
                place(attributes)
            } else {
                place(&declaration)
            },
            declaration: if is_foreign { origin } else { VOID },
        };
        match address {
            Some(_) => self.out.variables.push(variable),
            None => {
                self.out.declarations.insert(offset as u32, variable);
            }
        }
        Ok(())
    }

    /// The attributes of an entry elsewhere in the unit.
    fn attributes_at(&mut self, offset: usize) -> Result<Attributes<'d>, gimli::Error> {
        let back = self.entries.next_offset();
        self.entries.seek(offset)?;
        let mut attributes = Attributes::default();
        if let Some(plan) = self.entries.next()? {
            self.entries.read(plan, &mut attributes)?;
        }
        self.entries.seek(back)?;
        Ok(attributes)
    }

    /// The address of a location that is just an address.
    fn address(&self, block: &'d [u8]) -> Option<u64> {
        let mut bytes = Slice::new(block, self.dwarf.debug_info.reader().endian());
        let operation = Operation::parse(&mut bytes, self.unit.encoding()).ok()?;
        match operation {
            Operation::Address { address } if bytes.is_empty() => Some(address),
            Operation::AddressIndex { index } if bytes.is_empty() => {
                self.dwarf.address(self.unit, index).ok()
            }
            _ => None,
        }
    }

    /// Adds a type. Types come in the order of their offsets.
    fn add(&mut self, offset: usize, node: Node) -> usize {
        self.out.nodes.push(node);
        self.out.index.mark(offset);
        self.out.nodes.len() - 1
    }

    fn reference(&mut self, reference: Reference) -> Ref {
        let local = |offset: u64| {
            u32::try_from(offset)
                .ok()
                .filter(|offset| *offset < FOREIGN && (*offset as usize) < self.length)
        };
        let foreign = match reference {
            Reference::None => return VOID,
            Reference::Local(offset) => return local(offset).unwrap_or(DANGLING),
            Reference::Bad => return DANGLING,
            Reference::Foreign(foreign) => foreign,
        };
        if let Foreign::Info(offset) = foreign
            && let Some(start) = self.offset
            && let Some(offset) = offset.checked_sub(start as u64)
            && offset < self.length as u64
        {
            return local(offset).unwrap_or(DANGLING);
        }
        if self.out.foreign.len() < (DANGLING ^ FOREIGN) as usize {
            self.out.foreign.push(foreign);
            FOREIGN | (self.out.foreign.len() - 1) as u32
        } else {
            DANGLING
        }
    }

    fn name(&self, name: Name) -> Result<Name, gimli::Error> {
        self.entries.strings.checked(name).ok_or_else(|| {
            let strings = self.dwarf.debug_str.reader();
            gimli::Error::UnexpectedEof(strings.offset_id())
        })
    }

    fn skip_children(&mut self, attributes: &Attributes<'d>) -> Result<(), gimli::Error> {
        if attributes.sibling >= self.entries.next_offset() {
            return self.entries.seek(attributes.sibling);
        }
        let mut depth = 1u32;
        while depth > 0 && !self.entries.is_empty() {
            match self.entries.next()? {
                None => depth -= 1,
                Some(plan) => {
                    self.entries.skip(plan)?;
                    depth += u32::from(plan.has_children);
                }
            }
        }
        Ok(())
    }
}

/// Stands for a type while its children are read.
const OPEN: Node = Node::Pointer(VOID);

fn place(attributes: &Attributes<'_>) -> RawPlace {
    RawPlace {
        file: attributes.file,
        line: attributes.line,
    }
}

/// Looks up the paths of the files that anything kept was declared in.
fn files<'d>(
    dwarf: &Dwarf<'d>,
    unit: &Unit<Slice<'d>>,
    parsed: &ParsedUnit<'d>,
    paths: &mut Paths<'d>,
) -> Result<Vec<Option<Arc<str>>>, gimli::Error> {
    let Some(program) = &unit.line_program else {
        return Ok(Vec::new());
    };
    let header = program.header();
    let count = header.file_names().len() + 1;
    let mut wanted = vec![false; count];
    let variables = parsed.variables.iter();
    let variables = variables
        .chain(parsed.declarations.values())
        .map(|variable| variable.place);
    let nodes = parsed.nodes.iter().filter_map(|node| match node {
        Node::Typedef { place, .. } | Node::Item { place, .. } => Some(*place),
        _ => None,
    });
    for place in variables.chain(nodes) {
        if let Some(wanted) = wanted.get_mut(place.file as usize) {
            *wanted = true;
        }
    }
    let base = unit.comp_dir.map_or(&[][..], |base| base.slice());
    let mut files = vec![None; count];
    for (number, path) in files.iter_mut().enumerate() {
        // Before DWARF 5 number 0 means that there is no file.
        if !wanted[number] || (number == 0 && header.version() < 5) {
            continue;
        }
        let Some(file) = header.file(number as u64) else {
            continue;
        };
        let name = dwarf.attr_string(unit, file.path_name())?;
        let directory = match file.directory(header) {
            Some(directory) if file.directory_index() != 0 => {
                dwarf.attr_string(unit, directory)?.slice()
            }
            _ => &[],
        };
        *path = Some(paths.get(base, directory, name.slice()));
    }
    Ok(files)
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
pub struct Parts {
    members: Vec<RawMember>,
    enumerators: Vec<(Name, i128)>,
    dimensions: Vec<Option<u64>>,
    parameters: Vec<Ref>,
    variadic: bool,
}

/// Where the parts of one entry begin, among those of the entries around it.
#[derive(Clone, Copy, Default)]
struct Marks {
    members: usize,
    enumerators: usize,
    dimensions: usize,
    parameters: usize,
    variadic: bool,
}

impl Parts {
    fn begin(&mut self) -> Marks {
        Marks {
            members: self.members.len(),
            enumerators: self.enumerators.len(),
            dimensions: self.dimensions.len(),
            parameters: self.parameters.len(),
            variadic: std::mem::take(&mut self.variadic),
        }
    }

    /// Forgets what was collected since the marks.
    fn end(&mut self, marks: Marks) {
        self.members.truncate(marks.members);
        self.enumerators.truncate(marks.enumerators);
        self.dimensions.truncate(marks.dimensions);
        self.parameters.truncate(marks.parameters);
        self.variadic = marks.variadic;
    }
}

/// Moves what is pending from a mark on, and says where to.
fn append<T: Copy>(all: &mut Vec<T>, pending: &mut Vec<T>, mark: usize) -> Range<u32> {
    let start = all.len() as u32;
    all.extend_from_slice(&pending[mark..]);
    pending.truncate(mark);
    start..all.len() as u32
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

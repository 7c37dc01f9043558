//! The attributes of entries that matter, read by a plan.
//!
//! An abbreviation says how each of its many entries is laid out. So what to do with each attribute is decided once an
//! abbreviation; runs of attributes that don't matter and have a fixed length are then passed over in one step. Only the
//! forms that compilers use by the million are read here: all others are left to gimli.

use gimli::{
    Abbreviation, AttributeSpecification, AttributeValue, DwAt, DwAte, DwTag, Reader as _,
    Section as _, Unit, UnitOffset, constants as dw,
};

use super::strings::{Name, Strings};
use super::unit::Foreign;
use super::{Dwarf, Slice};

/// Plans are kept for codes up to this one. Compilers number abbreviations from 1.
const MAX_CODE: u64 = 1 << 12;

/// The attributes that matter, of one entry. Names are not checked before they are needed.
#[derive(Default)]
pub struct Attributes<'d> {
    pub name: Name,
    pub ty: Reference,
    /// Of a variable, where the rest is said: `DW_AT_specification`, or `DW_AT_abstract_origin` after LTO; of an imported
    /// unit, which; of a struct, its signature.
    pub link: Reference,
    pub sibling: usize,
    pub byte_size: Option<u64>,
    pub bit_size: Option<u64>,
    pub bit_offset: Option<i64>,
    pub data_bit_offset: Option<u64>,
    pub location_in_parent: Option<u64>,
    pub encoding: u8,
    pub declaration: bool,
    pub external: bool,
    pub file: u32,
    pub line: u32,
    pub upper_bound: Option<u64>,
    pub count: Option<u64>,
    pub const_value: Option<i128>,
    pub location: Option<&'d [u8]>,
}

/// What an attribute refers to.
#[derive(Debug, Clone, Copy, Default)]
pub enum Reference {
    #[default]
    None,
    /// An offset in the unit.
    Local(u64),
    Foreign(Foreign),
    Bad,
}

impl Reference {
    pub fn is_none(self) -> bool {
        matches!(self, Reference::None)
    }

    pub fn or(self, other: Reference) -> Reference {
        if self.is_none() { other } else { self }
    }
}

impl Attributes<'_> {
    /// The encoding of a base type.
    pub fn encoding(&self) -> DwAte {
        DwAte(self.encoding)
    }

    /// The number of elements that a subrange gives; `None` for `[]` and `[0]`, however the compiler writes them.
    pub fn dimension(&self) -> Option<u64> {
        self.count
            .or(self.upper_bound.and_then(|bound| bound.checked_add(1)))
            .filter(|count| *count != 0)
    }
}

/// What is done with one attribute.
#[derive(Debug, Clone, Copy)]
struct Step {
    /// So many bytes are passed over before it.
    ahead: u32,
    /// `None`: it is passed over.
    attribute: Option<DwAt>,
    form: Form,
}

#[derive(Debug, Clone, Copy)]
enum Form {
    /// Nothing is read.
    Nothing,
    /// An integer in one, two, four or eight bytes.
    Data1,
    Data2,
    Data4,
    Data8,
    Udata,
    Sdata,
    /// In the abbreviation itself.
    Implicit(i64),
    /// `DW_FORM_flag_present`
    Present,
    /// An offset of 4 bytes in the unit; of a `DW_AT_type`, and of another attribute.
    Type4,
    Ref4,
    /// Offsets of 4 bytes in sections of strings; of a `DW_AT_name` in `.debug_str`, and of others.
    NameStrp,
    Strp,
    LineStrp,
    String,
    /// Bytes after their number.
    Block,
    /// Whatever else, by its index in the abbreviation.
    Other(u32),
}

/// How an abbreviation's entries are read.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub tag: DwTag,
    pub has_children: bool,
    code: u64,
    start: u32,
    end: u32,
}

/// What reading units takes again and again.
#[derive(Default)]
pub struct Plans {
    /// By code.
    known: Vec<Option<Plan>>,
    steps: Vec<Step>,
    /// How many steps those of known plans are.
    kept: usize,
}

/// Reads one unit's entries.
pub struct Entries<'a, 'd> {
    dwarf: &'a Dwarf<'d>,
    unit: &'a Unit<Slice<'d>>,
    plans: &'a mut Plans,
    pub strings: Strings<'d>,
    /// From the unit's first entry on.
    bytes: &'d [u8],
    /// The offset in the unit of the first entry.
    base: usize,
    at: usize,
    big_endian: bool,
    dwarf64: bool,
}

impl<'a, 'd> Entries<'a, 'd> {
    pub fn new(
        dwarf: &'a Dwarf<'d>,
        unit: &'a Unit<Slice<'d>>,
        plans: &'a mut Plans,
    ) -> Result<Self, gimli::Error> {
        plans.known.clear();
        plans.steps.clear();
        plans.kept = 0;
        let start = unit.header.root_offset();
        Ok(Entries {
            dwarf,
            unit,
            plans,
            strings: Strings::new(dwarf),
            bytes: unit.header.range_from(start..)?.slice(),
            base: start.0,
            at: 0,
            big_endian: dwarf.debug_info.reader().endian() == gimli::RunTimeEndian::Big,
            dwarf64: unit.header.format() == gimli::Format::Dwarf64,
        })
    }

    pub fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// The offset in the unit of the next entry.
    pub fn next_offset(&self) -> usize {
        self.base + self.at
    }

    /// Goes on at an offset in the unit.
    pub fn seek(&mut self, offset: usize) -> Result<(), gimli::Error> {
        match offset.checked_sub(self.base) {
            Some(at) if at <= self.bytes.len() => self.at = at,
            _ => return Err(gimli::Error::OffsetOutOfBounds(offset as u64)),
        }
        Ok(())
    }

    /// How to read the next entry, which must be done before this is called again; `None` if it is the null entry that ends a list of children.
    #[inline(always)] // a plan that is returned through memory costs more than it takes to find it
    pub fn next(&mut self) -> Result<Option<Plan>, gimli::Error> {
        let code = self.udata()?;
        if code == 0 {
            return Ok(None);
        }
        match self.plans.known.get(code as usize) {
            Some(Some(plan)) if code < MAX_CODE => Ok(Some(*plan)),
            _ => self.plan(code).map(Some),
        }
    }

    #[cold]
    fn plan(&mut self, code: u64) -> Result<Plan, gimli::Error> {
        let abbreviation = self.abbreviation(code)?;
        let tag = abbreviation.tag();
        // A plan that isn't kept is good until the next one is made: an entry is read before the next is looked at.
        self.plans.steps.truncate(self.plans.kept);
        let start = self.plans.steps.len() as u32;
        let mut ahead = 0;
        for (index, specification) in (0u32..).zip(abbreviation.attributes()) {
            let form = self.form(index, specification);
            let wanted = is_wanted(tag, abbreviation.has_children(), specification.name(), form);
            let attribute = wanted.then_some(specification.name());
            let length = match specification.size(&self.unit.header) {
                Some(length) if !wanted => u32::try_from(length).ok(),
                _ => None,
            };
            match length {
                Some(length) if ahead <= u32::MAX - length => ahead += length,
                _ => {
                    self.plans.steps.push(Step {
                        ahead,
                        attribute,
                        form,
                    });
                    ahead = 0;
                }
            }
        }
        if ahead != 0 {
            self.plans.steps.push(Step {
                ahead,
                attribute: None,
                form: Form::Nothing,
            });
        }
        let plan = Plan {
            tag,
            has_children: abbreviation.has_children(),
            code,
            start,
            end: self.plans.steps.len() as u32,
        };
        if code < MAX_CODE {
            let known = &mut self.plans.known;
            if known.len() <= code as usize {
                known.resize(code as usize + 1, None);
            }
            known[code as usize] = Some(plan);
            self.plans.kept = self.plans.steps.len();
        }
        Ok(plan)
    }

    fn abbreviation(&self, code: u64) -> Result<&'a Abbreviation, gimli::Error> {
        let unit = self.unit;
        unit.abbreviations
            .get(code)
            .ok_or(gimli::Error::InvalidAbbreviationCode(code))
    }

    fn form(&self, index: u32, specification: &AttributeSpecification) -> Form {
        match specification.form() {
            dw::DW_FORM_data1 | dw::DW_FORM_flag => Form::Data1,
            dw::DW_FORM_data2 => Form::Data2,
            dw::DW_FORM_data4 => Form::Data4,
            dw::DW_FORM_data8 => Form::Data8,
            dw::DW_FORM_udata => Form::Udata,
            dw::DW_FORM_sdata => Form::Sdata,
            dw::DW_FORM_implicit_const => {
                Form::Implicit(specification.implicit_const_value().unwrap_or(0))
            }
            dw::DW_FORM_flag_present => Form::Present,
            dw::DW_FORM_ref4 if specification.name() == dw::DW_AT_type => Form::Type4,
            dw::DW_FORM_ref4 => Form::Ref4,
            dw::DW_FORM_strp if self.dwarf64 => Form::Other(index),
            dw::DW_FORM_strp if specification.name() == dw::DW_AT_name => Form::NameStrp,
            dw::DW_FORM_strp => Form::Strp,
            dw::DW_FORM_line_strp if !self.dwarf64 => Form::LineStrp,
            dw::DW_FORM_string => Form::String,
            dw::DW_FORM_exprloc | dw::DW_FORM_block => Form::Block,
            _ => Form::Other(index),
        }
    }

    /// Passes over the attributes of an entry.
    pub fn skip(&mut self, plan: Plan) -> Result<(), gimli::Error> {
        for index in plan.start as usize..plan.end as usize {
            let step = self.plans.steps[index];
            self.take(step.ahead as usize)?;
            let length = match step.form {
                Form::Implicit(_) | Form::Present | Form::Nothing => continue,
                Form::Data1 => 1,
                Form::Data2 => 2,
                Form::Data4 | Form::Type4 | Form::Ref4 => 4,
                Form::NameStrp | Form::Strp | Form::LineStrp => 4,
                Form::Data8 => 8,
                Form::Block => usize::try_from(self.udata()?).unwrap_or(usize::MAX),
                Form::Udata => {
                    self.udata()?;
                    continue;
                }
                Form::Sdata => {
                    self.sdata()?;
                    continue;
                }
                Form::String => {
                    self.string()?;
                    continue;
                }
                Form::Other(specification) => {
                    self.other(&mut Attributes::default(), plan, None, specification)?;
                    continue;
                }
            };
            self.take(length)?;
        }
        Ok(())
    }

    /// Reads the attributes of an entry; `out` has none yet.
    #[inline]
    pub fn read(&mut self, plan: Plan, out: &mut Attributes<'d>) -> Result<(), gimli::Error> {
        let mut index = plan.start as usize;
        while index < plan.end as usize {
            let step = self.plans.steps[index];
            index += 1;
            self.take(step.ahead as usize)?;
            let number = match step.form {
                Form::Nothing => continue,
                Form::Data1 => u64::from(u8::from_le_bytes(self.array()?)),
                Form::Data2 => {
                    let bytes = self.array()?;
                    u64::from(match self.big_endian {
                        false => u16::from_le_bytes(bytes),
                        true => u16::from_be_bytes(bytes),
                    })
                }
                // What nearly every entry has. Where it isn't wanted, it has become a fixed length.
                Form::NameStrp => {
                    out.name = Name::in_str(self.data4()?);
                    continue;
                }
                Form::Type4 => {
                    out.ty = Reference::Local(self.data4()?);
                    continue;
                }
                Form::Data4 | Form::Ref4 | Form::Strp | Form::LineStrp => self.data4()?,
                Form::Data8 => {
                    let bytes = self.array()?;
                    match self.big_endian {
                        false => u64::from_le_bytes(bytes),
                        true => u64::from_be_bytes(bytes),
                    }
                }
                Form::Udata => self.udata()?,
                Form::Sdata => self.sdata()? as u64,
                Form::Implicit(number) => number as u64,
                Form::Present => 1,
                Form::String => {
                    let text = self.string()?;
                    if step.attribute == Some(dw::DW_AT_name) {
                        out.name = self.strings.name(text);
                    }
                    continue;
                }
                Form::Block => {
                    let length = self.udata()?;
                    let block = self.take(usize::try_from(length).unwrap_or(usize::MAX))?;
                    match step.attribute {
                        Some(dw::DW_AT_location) => out.location = Some(block),
                        Some(dw::DW_AT_data_member_location) => {
                            out.location_in_parent = plus_uconst(block);
                        }
                        _ => {}
                    }
                    continue;
                }
                Form::Other(specification) => {
                    self.other(out, plan, step.attribute, specification)?;
                    continue;
                }
            };
            if let Some(attribute) = step.attribute {
                set(out, attribute, step.form, number);
            }
        }
        Ok(())
    }

    /// Reads an attribute of a rare form.
    #[cold]
    fn other(
        &mut self,
        out: &mut Attributes<'d>,
        plan: Plan,
        attribute: Option<DwAt>,
        index: u32,
    ) -> Result<(), gimli::Error> {
        let abbreviation = self.abbreviation(plan.code)?;
        let Some(specification) = abbreviation.attributes().get(index as usize) else {
            return Ok(());
        };
        if self.is_empty() {
            return Err(self.end());
        }
        let at = UnitOffset(self.next_offset());
        let mut entries = self.unit.entries_raw(Some(at))?;
        let value = entries.read_attribute(*specification)?.raw_value();
        self.at = entries.next_offset().0 - self.base;
        let Some(attribute) = attribute else {
            return Ok(());
        };
        match (attribute, value) {
            (dw::DW_AT_name, AttributeValue::DebugStrOffsetsIndex(index)) => {
                let offset = self.dwarf.string_offset(self.unit, index);
                out.name = offset.map_or(Name::BAD, |offset| Name::in_str(offset.0 as u64));
            }
            (dw::DW_AT_name, AttributeValue::DebugStrRef(offset)) => {
                out.name = Name::in_str(offset.0 as u64);
            }
            (dw::DW_AT_name, AttributeValue::DebugLineStrRef(offset)) => {
                out.name = Name::in_line_str(offset.0 as u64);
            }
            (dw::DW_AT_name, value) => {
                out.name = match self.dwarf.attr_string(self.unit, value) {
                    Ok(text) => self.strings.name(text.slice()),
                    Err(_) => Name::BAD,
                };
            }
            (dw::DW_AT_location, AttributeValue::Exprloc(expression)) => {
                out.location = Some(expression.0.slice());
            }
            (dw::DW_AT_location, AttributeValue::Block(block)) => {
                out.location = Some(block.slice());
            }
            (dw::DW_AT_data_member_location, AttributeValue::Exprloc(expression)) => {
                out.location_in_parent = plus_uconst(expression.0.slice());
            }
            (dw::DW_AT_data_member_location, AttributeValue::Block(block)) => {
                out.location_in_parent = plus_uconst(block.slice());
            }
            (dw::DW_AT_type, value) => out.ty = reference(value),
            (
                dw::DW_AT_specification
                | dw::DW_AT_abstract_origin
                | dw::DW_AT_import
                | dw::DW_AT_signature,
                value,
            ) => out.link = reference(value),
            (dw::DW_AT_sibling, AttributeValue::UnitRef(offset)) => out.sibling = offset.0,
            (dw::DW_AT_const_value, AttributeValue::Data16(n)) => {
                out.const_value = Some(n.cast_signed());
            }
            (attribute, AttributeValue::Flag(flag)) => {
                set(out, attribute, Form::Data1, u64::from(flag));
            }
            // A number in the form that another attribute said (DW_FORM_indirect).
            (attribute, AttributeValue::Data1(n)) => set(out, attribute, Form::Data1, n.into()),
            (attribute, AttributeValue::Data2(n)) => set(out, attribute, Form::Data2, n.into()),
            (attribute, AttributeValue::Data4(n)) => set(out, attribute, Form::Data4, n.into()),
            (attribute, AttributeValue::Data8(n)) => set(out, attribute, Form::Data8, n),
            (attribute, AttributeValue::Udata(n)) => set(out, attribute, Form::Udata, n),
            (attribute, AttributeValue::Sdata(n)) => set(out, attribute, Form::Sdata, n as u64),
            _ => {}
        }
        Ok(())
    }

    fn end(&self) -> gimli::Error {
        gimli::Error::UnexpectedEof(gimli::ReaderOffsetId(self.bytes.as_ptr() as u64))
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'d [u8], gimli::Error> {
        match self.bytes[self.at..].get(..length) {
            Some(bytes) => {
                self.at += length;
                Ok(bytes)
            }
            None => Err(self.end()),
        }
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], gimli::Error> {
        match self.bytes[self.at..].first_chunk() {
            Some(bytes) => {
                self.at += N;
                Ok(*bytes)
            }
            None => Err(self.end()),
        }
    }

    #[inline]
    fn data4(&mut self) -> Result<u64, gimli::Error> {
        let bytes = self.array()?;
        Ok(u64::from(match self.big_endian {
            false => u32::from_le_bytes(bytes),
            true => u32::from_be_bytes(bytes),
        }))
    }

    #[inline]
    fn udata(&mut self) -> Result<u64, gimli::Error> {
        match self.bytes.get(self.at) {
            Some(byte) if *byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(*byte))
            }
            _ => self.leb128(|reader| reader.read_uleb128()),
        }
    }

    fn sdata(&mut self) -> Result<i64, gimli::Error> {
        self.leb128(|reader| reader.read_sleb128())
    }

    fn leb128<T>(
        &mut self,
        read: impl FnOnce(&mut Slice<'d>) -> Result<T, gimli::Error>,
    ) -> Result<T, gimli::Error> {
        let mut rest = Slice::new(&self.bytes[self.at..], gimli::RunTimeEndian::Little);
        let number = read(&mut rest)?;
        self.at = self.bytes.len() - rest.len();
        Ok(number)
    }

    fn string(&mut self) -> Result<&'d [u8], gimli::Error> {
        let rest = &self.bytes[self.at..];
        let Some(length) = rest.iter().position(|byte| *byte == 0) else {
            return Err(self.end());
        };
        self.at += length + 1;
        Ok(&rest[..length])
    }
}

/// Whether anything is made of an attribute of an entry.
fn is_wanted(tag: DwTag, has_children: bool, attribute: DwAt, form: Form) -> bool {
    match attribute {
        dw::DW_AT_sibling => has_children,
        // Whoever refers to another unit belongs together with it.
        dw::DW_AT_type if matches!(form, Form::Other(_)) => true,
        dw::DW_AT_decl_file | dw::DW_AT_decl_line => matches!(
            tag,
            dw::DW_TAG_typedef
                | dw::DW_TAG_structure_type
                | dw::DW_TAG_class_type
                | dw::DW_TAG_union_type
                | dw::DW_TAG_enumeration_type
                | dw::DW_TAG_variable
        ),
        dw::DW_AT_name => matches!(
            tag,
            dw::DW_TAG_base_type
                | dw::DW_TAG_typedef
                | dw::DW_TAG_structure_type
                | dw::DW_TAG_class_type
                | dw::DW_TAG_union_type
                | dw::DW_TAG_enumeration_type
                | dw::DW_TAG_variable
                | dw::DW_TAG_member
                | dw::DW_TAG_enumerator
        ),
        dw::DW_AT_type => !matches!(tag, dw::DW_TAG_subprogram | dw::DW_TAG_enumeration_type),
        dw::DW_AT_import => tag == dw::DW_TAG_imported_unit,
        dw::DW_AT_signature => matches!(
            tag,
            dw::DW_TAG_structure_type
                | dw::DW_TAG_class_type
                | dw::DW_TAG_union_type
                | dw::DW_TAG_enumeration_type
        ),
        dw::DW_AT_specification
        | dw::DW_AT_abstract_origin
        | dw::DW_AT_location
        | dw::DW_AT_external => tag == dw::DW_TAG_variable,
        dw::DW_AT_data_member_location
        | dw::DW_AT_bit_size
        | dw::DW_AT_bit_offset
        | dw::DW_AT_data_bit_offset => tag == dw::DW_TAG_member,
        dw::DW_AT_const_value => tag == dw::DW_TAG_enumerator,
        dw::DW_AT_upper_bound | dw::DW_AT_count => tag == dw::DW_TAG_subrange_type,
        dw::DW_AT_encoding => tag == dw::DW_TAG_base_type,
        dw::DW_AT_byte_size => !matches!(tag, dw::DW_TAG_pointer_type | dw::DW_TAG_array_type),
        dw::DW_AT_declaration => true,
        _ => false,
    }
}

/// Takes a number, as it stands in its form.
#[inline(always)] // half of the time that it takes would be the call
fn set(out: &mut Attributes<'_>, attribute: DwAt, form: Form, number: u64) {
    match attribute {
        dw::DW_AT_name => match form {
            Form::LineStrp => out.name = Name::in_line_str(number),
            _ => out.name = Name::BAD,
        },
        dw::DW_AT_type => out.ty = Reference::Bad,
        dw::DW_AT_specification
        | dw::DW_AT_abstract_origin
        | dw::DW_AT_import
        | dw::DW_AT_signature => out.link = local(form, number),
        dw::DW_AT_sibling => {
            if let Form::Ref4 = form {
                out.sibling = number as usize;
            }
        }
        dw::DW_AT_byte_size => out.byte_size = unsigned(form, number),
        dw::DW_AT_bit_size => out.bit_size = unsigned(form, number),
        dw::DW_AT_bit_offset => out.bit_offset = sign_extended(form, number),
        dw::DW_AT_data_bit_offset => out.data_bit_offset = unsigned(form, number),
        dw::DW_AT_data_member_location => out.location_in_parent = unsigned(form, number),
        dw::DW_AT_encoding => out.encoding = u8::try_from(number).unwrap_or(0),
        dw::DW_AT_declaration => out.declaration = number != 0,
        dw::DW_AT_external => out.external = number != 0,
        dw::DW_AT_decl_file => out.file = small(form, number),
        dw::DW_AT_decl_line => out.line = small(form, number),
        dw::DW_AT_upper_bound => out.upper_bound = bound(form, number),
        dw::DW_AT_count => out.count = unsigned(form, number),
        dw::DW_AT_const_value => {
            out.const_value = match form {
                Form::Sdata | Form::Implicit(_) => Some(i128::from(number as i64)),
                _ => unsigned(form, number).map(i128::from),
            };
        }
        _ => {}
    }
}

fn small(form: Form, number: u64) -> u32 {
    unsigned(form, number)
        .and_then(|number| u32::try_from(number).ok())
        .unwrap_or(0)
}

fn local(form: Form, number: u64) -> Reference {
    match form {
        Form::Ref4 => Reference::Local(number),
        _ => Reference::Bad,
    }
}

fn reference(value: AttributeValue<Slice<'_>>) -> Reference {
    match value {
        AttributeValue::UnitRef(offset) => Reference::Local(offset.0 as u64),
        AttributeValue::DebugInfoRef(offset) => Reference::Foreign(Foreign::Info(offset.0 as u64)),
        AttributeValue::DebugInfoRefSup(offset) => {
            Reference::Foreign(Foreign::Alternate(offset.0 as u64))
        }
        AttributeValue::DebugTypesRef(signature) => {
            Reference::Foreign(Foreign::Signature(signature.0))
        }
        _ => Reference::Bad,
    }
}

fn unsigned(form: Form, number: u64) -> Option<u64> {
    match form {
        Form::Data1 | Form::Data2 | Form::Data4 | Form::Data8 | Form::Udata => Some(number),
        Form::Sdata | Form::Implicit(_) => u64::try_from(number as i64).ok(),
        _ => None,
    }
}

/// An upper bound. All ones, in the width of its form, is how compilers write -1: an array without elements.
fn bound(form: Form, number: u64) -> Option<u64> {
    match form {
        Form::Data4 if number == u64::from(u32::MAX) => None,
        Form::Data8 if number == u64::MAX => None,
        form => unsigned(form, number),
    }
}

/// `DW_AT_bit_offset` may be negative, and is then stored in all the bits of its form.
fn sign_extended(form: Form, number: u64) -> Option<i64> {
    match form {
        Form::Data1 => Some(i64::from(number as u8 as i8)),
        Form::Data2 => Some(i64::from(number as u16 as i16)),
        Form::Data4 => Some(i64::from(number as u32 as i32)),
        Form::Data8 | Form::Sdata | Form::Implicit(_) => Some(number as i64),
        Form::Udata => i64::try_from(number).ok(),
        _ => None,
    }
}

/// The block `DW_OP_plus_uconst N` of DWARF 2.
fn plus_uconst(block: &[u8]) -> Option<u64> {
    let mut block = Slice::new(block, gimli::RunTimeEndian::Little);
    if block.read_u8().ok()? != dw::DW_OP_plus_uconst.0 {
        return None;
    }
    let offset = block.read_uleb128().ok()?;
    block.is_empty().then_some(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A unit of DWARF 4 with an entry of abbreviation 1 and two of abbreviation 5000, whose plan isn't kept.
    #[test]
    fn entries_are_read_by_any_code() {
        let abbreviations = [
            &[1, 0x24, 0, 0x03, 0x08, 0x0b, 0x0b, 0, 0][..], // base type: name, string; byte size, data1
            &[0x88, 0x27, 0x16, 0], // typedef, after these attributes that are passed over, its name and line:
            &[
                0x39, 0x0b, 0x3f, 0x19, 0x34, 0x0b, 0x03, 0x08, 0x3b, 0x0b, 0, 0, 0,
            ],
        ]
        .concat();
        let entries = [
            &b"\x01int\0\x04"[..],
            b"\x88\x27\xff\xffs32\0\x07",
            b"\x88\x27\xff\xfflong name\0\x08",
        ]
        .concat();
        let mut info = vec![0; 4];
        info.extend_from_slice(&[4, 0, 0, 0, 0, 0, 8]);
        info.extend_from_slice(&entries);
        let length = info.len() as u32 - 4;
        info[..4].copy_from_slice(&length.to_le_bytes());

        let read = |info: &[u8]| -> Result<Vec<(Vec<u8>, u32)>, gimli::Error> {
            let dwarf = Dwarf::load(|id| {
                let section = match id {
                    gimli::SectionId::DebugInfo => info,
                    gimli::SectionId::DebugAbbrev => &abbreviations,
                    _ => &[],
                };
                Ok::<_, gimli::Error>(Slice::new(section, gimli::RunTimeEndian::Little))
            })?;
            let header = dwarf.units().next()?.ok_or(gimli::Error::MissingUnitDie)?;
            let unit = dwarf.unit(header)?;
            let mut plans = Plans::default();
            let mut entries = Entries::new(&dwarf, &unit, &mut plans)?;
            let mut found = Vec::new();
            while !entries.is_empty() {
                let Some(plan) = entries.next()? else { break };
                let mut attributes = Attributes::default();
                entries.read(plan, &mut attributes)?;
                let name = entries.strings.text(attributes.name);
                found.push((name.to_vec(), attributes.line));
            }
            assert!(plans.steps.len() <= 5, "plans pile up");
            Ok(found)
        };
        let names = read(&info).expect("the unit is sound");
        let names: Vec<(&[u8], u32)> = names.iter().map(|(name, line)| (&**name, *line)).collect();
        assert_eq!(names, [(&b"int"[..], 0), (b"s32", 7), (b"long name", 8)]);

        // Cut short anywhere, it is an error, or holds fewer entries.
        for end in 12..info.len() {
            let mut cut = info[..end].to_vec();
            cut[..4].copy_from_slice(&(end as u32 - 4).to_le_bytes());
            assert!(read(&cut).is_ok_and(|found| found.len() < 3) || read(&cut).is_err());
        }
    }
}

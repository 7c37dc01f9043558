//! Values of types that are known when a program runs, read from a dump.

use crate::bits;
use crate::fault::Fault;
use crate::memory::Memory;

use super::{Encoding, Item, Kind, Member, Shape, Type};

/// What a value is. What can't be read is a fault in its place.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number in two's complement.
    Signed(i128),
    /// An unsigned number.
    Unsigned(u128),
    /// `_Bool`
    Bool(bool),
    /// `char`
    Char(u8),
    /// `float`, `double`
    Float(f64),
    /// An enum, and its number.
    Enum(Item, i128),
    /// An address. What it points to is the type's business.
    Pointer(u64),
    /// A `char` array: all of its bytes.
    Text(Vec<u8>),
    /// A struct or union.
    Struct(Vec<Field>),
    /// The first elements of an array, and how many it has.
    Array(Vec<Value>, u64),
    /// Bytes of which no more is known.
    Bytes(Vec<u8>),
    /// A struct that lies deeper than was asked for.
    Deeper,
    /// There is nothing to read: arrays without a length, types that are only declared.
    Nothing,
    /// It can't be read.
    Fault(Fault),
}

/// A member and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its name; empty for an anonymous struct or union.
    pub name: &'static str,
    /// Its type.
    pub ty: Type,
    /// Where it is.
    pub address: u64,
    /// What it is.
    pub value: Value,
}

impl PartialEq for Type {
    fn eq(&self, other: &Self) -> bool {
        self.place == other.place
    }
}

/// How much of a value is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// How many levels of structs; at 0 a struct is [`Value::Deeper`].
    pub depth: u32,
    /// Elements of an array.
    pub elements: u64,
}

impl Default for Extent {
    /// All of it.
    fn default() -> Self {
        Extent {
            depth: DEEPEST,
            elements: u64::MAX,
        }
    }
}

/// Structs nest no deeper in C that anyone writes; no table has a struct that contains itself, but one that is damaged.
const DEEPEST: u32 = 64;
/// So many parts of one value are looked at: an array of 65,536 structs with dozens of members each. A type of a damaged table can
/// promise any number.
const MOST_PARTS: u64 = 1 << 22;
/// So many elements of an array may be unreadable one after the other; then the rest is not tried.
const MOST_FAULTS: u32 = 16;

/// The value of a type at an address.
pub fn value(memory: &Memory, ty: Type, address: u64, extent: Extent) -> Value {
    let mut reader = Reader {
        memory,
        elements: extent.elements,
        left: MOST_PARTS,
        within: Vec::new(),
    };
    reader.value(ty, address, None, extent.depth.min(DEEPEST))
}

/// The value of a member of a struct that lies at `address`: bit-fields can't be had otherwise.
pub fn member(memory: &Memory, member: Member, address: u64, extent: Extent) -> Value {
    let mut reader = Reader {
        memory,
        elements: extent.elements,
        left: MOST_PARTS,
        within: Vec::new(),
    };
    reader.member(member, address, None, extent.depth.min(DEEPEST))
}

/// The value of a struct or union at an address.
pub fn aggregate(memory: &Memory, item: Item, address: u64, extent: Extent) -> Value {
    let mut reader = Reader {
        memory,
        elements: extent.elements,
        left: MOST_PARTS,
        within: Vec::new(),
    };
    reader.aggregate(item, address, None, extent.depth.min(DEEPEST))
}

struct Reader<'m> {
    memory: &'m Memory,
    elements: u64,
    left: u64,
    /// The structs around what is read, by their numbers: in C none is in itself.
    within: Vec<u32>,
}

impl<'m> Reader<'m> {
    /// `known` are the bytes, if all of what it is a part of could be read.
    fn value(&mut self, ty: Type, address: u64, known: Option<&'m [u8]>, depth: u32) -> Value {
        let Some(left) = self.left.checked_sub(1) else {
            return Value::Deeper;
        };
        self.left = left;
        match ty.stripped() {
            Shape::Item(item) if item.kind != Kind::Enum => {
                self.aggregate(item, address, known, depth)
            }
            Shape::Array(element, Some(count)) => self.array(element, count, address, known, depth),
            shape => {
                let Some(size) = ty.size().filter(|size| *size > 0) else {
                    return Value::Nothing;
                };
                match self.bytes(address, size, known) {
                    Ok(bytes) => self.scalar(shape, bytes),
                    Err(fault) => Value::Fault(fault),
                }
            }
        }
    }

    fn bytes(&self, address: u64, size: u64, known: Option<&'m [u8]>) -> Result<&'m [u8], Fault> {
        if let Some(bytes) = known {
            return Ok(bytes);
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        self.memory.bytes(self.memory.wrap(address), size)
    }

    fn aggregate(
        &mut self,
        item: Item,
        address: u64,
        known: Option<&'m [u8]>,
        depth: u32,
    ) -> Value {
        let Some(depth) = depth.checked_sub(1) else {
            return Value::Deeper;
        };
        if self.within.contains(&item.number()) {
            return Value::Nothing;
        }
        self.within.push(item.number());
        // Where not all of it can be read, its members may be one by one.
        let bytes = self.bytes(address, item.size, known).ok();
        let fields = item
            .members()
            // Unnamed bit-fields are padding.
            .filter(|member| !member.name.is_empty() || member.ty.aggregate().is_some())
            .map(|member| Field {
                name: member.name,
                ty: member.ty,
                address: self.memory.wrap(address.wrapping_add(member.offset)),
                value: self.member(member, address, bytes, depth),
            })
            .collect();
        self.within.pop();
        Value::Struct(fields)
    }

    /// `known` are the bytes of the struct.
    fn member(
        &mut self,
        member: Member,
        address: u64,
        known: Option<&'m [u8]>,
        depth: u32,
    ) -> Value {
        let (start, size) = match member.bits {
            None => (member.offset, member.ty.size().unwrap_or(0)),
            Some((first, width)) => {
                let start = first / 8;
                (start, (first % 8).saturating_add(width).div_ceil(8))
            }
        };
        let part = match known {
            None => None,
            Some(bytes) => {
                let part = usize::try_from(start)
                    .ok()
                    .and_then(|start| bytes.get(start..))
                    .and_then(|rest| rest.get(..usize::try_from(size).ok()?));
                match part {
                    Some(part) => Some(part),
                    // What a struct promises beyond its own end is not there.
                    None => return Value::Nothing,
                }
            }
        };
        let address = address.wrapping_add(start);
        let Some((first, width)) = member.bits else {
            return self.value(member.ty, address, part, depth);
        };
        if width == 0 || width > 64 {
            return Value::Nothing;
        }
        let bytes = match self.bytes(address, size, part) {
            Ok(bytes) => bytes,
            Err(fault) => return Value::Fault(fault),
        };
        let value = bits::field(bytes, first % 8, width, self.memory.kernel().big_endian);
        match member.ty.stripped() {
            Shape::Base(_, _, Encoding::Signed) => {
                Value::Signed(bits::sign_extended(value, width).into())
            }
            Shape::Base(_, _, Encoding::Bool) => Value::Bool(value != 0),
            Shape::Item(item) if is_signed(item) => {
                Value::Enum(item, bits::sign_extended(value, width).into())
            }
            Shape::Item(item) => Value::Enum(item, value.into()),
            _ => Value::Unsigned(value.into()),
        }
    }

    fn array(
        &mut self,
        element: Type,
        count: u64,
        address: u64,
        known: Option<&'m [u8]>,
        depth: u32,
    ) -> Value {
        let Some(stride) = element.size().filter(|size| *size > 0) else {
            return Value::Array(Vec::new(), count);
        };
        let is_text = matches!(element.stripped(), Shape::Base(_, 1, Encoding::Char));
        let wanted = if is_text {
            count
        } else {
            count.min(self.elements)
        };
        let bytes = self
            .bytes(address, stride.saturating_mul(wanted), known)
            .ok();
        if is_text {
            // Of a text that is not all there, what is there is shown.
            let bytes = bytes.or_else(|| {
                let most = usize::try_from(wanted).unwrap_or(usize::MAX);
                self.memory
                    .run(self.memory.wrap(address), most.min(4096))
                    .ok()
            });
            return match bytes {
                Some(bytes) => Value::Text(bytes.to_vec()),
                None => match self.bytes(address, 1, None) {
                    Err(fault) => Value::Fault(fault),
                    Ok(_) => Value::Nothing,
                },
            };
        }
        let mut elements = Vec::new();
        let mut faults = 0;
        for index in 0..wanted {
            if self.left == 0 || faults > MOST_FAULTS {
                break;
            }
            let start = index.saturating_mul(stride);
            let part = match bytes {
                None => None,
                Some(bytes) => {
                    let part = usize::try_from(start)
                        .ok()
                        .and_then(|start| bytes.get(start..))
                        .and_then(|rest| rest.get(..usize::try_from(stride).ok()?));
                    if part.is_none() {
                        break;
                    }
                    part
                }
            };
            let value = self.value(element, address.wrapping_add(start), part, depth);
            faults = match value {
                Value::Fault(_) => faults + 1,
                _ => 0,
            };
            elements.push(value);
        }
        Value::Array(elements, count)
    }

    fn scalar(&self, shape: Shape, bytes: &[u8]) -> Value {
        let big_endian = self.memory.kernel().big_endian;
        let number = |bytes: &[u8]| bits::uint(bytes, big_endian);
        match (shape, bytes.len()) {
            (Shape::Pointer(_), ..=8) => Value::Pointer(number(bytes)),
            (Shape::Item(item), 1..=8) if is_signed(item) => {
                let value = bits::sign_extended(number(bytes), bytes.len() as u64 * 8);
                Value::Enum(item, value.into())
            }
            (Shape::Item(item), 1..=8) => Value::Enum(item, number(bytes).into()),
            (Shape::Base(_, _, Encoding::Signed), 1..=8) => {
                Value::Signed(bits::sign_extended(number(bytes), bytes.len() as u64 * 8).into())
            }
            (Shape::Base(_, _, Encoding::Unsigned), 1..=8) => Value::Unsigned(number(bytes).into()),
            (Shape::Base(_, _, encoding @ (Encoding::Signed | Encoding::Unsigned)), 16) => {
                let (low, high) = match big_endian {
                    false => (number(&bytes[..8]), number(&bytes[8..])),
                    true => (number(&bytes[8..]), number(&bytes[..8])),
                };
                let value = u128::from(high) << 64 | u128::from(low);
                if encoding == Encoding::Signed {
                    Value::Signed(value.cast_signed())
                } else {
                    Value::Unsigned(value)
                }
            }
            (Shape::Base(_, _, Encoding::Bool), 1..=8) => Value::Bool(number(bytes) != 0),
            (Shape::Base(_, _, Encoding::Char), 1) => Value::Char(bytes[0]),
            (Shape::Base(_, _, Encoding::Float), 4) => {
                Value::Float(f32::from_bits(number(bytes) as u32).into())
            }
            (Shape::Base(_, _, Encoding::Float), 8) => Value::Float(f64::from_bits(number(bytes))),
            _ => Value::Bytes(bytes.to_vec()),
        }
    }
}

/// Whether an enum has negative values: as compilers decide of what sign its number is.
fn is_signed(item: Item) -> bool {
    item.enumerators().any(|(_, value)| value < 0)
}

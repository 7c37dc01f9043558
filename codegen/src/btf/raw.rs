//! The tables of one BTF blob: every type, checked and flat.
//!
//! The format is that of the kernel's `Documentation/bpf/btf.rst` and `include/uapi/linux/btf.h`. A module's blob is split: its
//! types and strings are numbered on from those of the kernel's.

use std::ops::Range;

use super::Malformed;
use crate::model::Kind;

/// The id of a type. 0 is `void`.
pub type Id = u32;

const MAGIC: u16 = 0xeb9f;
/// The longest name that the kernel's own verifier lets pass (`KSYM_NAME_LEN`).
const LONGEST_NAME: usize = 512;

/// A type as BTF has it.
#[derive(Debug, Clone)]
pub enum Node {
    Int {
        size: u32,
        encoding: u8,
        /// Width and place within `size` bytes: less than all of it for a bit-field of the old kind.
        bits: u8,
        offset: u8,
    },
    Float {
        size: u32,
    },
    Pointer(Id),
    Qualified(&'static str, Id),
    Typedef(Id),
    /// An attribute of a type, which changes nothing in its layout.
    Tagged(Id),
    Array {
        element: Id,
        count: u32,
    },
    /// A struct or union. `parts` is a range of [`Blob::members`].
    Struct {
        kind: Kind,
        size: u32,
        parts: Range<usize>,
    },
    /// `parts` is a range of [`Blob::enumerators`].
    Enum {
        size: u32,
        parts: Range<usize>,
    },
    Declaration(Kind),
    /// `parts` is a range of [`Blob::parameters`], without the last one of a variadic function.
    Function {
        result: Id,
        parts: Range<usize>,
        variadic: bool,
    },
    Variable {
        ty: Id,
        external: bool,
    },
    /// `parts` is a range of [`Blob::places`].
    Section {
        parts: Range<usize>,
    },
    /// What says nothing of types: functions and annotations of declarations.
    Nothing,
}

/// A member of a struct or union.
#[derive(Debug, Clone, Copy)]
pub struct RawMember<'d> {
    pub name: &'d [u8],
    pub ty: Id,
    /// Bits from the start.
    pub offset: u32,
    /// Width of a bit-field of the new kind; 0 if it is none.
    pub bits: u32,
}

/// A variable's place within its section.
#[derive(Debug, Clone, Copy)]
pub struct RawPlace {
    pub variable: Id,
    pub offset: u32,
}

/// One blob's tables.
#[derive(Debug)]
pub struct Blob<'d> {
    pub big_endian: bool,
    /// The id of the first of `nodes`.
    pub first: Id,
    /// Name and type.
    pub nodes: Vec<(&'d [u8], Node)>,
    pub members: Vec<RawMember<'d>>,
    pub enumerators: Vec<(&'d [u8], i128)>,
    pub parameters: Vec<Id>,
    pub places: Vec<RawPlace>,
    strings: &'d [u8],
    /// Whether whoever wrote this knew that enums can be signed: before pahole 1.24, none was said to be.
    knows_signs: bool,
}

impl<'d> Blob<'d> {
    /// Reads the kernel's blob, or with `base` that of a module.
    pub fn parse(data: &'d [u8], base: Option<&Blob<'d>>) -> Result<Self, Malformed> {
        let magic = data
            .first_chunk::<2>()
            .ok_or(Malformed::Truncated { at: data.len() })?;
        let big_endian = match (u16::from_le_bytes(*magic), u16::from_be_bytes(*magic)) {
            (MAGIC, _) => false,
            (_, MAGIC) => true,
            (magic, _) => return Err(Malformed::Magic(magic)),
        };
        if base.is_some_and(|base| base.big_endian != big_endian) {
            return Err(Malformed::OtherByteOrder);
        }
        let mut header = Cursor {
            data,
            at: 2,
            big_endian,
        };
        let version = header.bytes(2)?[0];
        if version != 1 {
            return Err(Malformed::Version(version));
        }
        let length = header.u32()?;
        let [types_at, types_length] = [header.u32()?, header.u32()?];
        let [strings_at, strings_length] = [header.u32()?, header.u32()?];
        // What a longer header says besides is not needed to read types.
        let part = |offset: u32, size: u32| {
            let start = u64::from(length) + u64::from(offset);
            let end = start + u64::from(size);
            match (usize::try_from(start), usize::try_from(end)) {
                (Ok(start), Ok(end)) if length >= 24 => data.get(start..end),
                _ => None,
            }
            .ok_or(Malformed::Truncated { at: data.len() })
        };
        let types = part(types_at, types_length)?;
        let mut blob = Blob {
            big_endian,
            first: base.map_or(1, Blob::end),
            nodes: Vec::new(),
            members: Vec::new(),
            enumerators: Vec::new(),
            parameters: Vec::new(),
            places: Vec::new(),
            strings: part(strings_at, strings_length)?,
            knows_signs: false,
        };
        let mut cursor = Cursor {
            data: types,
            at: 0,
            big_endian,
        };
        blob.knows_signs =
            base.is_some_and(|base| base.knows_signs) || knows_signs(cursor.clone())?;
        while cursor.at < types.len() {
            let node = blob.node(&mut cursor, base)?;
            blob.nodes.push(node);
        }
        Ok(blob)
    }

    /// The first id behind those of this blob.
    pub fn end(&self) -> Id {
        self.first.saturating_add(self.nodes.len() as u32)
    }

    fn node(
        &mut self,
        cursor: &mut Cursor<'d>,
        base: Option<&Blob<'d>>,
    ) -> Result<(&'d [u8], Node), Malformed> {
        let id = self.end();
        let at = cursor.at;
        let Header {
            name,
            kind,
            flag,
            length,
            size,
        } = Header::read(cursor)?;
        let name = self.string(name, base, id)?;
        let node = match kind {
            1 => {
                let encoding = cursor.u32()?;
                Node::Int {
                    size,
                    encoding: (encoding >> 24) as u8 & 0xf,
                    bits: encoding as u8,
                    offset: (encoding >> 16) as u8,
                }
            }
            2 => Node::Pointer(size),
            3 => {
                let element = cursor.u32()?;
                let _index = cursor.u32()?;
                let count = cursor.u32()?;
                Node::Array { element, count }
            }
            4 | 5 => {
                let start = self.members.len();
                for _ in 0..length {
                    let name = cursor.u32()?;
                    let ty = cursor.u32()?;
                    let offset = cursor.u32()?;
                    let (offset, bits) = match flag {
                        true => (offset & 0xff_ffff, offset >> 24),
                        false => (offset, 0),
                    };
                    let name = self.string(name, base, id)?;
                    self.members.push(RawMember {
                        name,
                        ty,
                        offset,
                        bits,
                    });
                }
                Node::Struct {
                    kind: if kind == 4 { Kind::Struct } else { Kind::Union },
                    size,
                    parts: start..self.members.len(),
                }
            }
            // `enum foo;`, which gcc allows.
            6 | 19 if length == 0 => Node::Declaration(Kind::Enum),
            6 => {
                let start = self.enumerators.len();
                for _ in 0..length {
                    let name = cursor.u32()?;
                    let value = cursor.u32()?;
                    let name = self.string(name, base, id)?;
                    let value = match flag || !self.knows_signs {
                        true => i128::from(value.cast_signed()),
                        false => i128::from(value),
                    };
                    self.enumerators.push((name, value));
                }
                Node::Enum {
                    size,
                    parts: start..self.enumerators.len(),
                }
            }
            7 => Node::Declaration(if flag { Kind::Union } else { Kind::Struct }),
            8 => Node::Typedef(size),
            9 => Node::Qualified("volatile", size),
            10 => Node::Qualified("const", size),
            11 => Node::Qualified("restrict", size),
            12 => Node::Nothing,
            13 => {
                let start = self.parameters.len();
                let mut last = (0, 0);
                for _ in 0..length {
                    last = (cursor.u32()?, cursor.u32()?);
                    self.parameters.push(last.1);
                }
                let variadic = length != 0 && last == (0, 0);
                if variadic {
                    self.parameters.pop();
                }
                Node::Function {
                    result: size,
                    parts: start..self.parameters.len(),
                    variadic,
                }
            }
            14 => Node::Variable {
                ty: size,
                external: cursor.u32()? != 0,
            },
            15 => {
                let start = self.places.len();
                for _ in 0..length {
                    let variable = cursor.u32()?;
                    let offset = cursor.u32()?;
                    let _size = cursor.u32()?;
                    self.places.push(RawPlace { variable, offset });
                }
                Node::Section {
                    parts: start..self.places.len(),
                }
            }
            16 => Node::Float { size },
            17 => {
                let _component = cursor.u32()?;
                Node::Nothing
            }
            18 => Node::Tagged(size),
            19 => {
                let start = self.enumerators.len();
                for _ in 0..length {
                    let name = cursor.u32()?;
                    let low = u64::from(cursor.u32()?);
                    let value = u64::from(cursor.u32()?) << 32 | low;
                    let name = self.string(name, base, id)?;
                    let value = match flag {
                        true => i128::from(value.cast_signed()),
                        false => i128::from(value),
                    };
                    self.enumerators.push((name, value));
                }
                Node::Enum {
                    size,
                    parts: start..self.enumerators.len(),
                }
            }
            kind => return Err(Malformed::Kind { id, kind, at }),
        };
        Ok((name, node))
    }

    fn string(&self, offset: u32, base: Option<&Blob<'d>>, id: Id) -> Result<&'d [u8], Malformed> {
        let bad = Malformed::Name { id, offset };
        let base = base.map_or(&[][..], |base| base.strings);
        let offset = offset as usize;
        let rest = match offset.checked_sub(base.len()) {
            None => &base[offset..],
            // A blob without names may have no strings at all.
            Some(0) if offset == 0 && self.strings.is_empty() => return Ok(b""),
            Some(offset) => self.strings.get(offset..).ok_or(bad)?,
        };
        let end = rest.iter().take(LONGEST_NAME).position(|&byte| byte == 0);
        Ok(&rest[..end.ok_or(bad)?])
    }
}

/// What each type starts with (`struct btf_type`).
struct Header {
    name: u32,
    kind: u32,
    flag: bool,
    length: u32,
    /// The size, or the type that is referred to.
    size: u32,
}

impl Header {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let name = cursor.u32()?;
        let info = cursor.u32()?;
        Ok(Header {
            name,
            kind: info >> 24 & 0x1f,
            flag: info >> 31 != 0,
            length: info & 0xffff,
            size: cursor.u32()?,
        })
    }
}

/// Whether any enum is said to be signed, or has 64 bits: the kernel got both at once, and so did pahole.
fn knows_signs(mut cursor: Cursor<'_>) -> Result<bool, Malformed> {
    let mut id = 0;
    while cursor.at < cursor.data.len() {
        let at = cursor.at;
        let Header {
            kind, flag, length, ..
        } = Header::read(&mut cursor)?;
        id += 1;
        if kind == 19 || kind == 6 && flag {
            return Ok(true);
        }
        let length = length as usize;
        let behind = match kind {
            1 | 14 | 17 => 4,
            3 => 12,
            4 | 5 | 15 => 12 * length,
            6 | 13 => 8 * length,
            2 | 7..=12 | 16 | 18 => 0,
            kind => return Err(Malformed::Kind { id, kind, at }),
        };
        cursor.bytes(behind)?;
    }
    Ok(false)
}

#[derive(Clone)]
struct Cursor<'d> {
    data: &'d [u8],
    at: usize,
    big_endian: bool,
}

impl<'d> Cursor<'d> {
    fn bytes(&mut self, count: usize) -> Result<&'d [u8], Malformed> {
        let bytes = self
            .at
            .checked_add(count)
            .and_then(|end| self.data.get(self.at..end))
            .ok_or(Malformed::Truncated { at: self.at })?;
        self.at += count;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        let bytes = self.bytes(4)?;
        let bytes = [bytes[0], bytes[1], bytes[2], bytes[3]];
        Ok(match self.big_endian {
            true => u32::from_be_bytes(bytes),
            false => u32::from_le_bytes(bytes),
        })
    }
}

//! The static description that each struct and enum carries: what `Debug` and the `struct` command print by.

use std::fmt;

use crate::bits;
use crate::memory::Memory;
use crate::view::{Part, View};

/// Name, size and members of a struct or union.
///
/// The members are a text, which is parsed when it is needed: a kernel has tens of thousands of them, and the compiler takes
/// a string literal for a small part of what a nested expression costs.
#[derive(Debug)]
pub struct StructInfo {
    /// Its name in C, such as `struct task_struct`.
    pub name: &'static str,
    /// Bytes.
    pub size: usize,
    /// Members in order, those of anonymous members among them: for each `name offset size format type;`. Bytes count for
    /// offset and size; [`Format`] says what the format may be; the type is the one in C, and may have spaces.
    pub members: &'static str,
    /// The structs and unions that formats refer to by number.
    pub structs: &'static [&'static StructInfo],
    /// The enums that formats refer to by number.
    pub enums: &'static [&'static EnumInfo],
}

/// A member of a struct or union.
#[derive(Debug, Clone, Copy)]
pub struct MemberInfo {
    /// Its name in C.
    pub name: &'static str,
    /// Bytes from the start of the struct.
    pub offset: usize,
    /// Bytes.
    pub size: usize,
    /// Its type in C.
    pub ty: &'static str,
    /// How to show it.
    pub format: Format,
}

/// How a value is shown.
#[derive(Debug, Clone, Copy)]
pub enum Format {
    /// `i`: a number in two's complement.
    Signed,
    /// `u`: an unsigned number.
    Unsigned,
    /// `b`: `_Bool`.
    Bool,
    /// `f`: IEEE floating point.
    Float,
    /// `p`: an address.
    Pointer,
    /// `t`: a `char` array.
    Text,
    /// `s0`, `s1`, ...: a struct or union, by its number in [`StructInfo::structs`].
    Struct(&'static StructInfo),
    /// `e0`, `e1`, ...: an enum, by its number in [`StructInfo::enums`].
    Enum(&'static EnumInfo),
    /// `U8:3`, `I8:3`: a bit-field, unsigned or signed: offset in bits from the start of the struct, and width.
    Bits(u64, u64, bool),
    /// `a4:u`, `a16:a4:u`: an array: the size of an element, and its format.
    Array {
        /// Bytes of an element.
        stride: usize,
        /// The element's format.
        element: &'static str,
        /// What the element's format refers to.
        owner: &'static StructInfo,
    },
    /// `x`, and anything else: bytes of which no more is known.
    Bytes,
}

/// Name and constants of an enum.
#[derive(Debug)]
pub struct EnumInfo {
    /// Its name in C.
    pub name: &'static str,
    /// Its constants in order: for each `name=value;`.
    pub values: &'static str,
}

impl EnumInfo {
    /// The constants in order. A 64-bit enum has values beyond those of `i64`.
    pub fn constants(&self) -> impl Iterator<Item = (&'static str, i128)> + use<> {
        self.values
            .split_terminator(';')
            .filter_map(|row| row.split_once('='))
            .filter_map(|(name, value)| Some((name, value.parse().ok()?)))
    }

    /// The first constant with this value.
    pub fn name_of(&self, value: i128) -> Option<&'static str> {
        self.constants()
            .find(|(_, known)| *known == value)
            .map(|(name, _)| name)
    }
}

impl StructInfo {
    /// The members in order.
    pub fn members(&'static self) -> impl Iterator<Item = MemberInfo> {
        self.members
            .split_terminator(';')
            .filter_map(|row| self.parse(row))
    }

    /// The member of that name.
    pub fn member(&'static self, name: &str) -> Option<MemberInfo> {
        self.members().find(|member| member.name == name)
    }

    fn parse(&'static self, row: &'static str) -> Option<MemberInfo> {
        let mut fields = row.splitn(5, ' ');
        Some(MemberInfo {
            name: fields.next()?,
            offset: fields.next()?.parse().ok()?,
            size: fields.next()?.parse().ok()?,
            format: self.format(fields.next()?),
            ty: fields.next()?,
        })
    }

    fn format(&'static self, text: &'static str) -> Format {
        self.known_format(text).unwrap_or(Format::Bytes)
    }

    fn known_format(&'static self, text: &'static str) -> Option<Format> {
        let rest = text.get(1..)?;
        Some(match text.as_bytes().first()? {
            b'i' => Format::Signed,
            b'u' => Format::Unsigned,
            b'b' => Format::Bool,
            b'f' => Format::Float,
            b'p' => Format::Pointer,
            b't' => Format::Text,
            b's' => Format::Struct(self.structs.get(rest.parse::<usize>().ok()?)?),
            b'e' => Format::Enum(self.enums.get(rest.parse::<usize>().ok()?)?),
            kind @ (b'U' | b'I') => {
                let (offset, size) = rest.split_once(':')?;
                Format::Bits(offset.parse().ok()?, size.parse().ok()?, *kind == b'I')
            }
            b'a' => {
                let (stride, element) = rest.split_once(':')?;
                Format::Array {
                    stride: stride.parse().ok()?,
                    element,
                    owner: self,
                }
            }
            _ => return None,
        })
    }

    /// The offset of the member of that name. In a constant expression, a name that is not there is a compile error.
    pub const fn offset_of(&self, name: &str) -> usize {
        match self.find_offset(name) {
            Some(offset) => offset,
            None => panic!("the struct has no member of this name"),
        }
    }

    /// The offset of the member of that name, if there is one.
    pub const fn find_offset(&self, name: &str) -> Option<usize> {
        let (text, name) = (self.members.as_bytes(), name.as_bytes());
        let mut at = 0;
        while at < text.len() {
            let mut matched = 0;
            while matched < name.len()
                && at + matched < text.len()
                && text[at + matched] == name[matched]
            {
                matched += 1;
            }
            if matched == name.len() && at + matched < text.len() && text[at + matched] == b' ' {
                return Some(number(text, at + matched + 1));
            }
            while at < text.len() && text[at] != b';' {
                at += 1;
            }
            at += 1;
        }
        None
    }
}

/// The decimal number that starts there.
const fn number(text: &[u8], mut at: usize) -> usize {
    let mut value = 0;
    while at < text.len() && text[at].is_ascii_digit() {
        value = value * 10 + (text[at] - b'0') as usize;
        at += 1;
    }
    value
}

/// The offset of a member by its C name, as a constant; a compile error if the struct has no such member.
///
/// ```text
/// let offset = kstruct::offset_of!(task_struct, pid);
/// ```
#[macro_export]
macro_rules! offset_of {
    ($($struct:ident)::+, $member:ident) => {
        const {
            <$($struct)::+<'static> as $crate::View<'static>>::INFO.offset_of(stringify!($member))
        }
    };
}

/// Shows a struct's members. Generated `Debug` implementations call it.
pub fn debug<'m, T: View<'m>>(view: T, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    members(T::INFO, view.part(), f)
}

fn members(info: &'static StructInfo, part: Part<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let value = Value {
        memory: part.memory,
        format: Format::Struct(info),
        bytes: part.bytes.unwrap_or_default(),
    };
    fmt::Debug::fmt(&value, f)
}

/// Bytes and how to show them.
struct Value<'m> {
    memory: &'m Memory,
    format: Format,
    bytes: &'m [u8],
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let big_endian = self.memory.kernel().big_endian;
        let short = &self.bytes[..self.bytes.len().min(8)];
        let number = || bits::uint(short, big_endian);
        let signed = || bits::sign_extended(number(), short.len() as u64 * 8);
        match self.format {
            Format::Signed => write!(f, "{}", signed()),
            Format::Unsigned => write!(f, "{}", number()),
            Format::Bool => write!(f, "{}", number() != 0),
            Format::Float => match short.len() {
                4 => write!(f, "{}", f32::from_bits(number() as u32)),
                8 => write!(f, "{}", f64::from_bits(number())),
                _ => write!(f, "{:02x?}", self.bytes),
            },
            Format::Pointer => {
                write!(f, "{:#x}", number())?;
                match self.memory.function_name(number()) {
                    Some(name) => write!(f, " <{name}>"),
                    None => Ok(()),
                }
            }
            Format::Text => {
                let end = self.bytes.iter().position(|byte| *byte == 0);
                let text = &self.bytes[..end.unwrap_or(self.bytes.len())];
                write!(f, "\"{}\"", text.escape_ascii())
            }
            Format::Struct(info) => {
                let mut out = f.debug_struct(info.name);
                for member in info.members() {
                    let bytes = match member.format {
                        Format::Bits(..) => Some(self.bytes),
                        _ => member
                            .offset
                            .checked_add(member.size)
                            .and_then(|end| self.bytes.get(member.offset..end)),
                    };
                    if let Some(bytes) = bytes {
                        out.field(
                            member.name,
                            &Value {
                                memory: self.memory,
                                format: member.format,
                                bytes,
                            },
                        );
                    }
                }
                out.finish()
            }
            Format::Enum(info) => match info
                .name_of(signed().into())
                .or_else(|| info.name_of(number().into()))
            {
                Some(name) => f.write_str(name),
                None => write!(f, "{}", signed()),
            },
            Format::Bits(offset, size, is_signed) => {
                let value = bits::field(self.bytes, offset, size, big_endian);
                if is_signed {
                    write!(f, "{}", bits::sign_extended(value, size))
                } else {
                    write!(f, "{value}")
                }
            }
            Format::Array {
                stride,
                element,
                owner,
            } => {
                let format = owner.format(element);
                let elements = self.bytes.chunks_exact(stride.max(1));
                f.debug_list()
                    .entries(elements.map(|bytes| Value {
                        memory: self.memory,
                        format,
                        bytes,
                    }))
                    .finish()
            }
            Format::Bytes => write!(f, "{:02x?}", self.bytes),
        }
    }
}

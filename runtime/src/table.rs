//! The static description that each struct and enum carries: what `Debug` and the `struct` command print by.

use std::fmt;

use crate::bits;
use crate::memory::Memory;
use crate::view::{RawBytes, View};

/// Name, size and members of a struct or union.
#[derive(Debug)]
pub struct StructInfo {
    /// Its name in C, such as `struct task_struct`.
    pub name: &'static str,
    /// Bytes.
    pub size: usize,
    /// Members in order, those of anonymous members among them.
    pub members: &'static [MemberInfo],
}

/// A member of a struct or union: its name in C, its offset and size in bytes, its type in C, and how to show it.
///
/// The fields have no names because there are tens of thousands of these in a kernel's bindings; see the methods.
#[derive(Debug)]
pub struct MemberInfo(
    pub &'static str,
    pub usize,
    pub usize,
    pub &'static str,
    pub Format,
);

impl MemberInfo {
    /// Its name in C.
    pub const fn name(&self) -> &'static str {
        self.0
    }

    /// Bytes from the start of the struct.
    pub const fn offset(&self) -> usize {
        self.1
    }

    /// Bytes.
    pub const fn size(&self) -> usize {
        self.2
    }

    /// Its type in C.
    pub const fn ty(&self) -> &'static str {
        self.3
    }

    /// How to show it.
    pub const fn format(&self) -> Format {
        self.4
    }
}

/// How a value is shown.
#[derive(Debug, Clone, Copy)]
pub enum Format {
    /// A number in two's complement.
    Signed,
    /// An unsigned number.
    Unsigned,
    /// `_Bool`.
    Bool,
    /// IEEE floating point.
    Float,
    /// An address.
    Pointer,
    /// A `char` array.
    Text,
    /// A struct or union.
    Struct(&'static StructInfo),
    /// An enum.
    Enum(&'static EnumInfo),
    /// A bit-field: offset in bits from the start of the struct, width, and whether it is signed.
    Bits(u64, u64, bool),
    /// An array: how each element is shown, and its size.
    Array(&'static Format, usize),
    /// Bytes of which no more is known.
    Bytes,
}

/// Name and constants of an enum.
#[derive(Debug)]
pub struct EnumInfo {
    /// Its name in C.
    pub name: &'static str,
    /// Its constants in order.
    pub values: &'static [(&'static str, i64)],
}

impl EnumInfo {
    /// The first constant with this value.
    pub fn name_of(&self, value: i64) -> Option<&'static str> {
        self.values
            .iter()
            .find(|(_, known)| *known == value)
            .map(|(name, _)| *name)
    }
}

impl StructInfo {
    /// The member of that name.
    pub fn member(&self, name: &str) -> Option<&'static MemberInfo> {
        self.members.iter().find(|member| member.name() == name)
    }

    /// The offset of the member of that name. In a constant expression, a name that is not there is a compile error.
    pub const fn offset_of(&self, name: &str) -> usize {
        let mut index = 0;
        while index < self.members.len() {
            if same(self.members[index].name(), name) {
                return self.members[index].offset();
            }
            index += 1;
        }
        panic!("the struct has no member of this name")
    }
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut index = 0;
    while index < a.len() {
        if a[index] != b[index] {
            return false;
        }
        index += 1;
    }
    true
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

/// Shows a view's members. Generated `Debug` implementations call it.
pub fn debug<'m, T: View<'m>>(view: T, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let raw = view.raw();
    let value = Value {
        memory: raw.memory(),
        format: Format::Struct(T::INFO),
        bytes: raw.bytes(),
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
                for member in info.members {
                    let (bytes, format) = match member.format() {
                        Format::Bits(..) => (Some(self.bytes), member.format()),
                        format => (
                            self.bytes
                                .get(member.offset()..member.offset() + member.size()),
                            format,
                        ),
                    };
                    if let Some(bytes) = bytes {
                        out.field(
                            member.name(),
                            &Value {
                                memory: self.memory,
                                format,
                                bytes,
                            },
                        );
                    }
                }
                out.finish()
            }
            Format::Enum(info) => match info
                .name_of(signed())
                .or_else(|| info.name_of(number().cast_signed()))
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
            Format::Array(format, size) => f
                .debug_list()
                .entries(self.bytes.chunks_exact(size.max(1)).map(|bytes| Value {
                    memory: self.memory,
                    format: *format,
                    bytes,
                }))
                .finish(),
            Format::Bytes => write!(f, "{:02x?}", self.bytes),
        }
    }
}

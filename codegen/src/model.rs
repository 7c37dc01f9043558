//! The types and symbols of one kernel as plain data.
//!
//! This is what stands between the readers (DWARF) and the writer (Rust). It knows nothing of gimli and nothing of
//! Rust's syntax. Everything in it is in an order that depends on the input only, never on threads or hashing.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// All that is known of one kernel.
#[derive(Debug, Default)]
pub struct Model {
    /// Which kernel this is.
    pub kernel: Kernel,
    /// The modules whose types and variables are in it too, sorted by name.
    pub modules: Vec<Module>,
    /// What else was asked for, so that it can be had again.
    pub asked: Asked,
    /// Structs, unions and enums, each once. An [`ItemId`] is an index into it.
    pub items: Vec<Item>,
    /// Typedefs, sorted by name.
    pub typedefs: Vec<Typedef>,
    /// Global and file-static variables that have a type and an address, sorted by name.
    pub variables: Vec<Variable>,
    /// Functions by address, from the ELF symbol table.
    pub functions: Vec<Function>,
    /// What the debug information held that could not be understood.
    pub problems: Problems,
}

/// The identity of a kernel and the properties of its machine.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// The release, as `uname -r` prints it: the third word of the banner.
    pub release: String,
    /// The contents of the GNU build-id note; empty where the kernel has none (2.6.9).
    pub build_id: Vec<u8>,
    /// `linux_banner`, without its newline.
    pub banner: String,
    /// Where the banner's text was linked.
    pub banner_address: Option<u64>,
    /// ELF's `e_machine`.
    pub machine: u16,
    /// Bytes in a pointer: 4 or 8.
    pub pointer_size: u8,
    /// Whether the most significant byte comes first.
    pub big_endian: bool,
}

/// What bindings were asked for beside the kernel and modules by name. It is written into `index.json`, and read from there
/// when bindings are made anew.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// All modules that there are.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all_modules: bool,
    /// Files of modules that were named by their path.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub module_files: Vec<PathBuf>,
    /// Files whose types were added.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<PathBuf>,
    /// BTF instead of DWARF.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub btf: Option<AskedBtf>,
}

/// The files that say what BTF doesn't, and the BTF.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedBtf {
    /// The BTF, raw or in an ELF file.
    pub file: PathBuf,
    /// A list of addresses.
    pub system_map: Option<PathBuf>,
    /// A dump of the kernel.
    pub core: Option<PathBuf>,
}

/// A module that was read with the kernel.
#[derive(Debug, Default, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Module {
    /// As `lsmod` prints it: `nf_conntrack`.
    pub name: String,
    /// The contents of its GNU build-id note; empty if it has none.
    pub build_id: Vec<u8>,
}

/// Where a variable of a module lies: known before the module is loaded are the section and the offset in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct InModule {
    /// The module's name.
    pub module: Arc<str>,
    /// The section's name: `.data`, `.bss`, `.data..percpu`.
    pub section: Arc<str>,
}

/// Index of an [`Item`] in [`Model::items`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemId(pub u32);

impl ItemId {
    /// The id as an index into [`Model::items`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a C tag names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
}

/// Where something is declared: a path relative to the kernel's source tree, and a line. Empty and 0 when not known.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Such as `include/linux/sched.h`.
    pub file: Arc<str>,
    /// Counted from 1.
    pub line: u32,
}

/// A struct, union or enum.
#[derive(Debug, Clone)]
pub struct Item {
    /// What it is.
    pub kind: Kind,
    /// Its tag, or the typedef that names it; empty if it has neither.
    pub name: Arc<str>,
    /// Whether `name` is a typedef's (`atomic_t`) and not a tag's (`struct sock`).
    pub by_typedef: bool,
    /// Bytes.
    pub size: u64,
    /// Where it is declared.
    pub place: Place,
    /// Members in the order of their declaration; empty for an enum.
    pub members: Vec<Member>,
    /// Enumerators in the order of their declaration; empty for a struct or union.
    pub enumerators: Vec<Enumerator>,
}

impl Item {
    /// Its name in C: `struct sock`, `atomic_t`, or `struct {...}`.
    pub fn c_name(&self) -> String {
        match (self.name.is_empty(), self.by_typedef) {
            (true, _) => format!("{} {{...}}", self.kind.keyword()),
            (false, true) => self.name.to_string(),
            (false, false) => format!("{} {}", self.kind.keyword(), self.name),
        }
    }
}

/// A member of a struct or union.
#[derive(Debug, Clone)]
pub struct Member {
    /// Empty for an anonymous member, whose own members C lets one name directly.
    pub name: Arc<str>,
    /// Its type.
    pub ty: Type,
    /// Bytes from the start of the struct. For a bit-field, `bit_offset / 8`.
    pub offset: u64,
    /// Set for a bit-field.
    pub bits: Option<Bits>,
}

/// Where a bit-field lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bits {
    /// Bits from the start of the struct: from the least significant bit of the first byte on little-endian machines,
    /// from the most significant one on big-endian machines (DWARF 5, section 5.7.6).
    pub offset: u64,
    /// Width in bits.
    pub size: u64,
}

/// A named constant of an enum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enumerator {
    /// Its name.
    pub name: Arc<str>,
    /// Its value.
    pub value: i128,
}

/// A `typedef`.
#[derive(Debug, Clone)]
pub struct Typedef {
    /// The name it gives.
    pub name: Arc<str>,
    /// To what.
    pub target: Type,
    /// Where it is declared.
    pub place: Place,
}

/// A variable with an address.
#[derive(Debug, Clone)]
pub struct Variable {
    /// Its name in C; for a per-CPU variable of an old kernel without the prefix `per_cpu__`.
    pub name: Arc<str>,
    /// Its type.
    pub ty: Type,
    /// The address at which the kernel was linked; for a per-CPU variable the address in the template area; in a module the
    /// offset in the section.
    pub address: u64,
    /// The module and section that it is in; `None` for one of the kernel itself.
    pub module: Option<InModule>,
    /// Whether it lies in the per-CPU template area.
    pub per_cpu: bool,
    /// Whether other files can name it.
    pub external: bool,
    /// Where it is declared.
    pub place: Place,
}

/// A function's address and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Function {
    /// The address at which the kernel was linked.
    pub address: u64,
    /// Its name in the ELF symbol table.
    pub name: String,
}

/// How a base type's bits are to be read (DWARF 5, section 5.1, `DW_AT_encoding`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encoding {
    /// Two's complement.
    Signed,
    /// Unsigned.
    Unsigned,
    /// `_Bool`.
    Bool,
    /// IEEE floating point.
    Float,
    /// `char`, whatever its sign is: kernels from 6.2 on are built with `-funsigned-char`.
    Char,
    /// Anything else (complex, decimal): shown as bytes.
    Other,
}

/// A type as a member, variable or typedef has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Type {
    /// `void`
    Void,
    /// `int`, `char`, ...
    Base {
        /// The compiler's name of it, such as `long unsigned int`.
        name: Arc<str>,
        /// Bytes.
        size: u32,
        /// How to read it.
        encoding: Encoding,
    },
    /// `T *`
    Pointer(Box<Type>),
    /// `const T`, `volatile T`, ...: the keyword and the type.
    Qualified(&'static str, Box<Type>),
    /// A name for another type.
    Typedef(Arc<str>, Box<Type>),
    /// `T[count]`; `T[]` and `T[0]` have no count.
    Array(Box<Type>, Option<u64>),
    /// A function, as the target of a pointer.
    Function(Box<Prototype>),
    /// A struct, union or enum whose definition is known.
    Item(ItemId),
    /// A struct, union or enum that is only declared.
    Opaque(Kind, Arc<str>),
}

/// A function's type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Prototype {
    /// What it returns.
    pub result: Type,
    /// What it takes.
    pub parameters: Vec<Type>,
    /// Whether it ends in `...`.
    pub variadic: bool,
}

impl Type {
    /// The type without typedefs and qualifiers around it.
    pub fn stripped(&self) -> &Type {
        let mut ty = self;
        while let Type::Qualified(_, inner) | Type::Typedef(_, inner) = ty {
            ty = inner;
        }
        ty
    }
}

/// What the debug information held that could not be understood. All zero for a sound kernel.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Problems {
    /// References to a type that is not there.
    pub dangling: u64,
    /// Types that contain themselves, or are nested too deep to be C.
    pub recursive: u64,
    /// Members that lie outside their struct.
    pub outside: u64,
}

impl Problems {
    /// The sum of all counts.
    pub fn total(self) -> u64 {
        self.dangling + self.recursive + self.outside
    }
}

impl Model {
    /// The item that an id names.
    pub fn item(&self, id: ItemId) -> &Item {
        &self.items[id.index()]
    }

    /// Bytes that a value of this type takes; `None` where that is not known, or is more than `u64` holds.
    pub fn size_of(&self, ty: &Type) -> Option<u64> {
        match ty.stripped() {
            Type::Base { size, .. } => Some(u64::from(*size)),
            Type::Pointer(_) => Some(u64::from(self.kernel.pointer_size)),
            Type::Array(element, count) => self.size_of(element)?.checked_mul(count.unwrap_or(0)),
            Type::Item(id) => Some(self.item(*id).size),
            Type::Void | Type::Function(_) | Type::Opaque(..) => None,
            Type::Qualified(..) | Type::Typedef(..) => unreachable!("stripped"),
        }
    }
}

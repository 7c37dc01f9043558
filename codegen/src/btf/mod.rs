//! Reading BTF into a [`Model`]: the kernel's own description of its types, which distributions ship where they don't ship
//! DWARF.
//!
//! BTF is deduplicated already, yet holds the same struct more than once where two copies of it point to different things, and
//! two modules may each have the same struct. As for DWARF, two definitions of one name are the same type if they have the same
//! layout: what is embedded by value is compared in depth, and what is pointed to by name. A pointer leads to the
//! very type that BTF says, unless that is only declared.
//!
//! BTF doesn't know where anything is declared, nor the type of variables other than per-CPU ones.

mod files;
mod known;
mod merge;
mod raw;
mod symbols;

pub use files::{has_only_btf, identity, is_in, read_files, section};
pub use symbols::Symbols;

use crate::model::{Kernel, Model};

/// What is wrong with BTF.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// It doesn't start with 0xeb9f in either byte order.
    #[error("it is not BTF: it starts with {0:#06x} and not with 0xeb9f")]
    Magic(u16),
    /// A version that this reader doesn't know.
    #[error("BTF version {0} is not supported")]
    Version(u8),
    /// A module's BTF on that of a kernel for another kind of machine.
    #[error("its byte order is not that of the kernel's BTF")]
    OtherByteOrder,
    /// Something ends behind the end of the data.
    #[error("it is truncated at {at:#x}")]
    Truncated {
        /// Bytes from the start of the part that is too short.
        at: usize,
    },
    /// A kind of type that this reader doesn't know; what follows it can't be found.
    #[error("type {id} at {at:#x} is of kind {kind}, which is not supported")]
    Kind {
        /// The type's id.
        id: u32,
        /// Its kind.
        kind: u32,
        /// Bytes from the start of the types.
        at: usize,
    },
    /// A name that doesn't lie within the strings, or is longer than the 512 bytes that the kernel allows.
    #[error("the name at {offset:#x}, of type {id}, does not end or is too long")]
    Name {
        /// The id of the type that has the name.
        id: u32,
        /// Offset among the strings.
        offset: u32,
    },
}

/// A module's BTF.
#[derive(Debug, Clone, Copy)]
pub struct Module<'d> {
    /// The module's name.
    pub name: &'d str,
    /// The contents of its GNU build-id note; empty if that isn't known.
    pub build_id: &'d [u8],
    /// Its BTF, split from the kernel's.
    pub data: &'d [u8],
}

/// BTF that can't be read, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}malformed BTF: {what}", module.as_deref().map(|name| format!("module {name}: ")).unwrap_or_default())]
pub struct Error {
    /// The module; `None` for the kernel.
    pub module: Option<String>,
    /// What is wrong.
    pub what: Malformed,
}

/// Reads the kernel's BTF and that of modules, whose types merge with the kernel's where they are the same.
///
/// `kernel` says what BTF can't: the release, the build id, the machine and the size of a pointer; the byte order is that of
/// the BTF. `symbols` gives addresses, by name; of several symbols of one name none is taken for a variable. The
/// variables of modules are left out: they have no address before the module is loaded.
///
/// # Errors
///
/// Data that isn't BTF, is truncated, or has types of an unknown kind. References that lead nowhere are counted in
/// [`Model::problems`].
pub fn read(
    base: &[u8],
    modules: &[Module<'_>],
    kernel: Kernel,
    symbols: Symbols,
) -> Result<Model, Error> {
    let base = raw::Blob::parse(base, None).map_err(|what| Error { module: None, what })?;
    let mut sorted = modules.to_vec();
    sorted.sort_by_key(|module| module.name);
    let mut blobs = Vec::with_capacity(sorted.len());
    for module in &sorted {
        let blob = raw::Blob::parse(module.data, Some(&base)).map_err(|what| Error {
            module: Some(module.name.to_owned()),
            what,
        })?;
        blobs.push(blob);
    }
    let mut model = merge::merge(&base, &blobs, kernel.pointer_size, &symbols);
    model.kernel = Kernel {
        big_endian: base.big_endian,
        ..kernel
    };
    model.modules = sorted
        .iter()
        .map(|module| crate::model::Module {
            name: module.name.to_owned(),
            build_id: module.build_id.to_owned(),
        })
        .collect();
    symbols.add_to(&mut model);
    Ok(model)
}

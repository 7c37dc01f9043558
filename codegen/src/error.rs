use std::path::PathBuf;

/// What can go wrong on the way from a vmlinux to bindings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be opened, read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A directory or a device where a file was expected.
    #[error("{}: not a regular file", path.display())]
    NotAFile {
        /// What it is.
        path: PathBuf,
    },
    /// The file is not ELF, or not sound ELF.
    #[error("{}: {what}", path.display())]
    Elf {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The file has no `.debug_info`.
    #[error(
        "{}: it has no DWARF debug information (.debug_info is missing or empty); use the vmlinux of the kernel's debug package, such as linux-image-*-dbg or kernel-debuginfo",
        path.display()
    )]
    NoDebugInfo {
        /// The file.
        path: PathBuf,
    },
    /// The debug information is malformed.
    #[error("{}: malformed DWARF in the unit at .debug_info+{unit:#x}: {what}", path.display())]
    Dwarf {
        /// The file.
        path: PathBuf,
        /// Offset of the unit's header.
        unit: u64,
        /// What the parser said.
        what: String,
    },
    /// The BTF is malformed.
    #[error("{}: {error}", path.display())]
    Btf {
        /// The kernel's file.
        path: PathBuf,
        /// What is wrong, and in which module.
        error: crate::btf::Error,
    },
    /// The debug information uses a feature that kstruct can't read yet.
    #[error("{}: {what} is not supported", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The feature.
        what: &'static str,
    },
    /// A folder that holds something else than bindings: nothing is written there, as what doesn't belong is removed.
    #[error("{}: it is not empty and holds no bindings; nothing was written", path.display())]
    NotBindings {
        /// The folder.
        path: PathBuf,
    },
    /// The generated text is not Rust. This is a defect of kstruct, not of the input.
    #[error("defect in the code generator: module {module} does not parse: {what}")]
    Emit {
        /// The module of the output.
        module: String,
        /// What syn said.
        what: String,
    },
}

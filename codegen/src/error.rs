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
    /// The file has no `.debug_info`, names a separate debug file, and that isn't found.
    #[error(
        "{}: it has no DWARF debug information, and its separate debug file is not where it is looked for: {looked}; install the debug package, or give the path of the debug file",
        path.display()
    )]
    NoDebugFile {
        /// The file.
        path: PathBuf,
        /// Where its debug file was looked for, and why what was there was not taken.
        looked: String,
    },
    /// The debug information refers to an alternate file that isn't found.
    #[error(
        "{}: part of its debug information is in the alternate file {}, which is not where it is looked for: {looked}",
        path.display(),
        name.display()
    )]
    NoAlternateFile {
        /// The file.
        path: PathBuf,
        /// The alternate file's name, as `.gnu_debugaltlink` or `.debug_sup` gives it.
        name: PathBuf,
        /// Where it was looked for, and why what was there was not taken.
        looked: String,
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

//! The files that a process has open (fs/file.c).
#![cfg(any(
    all(
        kernel_has = "files_struct.fdt",
        kernel_has = "fdtable.max_fds",
        kernel_has = "fdtable.fd"
    ),
    all(kernel_has = "files_struct.max_fds", kernel_has = "files_struct.fd")
))]

use kernel::{file, files_struct};
use kstruct::{Fault, FaultKind, View as _};

/// A process has no more open files, whatever it is allowed (`sysctl_nr_open_max` is higher, but nothing comes near).
const MOST_FILES: usize = 1 << 24;

/// The open files by their number.
///
/// # Errors
///
/// The table can't be read. A file that can't be read is a fault in its place.
pub fn open_files(
    files: files_struct<'_>,
) -> Result<impl Iterator<Item = (u32, Result<file<'_>, Fault>)>, Fault> {
    // Before 2.6.14 the struct has itself what is in the table later.
    #[cfg(kernel_has = "files_struct.fdt")]
    let table = files.fdt().deref()?;
    #[cfg(not(kernel_has = "files_struct.fdt"))]
    let table = files;
    let most = usize::try_from(table.max_fds()).unwrap_or(usize::MAX);
    if most > MOST_FILES {
        return Err(Fault {
            address: table.addr(),
            kind: FaultKind::TooLarge,
        });
    }
    let slots = table.fd().array(most)?;
    Ok((0..)
        .zip(slots.iter())
        .filter(|(_, file)| !file.is_null())
        .map(|(number, file)| (number, file.deref())))
}

//! The files that a process has open (fs/file.c).
#![cfg(all(
    kernel_has = "files_struct.fdt",
    kernel_has = "fdtable.max_fds",
    kernel_has = "fdtable.fd"
))]

use kernel::{file, files_struct};
use kstruct::{Fault, FaultKind};

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
    let table = files.fdt().deref()?;
    let most = usize::try_from(table.max_fds()).unwrap_or(usize::MAX);
    if most > MOST_FILES {
        return Err(Fault {
            address: files.fdt().addr(),
            kind: FaultKind::TooLarge,
        });
    }
    let slots = table.fd().array(most)?;
    Ok((0..)
        .zip(slots.iter())
        .filter(|(_, file)| !file.is_null())
        .map(|(number, file)| (number, file.deref())))
}

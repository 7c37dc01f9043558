//! The files that a process has open (fs/file.c).
#![cfg(any(
    all(
        kernel_has = "files_struct.fdt",
        kernel_has = "fdtable.max_fds",
        kernel_has = "fdtable.fd"
    ),
    all(kernel_has = "files_struct.max_fds", kernel_has = "files_struct.fd")
))]

#[cfg(kernel_has = "files_struct.fdt")]
use kernel::fdtable;
use kernel::{file, files_struct};
use kstruct::{Fault, FaultKind, View as _};

/// A process has no more open files, whatever it is allowed (`sysctl_nr_open_max` is higher, but nothing comes near).
const MOST_FILES: usize = 1 << 24;

/// The open files by their number.
///
/// # Errors
///
/// The table can't be read. A file that can't be read is a fault in its place; a table whose length is not what it was made for is one in the
/// place of those that are left out.
pub fn open_files(
    files: files_struct<'_>,
) -> Result<impl Iterator<Item = (u32, Result<file<'_>, Fault>)>, Fault> {
    // Before 2.6.14 the struct has itself what is in the table later.
    #[cfg(kernel_has = "files_struct.fdt")]
    let table = files.fdt().deref()?;
    #[cfg(not(kernel_has = "files_struct.fdt"))]
    let table = files;
    #[cfg(kernel_has = "files_struct.fdt")]
    let (most, is_right) = length(files, table);
    #[cfg(not(kernel_has = "files_struct.fdt"))]
    let (most, is_right) = (
        usize::try_from(table.max_fds()).unwrap_or(usize::MAX),
        Ok(()),
    );
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
        .map(|(number, file)| (number, file.deref()))
        .chain(is_right.err().map(|fault| (most as u32, Err(fault)))))
}

/// How many files a table has, and whether that is what it was made for: otherwise it is the smaller of both, as memory behind a table may be
/// another one.
#[cfg(kernel_has = "files_struct.fdt")]
pub fn length(files: files_struct<'_>, table: fdtable<'_>) -> (usize, Result<(), Fault>) {
    let counted = usize::try_from(table.max_fds()).unwrap_or(usize::MAX);
    match made_for(files, table) {
        Some(made) if made != counted => {
            let fault = Fault {
                address: table.addr(),
                kind: FaultKind::Inconsistent,
            };
            (counted.min(made), Err(fault))
        }
        _ => (counted, Ok(())),
    }
}

/// For how many files a table was made, if that can be told: one that is part of its `struct files_struct` for a word of bits, and of others the
/// bits of what is open lie before those of what is closed by exec (`alloc_fdtable`, fs/file.c).
#[cfg(all(
    kernel_has = "fdtable.full_fds_bits",
    kernel_has = "files_struct.fdtab"
))]
fn made_for(files: files_struct<'_>, table: fdtable<'_>) -> Option<usize> {
    if table.addr() == files.fdtab().addr() {
        return Some(usize::from(kernel::KERNEL.pointer_size) * 8);
    }
    let closed = table.close_on_exec().addr();
    let bytes = closed.wrapping_sub(table.open_fds().addr());
    usize::try_from(bytes).ok()?.checked_mul(8)
}

#[cfg(all(
    kernel_has = "files_struct.fdt",
    not(all(
        kernel_has = "fdtable.full_fds_bits",
        kernel_has = "files_struct.fdtab"
    ))
))]
fn made_for(_: files_struct<'_>, _: fdtable<'_>) -> Option<usize> {
    None
}

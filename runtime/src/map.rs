//! The one place where a file is mapped.

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::Mmap;

/// Opens a regular file and maps it for reading; the second error is of one that can be opened and not be mapped.
pub(crate) fn map(path: &Path) -> io::Result<(File, io::Result<Mmap>)> {
    // To open a pipe is to wait for its other end.
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let file = File::open(path)?;
    // SAFETY: the map is read-only and private to this process, and no reference into it is mutable. A file that another
    // process cuts short while it is mapped ends this process with SIGBUS; it can't corrupt memory.
    let map = unsafe { Mmap::map(&file) };
    Ok((file, map))
}

/// A map of no file, for a dump that is not read through one.
pub(crate) fn nothing() -> io::Result<Mmap> {
    memmap2::MmapMut::map_anon(1)?.make_read_only()
}

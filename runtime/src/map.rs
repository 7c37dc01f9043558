//! The one place where a file is mapped, and fetched from before it is read.

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::{Mmap, MmapOptions};

/// Opens a regular file and maps it for reading; the second error is of one that can be opened and not be mapped.
pub(crate) fn map(path: &Path) -> io::Result<(File, io::Result<Mmap>)> {
    // To open a pipe is to wait for its other end.
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let file = File::open(path)?;
    let map = map_part(&file, 0, None);
    Ok((file, map))
}

/// Maps a file from an offset on: so many bytes, or what it has. A part that is mapped by itself is found sooner than in a map of the whole.
pub(crate) fn map_part(file: &File, offset: u64, length: Option<usize>) -> io::Result<Mmap> {
    let mut options = MmapOptions::new();
    options.offset(offset);
    if let Some(length) = length {
        options.len(length);
    }
    // SAFETY: the map is read-only and private to this process, and no reference into it is mutable. A file that another
    // process cuts short while it is mapped ends this process with SIGBUS; it can't corrupt memory.
    unsafe { options.map(file) }
}

/// Asks the CPU to fetch something into its caches. It is a hint: what isn't in memory yet stays where it is.
#[inline]
pub fn prefetch<T>(what: &[T]) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

        /// Bytes of a line of the cache.
        const LINE: usize = 64;
        for offset in (0..size_of_val(what)).step_by(LINE) {
            let line = what.as_ptr().wrapping_byte_add(offset);
            // SAFETY: the instruction never faults, whatever the address is, and reads nothing that the program sees.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) };
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = what;
}

/// A map of no file, for a dump that is not read through one.
pub(crate) fn nothing() -> io::Result<Mmap> {
    memmap2::MmapMut::map_anon(1)?.make_read_only()
}

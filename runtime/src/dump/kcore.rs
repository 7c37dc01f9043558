//! /proc/kcore: the memory of the kernel that this program runs under (fs/proc/kcore.c).
//!
//! It is an ELF file of virtual memory: the direct map, the kernel's image, vmalloc space, modules. Since Linux 4.11 the first
//! two have physical addresses, the others have -1; since 4.19 there is a VMCOREINFO note. Its size is that of the address space, and it
//! can't be mapped, so pages are read when they are needed first and kept (`store.rs`). What one page holds is therefore of one
//! moment and what two pages hold is not: links that changed in between may lead nowhere, which is a fault as in a damaged dump.
//!
//! The kernel itself gives zeros for pages that are offline, poisoned or owned by a hypervisor; that can't be told from memory that is
//! zero.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Where the running kernel's memory is.
pub const KCORE: &str = "/proc/kcore";

/// No notes are longer; those of /proc/kcore are a few pages.
pub(super) const MOST_NOTES: u64 = 1 << 20;

/// A file that is read piece by piece.
pub(super) struct Live {
    file: File,
}

impl Live {
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let mut first = [0];
        file.read_exact_at(&mut first, 0)?;
        Ok(Live { file })
    }

    /// `None` if the kernel doesn't give all of it.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> Option<()> {
        self.file.read_exact_at(into, offset).ok()
    }
}

/// What a user must know of why the running kernel's memory can't be read; nothing of other files.
pub(super) fn advice(path: &Path, error: &io::Error) -> &'static str {
    if path != Path::new(KCORE) {
        return "";
    }
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            " (the running kernel's memory is read by root only, with CAP_SYS_RAWIO, and by nobody where the kernel is locked down; to analyze a dump, give --core DUMP)"
        }
        io::ErrorKind::NotFound => {
            " (the running kernel was built without CONFIG_PROC_KCORE, so its memory can't be read; to analyze a dump, give --core DUMP)"
        }
        _ => {
            " (the running kernel's memory can't be read, as in a container that hides it; to analyze a dump, give --core DUMP)"
        }
    }
}

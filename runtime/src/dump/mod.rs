//! Memory dumps: which physical memory a file holds, and what it says of the kernel.

mod elf;
mod vmcoreinfo;

use std::path::{Path, PathBuf};

use memmap2::Mmap;

pub use vmcoreinfo::VmcoreInfo;

use crate::fault::FaultKind;

/// Why a dump can't be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file can't be opened or mapped.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is no memory dump that kstruct knows.
    #[error("{}: not a memory dump: {what}", path.display())]
    NotADump {
        /// The file.
        path: PathBuf,
        /// What it looks like instead.
        what: String,
    },
    /// The file's headers make no sense.
    #[error("{}: the dump's headers are damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The dump is of another kernel than the one that the program was compiled for.
    #[error(
        "{}: this is a dump of kernel {found}, but the program was built for {expected}; build it for the dump's kernel (cargo xtask run finds it from the dump), or give --force", path.display()
    )]
    OtherKernel {
        /// The file.
        path: PathBuf,
        /// The dump's kernel.
        found: String,
        /// The program's kernel.
        expected: String,
    },
    /// The kernel could not be found in the dump's memory.
    #[error("{}: can't find the kernel in the dump: {what}", path.display())]
    NoKernel {
        /// The file.
        path: PathBuf,
        /// What was missing.
        what: String,
    },
}

/// A memory dump, mapped: physical memory and notes. It does not know any kernel.
pub struct Dump {
    path: PathBuf,
    map: Mmap,
    /// Sorted by address, without overlap.
    segments: Vec<Segment>,
    /// The part of the biggest segment that is in the file: most reads hit it.
    main: Segment,
    machine: u16,
    vmcoreinfo: VmcoreInfo,
}

/// A run of physical memory and where it lies in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Segment {
    /// Physical address.
    pub start: u64,
    /// Bytes of memory.
    pub size: u64,
    /// Where it starts in the file.
    pub file: u64,
    /// Bytes of it that the headers say are in the file; the rest is zero.
    pub in_file: u64,
}

static ZEROS: [u8; 65536] = [0; 65536];

impl Dump {
    /// Opens a dump by mapping it. Nothing but its headers is read.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let map = crate::map::map(path).map_err(|error| OpenError::Io {
            path: path.to_owned(),
            error,
        })?;
        let parsed = elf::parse(&map).map_err(|error| match error {
            elf::Error::Other(what) => OpenError::NotADump {
                path: path.to_owned(),
                what,
            },
            elf::Error::Damaged(what) => OpenError::Damaged {
                path: path.to_owned(),
                what,
            },
        })?;
        let length = map.len() as u64;
        let main = parsed
            .segments
            .iter()
            .map(|segment| Segment {
                in_file: segment.in_file.min(length.saturating_sub(segment.file)),
                ..*segment
            })
            .max_by_key(|segment| segment.in_file)
            .unwrap_or_default();
        Ok(Dump {
            path: path.to_owned(),
            map,
            main,
            segments: parsed.segments,
            machine: parsed.machine,
            vmcoreinfo: parsed.vmcoreinfo,
        })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// ELF's `e_machine`.
    pub fn machine(&self) -> u16 {
        self.machine
    }

    /// What the kernel left for dump tools; empty where it left nothing.
    pub fn vmcoreinfo(&self) -> &VmcoreInfo {
        &self.vmcoreinfo
    }

    /// Bytes of physical memory that the dump's headers speak of.
    pub fn memory_size(&self) -> u64 {
        self.segments
            .iter()
            .fold(0, |sum, segment| sum.saturating_add(segment.size))
    }

    /// The physical address after the last byte.
    pub fn memory_end(&self) -> u64 {
        let end = |segment: &Segment| segment.start.saturating_add(segment.size);
        self.segments.last().map_or(0, end)
    }

    /// The physical address after the last byte of the biggest segment.
    pub(crate) fn main_end(&self) -> u64 {
        self.main.start.saturating_add(self.main.size)
    }

    /// Bytes that the headers promise and the file, cut short, does not have.
    pub fn missing_bytes(&self) -> u64 {
        let length = self.map.len() as u64;
        let missing = |segment: &Segment| {
            let end = segment.file.saturating_add(segment.in_file);
            end.saturating_sub(length).min(segment.in_file)
        };
        self.segments
            .iter()
            .map(missing)
            .fold(0, u64::saturating_add)
    }

    /// Physical memory as the file holds it. The whole range must lie in one segment.
    #[inline]
    pub(crate) fn physical(&self, address: u64, length: usize) -> Result<&[u8], FaultKind> {
        let skip = address.wrapping_sub(self.main.start);
        if skip < self.main.in_file && length as u64 <= self.main.in_file - skip {
            let start = (self.main.file + skip) as usize;
            if let Some(bytes) = self.map.get(start..start + length) {
                return Ok(bytes);
            }
        }
        self.physical_elsewhere(address, length)
    }

    #[cold]
    fn physical_elsewhere(&self, address: u64, length: usize) -> Result<&[u8], FaultKind> {
        let after = self
            .segments
            .partition_point(|segment| segment.start <= address);
        let segment = after
            .checked_sub(1)
            .map(|index| self.segments[index])
            .ok_or(FaultKind::NotInDump)?;
        let skip = address - segment.start;
        if skip >= segment.size || segment.size - skip < length as u64 {
            return Err(FaultKind::NotInDump);
        }
        if skip + length as u64 <= segment.in_file {
            // Saturation leads past the end of any file.
            let start = usize::try_from(segment.file.saturating_add(skip)).unwrap_or(usize::MAX);
            return self
                .map
                .get(start..start.saturating_add(length))
                .ok_or(FaultKind::Truncated);
        }
        if skip >= segment.in_file {
            return ZEROS.get(..length).ok_or(FaultKind::TooLarge);
        }
        Err(FaultKind::NotInDump)
    }

    /// The first `Linux version ...` in the dump's memory: for kernels that left no VMCOREINFO.
    ///
    /// Reads memory from its start until the banner is found.
    pub fn scan_banner(&self) -> Option<String> {
        let finder = memchr::memmem::Finder::new(b"Linux version ");
        for segment in &self.segments {
            let Ok(start) = usize::try_from(segment.file) else {
                continue;
            };
            let end = usize::try_from(segment.file.saturating_add(segment.in_file))
                .unwrap_or(usize::MAX)
                .min(self.map.len());
            let Some(bytes) = self.map.get(start..end) else {
                continue;
            };
            for at in finder.find_iter(bytes) {
                let text = &bytes[at..bytes.len().min(at + 512)];
                // The banner names the compiler; log lines and format strings don't look like it.
                if let Some(end) = text.iter().position(|byte| matches!(byte, b'\n' | 0))
                    && text[..end].is_ascii()
                    && text[14].is_ascii_digit()
                    && text[..end].windows(2).any(|pair| pair == b" #")
                {
                    return Some(String::from_utf8_lossy(&text[..end]).into_owned());
                }
            }
        }
        None
    }

    /// The release of the dump's kernel: from VMCOREINFO, or else from the banner in memory.
    pub fn release(&self) -> Option<String> {
        if let Some(release) = self.vmcoreinfo.get("OSRELEASE") {
            return Some(release.to_owned());
        }
        let banner = self.scan_banner()?;
        banner.split_whitespace().nth(2).map(str::to_owned)
    }
}

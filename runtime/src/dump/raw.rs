//! Raw images: physical memory as it was, byte by byte, with nothing around it (QEMU's `pmemsave`, LiME's `padded` format, a RAM
//! dump of firmware).
//!
//! Nothing in such a file says what it is, so it is never guessed: it is named with the physical address of its first byte,
//! `FILE@ADDRESS`, in the notation that crash has for RAM dumps. A machine's memory may be in several files.

use std::path::{Path, PathBuf};

use super::file::File;
use super::{Error, Segment};

/// Images start at a page.
const ALIGNMENT: u64 = 4096;
/// No machine's physical addresses have more bits (x86's and arm64's have 52).
const MOST_BITS: u32 = 56;

/// A file as it was named.
pub(super) struct Name {
    pub file: PathBuf,
    /// The text behind the `@`.
    address: Option<String>,
}

impl Name {
    /// `FILE@ADDRESS`, unless there is a file of that whole name.
    pub fn parse(path: &Path) -> Self {
        let parts = path.to_str().and_then(|text| text.rsplit_once('@'));
        match parts {
            Some((file, address)) if !path.exists() && Path::new(file).exists() => Name {
                file: file.into(),
                address: Some(address.to_owned()),
            },
            _ => Name {
                file: path.to_owned(),
                address: None,
            },
        }
    }

    /// Whether it is said to be a raw image.
    pub fn is_raw(&self) -> bool {
        self.address.is_some()
    }

    /// The physical address of the first byte, in hexadecimal with or without `0x`, as crash reads it.
    fn base(&self) -> Result<u64, Error> {
        let text = self.address.as_deref().unwrap_or_default();
        let digits = text.strip_prefix("0x").unwrap_or(text);
        u64::from_str_radix(digits, 16)
            .ok()
            .filter(|base| base >> MOST_BITS == 0 && base.is_multiple_of(ALIGNMENT))
            .ok_or_else(|| {
                Error::Other(format!(
                    "what stands behind the @, {text:?}, is not the physical address of a raw image: hexadecimal, and a multiple of 4096"
                ))
            })
    }
}

/// The files' memory: a segment for each, in the order of the files.
pub(super) fn segments(names: &[Name], files: &[File]) -> Result<Vec<Segment>, (usize, Error)> {
    let mut segments: Vec<Segment> = Vec::new();
    for (index, (name, file)) in names.iter().zip(files).enumerate() {
        let other = |what: String| Err((index, Error::Other(what)));
        if !name.is_raw() {
            return other(
                "other files were given as raw images (FILE@ADDRESS), and this one without an address".into(),
            );
        }
        let start = name.base().map_err(|error| (index, error))?;
        if let Some(what) = known_format(file) {
            return other(format!(
                "it was given as a raw image (FILE@ADDRESS), but it begins like {what}; name it without the address"
            ));
        }
        if file.len() == 0 {
            return other("the file is empty".into());
        }
        let size = file.len();
        if let Some(clash) = segments
            .iter()
            .find(|other| start < other.start + other.size && other.start < start + size)
        {
            return other(format!(
                "two images have the memory at physical address {:#x}",
                start.max(clash.start)
            ));
        }
        segments.push(Segment {
            start,
            size,
            file: 0,
            in_file: size,
            map: index,
        });
    }
    Ok(segments)
}

/// What a file is by its first bytes, which no machine has at the start of its memory.
fn known_format(file: &File) -> Option<&'static str> {
    if file.is_flat() {
        return Some("a flattened dump (makedumpfile -F)");
    }
    let known: [(&[u8], &str); 8] = [
        (b"\x7fELF", "an ELF file"),
        (super::kdump::SIGNATURE, "a kdump (makedumpfile) file"),
        (b"DISKDUMP", "a diskdump file"),
        (super::lime::LITTLE, "a LiME image"),
        (super::lime::BIG, "a LiME image"),
        (super::lime::AVML, "a compressed AVML image"),
        (b"\x1f\x8b", "a file that gzip compressed"),
        (b"\x28\xb5\x2f\xfd", "a file that zstd compressed"),
    ];
    known
        .iter()
        .find(|(start, _)| file.starts_with(start))
        .map(|(_, what)| *what)
}

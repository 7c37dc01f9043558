//! Options of all analyzers that say how a dump is opened.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use kstruct::{Dump, Hints, Memory, VmcoreInfo};

/// Where the dump is, what is known of it, and what reading it may cost.
#[derive(clap::Args)]
pub struct Source {
    /// The memory dump to analyze; of a dump that was split, each of its files (--core FILE --core FILE). A raw image of physical
    /// memory is FILE@ADDRESS, with the address of its first byte in hexadecimal (--core memory@0). Without one, the running kernel is
    /// analyzed
    #[arg(long, value_name = "DUMP", default_value = kstruct::KCORE)]
    pub core: Vec<PathBuf>,
    /// Analyze the dump even if it is of another kernel than this program was built for
    #[arg(long)]
    pub force: bool,
    /// Bytes by which KASLR moved the kernel, if the dump doesn't say and they can't be found, in hexadecimal
    #[arg(long, value_name = "OFFSET", value_parser = hexadecimal, alias = "kernel-offset", help_heading = "Finding the kernel")]
    pub kaslr: Option<u64>,
    /// x86_64: the kernel's phys_base, likewise
    #[arg(long, value_name = "ADDRESS", value_parser = hexadecimal, help_heading = "Finding the kernel")]
    pub phys_base: Option<u64>,
    /// A file with the lines of VMCOREINFO, for a dump that has none
    #[arg(long, value_name = "FILE", help_heading = "Finding the kernel")]
    pub vmcoreinfo: Option<PathBuf>,
    /// Use no more than this for pages of compressed and flattened dumps: bytes, or with K, M, G or T. Pages beyond it are reported as
    /// not read
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub memory_limit: Option<u64>,
}

impl Source {
    /// Opens the dump of the kernel that this program is for.
    pub fn open(&self) -> anyhow::Result<Memory> {
        let mut dump = Dump::open_parts(&self.core)?;
        if let Some(limit) = self.memory_limit {
            dump.set_memory_limit(limit);
        }
        let vmcoreinfo = self.vmcoreinfo.as_deref().map(read_vmcoreinfo);
        let hints = Hints {
            kaslr: self.kaslr,
            physical_base: self.phys_base,
            vmcoreinfo: vmcoreinfo.transpose()?.unwrap_or_default(),
        };
        Ok(Memory::of_dump_with(
            dump,
            &kernel::KERNEL,
            &hints,
            self.force,
        )?)
    }
}

/// A network namespace's inode number: alone, or as `lsns`, `ls -l /proc/PID/ns` and the analyzers show it, `net:[4026531840]`.
///
/// # Errors
///
/// It is no number.
pub fn netns(text: &str) -> Result<u64, String> {
    let inside = text
        .strip_prefix("net:[")
        .and_then(|rest| rest.strip_suffix(']'));
    let number = inside.unwrap_or(text);
    number
        .parse()
        .map_err(|error| format!("not an inode number: {error}"))
}

/// The lines of a file, as the kernel has them. It is no larger than the page that the kernel keeps them in.
fn read_vmcoreinfo(path: &Path) -> anyhow::Result<VmcoreInfo> {
    const MOST: u64 = 1 << 16;
    let failed = || path.display().to_string();
    if path.metadata().with_context(failed)?.len() > MOST {
        bail!("{}: too large for VMCOREINFO", path.display());
    }
    let info = VmcoreInfo::parse(&std::fs::read(path).with_context(failed)?);
    if info.is_empty() {
        bail!("{}: no VMCOREINFO (lines of KEY=value)", path.display());
    }
    Ok(info)
}

/// A number in hexadecimal, with or without `0x`, as crash's options have it.
fn hexadecimal(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u64::from_str_radix(digits, 16).map_err(|error| format!("not hexadecimal: {error}"))
}

/// Bytes, or their multiples by 1024.
fn size(text: &str) -> Result<u64, String> {
    let end = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let shift = match &text[end.len()..] {
        "" => 0,
        "K" | "k" => 10,
        "M" | "m" => 20,
        "G" | "g" => 30,
        "T" | "t" => 40,
        other => return Err(format!("{other:?} is no unit; K, M, G and T are")),
    };
    let number: u64 = end.parse().map_err(|_| format!("{end:?} is no number"))?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| "more than there are addresses".to_owned())
}

#[cfg(test)]
mod tests {
    use super::{hexadecimal, size};

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("3K"), Ok(3 << 10));
        assert_eq!(size("512m"), Ok(512 << 20));
        assert_eq!(size("2G"), Ok(2 << 30));
        assert_eq!(size("1T"), Ok(1 << 40));
        for bad in ["", "M", "1.5G", "-1", "1MB", "99999999999T", "1 G"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_are_hexadecimal() {
        assert_eq!(hexadecimal("0x1f"), Ok(0x1f));
        assert_eq!(hexadecimal("1f"), Ok(0x1f));
        assert!(hexadecimal("1g").is_err() && hexadecimal("").is_err());
    }
}

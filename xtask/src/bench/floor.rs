//! The least that any reader of DWARF has to do: look at every entry once, keep nothing.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use gimli::{DebugAbbrev, DebugInfo, EndianSlice, LittleEndian};
use kstruct_codegen::image::Image;
use rayon::prelude::*;

/// Passes over all entries of `.debug_info`, on two threads, and says how many there are.
pub fn pass(vmlinux: &Path) -> anyhow::Result<u64> {
    let image = Image::open(vmlinux)?;
    let elf = image.parse()?;
    let (info, abbreviations) = (elf.section(".debug_info")?, elf.section(".debug_abbrev")?);
    let info = DebugInfo::new(&info, LittleEndian);
    let abbreviations: DebugAbbrev<EndianSlice<'_, LittleEndian>> =
        DebugAbbrev::new(&abbreviations, LittleEndian);
    let mut units = Vec::new();
    let mut headers = info.units();
    while let Some(header) = headers.next()? {
        units.push(header);
    }
    let entries = AtomicU64::new(0);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(2)
        .build()
        .context("can't start threads")?;
    pool.install(|| {
        units.par_iter().try_for_each(|unit| -> gimli::Result<()> {
            let abbreviations = unit.abbreviations(&abbreviations)?;
            let mut cursor = unit.entries_raw(&abbreviations, None)?;
            let mut count = 0;
            while !cursor.is_empty() {
                if let Some(abbreviation) = cursor.read_abbreviation()? {
                    cursor.skip_attributes(abbreviation.attributes())?;
                    count += 1;
                }
            }
            entries.fetch_add(count, Ordering::Relaxed);
            Ok(())
        })
    })?;
    Ok(entries.into_inner())
}

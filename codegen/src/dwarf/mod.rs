//! Reading DWARF into a [`Model`]: every unit in parallel, each definition once.
//!
//! A unit is first parsed into a flat table of its types ([`unit`]); then each struct, union and enum of it is looked
//! up in a table of all definitions seen so far ([`merge`]), and kept if it is new.

mod merge;
mod unit;

use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering};

use gimli::{EndianSlice, RunTimeEndian, Section as _};
use rayon::prelude::*;

use crate::Error;
use crate::image::Image;
use crate::model::Model;

type Slice<'d> = EndianSlice<'d, RunTimeEndian>;
type Dwarf<'d> = gimli::Dwarf<Slice<'d>>;

/// How far reading has come.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Units read.
    pub units: usize,
    /// Units there are.
    pub of: usize,
    /// Definitions of types kept.
    pub types: usize,
}

/// Reads all units of an image. `progress` is called from several threads, some hundred times at most.
pub fn read(image: &Image, progress: &(dyn Fn(Progress) + Sync)) -> Result<Model, Error> {
    let elf = image.parse()?;
    let endian = if elf.big_endian() {
        RunTimeEndian::Big
    } else {
        RunTimeEndian::Little
    };
    let sections = gimli::DwarfSections::load(|id| elf.section(id.name()))?;
    let dwarf = sections.borrow(|section: &Cow<[u8]>| EndianSlice::new(section, endian));
    if dwarf.debug_info.reader().is_empty() {
        return Err(Error::NoDebugInfo {
            path: image.path().to_owned(),
        });
    }
    if !dwarf.debug_types.reader().is_empty() {
        return Err(Error::Unsupported {
            path: image.path().to_owned(),
            what: "DWARF type units (.debug_types)",
        });
    }
    let at = |unit: u64| {
        move |what: gimli::Error| Error::Dwarf {
            path: image.path().to_owned(),
            unit,
            what: what.to_string(),
        }
    };

    let mut headers = Vec::new();
    let mut units = dwarf.units();
    let mut offset = 0;
    while let Some(header) = units.next().map_err(at(offset))? {
        offset = header.offset().0 as u64;
        headers.push(header);
    }

    let kernel = elf.kernel()?;
    let context = merge::Context::new(elf.per_cpu_ranges());
    let done = AtomicUsize::new(0);
    let step = headers.len() / 200 + 1;
    let summaries: Vec<merge::UnitSummary> = headers
        .par_iter()
        .map(|header| {
            let offset = header.offset().0 as u64;
            let summary = unit::read(&dwarf, *header)
                .map_err(at(offset))
                .and_then(|parsed| match parsed {
                    unit::Parsed::Types(unit) => Ok(context.add(&unit)),
                    unit::Parsed::OtherLanguage => Ok(merge::UnitSummary::default()),
                    unit::Parsed::Unsupported(what) => Err(Error::Unsupported {
                        path: image.path().to_owned(),
                        what,
                    }),
                })?;
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if done % step == 0 || done == headers.len() {
                progress(Progress {
                    units: done,
                    of: headers.len(),
                    types: context.definitions(),
                });
            }
            Ok(summary)
        })
        .collect::<Result<_, Error>>()?;

    let mut model = context.finish(summaries);
    model.kernel = kernel;
    model.functions = elf.functions();
    Ok(model)
}

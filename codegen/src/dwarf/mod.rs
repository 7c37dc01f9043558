//! Reading DWARF into a [`Model`]: every unit in parallel, each definition once.
//!
//! A unit is first parsed into a flat table of its types (`unit`); then each struct, union and enum of it is looked
//! up in a table of all definitions seen so far (`merge`), and kept if it is new.

mod merge;
pub(crate) mod order;
mod targets;
mod unit;

use std::borrow::Cow;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use gimli::{EndianSlice, RunTimeEndian, Section as _};
use rayon::prelude::*;

use crate::Error;
use crate::image::Image;
use crate::model::Model;
use crate::passes;

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

/// Reads all units of a kernel, and of modules whose types are to be known too. Variables and functions are the kernel's:
/// those of modules have no address before they are loaded.
///
/// `progress` is called from several threads, some hundred times at most.
pub fn read(
    kernel: &Image,
    modules: &[Image],
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Model, Error> {
    let elf = kernel.parse()?;
    let identity = elf.kernel()?;
    let context = merge::Context::new(elf.per_cpu_ranges());
    let mut summaries = read_image(kernel, &context, progress)?;
    for module in modules {
        let machine = module.parse()?.kernel()?;
        if (machine.machine, machine.pointer_size, machine.big_endian)
            != (identity.machine, identity.pointer_size, identity.big_endian)
        {
            return Err(Error::Elf {
                path: module.path().to_owned(),
                what: format!("it is for another machine than {}", kernel.path().display()),
            });
        }
        for mut summary in read_image(module, &context, &|_| ())? {
            summary.forget_variables();
            summaries.push(summary);
        }
    }
    let mut model = context.finish(summaries);
    model.kernel = identity;
    model.modules = modules
        .iter()
        .map(|module| module_name(module.path()))
        .collect();
    model.modules.sort();
    model.functions = elf.functions();
    passes::add_untyped(&mut model, elf.objects());
    Ok(model)
}

/// A module's name from the name of its file: `veth` from `veth.ko.debug`. Names have `_` where files may have `-`.
pub fn module_name(path: &Path) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    file.split('.').next().unwrap_or_default().replace('-', "_")
}

fn read_image(
    image: &Image,
    context: &merge::Context,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Vec<merge::UnitSummary>, Error> {
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

    let done = AtomicUsize::new(0);
    let step = headers.len() / 200 + 1;
    headers
        .par_iter()
        .map(|header| {
            let offset = header.offset().0 as u64;
            let summary = match unit::read(&dwarf, *header).map_err(at(offset))? {
                unit::Parsed::Types(unit) => context.add(&unit),
                unit::Parsed::OtherLanguage => merge::UnitSummary::default(),
                unit::Parsed::Unsupported(what) => {
                    return Err(Error::Unsupported {
                        path: image.path().to_owned(),
                        what,
                    });
                }
            };
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if done.is_multiple_of(step) || done == headers.len() {
                progress(Progress {
                    units: done,
                    of: headers.len(),
                    types: context.definitions(),
                });
            }
            Ok(summary)
        })
        .collect()
}

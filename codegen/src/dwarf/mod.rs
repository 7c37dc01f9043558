//! Reading DWARF into a [`Model`]: every unit in parallel, each definition once.
//!
//! A unit is first parsed into a flat table of its types (`unit`); then each struct, union and enum of it is looked
//! up in a table of all definitions seen so far (`merge`), and kept if it is new.

mod attributes;
mod memo;
mod merge;
pub(crate) mod order;
mod paths;
mod strings;
mod targets;
mod unit;
mod world;

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use gimli::{EndianSlice, RunTimeEndian, SectionId};
use rayon::prelude::*;

use crate::Error;
use crate::debuglink::Companions;
use crate::image::{Elf, Image, ModuleSection, is_per_cpu};
use crate::model::{InModule, Kernel, Model, Module, Variable};
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

/// Reads all units of a kernel, and of modules whose types and variables are to be known too. Functions are the kernel's.
///
/// `progress` is called from several threads, some hundred times at most.
pub fn read(
    kernel: &Image,
    modules: &[Image],
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Model, Error> {
    read_with(kernel, modules, &[], progress)
}

/// Like [`read`], and adds the types of other files: those that the kernel's debug information lacks, because nothing in
/// the kernel has a variable or a member of them.
pub fn read_with(
    kernel: &Image,
    modules: &[Image],
    others: &[Image],
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Model, Error> {
    let companions = Companions::find(kernel)?;
    let mut elf = kernel.parse()?;
    if let Some(debug) = &companions.debug {
        elf = elf.with_symbols_of(debug)?;
    }
    let identity = elf.kernel()?;
    let context = merge::Context::new(elf.per_cpu_ranges());
    // The symbols are sorted while the units are read.
    let (summaries, (functions, objects)) = rayon::join(
        || read_image(kernel, &companions, &context, progress),
        || rayon::join(|| elf.functions(), || elf.objects()),
    );
    let mut summaries = summaries?;
    let same_machine = |image: &Image, elf: &Elf<'_>| {
        let found = elf.kernel()?;
        if (found.machine, found.pointer_size, found.big_endian)
            == (identity.machine, identity.pointer_size, identity.big_endian)
        {
            return Ok(found);
        }
        Err(Error::Elf {
            path: image.path().to_owned(),
            what: format!("it is for another machine than {}", kernel.path().display()),
        })
    };
    let read_modules = modules
        .par_iter()
        .map(|module| {
            let build_id = same_machine(module, &module.parse()?)?.build_id;
            let companions = Companions::find(module)?;
            let name: Arc<str> = Arc::from(module_name(module.path()));
            // The debug information's own: a separate file may number them otherwise.
            let debug = companions.debug.as_ref().unwrap_or(module);
            let sections = debug.parse()?.module_sections();
            let mut summaries = read_image(module, &companions, &context, &|_| ())?;
            for summary in &mut summaries {
                summary.beside(|variable| place(variable, &name, &sections));
            }
            let name = name.to_string();
            Ok((Module { name, build_id }, summaries))
        })
        .collect::<Result<Vec<_>, Error>>()?;
    let mut known_modules = Vec::new();
    for (module, of_module) in read_modules {
        known_modules.push(module);
        summaries.extend(of_module);
    }
    for other in others {
        same_machine(other, &other.parse()?)?;
        let companions = Companions::find(other)?;
        for mut summary in read_image(other, &companions, &context, &|_| ())? {
            // Its variables are in no memory of this kernel.
            summary.beside(|_| false);
            summaries.push(summary);
        }
    }
    let mut model = context.finish(summaries);
    model.kernel = identity;
    known_modules.sort();
    model.modules = known_modules;
    model.functions = functions;
    passes::add_untyped(&mut model, objects);
    Ok(model)
}

/// A section's bytes by its name.
pub type SectionByName<'a, 'd> = dyn Fn(&str) -> &'d [u8] + 'a;

/// Reads DWARF sections without a file around them. `path` is what errors name; `kernel` says whose they are, and in which
/// byte order.
///
/// `own` and `alternate` give a section by its name, such as `.debug_info`: decompressed and relocated, empty if there is none.
/// The model has no functions and no per-CPU variables: those come from what else is in a file.
pub fn read_sections<'d>(
    path: &Path,
    kernel: Kernel,
    own: &SectionByName<'_, 'd>,
    alternate: Option<&SectionByName<'_, 'd>>,
) -> Result<Model, Error> {
    let load = |section: &SectionByName<'_, 'd>| {
        gimli::DwarfSections::load(|id| Ok::<_, Error>(Cow::Borrowed(section(id.name()))))
    };
    let sections = load(own)?;
    let alternate = alternate.map(load).transpose()?;
    let dwarf = borrow(&sections, alternate.as_ref(), kernel.big_endian);
    let context = merge::Context::new(Vec::new());
    let summaries = read_dwarf(path, &dwarf, &context, &|_| ())?;
    let mut model = context.finish(summaries);
    model.kernel = kernel;
    Ok(model)
}

/// Whether a file has debug information, itself or in a separate debug file that is found.
pub fn is_in(image: &Image) -> bool {
    Companions::find(image).is_ok()
}

/// Which kernel a file is of, as it says itself, or with the symbols of its separate debug file if it has none. A file of no kernel
/// has an empty release.
pub fn identity(image: &Image) -> Result<Kernel, Error> {
    let elf = image.parse()?;
    match Companions::find(image) {
        Ok(Companions {
            debug: Some(debug), ..
        }) => elf.with_symbols_of(&debug)?.kernel(),
        _ => elf.kernel(),
    }
}

/// Puts a variable of a module into its section; says whether there is one.
fn place(variable: &mut Variable, module: &Arc<str>, sections: &[ModuleSection]) -> bool {
    let Some(section) = sections
        .iter()
        // What has no size may lie at the very end.
        .find(|section| (section.range.start..=section.range.end).contains(&variable.address))
    else {
        // What the linker discarded has no address.
        return false;
    };
    variable.address -= section.range.start;
    variable.per_cpu = is_per_cpu(&section.name);
    // Before 2.6.33 a per-CPU variable carried its nature in its name.
    if variable.per_cpu
        && let Some(short) = variable.name.strip_prefix("per_cpu__")
    {
        variable.name = Arc::from(short);
    }
    variable.module = Some(InModule {
        module: module.clone(),
        section: section.name.clone(),
    });
    true
}

/// A module's name from the name of its file: `veth` from `veth.ko.debug`. Names have `_` where files may have `-`.
pub fn module_name(path: &Path) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    file.split('.').next().unwrap_or_default().replace('-', "_")
}

fn read_image(
    image: &Image,
    companions: &Companions,
    context: &merge::Context,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Vec<merge::UnitSummary>, Error> {
    let image = companions.debug.as_ref().unwrap_or(image);
    let elf = image.parse()?;
    let sections = gimli::DwarfSections::load(|id| load(&elf, id))?;
    let alternate = match &companions.alternate {
        None => None,
        Some(alternate) => {
            let elf = alternate.parse()?;
            Some(gimli::DwarfSections::load(|id| load(&elf, id))?)
        }
    };
    let dwarf = borrow(&sections, alternate.as_ref(), elf.big_endian());
    read_dwarf(image.path(), &dwarf, context, progress)
}

type Sections<'d> = gimli::DwarfSections<Cow<'d, [u8]>>;

fn borrow<'a>(
    sections: &'a Sections<'_>,
    alternate: Option<&'a Sections<'_>>,
    big_endian: bool,
) -> Dwarf<'a> {
    let endian = if big_endian {
        RunTimeEndian::Big
    } else {
        RunTimeEndian::Little
    };
    sections.borrow_with_sup(alternate, |section| EndianSlice::new(section, endian))
}

/// A section, if it is one of those that types are in: to decompress and relocate the others takes long.
fn load<'d>(elf: &Elf<'d>, id: SectionId) -> Result<Cow<'d, [u8]>, Error> {
    match id {
        SectionId::DebugAbbrev
        | SectionId::DebugAddr
        | SectionId::DebugInfo
        | SectionId::DebugLine
        | SectionId::DebugLineStr
        | SectionId::DebugStr
        | SectionId::DebugStrOffsets
        | SectionId::DebugTypes => elf.section(id.name()),
        _ => Ok(Cow::Borrowed(&[])),
    }
}

/// What one thread works with.
#[derive(Default)]
struct Worker<'d> {
    scratch: unit::Scratch<'d>,
    memo: memo::Memo<'d>,
}

/// Units that can be understood by themselves, which in an ordinary kernel are all, are added and forgotten as they come.
/// The others are read once more, together with what they refer to.
fn read_dwarf(
    path: &Path,
    dwarf: &Dwarf<'_>,
    context: &merge::Context,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Vec<merge::UnitSummary>, Error> {
    let malformed = |unit: u64, what: gimli::Error| Error::Dwarf {
        path: path.to_owned(),
        unit,
        what: what.to_string(),
    };
    let unsupported = |what: &'static str| Error::Unsupported {
        path: path.to_owned(),
        what,
    };
    let directory = world::Directory::read(dwarf).map_err(|(unit, what)| malformed(unit, what))?;
    // What the alternate file has is only read where this file refers to it.
    let own = directory
        .headers
        .iter()
        .filter(|(origin, _)| !origin.alternate)
        .count();
    let headers = &directory.headers[..own];

    enum Unit {
        Added(merge::UnitSummary),
        /// To be read with others.
        Source,
        Type,
        /// To be read if a source file needs it.
        Part,
    }
    let done = AtomicUsize::new(0);
    let step = headers.len() / 200 + 1;
    // What a thread has seen helps it with the next unit, so each takes up what another laid down.
    let idle: Mutex<Vec<Worker<'_>>> = Mutex::default();
    let take = || idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let units = headers
        .par_iter()
        .with_max_len(1)
        .map(|(origin, header)| {
            let mut worker = take().unwrap_or_default();
            let parsed = unit::read(dwarf, *header, false, &mut worker.scratch)
                .map_err(|what| malformed(origin.offset, what))?;
            let unit = match parsed {
                unit::Parsed::Types(unit) if unit.is_complete() => {
                    let summary = context.add(&unit, &mut worker.memo);
                    worker.scratch.recycle(*unit);
                    Unit::Added(summary)
                }
                unit::Parsed::Types(_) => Unit::Source,
                unit::Parsed::Shared(unit::UnitKind::Type { .. }) => Unit::Type,
                unit::Parsed::Shared(_) => Unit::Part,
                unit::Parsed::OtherLanguage => Unit::Added(merge::UnitSummary::default()),
                unit::Parsed::Unsupported(what) => return Err(unsupported(what)),
            };
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if done.is_multiple_of(step) || done == headers.len() {
                progress(Progress {
                    units: done,
                    of: headers.len(),
                    types: context.definitions(),
                });
            }
            idle.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(worker);
            Ok(unit)
        })
        .collect::<Result<Vec<_>, _>>()?;
    drop(idle);

    let mut summaries = Vec::with_capacity(units.len());
    let (mut sources, mut roots) = (Vec::new(), Vec::new());
    for (number, unit) in (0u32..).zip(units) {
        match unit {
            Unit::Source => sources.push(number),
            Unit::Type => roots.push(number),
            Unit::Part | Unit::Added(_) => {}
        }
        summaries.push(match unit {
            Unit::Added(summary) => summary,
            _ => merge::UnitSummary::default(),
        });
    }
    roots.extend(&sources);
    if roots.is_empty() {
        return Ok(summaries);
    }
    let world_error = |error| match error {
        world::WorldError::Malformed(unit, what) => malformed(unit, what),
        world::WorldError::Unsupported(what) => unsupported(what),
        world::WorldError::TooManyImports => unsupported("so many imports of units"),
    };
    let world = world::World::read(&directory, &roots).map_err(world_error)?;
    let shared = context.add_shared(&world);
    let parts = world.parts(&sources).map_err(world_error)?;
    let added: Vec<_> = sources
        .par_iter()
        .zip(&parts)
        .map(|(number, parts)| context.add_with(&world, &shared, *number, parts))
        .collect();
    for (number, (summary, elsewhere)) in sources.iter().zip(added) {
        summaries[*number as usize].absorb(summary);
        for (home, variable) in elsewhere {
            // Of units in the alternate file there is no summary.
            let home = if (home as usize) < summaries.len() {
                home
            } else {
                *number
            };
            summaries[home as usize].take(variable);
        }
    }
    Ok(summaries)
}

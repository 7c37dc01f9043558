//! `cargo xtask gen`: from a vmlinux to `generated/<kernel>/`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, anyhow, bail};
use clap::builder::NonEmptyStringValueParser;
use indicatif::{ProgressBar, ProgressStyle};
use kstruct_codegen::image::Image;
use kstruct_codegen::index::Wishes;
use kstruct_codegen::model::{Asked, Model};
use kstruct_codegen::names::{self, Names};
use kstruct_codegen::select::{self, Selection};
use kstruct_codegen::{btf as btf_reader, dwarf, emit, output};
use serde::{Deserialize, Serialize};

use crate::stamp::{self, Input};
use crate::workspace::wanted_modules;
use crate::{btf, build, find, fleet, less, loaded, paths, selected};

/// So many modules are named when bindings are written; of more, their number is said.
const NAMED: usize = 20;

/// Options of `cargo xtask gen`.
#[derive(clap::Args)]
pub struct Args {
    /// A vmlinux with DWARF: its path, its name (vmlinux-2.6.9) or its release (6.12.117+deb12-cloud-amd64)
    ///
    /// With --btf: the name of the bindings, if it is not to be the kernel's release
    #[arg(required_unless_present_any = ["btf", "all"])]
    vmlinux: Option<String>,
    /// Generate the bindings of every kernel in this folder: debug packages (.deb, .ddeb, .rpm), which are unpacked, and files called
    /// vmlinux*; or of one such package. Bindings that have more than what is found would give are kept. The exit status is 1 if one failed
    #[arg(long, value_name = "DIR", exclusive = true)]
    all: Option<PathBuf>,
    #[command(flatten)]
    btf: btf::Args,
    /// Take the types of this module too, by name or path; those that analyzers ask for are taken anyway if they are found
    #[arg(long, value_name = "MODULE")]
    module: Vec<String>,
    /// Take only these types, and what they embed or point to
    #[arg(long, value_name = "TYPE", value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    only: Vec<String>,
    /// Take only what this source file names, or the sources in this folder: what `build` does for analyzers
    #[arg(long, value_name = "PATH", conflicts_with = "only")]
    used_by: Vec<PathBuf>,
    /// Take all modules of which there is debug information, or those that a dump (--core) says were loaded
    #[arg(long, value_name = "WHICH")]
    modules: Option<Modules>,
    /// The dump for --modules loaded; for --btf a dump that says which kernel it is, and where its variables are
    #[arg(long, value_name = "DUMP", required_if_eq("modules", "loaded"))]
    core: Option<PathBuf>,
    /// Add the types of this file, which the vmlinux lacks: any ELF file with DWARF for the same machine
    #[arg(long, value_name = "FILE", conflicts_with = "btf")]
    with: Vec<PathBuf>,
    /// Only say whether the bindings are what the vmlinux gives; exit with 1 if not
    #[arg(long)]
    check: bool,
    /// Put the bindings into this folder instead of generated/KERNEL
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
}

/// What `--modules` takes.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Modules {
    /// All that are found beside the vmlinux, or where debug packages put them
    All,
    /// Those that were loaded when the dump was made
    Loaded,
}

/// What is read with a vmlinux.
#[derive(Default)]
pub struct Extras {
    /// By name.
    modules: BTreeMap<String, PathBuf>,
    asked: Asked,
    /// Only these types and what they lead to, if there are any.
    only: Vec<String>,
    /// Only what these sources name, if there are any.
    used_by: Vec<PathBuf>,
}

/// Runs the command. Says whether all is well: with `--check`, whether the bindings are fresh.
pub fn run(args: &Args) -> anyhow::Result<bool> {
    if let Some(directory) = &args.all {
        return fleet::run(directory);
    }
    let mut asked = Asked::default();
    let (vmlinux, kernel) = match (args.btf.asked(args.core.as_deref())?, &args.vmlinux) {
        (Some(btf), name) => {
            let kernel = match name {
                Some(name) => name.clone(),
                None => btf::identity(&btf)?.kernel.release,
            };
            find::check_name(&kernel)?;
            let file = btf.file.clone();
            asked.btf = Some(btf);
            (file, kernel)
        }
        (None, name) => {
            if args.core.is_some() && args.modules != Some(Modules::Loaded) {
                bail!("--core is for --modules loaded or --btf; for this, no dump is needed");
            }
            let name = name.as_deref().unwrap_or_default();
            refuse_many(name)?;
            match (find::source(name), build::btf_of(name)) {
                (Ok(found), _) => found,
                // Its bindings were made from BTF by hand.
                (Err(_), Some(btf)) if btf.file.is_file() => {
                    let file = btf.file.clone();
                    asked.btf = Some(btf);
                    (file, name.to_owned())
                }
                (Err(error), _) => return Err(error),
            }
        }
    };
    let extras = extras(args, asked, &vmlinux, &kernel)?;
    let directory = args
        .into
        .clone()
        .unwrap_or_else(|| paths::bindings(&kernel));
    let (done, less) = as_told(&vmlinux, &kernel, &extras, &directory, args.check)?;
    if let Some(less) = less {
        eprintln!("{kernel}: what was there had more: {less}");
    }
    let done = match done {
        Some(done) if args.check && !done.is_fresh() => done,
        Some(_) => return Ok(true),
        None => {
            eprintln!(
                "{kernel}: {} is what {} gives",
                directory.display(),
                vmlinux.display()
            );
            return Ok(true);
        }
    };
    if !directory.join("index.json").exists() {
        eprintln!(
            "{}: there are no bindings; run the same command without --check",
            directory.display()
        );
        return Ok(false);
    }
    for path in done.changed.iter().chain(&done.stale).take(10) {
        eprintln!("differs: {}", path.display());
    }
    eprintln!(
        "{} is not what {} gives; run the same command without --check",
        directory.display(),
        vmlinux.display()
    );
    Ok(false)
}

/// Refuses what may hold several kernels, and says who takes it.
fn refuse_many(path: &str) -> anyhow::Result<()> {
    let vmlinux = Path::new(path);
    // A directory whose name is that of a kernel may stand beside its vmlinux.
    let what = if path.contains('/') && vmlinux.is_dir() {
        "not a regular file"
    } else if vmlinux.is_file() && fleet::is_package(vmlinux) {
        "it is a package"
    } else {
        return Ok(());
    };
    bail!("{path}: {what}; for the kernels in it: cargo xtask gen --all {path}")
}

/// Generates bindings as [`generate`] does, of what the user named. Beside what that gives: what was there before, and is no more.
fn as_told(
    vmlinux: &Path,
    kernel: &str,
    extras: &Extras,
    directory: &Path,
    check: bool,
) -> anyhow::Result<(Option<output::Written>, Option<String>)> {
    let replaces = !check && directory == paths::bindings(kernel);
    let less = replaces
        .then(|| less::than_there(kernel, vmlinux, extras))
        .flatten();
    let done = generate(vmlinux, kernel, extras, directory, check)?;
    let less = less.filter(|_| done.is_some());
    Ok((done, less))
}

/// The debug files of the modules that the user asked for, which must exist, and of those that analyzers ask for, which
/// need not.
fn extras(args: &Args, asked: Asked, vmlinux: &Path, kernel: &str) -> anyhow::Result<Extras> {
    let mut extras = Extras {
        asked,
        ..Extras::default()
    };
    for module in &args.module {
        match find::module(extras.types(vmlinux), vmlinux, kernel, module) {
            Some(path) => {
                check_module(&path, extras.types(vmlinux))?;
                extras.add(module, path)?;
            }
            None => bail!("there is no debug information of module {module} for kernel {kernel}"),
        }
    }
    if extras.asked.btf.is_some() && args.modules == Some(Modules::Loaded) {
        bail!("--modules loaded needs DWARF; name the modules (--module) or take --modules all");
    }
    match (args.modules, &args.core) {
        (Some(Modules::All), _) => {
            extras.asked.all_modules = true;
            extras.add_all(vmlinux, kernel)?;
        }
        (Some(Modules::Loaded), Some(core)) => {
            let mut missing = Vec::new();
            for module in loaded::modules(vmlinux, core)? {
                match find::module(extras.types(vmlinux), vmlinux, kernel, &module) {
                    Some(path) => extras.add(&module, path)?,
                    None => missing.push(module),
                }
            }
            if !missing.is_empty() {
                eprintln!(
                    "{kernel}: loaded, but without debug information: {}",
                    missing.join(", ")
                );
            }
        }
        (Some(Modules::Loaded), None) => bail!("--modules loaded needs --core DUMP"),
        (None, _) => {}
    }
    for file in &args.with {
        let path = file
            .canonicalize()
            .with_context(|| file.display().to_string())?;
        extras.asked.with.push(path);
    }
    extras.add_wanted(&wanted_modules()?, vmlinux, kernel)?;
    extras.only.clone_from(&args.only);
    extras.used_by.clone_from(&args.used_by);
    Ok(extras)
}

/// Refuses what is no module: its variables would be looked for where that module's are.
fn check_module(path: &Path, types: find::Types) -> anyhow::Result<()> {
    // All modules have the section that becomes their `struct module`; their debug files keep its header.
    const THIS_MODULE: &str = ".gnu.linkonce.this_module";
    let image = Image::open(path)?;
    match image.parse() {
        Ok(elf) if elf.has_section(THIS_MODULE) => Ok(()),
        // BTF alone, as in /sys/kernel/btf, doesn't say.
        Err(_) if types == find::Types::Btf => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => bail!(
            "{}: it is no kernel module ({THIS_MODULE} is missing); the types of other files are added by --with",
            path.display()
        ),
    }
}

impl Extras {
    /// What analyzers ask for, and what older bindings were asked for by hand.
    pub fn again(wanted: &BTreeSet<String>, vmlinux: &Path, kernel: &str) -> anyhow::Result<Self> {
        let mut extras = Extras::default();
        if let Some(wishes) = build::wishes(kernel) {
            extras.add_again(wishes, vmlinux, kernel)?;
        }
        extras.add_wanted(wanted, vmlinux, kernel)?;
        Ok(extras)
    }

    /// The files that are read besides the vmlinux.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.modules.values().chain(self.others())
    }

    /// The names of the modules.
    pub fn modules(&self) -> impl Iterator<Item = &String> {
        self.modules.keys()
    }

    /// Files whose types are added, and that are no modules.
    pub fn with(&self) -> &[PathBuf] {
        &self.asked.with
    }

    /// Those that are no modules.
    fn others(&self) -> impl Iterator<Item = &PathBuf> {
        let btf = self.asked.btf.iter();
        let btf = btf.flat_map(|btf| btf.system_map.iter().chain(&btf.core));
        self.asked.with.iter().chain(btf)
    }

    /// What describes this kernel's types.
    pub fn types(&self, vmlinux: &Path) -> find::Types {
        let has_only_btf =
            || Image::open(vmlinux).is_ok_and(|image| btf_reader::has_only_btf(&image));
        if self.asked.btf.is_some() || has_only_btf() {
            find::Types::Btf
        } else {
            find::Types::Dwarf
        }
    }

    fn add(&mut self, asked: &str, path: PathBuf) -> anyhow::Result<()> {
        // What was named by a path is not found by its name again.
        if Path::new(asked).is_file() {
            let path = path
                .canonicalize()
                .with_context(|| path.display().to_string())?;
            self.asked.module_files.push(path);
        }
        let name = dwarf::module_name(&path);
        if let Some(other) = self.modules.get(&name)
            && *other != path
        {
            bail!(
                "two modules are called {name}: {} and {}",
                other.display(),
                path.display()
            );
        }
        self.modules.insert(name, path);
        Ok(())
    }

    fn add_all(&mut self, vmlinux: &Path, kernel: &str) -> anyhow::Result<()> {
        let mut bare = 0;
        for path in find::modules(self.types(vmlinux), vmlinux, kernel) {
            let name = dwarf::module_name(&path);
            if self.modules.contains_key(&name) {
                continue;
            }
            if self.types(vmlinux).are_in(&Image::open(&path)?) {
                self.modules.insert(name, path);
            } else {
                bare += 1;
            }
        }
        if self.modules.is_empty() {
            bail!(
                "there is no debug information of any module of kernel {kernel}{}",
                if bare > 0 {
                    "; the modules found were stripped of it"
                } else {
                    ""
                }
            );
        }
        Ok(())
    }

    /// Adds what analyzers ask for, where it is found.
    fn add_wanted(
        &mut self,
        wanted: &BTreeSet<String>,
        vmlinux: &Path,
        kernel: &str,
    ) -> anyhow::Result<()> {
        for module in wanted {
            if !self.modules.contains_key(module)
                && let Some(path) = find::module(self.types(vmlinux), vmlinux, kernel, module)
            {
                self.modules.insert(module.clone(), path);
            }
        }
        Ok(())
    }

    /// Adds what older bindings were asked for, as far as it is still there.
    fn add_again(&mut self, wishes: Wishes, vmlinux: &Path, kernel: &str) -> anyhow::Result<()> {
        // A vmlinux that was given since takes its place.
        self.asked.btf = wishes.asked.btf.filter(|btf| btf.file == vmlinux);
        for path in wishes.asked.module_files {
            if path.is_file() {
                self.add(&path.to_string_lossy(), path.clone())?;
            }
        }
        if wishes.asked.all_modules {
            self.asked.all_modules = true;
            self.add_all(vmlinux, kernel)?;
        }
        for module in &wishes.modules {
            if !self.modules.contains_key(module)
                && let Some(path) = find::module(self.types(vmlinux), vmlinux, kernel, module)
            {
                self.modules.insert(module.clone(), path);
            }
        }
        for path in wishes.asked.with {
            if path.is_file() {
                self.asked.with.push(path);
            } else {
                eprintln!("{kernel}: {} is there no more", path.display());
            }
        }
        Ok(())
    }
}

/// What a kernel's bindings are made from: a vmlinux, or the BTF that they were made from by hand.
pub fn source(kernel: &str, vmlinux: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(path) = vmlinux {
        return Ok(path.to_owned());
    }
    match build::btf_of(kernel) {
        Some(btf) if btf.file.is_file() => Ok(btf.file),
        Some(btf) => bail!("{} is there no more", btf.file.display()),
        None => find::vmlinux(kernel),
    }
}

/// Whether a kernel's bindings were made from a file with these contents, as [`Input::id`] says.
pub fn is_made_from(kernel: &str, id: &str) -> bool {
    let fixture = paths::fixture_vmlinux();
    stamp::read::<Stamp>(&stamp::of_bindings(kernel)).is_some_and(|it| it.vmlinux.id() == id)
        || selected::stamp(kernel).is_some_and(|it| it.vmlinux.id() == id)
        || paths::is_fixtures(kernel) && Input::of(&fixture, &[]).is_ok_and(|it| it.id() == id)
}

/// The vmlinux that a kernel's bindings, all or those that are used, were made from the last time, if it is still there and the same.
pub fn last_source(kernel: &str) -> Option<PathBuf> {
    let made = stamp::of_bindings(kernel);
    let used = selected::stamp_of(kernel);
    let modified = |path: &Path| path.metadata().and_then(|it| it.modified()).ok();
    let mut stamps = [
        (
            modified(&made),
            stamp::read::<Stamp>(&made).map(|it| it.vmlinux),
        ),
        (
            modified(&used),
            selected::stamp(kernel).map(|it| it.vmlinux),
        ),
    ];
    stamps.sort_by_key(|(modified, _)| Reverse(*modified));
    // BTF is no vmlinux.
    let btf = build::btf_of(kernel).and_then(|btf| btf.file.canonicalize().ok());
    let inputs = stamps.into_iter().filter_map(|(_, input)| input);
    inputs
        .filter(|input| Some(&input.path) != btf.as_ref() && input.is_still_there())
        .map(|input| input.path)
        .next()
}

/// Reads a kernel with its extras, shows how far it is, and says what could not be understood.
pub fn read(vmlinux: &Path, extras: &Extras) -> anyhow::Result<Model> {
    let image = Image::open(vmlinux)?;
    let open = |path: &PathBuf| Image::open(path);
    let modules = extras.modules.values().map(open);
    let modules = modules.collect::<Result<Vec<_>, _>>()?;
    let others = extras.asked.with.iter().map(open);
    let others = others.collect::<Result<Vec<_>, _>>()?;
    if extras.asked.btf.is_some() || btf_reader::has_only_btf(&image) {
        let mut model = btf::read(extras.asked.btf.as_ref(), &image, &modules, &others)?;
        model.asked = extras.asked.clone();
        check_sound(&model, vmlinux)?;
        return Ok(model);
    }
    let bar = ProgressBar::no_length().with_style(ProgressStyle::with_template(
        "{spinner} reading {pos}/{len} units, {msg} types, {elapsed}",
    )?);
    let mut model = dwarf::read_with(&image, &modules, &others, &|progress| {
        bar.set_length(progress.of as u64);
        bar.set_position(progress.units as u64);
        bar.set_message(progress.types.to_string());
    })?;
    bar.finish_and_clear();
    model.asked = extras.asked.clone();
    check_sound(&model, vmlinux)?;
    Ok(model)
}

/// Refuses what is no kernel, and says what could not be understood.
fn check_sound(model: &Model, source: &Path) -> anyhow::Result<()> {
    if model.kernel.release.is_empty() {
        bail!(
            "{}: it is not a Linux kernel: there is no linux_banner in it",
            source.display()
        );
    }
    if model.problems.total() != 0 {
        eprintln!(
            "warning: in the debug information of {}: {} references lead nowhere, {} types contain themselves, {} members lie outside their struct; these are left out",
            source.display(),
            model.problems.dangling,
            model.problems.recursive,
            model.problems.outside
        );
    }
    Ok(())
}

/// What bindings were made from. If all of this is the same, so are they.
#[derive(Serialize, Deserialize, PartialEq)]
pub struct Stamp {
    pub generator: String,
    pub vmlinux: Input,
    /// By name.
    modules: BTreeMap<String, Input>,
    /// Other files that were read.
    others: Vec<Input>,
    asked: Asked,
    only: Vec<String>,
    /// What the sources name to which the bindings are limited, if they are.
    identifiers: BTreeSet<String>,
    /// Of the bindings, as they were written.
    digest: String,
}

impl Stamp {
    fn of(
        vmlinux: &Path,
        extras: &Extras,
        identifiers: BTreeSet<String>,
        old: Option<&Stamp>,
    ) -> anyhow::Result<Self> {
        let known: Vec<&Input> = old.map_or_else(Vec::new, |old| {
            let vmlinux = std::iter::once(&old.vmlinux);
            vmlinux
                .chain(old.modules.values())
                .chain(&old.others)
                .collect()
        });
        let modules = extras.modules.iter();
        let modules = modules.map(|(name, path)| Ok((name.clone(), Input::of(path, &known)?)));
        let others = extras.others();
        Ok(Stamp {
            generator: stamp::GENERATOR.to_owned(),
            vmlinux: Input::of(vmlinux, &known)?,
            modules: modules.collect::<anyhow::Result<_>>()?,
            others: others
                .map(|path| Input::of(path, &known))
                .collect::<anyhow::Result<_>>()?,
            asked: extras.asked.clone(),
            only: extras.only.clone(),
            identifiers,
            digest: old.map_or_else(String::new, |old| old.digest.clone()),
        })
    }

    /// Whether the bindings in their folder are as they were written.
    fn is_whole(&self, directory: &Path) -> bool {
        build::identity_in(directory).is_some()
            && stamp::digest(directory, "").is_ok_and(|digest| digest == self.digest)
    }
}

/// Generates the bindings of a kernel, or checks them. Those that are in their usual place, were made from the same by the same
/// generator and are as they were written are left as they are: then the answer is `None`.
pub fn generate(
    vmlinux: &Path,
    kernel: &str,
    extras: &Extras,
    directory: &Path,
    check: bool,
) -> anyhow::Result<Option<output::Written>> {
    let identifiers = if extras.used_by.is_empty() {
        BTreeSet::new()
    } else {
        let mut sources = extras.used_by.clone();
        sources.push(paths::generated_sources());
        selected::identifiers_in(sources)?
    };
    let _lock = stamp::lock(directory)?;
    let is_usual = directory == paths::bindings(kernel);
    if check || !is_usual {
        return make(vmlinux, kernel, extras, &identifiers, directory, check).map(Some);
    }
    generate_locked(vmlinux, kernel, extras, identifiers)
}

/// Generates bindings in their usual place, of which the caller has the lock.
fn generate_locked(
    vmlinux: &Path,
    kernel: &str,
    extras: &Extras,
    identifiers: BTreeSet<String>,
) -> anyhow::Result<Option<output::Written>> {
    let directory = &paths::bindings(kernel);
    let stamp_file = stamp::of_bindings(kernel);
    let old: Option<Stamp> = stamp::read(&stamp_file);
    let mut new = Stamp::of(vmlinux, extras, identifiers, old.as_ref())?;
    if old.is_some_and(|old| old == new) && new.is_whole(directory) {
        // It may have been moved.
        stamp::write(&stamp_file, &new)?;
        return Ok(None);
    }
    stamp::remove(&stamp_file)?;
    let written = make(vmlinux, kernel, extras, &new.identifiers, directory, false)?;
    new.digest = stamp::digest(directory, "")?;
    stamp::write(&stamp_file, &new)?;
    Ok(Some(written))
}

fn make(
    vmlinux: &Path,
    kernel: &str,
    extras: &Extras,
    identifiers: &BTreeSet<String>,
    directory: &Path,
    check: bool,
) -> anyhow::Result<output::Written> {
    let start = Instant::now();
    let model = read(vmlinux, extras)?;
    let read = start.elapsed();
    if let Some(identity) = build::origin_in(directory)
        && !identity.banner.is_empty()
        && identity.banner != model.kernel.banner
    {
        bail!(
            "{} holds the bindings of another kernel: {}; remove that folder, or give this vmlinux another name (vmlinux-NAME)",
            directory.display(),
            identity.banner
        );
    }
    let mut command = format!("cargo xtask gen {kernel}");
    let item_names = names::assign(&model);
    let only = &extras.only;
    let selection = if !extras.used_by.is_empty() {
        Some(select::used_by(&model, &item_names, identifiers))
    } else if only.is_empty() {
        None
    } else {
        command.push_str(&format!(" --only {}", only.join(",")));
        let selection = select::closure_of(&model, &item_names, only)
            .map_err(|unknown| anyhow!("kernel {kernel} has no type {}", unknown.join(", nor ")))?;
        eprintln!(
            "{kernel}: {} of {} types are {}, or what they embed or point to",
            selection.count(),
            model.items.len(),
            only.join(", ")
        );
        Some(selection)
    };
    let (files, table) = emitted(&model, &item_names, selection.as_ref(), &command)?;
    let written = output::write(directory, &files, &table, check)?;
    if !extras.modules.is_empty() {
        let names: Vec<&str> = extras.modules.keys().map(String::as_str).collect();
        match names.len() {
            ..=NAMED => eprintln!("{kernel}: with modules {}", names.join(", ")),
            count => eprintln!("{kernel}: with {count} modules"),
        }
    }
    let selected = selection.map_or_else(String::new, |it| format!("{} of ", it.count()));
    eprintln!(
        "{kernel}: {selected}{} types, {} variables, {} functions; read in {:.2} s, {} in {:.2} s: {} files, {} {}",
        model.items.len(),
        model.variables.len(),
        model.functions.len(),
        read.as_secs_f64(),
        if check { "checked" } else { "written" },
        (start.elapsed() - read).as_secs_f64(),
        files.len() + 1,
        written.changed.len() + written.stale.len(),
        if check { "differ" } else { "changed" },
    );
    Ok(written)
}

/// What bindings are made of: Rust of all or of what is selected, and the table of all types.
pub fn emitted(
    model: &Model,
    names: &Names,
    selection: Option<&Selection>,
    command: &str,
) -> anyhow::Result<(emit::Files, Vec<u8>)> {
    let (files, table) = rayon::join(
        || emit::selected(model, names, selection, command),
        || emit::table(model, names),
    );
    Ok((files?, table))
}

/// What became of bindings that nobody asked to be replaced.
#[derive(Debug)]
pub enum Improved {
    /// There were none, or those that an older generator made, or less was in them.
    Made,
    /// They were there.
    Same,
    /// They stay, as what was found would give less, or other ones: it is said why.
    Kept(String),
}

/// Who wants bindings.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// `gen --all`, which never replaces what is part of the repository.
    All,
    /// What needs a kernel's bindings, whoever made them from what.
    Need,
}

/// Generates the bindings of a kernel from what was found for it, of which the user didn't say that they are to be made of that. What is there
/// is only replaced if an older generator made it, it is damaged, or nothing that is in it gets lost. Another kernel's bindings are an error.
pub fn improve(
    vmlinux: &Path,
    kernel: &str,
    modules: &BTreeSet<String>,
    by: By,
) -> anyhow::Result<Improved> {
    let directory = &paths::bindings(kernel);
    let _lock = stamp::lock(directory)?;
    // What was asked for by hand is kept, also from bindings of another version.
    let extras = Extras::again(modules, vmlinux, kernel);
    if build::origin_in(directory).is_some() {
        let stamp: Option<Stamp> = stamp::read(&stamp::of_bindings(kernel));
        let versioned = by == By::All && paths::is_versioned(kernel);
        if !less::is_same(kernel, vmlinux, stamp.as_ref().map(|it| &it.vmlinux))? {
            let whose = if versioned {
                ", whose bindings are the repository's,"
            } else {
                ""
            };
            bail!(
                "another kernel{whose} is called {kernel}; give this vmlinux another name (vmlinux-NAME), or: cargo xtask kernels remove {kernel}"
            );
        }
        let is_whole = stamp.as_ref().is_none_or(|it| it.is_whole(directory));
        let is_usable = build::identity_in(directory).is_some() && is_whole;
        let less = match &extras {
            Ok(extras) => less::than_there(kernel, vmlinux, extras),
            Err(error) => Some(format!("{error:#}")),
        };
        if versioned {
            return Ok(less.map_or(Improved::Same, Improved::Kept));
        }
        // A selection has less than any that is whole.
        if is_usable
            && !build::is_selection(directory)
            && let Some(less) = less
        {
            return Ok(Improved::Kept(less));
        }
    }
    let extras = extras?;
    let made = generate_locked(vmlinux, kernel, &extras, BTreeSet::new())?;
    Ok(made.map_or(Improved::Same, |_| Improved::Made))
}

/// Generates the bindings of a kernel unless there are those that would be made, of all its types. Without a path the kernel's vmlinux is
/// looked for; where there is none, bindings of this version of kstruct will do.
pub fn ensure(kernel: &str, vmlinux: Option<&Path>) -> anyhow::Result<()> {
    let vmlinux = match (source(kernel, vmlinux), build::identity(kernel)) {
        (Ok(vmlinux), _) => vmlinux,
        // There is nothing to make better ones from.
        (Err(_), Some(_)) => return Ok(()),
        (Err(error), None) => {
            return Err(error.context(format!(
                "there are no bindings of kernel {kernel} that fit this version"
            )));
        }
    };
    if let Improved::Kept(why) = improve(&vmlinux, kernel, &wanted_modules()?, By::Need)? {
        eprintln!("{kernel}: {} would give less: {why}", vmlinux.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A name that no kernel has, whose bindings are removed at the end.
    struct Kernel(String);

    impl Kernel {
        fn new(name: &str) -> Self {
            Kernel(format!("test-{name}-{}", std::process::id()))
        }

        fn folder(&self) -> PathBuf {
            paths::bindings(&self.0)
        }

        /// Generates the fixture's bindings under this name; says whether anything was made.
        fn is_made(&self, vmlinux: &Path, extras: &Extras) -> bool {
            generate(vmlinux, &self.0, extras, &self.folder(), false)
                .expect("the fixture is sound")
                .is_some()
        }
    }

    impl Drop for Kernel {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(self.folder());
            let _ = fs::remove_file(stamp::of_bindings(&self.0));
        }
    }

    #[test]
    fn bindings_are_made_once_and_anew_if_anything_differs() {
        let kernel = Kernel::new("cache");
        let fixture = paths::fixture_vmlinux();
        let plain = Extras::default();
        assert!(kernel.is_made(&fixture, &plain));
        assert!(!kernel.is_made(&fixture, &plain));
        // The fixture has no build id: it goes by its contents, wherever they lie.
        let elsewhere = tempfile::tempdir().expect("a folder");
        let copy = elsewhere.path().join("vmlinux");
        fs::copy(&fixture, &copy).expect("it can be copied");
        assert!(!kernel.is_made(&copy, &plain));
        // Modules, and what is selected, are part of what was asked for.
        let mut with_module = Extras::default();
        let module = paths::fixture_modules().join("ip_tables.ko");
        with_module.add("ip_tables", module).expect("it is one");
        assert!(kernel.is_made(&fixture, &with_module));
        assert!(!kernel.is_made(&fixture, &with_module));
        let only = Extras {
            only: vec!["task_struct".to_owned()],
            ..Extras::default()
        };
        assert!(kernel.is_made(&fixture, &only));
        assert!(kernel.is_made(&fixture, &plain));
        // Damage shows, whatever it is, and so does what an interrupted run leaves.
        let damages: [fn(&Path); 4] = [
            |folder| fs::write(folder.join("mod.rs"), "").expect("it can be written"),
            |folder| fs::remove_file(folder.join("names.txt")).expect("it is there"),
            |folder| fs::remove_file(folder.join("index.json")).expect("it is there"),
            |folder| fs::remove_dir_all(folder).expect("it is there"),
        ];
        for damage in damages {
            damage(&kernel.folder());
            assert!(kernel.is_made(&fixture, &plain));
            assert!(!kernel.is_made(&fixture, &plain));
        }
        fs::write(stamp::of_bindings(&kernel.0), "{").expect("it can be written");
        assert!(kernel.is_made(&fixture, &plain));
        // What is made anew is the same.
        let digest = || stamp::digest(&kernel.folder(), "").expect("it is there");
        let before = digest();
        fs::remove_file(stamp::of_bindings(&kernel.0)).expect("it is there");
        assert!(kernel.is_made(&fixture, &plain));
        assert_eq!(digest(), before);
    }

    #[test]
    fn what_was_named_replaces_what_had_more_and_that_is_said() {
        let kernel = Kernel::new("told");
        let fixture = paths::fixture_vmlinux();
        let plain = Extras::default();
        let mut with_module = Extras::default();
        let module = paths::fixture_modules().join("ip_tables.ko");
        with_module.add("ip_tables", module).expect("it is one");
        let said = |extras: &Extras, check| {
            let told = as_told(&fixture, &kernel.0, extras, &kernel.folder(), check);
            told.expect("the fixture is sound").1
        };
        assert_eq!(said(&with_module, false), None);
        assert_eq!(said(&with_module, false), None);
        // To check is to replace nothing.
        assert_eq!(said(&plain, true), None);
        let less = "1 module's types before, none now: ip_tables".to_owned();
        assert_eq!(said(&plain, false), Some(less));
        assert_eq!(said(&plain, false), None);
        assert_eq!(said(&with_module, false), None);
    }

    #[test]
    fn who_gives_a_folder_or_a_package_is_told_what_takes_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let package = folder.path().join("linux-image-dbg.deb");
        fs::write(&package, "text").expect("it can be written");
        for path in [folder.path(), &package] {
            let path = path.display().to_string();
            let said = refuse_many(&path).expect_err("it is no vmlinux");
            let hint = format!("cargo xtask gen --all {path}");
            assert!(said.to_string().ends_with(&hint), "{said}");
        }
        let fixture = paths::fixture_vmlinux().display().to_string();
        assert!(refuse_many(&fixture).is_ok() && refuse_many("6.12").is_ok());
    }

    /// What needs bindings takes no poorer ones, and none of another kernel.
    #[test]
    fn what_is_found_does_not_replace_what_has_more() {
        let kernel = Kernel::new("found");
        let folder = tempfile::tempdir().expect("a folder");
        let copy = folder.path().join("vmlinux");
        fs::copy(paths::fixture_vmlinux(), &copy).expect("it can be copied");
        let modules = || {
            let identity = build::identity(&kernel.0).expect("they were made");
            identity.modules.len()
        };
        ensure(&kernel.0, Some(&paths::fixture_vmlinux())).expect("the fixture is sound");
        assert_eq!(modules(), 7);
        ensure(&kernel.0, Some(&copy)).expect("what is there will do");
        assert_eq!(modules(), 7);
        // A selection has less than all, whatever its modules are.
        let only = Extras {
            only: vec!["task_struct".to_owned()],
            ..Extras::default()
        };
        assert!(kernel.is_made(&copy, &only));
        assert!(build::is_selection(&kernel.folder()));
        ensure(&kernel.0, Some(&copy)).expect("the fixture is sound");
        assert!(!build::is_selection(&kernel.folder()));
        let other = folder.path().join("other");
        let changed = std::process::Command::new("objcopy")
            .args([
                "--remove-section=.comment",
                "--add-section=.other=/proc/version",
            ])
            .args([&copy, &other])
            .status();
        assert!(changed.is_ok_and(|it| it.success()), "objcopy");
        let error = ensure(&kernel.0, Some(&other)).expect_err("it is another one");
        assert!(
            error.to_string().contains("another kernel is called"),
            "{error}"
        );
    }

    #[test]
    fn two_who_want_the_same_bindings_make_them_once() {
        let kernel = Kernel::new("two");
        let fixture = paths::fixture_vmlinux();
        let made: Vec<bool> = std::thread::scope(|scope| {
            let one = || kernel.is_made(&fixture, &Extras::default());
            let runs = [scope.spawn(one), scope.spawn(one), scope.spawn(one)];
            runs.map(|run| run.join().expect("nobody panicked")).into()
        });
        assert_eq!(made.iter().filter(|made| **made).count(), 1);
    }
}

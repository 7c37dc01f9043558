//! `cargo xtask kernels`: which kernels there are, what is there of each, and in which dumps they were met; `remove` frees the disk.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use comfy_table::{CellAlignment, Table, presets};
use kstruct::{EM_386, EM_AARCH64, EM_PPC64, EM_RISCV, EM_S390, EM_X86_64};
use kstruct_codegen::index::Identity;
use serde::Serialize;

use crate::seen::{self, Seen};
use crate::{build, find, generate, paths, selected, stamp};

/// Options of `cargo xtask kernels`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// How the list is printed
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Remove what was made for kernels: bindings, analyzers and what they were compiled from, and debug information that kstruct unpacked or
    /// downloaded. Files of others stay
    Remove {
        /// The kernels, by the names that the list shows, or as --kernel takes them: the beginning of a release, a build id, the path of a
        /// vmlinux. What several kernels could be is refused
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    match &args.action {
        Some(Action::Remove { names }) => {
            let known = kernels()?;
            let known: Vec<(&str, &str)> = known
                .iter()
                .map(|kernel| {
                    (
                        &*kernel.name,
                        kernel.build_id.as_deref().unwrap_or_default(),
                    )
                })
                .collect();
            // Nothing is removed unless each is one that is there.
            let names = names.iter().map(|wanted| find::among(wanted, &known));
            let names: BTreeSet<String> = names.collect::<anyhow::Result<_>>()?;
            names.iter().try_for_each(|name| remove(name))
        }
        None if args.format == Format::Json => {
            println!("{}", serde_json::to_string_pretty(&kernels()?)?);
            Ok(())
        }
        None => {
            show(&kernels()?);
            Ok(())
        }
    }
}

/// A kernel of which something is there, or which was met in a dump.
#[derive(Debug, Default, Serialize)]
struct Kernel {
    /// What `--kernel` takes.
    name: String,
    /// `uname -r`; `null` if it isn't known.
    release: Option<String>,
    /// In hexadecimal; `null` if the kernel has none, or it isn't known.
    build_id: Option<String>,
    /// As the runtime names machines: `x86_64`, `i386`.
    machine: Option<String>,
    /// All bindings, as `gen` makes them.
    all: Option<Bindings>,
    /// Those of what analyzers use.
    used: Option<Bindings>,
    /// The analyzers that are built.
    analyzers: Vec<String>,
    /// Bytes on disk that `remove` would free: files that another kernel shares don't count.
    bytes: u64,
    /// What `gen` makes bindings of this name from, or did the last time.
    debug_information: Option<PathBuf>,
    /// Whether that is still there, and the same.
    debug_information_is_there: bool,
    /// The dumps on which analyzers were run.
    dumps: Vec<Dump>,
}

#[derive(Debug, Serialize)]
struct Bindings {
    /// When their files were last changed, in seconds since 1970.
    made: u64,
    /// How many modules' types they have.
    modules: usize,
    /// Whether this version of kstruct would make the same.
    is_of_this_version: bool,
}

#[derive(Debug, Serialize)]
struct Dump {
    path: PathBuf,
    /// When it was last looked at, in seconds since 1970.
    last: u64,
}

/// All kernels by name.
fn kernels() -> anyhow::Result<Vec<Kernel>> {
    let mut kernels: BTreeMap<String, Kernel> = BTreeMap::new();
    // Each with what is in it if it is a kernel's: beside bindings lie the sources of crate `kernel`, and a build that failed leaves what cargo had compiled.
    let folders = [
        (paths::bindings(""), "index.json"),
        (paths::selected(""), "index.json"),
        (paths::target(""), "release"),
        (paths::binaries(""), ""),
    ];
    for (folder, sign) in &folders {
        for name in names_in(folder) {
            if folder.join(&name).join(sign).exists() {
                kernels.entry(name).or_default();
            }
        }
    }
    // Those that are gone would make rows that nobody can remove.
    let mut seen = seen::all();
    seen.retain(Seen::is_there);
    for found in &seen {
        kernels.entry(found.kernel.clone()).or_default();
    }
    let here = find::Here::usual();
    let mut known = HashSet::new();
    for (name, kernel) in &mut kernels {
        kernel.fill(name, &seen, &here);
        known.extend(kernel.debug_information.clone());
    }
    // What could be generated.
    for found in here.all() {
        let path = &found.path;
        if known.contains(&path.canonicalize().unwrap_or_else(|_| path.clone())) {
            continue;
        }
        let id = found
            .kernel
            .as_ref()
            .map(|it| find::hexadecimal(&it.build_id));
        let id = id.filter(|id| !id.is_empty());
        let mut name = found.name.clone();
        if let (Some(other), Some(id)) = (kernels.get(&name), &id)
            && other.build_id.as_ref().is_some_and(|other| other != id)
        {
            name = find::name_of_build(&name, id);
        }
        let kernel = kernels.entry(name.clone()).or_default();
        if kernel.debug_information_is_there {
            continue;
        }
        kernel.name = name;
        if let Some(it) = &found.kernel {
            kernel.machine = Some(machine(it.machine, it.big_endian));
            kernel.release = Some(it.release.clone());
            kernel.build_id = id;
        }
        kernel.debug_information_is_there = true;
        kernel.debug_information = Some(path.clone());
    }
    Ok(kernels.into_values().collect())
}

impl Kernel {
    fn fill(&mut self, name: &str, seen: &[Seen], here: &find::Here) {
        name.clone_into(&mut self.name);
        let made = stamp::read::<generate::Stamp>(&stamp::of_bindings(name));
        let (folder, identity) = (paths::bindings(name), build::identity(name));
        let is_new = made
            .as_ref()
            .is_some_and(|made| made.generator == stamp::GENERATOR);
        self.all = Bindings::of(&folder, identity.as_ref(), is_new);
        let chosen = selected::stamp(name);
        let folder = paths::selected(name);
        let selected = build::identity_in(&folder);
        let is_new = chosen
            .as_ref()
            .is_some_and(|it| it.generator == stamp::GENERATOR);
        self.used = Bindings::of(&folder, selected.as_ref(), is_new);
        if let Some(identity) = identity.or(selected) {
            self.machine = Some(machine(identity.machine, identity.big_endian));
            self.release = Some(identity.release);
            self.build_id = Some(identity.build_id).filter(|id| !id.is_empty());
        }
        self.analyzers = names_in(&paths::binaries(name));
        self.bytes = disk(&own_places(name)).unwrap_or(0);
        // What `gen` takes for this name.
        let named = here.named(name);
        let named = named.and_then(|path| path.canonicalize().ok());
        let btf = build::btf_of(name).map(|btf| btf.file);
        let there = named.or_else(|| btf.filter(|file| file.is_file()));
        self.debug_information_is_there = there.is_some();
        self.debug_information = there
            .or(chosen.map(|it| it.vmlinux.path))
            .or(made.map(|it| it.vmlinux.path));
        for found in seen.iter().filter(|found| found.kernel == name) {
            self.release = self.release.take().or_else(|| found.release.clone());
            self.build_id = self.build_id.take().or_else(|| found.build_id.clone());
            self.dumps.push(Dump {
                path: found.core.clone(),
                last: found.last,
            });
        }
    }

    fn cells(&self, now: u64) -> Vec<String> {
        let bindings = |bindings: &Option<Bindings>| match bindings {
            None => "-".to_owned(),
            Some(it) => format!(
                "{} ago, {} modules{}",
                age(now.saturating_sub(it.made)),
                it.modules,
                if it.is_of_this_version {
                    ""
                } else {
                    ", older version"
                }
            ),
        };
        vec![
            self.name.clone(),
            self.machine.clone().unwrap_or_else(|| "?".to_owned()),
            self.build_id
                .as_ref()
                .and_then(|id| id.get(..8))
                .unwrap_or("-")
                .to_owned(),
            bindings(&self.all),
            bindings(&self.used),
            self.analyzers.len().to_string(),
            format!("{} MB", self.bytes.div_ceil(1_000_000)),
            self.dumps.len().to_string(),
            match &self.debug_information {
                None => "not found".to_owned(),
                Some(path) if self.debug_information_is_there => path.display().to_string(),
                Some(path) => format!("{} (is there no more)", path.display()),
            },
        ]
    }
}

impl Bindings {
    fn of(folder: &Path, identity: Option<&Identity>, is_new: bool) -> Option<Self> {
        let index = folder.join("index.json");
        let made = index.metadata().ok()?.modified().ok()?;
        Some(Bindings {
            made: made.duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs()),
            modules: identity.map_or(0, |identity| identity.modules.len()),
            is_of_this_version: is_new && identity.is_some(),
        })
    }
}

fn show(kernels: &[Kernel]) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |it| it.as_secs());
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "kernel",
        "machine",
        "build id",
        "all bindings",
        "used bindings",
        "analyzers",
        "disk",
        "dumps",
        "debug information",
    ]);
    for kernel in kernels {
        table.add_row(kernel.cells(now));
    }
    for column in [5, 6, 7] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    println!("{table}");
    for kernel in kernels {
        for dump in &kernel.dumps {
            let age = age(now.saturating_sub(dump.last));
            println!(
                "{} was met {age} ago in {}",
                kernel.name,
                dump.path.display()
            );
        }
    }
}

/// A time in the unit that suits it.
fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86400),
    }
}

/// A machine of ELF, as the runtime names it.
fn machine(machine: u16, big_endian: bool) -> String {
    match machine {
        EM_386 => "i386".to_owned(),
        EM_X86_64 => "x86_64".to_owned(),
        EM_AARCH64 => "arm64".to_owned(),
        EM_PPC64 if big_endian => "ppc64".to_owned(),
        EM_PPC64 => "ppc64le".to_owned(),
        EM_S390 => "s390x".to_owned(),
        EM_RISCV => "riscv".to_owned(),
        other => format!("machine {other}"),
    }
}

/// What is in a folder and neither hidden nor being written.
fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.') && !name.contains(".new"))
        .collect();
    names.sort();
    names
}

/// What was made for a kernel, and nobody else needs.
fn own_places(name: &str) -> Vec<PathBuf> {
    let mut places = vec![
        paths::selected(name),
        paths::target(name),
        paths::binaries(name),
        stamp::of_bindings(name),
    ];
    if !paths::is_versioned(name) {
        places.push(paths::bindings(name));
    }
    let vmlinux = [
        selected::stamp(name).map(|it| it.vmlinux.path),
        stamp::read::<generate::Stamp>(&stamp::of_bindings(name)).map(|it| it.vmlinux.path),
    ];
    // It may be there more than once.
    let others = find::of_name(name, build_id_of(name).as_deref());
    for path in vmlinux.into_iter().flatten().chain(others) {
        places.extend(own_debug_information(&path));
    }
    places.sort();
    places.dedup();
    places
}

/// The build id that a kernel's bindings have.
fn build_id_of(name: &str) -> Option<String> {
    let identity = build::identity(name).or_else(|| build::identity_in(&paths::selected(name)));
    identity.map(|it| it.build_id).filter(|id| !id.is_empty())
}

/// The files around a vmlinux that kstruct itself unpacked or downloaded.
fn own_debug_information(vmlinux: &Path) -> Vec<PathBuf> {
    let real = |path: PathBuf| path.canonicalize().unwrap_or(path);
    let unpacked = real(paths::unpacked());
    if let Ok(inside) = vmlinux.strip_prefix(&unpacked) {
        return inside
            .components()
            .next()
            .map(|package| unpacked.join(package))
            .into_iter()
            .collect();
    }
    let fetched = real(paths::debuginfod());
    if !vmlinux.starts_with(&fetched) {
        return Vec::new();
    }
    // The debug file, or the executable beside it; and the links to it and its modules, with what they lead to.
    let mut places = vec![vmlinux.with_extension("debug"), vmlinux.with_extension("")];
    let releases = fs::read_dir(fetched.join("usr/lib/debug/lib/modules"));
    for release in releases.into_iter().flatten().flatten() {
        let release = release.path();
        let leads_here = release.join("vmlinux").canonicalize();
        if leads_here.is_ok_and(|file| file == vmlinux) {
            let links = fs::read_dir(&release).into_iter().flatten().flatten();
            places.extend(links.filter_map(|link| link.path().canonicalize().ok()));
            places.push(release);
        }
    }
    places.sort();
    places.dedup();
    places
}

/// Bytes on disk that are freed if all of this is removed: what has links elsewhere stays.
pub fn disk(places: &[PathBuf]) -> std::io::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;

    let mut links: HashMap<(u64, u64), (u64, u64, u64)> = HashMap::new();
    let mut pending = places.to_vec();
    while let Some(path) = pending.pop() {
        let Ok(metadata) = path.symlink_metadata() else {
            continue;
        };
        if metadata.is_dir() {
            for entry in fs::read_dir(&path)? {
                pending.push(entry?.path());
            }
        }
        let seen = links.entry((metadata.dev(), metadata.ino())).or_insert((
            0,
            metadata.nlink(),
            metadata.blocks() * 512,
        ));
        seen.0 += 1;
        if metadata.is_dir() {
            // A folder's other links are its own.
            seen.1 = 1;
        }
    }
    Ok(links
        .into_values()
        .filter(|(seen, links, _)| seen >= links)
        .map(|(_, _, bytes)| bytes)
        .sum())
}

/// Removes what was made for a kernel.
fn remove(name: &str) -> anyhow::Result<()> {
    let places = own_places(name);
    let bytes = disk(&places)?;
    let there = places.iter().filter(|it| it.symlink_metadata().is_ok());
    let there: Vec<String> = there
        .map(|it| it.strip_prefix(paths::root()).unwrap_or(it))
        .map(|it| it.display().to_string())
        .collect();
    {
        // Nobody must be building for it, or generating.
        let _target = build::lock(name)?;
        let _bindings = stamp::lock(&paths::bindings(name))?;
        // Stamps go first: what is left after an interruption is made anew.
        for place in places.iter().rev() {
            let removed = if place.is_dir() {
                fs::remove_dir_all(place)
            } else if place.symlink_metadata().is_ok() {
                fs::remove_file(place)
            } else {
                Ok(())
            };
            removed.with_context(|| place.display().to_string())?;
        }
    }
    if there.is_empty() {
        println!("{name}: nothing was made for it; files of others, and dumps, stay");
    } else {
        println!(
            "{name}: removed {}: {} MB are free",
            there.join(", "),
            bytes.div_ceil(1_000_000)
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_links_elsewhere_is_not_freed() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let (mine, other) = (folder.join("mine"), folder.join("other"));
        fs::create_dir_all(mine.join("deep")).expect("a folder");
        fs::create_dir(&other).expect("a folder");
        let bytes = vec![1; 1 << 20];
        fs::write(mine.join("deep/own"), &bytes).expect("it can be written");
        fs::write(mine.join("shared"), &bytes).expect("it can be written");
        fs::hard_link(mine.join("shared"), other.join("shared")).expect("it can be linked");
        // Two names in one place are one file.
        fs::write(mine.join("twice"), &bytes).expect("it can be written");
        fs::hard_link(mine.join("twice"), mine.join("deep/twice")).expect("it can be linked");
        let freed = disk(&[mine.clone(), folder.join("missing")]).expect("it can be read");
        assert_eq!(freed >> 20, 2, "{freed}");
        let freed = disk(&[mine, other]).expect("it can be read");
        assert_eq!(freed >> 20, 3, "{freed}");
    }

    #[test]
    fn only_what_kstruct_fetched_is_removed_with_a_kernel() {
        let none: [PathBuf; 0] = [];
        for path in [
            "/usr/lib/debug/boot/vmlinux-6.1.0-50-amd64",
            "/usr/lib/debug/.build-id/7f/76f39f.debug",
        ] {
            assert_eq!(own_debug_information(Path::new(path)), none);
        }
        assert_eq!(own_debug_information(&paths::fixture_vmlinux()), none);
        let debug = paths::debuginfod().join("usr/lib/debug/.build-id/7f/76f39f.debug");
        let files = own_debug_information(&debug);
        assert!(files.contains(&debug) || !paths::debuginfod().exists());
        let tree = paths::unpacked().join("kernel-debuginfo");
        let vmlinux = tree.join("usr/lib/debug/lib/modules/6.1/vmlinux");
        let files = own_debug_information(&vmlinux);
        assert!(files == [tree] || paths::unpacked().exists());
    }

    #[test]
    fn what_can_be_built_for_is_listed() {
        let kernels = kernels().expect("they can be listed");
        let fixture = kernels.iter().find(|kernel| kernel.name == "2.6.9");
        let fixture = fixture.expect("the repository has it");
        assert_eq!(fixture.release.as_deref(), Some("2.6.9-kstruct"));
        assert_eq!(fixture.machine.as_deref(), Some("i386"));
        assert_eq!(fixture.build_id, None);
        let all = fixture.all.as_ref().expect("they are committed");
        assert_eq!(all.modules, 7);
        assert!(fixture.debug_information_is_there);
        // It is the repository's.
        assert!(!own_places("2.6.9").contains(&paths::bindings("2.6.9")));
        assert!(own_places("6.1").contains(&paths::bindings("6.1")));
    }

    #[test]
    fn ages_are_in_the_unit_that_suits_them() {
        for (seconds, shown) in [(59, "59 s"), (61, "1 min"), (7200, "2 h"), (300_000, "3 d")] {
            assert_eq!(age(seconds), shown);
        }
    }
}

//! `cargo xtask gen --all DIR`: the bindings of every kernel in a folder of debug packages.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Instant, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use comfy_table::{CellAlignment, Table, presets};
use serde::{Deserialize, Serialize};

use crate::generate::Improved;
use crate::lab::programs;
use crate::{build, find, generate, inventory, paths, stamp, workspace};

/// Of SUSE's packages one has the kernel (`kernel-default`), the other its debug information. A tree that has both is read.
const SPLIT: &str = "debug information without its kernel, which is in another package: unpack both into one folder, and name that in KSTRUCT_DEBUG_PATH";
/// What generating one kernel may need at once: 0.5 GiB, and pages of its vmlinux that should stay in memory.
const MEMORY: u64 = 1 << 30;

/// Generates all, as many at a time as processors and memory allow, and prints a report. Says whether all is well: what has no kernel in it is
/// no error.
pub fn run(directory: &Path) -> anyhow::Result<bool> {
    let (sources, unreadable) = search(directory)?;
    if sources.is_empty() && unreadable.is_empty() {
        bail!(
            "{}: it is no package (.deb, .ddeb, .rpm) and no vmlinux, nor a folder with one",
            directory.display()
        );
    }
    let modules = workspace::wanted_modules()?;
    let jobs = usual_jobs().clamp(1, sources.len().max(1));
    let start = Instant::now();
    let mut rows = generate_all(&sources, &paths::unpacked(), &modules, jobs);
    rows.extend(unreadable);
    println!("{}", report(&rows, directory));
    let count = |is: fn(&Outcome) -> bool| rows.iter().filter(|row| is(&row.outcome)).count();
    let failed = count(|outcome| matches!(outcome, Outcome::Failed(_)));
    eprintln!(
        "{} of {} are new, {} were there, {} have no kernel, {failed} failed; {:.0} s, {jobs} at a time",
        count(|outcome| matches!(outcome, Outcome::Made)),
        rows.len(),
        count(|outcome| matches!(outcome, Outcome::Same | Outcome::Kept(_))),
        count(|outcome| matches!(outcome, Outcome::Nothing)),
        start.elapsed().as_secs_f64()
    );
    Ok(failed == 0)
}

fn usual_jobs() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("MemAvailable:"))?;
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
        usize::try_from((kilobytes << 10) / MEMORY).ok()
    });
    cores.min(memory.unwrap_or(1)).max(1)
}

/// A file that may have a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Deb,
    Rpm,
    /// A vmlinux. It comes after all packages, of which one may have the same kernel with its modules.
    Plain,
}

type Source = (Kind, PathBuf);

/// Whether a file is a package, which `gen --all` unpacks, going by its name.
pub fn is_package(path: &Path) -> bool {
    matches!(kind(path), Some(Kind::Deb | Kind::Rpm))
}

fn kind(path: &Path) -> Option<Kind> {
    let name = path.file_name()?.to_string_lossy();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("deb" | "ddeb") => Some(Kind::Deb),
        Some("rpm") => Some(Kind::Rpm),
        _ if name.starts_with("vmlinux") => Some(Kind::Plain),
        _ => None,
    }
}

/// The packages in a folder and those below it, and the files that are called vmlinux. Links come last: it is the file's own name that counts.
/// And a row for each folder that can't be read. One package may be given for a folder.
fn search(directory: &Path) -> anyhow::Result<(Vec<Source>, Vec<Row>)> {
    if directory.is_file() {
        let kind = kind(directory).map(|kind| (kind, directory.to_owned()));
        return Ok((kind.into_iter().collect(), Vec::new()));
    }
    let (mut found, mut unreadable) = (Vec::new(), Vec::new());
    let mut pending = vec![directory.to_owned()];
    while let Some(folder) = pending.pop() {
        let entries = fs::read_dir(&folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let entries = match entries.with_context(|| folder.display().to_string()) {
            Ok(entries) => entries,
            Err(error) if folder == directory => return Err(error),
            Err(error) => {
                unreadable.push(Row::new(&folder, Outcome::Failed(error)));
                continue;
            }
        };
        for entry in entries {
            let path = entry.path();
            if entry.file_type().is_ok_and(|it| it.is_dir()) {
                pending.push(path);
            } else if let Some(kind) = kind(&path)
                && !is_pipe_or_device(&path)
            {
                found.push((kind, path));
            }
        }
    }
    found.sort_by_cached_key(|(kind, path)| (*kind, path.is_symlink(), path.clone()));
    Ok((found, unreadable))
}

/// What would never end, or never begin, to be read. A link that leads nowhere is told of as what can't be read.
fn is_pipe_or_device(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

/// A line of the report.
#[derive(Debug)]
struct Row {
    /// Empty if there is none.
    kernel: String,
    from: PathBuf,
    unpacked_seconds: f64,
    generated_seconds: f64,
    /// Of the bindings, on disk.
    bytes: u64,
    outcome: Outcome,
}

impl Row {
    fn new(from: &Path, outcome: Outcome) -> Self {
        Row {
            kernel: String::new(),
            from: from.to_owned(),
            unpacked_seconds: 0.0,
            generated_seconds: 0.0,
            bytes: 0,
            outcome,
        }
    }
}

#[derive(Debug)]
enum Outcome {
    Made,
    /// The same bindings were there already.
    Same,
    /// What was there stays: this would give less, for that reason.
    Kept(String),
    /// There is no kernel in it.
    Nothing,
    /// There is debug information of a kernel, without the kernel itself.
    Split,
    Failed(anyhow::Error),
}

fn generate_all(
    sources: &[Source],
    unpacked: &Path,
    modules: &BTreeSet<String>,
    jobs: usize,
) -> Vec<Row> {
    let (plain, packages): (Vec<_>, Vec<_>) =
        sources.iter().partition(|(kind, _)| *kind == Kind::Plain);
    let names = Names::default();
    let mut rows = in_parallel(&packages, jobs, |(kind, path)| {
        rows_of_package(*kind, path, unpacked, modules, &names)
    });
    // In this order, so that the same folder gives the same names.
    let claimed: Vec<_> = plain
        .iter()
        .map(|(_, path)| (path, Mutex::new(Some(names.claim(path)))))
        .collect();
    rows.extend(in_parallel(&claimed, jobs, |(path, claim)| {
        let claim = claim.lock().ok().and_then(|mut claim| claim.take());
        let row = claim.map(|claim| row_of(path, path, claim, modules, 0.0));
        row.into_iter().collect()
    }));
    rows.sort_by(|a, b| (&a.from, &a.kernel).cmp(&(&b.from, &b.kernel)));
    rows
}

/// The rows of all, some at a time.
fn in_parallel<T: Sync>(all: &[T], jobs: usize, of: impl Fn(&T) -> Vec<Row> + Sync) -> Vec<Row> {
    let next = AtomicUsize::new(0);
    let rows = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let done = of(one);
                    if let Ok(mut rows) = rows.lock() {
                        rows.extend(done);
                    }
                }
            });
        }
    });
    rows.into_inner().unwrap_or_default()
}

/// What tells kernels from each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Which {
    /// The build id, in hexadecimal.
    Build(String),
    /// What is in the file, of a kernel without one.
    Contents(String),
}

impl Which {
    fn of(vmlinux: &Path) -> anyhow::Result<Self> {
        Ok(match find::build_id_of(vmlinux) {
            Some(id) => Which::Build(id),
            None => Which::Contents(stamp::Input::of(vmlinux, &[])?.id().to_owned()),
        })
    }

    /// The names of the bindings of this kernel that are there already.
    fn names(&self) -> anyhow::Result<Vec<String>> {
        let known = build::known_kernels()?.into_iter();
        Ok(match self {
            Which::Build(id) => known
                .filter_map(|(name, it)| (it.build_id == *id).then_some(name))
                .collect(),
            Which::Contents(id) => known
                .map(|(name, _)| name)
                .filter(|name| generate::is_made_from(name, id))
                .collect(),
        })
    }
}

/// The kernels that were met, with the names that they got.
#[derive(Default)]
struct Names(Mutex<BTreeMap<Which, String>>);

impl Names {
    /// A name for a vmlinux, which no other kernel has. This very kernel may have got it already, and its file may be called otherwise here.
    fn claim(&self, vmlinux: &Path) -> anyhow::Result<String> {
        let which = Which::of(vmlinux)?;
        let usual = find::name_of(vmlinux)?;
        let Ok(mut names) = self.0.lock() else {
            bail!("another kernel's thread panicked");
        };
        if let Some(name) = names.get(&which) {
            return Ok(name.clone());
        }
        let mut name = name_there(&which.names()?, usual);
        if names.values().any(|other| *other == name) {
            match &which {
                Which::Build(id) => name = find::name_of_build(&name, id),
                // Which of them is which can't be said in a name.
                Which::Contents(_) => bail!("another kernel of this folder is called {name}"),
            }
        }
        names.insert(which, name.clone());
        Ok(name)
    }
}

/// What bindings of a kernel are called, of which there are those of `names` already, from an earlier run or of what analyzers use. `usual` is
/// the name that they would get now.
fn name_there(names: &[String], usual: String) -> String {
    match names.first() {
        Some(first) if !names.contains(&usual) => first.clone(),
        _ => usual,
    }
}

/// What becomes of a package: a row for each kernel in it, and at least one.
fn rows_of_package(
    kind: Kind,
    path: &Path,
    unpacked: &Path,
    modules: &BTreeSet<String>,
    names: &Names,
) -> Vec<Row> {
    let start = Instant::now();
    let tree = unpack(kind, path, unpacked, modules);
    let unpacked_seconds = start.elapsed().as_secs_f64();
    let outcome = match tree.map(|tree| find::in_tree(&tree)) {
        Ok(found) if !found.kernels.is_empty() => {
            let rows = found.kernels.iter().map(|vmlinux| {
                let claim = names.claim(vmlinux);
                row_of(path, vmlinux, claim, modules, unpacked_seconds)
            });
            return rows.collect();
        }
        Ok(found) if found.has_split => Outcome::Split,
        Ok(_) => Outcome::Nothing,
        Err(error) => Outcome::Failed(error),
    };
    vec![Row {
        unpacked_seconds,
        ..Row::new(path, outcome)
    }]
}

/// What becomes of one kernel.
fn row_of(
    from: &Path,
    vmlinux: &Path,
    claim: anyhow::Result<String>,
    modules: &BTreeSet<String>,
    unpacked_seconds: f64,
) -> Row {
    let start = Instant::now();
    let mut row = Row::new(from, Outcome::Nothing);
    row.unpacked_seconds = unpacked_seconds;
    let made = claim.and_then(|name| {
        row.kernel.clone_from(&name);
        generate::improve(vmlinux, &name, modules, generate::By::All)
    });
    row.outcome = match made {
        Ok(Improved::Made) => Outcome::Made,
        Ok(Improved::Same) => Outcome::Same,
        Ok(Improved::Kept(why)) => Outcome::Kept(why),
        Err(_) if find::is_split(vmlinux) => Outcome::Split,
        Err(error) => Outcome::Failed(error),
    };
    row.generated_seconds = start.elapsed().as_secs_f64();
    if !row.kernel.is_empty() {
        row.bytes = inventory::disk(&[paths::bindings(&row.kernel)]).unwrap_or(0);
    }
    row
}

/// What was unpacked of which package.
#[derive(Serialize, Deserialize, PartialEq)]
struct Unpacked {
    /// Others may have packages of this name, in folders of their own.
    package: PathBuf,
    bytes: u64,
    modified_nanoseconds: u128,
    modules: BTreeSet<String>,
}

/// The file in an unpacked tree that says what it was made from.
const STAMP: &str = "unpacked.json";

/// Where a package is unpacked: each file has a tree of its own, whatever others are called.
fn tree_of(unpacked: &Path, package: &Path) -> PathBuf {
    let hash = stamp::hash(package.as_os_str().as_encoded_bytes());
    let start = hash.get(..8).unwrap_or_default();
    unpacked.join(format!("{}~{start}", tame_name(package)))
}

fn tame_name(package: &Path) -> String {
    find::tame(&package.file_name().unwrap_or_default().to_string_lossy())
}

/// Takes the tree of a package that was moved here since.
fn adopt(unpacked: &Path, wanted: &Unpacked, tree: &Path) -> anyhow::Result<()> {
    let name = tame_name(&wanted.package);
    let moved = |tree: &Path| {
        stamp::read::<Unpacked>(&tree.join(STAMP)).filter(|there| {
            !there.package.exists()
                && there.bytes == wanted.bytes
                && there.modified_nanoseconds == wanted.modified_nanoseconds
        })
    };
    for entry in fs::read_dir(unpacked).into_iter().flatten() {
        let other = entry?.path();
        let file = other.file_name().unwrap_or_default().to_string_lossy();
        let is_of_name = file.rsplit_once('~').is_some_and(|(it, _)| it == name);
        // To wait for trees of packages that are there is to wait for who waits for this one.
        if !is_of_name || moved(&other).is_none() {
            continue;
        }
        let _lock = stamp::lock(&other)?;
        if let Some(mut there) = moved(&other) {
            remove(tree)?;
            there.package.clone_from(&wanted.package);
            stamp::write(&other.join(STAMP), &there)?;
            return fs::rename(&other, tree).with_context(|| tree.display().to_string());
        }
    }
    Ok(())
}

/// Takes the kernel out of a package, and the modules of these names, unless that was done before. Gives the top of the tree.
fn unpack(
    kind: Kind,
    package: &Path,
    unpacked: &Path,
    modules: &BTreeSet<String>,
) -> anyhow::Result<PathBuf> {
    let package = &package.canonicalize()?;
    let tree = tree_of(unpacked, package);
    let metadata = package.metadata()?;
    let modified = metadata.modified()?.duration_since(UNIX_EPOCH);
    let wanted = Unpacked {
        package: package.clone(),
        bytes: metadata.len(),
        modified_nanoseconds: modified.unwrap_or_default().as_nanos(),
        modules: modules.clone(),
    };
    let _lock = stamp::lock(&tree)?;
    let there = || stamp::read::<Unpacked>(&tree.join(STAMP));
    if there().is_none() {
        adopt(unpacked, &wanted, &tree)?;
    }
    if there().is_some_and(|there| there == wanted) {
        return Ok(tree);
    }
    let own = tree.file_name().unwrap_or_default().to_string_lossy();
    let partial = unpacked.join(format!(".partial-{own}"));
    remove(&partial)?;
    fs::create_dir_all(&partial).with_context(|| partial.display().to_string())?;
    eprintln!("{}: unpacking ...", package.display());
    let patterns = patterns(modules);
    let done = match kind {
        Kind::Rpm if programs::find("rpm2cpio").is_none() => {
            run_all(&mut [programs::command("bsdtar")
                .args(["-x", "-f"])
                .arg(package)
                .arg("-C")
                .arg(&partial)
                .args(
                    patterns
                        .iter()
                        .map(|pattern| format!("--include={pattern}")),
                )])
        }
        Kind::Rpm => run_all(&mut [
            programs::command("rpm2cpio").arg(package),
            programs::command("cpio")
                .args(["-i", "-d", "-m", "--quiet", "--no-absolute-filenames"])
                .args(&patterns)
                .current_dir(&partial),
        ]),
        Kind::Deb | Kind::Plain => run_all(&mut [
            programs::command("dpkg-deb")
                .arg("--fsys-tarfile")
                .arg(package),
            programs::command("tar")
                .args(["-x", "--no-same-owner", "--wildcards", "-C"])
                .arg(&partial)
                .args(&patterns),
        ]),
    };
    if let Err(error) = done {
        remove(&partial)?;
        return Err(error);
    }
    stamp::write(&partial.join(STAMP), &wanted)?;
    remove(&tree)?;
    fs::rename(&partial, &tree)?;
    Ok(tree)
}

fn remove(folder: &Path) -> anyhow::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    Ok(())
}

/// Which of a package's files are wanted: a `*` stands for slashes, too.
fn patterns(modules: &BTreeSet<String>) -> Vec<String> {
    let kernels = ["vmlinux", "vmlinux-*", "vmlinux.*"].map(|name| format!("*/{name}"));
    let shared = "*/.dwz/*".to_owned();
    // A module's name has `_` where its file may have `-`.
    let modules = modules
        .iter()
        .map(|name| format!("*/{}.ko*", name.replace('_', "[_-]")));
    kernels.into_iter().chain([shared]).chain(modules).collect()
}

/// Runs a program whose output is the next one's input, or one alone. That there is nothing for a pattern is no error of tar's.
fn run_all(commands: &mut [&mut Command]) -> anyhow::Result<()> {
    let mut children = Vec::new();
    let last = commands.len() - 1;
    let mut input = Stdio::null();
    for (at, command) in commands.iter_mut().enumerate() {
        let name = command.get_program().to_string_lossy().into_owned();
        command
            .env("LC_ALL", "C")
            .stdin(input)
            .stdout(if at == last {
                Stdio::null()
            } else {
                Stdio::piped()
            })
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("can't run {name}, which unpacks packages of that kind"))?;
        input = child.stdout.take().map_or_else(Stdio::null, Stdio::from);
        children.push((name, child));
    }
    // Each says little: no pipe fills up while the other is read.
    for (name, child) in children {
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let is_error = |line: &&str| {
            !line.ends_with("Not found in archive")
                && !line.ends_with("Exiting with failure status due to previous errors")
        };
        if !output.status.success() {
            let errors: Vec<&str> = said.lines().filter(is_error).collect();
            if !errors.is_empty() || !name.ends_with("tar") {
                bail!("{name}: {} {}", output.status, errors.join("; "));
            }
        }
    }
    Ok(())
}

/// The table, and below it what is too long for one.
fn report(rows: &[Row], directory: &Path) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["kernel", "from", "unpacked", "generated", "size", "result"]);
    let mut below = String::new();
    for row in rows {
        let seconds = |seconds: f64| format!("{seconds:.1} s");
        // Packages of one name may lie in several folders.
        let from = row.from.strip_prefix(directory).ok();
        let from = from.filter(|from| !from.as_os_str().is_empty());
        let from = from.unwrap_or(&row.from);
        let from = from.display().to_string();
        let (result, why) = match &row.outcome {
            Outcome::Made => ("new", None),
            Outcome::Same => ("was there", None),
            Outcome::Kept(why) => ("kept", Some(format!("what was there is kept: {why}"))),
            Outcome::Nothing => ("no kernel in it", None),
            Outcome::Split => ("without its kernel", Some(SPLIT.to_owned())),
            Outcome::Failed(error) => ("failed", Some(format!("{error:#}"))),
        };
        if let Some(why) = why {
            // It may name the file itself.
            let file = format!("{}: ", row.from.display());
            let why = why.strip_prefix(&file).unwrap_or(&why);
            let _ = write!(below, "\n{from}: {why}");
        }
        table.add_row([
            row.kernel.clone(),
            from,
            seconds(row.unpacked_seconds),
            seconds(row.generated_seconds),
            format!("{} MB", row.bytes.div_ceil(1_000_000)),
            result.to_owned(),
        ]);
    }
    for column in [2, 3, 4] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    format!("{table}{below}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(directory: &Path) -> anyhow::Result<Vec<Source>> {
        search(directory).map(|(found, _)| found)
    }

    /// Removes bindings with names that no kernel has.
    struct Removed(Vec<String>);

    impl Drop for Removed {
        fn drop(&mut self) {
            for name in &self.0 {
                let _ = fs::remove_dir_all(paths::bindings(name));
                let _ = fs::remove_file(stamp::of_bindings(name));
            }
        }
    }

    /// A build id that no kernel has, nor another test's.
    fn build_id(number: u8) -> String {
        format!("{number:02x}{:038x}", std::process::id())
    }

    /// Puts modules of the fixture's kernel into a folder.
    fn add_modules(folder: &Path, modules: &[&str]) {
        fs::create_dir_all(folder).expect("a folder");
        for module in modules {
            let file = format!("{module}.ko");
            let from = paths::fixture_modules().join(&file);
            fs::copy(from, folder.join(file)).expect("it can be copied");
        }
    }

    /// A tree as a debug package has it, with the fixture's kernel and modules.
    fn tree(top: &Path, folder: &str, file: &str, id: &str) -> PathBuf {
        use crate::find::tests::vmlinux;
        let folder = top.join(folder);
        vmlinux(&folder, file, id);
        fs::remove_file(folder.join("note")).expect("it is there");
        let modules = folder.join("usr/lib/debug/modules-debug");
        add_modules(&modules, &["ip_tables", "ipt_LOG"]);
        fs::write(folder.join("usr/lib/debug/notes"), "not wanted").expect("it can be written");
        folder
    }

    fn deb(tree: &Path, package: &Path) {
        let control = tree.join("DEBIAN/control");
        fs::create_dir_all(control.parent().expect("a folder")).expect("a folder");
        let fields = "Package: linux-image-dbg\nVersion: 1\nArchitecture: all\nMaintainer: a\nDescription: b\n";
        fs::write(control, fields).expect("it can be written");
        let built = Command::new("dpkg-deb")
            .args(["--build", "--root-owner-group", "-Znone"])
            .args([tree, package])
            .output()
            .expect("dpkg-deb runs");
        assert!(built.status.success(), "{built:?}");
    }

    /// A package of RPM's; `false` where it can't be built.
    fn rpm(tree: &Path, package: &Path) -> bool {
        if programs::find("rpmbuild").is_none() {
            return false;
        }
        let top = tree.with_extension("rpmbuild");
        fs::create_dir_all(&top).expect("a folder");
        let spec = top.join("kernel.spec");
        let text = format!(
            "Name: kernel-debuginfo\nVersion: 1\nRelease: 1\nSummary: a\nLicense: b\nBuildArch: noarch\n\
             %define __os_install_post %{{nil}}\n%define _build_id_links none\n\
             %define _binaries_in_noarch_packages_terminate_build 0\n\
             %description\n%install\ncp -r {}/. %{{buildroot}}\n%files\n/usr\n",
            tree.display()
        );
        fs::write(&spec, text).expect("it can be written");
        let built = Command::new("rpmbuild")
            .arg("-bb")
            .arg("--define")
            .arg(format!("_topdir {}", top.display()))
            .arg(&spec)
            .output()
            .expect("rpmbuild runs");
        assert!(built.status.success(), "{built:?}");
        let made = top.join("RPMS/noarch/kernel-debuginfo-1-1.noarch.rpm");
        fs::copy(made, package).expect("it was made");
        true
    }

    /// To open a pipe is to wait for its other end.
    #[test]
    fn pipes_are_no_kernels() {
        let folder = tempfile::tempdir().expect("there is room");
        let pipe = folder.path().join("vmlinux-pipe");
        let made = Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("mkfifo is there").success());
        assert_eq!(sources(folder.path()).expect("a folder"), []);
        assert!(stamp::Input::of(&pipe, &[]).is_err());
    }

    /// A kernel may lie there under several names: as a file, its copy, and links to it.
    #[test]
    fn a_kernel_is_generated_once_whatever_its_files_are_called() {
        use crate::find::tests::vmlinux;
        let folder = tempfile::tempdir().expect("there is room");
        let top = folder.path();
        let id = std::process::id();
        let [first, copy, other] = ["b", "c", "d"].map(|name| format!("test-{name}-{id}"));
        let _removed = Removed(vec![first.clone(), copy.clone(), other.clone()]);
        let file = vmlinux(top, &format!("vmlinux-{first}"), &build_id(1));
        fs::copy(&file, top.join(format!("vmlinux-{copy}"))).expect("it can be copied");
        vmlinux(top, &format!("vmlinux-{other}"), &build_id(2));
        for link in ["vmlinux", "vmlinux-2", "vmlinux-a"] {
            std::os::unix::fs::symlink(&file, top.join(link)).expect("it can be linked");
        }
        let sources = sources(top).expect("a folder");
        assert_eq!(sources.len(), 6);
        let rows = generate_all(&sources, top, &BTreeSet::new(), 2);
        let mut made = 0;
        for row in &rows {
            let is_other = row.from.ends_with(format!("vmlinux-{other}"));
            assert_eq!(
                row.kernel,
                if is_other { &*other } else { &*first },
                "{row:?}"
            );
            made += usize::from(matches!(row.outcome, Outcome::Made));
        }
        assert_eq!((rows.len(), made), (6, 2), "{rows:?}");
    }

    #[test]
    fn packages_of_every_kind_are_taken_and_bad_ones_said() {
        if programs::find("dpkg-deb").is_none() {
            eprintln!("not tested: dpkg-deb isn't there");
            return;
        }
        let top = tempfile::tempdir().expect("a folder");
        let top = top.path();
        let id = std::process::id();
        let [in_deb, in_rpm, plain] =
            ["deb", "rpm", "plain"].map(|kind| format!("test-{kind}-{id}"));
        let _removed = Removed(vec![in_deb.clone(), in_rpm.clone(), plain.clone()]);
        let packages = top.join("packages");
        fs::create_dir_all(packages.join("deeper")).expect("a folder");
        let path = format!("usr/lib/debug/vmlinux-{in_deb}");
        deb(
            &tree(top, "deb", &path, &build_id(6)),
            &packages.join("deeper/linux-image-dbg.ddeb"),
        );
        let path = format!("usr/lib/debug/vmlinux-{in_rpm}");
        let has_rpm = rpm(
            &tree(top, "rpm", &path, &build_id(7)),
            &packages.join("kernel-debuginfo.rpm"),
        );
        find::tests::vmlinux(&packages, &format!("vmlinux-{plain}"), &build_id(8));
        // A package without a kernel, one that is cut off, one that is none, and what is no kernel.
        let empty = top.join("empty");
        fs::create_dir_all(empty.join("usr/share")).expect("a folder");
        deb(&empty, &packages.join("linux-doc.deb"));
        let whole = fs::read(packages.join("deeper/linux-image-dbg.ddeb")).expect("it is there");
        fs::write(packages.join("cut.deb"), &whole[..whole.len() / 2]).expect("it can be written");
        fs::write(packages.join("text.rpm"), "text").expect("it can be written");
        fs::write(packages.join("vmlinux-text"), "text").expect("it can be written");
        fs::write(packages.join("README"), "text").expect("it can be written");

        let sources = sources(&packages).expect("it can be read");
        assert_eq!(sources.len(), 6 + usize::from(has_rpm));
        let modules = ["ip_tables", "ipt_LOG", "ipt_REJECT"]
            .map(str::to_owned)
            .into();
        let unpacked = top.join("unpacked");
        let all = || generate_all(&sources, &unpacked, &modules, 2);
        let shown = |rows: &[Row]| {
            let row = |row: &Row| {
                let from = row.from.file_name().unwrap_or_default().to_string_lossy();
                let outcome = match &row.outcome {
                    Outcome::Made => "new",
                    Outcome::Same => "was there",
                    Outcome::Kept(_) => "kept",
                    Outcome::Nothing => "nothing",
                    Outcome::Split => "split",
                    Outcome::Failed(_) => "failed",
                };
                format!("{from}: {} {outcome}", row.kernel)
            };
            let mut lines: Vec<String> = rows.iter().map(row).collect();
            lines.sort();
            lines
        };
        let expected = |outcome: &str| {
            let mut lines = vec![
                "cut.deb:  failed".to_owned(),
                format!("linux-image-dbg.ddeb: {in_deb} {outcome}"),
                "linux-doc.deb:  nothing".to_owned(),
                "text.rpm:  failed".to_owned(),
                "vmlinux-text: text failed".to_owned(),
                format!("vmlinux-{plain}: {plain} {outcome}"),
            ];
            if has_rpm {
                lines.push(format!("kernel-debuginfo.rpm: {in_rpm} {outcome}"));
            }
            lines.sort();
            lines
        };
        let rows = all();
        assert_eq!(shown(&rows), expected("new"), "{rows:?}");
        // Modules were found; what isn't wanted is not kept.
        let identity = build::identity(&in_deb).expect("it was made");
        assert_eq!(identity.modules, ["ip_tables", "ipt_LOG"]);
        let tree = |file: &str| {
            let package = packages.join(file).canonicalize();
            tree_of(&unpacked, &package.expect("it is there"))
        };
        let notes = tree("deeper/linux-image-dbg.ddeb").join("usr/lib/debug/notes");
        assert!(!notes.exists() && notes.with_file_name("modules-debug").exists());
        assert_eq!(shown(&all()), expected("was there"));
        assert!(!tree("cut.deb").exists());
        // What is wrong stands below the table, which stays narrow.
        let shown = report(&rows, &packages);
        let (table, below): (Vec<&str>, Vec<&str>) =
            shown.lines().partition(|line| line.starts_with(' '));
        assert_eq!(table.len(), 1 + rows.len());
        let width = table.iter().map(|line| line.trim_end().len()).max();
        assert!(width.is_some_and(|width| width < 120), "{shown}");
        assert_eq!(below.len(), 3, "{shown}");
        assert!(
            below.contains(&"vmlinux-text: it is not an ELF file"),
            "{shown}"
        );
        assert!(
            table
                .iter()
                .any(|line| line.contains("deeper/linux-image-dbg.ddeb"))
        );
    }

    /// Flavours and versions come in folders of their own, and their packages may have one name.
    #[test]
    fn packages_of_one_name_have_trees_of_their_own() {
        use crate::find::tests::vmlinux;
        if programs::find("dpkg-deb").is_none() {
            eprintln!("not tested: dpkg-deb isn't there");
            return;
        }
        let top = tempfile::tempdir().expect("a folder");
        let top = top.path();
        let id = std::process::id();
        let kernels = ["one", "two"].map(|name| format!("test-{name}-{id}"));
        let _removed = Removed(kernels.to_vec());
        let packages = top.join("packages");
        for (name, build) in kernels.iter().zip([3, 4].map(build_id)) {
            let tree = top.join(name);
            vmlinux(&tree, &format!("usr/lib/debug/boot/vmlinux-{name}"), &build);
            fs::remove_file(tree.join("note")).expect("it is there");
            let folder = packages.join(name);
            fs::create_dir_all(&folder).expect("a folder");
            deb(&tree, &folder.join("linux-image-dbg.deb"));
        }
        let unpacked = top.join("unpacked");
        let all = || {
            let sources = sources(&packages).expect("it can be read");
            let rows = generate_all(&sources, &unpacked, &BTreeSet::new(), 2);
            let kernels: Vec<String> = rows.iter().map(|row| row.kernel.clone()).collect();
            let made = rows
                .iter()
                .filter(|row| matches!(row.outcome, Outcome::Made));
            (
                kernels,
                made.count(),
                fs::read_dir(&unpacked).expect("it is there").count(),
            )
        };
        assert_eq!(all(), (kernels.to_vec(), 2, 2));
        assert_eq!(all(), (kernels.to_vec(), 0, 2));
        // One that was moved takes its tree along.
        let [one, other] = [&kernels[0], "moved"].map(|name| packages.join(name));
        fs::rename(one, other).expect("it can be moved");
        let (mut there, made, trees) = all();
        there.sort();
        assert_eq!((there, made, trees), (kernels.to_vec(), 0, 2));
    }

    /// What a kernel's file is called is no reason to make its bindings twice.
    #[test]
    fn a_build_keeps_the_name_that_it_got_first() {
        use crate::find::tests::vmlinux;
        let top = tempfile::tempdir().expect("a folder");
        let id = std::process::id();
        let [first, second] = ["first", "second"].map(|name| format!("test-{name}-{id}"));
        let _removed = Removed(vec![first.clone(), second.clone()]);
        for (folder, name, is_new) in [("a", &first, true), ("b", &second, false)] {
            let folder = top.path().join(folder);
            vmlinux(&folder, &format!("vmlinux-{name}"), &build_id(5));
            let sources = sources(&folder).expect("a folder");
            let rows = generate_all(&sources, &folder, &BTreeSet::new(), 1);
            let [row] = &rows[..] else {
                panic!("{rows:?}");
            };
            assert_eq!(row.kernel, first);
            assert_eq!(matches!(row.outcome, Outcome::Made), is_new, "{row:?}");
        }
        assert!(!paths::bindings(&second).exists());
    }

    #[test]
    fn of_several_names_the_usual_one_is_taken() {
        let name = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            name_there(&names, "usual".to_owned())
        };
        assert_eq!(name(&["a", "usual"]), "usual");
        assert_eq!(name(&["a", "b"]), "a");
        assert_eq!(name(&[]), "usual");
    }

    const MODULES: [&str; 3] = ["ip_tables", "ipt_LOG", "ipt_REJECT"];

    /// The one row of a folder in which there is one kernel.
    fn only_row(folder: &Path) -> Row {
        let sources = sources(folder).expect("a folder");
        let modules = MODULES.map(str::to_owned).into();
        let mut rows = generate_all(&sources, &folder.join("unpacked"), &modules, 1);
        let row = rows.pop().expect("there is one");
        assert!(rows.is_empty(), "{rows:?}");
        row
    }

    /// A vmlinux that was copied, and its modules weren't, replaces nothing.
    #[test]
    fn bindings_do_not_become_poorer() {
        use crate::find::tests::vmlinux;
        let top = tempfile::tempdir().expect("a folder");
        let top = top.path();
        let name = format!("test-poorer-{}", std::process::id());
        let _removed = Removed(vec![name.clone()]);
        let folder = |which: &str, modules: &[&str]| {
            let folder = top.join(which);
            vmlinux(&folder, &format!("vmlinux-{name}"), &build_id(9));
            add_modules(&folder.join("modules-debug"), modules);
            folder
        };
        let (two, none, other, three) = (
            folder("two", &MODULES[..2]),
            folder("none", &[]),
            folder("other", &MODULES[1..]),
            folder("three", &MODULES),
        );
        let modules = || build::identity(&name).expect("it was made").modules;
        assert!(matches!(only_row(&two).outcome, Outcome::Made));
        for (poorer, said) in [
            (
                &none,
                "2 modules' types before, none now: ip_tables, ipt_LOG",
            ),
            (&other, "2 modules' types before, 2 now: ip_tables"),
        ] {
            let row = only_row(poorer);
            let Outcome::Kept(why) = &row.outcome else {
                panic!("{row:?}");
            };
            assert_eq!(why, said);
            assert_eq!(modules(), MODULES[..2]);
            let shown = report(&[row], poorer);
            assert!(
                shown.contains("what was there is kept: 2 modules"),
                "{shown}"
            );
        }
        assert!(matches!(only_row(&two).outcome, Outcome::Same));
        assert!(matches!(only_row(&three).outcome, Outcome::Made));
        assert_eq!(modules(), MODULES);
        // An older generator's are made anew, but not of less.
        let stamp = stamp::of_bindings(&name);
        let text = fs::read_to_string(&stamp).expect("it is there");
        let older = text.replace(stamp::GENERATOR, "older");
        assert_ne!(text, older);
        fs::write(&stamp, &older).expect("it can be written");
        assert!(matches!(only_row(&none).outcome, Outcome::Kept(_)));
        assert_eq!(modules(), MODULES);
        assert!(matches!(only_row(&three).outcome, Outcome::Made));
        // And so are those of which nobody knows who made them.
        fs::remove_file(&stamp).expect("it is there");
        assert!(matches!(only_row(&two).outcome, Outcome::Kept(_)));
        assert!(matches!(only_row(&three).outcome, Outcome::Made));
        // What doesn't fit, or is damaged, is of no use whatever it has.
        let index = paths::bindings(&name).join("index.json");
        let text = fs::read_to_string(&index).expect("it is there");
        fs::write(&index, text.replacen("\"format\":", "\"format\":9", 1)).expect("it can be");
        assert!(matches!(only_row(&none).outcome, Outcome::Made));
        assert_eq!(modules(), [] as [&str; 0]);
        assert!(matches!(only_row(&two).outcome, Outcome::Made));
        fs::write(paths::bindings(&name).join("mod.rs"), "").expect("it can be written");
        assert!(matches!(only_row(&none).outcome, Outcome::Made));
        // BTF says less than DWARF.
        let less = three.join(format!("vmlinux-{name}"));
        assert!(matches!(only_row(&three).outcome, Outcome::Made));
        assert!(build::has_places(&paths::bindings(&name)));
        let stripped = top.join("btf");
        fs::create_dir_all(&stripped).expect("a folder");
        let stripped = stripped.join(format!("vmlinux-{name}"));
        let run = Command::new("objcopy")
            .args(["--strip-debug", "--add-section", ".BTF=/dev/null"])
            .args([&less, &stripped])
            .status();
        assert!(run.is_ok_and(|run| run.success()), "objcopy");
        let row = only_row(&top.join("btf"));
        assert!(
            !matches!(row.outcome, Outcome::Made | Outcome::Same),
            "{row:?}"
        );
        assert_eq!(modules(), MODULES);
    }

    /// The fixture, whose kernel has no build id, with other contents.
    fn without_id(file: &Path, salt: &str) {
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        let section = file.with_extension("salt");
        fs::write(&section, format!("{salt} {}", std::process::id())).expect("it can be written");
        let status = Command::new("objcopy")
            .arg(format!("--add-section=.salt={}", section.display()))
            .args([&paths::fixture_vmlinux(), file])
            .status();
        assert!(status.is_ok_and(|status| status.success()), "objcopy");
        fs::remove_file(section).expect("it is there");
    }

    #[test]
    fn what_is_part_of_the_repository_stays() {
        use crate::find::tests::vmlinux;
        assert!(paths::is_versioned("2.6.9") && !paths::is_versioned("6.1"));
        let bindings = paths::bindings("2.6.9");
        let digest = || stamp::digest(&bindings, "").expect("it is committed");
        let before = digest();
        let top = tempfile::tempdir().expect("a folder");
        let top = top.path();
        // A copy of it is it, whatever it is called; its modules aren't beside it.
        for (folder, name) in [("same", "2.6.9"), ("copy", "test-copy")] {
            let folder = top.join(folder);
            fs::create_dir(&folder).expect("a folder");
            let copy = folder.join(format!("vmlinux-{name}"));
            fs::copy(paths::fixture_vmlinux(), copy).expect("it can be copied");
            let row = only_row(&folder);
            assert_eq!(row.kernel, "2.6.9");
            assert!(
                matches!(&row.outcome, Outcome::Kept(why) if why.contains("7 modules' types before, none now")),
                "{row:?}"
            );
        }
        // Another kernel isn't.
        without_id(&top.join("other/vmlinux-2.6.9"), "other");
        let row = only_row(&top.join("other"));
        let Outcome::Failed(error) = &row.outcome else {
            panic!("{row:?}");
        };
        let said = error.to_string();
        assert!(
            said.starts_with(
                "another kernel, whose bindings are the repository's, is called 2.6.9"
            ),
            "{said}"
        );
        // One with a build id gets a name with it.
        let id = build_id(10);
        let name = find::name_of_build("2.6.9", &id);
        let _removed = Removed(vec![name.clone()]);
        vmlinux(&top.join("id"), "vmlinux-2.6.9", &id);
        let row = only_row(&top.join("id"));
        assert_eq!(row.kernel, name);
        assert!(matches!(row.outcome, Outcome::Made), "{row:?}");
        assert_eq!(digest(), before);
    }

    #[test]
    fn copies_without_a_build_id_are_one_kernel() {
        let top = tempfile::tempdir().expect("a folder");
        let top = top.path();
        let id = std::process::id();
        let [first, copy] = ["no-id", "no-id-too"].map(|name| format!("test-{name}-{id}"));
        let _removed = Removed(vec![first.clone(), copy.clone()]);
        let file = top.join("one").join(format!("vmlinux-{first}"));
        without_id(&file, "copies");
        let again = top.join("one").join(format!("vmlinux-{copy}"));
        fs::copy(&file, &again).expect("it can be copied");
        let sources = sources(&top.join("one")).expect("a folder");
        let rows = generate_all(&sources, top, &BTreeSet::new(), 2);
        let made = |row: &&Row| matches!(row.outcome, Outcome::Made);
        assert_eq!(rows.iter().filter(made).count(), 1, "{rows:?}");
        assert!(rows.iter().all(|row| row.kernel == first), "{rows:?}");
        // In later runs, too.
        let later = top.join("later").join(format!("vmlinux-{copy}"));
        fs::create_dir(top.join("later")).expect("a folder");
        fs::copy(&file, &later).expect("it can be copied");
        let row = only_row(&top.join("later"));
        assert_eq!(row.kernel, first);
        assert!(matches!(row.outcome, Outcome::Same), "{row:?}");
        assert!(!paths::bindings(&copy).exists());
        // Another kernel of that name is refused, and the file that it was made from may change.
        let other = top.join("other").join(format!("vmlinux-{first}"));
        without_id(&other, "others");
        let row = only_row(&top.join("other"));
        assert!(
            matches!(&row.outcome, Outcome::Failed(error) if error.to_string().starts_with("another kernel is called")),
            "{row:?}"
        );
        fs::remove_file(&again).expect("it is there");
        assert!(matches!(only_row(&top.join("one")).outcome, Outcome::Same));
        fs::copy(&other, &file).expect("it can be copied");
        let row = only_row(&top.join("one"));
        assert!(matches!(row.outcome, Outcome::Made), "{row:?}");
    }

    /// One folder that can't be read is no reason to leave all others out. Root may read any, but not by a name that is too long.
    #[test]
    fn a_folder_that_cannot_be_read_is_a_row() {
        let top = tempfile::tempdir().expect("a folder");
        let half = vec!["long".repeat(60); 10].join("/");
        let [one, other] = ["one", "other"].map(|name| top.path().join(name).join(&half));
        for half in [&one, &other] {
            fs::create_dir_all(half).expect("a folder");
        }
        fs::rename(top.path().join("other"), one.join("other")).expect("it can be moved");
        fs::write(top.path().join("vmlinux-text"), "text").expect("it can be written");
        let (found, rows) = search(top.path()).expect("a folder");
        assert_eq!(found.len(), 1);
        assert!(
            matches!(&rows[..], [row] if matches!(row.outcome, Outcome::Failed(_))),
            "{rows:?}"
        );
        assert!(search(&top.path().join("missing")).is_err());
        let package = top.path().join("one.deb");
        fs::write(&package, "text").expect("it can be written");
        let (found, _) = search(&package).expect("it is there");
        assert_eq!(found, [(Kind::Deb, package)]);
    }
}

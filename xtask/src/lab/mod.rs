//! `cargo xtask lab`: real kernels in a known state, each with a dump of its memory and with what it says of itself.
//!
//! Everything is kept below `target/lab`:
//!
//! - `packages/RELEASE`: a Debian kernel, its modules, `vmlinux` and the debug files of the modules that the guest loads;
//! - `machines/RELEASE-Nlevel-HASH`: one boot of it, `lab.json` and what that names. The hash is the recipe's;
//! - `programs`: what Debian's packages don't have: a makedumpfile with all compressions;
//! - `crashes/...`: the same of a kernel that panicked, with its /proc/vmcore; `live/...`: of one that analyzed itself;
//! - `crowds/...`: a kernel with 20,000 TCP connections, of which some are sick.
//!
//! What is there is whole: it is made in a folder whose name begins with a dot, which is renamed at the end.

mod crowd;
mod guest;
mod how;
mod initramfs;
pub mod makedumpfile;
mod packages;
pub(crate) mod programs;
mod progress;
mod qmp;
mod quiet;
mod recipe;
mod sysroot;
mod target;
mod truth;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::{build, paths};
pub use how::How;
use initramfs::Aboard;
use packages::Package;
use progress::Steps;
use target::{TARGETS, Target};

/// Options of `cargo xtask lab`.
#[derive(clap::Args)]
pub struct Args {
    /// Debian kernels: a release (6.12.117+deb12-cloud-amd64), or a series (6.1) for its newest cloud-amd64 kernel.
    /// Without any: 6.1 with 4 and 6.12 with 5 levels of page tables
    kernels: Vec<String>,
    /// Levels of page tables
    #[arg(long, value_parser = clap::value_parser!(u8).range(4..=5))]
    levels: Option<u8>,
    /// The kind of machine: amd64, amd64-full, amd64-rt, i386-pae, i386, arm64, s390x or ppc64le. KERNELS are then of its
    /// architecture and flavour
    #[arg(long, default_value = "amd64", conflicts_with = "levels")]
    machine: String,
    /// The kernel panics, and its crash kernel copies /proc/vmcore; QEMU's dumps of the same memory are beside that
    #[arg(long, conflicts_with = "machine")]
    panic: bool,
    /// The kernel runs the analyzers on its own /proc/kcore
    #[arg(long, conflicts_with_all = ["machine", "panic"])]
    live: bool,
    /// The guest has 20,000 TCP connections, some of them sick
    #[arg(long, conflicts_with_all = ["machine", "panic", "live"])]
    crowd: bool,
    /// List the machines that are there; make none
    #[arg(long)]
    list: bool,
}

/// One machine: a kernel that was booted, dumped and asked. Read from its `lab.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    pub release: String,
    /// Its kind: `amd64`, `i386-pae`.
    #[serde(default = "amd64")]
    pub machine: String,
    /// What became of it after its truth was recorded.
    #[serde(default)]
    pub how: How,
    /// Levels of page tables; on amd64 the guest's CR4 and /proc/cpuinfo agree.
    pub levels: u8,
    /// The machine's own folder. In `lab.json` this and all other paths are relative to `target/lab`; here they are absolute.
    pub folder: PathBuf,
    /// The memory as ELF, with physical addresses and the VMCOREINFO note: QEMU's, or of a kernel that panicked its /proc/vmcore.
    /// A kernel that analyzed itself has none.
    pub vmcore: PathBuf,
    pub vmlinux: PathBuf,
    pub system_map: PathBuf,
    pub config: PathBuf,
    /// The debug files of the modules that the guest has loaded, by module name.
    pub module_debug: BTreeMap<String, PathBuf>,
    /// What the guest said of itself just before the dump.
    pub truth: PathBuf,
    /// The same some seconds after it; `stability.json` compares the two.
    pub truth_after: PathBuf,
    pub stability: PathBuf,
    pub console: PathBuf,
    /// The registers of all CPUs at the dump, as QEMU prints them.
    pub registers: PathBuf,
    /// What went wrong in the guest without harm to the rest.
    pub warnings: Vec<String>,
    /// Seconds spent on each step. Steps that the cache saved are not there.
    pub seconds: BTreeMap<String, f64>,
}

/// What machines were of before there were others.
fn amd64() -> String {
    "amd64".to_owned()
}

pub fn run(args: &Args) -> Result<()> {
    if args.list {
        let machines = machines()?;
        if machines.is_empty() {
            println!("no machines; `cargo xtask lab` makes them");
        }
        machines.iter().for_each(show);
        for release in packages::cached(&paths::lab().join("packages")) {
            if let Some(vmlinux) = vmlinux(&release) {
                println!("{release} is unpacked: {}", vmlinux.display());
            }
        }
        return Ok(());
    }
    if args.machine != amd64() {
        let target = Target::find(&args.machine, None).with_context(|| {
            let names: Vec<_> = others().map(|target| target.name).collect();
            format!(
                "there is no machine {}; there are {}",
                args.machine,
                names.join(", ")
            )
        })?;
        let newest: Vec<_> = target.series.iter().map(|&series| series.into()).collect();
        let kernels: &[String] = if args.kernels.is_empty() {
            &newest
        } else {
            &args.kernels
        };
        for kernel in kernels {
            show(&ensure_target(kernel, target, How::Stop)?);
        }
        return Ok(());
    }
    let default = [("6.1".to_string(), 4), ("6.12".to_string(), 5)];
    let wanted: Vec<_> = if args.kernels.is_empty() {
        default
            .into_iter()
            .map(|(kernel, levels)| (kernel, args.levels.unwrap_or(levels)))
            .collect()
    } else {
        args.kernels
            .iter()
            .map(|kernel| {
                (
                    kernel.clone(),
                    args.levels.unwrap_or(default_levels(kernel)),
                )
            })
            .collect()
    };
    let how = match (args.panic, args.live, args.crowd) {
        (true, ..) => How::Panic,
        (_, true, _) => How::Live,
        (.., true) => How::Crowd,
        _ => How::Stop,
    };
    for (kernel, levels) in wanted {
        show(&ensure(&kernel, levels, how)?);
    }
    Ok(())
}

/// The machines of the present recipe that are there, by name. Makes none.
pub fn machines() -> Result<Vec<Machine>> {
    machines_of(How::Stop)
}

/// The crowd of a kernel, if it is there.
pub fn crowd(release: &str) -> Result<Option<Machine>> {
    let crowds = machines_of(How::Crowd)?;
    Ok(crowds.into_iter().find(|crowd| crowd.release == release))
}

fn machines_of(how: How) -> Result<Vec<Machine>> {
    let lab = lab_folder()?;
    let folder = lab.join(how.folder());
    let mut machines = Vec::new();
    for target in &TARGETS {
        let suffix = format!("-{}level-{}", target.levels, key(target, how)?);
        for name in folder_names(&folder) {
            if !name.starts_with('.') && name.ends_with(&suffix) {
                machines.push(read_machine(&lab, &folder.join(name))?);
            }
        }
    }
    machines.sort_by(|one, other| one.folder.cmp(&other.folder));
    Ok(machines)
}

/// The amd64 machine for a kernel (a release or a series), made if it isn't there. Others who ask for it meanwhile wait.
///
/// One that analyzes itself is always made anew: the analyzers are part of it.
pub fn ensure(kernel: &str, levels: u8, how: How) -> Result<Machine> {
    let target = Target::find("amd64", Some(levels));
    ensure_target(kernel, target.context("4 or 5 levels of page tables")?, how)
}

/// The machines of other kinds, of the newest kernels of their series: those of these names, or all.
pub fn ensure_others(names: &[String]) -> Result<Vec<Machine>> {
    if let Some(unknown) = names
        .iter()
        .find(|name| others().all(|target| target.name != **name))
    {
        let known: Vec<_> = others().map(|target| target.name).collect();
        bail!(
            "there is no machine {unknown}; there are {}",
            known.join(", ")
        );
    }
    others()
        .filter(|target| names.is_empty() || names.iter().any(|name| name == target.name))
        .flat_map(|target| target.series.iter().map(move |series| (series, target)))
        .map(|(series, target)| ensure_target(series, target, How::Stop))
        .collect()
}

fn others() -> impl Iterator<Item = &'static Target> {
    TARGETS.iter().filter(|target| !target.is_usual())
}

fn ensure_target(kernel: &str, target: &'static Target, how: How) -> Result<Machine> {
    let lab = lab_folder()?;
    let packages = lab.join("packages");
    let lock = File::create(lab.join("lock")).context("can't create the lab's lock file")?;
    if lock.try_lock().is_err() {
        // Also since a machine on a busy host moves between its recordings.
        eprintln!(
            "another process is at work in {}; waiting for it",
            lab.display()
        );
        lock.lock()?;
    }
    let mut release = packages::resolve(kernel, &packages, target)?;
    if let Some(machine) = cached(&lab, &release, target, how)? {
        return Ok(machine);
    }
    programs::check(target)?;
    let mut steps = Steps::new(&format!("{release} ({})", target.title()));
    // A crowd needs some of the same: one unpacked package serves all.
    let mut modules: Vec<_> = target
        .modules
        .iter()
        .map(|name| ((*name).to_owned(), String::new()))
        .collect();
    modules.extend(recipe::modules(
        &std::fs::read_to_string(paths::lab_guest().join("modules"))
            .context("can't read the guest's list of modules")?,
    ));
    let package = match packages::ensure(&release, &packages, &modules, target, &mut steps) {
        Ok(package) => package,
        Err(error) => {
            let Some(older) = packages::newest_cached(kernel, &packages, target)
                .filter(|older| *older != release)
            else {
                return Err(error);
            };
            eprintln!("{error:#}; {older} is here and will do");
            release = older;
            if let Some(machine) = cached(&lab, &release, target, how)? {
                return Ok(machine);
            }
            packages::ensure(&release, &packages, &modules, target, &mut steps)?
        }
    };
    make(&lab, &package, &modules, target, how, steps)
}

/// The `vmlinux` of a release whose package is unpacked.
pub fn vmlinux(release: &str) -> Option<PathBuf> {
    let file = paths::lab().join("packages").join(release).join("vmlinux");
    file.canonicalize().ok()
}

/// 5-level paging came into use later than 6.1 did; so the old series stands for the old way.
fn default_levels(kernel: &str) -> u8 {
    if kernel == "6.1" || kernel.starts_with("6.1.") {
        4
    } else {
        5
    }
}

fn cached(lab: &Path, release: &str, target: &Target, how: How) -> Result<Option<Machine>> {
    let folder = machine_folder(lab, release, target, how)?;
    (how != How::Live && folder.join("lab.json").is_file())
        .then(|| read_machine(lab, &folder))
        .transpose()
}

fn machine_folder(lab: &Path, release: &str, target: &Target, how: How) -> Result<PathBuf> {
    let (levels, key) = (target.levels, key(target, how)?);
    Ok(lab
        .join(how.folder())
        .join(format!("{release}-{levels}level-{key}")))
}

fn make(
    lab: &Path,
    package: &Package,
    modules: &[(String, String)],
    target: &Target,
    how: How,
    mut steps: Steps,
) -> Result<Machine> {
    let release = &package.release;
    let sysroot = if target.is_own() {
        None
    } else {
        Some(steps.run("programs", || sysroot::ensure(target, lab))?)
    };
    let aboard = match how {
        How::Stop | How::Crowd => Aboard::Nothing,
        How::Panic => Aboard::CrashKernel,
        How::Live => Aboard::Analyzers(steps.run("analyzers", || {
            let analyzers = ["ps", "netdev"].map(str::to_owned);
            build::compile(release, Some(&package.vmlinux()), &analyzers, false)
        })?),
    };
    let folder = &machine_folder(lab, release, target, how)?;
    let name = folder
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let partial = folder.with_file_name(format!(".partial-{name}"));
    let mut attempt = 1;
    let stability = loop {
        let _ = std::fs::remove_dir_all(&partial);
        std::fs::create_dir_all(&partial)
            .with_context(|| format!("can't create {}", partial.display()))?;
        has_room(&partial)?;
        let image = partial.join("initramfs");
        let result = steps
            .run("initramfs", || {
                if how == How::Crowd {
                    return crowd::write_initramfs(package, target, &partial, &image);
                }
                let sysroot = sysroot.as_deref();
                initramfs::write(package, modules, target, sysroot, &aboard, &partial, &image)
            })
            .and_then(|()| boot(package, &image, target, how, &partial, &mut steps));
        match result {
            Ok(stability) if stability.is_stable() => break stability,
            Ok(stability) if !target.is_usual() && stability.is_stable_but_for_queues() => {
                break stability;
            }
            _ if attempt < target.attempts() => {
                let why = match &result {
                    Ok(stability) => format!(
                        "{:?}",
                        stability.strict.iter().find(|(_, list)| !list.is_empty())
                    ),
                    Err(error) => format!("{error:#}"),
                };
                eprintln!("{release}: once more, since {why}");
                attempt += 1;
            }
            Ok(_) => bail!(
                "the guest's state moved between the truth and the dump, {attempt} times; see {}",
                partial.join("stability.json").display()
            ),
            Err(error) => return Err(error),
        }
    };
    if how.records_again() {
        eprintln!(
            "{release}: {} files are the same before and after the dump, {} differ where they may",
            stability.same,
            stability.differs.len()
        );
    }

    let warnings = warnings(&partial, how)?;
    let machine = Machine {
        release: release.clone(),
        machine: target.name.to_owned(),
        how,
        levels: target.levels,
        folder: folder.clone(),
        vmcore: folder.join("vmcore"),
        vmlinux: package.vmlinux(),
        system_map: package.system_map(),
        config: package.config(),
        module_debug: package.module_debug()?,
        truth: folder.join("truth"),
        truth_after: folder.join("truth-after"),
        stability: folder.join("stability.json"),
        console: folder.join("console.log"),
        registers: folder.join("registers.txt"),
        warnings,
        seconds: steps.finish(),
    };
    truth::write_json(&partial.join("lab.json"), &machine.clone().relative_to(lab))?;
    let _ = std::fs::remove_dir_all(folder);
    std::fs::rename(&partial, folder)?;
    remove_stale(folder, release, target.levels);
    Ok(machine)
}

/// Bytes that a boot may write: memory in three dumps, of which one is compressed, the crash kernel's copy, and the recorder's disk.
const ROOM: u64 = 2 << 30;

/// An error if the disk would be full before a boot ends.
fn has_room(folder: &Path) -> Result<()> {
    let free = free(folder)?;
    if free < ROOM {
        bail!(
            "{} has {} MiB free; a boot needs {} (cargo xtask kernels lists what can be removed)",
            folder.display(),
            free >> 20,
            ROOM >> 20
        );
    }
    Ok(())
}

/// Bytes that are free on a folder's disk.
fn free(folder: &Path) -> Result<u64> {
    let disk = rustix::fs::statvfs(folder)
        .with_context(|| format!("can't ask what is free at {}", folder.display()))?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// One boot, from an initramfs to `stability.json`.
fn boot(
    package: &Package,
    image: &Path,
    target: &Target,
    how: How,
    folder: &Path,
    steps: &mut Steps,
) -> Result<truth::Stability> {
    guest::run(package, image, target, how, folder, steps)?;
    let begin = Instant::now();
    let disk = folder.join("disk");
    if how == How::Crowd {
        crowd::unpack(&disk, &folder.join("truth"))?;
    } else {
        truth::unpack(&disk, folder, how)?;
    }
    if target.is_own() {
        check_paging(&folder.join("truth"), target.levels)?;
    }
    truth::write_exceptions(&folder.join("truth"), how)?;
    let stability = if how.records_again() {
        truth::compare(folder, how)?
    } else {
        truth::Stability::default()
    };
    truth::write_json(&folder.join("stability.json"), &stability)?;
    steps.add("unpack the truth", begin);
    std::fs::remove_file(disk)?;
    std::fs::remove_file(image)?;
    Ok(stability)
}

/// The kernel hides the flag unless it uses 5 levels: arch/x86/kernel/cpu/common.c, early_identify_cpu.
fn check_paging(truth: &Path, levels: u8) -> Result<()> {
    let text = std::fs::read_to_string(truth.join("system/cpuinfo"))
        .context("the guest recorded no /proc/cpuinfo")?;
    let flagged = text.lines().any(|line| {
        line.starts_with("flags") && line.split_whitespace().any(|flag| flag == "la57")
    });
    if flagged != (levels == 5) {
        bail!(
            "/proc/cpuinfo {} la57, yet the machine was to have {levels} levels",
            if flagged { "has" } else { "lacks" }
        );
    }
    Ok(())
}

/// What init and labd complained of.
fn warnings(folder: &Path, how: How) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    let signs = [
        ("console.log", "LAB WARN"),
        ("truth/labd.manifest", "LAB ERR"),
    ];
    // A crowd has no labd.
    let count = if how == How::Crowd { 1 } else { signs.len() };
    for (file, sign) in signs.into_iter().take(count) {
        let bytes = std::fs::read(folder.join(file))
            .with_context(|| format!("the guest left no {file}"))?;
        let text = String::from_utf8_lossy(&bytes);
        warnings.extend(
            text.lines()
                .filter(|line| line.contains(sign))
                .map(|line| line.trim().to_string()),
        );
    }
    for warning in &warnings {
        eprintln!("warning: {warning}");
    }
    Ok(warnings)
}

/// Machines of former recipes take half a gigabyte each and serve nobody.
fn remove_stale(folder: &Path, release: &str, levels: u8) {
    let Some(machines) = folder.parent() else {
        return;
    };
    for name in folder_names(machines) {
        let this = name.trim_start_matches(".partial-");
        let stale = this.starts_with(&format!("{release}-{levels}level-"))
            && machines.join(&name) != folder;
        if stale && std::fs::remove_dir_all(machines.join(&name)).is_ok() {
            eprintln!("removed {name}, made by a former recipe");
        }
    }
}

fn show(machine: &Machine) {
    let seconds = machine.seconds.get("total").copied().unwrap_or_default();
    println!(
        "{} ({} levels), made in {seconds:.0} s",
        machine.release, machine.levels
    );
    if machine.how != How::Live {
        println!("  vmcore    {}", machine.vmcore.display());
    }
    println!("  vmlinux   {}", machine.vmlinux.display());
    println!("  truth     {}", machine.truth.display());
    println!("  lab.json  {}", machine.folder.join("lab.json").display());
}

fn key(target: &Target, how: How) -> Result<String> {
    let folder = match how {
        How::Crowd => paths::lab_crowd(),
        How::Stop | How::Panic | How::Live => paths::lab_guest(),
    };
    Ok(recipe::key(
        &recipe::guest_sources(&folder)?,
        &target.key_parameters(how),
    ))
}

/// `target/lab` as an absolute path without detours.
fn lab_folder() -> Result<PathBuf> {
    let folder = paths::lab();
    let kept = [How::Stop, How::Panic, How::Live, How::Crowd].map(How::folder);
    for name in ["packages"].iter().chain(&kept) {
        std::fs::create_dir_all(folder.join(name))
            .with_context(|| format!("can't create {}", folder.display()))?;
    }
    Ok(folder.canonicalize()?)
}

fn folder_names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn read_machine(lab: &Path, folder: &Path) -> Result<Machine> {
    let file = folder.join("lab.json");
    let text =
        std::fs::read_to_string(&file).with_context(|| format!("can't read {}", file.display()))?;
    let machine: Machine = serde_json::from_str(&text)
        .with_context(|| format!("{} is not this xtask's; remove its folder", file.display()))?;
    Ok(machine.map_paths(|path| lab.join(path)))
}

impl Machine {
    fn relative_to(self, lab: &Path) -> Self {
        self.map_paths(|path| {
            path.strip_prefix(lab)
                .map(Path::to_path_buf)
                .unwrap_or(path)
        })
    }

    fn map_paths(mut self, map: impl Fn(PathBuf) -> PathBuf) -> Self {
        for path in [
            &mut self.folder,
            &mut self.vmcore,
            &mut self.vmlinux,
            &mut self.system_map,
            &mut self.config,
            &mut self.truth,
            &mut self.truth_after,
            &mut self.stability,
            &mut self.console,
            &mut self.registers,
        ]
        .into_iter()
        .chain(self.module_debug.values_mut())
        {
            *path = map(std::mem::take(path));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lab_json_survives_a_move() {
        let at = |lab: &str| {
            let lab = Path::new(lab);
            let in_folder = |name: &str| lab.join("machines/m").join(name);
            Machine {
                release: "6.1.0-56-cloud-amd64".into(),
                machine: amd64(),
                how: How::Stop,
                levels: 4,
                folder: lab.join("machines/m"),
                vmcore: in_folder("vmcore"),
                vmlinux: lab.join("packages/r/vmlinux"),
                system_map: lab.join("packages/r/System.map"),
                config: lab.join("packages/r/config"),
                module_debug: [("veth".to_string(), lab.join("packages/r/veth.ko.debug"))].into(),
                truth: in_folder("truth"),
                truth_after: in_folder("truth-after"),
                stability: in_folder("stability.json"),
                console: in_folder("console.log"),
                registers: in_folder("registers.txt"),
                warnings: Vec::new(),
                seconds: BTreeMap::new(),
            }
        };
        let stored = at("/one").relative_to(Path::new("/one"));
        assert!(stored.vmcore.is_relative() && stored.module_debug["veth"].is_relative());
        assert_eq!(
            stored.map_paths(|path| Path::new("/two").join(path)),
            at("/two")
        );
    }

    #[test]
    fn default_levels_go_by_series() {
        assert_eq!(default_levels("6.1"), 4);
        assert_eq!(default_levels("6.1.0-56-cloud-amd64"), 4);
        assert_eq!(default_levels("6.12"), 5);
        assert_eq!(default_levels("6.12.117+deb12-cloud-amd64"), 5);
    }
}

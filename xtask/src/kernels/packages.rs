//! Debian's kernels of any architecture: their vmlinux out of the debug packages, without installing anything.
//!
//! Packages of this machine's own architecture come by apt as it is set up; for those of others there is a state of apt
//! below `target/kernels-debug`, so that the system need not learn of their architecture.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::lab::programs;
use crate::{lab, paths};

/// A kernel of the list.
pub struct Wanted {
    /// `6.1`
    series: Cow<'static, str>,
    /// What stands behind the number: `cloud-amd64`, `686-pae`.
    flavour: &'static str,
    /// Debian's name of the machine.
    architecture: &'static str,
    /// Whether netfilter's modules are wanted with it.
    netfilter: bool,
}

impl Wanted {
    pub const fn new(
        series: &'static str,
        flavour: &'static str,
        architecture: &'static str,
    ) -> Self {
        Wanted {
            series: Cow::Borrowed(series),
            flavour,
            architecture,
            netfilter: false,
        }
    }

    pub const fn with_netfilter(mut self) -> Self {
        self.netfilter = true;
        self
    }

    /// The newest of a series that is only known at run time.
    pub fn of_series(series: &str, flavour: &'static str, architecture: &'static str) -> Self {
        Wanted {
            series: Cow::Owned(series.to_owned()),
            ..Wanted::new("", flavour, architecture)
        }
    }

    /// `6.12-cloud-amd64`, `6.12-cloud-amd64+netfilter`
    pub fn name(&self) -> String {
        let modules = if self.netfilter { "+netfilter" } else { "" };
        format!("{}-{}{modules}", self.series, self.flavour)
    }

    /// The numbers of a release of this series and flavour: what is newer compares greater.
    fn version(&self, release: &str) -> Option<Vec<u64>> {
        let version = release.strip_suffix(self.flavour)?.strip_suffix('-')?;
        let rest = version.strip_prefix(&*self.series)?.strip_prefix('.')?;
        let mut words = rest.split('-');
        // `6.12.117+deb12`: what Debian adds to a number begins with a plus sign. A word is a flavour, such as `cloud`.
        let number = words.next()?.split('+').next()?;
        let is_number = number
            .split('.')
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
        // A series has two numbers: `6` would mean whatever came last.
        let is_number = is_number && self.series.contains('.');
        let words_are_numbers = words.all(|word| word.bytes().all(|byte| byte.is_ascii_digit()));
        if !is_number || !words_are_numbers {
            return None;
        }
        let numbers = rest.split(|c: char| !c.is_ascii_digit());
        Some(numbers.filter_map(|number| number.parse().ok()).collect())
    }

    pub fn newest<'r>(&self, releases: impl Iterator<Item = &'r str>) -> Option<String> {
        releases
            .filter_map(|release| Some((self.version(release)?, release)))
            .max()
            .map(|(_, release)| release.to_owned())
    }
}

/// A kernel's files.
pub struct Kernel {
    pub release: String,
    /// Where things about it may be kept.
    pub folder: PathBuf,
    pub vmlinux: PathBuf,
    /// Modules with debug information, sorted; none if none are wanted.
    pub modules: Vec<PathBuf>,
}

/// The newest kernel that the archive has of what is wanted, downloaded unless it is there; the newest that is there if the archive
/// can't be reached. Of the modules of these names, those that there are lie where `gen` and `build` find them; a kernel of the lab's has
/// the lab's modules.
pub fn ensure(wanted: &Wanted, modules: &BTreeSet<String>) -> Result<Kernel> {
    let apt = Apt::new(wanted.architecture)?;
    let mut updated = Ok(());
    let mut newest = apt.newest(wanted);
    if newest.is_none() {
        updated = apt.update();
        newest = apt.newest(wanted);
    }
    if let Some(release) = newest {
        if let Some(kernel) = cached(wanted, &release, modules) {
            return Ok(kernel);
        }
        let mut fetched = fetch(&apt, wanted, &release, modules);
        if fetched.is_err() {
            // Apt's lists may be older than the archive.
            updated = apt.update();
            let release = apt.newest(wanted).unwrap_or(release);
            fetched = fetch(&apt, wanted, &release, modules);
        }
        match fetched {
            Ok(kernel) => return Ok(kernel),
            Err(error) => eprintln!("{}: {error:#}", wanted.name()),
        }
    }
    let there = releases_there();
    if let Some(release) = wanted.newest(there.iter().map(String::as_str))
        && let Some(kernel) = cached(wanted, &release, modules)
    {
        eprintln!("{}: {release} is what is there already", wanted.name());
        return Ok(kernel);
    }
    updated.with_context(|| format!("apt's lists for {}", wanted.architecture))?;
    bail!(
        "Debian's archive has no kernel {} with a debug package for {}",
        wanted.name(),
        wanted.architecture
    )
}

fn folder_of(release: &str) -> PathBuf {
    paths::kernels_debug().join(release)
}

/// The releases of which something is there.
fn releases_there() -> Vec<String> {
    let folders = [paths::kernels_debug(), paths::lab().join("packages")];
    folders
        .iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect()
}

/// A kernel that is there with all that is wanted of it.
fn cached(wanted: &Wanted, release: &str, named: &BTreeSet<String>) -> Option<Kernel> {
    let folder = folder_of(release);
    let own = folder.join(format!("vmlinux-{release}"));
    let vmlinux = if own.is_file() {
        let list = std::fs::read_to_string(folder.join("modules-debug").join(ASKED_FOR));
        if !named.is_empty() && list.ok()? != asked_for(named) {
            return None;
        }
        own
    } else {
        lab::vmlinux(release)?
    };
    let modules = if wanted.netfilter {
        let mut modules = Vec::new();
        modules_in(&folder.join("modules"), &mut modules).ok()?;
        modules.sort();
        if modules.is_empty() {
            return None;
        }
        modules
    } else {
        Vec::new()
    };
    Some(Kernel {
        release: release.to_owned(),
        folder,
        vmlinux,
        modules,
    })
}

fn modules_in(folder: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            modules_in(&entry.path(), found)?;
        } else {
            found.push(entry.path());
        }
    }
    Ok(())
}

/// Takes the debug files of modules out of a package, those of the names that it has: beside a vmlinux in `folder`, where they are
/// found.
fn unpack_modules(package: &Path, release: &str, names: &BTreeSet<String>) -> Result<()> {
    let download = package.with_file_name("");
    // A module's name has `_` where its file may have `-`.
    let patterns: Vec<String> = names
        .iter()
        .map(|name| format!("*/{}.ko*", name.replace('_', "[_-]")))
        .collect();
    let mut what = vec!["--wildcards"];
    what.extend(patterns.iter().map(String::as_str));
    // No kernel has all of them, about which tar complains.
    let unpacked = unpack(package, &download, &what);
    let modules = download.join(format!("usr/lib/debug/lib/modules/{release}"));
    if !modules.is_dir() {
        unpacked?;
        bail!("{}: it has none of the modules", package.display());
    }
    std::fs::write(modules.join(ASKED_FOR), asked_for(names))?;
    let into = folder_of(release).join("modules-debug");
    if into.exists() {
        std::fs::remove_dir_all(&into)?;
    }
    Ok(std::fs::rename(modules, &into)?)
}

/// The file beside modules that says which were asked for.
const ASKED_FOR: &str = "asked-for";

fn asked_for(names: &BTreeSet<String>) -> String {
    names.iter().map(|name| format!("{name}\n")).collect()
}

/// Downloads a kernel's debug package into a folder of its own.
fn download(apt: &Apt, wanted: &Wanted, release: &str) -> Result<PathBuf> {
    let download = folder_of(release).join("download");
    if download.exists() {
        std::fs::remove_dir_all(&download)?;
    }
    std::fs::create_dir_all(&download)?;
    eprintln!("{}: download of {release} ...", wanted.name());
    apt.run("apt-get", |command| {
        command
            .args(["-q", "download", &format!("linux-image-{release}-dbg")])
            .current_dir(&download)
    })?;
    std::fs::read_dir(&download)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get download brought no package")
}

/// Downloads a kernel's debug package and takes out what is wanted.
fn fetch(apt: &Apt, wanted: &Wanted, release: &str, modules: &BTreeSet<String>) -> Result<Kernel> {
    let package = download(apt, wanted, release)?;
    let folder = folder_of(release);
    let download = folder.join("download");
    eprintln!("{}: unpack ...", wanted.name());
    let vmlinux = format!("vmlinux-{release}");
    if !folder.join(&vmlinux).is_file() {
        // The debug package is some GB; unpacking may end at the one file.
        let path = format!("./usr/lib/debug/boot/{vmlinux}");
        unpack(&package, &download, &["--occurrence=1", &path])?;
        std::fs::rename(download.join(path), folder.join(vmlinux))?;
    }
    if wanted.netfilter {
        unpack(
            &package,
            &download,
            &["--wildcards", "*/netfilter/*.ko*", "*/br_netfilter.ko*"],
        )?;
        let modules = format!("usr/lib/debug/lib/modules/{release}");
        let into = folder.join("modules");
        if into.exists() {
            std::fs::remove_dir_all(&into)?;
        }
        std::fs::rename(download.join(modules), into)?;
    }
    if !modules.is_empty() {
        unpack_modules(&package, release, modules)?;
    }
    std::fs::remove_dir_all(&download)?;
    cached(wanted, release, modules).context("the debug package lacks what is wanted of it")
}

fn unpack(package: &Path, into: &Path, what: &[&str]) -> Result<()> {
    let mut unpacker = programs::command("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("can't run dpkg-deb")?;
    let tar = programs::command("tar")
        .args(["-x", "--no-same-owner", "-C"])
        .arg(into)
        .args(what)
        .stdin(unpacker.stdout.take().context("dpkg-deb has no output")?)
        .output()
        .context("can't run tar");
    // It complains where tar had all it wanted and closed the pipe; what is missing, tar tells.
    unpacker.wait()?;
    let tar = tar?;
    if !tar.status.success() {
        bail!(
            "{}: {}",
            package.display(),
            String::from_utf8_lossy(&tar.stderr).trim()
        );
    }
    Ok(())
}

/// Apt for one architecture.
pub struct Apt {
    options: Vec<String>,
}

impl Apt {
    pub fn new(architecture: &str) -> Result<Self> {
        let own = programs::output(programs::command("dpkg").arg("--print-architecture"))?;
        if own.trim() == architecture {
            return Ok(Apt {
                options: Vec::new(),
            });
        }
        let state = paths::kernels_debug().join(format!(".apt-{architecture}"));
        for folder in ["lists/partial", "cache/archives/partial"] {
            std::fs::create_dir_all(state.join(folder))?;
        }
        let status = state.join("status");
        std::fs::write(&status, "")?;
        let state = state.display();
        Ok(Apt {
            options: vec![
                format!("Dir::State={state}"),
                format!("Dir::State::status={}", status.display()),
                format!("Dir::Cache={state}/cache"),
                format!("APT::Architecture={architecture}"),
                format!("APT::Architectures::={architecture}"),
                "Acquire::Languages=none".to_owned(),
            ],
        })
    }

    pub fn run(
        &self,
        program: &str,
        with: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Result<String> {
        let mut command = programs::command(program);
        for option in &self.options {
            command.args(["-o", option]);
        }
        programs::output(with(&mut command))
    }

    /// One source that can't be reached is no harm if the others have the kernel.
    pub fn update(&self) -> Result<()> {
        eprintln!("apt's lists are renewed ...");
        self.run("apt-get", |command| command.args(["-qq", "update"]))
            .map(drop)
    }

    /// The newest release that can be downloaded.
    pub fn newest(&self, wanted: &Wanted) -> Option<String> {
        let names = self.run("apt-cache", |command| {
            command.args(["pkgnames", "linux-image-"])
        });
        let names = names.ok()?;
        let wanted_names = names.lines().filter(|name| {
            release_of(name).is_some_and(|release| wanted.version(release).is_some())
        });
        let mut wanted_names: Vec<&str> = wanted_names.collect();
        if wanted_names.is_empty() {
            return None;
        }
        wanted_names.sort_unstable();
        // `pkgnames` also names what other packages merely mention.
        let there = self.run("apt-cache", |command| {
            command.arg("madison").args(wanted_names)
        });
        let there = there.ok()?;
        let packages = there
            .lines()
            .filter_map(|line| release_of(line.split('|').next()?.trim()));
        wanted.newest(packages)
    }
}

fn release_of(package: &str) -> Option<&str> {
    package.strip_prefix("linux-image-")?.strip_suffix("-dbg")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flavour_is_no_other_flavour() {
        let releases = [
            "6.1.0-9-amd64",
            "6.1.0-50-amd64",
            "6.1.0-56-cloud-amd64",
            "6.1.0-51-rt-amd64",
            "6.12.117+deb12-amd64",
            "6.12.99+deb12-amd64",
            "6.12.118+deb12-rt-amd64",
            "6.12-amd64",
            "6.1.0-50-686-pae",
            "6.1.0-51-686",
            "6.1.0-51-rt-686-pae",
        ];
        let newest = |series, flavour| {
            Wanted::new(series, flavour, "amd64").newest(releases.iter().copied())
        };
        assert_eq!(newest("6.1", "amd64").as_deref(), Some("6.1.0-50-amd64"));
        assert_eq!(
            newest("6.12", "amd64").as_deref(),
            Some("6.12.117+deb12-amd64")
        );
        assert_eq!(
            newest("6.1", "cloud-amd64").as_deref(),
            Some("6.1.0-56-cloud-amd64")
        );
        assert_eq!(
            newest("6.1", "686-pae").as_deref(),
            Some("6.1.0-50-686-pae")
        );
        assert_eq!(newest("6.1", "s390x"), None);
        assert_eq!(newest("6", "amd64"), None);
    }
}

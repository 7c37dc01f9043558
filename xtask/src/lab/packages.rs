//! Debian's kernels: which there are now, and what the lab takes out of their packages.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};

use super::progress::Steps;
use super::target::Target;
use super::{programs, recipe};
use crate::kernels::packages::Apt;

/// A kernel's unpacked files in `target/lab/packages/RELEASE`.
pub struct Package {
    pub release: String,
    pub folder: PathBuf,
}

impl Package {
    pub fn vmlinux(&self) -> PathBuf {
        self.folder.join("vmlinux")
    }

    /// What the machine boots. On powerpc it is not compressed.
    pub fn vmlinuz(&self) -> PathBuf {
        let file = |name| {
            self.folder
                .join("boot")
                .join(format!("{name}-{}", self.release))
        };
        let compressed = file("vmlinuz");
        if compressed.is_file() {
            compressed
        } else {
            file("vmlinux")
        }
    }

    pub fn config(&self) -> PathBuf {
        self.folder
            .join("boot")
            .join(format!("config-{}", self.release))
    }

    pub fn system_map(&self) -> PathBuf {
        self.folder.join("System.map")
    }

    /// Where a symbol was linked.
    pub fn address(&self, symbol: &str) -> Result<u64> {
        let text = std::fs::read_to_string(self.system_map())?;
        let line = text
            .lines()
            .find(|line| line.split(' ').nth(2) == Some(symbol))
            .with_context(|| format!("{} has no {symbol}", self.system_map().display()))?;
        let address = line.split(' ').next().unwrap_or_default();
        Ok(u64::from_str_radix(address, 16)?)
    }

    pub fn modules(&self) -> PathBuf {
        self.folder.join("lib/modules").join(&self.release)
    }

    /// The files with debug information of the modules that the guest loads, by module name.
    pub fn module_debug(&self) -> Result<BTreeMap<String, PathBuf>> {
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(self.folder.join("modules-debug"))? {
            let path = entry?.path();
            files.insert(recipe::module_name(&path), path);
        }
        Ok(files)
    }

    /// Every file that the guest loads, dependencies first, each once.
    pub fn module_files(&self, wanted: &[(String, String)]) -> Result<Vec<PathBuf>> {
        let dependencies = recipe::Dependencies::read(&self.modules())?;
        let mut files: Vec<PathBuf> = Vec::new();
        for file in wanted
            .iter()
            .flat_map(|(module, _)| dependencies.load_order(module))
        {
            if !files.contains(&file) {
                files.push(file);
            }
        }
        Ok(files)
    }

    /// Whether the cached files serve a guest that loads `wanted`.
    fn is_complete(&self, wanted: &[(String, String)]) -> bool {
        let Ok(debug) = self.module_debug() else {
            return false;
        };
        let Ok(files) = self.module_files(wanted) else {
            return false;
        };
        self.vmlinux().is_file()
            && files
                .iter()
                .all(|file| debug.contains_key(&recipe::module_name(file)))
    }
}

/// The release that `name` means: a release itself, or the newest `cloud-amd64` one of a series such as `6.12`.
///
/// The archive is asked first, going by apt's lists; they are renewed if they have nothing. If the archive can't be reached,
/// the newest kernel of the series in `folder` will do.
pub fn resolve(name: &str, folder: &Path, target: &Target) -> Result<String> {
    if !is_series(name) {
        return Ok(name.to_string());
    }
    if !target.is_usual() {
        return resolve_foreign(name, folder, target);
    }
    if let Some(release) = archive_releases()
        .ok()
        .and_then(|releases| newest(name, &releases))
    {
        return Ok(release);
    }
    let updated = update();
    if let Some(release) = archive_releases()
        .ok()
        .and_then(|releases| newest(name, &releases))
    {
        return Ok(release);
    }
    if let Some(release) = newest(name, &cached(folder)) {
        return Ok(release);
    }
    updated.with_context(|| {
        format!("no cloud-amd64 kernel {name} is cached, and apt's lists can't be updated")
    })?;
    bail!(
        "Debian's archive has no cloud-amd64 kernel {name} with a debug package; `apt-cache pkgnames linux-image-` lists what it has"
    )
}

/// The same for another flavour or architecture, whose lists apt keeps apart.
fn resolve_foreign(name: &str, folder: &Path, target: &Target) -> Result<String> {
    let (apt, wanted) = (Apt::new(target.architecture)?, target.wanted(name));
    if let Some(release) = apt.newest(&wanted) {
        return Ok(release);
    }
    let updated = apt.update();
    apt.newest(&wanted)
        .or_else(|| newest_cached(name, folder, target))
        .with_context(|| {
            let why = updated
                .err()
                .map_or_else(String::new, |error| format!(" ({error:#})"));
            format!(
                "Debian's archive has no kernel {} with a debug package for {}{why}",
                wanted.name(),
                target.architecture
            )
        })
}

/// The newest kernel of a series that is unpacked in `folder`, for when the one that [`resolve`] found can't be downloaded.
pub fn newest_cached(name: &str, folder: &Path, target: &Target) -> Option<String> {
    if is_series(name) && !target.is_usual() {
        let there = cached(folder);
        target.wanted(name).newest(there.iter().map(String::as_str))
    } else if is_series(name) {
        newest(name, &cached(folder))
    } else {
        None
    }
}

/// The releases whose packages are unpacked in `folder`.
pub fn cached(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut releases: Vec<_> = entries
        .filter(|entry| entry.path().join("vmlinux").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.'))
        .collect();
    releases.sort_by_key(|release| version(release));
    releases
}

/// The kernel's package, downloaded and unpacked if it isn't there yet.
pub fn ensure(
    release: &str,
    folder: &Path,
    wanted: &[(String, String)],
    target: &Target,
    steps: &mut Steps,
) -> Result<Package> {
    let package = Package {
        release: release.into(),
        folder: folder.join(release),
    };
    if package.is_complete(wanted) {
        return Ok(package);
    }
    let partial = folder.join(format!(".partial-{release}"));
    let _ = std::fs::remove_dir_all(&partial);
    std::fs::create_dir_all(&partial)
        .with_context(|| format!("can't create {}", partial.display()))?;
    let new = Package {
        release: release.into(),
        folder: partial.clone(),
    };
    let fetched = steps.run("download", || download(release, &partial, target));
    let made = fetched.and_then(|files| steps.run("unpack", || unpack(&new, &files, wanted)));
    if made.is_err() {
        let _ = std::fs::remove_dir_all(&partial);
        made?;
    }
    if package.folder.exists() {
        std::fs::remove_dir_all(&package.folder)?;
    }
    std::fs::rename(&partial, &package.folder)?;
    Ok(package)
}

/// `6.1` and `6.12` name a series; everything longer is a release.
fn is_series(name: &str) -> bool {
    let parts: Vec<_> = name.split('.').collect();
    parts.len() == 2
        && parts
            .iter()
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The numbers of a release in their order: what is newer compares greater.
fn version(release: &str) -> Vec<u64> {
    let release = release.strip_suffix("-cloud-amd64").unwrap_or(release);
    release
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect()
}

fn newest(series: &str, releases: &[String]) -> Option<String> {
    let prefix = format!("{series}.");
    releases
        .iter()
        .filter(|release| release.starts_with(&prefix) && release.ends_with("-cloud-amd64"))
        .max_by_key(|release| version(release))
        .cloned()
}

/// The releases of which the archive has a debug package now, going by apt's lists.
///
/// `pkgnames` also names what other packages merely mention; `madison` only shows what can be downloaded.
fn archive_releases() -> Result<Vec<String>> {
    let names =
        programs::output(programs::command("apt-cache").args(["pkgnames", "linux-image-"]))?;
    let debug: Vec<_> = names
        .lines()
        .filter(|name| release_of(name).is_some_and(|release| release.ends_with("-cloud-amd64")))
        .collect();
    if debug.is_empty() {
        return Ok(Vec::new());
    }
    let available = programs::output(programs::command("apt-cache").arg("madison").args(debug))?;
    Ok(available
        .lines()
        .filter_map(|line| release_of(line.split('|').next()?.trim()))
        .map(str::to_string)
        .collect())
}

/// `linux-image-6.12-cloud-amd64-dbg` is a name that only stands for the newest: a release has three numbers.
fn release_of(package: &str) -> Option<&str> {
    let release = package.strip_prefix("linux-image-")?.strip_suffix("-dbg")?;
    (version(release).len() >= 3).then_some(release)
}

/// Renews apt's lists. Apt by itself counts a source that can't be reached as a success with a warning.
fn update() -> Result<()> {
    eprintln!("apt's lists are renewed ...");
    programs::output(programs::command("apt-get").args([
        "-qq",
        "-o",
        "APT::Update::Error-Mode=any",
        "update",
    ]))
    .map(drop)
}

/// Downloads both packages. Apt's lists may be older than the archive: then once more, with new lists.
///
/// One of several sources that can't be reached fails an update, and yet the lists that matter may be new.
fn download(release: &str, into: &Path, target: &Target) -> Result<[PathBuf; 2]> {
    let apt = Apt::new(target.architecture)?;
    let first = try_download(release, into, &apt);
    if first.is_ok() {
        return first;
    }
    let updated = if target.is_own() {
        update()
    } else {
        apt.update()
    };
    try_download(release, into, &apt).with_context(|| match updated {
        Ok(()) => format!(
            "can't download kernel {release}; the archive keeps only the newest few, and a series such as 6.12 always means one that is there"
        ),
        Err(error) => format!("can't download kernel {release}, nor renew apt's lists ({error:#})"),
    })
}

/// The signed image is the same code with a signature that we don't need, and on Debian it is the smaller choice of names.
fn try_download(release: &str, into: &Path, apt: &Apt) -> Result<[PathBuf; 2]> {
    let has = |name: &str| {
        apt.run("apt-cache", |command| command.args(["show", name]))
            .is_ok_and(|text| !text.trim().is_empty())
    };
    let unsigned = format!("linux-image-{release}-unsigned");
    let image = if has(&unsigned) {
        unsigned
    } else {
        format!("linux-image-{release}")
    };
    let debug = format!("linux-image-{release}-dbg");
    apt.run("apt-get", |command| {
        command
            .args(["-q", "download", &image, &debug])
            .current_dir(into)
    })?;
    let find = |package: &str| -> Result<PathBuf> {
        let prefix = format!("{package}_");
        let mut files = std::fs::read_dir(into)?.flatten().map(|entry| entry.path());
        files
            .find(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
            })
            .with_context(|| format!("apt-get download brought no file for {package}"))
    };
    Ok([find(&image)?, find(&debug)?])
}

/// Unpacks the image as a whole; of the debug package (1.7 GB) only `vmlinux`, `System.map` and what belongs to loaded modules.
fn unpack(
    package: &Package,
    [image, debug]: &[PathBuf; 2],
    wanted: &[(String, String)],
) -> Result<()> {
    let folder = &package.folder;
    extract(image, folder, &[])?;
    if !folder.join("lib/modules").is_dir() {
        std::os::unix::fs::symlink("usr/lib", folder.join("lib"))?;
    }
    programs::output(
        programs::command("depmod")
            .arg("-b")
            .arg(folder)
            .arg(&package.release),
    )?;

    let files = package.module_files(wanted)?;
    let mut patterns = vec![
        format!("*/boot/vmlinux-{}", package.release),
        format!("*/boot/System.map-{}", package.release),
    ];
    for file in &files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let stem = name.split(".ko").next().unwrap_or_default();
        patterns.extend([format!("*/{stem}.ko"), format!("*/{stem}.ko.debug")]);
    }
    extract(debug, folder, &patterns)?;

    let boot = folder.join("usr/lib/debug/boot");
    std::fs::rename(
        boot.join(format!("vmlinux-{}", package.release)),
        package.vmlinux(),
    )
    .with_context(|| format!("the debug package of {} has no vmlinux", package.release))?;
    std::fs::rename(
        boot.join(format!("System.map-{}", package.release)),
        package.system_map(),
    )?;
    let into = folder.join("modules-debug");
    std::fs::create_dir_all(&into)?;
    for file in walk(&folder.join("usr/lib/debug"))? {
        std::fs::rename(
            &file,
            into.join(format!("{}.ko.debug", recipe::module_name(&file))),
        )?;
    }
    std::fs::remove_dir_all(folder.join("usr/lib/debug"))?;
    for file in &files {
        if !package
            .module_debug()?
            .contains_key(&recipe::module_name(file))
        {
            bail!(
                "the debug package of {} has nothing for {}",
                package.release,
                file.display()
            );
        }
    }
    std::fs::remove_file(image)?;
    std::fs::remove_file(debug)?;
    Ok(())
}

fn walk(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files.extend(walk(&entry.path())?);
        } else {
            files.push(entry.path());
        }
    }
    Ok(files)
}

/// Unpacks a package's files, or those that match one of `patterns`. A pattern without a match is no error here.
fn extract(package: &Path, into: &Path, patterns: &[String]) -> Result<()> {
    let mut unpacker = programs::command("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .spawn()?;
    let tar = programs::command("tar")
        .args(["-x", "--no-same-owner", "-C"])
        .arg(into)
        .args(if patterns.is_empty() {
            None
        } else {
            Some("--wildcards")
        })
        .args(patterns)
        .stdin(unpacker.stdout.take().context("dpkg-deb has no output")?)
        .output()?;
    if !unpacker.wait()?.success() {
        bail!("dpkg-deb can't read {}", package.display());
    }
    let errors = String::from_utf8_lossy(&tar.stderr);
    let real: Vec<_> = errors
        .lines()
        .filter(|line| !line.contains("Not found in archive") && !line.contains("previous errors"))
        .collect();
    if !tar.status.success() && (patterns.is_empty() || !real.is_empty()) {
        bail!(
            "tar can't unpack {}: {}",
            package.display(),
            real.join("; ")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_means_its_newest_cloud_kernel() {
        let releases = [
            "6.1.0-9-cloud-amd64",
            "6.1.0-56-cloud-amd64",
            "6.1.0-57-amd64",
            "6.12.117+deb12-cloud-amd64",
            "6.12.13+deb12-cloud-amd64",
            "6.12.117+deb12-cloud-arm64",
        ]
        .map(String::from);
        assert_eq!(
            newest("6.1", &releases).as_deref(),
            Some("6.1.0-56-cloud-amd64")
        );
        assert_eq!(
            newest("6.12", &releases).as_deref(),
            Some("6.12.117+deb12-cloud-amd64")
        );
        assert_eq!(newest("6.5", &releases), None);
        assert!(is_series("6.1") && is_series("6.12"));
        assert!(!is_series("6.12.117+deb12-cloud-amd64") && !is_series("6.1.") && !is_series("6"));
    }

    #[test]
    fn debug_packages_name_their_release() {
        assert_eq!(
            release_of("linux-image-6.1.0-56-cloud-amd64-dbg"),
            Some("6.1.0-56-cloud-amd64")
        );
        assert_eq!(release_of("linux-image-6.12-cloud-amd64-dbg"), None);
        assert_eq!(release_of("linux-image-6.1.0-56-cloud-amd64"), None);
    }
}

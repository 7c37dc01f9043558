//! The programs of a guest of another architecture, out of Debian's packages: unpacked below `target/lab/sysroots` and never
//! installed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::programs;
use super::target::Target;
use crate::kernels::packages::Apt;

/// What the guest runs beside its own program.
const PACKAGES: [&str; 5] = [
    "busybox-static",
    "iproute2",
    "iptables",
    "nftables",
    "util-linux",
];

/// The root of the guest's programs, unpacked if it isn't there yet.
pub fn ensure(target: &Target, lab: &Path) -> Result<PathBuf> {
    let folder = lab.join("sysroots").join(target.architecture);
    let list = folder.join("packages");
    let wanted = PACKAGES.join("\n");
    if std::fs::read_to_string(&list).is_ok_and(|had| had == wanted) {
        return Ok(folder);
    }
    let _ = std::fs::remove_dir_all(&folder);
    let partial = folder.with_file_name(format!(".partial-{}", target.architecture));
    let _ = std::fs::remove_dir_all(&partial);
    let downloads = partial.join("downloads");
    std::fs::create_dir_all(downloads.join("partial"))
        .with_context(|| format!("can't create {}", downloads.display()))?;
    let apt = Apt::new(target.architecture)?;
    let fetch = || {
        apt.run("apt-get", |command| {
            // With an empty status, all that the packages depend on comes along.
            command
                .args(["-q", "-y", "-d", "--no-install-recommends", "-o"])
                .arg(format!("Dir::Cache::archives={}", downloads.display()))
                .arg("install")
                .args(PACKAGES)
        })
    };
    if fetch().is_err() {
        // One source that can't be reached is no harm if the others have the packages.
        let updated = apt.update();
        fetch().with_context(|| match updated {
            Ok(()) => format!("can't download programs for {}", target.architecture),
            Err(error) => format!(
                "can't download programs for {}, nor renew apt's lists ({error:#})",
                target.architecture
            ),
        })?;
    }
    let root = partial.join("root");
    for entry in std::fs::read_dir(&downloads)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            programs::output(
                programs::command("dpkg-deb")
                    .arg("-x")
                    .arg(&path)
                    .arg(&root),
            )?;
        }
    }
    std::fs::rename(&root, &folder)?;
    std::fs::write(list, wanted)?;
    std::fs::remove_dir_all(&partial)?;
    Ok(folder)
}

/// Where a program lies in a root.
pub fn program(root: &Path, name: &str) -> Result<PathBuf> {
    ["usr/sbin", "sbin", "usr/bin", "bin"]
        .iter()
        .map(|folder| resolved(root, root.join(folder).join(name)))
        .find(|path| path.is_file())
        .with_context(|| format!("{} has no {name}", root.display()))
}

/// A symbolic link from `/` would lead out of the root, to the host's own programs.
fn resolved(root: &Path, path: PathBuf) -> PathBuf {
    match std::fs::read_link(&path) {
        Ok(target) if target.is_absolute() => {
            root.join(target.strip_prefix("/").unwrap_or(&target))
        }
        _ => path,
    }
}

/// The libraries that a program and they themselves name, and its loader, as paths in the root.
pub fn libraries(root: &Path, triplet: &str, program: &Path) -> Result<Vec<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut todo = vec![program.to_owned()];
    while let Some(file) = todo.pop() {
        let text = programs::output(programs::command("readelf").arg("-ld").arg(&file))?;
        for name in needed(&text) {
            let places = [
                PathBuf::from(name.trim_start_matches('/')),
                Path::new("lib").join(triplet).join(name),
                Path::new("usr/lib").join(triplet).join(name),
            ];
            let Some(place) = places.iter().find(|place| root.join(place).is_file()) else {
                bail!("{} needs {name}, which no package has", file.display());
            };
            if found.insert(place.clone()) {
                todo.push(root.join(place));
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// Of what `readelf -ld` prints, the names of the loader and of libraries.
fn needed(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let (_, rest) = line
            .split_once("(NEEDED)")
            .and_then(|(_, rest)| rest.split_once('['))
            .or_else(|| line.split_once("program interpreter: "))?;
        rest.split(']').next()
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn readelf_names_libraries_and_the_loader() {
        let text = "  INTERP  0x000194\n      [Requesting program interpreter: /lib/ld-linux.so.2]\n 0x00000001 (NEEDED)   Shared library: [libmnl.so.0]\n 0x0000000c (INIT)  0x1\n";
        let found: Vec<_> = super::needed(text).collect();
        assert_eq!(found, ["/lib/ld-linux.so.2", "libmnl.so.0"]);
    }
}

//! The programs of a guest of another architecture, out of Debian's packages: unpacked below `target/lab/sysroots` and never
//! installed.

use std::collections::BTreeMap;
use std::ffi::OsString;
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
        .find_map(|folder| file_in(root, &Path::new(folder).join(name)))
        .with_context(|| format!("{} has no {name}", root.display()))
}

/// The file that a path in a root leads to, links followed as if the root was `/`: the system itself would follow them out of it, to the host's
/// own files. `None` if there is none.
fn file_in(root: &Path, path: &Path) -> Option<PathBuf> {
    /// As many as Linux follows.
    const MOST_LINKS: u32 = 40;
    let mut links = 0;
    // Components that are still to be gone, the next one last.
    let parts = |path: &Path| -> Vec<OsString> {
        let parts = path.iter().rev().map(ToOwned::to_owned);
        parts.collect()
    };
    let mut todo = parts(path);
    let mut inside = PathBuf::new();
    while let Some(part) = todo.pop() {
        if part == "/" {
            inside.clear();
        } else if part == ".." {
            inside.pop();
        } else if let Ok(target) = std::fs::read_link(root.join(&inside).join(&part)) {
            links += 1;
            if links > MOST_LINKS {
                return None;
            }
            todo.extend(parts(&target));
        } else {
            inside.push(part);
        }
    }
    Some(root.join(inside)).filter(|file| file.is_file())
}

/// The libraries that a program and they themselves name, and its loader: their paths in the root, and where they are.
pub fn libraries(root: &Path, triplet: &str, program: &Path) -> Result<BTreeMap<PathBuf, PathBuf>> {
    let mut found = BTreeMap::new();
    let mut todo = vec![program.to_owned()];
    while let Some(file) = todo.pop() {
        let text = programs::output(programs::command("readelf").arg("-ld").arg(&file))?;
        for name in needed(&text) {
            let places = [
                PathBuf::from(name.trim_start_matches('/')),
                Path::new("lib").join(triplet).join(name),
                Path::new("usr/lib").join(triplet).join(name),
            ];
            let Some((place, file)) = places
                .iter()
                .find_map(|place| Some((place, file_in(root, place)?)))
            else {
                bail!("{} needs {name}, which no package has", file.display());
            };
            if found.insert(place.clone(), file.clone()).is_none() {
                todo.push(file);
            }
        }
    }
    Ok(found)
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
    use super::*;

    /// ppc64el's loader is an absolute link, and so are those of alternatives.
    #[test]
    fn links_are_followed_inside_the_root() {
        use std::os::unix::fs::symlink;
        let root = tempfile::tempdir().expect("there is room");
        let root = root.path();
        let make = |folder: &str| std::fs::create_dir_all(root.join(folder)).expect("a folder");
        make("usr/lib/triplet");
        make("lib64");
        let file = root.join("usr/lib/triplet/ld.so");
        std::fs::write(&file, "").expect("it can be written");
        let link = |target: &str, name: &str| symlink(target, root.join(name)).expect("a link");
        link("usr/lib", "lib");
        link("/lib/triplet/ld.so", "lib64/ld.so");
        link("../lib64/../lib64/ld.so", "usr/relative");
        link("../../../../../lib/triplet/ld.so", "lib64/above");
        link("/etc/passwd", "host");
        link("circle", "circle");
        let find = |path: &str| file_in(root, Path::new(path));
        for path in ["lib64/ld.so", "/lib64/ld.so", "usr/relative", "lib64/above"] {
            assert_eq!(find(path).as_ref(), Some(&file), "{path}");
        }
        for path in ["host", "circle", "lib64", "lib64/none"] {
            assert_eq!(find(path), None, "{path}");
        }
    }

    #[test]
    fn readelf_names_libraries_and_the_loader() {
        let text = "  INTERP  0x000194\n      [Requesting program interpreter: /lib/ld-linux.so.2]\n 0x00000001 (NEEDED)   Shared library: [libmnl.so.0]\n 0x0000000c (INIT)  0x1\n";
        let found: Vec<_> = needed(text).collect();
        assert_eq!(found, ["/lib/ld-linux.so.2", "libmnl.so.0"]);
    }
}

//! Files that hold what another lacks: the separate debug file of a stripped one, and the alternate file into which dwz
//! moved what several debug files share.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use crate::Error;
use crate::image::{AlternateLink, Image};

/// Where debug packages put things.
const DEBUG: &str = "usr/lib/debug";

/// The files that the debug information of one file is in, as far as they are others.
pub struct Companions {
    /// The separate debug file.
    pub debug: Option<Image>,
    /// The alternate file.
    pub alternate: Option<Image>,
}

impl Companions {
    /// Finds the companions of a file.
    ///
    /// The separate debug file is looked for if the file has no `.debug_info`: by `.gnu_debuglink` in the file's folder, in
    /// `.debug` there and in the trees of debug packages, and by build id in those. The trees are `/usr/lib/debug` and
    /// `usr/lib/debug` in any folder above the file, so that an unpacked package works. A file is only taken if it
    /// has the same build id, or without that the checksum in the link.
    ///
    /// Errors: [`Error::NoDebugInfo`] if there is none and nothing says that there is another file, [`Error::NoDebugFile`]
    /// if what the file names isn't found, and what opening a file can give.
    pub fn find(image: &Image) -> Result<Self, Error> {
        let debug = if image.parse()?.has_section(".debug_info") {
            None
        } else {
            Some(debug_file(image)?)
        };
        let alternate = alternate_file(debug.as_ref().unwrap_or(image))?;
        Ok(Companions { debug, alternate })
    }
}

/// What was looked at in vain, and why it was not taken.
#[derive(Default)]
struct Looked(String);

impl Looked {
    fn at(&mut self, path: &Path, why: &str) {
        let separator = if self.0.is_empty() { "" } else { ", " };
        let _ = write!(self.0, "{separator}{} ({why})", path.display());
    }
}

fn debug_file(image: &Image) -> Result<Image, Error> {
    let elf = image.parse()?;
    let (link, id) = (elf.debug_link(), elf.build_id());
    let folder = folder(image);
    let roots = roots(&folder);
    let mut candidates: Vec<PathBuf> = Vec::new();
    // A name with a folder in it would lead out of where we look.
    if let Some((name, _)) = link
        && let Some(name) = plain_name(name)
    {
        candidates.push(folder.join(name));
        candidates.push(folder.join(".debug").join(name));
        for (root, tree) in &roots {
            let inside = folder.strip_prefix(tree).unwrap_or(&folder);
            candidates.push(root.join(inside).join(name));
        }
    }
    candidates.extend(id.into_iter().flat_map(|id| by_build_id(&roots, id)));
    if candidates.is_empty() {
        return Err(Error::NoDebugInfo {
            path: image.path().to_owned(),
        });
    }
    let own = image.path().canonicalize().ok();
    let mut looked = Looked::default();
    for candidate in candidates {
        if !candidate.is_file() {
            looked.at(&candidate, "no such file");
            continue;
        }
        if candidate.canonicalize().ok() == own {
            continue;
        }
        let found = match Image::open(&candidate) {
            Ok(found) => found,
            Err(error) => {
                looked.at(&candidate, &error.to_string());
                continue;
            }
        };
        let Ok(other) = found.parse() else {
            looked.at(&candidate, "not sound ELF");
            continue;
        };
        let fits = match (id, other.build_id(), link) {
            (Some(id), Some(other), _) if id != other => Err("of another build id"),
            (Some(_), Some(_), _) => Ok(()),
            (_, _, Some((_, crc))) if crc32fast::hash(found.bytes()) != crc => {
                Err("its checksum is not that in .gnu_debuglink")
            }
            (_, _, Some(_)) => Ok(()),
            _ => Err("it has no build id"),
        };
        match fits {
            Err(why) => looked.at(&candidate, why),
            Ok(()) if !other.has_section(".debug_info") => {
                looked.at(&candidate, "it has no .debug_info either");
            }
            Ok(()) => return Ok(found),
        }
    }
    Err(Error::NoDebugFile {
        path: image.path().to_owned(),
        looked: looked.0,
    })
}

fn alternate_file(debug: &Image) -> Result<Option<Image>, Error> {
    let elf = debug.parse()?;
    let Some(AlternateLink { name, id }) = elf.alternate_link()? else {
        return Ok(None);
    };
    let name = Path::new(OsStr::from_bytes(&name));
    let folder = folder(debug);
    let roots = roots(&folder);
    let mut candidates = vec![folder.join(name)];
    for (root, tree) in &roots {
        // Of an unpacked package, what is absolute is meant in its tree.
        if let Ok(inside) = name.strip_prefix("/") {
            candidates.push(tree.join(inside));
        }
        if let Some(file) = name.file_name() {
            candidates.push(root.join(".dwz").join(file));
        }
    }
    candidates.extend(by_build_id(&roots, &id));
    candidates.dedup();
    let mut looked = Looked::default();
    for candidate in candidates {
        if !candidate.is_file() {
            looked.at(&candidate, "no such file");
            continue;
        }
        let found = match Image::open(&candidate) {
            Ok(found) => found,
            Err(error) => {
                looked.at(&candidate, &error.to_string());
                continue;
            }
        };
        match found.parse() {
            Err(_) => looked.at(&candidate, "not sound ELF"),
            Ok(other) if other.big_endian() != elf.big_endian() => {
                looked.at(&candidate, "of another byte order");
            }
            Ok(other) if !other.ids().contains(&id) => looked.at(&candidate, "of another build id"),
            Ok(_) => return Ok(Some(found)),
        }
    }
    Err(Error::NoAlternateFile {
        path: debug.path().to_owned(),
        name: name.to_owned(),
        looked: looked.0,
    })
}

/// The folder that a file really is in: what a link to it stands beside is of no meaning to the file.
fn folder(image: &Image) -> PathBuf {
    let path = image
        .path()
        .canonicalize()
        .unwrap_or_else(|_| image.path().to_owned());
    path.parent().map(Path::to_owned).unwrap_or_default()
}

/// Folders that debug packages put things into, each with the top of its tree: the system's first.
fn roots(folder: &Path) -> Vec<(PathBuf, PathBuf)> {
    let above = folder.ancestors().filter(|tree| tree.parent().is_some());
    std::iter::once(Path::new("/"))
        .chain(above)
        .map(|tree| (tree.join(DEBUG), tree.to_owned()))
        .filter(|(root, tree)| tree.parent().is_none() || root.is_dir())
        .collect()
}

fn by_build_id(roots: &[(PathBuf, PathBuf)], id: &[u8]) -> Vec<PathBuf> {
    let Some((first, rest)) = id.split_first() else {
        return Vec::new();
    };
    let rest: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
    roots
        .iter()
        .map(|(root, _)| {
            root.join(".build-id")
                .join(format!("{first:02x}"))
                .join(format!("{rest}.debug"))
        })
        .collect()
}

fn plain_name(name: &[u8]) -> Option<&Path> {
    let name = Path::new(OsStr::from_bytes(name));
    let mut components = name.components();
    match (components.next(), components.next()) {
        (Some(Component::Normal(_)), None) => Some(name),
        _ => None,
    }
}

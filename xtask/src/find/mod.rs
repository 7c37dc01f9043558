//! Finding a kernel's vmlinux: by path, name, release, build id, or the beginning of a release; and for a dump.

mod modules;
mod places;

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::bail;
use kstruct_codegen::image::Image;
use kstruct_codegen::index::Identity;
use kstruct_codegen::model::Kernel;
use kstruct_codegen::{btf, dwarf};

use crate::{build, debuginfod, generate};
pub use modules::{Types, module, modules};
use places::{ENDINGS, Place, Places};

/// Finds a vmlinux with debug information, and what its bindings are called. What is named by its build id may come from a debuginfod server.
pub fn source(wanted: &str) -> anyhow::Result<(PathBuf, String)> {
    let (vmlinux, by) = look_for(wanted)?;
    let name = match by {
        By::Path => kernel_name(&vmlinux)?,
        By::Name(name) => tame(&name),
        By::BuildId => name_of(&vmlinux)?,
    };
    Ok((vmlinux, name))
}

/// Finds a vmlinux with debug information.
pub fn vmlinux(wanted: &str) -> anyhow::Result<PathBuf> {
    look_for(wanted).map(|(path, _)| path)
}

/// By what a vmlinux was found.
enum By {
    Path,
    /// The whole name, of which the beginning may have been given.
    Name(String),
    BuildId,
}

fn look_for(wanted: &str) -> anyhow::Result<(PathBuf, By)> {
    refuse_nothing(wanted)?;
    let path = Path::new(wanted);
    // A directory whose name is that of a kernel (`linux`, `6.1`) may stand beside its vmlinux.
    if path.is_file() || (wanted.contains('/') && path.exists()) {
        return Ok((path.to_owned(), By::Path));
    }
    if wanted.contains('/') {
        bail!("{wanted}: no such file");
    }
    let name = name_in(wanted);
    let here = Here::usual();
    if let Some(found) = here.named(name) {
        return Ok((found, By::Name(name.to_owned())));
    }
    let places = &here.places;
    let id = name.to_ascii_lowercase();
    if let Some(id) = Some(&*id)
        .filter(|id| is_build_id(id))
        .or(split_name(name).1)
    {
        return Ok((by_build_id(places, id)?, By::BuildId));
    }
    // A name that bindings have means those, and not others whose names begin so.
    let known = build::known_kernels()?;
    if known.iter().all(|(known, _)| known != name)
        && let Some(name) = of_series(name, here.names().chain(known.into_iter().map(|it| it.0)))?
        && let Some(found) = here.named(&name)
    {
        return Ok((found, By::Name(name)));
    }
    let known = build::known_kernels()?.into_iter().map(|it| it.0);
    let begin_so = begin_so(name, here.names().chain(known));
    if !begin_so.is_empty() {
        bail!("{wanted} is no kernel's name; {begin_so}");
    }
    if let Some(longer) = longer(name) {
        bail!(
            "there is no vmlinux for {wanted}; looked in {}\n{longer}",
            places.shown()
        );
    }
    let lab = match name.bytes().next() {
        Some(b'0'..=b'9') => {
            format!(", or fetch a Debian kernel of that name with: cargo xtask lab {name}")
        }
        _ => String::new(),
    };
    bail!(
        "there is no vmlinux for {wanted}; looked in {}\nInstall the kernel's debug package, give a path, or name folders in {}{lab}",
        places.shown(),
        places::DEBUG_PATH
    )
}

/// Finds the vmlinux of a dump's kernel, which must be of its build id where the dump says one.
pub fn of_dump(release: &str, build_id: Option<&str>) -> anyhow::Result<PathBuf> {
    // Both become paths, and a dump may say anything.
    check_name(release)?;
    if let Some(id) = build_id.filter(|id| !is_build_id(id)) {
        bail!("{id:?} is no build id");
    }
    let places = Places::usual();
    if let Some(found) = of_release(&places, release, build_id) {
        return Ok(found);
    }
    match build_id {
        Some(id) => by_build_id(&places, id),
        None => bail!(
            "there is no vmlinux of that release; looked in {}",
            places.shown()
        ),
    }
}

/// What a kernel is called by who types `--kernel NAME`: one that is there, or else the name itself. Beside it the path of its vmlinux, if that
/// had to be looked for.
pub fn kernel(wanted: &str) -> anyhow::Result<(String, Option<PathBuf>)> {
    refuse_nothing(wanted)?;
    let path = Path::new(wanted);
    if path.is_file() {
        return Ok((kernel_name(path)?, Some(path.to_owned())));
    }
    let name = name_in(wanted);
    check_name(name)?;
    let known = build::known_kernels()?;
    if known.iter().any(|(known, _)| known == name) {
        return Ok((name.to_owned(), None));
    }
    let here = Here::usual();
    if is_build_id(name) {
        let id = name.to_ascii_lowercase();
        let ids = known.iter().map(|(name, it)| (&**name, &*it.build_id));
        let names = of_build_id(&id, ids);
        if let (Some(name), 1) = (names.first(), names.len()) {
            return Ok(((*name).to_owned(), None));
        }
        let vmlinux = by_build_id(&here.places, &id)?;
        return Ok((name_of(&vmlinux)?, Some(vmlinux)));
    }
    if let Some(vmlinux) = here.named(name) {
        return Ok((name.to_owned(), Some(vmlinux)));
    }
    let known = known.into_iter().map(|(name, _)| name);
    let name = of_series(name, known.chain(here.names()))?.unwrap_or_else(|| name.to_owned());
    Ok((name, None))
}

/// Which one of these kernels is meant, each a name and a build id, which may be empty: by the same rules as [`kernel`].
pub fn among(wanted: &str, kernels: &[(&str, &str)]) -> anyhow::Result<String> {
    refuse_nothing(wanted)?;
    let path = Path::new(wanted);
    let is_known = kernels.iter().any(|(name, _)| *name == wanted);
    let name = if !is_known && path.is_file() {
        kernel_name(path)?
    } else {
        name_in(wanted).to_owned()
    };
    let names = || kernels.iter().map(|(name, _)| (*name).to_owned());
    if names().any(|known| known == name) {
        return Ok(name);
    }
    if is_build_id(&name) {
        let of_id = of_build_id(&name.to_ascii_lowercase(), kernels.iter().copied());
        match Vec::from_iter(of_id)[..] {
            [] => {}
            [name] => return Ok(name.to_owned()),
            ref several => bail!(
                "several kernels have a build id that begins with {name}: {}",
                several.join(", ")
            ),
        }
    }
    if let Some(name) = of_series(&name, names())? {
        return Ok(name);
    }
    let begin_so = begin_so(&name, names());
    if begin_so.is_empty() {
        let longer = longer(&name).map_or_else(String::new, |it| format!("\n{it}"));
        bail!(
            "there is no kernel {wanted}; there are {}{longer}",
            Vec::from_iter(names()).join(", ")
        );
    }
    bail!("there is no kernel {wanted}; {begin_so}")
}

/// A vmlinux in one of the usual places.
#[derive(Clone)]
pub struct Found {
    /// The name by which it is found: the release that it says itself, unless its owner named it freely.
    pub name: String,
    pub path: PathBuf,
    /// What it says itself; `None` for a compressed file, which isn't looked into: that takes seconds.
    pub kernel: Option<Kernel>,
}

/// What is in the usual places of this machine.
pub struct Here {
    places: Places,
    all: OnceCell<Vec<Found>>,
}

impl Here {
    pub fn usual() -> Self {
        Here::of(Places::usual())
    }

    fn of(places: Places) -> Self {
        Here {
            places,
            all: OnceCell::new(),
        }
    }

    /// Every vmlinux that has debug information of a kernel, as far as that is seen at once: each kernel once, by a name of its own.
    pub fn all(&self) -> &[Found] {
        self.all.get_or_init(|| all_in(&self.places))
    }

    fn names(&self) -> impl Iterator<Item = String> {
        self.all().iter().map(|found| found.name.clone())
    }

    /// The vmlinux of this name: the one that its owner called so, or else the one that bindings of this name were made from, or else the
    /// one of this release. What is there and doesn't fit is skipped, and that is said.
    pub fn named(&self, name: &str) -> Option<PathBuf> {
        let places = self.places.of(name);
        let (own, others): (Vec<Place>, _) = places
            .into_iter()
            .filter(|place| place.path.is_file())
            .partition(|place| place.named_freely);
        if let Some(own) = own.into_iter().next() {
            return Some(own.path);
        }
        let others = others.into_iter().map(|place| place.path);
        let listed = || {
            let found = self.all().iter().find(|found| found.name == name)?;
            found.kernel.is_some().then(|| found.path.clone())
        };
        generate::last_source(name)
            .or_else(|| others.into_iter().find(|path| fits(path, Some(name), None)))
            .or_else(listed)
    }
}

fn all_in(places: &Places) -> Vec<Found> {
    let mut places: Vec<(Place, Option<Kernel>)> = places
        .all()
        .into_iter()
        .filter_map(|place| {
            if is_compressed(&place.path) {
                return Some((place, None));
            }
            let kernel = identity(&place.path).ok()?;
            (!kernel.release.is_empty()).then_some((place, Some(kernel)))
        })
        .collect();
    let is_called_so = |(place, kernel): &(Place, Option<Kernel>)| {
        let of = |kernel: &Kernel| kernel.release == place.release;
        place.named_freely || kernel.as_ref().is_none_or(of)
    };
    // A file that is called as its kernel is found first.
    places.sort_by_key(|place| !is_called_so(place));
    let mut ids: BTreeMap<String, Option<String>> = BTreeMap::new();
    let mut all = Vec::new();
    for (place, kernel) in places {
        let release = kernel.as_ref().map(|kernel| &kernel.release);
        let release = release.filter(|_| !place.named_freely);
        let mut name = release.unwrap_or(&place.release).clone();
        let id = kernel.as_ref().map(|kernel| hexadecimal(&kernel.build_id));
        let id = id.filter(|id| !id.is_empty());
        if let (Some(Some(other)), Some(id)) = (ids.get(&name), &id)
            && other != id
        {
            name = name_of_build(&name, id);
        }
        if ids.contains_key(&name) {
            continue;
        }
        ids.insert(name.clone(), id);
        all.push(Found {
            name,
            path: place.path,
            kernel,
        });
    }
    all
}

/// Whether a file is compressed, going by its name.
pub fn is_compressed(path: &Path) -> bool {
    let path = path.to_string_lossy();
    ENDINGS[1..].iter().any(|ending| path.ends_with(ending))
}

/// Every vmlinux of a kernel by this name, and of this build id if it has one.
pub fn of_name(name: &str, build_id: Option<&str>) -> Vec<PathBuf> {
    let places = Places::usual().of(release_in(name)).into_iter();
    places
        .filter_map(|place| place.path.canonicalize().ok())
        .filter(|path| build_id.is_none() || build_id_of(path).as_deref() == build_id)
        .collect()
}

/// What there is in the tree of an unpacked package.
pub struct InTree {
    /// The kernels of which there is debug information in it.
    pub kernels: Vec<PathBuf>,
    /// Whether there is debug information whose kernel is elsewhere.
    pub has_split: bool,
}

/// Looks for kernels in the tree of an unpacked package.
pub fn in_tree(top: &Path) -> InTree {
    let mut places = Places::none();
    places.add_system(top, &[]);
    let found: Vec<PathBuf> = places.all().into_iter().map(|place| place.path).collect();
    InTree {
        has_split: found.iter().any(|path| is_split(path)),
        kernels: found
            .into_iter()
            .filter(|path| fits(path, None, None))
            .collect(),
    }
}

/// Whether a file is debug information that was split off from a kernel's data, and so doesn't say of which kernel it is.
pub fn is_split(path: &Path) -> bool {
    Image::open(path).is_ok_and(|image| {
        image.parse().is_ok_and(|elf| {
            elf.has_section(".debug_info")
                && elf.has_banner_symbol()
                && elf.kernel().is_ok_and(|kernel| kernel.release.is_empty())
        })
    })
}

/// The build id of a file, in hexadecimal. A compressed file is not looked into: that takes seconds.
pub fn build_id_of(path: &Path) -> Option<String> {
    if is_compressed(path) {
        return None;
    }
    let image = Image::open(path).ok()?;
    Some(hexadecimal(image.parse().ok()?.build_id()?))
}

/// The vmlinux of a dump's release in one of the places: nothing is taken for its name alone.
fn of_release(places: &Places, release: &str, build_id: Option<&str>) -> Option<PathBuf> {
    places
        .of(release)
        .into_iter()
        .map(|place| place.path)
        .filter(|path| path.is_file())
        .find(|path| fits(path, Some(release), build_id))
}

/// Finds the vmlinux of a build id, or of the beginning of one, here or on a debuginfod server.
fn by_build_id(places: &Places, id: &str) -> anyhow::Result<PathBuf> {
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    // A vmlinux that lies where a package put it has its modules beside it; what a server gave has none.
    let everywhere = places.all().into_iter().map(|place| place.path);
    for path in everywhere.chain(places.by_build_id(id)) {
        let Some(own) = build_id_of(&path).filter(|own| own.starts_with(id)) else {
            continue;
        };
        // Modules and programs lie under their build ids, too.
        if !found.contains_key(&own) && fits(&path, None, Some(&own)) {
            // A link would tell nothing of what lies beside the file.
            let path = path.canonicalize().unwrap_or(path);
            found.insert(own, path);
        }
    }
    match (found.len(), found.pop_first()) {
        (1, Some((_, path))) => return Ok(path),
        (_, Some((first, _))) => {
            let others: Vec<String> = found.into_keys().collect();
            bail!(
                "several kernels have a build id that begins with {id}: {first}, {}",
                others.join(", ")
            );
        }
        (_, None) => {}
    }
    let nowhere = format!(
        "there is no vmlinux with build id {id}; looked in {}",
        places.shown()
    );
    match debuginfod::Servers::configured()? {
        Some(_) if id.len() < WHOLE => {
            bail!("{nowhere}, and debuginfod servers know whole build ids only")
        }
        Some(servers) => match servers.vmlinux(id) {
            Ok(path) => Ok(path),
            Err(error) => bail!("{nowhere}; {error:#}"),
        },
        None => bail!("{nowhere}. With DEBUGINFOD_URLS, servers would be asked"),
    }
}

/// Whether a file has debug information of this kernel; if not, it is skipped, which is said unless it is no kernel at all.
fn fits(path: &Path, release: Option<&str>, build_id: Option<&str>) -> bool {
    let misfit = match identity(path) {
        Err(why) => why,
        Ok(kernel) if kernel.release.is_empty() && release.is_none() => return false,
        Ok(kernel) if kernel.release.is_empty() => {
            "it doesn't say which kernel it is of".to_owned()
        }
        Ok(kernel) => match (release, build_id) {
            (Some(release), _) if release != kernel.release => {
                format!("it is of kernel {}", kernel.release)
            }
            (_, Some(id)) if hexadecimal(&kernel.build_id) != id => {
                format!("its build id is {}", hexadecimal(&kernel.build_id))
            }
            _ => return true,
        },
    };
    // It may be met several times, and by several names.
    static SAID: Mutex<BTreeSet<(PathBuf, String)>> = Mutex::new(BTreeSet::new());
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let is_new = |said: &mut BTreeSet<_>| said.insert((real, misfit.clone()));
    if SAID.lock().is_ok_and(|mut said| is_new(&mut said)) {
        eprintln!("{}: skipped: {misfit}", path.display());
    }
    false
}

/// Of which kernel a file has debug information; the error is why it is of no use.
fn identity(path: &Path) -> Result<Kernel, String> {
    let image = Image::open(path).map_err(|error| error.to_string())?;
    if !dwarf::is_in(&image) && !btf::is_in(&image) {
        return Err(
            "it has no debug information, and its debug file isn't found either".to_owned(),
        );
    }
    dwarf::identity(&image).map_err(|error| error.to_string())
}

/// So many digits at least tell a build id from a word.
const SHORTEST: usize = 8;
/// Digits of the shortest build id that linkers make by default (MD5 and UUID; SHA-1 has 40).
const WHOLE: usize = 32;

fn is_build_id(name: &str) -> bool {
    name.len() >= SHORTEST && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The one known kernel of which this is the beginning: `6.12` of `6.12.117+deb12-cloud-amd64`. Several are an error that names them.
fn of_series(
    name: &str,
    known: impl IntoIterator<Item = String>,
) -> anyhow::Result<Option<String>> {
    let is_more = |rest: &str| rest.starts_with(|c: char| !c.is_ascii_alphanumeric());
    let is_of_series = |release: &String| release.strip_prefix(name).is_some_and(is_more);
    let known: BTreeSet<String> = known.into_iter().filter(is_of_series).collect();
    if known.len() > 1 {
        let known: Vec<String> = known.into_iter().collect();
        bail!(
            "{name} is the beginning of several kernels' names: {}; give one of these, or more of it",
            known.join(", ")
        );
    }
    Ok(known.into_iter().next())
}

/// The names among these kernels of which this is the build id, or the beginning of it.
fn of_build_id<'k>(
    id: &str,
    known: impl IntoIterator<Item = (&'k str, &'k str)>,
) -> BTreeSet<&'k str> {
    let known = known.into_iter();
    known
        .filter_map(|(name, known)| known.starts_with(id).then_some(name))
        .collect()
}

/// Says that this is too short for a build id, if it may be the beginning of one.
fn longer(name: &str) -> Option<String> {
    let may_begin = name.len() < SHORTEST && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    may_begin.then(|| {
        format!("If {name} begins a build id, give more of it: {SHORTEST} digits at least")
    })
}

/// Says which kernels' names begin so in the middle of a part, where [`of_series`] doesn't find them; empty if none does.
fn begin_so(name: &str, known: impl IntoIterator<Item = String>) -> String {
    let known: BTreeSet<String> = known
        .into_iter()
        .filter(|it| it.starts_with(name))
        .collect();
    if known.is_empty() {
        return String::new();
    }
    let known: Vec<String> = known.into_iter().collect();
    format!(
        "{} {} so, but a beginning has to end where a part of the name does: give more of it",
        known.join(", "),
        if known.len() == 1 { "begins" } else { "begin" }
    )
}

/// An empty name is a variable of the shell that isn't set, as a rule.
pub fn refuse_nothing(wanted: &str) -> anyhow::Result<()> {
    if name_in(wanted).trim().is_empty() {
        bail!("{wanted:?} names no kernel: give a release, a build id, or the path of a vmlinux");
    }
    Ok(())
}

/// A kernel's name in what may be the name of its file.
fn name_in(wanted: &str) -> &str {
    wanted.strip_prefix("vmlinux-").unwrap_or(wanted)
}

/// The name for bindings of a vmlinux that was found, and not called so: that of [`kernel_name`], or if another build of the same release
/// has that, one with the beginning of the build id behind it.
pub fn name_of(vmlinux: &Path) -> anyhow::Result<String> {
    let name = kernel_name(vmlinux)?;
    let Some(id) = build_id_of(vmlinux) else {
        return Ok(name);
    };
    // Of a kernel that is known from BTF, the build id may not be known.
    let is_other = |identity: &Identity| {
        identity.build_id != id && !(identity.build_id.is_empty() && identity.asked.btf.is_some())
    };
    let known = build::known_kernels()?;
    let is_taken = known
        .iter()
        .any(|(known, identity)| *known == name && is_other(identity));
    Ok(if is_taken {
        name_of_build(&name, &id)
    } else {
        name
    })
}

/// The name of one of several builds of a release.
pub fn name_of_build(release: &str, build_id: &str) -> String {
    let start = build_id.get(..SHORTEST).unwrap_or(build_id);
    format!("{release}{BUILD}{start}")
}

/// What stands between a release and a build id in the name of bindings.
const BUILD: char = '~';

/// A name of bindings without what tells it from other builds of the release, and that.
fn split_name(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(BUILD) {
        Some((release, id)) if id.len() == SHORTEST && is_build_id(id) => (release, Some(id)),
        _ => (name, None),
    }
}

/// The release in a kernel's name.
fn release_in(name: &str) -> &str {
    split_name(name).0
}

/// The name of a kernel's bindings: its vmlinux's name without `vmlinux-`, or the kernel's release for a file that is
/// named otherwise.
pub fn kernel_name(vmlinux: &Path) -> anyhow::Result<String> {
    let file = vmlinux
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    if let Some(name) = file.strip_prefix("vmlinux-") {
        let ending = ENDINGS.iter().find_map(|ending| name.strip_suffix(ending));
        return Ok(tame(ending.unwrap_or(name)));
    }
    let release = dwarf::identity(&Image::open(vmlinux)?)?.release;
    // What is no kernel is refused by those who read it, and can say better what it is.
    if check_name(&release).is_err() {
        return Ok(tame(&file));
    }
    Ok(release)
}

/// Whether a kernel may have this name, which becomes that of folders: any release of a kernel may.
pub fn check_name(name: &str) -> anyhow::Result<()> {
    // Beside the bindings of kernels lies a folder of sources.
    if !name.is_empty() && name == tame(name) && name != "src" {
        return Ok(());
    }
    bail!(
        "{name:?} can't be a kernel's name: it names a folder, and has letters, digits and . _ + ~ - only"
    )
}

/// A name with everything replaced that has no place in one.
pub fn tame(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._+~-".contains(c);
    let name: String = name
        .chars()
        .map(|c| if allowed(c) { c } else { '_' })
        .collect();
    match name.as_bytes().first() {
        Some(b'.' | b'-') => format!("_{name}"),
        _ => name,
    }
}

#[cfg(test)]
pub mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;
    use crate::paths;

    pub const FIRST: &str = "7f76f39faf07f34cfa9fadd801e131bfa8cb6dc3";
    pub const SECOND: &str = "7f76f39fffffffffffffffffffffffffffffffff";

    /// The fixture's vmlinux, with a build id.
    pub fn vmlinux(top: &Path, file: &str, id: &str) -> PathBuf {
        let path = top.join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        let mut note = Vec::new();
        for word in [4, 20, 3u32] {
            note.extend(word.to_le_bytes());
        }
        note.extend(b"GNU\0");
        note.extend((0..20).map(|at| u8::from_str_radix(&id[2 * at..2 * at + 2], 16).expect("it")));
        let section = top.join("note");
        fs::write(&section, note).expect("it can be written");
        let status = Command::new("objcopy")
            .arg(format!(
                "--add-section=.note.gnu.build-id={}",
                section.display()
            ))
            .arg(paths::fixture_vmlinux())
            .arg(&path)
            .status();
        assert!(status.is_ok_and(|status| status.success()), "objcopy");
        path
    }

    fn places(top: &Path) -> Places {
        let mut places = Places::none();
        places.add_system(top, &[]);
        places
    }

    #[test]
    fn a_release_is_found_where_the_file_is_of_it() {
        let top = tempfile::tempdir().expect("a folder");
        let top = top.path();
        let release = "2.6.9-kstruct";
        // These two are called so, and are not it.
        let text = top.join("usr/lib/debug/boot/vmlinux-2.6.9-kstruct");
        fs::create_dir_all(text.parent().expect("a folder")).expect("a folder");
        fs::write(&text, "text").expect("it can be written");
        vmlinux(top, "usr/lib/debug/boot/vmlinux-9.9.9", FIRST);
        let right = vmlinux(
            top,
            "usr/lib/debug/lib/modules/2.6.9-kstruct/vmlinux",
            FIRST,
        );
        let places = places(top);
        let here = Here::of(self::places(top));
        assert_eq!(here.named(release), Some(right.clone()));
        assert_eq!(here.named("9.9.9"), None);
        assert_eq!(of_release(&places, release, None), Some(right.clone()));
        assert_eq!(of_release(&places, release, Some(FIRST)), Some(right));
        assert_eq!(of_release(&places, release, Some(SECOND)), None);
    }

    #[test]
    fn a_build_id_is_found_by_its_beginning_if_that_is_enough() {
        let top = tempfile::tempdir().expect("a folder");
        let top = top.path();
        let (start, rest) = FIRST.split_at(2);
        let file = format!("usr/lib/debug/.build-id/{start}/{rest}.debug");
        // What lies under a build id must have it.
        vmlinux(top, &file, SECOND);
        assert!(by_build_id(&places(top), FIRST).is_err());
        fs::remove_file(top.join(&file)).expect("it is there");
        let first = vmlinux(top, &file, FIRST)
            .canonicalize()
            .expect("it is there");
        for id in [FIRST, &FIRST[..8], &FIRST[..9]] {
            assert_eq!(by_build_id(&places(top), id).expect("it is there"), first);
        }
        // Another one, which no link leads to.
        let second = vmlinux(top, "boot/vmlinux-2.6.9-kstruct", SECOND);
        let second = second.canonicalize().expect("it is there");
        assert_eq!(
            by_build_id(&places(top), SECOND).expect("it is there"),
            second
        );
        assert_eq!(
            by_build_id(&places(top), FIRST).expect("it is there"),
            first
        );
        let error = by_build_id(&places(top), &FIRST[..8]).expect_err("there are two");
        let said = error.to_string();
        assert!(said.contains(FIRST) && said.contains(SECOND), "{said}");
    }

    #[test]
    fn what_a_dump_says_is_not_taken_for_a_path() {
        assert!(of_dump("../../etc", None).is_err());
        for id in [
            "../../../../etc/passwd0000000000000000000",
            "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
            "",
        ] {
            let error = of_dump("9.9.9", Some(id)).expect_err("it is no build id");
            assert!(error.to_string().contains("is no build id"), "{error}");
        }
    }

    #[test]
    fn what_has_no_kernel_in_it_is_not_listed() {
        let top = tempfile::tempdir().expect("a folder");
        let top = top.path();
        vmlinux(top, "boot/vmlinux-mine", FIRST);
        for (file, text) in [
            ("boot/vmlinux-text", "text"),
            ("boot/vmlinux-empty", ""),
            ("boot/vmlinux-packed.xz", "only read when it is needed"),
        ] {
            fs::write(top.join(file), text).expect("it can be written");
        }
        // Not of a kernel, and a kernel without debug information.
        let program = std::env::current_exe().expect("this test");
        fs::copy(program, top.join("boot/vmlinux-program")).expect("it can be copied");
        let status = Command::new("objcopy")
            .arg("-S")
            .args([paths::fixture_vmlinux(), top.join("boot/vmlinux-stripped")])
            .status();
        assert!(status.is_ok_and(|status| status.success()), "objcopy");
        let all = all_in(&places(top));
        let shown: Vec<(&str, Option<&str>)> = all
            .iter()
            .map(|found| (&*found.name, found.kernel.as_ref().map(|it| &*it.release)))
            .collect();
        let release = "2.6.9-kstruct";
        assert_eq!(shown, [("packed", None), (release, Some(release))]);
    }

    #[test]
    fn what_is_listed_is_found_by_its_name() {
        let top = tempfile::tempdir().expect("a folder");
        let top = top.path();
        // A name of its own, the release, another build of it, and the first one once more.
        for (file, id) in [
            ("own/vmlinux-mine", FIRST),
            ("usr/lib/debug/boot/vmlinux-called-otherwise", FIRST),
            ("usr/lib/debug/lib/modules/2.6.9-kstruct/vmlinux", SECOND),
            ("boot/vmlinux-2.6.9-kstruct", SECOND),
        ] {
            vmlinux(top, file, id);
        }
        let mut places = Places::none();
        places.add(top.join("own"), &["vmlinux-*"], true);
        places.add_system(top, &[]);
        let here = Here::of(places);
        let names: Vec<&str> = here.all().iter().map(|found| &*found.name).collect();
        let (release, other) = ("2.6.9-kstruct", "2.6.9-kstruct~7f76f39f");
        assert_eq!(names, ["mine", release, other]);
        for found in here.all() {
            assert_eq!(here.named(&found.name).as_ref(), Some(&found.path));
        }
        assert_eq!(here.named("called-otherwise"), None);
    }

    #[test]
    fn what_may_begin_a_build_id_is_told_how_long_it_must_be() {
        let said = |wanted| {
            super::vmlinux(wanted)
                .expect_err("there is none")
                .to_string()
        };
        assert!(said("5e00000").contains("8 digits at least"));
        assert!(said("9.9.9-kstruct").contains("debug package"));
    }

    #[test]
    fn nothing_names_no_kernel() {
        for nothing in ["", " ", "vmlinux-"] {
            let errors = [super::vmlinux(nothing).err(), kernel(nothing).err()];
            for error in errors {
                let said = error.expect("it is no name").to_string();
                assert!(said.contains("names no kernel"), "{said}");
            }
        }
    }

    #[test]
    fn what_was_split_off_a_kernel_is_told_from_what_is_none() {
        let top = tempfile::tempdir().expect("a folder");
        let debug = top
            .path()
            .join("usr/lib/debug/boot/vmlinux-2.6.9-kstruct.debug");
        fs::create_dir_all(debug.parent().expect("a folder")).expect("a folder");
        let status = Command::new("objcopy")
            .arg("--only-keep-debug")
            .args([&paths::fixture_vmlinux(), &debug])
            .status();
        assert!(status.is_ok_and(|status| status.success()), "objcopy");
        assert!(is_split(&debug) && !is_split(&paths::fixture_vmlinux()));
        let found = in_tree(top.path());
        assert!(found.has_split && found.kernels.is_empty());
        // What was split off from a program, or stripped of all, is no kernel's.
        for options in [
            &["--strip-symbol=linux_banner", "--only-keep-debug"][..],
            &["-S"],
        ] {
            let status = Command::new("objcopy")
                .args(options)
                .args([&paths::fixture_vmlinux(), &debug])
                .status();
            assert!(status.is_ok_and(|status| status.success()), "objcopy");
            assert!(!is_split(&debug), "{options:?}");
        }
    }

    #[test]
    fn a_series_is_one_kernel_or_an_error() {
        let known = [
            "6.1.0-50-686",
            "6.12.117+deb12-cloud-amd64",
            "6.12.117+deb12-cloud-amd64",
        ];
        let of = |name| of_series(name, known.map(str::to_owned));
        let one = Some("6.12.117+deb12-cloud-amd64".to_owned());
        assert_eq!(of("6.12").expect("it is one"), one);
        assert_eq!(of("6.12.117").expect("it is one"), one);
        assert_eq!(
            of("6.1").expect("it is one").as_deref(),
            Some("6.1.0-50-686")
        );
        assert_eq!(of("6.12.11").expect("it is none"), None);
        let error = of("6").expect_err("there are two").to_string();
        assert!(error.contains("6.1.0-50-686, 6.12.117"), "{error}");
        assert!(error.contains("give one of these"), "{error}");
        // The beginning of a part is none of a name, but that is what is said.
        assert_eq!(
            begin_so("6.12.11", known.map(str::to_owned)),
            "6.12.117+deb12-cloud-amd64 begins so, but a beginning has to end where a part of the name does: give more of it"
        );
        assert_eq!(begin_so("6.2", known.map(str::to_owned)), "");
    }

    #[test]
    fn a_kernel_of_a_list_is_found_as_others_are() {
        let kernels = [
            ("6.1.0-50-686", FIRST),
            ("6.1.0-50-686-pae", SECOND),
            ("6.12.117+deb12-cloud-amd64", "00000000ff"),
            ("2.6.9", ""),
        ];
        let found = |wanted| among(wanted, &kernels).map_err(|error| error.to_string());
        let cloud = || Ok("6.12.117+deb12-cloud-amd64".to_owned());
        for wanted in ["6.12", "6.12.117+deb12-cloud", "00000000", "00000000FF"] {
            assert_eq!(found(wanted), cloud(), "{wanted}");
        }
        // A whole name is no beginning of another one.
        for wanted in ["6.1.0-50-686", "vmlinux-6.1.0-50-686", FIRST] {
            assert_eq!(found(wanted).as_deref(), Ok("6.1.0-50-686"), "{wanted}");
        }
        let fixture = paths::fixture_vmlinux().display().to_string();
        assert_eq!(found(&fixture).as_deref(), Ok("2.6.9"));
        for (wanted, said) in [
            ("6.1", "6.1.0-50-686, 6.1.0-50-686-pae; give one"),
            (&FIRST[..8], "begins with 7f76f39f: 6.1.0-50-686, 6.1.0"),
            ("6.12.11", "deb12-cloud-amd64 begins so"),
            ("5.10", "there is no kernel 5.10; there are 6.1.0-50-686,"),
            ("deadbeef", "there is no kernel deadbeef"),
            ("7f76f", "If 7f76f begins a build id, give more of it"),
            ("", "names no kernel"),
        ] {
            let error = found(wanted).expect_err("it is none, or several");
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_name_may_say_which_build_of_a_release_is_meant() {
        assert_eq!(
            split_name("6.1.0-50-amd64~7f76f39f"),
            ("6.1.0-50-amd64", Some("7f76f39f"))
        );
        assert_eq!(split_name("4.4.0~rc1-amd64"), ("4.4.0~rc1-amd64", None));
        assert_eq!(release_in("2.6.9"), "2.6.9");
    }

    #[test]
    fn a_kernels_name_is_that_of_one_folder() {
        for release in [
            "2.6.9",
            "6.12.117+deb12-cloud-amd64",
            "5.14.0-427.el9.x86_64",
            "4.4.0~rc1_x-rt",
        ] {
            assert!(check_name(release).is_ok(), "{release}");
            assert_eq!(tame(release), release);
        }
        for name in [
            "", ".", "..", "../x", "/x", "a/b", "a b", "a\"", "a\nb", "-x", "src", "é",
        ] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        assert_eq!(tame("../a \"b\""), "_.._a__b_");
    }
}

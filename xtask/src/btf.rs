//! `cargo xtask gen --btf`: where BTF comes from, and what it doesn't say: which kernel it is of, and addresses.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use kstruct::Dump;
use kstruct_codegen::btf::{self, Symbols};
use kstruct_codegen::dwarf::module_name;
use kstruct_codegen::image::Image;
use kstruct_codegen::model::{Kernel, Model};

/// The running kernel's BTF.
const RUNNING: &str = "/sys/kernel/btf/vmlinux";

/// Options of `cargo xtask gen` that are for BTF.
#[derive(clap::Args)]
pub struct Args {
    /// Read BTF and not DWARF: from /sys/kernel/btf/vmlinux, a copy of it, or an ELF file with a .BTF section. A module
    /// (--module) is then a file in /sys/kernel/btf, a copy of one, or a .ko
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,
    /// Take addresses from this list, which must be of the kernel as it was linked (System.map)
    #[arg(long, value_name = "FILE", requires = "btf")]
    system_map: Option<PathBuf>,
    /// Take the kernel's release, build id, banner and machine from this dump
    #[arg(long, value_name = "DUMP", requires = "btf")]
    core: Option<PathBuf>,
}

/// Reads BTF. Gives the model and the name for the bindings: `name`, or the kernel's release.
pub fn read(
    args: &Args,
    source: &Path,
    name: Option<&str>,
    modules: &[String],
) -> anyhow::Result<(Model, String)> {
    let scratch = tempfile::tempdir()?;
    let image = open(source, scratch.path())?;
    let own = btf::identity(&image)?.filter(|(kernel, _)| !kernel.release.is_empty());
    let (mut kernel, own_symbols) = match (own, &args.core) {
        (Some((kernel, symbols)), _) => (kernel, Some(symbols)),
        (None, Some(core)) => (of_dump(core)?, None),
        (None, None) if source == Path::new(RUNNING) => (of_this_machine()?, None),
        (None, None) => bail!(
            "{}: BTF doesn't say which kernel it is of; give a dump of that kernel: --core DUMP",
            source.display()
        ),
    };
    let symbols = match (&args.system_map, own_symbols) {
        (Some(path), _) => {
            let list = std::fs::read(path).with_context(|| path.display().to_string())?;
            Symbols::from_list(&String::from_utf8_lossy(&list))
        }
        (None, Some(symbols)) => symbols,
        // The running kernel's own list holds run-time addresses: without KASLR's offset they are of no use for a dump.
        (None, None) => Symbols::default(),
    };
    if symbols.unique.is_empty() || symbols.are_hidden() {
        bail!(
            "{}: BTF has no addresses, without which nothing is found in a dump; give the kernel's list of them: --system-map FILE (/boot/System.map-{})",
            source.display(),
            kernel.release
        );
    }
    if kernel.banner_address.is_none() {
        kernel.banner_address = symbols.unique.get("linux_banner").copied();
    }
    let modules = modules
        .iter()
        .map(|module| open(&module_file(source, module)?, scratch.path()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let name = name.map_or_else(|| kernel.release.clone(), str::to_owned);
    let model = btf::read_files(&image, &modules, kernel, symbols)?;
    say_what_is_missing(source, &model);
    Ok((model, name))
}

/// Reads the BTF of a vmlinux without DWARF.
pub fn from_image(image: &Image, modules: &[Image]) -> anyhow::Result<Model> {
    let (kernel, symbols) = btf::identity(image)?.unwrap_or_default();
    if symbols.unique.is_empty() {
        bail!(
            "{}: it has BTF, no DWARF and no symbol table; give the kernel's list of addresses: cargo xtask gen --btf {} --system-map FILE",
            image.path().display(),
            image.path().display()
        );
    }
    eprintln!(
        "{}: there is no DWARF in it; reading BTF",
        image.path().display()
    );
    let model = btf::read_files(image, modules, kernel, symbols)?;
    say_what_is_missing(image.path(), &model);
    Ok(model)
}

fn say_what_is_missing(source: &Path, model: &Model) {
    let typed = model
        .variables
        .iter()
        .filter(|variable| variable.ty != kstruct_codegen::model::Type::Void)
        .count();
    eprintln!(
        "{}: BTF doesn't say where things are declared, nor of what type variables are: {typed} of {} have one (per-CPU variables, and well-known ones that kstruct knows)",
        source.display(),
        model.variables.len()
    );
}

/// Opens a file. Those in /sys can't be mapped in all kernels, and are copied first.
fn open(path: &Path, scratch: &Path) -> anyhow::Result<Image> {
    if !path.starts_with("/sys") {
        return Ok(Image::open(path)?);
    }
    let copy = scratch.join(path.file_name().unwrap_or_default());
    let data = std::fs::read(path).with_context(|| path.display().to_string())?;
    std::fs::write(&copy, data).with_context(|| copy.display().to_string())?;
    Ok(Image::open(&copy)?)
}

fn module_file(source: &Path, wanted: &str) -> anyhow::Result<PathBuf> {
    let path = Path::new(wanted);
    let beside = source.with_file_name(wanted);
    if path.is_file() {
        return Ok(path.to_owned());
    }
    if beside.is_file() {
        return Ok(beside);
    }
    bail!(
        "there is no BTF of module {}: neither {wanted} nor {} is a file",
        module_name(path),
        beside.display()
    )
}

/// What a dump says of its kernel.
fn of_dump(core: &Path) -> anyhow::Result<Kernel> {
    let dump = Dump::open(core)?;
    let banner = dump
        .scan_banner()
        .with_context(|| format!("{}: there is no linux_banner in it", core.display()))?;
    let release = dump.release().unwrap_or_default();
    // A vmcore of a 32-bit kernel may be ELF64.
    let wide = ![object_machine::I386, object_machine::ARM].contains(&dump.machine());
    Ok(Kernel {
        release,
        build_id: dump
            .vmcoreinfo()
            .get("BUILD-ID")
            .map(bytes_of_hex)
            .unwrap_or_default(),
        banner,
        banner_address: None,
        machine: dump.machine(),
        pointer_size: if wide { 8 } else { 4 },
        big_endian: false,
    })
}

/// ELF's numbers of the machines whose pointers have 4 bytes.
mod object_machine {
    pub const I386: u16 = 3;
    pub const ARM: u16 = 40;
}

fn bytes_of_hex(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks_exact(2)
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// What the running kernel says of itself.
fn of_this_machine() -> anyhow::Result<Kernel> {
    let banner = std::fs::read_to_string("/proc/version").context("/proc/version")?;
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .context("/proc/sys/kernel/osrelease")?;
    let notes = std::fs::read("/sys/kernel/notes").unwrap_or_default();
    // This program is for the machine that it runs on.
    let own = Image::open(Path::new("/proc/self/exe"))?
        .parse()?
        .kernel()?;
    Ok(Kernel {
        release: release.trim().to_owned(),
        build_id: build_id(&notes).unwrap_or_default().to_owned(),
        banner: banner.trim_end().to_owned(),
        banner_address: None,
        ..own
    })
}

/// The build id among ELF notes (`NT_GNU_BUILD_ID`), in this machine's byte order.
fn build_id(mut notes: &[u8]) -> Option<&[u8]> {
    loop {
        let (header, rest) = notes.split_at_checked(12)?;
        let word = |at: usize| {
            let bytes = header[at..].first_chunk()?;
            usize::try_from(u32::from_ne_bytes(*bytes)).ok()
        };
        let (name, size, kind) = (word(0)?, word(4)?, word(8)?);
        let (name_text, rest) = rest.split_at_checked(name.checked_next_multiple_of(4)?)?;
        if kind == 3 && name_text.starts_with(b"GNU\0") {
            return rest.get(..size);
        }
        notes = rest.get(size.checked_next_multiple_of(4)?..)?;
    }
}

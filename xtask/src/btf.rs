//! Where BTF comes from, and what it doesn't say: which kernel it is of, and addresses.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use kstruct::Dump;
use kstruct_codegen::btf::{self, Symbols};
use kstruct_codegen::image::Image;
use kstruct_codegen::model::{AskedBtf, Kernel, Model, Type};

use crate::kallsyms;

/// The running kernel's BTF.
const RUNNING: &str = "/sys/kernel/btf/vmlinux";

const RUNNING_SYMBOLS: &str = "/proc/kallsyms";
/// ELF's number of x86_64.
const X86_64: u16 = 62;
/// Where `_text` of x86_64 is linked: `__START_KERNEL_map` and `CONFIG_PHYSICAL_START`, which nobody changes. Where somebody
/// did, the banner is not where these bindings expect it, and they refuse the dump.
const X86_64_TEXT: u64 = 0xffff_ffff_8100_0000;

/// Options of `cargo xtask gen` that are for BTF.
#[derive(clap::Args)]
#[group(id = "source of BTF")]
pub struct Args {
    /// Read BTF and not DWARF: from /sys/kernel/btf/vmlinux, a copy of it, or an ELF file with a .BTF section. A module
    /// (--module) is then a file in /sys/kernel/btf, a copy of one, or a .ko
    #[arg(long, value_name = "FILE")]
    btf: Option<PathBuf>,
    /// Take addresses from this list, which must be of the kernel as it was linked (System.map)
    #[arg(long, value_name = "FILE", requires = "btf")]
    system_map: Option<PathBuf>,
}

impl Args {
    /// What is asked for, as paths that mean the same from any folder.
    pub fn asked(&self, core: Option<&Path>) -> anyhow::Result<Option<AskedBtf>> {
        let full = |path: &Path| {
            path.canonicalize()
                .with_context(|| path.display().to_string())
        };
        let Some(file) = &self.btf else {
            return Ok(None);
        };
        Ok(Some(AskedBtf {
            file: full(file)?,
            system_map: self.system_map.as_deref().map(full).transpose()?,
            core: core.map(full).transpose()?,
        }))
    }
}

/// What BTF doesn't say of a kernel.
pub struct Identity {
    /// Which it is.
    pub kernel: Kernel,
    /// The symbols of the file that the BTF is in, if it is ELF.
    symbols: Option<Symbols>,
}

/// Which kernel BTF is of: as its file says, or the dump that was given, or this machine.
pub fn identity(asked: &AskedBtf) -> anyhow::Result<Identity> {
    identity_of(asked, &Image::open(&asked.file)?)
}

fn identity_of(asked: &AskedBtf, image: &Image) -> anyhow::Result<Identity> {
    btf::section(image)?;
    if !btf::is_in(image) {
        bail!(
            "{}: it is neither BTF nor an ELF file with a .BTF section",
            image.path().display()
        );
    }
    let own = btf::identity(image)?.filter(|(kernel, _)| !kernel.release.is_empty());
    let (kernel, symbols) = match (own, &asked.core) {
        (Some((kernel, symbols)), None) => (kernel, Some(symbols)),
        (Some((kernel, symbols)), Some(core)) => {
            let dumped = of_dump(core)?;
            if (&dumped.release, dumped.machine) != (&kernel.release, kernel.machine) {
                bail!(
                    "{} is a dump of kernel {}, and {} is kernel {}",
                    core.display(),
                    dumped.release,
                    asked.file.display(),
                    kernel.release
                );
            }
            (kernel, Some(symbols))
        }
        (None, Some(core)) => (of_dump(core)?, None),
        (None, None) if asked.file == Path::new(RUNNING) => (of_this_machine()?, None),
        (None, None) => bail!(
            "{}: BTF doesn't say which kernel it is of; give a dump of that kernel: --core DUMP",
            asked.file.display()
        ),
    };
    Ok(Identity { kernel, symbols })
}

/// Reads the BTF of a kernel and of modules: what was asked for, or that of a vmlinux without DWARF.
pub fn read(
    asked: Option<&AskedBtf>,
    image: &Image,
    modules: &[Image],
    others: &[Image],
) -> anyhow::Result<Model> {
    if let Some(other) = others.first() {
        bail!(
            "{}: types can't be added to those of BTF, which is all that {} has",
            other.path().display(),
            image.path().display()
        );
    }
    let own = AskedBtf {
        file: image.path().to_owned(),
        ..AskedBtf::default()
    };
    if asked.is_none() {
        eprintln!(
            "{}: there is no DWARF in it; reading BTF",
            image.path().display()
        );
    }
    let asked = asked.unwrap_or(&own);
    let identity = identity_of(asked, image)?;
    let mut kernel = identity.kernel;
    let symbols = addresses(asked, identity.symbols, &kernel)?;
    if symbols.unique.is_empty() || symbols.are_hidden() {
        bail!(
            "{}: BTF has no addresses, without which nothing is found in a dump; give the kernel's list of them: cargo xtask gen --btf {} --system-map FILE (/boot/System.map-{})",
            asked.file.display(),
            asked.file.display(),
            kernel.release
        );
    }
    if kernel.banner_address.is_none() {
        kernel.banner_address = symbols.unique.get("linux_banner").copied();
    }
    let model = btf::read_files(image, modules, kernel, symbols)?;
    say_what_is_missing(&asked.file, &model);
    Ok(model)
}

/// Where things are: by the list that was given, the file's own symbols, the dump's list, or that of this machine.
fn addresses(asked: &AskedBtf, own: Option<Symbols>, kernel: &Kernel) -> anyhow::Result<Symbols> {
    if let Some(path) = &asked.system_map {
        let list = std::fs::read(path).with_context(|| path.display().to_string())?;
        let symbols = Symbols::from_list(&String::from_utf8_lossy(&list));
        check_list(path, &symbols, own.as_ref(), asked.core.as_deref())?;
        return Ok(symbols);
    }
    if let Some(own) = own.filter(|symbols| !symbols.unique.is_empty()) {
        return Ok(own);
    }
    if let Some(core) = &asked.core {
        return Ok(kallsyms::of_dump(core, kernel)?.unwrap_or_default());
    }
    if asked.file == Path::new(RUNNING) {
        let list = std::fs::read_to_string(RUNNING_SYMBOLS).context(RUNNING_SYMBOLS)?;
        return symbols_of_this_machine(&list, kernel);
    }
    Ok(Symbols::default())
}

/// Refuses a list of symbols that is none, or one of another kernel than the file or the dump beside it.
fn check_list(
    path: &Path,
    list: &Symbols,
    own: Option<&Symbols>,
    core: Option<&Path>,
) -> anyhow::Result<()> {
    const WITNESS: &str = "init_uts_ns";
    if list.unique.is_empty() {
        bail!("{}: there are no symbols in it", path.display());
    }
    let Some(listed) = list.unique.get(WITNESS) else {
        bail!("{}: it is no kernel's, without {WITNESS}", path.display());
    };
    let in_file = own.and_then(|own| own.unique.get(WITNESS).copied());
    let in_dump = match core {
        None => None,
        Some(core) => {
            let dump = Dump::open(core)?;
            let info = dump.vmcoreinfo();
            let moved = info.hex("KERNELOFFSET").unwrap_or(0);
            info.hex("SYMBOL(init_uts_ns)")
                .map(|address| address.wrapping_sub(moved))
        }
    };
    for other in [in_file, in_dump].into_iter().flatten() {
        if other != *listed {
            bail!(
                "{}: it is another kernel's: {WITNESS} is at {listed:#x} there, and at {other:#x} here",
                path.display()
            );
        }
    }
    Ok(())
}

/// This machine's symbols where they were linked. Only for x86_64 is it known from where KASLR moved them.
fn symbols_of_this_machine(list: &str, kernel: &Kernel) -> anyhow::Result<Symbols> {
    let running = Symbols::from_list(list);
    if running.are_hidden() {
        bail!(
            "{RUNNING_SYMBOLS} hides the addresses from users without CAP_SYSLOG; run this as root, or give the kernel's own list: --system-map /boot/System.map-{}",
            kernel.release
        );
    }
    let mut text = running.functions.iter();
    let start = match text.find(|function| function.name == "_text") {
        Some(start) if kernel.machine == X86_64 => start.address,
        _ => return Ok(Symbols::default()),
    };
    Ok(Symbols::from_running(
        list,
        start,
        start.wrapping_sub(X86_64_TEXT),
    ))
}

fn say_what_is_missing(source: &Path, model: &Model) {
    let typed = model
        .variables
        .iter()
        .filter(|variable| variable.ty != Type::Void)
        .count();
    eprintln!(
        "{}: BTF doesn't say where things are declared, nor of what type variables are: {typed} of {} have one (per-CPU variables, and well-known ones that kstruct knows)",
        source.display(),
        model.variables.len()
    );
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

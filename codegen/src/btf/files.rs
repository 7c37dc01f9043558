//! BTF in files: in a section of an ELF file, or alone, as in /sys/kernel/btf.

use std::borrow::Cow;

use super::{Module, Symbols};
use crate::Error;
use crate::image::Image;
use crate::model::{Kernel, Model};

/// The BTF of a file: its `.BTF` section if it is ELF, or else all of it.
///
/// # Errors
///
/// An ELF file that is not sound or has no BTF. What isn't ELF is taken as it is, and refused when it is read.
pub fn section(image: &Image) -> Result<Cow<'_, [u8]>, Error> {
    if !image.bytes().starts_with(b"\x7fELF") {
        return Ok(Cow::Borrowed(image.bytes()));
    }
    let data = image.parse()?.section_as_is(".BTF")?;
    match data.is_empty() {
        true => Err(Error::Elf {
            path: image.path().to_owned(),
            what: "it has no BTF (.BTF is missing or empty)".into(),
        }),
        false => Ok(data),
    }
}

/// What a kernel's own file says besides its types: who it is, and its symbols. `None` if the file is not ELF.
pub fn identity(image: &Image) -> Result<Option<(Kernel, Symbols)>, Error> {
    if !image.bytes().starts_with(b"\x7fELF") {
        return Ok(None);
    }
    let elf = image.parse()?;
    Ok(Some((elf.kernel()?, elf.addresses())))
}

/// Reads the BTF of a kernel and of modules from their files, as [`super::read`] does. Modules go by the names of their files.
pub fn read_files(
    image: &Image,
    modules: &[Image],
    kernel: Kernel,
    symbols: Symbols,
) -> Result<Model, Error> {
    let base = section(image)?;
    let names: Vec<String> = modules
        .iter()
        .map(|module| crate::dwarf::module_name(module.path()))
        .collect();
    let data = modules.iter().map(section).collect::<Result<Vec<_>, _>>()?;
    // A raw file has none.
    let build_ids: Vec<Vec<u8>> = modules
        .iter()
        .map(|module| {
            let elf = module.parse().ok();
            elf.and_then(|elf| elf.build_id().map(<[u8]>::to_owned))
                .unwrap_or_default()
        })
        .collect();
    let modules: Vec<Module<'_>> = names
        .iter()
        .zip(&data)
        .zip(&build_ids)
        .map(|((name, data), build_id)| Module {
            name,
            build_id,
            data,
        })
        .collect();
    super::read(&base, &modules, kernel, symbols).map_err(|error| Error::Btf {
        path: image.path().to_owned(),
        error,
    })
}

/// Whether a file has BTF: it is ELF and has a section of it, or is nothing else.
pub fn is_in(image: &Image) -> bool {
    match image.parse() {
        Ok(elf) => elf.has_section(".BTF"),
        Err(_) => matches!(image.bytes(), [0x9f, 0xeb, ..] | [0xeb, 0x9f, ..]),
    }
}

/// Whether a file is ELF with BTF, and without DWARF either in itself or in a separate debug file that is found.
pub fn has_only_btf(image: &Image) -> bool {
    let has_btf = image.parse().is_ok_and(|elf| elf.has_section(".BTF"));
    has_btf && !crate::dwarf::is_in(image)
}

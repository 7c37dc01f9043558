//! The kernel's own list of its symbols, out of a dump: for BTF where there is no System.map.

use std::path::Path;

use anyhow::Context as _;
use kstruct::{Functions, Kallsyms, KernelInfo, Memory};
use kstruct_codegen::btf::Symbols;
use kstruct_codegen::model::Kernel;

/// The symbols of the dumped kernel, at the addresses at which it was linked. `None` if VMCOREINFO doesn't name the tables.
///
/// # Errors
///
/// A dump that can't be opened, and tables that are not sound.
pub fn of_dump(core: &Path, kernel: &Kernel) -> anyhow::Result<Option<Symbols>> {
    // Its banner is found by its symbols, not the other way round.
    let memory = Memory::open(core, kernel_info(kernel), false)?;
    let list = Kallsyms::read(&memory)
        .with_context(|| format!("{}: its list of symbols can't be read", core.display()))?;
    // Bindings without some of the variables would be silently other bindings.
    if let Some(fault) = list.as_ref().and_then(|list| list.faults().first()) {
        anyhow::bail!(
            "{}: its list of symbols is damaged: {fault}",
            core.display()
        );
    }
    let moved = memory.kaslr_offset();
    Ok(list.map(|list| {
        let entries = list.iter().map(|symbol| {
            let address = match symbol.is_absolute {
                true => symbol.address,
                false => memory.wrap(symbol.address.wrapping_sub(moved)),
            };
            (address, symbol.letter, symbol.name.to_owned())
        });
        Symbols::from_entries(entries)
    }))
}

/// As much as opening a dump needs. It lives as long as the program, as a generated one does.
fn kernel_info(kernel: &Kernel) -> &'static KernelInfo {
    Box::leak(Box::new(KernelInfo {
        release: kernel.release.clone().leak(),
        build_id: "",
        banner: kernel.banner.clone().leak(),
        machine: kernel.machine,
        pointer_size: kernel.pointer_size,
        big_endian: kernel.big_endian,
        banner_address: None,
        page_table: None,
        page_offset_base: None,
        per_cpu_offset: None,
        module_section: None,
        functions: Functions(""),
    }))
}

//! Where the sections of loaded modules are (kernel/module, include/linux/module.h), told to the runtime.
//!
//! The kernel remembers the sections for /sys/module/*/sections: `module.sect_attrs` has the name and the address of each
//! that was given memory. Per-CPU sections are apart from those, at `module.percpu`.

use kstruct::FindSection;

/// What finds a section.
#[cfg(all(kernel_has = "sym:modules", kernel_has = "module.sect_attrs"))]
pub const SECTION: Option<FindSection> = Some(with_modules::section);
#[cfg(not(all(kernel_has = "sym:modules", kernel_has = "module.sect_attrs")))]
pub const SECTION: Option<FindSection> = None;

#[cfg(all(kernel_has = "sym:modules", kernel_has = "module.sect_attrs"))]
mod with_modules {
    use kstruct::{Fault, FaultKind, Memory, Module, ModuleName, Text as _};

    use crate::{module, sym};

    /// No module has so many sections; a corrupt count in a dump could say anything.
    const MOST_SECTIONS: u64 = 4096;

    /// Where a section of a loaded module is.
    pub fn section(k: &Memory, wanted: &'static Module, section: &str) -> Result<u64, FaultKind> {
        let name = ModuleName::new(wanted);
        let Some(module) = loaded(k, wanted.name).map_err(|fault| fault.kind)? else {
            return Err(FaultKind::NotLoaded(name));
        };
        if !is_same_build(k, module, wanted).map_err(|fault| fault.kind)? {
            return Err(FaultKind::OtherBuild(name));
        }
        if section.starts_with(".data..percpu") || section.starts_with(".data.percpu") {
            return per_cpu(module).ok_or(FaultKind::NoSection(name));
        }
        // What is needed at initialisation only is in memory of its own (`module_init_section`).
        if section.starts_with(".init") && is_initialised(module) {
            return Err(FaultKind::Freed(name));
        }
        address(k, module, section)
            .map_err(|fault| fault.kind)?
            .ok_or(FaultKind::NoSection(name))
    }

    fn loaded<'m>(k: &'m Memory, name: &str) -> Result<Option<module<'m>>, Fault> {
        for module in k.get(sym::modules)?.entries(module::list) {
            let module = module?;
            if module.name() == name {
                return Ok(Some(module));
            }
        }
        Ok(None)
    }

    /// Whether the module in the dump is the file that the bindings know: by the GNU build-id notes of both, where both
    /// have one.
    fn is_same_build(k: &Memory, module: module<'_>, wanted: &Module) -> Result<bool, Fault> {
        if wanted.build_id.is_empty() {
            return Ok(true);
        }
        let Some(note) = address(k, module, ".note.gnu.build-id")? else {
            return Ok(true);
        };
        // ELF's header of a note (gABI, "Note Section"): the lengths of name and contents, a type; then "GNU\0".
        let length = wanted.build_id.len() / 2;
        let bytes = k.bytes(note, 16 + length)?;
        let found: String = bytes[16..]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Ok(bytes[12..16] == *b"GNU\0" && found == wanted.build_id)
    }

    #[cfg(kernel_has = "module.percpu")]
    fn per_cpu(module: module<'_>) -> Option<u64> {
        Some(module.percpu().addr()).filter(|address| *address != 0)
    }

    #[cfg(not(kernel_has = "module.percpu"))]
    fn per_cpu(_: module<'_>) -> Option<u64> {
        None
    }

    #[cfg(kernel_has = "const:MODULE_STATE_LIVE")]
    fn is_initialised(module: module<'_>) -> bool {
        module.state().0 == crate::constants::MODULE_STATE_LIVE
    }

    #[cfg(not(kernel_has = "const:MODULE_STATE_LIVE"))]
    fn is_initialised(_: module<'_>) -> bool {
        true
    }

    /// The address that the module's list of sections has for a name.
    fn address(k: &Memory, module: module<'_>, section: &str) -> Result<Option<u64>, Fault> {
        let Some(list) = module.sect_attrs().deref_or_null()? else {
            return Ok(None);
        };
        #[cfg(kernel_has = "module_sect_attrs.nsections")]
        let count = u64::from(list.nsections());
        // 6.14 and others have no count: sysfs takes an array of pointers that ends with a null pointer.
        #[cfg(all(
            not(kernel_has = "module_sect_attrs.nsections"),
            not(kernel_has = "module_sections"),
            kernel_has = "attribute_group.bin_attrs"
        ))]
        let count = terminated(k, list.grp().bin_attrs().addr())?;
        #[cfg(not(any(
            kernel_has = "module_sect_attrs.nsections",
            kernel_has = "attribute_group.bin_attrs",
            kernel_has = "module_sections"
        )))]
        let count = terminated(k, list.grp().attrs().addr())?;
        #[cfg(kernel_has = "module_sections")]
        let count = self_naming(list)?;
        for index in 0..count.min(MOST_SECTIONS) {
            let entry = list.attrs().at(index)?;
            #[cfg(kernel_has = "module_sect_attr.name")]
            let name = entry.name();
            #[cfg(all(
                not(kernel_has = "module_sect_attr.name"),
                kernel_has = "module_sect_attr.battr"
            ))]
            let name = entry.battr().attr().name();
            #[cfg(all(not(kernel_has = "module_sect_attr"), kernel_has = "bin_attribute"))]
            let name = entry.attr().name();
            // A name is a pointer in most kernels; it was an array in 2.6.
            if name.text()? != section {
                continue;
            }
            #[cfg(kernel_has = "module_sect_attr")]
            return Ok(Some(entry.address()));
            #[cfg(all(not(kernel_has = "module_sect_attr"), kernel_has = "bin_attribute"))]
            return Ok(Some(entry.private().addr()));
        }
        let _ = k;
        Ok(None)
    }

    /// How many entries there are: 2.6.9 has neither a count nor an end, but each entry's attribute names the entry's own
    /// text (`add_sect_attrs`), which what lies behind the array doesn't.
    #[cfg(kernel_has = "module_sections")]
    fn self_naming(list: crate::module_sections<'_>) -> Result<u64, Fault> {
        let own_name = kstruct::offset_of!(crate::module_sect_attr, name);
        for index in 0..MOST_SECTIONS {
            let entry = list.attrs().at(index)?;
            if entry.attr().name().addr()
                != kstruct::View::addr(entry).wrapping_add(own_name as u64)
            {
                return Ok(index);
            }
        }
        Ok(MOST_SECTIONS)
    }

    /// How many pointers there are before the null pointer.
    #[cfg(not(any(
        kernel_has = "module_sect_attrs.nsections",
        kernel_has = "module_sections"
    )))]
    fn terminated(k: &Memory, array: u64) -> Result<u64, Fault> {
        let width = u64::from(k.kernel().pointer_size);
        for index in 0..MOST_SECTIONS {
            if k.word(array.wrapping_add(index * width))? == 0 {
                return Ok(index);
            }
        }
        Ok(MOST_SECTIONS)
    }
}

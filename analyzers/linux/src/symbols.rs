//! The symbols of loaded modules, as /proc/kallsyms shows them (kernel/module/kallsyms.c). Those of the kernel itself are
//! [`kstruct::Kallsyms`].
#![cfg(all(kernel_has = "sym:modules", kernel_has = "mod_kallsyms.typetab"))]

use kernel::{module, sym};
use kstruct::{Fault, FaultKind, Memory};

/// No module has so many symbols; a damaged dump may say anything.
const MOST_SYMBOLS: u64 = 1 << 20;

/// A symbol of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleSymbol {
    /// Where it is; for an absolute one its value.
    pub address: u64,
    /// The letter of its type, as of `nm`.
    pub letter: char,
    /// Its name.
    pub name: String,
}

/// The modules that are loaded.
pub fn modules(k: &Memory) -> Result<impl Iterator<Item = Result<module<'_>, Fault>>, Fault> {
    Ok(k.get(sym::modules)?.entries(module::list))
}

/// A module's symbols in the order of its table. One whose name can't be read is a fault in its place.
///
/// # Errors
///
/// The table can't be read, or has more symbols than any module.
pub fn of_module(module: module<'_>) -> Result<Vec<Result<ModuleSymbol, Fault>>, Fault> {
    let Some(list) = module.kallsyms().deref_or_null()? else {
        return Ok(Vec::new());
    };
    let count = u64::from(list.num_symtab());
    if count > MOST_SYMBOLS {
        return Err(Fault {
            address: list.symtab().addr(),
            kind: FaultKind::TooLarge,
        });
    }
    let symbols = list.symtab().array(count as usize)?;
    let letters = list.typetab().array(count as usize)?;
    let mut found = Vec::new();
    for (symbol, letter) in symbols.iter().zip(letters.iter()) {
        let name = list.strtab().byte_add(i64::from(symbol.st_name())).read();
        match name {
            // The first has no name, nor do those that only debuggers need.
            Ok(name) if name.is_empty() => {}
            Ok(name) => found.push(Ok(ModuleSymbol {
                // 32 bits wide in modules of 32-bit kernels.
                address: u64::from(symbol.st_value()),
                letter: char::from(letter),
                name: name.to_string(),
            })),
            Err(fault) => found.push(Err(fault)),
        }
    }
    Ok(found)
}

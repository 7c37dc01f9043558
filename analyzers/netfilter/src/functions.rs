//! Names of functions, of the kernel and of modules.

use std::collections::BTreeMap;

use kstruct::Memory;

/// Names functions by their addresses. A module's symbols are read when one of its functions is asked for.
pub struct Functions<'m> {
    k: &'m Memory,
    modules: Option<Vec<Module<'m>>>,
}

struct Module<'m> {
    name: String,
    module: kernel::module<'m>,
    /// Addresses of its code, and their ends.
    ranges: Vec<(u64, u64)>,
    symbols: Option<BTreeMap<u64, String>>,
}

/// A function, and the module that it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    pub module: Option<String>,
}

impl<'m> Functions<'m> {
    pub fn new(k: &'m Memory) -> Self {
        Functions { k, modules: None }
    }

    /// The function that begins at an address.
    pub fn at(&mut self, address: u64) -> Option<Function> {
        if let Some(name) = self.k.function_name(address) {
            return Some(Function {
                name: name.to_owned(),
                module: None,
            });
        }
        let k = self.k;
        let modules = self.modules.get_or_insert_with(|| modules(k));
        let module = modules.iter_mut().find(|module| {
            let within = |(start, end): &(u64, u64)| (*start..*end).contains(&address);
            module.ranges.iter().any(within)
        })?;
        let symbols = module.symbols.get_or_insert_with(|| {
            let list = linux::symbols::of_module(module.module).unwrap_or_default();
            let functions = list
                .into_iter()
                .flatten()
                .filter(|symbol| matches!(symbol.letter, 't' | 'T' | 'w' | 'W'));
            functions
                // Compilers leave marks of their own beside functions.
                .filter(|symbol| {
                    !symbol.name.starts_with("__pfx_") && !symbol.name.starts_with('$')
                })
                .map(|symbol| (symbol.address, symbol.name))
                .collect()
        });
        Some(Function {
            name: symbols.get(&address)?.clone(),
            module: Some(module.name.clone()),
        })
    }

    /// The name of the function that begins at an address; empty where it isn't known.
    pub fn name(&mut self, address: u64) -> String {
        self.at(address)
            .map_or_else(String::new, |function| function.name)
    }
}

/// The modules of the dump. What can't be read of them leaves functions without a name.
fn modules(k: &Memory) -> Vec<Module<'_>> {
    let Ok(list) = linux::symbols::modules(k) else {
        return Vec::new();
    };
    list.flatten()
        .map(|module| Module {
            name: module.name().to_string(),
            ranges: ranges(module),
            module,
            symbols: None,
        })
        .collect()
}

/// Where a module's code lies.
fn ranges(module: kernel::module<'_>) -> Vec<(u64, u64)> {
    // An array of kinds of memory from 6.4 on; `core_layout` before.
    #[cfg(kernel_has = "module.mem")]
    let parts = module
        .mem()
        .iter()
        .map(|part| (part.base().addr(), u64::from(part.size())));
    #[cfg(kernel_has = "module.core_layout")]
    let parts = std::iter::once((
        module.core_layout().base().addr(),
        u64::from(module.core_layout().size()),
    ));
    #[cfg(not(any(kernel_has = "module.mem", kernel_has = "module.core_layout")))]
    let parts = std::iter::once((module.addr(), 0));
    parts
        .filter(|(base, _)| *base != 0)
        .map(|(base, size)| (base, base.saturating_add(size)))
        .collect()
}

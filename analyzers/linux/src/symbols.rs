//! Names of addresses, and the symbols of loaded modules and BPF programs as /proc/kallsyms shows them (kernel/module/kallsyms.c, kernel/bpf/core.c).
//! Those of the kernel itself are [`kstruct::Kallsyms`].

use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};

use kstruct::{Fault, Memory};

use crate::Faults;

#[cfg(all(
    kernel_has = "sym:modules",
    any(kernel_has = "mod_kallsyms.symtab", kernel_has = "module.symtab")
))]
pub use of_modules::{ModuleSymbol, exported, memory, modules, of_module};

/// Names of functions by their addresses, as `%pS` has them: of the kernel by what the bindings know, so that no list of symbols has to be
/// read; of modules by the lists that these have in the dump, each read when one of its addresses is asked for.
///
/// ```text
/// let names = Names::of(k);
/// println!("{}", names.shown(pointer));   // veth_poll+0x12 [veth]
/// ```
pub struct Names<'m> {
    k: &'m Memory,
    modules: OnceLock<Vec<Loaded<'m>>>,
    programs: OnceLock<Vec<Program>>,
    unread: Unread,
}

/// What could not be read of modules while names were looked for.
type Unread = Mutex<Vec<(String, Fault)>>;

/// What lies at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The symbol's name.
    pub name: String,
    /// Bytes from its start.
    pub offset: u64,
    /// The module that it is in; `None` for the kernel itself. What was made of BPF programs is in [`BPF`].
    pub module: Option<String>,
}

/// What /proc/kallsyms has in the place of a module's name for what was made of BPF programs.
pub const BPF: &str = "bpf";

/// Code that the kernel made of a BPF program, or on behalf of one: trampolines, dispatchers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Where it lies.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// Its name, as in /proc/kallsyms: `bpf_prog_`, the program's tag, and its name.
    pub name: String,
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.offset != 0 {
            write!(f, "+{:#x}", self.offset)?;
        }
        match &self.module {
            Some(module) => write!(f, " [{module}]"),
            None => Ok(()),
        }
    }
}

/// A module in a dump.
pub struct Loaded<'m> {
    /// Its name.
    pub name: String,
    /// The memory that it was given: start and size.
    pub memory: Vec<(u64, u64)>,
    /// Its symbols by address, those without a place left out; and what could not be read.
    symbols: OnceLock<Vec<(u64, String)>>,
    #[cfg(all(
        kernel_has = "sym:modules",
        any(kernel_has = "mod_kallsyms.symtab", kernel_has = "module.symtab")
    ))]
    module: kernel::module<'m>,
    #[cfg(not(all(
        kernel_has = "sym:modules",
        any(kernel_has = "mod_kallsyms.symtab", kernel_has = "module.symtab")
    )))]
    module: std::marker::PhantomData<&'m ()>,
}

impl<'m> Names<'m> {
    /// Of a dump. Nothing is read yet.
    pub fn of(k: &'m Memory) -> Self {
        Names {
            k,
            modules: OnceLock::new(),
            programs: OnceLock::new(),
            unread: Unread::default(),
        }
    }

    /// Tells of what could not be read of modules and BPF programs, since names of theirs may be missing for that: for the end, when no more are asked for.
    pub fn tell(&self, faults: &mut Faults) {
        let mut unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        for (what, fault) in unread.drain(..) {
            faults.add(what, fault);
        }
    }

    /// The function or, in a module, the function or variable at an address or before it. `None` for what is no place of that kind.
    pub fn at(&self, address: u64) -> Option<Named> {
        let (name, offset) = match self.k.function_at(address) {
            Some(found) => found,
            None => return self.elsewhere(address),
        };
        // Data lies behind the last function.
        if !is_text(self.k, address, offset) {
            return self.elsewhere(address);
        }
        Some(Named {
            name: name.to_owned(),
            offset,
            module: None,
        })
    }

    /// What begins at an address: [`Names::at`] without an offset.
    pub fn beginning(&self, address: u64) -> Option<Named> {
        self.at(address).filter(|named| named.offset == 0)
    }

    /// Whether nothing there has a name, as the module that has the address has no symbols (a kernel without `CONFIG_KALLSYMS`, or a dump that
    /// lacks them).
    pub fn is_nameless(&self, address: u64) -> bool {
        let module = self.loaded().iter().find(|module| module.has(address));
        module.is_some_and(|module| module.symbols(&self.unread).is_empty())
    }

    /// The address, and the name of what lies there if there is one.
    pub fn shown(&self, address: u64) -> String {
        match self.at(address) {
            Some(name) => format!("{address:#x} <{name}>"),
            None => format!("{address:#x}"),
        }
    }

    fn elsewhere(&self, address: u64) -> Option<Named> {
        self.in_module(address).or_else(|| self.in_program(address))
    }

    fn in_program(&self, address: u64) -> Option<Named> {
        let program = self.program_at(address)?;
        Some(Named {
            name: program.name.clone(),
            offset: address - program.start,
            module: Some(BPF.to_owned()),
        })
    }

    /// What was made of BPF programs that lies at an address. What can't be read is left out; [`Self::tell`] has it.
    fn program_at(&self, address: u64) -> Option<&Program> {
        let programs = self.programs.get_or_init(|| {
            let read = programs(self.k).filter_map(|program| {
                let noted = |fault| note(&self.unread, "BPF programs".to_owned(), fault);
                program.map_err(noted).ok()
            });
            read.collect()
        });
        programs
            .iter()
            .find(|program| address.wrapping_sub(program.start) < program.size)
    }

    fn in_module(&self, address: u64) -> Option<Named> {
        let module = self.loaded().iter().find(|module| module.has(address))?;
        let symbols = module.symbols(&self.unread);
        let behind = symbols.partition_point(|(place, _)| *place <= address);
        let (place, _) = symbols.get(behind.checked_sub(1)?)?;
        // Of several at one address the first, as in the kernel.
        let first = symbols.partition_point(|(other, _)| other < place);
        let (place, name) = symbols.get(first)?;
        // A symbol of another part of the module's memory is not what lies here.
        if !module.is_one_part(*place, address) {
            return None;
        }
        Some(Named {
            name: name.clone(),
            offset: address - place,
            module: Some(module.name.clone()),
        })
    }

    /// The module that has a function, whatever its name is: for one that is not there by its name. What can't be read is not told of.
    pub fn module_with(&self, function: &str) -> Option<&Loaded<'m>> {
        let unread = Unread::default();
        let has = |module: &&Loaded<'_>| {
            let mut symbols = module.symbols(&unread).iter();
            symbols.any(|(_, name)| name == function)
        };
        self.loaded().iter().find(has)
    }

    /// The loaded modules. What can't be read of them is left out; [`Self::tell`] has it.
    pub fn loaded(&self) -> &[Loaded<'m>] {
        self.modules
            .get_or_init(|| all_loaded(self.k, &self.unread))
    }
}

impl Loaded<'_> {
    /// Whether an address lies in the module's memory.
    pub fn has(&self, address: u64) -> bool {
        self.part(address).is_some()
    }

    fn part(&self, address: u64) -> Option<usize> {
        self.memory
            .iter()
            .position(|(start, size)| address.wrapping_sub(*start) < *size)
    }

    fn is_one_part(&self, a: u64, b: u64) -> bool {
        self.part(a).is_some() && self.part(a) == self.part(b)
    }

    #[cfg(all(
        kernel_has = "sym:modules",
        any(kernel_has = "mod_kallsyms.symtab", kernel_has = "module.symtab")
    ))]
    fn symbols(&self, unread: &Unread) -> &[(u64, String)] {
        self.symbols.get_or_init(|| {
            let list = of_module(self.module).unwrap_or_else(|fault| vec![Err(fault)]);
            // One for each of a module's thousands of symbols would say no more.
            if let Some(Err(fault)) = list.iter().find(|symbol| symbol.is_err()) {
                note(unread, format!("symbols of module {}", self.name), *fault);
            }
            let mut symbols: Vec<(u64, String)> = list
                .into_iter()
                .flatten()
                .filter(|symbol| self.has(symbol.address) && !is_mapping(&symbol.name))
                .map(|symbol| (symbol.address, symbol.name))
                .collect();
            // Stable: of one address the first of the list comes first.
            symbols.sort_by_key(|(address, _)| *address);
            symbols
        })
    }

    #[cfg(not(all(
        kernel_has = "sym:modules",
        any(kernel_has = "mod_kallsyms.symtab", kernel_has = "module.symtab")
    )))]
    fn symbols(&self, _: &Unread) -> &[(u64, String)] {
        let _ = self.module;
        self.symbols.get_or_init(Vec::new)
    }
}

/// Whether a symbol only says what kind of bytes follow, code or data: those of ARM and RISC-V, which lie where functions begin, and local
/// labels (`is_mapping_symbol`, include/linux/module_symbol.h). /proc/kallsyms lists them, and nothing is named by them.
#[cfg(all(
    kernel_has = "sym:modules",
    any(kernel_has = "mod_kallsyms.symtab", kernel_has = "module.symtab")
))]
fn is_mapping(name: &str) -> bool {
    let kind = |rest: &str| {
        rest.starts_with(['a', 'd', 't', 'x']) && (rest.len() == 1 || rest[1..].starts_with('.'))
    };
    name.starts_with(".L") || name.starts_with("L0") || name.strip_prefix('$').is_some_and(kind)
}

/// Whether an address is in the kernel's code. Where the kernel doesn't say where that ends, functions are taken to be no longer than any is.
fn is_text(k: &Memory, address: u64, offset: u64) -> bool {
    const LONGEST: u64 = 1 << 16;
    #[cfg(all(kernel_has = "sym:_text", kernel_has = "sym:_etext"))]
    {
        let start = k.address_of(kernel::sym::_text);
        let end = k.address_of(kernel::sym::_etext);
        if (start..end).contains(&address) {
            return true;
        }
    }
    #[cfg(all(kernel_has = "sym:_sinittext", kernel_has = "sym:_einittext"))]
    {
        let start = k.address_of(kernel::sym::_sinittext);
        let end = k.address_of(kernel::sym::_einittext);
        if (start..end).contains(&address) {
            return true;
        }
    }
    let _ = (k, address);
    !cfg!(all(kernel_has = "sym:_text", kernel_has = "sym:_etext")) && offset < LONGEST
}

#[cfg(all(
    kernel_has = "sym:modules",
    any(kernel_has = "mod_kallsyms.symtab", kernel_has = "module.symtab")
))]
fn all_loaded<'m>(k: &'m Memory, unread: &Unread) -> Vec<Loaded<'m>> {
    let noted = |fault| note(unread, "list of modules".to_owned(), fault);
    let list = modules(k).map_err(noted);
    list.into_iter()
        .flatten()
        .filter_map(|module| module.map_err(noted).ok())
        .map(|module| Loaded {
            name: module.name().to_string(),
            memory: memory(module),
            symbols: OnceLock::new(),
            module,
        })
        .collect()
}

fn note(unread: &Unread, what: String, fault: Fault) {
    let mut unread = unread.lock().unwrap_or_else(PoisonError::into_inner);
    unread.push((what, fault));
}

#[cfg(not(all(
    kernel_has = "sym:modules",
    any(kernel_has = "mod_kallsyms.symtab", kernel_has = "module.symtab")
)))]
fn all_loaded<'m>(_: &'m Memory, _: &Unread) -> Vec<Loaded<'m>> {
    Vec::new()
}

/// What was made of BPF programs, in the order of /proc/kallsyms (`bpf_get_kallsym`, kernel/bpf/core.c). Kernels before 5.7 have no such list.
#[cfg(all(kernel_has = "bpf_ksym.lnode", kernel_has = "sym:bpf_kallsyms"))]
pub fn programs(k: &Memory) -> impl Iterator<Item = Result<Program, Fault>> {
    use kernel::{bpf_ksym, sym};
    use kstruct::{FaultKind, View as _};

    /// No program is so long: it has a million instructions at most (`BPF_COMPLEXITY_LIMIT_INSNS`).
    const LONGEST: u64 = 64 << 20;
    let (list, fault) = match k.get(sym::bpf_kallsyms) {
        Ok(head) => (Some(head.entries(bpf_ksym::lnode)), None),
        Err(fault) => (None, Some(Err(fault))),
    };
    let programs = crate::once(list.into_iter().flatten()).map(|symbol| {
        let symbol = symbol?;
        let (start, end) = (symbol.start(), symbol.end());
        if start >= end || end - start > LONGEST {
            return Err(Fault {
                address: symbol.addr(),
                kind: FaultKind::OutOfRange,
            });
        }
        Ok(Program {
            start,
            size: end - start,
            name: symbol.name().to_string(),
        })
    });
    fault.into_iter().chain(programs)
}

/// None: this kernel has no list of them.
#[cfg(not(all(kernel_has = "bpf_ksym.lnode", kernel_has = "sym:bpf_kallsyms")))]
pub fn programs(_: &Memory) -> impl Iterator<Item = Result<Program, Fault>> {
    std::iter::empty()
}

#[cfg(all(
    kernel_has = "sym:modules",
    any(kernel_has = "mod_kallsyms.symtab", kernel_has = "module.symtab")
))]
mod of_modules {
    use std::collections::HashSet;

    use kernel::{kernel_symbol, module, sym};
    #[cfg(kernel_has = "kernel_symbol.value_offset")]
    use kstruct::offset_of;
    use kstruct::{CharPtr, Fault, FaultKind, Memory, View as _};

    /// No module has so many symbols; a damaged dump may say anything.
    const MOST_SYMBOLS: u64 = 1 << 20;

    /// A symbol of a module.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ModuleSymbol {
        /// Where it is; for an absolute one its value.
        pub address: u64,
        /// The letter of its type, as of `nm`.
        pub letter: char,
        /// Bytes, as the module's ELF symbol table has it; 0 where that doesn't say.
        pub size: u64,
        /// Its name.
        pub name: String,
    }

    /// The modules that are loaded. Behind one that has two names is a fault.
    pub fn modules(k: &Memory) -> Result<impl Iterator<Item = Result<module<'_>, Fault>>, Fault> {
        let all = crate::once(k.get(sym::modules)?.entries(module::list));
        Ok(all.flat_map(|module| {
            let names = module.ok().and_then(two_names).map(Err);
            std::iter::once(module).chain(names)
        }))
    }

    /// Whether /sys/module has another name for a module than it has itself, of which that is made (`mod_sysfs_init`, kernel/module/sysfs.c).
    /// One that is just coming or going need not be there.
    fn two_names(module: module<'_>) -> Option<Fault> {
        // MODULE_STATE_LIVE
        if module.state().0 != 0 {
            return None;
        }
        let name = in_sysfs(module)?;
        (!name.is_empty() && module.name() != name.as_str()).then_some(Fault {
            address: module.addr(),
            kind: FaultKind::Inconsistent,
        })
    }

    /// What /sys/module calls a module.
    #[cfg(all(
        kernel_has = "module.mkobj.kobj.name",
        not(kernel_has = "kobject.k_name")
    ))]
    fn in_sysfs(module: module<'_>) -> Option<String> {
        Some(module.mkobj().kobj().name().read().ok()?.to_string())
    }

    /// 2.6.9
    #[cfg(all(
        kernel_has = "kobject.k_name",
        kernel_has = "module.mkobj",
        not(kernel_has = "module.mkobj.kobj")
    ))]
    fn in_sysfs(module: module<'_>) -> Option<String> {
        let name = module.mkobj().deref().ok()?.kobj().k_name();
        Some(name.read().ok()?.to_string())
    }

    /// Kernels that keep it in another place.
    #[cfg(not(any(
        all(
            kernel_has = "module.mkobj.kobj.name",
            not(kernel_has = "kobject.k_name")
        ),
        all(
            kernel_has = "kobject.k_name",
            kernel_has = "module.mkobj",
            not(kernel_has = "module.mkobj.kobj")
        )
    )))]
    fn in_sysfs(_: module<'_>) -> Option<String> {
        None
    }

    /// A module's symbols in the order of its table. One whose name can't be read is a fault in its place.
    ///
    /// # Errors
    ///
    /// The table can't be read, or has more symbols than any module.
    pub fn of_module(module: module<'_>) -> Result<Vec<Result<ModuleSymbol, Fault>>, Fault> {
        // Before 4.5 the module itself has them.
        #[cfg(kernel_has = "module.symtab")]
        let list = module;
        #[cfg(not(kernel_has = "module.symtab"))]
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
        // Since 5.2 the letters have a table of their own; before they were put in the place of what ELF has there.
        #[cfg(kernel_has = "mod_kallsyms.typetab")]
        let letters = list.typetab().array(count as usize)?;
        let mut found = Vec::new();
        for (index, symbol) in symbols.iter().enumerate() {
            #[cfg(kernel_has = "mod_kallsyms.typetab")]
            let letter = letters.get(index).unwrap_or(b'?');
            #[cfg(not(kernel_has = "mod_kallsyms.typetab"))]
            let letter = symbol.st_info();
            let _ = index;
            let name = list.strtab().byte_add(i64::from(symbol.st_name())).read();
            match name {
                // The first has no name, nor do those that only debuggers need.
                Ok(name) if name.is_empty() => {}
                Ok(name) => found.push(Ok(ModuleSymbol {
                    // 32 bits wide in modules of 32-bit kernels.
                    address: u64::from(symbol.st_value()),
                    letter: char::from(letter),
                    size: u64::from(symbol.st_size()),
                    name: name.to_string(),
                })),
                Err(fault) => found.push(Err(fault)),
            }
        }
        Ok(found)
    }

    /// The address and the name of what a module exports to all modules (`EXPORT_SYMBOL`): /proc/kallsyms has capital letters for these
    /// (`is_exported`, kernel/module/kallsyms.c), and since 6.17 for those under the GPL, too, which are in the same table then.
    ///
    /// # Errors
    ///
    /// The table or a name can't be read, or there are more than any module has.
    pub fn exported(module: module<'_>) -> Result<HashSet<(u64, String)>, Fault> {
        let count = u64::from(module.num_syms());
        if count == 0 {
            return Ok(HashSet::new());
        }
        if count > MOST_SYMBOLS {
            return Err(Fault {
                address: module.syms().addr(),
                kind: FaultKind::TooLarge,
            });
        }
        let symbols = module.syms().array(count as usize)?;
        let names = symbols.iter().map(|symbol| {
            let (address, name) = export(module.memory(), symbol);
            Ok((address, name.read()?.to_string()))
        });
        names.collect()
    }

    /// Where what is exported lies, and where its name is: each as a distance from where that stands.
    #[cfg(kernel_has = "kernel_symbol.value_offset")]
    fn export<'m>(k: &'m Memory, symbol: kernel_symbol<'m>) -> (u64, CharPtr<'m>) {
        let from = |member: usize, distance: i32| {
            let place = symbol.addr().wrapping_add(member as u64);
            k.wrap(place.wrapping_add_signed(distance.into()))
        };
        let value = from(
            offset_of!(kernel_symbol, value_offset),
            symbol.value_offset(),
        );
        let name = from(offset_of!(kernel_symbol, name_offset), symbol.name_offset());
        (value, CharPtr::new(k, name))
    }

    /// Where what is exported lies, and where its name is.
    #[cfg(not(kernel_has = "kernel_symbol.value_offset"))]
    fn export<'m>(_: &'m Memory, symbol: kernel_symbol<'m>) -> (u64, CharPtr<'m>) {
        (u64::from(symbol.value()), symbol.name())
    }

    /// The memory that a module was given: start and size of each part.
    pub fn memory(module: module<'_>) -> Vec<(u64, u64)> {
        let mut parts = Vec::new();
        // 6.4 and later.
        #[cfg(kernel_has = "module_memory.base")]
        for part in module.mem().iter() {
            parts.push((part.base().addr(), u64::from(part.size())));
        }
        #[cfg(kernel_has = "module_layout.base")]
        for part in [module.core_layout(), module.init_layout()] {
            parts.push((part.base().addr(), u64::from(part.size())));
        }
        // Before 4.5.
        #[cfg(kernel_has = "module.module_core")]
        parts.push((module.module_core().addr(), u64::from(module.core_size())));
        parts.retain(|(start, size)| *start != 0 && *size != 0);
        parts
    }
}

//! All symbols of a dump: the kernel's own list, or what the bindings know where the dump has none, and those of loaded modules and of BPF programs.

use std::collections::HashMap;

use kstruct::types::Variable;
use kstruct::{Kallsyms, Memory};
use linux::Faults;
use linux::symbols::{BPF, Program, programs};

use crate::Context;

/// A symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Symbol<'s> {
    /// Where it is; of what is absolute its value: a per-CPU variable's place in the template is a number on some machines.
    pub address: u64,
    /// As of `nm`: `T` for a global function, `d` for a static variable.
    pub letter: char,
    /// Its name.
    pub name: &'s str,
    /// The module that it is in, or [`linux::symbols::BPF`].
    pub module: Option<&'s str>,
    /// Bytes, of what was made of a BPF program.
    pub size: Option<u64>,
    /// A number rather than a place.
    pub is_absolute: bool,
}

/// A module's name, and the addresses, letters and names of its symbols.
type ModuleSymbols = (String, Vec<(u64, char, String)>);

/// What a dump says of its symbols.
pub struct Sources {
    kallsyms: Option<Kallsyms>,
    modules: Vec<ModuleSymbols>,
    programs: Vec<Program>,
}

impl Sources {
    /// Reads all of it.
    pub fn read(k: &Memory, faults: &mut Faults) -> Self {
        let kallsyms = faults
            .check("the kernel's list of symbols", Kallsyms::read(k))
            .flatten();
        for fault in kallsyms.iter().flat_map(Kallsyms::faults) {
            faults.add("a block of the kernel's list of symbols", *fault);
        }
        let programs =
            programs(k).filter_map(|program| faults.check("a BPF program's symbol", program));
        let programs = programs.collect();
        Sources {
            kallsyms,
            modules: modules(k, faults),
            programs,
        }
    }
}

/// The symbols of a dump.
pub struct Symbols<'s> {
    list: Vec<Symbol<'s>>,
    /// Numbers of symbols that are places, by address.
    by_address: Vec<u32>,
}

impl<'s> Symbols<'s> {
    /// Those of the kernel, by its own list or, where the dump has none, by what the bindings know; then those of modules and BPF programs.
    pub fn of(context: &Context<'_>, sources: &'s Sources) -> Self {
        let mut list = match &sources.kallsyms {
            Some(found) => found
                .iter()
                .map(|symbol| Symbol {
                    address: symbol.address,
                    letter: symbol.letter,
                    name: symbol.name,
                    module: None,
                    size: None,
                    is_absolute: symbol.is_absolute,
                })
                .collect(),
            None => known(context),
        };
        for (module, symbols) in &sources.modules {
            list.extend(symbols.iter().map(|(address, letter, name)| Symbol {
                address: *address,
                letter: *letter,
                name,
                module: Some(module),
                size: None,
                is_absolute: letter.eq_ignore_ascii_case(&'a'),
            }));
        }
        list.extend(sources.programs.iter().map(|program| Symbol {
            address: program.start,
            letter: 't',
            name: &program.name,
            module: Some(BPF),
            size: Some(program.size),
            is_absolute: false,
        }));
        let mut by_address: Vec<u32> = (0..list.len() as u32)
            .filter(|number| !list[*number as usize].is_absolute)
            .collect();
        // Stable: of one address, the order is the kernel's.
        by_address.sort_by_key(|number| list[*number as usize].address);
        Symbols { list, by_address }
    }

    /// All, in the kernel's order, then modules'.
    pub fn iter(&self) -> impl Iterator<Item = Symbol<'s>> {
        self.list.iter().copied()
    }

    /// All by name: for who asks for many.
    pub fn by_name(&self) -> HashMap<&'s str, Vec<Symbol<'s>>> {
        let mut names: HashMap<&str, Vec<Symbol<'s>>> = HashMap::new();
        for symbol in &self.list {
            names.entry(symbol.name).or_default().push(*symbol);
        }
        names
    }

    /// The symbols of a name.
    pub fn named(&self, name: &str) -> Vec<Symbol<'s>> {
        self.iter().filter(|symbol| symbol.name == name).collect()
    }

    /// The symbols at the last place at or before an address, and how far behind it the address lies. The first is the one that the
    /// kernel would name.
    pub fn at(&self, address: u64) -> Option<(Vec<Symbol<'s>>, u64)> {
        let place = |number: &u32| self.list[*number as usize].address;
        let behind = self
            .by_address
            .partition_point(|number| place(number) <= address);
        let start = place(self.by_address.get(behind.checked_sub(1)?)?);
        let first = self
            .by_address
            .partition_point(|number| place(number) < start);
        let found = self.by_address[first..behind]
            .iter()
            .map(|number| self.list[*number as usize])
            .collect();
        Some((found, address - start))
    }

    /// How many bytes there are from a symbol to the next one of the same module: what the kernel takes for a function's size. Of what was made of
    /// a BPF program its own.
    pub fn distance_to_next(&self, symbol: Symbol<'_>) -> Option<u64> {
        if symbol.size.is_some() {
            return symbol.size;
        }
        let place = |number: &u32| self.list[*number as usize].address;
        let behind = self
            .by_address
            .partition_point(|number| place(number) <= symbol.address);
        let next = self.list[*self.by_address.get(behind)? as usize];
        (next.module == symbol.module).then(|| next.address - symbol.address)
    }
}

/// What the bindings know of the kernel, for dumps without a list of symbols.
fn known<'s>(context: &Context<'_>) -> Vec<Symbol<'s>> {
    let k = context.k;
    let functions = k.kernel().functions.iter().map(|(address, name)| Symbol {
        address: k.relocated(address),
        letter: 't',
        name,
        module: None,
        size: None,
        is_absolute: false,
    });
    let variables = context
        .types
        .variables()
        .filter(|variable| variable.module.is_none());
    let variables = variables.map(|variable| Symbol {
        address: match variable.per_cpu {
            true => variable.address,
            false => k.relocated(variable.address),
        },
        letter: if variable.external { 'D' } else { 'd' },
        name: variable.name,
        module: None,
        size: None,
        is_absolute: variable.per_cpu,
    });
    functions.chain(variables).collect()
}

#[cfg(all(kernel_has = "sym:modules", kernel_has = "mod_kallsyms.symtab"))]
fn modules(k: &Memory, faults: &mut Faults) -> Vec<ModuleSymbols> {
    let mut found = Vec::new();
    let list = faults.check("the list of modules", linux::symbols::modules(k));
    for module in list.into_iter().flatten() {
        let Some(module) = faults.check("a module", module) else {
            continue;
        };
        let name = module.name().to_string();
        let exported = faults
            .check(
                format_args!("what {name} exports"),
                linux::symbols::exported(module),
            )
            .unwrap_or_default();
        let symbols = faults.check(
            format_args!("symbols of {name}"),
            linux::symbols::of_module(module),
        );
        let symbols = symbols
            .into_iter()
            .flatten()
            .filter_map(|symbol| faults.check(format_args!("a symbol of {name}"), symbol))
            .map(|symbol| {
                let place = (symbol.address, symbol.name);
                let letter = match exported.contains(&place) {
                    true => symbol.letter.to_ascii_uppercase(),
                    false => symbol.letter.to_ascii_lowercase(),
                };
                (place.0, letter, place.1)
            })
            .collect();
        found.push((name, symbols));
    }
    found
}

#[cfg(not(all(kernel_has = "sym:modules", kernel_has = "mod_kallsyms.symtab")))]
fn modules(_: &Memory, _: &mut Faults) -> Vec<ModuleSymbols> {
    Vec::new()
}

/// The variable of the table of types that a symbol is: the one of its name and module that lies at its address, where that is known.
pub fn variable_of(context: &Context<'_>, symbol: Symbol<'_>) -> Option<Variable> {
    // Old kernels' per-CPU variables have a prefix.
    let name = symbol.name.strip_prefix("per_cpu__").unwrap_or(symbol.name);
    context
        .types
        .variables_named(name)
        .into_iter()
        .find(|variable| {
            let module = variable.module.map(|(module, _)| module.name);
            if module != symbol.module {
                return false;
            }
            if variable.per_cpu {
                return true;
            }
            variable
                .locate(context.k)
                .is_ok_and(|place| place == symbol.address)
        })
}

/// Whether a name fits a pattern with `*` and `?`.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    // Where the last star is, and what it has swallowed so far.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, n));
            p += 1;
        } else if pattern.get(p) == Some(&b'?') || pattern.get(p) == Some(&name[n]) {
            p += 1;
            n += 1;
        } else if let Some((at, swallowed)) = star {
            p = at + 1;
            n = swallowed + 1;
            star = Some((at, swallowed + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_are_those_of_shells() {
        for (pattern, name, expected) in [
            ("tcp_*", "tcp_ack", true),
            ("tcp_*", "mptcp_ack", false),
            ("*tcp*ack*", "mptcp_sack_x", true),
            ("t?p", "tap", true),
            ("t?p", "tp", false),
            ("*", "", true),
            ("", "x", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}

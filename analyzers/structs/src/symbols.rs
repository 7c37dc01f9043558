//! All symbols of a dump: the kernel's own list, or what the bindings know where the dump has none, and those of loaded modules.

use std::collections::HashMap;

use kstruct::types::Variable;
use kstruct::{Kallsyms, Memory};
use linux::Faults;

use crate::Context;

/// A symbol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symbol {
    /// Where it is; for an absolute one its value; of a per-CPU variable its place in the template or, where the kernel lists it as a
    /// number, that number.
    pub address: u64,
    /// As of `nm`: `T` for a global function, `d` for a static variable.
    pub letter: char,
    /// Its name.
    pub name: String,
    /// The module that it is in.
    pub module: Option<String>,
    /// A number rather than a place.
    pub is_absolute: bool,
}

/// The symbols of a dump.
pub struct Symbols {
    list: Vec<Symbol>,
    /// Numbers of symbols by name.
    by_name: HashMap<String, Vec<u32>>,
    /// Numbers of symbols that are places, by address.
    by_address: Vec<u32>,
    /// Whether the kernel's own list was there.
    pub is_the_kernels: bool,
}

impl Symbols {
    /// Reads all of them.
    pub fn read(context: &Context<'_>, faults: &mut Faults) -> Self {
        let kallsyms = faults
            .check("the kernel's list of symbols", Kallsyms::read(context.k))
            .flatten();
        let is_the_kernels = kallsyms.is_some();
        let mut list = match kallsyms {
            Some(found) => {
                for fault in found.faults() {
                    faults.add("a block of the kernel's list of symbols", *fault);
                }
                found
                    .iter()
                    .map(|symbol| Symbol {
                        address: symbol.address,
                        letter: symbol.letter,
                        name: symbol.name.to_owned(),
                        module: None,
                        is_absolute: symbol.is_absolute,
                    })
                    .collect()
            }
            None => known(context),
        };
        add_modules(context.k, &mut list, faults);
        let mut by_name: HashMap<String, Vec<u32>> = HashMap::new();
        for (number, symbol) in list.iter().enumerate() {
            by_name
                .entry(symbol.name.clone())
                .or_default()
                .push(number as u32);
        }
        let mut by_address: Vec<u32> = (0..list.len() as u32)
            .filter(|number| !list[*number as usize].is_absolute)
            .collect();
        // Stable: of one address, the order is the kernel's.
        by_address.sort_by_key(|number| list[*number as usize].address);
        Symbols {
            list,
            by_name,
            by_address,
            is_the_kernels,
        }
    }

    /// All, in the kernel's order, then modules'.
    pub fn iter(&self) -> impl Iterator<Item = &Symbol> {
        self.list.iter()
    }

    /// The symbols of a name.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &Symbol> {
        self.by_name
            .get(name)
            .into_iter()
            .flatten()
            .map(|number| &self.list[*number as usize])
    }

    /// The symbols at the last place at or before an address, and how far behind it the address lies. The first is the one that the
    /// kernel would name.
    pub fn at(&self, address: u64) -> Option<(Vec<&Symbol>, u64)> {
        let place = |number: &u32| self.list[*number as usize].address;
        let behind = self.by_address.partition_point(|number| place(number) <= address);
        let start = place(self.by_address.get(behind.checked_sub(1)?)?);
        let first = self.by_address.partition_point(|number| place(number) < start);
        let found = self.by_address[first..behind]
            .iter()
            .map(|number| &self.list[*number as usize])
            .collect();
        Some((found, address - start))
    }

    /// How many bytes there are from a symbol to the next one in the same module: what the kernel takes for a function's size.
    pub fn distance_to_next(&self, symbol: &Symbol) -> Option<u64> {
        let place = |number: &u32| self.list[*number as usize].address;
        let behind = self
            .by_address
            .partition_point(|number| place(number) <= symbol.address);
        let next = &self.list[*self.by_address.get(behind)? as usize];
        (next.module == symbol.module).then(|| next.address - symbol.address)
    }
}

/// What the bindings know of the kernel, for dumps without a list of symbols.
fn known(context: &Context<'_>) -> Vec<Symbol> {
    let k = context.k;
    let functions = k.kernel().functions.iter().map(|(address, name)| Symbol {
        address: k.relocated(address),
        letter: 't',
        name: name.to_owned(),
        module: None,
        is_absolute: false,
    });
    let variables = context.types.variables().filter(|variable| variable.module.is_none());
    let variables = variables.map(|variable| Symbol {
        address: match variable.per_cpu {
            true => variable.address,
            false => k.relocated(variable.address),
        },
        letter: if variable.external { 'D' } else { 'd' },
        name: variable.name.to_owned(),
        module: None,
        is_absolute: variable.per_cpu,
    });
    functions.chain(variables).collect()
}

#[cfg(all(kernel_has = "sym:modules", kernel_has = "mod_kallsyms.symtab"))]
fn add_modules(k: &Memory, list: &mut Vec<Symbol>, faults: &mut Faults) {
    let Some(modules) = faults.check("the list of modules", linux::symbols::modules(k)) else {
        return;
    };
    for module in modules {
        let Some(module) = faults.check("a module", module) else {
            continue;
        };
        let name = module.name().to_string();
        let symbols = faults.check(
            format_args!("symbols of {name}"),
            linux::symbols::of_module(module),
        );
        for symbol in symbols.into_iter().flatten() {
            let symbol = faults.check(format_args!("a symbol of {name}"), symbol);
            list.extend(symbol.map(|symbol| Symbol {
                address: symbol.address,
                letter: symbol.letter,
                name: symbol.name,
                module: Some(name.clone()),
                is_absolute: symbol.letter.eq_ignore_ascii_case(&'a'),
            }));
        }
    }
}

#[cfg(not(all(kernel_has = "sym:modules", kernel_has = "mod_kallsyms.symtab")))]
fn add_modules(_: &Memory, _: &mut Vec<Symbol>, _: &mut Faults) {}

/// The variable of the table of types that a symbol is: the one of its name and module that lies at its address, where that is known.
pub fn variable_of(context: &Context<'_>, symbol: &Symbol) -> Option<Variable> {
    // Old kernels' per-CPU variables have a prefix.
    let name = symbol.name.strip_prefix("per_cpu__").unwrap_or(&symbol.name);
    context
        .types
        .variables_named(name)
        .into_iter()
        .find(|variable| {
            let module = variable.module.map(|(module, _)| module.name);
            if module != symbol.module.as_deref() {
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

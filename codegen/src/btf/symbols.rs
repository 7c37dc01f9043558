//! Addresses for what BTF names: from a list as nm, System.map and /proc/kallsyms have it, or from a symbol table.

use std::collections::BTreeMap;

use crate::model::{Function, Model};
use crate::passes;

/// A kernel's symbols, at the addresses at which it was linked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Symbols {
    /// Functions, sorted by address.
    pub functions: Vec<Function>,
    /// Global symbols that aren't functions, by name.
    pub objects: Vec<(String, u64)>,
    /// All symbols that aren't functions and whose name is theirs alone.
    pub unique: BTreeMap<String, u64>,
}

impl Symbols {
    /// Reads lines of address, type and name, as of System.map. Lines of modules (`[nf_tables]`) and lines that are none are
    /// left out.
    pub fn from_list(list: &str) -> Self {
        Self::from_entries(entries(list))
    }

    /// As [`Symbols::from_list`], of the kernel that is running: `list` is /proc/kallsyms, with addresses at which the kernel
    /// runs, and `offset` is how far those of its image are from where it was linked.
    pub fn from_running(list: &str, start: u64, offset: u64) -> Self {
        // What lies below the image is absolute: per-CPU variables, in most kernels.
        let moved = |address: u64| match address >= start {
            true => address.wrapping_sub(offset),
            false => address,
        };
        let entries = entries(list).map(|(address, letter, name)| (moved(address), letter, name));
        Self::from_entries(entries)
    }

    /// From addresses, the letters of nm for what is there, and names.
    pub fn from_entries(entries: impl IntoIterator<Item = (u64, char, String)>) -> Self {
        let mut functions = Vec::new();
        let mut objects = Vec::new();
        for (address, letter, name) in entries {
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
                continue;
            }
            match letter {
                't' | 'T' | 'w' | 'W' => functions.push(Function { address, name }),
                letter => objects.push((name, address, letter.is_ascii_uppercase())),
            }
        }
        Self::new(functions, objects)
    }

    /// From functions, and from other symbols' names, addresses and whether other files can name them.
    pub fn new(mut functions: Vec<Function>, symbols: Vec<(String, u64, bool)>) -> Self {
        functions.sort();
        functions.dedup();
        let mut by_name: BTreeMap<&str, Option<u64>> = BTreeMap::new();
        for (name, address, _) in &symbols {
            by_name
                .entry(name)
                .and_modify(|known| *known = known.filter(|known| known == address))
                .or_insert(Some(*address));
        }
        let unique = by_name
            .into_iter()
            .filter_map(|(name, address)| Some((name.to_owned(), address?)))
            .collect();
        let mut objects: Vec<(String, u64)> = symbols
            .into_iter()
            .filter(|(_, _, external)| *external)
            .map(|(name, address, _)| (name, address))
            .collect();
        objects.sort();
        objects.dedup_by(|a, b| a.0 == b.0);
        Symbols {
            functions,
            objects,
            unique,
        }
    }

    /// Whether all addresses are 0: the kernel hides them in /proc/kallsyms from users that may not see them.
    pub fn are_hidden(&self) -> bool {
        self.functions.iter().all(|function| function.address == 0)
            && self.unique.values().all(|address| *address == 0)
    }

    /// Puts functions, and what has no type, into a model.
    pub(super) fn add_to(self, model: &mut Model) {
        model.functions = self.functions;
        passes::add_untyped(model, self.objects);
    }
}

/// The lines of a list that are of the kernel itself, taken apart.
fn entries(list: &str) -> impl Iterator<Item = (u64, char, String)> {
    list.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (Some(address), Some(letter), Some(name), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return None;
        };
        let address = u64::from_str_radix(address, 16).ok()?;
        Some((address, letter.chars().next()?, name.to_owned()))
    })
}

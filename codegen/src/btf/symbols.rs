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
        let mut functions = Vec::new();
        let mut objects = Vec::new();
        for line in list.lines() {
            let mut words = line.split_ascii_whitespace();
            let (Some(address), Some(letter), Some(name), None) =
                (words.next(), words.next(), words.next(), words.next())
            else {
                continue;
            };
            let Ok(address) = u64::from_str_radix(address, 16) else {
                continue;
            };
            if !name.bytes().all(|byte| byte.is_ascii_graphic()) {
                continue;
            }
            match letter {
                "t" | "T" | "w" | "W" => functions.push(Function {
                    address,
                    name: name.to_owned(),
                }),
                letter => objects.push((name.to_owned(), address, letter)),
            }
        }
        Self::new(
            functions,
            objects
                .into_iter()
                .map(|(name, address, letter)| {
                    (name, address, letter != letter.to_ascii_lowercase())
                })
                .collect(),
        )
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

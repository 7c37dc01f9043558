//! What of a kernel the analyzers use: what their sources name, and what lies on the way to it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, anyhow};
use kstruct_codegen::select::{self, words};

use crate::index::{Index, SymbolRow, TypeRow};
use crate::paths;

/// The identifiers of all analyzers' sources, those in texts (`kernel_has` predicates) among them.
pub fn identifiers() -> anyhow::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    sources(&paths::root().join("analyzers"), &mut found, 0)?;
    Ok(found)
}

fn sources(folder: &Path, found: &mut BTreeSet<String>, depth: u32) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() && depth < 16 {
            sources(&path, found, depth + 1)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text =
                std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            scan(&text, found).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

/// Adds a source's identifiers. It is read as tokens, so that what macros take counts and comments don't.
fn scan(text: &str, found: &mut BTreeSet<String>) -> anyhow::Result<()> {
    select::identifiers_and_words(text, found).map_err(|error| anyhow!("it is not Rust: {error}"))
}

/// What identifiers mean in one kernel: types by their Rust name and symbols, with all types that named members lead to.
///
/// A member is named by its accessor, whichever struct's it is: a struct that is on the way counts with all members of
/// names that occur. That is more than is used, never less.
pub fn types(index: &Index, identifiers: &BTreeSet<String>) -> anyhow::Result<BTreeSet<String>> {
    let mut rows = BTreeMap::new();
    let mut by_c_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in index.rows::<TypeRow>("types") {
        let row = row?;
        let plain = row.name.rsplit(' ').next().unwrap_or_default().to_owned();
        by_c_name.entry(plain).or_default().push(row.rust.clone());
        rows.insert(row.rust.clone(), row);
    }
    let mut todo: Vec<String> = identifiers
        .iter()
        .filter(|name| rows.contains_key(*name))
        .cloned()
        .collect();
    for symbol in index.rows::<SymbolRow>("symbols") {
        let symbol = symbol?;
        if identifiers.contains(&symbol.rust) {
            todo.extend(mentioned(&symbol.ty, &by_c_name));
        }
    }
    let mut used = BTreeSet::new();
    while let Some(name) = todo.pop() {
        let Some(row) = rows.get(&name) else { continue };
        if !used.insert(name) {
            continue;
        }
        for member in &row.members {
            if is_named(&member.name, identifiers) {
                todo.extend(member.nested.clone());
                todo.extend(mentioned(&member.ty, &by_c_name));
            }
        }
    }
    Ok(used)
}

/// Whether sources name a member, whose accessor has an underscore more if the name is a keyword.
pub fn is_named(member: &str, identifiers: &BTreeSet<String>) -> bool {
    identifiers.contains(member) || identifiers.contains(&kstruct_codegen::names::member(member))
}

/// The types that a type is made of or points to; what functions take is not read through a pointer to them.
fn mentioned(ty: &str, by_c_name: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    if ty.contains("(*") {
        return Vec::new();
    }
    words(ty)
        .filter_map(|word| by_c_name.get(word))
        .flatten()
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::scan;

    #[test]
    fn names_in_macros_and_predicates_count_and_comments_do_not() {
        let mut found = BTreeSet::new();
        let text = "#[cfg(kernel_has = \"a.b\")]\nfn f() { println!(\"{}\", x.pid()); } // tgid";
        scan(text, &mut found).expect("it is Rust");
        for name in ["a", "b", "f", "x", "pid"] {
            assert!(found.contains(name), "{name}");
        }
        assert!(!found.contains("tgid"));
    }
}

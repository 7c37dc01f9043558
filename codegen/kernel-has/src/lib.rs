//! Answers `cfg(kernel_has = "...")` in a build script.
//!
//! | predicate | true where the kernel has |
//! |---|---|
//! | `net_device` | the type |
//! | `net_device.dev_list` | the member, be it of an anonymous struct in it |
//! | `task_struct.se.vruntime` | the member of an embedded struct |
//! | `sym:dev_base` | the variable |
//! | `const:NETREG_DUMMY` | the enumerator |
//!
//! The sources are read as tokens, so a predicate counts wherever it stands: in `#[cfg]`, `#[cfg_attr]`, `cfg!` or a
//! macro. A predicate that isn't of one of these forms is an error.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::{env, fs, process};

use proc_macro2::{TokenStream, TokenTree};

/// Answers the predicates of an analyzer, whose build script this is called from. The crate must depend on `kernel`.
pub fn answer() {
    match env::var("DEP_KSTRUCT_KERNEL_NAMES") {
        Ok(names) => answer_from(Path::new(&names)),
        Err(_) => fail("a crate that uses kernel_has must depend on crate `kernel`"),
    }
}

/// Answers the predicates of the crate whose build script this is called from, from a kernel's `names.txt`.
pub fn answer_from(names: &Path) {
    println!("cargo::rerun-if-changed={}", names.display());
    println!("cargo::rerun-if-changed=src");
    let text = fs::read_to_string(names)
        .unwrap_or_else(|error| fail(&format!("{}: {error}", names.display())));
    let kernel = Names::parse(&text);
    let source = PathBuf::from(env::var("CARGO_MANIFEST_DIR").unwrap_or_default()).join("src");
    let found = predicates(&source).unwrap_or_else(|error| fail(&error));
    let mut values: Vec<String> = Vec::new();
    for (predicate, place) in &found {
        match kernel.answer(predicate) {
            Ok(true) => println!("cargo::rustc-cfg=kernel_has={predicate:?}"),
            Ok(false) => {}
            Err(what) => fail(&format!("{place}: kernel_has = {predicate:?}: {what}")),
        }
        values.push(format!("{predicate:?}"));
    }
    println!(
        "cargo::rustc-check-cfg=cfg(kernel_has, values({}))",
        values.join(", ")
    );
}

fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    process::exit(1)
}

/// The predicates in a directory of Rust sources, and where each was first seen: the path and the line.
///
/// # Errors
///
/// What can't be read, as text.
pub fn predicates(source: &Path) -> Result<BTreeMap<String, String>, String> {
    let mut found = BTreeMap::new();
    scan_directory(source, &mut found)?;
    Ok(found)
}

/// The names of one kernel.
pub struct Names<'a> {
    /// Each name, and the type of what it names where that is a struct.
    names: BTreeMap<&'a str, &'a str>,
}

impl<'a> Names<'a> {
    /// Of the text of a `names.txt`.
    pub fn parse(text: &'a str) -> Self {
        let names = text
            .lines()
            .map(|line| line.split_once(' ').unwrap_or((line, "")))
            .collect();
        Names { names }
    }

    /// What stands behind `start` in the names that begin with it.
    pub fn beginning(&self, start: &str) -> impl Iterator<Item = &'a str> {
        self.names
            .range::<str, _>((Bound::Included(start), Bound::Unbounded))
            .map_while(move |(name, _)| name.strip_prefix(start))
    }

    /// The type at the end of a path of members, if it is a struct's.
    pub fn type_of(&self, path: &str) -> Option<&'a str> {
        let mut path = path.split('.');
        let (mut ty, _) = self.names.get_key_value(path.next()?)?;
        for member in path {
            ty = self.names.get(format!("{ty}.{member}").as_str())?;
        }
        Some(ty)
    }

    /// Whether a predicate is true of the kernel.
    ///
    /// # Errors
    ///
    /// It is of no form that a predicate has.
    pub fn answer(&self, predicate: &str) -> Result<bool, &'static str> {
        let is_name = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        if let Some((kind, name)) = predicate.split_once(':') {
            if !matches!(kind, "sym" | "const") {
                return Err("what stands before the colon must be sym or const");
            }
            if !is_name(name) {
                return Err("a name must stand behind the colon");
            }
            return Ok(self.names.contains_key(predicate));
        }
        let mut path = predicate.split('.');
        let mut ty = path.next().unwrap_or_default();
        if !predicate.split('.').all(is_name) {
            return Err("it must be a type, type.member, sym:variable or const:enumerator");
        }
        if !self.names.contains_key(ty) {
            return Ok(false);
        }
        for member in path {
            match self.names.get(format!("{ty}.{member}").as_str()) {
                Some(next) => ty = next,
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}

/// Predicates and where they were first seen.
type Found = BTreeMap<String, String>;

fn scan_directory(directory: &Path, found: &mut Found) -> Result<(), String> {
    let error = |error: std::io::Error| format!("{}: {error}", directory.display());
    let mut entries = fs::read_dir(directory)
        .map_err(error)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(error)?;
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        if path.is_dir() {
            scan_directory(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            // A file that isn't Rust is for the compiler to complain of, which does it better.
            if let Ok(tokens) = TokenStream::from_str(&text) {
                scan(tokens, &path, found);
            }
        }
    }
    Ok(())
}

/// Finds `kernel_has = "..."`.
fn scan(tokens: TokenStream, path: &Path, found: &mut Found) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (index, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => scan(group.stream(), path, found),
            TokenTree::Ident(ident) if ident == "kernel_has" => {
                if let (Some(TokenTree::Punct(punct)), Some(TokenTree::Literal(literal))) =
                    (tokens.get(index + 1), tokens.get(index + 2))
                    && punct.as_char() == '='
                    && let Some(predicate) = literal
                        .to_string()
                        .strip_prefix('"')
                        .and_then(|text| text.strip_suffix('"'))
                {
                    found.entry(predicate.to_owned()).or_insert_with(|| {
                        format!("{}:{}", path.display(), literal.span().start().line)
                    });
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &str = "const:IFF_UP\nlist_head\nlist_head.next\nsym:dev_base\ntask_struct\ntask_struct.pid\ntask_struct.tasks list_head\n";

    #[test]
    fn predicates_are_answered_from_names() {
        let kernel = Names::parse(NAMES);
        for yes in [
            "task_struct",
            "task_struct.pid",
            "task_struct.tasks.next",
            "sym:dev_base",
            "const:IFF_UP",
        ] {
            assert_eq!(kernel.answer(yes), Ok(true), "{yes}");
        }
        for no in [
            "mm_struct",
            "task_struct.ppid",
            "task_struct.pid.next",
            "task_struct.tasks.last",
            "sym:pid",
            "const:dev_base",
        ] {
            assert_eq!(kernel.answer(no), Ok(false), "{no}");
        }
        for bad in [
            "",
            "task_struct.",
            "symbol:dev_base",
            "sym:",
            "a b",
            "sym:a.b",
        ] {
            assert!(kernel.answer(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn predicates_are_found_wherever_they_stand() {
        let source = r#"
            #[cfg(all(kernel_has = "a", not(kernel_has = "b.c")))]
            fn f() { if cfg!(kernel_has = "sym:d") {} m! { #[cfg(kernel_has = "e")] x } }
            // kernel_has = "comment"
            const S: &str = "kernel_has = \"string\"";
        "#;
        let mut found = Found::new();
        scan(source.parse().unwrap(), Path::new("x.rs"), &mut found);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["a", "b.c", "e", "sym:d"]);
        assert_eq!(found["a"], "x.rs:2");
    }
}

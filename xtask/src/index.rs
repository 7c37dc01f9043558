//! Reading `index.json` of a kernel's bindings row by row: it has tens of megabytes, of which one question needs one line.

use std::collections::BTreeSet;

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::{build, paths};

/// The text of an index.
pub struct Index {
    text: String,
}

/// A struct, union or enum.
#[derive(Debug, Clone, Deserialize)]
pub struct TypeRow {
    /// In C: `struct sock`, `atomic_t`, `struct {...}`.
    pub name: String,
    /// In Rust.
    pub rust: String,
    /// `struct`, `union` or `enum`.
    pub kind: String,
    /// Bytes.
    pub size: u64,
    /// Where it is declared.
    pub file: String,
    pub line: u32,
    /// Those of anonymous members among the others.
    #[serde(default)]
    pub members: Vec<MemberRow>,
    #[serde(default)]
    pub anonymous: Vec<Group>,
    #[serde(default)]
    pub enumerators: Vec<(String, i128)>,
}

/// A member.
#[derive(Debug, Clone, Deserialize)]
pub struct MemberRow {
    pub name: String,
    /// Bytes from the start of the outermost struct.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
    /// In C, without the name.
    #[serde(rename = "type")]
    pub ty: String,
    /// Of a bit-field: bits from the start of the outermost struct.
    #[serde(default)]
    pub bit_offset: Option<u64>,
    #[serde(default)]
    pub bit_size: Option<u64>,
    /// The Rust name of its type, if that has no name in C.
    #[serde(default)]
    pub nested: Option<String>,
}

/// An anonymous member: kind, offset and size in bytes, the index of its first member, how many members.
#[derive(Debug, Clone, Deserialize)]
pub struct Group(pub String, pub u64, pub u64, pub usize, pub usize);

/// A typedef.
#[derive(Debug, Clone, Deserialize)]
pub struct TypedefRow {
    pub name: String,
    #[serde(rename = "type")]
    pub ty: String,
    pub file: String,
    pub line: u32,
}

/// A variable.
#[derive(Debug, Clone, Deserialize)]
pub struct SymbolRow {
    pub name: String,
    pub rust: String,
    #[serde(rename = "type")]
    pub ty: String,
    pub per_cpu: bool,
    #[serde(default)]
    pub module: Option<String>,
}

impl Index {
    /// Opens the index of a kernel's bindings, which must be of this version.
    pub fn open(kernel: &str) -> anyhow::Result<Self> {
        let path = paths::bindings(kernel).join("index.json");
        if build::identity(kernel).is_none() {
            bail!("there are no bindings of kernel {kernel} that fit this version");
        }
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(Index { text })
    }

    #[cfg(test)]
    pub fn from_text(text: String) -> Self {
        Index { text }
    }

    /// The types of this name in C, with or without `struct`, or in Rust. Several may have one name.
    pub fn types(&self, name: &str) -> anyhow::Result<Vec<TypeRow>> {
        let quoted = serde_json::to_string(name)?;
        let mut found = Vec::new();
        for keyword in ["", "struct ", "union ", "enum "] {
            let name = serde_json::to_string(&format!("{keyword}{name}"))?;
            let start = format!("{{\"name\":{name},\"rust\":");
            // A variable may have the name of what a typedef names.
            for row in self.starting_with(&start).filter(|row| is_type(row)) {
                found.push(serde_json::from_str(row)?);
            }
        }
        if found.is_empty() {
            let part = format!(",\"rust\":{quoted},\"kind\":");
            for (at, _) in self.text.match_indices(&part) {
                found.push(serde_json::from_str(self.line_at(at))?);
            }
        }
        Ok(found)
    }

    /// The type of this name in Rust.
    pub fn by_rust(&self, rust: &str) -> Option<TypeRow> {
        let part = format!(",\"rust\":{},\"kind\":", serde_json::to_string(rust).ok()?);
        let at = self.text.find(&part)?;
        serde_json::from_str(self.line_at(at)).ok()
    }

    /// The typedefs of this name.
    pub fn typedefs(&self, name: &str) -> anyhow::Result<Vec<TypedefRow>> {
        let start = format!("{{\"name\":{},\"type\":", serde_json::to_string(name)?);
        self.starting_with(&start)
            .map(|row| Ok(serde_json::from_str(row)?))
            .collect()
    }

    /// The rows of a list: `types`, `typedefs`, `symbols`.
    pub fn rows<'i, T: Deserialize<'i>>(
        &'i self,
        list: &str,
    ) -> impl Iterator<Item = anyhow::Result<T>> + use<'i, T> {
        let start = format!("\n\"{list}\":[\n");
        let text = self
            .text
            .find(&start)
            .map_or("", |at| &self.text[at + start.len()..]);
        text.lines()
            .take_while(|line| *line != "]" && *line != "],")
            .map(|line| Ok(serde_json::from_str(line.trim_end_matches(','))?))
    }

    /// All names that [`Index::types`] and [`Index::typedefs`] know, without keywords.
    pub fn names(&self) -> BTreeSet<&str> {
        let rows = self.text.match_indices("\n{\"name\":\"");
        rows.filter_map(|(at, found)| {
            let rest = &self.text[at + found.len()..];
            let (name, rest) = rest.split_once('"')?;
            let is_symbol = rest.starts_with(",\"rust\"") && !is_type(rest);
            let plain = name.rsplit(' ').next()?;
            (!is_symbol && !plain.ends_with('}')).then_some(plain)
        })
        .collect()
    }

    fn starting_with<'i>(&'i self, start: &str) -> impl Iterator<Item = &'i str> {
        let start = format!("\n{start}");
        let found: Vec<usize> = self.text.match_indices(&start).map(|(at, _)| at).collect();
        found.into_iter().map(|at| self.line_at(at + 1))
    }

    /// The row around a place in the text.
    fn line_at(&self, at: usize) -> &str {
        let start = self.text[..at].rfind('\n').map_or(0, |at| at + 1);
        let end = self.text[at..]
            .find('\n')
            .map_or(self.text.len(), |end| at + end);
        self.text[start..end].trim_end_matches(',')
    }
}

/// Whether what follows the name in a row is a type's.
fn is_type(rest: &str) -> bool {
    let kind = rest.find("\",\"kind\":");
    let end = rest.find('\n').unwrap_or(rest.len());
    kind.is_some_and(|kind| kind < end.min(300))
}

//! Reading `index.json` of a kernel's bindings row by row.

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
    /// Those of anonymous members among the others.
    #[serde(default)]
    pub members: Vec<MemberRow>,
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

/// A typedef.
#[derive(Debug, Clone, Deserialize)]
pub struct TypedefRow {
    pub name: String,
    #[serde(rename = "type")]
    pub ty: String,
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
}

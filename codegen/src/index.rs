//! What is in a kernel, for programs: `index.json` with everything, and `names.txt` for `kernel_has`.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::ctext;
use crate::model::{Asked, ItemId, Kind, Model, Type};
use crate::names::Names;
use crate::passes::{flattened, grouped};

/// The version of what is generated: bindings of another one don't fit the runtime, and are to be made anew.
pub const FORMAT: u32 = 4;

/// What bindings say of themselves: the first line of `index.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// [`FORMAT`] of the generator.
    pub format: u32,
    /// `uname -r`.
    pub release: String,
    /// The GNU build id in hexadecimal; empty if the kernel has none.
    pub build_id: String,
    /// `linux_banner`.
    pub banner: String,
    /// ELF's `e_machine`.
    pub machine: u16,
    /// Bytes in a pointer.
    pub pointer_size: u8,
    /// Whether numbers are big-endian.
    pub big_endian: bool,
    /// The modules whose types and variables are there too.
    pub modules: Vec<String>,
    /// What else was asked for.
    #[serde(flatten)]
    pub asked: Asked,
}

/// What bindings of any version say that they were asked for: the names of modules, and the rest.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
pub struct Wishes {
    /// Modules by name.
    #[serde(default)]
    pub modules: Vec<String>,
    /// What else was asked for.
    #[serde(flatten)]
    pub asked: Asked,
}

impl Wishes {
    /// Reads the first line of an index; `None` if it is none.
    pub fn parse(line: &str) -> Option<Self> {
        let row = line.strip_prefix("{\"kernel\":")?.trim_end_matches(',');
        serde_json::from_str(row).ok()
    }
}

impl Identity {
    /// Reads the first line of an index; `None` if it is of another format.
    pub fn parse(line: &str) -> Option<Self> {
        let row = line.strip_prefix("{\"kernel\":")?.trim_end_matches(',');
        let identity: Self = serde_json::from_str(row).ok()?;
        (identity.format == FORMAT).then_some(identity)
    }
}

#[derive(Serialize)]
struct TypeRow<'a> {
    name: String,
    rust: &'a str,
    kind: &'static str,
    size: u64,
    file: &'a str,
    line: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    members: Vec<MemberRow<'a>>,
    /// The anonymous members: kind, offset, size, the index of the first member in `members`, how many of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    anonymous: Vec<(&'static str, u64, u64, usize, usize)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    enumerators: Vec<(&'a str, i128)>,
}

#[derive(Serialize)]
struct MemberRow<'a> {
    name: &'a str,
    offset: u64,
    size: u64,
    #[serde(rename = "type")]
    ty: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    bit_offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bit_size: Option<u64>,
    /// The Rust name of the member's nameless struct or union.
    #[serde(skip_serializing_if = "Option::is_none")]
    nested: Option<&'a str>,
}

#[derive(Serialize)]
struct SymbolRow<'a> {
    name: &'a str,
    rust: &'a str,
    /// In a module: the offset in the section.
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    module: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    section: Option<&'a str>,
    #[serde(rename = "type")]
    ty: String,
    per_cpu: bool,
    file: &'a str,
    line: u32,
}

#[derive(Serialize)]
struct TypedefRow<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    ty: String,
    file: &'a str,
    line: u32,
}

/// The index of bindings that are a selection: which kernel they are of, and no more.
pub fn identity_line(model: &Model) -> String {
    format!(
        "{{\"kernel\":{},\n\"selection\":true}}\n",
        row(&identity(model))
    )
}

fn identity(model: &Model) -> Identity {
    Identity {
        format: FORMAT,
        release: model.kernel.release.clone(),
        build_id: hexadecimal(&model.kernel.build_id),
        banner: model.kernel.banner.clone(),
        machine: model.kernel.machine,
        pointer_size: model.kernel.pointer_size,
        big_endian: model.kernel.big_endian,
        modules: model
            .modules
            .iter()
            .map(|module| module.name.clone())
            .collect(),
        asked: model.asked.clone(),
    }
}

/// Everything, as JSON with one row a line: a kernel, then types, typedefs and symbols. Members of anonymous members
/// stand among those of the outer struct.
pub fn json(model: &Model, names: &Names) -> String {
    let mut out = String::from("{\"kernel\":");
    out.push_str(&row(&identity(model)));
    let types = model
        .items
        .iter()
        .zip(&names.items)
        .filter(|(_, rust)| !rust.is_empty());
    list(&mut out, "types", types, |(item, rust)| {
        let (members, groups) = grouped(model, item);
        row(&TypeRow {
            name: item.c_name(),
            rust,
            kind: item.kind.keyword(),
            size: item.size,
            file: &item.place.file,
            line: item.place.line,
            members: members
                .iter()
                .map(|member| MemberRow {
                    name: &member.name,
                    offset: member.offset,
                    size: model.size_of(&member.ty).unwrap_or(0),
                    ty: ctext::type_name(model, &member.ty),
                    bit_offset: member.bits.map(|bits| bits.offset),
                    bit_size: member.bits.map(|bits| bits.size),
                    nested: nameless(model, &member.ty).map(|id| &*names.items[id.index()]),
                })
                .collect(),
            anonymous: groups
                .iter()
                .map(|group| {
                    let kind = group.kind.keyword();
                    (kind, group.offset, group.size, group.first, group.count)
                })
                .collect(),
            enumerators: item
                .enumerators
                .iter()
                .map(|enumerator| (&*enumerator.name, enumerator.value))
                .collect(),
        })
    });
    list(&mut out, "typedefs", model.typedefs.iter(), |typedef| {
        row(&TypedefRow {
            name: &typedef.name,
            ty: ctext::type_name(model, &typedef.target),
            file: &typedef.place.file,
            line: typedef.place.line,
        })
    });
    list(
        &mut out,
        "symbols",
        model.variables.iter().zip(&names.variables),
        |(variable, rust)| {
            row(&SymbolRow {
                name: &variable.name,
                rust,
                address: format!("{:#x}", variable.address),
                module: variable.module.as_ref().map(|place| &*place.module),
                section: variable.module.as_ref().map(|place| &*place.section),
                ty: ctext::type_name(model, &variable.ty),
                per_cpu: variable.per_cpu,
                file: &variable.place.file,
                line: variable.place.line,
            })
        },
    );
    out.push_str("\n}\n");
    out
}

/// The nameless struct or union that a member, or each element of it, is.
fn nameless(model: &Model, ty: &Type) -> Option<ItemId> {
    match ty.stripped() {
        Type::Array(element, _) => nameless(model, element),
        Type::Item(id) => {
            let item = model.item(*id);
            (item.name.is_empty() && item.kind != Kind::Enum).then_some(*id)
        }
        _ => None,
    }
}

/// Bytes as build ids are written.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn row<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value)
        .unwrap_or_else(|error| unreachable!("plain data serialises: {error}"))
}

fn list<T>(
    out: &mut String,
    name: &str,
    rows: impl Iterator<Item = T>,
    show: impl Fn(T) -> String,
) {
    let _ = write!(out, ",\n\"{name}\":[");
    for (index, item) in rows.enumerate() {
        out.push_str(if index == 0 { "\n" } else { ",\n" });
        out.push_str(&show(item));
    }
    out.push_str("\n]");
}

/// Whether a name can stand in a line of `names.txt`: behind a space stands what a member's type is. No C compiler writes
/// another one.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_graphic())
}

/// What `kernel_has` predicates are answered from: sorted lines `type`, `type.member`, `sym:name`, `const:name`. Behind
/// a member that is a struct itself stands the Rust name of that struct, so that longer paths can be followed.
///
/// Names of types that are not wanted are left out.
pub fn names(model: &Model, names: &Names, is_wanted: impl Fn(ItemId) -> bool) -> String {
    let mut lines = BTreeSet::new();
    for (index, (item, rust)) in model.items.iter().zip(&names.items).enumerate() {
        if !is_wanted(ItemId(index as u32)) {
            continue;
        }
        for enumerator in &item.enumerators {
            if is_plain(&enumerator.name) {
                lines.insert(format!("const:{}", enumerator.name));
            }
        }
        if rust.is_empty() {
            continue;
        }
        lines.insert(rust.clone());
        for member in flattened(model, item) {
            if !is_plain(&member.name) {
                continue;
            }
            let nested = match member.ty.stripped() {
                Type::Item(id) => &names.items[id.index()],
                _ => "",
            };
            lines.insert(
                format!("{rust}.{} {nested}", member.name)
                    .trim_end()
                    .to_owned(),
            );
        }
    }
    for (typedef, name) in model.typedefs.iter().zip(&names.typedefs) {
        let _ = typedef;
        lines.extend(name.clone());
    }
    for name in &names.variables {
        lines.insert(format!("sym:{name}"));
    }
    let mut out = String::new();
    for line in lines {
        if !line.contains(char::is_control) {
            out.push_str(&line);
            out.push('\n');
        }
    }
    out
}

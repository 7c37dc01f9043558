//! The only place where a C name becomes a Rust name.
//!
//! | C | Rust |
//! |---|---|
//! | a name | the same name |
//! | a keyword of Rust: `type` | with an underscore behind it: `type_` |
//! | a member `addr` or `at`, which every view has as a method | `addr_`, `at_` |
//! | a type with the name of something that generated code uses: `View` | `View_` |
//! | what no identifier can hold | each such character as `_` |
//! | two types of one name | the one of the only header below `include/` keeps it; others get their file: `irq_info__drivers_xen_events_events_base` |
//! | two types of one name in one file | their size as well: `elf_note_info__fs_binfmt_elf_248` |
//! | a nameless type of a member | `parent__member` |

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::model::{Item, ItemId, Model, Place, Type};

/// Rust's keywords of all editions, the reserved ones included.
const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate",
    "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl",
    "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref",
    "return", "self", "Self", "static", "struct", "super", "trait", "true", "try", "type",
    "typeof", "union", "unsafe", "unsized", "use", "virtual", "where", "while", "yield", "_",
];

/// Names that generated modules import or that are Rust's own types: no item may hide them.
const RESERVED_TYPES: &[&str] = &[
    "Array",
    "Be",
    "Char",
    "CharArray",
    "CharPtr",
    "Chars",
    "EnumInfo",
    "FnPtr",
    "Function",
    "Long32",
    "Memory",
    "Part",
    "Module",
    "ModulePerCpu",
    "ModuleSym",
    "PerCpu",
    "PhantomData",
    "Ptr",
    "Ptr32",
    "Raw",
    "StructInfo",
    "Sym",
    "Target",
    "ULong32",
    "View",
    "Void",
    "bool",
    "char",
    "f32",
    "f64",
    "fmt",
    "i128",
    "i16",
    "i32",
    "i64",
    "i8",
    "isize",
    "kstruct",
    "str",
    "sym",
    "constants",
    "identity",
    "modules",
    "u128",
    "u16",
    "u32",
    "u64",
    "u8",
    "usize",
    "core",
    "std",
];

/// Methods of every view that a member of that name would hide.
const RESERVED_MEMBERS: &[&str] = &["addr", "at"];

/// What every enum has: an enumerator of that name would be defined twice.
const RESERVED_CONSTANTS: &[&str] = &["INFO", "name"];

/// Names longer than this are cut: no C compiler writes them, and no editor shows them.
const LONGEST: usize = 200;

/// Turns what no identifier can hold into underscores, and escapes keywords.
fn identifier(name: &str) -> String {
    let mut out: String = name
        .chars()
        .take(LONGEST)
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    if out.is_empty() || out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert(0, '_');
    }
    if KEYWORDS.contains(&out.as_str()) {
        out.push('_');
    }
    out
}

/// The accessor of a member.
pub fn member(name: &str) -> String {
    let mut out = identifier(name);
    if RESERVED_MEMBERS.contains(&out.as_str()) {
        out.push('_');
    }
    out
}

/// The accessors of a struct's members, each different from the others.
pub fn members<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    different(names.map(member), HashSet::new())
}

/// The constants of an enum, each different from the others and from what every enum has.
pub fn enumerators<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let taken = RESERVED_CONSTANTS.iter().map(|name| (*name).to_owned());
    different(names.map(constant), taken.collect())
}

fn different(names: impl Iterator<Item = String>, mut taken: HashSet<String>) -> Vec<String> {
    names
        .map(|mut out| {
            while !taken.insert(out.clone()) {
                out.push('_');
            }
            out
        })
        .collect()
}

/// A constant or a symbol.
pub fn constant(name: &str) -> String {
    identifier(name)
}

fn type_name(name: &str) -> String {
    let mut out = identifier(name);
    if RESERVED_TYPES.contains(&out.as_str()) {
        out.push('_');
    }
    out
}

/// The module for what is declared in a file: its directory.
pub fn module(place: &Place) -> String {
    let directory = place
        .file
        .rsplit_once('/')
        .map_or("", |(directory, _)| directory);
    match identifier(directory.trim_start_matches('/')) {
        name if directory.is_empty() => {
            let _ = name;
            "top".to_owned()
        }
        name => name,
    }
}

/// A file's path as part of an identifier, without the ending.
fn file_suffix(place: &Place) -> String {
    let file = place.file.trim_start_matches('/');
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    stem.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect()
}

fn in_include(place: &Place) -> bool {
    place.file.starts_with("include/") || place.file.contains("/include/")
}

/// What has to be told apart from others of its name.
#[derive(Clone)]
struct Candidate {
    plain: String,
    place: Place,
    size: u64,
    preferred: bool,
}

/// Gives each candidate a name of its own. The result depends on the candidates, not on their order of discovery.
fn distinct(candidates: &[Candidate]) -> Vec<String> {
    let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, candidate) in candidates.iter().enumerate() {
        groups.entry(&candidate.plain).or_default().push(index);
    }
    let mut out = vec![String::new(); candidates.len()];
    let mut taken: HashSet<String> = groups.keys().map(|name| (*name).to_owned()).collect();
    for (plain, group) in &groups {
        if let [only] = group[..] {
            out[only] = (*plain).to_owned();
            continue;
        }
        let preferred: Vec<usize> = group
            .iter()
            .copied()
            .filter(|index| candidates[*index].preferred)
            .collect();
        let owner = match preferred[..] {
            [only] => Some(only),
            _ => None,
        };
        for index in group.iter().copied() {
            if Some(index) == owner {
                out[index] = (*plain).to_owned();
                continue;
            }
            let candidate = &candidates[index];
            let same_file = group
                .iter()
                .filter(|other| candidates[**other].place.file == candidate.place.file)
                .count();
            let mut name = format!("{plain}__{}", file_suffix(&candidate.place));
            if same_file > 1 {
                name.push_str(&format!("_{}", candidate.size));
            }
            let stem = name.clone();
            let mut number = 2;
            while !taken.insert(name.clone()) {
                name = format!("{stem}_{number}");
                number += 1;
            }
            out[index] = name;
        }
    }
    out
}

/// The Rust names of all types of a model.
pub struct Names {
    /// By [`ItemId`]; empty for a nameless item that no member leads to.
    pub items: Vec<String>,
    /// Like [`Model::typedefs`]; `None` where an alias would say nothing new.
    pub typedefs: Vec<Option<String>>,
    /// Types of which only the name is known, by their C name: the Rust name.
    pub opaque: BTreeMap<String, String>,
    /// Like [`Model::variables`].
    pub variables: Vec<String>,
}

/// Names everything.
pub fn assign(model: &Model) -> Names {
    let plain = nameless(model);
    let candidates: Vec<Candidate> = model
        .items
        .iter()
        .zip(&plain)
        .enumerate()
        .map(|(index, (item, plain))| Candidate {
            // A nameless item without a way to it is not emitted, and must not stand in anyone's way.
            plain: plain.clone().unwrap_or_else(|| format!("#{index}")),
            place: item.place.clone(),
            size: item.size,
            preferred: in_include(&item.place),
        })
        .collect();
    let mut items = distinct(&candidates);
    for (name, plain) in items.iter_mut().zip(&plain) {
        if plain.is_none() {
            name.clear();
        }
    }
    let mut taken: HashSet<String> = items.iter().cloned().collect();

    let mut opaque = BTreeMap::new();
    let mut add_opaque = |name: &str| {
        if !opaque.contains_key(name) {
            let mut rust = type_name(name);
            while !taken.insert(rust.clone()) {
                rust.push_str("__opaque");
            }
            opaque.insert(name.to_owned(), rust);
        }
    };
    let member_types = model
        .items
        .iter()
        .flat_map(|item| item.members.iter().map(|member| &member.ty));
    let variable_types = model.variables.iter().map(|variable| &variable.ty);
    let typedef_types = model.typedefs.iter().map(|typedef| &typedef.target);
    for ty in member_types.chain(variable_types).chain(typedef_types) {
        each_opaque(ty, &mut add_opaque);
    }

    let mut typedefs = Vec::with_capacity(model.typedefs.len());
    for typedef in &model.typedefs {
        let name = type_name(&typedef.name);
        // `typedef struct foo foo`, Rust's own `u8`, and a second typedef of the same name: nothing to add.
        let known = taken.contains(&name) || RESERVED_TYPES.contains(&&*typedef.name);
        typedefs.push((!known).then(|| {
            taken.insert(name.clone());
            name
        }));
    }

    // A module's variable never takes a name away from one of the kernel: what was written without the module goes on to
    // mean the same. Of a name that several places have, each module's gets the module's name.
    let mut owners: HashMap<&str, HashSet<Option<&str>>> = HashMap::new();
    for variable in &model.variables {
        let owner = variable.module.as_ref().map(|place| &*place.module);
        owners.entry(&variable.name).or_default().insert(owner);
    }
    let candidates: Vec<Candidate> = model
        .variables
        .iter()
        .map(|variable| Candidate {
            plain: match &variable.module {
                Some(place) if owners[&*variable.name].len() > 1 => {
                    constant(&format!("{}__{}", variable.name, place.module))
                }
                _ => constant(&variable.name),
            },
            place: variable.place.clone(),
            size: 0,
            preferred: variable.external,
        })
        .collect();
    Names {
        items,
        typedefs,
        opaque,
        variables: distinct(&candidates),
    }
}

fn each_opaque(ty: &Type, found: &mut impl FnMut(&str)) {
    match ty.stripped() {
        Type::Opaque(_, name) => found(name),
        Type::Pointer(inner) | Type::Array(inner, _) => each_opaque(inner, found),
        _ => {}
    }
}

/// The names of items before they are told apart: their own, or `parent__member` for nameless ones.
fn nameless(model: &Model) -> Vec<Option<String>> {
    let mut names: Vec<Option<String>> = model
        .items
        .iter()
        .map(|item| (!item.name.is_empty()).then(|| type_name(&item.name)))
        .collect();
    for index in 0..model.items.len() {
        let item = &model.items[index];
        if !item.name.is_empty() {
            let parent = type_name(&item.name);
            name_members(model, item, &parent, &mut names, 0);
        }
    }
    for variable in &model.variables {
        if let Some(id) = nameless_item(model, &variable.ty)
            && names[id.index()].is_none()
        {
            let name = format!("{}__type", identifier(&variable.name));
            names[id.index()] = Some(name.clone());
            name_members(model, model.item(id), &name, &mut names, 0);
        }
    }
    names
}

fn name_members(
    model: &Model,
    item: &Item,
    parent: &str,
    names: &mut [Option<String>],
    depth: u32,
) {
    if depth > 32 {
        return;
    }
    for member in &item.members {
        let Some(id) = nameless_item(model, &member.ty) else {
            continue;
        };
        if names[id.index()].is_some() {
            continue;
        }
        if member.name.is_empty() {
            // Its members are the parent's.
            name_members(model, model.item(id), parent, names, depth + 1);
        } else {
            let name = format!("{parent}__{}", identifier(&member.name));
            names[id.index()] = Some(name.clone());
            name_members(model, model.item(id), &name, names, depth + 1);
        }
    }
}

/// The nameless item that a type is, points to, or is an array of.
fn nameless_item(model: &Model, ty: &Type) -> Option<ItemId> {
    match ty.stripped() {
        Type::Item(id) if model.item(*id).name.is_empty() => Some(*id),
        Type::Pointer(inner) | Type::Array(inner, _) => nameless_item(model, inner),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(file: &str) -> Place {
        Place {
            file: file.into(),
            line: 1,
        }
    }

    fn candidate(file: &str, size: u64) -> Candidate {
        Candidate {
            plain: "irq_info".into(),
            place: place(file),
            size,
            preferred: in_include(&place(file)),
        }
    }

    #[test]
    fn names_stay_what_they_are_where_rust_lets_them() {
        assert_eq!(member("pid"), "pid");
        assert_eq!(member("__state"), "__state");
        assert_eq!(member("type"), "type_");
        assert_eq!(member("self"), "self_");
        assert_eq!(member("addr"), "addr_");
        assert_eq!(constant("IFF_UP"), "IFF_UP");
        assert_eq!(type_name("View"), "View_");
        assert_eq!(type_name("u32"), "u32_");
        assert_eq!(type_name("list_head"), "list_head");
    }

    #[test]
    fn no_name_becomes_code() {
        assert_eq!(member("x(self) { evil() } fn y"), "x_self____evil_____fn_y");
        assert_eq!(member("9lives"), "_9lives");
        assert_eq!(member(""), "__");
        assert_eq!(member("\n\"\u{202e}"), "___");
        assert_eq!(member(&"a".repeat(1_000_000)).len(), LONGEST);
    }

    #[test]
    fn members_of_one_struct_differ() {
        let names = members(["type", "type_", "a", "a"].into_iter());
        assert_eq!(names, ["type_", "type__", "a", "a_"]);
    }

    #[test]
    fn enumerators_leave_room_for_what_enums_have() {
        let names = enumerators(["INFO", "name", "addr", "A", "A"].into_iter());
        assert_eq!(names, ["INFO_", "name_", "addr", "A", "A_"]);
    }

    #[test]
    fn the_header_below_include_keeps_the_name() {
        let names = distinct(&[
            candidate("drivers/xen/events/events_base.c", 136),
            candidate("arch/x86/include/asm/pci_x86.h", 16),
        ]);
        assert_eq!(
            names,
            ["irq_info__drivers_xen_events_events_base", "irq_info"]
        );
    }

    #[test]
    fn two_in_one_file_differ_by_size() {
        let names = distinct(&[
            candidate("fs/binfmt_elf.c", 248),
            candidate("fs/binfmt_elf.c", 312),
        ]);
        assert_eq!(
            names,
            ["irq_info__fs_binfmt_elf_248", "irq_info__fs_binfmt_elf_312"]
        );
        let names = distinct(&[candidate("fs/x.c", 8), candidate("fs/x.c", 8)]);
        assert_eq!(names, ["irq_info__fs_x_8", "irq_info__fs_x_8_2"]);
    }

    #[test]
    fn modules_are_directories() {
        assert_eq!(module(&place("include/linux/sched.h")), "include_linux");
        assert_eq!(
            module(&place("arch/x86/include/asm/page_64.h")),
            "arch_x86_include_asm"
        );
        assert_eq!(module(&place("vmlinux.h")), "top");
        assert_eq!(module(&place("")), "top");
    }
}

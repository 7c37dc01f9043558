//! `cargo xtask diff`: what changed between two kernels.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::bail;

use kstruct_codegen::emit::is_noise;

use crate::build;
use crate::index::{Index, MemberRow, SymbolRow, TypeRow, TypedefRow};
use crate::used;

/// Options of `cargo xtask diff`.
#[derive(clap::Args)]
pub struct Args {
    /// The kernel that was: a release, or the name of its vmlinux
    old: String,
    /// The kernel that is
    new: String,
    /// Structs, unions, enums, typedefs and variables to look at; all of them if none is named
    names: Vec<String>,
    /// Look only at what the analyzers' sources name, and at the types on the way to it
    #[arg(long, conflicts_with = "names")]
    used: bool,
}

/// Runs the command. Says whether the kernels are the same in what was looked at.
pub fn run(args: &Args) -> anyhow::Result<bool> {
    let (old, new) = (
        build::with_all_bindings(&args.old)?,
        build::with_all_bindings(&args.new)?,
    );
    let (old_index, new_index) = (Index::open(&old)?, Index::open(&new)?);
    let wanted = if args.used {
        let identifiers = used::identifiers()?;
        let mut types = used::types(&old_index, &identifiers)?;
        types.extend(used::types(&new_index, &identifiers)?);
        Wanted::Used { types, identifiers }
    } else if args.names.is_empty() {
        Wanted::All
    } else {
        Wanted::Named(
            args.names
                .iter()
                .map(|name| plain(name).to_owned())
                .collect(),
        )
    };
    let (old_side, new_side) = (
        Side::read(&old_index, &wanted)?,
        Side::read(&new_index, &wanted)?,
    );
    if let Wanted::Named(names) = &wanted {
        for name in names {
            if !old_side.has(name) && !new_side.has(name) {
                bail!("neither {old} nor {new} has a type or variable {name}");
            }
        }
    }
    let difference = compare(&old_side, &new_side, &wanted);
    print!("{}", difference.text);
    println!("{}", difference.summary(&old, &new));
    Ok(difference.is_none())
}

/// What is looked at.
enum Wanted {
    All,
    /// By their names in C or Rust.
    Named(BTreeSet<String>),
    /// Types by their names in Rust; members, enumerators and variables that identifiers name.
    Used {
        types: BTreeSet<String>,
        identifiers: BTreeSet<String>,
    },
}

impl Wanted {
    fn has_type(&self, name: &str, rust: &str) -> bool {
        match self {
            Wanted::All => true,
            Wanted::Named(names) => names.contains(plain(name)) || names.contains(rust),
            Wanted::Used { types, .. } => types.contains(rust),
        }
    }

    fn has_symbol(&self, name: &str, rust: &str) -> bool {
        match self {
            Wanted::All => true,
            Wanted::Named(names) => names.contains(name) || names.contains(rust),
            Wanted::Used { identifiers, .. } => identifiers.contains(rust),
        }
    }

    fn has_typedef(&self, name: &str) -> bool {
        match self {
            Wanted::All => true,
            Wanted::Named(names) => names.contains(name),
            Wanted::Used { identifiers, .. } => identifiers.contains(name),
        }
    }

    fn has_member(&self, name: &str) -> bool {
        match self {
            Wanted::Used { identifiers, .. } => used::is_named(name, identifiers),
            _ => true,
        }
    }
}

/// A name without its keyword.
fn plain(name: &str) -> &str {
    name.rsplit(' ').next().unwrap_or(name)
}

/// One kernel, as far as it is looked at; by Rust names, of which there is one for each thing.
#[derive(Default)]
struct Side {
    types: BTreeMap<String, TypeRow>,
    typedefs: BTreeMap<String, TypedefRow>,
    symbols: BTreeMap<String, SymbolRow>,
}

impl Side {
    fn read(index: &Index, wanted: &Wanted) -> anyhow::Result<Self> {
        let mut side = Side::default();
        for row in index.rows::<TypeRow>("types") {
            let row = row?;
            // The enumerators of nameless enums count by themselves, and are in the enum that has them.
            let has_used_constant = || match wanted {
                Wanted::Used { identifiers, .. } => row
                    .enumerators
                    .iter()
                    .any(|(name, _)| identifiers.contains(name)),
                _ => false,
            };
            if wanted.has_type(&row.name, &row.rust) || has_used_constant() {
                side.types.insert(row.rust.clone(), row);
            }
        }
        for row in index.rows::<TypedefRow>("typedefs") {
            let row = row?;
            if wanted.has_typedef(&row.name) {
                // Of several of one name the first counts, as in the bindings.
                side.typedefs.entry(row.name.clone()).or_insert(row);
            }
        }
        for row in index.rows::<SymbolRow>("symbols") {
            let row = row?;
            if is_noise(&row.name) {
                continue;
            }
            if wanted.has_symbol(&row.name, &row.rust) {
                side.symbols.insert(row.rust.clone(), row);
            }
        }
        Ok(side)
    }

    fn has(&self, name: &str) -> bool {
        let named = |row: &TypeRow| plain(&row.name) == name || row.rust == name;
        self.types.values().any(named)
            || self.typedefs.contains_key(name)
            || self
                .symbols
                .values()
                .any(|row| row.name == name || row.rust == name)
    }
}

/// What differs, as text and in numbers.
#[derive(Default)]
struct Difference {
    text: String,
    types: Counts,
    members: Counts,
    enumerators: Counts,
    typedefs: Counts,
    symbols: Counts,
    /// Members that are the same but for their place.
    moved: usize,
}

#[derive(Default)]
struct Counts {
    added: usize,
    removed: usize,
    changed: usize,
}

impl Counts {
    fn total(&self) -> usize {
        self.added + self.removed + self.changed
    }
}

impl Difference {
    fn is_none(&self) -> bool {
        let counts = [
            &self.types,
            &self.members,
            &self.enumerators,
            &self.typedefs,
            &self.symbols,
        ];
        counts.iter().all(|counts| counts.total() == 0) && self.moved == 0
    }

    fn summary(&self, old: &str, new: &str) -> String {
        if self.is_none() {
            return format!("{old} and {new}: no difference");
        }
        let mut out = format!("{old} -> {new}:");
        for (name, counts) in [
            ("types", &self.types),
            ("members", &self.members),
            ("enumerators", &self.enumerators),
            ("typedefs", &self.typedefs),
            ("variables", &self.symbols),
        ] {
            if counts.total() > 0 {
                let _ = write!(
                    out,
                    " {name} +{} -{} ~{};",
                    counts.added, counts.removed, counts.changed
                );
            }
        }
        if self.moved > 0 {
            let _ = write!(out, " members moved {};", self.moved);
        }
        out.pop();
        out
    }
}

/// The two values of each key that either side has.
fn pairs<'a, V>(
    old: &'a BTreeMap<String, V>,
    new: &'a BTreeMap<String, V>,
) -> impl Iterator<Item = (&'a str, Option<&'a V>, Option<&'a V>)> {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    keys.into_iter()
        .map(|key| (key.as_str(), old.get(key), new.get(key)))
}

fn compare(old: &Side, new: &Side, wanted: &Wanted) -> Difference {
    let mut difference = Difference::default();
    for (rust, old, new) in pairs(&old.types, &new.types) {
        difference.of_type(rust, old, new, wanted);
    }
    for (name, old, new) in pairs(&old.typedefs, &new.typedefs) {
        let shown = |row: &TypedefRow| format!("typedef {name} = {}", row.ty);
        let counts = &mut difference.typedefs;
        line(&mut difference.text, counts, old.map(shown), new.map(shown));
    }
    for (rust, old, new) in pairs(&old.symbols, &new.symbols) {
        let shown = |row: &SymbolRow| {
            let per_cpu = if row.per_cpu { "per CPU " } else { "" };
            let module = row.module.as_ref();
            let module = module.map_or_else(String::new, |name| format!(" [{name}]"));
            format!("variable {rust}: {per_cpu}{}{module}", row.ty)
        };
        let counts = &mut difference.symbols;
        line(&mut difference.text, counts, old.map(shown), new.map(shown));
    }
    difference
}

/// One line for what is one line on each side.
fn line(text: &mut String, counts: &mut Counts, old: Option<String>, new: Option<String>) {
    match (old, new) {
        (None, Some(new)) => {
            counts.added += 1;
            let _ = writeln!(text, "+ {new}");
        }
        (Some(old), None) => {
            counts.removed += 1;
            let _ = writeln!(text, "- {old}");
        }
        (Some(old), Some(new)) if old != new => {
            counts.changed += 1;
            let _ = writeln!(text, "~ {old}\n    -> {new}");
        }
        _ => {}
    }
}

impl Difference {
    fn of_type(
        &mut self,
        rust: &str,
        old: Option<&TypeRow>,
        new: Option<&TypeRow>,
        wanted: &Wanted,
    ) {
        // What has no name in C is told by its name in Rust.
        let name = |row: &TypeRow| {
            if plain(&row.name) == rust {
                row.name.clone()
            } else {
                format!("{} ({rust})", row.name)
            }
        };
        let (old, new) = match (old, new) {
            (Some(old), Some(new)) => (old, new),
            (None, Some(new)) => {
                self.types.added += 1;
                let _ = writeln!(self.text, "+ {}: {} bytes", name(new), new.size);
                return;
            }
            (Some(old), None) => {
                self.types.removed += 1;
                let _ = writeln!(self.text, "- {}: {} bytes", name(old), old.size);
                return;
            }
            (None, None) => return,
        };
        let mut body = String::new();
        self.of_members(old, new, wanted, &mut body);
        self.of_enumerators(old, new, &mut body);
        let resized = old.size != new.size || old.kind != new.kind;
        // Of what analyzers use, a size that changed matters to no source.
        if body.is_empty() && (!resized || matches!(wanted, Wanted::Used { .. })) {
            return;
        }
        self.types.changed += 1;
        let _ = write!(self.text, "~ {}:", name(new));
        if old.kind != new.kind {
            let _ = write!(self.text, " {} -> {},", old.kind, new.kind);
        }
        let _ = if resized {
            writeln!(self.text, " {} -> {} bytes", old.size, new.size)
        } else {
            writeln!(self.text, " {} bytes", new.size)
        };
        self.text.push_str(&body);
    }

    fn of_members(&mut self, old: &TypeRow, new: &TypeRow, wanted: &Wanted, body: &mut String) {
        let by_name = |row: &TypeRow| -> BTreeMap<String, MemberRow> {
            let members = row.members.iter();
            members
                .map(|member| (member.name.clone(), member.clone()))
                .collect()
        };
        let (old_members, new_members) = (by_name(old), by_name(new));
        // In the order of the new one, with what is gone at its end.
        let mut names: Vec<&str> = Vec::new();
        let mut seen = BTreeSet::new();
        for member in new.members.iter().chain(&old.members) {
            if seen.insert(&member.name) && wanted.has_member(&member.name) {
                names.push(&member.name);
            }
        }
        for name in names {
            let _ = match (old_members.get(name), new_members.get(name)) {
                (None, Some(new)) => {
                    self.members.added += 1;
                    writeln!(body, "    + {name}: {} at {}", new.ty, offset(new))
                }
                (Some(old), None) => {
                    self.members.removed += 1;
                    writeln!(body, "    - {name}: {} at {}", old.ty, offset(old))
                }
                (Some(old), Some(new)) if retyped(old, new) => {
                    self.members.changed += 1;
                    let size = |member: &MemberRow| match member.bit_size {
                        Some(bits) => format!("{} bits", bits),
                        None => format!("{} bytes", member.size),
                    };
                    writeln!(
                        body,
                        "    ~ {name}: {} ({}) at {} -> {} ({}) at {}",
                        old.ty,
                        size(old),
                        offset(old),
                        new.ty,
                        size(new),
                        offset(new)
                    )
                }
                (Some(old), Some(new)) if offset(old) != offset(new) => {
                    self.moved += 1;
                    writeln!(body, "    > {name}: {} -> {}", offset(old), offset(new))
                }
                _ => Ok(()),
            };
        }
    }

    fn of_enumerators(&mut self, old: &TypeRow, new: &TypeRow, body: &mut String) {
        let by_name =
            |row: &TypeRow| -> BTreeMap<String, i128> { row.enumerators.iter().cloned().collect() };
        for (name, old, new) in pairs(&by_name(old), &by_name(new)) {
            let _ = match (old, new) {
                (None, Some(new)) => {
                    self.enumerators.added += 1;
                    writeln!(body, "    + {name} = {new}")
                }
                (Some(old), None) => {
                    self.enumerators.removed += 1;
                    writeln!(body, "    - {name} = {old}")
                }
                (Some(old), Some(new)) if old != new => {
                    self.enumerators.changed += 1;
                    writeln!(body, "    ~ {name} = {old} -> {new}")
                }
                _ => Ok(()),
            };
        }
    }
}

fn retyped(old: &MemberRow, new: &MemberRow) -> bool {
    (&old.ty, old.size, old.bit_size) != (&new.ty, new.size, new.bit_size)
}

/// Where a member is: bytes, and bits behind a colon.
fn offset(member: &MemberRow) -> String {
    match member.bit_offset {
        Some(bits) => format!("{}:{}", bits / 8, bits % 8),
        None => member.offset.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Side, Wanted, compare};
    use crate::index::Index;

    fn side(rows: &str) -> Side {
        let text = format!(
            "{{\"kernel\":{{}},\n\"types\":[\n{rows}\n],\n\"typedefs\":[\n],\n\"symbols\":[\n]\n}}\n"
        );
        Side::read(&Index::from_text(text), &Wanted::All).expect("the rows are sound")
    }

    fn row(name: &str, size: u64, members: &str) -> String {
        format!(
            r#"{{"name":"struct {name}","rust":"{name}","kind":"struct","size":{size},"file":"a.h","line":1,"members":[{members}]}}"#
        )
    }

    fn member(name: &str, offset: u64, size: u64, ty: &str) -> String {
        format!(r#"{{"name":"{name}","offset":{offset},"size":{size},"type":"{ty}"}}"#)
    }

    #[test]
    fn each_kind_of_change_has_its_mark() {
        let join = |parts: &[String]| parts.join(",");
        let old = [
            row("gone", 4, ""),
            row("kept", 8, &member("x", 0, 8, "long")),
            row(
                "s",
                16,
                &join(&[
                    member("a", 0, 4, "int"),
                    member("b", 4, 4, "int"),
                    member("c", 8, 8, "long"),
                ]),
            ),
        ];
        let new = [
            row("kept", 8, &member("x", 0, 8, "long")),
            row(
                "s",
                24,
                &join(&[
                    member("n", 0, 8, "long"),
                    member("a", 8, 4, "int"),
                    member("c", 16, 8, "unsigned long"),
                ]),
            ),
            row("t", 1, ""),
        ];
        let found = compare(
            &side(&old.join(",\n")),
            &side(&new.join(",\n")),
            &Wanted::All,
        );
        assert_eq!(
            found.text,
            "- struct gone: 4 bytes\n\
             ~ struct s: 16 -> 24 bytes\n    \
                 + n: long at 0\n    \
                 > a: 0 -> 8\n    \
                 ~ c: long (8 bytes) at 8 -> unsigned long (8 bytes) at 16\n    \
                 - b: int at 4\n\
             + struct t: 1 bytes\n"
        );
        assert_eq!(
            found.summary("o", "n"),
            "o -> n: types +1 -1 ~1; members +1 -1 ~1; members moved 1"
        );
        assert!(!found.is_none());
        let same = compare(
            &side(&old.join(",\n")),
            &side(&old.join(",\n")),
            &Wanted::All,
        );
        assert!(same.is_none() && same.text.is_empty());
    }
}

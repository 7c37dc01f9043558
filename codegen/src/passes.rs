//! Small steps over a finished model.

use std::sync::Arc;

use hashbrown::HashSet;
use rayon::prelude::*;

use crate::model::{Item, Kind, Member, Model, Place, Type, Variable};

/// Anonymous members nest no deeper than this in C that anyone writes.
const MAX_DEPTH: u32 = 32;
/// And no struct has so many members. Without this limit, 32 unions that each contain the next one twice would have 2^32.
const MAX_MEMBERS: u32 = 1 << 16;

/// The members of a struct as C lets one name them: those of anonymous members among the others, at their offset in the
/// outer struct.
pub fn flattened(model: &Model, item: &Item) -> Vec<Member> {
    grouped(model, item).0
}

/// An anonymous member: which of the flattened members are its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// What it is.
    pub kind: Kind,
    /// Bytes from the start of the outer struct.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
    /// The index of its first member among the flattened ones.
    pub first: usize,
    /// How many members it has, those of anonymous members in it included.
    pub count: usize,
}

/// Like [`flattened`], and says which members stand together in an anonymous one: outer ones before those in them.
pub fn grouped(model: &Model, item: &Item) -> (Vec<Member>, Vec<Group>) {
    let mut out = Vec::with_capacity(item.members.len());
    let mut groups = Vec::new();
    let mut left = MAX_MEMBERS;
    flatten(model, item, 0, &mut out, &mut groups, 0, &mut left);
    let found = out.len();
    // Deep inside, offsets add up; what then lies outside the struct is not a member of it.
    out.retain(|member| {
        let end = match member.bits {
            Some(bits) => bits.offset.saturating_add(bits.size).div_ceil(8),
            None => member
                .offset
                .saturating_add(model.size_of(&member.ty).unwrap_or(0)),
        };
        end <= item.size
    });
    if out.len() != found {
        // Where something is wrong, nothing is said of what stands together.
        groups.clear();
    }
    (out, groups)
}

/// `left` is how many members may still be looked at; beyond that they are left out.
fn flatten(
    model: &Model,
    item: &Item,
    base: u64,
    out: &mut Vec<Member>,
    groups: &mut Vec<Group>,
    depth: u32,
    left: &mut u32,
) {
    for member in &item.members {
        match left.checked_sub(1) {
            Some(less) => *left = less,
            None => return,
        }
        let offset = base.saturating_add(member.offset);
        match member.ty.stripped() {
            Type::Item(id) if member.name.is_empty() && member.bits.is_none() => {
                if depth < MAX_DEPTH {
                    let inner = model.item(*id);
                    let (group, first) = (groups.len(), out.len());
                    groups.push(Group {
                        kind: inner.kind,
                        offset,
                        size: inner.size,
                        first,
                        count: 0,
                    });
                    flatten(model, inner, offset, out, groups, depth + 1, left);
                    groups[group].count = out.len() - first;
                }
            }
            // An unnamed bit-field is padding.
            _ if member.name.is_empty() => {}
            _ => {
                let mut member = member.clone();
                member.offset = offset;
                if let Some(bits) = &mut member.bits {
                    bits.offset = bits.offset.saturating_add(base.saturating_mul(8));
                    member.offset = bits.offset / 8;
                }
                out.push(member);
            }
        }
    }
}

/// How many members the structs of a model may have, those of anonymous members counted in each struct that they are members
/// of, for each member that is declared. In C an anonymous struct has one parent, or a few that are copies: it is less than 2.
const MAX_SHARED: u64 = 16;

/// Takes the anonymous members out of structs if all structs together would have far more members than are declared, and
/// says how many structs lost some: a union of 65,536 members may be an anonymous member of a thousand structs.
pub(crate) fn bound_flattened(model: &mut Model) -> u64 {
    let anonymous = |member: &Member| match member.ty.stripped() {
        Type::Item(id) if member.name.is_empty() && member.bits.is_none() => Some(id.index()),
        _ => None,
    };
    let nesting: Vec<(usize, Vec<usize>)> = model
        .items
        .iter()
        .enumerate()
        .map(|(index, item)| (index, item.members.iter().filter_map(anonymous).collect()))
        .filter(|(_, inner): &(usize, Vec<usize>)| !inner.is_empty())
        .collect();
    let declared: Vec<u64> = model
        .items
        .iter()
        .map(|item| item.members.len() as u64)
        .collect();
    let mut counts = declared.clone();
    // In each round, what is one level deeper is counted.
    for _ in 0..MAX_DEPTH {
        let before = counts.clone();
        for (index, inner) in &nesting {
            let inner = inner.iter().map(|inner| before[*inner]);
            counts[*index] = inner
                .fold(declared[*index], u64::saturating_add)
                .min(MAX_MEMBERS.into());
        }
        if counts == before {
            break;
        }
    }
    let all: u64 = declared.iter().sum();
    let mut left = all
        .saturating_mul(MAX_SHARED)
        .saturating_add(MAX_MEMBERS.into());
    let mut lost = 0;
    for (index, _) in nesting {
        match left.checked_sub(counts[index]) {
            Some(less) => left = less,
            None => {
                model.items[index]
                    .members
                    .retain(|member| anonymous(member).is_none());
                lost += 1;
            }
        }
    }
    lost
}

/// Adds the global symbols that debug information says nothing of, such as `_text` and `swapper_pg_dir`: what there is
/// to know of them is their address.
pub fn add_untyped(model: &mut Model, symbols: Vec<(String, u64)>) {
    let functions = model.functions.iter().map(|function| &*function.name);
    let typed = model.variables.iter().map(|variable| &*variable.name);
    let (functions, typed): (HashSet<&str>, HashSet<&str>) =
        rayon::join(|| functions.collect(), || typed.collect());
    let untyped: Vec<Variable> = symbols
        .into_par_iter()
        .filter(|(name, _)| {
            // Old per-CPU variables go by their short name.
            let short = name.strip_prefix("per_cpu__").unwrap_or(name);
            !typed.contains(name.as_str())
                && !typed.contains(short)
                && !functions.contains(name.as_str())
        })
        .map(|(name, address)| Variable {
            name: Arc::from(name),
            ty: Type::Void,
            address,
            module: None,
            per_cpu: false,
            external: true,
            place: Place::default(),
        })
        .collect();
    drop((functions, typed));
    model.variables.extend(untyped);
    sort_variables(&mut model.variables);
}

/// By name; of one name, the kernel's come before modules', and what other files can see comes first.
pub(crate) fn sort_variables(variables: &mut [Variable]) {
    fn key(variable: &Variable) -> impl Ord {
        (
            &variable.name,
            &variable.module,
            !variable.external,
            &variable.place,
            variable.address,
        )
    }
    variables.par_sort_by(|a, b| key(a).cmp(&key(b)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ItemId, Kind};

    /// Item 0 has a member; item n up to `levels` has the one before it twice, without name; the rest have the last of those.
    fn sharing(levels: u32, rest: u32) -> Model {
        let member = |name: &str, ty| Member {
            name: name.into(),
            ty,
            offset: 0,
            bits: None,
        };
        let item = |number: u32| {
            let inner = || member("", Type::Item(ItemId(number.min(levels + 1) - 1)));
            Item {
                kind: Kind::Union,
                name: format!("u{number}").into(),
                by_typedef: false,
                size: 4,
                place: Place::default(),
                members: match number {
                    0 => vec![member("x", Type::Void)],
                    number if number <= levels => vec![inner(), inner()],
                    _ => vec![inner()],
                },
                enumerators: Vec::new(),
            }
        };
        Model {
            items: (0..=levels + rest).map(item).collect(),
            ..Model::default()
        }
    }

    fn all(model: &Model) -> usize {
        model
            .items
            .iter()
            .map(|item| flattened(model, item).len())
            .sum()
    }

    #[test]
    fn anonymous_members_of_sound_structs_stay() {
        let mut model = sharing(4, 10);
        let before = all(&model);
        assert_eq!(bound_flattened(&mut model), 0);
        assert_eq!((before, all(&model)), (31 + 160, 31 + 160));
    }

    #[test]
    fn anonymous_members_that_a_thousand_structs_share_are_left_out() {
        let mut model = sharing(14, 1000);
        assert!(bound_flattened(&mut model) > 900);
        assert!(all(&model) < 200_000, "{}", all(&model));
    }
}

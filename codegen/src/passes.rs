//! Small steps over a finished model.

use std::collections::HashSet;
use std::sync::Arc;

use rayon::prelude::*;

use crate::model::{Item, Member, Model, Place, Type, Variable};

/// Anonymous members nest no deeper than this in C that anyone writes.
const MAX_DEPTH: u32 = 32;
/// And no struct has so many members. Without this limit, 32 unions that each contain the next one twice would have 2^32.
const MAX_MEMBERS: u32 = 1 << 16;

/// The members of a struct as C lets one name them: those of anonymous members among the others, at their offset in the
/// outer struct.
pub fn flattened(model: &Model, item: &Item) -> Vec<Member> {
    let mut out = Vec::with_capacity(item.members.len());
    let mut left = MAX_MEMBERS;
    flatten(model, item, 0, &mut out, 0, &mut left);
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
    out
}

/// `left` is how many members may still be looked at; beyond that they are left out.
fn flatten(
    model: &Model,
    item: &Item,
    base: u64,
    out: &mut Vec<Member>,
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
                    flatten(model, model.item(*id), offset, out, depth + 1, left);
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

/// Adds the global symbols that debug information says nothing of, such as `_text` and `swapper_pg_dir`: what there is
/// to know of them is their address.
pub fn add_untyped(model: &mut Model, symbols: Vec<(String, u64)>) {
    let functions: HashSet<&str> = model
        .functions
        .iter()
        .map(|function| &*function.name)
        .collect();
    let typed: HashSet<Arc<str>> = model
        .variables
        .iter()
        .map(|variable| variable.name.clone())
        .collect();
    let untyped: Vec<Variable> = symbols
        .into_iter()
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
            per_cpu: false,
            external: true,
            place: Place::default(),
        })
        .collect();
    model.variables.extend(untyped);
    sort_variables(&mut model.variables);
}

/// By name; of one name, what other files can see comes first.
pub(crate) fn sort_variables(variables: &mut [Variable]) {
    variables.par_sort_by(|a, b| {
        (&a.name, !a.external, &a.place, a.address).cmp(&(
            &b.name,
            !b.external,
            &b.place,
            b.address,
        ))
    });
}

//! An order that depends on the input only: threads meet definitions in any order, and give them numbers as they come.

use std::sync::Arc;

use rayon::prelude::*;

use crate::model::{Item, Kind, Model, Place, Type};
use crate::passes::sort_variables;

/// Sorts items by the place of their declaration, and renumbers every reference.
pub fn order(model: &mut Model) {
    let mut sorted: Vec<u32> = (0..model.items.len() as u32).collect();
    sorted.par_sort_by_cached_key(|class| sort_key(&model.items[*class as usize]));
    let mut number = vec![0u32; sorted.len()];
    for (new, old) in sorted.iter().enumerate() {
        number[*old as usize] = new as u32;
    }
    let mut items: Vec<Option<Item>> = std::mem::take(&mut model.items)
        .into_iter()
        .map(Some)
        .collect();
    model.items = sorted
        .iter()
        .filter_map(|old| items[*old as usize].take())
        .collect();
    for item in &mut model.items {
        for member in &mut item.members {
            renumber(&mut member.ty, &number);
        }
    }
    for typedef in &mut model.typedefs {
        renumber(&mut typedef.target, &number);
    }
    for variable in &mut model.variables {
        renumber(&mut variable.ty, &number);
    }
    model
        .typedefs
        .par_sort_by(|a, b| (&a.name, &a.place).cmp(&(&b.name, &b.place)));
    sort_variables(&mut model.variables);
    // A variable defined in a header, or described twice, has one address.
    model
        .variables
        .dedup_by(|a, b| (&a.name, &a.module, a.address) == (&b.name, &b.module, b.address));
}

fn renumber(ty: &mut Type, number: &[u32]) {
    match ty {
        Type::Item(id) => id.0 = number[id.index()],
        Type::Pointer(inner)
        | Type::Qualified(_, inner)
        | Type::Typedef(_, inner)
        | Type::Array(inner, _) => renumber(inner, number),
        Type::Function(prototype) => {
            renumber(&mut prototype.result, number);
            for parameter in &mut prototype.parameters {
                renumber(parameter, number);
            }
        }
        Type::Void | Type::Base { .. } | Type::Opaque(..) => {}
    }
}

/// Tells any two items apart by what the source says of them, not by the order in which they were met.
pub type SortKey = (Place, Arc<str>, Kind, u64, String);

pub fn sort_key(item: &Item) -> SortKey {
    use std::fmt::Write as _;
    let mut shape = String::new();
    for member in &item.members {
        let _ = write!(shape, "{}@{}", member.name, member.offset);
        if let Some(bits) = member.bits {
            let _ = write!(shape, ":{}+{}", bits.offset, bits.size);
        }
        type_shape(&member.ty, &mut shape);
    }
    for enumerator in &item.enumerators {
        let _ = write!(shape, "{}={};", enumerator.name, enumerator.value);
    }
    (
        item.place.clone(),
        item.name.clone(),
        item.kind,
        item.size,
        shape,
    )
}

fn type_shape(ty: &Type, out: &mut String) {
    match ty {
        Type::Pointer(inner) => {
            out.push('*');
            type_shape(inner, out);
        }
        Type::Array(inner, count) => {
            out.push_str(&format!("[{}]", count.unwrap_or(0)));
            type_shape(inner, out);
        }
        Type::Qualified(_, inner) => type_shape(inner, out),
        Type::Typedef(name, _) | Type::Base { name, .. } | Type::Opaque(_, name) => {
            out.push_str(name)
        }
        Type::Void | Type::Function(_) | Type::Item(_) => {}
    }
}

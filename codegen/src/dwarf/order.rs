//! An order that depends on the input only: threads meet definitions in any order, and give them numbers as they come.

use std::cmp::Ordering;

use rayon::prelude::*;

use crate::model::{Item, Model, Type};
use crate::passes::sort_variables;

/// Sorts items by the place of their declaration, and renumbers every reference.
pub fn order(model: &mut Model) {
    let mut sorted: Vec<u32> = (0..model.items.len() as u32).collect();
    let item = |class: &u32| &model.items[*class as usize];
    sorted.par_sort_by(|a, b| compare(item(a), item(b)));
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
    model.items.par_iter_mut().for_each(|item| {
        for member in &mut item.members {
            renumber(&mut member.ty, &number);
        }
    });
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
pub fn compare(a: &Item, b: &Item) -> Ordering {
    fn key(item: &Item) -> impl Ord {
        (&item.place, &item.name, item.kind, item.size)
    }
    key(a).cmp(&key(b)).then_with(|| shape(a).cmp(&shape(b)))
}

fn shape(item: &Item) -> String {
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
    shape
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

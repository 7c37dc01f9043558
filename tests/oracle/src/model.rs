//! What kstruct makes of a kernel.

use kstruct_codegen::model::{self, Item, Model, Type};
use kstruct_codegen::passes::flattened;

use crate::{Bits, Error, Kind, Layout, Layouts, MAX_DEPTH, Member, Name};

/// The layouts of all structs and unions that have a tag or a typedef's name. Fails if a struct contains itself.
pub fn layouts(model: &Model) -> Result<Layouts, Error> {
    let mut layouts = Layouts::new();
    for item in &model.items {
        if !item.name.is_empty() {
            add(model, &mut layouts, item, &item.name, item.by_typedef)?;
        }
    }
    // A struct without a tag may have several typedefs, and an item is only named by the first.
    for typedef in &model.typedefs {
        if let Some(item) = untagged(model, &typedef.target) {
            add(model, &mut layouts, item, &typedef.name, true)?;
        }
    }
    Ok(layouts)
}

fn add(
    model: &Model,
    layouts: &mut Layouts,
    item: &Item,
    name: &str,
    by_typedef: bool,
) -> Result<(), Error> {
    let kind = match item.kind {
        model::Kind::Struct => Kind::Struct,
        model::Kind::Union => Kind::Union,
        model::Kind::Enum => return Ok(()),
    };
    let name = Name {
        kind,
        by_typedef,
        name: name.to_owned(),
    };
    let mut layout = Layout {
        size: item.size,
        members: Vec::new(),
    };
    members(model, item, "", 0, &mut layout.members, 0)
        .map_err(|TooDeep| Error::Circle(name.to_string()))?;
    layouts.entry(name).or_default().insert(layout);
    Ok(())
}

struct TooDeep;

fn members(
    model: &Model,
    item: &Item,
    prefix: &str,
    base: u64,
    out: &mut Vec<Member>,
    depth: u32,
) -> Result<(), TooDeep> {
    if depth > MAX_DEPTH {
        return Err(TooDeep);
    }
    for member in flattened(model, item) {
        let path = format!("{prefix}{}", member.name);
        let offset = base.saturating_add(member.offset);
        let (element, is_array) = element(&member.ty);
        if let Some(inner) = untagged(model, element) {
            let prefix = format!("{path}{}.", if is_array { "[]" } else { "" });
            members(model, inner, &prefix, offset, out, depth + 1)?;
        }
        out.push(Member {
            path,
            offset,
            size: model.size_of(&member.ty).unwrap_or(0),
            bits: member.bits.map(|bits| Bits {
                offset: base.saturating_mul(8).saturating_add(bits.offset),
                size: bits.size,
            }),
        });
    }
    Ok(())
}

/// What an array is made of, and whether it is one. How many dimensions it has BTF doesn't know: to pahole `a[3][5]` is `a[15]`.
fn element(mut ty: &Type) -> (&Type, bool) {
    let mut is_array = false;
    loop {
        match ty {
            Type::Array(inner, _) => {
                ty = inner;
                is_array = true;
            }
            Type::Qualified(_, inner) => ty = inner,
            _ => return (ty, is_array),
        }
    }
}

/// The struct or union that a type is, if it has no tag and is not meant by a typedef.
fn untagged<'m>(model: &'m Model, mut ty: &Type) -> Option<&'m Item> {
    while let Type::Qualified(_, inner) = ty {
        ty = inner;
    }
    let Type::Item(id) = ty else { return None };
    let item = model.item(*id);
    let is_untagged = item.name.is_empty() || item.by_typedef;
    (is_untagged && item.kind != model::Kind::Enum).then_some(item)
}

//! Enumerators by their own names, as C has them: plain numbers, whether their enum has a name in this kernel or not.

use std::collections::BTreeMap;

use proc_macro2::TokenStream;
use quote::quote;

use super::types::{Shape, shape};
use super::{Context, ident};
use crate::model::{ItemId, Type};
use crate::names;

/// The module of all enumerators. A name with different values in different files is left out: its enum has it.
pub fn module(context: &Context<'_>) -> TokenStream {
    // By Rust name: the value, and the enum if it is emitted. The first enum by place counts.
    let mut found: BTreeMap<String, Option<(i128, ItemId)>> = BTreeMap::new();
    for (index, item) in context.model.items.iter().enumerate() {
        let id = ItemId(index as u32);
        for enumerator in &item.enumerators {
            let name = names::constant(&enumerator.name);
            found
                .entry(name)
                .and_modify(|known| {
                    if known.is_some_and(|(value, _)| value != enumerator.value) {
                        *known = None;
                    }
                })
                .or_insert(Some((enumerator.value, id)));
        }
    }
    let constants: Vec<TokenStream> = found
        .iter()
        .filter_map(|(name, found)| {
            let (value, id) = (*found)?;
            if !context.has_name(name) {
                return None;
            }
            let ty = Type::Item(id);
            let Shape::Enum(_, number) = shape(context.model, &ty) else {
                return None;
            };
            let enumerator = crate::model::Enumerator {
                name: "".into(),
                value,
            };
            let value = super::item::value(&enumerator, number);
            let name = ident(name);
            let number = ident(number);
            Some(quote! { pub const #name: #number = #value; })
        })
        .collect();
    quote! {
        #![allow(missing_docs, reason = "an enumerator has nothing but its name")]
        #(#constants)*
    }
}

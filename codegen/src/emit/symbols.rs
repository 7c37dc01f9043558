//! Variables as typed constants, and functions as a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use proc_macro2::{Literal, TokenStream};
use quote::quote;

use super::types::{Used, Writer, runtime_imports, runtime_names};
use super::{Context, ident};
use crate::ctext;
use crate::index;
use crate::model::Model;
use crate::names;

/// Names that macros of the kernel and compilers make up.
const NOISE: &[&str] = &[
    "__UNIQUE_ID_",
    "__addressable_",
    "___addressable_",
    "__ksymtab_",
    "__kstrtab_",
    "__func__",
    "__PRETTY_FUNCTION__",
    "__compound_literal",
    // What modpost adds to each module.
    "__this_module",
    "____versions",
];

/// Whether a variable is one that no program names.
pub fn is_noise(name: &str) -> bool {
    name.contains('.') || NOISE.iter().any(|prefix| name.starts_with(prefix))
}

/// The variables by the first letter of their name: one module for all would take one thread too long.
pub fn groups(context: &Context<'_>) -> BTreeMap<String, Vec<usize>> {
    let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, variable) in context.model.variables.iter().enumerate() {
        if is_noise(&variable.name) || !context.has_name(&context.names.variables[index]) {
            continue;
        }
        let letter = context.names.variables[index]
            .chars()
            .next()
            .filter(char::is_ascii_alphabetic)
            .map_or('_', |letter| letter.to_ascii_lowercase());
        groups
            .entry(format!("letter_{letter}"))
            .or_default()
            .push(index);
    }
    groups
}

/// The module that holds the groups.
pub fn root(groups: &BTreeMap<String, Vec<usize>>) -> TokenStream {
    let modules = groups.keys().map(|name| ident(name));
    let again = groups.keys().map(|name| ident(name));
    quote! {
        #(mod #modules;)*
        #(pub use #again::*;)*
    }
}

/// Some variables of a group, and what they use.
pub fn constants(context: &Context<'_>, group: &[usize]) -> (TokenStream, Used) {
    let mut writer = Writer::qualified(context);
    let constants: Vec<TokenStream> = group
        .iter()
        .map(|index| {
            let variable = &context.model.variables[*index];
            let mut doc = format!(
                " `{}`.{}",
                ctext::declaration(context.model, &variable.ty, &variable.name),
                super::item::place(&variable.place)
            );
            if let Some(place) = &variable.module {
                doc.push_str(&format!(", module {}", place.module));
            }
            let name = ident(&context.names.variables[*index]);
            let target = writer.target(&variable.ty);
            let address = hex(variable.address);
            if let Some(place) = &variable.module {
                let module = ident(&names::constant(&place.module));
                let section = &*place.section;
                let kind = ident(if variable.per_cpu {
                    "ModulePerCpu"
                } else {
                    "ModuleSym"
                });
                quote! {
                    #[doc = #doc]
                    pub const #name: #kind<#target> =
                        #kind::new(&super::super::modules::#module, #section, #address);
                }
            } else if variable.per_cpu {
                quote! {
                    #[doc = #doc]
                    pub const #name: PerCpu<#target> = PerCpu::new(#address);
                }
            } else {
                quote! {
                    #[doc = #doc]
                    pub const #name: Sym<#target> = Sym::new(#address);
                }
            }
        })
        .collect();
    (quote! { #(#constants)* }, writer.used)
}

/// The modules that variables are in: each is looked up in a dump's list of modules by its name.
pub fn modules(context: &Context<'_>) -> TokenStream {
    let modules: Vec<TokenStream> = context
        .model
        .modules
        .iter()
        .map(|module| {
            let name = ident(&names::constant(&module.name));
            let (real, build_id) = (&module.name, index::hexadecimal(&module.build_id));
            let doc = format!(" Module {real}.");
            quote! {
                #[doc = #doc]
                pub static #name: Module = Module {
                    name: #real,
                    build_id: #build_id,
                };
            }
        })
        .collect();
    let modules = quote! { #(#modules)* };
    let runtime = runtime_imports(&runtime_names(&modules));
    quote! {
        #runtime
        #modules
    }
}

/// An address as a literal.
pub fn hex(address: u64) -> Literal {
    format!("{address:#x}")
        .parse()
        .unwrap_or_else(|_| Literal::u64_unsuffixed(address))
}

/// Functions as lines of address and name, sorted by address: what `kstruct::Functions` reads.
pub fn functions(model: &Model) -> String {
    let mut out = String::new();
    for function in &model.functions {
        let _ = writeln!(out, "{:016x} {}", function.address, function.name);
    }
    out
}

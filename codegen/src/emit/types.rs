//! C types as Rust types.
//!
//! A type has two forms. Its *value* is what an accessor returns: `u64`, `Ptr<'m, sock<'m>>`. Its *target* is how it
//! lies in memory, as an argument of `Ptr<_>`, `Array<_>` and `Sym<_>`: on a 32-bit kernel the target of
//! `unsigned long` is `ULong32`, and its value is a `u64`, so that one source serves kernels of both widths.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Literal, TokenStream};
use quote::quote;

use super::{Context, ident};
use crate::ctext;
use crate::model::{Encoding, ItemId, Kind, Model, Type};

/// How a type reads, with typedefs and qualifiers looked through.
#[derive(Clone, Copy)]
pub enum Shape<'a> {
    /// Nothing to read: void, functions, types that are only declared.
    Void,
    Function,
    Opaque(&'a str),
    /// `bool`, `u8`, ..., `f64`.
    Number(&'static str),
    /// A 32-bit `long`: whether it is signed.
    Long32(bool),
    /// `char`
    Char,
    Pointer(&'a Type),
    /// An array; without a count it is a tail.
    Array(&'a Type, Option<u64>),
    Aggregate(ItemId),
    /// An enum and the number that it is stored in.
    Enum(ItemId, &'static str),
    /// Bytes of which no more is known.
    Bytes(u64),
}

/// Typedefs that are `unsigned long` on 64-bit kernels and `unsigned int` on 32-bit ones.
const SIZES: &[&str] = &[
    "size_t",
    "__kernel_size_t",
    "ssize_t",
    "__kernel_ssize_t",
    "ptrdiff_t",
    "__kernel_ptrdiff_t",
];

/// Looks through a type.
pub fn shape<'a>(model: &'a Model, ty: &'a Type) -> Shape<'a> {
    let mut ty = ty;
    let mut is_size = false;
    loop {
        match ty {
            Type::Typedef(name, inner) => {
                is_size |= SIZES.contains(&&**name);
                ty = inner;
            }
            Type::Qualified(_, inner) => ty = inner,
            _ => break,
        }
    }
    match ty {
        Type::Void => Shape::Void,
        Type::Function(_) => Shape::Function,
        Type::Opaque(_, name) => Shape::Opaque(name),
        Type::Pointer(target) => Shape::Pointer(target),
        Type::Array(element, count) => Shape::Array(element, *count),
        Type::Base {
            name,
            size,
            encoding,
        } => {
            let is_long = is_size || name.split(' ').filter(|word| *word == "long").count() == 1;
            match (*encoding, *size) {
                (Encoding::Char, 1) => Shape::Char,
                (Encoding::Signed, 4) if is_long => Shape::Long32(true),
                (Encoding::Unsigned, 4) if is_long => Shape::Long32(false),
                (Encoding::Float, 4) => Shape::Number("f32"),
                (Encoding::Float, 8) => Shape::Number("f64"),
                (Encoding::Bool, 1) => Shape::Number("bool"),
                (encoding, size) => match integer(size.into(), encoding == Encoding::Signed) {
                    Some(name) if !matches!(encoding, Encoding::Float | Encoding::Other) => {
                        Shape::Number(name)
                    }
                    _ => Shape::Bytes(size.into()),
                },
            }
        }
        Type::Item(id) => {
            let item = model.item(*id);
            if item.kind != Kind::Enum {
                return Shape::Aggregate(*id);
            }
            let signed = item
                .enumerators
                .iter()
                .any(|enumerator| enumerator.value < 0);
            match integer(item.size, signed) {
                Some(name) => Shape::Enum(*id, name),
                None => Shape::Bytes(item.size),
            }
        }
        Type::Qualified(..) | Type::Typedef(..) => unreachable!("looked through above"),
    }
}

fn integer(size: u64, signed: bool) -> Option<&'static str> {
    Some(match (size, signed) {
        (1, false) => "u8",
        (1, true) => "i8",
        (2, false) => "u16",
        (2, true) => "i16",
        (4, false) => "u32",
        (4, true) => "i32",
        (8, false) => "u64",
        (8, true) => "i64",
        (16, false) => "u128",
        (16, true) => "i128",
        _ => return None,
    })
}

/// The types that some text names.
#[derive(Default)]
pub struct Used {
    items: BTreeSet<ItemId>,
    /// By their Rust names.
    opaque: BTreeSet<String>,
}

impl Used {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty() && self.opaque.is_empty()
    }

    /// Adds others.
    pub fn extend(&mut self, other: Used) {
        self.items.extend(other.items);
        self.opaque.extend(other.opaque);
    }

    /// `use` items for them, but for what `module` itself declares.
    pub fn imports(&self, context: &Context<'_>, module: &str) -> TokenStream {
        let mut by_module: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for id in &self.items {
            let from = context.modules[id.index()].as_str();
            if from != module {
                let name = context.names.items[id.index()].as_str();
                by_module.entry(from).or_default().insert(name);
            }
        }
        for name in &self.opaque {
            by_module.entry("opaque_types").or_default().insert(name);
        }
        let uses = by_module.iter().map(|(from, names)| {
            let from = ident(from);
            let names = names.iter().map(|name| ident(name));
            quote! { use super::#from::{#(#names),*}; }
        });
        quote! { #(#uses)* }
    }
}

/// Writes types, and notes which ones they name.
pub struct Writer<'c> {
    context: &'c Context<'c>,
    /// `'m` or `'static`.
    lifetime: TokenStream,
    /// Whether items are named by their path from the root, `t`, and not imported.
    qualified: bool,
    /// What was named.
    pub used: Used,
}

impl<'c> Writer<'c> {
    pub fn new(context: &'c Context<'c>, lifetime: TokenStream) -> Self {
        Writer {
            context,
            lifetime,
            qualified: false,
            used: Used::default(),
        }
    }

    /// A writer for modules of constants, which may have the names of types: these are named as `t::name`.
    pub fn qualified(context: &'c Context<'c>) -> Self {
        Writer {
            qualified: true,
            ..Self::new(context, quote! { 'static })
        }
    }

    /// The Rust name of an item that is among the bindings.
    pub fn item(&mut self, id: ItemId) -> Option<TokenStream> {
        if !self.context.is_emitted(id) {
            return None;
        }
        self.used.items.insert(id);
        Some(self.path(&self.context.names.items[id.index()]))
    }

    fn path(&self, name: &str) -> TokenStream {
        let rust = ident(name);
        if self.qualified {
            return quote! { t::#rust };
        }
        quote! { #rust }
    }

    fn opaque(&mut self, name: &str) -> TokenStream {
        match self.context.names.opaque.get(name) {
            Some(rust) if self.context.has_name(rust) => {
                self.used.opaque.insert(rust.clone());
                let rust = self.path(rust);
                let lifetime = &self.lifetime;
                quote! { #rust<#lifetime> }
            }
            _ => quote! { Void },
        }
    }

    fn ordered(&self, target: TokenStream) -> TokenStream {
        if self.context.model.kernel.big_endian {
            quote! { Be<#target> }
        } else {
            target
        }
    }

    /// A type's target form.
    pub fn target(&mut self, ty: &Type) -> TokenStream {
        let model = self.context.model;
        let lifetime = self.lifetime.clone();
        match shape(model, ty) {
            Shape::Void => quote! { Void },
            Shape::Function => quote! { Function },
            Shape::Opaque(name) => self.opaque(name),
            Shape::Char => quote! { Char },
            Shape::Number(name @ ("bool" | "u8" | "i8")) => {
                let name = ident(name);
                quote! { #name }
            }
            Shape::Number(name) => {
                let name = ident(name);
                self.ordered(quote! { #name })
            }
            Shape::Long32(true) => self.ordered(quote! { Long32 }),
            Shape::Long32(false) => self.ordered(quote! { ULong32 }),
            Shape::Pointer(target) => {
                let target = self.target(target);
                let pointer = if model.kernel.pointer_size == 4 {
                    quote! { Ptr32<#lifetime, #target> }
                } else {
                    quote! { Ptr<#lifetime, #target> }
                };
                self.ordered(pointer)
            }
            Shape::Array(element, count) => {
                let count = count.unwrap_or(0);
                let length = Literal::u64_unsuffixed(count);
                if matches!(shape(model, element), Shape::Char) {
                    quote! { Chars<#length> }
                } else {
                    let element = self.target(element);
                    if is_readable(model, ty) {
                        quote! { [#element; #length] }
                    } else {
                        element
                    }
                }
            }
            Shape::Aggregate(id) => match self.item(id) {
                Some(name) => quote! { #name<#lifetime> },
                None => quote! { Void },
            },
            Shape::Enum(id, number) => match self.item(id) {
                Some(name) => quote! { #name },
                None => {
                    let number = ident(number);
                    self.ordered(quote! { #number })
                }
            },
            Shape::Bytes(size) => {
                let size = Literal::u64_unsuffixed(size);
                quote! { [u8; #size] }
            }
        }
    }

    /// A type's value form; `None` if there is nothing to read.
    pub fn value(&mut self, ty: &Type) -> Option<TokenStream> {
        let lifetime = self.lifetime.clone();
        Some(match shape(self.context.model, ty) {
            Shape::Void | Shape::Function | Shape::Opaque(_) => return None,
            Shape::Char => quote! { u8 },
            Shape::Number(name) => {
                let name = ident(name);
                quote! { #name }
            }
            Shape::Long32(true) => quote! { i64 },
            Shape::Long32(false) => quote! { u64 },
            Shape::Pointer(target) => self.pointer(target),
            Shape::Array(element, None) => self.pointer(element),
            Shape::Array(element, Some(_)) => {
                if matches!(shape(self.context.model, element), Shape::Char) {
                    quote! { CharArray<#lifetime> }
                } else {
                    let element = self.target(element);
                    quote! { Array<#lifetime, #element> }
                }
            }
            Shape::Aggregate(id) => {
                let name = self.item(id)?;
                quote! { #name<#lifetime> }
            }
            Shape::Enum(id, number) => match self.item(id) {
                Some(name) => name,
                None => {
                    let number = ident(number);
                    quote! { #number }
                }
            },
            Shape::Bytes(_) => quote! { Array<#lifetime, u8> },
        })
    }

    /// `Ptr<'m, T>`, or its alias for strings and functions.
    fn pointer(&mut self, target: &Type) -> TokenStream {
        let lifetime = self.lifetime.clone();
        match shape(self.context.model, target) {
            Shape::Char => quote! { CharPtr<#lifetime> },
            Shape::Function => quote! { FnPtr<#lifetime> },
            _ => {
                let target = self.target(target);
                quote! { Ptr<#lifetime, #target> }
            }
        }
    }
}

/// Whether a value of the type can be read: it has a size, and is made of what has one.
pub fn is_readable(model: &Model, ty: &Type) -> bool {
    match shape(model, ty) {
        Shape::Void | Shape::Function | Shape::Opaque(_) => false,
        Shape::Array(element, _) => is_readable(model, element),
        _ => true,
    }
}

/// The module of aliases.
pub fn typedefs(context: &Context<'_>) -> TokenStream {
    let mut writer = Writer::new(context, quote! { 'm });
    let mut aliases = Vec::new();
    for (typedef, name) in context.model.typedefs.iter().zip(&context.names.typedefs) {
        let Some(name) = name.as_ref().filter(|name| context.has_name(name)) else {
            continue;
        };
        let Some(value) = writer.value(&typedef.target) else {
            continue;
        };
        let doc = format!(
            " `typedef {}`.{}",
            ctext::declaration(context.model, &typedef.target, &typedef.name),
            super::item::place(&typedef.place)
        );
        let name = ident(name);
        let lifetime = uses_lifetime(&value).then(|| quote! { <'m> });
        aliases.push(quote! {
            #[doc = #doc]
            pub type #name #lifetime = #value;
        });
    }
    let imports = writer.used.imports(context, "typedefs");
    let aliases = quote! { #(#aliases)* };
    let runtime = runtime_imports(&runtime_names(&aliases));
    quote! {
        #runtime
        #imports
        #aliases
    }
}

fn uses_lifetime(tokens: &TokenStream) -> bool {
    tokens.clone().into_iter().any(|token| match token {
        proc_macro2::TokenTree::Group(group) => uses_lifetime(&group.stream()),
        proc_macro2::TokenTree::Punct(punct) => punct.as_char() == '\'',
        _ => false,
    })
}

/// Names of the runtime that generated code may use, and where they are.
const RUNTIME: &[(&str, &[&str])] = &[
    (
        "kstruct",
        &[
            "Memory",
            "Module",
            "ModulePerCpu",
            "ModuleSym",
            "PerCpu",
            "Sym",
        ],
    ),
    ("kstruct::table", &["EnumInfo", "StructInfo"]),
    (
        "kstruct::view",
        &[
            "Array",
            "Be",
            "Char",
            "CharArray",
            "CharPtr",
            "Chars",
            "FnPtr",
            "Function",
            "Long32",
            "Part",
            "Ptr",
            "Ptr32",
            "Raw",
            "Target",
            "ULong32",
            "View",
            "Void",
        ],
    ),
];

/// The names of the runtime that some tokens use.
pub fn runtime_names(tokens: &TokenStream) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    collect_idents(tokens, &mut found);
    found
}

/// `use` items for names of the runtime.
pub fn runtime_imports(found: &BTreeSet<&'static str>) -> TokenStream {
    let uses = RUNTIME.iter().filter_map(|(module, names)| {
        let names: Vec<_> = names
            .iter()
            .filter(|name| found.contains(**name))
            .map(|name| ident(name))
            .collect();
        let module: Vec<_> = module.split("::").map(ident).collect();
        (!names.is_empty()).then(|| quote! { use ::#(#module)::*::{#(#names),*}; })
    });
    quote! { #(#uses)* }
}

fn collect_idents(tokens: &TokenStream, found: &mut BTreeSet<&'static str>) {
    for token in tokens.clone() {
        match token {
            proc_macro2::TokenTree::Group(group) => collect_idents(&group.stream(), found),
            proc_macro2::TokenTree::Ident(ident) => {
                let mut names = RUNTIME.iter().flat_map(|(_, names)| *names);
                found.extend(names.find(|name| ident == **name));
            }
            _ => {}
        }
    }
}

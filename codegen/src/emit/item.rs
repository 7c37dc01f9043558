//! Structs, unions and enums.

use std::fmt::Write as _;

use proc_macro2::{Literal, TokenStream};
use quote::quote;

use super::types::{Shape, Used, Writer, is_readable, shape};
use super::{Context, ident};
use crate::ctext;
use crate::model::{Enumerator, Item, ItemId, Kind, Member, Place, Type};
use crate::names;
use crate::passes::flattened;

/// Some items of a module, and what they use.
pub fn items(context: &Context<'_>, items: &[ItemId]) -> (TokenStream, Used) {
    let mut writer = Writer::new(context, quote! { 'm });
    let items: Vec<TokenStream> = items
        .iter()
        .map(|id| {
            let item = context.model.item(*id);
            let name = &context.names.items[id.index()];
            if item.kind == Kind::Enum {
                enumeration(context, *id, item, name)
            } else {
                aggregate(context, &mut writer, item, name)
            }
        })
        .collect();
    (quote! { #(#items)* }, writer.used)
}

/// ` include/linux/sched.h:785`, or nothing.
pub fn place(place: &Place) -> String {
    if place.file.is_empty() {
        return String::new();
    }
    let file = ctext::one_line(&place.file);
    format!(" {file}:{}", place.line)
}

fn documentation(item: &Item) -> String {
    let plural = if item.size == 1 { "" } else { "s" };
    let name = ctext::one_line(&item.c_name());
    format!(
        " `{name}`: {} byte{plural}.{}",
        item.size,
        place(&item.place)
    )
}

fn alias(c_name: &str, rust: &str) -> Option<TokenStream> {
    let clean = c_name.len() < 200
        && c_name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_');
    (c_name != rust && clean && !c_name.is_empty()).then(|| quote! { #[doc(alias = #c_name)] })
}

fn aggregate(
    context: &Context<'_>,
    writer: &mut Writer<'_>,
    item: &Item,
    name: &str,
) -> TokenStream {
    let model = context.model;
    let doc = documentation(item);
    let doc_alias = alias(&item.name, name);
    let name = ident(name);
    let size = Literal::u64_unsuffixed(item.size);
    let c_name = ctext::one_line(&item.c_name());

    let members = flattened(model, item);
    let rust_names = names::members(members.iter().map(|member| &*member.name));
    let mut accessors = Vec::new();
    let mut table = Table::default();
    for (member, rust) in members.iter().zip(&rust_names) {
        table.add(context, member);
        if !context.has_accessor(rust) {
            continue;
        }
        let Some((returns, body)) = accessor(context, writer, member) else {
            continue;
        };
        let doc = match member.bits {
            None => format!(
                " `{}` at {}{}",
                ctext::member(model, member),
                member.offset,
                match model.size_of(&member.ty) {
                    Some(1) => ", 1 byte".to_owned(),
                    Some(size) => format!(", {size} bytes"),
                    None => String::new(),
                }
            ),
            Some(bits) => format!(
                " `{}` at {}, bit {}",
                ctext::member(model, member),
                bits.offset / 8,
                bits.offset % 8
            ),
        };
        let doc_alias = alias(&member.name, rust);
        let rust = ident(rust);
        accessors.push(quote! {
            #[doc = #doc]
            #doc_alias
            #[inline]
            pub fn #rust(self) -> #returns {
                #body
            }
        });
    }
    let accessors = (!accessors.is_empty()).then(|| {
        quote! {
            impl<'m> #name<'m> {
                #(#accessors)*
            }
        }
    });
    let rows = &table.rows;
    let structs: Vec<TokenStream> = table
        .structs
        .iter()
        .filter_map(|id| writer.item(*id))
        .collect();
    let enums: Vec<TokenStream> = table
        .enums
        .iter()
        .filter_map(|id| writer.item(*id))
        .collect();
    quote! {
        #[doc = #doc]
        #doc_alias
        #[repr(transparent)]
        pub struct #name<'m>(Raw<'m, #size>);

        // Not derived: that would be a tenth of what checking all this takes.
        impl ::core::marker::Copy for #name<'_> {}
        impl ::core::clone::Clone for #name<'_> {
            #[inline]
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<'m> View<'m> for #name<'m> {
            const INFO: &'static StructInfo = &StructInfo {
                name: #c_name,
                size: #size,
                members: #rows,
                structs: &[#(<#structs<'static> as View<'static>>::INFO),*],
                enums: &[#(#enums::INFO),*],
            };
            #[inline]
            fn new(part: Part<'m>) -> Self {
                Self(Raw::new(part))
            }
            #[inline]
            fn part(self) -> Part<'m> {
                self.0.part()
            }
        }

        impl ::core::fmt::Debug for #name<'_> {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                ::kstruct::table::debug(*self, f)
            }
        }

        #accessors
    }
}

/// What an accessor returns and does; `None` if there is nothing to read.
fn accessor(
    context: &Context<'_>,
    writer: &mut Writer<'_>,
    member: &Member,
) -> Option<(TokenStream, TokenStream)> {
    let model = context.model;
    let big = model.kernel.big_endian;
    let ordered = |name: &str| {
        if big && !matches!(name, "u8" | "i8" | "bool") {
            ident(&format!("{name}_be"))
        } else {
            ident(name)
        }
    };
    let returns = writer.value(&member.ty)?;
    if let Some(bits) = member.bits {
        if bits.size > 64 || bits.size == 0 {
            return None;
        }
        let (offset, size) = (
            Literal::u64_unsuffixed(bits.offset),
            Literal::u64_unsuffixed(bits.size),
        );
        let unsigned = ordered("bits");
        let signed = ordered("signed_bits");
        let body = match shape(model, &member.ty) {
            Shape::Number("bool") => quote! { self.0.#unsigned(#offset, #size) != 0 },
            Shape::Number("u64") | Shape::Long32(false) => {
                quote! { self.0.#unsigned(#offset, #size) }
            }
            Shape::Number("i64") | Shape::Long32(true) => {
                quote! { self.0.#signed(#offset, #size) }
            }
            Shape::Number(name) if name.starts_with('i') => {
                let name = ident(name);
                quote! { self.0.#signed(#offset, #size) as #name }
            }
            Shape::Number(name) if name.starts_with('u') => {
                let name = ident(name);
                quote! { self.0.#unsigned(#offset, #size) as #name }
            }
            Shape::Char => quote! { self.0.#unsigned(#offset, #size) as u8 },
            Shape::Enum(id, number) => {
                let load = if number.starts_with('i') {
                    signed
                } else {
                    unsigned
                };
                let number = ident(number);
                match writer.item(id) {
                    Some(name) => quote! { #name(self.0.#load(#offset, #size) as #number) },
                    None => quote! { self.0.#load(#offset, #size) as #number },
                }
            }
            _ => return None,
        };
        return Some((returns, body));
    }
    let offset = Literal::u64_unsuffixed(member.offset);
    let body = match shape(model, &member.ty) {
        Shape::Void | Shape::Function | Shape::Opaque(_) => return None,
        Shape::Number(name) => {
            let load = ordered(name);
            quote! { self.0.#load(#offset) }
        }
        Shape::Char => quote! { self.0.u8(#offset) },
        Shape::Long32(signed) => {
            let load = ordered(if signed { "long32" } else { "ulong32" });
            quote! { self.0.#load(#offset) }
        }
        Shape::Pointer(_) if big => {
            let target = writer.target(&member.ty);
            quote! { self.0.value::<#target>(#offset) }
        }
        Shape::Pointer(_) if model.kernel.pointer_size == 4 => {
            quote! { self.0.ptr32(#offset) }
        }
        Shape::Pointer(_) => quote! { self.0.ptr(#offset) },
        Shape::Array(_, None) => quote! { self.0.tail(#offset) },
        Shape::Array(element, Some(count)) => {
            if !is_readable(model, element) {
                return None;
            }
            let count = Literal::u64_unsuffixed(count);
            if matches!(shape(model, element), Shape::Char) {
                quote! { self.0.chars(#offset, #count) }
            } else {
                quote! { self.0.array(#offset, #count) }
            }
        }
        Shape::Aggregate(_) => quote! { self.0.sub(#offset) },
        Shape::Enum(id, number) => {
            let load = ordered(number);
            match writer.item(id) {
                Some(name) => quote! { #name(self.0.#load(#offset)) },
                None => quote! { self.0.#load(#offset) },
            }
        }
        Shape::Bytes(size) => {
            let size = Literal::u64_unsuffixed(size);
            quote! { self.0.array(#offset, #size) }
        }
    };
    Some((returns, body))
}

/// The static table of a struct: its rows as text, and what they refer to. [`kstruct::table`] says what the text means.
#[derive(Default)]
struct Table {
    rows: String,
    structs: Vec<ItemId>,
    enums: Vec<ItemId>,
}

impl Table {
    fn add(&mut self, context: &Context<'_>, member: &Member) {
        let model = context.model;
        let size = match member.bits {
            Some(bits) => (bits.offset % 8).saturating_add(bits.size).div_ceil(8),
            None => model.size_of(&member.ty).unwrap_or(0),
        };
        let format = match member.bits {
            Some(bits) => {
                let signed = match shape(model, &member.ty) {
                    Shape::Number(name) => name.starts_with('i'),
                    Shape::Long32(signed) => signed,
                    _ => false,
                };
                let kind = if signed { 'I' } else { 'U' };
                format!("{kind}{}:{}", bits.offset, bits.size)
            }
            None => self.format(context, &member.ty),
        };
        let ty = ctext::type_name(model, &member.ty);
        let _ = write!(
            self.rows,
            "{} {} {size} {format} {};",
            field(&member.name, ' '),
            member.offset,
            field(&ty, ';'),
        );
    }

    fn format(&mut self, context: &Context<'_>, ty: &Type) -> String {
        let model = context.model;
        match shape(model, ty) {
            Shape::Number("bool") => "b".into(),
            Shape::Number("f32" | "f64") => "f".into(),
            Shape::Number("u128" | "i128") => "x".into(),
            Shape::Number(name) if name.starts_with('i') => "i".into(),
            Shape::Number(_) | Shape::Char | Shape::Long32(false) => "u".into(),
            Shape::Long32(true) => "i".into(),
            Shape::Pointer(_) => "p".into(),
            Shape::Array(element, Some(_)) => {
                if matches!(shape(model, element), Shape::Char) {
                    return "t".into();
                }
                let stride = model.size_of(element).unwrap_or(0);
                format!("a{stride}:{}", self.format(context, element))
            }
            Shape::Aggregate(id) if context.is_emitted(id) => {
                format!("s{}", number_of(&mut self.structs, id))
            }
            Shape::Enum(id, _) if context.is_emitted(id) => {
                format!("e{}", number_of(&mut self.enums, id))
            }
            Shape::Enum(..) => "u".into(),
            Shape::Aggregate(_)
            | Shape::Void
            | Shape::Function
            | Shape::Opaque(_)
            | Shape::Bytes(_)
            | Shape::Array(_, None) => "x".into(),
        }
    }
}

/// The number of an item in a list, to which it is added if it is new.
fn number_of(list: &mut Vec<ItemId>, id: ItemId) -> usize {
    list.iter()
        .position(|known| *known == id)
        .unwrap_or_else(|| {
            list.push(id);
            list.len() - 1
        })
}

/// A text as a field of a table's row, in which nothing ends the field.
fn field(text: &str, separator: char) -> String {
    text.chars()
        .take(300)
        .map(|c| match c {
            ';' | '=' => '_',
            c if c == separator => '_',
            c => ctext::printable(c),
        })
        .collect()
}

fn enumeration(context: &Context<'_>, id: ItemId, item: &Item, name: &str) -> TokenStream {
    let ty = Type::Item(id);
    let Shape::Enum(_, number) = shape(context.model, &ty) else {
        return TokenStream::new();
    };
    let doc = documentation(item);
    let doc_alias = alias(&item.name, name);
    let c_name = ctext::one_line(&item.c_name());
    let name = ident(name);
    let target = if context.model.kernel.big_endian && item.size > 1 {
        let number = ident(number);
        quote! { Be::<#number> }
    } else {
        let number = ident(number);
        quote! { #number }
    };
    let rust_names =
        names::enumerators(item.enumerators.iter().map(|enumerator| &*enumerator.name));
    let constants = item
        .enumerators
        .iter()
        .zip(&rust_names)
        .map(|(enumerator, rust)| {
            let rust = ident(rust);
            let value = value(enumerator, number);
            quote! { pub const #rust: Self = Self(#value); }
        });
    let mut values = String::new();
    for enumerator in &item.enumerators {
        let _ = write!(
            values,
            "{}={};",
            field(&enumerator.name, ' '),
            enumerator.value
        );
    }
    let number = ident(number);
    quote! {
        #[doc = #doc]
        #doc_alias
        #[repr(transparent)]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct #name(pub #number);

        #[allow(missing_docs, reason = "an enumerator has nothing but its name")]
        impl #name {
            #(#constants)*
        }

        impl #name {
            /// Its name in C, and its constants.
            pub const INFO: &'static EnumInfo = &EnumInfo { name: #c_name, values: #values };

            /// The enumerator with this value; `None` for a value that the enum doesn't have.
            pub fn name(self) -> Option<&'static str> {
                Self::INFO.name_of(self.0 as i128)
            }
        }

        impl<'m> Target<'m> for #name {
            type Value = Self;
            const SIZE: usize = ::core::mem::size_of::<#number>();
            #[inline]
            fn decode(memory: &'m Memory, address: u64, bytes: &'m [u8]) -> Self {
                Self(<#target as Target<'m>>::decode(memory, address, bytes))
            }
        }

        impl ::core::fmt::Debug for #name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => ::core::fmt::Debug::fmt(&self.0, f),
                }
            }
        }
    }
}

/// An enumerator's value as a literal of its enum's number.
pub fn value(enumerator: &Enumerator, number: &str) -> TokenStream {
    if number == "u64" {
        let value = Literal::u64_unsuffixed(enumerator.value as u64);
        quote! { #value }
    } else {
        signed_literal(enumerator.value as i64)
    }
}

fn signed_literal(value: i64) -> TokenStream {
    if value == i64::MIN {
        return quote! { i64::MIN };
    }
    let magnitude = Literal::i64_unsuffixed(value.abs());
    if value < 0 {
        quote! { -#magnitude }
    } else {
        quote! { #magnitude }
    }
}

/// The module of types that are only declared.
pub fn opaque(context: &Context<'_>) -> TokenStream {
    let wanted = || {
        context
            .names
            .opaque
            .iter()
            .filter(|(_, rust)| context.has_name(rust))
    };
    let types = wanted().map(|(c_name, rust)| {
        let doc_alias = alias(c_name, rust);
        let name = ident(rust);
        quote! {
            /// Declared, but not defined in this kernel's debug information: there is nothing to read.
            #doc_alias
            pub struct #name<'m>(PhantomData<&'m ()>);
        }
    });
    let import = wanted()
        .next()
        .is_some()
        .then(|| quote! { use ::core::marker::PhantomData; });
    quote! {
        #import
        #(#types)*
    }
}

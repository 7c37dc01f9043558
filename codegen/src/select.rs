//! A part of a kernel's bindings: what some sources can name, or what some types lead to.
//!
//! An analyzer names a few hundred of a kernel's 100,000 members. To compile only what it can name takes a second, to
//! compile everything takes half a minute.

use std::collections::{BTreeSet, HashSet};

use proc_macro2::{LexError, TokenStream, TokenTree};

use crate::model::{ItemId, Model, Type};
use crate::names::{self, Names};
use crate::passes::flattened;

/// What of a kernel is to be written.
pub struct Selection {
    items: Vec<bool>,
    /// The names of accessors, constants, variables, aliases and opaque types; `None` for all.
    names: Option<HashSet<String>>,
}

impl Selection {
    /// Whether a struct, union or enum is wanted.
    pub fn has_item(&self, id: ItemId) -> bool {
        self.items[id.index()]
    }

    /// Whether accessors of this Rust name are wanted.
    pub fn has_accessor(&self, name: &str) -> bool {
        self.has_name(name)
    }

    /// Whether a constant, a variable, an alias or an opaque type of this Rust name is wanted.
    pub fn has_name(&self, name: &str) -> bool {
        self.names.as_ref().is_none_or(|names| names.contains(name))
    }

    /// Whether it is what some sources use, and not what some types lead to.
    pub fn is_by_use(&self) -> bool {
        self.names.is_some()
    }

    /// The number of structs, unions and enums.
    pub fn count(&self) -> usize {
        self.items.iter().filter(|wanted| **wanted).count()
    }
}

/// What sources with these identifiers can name: the types of that name, the members of that name in them, and the types
/// of these, and so on. Embedded structs are there for `Debug`, which shows them.
pub fn used_by(model: &Model, names: &Names, identifiers: &BTreeSet<String>) -> Selection {
    let mut closure = Closure::new(model, names);
    for (index, name) in names.items.iter().enumerate() {
        if !name.is_empty() && identifiers.contains(name) {
            closure.add(ItemId(index as u32));
        }
    }
    for (variable, name) in model.variables.iter().zip(&names.variables) {
        if identifiers.contains(name) {
            closure.add_type(&variable.ty, true);
        }
    }
    for (typedef, name) in model.typedefs.iter().zip(&names.typedefs) {
        if name.as_ref().is_some_and(|name| identifiers.contains(name)) {
            closure.add_type(&typedef.target, true);
        }
    }
    closure.follow(|name| identifiers.contains(name));
    Selection {
        items: closure.wanted,
        names: Some(identifiers.iter().cloned().collect()),
    }
}

/// The types of these C or Rust names, and all that they embed or point to. The error names those that there are none of.
pub fn closure_of(
    model: &Model,
    names: &Names,
    wanted: &[String],
) -> Result<Selection, Vec<String>> {
    let mut closure = Closure::new(model, names);
    let mut unknown = Vec::new();
    for name in wanted {
        let tag = name
            .strip_prefix("struct ")
            .or_else(|| name.strip_prefix("union "))
            .or_else(|| name.strip_prefix("enum "))
            .unwrap_or(name);
        let mut found = false;
        for (index, rust) in names.items.iter().enumerate() {
            if !rust.is_empty() && (rust == tag || *model.items[index].name == *tag) {
                closure.add(ItemId(index as u32));
                found = true;
            }
        }
        for typedef in model
            .typedefs
            .iter()
            .filter(|typedef| *typedef.name == *tag)
        {
            closure.add_type(&typedef.target, true);
            found = true;
        }
        if !found {
            unknown.push(name.clone());
        }
    }
    if !unknown.is_empty() {
        return Err(unknown);
    }
    closure.follow(|_| true);
    Ok(Selection {
        items: closure.wanted,
        names: None,
    })
}

/// Adds the identifiers of a source text. What isn't Rust has none: the compiler says so better.
pub fn identifiers(source: &str, found: &mut BTreeSet<String>) {
    if let Ok(tokens) = source.parse() {
        collect(tokens, false, found);
    }
}

/// Adds the identifiers of a source text, and the words of the texts in it, such as `kernel_has` predicates. The error is that
/// of what isn't Rust.
pub fn identifiers_and_words(source: &str, found: &mut BTreeSet<String>) -> Result<(), LexError> {
    collect(source.parse()?, true, found);
    Ok(())
}

/// What may be a name in a text.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
}

fn collect(tokens: TokenStream, with_words: bool, found: &mut BTreeSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => collect(group.stream(), with_words, found),
            TokenTree::Ident(ident) => {
                let name = ident.to_string();
                found.insert(name.strip_prefix("r#").unwrap_or(&name).to_owned());
            }
            TokenTree::Literal(literal) if with_words => {
                let text = literal.to_string();
                if text.starts_with('"') {
                    found.extend(words(&text).map(str::to_owned));
                }
            }
            _ => {}
        }
    }
}

struct Closure<'a> {
    model: &'a Model,
    names: &'a Names,
    wanted: Vec<bool>,
    /// Wanted items whose members were not followed yet.
    open: Vec<ItemId>,
}

impl<'a> Closure<'a> {
    fn new(model: &'a Model, names: &'a Names) -> Self {
        Closure {
            model,
            names,
            wanted: vec![false; model.items.len()],
            open: Vec::new(),
        }
    }

    fn add(&mut self, id: ItemId) {
        if !std::mem::replace(&mut self.wanted[id.index()], true) {
            self.open.push(id);
        }
    }

    /// Adds the items that a type names; without `pointers`, only those that a value of the type holds.
    fn add_type(&mut self, ty: &Type, pointers: bool) {
        match ty.stripped() {
            Type::Item(id) => self.add(*id),
            Type::Array(element, _) => self.add_type(element, pointers),
            Type::Pointer(target) if pointers => self.add_type(target, pointers),
            _ => {}
        }
    }

    /// Adds what the members of wanted items lead to: pointers' targets for those members whose accessors are wanted.
    fn follow(&mut self, is_wanted: impl Fn(&str) -> bool) {
        let model = self.model;
        while let Some(id) = self.open.pop() {
            let members = flattened(model, model.item(id));
            let rust_names = names::members(members.iter().map(|member| &*member.name));
            for (member, rust) in members.iter().zip(&rust_names) {
                self.add_type(&member.ty, is_wanted(rust));
            }
        }
        // What has no name is not written, though its members are followed.
        for (wanted, name) in self.wanted.iter_mut().zip(&self.names.items) {
            *wanted &= !name.is_empty();
        }
    }
}

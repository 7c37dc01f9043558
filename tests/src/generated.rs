//! Whether generated text is nothing but what the generator writes, whatever the names were that it was made from.

use std::collections::BTreeSet;

use kstruct_codegen::emit::Files;
use proc_macro2::{TokenStream, TokenTree};
use syn::{Expr, ImplItem, Item, Lit, Meta};

/// The only file that has statics.
const MODULES: &str = "modules.rs";

/// Asserts that each file holds only items of the kinds that the generator writes, that no macro is called but the one that
/// includes the functions, and that each row of a table is one.
pub fn check(files: &Files) {
    for (name, text) in files {
        if name.ends_with(".rs") {
            check_rust(name, text);
        }
    }
    if let Some(functions) = files.get("functions.txt") {
        for line in functions.lines() {
            let (address, name) = line.split_once(' ').expect("address and name");
            assert!(u64::from_str_radix(address, 16).is_ok(), "{line}");
            assert!(name.bytes().all(|byte| byte.is_ascii_graphic()), "{line}");
        }
    }
    if let Some(names) = files.get("names.txt") {
        let known: BTreeSet<&str> = names.lines().collect();
        for line in names.lines() {
            assert!(!line.is_empty() && !line.contains(char::is_control));
            // Behind a member stands its type, which is there itself.
            let ty = line.split_once(' ').map(|(_, ty)| ty);
            assert!(ty.is_none_or(|ty| known.contains(ty)), "{line}");
        }
    }
    if let Some(index) = files.get("index.json")
        && let Err(error) = serde_json::from_str::<serde_json::Value>(index)
    {
        panic!("index.json is not JSON: {error}");
    }
}

fn check_rust(name: &str, text: &str) {
    let file = match syn::parse_file(text) {
        Ok(file) => file,
        Err(error) => panic!("{name} is not Rust: {error}"),
    };
    for item in &file.items {
        match item {
            Item::Const(_) | Item::Struct(_) | Item::Type(_) | Item::Use(_) => {}
            // One of each module, at which symbols of modules point.
            Item::Static(_) if name == MODULES => {}
            Item::Mod(module) if module.content.is_none() => {}
            Item::Impl(item) => {
                for item in &item.items {
                    match item {
                        ImplItem::Const(constant) => check_table(name, &constant.expr),
                        ImplItem::Fn(_) | ImplItem::Type(_) => {}
                        _ => panic!("{name}: an impl has something else than it should"),
                    }
                }
            }
            _ => panic!("{name}: an item of another kind than generated code has"),
        }
    }
    let tokens = text.parse().expect("what syn parses is tokens");
    check_tokens(name, tokens);
}

/// Generated code calls nothing that could do harm: no macro, no unsafe code, no item within a function.
fn check_tokens(file: &str, tokens: TokenStream) {
    let mut before = String::new();
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                if before == "#" {
                    check_attribute(file, group.stream());
                } else {
                    check_tokens(file, group.stream());
                }
                before.clear();
            }
            TokenTree::Ident(ident) => {
                let is_lifetime = before == "'";
                before = ident.to_string();
                assert!(
                    is_lifetime
                        || (file == MODULES && before == "static")
                        || !matches!(
                            before.as_str(),
                            "unsafe"
                                | "extern"
                                | "macro_rules"
                                | "static"
                                | "dyn"
                                | "loop"
                                | "while"
                        ),
                    "{file}: {before}"
                );
            }
            TokenTree::Punct(punct) => {
                let macro_call = punct.as_char() == '!'
                    && !before.is_empty()
                    && !matches!(before.as_str(), "#" | "include_str" | "=");
                assert!(!macro_call, "{file}: {before}!");
                // An inner attribute is one too: `#!`.
                if !(before == "#" && punct.as_char() == '!') {
                    before = punct.as_char().to_string();
                }
            }
            TokenTree::Literal(_) => before.clear(),
        }
    }
}

fn check_attribute(file: &str, tokens: TokenStream) {
    let meta: Meta = syn::parse2(tokens).expect("syn has parsed it before");
    let path = meta.path();
    let known = [
        "allow", "derive", "doc", "expect", "inline", "must_use", "repr",
    ];
    assert!(
        known.iter().any(|name| path.is_ident(name)),
        "{file}: an attribute that generated code doesn't have"
    );
}

/// Looks for the text of a table in the constant that holds it.
fn check_table(file: &str, expression: &Expr) {
    match expression {
        Expr::Reference(reference) => check_table(file, &reference.expr),
        Expr::Struct(table) => {
            for field in &table.fields {
                let syn::Member::Named(name) = &field.member else {
                    continue;
                };
                if let Expr::Lit(literal) = &field.expr
                    && let Lit::Str(text) = &literal.lit
                {
                    match name.to_string().as_str() {
                        "members" => check_members(file, &text.value()),
                        "values" => check_values(file, &text.value()),
                        _ => {}
                    }
                }
            }
        }
        _ => {}
    }
}

/// `name offset size format type;`
fn check_members(file: &str, text: &str) {
    assert!(text.is_empty() || text.ends_with(';'), "{file}: {text:?}");
    for row in text.split_terminator(';') {
        let fields: Vec<&str> = row.splitn(5, ' ').collect();
        let [name, offset, size, format, _ty] = fields[..] else {
            panic!("{file}: {row:?} has {} fields", fields.len());
        };
        let sound = !name.is_empty()
            && offset.parse::<u64>().is_ok()
            && size.parse::<u64>().is_ok()
            && format.starts_with(|c| "iubfptsexaUI".contains(c))
            && !row.contains(char::is_control);
        assert!(sound, "{file}: {row:?}");
    }
}

/// `name=value;`
fn check_values(file: &str, text: &str) {
    assert!(text.is_empty() || text.ends_with(';'), "{file}: {text:?}");
    for row in text.split_terminator(';') {
        let value = row.split_once('=').map(|(_, value)| value);
        let sound = value.is_some_and(|value| value.parse::<i128>().is_ok());
        assert!(sound && !row.contains(char::is_control), "{file}: {row:?}");
    }
}

//! The rule: **no analyzer tells the compiler or clippy to be silent.** Each compiles for each kernel without a remark; what only some kernels have a
//! use for has their condition (`cfg(kernel_has = "...")`) instead.
//!
//! What counts as that, in code and not in comments: the attributes `allow` and `expect`, by themselves or in a `cfg_attr`, of the file or of
//! what stands below them, in a macro's body, too; and in an analyzer's `Cargo.toml` lints other than the workspace's.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use tests::{root, sources};

#[test]
fn nothing_is_allowed() {
    let folder = root().join("analyzers");
    let files = sources(&folder);
    assert!(files.len() > 100, "{} files", files.len());
    let mut found = Vec::new();
    for file in &files {
        let source = std::fs::read_to_string(file).expect("a source file is text");
        let shown = file.strip_prefix(root()).unwrap_or(file).display();
        let attributes = silencers(source.parse().expect("it is Rust"));
        let attributes = attributes.into_iter();
        found.extend(attributes.map(|attribute| format!("{shown}: {attribute}")));
    }
    assert!(
        found.is_empty(),
        "analyzers compile without a remark, and allow nothing (ARCHITECTURE.md)\n{}",
        found.join("\n")
    );
}

#[test]
fn analyzers_have_the_lints_of_the_workspace() {
    let entries = std::fs::read_dir(root().join("analyzers")).expect("the work tree is there");
    for entry in entries {
        let manifest = entry.expect("it can be listed").path().join("Cargo.toml");
        let text = std::fs::read_to_string(&manifest).expect("an analyzer has a manifest");
        let sections: Vec<&str> = text.split("\n[").collect();
        let lints: Vec<&str> = sections
            .into_iter()
            .filter(|section| section.starts_with("lints"))
            .map(str::trim)
            .collect();
        assert_eq!(
            lints,
            ["lints]\nworkspace = true"],
            "{}",
            manifest.display()
        );
    }
}

/// The test of the test.
#[test]
fn each_planted_attribute_is_found() {
    for planted in [
        "#[allow(dead_code)] fn f() {}",
        "#![allow(unused_imports, reason = \"x\")]",
        "#[expect(clippy::vec_box)] struct S;",
        "#[cfg_attr(not(kernel_has = \"x\"), allow(dead_code))] mod m;",
        "#![cfg_attr(all(a, b), derive(Debug), cfg_attr(c, allow(unused)))]",
        "fn f() { #[allow(unused_mut)] let mut x = 1; }",
        "macro_rules! m { () => { #[allow(dead_code)] fn f() {} } }",
    ] {
        let tokens = planted.parse().expect("it is Rust");
        assert_eq!(silencers(tokens).len(), 1, "{planted}");
    }
    for innocent in [
        "// #[allow(dead_code)]\nfn f() {}",
        "/// `#[allow(dead_code)]`\nfn f() {}",
        "#[cfg(allow)] fn allow() { expect(x) }",
        "#[arg(default_value = f().expect(\"x\"))] struct S;",
        "#[cfg_attr(allow(x), derive(Debug))] struct S;",
    ] {
        let tokens = innocent.parse().expect("it is Rust");
        assert_eq!(silencers(tokens), [""; 0], "{innocent}");
    }
}

/// The attributes that silence something.
fn silencers(tokens: TokenStream) -> Vec<String> {
    let mut found = Vec::new();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                tokens.next_if(|next| is_punct(next, '!'));
                if let Some(TokenTree::Group(group)) = tokens.next_if(is_bracket)
                    && silences(&group.stream().into_iter().collect::<Vec<_>>())
                {
                    found.push(format!("#[{}]", group.stream()));
                }
            }
            TokenTree::Group(group) => found.extend(silencers(group.stream())),
            _ => {}
        }
    }
    found
}

/// Whether an attribute, without its brackets, is `allow`, `expect`, or a `cfg_attr` with one of them.
fn silences(attribute: &[TokenTree]) -> bool {
    let [TokenTree::Ident(name), TokenTree::Group(group), ..] = attribute else {
        return false;
    };
    if name != "cfg_attr" {
        return name == "allow" || name == "expect";
    }
    let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
    // The first is the condition.
    let mut attributes = tokens.split(|token| is_punct(token, ',')).skip(1);
    attributes.any(silences)
}

fn is_punct(token: &TokenTree, character: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == character)
}

fn is_bracket(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Bracket)
}

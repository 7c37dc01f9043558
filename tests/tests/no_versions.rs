//! The rule: **nothing in analyzers, in the runtime, nor in what is written by hand of crate `kernel` compares version numbers of kernels.** What a
//! kernel has decides (`cfg(kernel_has = "...")`): distributions take members from later kernels into earlier ones, and a
//! number says nothing about them.
//!
//! What counts as that, in code and not in comments:
//!
//! 1. names that stand for a version (`LINUX_VERSION_CODE`, `KERNEL_VERSION`, `kernel_version` ...);
//! 2. a `cfg` whose key begins with `kernel` and isn't `kernel_has`;
//! 3. text that looks like a version of Linux (`"6.1"`, `"2.6.32-754.el6"`), wherever it stands;
//! 4. a release that is taken apart, ordered, or compared with a text that the source has: what `release`, `osrelease`, `RELEASE` or a call of them
//!    gives, with `parse`, `split`, `starts_with`, `<` and so on behind it. That two releases are the same one is what tells whose dump
//!    it is, and allowed.

use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use tests::root;

/// Where the rule holds.
const FOLDERS: [&str; 3] = ["analyzers", "runtime/src", "generated/src"];

#[test]
fn no_version_is_compared() {
    let mut files = Vec::new();
    for folder in FOLDERS {
        sources(&root().join(folder), &mut files);
    }
    let mut found = Vec::new();
    for file in &files {
        let source = std::fs::read_to_string(file).expect("a source file is text");
        let shown = file.strip_prefix(root()).unwrap_or(file).display();
        let offences = offences(&source).into_iter();
        found.extend(offences.map(|offence| format!("{shown}: {offence}")));
    }
    println!("{} files, {} offences", files.len(), found.len());
    assert!(files.len() > 100, "{} files", files.len());
    assert!(
        found.is_empty(),
        "nothing compares version numbers: what a kernel has decides (ARCHITECTURE.md)\n{}",
        found.join("\n")
    );
}

/// The test of the test: each way to break the rule is seen, and what is allowed is not.
#[test]
fn each_planted_offence_is_found() {
    for planted in [
        "fn f() -> bool { LINUX_VERSION_CODE >= 5 }",
        "const V: u32 = KERNEL_VERSION(5, 10, 0);",
        "fn f(kernel_version: u32) {}",
        "#[cfg(kernel_at_least = \"x\")] fn f() {}",
        "#[cfg(not(all(kernel_version_5, unix)))] fn f() {}",
        "fn f() -> bool { cfg!(kernel_since = \"x\") }",
        "fn f(k: &str) -> bool { k == \"6.1\" }",
        "fn f(k: &str) -> bool { matches!(k, \"2.6.32-754.el6.x86_64\") }",
        "fn f(k: &K) -> u32 { k.release.split('.').count() }",
        "fn f(k: &K) -> bool { k.kernel().release.starts_with(PREFIX) }",
        "fn f(n: N) -> bool { n.release().to_string() > other }",
        "fn f(n: N) -> bool { n.release() >= other }",
        "fn f(n: N) -> bool { kernel::KERNEL.release == \"special\" }",
        "fn f() -> u32 { identity::RELEASE.as_bytes()[0] }",
        "fn f(v: &V) -> u64 { v.get(\"OSRELEASE\").unwrap().parse() }",
    ] {
        assert_eq!(offences(planted).len(), 1, "{planted}");
    }
    for allowed in [
        "/// Since 6.1, and before \"2.6.32\".\nfn f() {}",
        "// KERNEL_VERSION\n#[cfg(kernel_has = \"net_device.dev_list\")] fn f() {}",
        "const A: [&str; 3] = [\"10.0.0.1\", \"1.5\", \"127.0.0.1/8\"];",
        "fn f(k: &K, dump: &str) -> bool { k.release != dump }",
        "fn f(n: N) -> String { n.release().to_string() }",
        "fn f() { println!(\"release {}\", k.release); }",
        "struct K { release: &'static str, version: String }",
        "#[cfg(test)] mod tests { fn f(k: &K) -> bool { k.release == \"6.1\" } }",
    ] {
        assert_eq!(offences(allowed), [""; 0], "{allowed}");
    }
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(folder).expect("the work tree is there");
    let mut entries: Vec<PathBuf> = entries
        .map(|entry| entry.expect("it can be listed").path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Offences of a source file, each with the tokens around it.
fn offences(source: &str) -> Vec<String> {
    let tokens: TokenStream = source.parse().expect("it is Rust");
    let mut words = Vec::new();
    flatten(tokens, &mut words);
    let mut found = Vec::new();
    let mut cfg_ends = 0;
    for (index, word) in words.iter().enumerate() {
        let text = word.text.as_str();
        let next = |distance: usize| words.get(index + distance).map_or("", |word| &word.text);
        let around = words.iter().skip(index.saturating_sub(6)).take(16);
        let around: Vec<&str> = around.map(|word| word.text.as_str()).collect();
        let mut offend = |what: &str| found.push(format!("{what}: {}", around.join(" ")));
        if ["cfg", "cfg_attr"].contains(&text) && ["(", "!"].contains(&next(1)) {
            let rest = words.iter().skip(index + 1);
            cfg_ends = index
                + 1
                + rest
                    .take_while(|other| other.depth > word.depth || other.text == "!")
                    .count();
        }
        let is_key = index < cfg_ends && text.starts_with("kernel") && text != "kernel_has";
        if is_key {
            offend("a cfg that is not kernel_has");
        } else if VERSION_NAMES.contains(&text) {
            offend("a version of the kernel");
        } else if looks_like_a_version(text) {
            offend("text that looks like a version of the kernel");
        } else if ["release", "osrelease", "RELEASE", "\"OSRELEASE\""].contains(&text)
            && takes_apart(&words[index + 1..])
        {
            offend("a release that is taken apart or compared");
        }
    }
    found
}

const VERSION_NAMES: [&str; 8] = [
    "KERNEL_VERSION",
    "LINUX_VERSION",
    "LINUX_VERSION_CODE",
    "RHEL_RELEASE_CODE",
    "UTS_RELEASE",
    "kernel_version",
    "linux_version",
    "version_code",
];

/// A text of Rust that begins with the number of a Linux: 2.4 to 2.6, 3.0 to 9.99; then nothing, or what stands behind it in a release.
fn looks_like_a_version(text: &str) -> bool {
    let Some(text) = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
    else {
        return false;
    };
    let (number, rest) = match text.find(|letter: char| !letter.is_ascii_digit() && letter != '.') {
        Some(end) => text.split_at(end),
        None => (text, ""),
    };
    let parts: Vec<Option<u32>> = number.split('.').map(|part| part.parse().ok()).collect();
    let is_number = matches!(
        parts[..],
        [Some(2), Some(4..=6)]
            | [Some(2), Some(4..=6), Some(_)]
            | [Some(3..=9), Some(0..=99)]
            | [Some(3..=9), Some(0..=99), Some(_)]
    );
    is_number && (rest.is_empty() || rest.starts_with(['-', '+', '_']))
}

/// Whether what stands behind a release looks into it: a method of text, or an order, or an equality with a literal. Calls that only hand it
/// on (`()`, `.to_string()`, `.unwrap()`, `?`) are passed over.
fn takes_apart(behind: &[Word]) -> bool {
    const HANDED_ON: [&str; 8] = [
        "as_deref",
        "as_ref",
        "as_str",
        "clone",
        "expect",
        "to_owned",
        "to_string",
        "unwrap",
    ];
    const LOOKS_INTO: [&str; 16] = [
        "as_bytes",
        "bytes",
        "chars",
        "cmp",
        "contains",
        "find",
        "get",
        "lines",
        "matches",
        "parse",
        "partial_cmp",
        "rsplit",
        "split",
        "split_once",
        "starts_with",
        "strip_prefix",
    ];
    let mut behind = behind.iter().map(|word| word.text.as_str()).peekable();
    // The parenthesis that a text in an argument is in ends before what is done with the result.
    behind.next_if_eq(&")");
    loop {
        match behind.next() {
            Some("(") => {
                // `release()`, or `expect("...")`.
                let _ = behind.by_ref().find(|word| *word == ")");
            }
            Some("?") => {}
            Some(".") => match behind.next() {
                Some(method) if HANDED_ON.contains(&method) => {}
                Some(method) => return LOOKS_INTO.contains(&method),
                None => return false,
            },
            Some("<" | ">") => return true,
            Some("=" | "!") if behind.next_if_eq(&"=").is_some() => {
                return behind.next().is_some_and(|word| word.starts_with('"'));
            }
            _ => return false,
        }
    }
}

/// A token. A group is its parentheses and what is between them.
struct Word {
    text: String,
    /// Groups around it.
    depth: usize,
}

fn flatten(tokens: TokenStream, words: &mut Vec<Word>) {
    flatten_at(tokens, 0, words);
}

fn flatten_at(tokens: TokenStream, depth: usize, words: &mut Vec<Word>) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        if let TokenTree::Punct(punct) = &token
            && punct.as_char() == '#'
        {
            // A comment for documentation is an attribute; so are other texts that people read.
            tokens
                .next_if(|next| matches!(next, TokenTree::Punct(punct) if punct.as_char() == '!'));
            if tokens.next_if(is_test).is_some() {
                // What tests compare is theirs.
                let _ = tokens.by_ref().find(|token| match token {
                    TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
                    TokenTree::Punct(punct) => punct.as_char() == ';',
                    _ => false,
                });
            }
            tokens.next_if(is_documentation);
            continue;
        }
        let TokenTree::Group(group) = &token else {
            let text = token.to_string();
            words.push(Word { text, depth });
            continue;
        };
        let (open, close) = match group.delimiter() {
            Delimiter::Parenthesis => ("(", ")"),
            Delimiter::Brace => ("{", "}"),
            Delimiter::Bracket => ("[", "]"),
            Delimiter::None => ("", ""),
        };
        let parenthesis = |text: &str| Word {
            text: text.to_owned(),
            depth: depth + 1,
        };
        words.push(parenthesis(open));
        flatten_at(group.stream(), depth + 1, words);
        words.push(parenthesis(close));
    }
}

/// `[cfg(test)]`
fn is_test(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.stream().to_string().replace(' ', "") == "cfg(test)")
}

/// `[doc = "..."]`, and clap's texts of help.
fn is_documentation(token: &TokenTree) -> bool {
    let TokenTree::Group(group) = token else {
        return false;
    };
    match group.stream().into_iter().next() {
        Some(TokenTree::Ident(name)) => name == "doc" || name == "command",
        _ => false,
    }
}

//! The rule: **nothing in analyzers, in the runtime, nor in what is written by hand of crate `kernel` compares version numbers of kernels.** What a
//! kernel has decides (`cfg(kernel_has = "...")`): distributions take members from later kernels into earlier ones, and a
//! number says nothing about them.
//!
//! What counts as that, in code and not in comments:
//!
//! 1. names that stand for a version (`LINUX_VERSION_CODE`, `KERNEL_VERSION`, `kernel_version` ...);
//! 2. a `cfg` whose key begins with `kernel` and isn't `kernel_has`;
//! 3. text that looks like a version of Linux (`"6.1"`, `"2.6.32-754.el6"`), wherever it stands;
//! 4. text with the beginning of a banner and a number behind it (`"Linux version 5"`);
//! 5. a release that is taken apart, ordered, or compared with a text that the source has: what `release`, `osrelease`, `RELEASE` or a call of them
//!    gives, with `parse`, `split`, `starts_with`, `<` and so on behind it, or in a pattern. It is followed through variables, closures, references, tuples,
//!    `if` and `match` of one function ([`Flow`]). That two releases are the same one is what tells whose dump it is, and allowed;
//! 6. a tuple of numbers that is ordered against another (`(major, minor) >= (5, 10)`): nothing else here is compared so.
//!
//! What is not seen: a release that goes through a function's parameter or a member under another name than `release`, or through a collection; the
//! bodies of macros that aren't expressions, but for what stands there in one piece (`release.split('.')`); numbers that somebody made of a release
//! elsewhere and compares one by one; and a banner that is taken apart by other means than a text.

use std::collections::BTreeSet;
use std::path::PathBuf;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::parse::ParseStream;
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Expr, Lit, Pat, Token};
use tests::{root, sources};

/// Where the rule holds.
const FOLDERS: [&str; 3] = ["analyzers", "runtime/src", "generated/src"];

#[test]
fn no_version_is_compared() {
    let files = FOLDERS
        .iter()
        .flat_map(|folder| sources(&root().join(folder)));
    let files: Vec<PathBuf> = files.collect();
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
        "fn f(k: &K) -> bool { let r = k.release; r.split('.').count() > 5 }",
        "fn f(k: &K) -> bool { let r = &k.release; let s = r.to_string(); s.starts_with(PREFIX) }",
        "fn f(k: &K) -> bool { let K { release: r, .. } = k; r > OTHER }",
        "fn f(k: &K) -> bool { match k.release { \"old\" => true, _ => false } }",
        "fn f(k: &K) -> bool { let r = k.release(); matches!(r.as_str(), \"old\" | \"older\") }",
        "fn f(k: &K) -> bool { if let Some(\"old\") = k.release() { return true } false }",
        "fn f(k: &K) -> bool { match k.release() { Some(r) if r.contains(\"el6\") => true, _ => false } }",
        "fn f(k: &K) -> bool { k.release().is_some_and(|r| r.contains(\"el6\")) }",
        "fn f(k: &K) -> bool { (k.release, 1) < (other, 2) }",
        "fn f(k: &K) -> bool { let (_, r) = (1, k.release); assert!(r == \"old\"); true }",
        "fn f(k: &K) -> u8 { let r; r = k.release; r[0] }",
        "fn f(k: &K) { for c in k.release { g(c) } }",
        "fn f(k: &K) { for (_, r) in [(\"a\", k.id), (\"b\", k.release)] { r.split('.') } }",
        "fn f(k: &K) -> bool { str::parse(&k.release) }",
        "fn f(k: &K) -> bool { k.banner.starts_with(\"Linux version 5\") }",
        "fn f(v: (u32, u32)) -> bool { v >= (5, 10) }",
        "fn f(v: (u32, u32)) -> bool { if (v.0, v.1) < (5, MINOR) { return true } false }",
        "impl K { fn f(&self) -> bool { let r = self.release; let c = || r.len() > 5; c() } }",
    ] {
        assert!(!offences(planted).is_empty(), "{planted}");
    }
    for allowed in [
        "/// Since 6.1, and before \"2.6.32\".\nfn f() {}",
        "// KERNEL_VERSION\n#[cfg(kernel_has = \"net_device.dev_list\")] fn f() {}",
        "const A: [&str; 3] = [\"10.0.0.1\", \"1.5\", \"127.0.0.1/8\"];",
        "fn f(k: &K, dump: &str) -> bool { k.release != dump }",
        "fn f(k: &K, dump: &str) -> bool { let r = k.release; r == dump }",
        "fn f(k: &K) -> K { let r = k.release.to_string(); K { release: r.clone(), other: \"x\" } }",
        "fn f(k: &K) -> Option<String> { let r = k.release?; if r.is_empty() { return None } Some(r) }",
        "fn f(k: &K, dump: &K) -> bool { match (k.release, dump.release) { (Some(a), Some(b)) => a == b, _ => true } }",
        "fn f(k: &K, v: &V) -> bool { for (key, own) in [(\"A\", k.id), (\"B\", k.release)] { if v.get(key) != own { return false } } true }",
        "fn f(a: &R, b: &R) -> Ordering { (a.pid, a.fd).cmp(&(b.pid, b.fd)) }",
        "fn f(s: &str) -> bool { s.starts_with(\"Linux version \") }",
        "fn f(r: &str) -> bool { r.starts_with(\"x\") } fn g(k: &K) { let r = k.release; show(r) }",
        "fn f(n: N) -> String { n.release().to_string() }",
        "fn f() { println!(\"release {}\", k.release); }",
        "struct K { release: &'static str, version: String }",
        "#[cfg(test)] mod tests { fn f(k: &K) -> bool { k.release == \"6.1\" } }",
    ] {
        assert_eq!(offences(allowed), [""; 0], "{allowed}");
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
        } else if begins_a_banner(text) {
            offend("a banner of some version of the kernel");
        }
    }
    found.extend(Flow::offences(source));
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

/// Whether a text of Rust has the beginning of a banner with a number behind it.
fn begins_a_banner(text: &str) -> bool {
    let mut behind = text.match_indices(BANNER);
    behind.any(|(at, _)| text[at + BANNER.len()..].starts_with(|next: char| next.is_ascii_digit()))
}

const BANNER: &str = "Linux version ";

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

/// Methods that give what they are called on, in another form.
const HANDED_ON: [&str; 24] = [
    "and_then",
    "as_deref",
    "as_ref",
    "as_str",
    "borrow",
    "clone",
    "cloned",
    "copied",
    "expect",
    "filter",
    "into",
    "map",
    "ok",
    "or",
    "or_else",
    "take",
    "to_lowercase",
    "to_owned",
    "to_string",
    "trim",
    "trim_end",
    "unwrap",
    "unwrap_or",
    "unwrap_or_default",
];

/// Methods that look into a text, or order it.
const LOOKS_INTO: [&str; 28] = [
    "as_bytes",
    "bytes",
    "char_indices",
    "chars",
    "cmp",
    "contains",
    "ends_with",
    "eq_ignore_ascii_case",
    "find",
    "get",
    "into_bytes",
    "len",
    "lines",
    "matches",
    "parse",
    "partial_cmp",
    "rfind",
    "rsplit",
    "rsplit_once",
    "split",
    "split_at",
    "split_once",
    "split_whitespace",
    "splitn",
    "starts_with",
    "strip_prefix",
    "strip_suffix",
    "trim_start_matches",
];

/// Members, methods and variables that are a release.
const RELEASES: [&str; 3] = ["release", "osrelease", "RELEASE"];

/// Follows releases through a function.
#[derive(Default)]
struct Flow {
    /// The function's variables that hold one.
    holders: BTreeSet<String>,
    function: String,
    found: BTreeSet<String>,
}

impl Flow {
    fn offences(source: &str) -> BTreeSet<String> {
        let file = syn::parse_file(source).expect("it is Rust");
        let mut flow = Flow::default();
        flow.visit_file(&file);
        flow.found
    }

    fn offend(&mut self, what: &str) {
        self.found
            .insert(format!("fn {}: a release, {what}", self.function));
    }

    /// A function's body. Twice, as what a loop's end gives a variable its beginning reads.
    fn body(&mut self, name: &syn::Ident, block: &syn::Block) {
        let outer = (
            std::mem::take(&mut self.holders),
            std::mem::replace(&mut self.function, name.to_string()),
        );
        for _ in 0..2 {
            self.visit_block(block);
        }
        (self.holders, self.function) = outer;
    }

    /// Whether an expression gives a release.
    fn is_release(&self, expression: &Expr) -> bool {
        let any = |expressions: &Punctuated<Expr, Token![,]>| {
            expressions.iter().any(|one| self.is_release(one))
        };
        match expression {
            Expr::Path(path) => path.path.segments.last().is_some_and(|last| {
                let name = last.ident.to_string();
                RELEASES.contains(&&*name)
                    || (path.path.segments.len() == 1 && self.holders.contains(&name))
            }),
            Expr::Field(field) => match &field.member {
                syn::Member::Named(name) => RELEASES.contains(&&*name.to_string()),
                // Of a tuple.
                syn::Member::Unnamed(_) => self.is_release(&field.base),
            },
            Expr::MethodCall(call) => {
                let name = call.method.to_string();
                RELEASES.contains(&&*name)
                    || call.args.iter().any(is_release_key)
                    || (HANDED_ON.contains(&&*name) && self.is_release(&call.receiver))
            }
            // `Some(release)`, `String::from(release)`
            Expr::Call(call) => {
                matches!(&*call.func, Expr::Path(path) if path.path.segments.last().is_some_and(|last| {
                    let name = last.ident.to_string();
                    RELEASES.contains(&&*name) || (["Some", "Ok", "from"].contains(&&*name) && any(&call.args))
                }))
            }
            Expr::Macro(call) => {
                call.mac.path.is_ident("format")
                    && arguments(&call.mac).is_some_and(|arguments| any(&arguments))
            }
            Expr::Tuple(tuple) => any(&tuple.elems),
            Expr::Array(array) => any(&array.elems),
            Expr::Reference(inner) => self.is_release(&inner.expr),
            Expr::Paren(inner) => self.is_release(&inner.expr),
            Expr::Group(inner) => self.is_release(&inner.expr),
            Expr::Try(inner) => self.is_release(&inner.expr),
            Expr::Unary(inner) => {
                matches!(inner.op, syn::UnOp::Deref(_)) && self.is_release(&inner.expr)
            }
            Expr::Block(inner) => self.is_release_of(&inner.block),
            Expr::If(inner) => {
                let other = inner.else_branch.as_ref();
                self.is_release_of(&inner.then_branch)
                    || other.is_some_and(|(_, other)| self.is_release(other))
            }
            Expr::Match(inner) => inner.arms.iter().any(|arm| self.is_release(&arm.body)),
            _ => false,
        }
    }

    fn is_release_of(&self, block: &syn::Block) -> bool {
        matches!(block.stmts.last(), Some(syn::Stmt::Expr(last, None)) if self.is_release(last))
    }

    /// All variables of a pattern hold a release from here on.
    fn hold(&mut self, pattern: &Pat) {
        self.holders.extend(variables(pattern));
    }

    /// A value meets a pattern.
    fn meet(&mut self, value: &Expr, pattern: &Pat) {
        match (value, pattern) {
            // Part by part, where both are there.
            (Expr::Tuple(values), Pat::Tuple(patterns))
                if values.elems.len() == patterns.elems.len() =>
            {
                for (value, pattern) in values.elems.iter().zip(&patterns.elems) {
                    self.meet(value, pattern);
                }
            }
            _ if self.is_release(value) => {
                self.hold(pattern);
                if has_literal(pattern) {
                    self.offend("in a pattern");
                }
            }
            _ => {}
        }
    }
}

/// `"OSRELEASE"`, by which VMCOREINFO is asked for it.
fn is_release_key(expression: &Expr) -> bool {
    matches!(expression, Expr::Lit(literal) if matches!(&literal.lit, Lit::Str(text) if text.value() == "OSRELEASE"))
}

fn is_text(expression: &Expr) -> bool {
    match expression {
        Expr::Lit(literal) => matches!(literal.lit, Lit::Str(_) | Lit::ByteStr(_) | Lit::CStr(_)),
        Expr::Reference(inner) => is_text(&inner.expr),
        Expr::Paren(inner) => is_text(&inner.expr),
        Expr::Tuple(tuple) => tuple.elems.iter().any(is_text),
        Expr::Call(call) => call.args.iter().any(is_text),
        Expr::MethodCall(call) => is_text(&call.receiver),
        _ => false,
    }
}

/// `(5, 10)`, `(5, MINOR)`
fn is_tuple_of_numbers(expression: &Expr) -> bool {
    match expression {
        Expr::Tuple(tuple) => tuple
            .elems
            .iter()
            .any(|one| matches!(one, Expr::Lit(literal) if matches!(literal.lit, Lit::Int(_)))),
        Expr::Reference(inner) => is_tuple_of_numbers(&inner.expr),
        Expr::Paren(inner) => is_tuple_of_numbers(&inner.expr),
        _ => false,
    }
}

/// The variables of patterns.
struct Variables(Vec<String>);

impl<'a> Visit<'a> for Variables {
    fn visit_pat_ident(&mut self, pattern: &'a syn::PatIdent) {
        self.0.push(pattern.ident.to_string());
        visit::visit_pat_ident(self, pattern);
    }
}

fn variables(pattern: &Pat) -> Vec<String> {
    let mut variables = Variables(Vec::new());
    variables.visit_pat(pattern);
    variables.0
}

/// Whether there is a text in a pattern, which is no guard's.
struct Literals(bool);

impl<'a> Visit<'a> for Literals {
    fn visit_expr_lit(&mut self, literal: &'a syn::ExprLit) {
        self.0 |= matches!(literal.lit, Lit::Str(_) | Lit::ByteStr(_));
    }

    fn visit_pat_guard(&mut self, guarded: &'a syn::PatGuard) {
        self.visit_pat(&guarded.pat);
    }
}

fn has_literal(pattern: &Pat) -> bool {
    let mut literals = Literals(false);
    literals.visit_pat(pattern);
    literals.0
}

/// What a macro is given, if that are expressions.
fn arguments(call: &syn::Macro) -> Option<Punctuated<Expr, Token![,]>> {
    call.parse_body_with(Punctuated::parse_terminated).ok()
}

/// What `matches!` is given.
fn arguments_of_matches(input: ParseStream<'_>) -> syn::Result<(Expr, Pat)> {
    let value = input.parse()?;
    input.parse::<Token![,]>()?;
    let pattern = Pat::parse_multi_with_leading_vert(input)?;
    // A guard, which is the reader's to see.
    let _: TokenStream = input.parse()?;
    Ok((value, pattern))
}

fn is_of_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        matches!(&attribute.meta, syn::Meta::List(list)
            if list.path.is_ident("cfg") && list.tokens.to_string() == "test")
    })
}

impl<'a> Visit<'a> for Flow {
    fn visit_item_mod(&mut self, module: &'a syn::ItemMod) {
        if !is_of_tests(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'a syn::ItemFn) {
        if !is_of_tests(&function.attrs) {
            self.body(&function.sig.ident, &function.block);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'a syn::ImplItemFn) {
        if !is_of_tests(&function.attrs) {
            self.body(&function.sig.ident, &function.block);
        }
    }

    fn visit_local(&mut self, local: &'a syn::Local) {
        if let Some(init) = &local.init {
            self.meet(&init.expr, &local.pat);
        }
        visit::visit_local(self, local);
    }

    fn visit_field_pat(&mut self, field: &'a syn::FieldPat) {
        // `Kernel { release: r, .. }`
        if matches!(&field.member, syn::Member::Named(name) if RELEASES.contains(&&*name.to_string()))
        {
            self.hold(&field.pat);
            if has_literal(&field.pat) {
                self.offend("in a pattern");
            }
        }
        visit::visit_field_pat(self, field);
    }

    fn visit_expr_assign(&mut self, assignment: &'a syn::ExprAssign) {
        if self.is_release(&assignment.right)
            && let Expr::Path(path) = &*assignment.left
            && let Some(name) = path.path.get_ident()
        {
            self.holders.insert(name.to_string());
        }
        visit::visit_expr_assign(self, assignment);
    }

    fn visit_expr_let(&mut self, condition: &'a syn::ExprLet) {
        self.meet(&condition.expr, &condition.pat);
        visit::visit_expr_let(self, condition);
    }

    fn visit_expr_match(&mut self, choice: &'a syn::ExprMatch) {
        for arm in &choice.arms {
            self.meet(&choice.expr, &arm.pat);
        }
        visit::visit_expr_match(self, choice);
    }

    fn visit_expr_for_loop(&mut self, walk: &'a syn::ExprForLoop) {
        if let Expr::Array(array) = &*walk.expr {
            // Releases among other things.
            for element in &array.elems {
                self.meet(element, &walk.pat);
            }
        } else if self.is_release(&walk.expr) {
            self.offend("gone through");
        }
        visit::visit_expr_for_loop(self, walk);
    }

    fn visit_expr_index(&mut self, index: &'a syn::ExprIndex) {
        if self.is_release(&index.expr) {
            self.offend("taken apart by [...]");
        }
        visit::visit_expr_index(self, index);
    }

    fn visit_expr_method_call(&mut self, call: &'a syn::ExprMethodCall) {
        if self.is_release(&call.receiver) {
            let name = call.method.to_string();
            if LOOKS_INTO.contains(&&*name) {
                self.offend(&format!("taken apart by .{name}()"));
            }
            if ["eq", "ne"].contains(&&*name) && call.args.iter().any(is_text) {
                self.offend("compared with a text");
            }
            // `release.map(|text| ...)`
            for argument in &call.args {
                if let Expr::Closure(closure) = argument {
                    closure.inputs.iter().for_each(|input| self.hold(input));
                }
            }
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_call(&mut self, call: &'a syn::ExprCall) {
        // `str::parse(release)`
        if let Expr::Path(path) = &*call.func
            && let [.., kind, name] = &path.path.segments.iter().collect::<Vec<_>>()[..]
            && ["str", "String", "FromStr"].contains(&&*kind.ident.to_string())
            && LOOKS_INTO.contains(&&*name.ident.to_string())
            && call.args.iter().any(|argument| self.is_release(argument))
        {
            self.offend(&format!("taken apart by {}", name.ident));
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_expr_binary(&mut self, binary: &'a syn::ExprBinary) {
        use syn::BinOp::{Eq, Ge, Gt, Le, Lt, Ne};
        let sides = [&*binary.left, &*binary.right];
        let has_release = sides.iter().any(|side| self.is_release(side));
        match binary.op {
            Lt(_) | Le(_) | Gt(_) | Ge(_) => {
                if has_release {
                    self.offend("ordered");
                } else if sides.iter().any(|side| is_tuple_of_numbers(side)) {
                    self.offend("or what is ordered as its numbers are");
                }
            }
            Eq(_) | Ne(_) if has_release && sides.iter().any(|side| is_text(side)) => {
                self.offend("compared with a text");
            }
            _ => {}
        }
        visit::visit_expr_binary(self, binary);
    }

    fn visit_macro(&mut self, call: &'a syn::Macro) {
        if call.path.is_ident("matches") {
            if let Ok((value, pattern)) = call.parse_body_with(arguments_of_matches) {
                self.meet(&value, &pattern);
                // What is parsed here lives here only.
                let mut inner = self.inner();
                inner.visit_expr(&value);
                self.found.extend(inner.found);
            }
        } else if let Some(arguments) = arguments(call) {
            let mut inner = self.inner();
            arguments
                .iter()
                .for_each(|argument| inner.visit_expr(argument));
            self.found.extend(inner.found);
        }
    }
}

impl Flow {
    /// For what a macro was given.
    fn inner(&self) -> Flow {
        Flow {
            holders: self.holders.clone(),
            function: self.function.clone(),
            found: BTreeSet::new(),
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

//! "An accessor is one load" and "a list's offset is an immediate", read off the machine code of the crate in
//! `assembly/`. Compiled for the host; on anything but x86_64 nothing is looked at.
//!
//! After a change that is meant: `KSTRUCT_BLESS=1 cargo test -p tests --test assembly`, and read the difference.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::{env, fs};

use kernel::task_struct;
use kstruct::View as _;

/// Instructions by function, without labels' names and directives.
static FUNCTIONS: LazyLock<BTreeMap<String, Vec<String>>> = LazyLock::new(compile);

fn compile() -> BTreeMap<String, Vec<String>> {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("assembly.s");
    let cargo = |args: &[&str]| {
        let output = Command::new(env!("CARGO"))
            .current_dir(tests::root())
            .env_remove("RUSTFLAGS")
            .args(args)
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{}", tests::shown(&output));
    };
    if !out.exists() {
        // Else cargo would see nothing to do.
        cargo(&["clean", "--quiet", "--release", "--package", "assembly"]);
    }
    let emit = format!("asm={}", out.display());
    #[rustfmt::skip]
    cargo(&[
        "rustc", "--quiet", "--release", "--package", "assembly", "--lib", "--",
        "--emit", &emit, "-Ccodegen-units=1", "-Cdebuginfo=0", "-Cllvm-args=-x86-asm-syntax=intel",
    ]);
    functions(&fs::read_to_string(&out).expect("rustc wrote it"))
}

/// Splits assembly into functions of crate `assembly`.
fn functions(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut out = BTreeMap::new();
    let mut current: Option<(String, Vec<String>)> = None;
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some(label) = line.strip_suffix(':') {
            if label.starts_with("_") {
                current = short_name(label).map(|name| (name, Vec::new()));
            } else if label.starts_with(".Lfunc_end") {
                out.extend(current.take());
            } else if let Some((_, body)) = &mut current {
                body.push(format!("{label}:"));
            }
        } else if !line.is_empty()
            && !line.starts_with('.')
            && let Some((_, body)) = &mut current
        {
            body.push(line);
        }
    }
    for body in out.values_mut() {
        rename_labels(body);
    }
    out
}

/// `get_pid` from a mangled `...8assembly7get_pid...`.
fn short_name(mangled: &str) -> Option<String> {
    let rest = mangled.split_once("8assembly")?.1;
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let length: usize = rest[..digits].parse().ok()?;
    Some(rest.get(digits..digits + length)?.to_owned())
}

/// Calls labels L0, L1, ... in the order in which they stand.
fn rename_labels(body: &mut [String]) {
    let labels: Vec<String> = body
        .iter()
        .filter_map(|line| line.strip_suffix(':').map(str::to_owned))
        .collect();
    for line in body {
        let words = line.split_inclusive([' ', ':', ',']).map(|word| {
            let name = word.trim_end_matches([' ', ':', ',']);
            match labels.iter().position(|label| label == name) {
                Some(number) => format!("L{number}{}", &word[name.len()..]),
                None => word.to_owned(),
            }
        });
        *line = words.collect();
    }
}

fn function(name: &str) -> &'static [String] {
    match FUNCTIONS.get(name) {
        Some(body) => body,
        None => panic!("there is no code of {name}, but of {:?}", FUNCTIONS.keys()),
    }
}

/// The displacement of an instruction's memory operand: 148 of `[rax + 148]`, 0 of `[rax]`.
fn displacement(instruction: &str) -> Option<i64> {
    let operand = instruction.split_once('[')?.1.split_once(']')?.0;
    let parts: Vec<&str> = operand.split(' ').collect();
    match parts[..] {
        [.., sign, number] if number.bytes().all(|byte| byte.is_ascii_digit()) => {
            let number: i64 = number.parse().ok()?;
            Some(if sign == "-" { -number } else { number })
        }
        _ => Some(0),
    }
}

fn mnemonic(instruction: &str) -> &str {
    instruction.split(' ').next().unwrap_or_default()
}

/// Asserts that the function fetches the view's pointer to bytes and then loads from these displacements, and that
/// nothing in it branches, calls or compares.
fn assert_loads(name: &str, displacements: &[i64]) {
    let body = function(name);
    let shown = body.join("\n");
    for line in body {
        let word = mnemonic(line);
        assert!(
            !(line.ends_with(':')
                || word.starts_with('j')
                || word.starts_with("cmp")
                || matches!(word, "call" | "test" | "push" | "pop")),
            "{name} is not straight: {line}\n{shown}"
        );
    }
    let loads: Vec<&String> = body.iter().filter(|line| line.contains('[')).collect();
    assert!(
        loads[0].starts_with("mov") && loads[0].contains("qword ptr [rdi"),
        "{name} does not begin with the view's pointer to its bytes\n{shown}"
    );
    let found: Vec<i64> = loads[1..]
        .iter()
        .filter_map(|line| displacement(line))
        .collect();
    assert_eq!(found, displacements, "{name}\n{shown}");
    assert_eq!(
        body.last().map(String::as_str),
        Some("ret"),
        "{name}\n{shown}"
    );
}

/// Compares a function with `assembly/expected/NAME.s`.
fn assert_golden(name: &str) {
    let found = function(name).join("\n") + "\n";
    let path = tests::root().join(format!("tests/assembly/expected/{name}.s"));
    if env::var_os("KSTRUCT_BLESS").is_some() {
        fs::write(&path, found).expect("it can be written");
        return;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    if expected == found {
        return;
    }
    let mut difference = String::new();
    for line in expected
        .lines()
        .filter(|line| !found.lines().any(|f| f == *line))
    {
        let _ = writeln!(difference, "-{line}");
    }
    for line in found.lines() {
        let sign = if expected.lines().any(|e| e == line) {
            ' '
        } else {
            '+'
        };
        let _ = writeln!(difference, "{sign}{line}");
    }
    panic!(
        "the code of {name} is not what {} says:\n{difference}\nIf it is as good: KSTRUCT_BLESS=1 cargo test -p tests --test assembly",
        path.display()
    );
}

/// Asserts that a function that reads memory calls nothing but what finds memory off the beaten track and, once there is a
/// fault, what says that a list contradicts itself; that it can't panic, and has the constants folded into its instructions.
fn assert_folded(name: &str, offset: usize, member: usize) {
    let body = function(name);
    let shown = body.join("\n");
    for call in body.iter().filter(|line| mnemonic(line) == "call") {
        assert!(
            ["bytes_elsewhere", "entry_elsewhere", "contradiction"]
                .iter()
                .any(|known| call.contains(known)),
            "{name} calls: {call}\n{shown}"
        );
    }
    assert!(!shown.contains("panic"), "{name} can panic\n{shown}");
    // `lea rax, [r13 - 88]`, `add r14, -88` or `sub r14, 88`.
    let back = -i64::try_from(offset).expect("small");
    let folded = body.iter().any(|line| {
        displacement(line) == Some(back)
            || line.starts_with("add ") && line.ends_with(&format!(", {back}"))
            || line.starts_with("sub ") && line.ends_with(&format!(", {offset}"))
    });
    assert!(
        folded,
        "{name}: the offset {offset} is no immediate\n{shown}"
    );
    let loads = body
        .iter()
        .filter(|line| {
            mnemonic(line).starts_with("mov") && displacement(line) == Some(member as i64)
        })
        .count();
    assert_eq!(loads, 1, "{name}: loads of the member at {member}\n{shown}");
}

const PID: usize = task_struct::INFO.offset_of("pid");
const TASKS: usize = task_struct::INFO.offset_of("tasks");

#[test]
fn an_accessor_is_one_load() {
    if cfg!(not(target_arch = "x86_64")) {
        eprintln!("not run: this reads x86_64's instructions only");
        return;
    }
    assert_loads("get_pid", &[PID as i64]);
    assert_loads("get_embedded", &[TASKS as i64]);
    assert_loads("get_bit_field", &[0]);
    // 46 bits from the start on: a word, and the two bytes that are left of it.
    assert_loads("get_wide_bit_field", &[0, 4, 5]);
    for name in [
        "get_pid",
        "get_embedded",
        "get_bit_field",
        "get_wide_bit_field",
    ] {
        assert_golden(name);
    }
}

#[test]
fn a_walk_has_its_offset_folded_and_can_not_panic() {
    if cfg!(not(target_arch = "x86_64")) {
        eprintln!("not run: this reads x86_64's instructions only");
        return;
    }
    assert_folded("sum_of_pids", TASKS, PID);
    assert_folded("get_container", TASKS, PID);
}

#[test]
fn assembly_is_normalised() {
    let text = "\t.text\n_ZN8assembly3abc17h0123456789abcdefE:\n\t.cfi_startproc\n.LBB7_3:\n\tmov\teax, dword ptr [rdi - 8] # x\n\tjne\t.LBB7_3\n.Lfunc_end7:\n";
    let found = functions(text);
    assert_eq!(
        found["abc"],
        ["L0:", "mov eax, dword ptr [rdi - 8]", "jne L0"]
    );
    assert_eq!(displacement("mov eax, dword ptr [rdi - 8]"), Some(-8));
    assert_eq!(displacement("mov eax, dword ptr [rdi + rcx]"), Some(0));
    assert_eq!(displacement("mov eax, ecx"), None);
}

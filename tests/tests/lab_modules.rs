//! The variables of modules, where real kernels have them: against /proc/kallsyms, and against what the kernel shows of what
//! they hold.
//!
//! `cargo xtask test --lab` boots the machines and names them in `KSTRUCT_LAB_MACHINES`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::{build_examples, lab_machines, read_json, root, shown, text, xtask};

#[test]
fn variables_of_modules_are_where_the_guest_says() {
    for folder in lab_machines(&["stop"]) {
        check(&folder);
    }
}

/// A vmlinux that somebody took out of its package has no modules beside it.
#[test]
fn analyzers_compile_without_a_remark_where_there_are_no_modules() {
    for folder in lab_machines(&["stop"]) {
        let lab = read_json(&folder.join("lab.json"));
        let name = format!("bare-{}", text(&lab["release"]));
        // Beside the packages, so that the file can be linked.
        let packages = root().join("target/lab");
        let alone = tempfile::tempdir_in(&packages).expect("there is room");
        let vmlinux = alone.path().join(format!("vmlinux-{name}"));
        std::fs::hard_link(packages.join(text(&lab["vmlinux"])), &vmlinux).expect("it is there");
        let output = xtask(&["check", "--kernel", vmlinux.to_str().expect("UTF-8")]);
        let table = String::from_utf8_lossy(&output.stdout);
        let is_bare = table.contains(&name) && table.contains(", 0 modules");
        assert!(is_bare && output.status.success(), "{}", shown(&output));
        println!("{table}");
        let output = xtask(&["kernels", "remove", &name]);
        assert!(output.status.success(), "{}", shown(&output));
    }
}

fn check(machine: &Path) {
    let release = text(&read_json(&machine.join("lab.json"))["release"]);
    let vmcore = machine.join("vmcore");
    let program = build(&release, &vmcore);
    let output = Command::new(&program)
        .arg(&vmcore)
        .output()
        .expect("it was built");
    assert!(output.status.success(), "{release}: {}", shown(&output));
    let printed = String::from_utf8(output.stdout).expect("names are ASCII");

    // What the guest says: the addresses of a name in a module. GCC numbers statics of functions.
    let mut truth: BTreeMap<(&str, &str), BTreeSet<u64>> = BTreeMap::new();
    let kallsyms = read(&machine.join("truth/system/kallsyms"));
    for line in kallsyms.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [address, _, name, module] = words[..] {
            let name = name.split('.').next().unwrap_or(name);
            let module = module.trim_matches(['[', ']']);
            let address = u64::from_str_radix(address, 16).expect("an address");
            truth.entry((module, name)).or_default().insert(address);
        }
    }
    let (mut same, mut freed, mut values) = (0, 0, BTreeMap::new());
    let mut wrong = Vec::new();
    let mut modules = BTreeSet::new();
    for line in printed.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["=", module, value] => {
                values.insert(module, value);
            }
            // Memory of initialisation data is gone, and kallsyms doesn't name what was in it.
            ["!", name, module, why]
                if why.contains("after its initialisation")
                    && !truth.contains_key(&(module, name)) =>
            {
                freed += 1;
            }
            [address, name, module]
                if truth
                    .get(&(module, name))
                    .is_some_and(|known| known.contains(&number(address))) =>
            {
                same += 1;
                modules.insert(module);
            }
            _ => wrong.push(line),
        }
    }
    println!(
        "{release}: {same} variables of {} modules are where /proc/kallsyms has them, {freed} were freed, {} differ",
        modules.len(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{release}: {wrong:#?}");
    assert!(same > 500 && modules.len() > 30, "{release}");

    let expected = [("veth", "veth"), ("bonding", "bond"), ("sch_htb", "htb")];
    for (module, value) in expected {
        assert_eq!(values.get(module), Some(&value), "{release}");
    }
    // What was over when the truth was told may be there again, since a packet was sent once more: as many as before or after.
    let [before, after] = ["truth", "truth-after"].map(|truth| -> usize {
        let lines = |name| {
            read(
                &machine
                    .join(truth)
                    .join("net")
                    .join(name)
                    .join("nf_conntrack"),
            )
        };
        ["root", "lab", "idle"]
            .map(|name| lines(name).lines().count())
            .iter()
            .sum()
    });
    let connections = values["nf_conntrack"].parse().expect("a number");
    assert!(
        before > 300 && (before.min(after)..=before.max(after)).contains(&connections),
        "{release}: {connections} entries of nf_conntrack_hash, {before} and {after} in /proc"
    );
}

fn number(address: &str) -> u64 {
    let digits = address.strip_prefix("0x").expect("hexadecimal");
    u64::from_str_radix(digits, 16).expect("an address")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Builds the example `module_symbols` against what it names of a kernel with all modules that were loaded: the variables of
/// modules that there are, which all bindings say.
fn build(release: &str, vmcore: &Path) -> PathBuf {
    let folder = root().join("target/lab/with-modules").join(release);
    let core = vmcore.to_str().expect("paths here are UTF-8");
    let generate = |into: &Path, options: &[&str]| {
        let into = into.to_str().expect("paths here are UTF-8");
        let args = [
            "gen",
            release,
            "--modules",
            "loaded",
            "--core",
            core,
            "--into",
            into,
        ];
        let output = xtask(&[&args[..], options].concat());
        assert!(output.status.success(), "{}", shown(&output));
    };
    generate(&folder, &[]);

    let index = read_json(&folder.join("index.json"));
    let constants = read_constants(&folder.join("sym"));
    let mut lines = String::from("{\n");
    for symbol in tests::array(&index["symbols"]) {
        let rust = text(&symbol["rust"]);
        if symbol["module"].is_string() && constants.contains(&rust) {
            let (name, module) = (text(&symbol["name"]), text(&symbol["module"]));
            let _ = writeln!(lines, "show({name:?}, {module:?}, sym::{rust}.locate(k));");
        }
    }
    lines.push_str("}\n");
    let list = root()
        .join("target/lab/with-modules")
        .join(format!("{release}.rs"));
    std::fs::write(&list, lines).expect("the lab's folder is writable");
    let used = root()
        .join("target/lab/with-modules")
        .join(format!("{release}-used"));
    let sources = [
        &list,
        &root().join("tests/examples/module_symbols.rs"),
        // The examples' package depends on it.
        &root().join("analyzers/linux/src"),
    ];
    let paths = sources.map(|path| path.to_str().expect("paths here are UTF-8"));
    generate(&used, &paths.map(|path| ["--used-by", path]).concat());

    let list = list.to_str().expect("paths here are UTF-8");
    let [program] = build_examples(
        ["module_symbols"],
        release,
        &used,
        &[("KSTRUCT_MODULE_SYMBOLS", list)],
    );
    program
}

/// The variables that the bindings have: not all that the index knows, as macros make up names that nobody uses.
fn read_constants(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).expect("the bindings have variables") {
        for line in read(&entry.expect("it can be listed").path()).lines() {
            if let Some(rest) = line.strip_prefix("pub const ") {
                found.extend(rest.split(':').next().map(str::to_owned));
            }
        }
    }
    found
}

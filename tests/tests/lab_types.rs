//! `struct` and `sym` on real kernels: every layout, every type at some address, every task, every symbol.
//!
//! `cargo xtask test --lab` boots the machines and names them in `KSTRUCT_LAB_MACHINES`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kstruct::types::{Extent, Kind, Types, aggregate, layout};
use kstruct::{Functions, KernelInfo, Memory, Words};
use kstruct_codegen::dwarf;
use kstruct_codegen::image::Image;
use kstruct_codegen::model::Model;
use linux::Faults;
use serde_json::Value;
use structs::Context;
use structs::print::{Printer, Style};
use tests::compare::{Comparison, Row};
use tests::types::{compare, table};
use tests::{array, lab_machines, read_json, root, shown, text, xtask};

struct Machine {
    release: String,
    vmcore: PathBuf,
    vmlinux: PathBuf,
    truth: PathBuf,
}

fn machines() -> Vec<Machine> {
    let machines: Vec<Machine> = lab_machines(&["stop"])
        .into_iter()
        .map(|folder| {
            let lab = read_json(&folder.join("lab.json"));
            Machine {
                release: text(&lab["release"]),
                vmcore: folder.join("vmcore"),
                // lab.json's paths are relative to target/lab.
                vmlinux: folder.join("../..").join(text(&lab["vmlinux"])),
                truth: folder.join("truth"),
            }
        })
        .collect();
    assert!(!machines.is_empty());
    machines
}

/// A kernel with all modules of which there is debug information.
fn model(machine: &Machine) -> Model {
    let folder = machine.vmlinux.with_file_name("modules-debug");
    let mut modules: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the modules' debug files are there")
        .map(|entry| entry.expect("it can be listed").path())
        .collect();
    modules.sort();
    let open = |path: &PathBuf| Image::open(path).unwrap_or_else(|error| panic!("{error}"));
    let images: Vec<Image> = modules.iter().map(open).collect();
    dwarf::read(&open(&machine.vmlinux), &images, &|_| ()).expect("the DWARF is sound")
}

/// What the bindings would say of the kernel: this test is compiled for another one.
fn kernel_info(model: &Model, types: &'static Types) -> &'static KernelInfo {
    let address = |name: &str| Some(types.variables_named(name).first()?.address);
    Box::leak(Box::new(KernelInfo {
        release: model.kernel.release.clone().leak(),
        build_id: "",
        banner: model.kernel.banner.clone().leak(),
        machine: model.kernel.machine,
        pointer_size: model.kernel.pointer_size,
        big_endian: model.kernel.big_endian,
        banner_address: model.kernel.banner_address,
        page_table: address("init_top_pgt").or_else(|| address("swapper_pg_dir")),
        page_offset_base: address("page_offset_base"),
        per_cpu_offset: address("__per_cpu_offset").map(|address| Words { address, count: 64 }),
        module_section: None,
        functions: Functions(""),
    }))
}

#[test]
fn every_layout_is_that_of_the_model() {
    for machine in machines() {
        let model = model(&machine);
        let types = table(&model);
        let found = compare(&model, types);
        println!(
            "{}: {} types, {} members, {} enumerators, {} typedefs, {} variables, {} differ",
            machine.release,
            found.items,
            found.members,
            found.enumerators,
            found.typedefs,
            found.variables,
            found.differences.len()
        );
        let first: Vec<&String> = found.differences.iter().take(20).collect();
        assert!(first.is_empty(), "{}: {first:#?}", machine.release);
        assert!(found.items > 10_000 && found.members > 45_000);

        every_type_can_be_shown(&machine, &model, types);
    }
}

/// Each type at places where something else lies: whatever is there, it is shown, and ends.
fn every_type_can_be_shown(machine: &Machine, model: &Model, types: &'static Types) {
    let memory = Memory::open(&machine.vmcore, kernel_info(model, types), false)
        .unwrap_or_else(|error| panic!("{error}"));
    let context = Context::with(&memory, types);
    let init_task = types.variables_named("init_task")[0];
    let place = init_task.locate(&memory).expect("it is the kernel's");
    let (mut count, mut length, mut layouts) = (0, 0, 0);
    let mut faults = Faults::default();
    for item in types.items() {
        layouts += layout(item).len();
        if item.kind == Kind::Enum {
            continue;
        }
        // In the image, at an odd address, where the page ends, and nowhere.
        for address in [place, place + 1, (place | 4095) - 2, 8] {
            let value = aggregate(&memory, item, address, Extent::default());
            let mut printer = Printer {
                context: &context,
                style: Style {
                    hexadecimal: false,
                    addresses: false,
                    elements: 32,
                },
                faults: &mut faults,
            };
            length += printer.text(&value, None, 0).len();
            length += usize::from(printer.json(&value, None).is_object());
            count += 1;
        }
    }
    println!(
        "{}: {count} structs shown in {length} bytes ({} parts could not be read), layouts in {layouts} bytes",
        machine.release,
        faults.count()
    );
    assert!(count > 20_000);
}

/// What a command prints as JSON, having read everything.
fn run(machine: &Machine, program: &str, args: &[&str], input: &str) -> Value {
    let program = root()
        .join("target/analyzers")
        .join(&machine.release)
        .join(program);
    let mut child = Command::new(&program)
        .arg("--core")
        .arg(&machine.vmcore)
        .args(["--format", "json"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let mut stdin = child.stdin.take().expect("it was asked for");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it was started here");
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{args:?}: {error}: {}", output.status));
    assert_eq!(report["fault_count"], 0, "{}", report["faults"]);
    // What `sym` is asked for and doesn't find is a failure, and named.
    let lacks = report["missing"]
        .as_array()
        .is_some_and(|missing| !missing.is_empty());
    let status = if lacks { 2 } else { 0 };
    assert_eq!(output.status.code(), Some(status), "{args:?}");
    report
}

fn build(machine: &Machine) {
    let output = xtask(&["build", "--kernel", &machine.release, "struct", "sym"]);
    assert!(output.status.success(), "{}", shown(&output));
}

fn row<const N: usize>(columns: [(&'static str, String); N]) -> Row {
    columns.into_iter().collect()
}

#[test]
fn tasks_by_their_list_are_those_of_proc() {
    for machine in machines() {
        build(&machine);
        let members = "pid,tgid,comm,real_parent.tgid,static_prio,prio,flags,signal.nr_threads";
        let report = run(
            &machine,
            "struct",
            &["task_struct", "--list", "tasks", "init_task", "-m", members],
            "",
        );
        let number = |value: &Value| value.as_i64().unwrap_or(i64::MIN);
        let mut found = BTreeMap::new();
        for task in array(&report["structs"]) {
            let task = &task["value"];
            let pid = number(&task["pid"]);
            // The idle task, where the list begins, is not in /proc.
            if pid == 0 {
                continue;
            }
            let columns = row([
                ("tgid", text(&task["tgid"])),
                ("ppid", text(&task["real_parent.tgid"])),
                ("comm", text(&task["comm"])),
                // `task_nice`, `task_prio` (kernel/sched/syscalls.c).
                ("nice", (number(&task["static_prio"]) - 120).to_string()),
                ("priority", (number(&task["prio"]) - 100).to_string()),
                ("flags", text(&task["flags"])),
                ("threads", text(&task["signal.nr_threads"])),
            ]);
            found.insert(pid, columns);
        }
        let tasks = read_json(&machine.truth.join("tasks.json"));
        let truth: BTreeMap<i64, Row> = array(&tasks)
            .iter()
            .filter(|task| task["tid"] == task["tgid"])
            .map(|task| {
                let pid = number(&task["tid"]);
                let columns = row([
                    ("tgid", text(&task["tgid"])),
                    ("ppid", text(&task["ppid"])),
                    ("comm", comm(task, found.get(&pid))),
                    ("nice", text(&task["nice"])),
                    ("priority", text(&task["priority"])),
                    ("flags", text(&task["flags"])),
                    ("threads", text(&task["threads"])),
                ]);
                (pid, columns)
            })
            .collect();
        let mut comparison = Comparison::default();
        comparison.tables("task", &found, &truth);
        comparison.finish(&machine.release);
    }
}

/// Numbers that are the same on each CPU are known, in whichever piece of memory they are, and addresses of processes are none of them, which may
/// be as small.
#[test]
fn pointers_to_each_cpu_are_told_from_those_of_processes() {
    for machine in machines() {
        build(&machine);
        let shown = |item: &str, list: &str, head: &str, member: &str| -> Vec<(u64, bool)> {
            let args = [item, head, "--list", list, "-m", member];
            let report = run(&machine, "struct", &args, "");
            array(&report["structs"])
                .iter()
                .map(|row| &row["value"][member])
                .map(|pointer| (address(&pointer["address"]), pointer["per_cpu"] == true))
                .filter(|(address, _)| *address != 0)
                .collect()
        };
        let devices = shown(
            "net_device",
            "dev_list",
            "init_net.dev_base_head",
            "pcpu_refcnt",
        );
        let threads = shown("task_struct", "tasks", "init_task", "clear_child_tid");
        // The first interface is older than the second piece.
        let (small, large): (Vec<_>, Vec<_>) = devices
            .into_iter()
            .partition(|(address, _)| *address < 1 << 32);
        println!(
            "{}: {} in the first piece, {} in others, {} of processes",
            machine.release,
            small.len(),
            large.len(),
            threads.len()
        );
        assert!(!small.is_empty() && !large.is_empty() && !threads.is_empty());
        for (address, is_per_cpu) in small.into_iter().chain(large) {
            assert!(is_per_cpu, "{}: {address:#x}", machine.release);
        }
        for (address, is_per_cpu) in threads {
            assert!(!is_per_cpu, "{}: {address:#x}", machine.release);
        }
    }
}

/// `PF_WQ_WORKER`
const WORKER: u64 = 0x20;

/// /proc shows what a worker works on behind its name, and names of kernel threads that are longer than the 15 characters of
/// `task_struct.comm` (`proc_task_name`, fs/proc/array.c).
fn comm(task: &Value, found: Option<&Row>) -> String {
    let shown = text(&task["comm"]);
    let Some(name) = found.and_then(|row| row.get("comm")) else {
        return shown;
    };
    let is_worker = task["flags"]
        .as_u64()
        .is_some_and(|flags| flags & WORKER != 0);
    let rest = shown.strip_prefix(name.as_str());
    let is_same = rest.is_some_and(|rest| {
        rest.is_empty() || name.len() == 15 || is_worker && rest.starts_with(['-', '+'])
    });
    if is_same { name.clone() } else { shown }
}

/// A line of /proc/kallsyms: address, letter, name, module.
type Line<'t> = (u64, &'t str, &'t str, Option<&'t str>);

fn kallsyms(text: &str) -> Vec<Line<'_>> {
    text.lines()
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let address = u64::from_str_radix(words[0], 16).expect("an address");
            let module = words.get(3).map(|module| module.trim_matches(['[', ']']));
            (address, words[1], words[2], module)
        })
        // Trampolines of ftrace and copies for kprobes are in no list of symbols, but are added when /proc/kallsyms is read.
        .filter(|line| !matches!(line.3, Some("__builtin__ftrace" | "__builtin__kprobes")))
        .collect()
}

fn address(value: &Value) -> u64 {
    let digits = value.as_str().and_then(|text| text.strip_prefix("0x"));
    u64::from_str_radix(digits.expect("an address"), 16).expect("an address")
}

#[test]
fn symbols_are_those_of_kallsyms() {
    for machine in machines() {
        build(&machine);
        let path = machine.truth.join("system/kallsyms");
        let text = read(&path);
        let truth = kallsyms(&text);
        assert!(truth.iter().any(|line| line.3 == Some("bpf")));

        // By name: each line of the list is among what the name gives, and nothing else is.
        let names: BTreeSet<&str> = truth.iter().map(|line| line.2).collect();
        let words: String = names.iter().map(|name| format!("{name}\n")).collect();
        let report = run(&machine, "sym", &["-"], &words);
        assert_eq!(report["missing"], Value::Array(Vec::new()));
        let rows = array(&report["symbols"]);
        let mut found: Vec<Line<'_>> = rows
            .iter()
            .map(|row| {
                let string = |name: &str| row[name].as_str();
                (
                    address(&row["address"]),
                    string("letter").expect("a letter"),
                    string("name").expect("a name"),
                    string("module"),
                )
            })
            .collect();
        let mut expected = truth.clone();
        // Capital letters are those of what a module exports.
        assert!(truth.iter().any(|line| line.3.is_some() && line.1 == "T"));
        found.sort_unstable();
        expected.sort_unstable();
        let differing = differing(&found, &expected);
        println!(
            "{}: {} names, {} symbols by name, {} differ",
            machine.release,
            names.len(),
            found.len(),
            differing.len()
        );
        assert!(
            differing.is_empty(),
            "{:#?}",
            &differing[..differing.len().min(20)]
        );

        // By address: what lies there has the name, or it is another name of that place. Absolute symbols are numbers, not places.
        let places: BTreeMap<u64, Vec<Line<'_>>> = truth
            .iter()
            .filter(|line| !line.1.eq_ignore_ascii_case("a"))
            .fold(BTreeMap::new(), |mut places, line| {
                places.entry(line.0).or_insert_with(Vec::new).push(*line);
                places
            });
        let words: String = places
            .keys()
            .map(|place| format!("0x{place:x}\n"))
            .collect();
        let report = run(&machine, "sym", &["-"], &words);
        let mut by_address: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
        for row in array(&report["symbols"]) {
            assert_eq!(row["offset"], 0, "{row}");
            let names = by_address.entry(address(&row["address"])).or_default();
            names.insert(tests::text(&row["name"]));
            names.extend(array(&row["aliases"]).iter().map(tests::text));
        }
        let end = truth
            .iter()
            .find(|line| line.2 == "_end")
            .map(|line| line.0);
        let (mut same, mut beyond, mut wrong) = (0, 0, Vec::new());
        for (place, lines) in &places {
            for line in lines {
                if by_address
                    .get(place)
                    .is_some_and(|names| names.contains(line.2))
                {
                    same += 1;
                } else if line.3.is_none() && end.is_some_and(|end| *place >= end) {
                    // `_end` and marks behind it: where the kernel's image has ended, nothing of it lies.
                    beyond += 1;
                } else {
                    wrong.push(*line);
                }
            }
        }
        println!(
            "{}: {} symbols by {} addresses, {beyond} at or behind the end of the image, {} differ",
            machine.release,
            same,
            places.len(),
            wrong.len()
        );
        assert!(wrong.is_empty(), "{:#?}", &wrong[..wrong.len().min(20)]);
        assert!(same > 90_000 && beyond < 20);
    }
}

/// What only one of two sorted lists has.
fn differing<'t>(a: &[Line<'t>], b: &[Line<'t>]) -> Vec<Line<'t>> {
    let (mut i, mut j) = (0, 0);
    let mut found = Vec::new();
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        match x.cmp(y) {
            std::cmp::Ordering::Equal => {
                i += 1;
                j += 1;
            }
            std::cmp::Ordering::Less => {
                found.push(*x);
                i += 1;
            }
            std::cmp::Ordering::Greater => {
                found.push(*y);
                j += 1;
            }
        }
    }
    found.extend(&a[i..]);
    found.extend(&b[j..]);
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

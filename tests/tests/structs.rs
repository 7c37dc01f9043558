//! `struct` and `sym` on the fixture's dump.

use std::process::Output;
use std::time::Duration;

use serde_json::Value;
use tests::{built, fixture_vmcore, run_soon, shown};

fn run(program: &str, args: &[&str]) -> Output {
    let core = fixture_vmcore();
    let core = core.to_str().expect("paths here are UTF-8");
    let args = [&["--core", core], args].concat();
    run_soon(built(program), &args, Duration::from_secs(20))
}

/// What a command prints; it could read everything.
fn text(program: &str, args: &[&str]) -> String {
    let output = run(program, args);
    assert!(output.status.success(), "{args:?}: {}", shown(&output));
    String::from_utf8(output.stdout).expect("the fixture is ASCII")
}

fn json(program: &str, args: &[&str]) -> Value {
    let args = [args, &["--format", "json"]].concat();
    serde_json::from_str(&text(program, &args)).expect("it is JSON")
}

/// What is wrong with what was asked for.
fn error(program: &str, args: &[&str]) -> String {
    let output = run(program, args);
    assert_eq!(
        output.status.code(),
        Some(2),
        "{args:?}: {}",
        shown(&output)
    );
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn members_and_paths() {
    for (args, expected) in [
        (
            &["task_struct.pid,comm", "init_task"][..],
            "struct task_struct c0102300\n  pid = 0\n  comm = \"swapper\"\n",
        ),
        (
            &["init_task.comm"],
            "[c0102526] char comm[16] = \"swapper\"\n",
        ),
        (
            &["sym:init_task.tasks.next->next->prev"],
            "[c034205c] struct list_head *prev = 0xc0340058\n",
        ),
        (
            &["task_struct:c0340000.comm[0]", "-x"],
            "[c0340226] char comm[0] = 0x69 'i'\n",
        ),
        (
            &["task_struct", "c0340058", "-l", "tasks", "-m", "comm"],
            "struct task_struct c0340000\n  comm = \"init\"\n",
        ),
        (
            &["task_struct.pid,tasks.prev", "-o"],
            "struct task_struct {\n   [148] pid_t pid;\n   [92] struct list_head *prev;\n}\nSIZE: 1408\n",
        ),
        (
            &["*init_task.active_mm", "--members", "mm_count"],
            "struct mm_struct c0102080\n  mm_count = {counter = 1}\n",
        ),
    ] {
        assert_eq!(text("struct", args), expected, "{args:?}");
    }
}

#[test]
fn lists_have_a_line_for_each() {
    let tasks = text(
        "struct",
        &[
            "task_struct",
            "--list",
            "tasks",
            "init_task",
            "-m",
            "pid,comm",
        ],
    );
    assert!(
        tasks.starts_with("c0102300  pid=0  comm=\"swapper\"\nc0340000  pid=1  comm=\"init\"\n"),
        "{tasks}"
    );
    assert_eq!(tasks.lines().count(), 16);
    // The same as JSON, and from any other of them.
    let rows = json(
        "struct",
        &["task_struct", "--list", "tasks", "c0340000", "-m", "pid"],
    );
    let rows = rows["structs"].as_array().expect("a list");
    assert_eq!(rows.len(), 16);
    assert_eq!(rows[0]["value"]["pid"], 1);
    // Pointers, from the variable that points to the first.
    let devices = text(
        "struct",
        &["net_device", "--next", "next", "dev_base", "-m", "name"],
    );
    assert!(devices.contains("name=\"lo\""), "{devices}");
    let limited = text(
        "struct",
        &[
            "task_struct",
            "--list",
            "tasks",
            "init_task",
            "-m",
            "pid",
            "--limit",
            "2",
        ],
    );
    assert!(limited.ends_with("... 14 more\n"), "{limited}");
}

#[test]
fn a_whole_struct_as_text_and_as_json() {
    let shown = text("struct", &["task_struct", "init_task"]);
    for line in [
        "struct task_struct c0102300 {",
        "  thread_info = 0xc0109000 <init_thread_union>,",
        "  usage = {counter = 2},",
        "  run_list = {next = 0xc0102320 <init_task+0x20>, prev = 0xc0102320 <init_task+0x20>},",
        "  comm = \"swapper\",",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
    }
    let value = json("struct", &["task_struct", "init_task"]);
    let task = &value["structs"][0]["value"];
    assert_eq!(task["comm"], "swapper");
    assert_eq!(task["usage"]["counter"], 2);
    assert_eq!(task["run_list"]["next"]["symbol"], "init_task+0x20");
    assert_eq!(value["fault_count"], 0);
    let shallow = text("struct", &["task_struct", "init_task", "--depth", "1"]);
    assert!(shallow.contains("  usage = {...},\n"), "{shallow}");
}

#[test]
fn layouts_are_those_of_show() {
    for name in ["task_struct", "shape_anonymous", "shape_bits", "atomic_t"] {
        let theirs = tests::xtask(&["show", name]);
        assert!(theirs.status.success(), "{}", shown(&theirs));
        let theirs = String::from_utf8_lossy(&theirs.stdout).into_owned();
        assert_eq!(text("struct", &[name]), theirs);
    }
    let layout = json("struct", &["shape_anonymous"]);
    assert_eq!(layout["types"][0]["members"][3]["name"], "half_high");
    assert_eq!(layout["types"][0]["members"][3]["offset"], 6);
}

#[test]
fn symbols_both_ways() {
    let found = json("sym", &["init_task", "c0102526", "init_*"]);
    let rows = found["symbols"].as_array().expect("a list");
    assert_eq!(rows[0]["address"], "0xc0102300");
    assert_eq!(rows[0]["type"], "struct task_struct");
    assert_eq!(rows[0]["size"], 1408);
    assert_eq!(rows[1]["name"], "init_task");
    assert_eq!(rows[1]["offset"], 0x226);
    assert!(rows.len() > 3);
    let all = json("sym", &["-l"]);
    assert!(all["symbols"].as_array().is_some_and(|all| all.len() > 100));
}

#[test]
fn what_is_not_there_is_an_error_that_helps() {
    for (program, args, part) in [
        (
            "struct",
            &["task_strut", "c0102300"][..],
            "no struct or union task_strut; it has task_struct",
        ),
        ("struct", &["no_such_thing"], "no variable no_such_thing"),
        (
            "struct",
            &["init_tsk"],
            "no variable init_tsk; it has init_task",
        ),
        (
            "struct",
            &["task_strct"],
            "no type and no variable task_strct; it has task_struct",
        ),
        ("struct", &["TASK_STRUCT"], "; it has task_struct"),
        (
            "struct",
            &["task_struct", "-c", "0", "init_task"],
            "0 is not in 1..",
        ),
        (
            "struct",
            &["task_struct.pidd", "init_task"],
            "no member pidd; it has pid, ",
        ),
        ("struct", &["init_task.mm.nothing"], "no member nothing"),
        ("struct", &["init_task.pid.x"], "is no struct"),
        (
            "struct",
            &["task_struct", "--list", "pid", "init_task"],
            "no link",
        ),
        ("struct", &["task_struct", "zzz"], "no variable zzz"),
        ("struct", &["init_task.comm[99]"], "beyond the 16 elements"),
        (
            "struct",
            &["task_struct", "--rbtree", "tasks", "init_task"],
            "no rb_node",
        ),
        (
            "struct",
            &["pid", "--idr", "init_task"],
            "init_task is a struct task_struct, and no idr",
        ),
        ("sym", &["no_such_symbol"], "no symbol no_such_symbol"),
        (
            "sym",
            &["init_tsk"],
            "no symbol init_tsk; there is init_task",
        ),
        (
            "sym",
            &["-m", "nothing"],
            "no such symbol of a module nothing",
        ),
    ] {
        let told = error(program, args);
        assert!(told.contains(part), "{args:?}: {told}");
    }
}

/// Addresses that lead nowhere, lists that are none: faults, and an end.
#[test]
fn hostile_questions_have_an_end() {
    for args in [
        &["task_struct", "0x0"][..],
        &["task_struct", "0xffffffffffffffff"],
        &["task_struct", "0xfffffffe"],
        &["task_struct", "0xc0102301"],
        &["task_struct", "--list", "tasks", "0x10"],
        &["task_struct", "--list", "tasks", "0xc0102301", "-m", "pid"],
        &["task_struct", "--list", "mm", "init_task"],
        &["task_struct", "--list", "parent", "init_task", "-m", "pid"],
        &[
            "task_struct",
            "--list",
            "real_parent",
            "0xc0102304",
            "-m",
            "pid",
        ],
        &[
            "task_struct",
            "--list",
            "tasks",
            "--head",
            "0xc0102300",
            "-m",
            "pid",
        ],
        &["task_struct", "init_task", "-l", "0xffffffffffffffff"],
        &["task_struct", "init_task", "-c", "1000", "-m", "pid"],
        &[
            "task_struct",
            "--hlist-table",
            "pids",
            "init_task",
            "--buckets",
            "9",
        ],
        &["task_struct", "--rbtree", "run_list", "init_task"],
        &["task_struct:0xffffffff.mm.pgd"],
        &["list_head", "init_task+18446744073709551615"],
        &["init_task.comm[18446744073709551615]"],
        &["*****init_task.mm"],
        &["task_struct:"],
        &[":"],
        &["sym:"],
        &[""],
        &["."],
        &["*"],
        &["struct "],
        &["task_struct", ""],
        &["task_struct", "init_task", "--depth", "0"],
        &["init_task", "--cpu", "4294967295"],
    ] {
        for format in ["table", "json"] {
            let args = [args, &["--format", format]].concat();
            let output = run("struct", &args);
            let code = output.status.code();
            assert!(matches!(code, Some(0 | 2)), "{args:?}: {}", shown(&output));
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(!told.contains("panicked"), "{args:?}: {told}");
        }
    }
    for what in [
        "",
        "0",
        "ffffffffffffffff",
        "+",
        "init_task+",
        "**",
        "?",
        "0x",
    ] {
        let output = run("sym", &["--", what]);
        assert!(
            matches!(output.status.code(), Some(0 | 2)),
            "{what}: {}",
            shown(&output)
        );
    }
}

#[test]
fn what_is_asked_for_wrongly_is_said() {
    for (args, expected) in [
        (
            &["task_struct", "c0340058", "-l", "5000"][..],
            "5000 lies beyond struct task_struct, which has 1408 bytes",
        ),
        (&["softnet_data", "--cpu", "1"], "where? Without an address"),
        (
            &["task_struct", "--list", "tasks"],
            "where? Without an address",
        ),
        (
            &["task_struct", "init_task", "--cpu", "1"],
            "init_task is no per-CPU variable",
        ),
        (
            &[
                "nf_hook_ops",
                "--hlist-table",
                "list",
                "nf_hooks",
                "--buckets",
                "33",
            ],
            "nf_hooks has 32 buckets, and not 33",
        ),
    ] {
        let message = error("struct", args);
        assert!(message.contains(expected), "{args:?}: {message}");
    }
}

#[test]
fn a_pointer_is_followed_to_the_struct() {
    // A variable that points to the first interface.
    assert_eq!(
        text("struct", &["net_device.name", "dev_base"]),
        "struct net_device c01028c0\n  name = \"lo\"\n"
    );
}

#[test]
fn symbols_that_are_missing_are_a_failure() {
    let output = run("sym", &["init_task", "nosuch"]);
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("init_task"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no symbol nosuch"));
}

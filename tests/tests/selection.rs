//! A part of the bindings: what an analyzer names, or what a type leads to.

use std::collections::BTreeSet;

use kstruct_codegen::emit::Files;
use kstruct_codegen::image::Image;
use kstruct_codegen::model::Model;
use kstruct_codegen::{dwarf, emit, names, select};
use tests::{built, fixture_vmcore, fixture_vmlinux, shown, xtask};

fn fixture() -> Model {
    let image = Image::open(&fixture_vmlinux()).expect("the fixture is there");
    dwarf::read(&image, &[], &|_| ()).expect("the fixture's DWARF is sound")
}

fn emitted(model: &Model, selection: &select::Selection) -> Files {
    let names = names::assign(model);
    emit::selected(model, &names, Some(selection), "a test").expect("the generator writes Rust")
}

/// The accessors of a struct.
fn accessors<'a>(files: &'a Files, name: &str) -> BTreeSet<&'a str> {
    let head = format!("impl<'m> {name}<'m> {{\n");
    let body = files.values().find_map(|text| text.split_once(&head));
    let Some((_, body)) = body else {
        return BTreeSet::new();
    };
    let body = body.split("\n}\n").next().unwrap_or_default();
    let functions = body.split("pub fn ").skip(1);
    functions
        .map(|text| text.split('(').next().unwrap_or_default())
        .collect()
}

fn has_struct(files: &Files, name: &str) -> bool {
    let head = format!("pub struct {name}<'m>(");
    files.values().any(|text| text.contains(&head))
}

#[test]
fn what_sources_name_is_there_and_nothing_else() {
    let model = fixture();
    let mut identifiers = BTreeSet::new();
    select::identifiers(
        r#"
        use kernel::{sym, task_struct};
        /* a comment names r#state */
        fn f(k: &Memory) { m!(k.get(sym::init_task)?.mm().deref()?.rss()); "tgid"; task_struct::r#pid; }
        "#,
        &mut identifiers,
    );
    assert!(identifiers.contains("mm") && identifiers.contains("pid"));
    assert!(!identifiers.contains("tgid") && !identifiers.contains("state"));
    let names = names::assign(&model);
    let selection = select::used_by(&model, &names, &identifiers);
    let files = emitted(&model, &selection);
    assert_eq!(
        accessors(&files, "task_struct"),
        BTreeSet::from(["mm", "pid"])
    );
    // Behind a pointer that an accessor gives.
    assert!(has_struct(&files, "mm_struct"));
    // Embedded, so that Debug shows it; without accessors that nobody names.
    assert!(has_struct(&files, "list_head"));
    assert_eq!(accessors(&files, "list_head"), BTreeSet::new());
    // Neither named nor led to.
    assert!(!has_struct(&files, "net_device"));
    assert!(files["sym/mod.rs"].contains("letter_i") && !files["sym/mod.rs"].contains("letter_d"));
    assert!(!files["constants.rs"].contains("pub const"));
    assert!(selection.count() > 2 && selection.count() < model.items.len() / 2);
    // What the kernel has is what kernel_has asks for, be it selected or not.
    assert_eq!(
        files["names.txt"],
        emit::files(&model, "a test").expect("the generator writes Rust")["names.txt"]
    );
}

#[test]
fn a_type_leads_to_all_that_it_embeds_and_points_to() {
    let model = fixture();
    let names = names::assign(&model);
    let wanted = ["struct net_device".to_owned()];
    let Ok(selection) = select::closure_of(&model, &names, &wanted) else {
        panic!("the fixture has network devices")
    };
    let files = emitted(&model, &selection);
    for name in ["net_device", "Qdisc"] {
        assert!(has_struct(&files, name), "{name}");
        assert_eq!(
            accessors(&files, name),
            accessors(&emit::files(&model, "a test").expect("it is Rust"), name)
        );
    }
    assert!(!has_struct(&files, "shape_bits"));
    let has = |line: &str| files["names.txt"].lines().any(|known| known == line);
    assert!(has("net_device") && has("net_device.name") && !has("shape_bits"));

    let wanted = ["task_struct", "no_such_thing", "nor_this"].map(str::to_owned);
    let Err(unknown) = select::closure_of(&model, &names, &wanted) else {
        panic!("there are no such types")
    };
    assert_eq!(unknown, ["no_such_thing", "nor_this"]);
}

/// An analyzer that is built against what it uses prints what one that is built against everything does.
#[test]
fn a_selection_serves_analyzers_as_well_as_everything() {
    let core = fixture_vmcore();
    let core = core.to_str().expect("paths here are UTF-8");
    for analyzer in ["ps", "netdev"] {
        let full = std::process::Command::new(built(analyzer))
            .args(["--core", core, "--format", "json"])
            .output()
            .expect("it was built");
        assert!(full.status.success(), "{}", shown(&full));
        let selected = xtask(&["run", analyzer, "--core", core, "--", "--format", "json"]);
        assert!(selected.status.success(), "{}", shown(&selected));
        assert!(full.stdout.len() > 100);
        assert_eq!(full.stdout, selected.stdout, "{analyzer}");
    }
}

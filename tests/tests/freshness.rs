//! The committed bindings are what the generator makes of the committed kernel, whatever the number of threads.

use std::path::Path;

use kstruct_codegen::emit::{self, Files};
use kstruct_codegen::image::Image;
use kstruct_codegen::{dwarf, names, output};

/// What `cargo xtask gen vmlinux-2.6.9` writes, which takes the modules that analyzers ask for: all that the fixture has.
fn bindings(threads: usize) -> (Files, Vec<u8>) {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .expect("threads can be started");
    pool.install(|| {
        let image = Image::open(&tests::fixture_vmlinux()).expect("the fixture is there");
        let modules = tests::fixture_modules();
        let modules: Vec<Image> = modules
            .iter()
            .map(|path| Image::open(path).expect("the fixture is there"))
            .collect();
        let model = dwarf::read(&image, &modules, &|_| ()).expect("the fixture's DWARF is sound");
        let files = emit::files(&model, "cargo xtask gen 2.6.9");
        let table = emit::table(&model, &names::assign(&model));
        (files.expect("the generator writes Rust"), table)
    })
}

fn shown<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Vec<String> {
    let names = paths.into_iter().map(|path| path.display().to_string());
    names.collect()
}

#[test]
fn committed_bindings_are_fresh() {
    let directory = tests::root().join("generated/2.6.9");
    let (files, table) = bindings(2);
    let found = output::write(&directory, &files, &table, true).expect("they can be read");
    assert!(
        found.is_fresh() && found.same > 0,
        "generated/2.6.9 is not what tests/fixture/vmlinux-2.6.9 gives; run: cargo xtask gen vmlinux-2.6.9\n\
         differ: {:?}\nleft over: {:?}",
        shown(found.changed.iter().map(AsRef::as_ref)),
        shown(found.stale.iter().map(AsRef::as_ref)),
    );
}

#[test]
fn threads_do_not_change_the_output() {
    let (one, table) = bindings(1);
    assert!(!one.is_empty() && !table.is_empty());
    for threads in [1, 2, 2, 5] {
        let (other, other_table) = bindings(threads);
        assert!(table == other_table, "{threads} threads give another table");
        let differ: Vec<&String> = one
            .keys()
            .chain(other.keys())
            .filter(|name| one.get(*name) != other.get(*name))
            .collect();
        assert!(
            differ.is_empty(),
            "one thread and {threads} threads give different files: {differ:?}"
        );
    }
}

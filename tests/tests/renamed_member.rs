//! What a kernel calls otherwise is an error of the compiler, where it is used, and nowhere else: a member of the fixture's kernel gets
//! another name in a copy of its debug information, and exactly the analyzers that use the member don't compile.
//!
//! All analyzers are type-checked twice: some seconds of computing, and half a minute more the first time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tests::{fixture_modules, fixture_vmlinux, root, shown, xtask};

/// A member that analyzers use on this kernel without asking whether it is there.
struct Case {
    item: &'static str,
    /// No other struct of this kernel has a member of this name, nor anything else.
    member: &'static str,
    /// The packages that name it.
    users: &'static [&'static str],
    /// The analyzers that can't be compiled then: those packages, and who depends on them.
    broken: &'static [&'static str],
}

const CASES: [Case; 2] = [
    Case {
        item: "fn_zone",
        member: "fz_divisor",
        users: &["route"],
        broken: &["route"],
    },
    // `ps` uses it as well, and the library of `sockets`, which comes first.
    Case {
        item: "file",
        member: "f_dentry",
        users: &["sockets"],
        broken: &["ps", "sockets", "tcp", "tcpcheck"],
    },
];

#[test]
fn a_renamed_member_breaks_exactly_those_who_use_it() {
    let folder = tempfile::tempdir().expect("there is room");
    for case in CASES {
        let (item, member) = (case.item, case.member);
        let vmlinux = kernel_without(folder.path(), member);
        let vmlinux = vmlinux.to_str().expect("paths here are UTF-8");
        let output = xtask(&["check", "--kernel", vmlinux]);
        assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
        let table = String::from_utf8_lossy(&output.stdout);
        let verdicts = verdicts(&table);
        assert!(verdicts.len() > 10, "{table}");
        let broken: BTreeSet<&str> = verdicts
            .iter()
            .filter(|(_, verdict)| *verdict != "ok")
            .map(|(analyzer, _)| analyzer.as_str())
            .collect();
        let expected: BTreeSet<&str> = case.broken.iter().copied().collect();
        assert_eq!(broken, expected, "{}", shown(&output));

        // Each error names the member and its struct, and stands where the member is used.
        let errors = String::from_utf8_lossy(&output.stderr);
        let mut places = BTreeMap::<String, usize>::new();
        for error in errors.split("error[").skip(1) {
            // `fn_zone<'m>` or `kernel::fn_zone<'m>`, as rustc likes.
            let named = error.contains(&format!("`{member}`"))
                && ["`", "::"]
                    .iter()
                    .any(|before| error.contains(&format!("{before}{item}<")));
            assert!(named, "{error}");
            let place = error
                .split("--> ")
                .nth(1)
                .and_then(|rest| rest.lines().next());
            let place = place.unwrap_or_else(|| panic!("it has no place: {error}"));
            let mut parts = place.split(':');
            let file = parts.next().expect("a file");
            let line: usize = parts.next().and_then(|it| it.parse().ok()).expect("a line");
            let source = std::fs::read_to_string(root().join(file)).expect("it is there");
            let text = source.lines().nth(line - 1).unwrap_or_default();
            assert!(text.contains(member), "{place}: {text}");
            let analyzer = file.split('/').nth(1).unwrap_or_default();
            *places.entry(analyzer.to_owned()).or_default() += 1;
        }
        let at_fault: BTreeSet<&str> = places.keys().map(String::as_str).collect();
        let expected: BTreeSet<&str> = case.users.iter().copied().collect();
        assert_eq!(at_fault, expected, "{errors}");
        println!(
            "{item}.{member} renamed: {} of {} programs don't compile; errors at the use: {places:?}",
            broken.len(),
            verdicts.len()
        );
    }
}

/// A copy of the fixture's kernel and of its modules in which a name has another last letter.
fn kernel_without(folder: &Path, member: &str) -> PathBuf {
    let modules = folder.join("modules-debug");
    std::fs::create_dir_all(&modules).expect("there is room");
    let target = folder.join("vmlinux-2.6.9-renamed");
    let found = rename(&fixture_vmlinux(), &target, member);
    assert_eq!(found, 1, "the linker keeps one of equal names");
    for module in fixture_modules() {
        let name = module.file_name().expect("it is a file");
        rename(&module, &modules.join(name), member);
    }
    target
}

/// Copies a file in which a name that is a whole text (of `.debug_str`, or of a form in place) gets another last letter. Says how often it
/// is there.
fn rename(from: &Path, to: &Path, name: &str) -> usize {
    let mut bytes = std::fs::read(from).expect("the fixture is there");
    let wanted: Vec<u8> = [b"\0", name.as_bytes(), b"\0"].concat();
    let places: Vec<usize> = memchr::memmem::find_iter(&bytes, &wanted).collect();
    for place in &places {
        bytes[place + name.len()] = b'X';
    }
    std::fs::write(to, bytes).expect("there is room");
    places.len()
}

/// What the one row of `check`'s table says of each analyzer. Columns are two or more blanks apart.
fn verdicts(table: &str) -> BTreeMap<String, String> {
    let mut lines = table.lines().map(|line| {
        let cells = line.split("  ").map(str::trim);
        cells
            .filter(|cell| !cell.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    let (head, row) = (
        lines.next().unwrap_or_default(),
        lines.next().unwrap_or_default(),
    );
    assert_eq!(head.len(), row.len(), "{table}");
    // The kernel and its machine come first.
    head.into_iter().zip(row).skip(2).collect()
}

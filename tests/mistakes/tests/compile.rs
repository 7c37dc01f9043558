//! Mistakes that the compiler finds: each case in `errors/` must fail with the words beside it; `right.rs` has the same, done right.
//! After a change of rustc's wording: `TRYBUILD=overwrite cargo test -p mistakes`, and read the difference.

#[test]
fn mistakes_do_not_compile() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/errors/*.rs");
}

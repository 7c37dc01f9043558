//! Mistakes that the compiler finds: each case in `compile_errors/` must fail with the words beside it, each in
//! `compile_passes/` must compile and run. After a change of rustc's wording: `TRYBUILD=overwrite cargo test -p tests
//! --test compile_errors`, and read the difference.

#[test]
fn mistakes_do_not_compile() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/compile_errors/*.rs");
    cases.pass("tests/compile_passes/*.rs");
}

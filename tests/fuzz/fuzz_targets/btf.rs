//! BTF of a kernel and of modules, to the text of bindings.
#![no_main]

libfuzzer_sys::fuzz_target!(init: kstruct_fuzz::one_thread(), |bytes: &[u8]| tests::fuzz::btf(bytes));

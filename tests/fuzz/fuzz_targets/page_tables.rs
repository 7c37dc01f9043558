//! Finding a kernel, and translation of addresses.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tests::fuzz::memory::page_tables(bytes));

//! makedumpfile's compressed dumps.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tests::fuzz::memory::dump(bytes));

//! What /proc/kcore could say.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tests::fuzz::memory::kcore(bytes));

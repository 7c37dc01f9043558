//! The corpus of the fuzzers (`tests/fuzz`), run again and extended a little: no fuzzer and no other toolchain is needed.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use tests::{Random, fuzz};

/// How long one input may take on a machine that is busy with other tests. Fuzzing allows ten seconds.
const SOON: Duration = Duration::from_secs(60);

/// Runs all inputs of a target, and as many that are made from them; more with `KSTRUCT_CASES=10000`.
fn replay(name: &str, target: fn(&[u8]), made: u64) {
    let folder = tests::root().join("tests/fuzz/corpus").join(name);
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a folder can be listed").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    let inputs: Vec<Vec<u8>> = paths
        .iter()
        .map(|path| fs::read(path).expect("a file of the repository can be read"))
        .collect();
    let made = match std::env::var("KSTRUCT_CASES") {
        Ok(number) => number.parse().expect("KSTRUCT_CASES is a number"),
        Err(_) => made,
    };

    let (sender, receiver) = mpsc::channel();
    let runner = std::thread::spawn(move || {
        let run = |input: &[u8]| {
            let result = catch_unwind(AssertUnwindSafe(|| target(input)));
            let _ = sender.send(result.is_ok());
        };
        for input in &inputs {
            run(input);
        }
        for seed in 0..made {
            run(&mutated(&inputs, seed));
        }
    });
    let count = paths.len() as u64 + made;
    for number in 0..count {
        let what = match paths.get(number as usize) {
            Some(path) => path.display().to_string(),
            None => format!("mutation {} of {name}", number - paths.len() as u64),
        };
        match receiver.recv_timeout(SOON) {
            Ok(sound) => assert!(sound, "{what}: a panic"),
            Err(error) => panic!("{what}: {error} after {SOON:?}"),
        }
    }
    runner.join().expect("it has caught what panics");
}

#[test]
fn elf_files_are_opened() {
    replay("elf", fuzz::elf, 10_000);
}

#[test]
fn dwarf_is_read() {
    replay("dwarf", fuzz::dwarf, 1500);
}

#[test]
fn btf_is_read() {
    replay("btf", fuzz::btf, 1500);
}

#[test]
fn dumps_are_opened() {
    replay("dump_elf", fuzz::memory::dump, 3000);
    replay("dump_kdump", fuzz::memory::dump, 3000);
    replay("dump_flattened", fuzz::memory::dump, 3000);
    replay("dump_lime", fuzz::memory::dump, 3000);
    replay("dump_raw", fuzz::memory::raw, 3000);
    replay("kcore", fuzz::memory::kcore, 3000);
}

#[test]
fn page_tables_are_walked() {
    replay("page_tables", fuzz::memory::page_tables, 3000);
}

/// One of the inputs with some of its bytes changed, left out, doubled, or replaced by bytes of another.
fn mutated(inputs: &[Vec<u8>], seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut out = inputs[random.below(inputs.len())].clone();
    for _ in 0..=random.below(6) {
        let at = random.below(out.len());
        let length = (1 + random.below(16)).min(out.len() - at);
        match random.below(6) {
            0 => drop(out.drain(at..at + length)),
            1 => {
                let again = out[at..at + length].to_vec();
                drop(out.splice(at..at, again));
            }
            2 => {
                let other = &inputs[random.below(inputs.len())];
                let from = random.below(other.len());
                let end = other.len().min(from + length);
                drop(out.splice(at..at + length, other[from..end].iter().copied()));
            }
            3 => {
                let byte = [0, 1, 0x7f, 0x80, 0xff][random.below(5)];
                out[at..at + length].fill(byte);
            }
            _ => {
                if let Some(byte) = out.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
    }
    out
}

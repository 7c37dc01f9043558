//! Generated code beside code written by hand, over one dump.
//!
//! `cargo xtask bench walk` runs it. One JSON line for each way to do each job:
//!
//! - by the generated crate and the walkers of `linux`;
//! - by literal offsets into the file's bytes, with one subtraction for the direct map, and nothing checked but bounds:
//!   what someone would write who has this one dump and nothing else, and the limit of what can be reached.
//!
//! All are given where to begin: finding `init_task` or the root directories, once for a walk, is not what is measured. All must
//! find the same.
#![forbid(unsafe_code)]

mod dentries;
mod pages;
mod raw;
mod slabs;
mod tasks;
mod vmalloc;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use kstruct::{Fault, Memory};
use linux::page::Pages;

/// How long one measurement is at least, so that the clock's own time does not count.
const LEAST: Duration = Duration::from_micros(500);
const MEASUREMENTS: usize = 101;

/// What a walk found: how many things, and a sum of what was read of each.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Sum {
    count: u64,
    sum: u64,
}

impl Sum {
    #[inline(always)]
    fn add(&mut self, value: u64) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(value);
    }
}

/// One way to do a job.
struct Way<'w> {
    name: &'static str,
    run: Box<dyn Fn() -> Result<Sum, Fault> + 'w>,
}

const GENERATED: &str = "generated code";
const BY_HAND: &str = "by hand: literal offsets in the file's bytes";

fn main() -> ExitCode {
    // `cargo bench` adds an option of its own, and `cargo test` runs this without a dump.
    let Some(core) = std::env::args().skip(1).find(|arg| !arg.starts_with('-')) else {
        eprintln!("no dump was named; run this by: cargo xtask bench walk");
        return ExitCode::SUCCESS;
    };
    match bench(Path::new(&core)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(core: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let memory = Memory::open(core, &kernel::KERNEL, false)?;
    // The same map, so that neither way reads what the other one has pushed out of the processor's caches.
    let low = 1 << 20;
    let start = memory.get(kernel::sym::page_offset_base)? + low;
    let length = Pages::of(&memory)?.count() * 4096 - low;
    let raw = raw::RawDump::new(&memory, memory.run(start, length as usize)?)?;
    measure("tasks", "task", &tasks::ways(&memory, &raw)?)?;
    measure("dentries", "dentry", &dentries::ways(&memory, &raw)?)?;
    measure("pages", "page", &pages::ways(&memory, &raw)?)?;
    measure("slab", "object", &slabs::ways(&memory, &raw)?)?;
    measure("vmalloc", "read", &vmalloc::ways(&memory, &raw)?)
}

/// Lets the ways take turns, and prints what each took.
fn measure(job: &str, thing: &str, ways: &[Way<'_>]) -> Result<(), Box<dyn std::error::Error>> {
    let begin = Instant::now();
    let expected = (ways[0].run)()?;
    if expected.count == 0 {
        return Err(format!("{job}: nothing was found").into());
    }
    let once = begin.elapsed().max(Duration::from_nanos(1));
    let walks = (LEAST.as_nanos() / once.as_nanos()) as u32 + 1;
    let mut seconds = vec![Vec::new(); ways.len()];
    for measurement in 0..MEASUREMENTS {
        // Each in turn goes first, so that none profits from its place.
        for index in 0..ways.len() {
            let index = (index + measurement) % ways.len();
            let begin = Instant::now();
            for _ in 0..walks {
                let found = (ways[index].run)()?;
                if found != expected {
                    let name = ways[index].name;
                    return Err(format!("{job}: {name}: {found:?}, not {expected:?}").into());
                }
            }
            seconds[index].push(begin.elapsed().as_secs_f64() / f64::from(walks));
        }
    }
    for (way, seconds) in ways.iter().zip(seconds) {
        let line = serde_json::json!({
            "job": job,
            "name": way.name,
            "is_ours": way.name == GENERATED,
            "count": expected.count,
            "sum": expected.sum,
            "thing": thing,
            "seconds": seconds,
        });
        println!("{line}");
    }
    Ok(())
}

//! Generated code beside code written by hand: both walk all tasks of a dump and add up their pids.
//!
//! `cargo xtask bench walk` runs it. One JSON line for each way to walk:
//!
//! - by the generated crate;
//! - by literal offsets, each read a call of `Memory::bytes`: the same checks, without views;
//! - by literal offsets into the file's bytes, with one subtraction for the direct map, and nothing checked but bounds:
//!   what someone would write who has this one dump and nothing else.
//!
//! All are given the head of the list: finding `init_task`, once for a walk, is not what is measured.
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use kernel::{list_head, sym, task_struct};
use kstruct::{Fault, Memory, View as _};

/// The offsets. They are constants, and so literals in the machine code.
const TASKS: usize = task_struct::INFO.offset_of("tasks");
const PID: usize = task_struct::INFO.offset_of("pid");

/// Walks in one measurement: so many that the clock's own time does not count.
const WALKS: u32 = 100;
const MEASUREMENTS: usize = 301;

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

type Walk<'w> = &'w dyn Fn() -> Result<Sum, Fault>;

fn bench(core: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let memory = Memory::open(core, &kernel::KERNEL, false)?;
    let file = std::fs::read(core)?;
    let raw = RawDump::new(&memory, &file)?;

    let head = memory.get(sym::init_task)?.tasks();
    let generated = || generated(black_box(head));
    let by_offsets = || by_offsets(black_box(&memory), raw.head, raw.first);
    let by_raw_bytes = || Ok(by_raw_bytes(black_box(&raw)));
    let ways: [(&str, bool, Walk<'_>); 3] = [
        ("generated code", true, &generated),
        ("by hand: offsets, Memory::bytes", false, &by_offsets),
        ("by hand: offsets, bytes of the file", false, &by_raw_bytes),
    ];
    let expected = generated()?;
    let mut seconds: [Vec<f64>; 3] = Default::default();
    for measurement in 0..MEASUREMENTS {
        // Each in turn goes first, so that none profits from its place.
        for index in 0..ways.len() {
            let index = (index + measurement) % ways.len();
            let begin = Instant::now();
            for _ in 0..WALKS {
                let sum = ways[index].2()?;
                assert_eq!(sum, expected, "{} finds other tasks", ways[index].0);
            }
            let walk = begin.elapsed().as_secs_f64() / f64::from(WALKS);
            seconds[index].push(walk / expected.tasks as f64);
        }
    }
    for ((name, is_ours, _), seconds_per_task) in ways.into_iter().zip(seconds) {
        let line = serde_json::json!({
            "name": name,
            "is_ours": is_ours,
            "tasks": expected.tasks,
            "seconds_per_task": seconds_per_task,
        });
        println!("{line}");
    }
    Ok(())
}

#[derive(Debug, Default, PartialEq)]
struct Sum {
    tasks: u64,
    pids: u64,
}

impl Sum {
    fn add(&mut self, pid: i32) {
        self.tasks += 1;
        self.pids += u64::from(pid.cast_unsigned());
    }
}

#[inline(never)]
fn generated(head: list_head<'_>) -> Result<Sum, Fault> {
    let mut sum = Sum::default();
    for task in head.entries(task_struct::tasks) {
        sum.add(task?.pid());
    }
    Ok(sum)
}

#[inline(never)]
fn by_offsets(memory: &Memory, head: u64, first: u64) -> Result<Sum, Fault> {
    let mut sum = Sum::default();
    let mut link = first;
    while link != head {
        let task = link - TASKS as u64;
        sum.add(i32_at(memory.bytes(task + PID as u64, 4)?));
        link = u64_at(memory.bytes(link, 8)?);
    }
    Ok(sum)
}

/// A dump's bytes, and the two numbers that one has to know of it.
struct RawDump<'f> {
    file: &'f [u8],
    /// Where in the file address 0 of the direct map would lie.
    direct: u64,
    /// `init_task.tasks`, and its `next`: the head lies in the kernel image, outside the direct map.
    head: u64,
    first: u64,
}

impl<'f> RawDump<'f> {
    /// Finds out where the direct map lies in the file, by a struct that Memory finds.
    fn new(memory: &Memory, file: &'f [u8]) -> Result<Self, Box<dyn std::error::Error>> {
        let head = memory.address_of(sym::init_task) + TASKS as u64;
        let first = u64_at(memory.bytes(head, 8)?);
        let task = first - TASKS as u64;
        let wanted = memory.bytes(task, task_struct::SIZE)?;
        let at = (0..file.len() - wanted.len())
            .find(|at| file[*at..].starts_with(wanted))
            .ok_or("the first task is not in the file as it is in memory")?;
        Ok(RawDump {
            file,
            direct: (at as u64).wrapping_sub(task),
            head,
            first,
        })
    }

    fn bytes(&self, address: u64, length: usize) -> &'f [u8] {
        let at = address.wrapping_add(self.direct) as usize;
        &self.file[at..at + length]
    }
}

#[inline(never)]
fn by_raw_bytes(dump: &RawDump<'_>) -> Sum {
    let mut sum = Sum::default();
    let mut link = dump.first;
    while link != dump.head {
        let task = link - TASKS as u64;
        sum.add(i32_at(dump.bytes(task + PID as u64, 4)));
        link = u64_at(dump.bytes(link, 8));
    }
    sum
}

fn u64_at(bytes: &[u8]) -> u64 {
    bytes
        .first_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn i32_at(bytes: &[u8]) -> i32 {
    bytes
        .first_chunk()
        .map_or(0, |bytes| i32::from_le_bytes(*bytes))
}

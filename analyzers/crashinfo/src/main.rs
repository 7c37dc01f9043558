//! `crashinfo`: what one asks of a dump first.
#![forbid(unsafe_code)]

mod log;
mod memory;
mod modules;
mod show;
mod system;
mod tasks;
mod utc;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use kstruct::Memory;
use linux::Faults;
use linux::app::Common;
use serde::Serialize;

/// Shows what one asks of a dump first: the kernel and its command line, the machine, the time, the load, what each CPU was doing, whether it
/// panicked and of what, taint, tasks by state and those that wait uninterruptibly, memory, and lines of the log that say that something went wrong.
///
/// JSON has all of it whatever is asked for, the whole log and all modules among it.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  crashinfo --core vmcore                      the summary
  crashinfo --core vmcore log                  the kernel's log, as dmesg prints it
  crashinfo --core vmcore log --utc --last 50  its last 50 records with the time of day
  crashinfo --core vmcore log --level err      errors and worse
  crashinfo --core vmcore modules              modules with their sizes, references and taint
  crashinfo --core vmcore memory               most rows of /proc/meminfo
  crashinfo --core vmcore --format json | jq '.tasks.uninterruptible[] | select(.hung)'"
)]
struct Args {
    #[command(flatten)]
    common: Common,
    /// Show the modules too; the same as to ask for `summary modules`
    #[arg(long)]
    modules: bool,
    /// Show the log too; the same as to ask for `summary log`
    #[arg(long)]
    log: bool,
    /// Of the log, which is shown then, only records of this level and worse
    #[arg(long, value_name = "LEVEL", value_parser = level)]
    level: Option<u8>,
    /// Of the log, which is shown then, only the last so many records
    #[arg(long, value_name = "COUNT")]
    last: Option<usize>,
    /// Show the log, stamped with the time of day in UTC, as far as one clock says what the other was
    #[arg(long)]
    utc: bool,
    /// What to show
    #[arg(value_enum, value_name = "WHAT")]
    parts: Vec<Part>,
}

/// Parts of the report.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// All in some lines
    Summary,
    /// The kernel's log
    Log,
    /// The loaded modules
    Modules,
    /// Memory, as in /proc/meminfo
    Memory,
}

impl AsRef<Common> for Args {
    fn as_ref(&self) -> &Common {
        &self.common
    }
}

/// A level by name or number.
fn level(text: &str) -> Result<u8, String> {
    let known = log::LEVELS.iter().position(|name| *name == text);
    match known.or_else(|| text.parse().ok()) {
        Some(level @ 0..=7) => Ok(level as u8),
        _ => Err(format!(
            "a number from 0 to 7, or {}",
            log::LEVELS.join(", ")
        )),
    }
}

fn main() -> ExitCode {
    linux::app::run(analyze)
}

#[derive(Serialize)]
struct CrashInfo {
    system: system::System,
    cpus: tasks::Cpus,
    tasks: tasks::Tasks,
    memory: memory::Meminfo,
    /// `null` for a kernel without modules.
    modules: Option<Vec<modules::Module>>,
    /// `null` for a kernel whose log is of a kind that isn't read.
    log: Option<Vec<log::Record>>,
    /// Records of the log that say that something went wrong, as they are in it.
    incidents: Vec<log::Record>,
    #[serde(skip)]
    shown: Vec<Part>,
    /// How the log is stamped: what to add to its time to have the time of day.
    #[serde(skip)]
    to_real: Option<i64>,
}

fn analyze(k: &Memory, args: &Args, faults: &mut Faults) -> anyhow::Result<CrashInfo> {
    let mut system = system::read(k, faults);
    let cpus = tasks::cpus(k, faults);
    let tasks = tasks::tasks(k, &cpus.online, faults)?;
    let memory = memory::read(k, faults);
    let modules = modules::read(k, faults);
    let mut log = log::read(k, faults);
    system.panic = system::panic(k, log.as_deref().unwrap_or_default(), faults);
    let records = log.iter().flatten();
    let incidents = records.filter(|record| log::is_bad(record)).cloned();
    let incidents = incidents.collect();
    if let Some(log) = &mut log {
        let level = args.level.unwrap_or(7);
        log.retain(|record| record.level <= level);
        let unwanted = args.last.map_or(0, |last| log.len().saturating_sub(last));
        log.drain(..unwanted);
    }
    let mut shown = args.parts.clone();
    // Who says how much of the log wants to see it.
    let is_log_wanted = args.log || args.utc || args.level.is_some() || args.last.is_some();
    for (is_wanted, part) in [(is_log_wanted, Part::Log), (args.modules, Part::Modules)] {
        if is_wanted && !shown.contains(&part) {
            shown.push(part);
        }
    }
    if args.parts.is_empty() {
        shown.insert(0, Part::Summary);
    }
    let clocks = system.clocks.as_ref();
    let to_real = clocks.map(|clocks| clocks.real_ns.wrapping_sub(clocks.monotonic_ns));
    if shown.contains(&Part::Log) && log.is_none() {
        anyhow::bail!("this kernel's log is of a kind that can't be read");
    }
    if shown.contains(&Part::Modules) && modules.is_none() {
        anyhow::bail!("this kernel has no modules");
    }
    Ok(CrashInfo {
        system,
        cpus,
        tasks,
        memory,
        modules,
        log,
        incidents,
        shown,
        to_real: to_real.filter(|_| args.utc),
    })
}

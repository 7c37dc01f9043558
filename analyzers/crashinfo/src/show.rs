//! The report as text.

use std::fmt::Write as _;

use linux::Report;
use linux::app::{plain_table, table_text};

use crate::log::Record;
use crate::tasks::{Running, Waiting};
use crate::{CrashInfo, Part, utc};

/// Of what may be many the summary has so many lines.
const MOST_LINES: usize = 20;
const SECOND: u64 = 1_000_000_000;

impl Report for CrashInfo {
    fn table(&self) -> String {
        let mut out = String::new();
        for (index, part) in self.shown.iter().enumerate() {
            if index > 0 {
                out.push('\n');
            }
            match part {
                Part::Summary => self.summary(&mut out),
                Part::Log => {
                    for record in self.log.iter().flatten() {
                        self.record(record, &mut out);
                    }
                }
                Part::Modules => out.push_str(&self.module_table()),
                Part::Memory => {
                    for (name, kilobytes) in &self.memory.rows {
                        // As wide as in /proc/meminfo.
                        let _ = writeln!(out, "{:<16}{kilobytes:>8} kB", format!("{name}:"));
                    }
                }
            }
        }
        out
    }
}

impl CrashInfo {
    fn summary(&self, out: &mut String) {
        let mut line = |name: &str, text: String| {
            let _ = writeln!(out, "{name:>12}  {}", printable(&text));
        };
        let system = &self.system;
        if let Some(names) = &system.names {
            line("release", names.release.clone());
            line("version", names.version.clone());
            line("machine", names.machine.clone());
            line("node", names.nodename.clone());
        } else {
            line("banner", system.banner.to_owned());
        }
        if let Some(command) = &system.command_line {
            line("command line", command.clone());
        }
        if let Some(clocks) = &system.clocks {
            line("date", format!("{} UTC", clocks.utc));
            line("uptime", duration(clocks.boot_ns));
        }
        if let Some([one, five, fifteen]) = system.load {
            line("load", format!("{one:.2}, {five:.2}, {fifteen:.2}"));
        }
        match &system.taint {
            Some(taint) if taint.mask != 0 => {
                let reasons = taint.reasons.join("; ");
                line("tainted", format!("{} ({reasons})", taint.letters));
            }
            Some(_) => line("tainted", "no".to_owned()),
            None => {}
        }
        if let Some(panic) = &system.panic {
            let message = panic.message.as_deref();
            line("panic", message.unwrap_or("(not in the log)").to_owned());
            if let Some(task) = &panic.task {
                line("", running(task));
            }
        }
        let cpus = &self.cpus;
        let present = match &cpus.present {
            Some(present) => format!(", {} present", present.len()),
            None => String::new(),
        };
        let (online, possible) = (cpus.online.len(), cpus.possible.len());
        line(
            "CPUs",
            format!("{online} online{present}, {possible} possible"),
        );
        let busy = cpus.running.iter().filter(|task| task.idle != Some(true));
        for task in busy.clone().take(MOST_LINES) {
            line("", running(task));
        }
        if let Some(more) = more(busy.count()) {
            line("", more);
        }
        let tasks = &self.tasks;
        let states: Vec<String> = tasks
            .states
            .iter()
            .map(|(state, count)| format!("{count} {state}"))
            .collect();
        line(
            "tasks",
            format!(
                "{} in {} processes, {} of the kernel: {}",
                tasks.threads,
                tasks.processes,
                tasks.kernel_threads,
                states.join(", ")
            ),
        );
        let waiting = &tasks.uninterruptible;
        for task in waiting.iter().take(MOST_LINES) {
            line("", waits(task));
        }
        if let Some(more) = more(waiting.len()) {
            line("", more);
        }
        let memory = |name| self.memory.get(name);
        let megabytes = |kilobytes: u64| format!("{} MB", kilobytes / 1024);
        if let Some(total) = memory("MemTotal") {
            let mut text = megabytes(total);
            for (name, shown) in [("MemFree", "free"), ("MemAvailable", "available")] {
                if let Some(kilobytes) = memory(name) {
                    let _ = write!(text, ", {} {shown}", megabytes(kilobytes));
                }
            }
            line("memory", text);
        }
        if let (Some(total), Some(free)) = (memory("SwapTotal"), memory("SwapFree")) {
            line(
                "swap",
                format!("{}, {} free", megabytes(total), megabytes(free)),
            );
        }
        if let Some(modules) = &self.modules {
            let tainting = modules.iter().filter(|module| !module.taint.is_empty());
            let tainting: Vec<String> = tainting
                .map(|module| format!("{} ({})", module.name, module.taint))
                .collect();
            let mut text = modules.len().to_string();
            if !tainting.is_empty() {
                let _ = write!(text, ", of which taint the kernel: {}", tainting.join(", "));
            }
            line("modules", text);
        }
        if self.log.is_none() {
            line("log", "of a kind that can't be read".to_owned());
        }
        if !self.incidents.is_empty() {
            let first = self.incidents.len().saturating_sub(MOST_LINES);
            let count = match first {
                0 => String::new(),
                _ => format!(" (the last {MOST_LINES} of {})", self.incidents.len()),
            };
            let _ = writeln!(out, "\nfrom the log{count}:");
            for record in self.incidents.iter().skip(first) {
                self.record(record, out);
            }
        }
    }

    fn module_table(&self) -> String {
        let modules = self.modules.iter().flatten().map(|module| {
            let references = module.references;
            vec![
                module.name.clone(),
                module.size.to_string(),
                references.map_or_else(|| "-".to_owned(), |count| count.to_string()),
                module.state.to_owned(),
                format!("{:x}", module.address),
                module.taint.clone(),
                module.used_by.join(","),
            ]
        });
        let header = [
            "MODULE", "SIZE", "REFS", "STATE", "ADDRESS", "TAINT", "USED BY",
        ];
        let mut table = plain_table(&header, modules);
        for column in [1, 2] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(comfy_table::CellAlignment::Right);
            }
        }
        table_text(&table)
    }

    /// A record as dmesg prints it: each of its lines with the time.
    fn record(&self, record: &Record, out: &mut String) {
        let stamp = record.time_ns.map(|time| match self.to_real {
            Some(more) => {
                let time = time.cast_signed().wrapping_add(more);
                let (second, part) = (
                    time.div_euclid(1_000_000_000),
                    time.rem_euclid(1_000_000_000),
                );
                format!("[{}.{:06}] ", utc::text(second), part / 1000)
            }
            None => format!("[{:5}.{:06}] ", time / SECOND, time % SECOND / 1000),
        });
        for line in record.text.split('\n') {
            let _ = writeln!(out, "{}{}", stamp.as_deref().unwrap_or(""), printable(line));
        }
    }
}

/// How many there are beyond those that are shown.
fn more(count: usize) -> Option<String> {
    let more = count.checked_sub(MOST_LINES).filter(|more| *more > 0)?;
    Some(format!("... and {more} more (--format json)"))
}

fn running(task: &Running) -> String {
    let Running { cpu, pid, comm, .. } = task;
    format!("CPU {cpu}: {comm} (pid {pid}, task {:x})", task.address)
}

fn waits(task: &Waiting) -> String {
    let Waiting { pid, comm, .. } = task;
    let mut text = format!("D: {comm} (pid {pid}, task {:x})", task.address);
    if let Some(seconds) = task.seconds {
        let _ = write!(text, " for {seconds:.1} s");
    }
    if task.hung {
        text.push_str(": hung");
    }
    text
}

/// `3 days, 04:05:06`
fn duration(nanoseconds: i64) -> String {
    let seconds = nanoseconds.div_euclid(1_000_000_000);
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let clock = format!("{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    match days {
        0 => clock,
        1 => format!("1 day, {clock}"),
        days => format!("{days} days, {clock}"),
    }
}

/// What stands in a log or a name must not steer a terminal: /dev/kmsg writes such bytes so.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() && letter != '\t' {
            let _ = write!(out, "\\x{:02x}", u32::from(letter));
        } else {
            out.push(letter);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{duration, printable};

    #[test]
    fn durations_have_days() {
        assert_eq!(duration(0), "00:00:00");
        assert_eq!(
            duration(86_400_000_000_000 + 1_000_000_000),
            "1 day, 00:00:01"
        );
        assert_eq!(duration(100_000_000_000_000), "1 day, 03:46:40");
        assert_eq!(duration(200_000_000_000_000), "2 days, 07:33:20");
        let _ = (duration(i64::MIN), duration(i64::MAX));
    }

    #[test]
    fn nothing_steers_a_terminal() {
        assert_eq!(printable("a\tb \x1b[31m ü"), "a\tb \\x1b[31m ü");
    }
}

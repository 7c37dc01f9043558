//! The results as a table for people and as JSON for programs.

use std::fmt::Write as _;
use std::process::Command;

use serde::Serialize;

use super::measure::{Sample, Spread, spread};

/// All that was measured.
#[derive(Serialize)]
pub struct Report {
    host: Host,
    jobs: Vec<JobReport>,
}

/// Where it was measured.
#[derive(Serialize)]
struct Host {
    cpu: String,
    cpus: usize,
    /// Processes that wanted to run in the last minute, at the start.
    load: String,
    rustc: String,
}

/// One thing that was done in several ways.
#[derive(Serialize)]
pub struct JobReport {
    pub kernel: String,
    pub job: String,
    pub rows: Vec<Row>,
}

/// One way of doing it.
#[derive(Serialize)]
pub struct Row {
    pub tool: String,
    /// Whether it is what others are compared with.
    pub is_ours: bool,
    /// Whether this is a part of what the row before it measures.
    pub is_part: bool,
    pub runs: usize,
    pub wall_seconds: Option<Spread>,
    pub cpu_seconds: Option<f64>,
    pub peak_bytes: Option<u64>,
    /// Its median time over ours.
    pub to_ours: Option<f64>,
    /// Whether it did the job, or as much of it as `note` says.
    pub is_done: bool,
    pub note: String,
}

impl Row {
    /// A program that was run.
    pub fn measured(tool: &str, samples: &[Sample], is_done: bool, note: String) -> Self {
        Row {
            runs: samples.len(),
            wall_seconds: spread(samples.iter().map(|sample| sample.wall_seconds)),
            cpu_seconds: spread(samples.iter().map(|sample| sample.cpu_seconds))
                .map(|cpu| cpu.median),
            peak_bytes: samples.iter().map(|sample| sample.peak_bytes).max(),
            is_done,
            ..Row::missing(tool, note)
        }
    }

    /// Seconds that a program measured itself.
    pub fn part(name: &str, seconds: &[f64]) -> Self {
        Row {
            is_part: true,
            runs: seconds.len(),
            wall_seconds: spread(seconds.iter().copied()),
            is_done: true,
            ..Row::missing(name, String::new())
        }
    }

    /// A program that could not be run, and why.
    pub fn missing(tool: &str, note: String) -> Self {
        Row {
            tool: tool.to_owned(),
            is_ours: false,
            is_part: false,
            runs: 0,
            wall_seconds: None,
            cpu_seconds: None,
            peak_bytes: None,
            to_ours: None,
            is_done: false,
            note,
        }
    }
}

impl JobReport {
    /// Compares every row with ours. What failed to do the job is not compared.
    pub fn new(kernel: &str, job: &str, mut rows: Vec<Row>) -> Self {
        let ours = rows
            .iter()
            .find(|row| row.is_ours)
            .and_then(|row| row.wall_seconds)
            .map(|wall| wall.median);
        for row in &mut rows {
            let is_part_of_ours = row.is_part && row.tool.starts_with("ours");
            if !row.is_ours && row.is_done && !is_part_of_ours {
                row.to_ours = ours
                    .zip(row.wall_seconds)
                    .map(|(ours, wall)| wall.median / ours);
            }
        }
        JobReport {
            kernel: kernel.to_owned(),
            job: job.to_owned(),
            rows,
        }
    }
}

impl Report {
    pub fn new() -> Self {
        Report {
            host: Host::new(),
            jobs: Vec::new(),
        }
    }

    /// Prints a job's results, for they may be minutes apart, and keeps them.
    pub fn add(&mut self, job: JobReport) {
        if self.jobs.is_empty() {
            print!("{}", self.host.describe());
        }
        if self
            .jobs
            .last()
            .is_none_or(|last| last.kernel != job.kernel)
        {
            println!("\n=== {}", job.kernel);
        }
        print!("\n{}", job.table());
        self.jobs.push(job);
    }
}

impl JobReport {
    /// The results for people.
    fn table(&self) -> String {
        let mut out = format!(
            "{:WIDTH$}  RUNS      TIME       MIN       MAX       CPU    MEMORY     OURS\n",
            self.job
        );
        for row in &self.rows {
            let wall =
                |of: fn(Spread) -> f64| row.wall_seconds.map(of).map_or_else(String::new, time);
            let runs = match row.runs {
                0 => String::new(),
                runs => runs.to_string(),
            };
            let line = format!(
                "{:WIDTH$}  {runs:>4} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8}  {}",
                label(row),
                wall(|wall| wall.median),
                wall(|wall| wall.min),
                wall(|wall| wall.max),
                row.cpu_seconds.map_or_else(String::new, time),
                row.peak_bytes.map_or_else(String::new, memory),
                row.to_ours.map_or_else(String::new, ratio),
                row.note
            );
            let _ = writeln!(out, "{}", line.trim_end());
        }
        out
    }
}

/// Characters of the first column: the longest label has as many.
const WIDTH: usize = 37;

fn label(row: &Row) -> String {
    format!("{}{}", if row.is_part { "    " } else { "  " }, row.tool)
}

fn time(seconds: f64) -> String {
    match seconds {
        _ if seconds >= 10.0 => format!("{seconds:.1} s"),
        _ if seconds >= 1.0 => format!("{seconds:.2} s"),
        _ if seconds >= 0.1 => format!("{:.0} ms", seconds * 1e3),
        _ if seconds >= 1e-4 => format!("{:.1} ms", seconds * 1e3),
        _ => format!("{:.1} ns", seconds * 1e9),
    }
}

fn memory(bytes: u64) -> String {
    format!("{:.0} MiB", bytes as f64 / (1 << 20) as f64)
}

fn ratio(ratio: f64) -> String {
    match ratio {
        _ if ratio >= 10.0 => format!("{ratio:.0} x"),
        _ if ratio >= 1.5 => format!("{ratio:.1} x"),
        _ => format!("{ratio:.2} x"),
    }
}

impl Host {
    fn describe(&self) -> String {
        format!(
            "{} x {}, load {}, {}\nTIME is the median over all runs. CPU is user and system time. OURS is how many times our time it took.\n",
            self.cpus, self.cpu, self.load, self.rustc
        )
    }

    fn new() -> Self {
        let read = |file| std::fs::read_to_string(file).unwrap_or_default();
        let cpu = read("/proc/cpuinfo")
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
            .map_or_else(|| "CPU".to_owned(), |(_, name)| name.to_owned());
        let rustc = Command::new("rustc").arg("--version").output();
        Host {
            cpu,
            cpus: std::thread::available_parallelism().map_or(1, Into::into),
            load: read("/proc/loadavg")
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_owned(),
            rustc: rustc
                .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
                .unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(wall_seconds: f64) -> Sample {
        Sample {
            wall_seconds,
            cpu_seconds: wall_seconds,
            peak_bytes: 1 << 20,
        }
    }

    #[test]
    fn only_what_did_the_job_is_compared() {
        let rows = vec![
            Row {
                is_ours: true,
                ..Row::measured("ours", &[sample(0.5)], true, String::new())
            },
            Row::measured(
                "slow",
                &[sample(1.0), sample(2.0), sample(9.0)],
                true,
                String::new(),
            ),
            Row::measured("broken", &[sample(0.1)], false, "fails: no".into()),
            Row::missing("absent", "not installed".into()),
        ];
        let job = JobReport::new("k", "ps", rows);
        let ratios: Vec<_> = job.rows.iter().map(|row| row.to_ours).collect();
        assert_eq!(ratios, [None, Some(4.0), None, None]);
    }

    #[test]
    fn units_fit_the_numbers() {
        assert_eq!(time(12.34), "12.3 s");
        assert_eq!(time(0.5), "500 ms");
        assert_eq!(time(0.0123), "12.3 ms");
        assert_eq!(time(3.21e-9), "3.2 ns");
    }
}

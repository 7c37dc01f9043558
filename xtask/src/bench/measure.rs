//! Running a program and measuring it: seconds, processor seconds, memory.

use std::io::Read as _;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use anyhow::Context as _;
use serde::Serialize;
use wait4::Wait4 as _;

/// What one run took.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sample {
    /// From the start of the process to the last byte that it printed, or its end if that was later.
    pub wall_seconds: f64,
    /// User and system time of the process and of all that it waited for.
    pub cpu_seconds: f64,
    /// The peak resident memory of the process, or of the biggest of those that it waited for.
    ///
    /// Linux lets a process inherit the peak of the one that started it, so this is never less than our own.
    pub peak_bytes: u64,
}

/// One run: what it took and what came of it.
pub struct Run {
    pub sample: Sample,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// What becomes of standard output. Keeping much of it would raise our own peak, which children inherit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Output {
    Keep,
    Discard,
}

/// Runs a program to its end and measures it.
pub fn run(command: &mut Command, output: Output) -> anyhow::Result<Run> {
    let name = command.get_program().to_string_lossy().into_owned();
    command
        .stdin(Stdio::null())
        .stdout(match output {
            Output::Keep => Stdio::piped(),
            Output::Discard => Stdio::null(),
        })
        .stderr(Stdio::piped());
    let begin = Instant::now();
    let mut child = command
        .spawn()
        .with_context(|| format!("can't run {name}"))?;
    let errors = child.stderr.take();
    let stderr = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What could not be read of its messages is missed by nobody.
        let _ = errors.map(|mut errors| errors.read_to_end(&mut bytes));
        bytes
    });
    let mut stdout = Vec::new();
    if let Some(mut pipe) = child.stdout.take() {
        pipe.read_to_end(&mut stdout)
            .with_context(|| format!("can't read what {name} prints"))?;
    }
    let ended = child
        .wait4()
        .with_context(|| format!("can't wait for {name}"))?;
    let wall_seconds = begin.elapsed().as_secs_f64();
    let stderr = stderr.join().unwrap_or_default();
    Ok(Run {
        sample: Sample {
            wall_seconds,
            cpu_seconds: (ended.rusage.utime + ended.rusage.stime).as_secs_f64(),
            peak_bytes: ended.rusage.maxrss,
        },
        status: ended.status,
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    })
}

/// The median, the smallest and the greatest of some numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

/// `None` if there are no numbers.
pub fn spread(numbers: impl IntoIterator<Item = f64>) -> Option<Spread> {
    let mut numbers: Vec<f64> = numbers.into_iter().collect();
    numbers.sort_by(f64::total_cmp);
    let (min, max) = (*numbers.first()?, *numbers.last()?);
    let middle = numbers.len() / 2;
    let median = if numbers.len().is_multiple_of(2) {
        f64::midpoint(numbers[middle - 1], numbers[middle])
    } else {
        numbers[middle]
    };
    Some(Spread { median, min, max })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(spread([]), None);
        let three = spread([3.0, 1.0, 2.0]).unwrap();
        assert_eq!((three.median, three.min, three.max), (2.0, 1.0, 3.0));
        assert_eq!(spread([4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
    }

    #[test]
    fn a_process_is_measured() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let run = run(&mut command, Output::Keep).unwrap();
        assert_eq!(
            (run.stdout.as_str(), run.stderr.as_str()),
            ("out\n", "err\n")
        );
        assert_eq!(run.status.code(), Some(3));
        assert!(run.sample.wall_seconds > 0.0 && run.sample.peak_bytes > 100_000);
    }
}

//! What failed in a run of tests, again at its end: what thousands of lines are behind is not found.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// Runs `cargo test`, and at its end says once more what the tests that failed have said.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .context("can't run cargo")?;
    let output = child.stdout.take().context("its output is piped")?;
    let mut failures = Failures::default();
    let mut stdout = std::io::stdout();
    for line in BufReader::new(output).split(b'\n') {
        let mut line = line?;
        line.push(b'\n');
        stdout.write_all(&line)?;
        failures.take(&String::from_utf8_lossy(&line));
    }
    if child.wait()?.success() {
        return Ok(());
    }
    if !failures.said.is_empty() {
        eprintln!("\nWhat failed, again:\n{}", failures.said);
    }
    bail!("tests failed")
}

/// libtest writes the word `failures:` before what the tests have said, and again before the list of their names.
#[derive(Default)]
struct Failures {
    is_within: bool,
    said: String,
}

impl Failures {
    fn take(&mut self, line: &str) {
        if line == "failures:\n" {
            self.is_within = !self.is_within;
        } else if self.is_within {
            self.said.push_str(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_found_among_what_did_not() {
        let output = "test a ... ok\ntest b ... FAILED\n\nsuccesses:\n\n---- a stdout ----\nfine\n\nsuccesses:\n    a\n\n\
            failures:\n\n---- b stdout ----\nthread 'b' panicked\nfailures: 3\n\nfailures:\n    b\n\ntest result: FAILED\n\
            failures:\n\n---- c stdout ----\nno\n\nfailures:\n    c\n";
        let mut failures = Failures::default();
        for line in output.split_inclusive('\n') {
            failures.take(line);
        }
        assert_eq!(
            failures.said,
            "\n---- b stdout ----\nthread 'b' panicked\nfailures: 3\n\n\n---- c stdout ----\nno\n\n"
        );
    }
}

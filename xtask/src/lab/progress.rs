//! Progress lines with seconds, and the record of them for `lab.json`.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context as _, Result};

/// The steps of making one machine, each with the seconds that it took.
pub struct Steps {
    machine: String,
    begin: Instant,
    pub seconds: BTreeMap<String, f64>,
}

impl Steps {
    pub fn new(machine: &str) -> Self {
        Self {
            machine: machine.into(),
            begin: Instant::now(),
            seconds: BTreeMap::new(),
        }
    }

    /// Runs one step; says so before and after.
    pub fn run<T>(&mut self, name: &str, step: impl FnOnce() -> Result<T>) -> Result<T> {
        let begin = Instant::now();
        eprintln!("{}: {name} ...", self.machine);
        let result = step().with_context(|| format!("{}: {name} failed", self.machine))?;
        self.add(name, begin);
        Ok(result)
    }

    /// Records a step that began at `begin` and has just ended.
    pub fn add(&mut self, name: &str, begin: Instant) {
        let seconds = round(begin.elapsed().as_secs_f64());
        eprintln!("{}: {name}: {seconds:.1} s", self.machine);
        *self.seconds.entry(name.into()).or_default() += seconds;
    }

    /// The seconds of each step and of all of it.
    pub fn finish(mut self) -> BTreeMap<String, f64> {
        self.seconds
            .insert("total".into(), round(self.begin.elapsed().as_secs_f64()));
        self.seconds
    }
}

fn round(seconds: f64) -> f64 {
    (seconds * 100.0).round() / 100.0
}

//! `cargo xtask check`: for which kernels which analyzers compile, without building them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, bail};
use comfy_table::{Table, presets};

use crate::kernels::{self, packages};
use crate::workspace::{self, Analyzer};
use crate::{build, find, messages, paths, predicates, seed, selected};

/// How many of the compiler's remarks are printed of each kernel.
const SHOWN: usize = 20;

/// Options of `cargo xtask check`.
#[derive(clap::Args)]
pub struct Args {
    /// A kernel: a release, or the name or path of its vmlinux; may be repeated
    #[arg(
        long = "kernel",
        value_name = "NAME",
        required_unless_present = "all_kernels"
    )]
    kernels: Vec<String>,
    /// All kernels of the list: the fixture's, and Debian's of many machines, old and new. What is not there yet is downloaded, some GB
    #[arg(long)]
    all_kernels: bool,
    /// The analyzers to check; all of them if none is named
    analyzers: Vec<String>,
}

/// Checks the analyzers and prints the table; says whether all is well.
pub fn run(args: &Args) -> anyhow::Result<bool> {
    let analyzers = if args.analyzers.is_empty() {
        workspace::analyzers()?
    } else {
        build::named(&args.analyzers)?
    };
    let mut rows = Vec::new();
    for name in &args.kernels {
        let (kernel, vmlinux) = find::kernel(name)?;
        rows.push(Row::of(kernel, vmlinux, &analyzers));
    }
    if args.all_kernels {
        let fixture = paths::fixture_vmlinux();
        let name = find::kernel_name(&fixture)?;
        rows.push(Row::of(name, Some(fixture), &analyzers));
        let modules = workspace::wanted_modules()?;
        for wanted in kernels::MATRIX {
            rows.push(match packages::ensure(wanted, &modules) {
                Ok(kernel) => Row::of(kernel.release, Some(kernel.vmlinux), &analyzers),
                Err(error) => Row::failed(wanted.name(), &error),
            });
        }
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let head = ["kernel", "machine"].into_iter().map(str::to_owned);
    table.set_header(head.chain(analyzers.iter().map(|analyzer| analyzer.name.clone())));
    for row in &rows {
        table.add_row(row.cells(&analyzers));
    }
    println!("{table}");
    let bad = rows.iter().filter(|row| !row.is_good(&analyzers)).count();
    tell_untrue(&rows, &analyzers, args.analyzers.is_empty());
    if bad != 0 {
        eprintln!("{bad} of {} kernels are not as they must be", rows.len());
    }
    Ok(bad == 0)
}

/// Tells of predicates that none of several kernels makes true. They may be of others, and so are no error.
fn tell_untrue(rows: &[Row], analyzers: &[Analyzer], are_all: bool) {
    let kernels = rows.iter().filter_map(|row| {
        let names = row.names.clone()?;
        Some((row.kernel.clone(), names))
    });
    let kernels: Vec<(String, PathBuf)> = kernels.collect();
    if kernels.len() < 2 {
        return;
    }
    let mut packages: BTreeSet<&str> = analyzers
        .iter()
        .map(|analyzer| analyzer.package.as_str())
        .collect();
    // What analyzers share concerns who looks at all of them.
    if are_all {
        packages.insert("linux");
    }
    match predicates::untrue(&packages, &kernels) {
        Ok(said) if said.is_empty() => {}
        Ok(said) => eprint!(
            "true for none of these {} kernels, so of others, or misspelled:\n{said}",
            kernels.len()
        ),
        Err(error) => eprintln!("predicates of kernel_has: {error:#}"),
    }
}

/// What the compiler says of the analyzers for one kernel.
struct Row {
    kernel: String,
    machine: String,
    /// Errors and warnings by crate.
    remarks: BTreeMap<String, usize>,
    /// Programs that compile.
    compiled: BTreeSet<String>,
    /// What the kernel has, as its bindings list it.
    names: Option<PathBuf>,
}

impl Row {
    fn of(kernel: String, vmlinux: Option<PathBuf>, analyzers: &[Analyzer]) -> Self {
        let start = Instant::now();
        match check(&kernel, vmlinux, analyzers) {
            Ok(row) => {
                let seconds = start.elapsed().as_secs_f64();
                let compiled = row.compiled.len();
                eprintln!("{kernel}: {compiled} programs compile; checked in {seconds:.0} s");
                row
            }
            Err(error) => Self::failed(kernel, &error),
        }
    }

    fn failed(kernel: String, error: &anyhow::Error) -> Self {
        eprintln!("{kernel}: {error:#}");
        Row {
            kernel,
            machine: "failed".to_owned(),
            remarks: BTreeMap::new(),
            compiled: BTreeSet::new(),
            names: None,
        }
    }

    fn cell(&self, analyzer: &Analyzer) -> String {
        match self.remarks.get(&analyzer.package) {
            Some(1) => "1 remark".to_owned(),
            Some(count) => format!("{count} remarks"),
            None if self.compiled.contains(&analyzer.name) => "ok".to_owned(),
            // Something that it depends on doesn't compile.
            None => "no".to_owned(),
        }
    }

    fn cells(&self, analyzers: &[Analyzer]) -> Vec<String> {
        let mut cells = vec![self.kernel.clone(), self.machine.clone()];
        cells.extend(analyzers.iter().map(|analyzer| self.cell(analyzer)));
        cells
    }

    /// Whether each analyzer compiles, and the compiler has nothing to say of any crate.
    fn is_good(&self, analyzers: &[Analyzer]) -> bool {
        self.remarks.is_empty()
            && analyzers
                .iter()
                .all(|analyzer| self.compiled.contains(&analyzer.name))
    }
}

fn check(kernel: &str, vmlinux: Option<PathBuf>, analyzers: &[Analyzer]) -> anyhow::Result<Row> {
    let packages: BTreeSet<&String> = analyzers.iter().map(|analyzer| &analyzer.package).collect();
    let names: Vec<String> = packages.iter().copied().cloned().collect();
    let _lock = build::lock(kernel)?;
    let bindings = selected::ensure(kernel, vmlinux.as_deref(), &names)?;
    let identity = build::identity_in(&bindings).context("there are no bindings")?;
    seed::target(&paths::target(kernel), "debug");
    let mut command = build::cargo(kernel);
    command
        .env("KSTRUCT_KERNEL", &bindings)
        .args(["check", "--keep-going", "--message-format=json"])
        .stdin(Stdio::null());
    for package in packages {
        command.args(["--package", package]);
    }
    let output = command.output().context("can't run cargo")?;
    let mut row = Row {
        kernel: kernel.to_owned(),
        machine: format!(
            "{} bits{}, {} modules",
            8 * u32::from(identity.pointer_size),
            if identity.big_endian {
                ", big-endian"
            } else {
                ""
            },
            identity.modules.len()
        ),
        remarks: BTreeMap::new(),
        compiled: BTreeSet::new(),
        names: Some(bindings.join("names.txt")),
    };
    let mut shown = 0;
    for message in messages::of(&output.stdout) {
        if let Some(program) = message.program() {
            row.compiled.insert(program.to_owned());
        } else if let Some(remark) = message.remark() {
            *row.remarks.entry(message.package().to_owned()).or_default() += 1;
            shown += 1;
            if shown <= SHOWN {
                eprintln!("{kernel}: {}", remark.trim_end());
            }
        }
    }
    // Cargo's own errors, and those of build scripts, are no messages.
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        if row.remarks.is_empty() {
            bail!("{}", said.trim());
        }
        for error in said.lines().filter(|line| line.starts_with("error: ")) {
            eprintln!("{kernel}: {error}");
        }
    }
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_reached_is_not_well() {
        let analyzer = Analyzer {
            name: "ps".to_owned(),
            package: "ps".to_owned(),
        };
        let mut row = Row {
            kernel: "6.1".to_owned(),
            machine: "x86_64".to_owned(),
            remarks: BTreeMap::new(),
            compiled: BTreeSet::new(),
            names: None,
        };
        let analyzers = [analyzer];
        assert!(!row.is_good(&analyzers));
        assert_eq!(row.cell(&analyzers[0]), "no");
        row.compiled.insert("ps".to_owned());
        assert!(row.is_good(&analyzers));
        row.remarks.insert("linux".to_owned(), 1);
        assert!(!row.is_good(&analyzers), "it depends on linux");
    }
}

//! `cargo xtask check`: for which kernels which analyzers compile, without building them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, bail};
use comfy_table::{Table, presets};
use serde::Deserialize;

use crate::kernels::{self, packages};
use crate::workspace::{self, Analyzer};
use crate::{build, find, paths, selected};

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
        let (kernel, vmlinux) = build::resolve(name)?;
        rows.push(Row::of(kernel, vmlinux, &analyzers));
    }
    if args.all_kernels {
        let fixture = paths::fixture_vmlinux();
        let name = find::kernel_name(&fixture)?;
        rows.push(Row::of(name, Some(fixture), &analyzers));
        for wanted in kernels::MATRIX {
            rows.push(match kernel_of(wanted) {
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
    if bad != 0 {
        eprintln!("{bad} of {} kernels are not as they must be", rows.len());
    }
    Ok(bad == 0)
}

/// A kernel of the list with the modules that analyzers ask for.
fn kernel_of(wanted: &packages::Wanted) -> anyhow::Result<packages::Kernel> {
    let kernel = packages::ensure(wanted)?;
    packages::ensure_modules(wanted, &kernel, &workspace::wanted_modules()?)?;
    Ok(kernel)
}

/// What the compiler says of the analyzers for one kernel.
struct Row {
    kernel: String,
    machine: String,
    /// Errors and warnings by crate.
    remarks: BTreeMap<String, usize>,
    /// Programs that compile.
    compiled: BTreeSet<String>,
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
    };
    let mut shown = 0;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(message) = serde_json::from_str::<Message>(line) else {
            continue;
        };
        if message.reason == "compiler-artifact" && message.is_program() {
            row.compiled
                .extend(message.target.map(|target| target.name));
        } else if let Some(remark) = message.remark() {
            *row.remarks.entry(message.package().to_owned()).or_default() += 1;
            shown += 1;
            if shown <= SHOWN {
                eprintln!("{kernel}: {}", remark.trim_end());
            }
        }
    }
    // Cargo's own errors are no messages.
    if !output.status.success() && row.remarks.is_empty() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(row)
}

/// What cargo says in JSON (<https://doc.rust-lang.org/cargo/reference/external-tools.html>).
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    package_id: String,
    target: Option<Target>,
    message: Option<Diagnostic>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Diagnostic {
    level: String,
    rendered: Option<String>,
    #[serde(default)]
    spans: Vec<serde_json::Value>,
}

impl Message {
    fn is_program(&self) -> bool {
        let kind = self.target.iter().flat_map(|target| &target.kind);
        kind.into_iter().any(|kind| kind == "bin")
    }

    /// An error or a warning, as text; its summary has no place in the source and doesn't count.
    fn remark(&self) -> Option<String> {
        let message = self.message.as_ref()?;
        let counts = message.level == "warning" || message.level.starts_with("error");
        (self.reason == "compiler-message" && counts && !message.spans.is_empty())
            .then(|| message.rendered.clone().unwrap_or_default())
    }

    /// The name of the crate: `path+file:///x/analyzers/ps#0.1.0`, `path+file:///x/analyzers/x#ps@0.1.0`.
    fn package(&self) -> &str {
        let (path, rest) = self
            .package_id
            .rsplit_once('#')
            .unwrap_or((&self.package_id, ""));
        match rest.split_once('@') {
            Some((name, _)) => name,
            None => path.rsplit('/').next().unwrap_or(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_of_a_crate() {
        for (id, name) in [
            ("path+file:///x/analyzers/ps#0.1.0", "ps"),
            ("path+file:///x/analyzers/route#routes@0.1.0", "routes"),
        ] {
            let message = serde_json::json!({
                "reason": "compiler-message",
                "package_id": id,
                "message": {"level": "error", "rendered": "no", "spans": [1]},
            });
            let message: Message = serde_json::from_value(message).expect("it is one");
            assert_eq!(message.package(), name);
            assert_eq!(message.remark().as_deref(), Some("no"));
        }
    }

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

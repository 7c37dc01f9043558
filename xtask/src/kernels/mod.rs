//! `cargo xtask test --kernels`: what must hold for every kernel of a list, whatever machine it is for.
//!
//! 1. Every layout that kstruct reads is what pahole and bpftool read (crate `kstruct-oracle`).
//! 2. The bindings are the same bytes with one thread, with two, and once more with two.
//! 3. They compile without a warning.

pub(crate) mod packages;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use kstruct_codegen::dwarf;
use kstruct_codegen::image::Image;
use kstruct_oracle::{Comparison, btf, compare, model};

use crate::{build, messages, paths};
use packages::{Kernel, Wanted};

/// The list: four machines that differ in width, byte order and ABI, and on x86_64 old and new, small and large.
const KERNELS: &[Wanted] = &[
    Wanted::new("6.1", "cloud-amd64", "amd64"),
    Wanted::new("6.12", "cloud-amd64", "amd64"),
    Wanted::new("6.12", "cloud-amd64", "amd64").with_netfilter(),
    Wanted::new("6.12", "amd64", "amd64"),
    Wanted::new("6.1", "686-pae", "i386"),
    Wanted::new("6.1", "arm64", "arm64"),
    Wanted::new("6.1", "s390x", "s390x"),
    Wanted::new("6.1", "powerpc64le", "ppc64el"),
];

/// The kernels that each analyzer must compile for (`cargo xtask check --all-kernels`), besides the fixture's.
pub const MATRIX: &[Wanted] = &[
    Wanted::new("6.1", "cloud-amd64", "amd64"),
    Wanted::new("6.1", "amd64", "amd64"),
    Wanted::new("6.1", "rt-amd64", "amd64"),
    Wanted::new("6.1", "686-pae", "i386"),
    Wanted::new("6.1", "686", "i386"),
    Wanted::new("6.1", "arm64", "arm64"),
    Wanted::new("6.1", "s390x", "s390x"),
    Wanted::new("6.1", "powerpc64le", "ppc64el"),
    Wanted::new("6.12", "cloud-amd64", "amd64"),
    Wanted::new("6.12", "amd64", "amd64"),
];

/// How many differences are printed of each kernel.
const SHOWN: usize = 20;

/// Tests the kernels whose name is in `names`, or all. Fails if anything is not as it must be, after all have been tested.
pub fn test(names: &[String], compile: bool) -> Result<()> {
    let known: Vec<String> = KERNELS.iter().map(Wanted::name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        bail!(
            "there is no kernel {unknown} on the list; there are {}",
            known.join(", ")
        );
    }
    let wanted = KERNELS
        .iter()
        .filter(|wanted| names.is_empty() || names.contains(&wanted.name()));
    let mut rows = Vec::new();
    for wanted in wanted {
        let row = Row::of(wanted, compile);
        eprintln!("{}", row.line());
        rows.push(row);
    }
    println!("\n{}", Row::head());
    for row in &rows {
        println!("{}", row.line());
    }
    let bad = rows.iter().filter(|row| !row.is_good()).count();
    if bad != 0 {
        bail!("{bad} of {} kernels are not as they must be", rows.len());
    }
    Ok(())
}

/// A line of the table.
struct Row {
    name: String,
    release: String,
    modules: usize,
    layouts: Result<Comparison>,
    /// Whether the bindings are the same bytes each time; `None` if that was not reached.
    same_bytes: Option<Result<()>>,
    /// Compiling: warnings and errors.
    remarks: Option<Result<usize>>,
}

impl Row {
    fn of(wanted: &Wanted, compile: bool) -> Self {
        let mut row = Row {
            name: wanted.name(),
            release: String::new(),
            modules: 0,
            layouts: Ok(Comparison::default()),
            same_bytes: None,
            remarks: None,
        };
        let kernel = match packages::ensure(wanted, &BTreeSet::new()) {
            Ok(kernel) => kernel,
            Err(error) => {
                row.layouts = Err(error);
                return row.complaining();
            }
        };
        row.release.clone_from(&kernel.release);
        row.modules = kernel.modules.len();
        row.layouts = layouts(&kernel);
        let bindings = kernel.folder.join(if kernel.modules.is_empty() {
            "bindings"
        } else {
            "bindings-netfilter"
        });
        row.same_bytes = Some(same_bytes(&kernel, &bindings));
        if compile && matches!(row.same_bytes, Some(Ok(()))) {
            row.remarks = Some(check(&kernel, &bindings));
        }
        row.complaining()
    }

    /// Says at once what is wrong.
    fn complaining(self) -> Self {
        let errors = [
            self.layouts.as_ref().err(),
            self.same_bytes
                .as_ref()
                .and_then(|result| result.as_ref().err()),
            self.remarks
                .as_ref()
                .and_then(|result| result.as_ref().err()),
        ];
        for error in errors.into_iter().flatten() {
            eprintln!("{}: {error:#}", self.name);
        }
        if let Ok(found) = &self.layouts {
            for difference in found.differences.iter().take(SHOWN) {
                eprintln!("{}: {}", self.name, difference.summary());
            }
        }
        self
    }

    fn is_good(&self) -> bool {
        let layouts = self
            .layouts
            .as_ref()
            .is_ok_and(|found| found.differences.is_empty() && found.types > 0);
        layouts
            && matches!(self.same_bytes, Some(Ok(())))
            && matches!(self.remarks, None | Some(Ok(0)))
    }

    fn head() -> String {
        format!(
            "{:<26} {:<28} {:>7} {:>7} {:>8} {:>10} {:>7}  {:<10} {:<8}",
            "kernel",
            "release",
            "modules",
            "types",
            "members",
            "bit-fields",
            "differ",
            "same bytes",
            "warnings"
        )
    }

    fn line(&self) -> String {
        let numbers = match &self.layouts {
            Ok(found) => format!(
                "{:>7} {:>8} {:>10} {:>7}",
                found.types,
                found.members,
                found.bit_fields,
                found.differences.len()
            ),
            Err(_) => format!("{:>35}", "failed"),
        };
        let same_bytes = match &self.same_bytes {
            None => "-",
            Some(Ok(())) => "yes",
            Some(Err(_)) => "no",
        };
        let remarks = match &self.remarks {
            None => "-".to_owned(),
            Some(Ok(count)) => count.to_string(),
            Some(Err(_)) => "failed".to_owned(),
        };
        format!(
            "{:<26} {:<28} {:>7} {numbers}  {same_bytes:<10} {remarks:<8}",
            self.name, self.release, self.modules
        )
        .trim_end()
        .to_owned()
    }
}

/// Compares all layouts of a kernel. The oracle is the kernel's own BTF, which pahole made when the kernel was built; where it has
/// none, what pahole makes now.
fn layouts(kernel: &Kernel) -> Result<Comparison> {
    let image = Image::open(&kernel.vmlinux)?;
    let modules = kernel
        .modules
        .iter()
        .map(|module| Image::open(module))
        .collect::<Result<Vec<_>, _>>()?;
    let read = dwarf::read(&image, &modules, &|_| ())?;
    if read.problems.total() != 0 {
        bail!(
            "the DWARF was not understood as a whole: {:?}",
            read.problems
        );
    }
    let ours = model::layouts(&read)?;
    drop(read);
    let types = if btf::is_in(&kernel.vmlinux)? {
        btf::Btf::read(&kernel.vmlinux)?
    } else {
        btf::Btf::from_dwarf(&kernel.vmlinux, &kernel.folder.join("pahole.btf"))?
    };
    let mut theirs = btf::layouts(&types)?;
    btf::add_modules(&types, &kernel.vmlinux, &kernel.modules, &mut theirs)?;
    Ok(compare(&ours, &theirs))
}

/// Writes the bindings with one thread, and makes them again with two, twice.
fn same_bytes(kernel: &Kernel, bindings: &Path) -> Result<()> {
    // What an older generator left there is of no interest.
    if bindings.exists() {
        std::fs::remove_dir_all(bindings)?;
    }
    for (threads, check) in [("1", false), ("2", true), ("2", true)] {
        let mut generate = Command::new(std::env::current_exe()?);
        generate
            .current_dir(paths::root())
            .env("RAYON_NUM_THREADS", threads)
            .arg("gen")
            .arg(&kernel.vmlinux)
            .arg("--into")
            .arg(bindings)
            .args(check.then_some("--check"));
        for module in &kernel.modules {
            generate.arg("--module").arg(module);
        }
        let output = generate.stdin(Stdio::null()).output()?;
        if !output.status.success() {
            bail!(
                "gen with {threads} threads: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
    }
    Ok(())
}

/// Checks the generated crate, and counts what the compiler has to say of it.
fn check(kernel: &Kernel, bindings: &Path) -> Result<usize> {
    let begin = Instant::now();
    let target = bindings.with_extension("target");
    let output = build::cargo(&kernel.release)
        .env("KSTRUCT_KERNEL", bindings)
        .env("CARGO_TARGET_DIR", &target)
        .args(["check", "--package", "kernel", "--message-format=json"])
        .stdin(Stdio::null())
        .output()
        .context("can't run cargo")?;
    let messages = messages::of(&output.stdout);
    let remarks: Vec<&str> = messages
        .iter()
        .filter(|message| message.package() == "kernel")
        .filter_map(|message| message.remark())
        .collect();
    for remark in remarks.iter().take(SHOWN) {
        eprintln!("{}: {}", kernel.release, remark.trim_end());
    }
    if !output.status.success() && remarks.is_empty() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    eprintln!(
        "{}: compiled in {:.0} s",
        kernel.release,
        begin.elapsed().as_secs_f64()
    );
    std::fs::remove_dir_all(&target)?;
    Ok(remarks.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_on_the_list_are_unique() {
        let names: BTreeSet<String> = KERNELS.iter().map(Wanted::name).collect();
        assert_eq!(names.len(), KERNELS.len());
    }

    #[test]
    fn a_row_is_good_only_if_all_is() {
        let good = || Row {
            name: "6.1-s390x".to_owned(),
            release: "6.1.0-50-s390x".to_owned(),
            modules: 0,
            layouts: Ok(Comparison {
                types: 1,
                ..Comparison::default()
            }),
            same_bytes: Some(Ok(())),
            remarks: Some(Ok(0)),
        };
        assert!(good().is_good());
        let mut row = good();
        row.remarks = Some(Ok(1));
        assert!(!row.is_good());
        row = good();
        row.same_bytes = None;
        assert!(!row.is_good());
        row = good();
        row.layouts = Ok(Comparison::default());
        assert!(!row.is_good(), "nothing was compared");
        row.layouts = Err(anyhow::anyhow!("no"));
        assert!(!row.is_good());
    }
}

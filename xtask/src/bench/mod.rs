//! `cargo xtask bench`: what kstruct takes, beside what one would use instead, measured in turns in one run.
//!
//! Machines are noisy, so single numbers mean little: medians and their ratios do.

mod floor;
mod jobs;
mod measure;
mod report;
mod tools;

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use kstruct_codegen::{dwarf, image::Image};

use crate::lab::{self, Machine};
use crate::paths;

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub struct Args {
    /// Only this kernel of the lab: its release, or the start of it
    #[arg(long, value_name = "NAME")]
    kernel: Option<String>,
    /// Only these jobs; all of them if none is named
    #[arg(value_enum)]
    jobs: Vec<Job>,
    /// How often each program is run, if that fits into --seconds
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// After so many seconds a program is not run again once it has been run three times
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Write the numbers into this file too, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only read all entries of this file's .debug_info and print their number: what `bench` measures as the floor
    #[arg(long, value_name = "VMLINUX", hide = true)]
    floor: Option<PathBuf>,
    /// Only read this file to a model and print how many types it has: what `bench` compares with the floor
    #[arg(long, value_name = "VMLINUX", hide = true, conflicts_with = "floor")]
    model: Option<PathBuf>,
}

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Job {
    /// From vmlinux to bindings, beside pahole and bpftool
    Gen,
    /// Compiling the bindings, and an analyzer anew
    Compile,
    /// An analyzer for a kernel that was never seen, from vmlinux to binary
    Unseen,
    /// All tasks, beside crash and drgn
    Ps,
    /// All network interfaces, beside crash and drgn
    Netdev,
    /// 20,000 TCP connections (`cargo xtask lab --crowd`), shown beside drgn, and checked
    Tcp,
    /// All memory of a compressed dump, beside the decompressor alone
    Scan,
    /// Walks over tasks, dentries, pages, slab objects and vmalloc space, beside code written by hand, drgn and crash
    Walk,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    if let Some(vmlinux) = &args.floor {
        println!("{} entries", floor::pass(vmlinux)?);
        return Ok(());
    }
    if let Some(vmlinux) = &args.model {
        let image = Image::open(vmlinux)?;
        println!("{} types", dwarf::read(&image, &[], &|_| ())?.items.len());
        return Ok(());
    }
    let machines = machines(args.kernel.as_deref())?;
    let is_wanted = |job| args.jobs.is_empty() || args.jobs.contains(&job);
    let mut report = report::Report::new();
    for machine in &machines {
        let bench = jobs::Bench::new(machine, args.runs, args.seconds)?;
        if is_wanted(Job::Gen) {
            report.add(bench.generate()?);
        }
        if is_wanted(Job::Compile) {
            report.add(bench.compile()?);
            report.add(bench.rebuild()?);
        }
        if is_wanted(Job::Unseen) {
            report.add(bench.unseen()?);
        }
        if is_wanted(Job::Ps) {
            report.add(bench.ps()?);
        }
        if is_wanted(Job::Netdev) {
            report.add(bench.netdev()?);
        }
        if is_wanted(Job::Tcp) {
            match lab::crowd(&machine.release)? {
                Some(crowd) => {
                    let bench = jobs::Bench::new(&crowd, args.runs, args.seconds)?;
                    for job in bench.tcp()? {
                        report.add(job);
                    }
                }
                None => eprintln!(
                    "not measured: tcp of {}, which has no crowd; make it with: cargo xtask lab {} --crowd",
                    machine.release, machine.release
                ),
            }
        }
        if is_wanted(Job::Scan) {
            report.add(bench.scan()?);
        }
        if is_wanted(Job::Walk) {
            for walk in bench.walk()? {
                report.add(walk);
            }
        }
    }
    // What is left is empty, or was left by a run that was broken off.
    let _ = std::fs::remove_dir_all(paths::bench());
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(file, text + "\n")
            .with_context(|| format!("can't write {}", file.display()))?;
    }
    Ok(())
}

fn machines(wanted: Option<&str>) -> anyhow::Result<Vec<Machine>> {
    let mut all = lab::machines()?;
    // What it is measured beside doesn't open dumps of others.
    all.retain(|machine| machine.machine == "amd64");
    if all.is_empty() {
        bail!("the lab has no machines yet; make them with: cargo xtask lab");
    }
    let Some(wanted) = wanted else {
        return Ok(all);
    };
    let there: Vec<String> = all.iter().map(|machine| machine.release.clone()).collect();
    let chosen: Vec<Machine> = all
        .into_iter()
        .filter(|machine| {
            machine.release == wanted
                || machine
                    .release
                    .strip_prefix(wanted)
                    .is_some_and(|rest| rest.starts_with('.'))
        })
        .collect();
    if chosen.is_empty() {
        bail!(
            "the lab has no machine with kernel {wanted}, but with {}; make it with: cargo xtask lab {wanted}",
            there.join(", ")
        );
    }
    Ok(chosen)
}

//! `cargo xtask gen`: from a vmlinux to `generated/<kernel>/`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use kstruct_codegen::image::Image;
use kstruct_codegen::{dwarf, emit, output};

use crate::{find, paths};

/// Options of `cargo xtask gen`.
#[derive(clap::Args)]
pub struct Args {
    /// A vmlinux with DWARF: its path, its name (vmlinux-2.6.9) or its release (6.12.117+deb12-cloud-amd64)
    vmlinux: String,
    /// Only say whether the bindings are what the vmlinux gives; exit with 1 if not
    #[arg(long)]
    check: bool,
}

/// Runs the command. Says whether all is well: with `--check`, whether the bindings are fresh.
pub fn run(args: &Args) -> anyhow::Result<bool> {
    let vmlinux = find::vmlinux(&args.vmlinux)?;
    let kernel = find::kernel_name(&vmlinux);
    let done = generate(&vmlinux, &kernel, args.check)?;
    if !args.check || done.is_fresh() {
        return Ok(true);
    }
    for path in done.changed.iter().chain(&done.stale).take(10) {
        eprintln!("differs: {}", path.display());
    }
    eprintln!(
        "generated/{kernel} is not what {} gives; run: cargo xtask gen {kernel}",
        vmlinux.display()
    );
    Ok(false)
}

/// Generates the bindings of a kernel, or checks them.
pub fn generate(vmlinux: &Path, kernel: &str, check: bool) -> anyhow::Result<output::Written> {
    let start = Instant::now();
    let image = Image::open(vmlinux)?;
    let bar = ProgressBar::no_length().with_style(ProgressStyle::with_template(
        "{spinner} reading {pos}/{len} units, {msg} types, {elapsed}",
    )?);
    let model = dwarf::read(&image, &|progress| {
        bar.set_length(progress.of as u64);
        bar.set_position(progress.units as u64);
        bar.set_message(progress.types.to_string());
    })?;
    bar.finish_and_clear();
    let read = start.elapsed();
    if model.problems.total() != 0 {
        eprintln!(
            "warning: in the DWARF of {}: {} references lead nowhere, {} types contain themselves, {} members lie outside their struct; these are left out",
            vmlinux.display(),
            model.problems.dangling,
            model.problems.recursive,
            model.problems.outside
        );
    }
    let files = emit::files(&model, &format!("cargo xtask gen {kernel}"))?;
    let directory = paths::bindings(kernel);
    let written = output::write(&directory, &files, check)
        .with_context(|| format!("can't write {}", directory.display()))?;
    eprintln!(
        "{kernel}: {} types, {} variables, {} functions; read in {:.2} s, {} in {:.2} s: {} files, {} {}",
        model.items.len(),
        model.variables.len(),
        model.functions.len(),
        read.as_secs_f64(),
        if check { "checked" } else { "written" },
        (start.elapsed() - read).as_secs_f64(),
        files.len(),
        written.changed.len() + written.stale.len(),
        if check { "differ" } else { "changed" },
    );
    Ok(written)
}

/// The bindings of a kernel, generated if there are none or if the vmlinux is newer.
pub fn ensure(kernel: &str) -> anyhow::Result<PathBuf> {
    let directory = paths::bindings(kernel);
    if directory.join("mod.rs").exists() {
        return Ok(directory);
    }
    match find::vmlinux(kernel) {
        Ok(vmlinux) => {
            generate(&vmlinux, kernel, false)?;
            Ok(directory)
        }
        Err(error) => {
            bail!("there are no bindings of kernel {kernel}, and none can be generated: {error:#}")
        }
    }
}

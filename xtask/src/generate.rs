//! `cargo xtask gen`: from a vmlinux to `generated/<kernel>/`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{anyhow, bail};
use indicatif::{ProgressBar, ProgressStyle};
use kstruct_codegen::image::Image;
use kstruct_codegen::model::Model;
use kstruct_codegen::{dwarf, emit, names, output, select};

use crate::{build, find, paths};

/// Options of `cargo xtask gen`.
#[derive(clap::Args)]
pub struct Args {
    /// A vmlinux with DWARF: its path, its name (vmlinux-2.6.9) or its release (6.12.117+deb12-cloud-amd64)
    vmlinux: String,
    /// Take the types of this module too, by name or path; those that analyzers ask for are taken anyway if they are found
    #[arg(long, value_name = "MODULE")]
    module: Vec<String>,
    /// Take only these types, and what they embed or point to
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    only: Vec<String>,
    /// Only say whether the bindings are what the vmlinux gives; exit with 1 if not
    #[arg(long)]
    check: bool,
    /// Put the bindings into this folder instead of generated/KERNEL
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
}

/// Runs the command. Says whether all is well: with `--check`, whether the bindings are fresh.
pub fn run(args: &Args) -> anyhow::Result<bool> {
    let vmlinux = find::vmlinux(&args.vmlinux)?;
    let kernel = find::kernel_name(&vmlinux)?;
    let modules = modules(&vmlinux, &kernel, &args.module)?;
    let directory = args
        .into
        .clone()
        .unwrap_or_else(|| paths::bindings(&kernel));
    let done = generate(
        &vmlinux, &kernel, &modules, &args.only, &directory, args.check,
    )?;
    if !args.check || done.is_fresh() {
        return Ok(true);
    }
    for path in done.changed.iter().chain(&done.stale).take(10) {
        eprintln!("differs: {}", path.display());
    }
    eprintln!(
        "{} is not what {} gives; run the same command without --check",
        directory.display(),
        vmlinux.display()
    );
    Ok(false)
}

/// The debug files of the modules that the user asked for, which must exist, and of those that analyzers ask for, which
/// need not.
fn modules(vmlinux: &Path, kernel: &str, asked: &[String]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = BTreeMap::new();
    for module in asked {
        match find::module(vmlinux, kernel, module) {
            Some(path) => found.insert(dwarf::module_name(&path), path),
            None => bail!("there is no debug information of module {module} for kernel {kernel}"),
        };
    }
    for module in crate::workspace::wanted_modules()? {
        if let Some(path) = find::module(vmlinux, kernel, &module) {
            found.entry(module).or_insert(path);
        }
    }
    Ok(found.into_values().collect())
}

/// The debug files of modules, those that analyzers ask for among them, that are there.
pub fn modules_there(
    vmlinux: &Path,
    kernel: &str,
    asked: &[String],
) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = modules(vmlinux, kernel, &[])?;
    for module in asked {
        found.extend(find::module(vmlinux, kernel, module));
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// Reads a kernel and modules, shows how far it is, and says what could not be understood.
pub fn read(vmlinux: &Path, modules: &[PathBuf]) -> anyhow::Result<Model> {
    let image = Image::open(vmlinux)?;
    let module_images = modules
        .iter()
        .map(|module| Image::open(module))
        .collect::<Result<Vec<_>, _>>()?;
    let bar = ProgressBar::no_length().with_style(ProgressStyle::with_template(
        "{spinner} reading {pos}/{len} units, {msg} types, {elapsed}",
    )?);
    let model = dwarf::read(&image, &module_images, &|progress| {
        bar.set_length(progress.of as u64);
        bar.set_position(progress.units as u64);
        bar.set_message(progress.types.to_string());
    })?;
    bar.finish_and_clear();
    if model.kernel.release.is_empty() {
        bail!(
            "{}: it is not a Linux kernel: there is no linux_banner in it",
            vmlinux.display()
        );
    }
    if model.problems.total() != 0 {
        eprintln!(
            "warning: in the DWARF of {}: {} references lead nowhere, {} types contain themselves, {} members lie outside their struct; these are left out",
            vmlinux.display(),
            model.problems.dangling,
            model.problems.recursive,
            model.problems.outside
        );
    }
    Ok(model)
}

/// Generates the bindings of a kernel, or checks them.
pub fn generate(
    vmlinux: &Path,
    kernel: &str,
    modules: &[PathBuf],
    only: &[String],
    directory: &Path,
    check: bool,
) -> anyhow::Result<output::Written> {
    let start = Instant::now();
    let model = read(vmlinux, modules)?;
    let read = start.elapsed();
    if let Some(identity) = build::identity_in(directory)
        && identity.banner != model.kernel.banner
    {
        bail!(
            "{} holds the bindings of another kernel: {}; remove that folder, or give this vmlinux another name (vmlinux-NAME)",
            directory.display(),
            identity.banner
        );
    }
    let mut command = format!("cargo xtask gen {kernel}");
    let item_names = names::assign(&model);
    let selection = if only.is_empty() {
        None
    } else {
        command.push_str(&format!(" --only {}", only.join(",")));
        let selection = select::closure_of(&model, &item_names, only)
            .map_err(|unknown| anyhow!("kernel {kernel} has no type {}", unknown.join(", nor ")))?;
        eprintln!(
            "{kernel}: {} of {} types are {}, or what they embed or point to",
            selection.count(),
            model.items.len(),
            only.join(", ")
        );
        Some(selection)
    };
    let files = emit::selected(&model, &item_names, selection.as_ref(), &command)?;
    let written = output::write(directory, &files, check)?;
    let names: Vec<String> = modules
        .iter()
        .map(|module| dwarf::module_name(module))
        .collect();
    if !names.is_empty() {
        eprintln!("{kernel}: with modules {}", names.join(", "));
    }
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

/// Generates the bindings of a kernel if there are none, or none of this version of kstruct, or if an analyzer asks for a
/// module that they lack and that is there. Without a path the kernel's vmlinux is looked for.
pub fn ensure(kernel: &str, vmlinux: Option<&Path>) -> anyhow::Result<()> {
    let identity = build::identity(kernel);
    let vmlinux = match vmlinux {
        Some(path) => Ok(path.to_owned()),
        None => find::vmlinux(kernel),
    };
    let vmlinux = match (vmlinux, &identity) {
        (Ok(vmlinux), _) => vmlinux,
        // There is nothing to make better ones from.
        (Err(_), Some(_)) => return Ok(()),
        (Err(error), None) => {
            return Err(error.context(format!(
                "there are no bindings of kernel {kernel} that fit this version"
            )));
        }
    };
    let mut modules = modules(&vmlinux, kernel, &[])?;
    if let Some(identity) = identity {
        if modules
            .iter()
            .all(|module| identity.modules.contains(&dwarf::module_name(module)))
        {
            return Ok(());
        }
        // Keep those that were asked for by hand.
        for module in &identity.modules {
            modules.extend(find::module(&vmlinux, kernel, module));
        }
        modules.sort();
        modules.dedup();
    }
    generate(
        &vmlinux,
        kernel,
        &modules,
        &[],
        &paths::bindings(kernel),
        false,
    )?;
    Ok(())
}

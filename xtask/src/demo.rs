//! `cargo xtask demo` and `cargo xtask test`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;

use crate::{build, failures, find, generate, kernels, lab, paths, workspace};

/// Generates the fixture's bindings, builds `netdev` for it and prints its report: the main job, from end to end.
pub fn demo() -> anyhow::Result<u8> {
    let vmlinux = paths::fixture_vmlinux();
    let vmcore = paths::fixture_vmcore();
    let kernel = find::kernel_name(&vmlinux)?;
    println!("$ cargo xtask gen vmlinux-2.6.9");
    generate::generate(
        &vmlinux,
        &kernel,
        &generate::Extras::again(&workspace::wanted_modules()?, &vmlinux, &kernel)?,
        &paths::bindings(&kernel),
        false,
    )?;
    println!("$ cargo xtask build --kernel {kernel} netdev");
    let binary = build::compile(&kernel, None, &["netdev".to_owned()], false)?.remove(0);
    let shown = |path: &PathBuf| {
        let root = paths::root();
        path.strip_prefix(root)
            .unwrap_or(path)
            .display()
            .to_string()
    };
    println!("$ {} --core {}", shown(&binary), shown(&vmcore));
    let status = Command::new(&binary)
        .arg("--core")
        .arg(&vmcore)
        .status()
        .with_context(|| format!("can't run {}", binary.display()))?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(u8::MAX))
}

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub struct TestArgs {
    /// Also test on real kernels: fetch Debian's, boot them under QEMU, compare with what they say of themselves
    #[arg(long)]
    lab: bool,
    /// With --lab: only machines of other architectures, all or those of these names (i386-pae, s390x)
    #[arg(long, value_name = "MACHINE", num_args = 0.., requires = "lab")]
    machines: Option<Vec<String>>,
    /// Instead: on Debian's kernels for five architectures, compare every layout with what pahole and bpftool read, generate
    /// with one thread and with two, and compile all bindings. NAME: only this one (6.1-s390x)
    #[arg(long, value_name = "NAME", num_args = 0.., conflicts_with = "lab")]
    kernels: Option<Vec<String>>,
    /// With --kernels: don't compile the bindings, which takes a minute and some GB for each
    #[arg(long, requires = "kernels")]
    no_compile: bool,
}

/// Runs all tests.
pub fn test(args: &TestArgs) -> anyhow::Result<()> {
    if let Some(names) = &args.kernels {
        return kernels::test(names, !args.no_compile);
    }
    // All at once: one by one, as tests ask for them, each would select more of the kernel and compile the others anew.
    let analyzers = workspace::analyzers()?;
    let names: Vec<String> = analyzers.into_iter().map(|it| it.name).collect();
    if args.machines.is_none() {
        let vmlinux = paths::fixture_vmlinux();
        let kernel = find::kernel_name(&vmlinux)?;
        build::compile(&kernel, Some(&vmlinux), &names, false)?;
        let mut command = Command::new(env!("CARGO"));
        command
            .current_dir(paths::root())
            .args(["test", "--workspace"]);
        failures::run(&mut command)?;
    }
    if !args.lab {
        eprintln!(
            "not run: the tests on real kernels (tests/tests/lab.rs), which need QEMU and Debian packages; run them by: cargo xtask test --lab"
        );
        return Ok(());
    }
    let mut tests = vec![
        "lab",
        "lab_crashinfo",
        "lab_sockets",
        "lab_routes",
        "lab_rare",
        "lab_netfilter",
        "lab_netdev",
    ];
    let compile = |machines: &[lab::Machine]| {
        machines
            .iter()
            .try_for_each(|machine| build::compile(&machine.release, None, &names, false).map(drop))
    };
    let machines = match &args.machines {
        Some(names) => {
            let machines = lab::ensure_others(names)?;
            compile(&machines)?;
            machines
        }
        None => {
            tests.extend([
                "lab_modules",
                "lab_types",
                "lab_debuggers",
                "lab_containers",
                "lab_damage",
                "lab_images",
                "formats",
                "btf",
            ]);
            // One after the other: where two share a host's CPUs, what is timed moves between a guest's recordings.
            let both =
                |how| anyhow::Ok([lab::ensure("6.1", 4, how)?, lab::ensure("6.12", 5, how)?]);
            let mut machines = Vec::from(both(lab::How::Stop)?);
            compile(&machines)?;
            machines.extend(both(lab::How::Panic)?);
            machines.extend(both(lab::How::Live)?);
            machines.push(lab::ensure("6.12", 5, lab::How::Crowd)?);
            machines
        }
    };
    let folders: Vec<String> = machines
        .iter()
        .map(|machine| machine.folder.display().to_string())
        .collect();
    let mut command = Command::new(env!("CARGO"));
    command
        .current_dir(paths::root())
        // Each file says what it found: what one of them shows explains what another does.
        .args(["test", "--package", "tests", "--features", "lab"])
        .arg("--no-fail-fast")
        .args(tests.iter().flat_map(|test| ["--test", test]))
        // How much was compared is part of the result.
        .args(["--", "--show-output"])
        .env("KSTRUCT_LAB_MACHINES", folders.join(":"));
    if args.machines.is_none() {
        match lab::makedumpfile::ensure() {
            Ok(program) => drop(command.env("KSTRUCT_MAKEDUMPFILE", program)),
            // The tests say what they then can't do, or fail if everything is required.
            Err(error) => eprintln!("{error:#}"),
        }
    }
    failures::run(&mut command)
}

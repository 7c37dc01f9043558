//! `cargo xtask`: the way people use and develop kstruct. `cargo xtask help` lists the commands.
#![forbid(unsafe_code)]

mod bench;
mod btf;
mod build;
mod check;
mod debuginfod;
mod demo;
mod diff;
mod failures;
mod find;
mod fixture;
mod fleet;
mod generate;
mod index;
mod inventory;
mod kallsyms;
mod kernels;
mod lab;
mod less;
mod loaded;
mod messages;
mod new;
mod paths;
mod predicates;
mod seed;
mod seen;
mod selected;
mod show;
mod stamp;
mod used;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Generation makes and drops millions of small things: with glibc's allocator a third of its time goes there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Generate the bindings of a kernel from its vmlinux
    Gen(generate::Args),
    /// Build analyzers for a kernel; they are then in target/analyzers/KERNEL/ and need nothing but themselves
    Build(build::BuildArgs),
    /// Say for which kernels which analyzers compile; the exit status is 1 if one doesn't
    Check(check::Args),
    /// Build an analyzer for a dump's kernel, and run it on the dump
    Run(build::RunArgs),
    /// Print the layout of a struct as pahole does, with holes and cache lines
    Show(show::Args),
    /// Say what changed between two kernels; the exit status is 0 if nothing did, 1 if something did, 2 if
    /// that can't be said
    Diff(diff::Args),
    /// List the kernels of which something is there, with where their debug information is and the dumps that were met; remove some
    Kernels(inventory::Args),
    /// Start a new analyzer
    New(new::Args),
    /// Generate, build and analyze: the main job on the kernel and the dump that the repository carries
    Demo,
    /// Run the tests
    Test(demo::TestArgs),
    /// Boot a Debian kernel under QEMU into a known state; record what it says of itself; dump its memory
    Lab(lab::Args),
    /// Measure generation, compilation and analyzers beside crash and drgn
    Bench(bench::Args),
    /// Rebuild the fixture (`vmlinux-2.6.9` and its dump) from its C sources
    Fixture(fixture::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Gen(args) => generate::run(&args).map(|fresh| u8::from(!fresh)),
        Command::Build(args) => build::build(&args).map(|()| 0),
        Command::Check(args) => check::run(&args).map(|good| u8::from(!good)),
        Command::Run(args) => build::run(&args),
        Command::Show(args) => show::run(&args).map(|()| 0),
        Command::Diff(args) => diff::run(&args).map(|same| u8::from(!same)),
        Command::Kernels(args) => inventory::run(&args).map(|()| 0),
        Command::New(args) => new::run(&args).map(|()| 0),
        Command::Demo => demo::demo(),
        Command::Test(args) => demo::test(&args).map(|()| 0),
        Command::Lab(args) => lab::run(&args).map(|()| 0),
        Command::Bench(args) => bench::run(&args).map(|()| 0),
        Command::Fixture(args) => fixture::run(&args).map(|()| 0),
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    /// Options that contradict each other are found here, and not by who types the first command.
    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}

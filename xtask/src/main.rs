//! `cargo xtask`: the way people use and develop kstruct. `cargo xtask help` lists the commands.
#![forbid(unsafe_code)]

mod find;
mod fixture;
mod generate;
mod lab;
mod paths;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    /// Boot a Debian kernel under QEMU into a known state; record what it says of itself; dump its memory
    Lab(lab::Args),
    /// Rebuild the fixture (`vmlinux-2.6.9` and its dump) from its C sources
    Fixture(fixture::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Gen(args) => generate::run(&args),
        Command::Lab(args) => lab::run(&args).map(|()| true),
        Command::Fixture(args) => fixture::run(&args).map(|()| true),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

//! `tcp`: every TCP socket of a dump.
#![forbid(unsafe_code)]

#[cfg(kernel_has = "inet_hashinfo.lhash2")]
mod line;
#[cfg(kernel_has = "inet_hashinfo.lhash2")]
mod report;

use std::process::ExitCode;

#[cfg(kernel_has = "inet_hashinfo.lhash2")]
fn main() -> ExitCode {
    report::main()
}

#[cfg(not(kernel_has = "inet_hashinfo.lhash2"))]
fn main() -> ExitCode {
    eprintln!("error: this kernel's tables of TCP sockets are not known: they are of before 4.17");
    ExitCode::from(2)
}

//! `tcpcheck`: TCP connections that are not as they should be.
#![forbid(unsafe_code)]

#[cfg(any(
    kernel_has = "inet_hashinfo.lhash2",
    kernel_has = "tcp_hashinfo.__tcp_ehash"
))]
mod report;
#[cfg(any(
    kernel_has = "inet_hashinfo.lhash2",
    kernel_has = "tcp_hashinfo.__tcp_ehash"
))]
mod rules;
#[cfg(any(
    kernel_has = "inet_hashinfo.lhash2",
    kernel_has = "tcp_hashinfo.__tcp_ehash"
))]
mod said;

use std::process::ExitCode;

#[cfg(any(
    kernel_has = "inet_hashinfo.lhash2",
    kernel_has = "tcp_hashinfo.__tcp_ehash"
))]
fn main() -> ExitCode {
    report::main()
}

#[cfg(not(any(
    kernel_has = "inet_hashinfo.lhash2",
    kernel_has = "tcp_hashinfo.__tcp_ehash"
)))]
fn main() -> ExitCode {
    eprintln!(
        "error: this kernel's tables of TCP sockets are not known: they are of 2.6.10 to 4.16"
    );
    ExitCode::from(2)
}

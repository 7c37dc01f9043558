//! The sockets of a dump, by the tables that the kernel keeps them in; who holds them; what `ss` says of them.
//!
//! `sock::Reader` is made once; then `tcp::sockets`, or `all::Sockets` for those of all families, reads what there is in all network namespaces.
#![forbid(unsafe_code)]

pub mod name;
pub mod owner;
pub mod text;

// The tables of 4.17 and later, and those of 2.6.9.
#[cfg(any(
    kernel_has = "inet_hashinfo.lhash2",
    kernel_has = "tcp_hashinfo.__tcp_ehash"
))]
pub mod all;
#[cfg(any(
    kernel_has = "inet_hashinfo.lhash2",
    kernel_has = "tcp_hashinfo.__tcp_ehash"
))]
pub mod filter;
#[cfg(any(
    kernel_has = "inet_hashinfo.lhash2",
    kernel_has = "tcp_hashinfo.__tcp_ehash"
))]
pub mod inet;
#[cfg(kernel_has = "spinlock")]
pub mod lock;
#[cfg(kernel_has = "tcp_hashinfo.__tcp_ehash")]
mod old;
#[cfg(any(
    kernel_has = "inet_hashinfo.lhash2",
    kernel_has = "tcp_hashinfo.__tcp_ehash"
))]
pub mod other;
#[cfg(any(
    kernel_has = "inet_hashinfo.lhash2",
    kernel_has = "tcp_hashinfo.__tcp_ehash"
))]
pub mod sock;
#[cfg(kernel_has = "inet_hashinfo.lhash2")]
pub mod space;
#[cfg(kernel_has = "tcp_hashinfo.__tcp_ehash")]
#[path = "old/space.rs"]
pub mod space;
#[cfg(any(
    kernel_has = "inet_hashinfo.lhash2",
    kernel_has = "tcp_hashinfo.__tcp_ehash"
))]
pub mod tcp;
#[cfg(any(
    kernel_has = "inet_hashinfo.lhash2",
    kernel_has = "tcp_hashinfo.__tcp_ehash"
))]
pub mod unix;

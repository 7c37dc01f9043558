//! The sockets of a dump, by the tables that the kernel keeps them in; who holds them; what `ss` says of them.
//!
//! `sock::Reader` is made once; then `tcp::sockets`, or `all::Sockets` for those of all families, reads what there is in all network namespaces.
#![forbid(unsafe_code)]

pub mod name;
pub mod owner;
pub mod text;

// The tables of 4.17 and later.
#[cfg(kernel_has = "inet_hashinfo.lhash2")]
pub mod all;
#[cfg(kernel_has = "inet_hashinfo.lhash2")]
pub mod filter;
#[cfg(kernel_has = "inet_hashinfo.lhash2")]
pub mod inet;
#[cfg(kernel_has = "inet_hashinfo.lhash2")]
pub mod other;
#[cfg(kernel_has = "inet_hashinfo.lhash2")]
pub mod sock;
#[cfg(kernel_has = "inet_hashinfo.lhash2")]
pub mod space;
#[cfg(kernel_has = "inet_hashinfo.lhash2")]
pub mod tcp;
#[cfg(kernel_has = "inet_hashinfo.lhash2")]
pub mod unix;

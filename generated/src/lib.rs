//! One kernel's structs, enums, variables and constants as Rust: the kernel that `KSTRUCT_KERNEL` selected when this was
//! compiled, or the fixture `vmlinux-2.6.9`.
//!
//! Everything in the modules is generated from the kernel's debug information by `cargo xtask gen`. What is written by
//! hand are the few lines that tell the runtime about lists and trees ([`list_head`], [`hlist_head`]) and where the kernel keeps
//! what is needed to find it in a dump ([`KERNEL`]).
#![forbid(unsafe_code)]
#![allow(
    clippy::len_without_is_empty,
    clippy::should_implement_trait,
    clippy::wrong_self_convention,
    non_camel_case_types,
    non_upper_case_globals,
    non_snake_case,
    reason = "names are the kernel's own"
)]

mod anchors;
mod counts;
mod lists;
mod loaded;
mod rings;
mod tables;
mod trees;
mod waits;

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));

pub use anchors::KERNEL;

//! What `struct` and `sym` are made of: any type and any variable of the kernel by its name, from the table of types that the bindings
//! carry ([`kernel::types`]).
#![forbid(unsafe_code)]

pub mod context;
pub mod place;
pub mod print;
pub mod symbols;
pub mod walk;

pub use context::Context;

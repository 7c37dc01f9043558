//! From a kernel's debug information to Rust: read, model, emit.
//!
//! [`dwarf::read`] turns an [`image::Image`] into a [`model::Model`]; [`emit::files`] turns that into the text of a
//! crate's modules; [`output::write()`] puts the text where it belongs. The readers never see Rust, the writer never
//! sees DWARF.
#![deny(unsafe_code)]

pub mod btf;
mod compress;
pub mod ctext;
mod debuglink;
pub mod dwarf;
pub mod emit;
mod error;
#[allow(unsafe_code, reason = "one line maps the file")]
pub mod image;
pub mod index;
pub mod model;
pub mod names;
pub mod output;
pub mod passes;
mod relocate;
pub mod select;

pub use error::Error;

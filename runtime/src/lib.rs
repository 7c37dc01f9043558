//! What generated bindings and analyzers call: a dump's memory, and typed views of what lies in it.
//!
//! A view is an address and a borrow of the struct's bytes where they lie in the mapped dump. It was checked when it was
//! made, so its accessors can't fail; what can fail (following a pointer, walking a list) returns a [`Fault`].
#![deny(unsafe_code)]

mod bits;
pub mod dump;
mod fault;
mod kallsyms;
mod kernel;
mod locate;
#[allow(
    unsafe_code,
    reason = "one line maps the file, one fetches from it ahead"
)]
mod map;
mod memory;
mod module;
mod paging;
mod refcount;
mod symbol;
pub mod table;
pub mod types;
mod user;
pub mod view;
pub mod walk;

pub use dump::{Dump, KCORE, OpenError, Piece, VmcoreInfo};
pub use fault::{Fault, FaultKind};
pub use kallsyms::{Kallsyms, KernelSymbol};
pub use kernel::{KernelInfo, Words};
pub use locate::{EM_386, EM_AARCH64, EM_PPC64, EM_RISCV, EM_S390, EM_X86_64, Hints};
pub use map::prefetch;
pub use memory::Memory;
pub use module::{FindSection, Module, ModuleName, ModulePerCpu, ModuleSym, PerCpuSymbol, Symbol};
pub use refcount::Refcount;
pub use symbol::{Functions, PerCpu, Sym};
pub use user::UserSpace;
pub use view::{Array, CharArray, CharPtr, FnPtr, Part, Ptr, Raw, Text, View, escape_of};

//! Prints where a dump has the variables of modules: lines of address or fault, name, module.
//!
//! The test `lab_modules` names the variables, in a file that `KSTRUCT_MODULE_SYMBOLS` leads to: all that the bindings have.
#![forbid(unsafe_code)]

use kernel::sym;
use kstruct::{Fault, Memory, PerCpuSymbol as _, Symbol as _};

fn main() {
    let core = std::env::args_os().nth(1).expect("the dump");
    let k = &Memory::open(core.as_ref(), &kernel::KERNEL, false).expect("the dump can be opened");
    let show = |name: &str, module: &str, address: Result<u64, Fault>| match address {
        Ok(address) => println!("{address:#x} {name} {module}"),
        Err(fault) => println!("! {name} {module} {fault}"),
    };
    include!(env!("KSTRUCT_MODULE_SYMBOLS"));
}

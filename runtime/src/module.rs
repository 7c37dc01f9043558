//! Variables of modules. Where one lies is known when its module is loaded: the dump's list of modules says where the
//! module's sections are.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Mutex, PoisonError};

use crate::fault::{Fault, FaultKind};
use crate::memory::Memory;
use crate::symbol::{PerCpu, Sym};

/// A module as the bindings know it.
#[derive(Debug, PartialEq, Eq)]
pub struct Module {
    /// Its name, as `lsmod` prints it.
    pub name: &'static str,
    /// The GNU build id in hexadecimal of the file that the bindings were made from; empty if it had none.
    pub build_id: &'static str,
}

/// Where a section of a module lies in a dump. Only crate `kernel` knows the types that say so: see
/// [`crate::KernelInfo::module_section`].
pub type FindSection = fn(&Memory, &'static Module, &str) -> Result<u64, FaultKind>;

/// What has one address in a dump: a variable of the kernel or of a module, with its type.
///
/// What is in a module in one kernel is built into another; a program that calls [`Memory::get`] need not care.
pub trait Symbol: Copy {
    /// Its type.
    type Target;

    /// Its address in a dump. For a variable of a module that isn't loaded there, or is of another build, a fault that
    /// says so.
    fn locate(self, memory: &Memory) -> Result<u64, Fault>;
}

/// What has an address on each CPU.
pub trait PerCpuSymbol: Copy {
    /// Its type.
    type Target;

    /// What [`Memory::per_cpu_address`] turns into an address on a CPU.
    fn locate(self, memory: &Memory) -> Result<u64, Fault>;
}

impl<T> Symbol for Sym<T> {
    type Target = T;

    #[inline]
    fn locate(self, memory: &Memory) -> Result<u64, Fault> {
        Ok(memory.address_of(self))
    }
}

impl<T> PerCpuSymbol for PerCpu<T> {
    type Target = T;

    #[inline]
    fn locate(self, memory: &Memory) -> Result<u64, Fault> {
        Ok(memory.relocated(self.linked_address()))
    }
}

/// The two kinds of variables of modules, which differ in nothing but what they mean.
macro_rules! module_symbols {
    ($($(#[$doc:meta])* $name:ident: $kind:ident),*) => {$(
        $(#[$doc])*
        pub struct $name<T> {
            module: &'static Module,
            section: &'static str,
            offset: u64,
            target: PhantomData<fn() -> T>,
        }

        impl<T> $name<T> {
            /// Used by generated code.
            pub const fn new(module: &'static Module, section: &'static str, offset: u64) -> Self {
                $name { module, section, offset, target: PhantomData }
            }

            /// The module that it is in.
            pub const fn module(self) -> &'static Module {
                self.module
            }

            /// The section that it is in.
            pub const fn section(self) -> &'static str {
                self.section
            }

            /// Bytes from the start of the section.
            pub const fn offset(self) -> u64 {
                self.offset
            }
        }

        impl<T> Clone for $name<T> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<T> Copy for $name<T> {}

        impl<T> $kind for $name<T> {
            type Target = T;

            fn locate(self, memory: &Memory) -> Result<u64, Fault> {
                let base = memory.module_section(self.module, self.section).map_err(|kind| {
                    Fault { address: self.offset, kind }
                })?;
                Ok(memory.wrap(base.wrapping_add(self.offset)))
            }
        }
    )*};
}

module_symbols! {
    /// A global or file-static variable of a module.
    ModuleSym: Symbol,
    /// A per-CPU variable of a module.
    ModulePerCpu: PerCpuSymbol
}

impl<T, const L: usize> ModuleSym<[T; L]> {
    /// How many elements the array has.
    #[allow(clippy::len_without_is_empty, reason = "as for the kernel's arrays")]
    pub const fn len(self) -> usize {
        L
    }
}

/// The name of a module, as a fault carries it: in 4 bytes. `deref` returns faults by the million; they stay small.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ModuleName(u32);

/// All modules that a fault ever named. A program's bindings know some hundreds.
static NAMES: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());

impl ModuleName {
    /// Of a module that bindings know.
    pub fn new(module: &'static Module) -> Self {
        let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        let known = names.iter().position(|name| *name == module.name);
        let index = known.unwrap_or_else(|| {
            names.push(module.name);
            names.len() - 1
        });
        ModuleName(u32::try_from(index).unwrap_or(u32::MAX))
    }

    /// The name.
    pub fn as_str(self) -> &'static str {
        let names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(self.0 as usize).copied().unwrap_or("?")
    }
}

impl fmt::Debug for ModuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for ModuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::{Module, ModuleName};
    use crate::fault::{Fault, FaultKind};

    static VETH: Module = Module {
        name: "veth",
        build_id: "",
    };
    static TUN: Module = Module {
        name: "tun",
        build_id: "",
    };

    #[test]
    fn faults_name_modules_and_stay_small() {
        let names = [&VETH, &TUN, &VETH].map(ModuleName::new);
        assert_eq!(names[0], names[2]);
        assert_ne!(names[0], names[1]);
        let fault = |kind| Fault { address: 8, kind }.to_string();
        assert_eq!(
            fault(FaultKind::NotLoaded(names[0])),
            "module veth is not loaded"
        );
        assert_eq!(
            fault(FaultKind::OtherBuild(names[1])),
            "module tun was loaded from another build than the bindings were made from"
        );
        assert_eq!(size_of::<Fault>(), 16);
    }
}

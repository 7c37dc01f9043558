//! What is known of a dump beside the bytes: types, symbols, CPUs.

use std::sync::OnceLock;

use anyhow::Context as _;
use kstruct::Memory;
use kstruct::types::{Encoding, Shape, Type, Types, Variable};
use linux::symbols::Names;

/// A dump, and the types of its kernel.
pub struct Context<'m> {
    /// The dump.
    pub k: &'m Memory,
    /// All types and variables.
    pub types: &'static Types,
    /// Names of functions, and of what modules have.
    pub names: Names<'m>,
    cpus: OnceLock<Vec<u32>>,
}

/// What is said of a pointer beside its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The symbol that it points to, with the distance from its start.
    Symbol(String),
    /// The text that it points to.
    Text(String),
    /// It is the same offset on each CPU.
    PerCpu,
}

/// So much of a text is shown.
const LONGEST_TEXT: usize = 256;

impl<'m> Context<'m> {
    /// Of a dump.
    ///
    /// # Errors
    ///
    /// The bindings have no table of types.
    pub fn of(k: &'m Memory) -> anyhow::Result<Self> {
        let types = kernel::types().context("this program was built without a table of types")?;
        Ok(Self::with(k, types))
    }

    /// Of a dump, with another table than the one that the program was built with.
    pub fn with(k: &'m Memory, types: &'static Types) -> Self {
        Context {
            k,
            types,
            names: Names::of(k),
            cpus: OnceLock::new(),
        }
    }

    /// The CPUs that may ever be there; none if the dump doesn't say.
    pub fn cpus(&self) -> &[u32] {
        self.cpus
            .get_or_init(|| linux::cpu::possible(self.k).unwrap_or_default())
    }

    /// The variable that an address of the dump lies in, and how far from its start. Variables of modules are not looked for.
    pub fn variable_at(&self, address: u64) -> Option<(Variable, u64)> {
        // Absolute symbols are numbers, not places.
        const PLACES: u64 = 1 << 20;
        let linked = self.k.wrap(address.wrapping_sub(self.k.kaslr_offset()));
        if linked < PLACES || self.k.relocated(linked) != address {
            return None;
        }
        self.types.variable_at(linked)
    }

    /// What lies at an address: a function, a variable of the kernel, anything in a module.
    pub fn symbol(&self, address: u64) -> Option<String> {
        if let Some(name) = self.names.at(address) {
            return Some(name.to_string());
        }
        let (variable, offset) = self.variable_at(address)?;
        // Where a section ends and the next one begins is not what somebody points to.
        if matches!(variable.ty.shape(), Shape::Void) && variable.name.starts_with('_') {
            return None;
        }
        Some(match offset {
            0 => variable.name.to_owned(),
            offset => format!("{}+{offset:#x}", variable.name),
        })
    }

    /// What can be said of a pointer to this type.
    pub fn note(&self, address: u64, target: Type) -> Option<Note> {
        if address == 0 {
            return None;
        }
        if let Shape::Base(_, 1, Encoding::Char) = target.stripped()
            && let Some(text) = self.text(address)
        {
            return Some(Note::Text(text));
        }
        if let Some(symbol) = self.symbol(address) {
            return Some(Note::Symbol(symbol));
        }
        self.is_per_cpu(address).then_some(Note::PerCpu)
    }

    /// The text at an address, if there is one that can be shown.
    fn text(&self, address: u64) -> Option<String> {
        let bytes = self.k.run(address, LONGEST_TEXT + 1).ok()?;
        let end = bytes.iter().position(|byte| *byte == 0);
        let shown = &bytes[..end.unwrap_or(bytes.len()).min(LONGEST_TEXT)];
        // What is no text is not the text that somebody meant.
        let is_text = |byte: &u8| {
            byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t' | b'\n') || *byte >= 0x80
        };
        shown.iter().all(is_text).then(|| {
            let mut text = shown.escape_ascii().to_string();
            if end.is_none() {
                text.push_str("...");
            }
            text
        })
    }

    /// Whether an address leads nowhere by itself, but on each CPU.
    fn is_per_cpu(&self, address: u64) -> bool {
        /// Small numbers in the place of pointers are flags and errors, and no variables: the first page has stacks or a canary.
        const LOWEST: u64 = 4096;
        let cpus = self.cpus();
        self.k.kernel().per_cpu_offset.is_some()
            && address >= LOWEST
            && !cpus.is_empty()
            && self.k.physical_address(address).is_err()
            && cpus.iter().take(2).all(|cpu| {
                self.k
                    .per_cpu_address(address, *cpu)
                    .is_ok_and(|place| self.k.bytes(place, 1).is_ok())
            })
    }
}

/// The number that an address is written as: hexadecimal digits, with or without `0x`.
pub fn hexadecimal(text: &str) -> Option<u64> {
    let digits = text
        .strip_prefix("0x")
        .or_else(|| text.strip_prefix("0X"))
        .unwrap_or(text);
    // A sign is none of them.
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u64::from_str_radix(digits, 16).ok()
}

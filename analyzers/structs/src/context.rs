//! What is known of a dump beside the bytes: types, symbols, CPUs.

use std::sync::OnceLock;

use anyhow::Context as _;
use kstruct::types::{Encoding, Shape, Type, Types, Variable};
use kstruct::{Fault, Memory};
use linux::app::is_missing;
use linux::symbols::Names;

/// A dump, and the types of its kernel.
pub struct Context<'m> {
    /// The dump.
    pub k: &'m Memory,
    /// All types and variables.
    pub types: &'static Types,
    /// Names of functions, and of what modules have.
    pub names: Names<'m>,
    cpus: OnceLock<Result<Vec<u32>, Fault>>,
    first_chunk: OnceLock<Result<Option<FirstChunk>, Fault>>,
}

/// The numbers that stand for what is in the first of the pieces of memory that per-CPU variables are in (mm/percpu.c): `__percpu` pointers
/// to what the kernel is linked with, and to what was allocated early.
#[derive(Debug, Clone, Copy)]
struct FirstChunk {
    /// `__per_cpu_start`
    start: u64,
    /// `pcpu_unit_size`: what each CPU has of it.
    size: u64,
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
    /// What the dump doesn't have, and would say more.
    Unread(Fault),
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
            first_chunk: OnceLock::new(),
        }
    }

    /// The CPUs that may ever be there; none if the dump doesn't say.
    pub fn cpus(&self) -> &[u32] {
        self.possible_cpus().unwrap_or_default()
    }

    fn possible_cpus(&self) -> Result<&[u32], Fault> {
        let cpus = self.cpus.get_or_init(|| linux::cpu::possible(self.k));
        cpus.as_deref().map_err(|fault| *fault)
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
        let found = if let Shape::Base(_, 1, Encoding::Char) = target.stripped() {
            self.text(address)
        } else {
            Ok(None)
        };
        let found = found.map(|text| {
            text.map(Note::Text)
                .or_else(|| self.symbol(address).map(Note::Symbol))
        });
        let found = match found {
            Ok(None) => self
                .is_per_cpu(address)
                .map(|is_per_cpu| is_per_cpu.then_some(Note::PerCpu)),
            found => found,
        };
        found.unwrap_or_else(|fault| is_missing(fault.kind).then_some(Note::Unread(fault)))
    }

    /// The text at an address, if there is one that can be shown.
    fn text(&self, address: u64) -> Result<Option<String>, Fault> {
        let mut bytes = Vec::new();
        let mut is_whole = false;
        // It may go on in a page that lies elsewhere.
        while !is_whole && bytes.len() <= LONGEST_TEXT {
            let next = self.k.wrap(address.wrapping_add(bytes.len() as u64));
            let piece = match self.k.run(next, LONGEST_TEXT + 1 - bytes.len()) {
                Ok(piece) => piece,
                Err(fault) if is_missing(fault.kind) => return Err(fault),
                Err(_) if bytes.is_empty() => return Ok(None),
                Err(_) => break,
            };
            let end = piece.iter().position(|byte| *byte == 0);
            is_whole = end.is_some();
            bytes.extend_from_slice(&piece[..end.unwrap_or(piece.len())]);
        }
        let shown = &bytes[..bytes.len().min(LONGEST_TEXT)];
        // What is no text is not the text that somebody meant.
        let is_text = |byte: &u8| {
            byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t' | b'\n') || *byte >= 0x80
        };
        Ok(shown.iter().all(is_text).then(|| {
            let mut text = shown.escape_ascii().to_string();
            if !is_whole {
                text.push_str("...");
            }
            text
        }))
    }

    /// Whether an address leads nowhere by itself, but on each CPU. What lies there isn't looked at: a number may lead to something by accident.
    fn is_per_cpu(&self, address: u64) -> Result<bool, Fault> {
        /// Small numbers in the place of pointers are flags and errors, and no variables: the first page has stacks or a canary.
        const LOWEST: u64 = 4096;
        let k = self.k;
        if address < LOWEST || is_mapped(k, address)? {
            return Ok(false);
        }
        let first = self.first_chunk.get_or_init(|| self.find_first_chunk());
        let Some(first) = (*first)? else {
            return Ok(false);
        };
        if k.wrap(address.wrapping_sub(first.start)) < first.size {
            return Ok(true);
        }
        // Other pieces are made of pages that are mapped for them.
        for cpu in self.possible_cpus()?.iter().take(2) {
            let place = k.per_cpu_address(address, *cpu)?;
            if k.is_linear(place) || !is_mapped(k, place)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Where the first piece begins, by where it lies for one CPU (`pcpu_setup_first_chunk`). Without such pieces a per-CPU variable's address is a
    /// place like others.
    fn find_first_chunk(&self) -> Result<Option<FirstChunk>, Fault> {
        let k = self.k;
        let place = |name| {
            let variables = self.types.variables_named(name);
            variables.first().map(|variable| variable.locate(k))
        };
        let places = (
            place("pcpu_base_addr"),
            place("pcpu_unit_offsets"),
            place("pcpu_unit_size"),
        );
        let (Some(base), Some(offsets), Some(size)) = places else {
            return Ok(None);
        };
        let Some(cpu) = self.possible_cpus()?.first() else {
            return Ok(None);
        };
        let width = u64::from(k.kernel().pointer_size);
        let offset = k.word(offsets?)?.wrapping_add(u64::from(*cpu) * width);
        let lies = k.word(base?)?.wrapping_add(k.word(k.wrap(offset))?);
        Ok(Some(FirstChunk {
            start: k.wrap(lies.wrapping_sub(k.per_cpu_address(0, *cpu)?)),
            size: self.int(size?)?,
        }))
    }

    /// An `int`; what is below zero is 0.
    fn int(&self, address: u64) -> Result<u64, Fault> {
        let mut bytes: Vec<u8> = self.k.bytes(address, 4)?.to_vec();
        if self.k.kernel().big_endian {
            bytes.reverse();
        }
        let bytes = bytes.first_chunk().copied().unwrap_or_default();
        Ok(u64::try_from(i32::from_le_bytes(bytes)).unwrap_or(0))
    }
}

/// Whether anything is mapped at an address.
fn is_mapped(k: &Memory, address: u64) -> Result<bool, Fault> {
    match k.physical_address(address) {
        Ok(_) => Ok(true),
        Err(fault) if is_missing(fault.kind) => Err(fault),
        Err(_) => Ok(false),
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

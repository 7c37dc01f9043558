//! `types.bin`: all types and variables of a kernel in one compact table, for programs that take names of types when they run.
//! `kstruct::types` reads it, and is where the format is described for those who read it.
//!
//! Nothing has to be parsed before the first question: lists are sorted by name and have an array of their entries' places.

use std::collections::HashMap;

use super::symbols::is_noise;
use crate::ctext;
use crate::index::hexadecimal;
use crate::model::{Encoding, Item, Kind, Model, Type, Variable};
use crate::names::Names;

/// The first bytes, with the version of the format.
const MAGIC: &[u8; 8] = b"KTYPES\0\x01";

/// The table of a model.
pub fn table(model: &Model, names: &Names) -> Vec<u8> {
    let base = base_address(model);
    let mut writer = Writer {
        model,
        texts: Vec::new(),
        text_places: HashMap::new(),
        types: Vec::new(),
        type_places: HashMap::new(),
    };
    // Void is at 0: what a damaged reference reads as.
    writer.ty(&Type::Void);

    let mut items = List::default();
    for (item, rust) in model.items.iter().zip(&names.items) {
        items.begin();
        writer.item(item, rust, &mut items.bytes);
    }
    let mut typedefs = List::default();
    for typedef in &model.typedefs {
        typedefs.begin();
        let out = &mut typedefs.bytes;
        number(out, writer.text(&typedef.name));
        number(out, writer.ty(&typedef.target));
        number(out, writer.text(&typedef.place.file));
        number(out, typedef.place.line.into());
    }
    let mut variables = List::default();
    let mut by_address = Vec::new();
    let wanted = model
        .variables
        .iter()
        .filter(|variable| !is_noise(&variable.name));
    for (index, variable) in wanted.enumerate() {
        if variable.module.is_none() && !variable.per_cpu {
            // Of several at one address, that with a type comes first; of those without one, what is more than a mark of the
            // linker's.
            let is_untyped = matches!(variable.ty, Type::Void);
            let is_mark = is_untyped && variable.name.starts_with('_');
            by_address.push((variable.address, is_untyped, is_mark, index as u32));
        }
        variables.begin();
        writer.variable(variable, base, &mut variables.bytes);
    }
    by_address.sort_unstable();
    let mut modules = List::default();
    for module in &model.modules {
        modules.begin();
        number(&mut modules.bytes, writer.text(&module.name));
        number(
            &mut modules.bytes,
            writer.text(&hexadecimal(&module.build_id)),
        );
    }

    let by_name = sorted(model, |index| &model.items[index].name);
    let by_rust = sorted(model, |index| {
        let rust = &*names.items[index];
        if rust == &*model.items[index].name {
            ""
        } else {
            rust
        }
    });
    let mut kernel = vec![model.kernel.pointer_size, u8::from(model.kernel.big_endian)];
    kernel.extend(base.to_le_bytes());
    let sections = [
        kernel,
        writer.texts,
        writer.types,
        words(items.places),
        items.bytes,
        words(by_name),
        words(by_rust),
        words(typedefs.places),
        typedefs.bytes,
        words(variables.places),
        variables.bytes,
        words(by_address.into_iter().map(|row| row.3)),
        words(modules.places),
        modules.bytes,
    ];
    let mut out = MAGIC.to_vec();
    let mut start = MAGIC.len() + sections.len() * 8;
    for section in &sections {
        out.extend((start as u32).to_le_bytes());
        out.extend((section.len() as u32).to_le_bytes());
        start += section.len();
    }
    out.extend(sections.concat());
    out
}

/// Addresses are written as distances from one in the middle: half as many bytes.
fn base_address(model: &Model) -> u64 {
    let mut addresses: Vec<u64> = model
        .variables
        .iter()
        .filter(|variable| variable.module.is_none() && !variable.per_cpu)
        .map(|variable| variable.address)
        .collect();
    addresses.sort_unstable();
    addresses.get(addresses.len() / 2).copied().unwrap_or(0)
}

/// The items that have a name of this kind, by it.
fn sorted<'m>(model: &Model, name: impl Fn(usize) -> &'m str) -> Vec<u32> {
    let mut found: Vec<(&str, u32)> = (0..model.items.len())
        .map(|index| (name(index), index as u32))
        .filter(|(name, _)| !name.is_empty())
        .collect();
    found.sort_unstable();
    found.into_iter().map(|(_, index)| index).collect()
}

fn words(list: impl IntoIterator<Item = u32>) -> Vec<u8> {
    list.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// Entries of different lengths, and where each begins.
#[derive(Default)]
struct List {
    bytes: Vec<u8>,
    places: Vec<u32>,
}

impl List {
    fn begin(&mut self) {
        self.places.push(self.bytes.len() as u32);
    }
}

struct Writer<'m> {
    model: &'m Model,
    texts: Vec<u8>,
    text_places: HashMap<String, u64>,
    types: Vec<u8>,
    /// What is written of a type says all of it, as the types that it is made of were written before, each once.
    type_places: HashMap<Vec<u8>, u64>,
}

impl Writer<'_> {
    /// The place of a text. Names are shown on terminals: whatever a hostile file calls its types, they stay text.
    fn text(&mut self, text: &str) -> u64 {
        if let Some(place) = self.text_places.get(text) {
            return *place;
        }
        let place = self.texts.len() as u64;
        let shown = ctext::one_line(text);
        number(&mut self.texts, shown.len() as u64);
        self.texts.extend(shown.as_bytes());
        self.text_places.insert(text.to_owned(), place);
        place
    }

    /// The place of a type, before which the types are that it is made of.
    fn ty(&mut self, ty: &Type) -> u64 {
        let mut node = Vec::new();
        match ty {
            Type::Void => node.push(0),
            Type::Base {
                name,
                size,
                encoding,
            } => {
                node.extend([1, encoding_code(*encoding)]);
                number(&mut node, u64::from(*size));
                number(&mut node, self.text(name));
            }
            Type::Pointer(target) => {
                node.push(2);
                number(&mut node, self.ty(target));
            }
            Type::Qualified(qualifier, inner) => {
                node.push(3);
                number(&mut node, self.text(qualifier));
                number(&mut node, self.ty(inner));
            }
            Type::Typedef(name, inner) => {
                node.push(4);
                number(&mut node, self.text(name));
                number(&mut node, self.ty(inner));
            }
            Type::Array(element, count) => {
                node.extend([5, u8::from(count.is_some())]);
                number(&mut node, self.ty(element));
                number(&mut node, count.unwrap_or(0));
            }
            Type::Function(prototype) => {
                node.extend([6, u8::from(prototype.variadic)]);
                number(&mut node, self.ty(&prototype.result));
                number(&mut node, prototype.parameters.len() as u64);
                for parameter in &prototype.parameters {
                    number(&mut node, self.ty(parameter));
                }
            }
            Type::Item(id) => {
                node.push(7);
                number(&mut node, u64::from(id.0));
            }
            Type::Opaque(kind, name) => {
                node.extend([8, kind_code(*kind)]);
                number(&mut node, self.text(name));
            }
        }
        if let Some(place) = self.type_places.get(&node) {
            return *place;
        }
        let place = self.types.len() as u64;
        self.types.extend(&node);
        self.type_places.insert(node, place);
        place
    }

    fn item(&mut self, item: &Item, rust: &str, out: &mut Vec<u8>) {
        out.push(kind_code(item.kind) | u8::from(item.by_typedef) << 2);
        number(out, self.text(&item.name));
        number(out, self.text(rust));
        number(out, item.size);
        number(out, self.text(&item.place.file));
        number(out, u64::from(item.place.line));
        if item.kind == Kind::Enum {
            number(out, item.enumerators.len() as u64);
            for enumerator in &item.enumerators {
                number(out, self.text(&enumerator.name));
                // An `unsigned long` doesn't fit 64 bits with a sign.
                out.push(u8::from(enumerator.value < 0));
                number(out, enumerator.value.unsigned_abs() as u64);
            }
            return;
        }
        number(out, item.members.len() as u64);
        for member in &item.members {
            number(out, self.text(&member.name));
            number(out, self.ty(&member.ty));
            match member.bits {
                None => {
                    number(out, 0);
                    number(out, member.offset);
                }
                Some(bits) => {
                    number(out, bits.size.saturating_add(1));
                    number(out, bits.offset);
                }
            }
        }
    }

    fn variable(&mut self, variable: &Variable, base: u64, out: &mut Vec<u8>) {
        number(out, self.text(&variable.name));
        number(out, self.ty(&variable.ty));
        let module = variable.module.as_ref().and_then(|place| {
            let is_named = |module: &crate::model::Module| *module.name == *place.module;
            let index = self.model.modules.iter().position(is_named)?;
            Some((index as u64, place.section.clone()))
        });
        out.push(
            u8::from(variable.per_cpu)
                | u8::from(variable.external) << 1
                | u8::from(module.is_some()) << 2,
        );
        match module {
            Some((module, section)) => {
                number(out, module);
                number(out, self.text(&section));
                number(out, variable.address);
            }
            None => {
                let distance = variable.address.wrapping_sub(base).cast_signed();
                number(out, (distance << 1 ^ distance >> 63).cast_unsigned());
            }
        }
        number(out, self.text(&variable.place.file));
        number(out, u64::from(variable.place.line));
    }
}

fn kind_code(kind: Kind) -> u8 {
    match kind {
        Kind::Struct => 0,
        Kind::Union => 1,
        Kind::Enum => 2,
    }
}

fn encoding_code(encoding: Encoding) -> u8 {
    match encoding {
        Encoding::Signed => 0,
        Encoding::Unsigned => 1,
        Encoding::Bool => 2,
        Encoding::Float => 3,
        Encoding::Char => 4,
        Encoding::Other => 5,
    }
}

/// Seven bits to a byte, the lowest first (LEB128).
fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

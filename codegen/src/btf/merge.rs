//! Each definition once, of the kernel's BTF and of all modules'.
//!
//! First each type gets a *shape*: the number of a key that spells it out by the shapes of its parts. Types of one shape are the
//! same type. Each type is looked at once, so the time is linear in the input whatever refers to what. Then
//! the first struct of each shape becomes an item.

use std::collections::HashMap;
use std::sync::Arc;

use super::known;
use super::raw::{Blob, Id, Node, RawMember};
use super::symbols::Symbols;
use crate::dwarf::order::order;
use crate::model::{
    Bits, Encoding, Enumerator, Item, ItemId, Kind, Member, Model, Place, Problems, Prototype,
    Type, Typedef, Variable,
};

/// Nothing in C embeds or points this deep without a name in between.
const MAX_DEPTH: u32 = 64;
/// How many types one definition may mention: function types whose parameters are functions, and so on, double with each.
const MAX_MENTIONS: u64 = 1 << 16;
/// And how many all definitions may, for each part that the input has. A kernel's have 5.
const MENTIONS_PER_PART: u64 = 32;

/// The shape of `void`, and of what can't be understood.
const VOID: u32 = 0;

/// Merges everything. `pointer_size` is in bytes.
pub fn merge(base: &Blob<'_>, modules: &[Blob<'_>], pointer_size: u8, symbols: &Symbols) -> Model {
    let layers: Vec<&Blob<'_>> = std::iter::once(base).chain(modules).collect();
    let parts: usize = layers
        .iter()
        .map(|blob| blob.nodes.len() + blob.members.len() + blob.parameters.len())
        .sum();
    let mut merger = Merger {
        memo: layers
            .iter()
            .map(|blob| vec![[Memo::Unknown; 2]; blob.nodes.len()])
            .collect(),
        named_by_typedef: layers.iter().map(|blob| typedef_names(blob)).collect(),
        layers,
        pointer_size,
        shapes: HashMap::from([(Box::from(&b"v"[..]), VOID)]),
        names: HashMap::new(),
        classes: HashMap::new(),
        definitions: Vec::new(),
        tags: Vec::new(),
        problems: Problems::default(),
        mentions_left: 0,
        all_mentions_left: (parts as u64).saturating_mul(MENTIONS_PER_PART),
    };
    merger.classify();
    let mut model = Model {
        items: merger.items(),
        typedefs: merger.typedefs(),
        variables: merger.variables(symbols),
        ..Model::default()
    };
    model.problems = merger.problems;
    model.kernel.pointer_size = pointer_size;
    known::add(&mut model, symbols);
    order(&mut model);
    model
}

#[derive(Clone, Copy)]
enum Memo {
    Unknown,
    /// Being worked out: to meet it again is to have found a type that contains itself.
    Open,
    Known(u32),
}

/// A type: which blob it is in, and its index there.
#[derive(Clone, Copy)]
struct Spot {
    layer: usize,
    index: usize,
}

struct Merger<'b, 'd> {
    /// The kernel's, then the modules'.
    layers: Vec<&'b Blob<'d>>,
    pointer_size: u8,
    shapes: HashMap<Box<[u8]>, u32>,
    /// By layer and index: the shape behind a pointer, where structs are meant by name, and the shape by value.
    memo: Vec<Vec<[Memo; 2]>>,
    /// By layer: for a nameless struct, union or enum the typedef that names it.
    named_by_typedef: Vec<HashMap<usize, &'d [u8]>>,
    names: HashMap<&'d [u8], (u32, Arc<str>)>,
    /// By shape.
    classes: HashMap<u32, u32>,
    /// By class: its first definition.
    definitions: Vec<Spot>,
    /// By layer: the first class of each tag.
    tags: Vec<HashMap<(Kind, &'d [u8]), u32>>,
    problems: Problems,
    mentions_left: u64,
    all_mentions_left: u64,
}

/// The first typedef of each nameless struct, union or enum of a blob.
fn typedef_names<'d>(blob: &Blob<'d>) -> HashMap<usize, &'d [u8]> {
    let mut names = HashMap::new();
    for (name, node) in &blob.nodes {
        if let Node::Typedef(target) = node
            && let Some(index) = target.checked_sub(blob.first)
            && let Some((b"", Node::Struct { .. } | Node::Enum { .. })) =
                blob.nodes.get(index as usize)
        {
            names.entry(index as usize).or_insert(*name);
        }
    }
    names
}

impl<'b, 'd> Merger<'b, 'd> {
    /// Finds the classes of all structs, unions and enums.
    fn classify(&mut self) {
        for layer in 0..self.layers.len() {
            let mut tags = HashMap::new();
            for index in 0..self.layers[layer].nodes.len() {
                let (name, node) = &self.layers[layer].nodes[index];
                let kind = match node {
                    Node::Struct { kind, .. } => *kind,
                    Node::Enum { .. } => Kind::Enum,
                    _ => continue,
                };
                let spot = Spot { layer, index };
                let shape = self.shape_at(spot, true, 0);
                if shape == VOID {
                    continue;
                }
                let next = self.definitions.len() as u32;
                let class = *self.classes.entry(shape).or_insert(next);
                if class == next {
                    self.definitions.push(spot);
                }
                if !name.is_empty() {
                    tags.entry((kind, *name)).or_insert(class);
                }
            }
            self.tags.push(tags);
        }
    }

    /// Where a type is that another type of this layer refers to.
    fn spot(&self, layer: usize, id: Id) -> Option<Spot> {
        let base = self.layers[0];
        let layer = if id < base.end() { 0 } else { layer };
        let index = id.checked_sub(self.layers[layer].first)? as usize;
        (index < self.layers[layer].nodes.len()).then_some(Spot { layer, index })
    }

    fn shape(&mut self, layer: usize, id: Id, by_value: bool, level: u32) -> u32 {
        if id == 0 {
            return VOID;
        }
        match self.spot(layer, id) {
            Some(spot) => self.shape_at(spot, by_value, level),
            None => {
                self.problems.dangling += 1;
                VOID
            }
        }
    }

    fn shape_at(&mut self, spot: Spot, by_value: bool, level: u32) -> u32 {
        let Spot { layer, index } = spot;
        let blob = self.layers[layer];
        let (name, node) = &blob.nodes[index];
        let is_item = matches!(node, Node::Struct { .. } | Node::Enum { .. });
        // What has no name can only be meant by what it is.
        let by_value = by_value || is_item && name.is_empty();
        match self.memo[layer][index][usize::from(by_value)] {
            Memo::Known(shape) => return shape,
            Memo::Open => {
                self.problems.recursive += 1;
                return VOID;
            }
            Memo::Unknown if level > MAX_DEPTH => {
                self.problems.recursive += 1;
                return VOID;
            }
            Memo::Unknown => {}
        }
        self.memo[layer][index][usize::from(by_value)] = Memo::Open;
        let level = level + 1;
        let mut key = Vec::with_capacity(32);
        match node {
            Node::Int {
                size,
                encoding,
                bits,
                offset,
            } => {
                key.push(b'b');
                number(&mut key, self.name(name));
                number(&mut key, *size);
                key.extend_from_slice(&[*encoding, *bits, *offset]);
            }
            Node::Float { size } => {
                key.push(b'd');
                number(&mut key, self.name(name));
                number(&mut key, *size);
            }
            Node::Pointer(target) => {
                key.push(b'p');
                let target = self.shape(layer, *target, false, level);
                number(&mut key, target);
            }
            Node::Qualified(qualifier, target) => {
                key.push(qualifier.as_bytes()[0]);
                let target = self.shape(layer, *target, by_value, level);
                number(&mut key, target);
            }
            Node::Typedef(target) => {
                key.push(b't');
                number(&mut key, self.name(name));
                let target = self.shape(layer, *target, by_value, level);
                number(&mut key, target);
            }
            Node::Tagged(target) => {
                let shape = self.shape(layer, *target, by_value, level);
                self.memo[layer][index][usize::from(by_value)] = Memo::Known(shape);
                return shape;
            }
            Node::Array { element, count } => {
                key.push(b'a');
                number(&mut key, *count);
                let element = self.shape(layer, *element, by_value, level);
                number(&mut key, element);
            }
            Node::Function {
                result,
                parts,
                variadic,
            } => {
                key.extend_from_slice(&[b'f', u8::from(*variadic)]);
                for id in std::iter::once(result).chain(&blob.parameters[parts.clone()]) {
                    let shape = self.shape(layer, *id, false, level);
                    number(&mut key, shape);
                }
            }
            Node::Declaration(kind) => self.tag(&mut key, *kind, name),
            Node::Struct { kind, .. } if !by_value => self.tag(&mut key, *kind, name),
            Node::Enum { .. } if !by_value => self.tag(&mut key, Kind::Enum, name),
            Node::Struct { kind, size, parts } => {
                self.definition(&mut key, *kind, spot, *size);
                for member in &blob.members[parts.clone()] {
                    let (offset, bits) = self.layout(layer, member);
                    number(&mut key, self.name(member.name));
                    key.extend_from_slice(&offset.to_le_bytes());
                    let bits = bits.map_or([0, 0], |bits| [bits.offset + 1, bits.size]);
                    key.extend(bits.iter().flat_map(|word| word.to_le_bytes()));
                    let shape = self.shape(layer, member.ty, true, level);
                    number(&mut key, shape);
                }
            }
            Node::Enum { size, parts } => {
                self.definition(&mut key, Kind::Enum, spot, *size);
                for (name, value) in &blob.enumerators[parts.clone()] {
                    number(&mut key, self.name(name));
                    key.extend_from_slice(&value.to_le_bytes());
                }
            }
            // Not types: nothing that is sound refers to them as such.
            Node::Variable { .. } | Node::Section { .. } | Node::Nothing => {
                self.problems.dangling += 1;
                self.memo[layer][index][usize::from(by_value)] = Memo::Known(VOID);
                return VOID;
            }
        }
        let next = self.shapes.len() as u32;
        let shape = *self.shapes.entry(key.into_boxed_slice()).or_insert(next);
        self.memo[layer][index][usize::from(by_value)] = Memo::Known(shape);
        shape
    }

    fn tag(&mut self, key: &mut Vec<u8>, kind: Kind, name: &'d [u8]) {
        key.extend_from_slice(&[b'n', kind as u8]);
        number(key, self.name(name));
    }

    fn definition(&mut self, key: &mut Vec<u8>, kind: Kind, spot: Spot, size: u32) {
        key.extend_from_slice(&[b'i', kind as u8]);
        number(key, self.name(self.layers[spot.layer].nodes[spot.index].0));
        let typedef = self.typedef_of(spot).unwrap_or_default();
        number(key, self.name(typedef));
        number(key, size);
    }

    fn typedef_of(&self, spot: Spot) -> Option<&'d [u8]> {
        self.named_by_typedef[spot.layer].get(&spot.index).copied()
    }

    /// A number for a name: two names have one number if they are the same.
    fn name(&mut self, name: &'d [u8]) -> u32 {
        let next = self.names.len() as u32;
        self.names
            .entry(name)
            .or_insert_with(|| (next, Arc::from(String::from_utf8_lossy(name))))
            .0
    }

    fn text(&mut self, name: &'d [u8]) -> Arc<str> {
        self.name(name);
        self.names[name].1.clone()
    }

    /// Offset in bytes, and for a bit-field its bits.
    fn layout(&self, layer: usize, member: &RawMember<'_>) -> (u64, Option<Bits>) {
        let offset = u64::from(member.offset);
        if member.bits != 0 {
            let size = u64::from(member.bits);
            return (offset / 8, Some(Bits { offset, size }));
        }
        // The old kind: the type is an int of fewer bits than its bytes have.
        if let Some((size, bits, shift)) = self.int_of(layer, member.ty)
            && (u64::from(bits) != size * 8 || shift != 0 || !offset.is_multiple_of(8))
        {
            let offset = offset + u64::from(shift);
            let size = u64::from(bits);
            return (offset / 8, Some(Bits { offset, size }));
        }
        (offset / 8, None)
    }

    /// Bytes, bits and bit offset of an integer type.
    fn int_of(&self, layer: usize, id: Id) -> Option<(u64, u8, u8)> {
        let mut spot = self.spot(layer, id)?;
        for _ in 0..MAX_DEPTH {
            match self.layers[spot.layer].nodes[spot.index].1 {
                Node::Int {
                    size, bits, offset, ..
                } => return Some((u64::from(size), bits, offset)),
                Node::Qualified(_, target) | Node::Typedef(target) | Node::Tagged(target) => {
                    spot = self.spot(spot.layer, target)?;
                }
                _ => return None,
            }
        }
        None
    }

    fn size_of(&self, layer: usize, id: Id) -> Option<u64> {
        let mut spot = self.spot(layer, id)?;
        let mut count = 1u64;
        for _ in 0..MAX_DEPTH {
            let target = match self.layers[spot.layer].nodes[spot.index].1 {
                Node::Int { size, .. }
                | Node::Float { size }
                | Node::Struct { size, .. }
                | Node::Enum { size, .. } => return count.checked_mul(u64::from(size)),
                Node::Pointer(_) => return count.checked_mul(u64::from(self.pointer_size)),
                Node::Qualified(_, target) | Node::Typedef(target) | Node::Tagged(target) => target,
                Node::Array {
                    element,
                    count: elements,
                } => {
                    count = count.checked_mul(u64::from(elements))?;
                    element
                }
                _ => return None,
            };
            spot = self.spot(spot.layer, target)?;
        }
        None
    }

    fn items(&mut self) -> Vec<Item> {
        let definitions = std::mem::take(&mut self.definitions);
        definitions.iter().map(|spot| self.item(*spot)).collect()
    }

    fn item(&mut self, spot: Spot) -> Item {
        self.mentions_left = MAX_MENTIONS;
        let blob = self.layers[spot.layer];
        let (name, node) = &blob.nodes[spot.index];
        let typedef = self.typedef_of(spot);
        let mut item = Item {
            kind: Kind::Enum,
            name: self.text(typedef.unwrap_or(name)),
            by_typedef: typedef.is_some(),
            size: 0,
            place: Place::default(),
            members: Vec::new(),
            enumerators: Vec::new(),
        };
        match node {
            Node::Struct { kind, size, parts } => {
                item.kind = *kind;
                item.size = u64::from(*size);
                for raw in &blob.members[parts.clone()] {
                    let (offset, bits) = self.layout(spot.layer, raw);
                    let end = match bits {
                        Some(bits) => (bits.offset + bits.size).div_ceil(8),
                        None => {
                            offset.saturating_add(self.size_of(spot.layer, raw.ty).unwrap_or(0))
                        }
                    };
                    if end > item.size {
                        self.problems.outside += 1;
                        continue;
                    }
                    let ty = self.tree(spot.layer, raw.ty, 0);
                    item.members.push(Member {
                        name: self.text(raw.name),
                        ty,
                        offset,
                        bits,
                    });
                }
            }
            Node::Enum { size, parts } => {
                item.size = u64::from(*size);
                for (name, value) in &blob.enumerators[parts.clone()] {
                    item.enumerators.push(Enumerator {
                        name: self.text(name),
                        value: *value,
                    });
                }
            }
            _ => {}
        }
        item
    }

    /// A type as a tree. All classes are known by now.
    fn tree(&mut self, layer: usize, id: Id, level: u32) -> Type {
        if id == 0 {
            return Type::Void;
        }
        if level > MAX_DEPTH || self.mentions_left == 0 || self.all_mentions_left == 0 {
            self.problems.recursive += 1;
            return Type::Void;
        }
        self.mentions_left -= 1;
        self.all_mentions_left -= 1;
        // Counted when the shape was made.
        let Some(spot) = self.spot(layer, id) else {
            return Type::Void;
        };
        let layer = spot.layer;
        let blob = self.layers[layer];
        let (name, node) = &blob.nodes[spot.index];
        let level = level + 1;
        match node {
            Node::Int { size, encoding, .. } => Type::Base {
                encoding: int_encoding(name, *encoding),
                name: self.text(name),
                size: *size,
            },
            Node::Float { size } => Type::Base {
                name: self.text(name),
                size: *size,
                encoding: Encoding::Float,
            },
            Node::Pointer(target) => Type::Pointer(Box::new(self.tree(layer, *target, level))),
            Node::Qualified(qualifier, target) => {
                Type::Qualified(qualifier, Box::new(self.tree(layer, *target, level)))
            }
            Node::Typedef(target) => {
                Type::Typedef(self.text(name), Box::new(self.tree(layer, *target, level)))
            }
            Node::Tagged(target) => self.tree(layer, *target, level),
            Node::Array { element, count } => Type::Array(
                Box::new(self.tree(layer, *element, level)),
                (*count != 0).then_some(u64::from(*count)),
            ),
            Node::Function {
                result,
                parts,
                variadic,
            } => Type::Function(Box::new(Prototype {
                result: self.tree(layer, *result, level),
                parameters: blob.parameters[parts.clone()]
                    .iter()
                    .map(|id| self.tree(layer, *id, level))
                    .collect(),
                variadic: *variadic,
            })),
            Node::Struct { kind, .. } => self.item_type(spot, *kind, name),
            Node::Enum { .. } => self.item_type(spot, Kind::Enum, name),
            Node::Declaration(kind) => self.declared(layer, *kind, name),
            Node::Variable { .. } | Node::Section { .. } | Node::Nothing => Type::Void,
        }
    }

    fn item_type(&mut self, spot: Spot, kind: Kind, name: &'d [u8]) -> Type {
        let class = match self.memo[spot.layer][spot.index][1] {
            Memo::Known(shape) => self.classes.get(&shape).copied(),
            _ => None,
        };
        match class {
            Some(class) => Type::Item(ItemId(class)),
            None => self.declared(spot.layer, kind, name),
        }
    }

    /// What a declaration means: the definition of its own blob, or the kernel's, or the first module's.
    fn declared(&mut self, layer: usize, kind: Kind, name: &'d [u8]) -> Type {
        if name.is_empty() {
            return Type::Void;
        }
        let class = std::iter::once(layer)
            .chain(0..self.tags.len())
            .find_map(|layer| self.tags[layer].get(&(kind, name)).copied());
        match class {
            Some(class) => Type::Item(ItemId(class)),
            None => Type::Opaque(kind, self.text(name)),
        }
    }

    fn typedefs(&mut self) -> Vec<Typedef> {
        let mut known = std::collections::HashSet::new();
        let mut out = Vec::new();
        for layer in 0..self.layers.len() {
            let blob = self.layers[layer];
            for (index, (name, node)) in blob.nodes.iter().enumerate() {
                if let Node::Typedef(target) = node
                    && known.insert(self.shape_at(Spot { layer, index }, true, 0))
                {
                    self.mentions_left = MAX_MENTIONS;
                    out.push(Typedef {
                        name: self.text(name),
                        target: self.tree(layer, *target, 0),
                        place: Place::default(),
                    });
                }
            }
        }
        out
    }

    /// The kernel's variables: in practice the per-CPU ones, unless whoever made the BTF was told otherwise.
    fn variables(&mut self, symbols: &Symbols) -> Vec<Variable> {
        let blob = self.layers[0];
        let mut out = Vec::new();
        for (section, node) in &blob.nodes {
            let Node::Section { parts } = node else {
                continue;
            };
            let per_cpu = section.starts_with(b".data..percpu");
            let start = symbols.unique.get("__per_cpu_start").filter(|_| per_cpu);
            for place in &blob.places[parts.clone()] {
                let Some(spot) = self.spot(0, place.variable) else {
                    self.problems.dangling += 1;
                    continue;
                };
                let (name, Node::Variable { ty, external }) = &blob.nodes[spot.index] else {
                    self.problems.dangling += 1;
                    continue;
                };
                let name = self.text(name);
                // In a kernel's BTF an offset is one in the section; in an object file's, before linking, it is 0.
                let address = match start {
                    Some(start) => start.checked_add(u64::from(place.offset)),
                    None => symbols.unique.get(&*name).copied(),
                };
                let Some(address) = address else {
                    continue;
                };
                self.mentions_left = MAX_MENTIONS;
                out.push(Variable {
                    name,
                    ty: self.tree(0, *ty, 0),
                    address,
                    module: None,
                    per_cpu,
                    external: *external,
                    place: Place::default(),
                });
            }
        }
        out
    }
}

fn number(key: &mut Vec<u8>, number: u32) {
    key.extend_from_slice(&number.to_le_bytes());
}

/// `BTF_INT_SIGNED`, `BTF_INT_BOOL`; `char` goes by its name, as its sign differs between kernels.
fn int_encoding(name: &[u8], encoding: u8) -> Encoding {
    match encoding {
        _ if name == b"char" => Encoding::Char,
        _ if encoding & 4 != 0 => Encoding::Bool,
        _ if encoding & 1 != 0 => Encoding::Signed,
        _ => Encoding::Unsigned,
    }
}

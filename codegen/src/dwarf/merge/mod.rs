//! Each definition once.
//!
//! Two definitions of one name are the same type if they have the same layout: the same members at the same offsets
//! with the same types, where what is embedded by value is compared in depth and what is pointed to is compared by
//! name. That is well-founded (nothing embeds itself), needs one pass over a unit, and keeps a private `struct foo` of
//! some driver from splitting every type that reaches a pointer to it.
//!
//! The comparison is exact: a definition is written out as a key, and keys are compared byte by byte. Keys hold the
//! numbers of embedded classes, which depend on the order of threads; nothing that leaves this module does.

mod finish;
mod key;
mod words;

use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gimli::constants as dw;
use hashbrown::{DefaultHashBuilder, HashMap};

use super::memo::{Known, Memo};
use super::strings::Name;
use super::unit::{
    FOREIGN, Location, Node, ParsedUnit, RawMember, RawPlace, RawVariable, Ref, UnitKind, VOID,
};
use super::world::{At, TypedefNames, World};
use crate::model::{Bits, Encoding, Enumerator, Item, Kind, Member, Place, Typedef, Variable};

const SHARDS: usize = 64;
/// Nothing in C embeds or points this deep without a name in between.
const MAX_DEPTH: u32 = 64;
/// How many types one definition may mention, those that its typedefs and functions' parameters mention included. The
/// most in a kernel are some thousands; a function type whose parameters are functions, and so on, has as many as 2^64.
const MAX_MENTIONS: u32 = 1 << 16;
/// How many all definitions of a unit may mention together: so many, and so many more for each type that it has.
/// A kernel's units mention some ten per type.
const UNIT_MENTIONS: (u32, u32) = (1 << 16, 256);
/// Names are copied wherever they are mentioned. Each full so many bytes count as a mention.
const NAME_MENTION: usize = 64;

/// The definitions of all units read so far. Until [`Context::finish`], an [`ItemId`] is the number of a class here,
/// and a pointer's target is [`Type::Opaque`].
pub struct Context {
    shards: Vec<Mutex<HashMap<Box<[u8]>, u32>>>,
    hasher: DefaultHashBuilder,
    items: Mutex<Vec<Item>>,
    typedefs: Mutex<HashMap<Box<[u8]>, Typedef>>,
    per_cpu: Vec<Range<u64>>,
    dangling: AtomicU64,
    recursive: AtomicU64,
    outside: AtomicU64,
}

/// What is kept of a unit besides its definitions.
#[derive(Default)]
pub struct UnitSummary {
    name: String,
    /// The classes of the tags that the unit defines.
    pub classes: Vec<u32>,
    variables: Vec<Variable>,
}

impl UnitSummary {
    /// Takes over what a unit turned out to hold, beside what it was given by others.
    pub fn absorb(&mut self, other: UnitSummary) {
        self.name = other.name;
        self.classes.extend(other.classes);
        self.variables.extend(other.variables);
    }

    /// Adds a variable that another unit gives an address.
    pub fn take(&mut self, variable: Variable) {
        self.variables.push(variable);
    }

    /// Makes it a summary of a file beside the kernel: `place` says of each variable where it really lies, or drops it. Where
    /// such a file was compiled says nothing of where the kernel's source tree is.
    pub fn beside(&mut self, place: impl FnMut(&mut Variable) -> bool) {
        self.variables.retain_mut(place);
        self.name.clear();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Context {
    pub fn new(per_cpu: Vec<Range<u64>>) -> Self {
        Context {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: DefaultHashBuilder::default(),
            items: Mutex::default(),
            typedefs: Mutex::default(),
            per_cpu,
            dangling: AtomicU64::new(0),
            recursive: AtomicU64::new(0),
            outside: AtomicU64::new(0),
        }
    }

    /// The number of definitions so far.
    pub fn definitions(&self) -> usize {
        lock(&self.items).len()
    }

    /// Adds the definitions of a unit that can be understood by itself.
    pub fn add<'d>(&self, unit: &ParsedUnit<'d>, memo: &mut Memo<'d>) -> UnitSummary {
        let named_by_typedef = typedef_names(unit);
        let mut merger = Merger::new(self, Units::One(unit), 0, &named_by_typedef);
        memo.begin(unit);
        merger.memo = Some(memo);
        let mut summary = merger.definitions(0, unit);
        for variable in &unit.variables {
            summary
                .variables
                .extend(merger.variable(0, variable, 0, variable));
        }
        summary
    }

    /// Adds the definitions of units that others share. They count for those others, not by themselves.
    pub fn add_shared(&self, world: &World<'_, '_>) -> Shared {
        // No unit's turn: all classes are kept.
        let mut merger = Merger::new(self, Units::World(world), u32::MAX, &world.named_by_typedef);
        let mut definitions = HashMap::new();
        for number in world.shared() {
            if let Some(unit) = world.unit(number) {
                definitions.insert(number, merger.definitions(number, unit).classes);
            }
        }
        Shared {
            classes: merger.others,
            definitions,
        }
    }

    /// Adds the definitions of a unit that is a source file but refers to others; `parts` are the shared units that
    /// count as part of it. Also says which variables are declared in which other unit.
    pub fn add_with(
        &self,
        world: &World<'_, '_>,
        shared: &Shared,
        number: u32,
        parts: &[u32],
    ) -> (UnitSummary, Vec<(u32, Variable)>) {
        let Some(unit) = world.unit(number) else {
            return (UnitSummary::default(), Vec::new());
        };
        let mut merger = Merger::new(self, Units::World(world), number, &world.named_by_typedef);
        merger.shared = Some(shared);
        let mut summary = merger.definitions(number, unit);
        for part in parts {
            let definitions = shared.definitions.get(part);
            summary.classes.extend(definitions.into_iter().flatten());
        }
        let mut elsewhere = Vec::new();
        for variable in &unit.variables {
            if variable.declaration == VOID {
                summary
                    .variables
                    .extend(merger.variable(number, variable, number, variable));
                continue;
            }
            match world.declaration(number, variable.declaration) {
                Some((home, declaration)) => {
                    let Some(variable) = merger.variable(number, variable, home, declaration)
                    else {
                        continue;
                    };
                    // What dwz moved is still of this source file; what the linker moved is of the other.
                    let is_source = |unit: &ParsedUnit<'_>| unit.kind == UnitKind::Compile;
                    if world.unit(home).is_some_and(is_source) {
                        elsewhere.push((home, variable));
                    } else {
                        summary.variables.push(variable);
                    }
                }
                None => count(&self.dangling),
            }
        }
        (summary, elsewhere)
    }

    /// The same struct may stand in several files: the first by name counts, whichever thread came first.
    fn found_at(&self, class: u32, place: &Place) {
        let mut items = lock(&self.items);
        let old = &mut items[class as usize].place;
        if comes_before(place, old) {
            *old = place.clone();
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Unknown,
    /// Being worked out: to meet it again is to have found a type that contains itself.
    Open,
    Known(u32),
}

/// How deep, and whether still by value.
#[derive(Clone, Copy)]
struct Depth {
    level: u32,
    by_value: bool,
}

impl Depth {
    const VALUE: Depth = Depth {
        level: 0,
        by_value: true,
    };

    fn deeper(self) -> Self {
        Depth {
            level: self.level + 1,
            ..self
        }
    }

    /// Within an array of that many dimensions; `None` if that is too deep.
    fn with_dimensions(self, count: usize) -> Option<Self> {
        let level = u32::try_from(count.max(1)).ok()?.checked_add(self.level)?;
        (level <= MAX_DEPTH + 1).then_some(Depth { level, ..self })
    }

    fn behind_pointer(self) -> Self {
        Depth {
            level: self.level + 1,
            by_value: false,
        }
    }
}

/// What units that others share turned out to define.
pub struct Shared {
    classes: HashMap<At, Class>,
    /// By unit: the classes of the tags that it defines.
    definitions: HashMap<u32, Vec<u32>>,
}

/// Where the types are that a unit mentions.
#[derive(Clone, Copy)]
enum Units<'u, 'd> {
    /// All in the unit, whose number is 0.
    One(&'u ParsedUnit<'d>),
    World(&'u World<'u, 'd>),
}

struct Merger<'c, 'u, 'd> {
    context: &'c Context,
    units: Units<'u, 'd>,
    /// What is left of [`MAX_MENTIONS`] for the key or the tree that is being made.
    mentions_left: u32,
    /// What the unit's other keys, and trees without a key, may mention.
    unit_left: u32,
    /// The unit whose turn it is, and its classes.
    home: u32,
    classes: Vec<Class>,
    /// Classes of other units' definitions.
    others: HashMap<At, Class>,
    shared: Option<&'u Shared>,
    /// For a nameless struct, union or enum: the typedef that names it.
    named_by_typedef: &'u TypedefNames,
    /// What the thread has seen before; only for a unit that can be understood by itself.
    memo: Option<&'u mut Memo<'d>>,
}

/// The first typedef of each nameless struct, union or enum.
fn typedef_names(unit: &ParsedUnit<'_>) -> TypedefNames {
    let mut names = TypedefNames::new();
    for node in &unit.nodes {
        if let Node::Typedef { name, target, .. } = node
            && let Some(node) = unit.node(*target)
            && let Node::Item {
                name: Name::EMPTY, ..
            } = unit.nodes[node]
        {
            let node = node as u32;
            names.entry(At { unit: 0, node }).or_insert((0, *name));
        }
    }
    names
}

impl<'c, 'u, 'd> Merger<'c, 'u, 'd> {
    fn new(
        context: &'c Context,
        units: Units<'u, 'd>,
        home: u32,
        named_by_typedef: &'u TypedefNames,
    ) -> Self {
        let nodes = match units {
            Units::One(unit) => unit.nodes.len(),
            Units::World(world) => world.unit(home).map_or(0, |unit| unit.nodes.len()),
        };
        Merger {
            context,
            units,
            mentions_left: 0,
            unit_left: u32::try_from(nodes)
                .unwrap_or(u32::MAX)
                .saturating_mul(UNIT_MENTIONS.1)
                .saturating_add(UNIT_MENTIONS.0),
            home,
            classes: vec![Class::Unknown; nodes],
            others: HashMap::new(),
            shared: None,
            named_by_typedef,
            memo: None,
        }
    }

    /// Adds the structs, unions, enums and typedefs of a unit.
    fn definitions(&mut self, number: u32, unit: &ParsedUnit<'d>) -> UnitSummary {
        let mut summary = UnitSummary {
            name: unit.name.clone(),
            ..UnitSummary::default()
        };
        let mut key = Vec::new();
        for (node, item) in unit.nodes.iter().enumerate() {
            match item {
                Node::Item {
                    name,
                    size: Some(_),
                    local,
                    ..
                } => {
                    // Nothing can mean it but what it is declared in: `READ_ONCE` has a union in each function.
                    if *local && *name == Name::EMPTY {
                        continue;
                    }
                    let at = At {
                        unit: number,
                        node: node as u32,
                    };
                    if let Some(class) = self.class(at, 0)
                        && *name != Name::EMPTY
                        && !local
                    {
                        summary.classes.push(class);
                    }
                }
                Node::Typedef {
                    name,
                    target,
                    place,
                } => {
                    let ty = self
                        .type_of(node, 0, true)
                        .filter(|ty| self.is_small(*ty, 0));
                    let seen = match (ty, self.memo.as_deref_mut()) {
                        (Some(ty), Some(memo)) => Some(memo.typedef(ty)),
                        _ => None,
                    };
                    let place = match seen {
                        Some(Some(seen)) if is_at(seen, unit, *place) => continue,
                        Some(seen) => {
                            let place = place_in(unit, *place);
                            if seen.as_ref().is_some_and(|old| !comes_before(&place, old)) {
                                continue;
                            }
                            *seen = Some(place.clone());
                            place
                        }
                        None => place_in(unit, *place),
                    };
                    let name = unit.text(*name);
                    key.clear();
                    text(&mut key, &name);
                    let share = self.share();
                    self.encode(&mut key, number, *target, Depth::VALUE);
                    let used = self.used(share);
                    self.typedef(&key, &name, number, *target, place, used);
                }
                _ => {}
            }
        }
        summary
    }

    /// A variable of a unit, whose name and type may stand in a declaration of another.
    fn variable(
        &mut self,
        of: u32,
        variable: &RawVariable,
        unit: u32,
        declaration: &RawVariable,
    ) -> Option<Variable> {
        let text = |unit: u32, name| self.unit(unit).map(|unit| unit.text(name));
        let name = text(of, variable.name).filter(|name| !name.is_empty());
        let name = name.or_else(|| text(unit, declaration.name))?;
        if name.is_empty() {
            return None;
        }
        let address = variable.address;
        let per_cpu = self
            .context
            .per_cpu
            .iter()
            .any(|range| range.contains(&address));
        let name = owned(&name);
        // Before 2.6.33 a per-CPU variable carried its nature in its name.
        let name = match name.strip_prefix("per_cpu__") {
            Some(short) if per_cpu => Arc::from(short),
            _ => name,
        };
        let share = self.share();
        // A declaration may leave open how long an array is.
        let ty = if variable.ty == VOID {
            self.tree(unit, declaration.ty, Depth::VALUE)
        } else {
            self.tree(of, variable.ty, Depth::VALUE)
        };
        self.used(share);
        Some(Variable {
            name,
            ty,
            address,
            module: None,
            per_cpu,
            external: variable.external || declaration.external,
            // The declaration's place is in the terms of its own unit.
            place: if variable.place.line != 0 {
                self.place(of, variable.place)
            } else {
                self.place(unit, declaration.place)
            },
        })
    }

    fn unit(&self, number: u32) -> Option<&'u ParsedUnit<'d>> {
        match self.units {
            Units::One(unit) => Some(unit),
            Units::World(world) => world.unit(number),
        }
    }

    /// What is known of a definition's class.
    fn known(&self, at: At) -> Class {
        if at.unit == self.home {
            return self.classes[at.node as usize];
        }
        let shared = self.shared.and_then(|shared| shared.classes.get(&at));
        let known = shared.or_else(|| self.others.get(&at));
        known.copied().unwrap_or(Class::Unknown)
    }

    fn set(&mut self, at: At, class: Class) {
        if at.unit == self.home {
            self.classes[at.node as usize] = class;
        } else {
            self.others.insert(at, class);
        }
    }

    /// The class of a definition.
    fn class(&mut self, at: At, level: u32) -> Option<u32> {
        match self.known(at) {
            Class::Known(class) => return Some(class),
            Class::Open => {
                count(&self.context.recursive);
                return None;
            }
            Class::Unknown => {}
        }
        if level > MAX_DEPTH {
            count(&self.context.recursive);
            return None;
        }
        let unit = self.unit(at.unit)?;
        let Node::Item {
            kind,
            name,
            size: Some(size),
            ref parts,
            place,
            ..
        } = unit.nodes[at.node as usize]
        else {
            return None;
        };
        self.set(at, Class::Open);
        let definition = self.definition_of(at, level);
        if let Some((definition, _)) = definition
            && let Some(class) = self.recall(definition, unit, place)
        {
            self.set(at, Class::Known(class));
            return Some(class);
        }
        // The definition may be met within that of another, whose own count goes on behind it.
        let outer = self.mentions_left;
        let share = self.share();
        let place = place_in(unit, place);
        let name = unit.text(name);
        let typedef = self.named_by_typedef.get(&at);
        let typedef = typedef.and_then(|(unit, name)| Some(self.unit(*unit)?.text(*name)));
        let mut key = Vec::with_capacity(512);
        key.push(kind as u8);
        key.extend_from_slice(&size.to_le_bytes());
        text(&mut key, &name);
        text(&mut key, typedef.as_deref().unwrap_or_default());
        if name.is_empty() {
            // What has no name of its own is told apart by where it stands.
            text(&mut key, place.file.as_bytes());
            key.extend_from_slice(&place.line.to_le_bytes());
        }
        let range = parts.start as usize..parts.end as usize;
        let mut layouts = Vec::new();
        if kind == Kind::Enum {
            for (name, value) in &unit.enumerators[range.clone()] {
                text(&mut key, &unit.text(*name));
                key.extend_from_slice(&value.to_le_bytes());
            }
        } else {
            for member in &unit.members[range.clone()] {
                let (offset, bits) = self.layout(at.unit, member);
                layouts.push((offset, bits));
                text(&mut key, &unit.text(member.name));
                key.extend_from_slice(&offset.to_le_bytes());
                if let Some(bits) = bits {
                    key.push(b':');
                    key.extend_from_slice(&bits.offset.to_le_bytes());
                    key.extend_from_slice(&bits.size.to_le_bytes());
                }
                let depth = Depth {
                    level: level + 1,
                    by_value: true,
                };
                self.encode(&mut key, at.unit, member.ty, depth);
            }
        }
        let used = self.used(share);
        let class = self.intern(key, &place, |this| Item {
            kind,
            name: owned(typedef.as_deref().unwrap_or(&name)),
            by_typedef: typedef.is_some(),
            size,
            place: place.clone(),
            members: if kind == Kind::Enum {
                Vec::new()
            } else {
                this.members(at.unit, &unit.members[range.clone()], &layouts, size, used)
            },
            enumerators: if kind == Kind::Enum {
                unit.enumerators[range.clone()]
                    .iter()
                    .map(|(name, value)| Enumerator {
                        name: owned(&unit.text(*name)),
                        value: *value,
                    })
                    .collect()
            } else {
                Vec::new()
            },
        });
        self.mentions_left = outer;
        if let (Some((definition, shape)), Some(memo)) = (definition, self.memo.as_deref_mut()) {
            *memo.known(definition) = Some(Known {
                class,
                shape,
                place,
            });
        }
        self.set(at, Class::Known(class));
        Some(class)
    }

    fn members(
        &mut self,
        unit: u32,
        raw: &[RawMember],
        layouts: &[(u64, Option<Bits>)],
        size: u64,
        mentions: u32,
    ) -> Vec<Member> {
        // The key used up its share whether or not the tree is made; the same is left for the tree.
        self.mentions_left = mentions;
        let mut members = Vec::with_capacity(raw.len());
        for (raw, (offset, bits)) in raw.iter().zip(layouts) {
            let end = match bits {
                Some(bits) => bits.offset.saturating_add(bits.size).div_ceil(8),
                None => offset.saturating_add(self.size_of(unit, raw.ty, 0).unwrap_or(0)),
            };
            if end > size {
                count(&self.context.outside);
                continue;
            }
            let name = self.unit(unit).map(|unit| owned(&unit.text(raw.name)));
            members.push(Member {
                name: name.unwrap_or_default(),
                ty: self.tree(unit, raw.ty, Depth::VALUE),
                offset: *offset,
                bits: *bits,
            });
        }
        members
    }

    /// The class with this key; a new one if there is none.
    fn intern(&mut self, key: Vec<u8>, place: &Place, make: impl FnOnce(&mut Self) -> Item) -> u32 {
        let context = self.context;
        let shard = &context.shards[context.hasher.hash_one(&key) as usize % SHARDS];
        let known = lock(shard).get(key.as_slice()).copied();
        let class = match known {
            Some(class) => class,
            None => {
                let item = make(self);
                *lock(shard)
                    .entry(key.into_boxed_slice())
                    .or_insert_with(|| {
                        let mut items = lock(&context.items);
                        items.push(item);
                        (items.len() - 1) as u32
                    })
            }
        };
        context.found_at(class, place);
        class
    }

    fn typedef(
        &mut self,
        key: &[u8],
        name: &[u8],
        unit: u32,
        target: Ref,
        place: Place,
        mentions: u32,
    ) {
        if let Some(old) = lock(&self.context.typedefs).get_mut(key) {
            if comes_before(&place, &old.place) {
                old.place = place;
            }
            return;
        }
        self.mentions_left = mentions;
        let target = self.tree(unit, target, Depth::VALUE);
        lock(&self.context.typedefs)
            .entry(key.into())
            .and_modify(|old| {
                if comes_before(&place, &old.place) {
                    old.place = place.clone();
                }
            })
            .or_insert_with(|| Typedef {
                name: owned(name),
                target,
                place: place.clone(),
            });
    }

    /// The class that a mention of a struct means, or `None` if it is only meant by its name.
    fn class_here(&mut self, at: At, name: Name, size: Option<u64>, depth: Depth) -> Option<u32> {
        if size.is_some() && (depth.by_value || name == Name::EMPTY) {
            self.class(at, depth.level)
        } else {
            None
        }
    }

    /// The type that a reference means, and the unit that it is in; counts it if it leads nowhere.
    fn resolve(&self, unit: u32, at: Ref) -> Option<(At, &'u ParsedUnit<'d>)> {
        if at == VOID {
            return None;
        }
        let found = self.definition(unit, at);
        let missing = match found {
            None => true,
            Some((at, home)) => matches!(
                home.nodes[at.node as usize],
                Node::Item { size: None, definition, .. } if definition != VOID
            ),
        };
        if missing {
            count(&self.context.dangling);
        }
        found
    }

    /// The type that a reference means. For a declaration that says where the definition is, that.
    fn definition(&self, unit: u32, at: Ref) -> Option<(At, &'u ParsedUnit<'d>)> {
        let (at, home) = self.find(unit, at)?;
        match home.nodes[at.node as usize] {
            Node::Item {
                size: None,
                definition,
                ..
            } if definition != VOID => self.find(at.unit, definition).or(Some((at, home))),
            _ => Some((at, home)),
        }
    }

    fn find(&self, unit: u32, at: Ref) -> Option<(At, &'u ParsedUnit<'d>)> {
        match self.units {
            Units::One(home) if at & FOREIGN == 0 => {
                let node = home.node(at)? as u32;
                Some((At { unit, node }, home))
            }
            Units::One(_) => None,
            Units::World(world) => {
                let at = world.node(unit, at)?;
                Some((at, world.unit(at.unit)?))
            }
        }
    }

    fn layout(&self, unit: u32, member: &RawMember) -> (u64, Option<Bits>) {
        let bits = match member.location {
            Location::Bytes(bytes) => return (bytes, None),
            Location::Bits { offset, size } => Bits { offset, size },
            Location::Storage {
                bytes,
                storage,
                from_top,
                size,
            } => {
                let storage = storage
                    .or_else(|| self.size_of(unit, member.ty, 0))
                    .unwrap_or(0);
                let start = i128::from(bytes) * 8;
                let offset = if self.unit(unit).is_some_and(|unit| unit.big_endian) {
                    start + i128::from(from_top)
                } else {
                    start + i128::from(storage) * 8 - i128::from(size) - i128::from(from_top)
                };
                match u64::try_from(offset) {
                    Ok(offset) => Bits { offset, size },
                    Err(_) => Bits {
                        offset: u64::MAX,
                        size,
                    },
                }
            }
        };
        (bits.offset / 8, Some(bits))
    }

    fn size_of(&self, unit: u32, at: Ref, level: u32) -> Option<u64> {
        if level > MAX_DEPTH {
            return None;
        }
        let (at, home) = self.definition(unit, at)?;
        let unit = at.unit;
        match home.nodes[at.node as usize] {
            Node::Base { size, .. } => Some(size),
            Node::Pointer(_) => Some(u64::from(home.address_size)),
            Node::Qualified(_, target) | Node::Typedef { target, .. } => {
                self.size_of(unit, target, level + 1)
            }
            Node::Item { size, .. } => size,
            Node::Array {
                element,
                ref dimensions,
            } => {
                let dimensions = dimensions.start as usize..dimensions.end as usize;
                let element = self.size_of(unit, element, level + 1)?;
                let counts = &home.dimensions[dimensions];
                if counts.is_empty() {
                    return Some(0);
                }
                counts
                    .iter()
                    .try_fold(element, |size, count| size.checked_mul(count.unwrap_or(0)))
            }
            Node::Function { .. } => None,
        }
    }

    fn place(&self, unit: u32, place: RawPlace) -> Place {
        match self.unit(unit) {
            Some(unit) => place_in(unit, place),
            None => Place::default(),
        }
    }
}

fn place_in(unit: &ParsedUnit<'_>, place: RawPlace) -> Place {
    Place {
        file: unit.file(place.file).cloned().unwrap_or_default(),
        line: place.line,
    }
}

/// Whether a place is certainly the one that a unit names. (The same path may have been made twice.)
fn is_at(known: &Place, unit: &ParsedUnit<'_>, place: RawPlace) -> bool {
    let is_file = |file: &Arc<str>| Arc::ptr_eq(file, &known.file);
    known.line == place.line && unit.file(place.file).is_some_and(is_file)
}

/// Whether a place is to be named rather than another. Known places come before unknown ones.
fn comes_before(place: &Place, other: &Place) -> bool {
    (place.line == 0, place) < (other.line == 0, other)
}

/// `char` goes by its name: its sign differs between kernels, and it is text in all of them.
fn base_encoding(name: &[u8], encoding: gimli::DwAte) -> Encoding {
    match encoding {
        _ if name == b"char" => Encoding::Char,
        dw::DW_ATE_signed | dw::DW_ATE_signed_char => Encoding::Signed,
        dw::DW_ATE_unsigned
        | dw::DW_ATE_unsigned_char
        | dw::DW_ATE_UTF
        | dw::DW_ATE_ASCII
        | dw::DW_ATE_UCS => Encoding::Unsigned,
        dw::DW_ATE_boolean => Encoding::Bool,
        dw::DW_ATE_float => Encoding::Float,
        _ => Encoding::Other,
    }
}

fn text(key: &mut Vec<u8>, name: &[u8]) {
    key.extend_from_slice(&(name.len() as u32).to_le_bytes());
    key.extend_from_slice(name);
}

fn owned(name: &[u8]) -> Arc<str> {
    Arc::from(String::from_utf8_lossy(name))
}

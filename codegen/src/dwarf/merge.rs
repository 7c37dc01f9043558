//! Each definition once.
//!
//! Two definitions of one name are the same type if they have the same layout: the same members at the same offsets
//! with the same types, where what is embedded by value is compared in depth and what is pointed to is compared by
//! name. That is well-founded (nothing embeds itself), needs one pass over a unit, and keeps a private `struct foo` of
//! some driver from splitting every type that reaches a pointer to it.
//!
//! The comparison is exact: a definition is written out as a key, and keys are compared byte by byte. Keys hold the
//! numbers of embedded classes, which depend on the order of threads; nothing that leaves this module does.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gimli::constants as dw;

use super::unit::{FOREIGN, Location, Node, ParsedUnit, RawMember, RawPlace, Ref, VOID};
use crate::model::{
    Bits, Encoding, Enumerator, Item, ItemId, Kind, Member, Model, Place, Problems, Prototype,
    Type, Typedef, Variable,
};

const SHARDS: usize = 64;
/// Nothing in C embeds or points this deep without a name in between.
const MAX_DEPTH: u32 = 64;
/// How many types one definition may mention, those that its typedefs and functions' parameters mention included. The
/// most in a kernel are some thousands; a function type whose parameters are functions, and so on, has as many as 2^64.
const MAX_MENTIONS: u32 = 1 << 16;

/// The definitions of all units read so far. Until [`Context::finish`], an [`ItemId`] is the number of a class here,
/// and a pointer's target is [`Type::Opaque`].
pub struct Context {
    shards: Vec<Mutex<HashMap<Box<[u8]>, u32>>>,
    hasher: RandomState,
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
    classes: Vec<u32>,
    variables: Vec<Variable>,
}

impl UnitSummary {
    /// Drops what has no address: the variables of a module.
    pub fn forget_variables(&mut self) {
        self.variables = Vec::new();
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
            hasher: RandomState::new(),
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

    /// Adds a unit's definitions.
    pub fn add(&self, unit: &ParsedUnit<'_>) -> UnitSummary {
        let mut merger = Merger {
            context: self,
            unit,
            mentions_left: MAX_MENTIONS,
            classes: vec![Class::Unknown; unit.nodes.len()],
            named_by_typedef: typedef_names(unit),
        };
        let mut summary = UnitSummary {
            name: unit.name.clone(),
            ..UnitSummary::default()
        };
        let mut key = Vec::new();
        for (index, node) in unit.nodes.iter().enumerate() {
            match node {
                Node::Item {
                    name,
                    size: Some(_),
                    ..
                } => {
                    if let Some(class) = merger.class(index, 0)
                        && !name.is_empty()
                    {
                        summary.classes.push(class);
                    }
                }
                Node::Typedef {
                    name,
                    target,
                    place,
                } => {
                    key.clear();
                    text(&mut key, name);
                    merger.mentions_left = MAX_MENTIONS;
                    merger.encode(&mut key, *target, Depth::VALUE);
                    merger.typedef(&key, name, *target, *place);
                }
                _ => {}
            }
        }
        for variable in &unit.variables {
            let per_cpu = self
                .per_cpu
                .iter()
                .any(|range| range.contains(&variable.address));
            let name = owned(variable.name);
            // Before 2.6.33 a per-CPU variable carried its nature in its name.
            let name = match name.strip_prefix("per_cpu__") {
                Some(short) if per_cpu => Arc::from(short),
                _ => name,
            };
            merger.mentions_left = MAX_MENTIONS;
            summary.variables.push(Variable {
                name,
                ty: merger.tree(variable.ty, Depth::VALUE),
                address: variable.address,
                per_cpu,
                external: variable.external,
                place: merger.place(variable.place),
            });
        }
        summary
    }

    /// Resolves pointers' targets by name and puts everything in an order that depends on the input only.
    pub fn finish(self, units: Vec<UnitSummary>) -> Model {
        let root = common_directory(units.iter().map(|unit| unit.name.as_str()));
        let mut items = self
            .items
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        for item in &mut items {
            item.place.file = relative(&item.place.file, &root);
        }
        let targets = Targets::new(&items, &units);

        let mut typedefs: Vec<Typedef> = self
            .typedefs
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .into_values()
            .collect();
        for typedef in &mut typedefs {
            typedef.place.file = relative(&typedef.place.file, &root);
            targets.resolve(&mut typedef.target, &|_| None);
        }
        let mut variables = Vec::new();
        for unit in units {
            let own: HashMap<(Kind, Arc<str>), u32> = unit
                .classes
                .iter()
                .map(|class| {
                    let item = &items[*class as usize];
                    ((item.kind, item.name.clone()), *class)
                })
                .collect();
            for mut variable in unit.variables {
                variable.place.file = relative(&variable.place.file, &root);
                targets.resolve(&mut variable.ty, &|key| own.get(key).copied());
                variables.push(variable);
            }
        }
        for (class, item) in items.iter_mut().enumerate() {
            for member in &mut item.members {
                targets.resolve(&mut member.ty, &|key| {
                    targets.votes.get(&(class as u32, key.clone())).copied()
                });
            }
        }

        let mut model = Model {
            items,
            typedefs,
            variables,
            problems: Problems {
                dangling: self.dangling.into_inner(),
                recursive: self.recursive.into_inner(),
                outside: self.outside.into_inner(),
            },
            ..Model::default()
        };
        order(&mut model);
        model
    }
}

/// Which definition a name means to the one who mentions it, where that is known.
type Own<'a> = dyn Fn(&(Kind, Arc<str>)) -> Option<u32> + 'a;

/// Which definition a name behind a pointer means.
struct Targets {
    by_name: HashMap<(Kind, Arc<str>), Vec<u32>>,
    /// For a class that points to a name with several definitions: the one that most units with that class defined.
    votes: HashMap<(u32, (Kind, Arc<str>)), u32>,
}

impl Targets {
    fn new(items: &[Item], units: &[UnitSummary]) -> Self {
        let mut used = vec![0u32; items.len()];
        for class in units.iter().flat_map(|unit| &unit.classes) {
            used[*class as usize] += 1;
        }
        let mut by_name: HashMap<(Kind, Arc<str>), Vec<u32>> = HashMap::new();
        for (class, item) in items.iter().enumerate() {
            if !item.name.is_empty() && !item.by_typedef {
                let key = (item.kind, item.name.clone());
                by_name.entry(key).or_default().push(class as u32);
            }
        }
        // The definition that most units have comes first; ties are broken by what the source says.
        for classes in by_name.values_mut() {
            classes.sort_by_cached_key(|class| {
                let item = &items[*class as usize];
                (u32::MAX - used[*class as usize], sort_key(item))
            });
        }

        let ambiguous: HashSet<&(Kind, Arc<str>)> = by_name
            .iter()
            .filter(|(_, classes)| classes.len() > 1)
            .map(|(key, _)| key)
            .collect();
        let mut wants: HashMap<u32, Vec<(Kind, Arc<str>)>> = HashMap::new();
        for (class, item) in items.iter().enumerate() {
            let mut names = Vec::new();
            for member in &item.members {
                opaque_names(&member.ty, &mut |kind, name| {
                    let key = (kind, name.clone());
                    if ambiguous.contains(&key) && !names.contains(&key) {
                        names.push(key);
                    }
                });
            }
            if !names.is_empty() {
                wants.insert(class as u32, names);
            }
        }
        type Ballot = HashMap<u32, u32>;
        let mut ballots: HashMap<(u32, (Kind, Arc<str>)), Ballot> = HashMap::new();
        for unit in units {
            let mut own: HashMap<(Kind, Arc<str>), u32> = HashMap::new();
            for class in &unit.classes {
                let item = &items[*class as usize];
                let key = (item.kind, item.name.clone());
                if ambiguous.contains(&key) {
                    own.insert(key, *class);
                }
            }
            for class in &unit.classes {
                for key in wants.get(class).into_iter().flatten() {
                    if let Some(target) = own.get(key) {
                        let ballot = ballots.entry((*class, key.clone())).or_default();
                        *ballot.entry(*target).or_default() += 1;
                    }
                }
            }
        }
        let votes = ballots
            .into_iter()
            .filter_map(|((class, key), ballot)| {
                let rank = |target: &u32| by_name[&key].iter().position(|class| class == target);
                let (target, _) = ballot
                    .iter()
                    .min_by_key(|(target, votes)| (u32::MAX - **votes, rank(target)))?;
                Some(((class, key.clone()), *target))
            })
            .collect();
        Targets { by_name, votes }
    }

    /// Replaces names by the definitions that they mean: the one of `own`, or else the most common one.
    fn resolve(&self, ty: &mut Type, own: &Own<'_>) {
        match ty {
            Type::Opaque(kind, name) => {
                let key = (*kind, name.clone());
                let first = || self.by_name.get(&key)?.first().copied();
                if let Some(class) = own(&key).or_else(first) {
                    *ty = Type::Item(ItemId(class));
                }
            }
            Type::Pointer(inner)
            | Type::Qualified(_, inner)
            | Type::Typedef(_, inner)
            | Type::Array(inner, _) => self.resolve(inner, own),
            Type::Function(prototype) => {
                self.resolve(&mut prototype.result, own);
                for parameter in &mut prototype.parameters {
                    self.resolve(parameter, own);
                }
            }
            Type::Void | Type::Base { .. } | Type::Item(_) => {}
        }
    }
}

fn opaque_names(ty: &Type, found: &mut dyn FnMut(Kind, &Arc<str>)) {
    match ty {
        Type::Opaque(kind, name) => found(*kind, name),
        Type::Pointer(inner)
        | Type::Qualified(_, inner)
        | Type::Typedef(_, inner)
        | Type::Array(inner, _) => opaque_names(inner, found),
        Type::Function(prototype) => {
            opaque_names(&prototype.result, found);
            for parameter in &prototype.parameters {
                opaque_names(parameter, found);
            }
        }
        Type::Void | Type::Base { .. } | Type::Item(_) => {}
    }
}

/// Sorts items by the place of their declaration, and renumbers every reference.
fn order(model: &mut Model) {
    let mut sorted: Vec<u32> = (0..model.items.len() as u32).collect();
    sorted.sort_by_cached_key(|class| sort_key(&model.items[*class as usize]));
    let mut number = vec![0u32; sorted.len()];
    for (new, old) in sorted.iter().enumerate() {
        number[*old as usize] = new as u32;
    }
    let mut items: Vec<Option<Item>> = std::mem::take(&mut model.items)
        .into_iter()
        .map(Some)
        .collect();
    model.items = sorted
        .iter()
        .filter_map(|old| items[*old as usize].take())
        .collect();
    for item in &mut model.items {
        for member in &mut item.members {
            renumber(&mut member.ty, &number);
        }
    }
    for typedef in &mut model.typedefs {
        renumber(&mut typedef.target, &number);
    }
    for variable in &mut model.variables {
        renumber(&mut variable.ty, &number);
    }
    model
        .typedefs
        .sort_by(|a, b| (&a.name, &a.place).cmp(&(&b.name, &b.place)));
    model.variables.sort_by(|a, b| {
        (&a.name, !a.external, &a.place, a.address).cmp(&(
            &b.name,
            !b.external,
            &b.place,
            b.address,
        ))
    });
    // A variable defined in a header, or described twice, has one address.
    model
        .variables
        .dedup_by(|a, b| a.name == b.name && a.address == b.address);
}

fn renumber(ty: &mut Type, number: &[u32]) {
    match ty {
        Type::Item(id) => id.0 = number[id.index()],
        Type::Pointer(inner)
        | Type::Qualified(_, inner)
        | Type::Typedef(_, inner)
        | Type::Array(inner, _) => renumber(inner, number),
        Type::Function(prototype) => {
            renumber(&mut prototype.result, number);
            for parameter in &mut prototype.parameters {
                renumber(parameter, number);
            }
        }
        Type::Void | Type::Base { .. } | Type::Opaque(..) => {}
    }
}

/// Tells any two items apart by what the source says of them, not by the order in which they were met.
type SortKey = (Place, Arc<str>, Kind, u64, String);

fn sort_key(item: &Item) -> SortKey {
    use std::fmt::Write as _;
    let mut shape = String::new();
    for member in &item.members {
        let _ = write!(shape, "{}@{}", member.name, member.offset);
        if let Some(bits) = member.bits {
            let _ = write!(shape, ":{}+{}", bits.offset, bits.size);
        }
        type_shape(&member.ty, &mut shape);
    }
    for enumerator in &item.enumerators {
        let _ = write!(shape, "{}={};", enumerator.name, enumerator.value);
    }
    (
        item.place.clone(),
        item.name.clone(),
        item.kind,
        item.size,
        shape,
    )
}

fn type_shape(ty: &Type, out: &mut String) {
    match ty {
        Type::Pointer(inner) => {
            out.push('*');
            type_shape(inner, out);
        }
        Type::Array(inner, count) => {
            out.push_str(&format!("[{}]", count.unwrap_or(0)));
            type_shape(inner, out);
        }
        Type::Qualified(_, inner) => type_shape(inner, out),
        Type::Typedef(name, _) | Type::Base { name, .. } | Type::Opaque(_, name) => {
            out.push_str(name)
        }
        Type::Void | Type::Function(_) | Type::Item(_) => {}
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

    fn behind_pointer(self) -> Self {
        Depth {
            level: self.level + 1,
            by_value: false,
        }
    }
}

struct Merger<'c, 'u, 'd> {
    context: &'c Context,
    unit: &'u ParsedUnit<'d>,
    /// What is left of [`MAX_MENTIONS`] for the key or the tree that is being made.
    mentions_left: u32,
    classes: Vec<Class>,
    /// For a nameless struct, union or enum: the typedef that names it.
    named_by_typedef: HashMap<usize, &'d [u8]>,
}

/// The first typedef of each nameless struct, union or enum.
fn typedef_names<'d>(unit: &ParsedUnit<'d>) -> HashMap<usize, &'d [u8]> {
    let mut names = HashMap::new();
    for node in &unit.nodes {
        if let Node::Typedef { name, target, .. } = node
            && let Some(index) = unit.node(*target)
            && let Node::Item { name: b"", .. } = unit.nodes[index]
        {
            names.entry(index).or_insert(*name);
        }
    }
    names
}

impl Merger<'_, '_, '_> {
    /// The class of a definition.
    fn class(&mut self, index: usize, level: u32) -> Option<u32> {
        match self.classes[index] {
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
        let Node::Item {
            kind,
            name,
            size: Some(size),
            ref parts,
            place,
        } = self.unit.nodes[index]
        else {
            return None;
        };
        self.classes[index] = Class::Open;
        // The definition may be met within that of another, whose own count goes on behind it.
        let outer = std::mem::replace(&mut self.mentions_left, MAX_MENTIONS);
        let place = self.place(place);
        let typedef = self.named_by_typedef.get(&index).copied();
        let mut key = Vec::with_capacity(512);
        key.push(kind as u8);
        key.extend_from_slice(&size.to_le_bytes());
        text(&mut key, name);
        text(&mut key, typedef.unwrap_or_default());
        if name.is_empty() {
            // What has no name of its own is told apart by where it stands.
            text(&mut key, place.file.as_bytes());
            key.extend_from_slice(&place.line.to_le_bytes());
        }
        let range = parts.start as usize..parts.end as usize;
        let mut layouts = Vec::new();
        if kind == Kind::Enum {
            for (name, value) in &self.unit.enumerators[range.clone()] {
                text(&mut key, name);
                key.extend_from_slice(&value.to_le_bytes());
            }
        } else {
            for member in &self.unit.members[range.clone()] {
                let (offset, bits) = self.layout(member);
                layouts.push((offset, bits));
                text(&mut key, member.name);
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
                self.encode(&mut key, member.ty, depth);
            }
        }
        let class = self.intern(key, &place, |this| Item {
            kind,
            name: owned(typedef.unwrap_or(name)),
            by_typedef: typedef.is_some(),
            size,
            place: place.clone(),
            members: if kind == Kind::Enum {
                Vec::new()
            } else {
                this.members(&this.unit.members[range.clone()], &layouts, size)
            },
            enumerators: if kind == Kind::Enum {
                this.unit.enumerators[range.clone()]
                    .iter()
                    .map(|(name, value)| Enumerator {
                        name: owned(name),
                        value: *value,
                    })
                    .collect()
            } else {
                Vec::new()
            },
        });
        self.mentions_left = outer;
        self.classes[index] = Class::Known(class);
        Some(class)
    }

    fn members(
        &mut self,
        raw: &[RawMember<'_>],
        layouts: &[(u64, Option<Bits>)],
        size: u64,
    ) -> Vec<Member> {
        // The key used up its share whether or not the tree is made; the same is left for the tree.
        self.mentions_left = MAX_MENTIONS;
        let mut members = Vec::with_capacity(raw.len());
        for (raw, (offset, bits)) in raw.iter().zip(layouts) {
            let end = match bits {
                Some(bits) => bits.offset.saturating_add(bits.size).div_ceil(8),
                None => offset.saturating_add(self.size_of(raw.ty, 0).unwrap_or(0)),
            };
            if end > size {
                count(&self.context.outside);
                continue;
            }
            members.push(Member {
                name: owned(raw.name),
                ty: self.tree(raw.ty, Depth::VALUE),
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
        if known.is_some() {
            // The same struct may stand in several files: the first by name counts, whichever thread came first.
            let mut items = lock(&context.items);
            let old = &mut items[class as usize].place;
            if place_rank(place) < place_rank(old) {
                *old = place.clone();
            }
        }
        class
    }

    fn typedef(&mut self, key: &[u8], name: &[u8], target: Ref, place: RawPlace) {
        let place = self.place(place);
        if let Some(old) = lock(&self.context.typedefs).get_mut(key) {
            if place_rank(&place) < place_rank(&old.place) {
                old.place = place;
            }
            return;
        }
        self.mentions_left = MAX_MENTIONS;
        let target = self.tree(target, Depth::VALUE);
        lock(&self.context.typedefs)
            .entry(key.into())
            .and_modify(|old| {
                if place_rank(&place) < place_rank(&old.place) {
                    old.place = place.clone();
                }
            })
            .or_insert_with(|| Typedef {
                name: owned(name),
                target,
                place: place.clone(),
            });
    }

    /// Whether one more type may be followed; counts it, or the problem.
    fn may_mention(&mut self, depth: Depth) -> bool {
        if depth.level > MAX_DEPTH || self.mentions_left == 0 {
            count(&self.context.recursive);
            return false;
        }
        self.mentions_left -= 1;
        true
    }

    /// Writes a type into a key.
    fn encode(&mut self, key: &mut Vec<u8>, at: Ref, depth: Depth) {
        if !self.may_mention(depth) {
            return;
        }
        let Some(index) = self.resolve(at) else {
            key.push(b'v');
            return;
        };
        match self.unit.nodes[index] {
            Node::Base {
                name,
                size,
                encoding,
            } => {
                key.push(b'b');
                text(key, name);
                key.extend_from_slice(&size.to_le_bytes());
                key.push(encoding.0);
            }
            Node::Pointer(target) => {
                key.push(b'p');
                self.encode(key, target, depth.behind_pointer());
            }
            Node::Qualified(qualifier, target) => {
                key.push(qualifier.as_bytes()[0]);
                self.encode(key, target, depth.deeper());
            }
            Node::Typedef { name, target, .. } => {
                key.push(b't');
                text(key, name);
                self.encode(key, target, depth.deeper());
            }
            Node::Item {
                kind, name, size, ..
            } => match self.class_here(index, name, size, depth) {
                Some(class) => {
                    key.push(b'i');
                    key.extend_from_slice(&class.to_le_bytes());
                }
                None => {
                    key.push(b'n');
                    key.push(kind as u8);
                    text(key, name);
                }
            },
            Node::Array {
                element,
                ref dimensions,
            } => {
                key.push(b'a');
                let dimensions = dimensions.start as usize..dimensions.end as usize;
                for dimension in &self.unit.dimensions[dimensions] {
                    key.extend_from_slice(&dimension.unwrap_or(0).to_le_bytes());
                }
                key.push(b']');
                self.encode(key, element, depth.deeper());
            }
            Node::Function {
                result,
                ref parameters,
                variadic,
            } => {
                key.push(b'f');
                key.push(u8::from(variadic));
                let parameters = parameters.start as usize..parameters.end as usize;
                self.encode(key, result, depth.behind_pointer());
                for parameter in parameters {
                    key.push(b',');
                    self.encode(key, self.unit.parameters[parameter], depth.behind_pointer());
                }
                key.push(b')');
            }
        }
    }

    /// A type as a tree that outlives the unit.
    fn tree(&mut self, at: Ref, depth: Depth) -> Type {
        if !self.may_mention(depth) {
            return Type::Void;
        }
        let Some(index) = self.resolve(at) else {
            return Type::Void;
        };
        match self.unit.nodes[index] {
            Node::Base {
                name,
                size,
                encoding,
            } => Type::Base {
                name: owned(name),
                size: u32::try_from(size).unwrap_or(0),
                encoding: base_encoding(name, encoding),
            },
            Node::Pointer(target) => {
                Type::Pointer(Box::new(self.tree(target, depth.behind_pointer())))
            }
            Node::Qualified(qualifier, target) => {
                Type::Qualified(qualifier, Box::new(self.tree(target, depth.deeper())))
            }
            Node::Typedef { name, target, .. } => {
                Type::Typedef(owned(name), Box::new(self.tree(target, depth.deeper())))
            }
            Node::Item {
                kind, name, size, ..
            } => match self.class_here(index, name, size, depth) {
                Some(class) => Type::Item(ItemId(class)),
                None => Type::Opaque(kind, owned(name)),
            },
            Node::Array {
                element,
                ref dimensions,
            } => {
                let dimensions = dimensions.start as usize..dimensions.end as usize;
                let element = self.tree(element, depth.deeper());
                let counts = &self.unit.dimensions[dimensions];
                let wrap = |element, count: &Option<u64>| Type::Array(Box::new(element), *count);
                match counts {
                    [] => wrap(element, &None),
                    counts => counts.iter().rev().fold(element, wrap),
                }
            }
            Node::Function {
                result,
                ref parameters,
                variadic,
            } => {
                let parameters = parameters.start as usize..parameters.end as usize;
                let result = self.tree(result, depth.behind_pointer());
                let parameters = parameters
                    .map(|index| self.tree(self.unit.parameters[index], depth.behind_pointer()))
                    .collect();
                Type::Function(Box::new(Prototype {
                    result,
                    parameters,
                    variadic,
                }))
            }
        }
    }

    /// The class that a mention of a struct means, or `None` if it is only meant by its name.
    fn class_here(
        &mut self,
        index: usize,
        name: &[u8],
        size: Option<u64>,
        depth: Depth,
    ) -> Option<u32> {
        if size.is_some() && (depth.by_value || name.is_empty()) {
            self.class(index, depth.level)
        } else {
            None
        }
    }

    fn resolve(&self, at: Ref) -> Option<usize> {
        match at {
            VOID => None,
            FOREIGN => {
                count(&self.context.dangling);
                None
            }
            at => {
                let node = self.unit.node(at);
                if node.is_none() {
                    count(&self.context.dangling);
                }
                node
            }
        }
    }

    fn layout(&self, member: &RawMember<'_>) -> (u64, Option<Bits>) {
        let bits = match member.location {
            Location::Bytes(bytes) => return (bytes, None),
            Location::Bits { offset, size } => Bits { offset, size },
            Location::Storage {
                bytes,
                storage,
                from_top,
                size,
            } => {
                let storage = storage.or_else(|| self.size_of(member.ty, 0)).unwrap_or(0);
                let start = i128::from(bytes) * 8;
                let offset = if self.unit.big_endian {
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

    fn size_of(&self, at: Ref, level: u32) -> Option<u64> {
        if level > MAX_DEPTH {
            return None;
        }
        match self.unit.nodes[self.unit.node(at)?] {
            Node::Base { size, .. } => Some(size),
            Node::Pointer(_) => Some(u64::from(self.unit.address_size)),
            Node::Qualified(_, target) | Node::Typedef { target, .. } => {
                self.size_of(target, level + 1)
            }
            Node::Item { size, .. } => size,
            Node::Array {
                element,
                ref dimensions,
            } => {
                let dimensions = dimensions.start as usize..dimensions.end as usize;
                let element = self.size_of(element, level + 1)?;
                let counts = &self.unit.dimensions[dimensions];
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

    fn place(&self, place: RawPlace) -> Place {
        Place {
            file: self.unit.file(place.file),
            line: place.line,
        }
    }
}

/// Known places come before unknown ones.
fn place_rank(place: &Place) -> (bool, &Place) {
    (place.line == 0, place)
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

/// The directory that holds all absolute paths among `names`: the kernel's source tree.
fn common_directory<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut common: Option<&str> = None;
    for name in names.filter(|name| name.starts_with('/')) {
        let directory = &name[..name.rfind('/').unwrap_or(0)];
        common = Some(match common {
            None => directory,
            Some(common) => {
                let mut end = 0;
                for (a, b) in common
                    .split_inclusive('/')
                    .zip(directory.split_inclusive('/'))
                {
                    if a.trim_end_matches('/') != b.trim_end_matches('/') {
                        break;
                    }
                    end += a.len();
                }
                common[..end].trim_end_matches('/')
            }
        });
    }
    common.unwrap_or_default().to_owned()
}

fn relative(path: &Arc<str>, root: &str) -> Arc<str> {
    match path
        .strip_prefix(root)
        .and_then(|rest| rest.strip_prefix('/'))
    {
        Some(rest) if !root.is_empty() => Arc::from(rest),
        _ => path.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::common_directory;

    #[test]
    fn the_source_tree_is_what_all_units_share() {
        let names = ["/b/linux/init/main.c", "/b/linux/kernel/fork.c", "lib/x.c"];
        assert_eq!(common_directory(names.into_iter()), "/b/linux");
        let names = ["/b/linux/init/main.c", "/b/linux-build/x.c"];
        assert_eq!(common_directory(names.into_iter()), "/b");
        assert_eq!(common_directory(std::iter::empty()), "");
    }
}

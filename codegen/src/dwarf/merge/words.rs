//! Definitions and types as a few words each, which a thread's memory knows by number (`memo`): what it has seen before need
//! not be worked out again.

use super::super::memo::{self, Shape};
use super::super::strings::Name;
use super::super::unit::{Location, Node, ParsedUnit, RawMember, RawPlace, Ref, VOID};
use super::super::world::At;
use super::{Class, MAX_DEPTH, MAX_MENTIONS, Merger, Units, comes_before, is_at, place_in};
use crate::model::Kind;

impl<'u, 'd> Merger<'_, 'u, 'd> {
    /// The number that the thread's memory has for a definition, and how much there is to it. `None` if it has to be worked
    /// out: it stands in several units, or there is something about it that must be counted.
    pub(super) fn definition_of(&mut self, at: At, level: u32) -> Option<(u32, Shape)> {
        let Units::One(unit) = self.units else {
            return None;
        };
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
        let typedef = self.named_by_typedef.get(&at).map(|(_, name)| *name);
        let memo = self.memo.as_deref_mut()?;
        let start = memo.words.len();
        let name = memo.name(unit, name);
        let typedef = memo.name(unit, typedef.unwrap_or(Name::EMPTY));
        memo.words
            .extend_from_slice(&[kind as u64, size, name, typedef]);
        if name == Name::EMPTY.word() {
            // A path is made once, and lives as long as the memory.
            let file = unit.file(place.file);
            let file = file.map_or(0, |path| path.as_ptr() as u64);
            memo.words.extend_from_slice(&[file, u64::from(place.line)]);
        }
        let range = parts.start as usize..parts.end as usize;
        let shape = if kind == Kind::Enum {
            for (name, value) in &unit.enumerators[range] {
                let name = memo.name(unit, *name);
                memo.words
                    .extend_from_slice(&[name, *value as u64, (*value >> 64) as u64]);
            }
            Some(Shape::default())
        } else {
            self.members_as_words(unit, &unit.members[range], level)
        };
        let memo = self.memo.as_deref_mut()?;
        let Some(shape) = shape else {
            memo.words.truncate(start);
            return None;
        };
        let definition = memo.definition_of_words(start);
        memo.definition_of[at.node as usize] = definition + 1;
        if let Some(known) = memo.known(definition) {
            debug_assert_eq!(known.shape.height, shape.height);
        }
        Some((definition, shape))
    }

    fn members_as_words(
        &mut self,
        unit: &ParsedUnit<'d>,
        members: &[RawMember],
        level: u32,
    ) -> Option<Shape> {
        let mut shape = Shape::default();
        for member in members {
            let (offset, bits) = match member.location {
                Location::Bytes(bytes) => (bytes, None),
                _ => self.layout(0, member),
            };
            let ty = self.type_at(unit, member.ty, level + 1, true)?;
            let memo = self.memo.as_deref_mut()?;
            shape = shape.above(memo.shape(ty));
            let name = memo.name(unit, member.name);
            let ty = u64::from(ty) << 1;
            match bits {
                None => memo.words.extend_from_slice(&[name, ty, offset]),
                Some(bits) => {
                    memo.words
                        .extend_from_slice(&[name, ty | 1, bits.offset, bits.size]);
                }
            }
        }
        let is_small = level.saturating_add(shape.height) <= MAX_DEPTH;
        (is_small && shape.mentions <= MAX_MENTIONS).then_some(shape)
    }

    /// The class of a definition that the thread has seen before.
    pub(super) fn recall(
        &mut self,
        definition: u32,
        unit: &ParsedUnit<'d>,
        place: RawPlace,
    ) -> Option<u32> {
        let known = self.memo.as_deref_mut()?.known(definition).as_mut()?;
        if !is_at(&known.place, unit, place) {
            let place = place_in(unit, place);
            if comes_before(&place, &known.place) {
                self.context.found_at(known.class, &place);
                known.place = place;
            }
        }
        Some(known.class)
    }

    /// Whether a type is so small that no limit is met when it is worked out.
    pub(super) fn is_small(&self, ty: u32, level: u32) -> bool {
        self.memo.as_deref().is_some_and(|memo| {
            let shape = memo.shape(ty);
            level.saturating_add(shape.height) <= MAX_DEPTH && shape.mentions <= MAX_MENTIONS
        })
    }

    /// The number that the thread's memory has for what a reference means.
    fn type_at(
        &mut self,
        unit: &ParsedUnit<'d>,
        at: Ref,
        level: u32,
        by_value: bool,
    ) -> Option<u32> {
        if at == VOID {
            return Some(memo::VOID_TYPE);
        }
        self.type_of(unit.node(at)?, level, by_value)
    }

    /// The number that the thread's memory has for a type. `None` if it has to be worked out.
    pub(super) fn type_of(&mut self, node: usize, level: u32, by_value: bool) -> Option<u32> {
        let Units::One(unit) = self.units else {
            return None;
        };
        let memo = self.memo.as_deref_mut()?;
        match memo.of_node[node][usize::from(by_value)] {
            memo::UNKNOWN => {}
            memo::NEVER => return None,
            ty => return Some(ty),
        }
        memo.of_node[node][usize::from(by_value)] = memo::NEVER;
        if level > MAX_DEPTH {
            return None;
        }
        let ty = self.new_type(unit, node, level, by_value)?;
        self.memo.as_deref_mut()?.of_node[node][usize::from(by_value)] = ty;
        Some(ty)
    }

    fn new_type(
        &mut self,
        unit: &'u ParsedUnit<'d>,
        node: usize,
        level: u32,
        by_value: bool,
    ) -> Option<u32> {
        const BASE: u64 = 16;
        const QUALIFIED: u64 = 18;
        const TYPEDEF: u64 = 19;
        const NAME: u64 = 21;
        const ARRAY: u64 = 22;
        const FUNCTION: u64 = 23;
        let one = Shape::ONE;
        let (words, shape) = match unit.nodes[node] {
            Node::Base {
                name,
                size,
                encoding,
            } => {
                let name = self.memo.as_deref_mut()?.name(unit, name);
                ([BASE | u64::from(encoding.0) << 8, name, size], one)
            }
            Node::Pointer(target) => {
                let target = self.type_at(unit, target, level + 1, false)?;
                return Some(self.memo.as_deref_mut()?.pointer_to(target));
            }
            Node::Qualified(qualifier, target) => {
                let target = self.type_at(unit, target, level + 1, by_value)?;
                let shape = one.above(self.memo.as_deref()?.shape(target));
                let qualifier = u64::from(qualifier.as_bytes()[0]);
                ([QUALIFIED, qualifier, target.into()], shape)
            }
            Node::Typedef { name, target, .. } => {
                let target = self.type_at(unit, target, level + 1, by_value)?;
                let memo = self.memo.as_deref_mut()?;
                let shape = one.above(memo.shape(target));
                ([TYPEDEF, memo.name(unit, name), target.into()], shape)
            }
            // What is declared here and defined elsewhere.
            Node::Item { definition, .. } if definition != VOID => return None,
            Node::Item {
                kind, name, size, ..
            } if size.is_none() || !(by_value || name == Name::EMPTY) => {
                let name = self.memo.as_deref_mut()?.name(unit, name);
                ([NAME, kind as u64, name], one)
            }
            Node::Item { .. } => {
                let at = At {
                    unit: 0,
                    node: node as u32,
                };
                if self.known(at) == Class::Open {
                    return None;
                }
                let class = self.class(at, level)?;
                let memo = self.memo.as_deref_mut()?;
                let definition = memo.definition_of[node].checked_sub(1)?;
                let known = memo.known(definition).as_ref()?;
                let shape = Shape {
                    height: known.shape.height,
                    mentions: 1,
                };
                return Some(memo.class(class, shape));
            }
            Node::Array {
                element,
                ref dimensions,
            } => {
                let element = self.type_at(unit, element, level + 1, by_value)?;
                let dimensions = dimensions.start as usize..dimensions.end as usize;
                let memo = self.memo.as_deref_mut()?;
                let shape = one.above(memo.shape(element));
                let start = memo.words.len();
                memo.words.extend_from_slice(&[ARRAY, element.into()]);
                if let [count] = unit.dimensions[dimensions.clone()] {
                    let words = [ARRAY, element.into(), count.unwrap_or(0)];
                    return Some(memo.ty(words, shape));
                }
                let counts = unit.dimensions[dimensions].iter();
                memo.words.extend(counts.map(|count| count.unwrap_or(0)));
                return Some(memo.ty_of_words(start, shape));
            }
            Node::Function {
                result,
                ref parameters,
                variadic,
            } => {
                let start = self.memo.as_deref()?.words.len();
                let mut shape = one;
                let parameters = parameters.start as usize..parameters.end as usize;
                let words = &mut self.memo.as_deref_mut()?.words;
                words.extend_from_slice(&[FUNCTION, variadic.into()]);
                for ty in std::iter::once(&result).chain(&unit.parameters[parameters]) {
                    let ty = self.type_at(unit, *ty, level + 1, false);
                    let memo = self.memo.as_deref_mut()?;
                    let Some(ty) = ty else {
                        memo.words.truncate(start);
                        return None;
                    };
                    shape = shape.above(memo.shape(ty));
                    memo.words.push(ty.into());
                }
                return Some(self.memo.as_deref_mut()?.ty_of_words(start, shape));
            }
        };
        Some(self.memo.as_deref_mut()?.ty(words, shape))
    }
}

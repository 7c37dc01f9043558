//! A definition written out as a key of bytes, by which it is compared exactly, and the tree of types that the model has of it.

use std::collections::BTreeSet;

use super::super::unit::{Node, Ref};
use super::{
    Depth, MAX_DEPTH, MAX_MENTIONS, Merger, NAME_MENTION, base_encoding, count, owned, text,
};
use crate::model::{ItemId, Prototype, Type};

impl Merger<'_, '_, '_> {
    /// Gives the key that is about to be made its share of what the unit may mention, and says how much.
    pub(super) fn share(&mut self) -> u32 {
        self.mentions_left = self.unit_left.min(MAX_MENTIONS);
        self.mentions_left
    }

    /// Takes back what is left of a share, and says how much the tree of the same types may mention: the same.
    pub(super) fn used(&mut self, share: u32) -> u32 {
        let used = share.saturating_sub(self.mentions_left);
        self.unit_left = self.unit_left.saturating_sub(used);
        used
    }

    /// Counts a name that is copied.
    pub(super) fn mention_name(&mut self, name: &[u8]) {
        let mentions = u32::try_from(name.len() / NAME_MENTION).unwrap_or(u32::MAX);
        self.mentions_left = self.mentions_left.saturating_sub(mentions);
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
    pub(super) fn encode(&mut self, key: &mut Vec<u8>, unit: u32, at: Ref, depth: Depth) {
        if !self.may_mention(depth) {
            return;
        }
        let Some((at, home)) = self.resolve(unit, at) else {
            key.push(b'v');
            return;
        };
        let unit = at.unit;
        if let Node::Base { name, .. } | Node::Typedef { name, .. } | Node::Item { name, .. } =
            home.nodes[at.node as usize]
        {
            self.mention_name(&home.text(name));
        }
        match home.nodes[at.node as usize] {
            Node::Base {
                name,
                size,
                encoding,
            } => {
                key.push(b'b');
                text(key, &home.text(name));
                key.extend_from_slice(&size.to_le_bytes());
                key.push(encoding.0);
            }
            Node::Pointer(target) => {
                key.push(b'p');
                self.encode(key, unit, target, depth.behind_pointer());
            }
            Node::Qualified(qualifier, target) => {
                let (qualifiers, unit, target) = self.qualifiers(qualifier, unit, target);
                for qualifier in qualifiers {
                    key.push(qualifier.as_bytes()[0]);
                }
                self.encode(key, unit, target, depth.deeper());
            }
            Node::Typedef { name, target, .. } => {
                key.push(b't');
                text(key, &home.text(name));
                self.encode(key, unit, target, depth.deeper());
            }
            Node::Item {
                kind, name, size, ..
            } => match self.class_here(at, name, size, depth) {
                Some(class) => {
                    key.push(b'i');
                    key.extend_from_slice(&class.to_le_bytes());
                }
                None => {
                    key.push(b'n');
                    key.push(kind as u8);
                    text(key, &home.text(name));
                }
            },
            Node::Array {
                element,
                ref dimensions,
            } => {
                key.push(b'a');
                let dimensions = dimensions.start as usize..dimensions.end as usize;
                let counts = &home.dimensions[dimensions];
                // Each dimension is an array, and counts like one.
                let Some(depth) = depth.with_dimensions(counts.len()) else {
                    count(&self.context.recursive);
                    return;
                };
                for dimension in counts {
                    key.extend_from_slice(&dimension.unwrap_or(0).to_le_bytes());
                }
                key.push(b']');
                self.encode(key, unit, element, depth);
            }
            Node::Function {
                result,
                ref parameters,
                variadic,
            } => {
                key.push(b'f');
                key.push(u8::from(variadic));
                let parameters = parameters.start as usize..parameters.end as usize;
                self.encode(key, unit, result, depth.behind_pointer());
                for parameter in parameters {
                    key.push(b',');
                    self.encode(
                        key,
                        unit,
                        home.parameters[parameter],
                        depth.behind_pointer(),
                    );
                }
                key.push(b')');
            }
        }
    }

    /// All qualifiers of a type, given the first, and what they qualify. C doesn't order them and compilers do so in
    /// different ways, so here they are sorted.
    fn qualifiers(
        &self,
        first: &'static str,
        mut unit: u32,
        mut target: Ref,
    ) -> (BTreeSet<&'static str>, u32, Ref) {
        let mut qualifiers = BTreeSet::from([first]);
        for _ in 0..MAX_DEPTH {
            let Some((at, home)) = self.definition(unit, target) else {
                break;
            };
            let Node::Qualified(next, inner) = home.nodes[at.node as usize] else {
                break;
            };
            qualifiers.insert(next);
            (unit, target) = (at.unit, inner);
        }
        (qualifiers, unit, target)
    }

    /// A type as a tree that outlives the unit.
    pub(super) fn tree(&mut self, unit: u32, at: Ref, depth: Depth) -> Type {
        if !self.may_mention(depth) {
            return Type::Void;
        }
        let Some((at, home)) = self.resolve(unit, at) else {
            return Type::Void;
        };
        let unit = at.unit;
        if let Node::Base { name, .. } | Node::Typedef { name, .. } | Node::Item { name, .. } =
            home.nodes[at.node as usize]
        {
            self.mention_name(&home.text(name));
        }
        match home.nodes[at.node as usize] {
            Node::Base {
                name,
                size,
                encoding,
            } => Type::Base {
                name: owned(&home.text(name)),
                size: u32::try_from(size).unwrap_or(0),
                encoding: base_encoding(&home.text(name), encoding),
            },
            Node::Pointer(target) => {
                Type::Pointer(Box::new(self.tree(unit, target, depth.behind_pointer())))
            }
            Node::Qualified(qualifier, target) => {
                let (qualifiers, unit, target) = self.qualifiers(qualifier, unit, target);
                let inner = self.tree(unit, target, depth.deeper());
                qualifiers.into_iter().fold(inner, |inner, qualifier| {
                    Type::Qualified(qualifier, Box::new(inner))
                })
            }
            Node::Typedef { name, target, .. } => Type::Typedef(
                owned(&home.text(name)),
                Box::new(self.tree(unit, target, depth.deeper())),
            ),
            Node::Item {
                kind, name, size, ..
            } => match self.class_here(at, name, size, depth) {
                Some(class) => Type::Item(ItemId(class)),
                None => Type::Opaque(kind, owned(&home.text(name))),
            },
            Node::Array {
                element,
                ref dimensions,
            } => {
                let dimensions = dimensions.start as usize..dimensions.end as usize;
                let counts = &home.dimensions[dimensions];
                let Some(depth) = depth.with_dimensions(counts.len()) else {
                    count(&self.context.recursive);
                    return Type::Void;
                };
                let element = self.tree(unit, element, depth);
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
                let result = self.tree(unit, result, depth.behind_pointer());
                let parameters = parameters
                    .map(|index| self.tree(unit, home.parameters[index], depth.behind_pointer()))
                    .collect();
                Type::Function(Box::new(Prototype {
                    result,
                    parameters,
                    variadic,
                }))
            }
        }
    }
}

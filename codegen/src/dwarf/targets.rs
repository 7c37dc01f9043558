//! What a name behind a pointer means, when all definitions are known.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use rayon::prelude::*;

use super::merge::UnitSummary;
use super::order::compare;
use crate::model::{Item, ItemId, Kind, Type};

/// What C names a struct, union or enum by.
pub type Tag = (Kind, Arc<str>);

/// Which definition a name behind a pointer means.
pub struct Targets {
    by_name: HashMap<Tag, Vec<u32>>,
    /// For a class that points to a name with several definitions: the one that most units with that class defined.
    pub votes: HashMap<(u32, Tag), u32>,
    /// By class: whether its name has several definitions.
    is_ambiguous: Vec<bool>,
}

impl Targets {
    pub fn new(items: &[Item], units: &[UnitSummary]) -> Self {
        let mut used = vec![0u32; items.len()];
        for class in units.iter().flat_map(|unit| &unit.classes) {
            used[*class as usize] += 1;
        }
        let mut by_name: HashMap<Tag, Vec<u32>> = HashMap::new();
        for (class, item) in items.iter().enumerate() {
            if !item.name.is_empty() && !item.by_typedef {
                let key = (item.kind, item.name.clone());
                by_name.entry(key).or_default().push(class as u32);
            }
        }
        // The definition that most units have comes first; ties are broken by what the source says.
        for classes in by_name.values_mut() {
            let used = |class: &u32| used[*class as usize];
            let item = |class: &u32| &items[*class as usize];
            classes.sort_by(|a, b| {
                let most_used = used(b).cmp(&used(a));
                most_used.then_with(|| compare(item(a), item(b)))
            });
        }

        let ambiguous: HashSet<&Tag> = by_name
            .iter()
            .filter(|(_, classes)| classes.len() > 1)
            .map(|(key, _)| key)
            .collect();
        let is_ambiguous: Vec<bool> = items
            .iter()
            .map(|item| ambiguous.contains(&(item.kind, item.name.clone())))
            .collect();
        let wants: Vec<Vec<Tag>> = items
            .par_iter()
            .map(|item| {
                let mut names = Vec::new();
                for member in &item.members {
                    opaque_names(&member.ty, &mut |kind, name| {
                        let key = (kind, name.clone());
                        if ambiguous.contains(&key) && !names.contains(&key) {
                            names.push(key);
                        }
                    });
                }
                names
            })
            .collect();
        drop(ambiguous);
        type Ballot = HashMap<u32, u32>;
        let mut ballots: HashMap<(u32, Tag), Ballot> = HashMap::new();
        for unit in units {
            let own = ambiguous_names(items, &is_ambiguous, unit);
            for class in &unit.classes {
                for key in &wants[*class as usize] {
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
        Targets {
            by_name,
            votes,
            is_ambiguous,
        }
    }

    /// What those names mean in a unit that have several definitions.
    pub fn of_unit(&self, items: &[Item], unit: &UnitSummary) -> HashMap<Tag, u32> {
        ambiguous_names(items, &self.is_ambiguous, unit)
    }

    /// Replaces names by the definitions that they mean: the one of `own`, or else the most common one.
    pub fn resolve(&self, ty: &mut Type, own: &dyn Fn(&Tag) -> Option<u32>) {
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

fn ambiguous_names(items: &[Item], is_ambiguous: &[bool], unit: &UnitSummary) -> HashMap<Tag, u32> {
    let classes = unit.classes.iter();
    classes
        .filter(|class| is_ambiguous[**class as usize])
        .map(|class| {
            let item = &items[*class as usize];
            ((item.kind, item.name.clone()), *class)
        })
        .collect()
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

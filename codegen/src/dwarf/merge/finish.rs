//! When all units are read: what names mean, whose order is whose, and where the source tree begins.

use std::sync::{Arc, PoisonError};

use rayon::prelude::*;

use super::super::order::order;
use super::super::targets::Targets;
use super::{Context, UnitSummary};
use crate::model::{Model, Problems, Typedef};
use crate::passes::bound_flattened;

impl Context {
    /// Resolves pointers' targets by name and puts everything in an order that depends on the input only.
    pub fn finish(self, units: Vec<UnitSummary>) -> Model {
        let root = common_directory(units.iter().map(|unit| unit.name.as_str()));
        let mut items = self
            .items
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        items.par_iter_mut().for_each(|item| {
            item.place.file = relative(&item.place.file, &root);
        });
        let targets = Targets::new(&items, &units);

        let mut typedefs: Vec<Typedef> = self
            .typedefs
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .into_values()
            .collect();
        typedefs.par_iter_mut().for_each(|typedef| {
            typedef.place.file = relative(&typedef.place.file, &root);
            targets.resolve(&mut typedef.target, &|_| None);
        });
        let variables = units
            .into_par_iter()
            .flat_map_iter(|mut unit| {
                let own = targets.of_unit(&items, &unit);
                for variable in &mut unit.variables {
                    variable.place.file = relative(&variable.place.file, &root);
                    targets.resolve(&mut variable.ty, &|key| own.get(key).copied());
                }
                unit.variables
            })
            .collect();
        items.par_iter_mut().enumerate().for_each(|(class, item)| {
            let (kind, name, by_typedef) = (item.kind, item.name.clone(), item.by_typedef);
            for member in &mut item.members {
                targets.resolve(&mut member.ty, &|key| {
                    // Inside a struct its tag means itself, also inside one that no unit's other types can mean.
                    if !by_typedef && key.0 == kind && key.1 == name {
                        return Some(class as u32);
                    }
                    targets.votes.get(&(class as u32, key.clone())).copied()
                });
            }
        });

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
        model.problems.recursive += bound_flattened(&mut model);
        model
    }
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

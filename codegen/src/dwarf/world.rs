//! Units that can't be understood one by one: those that refer to others, and those that they refer to.
//!
//! dwz moves what units share to partial units, which may stand in an alternate file; compilers put types into type
//! units; link-time optimisation leaves types where the source was and variables where the code is. Such units are kept
//! together, and a type is a unit and a node in it.

use std::collections::{BTreeMap, HashMap, HashSet};

use gimli::UnitHeader;
use rayon::prelude::*;

use super::strings::Name;
use super::unit::{
    self, FOREIGN, Foreign, Node, Parsed, ParsedUnit, RawVariable, Ref, Scratch, UnitKind,
};
use super::{Dwarf, Slice};

/// How many imports are followed, all units taken together. A kernel's units import some ten million.
const MAX_IMPORTS: usize = 1 << 26;

/// A type: the number of a unit, and of a node in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct At {
    pub unit: u32,
    pub node: u32,
}

/// The typedefs that name nameless structs, unions and enums: a unit, and the name as that unit has it.
pub type TypedefNames = hashbrown::HashMap<At, (u32, Name)>;

/// Where a unit is: in the alternate file or not, in `.debug_types` or not, and at which offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    pub alternate: bool,
    pub types: bool,
    pub offset: u64,
}

/// The headers of all units of a file and of its alternate file, sorted by their origin.
pub struct Directory<'a, 'd> {
    pub dwarf: &'a Dwarf<'d>,
    pub headers: Vec<(Origin, UnitHeader<Slice<'d>>)>,
}

impl<'a, 'd> Directory<'a, 'd> {
    /// Reads the headers. An error comes with the offset of the last unit that was sound.
    pub fn read(dwarf: &'a Dwarf<'d>) -> Result<Self, (u64, gimli::Error)> {
        let mut headers = Vec::new();
        for (alternate, dwarf) in
            std::iter::once((false, dwarf)).chain(dwarf.sup().map(|sup| (true, sup)))
        {
            let mut offset = 0;
            let mut units = dwarf.units();
            while let Some(header) = units.next().map_err(|error| (offset, error))? {
                offset = header.offset().0 as u64;
                headers.push((
                    Origin {
                        alternate,
                        types: false,
                        offset,
                    },
                    header,
                ));
            }
            let mut units = dwarf.type_units();
            while let Some(header) = units.next().map_err(|error| (offset, error))? {
                offset = header.offset().0 as u64;
                headers.push((
                    Origin {
                        alternate,
                        types: true,
                        offset,
                    },
                    header,
                ));
            }
        }
        // In sections that come one after another the units are sorted already.
        headers.sort_by_key(|(origin, _)| *origin);
        Ok(Directory { dwarf, headers })
    }

    /// Parses a unit. `None` if it isn't C.
    fn parse(&self, number: u32) -> Result<Option<ParsedUnit<'d>>, WorldError> {
        let (origin, header) = self.headers[number as usize];
        let dwarf = match self.dwarf.sup() {
            Some(sup) if origin.alternate => sup,
            _ => self.dwarf,
        };
        let parsed = unit::read(dwarf, header, true, &mut Scratch::default())
            .map_err(|error| WorldError::Malformed(origin.offset, error))?;
        match parsed {
            Parsed::Types(unit) => Ok(Some(*unit)),
            Parsed::Unsupported(what) => Err(WorldError::Unsupported(what)),
            Parsed::OtherLanguage | Parsed::Shared(_) => Ok(None),
        }
    }

    /// The unit that an offset is in.
    fn unit_at(&self, alternate: bool, offset: u64) -> Option<(u32, u64)> {
        let wanted = Origin {
            alternate,
            types: false,
            offset,
        };
        let number = self
            .headers
            .partition_point(|(origin, _)| *origin <= wanted)
            .checked_sub(1)?;
        let (origin, header) = &self.headers[number];
        let inside = offset.checked_sub(origin.offset)?;
        let fits = origin.alternate == alternate
            && !origin.types
            && inside < header.length_including_self() as u64;
        fits.then_some((number as u32, inside))
    }
}

/// Why units could not be read.
pub enum WorldError {
    Malformed(u64, gimli::Error),
    Unsupported(&'static str),
    TooManyImports,
}

/// Units that belong together. Their numbers are those of their headers in the [`Directory`].
pub struct World<'a, 'd> {
    directory: &'a Directory<'a, 'd>,
    units: BTreeMap<u32, ParsedUnit<'d>>,
    signatures: HashMap<u64, (u32, Ref)>,
    /// The typedef that names a nameless struct, union or enum.
    pub named_by_typedef: TypedefNames,
}

impl<'a, 'd> World<'a, 'd> {
    /// Parses `roots` and whatever they refer to.
    pub fn read(directory: &'a Directory<'a, 'd>, roots: &[u32]) -> Result<Self, WorldError> {
        let mut world = World {
            directory,
            units: BTreeMap::new(),
            signatures: HashMap::new(),
            named_by_typedef: TypedefNames::new(),
        };
        let mut seen: HashSet<u32> = roots.iter().copied().collect();
        let mut wanted = roots.to_vec();
        while !wanted.is_empty() {
            let parsed = wanted
                .par_iter()
                .map(|number| Ok((*number, directory.parse(*number)?)))
                .collect::<Result<Vec<_>, WorldError>>()?;
            wanted.clear();
            for (number, unit) in parsed {
                let Some(unit) = unit else { continue };
                for foreign in unit.foreign.iter().chain(&unit.imports) {
                    if let Some((other, _)) = world.offset_of(number, *foreign)
                        && seen.insert(other)
                    {
                        wanted.push(other);
                    }
                }
                if let UnitKind::Type { signature, at } = unit.kind {
                    world.signatures.entry(signature).or_insert((number, at));
                }
                world.units.insert(number, unit);
            }
        }
        world.named_by_typedef = world.typedef_names();
        Ok(world)
    }

    pub fn unit(&self, number: u32) -> Option<&ParsedUnit<'d>> {
        self.units.get(&number)
    }

    /// The units that others share: partial units and type units, in their order.
    pub fn shared(&self) -> impl Iterator<Item = u32> {
        self.units
            .iter()
            .filter(|(_, unit)| unit.kind != UnitKind::Compile)
            .map(|(number, _)| *number)
    }

    /// The type that a reference of a unit means.
    pub fn node(&self, from: u32, at: Ref) -> Option<At> {
        let (unit, at) = self.target(from, at)?;
        let node = self.units.get(&unit)?.node(at)?;
        Some(At {
            unit,
            node: node as u32,
        })
    }

    /// The variable without location that a reference of a unit means, and its unit.
    pub fn declaration(&self, from: u32, at: Ref) -> Option<(u32, &RawVariable)> {
        let (unit, at) = self.target(from, at)?;
        Some((unit, self.units.get(&unit)?.declarations.get(&at)?))
    }

    fn target(&self, from: u32, at: Ref) -> Option<(u32, Ref)> {
        if at & FOREIGN == 0 {
            return Some((from, at));
        }
        let unit = self.units.get(&from)?;
        self.offset_of(from, *unit.foreign.get((at ^ FOREIGN) as usize)?)
    }

    fn offset_of(&self, from: u32, foreign: Foreign) -> Option<(u32, Ref)> {
        let in_alternate = self.directory.headers[from as usize].0.alternate;
        let (unit, offset) = match foreign {
            Foreign::Info(offset) => self.directory.unit_at(in_alternate, offset)?,
            Foreign::Alternate(offset) => self.directory.unit_at(true, offset)?,
            Foreign::Signature(signature) => return self.signatures.get(&signature).copied(),
        };
        let offset = u32::try_from(offset).ok()?;
        (offset < FOREIGN).then_some((unit, offset))
    }

    /// For each unit, the shared units that count as part of it: those that it imports or refers to, and so on.
    pub fn parts(&self, of: &[u32]) -> Result<Vec<Vec<u32>>, WorldError> {
        let mut left = MAX_IMPORTS;
        let mut links: HashMap<u32, Vec<u32>> = HashMap::new();
        for (number, unit) in &self.units {
            let mut next: Vec<u32> = unit
                .foreign
                .iter()
                .chain(&unit.imports)
                .filter_map(|foreign| Some(self.offset_of(*number, *foreign)?.0))
                // After link-time optimisation a unit imports others as a whole, which are sources of their own.
                .filter(|other| {
                    self.unit(*other)
                        .is_some_and(|unit| unit.kind != UnitKind::Compile)
                })
                .collect();
            next.sort_unstable();
            next.dedup();
            links.insert(*number, next);
        }
        let mut all = Vec::with_capacity(of.len());
        for root in of {
            let mut seen = HashSet::new();
            let mut open = vec![*root];
            while let Some(number) = open.pop() {
                for next in &links[&number] {
                    left = left.checked_sub(1).ok_or(WorldError::TooManyImports)?;
                    if seen.insert(*next) {
                        open.push(*next);
                    }
                }
            }
            seen.remove(root);
            let mut parts: Vec<u32> = seen.into_iter().collect();
            parts.sort_unstable();
            all.push(parts);
        }
        Ok(all)
    }

    /// The first typedef of each nameless struct, union or enum: the typedef of its own unit if there is one.
    fn typedef_names(&self) -> TypedefNames {
        let mut names: HashMap<At, (bool, u32, u32, Name)> = HashMap::new();
        for (number, unit) in &self.units {
            for node in &unit.nodes {
                if let Node::Typedef {
                    name,
                    target,
                    place,
                } = node
                    && let Some(at) = self.node(*number, *target)
                    && let Some(Node::Item {
                        name: Name::EMPTY, ..
                    }) = self
                        .unit(at.unit)
                        .and_then(|unit| unit.nodes.get(at.node as usize))
                {
                    let rank = (at.unit != *number, place.line);
                    let old = names.entry(at).or_insert((rank.0, rank.1, *number, *name));
                    if rank < (old.0, old.1) {
                        *old = (rank.0, rank.1, *number, *name);
                    }
                }
            }
        }
        names
            .into_iter()
            .map(|(at, (_, _, unit, name))| (at, (unit, name)))
            .collect()
    }
}

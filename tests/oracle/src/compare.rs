//! The comparison itself. It knows nothing of where layouts come from, and makes no exceptions.

use std::collections::BTreeSet;

use crate::{Layout, Layouts, Member, Name};

/// What was compared, and what was found.
#[derive(Debug, Default)]
pub struct Comparison {
    /// Layouts that both have.
    pub types: usize,
    /// Their members.
    pub members: usize,
    /// Those of the members that are bit-fields.
    pub bit_fields: usize,
    /// What one of both has and the other has not or has otherwise.
    pub differences: Vec<Difference>,
}

/// A name whose layouts are not the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The name.
    pub name: Name,
    /// Layouts that only we have.
    pub ours: BTreeSet<Layout>,
    /// Layouts that only they have.
    pub theirs: BTreeSet<Layout>,
    /// Whether they have the name at all, maybe with another layout.
    pub they_know_it: bool,
    /// Whether we do.
    pub we_know_it: bool,
}

/// Compares all that either has.
pub fn compare(ours: &Layouts, theirs: &Layouts) -> Comparison {
    let none = BTreeSet::new();
    let names: BTreeSet<&Name> = ours.keys().chain(theirs.keys()).collect();
    let mut found = Comparison::default();
    for name in names {
        let our = ours.get(name).unwrap_or(&none);
        let their = theirs.get(name).unwrap_or(&none);
        for layout in our.intersection(their) {
            found.types += 1;
            found.members += layout.members.len();
            found.bit_fields += layout
                .members
                .iter()
                .filter(|member| member.bits.is_some())
                .count();
        }
        if our != their {
            found.differences.push(Difference {
                name: name.clone(),
                ours: our.difference(their).cloned().collect(),
                theirs: their.difference(our).cloned().collect(),
                they_know_it: !their.is_empty(),
                we_know_it: !our.is_empty(),
            });
        }
    }
    found
}

impl Difference {
    /// One line on what is different: the first member that is, where both have one layout left.
    pub fn summary(&self) -> String {
        let name = &self.name;
        if !self.we_know_it {
            return format!("{name}: only the oracle has it");
        }
        if !self.they_know_it {
            return format!("{name}: only kstruct has it");
        }
        let (Some(our), Some(their)) = (self.ours.first(), self.theirs.first()) else {
            return format!(
                "{name}: {} layouts more in kstruct, {} more in the oracle",
                self.ours.len(),
                self.theirs.len()
            );
        };
        if our.size != their.size {
            return format!("{name}: size {}, not {}", our.size, their.size);
        }
        let differ = our
            .members
            .iter()
            .map(Some)
            .chain(std::iter::repeat(None))
            .zip(
                their
                    .members
                    .iter()
                    .map(Some)
                    .chain(std::iter::repeat(None)),
            )
            .take(our.members.len().max(their.members.len()))
            .find(|(our, their)| our != their);
        match differ {
            Some((our, their)) => format!("{name}: {}, not {}", shown(our), shown(their)),
            None => format!("{name}: the same"),
        }
    }
}

fn shown(member: Option<&Member>) -> String {
    let Some(member) = member else {
        return "no member".to_owned();
    };
    let bits = match member.bits {
        Some(bits) => format!(" bits {}+{}", bits.offset, bits.size),
        None => String::new(),
    };
    format!(
        "{} at {} of {} bytes{bits}",
        member.path, member.offset, member.size
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bits, Kind};

    fn name(name: &str) -> Name {
        Name {
            kind: Kind::Struct,
            by_typedef: false,
            name: name.to_owned(),
        }
    }

    fn member(path: &str, offset: u64, size: u64, bits: Option<(u64, u64)>) -> Member {
        Member {
            path: path.to_owned(),
            offset,
            size,
            bits: bits.map(|(offset, size)| Bits { offset, size }),
        }
    }

    fn layouts() -> Layouts {
        let foo = Layout {
            size: 16,
            members: vec![
                member("a", 0, 8, None),
                member("b", 8, 4, Some((64, 3))),
                member("c", 8, 4, Some((67, 1))),
            ],
        };
        let other = Layout {
            size: 4,
            members: vec![member("x.y", 0, 4, None)],
        };
        Layouts::from([
            (name("foo"), BTreeSet::from([foo])),
            (name("bar"), BTreeSet::from([other.clone()])),
            (name("twice"), BTreeSet::from([other, Layout::default()])),
        ])
    }

    #[test]
    fn what_is_the_same_is_counted() {
        let found = compare(&layouts(), &layouts());
        assert_eq!((found.types, found.members, found.bit_fields), (4, 5, 2));
        assert_eq!(found.differences, []);
    }

    /// Changes one layout on one side, and then on the other; gives both summaries.
    fn changed(name_of: &str, change: impl Fn(&mut Layout)) -> [String; 2] {
        let mut other = layouts();
        let all = other.get_mut(&name(name_of)).expect("it is there");
        let mut layout = all.pop_last().expect("it has a layout");
        change(&mut layout);
        all.insert(layout);
        [(&layouts(), &other), (&other, &layouts())].map(|(ours, theirs)| {
            let found = compare(ours, theirs);
            assert_eq!(found.differences.len(), 1, "{:?}", found.differences);
            assert_eq!(found.differences[0].name, name(name_of));
            found.differences[0].summary()
        })
    }

    #[test]
    fn each_number_counts() {
        assert_eq!(
            changed("foo", |foo| foo.members[0].offset = 4)[0],
            "struct foo: a at 0 of 8 bytes, not a at 4 of 8 bytes"
        );
        assert_eq!(
            changed("foo", |foo| foo.size = 24)[1],
            "struct foo: size 24, not 16"
        );
        changed("foo", |foo| foo.members[1].size = 8);
        changed("foo", |foo| foo.members[1].offset = 9);
        changed("foo", |foo| foo.members[1].bits = None);
        changed("foo", |foo| {
            foo.members[2].bits = Some(Bits {
                offset: 68,
                size: 1,
            })
        });
        changed("foo", |foo| {
            foo.members[2].bits = Some(Bits {
                offset: 67,
                size: 2,
            })
        });
        changed("foo", |foo| foo.members[0].path = "aa".to_owned());
        changed("foo", |foo| foo.members.swap(1, 2));
        assert_eq!(
            changed("foo", |foo| drop(foo.members.pop()))[1],
            "struct foo: no member, not c at 8 of 4 bytes bits 67+1"
        );
        changed("bar", |bar| bar.members[0].offset = 1);
        changed("twice", |twice| twice.size = 5);
    }

    #[test]
    fn what_is_missing_is_found_on_both_sides() {
        let mut other = layouts();
        other.remove(&name("bar"));
        let found = compare(&layouts(), &other);
        assert_eq!(found.differences.len(), 1);
        assert_eq!(
            found.differences[0].summary(),
            "struct bar: only kstruct has it"
        );
        let found = compare(&other, &layouts());
        assert_eq!(
            found.differences[0].summary(),
            "struct bar: only the oracle has it"
        );

        let mut other = layouts();
        other
            .get_mut(&name("twice"))
            .expect("it is there")
            .pop_first();
        assert_eq!(
            compare(&layouts(), &other).differences[0].summary(),
            "struct twice: 1 layouts more in kstruct, 0 more in the oracle"
        );
        assert_eq!(compare(&other, &layouts()).differences.len(), 1);

        // A struct and a union, or a tag and a typedef, are not the same.
        let mut other = layouts();
        let bar = other.remove(&name("bar")).expect("it is there");
        let typedef = Name {
            by_typedef: true,
            ..name("bar")
        };
        other.insert(typedef, bar);
        assert_eq!(compare(&layouts(), &other).differences.len(), 2);
    }
}

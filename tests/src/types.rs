//! The table of types against the model that it was made from.

use kstruct::types::{Item, Kind, Types};
use kstruct_codegen::model::{self, Model};
use kstruct_codegen::names::Names;
use kstruct_codegen::{ctext, emit, names, passes};

/// How much was compared.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Compared {
    /// Structs, unions and enums.
    pub items: usize,
    /// Members, those of anonymous members in each struct that has them.
    pub members: usize,
    /// Enumerators.
    pub enumerators: usize,
    /// Typedefs.
    pub typedefs: usize,
    /// Variables.
    pub variables: usize,
    /// What is another in the table.
    pub differences: Vec<String>,
}

/// The table of a model, for as long as the program runs.
pub fn table(model: &Model) -> &'static Types {
    let bytes = emit::table(model, &names::assign(model)).leak();
    Box::leak(Box::new(Types::new(bytes).expect("it was just made")))
}

/// Compares all that is in both: names, offsets, sizes, types as C writes them, places, and that each thing is found by its name.
pub fn compare(model: &Model, types: &'static Types) -> Compared {
    let names = names::assign(model);
    let mut found = Compared::default();
    if types.item_count() != model.items.len() {
        found.differences.push(format!(
            "{} items in the place of {}",
            types.item_count(),
            model.items.len()
        ));
    }
    for (number, item) in model.items.iter().enumerate() {
        match types.item(number as u32) {
            Some(ours) => found.item(model, &names, number, item, ours),
            None => found
                .differences
                .push(format!("{}: missing", item.c_name())),
        }
    }
    let typedefs: Vec<_> = types.typedefs().collect();
    for (theirs, ours) in model.typedefs.iter().zip(&typedefs) {
        found.typedefs += 1;
        let shown = (ours.name, ours.target.declaration(""), ours.file, ours.line);
        let text = ctext::type_name(model, &theirs.target);
        let expected = (&*theirs.name, text, &*theirs.place.file, theirs.place.line);
        found.equal("typedef", &shown, &expected);
    }
    found.equal("typedefs", &typedefs.len(), &model.typedefs.len());
    let wanted: Vec<&model::Variable> = model
        .variables
        .iter()
        .filter(|variable| !emit::is_noise(&variable.name))
        .collect();
    let variables: Vec<_> = types.variables().collect();
    found.equal("variables", &variables.len(), &wanted.len());
    for (theirs, ours) in wanted.iter().zip(&variables) {
        found.variables += 1;
        let module = ours.module.map(|(module, section)| (module.name, section));
        let shown = (
            (ours.name, ours.ty.declaration(""), ours.address, module),
            (ours.per_cpu, ours.external, ours.file, ours.line),
        );
        let place = theirs.module.as_ref();
        let expected = (
            (
                &*theirs.name,
                ctext::type_name(model, &theirs.ty),
                theirs.address,
                place.map(|place| (&*place.module, &*place.section)),
            ),
            (
                theirs.per_cpu,
                theirs.external,
                &*theirs.place.file,
                theirs.place.line,
            ),
        );
        found.equal("variable", &shown, &expected);
        let is_there = types
            .variables_named(&theirs.name)
            .iter()
            .any(|variable| variable.address == theirs.address);
        found.equal(
            "variable by name",
            &(ours.name, is_there),
            &(&*theirs.name, true),
        );
        if theirs.module.is_none() && !theirs.per_cpu && ours.ty.size().is_some() {
            let at = types.variable_at(theirs.address);
            let at = at.map(|(variable, offset)| (variable.address, offset));
            found.equal(ours.name, &at, &Some((theirs.address, 0)));
        }
    }
    found
}

impl Compared {
    fn equal<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, found: &T, expected: &T) {
        if found != expected {
            self.differences
                .push(format!("{what}: {found:?}, and should be {expected:?}"));
        }
    }

    fn item(
        &mut self,
        model: &Model,
        names: &Names,
        number: usize,
        item: &model::Item,
        ours: Item,
    ) {
        self.items += 1;
        let kind = match item.kind {
            model::Kind::Struct => Kind::Struct,
            model::Kind::Union => Kind::Union,
            model::Kind::Enum => Kind::Enum,
        };
        let name = item.c_name();
        let shown = (
            (ours.kind, ours.c_name(), ours.size),
            (ours.rust, ours.file, ours.line),
        );
        let expected = (
            (kind, name.clone(), item.size),
            (&*names.items[number], &*item.place.file, item.place.line),
        );
        self.equal("item", &shown, &expected);
        for known in [&*item.name, &names.items[number]] {
            let by_name = types_have(ours, known);
            self.equal(&name, &(known, by_name), &(known, true));
        }
        let members = passes::flattened(model, item);
        let mine = ours.flattened();
        self.equal(&name, &mine.len(), &members.len());
        for (theirs, member) in members.iter().zip(&mine) {
            self.members += 1;
            let shown = (
                (member.name, member.offset, member.bits),
                (member.ty.size(), member.ty.declaration("")),
            );
            let bits = theirs.bits.map(|bits| (bits.offset, bits.size));
            let expected = (
                (&*theirs.name, theirs.offset, bits),
                (
                    model.size_of(&theirs.ty),
                    ctext::type_name(model, &theirs.ty),
                ),
            );
            self.equal(&name, &shown, &expected);
            // As C finds it: the first of the name is the only one.
            let by_name = ours.member(&theirs.name);
            let by_name = by_name.map(|member| (member.offset, member.bits));
            self.equal(&name, &by_name, &Some((theirs.offset, bits)));
        }
        let mine: Vec<_> = ours.enumerators().collect();
        self.equal(&name, &mine.len(), &item.enumerators.len());
        for (theirs, (name, value)) in item.enumerators.iter().zip(&mine) {
            self.enumerators += 1;
            self.equal(
                "enumerator",
                &(*name, *value),
                &(&*theirs.name, theirs.value),
            );
        }
    }
}

/// Whether an item is found by a name; one that has none need not be.
fn types_have(item: Item, name: &str) -> bool {
    // Two bindings may be called as a type is in C: then C's name counts.
    name.is_empty()
        || item.types().items_named(name).contains(&item)
        || name == item.rust && name != item.name
}

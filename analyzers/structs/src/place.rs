//! Places in a dump by what an engineer types: `init_task.mm->pgd`, `task_struct:ffff88800331a000.comm`, `tcp_hashinfo.ehash[3]`.
//!
//! `.` and `->` mean the same: a pointer on the way is followed. Behind the last member nothing is followed, unless a `*` stands before
//! it all.

use anyhow::{Context as _, anyhow, bail};
use kstruct::types::{Item, Member, Shape, Type, Value, Variable, keyword, or_near};

use crate::Context;
use crate::context::hexadecimal;

/// Where something lies, and what it is.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Its type; `None` for an address of which nothing is known, and where a struct was named.
    pub ty: Option<Type>,
    /// The struct that was named.
    pub item: Option<Item>,
    /// Its address; of a bit-field, that of its struct.
    pub address: u64,
    /// The bit-field that it is.
    pub bits: Option<Member>,
}

/// What a text names: a place for each CPU, if it is that of a per-CPU variable.
#[derive(Debug, Clone)]
pub struct Found {
    /// The variable that it starts from, if it starts from one.
    pub variable: Option<Variable>,
    /// The CPU, for a per-CPU variable, and the place or why there is none.
    pub places: Vec<(Option<u32>, Result<Place, Failed>)>,
}

/// Why there is no such place.
#[derive(Debug, Clone)]
pub enum Failed {
    /// Something on the way can't be read.
    Fault(kstruct::Fault),
    /// The types don't allow it.
    Wrong(String),
}

impl From<kstruct::Fault> for Failed {
    fn from(fault: kstruct::Fault) -> Self {
        Failed::Fault(fault)
    }
}

/// A step from one place to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// `.member` or `->member`
    Member(String),
    /// `[index]`
    Index(u64),
    /// `*` before it all
    Follow,
}

/// The types that a name means: structs, unions and enums, or what a typedef names.
pub fn types_named(context: &Context<'_>, name: &str) -> Vec<Item> {
    let (wanted, name) = keyword(name);
    let mut items = context.types.items_named(name);
    if items.is_empty() && wanted.is_none() {
        items = context
            .types
            .typedefs_named(name)
            .into_iter()
            .filter_map(|typedef| match typedef.target.stripped() {
                Shape::Item(item) => Some(item),
                _ => None,
            })
            .collect();
    }
    items.retain(|item| wanted.is_none_or(|kind| kind == item.kind));
    items
}

/// The one type that a name means. Of several the one that the bindings call so, which is that of a header that all can include; the
/// others are named on standard error.
///
/// # Errors
///
/// There is none of that name, or there are several, and none that the bindings call so.
pub fn one_type(context: &Context<'_>, name: &str) -> anyhow::Result<Item> {
    let items = types_named(context, name);
    if let [item] = items[..] {
        return Ok(item);
    }
    let plain = keyword(name).1;
    if items.is_empty() {
        bail!("{}", no_type(context, name));
    }
    let others: Vec<String> = items
        .iter()
        .map(|item| {
            format!(
                "{} ({}:{}, {} bytes)",
                item.rust, item.file, item.line, item.size
            )
        })
        .collect();
    match items.iter().find(|item| item.rust == plain) {
        Some(item) => {
            eprintln!("note: {plain} is one of {}", others.join(", "));
            Ok(*item)
        }
        None => bail!(
            "{} types have the name {plain}; say which: {}",
            items.len(),
            others.join(", ")
        ),
    }
}

/// The place that a text names.
///
/// # Errors
///
/// It isn't written as a place is, or names what the kernel doesn't have.
pub fn find(context: &Context<'_>, text: &str, cpu: Option<u32>) -> anyhow::Result<Found> {
    let trimmed = text.trim();
    let follows = trimmed.bytes().take_while(|byte| *byte == b'*').count();
    let rest = trimmed[follows..].trim_start();
    let (root, mut steps) = parse(rest)?;
    steps.extend(std::iter::repeat_n(Step::Follow, follows));

    // A type and an address.
    if let Some((name, address)) = root.split_once(':')
        && name != "sym"
    {
        let item = one_type(context, name)?;
        let start = address_of(context, address.trim(), cpu)?;
        return Ok(Found {
            variable: None,
            places: start
                .into_iter()
                .map(|(cpu, address)| {
                    let place = address
                        .and_then(|address| walk(context, Start::Item(item), address, &steps));
                    (cpu, place)
                })
                .collect(),
        });
    }
    let name = root.strip_prefix("sym:").unwrap_or(&root).trim();
    let Some(variable) = variable_named(context, name)? else {
        let address = hexadecimal(name).with_context(|| {
            let names = context.types.variables().map(|variable| variable.name);
            format!("this kernel has no variable {name}{}", or_near(name, names))
        })?;
        if !steps.is_empty() {
            bail!("{name} is an address, of which no type is known: TYPE:{name}");
        }
        let place = Place {
            ty: None,
            item: None,
            address,
            bits: None,
        };
        return Ok(Found {
            variable: None,
            places: vec![(None, Ok(place))],
        });
    };
    let places = starts(context, variable, cpu)?
        .into_iter()
        .map(|(cpu, address)| {
            let place = address
                .and_then(|address| walk(context, Start::Type(variable.ty), address, &steps));
            (cpu, place)
        })
        .collect();
    Ok(Found {
        variable: Some(variable),
        places,
    })
}

/// The variable of a name. Of several, `NAME@PART` is the one whose file or module has that part in its name; without it the kernel's
/// own is taken, and what other files can name.
///
/// # Errors
///
/// There are several, and nothing says which.
pub fn variable_named(context: &Context<'_>, text: &str) -> anyhow::Result<Option<Variable>> {
    let (name, part) = match text.split_once('@') {
        Some((name, part)) => (name, Some(part)),
        None => (text, None),
    };
    let mut variables = context.types.variables_named(name);
    if let Some(part) = part {
        variables.retain(|variable| {
            variable.file.contains(part)
                || variable
                    .module
                    .is_some_and(|(module, _)| module.name == part)
        });
    }
    if let [first, second, ..] = variables[..] {
        let is_the_kernels = first.module.is_none() && second.module.is_some();
        let is_the_global = first.external && !second.external;
        if !is_the_kernels && !is_the_global {
            let places: Vec<String> = variables
                .iter()
                .map(|variable| {
                    let module = variable
                        .module
                        .map_or_else(String::new, |(module, _)| format!(" in {}", module.name));
                    format!("{name}@{}{module}", variable.file)
                })
                .collect();
            bail!(
                "{} variables are called {name}; say which: {}",
                variables.len(),
                places.join(", ")
            );
        }
    }
    Ok(variables.first().copied())
}

type Starts = Vec<(Option<u32>, Result<u64, Failed>)>;

/// Where a variable is: on each CPU, or on the one that was asked for.
fn starts(context: &Context<'_>, variable: Variable, cpu: Option<u32>) -> anyhow::Result<Starts> {
    let place = variable.locate(context.k);
    if !variable.per_cpu {
        if cpu.is_some() {
            bail!("{} is no per-CPU variable (--cpu)", variable.name);
        }
        return Ok(vec![(None, place.map_err(Failed::from))]);
    }
    let cpus = match cpu {
        // Without its own memory, a CPU's number leads to the template that all of them are made of.
        Some(cpu) if !context.cpus().is_empty() && !context.cpus().contains(&cpu) => {
            bail!("there is no CPU {cpu}; there are {:?}", context.cpus());
        }
        Some(cpu) => vec![cpu],
        None => context.cpus().to_vec(),
    };
    if cpus.is_empty() {
        bail!("the dump doesn't say which CPUs there are; name one: --cpu");
    }
    Ok(cpus
        .into_iter()
        .map(|cpu| {
            let address = place.and_then(|place| context.k.per_cpu_address(place, cpu));
            (Some(cpu), address.map_err(Failed::from))
        })
        .collect())
}

/// The addresses that a text means: `ffff88800331a000`, `init_task`, `init_task+0x10`, or a path. Of a pointer it is what that points to,
/// and of anything else its place.
///
/// # Errors
///
/// See [`find`].
pub fn address_of(context: &Context<'_>, text: &str, cpu: Option<u32>) -> anyhow::Result<Starts> {
    if text.starts_with("0x") || text.starts_with("0X") {
        let address = hexadecimal(text).with_context(|| format!("{text} is no address"))?;
        return Ok(vec![(None, Ok(address))]);
    }
    if let Some((name, offset)) = text.rsplit_once('+') {
        let offset = offset.trim();
        let offset = match offset.strip_prefix("0x") {
            Some(digits) => hexadecimal(digits),
            None => offset.parse().ok(),
        };
        let offset =
            offset.with_context(|| format!("{text}: what stands behind + is no number"))?;
        let found = find(context, name, cpu)?;
        return Ok(found
            .places
            .into_iter()
            .map(|(cpu, place)| {
                let address = place.map(|place| context.k.wrap(place.address.wrapping_add(offset)));
                (cpu, address)
            })
            .collect());
    }
    let found = find(context, text, cpu)?;
    Ok(found
        .places
        .into_iter()
        .map(|(cpu, place)| {
            let address = place.and_then(|place| match place.ty.map(Type::stripped) {
                Some(Shape::Pointer(_)) => Ok(pointer(context, &place)?),
                _ => Ok(place.address),
            });
            (cpu, address)
        })
        .collect())
}

/// What a path starts from.
enum Start {
    Type(Type),
    Item(Item),
}

/// A text's root and its steps.
///
/// # Errors
///
/// It isn't written as a path is.
pub fn parse(text: &str) -> anyhow::Result<(String, Vec<Step>)> {
    let end = text
        .char_indices()
        .find(|(at, c)| *c == '.' || *c == '[' || text[*at..].starts_with("->"))
        .map_or(text.len(), |(at, _)| at);
    Ok((text[..end].trim().to_owned(), steps(&text[end..])?))
}

/// The steps of a path: `.a->b[3]`; the first may have nothing before it.
///
/// # Errors
///
/// It isn't written as a path is.
pub fn steps(text: &str) -> anyhow::Result<Vec<Step>> {
    let mut out = Vec::new();
    let mut rest = text.trim();
    let mut is_first = true;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (index, after) = inner
                .split_once(']')
                .ok_or_else(|| anyhow!("{text}: a [ has no ]"))?;
            let index = index.trim();
            let number = match index.strip_prefix("0x") {
                Some(digits) => hexadecimal(digits),
                None => index.parse().ok(),
            };
            out.push(Step::Index(
                number.with_context(|| format!("{text}: [{index}] is no number"))?,
            ));
            rest = after.trim_start();
        } else {
            let named = rest.strip_prefix("->").or_else(|| rest.strip_prefix('.'));
            let named = match named {
                Some(named) => named,
                None if is_first => rest,
                None => bail!("{text}: before {rest} there must be a . or ->"),
            };
            let end = named
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(named.len());
            if end == 0 {
                bail!("{text}: a member's name is missing");
            }
            out.push(Step::Member(named[..end].to_owned()));
            rest = named[end..].trim_start();
        }
        is_first = false;
    }
    Ok(out)
}

/// Takes steps from an item's place.
///
/// # Errors
///
/// See [`Failed`].
pub fn from_item(
    context: &Context<'_>,
    item: Item,
    address: u64,
    steps: &[Step],
) -> Result<Place, Failed> {
    walk(context, Start::Item(item), address, steps)
}

fn walk(
    context: &Context<'_>,
    start: Start,
    address: u64,
    steps: &[Step],
) -> Result<Place, Failed> {
    // An item is none of the table's types, as nothing need have it; what its members are, is.
    let mut item = match start {
        Start::Item(item) => Some(item),
        Start::Type(_) => None,
    };
    let mut place = Place {
        ty: match start {
            Start::Type(ty) => Some(ty),
            Start::Item(_) => None,
        },
        item: None,
        address,
        bits: None,
    };
    for step in steps {
        match step {
            Step::Member(name) => {
                let within = match item.take() {
                    Some(item) => item,
                    None => {
                        follow(context, &mut place)?;
                        aggregate(&place, name)?
                    }
                };
                let member = within
                    .member(name)
                    .ok_or_else(|| Failed::Wrong(no_member(within, name)))?;
                place.ty = Some(member.ty);
                if member.bits.is_some() {
                    place.bits = Some(member);
                } else {
                    place.address = context.k.wrap(place.address.wrapping_add(member.offset));
                    place.bits = None;
                }
            }
            Step::Index(index) => index_into(context, &mut place, *index)?,
            Step::Follow => match place.ty.map(Type::stripped) {
                Some(Shape::Pointer(target)) => {
                    place.address = pointer(context, &place)?;
                    place.ty = Some(target);
                }
                _ => return Err(Failed::Wrong("* needs a pointer".to_owned())),
            },
        }
    }
    place.item = item;
    Ok(place)
}

/// Follows the pointers at a place.
fn follow(context: &Context<'_>, place: &mut Place) -> Result<(), Failed> {
    // A pointer to a pointer to a pointer: no path has more.
    for _ in 0..8 {
        let Some(Shape::Pointer(target)) = place.ty.map(Type::stripped) else {
            break;
        };
        place.address = pointer(context, place)?;
        place.ty = Some(target);
    }
    Ok(())
}

fn aggregate(place: &Place, member: &str) -> Result<Item, Failed> {
    match place.ty.and_then(Type::aggregate) {
        Some(item) if place.bits.is_none() => Ok(item),
        _ => Err(Failed::Wrong(format!(
            "{} is no struct: it has no member {member}",
            place
                .ty
                .map_or_else(|| "what lies there".to_owned(), |ty| ty.declaration(""))
        ))),
    }
}

fn index_into(context: &Context<'_>, place: &mut Place, index: u64) -> Result<(), Failed> {
    let element = match place.ty.map(Type::stripped) {
        Some(Shape::Array(element, count)) => {
            // An array without a length, or with a length of 0 or 1, may go on behind its struct.
            if let Some(count) = count.filter(|count| *count > 1)
                && index >= count
            {
                return Err(Failed::Wrong(format!(
                    "[{index}] lies beyond the {count} elements that there are"
                )));
            }
            element
        }
        Some(Shape::Pointer(target)) => {
            place.address = pointer(context, place)?;
            target
        }
        _ => return Err(Failed::Wrong(format!("[{index}] needs an array"))),
    };
    let size = element
        .size()
        .ok_or_else(|| Failed::Wrong(format!("[{index}]: the elements' size isn't known")))?;
    let end = index
        .checked_mul(size)
        .and_then(|distance| place.address.checked_add(distance))
        .filter(|address| context.k.wrap(*address) == *address);
    place.address =
        end.ok_or_else(|| Failed::Wrong(format!("[{index}] lies beyond all addresses")))?;
    place.ty = Some(element);
    Ok(())
}

/// The pointer at a place.
fn pointer(context: &Context<'_>, place: &Place) -> Result<u64, kstruct::Fault> {
    context.k.word(place.address)
}

impl Place {
    /// What lies there.
    pub fn value(&self, context: &Context<'_>, extent: kstruct::types::Extent) -> Value {
        match (self.bits, self.item, self.ty) {
            (Some(member), ..) => kstruct::types::member(context.k, member, self.address, extent),
            (None, Some(item), _) => {
                kstruct::types::aggregate(context.k, item, self.address, extent)
            }
            (None, None, Some(ty)) => kstruct::types::value(context.k, ty, self.address, extent),
            (None, None, None) => Value::Nothing,
        }
    }

    /// The name of its type in C.
    pub fn type_name(&self) -> String {
        match (self.item, self.ty) {
            (Some(item), _) => item.c_name(),
            (None, Some(ty)) => ty.declaration(""),
            (None, None) => "void".to_owned(),
        }
    }
}

/// What is said of a type that isn't there.
pub fn no_type(context: &Context<'_>, name: &str) -> String {
    let plain = keyword(name).1;
    let names = context.types.items().map(|item| item.name);
    format!(
        "this kernel has no struct or union {plain}{}",
        or_near(plain, names)
    )
}

/// What is said of a name that is neither a type's nor a variable's.
pub fn nothing_named(context: &Context<'_>, name: &str) -> String {
    let types = context.types.items().map(|item| item.name);
    let names = types.chain(context.types.variables().map(|variable| variable.name));
    format!(
        "this kernel has no type and no variable {name}{}",
        or_near(name, names)
    )
}

/// What is said of a member that isn't there.
pub fn no_member(item: Item, name: &str) -> String {
    let members = item.flattened();
    let names = members.iter().map(|member| member.name);
    format!(
        "{} has no member {name}{}",
        item.c_name(),
        or_near(name, names)
    )
}

#[cfg(test)]
mod tests {
    use super::{Step, parse};

    #[test]
    fn paths_are_read_step_by_step() {
        let member = |name: &str| Step::Member(name.to_owned());
        for (text, root, expected) in [
            ("init_task", "init_task", vec![]),
            (
                "init_task.mm->pgd",
                "init_task",
                vec![member("mm"), member("pgd")],
            ),
            ("sym:a[3].b", "sym:a", vec![Step::Index(3), member("b")]),
            ("a[0x10]", "a", vec![Step::Index(16)]),
            (
                "task_struct:ffff->mm",
                "task_struct:ffff",
                vec![member("mm")],
            ),
        ] {
            let (found, steps) = parse(text).expect("it is a path");
            assert_eq!((found.as_str(), steps), (root, expected), "{text}");
        }
        for text in ["a.", "a..b", "a[", "a[x]", "a->", "a.b c"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}

//! `struct`: any struct of a dump.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Parser;
use kstruct::Memory;
use kstruct::types::{Extent, Item, Kind, Member, Shape, Type, layouts};
use linux::app::{Common, Format};
use linux::{Faults, Report};
use serde::Serialize;
use serde_json::{Map, json};
use structs::Context;
use structs::place::{self, Failed, Place, Step};
use structs::print::{Printer, Style};
use structs::walk::{self, Buckets, Element, Elements, Start};

/// Shows any struct or union of the kernel at an address, any variable by its own type, and what is on lists and in trees.
///
/// Without an address: the layout of a type, with offsets, holes and cache lines.
#[derive(Parser)]
#[command(
    name = "struct",
    version,
    after_help = "What to show:
  struct task_struct                                     the layout
  struct task_struct ffff88800331a000                    the struct there; other addresses may follow
  struct task_struct.pid,comm,mm.pgd ffff88800331a000    these members
  struct init_task                                       a variable; sym:NAME where a type has the same name
  struct 'init_task.active_mm->pgd'                      a path: pointers on the way are followed, [3] is an element
  struct '*runqueues.curr' --cpu 1                       what the pointer at the end leads to
  struct 'task_struct:ffff88800331a000.mm.owner.comm'    a path from an address
  struct net_device dev_base_head -l dev_list            the struct around a member

Lists and trees (--members makes a line of each):
  struct task_struct --list tasks init_task --members pid,comm
  struct module --list list modules --members name
  struct hrtimer --rbtree node.node 'hrtimer_bases.clock_base[0].active.rb_root.rb_root' --cpu 0 --members function
  struct pid --idr init_pid_ns.idr
  struct vm_area_struct --maple 'init_mm.mm_mt'
  struct tcp_sock --hlist-table inet_conn.icsk_inet.sk.__sk_common.skc_nulls_node tcp_hashinfo.ehash --buckets 4096  (tcp_hashinfo.ehash_mask + 1)

An address is hexadecimal, NAME+OFFSET, or NAME or a path: where these are pointers, what they point to is meant."
)]
struct Args {
    #[command(flatten)]
    common: Common,
    /// A type, with members (TYPE.a,b.c), a variable, or a path
    #[arg(value_name = "WHAT")]
    what: String,
    /// Where structs of the type are
    #[arg(value_name = "ADDRESS")]
    addresses: Vec<String>,
    /// Only these members; each may be a path
    #[arg(short, long, value_name = "MEMBERS", value_delimiter = ',')]
    members: Vec<String>,
    /// The address is that of this member in the struct: its name, or its offset
    #[arg(short = 'l', long = "embedded", value_name = "MEMBER|OFFSET")]
    embedded: Option<String>,
    /// So many structs, one behind the other
    #[arg(short, long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=MOST_STRUCTS))]
    count: u64,
    /// Each member's address; without an address only the members' offsets
    #[arg(short, long)]
    offsets: bool,
    /// Numbers in hexadecimal
    #[arg(short = 'x', long)]
    hex: bool,
    /// Numbers in decimal, as without this option
    #[arg(short = 'd', long, conflicts_with = "hex")]
    decimal: bool,
    /// So many levels of structs
    #[arg(long, value_name = "LEVELS")]
    depth: Option<u32>,
    /// All elements of arrays, and not the first 32
    #[arg(long)]
    all: bool,
    /// Of a per-CPU variable that of this CPU, and not of all
    #[arg(long, value_name = "CPU")]
    cpu: Option<u32>,
    /// Follow a list (list_head, hlist, llist, or pointers) by this member, from a head or from a struct that is on it
    #[arg(
        long,
        alias = "next",
        value_name = "MEMBER",
        help_heading = "Lists and trees"
    )]
    list: Option<String>,
    /// The address is that of a list's head, which is in no struct of the list: where a number doesn't say what it is of
    #[arg(long, requires = "list", help_heading = "Lists and trees")]
    head: bool,
    /// Go through a red-black tree by this member, from its root
    #[arg(
        long,
        value_name = "MEMBER",
        conflicts_with = "list",
        help_heading = "Lists and trees"
    )]
    rbtree: Option<String>,
    /// Go through an XArray or a radix tree
    #[arg(long, conflicts_with_all = ["list", "rbtree"], help_heading = "Lists and trees")]
    xarray: bool,
    /// Go through an IDR
    #[arg(long, conflicts_with_all = ["list", "rbtree", "xarray"], help_heading = "Lists and trees")]
    idr: bool,
    /// Go through a maple tree
    #[arg(long, conflicts_with_all = ["list", "rbtree", "xarray", "idr"], help_heading = "Lists and trees")]
    maple: bool,
    /// Go through a hash table, following the lists by this member
    #[arg(long, value_name = "MEMBER", conflicts_with_all = ["list", "rbtree", "xarray", "idr", "maple"], help_heading = "Lists and trees")]
    hlist_table: Option<String>,
    /// How many buckets the hash table has, if its type doesn't say
    #[arg(
        long,
        value_name = "COUNT",
        requires = "hlist_table",
        help_heading = "Lists and trees"
    )]
    buckets: Option<u64>,
    /// No more elements than this
    #[arg(long, value_name = "COUNT", help_heading = "Lists and trees")]
    limit: Option<usize>,
}

impl AsRef<Common> for Args {
    fn as_ref(&self) -> &Common {
        &self.common
    }
}

fn main() -> ExitCode {
    linux::app::run(analyze)
}

/// Elements of arrays that are shown without `--all`.
const ELEMENTS: u64 = 32;
/// Structs that may be shown one behind the other.
const MOST_STRUCTS: u64 = 1 << 20;

/// What was found, as text or for programs: only the one that is wanted is made.
#[derive(Serialize)]
struct Shown {
    #[serde(skip)]
    text: String,
    #[serde(flatten)]
    json: Map<String, serde_json::Value>,
}

impl Report for Shown {
    fn table(&self) -> String {
        self.text.clone()
    }
}

fn analyze(k: &Memory, args: &Args, faults: &mut Faults) -> anyhow::Result<Shown> {
    let context = Context::of(k)?;
    let mut show = Show {
        context: &context,
        args,
        faults,
        rows: Vec::new(),
        text: String::new(),
    };
    let (name, members) = match args.what.split_once('.') {
        Some((name, members)) => (name, members),
        None => (args.what.as_str(), ""),
    };
    let items = match args.what.contains([':', '[', '*']) {
        true => Vec::new(),
        false => place::types_named(&context, name),
    };
    // A path to a variable's members, of which a type may have the name too.
    if items.is_empty() {
        if !args.addresses.is_empty() {
            bail!("{}", place::no_type(&context, name));
        }
        if context.types.typedefs_named(name).is_empty() || name != args.what {
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            if name == args.what
                && name.bytes().all(is_name)
                && context.types.variables_named(name).is_empty()
                && structs::context::hexadecimal(name).is_none()
            {
                bail!("{}", place::nothing_named(&context, name));
            }
            show.variable()?;
            return Ok(show.finish("variables"));
        }
    }
    let mut wanted: Vec<String> = members.split(',').map(str::to_owned).collect();
    wanted.extend(args.members.iter().cloned());
    wanted.retain(|member| !member.is_empty());
    let is_container = args.list.is_some()
        || args.rbtree.is_some()
        || args.xarray
        || args.idr
        || args.maple
        || args.hlist_table.is_some();
    if args.addresses.is_empty() {
        let needs_address = args.cpu.is_some()
            || args.embedded.is_some()
            || args.count != 1
            || args.limit.is_some()
            || is_container;
        if needs_address {
            bail!(
                "where? Without an address {name} is a type, of which the layout is shown: struct {name} VARIABLE|ADDRESS ..."
            );
        }
        return show.layout(&items, name, &wanted);
    }
    let item = place::one_type(&context, name)?;
    if item.kind == Kind::Enum {
        bail!(
            "{} is an enum; without an address its values are shown",
            item.c_name()
        );
    }
    let wanted = wanted
        .iter()
        .map(|member| Ok((member.clone(), place::steps(member)?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    show.check_members(item, &wanted)?;
    for text in &args.addresses {
        if is_container {
            let mut elements = show.elements(item, text)?;
            let limit = args.limit.unwrap_or(usize::MAX);
            let all = elements.len();
            elements.truncate(limit);
            for element in elements {
                let what = format_args!("an element of the {}s at {text}", item.c_name());
                if let Some(element) = show.faults.check(what, element) {
                    show.element(item, element, &wanted);
                }
            }
            if all > limit {
                let _ = writeln!(show.text, "... {} more", all - limit);
            }
        } else {
            show.structs(item, text, &wanted)?;
        }
    }
    Ok(show.finish("structs"))
}

struct Show<'a, 'm> {
    context: &'a Context<'m>,
    args: &'a Args,
    faults: &'a mut Faults,
    rows: Vec<serde_json::Value>,
    text: String,
}

impl<'m> Show<'_, 'm> {
    fn finish(self, list: &str) -> Shown {
        self.context.names.tell(self.faults);
        let mut json = Map::new();
        json.insert(list.to_owned(), self.rows.into());
        Shown {
            text: self.text,
            json,
        }
    }

    /// Prints what there is of a long text, so that it is there before the last struct was read. False if nobody reads it any more.
    fn flush(&mut self) -> anyhow::Result<bool> {
        /// A pipe's buffer.
        const ENOUGH: usize = 1 << 16;
        if self.text.len() < ENOUGH {
            return Ok(true);
        }
        let text = std::mem::take(&mut self.text);
        match std::io::stdout().write_all(text.as_bytes()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(error).context("can't write the report"),
        }
    }

    fn is_json(&self) -> bool {
        self.args.common.format == Format::Json
    }

    fn extent(&self) -> Extent {
        Extent {
            depth: self.args.depth.unwrap_or(Extent::default().depth),
            elements: u64::MAX,
        }
    }

    fn printer(&mut self) -> Printer<'_, 'm> {
        Printer {
            context: self.context,
            style: Style {
                hexadecimal: self.args.hex,
                addresses: self.args.offsets,
                elements: if self.args.all { u64::MAX } else { ELEMENTS },
            },
            faults: self.faults,
        }
    }

    /// A variable, or what a path leads to.
    fn variable(&mut self) -> anyhow::Result<()> {
        let found = place::find(self.context, &self.args.what, self.args.cpu)?;
        for (cpu, place) in found.places {
            let what = match cpu {
                Some(cpu) => format!("{} of CPU {cpu}", self.args.what),
                None => self.args.what.clone(),
            };
            let Some(place) = self.checked(&what, place)? else {
                continue;
            };
            if place.ty.is_none() && place.item.is_none() {
                bail!("{what}: no type is known of what lies there: struct TYPE {what}");
            }
            let ty = place.bits.map_or(place.ty, |member| Some(member.ty));
            if ty.is_some_and(|ty| matches!(ty.stripped(), Shape::Void)) && place.item.is_none() {
                bail!("{what} is at {:#x}; its type isn't known", place.address);
            }
            let members: Vec<(String, Vec<Step>)> = self
                .args
                .members
                .iter()
                .map(|member| Ok((member.clone(), place::steps(member)?)))
                .collect::<anyhow::Result<_>>()?;
            if let (false, Some(item)) = (
                members.is_empty(),
                place.item.or_else(|| place.ty.and_then(Type::aggregate)),
            ) {
                self.check_members(item, &members)?;
                self.one(item, place.address, cpu, &members);
                continue;
            }
            let value = place.value(self.context, self.extent());
            if self.is_json() {
                let value = self.printer().json(&value, ty);
                self.rows.push(json!({
                    "what": self.args.what,
                    "cpu": cpu,
                    "type": place.type_name(),
                    "address": format!("{:#x}", place.address),
                    "value": value,
                }));
                continue;
            }
            let text = self.printer().text(&value, ty, 0);
            let name = match (place.item, place.ty) {
                (Some(item), _) => item.c_name(),
                (None, Some(ty)) => ty.declaration(last_name(&self.args.what)),
                (None, None) => String::new(),
            };
            let cpu = cpu.map_or_else(String::new, |cpu| format!("CPU {cpu}: "));
            let _ = writeln!(self.text, "{cpu}[{:x}] {name} = {text}", place.address);
        }
        Ok(())
    }

    /// A place, or a note that it can't be reached. What the types don't allow is an error.
    fn checked(
        &mut self,
        what: &str,
        place: Result<Place, Failed>,
    ) -> anyhow::Result<Option<Place>> {
        match place {
            Ok(place) => Ok(Some(place)),
            Err(Failed::Fault(fault)) => {
                self.faults.add(what, fault);
                Ok(None)
            }
            Err(Failed::Wrong(why)) => bail!("{what}: {why}"),
        }
    }

    /// Says at once which members there aren't, and not for each struct. What lies behind pointers is known when they are followed.
    fn check_members(&self, item: Item, members: &[(String, Vec<Step>)]) -> anyhow::Result<()> {
        for (_, steps) in members {
            if let Some(Step::Member(name)) = steps.first()
                && item.member(name).is_none()
            {
                bail!("{}", place::no_member(item, name));
            }
        }
        Ok(())
    }

    /// The structs at an address and behind it.
    fn structs(
        &mut self,
        item: Item,
        text: &str,
        members: &[(String, Vec<Step>)],
    ) -> anyhow::Result<()> {
        for (cpu, address) in place::address_of(self.context, text, self.args.cpu)? {
            let address = match address {
                Ok(address) => address,
                Err(Failed::Fault(fault)) => {
                    self.faults.add(text, fault);
                    continue;
                }
                Err(Failed::Wrong(why)) => bail!("{text}: {why}"),
            };
            let start = match &self.args.embedded {
                Some(member) => walk::container_of(self.context, item, member, address)?,
                None => address,
            };
            for index in 0..self.args.count {
                let address = start.wrapping_add(index.wrapping_mul(item.size));
                self.one(item, self.context.k.wrap(address), cpu, members);
                if !self.flush()? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// One struct: all of it, or some members.
    fn one(&mut self, item: Item, address: u64, cpu: Option<u32>, members: &[(String, Vec<Step>)]) {
        let is_json = self.is_json();
        if members.is_empty() {
            let extent = self.extent();
            let value = kstruct::types::aggregate(self.context.k, item, address, extent);
            if is_json {
                let value = self.printer().json(&value, None);
                self.push(item, address, cpu, None, value);
            } else {
                let text = self.printer().text(&value, None, 0);
                let cpu = cpu.map_or_else(String::new, |cpu| format!("CPU {cpu}: "));
                let _ = writeln!(self.text, "{cpu}{} {address:x} {text}", item.c_name());
            }
            return;
        }
        let values = self.values(item, address, members);
        if is_json {
            self.push(item, address, cpu, None, object(values));
            return;
        }
        let cpu = cpu.map_or_else(String::new, |cpu| format!("CPU {cpu}: "));
        let _ = writeln!(self.text, "{cpu}{} {address:x}", item.c_name());
        for (name, value) in values {
            let _ = writeln!(
                self.text,
                "  {name} = {}",
                value.as_str().unwrap_or_default()
            );
        }
    }

    /// One of many.
    fn element(&mut self, item: Item, element: Element, members: &[(String, Vec<Step>)]) {
        let address = element.address;
        if members.is_empty() {
            if !self.is_json()
                && let Some(index) = element.index
            {
                let _ = write!(self.text, "{index}: ");
            }
            self.one(item, address, None, members);
            return;
        }
        let values = self.values(item, address, members);
        if self.is_json() {
            self.push(item, address, None, element.index, object(values));
            return;
        }
        let index = element
            .index
            .map_or_else(String::new, |index| format!("{index}: "));
        let _ = write!(self.text, "{index}{address:x}");
        for (name, value) in values {
            let value = value.as_str().unwrap_or_default();
            // One line for each, whatever the member is.
            let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
            let _ = write!(self.text, "  {name}={value}");
        }
        self.text.push('\n');
    }

    fn push(
        &mut self,
        item: Item,
        address: u64,
        cpu: Option<u32>,
        index: Option<u64>,
        value: serde_json::Value,
    ) {
        let mut row = Map::new();
        row.insert("type".to_owned(), item.c_name().into());
        row.insert("address".to_owned(), format!("{address:#x}").into());
        if let Some(cpu) = cpu {
            row.insert("cpu".to_owned(), cpu.into());
        }
        if let Some(index) = index {
            row.insert("index".to_owned(), index.into());
        }
        row.insert("value".to_owned(), value);
        self.rows.push(row.into());
    }

    /// The members that were asked for: for programs as they are, for people as text.
    fn values(
        &mut self,
        item: Item,
        address: u64,
        members: &[(String, Vec<Step>)],
    ) -> Vec<(String, serde_json::Value)> {
        let mut out = Vec::new();
        for (name, steps) in members {
            let place = place::from_item(self.context, item, address, steps);
            let shown = match place {
                Ok(place) => {
                    let ty = place.ty;
                    let value = place.value(self.context, self.extent());
                    if self.is_json() {
                        self.printer().json(&value, ty)
                    } else {
                        self.printer().text(&value, ty, 1).into()
                    }
                }
                Err(Failed::Fault(fault)) => {
                    self.faults.add(
                        format_args!("{name} of {} {address:#x}", item.c_name()),
                        fault,
                    );
                    match self.is_json() {
                        true => serde_json::Value::Null,
                        false => format!("<{}>", fault.kind).into(),
                    }
                }
                Err(Failed::Wrong(why)) => match self.is_json() {
                    true => serde_json::Value::Null,
                    false => format!("<{why}>").into(),
                },
            };
            out.push((name.clone(), shown));
        }
        out
    }

    /// What a container has.
    fn elements(&mut self, item: Item, text: &str) -> anyhow::Result<Elements> {
        let context = self.context;
        // One per CPU would be several containers; they come one after the other.
        let mut all = Elements::new();
        let found = match text.starts_with("0x") {
            true => None,
            false => Some(place::find(context, text, self.args.cpu)?),
        };
        let places = match found {
            Some(found) => found.places,
            None => vec![(
                None,
                Ok(Place {
                    ty: None,
                    item: None,
                    address: structs::context::hexadecimal(text)
                        .with_context(|| format!("{text} is no address"))?,
                    bits: None,
                }),
            )],
        };
        for (_, place) in places {
            let Some(place) = self.checked(text, place)? else {
                continue;
            };
            // A pointer to the container, or to the first struct of a list.
            let target = match place.ty.map(Type::stripped) {
                Some(Shape::Pointer(target)) => Some(target),
                _ => None,
            };
            let (address, ty) = match target {
                Some(target) => match context.k.word(place.address) {
                    Ok(address) => (address, Some(target)),
                    Err(fault) => {
                        self.faults.add(text, fault);
                        continue;
                    }
                },
                None => (place.address, place.ty),
            };
            let containers = match (self.args.xarray, self.args.idr, self.args.maple) {
                (true, _, _) => &["xarray", "radix_tree_root"][..],
                (_, true, _) => &["idr"],
                (_, _, true) => &["maple_tree"],
                _ => &[],
            };
            if let Some(other) = ty.and_then(Type::aggregate)
                && let Some(wanted) = containers.first()
                && !containers.contains(&other.name)
            {
                bail!("{text} is a {}, and no {wanted}", other.c_name());
            }
            let found = if let Some(member) = &self.args.list {
                // As crash has it: `-l net_device.dev_list`.
                let plain = member
                    .strip_prefix(item.name)
                    .and_then(|rest| rest.strip_prefix('.'));
                let member = plain.unwrap_or(member);
                let link = walk::link(item, member)?;
                let is_head = self.args.head || ty.is_some_and(walk::is_head);
                let start = match is_head {
                    true => Start::Head(address),
                    false => Start::Element(address),
                };
                walk::list(context, link, start)?
            } else if let Some(member) = &self.args.rbtree {
                walk::tree(context, walk::link(item, member)?, address)?
            } else if self.args.xarray {
                walk::xarray(context, address)?
            } else if self.args.idr {
                walk::idr(context, address)?
            } else if self.args.maple {
                walk::maple(context, address)?
            } else if let Some(member) = &self.args.hlist_table {
                let (element, count) = match ty.map(Type::stripped) {
                    Some(Shape::Array(element, count)) => (Some(element), count),
                    _ => (ty, None),
                };
                if let (Some(wanted), Some(count)) = (self.args.buckets, count)
                    && wanted > count
                {
                    bail!("{text} has {count} buckets, and not {wanted}");
                }
                let count = self
                    .args
                    .buckets
                    .or(count)
                    .context("how many buckets the table has isn't known: --buckets")?;
                let link = walk::link(item, member)?;
                Buckets::of(context, element, address, count)?.elements(context, link)?
            } else {
                Elements::new()
            };
            all.extend(found);
        }
        Ok(all)
    }

    /// What there is to say of types without an address.
    fn layout(mut self, items: &[Item], name: &str, members: &[String]) -> anyhow::Result<Shown> {
        if self.is_json() {
            for item in items {
                let row = layout_row(*item);
                self.rows.push(row);
            }
            return Ok(self.finish("types"));
        }
        if members.is_empty() && !self.args.offsets {
            self.text = layouts(self.context.types, name)
                .with_context(|| format!("this kernel has no type {name}"))?;
            return Ok(self.finish("types"));
        }
        for item in items {
            let _ = writeln!(self.text, "{} {{", item.c_name());
            let list = if members.is_empty() {
                item.flattened()
            } else {
                members
                    .iter()
                    .map(|path| member_at(*item, path))
                    .collect::<anyhow::Result<_>>()?
            };
            for member in list {
                let bit = member
                    .bits
                    .map_or_else(String::new, |(first, _)| format!(", bit {}", first % 8));
                let _ = writeln!(
                    self.text,
                    "   [{}{bit}] {};",
                    member.offset,
                    member.declaration()
                );
            }
            let _ = writeln!(self.text, "}}\nSIZE: {}", item.size);
        }
        Ok(self.finish("types"))
    }
}

/// The member that a path leads to, without following pointers; its offset is from the start of the struct.
fn member_at(item: Item, path: &str) -> anyhow::Result<Member> {
    let mut within = item;
    let mut base: u64 = 0;
    let steps = place::steps(path)?;
    let mut found = None;
    for step in &steps {
        let Step::Member(name) = step else {
            bail!("{path}: an element's offset is its member's");
        };
        if let Some(outer) = found {
            let outer: Member = outer;
            within = outer
                .ty
                .aggregate()
                .with_context(|| format!("{path}: {} has no members", outer.name))?;
            base = outer.offset;
        }
        let mut member = within
            .member(name)
            .with_context(|| place::no_member(within, name))?;
        member.offset = member.offset.saturating_add(base);
        found = Some(member);
    }
    found.with_context(|| format!("{path} names no member"))
}

fn layout_row(item: Item) -> serde_json::Value {
    let members: Vec<serde_json::Value> = item
        .flattened()
        .into_iter()
        .map(|member| {
            let mut row = json!({
                "name": member.name,
                "offset": member.offset,
                "size": member.ty.size(),
                "type": member.ty.declaration(""),
            });
            if let (Some((first, width)), Some(row)) = (member.bits, row.as_object_mut()) {
                row.insert("bit_offset".to_owned(), first.into());
                row.insert("bit_size".to_owned(), width.into());
            }
            row
        })
        .collect();
    let enumerators: Vec<serde_json::Value> = item
        .enumerators()
        .map(|(name, value)| match i64::try_from(value) {
            Ok(value) => json!({"name": name, "value": value}),
            Err(_) => json!({"name": name, "value": value as u64}),
        })
        .collect();
    json!({
        "name": item.c_name(),
        "rust": item.rust,
        "kind": item.kind.keyword(),
        "size": item.size,
        "file": item.file,
        "line": item.line,
        "members": members,
        "enumerators": enumerators,
    })
}

fn object(values: Vec<(String, serde_json::Value)>) -> serde_json::Value {
    values.into_iter().collect::<Map<_, _>>().into()
}

/// The last name of a path: what a declaration declares.
fn last_name(path: &str) -> &str {
    let start = path
        .rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ']' && c != '[')
        .map_or(0, |at| at + 1);
    &path[start..]
}

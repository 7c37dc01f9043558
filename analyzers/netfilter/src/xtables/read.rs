//! Tables from their memory, entry by entry.

mod matches;
#[cfg(kernel_has = "sym:xt_pernet_id")]
mod now;
#[cfg(all(
    kernel_has = "sym:ipt_tables",
    kernel_has = "ipt_table_info.hook_entry"
))]
mod old;
mod targets;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv6Addr;

use kstruct::{Fault, FaultKind, Memory};
use linux::Faults;
use linux::bytes::{Bytes, hex, prefix, text};

use super::{Chain, Extension, Rule, Table};
use crate::names;

#[cfg(kernel_has = "sym:xt_pernet_id")]
use now as source;
#[cfg(all(
    kernel_has = "sym:ipt_tables",
    kernel_has = "ipt_table_info.hook_entry"
))]
use old as source;

pub use source::tables;

/// What the decoders of matches and targets need to know.
pub struct Context<'m> {
    family: u8,
    /// Names of sets (ipset) by number.
    sets: BTreeMap<u16, String>,
    /// Where the descriptions of the two targets are that each family has of its own, of verdicts and of names.
    own: Option<[u64; 2]>,
    k: &'m Memory,
}

/// XT_STANDARD_TARGET and XT_ERROR_TARGET: what the two are called.
const OWN: [&str; 2] = ["", "ERROR"];

impl Context<'_> {
    /// Tells of a name of the two that is another: entries are known by it.
    fn check_own(&self, faults: &mut Faults) {
        for (address, own) in self.own.into_iter().flatten().zip(OWN) {
            let what = format_args!(
                "name of target {}",
                if own.is_empty() { "standard" } else { own }
            );
            let found = faults.check(what, source::kind_of(self.k, address, Kind::Target));
            faults.require(found.is_none_or(|(name, _)| name == own), what, address);
        }
    }
}

/// The hooks of a table, a bit for each, where they are known by its name: what the modules of these were compiled with (`FILTER_VALID_HOOKS`
/// and so on). NAT has the one of what comes in since 2.6.36.
fn valid_hooks(family: u8, table: &str) -> Option<u32> {
    const NAT: u32 = if cfg!(kernel_has = "sym:xt_pernet_id") {
        0b11011
    } else {
        0b11001
    };
    match (family, table) {
        (names::ARP, "filter") => Some(0b111),
        (names::IPV4 | names::IPV6, "filter" | "security") => Some(0b01110),
        (names::IPV4 | names::IPV6, "nat") => Some(NAT),
        (names::IPV4 | names::IPV6, "mangle") => Some(0b11111),
        (names::IPV4 | names::IPV6, "raw") => Some(0b01001),
        _ => None,
    }
}

/// Where an entry has what: the kinds differ by the addresses that they begin with.
#[derive(Clone, Copy)]
struct Layout {
    size: usize,
    target_offset: usize,
    next_offset: usize,
    counters: usize,
}

/// An entry of a table's memory.
struct Entry<'m> {
    address: u64,
    bytes: &'m [u8],
    /// From the start of the table.
    offset: u32,
    target: usize,
    packets: u64,
    bytes_counted: u64,
}

/// The names of the hooks' chains, by hook.
fn chain_names(family: u8) -> &'static [&'static str] {
    match family {
        names::ARP => &["INPUT", "OUTPUT", "FORWARD"],
        _ => &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"],
    }
}

/// What is known of a table before its rules are read.
struct Head<'a> {
    netns: u64,
    name: String,
    address: u64,
    priority: Option<i32>,
    size: u32,
    /// How many entries it has.
    number: u32,
    /// A bit for each hook that it has.
    valid_hooks: u32,
    /// The name of the module that it is of.
    module: Option<String>,
    /// Where the chains of hooks begin, where the last entries of these are, and what they are called.
    hooks: Vec<(u32, u32, &'a str)>,
}

/// The chains of hooks: `valid` has a bit for each hook that the table of that name has.
fn hooks<'m, T: kstruct::view::Target<'m, Value = u32>>(
    family: u8,
    (table, valid): (&str, u32),
    hook_entry: kstruct::Array<'m, T>,
    underflow: kstruct::Array<'m, T>,
) -> Vec<(u32, u32, &'static str)> {
    let valid = valid_hooks(family, table).unwrap_or(valid);
    chain_names(family)
        .iter()
        .enumerate()
        .filter(|(hook, _)| valid >> hook & 1 != 0)
        .filter_map(|(hook, name)| Some((hook_entry.get(hook)?, underflow.get(hook)?, *name)))
        .collect()
}

fn table(
    head: Head<'_>,
    entries: &[Entry<'_>],
    layout: Layout,
    context: &Context<'_>,
    faults: &mut Faults,
    what: &str,
) -> Result<Table, Fault> {
    let bad = Fault {
        address: head.address,
        kind: FaultKind::Inconsistent,
    };
    let by_offset: BTreeMap<u32, usize> = entries
        .iter()
        .zip(0..)
        .map(|(entry, index)| (entry.offset, index))
        .collect();
    // `iptable_filter`
    let prefixes = ["iptable_", "ip6table_", "arptable_"];
    let module = head.module.as_deref().unwrap_or_default();
    let mut of_module = prefixes.iter().filter_map(|it| module.strip_prefix(it));
    if of_module.any(|name| name != head.name) {
        faults.add(format_args!("name of {what}"), bad);
    }
    let known = valid_hooks(context.family, &head.name);
    if known.is_some_and(|known| known != head.valid_hooks) {
        faults.add(format_args!("hooks of {what}"), bad);
    }
    // What was lost of the entries was counted.
    let end = entries
        .last()
        .map_or(0, |last| last.offset as usize + last.bytes.len());
    let is_whole = end == head.size as usize;
    if is_whole && entries.len() != head.number as usize {
        faults.add(format_args!("entries of {what}"), bad);
    }
    // Without it rules would be those of another chain.
    let is_entry = |offset: &u32| by_offset.contains_key(offset);
    if is_whole && !head.hooks.iter().all(|(start, _, _)| is_entry(start)) {
        return Err(bad);
    }
    let has_policy = |(_, end, _): &(u32, u32, &str)| {
        let entry = by_offset.get(end).and_then(|index| entries.get(*index));
        // Such a chain can do nothing else at its end.
        entry.is_some_and(|entry| matches!(verdict_of(entry, context), Some(DROP | ACCEPT)))
    };
    if is_whole && !head.hooks.iter().all(has_policy) {
        faults.add(format_args!("policies of {what}"), bad);
    } else if is_whole && !are_in_order(&head.hooks, entries, &by_offset, context) {
        faults.add(format_args!("chains of {what}"), bad);
    }
    // Where rules jump to: the first rule of each chain.
    let mut starts = BTreeMap::new();
    for (index, entry) in entries.iter().enumerate() {
        if let Some(name) = error_name(entry, context)
            && let Some(next) = entries.get(index + 1)
        {
            starts.insert(next.offset, name);
        }
    }
    let hooks = &head.hooks;
    let mut chains: Vec<Chain> = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        if let Some((_, _, name)) = hooks.iter().find(|(start, _, _)| *start == entry.offset) {
            chains.push(Chain::new((*name).to_owned()));
        } else if let Some(name) = error_name(entry, context) {
            // The last entry of all is one, too.
            if index + 1 < entries.len() {
                chains.push(Chain::new(name));
            }
            continue;
        }
        let Some(chain) = chains.last_mut() else {
            continue;
        };
        let is_policy = hooks.iter().any(|(_, end, _)| *end == entry.offset);
        // A chain that rules jump to ends with a return that iptables makes.
        let next = entries.get(index + 1);
        let is_end = next.is_none_or(|next| {
            error_name(next, context).is_some()
                || hooks.iter().any(|(start, _, _)| *start == next.offset)
        });
        if is_policy {
            chain.policy = verdict(entry).map(verdict_name);
            (chain.packets, chain.bytes) = (entry.packets, entry.bytes_counted);
            continue;
        }
        if is_end && verdict_of(entry, context) == Some(RETURN) {
            continue;
        }
        // What is no return is no end of a chain. Of the last one of a table that is cut off nothing is known.
        let is_known = !is_end || next.is_some();
        let to = verdict_of(entry, context).and_then(|verdict| u32::try_from(verdict).ok());
        let is_sound = to.is_none_or(|to| starts.contains_key(&to) || to == entry.end());
        if is_known && (is_end || is_whole && !is_sound) {
            let fault = Fault {
                address: entry.address,
                kind: FaultKind::Inconsistent,
            };
            faults.add(format_args!("rule of {what}"), fault);
        }
        let chain_name = chain.name.clone();
        let rule = rule(entry, &chain_name, &starts, &by_offset, layout, context);
        chain.rules.extend(faults.check(what, rule));
    }
    Ok(Table {
        netns: head.netns,
        family: names::family(context.family),
        name: head.name,
        address: head.address,
        priority: head.priority,
        size: head.size,
        chains,
    })
}

/// Whether the chains of hooks come first, one behind the other, each up to its policy, and a name that is none of a chain is last: so
/// libiptc makes tables (`iptcc_compile_table`), and the kernel those without rules (`xt_alloc_initial_table`). NAT's need not be in the order
/// of hooks.
fn are_in_order(
    hooks: &[(u32, u32, &str)],
    entries: &[Entry<'_>],
    by_offset: &BTreeMap<u32, usize>,
    context: &Context<'_>,
) -> bool {
    let mut next = Some(0);
    let mut hooks = hooks.to_vec();
    hooks.sort_unstable();
    for (start, end, _) in &hooks {
        if next != Some(*start) || end < start {
            return false;
        }
        let last = by_offset.get(end).and_then(|index| entries.get(*index));
        next = last.map(Entry::end);
    }
    let last = entries.last();
    last.is_some_and(|last| error_name(last, context).is_some())
}

impl Entry<'_> {
    /// Where the next one begins.
    fn end(&self) -> u32 {
        self.offset + self.bytes.len() as u32
    }
}

impl Chain {
    fn new(name: String) -> Self {
        Chain {
            name,
            policy: None,
            packets: 0,
            bytes: 0,
            rules: Vec::new(),
        }
    }
}

/// All entries of a table, in order, from its memory at an address; their counters are added by `count`. What lies behind an entry that
/// contradicts itself is lost.
fn entries<'m>(
    start: u64,
    blob: &'m [u8],
    layout: Layout,
    faults: &mut Faults,
    what: &str,
    mut count: impl FnMut(usize, (u64, u64)) -> Result<(u64, u64), Fault>,
) -> Vec<Entry<'m>> {
    let mut out = Vec::new();
    let mut offset = 0_usize;
    while offset < blob.len() {
        let address = start.wrapping_add(offset as u64);
        let bad = Fault {
            address,
            kind: FaultKind::Inconsistent,
        };
        let rest = Bytes(&blob[offset..]);
        let target = rest.u16(layout.target_offset).map(usize::from);
        let next = rest.u16(layout.next_offset).map(usize::from);
        let (Some(target), Some(next)) = (target, next) else {
            faults.add(what, bad);
            break;
        };
        // A target's head has 32 bytes.
        let fits =
            target >= layout.size && target.saturating_add(32) <= next && next <= rest.0.len();
        if !fits {
            faults.add(what, bad);
            break;
        }
        let size = rest.u16(target).map_or(0, usize::from);
        if size < HEAD || size > next - target {
            let place = Fault {
                address: address.wrapping_add(target as u64),
                kind: FaultKind::Inconsistent,
            };
            faults.add(what, place);
        }
        let first = rest.u64(layout.counters).unwrap_or(0);
        let second = rest.u64(layout.counters + 8).unwrap_or(0);
        let (packets, bytes_counted) = faults
            .check(what, count(offset, (first, second)))
            .unwrap_or_default();
        out.push(Entry {
            address,
            bytes: &blob[offset..offset + next],
            offset: offset as u32,
            target,
            packets,
            bytes_counted,
        });
        offset += next;
    }
    out
}

/// `struct xt_entry_match` and `xt_entry_target` (include/uapi/linux/netfilter/x_tables.h): size, a pointer where userspace has the
/// name, and data from byte 32 on.
const HEAD: usize = 32;

/// The target's data: if its size can't be, up to the end of the entry, where targets end.
fn target_data<'m>(entry: &Entry<'m>) -> Option<&'m [u8]> {
    let bytes = entry.bytes.get(entry.target..)?;
    let head = Bytes(bytes);
    let size = usize::from(head.u16(0)?);
    let data = size
        .checked_sub(HEAD)
        .and_then(|size| head.part(HEAD, size));
    data.or_else(|| bytes.get(HEAD..))
}

/// The pointer to the description of a match or target.
fn description(bytes: &[u8]) -> Option<u64> {
    let bytes = Bytes(bytes);
    match kernel::KERNEL.pointer_size {
        4 => bytes.u32(4).map(u64::from),
        _ => bytes.u64(8),
    }
}

/// What a rule's part is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Match,
    Target,
}

/// The name and revision of an entry's target.
fn target_of(entry: &Entry<'_>, context: &Context<'_>) -> Result<(String, u8), Fault> {
    let bytes = entry.bytes.get(entry.target..);
    let address = bytes.and_then(description).unwrap_or(0);
    for (known, name) in context.own.into_iter().flatten().zip(OWN) {
        if known == address {
            return Ok((name.to_owned(), 0));
        }
    }
    source::kind_of(context.k, address, Kind::Target)
}

/// The name that an entry gives to the chain that begins behind it.
fn error_name(entry: &Entry<'_>, context: &Context<'_>) -> Option<String> {
    let (name, _) = target_of(entry, context).ok()?;
    (name == OWN[1]).then(|| target_data(entry).map(text))?
}

/// `-NF_DROP - 1`, `-NF_ACCEPT - 1`, and `XT_RETURN`, which is `-NF_REPEAT - 1`.
const DROP: i32 = -1;
const ACCEPT: i32 = -2;
const RETURN: i32 = -5;

/// The verdict of an entry whose target is the standard one.
fn verdict_of(entry: &Entry<'_>, context: &Context<'_>) -> Option<i32> {
    let (name, _) = target_of(entry, context).ok()?;
    (name == OWN[0]).then(|| verdict(entry))?
}

/// The verdict of a standard target.
fn verdict(entry: &Entry<'_>) -> Option<i32> {
    Some(Bytes(target_data(entry)?).u32(0)?.cast_signed())
}

/// A verdict that is no jump.
fn verdict_name(verdict: i32) -> String {
    match verdict {
        DROP => "DROP".into(),
        ACCEPT => "ACCEPT".into(),
        -4 => "QUEUE".into(),
        RETURN => "RETURN".into(),
        other => other.to_string(),
    }
}

fn rule(
    entry: &Entry<'_>,
    chain: &str,
    starts: &BTreeMap<u32, String>,
    by_offset: &BTreeMap<u32, usize>,
    layout: Layout,
    context: &Context<'_>,
) -> Result<Rule, Fault> {
    let k = context.k;
    let mut out = format!("-A {chain}");
    let head = Bytes(entry.bytes);
    let flags = match context.family {
        names::IPV4 => ipv4_head(head, &mut out),
        names::IPV6 => ipv6_head(head, &mut out),
        _ => Some(arp_head(head, &mut out)),
    };
    let is_goto = match context.family {
        names::IPV4 => flags.unwrap_or(0) & 2 != 0,
        names::IPV6 => flags.unwrap_or(0) & 4 != 0,
        _ => false,
    };
    let mut found = Vec::new();
    let mut at = layout.size;
    while at < entry.target {
        let address = entry.address.wrapping_add(at as u64);
        let bad = Fault {
            address,
            kind: FaultKind::Inconsistent,
        };
        let rest = &entry.bytes[at..entry.target];
        let size = usize::from(Bytes(rest).u16(0).ok_or(bad)?);
        let data = size
            .checked_sub(HEAD)
            .and_then(|size| Bytes(rest).part(HEAD, size))
            .ok_or(bad)?;
        let (name, revision) = source::kind_of(k, description(rest).ok_or(bad)?, Kind::Match)?;
        // Only a target may have none.
        if name.is_empty() {
            return Err(bad);
        }
        let known = matches::options(&name, revision, Bytes(data), context);
        let name = matches::alias(&name, revision, Bytes(data));
        let extension = Extension {
            name,
            revision,
            known: known.is_some(),
            options: known.unwrap_or_else(|| format!(" [revision {revision}: {}]", hex(data))),
        };
        let _ = write!(out, " -m {}{}", extension.name, extension.options);
        found.push(extension);
        at += size;
    }
    let (name, revision) = target_of(entry, context)?;
    let data = target_data(entry).unwrap_or_default();
    let target = if name.is_empty() {
        // XT_STANDARD_TARGET: a verdict, or a jump.
        let verdict = verdict(entry).unwrap_or(0);
        let name = match u32::try_from(verdict) {
            Err(_) => verdict_name(verdict),
            Ok(to) if to as usize == entry.offset as usize + entry.bytes.len() => String::new(),
            Ok(to) => match starts.get(&to) {
                Some(name) => name.clone(),
                None if by_offset.contains_key(&to) => format!("[entry {to}]"),
                None => format!("[offset {to}]"),
            },
        };
        if !name.is_empty() {
            let letter = if is_goto { 'g' } else { 'j' };
            let _ = write!(out, " -{letter} {name}");
        }
        Extension {
            name,
            revision,
            known: true,
            options: String::new(),
        }
    } else {
        let known = targets::options(&name, revision, Bytes(data), context);
        let name = targets::alias(&name, Bytes(data));
        let extension = Extension {
            name,
            revision,
            known: known.is_some(),
            options: known.unwrap_or_else(|| format!(" [revision {revision}: {}]", hex(data))),
        };
        let _ = write!(out, " -j {}{}", extension.name, extension.options);
        extension
    };
    Ok(Rule {
        packets: entry.packets,
        bytes: entry.bytes_counted,
        text: out,
        matches: found,
        target,
        address: entry.address,
    })
}

/// Bits of `invflags`, the same in `ipt_ip` and `ip6t_ip6`.
const INVERT_IN: u8 = 1;
const INVERT_OUT: u8 = 2;
const INVERT_SOURCE: u8 = 8;
const INVERT_DESTINATION: u8 = 0x10;
const INVERT_FRAGMENT: u8 = 0x20;
const INVERT_PROTOCOL: u8 = 0x40;

/// ` !` where it is.
pub(crate) fn not(inverted: bool) -> &'static str {
    if inverted { " !" } else { "" }
}

/// `struct ipt_ip`; gives its flags.
fn ipv4_head(head: Bytes<'_>, out: &mut String) -> Option<u8> {
    let (flags, inverted) = (head.u8(82)?, head.u8(83)?);
    for (letter, at, bit) in [('s', 0, INVERT_SOURCE), ('d', 4, INVERT_DESTINATION)] {
        let (address, mask) = (head.ipv4(at)?, head.ipv4(at + 8)?);
        let inverted = inverted & bit != 0;
        if inverted || !address.is_unspecified() || !mask.is_unspecified() {
            let mask = match prefix(&mask.octets()) {
                Some(bits) => bits.to_string(),
                None => mask.to_string(),
            };
            let _ = write!(out, "{} -{letter} {address}/{mask}", not(inverted));
        }
    }
    interfaces(head, 16, inverted, out)?;
    protocol(head.u16(80)?, inverted, out);
    if flags & 1 != 0 {
        let _ = write!(out, "{} -f", not(inverted & INVERT_FRAGMENT != 0));
    }
    Some(flags)
}

/// `struct ip6t_ip6`; gives its flags.
fn ipv6_head(head: Bytes<'_>, out: &mut String) -> Option<u8> {
    let (flags, inverted) = (head.u8(131)?, head.u8(132)?);
    for (letter, at, bit) in [('s', 0, INVERT_SOURCE), ('d', 16, INVERT_DESTINATION)] {
        let (address, mask) = (head.ipv6(at)?, head.ipv6(at + 32)?);
        let inverted = inverted & bit != 0;
        let bits = prefix(&mask.octets());
        if inverted || bits != Some(0) {
            let mask = bits.map_or_else(|| mask.to_string(), |bits| bits.to_string());
            let _ = write!(out, "{} -{letter} {}/{mask}", not(inverted), ipv6(address));
        }
    }
    interfaces(head, 64, inverted, out)?;
    protocol(head.u16(128)?, inverted, out);
    Some(flags)
}

/// `struct arpt_arp`: source and target, hardware addresses, operation. Gives its flags.
fn arp_head(head: Bytes<'_>, out: &mut String) -> u8 {
    let mut write = || -> Option<u8> {
        let inverted = head.u16(142).unwrap_or(0);
        for (letter, at, bit) in [('s', 0, 4), ('d', 8, 8)] {
            let (address, mask) = (head.ipv4(at)?, head.ipv4(at + 4)?);
            if !mask.is_unspecified() {
                let mask = match prefix(&mask.octets()) {
                    Some(32) => String::new(),
                    Some(bits) => format!("/{bits}"),
                    None => format!("/{mask}"),
                };
                let _ = write!(
                    out,
                    "{} -{letter} {address}{mask}",
                    not(inverted & bit != 0)
                );
            }
        }
        head.u8(140)
    };
    write().unwrap_or(0)
}

/// An address as `inet_ntop` writes it.
pub(crate) fn ipv6(address: Ipv6Addr) -> String {
    address.to_string()
}

/// The names of interfaces and their masks, at the same distances in both kinds.
fn interfaces(head: Bytes<'_>, at: usize, inverted: u8, out: &mut String) -> Option<()> {
    for (letter, at, bit) in [('i', at, INVERT_IN), ('o', at + 16, INVERT_OUT)] {
        let (name, mask) = (head.part(at, 16)?, head.part(at + 32, 16)?);
        let masked = mask.iter().take_while(|byte| **byte != 0).count();
        if masked == 0 {
            continue;
        }
        // Without the NUL in the mask all names that begin so fit.
        let is_whole = name.get(masked - 1) == Some(&0);
        let plus = if is_whole || masked == 16 { "" } else { "+" };
        let name = text(&name[..masked]);
        let _ = write!(out, "{} -{letter} {name}{plus}", not(inverted & bit != 0));
    }
    Some(())
}

fn protocol(number: u16, inverted: u8, out: &mut String) {
    if number != 0 {
        let not = not(inverted & INVERT_PROTOCOL != 0);
        let _ = match names::protocol(number) {
            Some(name) => write!(out, "{not} -p {name}"),
            None => write!(out, "{not} -p {number}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::interfaces;
    use linux::bytes::Bytes;

    #[test]
    fn interfaces_may_end_with_a_plus() {
        let mut head = [0_u8; 64];
        head[..4].copy_from_slice(b"eth0");
        head[32..36].fill(0xff);
        let mut out = String::new();
        assert!(interfaces(Bytes(&head), 0, 1, &mut out).is_some());
        assert_eq!(out, " ! -i eth0+");
        head[36] = 0xff;
        out.clear();
        assert!(interfaces(Bytes(&head), 0, 0, &mut out).is_some());
        assert_eq!(out, " -i eth0");
    }
}

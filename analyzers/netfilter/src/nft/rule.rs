//! A rule's expressions as the statements that they were written as (nft's `src/netlink_delinearize.c`).
//!
//! Registers are followed from where they are loaded to where they are used. What isn't certain gives no text: the expressions
//! are shown instead.

use std::collections::BTreeMap;

use super::expr::{Expr, LogTarget, Verdict};
use super::fields::{self, Header};
use super::sets::Set;
use super::text;
use super::types::{TCP_FLAGS, Type, bits};
use crate::names;

/// A rule's text. `None` if it can't be read back with certainty.
pub fn text(
    exprs: &[Expr],
    family: u8,
    is_route: bool,
    sets: &[Set],
    interfaces: &BTreeMap<u32, String>,
) -> Option<String> {
    let _ = is_route;
    let mut reader = Reader {
        family,
        sets,
        interfaces,
        registers: BTreeMap::new(),
        statements: Vec::new(),
        dependencies: [None; 4],
        link: matches!(family, names::BRIDGE | names::NETDEV),
        vlan: false,
        network: match family {
            names::IPV4 => Some(&fields::IP),
            names::IPV6 => Some(&fields::IP6),
            names::ARP => Some(&fields::ARP),
            _ => None,
        },
        transport: None,
        last: None,
    };
    for expr in exprs {
        reader.take(expr)?;
    }
    let statements: Vec<String> = reader.statements.into_iter().flatten().collect();
    Some(statements.join(" "))
}

/// A verdict as a statement.
pub fn verdict(verdict: &Verdict) -> String {
    let name = super::expr::verdict_name(verdict);
    name.replace(" -> ", " ")
}

/// Statements that keep a state, which elements of sets may have too.
pub fn stateful(expr: &Expr) -> Option<String> {
    Some(match expr {
        Expr::Counter { packets, bytes } => format!("counter packets {packets} bytes {bytes}"),
        Expr::Limit { .. } => text::limit(expr)?,
        Expr::Quota { bytes, used, flags } => {
            let over = if flags & 1 != 0 { "over " } else { "" };
            let (size, unit) = text::bytes_unit(*bytes);
            let used = match used {
                0 => String::new(),
                used => {
                    let (size, unit) = text::bytes_unit(*used);
                    format!(" used {size} {unit}")
                }
            };
            format!("quota {over}{size} {unit}{used}")
        }
        Expr::Connlimit { count, inverted } => {
            format!("ct count {}{count}", if *inverted { "over " } else { "" })
        }
        _ => return None,
    })
}

/// What a register has.
#[derive(Debug, Clone, PartialEq)]
enum Source {
    /// Base, first bit, bits.
    Payload(u32, u32, u32),
    /// Something that has a name of its own.
    Named(String, Type),
    /// `meta l4proto` and `meta nfproto`, and `meta protocol`: what the rest depends on.
    Protocol(u32),
    Constant(Vec<u8>),
}

#[derive(Debug, Clone, PartialEq)]
struct Value {
    source: Source,
    /// What it was masked with, and what was flipped.
    mask: Option<(Vec<u8>, Vec<u8>)>,
    /// Converted from network order.
    swapped: bool,
}

struct Reader<'a> {
    family: u8,
    sets: &'a [Set],
    interfaces: &'a BTreeMap<u32, String>,
    registers: BTreeMap<u32, Value>,
    /// Those that turned out to be implied are `None`.
    statements: Vec<Option<String>>,
    /// Matches that a header of link, network or transport layer implies, or one of a VLAN.
    dependencies: [Option<usize>; 4],
    link: bool,
    /// Whether a VLAN's header stands behind the link's.
    vlan: bool,
    network: Option<&'static Header>,
    transport: Option<u8>,
    /// The last comparison with an order: `>=` and `<=` are a range.
    last: Option<(Value, u32, Vec<u8>)>,
}

/// `NFT_META_*`
const PROTOCOL: u32 = 1;
const NFPROTO: u32 = 15;
const L4PROTO: u32 = 16;

/// Not one of the kernel's bases: the header of a VLAN, which lies in that of the link.
const VLAN: u32 = 100;

impl Reader<'_> {
    fn statement(&mut self, text: String) {
        self.statements.push(Some(text));
    }

    /// A statement with an effect: what stands before it can't be left out any more.
    fn effect(&mut self, text: String) {
        self.statement(text);
        self.dependencies = [None; 4];
        self.last = None;
    }

    fn load(&mut self, register: u32, source: Source) {
        let value = Value {
            source,
            mask: None,
            swapped: false,
        };
        self.registers.insert(register, value);
    }

    fn named(&mut self, register: u32, name: impl Into<String>, kind: Type) {
        self.load(register, Source::Named(name.into(), kind));
    }

    fn take(&mut self, expr: &Expr) -> Option<()> {
        match expr {
            Expr::Payload {
                base,
                offset,
                len,
                dreg,
            } => {
                self.load(*dreg, Source::Payload(*base, offset * 8, len * 8));
            }
            Expr::Meta { key, dreg } => match *key {
                PROTOCOL | NFPROTO | L4PROTO => self.load(*dreg, Source::Protocol(*key)),
                key => {
                    let (name, kind) = meta(key)?;
                    self.named(*dreg, name, kind);
                }
            },
            Expr::Ct {
                key,
                direction,
                dreg,
            } => {
                let (name, kind) = connection(*key, *direction)?;
                self.named(*dreg, name, kind);
            }
            Expr::Rt { key, dreg } => {
                let (name, kind) = match (key, self.family) {
                    (0, _) => ("rt classid", Type::REALM),
                    (1, names::IPV4) => ("rt nexthop", Type::IPV4),
                    (1, _) => ("rt ip nexthop", Type::IPV4),
                    (2, names::IPV6) => ("rt nexthop", Type::IPV6),
                    (2, _) => ("rt ip6 nexthop", Type::IPV6),
                    (3, _) => ("rt mtu", Type::HOST),
                    _ => return None,
                };
                self.named(*dreg, name, kind);
            }
            Expr::Socket { key, dreg, .. } => {
                let (name, kind) = match key {
                    0 => ("socket transparent", Type::HOST),
                    1 => ("socket mark", Type::MARK),
                    2 => ("socket wildcard", Type::HOST),
                    _ => return None,
                };
                self.named(*dreg, name, kind);
            }
            Expr::Osf {
                dreg,
                ttl: 0,
                flags: 0,
            } => self.named(*dreg, "osf name", Type::STRING),
            Expr::Fib {
                flags,
                result,
                dreg,
            } => {
                let parts = [
                    (1, "saddr"),
                    (2, "daddr"),
                    (4, "mark"),
                    (8, "iif"),
                    (16, "oif"),
                ];
                let parts: Vec<&str> = parts
                    .iter()
                    .filter(|(bit, _)| flags & bit != 0)
                    .map(|(_, name)| *name)
                    .collect();
                let (result, kind) = match (result, flags & 32 != 0) {
                    (1, true) => ("oif", Type::BOOLEAN),
                    (1, false) => ("oif", Type::IFINDEX),
                    (2, false) => ("oifname", Type::IFNAME),
                    (3, false) => ("type", Type::FIB_ADDR),
                    _ => return None,
                };
                self.named(*dreg, format!("fib {} {result}", parts.join(" . ")), kind);
            }
            Expr::Numgen {
                random,
                dreg,
                modulus,
                offset,
            } => {
                let kind = if *random { "random" } else { "inc" };
                let offset = if *offset == 0 {
                    String::new()
                } else {
                    format!(" offset {offset}")
                };
                self.named(
                    *dreg,
                    format!("numgen {kind} mod {modulus}{offset}"),
                    Type::HOST,
                );
            }
            Expr::Hash {
                symmetric: true,
                dreg,
                modulus,
                offset,
                ..
            } => {
                let offset = if *offset == 0 {
                    String::new()
                } else {
                    format!(" offset {offset}")
                };
                self.named(*dreg, format!("symhash mod {modulus}{offset}"), Type::HOST);
            }
            Expr::Hash {
                sreg,
                len,
                dreg,
                modulus,
                seed,
                offset,
                ..
            } => {
                let offset = if *offset == 0 {
                    String::new()
                } else {
                    format!(" offset {offset}")
                };
                let seed = seed.map_or_else(String::new, |seed| format!(" seed 0x{seed:x}"));
                let key = self.key(*sreg, *len as usize)?;
                self.named(
                    *dreg,
                    format!("jhash {key} mod {modulus}{seed}{offset}"),
                    Type::HOST,
                );
            }
            Expr::Exthdr {
                kind,
                offset,
                len,
                op,
                present,
                dreg,
            } => {
                let (name, kind) = header_option(*op, *kind, *offset, *len, *present)?;
                // Options of IPv4 and extension headers of IPv6 say which of both it is.
                if matches!(*op, 0 | 2) {
                    self.implied(1);
                }
                self.named(*dreg, name, kind);
            }
            Expr::ExthdrSet {
                kind,
                offset,
                len,
                op,
                sreg,
            } => {
                let (name, kind) = header_option(*op, *kind, *offset, *len, false)?;
                let right = self.right(*sreg, kind)?;
                self.effect(format!("{name} set {right}"));
            }
            Expr::PayloadSet {
                base,
                offset,
                len,
                sreg,
                ..
            } => {
                let value = self.registers.get(sreg)?.clone();
                if let Some((mask, xor)) = &value.mask {
                    // Bits of what was loaded there, the others as they are.
                    if value.source != Source::Payload(*base, offset * 8, len * 8) {
                        return None;
                    }
                    let text = self.set_bits(*base, offset * 8, mask, xor)?;
                    self.effect(text);
                    return Some(());
                }
                let (name, kind) = self.payload(*base, offset * 8, len * 8)?;
                let right = self.right(*sreg, kind)?;
                self.effect(format!("{name} set {right}"));
            }
            Expr::Immediate { dreg, data } => self.load(*dreg, Source::Constant(data.clone())),
            Expr::Bitwise {
                op: 0,
                sreg,
                dreg,
                mask,
                xor,
                ..
            } => {
                let mut value = self.registers.get(sreg)?.clone();
                if value.mask.is_some() {
                    return None;
                }
                value.mask = Some((mask.clone(), xor.clone()));
                self.registers.insert(*dreg, value);
            }
            Expr::Byteorder { sreg, dreg, .. } => {
                let mut value = self.registers.get(sreg)?.clone();
                value.swapped = true;
                self.registers.insert(*dreg, value);
            }
            Expr::Cmp { op, sreg, data } => self.compare(*sreg, *op, data)?,
            Expr::Range { op, sreg, from, to } => {
                let value = self.registers.get(sreg)?.clone();
                let (name, kind) = self.left(&value, from.len())?;
                let not = if *op == 1 { "!= " } else { "" };
                let show = |bytes: &[u8]| {
                    kind.show(&own_order(kind, value.swapped, bytes), self.interfaces)
                };
                let text = format!("{name} {not}{}-{}", show(from), show(to));
                self.statement(text);
            }
            Expr::Lookup {
                set,
                sreg,
                dreg,
                is_verdict,
                inverted,
            } => {
                let (key, right) = self.lookup(*sreg, set)?;
                match dreg {
                    None => {
                        let not = if *inverted { "!= " } else { "" };
                        self.statement(format!("{key} {not}{right}"));
                    }
                    Some(_) if *is_verdict => self.effect(format!("{key} vmap {right}")),
                    Some(dreg) => {
                        let found = self.set(set)?;
                        let kind = *found.data_types.as_ref()?.first()?;
                        self.named(*dreg, format!("{key} map {right}"), kind);
                    }
                }
            }
            Expr::Verdict(found) => self.effect(verdict(found)),
            Expr::Counter { .. }
            | Expr::Limit { .. }
            | Expr::Quota { .. }
            | Expr::Connlimit { .. } => {
                let text = stateful(expr)?;
                self.effect(text);
            }
            Expr::Notrack => self.effect("notrack".into()),
            Expr::Log { prefix, target } => {
                let text = log(prefix.as_deref(), target);
                self.effect(text);
            }
            Expr::Reject { kind, code } => {
                let text = self.reject(*kind, *code)?;
                self.effect(text);
            }
            Expr::MetaSet { key, sreg } => {
                let (name, kind) = meta(*key)?;
                let name = if name.starts_with("meta ") {
                    name.to_owned()
                } else {
                    format!("meta {name}")
                };
                let right = self.right(*sreg, kind)?;
                self.effect(format!("{name} set {right}"));
            }
            Expr::CtSet {
                key,
                direction,
                sreg,
            } => {
                let (name, kind) = connection(*key, *direction)?;
                let right = self.right(*sreg, kind)?;
                self.effect(format!("{name} set {right}"));
            }
            Expr::Object { kind, name } => {
                let text = match kind {
                    1 => format!("counter name \"{name}\""),
                    2 => format!("quota name \"{name}\""),
                    3 => format!("ct helper set \"{name}\""),
                    4 => format!("limit name \"{name}\""),
                    7 => format!("ct timeout set \"{name}\""),
                    10 => format!("synproxy name \"{name}\""),
                    9 => format!("ct expectation set \"{name}\""),
                    _ => return None,
                };
                self.effect(text);
            }
            Expr::ObjectMap { sreg, set } => {
                let (key, right) = self.lookup(*sreg, set)?;
                let kind = self.set(set)?.data.as_ref()?.first()?.clone();
                self.effect(format!("{kind} name {key} map {right}"));
            }
            Expr::Dynset {
                op,
                set,
                key,
                data: None,
                timeout,
                inverted: false,
                exprs,
            } => {
                let op = ["add", "update", "delete"].get(*op as usize)?;
                let (key, _) = self.lookup(*key, set)?;
                let timeout = match timeout {
                    0 => String::new(),
                    timeout => format!(" timeout {}", text::time(*timeout)),
                };
                let statements: Option<String> = exprs
                    .iter()
                    .map(|expr| Some(format!(" {}", stateful(expr)?)))
                    .collect();
                self.effect(format!("{op} @{set} {{ {key}{timeout}{} }}", statements?));
            }
            Expr::Nat {
                is_destination,
                family,
                addresses,
                ports,
                flags,
            } => {
                let kind = if *is_destination { "dnat" } else { "snat" };
                let inet = match (self.family, family) {
                    (names::INET, 2) => " ip",
                    (names::INET, 10) => " ip6",
                    _ => "",
                };
                let address_type = if *family == 10 {
                    Type::IPV6
                } else {
                    Type::IPV4
                };
                let to = self.target(*addresses, *ports, address_type)?;
                let inet = if to.is_empty() { "" } else { inet };
                let to = if to.is_empty() {
                    to
                } else {
                    format!(" to {to}")
                };
                self.effect(format!("{kind}{inet}{to}{}", nat_flags(*flags)));
            }
            Expr::Masquerade { ports, flags } | Expr::Redirect { ports, flags } => {
                let kind = if matches!(expr, Expr::Masquerade { .. }) {
                    "masquerade"
                } else {
                    "redirect"
                };
                let to = self.target((0, 0), *ports, Type::IPV4)?;
                let to = if to.is_empty() {
                    to
                } else {
                    format!(" to {to}")
                };
                self.effect(format!("{kind}{to}{}", nat_flags(*flags)));
            }
            Expr::Queue {
                first,
                count,
                flags,
                sreg: 0,
            } => {
                let numbers = match count {
                    0 | 1 => first.to_string(),
                    count => format!("{first}-{}", first + count - 1),
                };
                let options: Vec<&str> = [(1, "bypass"), (2, "fanout")]
                    .iter()
                    .filter(|(bit, _)| flags & bit != 0)
                    .map(|(_, name)| *name)
                    .collect();
                let options = if options.is_empty() {
                    String::new()
                } else {
                    format!(" flags {}", options.join(","))
                };
                self.effect(format!("queue{options} to {numbers}"));
            }
            Expr::Flow { name } => self.effect(format!("flow add @{name}")),
            Expr::Synproxy { mss, wscale, flags } => {
                let mut out = "synproxy".to_owned();
                if flags & 1 != 0 {
                    out += &format!(" mss {mss}");
                }
                if flags & 2 != 0 {
                    out += &format!(" wscale {wscale}");
                }
                out += if flags & 8 != 0 { " timestamp" } else { "" };
                out += if flags & 4 != 0 { " sack-perm" } else { "" };
                self.effect(out);
            }
            Expr::Tproxy {
                family,
                address,
                port,
            } => {
                let inet = match (self.family, family) {
                    (names::INET, 2) => " ip",
                    (names::INET, 10) => " ip6",
                    _ => "",
                };
                let kind = if *family == 10 {
                    Type::IPV6
                } else {
                    Type::IPV4
                };
                let to = self.target((*address, *address), (*port, *port), kind)?;
                self.effect(format!("tproxy{inet} to {to}"));
            }
            Expr::Forward {
                device,
                address: None,
            } => {
                let device = self.right(*device, Type::IFINDEX)?;
                self.effect(format!("fwd to {device}"));
            }
            Expr::Dup {
                address: None,
                device: Some(device),
            } => {
                let device = self.right(*device, Type::IFINDEX)?;
                self.effect(format!("dup to {device}"));
            }
            Expr::Dup {
                address: Some(address),
                device: None,
            } => {
                let kind = if self.family == names::IPV6 {
                    Type::IPV6
                } else {
                    Type::IPV4
                };
                let address = self.right(*address, kind)?;
                self.effect(format!("dup to {address}"));
            }
            _ => return None,
        }
        Some(())
    }

    fn set(&self, name: &str) -> Option<&Set> {
        self.sets.iter().find(|set| set.name == name)
    }

    /// The name of what a register has, and its type. `length` is that of what it is compared with.
    fn left(&mut self, value: &Value, length: usize) -> Option<(String, Type)> {
        match &value.source {
            Source::Named(name, kind) => Some((name.clone(), *kind)),
            Source::Protocol(PROTOCOL) => Some(("meta protocol".into(), Type::ETHERTYPE)),
            Source::Protocol(NFPROTO) => Some(("meta nfproto".into(), Type::NFPROTO)),
            Source::Protocol(_) => Some(("meta l4proto".into(), Type::PROTOCOL)),
            Source::Constant(_) => None,
            Source::Payload(base, offset, size) => {
                let _ = length;
                self.payload(*base, *offset, *size)
            }
        }
    }

    /// The header that a payload of a base lies in. `offset` is its first bit.
    fn header(&self, base: u32, offset: u32) -> Option<&'static Header> {
        match base {
            0 if self.vlan && offset >= fields::ETHER_BITS => Some(&fields::VLAN),
            0 => self.link.then_some(&fields::ETHER),
            1 => self.network,
            2 => self
                .transport
                .map_or(Some(&fields::TRANSPORT), fields::transport),
            _ => None,
        }
    }

    /// Leaves out what a header implies: one of a base, or [`VLAN`].
    fn implied(&mut self, base: u32) {
        let is_icmp = base == 2 && matches!(self.transport, Some(1 | 58));
        let layers: &[usize] = match base {
            0 => &[0],
            1 => &[1],
            2 if is_icmp => &[1, 2],
            2 => &[2],
            VLAN => &[3],
            _ => &[],
        };
        for layer in layers {
            if let Some(index) = self.dependencies[*layer].take()
                && let Some(statement) = self.statements.get_mut(index)
            {
                *statement = None;
            }
        }
    }

    /// Whether a match says that it is an ICMP message with identifier and sequence number.
    fn is_echo(&self) -> bool {
        self.statements.iter().flatten().any(|statement| {
            let kind = statement
                .strip_prefix("icmp type ")
                .or_else(|| statement.strip_prefix("icmpv6 type "));
            kind.is_some_and(|kind| {
                let kinds = kind.trim_matches(['{', '}', ' ']);
                kinds
                    .split(", ")
                    .all(|kind| matches!(kind, "echo-request" | "echo-reply"))
            })
        })
    }

    fn payload(&mut self, base: u32, offset: u32, size: u32) -> Option<(String, Type)> {
        let header = self.header(base, offset);
        if let Some(header) = header
            && let Some((name, _, _, kind)) = header
                .fields
                .iter()
                .find(|(_, at, bits, _)| *at == offset && *bits == size)
        {
            let text = format!("{} {name}", header.name);
            // What is behind the checksum depends on the type.
            if base == 2
                && matches!(header.name, "icmp" | "icmpv6")
                && offset >= 32
                && !self.is_echo()
            {
                return None;
            }
            self.implied(if header.name == fields::VLAN.name {
                VLAN
            } else {
                base
            });
            return Some((text, *kind));
        }
        // A header that is known, and no field of it that is: other names than these are used then.
        if header.is_some_and(|header| header.name != "th") {
            return None;
        }
        let base = ["ll", "nh", "th", "ih"].get(base as usize)?;
        Some((format!("@{base},{offset},{size}"), Type::HEX))
    }

    /// A field that is written together with its neighbours, which `mask` keeps.
    fn set_bits(&mut self, base: u32, offset: u32, mask: &[u8], xor: &[u8]) -> Option<String> {
        let whole = 8 * mask.len() as u32;
        let all = 1_u128.checked_shl(whole).map_or(u128::MAX, |bit| bit - 1);
        let written = all & !Type::HEX.number(mask);
        let (shift, ones) = one_run(written)?;
        let first = offset + whole.checked_sub(shift + ones)?;
        let (name, kind) = self.payload(base, first, ones)?;
        let value = Type::HEX.number(xor);
        if value & !written != 0 || kind == Type::HEX {
            return None;
        }
        let bytes = kind.bytes(value >> shift, mask.len());
        Some(format!("{name} set {}", kind.show(&bytes, self.interfaces)))
    }

    fn compare(&mut self, sreg: u32, op: u32, data: &[u8]) -> Option<()> {
        const OPERATORS: [&str; 6] = ["", "!= ", "< ", "<= ", "> ", ">= "];
        let value = self.registers.get(&sreg)?.clone();
        let (value, data) = match self.masked_field(&value, data) {
            Some((field, own)) => (field, own),
            None => (value, data.to_vec()),
        };
        let data = data.as_slice();
        if op == 0 && value.mask.is_none() && self.dependency(&value, data) {
            return Some(());
        }
        // Two of one register, from and to.
        if let Some((before, other, from)) = self.last.take()
            && before == value
            && matches!((other, op), (5, 3) | (2, 4))
        {
            let (name, kind) = self.left(&value, data.len())?;
            let not = if op == 4 { "!= " } else { "" };
            let text = format!(
                "{name} {not}{}-{}",
                kind.show(&own_order(kind, value.swapped, &from), self.interfaces),
                kind.show(&own_order(kind, value.swapped, data), self.interfaces)
            );
            self.statements.pop();
            self.statement(text);
            return Some(());
        }
        if matches!(op, 2 | 5) {
            self.last = Some((value.clone(), op, data.to_vec()));
        }
        let operator = OPERATORS.get(op as usize)?;
        if op == 0 && value.mask.is_none() && self.several(&value, data)? {
            return Some(());
        }
        let text = match &value.mask {
            Some((mask, xor)) => self.masked(&value, mask, xor, op, data)?,
            None => self.plain(&value, op, operator, data)?,
        };
        self.statement(text);
        Some(())
    }

    /// Neighbouring fields that were loaded and compared as one.
    fn several(&mut self, value: &Value, data: &[u8]) -> Option<bool> {
        let Source::Payload(base, offset, size) = value.source else {
            return Some(false);
        };
        let Some(header) = self.header(base, offset) else {
            return Some(false);
        };
        let whole = |offset: u32, size: u32| {
            header
                .fields
                .iter()
                .find(|(_, at, bits, _)| *at == offset && *bits <= size && bits % 8 == 0)
        };
        if header
            .fields
            .iter()
            .any(|(_, at, bits, _)| *at == offset && *bits >= size)
        {
            return Some(false);
        }
        let mut found = Vec::new();
        let mut at = 0;
        while at < size {
            let Some((_, _, bits, _)) = whole(offset + at, size - at) else {
                return Some(false);
            };
            found.push((offset + at, *bits));
            at += bits;
        }
        let mut rest = data;
        for (offset, bits) in found {
            let Some((own, after)) = rest.split_at_checked(bits as usize / 8) else {
                return Some(false);
            };
            rest = after;
            let value = Value {
                source: Source::Payload(base, offset, bits),
                mask: None,
                swapped: false,
            };
            if !self.dependency(&value, own) {
                let text = self.plain(&value, 0, "", own)?;
                self.statement(text);
            }
        }
        Some(true)
    }

    /// Whether a match says which protocol what follows is of; it is remembered, and left out if that follows.
    fn dependency(&mut self, value: &Value, data: &[u8]) -> bool {
        let (layer, text) = match &value.source {
            Source::Protocol(NFPROTO) if self.family == names::INET => {
                self.network = match data {
                    [2, ..] => Some(&fields::IP),
                    [10, ..] => Some(&fields::IP6),
                    _ => return false,
                };
                (
                    1,
                    format!(
                        "meta nfproto {}",
                        Type::NFPROTO.show(&data[..1], self.interfaces)
                    ),
                )
            }
            Source::Protocol(PROTOCOL)
                if matches!(self.family, names::NETDEV | names::BRIDGE | names::INET) =>
            {
                self.network = match data {
                    [0x08, 0x00, ..] => Some(&fields::IP),
                    [0x86, 0xdd, ..] => Some(&fields::IP6),
                    [0x08, 0x06, ..] => Some(&fields::ARP),
                    _ => return false,
                };
                (
                    1,
                    format!(
                        "meta protocol {}",
                        Type::ETHERTYPE.show(data, self.interfaces)
                    ),
                )
            }
            Source::Payload(0, 96, 16)
                if self.family == names::BRIDGE && matches!(data, [0x81, 0x00] | [0x88, 0xa8]) =>
            {
                self.vlan = true;
                let kind = Type::ETHERTYPE.show(data, self.interfaces);
                (3, format!("ether type {kind}"))
            }
            Source::Payload(0, offset @ (96 | 128), 16)
                if self.family == names::BRIDGE && (*offset == 96 || self.vlan) =>
            {
                self.network = match data {
                    [0x08, 0x00, ..] => Some(&fields::IP),
                    [0x86, 0xdd, ..] => Some(&fields::IP6),
                    [0x08, 0x06, ..] => Some(&fields::ARP),
                    _ => return false,
                };
                (
                    1,
                    format!(
                        "{} type {}",
                        if *offset == 96 { "ether" } else { "vlan" },
                        Type::ETHERTYPE.show(data, self.interfaces)
                    ),
                )
            }
            Source::Protocol(L4PROTO) => {
                let Some(protocol) = data.first() else {
                    return false;
                };
                self.transport = Some(*protocol);
                (
                    2,
                    format!(
                        "meta l4proto {}",
                        Type::PROTOCOL.show(&data[..1], self.interfaces)
                    ),
                )
            }
            Source::Payload(1, offset, 8) => {
                let name = match (self.network.map(|header| header.name), offset) {
                    (Some("ip"), 72) => "ip protocol",
                    (Some("ip6"), 48) => "ip6 nexthdr",
                    _ => return false,
                };
                let Some(protocol) = data.first() else {
                    return false;
                };
                self.implied(1);
                self.transport = Some(*protocol);
                (
                    2,
                    format!(
                        "{name} {}",
                        Type::PROTOCOL.show(&data[..1], self.interfaces)
                    ),
                )
            }
            Source::Named(name, Type::ARPHRD) if name == "meta iiftype" => {
                // ARPHRD_ETHER, in the machine's order.
                if Type::ARPHRD.number(data) != 1 {
                    return false;
                }
                self.link = true;
                (
                    0,
                    format!("meta iiftype {}", Type::ARPHRD.show(data, self.interfaces)),
                )
            }
            _ => return false,
        };
        self.dependencies[layer] = Some(self.statements.len());
        self.last = None;
        self.statement(text);
        true
    }

    fn plain(&mut self, value: &Value, op: u32, operator: &str, data: &[u8]) -> Option<String> {
        // The first bytes of an address are compared for a prefix of whole bytes.
        if let Source::Payload(base, offset, size) = &value.source
            && let Some(header) = self.header(*base, *offset)
            && let Some((name, _, bits, kind)) =
                header.fields.iter().find(|(_, at, _, _)| at == offset)
            && size < bits
            && matches!(*kind, Type::IPV4 | Type::IPV6 | Type::ETHER)
        {
            let mut address = data.to_vec();
            address.resize(*bits as usize / 8, 0);
            let text = format!(
                "{} {name} {operator}{}/{size}",
                header.name,
                kind.show(&address, self.interfaces)
            );
            self.implied(*base);
            return Some(text);
        }
        let (name, kind) = self.left(value, data.len())?;
        // Without its NUL the name's beginning is compared.
        if kind == Type::IFNAME && data.len() < 16 && data.last() != Some(&0) {
            return Some(format!(
                "{name} {operator}\"{}*\"",
                linux::bytes::text(data)
            ));
        }
        let right = kind.show(&own_order(kind, value.swapped, data), self.interfaces);
        // Sets of bits are compared as they are by `==` only.
        let operator = match (kind, op) {
            (Type::TCP_FLAG | Type::CT_STATE | Type::CT_STATUS, 0) => "== ",
            _ => operator,
        };
        Some(format!("{name} {operator}{right}"))
    }

    /// A field of some bits within the bytes that were loaded, and what it is compared with.
    fn masked_field(&self, value: &Value, data: &[u8]) -> Option<(Value, Vec<u8>)> {
        let (Source::Payload(base, offset, _), Some((mask, xor))) = (&value.source, &value.mask)
        else {
            return None;
        };
        let mask = &mask[..mask.len().min(data.len())];
        let whole = 8 * data.len() as u32;
        let (shift, ones) = one_run(Type::HEX.number(mask))?;
        if ones >= whole || xor.iter().any(|byte| *byte != 0) {
            return None;
        }
        let first = (offset + whole).checked_sub(shift + ones)?;
        let header = self.header(*base, first)?;
        let (_, _, _, kind) = header
            .fields
            .iter()
            .find(|(_, at, bits, _)| *at == first && *bits == ones)?;
        let field = Value {
            source: Source::Payload(*base, first, ones),
            mask: None,
            swapped: value.swapped,
        };
        let own = kind.bytes(Type::HEX.number(data) >> shift, data.len());
        Some((field, own))
    }

    fn masked(
        &mut self,
        value: &Value,
        mask: &[u8],
        xor: &[u8],
        op: u32,
        data: &[u8],
    ) -> Option<String> {
        if xor.iter().any(|byte| *byte != 0) || op > 1 {
            return None;
        }
        let mask = &mask[..mask.len().min(data.len())];
        let not = if op == 1 { "!= " } else { "" };
        if let Source::Payload(base, offset, size) = &value.source {
            let header = self.header(*base, *offset)?;
            let (name, _, _, kind) = header
                .fields
                .iter()
                .find(|(_, at, bits, _)| at == offset && bits == size)?;
            let text = match *kind {
                Type::IPV4 | Type::IPV6 => {
                    let bits = linux::bytes::prefix(mask)?;
                    format!(
                        "{} {name} {not}{}/{bits}",
                        header.name,
                        kind.show(data, self.interfaces)
                    )
                }
                Type::TCP_FLAG => {
                    let mask = bits(Type::HEX.number(mask), TCP_FLAGS, ",");
                    let number = Type::HEX.number(data);
                    let right = if number == 0 {
                        "0x0".to_owned()
                    } else {
                        bits(number, TCP_FLAGS, ",")
                    };
                    match (op, number) {
                        (1, 0) => format!("tcp flags {mask}"),
                        _ => format!("tcp flags {not}{right} / {mask}"),
                    }
                }
                _ => return None,
            };
            self.implied(*base);
            return Some(text);
        }
        let (name, kind) = self.left(value, data.len())?;
        let zero = data.iter().all(|byte| *byte == 0);
        let shown = kind.show(mask, self.interfaces);
        Some(match kind {
            Type::CT_STATE | Type::CT_STATUS if zero && op == 1 => format!("{name} {shown}"),
            Type::CT_STATE | Type::CT_STATUS if zero => format!("{name} ! {shown}"),
            _ => {
                let operator = if op == 1 { "!=" } else { "==" };
                format!(
                    "{name} & {shown} {operator} {}",
                    kind.show(data, self.interfaces)
                )
            }
        })
    }

    /// What a key of so many bytes is: one register, or several one behind the other.
    fn key(&mut self, register: u32, length: usize) -> Option<String> {
        let mut at = register;
        let mut out = Vec::new();
        let end = register + (length as u32).div_ceil(4);
        while at < end {
            let value = self.registers.get(&at)?.clone();
            if value.mask.is_some() {
                return None;
            }
            let bytes = match &value.source {
                Source::Payload(_, _, bits) => bits.div_ceil(8),
                _ => length as u32,
            };
            out.push(self.left(&value, length)?.0);
            at += bytes.div_ceil(4).max(1);
        }
        Some(out.join(" . "))
    }

    /// A key that is looked up, and the set: by its name, or its elements if it is the rule's own.
    fn lookup(&mut self, register: u32, set: &str) -> Option<(String, String)> {
        let found = self.sets.iter().find(|known| known.name == set)?;
        let mut at = register;
        let mut out = Vec::new();
        let mut kinds = Vec::new();
        for length in &found.lengths {
            let value = self.registers.get(&at)?.clone();
            if value.mask.is_some() {
                return None;
            }
            let (name, kind) = self.left(&value, *length)?;
            out.push(name);
            kinds.push(kind);
            at += (*length as u32).div_ceil(4).max(1);
        }
        let right = if found.is_anonymous() {
            format!("{{ {} }}", found.elements.join(", "))
        } else {
            format!("@{set}")
        };
        Some((out.join(" . "), right))
    }

    /// What a register is set from.
    fn right(&mut self, register: u32, kind: Type) -> Option<String> {
        let value = self.registers.get(&register)?.clone();
        let left = match &value.source {
            Source::Constant(bytes) => return Some(kind.show(bytes, self.interfaces)),
            _ => self.left(&value, 4)?.0,
        };
        let Some((mask, xor)) = &value.mask else {
            return Some(left);
        };
        let (mask, xor) = (kind.number(mask), kind.number(xor));
        let all = (1_u128 << 32) - 1;
        let show = |number: u128| kind.show(&kind.bytes(number, 4), self.interfaces);
        // (x & ~b) ^ b sets bits, and so on.
        match (mask, xor) {
            (mask, 0) => Some(format!("{left} & {}", show(mask))),
            (mask, xor) if mask == all & !xor => Some(format!("{left} | {}", show(xor))),
            (mask, xor) if mask == all => Some(format!("{left} ^ {}", show(xor))),
            _ => None,
        }
    }

    /// `10.0.0.1-10.0.0.9:80-90`
    fn target(&mut self, addresses: (u32, u32), ports: (u32, u32), kind: Type) -> Option<String> {
        let mut out = String::new();
        let has_ports = ports.0 != 0;
        if addresses.0 != 0 {
            let from = self.right(addresses.0, kind)?;
            let brackets = kind == Type::IPV6 && has_ports;
            let from = if brackets { format!("[{from}]") } else { from };
            out += &from;
            if addresses.1 != addresses.0 && addresses.1 != 0 {
                let to = self.right(addresses.1, kind)?;
                out += &format!("-{}", if brackets { format!("[{to}]") } else { to });
            }
        }
        if has_ports {
            out += &format!(":{}", self.right(ports.0, Type::SERVICE)?);
            if ports.1 != ports.0 && ports.1 != 0 {
                out += &format!("-{}", self.right(ports.1, Type::SERVICE)?);
            }
        }
        Some(out)
    }

    /// `stmt_reject_print`, and what goes without saying.
    fn reject(&mut self, kind: u32, code: u32) -> Option<String> {
        const ICMPX: [&str; 4] = [
            "no-route",
            "port-unreachable",
            "host-unreachable",
            "admin-prohibited",
        ];
        match kind {
            // NFT_REJECT_ICMP_UNREACH, TCP_RST, ICMPX_UNREACH
            1 => Some("reject with tcp reset".into()),
            2 => Some(match code {
                1 => "reject".into(),
                code => format!("reject with icmpx {}", ICMPX.get(code as usize)?),
            }),
            0 => {
                let name = self.network?.name;
                let (icmp, default, kind) = match name {
                    "ip" => ("icmp", 3, Type::ICMP_CODE),
                    "ip6" => ("icmpv6", 4, Type::ICMP6_CODE),
                    _ => return None,
                };
                let is_told = matches!(self.family, names::INET | names::BRIDGE | names::NETDEV);
                if is_told && code != default {
                    self.implied(1);
                }
                Some(if code == default {
                    "reject".into()
                } else {
                    format!(
                        "reject with {icmp} {}",
                        kind.show(&[code as u8], self.interfaces)
                    )
                })
            }
            _ => None,
        }
    }
}

/// The lowest bit and the number of bits of a number whose bits that are set are neighbours.
fn one_run(number: u128) -> Option<(u32, u32)> {
    let (shift, ones) = (number.trailing_zeros(), number.count_ones());
    let is_run = number != 0
        && (number >> shift).count_zeros() + ones == u128::BITS
        && (number >> shift).trailing_ones() == ones;
    is_run.then_some((shift, ones))
}

/// What is compared, in the order that its type has: numbers of the machine's order are turned around to be compared by size.
fn own_order(kind: Type, swapped: bool, data: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    if swapped && !kind.is_big_endian() && !matches!(kind, Type::IFNAME | Type::STRING) {
        data.reverse();
    }
    data
}

/// ` random,persistent`
fn nat_flags(flags: u32) -> String {
    let names: Vec<&str> = [(4, "random"), (16, "fully-random"), (8, "persistent")]
        .iter()
        .filter(|(bit, _)| flags & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    if names.is_empty() {
        String::new()
    } else {
        format!(" {}", names.join(","))
    }
}

fn log(prefix: Option<&str>, target: &LogTarget) -> String {
    const LEVELS: [&str; 9] = [
        "emerg", "alert", "crit", "err", "warn", "notice", "info", "debug", "audit",
    ];
    let mut out = "log".to_owned();
    if let Some(prefix) = prefix {
        out += &format!(" prefix \"{prefix}\"");
    }
    match target {
        LogTarget::Group {
            group,
            snaplen,
            threshold,
        } => {
            out += &format!(" group {group}");
            if *snaplen != 0 {
                out += &format!(" snaplen {snaplen}");
            }
            if *threshold != 0 {
                out += &format!(" queue-threshold {threshold}");
            }
        }
        LogTarget::Level { level, flags } => {
            // LOG_WARNING goes without saying.
            if *level != 4 {
                out += &format!(
                    " level {}",
                    LEVELS.get(*level as usize).unwrap_or(&"unknown")
                );
            }
            if flags & 0x1f == 0x1f || flags & 0x2f == 0x2f {
                out += " flags all";
            } else if *flags != 0 {
                let tcp: Vec<&str> = [(1, "sequence"), (2, "options")]
                    .iter()
                    .filter(|(bit, _)| flags & bit != 0)
                    .map(|(_, name)| *name)
                    .collect();
                if !tcp.is_empty() {
                    out += &format!(" flags tcp {}", tcp.join(","));
                }
                for (bit, name) in [(4, "ip options"), (8, "skuid"), (0x20, "ether")] {
                    if flags & bit != 0 {
                        out += &format!(" flags {name}");
                    }
                }
            }
        }
    }
    out
}

/// A part of an IPv6 extension header, or of an option of IPv4 or TCP (`enum nft_exthdr_op`).
fn header_option(
    op: u32,
    kind: u32,
    offset: u32,
    len: u32,
    present: bool,
) -> Option<(&'static str, Type)> {
    let name = match (op, kind, present) {
        (0, 0, true) => "exthdr hbh",
        (0, 43, true) => "exthdr rt",
        (0, 44, true) => "exthdr frag",
        (0, 60, true) => "exthdr dst",
        (0, 135, true) => "exthdr mh",
        (1, 2, true) => "tcp option maxseg",
        (1, 3, true) => "tcp option window",
        (1, 4, true) => "tcp option sack-perm",
        (1, 5, true) => "tcp option sack",
        (1, 8, true) => "tcp option timestamp",
        (2, 7, true) => "ip option rr",
        (2, 131, true) => "ip option lsrr",
        (2, 137, true) => "ip option ssrr",
        (2, 148, true) => "ip option ra",
        _ => "",
    };
    if !name.is_empty() {
        return Some((name, Type::BOOLEAN));
    }
    if present {
        return None;
    }
    let name = match (op, kind, offset, len) {
        (0, 43, 2, 1) => "rt type",
        (0, 43, 3, 1) => "rt seg-left",
        (0, 44, 4, 4) => "frag id",
        (1, 2, 2, 2) => "tcp option maxseg size",
        (1, 3, 2, 1) => "tcp option window count",
        (1, 8, 2, 4) => "tcp option timestamp tsval",
        (1, 8, 6, 4) => "tcp option timestamp tsecr",
        _ => return None,
    };
    Some((name, Type::NUMBER))
}

/// A key of `meta`: those without the word before them come as they are.
fn meta(key: u32) -> Option<(&'static str, Type)> {
    Some(match key {
        0 => ("meta length", Type::HOST),
        2 => ("meta priority", Type::CLASSID),
        3 => ("meta mark", Type::MARK),
        4 => ("iif", Type::IFINDEX),
        5 => ("oif", Type::IFINDEX),
        6 => ("iifname", Type::IFNAME),
        7 => ("oifname", Type::IFNAME),
        8 => ("meta iiftype", Type::ARPHRD),
        9 => ("meta oiftype", Type::ARPHRD),
        10 => ("meta skuid", Type::UID),
        11 => ("meta skgid", Type::GID),
        12 => ("meta nftrace", Type::HOST),
        13 => ("meta rtclassid", Type::REALM),
        17 => ("meta ibrname", Type::IFNAME),
        18 => ("meta obrname", Type::IFNAME),
        19 => ("meta pkttype", Type::PKTTYPE),
        20 => ("meta cpu", Type::HOST),
        21 => ("iifgroup", Type::DEVGROUP),
        22 => ("oifgroup", Type::DEVGROUP),
        23 => ("meta cgroup", Type::HOST),
        26 => ("meta iifkind", Type::IFNAME),
        27 => ("meta oifkind", Type::IFNAME),
        28 => ("meta ibrpvid", Type::HOST),
        29 => ("meta ibrvproto", Type::ETHERTYPE),
        31 => ("meta day", Type::TIME_DAY),
        32 => ("meta hour", Type::TIME_HOUR),
        33 => ("meta sdif", Type::IFINDEX),
        34 => ("meta sdifname", Type::IFNAME),
        _ => return None,
    })
}

/// A key of `ct`, with its direction.
fn connection(key: u32, direction: Option<u32>) -> Option<(String, Type)> {
    let (name, kind) = match key {
        0 => ("state", Type::CT_STATE),
        1 => ("direction", Type::CT_DIR),
        2 => ("status", Type::CT_STATUS),
        3 => ("mark", Type::MARK),
        5 => ("expiration", Type::TIME),
        6 => ("helper", Type::STRING),
        7 => ("l3proto", Type::NFPROTO),
        10 => ("protocol", Type::PROTOCOL),
        11 => ("proto-src", Type::SERVICE),
        12 => ("proto-dst", Type::SERVICE),
        14 => ("packets", Type::HOST),
        15 => ("bytes", Type::HOST),
        16 => ("avgpkt", Type::HOST),
        17 => ("zone", Type::HOST),
        19 => ("ip saddr", Type::IPV4),
        20 => ("ip daddr", Type::IPV4),
        21 => ("ip6 saddr", Type::IPV6),
        22 => ("ip6 daddr", Type::IPV6),
        23 => ("id", Type::HOST),
        _ => return None,
    };
    let direction = match direction {
        Some(0) => " original",
        Some(_) => " reply",
        None => "",
    };
    Some((format!("ct{direction} {name}"), kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(exprs: &[Expr], family: u8) -> Option<String> {
        text(exprs, family, false, &[], &BTreeMap::new())
    }

    #[test]
    fn what_a_header_implies_is_left_out() {
        let l4 = [
            Expr::Meta {
                key: L4PROTO,
                dreg: 4,
            },
            Expr::Cmp {
                op: 0,
                sreg: 4,
                data: vec![6],
            },
        ];
        let port = [
            Expr::Payload {
                base: 2,
                offset: 2,
                len: 2,
                dreg: 4,
            },
            Expr::Cmp {
                op: 0,
                sreg: 4,
                data: vec![0, 22],
            },
        ];
        let counter = [Expr::Counter {
            packets: 1,
            bytes: 2,
        }];
        let rule = [&l4[..], &port].concat();
        assert_eq!(shown(&rule, names::INET).as_deref(), Some("tcp dport 22"));
        assert_eq!(shown(&l4, names::INET).as_deref(), Some("meta l4proto tcp"));
        let rule = [&l4[..], &counter, &port].concat();
        assert_eq!(
            shown(&rule, names::INET).as_deref(),
            Some("meta l4proto tcp counter packets 1 bytes 2 tcp dport 22")
        );
        assert_eq!(shown(&port, names::INET).as_deref(), Some("th dport 22"));
    }

    #[test]
    fn prefixes_and_ranges() {
        let rule = [
            Expr::Payload {
                base: 1,
                offset: 12,
                len: 1,
                dreg: 4,
            },
            Expr::Cmp {
                op: 0,
                sreg: 4,
                data: vec![10],
            },
        ];
        assert_eq!(
            shown(&rule, names::IPV4).as_deref(),
            Some("ip saddr 10.0.0.0/8")
        );
        let rule = [
            Expr::Payload {
                base: 1,
                offset: 12,
                len: 4,
                dreg: 4,
            },
            Expr::Cmp {
                op: 5,
                sreg: 4,
                data: vec![10, 0, 0, 1],
            },
            Expr::Cmp {
                op: 3,
                sreg: 4,
                data: vec![10, 0, 0, 9],
            },
            Expr::Verdict(Verdict {
                code: 0,
                chain: None,
            }),
        ];
        assert_eq!(
            shown(&rule, names::IPV4).as_deref(),
            Some("ip saddr 10.0.0.1-10.0.0.9 drop")
        );
    }

    #[test]
    fn what_is_not_certain_is_no_text() {
        let other = Expr::Other {
            kind: "xt".into(),
            data: vec![1],
        };
        assert_eq!(shown(&[other], names::IPV4), None);
        let unset = Expr::Cmp {
            op: 0,
            sreg: 4,
            data: vec![1],
        };
        assert_eq!(shown(&[unset], names::IPV4), None);
    }
}

//! nf_tables: what `nft -a list ruleset` shows (net/netfilter/nf_tables_api.c).

pub mod expr;
mod fields;
mod rule;
mod sets;
mod text;
mod types;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kernel::{nft_base_chain, nft_chain, nft_rule, nft_table, sym};
use kstruct::{Fault, FaultKind, Memory, Ptr, View};
use linux::Faults;
use serde::Serialize;

use crate::names;
use crate::net::{self, Namespace};
use expr::Expr;
use linux::symbols::Names;
pub use sets::Set;

/// A table.
#[derive(Debug, Serialize)]
pub struct Table {
    /// The namespace's inode number.
    pub netns: u64,
    /// `ip`, `inet`
    pub family: String,
    pub name: String,
    pub handle: u64,
    /// `dormant`, `owner`
    pub flags: Vec<&'static str>,
    /// The netlink port of the process that it belongs to.
    pub owner: Option<u32>,
    pub comment: Option<String>,
    /// The `nft_table`.
    #[serde(serialize_with = "linux::app::hex")]
    pub address: u64,
    pub objects: Vec<Object>,
    pub sets: Vec<Set>,
    pub flowtables: Vec<Flowtable>,
    pub chains: Vec<Chain>,
    #[serde(skip)]
    family_number: u8,
}

#[derive(Debug, Serialize)]
pub struct Chain {
    pub name: String,
    pub handle: u64,
    pub comment: Option<String>,
    /// Of chains at a hook.
    pub base: Option<Base>,
    pub rules: Vec<Rule>,
    #[serde(skip)]
    is_binding: bool,
}

/// What a chain at a hook has besides.
#[derive(Debug, Serialize)]
pub struct Base {
    /// `filter`, `nat`, `route`
    pub kind: String,
    pub hook: String,
    pub priority: i32,
    pub policy: &'static str,
    pub devices: Vec<String>,
    /// What came to the end of it, if it counts that.
    pub counter: Option<(u64, u64)>,
}

#[derive(Debug, Serialize)]
pub struct Rule {
    pub handle: u64,
    /// As `nft list ruleset` writes it; `null` where its expressions can't be read back with certainty.
    pub text: Option<String>,
    /// As `nft --debug=netlink` writes them.
    pub expressions: Vec<String>,
    pub comment: Option<String>,
    /// The `nft_rule`.
    #[serde(serialize_with = "linux::app::hex")]
    pub address: u64,
}

/// A named counter, quota, limit and so on.
#[derive(Debug, Serialize)]
pub struct Object {
    /// `counter`
    pub kind: String,
    pub name: String,
    pub handle: u64,
    pub comment: Option<String>,
    /// Its state as nft writes it, one string for each line.
    pub state: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct Flowtable {
    pub name: String,
    pub handle: u64,
    pub priority: i32,
    pub devices: Vec<String>,
    pub flags: Vec<&'static str>,
}

/// Jiffies as milliseconds.
pub fn milliseconds(k: &Memory, jiffies: u64) -> Result<u64, Fault> {
    let hz = linux::time::hz(k)?.unwrap_or(1000).max(1);
    Ok(jiffies.saturating_mul(1000) / hz)
}

/// All tables of some namespaces. `None` if the module isn't loaded.
pub fn tables<'m>(
    k: &'m Memory,
    namespaces: &[Namespace<'m>],
    functions: &Names<'m>,
    faults: &mut Faults,
) -> Option<Vec<Table>> {
    let id = match k.get(sym::nf_tables_net_id) {
        Err(Fault {
            kind: FaultKind::NotLoaded(_),
            ..
        }) => return None,
        id => faults.check("nf_tables_net_id", id)?,
    };
    let mut out = Vec::new();
    for namespace in namespaces {
        let what = format_args!("nf_tables of namespace {}", namespace.inode);
        let own = net::generic::<kernel::nftables_pernet<'_>>(namespace.net, id);
        let own = own.and_then(|own| own.map(Ptr::deref).transpose());
        let Some(Some(own)) = faults.check(what, own) else {
            continue;
        };
        let interfaces = interfaces(*namespace);
        for table in own.tables().entries(nft_table::list) {
            let Some(table) = faults.check(what, table) else {
                continue;
            };
            let mut reader = Reader {
                k,
                namespace: *namespace,
                interfaces: &interfaces,
                functions,
                faults: &mut *faults,
                what: format!("nf_tables of namespace {}", namespace.inode),
                is_changing: is_changing(own),
            };
            out.extend(reader.table(table));
        }
    }
    Some(out)
}

/// Whether somebody has the lock under which tables are changed: they may be half changed.
fn is_changing(own: kernel::nftables_pernet<'_>) -> bool {
    #[cfg(all(
        kernel_has = "nftables_pernet.commit_mutex",
        kernel_has = "mutex.owner"
    ))]
    {
        own.commit_mutex().owner().value() != 0
    }
    #[cfg(not(all(
        kernel_has = "nftables_pernet.commit_mutex",
        kernel_has = "mutex.owner"
    )))]
    {
        let _ = own;
        true
    }
}

/// Names of a namespace's interfaces by number.
fn interfaces(namespace: Namespace<'_>) -> BTreeMap<u32, String> {
    let devices = namespace
        .net
        .dev_base_head()
        .entries(kernel::net_device::dev_list);
    // Who lists interfaces counts what can't be read of them.
    devices
        .flatten()
        .map(|device| (device.ifindex() as u32, device.name().to_string()))
        .collect()
}

struct Reader<'a, 'm> {
    k: &'m Memory,
    namespace: Namespace<'m>,
    interfaces: &'a BTreeMap<u32, String>,
    functions: &'a Names<'m>,
    faults: &'a mut Faults,
    what: String,
    /// Whether the tables may be half changed.
    is_changing: bool,
}

/// What userspace keeps with an object: type, length, value (`nftnl_udata`). `kind` is the one with a comment.
fn user_data(bytes: &[u8], kind: u8) -> Option<String> {
    let mut rest = bytes;
    while let [found, length, values @ ..] = rest {
        let value = values.get(..usize::from(*length))?;
        if *found == kind {
            return Some(linux::bytes::text(value));
        }
        rest = &values[value.len()..];
    }
    None
}

impl<'m> Reader<'_, 'm> {
    /// Whether the present generation has something, by its mask of generations that have it not (`nft_is_active`).
    fn is_active(&self, mask: u64) -> bool {
        mask >> self.namespace.net.nft().gencursor() & 1 == 0
    }

    fn comment(&mut self, data: Ptr<'m, u8>, length: usize, kind: u8) -> Option<String> {
        if length == 0 || data.is_null() {
            return None;
        }
        let bytes = self.k.bytes(data.addr(), length.min(4096));
        user_data(self.faults.check(&self.what, bytes)?, kind)
    }

    fn table(&mut self, table: nft_table<'m>) -> Option<Table> {
        if !self.is_active(table.genmask() as u64) {
            return None;
        }
        let name = table.name().read();
        let name = self.faults.check(&self.what, name)?.to_string();
        let family = table.family() as u8;
        self.what = format!(
            "{} table {name} of namespace {}",
            names::family(family),
            self.namespace.inode
        );
        let flags = table.flags() as u32;
        let mut sets = Vec::new();
        for set in table.sets().entries(kernel::nft_set::list) {
            let Some(set) = self.faults.check(&self.what, set) else {
                continue;
            };
            if self.is_active(set.genmask() as u64) {
                let set = sets::set(set, self);
                sets.extend(self.faults.check(&self.what, set));
            }
        }
        let mut objects = Vec::new();
        for object in table.objects().entries(kernel::nft_object::list) {
            let Some(object) = self.faults.check(&self.what, object) else {
                continue;
            };
            if self.is_active(object.genmask() as u64) {
                let object = self.object(object);
                objects.extend(self.faults.check(&self.what, object));
            }
        }
        let mut flowtables = Vec::new();
        for flowtable in table.flowtables().entries(kernel::nft_flowtable::list) {
            let Some(flowtable) = self.faults.check(&self.what, flowtable) else {
                continue;
            };
            if self.is_active(flowtable.genmask() as u64) {
                let flowtable = flow_table(flowtable);
                flowtables.extend(self.faults.check(&self.what, flowtable));
            }
        }
        let mut chains = Vec::new();
        for chain in table.chains().entries(nft_chain::list) {
            let Some(chain) = self.faults.check(&self.what, chain) else {
                continue;
            };
            if self.is_active(chain.genmask() as u64) {
                let chain = self.chain(chain, family, &sets);
                chains.extend(self.faults.check(&self.what, chain));
            }
        }
        #[cfg(kernel_has = "nft_table.udata")]
        let comment = self.comment(table.udata().cast(), table.udlen().into(), 0);
        #[cfg(not(kernel_has = "nft_table.udata"))]
        let comment = None;
        #[cfg(kernel_has = "nft_table.nlpid")]
        let owner = (flags & 2 != 0).then(|| table.nlpid());
        #[cfg(not(kernel_has = "nft_table.nlpid"))]
        let owner = None;
        let names = [(1, "dormant"), (2, "owner"), (4, "persist")];
        Some(Table {
            netns: self.namespace.inode,
            family: names::family(family),
            name,
            handle: table.handle(),
            flags: names
                .iter()
                .filter(|(bit, _)| flags & bit != 0)
                .map(|(_, name)| *name)
                .collect(),
            owner,
            comment,
            address: table.addr(),
            objects,
            sets,
            flowtables,
            chains,
            family_number: family,
        })
    }

    fn chain(&mut self, chain: nft_chain<'m>, family: u8, sets: &[Set]) -> Result<Chain, Fault> {
        /// `NFT_CHAIN_BASE`, and `NFT_CHAIN_BINDING` of those that a rule has for itself.
        const BASE: u32 = 1;
        const BINDING: u32 = 4;
        let flags = chain.flags() as u32;
        let base = if flags & BASE != 0 {
            Some(base(chain.container_of(nft_base_chain::chain)?, family)?)
        } else {
            None
        };
        let mut rules = Vec::new();
        for rule in chain.rules().entries(nft_rule::list) {
            let Some(rule) = self.faults.check(&self.what, rule) else {
                continue;
            };
            if self.is_active(rule.genmask() as u64) {
                rules.push(self.rule(rule, family, base.as_ref(), sets));
            }
        }
        #[cfg(kernel_has = "nft_chain.udata")]
        let comment = self.comment(chain.udata().cast(), chain.udlen().into(), 0);
        #[cfg(not(kernel_has = "nft_chain.udata"))]
        let comment = None;
        Ok(Chain {
            name: chain.name().read()?.to_string(),
            handle: chain.handle(),
            comment,
            base,
            rules,
            is_binding: flags & BINDING != 0,
        })
    }

    fn rule(&mut self, rule: nft_rule<'m>, family: u8, base: Option<&Base>, sets: &[Set]) -> Rule {
        let start = rule.data().addr();
        let length = u64::from(rule.dlen() as u32);
        let (exprs, fault) = expr::all(self.k, start, length, self.functions);
        if let Some(fault) = fault {
            self.faults.add(&self.what, fault);
        }
        let comment = if rule.udata() as u32 != 0 {
            // struct nft_userdata: the length less one, then that.
            let place = self.k.wrap(start.wrapping_add(length));
            let length = self.k.bytes(place, 1).map(|byte| usize::from(byte[0]) + 1);
            let length = self.faults.check(&self.what, length).unwrap_or(0);
            self.comment(Ptr::new(self.k, place.wrapping_add(1)), length, 0)
        } else {
            None
        };
        let is_route = base.is_some_and(|base| base.kind == "route");
        let text = if fault.is_none() {
            rule::text(&exprs, family, is_route, sets, self.interfaces)
        } else {
            None
        };
        Rule {
            handle: u64::from(rule.handle()),
            text,
            expressions: exprs.iter().map(Expr::debug).collect(),
            comment,
            address: rule.addr(),
        }
    }

    fn object(&mut self, object: kernel::nft_object<'m>) -> Result<Object, Fault> {
        let kind = object.ops().deref()?.type_().deref()?.type_();
        #[cfg(kernel_has = "nft_object.udata")]
        let comment = self.comment(object.udata().cast(), object.udlen().into(), 0);
        #[cfg(not(kernel_has = "nft_object.udata"))]
        let comment = None;
        let (name, state) = object_state(object, kind)?;
        Ok(Object {
            kind: name,
            name: object.key().name().read()?.to_string(),
            handle: object.handle(),
            comment,
            state,
        })
    }
}

/// The private part of an object.
fn private<'m, T: View<'m>>(object: kernel::nft_object<'m>) -> Result<T, Fault> {
    Ptr::<T>::new(object.memory(), object.data().addr()).deref()
}

/// What an object's kind (`NFT_OBJECT_*`) is called, and what it has to say.
fn object_state(object: kernel::nft_object<'_>, kind: u32) -> Result<(String, Vec<String>), Fault> {
    Ok(match kind {
        1 => {
            let own: kernel::nft_counter_percpu_priv<'_> = private(object)?;
            let (packets, bytes) = expr::counter(own.counter())?;
            (
                "counter".into(),
                vec![format!("packets {packets} bytes {bytes}")],
            )
        }
        #[cfg(kernel_has = "nft_quota.consumed")]
        2 => {
            let own: kernel::nft_quota<'_> = private(object)?;
            let over = if own.flags() & 1 != 0 { "over " } else { "" };
            let (size, unit) = text::bytes_unit(own.quota().value().cast_unsigned());
            let mut line = format!("{over}{size} {unit}");
            let used = own.consumed().deref()?.value().cast_unsigned();
            if used != 0 {
                let (size, unit) = text::bytes_unit(used);
                let _ = write!(line, " used {size} {unit}");
            }
            ("quota".into(), vec![line])
        }
        #[cfg(kernel_has = "nft_ct_helper_obj.l4proto")]
        3 => {
            let own: kernel::nft_ct_helper_obj<'_> = private(object)?;
            let (four, six) = (
                own.helper4().deref_or_null()?,
                own.helper6().deref_or_null()?,
            );
            let name = four
                .or(six)
                .map_or_else(String::new, |helper| helper.name().to_string());
            let l3 = match (four, six) {
                (Some(_), Some(_)) => "inet",
                (None, Some(_)) => "ip6",
                _ => "ip",
            };
            let l4 = names::protocol(own.l4proto().into()).unwrap_or("unknown");
            (
                "ct helper".into(),
                vec![
                    format!("type \"{name}\" protocol {l4}"),
                    format!("l3proto {l3}"),
                ],
            )
        }
        #[cfg(kernel_has = "nft_limit_priv.rate")]
        4 => {
            let own: kernel::nft_limit_priv<'_> = private(object)?;
            // Of packets there is the cost of one behind it.
            let is_bytes = object.ops().deref()?.size() as usize <= kernel::nft_limit_priv::SIZE;
            let limit = Expr::Limit {
                rate: own.rate(),
                unit: own.nsecs() / 1_000_000_000,
                burst: own.burst(),
                is_bytes,
                over: own.invert(),
            };
            let line = text::limit(&limit).unwrap_or_default();
            (
                "limit".into(),
                vec![line.trim_start_matches("limit ").to_owned()],
            )
        }
        #[cfg(kernel_has = "nft_synproxy.info.mss")]
        10 => {
            let own: kernel::nft_synproxy<'_> = private(object)?;
            let (mss, wscale, options) =
                (own.info().mss(), own.info().wscale(), own.info().options());
            let mut lines = Vec::new();
            if options & 1 != 0 {
                lines.push(format!("mss {mss}"));
            }
            if options & 2 != 0 {
                lines.push(format!("wscale {wscale}"));
            }
            let flags = [(8, "timestamp"), (4, "sack-perm")];
            let flags: Vec<&str> = flags
                .iter()
                .filter(|(bit, _)| options & bit != 0)
                .map(|(_, name)| *name)
                .collect();
            lines.push(flags.join(" "));
            ("synproxy".into(), lines)
        }
        #[cfg(kernel_has = "nft_ct_expect_obj.dport")]
        9 => {
            let own: kernel::nft_ct_expect_obj<'_> = private(object)?;
            let l4 = names::protocol(own.l4proto().into()).unwrap_or("unknown");
            let dport = linux::bytes::Bytes(own.bytes())
                .be16(kstruct::offset_of!(kernel::nft_ct_expect_obj, dport));
            let l3 = names::family(own.l3num() as u8);
            let lines = vec![
                format!("protocol {l4}"),
                format!("dport {}", dport.unwrap_or(0)),
                format!("timeout {}", text::time(own.timeout().into())),
                format!("size {}", own.size()),
                format!("l3proto {l3}"),
            ];
            ("ct expectation".into(), lines)
        }
        other => {
            let names = [
                "",
                "counter",
                "quota",
                "ct helper",
                "limit",
                "connlimit",
                "tunnel",
                "ct timeout",
                "secmark",
                "ct expectation",
                "synproxy",
            ];
            let name = names
                .get(other as usize)
                .map_or_else(|| other.to_string(), |name| (*name).to_owned());
            let size = (object.ops().deref()?.size() as usize).min(4096);
            let bytes = object.memory().bytes(object.data().addr(), size)?;
            (name, vec![format!("# {}", linux::bytes::hex(bytes))])
        }
    })
}

/// The names of the interfaces that something hooks into.
fn hook_devices(list: kernel::list_head<'_>) -> Result<Vec<String>, Fault> {
    list.entries(kernel::nft_hook::list)
        .map(|hook| {
            // A name of its own from 6.16 on.
            #[cfg(kernel_has = "nft_hook.ifname")]
            {
                Ok(hook?.ifname().to_string())
            }
            #[cfg(not(kernel_has = "nft_hook.ifname"))]
            {
                Ok(hook?.ops().dev().deref()?.name().to_string())
            }
        })
        .collect()
}

fn base(base: nft_base_chain<'_>, family: u8) -> Result<Base, Fault> {
    let ops = base.ops();
    let kind = base.type_().deref()?.name().read()?.to_string();
    let mut devices = hook_devices(base.hook_list())?;
    devices.sort();
    let counter = if base.stats().is_null() {
        None
    } else {
        let mut sum = (0_u64, 0_u64);
        for cpu in linux::cpu::possible(base.memory())? {
            let own = base.stats().on_cpu(cpu)?.deref()?;
            sum.0 = sum.0.wrapping_add(own.pkts());
            sum.1 = sum.1.wrapping_add(own.bytes());
        }
        Some(sum)
    };
    Ok(Base {
        kind,
        hook: names::hook(family, ops.hooknum()),
        priority: ops.priority(),
        policy: if base.policy() == 0 { "drop" } else { "accept" },
        devices,
        counter,
    })
}

fn flow_table(table: kernel::nft_flowtable<'_>) -> Result<Flowtable, Fault> {
    let mut devices = hook_devices(table.hook_list())?;
    devices.sort();
    let flags = u32::from(table.data().flags());
    let names = [(1, "offload"), (2, "counter")];
    Ok(Flowtable {
        name: table.name().read()?.to_string(),
        handle: table.handle(),
        priority: table.data().priority(),
        devices,
        flags: names
            .iter()
            .filter(|(bit, _)| flags & bit != 0)
            .map(|(_, name)| *name)
            .collect(),
    })
}

impl Table {
    /// As `nft -a list ruleset` writes it. `expressions`: rules as their expressions.
    pub fn write(&self, expressions: bool, out: &mut String) {
        let _ = writeln!(
            out,
            "table {} {} {{ # handle {}",
            self.family, self.name, self.handle
        );
        let mut delimiter = "";
        if !self.flags.is_empty() {
            let _ = writeln!(out, "\tflags {}", self.flags.join(","));
            delimiter = "\n";
        }
        if let Some(comment) = &self.comment {
            let _ = writeln!(out, "\tcomment \"{comment}\"");
        }
        for object in &self.objects {
            out.push_str(delimiter);
            let _ = writeln!(
                out,
                "\t{} {} {{ # handle {}",
                object.kind, object.name, object.handle
            );
            if let Some(comment) = &object.comment {
                let _ = writeln!(out, "\t\tcomment \"{comment}\"");
            }
            for line in &object.state {
                let _ = writeln!(out, "\t\t{line}");
            }
            out.push_str("\t}\n");
            delimiter = "\n";
        }
        for set in self.sets.iter().filter(|set| !set.is_anonymous()) {
            out.push_str(delimiter);
            set.write(out);
            delimiter = "\n";
        }
        for flowtable in &self.flowtables {
            out.push_str(delimiter);
            flowtable.write(out);
            delimiter = "\n";
        }
        for chain in self.chains.iter().filter(|chain| !chain.is_binding) {
            out.push_str(delimiter);
            chain.write(self.family_number, expressions, out);
            delimiter = "\n";
        }
        out.push_str("}\n");
    }
}

impl Flowtable {
    fn write(&self, out: &mut String) {
        let priority = text::priority(names::NETDEV, "ingress", self.priority);
        let _ = writeln!(out, "\tflowtable {} {{ # handle {}", self.name, self.handle);
        let _ = writeln!(out, "\t\thook ingress priority {priority}");
        let _ = writeln!(out, "\t\tdevices = {{ {} }}", self.devices.join(", "));
        if self.flags.contains(&"offload") {
            out.push_str("\t\tflags offload\n");
        }
        if self.flags.contains(&"counter") {
            out.push_str("\t\tcounter\n");
        }
        out.push_str("\t}\n");
    }
}

impl Chain {
    fn write(&self, family: u8, expressions: bool, out: &mut String) {
        let _ = writeln!(out, "\tchain {} {{ # handle {}", self.name, self.handle);
        if let Some(comment) = &self.comment {
            let _ = writeln!(out, "\t\tcomment \"{comment}\"");
        }
        if let Some(base) = &self.base {
            let devices = match base.devices.as_slice() {
                [] => String::new(),
                [one] => format!(" device \"{one}\""),
                many => format!(" devices = {{ {} }}", many.join(", ")),
            };
            let priority = text::priority(family, &base.hook, base.priority);
            let _ = writeln!(
                out,
                "\t\ttype {} hook {}{devices} priority {priority}; policy {};",
                base.kind, base.hook, base.policy
            );
            if let Some((packets, bytes)) = base.counter {
                let _ = writeln!(out, "\t\tcounter packets {packets} bytes {bytes}");
            }
        }
        for rule in &self.rules {
            match &rule.text {
                Some(text) if !expressions => {
                    let comment = rule
                        .comment
                        .as_ref()
                        .map_or_else(String::new, |comment| format!(" comment \"{comment}\""));
                    let _ = writeln!(out, "\t\t{text}{comment} # handle {}", rule.handle);
                }
                _ => {
                    let _ = writeln!(out, "\t\t# handle {}", rule.handle);
                    for line in &rule.expressions {
                        let _ = writeln!(out, "\t\t  {line}");
                    }
                }
            }
        }
        out.push_str("\t}\n");
    }
}

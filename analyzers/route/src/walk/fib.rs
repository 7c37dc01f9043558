//! IPv4 routing tables (net/ipv4/fib_trie.c): a compressed trie of addresses for each table, whose leaves have lists of routes.

use std::collections::{BTreeMap, HashMap, HashSet};

#[cfg(kernel_has = "sym:fib_info_hash")]
use kernel::sym;
use kernel::{fib_alias, fib_info, fib_table, key_vector, nexthop, tnode};
use kstruct::{Fault, Memory, Ptr, View as _, offset_of};
use linux::Faults;

use super::{Context, hop, inconsistent, ipv4, prefix4};
use crate::model::{Family, Hop, Route};
use crate::names;

/// `FIB_TABLE_HASHSZ`, include/net/ip_fib.h.
const TABLES: usize = if cfg!(kernel_has = "netns_ipv4.rules_ops") {
    256
} else {
    2
};
/// `KEYLENGTH`: bits of an address, and the position of the root.
const BITS: u8 = 32;

/// A namespace's tables in the order in which the kernel lists them; one that is on no list, but known by a pointer, is behind them.
pub fn tables<'m>(context: &mut Context<'m, '_>) -> Vec<fib_table<'m>> {
    const WHAT: &str = "IPv4 routing tables";
    let mut found: Vec<fib_table<'_>> = Vec::new();
    let hash = context.net.ipv4().fib_table_hash().array(TABLES);
    let lists = context.faults.check(WHAT, hash);
    let lists = lists.iter().flat_map(|hash| hash.iter().enumerate());
    for (number, head) in lists {
        for table in head.entries(fib_table::tb_hlist) {
            let Some(table) = context.faults.check(WHAT, table) else {
                continue;
            };
            let is_known = found.iter().any(|known| known.addr() == table.addr());
            // A namespace without rules has two lists, of which the first is table `local`'s.
            let is_here = TABLES != 256 || table.tb_id() as usize % TABLES == number;
            if is_known || !is_here {
                context.faults.add(WHAT, inconsistent(table.addr()));
            }
            if is_known {
                // What is behind it was found with it.
                break;
            }
            found.push(table);
        }
    }
    #[cfg(all(
        kernel_has = "netns_ipv4.fib_main",
        kernel_has = "netns_ipv4.fib_default"
    ))]
    {
        let ipv4 = context.net.ipv4();
        for (number, pointer) in [(254, ipv4.fib_main()), (253, ipv4.fib_default())] {
            super::add_pointed(context.faults, &mut found, number, pointer);
        }
    }
    found
}

#[cfg(all(
    kernel_has = "netns_ipv4.fib_main",
    kernel_has = "netns_ipv4.fib_default"
))]
impl super::Table for fib_table<'_> {
    const ALL: &'static str = "IPv4 routing tables";
    const LOST: &'static str = "IPv4 routing table that is on no list";

    fn number(self) -> u32 {
        self.tb_id()
    }
}

/// What is known of a namespace's tables.
pub struct Known {
    /// Their numbers.
    pub numbers: HashSet<u32>,
    /// How many routes refer to each `fib_info`, by its address, if all of them were read.
    pub references: Option<HashMap<u64, i32>>,
}

/// How many of the routes that were met refer to each `fib_info`. Tables that share a trie had the same ones.
pub fn references(context: &mut Context<'_, '_>) -> HashMap<u64, i32> {
    context.aliases.sort_unstable();
    context.aliases.dedup();
    let mut found: HashMap<u64, i32> = HashMap::new();
    for (_, info) in &context.aliases {
        let count = found.entry(*info).or_default();
        *count = count.saturating_add(1);
    }
    found
}

/// Each route's `fib_info` names its namespace and its table (`fib_create_info`, net/ipv4/fib_semantics.c), and a table stays as long as its
/// namespace: one that was not found is on no list any more. A `fib_info` counts its routes (`fib_treeref`): of those that were not found the
/// trie has lost a part that it doesn't count. Of the tables that were found, what is known is given with the namespace's address.
#[cfg(all(
    kernel_has = "sym:fib_info_hash",
    kernel_has = "sym:fib_info_hash_size",
    kernel_has = "fib_info.fib_tb_id"
))]
pub fn find_lost(k: &Memory, known: &HashMap<u64, Known>, faults: &mut Faults) {
    const WHAT: &str = "fib_info_hash";
    /// `RT_TABLE_MAIN`, which 0 (`RT_TABLE_UNSPEC`) means, too (`fib_new_table`).
    const MAIN: u32 = 254;
    // Nobody asked for IPv4's tables.
    if known.is_empty() {
        return;
    }
    let size = faults.check("fib_info_hash_size", k.get(sym::fib_info_hash_size));
    let lists = size.map(|size| {
        k.get(sym::fib_info_hash)?
            .array(usize::try_from(size).unwrap_or(usize::MAX))
    });
    let Some(lists) = lists.and_then(|lists| faults.check(WHAT, lists)) else {
        return;
    };
    let mut lost = HashSet::new();
    // How many routes of each namespace, and a `fib_info` of one.
    let mut missing = BTreeMap::new();
    for info in lists
        .iter()
        .flat_map(|list| list.entries(fib_info::fib_hash))
    {
        let Some(info) = faults.check(WHAT, info) else {
            continue;
        };
        let net = info.fib_net().addr();
        let number = match info.fib_tb_id() {
            0 => MAIN,
            number => number,
        };
        let Some(known) = known.get(&net) else {
            continue;
        };
        if known.numbers.contains(&number) {
            #[cfg(kernel_has = "fib_info.fib_treeref.refs")]
            let counted = info.fib_treeref().value();
            #[cfg(not(kernel_has = "fib_info.fib_treeref.refs"))]
            let counted = info.fib_treeref();
            let found = (known.references.as_ref())
                .map(|found| found.get(&info.addr()).copied().unwrap_or(0));
            if let Some(found) = found.filter(|found| *found < counted) {
                let (count, _) = missing.entry(net).or_insert((0, info.addr()));
                *count += i64::from(counted) - i64::from(found);
            }
        } else if lost.insert((net, number)) {
            faults.add(
                format_args!(
                    "IPv4 routing table {number} that is on no list, of which there are routes"
                ),
                inconsistent(info.addr()),
            );
        }
    }
    for (count, info) in missing.into_values() {
        faults.add(
            format_args!("IPv4 routes that are in no table ({count})"),
            inconsistent(info),
        );
    }
}

/// Nobody knows where the hash table is.
#[cfg(not(all(
    kernel_has = "sym:fib_info_hash",
    kernel_has = "sym:fib_info_hash_size",
    kernel_has = "fib_info.fib_tb_id"
)))]
pub fn find_lost(_: &Memory, _: &HashMap<u64, Known>, _: &mut Faults) {}

/// The root of a table's trie. While a namespace has no rules of its own, table `local` has that of table `main`.
pub fn root(table: fib_table<'_>) -> Result<key_vector<'_>, Fault> {
    table.tb_data().cast::<key_vector<'_>>().deref()
}

/// What surrounds a node that isn't a trie's root: `tn_info`.
pub fn info(node: key_vector<'_>) -> Result<tnode<'_>, Fault> {
    let start = node.addr().wrapping_sub(offset_of!(tnode, kv) as u64);
    tnode::at(node.memory(), start)
}

/// Whether a node is the root, has children, or is a leaf.
pub fn is_inner(node: key_vector<'_>) -> bool {
    node.bits() != 0
}

/// The children of a node that are there, with their place, in order. Those that contradict their place are faults: so each node
/// has one way to it, and a walk ends.
pub fn children<'m>(
    node: key_vector<'m>,
    faults: &mut Faults,
) -> Vec<(u32, key_vector<'m>, tnode<'m>)> {
    const WHAT: &str = "IPv4 routing trie";
    /// What has more bad children is no node, and may seem to have as many as there is memory.
    const MOST_BAD: u32 = 1000;
    let is_root = node.pos() >= BITS;
    let bits = if is_root { 0 } else { node.bits() };
    let mut found = Vec::new();
    let mut bad = 0;
    if u32::from(bits) + u32::from(node.pos()) > 32 {
        faults.add(WHAT, inconsistent(node.addr()));
        return found;
    }
    let Some(slots) = faults.check(WHAT, node.tnode().array(1 << bits)) else {
        return found;
    };
    let mut empty = 0;
    for (index, slot) in slots.iter().enumerate() {
        if slot.is_null() {
            empty += 1;
            continue;
        }
        if bad > MOST_BAD {
            break;
        }
        bad += 1;
        let Some(child) = faults.check(WHAT, slot.deref()) else {
            continue;
        };
        let Some(around) = faults.check(WHAT, info(child)) else {
            continue;
        };
        let place = (child.key() ^ node.key())
            .checked_shr(node.pos().into())
            .unwrap_or(0);
        let is_lower = u32::from(child.pos()) + u32::from(child.bits()) <= node.pos().into();
        if around.parent().addr() == node.addr() && place as usize == index && is_lower {
            bad -= 1;
            found.push((index as u32, child, around));
        } else {
            faults.add(WHAT, inconsistent(child.addr()));
        }
    }
    // A node counts its children that aren't there (`put_child`); the root has one, or none.
    let counted = (!is_root).then(|| info(node)).and_then(Result::ok);
    if bad <= MOST_BAD && counted.is_some_and(|around| around.empty_children() != empty) {
        faults.add(
            "children of a node of the IPv4 routing trie",
            inconsistent(node.addr()),
        );
    }
    found
}

/// A trie's leaves in the order of their addresses.
fn leaves<'m>(node: key_vector<'m>, faults: &mut Faults, out: &mut Vec<key_vector<'m>>) {
    // No deeper than there are bits: positions only fall.
    for (_, child, _) in children(node, faults) {
        if is_inner(child) {
            leaves(child, faults, out);
        } else {
            out.push(child);
        }
    }
}

/// The routes of a leaf.
pub fn aliases<'m>(context: &mut Context<'m, '_>, leaf: key_vector<'m>) -> Vec<fib_alias<'m>> {
    const WHAT: &str = "routes of a leaf";
    let list = leaf.leaf();
    // The last route takes its leaf along (`fib_remove_alias`).
    if list.first().is_null() {
        context.faults.add(WHAT, inconsistent(leaf.addr()));
    }
    let mut found = Vec::new();
    for alias in list.entries(fib_alias::fa_list) {
        let Some(alias) = context.faults.check(WHAT, alias) else {
            continue;
        };
        context.aliases.push((alias.addr(), alias.fa_info().addr()));
        let kind = super::route_type(alias.fa_type().into(), alias.addr());
        if alias.fa_slen() > BITS || kind.is_err() {
            context.faults.add("IPv4 route", inconsistent(alias.addr()));
        } else {
            found.push(alias);
        }
    }
    found
}

/// A table's routes in the order of `ip route` (`fn_trie_dump_leaf`).
pub fn routes<'m>(context: &mut Context<'m, '_>, table: fib_table<'m>) -> Vec<Route> {
    each(context, table, |context, leaf, alias| {
        let route = route(context, leaf, alias);
        context
            .faults
            .check("IPv4 route", route)
            .into_iter()
            .collect()
    })
}

/// Whatever is made of each route of a table.
pub(super) fn each<'m, T>(
    context: &mut Context<'m, '_>,
    table: fib_table<'m>,
    mut make: impl FnMut(&mut Context<'m, '_>, key_vector<'m>, fib_alias<'m>) -> Vec<T>,
) -> Vec<T> {
    let mut all = Vec::new();
    if let Some(root) = context.faults.check("IPv4 routing trie", root(table)) {
        leaves(root, context.faults, &mut all);
    }
    let mut found = Vec::new();
    for leaf in all {
        for alias in aliases(context, leaf) {
            // Tables that share a trie, `local` and `main` (RT_TABLE_LOCAL, RT_TABLE_MAIN), tell their routes apart by this.
            let is_own = alias.tb_id() == table.tb_id();
            if !is_own && !matches!(alias.tb_id(), 254 | 255) {
                let fault = inconsistent(alias.addr());
                context.faults.add("IPv4 route", fault);
            } else if is_own {
                found.extend(make(context, leaf, alias));
            }
        }
    }
    found
}

/// What `fib_dump_info` says of a route.
fn route<'m>(
    context: &mut Context<'m, '_>,
    leaf: key_vector<'m>,
    alias: fib_alias<'m>,
) -> Result<Route, Fault> {
    let info = alias.fa_info().deref()?;
    let object = context.object(info.nh())?;
    let mut kind = names::route_type(alias.fa_type());
    // What can't be read of it is told of with its next hops.
    if let Some(object) = object
        && hop::is_blackhole(object).is_ok_and(|it| it)
    {
        "blackhole".clone_into(&mut kind);
    }
    let (nexthops, flags) = hops(context, info, object);
    let multipath = nexthops.len() > 1;
    let source = info.fib_prefsrc();
    Ok(Route {
        netns: context.netns,
        family: Family::Inet,
        table: alias.tb_id(),
        table_name: names::table(alias.tb_id()),
        kind,
        dst: prefix4(leaf.key(), BITS.saturating_sub(alias.fa_slen())),
        src: None,
        tos: tos(alias),
        protocol: names::protocol(info.fib_protocol()),
        scope: names::scope(info.fib_scope()),
        prefsrc: (source != 0).then(|| ipv4(source)),
        metric: info.fib_priority(),
        flags: names::hop_flags(if multipath { info.fib_flags() } else { flags }),
        nhid: object.map(|object| object.id()),
        nexthops,
        multipath,
        metrics: context.metrics(info.fib_metrics().deref()?),
        pref: None,
        expires: None,
        iif: None,
        refcnt: info.fib_clntref().value(),
        exception: None,
        address: info.addr(),
    })
}

/// `dscp_t` has it where the type of service has it; before 5.18 it was called so.
pub(super) fn tos(alias: fib_alias<'_>) -> u8 {
    #[cfg(kernel_has = "fib_alias.fa_dscp")]
    {
        alias.fa_dscp()
    }
    #[cfg(not(kernel_has = "fib_alias.fa_dscp"))]
    {
        alias.fa_tos()
    }
}

/// The next hops of a route, and the flags of the last one.
fn hops(
    context: &mut Context<'_, '_>,
    info: fib_info<'_>,
    object: Option<nexthop<'_>>,
) -> (Vec<Hop>, u32) {
    let mut found = Vec::new();
    let mut last = 0;
    let commons = match object {
        Some(object) => hop::of_object(object).map(|commons| {
            let with_realm = |(common, weight)| (common, weight, 0);
            commons.into_iter().map(with_realm).collect()
        }),
        None => own_hops(info),
    };
    for (common, weight, realm) in context
        .faults
        .check("next hops of a route", commons)
        .unwrap_or_default()
    {
        let hop = hop::hop(common, weight);
        if let Some((hop, flags)) = context.faults.check("next hop", hop) {
            last = flags;
            found.push(Hop { realm, ..hop });
        }
    }
    (found, last)
}

/// The next hops that lie behind the `fib_info`, with weights and realms.
pub(super) fn own_hops(
    info: fib_info<'_>,
) -> Result<Vec<(kernel::fib_nh_common<'_>, i32, u32)>, Fault> {
    // No route has more: each takes 8 bytes and more of an attribute, whose length has 16 bits. None has none (`fib_create_info`).
    const MOST: i32 = 1 << 13;
    let count = info.fib_nhs();
    if !(1..MOST).contains(&count) {
        return Err(inconsistent(info.addr()));
    }
    let first: Ptr<'_, kernel::fib_nh<'_>> = info.fib_nh();
    Ok(first
        .array(count as usize)?
        .iter()
        .map(|hop| {
            let common = hop.nh_common();
            #[cfg(kernel_has = "fib_nh.nh_tclassid")]
            let realm = hop.nh_tclassid();
            #[cfg(not(kernel_has = "fib_nh.nh_tclassid"))]
            let realm = 0;
            (common, common.nhc_weight(), realm)
        })
        .collect())
}

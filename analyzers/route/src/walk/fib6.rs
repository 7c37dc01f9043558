//! IPv6 routing tables (net/ipv6/ip6_fib.c): a binary tree of prefixes for each, with a list of routes at each node.

use std::collections::HashSet;

use kernel::{fib6_info, fib6_node, fib6_table};
use kstruct::walk::chain;
use kstruct::{Fault, FaultKind, View as _};

use super::{Context, hop, inconsistent, ipv6, prefix6};
use crate::model::{Family, Hop, HopRoute, Route};
use crate::names;

/// `FIB6_TABLE_HASHSZ`, include/net/ip6_fib.h.
const TABLES: usize = if cfg!(kernel_has = "netns_ipv6.fib6_rules_ops") {
    256
} else {
    1
};
/// `RTN_RTINFO`: the node has routes.
const HAS_ROUTES: u16 = 4;
/// `RTF_EXPIRES`, include/uapi/linux/ipv6_route.h.
const EXPIRES: u32 = 0x0040_0000;

/// A namespace's tables in the order in which the kernel lists them; one that is on no list, but known by a pointer, is behind them.
pub fn tables<'m>(context: &mut Context<'m, '_>) -> Vec<fib6_table<'m>> {
    const WHAT: &str = "IPv6 routing tables";
    let first = context.net.ipv6().fib_table_hash();
    let mut found: Vec<fib6_table<'_>> = Vec::new();
    // IPv6 was turned off when the kernel was started: there is no table then.
    if first.is_null() && context.net.ipv6().fib6_main_tbl().is_null() {
        return found;
    }
    let lists = context.faults.check(WHAT, first.array(TABLES));
    let lists = lists.iter().flat_map(|hash| hash.iter().enumerate());
    for (number, head) in lists {
        for table in head.entries(fib6_table::tb6_hlist) {
            let Some(table) = context.faults.check(WHAT, table) else {
                continue;
            };
            let is_known = found.iter().any(|known| known.addr() == table.addr());
            if is_known || table.tb6_id() as usize % TABLES != number {
                context.faults.add(WHAT, inconsistent(table.addr()));
            }
            if is_known {
                // What is behind it was found with it.
                break;
            }
            found.push(table);
        }
    }
    let main = context.net.ipv6().fib6_main_tbl();
    super::add_pointed(context.faults, &mut found, 254, main);
    #[cfg(kernel_has = "netns_ipv6.fib6_local_tbl")]
    {
        let local = context.net.ipv6().fib6_local_tbl();
        super::add_pointed(context.faults, &mut found, 255, local);
    }
    found
}

impl super::Table for fib6_table<'_> {
    const ALL: &'static str = "IPv6 routing tables";
    const LOST: &'static str = "IPv6 routing table that is on no list";

    fn number(self) -> u32 {
        self.tb6_id()
    }
}

/// A table's routes in the order of `ip -6 route`, which has the most general ones last (`fib6_walk_continue`).
pub fn routes<'m>(context: &mut Context<'m, '_>, table: fib6_table<'m>) -> Vec<Route> {
    infos(context, table)
        .into_iter()
        .filter_map(|info| {
            let route = route(context, table, info);
            context.faults.check("IPv6 route", route)
        })
        .collect()
}

/// A table's routes, of those with several next hops the first one, which the kernel tells of (`fib6_dump_node`).
pub(super) fn infos<'m>(
    context: &mut Context<'m, '_>,
    table: fib6_table<'m>,
) -> Vec<fib6_info<'m>> {
    const WHAT: &str = "IPv6 routes of a node";
    let null = context.net.ipv6().fib6_null_entry().addr();
    let mut found = Vec::new();
    for node in nodes(context, table.tb6_root()) {
        if node.fn_flags() & HAS_ROUTES == 0 {
            continue;
        }
        // Siblings of those that were found.
        let mut siblings = HashSet::new();
        for info in chain(Ok(node.leaf()), fib6_info::fib6_next) {
            let Some(info) = context.faults.check(WHAT, info) else {
                continue;
            };
            if info.addr() == null || siblings.contains(&info.addr()) {
                continue;
            }
            if info.nh().is_null() {
                let all = info.fib6_siblings().entries(fib6_info::fib6_siblings);
                siblings.extend(all.map_while(Result::ok).map(fib6_info::addr));
            }
            found.push(info);
        }
    }
    found
}

/// A route, and behind it those that are one with it. Each counts the others (`fib6_add_rt2node`).
pub(super) fn with_siblings<'m>(
    context: &mut Context<'m, '_>,
    info: fib6_info<'m>,
) -> Vec<fib6_info<'m>> {
    const WHAT: &str = "next hops of an IPv6 route";
    let before = context.faults.count();
    let mut all = vec![info];
    // Where there is a next hop object, its list of routes is in the place of that of siblings.
    if info.nh().is_null() {
        for sibling in info.fib6_siblings().entries(fib6_info::fib6_siblings) {
            all.extend(context.faults.check(WHAT, sibling));
        }
    }
    let others = all.len() - 1;
    let wrong = (all.iter()).find(|info| info.fib6_nsiblings() as usize != others);
    if let Some(wrong) = wrong.filter(|_| context.faults.count() == before) {
        context.faults.add(WHAT, inconsistent(wrong.addr()));
    }
    all
}

/// The nodes below one, children first. A node counts if it names as its parent the one that led to it, and isn't the root: so each has one
/// way to it, and the walk ends.
fn nodes<'m>(context: &mut Context<'m, '_>, root: fib6_node<'m>) -> Vec<fib6_node<'m>> {
    const WHAT: &str = "IPv6 routing tree";
    let mut found = Vec::new();
    // Nodes, and whether their children are on the stack already.
    let mut stack = vec![(root, false)];
    while let Some((node, is_open)) = stack.pop() {
        if is_open {
            found.push(node);
            continue;
        }
        stack.push((node, true));
        let mut below = vec![node.right(), node.left()];
        #[cfg(kernel_has = "fib6_node.subtree")]
        below.push(node.subtree());
        for (index, child) in below.iter().enumerate() {
            let is_twice = below
                .get(..index)
                .is_some_and(|before| before.contains(child));
            let child = match child.deref_or_null() {
                Ok(None) => continue,
                Ok(Some(child))
                    if child.parent().addr() == node.addr()
                        && child.addr() != root.addr()
                        && !is_twice =>
                {
                    Ok(child)
                }
                Ok(Some(child)) => Err(Fault {
                    address: child.addr(),
                    kind: FaultKind::Inconsistent,
                }),
                Err(fault) => Err(fault),
            };
            if let Some(child) = context.faults.check(WHAT, child) {
                stack.push((child, false));
            }
        }
    }
    found
}

/// What `rt6_fill_node` (net/ipv6/route.c) says of a route.
fn route<'m>(
    context: &mut Context<'m, '_>,
    table: fib6_table<'m>,
    info: fib6_info<'m>,
) -> Result<Route, Fault> {
    let object = context.object(info.nh())?;
    let mut kind = super::route_type(info.fib6_type().into(), info.addr())?;
    let (dst, src) = (prefix6(info.fib6_dst())?, prefix6(info.fib6_src())?);
    // What can't be read of it is told of with its next hops.
    if let Some(object) = object
        && hop::is_blackhole(object).is_ok_and(|it| it)
    {
        "blackhole".clone_into(&mut kind);
    }
    let commons: Vec<_> = match object {
        Some(object) => (context.faults)
            .check("next hops of a route", hop::of_object(object))
            .unwrap_or_default()
            .into_iter()
            .map(|(common, weight)| (common, weight, info))
            .collect(),
        None => own_hops(context, info)
            .into_iter()
            .map(|(common, info)| (common, common.nhc_weight(), info))
            .collect(),
    };
    let multipath = match object {
        Some(object) => object.is_group(),
        None => commons.len() > 1,
    };
    let mut nexthops: Vec<Hop> = Vec::new();
    let mut flags = 0;
    for (common, weight, info) in commons {
        let hop = hop::hop(common, weight);
        if let Some((hop, its)) = context.faults.check("next hop", hop) {
            flags = its;
            let route = Some(HopRoute {
                flags: info.fib6_flags(),
                refcnt: info.fib6_ref().value(),
                address: info.addr(),
            });
            nexthops.push(Hop { route, ..hop });
        }
    }
    let source = info.fib6_prefsrc();
    let expires = info.fib6_flags() & EXPIRES != 0;
    Ok(Route {
        netns: context.netns,
        family: Family::Inet6,
        table: table.tb6_id(),
        table_name: names::table(table.tb6_id()),
        kind,
        dst,
        src: (src.length != 0).then_some(src),
        tos: 0,
        protocol: names::protocol(info.fib6_protocol()),
        scope: names::scope(0),
        prefsrc: (source.plen() != 0).then(|| ipv6(source.addr_()).into()),
        metric: info.fib6_metric(),
        flags: names::hop_flags(if multipath { 0 } else { flags }),
        nhid: object.map(|object| object.id()),
        nexthops,
        multipath,
        metrics: context.metrics(info.fib6_metrics().deref()?),
        pref: Some(preference(info.fib6_flags())),
        expires: expires.then(|| context.expiry(info.expires())),
        iif: None,
        refcnt: info.fib6_ref().value(),
        exception: None,
        address: info.addr(),
    })
}

/// `IPV6_EXTRACT_PREF`
pub(super) fn preference(flags: u32) -> String {
    match flags >> 27 & 3 {
        0 => "medium".to_owned(),
        1 => "high".to_owned(),
        3 => "low".to_owned(),
        other => other.to_string(),
    }
}

/// The next hops of a route: its own, and those of its siblings. Each has an interface: of routes that refuse packets it is the loopback one
/// (`fib6_nh_init`).
fn own_hops<'m>(
    context: &mut Context<'m, '_>,
    info: fib6_info<'m>,
) -> Vec<(kernel::fib_nh_common<'m>, fib6_info<'m>)> {
    const WHAT: &str = "next hops of an IPv6 route";
    with_siblings(context, info)
        .into_iter()
        .filter_map(|info| {
            let hop = info.fib6_nh().deref().and_then(|hop| {
                let common = hop.nh_common();
                if common.nhc_dev().is_null() {
                    return Err(inconsistent(info.addr()));
                }
                Ok(common)
            });
            Some((context.faults.check(WHAT, hop)?, info))
        })
        .collect()
}

//! Kernels before 2.6.12 or so, which know one namespace: IPv4 tables of a hash for each prefix length (net/ipv4/fib_hash.c),
//! rules that are linked in their order (net/ipv4/fib_rules.c), the cache of routes (net/ipv4/route.c), one tree for IPv6
//! (net/ipv6/ip6_fib.c), and neighbours in chains (net/core/neighbour.c).
//!
//! Nothing here has a namespace's number; it is 0 in all of it.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use kernel::{
    fib_alias, fib_info, fib_nh, fib_node, fib_rule, fib_table, fib6_node, fn_hash, fn_zone,
    neigh_table, neighbour, pneigh_entry, rt6_info, rtable, sym,
};
use kstruct::walk::chain;
use kstruct::{Fault, FaultKind, Memory, Ptr, View as _};
use linux::Faults;
use linux::net::{address, format_hardware_address};
use linux::size::power_of_two;
use linux::time::Clock;

use crate::model::{
    Cached, Expiry, Family, Hop, HopRoute, Metric, Neighbour, NeighbourTable, Prefix, Proxy, Route,
    Rule,
};
use crate::names;

/// No zone has more lists: the kernel allocates them in one piece of at most 2^11 pages.
const MOST_LISTS: i32 = 1 << 21;
/// No route has more next hops.
const MOST_HOPS: i32 = 1 << 16;
/// No neighbour table has more lists.
const MOST_BUCKETS: u64 = 1 << 20;
/// `PNEIGH_HASHMASK` and one.
const PROXY_BUCKETS: usize = 16;
/// Nodes of the IPv6 tree from the root to a leaf: each decides by a later bit.
const DEEPEST: u32 = 129;
/// `NUD_VALID`, include/net/neighbour.h: states in which the hardware address is one.
const VALID: u8 = 0x80 | 0x40 | 0x02 | 0x10 | 0x04 | 0x08;
/// `RTN_RTINFO`, include/net/ip6_fib.h: routes end at this node.
const HAS_ROUTES: u16 = 4;
/// `RTN_ROOT`: it is a tree's first node.
const ROOT: u16 = 2;
/// `RTF_*`, include/linux/route.h and include/linux/ipv6_route.h.
const REJECT: u32 = 0x0200;
const GATEWAY: u32 = 0x0002;
const EXPIRES: u32 = 0x0040_0000;
/// `RTF_LOCAL` came later; addresses of our own were known by this (`RTF_NONEXTHOP` over lo).
const LOOPBACK_TYPE: u16 = 772;

/// The IPv4 routes of all tables, tables in the order of their numbers and in each the longest prefixes first.
pub fn routes(k: &Memory, faults: &mut Faults) -> Vec<Route> {
    const WHAT: &str = "IPv4 routing tables";
    let mut found = Vec::new();
    let Some(tables) = faults.check(WHAT, k.get(sym::fib_tables)) else {
        return found;
    };
    for (number, pointer) in tables.iter().enumerate() {
        let Some(table) = faults.check(WHAT, pointer.deref_or_null()) else {
            continue;
        };
        // These two are made when the kernel starts (`ip_fib_init`), and stay; each table knows its number (`__fib_new_table`).
        let holds = match table {
            Some(table) => usize::from(table.tb_id()) == number,
            None => !matches!(number, 254 | 255),
        };
        faults.require(holds, WHAT, k.address_of(sym::fib_tables));
        if let Some(table) = table {
            of_table(table, faults, &mut found);
        }
    }
    are_counted(k, &found, faults);
    found
}

/// What routes refer to counts them before they are in a table, and until they are out of it (`fib_create_info`, `fib_release_info`): it may
/// count more, and never fewer.
fn are_counted(k: &Memory, routes: &[Route], faults: &mut Faults) {
    let mut counts: BTreeMap<u64, i32> = BTreeMap::new();
    for route in routes {
        *counts.entry(route.address).or_default() += 1;
    }
    for (address, count) in counts {
        let what = "IPv4 routes that share a fib_info, which counts fewer";
        if let Some(info) = faults.check(what, fib_info::at(k, address)) {
            faults.require(info.fib_treeref() >= count, what, address);
        }
    }
}

fn of_table(table: fib_table<'_>, faults: &mut Faults, found: &mut Vec<Route>) {
    const WHAT: &str = "IPv4 routing zones";
    let hash: Ptr<'_, fn_hash<'_>> = table.tb_data().cast();
    let Some(hash) = faults.check(WHAT, hash.deref()) else {
        return;
    };
    for zone in zones(hash, faults) {
        let lists = zone.fz_divisor();
        if !(0..=MOST_LISTS).contains(&lists) {
            faults.add(WHAT, inconsistent(zone.addr()));
            continue;
        }
        let Some(lists) = faults.check(WHAT, zone.fz_hash().array(lists as usize)) else {
            continue;
        };
        let before = faults.count();
        let mut count = 0;
        for (index, list) in (0..).zip(lists.iter()) {
            for node in list.entries(fib_node::fn_hash) {
                let Some(node) = faults.check(WHAT, node) else {
                    continue;
                };
                count += 1;
                let holds = place(node.fn_key(), zone) == Some(index);
                faults.require(holds, "IPv4 routes of a zone", node.addr());
                of_node(table, zone, node, faults, found);
            }
        }
        // It counts its nodes (`fn_hash_insert`, `fn_hash_delete`).
        if faults.count() == before {
            let holds = zone.fz_nent() == count;
            let what = "IPv4 routes of a zone, which counts others";
            faults.require(holds, what, zone.addr());
        }
    }
}

/// A table's zones, the longest prefixes first. Those of its list are those of its array, which has each where its prefix length is
/// (`fn_new_zone`), and there they stay.
fn zones<'m>(hash: fn_hash<'m>, faults: &mut Faults) -> Vec<fn_zone<'m>> {
    const WHAT: &str = "IPv4 routing zones";
    let before = faults.count();
    let mut found: Vec<fn_zone<'m>> = Vec::new();
    for (order, pointer) in (0_u32..).zip(hash.fn_zones().iter()) {
        let Some(Some(zone)) = faults.check(WHAT, pointer.deref_or_null()) else {
            continue;
        };
        let is_it = u32::try_from(zone.fz_order()) == Ok(order)
            && zone.fz_mask() == mask(order)
            && i64::from(zone.fz_hashmask()) == i64::from(zone.fz_divisor()) - 1;
        faults.require(is_it, WHAT, zone.addr());
        found.push(zone);
    }
    found.reverse();
    let listed: Vec<_> = chain(Ok(hash.fn_zone_list()), fn_zone::fz_next)
        .filter_map(|zone| faults.check(WHAT, zone))
        .collect();
    let same = |(one, other): (&fn_zone<'_>, &fn_zone<'_>)| one.addr() == other.addr();
    let is_same = listed.len() == found.len() && listed.iter().zip(&found).all(same);
    if faults.count() == before {
        faults.require(is_same, WHAT, hash.addr());
    }
    let known: HashSet<u64> = found.iter().map(|zone| zone.addr()).collect();
    let more = listed.into_iter().filter(|it| !known.contains(&it.addr()));
    found.extend(more);
    found
}

/// `inet_make_mask`, in network order.
fn mask(order: u32) -> u32 {
    let bits = u32::MAX.checked_shl(32_u32.wrapping_sub(order));
    bits.unwrap_or(0).to_be()
}

/// The number of the list of a zone in which an address is (`fn_hash`, net/ipv4/fib_hash.c); `None` for one that has bits behind the prefix.
fn place(key: u32, zone: fn_zone<'_>) -> Option<u32> {
    let order = u32::try_from(zone.fz_order()).ok()?;
    let mut hash = u32::from_be(key)
        .checked_shr(32_u32.checked_sub(order)?)
        .unwrap_or(0);
    for bits in [20, 10, 5] {
        hash ^= hash >> bits;
    }
    (key & !mask(order) == 0).then_some(hash & zone.fz_hashmask())
}

/// The routes to a destination, of which the last one takes it along (`fn_hash_delete`).
fn of_node(
    table: fib_table<'_>,
    zone: fn_zone<'_>,
    node: fib_node<'_>,
    faults: &mut Faults,
    found: &mut Vec<Route>,
) {
    const WHAT: &str = "IPv4 route";
    let list = node.fn_alias();
    let is_empty = list.next().addr() == list.addr();
    faults.require(!is_empty, WHAT, node.addr());
    for alias in list.entries(fib_alias::fa_list) {
        let Some(alias) = faults.check(WHAT, alias) else {
            continue;
        };
        let Some(info) = faults.check(WHAT, alias.fa_info().deref()) else {
            continue;
        };
        let hops = faults.check("next hops of a route", hops(info));
        let hops = hops.unwrap_or_default();
        for hop in &hops {
            faults.require(is_sound(*hop), "next hop", hop.addr());
        }
        let route = route(table, zone, node, (alias, info), &hops);
        found.extend(faults.check(WHAT, route));
    }
}

/// What `fib_dump_info` says of a route.
fn route(
    table: fib_table<'_>,
    zone: fn_zone<'_>,
    node: fib_node<'_>,
    (alias, info): (fib_alias<'_>, fib_info<'_>),
    hops: &[fib_nh<'_>],
) -> Result<Route, Fault> {
    // `RTN_MAX`, above which `fib_create_info` takes none.
    const MOST: u8 = 11;
    if alias.fa_type() > MOST {
        return Err(inconsistent(alias.addr()));
    }
    let nexthops = hops.iter().map(|hop| described(*hop));
    let nexthops = nexthops.collect::<Result<Vec<_>, _>>()?;
    let multipath = nexthops.len() > 1;
    let source = info.fib_prefsrc();
    Ok(Route {
        netns: 0,
        family: Family::Inet,
        table: table.tb_id().into(),
        table_name: names::table(table.tb_id().into()),
        kind: names::route_type(alias.fa_type()),
        dst: Prefix {
            address: ipv4(node.fn_key()),
            length: u8::try_from(zone.fz_order()).unwrap_or(u8::MAX),
        },
        src: None,
        tos: alias.fa_tos(),
        protocol: number(info.fib_protocol(), names::protocol),
        scope: names::scope(alias.fa_scope()),
        prefsrc: (source != 0).then(|| ipv4(source)),
        metric: info.fib_priority(),
        flags: names::hop_flags(info.fib_flags()),
        nhid: None,
        nexthops,
        multipath,
        metrics: metrics(info.fib_metrics().iter()),
        pref: None,
        expires: None,
        iif: None,
        refcnt: info.fib_clntref().value(),
        exception: None,
        address: info.addr(),
    })
}

/// The next hops that lie behind a `fib_info`, which has one at least (`fib_create_info`). A route that drops packets has one without an
/// interface.
fn hops(info: fib_info<'_>) -> Result<Vec<fib_nh<'_>>, Fault> {
    let count = info.fib_nhs();
    if !(1..MOST_HOPS).contains(&count) {
        return Err(inconsistent(info.addr()));
    }
    let first: Ptr<'_, fib_nh<'_>> = info.fib_nh();
    Ok(first.array(count as usize)?.iter().collect())
}

/// Whether a next hop's interface is that of its number; without one it has no gateway either (`fib_check_nh`).
fn is_sound(hop: fib_nh<'_>) -> bool {
    match hop.nh_dev().deref_or_null() {
        Ok(Some(device)) => device.ifindex() == hop.nh_oif(),
        Ok(None) => hop.nh_oif() == 0 && hop.nh_gw() == 0,
        // That is told of with its route.
        Err(_) => true,
    }
}

fn described(hop: fib_nh<'_>) -> Result<Hop, Fault> {
    let device = hop.nh_dev().deref_or_null()?;
    let gateway = hop.nh_gw();
    Ok(Hop {
        dev: device.map(|device| device.name().to_string()),
        ifindex: hop.nh_oif(),
        gateway: (gateway != 0).then(|| ipv4(gateway)),
        weight: hop.nh_weight(),
        flags: names::hop_flags(hop.nh_flags()),
        scope: names::scope(hop.nh_scope()),
        encap: None,
        realm: hop.nh_tclassid(),
        route: None,
    })
}

/// `rtnetlink_put_metrics`: those that are set. The first has a bit for each that is locked.
fn metrics(values: impl Iterator<Item = u32>) -> Vec<Metric> {
    let values: Vec<u32> = values.collect();
    let locks = values.first().copied().unwrap_or(0);
    let set = values.iter().copied().enumerate().skip(1);
    set.filter(|(_, value)| *value != 0)
        .filter_map(|(index, value)| {
            Some(Metric {
                name: names::METRICS.get(index - 1)?,
                value,
                text: None,
                locked: locks >> (index + 1) & 1 != 0,
            })
        })
        .collect()
}

/// Bits of `rt_flags` (include/linux/in_route.h) as `ip` names them.
const CACHE_FLAGS: [(u32, &str); 14] = [
    (0x8000_0000, "local"),
    (0x4000_0000, "reject"),
    (0x2000_0000, "mc"),
    (0x1000_0000, "brd"),
    (0x0800_0000, "dst-nat"),
    (0x0080_0000, "src-nat"),
    (0x0040_0000, "masq"),
    (0x0002_0000, "dst-direct"),
    (0x0400_0000, "src-direct"),
    (0x0004_0000, "redirected"),
    (0x0100_0000, "redirect"),
    (0x0020_0000, "fastroute"),
    (0x0001_0000, "notify"),
    (0x0008_0000, "proxy"),
];
/// No cache has more lists.
const MOST_CACHE_LISTS: u64 = 1 << 24;

/// What was looked up and kept (`rt_cache_seq_show`, net/ipv4/route.c), in the order of the table's lists.
pub fn cached(k: &Memory, clock: Clock, faults: &mut Faults) -> Vec<Cached> {
    const WHAT: &str = "route cache";
    let lists = k.get(sym::rt_hash_mask).and_then(|mask| {
        let table = k.get(sym::rt_hash_table)?;
        let size = u64::from(mask) + 1;
        let count = power_of_two(table.addr(), size, MOST_CACHE_LISTS)?;
        // Both are made of one number (`ip_rt_init`).
        let log = u32::try_from(k.get(sym::rt_hash_log)?).ok();
        if log.and_then(|log| 1_u64.checked_shl(log)) != Some(size) {
            return Err(inconsistent(table.addr()));
        }
        table.array(count)
    });
    let Some(lists) = faults.check(WHAT, lists) else {
        return Vec::new();
    };
    let mut names = Vec::new();
    for namespace in linux::net::namespaces(k, faults) {
        // Who lists interfaces counts what can't be read of them.
        let devices = namespace.devices().map_while(Result::ok);
        names.extend(devices.map(|device| (device.ifindex(), device.name().to_string())));
    }
    let mut found = Vec::new();
    for list in lists.iter() {
        for route in chain(Ok(list.chain()), |route: rtable<'_>| route.u().rt_next()) {
            let row = route.and_then(|route| cached_route(route, &names, clock));
            found.extend(faults.check(WHAT, row));
        }
    }
    found
}

fn cached_route(
    route: rtable<'_>,
    interfaces: &[(i32, String)],
    clock: Clock,
) -> Result<Cached, Fault> {
    let k = route.memory();
    let dst = route.u().dst();
    let device = dst.dev().deref_or_null()?;
    let flags = route.rt_flags();
    let key = route.fl().nl_u().ip4_u();
    let input = route.fl().iif();
    let input_name = interfaces.iter().find(|(index, _)| *index == input);
    Ok(Cached {
        netns: 0,
        kind: names::route_type(u8::try_from(route.rt_type()).unwrap_or(0)),
        dst: address::ipv4(route.rt_dst()).into(),
        src: address::ipv4(route.rt_src()).into(),
        tos: key.tos(),
        gateway: address::ipv4(route.rt_gateway()).into(),
        dev: device.map(|device| device.name().to_string()),
        iif: (input != 0)
            .then(|| input_name.map_or_else(|| format!("if{input}"), |(_, name)| name.clone())),
        flags: CACHE_FLAGS
            .into_iter()
            .filter(|(bit, _)| flags & bit != 0)
            .map(|(_, name)| name)
            .collect(),
        flags_value: flags,
        metrics: metrics(dst.metrics().iter()),
        refcnt: dst.__refcnt().value(),
        uses: dst.__use(),
        last_used: clock.age(k, dst.lastuse()),
        expires: (dst.expires() != 0).then(|| expiry(k, clock, dst.expires())),
        address: route.addr(),
    })
}

/// The rules in the order in which they are tried.
pub fn rules(k: &Memory, faults: &mut Faults) -> Vec<Rule> {
    let mut found = Vec::new();
    for rule in chain(k.get(sym::fib_rules), fib_rule::r_next) {
        found.extend(faults.check("rules", rule).map(rule_of));
    }
    found
}

/// What `inet_fill_rule` says of a rule.
fn rule_of(rule: fib_rule<'_>) -> Rule {
    let prefix = |address, length| {
        (length != 0).then(|| Prefix {
            address: ipv4(address),
            length,
        })
    };
    // A rule's action is a type of route: one that is looked up, or one that drops.
    let lookup = rule.r_action() == 1;
    let table = if lookup { rule.r_table().into() } else { 0 };
    let interface = rule.r_ifname();
    Rule {
        netns: 0,
        family: Family::Inet,
        priority: rule.r_preference(),
        not: false,
        src: prefix(rule.r_src(), rule.r_src_len()),
        dst: prefix(rule.r_dst(), rule.r_dst_len()),
        tos: rule.r_tos(),
        fwmark: rule.r_fwmark(),
        // All bits count; there is no mask yet.
        fwmask: if rule.r_fwmark() == 0 { 0 } else { u32::MAX },
        iif: (!interface.is_empty()).then(|| interface.to_string()),
        iif_detached: !interface.is_empty() && rule.r_ifindex() == -1,
        oif: None,
        oif_detached: false,
        l3mdev: false,
        uid_range: None,
        ipproto: None,
        sport: None,
        dport: None,
        tun_id: 0,
        action: if lookup {
            "to_tbl".to_owned()
        } else {
            names::route_type(rule.r_action())
        },
        table,
        table_name: names::table(table),
        suppress_prefixlength: -1,
        suppress_ifgroup: -1,
        realms: rule.r_tclassid(),
        goto: None,
        goto_unresolved: false,
        protocol: names::protocol(0),
        address: rule.addr(),
    }
}

/// The IPv6 routes in the order of their tree: what a node has, then its left and its right half.
pub fn routes6(k: &Memory, clock: Clock, faults: &mut Faults) -> Vec<Route> {
    let mut found = Vec::new();
    if let Some(root) = faults.check("IPv6 routing tree", k.get(sym::ip6_routing_table)) {
        // It always has the route that refuses packets.
        let marks = root.fn_flags() & (HAS_ROUTES | ROOT);
        let holds = marks == HAS_ROUTES | ROOT;
        faults.require(holds, "IPv6 routing tree", root.addr());
        below(k, clock, root, 0, faults, &mut found);
    }
    found
}

fn below(
    k: &Memory,
    clock: Clock,
    node: fib6_node<'_>,
    depth: u32,
    faults: &mut Faults,
    found: &mut Vec<Route>,
) {
    const WHAT: &str = "IPv6 routing tree";
    if depth > DEEPEST {
        faults.add(WHAT, inconsistent(node.addr()));
        return;
    }
    // Where ways part, a node has a route of another node as its leaf, which it needs for a search back.
    if node.fn_flags() & HAS_ROUTES != 0 {
        const WHAT: &str = "IPv6 routes of a node";
        // The last one takes the mark along (`fib6_del_route`), and each knows its node (`fib6_add_rt2node`) but for the one that was compiled in.
        faults.require(!node.leaf().is_null(), WHAT, node.addr());
        let null = k.address_of(sym::ip6_null_entry);
        for info in chain(Ok(node.leaf()), |info: rt6_info<'_>| info.u().next()) {
            let Some(info) = faults.check(WHAT, info) else {
                continue;
            };
            let is_own = info.rt6i_node().addr() == node.addr();
            let is_here = info.addr() == null || is_own && ends_at(info, node);
            faults.require(is_here, WHAT, info.addr());
            let route = route6(k, clock, info);
            found.extend(faults.check("IPv6 route", route));
        }
    }
    // What has no routes and is no place where ways part is taken out (`fib6_repair_tree`).
    let is_needed = node.fn_flags() & (HAS_ROUTES | ROOT) != 0
        || !node.subtree().is_null()
        || !node.left().is_null() && !node.right().is_null();
    faults.require(is_needed, WHAT, node.addr());
    for (child, bit) in [(node.left(), 0), (node.right(), 1)] {
        let Some(child) = faults.check(WHAT, child.deref_or_null()).flatten() else {
            continue;
        };
        // There is one way to each node, and bits only grow: so the walk ends.
        let holds = child.parent().addr() == node.addr()
            && child.fn_bit() > node.fn_bit()
            && goes(child, node.fn_bit()).is_none_or(|its| its == bit);
        if holds {
            below(k, clock, child, depth + 1, faults, found);
        } else {
            faults.add(WHAT, inconsistent(child.addr()));
        }
    }
}

/// Whether a route's prefix is as long as its node says. Below a node there may be a tree for sources.
fn ends_at(info: rt6_info<'_>, node: fib6_node<'_>) -> bool {
    info.rt6i_src().plen() != 0 || info.rt6i_dst().plen() == i32::from(node.fn_bit())
}

/// On which side of a node above a node with routes is: by that bit of their destination (`addr_bit_set`).
fn goes(node: fib6_node<'_>, bit: u16) -> Option<u8> {
    let info = node.leaf().deref().ok()?;
    if node.fn_flags() & HAS_ROUTES == 0 || info.rt6i_src().plen() != 0 {
        return None;
    }
    let octets = address::ipv6(info.rt6i_dst().addr_()).octets();
    let octet = octets.get(usize::from(bit / 8))?;
    Some(octet >> (7 - bit % 8) & 1)
}

/// What `rt6_fill_node` says of a route.
fn route6(k: &Memory, clock: Clock, info: rt6_info<'_>) -> Result<Route, Fault> {
    let common = info.u().dst();
    let device = common.dev().deref_or_null()?;
    let flags = info.rt6i_flags();
    let over_loopback = device.is_some_and(|device| device.type_() == LOOPBACK_TYPE);
    let kind = if flags & REJECT != 0 {
        7
    } else if over_loopback {
        2
    } else {
        1
    };
    let key = |key: kernel::rt6key<'_>| {
        let length = u8::try_from(key.plen()).ok().filter(|it| *it <= 128);
        Ok(Prefix {
            address: IpAddr::V6(address::ipv6(key.addr_())),
            length: length.ok_or_else(|| inconsistent(key.addr()))?,
        })
    };
    let src = key(info.rt6i_src())?;
    let gateway = address::ipv6(info.rt6i_gateway());
    let expires = flags & EXPIRES != 0;
    Ok(Route {
        netns: 0,
        family: Family::Inet6,
        table: 254,
        table_name: names::table(254),
        kind: names::route_type(kind),
        dst: key(info.rt6i_dst())?,
        src: (src.length != 0).then_some(src),
        tos: 0,
        protocol: names::protocol(info.rt6i_protocol()),
        scope: names::scope(0),
        prefsrc: None,
        metric: info.rt6i_metric(),
        flags: Vec::new(),
        nhid: None,
        nexthops: vec![Hop {
            dev: device.map(|device| device.name().to_string()),
            ifindex: device.map_or(0, |device| device.ifindex()),
            gateway: (flags & GATEWAY != 0).then_some(IpAddr::V6(gateway)),
            weight: 1,
            flags: Vec::new(),
            scope: names::scope(0),
            encap: None,
            realm: 0,
            route: Some(HopRoute {
                flags,
                refcnt: info.rt6i_ref().value(),
                address: info.addr(),
            }),
        }],
        multipath: false,
        metrics: metrics(common.metrics().iter()),
        pref: None,
        expires: expires.then(|| expiry(k, clock, common.expires())),
        iif: None,
        refcnt: info.rt6i_ref().value(),
        exception: None,
        address: info.addr(),
    })
}

fn expiry(k: &Memory, clock: Clock, then: u64) -> Expiry {
    let until = clock.until(k, then);
    let (jiffies, sign) = match until.jiffies {
        0 => (clock.age(k, then).jiffies, -1),
        ahead => (ahead, 1),
    };
    let jiffies = i64::try_from(jiffies).unwrap_or(i64::MAX) * sign;
    let hz = clock.hz.and_then(|hz| i64::try_from(hz).ok());
    Expiry {
        jiffies,
        seconds: hz.and_then(|hz| jiffies.checked_div(hz)),
    }
}

/// The tables of ARP and of ND, with their families.
fn tables<'m>(k: &'m Memory, faults: &mut Faults) -> Vec<(Family, neigh_table<'m>)> {
    let mut found = Vec::new();
    if let Some(table) = faults.check("ARP table", k.get(sym::arp_tbl)) {
        found.push((Family::Inet, table));
    }
    #[cfg(kernel_has = "sym:nd_tbl")]
    if let Some(table) = faults.check("ND table", k.get(sym::nd_tbl)) {
        found.push((Family::Inet6, table));
    }
    found
}

/// All entries, those of ARP first, and how many each table has.
pub fn neighbours(
    k: &Memory,
    clock: Clock,
    faults: &mut Faults,
) -> (Vec<Neighbour>, Vec<NeighbourTable>) {
    const WHAT: &str = "neighbour table";
    let mut found = Vec::new();
    let mut counts = Vec::new();
    for (family, table) in tables(k, faults) {
        let count = u64::from(table.hash_mask()) + 1;
        if count > MOST_BUCKETS {
            faults.add(WHAT, inconsistent(table.addr()));
            continue;
        }
        let Some(buckets) = faults.check(WHAT, table.hash_buckets().array(count as usize)) else {
            continue;
        };
        let before = faults.count();
        let entries = buckets
            .iter()
            .flat_map(|first| chain(Ok(first), neighbour::next));
        let entries: Vec<_> = entries
            .filter_map(|entry| faults.check(WHAT, entry))
            .collect();
        let count = NeighbourTable {
            family,
            allocated: table.entries().value(),
            hashed: entries.len(),
            is_read: faults.count() == before,
        };
        // `neigh_alloc` counts an entry before it is in a list, and `neigh_destroy` doesn't any more when it was taken out long ago.
        let what = "entries of a neighbour table, of which it counts fewer";
        faults.require(count.missing() >= 0, what, table.addr());
        counts.push(count);
        for entry in entries {
            let entry = describe(k, family, entry, clock);
            found.extend(faults.check("neighbour", entry));
        }
    }
    (found, counts)
}

/// What `neigh_fill_info` says of an entry.
fn describe(
    k: &Memory,
    family: Family,
    entry: neighbour<'_>,
    clock: Clock,
) -> Result<Neighbour, Fault> {
    let device = entry.dev().deref()?;
    let state = entry.nud_state();
    let lladdr = (state & VALID != 0).then(|| {
        let hardware = entry.ha().bytes();
        let bytes = hardware.get(..usize::from(device.addr_len()));
        format_hardware_address(device.type_().into(), bytes.unwrap_or(hardware))
    });
    Ok(Neighbour {
        netns: 0,
        family,
        address: key(entry.primary_key().cast(), family)?,
        dev: device.name().to_string(),
        ifindex: device.ifindex(),
        lladdr: lladdr.filter(|address| !address.is_empty()),
        state: names::neighbour_states(state),
        flags: names::neighbour_flags(entry.flags().into()),
        protocol: names::protocol(0),
        refcnt: entry.refcnt().value().wrapping_sub(1),
        probes: entry.probes().value(),
        used: clock.age(k, entry.used()),
        confirmed: clock.age(k, entry.confirmed()),
        updated: clock.age(k, entry.updated()),
        queued: entry.arp_queue().qlen(),
        // Not counted yet.
        queued_bytes: 0,
        at: entry.addr(),
    })
}

/// Addresses that the kernel answers for.
pub fn proxies(k: &Memory, faults: &mut Faults) -> Vec<Proxy> {
    const WHAT: &str = "proxy entries";
    let mut found = Vec::new();
    for (family, table) in tables(k, faults) {
        let Some(buckets) = faults.check(WHAT, table.phash_buckets().array(PROXY_BUCKETS)) else {
            continue;
        };
        for entry in buckets
            .iter()
            .flat_map(|first| chain(Ok(first), pneigh_entry::next))
        {
            let proxy = entry.and_then(|entry| {
                Ok(Proxy {
                    netns: 0,
                    family,
                    address: key(entry.key().cast(), family)?,
                    dev: entry
                        .dev()
                        .deref_or_null()?
                        .map(|device| device.name().to_string()),
                    flags: Vec::new(),
                    protocol: names::protocol(0),
                    at: entry.addr(),
                })
            });
            found.extend(faults.check(WHAT, proxy));
        }
    }
    found
}

/// The address that an entry is for, which lies behind it.
fn key(bytes: Ptr<'_, u8>, family: Family) -> Result<IpAddr, Fault> {
    let found = bytes.array(usize::from(family.bits() / 8))?;
    let at = bytes.addr();
    match family {
        Family::Inet => <[u8; 4]>::try_from(found.bytes()).map(IpAddr::from),
        Family::Inet6 => <[u8; 16]>::try_from(found.bytes()).map(IpAddr::from),
    }
    .map_err(|_| inconsistent(at))
}

fn ipv4(value: u32) -> IpAddr {
    IpAddr::V4(address::ipv4(value))
}

/// A small number that this kernel keeps in an int.
fn number(value: i32, name: fn(u8) -> String) -> String {
    u8::try_from(value).map_or_else(|_| value.to_string(), name)
}

fn inconsistent(address: u64) -> Fault {
    Fault {
        address,
        kind: FaultKind::Inconsistent,
    }
}

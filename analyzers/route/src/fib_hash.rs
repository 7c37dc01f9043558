//! Kernels before 2.6.12 or so, which know one namespace: IPv4 tables of a hash for each prefix length (net/ipv4/fib_hash.c),
//! rules that are linked in their order (net/ipv4/fib_rules.c), the cache of routes (net/ipv4/route.c), one tree for IPv6
//! (net/ipv6/ip6_fib.c), and neighbours in chains (net/core/neighbour.c).
//!
//! Nothing here has a namespace's number; it is 0 in all of it.

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
    Cached, Expiry, Family, Hop, HopRoute, Metric, Neighbour, Prefix, Proxy, Route, Rule,
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
    for table in tables.iter().filter(|table| !table.is_null()) {
        if let Some(table) = faults.check(WHAT, table.deref()) {
            of_table(table, faults, &mut found);
        }
    }
    found
}

fn of_table(table: fib_table<'_>, faults: &mut Faults, found: &mut Vec<Route>) {
    const WHAT: &str = "IPv4 routing zones";
    let hash: Ptr<'_, fn_hash<'_>> = table.tb_data().cast();
    let Some(hash) = faults.check(WHAT, hash.deref()) else {
        return;
    };
    for zone in chain(Ok(hash.fn_zone_list()), fn_zone::fz_next) {
        let Some(zone) = faults.check(WHAT, zone) else {
            continue;
        };
        let lists = zone.fz_divisor();
        if !(0..=MOST_LISTS).contains(&lists) {
            faults.add(WHAT, inconsistent(zone.addr()));
            continue;
        }
        let Some(lists) = faults.check(WHAT, zone.fz_hash().array(lists as usize)) else {
            continue;
        };
        for node in lists
            .iter()
            .flat_map(|list| list.entries(fib_node::fn_hash))
        {
            let Some(node) = faults.check(WHAT, node) else {
                continue;
            };
            for alias in node.fn_alias().entries(fib_alias::fa_list) {
                let route = alias.and_then(|alias| route(table, zone, node, alias));
                found.extend(faults.check("IPv4 route", route));
            }
        }
    }
}

/// What `fib_dump_info` says of a route.
fn route(
    table: fib_table<'_>,
    zone: fn_zone<'_>,
    node: fib_node<'_>,
    alias: fib_alias<'_>,
) -> Result<Route, Fault> {
    let info = alias.fa_info().deref()?;
    let nexthops = hops(info)?;
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

/// The next hops that lie behind a `fib_info`. A route that drops packets has one without an interface.
fn hops(info: fib_info<'_>) -> Result<Vec<Hop>, Fault> {
    let count = info.fib_nhs();
    if !(0..MOST_HOPS).contains(&count) {
        return Err(inconsistent(info.addr()));
    }
    let first: Ptr<'_, fib_nh<'_>> = info.fib_nh();
    let mut found = Vec::new();
    for hop in first.array(count as usize)?.iter() {
        let device = hop.nh_dev().deref_or_null()?;
        let gateway = hop.nh_gw();
        found.push(Hop {
            dev: device.map(|device| device.name().to_string()),
            ifindex: hop.nh_oif(),
            gateway: (gateway != 0).then(|| ipv4(gateway)),
            weight: hop.nh_weight(),
            flags: names::hop_flags(hop.nh_flags()),
            scope: names::scope(hop.nh_scope()),
            encap: None,
            realm: hop.nh_tclassid(),
            route: None,
        });
    }
    Ok(found)
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
        table.array(power_of_two(table.addr(), size, MOST_CACHE_LISTS)?)
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
        for info in chain(Ok(node.leaf()), |info: rt6_info<'_>| info.u().next()) {
            let route = info.and_then(|info| route6(k, clock, info));
            found.extend(faults.check("IPv6 route", route));
        }
    }
    let halves = if node.left().addr() == node.right().addr() {
        vec![node.left()]
    } else {
        vec![node.left(), node.right()]
    };
    for child in halves {
        let Some(child) = faults.check(WHAT, child.deref_or_null()).flatten() else {
            continue;
        };
        // There is one way to each node, and bits only grow: so the walk ends.
        if child.parent().addr() == node.addr() && child.fn_bit() > node.fn_bit() {
            below(k, clock, child, depth + 1, faults, found);
        } else {
            faults.add(WHAT, inconsistent(child.addr()));
        }
    }
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
    let key = |key: kernel::rt6key<'_>| Prefix {
        address: IpAddr::V6(address::ipv6(key.addr_())),
        length: u8::try_from(key.plen()).unwrap_or(u8::MAX),
    };
    let src = key(info.rt6i_src());
    let gateway = address::ipv6(info.rt6i_gateway());
    let expires = flags & EXPIRES != 0;
    Ok(Route {
        netns: 0,
        family: Family::Inet6,
        table: 254,
        table_name: names::table(254),
        kind: names::route_type(kind),
        dst: key(info.rt6i_dst()),
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

/// All entries, those of ARP first.
pub fn neighbours(k: &Memory, clock: Clock, faults: &mut Faults) -> Vec<Neighbour> {
    const WHAT: &str = "neighbour table";
    let mut found = Vec::new();
    for (family, table) in tables(k, faults) {
        let count = u64::from(table.hash_mask()) + 1;
        if count > MOST_BUCKETS {
            faults.add(WHAT, inconsistent(table.addr()));
            continue;
        }
        let Some(buckets) = faults.check(WHAT, table.hash_buckets().array(count as usize)) else {
            continue;
        };
        for entry in buckets
            .iter()
            .flat_map(|first| chain(Ok(first), neighbour::next))
        {
            let entry = entry.and_then(|entry| describe(k, family, entry, clock));
            found.extend(faults.check("neighbour", entry));
        }
    }
    found
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

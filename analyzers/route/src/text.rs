//! Lines as iproute2 6.1 prints them (`print_route`, `print_rule`, `print_neigh`, `__print_nexthop_entry`), so that people know
//! how to read them and tools how to compare them.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::model::{
    Cached, Family, Hop, Metric, MulticastInterface, MulticastRoute, Neighbour, NeighbourTable,
    Nexthop, Prefix, Proxy, Route, Rule, Trie,
};
use crate::names;

/// `RT_TABLE_MAIN`, which `ip` doesn't name.
const MAIN: u32 = 254;

/// A route of the cache, as of `ip -s route show cache`.
pub fn cached(route: &Cached) -> String {
    let mut out = String::new();
    if route.kind != "unicast" {
        let _ = write!(out, "{} ", route.kind);
    }
    let _ = write!(out, "{} from {} ", route.dst, route.src);
    if route.tos != 0 {
        let _ = write!(out, "tos {} ", names::tos(route.tos));
    }
    if route.gateway != route.dst {
        let _ = write!(out, "via {} ", route.gateway);
    }
    if let Some(dev) = &route.dev {
        let _ = write!(out, "dev {dev} ");
    }
    out.push_str("\n    cache ");
    if !route.flags.is_empty() {
        let _ = write!(out, "<{}> ", route.flags.join(","));
    }
    if let Some(seconds) = route.expires.and_then(|expires| expires.seconds)
        && seconds > 0
    {
        let _ = write!(out, "expires {seconds}sec ");
    }
    let _ = write!(out, "users {} used {} ", route.refcnt, route.uses);
    let age = route.last_used;
    let _ = match age.seconds {
        Some(seconds) => write!(out, "age {}sec ", seconds as u64),
        None => write!(out, "age {} jiffies ", age.jiffies),
    };
    for value in &route.metrics {
        metric(value, &mut out);
    }
    if let Some(dev) = &route.iif {
        let _ = write!(out, "iif {dev} ");
    }
    out
}

/// A route, as of `ip route show table all`; several lines if it has several next hops, or is an exception.
pub fn route(route: &Route) -> String {
    let mut out = String::new();
    if route.kind != "unicast" {
        let _ = write!(out, "{} ", route.kind);
    }
    let _ = write!(out, "{} ", destination(route.dst));
    if let Some(src) = route.src {
        let _ = write!(out, "from {} ", prefix(src));
    }
    if let Some(id) = route.nhid {
        let _ = write!(out, "nhid {id} ");
    }
    let single = route.nexthops.first().filter(|_| !route.multipath);
    if let Some(hop) = single {
        encap(hop, &mut out);
    }
    if route.tos != 0 {
        let _ = write!(out, "tos {} ", names::tos(route.tos));
    }
    if let Some(hop) = single {
        via(route.family, hop, &mut out);
        if let Some(dev) = &hop.dev {
            let _ = write!(out, "dev {dev} ");
        }
    }
    if route.table != MAIN {
        let _ = write!(out, "table {} ", route.table_name);
    }
    if route.exception.is_none() {
        if route.protocol != "boot" {
            let _ = write!(out, "proto {} ", route.protocol);
        }
        if route.scope != "global" {
            let _ = write!(out, "scope {} ", route.scope);
        }
    }
    if let Some(address) = route.prefsrc {
        let _ = write!(out, "src {address} ");
    }
    // IPv6 always has one.
    if route.metric != 0 || route.family == Family::Inet6 {
        let _ = write!(out, "metric {} ", route.metric);
    }
    for flag in &route.flags {
        let _ = write!(out, "{flag} ");
    }
    if let Some(hop) = single {
        realms("realm", hop.realm, &mut out);
    }
    // `ip` doesn't say so of IPv6.
    if let Some(exception) = &route.exception
        && route.family == Family::Inet
    {
        out.push_str("\n    cache ");
        if exception.gateway.is_some() {
            out.push_str("<redirected> ");
        }
    }
    if let Some(seconds) = route.expires.and_then(|expires| expires.seconds)
        && seconds > 0
    {
        let _ = write!(out, "expires {seconds}sec ");
    }
    for value in &route.metrics {
        metric(value, &mut out);
    }
    if let Some(exception) = &route.exception {
        // `ip` leaves these out.
        if exception.is_stale {
            out.push_str("(stale) ");
        } else if exception.is_unused {
            out.push_str("(not used yet) ");
        }
    }
    if let Some(dev) = &route.iif {
        let _ = write!(out, "iif {dev} ");
    }
    if let Some(pref) = &route.pref {
        let _ = write!(out, "pref {pref}");
    }
    if route.multipath {
        for hop in &route.nexthops {
            out.push_str("\n\tnexthop ");
            encap(hop, &mut out);
            via(route.family, hop, &mut out);
            realms("realm", hop.realm, &mut out);
            let dev = hop.dev.as_deref().unwrap_or("*");
            let _ = write!(out, "dev {dev} weight {} ", hop.weight);
            for flag in &hop.flags {
                let _ = write!(out, "{flag} ");
            }
        }
    }
    out
}

/// A rule, as of `ip rule`.
pub fn rule(rule: &Rule) -> String {
    let mut out = format!("{}:\t", rule.priority);
    if rule.not {
        out.push_str("not ");
    }
    match rule.src {
        Some(src) => {
            let _ = write!(out, "from {} ", prefix(src));
        }
        None => out.push_str("from all "),
    }
    if let Some(dst) = rule.dst {
        let _ = write!(out, "to {} ", prefix(dst));
    }
    if rule.tos != 0 {
        let _ = write!(out, "tos {} ", names::tos(rule.tos));
    }
    if rule.fwmark != 0 || rule.fwmask != 0 {
        let _ = write!(out, "fwmark {:#x}", rule.fwmark);
        if rule.fwmask != u32::MAX {
            let _ = write!(out, "/{:#x}", rule.fwmask);
        }
        out.push(' ');
    }
    for (what, name, is_detached) in [
        ("iif", &rule.iif, rule.iif_detached),
        ("oif", &rule.oif, rule.oif_detached),
    ] {
        if let Some(name) = name {
            let detached = if is_detached { "[detached] " } else { "" };
            let _ = write!(out, "{what} {name} {detached}");
        }
    }
    if rule.l3mdev {
        out.push_str("lookup [l3mdev-table] ");
    }
    if let Some((first, last)) = rule.uid_range {
        let _ = write!(out, "uidrange {first}-{last} ");
    }
    if let Some(protocol) = &rule.ipproto {
        let _ = write!(out, "ipproto {protocol} ");
    }
    for (what, range) in [("sport", rule.sport), ("dport", rule.dport)] {
        match range {
            Some((first, last)) if first == last => {
                let _ = write!(out, "{what} {first} ");
            }
            Some((first, last)) => {
                let _ = write!(out, "{what} {first}-{last} ");
            }
            None => {}
        }
    }
    if rule.tun_id != 0 {
        let _ = write!(out, "tun_id {} ", rule.tun_id);
    }
    if rule.table != 0 {
        let _ = write!(out, "lookup {} ", rule.table_name);
        if rule.suppress_prefixlength != -1 {
            let _ = write!(out, "suppress_prefixlength {} ", rule.suppress_prefixlength);
        }
        if rule.suppress_ifgroup != -1 {
            let _ = write!(out, "suppress_ifgroup {} ", rule.suppress_ifgroup);
        }
    }
    realms("realms", rule.realms, &mut out);
    match rule.action.as_str() {
        "to_tbl" => {}
        "goto" => {
            match rule.goto {
                Some(target) => {
                    let _ = write!(out, "goto {target}");
                }
                None => out.push_str("goto none"),
            }
            if rule.goto_unresolved {
                out.push_str(" [unresolved]");
            }
        }
        action => out.push_str(action),
    }
    if rule.protocol != "kernel" && rule.protocol != "unspec" {
        if !out.ends_with(' ') {
            out.push(' ');
        }
        let _ = write!(out, "proto {}", rule.protocol);
    }
    out
}

/// A next hop object, as of `ip nexthop`.
pub fn nexthop(nexthop: &Nexthop) -> String {
    let mut out = format!("id {} ", nexthop.id);
    if nexthop.is_group {
        out.push_str("group ");
        for (index, member) in nexthop.group.iter().enumerate() {
            let slash = if index == 0 { "" } else { "/" };
            let _ = write!(out, "{slash}{}", member.id);
            if member.weight != 1 {
                let _ = write!(out, ",{}", member.weight);
            }
        }
        out.push(' ');
    }
    if let Some(resilient) = &nexthop.resilient {
        let _ = write!(
            out,
            "type resilient buckets {} idle_timer {} unbalanced_timer {} unbalanced_time {} ",
            resilient.buckets,
            resilient.idle_timer.seconds.unwrap_or_default(),
            resilient.unbalanced_timer.seconds.unwrap_or_default(),
            resilient.unbalanced_time.seconds.unwrap_or_default()
        );
    }
    if let Some(hop) = &nexthop.hop {
        encap(hop, &mut out);
        if let Some(gateway) = hop.gateway {
            let _ = write!(out, "via {gateway} ");
        }
        if let Some(dev) = &hop.dev {
            let _ = write!(out, "dev {dev} ");
        }
        if hop.scope != "global" {
            let _ = write!(out, "scope {} ", hop.scope);
        }
    }
    if nexthop.blackhole {
        out.push_str("blackhole ");
    }
    if nexthop.protocol != "unspec" {
        let _ = write!(out, "proto {} ", nexthop.protocol);
    }
    for flag in &nexthop.flags {
        let _ = write!(out, "{flag} ");
    }
    if nexthop.fdb {
        out.push_str("fdb");
    }
    out
}

/// What is to be said of a table of neighbours that has allocated more entries than are in its buckets. That need not be damage: one that was
/// taken out stays as long as somebody has a reference to it (`neigh_destroy`).
pub fn neighbour_table(table: &NeighbourTable) -> Option<String> {
    let missing = table.missing();
    let family = match table.family {
        Family::Inet => "ARP",
        Family::Inet6 => "ND",
    };
    (missing > 0 && table.is_read).then(|| {
        format!(
            "# {family}: {} allocated (neigh_table.entries), {} in the table: {missing} removed and still referred to, or lost",
            table.allocated, table.hashed
        )
    })
}

/// A neighbour, as of `ip -s neigh`.
pub fn neighbour(neighbour: &Neighbour) -> String {
    let mut out = format!("{} dev {} ", neighbour.address, neighbour.dev);
    if let Some(address) = &neighbour.lladdr {
        let _ = write!(out, "lladdr {address} ");
    }
    for flag in &neighbour.flags {
        let _ = write!(out, "{flag} ");
    }
    if neighbour.refcnt != 0 {
        let _ = write!(out, "ref {} ", neighbour.refcnt);
    }
    let seconds = |age: linux::time::Age| age.seconds.unwrap_or_default() as i64;
    let _ = write!(
        out,
        "used {}/{}/{} probes {} {}",
        seconds(neighbour.used),
        seconds(neighbour.confirmed),
        seconds(neighbour.updated),
        neighbour.probes,
        neighbour.state.join(",")
    );
    if neighbour.protocol != "unspec" {
        let _ = write!(out, " proto {}", neighbour.protocol);
    }
    out
}

/// A proxy entry, as of `ip neigh show proxy`.
pub fn proxy(proxy: &Proxy) -> String {
    let mut out = format!("{} ", proxy.address);
    if let Some(dev) = &proxy.dev {
        let _ = write!(out, "dev {dev} ");
    }
    for flag in &proxy.flags {
        let _ = write!(out, "{flag} ");
    }
    out.push_str("proxy");
    if proxy.protocol != "unspec" {
        let _ = write!(out, " proto {}", proxy.protocol);
    }
    out
}

/// A table's trie, as of /proc/net/fib_trie.
pub fn trie(trie: &Trie) -> String {
    let mut out = table_heading(trie.table);
    for node in &trie.nodes {
        let indent = "   ".repeat(node.level as usize);
        if node.bits != 0 {
            let _ = writeln!(
                out,
                "{indent}  +-- {}/{} {} {} {}",
                node.prefix.address,
                node.prefix.length,
                node.bits,
                node.full_children,
                node.empty_children
            );
            continue;
        }
        let _ = writeln!(out, "{indent}  |-- {}", node.prefix.address);
        for route in &node.routes {
            let scope = match route.scope {
                0 => "universe".to_owned(),
                200 => "site".to_owned(),
                253 => "link".to_owned(),
                254 => "host".to_owned(),
                255 => "nowhere".to_owned(),
                other => format!("scope={other}"),
            };
            let kind = route.kind.to_uppercase();
            let _ = write!(out, "{indent}     /{} {scope} {kind}", route.length);
            if route.tos != 0 {
                let _ = write!(out, " tos={}", route.tos);
            }
            out.push('\n');
        }
    }
    out
}

/// The first line of /proc/net/fib_triestat (`fib_triestat_seq_show`), which is the same for all tables.
pub fn trie_sizes(trie: &Trie) -> String {
    format!(
        "Basic info: size of leaf: {} bytes, size of tnode: {} bytes.\n",
        trie.stats.leaf_bytes, trie.stats.node_bytes
    )
}

/// What a table's trie has of everything, as of /proc/net/fib_triestat.
pub fn trie_stats(trie: &Trie) -> String {
    let stats = &trie.stats;
    let mut out = table_heading(trie.table);
    let depth = (stats.total_depth * 100)
        .checked_div(stats.leaves)
        .unwrap_or(0);
    let _ = write!(
        out,
        "\tAver depth:     {}.{:02}\n\tMax depth:      {}\n\tLeaves:         {}\n\tPrefixes:       {}\n\tInternal nodes: {}\n\t",
        depth / 100,
        depth % 100,
        stats.most_depth,
        stats.leaves,
        stats.prefixes,
        stats.inner
    );
    for (bits, count) in stats.sizes.iter().enumerate().skip(1) {
        if *count != 0 {
            let _ = write!(out, "  {bits}: {count}");
        }
    }
    let _ = write!(
        out,
        "\n\tPointers: {}\nNull ptrs: {}\nTotal size: {}  kB\n",
        stats.pointers,
        stats.null_pointers,
        stats.bytes.div_ceil(1024)
    );
    if !stats.counts.is_empty() {
        out.push_str("\nCounters:\n---------\n");
        for (name, count) in &stats.counts {
            // The kernel writes one of them so.
            let space = if *name == "null node hit" { "" } else { " " };
            let _ = writeln!(out, "{name}{space}= {count}");
        }
        out.push('\n');
    }
    out
}

/// `fib_table_print`
fn table_heading(table: u32) -> String {
    match table {
        255 => "Local:\n".to_owned(),
        254 => "Main:\n".to_owned(),
        other => format!("Id {other}:\n"),
    }
}

fn destination(dst: Prefix) -> String {
    if dst.length == 0 {
        return "default".to_owned();
    }
    prefix(dst)
}

/// A single address without its length.
fn prefix(prefix: Prefix) -> String {
    let most = match prefix.address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    };
    if prefix.length == most {
        return prefix.address.to_string();
    }
    format!("{}/{}", prefix.address, prefix.length)
}

fn via(family: Family, hop: &Hop, out: &mut String) {
    let _ = match (family, hop.gateway) {
        (_, None) => return,
        (Family::Inet, Some(IpAddr::V6(gateway))) => write!(out, "via inet6 {gateway} "),
        (Family::Inet6, Some(IpAddr::V4(gateway))) => write!(out, "via inet {gateway} "),
        (_, Some(gateway)) => write!(out, "via {gateway} "),
    };
}

fn encap(hop: &Hop, out: &mut String) {
    if let Some(encap) = &hop.encap {
        let _ = write!(out, "encap {} {}", encap.kind, encap.detail);
    }
}

/// Realms are two halves of a word.
fn realms(what: &str, both: u32, out: &mut String) {
    let (from, to) = (both >> 16, both & 0xffff);
    let _ = match (from, to) {
        (0, 0) => return,
        (0, to) => write!(out, "{what} {to} "),
        (from, to) => write!(out, "{}s {from}/{to} ", what.trim_end_matches('s')),
    };
}

/// `print_rta_metrics`
fn metric(metric: &Metric, out: &mut String) {
    let lock = if metric.locked { "lock " } else { "" };
    let _ = write!(out, "{} {lock}", metric.name);
    let milliseconds = |value: u32| {
        if value >= 1000 {
            format!("{}s ", f64::from(value) / 1e3)
        } else {
            format!("{value}ms ")
        }
    };
    match metric.name {
        "rtt" => out.push_str(&milliseconds(metric.value / 8)),
        "rttvar" => out.push_str(&milliseconds(metric.value / 4)),
        "rto_min" => out.push_str(&milliseconds(metric.value)),
        "features" => out.push_str(&features(metric.value)),
        _ => {
            let _ = match &metric.text {
                Some(text) => write!(out, "{text} "),
                None => write!(out, "{} ", metric.value),
            };
        }
    }
}

/// `print_rtax_features`: of `RTAX_FEATURE_*` `ip` knows ECN, and newer ones the time stamps in microseconds.
fn features(value: u32) -> String {
    let mut out = String::new();
    let mut rest = value;
    if value & 1 != 0 {
        out.push_str("ecn ");
        rest &= !1;
    }
    if rest != 0 {
        let _ = write!(out, "{rest:#x} ");
    }
    out
}

/// Two lines as of `ip -s -d mroute` (iproute2's ip/ipmroute.c).
pub fn multicast_route(route: &MulticastRoute) -> String {
    let ends = format!("({},{})", route.src, route.dst);
    let iif = match (&route.iif, route.resolved) {
        (_, false) => "unresolved",
        (Some(iif), true) => iif,
        (None, true) => "none",
    };
    let mut out = format!("{ends:<32} Iif: {iif:<10} ");
    if !route.oifs.is_empty() {
        out.push_str("Oifs: ");
    }
    for output in &route.oifs {
        let _ = match output.ttl {
            ttl @ 2.. => write!(out, "{}(ttl {ttl}) ", output.oif),
            _ => write!(out, "{} ", output.oif),
        };
    }
    let state = if route.resolved {
        "resolved"
    } else {
        "unresolved"
    };
    let _ = write!(
        out,
        " State: {state}\n  {} packets, {} bytes",
        route.packets, route.bytes
    );
    if route.wrong_if != 0 {
        let _ = write!(out, ", {} arrived on wrong iif.", route.wrong_if);
    }
    if let Some(seconds) = route.age.as_ref().and_then(|age| age.seconds) {
        let _ = write!(out, ", Age {seconds:.2}");
    }
    let _ = write!(out, " Table: {}", route.table_name);
    out
}

/// A line as in /proc/net/ip_mr_vif, with the table behind it.
pub fn multicast_interface(vif: &MulticastInterface) -> String {
    format!(
        "{:>2} {:<10} {:>8} {:>7}  {:>8} {:>7} {:05X} {:08X} {:08X} table {}",
        vif.vif,
        vif.name,
        vif.bytes_in,
        vif.pkts_in,
        vif.bytes_out,
        vif.pkts_out,
        vif.flags,
        vif.local,
        vif.remote,
        vif.table_name
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_written_as_ip_does() {
        let shown = |name, value, text: Option<&str>, locked| {
            let mut out = String::new();
            let text = text.map(str::to_owned);
            metric(
                &Metric {
                    name,
                    value,
                    text,
                    locked,
                },
                &mut out,
            );
            out
        };
        assert_eq!(shown("mtu", 1400, None, true), "mtu lock 1400 ");
        assert_eq!(shown("rtt", 800, None, false), "rtt 100ms ");
        assert_eq!(shown("rtt", 12000, None, false), "rtt 1.5s ");
        assert_eq!(shown("features", 1, None, false), "features ecn ");
        assert_eq!(shown("features", 0x11, None, false), "features ecn 0x10 ");
        assert_eq!(shown("congctl", 7, Some("cubic"), false), "congctl cubic ");
    }

    #[test]
    fn realms_are_one_or_two() {
        let shown = |both| {
            let mut out = String::new();
            realms("realm", both, &mut out);
            out
        };
        assert_eq!(shown(0), "");
        assert_eq!(shown(5), "realm 5 ");
        assert_eq!(shown(0x0003_0005), "realms 3/5 ");
    }
}

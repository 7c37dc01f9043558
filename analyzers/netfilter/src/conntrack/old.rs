//! Kernels that track in ip_conntrack: 2.6.9 (net/ipv4/netfilter/ip_conntrack_core.c, ip_conntrack_standalone.c).

use std::net::IpAddr;

use kernel::{
    ip_conntrack, ip_conntrack_expect, ip_conntrack_tuple, ip_conntrack_tuple_hash, list_head, sym,
};
use kstruct::{Fault, FaultKind, Memory, Symbol as _, View as _, walk};
use linux::Faults;
use linux::bytes::Bytes;

use super::read::{l3_name, named, own_chains, status_names};
use super::{
    Connection, Counts, Expectation, Filter, NamespaceCounts, SCTP, TCP, Table, Tuple, l4_name,
};
use crate::net::Namespace;

/// What all entries need to know.
#[derive(Clone, Copy)]
struct Clock {
    jiffies: u64,
    hz: u64,
}

/// `PF_INET`
const IPV4: u16 = 2;
/// No table has more chains.
const MOST_CHAINS: u64 = 1 << 24;

/// All connections. `None` if connections are not tracked: the module isn't loaded.
pub fn table(
    k: &Memory,
    _: &[Namespace<'_>],
    filter: &Filter,
    faults: &mut Faults,
) -> Option<Table> {
    let size = match k.get(sym::ip_conntrack_htable_size) {
        Err(Fault {
            kind: FaultKind::NotLoaded(_),
            ..
        }) => return None,
        size => faults.check("ip_conntrack_htable_size", size)?,
    };
    let jiffies = faults.check("jiffies", linux::time::jiffies(k))?;
    let hz = faults.check("HZ", linux::time::hz(k))?.unwrap_or(1).max(1);
    let clock = Clock { jiffies, hz };
    let start = k.get(sym::ip_conntrack_hash);
    let is_own = |index| {
        let chain = start.and_then(|table| table.at(index));
        chain.ok().and_then(walked).is_some()
    };
    let own = own_chains(size.into(), is_own);
    // There is one at least (`init` of ip_conntrack_core.c), and they end where no more are.
    let goes_on = || {
        let mut behind = (own..MOST_CHAINS).map_while(|index| {
            let chain = start.and_then(|table| table.at(index));
            chain.ok().and_then(walked)
        });
        behind.any(|count| count > 0)
    };
    let holds = size != 0 && own == u64::from(size) && (k.dump().is_live() || !goes_on());
    if let Ok(table) = start {
        faults.require(holds, "ip_conntrack_htable_size", table.addr());
    }
    let chains = start.and_then(|table| table.array(own as usize));
    let found = faults
        .check("ip_conntrack_hash", chains)
        .map_or_else(Vec::new, |chains| {
            walk::par_walk(chains, |chain| {
                chain
                    .entries(ip_conntrack_tuple_hash::list)
                    .map(|entry| entry_of(entry?, clock))
                    .collect::<Vec<_>>()
            })
        });
    let count = faults.check("ip_conntrack_count", k.get(sym::ip_conntrack_count));
    let mut row = NamespaceCounts {
        count: count.map(|count| count.value().into()),
        ..NamespaceCounts::default()
    };
    let longest_chain = found.iter().map(Vec::len).max().unwrap_or(0) as u64;
    let mut entries = 0;
    let mut connections = Vec::new();
    for entry in found.into_iter().flatten() {
        let Some(Some(connection)) = faults.check("ip_conntrack_hash", entry) else {
            continue;
        };
        entries += 1;
        row.found += 1;
        if filter.takes(&connection) {
            row.add(&connection);
            connections.push(connection);
        }
    }
    // A connection is counted before it is in the table, and until it is freed (`init_conntrack`, `destroy_conntrack`).
    if let Some(count) = row.count.filter(|_| !k.dump().is_live()) {
        let what = "connections, of which ip_conntrack_count counts fewer";
        let holds = row.found.cast_signed() <= count;
        faults.require(holds, what, place(k));
    }
    let mut expectations = expectations(k, clock, faults);
    let all_expectations = expectations.len() as u64;
    expectations.retain(|expected| filter.takes_expected(expected));
    let max = faults.check("ip_conntrack_max", k.get(sym::ip_conntrack_max));
    Some(Table {
        counts: Counts {
            entries,
            max: max.and_then(|max| max.try_into().ok()).unwrap_or(0),
            buckets: own,
            longest_chain,
            expectations: all_expectations,
            namespaces: vec![row],
        },
        connections,
        expectations,
    })
}

/// Where the number of connections is.
fn place(k: &Memory) -> u64 {
    sym::ip_conntrack_count.locate(k).unwrap_or(0)
}

/// How many entries a chain has; `None` if it is none.
fn walked(chain: list_head<'_>) -> Option<usize> {
    let mut count = 0;
    for entry in chain.entries(ip_conntrack_tuple_hash::list) {
        entry.ok()?;
        count += 1;
    }
    Some(count)
}

/// The connection of an entry of the table: each has two, of which that of the original direction counts.
fn entry_of(entry: ip_conntrack_tuple_hash<'_>, clock: Clock) -> Result<Option<Connection>, Fault> {
    let ct = entry.ctrack().deref()?;
    // Nothing in an entry says which of the two it is, but its place does.
    let tuples = ct.tuplehash();
    match tuples.get(0) {
        Some(original) if original.addr() == entry.addr() => connection(ct, clock).map(Some),
        _ if tuples.get(1).is_some_and(|it| it.addr() == entry.addr()) => Ok(None),
        _ => Err(Fault {
            address: entry.addr(),
            kind: FaultKind::Inconsistent,
        }),
    }
}

fn connection(ct: ip_conntrack<'_>, clock: Clock) -> Result<Connection, Fault> {
    let tuples = ct.tuplehash();
    let (Some(original), Some(reply)) = (tuples.get(0), tuples.get(1)) else {
        return Err(Fault {
            address: ct.addr(),
            kind: FaultKind::OutOfRange,
        });
    };
    let counters = counters(ct);
    let protonum = protocol(original.tuple());
    let mut status = status_names(ct.status());
    // Later kernels have bits for these.
    status.extend(translations(ct));
    let helper = match ct.helper().deref_or_null()? {
        Some(helper) if !helper.name().is_null() => Some(helper.name().read()?.to_string()),
        _ => None,
    };
    let left = time_left(ct.memory(), ct.timeout(), clock);
    Ok(Connection {
        netns: 0,
        address: ct.addr(),
        l3proto: l3_name(IPV4),
        l3num: IPV4,
        proto: l4_name(protonum),
        protonum,
        timeout: Some(left.unwrap_or(0)),
        // One whose timer has fired is no longer in the table.
        expired: left.is_none(),
        state: state(ct, protonum),
        original: tuple(original.tuple(), counters[0]),
        reply: tuple(reply.tuple(), counters[1]),
        status,
        status_value: ct.status(),
        mark: mark(ct),
        secmark: None,
        labels: Vec::new(),
        zone: None,
        start: None,
        helper,
        expecting: ct.expecting(),
        // The expectation names the connection that it was expected of.
        master: match ct.master().deref_or_null()? {
            Some(expected) => expected.expectant().addr(),
            None => 0,
        },
        references: ct.ct_general().use_().value().into(),
        list: "hash",
    })
}

/// Whole seconds until a timer fires; `None` if it isn't started.
fn time_left(k: &Memory, timer: kernel::timer_list<'_>, clock: Clock) -> Option<u64> {
    // `timer_pending`
    if timer.base().is_null() {
        return None;
    }
    let ahead = linux::time::Clock {
        now: clock.jiffies,
        hz: Some(clock.hz),
    }
    .until(k, timer.expires());
    Some(ahead.jiffies / clock.hz)
}

/// Packets and bytes of both directions, where the kernel counts them (CONFIG_IP_NF_CT_ACCT).
fn counters(ct: ip_conntrack<'_>) -> [Option<(u64, u64)>; 2] {
    #[cfg(kernel_has = "ip_conntrack.counters")]
    {
        [0, 1].map(|index| {
            let counter = ct.counters().get(index)?;
            Some((counter.packets(), counter.bytes()))
        })
    }
    #[cfg(not(kernel_has = "ip_conntrack.counters"))]
    {
        let _ = ct;
        [None; 2]
    }
}

fn mark(ct: ip_conntrack<'_>) -> Option<u32> {
    #[cfg(kernel_has = "ip_conntrack.mark")]
    {
        Some(ct.mark() as u32)
    }
    #[cfg(not(kernel_has = "ip_conntrack.mark"))]
    {
        let _ = ct;
        None
    }
}

/// Which addresses of what goes in the original direction are translated (`struct ip_nat_info`).
fn translations(ct: ip_conntrack<'_>) -> Vec<String> {
    let mut found = Vec::new();
    #[cfg(kernel_has = "ip_conntrack.nat.info.manips")]
    {
        let info = ct.nat().info();
        let manips = info.manips();
        let used = usize::try_from(info.num_manips()).unwrap_or(usize::MAX);
        let original: Vec<u8> = manips
            .iter()
            .take(used)
            .filter(|manip| manip.direction() == 0)
            .map(|manip| manip.maniptype())
            .collect();
        // enum ip_nat_manip_type
        for (kind, name) in [(0, "SRC_NAT"), (1, "DST_NAT")] {
            if original.contains(&kind) {
                found.push(name.to_owned());
            }
        }
    }
    let _ = (ct, &mut found);
    found
}

fn state(ct: ip_conntrack<'_>, protonum: u8) -> Option<String> {
    match protonum {
        6 => Some(named(&TCP, u64::from(ct.proto().tcp().state()))),
        132 => Some(named(&SCTP, ct.proto().sctp().state().0.into())),
        _ => None,
    }
}

fn protocol(tuple: ip_conntrack_tuple<'_>) -> u8 {
    u8::try_from(tuple.dst().protonum()).unwrap_or(0)
}

fn tuple(tuple: ip_conntrack_tuple<'_>, counters: Option<(u64, u64)>) -> Tuple {
    let (source, destination) = (tuple.src(), tuple.dst());
    let address = |value| IpAddr::V4(linux::net::address::ipv4(value));
    Tuple::new(
        IPV4,
        protocol(tuple),
        (address(source.ip()), address(destination.ip())),
        (Bytes(source.u().bytes()), Bytes(destination.u().bytes())),
        counters,
    )
}

/// What is expected of other connections.
fn expectations(k: &Memory, clock: Clock, faults: &mut Faults) -> Vec<Expectation> {
    const WHAT: &str = "ip_conntrack_expect_list";
    let mut found = Vec::new();
    if let Some(head) = faults.check(WHAT, k.get(sym::ip_conntrack_expect_list)) {
        for entry in head.entries(ip_conntrack_expect::list) {
            let row = entry.and_then(|entry| expectation(entry, clock));
            found.extend(faults.check(WHAT, row));
        }
    }
    found
}

fn expectation(expect: ip_conntrack_expect<'_>, clock: Clock) -> Result<Expectation, Fault> {
    let helper = match expect.expectant().deref_or_null()? {
        Some(master) => master.helper().deref_or_null()?,
        None => None,
    };
    // A helper without a timeout waits for ever.
    let has_timer = helper.is_some_and(|helper| helper.timeout() != 0);
    Ok(Expectation {
        netns: 0,
        address: expect.addr(),
        timeout: has_timer
            .then(|| time_left(expect.memory(), expect.timeout(), clock).unwrap_or(0)),
        protonum: protocol(expect.tuple()),
        tuple: tuple(expect.tuple(), None),
        flags: Vec::new(),
        helper: match helper {
            Some(helper) if !helper.name().is_null() => Some(helper.name().read()?.to_string()),
            _ => None,
        },
        class: None,
        master: expect.expectant().addr(),
    })
}

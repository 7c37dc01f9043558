//! Neighbours: the tables of ARP and ND, which all namespaces share (net/core/neighbour.c).

use std::collections::HashSet;
use std::net::IpAddr;

use kernel::{neigh_table, neighbour, net_device, pneigh_entry, sym};
use kstruct::walk::chain;
use kstruct::{Fault, FaultKind, Memory, Ptr, View as _};
use linux::Faults;
use linux::net as linux_net;
use linux::time::Clock;

use super::inconsistent;
use crate::model::{Family, Neighbour, NeighbourTable, Proxy};
use crate::names;

/// `NUD_VALID`, include/net/neighbour.h: states in which the hardware address is one.
const VALID: u8 = 0x80 | 0x40 | 0x02 | 0x10 | 0x04 | 0x08;
/// No table has more buckets: there are at most twice as many as entries.
const MOST_BUCKETS: u64 = 1 << 20;
/// `PNEIGH_HASHMASK` and one.
const PROXY_BUCKETS: usize = 16;

/// `NTF_PROXY`
const PROXY: u32 = 8;

/// The tables of ARP and of ND, with what each is for: what it says of that itself was compiled in.
fn tables<'m>(k: &'m Memory, faults: &mut Faults) -> Vec<(Family, neigh_table<'m>)> {
    let mut found = Vec::new();
    let table = faults.check("ARP table", k.get(sym::arp_tbl));
    found.extend(table.map(|table| (Family::Inet, table)));
    #[cfg(kernel_has = "sym:nd_tbl")]
    {
        let table = faults.check("ND table", k.get(sym::nd_tbl));
        found.extend(table.map(|table| (Family::Inet6, table)));
    }
    for (family, table) in &found {
        let is_it = super::family(table.family()) == Some(*family);
        if !is_it || table.key_len() as usize != bytes(*family) {
            faults.add("neighbour table", inconsistent(table.addr()));
        }
    }
    found
}

/// How many an address has.
fn bytes(family: Family) -> usize {
    match family {
        Family::Inet => 4,
        Family::Inet6 => 16,
    }
}

/// All entries in the order of `ip neigh`, those of all namespaces together, and how many each table has.
pub fn neighbours(
    k: &Memory,
    clock: Clock,
    faults: &mut Faults,
) -> (Vec<Neighbour>, Vec<NeighbourTable>) {
    let mut found = Vec::new();
    let mut counts = Vec::new();
    for (family, table) in tables(k, faults) {
        let before = faults.count();
        let entries = entries(table, faults);
        let count = NeighbourTable {
            family,
            allocated: table.entries().value(),
            hashed: entries.len(),
            is_read: faults.count() == before,
        };
        // `neigh_alloc` counts an entry before it is in a bucket, and `neigh_destroy` doesn't any more when it was taken out long ago.
        if count.missing() < 0 {
            let what = "entries of a neighbour table, of which it counts fewer";
            faults.add(what, inconsistent(table.addr()));
        }
        counts.push(count);
        for entry in entries {
            let entry = describe(k, family, entry, clock, faults);
            found.extend(faults.check("neighbour", entry));
        }
    }
    (found, counts)
}

/// A table's entries, bucket by bucket.
pub fn entries<'m>(table: neigh_table<'m>, faults: &mut Faults) -> Vec<neighbour<'m>> {
    const WHAT: &str = "neighbour table";
    let mut found = Vec::new();
    let Some(hash) = faults.check(WHAT, table.nht().deref()) else {
        return found;
    };
    let count = 1u64.checked_shl(hash.hash_shift()).unwrap_or(u64::MAX);
    if count > MOST_BUCKETS {
        faults.add(
            WHAT,
            Fault {
                address: hash.addr(),
                kind: FaultKind::TooLarge,
            },
        );
        return found;
    }
    #[cfg(kernel_has = "neigh_hash_table.hash_buckets")]
    if let Some(buckets) = faults.check(WHAT, hash.hash_buckets().array(count as usize)) {
        let all = buckets
            .iter()
            .flat_map(|first| chain(Ok(first), neighbour::next));
        found = own(table, all, faults);
    }
    // 6.13 and later.
    #[cfg(not(kernel_has = "neigh_hash_table.hash_buckets"))]
    if let Some(heads) = faults.check(WHAT, hash.hash_heads().array(count as usize)) {
        let all = heads.iter().flat_map(|head| head.entries(neighbour::hash));
        found = own(table, all, faults);
    }
    // Each is in one bucket: a chain that leads into another one has lost what was its own.
    let mut seen = HashSet::new();
    let all = found.len();
    found.retain(|entry| seen.insert(entry.addr()));
    if found.len() < all {
        let fault = inconsistent(hash.addr());
        faults.add("neighbours that several buckets have", fault);
    }
    #[cfg(kernel_has = "neigh_table.gc_list")]
    if let Some(lost) = lost(table, &seen) {
        faults.add("neighbour that is in no bucket", inconsistent(lost));
    }
    found
}

/// The entries that know their table (`neigh_alloc`). Where many don't, the table isn't as large as it says, and nothing behind them is read.
fn own<'m>(
    table: neigh_table<'m>,
    all: impl Iterator<Item = Result<neighbour<'m>, Fault>>,
    faults: &mut Faults,
) -> Vec<neighbour<'m>> {
    const MOST_BAD: usize = 16;
    let (mut found, mut bad) = (Vec::new(), 0);
    for entry in all {
        let entry = entry.and_then(|entry| match entry.tbl().addr() == table.addr() {
            true => Ok(entry),
            false => Err(inconsistent(entry.addr())),
        });
        match faults.check("neighbour table", entry) {
            Some(entry) => found.push(entry),
            None => bad += 1,
        }
        if bad > MOST_BAD {
            break;
        }
    }
    found
}

/// One that its table has, by the list of those that are given up when there are too many, and that is in no bucket.
#[cfg(kernel_has = "neigh_table.gc_list")]
fn lost(table: neigh_table<'_>, found: &HashSet<u64>) -> Option<u64> {
    table
        .gc_list()
        .entries(neighbour::gc_list)
        .map_while(Result::ok)
        .map(neighbour::addr)
        .find(|entry| !found.contains(entry))
}

/// What `neigh_fill_info` says of an entry.
fn describe(
    k: &Memory,
    family: Family,
    entry: neighbour<'_>,
    clock: Clock,
    faults: &mut Faults,
) -> Result<Neighbour, Fault> {
    let device = entry.dev().deref()?;
    let state = entry.nud_state();
    let lladdr = if state & VALID != 0 {
        let length = usize::from(device.addr_len());
        // There is room for MAX_ADDR_LEN.
        let bytes = entry.ha().bytes().get(..length);
        let bytes = bytes.ok_or_else(|| inconsistent(device.addr()));
        let bytes = faults.check("hardware address of a neighbour", bytes);
        bytes.map(|bytes| linux_net::format_hardware_address(device.type_().into(), bytes))
    } else {
        None
    };
    Ok(Neighbour {
        netns: netns_of(device)?,
        family,
        address: key(entry.primary_key().cast(), family)?,
        dev: device.name().to_string(),
        ifindex: device.ifindex(),
        lladdr: lladdr.filter(|address| !address.is_empty()),
        state: names::neighbour_states(state),
        flags: names::neighbour_flags(entry.flags().into()),
        protocol: names::protocol(entry.protocol()),
        refcnt: entry.refcnt().value().wrapping_sub(1),
        probes: entry.probes().value(),
        used: clock.age(k, entry.used()),
        confirmed: clock.age(k, entry.confirmed()),
        updated: clock.age(k, entry.updated()),
        queued: entry.arp_queue().qlen(),
        queued_bytes: entry.arp_queue_len_bytes(),
        at: entry.addr(),
    })
}

/// Addresses that the kernel answers for.
pub fn proxies(k: &Memory, faults: &mut Faults) -> Vec<Proxy> {
    const WHAT: &str = "proxy entries";
    let mut found = Vec::new();
    for (family, table) in tables(k, faults) {
        // Allocated with the table, one for all namespaces.
        let Some(buckets) = faults.check(WHAT, table.phash_buckets().array(PROXY_BUCKETS)) else {
            continue;
        };
        for entry in buckets
            .iter()
            .flat_map(|first| chain(Ok(first), pneigh_entry::next))
        {
            if let Some(entry) = faults.check(WHAT, entry) {
                found.extend(faults.check(WHAT, proxy(family, entry)));
            }
        }
    }
    found
}

/// What `pneigh_fill_info` says of an entry.
fn proxy(family: Family, entry: pneigh_entry<'_>) -> Result<Proxy, Fault> {
    let device = entry.dev().deref_or_null()?;
    let net = entry.net().net().deref()?;
    Ok(Proxy {
        netns: net.ns().inum().into(),
        family,
        address: key(entry.key().cast(), family)?,
        dev: device.map(|device| device.name().to_string()),
        // Which they all are.
        flags: names::neighbour_flags(u32::from(entry.flags()) & !PROXY),
        protocol: names::protocol(entry.protocol()),
        at: entry.addr(),
    })
}

/// The address that an entry is for, which lies behind it.
fn key(place: Ptr<'_, u8>, family: Family) -> Result<IpAddr, Fault> {
    let found = place.array(bytes(family))?;
    if let Ok(bytes) = <[u8; 4]>::try_from(found.bytes()) {
        return Ok(bytes.into());
    }
    if let Ok(bytes) = <[u8; 16]>::try_from(found.bytes()) {
        return Ok(bytes.into());
    }
    Err(inconsistent(place.addr()))
}

fn netns_of(device: net_device<'_>) -> Result<u64, Fault> {
    Ok(device.nd_net().net().deref()?.ns().inum().into())
}

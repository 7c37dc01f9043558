//! Neighbours: the tables of ARP and ND, which all namespaces share (net/core/neighbour.c).

use std::collections::HashSet;
use std::net::IpAddr;

use kernel::{neigh_table, neighbour, net_device, pneigh_entry, sym};
use kstruct::walk::chain;
use kstruct::{Fault, FaultKind, Memory, Ptr, View as _};
use linux::Faults;
use linux::net as linux_net;
use linux::time::Clock;

use super::{family, inconsistent};
use crate::model::{Neighbour, NeighbourTable, Proxy};
use crate::names;

/// `NUD_VALID`, include/net/neighbour.h: states in which the hardware address is one.
const VALID: u8 = 0x80 | 0x40 | 0x02 | 0x10 | 0x04 | 0x08;
/// No table has more buckets: there are at most twice as many as entries.
const MOST_BUCKETS: u64 = 1 << 20;
/// `PNEIGH_HASHMASK` and one.
const PROXY_BUCKETS: usize = 16;

/// `NTF_PROXY`
const PROXY: u32 = 8;

/// The tables of ARP and of ND.
fn tables<'m>(k: &'m Memory, faults: &mut Faults) -> Vec<neigh_table<'m>> {
    let mut found = Vec::new();
    found.extend(faults.check("ARP table", k.get(sym::arp_tbl)));
    #[cfg(kernel_has = "sym:nd_tbl")]
    found.extend(faults.check("ND table", k.get(sym::nd_tbl)));
    found
}

/// All entries in the order of `ip neigh`, those of all namespaces together, and how many each table has.
pub fn neighbours(
    k: &Memory,
    clock: Clock,
    faults: &mut Faults,
) -> (Vec<Neighbour>, Vec<NeighbourTable>) {
    const WHAT: &str = "neighbour table";
    let mut found = Vec::new();
    let mut counts = Vec::new();
    for table in tables(k, faults) {
        let before = faults.count();
        let entries = entries(table, faults);
        let family = family(table.family()).ok_or_else(|| inconsistent(table.addr()));
        if let Some(family) = faults.check(WHAT, family) {
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
        }
        for entry in entries {
            let entry = describe(k, table, entry, clock);
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
    {
        if let Some(buckets) = faults.check(WHAT, hash.hash_buckets().array(count as usize)) {
            for entry in buckets
                .iter()
                .flat_map(|first| chain(Ok(first), neighbour::next))
            {
                found.extend(faults.check(WHAT, entry));
            }
        }
    }
    // 6.13 and later.
    #[cfg(not(kernel_has = "neigh_hash_table.hash_buckets"))]
    {
        if let Some(heads) = faults.check(WHAT, hash.hash_heads().array(count as usize)) {
            for entry in heads.iter().flat_map(|head| head.entries(neighbour::hash)) {
                found.extend(faults.check(WHAT, entry));
            }
        }
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
    table: neigh_table<'_>,
    entry: neighbour<'_>,
    clock: Clock,
) -> Result<Neighbour, Fault> {
    let device = entry.dev().deref()?;
    let state = entry.nud_state();
    let lladdr = if state & VALID != 0 {
        let length = usize::from(device.addr_len());
        let hardware = entry.ha().bytes();
        let bytes = hardware.get(..length).unwrap_or(hardware);
        Some(linux_net::format_hardware_address(
            device.type_().into(),
            bytes,
        ))
    } else {
        None
    };
    Ok(Neighbour {
        netns: netns_of(device)?,
        family: family(table.family()).ok_or_else(|| inconsistent(table.addr()))?,
        address: key(entry.primary_key().cast(), table)?,
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
    for table in tables(k, faults) {
        // Allocated with the table, one for all namespaces.
        let Some(buckets) = faults.check(WHAT, table.phash_buckets().array(PROXY_BUCKETS)) else {
            continue;
        };
        for entry in buckets
            .iter()
            .flat_map(|first| chain(Ok(first), pneigh_entry::next))
        {
            if let Some(entry) = faults.check(WHAT, entry) {
                found.extend(faults.check(WHAT, proxy(table, entry)));
            }
        }
    }
    found
}

/// What `pneigh_fill_info` says of an entry.
fn proxy(table: neigh_table<'_>, entry: pneigh_entry<'_>) -> Result<Proxy, Fault> {
    let device = entry.dev().deref_or_null()?;
    let net = entry.net().net().deref()?;
    Ok(Proxy {
        netns: net.ns().inum().into(),
        family: family(table.family()).ok_or_else(|| inconsistent(table.addr()))?,
        address: key(entry.key().cast(), table)?,
        dev: device.map(|device| device.name().to_string()),
        // Which they all are.
        flags: names::neighbour_flags(u32::from(entry.flags()) & !PROXY),
        protocol: names::protocol(entry.protocol()),
        at: entry.addr(),
    })
}

/// The address that an entry is for, which lies behind it.
fn key(bytes: Ptr<'_, u8>, table: neigh_table<'_>) -> Result<IpAddr, Fault> {
    let found = bytes.array(
        usize::try_from(table.key_len())
            .unwrap_or(usize::MAX)
            .min(16),
    )?;
    if let Ok(bytes) = <[u8; 4]>::try_from(found.bytes()) {
        return Ok(bytes.into());
    }
    if let Ok(bytes) = <[u8; 16]>::try_from(found.bytes()) {
        return Ok(bytes.into());
    }
    Err(inconsistent(table.addr()))
}

fn netns_of(device: net_device<'_>) -> Result<u64, Fault> {
    Ok(device.nd_net().net().deref()?.ns().inum().into())
}

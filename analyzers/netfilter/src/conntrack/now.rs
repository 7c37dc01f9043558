//! Kernels that track in nf_conntrack (net/netfilter/nf_conntrack_core.c).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use kernel::{KERNEL, hlist_nulls_head, nf_conn, nf_conntrack_tuple, nf_conntrack_tuple_hash, sym};
use kstruct::{Array, Fault, FaultKind, Memory, Ptr, View, walk};
use linux::Faults;
use linux::bytes::Bytes;

use super::l4_name;
use super::read::{l3_name, named, own_chains, status_names};
use super::{
    Connection, Counts, DCCP, Expectation, Filter, NamespaceCounts, SCTP, TCP, Table, Tuple, Zone,
};
use crate::net::{self, Namespace};

/// What all entries need to know.
#[derive(Clone, Copy)]
struct Clock {
    jiffies: u64,
    hz: u64,
}

/// All connections of some namespaces. `None` if connections are not tracked: the module isn't loaded.
pub fn table(
    k: &Memory,
    namespaces: &[Namespace<'_>],
    filter: &Filter,
    faults: &mut Faults,
) -> Option<Table> {
    let size = match k.get(sym::nf_conntrack_htable_size) {
        Err(Fault {
            kind: FaultKind::NotLoaded(_),
            ..
        }) => return None,
        size => faults.check("nf_conntrack_htable_size", size)?,
    };
    let clock = faults.check("jiffies", linux::time::jiffies(k))?;
    let hz = faults.check("HZ", linux::time::hz(k))?.unwrap_or(1).max(1);
    let clock = Clock { jiffies: clock, hz };
    let is_whole = is_whole(size);
    let start = k.get(sym::nf_conntrack_hash);
    let size_fault = Fault {
        address: start.map_or(0, |table| table.addr()),
        kind: FaultKind::Inconsistent,
    };
    if !is_whole {
        faults.add("nf_conntrack_htable_size", size_fault);
    }
    let own = start.map_or(0, |table| {
        own_chains(size.into(), |index| {
            let chain = table.at(index);
            chain.is_ok_and(|chain| walked(chain, index).is_some())
        })
    });
    if is_whole && start.is_ok() && own < size.into() {
        faults.add("nf_conntrack_htable_size", size_fault);
    }
    let chains = start.and_then(|table| table.array(own as usize));
    let chains = faults.check("nf_conntrack_hash", chains);
    if is_whole && !k.dump().is_live() && !is_resized(k) && goes_on(k, size) {
        let what = "nf_conntrack_hash, which has more chains than nf_conntrack_htable_size";
        faults.add(what, size_fault);
    }
    let by_address: BTreeMap<u64, u64> = namespaces
        .iter()
        .map(|namespace| (namespace.net.addr(), namespace.inode))
        .collect();
    let found = chains.map_or_else(Vec::new, |chains| {
        walk::par_index(chains.len(), |index| {
            let Some(chain) = chains.get(index) else {
                return Vec::new();
            };
            let mut entries = chain.entries(nf_conntrack_tuple_hash::hnnode);
            let mut found: Vec<_> = entries
                .by_ref()
                .map(|entry| entry_of(entry?, &by_address, clock))
                .collect();
            // The end of a chain says whose it is (`nf_ct_alloc_hashtable`): that of another one cuts it short.
            let own = (index as u64) << 1 | 1;
            if entries.end() != own && found.iter().all(Result::is_ok) {
                found.push(Err(Fault {
                    address: chain.addr(),
                    kind: FaultKind::Inconsistent,
                }));
            }
            found
        })
    });
    let longest_chain = found.iter().map(Vec::len).max().unwrap_or(0) as u64;
    let mut counts: BTreeMap<u64, NamespaceCounts> = BTreeMap::new();
    for namespace in namespaces {
        let mut row = NamespaceCounts {
            netns: namespace.inode,
            ..NamespaceCounts::default()
        };
        let what = format_args!("connections of namespace {}", namespace.inode);
        row.count = faults.check(what, count(*namespace)).flatten();
        row.statistics = faults
            .check(what, statistics(*namespace))
            .unwrap_or_default();
        counts.insert(namespace.inode, row);
    }
    let mut entries = 0;
    let mut connections = Vec::new();
    for entry in found.into_iter().flatten() {
        let Some(Some(connection)) = faults.check("nf_conntrack_hash", entry) else {
            continue;
        };
        entries += 1;
        let mut row = counts.get_mut(&connection.netns);
        if let Some(row) = &mut row {
            row.found += 1;
        }
        if filter.takes(&connection) {
            if let Some(row) = row {
                row.add(&connection);
            }
            connections.push(connection);
        }
    }
    // A namespace counts a connection before it is made, and until it is freed: it may have more than the table, and never fewer.
    for namespace in namespaces.iter().filter(|_| !k.dump().is_live()) {
        let row = counts.get(&namespace.inode);
        if row.is_some_and(|row| {
            row.count
                .is_some_and(|count| count < row.found.cast_signed())
        }) {
            let what = format_args!(
                "connections of namespace {}, of which it counts fewer",
                namespace.inode
            );
            let fault = Fault {
                address: namespace.net.addr(),
                kind: FaultKind::Inconsistent,
            };
            faults.add(what, fault);
        }
    }
    for namespace in namespaces {
        for entry in dying(*namespace, faults) {
            let connection = connection(entry, namespace.inode, "dying", clock);
            let what = format_args!("dying connections of namespace {}", namespace.inode);
            connections.extend(
                faults
                    .check(what, connection)
                    .filter(|entry| filter.takes(entry)),
            );
        }
    }
    let before = faults.count();
    let mut expectations = expectations(k, &by_address, clock, faults);
    if faults.count() == before && !k.dump().is_live() && !is_expecting(k) {
        are_counted(namespaces, &expectations, faults);
    }
    let all_expectations = expectations.len() as u64;
    expectations.retain(|expected| filter.takes_expected(expected));
    Some(Table {
        counts: Counts {
            entries,
            max: faults
                .check("nf_conntrack_max", k.get(sym::nf_conntrack_max))
                .unwrap_or(0)
                .into(),
            buckets: own,
            longest_chain,
            expectations: all_expectations,
            namespaces: counts.into_values().collect(),
        },
        connections,
        expectations,
    })
}

/// Bytes of a page.
const PAGE: u32 = 4096;

/// Whether a table may have so many chains: it is made of whole pages (`nf_ct_alloc_hashtable`).
fn is_whole(size: u32) -> bool {
    size != 0 && size.is_multiple_of(PAGE / u32::from(KERNEL.pointer_size))
}

/// Whether the kernel is just putting another table in the place of this one (`nf_conntrack_hash_resize`): then where the table is and how
/// large it is need not fit.
fn is_resized(k: &Memory) -> bool {
    #[cfg(all(
        kernel_has = "sym:nf_conntrack_generation",
        kernel_has = "seqcount_spinlock.seqcount"
    ))]
    {
        let generation = k.get(sym::nf_conntrack_generation);
        generation.map_or(true, |generation| {
            !generation.seqcount().sequence().is_multiple_of(2)
        })
    }
    #[cfg(not(all(
        kernel_has = "sym:nf_conntrack_generation",
        kernel_has = "seqcount_spinlock.seqcount"
    )))]
    {
        let _ = k;
        true
    }
}

/// How many entries the chain of a number has; `None` if it doesn't end as that does (`nf_ct_alloc_hashtable`).
fn walked(chain: hlist_nulls_head<'_>, index: u64) -> Option<usize> {
    let mut entries = chain.entries(nf_conntrack_tuple_hash::hnnode);
    let mut count = 0;
    for entry in entries.by_ref() {
        entry.ok()?;
        count += 1;
    }
    (entries.end() == index << 1 | 1).then_some(count)
}

/// Whether chains with connections follow the last one of the table: each ends with the number that it would have. What is left of a larger
/// table that was given back has such ends, too, but no connections.
fn goes_on(k: &Memory, size: u32) -> bool {
    /// More than any table has.
    const MOST: u64 = 1 << 26;
    let Ok(table) = k.get(sym::nf_conntrack_hash) else {
        return false;
    };
    for index in u64::from(size)..MOST {
        match table.at(index).map(|chain| walked(chain, index)) {
            Ok(Some(0)) => {}
            Ok(Some(_)) => return true,
            Ok(None) | Err(_) => return false,
        }
    }
    false
}

/// The connection of an entry of the table: each has two, of which that of the original direction counts. `None` for the other,
/// and those of other namespaces.
fn entry_of(
    entry: nf_conntrack_tuple_hash<'_>,
    namespaces: &BTreeMap<u64, u64>,
    clock: Clock,
) -> Result<Option<Connection>, Fault> {
    let bad = Fault {
        address: entry.addr(),
        kind: FaultKind::Inconsistent,
    };
    let direction = entry.tuple().dst().dir();
    let connection_at = connection_of(entry, direction.min(1))?;
    // One of a namespace that is being taken down is not on the list of them.
    let inode = match namespaces.get(&connection_at.ct_net().net().addr()) {
        Some(inode) => Some(inode),
        None => {
            is_namespace(connection_at)?;
            None
        }
    };
    let tuples = connection_at.tuplehash();
    match direction {
        0 => inode
            .map(|inode| connection(connection_at, *inode, "hash", clock))
            .transpose(),
        1 => match tuples.get(0) {
            Some(original) if original.tuple().dst().dir() == 0 => Ok(None),
            _ => Err(bad),
        },
        _ => Err(bad),
    }
}

/// Whether the namespace of a connection is one: it leads to what is done with those (`setup_net`, `preinit_net`).
fn is_namespace(ct: nf_conn<'_>) -> Result<(), Fault> {
    let net = ct.ct_net().net().deref()?;
    #[cfg(all(kernel_has = "sym:netns_operations", kernel_has = "ns_common.ops"))]
    if net.ns().ops().addr() != net.memory().address_of(sym::netns_operations) {
        return Err(Fault {
            address: ct.addr(),
            kind: FaultKind::Inconsistent,
        });
    }
    let _ = net;
    Ok(())
}

/// The `nf_conn` of which this is the tuple of a direction.
fn connection_of(entry: nf_conntrack_tuple_hash<'_>, direction: u8) -> Result<nf_conn<'_>, Fault> {
    let k = entry.memory();
    let first = nf_conn::phantom(k).tuplehash().addr();
    let offset = first.wrapping_add(u64::from(direction) * nf_conntrack_tuple_hash::SIZE as u64);
    nf_conn::at(k, k.wrap(entry.addr().wrapping_sub(offset)))
}

/// The `nf_conn` of its first tuple.
fn original_of(entry: nf_conntrack_tuple_hash<'_>) -> Result<nf_conn<'_>, Fault> {
    connection_of(entry, 0)
}

fn connection(
    ct: nf_conn<'_>,
    netns: u64,
    list: &'static str,
    clock: Clock,
) -> Result<Connection, Fault> {
    let tuples = ct.tuplehash();
    let (Some(original), Some(reply)) = (tuples.get(0), tuples.get(1)) else {
        return Err(Fault {
            address: ct.addr(),
            kind: FaultKind::OutOfRange,
        });
    };
    // What a connection is of it is in both directions.
    let (one, other) = (original.tuple(), reply.tuple());
    let is_sound = one.src().l3num() == other.src().l3num()
        && one.dst().protonum() == other.dst().protonum()
        && (one.dst().dir(), other.dst().dir()) == (0, 1);
    if !is_sound {
        return Err(Fault {
            address: ct.addr(),
            kind: FaultKind::Inconsistent,
        });
    }
    let status = ct.status();
    let (left, expired) = time_left(ct, clock);
    let extensions = extensions(ct)?;
    let counters = extensions.accounting()?;
    let (l3num, protonum) = (
        original.tuple().src().l3num(),
        original.tuple().dst().protonum(),
    );
    #[cfg(kernel_has = "nf_conn.mark")]
    let mark = Some(ct.mark());
    #[cfg(not(kernel_has = "nf_conn.mark"))]
    let mark = None;
    #[cfg(kernel_has = "nf_conn.secmark")]
    let secmark = Some(ct.secmark());
    #[cfg(not(kernel_has = "nf_conn.secmark"))]
    let secmark = None;
    let (helper, expecting) = extensions.helper()?;
    Ok(Connection {
        netns,
        address: ct.addr(),
        l3proto: l3_name(l3num),
        l3num,
        proto: l4_name(protonum),
        protonum,
        timeout: (status >> 14 & 1 == 0).then_some(left),
        expired,
        state: state(ct, protonum),
        original: tuple(original.tuple(), counters[0]),
        reply: tuple(reply.tuple(), counters[1]),
        status: status_names(status),
        status_value: status,
        mark,
        secmark,
        labels: extensions.labels()?,
        zone: zone(ct),
        start: extensions.start()?,
        helper,
        expecting,
        master: ct.master().addr(),
        references: references(ct),
        list,
    })
}

fn references(ct: nf_conn<'_>) -> i64 {
    #[cfg(kernel_has = "nf_conntrack.use.refs")]
    {
        ct.ct_general().use_().value().into()
    }
    #[cfg(not(kernel_has = "nf_conntrack.use.refs"))]
    {
        ct.ct_general().use_().value().into()
    }
}

/// Seconds until it is forgotten (`nf_ct_expires`): the stamp is 32 bits of jiffies.
fn time_left(ct: nf_conn<'_>, clock: Clock) -> (u64, bool) {
    let left = ct
        .timeout()
        .wrapping_sub(clock.jiffies as u32)
        .cast_signed();
    (u64::try_from(left).unwrap_or(0) / clock.hz, left <= 0)
}

fn zone(ct: nf_conn<'_>) -> Option<Zone> {
    #[cfg(kernel_has = "nf_conn.zone")]
    {
        let zone = ct.zone();
        Some(Zone {
            id: zone.id(),
            direction: match zone.dir() {
                1 => "original",
                2 => "reply",
                _ => "both",
            },
        })
    }
    #[cfg(not(kernel_has = "nf_conn.zone"))]
    {
        let _ = ct;
        None
    }
}

fn state(ct: nf_conn<'_>, protonum: u8) -> Option<String> {
    match protonum {
        6 => Some(named(&TCP, ct.proto().tcp().state().into())),
        132 => Some(named(&SCTP, u64::from(ct.proto().sctp().state().0 as u32))),
        #[cfg(kernel_has = "nf_conntrack_proto.dccp")]
        33 => Some(named(&DCCP, ct.proto().dccp().state().into())),
        #[cfg(not(kernel_has = "nf_conntrack_proto.dccp"))]
        33 => Some(named(&DCCP, u64::MAX)),
        _ => None,
    }
}

fn ip(bytes: &[u8], l3num: u16) -> IpAddr {
    let bytes = Bytes(bytes);
    if l3num == 2 {
        IpAddr::V4(bytes.ipv4(0).unwrap_or(Ipv4Addr::UNSPECIFIED))
    } else {
        IpAddr::V6(bytes.ipv6(0).unwrap_or(Ipv6Addr::UNSPECIFIED))
    }
}

fn tuple(tuple: nf_conntrack_tuple<'_>, counters: Option<(u64, u64)>) -> Tuple {
    let (source, destination) = (tuple.src(), tuple.dst());
    let (l3num, protonum) = (source.l3num(), destination.protonum());
    let ends = (Bytes(source.u().bytes()), Bytes(destination.u().bytes()));
    let addresses = (
        ip(source.u3().bytes(), l3num),
        ip(destination.u3().bytes(), l3num),
    );
    Tuple::new(l3num, protonum, addresses, ends, counters)
}

/// What a connection has beyond its `nf_conn`.
struct Extensions<'m> {
    k: &'m Memory,
    address: u64,
    offsets: Option<Array<'m, u8>>,
}

fn extensions(ct: nf_conn<'_>) -> Result<Extensions<'_>, Fault> {
    let ext = ct.ext().deref_or_null()?;
    let offsets = ext.map(kernel::nf_ct_ext::offset);
    // Each lies behind the head, and not beyond the end.
    if let Some(ext) = ext {
        let head = kstruct::offset_of!(kernel::nf_ct_ext, data) as u64;
        let within = head..u64::from(ext.len());
        let is_sound = |offset: u8| offset == 0 || within.contains(&offset.into());
        if !ext.offset().iter().all(is_sound) {
            return Err(Fault {
                address: ext.addr(),
                kind: FaultKind::Inconsistent,
            });
        }
    }
    Ok(Extensions {
        k: ct.memory(),
        address: ct.ext().addr(),
        offsets,
    })
}

impl<'m> Extensions<'m> {
    /// Where extension `number` is (`nf_ct_ext_find`, include/net/netfilter/nf_conntrack_extend.h).
    fn find<T>(&self, number: u32) -> Option<Ptr<'m, T>> {
        let offset = self.offsets?.get(number as usize)?;
        (offset != 0).then(|| Ptr::new(self.k, self.address.wrapping_add(offset.into())))
    }

    fn accounting(&self) -> Result<[Option<(u64, u64)>; 2], Fault> {
        let Some(found) =
            self.find::<kernel::nf_conn_acct<'_>>(kernel::nf_ct_ext_id::NF_CT_EXT_ACCT.0)
        else {
            return Ok([None; 2]);
        };
        let counters = found.deref()?.counter();
        Ok([0, 1].map(|index| {
            let counter = counters.get(index)?;
            let value = |count: i64| count.cast_unsigned();
            Some((
                value(counter.packets().value()),
                value(counter.bytes().value()),
            ))
        }))
    }

    fn start(&self) -> Result<Option<u64>, Fault> {
        #[cfg(kernel_has = "const:NF_CT_EXT_TSTAMP")]
        {
            let found =
                self.find::<kernel::nf_conn_tstamp<'_>>(kernel::nf_ct_ext_id::NF_CT_EXT_TSTAMP.0);
            found.map(|found| Ok(found.deref()?.start())).transpose()
        }
        #[cfg(not(kernel_has = "const:NF_CT_EXT_TSTAMP"))]
        {
            Ok(None)
        }
    }

    fn labels(&self) -> Result<Vec<u64>, Fault> {
        #[cfg(kernel_has = "const:NF_CT_EXT_LABELS")]
        if let Some(found) =
            self.find::<kernel::nf_conn_labels<'_>>(kernel::nf_ct_ext_id::NF_CT_EXT_LABELS.0)
        {
            let width = u32::from(KERNEL.pointer_size) * 8;
            return Ok(walk::set_bits(found.deref()?.bits().iter(), width).collect());
        }
        Ok(Vec::new())
    }

    /// The helper's name, and how many connections it expects.
    fn helper(&self) -> Result<(Option<String>, u32), Fault> {
        let found = self.find::<kernel::nf_conn_help<'_>>(kernel::nf_ct_ext_id::NF_CT_EXT_HELPER.0);
        let Some(found) = found else {
            return Ok((None, 0));
        };
        let help = found.deref()?;
        let name = help
            .helper()
            .deref_or_null()?
            .map(|helper| helper.name().to_string());
        let expecting = help.expecting().iter().map(u32::from).sum();
        Ok((name, expecting))
    }
}

/// Connections that were removed and wait for an event to be delivered.
fn dying<'m>(namespace: Namespace<'m>, faults: &mut Faults) -> Vec<nf_conn<'m>> {
    #[cfg(kernel_has = "nf_conntrack_net.ecache.dying_list")]
    {
        let what = format_args!("dying connections of namespace {}", namespace.inode);
        let Some(Some(own)) = faults.check(what, of_namespace(namespace)) else {
            return Vec::new();
        };
        let list = own
            .ecache()
            .dying_list()
            .entries(nf_conntrack_tuple_hash::hnnode);
        list.filter_map(|entry| faults.check(what, entry.and_then(original_of)))
            .collect()
    }
    #[cfg(not(kernel_has = "nf_conntrack_net.ecache.dying_list"))]
    {
        let _ = (namespace, faults);
        Vec::new()
    }
}

fn of_namespace(namespace: Namespace<'_>) -> Result<Option<kernel::nf_conntrack_net<'_>>, Fault> {
    let id = namespace.net.memory().get(sym::nf_conntrack_net_id)?;
    let own = net::generic::<kernel::nf_conntrack_net<'_>>(namespace.net, id)?;
    own.map(Ptr::deref).transpose()
}

/// How many connections a namespace counts.
fn count(namespace: Namespace<'_>) -> Result<Option<i64>, Fault> {
    Ok(of_namespace(namespace)?.map(|own| own.count().value().into()))
}

/// What each CPU counted, summed up.
fn statistics(namespace: Namespace<'_>) -> Result<BTreeMap<&'static str, u64>, Fault> {
    let mut sums = BTreeMap::new();
    let stat = namespace.net.ct().stat();
    if stat.is_null() {
        return Ok(sums);
    }
    for cpu in linux::cpu::possible(namespace.net.memory())? {
        let stat = stat.on_cpu(cpu)?.deref()?;
        let values = [
            ("found", stat.found()),
            ("invalid", stat.invalid()),
            ("insert", stat.insert()),
            ("insert_failed", stat.insert_failed()),
            ("drop", stat.drop()),
            ("early_drop", stat.early_drop()),
            ("icmp_error", stat.error()),
            ("expect_new", stat.expect_new()),
            ("expect_create", stat.expect_create()),
            ("expect_delete", stat.expect_delete()),
            ("search_restart", stat.search_restart()),
            #[cfg(kernel_has = "ip_conntrack_stat.clash_resolve")]
            ("clash_resolve", stat.clash_resolve()),
            #[cfg(kernel_has = "ip_conntrack_stat.chaintoolong")]
            ("chaintoolong", stat.chaintoolong()),
        ];
        for (name, value) in values {
            *sums.entry(name).or_default() += u64::from(value);
        }
    }
    Ok(sums)
}

/// `NF_CT_EXPECT_*`, include/uapi/linux/netfilter/nf_conntrack_common.h.
const EXPECT_FLAGS: [&str; 3] = ["PERMANENT", "INACTIVE", "USERSPACE"];

fn expectations(
    k: &Memory,
    namespaces: &BTreeMap<u64, u64>,
    clock: Clock,
    faults: &mut Faults,
) -> Vec<Expectation> {
    /// So many chains of no expectations are no table's: that is said once.
    const MOST_BAD: usize = 16;
    const SIZE: &str = "nf_ct_expect_hsize";
    let Some(size) = faults.check(SIZE, k.get(sym::nf_ct_expect_hsize)) else {
        return Vec::new();
    };
    let start = k.get(sym::nf_ct_expect_hash);
    let Some(start) = faults.check("nf_ct_expect_hash", start) else {
        return Vec::new();
    };
    faults.require(is_whole(size), SIZE, start.addr());
    let mut out = Vec::new();
    let mut bad = Vec::new();
    for index in 0..u64::from(size) {
        let chain = match start.at(index) {
            Ok(chain) => chain,
            Err(fault) => {
                bad.push(fault);
                break;
            }
        };
        for entry in chain.entries(kernel::nf_conntrack_expect::hnode) {
            match entry.and_then(|entry| expectation(entry, namespaces, clock)) {
                Ok(row) => out.extend(row),
                Err(fault) => bad.push(fault),
            }
        }
        if bad.len() > MOST_BAD {
            let address = start.addr();
            let kind = FaultKind::Inconsistent;
            bad = vec![Fault { address, kind }];
            break;
        }
    }
    for fault in bad {
        faults.add("nf_ct_expect_hash", fault);
    }
    out
}

/// Whether somebody has the lock under which expectations come and go, as far as it is known.
fn is_expecting(k: &Memory) -> bool {
    #[cfg(all(
        kernel_has = "sym:nf_conntrack_expect_lock",
        kernel_has = "spinlock.rlock.raw_lock.val"
    ))]
    {
        let lock = k.get(sym::nf_conntrack_expect_lock);
        lock.map_or(true, |lock| lock.rlock().raw_lock().val().value() != 0)
    }
    #[cfg(not(all(
        kernel_has = "sym:nf_conntrack_expect_lock",
        kernel_has = "spinlock.rlock.raw_lock.val"
    )))]
    {
        let _ = k;
        true
    }
}

/// Holds the expectations of each namespace against how many it counts (`nf_ct_expect_insert`, `nf_ct_unlink_expect_report`).
fn are_counted(namespaces: &[Namespace<'_>], found: &[Expectation], faults: &mut Faults) {
    #[cfg(kernel_has = "nf_conntrack_net.expect_count")]
    for namespace in namespaces {
        let what = format!("expectations of namespace {}", namespace.inode);
        let Some(Some(own)) = faults.check(&what, of_namespace(*namespace)) else {
            continue;
        };
        let all = found.iter().filter(|it| it.netns == namespace.inode);
        let what = format_args!("{what}, which counts others");
        let holds = u64::from(own.expect_count()) == all.count() as u64;
        faults.require(holds, what, own.addr());
    }
    let _ = (namespaces, found, faults);
}

fn expectation(
    expect: kernel::nf_conntrack_expect<'_>,
    namespaces: &BTreeMap<u64, u64>,
    clock: Clock,
) -> Result<Option<Expectation>, Fault> {
    let master = expect.master().deref()?;
    let Some(netns) = namespaces.get(&master.ct_net().net().addr()) else {
        return Ok(None);
    };
    // A number of jiffies where a timer was until 2025.
    #[cfg(kernel_has = "nf_conntrack_expect.timeout.expires")]
    let timeout = {
        let timer = expect.timeout();
        let left = linux::time::jiffies_since(expect.memory(), timer.expires(), clock.jiffies);
        let is_pending = !timer.entry().pprev().is_null();
        (!timer.function().is_null()).then_some(if is_pending { left / clock.hz } else { 0 })
    };
    #[cfg(not(kernel_has = "nf_conntrack_expect.timeout.expires"))]
    let timeout = {
        let left = expect
            .timeout()
            .wrapping_sub(clock.jiffies as u32)
            .cast_signed();
        Some(u64::try_from(left).unwrap_or(0) / clock.hz)
    };
    let helper = match extensions(master)?
        .find::<kernel::nf_conn_help<'_>>(kernel::nf_ct_ext_id::NF_CT_EXT_HELPER.0)
    {
        Some(help) => help.deref()?.helper().deref_or_null()?,
        None => None,
    };
    let class = match helper {
        Some(helper) if !helper.expect_policy().is_null() => {
            let policy = helper.expect_policy().at(u64::from(expect.class()))?;
            Some(policy.name().to_string()).filter(|name| !name.is_empty())
        }
        _ => None,
    };
    let flags = expect.flags();
    Ok(Some(Expectation {
        netns: *netns,
        address: expect.addr(),
        timeout,
        protonum: expect.tuple().dst().protonum(),
        tuple: tuple(expect.tuple(), None),
        flags: (0..)
            .zip(EXPECT_FLAGS)
            .filter(|(bit, _)| flags >> bit & 1 != 0)
            .map(|(_, name)| name)
            .collect(),
        helper: helper.map(|helper| helper.name().to_string()),
        class,
        master: expect.master().addr(),
    }))
}

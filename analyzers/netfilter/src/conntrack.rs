//! Tracked connections (net/netfilter/nf_conntrack_core.c): what /proc/net/nf_conntrack and nf_conntrack_expect show, and more.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use kernel::{nf_conn, nf_conntrack_tuple, nf_conntrack_tuple_hash, sym};
use kstruct::{Array, Fault, FaultKind, Memory, Ptr, View, walk};
use linux::Faults;
use serde::Serialize;

use crate::bytes::Bytes;
use crate::names;
use crate::net::{self, Namespace};

/// A tracked connection.
#[derive(Debug, Serialize)]
pub struct Connection {
    /// The namespace's inode number.
    pub netns: u64,
    /// The `nf_conn`.
    #[serde(serialize_with = "linux::app::hex")]
    pub address: u64,
    /// `ipv4`, `ipv6`
    pub l3proto: &'static str,
    pub l3num: u16,
    /// `tcp`, `udp`, `icmp`; `unknown` as in /proc
    pub proto: &'static str,
    pub protonum: u8,
    /// Whole seconds until it is forgotten; `null` where a flow table keeps it.
    pub timeout: Option<u64>,
    /// Whether that time is over, and the kernel just has not forgotten it yet.
    pub expired: bool,
    /// `ESTABLISHED`; of protocols that have states.
    pub state: Option<String>,
    /// As the first packet had it.
    pub original: Tuple,
    /// As answers have it: other than the original's reverse where addresses are translated.
    pub reply: Tuple,
    /// Names of the bits of `status` (`enum ip_conntrack_status`), without their prefix.
    pub status: Vec<String>,
    #[serde(serialize_with = "linux::app::hex")]
    pub status_value: u64,
    pub mark: Option<u32>,
    pub secmark: Option<u32>,
    /// Bits of its labels that are set.
    pub labels: Vec<u64>,
    pub zone: Zone,
    /// When it began, in nanoseconds since 1970; where `nf_conntrack_timestamp` is set.
    pub start: Option<u64>,
    /// `ftp`
    pub helper: Option<String>,
    /// How many connections are expected of it by now.
    pub expecting: u32,
    /// The `nf_conn` that this one was expected of.
    #[serde(serialize_with = "linux::app::hex")]
    pub master: u64,
    /// References held on it. /proc shows one more, its own.
    #[serde(rename = "use")]
    pub references: i64,
    /// `hash`, or `dying`: removed, with an event not yet delivered.
    pub list: &'static str,
}

/// One direction of a connection.
#[derive(Debug, Serialize)]
pub struct Tuple {
    pub src: IpAddr,
    pub dst: IpAddr,
    /// Ports; of ICMP `null`.
    pub sport: Option<u16>,
    pub dport: Option<u16>,
    /// Of ICMP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp: Option<Icmp>,
    /// Keys of GRE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<(u16, u16)>,
    /// What passed, where `nf_conntrack_acct` is set.
    pub packets: Option<u64>,
    pub bytes: Option<u64>,
    #[serde(skip)]
    l3num: u16,
    #[serde(skip)]
    protonum: u8,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub struct Icmp {
    #[serde(rename = "type")]
    pub kind: u8,
    pub code: u8,
    pub id: u16,
}

/// Which world of connections it belongs to.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Zone {
    pub id: u16,
    /// `both`, `original`, `reply`: in which direction the zone counts.
    pub direction: &'static str,
}

/// A connection that is expected of another one.
#[derive(Debug, Serialize)]
pub struct Expectation {
    pub netns: u64,
    /// The `nf_conntrack_expect`.
    #[serde(serialize_with = "linux::app::hex")]
    pub address: u64,
    /// Whole seconds until it is forgotten; `null` without a timer.
    pub timeout: Option<u64>,
    pub protonum: u8,
    pub tuple: Tuple,
    pub flags: Vec<&'static str>,
    /// Of the helper that expects it.
    pub helper: Option<String>,
    /// The helper's name for what it expects.
    pub class: Option<String>,
    #[serde(serialize_with = "linux::app::hex")]
    pub master: u64,
}

/// How many connections there are of each kind.
#[derive(Debug, Serialize)]
pub struct Counts {
    /// Entries of the table, of all namespaces.
    pub entries: u64,
    /// `nf_conntrack_max`: as many as a namespace may have.
    pub max: u64,
    /// Chains of the table.
    pub buckets: u64,
    /// Entries of the longest chain.
    pub longest_chain: u64,
    pub expectations: u64,
    pub namespaces: Vec<NamespaceCounts>,
}

#[derive(Debug, Default, Serialize)]
pub struct NamespaceCounts {
    pub netns: u64,
    /// The namespace's own count (`nf_conntrack_count`).
    pub count: Option<i64>,
    /// Entries found in the table.
    pub entries: u64,
    pub by_proto: BTreeMap<String, u64>,
    /// States of all protocols that have some: `tcp ESTABLISHED`.
    pub by_state: BTreeMap<String, u64>,
    pub unreplied: u64,
    pub assured: u64,
    pub source_nat: u64,
    pub destination_nat: u64,
    /// Sums over CPUs of what /proc/net/stat/nf_conntrack shows, by its names.
    pub statistics: BTreeMap<&'static str, u64>,
}

/// Which connections are wanted.
#[derive(Debug, Default)]
pub struct Filter {
    pub proto: Option<String>,
    pub state: Option<String>,
    pub address: Option<IpAddr>,
    pub port: Option<u16>,
    pub zone: Option<u16>,
    pub mark: Option<u32>,
}

impl Filter {
    fn takes(&self, connection: &Connection) -> bool {
        let tuples = [&connection.original, &connection.reply];
        let state = |wanted: &String| {
            let named = connection
                .status
                .iter()
                .any(|name| name.eq_ignore_ascii_case(wanted));
            let unreplied =
                wanted.eq_ignore_ascii_case("unreplied") && !connection.has("SEEN_REPLY");
            let own = connection
                .state
                .as_ref()
                .is_some_and(|own| own.eq_ignore_ascii_case(wanted));
            named || unreplied || own
        };
        self.proto.as_ref().is_none_or(|wanted| {
            connection.proto.eq_ignore_ascii_case(wanted)
                || connection.l3proto.eq_ignore_ascii_case(wanted)
                || wanted.parse() == Ok(connection.protonum)
        }) && self.state.as_ref().is_none_or(state)
            && self.address.is_none_or(|wanted| {
                tuples
                    .iter()
                    .any(|tuple| tuple.src == wanted || tuple.dst == wanted)
            })
            && self.port.is_none_or(|wanted| {
                let wanted = Some(wanted);
                tuples
                    .iter()
                    .any(|tuple| tuple.sport == wanted || tuple.dport == wanted)
            })
            && self.zone.is_none_or(|wanted| connection.zone.id == wanted)
            && self
                .mark
                .is_none_or(|wanted| connection.mark == Some(wanted))
    }
}

/// What there is to know of tracked connections.
pub struct Table {
    pub connections: Vec<Connection>,
    pub expectations: Vec<Expectation>,
    pub counts: Counts,
}

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
    let chains = k
        .get(sym::nf_conntrack_hash)
        .and_then(|table| table.array(size as usize));
    let chains = faults.check("nf_conntrack_hash", chains);
    let by_address: BTreeMap<u64, u64> = namespaces
        .iter()
        .map(|namespace| (namespace.net.addr(), namespace.inode))
        .collect();
    let found = chains.map_or_else(Vec::new, |chains| {
        walk::par_walk(chains, |chain| {
            chain
                .entries(nf_conntrack_tuple_hash::hnnode)
                .map(|entry| entry_of(entry?, &by_address, clock))
                .collect::<Vec<_>>()
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
        if let Some(row) = counts.get_mut(&connection.netns) {
            row.add(&connection);
        }
        if filter.takes(&connection) {
            connections.push(connection);
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
    let expectations = expectations(k, &by_address, clock, faults);
    Some(Table {
        counts: Counts {
            entries,
            max: faults
                .check("nf_conntrack_max", k.get(sym::nf_conntrack_max))
                .unwrap_or(0)
                .into(),
            buckets: u64::from(size),
            longest_chain,
            expectations: expectations.len() as u64,
            namespaces: counts.into_values().collect(),
        },
        connections,
        expectations,
    })
}

impl NamespaceCounts {
    fn add(&mut self, connection: &Connection) {
        self.entries += 1;
        *self
            .by_proto
            .entry(connection.proto.to_owned())
            .or_default() += 1;
        if let Some(state) = &connection.state {
            let name = format!("{} {state}", connection.proto);
            *self.by_state.entry(name).or_default() += 1;
        }
        self.unreplied += u64::from(!connection.has("SEEN_REPLY"));
        self.assured += u64::from(connection.has("ASSURED"));
        self.source_nat += u64::from(connection.has("SRC_NAT"));
        self.destination_nat += u64::from(connection.has("DST_NAT"));
    }
}

/// The connection of an entry of the table: each has two, of which that of the original direction counts. `None` for the other,
/// and those of other namespaces.
fn entry_of(
    entry: nf_conntrack_tuple_hash<'_>,
    namespaces: &BTreeMap<u64, u64>,
    clock: Clock,
) -> Result<Option<Connection>, Fault> {
    if entry.tuple().dst().dir() != 0 {
        return Ok(None);
    }
    let connection_at = original_of(entry)?;
    match namespaces.get(&connection_at.ct_net().net().addr()) {
        Some(inode) => connection(connection_at, *inode, "hash", clock).map(Some),
        None => Ok(None),
    }
}

/// The `nf_conn` of its first tuple.
fn original_of(entry: nf_conntrack_tuple_hash<'_>) -> Result<nf_conn<'_>, Fault> {
    let k = entry.memory();
    let offset = nf_conn::phantom(k).tuplehash().addr();
    nf_conn::at(k, k.wrap(entry.addr().wrapping_sub(offset)))
}

/// The names of `enum ip_conntrack_status`, include/uapi/linux/netfilter/nf_conntrack_common.h.
const STATUS: [&str; 15] = [
    "EXPECTED",
    "SEEN_REPLY",
    "ASSURED",
    "CONFIRMED",
    "SRC_NAT",
    "DST_NAT",
    "SEQ_ADJUST",
    "SRC_NAT_DONE",
    "DST_NAT_DONE",
    "DYING",
    "FIXED_TIMEOUT",
    "TEMPLATE",
    "UNTRACKED",
    "HELPER",
    "OFFLOAD",
];
const HW_OFFLOAD: u64 = 15;

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
    let status = ct.status();
    let mut names: Vec<String> = (0..)
        .zip(STATUS)
        .filter(|(bit, _)| status >> bit & 1 != 0)
        .map(|(_, name)| name.to_owned())
        .collect();
    if status >> HW_OFFLOAD & 1 != 0 {
        names.push("HW_OFFLOAD".into());
    }
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
        status: names,
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

fn zone(ct: nf_conn<'_>) -> Zone {
    #[cfg(kernel_has = "nf_conn.zone")]
    {
        let zone = ct.zone();
        Zone {
            id: zone.id(),
            direction: match zone.dir() {
                1 => "original",
                2 => "reply",
                _ => "both",
            },
        }
    }
    #[cfg(not(kernel_has = "nf_conn.zone"))]
    {
        let _ = ct;
        Zone {
            id: 0,
            direction: "both",
        }
    }
}

/// `l3proto_name`, net/netfilter/nf_conntrack_standalone.c.
fn l3_name(number: u16) -> &'static str {
    match number {
        2 => "ipv4",
        10 => "ipv6",
        _ => "unknown",
    }
}

/// `l4proto_name`
fn l4_name(number: u8) -> &'static str {
    match number {
        1 | 6 | 17 | 33 | 47 | 132 | 136 => names::protocol(number.into()).unwrap_or("unknown"),
        58 => "icmpv6",
        _ => "unknown",
    }
}

/// Names of states, as /proc has them (`tcp_conntrack_names`, `sctp_conntrack_names`, `dccp_state_names`).
const TCP: [&str; 10] = [
    "NONE",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
    "SYN_SENT2",
];
const SCTP: [&str; 9] = [
    "NONE",
    "CLOSED",
    "COOKIE_WAIT",
    "COOKIE_ECHOED",
    "ESTABLISHED",
    "SHUTDOWN_SENT",
    "SHUTDOWN_RECD",
    "SHUTDOWN_ACK_SENT",
    "HEARTBEAT_SENT",
];
const DCCP: [&str; 10] = [
    "NONE", "REQUEST", "RESPOND", "PARTOPEN", "OPEN", "CLOSEREQ", "CLOSING", "TIMEWAIT", "IGNORE",
    "INVALID",
];

fn state(ct: nf_conn<'_>, protonum: u8) -> Option<String> {
    let named = |names: &[&str], state: u64| match names.get(state as usize) {
        Some(name) => (*name).to_owned(),
        None => state.to_string(),
    };
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
    let from = Bytes(source.u().bytes());
    let to = Bytes(destination.u().bytes());
    let (sport, dport) = (from.be16(0), to.be16(0));
    let mut out = Tuple {
        src: ip(source.u3().bytes(), l3num),
        dst: ip(destination.u3().bytes(), l3num),
        sport: None,
        dport: None,
        icmp: None,
        keys: None,
        packets: counters.map(|(packets, _)| packets),
        bytes: counters.map(|(_, bytes)| bytes),
        l3num,
        protonum,
    };
    match protonum {
        1 | 58 => {
            out.icmp = Some(Icmp {
                kind: to.u8(0).unwrap_or(0),
                code: to.u8(1).unwrap_or(0),
                id: sport.unwrap_or(0),
            });
        }
        47 => out.keys = sport.zip(dport),
        6 | 17 | 33 | 132 | 136 => (out.sport, out.dport) = (sport, dport),
        _ => {}
    }
    out
}

/// What a connection has beyond its `nf_conn`.
struct Extensions<'m> {
    k: &'m Memory,
    address: u64,
    offsets: Option<Array<'m, u8>>,
}

fn extensions(ct: nf_conn<'_>) -> Result<Extensions<'_>, Fault> {
    let offsets = ct.ext().deref_or_null()?.map(kernel::nf_ct_ext::offset);
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
            let width = u32::from(kernel::KERNEL.pointer_size) * 8;
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
    let size = k.get(sym::nf_ct_expect_hsize);
    let chains = size.and_then(|size| k.get(sym::nf_ct_expect_hash)?.array(size as usize));
    let Some(chains) = faults.check("nf_ct_expect_hash", chains) else {
        return Vec::new();
    };
    let mut out = Vec::new();
    for chain in chains.iter() {
        for entry in chain.entries(kernel::nf_conntrack_expect::hnode) {
            let row = entry.and_then(|entry| expectation(entry, namespaces, clock));
            out.extend(faults.check("nf_ct_expect_hash", row).flatten());
        }
    }
    out
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

/// All eight groups, as the kernel's `%pI6` has them.
fn whole(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let groups = address.segments().map(|group| format!("{group:04x}"));
            groups.join(":")
        }
    }
}

impl Tuple {
    /// `print_tuple`
    fn write(&self, out: &mut String) {
        match self.l3num {
            2 | 10 => {
                let _ = write!(out, "src={} dst={} ", whole(self.src), whole(self.dst));
            }
            _ => {}
        }
        if let Some(icmp) = self.icmp {
            let _ = write!(out, "type={} code={} id={} ", icmp.kind, icmp.code, icmp.id);
        } else if let Some((from, to)) = self.keys {
            let _ = write!(out, "srckey=0x{from:x} dstkey=0x{to:x} ");
        } else if let (Some(from), Some(to)) = (self.sport, self.dport) {
            let _ = write!(out, "sport={from} dport={to} ");
        }
    }

    /// `seq_print_acct`
    fn write_counters(&self, out: &mut String) {
        if let (Some(packets), Some(bytes)) = (self.packets, self.bytes) {
            let _ = write!(out, "packets={packets} bytes={bytes} ");
        }
    }
}

impl Connection {
    /// Whether a bit of its status is set, by the name of the bit.
    pub fn has(&self, status: &str) -> bool {
        self.status.iter().any(|name| name == status)
    }

    /// The line of /proc/net/nf_conntrack (`ct_seq_show`), whose last number is one more there: the reader's own reference.
    pub fn line(&self) -> String {
        let mut out = String::new();
        let _ = write!(
            out,
            "{:<8} {} {:<8} {} ",
            self.l3proto, self.l3num, self.proto, self.protonum
        );
        if let Some(timeout) = self.timeout {
            let _ = write!(out, "{timeout} ");
        }
        if let Some(state) = &self.state {
            let _ = write!(out, "{state} ");
        }
        let zone = |out: &mut String, direction: &str, name: &str| {
            if self.zone.direction == direction {
                let _ = write!(out, "{name}={} ", self.zone.id);
            }
        };
        self.original.write(&mut out);
        zone(&mut out, "original", "zone-orig");
        self.original.write_counters(&mut out);
        if !self.has("SEEN_REPLY") {
            out.push_str("[UNREPLIED] ");
        }
        self.reply.write(&mut out);
        zone(&mut out, "reply", "zone-reply");
        self.reply.write_counters(&mut out);
        if self.has("HW_OFFLOAD") {
            out.push_str("[HW_OFFLOAD] ");
        } else if self.has("OFFLOAD") {
            out.push_str("[OFFLOAD] ");
        } else if self.has("ASSURED") {
            out.push_str("[ASSURED] ");
        }
        if let Some(mark) = self.mark {
            let _ = write!(out, "mark={mark} ");
        }
        zone(&mut out, "both", "zone");
        let _ = write!(out, "use={}", self.references);
        out
    }

    /// What the line of /proc does not say.
    pub fn more(&self) -> String {
        let mut out = String::new();
        if let Some(helper) = &self.helper {
            let _ = write!(out, " helper={helper}");
        }
        if self.master != 0 {
            let _ = write!(out, " master={:#x}", self.master);
        }
        if !self.labels.is_empty() {
            let labels: Vec<String> = self.labels.iter().map(ToString::to_string).collect();
            let _ = write!(out, " labels={}", labels.join(","));
        }
        for (status, name) in [
            ("SRC_NAT", "[SNAT]"),
            ("DST_NAT", "[DNAT]"),
            ("DYING", "[DYING]"),
        ] {
            if self.has(status) {
                let _ = write!(out, " {name}");
            }
        }
        if self.expired {
            out.push_str(" [EXPIRED]");
        }
        let _ = write!(out, " nf_conn={:#x}", self.address);
        out
    }
}

impl Expectation {
    /// The line of /proc/net/nf_conntrack_expect (`exp_seq_show`, net/netfilter/nf_conntrack_expect.c).
    pub fn line(&self) -> String {
        let mut out = match self.timeout {
            Some(timeout) => format!("{timeout} "),
            None => "- ".to_owned(),
        };
        let _ = write!(
            out,
            "l3proto = {} proto={} ",
            self.tuple.l3num, self.tuple.protonum
        );
        self.tuple.write(&mut out);
        out.push_str(&self.flags.join(","));
        if let Some(helper) = &self.helper {
            let blank = if self.flags.is_empty() { "" } else { " " };
            let _ = write!(out, "{blank}{helper}");
            if let Some(class) = &self.class {
                let _ = write!(out, "/{class}");
            }
        }
        out
    }
}

//! Tracked connections: what /proc/net/nf_conntrack and nf_conntrack_expect show, and more. Kernels of 2.6.9's time track IPv4 only, and
//! show them in /proc/net/ip_conntrack.

mod filter;
#[cfg(any(kernel_has = "nf_conntrack_net", kernel_has = "ip_conntrack.tuplehash"))]
mod read;

#[cfg(kernel_has = "nf_conntrack_net")]
mod now;
#[cfg(kernel_has = "ip_conntrack.tuplehash")]
mod old;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use serde::Serialize;

use crate::names;

pub use filter::{Filter, Mark, Network, protocol, state};
#[cfg(kernel_has = "nf_conntrack_net")]
pub use now::table;
#[cfg(kernel_has = "ip_conntrack.tuplehash")]
pub use old::table;

/// Kernels that track in another way, or whose modules' types are not known.
#[cfg(not(any(kernel_has = "nf_conntrack_net", kernel_has = "ip_conntrack.tuplehash")))]
pub fn table(
    _: &kstruct::Memory,
    _: &[crate::net::Namespace<'_>],
    _: &Filter,
    _: &mut linux::Faults,
) -> Option<Table> {
    None
}

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
    /// `null` in kernels without zones.
    pub zone: Option<Zone>,
    /// When it began, in nanoseconds since 1970; where `nf_conntrack_timestamp` is set.
    pub start: Option<u64>,
    /// `ftp`
    pub helper: Option<String>,
    /// How many connections are expected of it by now.
    pub expecting: u32,
    /// The `nf_conn` that this one was expected of.
    #[serde(serialize_with = "linux::app::hex")]
    pub master: u64,
    /// References held on it. /proc/net/nf_conntrack shows one more, its own.
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

/// How many connections there are of each kind. What is said of the table is said of all that is in it.
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

impl Counts {
    /// Of which namespaces fewer connections were found than they count.
    pub fn remarks(&self) -> Vec<String> {
        let rows = self.namespaces.iter();
        rows.filter_map(|row| {
            let count = row.count.filter(|count| row.found.cast_signed() < *count)?;
            Some(format!(
                "{} of {count} connections of network namespace {} are in the table",
                row.found, row.netns
            ))
        })
        .collect()
    }
}

/// Of the connections that were asked for.
#[derive(Debug, Default, Serialize)]
pub struct NamespaceCounts {
    pub netns: u64,
    /// The namespace's own count of all its connections (`nf_conntrack_count`).
    pub count: Option<i64>,
    /// Entries found in the table that were asked for.
    pub entries: u64,
    /// Entries found in the table, whether asked for or not.
    #[serde(skip)]
    pub found: u64,
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

/// Whether it is nf_conntrack, which tracks both families.
const IS_NF: bool = cfg!(kernel_has = "nf_conntrack_net");

/// What there is to know of tracked connections.
pub struct Table {
    pub connections: Vec<Connection>,
    pub expectations: Vec<Expectation>,
    pub counts: Counts,
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
/// A name that only newer kernels have.
const HW_OFFLOAD_NAME: &str = "HW_OFFLOAD";
/// What /proc says of connections without SEEN_REPLY.
const UNREPLIED: &str = "UNREPLIED";

/// The protocols that connection tracking knows.
const L4: [u8; 8] = [1, 6, 17, 33, 47, 58, 132, 136];

/// `l4proto_name`
fn l4_name(number: u8) -> &'static str {
    match number {
        58 => "icmpv6",
        number if L4.contains(&number) => names::protocol(number.into()).unwrap_or("unknown"),
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
    // ip_conntrack had another name in this place, which it didn't use.
    if IS_NF { "SYN_SENT2" } else { "LISTEN" },
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

    /// The line of /proc/net/nf_conntrack (`ct_seq_show`), or of /proc/net/ip_conntrack of kernels that have that.
    pub fn line(&self) -> String {
        let mut out = String::new();
        if IS_NF {
            let _ = write!(out, "{:<8} {} ", self.l3proto, self.l3num);
        }
        let _ = write!(out, "{:<8} {} ", self.proto, self.protonum);
        if let Some(timeout) = self.timeout {
            let _ = write!(out, "{timeout} ");
        }
        if let Some(state) = &self.state {
            let _ = write!(out, "{state} ");
        }
        let zone = |out: &mut String, direction: &str, name: &str| {
            if let Some(zone) = self.zone.filter(|zone| zone.direction == direction) {
                let _ = write!(out, "{name}={} ", zone.id);
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
        // Who reads the file holds a reference meanwhile, which the number there includes.
        let own = i64::from(IS_NF);
        let _ = write!(out, "use={}", self.references.saturating_add(own));
        out
    }

    /// What the line of /proc does not say, as a comment.
    pub fn more(&self) -> String {
        let mut out = String::from("  #");
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

//! What is found, as plain data. Fields are named in JSON as here.

use std::net::IpAddr;

use linux::time::Age;
use serde::{Serialize, Serializer};

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4
    Inet,
    /// IPv6
    Inet6,
}

impl Family {
    /// Bits of an address.
    pub fn bits(self) -> u8 {
        match self {
            Family::Inet => 32,
            Family::Inet6 => 128,
        }
    }
}

/// Addresses that share their first bits. In JSON as `10.0.0.0/8`; a single address has its length too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// The first address.
    pub address: IpAddr,
    /// How many bits count.
    pub length: u8,
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}/{}", self.address, self.length))
    }
}

impl Prefix {
    /// Whether an address is among these.
    pub fn contains(&self, address: IpAddr) -> bool {
        let same = |a: u128, b: u128, bits: u32| {
            let length = u32::from(self.length).min(bits);
            (a ^ b).checked_shr(bits - length).unwrap_or(0) == 0
        };
        match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                same(u128::from(u32::from(a)), u128::from(u32::from(b)), 32)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => same(u128::from(a), u128::from(b), 128),
            _ => false,
        }
    }
}

/// A route of a table, or one that was learned (an exception).
#[derive(Debug, Serialize)]
pub struct Route {
    /// The inode number of its network namespace.
    pub netns: u64,
    /// IPv4 or IPv6.
    pub family: Family,
    /// The table's number.
    pub table: u32,
    /// The table's name, if it has one, else the number.
    pub table_name: String,
    /// `unicast`, `local`, `blackhole` ...
    #[serde(rename = "type")]
    pub kind: String,
    /// Where to. `0.0.0.0/0` is the default route.
    pub dst: Prefix,
    /// Where from, for routes by source address (IPv6).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub src: Option<Prefix>,
    /// The type of service that it is for; 0 is any.
    pub tos: u8,
    /// Who made it.
    pub protocol: String,
    /// How far away the destination is.
    pub scope: String,
    /// The source address that is preferred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefsrc: Option<IpAddr>,
    /// Its priority, lower ones first.
    pub metric: u32,
    /// `dead`, `onlink`, `linkdown` ...
    pub flags: Vec<&'static str>,
    /// The number of the next hop object that it uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nhid: Option<u32>,
    /// Where packets are sent. A route that drops them may have none.
    pub nexthops: Vec<Hop>,
    /// Whether the kernel tells of several next hops with weights.
    pub multipath: bool,
    /// MTU, window and so on.
    pub metrics: Vec<Metric>,
    /// Router preference (IPv6): `low`, `medium`, `high`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pref: Option<String>,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Expiry>,
    /// The interface that packets come from, for exceptions of what is forwarded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iif: Option<String>,
    /// References to it.
    pub refcnt: i32,
    /// For an exception: what was learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exception: Option<Exception>,
    /// The `fib_info`, `fib6_info`, `fib_nh_exception` or `rt6_exception`.
    #[serde(serialize_with = "linux::app::hex")]
    pub address: u64,
}

/// A route that was looked up and kept: kernels before 3.6 have a cache of them (`rt_hash_table`).
#[derive(Debug, Serialize)]
pub struct Cached {
    /// The inode number of its network namespace; 0 in kernels without.
    pub netns: u64,
    /// `unicast`, `local` ...
    #[serde(rename = "type")]
    pub kind: String,
    /// Where to.
    pub dst: IpAddr,
    /// Where from.
    pub src: IpAddr,
    /// The type of service that it is for.
    pub tos: u8,
    /// The router; the destination itself if there is none.
    pub gateway: IpAddr,
    /// The interface that packets leave by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dev: Option<String>,
    /// The interface that they came from; none for what is sent from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iif: Option<String>,
    /// `RTCF_*` (include/linux/in_route.h), as `ip` names them.
    pub flags: Vec<&'static str>,
    /// `rt_flags`, all of them.
    #[serde(serialize_with = "linux::app::hex_u32")]
    pub flags_value: u32,
    /// MTU and so on.
    pub metrics: Vec<Metric>,
    /// References to it.
    pub refcnt: i32,
    /// How often it was found in the cache.
    #[serde(rename = "use")]
    pub uses: i32,
    /// How long ago it was used last.
    pub last_used: Age,
    /// When it ends; `null` if it doesn't by itself.
    pub expires: Option<Expiry>,
    /// The `rtable`.
    #[serde(serialize_with = "linux::app::hex")]
    pub address: u64,
}

/// When something expires.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Expiry {
    /// Jiffies from the dump on; negative if it was before.
    pub jiffies: i64,
    /// The same in whole seconds, as `ip` shows it.
    pub seconds: Option<i64>,
}

/// One next hop.
#[derive(Debug, Clone, Serialize)]
pub struct Hop {
    /// The interface's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dev: Option<String>,
    /// The interface's number; 0 is none.
    pub ifindex: i32,
    /// The router, which may be of the other family.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// How often it is chosen among its like.
    pub weight: i32,
    /// `dead`, `onlink`, `linkdown` ...
    pub flags: Vec<&'static str>,
    /// How far away it is.
    pub scope: String,
    /// What is put around packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encap: Option<Encap>,
    /// The realm (`nh_tclassid`); 0 is none.
    pub realm: u32,
    /// IPv6 has a route of its own for each next hop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<HopRoute>,
}

/// The route that a next hop of IPv6 belongs to.
#[derive(Debug, Clone, Serialize)]
pub struct HopRoute {
    /// `RTF_*` of include/uapi/linux/{route,ipv6_route}.h (`fib6_flags`).
    #[serde(serialize_with = "linux::app::hex_u32")]
    pub flags: u32,
    /// References to it.
    pub refcnt: i32,
    /// The `fib6_info`.
    #[serde(serialize_with = "linux::app::hex")]
    pub address: u64,
}

/// A light-weight tunnel.
#[derive(Debug, Clone, Serialize)]
pub struct Encap {
    /// `mpls`, `ip`, `ip6`, `seg6` ...
    #[serde(rename = "type")]
    pub kind: String,
    /// Its parameters as `ip route` writes them; empty for kinds that are only named.
    pub detail: String,
}

/// A metric of a route (`RTAX_*`).
#[derive(Debug, Serialize)]
pub struct Metric {
    /// Its name, as in `ip route`.
    pub name: &'static str,
    /// Its value, in the kernel's unit (`rtt` in eighths and `rttvar` in quarters of milliseconds). The congestion control's key.
    pub value: u32,
    /// For congestion control: its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Whether what is learned may not change it.
    pub locked: bool,
}

/// What the kernel learned of one destination.
#[derive(Debug, Serialize)]
pub struct Exception {
    /// The path's MTU; 0 if none was learned.
    pub pmtu: u32,
    /// Whether smaller packets must be fragmented anyway (`fnhe_mtu_locked`).
    pub pmtu_locked: bool,
    /// The router that a redirect named.
    pub gateway: Option<IpAddr>,
    /// It is of a time before routes changed, and not used any more.
    pub is_stale: bool,
    /// No packet took it yet, so that `ip route show cache` leaves it out.
    pub is_unused: bool,
    /// Since it was made or last used.
    pub stamp: Age,
}

/// A rule that says which table is looked up.
#[derive(Debug, Serialize)]
pub struct Rule {
    /// The inode number of its network namespace.
    pub netns: u64,
    /// IPv4 or IPv6.
    pub family: Family,
    /// Its place among the rules.
    pub priority: u32,
    /// Whether it is for what doesn't match.
    pub not: bool,
    /// Source addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub src: Option<Prefix>,
    /// Destination addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dst: Option<Prefix>,
    /// Type of service; 0 is any.
    pub tos: u8,
    /// The mark that packets have in the bits of `fwmask`.
    pub fwmark: u32,
    /// The bits of the mark that count; 0 if none does.
    pub fwmask: u32,
    /// Where packets come in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iif: Option<String>,
    /// There is no such interface now.
    pub iif_detached: bool,
    /// Where they go out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oif: Option<String>,
    /// There is no such interface now.
    pub oif_detached: bool,
    /// The table is that of the VRF that the packet belongs to.
    pub l3mdev: bool,
    /// First and last user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid_range: Option<(u32, u32)>,
    /// The protocol above IP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipproto: Option<String>,
    /// First and last source port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sport: Option<(u16, u16)>,
    /// First and last destination port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dport: Option<(u16, u16)>,
    /// The tunnel's number; 0 is any.
    pub tun_id: u64,
    /// `to_tbl`, `goto`, `nop`, `blackhole`, `unreachable`, `prohibit`.
    pub action: String,
    /// The table that is looked up; 0 if none is.
    pub table: u32,
    /// The table's name, if it has one, else the number.
    pub table_name: String,
    /// Routes with prefixes of this length and less don't count; -1 if all do.
    pub suppress_prefixlength: i32,
    /// Routes out of this group of interfaces don't count; -1 if all do.
    pub suppress_ifgroup: i32,
    /// Source and destination realm, each 16 bits; 0 is none.
    pub realms: u32,
    /// The priority of the rule that is next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goto: Option<u32>,
    /// There is no such rule now.
    pub goto_unresolved: bool,
    /// Who made it.
    pub protocol: String,
    /// The `fib_rule`.
    #[serde(serialize_with = "linux::app::hex")]
    pub address: u64,
}

/// A next hop object (`ip nexthop`).
#[derive(Debug, Serialize)]
pub struct Nexthop {
    /// The inode number of its network namespace.
    pub netns: u64,
    /// Its number.
    pub id: u32,
    /// Those that it is made of, if it is a group.
    pub group: Vec<Member>,
    /// Whether it is a group.
    pub is_group: bool,
    /// A group that keeps flows where they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resilient: Option<Resilient>,
    /// Where packets are sent, unless it is a group or drops them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hop: Option<Hop>,
    /// It drops packets.
    pub blackhole: bool,
    /// It is for entries of a forwarding database.
    pub fdb: bool,
    /// Who made it.
    pub protocol: String,
    /// `dead`, `onlink`, `linkdown` ...
    pub flags: Vec<&'static str>,
    /// References to it.
    pub refcnt: i32,
    /// The `nexthop`.
    #[serde(serialize_with = "linux::app::hex")]
    pub address: u64,
}

/// A next hop object in a group.
#[derive(Debug, Serialize)]
pub struct Member {
    /// Its number.
    pub id: u32,
    /// How often it is chosen.
    pub weight: u32,
}

/// Parameters of a resilient group.
#[derive(Debug, Serialize)]
pub struct Resilient {
    /// How many buckets flows are hashed to.
    pub buckets: u16,
    /// How long a bucket must be idle to go to another member.
    pub idle_timer: Age,
    /// How long an unbalanced group is tolerated; 0 is for ever.
    pub unbalanced_timer: Age,
    /// For how long it has been unbalanced.
    pub unbalanced_time: Age,
}

/// One of the neighbour tables (ARP and ND), which all namespaces share.
#[derive(Debug, Serialize)]
pub struct NeighbourTable {
    /// IPv4 (ARP) or IPv6 (ND).
    pub family: Family,
    /// Entries that were allocated and not freed (`neigh_table.entries`): those in the hash table, and those that were taken out of it while
    /// somebody has a reference to them.
    pub allocated: i32,
    /// Entries in the hash table.
    pub hashed: usize,
    /// Whether all of it could be read: else that is why entries are missing.
    #[serde(skip)]
    pub is_read: bool,
}

impl NeighbourTable {
    /// How many entries are not in the hash table.
    pub fn missing(&self) -> i64 {
        i64::from(self.allocated) - i64::try_from(self.hashed).unwrap_or(i64::MAX)
    }
}

/// An entry of the neighbour tables (ARP and ND).
#[derive(Debug, Serialize)]
pub struct Neighbour {
    /// The inode number of its network namespace.
    pub netns: u64,
    /// IPv4 (ARP) or IPv6 (ND).
    pub family: Family,
    /// The neighbour's address.
    pub address: IpAddr,
    /// The interface's name.
    pub dev: String,
    /// The interface's number.
    pub ifindex: i32,
    /// Its hardware address, while it is valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lladdr: Option<String>,
    /// `REACHABLE`, `STALE`, `FAILED` ...
    pub state: Vec<&'static str>,
    /// `router`, `extern_learn` ...
    pub flags: Vec<&'static str>,
    /// The name of who made it (`RTPROT_*`).
    pub protocol: String,
    /// References other than the table's own.
    pub refcnt: i32,
    /// Probes sent that were not answered.
    pub probes: i32,
    /// Since it was last used.
    pub used: Age,
    /// Since it was last confirmed.
    pub confirmed: Age,
    /// Since its state or hardware address changed.
    pub updated: Age,
    /// Packets that wait for its hardware address.
    pub queued: u32,
    /// Their size in bytes, as the kernel accounts for it.
    pub queued_bytes: u32,
    /// The `neighbour`.
    #[serde(serialize_with = "linux::app::hex", rename = "neighbour")]
    pub at: u64,
}

/// An address that the kernel answers for (`ip neigh add proxy`).
#[derive(Debug, Serialize)]
pub struct Proxy {
    /// The inode number of its network namespace.
    pub netns: u64,
    /// IPv4 or IPv6.
    pub family: Family,
    /// The address.
    pub address: IpAddr,
    /// The interface; none for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dev: Option<String>,
    /// `router` ...
    pub flags: Vec<&'static str>,
    /// The name of who made it (`RTPROT_*`).
    pub protocol: String,
    /// The `pneigh_entry`.
    #[serde(serialize_with = "linux::app::hex", rename = "pneigh_entry")]
    pub at: u64,
}

/// A route of a multicast router: packets of an origin to a group.
#[derive(Debug, Serialize)]
pub struct MulticastRoute {
    /// The inode number of its network namespace.
    pub netns: u64,
    /// IPv4 or IPv6.
    pub family: Family,
    /// The table.
    pub table: u32,
    /// Its name.
    pub table_name: String,
    /// Where they come from; the unspecified address is any.
    pub src: IpAddr,
    /// The group; the unspecified address is any.
    pub dst: IpAddr,
    /// Where they must come in.
    pub iif: Option<String>,
    /// Where they are sent to.
    pub oifs: Vec<MulticastOutput>,
    /// Whether the router's daemon has answered where they go.
    pub resolved: bool,
    /// What was forwarded.
    pub packets: u64,
    /// The same in bytes.
    pub bytes: u64,
    /// Packets that came in elsewhere.
    pub wrong_if: u64,
    /// Since a packet last came, or the route was made.
    pub age: Option<Age>,
    /// The `mfc_cache` or `mfc6_cache`.
    #[serde(serialize_with = "linux::app::hex", rename = "mfc_cache")]
    pub at: u64,
}

/// One way out of a multicast route.
#[derive(Debug, Serialize)]
pub struct MulticastOutput {
    /// The interface's number in the router's table.
    pub vif: i32,
    /// Its name.
    pub oif: String,
    /// What a packet's TTL must be above.
    pub ttl: u8,
}

/// An interface of a multicast router, as in /proc/net/ip_mr_vif.
#[derive(Debug, Serialize)]
pub struct MulticastInterface {
    /// The inode number of its network namespace.
    pub netns: u64,
    /// IPv4 or IPv6.
    pub family: Family,
    /// The table.
    pub table: u32,
    /// Its name.
    pub table_name: String,
    /// The number in it.
    pub vif: u32,
    /// The interface.
    pub name: String,
    /// What came in.
    pub bytes_in: u64,
    /// The same in packets.
    pub pkts_in: u64,
    /// What was sent.
    pub bytes_out: u64,
    /// The same in packets.
    pub pkts_out: u64,
    /// `VIFF_*` (include/uapi/linux/mroute.h): 1 tunnel, 4 register, 8 chosen by its number.
    pub flags: u16,
    /// What a packet's TTL must be above.
    pub threshold: u8,
    /// What the daemon asked for; the kernel makes no use of it.
    pub rate_limit: u64,
    /// A tunnel's address as the kernel keeps it; of one chosen by its number, that.
    pub local: u32,
    /// The tunnel's other end.
    pub remote: u32,
}

/// The shape of an IPv4 table.
#[derive(Debug, Serialize)]
pub struct Trie {
    /// The inode number of its network namespace.
    pub netns: u64,
    /// The table's number.
    pub table: u32,
    /// Its nodes, each before what is below it.
    pub nodes: Vec<TrieNode>,
    /// What there is of everything.
    pub stats: TrieStats,
}

/// A node of a trie.
#[derive(Debug, Serialize)]
pub struct TrieNode {
    /// How many nodes are above it.
    pub level: u32,
    /// The addresses below it.
    pub prefix: Prefix,
    /// How many bits of addresses it decides by; 0 for a leaf.
    pub bits: u8,
    /// Children that are full nodes themselves.
    pub full_children: u32,
    /// Children that aren't there.
    pub empty_children: u32,
    /// The routes of a leaf.
    pub routes: Vec<TrieRoute>,
}

/// A route of a leaf.
#[derive(Debug, Serialize)]
pub struct TrieRoute {
    /// Bits of its prefix.
    pub length: u8,
    /// Its scope's number.
    pub scope: u8,
    /// `unicast`, `local` ...
    #[serde(rename = "type")]
    pub kind: String,
    /// Its type of service.
    pub tos: u8,
}

/// What a trie has of everything.
#[derive(Debug, Default, Serialize)]
pub struct TrieStats {
    /// Leaves.
    pub leaves: u64,
    /// The sum of the leaves' levels.
    pub total_depth: u64,
    /// The lowest leaf's level.
    pub most_depth: u32,
    /// Routes.
    pub prefixes: u64,
    /// Nodes with children.
    pub inner: u64,
    /// How many of these there are by the bits that they decide by.
    pub sizes: [u64; 32],
    /// Places for children.
    pub pointers: u64,
    /// Those that are empty.
    pub null_pointers: u64,
    /// Bytes that all of it takes.
    pub bytes: u64,
    /// Bytes of a leaf.
    pub leaf_bytes: u64,
    /// Bytes of a node with children, without the places for them.
    pub node_bytes: u64,
    /// What lookups did.
    pub counts: Vec<(&'static str, u64)>,
}

#[cfg(test)]
mod tests {
    use super::Prefix;

    #[test]
    fn prefixes_contain_what_begins_like_them() {
        let prefix = |address: &str, length| Prefix {
            address: address.parse().expect("an address"),
            length,
        };
        let is_in = |prefix: Prefix, address: &str| prefix.contains(address.parse().expect("one"));
        assert!(is_in(prefix("10.1.0.0", 16), "10.1.2.3"));
        assert!(!is_in(prefix("10.1.0.0", 16), "10.2.2.3"));
        assert!(is_in(prefix("0.0.0.0", 0), "10.2.2.3"));
        assert!(!is_in(prefix("0.0.0.0", 0), "::1"));
        assert!(is_in(prefix("::", 0), "fe80::1"));
        assert!(is_in(prefix("fe80::1", 128), "fe80::1"));
        assert!(!is_in(prefix("fe80::2", 127), "fe80::1"));
    }
}

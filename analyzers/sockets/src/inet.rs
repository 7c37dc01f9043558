//! Addresses and ports of IPv4 and IPv6 sockets, and the tables that such sockets are in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use kernel::{hlist_head, hlist_nulls_head, sock, sock_common, sym};
use kstruct::{Fault, FaultKind, Memory, View as _, walk};
use linux::Faults;
use serde::Serialize;

use crate::sock::{Base, CLOSE, INET6, Work, state_name};
use crate::space::Spaces;

/// A socket's two ends.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Ends {
    /// Its own address.
    pub local: IpAddr,
    /// Its own port; the protocol of a raw socket.
    pub local_port: u16,
    /// The other end's address.
    pub remote: IpAddr,
    /// The other end's port.
    pub remote_port: u16,
    /// It has nothing to do with IPv4 (`IPV6_V6ONLY`).
    pub v6only: bool,
}

impl Ends {
    /// Of anything that begins as a socket does: time-wait sockets and requests, too.
    pub fn of(common: sock_common<'_>) -> Self {
        let (local, remote) = if common.skc_family() == INET6 {
            (ipv6(common.skc_v6_rcv_saddr()), ipv6(common.skc_v6_daddr()))
        } else {
            (ipv4(common.skc_rcv_saddr()), ipv4(common.skc_daddr()))
        };
        Ends {
            local,
            local_port: common.skc_num(),
            remote,
            remote_port: network16(common.skc_dport()),
            v6only: u64::from(common.skc_ipv6only()) != 0,
        }
    }
}

/// A `__be16` as a number.
pub fn network16(value: u16) -> u16 {
    if kernel::KERNEL.big_endian {
        value
    } else {
        value.swap_bytes()
    }
}

fn ipv4(value: u32) -> IpAddr {
    let bytes = if kernel::KERNEL.big_endian {
        value.to_be_bytes()
    } else {
        value.to_le_bytes()
    };
    Ipv4Addr::from(bytes).into()
}

fn ipv6(address: kernel::in6_addr<'_>) -> IpAddr {
    // A view has all its bytes.
    let bytes: [u8; 16] = address.bytes().try_into().unwrap_or_default();
    Ipv6Addr::from(bytes).into()
}

/// A list of sockets, whichever kind of list a kernel uses for it.
trait Chain<'m> {
    /// What is on it.
    fn sockets(self) -> impl Iterator<Item = Result<sock_common<'m>, Fault>>;
}

impl<'m> Chain<'m> for hlist_head<'m> {
    fn sockets(self) -> impl Iterator<Item = Result<sock_common<'m>, Fault>> {
        self.entries(sock_common::skc_node)
    }
}

impl<'m> Chain<'m> for hlist_nulls_head<'m> {
    fn sockets(self) -> impl Iterator<Item = Result<sock_common<'m>, Fault>> {
        self.entries(sock_common::skc_nulls_node)
    }
}

/// The addresses of the sockets in a table, in the order of its buckets.
fn gather<'m, C: Chain<'m>>(
    count: usize,
    what: &str,
    faults: &mut Faults,
    bucket: impl Fn(usize) -> Option<C> + Send + Sync,
) -> Vec<u64> {
    /// Buckets that a thread looks at before it takes others.
    const PIECE: usize = 512;
    let pieces = walk::par_index(count.div_ceil(PIECE), |index| {
        let start = index * PIECE;
        let mut found = Vec::new();
        let mut errors = Vec::new();
        for index in start..count.min(start + PIECE) {
            for socket in bucket(index).into_iter().flat_map(Chain::sockets) {
                match socket {
                    Ok(socket) => found.push(socket.addr()),
                    Err(fault) => errors.push((index, fault)),
                }
            }
        }
        (found, errors)
    });
    let mut all = Vec::new();
    for (found, errors) in pieces {
        all.extend(found);
        for (index, fault) in errors {
            faults.add(format_args!("bucket {index} of {what}"), fault);
        }
    }
    all
}

/// How many buckets a table has, by its mask.
///
/// # Errors
///
/// The mask isn't one, or of more buckets than any kernel makes.
fn buckets(table: u64, mask: u32) -> Result<usize, Fault> {
    /// What TCP's table can have by the kernel's command line is less (`thash_entries`).
    const MOST: u64 = 1 << 24;
    let count = u64::from(mask) + 1;
    if count.is_power_of_two() && count <= MOST {
        Ok(count as usize)
    } else {
        Err(Fault {
            address: table,
            kind: FaultKind::Inconsistent,
        })
    }
}

/// TCP sockets by how they are found.
#[derive(Default)]
pub struct TcpTables {
    /// Those that listen.
    pub listeners: Vec<u64>,
    /// All others that have a peer: full ones, time-wait ones, requests.
    pub established: Vec<u64>,
}

/// The TCP sockets of all namespaces.
pub fn tcp_tables(k: &Memory, spaces: &Spaces<'_>, faults: &mut Faults) -> TcpTables {
    let mut tables = Vec::new();
    #[cfg(kernel_has = "sym:tcp_hashinfo")]
    tables.extend(faults.check("tcp_hashinfo", k.get(sym::tcp_hashinfo)));
    // From 6.1 on a namespace may have its own.
    #[cfg(kernel_has = "netns_ipv4.tcp_death_row.hashinfo")]
    for space in spaces.iter() {
        let own = space.net.ipv4().tcp_death_row().hashinfo();
        if !tables.iter().any(|table| table.addr() == own.addr()) {
            let what = format_args!("TCP's tables of network namespace {}", space.inode);
            tables.extend(faults.check(what, own.deref()));
        }
    }
    let _ = spaces;
    let mut found = TcpTables::default();
    let mut seen = Vec::new();
    for table in tables {
        // Namespaces with their own table of connections share that of listeners.
        let mut is_new = |address: u64| {
            let is_new = !seen.contains(&address);
            seen.push(address);
            is_new
        };
        if is_new(table.ehash().addr()) {
            let array = buckets(table.addr(), table.ehash_mask())
                .and_then(|count| table.ehash().array(count));
            if let Some(buckets) = faults.check("ehash", array) {
                let count = buckets.len();
                found
                    .established
                    .extend(gather(count, "ehash", faults, |index| {
                        buckets.get(index).map(|bucket| bucket.chain())
                    }));
            }
        }
        #[cfg(not(kernel_has = "inet_hashinfo.listening_hash"))]
        if is_new(table.lhash2().addr()) {
            let array = buckets(table.addr(), table.lhash2_mask())
                .and_then(|count| table.lhash2().array(count));
            if let Some(buckets) = faults.check("lhash2", array) {
                let count = buckets.len();
                found
                    .listeners
                    .extend(gather(count, "lhash2", faults, |index| {
                        buckets.get(index).map(|bucket| bucket.nulls_head())
                    }));
            }
        }
        // Before 5.19, by port alone.
        #[cfg(kernel_has = "inet_hashinfo.listening_hash")]
        {
            let buckets = table.listening_hash();
            found
                .listeners
                .extend(gather(buckets.len(), "listening_hash", faults, |index| {
                    #[cfg(kernel_has = "inet_listen_hashbucket.nulls_head")]
                    return buckets.get(index).map(|bucket| bucket.nulls_head());
                    #[cfg(not(kernel_has = "inet_listen_hashbucket.nulls_head"))]
                    return buckets.get(index).map(|bucket| bucket.head());
                }));
        }
    }
    found
}

/// A protocol without connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// UDP
    Udp,
    /// UDP-Lite
    UdpLite,
    /// Raw IP
    Raw,
    /// ICMP echo without being root (`ping_group_range`)
    Ping,
}

impl Protocol {
    /// As ss names it.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Udp => "udp",
            Protocol::UdpLite => "udplite",
            Protocol::Raw => "raw",
            Protocol::Ping => "icmp",
        }
    }
}

/// The UDP, UDP-Lite, raw and ping sockets of all namespaces, with the number of the bucket that /proc shows first.
pub fn datagram_tables(
    k: &Memory,
    spaces: &Spaces<'_>,
    faults: &mut Faults,
) -> Vec<(Protocol, u64)> {
    let mut found = Vec::new();
    let mut tables = Vec::new();
    #[cfg(kernel_has = "sym:udp_table")]
    tables.extend(
        faults
            .check("udp_table", k.get(sym::udp_table))
            .map(|table| (Protocol::Udp, table)),
    );
    #[cfg(kernel_has = "sym:udplite_table")]
    tables.extend(
        faults
            .check("udplite_table", k.get(sym::udplite_table))
            .map(|table| (Protocol::UdpLite, table)),
    );
    // From 6.2 on a namespace may have its own.
    #[cfg(kernel_has = "netns_ipv4.udp_table")]
    for space in spaces.iter() {
        let own = space.net.ipv4().udp_table();
        if !own.is_null() && !tables.iter().any(|(_, table)| table.addr() == own.addr()) {
            let what = format_args!("UDP's table of network namespace {}", space.inode);
            tables.extend(
                faults
                    .check(what, own.deref())
                    .map(|table| (Protocol::Udp, table)),
            );
        }
    }
    let _ = spaces;
    for (protocol, table) in tables {
        let what = protocol.name();
        let array = buckets(table.addr(), table.mask()).and_then(|count| table.hash().array(count));
        if let Some(slots) = faults.check(what, array) {
            let count = slots.len();
            let sockets = gather(count, what, faults, |index| {
                slots.get(index).map(|slot| slot.head())
            });
            found.extend(sockets.into_iter().map(|socket| (protocol, socket)));
        }
    }
    let raw: &[Result<kernel::raw_hashinfo<'_>, Fault>] = &[
        #[cfg(kernel_has = "sym:raw_v4_hashinfo")]
        k.get(sym::raw_v4_hashinfo),
        #[cfg(kernel_has = "sym:raw_v6_hashinfo")]
        k.get(sym::raw_v6_hashinfo),
    ];
    for table in raw {
        if let Some(table) = faults.check("raw_hashinfo", *table) {
            let buckets = table.ht();
            let sockets = gather(buckets.len(), "raw", faults, |index| buckets.get(index));
            found.extend(sockets.into_iter().map(|socket| (Protocol::Raw, socket)));
        }
    }
    #[cfg(kernel_has = "sym:ping_table")]
    if let Some(table) = faults.check("ping_table", k.get(sym::ping_table)) {
        let buckets = table.hash();
        let sockets = gather(buckets.len(), "ping", faults, |index| buckets.get(index));
        found.extend(sockets.into_iter().map(|socket| (Protocol::Ping, socket)));
    }
    found
}

/// A socket of a protocol without connections.
#[derive(Serialize)]
pub struct Datagram {
    /// What all sockets have.
    #[serde(flatten)]
    pub base: Base,
    /// Which protocol's; a raw socket's own is its local port.
    pub netid: &'static str,
    /// Where it is bound, and what it is connected to.
    #[serde(flatten)]
    pub ends: Ends,
    /// Bytes of memory of what was not read yet (`udp_rqueue_get`, `sk_rmem_alloc_get`).
    pub rx_queue: u32,
    /// Bytes of memory of what is being sent.
    pub tx_queue: u32,
}

impl Datagram {
    /// Reads one.
    pub fn read<'m>(
        work: &mut Work<'_, 'm>,
        protocol: Protocol,
        address: u64,
    ) -> Result<Self, Fault> {
        let sk = sock::at(work.reader.k, address)?;
        let mut base = work.base(sk, state_name(sk.__sk_common().skc_state()));
        let memory = crate::sock::Skmem::of(sk);
        let mut rx_queue = memory.rmem_alloc;
        #[cfg(kernel_has = "udp_sock.forward_deficit")]
        if matches!(protocol, Protocol::Udp | Protocol::UdpLite) {
            let udp = kernel::udp_sock::at(work.reader.k, address)?;
            rx_queue = rx_queue.wrapping_sub(udp.forward_deficit().cast_unsigned());
        }
        // ss has what is not connected as UNCONN, whatever else TCP's states could say.
        if base.state != "ESTAB" {
            base.state = state_name(CLOSE);
        }
        Ok(Datagram {
            base,
            netid: protocol.name(),
            ends: Ends::of(sk.__sk_common()),
            rx_queue,
            tx_queue: memory.wmem_alloc,
        })
    }
}

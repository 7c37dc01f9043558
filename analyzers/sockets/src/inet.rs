//! Addresses and ports of IPv4 and IPv6 sockets, and the tables that such sockets are in.

use std::collections::HashSet;
use std::net::IpAddr;

use kernel::{hlist_head, sock_common};
use kstruct::{Fault, FaultKind, Memory, View as _, walk};
use linux::Faults;
use linux::net::address;
use rayon::slice::ParallelSliceMut as _;
use serde::Serialize;

use crate::sock::Base;

#[cfg(kernel_has = "inet_hashinfo.lhash2")]
mod hash;
#[cfg(kernel_has = "inet_hashinfo.lhash2")]
mod layout;
#[cfg(kernel_has = "inet_hashinfo.lhash2")]
mod read;
#[cfg(kernel_has = "inet_hashinfo.lhash2")]
pub use hash::Secrets;
#[cfg(kernel_has = "inet_hashinfo.lhash2")]
pub use layout::{Bucket, Hashes, Layout, Rehashed, Table, Unlinked, layout};
#[cfg(kernel_has = "inet_hashinfo.lhash2")]
pub use read::{bucket_of, datagram_tables, own_bucket, tcp_tables};

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

pub(crate) fn ipv4(value: u32) -> IpAddr {
    address::ipv4(value).into()
}

pub(crate) fn ipv6(value: kernel::in6_addr<'_>) -> IpAddr {
    address::ipv6(value).into()
}

/// A list of sockets, whichever kind of list a kernel uses for it.
pub(crate) trait Chain<'m>: Copy {
    /// The address of the first node; `None` if nothing is on it: of most buckets that is all there is to know.
    fn first_node(self) -> Option<u64>;
    /// What is on it.
    fn sockets(self) -> impl Iterator<Item = Result<sock_common<'m>, Fault>>;
    /// Where its first link is.
    fn link(self) -> u64;
    /// Where a socket's link to the next one is, and the place of the link that leads to it, as it says itself (`pprev`).
    fn links(socket: sock_common<'m>) -> (u64, u64);
    /// Where the end is, if that is another chain's: it stands behind the last socket, or in the head. Most kinds of lists all end alike.
    fn foreign_end(self, _last: Option<sock_common<'m>>) -> Option<u64> {
        None
    }
}

impl<'m> Chain<'m> for hlist_head<'m> {
    #[inline]
    fn first_node(self) -> Option<u64> {
        let first = self.first();
        (!first.is_null()).then(|| first.addr())
    }

    fn sockets(self) -> impl Iterator<Item = Result<sock_common<'m>, Fault>> {
        self.entries(sock_common::skc_node)
    }

    #[inline]
    fn link(self) -> u64 {
        self.addr()
    }

    #[inline]
    fn links(socket: sock_common<'m>) -> (u64, u64) {
        let node = socket.skc_node();
        (node.addr(), node.pprev().addr())
    }
}

/// The addresses of the sockets in a table, in the order of its buckets, each once: chains that lead into each other are a fault. Otherwise a damaged
/// dump had as many sockets as its square. So is a chain that ends as another one does: what was behind isn't found.
pub(crate) fn gather<'m, C: Chain<'m>>(
    k: &Memory,
    count: usize,
    what: &str,
    faults: &mut Faults,
    bucket: impl Fn(usize) -> Option<C> + Send + Sync,
) -> Vec<u64> {
    /// Buckets that a thread looks at before it takes others.
    const PIECE: usize = 512;
    /// Bytes of a node: two pointers.
    const NODE: usize = 2 * kernel::KERNEL.pointer_size as usize;
    /// Sockets that are taken from a chain before it is asked whether others have them, too.
    const MOST: usize = 128;
    let pieces = walk::par_index(count.div_ceil(PIECE), |index| {
        let start = index * PIECE;
        let mut found = Found::default();
        let mut chains = Vec::new();
        for index in start..count.min(start + PIECE) {
            let Some(chain) = bucket(index) else {
                continue;
            };
            if let Some(first) = chain.first_node() {
                k.prefetch(first, NODE);
                chains.push((index, chain));
            } else {
                found.end(index, chain, None);
            }
        }
        for (index, chain) in chains {
            let mut link = chain.link();
            let mut last = None;
            for (number, socket) in chain.sockets().enumerate() {
                if number == MOST {
                    found.longer.push((index, found.sockets.len()));
                    last = None;
                    break;
                }
                last = socket.ok();
                match socket {
                    Ok(socket) => {
                        let (next, back) = C::links(socket);
                        found.is_tangled |= back != link;
                        link = next;
                        found.sockets.push(socket.addr());
                    }
                    Err(fault) => found.faults.push((index, fault)),
                }
            }
            // Where one can't be read there is no end.
            if last.is_some() {
                found.end(index, chain, last);
            }
        }
        found
    });
    let mut all: Vec<u64> = Vec::new();
    let is_long = pieces.iter().any(|piece| !piece.longer.is_empty());
    let is_tangled = pieces.iter().any(|piece| piece.is_tangled);
    let mut seen: HashSet<u64> = HashSet::new();
    if is_long {
        seen.extend(pieces.iter().flat_map(|piece| &piece.sockets));
    }
    for piece in pieces {
        let mut from = 0;
        for (index, to) in piece.longer {
            all.extend(&piece.sockets[from..to]);
            from = to;
            let Some(chain) = bucket(index) else {
                continue;
            };
            let mut last = None;
            for socket in chain.sockets().skip(MOST) {
                last = socket.ok();
                match socket.map(sock_common::addr) {
                    Ok(socket) => {
                        all.push(socket);
                        if !seen.insert(socket) {
                            // What is behind it is on that chain.
                            last = None;
                            break;
                        }
                    }
                    Err(fault) => faults.add(format_args!("bucket {index} of {what}"), fault),
                }
            }
            if let Some(fault) = last.and_then(|last| foreign_end(chain, Some(last))) {
                faults.add(format_args!("bucket {index} of {what}"), fault);
            }
        }
        all.extend(&piece.sockets[from..]);
        for (index, fault) in piece.faults {
            faults.add(format_args!("bucket {index} of {what}"), fault);
        }
    }
    // What two chains lead to says of at least one of them that it doesn't.
    if !is_tangled && !is_long {
        return all;
    }
    let mut sorted = all.clone();
    sorted.par_sort_unstable();
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        let (address, kind) = (pair[0], FaultKind::Inconsistent);
        faults.add(
            format_args!("{what}: a chain that leads into another"),
            Fault { address, kind },
        );
        let mut seen = HashSet::new();
        all.retain(|socket| seen.insert(*socket));
    }
    all
}

/// What is on the chains of some buckets.
#[derive(Default)]
struct Found {
    sockets: Vec<u64>,
    /// Whether a link back is not to where the chain came from.
    is_tangled: bool,
    /// Buckets of which this is not all, and how many of the sockets come before the rest.
    longer: Vec<(usize, usize)>,
    /// By bucket, what could not be read.
    faults: Vec<(usize, Fault)>,
}

impl Found {
    /// Looks at the end of a bucket's chain.
    #[inline]
    fn end<'m>(&mut self, index: usize, chain: impl Chain<'m>, last: Option<sock_common<'m>>) {
        if let Some(fault) = foreign_end(chain, last) {
            self.faults.push((index, fault));
        }
    }
}

/// That a chain ends with another one's end.
#[inline]
fn foreign_end<'m>(chain: impl Chain<'m>, last: Option<sock_common<'m>>) -> Option<Fault> {
    chain.foreign_end(last).map(|address| Fault {
        address,
        kind: FaultKind::Inconsistent,
    })
}

#[cfg(not(kernel_has = "inet_hashinfo.lhash2"))]
pub use crate::old::inet::{datagram_tables, tcp_tables};

/// TCP sockets by how they are found.
#[derive(Default)]
pub struct TcpTables {
    /// Those that listen.
    pub listeners: Vec<u64>,
    /// All others that have a peer: full ones, time-wait ones, requests.
    pub established: Vec<u64>,
    /// Whether these are all that the kernel would find: no memory of the tables and of what is in them is missing in the dump.
    pub is_complete: bool,
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
    /// Of a raw socket for ICMP: which types it doesn't want, as bits (`ICMP_FILTER`).
    #[cfg(kernel_has = "raw_opt.filter")]
    pub icmp_filter: Option<u32>,
}

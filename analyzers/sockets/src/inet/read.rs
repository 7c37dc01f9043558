//! How the tables and the sockets in them are read.

#[cfg(not(kernel_has = "inet_hashinfo.listening_hash"))]
use kernel::inet_listen_hashbucket;
use kernel::{hlist_nulls_head, inet_ehash_bucket, inet_hashinfo, sock, sock_common, sym};
use kstruct::{Array, Fault, FaultKind, Memory, Ptr, View};
use linux::Faults;
use linux::net::order::be16;

use super::{Chain, Datagram, Ends, Protocol, TcpTables, gather, ipv4, ipv6};
use crate::sock::{CLOSE, INET6, Work, state_name};
use crate::space::Spaces;

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
            remote_port: be16(common.skc_dport()),
            v6only: u64::from(common.skc_ipv6only()) != 0,
        }
    }
}

/// A bucket of TCP's tables.
#[derive(Clone, Copy)]
struct Nulls<'m> {
    head: hlist_nulls_head<'m>,
    /// The number at the end of its chain (`INIT_HLIST_NULLS_HEAD`, include/linux/list_nulls.h).
    end: u64,
}

impl<'m> Chain<'m> for Nulls<'m> {
    /// Where such a chain ends, there is an odd number (`is_a_nulls`).
    #[inline]
    fn first_node(self) -> Option<u64> {
        let first = self.head.first().addr();
        (first & 1 == 0).then_some(first)
    }

    fn sockets(self) -> impl Iterator<Item = Result<sock_common<'m>, Fault>> {
        self.head.entries(sock_common::skc_nulls_node)
    }

    #[inline]
    fn link(self) -> u64 {
        self.head.addr()
    }

    #[inline]
    fn links(socket: sock_common<'m>) -> (u64, u64) {
        let node = socket.skc_nulls_node();
        (node.addr(), node.pprev().addr())
    }

    #[inline]
    fn foreign_end(self, last: Option<sock_common<'m>>) -> Option<u64> {
        let (at, end) = match last {
            None => (self.head.addr(), self.head.first().addr()),
            Some(last) => {
                let node = last.skc_nulls_node();
                (node.addr(), node.next().addr())
            }
        };
        (end != nulls_end(self.end)).then_some(at)
    }
}

/// What a chain ends with, by its number (`NULLS_MARKER`).
#[inline]
pub(super) fn nulls_end(number: u64) -> u64 {
    number << 1 | 1
}

/// The number at the end of the first bucket of listeners (`LISTENING_NULLS_BASE`, include/net/inet_hashtables.h).
#[cfg(any(
    not(kernel_has = "inet_hashinfo.listening_hash"),
    kernel_has = "inet_listen_hashbucket.nulls_head"
))]
pub(super) const LISTENERS: u64 = 1 << 29;

/// How many buckets a table has, by its mask.
///
/// # Errors
///
/// The mask isn't one, or of more buckets than any kernel makes.
pub(super) fn buckets(table: u64, mask: u32) -> Result<usize, Fault> {
    linux::size::power_of_two(table, u64::from(mask) + 1, MOST as u64)
}

/// What TCP's table can have by the kernel's command line is less (`thash_entries`).
const MOST: usize = 1 << 24;

/// The buckets of a table, and what is wrong with their number.
type Buckets<'m, T> = Result<(Array<'m, T>, Option<Fault>), Fault>;

/// The table of connections.
///
/// # Errors
///
/// As of [`table_of`].
pub(super) fn connections(table: inet_hashinfo<'_>) -> Buckets<'_, inet_ehash_bucket<'_>> {
    table_of(table, table.ehash(), table.ehash_mask(), 0, |it| it.chain())
}

/// The table of listeners.
///
/// # Errors
///
/// As of [`table_of`].
#[cfg(not(kernel_has = "inet_hashinfo.listening_hash"))]
pub(super) fn listeners(table: inet_hashinfo<'_>) -> Buckets<'_, inet_listen_hashbucket<'_>> {
    table_of(
        table,
        table.lhash2(),
        table.lhash2_mask(),
        LISTENERS,
        |it| it.nulls_head(),
    )
}

/// The buckets of a table of TCP's, and a fault if there are others than its mask says: more, of which the sockets would be lost, or fewer, with
/// as many faults as there are words behind it. The chain of each ends with its number, which `base` is added to.
///
/// # Errors
///
/// The mask isn't one, or no bucket at the table's end is one.
fn table_of<'m, T: View<'m> + 'm>(
    table: inet_hashinfo<'m>,
    first: Ptr<'m, T>,
    mask: u32,
    base: u64,
    head: impl Fn(T) -> hlist_nulls_head<'m>,
) -> Buckets<'m, T> {
    /// How many are looked at: one or another may be damaged, or have a chain that the dump lacks.
    const SOME: usize = 64;
    let claimed = buckets(table.addr(), mask)?;
    let all = first.array(claimed)?;
    // Of memory that the dump lacks nothing is known.
    let is_bucket = |index: usize| {
        let head = head(first.at(index as u64).ok()?);
        Some(chain_end(head) == Some(nulls_end(base + index as u64)))
    };
    let contradiction = Fault {
        address: table.addr(),
        kind: FaultKind::Inconsistent,
    };
    let mut size = claimed;
    while (size.saturating_sub(SOME)..size).all(|index| is_bucket(index) == Some(false)) {
        size /= 2;
        if size == 0 {
            return Err(contradiction);
        }
    }
    if size == claimed {
        while size < MOST && (size..size + SOME).all(|index| is_bucket(index) == Some(true)) {
            size *= 2;
        }
    }
    if size == claimed {
        return Ok((all, None));
    }
    Ok((first.array(size)?, Some(contradiction)))
}

/// What a chain ends with, if that isn't far and can be read.
fn chain_end(head: hlist_nulls_head<'_>) -> Option<u64> {
    const FAR: usize = 64;
    let mut next = head.first();
    for _ in 0..FAR {
        if next.addr() & 1 == 1 {
            return Some(next.addr());
        }
        next = next.deref().ok()?.next();
    }
    None
}

/// TCP's tables: that of all namespaces, and those of their own.
pub(super) fn hashinfos<'m>(
    k: &'m Memory,
    spaces: &Spaces<'m>,
    faults: &mut Faults,
) -> Vec<inet_hashinfo<'m>> {
    let mut tables = Vec::new();
    #[cfg(kernel_has = "sym:tcp_hashinfo")]
    tables.extend(faults.check("tcp_hashinfo", k.get(sym::tcp_hashinfo)));
    // From 6.1 on a namespace may have its own.
    #[cfg(kernel_has = "netns_ipv4.tcp_death_row.hashinfo")]
    for space in spaces.iter() {
        let own = space.net.ipv4().tcp_death_row().hashinfo();
        if !tables
            .iter()
            .any(|table: &inet_hashinfo<'_>| table.addr() == own.addr())
        {
            let what = format_args!("TCP's tables of network namespace {}", space.inode);
            tables.extend(faults.check(what, own.deref()));
        }
    }
    let _ = (k, spaces);
    tables
}

/// The number of the bucket of TCP's table of connections on whose chain a socket is: the chain's end names it, if that isn't far.
pub fn bucket_of(k: &Memory, address: u64) -> Option<usize> {
    /// Few chains are longer, and a damaged dump may have a million sockets that aren't: each is asked about.
    const MOST: usize = 64;
    let mut node = sock_common::at(k, address).ok()?.skc_nulls_node();
    for _ in 0..MOST {
        let next = node.next();
        if next.addr() & 1 == 1 {
            return usize::try_from(next.addr() >> 1).ok();
        }
        node = next.deref().ok()?;
    }
    None
}

/// The number of the bucket in which a socket should be, by its hash.
pub fn own_bucket(k: &Memory, spaces: &Spaces<'_>, address: u64) -> Option<usize> {
    let hash = sock_common::at(k, address).ok()?.skc_hash();
    let table = hashinfos(k, spaces, &mut Faults::default())
        .into_iter()
        .next()?;
    Some((hash & table.ehash_mask()) as usize)
}

/// The TCP sockets of all namespaces.
pub fn tcp_tables(k: &Memory, spaces: &Spaces<'_>, faults: &mut Faults) -> TcpTables {
    let missing = faults.missing();
    let tables = hashinfos(k, spaces, faults);
    let mut found = TcpTables::default();
    let mut is_complete = !tables.is_empty();
    let mut seen = Vec::new();
    for table in tables {
        // Namespaces with their own table of connections share that of listeners.
        let mut is_new = |address: u64| {
            let is_new = !seen.contains(&address);
            seen.push(address);
            is_new
        };
        if is_new(table.ehash().addr()) {
            let array = connections(table);
            if let Some((buckets, fault)) = faults.check("ehash", array) {
                if let Some(fault) = fault {
                    faults.add("ehash_mask", fault);
                }
                let count = buckets.len();
                found
                    .established
                    .extend(gather(k, count, "ehash", faults, |index| {
                        buckets.get(index).map(|bucket| Nulls {
                            head: bucket.chain(),
                            end: index as u64,
                        })
                    }));
            } else {
                is_complete = false;
            }
        }
        #[cfg(not(kernel_has = "inet_hashinfo.listening_hash"))]
        if is_new(table.lhash2().addr()) {
            let array = listeners(table);
            if let Some((buckets, fault)) = faults.check("lhash2", array) {
                if let Some(fault) = fault {
                    faults.add("lhash2_mask", fault);
                }
                let count = buckets.len();
                found
                    .listeners
                    .extend(gather(k, count, "lhash2", faults, |index| {
                        buckets.get(index).map(|bucket| Nulls {
                            head: bucket.nulls_head(),
                            end: LISTENERS + index as u64,
                        })
                    }));
            } else {
                is_complete = false;
            }
        }
        // Before 5.19, by port alone.
        #[cfg(kernel_has = "inet_hashinfo.listening_hash")]
        {
            let buckets = table.listening_hash();
            found.listeners.extend(gather(
                k,
                buckets.len(),
                "listening_hash",
                faults,
                |index| {
                    #[cfg(kernel_has = "inet_listen_hashbucket.nulls_head")]
                    return buckets.get(index).map(|bucket| Nulls {
                        head: bucket.nulls_head(),
                        end: LISTENERS + index as u64,
                    });
                    #[cfg(not(kernel_has = "inet_listen_hashbucket.nulls_head"))]
                    return buckets.get(index).map(|bucket| bucket.head());
                },
            ));
        }
    }
    found.is_complete = is_complete && faults.missing() == missing;
    found
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
        // `udp_table_init`
        const MOST: u64 = 1 << 16;
        let size = u64::from(table.mask()) + 1;
        let array = linux::size::power_of_two(table.addr(), size, MOST).and_then(|count| {
            let log = table.log();
            if 1_u64.checked_shl(log) != Some(size) {
                return Err(Fault {
                    address: table.addr(),
                    kind: FaultKind::Inconsistent,
                });
            }
            table.hash().array(count)
        });
        if let Some(slots) = faults.check(format_args!("{what}: table"), array) {
            let count = slots.len();
            let sockets = gather(k, count, what, faults, |index| {
                slots.get(index).map(|slot| slot.head())
            });
            // A slot counts those on it (`udp_lib_get_port`).
            let counted: i64 = slots.iter().map(|slot| i64::from(slot.count())).sum();
            let holds = i64::try_from(sockets.len()) == Ok(counted);
            let holds = holds || k.dump().is_live();
            faults.require(holds, format_args!("{what}: sockets"), table.addr());
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
            let sockets = gather(k, buckets.len(), "raw", faults, |index| buckets.get(index));
            found.extend(sockets.into_iter().map(|socket| (Protocol::Raw, socket)));
        }
    }
    #[cfg(kernel_has = "sym:ping_table")]
    if let Some(table) = faults.check("ping_table", k.get(sym::ping_table)) {
        let buckets = table.hash();
        let sockets = gather(k, buckets.len(), "ping", faults, |index| buckets.get(index));
        found.extend(sockets.into_iter().map(|socket| (Protocol::Ping, socket)));
    }
    found
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

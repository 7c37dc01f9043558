//! Addresses and ports of IPv4 and IPv6 sockets, and the tables that such sockets are in.

use std::net::Ipv4Addr;

use kernel::{hlist_head, ipv6_pinfo, sock, sym};
use kstruct::{Array, Fault, FaultKind, Memory, Ptr, View as _};
use linux::Faults;

use crate::inet::{Datagram, Ends, Protocol, TcpTables, gather, ipv6};
use crate::sock::{CLOSE, INET6, Skmem, Work, state_name};
use crate::space::Spaces;

/// Bytes of a pointer.
const POINTER: u64 = kernel::KERNEL.pointer_size as u64;
/// Where a `sock` of IPv4 or IPv6 has the address of its `ipv6_pinfo`: right behind it (`struct inet_sock`, include/linux/ip.h). That struct
/// and those of TCP and UDP are not in the debug information, as compilers of the time left out what only casts name.
const IPV6: u64 = sock::SIZE as u64;
/// Where it has its `inet_opt`.
const INET: u64 = IPV6 + POINTER;
/// Bytes of an `inet_opt`.
#[cfg(kernel_has = "inet_opt.daddr")]
const INET_SIZE: u64 = kernel::inet_opt::SIZE as u64;
/// Bytes of an `inet_opt` on i386, for debug information that lacks it.
#[cfg(not(kernel_has = "inet_opt.daddr"))]
const INET_SIZE: u64 = 152;

/// What a protocol adds to a socket: a `tcp_opt`, a `raw_opt` (`tcp_sk`, `raw4_sk`).
pub fn protocol<T>(sk: sock<'_>) -> Ptr<'_, T> {
    Ptr::new(sk.memory(), sk.addr().wrapping_add(INET + INET_SIZE))
}

impl Ends {
    /// Of a full socket.
    pub fn of_sock(sk: sock<'_>) -> Result<Self, Fault> {
        /// How much of `inet_opt` is needed, which is the same in all of 2.6: `daddr`, `rcv_saddr`, `dport`, `num`.
        const LENGTH: usize = 12;
        let k = sk.memory();
        let inet = k.bytes(sk.addr().wrapping_add(INET), LENGTH)?;
        let &[d0, d1, d2, d3, r0, r1, r2, r3, p0, p1, n0, n1] = inet else {
            // `bytes` gives as many as it is asked for.
            return Err(Fault {
                address: sk.addr(),
                kind: FaultKind::Inconsistent,
            });
        };
        let mut ends = Ends {
            local: Ipv4Addr::new(r0, r1, r2, r3).into(),
            local_port: if kernel::KERNEL.big_endian {
                u16::from_be_bytes([n0, n1])
            } else {
                u16::from_le_bytes([n0, n1])
            },
            remote: Ipv4Addr::new(d0, d1, d2, d3).into(),
            remote_port: u16::from_be_bytes([p0, p1]),
            v6only: false,
        };
        if sk.__sk_common().skc_family() == INET6 {
            let own: Ptr<'_, ipv6_pinfo<'_>> = Ptr::new(k, k.word(sk.addr().wrapping_add(IPV6))?);
            let own = own.deref()?;
            ends.local = ipv6(own.rcv_saddr());
            ends.remote = ipv6(own.daddr());
            ends.v6only = own.ipv6only() != 0;
        }
        Ok(ends)
    }
}

/// The TCP sockets.
pub fn tcp_tables(k: &Memory, _: &Spaces<'_>, faults: &mut Faults) -> TcpTables {
    /// What the table can have by the kernel's command line is less (`thash_entries`).
    const MOST: u64 = 1 << 24;
    let missing = faults.missing();
    let mut found = TcpTables::default();
    let Some(table) = faults.check("tcp_hashinfo", k.get(sym::tcp_hashinfo)) else {
        return found;
    };
    let listening = table.__tcp_listening_hash();
    found.listeners = gather(
        k,
        listening.len(),
        "__tcp_listening_hash",
        faults,
        |index| listening.get(index),
    );
    // The size is that of one half; in the other one are sockets in TIME_WAIT.
    let size = u64::from(table.__tcp_ehash_size().cast_unsigned());
    let count = linux::size::power_of_two(table.addr(), size, MOST);
    let buckets = count.and_then(|count| table.__tcp_ehash().array(count * 2));
    if let Some(buckets) = faults.check("__tcp_ehash", buckets) {
        found.established = gather(k, buckets.len(), "__tcp_ehash", faults, |index| {
            buckets.get(index).map(|bucket| bucket.chain())
        });
        found.is_complete = faults.missing() == missing;
    }
    found
}

/// The UDP and raw sockets.
pub fn datagram_tables(k: &Memory, _: &Spaces<'_>, faults: &mut Faults) -> Vec<(Protocol, u64)> {
    let mut found = Vec::new();
    let mut add = |protocol: Protocol, what, table: Result<Array<'_, hlist_head<'_>>, Fault>| {
        if let Some(buckets) = faults.check(what, table) {
            let sockets = gather(k, buckets.len(), what, faults, |index| buckets.get(index));
            found.extend(sockets.into_iter().map(|socket| (protocol, socket)));
        }
    };
    add(Protocol::Udp, "udp_hash", k.get(sym::udp_hash));
    add(Protocol::Raw, "raw_v4_htable", k.get(sym::raw_v4_htable));
    #[cfg(kernel_has = "sym:raw_v6_htable")]
    add(Protocol::Raw, "raw_v6_htable", k.get(sym::raw_v6_htable));
    found
}

/// Of a raw socket for ICMP: which types it doesn't want (`ICMP_FILTER`).
fn icmp_filter(sk: sock<'_>) -> Result<u32, Fault> {
    Ok(protocol::<kernel::raw_opt<'_>>(sk).deref()?.filter().data())
}

impl Datagram {
    /// Reads one.
    pub fn read<'m>(
        work: &mut Work<'_, 'm>,
        protocol: Protocol,
        address: u64,
    ) -> Result<Self, Fault> {
        /// `IPPROTO_ICMP`
        const ICMP: u32 = 1;
        let sk = sock::at(work.reader.k, address)?;
        let ends = Ends::of_sock(sk)?;
        let mut base = work.base(sk, state_name(sk.__sk_common().skc_state()));
        let memory = Skmem::of(sk);
        // ss has what is not connected as UNCONN, whatever else TCP's states could say.
        if base.state != "ESTAB" {
            base.state = state_name(CLOSE);
        }
        let mut filter = None;
        if protocol == Protocol::Raw && base.family == "inet" && base.protocol == ICMP {
            filter = work.check(address, "icmp_filter", icmp_filter(sk));
        }
        Ok(Datagram {
            base,
            netid: protocol.name(),
            ends,
            rx_queue: memory.rmem_alloc,
            tx_queue: memory.wmem_alloc,
            icmp_filter: filter,
        })
    }
}

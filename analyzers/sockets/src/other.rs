//! Netlink and packet sockets, and those of families of which no more is known than that somebody holds one.

use kernel::sock;
use kstruct::{Ptr, View as _, walk};
use linux::Faults;
use serde::Serialize;

use crate::sock::{Base, Reader, state_name};

/// A netlink socket (net/netlink/af_netlink.c).
#[derive(Serialize)]
pub struct Netlink {
    /// What all sockets have.
    #[serde(flatten)]
    pub base: Base,
    /// Its address; 0 for the kernel's.
    pub portid: u32,
    /// Whom it is connected to.
    pub dst_portid: u32,
    /// The groups that it is connected to.
    pub dst_group: u32,
    /// The numbers of the groups that it listens to, from 1 on.
    pub groups: Vec<u32>,
    /// A dump is being read from it.
    pub dumping: bool,
}

/// Netlink's protocols (include/uapi/linux/netlink.h) as ss names them.
pub fn netlink_name(protocol: u32) -> Option<&'static str> {
    const NAMES: [&str; 23] = [
        "rtnl",
        "unused",
        "usersock",
        "fw",
        "tcpdiag",
        "nflog",
        "xfrm",
        "selinux",
        "iscsi",
        "audit",
        "fiblookup",
        "connector",
        "nft",
        "ip6fw",
        "dec-rt",
        "uevent",
        "genl",
        "",
        "scsi-trans",
        "ecryptfs",
        "rdma",
        "crypto",
        "smc",
    ];
    let name = NAMES.get(protocol as usize).copied()?;
    (!name.is_empty()).then_some(name)
}

/// Protocols that there may be: `MAX_LINKS` (include/uapi/linux/netlink.h).
#[cfg(kernel_has = "sym:nl_table")]
pub(crate) const PROTOCOLS: usize = 32;

/// The netlink sockets of all namespaces, by protocol.
#[cfg(all(
    kernel_has = "sym:nl_table",
    kernel_has = "netlink_sock.node",
    kernel_has = "bucket_table.future_tbl"
))]
pub fn netlinks(reader: &Reader<'_>, faults: &mut Faults) -> Vec<Netlink> {
    use kernel::netlink_sock;

    let table = reader
        .k
        .get(kernel::sym::nl_table)
        .and_then(|table| table.array(PROTOCOLS));
    let Some(table) = faults.check("nl_table", table) else {
        return Vec::new();
    };
    /// What a table has beyond what it counts, or can't have, is not its own: more of that says nothing.
    const MOST_BAD: i64 = 16;
    let cpus = linux::cpu::online(reader.k).map_or(0, |cpus| cpus.len() as u64);
    let mut addresses = Vec::new();
    for (protocol, table) in table.iter().enumerate() {
        let what = &format!("netlink sockets of protocol {protocol}");
        let counted = i64::from(table.hash().nelems().value());
        let (mut found, mut bad) = (0, 0);
        // Protocols that nobody registered have no hash table.
        if !table.hash().tbl().is_null() {
            for socket in table.hash().entries(netlink_sock::node) {
                match faults.check(what, socket) {
                    Some(socket) if found < counted.saturating_add(MOST_BAD) => {
                        found += 1;
                        addresses.push(socket.addr());
                    }
                    _ => bad += 1,
                }
                if bad > MOST_BAD {
                    break;
                }
            }
        }
        // Each CPU may be about to count one, and one that runs has others by now.
        let holds = bad == 0 && found.abs_diff(counted) <= cpus || reader.k.dump().is_live();
        faults.require(
            holds,
            format_args!("{what}, of which it counts others"),
            table.addr(),
        );
    }
    reader.read_all(&addresses, "netlink socket", faults, read_netlink)
}

#[cfg(kernel_has = "netlink_opt.pid")]
pub use crate::old::other::netlinks;

/// Before 3.17.
#[cfg(not(any(
    kernel_has = "netlink_opt.pid",
    all(
        kernel_has = "sym:nl_table",
        kernel_has = "netlink_sock.node",
        kernel_has = "bucket_table.future_tbl"
    )
)))]
pub fn netlinks(_: &Reader<'_>, _: &mut Faults) -> Vec<Netlink> {
    Vec::new()
}

#[cfg(all(
    kernel_has = "sym:nl_table",
    kernel_has = "netlink_sock.node",
    kernel_has = "bucket_table.future_tbl"
))]
fn read_netlink(
    work: &mut crate::sock::Work<'_, '_>,
    address: u64,
) -> Result<Netlink, kstruct::Fault> {
    /// No protocol has more groups: `nft` has 4, `genl` dozens; the kernel checks none.
    const MOST_GROUPS: usize = 4096;
    let socket = kernel::netlink_sock::at(work.reader.k, address)?;
    let base = work.base(
        socket.sk(),
        state_name(socket.sk().__sk_common().skc_state()),
    );
    let width = u32::from(kernel::KERNEL.pointer_size) * 8;
    let words = (socket.ngroups() as usize)
        .min(MOST_GROUPS)
        .div_ceil(width as usize);
    let groups = match (socket.groups().is_null(), words) {
        (true, _) | (_, 0) => Vec::new(),
        (false, words) => {
            let words = work.check(address, "groups", socket.groups().array(words));
            let bits = words.map(|words| walk::set_bits(words.iter(), width).collect::<Vec<_>>());
            let bits = bits.unwrap_or_default();
            bits.into_iter().map(|bit| bit as u32 + 1).collect()
        }
    };
    #[cfg(kernel_has = "netlink_sock.cb_running")]
    let dumping = socket.cb_running();
    #[cfg(not(kernel_has = "netlink_sock.cb_running"))]
    let dumping = false;
    Ok(Netlink {
        base,
        portid: socket.portid(),
        dst_portid: socket.dst_portid(),
        dst_group: socket.dst_group(),
        groups,
        dumping,
    })
}

/// A packet socket (net/packet/af_packet.c).
#[derive(Serialize)]
pub struct Packet {
    /// What all sockets have; its protocol is the Ethernet protocol that it receives.
    #[serde(flatten)]
    pub base: Base,
    /// The Ethernet protocol that it receives; 0 for none, 3 for all.
    pub ethertype: u16,
    /// The interface; 0 for all.
    pub packet_ifindex: i32,
    /// Its name.
    pub packet_device: Option<Box<str>>,
    /// It is hooked in to receive.
    pub running: bool,
    /// The group that it shares packets with.
    pub fanout: Option<Fanout>,
    /// Whether a filter is attached.
    pub filtered: bool,
    /// The format of what is in its rings (`enum tpacket_versions`).
    pub version: u32,
    /// `PACKET_COPY_THRESH`: from how many bytes on a packet is copied beside the ring.
    pub copy_threshold: i32,
    /// Memory that is shared with the process, for what is received.
    pub rx_ring: Option<Ring>,
    /// The same for what is sent.
    pub tx_ring: Option<Ring>,
    /// Packets since somebody asked (`PACKET_STATISTICS`).
    #[cfg(kernel_has = "packet_opt.num")]
    pub packets: u32,
}

/// Memory that a packet socket shares with its process (`PACKET_RX_RING`).
#[derive(Serialize)]
pub struct Ring {
    /// Bytes of a block.
    pub block_size: u64,
    /// How many there are.
    pub blocks: u32,
    /// Bytes of a frame.
    pub frame_size: u32,
    /// How many there are.
    pub frames: u32,
}

/// `pdiag_put_ring` (net/packet/diag.c)
#[cfg(all(kernel_has = "packet_sock", kernel_has = "netns_packet.sklist"))]
fn ring(ring: kernel::packet_ring_buffer<'_>) -> Option<Ring> {
    (!ring.pg_vec().is_null()).then(|| Ring {
        block_size: u64::from(ring.pg_vec_pages()) * ring.memory().page_size(),
        blocks: ring.pg_vec_len(),
        frame_size: ring.frame_size(),
        frames: ring.frame_max().wrapping_add(1),
    })
}

/// A group of packet sockets that share what arrives.
#[derive(Serialize)]
pub struct Fanout {
    /// Its number.
    pub id: u16,
    /// How packets are shared out (`PACKET_FANOUT_HASH` and others).
    pub mode: u8,
}

/// The packet sockets of all namespaces.
#[cfg(all(kernel_has = "packet_sock", kernel_has = "netns_packet.sklist"))]
pub fn packets(reader: &Reader<'_>, faults: &mut Faults) -> Vec<Packet> {
    use kernel::sock_common;

    let before = faults.count();
    let mut addresses = Vec::new();
    for space in reader.spaces.iter() {
        for socket in space.net.packet().sklist().entries(sock_common::skc_node) {
            let what = format_args!("packet sockets of network namespace {}", space.inode);
            addresses.extend(faults.check(what, socket).map(sock_common::addr));
        }
    }
    #[cfg(all(kernel_has = "prot_inuse.all", kernel_has = "sym:packet_proto"))]
    if faults.count() == before {
        let protocols = [kernel::sym::packet_proto];
        crate::sock::counted(
            reader.k,
            "packet sockets",
            &protocols,
            addresses.len(),
            faults,
        );
    }
    let _ = before;
    reader.read_all(&addresses, "packet socket", faults, read_packet)
}

#[cfg(kernel_has = "packet_opt.num")]
pub use crate::old::other::packets;

/// Where there are none.
#[cfg(not(any(
    kernel_has = "packet_opt.num",
    all(kernel_has = "packet_sock", kernel_has = "netns_packet.sklist")
)))]
pub fn packets(_: &Reader<'_>, _: &mut Faults) -> Vec<Packet> {
    Vec::new()
}

#[cfg(all(kernel_has = "packet_sock", kernel_has = "netns_packet.sklist"))]
fn read_packet(
    work: &mut crate::sock::Work<'_, '_>,
    address: u64,
) -> Result<Packet, kstruct::Fault> {
    let socket = kernel::packet_sock::at(work.reader.k, address)?;
    let sk = socket.sk();
    let base = work.base(sk, state_name(sk.__sk_common().skc_state()));
    let fanout = work
        .check(address, "fanout", socket.fanout().deref_or_null())
        .flatten();
    // `PACKET_SOCK_RUNNING`; a bit-field before 6.4.
    #[cfg(kernel_has = "packet_sock.flags")]
    let running = socket.flags() & 1 << kernel::constants::PACKET_SOCK_RUNNING != 0;
    #[cfg(not(kernel_has = "packet_sock.flags"))]
    let running = u64::from(socket.running()) != 0;
    let net = sk.__sk_common().skc_net().net().addr();
    Ok(Packet {
        ethertype: linux::net::order::be16(socket.num()),
        packet_ifindex: socket.ifindex(),
        packet_device: work.device(address, net, socket.ifindex()),
        running,
        fanout: fanout.map(|fanout| Fanout {
            id: fanout.id(),
            mode: fanout.type_(),
        }),
        filtered: !sk.sk_filter().is_null(),
        version: socket.tp_version().0,
        copy_threshold: socket.copy_thresh(),
        rx_ring: ring(socket.rx_ring()),
        tx_ring: ring(socket.tx_ring()),
        base,
    })
}

/// A socket by which a process holds one.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    /// The `struct socket`, to which the process's file leads.
    pub socket: u64,
    /// The `struct sock`, to which that leads.
    pub sk: u64,
}

/// Sockets that processes hold, whose `struct socket` none that was read leads to, and that are not listed: those of other families, and
/// those that are in no table as they are not bound.
pub fn held(
    reader: &Reader<'_>,
    listed: impl Iterator<Item = u64>,
    faults: &mut Faults,
) -> Vec<Base> {
    let (unlisted, _) = unlisted(unknown(reader, faults, |_| true), listed);
    let addresses: Vec<u64> = unlisted.into_iter().map(|held| held.sk).collect();
    // One that runs has others by now. Who can't be read is told of below.
    for address in addresses.iter().filter(|_| !reader.k.dump().is_live()) {
        if sock::at(reader.k, *address).is_ok_and(should_be_listed) {
            faults.require(false, "socket that its table has lost", *address);
        }
    }
    reader.read_all(&addresses, "socket", faults, |work, address| {
        let sk = sock::at(work.reader.k, address)?;
        Ok(work.base(sk, state_name(sk.__sk_common().skc_state())))
    })
}

/// Whether a socket is in a table by what it says itself, and would have been found there: of UDP's, of those of raw, unix and packet sockets.
fn should_be_listed(sk: sock<'_>) -> bool {
    const UNIX: u16 = 1;
    const INET: u16 = 2;
    const PACKET: u16 = 17;
    const INET6: u16 = 10;
    const DATAGRAM: u32 = 2;
    const RAW: u32 = 3;
    const UDP: u32 = 17;
    const UDPLITE: u32 = 136;
    let common = sk.__sk_common();
    let (kind, protocol) = (u32::from(sk.sk_type()), u32::from(sk.sk_protocol()));
    // Of some kernels the tables are in modules, and not in their bindings.
    let has_unix = cfg!(any(
        kernel_has = "netns_unix.table",
        kernel_has = "sym:unix_socket_table"
    ));
    let has_packet = cfg!(any(
        kernel_has = "packet_opt.num",
        all(
            kernel_has = "packet_sock",
            kernel_has = "netns_packet.sklist"
        )
    ));
    let has_raw = cfg!(any(
        kernel_has = "sym:raw_v6_hashinfo",
        kernel_has = "sym:raw_v6_htable"
    ));
    let has_udplite = cfg!(kernel_has = "sym:udplite_table");
    let has_table = match (common.skc_family(), kind, protocol) {
        (UNIX, ..) => has_unix,
        (PACKET, ..) => has_packet,
        (INET | INET6, RAW, _) => has_raw,
        (INET | INET6, DATAGRAM, UDP) => true,
        (INET | INET6, DATAGRAM, UDPLITE) => has_udplite,
        _ => false,
    };
    // `sk_unhashed`
    has_table && !common.skc_node().pprev().is_null()
}

/// Sockets that processes hold, to whose `struct socket` none that was read leads, and that are wanted.
pub(crate) fn unknown(
    reader: &Reader<'_>,
    faults: &mut Faults,
    wants: impl Fn(sock<'_>) -> bool + Send + Sync,
) -> Vec<Held> {
    let unknown: Vec<u64> = reader.owners.unasked().collect();
    let found = walk::par_index(unknown.len(), |index| {
        let address = *unknown.get(index)?;
        let socket: Ptr<'_, kernel::socket<'_>> = Ptr::new(reader.k, address);
        let sk = socket
            .deref()
            .and_then(|socket| socket.sk().deref_or_null());
        match sk {
            Ok(Some(sk)) => wants(sk).then(|| {
                Ok(Held {
                    socket: address,
                    sk: sk.addr(),
                })
            }),
            Ok(None) => None,
            Err(fault) => Some(Err(fault)),
        }
    });
    found
        .into_iter()
        .flatten()
        .filter_map(|held| faults.check("socket of an open file", held))
        .collect()
}

/// Those that are held and not listed, and those that are: their `sk_socket` is not that by which they are held.
pub(crate) fn unlisted(
    held: Vec<Held>,
    listed: impl Iterator<Item = u64>,
) -> (Vec<Held>, Vec<Held>) {
    if held.is_empty() {
        return (held, Vec::new());
    }
    // Few against many.
    let mut sorted: Vec<u64> = held.iter().map(|held| held.sk).collect();
    sorted.sort_unstable();
    let mut seen: Vec<u64> = listed
        .filter(|address| sorted.binary_search(address).is_ok())
        .collect();
    seen.sort_unstable();
    held.into_iter()
        .partition(|held| seen.binary_search(&held.sk).is_err())
}

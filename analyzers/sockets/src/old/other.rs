//! Netlink and packet sockets: what is their own hangs from `sk_protinfo`.

use kernel::{netlink_opt, packet_opt, sock, sock_common, sym};
use kstruct::{Fault, FaultKind, View as _};
use linux::Faults;
use linux::net::order::be16;

use crate::other::{Netlink, PROTOCOLS, Packet, Ring};
use crate::sock::{Reader, Work, state_name};

/// The netlink sockets, by protocol.
pub fn netlinks(reader: &Reader<'_>, faults: &mut Faults) -> Vec<Netlink> {
    /// A table grows up to here (`max_shift`, net/netlink/af_netlink.c).
    const MOST: usize = 1 << 20;
    let table = reader
        .k
        .get(sym::nl_table)
        .and_then(|table| table.array(PROTOCOLS));
    let Some(table) = faults.check("nl_table", table) else {
        return Vec::new();
    };
    let mut addresses = Vec::new();
    for (protocol, table) in table.iter().enumerate() {
        let what = format_args!("netlink sockets of protocol {protocol}");
        let hash = table.hash();
        if hash.table().is_null() {
            continue;
        }
        let count = (hash.mask() as usize).saturating_add(1);
        let buckets = if count <= MOST {
            hash.table().array(count)
        } else {
            Err(Fault {
                address: hash.addr(),
                kind: FaultKind::TooLarge,
            })
        };
        for bucket in faults.check(what, buckets).iter().flat_map(|it| it.iter()) {
            for socket in bucket.entries(sock_common::skc_node) {
                addresses.extend(faults.check(what, socket).map(sock_common::addr));
            }
        }
    }
    reader.read_all(&addresses, "netlink socket", faults, read_netlink)
}

fn read_netlink(work: &mut Work<'_, '_>, address: u64) -> Result<Netlink, Fault> {
    let sk = sock::at(work.reader.k, address)?;
    let own = sk.sk_protinfo().cast::<netlink_opt<'_>>().deref()?;
    let base = work.base(sk, state_name(sk.__sk_common().skc_state()));
    // Sets of groups as bits.
    let groups = own.groups();
    Ok(Netlink {
        base,
        portid: own.pid(),
        dst_portid: own.dst_pid(),
        // The first one, as later kernels take it.
        dst_group: match own.dst_groups() {
            0 => 0,
            groups => groups.trailing_zeros() + 1,
        },
        groups: (0..u32::BITS)
            .filter(|bit| groups >> bit & 1 != 0)
            .map(|bit| bit + 1)
            .collect(),
        dumping: !own.cb().is_null(),
    })
}

/// The packet sockets.
pub fn packets(reader: &Reader<'_>, faults: &mut Faults) -> Vec<Packet> {
    let mut addresses = Vec::new();
    if let Some(head) = faults.check("packet_sklist", reader.k.get(sym::packet_sklist)) {
        for socket in head.entries(sock_common::skc_node) {
            addresses.extend(faults.check("packet_sklist", socket).map(sock_common::addr));
        }
    }
    reader.read_all(&addresses, "packet socket", faults, read_packet)
}

fn read_packet(work: &mut Work<'_, '_>, address: u64) -> Result<Packet, Fault> {
    let sk = sock::at(work.reader.k, address)?;
    let own = sk.sk_protinfo().cast::<packet_opt<'_>>().deref()?;
    let mut base = work.base(sk, state_name(sk.__sk_common().skc_state()));
    let counters = own.stats();
    if let Some(memory) = &mut base.memory {
        memory.drops = counters.tp_drops();
    }
    Ok(Packet {
        ethertype: be16(own.num()),
        packet_ifindex: own.ifindex(),
        packet_device: work.device(address, 0, own.ifindex()),
        running: own.running() != 0,
        fanout: None,
        filtered: !sk.sk_filter().is_null(),
        version: 0,
        copy_threshold: own.copy_thresh(),
        rx_ring: ring(own),
        tx_ring: None,
        packets: counters.tp_packets(),
        base,
    })
}

fn ring(own: packet_opt<'_>) -> Option<Ring> {
    (!own.pg_vec().is_null()).then(|| Ring {
        block_size: u64::from(own.pg_vec_pages()).saturating_mul(own.memory().page_size()),
        blocks: own.pg_vec_len(),
        frame_size: own.frame_size(),
        frames: own.frame_max().wrapping_add(1),
    })
}

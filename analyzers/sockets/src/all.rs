//! The sockets of all families, and each of them as one line.

use std::fmt::Write as _;
use std::net::IpAddr;

use linux::Faults;
use serde::Serialize;

use crate::inet::{Datagram, Ends, Protocol, datagram_tables};
use crate::other::{Netlink, Packet, held, netlink_name, netlinks, packets};
use crate::sock::{Base, Reader};
use crate::tcp::Tcp;
use crate::text::write_device;
use crate::unix::Unix;

/// The sockets of all families.
#[derive(Serialize)]
pub struct Sockets {
    /// TCP sockets.
    pub tcp: Vec<Box<Tcp>>,
    /// UDP, UDP-Lite, raw and ping sockets.
    pub datagram: Vec<Datagram>,
    /// Unix sockets.
    pub unix: Vec<Unix>,
    /// Netlink sockets.
    pub netlink: Vec<Netlink>,
    /// Packet sockets.
    pub packet: Vec<Packet>,
    /// Those of other families, and unbound ones, that a process holds.
    pub others: Vec<Base>,
}

/// A socket as one line.
pub struct Line<'a> {
    /// What all sockets have.
    pub base: &'a Base,
    /// The kind of socket as ss names it: `tcp`, `u_str`, ...
    pub netid: &'static str,
    /// What wasn't read yet, and what wasn't sent.
    pub queues: [u32; 2],
    /// Its own end, or name.
    pub local: String,
    /// The other one.
    pub remote: String,
    /// What else there is to say, each with a blank before it.
    pub more: String,
}

impl Sockets {
    /// Reads all of them.
    pub fn read(reader: &Reader<'_>, faults: &mut Faults) -> Self {
        let tcp = crate::tcp::sockets(reader, faults);
        let tables = datagram_tables(reader.k, &reader.spaces, faults);
        let addresses: Vec<u64> = tables.iter().map(|(_, address)| *address).collect();
        let protocols: std::collections::HashMap<u64, Protocol> = tables
            .iter()
            .map(|(protocol, address)| (*address, *protocol))
            .collect();
        let datagram = reader.read_all(&addresses, "socket", faults, |work, address| {
            let protocol = protocols.get(&address).copied();
            Datagram::read(work, protocol.unwrap_or(Protocol::Raw), address)
        });
        #[cfg(kernel_has = "prot_inuse.all")]
        count_datagrams(reader, &tables, faults);
        let unix = crate::unix::sockets(reader, faults);
        let netlink = netlinks(reader, faults);
        let packet = packets(reader, faults);
        let bases = tcp.iter().map(|socket| &socket.base);
        let listed = bases
            .chain(datagram.iter().map(|socket| &socket.base))
            .chain(unix.iter().map(|socket| &socket.base))
            .chain(netlink.iter().map(|socket| &socket.base))
            .chain(packet.iter().map(|socket| &socket.base))
            .map(|base| base.address);
        Sockets {
            others: held(reader, listed, faults),
            tcp,
            datagram,
            unix,
            netlink,
            packet,
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.tcp.len()
            + self.datagram.len()
            + self.unix.len()
            + self.netlink.len()
            + self.packet.len()
            + self.others.len()
    }

    /// Puts each family in an order that doesn't depend on hash tables: by namespace, then by address or number.
    pub fn sort(&mut self) {
        let place = |base: &Base, ends: &Ends| {
            let is_listener = base.state == "LISTEN";
            let local = (ends.local, ends.local_port);
            let remote = (ends.remote, ends.remote_port);
            (base.netns, !is_listener, local, remote, base.address)
        };
        self.tcp
            .sort_by_key(|socket| place(&socket.base, &socket.ends));
        self.datagram
            .sort_by_key(|socket| (socket.netid, place(&socket.base, &socket.ends)));
        let by_inode = |base: &Base| (base.netns, base.inode, base.address);
        self.unix.sort_by_key(|socket| by_inode(&socket.base));
        self.netlink.sort_by_key(|socket| {
            let base = &socket.base;
            (base.netns, base.protocol, socket.portid, base.address)
        });
        self.packet.sort_by_key(|socket| by_inode(&socket.base));
        self.others.sort_by_key(by_inode);
    }

    /// Each as one line.
    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let tcp = self.tcp.iter().map(|socket| tcp_line(socket));
        let datagram = self.datagram.iter().map(datagram_line);
        let unix = self.unix.iter().map(unix_line);
        let netlink = self.netlink.iter().map(netlink_line);
        let packet = self.packet.iter().map(packet_line);
        let others = self.others.iter().map(|base| Line {
            base,
            netid: base.family,
            queues: memory_queues(base),
            local: "*".to_owned(),
            remote: "*".to_owned(),
            more: format!(" type:{} protocol:{}", base.kind, base.protocol),
        });
        tcp.chain(datagram)
            .chain(unix)
            .chain(netlink)
            .chain(packet)
            .chain(others)
    }
}

/// That as many are in the tables of UDP, and in those of raw sockets, as they count. Where all could be read, that is.
#[cfg(kernel_has = "prot_inuse.all")]
fn count_datagrams(reader: &Reader<'_>, tables: &[(Protocol, u64)], faults: &mut Faults) {
    if faults.count() > 0 {
        return;
    }
    let of = |wanted| {
        let is_it = |(protocol, _): &&(Protocol, u64)| *protocol == wanted;
        tables.iter().filter(is_it).count()
    };
    use kernel::sym;

    #[cfg(all(kernel_has = "sym:udp_prot", kernel_has = "sym:udpv6_prot"))]
    crate::sock::counted(
        reader.k,
        "UDP sockets",
        &[sym::udp_prot, sym::udpv6_prot],
        of(Protocol::Udp),
        faults,
    );
    #[cfg(all(kernel_has = "sym:raw_prot", kernel_has = "sym:rawv6_prot"))]
    crate::sock::counted(
        reader.k,
        "raw sockets",
        &[sym::raw_prot, sym::rawv6_prot],
        of(Protocol::Raw),
        faults,
    );
}

/// Memory of what wasn't read yet, and of what wasn't sent.
fn memory_queues(base: &Base) -> [u32; 2] {
    base.memory
        .map_or([0, 0], |memory| [memory.rmem_alloc, memory.wmem_alloc])
}

fn end(ends: &Ends, address: IpAddr, port: u16, base: Option<&Base>) -> String {
    let mut text = match address {
        IpAddr::V6(address) if address.is_unspecified() && !ends.v6only => "*".to_owned(),
        IpAddr::V6(address) => format!("[{address}]"),
        IpAddr::V4(address) => address.to_string(),
    };
    // Writing to a string doesn't fail.
    if let Some(base) = base {
        let _ = write_device(&mut text, base);
    }
    let _ = match port {
        0 => write!(text, ":*"),
        port => write!(text, ":{port}"),
    };
    text
}

fn inet_line<'a>(base: &'a Base, ends: &Ends, netid: &'static str, queues: [u32; 2]) -> Line<'a> {
    Line {
        base,
        netid,
        queues,
        local: end(ends, ends.local, ends.local_port, Some(base)),
        remote: end(ends, ends.remote, ends.remote_port, None),
        more: String::new(),
    }
}

fn tcp_line(socket: &Tcp) -> Line<'_> {
    let queues = [socket.rx_queue, socket.tx_queue];
    let mut line = inet_line(&socket.base, &socket.ends, "tcp", queues);
    if let Some(listener) = socket.waits_at {
        line.more = format!(" waits-at:{listener:x}");
    }
    line
}

fn datagram_line(socket: &Datagram) -> Line<'_> {
    let queues = [socket.rx_queue, socket.tx_queue];
    inet_line(&socket.base, &socket.ends, socket.netid, queues)
}

fn unix_line(socket: &Unix) -> Line<'_> {
    let netid = match socket.base.kind {
        "stream" => "u_str",
        "dgram" => "u_dgr",
        "seqpacket" => "u_seq",
        _ => "u_???",
    };
    let remote = match (socket.peer, socket.peer_inode) {
        (None, _) => "*".to_owned(),
        (Some(peer), 0) => format!("sock:{peer:x}"),
        (Some(_), inode) => format!("ino:{inode}"),
    };
    let mut more = String::new();
    if !socket.waiting.is_empty() {
        let waiting: Vec<String> = socket.waiting.iter().map(u64::to_string).collect();
        more = format!(" waiting:{}", waiting.join(","));
    }
    Line {
        base: &socket.base,
        netid,
        queues: [socket.rx_queue, socket.tx_queue],
        local: socket.name.clone().unwrap_or_else(|| "*".to_owned()),
        remote,
        more,
    }
}

fn netlink_line(socket: &Netlink) -> Line<'_> {
    let protocol = socket.base.protocol;
    let name = netlink_name(protocol).map_or_else(|| protocol.to_string(), str::to_owned);
    let groups: Vec<String> = socket.groups.iter().map(u32::to_string).collect();
    Line {
        base: &socket.base,
        netid: "nl",
        queues: memory_queues(&socket.base),
        local: match socket.portid {
            0 => format!("{name}:kernel"),
            portid => format!("{name}:{portid}"),
        },
        remote: match (socket.dst_portid, socket.dst_group) {
            (0, 0) => "*".to_owned(),
            (portid, 0) => portid.to_string(),
            (portid, group) => format!("{portid}/{group}"),
        },
        more: if groups.is_empty() {
            String::new()
        } else {
            format!(" groups:{}", groups.join(","))
        },
    }
}

fn packet_line(socket: &Packet) -> Line<'_> {
    let protocol = match socket.ethertype {
        0 => "none".to_owned(),
        3 => "*".to_owned(),
        other => format!("{other:#06x}"),
    };
    let device = match (socket.packet_ifindex, &socket.packet_device) {
        (0, _) => "*".to_owned(),
        (_, Some(device)) => device.to_string(),
        (ifindex, None) => format!("if{ifindex}"),
    };
    let mut more = String::new();
    if let Some(fanout) = &socket.fanout {
        more = format!(" fanout:{}/{}", fanout.id, fanout.mode);
    }
    if socket.filtered {
        more.push_str(" filter");
    }
    Line {
        base: &socket.base,
        netid: match socket.base.kind {
            "raw" => "p_raw",
            _ => "p_dgr",
        },
        queues: memory_queues(&socket.base),
        local: format!("{protocol}:{device}"),
        remote: "*".to_owned(),
        more,
    }
}

//! TCP sockets, with the numbers that the kernel gives to `ss`: net/ipv4/tcp.c (`tcp_get_info`), net/ipv4/inet_diag.c
//! (`inet_sk_diag_fill`), net/ipv4/tcp_diag.c. What kernels differ in is in `read`, and in `old::tcp`.

use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashMap;
use kstruct::View as _;
use linux::Faults;
use serde::Serialize;

use crate::inet::{Ends, tcp_tables};
use crate::name::Name;
use crate::other::Held;
use crate::sock::{Base, CLOSE, INET6, Reader};

#[cfg(kernel_has = "inet_hashinfo.lhash2")]
mod read;

/// A TCP socket.
#[derive(Serialize)]
pub struct Tcp {
    /// What all sockets have.
    #[serde(flatten)]
    pub base: Base,
    /// What the kernel has of it.
    pub form: Form,
    /// How it was found.
    #[serde(skip)]
    pub place: Place,
    /// Its two ends.
    #[serde(flatten)]
    pub ends: Ends,
    /// Bytes that were received and not read; of a listener, connections that wait to be accepted.
    pub rx_queue: u32,
    /// Bytes that were sent and not acknowledged, or not sent yet; of a listener, how many may wait.
    pub tx_queue: u32,
    /// What it waits for.
    pub timer: Timer,
    /// The congestion control's name.
    #[serde(skip_serializing_if = "Name::is_empty")]
    pub congestion: Name,
    /// What the congestion control tells of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub congestion_info: Option<Box<Congestion>>,
    /// The upper layer's name (`TCP_ULP`): `tls`, `mptcp`.
    #[serde(skip_serializing_if = "Name::is_empty")]
    pub ulp: Name,
    /// Of full sockets, if that is wanted ([`crate::sock::Wants`]).
    pub info: Option<Box<Info>>,
    /// Of requests: how often the timer of their answer ran out.
    pub timeouts: Option<u32>,
    /// Of those that listen.
    pub listener: Option<Box<Listener>>,
    /// Of connections that wait to be accepted: the listener; as they have no file, nobody holds them. Before 4.4 of requests, too.
    #[serde(serialize_with = "hex_or_null")]
    pub waits_at: Option<u64>,
}

/// Serializes an address as `0x...`, and none as null.
///
/// # Errors
///
/// The serializer's.
pub fn hex_or_null<S: serde::Serializer>(
    address: &Option<u64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match address {
        Some(address) => linux::app::hex(address, serializer),
        None => serializer.serialize_none(),
    }
}

/// `union tcp_cc_info`, include/uapi/linux/inet_diag.h: what these controls keep. Kernels know them by their modules.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Congestion {
    /// net/ipv4/tcp_bbr.c
    Bbr {
        /// The bandwidth that it believes in, in bytes a second.
        bw: u64,
        /// In microseconds.
        min_rtt: u32,
        /// Times 256.
        pacing_gain: u32,
        /// Times 256.
        cwnd_gain: u32,
    },
    /// net/ipv4/tcp_dctcp.c
    Dctcp {
        /// The last packet's mark.
        ce_state: u16,
        /// The share of marked packets, times 1024.
        alpha: u32,
        /// Bytes that were marked, and all, since `alpha` was last counted.
        ab_ecn: u32,
        /// Of all packets.
        ab_tot: u32,
    },
    /// DCTCP whose peer knows nothing of ECN.
    #[serde(rename = "dctcp_fallback")]
    DctcpFallback,
    /// net/ipv4/tcp_vegas.c
    Vegas {
        /// Whether it does its work just now.
        enabled: bool,
        /// How many round trips were measured in this one.
        rttcnt: u32,
        /// The shortest of all, in microseconds.
        rtt: u32,
        /// The shortest within the last, in microseconds.
        minrtt: u32,
    },
}

/// What the kernel keeps of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// `struct tcp_sock`
    Full,
    /// `struct inet_timewait_sock`
    TimeWait,
    /// `struct tcp_request_sock`: a SYN was answered.
    Request,
}

/// How a socket was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Place {
    /// In the table of connections; a request before 4.4 in its listener's.
    #[default]
    Connections,
    /// In the table of listeners.
    Listeners,
    /// In no table: a process holds it.
    Held,
    /// A process holds it, and not all of the tables could be read.
    Unseen,
}

/// The timer that user space is told of.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Timer {
    /// Which one.
    pub which: Which,
    /// In how many milliseconds it expires; negative if it should have before the dump.
    pub expires_ms: i64,
    /// How often what it waits for was tried again.
    pub retransmits: u32,
}

/// `idiag_timer`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Which {
    /// None is pending.
    Off,
    /// Retransmission, early retransmission, tail loss probe.
    On,
    /// Keepalive, or of a closed socket FIN_WAIT2.
    Keepalive,
    /// The end of TIME_WAIT.
    TimeWait,
    /// Zero window probe.
    Persist,
}

impl Which {
    /// As ss has it.
    pub fn name(self) -> &'static str {
        match self {
            Which::Off => "off",
            Which::On => "on",
            Which::Keepalive => "keepalive",
            Which::TimeWait => "timewait",
            Which::Persist => "persist",
        }
    }
}

/// Connections that a listener has.
#[derive(Serialize)]
pub struct Listener {
    /// The sockets that wait to be accepted, by the list of them.
    #[serde(serialize_with = "linux::app::hexes")]
    pub accept_queue: Vec<u64>,
    /// How many there are by the count (`sk_ack_backlog`).
    pub backlog: u32,
    /// How many there may be (`sk_max_ack_backlog`).
    pub max_backlog: u32,
    /// Requests whose handshake isn't over (`icsk_accept_queue.qlen`).
    pub requests: i32,
    /// Those of them that nothing was sent again for.
    pub young: i32,
    /// Requests with Fast Open, and how many there may be; 0 if there may be none.
    pub fastopen: i32,
    /// How many of these there may be.
    pub max_fastopen: i32,
    /// `TCP_DEFER_ACCEPT`, as a number of SYN-ACKs.
    pub defer_accept: u8,
}

/// `struct tcp_info` as `tcp_get_info` fills it in, with its units: times in microseconds but where the name says milliseconds, rates
/// in bytes a second. What a kernel doesn't count is 0. Of a listener, only what `tcp_get_info` says of one.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Info {
    /// The state of congestion control (`enum tcp_ca_state`).
    pub ca_state: u8,
    /// Timeouts in a row without an answer.
    pub retransmits: u8,
    /// Probes of a closed window in a row without an answer.
    pub probes: u8,
    /// By how many doublings the timer's time has grown.
    pub backoff: u8,
    /// Timestamps.
    pub ts: bool,
    /// Timestamps that count microseconds.
    pub usec_ts: bool,
    /// Selective acknowledgments.
    pub sack: bool,
    /// Explicit congestion notification.
    pub ecn: bool,
    /// A packet with ECN came.
    pub ecnseen: bool,
    /// The peer acknowledged data in the SYN.
    pub fastopen: bool,
    /// Window scaling of what is sent and received.
    pub wscale: Option<(u8, u8)>,
    /// The retransmission timeout.
    pub rto: u64,
    /// The time that an ACK is delayed.
    pub ato: u64,
    /// The segment size that is sent.
    pub snd_mss: u32,
    /// The segment size that is received, by estimate.
    pub rcv_mss: u32,
    /// Segments that are not acknowledged yet; of a listener, connections that wait to be accepted.
    pub unacked: u32,
    /// Segments that were acknowledged selectively; of a listener, how many connections may wait.
    pub sacked: u32,
    /// Segments taken for lost.
    pub lost: u32,
    /// Segments that were sent again and are not acknowledged yet.
    pub retrans: u32,
    /// Since data was last sent.
    pub last_data_sent_ms: u64,
    /// Since data was last received.
    pub last_data_recv_ms: u64,
    /// Since an ACK was last received.
    pub last_ack_recv_ms: u64,
    /// The MTU of the path.
    pub pmtu: u32,
    /// The most that the window for what is received may grow to at present.
    pub rcv_ssthresh: u32,
    /// The round-trip time, smoothed.
    pub rtt: u32,
    /// How much the round-trip time varies.
    pub rttvar: u32,
    /// The congestion window at which slow start ends.
    pub snd_ssthresh: u32,
    /// The congestion window, in segments.
    pub snd_cwnd: u32,
    /// The segment size that the peer was told.
    pub advmss: u32,
    /// By how many segments packets may be out of order.
    pub reordering: u32,
    /// The round-trip time as the receiver measures it.
    pub rcv_rtt: u32,
    /// Bytes that are read in a round trip, by which the receive buffer is sized.
    pub rcv_space: u32,
    /// Segments that were sent again.
    pub total_retrans: u32,
    /// `null`: not limited.
    pub pacing_rate: Option<u64>,
    /// `null`: not limited.
    pub max_pacing_rate: Option<u64>,
    /// Bytes that the peer acknowledged.
    pub bytes_acked: u64,
    /// Bytes that were received and acknowledged.
    pub bytes_received: u64,
    /// Segments sent.
    pub segs_out: u32,
    /// Segments received.
    pub segs_in: u32,
    /// Bytes that were written and not sent yet.
    pub notsent_bytes: u32,
    /// 4294967295: not measured.
    pub min_rtt: u32,
    /// Segments with data received.
    pub data_segs_in: u32,
    /// Segments with data sent.
    pub data_segs_out: u32,
    /// The rate at which data last reached the peer.
    pub delivery_rate: u64,
    /// That rate was limited by what was written.
    pub app_limited: bool,
    /// How long there was data to send.
    pub busy_time: u64,
    /// How long the peer's window was in the way.
    pub rwnd_limited: u64,
    /// How long the send buffer was in the way.
    pub sndbuf_limited: u64,
    /// Segments that reached the peer, those sent again among them.
    pub delivered: u32,
    /// Those of them that met congestion (ECN).
    pub delivered_ce: u32,
    /// Bytes sent, those sent again among them.
    pub bytes_sent: u64,
    /// Bytes that were sent again.
    pub bytes_retrans: u64,
    /// Segments that the peer had already.
    pub dsack_dups: u32,
    /// How often packets were found out of order.
    pub reord_seen: u32,
    /// Segments received out of order.
    pub rcv_ooopack: u32,
    /// The peer's window.
    pub snd_wnd: u32,
    /// The window that the peer was told.
    pub rcv_wnd: u32,
    /// How often another path was tried, after timeouts.
    pub rehash: u32,
    /// The column of /proc/net/tcp behind `ato`: quick ACKs that are left, times two, and whether ACKs are delayed.
    pub quick_and_pingpong: u32,
    /// The sequence number of what is not acknowledged yet.
    pub snd_una: u32,
    /// The sequence number of what is sent next.
    pub snd_nxt: u32,
    /// The sequence number behind what was written.
    pub write_seq: u32,
    /// The sequence number of what is received next.
    pub rcv_nxt: u32,
    /// The sequence number of what is read next.
    pub copied_seq: u32,
}

/// All TCP sockets: those of the table of connections, listeners, those that processes hold and that are in no table, as they are neither
/// bound nor connected.
pub fn sockets(reader: &Reader<'_>, faults: &mut Faults) -> Vec<Box<Tcp>> {
    let each = each(reader, faults, |socket| Some(Box::new(socket)));
    each.counted(reader, faults).taken
}

/// What was made of all TCP sockets.
pub struct Each<T> {
    /// What was kept of them.
    pub taken: Vec<T>,
    /// Those of the tables that a process holds, and that don't know of the `struct socket` by which it does.
    pub disowned: Vec<Held>,
    /// Those that a process holds, and that are in a table by what they say themselves, and in none by what that says.
    pub lost: Vec<u64>,
    /// How many whole sockets are in the tables; `None` if not all of these could be read.
    pub in_tables: Option<usize>,
}

impl<T> Each<T> {
    /// That none was lost that a process holds, and that the kernel counts as many sockets as its tables have.
    pub fn counted(self, reader: &Reader<'_>, faults: &mut Faults) -> Self {
        for address in &self.lost {
            faults.require(false, "TCP socket that its table has lost", *address);
        }
        if let Some(found) = self.in_tables {
            #[cfg(all(
                kernel_has = "prot_inuse.all",
                kernel_has = "sym:tcp_prot",
                kernel_has = "sym:tcpv6_prot"
            ))]
            crate::sock::counted(
                reader.k,
                "TCP sockets",
                &[kernel::sym::tcp_prot, kernel::sym::tcpv6_prot],
                found,
                faults,
            );
            let _ = (reader, found, faults);
        }
        self
    }
}

/// What `take` makes of each of the [`sockets`], on the thread that has just read it: what isn't kept of 20,000 sockets never takes memory.
pub fn each<T: Send>(
    reader: &Reader<'_>,
    faults: &mut Faults,
    take: impl Fn(Tcp) -> Option<T> + Send + Sync,
) -> Each<T> {
    const WHAT: &str = "TCP socket";
    let before = faults.count();
    let whole = AtomicUsize::new(0);
    let tables = tcp_tables(reader.k, &reader.spaces, faults);
    // First, as they say which of the others wait to be accepted.
    let listeners = reader.read_all(&tables.listeners, WHAT, faults, |work, address| {
        Ok(Tcp {
            place: Place::Listeners,
            ..Tcp::read(work, address)?
        })
    });
    let waiting = waiting(&listeners);
    #[cfg(kernel_has = "inet_hashinfo.lhash2")]
    let places = read::places(reader.wants);
    #[cfg(not(kernel_has = "inet_hashinfo.lhash2"))]
    let places = crate::sock::places();
    let read = |addresses: &[u64], place: Place, faults: &mut Faults| {
        reader.read_places(addresses, &places, WHAT, faults, |work, address| {
            let mut socket = Tcp::read(work, address)?;
            socket.place = place;
            if place == Place::Connections && socket.form == Form::Full {
                whole.fetch_add(1, Ordering::Relaxed);
            }
            if !waiting.is_empty() {
                socket.waits_at = waiting.get(&address).copied();
            }
            Ok(take(socket))
        })
    };
    let others = read(&tables.established, Place::Connections, faults);
    let in_tables = (tables.is_complete && faults.count() == before)
        .then(|| whole.load(Ordering::Relaxed) + listeners.len());
    let held = held(reader, faults);
    let listed = tables.established.iter().chain(&tables.listeners).copied();
    let (closed, disowned) = crate::other::unlisted(held, listed);
    let closed: Vec<u64> = closed.into_iter().map(|held| held.sk).collect();
    let is_lost = |address: &u64| {
        let common = kernel::sock::at(reader.k, *address).map(|sk| sk.__sk_common());
        // One that runs has others by now.
        tables.is_complete
            && !reader.k.dump().is_live()
            && common.is_ok_and(|common| common.skc_state() != CLOSE && is_hashed(common))
    };
    let lost = closed.iter().copied().filter(is_lost).collect();
    let place = if tables.is_complete {
        Place::Held
    } else {
        Place::Unseen
    };
    let closed = read(&closed, place, faults);
    // Before 4.4 they are no sockets, and in no table but their listener's.
    #[cfg(kernel_has = "open_request.rmt_port")]
    let requests = crate::old::tcp::requests(reader, &listeners, faults);
    #[cfg(not(kernel_has = "open_request.rmt_port"))]
    let requests = Vec::new();
    let mut taken = others;
    taken.extend(listeners.into_iter().filter_map(&take));
    taken.extend(closed);
    taken.extend(requests.into_iter().filter_map(&take));
    Each {
        taken,
        disowned,
        lost,
        in_tables,
    }
}

/// TCP sockets that processes hold by a `struct socket` to which none that was read leads.
fn held(reader: &Reader<'_>, faults: &mut Faults) -> Vec<Held> {
    /// `AF_INET`, `IPPROTO_TCP`, `SOCK_STREAM`.
    const INET: u16 = 2;
    const TCP: u32 = 6;
    const STREAM: u32 = 1;
    crate::other::unknown(reader, faults, |sk| {
        matches!(sk.__sk_common().skc_family(), INET | INET6)
            && u32::from(sk.sk_protocol()) == TCP
            && u32::from(sk.sk_type()) == STREAM
    })
}

/// `sk_unhashed`
fn is_hashed(common: kernel::sock_common<'_>) -> bool {
    #[cfg(kernel_has = "sock_common.skc_nulls_node")]
    return !common.skc_nulls_node().pprev().is_null();
    #[cfg(not(kernel_has = "sock_common.skc_nulls_node"))]
    return !common.skc_node().pprev().is_null();
}

/// The connections that wait to be accepted, and the listener at which they do.
fn waiting(listeners: &[Tcp]) -> HashMap<u64, u64> {
    let children = listeners.iter().filter_map(|socket| {
        let queue = &socket.listener.as_ref()?.accept_queue;
        Some(queue.iter().map(|child| (*child, socket.base.address)))
    });
    children.flatten().collect()
}

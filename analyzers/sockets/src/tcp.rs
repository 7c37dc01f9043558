//! TCP sockets, with the numbers that the kernel gives to `ss`: net/ipv4/tcp.c (`tcp_get_info`), net/ipv4/inet_diag.c
//! (`inet_sk_diag_fill`), net/ipv4/tcp_diag.c. What kernels differ in is here.

use kernel::{inet_request_sock, inet_timewait_sock, sock_common, tcp_sock};
use kstruct::{Fault, View as _, walk};
use linux::Faults;
use serde::Serialize;

use crate::inet::{Ends, tcp_tables};
use crate::name::Name;
use crate::sock::{
    Base, INET6, LISTEN, NEW_SYN_RECV, Reader, TIME_WAIT, Work, family_name, state_name,
};

/// A TCP socket.
#[derive(Serialize)]
pub struct Tcp {
    /// What all sockets have.
    #[serde(flatten)]
    pub base: Base,
    /// What the kernel has of it.
    pub form: Form,
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
    /// The upper layer's name (`TCP_ULP`): `tls`, `mptcp`.
    #[serde(skip_serializing_if = "Name::is_empty")]
    pub ulp: Name,
    /// Of full sockets.
    pub info: Option<Info>,
    /// Of requests: how often the timer of their answer ran out.
    pub timeouts: Option<u32>,
    /// Of those that listen.
    pub listener: Option<Box<Listener>>,
    /// Of connections that wait to be accepted: the listener; as they have no file, nobody holds them.
    #[serde(serialize_with = "hex_or_null")]
    pub waits_at: Option<u64>,
}

pub(crate) fn hex_or_null<S: serde::Serializer>(
    address: &Option<u64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match address {
        Some(address) => linux::app::hex(address, serializer),
        None => serializer.serialize_none(),
    }
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
    #[serde(serialize_with = "hexes")]
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

fn hexes<S: serde::Serializer>(addresses: &[u64], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(addresses.iter().map(|address| format!("{address:#x}")))
}

/// `struct tcp_info` as `tcp_get_info` fills it in, with its units: times in microseconds but where the name says milliseconds, rates
/// in bytes a second. What a kernel doesn't count is 0. Of a listener, only what `tcp_get_info` says of one.
#[derive(Debug, Default, Clone, Serialize)]
#[allow(
    missing_docs,
    reason = "the names are those of struct tcp_info, include/uapi/linux/tcp.h"
)]
pub struct Info {
    pub ca_state: u8,
    pub retransmits: u8,
    pub probes: u8,
    pub backoff: u8,
    /// Timestamps.
    pub ts: bool,
    /// Timestamps that count microseconds.
    pub usec_ts: bool,
    pub sack: bool,
    pub ecn: bool,
    pub ecnseen: bool,
    /// The peer acknowledged data in the SYN.
    pub fastopen: bool,
    /// Window scaling of what is sent and received.
    pub wscale: Option<(u8, u8)>,
    pub rto: u64,
    pub ato: u64,
    pub snd_mss: u32,
    pub rcv_mss: u32,
    pub unacked: u32,
    pub sacked: u32,
    pub lost: u32,
    pub retrans: u32,
    pub last_data_sent_ms: u64,
    pub last_data_recv_ms: u64,
    pub last_ack_recv_ms: u64,
    pub pmtu: u32,
    pub rcv_ssthresh: u32,
    pub rtt: u32,
    pub rttvar: u32,
    pub snd_ssthresh: u32,
    pub snd_cwnd: u32,
    pub advmss: u32,
    pub reordering: u32,
    pub rcv_rtt: u32,
    pub rcv_space: u32,
    pub total_retrans: u32,
    /// `null`: not limited.
    pub pacing_rate: Option<u64>,
    /// `null`: not limited.
    pub max_pacing_rate: Option<u64>,
    pub bytes_acked: u64,
    pub bytes_received: u64,
    pub segs_out: u32,
    pub segs_in: u32,
    pub notsent_bytes: u32,
    /// 4294967295: not measured.
    pub min_rtt: u32,
    pub data_segs_in: u32,
    pub data_segs_out: u32,
    pub delivery_rate: u64,
    pub app_limited: bool,
    pub busy_time: u64,
    pub rwnd_limited: u64,
    pub sndbuf_limited: u64,
    pub delivered: u32,
    pub delivered_ce: u32,
    pub bytes_sent: u64,
    pub bytes_retrans: u64,
    pub dsack_dups: u32,
    pub reord_seen: u32,
    pub rcv_ooopack: u32,
    pub snd_wnd: u32,
    pub rcv_wnd: u32,
    pub rehash: u32,
    /// The column of /proc/net/tcp behind `ato`: quick ACKs that are left, times two, and whether ACKs are delayed.
    pub quick_and_pingpong: u32,
    /// `snd_una`, `snd_nxt`, `write_seq`: sequence numbers of what was acknowledged, sent, written.
    pub snd_una: u32,
    pub snd_nxt: u32,
    pub write_seq: u32,
    /// `rcv_nxt`, `copied_seq`: of what was received, read.
    pub rcv_nxt: u32,
    pub copied_seq: u32,
}

/// All TCP sockets, as they are in the tables: listeners, then others. Last those that processes hold and that are in no table, as they
/// are neither bound nor connected.
pub fn sockets(reader: &Reader<'_>, faults: &mut Faults) -> Vec<Box<Tcp>> {
    let tables = tcp_tables(reader.k, &reader.spaces, faults);
    let mut addresses = tables.listeners;
    addresses.extend(tables.established);
    let read = |addresses: &[u64], faults: &mut Faults| {
        reader.read_all(addresses, "TCP socket", faults, |work, address| {
            Tcp::read(work, address).map(Box::new)
        })
    };
    let mut found = read(&addresses, faults);
    let known = found.iter().map(|socket| socket.base.socket).collect();
    let closed = closed(reader, known, faults);
    found.extend(read(&closed, faults));
    mark_waiting(&mut found);
    found
}

/// TCP sockets that processes hold and that are not among the known ones.
fn closed(reader: &Reader<'_>, known: Vec<u64>, faults: &mut Faults) -> Vec<u64> {
    /// `AF_INET`, `IPPROTO_TCP`, `SOCK_STREAM`.
    const INET: u16 = 2;
    const TCP: u32 = 6;
    const STREAM: u32 = 1;
    crate::other::unknown(reader, known, faults, |sk| {
        matches!(sk.__sk_common().skc_family(), INET | INET6)
            && u32::from(sk.sk_protocol()) == TCP
            && u32::from(sk.sk_type()) == STREAM
    })
}

/// Says of connections that wait to be accepted where they do.
fn mark_waiting(sockets: &mut [Box<Tcp>]) {
    let mut waiting = std::collections::HashMap::new();
    for socket in &*sockets {
        if let Some(listener) = &socket.listener {
            for child in &listener.accept_queue {
                waiting.insert(*child, socket.base.address);
            }
        }
    }
    if waiting.is_empty() {
        return;
    }
    for socket in sockets {
        socket.waits_at = waiting.get(&socket.base.address).copied();
    }
}

impl Tcp {
    /// Reads a socket of any form.
    pub fn read(work: &mut Work<'_, '_>, address: u64) -> Result<Self, Fault> {
        let common = sock_common::at(work.reader.k, address)?;
        match common.skc_state() {
            TIME_WAIT => Self::time_wait(work, inet_timewait_sock::at(work.reader.k, address)?),
            NEW_SYN_RECV => Self::request(work, inet_request_sock::at(work.reader.k, address)?),
            _ => Self::full(work, tcp_sock::at(work.reader.k, address)?),
        }
    }

    /// `inet_csk_diag_fill`, `get_tcp4_sock`.
    fn full<'m>(work: &mut Work<'_, 'm>, tcp: tcp_sock<'m>) -> Result<Self, Fault> {
        let connection = tcp.inet_conn();
        let sk = connection.icsk_inet().sk();
        let common = sk.__sk_common();
        let state = common.skc_state();
        let base = work.base(sk, state_name(state));
        let (rx_queue, tx_queue) = if state == LISTEN {
            (sk.sk_ack_backlog(), sk.sk_max_ack_backlog())
        } else {
            // A FIN that was received counts in `rcv_nxt`, and is taken off again by whoever reads it.
            let unread = tcp.rcv_nxt().wrapping_sub(tcp.copied_seq());
            let unread = unread.cast_signed().max(0).cast_unsigned();
            (unread, tcp.write_seq().wrapping_sub(tcp.snd_una()))
        };
        let listener = (state == LISTEN).then(|| Box::new(listener(work, tcp)));
        let operations = connection.icsk_ca_ops().deref_or_null();
        let congestion = work.check(base.address, operations).flatten();
        Ok(Tcp {
            form: Form::Full,
            ends: Ends::of(common),
            rx_queue: u32::from(rx_queue),
            tx_queue: u32::from(tx_queue),
            timer: timer(work.reader, tcp),
            congestion: congestion.map_or_else(Name::default, |ops| Name::from(ops.name())),
            ulp: ulp(work, tcp),
            info: Some(info(work.reader, tcp)),
            timeouts: None,
            listener,
            waits_at: None,
            base,
        })
    }

    /// `inet_twsk_diag_fill`, `get_timewait4_sock`.
    fn time_wait<'m>(
        work: &mut Work<'_, 'm>,
        socket: inet_timewait_sock<'m>,
    ) -> Result<Self, Fault> {
        let common = socket.__tw_common();
        let expires = work.reader.until(socket.tw_timer().expires());
        let mut base = small_base(work, common, state_name(socket.tw_substate()));
        #[cfg(kernel_has = "inet_timewait_sock.tw_mark")]
        {
            base.mark = socket.tw_mark();
        }
        #[cfg(kernel_has = "inet_timewait_sock.tw_priority")]
        {
            base.priority = socket.tw_priority();
        }
        Ok(Tcp::small(
            work,
            base,
            common,
            Form::TimeWait,
            (Which::TimeWait, expires, 0),
        ))
    }

    /// `inet_req_diag_fill`, `get_openreq4`.
    fn request<'m>(work: &mut Work<'_, 'm>, socket: inet_request_sock<'m>) -> Result<Self, Fault> {
        let request = socket.req();
        let common = request.__req_common();
        let expires = work.reader.until(request.rsk_timer().expires());
        let mut base = small_base(work, common, state_name(NEW_SYN_RECV));
        #[cfg(kernel_has = "inet_request_sock.ir_mark")]
        {
            base.mark = socket.ir_mark();
        }
        let timer = (Which::On, expires, u32::from(request.num_retrans() as u8));
        Ok(Tcp {
            timeouts: Some(u64::from(request.num_timeout()) as u32),
            ..Tcp::small(work, base, common, Form::Request, timer)
        })
    }

    fn small(
        work: &Work<'_, '_>,
        base: Base,
        common: sock_common<'_>,
        form: Form,
        (which, expires, retransmits): (Which, i64, u32),
    ) -> Self {
        Tcp {
            base,
            form,
            ends: Ends::of(common),
            rx_queue: 0,
            tx_queue: 0,
            timer: timer_in(work.reader, which, expires, retransmits),
            congestion: Name::default(),
            ulp: Name::default(),
            info: None,
            timeouts: None,
            listener: None,
            waits_at: None,
        }
    }
}

/// What sockets have that are no full ones. They have no file, and nobody's uid.
fn small_base<'m>(work: &mut Work<'_, 'm>, common: sock_common<'m>, state: &'static str) -> Base {
    let (address, net) = (common.addr(), common.skc_net().net());
    let ifindex = common.skc_bound_dev_if();
    Base {
        address,
        socket: 0,
        netns: work.netns(address, net),
        family: family_name(common.skc_family()),
        kind: "stream",
        protocol: 6,
        state,
        inode: 0,
        uid: 0,
        refcount: common.skc_refcnt().value(),
        cookie: common.skc_cookie().value().cast_unsigned(),
        mark: 0,
        priority: 0,
        ifindex,
        device: work.device(net.addr(), ifindex),
        shutdown: 0,
        error: 0,
        memory: None,
        cgroup: None,
        holders: Vec::new(),
    }
}

fn timer_in(reader: &Reader<'_>, which: Which, jiffies: i64, retransmits: u32) -> Timer {
    let milliseconds = reader.milliseconds(jiffies.unsigned_abs()).cast_signed();
    Timer {
        which,
        expires_ms: if jiffies < 0 {
            milliseconds.wrapping_neg()
        } else {
            milliseconds
        },
        retransmits,
    }
}

/// The timer that `inet_sk_diag_fill` reports.
fn timer(reader: &Reader<'_>, tcp: tcp_sock<'_>) -> Timer {
    /// `ICSK_TIME_RETRANS`, `ICSK_TIME_PROBE0`, `ICSK_TIME_EARLY_RETRANS` (gone since 4.12), `ICSK_TIME_LOSS_PROBE`,
    /// `ICSK_TIME_REO_TIMEOUT` (include/net/inet_connection_sock.h).
    const RETRANSMIT: [u8; 4] = [1, 4, 5, 6];
    const PROBE: u8 = 3;
    let connection = tcp.inet_conn();
    let pending = connection.icsk_pending();
    if RETRANSMIT.contains(&pending) || pending == PROBE {
        #[cfg(kernel_has = "inet_connection_sock.icsk_timeout")]
        let expires = connection.icsk_timeout();
        #[cfg(not(kernel_has = "inet_connection_sock.icsk_timeout"))]
        let expires = connection.icsk_inet().sk().tcp_retransmit_timer().expires();
        let (which, count) = if pending == PROBE {
            (Which::Persist, connection.icsk_probes_out())
        } else {
            (Which::On, connection.icsk_retransmits())
        };
        return timer_in(reader, which, reader.until(expires), count.into());
    }
    #[cfg(kernel_has = "inet_connection_sock.icsk_keepalive_timer")]
    let keepalive = connection.icsk_keepalive_timer();
    #[cfg(not(kernel_has = "inet_connection_sock.icsk_keepalive_timer"))]
    let keepalive = connection.icsk_inet().sk().sk_timer();
    let count = connection.icsk_probes_out().into();
    // `timer_pending`
    if keepalive.entry().pprev().is_null() {
        return timer_in(reader, Which::Off, 0, 0);
    }
    let expires = reader.until(keepalive.expires());
    timer_in(reader, Which::Keepalive, expires, count)
}

fn ulp(work: &mut Work<'_, '_>, tcp: tcp_sock<'_>) -> Name {
    #[cfg(kernel_has = "inet_connection_sock.icsk_ulp_ops")]
    {
        let operations = tcp.inet_conn().icsk_ulp_ops().deref_or_null();
        if let Some(Some(operations)) = work.check(tcp.addr(), operations) {
            return Name::from(operations.name());
        }
    }
    let _ = (work, tcp);
    Name::default()
}

fn listener(work: &mut Work<'_, '_>, tcp: tcp_sock<'_>) -> Listener {
    let queue = tcp.inet_conn().icsk_accept_queue();
    let sk = tcp.inet_conn().icsk_inet().sk();
    let mut accept_queue = Vec::new();
    for request in walk::chain(Ok(queue.rskq_accept_head()), kernel::request_sock::dl_next) {
        if let Some(request) = work.check(tcp.addr(), request) {
            accept_queue.push(request.sk().addr());
        }
    }
    Listener {
        accept_queue,
        backlog: u32::from(sk.sk_ack_backlog()),
        max_backlog: u32::from(sk.sk_max_ack_backlog()),
        requests: queue.qlen().value(),
        young: queue.young().value(),
        fastopen: queue.fastopenq().qlen(),
        max_fastopen: queue.fastopenq().max_qlen(),
        defer_accept: queue.rskq_defer_accept(),
    }
}

/// `tcp_get_info`
fn info(reader: &Reader<'_>, tcp: tcp_sock<'_>) -> Info {
    let connection = tcp.inet_conn();
    let sk = connection.icsk_inet().sk();
    let state = sk.__sk_common().skc_state();
    let rate = |rate: u64| (rate != reader.k.wrap(u64::MAX)).then_some(rate);
    let mut info = Info {
        pacing_rate: rate(u64::from(sk.sk_pacing_rate())),
        max_pacing_rate: rate(u64::from(sk.sk_max_pacing_rate())),
        reordering: tcp.reordering().into(),
        snd_cwnd: tcp.snd_cwnd(),
        rto: reader.microseconds(connection.icsk_rto().into()),
        snd_ssthresh: tcp.snd_ssthresh(),
        ..Info::default()
    };
    if state == LISTEN {
        info.unacked = u32::from(sk.sk_ack_backlog());
        info.sacked = u32::from(sk.sk_max_ack_backlog());
        return info;
    }
    info.ca_state = u64::from(connection.icsk_ca_state()) as u8;
    info.retransmits = connection.icsk_retransmits();
    info.probes = connection.icsk_probes_out();
    info.backoff = connection.icsk_backoff();
    options(&mut info, tcp);
    let ack = connection.icsk_ack();
    let ato = u64::from(ack.ato());
    #[cfg(kernel_has = "tcp_sock.tcp_usec_ts")]
    let ato = ato.min(connection.icsk_delack_max().into());
    info.ato = reader.microseconds(ato);
    info.snd_mss = tcp.mss_cache().into();
    info.rcv_mss = ack.rcv_mss().into();
    info.unacked = tcp.packets_out();
    info.sacked = tcp.sacked_out();
    info.lost = tcp.lost_out();
    info.retrans = tcp.retrans_out();
    // `tcp_jiffies32`
    let ago = |then: u32| {
        let jiffies = (reader.now as u32).wrapping_sub(then);
        reader.milliseconds(jiffies.into()) & u64::from(u32::MAX)
    };
    info.last_data_sent_ms = ago(tcp.lsndtime());
    info.last_data_recv_ms = ago(ack.lrcvtime());
    info.last_ack_recv_ms = ago(tcp.rcv_tstamp());
    info.pmtu = connection.icsk_pmtu_cookie();
    info.rcv_ssthresh = tcp.rcv_ssthresh();
    info.rtt = tcp.srtt_us() >> 3;
    info.rttvar = tcp.mdev_us() >> 2;
    info.advmss = tcp.advmss().into();
    info.rcv_rtt = tcp.rcv_rtt_est().rtt_us() >> 3;
    info.rcv_space = tcp.rcvq_space().space() as u32;
    info.total_retrans = tcp.total_retrans();
    info.bytes_acked = tcp.bytes_acked();
    info.bytes_received = tcp.bytes_received();
    info.segs_out = tcp.segs_out();
    info.segs_in = tcp.segs_in();
    let unsent = tcp.write_seq().wrapping_sub(tcp.snd_nxt());
    info.notsent_bytes = unsent.cast_signed().max(0).cast_unsigned();
    info.min_rtt = tcp.rtt_min().s().get(0).map_or(0, |sample| sample.v());
    info.data_segs_in = tcp.data_segs_in();
    info.data_segs_out = tcp.data_segs_out();
    busy(&mut info, reader, tcp);
    counted(&mut info, tcp);
    let is_pingpong = u32::from(ack.pingpong()) >= pingpong_threshold(tcp);
    info.quick_and_pingpong = u32::from(ack.quick()) << 1 | u32::from(is_pingpong);
    info.snd_wnd = tcp.snd_wnd();
    info.rcv_wnd = tcp.rcv_wnd();
    info.snd_una = tcp.snd_una();
    info.snd_nxt = tcp.snd_nxt();
    info.write_seq = tcp.write_seq();
    info.rcv_nxt = tcp.rcv_nxt();
    info.copied_seq = tcp.copied_seq();
    info
}

fn options(info: &mut Info, tcp: tcp_sock<'_>) {
    /// `TCP_ECN_OK`, `TCP_ECN_SEEN` (include/net/tcp.h).
    const ECN_OK: u64 = 1;
    const ECN_SEEN: u64 = 8;
    let options = tcp.rx_opt();
    info.ts = u64::from(options.tstamp_ok()) != 0;
    info.sack = u64::from(options.sack_ok()) != 0;
    if u64::from(options.wscale_ok()) != 0 {
        info.wscale = Some((
            u64::from(options.snd_wscale()) as u8,
            u64::from(options.rcv_wscale()) as u8,
        ));
    }
    let ecn = u64::from(tcp.ecn_flags());
    info.ecn = ecn & ECN_OK != 0;
    info.ecnseen = ecn & ECN_SEEN != 0;
    info.fastopen = u64::from(tcp.syn_data_acked()) != 0;
    #[cfg(kernel_has = "tcp_sock.tcp_usec_ts")]
    {
        info.usec_ts = u64::from(tcp.tcp_usec_ts()) != 0;
    }
}

/// `tcp_get_info_chrono_stats`, `tcp_compute_delivery_rate`.
fn busy(info: &mut Info, reader: &Reader<'_>, tcp: tcp_sock<'_>) {
    /// `TCP_CHRONO_RWND_LIMITED`, `TCP_CHRONO_SNDBUF_LIMITED`; before them comes `TCP_CHRONO_BUSY`, 1.
    const RWND_LIMITED: u64 = 2;
    const SNDBUF_LIMITED: u64 = 3;
    let current = u64::from(tcp.chrono_type());
    for (kind, jiffies) in (1..).zip(tcp.chrono_stat().iter()) {
        let mut jiffies = u64::from(jiffies);
        if kind == current {
            jiffies += u64::from((reader.now as u32).wrapping_sub(tcp.chrono_start()));
        }
        let time = reader.microseconds(jiffies);
        info.busy_time += time;
        match kind {
            RWND_LIMITED => info.rwnd_limited = time,
            SNDBUF_LIMITED => info.sndbuf_limited = time,
            _ => {}
        }
    }
    info.app_limited = u64::from(tcp.rate_app_limited()) != 0;
    let interval = u64::from(tcp.rate_interval_us());
    info.delivery_rate = (u64::from(tcp.rate_delivered()) * u64::from(tcp.mss_cache()))
        .saturating_mul(1_000_000)
        .checked_div(interval)
        .unwrap_or(0);
}

/// What later kernels came to count.
fn counted(info: &mut Info, tcp: tcp_sock<'_>) {
    // 4.18
    #[cfg(kernel_has = "tcp_sock.delivered_ce")]
    {
        info.delivered = tcp.delivered();
        info.delivered_ce = tcp.delivered_ce();
    }
    // 4.19
    #[cfg(kernel_has = "tcp_sock.bytes_retrans")]
    {
        info.bytes_sent = tcp.bytes_sent();
        info.bytes_retrans = tcp.bytes_retrans();
        info.dsack_dups = tcp.dsack_dups();
        info.reord_seen = tcp.reord_seen();
    }
    // 5.4
    #[cfg(kernel_has = "tcp_sock.rcv_ooopack")]
    {
        info.rcv_ooopack = tcp.rcv_ooopack();
    }
    // 6.2: how often the path was changed after timeouts and for load balancing.
    #[cfg(kernel_has = "tcp_sock.plb_rehash")]
    {
        info.rehash = tcp.plb_rehash().wrapping_add(tcp.timeout_rehash().into());
    }
}

/// From how many answers that carried data on ACKs are delayed (`inet_csk_in_pingpong_mode`).
fn pingpong_threshold(tcp: tcp_sock<'_>) -> u32 {
    #[cfg(kernel_has = "netns_ipv4.sysctl_tcp_pingpong_thresh")]
    {
        let common = tcp.inet_conn().icsk_inet().sk().__sk_common();
        if let Ok(net) = common.skc_net().net().deref() {
            return net.ipv4().sysctl_tcp_pingpong_thresh().into();
        }
    }
    let _ = tcp;
    // TCP_PINGPONG_THRESH. It was 3 from 5.1 on, and became 1 again in 6.0 and in the stable releases before.
    1
}

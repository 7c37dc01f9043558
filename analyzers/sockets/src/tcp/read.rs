//! How a TCP socket is read.

use kernel::{
    inet_connection_sock, inet_request_sock, inet_timewait_sock, sock, sock_common, tcp_sock,
};
use kstruct::{Fault, FaultKind, View as _, walk};

use super::{Form, Info, Listener, Place, Tcp, Timer, Which};
use crate::inet::Ends;
use crate::name::Name;
use crate::sock::{
    Base, LINE, LISTEN, NEW_SYN_RECV, Reader, TIME_WAIT, Wants, Work, family_name, state_name,
};

/// Where in a socket lies what [`Tcp::read`] reads of nearly each.
pub(super) fn places(wants: Wants) -> Vec<usize> {
    if wants.info {
        return (0..tcp_sock::SIZE).step_by(LINE).collect();
    }
    let mut places: Vec<usize> = if wants.memory || wants.origin {
        crate::sock::places()
    } else {
        (0..sock_common::SIZE).step_by(LINE).collect()
    };
    // Kernels have some of them elsewhere, or as parts of a word: these are not fetched.
    let members = [
        sock::INFO.find_offset("sk_socket"),
        sock::INFO.find_offset("sk_timer"),
        sock::INFO.find_offset("sk_type"),
        inet_connection_sock::INFO.find_offset("icsk_timeout"),
        inet_connection_sock::INFO.find_offset("icsk_keepalive_timer"),
        inet_connection_sock::INFO.find_offset("icsk_ca_ops"),
        inet_connection_sock::INFO.find_offset("icsk_ulp_ops"),
        inet_connection_sock::INFO.find_offset("icsk_retransmits"),
        tcp_sock::INFO.find_offset("copied_seq"),
        tcp_sock::INFO.find_offset("write_seq"),
        tcp_sock::INFO.find_offset("rcv_nxt"),
        tcp_sock::INFO.find_offset("snd_una"),
    ];
    for member in members.into_iter().flatten() {
        if places.iter().all(|place| place / LINE != member / LINE) {
            places.push(member);
        }
    }
    places
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
        let congestion = work
            .check(base.address, "icsk_ca_ops", operations)
            .flatten();
        let congestion = congestion.map_or_else(Name::default, |ops| Name::from(ops.name()));
        let wants_info = work.reader.wants.info;
        let details = wants_info
            .then(|| congestion_info(tcp, state, congestion.bytes()))
            .transpose();
        let congestion_info = work
            .check(base.address, "icsk_ca_priv", details)
            .flatten()
            .flatten();
        Ok(Tcp {
            form: Form::Full,
            place: Place::default(),
            ends: Ends::of(common),
            rx_queue: u32::from(rx_queue),
            tx_queue: u32::from(tx_queue),
            timer: timer(work.reader, tcp),
            congestion,
            congestion_info: congestion_info.map(Box::new),
            ulp: ulp(work, tcp),
            info: wants_info.then(|| Box::new(info(work.reader, tcp))),
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
            place: Place::default(),
            ends: Ends::of(common),
            rx_queue: 0,
            tx_queue: 0,
            timer: timer_in(work.reader, which, expires, retransmits),
            congestion: Name::default(),
            congestion_info: None,
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
        device: work.device(address, net.addr(), ifindex),
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

/// What the control's `get_info` tells of connections, in states before TIME_WAIT (`inet_sk_diag_fill`).
fn congestion_info(
    tcp: tcp_sock<'_>,
    state: u8,
    name: &[u8],
) -> Result<Option<super::Congestion>, Fault> {
    if state >= TIME_WAIT {
        return Ok(None);
    }
    let _ = (tcp, name);
    match name {
        #[cfg(kernel_has = "bbr.min_rtt_us")]
        b"bbr" => {
            /// `BW_SCALE`: packets in a microsecond, times 2^24.
            const SCALE: u32 = 24;
            let own = private::<kernel::bbr<'_>>(tcp)?;
            let most = own.bw().s().get(0).map_or(0, |sample| sample.v());
            let bw = match u64::from(own.lt_use_bw()) {
                0 => most,
                _ => own.lt_bw(),
            };
            let bytes = u64::from(bw).wrapping_mul(tcp.mss_cache().into());
            Ok(Some(super::Congestion::Bbr {
                bw: bytes.wrapping_mul(1_000_000) >> SCALE,
                min_rtt: own.min_rtt_us(),
                pacing_gain: u64::from(own.pacing_gain()) as u32,
                cwnd_gain: u64::from(own.cwnd_gain()) as u32,
            }))
        }
        #[cfg(kernel_has = "dctcp.dctcp_alpha")]
        b"dctcp" => {
            let own = private::<kernel::dctcp<'_>>(tcp)?;
            let size = tcp.mss_cache();
            let bytes = |now: u32, then: u32| size.wrapping_mul(now.wrapping_sub(then));
            Ok(Some(super::Congestion::Dctcp {
                ce_state: own.ce_state() as u16,
                alpha: own.dctcp_alpha(),
                ab_ecn: bytes(tcp.delivered_ce(), own.old_delivered_ce()),
                ab_tot: bytes(tcp.delivered(), own.old_delivered()),
            }))
        }
        #[cfg(kernel_has = "dctcp.dctcp_alpha")]
        b"dctcp-reno" => Ok(Some(super::Congestion::DctcpFallback)),
        #[cfg(kernel_has = "vegas.doing_vegas_now")]
        b"vegas" => {
            let own = private::<kernel::vegas<'_>>(tcp)?;
            Ok(Some(super::Congestion::Vegas {
                enabled: own.doing_vegas_now() != 0,
                rttcnt: own.cntRTT().into(),
                rtt: own.baseRTT(),
                minrtt: own.minRTT(),
            }))
        }
        _ => Ok(None),
    }
}

/// `inet_csk_ca`: what a congestion control keeps with the socket.
#[cfg(any(
    kernel_has = "bbr.min_rtt_us",
    kernel_has = "dctcp.dctcp_alpha",
    kernel_has = "vegas.doing_vegas_now"
))]
fn private<'m, V: kstruct::View<'m>>(tcp: tcp_sock<'m>) -> Result<V, Fault> {
    let connection = tcp.inet_conn();
    let offset = kstruct::offset_of!(kernel::inet_connection_sock, icsk_ca_priv);
    V::at(tcp.memory(), connection.addr().wrapping_add(offset as u64))
}

fn ulp(work: &mut Work<'_, '_>, tcp: tcp_sock<'_>) -> Name {
    #[cfg(kernel_has = "inet_connection_sock.icsk_ulp_ops")]
    {
        let operations = tcp.inet_conn().icsk_ulp_ops().deref_or_null();
        if let Some(Some(operations)) = work.check(tcp.addr(), "icsk_ulp_ops", operations) {
            return Name::from(operations.name());
        }
    }
    let _ = (work, tcp);
    Name::default()
}

/// The connection that waits to be accepted (`inet_csk_reqsk_queue_add`). It has the port that was asked for, which need not be its
/// listener's (TPROXY), until that is taken from one that was closed meanwhile (`__inet_put_port`).
fn child(request: kernel::request_sock<'_>) -> Result<u64, Fault> {
    let child = request.sk().deref()?;
    let (common, asked) = (child.__sk_common(), request.__req_common());
    let is_full = !matches!(common.skc_state(), LISTEN | NEW_SYN_RECV | TIME_WAIT);
    let port = common.skc_num();
    if is_full
        && matches!(family_name(common.skc_family()), "inet" | "inet6")
        && (port == 0 || port == asked.skc_num())
    {
        return Ok(child.addr());
    }
    Err(Fault {
        address: child.addr(),
        kind: FaultKind::Inconsistent,
    })
}

fn listener(work: &mut Work<'_, '_>, tcp: tcp_sock<'_>) -> Listener {
    let queue = tcp.inet_conn().icsk_accept_queue();
    let sk = tcp.inet_conn().icsk_inet().sk();
    let mut accept_queue = Vec::new();
    let mut seen = hashbrown::HashSet::new();
    for request in walk::chain(Ok(queue.rskq_accept_head()), kernel::request_sock::dl_next) {
        let Some(child) = work.check(tcp.addr(), "icsk_accept_queue", request.and_then(child))
        else {
            continue;
        };
        if seen.insert(child) {
            accept_queue.push(child);
        } else {
            let fault = Fault {
                address: child,
                kind: FaultKind::Inconsistent,
            };
            let what = "icsk_accept_queue (a connection that waits twice)";
            work.faults.push((tcp.addr(), what, fault));
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

//! TCP sockets, with the numbers that the kernel gives to `ss` (net/ipv4/tcp_diag.c, net/ipv4/tcp_ipv4.c).

use std::collections::HashMap;

use kernel::{open_request, sock, sock_common, tcp_opt, tcp_tw_bucket};
use kstruct::{Fault, FaultKind, View as _, walk};
use linux::Faults;
use linux::net::order::be16;

use super::inet::protocol;
use crate::inet::{Ends, ipv4, ipv6};
use crate::name::Name;
use crate::sock::{Base, INET6, LISTEN, Reader, TIME_WAIT, Work, family_name, state_name};
use crate::tcp::{Form, Info, Listener, Place, Tcp, Timer, Which};

/// `TCP_SYN_RECV`
const SYN_RECV: u8 = 3;

impl Tcp {
    /// Reads a socket of either kind that is in the tables.
    pub fn read(work: &mut Work<'_, '_>, address: u64) -> Result<Self, Fault> {
        let common = sock_common::at(work.reader.k, address)?;
        match common.skc_state() {
            TIME_WAIT => Ok(Self::time_wait(
                work,
                tcp_tw_bucket::at(work.reader.k, address)?,
            )),
            _ => Self::full(work, sock::at(work.reader.k, address)?),
        }
    }

    /// `tcpdiag_fill`
    fn full<'m>(work: &mut Work<'_, 'm>, sk: sock<'m>) -> Result<Self, Fault> {
        let tcp = protocol::<tcp_opt<'m>>(sk).deref()?;
        let ends = Ends::of_sock(sk)?;
        let state = sk.__sk_common().skc_state();
        let base = work.base(sk, state_name(state));
        let (rx_queue, tx_queue) = if state == LISTEN {
            (sk.sk_ack_backlog().into(), sk.sk_max_ack_backlog().into())
        } else {
            // A FIN that was received counts in `rcv_nxt`, and is taken off again by whoever reads it.
            let unread = tcp.rcv_nxt().wrapping_sub(tcp.copied_seq());
            let unread = unread.cast_signed().max(0).cast_unsigned();
            (unread, tcp.write_seq().wrapping_sub(tcp.snd_una()))
        };
        let listener = (state == LISTEN).then(|| Box::new(listener(work, sk, tcp)));
        Ok(Tcp {
            form: Form::Full,
            place: Place::default(),
            ends,
            rx_queue,
            tx_queue,
            timer: timer(work.reader, sk, tcp),
            congestion: congestion(tcp.adv_cong()),
            congestion_info: None,
            ulp: Name::default(),
            info: work
                .reader
                .wants
                .info
                .then(|| Box::new(info(work.reader, sk, tcp))),
            timeouts: None,
            listener,
            waits_at: None,
            base,
        })
    }

    /// The same of what is left of a closed connection.
    fn time_wait(work: &mut Work<'_, '_>, socket: tcp_tw_bucket<'_>) -> Self {
        let common = socket.__tw_common();
        let (local, remote) = if common.skc_family() == INET6 {
            (ipv6(socket.tw_v6_rcv_saddr()), ipv6(socket.tw_v6_daddr()))
        } else {
            (ipv4(socket.tw_rcv_saddr()), ipv4(socket.tw_daddr()))
        };
        let ends = Ends {
            local,
            local_port: socket.tw_num(),
            remote,
            remote_port: be16(socket.tw_dport()),
            v6only: socket.tw_v6_ipv6only() != 0,
        };
        let base = Base {
            state: state_name(socket.tw_substate()),
            ..small_base(work, common, socket.addr())
        };
        let expires = work.reader.until(socket.tw_ttd());
        let timer = timer_in(work.reader, Which::TimeWait, expires, 0);
        small(base, Form::TimeWait, ends, timer)
    }

    /// `tcpdiag_fill_req`
    fn request(work: &mut Work<'_, '_>, address: u64, listener: u64) -> Result<Self, Fault> {
        let request = open_request::at(work.reader.k, address)?;
        let own = sock::at(work.reader.k, listener)?;
        let own_ends = Ends::of_sock(own)?;
        // That of the packet: a listener of IPv6 gets those of IPv4, too.
        let family = request.class().deref()?.family();
        let own_family = own.__sk_common().skc_family();
        let (local, remote) = if family == i32::from(INET6) {
            let addresses = request.af().v6_req();
            (ipv6(addresses.loc_addr()), ipv6(addresses.rmt_addr()))
        } else {
            let addresses = request.af().v4_req();
            let (local, remote) = (ipv4(addresses.loc_addr()), ipv4(addresses.rmt_addr()));
            if own_family == INET6 {
                (mapped(local), mapped(remote))
            } else {
                (local, remote)
            }
        };
        let ends = Ends {
            local,
            local_port: own_ends.local_port,
            remote,
            remote_port: be16(request.rmt_port()),
            v6only: own_ends.v6only,
        };
        let base = Base {
            state: state_name(SYN_RECV),
            refcount: 0,
            ..small_base(work, own.__sk_common(), address)
        };
        let retransmits = u32::from(request.retrans());
        let expires = work.reader.until(request.expires());
        let timer = timer_in(work.reader, Which::On, expires, retransmits);
        Ok(Tcp {
            timeouts: Some(retransmits),
            waits_at: Some(listener),
            ..small(base, Form::Request, ends, timer)
        })
    }
}

/// An IPv4 address as IPv6 sockets have it.
fn mapped(address: std::net::IpAddr) -> std::net::IpAddr {
    match address {
        std::net::IpAddr::V4(address) => address.to_ipv6_mapped().into(),
        std::net::IpAddr::V6(_) => address,
    }
}

/// The connections whose handshake isn't over: each listener has a table of its own, and they are nowhere else.
pub fn requests(reader: &Reader<'_>, listening: &[Tcp], faults: &mut Faults) -> Vec<Tcp> {
    let mut listeners = HashMap::new();
    let mut addresses = Vec::new();
    for socket in listening {
        let listener = socket.base.address;
        let what = format_args!("requests of {listener:#x}");
        let table = sock::at(reader.k, listener)
            .and_then(|sk| protocol::<tcp_opt<'_>>(sk).deref())
            .and_then(|tcp| tcp.listen_opt().deref_or_null());
        let Some(Some(table)) = faults.check(what, table) else {
            continue;
        };
        for bucket in table.syn_table().iter() {
            for request in walk::chain(Ok(bucket), open_request::dl_next) {
                if let Some(request) = faults.check(what, request)
                    && listeners.insert(request.addr(), listener).is_none()
                {
                    addresses.push(request.addr());
                }
            }
        }
    }
    reader.read_all(&addresses, "request", faults, |work, address| {
        let listener = listeners.get(&address).copied().unwrap_or_default();
        Tcp::request(work, address, listener)
    })
}

fn small(base: Base, form: Form, ends: Ends, timer: Timer) -> Tcp {
    Tcp {
        base,
        form,
        place: Place::default(),
        ends,
        rx_queue: 0,
        tx_queue: 0,
        timer,
        congestion: Name::default(),
        congestion_info: None,
        ulp: Name::default(),
        info: None,
        timeouts: None,
        listener: None,
        waits_at: None,
    }
}

/// What sockets have that are no full ones. They have no file, and nobody's uid.
fn small_base(work: &mut Work<'_, '_>, common: sock_common<'_>, address: u64) -> Base {
    let ifindex = common.skc_bound_dev_if();
    Base {
        address,
        socket: 0,
        netns: None,
        family: family_name(common.skc_family()),
        kind: "stream",
        protocol: 6,
        state: state_name(common.skc_state()),
        inode: 0,
        uid: 0,
        refcount: common.skc_refcnt().counter(),
        cookie: address,
        mark: 0,
        priority: 0,
        ifindex,
        device: work.device(address, 0, ifindex),
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

/// The timer that `tcpdiag_fill` reports.
fn timer(reader: &Reader<'_>, sk: sock<'_>, tcp: tcp_opt<'_>) -> Timer {
    /// `TCP_TIME_RETRANS`, `TCP_TIME_PROBE0` (include/net/tcp.h).
    const RETRANSMIT: u8 = 1;
    const PROBE: u8 = 3;
    let keepalive = sk.sk_timer();
    let probes = tcp.probes_out().into();
    let (which, expires, count) = match tcp.pending() {
        RETRANSMIT => (Which::On, tcp.timeout(), tcp.retransmits().into()),
        PROBE => (Which::Persist, tcp.timeout(), probes),
        // `timer_pending`
        _ if !keepalive.base().is_null() => (Which::Keepalive, keepalive.expires(), probes),
        _ => return timer_in(reader, Which::Off, 0, 0),
    };
    timer_in(reader, which, reader.until(expires), count)
}

/// `enum tcp_cong_algo` (include/linux/tcp.h), by the names that these got later.
fn congestion(algorithm: u8) -> Name {
    match algorithm {
        0 => Name::from("reno"),
        1 => Name::from("vegas"),
        2 => Name::from("westwood"),
        3 => Name::from("bic"),
        _ => Name::default(),
    }
}

/// The connection that waits to be accepted (`tcp_acceptq_queue`).
fn child(request: open_request<'_>) -> Result<u64, Fault> {
    let child = request.sk().deref()?;
    let common = child.__sk_common();
    let is_full = !matches!(common.skc_state(), LISTEN | TIME_WAIT);
    if is_full && matches!(family_name(common.skc_family()), "inet" | "inet6") {
        return Ok(child.addr());
    }
    Err(Fault {
        address: child.addr(),
        kind: FaultKind::Inconsistent,
    })
}

fn listener(work: &mut Work<'_, '_>, sk: sock<'_>, tcp: tcp_opt<'_>) -> Listener {
    let mut accept_queue = Vec::new();
    for request in walk::chain(Ok(tcp.accept_queue()), open_request::dl_next) {
        let child = request.and_then(child);
        accept_queue.extend(work.check(sk.addr(), "accept_queue", child));
    }
    let requests = work.check(sk.addr(), "listen_opt", tcp.listen_opt().deref_or_null());
    let requests = requests.flatten();
    Listener {
        accept_queue,
        backlog: sk.sk_ack_backlog().into(),
        max_backlog: sk.sk_max_ack_backlog().into(),
        requests: requests.map_or(0, |table| table.qlen()),
        young: requests.map_or(0, |table| table.qlen_young()),
        fastopen: 0,
        max_fastopen: 0,
        defer_accept: tcp.defer_accept(),
    }
}

/// `tcp_get_info`. Round trips are kept in jiffies.
fn info(reader: &Reader<'_>, sk: sock<'_>, tcp: tcp_opt<'_>) -> Info {
    /// `TCP_ECN_OK` (include/net/tcp_ecn.h).
    const ECN_OK: u8 = 1;
    let time = |jiffies: u32| reader.microseconds(jiffies.into()) as u32;
    let mut info = Info {
        reordering: tcp.reordering().into(),
        snd_cwnd: tcp.snd_cwnd(),
        rto: reader.microseconds(tcp.rto().into()),
        snd_ssthresh: tcp.snd_ssthresh(),
        // Nobody measures it yet.
        min_rtt: u32::MAX,
        ..Info::default()
    };
    if sk.__sk_common().skc_state() == LISTEN {
        info.unacked = sk.sk_ack_backlog().into();
        info.sacked = sk.sk_max_ack_backlog().into();
        return info;
    }
    info.ca_state = tcp.ca_state();
    info.retransmits = tcp.retransmits();
    info.probes = tcp.probes_out();
    info.backoff = tcp.backoff();
    info.ts = tcp.tstamp_ok() != 0;
    info.sack = tcp.sack_ok() != 0;
    if tcp.wscale_ok() != 0 {
        info.wscale = Some((tcp.snd_wscale(), tcp.rcv_wscale()));
    }
    info.ecn = tcp.ecn_flags() & ECN_OK != 0;
    let ack = tcp.ack();
    info.ato = reader.microseconds(ack.ato().into());
    info.snd_mss = tcp.mss_cache_std().into();
    info.rcv_mss = ack.rcv_mss().into();
    info.unacked = tcp.packets_out().val();
    info.sacked = tcp.sacked_out().val();
    info.lost = tcp.lost_out().val();
    info.retrans = tcp.retrans_out().val();
    // `tcp_time_stamp`
    let ago = |then: u32| {
        let jiffies = (reader.now as u32).wrapping_sub(then);
        reader.milliseconds(jiffies.into()) & u64::from(u32::MAX)
    };
    info.last_data_sent_ms = ago(tcp.lsndtime());
    info.last_data_recv_ms = ago(ack.lrcvtime());
    info.last_ack_recv_ms = ago(tcp.rcv_tstamp());
    info.pmtu = tcp.pmtu_cookie();
    info.rcv_ssthresh = tcp.rcv_ssthresh();
    info.rtt = time(tcp.srtt()) >> 3;
    info.rttvar = time(tcp.mdev()) >> 2;
    info.advmss = tcp.advmss().into();
    info.rcv_rtt = time(tcp.rcv_rtt_est().rtt()) >> 3;
    info.rcv_space = tcp.rcvq_space().space().cast_unsigned();
    let unsent = tcp.write_seq().wrapping_sub(tcp.snd_nxt());
    info.notsent_bytes = unsent.cast_signed().max(0).cast_unsigned();
    info.quick_and_pingpong = u32::from(ack.quick()) << 1 | u32::from(ack.pingpong());
    info.snd_wnd = tcp.snd_wnd();
    info.rcv_wnd = tcp.rcv_wnd();
    info.snd_una = tcp.snd_una();
    info.snd_nxt = tcp.snd_nxt();
    info.write_seq = tcp.write_seq();
    info.rcv_nxt = tcp.rcv_nxt();
    info.copied_seq = tcp.copied_seq();
    info
}

//! A socket as a line of text, with what `ss` would show of it.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::fmt::{self, Write};
use std::net::IpAddr;

use sockets::inet::Ends;
use sockets::sock::Base;
use sockets::tcp::{Congestion, Form, Info, Tcp, Which};
use sockets::text::{Text, push_milliseconds, push_timer, write_device, write_holders, write_rate};

/// What is shown of a socket.
#[derive(Clone, Copy)]
pub struct Shown {
    /// Timers.
    pub options: bool,
    /// Who and where.
    pub extended: bool,
    /// `skmem`
    pub memory: bool,
    /// `tcp_info`
    pub info: bool,
    /// Holders.
    pub processes: bool,
    /// Rates as whole numbers.
    pub numeric: bool,
}

/// What IPv4 addresses can need. IPv6 ones, and interfaces, are as wide as they have to be.
pub const IPV4_WIDTH: u8 = 21;

/// A socket's line, made when it is read. What orders lines is their [`Key`]: as much of it as tells two IPv4 sockets apart is kept where it is
/// compared at once. How wide the columns of addresses are is known when all are read.
pub struct Line {
    key: [u64; 3],
    /// Where its own end begins in the text, then the peer's, then the rest; no column begins further on than a byte can say. Then how long the
    /// rest of the key is, that rest, and the text.
    rest: Box<[u8]>,
}

/// Bytes before the rest of the key.
const HEAD: usize = 4;

/// What orders sockets: by namespace, listeners first, by addresses, IPv4 first. No two have the same.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The network namespace, whether it listens, the version of IP, and of the addresses and ports as much as there is room for; of IPv4 the
    /// socket's own address, too.
    first: [u64; 3],
    /// Of IPv6, whose addresses are longer, all of that.
    rest: [u8; 44],
}

/// A socket's.
pub fn key(socket: &Tcp) -> Key {
    let base = &socket.base;
    let netns = base.netns.unwrap_or(0);
    key_of(netns, base.state == "LISTEN", &socket.ends, base.address)
}

fn key_of(netns: u64, is_listener: bool, ends: &Ends, address: u64) -> Key {
    // `ns_common.inum` has 32 bits, and none is 0.
    let head = (netns << 32) | (u64::from(!is_listener) << 31);
    let (local_port, remote_port) = (u64::from(ends.local_port), u64::from(ends.remote_port));
    let mut rest = [0; 44];
    let first = match (ends.local, ends.remote) {
        (IpAddr::V4(local), IpAddr::V4(remote)) => {
            let (local, remote) = (u64::from(local.to_bits()), u64::from(remote.to_bits()));
            [
                head | local >> 2,
                local << 62 | local_port << 46 | remote << 14 | remote_port >> 2,
                // All 64 bits of a kernel's addresses have not room; the upper ones are the same for all.
                (remote_port << 62) | (address & ((1 << 62) - 1)),
            ]
        }
        (local, remote) => {
            let ipv6 = |address| match address {
                IpAddr::V4(address) => address.to_ipv6_mapped(),
                IpAddr::V6(address) => address,
            };
            let (local, remote) = (ipv6(local), ipv6(remote));
            let mut put = |from: usize, bytes: &[u8]| {
                if let Some(room) = rest.get_mut(from..from + bytes.len()) {
                    room.copy_from_slice(bytes);
                }
            };
            put(0, &local.octets());
            put(16, &ends.local_port.to_be_bytes());
            put(18, &remote.octets());
            put(34, &ends.remote_port.to_be_bytes());
            put(36, &address.to_be_bytes());
            let bits = local.to_bits();
            [
                head | 1 << 30 | (bits >> 98) as u64,
                (bits >> 34) as u64,
                (bits << 30) as u64 | local_port << 14 | (remote.to_bits() >> 114) as u64,
            ]
        }
    };
    Key { first, rest }
}

thread_local! {
    /// Where a thread writes a line, of which it then keeps as much as there is.
    static SCRATCH: RefCell<Text> = RefCell::default();
}

impl Line {
    /// A socket's line, and where more was asked for a second one; and how wide columns of addresses must be for it.
    pub fn of(socket: &Tcp, shown: Shown) -> (Self, u8) {
        let Key { first, rest } = key(socket);
        let is_ipv6 = socket.ends.local.is_ipv6();
        let rest = if is_ipv6 { &rest[..] } else { &[] };
        let mut places = [0; 3];
        let rest = SCRATCH.with_borrow_mut(|text| {
            text.clear();
            // Writing to a string doesn't fail.
            let _ = write_socket(text, socket, shown, &mut places);
            let mut all = Vec::with_capacity(HEAD + rest.len() + text.len());
            all.extend_from_slice(&places);
            all.push(rest.len() as u8);
            all.extend_from_slice(rest);
            all.extend_from_slice(text.bytes());
            all.into_boxed_slice()
        });
        let [local, remote, end] = places;
        let width = remote.wrapping_sub(local).max(end.wrapping_sub(remote));
        (Line { key: first, rest }, width)
    }

    /// The network namespace's inode number, if it is known.
    pub fn netns(&self) -> Option<u64> {
        Some(self.key[0] >> 32).filter(|inode| *inode != 0)
    }

    /// Where its own end, the peer's and the rest begin in the text; the rest of the key, and the text.
    #[inline]
    fn parts(&self) -> Option<([usize; 3], &[u8], &[u8])> {
        let (&[local, remote, end, length], rest) = self.rest.split_first_chunk::<HEAD>()?;
        let (key, text) = rest.split_at_checked(usize::from(length))?;
        let places = [usize::from(local), usize::from(remote), usize::from(end)];
        Some((places, key, text))
    }

    /// What comes first.
    #[inline]
    pub fn order(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key).then_with(|| {
            let (one, other) = (self.parts(), other.parts());
            one.map(|(_, key, _)| key)
                .cmp(&other.map(|(_, key, _)| key))
        })
    }

    /// Adds it with columns of this width.
    pub fn push(&self, out: &mut Vec<u8>, width: usize) {
        let Some(([local, remote, rest], _, text)) = self.parts() else {
            return;
        };
        out.extend_from_slice(&text[..local]);
        for end in [&text[local..remote], &text[remote..rest]] {
            let blanks = (width + 1).saturating_sub(end.len()).max(1);
            out.resize(out.len() + blanks, b' ');
            out.extend_from_slice(end);
        }
        out.extend_from_slice(&text[rest..]);
    }
}

/// Whether the kernel has network namespaces: since 2.6.24.
const HAS_NAMESPACES: bool = cfg!(kernel_has = "net.dev_base_head");

/// The heading of a network namespace.
pub fn header(netns: Option<u64>, width: usize) -> String {
    let mut out = String::new();
    // Writing to a string doesn't fail.
    if HAS_NAMESPACES {
        let inode = netns.map_or_else(|| "?".to_owned(), |inode| inode.to_string());
        let _ = writeln!(out, "== network namespace {inode}");
    }
    let _ = writeln!(
        out,
        "{:<10} {:>7} {:>7} {:>width$} {:>width$}",
        "State", "Recv-Q", "Send-Q", "Local Address:Port", "Peer Address:Port"
    );
    out
}

/// A socket's two ends, the first with the interface that it is bound to.
fn ends(socket: &Tcp) -> [(IpAddr, u16, Option<&Base>); 2] {
    let ends = &socket.ends;
    [
        (ends.local, ends.local_port, Some(&socket.base)),
        (ends.remote, ends.remote_port, None),
    ]
}

fn write_end(
    out: &mut Text,
    socket: &Tcp,
    address: IpAddr,
    port: u16,
    base: Option<&Base>,
) -> fmt::Result {
    match address {
        IpAddr::V4(address) => {
            let [first, rest @ ..] = address.octets();
            out.push_number(first.into());
            for octet in rest {
                out.push(b".");
                out.push_number(octet.into());
            }
        }
        IpAddr::V6(address) if address.is_unspecified() && !socket.ends.v6only => out.push(b"*"),
        IpAddr::V6(address) => write!(out, "[{address}]")?,
    }
    if let Some(base) = base {
        write_device(out, base)?;
    }
    if port == 0 {
        out.push(b":*");
        return Ok(());
    }
    out.push(b":");
    out.push_number(port.into());
    Ok(())
}

/// Writes a socket, with nothing before its ends, whose places in the text it says.
fn write_socket(out: &mut Text, socket: &Tcp, shown: Shown, places: &mut [u8; 3]) -> fmt::Result {
    let base = &socket.base;
    push_column(out, base.state, 10);
    push_queue(out, socket.rx_queue);
    push_queue(out, socket.tx_queue);
    for (number, (address, port, base)) in ends(socket).into_iter().enumerate() {
        places[number] = out.len() as u8;
        write_end(out, socket, address, port, base)?;
    }
    places[2] = out.len() as u8;
    if shown.processes {
        write_holders(out, &base.holders)?;
        if let Some(listener) = socket.waits_at {
            write!(out, " waits-at:{listener:x}")?;
        }
    }
    if shown.options && socket.timer.which != Which::Off {
        out.push(b" timer:(");
        out.push_str(socket.timer.which.name());
        out.push(b",");
        push_timer(out, socket.timer.expires_ms);
        out.push(b",");
        out.push_number(socket.timer.retransmits.into());
        out.push(b")");
    }
    if shown.extended {
        write_extended(out, socket, base)?;
    }
    if shown.memory
        && let Some(memory) = &base.memory
    {
        for (name, number) in [
            (" skmem:(r", memory.rmem_alloc),
            (",rb", memory.rcvbuf),
            (",t", memory.wmem_alloc),
            (",tb", memory.sndbuf),
            (",f", memory.fwd_alloc),
            (",w", memory.wmem_queued),
            (",o", memory.optmem),
            (",bl", memory.backlog),
            (",d", memory.drops),
        ] {
            out.push_str(name);
            out.push_number(number.into());
        }
        out.push(b")");
    }
    out.push(b"\n");
    if shown.info
        && let Some(info) = &socket.info
    {
        out.push(b"        ");
        write_info(out, socket, info, shown.numeric)?;
        out.push(b"\n");
    }
    Ok(())
}

/// A text, and blanks up to the next column.
fn push_column(out: &mut Text, text: &str, width: usize) {
    out.push_str(text);
    out.push_blanks(width.saturating_sub(text.len()));
}

/// A number to the right of a column of 7, behind a blank.
fn push_queue(out: &mut Text, number: u32) {
    let digits = number
        .checked_ilog10()
        .map_or(1, |digits| digits as usize + 1);
    out.push_blanks(8_usize.saturating_sub(digits).max(1));
    out.push_number(number.into());
}

fn write_extended(out: &mut Text, socket: &Tcp, base: &Base) -> fmt::Result {
    if base.uid != 0 {
        write!(out, " uid:{}", base.uid)?;
    }
    write!(out, " ino:{} sk:{:x}", base.inode, base.cookie)?;
    if base.mark != 0 {
        write!(out, " fwmark:{:#x}", base.mark)?;
    }
    if let Some(cgroup) = &base.cgroup {
        write!(out, " cgroup:{cgroup}")?;
    }
    // It means nothing any more to a socket that is connected.
    if base.family == "inet6" && ["LISTEN", "UNCONN"].contains(&base.state) {
        write!(out, " v6only:{}", u8::from(socket.ends.v6only))?;
    }
    if socket.form == Form::Full {
        let receives = if base.shutdown & 1 == 0 { '<' } else { '-' };
        let sends = if base.shutdown & 2 == 0 { '>' } else { '-' };
        write!(out, " {receives}-{sends}")?;
    }
    write!(out, " sock:{:x}", base.address)
}

/// Numbers that are shown unless they are 0.
fn push_numbers<const N: usize>(out: &mut Text, numbers: [(&str, u64); N]) {
    for (name, number) in numbers {
        if number != 0 {
            push_named(out, name, number);
        }
    }
}

/// ` name:number`
fn push_named(out: &mut Text, name: &str, number: u64) {
    out.push(b" ");
    out.push_str(name);
    out.push(b":");
    out.push_number(number);
}

/// Microseconds as milliseconds, unless there are none.
fn push_time(out: &mut Text, name: &str, microseconds: u64) {
    if microseconds != 0 {
        out.push(b" ");
        out.push_str(name);
        out.push(b":");
        push_milliseconds(out, microseconds);
    }
}

/// `tcp_stats_print` of misc/ss.c.
fn write_info(out: &mut Text, socket: &Tcp, info: &Info, is_numeric: bool) -> fmt::Result {
    let is_listener = socket.listener.is_some();
    for (name, has) in [
        ("ts", info.ts),
        ("usec_ts", info.usec_ts),
        ("sack", info.sack),
        ("ecn", info.ecn),
        ("ecnseen", info.ecnseen),
        ("fastopen", info.fastopen),
    ] {
        if has {
            out.push(b" ");
            out.push_str(name);
        }
    }
    if !socket.congestion.is_empty() {
        write!(out, " {}", socket.congestion)?;
    }
    if !socket.ulp.is_empty() {
        write!(out, " ulp:{}", socket.ulp)?;
    }
    if let Some((sent, received)) = info.wscale {
        write!(out, " wscale:{sent},{received}")?;
    }
    if !is_listener {
        // 3 s is what a connection begins with, and not worth a word to ss.
        if info.rto != 3_000_000 {
            push_time(out, "rto", info.rto);
        }
        push_numbers(out, [("backoff", info.backoff.into())]);
        if info.rtt != 0 {
            push_time(out, "rtt", info.rtt.into());
            out.push(b"/");
            push_milliseconds(out, info.rttvar.into());
        }
        push_time(out, "ato", info.ato);
    }
    push_numbers(
        out,
        [
            ("mss", info.snd_mss.into()),
            ("pmtu", info.pmtu.into()),
            ("rcvmss", info.rcv_mss.into()),
            ("advmss", info.advmss.into()),
            ("cwnd", info.snd_cwnd.into()),
        ],
    );
    if !is_listener && info.snd_ssthresh < 0xffff {
        push_numbers(out, [("ssthresh", info.snd_ssthresh.into())]);
    }
    push_numbers(
        out,
        [
            ("bytes_sent", info.bytes_sent),
            ("bytes_retrans", info.bytes_retrans),
            ("bytes_acked", info.bytes_acked),
            ("bytes_received", info.bytes_received),
            ("segs_out", info.segs_out.into()),
            ("segs_in", info.segs_in.into()),
            ("data_segs_out", info.data_segs_out.into()),
            ("data_segs_in", info.data_segs_in.into()),
        ],
    );
    if let Some(congestion) = &socket.congestion_info {
        write_congestion(out, congestion, is_numeric)?;
    }
    // ss takes Vegas' round trip where it has one.
    let rtt = match socket.congestion_info.as_deref() {
        Some(Congestion::Vegas {
            enabled: true,
            rtt: rtt @ 1..0x7fff_ffff,
            ..
        }) => *rtt,
        _ => info.rtt,
    };
    write_rates(out, info, rtt, is_numeric)?;
    // Of a listener, what waits to be accepted.
    push_numbers(out, [("unacked", info.unacked.into())]);
    if is_listener {
        return Ok(());
    }
    if info.retrans != 0 || info.total_retrans != 0 {
        write!(out, " retrans:{}/{}", info.retrans, info.total_retrans)?;
    }
    push_numbers(
        out,
        [
            ("lost", info.lost.into()),
            ("sacked", info.sacked.into()),
            ("dsack_dups", info.dsack_dups.into()),
        ],
    );
    // What a connection begins with.
    if info.reordering != 3 {
        write!(out, " reordering:{}", info.reordering)?;
    }
    push_numbers(out, [("reord_seen", info.reord_seen.into())]);
    push_time(out, "rcv_rtt", info.rcv_rtt.into());
    push_numbers(
        out,
        [
            ("rcv_space", info.rcv_space.into()),
            ("rcv_ssthresh", info.rcv_ssthresh.into()),
            ("notsent", info.notsent_bytes.into()),
        ],
    );
    if info.min_rtt != u32::MAX {
        push_time(out, "minrtt", info.min_rtt.into());
    }
    push_numbers(
        out,
        [
            ("rcv_ooopack", info.rcv_ooopack.into()),
            ("snd_wnd", info.snd_wnd.into()),
            ("rcv_wnd", info.rcv_wnd.into()),
            ("rehash", info.rehash.into()),
        ],
    );
    Ok(())
}

fn write_congestion(out: &mut Text, info: &Congestion, is_numeric: bool) -> fmt::Result {
    match info {
        Congestion::Bbr {
            bw,
            min_rtt,
            pacing_gain,
            cwnd_gain,
        } => {
            out.push(b" bbr:(bw:");
            write_rate(out, *bw as f64 * 8.0, is_numeric)?;
            out.push(b"bps,mrtt:");
            push_milliseconds(out, (*min_rtt).into());
            for (name, gain) in [("pacing_gain", *pacing_gain), ("cwnd_gain", *cwnd_gain)] {
                if gain != 0 {
                    write!(out, ",{name}:{}", six_digits(f64::from(gain) / 256.0))?;
                }
            }
            out.push(b")");
        }
        Congestion::Dctcp {
            ce_state,
            alpha,
            ab_ecn,
            ab_tot,
        } => write!(
            out,
            " dctcp:(ce_state:{ce_state},alpha:{alpha},ab_ecn:{ab_ecn},ab_tot:{ab_tot})"
        )?,
        Congestion::DctcpFallback => out.push(b" dctcp:fallback_mode"),
        Congestion::Vegas { .. } => {}
    }
    Ok(())
}

/// `%g` of a number that needs no exponent.
fn six_digits(number: f64) -> String {
    let decimals = (5.0 - number.log10().floor()).clamp(0.0, 9.0) as usize;
    let text = format!("{number:.decimals$}");
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn write_rates(out: &mut Text, info: &Info, rtt: u32, is_numeric: bool) -> fmt::Result {
    if rtt != 0 && info.snd_mss != 0 && info.snd_cwnd != 0 {
        out.push(b" send ");
        let bits = f64::from(info.snd_cwnd) * f64::from(info.snd_mss) * 8_000_000.0;
        write_rate(out, bits / f64::from(rtt), is_numeric)?;
        out.push(b"bps");
    }
    push_numbers(
        out,
        [
            ("lastsnd", info.last_data_sent_ms),
            ("lastrcv", info.last_data_recv_ms),
            ("lastack", info.last_ack_recv_ms),
        ],
    );
    if let Some(rate @ 1..) = info.pacing_rate {
        out.push(b" pacing_rate ");
        write_rate(out, rate as f64 * 8.0, is_numeric)?;
        out.push(b"bps");
        if let Some(most @ 1..) = info.max_pacing_rate {
            out.push(b"/");
            write_rate(out, most as f64 * 8.0, is_numeric)?;
            out.push(b"bps");
        }
    }
    if info.delivery_rate != 0 {
        out.push(b" delivery_rate ");
        write_rate(out, info.delivery_rate as f64 * 8.0, is_numeric)?;
        out.push(b"bps");
    }
    push_numbers(
        out,
        [
            ("delivered", info.delivered.into()),
            ("delivered_ce", info.delivered_ce.into()),
        ],
    );
    if info.app_limited {
        out.push(b" app_limited");
    }
    if info.busy_time != 0 {
        write!(out, " busy:{}ms", info.busy_time / 1000)?;
        for (name, time) in [
            ("rwnd_limited", info.rwnd_limited),
            ("sndbuf_limited", info.sndbuf_limited),
        ] {
            if time != 0 {
                let share = 100.0 * time as f64 / info.busy_time as f64;
                write!(out, " {name}:{}ms({share:.1}%)", time / 1000)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use sockets::inet::Ends;

    use super::key_of;

    #[test]
    fn each_part_orders_what_is_before_it_being_the_same() {
        let of =
            |text: &str, (local, local_port): (&str, u16), (remote, remote_port): (&str, u16)| {
                let address = |text: &str| text.parse::<IpAddr>().expect(text);
                let ends = Ends {
                    local: address(local),
                    local_port,
                    remote: address(remote),
                    remote_port,
                    v6only: false,
                };
                let mut parts = text.split(' ').map(|part| part.parse().expect(text));
                let (netns, connected, socket) = (parts.next(), parts.next(), parts.next());
                let [netns, connected, socket]: [u64; 3] =
                    [netns, connected, socket].map(|part| part.unwrap_or(0));
                key_of(netns, connected == 0, &ends, socket)
            };
        // In order: each differs from the one before it in the least that counts there.
        let sorted = [
            of(
                "0 1 9",
                ("255.255.255.255", 65535),
                ("255.255.255.255", 65535),
            ),
            of("4026531840 0 9", ("255.0.0.1", 9), ("9.9.9.9", 9)),
            of("4026531840 0 9", ("::", 1), ("::", 0)),
            of("4026531840 0 9", ("ffff::1", 9), ("::9", 9)),
            of("4026531840 1 9", ("1.0.0.0", 9), ("9.9.9.9", 9)),
            of("4026531840 1 9", ("1.0.0.1", 7), ("9.9.9.9", 9)),
            of("4026531840 1 9", ("1.0.0.1", 8), ("9.9.9.8", 9)),
            of("4026531840 1 9", ("1.0.0.1", 8), ("9.9.9.9", 6)),
            of("4026531840 1 9", ("1.0.0.1", 8), ("9.9.9.9", 7)),
            of("4026531840 1 10", ("1.0.0.1", 8), ("9.9.9.9", 7)),
            of("4026531840 1 0", ("1.0.0.1", 8), ("9.9.9.9", 8)),
            of("4026531840 1 0", ("1.0.0.1", 65535), ("0.0.0.0", 0)),
            of("4026531840 1 9", ("::1", 9), ("ffff::9", 9)),
            of("4026531840 1 9", ("::2", 7), ("ffff::9", 9)),
            of("4026531840 1 9", ("::2", 8), ("ffff::8", 9)),
            of("4026531840 1 9", ("::2", 8), ("ffff::9", 7)),
            of("4026531840 1 9", ("::2", 8), ("ffff::9", 8)),
            of("4026531840 1 10", ("::2", 8), ("ffff::9", 8)),
            of("4026531841 0 0", ("0.0.0.0", 0), ("0.0.0.0", 0)),
        ];
        for (number, pair) in sorted.windows(2).enumerate() {
            assert!(pair[0] < pair[1], "{number}");
        }
    }
}

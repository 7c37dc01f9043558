//! A socket as a line of text, with what `ss` would show of it.

use std::cell::RefCell;
use std::fmt::{self, Write};
use std::net::IpAddr;

use sockets::sock::Base;
use sockets::tcp::{Congestion, Form, Info, Tcp, Which};
use sockets::text::{push_milliseconds, push_number, push_timer, write_holders, write_rate};

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

/// What IPv4 addresses can need. IPv6 ones are as wide as they have to be.
pub const IPV4_WIDTH: u8 = 21;

/// A socket's text, made when it is read: how wide the columns of addresses are is known when all are. No column begins further on than a
/// byte can say.
pub struct Line {
    text: Box<str>,
    /// Where its own end begins in the text, then the peer's, then the rest.
    places: [u8; 3],
    /// Columns of addresses must be as wide as this.
    pub width: u8,
}

thread_local! {
    /// Where a thread writes a line, of which it then keeps as much as there is.
    static SCRATCH: RefCell<String> = const { RefCell::new(String::new()) };
}

impl Line {
    /// A socket's line, and where more was asked for a second one.
    pub fn of(socket: &Tcp, shown: Shown) -> Self {
        let mut places = [0; 3];
        let text = SCRATCH.with_borrow_mut(|out| {
            out.clear();
            // Writing to a string doesn't fail.
            let _ = write_socket(out, socket, shown, &mut places);
            out.as_str().into()
        });
        let [local, remote, rest] = places;
        let width = if socket.ends.local.is_ipv6() {
            (remote - local).max(rest - remote)
        } else {
            IPV4_WIDTH
        };
        Line {
            text,
            places,
            width,
        }
    }

    /// Adds it with columns of this width.
    pub fn push(&self, out: &mut String, width: usize) {
        let [local, remote, rest] = self.places.map(usize::from);
        out.push_str(&self.text[..local]);
        for end in [&self.text[local..remote], &self.text[remote..rest]] {
            let blanks = (width + 1).saturating_sub(end.len());
            out.push_str(&BLANKS[..blanks.clamp(1, BLANKS.len())]);
            out.push_str(end);
        }
        out.push_str(&self.text[rest..]);
    }
}

/// Whether the kernel has network namespaces: since 2.6.24.
const HAS_NAMESPACES: bool = cfg!(kernel_has = "net.dev_base_head");

/// The heading of a network namespace.
pub fn write_header(out: &mut String, netns: Option<u64>, width: usize) {
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
}

/// A socket's two ends, the first with the interface that it is bound to.
fn ends(socket: &Tcp) -> [(IpAddr, u16, Option<&str>); 2] {
    let ends = &socket.ends;
    [
        (ends.local, ends.local_port, socket.base.device.as_deref()),
        (ends.remote, ends.remote_port, None),
    ]
}

fn write_end(
    out: &mut String,
    socket: &Tcp,
    address: IpAddr,
    port: u16,
    device: Option<&str>,
) -> fmt::Result {
    match address {
        IpAddr::V4(address) => {
            for (number, octet) in address.octets().into_iter().enumerate() {
                if number > 0 {
                    out.push('.');
                }
                push_number(out, octet.into());
            }
        }
        IpAddr::V6(address) if address.is_unspecified() && !socket.ends.v6only => out.push('*'),
        IpAddr::V6(address) => write!(out, "[{address}]")?,
    }
    if let Some(device) = device {
        write!(out, "%{device}")?;
    }
    if port == 0 {
        out.push_str(":*");
        return Ok(());
    }
    out.push(':');
    push_number(out, port.into());
    Ok(())
}

/// Writes a socket, with nothing before its ends, whose places in the text it says.
fn write_socket(out: &mut String, socket: &Tcp, shown: Shown, places: &mut [u8; 3]) -> fmt::Result {
    let base = &socket.base;
    push_column(out, base.state, 10);
    push_queue(out, socket.rx_queue);
    push_queue(out, socket.tx_queue);
    for (number, (address, port, device)) in ends(socket).into_iter().enumerate() {
        places[number] = out.len() as u8;
        write_end(out, socket, address, port, device)?;
    }
    places[2] = out.len() as u8;
    if shown.processes {
        write_holders(out, &base.holders)?;
        if let Some(listener) = socket.waits_at {
            write!(out, " waits-at:{listener:x}")?;
        }
    }
    if shown.options && socket.timer.which != Which::Off {
        out.push_str(" timer:(");
        out.push_str(socket.timer.which.name());
        out.push(',');
        push_timer(out, socket.timer.expires_ms);
        out.push(',');
        push_number(out, socket.timer.retransmits.into());
        out.push(')');
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
            push_number(out, number.into());
        }
        out.push(')');
    }
    out.push('\n');
    if shown.info
        && let Some(info) = &socket.info
    {
        out.push_str("        ");
        write_info(out, socket, info, shown.numeric)?;
        out.push('\n');
    }
    Ok(())
}

const BLANKS: &str = "                                                                ";

/// A text, and blanks up to the next column.
fn push_column(out: &mut String, text: &str, width: usize) {
    out.push_str(text);
    out.push_str(&BLANKS[..width.saturating_sub(text.len())]);
}

/// A number to the right of a column of 7, behind a blank.
fn push_queue(out: &mut String, number: u32) {
    let digits = number
        .checked_ilog10()
        .map_or(1, |digits| digits as usize + 1);
    out.push_str(&BLANKS[..8_usize.saturating_sub(digits).max(1)]);
    push_number(out, number.into());
}

fn write_extended(out: &mut String, socket: &Tcp, base: &Base) -> fmt::Result {
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
fn push_numbers<const N: usize>(out: &mut String, numbers: [(&str, u64); N]) {
    for (name, number) in numbers {
        if number != 0 {
            push_named(out, name, number);
        }
    }
}

/// ` name:number`
fn push_named(out: &mut String, name: &str, number: u64) {
    out.push(' ');
    out.push_str(name);
    out.push(':');
    push_number(out, number);
}

/// Microseconds as milliseconds, unless there are none.
fn push_time(out: &mut String, name: &str, microseconds: u64) {
    if microseconds != 0 {
        out.push(' ');
        out.push_str(name);
        out.push(':');
        push_milliseconds(out, microseconds);
    }
}

/// `tcp_stats_print` of misc/ss.c.
fn write_info(out: &mut String, socket: &Tcp, info: &Info, is_numeric: bool) -> fmt::Result {
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
            out.push(' ');
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
            out.push('/');
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

fn write_congestion(out: &mut String, info: &Congestion, is_numeric: bool) -> fmt::Result {
    match info {
        Congestion::Bbr {
            bw,
            min_rtt,
            pacing_gain,
            cwnd_gain,
        } => {
            out.push_str(" bbr:(bw:");
            write_rate(out, *bw as f64 * 8.0, is_numeric)?;
            out.push_str("bps,mrtt:");
            push_milliseconds(out, (*min_rtt).into());
            for (name, gain) in [("pacing_gain", *pacing_gain), ("cwnd_gain", *cwnd_gain)] {
                if gain != 0 {
                    write!(out, ",{name}:{}", six_digits(f64::from(gain) / 256.0))?;
                }
            }
            out.push(')');
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
        Congestion::DctcpFallback => out.push_str(" dctcp:fallback_mode"),
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

fn write_rates(out: &mut String, info: &Info, rtt: u32, is_numeric: bool) -> fmt::Result {
    if rtt != 0 && info.snd_mss != 0 && info.snd_cwnd != 0 {
        out.push_str(" send ");
        let bits = f64::from(info.snd_cwnd) * f64::from(info.snd_mss) * 8_000_000.0;
        write_rate(out, bits / f64::from(rtt), is_numeric)?;
        out.push_str("bps");
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
        out.push_str(" pacing_rate ");
        write_rate(out, rate as f64 * 8.0, is_numeric)?;
        out.push_str("bps");
        if let Some(most @ 1..) = info.max_pacing_rate {
            out.push('/');
            write_rate(out, most as f64 * 8.0, is_numeric)?;
            out.push_str("bps");
        }
    }
    if info.delivery_rate != 0 {
        out.push_str(" delivery_rate ");
        write_rate(out, info.delivery_rate as f64 * 8.0, is_numeric)?;
        out.push_str("bps");
    }
    push_numbers(
        out,
        [
            ("delivered", info.delivered.into()),
            ("delivered_ce", info.delivered_ce.into()),
        ],
    );
    if info.app_limited {
        out.push_str(" app_limited");
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

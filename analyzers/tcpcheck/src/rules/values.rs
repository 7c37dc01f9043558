//! Members of a socket that have a value that none has.

use kernel::sock;
use kstruct::View as _;
use sockets::tcp::{Form, Tcp};

use super::{Look, is_locked};
use crate::said::{Number as _, Said, say};

/// `tcp_init_sock`, `tcp_disconnect` and `tcp_create_openreq_child` see to it that each socket has these; later `tcp_snd_cwnd_set` warns of a
/// window that isn't, `tcp_bound_rto` sees to the timeout, and `tcp_mtu_to_mss` to the segment size.
pub fn value(look: Look<'_, '_>, socket: &Tcp) -> Option<Said> {
    /// `SHUTDOWN_MASK`
    const SHUTDOWN: u64 = 3;
    if socket.form != Form::Full {
        return None;
    }
    let info = socket.info.as_deref()?;
    let least = [
        (
            "congestion window (snd_cwnd)",
            info.snd_cwnd.cast_signed().number(),
        ),
        ("retransmission timeout (icsk_rto)", info.rto.number()),
        // A listener's isn't read.
        (
            "segment size (mss_cache)",
            socket
                .listener
                .as_ref()
                .map_or(info.snd_mss.number(), |_| 1),
        ),
    ];
    let none = least.iter().find(|(_, value)| *value <= 0);
    let shutdown =
        sock::at(look.reader.k, socket.base.address).map_or(0, |sk| u64::from(sk.sk_shutdown()));
    let said = match none {
        Some((what, value)) => say!(
            "its {what} is {value}, and that of each socket is more than 0",
            value = *value,
        ),
        None if shutdown & !SHUTDOWN != 0 => say!(
            "what it has shut down (sk_shutdown) is {shutdown}, and there is nothing besides receiving (1) and sending (2)",
            shutdown = shutdown,
        ),
        None => return None,
    };
    (!is_locked(look, socket)).then_some(said)
}

/// `tcp_verify_left_out` (include/net/tcp.h) warns of the former.
#[cfg(kernel_has = "inet_hashinfo.lhash2")]
pub fn segment_count(look: Look<'_, '_>, socket: &Tcp) -> Option<Said> {
    use crate::said::many;

    let info = super::connection(socket)?;
    // One that was reset has nothing on its way any more, and keeps the other counts (`tcp_write_queue_purge`).
    if socket.base.state == "UNCONN" {
        return None;
    }
    let sent = info.unacked;
    let said = if u64::from(info.sacked) + u64::from(info.lost) > u64::from(sent) {
        say!(
            "on their way: {segments} (packets_out); of these acknowledged selectively: {sacked} (sacked_out), and lost: {lost} (lost_out)",
            segments = many(sent, "segment"),
            sacked = info.sacked,
            lost = info.lost,
        )
    } else if info.retrans > sent {
        say!(
            "on their way: {segments} (packets_out); of these sent again: {retransmits} (retrans_out)",
            segments = many(sent, "segment"),
            retransmits = info.retrans,
        )
    } else {
        return None;
    };
    (!is_locked(look, socket)).then_some(said)
}

/// `tcp_init_sock`, `tcp_v4_init_sock` and `tcp_v6_init_sock` give them to each socket, and what takes their place later (MPTCP, SMC, another
/// congestion control) is never nothing.
#[cfg(kernel_has = "inet_connection_sock.icsk_af_ops")]
pub fn functions(look: Look<'_, '_>, socket: &Tcp) -> Option<Said> {
    if socket.form != Form::Full {
        return None;
    }
    let connection = kernel::inet_connection_sock::at(look.reader.k, socket.base.address).ok()?;
    // One that can't be read was told of when the socket was.
    if connection.icsk_ca_ops().is_null() {
        return (!is_locked(look, socket))
            .then(|| say!("it has no congestion control (icsk_ca_ops is null)"));
    }
    let fault = connection.icsk_af_ops().deref().err()?;
    let said = say!("the functions of its version of IP (icsk_af_ops) can't be read: {fault}");
    Some(Said {
        unread: linux::app::is_missing(fault.kind).then_some(fault),
        ..said
    })
}

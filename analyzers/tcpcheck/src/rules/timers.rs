//! What is sent again, what isn't, and the timers that see to it.

use sockets::tcp::{Form, Tcp, Which};

use super::{Look, connection, is_locked};
use crate::said::{Said, due, many, say};

/// What a timer is for, in words: the report's own (`Which::name`) are those of ss.
fn words(socket: &Tcp) -> &'static str {
    match (socket.timer.which, socket.form) {
        (Which::Off, _) => "no timer",
        (Which::On, Form::Request) => "the timer that sends the SYN-ACK again",
        (Which::On, _) => "the retransmission timer",
        // The same timer ends a closed connection's FIN-WAIT-2.
        (Which::Keepalive, _) if socket.base.state == "FIN-WAIT-2" && socket.base.socket == 0 => {
            "the timer that ends FIN-WAIT-2"
        }
        (Which::Keepalive, _) => "the keepalive timer",
        (Which::TimeWait, _) => "the timer that ends TIME-WAIT",
        (Which::Persist, _) => "the timer that probes the closed window",
    }
}

pub fn retransmits(look: Look<'_, '_>, socket: &Tcp) -> Option<Said> {
    let (timer, limit) = (&socket.timer, look.limits.retransmits);
    if timer.which != Which::On || timer.retransmits < limit {
        return None;
    }
    let retransmits = many(timer.retransmits, "time");
    let next = due(timer.expires_ms);
    Some(if socket.form == Form::Request {
        say!(
            "the SYN was answered again {retransmits}, next {next_ms}",
            retransmits = retransmits,
            next_ms = next,
        )
    } else {
        say!(
            "sent again {retransmits}, not acknowledged: {bytes}, next {next_ms}",
            retransmits = retransmits,
            bytes = many(socket.tx_queue, "byte"),
            next_ms = next,
        )
    })
}

pub fn keepalive(look: Look<'_, '_>, socket: &Tcp) -> Option<Said> {
    let info = connection(socket)?;
    (socket.timer.which == Which::Keepalive && info.probes >= look.limits.probes).then(|| {
        say!(
            "not answered: {probes}; the peer was last heard {seconds} s ago",
            probes = many(info.probes, "probe"),
            seconds = info.last_ack_recv_ms / 1000,
        )
    })
}

pub fn missing(look: Look<'_, '_>, socket: &Tcp) -> Option<Said> {
    let info = connection(socket)?;
    let is_pending = socket.timer.which == Which::On;
    // What is closed sends nothing again.
    let is_over = socket.base.state == "UNCONN";
    (info.unacked > 0 && !is_pending && !is_over && !is_locked(look, socket)).then(|| {
        let timer = words(socket);
        say!(
            "not acknowledged: {segments}; pending is {timer}, and not the one that would send again",
            segments = many(info.unacked, "segment"),
        )
    })
}

#[cfg(kernel_has = "sock.sk_tsq_flags")]
pub fn stuck(look: Look<'_, '_>, socket: &Tcp) -> Option<Said> {
    let info = connection(socket)?;
    let waits = info.last_data_sent_ms / 1000;
    let is_sent_later = info.notsent_bytes == 0
        || info.unacked > 0
        || matches!(socket.timer.which, Which::On | Which::Persist)
        || waits < look.limits.idle
        // Packets that the layers below still have lead back to the socket when they are gone.
        || socket.base.memory.is_none_or(|memory| memory.wmem_alloc != 0);
    let can_send = !matches!(socket.base.state, "UNCONN" | "SYN-SENT" | "SYN-RECV");
    if is_sent_later || !can_send || is_at_work(look, socket) {
        return None;
    }
    Some(say!(
        "not sent: {bytes}, with nothing on its way and no timer, the last data {seconds} s ago",
        bytes = many(info.notsent_bytes, "byte"),
        seconds = waits,
    ))
}

/// Whether something else than a timer of its own will go on with it: its owner, who has it locked, wants it corked, or repairs it; work
/// that was put off until it is unlocked (`enum tsq_flags`, include/linux/tcp.h); the timer that paces it.
#[cfg(kernel_has = "sock.sk_tsq_flags")]
fn is_at_work(look: Look<'_, '_>, socket: &Tcp) -> bool {
    use kernel::{sock, tcp_sock};
    use kstruct::View as _;

    /// `TSQF_THROTTLED`: packets below will lead back; if there are none, nothing will.
    const THROTTLED: u64 = 1;
    /// `TCP_NAGLE_CORK` (include/net/tcp.h)
    const CORK: u64 = 2;
    let (k, address) = (look.reader.k, socket.base.address);
    let (Ok(sk), Ok(tcp)) = (sock::at(k, address), tcp_sock::at(k, address)) else {
        // That was said.
        return true;
    };
    #[cfg(kernel_has = "tcp_sock.pacing_timer")]
    let is_paced = u64::from(tcp.pacing_timer().state()) != 0;
    #[cfg(not(kernel_has = "tcp_sock.pacing_timer"))]
    let is_paced = false;
    is_locked(look, socket)
        || u64::from(sk.sk_tsq_flags()) & !THROTTLED != 0
        || u64::from(tcp.nonagle()) & CORK != 0
        || u64::from(tcp.repair()) != 0
        || is_paced
}

pub fn late(look: Look<'_, '_>, socket: &Tcp) -> Option<Said> {
    let timer = &socket.timer;
    let late = timer.expires_ms.saturating_neg();
    // What its owner has locked is dealt with when that is over.
    let is_late = timer.which != Which::Off
        && late > look.limits.late
        && !is_locked(look, socket)
        && late > look.limits.late.saturating_add(wheel::step(look, socket))
        && reported_dead(look, socket).is_none();
    is_late.then(|| {
        let which = words(socket);
        say!(
            "{which} should have expired {late_ms} ms before the dump",
            late_ms = late,
        )
    })
}

/// Each timer of a whole socket has a function from `tcp_init_xmit_timers` on. Those that the socket waits for no more may be pending, and do
/// nothing when they expire.
#[cfg(all(
    kernel_has = "timer_base",
    kernel_has = "inet_timewait_sock.tw_timer",
    kernel_has = "request_sock.rsk_timer"
))]
pub fn dead(look: Look<'_, '_>, socket: &Tcp) -> Option<Said> {
    reported_dead(look, socket).or_else(|| wheel::other_dead(look, socket))
}

/// One that has just expired is taken off its list, and then runs.
fn may_run(look: Look<'_, '_>, expires_ms: i64) -> bool {
    (0..=look.limits.late).contains(&expires_ms.saturating_neg())
}

/// The same of the timer that the socket waits for.
fn reported_dead(look: Look<'_, '_>, socket: &Tcp) -> Option<Said> {
    let timer = &socket.timer;
    if timer.which == Which::Off || may_run(look, timer.expires_ms) {
        return None;
    }
    let (link, leads) = wheel::dead_end(look, socket)?;
    if is_locked(look, socket) {
        return None;
    }
    let which = words(socket);
    let next = due(timer.expires_ms);
    Some(if leads == 0 {
        say!(
            "{which}, {next_ms}, is on no list of timers",
            next_ms = next
        )
    } else {
        say!(
            "{which}, {next_ms}, has a link {link} to {leads:#x}, from where nothing leads back to it",
            next_ms = next,
        )
    })
}

pub fn wrong(look: Look<'_, '_>, socket: &Tcp) -> Option<Said> {
    /// `TCP_RTO_MAX` (include/net/tcp.h), and a second for steps of the wheel and of the clock.
    const LONGEST: i64 = 121_000;
    if let Some(kind) = wheel::unknown_kind(look, socket) {
        return Some(say!(
            "it waits for a timer of kind {kind} (icsk_pending), and there is none such",
            kind = kind,
        ));
    }
    let (which, time) = (words(socket), socket.timer.expires_ms);
    // What else there is can be set by the user, as a number of jiffies.
    let most = match socket.timer.which {
        Which::Off => return None,
        Which::On | Which::Persist => LONGEST,
        Which::Keepalive | Which::TimeWait => {
            let jiffies = u64::from(i32::MAX.unsigned_abs());
            i64::try_from(look.reader.milliseconds(jiffies)).unwrap_or(i64::MAX)
        }
    };
    if time > most && !is_locked(look, socket) {
        return Some(say!(
            "{which} is {next_ms}, and no longer time than {most_ms} ms can be set",
            next_ms = due(time),
            most_ms = most,
        ));
    }
    let other = wheel::other_time(look, socket)?;
    (!is_locked(look, socket)).then(|| {
        say!(
            "{which} is {next_ms} by the socket (icsk_timeout), and {timer_ms} by the timer itself",
            next_ms = due(time),
            timer_ms = due(other),
        )
    })
}

/// Where a socket's timer is.
#[cfg(all(
    kernel_has = "timer_base",
    kernel_has = "inet_timewait_sock.tw_timer",
    kernel_has = "request_sock.rsk_timer"
))]
mod wheel {
    use kernel::{inet_connection_sock, inet_timewait_sock, request_sock, timer_list};
    use kstruct::{Fault, FaultKind, View as _};
    use sockets::tcp::{Form, Tcp, Which};

    use super::{Look, is_locked, may_run};
    use crate::said::{Said, due, say};

    fn of<'m>(look: Look<'_, 'm>, socket: &Tcp) -> Result<timer_list<'m>, Fault> {
        let (k, address) = (look.reader.k, socket.base.address);
        Ok(match (socket.form, socket.timer.which) {
            (Form::TimeWait, _) => inet_timewait_sock::at(k, address)?.tw_timer(),
            (Form::Request, _) => request_sock::at(k, address)?.rsk_timer(),
            #[cfg(not(kernel_has = "inet_connection_sock.icsk_keepalive_timer"))]
            (Form::Full, Which::Keepalive) => kernel::sock::at(k, address)?.sk_timer(),
            #[cfg(kernel_has = "inet_connection_sock.icsk_keepalive_timer")]
            (Form::Full, Which::Keepalive) => {
                inet_connection_sock::at(k, address)?.icsk_keepalive_timer()
            }
            #[cfg(kernel_has = "inet_connection_sock.icsk_retransmit_timer")]
            (Form::Full, _) => inet_connection_sock::at(k, address)?.icsk_retransmit_timer(),
            #[cfg(not(kernel_has = "inet_connection_sock.icsk_retransmit_timer"))]
            (Form::Full, _) => kernel::sock::at(k, address)?.tcp_retransmit_timer(),
        })
    }

    /// A timer's link that doesn't fit what is there, and where it leads: its link back (`pprev`), which is null if it isn't pending
    /// (`timer_pending`), or that to the next one. A list that a CPU has taken to run what is on it has a head elsewhere, and is linked as all
    /// are. What can't be read was told of when the socket was.
    pub fn dead_end(look: Look<'_, '_>, socket: &Tcp) -> Option<(&'static str, u64)> {
        end_of(look, of(look, socket).ok()?)
    }

    fn end_of(look: Look<'_, '_>, timer: timer_list<'_>) -> Option<(&'static str, u64)> {
        let entry = timer.entry();
        // A node begins with its link to the next one, and its link back comes after that; that leads to the former.
        let link = u64::from(kernel::KERNEL.pointer_size);
        let (back, next) = (entry.pprev().addr(), entry.next().addr());
        if is_dead(look, back, entry.addr()) {
            return Some(("pprev", back));
        }
        let is_wild = next != 0
            && is_dead(look, next.wrapping_add(link), entry.addr())
            && (next == entry.addr() || !is_timer(look, next));
        is_wild.then_some(("next", next))
    }

    /// What is wrong about a timer of a whole socket that it may not wait for.
    pub fn other_dead(look: Look<'_, '_>, socket: &Tcp) -> Option<Said> {
        if socket.form != Form::Full {
            return None;
        }
        let connection = inet_connection_sock::at(look.reader.k, socket.base.address).ok()?;
        #[cfg(kernel_has = "inet_connection_sock.icsk_keepalive_timer")]
        let keepalive = connection.icsk_keepalive_timer();
        #[cfg(not(kernel_has = "inet_connection_sock.icsk_keepalive_timer"))]
        let keepalive = connection.icsk_inet().sk().sk_timer();
        #[cfg(kernel_has = "inet_connection_sock.icsk_retransmit_timer")]
        let retransmit = connection.icsk_retransmit_timer();
        #[cfg(not(kernel_has = "inet_connection_sock.icsk_retransmit_timer"))]
        let retransmit = connection.icsk_inet().sk().tcp_retransmit_timer();
        let delack = connection.icsk_delack_timer();
        // One that it waits for was looked at.
        let seen = match socket.timer.which {
            Which::Off => 0,
            _ => of(look, socket).map_or(0, timer_list::addr),
        };
        [
            ("the retransmission timer", retransmit),
            ("the timer of delayed ACKs", delack),
            ("the keepalive timer", keepalive),
        ]
        .into_iter()
        .find_map(|(which, timer)| {
            if timer.function().is_null() {
                return Some(say!("{which} has no function"));
            }
            // `timer_pending`
            if timer.entry().pprev().is_null() || timer.addr() == seen {
                return None;
            }
            let next = look.reader.until(timer.expires());
            let milliseconds = look.reader.milliseconds(next.unsigned_abs());
            let milliseconds = i64::try_from(milliseconds).unwrap_or(i64::MAX);
            let milliseconds = milliseconds.saturating_mul(next.signum());
            if may_run(look, milliseconds) {
                return None;
            }
            let (link, leads) = end_of(look, timer)?;
            (!is_locked(look, socket)).then(|| {
                say!(
                    "{which}, {next_ms}, has a link {link} to {leads:#x}, from where nothing leads back to it",
                    next_ms = due(milliseconds),
                )
            })
        })
    }

    /// What a whole socket waits for (`icsk_pending`), if that is none of `ICSK_TIME_RETRANS`, `ICSK_TIME_PROBE0`, `ICSK_TIME_EARLY_RETRANS`,
    /// `ICSK_TIME_LOSS_PROBE`, `ICSK_TIME_REO_TIMEOUT` (include/net/inet_connection_sock.h) or 0. `ICSK_TIME_DACK` stands elsewhere.
    pub fn unknown_kind(look: Look<'_, '_>, socket: &Tcp) -> Option<u8> {
        if socket.form != Form::Full {
            return None;
        }
        let connection = inet_connection_sock::at(look.reader.k, socket.base.address).ok()?;
        Some(connection.icsk_pending()).filter(|kind| !matches!(kind, 0 | 1 | 3..=6))
    }

    /// Whether a timer is at a place, by the function that it calls: if it doesn't lead back, that is wrong about it.
    fn is_timer(look: Look<'_, '_>, place: u64) -> bool {
        // It begins with its node.
        timer_list::at(look.reader.k, place).is_ok_and(|timer| {
            let function = look.reader.k.function_at(timer.function().addr());
            function.is_some_and(|(_, offset)| offset == 0)
        })
    }

    /// Whether at a place is no link that leads to a node.
    fn is_dead(look: Look<'_, '_>, place: u64, node: u64) -> bool {
        match look.reader.k.word(place) {
            Ok(leads) => leads != node,
            // No memory at all; what is only missing in the dump may lead to it.
            Err(fault) => matches!(
                fault.kind,
                FaultKind::Null | FaultKind::NotMapped | FaultKind::Poison
            ),
        }
    }

    /// When a connection's timer for what it sends expires by itself, if it is set for another time than the socket has for it: both are set
    /// together (`inet_csk_reset_xmit_timer`, `tcp_write_timer_handler`).
    #[cfg(kernel_has = "inet_connection_sock.icsk_timeout")]
    pub fn other_time(look: Look<'_, '_>, socket: &Tcp) -> Option<i64> {
        if socket.form != Form::Full || !matches!(socket.timer.which, Which::On | Which::Persist) {
            return None;
        }
        let connection = inet_connection_sock::at(look.reader.k, socket.base.address).ok()?;
        let timer = of(look, socket).ok()?;
        let is_pending = !timer.entry().pprev().is_null();
        let jiffies = look.reader.until(timer.expires());
        let milliseconds = look.reader.milliseconds(jiffies.unsigned_abs());
        let milliseconds = i64::try_from(milliseconds).unwrap_or(i64::MAX);
        (is_pending && timer.expires() != connection.icsk_timeout())
            .then(|| milliseconds.saturating_mul(jiffies.signum()))
    }

    /// Since 6.19 there is one time.
    #[cfg(not(kernel_has = "inet_connection_sock.icsk_timeout"))]
    pub fn other_time(_: Look<'_, '_>, _: &Tcp) -> Option<i64> {
        None
    }

    /// By how many milliseconds a timer may be late by right. Since 4.8 the timer wheel is coarser the further away a timer is: a step of
    /// its level N is 8 to the power of N jiffies (kernel/time/timer.c, `LVL_GRAN`), and the level stands in the timer's flags
    /// (`TIMER_ARRAYSHIFT`, 64 slots each).
    pub fn step(look: Look<'_, '_>, socket: &Tcp) -> i64 {
        let level = of(look, socket).map_or(0, |timer| timer.flags()) >> 22 >> 6;
        let jiffies = 8_u64.saturating_pow(level);
        i64::try_from(look.reader.milliseconds(jiffies)).unwrap_or(i64::MAX)
    }
}

#[cfg(not(all(
    kernel_has = "timer_base",
    kernel_has = "inet_timewait_sock.tw_timer",
    kernel_has = "request_sock.rsk_timer"
)))]
mod wheel {
    use sockets::tcp::Tcp;

    use super::Look;

    pub fn dead_end(_: Look<'_, '_>, _: &Tcp) -> Option<(&'static str, u64)> {
        None
    }

    pub fn other_time(_: Look<'_, '_>, _: &Tcp) -> Option<i64> {
        None
    }

    pub fn unknown_kind(_: Look<'_, '_>, _: &Tcp) -> Option<u8> {
        None
    }

    pub fn step(_: Look<'_, '_>, _: &Tcp) -> i64 {
        0
    }
}

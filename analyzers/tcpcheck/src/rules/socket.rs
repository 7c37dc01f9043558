//! Windows, buffers, and the queues of listeners.

use sockets::tcp::{Tcp, Which};

use super::{Look, connection, is_locked};
use crate::said::{Said, many, say};

pub fn zero_window(look: Look<'_, '_>, socket: &Tcp) -> Option<Said> {
    let info = connection(socket)?;
    let waits = info.last_data_sent_ms / 1000;
    (socket.timer.which == Which::Persist && waits >= look.limits.idle).then(|| {
        say!(
            "waiting for the peer's window: {bytes}; {probes} sent, the last data {seconds} s ago",
            bytes = many(socket.tx_queue, "byte"),
            probes = many(info.probes, "probe"),
            seconds = waits,
        )
    })
}

pub fn unread(look: Look<'_, '_>, socket: &Tcp) -> Option<Said> {
    let (info, memory) = (connection(socket)?, socket.base.memory?);
    let idle = info.last_data_recv_ms / 1000;
    // Less than nothing is another rule's.
    let used = memory.rmem_alloc.cast_signed();
    // A FIN counts as a byte that was not read, and has no memory.
    let percent = u64::try_from(used).unwrap_or(0) * 100;
    let is_full =
        used > 0 && (percent >= u64::from(memory.rcvbuf) * look.limits.full || info.rcv_wnd == 0);
    (socket.rx_queue > 0 && is_full && idle >= look.limits.idle).then(|| {
        say!(
            "not read: {bytes}, with {memory} of {limit} bytes of memory; the last came {seconds} s ago",
            bytes = many(socket.rx_queue, "byte"),
            memory = used,
            limit = memory.rcvbuf,
            seconds = idle,
        )
    })
}

/// What was acknowledged is not more than what was sent, nor that than what was written (`snd_una`, `snd_nxt`, `write_seq`), and what was read
/// not more than what came (`copied_seq`, `rcv_nxt`); each counts modulo 2^32 (`before`, include/net/tcp.h).
pub fn sequence(look: Look<'_, '_>, socket: &Tcp) -> Option<Said> {
    let info = connection(socket)?;
    // Of one that was reset, the next connection's begin anew.
    if socket.base.state == "UNCONN" || is_locked(look, socket) {
        return None;
    }
    let pairs = [
        (("snd_una", info.snd_una), ("snd_nxt", info.snd_nxt)),
        (("snd_nxt", info.snd_nxt), ("write_seq", info.write_seq)),
        (("copied_seq", info.copied_seq), ("rcv_nxt", info.rcv_nxt)),
    ];
    pairs.iter().find_map(|((first, low), (second, high))| {
        let ahead = low.wrapping_sub(*high).cast_signed();
        (ahead > 0).then(|| {
            say!(
                "{first} is {low} and {second} {high}, which it can't be ahead of: {bytes}",
                low = *low,
                high = *high,
                bytes = many(ahead, "byte"),
            )
        })
    })
}

pub fn buffer(look: Look<'_, '_>, socket: &Tcp) -> Option<Said> {
    let memory = socket.base.memory?;
    let (receive, send) = (memory.rcvbuf.cast_signed(), memory.sndbuf.cast_signed());
    let (sent, queued) = (
        memory.wmem_alloc.cast_signed(),
        memory.wmem_queued.cast_signed(),
    );
    let said = if receive < 0 || send < 0 {
        say!(
            "it may have {receive} bytes of memory for receiving (sk_rcvbuf), and {send} for sending (sk_sndbuf)",
            receive = receive,
            send = send,
        )
    } else if sent < 0 {
        // `sk_alloc`, `sk_free`
        say!(
            "it has {sent} bytes of memory for what is being sent (sk_wmem_alloc, without the one that a socket has as long as it lives)",
            sent = sent,
        )
    } else if queued < 0 && !has_memory_counted(look, socket) {
        say!(
            "it has {queued} bytes of memory for what is to be sent (sk_wmem_queued)",
            queued = queued,
        )
    } else {
        backlog(look, socket)?
    };
    (!is_locked(look, socket)).then_some(said)
}

/// Whether another rule holds the memory against packets.
#[cfg(all(kernel_has = "sock.tcp_rtx_queue", kernel_has = "sk_buff.truesize"))]
fn has_memory_counted(look: Look<'_, '_>, socket: &Tcp) -> bool {
    super::packets::are_its_own(look, socket)
}

#[cfg(not(all(kernel_has = "sock.tcp_rtx_queue", kernel_has = "sk_buff.truesize")))]
fn has_memory_counted(_: Look<'_, '_>, _: &Tcp) -> bool {
    false
}

/// What comes while a process has the socket locked waits until that unlocks it (`tcp_add_backlog`, `__release_sock`): not longer.
#[cfg(all(
    kernel_has = "sock.sk_backlog.len",
    kernel_has = "sock.sk_lock.owned",
    kernel_has = "spinlock"
))]
fn backlog(look: Look<'_, '_>, socket: &Tcp) -> Option<Said> {
    use kstruct::View as _;

    let backlog = kernel::sock::at(look.reader.k, socket.base.address)
        .ok()?
        .sk_backlog();
    let (bytes, head) = (backlog.len(), backlog.head().addr());
    (bytes != 0 || head != 0).then(|| {
        say!(
            "nobody has it locked, and {bytes} wait until it is unlocked (sk_backlog.len), with the first packet at {head:#x}",
            bytes = many(bytes, "byte"),
        )
    })
}

#[cfg(not(all(
    kernel_has = "sock.sk_backlog.len",
    kernel_has = "sock.sk_lock.owned",
    kernel_has = "spinlock"
)))]
fn backlog(_: Look<'_, '_>, _: &Tcp) -> Option<Said> {
    None
}

/// What came in order and was not read is in the receive queue, a FIN as well. What waits elsewhere (`ucopy.prequeue`, `sk_backlog`) is in no
/// sequence number yet, and what goes to a reader at once was read (`tcp_copy_to_iovec`), with the socket locked.
#[cfg(not(all(kernel_has = "sock.tcp_rtx_queue", kernel_has = "sk_buff.truesize")))]
pub fn receive_data(look: Look<'_, '_>, socket: &Tcp) -> Option<Said> {
    use kstruct::View as _;

    /// `RCV_SHUTDOWN`
    const RECEIVES_NO_MORE: u8 = 1;
    let info = connection(socket)?;
    let is_open = match socket.base.state {
        "ESTAB" | "CLOSE-WAIT" => true,
        "FIN-WAIT-1" | "FIN-WAIT-2" => socket.base.shutdown & RECEIVES_NO_MORE == 0,
        _ => false,
    };
    let bytes = info.rcv_nxt.wrapping_sub(info.copied_seq).cast_signed();
    // What contradicts itself is another rule's.
    if !is_open || bytes <= 0 || is_locked(look, socket) {
        return None;
    }
    let sk = kernel::sock::at(look.reader.k, socket.base.address).ok()?;
    let queue = sk.sk_receive_queue();
    (queue.next().addr() == queue.addr()).then(|| {
        say!(
            "missing from copied_seq {low} to rcv_nxt {high}: {bytes}; the receive queue is empty",
            low = info.copied_seq,
            high = info.rcv_nxt,
            bytes = many(bytes, "byte"),
        )
    })
}

pub fn accept_queue(_: Look<'_, '_>, socket: &Tcp) -> Option<Said> {
    let listener = socket.listener.as_ref()?;
    // `sk_acceptq_is_full` (include/net/sock.h)
    (listener.backlog > listener.max_backlog).then(|| {
        say!(
            "waiting to be accepted: {connections}, with {limit} allowed; {requests} not established",
            connections = many(listener.backlog, "connection"),
            limit = listener.max_backlog,
            requests = listener.requests,
        )
    })
}

pub fn accept_count(look: Look<'_, '_>, socket: &Tcp) -> Option<Said> {
    let listener = socket.listener.as_ref()?;
    if is_locked(look, socket) || is_queue_locked(look, socket) {
        return None;
    }
    let listed = listener.accept_queue.len();
    (listener.backlog as usize != listed).then(|| {
        say!(
            "waiting by the count: {connections}; on the list: {listed}",
            connections = many(listener.backlog, "connection"),
            listed = listed,
        )
    })
}

#[cfg(kernel_has = "inet_hashinfo.lhash2")]
pub fn accept_tail(look: Look<'_, '_>, socket: &Tcp) -> Option<Said> {
    use kstruct::View as _;

    socket.listener.as_ref()?;
    let k = look.reader.k;
    let queue = kernel::inet_connection_sock::at(k, socket.base.address)
        .ok()?
        .icsk_accept_queue();
    let requests =
        kstruct::walk::chain(Ok(queue.rskq_accept_head()), kernel::request_sock::dl_next);
    let (mut last, tail) = (0, queue.rskq_accept_tail().addr());
    for request in requests {
        // That one can't be read, or that they go round in circles, was said.
        last = request.ok()?.addr();
    }
    // Of a list on which nothing is the kernel doesn't look at the last one.
    let is_wrong = last != 0 && last != tail;
    (is_wrong && !is_locked(look, socket) && !is_queue_locked(look, socket)).then(|| {
        say!(
            "the last connection on the list waits by the request at {last:#x}, and the next one is to be put behind {tail:#x} (rskq_accept_tail)"
        )
    })
}

/// Whether a connection was being put on the listener's list, or taken from it: that locks the list, and not the socket.
#[cfg(all(
    kernel_has = "request_sock_queue.rskq_lock",
    kernel_has = "spinlock",
    kernel_has = "inet_connection_sock.icsk_accept_queue"
))]
fn is_queue_locked(look: Look<'_, '_>, socket: &Tcp) -> bool {
    use kstruct::View as _;

    kernel::inet_connection_sock::at(look.reader.k, socket.base.address)
        .is_ok_and(|connection| sockets::lock::is_held(connection.icsk_accept_queue().rskq_lock()))
}

#[cfg(not(all(
    kernel_has = "request_sock_queue.rskq_lock",
    kernel_has = "spinlock",
    kernel_has = "inet_connection_sock.icsk_accept_queue"
)))]
fn is_queue_locked(_: Look<'_, '_>, _: &Tcp) -> bool {
    false
}

#[cfg(kernel_has = "inet_hashinfo.lhash2")]
pub fn syn_queue(_: Look<'_, '_>, socket: &Tcp) -> Option<Said> {
    let listener = socket.listener.as_ref()?;
    let requests = u32::try_from(listener.requests).ok()?;
    // Where connections wait, that is why requests do, and another rule's. A backlog of 0 allows none, and that is meant so.
    let is_slow = listener.backlog > listener.max_backlog;
    // `inet_csk_reqsk_queue_is_full` (include/net/inet_connection_sock.h)
    (requests > 0 && requests >= listener.max_backlog && !is_slow).then(|| {
        say!(
            "not established: {requests}, with {limit} allowed; {young} of them answered once",
            requests = many(requests, "request"),
            limit = listener.max_backlog,
            young = listener.young,
        )
    })
}

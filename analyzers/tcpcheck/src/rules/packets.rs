//! The packets of a socket's queues: how many there are, and their memory.

use kernel::{rb_root, sk_buff, sk_buff_head, sock, tcp_skb_cb, tcp_sock};
use kstruct::{Fault, FaultKind, View as _, offset_of};
use linux::app::is_missing;
use sockets::tcp::Tcp;

use super::{Look, connection, is_locked};
use crate::said::{Said, many, say};

/// The memory of the packets of a tree. A damaged one is told of by its fault.
fn of_tree(root: rb_root<'_>) -> Result<u64, Fault> {
    let mut sum = 0_u64;
    // To make ready for a walk takes longer than most trees are.
    if root.rb_node().is_null() {
        return Ok(sum);
    }
    for skb in root.entries(sk_buff::rbnode) {
        sum += u64::from(skb?.truesize());
    }
    Ok(sum)
}

/// What is on a queue.
#[derive(Default)]
struct Queue {
    packets: u32,
    memory: u64,
}

/// Goes round a queue: a circle, with the head between the last and the first. One that doesn't come back to the head, or whose links back
/// are others, is a fault.
fn of_queue(head: sk_buff_head<'_>) -> Result<Queue, Fault> {
    of_some(head, |_| true)
}

/// The same, with the memory of some of its packets.
fn of_some(head: sk_buff_head<'_>, counts: impl Fn(sk_buff<'_>) -> bool) -> Result<Queue, Fault> {
    let mut queue = Queue::default();
    // Mostly they are empty.
    if head.next().addr() == head.addr() && head.prev().addr() == head.addr() {
        return Ok(queue);
    }
    let mut last = head.addr();
    let damaged = |address, kind| Err(Fault { address, kind });
    // A packet's first two members are those of the head.
    for skb in kstruct::walk::chain(Ok(head.next()), sk_buff::next) {
        let skb = skb?;
        if skb.prev().addr() != last {
            return damaged(skb.addr(), FaultKind::Inconsistent);
        }
        if skb.addr() == head.addr() {
            return Ok(queue);
        }
        last = skb.addr();
        queue.packets = queue.packets.saturating_add(1);
        if counts(skb) {
            queue.memory += u64::from(skb.truesize());
        }
    }
    damaged(last, FaultKind::Null)
}

/// Whether its packets are all its own: an upper layer (TLS, MPTCP) keeps some itself, and so does BPF's map of sockets.
pub(super) fn are_its_own(look: Look<'_, '_>, socket: &Tcp) -> bool {
    /// `SK_USER_DATA_NOCOPY`, which a `struct sk_psock` has, and others (include/net/sock.h, include/linux/skmsg.h).
    const NOCOPY: u64 = 1;
    /// `SK_USER_DATA_NOCOPY`, `_BPF` and `_PSOCK`: where they are all that there is, there is nothing that it could be of.
    const FLAGS: u64 = 7;
    connection(socket).is_some()
        && socket.ulp.is_empty()
        && !is_locked(look, socket)
        && sock::at(look.reader.k, socket.base.address).is_ok_and(|sk| {
            let data = sk.sk_user_data().addr();
            data & NOCOPY == 0 || data & !FLAGS == 0
        })
}

pub fn queue_count(look: Look<'_, '_>, socket: &Tcp) -> Option<Said> {
    if !are_its_own(look, socket) {
        return None;
    }
    let sk = sock::at(look.reader.k, socket.base.address).ok()?;
    let queues = [
        ("receive", sk.sk_receive_queue()),
        ("send", sk.sk_write_queue()),
        ("error", sk.sk_error_queue()),
    ];
    for (name, head) in queues {
        // The socket's lock is not that of what is done with errors.
        if sockets::lock::is_held(head.lock()) {
            continue;
        }
        match of_queue(head) {
            Ok(queue) if queue.packets == head.qlen() => {}
            Ok(queue) => {
                return Some(say!(
                    "on the {name} queue: {packets}; by its count: {count}",
                    packets = many(queue.packets, "packet"),
                    count = head.qlen(),
                ));
            }
            Err(fault) => {
                let said = say!("the {name} queue can't be followed round to its head: {fault}");
                return Some(because(said, fault));
            }
        }
    }
    let segments = connection(socket)?.unacked;
    let is_empty = sk.tcp_rtx_queue().rb_node().is_null();
    ((segments == 0) != is_empty).then(|| {
        let found = if is_empty { "empty" } else { "not empty" };
        say!(
            "on their way by the count: {segments}; the queue of what may be sent again is {found}",
            segments = many(segments, "segment"),
        )
    })
}

pub fn send_memory(look: Look<'_, '_>, socket: &Tcp) -> Option<Said> {
    if !are_its_own(look, socket) {
        return None;
    }
    let sk = sock::at(look.reader.k, socket.base.address).ok()?;
    // One that can't be followed is another rule's.
    let queue = of_queue(sk.sk_write_queue()).ok()?;
    let sum = of_tree(sk.tcp_rtx_queue()).map(|tree| tree + queue.memory);
    differ(socket.base.memory?.wmem_queued, sum, "to be sent")
}

pub fn receive_memory(look: Look<'_, '_>, socket: &Tcp) -> Option<Said> {
    if !are_its_own(look, socket) {
        return None;
    }
    let tcp = tcp_sock::at(look.reader.k, socket.base.address).ok()?;
    let sk = sock::at(look.reader.k, socket.base.address).ok()?;
    let queue = of_queue(sk.sk_receive_queue()).ok()?;
    // Timestamps and errors count as received (`sock_queue_err_skb`); that a buffer was sent without a copy (`MSG_ZEROCOPY`) doesn't.
    let errors = of_some(sk.sk_error_queue(), |skb| {
        let name = look.reader.k.function_at(skb.destructor().addr());
        name == Some(("sock_rmem_free", 0))
    });
    let memory = queue.memory + errors.ok()?.memory;
    let sum = of_tree(tcp.out_of_order_queue()).map(|tree| tree + memory);
    differ(socket.base.memory?.rmem_alloc, sum, "that were received")
}

/// The sequence numbers of packets that follow each other.
#[derive(Clone, Copy)]
struct Range {
    /// The first one's first.
    start: u32,
    /// The one behind the last one's.
    end: u32,
    /// Where a packet doesn't go on where the one before it ends: that end, and the packet's first.
    gap: Option<(u32, u32)>,
}

impl Range {
    /// Of packets; nothing, where there are none.
    fn of<'m>(
        packets: impl Iterator<Item = Result<sk_buff<'m>, Fault>>,
    ) -> Result<Option<Self>, Fault> {
        let mut range: Option<Range> = None;
        for skb in packets {
            let skb = skb?;
            let own = tcp_skb_cb::at(skb.memory(), skb.addr() + offset_of!(sk_buff, cb) as u64)?;
            let (start, end) = (own.seq(), own.end_seq());
            let range = range.get_or_insert(Range {
                start,
                end: start,
                gap: None,
            });
            // It may begin with what came before: that is not copied twice.
            let is_behind = start.wrapping_sub(range.end).cast_signed() > 0;
            let is_shorter = end.wrapping_sub(range.end).cast_signed() < 0;
            if range.gap.is_none() && (is_behind || is_shorter) {
                range.gap = Some((range.end, start));
            }
            range.end = end;
        }
        Ok(range)
    }
}

/// Those of a queue. That it can be followed round to its head is another rule's.
fn range_of_queue(head: sk_buff_head<'_>) -> Result<Option<Range>, Fault> {
    of_queue(head)?;
    let packets = kstruct::walk::chain(Ok(head.next()), sk_buff::next);
    Range::of(packets.take_while(|skb| !skb.is_ok_and(|skb| skb.addr() == head.addr())))
}

/// Those of a tree.
fn range_of_tree(root: rb_root<'_>) -> Result<Option<Range>, Fault> {
    // To make ready for a walk takes longer than most trees are.
    if root.rb_node().is_null() {
        return Ok(None);
    }
    Range::of(root.entries(sk_buff::rbnode))
}

/// A queue and the sequence numbers that it must have, by the names of the socket's members.
struct Expected {
    queue: &'static str,
    low: (&'static str, u32),
    high: (&'static str, u32),
}

impl Expected {
    /// What is wrong about a queue whose packets have these. The first one may begin earlier: some of it was read, or acknowledged.
    fn differs(&self, range: Option<Range>) -> Option<Said> {
        let ((first, low), (second, high)) = (self.low, self.high);
        let bytes = high.wrapping_sub(low).cast_signed();
        let queue = self.queue;
        // What contradicts itself is another rule's.
        if bytes < 0 {
            return None;
        }
        match range {
            None if bytes == 0 => None,
            None => Some(say!(
                "missing from {first} {low} to {second} {high}: {bytes}; {queue} is empty",
                low = low,
                high = high,
                bytes = many(bytes, "byte"),
            )),
            Some(Range {
                gap: Some((end, start)),
                ..
            }) => Some(say!(
                "{queue} has a packet that ends at {end}, and behind it one that begins at {start} or ends before",
                end = end,
                start = start,
            )),
            Some(Range { start, end, .. }) => {
                let early = low.wrapping_sub(start).cast_signed();
                (early < 0 || end != high).then(|| {
                    say!(
                        "{queue} has packets from {start} to {end}; by {first} and {second} it must have {low} to {high}",
                        start = start,
                        end = end,
                        low = low,
                        high = high,
                    )
                })
            }
        }
    }
}

/// States after both SYNs: sequence numbers count data and the FIN then, each of which is in a packet.
fn is_synchronized(state: &str) -> bool {
    matches!(
        state,
        "ESTAB" | "CLOSE-WAIT" | "FIN-WAIT-1" | "FIN-WAIT-2" | "CLOSING" | "LAST-ACK"
    )
}

/// What was sent is in one queue until it is acknowledged (`tcp_event_new_data_sent`, `tcp_clean_rtx_queue`), and what was not in the other one.
pub fn send_data(look: Look<'_, '_>, socket: &Tcp) -> Option<Said> {
    let info = connection(socket)?;
    if !is_synchronized(socket.base.state) || !are_its_own(look, socket) {
        return None;
    }
    let sk = sock::at(look.reader.k, socket.base.address).ok()?;
    // Damage of queues is another rule's.
    let sent = range_of_tree(sk.tcp_rtx_queue()).ok()?;
    let waiting = range_of_queue(sk.sk_write_queue()).ok()?;
    let sent_to = ("snd_nxt", info.snd_nxt);
    let of_sent = Expected {
        queue: "the queue of what may be sent again",
        low: ("snd_una", info.snd_una),
        high: sent_to,
    };
    let of_waiting = Expected {
        queue: "the send queue",
        low: sent_to,
        high: ("write_seq", info.write_seq),
    };
    of_sent
        .differs(sent)
        .or_else(|| of_waiting.differs(waiting))
}

/// What came in order and was not read is in the receive queue (`tcp_queue_rcv`, `tcp_recvmsg_locked`), a FIN as well; who closes the socket
/// throws it away (`__tcp_close`).
pub fn receive_data(look: Look<'_, '_>, socket: &Tcp) -> Option<Said> {
    /// `RCV_SHUTDOWN`: closed, or the peer's FIN came, which `CLOSE-WAIT` tells apart.
    const RECEIVES_NO_MORE: u64 = 1;
    let info = connection(socket)?;
    let sk = sock::at(look.reader.k, socket.base.address).ok()?;
    let is_open = match socket.base.state {
        "ESTAB" | "CLOSE-WAIT" => true,
        "FIN-WAIT-1" | "FIN-WAIT-2" => u64::from(sk.sk_shutdown()) & RECEIVES_NO_MORE == 0,
        _ => false,
    };
    if !is_open || !are_its_own(look, socket) {
        return None;
    }
    let range = range_of_queue(sk.sk_receive_queue()).ok()?;
    let expected = Expected {
        queue: "the receive queue",
        low: ("copied_seq", info.copied_seq),
        high: ("rcv_nxt", info.rcv_nxt),
    };
    expected.differs(range)
}

/// What is said because of a fault, which is the dump's or the kernel's.
fn because(said: Said, fault: Fault) -> Said {
    Said {
        unread: is_missing(fault.kind).then_some(fault),
        ..said
    }
}

fn differ(counted: u32, sum: Result<u64, Fault>, what: &str) -> Option<Said> {
    // What was taken off once too often is less than nothing.
    let counted = i64::from(counted.cast_signed());
    match sum {
        Ok(sum) if i64::try_from(sum) == Ok(counted) => None,
        Ok(sum) => Some(say!(
            "counted: {counted}; the packets {what} have {bytes}",
            counted = many(counted, "byte"),
            bytes = many(sum, "byte"),
        )),
        Err(fault) => Some(because(
            say!("the packets {what} can't be followed: {fault}"),
            fault,
        )),
    }
}

pub fn out_of_order(look: Look<'_, '_>, socket: &Tcp) -> Option<Said> {
    let waits = connection(socket)?.last_data_recv_ms / 1000;
    if waits < look.limits.idle {
        return None;
    }
    let tcp = tcp_sock::at(look.reader.k, socket.base.address).ok()?;
    let root = tcp.out_of_order_queue();
    if root.rb_node().is_null() {
        return None;
    }
    let packets = root.entries(sk_buff::rbnode);
    // Damage of the tree is another rule's.
    let packets = packets.take_while(Result::is_ok).count();
    (packets > 0).then(|| {
        say!(
            "out of order: {packets}; the last in order came {seconds} s ago",
            packets = many(packets, "packet"),
            seconds = waits,
        )
    })
}

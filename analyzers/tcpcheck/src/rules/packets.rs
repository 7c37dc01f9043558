//! The packets of a socket's queues: how many there are, and their memory.

use kernel::{rb_root, sk_buff, sk_buff_head, sock, tcp_sock};
use kstruct::{Fault, FaultKind, View as _};
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
fn are_its_own(look: Look<'_, '_>, socket: &Tcp) -> bool {
    /// `SK_USER_DATA_NOCOPY`, which a `struct sk_psock` has, and others (include/net/sock.h, include/linux/skmsg.h).
    const NOCOPY: u64 = 1;
    connection(socket).is_some()
        && socket.ulp.is_empty()
        && !is_locked(look, socket)
        && sock::at(look.reader.k, socket.base.address)
            .is_ok_and(|sk| sk.sk_user_data().addr() & NOCOPY == 0)
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

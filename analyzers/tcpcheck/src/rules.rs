//! The rules: each is a line of the table and a function.

use std::collections::BTreeMap;

#[cfg(kernel_has = "inet_hashinfo.lhash2")]
use linux::Faults;
use sockets::filter::Filter;
use sockets::owner::Holder;
use sockets::sock::Reader;
use sockets::tcp::{Form, Info, Tcp, Which};

/// From when on something is unusual.
#[derive(Debug, Clone, clap::Args)]
pub struct Limits {
    /// Retransmissions of the same data before it is said
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    pub retransmits: u32,
    /// Keepalive probes without an answer before it is said
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    pub probes: u8,
    /// Seconds that data may lie unread in a receive buffer, or wait for a closed window or for what is missing before it
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub idle: u64,
    /// How full a receive buffer is that counts as full, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 75)]
    pub full: u64,
    /// Milliseconds that a timer may be late
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 1000)]
    pub late: i64,
    /// Connections in CLOSE-WAIT that one port may have
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    pub close_wait: usize,
    /// Connections without an owner that one port may have
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    pub orphaned: usize,
    /// Sockets that one chain of the hash table may have
    #[arg(long, value_name = "COUNT", default_value_t = 16)]
    pub chain: usize,
}

/// Something unusual.
#[derive(Debug, serde::Serialize)]
pub struct Finding {
    /// The rule's name.
    pub rule: &'static str,
    /// What is said of it.
    pub why: String,
    /// The network namespace's inode number, where it is one's.
    pub netns: Option<u64>,
    /// Both ends, where it is one connection.
    pub ends: Option<String>,
    /// The socket's state.
    pub state: Option<&'static str>,
    /// Who has it open.
    pub holders: Vec<String>,
    /// The `struct sock`; 0 if it is no socket's.
    #[serde(serialize_with = "linux::app::hex")]
    pub address: u64,
}

/// What a rule has when it looks at a socket.
#[derive(Clone, Copy)]
pub struct Look<'a, 'm> {
    pub reader: &'a Reader<'m>,
    pub limits: &'a Limits,
}

/// What a rule has when it looks at all together.
pub struct Tables<'a, 'm> {
    look: Look<'a, 'm>,
    /// Which sockets are looked at.
    #[cfg(kernel_has = "inet_hashinfo.lhash2")]
    filter: &'a Filter,
    /// The table of connections, when a rule asked for it.
    #[cfg(kernel_has = "inet_hashinfo.lhash2")]
    layout: std::sync::OnceLock<sockets::inet::Layout>,
}

impl<'a, 'm> Tables<'a, 'm> {
    pub fn of(look: Look<'a, 'm>, filter: &'a Filter) -> Self {
        let _ = filter;
        Tables {
            look,
            #[cfg(kernel_has = "inet_hashinfo.lhash2")]
            filter,
            #[cfg(kernel_has = "inet_hashinfo.lhash2")]
            layout: std::sync::OnceLock::new(),
        }
    }

    #[cfg(kernel_has = "inet_hashinfo.lhash2")]
    fn layout(&self) -> &sockets::inet::Layout {
        let Look { reader, limits } = self.look;
        self.layout
            .get_or_init(|| sockets::inet::layout(reader.k, &reader.spaces, limits.chain))
    }
}

/// How a rule looks.
pub enum Check {
    /// At each socket: what is unusual about it.
    Socket(fn(Look<'_, '_>, &Tcp) -> Option<String>),
    /// At how many there are, of each namespace and port, that belong to a pile.
    Pile(Pile),
    /// At the kernel's tables.
    Tables(fn(&Tables<'_, '_>, &'static str, &mut Vec<Finding>)),
}

/// Sockets that are unusual if there are many.
pub struct Pile {
    /// Whether one belongs to it.
    pub belongs: fn(&Tcp) -> bool,
    /// How many there may be.
    pub limit: fn(&Limits) -> usize,
    /// What is said of them.
    what: &'static str,
}

/// A socket that belongs to a [`Pile`].
pub struct Member {
    netns: Option<u64>,
    port: u16,
    holders: Vec<Holder>,
}

impl Member {
    pub fn of(socket: &Tcp) -> Self {
        Member {
            netns: socket.base.netns,
            port: socket.ends.local_port,
            holders: socket.base.holders.clone(),
        }
    }
}

/// A rule.
pub struct Rule {
    pub name: &'static str,
    /// What it finds.
    pub sentence: &'static str,
    pub check: Check,
}

/// All rules that this kernel's structs allow.
pub const RULES: &[Rule] = &[
    Rule {
        name: "retransmits",
        sentence: "The same data was sent again and again (--retransmits) without an answer.",
        check: Check::Socket(retransmits),
    },
    Rule {
        name: "zero-window",
        sentence: "The peer has closed its window for longer than --idle while data waits to be sent.",
        check: Check::Socket(zero_window),
    },
    Rule {
        name: "unread",
        sentence: "The receive buffer is full (--full), and its owner has not read for longer than --idle.",
        check: Check::Socket(unread),
    },
    #[cfg(all(kernel_has = "sock.tcp_rtx_queue", kernel_has = "sk_buff.truesize"))]
    Rule {
        name: "out-of-order",
        sentence: "Data waits in the out-of-order queue for longer than --idle: what is missing before it doesn't come.",
        check: Check::Socket(out_of_order),
    },
    Rule {
        name: "keepalive",
        sentence: "The peer of an idle connection does not answer keepalive probes (--probes).",
        check: Check::Socket(keepalive),
    },
    Rule {
        name: "accept-queue",
        sentence: "More connections wait to be accepted than the listener allows: further ones are dropped.",
        check: Check::Socket(accept_queue),
    },
    Rule {
        name: "accept-count",
        sentence: "A listener's count of waiting connections is not what is on its list.",
        check: Check::Socket(accept_count),
    },
    Rule {
        name: "no-timer",
        sentence: "Data is on its way and no timer is pending that would send it again: the connection can hang for ever.",
        check: Check::Socket(no_timer),
    },
    Rule {
        name: "late-timer",
        sentence: "A timer should have expired long ago (--late).",
        check: Check::Socket(late_timer),
    },
    Rule {
        name: "refcount",
        sentence: "A socket in a table has a count of references that is none: 0, negative, or saturated.",
        check: Check::Socket(refcount),
    },
    #[cfg(all(kernel_has = "sock.tcp_rtx_queue", kernel_has = "sk_buff.truesize"))]
    Rule {
        name: "send-memory",
        sentence: "The memory counted for sending is not that of the packets in the send queues.",
        check: Check::Socket(send_memory),
    },
    #[cfg(all(kernel_has = "sock.tcp_rtx_queue", kernel_has = "sk_buff.truesize"))]
    Rule {
        name: "receive-memory",
        sentence: "The memory counted for receiving is not that of the packets in the receive queues.",
        check: Check::Socket(receive_memory),
    },
    Rule {
        name: "close-wait",
        sentence: "Many connections to one port (--close-wait) were closed by the peer and never by their owner.",
        check: Check::Pile(Pile {
            belongs: is_left,
            limit: |limits| limits.close_wait,
            what: "were closed by the peer and not by their owner",
        }),
    },
    Rule {
        name: "orphans",
        sentence: "Many connections of one port (--orphaned) have no owner any more and are not gone yet.",
        check: Check::Pile(Pile {
            belongs: is_orphan,
            limit: |limits| limits.orphaned,
            what: "have no owner",
        }),
    },
    #[cfg(kernel_has = "inet_hashinfo.lhash2")]
    Rule {
        name: "wrong-bucket",
        sentence: "A socket is on a chain of the table where no packet will find it.",
        check: Check::Tables(wrong_bucket),
    },
    #[cfg(kernel_has = "inet_hashinfo.lhash2")]
    Rule {
        name: "broken-chain",
        sentence: "A chain of the table ends with the end of another one: sockets behind that are lost.",
        check: Check::Tables(broken_chain),
    },
    #[cfg(kernel_has = "inet_hashinfo.lhash2")]
    Rule {
        name: "long-chain",
        sentence: "A chain of the table has many more sockets (--chain) than the table's load explains.",
        check: Check::Tables(long_chain),
    },
    #[cfg(kernel_has = "sym:tcp_memory_pressure")]
    Rule {
        name: "memory-pressure",
        sentence: "TCP is short of memory (tcp_mem): it shrinks buffers, and may drop what arrives.",
        check: Check::Tables(memory_pressure),
    },
];

/// The rest of a socket's line.
pub fn finding(rule: &'static str, why: String, socket: &Tcp) -> Finding {
    let (base, ends) = (&socket.base, &socket.ends);
    let end = |address: std::net::IpAddr, port| std::net::SocketAddr::new(address, port);
    Finding {
        rule,
        why,
        netns: base.netns,
        ends: Some(format!(
            "{} {}",
            end(ends.local, ends.local_port),
            end(ends.remote, ends.remote_port)
        )),
        state: Some(base.state),
        holders: base
            .holders
            .iter()
            .map(|holder| format!("{}/{}", holder.comm, holder.pid))
            .collect(),
        address: base.address,
    }
}

/// What is no socket's.
fn of_all(rule: &'static str, netns: Option<u64>, why: String) -> Finding {
    Finding {
        rule,
        why,
        netns,
        ends: None,
        state: None,
        holders: Vec::new(),
        address: 0,
    }
}

/// What is known of a connection; a listener's `tcp_info` means other things.
fn connection(socket: &Tcp) -> Option<&Info> {
    (socket.form == Form::Full && socket.listener.is_none())
        .then_some(socket.info.as_deref())
        .flatten()
}

fn retransmits(look: Look<'_, '_>, socket: &Tcp) -> Option<String> {
    let (timer, limit) = (&socket.timer, look.limits.retransmits);
    (timer.which == Which::On && timer.retransmits >= limit).then(|| {
        format!(
            "{} again {} times, {} bytes are not acknowledged, next in {} ms",
            if socket.form == Form::Request {
                "the SYN was answered"
            } else {
                "sent"
            },
            timer.retransmits,
            socket.tx_queue,
            timer.expires_ms
        )
    })
}

fn zero_window(look: Look<'_, '_>, socket: &Tcp) -> Option<String> {
    let info = connection(socket)?;
    let waits = info.last_data_sent_ms / 1000;
    (socket.timer.which == Which::Persist && waits >= look.limits.idle).then(|| {
        format!(
            "{} bytes wait for the peer's window, {} probes were sent, the last data {waits} s ago",
            socket.tx_queue, info.probes
        )
    })
}

fn unread(look: Look<'_, '_>, socket: &Tcp) -> Option<String> {
    let (info, memory) = (connection(socket)?, socket.base.memory?);
    let idle = info.last_data_recv_ms / 1000;
    let used = u64::from(memory.rmem_alloc) * 100;
    // A FIN counts as a byte that was not read, and has no memory.
    let is_full = memory.rmem_alloc > 0
        && (used >= u64::from(memory.rcvbuf) * look.limits.full || info.rcv_wnd == 0);
    (socket.rx_queue > 0 && is_full && idle >= look.limits.idle).then(|| {
        format!(
            "{} bytes are not read, {} of {} bytes of memory are used, the last came {idle} s ago",
            socket.rx_queue, memory.rmem_alloc, memory.rcvbuf
        )
    })
}

fn keepalive(look: Look<'_, '_>, socket: &Tcp) -> Option<String> {
    let info = connection(socket)?;
    (socket.timer.which == Which::Keepalive && info.probes >= look.limits.probes).then(|| {
        format!(
            "{} probes were not answered, the peer was last heard {} s ago",
            info.probes,
            info.last_ack_recv_ms / 1000
        )
    })
}

fn accept_queue(_: Look<'_, '_>, socket: &Tcp) -> Option<String> {
    let listener = socket.listener.as_ref()?;
    // `sk_acceptq_is_full` (include/net/sock.h)
    (listener.backlog > listener.max_backlog).then(|| {
        format!(
            "{} connections wait to be accepted, {} may; {} more are not established",
            listener.backlog, listener.max_backlog, listener.requests
        )
    })
}

fn accept_count(look: Look<'_, '_>, socket: &Tcp) -> Option<String> {
    let listener = socket.listener.as_ref()?;
    if is_locked(look, socket) {
        return None;
    }
    let listed = listener.accept_queue.len();
    (listener.backlog as usize != listed).then(|| {
        format!(
            "{} connections wait by the count, {listed} are on the list",
            listener.backlog
        )
    })
}

fn no_timer(look: Look<'_, '_>, socket: &Tcp) -> Option<String> {
    let info = connection(socket)?;
    (info.unacked > 0 && !is_locked(look, socket) && socket.timer.which != Which::On).then(|| {
        format!(
            "{} segments are not acknowledged, and the timer is: {}",
            info.unacked,
            socket.timer.which.name()
        )
    })
}

fn late_timer(look: Look<'_, '_>, socket: &Tcp) -> Option<String> {
    let timer = &socket.timer;
    let late = -timer.expires_ms;
    // What its owner has locked is dealt with when that is over.
    let is_late = timer.which != Which::Off
        && late > look.limits.late
        && !is_locked(look, socket)
        && late > look.limits.late.saturating_add(wheel_step(look, socket));
    is_late.then(|| {
        format!(
            "timer {} should have expired {late} ms before the dump",
            timer.which.name()
        )
    })
}

/// By how many milliseconds a timer may be late by right. Since 4.8 the timer wheel is coarser the further away a timer is: a step of its
/// level N is 8 to the power of N jiffies (kernel/time/timer.c, `LVL_GRAN`), and the level stands in the timer's flags
/// (`TIMER_ARRAYSHIFT`, 64 slots each).
#[cfg(all(
    kernel_has = "timer_base",
    kernel_has = "timer_list.flags",
    kernel_has = "inet_connection_sock.icsk_retransmit_timer",
    kernel_has = "sock.sk_timer",
    kernel_has = "inet_timewait_sock.tw_timer",
    kernel_has = "request_sock.rsk_timer"
))]
fn wheel_step(look: Look<'_, '_>, socket: &Tcp) -> i64 {
    use kernel::{inet_connection_sock, inet_timewait_sock, request_sock, sock};
    use kstruct::View as _;

    let (k, address) = (look.reader.k, socket.base.address);
    let flags = match (socket.form, socket.timer.which) {
        (Form::TimeWait, _) => inet_timewait_sock::at(k, address).map(|tw| tw.tw_timer().flags()),
        (Form::Request, _) => request_sock::at(k, address).map(|req| req.rsk_timer().flags()),
        (Form::Full, Which::Keepalive) => sock::at(k, address).map(|sk| sk.sk_timer().flags()),
        (Form::Full, _) => inet_connection_sock::at(k, address)
            .map(|connection| connection.icsk_retransmit_timer().flags()),
    };
    let level = flags.unwrap_or(0) >> 22 >> 6;
    let jiffies = 8_u64.saturating_pow(level);
    i64::try_from(look.reader.milliseconds(jiffies)).unwrap_or(i64::MAX)
}

#[cfg(not(all(
    kernel_has = "timer_base",
    kernel_has = "timer_list.flags",
    kernel_has = "inet_connection_sock.icsk_retransmit_timer",
    kernel_has = "sock.sk_timer",
    kernel_has = "inet_timewait_sock.tw_timer",
    kernel_has = "request_sock.rsk_timer"
)))]
fn wheel_step(_: Look<'_, '_>, _: &Tcp) -> i64 {
    0
}

/// Whether somebody was at work on the socket when the dump was made (`lock_sock`): not all of it need fit together.
#[cfg(kernel_has = "sock.sk_lock.owned")]
fn is_locked(look: Look<'_, '_>, socket: &Tcp) -> bool {
    use kstruct::View as _;

    socket.form == Form::Full
        && kernel::sock::at(look.reader.k, socket.base.address)
            .is_ok_and(|sk| sk.sk_lock().owned() != 0)
}

#[cfg(not(kernel_has = "sock.sk_lock.owned"))]
fn is_locked(_: Look<'_, '_>, _: &Tcp) -> bool {
    false
}

fn refcount(_: Look<'_, '_>, socket: &Tcp) -> Option<String> {
    // `REFCOUNT_SATURATED` is negative.
    let count = socket.base.refcount;
    // Before 4.4 requests are no sockets, and nobody counts references to them.
    let is_counted =
        cfg!(not(kernel_has = "open_request.rmt_port")) || socket.form != Form::Request;
    (is_counted && count <= 0).then(|| format!("its count of references is {count}"))
}

/// Those of a pile that are too many, by namespace and port.
pub fn piled_up(
    pile: &Pile,
    rule: &'static str,
    limit: usize,
    members: Vec<Member>,
    findings: &mut Vec<Finding>,
) {
    let mut piles: BTreeMap<(Option<u64>, u16), Vec<Member>> = BTreeMap::new();
    for member in members {
        let key = (member.netns, member.port);
        piles.entry(key).or_default().push(member);
    }
    for ((netns, port), members) in piles {
        if members.len() <= limit {
            continue;
        }
        let why = format!("{} connections of port {port} {}", members.len(), pile.what);
        let mut found = of_all(rule, netns, why);
        let holders = members.iter().flat_map(|member| &member.holders);
        found.holders = holders
            .map(|holder| format!("{}/{}", holder.comm, holder.pid))
            .collect();
        found.holders.sort();
        found.holders.dedup();
        findings.push(found);
    }
}

/// Closed by the peer. What still waits to be accepted is another rule's.
fn is_left(socket: &Tcp) -> bool {
    socket.base.state == "CLOSE-WAIT" && socket.waits_at.is_none()
}

/// No process can have it any more, and it is not gone.
fn is_orphan(socket: &Tcp) -> bool {
    let base = &socket.base;
    let is_over = !matches!(base.state, "LISTEN" | "CLOSE");
    socket.form == Form::Full && base.socket == 0 && socket.waits_at.is_none() && is_over
}

#[cfg(all(kernel_has = "sock.tcp_rtx_queue", kernel_has = "sk_buff.truesize"))]
mod memory {
    use kernel::{rb_root, sk_buff, sk_buff_head, sock, tcp_sock};
    use kstruct::{Fault, View as _};
    use sockets::tcp::Tcp;

    use super::{Look, connection, is_locked};

    /// The memory of the packets of a tree. A damaged one is told of by its fault.
    fn of_tree(root: rb_root<'_>) -> Result<u64, Fault> {
        let mut sum = 0_u64;
        for skb in root.entries(sk_buff::rbnode) {
            sum += u64::from(skb?.truesize());
        }
        Ok(sum)
    }

    /// That of the packets of a queue: a circle, with the head between the last and the first.
    fn of_queue(head: sk_buff_head<'_>) -> Result<u64, Fault> {
        let mut sum = 0_u64;
        // A packet's first two members are those of the head.
        for skb in kstruct::walk::chain(Ok(head.next()), sk_buff::next) {
            let skb = skb?;
            if skb.addr() == head.addr() {
                break;
            }
            sum += u64::from(skb.truesize());
        }
        Ok(sum)
    }

    /// Whether its memory is all its own: an upper layer (TLS, MPTCP) keeps packets itself.
    fn is_its_own(look: Look<'_, '_>, socket: &Tcp) -> bool {
        connection(socket).is_some() && socket.ulp.is_empty() && !is_locked(look, socket)
    }

    pub fn send(look: Look<'_, '_>, socket: &Tcp) -> Option<String> {
        if !is_its_own(look, socket) {
            return None;
        }
        let sum = sock::at(look.reader.k, socket.base.address)
            .and_then(|sk| Ok(of_tree(sk.tcp_rtx_queue())? + of_queue(sk.sk_write_queue())?));
        differ(socket.base.memory?.wmem_queued, sum, "to be sent")
    }

    /// How many packets the out-of-order queue has.
    pub fn out_of_order(look: Look<'_, '_>, socket: &Tcp) -> Option<usize> {
        let tp = tcp_sock::at(look.reader.k, socket.base.address).ok()?;
        let packets = tp.out_of_order_queue().entries(sk_buff::rbnode);
        // Damage of the tree is another rule's.
        Some(packets.take_while(Result::is_ok).count())
    }

    pub fn receive(look: Look<'_, '_>, socket: &Tcp) -> Option<String> {
        if !is_its_own(look, socket) {
            return None;
        }
        let sum = tcp_sock::at(look.reader.k, socket.base.address).and_then(|tp| {
            let sk = sock::at(look.reader.k, socket.base.address)?;
            Ok(of_queue(sk.sk_receive_queue())? + of_tree(tp.out_of_order_queue())?)
        });
        differ(socket.base.memory?.rmem_alloc, sum, "that were received")
    }

    fn differ(counted: u32, sum: Result<u64, Fault>, what: &str) -> Option<String> {
        match sum {
            Ok(sum) if sum == u64::from(counted) => None,
            Ok(sum) => Some(format!(
                "{counted} bytes are counted, and the packets {what} have {sum}"
            )),
            Err(fault) => Some(format!("the packets {what} can't be followed: {fault}")),
        }
    }
}

#[cfg(all(kernel_has = "sock.tcp_rtx_queue", kernel_has = "sk_buff.truesize"))]
fn out_of_order(look: Look<'_, '_>, socket: &Tcp) -> Option<String> {
    let waits = connection(socket)?.last_data_recv_ms / 1000;
    if waits < look.limits.idle {
        return None;
    }
    let packets = memory::out_of_order(look, socket).filter(|packets| *packets > 0)?;
    Some(format!(
        "{packets} packets came out of order, the last in order came {waits} s ago"
    ))
}

#[cfg(all(kernel_has = "sock.tcp_rtx_queue", kernel_has = "sk_buff.truesize"))]
use memory::{receive as receive_memory, send as send_memory};

#[cfg(kernel_has = "inet_hashinfo.lhash2")]
fn wrong_bucket(seen: &Tables<'_, '_>, rule: &'static str, findings: &mut Vec<Finding>) {
    let reader = seen.look.reader;
    for bucket in &seen.layout().odd {
        for (address, own) in &bucket.misplaced {
            let why = format!(
                "it is in bucket {}, and its hash is of bucket {own}",
                bucket.index
            );
            // That one can't be read was said when all were.
            let mut said = Faults::default();
            let socket = reader.read_all(&[*address], "", &mut said, Tcp::read).pop();
            let wanted =
                socket.filter(|socket| seen.filter.wants(&socket.base, Some(&socket.ends)));
            findings.extend(wanted.map(|socket| finding(rule, why, &socket)));
        }
    }
}

#[cfg(kernel_has = "inet_hashinfo.lhash2")]
fn broken_chain(seen: &Tables<'_, '_>, rule: &'static str, findings: &mut Vec<Finding>) {
    for bucket in &seen.layout().odd {
        if let Some(end) = bucket.foreign_end {
            let why = format!(
                "the chain of bucket {} ends after {} sockets with the end of bucket {}",
                bucket.index,
                bucket.sockets,
                end >> 1
            );
            findings.push(of_all(rule, None, why));
        }
    }
}

#[cfg(kernel_has = "inet_hashinfo.lhash2")]
fn long_chain(seen: &Tables<'_, '_>, rule: &'static str, findings: &mut Vec<Finding>) {
    let layout = seen.layout();
    let (all, buckets) = (layout.sockets, layout.buckets);
    // Chains of a table that is full are long by right.
    let most = seen.look.limits.chain.max(8 * (all / buckets.max(1)));
    for bucket in layout.odd.iter().filter(|bucket| bucket.sockets > most) {
        let why = format!(
            "the chain of bucket {} has {} sockets, with {all} in {buckets} buckets",
            bucket.index, bucket.sockets
        );
        findings.push(of_all(rule, None, why));
    }
}

#[cfg(kernel_has = "sym:tcp_memory_pressure")]
fn memory_pressure(seen: &Tables<'_, '_>, rule: &'static str, findings: &mut Vec<Finding>) {
    if let Ok(since) = seen.look.reader.k.get(kernel::sym::tcp_memory_pressure)
        && since != 0
    {
        let why = "TCP's memory is above the second value of tcp_mem".to_owned();
        findings.push(of_all(rule, None, why));
    }
}

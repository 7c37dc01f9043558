//! The rules: each is a line of the table and a function.

use std::collections::BTreeMap;

use sockets::filter::Filter;
use sockets::other::Held;
use sockets::owner::Holder;
use sockets::sock::Reader;
use sockets::tcp::{Form, Info, Tcp};

use crate::said::{Said, Values, many, say};

mod basics;
#[cfg(all(
    kernel_has = "inet_bind_bucket.node",
    any(
        kernel_has = "inet_bind_bucket.owners",
        kernel_has = "inet_bind_bucket.bhash2"
    )
))]
pub mod bind;
mod lock;
#[cfg(all(kernel_has = "sock.tcp_rtx_queue", kernel_has = "sk_buff.truesize"))]
mod packets;
mod socket;
mod tables;
mod timers;
mod values;

/// From when on something is unusual.
#[derive(Debug, Clone, clap::Args)]
pub struct Limits {
    /// Retransmissions of the same data before it is said
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    pub retransmits: u32,
    /// Keepalive probes without an answer before it is said
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    pub probes: u8,
    /// Seconds that data may lie unread in a receive buffer, wait to be sent, or wait for a closed window or for what is missing before it
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub idle: u64,
    /// How full a receive buffer is that counts as full, in percent; one with a window of 0 is full, too
    #[arg(long, value_name = "PERCENT", default_value_t = 75, value_parser = clap::value_parser!(u64).range(..=100))]
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
    /// Requests that were answered more than once, and did not answer, that one port may have
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    pub half_open: usize,
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
    /// The numbers in that.
    pub values: Values,
    /// The network namespace's inode number, where it is one's.
    pub netns: Option<u64>,
    /// Both ends, where it is one connection.
    pub ends: Option<String>,
    /// The socket's state.
    pub state: Option<&'static str>,
    /// Who has it open.
    pub holders: Vec<String>,
    /// The `struct sock`, where it is one's.
    #[serde(serialize_with = "sockets::tcp::hex_or_null")]
    pub address: Option<u64>,
}

/// What a rule has when it looks at a socket.
#[derive(Clone, Copy)]
pub struct Look<'a, 'm> {
    pub reader: &'a Reader<'m>,
    pub limits: &'a Limits,
}

/// What a rule has when it looks at all together.
pub struct Tables<'a, 'm> {
    pub look: Look<'a, 'm>,
    /// Which sockets are looked at.
    pub filter: &'a Filter,
    /// Those whose owner is not whom they have for it.
    pub disowned: &'a [Held],
    /// How many whole sockets are in TCP's tables; `None` if not all could be read.
    #[cfg(all(
        kernel_has = "prot_inuse.all",
        kernel_has = "sym:tcp_prot",
        kernel_has = "sym:tcpv6_prot"
    ))]
    pub in_tables: Option<usize>,
    /// The addresses of what is no socket, of which all is said: sorted.
    pub nonsense: Vec<u64>,
    /// Why the rule could not look.
    pub unchecked: std::cell::RefCell<Vec<String>>,
    /// What rules could not read of the tables.
    pub unread: std::cell::RefCell<Vec<(&'static str, kstruct::Fault)>>,
    /// Whether a rule asks for the sockets' hashes.
    #[cfg(kernel_has = "inet_hashinfo.lhash2")]
    pub wants_hashes: bool,
    /// TCP's tables, when a rule asked for them.
    #[cfg(kernel_has = "inet_hashinfo.lhash2")]
    pub layout: std::sync::OnceLock<sockets::inet::Layout>,
}

/// How a rule looks.
pub enum Check {
    /// At each socket: what is unusual about it.
    Socket(fn(Look<'_, '_>, &Tcp) -> Option<Said>),
    /// The same, before all others: of what isn't a socket nothing else is said.
    Basics(fn(Look<'_, '_>, &Tcp) -> Option<Said>),
    /// At how many there are, of each namespace and port, that belong to a pile.
    Pile(Pile),
    /// At the kernel's tables, for what is wrong about sockets in them.
    Tables(fn(&Tables<'_, '_>, &'static str, &mut Vec<Finding>)),
    /// At what is of no socket: it is left out when some sockets are asked for.
    Whole(fn(&Tables<'_, '_>, &'static str, &mut Vec<Finding>)),
}

/// Sockets that are unusual if there are many.
pub struct Pile {
    /// Whether one belongs to it.
    pub belongs: fn(&Tcp) -> bool,
    /// How many there may be.
    pub limit: fn(&Limits) -> usize,
    /// What is said of them.
    pub what: &'static str,
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
        name: "not-a-socket",
        sentence: "What is in a table can't be a socket of it, by its state, family, type, protocol or functions (skc_prot), which must be those of TCP and of its family: no other rule looks at it.",
        check: Check::Basics(basics::not_a_socket),
    },
    Rule {
        name: "lost",
        sentence: "A process holds a socket that is in no table: no packet will find it.",
        check: Check::Socket(basics::lost),
    },
    Rule {
        name: "owner",
        sentence: "A process holds a socket by a struct socket that is not the one to which that leads back (sk_socket).",
        check: Check::Tables(tables::owner),
    },
    Rule {
        name: "foreign-owner",
        sentence: "The struct socket to which a socket leads (sk_socket) has another one for its own (socket.sk): what its process does, it does to that. Or nobody has the socket any more (SOCK_DEAD), and such a one leads to none.",
        check: Check::Socket(basics::foreign_owner),
    },
    Rule {
        name: "retransmits",
        sentence: "The same data was sent again and again (--retransmits) without an answer.",
        check: Check::Socket(timers::retransmits),
    },
    Rule {
        name: "zero-window",
        sentence: "The peer has closed its window for longer than --idle while data waits to be sent.",
        check: Check::Socket(socket::zero_window),
    },
    Rule {
        name: "unread",
        sentence: "The receive buffer is full (--full), and its owner has not read for longer than --idle.",
        check: Check::Socket(socket::unread),
    },
    #[cfg(all(kernel_has = "sock.tcp_rtx_queue", kernel_has = "sk_buff.truesize"))]
    Rule {
        name: "out-of-order",
        sentence: "Data waits in the out-of-order queue for longer than --idle: what is missing before it doesn't come.",
        check: Check::Socket(packets::out_of_order),
    },
    Rule {
        name: "keepalive",
        sentence: "The peer of an idle connection does not answer keepalive probes (--probes).",
        check: Check::Socket(timers::keepalive),
    },
    Rule {
        name: "sequence",
        sentence: "A connection has acknowledged more than was sent, sent more than was written, or read more than came: its sequence numbers can't be, and nothing that goes by them is right.",
        check: Check::Socket(socket::sequence),
    },
    Rule {
        name: "buffer",
        sentence: "A socket may have less than no memory for receiving or sending (sk_rcvbuf, sk_sndbuf), or has less (sk_wmem_alloc, sk_wmem_queued); or something waits in its backlog (sk_backlog) for somebody to unlock it, and nobody has it locked.",
        check: Check::Socket(socket::buffer),
    },
    Rule {
        name: "value",
        sentence: "A member of a socket has a value that none has: a congestion window (snd_cwnd), retransmission timeout (icsk_rto) or segment size (mss_cache) of 0, or something else shut down than receiving and sending (sk_shutdown).",
        check: Check::Socket(values::value),
    },
    #[cfg(kernel_has = "inet_connection_sock.icsk_af_ops")]
    Rule {
        name: "functions",
        sentence: "A socket has no congestion control (icsk_ca_ops), or the functions of its version of IP (icsk_af_ops) aren't there: the kernel crashes when it needs them.",
        check: Check::Socket(values::functions),
    },
    #[cfg(kernel_has = "inet_hashinfo.lhash2")]
    Rule {
        name: "segment-count",
        sentence: "More segments were acknowledged selectively or lost (sacked_out, lost_out), or sent again (retrans_out), than are on their way (packets_out): what is sent goes by these counts.",
        check: Check::Socket(values::segment_count),
    },
    Rule {
        name: "accept-queue",
        sentence: "More connections wait to be accepted than the listener allows: further ones are dropped.",
        check: Check::Socket(socket::accept_queue),
    },
    Rule {
        name: "accept-count",
        sentence: "A listener's count of waiting connections is not what is on its list.",
        check: Check::Socket(socket::accept_count),
    },
    #[cfg(kernel_has = "inet_hashinfo.lhash2")]
    Rule {
        name: "accept-tail",
        sentence: "A listener puts the next waiting connection behind what is not the last on its list (rskq_accept_tail).",
        check: Check::Socket(socket::accept_tail),
    },
    #[cfg(kernel_has = "inet_hashinfo.lhash2")]
    Rule {
        name: "syn-queue",
        sentence: "A listener has as many requests as it may have: further ones are dropped, or get a cookie.",
        check: Check::Socket(socket::syn_queue),
    },
    Rule {
        name: "no-timer",
        sentence: "Data is on its way and no timer is pending that would send it again: the connection can hang for ever.",
        check: Check::Socket(timers::missing),
    },
    #[cfg(kernel_has = "sock.sk_tsq_flags")]
    Rule {
        name: "stuck",
        sentence: "Data waits to be sent for longer than --idle, nothing is on its way, and no timer is pending: nothing will send it.",
        check: Check::Socket(timers::stuck),
    },
    #[cfg(all(
        kernel_has = "timer_base",
        kernel_has = "inet_timewait_sock.tw_timer",
        kernel_has = "request_sock.rsk_timer"
    ))]
    Rule {
        name: "dead-timer",
        sentence: "A timer is to expire, and is on no list of timers, or not where its links (pprev, next) say: it, or those behind it, may never expire. Or a timer has no function.",
        check: Check::Socket(timers::dead),
    },
    Rule {
        name: "late-timer",
        sentence: "A timer should have expired long ago (--late).",
        check: Check::Socket(timers::late),
    },
    Rule {
        name: "wrong-timer",
        sentence: "A timer is set for later than the kernel can set it, or for another time than the socket has for it (icsk_timeout); or the socket waits for one of a kind that isn't there (icsk_pending).",
        check: Check::Socket(timers::wrong),
    },
    #[cfg(all(
        kernel_has = "inet_bind_bucket.node",
        any(
            kernel_has = "inet_bind_bucket.owners",
            kernel_has = "inet_bind_bucket.bhash2"
        )
    ))]
    Rule {
        name: "bind",
        sentence: "A socket's port is bound by nothing (icsk_bind_hash, and icsk_bind2_hash with its address), by the bucket of another port, or by one that is on no chain; or the socket is not on the list of those that have it: others may be given the port, or it stays in use for ever. That the table of ports (bhash) isn't there, or not as large as its chains say, as far as they tell, is a fault.",
        check: Check::Socket(bind::port),
    },
    #[cfg(all(kernel_has = "sock.sk_lock.owned", kernel_has = "spinlock"))]
    Rule {
        name: "lock",
        sentence: "A socket's lock (sk_lock) has a value that no lock has: it keeps nobody out, or everybody.",
        check: Check::Socket(lock::lock),
    },
    Rule {
        name: "device",
        sentence: "A socket is bound to an interface with a negative number, which none has.",
        check: Check::Socket(basics::device),
    },
    Rule {
        name: "refcount",
        sentence: "A socket in a table has a count of references that is none: 0, negative, or saturated.",
        check: Check::Socket(basics::refcount),
    },
    #[cfg(all(kernel_has = "sock.tcp_rtx_queue", kernel_has = "sk_buff.truesize"))]
    Rule {
        name: "send-memory",
        sentence: "The memory counted for sending is not that of the packets in the send queues.",
        check: Check::Socket(packets::send_memory),
    },
    #[cfg(all(kernel_has = "sock.tcp_rtx_queue", kernel_has = "sk_buff.truesize"))]
    Rule {
        name: "receive-memory",
        sentence: "The memory counted for receiving is not that of the packets in the receive queues.",
        check: Check::Socket(packets::receive_memory),
    },
    #[cfg(all(kernel_has = "sock.tcp_rtx_queue", kernel_has = "sk_buff.truesize"))]
    Rule {
        name: "send-data",
        sentence: "What was written and not acknowledged, by sequence numbers (snd_una, snd_nxt, write_seq), is not what the packets in the send queues have: data is lost.",
        check: Check::Socket(packets::send_data),
    },
    #[cfg(all(kernel_has = "sock.tcp_rtx_queue", kernel_has = "sk_buff.truesize"))]
    Rule {
        name: "receive-data",
        sentence: "What came and was not read, by sequence numbers (copied_seq, rcv_nxt), is not what the packets in the receive queue have: data is lost.",
        check: Check::Socket(packets::receive_data),
    },
    #[cfg(not(all(kernel_has = "sock.tcp_rtx_queue", kernel_has = "sk_buff.truesize")))]
    Rule {
        name: "receive-data",
        sentence: "What came and was not read, by sequence numbers (copied_seq, rcv_nxt), is nowhere, as the receive queue is empty: data is lost.",
        check: Check::Socket(socket::receive_data),
    },
    #[cfg(all(kernel_has = "sock.tcp_rtx_queue", kernel_has = "sk_buff.truesize"))]
    Rule {
        name: "queue-count",
        sentence: "A queue of packets is not as long as its count says, or its links don't fit together.",
        check: Check::Socket(packets::queue_count),
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
    Rule {
        name: "half-open",
        sentence: "Many requests at one port (--half-open) were answered more than once, and don't answer: lost packets, or a flood.",
        check: Check::Pile(Pile {
            belongs: is_half_open,
            limit: |limits| limits.half_open,
            what: "sent a SYN, and did not answer what came back",
        }),
    },
    #[cfg(kernel_has = "inet_hashinfo.lhash2")]
    Rule {
        name: "wrong-bucket",
        sentence: "A socket is on another chain of its table than its hash says, which is a listener's by its address and port, and skc_hash of all others: no packet will find it.",
        check: Check::Tables(tables::wrong_bucket),
    },
    #[cfg(kernel_has = "inet_hashinfo.lhash2")]
    Rule {
        name: "wrong-hash",
        sentence: "A connection's hash (skc_hash) is not that of its addresses and ports: no packet will find it. Where none of a version of IP has, and those of the other one do, the secret is damaged: that is one finding. Not looked at, which the report says, where none has at all and, before 6.11, where the dump doesn't name the hash's secret (before 6.0, or without CONFIG_KALLSYMS_ALL).",
        check: Check::Tables(tables::wrong_hash),
    },
    #[cfg(kernel_has = "inet_hashinfo.lhash2")]
    Rule {
        name: "broken-chain",
        sentence: "A chain of a table of sockets ends with the end of another one, so that sockets behind that are lost, or its links back are wrong.",
        check: Check::Tables(tables::broken_chain),
    },
    #[cfg(kernel_has = "inet_hashinfo.lhash2")]
    Rule {
        name: "long-chain",
        sentence: "A chain of the table of connections has many more sockets (--chain) than the table's load explains.",
        check: Check::Whole(tables::long_chain),
    },
    #[cfg(all(
        kernel_has = "prot_inuse.all",
        kernel_has = "sym:tcp_prot",
        kernel_has = "sym:tcpv6_prot"
    ))]
    Rule {
        name: "socket-count",
        sentence: "The kernel counts more or fewer TCP sockets (prot_inuse, the \"inuse\" of /proc/net/sockstat) than its tables have: some were lost, or are still there. One at a time may be under way while a CPU binds or connects it.",
        check: Check::Whole(tables::socket_count),
    },
    #[cfg(kernel_has = "sym:tcp_memory_pressure")]
    Rule {
        name: "memory-pressure",
        sentence: "TCP is short of memory: it was above the second value of tcp_mem (tcp_memory_pressure), and has not come down to the first since; buffers shrink, and what arrives may be dropped.",
        check: Check::Whole(tables::memory_pressure),
    },
    #[cfg(all(
        kernel_has = "sym:tcp_memory_allocated",
        kernel_has = "sym:sysctl_tcp_mem"
    ))]
    Rule {
        name: "memory-limit",
        sentence: "TCP has more pages (tcp_memory_allocated) than the third value of tcp_mem: what arrives is dropped, and sockets are given up. Or it has fewer than none, with what CPUs hold back (tcp_memory_per_cpu_fw_alloc): more was given back than was taken.",
        check: Check::Whole(tables::memory_limit),
    },
];

/// The rest of a socket's line.
pub fn finding(rule: &'static str, said: Said, socket: &Tcp) -> Finding {
    let (base, ends) = (&socket.base, &socket.ends);
    let end = |address: std::net::IpAddr, port| std::net::SocketAddr::new(address, port);
    Finding {
        rule,
        why: said.why,
        values: said.values,
        netns: base.netns,
        ends: Some(format!(
            "{} {}",
            end(ends.local, ends.local_port),
            end(ends.remote, ends.remote_port)
        )),
        state: Some(base.state),
        holders: base.holders.iter().map(name_of).collect(),
        address: Some(base.address),
    }
}

fn name_of(holder: &Holder) -> String {
    format!("{}/{}", holder.comm, holder.pid)
}

/// What is no socket's.
fn of_all(rule: &'static str, netns: Option<u64>, said: Said) -> Finding {
    Finding {
        rule,
        why: said.why,
        values: said.values,
        netns,
        ends: None,
        state: None,
        holders: Vec::new(),
        address: None,
    }
}

/// What is known of a connection; a listener's `tcp_info` means other things.
fn connection(socket: &Tcp) -> Option<&Info> {
    (socket.form == Form::Full && socket.listener.is_none())
        .then_some(socket.info.as_deref())
        .flatten()
}

/// Whether somebody was at work on the socket when the dump was made, a process (`lock_sock`) or whoever brought it a packet
/// (`bh_lock_sock`): not all of it need fit together.
pub fn is_locked(look: Look<'_, '_>, socket: &Tcp) -> bool {
    socket.form == Form::Full && lock::is_held(look, socket.base.address)
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
        let what = pile.what;
        let said = say!(
            "{connections} of port {port} {what}",
            connections = many(members.len(), "connection"),
            port = port,
        );
        let mut found = of_all(rule, netns, said);
        let holders = members.iter().flat_map(|member| &member.holders);
        found.holders = holders.map(name_of).collect();
        found.holders.sort();
        found.holders.dedup();
        findings.push(found);
    }
}

/// Closed by the peer. What still waits to be accepted is another rule's.
fn is_left(socket: &Tcp) -> bool {
    socket.base.state == "CLOSE-WAIT" && socket.waits_at.is_none()
}

/// No process can have it any more, and it is not gone. What waits for the peer's end for long is no full socket any more.
fn is_orphan(socket: &Tcp) -> bool {
    let base = &socket.base;
    match socket.form {
        Form::Full => {
            let is_over = !matches!(base.state, "LISTEN" | "UNCONN");
            base.socket == 0 && socket.waits_at.is_none() && is_over
        }
        Form::TimeWait => base.state == "FIN-WAIT-2",
        Form::Request => false,
    }
}

/// The answer to its SYN was sent again.
fn is_half_open(socket: &Tcp) -> bool {
    socket.form == Form::Request && socket.timeouts >= Some(1)
}

//! The packets that wait in a discipline, where it keeps them.

use kernel::{Qdisc, sk_buff};
use kstruct::{Fault, FaultKind, Ptr, View as _, walk};
use linux::net::order::be16;
use serde::Serialize;

use super::Discipline;

/// A packet that waits.
#[derive(Debug, Serialize)]
pub struct Packet {
    /// The `sk_buff`.
    #[serde(serialize_with = "linux::app::hex")]
    pub address: u64,
    /// Bytes.
    pub len: u32,
    /// Its Ethernet type.
    #[serde(serialize_with = "linux::app::hex_u32")]
    pub protocol: u32,
    pub priority: u32,
    pub mark: u32,
    /// The transmit queue that it is for.
    pub queue_mapping: u16,
    /// In nanoseconds, by the clock of whoever stamped it; 0 without a stamp.
    pub tstamp: i64,
    /// The socket that sent it.
    #[serde(serialize_with = "linux::app::hex")]
    pub sk: u64,
    /// Bytes that disciplines count (`qdisc_pkt_len`).
    #[serde(skip)]
    counted: Option<u32>,
}

impl Packet {
    fn new(packet: sk_buff<'_>) -> Self {
        Packet {
            address: packet.addr(),
            len: packet.len(),
            protocol: be16(packet.protocol()).into(),
            priority: packet.priority(),
            mark: packet.mark(),
            queue_mapping: packet.queue_mapping(),
            tstamp: packet.tstamp(),
            sk: packet.sk().addr(),
            counted: counted(packet),
        }
    }
}

/// What `struct qdisc_skb_cb` has: more than the packet's length where its segments will have headers of their own, or a table of sizes is
/// used.
#[cfg(kernel_has = "qdisc_skb_cb.pkt_len")]
fn counted(packet: sk_buff<'_>) -> Option<u32> {
    let offset = kstruct::offset_of!(sk_buff, cb) as u64;
    let cb = kernel::qdisc_skb_cb::at(packet.memory(), packet.addr().wrapping_add(offset));
    cb.ok().map(|cb| cb.pkt_len())
}

#[cfg(not(kernel_has = "qdisc_skb_cb.pkt_len"))]
fn counted(_: sk_buff<'_>) -> Option<u32> {
    None
}

/// Whether a discipline's packets are looked at although nobody wants to see them: there is one short list of them.
pub fn is_plain(kind: &str) -> bool {
    ["pfifo", "bfifo", "pfifo_head_drop", "pfifo_fast"].contains(&kind)
}

/// Whether a discipline that keeps all its packets itself counted as many as it has, and as many bytes. Some may be more or less that are on
/// their way in or out; and pfifo_fast goes on counting what was dropped when its queue was made shorter (`pfifo_fast_change_tx_queue_len`).
pub fn are_counted(packets: &[Packet], discipline: &Discipline, moving: u64) -> bool {
    let found = packets.len() as u64;
    if discipline.kind == "pfifo_fast" && found < discipline.qlen {
        return true;
    }
    if found != discipline.qlen {
        return found.abs_diff(discipline.qlen) <= moving;
    }
    let bytes = packets.iter().map(|packet| packet.counted.map(u64::from));
    bytes
        .sum::<Option<u64>>()
        .is_none_or(|bytes| moving > 0 || bytes == discipline.backlog)
}

/// The packets of a discipline itself, not those of disciplines below it. They are in order where the discipline has one. A walk that ends in
/// a fault has found what comes before it. Says whether these are all that the discipline counts.
pub fn packets(kind: &str, qdisc: Qdisc<'_>, out: &mut Vec<Packet>) -> Result<bool, Fault> {
    // What was handed back, or looked at before its time.
    for packets in [qdisc.gso_skb(), qdisc.skb_bad_txq()] {
        head(packets, out)?;
    }
    match kind {
        "pfifo_fast" => pfifo_fast(qdisc, out),
        #[cfg(kernel_has = "fq_codel_sched_data.memory_limit")]
        "fq_codel" => {
            /// More than it may be configured with.
            const MOST: usize = 65536;
            let q = super::private::<kernel::fq_codel_sched_data<'_>>(qdisc).deref()?;
            let count = (q.flows_cnt() as usize).min(MOST);
            for flow in q.flows().array(count)?.iter() {
                chain(flow.head(), out)?;
            }
            Ok(true)
        }
        #[cfg(kernel_has = "sfq_sched_data.maxdepth")]
        "sfq" => {
            let q = super::private::<kernel::sfq_sched_data<'_>>(qdisc).deref()?;
            let divisor = (q.divisor() as usize).min(65536);
            for index in q
                .ht()
                .array(divisor)?
                .iter()
                .filter(|index| *index != 0xffff)
            {
                // A ring through the slot itself, which begins as a packet does.
                let slot = q.slots().at(index.into())?;
                ring(slot.skblist_next(), slot.addr(), out)?;
            }
            Ok(true)
        }
        #[cfg(kernel_has = "netem_sched_data.t_root")]
        "netem" => {
            let q = super::private::<kernel::netem_sched_data<'_>>(qdisc).deref()?;
            // Those that overtook the others (`reorder`) are first.
            chain(qdisc.q().head(), out)?;
            #[cfg(kernel_has = "netem_sched_data.t_head")]
            chain(q.t_head(), out)?;
            for packet in q.t_root().entries(sk_buff::rbnode) {
                add(packet?, out)?;
            }
            // The discipline below it has others.
            Ok(q.qdisc().is_null())
        }
        #[cfg(kernel_has = "fq_sched_data.timer_slack")]
        "fq" => {
            let q = super::private::<kernel::fq_sched_data<'_>>(qdisc).deref()?;
            let flow = |flow: kernel::fq_flow<'_>, out: &mut Vec<Packet>| -> Result<(), Fault> {
                chain(flow.head(), out)?;
                for packet in flow.t_root().entries(sk_buff::rbnode) {
                    add(packet?, out)?;
                }
                Ok(())
            };
            flow(q.internal(), out)?;
            let trees = 1_usize << q.fq_trees_log().min(18);
            for tree in q.fq_root().array(trees)?.iter() {
                for one in tree.entries(kernel::fq_flow::fq_node) {
                    flow(one?, out)?;
                }
            }
            Ok(true)
        }
        #[cfg(kernel_has = "cake_sched_data.rate_mpu")]
        "cake" => {
            let q = super::private::<kernel::cake_sched_data<'_>>(qdisc).deref()?;
            for tin in q.tins().array(usize::from(q.tin_cnt()).min(8))?.iter() {
                for flow in tin.flows().iter() {
                    chain(flow.head(), out)?;
                }
            }
            Ok(true)
        }
        #[cfg(kernel_has = "htb_sched.direct_queue")]
        "htb" => {
            let q = super::private::<kernel::htb_sched<'_>>(qdisc).deref()?;
            chain(q.direct_queue().head(), out)?;
            Ok(false)
        }
        // Those with a queue of the common kind: pfifo, bfifo, codel and others.
        _ => {
            chain(qdisc.q().head(), out)?;
            Ok(["pfifo", "bfifo", "pfifo_head_drop", "codel"].contains(&kind))
        }
    }
}

/// No discipline is configured to hold more; lists of a damaged dump may lead into each other.
const MOST_PACKETS: usize = 1 << 20;

fn add(packet: sk_buff<'_>, out: &mut Vec<Packet>) -> Result<(), Fault> {
    if out.len() >= MOST_PACKETS {
        return Err(Fault {
            address: packet.addr(),
            kind: FaultKind::TooLarge,
        });
    }
    out.push(Packet::new(packet));
    Ok(())
}

/// A list of packets that ends with null.
fn chain<'m>(first: Ptr<'m, sk_buff<'m>>, out: &mut Vec<Packet>) -> Result<(), Fault> {
    ring(first, 0, out)
}

/// A list of packets that ends where it began.
fn ring<'m>(first: Ptr<'m, sk_buff<'m>>, end: u64, out: &mut Vec<Packet>) -> Result<(), Fault> {
    // As one that ends with null, which a walk finds out not to end.
    let until_end = |next: Ptr<'m, sk_buff<'m>>| {
        if next.addr() == end {
            Ptr::new(next.memory(), 0)
        } else {
            next
        }
    };
    let packets = walk::chain(Ok(until_end(first)), |packet: sk_buff<'m>| {
        until_end(packet.next())
    });
    for packet in packets {
        add(packet?, out)?;
    }
    Ok(())
}

/// A `struct sk_buff_head`.
fn head(list: kernel::sk_buff_head<'_>, out: &mut Vec<Packet>) -> Result<(), Fault> {
    // Those of disciplines that were never used are zeros.
    if list.next().is_null() {
        return Ok(());
    }
    ring(list.next().cast(), list.addr(), out)
}

/// Three rings of pointers (`struct skb_array`, include/linux/ptr_ring.h). What was taken out of one is not made null at once: pointers that
/// lead nowhere any more lie between `consumer_tail` and `consumer_head`.
#[cfg(kernel_has = "pfifo_fast_priv.q")]
fn pfifo_fast(qdisc: Qdisc<'_>, out: &mut Vec<Packet>) -> Result<bool, Fault> {
    /// No transmit queue is configured to be longer.
    const MOST: usize = 1 << 20;
    let q = super::private::<kernel::pfifo_fast_priv<'_>>(qdisc).deref()?;
    for band in q.q().iter() {
        let ring = band.ring();
        let number = |value: i64| usize::try_from(value).unwrap_or(0);
        let size = number(ring.size().into()).min(MOST);
        if ring.queue().is_null() {
            continue;
        }
        // What `void **` points to is as wide as this kernel's pointers are.
        let (k, queue) = (ring.queue().memory(), ring.queue().addr());
        let width = u64::from(kernel::KERNEL.pointer_size);
        let head = number(ring.consumer_head().into());
        let tail = number(ring.consumer_tail().into());
        let slots = (0..size).map(|index| (head + index) % size);
        // Past the start, so that a ring that is full is gone round.
        let slots = slots
            .enumerate()
            .take_while(|(index, slot)| *index == 0 || *slot != tail);
        for (_, slot) in slots {
            let packet = k.word(k.wrap(queue.wrapping_add(slot as u64 * width)))?;
            if packet == 0 {
                break;
            }
            add(sk_buff::at(k, packet)?, out)?;
        }
    }
    Ok(true)
}

#[cfg(not(kernel_has = "pfifo_fast_priv.q"))]
fn pfifo_fast(_: Qdisc<'_>, _: &mut Vec<Packet>) -> Result<bool, Fault> {
    Ok(false)
}

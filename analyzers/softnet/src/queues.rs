//! What waits on a CPU (`struct softnet_data`, include/linux/netdevice.h).

#[cfg(kernel_has = "softnet_data.process_queue")]
use kernel::sk_buff;
#[cfg(kernel_has = "softnet_data.process_queue")]
use kstruct::walk::chain;
use kstruct::{Fault, Memory};
#[cfg(kernel_has = "softnet_data.process_queue")]
use kstruct::{Ptr, View as _};
use linux::Faults;
#[cfg(kernel_has = "softnet_data.process_queue")]
use linux::net::order::be16;
use serde::Serialize;

/// What waits on a CPU.
#[derive(Default, Serialize)]
pub struct Queues {
    /// How often the CPU ran the softirq that receives packets.
    pub net_rx: Option<u64>,
    /// The same for the one that sends.
    pub net_tx: Option<u64>,
    /// Packets in the backlog that other CPUs and drivers fill.
    pub input_packets: Vec<Packet>,
    /// Packets taken from it, and not yet processed.
    pub process_packets: Vec<Packet>,
    /// Packets that were sent and are to be freed.
    pub completion: Vec<Packet>,
    /// Packets that other CPUs leave to this one to be freed.
    pub deferred: Vec<Packet>,
    /// Packets that IPsec could not send at once.
    pub xfrm_backlog: Vec<Packet>,
    /// What is polled for packets.
    pub poll: Vec<Napi>,
    /// Queueing disciplines that are to go on sending.
    pub output: Vec<Output>,
    /// CPUs that are to be told of packets steered to them.
    pub rps_waiting: Vec<u32>,
}

/// A packet in a queue.
#[derive(Serialize)]
pub struct Packet {
    /// The `sk_buff`.
    #[serde(serialize_with = "linux::app::hex")]
    pub address: u64,
    /// Its bytes.
    pub len: u32,
    /// `ETH_P_*`: 0x0800 is IPv4.
    pub protocol: u16,
    /// The interface that it came from or goes to.
    pub dev: Option<String>,
}

/// A NAPI instance.
#[derive(Serialize)]
pub struct Napi {
    /// The `napi_struct`.
    #[serde(serialize_with = "linux::app::hex")]
    pub address: u64,
    /// Its number; 0 for the backlog.
    pub id: u32,
    /// The function that polls: its name, or its address.
    pub poll: String,
    /// How many packets it may take at once.
    pub weight: i32,
    /// The interface; none for the backlog.
    pub dev: Option<String>,
    /// `SCHED`, `NPSVC` ...
    pub state: Vec<String>,
}

/// A queueing discipline.
#[derive(Serialize)]
pub struct Output {
    /// The `Qdisc`.
    #[serde(serialize_with = "linux::app::hex")]
    pub address: u64,
    /// `fq_codel` ...
    pub kind: String,
    /// The interface.
    pub dev: Option<String>,
}

/// Kernels since 2.6.31.
#[cfg(kernel_has = "softnet_data.process_queue")]
pub fn queues(k: &Memory, cpu: u32, faults: &mut Faults) -> Result<Queues, Fault> {
    let data = k.per_cpu(kernel::sym::softnet_data, cpu)?;
    let what = format!("packets of CPU {cpu}");
    let mut out = Queues {
        input_packets: packets(list(data.input_pkt_queue()), &what, faults),
        process_packets: packets(list(data.process_queue()), &what, faults),
        completion: packets(
            chain(Ok(data.completion_queue()), sk_buff::next),
            &what,
            faults,
        ),
        ..Queues::default()
    };
    #[cfg(kernel_has = "softnet_data.xfrm_backlog.qlen")]
    {
        out.xfrm_backlog = packets(list(data.xfrm_backlog()), &what, faults);
    }
    #[cfg(kernel_has = "softnet_data.defer_list")]
    {
        out.deferred = packets(chain(Ok(data.defer_list()), sk_buff::next), &what, faults);
    }
    for napi in data.poll_list().entries(kernel::napi_struct::poll_list) {
        let napi = napi.and_then(self::napi);
        out.poll
            .extend(faults.check(format_args!("poll list of CPU {cpu}"), napi));
    }
    for qdisc in chain(Ok(data.output_queue()), kernel::Qdisc::next_sched) {
        let qdisc = qdisc.and_then(output);
        out.output
            .extend(faults.check(format_args!("output queue of CPU {cpu}"), qdisc));
    }
    #[cfg(kernel_has = "softnet_data.rps_ipi_list")]
    for waiting in chain(Ok(data.rps_ipi_list()), kernel::softnet_data::rps_ipi_next) {
        let what = format_args!("CPUs that CPU {cpu} is to tell of packets");
        out.rps_waiting
            .extend(faults.check(what, waiting).map(|data| data.cpu()));
    }
    #[cfg(kernel_has = "kernel_stat.softirqs")]
    {
        /// `NET_TX_SOFTIRQ`, `NET_RX_SOFTIRQ`, include/linux/interrupt.h.
        const TX: usize = 2;
        const RX: usize = 3;
        let stat = k.per_cpu(kernel::sym::kstat, cpu)?;
        out.net_tx = stat.softirqs().get(TX).map(u64::from);
        out.net_rx = stat.softirqs().get(RX).map(u64::from);
    }
    Ok(out)
}

/// Older kernels have the backlog alone, and of it what `netdev` shows.
#[cfg(not(kernel_has = "softnet_data.process_queue"))]
pub fn queues(_: &Memory, _: u32, _: &mut Faults) -> Result<Queues, Fault> {
    Ok(Queues::default())
}

/// The packets of a queue, whose last one points to its head.
#[cfg(kernel_has = "softnet_data.process_queue")]
fn list(head: kernel::sk_buff_head<'_>) -> impl Iterator<Item = Result<sk_buff<'_>, Fault>> {
    let end = head.addr();
    let first = Ptr::new(
        head.memory(),
        if head.next().addr() == end {
            0
        } else {
            head.next().addr()
        },
    );
    chain(Ok(first), move |packet: sk_buff<'_>| {
        let next = packet.next();
        if next.addr() == end {
            Ptr::new(packet.memory(), 0)
        } else {
            next
        }
    })
}

#[cfg(kernel_has = "softnet_data.process_queue")]
fn packets<'m>(
    packets: impl Iterator<Item = Result<sk_buff<'m>, Fault>>,
    what: &str,
    faults: &mut Faults,
) -> Vec<Packet> {
    let mut found = Vec::new();
    for packet in packets {
        let packet = packet.and_then(|packet| {
            Ok(Packet {
                address: packet.addr(),
                len: packet.len(),
                protocol: be16(packet.protocol()),
                dev: name(packet.dev())?,
            })
        });
        found.extend(faults.check(what, packet));
    }
    found
}

#[cfg(kernel_has = "softnet_data.process_queue")]
fn name(device: Ptr<'_, kernel::net_device<'_>>) -> Result<Option<String>, Fault> {
    let device = device.deref_or_null()?;
    Ok(device.map(|device| device.name().to_string()))
}

/// `NAPI_STATE_*`, include/linux/netdevice.h, as they are numbered since 5.12.
#[cfg(kernel_has = "const:NAPI_STATE_SCHED_THREADED")]
const NAPI_STATES: &[&str] = &[
    "SCHED",
    "MISSED",
    "DISABLE",
    "NPSVC",
    "LISTED",
    "NO_BUSY_POLL",
    "IN_BUSY_POLL",
    "PREFER_BUSY_POLL",
    "THREADED",
    "SCHED_THREADED",
];
/// Before, only the first is where it is.
#[cfg(all(
    kernel_has = "softnet_data.process_queue",
    not(kernel_has = "const:NAPI_STATE_SCHED_THREADED")
))]
const NAPI_STATES: &[&str] = &["SCHED"];

#[cfg(kernel_has = "softnet_data.process_queue")]
fn napi(napi: kernel::napi_struct<'_>) -> Result<Napi, Fault> {
    let state = napi.state();
    let poll = napi.poll();
    Ok(Napi {
        address: napi.addr(),
        id: napi.napi_id(),
        poll: poll
            .name()
            .map_or_else(|| format!("{:#x}", poll.addr()), str::to_owned),
        weight: napi.weight(),
        dev: name(napi.dev())?,
        state: (0..64_usize)
            .filter(|bit| state >> bit & 1 != 0)
            .map(|bit| {
                let name = NAPI_STATES.get(bit);
                name.map_or_else(|| format!("bit {bit}"), |name| (*name).to_owned())
            })
            .collect(),
    })
}

#[cfg(kernel_has = "softnet_data.process_queue")]
fn output(qdisc: kernel::Qdisc<'_>) -> Result<Output, Fault> {
    let queue = qdisc.dev_queue().deref_or_null()?;
    Ok(Output {
        address: qdisc.addr(),
        kind: qdisc.ops().deref()?.id().to_string(),
        dev: match queue {
            Some(queue) => name(queue.dev())?,
            None => None,
        },
    })
}

//! An interface's queues, in both directions, its watchdog, and its NAPI instances.

use std::collections::HashMap;

use kernel::net_device;
use kstruct::{Fault, FnPtr, Memory, View as _};
use linux::Faults;
use linux::symbols::Names;
use linux::time::{Age, Clock};
use serde::Serialize;

use linux::details::Details;

/// All of them.
#[derive(Debug, Serialize)]
pub struct Queues {
    pub tx: Vec<TransmitQueue>,
    pub rx: Vec<ReceiveQueue>,
    pub napi: Vec<Napi>,
    pub watchdog: Option<Watchdog>,
}

/// A transmit queue (`struct netdev_queue`).
#[derive(Debug, Serialize)]
pub struct TransmitQueue {
    pub index: usize,
    #[serde(serialize_with = "linux::app::hex")]
    pub address: u64,
    /// Names of `enum netdev_queue_state_t`, without their prefix: who stopped it.
    pub state: Vec<&'static str>,
    /// The discipline that feeds it: its kind.
    pub qdisc: Option<String>,
    /// Since something was last sent.
    pub trans_start: Option<Age>,
    /// How often the watchdog found it stuck.
    pub tx_timeout: i64,
    /// Mbit/s; 0 is without limit.
    pub tx_maxrate: u64,
    /// The CPU that sends on it now.
    pub xmit_lock_owner: Option<u32>,
    /// CPUs that prefer it (XPS).
    pub xps_cpus: Vec<u32>,
    /// Bytes that the device has been given (BQL): `limit`, `inflight` and so on, as in byte_queue_limits of /sys/class/net.
    pub byte_queue_limits: Details,
    /// Whether the driver makes use of them.
    pub has_byte_queue_limits: bool,
}

/// A receive queue (`struct netdev_rx_queue`).
#[derive(Debug, Serialize)]
pub struct ReceiveQueue {
    pub index: usize,
    #[serde(serialize_with = "linux::app::hex")]
    pub address: u64,
    /// CPUs that packets are handed to (RPS).
    pub rps_cpus: Vec<u16>,
    /// Entries of the table of flows.
    pub rps_flow_cnt: u64,
}

/// A NAPI instance.
#[derive(Debug, Serialize)]
pub struct Napi {
    #[serde(serialize_with = "linux::app::hex")]
    pub address: u64,
    /// 0 if nobody can poll it by its number.
    pub napi_id: u32,
    pub weight: i32,
    /// Its function.
    pub poll: String,
    /// Names of `enum` of `NAPI_STATE_*`, without their prefix.
    pub state: Vec<&'static str>,
    /// Packets that wait to be merged (GRO).
    pub gro_count: u64,
    /// Packets merged that wait to be handed on.
    pub rx_count: i32,
    pub defer_hard_irqs_count: i64,
    /// The interrupt's number, where the driver told it.
    pub irq: Option<i32>,
    /// Whether a thread of its own polls it.
    pub threaded: bool,
}

/// The timer that finds stuck transmit queues (`dev_watchdog`, net/sched/sch_generic.c).
#[derive(Debug, Serialize)]
pub struct Watchdog {
    /// How long a queue may be stopped.
    pub timeout: Age,
    /// Whether the timer runs.
    pub is_pending: bool,
    /// When it looks next.
    pub expires: Option<Age>,
}

/// More than any interface has: queues are numbered with 16 bits.
const MOST: usize = 65536;

/// Reads them.
pub fn read(
    k: &Memory,
    device: net_device<'_>,
    cpus: &[u32],
    clock: Clock,
    names: &Names<'_>,
    faults: &mut Faults,
) -> Queues {
    let name = device.name();
    let tx = transmit(k, device, cpus, clock, faults);
    let rx = receive(device, faults);
    let napi = napi(device, names, faults);
    Queues {
        tx: faults
            .check(format_args!("transmit queues of {name}"), tx)
            .unwrap_or_default(),
        rx: faults
            .check(format_args!("receive queues of {name}"), rx)
            .unwrap_or_default(),
        napi: faults
            .check(format_args!("NAPI of {name}"), napi)
            .unwrap_or_default(),
        watchdog: Some(watchdog(k, device, clock)),
    }
}

/// Names of the bits that are set.
fn bits(
    state: u64,
    constants: impl Iterator<Item = (&'static str, i128)>,
    prefix: &str,
) -> Vec<&'static str> {
    constants
        .filter(|(_, bit)| (0..64).contains(bit) && state >> bit & 1 != 0)
        .map(|(name, _)| name.strip_prefix(prefix).unwrap_or(name))
        .collect()
}

fn transmit(
    k: &Memory,
    device: net_device<'_>,
    cpus: &[u32],
    clock: Clock,
    faults: &mut Faults,
) -> Result<Vec<TransmitQueue>, Fault> {
    let mut preferred: HashMap<u16, Vec<u32>> = HashMap::new();
    for (cpu, queue) in self::preferred(device, cpus)? {
        preferred.entry(queue).or_default().push(cpu);
    }
    let mut found = Vec::new();
    let queues = linux::net::transmit_queues(device)?;
    for (index, queue) in queues.iter().take(MOST).enumerate() {
        if queue.dev().addr() != device.addr() {
            // Nor are those behind it.
            let what = format_args!("transmit queue {index} of {}", device.name());
            faults.require(false, what, queue.addr());
            break;
        }
        let qdisc = match queue.qdisc_sleeping().deref_or_null()? {
            Some(qdisc) => Some(qdisc.ops().deref()?.id().to_string()),
            None => None,
        };
        // QUEUE_STATE_*: an enum with a name since 2.6.38.
        let state = bits(
            queue.state(),
            kernel::netdev_queue_state_t::INFO.constants(),
            "__QUEUE_STATE_",
        );
        #[cfg(kernel_has = "netdev_queue.trans_timeout.counter")]
        let timeouts = linux::counter::signed(queue.trans_timeout().counter());
        #[cfg(not(kernel_has = "netdev_queue.trans_timeout.counter"))]
        let timeouts = 0;
        found.push(TransmitQueue {
            index,
            address: queue.addr(),
            state,
            qdisc,
            trans_start: Some(queue.trans_start())
                .filter(|start| *start != 0)
                .map(|start| clock.age(k, start)),
            tx_timeout: timeouts,
            tx_maxrate: queue.tx_maxrate(),
            xmit_lock_owner: u32::try_from(queue.xmit_lock_owner()).ok(),
            xps_cpus: u16::try_from(index)
                .ok()
                .and_then(|index| preferred.remove(&index))
                .unwrap_or_default(),
            byte_queue_limits: limits(queue),
            has_byte_queue_limits: uses_limits(queue),
        });
    }
    Ok(found)
}

/// `struct dql`, as net/core/net-sysfs.c shows it.
#[cfg(kernel_has = "netdev_queue.dql")]
fn limits(queue: kernel::netdev_queue<'_>) -> Details {
    let dql = queue.dql();
    let mut out = Details::new();
    out.set("limit", dql.limit())
        .set("limit_max", dql.max_limit())
        .set("limit_min", dql.min_limit())
        .set(
            "inflight",
            dql.num_queued().wrapping_sub(dql.num_completed()),
        )
        .set("num_queued", dql.num_queued())
        .set("num_completed", dql.num_completed());
    #[cfg(kernel_has = "dql.stall_cnt")]
    out.set("stall_thrs", dql.stall_thrs())
        .set("stall_max", dql.stall_max())
        .set("stall_cnt", dql.stall_cnt());
    out
}

#[cfg(kernel_has = "netdev_queue.dql")]
fn uses_limits(queue: kernel::netdev_queue<'_>) -> bool {
    queue.dql().num_queued() != 0 || queue.dql().limit() != 0
}

#[cfg(not(kernel_has = "netdev_queue.dql"))]
fn uses_limits(_: kernel::netdev_queue<'_>) -> bool {
    false
}

#[cfg(not(kernel_has = "netdev_queue.dql"))]
fn limits(_: kernel::netdev_queue<'_>) -> Details {
    Details::new()
}

/// Which CPU prefers which queue (`struct xps_dev_maps` of `XPS_CPUS`).
#[cfg(kernel_has = "xps_dev_maps.nr_ids")]
fn preferred(device: net_device<'_>, cpus: &[u32]) -> Result<Vec<(u32, u16)>, Fault> {
    let mut found = Vec::new();
    let Some(maps) = device.xps_maps().get(0) else {
        return Ok(found);
    };
    let Some(maps) = maps.deref_or_null()? else {
        return Ok(found);
    };
    let classes = u64::try_from(i64::from(maps.num_tc())).unwrap_or(0).max(1);
    for cpu in cpus.iter().filter(|cpu| **cpu < maps.nr_ids()) {
        for class in 0..classes.min(16) {
            let map = maps.attr_map().at(u64::from(*cpu) * classes + class)?;
            if let Some(map) = map.deref_or_null()? {
                let length = (map.len() as usize).min(MOST);
                for queue in map.queues().array(length)?.iter() {
                    found.push((*cpu, queue));
                }
            }
        }
    }
    Ok(found)
}

#[cfg(not(kernel_has = "xps_dev_maps.nr_ids"))]
fn preferred(_: net_device<'_>, _: &[u32]) -> Result<Vec<(u32, u16)>, Fault> {
    Ok(Vec::new())
}

#[cfg(kernel_has = "netdev_rx_queue.rps_map")]
fn receive(device: net_device<'_>, faults: &mut Faults) -> Result<Vec<ReceiveQueue>, Fault> {
    let mut found = Vec::new();
    let count = (device.num_rx_queues() as usize).min(MOST);
    for (index, queue) in device._rx().array(count)?.iter().enumerate() {
        #[cfg(kernel_has = "netdev_rx_queue.dev")]
        if queue.dev().addr() != device.addr() {
            let what = format_args!("receive queue {index} of {}", device.name());
            faults.require(false, what, queue.addr());
            break;
        }
        let rps_cpus = match queue.rps_map().deref_or_null()? {
            Some(map) => {
                let length = (map.len() as usize).min(MOST);
                map.cpus().array(length)?.iter().collect()
            }
            None => Vec::new(),
        };
        #[cfg(kernel_has = "rps_dev_flow_table.mask")]
        let rps_flow_cnt = match queue.rps_flow_table().deref_or_null()? {
            Some(table) => u64::from(table.mask()) + 1,
            None => 0,
        };
        #[cfg(not(kernel_has = "rps_dev_flow_table.mask"))]
        let rps_flow_cnt = 0;
        found.push(ReceiveQueue {
            index,
            address: queue.addr(),
            rps_cpus,
            rps_flow_cnt,
        });
    }
    let _ = faults;
    Ok(found)
}

#[cfg(not(kernel_has = "netdev_rx_queue.rps_map"))]
fn receive(_: net_device<'_>, _: &mut Faults) -> Result<Vec<ReceiveQueue>, Fault> {
    Ok(Vec::new())
}

fn watchdog(k: &Memory, device: net_device<'_>, clock: Clock) -> Watchdog {
    let timer = device.watchdog_timer();
    // A timer that waits is on a list.
    let is_pending = !timer.entry().pprev().is_null();
    Watchdog {
        timeout: clock.until(
            k,
            clock
                .now
                .wrapping_add(u64::from(device.watchdog_timeo().max(0).cast_unsigned())),
        ),
        is_pending,
        expires: is_pending.then(|| clock.until(k, timer.expires())),
    }
}

#[cfg(kernel_has = "napi_struct.dev_list")]
fn napi(
    device: net_device<'_>,
    names: &Names<'_>,
    faults: &mut Faults,
) -> Result<Vec<Napi>, Fault> {
    let what = &format!("NAPI of {}", device.name());
    let mut found = Vec::new();
    for napi in device.napi_list().entries(kernel::napi_struct::dev_list) {
        let Some(napi) = faults.check(what, napi) else {
            continue;
        };
        let is_its = napi.dev().addr() == device.addr() && napi.weight() > 0;
        faults.require(is_its && is_listed(napi), what, napi.addr());
        #[cfg(kernel_has = "napi_struct.rx_count")]
        if !device.memory().dump().is_live() {
            // It is counted until all of the list was handed on (`gro_normal_list`).
            let is_empty = napi.rx_list().next().addr() == napi.rx_list().addr();
            let holds = is_empty || napi.rx_count() != 0;
            faults.require(holds, format_args!("packets of {what}"), napi.addr());
        }
        let poll = name_of(names, napi.poll());
        faults.require(
            poll.is_some() || names.is_nameless(napi.poll().addr()),
            format_args!("function of {what}"),
            napi.addr(),
        );
        #[cfg(kernel_has = "napi_struct.gro_hash")]
        let gro_count = napi
            .gro_hash()
            .iter()
            .map(|list| u64::try_from(i64::from(list.count())).unwrap_or(0))
            .sum();
        #[cfg(not(kernel_has = "napi_struct.gro_hash"))]
        let gro_count = 0;
        #[cfg(kernel_has = "napi_struct.rx_count")]
        let rx_count = napi.rx_count();
        #[cfg(not(kernel_has = "napi_struct.rx_count"))]
        let rx_count = 0;
        #[cfg(kernel_has = "napi_struct.defer_hard_irqs_count")]
        let deferred = i64::from(napi.defer_hard_irqs_count());
        #[cfg(not(kernel_has = "napi_struct.defer_hard_irqs_count"))]
        let deferred = 0;
        #[cfg(kernel_has = "napi_struct.irq")]
        let irq = Some(napi.irq()).filter(|irq| *irq > 0);
        #[cfg(not(kernel_has = "napi_struct.irq"))]
        let irq = None;
        #[cfg(kernel_has = "napi_struct.thread")]
        let threaded = !napi.thread().is_null();
        #[cfg(not(kernel_has = "napi_struct.thread"))]
        let threaded = false;
        found.push(Napi {
            address: napi.addr(),
            napi_id: napi.napi_id(),
            weight: napi.weight(),
            poll: poll.unwrap_or_else(|| format!("{:#x}", napi.poll().addr())),
            state: napi_state(napi.state()),
            gro_count,
            rx_count,
            defer_hard_irqs_count: deferred,
            irq,
            threaded,
        });
    }
    Ok(found)
}

#[cfg(not(kernel_has = "napi_struct.dev_list"))]
fn napi(_: net_device<'_>, _: &Names<'_>, _: &mut Faults) -> Result<Vec<Napi>, Fault> {
    Ok(Vec::new())
}

/// Bits of `napi_struct.state`: an enum without a name, whose constants are numbers of the kernel's.
#[cfg(kernel_has = "napi_struct.dev_list")]
fn napi_state(state: u64) -> Vec<&'static str> {
    let mut names = Vec::new();
    macro_rules! each {
        ($($constant:ident $name:literal)*) => {$(
            if state >> (i64::from(kernel::constants::$constant) & 63) & 1 != 0 {
                names.push($name);
            }
        )*};
    }
    let _ = &mut names;
    #[cfg(kernel_has = "const:NAPI_STATE_LISTED")]
    each!(NAPI_STATE_SCHED "SCHED" NAPI_STATE_MISSED "MISSED" NAPI_STATE_DISABLE "DISABLE" NAPI_STATE_NPSVC "NPSVC"
        NAPI_STATE_LISTED "LISTED" NAPI_STATE_NO_BUSY_POLL "NO_BUSY_POLL" NAPI_STATE_IN_BUSY_POLL "IN_BUSY_POLL");
    #[cfg(kernel_has = "const:NAPI_STATE_THREADED")]
    each!(NAPI_STATE_PREFER_BUSY_POLL "PREFER_BUSY_POLL" NAPI_STATE_THREADED "THREADED" NAPI_STATE_SCHED_THREADED "SCHED_THREADED");
    names
}

/// Those on an interface's list have a bit that says so (`netif_napi_add`).
#[cfg(kernel_has = "napi_struct.dev_list")]
fn is_listed(napi: kernel::napi_struct<'_>) -> bool {
    let _ = napi;
    #[cfg(kernel_has = "const:NAPI_STATE_LISTED")]
    return napi.state() >> (i64::from(kernel::constants::NAPI_STATE_LISTED) & 63) & 1 != 0;
    #[cfg(not(kernel_has = "const:NAPI_STATE_LISTED"))]
    true
}

/// The name of a function that begins there.
#[cfg(kernel_has = "napi_struct.dev_list")]
fn name_of(names: &Names<'_>, function: FnPtr<'_>) -> Option<String> {
    match function.name() {
        Some(name) => Some(name.to_owned()),
        None => names.beginning(function.addr()).map(|named| named.name),
    }
}

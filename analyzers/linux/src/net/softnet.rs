//! Per-CPU packet queues: what /proc/net/softnet_stat shows.

use kernel::sym;
use kstruct::{Fault, Memory};
use serde::Serialize;

/// One CPU's receive processing.
#[derive(Debug, Serialize)]
pub struct Softnet {
    /// The CPU's number.
    pub cpu: u32,
    /// Packets that went through the CPU's queue or NAPI.
    pub processed: u64,
    /// Packets dropped because the queue was full.
    pub dropped: u64,
    /// How often a round ended with work left.
    pub time_squeeze: u64,
    /// Packets that other CPUs steered here (RPS).
    pub received_rps: u64,
    /// Packets dropped by flow limits.
    pub flow_limit: u64,
    /// Packets that wait in the queue that other CPUs and drivers fill.
    pub input_qlen: u32,
    /// Packets taken from it, and not yet processed.
    pub process_qlen: u32,
}

/// The state of one CPU.
#[cfg(kernel_has = "softnet_data.processed")]
pub fn softnet(k: &Memory, cpu: u32) -> Result<Softnet, Fault> {
    let data = k.per_cpu(sym::softnet_data, cpu)?;
    // An atomic from 6.8 on.
    #[cfg(kernel_has = "softnet_data.dropped.counter")]
    let dropped = data.dropped().counter().cast_unsigned();
    #[cfg(not(kernel_has = "softnet_data.dropped.counter"))]
    let dropped = data.dropped();
    #[cfg(kernel_has = "softnet_data.flow_limit")]
    let flow_limit = data
        .flow_limit()
        .deref_or_null()?
        .map_or(0, |limit| u64::from(limit.count()));
    #[cfg(not(kernel_has = "softnet_data.flow_limit"))]
    let flow_limit = 0;
    Ok(Softnet {
        cpu,
        processed: data.processed().into(),
        dropped: dropped.into(),
        time_squeeze: data.time_squeeze().into(),
        received_rps: data.received_rps().into(),
        flow_limit,
        input_qlen: data.input_pkt_queue().qlen(),
        process_qlen: data.process_queue().qlen(),
    })
}

/// The state of one CPU: before 2.6.31 the counters were apart from the queues.
#[cfg(not(kernel_has = "softnet_data.processed"))]
pub fn softnet(k: &Memory, cpu: u32) -> Result<Softnet, Fault> {
    let data = k.per_cpu(sym::softnet_data, cpu)?;
    let counters = k.per_cpu(sym::netdev_rx_stat, cpu)?;
    Ok(Softnet {
        cpu,
        processed: counters.total().into(),
        dropped: counters.dropped().into(),
        time_squeeze: counters.time_squeeze().into(),
        received_rps: 0,
        flow_limit: 0,
        input_qlen: data.input_pkt_queue().qlen(),
        process_qlen: 0,
    })
}

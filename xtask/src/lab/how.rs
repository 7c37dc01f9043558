//! What becomes of a guest that has recorded its truth.

use serde::{Deserialize, Serialize};

/// What becomes of a guest that has recorded its truth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// It is stopped, dumped by QEMU, goes on and records once more: the machines of `target/lab/machines`.
    #[default]
    Stop,
    /// It panics, its crash kernel copies /proc/vmcore, and then QEMU dumps the same memory: `target/lab/crashes`.
    Panic,
    /// It runs the analyzers on its own /proc/kcore and records once more: `target/lab/live`.
    Live,
    /// It is another guest: servers with 20,000 TCP connections, some of them sick; stopped and dumped: `target/lab/crowds`.
    Crowd,
}

impl How {
    /// Where its machines are kept.
    pub fn folder(self) -> &'static str {
        match self {
            How::Stop => "machines",
            How::Panic => "crashes",
            How::Live => "live",
            How::Crowd => "crowds",
        }
    }

    /// What the kernel is told besides.
    pub fn kernel_parameters(self) -> &'static str {
        match self {
            How::Panic => " crashkernel=128M",
            // As many buckets as the kernel makes of 16 GB of memory.
            How::Crowd => " thash_entries=131072",
            How::Stop | How::Live => "",
        }
    }

    /// Whether what was recorded after the dump is there to be compared with what was before.
    pub fn records_again(self) -> bool {
        matches!(self, How::Stop | How::Live)
    }
}

/// What the crash kernel is told: the least that makes it start on whatever state the devices are in.
pub const CRASH_PARAMETERS: &str =
    "console=ttyS0 rdinit=/init nr_cpus=1 reset_devices irqpoll panic=-1 loglevel=6";

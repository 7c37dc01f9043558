//! The kernel's log (kernel/printk).
//!
//! It has been three things: text with a number in front of each line, records that lie one behind the other, and since 5.10 a ring of
//! descriptors beside a ring of texts.

#[cfg(all(kernel_has = "sym:prb", kernel_has = "printk_ringbuffer"))]
mod ring;
#[cfg(all(kernel_has = "sym:prb", kernel_has = "printk_ringbuffer"))]
pub use ring::read;

#[cfg(all(
    not(kernel_has = "sym:prb"),
    kernel_has = "sym:logged_chars",
    kernel_has = "sym:log_end"
))]
mod text;
#[cfg(all(
    not(kernel_has = "sym:prb"),
    kernel_has = "sym:logged_chars",
    kernel_has = "sym:log_end"
))]
pub use text::read;

#[cfg(kernel_has = "sym:log_first_idx")]
mod entries;
#[cfg(kernel_has = "sym:log_first_idx")]
pub use entries::read;
// Its tests need no such kernel.
#[cfg(any(test, kernel_has = "sym:log_first_idx"))]
mod records;

use serde::Serialize;

/// What was printed at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Record {
    /// Its number since the machine booted; `null` for kernels that don't count.
    pub sequence: Option<u64>,
    /// When, in nanoseconds of the scheduler's clock; `null` for kernels that don't stamp.
    pub time_ns: Option<u64>,
    /// 0 (emergency) to 7 (debug).
    pub level: u8,
    /// As of syslog: 0 is the kernel, what is written to /dev/kmsg has others.
    pub facility: u8,
    /// Who printed it, with `CONFIG_PRINTK_CALLER`: `T42` a task, `C1` a CPU.
    pub caller: Option<String>,
    /// The device that it is about: `+pci:0000:00:01.0`.
    pub device: Option<Device>,
    /// Without the newline at its end. It may have several lines.
    pub text: String,
}

/// What `dev_printk` says of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Device {
    pub subsystem: String,
    pub device: String,
}

/// The names of levels, as options and `dmesg -x` have them.
pub const LEVELS: [&str; 8] = [
    "emerg", "alert", "crit", "err", "warn", "notice", "info", "debug",
];

/// A kernel whose log is kept as none that is known here.
#[cfg(not(any(
    all(kernel_has = "sym:prb", kernel_has = "printk_ringbuffer"),
    all(
        not(kernel_has = "sym:prb"),
        kernel_has = "sym:logged_chars",
        kernel_has = "sym:log_end"
    ),
    kernel_has = "sym:log_first_idx"
)))]
pub fn read(_: &kstruct::Memory, _: &mut linux::Faults) -> Option<Vec<Record>> {
    None
}

/// `printk_caller_id` and how it is printed; 0 where the kernel was built without.
#[cfg(any(kernel_has = "printk_info", kernel_has = "printk_log.caller_id"))]
fn caller(id: u32) -> Option<String> {
    const CPU: u32 = 0x8000_0000;
    match id {
        0 => None,
        id if id & CPU != 0 => Some(format!("C{}", id & !CPU)),
        id => Some(format!("T{id}")),
    }
}

/// What stands in records that say that something went wrong. The name of a subsystem may stand before them.
const BAD: [&str; 15] = [
    "Kernel panic",
    "BUG: ",
    "kernel BUG at",
    "Oops: ",
    "general protection fault",
    "Unable to handle kernel",
    "Internal error: ",
    "WARNING: ",
    "INFO: task ",
    "INFO: rcu",
    "self-detected stall",
    "soft lockup",
    "hard LOCKUP",
    "Out of memory: ",
    "Trigger a crash",
];

/// Whether a record says that something went wrong.
pub fn is_bad(record: &Record) -> bool {
    BAD.iter().any(|bad| record.text.contains(bad))
}

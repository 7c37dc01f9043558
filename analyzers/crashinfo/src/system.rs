//! The kernel and the machine: names, command line, taint, clocks, load, and whether it panicked.

use kernel::sym;
use kstruct::{Fault, Memory};
use linux::{Faults, task};
use serde::Serialize;

use crate::log::Record;
use crate::tasks::Running;
use crate::utc;

/// The kernel and the machine.
#[derive(Serialize)]
pub struct System {
    /// `uname -a`, of the first UTS namespace; `null` if it can't be read.
    pub names: Option<Names>,
    /// What the kernel was built with, as /proc/version has it.
    pub banner: &'static str,
    /// As in /proc/cmdline.
    pub command_line: Option<String>,
    pub taint: Option<Taint>,
    pub clocks: Option<Clocks>,
    /// As in /proc/loadavg, with its two digits.
    pub load: Option<[f64; 3]>,
    /// `null` if it did not panic.
    pub panic: Option<Panic>,
}

/// `struct new_utsname`.
#[derive(Serialize)]
pub struct Names {
    pub sysname: String,
    pub nodename: String,
    pub release: String,
    pub version: String,
    pub machine: String,
    pub domainname: String,
}

/// Why a kernel is not one that its developers like to hear of.
#[derive(Serialize)]
pub struct Taint {
    /// As in /proc/sys/kernel/tainted.
    pub mask: u64,
    /// As an oops shows them; empty if there are none.
    pub letters: String,
    pub reasons: Vec<&'static str>,
}

/// Where its clocks stood when they were last updated: at most a tick before the dump, or some ticks where no CPU had anything to do.
#[derive(Serialize)]
pub struct Clocks {
    /// The time of day: nanoseconds since 1970.
    pub real_ns: i64,
    /// The same as `2026-11-28 08:00:00` in UTC.
    pub utc: String,
    /// Nanoseconds since it booted, with those in which it was suspended: /proc/uptime.
    pub boot_ns: i64,
    /// Without those: what the log is stamped with, give or take some milliseconds.
    pub monotonic_ns: i64,
}

/// What it died of.
#[derive(Serialize)]
pub struct Panic {
    /// What stands behind `Kernel panic - not syncing: ` in the log.
    pub message: Option<String>,
    /// Who called `panic`; `null` where the kernel doesn't say.
    pub cpu: Option<u32>,
    /// What that CPU was running.
    pub task: Option<Running>,
}

/// Reads all of it but the panic, which takes the log.
pub fn read(k: &Memory, faults: &mut Faults) -> System {
    System {
        names: faults.check("names of the machine", names(k)).flatten(),
        banner: k.kernel().banner.trim_end(),
        command_line: faults.check("command line", command_line(k)).flatten(),
        taint: taint(k, faults),
        clocks: faults.check("clocks", clocks(k)).flatten(),
        load: faults.check("load", load(k)).flatten(),
        panic: None,
    }
}

fn names(k: &Memory) -> Result<Option<Names>, Fault> {
    // 2.6.19 and later.
    #[cfg(kernel_has = "sym:init_uts_ns")]
    let names = k.get(sym::init_uts_ns)?.name();
    #[cfg(all(not(kernel_has = "sym:init_uts_ns"), kernel_has = "sym:system_utsname"))]
    let names = k.get(sym::system_utsname)?;
    #[cfg(any(kernel_has = "sym:init_uts_ns", kernel_has = "sym:system_utsname"))]
    return Ok(Some(Names {
        sysname: names.sysname().to_string(),
        nodename: names.nodename().to_string(),
        release: names.release().to_string(),
        version: names.version().to_string(),
        machine: names.machine().to_string(),
        domainname: names.domainname().to_string(),
    }));
    #[cfg(not(any(kernel_has = "sym:init_uts_ns", kernel_has = "sym:system_utsname")))]
    {
        let _ = k;
        Ok(None)
    }
}

#[cfg(kernel_has = "sym:saved_command_line")]
fn command_line(k: &Memory) -> Result<Option<String>, Fault> {
    use kstruct::Text as _;

    // A pointer, or an array before 2.6.21.
    let line = k.get(sym::saved_command_line)?.text()?.to_string();
    Ok(Some(line.trim_end().to_owned()))
}

#[cfg(not(kernel_has = "sym:saved_command_line"))]
fn command_line(_: &Memory) -> Result<Option<String>, Fault> {
    Ok(None)
}

/// What each bit means (Documentation/admin-guide/tainted-kernels.rst): letter, reason. The bits have never changed.
const REASONS: [(char, &str); 20] = [
    ('P', "proprietary module was loaded"),
    ('F', "module was force loaded"),
    ('S', "kernel running on an out of specification system"),
    ('R', "module was force unloaded"),
    ('M', "processor reported a machine check exception"),
    ('B', "bad page referenced or some unexpected page flags"),
    ('U', "taint requested by userspace application"),
    ('D', "kernel died recently: there was an oops or BUG"),
    ('A', "ACPI table overridden by user"),
    ('W', "kernel issued warning"),
    ('C', "staging driver was loaded"),
    ('I', "workaround for bug in platform firmware applied"),
    ('O', "externally-built module was loaded"),
    ('E', "unsigned module was loaded"),
    ('L', "soft lockup occurred"),
    ('K', "kernel has been live patched"),
    ('X', "auxiliary taint, defined by the distribution"),
    ('T', "kernel was built with the struct randomization plugin"),
    ('N', "an in-kernel test has been run"),
    ('J', "userspace used a mutating debug operation in fwctl"),
];

/// The letters of a mask of taint flags, in the order of their bits; a bit without a letter is `?`.
pub fn taint_letters(mask: u64) -> String {
    kstruct::walk::set_bits([mask], 64)
        .map(|bit| REASONS.get(bit as usize).map_or('?', |(letter, _)| *letter))
        .collect()
}

fn taint(k: &Memory, faults: &mut Faults) -> Option<Taint> {
    let mask = faults.check("taint", tainted(k)).flatten()?;
    let bits = kstruct::walk::set_bits([mask], 64);
    let reasons = bits.filter_map(|bit| Some(REASONS.get(bit as usize)?.1));
    Some(Taint {
        mask,
        letters: taint_letters(mask),
        reasons: reasons.collect(),
    })
}

#[cfg(kernel_has = "sym:tainted_mask")]
fn tainted(k: &Memory) -> Result<Option<u64>, Fault> {
    Ok(Some(k.get(sym::tainted_mask)?))
}

/// Before 2.6.27.
#[cfg(all(not(kernel_has = "sym:tainted_mask"), kernel_has = "sym:tainted"))]
fn tainted(k: &Memory) -> Result<Option<u64>, Fault> {
    Ok(Some(i64::from(k.get(sym::tainted)?).cast_unsigned()))
}

#[cfg(not(any(kernel_has = "sym:tainted_mask", kernel_has = "sym:tainted")))]
fn tainted(_: &Memory) -> Result<Option<u64>, Fault> {
    Ok(None)
}

impl Clocks {
    fn new(real_ns: i64, boot_ns: i64, monotonic_ns: i64) -> Self {
        Clocks {
            real_ns,
            utc: utc::text(real_ns.div_euclid(1_000_000_000)),
            boot_ns,
            monotonic_ns,
        }
    }
}

#[cfg(kernel_has = "tk_core__type.timekeeper")]
fn clocks(k: &Memory) -> Result<Option<Clocks>, Fault> {
    let now = linux::time::ktime(k)?;
    Ok(Some(Clocks::new(now.real, now.boot, now.monotonic)))
}

/// Before 3.4, when there was no sleep that the second clock doesn't count.
#[cfg(all(
    not(kernel_has = "tk_core__type.timekeeper"),
    kernel_has = "sym:xtime",
    kernel_has = "sym:wall_to_monotonic"
))]
fn clocks(k: &Memory) -> Result<Option<Clocks>, Fault> {
    let nanoseconds = |time: kernel::timespec<'_>| {
        let seconds: i64 = time.tv_sec().into();
        seconds
            .wrapping_mul(1_000_000_000)
            .wrapping_add(time.tv_nsec().into())
    };
    let real = nanoseconds(k.get(sym::xtime)?);
    let monotonic = real.wrapping_add(nanoseconds(k.get(sym::wall_to_monotonic)?));
    Ok(Some(Clocks::new(real, monotonic, monotonic)))
}

#[cfg(not(any(
    kernel_has = "tk_core__type.timekeeper",
    all(kernel_has = "sym:xtime", kernel_has = "sym:wall_to_monotonic")
)))]
fn clocks(_: &Memory) -> Result<Option<Clocks>, Fault> {
    Ok(None)
}

/// As /proc/loadavg rounds it (`get_avenrun` and `LOAD_INT`): fixed point with 11 bits, and half of a hundredth added.
#[cfg(kernel_has = "sym:avenrun")]
fn load(k: &Memory) -> Result<Option<[f64; 3]>, Fault> {
    const ONE: u64 = 1 << 11;
    let averages = k.get(sym::avenrun)?;
    let shown = |index| {
        let value = averages.get(index).unwrap_or(0).wrapping_add(ONE / 200);
        let hundredths = (value % ONE) * 100 / ONE;
        (value / ONE) as f64 + hundredths as f64 / 100.0
    };
    Ok(Some([shown(0), shown(1), shown(2)]))
}

#[cfg(not(kernel_has = "sym:avenrun"))]
fn load(_: &Memory) -> Result<Option<[f64; 3]>, Fault> {
    Ok(None)
}

/// Whether it panicked: by the CPU that holds `panic_cpu`, or by what the log says.
pub fn panic(k: &Memory, log: &[Record], faults: &mut Faults) -> Option<Panic> {
    let message = log.iter().rev().find_map(|record| {
        let (_, message) = record
            .text
            .split_once("Kernel panic - not syncing: ")
            .or_else(|| record.text.split_once("Kernel panic: "))?;
        Some(message.to_owned())
    });
    let cpu = faults
        .check("CPU that panicked", panic_cpu(k))
        .flatten()
        .filter(|cpu| *cpu >= 0)
        .map(i32::cast_unsigned);
    if message.is_none() && cpu.is_none() {
        return None;
    }
    let task = cpu.and_then(|cpu| {
        let current = task::current(k, cpu);
        let current = faults.check(format_args!("task of CPU {cpu}"), current)?;
        Some(Running::new(cpu, current, None))
    });
    Some(Panic { message, cpu, task })
}

/// 4.5 and later: -1 if none does.
#[cfg(kernel_has = "sym:panic_cpu")]
fn panic_cpu(k: &Memory) -> Result<Option<i32>, Fault> {
    Ok(Some(k.get(sym::panic_cpu)?.value()))
}

/// x86 before that: the CPU that went into the crash kernel.
#[cfg(all(not(kernel_has = "sym:panic_cpu"), kernel_has = "sym:crashing_cpu"))]
fn panic_cpu(k: &Memory) -> Result<Option<i32>, Fault> {
    Ok(Some(k.get(sym::crashing_cpu)?))
}

#[cfg(not(any(kernel_has = "sym:panic_cpu", kernel_has = "sym:crashing_cpu")))]
fn panic_cpu(_: &Memory) -> Result<Option<i32>, Fault> {
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::taint_letters;

    #[test]
    fn taint_is_letters() {
        assert_eq!(taint_letters(0), "");
        assert_eq!(taint_letters(1 | 1 << 12 | 1 << 13), "POE");
        assert_eq!(taint_letters(1 << 9 | 1 << 63), "W?");
    }
}

//! Tasks: how many are in which state, what CPUs were running, and who waits uninterruptibly for how long.

use std::collections::BTreeMap;

use kernel::{sym, task_struct};
use kstruct::{Fault, Memory, View as _};
use linux::{Faults, cpu, task};
use serde::Serialize;

/// CPUs, by their numbers, and what they were doing.
#[derive(Serialize)]
pub struct Cpus {
    pub possible: Vec<u32>,
    /// Those that are there; `null` for kernels that don't tell them from the possible ones.
    pub present: Option<Vec<u32>>,
    pub online: Vec<u32>,
    /// Of each that is online.
    pub running: Vec<Running>,
}

/// What a CPU was running.
#[derive(Serialize)]
pub struct Running {
    pub cpu: u32,
    /// Whether that is its idle task; `null` if it has none that can be read.
    pub idle: Option<bool>,
    pub pid: i32,
    pub comm: String,
    #[serde(serialize_with = "linux::app::hex")]
    pub address: u64,
}

impl Running {
    /// A task that a CPU was running.
    pub fn new(cpu: u32, task: task_struct<'_>, idle: Option<bool>) -> Self {
        Running {
            cpu,
            idle,
            pid: task.pid(),
            comm: task.comm().to_string(),
            address: task.addr(),
        }
    }
}

/// All tasks but the idle ones.
#[derive(Serialize)]
pub struct Tasks {
    /// Groups of threads, kernel threads among them.
    pub processes: u64,
    pub threads: u64,
    pub kernel_threads: u64,
    /// Threads by their state, with the letters of /proc.
    pub states: BTreeMap<char, u64>,
    /// Those in state D, who has waited longest first.
    pub uninterruptible: Vec<Waiting>,
    /// After how many seconds the kernel complains of a task in that state; 0 if it never does, `null` if it doesn't know how.
    pub hung_after_seconds: Option<u64>,
}

/// A task that waits uninterruptibly.
#[derive(Serialize)]
pub struct Waiting {
    pub pid: i32,
    pub tgid: i32,
    pub comm: String,
    pub cpu: Option<u32>,
    #[serde(serialize_with = "linux::app::hex")]
    pub address: u64,
    /// Since it last got a CPU, in seconds: it waits for that long, less what it ran then.
    pub seconds: Option<f64>,
    /// Whether that is longer than `hung_after_seconds`.
    pub hung: bool,
}

pub fn cpus(k: &Memory, faults: &mut Faults) -> Cpus {
    let possible = faults.check("mask of possible CPUs", cpu::possible(k));
    let present = faults.check("mask of present CPUs", present(k)).flatten();
    let online = faults.check("mask of CPUs that are online", cpu::online(k));
    let online = online.unwrap_or_default();
    let mut running = Vec::new();
    for cpu in online.iter().copied() {
        let current = task::current(k, cpu);
        let Some(current) = faults.check(format_args!("task of CPU {cpu}"), current) else {
            continue;
        };
        let idle = task::idle(k, cpu);
        let idle = faults.check(format_args!("idle task of CPU {cpu}"), idle);
        let idle = idle.map(|idle| idle.addr() == current.addr());
        running.push(Running::new(cpu, current, idle));
    }
    Cpus {
        possible: possible.unwrap_or_default(),
        present,
        online,
        running,
    }
}

#[cfg(kernel_has = "sym:__cpu_present_mask")]
fn present(k: &Memory) -> Result<Option<Vec<u32>>, Fault> {
    let width = u32::from(k.kernel().pointer_size) * 8;
    let bits = k.get(sym::__cpu_present_mask)?.bits();
    let set = kstruct::walk::set_bits(bits.iter(), width);
    Ok(Some(set.map(|bit| bit as u32).collect()))
}

#[cfg(not(kernel_has = "sym:__cpu_present_mask"))]
fn present(_: &Memory) -> Result<Option<Vec<u32>>, Fault> {
    Ok(None)
}

pub fn tasks(k: &Memory, online: &[u32], faults: &mut Faults) -> anyhow::Result<Tasks> {
    let letters = task::States::new(k)
        .map_err(|fault| anyhow::anyhow!("the names of task states can't be read: {fault}"))?;
    let now = faults.check("clock of the scheduler", clock::now(k, online));
    let hung_after_seconds = faults
        .check("sysctl_hung_task_timeout_secs", hung_after(k))
        .flatten();
    let mut all = Tasks {
        processes: 0,
        threads: 0,
        kernel_threads: 0,
        states: BTreeMap::new(),
        uninterruptible: Vec::new(),
        hung_after_seconds,
    };
    for group in task::groups(k, faults) {
        all.processes += 1;
        for thread in group {
            all.threads += 1;
            all.kernel_threads += u64::from(task::is_kernel_thread(thread));
            let letter = letters.letter(thread);
            *all.states.entry(letter).or_default() += 1;
            if letter == 'D' {
                let seconds = now.flatten().map(|now| {
                    let ran = clock::last_ran(thread);
                    now.saturating_sub(ran) as f64 / 1e9
                });
                let cpu = task::cpu(thread);
                all.uninterruptible.push(Waiting {
                    pid: thread.pid(),
                    tgid: thread.tgid(),
                    comm: thread.comm().to_string(),
                    cpu: faults.check(format_args!("CPU of {}", thread.pid()), cpu),
                    address: thread.addr(),
                    seconds,
                    hung: matches!((seconds, hung_after_seconds), (Some(seconds), Some(limit @ 1..)) if seconds > limit as f64),
                });
            }
        }
    }
    all.uninterruptible.sort_by(|a, b| {
        let longest = b.seconds.partial_cmp(&a.seconds);
        longest
            .unwrap_or(std::cmp::Ordering::Equal)
            .then(a.pid.cmp(&b.pid))
    });
    Ok(all)
}

/// The scheduler's clock, in nanoseconds.
#[cfg(all(
    kernel_has = "rq.clock",
    kernel_has = "task_struct.sched_info.last_arrival"
))]
mod clock {
    use super::{Fault, Memory, sym, task_struct};

    /// CPUs that have nothing to do leave theirs behind, so the latest.
    pub fn now(k: &Memory, online: &[u32]) -> Result<Option<u64>, Fault> {
        let mut latest = None;
        for cpu in online {
            latest = latest.max(Some(k.per_cpu(sym::runqueues, *cpu)?.clock()));
        }
        Ok(latest)
    }

    /// When a task last got a CPU (`sched_info_arrive`, kernel/sched/stats.h).
    pub fn last_ran(task: task_struct<'_>) -> u64 {
        task.sched_info().last_arrival()
    }
}

/// Before 2.6.23: the clock at the last tick.
#[cfg(all(
    kernel_has = "runqueue.timestamp_last_tick",
    kernel_has = "task_struct.last_ran"
))]
mod clock {
    use super::{Fault, Memory, sym, task_struct};

    pub fn now(k: &Memory, online: &[u32]) -> Result<Option<u64>, Fault> {
        let mut latest = None;
        for cpu in online {
            let clock = k.per_cpu(sym::runqueues, *cpu)?.timestamp_last_tick();
            latest = latest.max(Some(clock));
        }
        Ok(latest)
    }

    /// When it last gave up a CPU (`schedule`).
    pub fn last_ran(task: task_struct<'_>) -> u64 {
        task.last_ran()
    }
}

/// A kernel that doesn't stamp tasks by a clock that is known here.
#[cfg(not(any(
    all(
        kernel_has = "rq.clock",
        kernel_has = "task_struct.sched_info.last_arrival"
    ),
    all(
        kernel_has = "runqueue.timestamp_last_tick",
        kernel_has = "task_struct.last_ran"
    )
)))]
mod clock {
    use super::{Fault, Memory, task_struct};

    pub fn now(_: &Memory, _: &[u32]) -> Result<Option<u64>, Fault> {
        Ok(None)
    }

    pub fn last_ran(_: task_struct<'_>) -> u64 {
        0
    }
}

#[cfg(kernel_has = "sym:sysctl_hung_task_timeout_secs")]
fn hung_after(k: &Memory) -> Result<Option<u64>, Fault> {
    Ok(Some(k.get(sym::sysctl_hung_task_timeout_secs)?))
}

#[cfg(not(kernel_has = "sym:sysctl_hung_task_timeout_secs"))]
fn hung_after(_: &Memory) -> Result<Option<u64>, Fault> {
    Ok(None)
}

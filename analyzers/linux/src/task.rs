//! Processes and threads.

use kernel::{sym, task_struct};
use kstruct::{Fault, FaultKind, Memory, View as _};

use crate::Faults;

/// The leaders of all thread groups, in the order of the kernel's list, each once: that the list goes round in circles is a fault at its end. The
/// idle tasks are not on it. That init isn't either is a fault: it is there from before anything can dump the kernel until there is none, so tasks
/// are missing from a list that ends without it.
pub fn leaders(k: &Memory) -> impl Iterator<Item = Result<task_struct<'_>, Fault>> {
    /// Init's process id.
    const INIT: i32 = 1;
    let (init, fault) = match k.get(sym::init_task) {
        Ok(init) => (Some(init), None),
        Err(fault) => (None, Some(Err(fault))),
    };
    let list = init.map(|init| init.tasks().entries(task_struct::tasks));
    let head = init.map_or(0, |init| init.tasks().addr());
    let all = fault.into_iter().chain(list.into_iter().flatten());
    // What could not be read may have been it.
    let mut is_known = false;
    crate::once(all)
        .map(Some)
        .chain(std::iter::once(None))
        .filter_map(move |task| {
            let Some(task) = task else {
                return (!is_known).then_some(Err(Fault {
                    address: head,
                    kind: FaultKind::Inconsistent,
                }));
            };
            is_known |= task.map_or(true, |task| task.pid() == INIT);
            Some(task)
        })
}

/// The threads of a group, the leader first.
#[cfg(kernel_has = "task_struct.thread_node")]
pub fn threads<'m>(
    leader: task_struct<'m>,
) -> impl Iterator<Item = Result<task_struct<'m>, Fault>> {
    let (signal, fault) = match leader.signal().deref() {
        Ok(signal) => (Some(signal), None),
        Err(fault) => (None, Some(Err(fault))),
    };
    let all = signal.map(|signal| signal.thread_head().entries(task_struct::thread_node));
    let others = all
        .into_iter()
        .flatten()
        .filter(move |thread| !matches!(thread, Ok(thread) if thread.addr() == leader.addr()));
    std::iter::once(Ok(leader)).chain(fault).chain(others)
}

/// The threads of a group, the leader first.
#[cfg(all(
    not(kernel_has = "task_struct.thread_node"),
    kernel_has = "task_struct.thread_group"
))]
pub fn threads<'m>(
    leader: task_struct<'m>,
) -> impl Iterator<Item = Result<task_struct<'m>, Fault>> {
    let others = leader.thread_group().entries(task_struct::thread_group);
    std::iter::once(Ok(leader)).chain(others)
}

/// The threads of a group, the leader first.
#[cfg(all(
    not(kernel_has = "task_struct.thread_group"),
    kernel_has = "task_struct.pids",
    kernel_has = "pid.pid_list"
))]
pub fn threads<'m>(
    leader: task_struct<'m>,
) -> impl Iterator<Item = Result<task_struct<'m>, Fault>> {
    let same_group = |task: task_struct<'m>| {
        let pids = task.pids();
        let index = kernel::constants::PIDTYPE_TGID as usize;
        // The enum has the constant, so the array has the element.
        pids.get(index).map(|pid| pid.pid_list())
    };
    let others = same_group(leader).map(|list| {
        let designator = move |task| same_group(task).unwrap_or(list);
        list.entries(designator)
    });
    std::iter::once(Ok(leader)).chain(others.into_iter().flatten())
}

/// All thread groups, the leader first, but for the idle tasks. What can't be read of the lists is a fault, and so is it if they have not as many
/// threads as the kernel counts: somebody took some out.
pub fn groups<'m>(k: &'m Memory, faults: &mut Faults) -> Vec<Vec<task_struct<'m>>> {
    let before = faults.count();
    let mut groups = Vec::new();
    for leader in leaders(k) {
        let Some(leader) = faults.check("task list", leader) else {
            continue;
        };
        let mut group = Vec::new();
        for thread in threads(leader) {
            let what = format_args!("threads of {}", leader.pid());
            group.extend(faults.check(what, thread));
        }
        groups.push(group);
    }
    // What was told of is why there are fewer; a kernel that runs has others by now.
    if faults.count() == before && !k.dump().is_live() {
        let found = groups.iter().map(Vec::len).sum();
        hold_against_count(k, found, faults);
    }
    groups
}

/// Whether as many threads were found as there are (`nr_threads`). It is changed together with the lists, under `tasklist_lock`: one thread less or
/// more may be under way while somebody has that.
#[cfg(kernel_has = "sym:nr_threads")]
fn hold_against_count(k: &Memory, found: usize, faults: &mut Faults) {
    let Some(counted) = faults.check("nr_threads", k.get(sym::nr_threads)) else {
        return;
    };
    let difference = i64::from(counted).abs_diff(i64::try_from(found).unwrap_or(i64::MAX));
    if difference > u64::from(is_changing(k)) {
        let fault = Fault {
            address: k.address_of(sym::nr_threads),
            kind: FaultKind::Inconsistent,
        };
        faults.add(
            format_args!(
                "task list: threads that are counted (nr_threads): {counted}; found: {found}"
            ),
            fault,
        );
    }
}

/// Whether somebody was changing the lists of tasks (`_QW_LOCKED`, include/asm-generic/qrwlock.h).
#[cfg(all(
    kernel_has = "sym:nr_threads",
    kernel_has = "sym:tasklist_lock",
    kernel_has = "rwlock_t.raw_lock.wlocked"
))]
fn is_changing(k: &Memory) -> bool {
    const LOCKED: u8 = 0xff;
    k.get(sym::tasklist_lock)
        .is_ok_and(|lock| lock.raw_lock().wlocked() == LOCKED)
}

/// Of other kinds of locks it isn't known.
#[cfg(all(
    kernel_has = "sym:nr_threads",
    not(all(
        kernel_has = "sym:tasklist_lock",
        kernel_has = "rwlock_t.raw_lock.wlocked"
    ))
))]
fn is_changing(_: &Memory) -> bool {
    false
}

#[cfg(not(kernel_has = "sym:nr_threads"))]
fn hold_against_count(_: &Memory, _: usize, _: &mut Faults) {}

/// The task that a CPU runs when there is nothing to do.
pub fn idle(k: &Memory, cpu: u32) -> Result<task_struct<'_>, Fault> {
    k.per_cpu(sym::runqueues, cpu)?.idle().deref()
}

/// The task that a CPU was running.
pub fn current(k: &Memory, cpu: u32) -> Result<task_struct<'_>, Fault> {
    k.per_cpu(sym::runqueues, cpu)?.curr().deref()
}

/// The CPU that a task runs on, or ran on last.
pub fn cpu(task: task_struct<'_>) -> Result<u32, Fault> {
    #[cfg(kernel_has = "task_struct.cpu")]
    {
        Ok(task.cpu())
    }
    #[cfg(all(
        not(kernel_has = "task_struct.cpu"),
        kernel_has = "task_struct.thread_info.cpu"
    ))]
    {
        Ok(task.thread_info().cpu())
    }
    // Before the stack and thread_info were parted, a pointer led to the latter.
    #[cfg(all(
        not(kernel_has = "task_struct.cpu"),
        not(kernel_has = "task_struct.thread_info.cpu")
    ))]
    {
        Ok(task.thread_info().deref()?.cpu())
    }
}

/// The kernel's own bits of a task's state, without the exit state.
fn raw_state(task: task_struct<'_>) -> u64 {
    #[cfg(kernel_has = "task_struct.__state")]
    {
        u64::from(task.__state())
    }
    #[cfg(not(kernel_has = "task_struct.__state"))]
    {
        task.state().cast_unsigned()
    }
}

/// `TASK_IDLE`: uninterruptible, and not counted as load (`TASK_NOLOAD`, include/linux/sched.h).
#[cfg(kernel_has = "task_struct.__state")]
const IDLE: u64 = 0x402;
/// `TASK_RTLOCK_WAIT` and `TASK_FROZEN`: to user space such a task waits uninterruptibly, whatever it did before.
#[cfg(kernel_has = "task_struct.__state")]
const AS_UNINTERRUPTIBLE: u64 = 0x9000;
/// The bits of `EXIT_ZOMBIE` and `EXIT_DEAD`, which have changed places. They count in the exit state; old kernels leave one
/// of them in the state of a task that is gone.
const EXIT: u64 = 0x30;

/// The letters of states, as /proc shows them: by the highest bit that is set, 0 for none.
pub struct States {
    letters: Vec<char>,
    #[cfg(kernel_has = "task_struct.__state")]
    idle: Option<char>,
}

impl States {
    /// Reads the kernel's own table (`task_state_array`, fs/proc/array.c), whose bits have changed over time.
    #[cfg(kernel_has = "sym:task_state_array")]
    pub fn new(k: &Memory) -> Result<Self, Fault> {
        let mut letters = Vec::new();
        for name in k.get(sym::task_state_array)?.iter() {
            let name = name.read()?;
            letters.push(
                name.as_bytes()
                    .first()
                    .map_or('?', |byte| char::from(*byte)),
            );
        }
        // Idle stands behind all states that are bits.
        let _idle = letters.pop_if(|letter| *letter == 'I');
        Ok(States {
            letters,
            #[cfg(kernel_has = "task_struct.__state")]
            idle: _idle,
        })
    }

    /// The letters of kernels whose table is not in the debug information: those of 2.6.9, and behind BTF, which has no type of
    /// it, those of all kernels since 4.14 (fs/proc/array.c).
    #[cfg(not(kernel_has = "sym:task_state_array"))]
    pub fn new(_: &Memory) -> Result<Self, Fault> {
        Ok(States {
            #[cfg(not(kernel_has = "task_struct.__state"))]
            letters: "RSDTTZX".chars().collect(),
            #[cfg(kernel_has = "task_struct.__state")]
            letters: "RSDTtXZP".chars().collect(),
            #[cfg(kernel_has = "task_struct.__state")]
            idle: Some('I'),
        })
    }

    /// A task's letter.
    pub fn letter(&self, task: task_struct<'_>) -> char {
        let state = raw_state(task);
        #[cfg(kernel_has = "task_struct.__state")]
        if state & IDLE == IDLE
            && let Some(idle) = self.idle
        {
            return idle;
        }
        #[cfg(kernel_has = "task_struct.__state")]
        if state & AS_UNINTERRUPTIBLE != 0
            && let Some(letter) = self.letters.get(2)
        {
            return *letter;
        }
        let exit = u64::try_from(i64::from(task.exit_state())).unwrap_or(0);
        let reported = (1u64 << (self.letters.len().clamp(1, 33) - 1)) - 1;
        let bits = (state & !EXIT | exit) & reported;
        let index = (u64::BITS - bits.leading_zeros()) as usize;
        self.letters.get(index).copied().unwrap_or('?')
    }
}

/// `PF_KTHREAD`, include/linux/sched.h.
#[cfg(kernel_has = "kthread")]
const KERNEL_THREAD: u32 = 0x0020_0000;

/// Whether a task belongs to the kernel itself.
pub fn is_kernel_thread(task: task_struct<'_>) -> bool {
    #[cfg(kernel_has = "kthread")]
    {
        task.flags() & KERNEL_THREAD != 0
    }
    // Before there was a flag: it has no memory of its own, and has not lost it by exiting.
    #[cfg(not(kernel_has = "kthread"))]
    {
        task.mm().is_null() && task.exit_state() == 0
    }
}

/// A task's name as /proc shows it (`proc_task_name`, fs/proc/array.c): all of a kernel thread's name, of which `comm`
/// has the first 15 bytes, and behind a worker's name what it works at.
pub fn displayed_name(task: task_struct<'_>) -> Result<String, Fault> {
    #[cfg(kernel_has = "task_struct.worker_private")]
    {
        use kernel::{kthread, worker};

        /// `PF_WQ_WORKER`, include/linux/sched.h.
        const WORKER: u32 = 0x20;
        let private = || task.worker_private().cast::<kthread<'_>>().deref();
        #[cfg(kernel_has = "worker.desc")]
        if task.flags() & WORKER != 0 {
            let worker = private()?.data().cast::<worker<'_>>().deref()?;
            let mut name = task.comm().to_string();
            // A rescuer is named after its workqueue from 6.10 on.
            if name.starts_with("kworker/R-")
                && let Some(queue) = worker.rescue_wq().deref_or_null()?
            {
                name = format!("kworker/R-{}", queue.name());
            }
            if !worker.pool().is_null() && !worker.desc().is_empty() {
                let sign = if worker.current_work().is_null() {
                    '-'
                } else {
                    '+'
                };
                name = format!("{name}{sign}{}", worker.desc());
            }
            return Ok(name);
        }
        #[cfg(kernel_has = "kthread.full_name")]
        if task.flags() & KERNEL_THREAD != 0 && !task.worker_private().is_null() {
            let full = private()?.full_name();
            if !full.is_null() {
                return Ok(full.read()?.to_string());
            }
        }
    }
    Ok(task.comm().to_string())
}

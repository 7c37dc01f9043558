//! Spin locks.

use kernel::spinlock;

/// What a lock's value says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nobody has it, or the kernel's kind of locks isn't known.
    Free,
    /// Somebody has it, or waits for it (`spin_is_locked`).
    Held,
    /// It is the value of no lock; that is part of it.
    Impossible(u32),
}

/// Whether somebody has a lock, or waits for it.
pub fn is_held(lock: spinlock<'_>) -> bool {
    state(lock) == State::Held
}

/// What a lock's value says.
pub fn state(lock: spinlock<'_>) -> State {
    #[cfg(kernel_has = "spinlock.rlock.raw_lock.val")]
    {
        use kstruct::View as _;

        let value = lock.rlock().raw_lock().val().value().cast_unsigned();
        queued(value, || linux::cpu::possible(lock.memory()).ok())
    }
    // s390
    #[cfg(kernel_has = "spinlock.rlock.raw_lock.lock")]
    {
        held_if(lock.rlock().raw_lock().lock() != 0)
    }
    // `CONFIG_PREEMPT_RT`
    #[cfg(kernel_has = "spinlock.lock.owner")]
    {
        held_if(!lock.lock().owner().is_null())
    }
    #[cfg(not(any(
        kernel_has = "spinlock.rlock.raw_lock.val",
        kernel_has = "spinlock.rlock.raw_lock.lock",
        kernel_has = "spinlock.lock.owner"
    )))]
    {
        let _ = lock;
        held_if(false)
    }
}

#[cfg(not(kernel_has = "spinlock.rlock.raw_lock.val"))]
fn held_if(is_held: bool) -> State {
    if is_held { State::Held } else { State::Free }
}

/// A `struct qspinlock` (include/asm-generic/qspinlock_types.h): who has it in the low byte, of which 3 is a guest's
/// (`_Q_SLOW_VAL`); who waits next in the one above it; the last who waits in the high half: its CPU's number plus one, and below that, in two
/// bits, how often this CPU was interrupted while it waited (`encode_tail`, kernel/locking/qspinlock.c). RISC-V may have tickets in it
/// (include/asm-generic/ticket_spinlock.h): whose turn it is in the low half, and what the next one gets in the high half.
#[cfg(kernel_has = "spinlock.rlock.raw_lock.val")]
fn queued(value: u32, possible_cpus: impl FnOnce() -> Option<Vec<u32>>) -> State {
    /// More CPUs than that wait for no lock.
    const TICKETS: u32 = 64;
    let [low, pending, ..] = value.to_le_bytes();
    let (turn, next) = (value & 0xffff, value >> 16);
    let waiting = next.wrapping_sub(turn) & 0xffff;
    if kernel::KERNEL.machine == kstruct::EM_RISCV && waiting <= TICKETS {
        return if waiting == 0 {
            State::Free
        } else {
            State::Held
        };
    }
    // Where it isn't known which CPUs there are, it is one of them.
    let waits = |cpu: u32| possible_cpus().is_none_or(|cpus| cpus.contains(&cpu));
    let may_wait = next == 0 || (next >> 2).checked_sub(1).is_some_and(waits);
    if value == 0 {
        State::Free
    } else if matches!(low, 0 | 1 | 3) && pending <= 1 && may_wait {
        State::Held
    } else {
        State::Impossible(value)
    }
}

//! Spin locks.

use kernel::spinlock;

/// Whether somebody has a lock, or waits for it (`spin_is_locked`), as far as that is known of the kernel's kind of locks.
pub fn is_held(lock: spinlock<'_>) -> bool {
    #[cfg(kernel_has = "spinlock.rlock.raw_lock.val")]
    {
        lock.rlock().raw_lock().val().value() != 0
    }
    // s390
    #[cfg(kernel_has = "spinlock.rlock.raw_lock.lock")]
    {
        lock.rlock().raw_lock().lock() != 0
    }
    // `CONFIG_PREEMPT_RT`
    #[cfg(kernel_has = "spinlock.lock.owner")]
    {
        !lock.lock().owner().is_null()
    }
    #[cfg(not(any(
        kernel_has = "spinlock.rlock.raw_lock.val",
        kernel_has = "spinlock.rlock.raw_lock.lock",
        kernel_has = "spinlock.lock.owner"
    )))]
    {
        let _ = lock;
        false
    }
}

//! The kernel's clocks.

use kstruct::{Fault, Memory};

/// `jiffies` as `unsigned long`.
pub fn jiffies(k: &Memory) -> Result<u64, Fault> {
    // `jiffies` is another name of its low half.
    Ok(k.wrap(k.get(kernel::sym::jiffies_64)?))
}

/// How many jiffies ago `then` was, on a clock as wide as `unsigned long`. A time in the future is 0.
pub fn jiffies_since(k: &Memory, now: u64, then: u64) -> u64 {
    let age = k.wrap(now.wrapping_sub(then));
    let half = 1 << (u32::from(kernel::KERNEL.pointer_size) * 8 - 1);
    if age < half { age } else { 0 }
}

/// Jiffies in a second, as the kernel was built; `None` if it does not say.
pub fn hz(k: &Memory) -> Result<Option<u64>, Fault> {
    #[cfg(kernel_has = "sym:tick_nsec")]
    {
        // Nanoseconds in a jiffy, give or take what the clock of the machine can't divide evenly.
        let nanoseconds = k.get(kernel::sym::tick_nsec)?;
        Ok((1_000_000_000 + nanoseconds / 2).checked_div(nanoseconds))
    }
    #[cfg(not(kernel_has = "sym:tick_nsec"))]
    {
        let _ = k;
        Ok(None)
    }
}

//! Counters of the kernel as 64-bit numbers, whatever they are made of: plain numbers, `atomic_long_t` and `local64_t`, which are narrow
//! or plain on 32-bit kernels, and the `u64_stats_t` around them that counters became by and by from 5.6 on.

/// A counter's value.
pub trait Counter {
    /// As an unsigned number of the counter's own width.
    fn count(self) -> u64;
}

impl Counter for u64 {
    fn count(self) -> u64 {
        self
    }
}

impl Counter for i64 {
    fn count(self) -> u64 {
        self.cast_unsigned()
    }
}

impl Counter for i32 {
    fn count(self) -> u64 {
        self.cast_unsigned().into()
    }
}

#[cfg(kernel_has = "u64_stats_t.v.a.a.counter")]
impl Counter for kernel::u64_stats_t<'_> {
    fn count(self) -> u64 {
        self.v().a().a().counter().count()
    }
}

// powerpc's `local_t` (arch/powerpc/include/asm/local.h).
#[cfg(kernel_has = "u64_stats_t.v.a.v")]
impl Counter for kernel::u64_stats_t<'_> {
    fn count(self) -> u64 {
        self.v().a().v().count()
    }
}

// 32-bit kernels have a sequence counter beside it.
#[cfg(all(
    kernel_has = "u64_stats_t.v",
    not(kernel_has = "u64_stats_t.v.a.a.counter"),
    not(kernel_has = "u64_stats_t.v.a.v")
))]
impl Counter for kernel::u64_stats_t<'_> {
    fn count(self) -> u64 {
        self.v()
    }
}

/// A signed number of the kernel's `long` or of 64 bits.
pub fn signed(number: impl Into<i64>) -> i64 {
    number.into()
}

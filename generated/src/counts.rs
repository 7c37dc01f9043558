//! The kernel's atomic numbers and reference counts (include/linux/types.h, refcount.h, kref.h, percpu_counter.h) as values.

#[cfg(kernel_has = "atomic_t.counter")]
impl crate::atomic_t<'_> {
    /// Its value: C's `atomic_read`.
    #[inline]
    pub fn value(self) -> i32 {
        self.counter()
    }
}

/// `atomic_long_t` is this on 64-bit kernels.
#[cfg(kernel_has = "atomic64_t.counter")]
impl crate::atomic64_t<'_> {
    /// Its value: C's `atomic64_read`.
    #[inline]
    pub fn value(self) -> i64 {
        self.counter()
    }
}

/// 4.11 and later.
#[cfg(kernel_has = "refcount_struct.refs.counter")]
impl crate::refcount_struct<'_> {
    /// Its value: C's `refcount_read`, but signed. Negative ones are saturated.
    #[inline]
    pub fn value(self) -> i32 {
        self.refs().counter()
    }

    /// What the value means.
    #[inline]
    pub fn state(self) -> kstruct::Refcount {
        kstruct::Refcount::of(self.value())
    }
}

#[cfg(kernel_has = "kref.refcount")]
impl crate::kref<'_> {
    /// Its value: C's `kref_read`.
    #[inline]
    pub fn value(self) -> i32 {
        self.refcount().value()
    }
}

#[cfg(all(
    kernel_has = "percpu_counter.count",
    kernel_has = "percpu_counter.counters"
))]
impl crate::percpu_counter<'_> {
    /// Its exact value: the common count and what each CPU holds back (`__percpu_counter_sum`). `cpus` are those that may
    /// ever be there.
    ///
    /// # Errors
    ///
    /// What one CPU holds back can't be read: a sum without it would be a wrong one.
    pub fn sum(self, cpus: &[u32]) -> Result<i64, kstruct::Fault> {
        let mut sum = self.count();
        for cpu in cpus {
            let held = self.counters().on_cpu(*cpu)?.deref()?;
            sum = sum.wrapping_add(held.into());
        }
        Ok(sum)
    }
}

//! Which CPUs there are.

use kstruct::{Fault, FaultKind, Memory, View as _};

/// No machine has more; a mask that says otherwise is corrupt.
const MOST: usize = 65536;

/// CPUs that may ever be there: those over whose per-CPU counters the kernel sums.
///
/// # Errors
///
/// The mask can't be read, or lacks a CPU that is running: sums over it would be wrong ones.
pub fn possible(k: &Memory) -> Result<Vec<u32>, Fault> {
    #[cfg(kernel_has = "sym:__cpu_possible_mask")]
    let mask = k.get(kernel::sym::__cpu_possible_mask)?;
    // Before 2.6.28; there all per-CPU slots are filled, so that the map must tell those of absent CPUs.
    #[cfg(all(
        not(kernel_has = "sym:__cpu_possible_mask"),
        kernel_has = "sym:cpu_possible_map"
    ))]
    let mask = k.get(kernel::sym::cpu_possible_map)?;
    // i386 of that time had it under another name.
    #[cfg(not(any(
        kernel_has = "sym:__cpu_possible_mask",
        kernel_has = "sym:cpu_possible_map"
    )))]
    let mask = k.get(kernel::sym::cpu_callout_map)?;
    let found = set_bits(mask.bits().iter());
    if online(k)?.iter().all(|cpu| found.contains(cpu)) {
        Ok(found)
    } else {
        Err(contradiction(mask.addr()))
    }
}

/// CPUs that are running. Others may have no idle task and no queues.
///
/// # Errors
///
/// The mask can't be read, or has none.
pub fn online(k: &Memory) -> Result<Vec<u32>, Fault> {
    #[cfg(kernel_has = "sym:__cpu_online_mask")]
    let mask = k.get(kernel::sym::__cpu_online_mask)?;
    #[cfg(not(kernel_has = "sym:__cpu_online_mask"))]
    let mask = k.get(kernel::sym::cpu_online_map)?;
    let found = set_bits(mask.bits().iter());
    if found.is_empty() {
        return Err(contradiction(mask.addr()));
    }
    Ok(found)
}

fn contradiction(address: u64) -> Fault {
    Fault {
        address,
        kind: FaultKind::Inconsistent,
    }
}

/// A reference count that each CPU keeps its part of (lib/percpu-refcount.c).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PercpuRef {
    /// How many references are held. While CPUs count, this has the first one, which is there until the object is killed.
    pub count: i64,
    /// All count in one place: what was killed, or is frozen, or was told to.
    pub is_atomic: bool,
    /// `percpu_ref_kill` was called: no new reference is given out.
    pub is_dead: bool,
}

/// Sums up a reference count. `cpus` are those that may ever be there.
///
/// # Errors
///
/// What one CPU counts can't be read: a sum without it would be a wrong one.
#[cfg(kernel_has = "percpu_ref.percpu_count_ptr")]
pub fn percpu_ref(count: kernel::percpu_ref<'_>, cpus: &[u32]) -> Result<PercpuRef, Fault> {
    use kstruct::Ptr;

    // Bits of the pointer (include/linux/percpu-refcount.h); there is no type that it points to.
    const ATOMIC: u64 = 1;
    const DEAD: u64 = 2;
    let k = count.memory();
    let counters: Ptr<'_, kstruct::view::Void> = Ptr::new(k, count.percpu_count_ptr());
    let (counters, flags) = counters.untagged(2);
    let (is_atomic, is_dead) = (flags & ATOMIC != 0, flags & DEAD != 0);
    let width = u32::from(kernel::KERNEL.pointer_size) * 8;
    let mut sum = atomic_part(count)?;
    if !is_atomic {
        // PERCPU_COUNT_BIAS, which keeps the common part from being 0 while CPUs count.
        sum = sum.wrapping_sub(1 << (width - 1));
        for cpu in cpus {
            sum = sum.wrapping_add(k.word(counters.on_cpu(*cpu)?.addr())?);
        }
    }
    // Of `unsigned long`, which wraps: one CPU may give back what another took.
    let unused = 64 - width;
    Ok(PercpuRef {
        count: (sum << unused).cast_signed() >> unused,
        is_atomic,
        is_dead,
    })
}

/// The common part. After `percpu_ref_exit` there is no `data`, and the pointer has the count above its flags.
#[cfg(kernel_has = "percpu_ref.data")]
fn atomic_part(count: kernel::percpu_ref<'_>) -> Result<u64, Fault> {
    // __PERCPU_REF_ATOMIC_DEAD
    if count.data().is_null() && count.percpu_count_ptr() & 3 == 3 {
        return Ok(count.percpu_count_ptr() >> 2);
    }
    let data = count.data().deref()?;
    Ok(i64::from(data.count().value()).cast_unsigned())
}

/// Before 5.10.
#[cfg(all(
    kernel_has = "percpu_ref.percpu_count_ptr",
    not(kernel_has = "percpu_ref.data")
))]
fn atomic_part(count: kernel::percpu_ref<'_>) -> Result<u64, Fault> {
    Ok(i64::from(count.count().value()).cast_unsigned())
}

/// The numbers of the bits that are set. Each word has as many as the kernel's `unsigned long`.
fn set_bits(words: impl Iterator<Item = u64>) -> Vec<u32> {
    let width = u32::from(kernel::KERNEL.pointer_size) * 8;
    kstruct::walk::set_bits(words.take(MOST / 32), width)
        .map(|bit| bit as u32)
        .collect()
}

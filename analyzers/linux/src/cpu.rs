//! Which CPUs there are.

use kstruct::{Fault, Memory};

/// No machine has more; a mask that says otherwise is corrupt.
const MOST: usize = 65536;

/// CPUs that may ever be there: those over whose per-CPU counters the kernel sums.
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
    Ok(set_bits(mask.bits().iter()))
}

/// CPUs that are running. Others may have no idle task and no queues.
pub fn online(k: &Memory) -> Result<Vec<u32>, Fault> {
    #[cfg(kernel_has = "sym:__cpu_online_mask")]
    let mask = k.get(kernel::sym::__cpu_online_mask)?;
    #[cfg(not(kernel_has = "sym:__cpu_online_mask"))]
    let mask = k.get(kernel::sym::cpu_online_map)?;
    Ok(set_bits(mask.bits().iter()))
}

/// The value of a `percpu_counter`: the common count and what each CPU holds back (`__percpu_counter_sum`).
#[cfg(kernel_has = "percpu_counter")]
pub fn counter_sum(counter: kernel::percpu_counter<'_>, cpus: &[u32]) -> Result<i64, Fault> {
    let mut sum = counter.count();
    for cpu in cpus {
        sum = sum.wrapping_add(counter.counters().on_cpu(*cpu)?.deref()?.into());
    }
    Ok(sum)
}

/// The numbers of the bits that are set. Each word has as many as the kernel's `unsigned long`.
fn set_bits(words: impl Iterator<Item = u64>) -> Vec<u32> {
    let width = u32::from(kernel::KERNEL.pointer_size) * 8;
    kstruct::walk::set_bits(words.take(MOST / 32), width)
        .map(|bit| bit as u32)
        .collect()
}

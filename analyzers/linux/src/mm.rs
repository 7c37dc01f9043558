//! A process's memory, in pages.

use kernel::mm_struct;
use kstruct::Fault;

/// Bytes in a page on the machines that are supported.
pub const PAGE: u64 = 4096;

/// Resident pages as /proc/PID/status shows them: files, anonymous memory and shared memory.
pub fn resident_pages(mm: mm_struct<'_>, cpus: &[u32]) -> Result<u64, Fault> {
    #[cfg(kernel_has = "mm_struct.rss_stat")]
    {
        let mut pages = 0;
        for kind in [
            kernel::constants::MM_FILEPAGES,
            kernel::constants::MM_ANONPAGES,
            #[cfg(kernel_has = "const:MM_SHMEMPAGES")]
            kernel::constants::MM_SHMEMPAGES,
        ] {
            // A sum may be below zero for a moment; the kernel shows 0 then.
            pages += u64::try_from(counter(mm, kind as usize, cpus)?).unwrap_or(0);
        }
        Ok(pages)
    }
    #[cfg(not(kernel_has = "mm_struct.rss_stat"))]
    {
        let _ = cpus;
        Ok(mm.rss())
    }
}

/// One counter. What single tasks hold back is not in it, as it is not in the kernel's number.
#[cfg(kernel_has = "mm_rss_stat.count")]
fn counter(mm: mm_struct<'_>, kind: usize, _: &[u32]) -> Result<i64, Fault> {
    Ok(mm
        .rss_stat()
        .count()
        .get(kind)
        .map_or(0, |count| count.counter()))
}

/// One counter: from 6.2 on a percpu_counter.
#[cfg(all(
    kernel_has = "mm_struct.rss_stat",
    not(kernel_has = "mm_rss_stat.count")
))]
fn counter(mm: mm_struct<'_>, kind: usize, cpus: &[u32]) -> Result<i64, Fault> {
    mm.rss_stat()
        .get(kind)
        .map_or(Ok(0), |counter| crate::cpu::counter_sum(counter, cpus))
}

//! A process's memory, in pages.

use kernel::mm_struct;

/// Bytes in a page on the machines that are supported.
pub const PAGE: u64 = 4096;

/// Resident pages as the kernel counts them for /proc/PID/stat: files, anonymous memory and shared memory.
///
/// Counts that single CPUs or tasks hold back are not in it, as they are not in the kernel's number.
pub fn resident_pages(mm: mm_struct<'_>) -> u64 {
    #[cfg(all(kernel_has = "mm_struct.rss_stat", kernel_has = "mm_rss_stat.count"))]
    let count = |index: usize| mm.rss_stat().count().get(index).map_or(0, |count| count.counter());
    // From 6.2 on each counter is a percpu_counter.
    #[cfg(all(
        kernel_has = "mm_struct.rss_stat",
        not(kernel_has = "mm_rss_stat.count")
    ))]
    let count = |index: usize| mm.rss_stat().get(index).map_or(0, |counter| counter.count());
    #[cfg(kernel_has = "mm_struct.rss_stat")]
    {
        let kinds = [
            kernel::constants::MM_FILEPAGES,
            kernel::constants::MM_ANONPAGES,
            #[cfg(kernel_has = "const:MM_SHMEMPAGES")]
            kernel::constants::MM_SHMEMPAGES,
        ];
        kinds
            .into_iter()
            .map(|kind| u64::try_from(count(kind as usize)).unwrap_or(0))
            .sum()
    }
    #[cfg(not(kernel_has = "mm_struct.rss_stat"))]
    {
        mm.rss()
    }
}

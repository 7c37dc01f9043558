//! A process's memory: how many pages it has, and what is in them.

use kernel::mm_struct;
#[cfg(all(kernel_has = "mm_struct.arg_start", kernel_has = "mm_struct.pgd"))]
use kstruct::UserSpace;
use kstruct::{Fault, Memory};

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
        .map_or(0, |count| crate::counter::signed(count.counter())))
}

/// One counter: from 6.2 on a percpu_counter.
#[cfg(all(
    kernel_has = "mm_struct.rss_stat",
    not(kernel_has = "mm_rss_stat.count")
))]
fn counter(mm: mm_struct<'_>, kind: usize, cpus: &[u32]) -> Result<i64, Fault> {
    mm.rss_stat()
        .get(kind)
        .map_or(Ok(0), |counter| counter.sum(cpus))
}

/// A process's memory by its own page tables.
#[cfg(all(kernel_has = "mm_struct.arg_start", kernel_has = "mm_struct.pgd"))]
pub fn user_space<'m>(k: &'m Memory, mm: mm_struct<'m>) -> Result<UserSpace<'m>, Fault> {
    #[cfg(kernel_has = "mm_struct.context.asce")]
    {
        Ok(UserSpace::by_asce(k, mm.context().asce()))
    }
    #[cfg(not(kernel_has = "mm_struct.context.asce"))]
    {
        UserSpace::new(k, mm.pgd().addr())
    }
}

/// A process's arguments as /proc/PID/cmdline shows them (`get_mm_cmdline`, fs/proc/base.c), without the last NUL.
///
/// A process may write over its arguments to be shown otherwise. If it has written over the last NUL, the text goes on into the
/// environment, as far as the next one.
#[cfg(all(kernel_has = "mm_struct.arg_start", kernel_has = "mm_struct.pgd"))]
pub fn arguments(k: &Memory, mm: mm_struct<'_>) -> Result<Vec<u8>, Fault> {
    let (start, end) = (mm.arg_start(), mm.arg_end());
    let length = usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX);
    if length == 0 {
        return Ok(Vec::new());
    }
    let space = user_space(k, mm)?;
    let mut text = space.bytes(start, length)?;
    if text.last() != Some(&0) {
        let more = mm.env_end().saturating_sub(end).min(k.page_size());
        let more = space.bytes(end, more as usize)?;
        text.extend(more.split(|byte| *byte == 0).next().unwrap_or_default());
        // A title takes the place of all arguments.
        let end = text.iter().position(|byte| *byte == 0);
        text.truncate(end.unwrap_or(text.len()));
        return Ok(text);
    }
    text.pop();
    Ok(text)
}

/// Kernels of which the bindings don't say where a process's memory is.
#[cfg(not(all(kernel_has = "mm_struct.arg_start", kernel_has = "mm_struct.pgd")))]
pub fn arguments(_: &Memory, mm: mm_struct<'_>) -> Result<Vec<u8>, Fault> {
    use kstruct::View as _;

    Err(Fault {
        address: mm.addr(),
        kind: kstruct::FaultKind::NotMapped,
    })
}

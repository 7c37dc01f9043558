//! Memory as /proc/meminfo shows it.
//!
//! The kernel's global counters are what it shows too: what each CPU holds back of them is in neither.

use kernel::sym;
use kstruct::{Fault, Memory};
use linux::Faults;
use serde::{Serialize, Serializer};

/// Rows of /proc/meminfo, in its order and with its names: kilobytes. What the kernel doesn't have is not there.
pub struct Meminfo {
    pub rows: Vec<(&'static str, u64)>,
}

impl Serialize for Meminfo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.rows.iter().copied())
    }
}

impl Meminfo {
    /// A row by its name.
    pub fn get(&self, name: &str) -> Option<u64> {
        let row = self.rows.iter().find(|(row, _)| *row == name)?;
        Some(row.1)
    }
}

pub fn read(k: &Memory, faults: &mut Faults) -> Meminfo {
    let mut rows = Vec::new();
    let kilobytes = k.page_size() / 1024;
    if let Some(Some(pages)) = faults.check("totalram_pages", total(k)) {
        rows.push(("MemTotal", pages.saturating_mul(kilobytes)));
    }
    counters::add(k, kilobytes, &mut rows, faults);
    Meminfo { rows }
}

/// All memory that the kernel manages, in pages. An atomic number since 5.0.
#[cfg(kernel_has = "sym:_totalram_pages")]
fn total(k: &Memory) -> Result<Option<u64>, Fault> {
    Ok(Some(counters::positive(
        k.get(sym::_totalram_pages)?.value(),
    )))
}

#[cfg(all(
    not(kernel_has = "sym:_totalram_pages"),
    kernel_has = "sym:totalram_pages"
))]
fn total(k: &Memory) -> Result<Option<u64>, Fault> {
    Ok(Some(k.get(sym::totalram_pages)?))
}

#[cfg(not(any(kernel_has = "sym:_totalram_pages", kernel_has = "sym:totalram_pages")))]
fn total(_: &Memory) -> Result<Option<u64>, Fault> {
    Ok(None)
}

/// Counters of zones and of nodes, which are apart since 4.8; what is here of them has its name since 5.9.
#[cfg(all(
    kernel_has = "sym:vm_zone_stat",
    kernel_has = "sym:vm_node_stat",
    kernel_has = "const:NR_SLAB_RECLAIMABLE_B",
    kernel_has = "const:NR_KERNEL_STACK_KB"
))]
mod counters {
    use kernel::{constants, sym};
    use kstruct::{Fault, Memory};
    use linux::{Faults, cpu};

    /// A sum may be below zero for a moment; the kernel shows 0 then (`global_zone_page_state`).
    pub fn positive(value: impl Into<i64>) -> u64 {
        u64::try_from(value.into()).unwrap_or(0)
    }

    /// The rows behind MemTotal (`meminfo_proc_show`, fs/proc/meminfo.c).
    pub fn add(
        k: &Memory,
        kilobytes: u64,
        rows: &mut Vec<(&'static str, u64)>,
        faults: &mut Faults,
    ) {
        let Some(zones) = faults.check("vm_zone_stat", k.get(sym::vm_zone_stat)) else {
            return;
        };
        let Some(nodes) = faults.check("vm_node_stat", k.get(sym::vm_node_stat)) else {
            return;
        };
        let zone = |item| {
            let counter = zones.get(item as usize);
            counter.map_or(0, |counter| positive(counter.value()))
        };
        let node = |item| {
            let counter = nodes.get(item as usize);
            counter.map_or(0, |counter| positive(counter.value()))
        };
        let mut row = |name, pages: u64| rows.push((name, pages.saturating_mul(kilobytes)));

        let free = zone(constants::NR_FREE_PAGES as u64);
        row("MemFree", free);
        let file = [
            node(constants::NR_ACTIVE_FILE as u64),
            node(constants::NR_INACTIVE_FILE as u64),
        ];
        let anonymous = [
            node(constants::NR_ACTIVE_ANON as u64),
            node(constants::NR_INACTIVE_ANON as u64),
        ];
        let slab = [
            node(constants::NR_SLAB_RECLAIMABLE_B as u64),
            node(constants::NR_SLAB_UNRECLAIMABLE_B as u64),
        ];
        let reclaimable =
            slab[0].saturating_add(node(constants::NR_KERNEL_MISC_RECLAIMABLE as u64));
        let cache = file[0].saturating_add(file[1]);
        if let Some(pages) = faults.check("watermarks", available(k, free, cache, reclaimable)) {
            row("MemAvailable", pages);
        }
        let buffers = faults.check("pages of block devices", buffers(k));
        if let Some(buffers) = buffers {
            row("Buffers", buffers);
        }
        #[cfg(kernel_has = "const:NR_SWAPCACHE")]
        {
            let swap_cache = node(constants::NR_SWAPCACHE as u64);
            if let Some(buffers) = buffers {
                let cached = node(constants::NR_FILE_PAGES as u64);
                row(
                    "Cached",
                    cached.saturating_sub(swap_cache).saturating_sub(buffers),
                );
            }
            row("SwapCached", swap_cache);
        }
        row("Active", anonymous[0].saturating_add(file[0]));
        row("Inactive", anonymous[1].saturating_add(file[1]));
        row("Active(anon)", anonymous[0]);
        row("Inactive(anon)", anonymous[1]);
        row("Active(file)", file[0]);
        row("Inactive(file)", file[1]);
        row("Unevictable", node(constants::NR_UNEVICTABLE as u64));
        row("Mlocked", zone(constants::NR_MLOCK as u64));
        let swap = faults.check("size of swap space", swap(k)).flatten();
        if let Some((total, free)) = swap {
            row("SwapTotal", total);
            row("SwapFree", free);
        }
        row("Dirty", node(constants::NR_FILE_DIRTY as u64));
        row("Writeback", node(constants::NR_WRITEBACK as u64));
        row("AnonPages", node(constants::NR_ANON_MAPPED as u64));
        row("Mapped", node(constants::NR_FILE_MAPPED as u64));
        row("Shmem", node(constants::NR_SHMEM as u64));
        row("KReclaimable", reclaimable);
        row("Slab", slab[0].saturating_add(slab[1]));
        row("SReclaimable", slab[0]);
        row("SUnreclaim", slab[1]);
        row("PageTables", node(constants::NR_PAGETABLE as u64));
        #[cfg(kernel_has = "const:NR_SECONDARY_PAGETABLE")]
        row(
            "SecPageTables",
            node(constants::NR_SECONDARY_PAGETABLE as u64),
        );
        row("WritebackTmp", node(constants::NR_WRITEBACK_TEMP as u64));
        if let Some((total, _)) = swap
            && let Some(limit) = faults.check("limit of commitments", commit_limit(k, total))
        {
            row("CommitLimit", limit.unwrap_or(0));
        }
        if let Some(committed) = faults.check("vm_committed_as", committed(k)) {
            row("Committed_AS", committed);
        }
        // In kilobytes already.
        let stacks = node(constants::NR_KERNEL_STACK_KB as u64);
        let place = rows.iter().position(|(name, _)| *name == "PageTables");
        rows.insert(place.unwrap_or(rows.len()), ("KernelStack", stacks));
    }

    /// What can be had without swapping (`si_mem_available`, mm/show_mem.c), in pages.
    fn available(k: &Memory, free: u64, cache: u64, reclaimable: u64) -> Result<u64, Fault> {
        let low = low_watermarks(k)?;
        let reserve = k.get(sym::totalreserve_pages)?;
        // Half of it may be needed to work at all, or as much as the watermarks want.
        let without_needed = |pages: u64| pages.saturating_sub(low.min(pages / 2));
        let more = without_needed(cache).saturating_add(without_needed(reclaimable));
        // It may be below zero in between.
        Ok(free.saturating_add(more).saturating_sub(reserve))
    }

    /// The sum of all zones' low watermarks, with what they were raised by.
    fn low_watermarks(k: &Memory) -> Result<u64, Fault> {
        let mut sum: u64 = 0;
        for node in nodes(k)? {
            for zone in node.node_zones().iter() {
                let low = zone._watermark().get(constants::WMARK_LOW as usize);
                let low = low.unwrap_or(0).wrapping_add(zone.watermark_boost());
                sum = sum.wrapping_add(low);
            }
        }
        Ok(sum)
    }

    /// The NUMA nodes.
    #[cfg(all(kernel_has = "sym:node_data", kernel_has = "sym:nr_node_ids"))]
    fn nodes(k: &Memory) -> Result<Vec<kernel::pglist_data<'_>>, Fault> {
        use kstruct::View as _;

        /// `MAX_NUMNODES` with the largest `CONFIG_NODES_SHIFT`.
        const MOST: u32 = 1 << 10;
        // By its address: BTF doesn't say that it is an array of pointers.
        let table = k.address_of(sym::node_data);
        let width = u64::from(k.kernel().pointer_size);
        let mut found = Vec::new();
        for index in 0..u64::from(k.get(sym::nr_node_ids)?.min(MOST)) {
            let node = k.word(table.wrapping_add(index * width))?;
            if node != 0 {
                found.push(kernel::pglist_data::at(k, node)?);
            }
        }
        Ok(found)
    }

    /// A kernel that knows one.
    #[cfg(all(
        not(all(kernel_has = "sym:node_data", kernel_has = "sym:nr_node_ids")),
        kernel_has = "sym:contig_page_data"
    ))]
    fn nodes(k: &Memory) -> Result<Vec<kernel::pglist_data<'_>>, Fault> {
        Ok(vec![k.get(sym::contig_page_data)?])
    }

    #[cfg(not(any(
        all(kernel_has = "sym:node_data", kernel_has = "sym:nr_node_ids"),
        kernel_has = "sym:contig_page_data"
    )))]
    fn nodes(_: &Memory) -> Result<Vec<kernel::pglist_data<'_>>, Fault> {
        Ok(Vec::new())
    }

    /// Pages of block devices that are cached as such (`nr_blockdev_pages`, block/bdev.c).
    fn buffers(k: &Memory) -> Result<u64, Fault> {
        let mut sum: u64 = 0;
        let Some(devices) = k.get(sym::blockdev_superblock)?.deref_or_null()? else {
            return Ok(0);
        };
        for inode in devices.s_inodes().entries(kernel::inode::i_sb_list) {
            sum = sum.wrapping_add(inode?.i_mapping().deref()?.nrpages());
        }
        Ok(sum)
    }

    /// Swap space and what is free of it, in pages. While some is being turned off, /proc/meminfo has what is left of that, too.
    #[cfg(all(kernel_has = "sym:total_swap_pages", kernel_has = "sym:nr_swap_pages"))]
    fn swap(k: &Memory) -> Result<Option<(u64, u64)>, Fault> {
        let total = positive(k.get(sym::total_swap_pages)?);
        let free = positive(k.get(sym::nr_swap_pages)?.value());
        Ok(Some((total, free)))
    }

    /// Built without.
    #[cfg(not(all(kernel_has = "sym:total_swap_pages", kernel_has = "sym:nr_swap_pages")))]
    fn swap(_: &Memory) -> Result<Option<(u64, u64)>, Fault> {
        Ok(Some((0, 0)))
    }

    /// `vm_commit_limit` (mm/util.c), in pages; `None` where it makes no sense.
    fn commit_limit(k: &Memory, swap: u64) -> Result<Option<u64>, Fault> {
        let kilobytes: u64 = k.get(sym::sysctl_overcommit_kbytes)?.into();
        let of_memory = if kilobytes != 0 {
            kilobytes / (k.page_size() / 1024)
        } else {
            let total = positive(k.get(sym::_totalram_pages)?.value());
            let percent = i64::from(k.get(sym::sysctl_overcommit_ratio)?);
            let usable = total.saturating_sub(huge_pages(k)?);
            usable.saturating_mul(positive(percent)) / 100
        };
        Ok(of_memory.checked_add(swap))
    }

    /// What is set aside as huge pages (`hugetlb_total_pages`), in pages of the normal size.
    #[cfg(all(kernel_has = "sym:hstates", kernel_has = "sym:hugetlb_max_hstate"))]
    fn huge_pages(k: &Memory) -> Result<u64, Fault> {
        use kstruct::View as _;

        /// More than any machine has sizes (`HUGE_MAX_HSTATE`).
        const MOST: i32 = 16;
        // By its address: BTF doesn't say that it is an array.
        let sizes = k.address_of(sym::hstates);
        let mut sum: u64 = 0;
        for index in 0..k.get(sym::hugetlb_max_hstate)?.clamp(0, MOST) {
            let offset = u64::from(index.unsigned_abs()) * kernel::hstate::SIZE as u64;
            let size = kernel::hstate::at(k, sizes.wrapping_add(offset))?;
            let pages = 1u64.checked_shl(size.order()).unwrap_or(0);
            sum = sum.wrapping_add(size.nr_huge_pages().wrapping_mul(pages));
        }
        Ok(sum)
    }

    #[cfg(not(all(kernel_has = "sym:hstates", kernel_has = "sym:hugetlb_max_hstate")))]
    fn huge_pages(_: &Memory) -> Result<u64, Fault> {
        Ok(0)
    }

    /// What processes may ask for (`vm_memory_committed`), in pages.
    fn committed(k: &Memory) -> Result<u64, Fault> {
        let cpus = cpu::possible(k)?;
        Ok(positive(k.get(sym::vm_committed_as)?.sum(&cpus)?))
    }
}

/// Other kernels: what they count isn't read yet.
#[cfg(not(all(
    kernel_has = "sym:vm_zone_stat",
    kernel_has = "sym:vm_node_stat",
    kernel_has = "const:NR_SLAB_RECLAIMABLE_B",
    kernel_has = "const:NR_KERNEL_STACK_KB"
)))]
mod counters {
    use kstruct::Memory;
    use linux::Faults;

    #[cfg(kernel_has = "sym:_totalram_pages")]
    pub fn positive(value: impl Into<i64>) -> u64 {
        u64::try_from(value.into()).unwrap_or(0)
    }

    pub fn add(_: &Memory, _: u64, _: &mut Vec<(&'static str, u64)>, _: &mut Faults) {}
}

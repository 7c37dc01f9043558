//! `struct page`: which page of memory it stands for, and its flags by name.
#![cfg(all(
    kernel_has = "page.flags",
    kernel_has = "page.mapping",
    kernel_has = "sym:page_offset_base",
    kernel_has = "sym:vmemmap_base"
))]

use kernel::{page, sym};
use kstruct::{Fault, FaultKind, Memory, View as _};

/// Where the array of all pages and the direct map are (arch/x86/include/asm/pgtable_64.h: `vmemmap`, `PAGE_OFFSET`).
#[derive(Clone, Copy)]
pub struct Pages<'m> {
    memory: &'m Memory,
    vmemmap: u64,
    direct: u64,
    count: u64,
}

impl<'m> Pages<'m> {
    /// Of a dump.
    pub fn of(memory: &'m Memory) -> Result<Self, Fault> {
        Ok(Pages {
            memory,
            vmemmap: memory.get(sym::vmemmap_base)?,
            direct: memory.get(sym::page_offset_base)?,
            // A damaged dump may say anything; there are no pages of memory that it doesn't have.
            count: memory
                .get(sym::max_pfn)?
                .min(memory.dump().memory_end().div_ceil(4096)),
        })
    }

    /// One more than the highest page frame number of RAM.
    pub fn count(self) -> u64 {
        self.count
    }

    /// The `struct page` of a page frame: C's `pfn_to_page`. Memory has holes, for which there is none.
    pub fn page(self, frame: u64) -> Result<page<'m>, Fault> {
        page::at(self.memory, self.address(frame))
    }

    /// All there are, each with its page frame number. Memory has holes, which are left out; what can't be read is a fault.
    pub fn iter(self) -> AllPages<'m> {
        AllPages {
            pages: self,
            end: 0,
            rest: [].iter(),
        }
    }

    /// The address of the `struct page` of a page frame.
    pub fn address(self, frame: u64) -> u64 {
        self.vmemmap
            .wrapping_add(frame.wrapping_mul(page::SIZE as u64))
    }

    /// The page frame number of the `struct page` (or folio, or slab) at an address: C's `page_to_pfn`.
    ///
    /// # Errors
    ///
    /// `OutOfRange` if there is no `struct page` at that address.
    pub fn frame(self, page: u64) -> Result<u64, Fault> {
        let offset = page.wrapping_sub(self.vmemmap);
        let size = page::SIZE as u64;
        if !offset.is_multiple_of(size) || offset / size >= self.count {
            return Err(Fault {
                address: page,
                kind: FaultKind::OutOfRange,
            });
        }
        Ok(offset / size)
    }

    /// A page whose bytes are known.
    #[inline]
    fn view(self, frame: u64, bytes: &'m [u8]) -> (u64, page<'m>) {
        (frame, self.view_at(self.address(frame), bytes))
    }

    #[inline]
    fn view_at(self, address: u64, bytes: &'m [u8]) -> page<'m> {
        page::new(kstruct::Part {
            memory: self.memory,
            address,
            bytes: Some(bytes),
        })
    }

    /// The memory that they are of.
    pub fn memory(self) -> &'m Memory {
        self.memory
    }

    /// Where the kernel sees the memory of a page frame: C's `pfn_to_kaddr`.
    pub fn memory_at(self, frame: u64) -> u64 {
        self.direct.wrapping_add(frame << 12)
    }

    /// Where the kernel sees the memory that a `struct page` stands for: C's `page_address`.
    pub fn memory_of(self, page: u64) -> Result<u64, Fault> {
        Ok(self.memory_at(self.frame(page)?))
    }
}

/// All pages, in the order of memory.
pub struct AllPages<'m> {
    pages: Pages<'m>,
    /// The next ones, as far as they lie one behind the other in the dump.
    rest: std::slice::Iter<'m, [u8; page::SIZE]>,
    /// The page frame behind these: the next one's is told by how many there are, so that nothing has to be counted.
    end: u64,
}

impl<'m> AllPages<'m> {
    /// Of the next one.
    #[inline]
    fn frame(&self) -> u64 {
        self.end - self.rest.len() as u64
    }

    /// The next page, with its page frame number, of which something is true; or one that can't be read. Those that are tested have no address: to
    /// count it up, and the number, would take as long as the test.
    #[inline]
    pub fn next_where(
        &mut self,
        is_wanted: impl Fn(page<'m>) -> bool,
    ) -> Option<(u64, Result<page<'m>, Fault>)> {
        /// Pages that are tested before later ones are fetched.
        const AT_ONCE: usize = 16;
        const AHEAD: usize = 64;
        loop {
            let pages = self.pages;
            let all = self.rest.as_slice();
            let (mut seen, mut found) = (0, None);
            for some in all.chunks(AT_ONCE) {
                // CPUs fetch what follows by themselves, but not beyond the end of a page.
                if let Some(later) = all.get(seen + AHEAD..) {
                    kstruct::prefetch(later.first().map_or(&[], |page| &page[..]));
                }
                let mut rest = some.iter();
                found = rest.find(|bytes| is_wanted(pages.view_at(0, *bytes)));
                // With the one that was found, as many are behind us.
                seen += some.len() - rest.len();
                if found.is_some() {
                    break;
                }
            }
            self.rest = all.get(seen..).unwrap_or_default().iter();
            if let Some(bytes) = found {
                let (frame, page) = pages.view(self.frame() - 1, bytes);
                return Some((frame, Ok(page)));
            }
            let found = look_up(pages, self.end);
            (self.end, self.rest) = found.run();
            if found.alone.is_some() || found.run.is_empty() {
                return found.alone;
            }
        }
    }
}

impl<'m> Iterator for AllPages<'m> {
    type Item = (u64, Result<page<'m>, Fault>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.len() == 0 {
            // By value, so that this iterator can stay in registers.
            let found = look_up(self.pages, self.end);
            (self.end, self.rest) = found.run();
            if found.alone.is_some() {
                return found.alone;
            }
        }
        let frame = self.frame();
        let (frame, page) = self.pages.view(frame, self.rest.next()?);
        Some((frame, Ok(page)))
    }
}

/// Pages from some frame on.
struct Found<'m> {
    /// One that lies in two pieces or can't be read, before the others.
    alone: Option<(u64, Result<page<'m>, Fault>)>,
    /// The frame of the first of the others.
    frame: u64,
    /// Their bytes. Empty at the end, or if there is one alone.
    run: &'m [[u8; page::SIZE]],
}

impl<'m> Found<'m> {
    /// The others, and the frame behind them.
    #[inline]
    fn run(&self) -> (u64, std::slice::Iter<'m, [u8; page::SIZE]>) {
        (self.frame + self.run.len() as u64, self.run.iter())
    }
}

#[cold]
fn look_up(pages: Pages<'_>, mut frame: u64) -> Found<'_> {
    /// What one lookup finds at most: more would be read before it is needed.
    const MOST: u64 = 1 << 16;
    let mut found = Found {
        alone: None,
        frame,
        run: &[],
    };
    while frame < pages.count {
        let count = (pages.count - frame).min(MOST);
        let most = count as usize * page::SIZE;
        match pages.memory.run(pages.address(frame), most) {
            Ok(run) if run.len() >= page::SIZE => {
                (found.run, _) = run.as_chunks();
                break;
            }
            Err(fault) if fault.kind == FaultKind::NotMapped => frame += 1,
            Ok(_) | Err(_) => {
                found.alone = Some((frame, pages.page(frame)));
                frame += 1;
                break;
            }
        }
    }
    found.frame = frame;
    found
}

/// What a page is to the page or folio that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The first page of several, or of a folio.
    Head,
    /// A page behind the first one, whose address this is. Most of what is said of the folio is said there.
    Tail(u64),
    /// One page that stands for itself.
    Single,
}

/// Whether a page is one of several that the kernel handles as one (`PageHead`, `PageTail`).
#[cfg(all(kernel_has = "page.compound_head", kernel_has = "const:PG_head"))]
pub fn part(page: page<'_>) -> Part {
    // Bit 0 tags the pointer to the head.
    let tagged: kstruct::Ptr<'_, page<'_>> = kstruct::Ptr::new(page.memory(), page.compound_head());
    let (head, tag) = tagged.untagged(1);
    match tag {
        1 => Part::Tail(head.addr()),
        _ if page.flags() >> kernel::constants::PG_head & 1 != 0 => Part::Head,
        _ => Part::Single,
    }
}

/// What `page.mapping` leads to, by the two lowest bits that tag it (include/linux/page-flags.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mapping {
    /// Nothing.
    None,
    /// The pages of a file: its `struct address_space`.
    File(u64),
    /// Memory of a process (`PAGE_MAPPING_ANON`): its `struct anon_vma`.
    Anonymous(u64),
    /// Memory whose driver moves it by itself (`PAGE_MAPPING_MOVABLE`): its operations, or its `struct address_space`.
    Movable(u64),
    /// Memory of several processes that has the same in it (`PAGE_MAPPING_KSM`): its `struct ksm_stable_node`.
    Ksm(u64),
}

/// Whom a page belongs to. Asked of the first page of a folio; not of slabs nor of pages that belong to the buddy allocator.
pub fn mapping(page: page<'_>) -> Mapping {
    let (pointer, tag) = page.mapping().untagged(2);
    match (tag, pointer.addr()) {
        (0, 0) => Mapping::None,
        (0, address) => Mapping::File(address),
        (1, address) => Mapping::Anonymous(address),
        (2, address) => Mapping::Movable(address),
        (_, address) => Mapping::Ksm(address),
    }
}

/// The names of the flags that are set, in the order of their bits: of bits with several names the first (`PG_owner_priv_1`
/// rather than `PG_checked`).
///
/// They mean this on the first page of a folio. The pages behind it, and slabs, use some of the bits for something else.
#[cfg(kernel_has = "const:PG_locked")]
pub fn flag_names(flags: u64) -> Vec<&'static str> {
    // Above the flags are zone, node and section.
    let flags = flags & ((1 << kernel::constants::__NR_PAGEFLAGS) - 1);
    kstruct::walk::set_bits([flags], 64)
        .filter_map(|bit| kernel::pageflags::INFO.name_of(i128::from(bit)))
        .collect()
}

/// `MAX_NUMNODES` with the largest `CONFIG_NODES_SHIFT`; a damaged dump may say anything.
#[cfg(all(kernel_has = "sym:node_data", kernel_has = "sym:nr_node_ids"))]
const MOST_NODES: u32 = 1 << 10;

/// A block of free pages: 2 to the power of `order` many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreeBlock {
    /// The first page frame.
    pub frame: u64,
    /// The block's size.
    pub order: u32,
}

/// The blocks that the buddy allocator has, of all NUMA nodes and zones (mm/page_alloc.c). What each CPU holds back of them is
/// not there. A fault stands where a list ends in one.
#[cfg(all(
    kernel_has = "sym:node_data",
    kernel_has = "sym:nr_node_ids",
    kernel_has = "page.buddy_list",
    kernel_has = "free_area.free_list"
))]
pub fn free_blocks(pages: Pages<'_>) -> Result<Vec<Result<FreeBlock, Fault>>, Fault> {
    let mut found = Vec::new();
    let k = pages.memory;
    // By its address: BTF doesn't say that it is an array of pointers.
    let table = k.address_of(sym::node_data);
    let width = u64::from(k.kernel().pointer_size);
    for index in 0..u64::from(k.get(sym::nr_node_ids)?.min(MOST_NODES)) {
        let node = k.word(table.wrapping_add(index * width))?;
        if node == 0 {
            continue;
        }
        let node = kernel::pglist_data::at(k, node)?;
        for zone in node.node_zones().iter() {
            for (order, area) in (0..).zip(zone.free_area().iter()) {
                for list in area.free_list().iter() {
                    // A zone without pages may never have been prepared.
                    if list.next().is_null() {
                        continue;
                    }
                    found.extend(list.entries(page::buddy_list).map(|page| {
                        let frame = pages.frame(page?.addr())?;
                        Ok(FreeBlock { frame, order })
                    }));
                }
            }
        }
    }
    Ok(found)
}

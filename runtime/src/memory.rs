//! The dumped machine's memory by virtual address.

use std::path::Path;
use std::sync::OnceLock;

use elsa::sync::FrozenMap;

use crate::dump::{Dump, OpenError, VmcoreInfo};
use crate::fault::{Fault, FaultKind};
use crate::kernel::{self, KernelInfo};
use crate::locate::{self, Hints, Linear, Located};
use crate::module::{Module, ModuleName, PerCpuSymbol, Symbol};
use crate::paging::{self, Cache, Mapping, PAGE};
use crate::symbol::Sym;
use crate::view::Target;

/// No more than this is copied, or compared page by page, for one read. Nothing that a kernel has as one piece outside of
/// the direct map is larger, and a corrupt length in a dump whose headers lie could ask for anything.
const LARGEST_COPY: usize = 1 << 28;

/// The memory of a dumped machine, as its kernel saw it.
///
/// Everything that is read borrows from it. It can be shared between threads.
pub struct Memory {
    dump: Dump,
    kernel: &'static KernelInfo,
    located: Located,
    window: DirectWindow,
    /// VMCOREINFO where the dump has no note of it: empty if memory has none either.
    vmcoreinfo: OnceLock<VmcoreInfo>,
    /// Bytes of memory in the dump, which may have thousands of segments to be summed up.
    memory_size: u64,
    /// What the page tables said lately.
    translations: Cache,
    /// Copies of what straddles pages that are not neighbours, by address and length. Each is made once.
    copies: FrozenMap<(u64, usize), Box<[u8]>>,
    /// Where sections of modules are, or why that can't be said, by the names of both.
    sections: FrozenMap<(&'static str, &'static str), Box<Result<u64, FaultKind>>>,
    /// Why the kernel's banner could not be compared.
    unconfirmed: Option<Fault>,
}

/// The part of the direct map that lies in the file in one piece: most reads hit it. It has a map of its own, so that an address in it takes one
/// subtraction and one comparison.
struct DirectWindow {
    /// The virtual address of its first byte.
    start: u64,
    bytes: memmap2::Mmap,
}

impl DirectWindow {
    fn new(dump: &Dump, direct: &Linear) -> std::io::Result<Self> {
        let mapped = dump.mapped();
        // Both as physical addresses.
        let start = mapped.start.max(direct.physical);
        let end = mapped.start.saturating_add(mapped.in_file);
        let end = end.min(direct.physical.saturating_add(direct.size));
        let size = usize::try_from(end.saturating_sub(start)).unwrap_or(0);
        let file = mapped.file.wrapping_add(start.wrapping_sub(mapped.start));
        Ok(DirectWindow {
            start: direct
                .start
                .wrapping_add(start.wrapping_sub(direct.physical)),
            // Where there is no room for it, all is read by way of the whole file's map.
            bytes: dump
                .map_part(file, size)
                .or_else(|_| crate::map::nothing())?,
        })
    }

    /// Bytes around an address, `before` of them before it.
    #[inline]
    fn around(&self, address: u64, before: usize, length: usize) -> Option<&[u8]> {
        let skip = usize::try_from(address.wrapping_sub(self.start)).ok()?;
        self.bytes.get(skip.checked_sub(before)?..)?.get(..length)
    }
}

impl Memory {
    /// Opens a dump of the given kernel. With `force`, a dump of another kernel is opened too.
    pub fn open(path: &Path, kernel: &'static KernelInfo, force: bool) -> Result<Self, OpenError> {
        Self::of_dump(Dump::open(path)?, kernel, force)
    }

    /// The same of a dump that is open already, as one that was split is by [`Dump::open_parts`].
    pub fn of_dump(
        dump: Dump,
        kernel: &'static KernelInfo,
        force: bool,
    ) -> Result<Self, OpenError> {
        Self::of_dump_with(dump, kernel, &Hints::default(), force)
    }

    /// The same, with what somebody knows of where the kernel lies.
    ///
    /// # Errors
    ///
    /// [`OpenError::Contradiction`] if that isn't true of the dump.
    pub fn of_dump_with(
        dump: Dump,
        kernel: &'static KernelInfo,
        hints: &Hints,
        force: bool,
    ) -> Result<Self, OpenError> {
        if !force {
            kernel::check_identity(&dump, dump.vmcoreinfo(), kernel)?;
        }
        let (located, found) = locate::locate(&dump, kernel, hints)
            .map_err(|error| kernel::truncated_first(&dump, error))?;
        let vmcoreinfo = OnceLock::new();
        if let Some(found) = found {
            if !force {
                kernel::check_identity(&dump, &found, kernel)?;
            }
            let _ = vmcoreinfo.set(found);
        }
        let window = DirectWindow::new(&dump, &located.direct);
        let window = window.map_err(|error| OpenError::Io {
            path: dump.path().to_owned(),
            error,
        })?;
        let mut memory = Memory {
            window,
            vmcoreinfo,
            memory_size: dump.memory_size(),
            dump,
            kernel,
            located,
            translations: Cache::new(),
            copies: FrozenMap::new(),
            sections: FrozenMap::new(),
            unconfirmed: None,
        };
        if !force {
            memory.unconfirmed = kernel::check_banner(&memory)?;
        }
        Ok(memory)
    }

    /// Gives back the memory that pages take which can't be borrowed from the file, and copies of what isn't in one piece. As no view
    /// is alive when this is called, a program that makes several checks can do so between them.
    ///
    /// # Errors
    ///
    /// No address space for the dump's memory.
    pub fn forget_pages(&mut self) -> std::io::Result<()> {
        self.copies = FrozenMap::new();
        self.dump.forget_pages()
    }

    /// The dump under it.
    pub fn dump(&self) -> &Dump {
        &self.dump
    }

    /// What the kernel left for dump tools: from the dump's notes, or else from its memory, which is searched for it once. Empty if it
    /// is in neither.
    pub fn vmcoreinfo(&self) -> &VmcoreInfo {
        let noted = self.dump.vmcoreinfo();
        if !noted.is_empty() {
            return noted;
        }
        self.vmcoreinfo.get_or_init(|| {
            locate::vmcoreinfo_in_memory(&self.dump, self.kernel, &self.located).unwrap_or_default()
        })
    }

    /// Why it could not be confirmed by its banner, `linux_banner`, that the dump is of the program's kernel: then the build id in
    /// VMCOREINFO says so, and nothing but that.
    pub fn unconfirmed(&self) -> Option<Fault> {
        self.unconfirmed
    }

    /// The kernel whose bindings the program was compiled with.
    pub fn kernel(&self) -> &'static KernelInfo {
        self.kernel
    }

    /// How far the kernel was moved from where it was linked (KASLR), in bytes.
    pub fn kaslr_offset(&self) -> u64 {
        self.located.kaslr
    }

    /// How many levels the kernel's page tables have.
    pub fn paging_levels(&self) -> u32 {
        self.located.page_table.format.levels()
    }

    /// Bytes in the kernel's smallest page: 4096, or on arm64 and powerpc64 what it was configured for.
    pub fn page_size(&self) -> u64 {
        match self.located.page_table.format {
            paging::Format::Arm64 { page_bits, .. } | paging::Format::Radix { page_bits } => {
                1 << page_bits
            }
            _ => PAGE,
        }
    }

    /// Where a linked address is in this dump.
    #[inline]
    pub fn relocated(&self, address: u64) -> u64 {
        if address >= self.located.linked_from {
            self.wrap(address.wrapping_add(self.located.kaslr))
        } else {
            address
        }
    }

    /// The name of the function that starts at an address of this dump.
    pub fn function_name(&self, address: u64) -> Option<&'static str> {
        let linked = address.wrapping_sub(self.located.kaslr);
        self.kernel.functions.name(linked)
    }

    /// The function that an address of this dump lies in, or the last one before it, and how many bytes lie between. Where the kernel's
    /// code ends isn't known here.
    pub fn function_at(&self, address: u64) -> Option<(&'static str, u64)> {
        let linked = self.wrap(address.wrapping_sub(self.located.kaslr));
        self.kernel.functions.at(linked)
    }

    /// A variable's value: a view for a struct, a number for a number. A variable of a module is looked for in the dump's
    /// list of modules first, which may not have the module.
    #[inline]
    pub fn get<'m, S>(&'m self, symbol: S) -> Result<<S::Target as Target<'m>>::Value, Fault>
    where
        S: Symbol<Target: Target<'m>>,
    {
        S::Target::read(self, symbol.locate(self)?)
    }

    /// Where a section of a loaded module lies.
    pub(crate) fn module_section(
        &self,
        module: &'static Module,
        section: &'static str,
    ) -> Result<u64, FaultKind> {
        if let Some(known) = self.sections.get(&(module.name, section)) {
            return *known;
        }
        let found = match self.kernel.module_section {
            Some(find) => find(self, module, section),
            None => Err(FaultKind::NotLoaded(ModuleName::new(module))),
        };
        *self
            .sections
            .insert((module.name, section), Box::new(found))
    }

    /// A variable's address.
    #[inline]
    pub fn address_of<T>(&self, symbol: Sym<T>) -> u64 {
        self.relocated(symbol.linked_address())
    }

    /// A per-CPU variable's value on one CPU.
    pub fn per_cpu<'m, S>(
        &'m self,
        symbol: S,
        cpu: u32,
    ) -> Result<<S::Target as Target<'m>>::Value, Fault>
    where
        S: PerCpuSymbol<Target: Target<'m>>,
    {
        S::Target::read(self, self.per_cpu_address(symbol.locate(self)?, cpu)?)
    }

    /// The address, on one CPU, of what a per-CPU pointer (`__percpu`) points to.
    pub fn per_cpu_address(&self, address: u64, cpu: u32) -> Result<u64, Fault> {
        let Some(offsets) = self.kernel.per_cpu_offset else {
            // A kernel built without SMP has one copy of each per-CPU variable.
            return Ok(address);
        };
        let width = u64::from(self.kernel.pointer_size);
        let slot = self
            .relocated(offsets.address)
            .wrapping_add(u64::from(cpu) * width);
        if cpu >= offsets.count {
            return Err(Fault {
                address: slot,
                kind: FaultKind::OutOfRange,
            });
        }
        Ok(self.wrap(address.wrapping_add(self.word(slot)?)))
    }

    /// A pointer-sized number at an address.
    pub fn word(&self, address: u64) -> Result<u64, Fault> {
        let bytes = self.bytes(address, usize::from(self.kernel.pointer_size))?;
        Ok(crate::bits::uint(bytes, self.kernel.big_endian))
    }

    /// An address modulo the width of the kernel's pointers.
    #[inline]
    pub fn wrap(&self, address: u64) -> u64 {
        if self.kernel.pointer_size == 4 {
            address & 0xffff_ffff
        } else {
            address
        }
    }

    /// Bytes at a virtual address: borrowed from the dump where they are neighbours there, else from a copy.
    #[inline]
    pub fn bytes(&self, address: u64, length: usize) -> Result<&[u8], Fault> {
        if let Some(bytes) = self.window.around(address, 0, length) {
            return Ok(bytes);
        }
        self.bytes_elsewhere(address, length)
    }

    /// Bytes around an address, `before` of them before it, if the direct map has them in the file in one piece.
    #[inline]
    pub(crate) fn around(&self, address: u64, before: usize, length: usize) -> Option<&[u8]> {
        self.window.around(address, before, length)
    }

    /// Asks the CPU to fetch what will be read soon, so that a walk over many structs need not wait for each of them: nothing if it isn't
    /// in the direct map, or the file has it in another form.
    #[inline]
    pub fn prefetch(&self, address: u64, length: usize) {
        if let Some(bytes) = self.at_hand(address, length) {
            crate::map::prefetch(bytes);
        }
    }

    /// The same for the lines of memory at some offsets of what lies at an address, none of them at `length` or beyond.
    #[inline]
    pub fn prefetch_at(&self, address: u64, length: usize, offsets: &[usize]) {
        if let Some(bytes) = self.at_hand(address, length) {
            for offset in offsets {
                if let Some(line) = bytes.get(*offset..*offset + 1) {
                    crate::map::prefetch(line);
                }
            }
        }
    }

    /// A pointer-sized number of the direct map that the file has as it is in memory: nothing is made for it. For what would be read soon, and is not
    /// worth a page of its own.
    #[inline]
    pub fn word_at_hand(&self, address: u64) -> Option<u64> {
        let bytes = self.at_hand(address, self.kernel.pointer_size.into())?;
        Some(crate::bits::uint(bytes, self.kernel.big_endian))
    }

    /// What the file has as it is in memory, found without a look at the page tables.
    #[inline]
    fn at_hand(&self, address: u64, length: usize) -> Option<&[u8]> {
        self.window
            .around(address, 0, length)
            .or_else(|| self.at_hand_elsewhere(address, length))
    }

    #[cold]
    fn at_hand_elsewhere(&self, address: u64, length: usize) -> Option<&[u8]> {
        let direct = &self.located.direct;
        let skip = address.wrapping_sub(direct.start);
        let physical = direct.physical.wrapping_add(skip);
        (skip < direct.size)
            .then(|| self.dump.in_file(physical, length))
            .flatten()
    }

    /// What isn't in that part of the direct map. Most of it is in one page.
    #[inline(never)]
    fn bytes_elsewhere(&self, address: u64, length: usize) -> Result<&[u8], Fault> {
        let fault = |kind| Fault { address, kind };
        let direct = address.wrapping_sub(self.located.direct.start);
        if direct < self.located.direct.size
            && let Ok(bytes) = self
                .dump
                .physical(direct.wrapping_add(self.located.direct.physical), length)
        {
            return Ok(bytes);
        }
        if address < PAGE {
            return Err(fault(FaultKind::Null));
        }
        if length > (PAGE - address % PAGE) as usize {
            return self.bytes_of_pages(address, length);
        }
        let first = self.physical_address(address)?;
        self.dump.physical(first, length).map_err(fault)
    }

    /// What goes beyond a page.
    #[cold]
    fn bytes_of_pages(&self, address: u64, length: usize) -> Result<&[u8], Fault> {
        let fault = |kind| Fault { address, kind };
        if length > LARGEST_COPY || length as u64 > self.memory_size {
            return Err(fault(FaultKind::TooLarge));
        }
        let first = self.physical_address(address)?;
        // What is one piece of memory may be several in the file.
        if self.is_contiguous(address, first, length)?
            && let Ok(bytes) = self.dump.physical(first, length)
        {
            return Ok(bytes);
        }
        if let Some(copy) = self.copies.get(&(address, length)) {
            return Ok(copy);
        }
        self.dump.take_memory(length as u64).map_err(fault)?;
        let mut copy = Vec::new();
        while copy.len() < length {
            let at = self.wrap(address.wrapping_add(copy.len() as u64));
            let count = ((PAGE - at % PAGE) as usize).min(length - copy.len());
            let page = self
                .dump
                .physical(self.physical_address(at)?, count)
                .map_err(|kind| Fault { address: at, kind })?;
            copy.extend_from_slice(page);
        }
        Ok(self
            .copies
            .insert((address, length), copy.into_boxed_slice()))
    }

    /// As many bytes from an address on as lie one behind the other in the dump, and `most` at most: for going through a large array
    /// without looking up each element. There is at least one byte.
    ///
    /// # Errors
    ///
    /// That of the first byte.
    pub fn run(&self, address: u64, most: usize) -> Result<&[u8], Fault> {
        let first = self.mapping(address)?;
        let mut length = first.left;
        while length < most as u64 {
            match self.mapping(self.wrap(address.wrapping_add(length))) {
                Ok(next) if next.physical == first.physical.wrapping_add(length) => {
                    length = length.saturating_add(next.left);
                }
                _ => break,
            }
        }
        let mut length = length.min(most.max(1) as u64);
        loop {
            // What is one piece of physical memory may be several in the dump.
            match self.dump.physical(first.physical, length as usize) {
                Ok(bytes) => return Ok(bytes),
                Err(kind) if length == 1 => return Err(Fault { address, kind }),
                Err(_) => length /= 2,
            }
        }
    }

    /// Where an address is, and how many bytes from there on are where they are by the same reason.
    fn mapping(&self, address: u64) -> Result<Mapping, Fault> {
        for linear in [&self.located.direct, &self.located.image] {
            if let Some(physical) = linear.physical(address) {
                let left = linear.size - address.wrapping_sub(linear.start);
                return Ok(Mapping { physical, left });
            }
        }
        paging::mapping(&self.dump, &self.located.page_table, address)
    }

    /// Whether a range of virtual memory is one range of physical memory.
    fn is_contiguous(&self, address: u64, first: u64, length: usize) -> Result<bool, Fault> {
        let mut done = PAGE - address % PAGE;
        while done < length as u64 {
            let at = self.wrap(address.wrapping_add(done));
            if self.physical_address(at)? != first.wrapping_add(done) {
                return Ok(false);
            }
            done += PAGE;
        }
        Ok(true)
    }

    /// Whether an address is in the direct map or in the kernel's image, where no page tables are asked: of those it isn't known there whether
    /// anything uses them.
    pub fn is_linear(&self, address: u64) -> bool {
        let maps = [&self.located.direct, &self.located.image];
        maps.iter().any(|linear| linear.physical(address).is_some())
    }

    /// The physical address that a virtual one is mapped to: by subtraction in the direct map and the kernel image, by
    /// the page tables elsewhere.
    pub fn physical_address(&self, address: u64) -> Result<u64, Fault> {
        for linear in [&self.located.direct, &self.located.image] {
            if let Some(physical) = linear.physical(address) {
                return Ok(physical);
            }
        }
        self.translations
            .translate(&self.dump, &self.located.page_table, address)
    }

    /// The format of the kernel's page tables, which is that of user space as well.
    pub(crate) fn page_format(&self) -> paging::Format {
        self.located.page_table.format
    }

    /// The physical address by the page tables alone: to check the linear maps against.
    pub fn walk_page_tables(&self, address: u64) -> Result<u64, Fault> {
        paging::translate(&self.dump, &self.located.page_table, address)
    }
}

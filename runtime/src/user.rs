//! User space: the memory of one process, by its own page tables.

use crate::fault::{Fault, FaultKind};
use crate::memory::Memory;
use crate::paging::{Cache, Format, PAGE, PageTable, S390Top};

/// No more is read at once: the kernel itself limits a command line and an environment to less (`MAX_ARG_STRINGS` aside, 6 MB).
const LARGEST: usize = 16 << 20;

/// The memory of a process, as it saw it.
///
/// Pages that were swapped out, never touched, or left out of the dump are not there: reading them is a fault.
pub struct UserSpace<'m> {
    memory: &'m Memory,
    table: PageTable,
    translations: Cache,
}

impl<'m> UserSpace<'m> {
    /// By `mm_struct.pgd`: the address of the top of the process's page tables.
    ///
    /// # Errors
    ///
    /// A pointer that leads nowhere.
    pub fn new(memory: &'m Memory, pgd: u64) -> Result<Self, Fault> {
        Ok(UserSpace {
            memory,
            table: PageTable {
                root: memory.physical_address(pgd)?,
                format: memory.page_format(),
            },
            translations: Cache::new(),
        })
    }

    /// By the `mm_context_t.asce` of s390x, whose processes have tables of different depths.
    pub fn by_asce(memory: &'m Memory, asce: u64) -> Self {
        UserSpace {
            memory,
            table: PageTable {
                root: asce & !(PAGE - 1),
                format: Format::S390 {
                    table: S390Top::of_asce(asce),
                },
            },
            translations: Cache::new(),
        }
    }

    /// The physical address that one of the process's is mapped to.
    pub fn physical_address(&self, address: u64) -> Result<u64, Fault> {
        self.translations
            .translate(self.memory.dump(), &self.table, address)
    }

    /// A copy of `length` bytes, at most 16 MB.
    ///
    /// # Errors
    ///
    /// The first page that can't be read.
    pub fn bytes(&self, address: u64, length: usize) -> Result<Vec<u8>, Fault> {
        if length > LARGEST || length as u64 > self.memory.dump().memory_size() {
            return Err(Fault {
                address,
                kind: FaultKind::TooLarge,
            });
        }
        let mut bytes = Vec::new();
        while bytes.len() < length {
            let at = address.wrapping_add(bytes.len() as u64);
            let count = ((PAGE - at % PAGE) as usize).min(length - bytes.len());
            let physical = self.physical_address(at)?;
            let page = self.memory.dump().physical(physical, count);
            bytes.extend_from_slice(page.map_err(|kind| Fault { address: at, kind })?);
        }
        Ok(bytes)
    }
}

//! What notes say of the CPUs. `NT_PRSTATUS` has the general registers only; QEMU adds a note of its own.

use super::file::File;

/// Registers that lead to the page tables that a CPU of x86 was using.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cpu {
    pub cr3: u64,
    pub cr4: u64,
}

/// More CPUs than this are not looked at: they share the kernel's half of their tables.
const MOST_CPUS: usize = 64;

/// Each CPU's, from notes named `QEMU` (`QEMUCPUState` in QEMU's target/i386/arch_dump.c): version and size in 4 bytes each, 18
/// registers of 8 bytes, 10 segments of 24 bytes, and the control registers 0 to 4.
pub(super) fn cpus(file: &File, offset: u64, size: u64) -> Vec<Cpu> {
    const CR3: usize = 8 + 18 * 8 + 10 * 24 + 3 * 8;
    let mut found = Vec::new();
    super::elf::each_note(file, false, offset, size, |name, contents, size| {
        if name == b"QEMU" && size >= CR3 as u64 + 16 && found.len() < MOST_CPUS {
            let mut state = [0; CR3 + 16];
            file.read(contents, &mut state)?;
            if crate::bits::uint(&state[..4], false) == 1 {
                found.push(Cpu {
                    cr3: crate::bits::uint(&state[CR3..CR3 + 8], false),
                    cr4: crate::bits::uint(&state[CR3 + 8..], false),
                });
            }
        }
        None::<()>
    });
    found
}

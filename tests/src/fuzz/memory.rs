//! Dumps, and page tables in them.
//!
//! A dump is opened by its name, so an input is written to a file first: let `TMPDIR` be in memory.

use std::io::Write as _;
use std::path::Path;

use kstruct::{
    Dump, EM_386, EM_AARCH64, EM_PPC64, EM_RISCV, EM_S390, EM_X86_64, Fault, FaultKind, Functions,
    KernelInfo, Memory, UserSpace,
};

use crate::machine::Machine;

const PAGE: u64 = 4096;

/// Opens a dump of any format, and reads what it says that it has.
pub fn dump(bytes: &[u8]) {
    let file = saved(bytes);
    if let Ok(dump) = Dump::open(file.path()) {
        examine(dump);
    }
}

/// A raw image, after the physical address of its first byte.
pub fn raw(bytes: &[u8]) {
    let Some((address, image)) = bytes.split_first_chunk() else {
        return;
    };
    let file = saved(image);
    let name = format!(
        "{}@{:x}",
        file.path().display(),
        u64::from_le_bytes(*address)
    );
    if let Ok(dump) = Dump::open(Path::new(&name)) {
        examine(dump);
    }
}

/// A file that is too large to be mapped, as /proc/kcore is. Only in memory can files have that size.
pub fn kcore(bytes: &[u8]) {
    let mut file = tempfile::NamedTempFile::new_in("/dev/shm").expect("Linux has /dev/shm");
    file.write_all(bytes).expect("it can be written");
    file.as_file().set_len(1 << 62).expect("it takes no room");
    if let Ok(dump) = Dump::open(file.path()) {
        assert!(dump.is_live());
        examine(dump);
    }
}

fn examine(dump: Dump) {
    let (end, runs) = (dump.memory_end(), dump.runs());
    let mut before = 0;
    for (start, size) in &runs {
        assert!(*start >= before, "runs overlap");
        before = start.checked_add(*size).expect("no run wraps around");
    }
    assert!(before <= end, "a run lies behind the end of memory");
    // The first and the last runs, and what is before, between and behind them.
    let some = runs.iter().take(40).chain(runs.iter().rev().take(8));
    for (start, size) in some {
        let last = start + size.saturating_sub(1);
        for (at, length) in [
            (*start, (*size).min(PAGE)),
            (*start, (*size).min(5 * PAGE)),
            (start + size / 2, 1),
            (last, 1),
            (last, 2),
            (start.wrapping_sub(1), 2),
        ] {
            read(&dump, at, length);
        }
    }
    for at in [0, end.wrapping_sub(1), end, u64::MAX, 1 << 40] {
        read(&dump, at, 8);
        read(&dump, at, u64::MAX);
    }
    // Each page is made once: whoever asks again is given the same.
    if let Some((start, size)) = runs.first() {
        let length = (*size).min(PAGE) as usize;
        let both = (dump.physical(*start, length), dump.physical(*start, length));
        assert_eq!(both.0, both.1);
    }
    let _ = (dump.release(), dump.missing_bytes());
    let kernel = kernel_of(dump.machine());
    let _ = Memory::of_dump(dump, kernel, true);
}

/// Reads: all that was asked for, or a fault that physical memory can have.
fn read(dump: &Dump, at: u64, length: u64) {
    match dump.physical(at, length as usize) {
        Ok(bytes) => assert_eq!(bytes.len() as u64, length),
        Err(
            FaultKind::NotInDump
            | FaultKind::Excluded
            | FaultKind::Damaged
            | FaultKind::Truncated
            | FaultKind::TooLarge
            | FaultKind::Unreadable,
        ) => {}
        Err(other) => panic!("{other:?} is no fault of physical memory"),
    }
}

/// Finds a kernel in memory, and translates addresses by its page tables. The parts of an input: the machine (a byte),
/// the text of VMCOREINFO, numbers of 8 bytes that are addresses, and pieces of memory, each after its physical address.
pub fn page_tables(bytes: &[u8]) {
    let parts = super::split(bytes);
    let [machine, vmcoreinfo, addresses, pieces @ ..] = &parts[..] else {
        return;
    };
    let machines = [EM_X86_64, EM_386, EM_AARCH64, EM_S390, EM_RISCV, EM_PPC64];
    let Some(machine) = machine
        .first()
        .and_then(|number| machines.get(usize::from(*number)))
    else {
        return;
    };
    let kernel = kernel_of(*machine);
    let mut made = Machine::new(*machine);
    made.vmcoreinfo = String::from_utf8_lossy(vmcoreinfo).into_owned();
    for piece in pieces {
        if let Some((start, bytes)) = piece.split_first_chunk() {
            made.put(u64::from_le_bytes(*start), bytes);
        }
    }
    let file = saved(&made.bytes());
    let Ok(memory) = Memory::open(file.path(), kernel, true) else {
        return;
    };
    let numbers = addresses.chunks_exact(8).map(|bytes| {
        let bytes = bytes.try_into().expect("chunks of 8 bytes");
        u64::from_le_bytes(bytes)
    });
    let numbers: Vec<u64> = numbers.take(64).collect();
    let user = match numbers.first() {
        Some(asce) if *machine == EM_S390 => Some(UserSpace::by_asce(&memory, *asce)),
        Some(pgd) => UserSpace::new(&memory, *pgd).ok(),
        None => None,
    };
    for address in numbers {
        // Remembered or not, the answer is the same.
        let physical = memory.physical_address(address);
        assert_eq!(physical, memory.physical_address(address));
        let in_page = (PAGE - address % PAGE).min(8) as usize;
        if let (Ok(physical), Ok(bytes)) = (physical, memory.bytes(address, in_page)) {
            assert_eq!(memory.dump().physical(physical, in_page), Ok(bytes));
        }
        let across: Result<&[u8], Fault> = memory.bytes(address, 5000);
        assert!(across.is_ok_and(|bytes| bytes.len() == 5000) || across.is_err());
        if let Some(user) = &user {
            let _ = user.physical_address(address);
            let _ = user.bytes(address, 5000);
        }
    }
}

/// A kernel of which nothing is known but how it was linked.
fn kernel_of(machine: u16) -> &'static KernelInfo {
    const fn kernel(machine: u16, page_table: u64, big_endian: bool) -> KernelInfo {
        KernelInfo {
            release: "6.1.0-test",
            build_id: "",
            banner: "Linux version 6.1.0-test (a@b) (cc) #1 SMP",
            machine,
            pointer_size: if machine == EM_386 { 4 } else { 8 },
            big_endian,
            banner_address: Some(page_table + PAGE),
            page_table: Some(page_table),
            page_offset_base: None,
            per_cpu_offset: None,
            module_section: None,
            functions: Functions(""),
        }
    }
    static X86_64: KernelInfo = kernel(EM_X86_64, 0xffff_ffff_8100_0000, false);
    static I386: KernelInfo = kernel(EM_386, 0xc100_0000, false);
    static ARM64: KernelInfo = kernel(EM_AARCH64, 0xffff_8000_0801_0000, false);
    static S390: KernelInfo = kernel(EM_S390, 0x10_0000, true);
    static RISCV: KernelInfo = kernel(EM_RISCV, 0xffff_ffff_8100_0000, false);
    static PPC64: KernelInfo = kernel(EM_PPC64, 0xc000_0000_0100_0000, false);
    match machine {
        EM_PPC64 => &PPC64,
        EM_386 => &I386,
        EM_AARCH64 => &ARM64,
        EM_S390 => &S390,
        EM_RISCV => &RISCV,
        _ => &X86_64,
    }
}

fn saved(bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("there is room for a small file");
    file.write_all(bytes).expect("it can be written");
    file
}

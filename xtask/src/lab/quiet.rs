//! Whether a guest's CPUs are where its truth says, by what QEMU prints of their registers.

use super::target::{Quiet, Target};

/// Whether CPU 0 is halted in its idle task and CPU 1 is in the spinner's user code. `idle` is where arm64's and
/// powerpc's kernels wait.
pub fn is_quiet(registers: &str, target: &Target, idle: u64) -> bool {
    match target.quiet {
        Quiet::X86 => cpus_are_quiet(registers, target.cpus()),
        Quiet::Arm64 => arm64_cpus_are_quiet(registers, idle),
        Quiet::S390 => s390_cpus_are_quiet(registers),
        Quiet::Ppc64 => ppc64_cpus_are_quiet(registers, idle),
    }
}

/// The levels of page tables that amd64's CPUs are set to use.
pub fn amd64_levels(registers: &str) -> u8 {
    let all = registers
        .lines()
        .filter_map(|line| register(line, "CR4="))
        .all(|cr4| cr4 & CR4_LA57 != 0);
    if all { 5 } else { 4 }
}

/// Bit 12 of CR4: 57-bit linear addresses.
const CR4_LA57: u64 = 1 << 12;

/// Of what `info registers -a` prints for two CPUs; the only one of a machine is the spinner's.
fn cpus_are_quiet(registers: &str, cpus: usize) -> bool {
    let field = |name| -> Vec<u64> {
        registers
            .lines()
            .filter_map(|line| register(line, name))
            .collect()
    };
    if cpus == 1 {
        return field("CPL=") == [3];
    }
    matches!(
        (
            field("HLT=")[..].first(),
            field("CPL=")[..].get(1),
            field("CPL=").len()
        ),
        (Some(1), Some(3), 2)
    )
}

/// Bytes of `cpu_do_idle`, which waits for an interrupt; a randomised kernel lies at a multiple of [`ARM64_ALIGNMENT`].
const ARM64_IDLE: u64 = 128;
const ARM64_ALIGNMENT: u64 = 1 << 21;

/// The same on arm64, where QEMU doesn't print that a CPU waits.
fn arm64_cpus_are_quiet(registers: &str, idle: u64) -> bool {
    let counters: Vec<u64> = registers
        .lines()
        .filter_map(|line| register(line, " PC=").or_else(|| register(line, "PC=")))
        .collect();
    let states: Vec<&str> = registers
        .lines()
        .filter(|line| line.contains("PSTATE="))
        .collect();
    let (Some(pc), [first, second]) = (counters.first(), &states[..]) else {
        return false;
    };
    let is_idle = pc.wrapping_sub(idle) % ARM64_ALIGNMENT < ARM64_IDLE;
    is_idle && !first.contains("EL0t") && second.contains("EL0t")
}

/// Bits of the program-status word's mask (Principles of Operation, chapter 4): the CPU waits; it is in the problem state.
const PSW_WAIT: u64 = 1 << 49;
const PSW_PROBLEM: u64 = 1 << 48;

/// The same on s390x.
fn s390_cpus_are_quiet(registers: &str) -> bool {
    let masks: Vec<u64> = registers
        .lines()
        .filter_map(|line| register(line, "PSW=mask "))
        .collect();
    matches!(masks[..], [first, second] if first & PSW_WAIT != 0 && second & PSW_PROBLEM != 0)
}

/// Bytes of `plpar_hcall_norets_notrace`, in which a CPU is that waits for the hypervisor. The kernel is not moved.
const PPC64_IDLE: u64 = 128;
/// Bit of the machine state register: problem state (Power ISA, book III).
const MSR_PROBLEM: u64 = 1 << 14;

/// The same on powerpc64.
fn ppc64_cpus_are_quiet(registers: &str, idle: u64) -> bool {
    let field = |name| -> Vec<u64> {
        registers
            .lines()
            .filter_map(|line| register(line, name))
            .collect()
    };
    let (next, states) = (field("NIP "), field("MSR "));
    let ([pc, _], [first, second]) = (&next[..], &states[..]) else {
        return false;
    };
    pc.wrapping_sub(idle) < PPC64_IDLE && first & MSR_PROBLEM == 0 && second & MSR_PROBLEM != 0
}

/// The hexadecimal value that follows `name` in a line.
fn register(line: &str, name: &str) -> Option<u64> {
    let (_, rest) = line.split_once(name)?;
    u64::from_str_radix(rest.split_whitespace().next()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGISTERS: &str = "\nCPU#0\nRAX=0000000000000000 RBX=0000000000000001\n\
        RIP=ffffffff81a0b1cb RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1\n\
        CR0=80050033 CR2=00007f0000000000 CR3=0000000002a10000 CR4=000006f0\n\
        CPU#1\nRAX=0000000000000000 RBX=0000000000000001\n\
        RIP=0000000000401cf5 RFL=00000246 [---Z-P-] CPL=3 II=0 A20=1 SMM=0 HLT=0\n\
        CR0=80050033 CR2=00007f0000000000 CR3=0000000002a10000 CR4=000016f0\n";

    #[test]
    fn quiet_cpus() {
        assert!(cpus_are_quiet(REGISTERS, 2));
        assert!(!cpus_are_quiet(&REGISTERS.replace("HLT=1", "HLT=0"), 2));
        assert!(!cpus_are_quiet(&REGISTERS.replace("CPL=3", "CPL=0"), 2));
        assert!(!cpus_are_quiet("", 2));
        let cr4: Vec<_> = REGISTERS
            .lines()
            .filter_map(|line| register(line, "CR4="))
            .collect();
        assert_eq!(cr4, [0x6f0, 0x16f0]);
    }
}

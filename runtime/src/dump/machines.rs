//! Machines by the names that their kernels give them (`uname -m`): compressed dumps say no more.

/// ELF's `e_machine` of i386 (System V gABI, chapter 4).
pub(super) const I386: u16 = 3;

/// The start of a machine's name, ELF's `e_machine`, and whether its `long` has 64 bits. The first that fits counts.
const MACHINES: &[(&str, u16, bool)] = &[
    ("x86_64", 62, true),
    ("aarch64", 183, true),
    ("armv8", 183, true),
    ("arm", 40, false),
    ("ppc64", 21, true),
    ("ppc", 20, false),
    ("s390x", 22, true),
    ("riscv64", 243, true),
    ("riscv32", 243, false),
    ("loongarch64", 258, true),
    ("mips64", 8, true),
    ("mips", 8, false),
    ("ia64", 50, true),
    ("sparc64", 43, true),
    ("alpha", 0x9026, true),
];

/// `e_machine` of a machine; 0 (`EM_NONE`) if it isn't known.
pub(super) fn from_name(name: &str) -> u16 {
    known(name).map_or(0, |known| known.0)
}

/// Whether a machine's `long` has 64 bits, if the machine is known.
pub(super) fn is_wide(name: &str) -> Option<bool> {
    known(name).map(|known| known.1)
}

fn known(name: &str) -> Option<(u16, bool)> {
    // i386, i486, i586, i686
    if name.starts_with('i') && name.ends_with("86") {
        return Some((I386, false));
    }
    let fits = |(start, _, _): &&(&str, u16, bool)| name.starts_with(start);
    MACHINES
        .iter()
        .find(fits)
        .map(|(_, machine, wide)| (*machine, *wide))
}

//! Relocations of debug sections in modules and other object files (ET_REL).
//!
//! Debug information holds offsets into other sections, addresses relative to the start of theirs, and on RISC-V, where
//! the linker moves code, differences of addresses, which are sums in several steps.

use object::{
    Object, ObjectSymbol, Relocation, RelocationFlags, RelocationKind, RelocationTarget, elf,
};

/// What a relocation does to the number at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Set,
    Add,
    Subtract,
}

/// How the number is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    /// This many bytes.
    Bytes(usize),
    /// The lower six bits of a byte.
    Six,
    /// As LEB128, of the length that it has.
    Leb128,
}

/// Applies one relocation. `base` says where in `data` the section of a symbol starts that is one of several of its name.
pub fn apply<'d>(
    file: &object::File<'d>,
    data: &mut [u8],
    offset: u64,
    relocation: &Relocation,
    base: impl Fn(object::SectionIndex) -> u64,
) -> Result<(), String> {
    if relocation.kind() == RelocationKind::None {
        return Ok(());
    }
    let unsupported =
        || format!("a relocation at {offset:#x} of a kind that is not supported: {relocation:?}");
    let (operation, field) = meaning(file, relocation).ok_or_else(unsupported)?;
    let target = match relocation.target() {
        RelocationTarget::Symbol(index) => {
            let symbol = file
                .symbol_by_index(index)
                .map_err(|error| error.to_string())?;
            let base = symbol.section_index().map_or(0, base);
            symbol.address().wrapping_add(base)
        }
        RelocationTarget::Absolute => 0,
        _ => {
            return Err(format!(
                "a relocation at {offset:#x} with an unknown target"
            ));
        }
    };
    let value = target.wrapping_add_signed(relocation.addend());
    let outside = || format!("a relocation at {offset:#x} is outside the section");
    let place = usize::try_from(offset)
        .ok()
        .and_then(|start| data.get_mut(start..))
        .ok_or_else(outside)?;
    let old = match field {
        Field::Bytes(size) => number(
            place.get(..size).ok_or_else(outside)?,
            file.is_little_endian(),
        ),
        Field::Six => u64::from(*place.first().ok_or_else(outside)? & 0x3f),
        Field::Leb128 => leb128(place).ok_or_else(outside)?.0,
    };
    let new = match operation {
        Operation::Set if relocation.has_implicit_addend() => old.wrapping_add(value),
        Operation::Set => value,
        Operation::Add => old.wrapping_add(value),
        Operation::Subtract => old.wrapping_sub(value),
    };
    match field {
        Field::Bytes(size) => {
            let place = place.get_mut(..size).ok_or_else(outside)?;
            if file.is_little_endian() {
                place.copy_from_slice(&new.to_le_bytes()[..size]);
            } else {
                place.copy_from_slice(&new.to_be_bytes()[8 - size..]);
            }
        }
        Field::Six => {
            if let Some(byte) = place.first_mut() {
                *byte = *byte & 0xc0 | new as u8 & 0x3f;
            }
        }
        Field::Leb128 => {
            let length = leb128(place).ok_or_else(outside)?.1;
            let mut rest = new;
            for (index, byte) in place.iter_mut().take(length).enumerate() {
                let more = if index + 1 < length { 0x80 } else { 0 };
                *byte = rest as u8 & 0x7f | more;
                rest >>= 7;
            }
        }
    }
    Ok(())
}

fn meaning(file: &object::File<'_>, relocation: &Relocation) -> Option<(Operation, Field)> {
    use Operation::{Add, Set, Subtract};

    if relocation.kind() == RelocationKind::Absolute {
        let size = usize::from(relocation.size()) / 8;
        return matches!(size, 1 | 2 | 4 | 8).then_some((Set, Field::Bytes(size)));
    }
    let RelocationFlags::Elf { r_type } = relocation.flags() else {
        return None;
    };
    if file.architecture() == object::Architecture::Bpf {
        // R_BPF_64_ABS64, R_BPF_64_ABS32 and R_BPF_64_NODYLD32: the kernel's Documentation/bpf/llvm_reloc.rst.
        return match r_type.0 {
            2 => Some((Set, Field::Bytes(8))),
            3 | 4 => Some((Set, Field::Bytes(4))),
            _ => None,
        };
    }
    if file.architecture() != object::Architecture::Riscv64
        && file.architecture() != object::Architecture::Riscv32
    {
        return None;
    }
    // RISC-V ELF psABI, section 8.4.
    Some(match r_type {
        elf::R_RISCV_ADD8 => (Add, Field::Bytes(1)),
        elf::R_RISCV_ADD16 => (Add, Field::Bytes(2)),
        elf::R_RISCV_ADD32 => (Add, Field::Bytes(4)),
        elf::R_RISCV_ADD64 => (Add, Field::Bytes(8)),
        elf::R_RISCV_SUB8 => (Subtract, Field::Bytes(1)),
        elf::R_RISCV_SUB16 => (Subtract, Field::Bytes(2)),
        elf::R_RISCV_SUB32 => (Subtract, Field::Bytes(4)),
        elf::R_RISCV_SUB64 => (Subtract, Field::Bytes(8)),
        elf::R_RISCV_SUB6 => (Subtract, Field::Six),
        elf::R_RISCV_SET6 => (Set, Field::Six),
        elf::R_RISCV_SET8 => (Set, Field::Bytes(1)),
        elf::R_RISCV_SET16 => (Set, Field::Bytes(2)),
        elf::R_RISCV_SET32 => (Set, Field::Bytes(4)),
        elf::R_RISCV_SET_ULEB128 => (Set, Field::Leb128),
        elf::R_RISCV_SUB_ULEB128 => (Subtract, Field::Leb128),
        _ => return None,
    })
}

fn number(bytes: &[u8], little_endian: bool) -> u64 {
    let join = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    if little_endian {
        bytes.iter().rev().fold(0, join)
    } else {
        bytes.iter().fold(0, join)
    }
}

/// A number and how many bytes it takes; `None` if it takes more than ten, or all there are.
fn leb128(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut number = 0u64;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        number |= u64::from(byte & 0x7f).unbounded_shl(7 * index as u32);
        if byte & 0x80 == 0 {
            return Some((number, index + 1));
        }
    }
    None
}

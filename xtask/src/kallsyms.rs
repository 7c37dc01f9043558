//! The kernel's own list of its symbols, out of a dump: for BTF where there is no System.map.
//!
//! The format is that of the kernel's `scripts/kallsyms.c` and `kernel/kallsyms.c`: names are made of tokens, addresses are
//! offsets. VMCOREINFO says where the tables are since 6.0.

use std::path::Path;

use anyhow::{Context as _, bail};
use kstruct::{Functions, KernelInfo, Memory};
use kstruct_codegen::btf::Symbols;
use kstruct_codegen::model::Kernel;

/// No kernel has so many symbols; a damaged dump may say anything. A distribution's kernel has 200,000.
const MOST_SYMBOLS: usize = 1 << 22;
/// `KSYM_NAME_LEN`, and the letter of the type.
const LONGEST_NAME: usize = 513;

/// The symbols of the dumped kernel, at the addresses at which it was linked. `None` if VMCOREINFO doesn't name the tables.
///
/// # Errors
///
/// A dump that can't be opened, and tables that are not sound.
pub fn of_dump(core: &Path, kernel: &Kernel) -> anyhow::Result<Option<Symbols>> {
    // Its banner is found by its symbols, not the other way round.
    let memory = Memory::open(core, kernel_info(kernel), false)?;
    let info = memory.dump().vmcoreinfo();
    let place = |name: &str| info.hex(&format!("SYMBOL(kallsyms_{name})"));
    let (Some(names), Some(count), Some(table), Some(index), Some(offsets), Some(base)) = (
        place("names"),
        place("num_syms"),
        place("token_table"),
        place("token_index"),
        place("offsets"),
        place("relative_base"),
    ) else {
        return Ok(None);
    };
    let context = || format!("{}: its list of symbols can't be read", core.display());
    let number = |bytes: &[u8]| {
        let bytes = bytes.iter().copied();
        let shift = |value, byte| value << 8 | u64::from(byte);
        match kernel.big_endian {
            true => bytes.fold(0, shift),
            false => bytes.rev().fold(0, shift),
        }
    };
    let count = number(memory.bytes(count, 4).with_context(context)?);
    let count = usize::try_from(count)?;
    if count > MOST_SYMBOLS {
        bail!("{}: it claims to have {count} symbols", core.display());
    }
    let base = memory.word(base).with_context(context)?;
    let offsets = memory.bytes(offsets, count * 4).with_context(context)?;
    let index = memory.bytes(index, 512).with_context(context)?;
    let starts: Vec<u64> = index.chunks_exact(2).map(number).collect();
    let tokens = tokens(&memory, table, &starts).with_context(context)?;

    let offsets: Vec<i32> = offsets
        .chunks_exact(4)
        .map(|bytes| (number(bytes) as u32).cast_signed())
        .collect();
    // Where per-CPU symbols are absolute, all others have a negative offset; or else all offsets are unsigned.
    let has_absolute = offsets.iter().any(|offset| *offset < 0);
    let mut cursor = Cursor {
        memory: &memory,
        at: names,
        page: &[],
    };
    let mut list = Vec::with_capacity(count);
    for offset in offsets {
        let name = name(&mut cursor, &tokens).with_context(context)?;
        let distance = u64::from(offset.unsigned_abs());
        let address = match (has_absolute, offset < 0) {
            (true, false) => distance,
            (true, true) => memory.wrap(
                base.wrapping_add(distance)
                    .wrapping_sub(1)
                    .wrapping_sub(memory.kaslr_offset()),
            ),
            (false, _) => memory.wrap(
                base.wrapping_add(distance)
                    .wrapping_sub(memory.kaslr_offset()),
            ),
        };
        if let Some((letter, name)) = name.split_first() {
            list.push((
                address,
                char::from(*letter),
                String::from_utf8_lossy(name).into_owned(),
            ));
        }
    }
    Ok(Some(Symbols::from_entries(list)))
}

/// What each of the 256 tokens stands for.
fn tokens(memory: &Memory, table: u64, starts: &[u64]) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut tokens = Vec::with_capacity(starts.len());
    for start in starts {
        let mut cursor = Cursor {
            memory,
            at: table.wrapping_add(*start),
            page: &[],
        };
        let mut token = Vec::new();
        loop {
            match cursor.byte()? {
                0 => break,
                _ if token.len() == LONGEST_NAME => bail!("a token does not end"),
                byte => token.push(byte),
            }
        }
        tokens.push(token);
    }
    Ok(tokens)
}

/// The next name, with the letter of its type before it.
fn name(cursor: &mut Cursor<'_>, tokens: &[Vec<u8>]) -> anyhow::Result<Vec<u8>> {
    let mut length = usize::from(cursor.byte()?);
    // Since 6.1 a length may have two bytes. Before, none was so long.
    if length & 0x80 != 0 {
        length = length & 0x7f | usize::from(cursor.byte()?) << 7;
    }
    let mut name = Vec::new();
    for _ in 0..length {
        name.extend_from_slice(&tokens[usize::from(cursor.byte()?)]);
        if name.len() > LONGEST_NAME {
            bail!("a name is longer than the kernel allows");
        }
    }
    Ok(name)
}

/// Memory, byte after byte.
struct Cursor<'m> {
    memory: &'m Memory,
    at: u64,
    /// What is left of the page that `at` is in.
    page: &'m [u8],
}

impl Cursor<'_> {
    fn byte(&mut self) -> anyhow::Result<u8> {
        if self.page.is_empty() {
            let left = 4096 - self.at % 4096;
            self.page = self.memory.bytes(self.at, usize::try_from(left)?)?;
        }
        let (byte, rest) = self.page.split_first().context("an empty page")?;
        self.page = rest;
        self.at = self.at.wrapping_add(1);
        Ok(*byte)
    }
}

/// As much as opening a dump needs. It lives as long as the program, as a generated one does.
fn kernel_info(kernel: &Kernel) -> &'static KernelInfo {
    Box::leak(Box::new(KernelInfo {
        release: kernel.release.clone().leak(),
        build_id: "",
        banner: kernel.banner.clone().leak(),
        machine: kernel.machine,
        pointer_size: kernel.pointer_size,
        big_endian: kernel.big_endian,
        banner_address: None,
        page_table: None,
        page_offset_base: None,
        per_cpu_offset: None,
        module_section: None,
        functions: Functions(""),
    }))
}

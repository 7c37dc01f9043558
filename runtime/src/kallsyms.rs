//! The kernel's own list of its symbols, out of a dump: functions and variables, static ones and those without a type among them.
//!
//! The format is that of the kernel's `scripts/kallsyms.c` and `kernel/kallsyms.c`: names are made of tokens, addresses are
//! offsets. VMCOREINFO says where the tables are since 6.0.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::bits;
use crate::fault::{Fault, FaultKind};
use crate::memory::Memory;
use crate::walk;

/// No kernel has so many symbols; a damaged dump may say anything. A distribution's kernel has 200,000.
const MOST_SYMBOLS: usize = 1 << 22;
/// `KSYM_NAME_LEN`, and the letter of the type.
const LONGEST_NAME: usize = 513;
/// Names of all symbols together: as many bytes as no kernel's list has.
const LONGEST_LIST: usize = 1 << 28;
/// How many symbols a marker stands for (`scripts/kallsyms.c`).
const BLOCK: usize = 256;

/// A kernel's symbols.
#[derive(Debug, Default)]
pub struct Kallsyms {
    /// In the kernel's order, which is that of addresses but for what is absolute.
    symbols: Vec<Entry>,
    /// All names, one behind the other.
    names: String,
    /// Indices of `symbols` by address, those without absolute ones; sorted when an address is asked for.
    by_address: OnceLock<Vec<u32>>,
    /// Indices of `symbols` by name; sorted when a name is asked for.
    by_name: OnceLock<Vec<u32>>,
    /// What could not be read.
    faults: Vec<Fault>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    address: u64,
    letter: u8,
    is_absolute: bool,
    name: (u32, u32),
}

/// One symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelSymbol<'a> {
    /// Where it was in the dump; for an absolute one its value.
    pub address: u64,
    /// The letter that /proc/kallsyms shows, as of `nm`: `T` for a global function.
    pub letter: char,
    /// Whether it is a number rather than a place, such as the offset of a per-CPU variable.
    pub is_absolute: bool,
    /// Its name.
    pub name: &'a str,
}

impl Kallsyms {
    /// The dumped kernel's symbols. `None` if VMCOREINFO doesn't name the tables (before 6.0, or without `CONFIG_KALLSYMS`).
    ///
    /// A name that can't be read, or is none, costs its block of 256 symbols, whose ends the kernel marks: each is a fault in
    /// [`Kallsyms::faults`]. Where the marks are damaged too, all behind it is lost.
    ///
    /// # Errors
    ///
    /// Tables without which no name can be read: their sizes, the offsets, the tokens. Or they aren't what they must be: VMCOREINFO names
    /// some of them only, or functions of the kernel aren't where the bindings have them.
    pub fn read(memory: &Memory) -> Result<Option<Self>, Fault> {
        let info = memory.vmcoreinfo();
        let place = |name: &str| info.hex(&format!("SYMBOL(kallsyms_{name})"));
        let (Some(names), Some(count), Some(table), Some(index), Some(offsets), Some(base)) = (
            place("names"),
            place("num_syms"),
            place("token_table"),
            place("token_index"),
            place("offsets"),
            place("relative_base"),
        ) else {
            let is_named = |name| info.get(&format!("SYMBOL(kallsyms_{name})")).is_some();
            // Without `CONFIG_KALLSYMS_BASE_RELATIVE` there are addresses instead of offsets.
            let is_other = is_named("addresses");
            let named = ["names", "num_syms", "offsets", "relative_base"];
            if !is_other && named.into_iter().any(is_named) {
                return Err(Fault {
                    address: 0,
                    kind: FaultKind::Inconsistent,
                });
            }
            return Ok(None);
        };
        let places = offsets;
        let number = |bytes: &[u8]| bits::uint(bytes, memory.kernel().big_endian);
        let place = count;
        let count = usize::try_from(number(memory.bytes(place, 4)?)).unwrap_or(usize::MAX);
        if count > MOST_SYMBOLS {
            return Err(Fault {
                address: place,
                kind: FaultKind::TooLarge,
            });
        }
        let base = memory.word(base)?;
        let offsets: Vec<i32> = memory
            .bytes(offsets, count * 4)?
            .chunks_exact(4)
            .map(|bytes| (number(bytes) as u32).cast_signed())
            .collect();
        let tokens = memory
            .bytes(index, 512)?
            .chunks_exact(2)
            .map(|start| token(memory, table.wrapping_add(number(start))))
            .collect::<Vec<_>>();
        if let Some(Err(fault)) = tokens.first()
            && tokens.iter().all(Result::is_err)
        {
            return Err(*fault);
        }
        // Where per-CPU symbols are absolute, all others have a negative offset; or else all offsets are unsigned.
        let has_absolute = offsets.iter().any(|offset| *offset < 0);
        let mut found = Kallsyms::default();
        let chunks: Vec<&[i32]> = offsets.chunks(BLOCK).collect();
        let length = AtomicUsize::new(0);
        let read = |cursor: &mut Cursor<'_>, count: usize, end: Option<u64>| {
            if length.load(Ordering::Relaxed) > LONGEST_LIST {
                return Ok(Block::default());
            }
            let block = read_block(cursor, &tokens, count, end)?;
            length.fetch_add(block.text.len(), Ordering::Relaxed);
            Ok(block)
        };
        // Where the kernel marks their beginnings, blocks are read at the same time.
        let blocks = match markers(memory, count, names, table) {
            Some(markers) => walk::par_index(chunks.len(), |number| {
                let marker = |number: usize| Some(names.wrapping_add(*markers.get(number)?));
                let start = marker(number).unwrap_or(names);
                let mut cursor = Cursor::at(memory, start);
                let end = marker(number + 1);
                read(&mut cursor, chunks[number].len(), end)
            }),
            None => {
                let mut cursor = Cursor::at(memory, names);
                let mut blocks = Vec::new();
                for chunk in &chunks {
                    blocks.push(read(&mut cursor, chunk.len(), None));
                    if blocks.last().is_some_and(Result::is_err) {
                        // Nobody knows where the next block begins.
                        break;
                    }
                }
                blocks
            }
        };
        if length.into_inner() > LONGEST_LIST {
            return Err(Fault {
                address: names,
                kind: FaultKind::TooLarge,
            });
        }
        found.symbols.reserve_exact(count);
        for (offsets, block) in chunks.into_iter().zip(blocks) {
            let block = match block {
                Ok(block) => block,
                Err(fault) => {
                    found.faults.push(fault);
                    continue;
                }
            };
            let mut rest = &*block.text;
            for (offset, length) in offsets.iter().zip(block.lengths) {
                let (address, is_absolute) = place_of(*offset, base, has_absolute);
                let Some((name, later)) = rest.split_at_checked(length) else {
                    break;
                };
                rest = later;
                if let Some((letter, name)) = name.split_at_checked(1) {
                    let letter = letter.as_bytes()[0];
                    found.push(memory.wrap(address), letter, is_absolute, name);
                }
            }
        }
        if !found.agrees(memory) {
            return Err(Fault {
                address: places,
                kind: FaultKind::Inconsistent,
            });
        }
        Ok(Some(found))
    }

    /// Whether the kernel's functions are where the bindings have them, by some of them. Where blocks of names are missing, half of them may
    /// be, or else one in ten.
    fn agrees(&self, memory: &Memory) -> bool {
        /// One of so many is looked for.
        const STEP: usize = 100;
        let (mut looked, mut agreed) = (0, 0);
        for (linked, name) in memory.kernel().functions.iter().step_by(STEP) {
            looked += 1;
            agreed += usize::from(self.is_at(memory.relocated(linked), name));
        }
        let most_missing = if self.faults.is_empty() {
            looked / 10
        } else {
            looked / 2
        };
        looked - agreed <= most_missing
    }

    /// Whether a symbol is at an address.
    fn is_at(&self, address: u64, name: &str) -> bool {
        let by_address = self.by_address();
        let first =
            by_address.partition_point(|index| self.symbols[*index as usize].address < address);
        by_address[first..]
            .iter()
            .map(|index| self.get(*index))
            .take_while(|symbol| symbol.address == address)
            .any(|symbol| symbol.name == name)
    }

    fn push(&mut self, address: u64, letter: u8, is_absolute: bool, name: &str) {
        let start = self.names.len() as u32;
        self.names.push_str(name);
        self.symbols.push(Entry {
            address,
            letter,
            is_absolute,
            name: (start, self.names.len() as u32),
        });
    }

    fn by_address(&self) -> &[u32] {
        self.by_address.get_or_init(|| {
            let mut by_address: Vec<u32> = (0..self.symbols.len() as u32)
                .filter(|index| !self.symbols[*index as usize].is_absolute)
                .collect();
            by_address.sort_by_key(|index| self.symbols[*index as usize].address);
            by_address
        })
    }

    fn by_name(&self) -> &[u32] {
        self.by_name.get_or_init(|| {
            let mut by_name: Vec<u32> = (0..self.symbols.len() as u32).collect();
            by_name.sort_by_key(|index| self.get(*index).name);
            by_name
        })
    }

    fn get(&self, index: u32) -> KernelSymbol<'_> {
        let entry = self.symbols[index as usize];
        KernelSymbol {
            address: entry.address,
            letter: char::from(entry.letter),
            is_absolute: entry.is_absolute,
            name: &self.names[entry.name.0 as usize..entry.name.1 as usize],
        }
    }

    /// What could not be read: for each a block of symbols is missing, or the rest.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// All symbols, in the kernel's order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = KernelSymbol<'_>> {
        (0..self.symbols.len() as u32).map(|index| self.get(index))
    }

    /// The symbols of a name: static ones may share it.
    pub fn named(&self, name: &str) -> impl Iterator<Item = KernelSymbol<'_>> {
        let by_name = self.by_name();
        let start = by_name.partition_point(|index| self.get(*index).name < name);
        let count = by_name[start..].partition_point(|index| self.get(*index).name == name);
        by_name[start..start + count]
            .iter()
            .map(|index| self.get(*index))
    }

    /// The last symbol at or below an address, and how many bytes the address lies behind it: what `%pS` shows. Of several
    /// at one address it is the first. The kernel's end is not known here: who asks for an address outside gets the last.
    pub fn at(&self, address: u64) -> Option<(KernelSymbol<'_>, u64)> {
        let by_address = self.by_address();
        let behind =
            by_address.partition_point(|index| self.symbols[*index as usize].address <= address);
        let last = by_address.get(behind.checked_sub(1)?)?;
        let place = self.symbols[*last as usize].address;
        let first =
            by_address.partition_point(|index| self.symbols[*index as usize].address < place);
        Some((self.get(*by_address.get(first)?), address - place))
    }
}

/// The address of a symbol, or its value, and whether it is that.
fn place_of(offset: i32, base: u64, has_absolute: bool) -> (u64, bool) {
    match (has_absolute, offset < 0) {
        (true, false) => (u64::from(offset.unsigned_abs()), true),
        (true, true) => {
            let distance = u64::from(offset.unsigned_abs()) - 1;
            (base.wrapping_add(distance), false)
        }
        (false, _) => (base.wrapping_add(u64::from(offset.cast_unsigned())), false),
    }
}

/// Where each block of names begins, counted from the first name (`kallsyms_markers`). VMCOREINFO doesn't say where that table
/// is: it lies between the names and the tokens, in 6.2 and 6.3 with the order of names behind it. `None` if neither place has
/// what can be one.
fn markers(memory: &Memory, count: usize, names: u64, tokens: u64) -> Option<Vec<u64>> {
    let blocks = count.div_ceil(BLOCK);
    let align = |bytes: usize| (bytes as u64).next_multiple_of(8);
    let size = align(blocks * 4);
    // Three bytes for each symbol (`kallsyms_seqs_of_names`).
    [size, size + align(count * 3)]
        .into_iter()
        .filter_map(|before| {
            let place = tokens.checked_sub(before).filter(|place| *place > names)?;
            let bytes = memory.bytes(place, blocks * 4).ok()?;
            let list: Vec<u64> = bytes
                .chunks_exact(4)
                .map(|word| bits::uint(word, memory.kernel().big_endian))
                .collect();
            // A symbol has two bytes at least. One that is damaged makes no more than its neighbours worthless.
            let in_order =
                |pair: &&[u64]| pair[0] < pair[1] && pair[1] - pair[0] >= 2 * BLOCK as u64;
            let sound = list.windows(2).filter(in_order).count();
            let begins = list.first() == Some(&0) || blocks > 2;
            let ends = list.last().is_some_and(|last| *last < place - names);
            (begins && (ends || blocks > 2) && sound + 2 >= list.len().saturating_sub(1))
                .then_some(list)
        })
        .next()
}

/// Names, each with the letter of its type before it.
#[derive(Default)]
struct Block {
    /// One behind the other.
    text: String,
    lengths: Vec<usize>,
}

/// The names of a block. If it is known where the block ends, it must end there.
fn read_block(
    cursor: &mut Cursor<'_>,
    tokens: &[Result<Vec<u8>, Fault>],
    count: usize,
    end: Option<u64>,
) -> Result<Block, Fault> {
    let mut lengths = Vec::with_capacity(count.min(BLOCK));
    let mut text = Vec::new();
    let start = cursor.at;
    for _ in 0..count {
        let place = cursor.at;
        let before = text.len();
        read_name(cursor, tokens, &mut text)?;
        // Letters as of `nm`; names are what assemblers take, and Rust's and clang's have dots, dollars and more.
        let is_name = match text[before..].split_first() {
            Some((letter, name)) => {
                letter.is_ascii_alphabetic() && name.iter().all(u8::is_ascii_graphic)
            }
            None => false,
        };
        if !is_name {
            return Err(Fault {
                address: place,
                kind: FaultKind::Inconsistent,
            });
        }
        lengths.push(text.len() - before);
    }
    if end.is_some_and(|end| end != cursor.at) {
        return Err(Fault {
            address: cursor.at,
            kind: FaultKind::Inconsistent,
        });
    }
    // It is all ASCII.
    let text = String::from_utf8(text).map_err(|_| Fault {
        address: start,
        kind: FaultKind::Inconsistent,
    })?;
    Ok(Block { text, lengths })
}

/// What a token stands for.
fn token(memory: &Memory, address: u64) -> Result<Vec<u8>, Fault> {
    let mut cursor = Cursor::at(memory, address);
    let mut token = Vec::new();
    loop {
        match cursor.byte()? {
            0 => return Ok(token),
            _ if token.len() == LONGEST_NAME => {
                return Err(Fault {
                    address,
                    kind: FaultKind::Unterminated,
                });
            }
            byte => token.push(byte),
        }
    }
}

/// Adds the next name, with the letter of its type before it.
fn read_name(
    cursor: &mut Cursor<'_>,
    tokens: &[Result<Vec<u8>, Fault>],
    text: &mut Vec<u8>,
) -> Result<(), Fault> {
    let place = cursor.at;
    let mut length = usize::from(cursor.byte()?);
    // Since 6.1 a length may have two bytes. Before, none was so long.
    if length & 0x80 != 0 {
        length = length & 0x7f | usize::from(cursor.byte()?) << 7;
    }
    let before = text.len();
    for _ in 0..length {
        // There are 256.
        if let Some(token) = tokens.get(usize::from(cursor.byte()?)) {
            text.extend_from_slice(token.as_ref().map_err(|fault| *fault)?);
        }
        if text.len() - before > LONGEST_NAME {
            return Err(Fault {
                address: place,
                kind: FaultKind::Unterminated,
            });
        }
    }
    Ok(())
}

/// Memory, byte after byte.
struct Cursor<'m> {
    memory: &'m Memory,
    at: u64,
    /// What is left of the page that `at` is in.
    page: &'m [u8],
}

impl<'m> Cursor<'m> {
    fn at(memory: &'m Memory, at: u64) -> Self {
        Cursor {
            memory,
            at,
            page: &[],
        }
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        if self.page.is_empty() {
            let left = 4096 - self.at % 4096;
            self.page = self.memory.bytes(self.at, left as usize)?;
        }
        let Some((byte, rest)) = self.page.split_first() else {
            return Err(Fault {
                address: self.at,
                kind: FaultKind::Truncated,
            });
        };
        self.page = rest;
        self.at = self.at.wrapping_add(1);
        Ok(*byte)
    }
}

#[cfg(test)]
mod tests {
    use super::Kallsyms;

    fn list() -> Kallsyms {
        let mut list = Kallsyms::default();
        for (address, name, is_absolute) in [
            (0x1000, "start", false),
            (0x1000, "first", false),
            (0x20, "per_cpu", true),
            (0x2000, "twice", false),
            (0x3000, "twice", false),
            (0x3000, "twice_more", false),
        ] {
            list.push(address, b't', is_absolute, name);
        }
        list
    }

    #[test]
    fn addresses_are_found_from_the_symbol_below() {
        let list = list();
        let name = |address| {
            list.at(address)
                .map(|(symbol, behind)| (symbol.name, behind))
        };
        assert_eq!(name(0x1000), Some(("start", 0)));
        assert_eq!(name(0x1fff), Some(("start", 0xfff)));
        assert_eq!(name(0x3001), Some(("twice", 1)));
        // A number is no place.
        assert_eq!(name(0x20), None);
    }

    #[test]
    fn names_may_be_there_more_than_once() {
        let list = list();
        let addresses =
            |name: &str| -> Vec<u64> { list.named(name).map(|symbol| symbol.address).collect() };
        assert_eq!(addresses("twice"), [0x2000, 0x3000]);
        assert_eq!(addresses("per_cpu"), [0x20]);
        assert_eq!(addresses("twic"), [0; 0]);
        assert_eq!(addresses("zzz"), [0; 0]);
    }
}

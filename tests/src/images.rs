//! A dump's memory in other forms: what QEMU's ELF file has, as other programs would have written it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// A run of physical memory.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// Physical address.
    pub start: u64,
    /// Bytes of memory; those that are not in the file are zeros.
    pub size: u64,
    /// What is in the file.
    pub bytes: &'a [u8],
}

/// The PT_LOADs of a little-endian ELF64 core that are memory: QEMU adds video memory and ROM right below 4 GB.
pub fn memory(core: &[u8]) -> Vec<Run<'_>> {
    let uint = |at: usize, size: usize| {
        let mut bytes = [0; 8];
        bytes[..size].copy_from_slice(&core[at..at + size]);
        u64::from_le_bytes(bytes)
    };
    let (table, count) = (uint(32, 8) as usize, uint(56, 2) as usize);
    (0..count)
        .map(|index| table + 56 * index)
        .filter(|at| uint(*at, 4) == 1)
        .map(|at| Run {
            start: uint(at + 24, 8),
            size: uint(at + 40, 8),
            bytes: &core[uint(at + 8, 8) as usize..][..uint(at + 32, 8) as usize],
        })
        .filter(|run| !(0xf000_0000..1 << 32).contains(&run.start))
        .collect()
}

/// Writes bytes into a file, but for pages of zeros, which a new file has anyway.
pub fn write_sparse(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    const PAGE: usize = 4096;
    for (index, page) in bytes.chunks(PAGE).enumerate() {
        if page.iter().any(|byte| *byte != 0) {
            file.write_all_at(page, offset + (index * PAGE) as u64)?;
        }
    }
    let end = offset + bytes.len() as u64;
    if file.metadata()?.len() < end {
        file.set_len(end)?;
    }
    Ok(())
}

/// Memory from one physical address up to another, as QEMU's `pmemsave` writes it: holes are zeros.
pub fn write_raw(to: &Path, runs: &[Run<'_>], start: u64, end: u64) {
    let file = File::create(to).expect("it can be made");
    file.set_len(end - start).expect("it can grow");
    for run in runs {
        let from = run.start.max(start);
        let until = (run.start + run.bytes.len() as u64).min(end);
        if from < until {
            let bytes = &run.bytes[(from - run.start) as usize..(until - run.start) as usize];
            write_sparse(&file, bytes, from - start).expect("there is room");
        }
    }
}

/// Memory in LiME's format.
pub fn write_lime(to: &Path, runs: &[Run<'_>]) {
    let file = File::create(to).expect("it can be made");
    let mut at = 0;
    for run in runs {
        let mut header = [0; 32];
        header[..4].copy_from_slice(&0x4c69_4d45_u32.to_le_bytes());
        header[4..8].copy_from_slice(&1_u32.to_le_bytes());
        header[8..16].copy_from_slice(&run.start.to_le_bytes());
        header[16..24].copy_from_slice(&(run.start + run.size - 1).to_le_bytes());
        file.write_all_at(&header, at).expect("there is room");
        write_sparse(&file, run.bytes, at + 32).expect("there is room");
        at += 32 + run.size;
        file.set_len(at).expect("it can grow");
    }
}

/// Memory as netdump's server wrote it: an ELF file with a PT_NOTE of some notes and one PT_LOAD with all of memory from 0 on, a
/// page into the file (crash's netdump.c).
pub fn write_netdump(
    to: &Path,
    runs: &[Run<'_>],
    (wide, machine): (bool, u16),
    virtual_address: u64,
    notes: &[u8],
) {
    let width = if wide { 8 } else { 4 };
    let (header, entry) = if wide { (64, 56) } else { (52, 32) };
    let mut out = vec![0x7f, b'E', b'L', b'F', 1 + u8::from(wide), 1, 1];
    out.resize(16, 0);
    let push = |out: &mut Vec<u8>, value: u64, size: usize| {
        out.extend_from_slice(&value.to_le_bytes()[..size]);
    };
    push(&mut out, 4, 2); // ET_CORE
    push(&mut out, machine.into(), 2);
    push(&mut out, 1, 4);
    for value in [0, header, 0] {
        push(&mut out, value, width);
    }
    push(&mut out, 0, 4);
    for value in [header, entry, 2, 0, 0, 0] {
        push(&mut out, value, 2);
    }
    const DATA: u64 = 4096;
    let end = runs.iter().map(|run| run.start + run.size).max();
    let size = end.expect("there is memory");
    let mut program = |kind: u64, offset: u64, virtual_address: u64, size: u64, flags: u64| {
        push(&mut out, kind, 4);
        if wide {
            push(&mut out, flags, 4);
        }
        for value in [offset, virtual_address, 0, size, size] {
            push(&mut out, value, width);
        }
        if !wide {
            push(&mut out, flags, 4);
        }
        push(&mut out, 4096, width);
    };
    let notes_at = header + 2 * entry;
    program(4, notes_at, 0, notes.len() as u64, 0);
    program(1, DATA, virtual_address, size, 7);
    out.extend(notes);
    assert!(out.len() as u64 <= DATA);
    let file = File::create(to).expect("it can be made");
    file.write_all_at(&out, 0).expect("there is room");
    for run in runs {
        write_sparse(&file, run.bytes, DATA + run.start).expect("there is room");
    }
    file.set_len(DATA + size).expect("it can grow");
}

/// A note with the name `CORE`.
pub fn core_note(kind: u32, contents: &[u8]) -> Vec<u8> {
    let mut note = Vec::new();
    for word in [5, contents.len() as u32, kind] {
        note.extend(word.to_le_bytes());
    }
    note.extend(b"CORE\0\0\0\0");
    note.extend(contents);
    note.resize(note.len().next_multiple_of(4), 0);
    note
}

/// A file as `makedumpfile -F` writes it.
pub fn write_flattened(to: &Path, bytes: &[u8]) {
    const CHUNK: usize = 1 << 20;
    let file = File::create(to).expect("it can be made");
    file.write_all_at(b"makedumpfile\0", 0)
        .expect("there is room");
    let mut at = 4096;
    let mut chunk = |offset: i64, bytes: &[u8]| {
        let header = [offset.to_be_bytes(), (bytes.len() as i64).to_be_bytes()];
        file.write_all_at(header.as_flattened(), at)
            .expect("there is room");
        file.write_all_at(bytes, at + 16).expect("there is room");
        at += 16 + bytes.len() as u64;
    };
    for (index, bytes) in bytes.chunks(CHUNK).enumerate() {
        chunk((index * CHUNK) as i64, bytes);
    }
    chunk(-1, &[]);
}

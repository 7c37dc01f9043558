//! Reads all memory of a dump once, on all cores: `cargo run --release -p kstruct --example scan -- DUMP HOW`. `cargo xtask bench scan` runs it.
//!
//! - `scan`: by [`Dump::scan`], which keeps no pages;
//! - `keep`: each page by [`Dump::physical`], as a walk would, after which all of them are kept;
//! - `alone`: of a dump that `makedumpfile -c` wrote on x86_64, the pages are only decompressed, each into the same buffer: the limit of
//!   what can be reached. Pages that share their bytes with the one before (zeros) are not done again.

use std::path::Path;
use std::time::Instant;

use kstruct::Dump;

const PAGE: u64 = 4096;

/// Pages read, faults, and a sum of first bytes, so that all ways can be compared.
type Counts = (u64, u64, u64);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [path, how] = &args[..] else {
        return Err("usage: scan DUMP scan|keep|alone, where DUMP may be FILE@ADDRESS".into());
    };
    let threads = std::thread::available_parallelism()?.get() as u64;
    let (counts, begin) = match how.as_str() {
        "alone" => {
            let bytes = std::fs::read(path)?;
            let pages = descriptors(&bytes).ok_or("not a compressed dump of x86_64")?;
            let begin = Instant::now();
            let share = |thread| decompress(&bytes, &pages, thread, threads);
            (by_threads(threads, share), begin)
        }
        "keep" => {
            let dump = Dump::open(Path::new(path))?;
            let begin = Instant::now();
            let runs = dump.runs();
            let share = |thread| keep(&dump, &runs, thread, threads);
            (by_threads(threads, share), begin)
        }
        _ => {
            let dump = Dump::open(Path::new(path))?;
            let begin = Instant::now();
            (scan(&dump), begin)
        }
    };
    let (pages, faults, sum) = counts;
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "{{\"pages\": {pages}, \"faults\": {faults}, \"sum\": {sum}, \"seconds\": {seconds}}}"
    );
    Ok(())
}

fn add((a, b, c): Counts, (d, e, f): Counts) -> Counts {
    (a + d, b + e, c + f)
}

fn by_threads(threads: u64, work: impl Fn(u64) -> Counts + Sync) -> Counts {
    std::thread::scope(|scope| {
        let work = &work;
        let handles: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || work(thread)))
            .collect();
        let results = handles.into_iter().map(|handle| handle.join());
        results.map(Result::unwrap_or_default).fold((0, 0, 0), add)
    })
}

fn scan(dump: &Dump) -> Counts {
    let counts = dump.scan(|piece| {
        Some(match piece.bytes {
            Ok(bytes) => {
                let pages = bytes.chunks(PAGE as usize);
                let firsts = pages.map(|page| u64::from(page[0]));
                (bytes.len() as u64 / PAGE, 0, firsts.sum())
            }
            Err(_) => (0, 1, 0),
        })
    });
    counts.into_iter().fold((0, 0, 0), add)
}

fn keep(dump: &Dump, runs: &[(u64, u64)], thread: u64, threads: u64) -> Counts {
    let mut counts = (0, 0, 0);
    for (start, size) in runs {
        // Each thread has its share of each run, in order.
        let pages = size / PAGE;
        for page in pages * thread / threads..pages * (thread + 1) / threads {
            let read = match dump.physical(start + page * PAGE, PAGE as usize) {
                Ok(bytes) => (1, 0, u64::from(bytes[0])),
                Err(_) => (0, 1, 0),
            };
            counts = add(counts, read);
        }
    }
    counts
}

/// The descriptors of a compressed dump (see `dump/kdump.rs`): offset, size, flags.
fn descriptors(bytes: &[u8]) -> Option<Vec<(usize, usize, u32)>> {
    let uint = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    if !bytes.starts_with(b"KDUMP   ") || uint(428)? != PAGE as u32 {
        return None;
    }
    let (sub, blocks) = (uint(432)? as usize, uint(436)? as usize);
    let bitmaps = PAGE as usize * (1 + sub);
    let table = bitmaps + PAGE as usize * blocks;
    let dumpable = bytes.get(bitmaps + PAGE as usize * blocks / 2..table)?;
    let count: u32 = dumpable.iter().map(|byte| byte.count_ones()).sum();
    (0..count as usize)
        .map(|index| {
            let at = table + 24 * index;
            Some((uint(at)? as usize, uint(at + 8)? as usize, uint(at + 12)?))
        })
        .collect()
}

fn decompress(bytes: &[u8], pages: &[(usize, usize, u32)], thread: u64, threads: u64) -> Counts {
    let share = |thread: u64| pages.len() * thread as usize / threads as usize;
    let mut zlib = flate2::Decompress::new(true);
    let mut page = vec![0; PAGE as usize];
    let (mut read, mut faults, mut sum, mut before) = (0, 0, 0, 0);
    for &(offset, size, flags) in &pages[share(thread)..share(thread + 1)] {
        let Some(input) = bytes.get(offset..offset + size) else {
            faults += 1;
            continue;
        };
        if offset != before {
            if flags == 0 {
                page.copy_from_slice(input);
            } else {
                zlib.reset(true);
                let done = zlib.decompress(input, &mut page, flate2::FlushDecompress::Finish);
                faults += u64::from(done.is_err());
            }
            before = offset;
        }
        read += 1;
        sum += u64::from(page[0]);
    }
    (read, faults, sum)
}

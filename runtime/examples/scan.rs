//! Reads every page of a dump, by some threads: `cargo run --release -p kstruct --example scan -- DUMP [THREADS] [alone]`.
//!
//! With `alone`, of a dump that `makedumpfile -c` wrote on x86_64, the pages are only decompressed, each into the same buffer: what
//! the decompressor takes without the store. Pages that share their bytes with the one before (zeros) are not done again.

use std::path::Path;
use std::time::{Duration, Instant};

use kstruct::Dump;

const PAGE: u64 = 4096;

/// Pages read, faults, and a sum of first bytes, so that both ways can be compared.
type Counts = (u64, u64, u64);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args
        .next()
        .ok_or("usage: scan DUMP [THREADS] [alone], where DUMP may be FILE@ADDRESS")?;
    let threads: u64 = args.next().map_or(Ok(1), |text| text.parse())?;
    let is_alone = args.next().is_some();
    let begin = Instant::now();
    let (counts, took) = if is_alone {
        let bytes = std::fs::read(&path)?;
        let pages = descriptors(&bytes).ok_or("not a compressed dump of x86_64")?;
        println!("read in {:?}", begin.elapsed());
        by_threads(threads, |thread| {
            decompress(&bytes, &pages, thread, threads)
        })
    } else {
        let dump = Dump::open(Path::new(&path))?;
        println!("opened in {:?}", begin.elapsed());
        let runs = dump.runs();
        by_threads(threads, |thread| scan(&dump, &runs, thread, threads))
    };
    let (read, faults, sum) = counts;
    println!("{read} pages, {faults} faults, sum {sum}: {took:?} by {threads} threads");
    Ok(())
}

fn by_threads(threads: u64, work: impl Fn(u64) -> Counts + Sync) -> (Counts, Duration) {
    let begin = Instant::now();
    let counts = std::thread::scope(|scope| {
        let work = &work;
        let handles: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || work(thread)))
            .collect();
        let results = handles
            .into_iter()
            .map(|handle| handle.join().unwrap_or_default());
        results.fold((0, 0, 0), |(a, b, c), (d, e, f)| (a + d, b + e, c + f))
    });
    (counts, begin.elapsed())
}

fn scan(dump: &Dump, runs: &[(u64, u64)], thread: u64, threads: u64) -> Counts {
    let (mut read, mut faults, mut sum) = (0, 0, 0);
    for (start, size) in runs {
        // Each thread has its share of each run, in order.
        let pages = size / PAGE;
        for page in pages * thread / threads..pages * (thread + 1) / threads {
            match dump.physical(start + page * PAGE, PAGE as usize) {
                Ok(bytes) => {
                    read += 1;
                    sum += u64::from(bytes[0]);
                }
                Err(_) => faults += 1,
            }
        }
    }
    (read, faults, sum)
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

//! Reads every page of a dump, by some threads: `cargo run --release -p kstruct --example scan -- DUMP THREADS`.

use std::path::Path;
use std::time::Instant;

use kstruct::Dump;

const PAGE: u64 = 4096;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("usage: scan DUMP [THREADS]")?;
    let threads: u64 = args.next().map_or(Ok(1), |text| text.parse())?;
    let begin = Instant::now();
    let dump = Dump::open(Path::new(&path))?;
    println!("opened in {:?}", begin.elapsed());
    let runs = dump.runs();
    let begin = Instant::now();
    let scan = |thread: u64| {
        let (mut read, mut faults, mut sum) = (0_u64, 0_u64, 0_u64);
        for (start, size) in &runs {
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
    };
    let (read, faults, sum) = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|thread| {
                let scan = &scan;
                scope.spawn(move || scan(thread))
            })
            .collect();
        let results = handles
            .into_iter()
            .map(|handle| handle.join().unwrap_or_default());
        results.fold((0, 0, 0), |(a, b, c), (d, e, f)| (a + d, b + e, c + f))
    });
    println!(
        "{read} pages, {faults} faults, sum {sum}: {:?} by {threads} threads",
        begin.elapsed()
    );
    Ok(())
}

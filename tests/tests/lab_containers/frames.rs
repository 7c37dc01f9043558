//! Each page frame, against /proc/kpageflags and /proc/kpagecount.

use std::collections::BTreeSet;
use std::path::Path;

use tests::array;

use crate::{Machine, read, slabinfo};

/// Bits of /proc/kpageflags: each that the example finds, but for those of the buddy allocator and of slabs, which are looked
/// at apart.
const FLAGS: u64 = 1 << 0
    | 1 << 2
    | 1 << 3
    | 1 << 4
    | 1 << 5
    | 1 << 6
    | 1 << 8
    | 1 << 9
    | 1 << 12
    | 1 << 14
    | 1 << 18
    | 1 << 32
    | 1 << 33
    | 1 << 35;
const SLAB: u64 = 1 << 7;
const BUDDY: u64 = 1 << 10;
const HEAD: u64 = 1 << 15;
const TAIL: u64 = 1 << 16;
const HUGE_OR_ZERO: u64 = 1 << 22 | 1 << 24;
const NO_PAGE: u64 = 1 << 20;
/// Of kinds of pages whose map count means something else: free, for page tables, offline.
const TYPED: u64 = BUDDY | SLAB | 1 << 23 | 1 << 26;

impl Machine {
    /// Flags of each page that stood still, what is free by the allocator's lists, what slabs have, how often a page is mapped.
    pub fn frames(&self) {
        let frames = array(&self.found["frames"]);
        let before = words(&self.truth.join("system/kpageflags"));
        let after = words(&self.after.join("system/kpageflags"));
        let counts = words(&self.truth.join("system/kpagecount"));
        let counts_after = words(&self.after.join("system/kpagecount"));
        assert!(frames.len() > 100_000 && before.len() >= frames.len());
        let (mut compared, mut mapped, mut free, mut slabs, mut large) = (0, 0, 0, 0, 0);
        let slabs_before = slabinfo(&self.system("slabinfo"));
        let slabs_after = slabinfo(&read(&self.after.join("system/slabinfo")));
        let still: BTreeSet<&str> = slabs_before
            .iter()
            .filter(|(name, line)| slabs_after.get(*name) == Some(line))
            .map(|(name, _)| name.as_str())
            .collect();
        let mut moving = 0;
        let mut differ = Vec::new();
        for (frame, found) in frames.iter().enumerate() {
            let (was, is) = (before[frame], after[frame]);
            let Some(bits) = found[0].as_u64() else {
                assert_ne!(was & NO_PAGE, 0, "{frame:#x}");
                continue;
            };
            if was != is || was & NO_PAGE != 0 {
                continue;
            }
            compared += 1;
            // A tail shows its head's flags in some kernels; of a slab the flags mean something else.
            let mut mask = HEAD | TAIL | SLAB | BUDDY;
            if bits & (TAIL | SLAB) == 0 {
                mask |= FLAGS;
            }
            // Caches that didn't stand still had slabs meanwhile that they have neither before nor after. Pages without flags go
            // to and fro between the kernel, a CPU's own list of free ones (held by nobody, and in no list of the buddy
            // allocator), and that allocator.
            let is_moving = match found[2].as_str() {
                Some(cache) => !still.contains(cache),
                None => (bits == 0 || (bits == BUDDY && was == 0)) && found[3] == 0,
            };
            let different = (was ^ bits) & mask;
            if is_moving && different & !(SLAB | HEAD | TAIL | BUDDY) == 0 && different != 0 {
                moving += 1;
                continue;
            }
            if different != 0 {
                differ.push(format!(
                    "{frame:#x}: {was:#x}, found {bits:#x}, {}",
                    found[2]
                ));
            }
            free += u64::from(bits & BUDDY != 0);
            slabs += u64::from(bits & SLAB != 0);
            large += u64::from(bits & (HEAD | TAIL) != 0);
            let is_plain = was & (HEAD | TAIL | TYPED | HUGE_OR_ZERO) == 0;
            if is_plain && counts[frame] == counts_after[frame] {
                let count = found[1].as_i64().expect("a number") + 1;
                mapped += u64::from(count > 0);
                if count != counts[frame].cast_signed() {
                    differ.push(format!(
                        "{frame:#x}: mapped {}, found {count}",
                        counts[frame]
                    ));
                }
            }
        }
        println!(
            "  {compared} of {} page frames stood still, {moving} of them were something else for a moment: {free} free, {slabs} of slabs, {large} of large folios, {mapped} that are mapped",
            frames.len()
        );
        assert!(
            compared * 10 > frames.len() * 9 && moving < 200,
            "{compared}"
        );
        assert!(free > 1000 && slabs > 1000 && large > 1000 && mapped > 1000);
        assert!(
            differ.is_empty(),
            "{}: {:#?}",
            differ.len(),
            &differ[..differ.len().min(20)]
        );
    }
}

fn words(path: &Path) -> Vec<u64> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let word = |chunk: &[u8]| u64::from_le_bytes(chunk.try_into().expect("8 bytes"));
    bytes.chunks_exact(8).map(word).collect()
}

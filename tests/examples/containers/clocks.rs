//! Timers and clocks.

use kernel::sym;
use kstruct::{Memory, View as _};
use linux::{Faults, time, timer};
use serde_json::{Value, json};

use super::Result;

pub fn report(k: &Memory) -> Result<Value> {
    let mut faults = Faults::default();
    let clock = time::Clock::of(k, &mut faults)?;
    let now = time::ktime(k)?;
    Ok(json!({
        "timers": timers(k)?,
        "jiffies": k.get(sym::jiffies_64)?,
        "hz": clock.hz,
        "hz_by_uptime": time::hz_by_uptime(k)?,
        "hundred_ago": clock.age(k, clock.now.wrapping_sub(100)),
        "in_fifty": clock.until(k, clock.now.wrapping_add(50)),
        "monotonic": now.monotonic,
        "boot": now.boot,
        "real": now.real,
    }))
}

/// Function and range of each high-resolution timer, by CPU and clock. The cached first one must be the first of the walk, and
/// they must be sorted.
fn timers(k: &Memory) -> Result<Value> {
    let mut cpus = Vec::new();
    for cpu in linux::cpu::online(k)? {
        let mut clocks = Vec::new();
        for base in timer::bases(k, cpu)? {
            let list = timer::timers(base).collect::<Result<Vec<_>>>()?;
            let first = timer::first(base)?.map(|timer| timer.addr());
            assert_eq!(first, list.first().map(|timer| timer.addr()));
            assert!(list.is_sorted_by_key(|timer| timer::expires(*timer).1));
            let list: Vec<Value> = list
                .into_iter()
                .map(|timer| {
                    let (soft, hard) = timer::expires(timer);
                    json!([timer.function().name(), soft, hard])
                })
                .collect();
            clocks.push(list);
        }
        cpus.push(json!([cpu, clocks]));
    }
    Ok(json!(cpus))
}

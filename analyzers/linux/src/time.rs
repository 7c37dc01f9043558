//! The kernel's clocks, as they stood at the last tick before the dump, and how long ago something was.

use kstruct::{Fault, Memory};
use serde::Serialize;

use crate::Faults;

/// `jiffies` as `unsigned long`.
pub fn jiffies(k: &Memory) -> Result<u64, Fault> {
    // `jiffies` is another name of its low half.
    Ok(k.wrap(k.get(kernel::sym::jiffies_64)?))
}

/// How many jiffies ago `then` was, on a clock as wide as `unsigned long`. A time in the future is 0.
pub fn jiffies_since(k: &Memory, now: u64, then: u64) -> u64 {
    let age = k.wrap(now.wrapping_sub(then));
    let half = 1 << (width() - 1);
    if age < half { age } else { 0 }
}

/// Bits of `unsigned long`, which `jiffies` wraps around in.
fn width() -> u32 {
    u32::from(kernel::KERNEL.pointer_size) * 8
}

/// The clock that kernels stamp things with, and its rate: what ages are reckoned from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// `jiffies` as `unsigned long`.
    pub now: u64,
    /// Jiffies in a second; `None` if the dump does not say.
    pub hz: Option<u64>,
}

/// How long ago something was.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Age {
    /// In jiffies.
    pub jiffies: u64,
    /// In seconds, if the kernel's HZ is known.
    pub seconds: Option<f64>,
}

impl Clock {
    /// A dump's clock. That its rate can't be read is counted and no reason to fail: without it ages are in jiffies.
    pub fn of(k: &Memory, faults: &mut Faults) -> Result<Self, Fault> {
        Ok(Clock {
            now: jiffies(k)?,
            hz: faults.check("HZ", hz(k)).flatten(),
        })
    }

    /// How long before the dump `then` was, which is a value of `jiffies`. What lies in the future has the age 0: see
    /// [`Clock::until`].
    pub fn age(self, k: &Memory, then: u64) -> Age {
        self.seconds(jiffies_since(k, self.now, then))
    }

    /// How long behind the dump `then` is, which is a value of `jiffies`: when a timer expires. What lies in the past is 0.
    pub fn until(self, k: &Memory, then: u64) -> Age {
        self.seconds(jiffies_since(k, then, self.now))
    }

    fn seconds(self, jiffies: u64) -> Age {
        Age {
            jiffies,
            seconds: self
                .hz
                .filter(|hz| *hz != 0)
                .map(|hz| jiffies as f64 / hz as f64),
        }
    }
}

/// Jiffies in a second, as the kernel was built; `None` if the dump does not say.
///
/// `tick_nsec` (kernel/time/ntp.c) says it. Kernels without that variable are asked how many jiffies there were since they
/// booted, and how many seconds: the number that `jiffies` began with has HZ in it (`INITIAL_JIFFIES`), so that only one HZ fits.
pub fn hz(k: &Memory) -> Result<Option<u64>, Fault> {
    #[cfg(kernel_has = "sym:tick_nsec")]
    {
        // Nanoseconds in a jiffy, give or take what the clock of the machine can't divide evenly.
        let nanoseconds = k.get(kernel::sym::tick_nsec)?;
        if let Some(hz) = (1_000_000_000 + nanoseconds / 2).checked_div(nanoseconds) {
            return Ok(Some(hz));
        }
    }
    hz_by_uptime(k)
}

/// The same by the two clocks alone. `None` where the dump has no clock of seconds, and some minutes around five after booting.
pub fn hz_by_uptime(k: &Memory) -> Result<Option<u64>, Fault> {
    match uptime(k)? {
        Some(uptime) => Ok(rate(k.get(kernel::sym::jiffies_64)?, uptime)),
        None => Ok(None),
    }
}

/// Values of `CONFIG_HZ` of all architectures and times.
const RATES: [u64; 13] = [
    24, 32, 48, 64, 100, 128, 200, 250, 256, 300, 500, 1000, 1024,
];

/// The rate by which `jiffies_64` came to where it is in `uptime` seconds. None where several would: five minutes after booting
/// `jiffies` overflows its lower 32 bits, whatever the rate.
fn rate(jiffies: u64, uptime: u64) -> Option<u64> {
    let fits = |hz: &&u64| {
        // `(unsigned long)(unsigned int)(-300*HZ)`
        let initial = u64::from(0_u32.wrapping_sub(300 * **hz as u32));
        let seconds = jiffies.wrapping_sub(initial) / **hz;
        // The clock is slewed, and the two don't begin to count at the same moment.
        seconds.abs_diff(uptime) <= 2 + uptime / 1000
    };
    let mut fitting = RATES.iter().filter(fits);
    match (fitting.next(), fitting.next()) {
        (Some(hz), None) => Some(*hz),
        _ => None,
    }
}

/// Whole seconds since the machine booted, without those in which it was suspended (`CLOCK_MONOTONIC`).
#[cfg(kernel_has = "tk_core__type.timekeeper")]
fn uptime(k: &Memory) -> Result<Option<u64>, Fault> {
    let keeper = k.get(kernel::sym::tk_core)?.timekeeper();
    Ok(Some(keeper.ktime_sec()))
}

/// Before 3.4.
#[cfg(all(
    not(kernel_has = "tk_core__type.timekeeper"),
    kernel_has = "sym:xtime",
    kernel_has = "sym:wall_to_monotonic"
))]
fn uptime(k: &Memory) -> Result<Option<u64>, Fault> {
    let wall: i64 = k.get(kernel::sym::xtime)?.tv_sec().into();
    let offset: i64 = k.get(kernel::sym::wall_to_monotonic)?.tv_sec().into();
    Ok(u64::try_from(wall.wrapping_add(offset)).ok())
}

#[cfg(not(any(
    kernel_has = "tk_core__type.timekeeper",
    all(kernel_has = "sym:xtime", kernel_has = "sym:wall_to_monotonic")
)))]
fn uptime(_: &Memory) -> Result<Option<u64>, Fault> {
    Ok(None)
}

/// The clocks that count nanoseconds (kernel/time/timekeeping.c), as they were when they were last updated: at most a tick
/// before the dump, or some ticks where no CPU had anything to do.
#[cfg(kernel_has = "tk_core__type.timekeeper")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ktime {
    /// `ktime_get`: since boot, without time spent suspended. Timers and most stamps have it.
    pub monotonic: i64,
    /// `ktime_get_boottime`: since boot.
    pub boot: i64,
    /// `ktime_get_real`: since 1970.
    pub real: i64,
}

/// The clocks that count nanoseconds. 3.17 and later.
#[cfg(kernel_has = "tk_core__type.timekeeper")]
pub fn ktime(k: &Memory) -> Result<Ktime, Fault> {
    use crate::timer::nanoseconds;

    let keeper = k.get(kernel::sym::tk_core)?.timekeeper();
    let mono = keeper.tkr_mono();
    // What is more than `base` is counted in parts of nanoseconds.
    let part = mono.xtime_nsec().checked_shr(mono.shift()).unwrap_or(0);
    let monotonic = nanoseconds(mono.base()).wrapping_add(part.cast_signed());
    Ok(Ktime {
        monotonic,
        boot: monotonic.wrapping_add(nanoseconds(keeper.offs_boot())),
        real: monotonic.wrapping_add(nanoseconds(keeper.offs_real())),
    })
}

#[cfg(test)]
mod tests {
    use super::{RATES, rate};

    #[test]
    fn the_rate_follows_from_what_jiffies_began_with() {
        for hz in RATES {
            let jiffies = |uptime: u64| 0x1_0000_0000 - 300 * hz + uptime * hz;
            for uptime in [0, 10, 150, 450, 5000, 10_000_000] {
                assert_eq!(rate(jiffies(uptime), uptime), Some(hz), "{uptime}");
            }
            assert_eq!(rate(jiffies(300), 300), None);
        }
        // 1000.4 and 999.6 ticks a second.
        assert_eq!(
            rate(0x1_0000_0000 - 300_000 + 10_004_000, 10_000),
            Some(1000)
        );
        assert_eq!(
            rate(0x1_0000_0000 - 300_000 + 9_996_000, 10_000),
            Some(1000)
        );
        // Jiffies that make no sense.
        assert_eq!(rate(0, 10), None);
        assert_eq!(rate(u64::MAX, u64::MAX), None);
    }
}

//! Rates, and what they send in a time, as the kernel gives them to tc and as tc prints them.

#[cfg(kernel_has = "psched_ratecfg.rate_bytes_ps")]
use linux::details::{Details, Value};

/// Nanoseconds as ticks of 64 ns, of which tc is told (`PSCHED_NS2TICKS`, include/net/pkt_sched.h).
const TICK_SHIFT: u32 = 6;
/// tc's ticks in a microsecond, of /proc/net/psched: 1000 / 64.
const TICKS_IN_MICROSECOND: f64 = 15.625;

/// Nanoseconds in ticks.
pub fn ticks(nanoseconds: i64) -> i64 {
    nanoseconds >> TICK_SHIFT
}

/// Nanoseconds in whole microseconds, as tc has them of a number of ticks (`tc_core_tick2time`).
pub fn microseconds(nanoseconds: i64) -> u64 {
    (f64::from(ticks(nanoseconds) as u32) / TICKS_IN_MICROSECOND) as u64
}

/// The bytes that a rate sends in a time: tc's `burst` (`tc_calc_xmitsize`).
pub fn burst(rate: u64, nanoseconds: i64) -> u64 {
    let bytes = rate as f64 * microseconds(nanoseconds) as f64 / 1_000_000.0;
    u64::from(bytes as u32)
}

/// `struct psched_ratecfg`: bytes a second, and how a packet's length is reckoned.
#[cfg(kernel_has = "psched_ratecfg.rate_bytes_ps")]
pub fn rate(details: &mut Details, name: &'static str, rate: kernel::psched_ratecfg<'_>) {
    details.set(name, Value::Rate(rate.rate_bytes_ps()));
}

/// What a rate adds to packets' lengths: `overhead`, `mpu`, `linklayer`.
#[cfg(kernel_has = "psched_ratecfg.rate_bytes_ps")]
pub fn lengths(details: &mut Details, rate: kernel::psched_ratecfg<'_>) {
    if rate.overhead() != 0 {
        details.set("overhead", rate.overhead());
    }
    #[cfg(kernel_has = "psched_ratecfg.mpu")]
    if rate.mpu() != 0 {
        details.set("mpu", rate.mpu());
    }
    // TC_LINKLAYER_MASK, enum tc_link_layer of include/uapi/linux/pkt_sched.h.
    details.set_some(
        "linklayer",
        match rate.linklayer() & 0xf {
            1 => Some("ethernet"),
            2 => Some("atm"),
            _ => None,
        },
    );
}

#[cfg(test)]
mod tests {
    use super::{burst, microseconds, ticks};

    #[test]
    fn times_are_those_of_tc() {
        // 1600 bytes at 12 bytes a second.
        assert_eq!(ticks(128_000), 2000);
        assert_eq!(microseconds(128_000), 128);
        assert_eq!(burst(12_500_000, 128_000), 1600);
    }
}

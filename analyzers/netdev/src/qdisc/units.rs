//! Units of the packet scheduler, as the kernel gives them to tc and as tc prints them.

#[cfg(kernel_has = "psched_ratecfg.rate_bytes_ps")]
use crate::details::Details;
use crate::details::Value;

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

/// Nanoseconds / 1024 in microseconds (`codel_time_to_us`, include/net/codel.h).
pub fn codel_microseconds(time: u32) -> Value {
    Value::Time((u64::from(time) << 10) / 1000)
}

/// A handle of a class or discipline: `1:10`, `10:`.
pub fn class_id(handle: u32) -> String {
    match (handle >> 16, handle & 0xffff) {
        (major, 0) => format!("{major:x}:"),
        (0, minor) => format!(":{minor:x}"),
        (major, minor) => format!("{major:x}:{minor:x}"),
    }
}

/// A fraction of 2^32, as probabilities and correlations are kept.
pub fn fraction(value: u32) -> f64 {
    f64::from(value) / f64::from(u32::MAX)
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
    use crate::details::Value;

    use super::{burst, class_id, codel_microseconds, fraction, microseconds, ticks};

    #[test]
    fn units_are_those_of_tc() {
        // 1600 bytes at 12 bytes a second.
        assert_eq!(ticks(128_000), 2000);
        assert_eq!(microseconds(128_000), 128);
        assert_eq!(burst(12_500_000, 128_000), 1600);
        // 5 ms, which becomes 4.999.
        assert_eq!(codel_microseconds(4882), Value::Time(4999));
        assert_eq!(fraction(u32::MAX).to_bits(), 1.0_f64.to_bits());
    }

    #[test]
    fn handles_leave_out_what_is_zero() {
        assert_eq!(class_id(0x0001_0010), "1:10");
        assert_eq!(class_id(0x000a_0000), "a:");
        assert_eq!(class_id(0x0000_0011), ":11");
        assert_eq!(class_id(0), "0:");
    }
}

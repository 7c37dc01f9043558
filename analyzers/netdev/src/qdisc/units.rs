//! Units of the packet scheduler, as the kernel gives them to tc and as tc prints them.

use linux::details::Value;

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

#[cfg(test)]
mod tests {
    use linux::details::Value;

    use super::{class_id, codel_microseconds};

    #[test]
    fn units_are_those_of_tc() {
        // 5 ms, which becomes 4.999.
        assert_eq!(codel_microseconds(4882), Value::Time(4999));
    }

    #[test]
    fn handles_leave_out_what_is_zero() {
        assert_eq!(class_id(0x0001_0010), "1:10");
        assert_eq!(class_id(0x000a_0000), "a:");
        assert_eq!(class_id(0x0000_0011), ":11");
        assert_eq!(class_id(0), "0:");
    }
}

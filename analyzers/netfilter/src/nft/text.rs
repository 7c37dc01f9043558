//! Small things as nft writes them.

use super::expr::Expr;
use crate::names;

/// Milliseconds: `1d2h3m4s5ms` (`time_print`).
pub fn time(milliseconds: u64) -> String {
    let (days, hours) = (milliseconds / 86_400_000, milliseconds / 3_600_000 % 24);
    let (minutes, seconds) = (milliseconds / 60_000 % 60, milliseconds / 1000 % 60);
    let parts = [
        (days, "d"),
        (hours, "h"),
        (minutes, "m"),
        (seconds, "s"),
        (milliseconds % 1000, "ms"),
    ];
    let out: String = parts
        .iter()
        .filter(|(number, _)| *number != 0)
        .map(|(number, unit)| format!("{number}{unit}"))
        .collect();
    if out.is_empty() { "0s".into() } else { out }
}

/// The unit of a rate, by its seconds.
pub fn time_unit(seconds: u64) -> String {
    match seconds {
        1 => "second".into(),
        60 => "minute".into(),
        3600 => "hour".into(),
        86_400 => "day".into(),
        604_800 => "week".into(),
        other => format!("{other} seconds"),
    }
}

/// Bytes in the largest unit that leaves no rest (`get_rate`, `get_unit`).
pub fn bytes_unit(bytes: u64) -> (u64, &'static str) {
    let mut size = bytes;
    for unit in ["bytes", "kbytes"] {
        if size == 0 || !size.is_multiple_of(1024) {
            return (size, unit);
        }
        size /= 1024;
    }
    (size, "mbytes")
}

/// `limit rate over 5/second burst 7 packets`
pub fn limit(limit: &Expr) -> Option<String> {
    let Expr::Limit {
        rate,
        unit,
        burst,
        is_bytes,
        over,
    } = limit
    else {
        return None;
    };
    let over = if *over { "over " } else { "" };
    let unit = time_unit(*unit);
    Some(if *is_bytes {
        let (size, name) = bytes_unit(*rate);
        let burst = match burst {
            0 => String::new(),
            burst => {
                let (size, name) = bytes_unit((*burst).into());
                format!(" burst {size} {name}")
            }
        };
        format!("limit rate {over}{size} {name}/{unit}{burst}")
    } else {
        let burst = if matches!(burst, 0 | 5) {
            String::new()
        } else {
            format!(" burst {burst} packets")
        };
        format!("limit rate {over}{rate}/{unit}{burst}")
    })
}

/// A priority by name, with how far it is from that (`prio2str`).
pub fn priority(family: u8, hook: &str, priority: i32) -> String {
    const REACH: i64 = 10;
    let inet = matches!(family, names::IPV4 | names::IPV6 | names::INET);
    let known: &[(&str, i64)] = if family == names::BRIDGE {
        &[
            ("dstnat", -300),
            ("filter", -200),
            ("out", 100),
            ("srcnat", 300),
        ]
    } else {
        &[
            ("raw", -300),
            ("mangle", -150),
            ("dstnat", -100),
            ("filter", 0),
            ("security", 50),
            ("srcnat", 100),
        ]
    };
    for (name, standard) in known {
        let fits = match *name {
            "filter" => true,
            "dstnat" => (inet || family == names::BRIDGE) && hook == "prerouting",
            "srcnat" => (inet || family == names::BRIDGE) && hook == "postrouting",
            "out" => hook == "output",
            _ => inet,
        };
        let distance = i64::from(priority) - standard;
        if fits && distance.abs() <= REACH {
            return match distance {
                0 => (*name).to_owned(),
                1.. => format!("{name} + {distance}"),
                _ => format!("{name} - {}", -distance),
            };
        }
    }
    priority.to_string()
}

#[cfg(test)]
mod tests {
    use super::{bytes_unit, priority, time};
    use crate::names;

    #[test]
    fn times_are_in_all_units() {
        assert_eq!(time(18_000_000), "5h");
        assert_eq!(time(90_061_001), "1d1h1m1s1ms");
        assert_eq!(time(0), "0s");
        assert_eq!(bytes_unit(25 << 20), (25, "mbytes"));
        assert_eq!(bytes_unit(1000), (1000, "bytes"));
    }

    #[test]
    fn priorities_have_names_nearby() {
        assert_eq!(priority(names::INET, "input", 0), "filter");
        assert_eq!(priority(names::INET, "input", -5), "filter - 5");
        assert_eq!(priority(names::IPV4, "postrouting", 100), "srcnat");
        assert_eq!(priority(names::IPV4, "input", 100), "100");
        assert_eq!(priority(names::ARP, "input", -300), "-300");
        assert_eq!(priority(names::BRIDGE, "forward", -200), "filter");
    }
}

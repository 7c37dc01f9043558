//! Numbers as tc prints them.

/// Bytes a second (`tc_print_rate`, lib/utils_math.c of iproute2).
pub fn rate(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["", "K", "M", "G", "T"];
    let mut rate = bytes * 8;
    let mut unit = 0;
    while unit < UNITS.len() - 1 {
        // Larger units, as long as nothing is lost or there are digits enough.
        if rate < 1000 || !rate.is_multiple_of(1000) && rate < 1000 * 1000 {
            break;
        }
        rate /= 1000;
        unit += 1;
    }
    format!("{rate}{}bit", UNITS[unit])
}

/// Bytes (`print_size`).
pub fn size(bytes: u64) -> String {
    let value = bytes as f64;
    let near = |unit: f64| (unit * (value / unit + 0.5).floor() - value).abs() < 1024.0;
    if bytes >= 1 << 20 && near(1_048_576.0) {
        format!("{}Mb", (value / 1_048_576.0).round())
    } else if bytes >= 1 << 10 && (1024.0 * (value / 1024.0 + 0.5).floor() - value).abs() < 16.0 {
        format!("{}Kb", (value / 1024.0).round())
    } else {
        format!("{bytes}b")
    }
}

/// Microseconds (`sprint_time`): three digits, as %.3g prints them.
pub fn time(microseconds: u64) -> String {
    let value = microseconds as f64;
    if microseconds >= 1_000_000 {
        format!("{}s", general(value / 1e6))
    } else if microseconds >= 1000 {
        format!("{}ms", general(value / 1e3))
    } else {
        format!("{microseconds}us")
    }
}

/// `%.3g` of what is at least 1 and less than 1000.
fn general(value: f64) -> String {
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[test]
fn numbers_have_tcs_units() {
    assert_eq!(rate(12), "96bit");
    assert_eq!(rate(7_500_000), "60Mbit");
    assert_eq!(rate(68_750), "550Kbit");
    assert_eq!(rate(5_000_000_000), "40Gbit");
    assert_eq!(size(33_554_432), "32Mb");
    assert_eq!(size(1590), "1590b");
    assert_eq!(time(28_800), "28.8ms");
    assert_eq!(time(22), "22us");
}

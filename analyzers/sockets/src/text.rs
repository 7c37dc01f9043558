//! Sockets as `ss` writes them (misc/ss.c of iproute2).

use std::fmt::{self, Write};

use crate::name::write_escaped;
use crate::owner::Holder;

/// ` users:(("sshd",pid=1,fd=3),...)`, or nothing.
pub fn write_holders(out: &mut String, holders: &[Holder]) -> fmt::Result {
    if holders.is_empty() {
        return Ok(());
    }
    out.push_str(" users:(");
    for (index, holder) in holders.iter().enumerate() {
        out.push_str(if index == 0 { "(\"" } else { ",(\"" });
        write_escaped(out, holder.comm.bytes())?;
        out.push_str("\",pid=");
        if holder.pid < 0 {
            out.push('-');
        }
        push_number(out, holder.pid.unsigned_abs().into());
        out.push_str(",fd=");
        push_number(out, holder.fd.into());
        out.push(')');
    }
    out.push(')');
    Ok(())
}

/// A time as in `timer:(on,1min4sec,3)`. What is past is 0.
pub fn push_timer(out: &mut String, milliseconds: i64) {
    let milliseconds = milliseconds.max(0).unsigned_abs();
    let (minutes, seconds) = (milliseconds / 60_000, milliseconds / 1000 % 60);
    let rest = milliseconds % 1000;
    if minutes > 0 {
        push_number(out, minutes);
        out.push_str("min");
        if minutes <= 9 && seconds != 0 {
            push_number(out, seconds);
            out.push_str("sec");
        }
        return;
    }
    match (seconds, rest) {
        (0, 0) => {}
        (0..=9, rest @ 1..) => {
            if seconds != 0 {
                push_number(out, seconds);
                out.push('.');
            }
            push_thousandths(out, rest);
            out.push_str("ms");
        }
        (seconds, _) => {
            push_number(out, seconds);
            out.push_str("sec");
        }
    }
}

/// Three digits.
fn push_thousandths(out: &mut String, number: u64) {
    for digit in [number / 100 % 10, number / 10 % 10, number % 10] {
        out.push(char::from(b'0' + digit as u8));
    }
}

/// A rate in bits a second (`sprint_bw`): a whole number, or with a prefix and one digit behind the point.
pub fn write_rate(out: &mut String, rate: f64, is_numeric: bool) -> fmt::Result {
    /// Up to here all whole numbers are numbers of floating point, too.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if is_numeric && (0.0..EXACT).contains(&rate) {
        push_number(out, rate.round_ties_even() as u64);
        return Ok(());
    }
    if is_numeric {
        return write!(out, "{rate:.0}");
    }
    if rate > 1_000_000_000_000.0 {
        write!(out, "{:.1}T", rate / 1_000_000_000_000.0)
    } else if rate > 1_000_000_000.0 {
        write!(out, "{:.1}G", rate / 1_000_000_000.0)
    } else if rate > 1_000_000.0 {
        write!(out, "{:.1}M", rate / 1_000_000.0)
    } else if rate > 1000.0 {
        write!(out, "{:.1}K", rate / 1000.0)
    } else {
        write_g(out, rate)
    }
}

/// A number, without the detour over formatting: of 20,000 sockets there are a million.
pub fn push_number(out: &mut String, number: u64) {
    out.push_str(itoa::Buffer::new().format(number));
}

/// Microseconds as milliseconds, as C's `%g` writes these.
pub fn push_milliseconds(out: &mut String, microseconds: u64) {
    // Six digits: up to here no more are needed.
    if microseconds >= 1_000_000 {
        // Writing to a string doesn't fail.
        let _ = write_g(out, microseconds as f64 / 1000.0);
        return;
    }
    push_number(out, microseconds / 1000);
    let rest = microseconds % 1000;
    if rest != 0 {
        out.push('.');
        push_thousandths(out, rest);
        while out.ends_with('0') {
            out.pop();
        }
    }
}

/// A number as C's `%g` writes it: six digits, without zeros at its end.
pub fn write_g(out: &mut impl Write, number: f64) -> fmt::Result {
    if number == 0.0 {
        return out.write_str("0");
    }
    let exponent = number.abs().log10().floor() as i32;
    // Rounding to six digits may make it one more.
    let scientific = format!("{number:.5e}");
    let exponent = scientific
        .split_once('e')
        .and_then(|(_, exponent)| exponent.parse().ok())
        .unwrap_or(exponent);
    if !(-4..6).contains(&exponent) {
        let (digits, _) = scientific.split_once('e').unwrap_or((&scientific, ""));
        let digits = digits.trim_end_matches('0').trim_end_matches('.');
        let sign = if exponent < 0 { '-' } else { '+' };
        return write!(out, "{digits}e{sign}{:02}", exponent.abs());
    }
    let text = format!("{number:.*}", (5 - exponent) as usize);
    if text.contains('.') {
        out.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    } else {
        out.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::{push_milliseconds, push_number, push_timer, write_g, write_rate};

    #[test]
    fn numbers_are_pushed_as_they_are_formatted() {
        for number in [0, 7, 10, 4_294_967_295, u64::MAX] {
            let mut out = String::new();
            push_number(&mut out, number);
            assert_eq!(out, number.to_string());
        }
        for microseconds in (0..2000).chain([1_234_567, 999_999, 999_000, 100_010, 5_000_000]) {
            let (mut out, mut expected) = (String::new(), String::new());
            push_milliseconds(&mut out, microseconds);
            assert!(write_g(&mut expected, microseconds as f64 / 1000.0).is_ok());
            assert_eq!(out, expected, "{microseconds}");
        }
    }

    #[test]
    fn times_are_written_as_ss_does() {
        let text = |milliseconds| {
            let mut out = String::new();
            push_timer(&mut out, milliseconds);
            out
        };
        assert_eq!(text(-5), "");
        assert_eq!(text(4), "004ms");
        assert_eq!(text(2036), "2.036ms");
        assert_eq!(text(2000), "2sec");
        assert_eq!(text(59_999), "59sec");
        assert_eq!(text(60_000), "1min");
        assert_eq!(text(119_050), "1min59sec");
        assert_eq!(text(3_599_000), "59min");
    }

    #[test]
    fn numbers_are_written_as_c_does() {
        let text = |number| {
            let mut out = String::new();
            assert!(write_g(&mut out, number).is_ok());
            out
        };
        assert_eq!(text(0.0), "0");
        assert_eq!(text(0.023), "0.023");
        assert_eq!(text(204.0), "204");
        assert_eq!(text(1234.5678), "1234.57");
        assert_eq!(text(999_999.9), "1e+06");
        assert_eq!(text(120_000.0), "120000");
        assert_eq!(text(0.000_01), "1e-05");
    }

    #[test]
    fn rates_have_prefixes() {
        let text = |rate| {
            let mut out = String::new();
            assert!(write_rate(&mut out, rate, false).is_ok());
            out
        };
        assert_eq!(text(999.0), "999");
        assert_eq!(text(1001.0), "1.0K");
        assert_eq!(text(24_555_555_555.0), "24.6G");
        let mut out = String::new();
        assert!(write_rate(&mut out, 24_555_555_555.4, true).is_ok());
        assert_eq!(out, "24555555555");
    }
}

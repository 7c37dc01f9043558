//! Sockets as `ss` writes them (misc/ss.c of iproute2).

use std::fmt::{self, Write};

use crate::owner::Holder;

/// ` users:(("sshd",pid=1,fd=3),...)`, or nothing.
pub fn write_holders(out: &mut impl Write, holders: &[Holder]) -> fmt::Result {
    if holders.is_empty() {
        return Ok(());
    }
    out.write_str(" users:(")?;
    for (index, holder) in holders.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        write!(
            out,
            "{comma}(\"{}\",pid={},fd={})",
            holder.comm, holder.pid, holder.fd
        )?;
    }
    out.write_str(")")
}

/// A time as in `timer:(on,1min4sec,3)`. What is past is 0.
pub fn write_timer(out: &mut impl Write, milliseconds: i64) -> fmt::Result {
    let milliseconds = milliseconds.max(0);
    let (minutes, seconds) = (milliseconds / 60_000, milliseconds / 1000 % 60);
    let rest = milliseconds % 1000;
    if minutes > 0 {
        write!(out, "{minutes}min")?;
        if minutes > 9 || seconds == 0 {
            return Ok(());
        }
        return write!(out, "{seconds}sec");
    }
    match (seconds, rest) {
        (0, 0) => Ok(()),
        (0, rest) => write!(out, "{rest:03}ms"),
        (1..=9, rest @ 1..) => write!(out, "{seconds}.{rest:03}ms"),
        (seconds, _) => write!(out, "{seconds}sec"),
    }
}

/// A rate in bits a second (`sprint_bw`): a whole number, or with a prefix and one digit behind the point.
pub fn write_rate(out: &mut impl Write, rate: f64, is_numeric: bool) -> fmt::Result {
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
    use super::{write_g, write_rate, write_timer};

    #[test]
    fn times_are_written_as_ss_does() {
        let text = |milliseconds| {
            let mut out = String::new();
            assert!(write_timer(&mut out, milliseconds).is_ok());
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

//! Sockets as `ss` writes them (misc/ss.c of iproute2).

use std::fmt::{self, Write};

use crate::name::{is_plain, write_escaped};
use crate::owner::Holder;

/// Text that grows by small pieces. Of 20,000 sockets there are 300,000: `String` asks for room and calls for a copy for each, and here what is
/// known when it is compiled is stored by an instruction or two.
#[derive(Default)]
pub struct Text {
    /// The text, and behind it what has been there.
    room: Vec<u8>,
    length: usize,
}

impl Text {
    /// Takes all of it away.
    pub fn clear(&mut self) {
        self.length = 0;
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.room[..self.length]
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The same as a `String`.
    pub fn into_string(self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    /// Adds what is known when it is compiled.
    #[inline]
    pub fn push<const N: usize>(&mut self, text: &[u8; N]) {
        self.push_some(text, N);
    }

    /// Adds the first `length` bytes of some.
    #[inline]
    fn push_some<const N: usize>(&mut self, text: &[u8; N], length: usize) {
        let place = self.length;
        if self.room.len() < place + N {
            self.grow(place + N);
        }
        if let Some(room) = self.room.get_mut(place..)
            && let Some(room) = room.first_chunk_mut()
        {
            *room = *text;
            self.length = place + length.min(N);
        }
    }

    /// Adds text.
    #[inline]
    pub fn push_str(&mut self, text: &str) {
        self.push_bytes(text.as_bytes());
    }

    /// Adds bytes.
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        if self.room.len() < end {
            self.grow(end);
        }
        if let Some(room) = self.room.get_mut(self.length..end) {
            room.copy_from_slice(bytes);
            self.length = end;
        }
    }

    /// Adds blanks.
    #[inline]
    pub fn push_blanks(&mut self, count: usize) {
        const MOST: usize = 16;
        self.push_some(&[b' '; MOST], count);
        for _ in MOST..count {
            self.push(b" ");
        }
    }

    /// Adds a number.
    #[inline]
    pub fn push_number(&mut self, number: u64) {
        // Most are small.
        match number {
            0..10 => self.push(&digits::<1>(number)),
            10..100 => self.push(&digits::<2>(number)),
            100..1000 => self.push(&digits::<3>(number)),
            _ => self.push_long_number(number),
        }
    }

    fn push_long_number(&mut self, number: u64) {
        match number {
            ..10_000 => self.push(&digits::<4>(number)),
            10_000..100_000 => self.push(&digits::<5>(number)),
            _ => self.push_str(itoa::Buffer::new().format(number)),
        }
    }

    #[cold]
    fn grow(&mut self, least: usize) {
        self.room.resize(least.next_power_of_two().max(256), 0);
    }
}

/// The last digits of a number.
#[inline]
fn digits<const N: usize>(number: u64) -> [u8; N] {
    let mut rest = number as u32;
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    digits
}

impl Write for Text {
    #[inline]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push_str(text);
        Ok(())
    }
}

/// `%eth0`, where a socket is bound to an interface; its number if that isn't there any more.
#[cfg(any(
    kernel_has = "inet_hashinfo.lhash2",
    kernel_has = "tcp_hashinfo.__tcp_ehash"
))]
pub fn write_device(out: &mut impl Write, base: &crate::sock::Base) -> fmt::Result {
    match (&base.device, base.ifindex) {
        (Some(device), _) => write!(out, "%{device}"),
        (None, 0) => Ok(()),
        (None, ifindex) => write!(out, "%if{ifindex}"),
    }
}

/// ` users:(("sshd",pid=1,fd=3),...)`, or nothing.
pub fn write_holders(out: &mut Text, holders: &[Holder]) -> fmt::Result {
    if holders.is_empty() {
        return Ok(());
    }
    out.push(b" users:(");
    for (index, holder) in holders.iter().enumerate() {
        if index > 0 {
            out.push(b",");
        }
        out.push(b"(\"");
        let name = holder.comm.bytes();
        if is_plain(name) && !name.iter().any(is_quoted) {
            out.push_bytes(name);
        } else {
            for part in name.split_inclusive(is_quoted) {
                match part.split_last() {
                    Some((last, before)) if is_quoted(last) => {
                        write_escaped(out, before)?;
                        out.push(b"\\");
                        out.push(&[*last]);
                    }
                    _ => write_escaped(out, part)?,
                }
            }
        }
        out.push(b"\",pid=");
        if holder.pid < 0 {
            out.push(b"-");
        }
        out.push_number(holder.pid.unsigned_abs().into());
        out.push(b",fd=");
        out.push_number(holder.fd.into());
        out.push(b")");
    }
    out.push(b")");
    Ok(())
}

/// Whether a byte ends a name in quotes, or would make of another one more than it is.
fn is_quoted(byte: &u8) -> bool {
    matches!(byte, b'"' | b'\\')
}

/// A time as in `timer:(on,1min4sec,3)`. What is past is 0.
pub fn push_timer(out: &mut Text, milliseconds: i64) {
    let milliseconds = milliseconds.max(0).unsigned_abs();
    let (minutes, seconds) = (milliseconds / 60_000, milliseconds / 1000 % 60);
    let rest = milliseconds % 1000;
    if minutes > 0 {
        out.push_number(minutes);
        out.push(b"min");
        if minutes <= 9 && seconds != 0 {
            out.push_number(seconds);
            out.push(b"sec");
        }
        return;
    }
    match (seconds, rest) {
        (0, 0) => {}
        (0..=9, rest @ 1..) => {
            if seconds != 0 {
                out.push_number(seconds);
                out.push(b".");
            }
            push_thousandths(out, rest);
            out.push(b"ms");
        }
        (seconds, _) => {
            out.push_number(seconds);
            out.push(b"sec");
        }
    }
}

/// Three digits.
fn push_thousandths(out: &mut Text, number: u64) {
    out.push(&digits::<3>(number));
}

/// A rate in bits a second (`sprint_bw`): a whole number, or with a prefix and one digit behind the point.
pub fn write_rate(out: &mut Text, rate: f64, is_numeric: bool) -> fmt::Result {
    /// Up to here all whole numbers are numbers of floating point, too.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if is_numeric && (0.0..EXACT).contains(&rate) {
        out.push_number(rate.round_ties_even() as u64);
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

/// Microseconds as milliseconds, as C's `%g` writes these.
pub fn push_milliseconds(out: &mut Text, microseconds: u64) {
    // Six digits: up to here no more are needed.
    if microseconds >= 1_000_000 {
        // Writing to a string doesn't fail.
        let _ = write_g(out, microseconds as f64 / 1000.0);
        return;
    }
    out.push_number(microseconds / 1000);
    let rest = microseconds % 1000;
    if rest != 0 {
        out.push(b".");
        push_thousandths(out, rest);
        while out.bytes().ends_with(b"0") {
            out.length -= 1;
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
    use super::{Text, push_milliseconds, push_timer, write_g, write_holders, write_rate};
    use crate::name::Name;
    use crate::owner::Holder;

    #[test]
    fn numbers_are_pushed_as_they_are_formatted() {
        for number in (0..2000).chain([4_294_967_295, u64::MAX]) {
            let mut out = Text::default();
            out.push_number(number);
            assert_eq!(out.into_string(), number.to_string());
        }
        for microseconds in (0..2000).chain([1_234_567, 999_999, 999_000, 100_010, 5_000_000]) {
            let (mut out, mut expected) = (Text::default(), String::new());
            push_milliseconds(&mut out, microseconds);
            assert!(write_g(&mut expected, microseconds as f64 / 1000.0).is_ok());
            assert_eq!(out.into_string(), expected, "{microseconds}");
        }
    }

    #[test]
    fn names_do_not_end_their_quotes() {
        let mut out = Text::default();
        let comm = Name::from("a\",pid=1\\\x1b\u{200b}");
        let (pid, fd) = (7, 3);
        assert!(write_holders(&mut out, &[Holder { pid, fd, comm }]).is_ok());
        let expected = r#" users:(("a\",pid=1\\\x1b\u{200b}",pid=7,fd=3))"#;
        assert_eq!(out.into_string(), expected);
    }

    #[test]
    fn times_are_written_as_ss_does() {
        let text = |milliseconds| {
            let mut out = Text::default();
            push_timer(&mut out, milliseconds);
            out.into_string()
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
            let mut out = Text::default();
            assert!(write_rate(&mut out, rate, false).is_ok());
            out.into_string()
        };
        assert_eq!(text(999.0), "999");
        assert_eq!(text(1001.0), "1.0K");
        assert_eq!(text(24_555_555_555.0), "24.6G");
        let mut out = Text::default();
        assert!(write_rate(&mut out, 24_555_555_555.4, true).is_ok());
        assert_eq!(out.into_string(), "24555555555");
    }
}

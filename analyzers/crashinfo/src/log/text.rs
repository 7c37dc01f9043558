//! The log as text, before 3.5: lines, each with its level in front (`<6>eth0: link up`).

use kernel::sym;
use kstruct::{Fault, Memory};
use linux::Faults;
use linux::size::power_of_two;

use super::Record;

/// All lines, the oldest first. The first one may have lost its beginning.
pub fn read(k: &Memory, faults: &mut Faults) -> Option<Vec<Record>> {
    let bytes = faults.check("log", bytes(k))?;
    Some(records(&bytes))
}

/// What is in the log, put in order: positions run freely, and are taken modulo its length.
fn bytes(k: &Memory) -> Result<Vec<u8>, Fault> {
    /// No log is larger; a damaged dump may say anything.
    const MOST: u64 = 1 << 28;
    let buffer = k.get(sym::log_buf)?.addr();
    let length = u64::try_from(i64::from(k.get(sym::log_buf_len)?)).unwrap_or(0);
    let size = power_of_two(buffer, length, MOST)?;
    let all = k.bytes(buffer, size)?;
    let count = k.get(sym::logged_chars)?.min(length);
    let end = k.get(sym::log_end)?;
    Ok((0..count)
        .filter_map(|index| {
            let place = k.wrap(end.wrapping_sub(count).wrapping_add(index));
            all.get(place.checked_rem(length)? as usize).copied()
        })
        .collect())
}

/// Lines as records. One without a level has that of the line before it, as a line that was printed in pieces has its own text in it.
fn records(bytes: &[u8]) -> Vec<Record> {
    /// `default_message_loglevel`: a warning.
    const DEFAULT: u8 = 4;
    let text = String::from_utf8_lossy(bytes);
    let mut level = DEFAULT;
    text.trim_end_matches('\n')
        .split('\n')
        .filter(|_| !bytes.is_empty())
        .map(|line| {
            let mut text = line;
            if let Some((number, rest)) = line.strip_prefix('<').and_then(|it| it.split_once('>'))
                && let Ok(number @ 0..=7) = number.parse()
            {
                (level, text) = (number, rest);
            }
            Record {
                sequence: None,
                time_ns: None,
                level,
                facility: 0,
                caller: None,
                device: None,
                text: text.to_owned(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::records;

    #[test]
    fn lines_have_levels() {
        let found = records(b"lost beginning\n<6>one\n<12>two\n<0>a <b> c\nmore\n");
        let found: Vec<(u8, &str)> = found
            .iter()
            .map(|record| (record.level, &*record.text))
            .collect();
        let expected = [
            (4, "lost beginning"),
            (6, "one"),
            (6, "<12>two"),
            (0, "a <b> c"),
            (0, "more"),
        ];
        assert_eq!(found, expected);
        assert_eq!(records(b""), []);
    }
}

//! The log as records that lie one behind the other (kernel/printk/printk.c, 3.5 to 5.9): a header, the text, and what `dev_printk` says of the
//! device. Where there is no room for the next one before the buffer's end, there is a header of length 0, and it goes on at the start.

use kstruct::{Fault, FaultKind};

use super::{Device, Record};

/// Where the records are.
pub struct Log<'m> {
    pub address: u64,
    pub bytes: &'m [u8],
    /// The number of the oldest record, and of the one that comes next.
    pub sequences: [u64; 2],
    /// Where the oldest one is.
    pub first: u64,
}

/// What stands before a text.
#[derive(Debug)]
pub struct Header {
    /// Of itself.
    pub size: usize,
    /// Up to the next header; 0 if that is at the start of the buffer.
    pub length: usize,
    pub text: usize,
    pub device: usize,
    pub time: u64,
    pub level: u8,
    pub facility: u8,
    /// See [`Record::caller`].
    pub caller: Option<String>,
}

impl Log<'_> {
    /// Goes from record to record. Each moves on by a header at least, and there are no more than fit the buffer.
    pub fn walk(
        &self,
        header: impl Fn(u64) -> Result<Header, Fault>,
        records: &mut Vec<Record>,
    ) -> Result<(), Fault> {
        let [first, next] = self.sequences;
        let mut at = self.first;
        let mut gone = 0;
        for number in 0..next.wrapping_sub(first) {
            let mut found = header(at)?;
            if found.length == 0 {
                at = 0;
                found = header(at)?;
            }
            let broken = Fault {
                address: self.address.wrapping_add(at),
                kind: FaultKind::Inconsistent,
            };
            // All are at most 16 bits wide.
            let used = found.size + found.text + found.device;
            gone += found.length;
            if used > found.length || gone > self.bytes.len() {
                return Err(broken);
            }
            let start = usize::try_from(at).map_err(|_| broken)?;
            let end = start.checked_add(found.length).ok_or(broken)?;
            let bytes = self.bytes.get(start..end).ok_or(broken)?;
            let (text, device) = bytes[found.size..used].split_at(found.text);
            records.push(Record {
                sequence: Some(first.wrapping_add(number)),
                time_ns: Some(found.time),
                level: found.level,
                facility: found.facility,
                caller: found.caller,
                device: device_of(device),
                text: String::from_utf8_lossy(text).into_owned(),
            });
            at = end as u64;
        }
        Ok(())
    }
}

/// `SUBSYSTEM=pci`, NUL, `DEVICE=+pci:0000:00:01.0` (`create_syslog_header`, drivers/base/core.c).
fn device_of(dictionary: &[u8]) -> Option<Device> {
    let value = |name: &str| {
        dictionary.split(|byte| *byte == 0).find_map(|line| {
            let value = line.strip_prefix(name.as_bytes())?;
            Some(String::from_utf8_lossy(value).into_owned())
        })
    };
    Some(Device {
        subsystem: value("SUBSYSTEM=")?,
        device: value("DEVICE=").unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 16;

    /// As the kernel writes it: the header's first 8 bytes are the time, then lengths of all, the text, and the device, and the level.
    fn entry(time: u64, text: &str, device: &str) -> Vec<u8> {
        let used = SIZE + text.len() + device.len();
        let length = used.next_multiple_of(8);
        let mut bytes = time.to_le_bytes().to_vec();
        for part in [length, text.len(), device.len(), 6] {
            bytes.extend(u16::try_from(part).expect("it is short").to_le_bytes());
        }
        bytes.extend(text.bytes().chain(device.bytes()));
        bytes.resize(length, 0);
        bytes
    }

    fn header(bytes: &[u8], at: u64) -> Result<Header, Fault> {
        let at = at as usize;
        let Some(header) = bytes.get(at..at + SIZE) else {
            return Err(Fault {
                address: at as u64,
                kind: FaultKind::NotInDump,
            });
        };
        let word = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        Ok(Header {
            size: SIZE,
            length: word(8).into(),
            text: word(10).into(),
            device: word(12).into(),
            time: u64::from_le_bytes(header[..8].try_into().expect("8 bytes")),
            level: word(14) as u8,
            facility: 0,
            caller: None,
        })
    }

    fn walked(bytes: &[u8], first: usize, sequences: [u64; 2]) -> (Vec<Record>, bool) {
        let log = Log {
            address: 0,
            bytes,
            sequences,
            first: first as u64,
        };
        let mut records = Vec::new();
        let done = log.walk(|at| header(bytes, at), &mut records);
        (records, done.is_ok())
    }

    fn shown(records: &[Record]) -> Vec<(Option<u64>, Option<u64>, &str)> {
        let shown = records.iter();
        shown
            .map(|record| (record.sequence, record.time_ns, &*record.text))
            .collect()
    }

    #[test]
    fn records_go_on_at_the_start_of_the_buffer() {
        let device = "SUBSYSTEM=pci\0DEVICE=+pci:0000:00:01.0";
        let (first, second) = (entry(1, "first", device), entry(2, "", ""));
        let third = entry(30, "two\nlines", "");
        // The newest is at the start; behind the second there is no room for it, which a header of length 0 says.
        let mut bytes = third.clone();
        let oldest = bytes.len();
        bytes.extend([&first[..], &second, &[0; SIZE]].concat());
        let (records, is_whole) = walked(&bytes, oldest, [70, 73]);
        assert!(is_whole);
        assert_eq!(
            shown(&records),
            [
                (Some(70), Some(1), "first"),
                (Some(71), Some(2), ""),
                (Some(72), Some(30), "two\nlines"),
            ]
        );
        assert_eq!(
            records[0].device,
            Some(Device {
                subsystem: "pci".to_owned(),
                device: "+pci:0000:00:01.0".to_owned(),
            })
        );
        assert!(records[1].device.is_none() && records.iter().all(|record| record.level == 6));
        // None at all.
        assert_eq!(walked(&bytes, oldest, [70, 70]), (Vec::new(), true));
    }

    #[test]
    fn damage_ends_it_with_what_came_before() {
        let (first, second) = (entry(1, "first", ""), entry(2, "second", ""));
        let good = [&first[..], &second].concat();
        let second_at = first.len();
        // More records than there are: round and round, or behind the end.
        let (records, is_whole) = walked(&good, 0, [0, u64::MAX]);
        assert!(!is_whole && records.len() == 2, "{records:?}");
        // A length of nothing that isn't the end's, of all, of less than the text's.
        for (at, value) in [(8, 0_u16), (8, 0xffff), (8, 20), (10, 0xffff), (12, 0xffff)] {
            let mut bytes = good.clone();
            bytes[second_at + at..][..2].copy_from_slice(&value.to_le_bytes());
            let (records, is_whole) = walked(&bytes, 0, [0, 100]);
            assert!(!is_whole, "{at}: {value}");
            assert_eq!(records[0].text, "first", "{at}: {value}");
        }
        // The index of the oldest is anywhere.
        for first in [good.len(), good.len() - 1, 1 << 31] {
            assert!(!walked(&good, first, [0, 2]).1, "{first}");
        }
    }
}

//! The log as records that lie one behind the other (kernel/printk/printk.c, 3.5 to 5.9): a header, the text, and what `dev_printk` says of the
//! device. Where there is no room for the next one before the buffer's end, there is a header of length 0, and it goes on at the start.

#[cfg(all(not(kernel_has = "printk_log"), kernel_has = "log.ts_nsec"))]
use kernel::log as Entry;
#[cfg(kernel_has = "printk_log")]
use kernel::printk_log as Entry;
use kernel::sym;
use kstruct::{Fault, FaultKind, Memory, View as _};
use linux::Faults;

use super::{Device, Record};

/// All records, the oldest first. Behind one that is damaged, nothing is found.
pub fn read(k: &Memory, faults: &mut Faults) -> Option<Vec<Record>> {
    let log = faults.check("log", Log::new(k))?;
    let mut records = Vec::new();
    let walked = log.walk(|at| header(k, log.address.wrapping_add(at)), &mut records);
    faults.check("records of the log", walked);
    Some(records)
}

/// Where the records are.
struct Log<'m> {
    address: u64,
    bytes: &'m [u8],
    /// The number of the oldest record, and of the one that comes next.
    sequences: [u64; 2],
    /// Where the oldest one is.
    first: u64,
}

/// What stands before a text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Header {
    /// Of itself.
    size: usize,
    /// Up to the next header; 0 if that is at the start of the buffer.
    length: usize,
    text: usize,
    device: usize,
    time: u64,
    level: u8,
    facility: u8,
    /// See [`Record::caller`].
    caller: Option<String>,
}

fn header(k: &Memory, address: u64) -> Result<Header, Fault> {
    let entry = Entry::at(k, address)?;
    // 3.5 had both in one.
    #[cfg(any(kernel_has = "printk_log.facility", kernel_has = "log.facility"))]
    let (level, facility) = (entry.level(), entry.facility());
    #[cfg(not(any(kernel_has = "printk_log.facility", kernel_has = "log.facility")))]
    let (level, facility) = ((entry.level() & 7) as u8, (entry.level() >> 3) as u8);
    #[cfg(kernel_has = "printk_log.caller_id")]
    let caller = super::caller(entry.caller_id());
    #[cfg(not(kernel_has = "printk_log.caller_id"))]
    let caller = None;
    Ok(Header {
        size: Entry::SIZE,
        length: entry.len().into(),
        text: entry.text_len().into(),
        device: entry.dict_len().into(),
        time: entry.ts_nsec(),
        level,
        facility,
        caller,
    })
}

impl<'m> Log<'m> {
    fn new(k: &'m Memory) -> Result<Self, Fault> {
        /// `LOG_BUF_LEN_MAX` is 2 GB, which nobody has; a damaged dump may say anything.
        const MOST: u64 = 1 << 28;
        let address = k.get(sym::log_buf)?.addr();
        let length = u64::try_from(i64::from(k.get(sym::log_buf_len)?)).unwrap_or(0);
        if length > MOST {
            return Err(Fault {
                address,
                kind: FaultKind::TooLarge,
            });
        }
        Ok(Log {
            address,
            bytes: k.bytes(address, length as usize)?,
            sequences: [k.get(sym::log_first_seq)?, k.get(sym::log_next_seq)?],
            first: k.get(sym::log_first_idx)?.into(),
        })
    }

    /// Goes from record to record. Each moves on by a header at least, and there are no more than fit the buffer.
    fn walk(
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

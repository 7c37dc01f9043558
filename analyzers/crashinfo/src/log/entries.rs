//! The log as records, of a kernel: where it is, and the headers (kernel/printk/printk.c, 3.5 to 5.9).

#[cfg(not(kernel_has = "printk_log"))]
use kernel::log as Entry;
#[cfg(kernel_has = "printk_log")]
use kernel::printk_log as Entry;
use kernel::sym;
use kstruct::{Fault, Memory, View as _};
use linux::Faults;
use linux::size::power_of_two;

use super::Record;
use super::records::{Header, Log};

/// All records, the oldest first. Behind one that is damaged, nothing is found.
pub fn read(k: &Memory, faults: &mut Faults) -> Option<Vec<Record>> {
    let log = faults.check("log", log(k))?;
    let mut records = Vec::new();
    let walked = log.walk(|at| header(k, log.address.wrapping_add(at)), &mut records);
    faults.check("records of the log", walked);
    Some(records)
}

fn log(k: &Memory) -> Result<Log<'_>, Fault> {
    /// `LOG_BUF_LEN_MAX` is 2 GB, which nobody has; a damaged dump may say anything.
    const MOST: u64 = 1 << 28;
    let address = k.get(sym::log_buf)?.addr();
    let length = u64::try_from(i64::from(k.get(sym::log_buf_len)?)).unwrap_or(0);
    let size = power_of_two(address, length, MOST)?;
    Ok(Log {
        address,
        bytes: k.bytes(address, size)?,
        sequences: [k.get(sym::log_first_seq)?, k.get(sym::log_next_seq)?],
        first: k.get(sym::log_first_idx)?.into(),
    })
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

//! The ring of descriptors (kernel/printk/printk_ringbuffer.c), 5.10 and later.

use kernel::{printk_info, printk_ringbuffer, sym};
use kstruct::{Fault, FaultKind, Memory, View as _};
use linux::Faults;
use linux::counter::signed;

use super::{Device, Record, caller};

/// Bits of sizes that no log has (`LOG_BUF_LEN_MAX` is 2 GB, and a descriptor for each 32 bytes of it).
const MOST_BITS: u32 = 31;

/// States of a descriptor, in the highest two bits of its word (`enum desc_state`).
const COMMITTED: u64 = 1;
const FINALIZED: u64 = 2;

/// Both ends of a descriptor without text have this bit (`BLK_DATALESS`).
const DATALESS: u64 = 1;
/// There was no room for the text (`FAILED_LPOS`).
const FAILED: u64 = 1;

/// All records, the oldest first. One that was being written is not there, as it isn't for whoever reads the log of a running
/// kernel.
pub fn read(k: &Memory, faults: &mut Faults) -> Option<Vec<Record>> {
    let ring = k.get(sym::prb).and_then(|ring| ring.deref());
    let ring = faults.check("log", ring)?;
    let reader = faults.check("log", Reader::new(k, ring))?;
    let mut records = Vec::new();
    for step in 0..reader.length {
        let id = reader.oldest.wrapping_add(step) & reader.ids;
        let record = reader.record(id);
        let what = format_args!("record {id} of the log");
        records.extend(faults.check(what, record).flatten());
    }
    Some(records)
}

struct Reader<'m> {
    k: &'m Memory,
    ring: printk_ringbuffer<'m>,
    /// The bits of a descriptor's word that are its number.
    ids: u64,
    oldest: u64,
    /// How many descriptors there are from the oldest to the newest.
    length: u64,
}

impl<'m> Reader<'m> {
    fn new(k: &'m Memory, ring: printk_ringbuffer<'m>) -> Result<Self, Fault> {
        let descriptors = ring.desc_ring();
        let broken = |kind| Fault {
            address: ring.addr(),
            kind,
        };
        let (count_bits, size_bits) = (descriptors.count_bits(), ring.text_data_ring().size_bits());
        if count_bits > MOST_BITS || size_bits > MOST_BITS {
            return Err(broken(FaultKind::TooLarge));
        }
        let width = u32::from(k.kernel().pointer_size) * 8;
        let ids = u64::MAX >> (64 - width + 2);
        let number = |value: i64| value.cast_unsigned() & ids;
        let oldest = number(signed(descriptors.tail_id().value()));
        let newest = number(signed(descriptors.head_id().value()));
        let length = (newest.wrapping_sub(oldest) & ids) + 1;
        if length > 1 << count_bits {
            return Err(broken(FaultKind::Inconsistent));
        }
        Ok(Reader {
            k,
            ring,
            ids,
            oldest,
            length,
        })
    }

    /// One record; `None` if it is being written, or was never.
    fn record(&self, id: u64) -> Result<Option<Record>, Fault> {
        let descriptors = self.ring.desc_ring();
        let index = id & ((1 << descriptors.count_bits()) - 1);
        let descriptor = descriptors.descs().at(index)?;
        let word = self
            .k
            .wrap(signed(descriptor.state_var().value()).cast_unsigned());
        let state = word >> self.ids.count_ones();
        if state != COMMITTED && state != FINALIZED {
            return Ok(None);
        }
        let broken = Fault {
            address: descriptor.addr(),
            kind: FaultKind::Inconsistent,
        };
        if word & self.ids != id {
            return Err(broken);
        }
        let info = descriptors.infos().at(index)?;
        let place = descriptor.text_blk_lpos();
        let (begin, next) = (place.begin(), place.next());
        let text = if begin & next & DATALESS != 0 {
            // Whoever reads the log passes over what was lost.
            if begin == FAILED {
                return Ok(None);
            }
            &[]
        } else {
            self.text(id, begin, next, broken)?
        };
        let text = text.get(..usize::from(info.text_len())).unwrap_or(text);
        Ok(Some(record(info, text)))
    }

    /// The text between two positions, which run freely. What would go beyond the end begins at the start.
    fn text(&self, id: u64, begin: u64, next: u64, broken: Fault) -> Result<&'m [u8], Fault> {
        let data = self.ring.text_data_ring();
        let size = 1u64 << data.size_bits();
        let (start, end) = (begin & (size - 1), next & (size - 1));
        let length = self.k.wrap(next.wrapping_sub(begin));
        if length > size {
            return Err(broken);
        }
        let (start, length) = match start.checked_add(length) {
            Some(behind) if behind <= size => (start, length),
            _ => (0, end),
        };
        let address = data.data().addr().wrapping_add(start);
        let block = self.k.bytes(address, length as usize)?;
        // The descriptor's number stands before the text.
        let width = usize::from(self.k.kernel().pointer_size);
        if self.k.word(address)? != id {
            return Err(Fault { address, ..broken });
        }
        block.get(width..).ok_or(broken)
    }
}

fn record(info: printk_info<'_>, text: &[u8]) -> Record {
    let subsystem = info.dev_info().subsystem();
    Record {
        sequence: Some(info.seq()),
        time_ns: Some(info.ts_nsec()),
        level: info.level(),
        facility: info.facility(),
        caller: caller(info.caller_id()),
        device: (!subsystem.is_empty()).then(|| Device {
            subsystem: subsystem.to_string(),
            device: info.dev_info().device().to_string(),
        }),
        text: String::from_utf8_lossy(text).into_owned(),
    }
}

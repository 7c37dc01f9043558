//! Memory that is looked through once: what has to be decompressed for that is not kept.

use super::Dump;
use super::paged::Scratch;

const PAGE: u64 = 4096;

/// A view of some memory at a time.
pub(crate) struct Window<'d> {
    dump: &'d Dump,
    scratch: Scratch,
    buffer: Vec<u8>,
}

impl<'d> Window<'d> {
    pub fn new(dump: &'d Dump) -> Self {
        Window {
            dump,
            scratch: Scratch::default(),
            buffer: Vec::new(),
        }
    }

    /// Physical memory; zeros where it can't be read.
    pub fn bytes(&mut self, start: u64, length: usize) -> &[u8] {
        if self.dump.paged.is_none()
            && let Ok(bytes) = self.dump.physical(start, length)
        {
            return bytes;
        }
        self.buffer.clear();
        while self.buffer.len() < length {
            let done = self.buffer.len();
            let at = start.saturating_add(done as u64);
            let count = ((PAGE - at % PAGE) as usize).min(length - done);
            self.buffer.resize(done + count, 0);
            let page = &mut self.buffer[done..];
            match &self.dump.paged {
                Some(paged) => {
                    if paged.peek(at, &mut self.scratch, page).is_err() {
                        page.fill(0);
                    }
                }
                None => {
                    if let Ok(bytes) = self.dump.physical(at, count) {
                        page.copy_from_slice(bytes);
                    }
                }
            }
        }
        &self.buffer
    }
}

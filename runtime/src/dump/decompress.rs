//! Decompression of one page at a time.

use flate2::{Decompress, FlushDecompress, Status};
use zstd::bulk::Decompressor as Zstd;

/// How a page is compressed: the flags of makedumpfile's page descriptors (its diskdump_mod.h).
pub(super) const ZLIB: u32 = 0x1;
pub(super) const LZO: u32 = 0x2;
pub(super) const SNAPPY: u32 = 0x4;
pub(super) const ZSTD: u32 = 0x20;

/// What decompressors keep from page to page: their tables are larger than a page.
#[derive(Default)]
pub(super) struct Decoder {
    zlib: Option<Decompress>,
    zstd: Option<Zstd<'static>>,
    snappy: snap::raw::Decoder,
}

impl Decoder {
    /// Fills a page from its compressed form. `None` if that is damaged or is not exactly one page; what is then in the
    /// page is anything.
    pub fn decode(&mut self, flags: u32, input: &[u8], page: &mut [u8]) -> Option<()> {
        let length = match flags & (ZLIB | LZO | SNAPPY | ZSTD) {
            0 => {
                // As large as a page, or it would have to be compressed.
                (input.len() == page.len()).then(|| page.copy_from_slice(input))?;
                input.len()
            }
            ZLIB => self.inflate(input, page)?,
            LZO => lzokay::decompress::decompress(input, page).ok()?,
            SNAPPY => {
                let length = snap::raw::decompress_len(input).ok()?;
                (length == page.len()).then_some(())?;
                self.snappy.decompress(input, page).ok()?
            }
            ZSTD => {
                if self.zstd.is_none() {
                    self.zstd = Some(Zstd::new().ok()?);
                }
                self.zstd.as_mut()?.decompress_to_buffer(input, page).ok()?
            }
            _ => return None,
        };
        (length == page.len()).then_some(())
    }

    fn inflate(&mut self, input: &[u8], page: &mut [u8]) -> Option<usize> {
        let zlib = self.zlib.get_or_insert_with(|| Decompress::new(true));
        zlib.reset(true);
        let status = zlib.decompress(input, page, FlushDecompress::Finish);
        (status.ok()? == Status::StreamEnd).then_some(())?;
        usize::try_from(zlib.total_out()).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::{Decoder, LZO, SNAPPY, ZLIB, ZSTD};

    fn compressed(flag: u32, data: &[u8]) -> Vec<u8> {
        match flag {
            ZLIB => {
                let mut out = flate2::write::ZlibEncoder::new(Vec::new(), Default::default());
                out.write_all(data).expect("to memory");
                out.finish().expect("to memory")
            }
            LZO => lzokay::compress::compress(data).expect("it fits"),
            SNAPPY => snap::raw::Encoder::new().compress_vec(data).expect("small"),
            ZSTD => zstd::bulk::compress(data, 3).expect("small"),
            _ => data.to_vec(),
        }
    }

    #[test]
    fn a_page_is_exactly_one_page() {
        let data: Vec<u8> = (0..4096_u32).map(|n| ((n * n) >> 7) as u8).collect();
        let mut decoder = Decoder::default();
        for flag in [0, ZLIB, LZO, SNAPPY, ZSTD] {
            let whole = compressed(flag, &data);
            let mut page = vec![0; 4096];
            assert_eq!(decoder.decode(flag, &whole, &mut page), Some(()), "{flag}");
            assert_eq!(page, data, "{flag}");
            for other in [&data[..4095], &data[..0], &[&data[..], &[1]].concat()[..]] {
                let input = compressed(flag, other);
                assert_eq!(decoder.decode(flag, &input, &mut page), None, "{flag}");
            }
            for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
                assert_eq!(
                    decoder.decode(flag, &whole[..cut], &mut page),
                    None,
                    "{flag} cut at {cut}"
                );
            }
            // A decoder that saw damage works on.
            assert_eq!(decoder.decode(flag, &whole, &mut page), Some(()), "{flag}");
            assert_eq!(page, data, "{flag}");
        }
        assert_eq!(decoder.decode(ZLIB | LZO, &data, &mut vec![0; 4096]), None);
    }
}

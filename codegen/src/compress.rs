//! Decompressing sections and whole files, with a bound on what comes out: no claim in a header is believed.

use std::io::Read;

use object::{CompressedData, CompressionFormat};

/// Debug information shrinks by a factor of 2 to 10, and zlib can't do better than 1032. What claims more is no debug
/// information.
const MAX_RATIO: u64 = 1032;
/// Small inputs may be anything.
const ALWAYS: u64 = 1 << 16;
/// How much memory xz may ask for beside its output. The strongest preset asks for 64 MB.
const XZ_MEMORY_KB: u32 = 128 << 10;

/// The largest window that zstd itself accepts without being told to.
const ZSTD_WINDOW: u64 = 128 << 20;

/// A section's contents as they are meant: the data itself if it is compressed.
pub fn section(data: CompressedData<'_>) -> Result<Vec<u8>, String> {
    let (most, claimed) = (most(data.data), data.uncompressed_size);
    if claimed > most {
        return Err(format!(
            "its header claims {claimed} bytes, which {} compressed ones can't hold",
            data.data.len()
        ));
    }
    let out = match data.format {
        CompressionFormat::None => data.data.to_vec(),
        CompressionFormat::Zlib => read(flate2::read::ZlibDecoder::new(data.data), claimed)?,
        CompressionFormat::Zstandard => zstd(data.data, claimed)?,
        format => return Err(format!("its compression ({format:?}) is not supported")),
    };
    if out.len() as u64 != claimed {
        return Err(format!(
            "its header claims {claimed} bytes, and there are {}{}",
            out.len(),
            if out.len() as u64 > claimed {
                " or more"
            } else {
                ""
            }
        ));
    }
    Ok(out)
}

/// What is in a file that xz, zstd or gzip made, as modules are often kept; `None` if it is no such file.
pub fn file(bytes: &[u8]) -> Option<Result<Vec<u8>, String>> {
    let most = most(bytes);
    let (name, result) = if bytes.starts_with(b"\xfd7zXZ\0") {
        let reader = lzma_rust2::XzReader::new_mem_limit(bytes, true, XZ_MEMORY_KB);
        ("xz", read(reader, most))
    } else if bytes.starts_with(b"\x28\xb5\x2f\xfd") {
        ("zstd", zstd(bytes, most))
    } else if bytes.starts_with(b"\x1f\x8b") {
        ("gzip", read(flate2::read::MultiGzDecoder::new(bytes), most))
    } else {
        return None;
    };
    Some(match result {
        Ok(out) if out.len() as u64 > most => Err(format!(
            "compressed by {name}, and more than {most} bytes come out: it is no kernel or module"
        )),
        Ok(out) => Ok(out),
        Err(what) => Err(format!("compressed by {name}, and damaged: {what}")),
    })
}

fn most(compressed: &[u8]) -> u64 {
    (compressed.len() as u64)
        .saturating_mul(MAX_RATIO)
        .saturating_add(ALWAYS)
}

/// Frames of zstd, one after another.
fn zstd(mut bytes: &[u8], most: u64) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    while !bytes.is_empty() && out.len() as u64 <= most {
        let decoder =
            ruzstd::decoding::StreamingDecoder::new_with_max_window_size(&mut bytes, ZSTD_WINDOW)
                .map_err(|error| error.to_string())?;
        out.extend(read(decoder, most - out.len() as u64)?);
    }
    Ok(out)
}

/// All that a decoder gives, up to one byte more than `most`.
fn read(decoder: impl Read, most: u64) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    decoder
        .take(most.saturating_add(1))
        .read_to_end(&mut out)
        .map_err(|error| error.to_string())?;
    Ok(out)
}

//! Structs of the ABI between kernel and tools, as bytes: their layout is fixed by include/uapi, and many of them are in modules
//! that a dump need not have.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The bytes of such a struct. What lies beyond them is `None`.
#[derive(Clone, Copy)]
pub struct Bytes<'m>(pub &'m [u8]);

impl<'m> Bytes<'m> {
    fn array<const N: usize>(self, offset: usize) -> Option<[u8; N]> {
        self.0.get(offset..)?.first_chunk().copied()
    }

    /// `length` bytes.
    pub fn part(self, offset: usize, length: usize) -> Option<&'m [u8]> {
        self.0.get(offset..)?.get(..length)
    }

    /// A byte.
    pub fn u8(self, offset: usize) -> Option<u8> {
        self.0.get(offset).copied()
    }

    /// A number of 16 bits in the machine's own order.
    pub fn u16(self, offset: usize) -> Option<u16> {
        let bytes = self.array(offset)?;
        Some(if kernel::KERNEL.big_endian {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        })
    }

    /// A number of 32 bits in the machine's own order.
    pub fn u32(self, offset: usize) -> Option<u32> {
        let bytes = self.array(offset)?;
        Some(if kernel::KERNEL.big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        })
    }

    /// A number of 64 bits in the machine's own order.
    pub fn u64(self, offset: usize) -> Option<u64> {
        let bytes = self.array(offset)?;
        Some(if kernel::KERNEL.big_endian {
            u64::from_be_bytes(bytes)
        } else {
            u64::from_le_bytes(bytes)
        })
    }

    /// A number of 16 bits in network order.
    pub fn be16(self, offset: usize) -> Option<u16> {
        self.array(offset).map(u16::from_be_bytes)
    }

    /// An IPv4 address.
    pub fn ipv4(self, offset: usize) -> Option<Ipv4Addr> {
        self.array::<4>(offset).map(Ipv4Addr::from)
    }

    /// An IPv6 address.
    pub fn ipv6(self, offset: usize) -> Option<Ipv6Addr> {
        self.array::<16>(offset).map(Ipv6Addr::from)
    }

    /// A `char` array of `length` bytes up to its NUL, with what isn't printable escaped.
    pub fn text(self, offset: usize, length: usize) -> Option<String> {
        self.part(offset, length).map(text)
    }
}

/// A `char` array up to its NUL, with what isn't printable escaped.
pub fn text(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    let end = bytes.iter().position(|byte| *byte == 0);
    let mut out = String::new();
    for chunk in bytes[..end.unwrap_or(bytes.len())].utf8_chunks() {
        for char in chunk.valid().chars() {
            if char.is_control() {
                let _ = write!(out, "\\x{:02x}", u32::from(char));
            } else {
                out.push(char);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// Bytes as `0x0102...`.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    let mut out = String::from("0x");
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// How many bits a mask has; `None` if they aren't its first ones.
pub fn prefix(mask: &[u8]) -> Option<u32> {
    let ones: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
    let is_prefix = mask.iter().enumerate().all(|(index, byte)| {
        let before = ones.saturating_sub(index as u32 * 8).min(8);
        *byte == (0xff00_u16 >> before) as u8
    });
    is_prefix.then_some(ones)
}

#[cfg(test)]
mod tests {
    use super::{Bytes, hex, prefix, text};

    #[test]
    fn what_is_not_there_is_none() {
        let bytes = Bytes(&[0, 80, 3]);
        assert_eq!(bytes.be16(0), Some(80));
        assert_eq!(bytes.u16(2), None);
        assert_eq!(bytes.u64(usize::MAX), None);
        assert_eq!(bytes.ipv6(1), None);
        assert_eq!(bytes.part(1, usize::MAX), None);
    }

    #[test]
    fn text_and_hexadecimal() {
        assert_eq!(text(b"eth0\0\x01"), "eth0");
        assert_eq!(text(b"a\x07\xff"), "a\\x07\\xff");
        assert_eq!(hex(&[1, 0xab]), "0x01ab");
    }
    #[test]
    fn masks_are_prefixes_or_not() {
        assert_eq!(prefix(&[255, 255, 255, 0]), Some(24));
        assert_eq!(prefix(&[255, 255, 240, 0]), Some(20));
        assert_eq!(prefix(&[0; 16]), Some(0));
        assert_eq!(prefix(&[255; 16]), Some(128));
        assert_eq!(prefix(&[255, 0, 255, 0]), None);
        assert_eq!(prefix(&[127, 0, 0, 0]), None);
    }
}

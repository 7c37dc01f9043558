//! Numbers from bytes of either order.

/// The bytes as an array of their length. Panics if there are more or fewer, which callers rule out.
///
/// `copy_from_slice` would do the same by a function of its own, which is called at each load if the compiler doesn't feel like
/// inlining it.
#[inline(always)]
pub(crate) fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    match <[u8; N]>::try_from(bytes) {
        Ok(array) => array,
        Err(_) => panic!("a number needs all of its bytes"),
    }
}

/// An unsigned number of up to 8 bytes.
#[inline]
pub(crate) fn uint(bytes: &[u8], big_endian: bool) -> u64 {
    match (bytes.len(), big_endian) {
        (8, false) => return u64::from_le_bytes(array(bytes)),
        (8, true) => return u64::from_be_bytes(array(bytes)),
        (4, false) => return u32::from_le_bytes(array(bytes)).into(),
        (4, true) => return u32::from_be_bytes(array(bytes)).into(),
        _ => {}
    }
    let push = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
    if big_endian {
        bytes.iter().fold(0, push)
    } else {
        bytes.iter().rev().fold(0, push)
    }
}

/// A bit-field. `offset` counts from the least significant bit of the first byte on little-endian machines, from the most
/// significant one on big-endian ones. Bits beyond the bytes read as 0; a view's size is checked where it is made.
#[inline(always)]
pub(crate) fn field(bytes: &[u8], offset: u64, size: u64, big_endian: bool) -> u64 {
    let first = (offset / 8) as usize;
    let last = (offset + size).div_ceil(8) as usize;
    let mut value: u128 = 0;
    let mut index = first;
    while index < last {
        let byte = u128::from(bytes[index]);
        if big_endian {
            value = value << 8 | byte;
        } else {
            value |= byte << (8 * (index - first));
        }
        index += 1;
    }
    let shift = if big_endian {
        last as u64 * 8 - offset - size
    } else {
        offset % 8
    };
    let mask = if size >= 64 {
        u64::MAX
    } else {
        (1 << size) - 1
    };
    (value >> shift) as u64 & mask
}

/// The number that the lowest `size` bits are in two's complement.
#[inline(always)]
pub(crate) fn sign_extended(value: u64, size: u64) -> i64 {
    let unused = 64 - size.clamp(1, 64);
    (value << unused).cast_signed() >> unused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_count_from_the_end_that_the_machine_counts_from() {
        let bytes = [0b1010_0110, 0b0000_0011, 0xff];
        assert_eq!(field(&bytes, 1, 3, false), 0b011);
        assert_eq!(field(&bytes, 6, 4, false), 0b1110);
        assert_eq!(field(&bytes, 0, 3, true), 0b101);
        assert_eq!(field(&bytes, 6, 4, true), 0b1000);
        assert_eq!(field(&[0xff; 9], 4, 64, false), u64::MAX);
        assert_eq!(sign_extended(0b111, 3), -1);
        assert_eq!(sign_extended(0b011, 3), 3);
        assert_eq!(sign_extended(u64::MAX, 64), -1);
    }

    #[test]
    fn numbers_have_two_byte_orders() {
        assert_eq!(uint(&[1, 2], false), 0x0201);
        assert_eq!(uint(&[1, 2], true), 0x0102);
    }
}

//! Numbers and addresses in network byte order, as they lie in memory.

use std::net::IpAddr;

/// A `__be16` as the number that it is.
pub fn be16(value: u16) -> u16 {
    if kernel::KERNEL.big_endian {
        value
    } else {
        value.swap_bytes()
    }
}

/// A `__be32` as the number that it is.
pub fn be32(value: u32) -> u32 {
    if kernel::KERNEL.big_endian {
        value
    } else {
        value.swap_bytes()
    }
}

/// A `__be64` as the number that it is.
pub fn be64(value: u64) -> u64 {
    if kernel::KERNEL.big_endian {
        value
    } else {
        value.swap_bytes()
    }
}

/// `AF_INET` and `AF_INET6`, include/linux/socket.h.
const INET: u16 = 2;
const INET6: u16 = 10;

/// The address in the bytes of a `sockaddr_in` or `sockaddr_in6`, and its port. `None` for other families.
pub fn socket_address(family: u16, bytes: &[u8]) -> Option<(IpAddr, u16)> {
    let port = u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?);
    let address: IpAddr = match family {
        INET => <[u8; 4]>::try_from(bytes.get(4..8)?).ok()?.into(),
        INET6 => <[u8; 16]>::try_from(bytes.get(8..24)?).ok()?.into(),
        _ => return None,
    };
    Some((address, port))
}

#[cfg(test)]
mod tests {
    use super::socket_address;

    #[test]
    fn socket_addresses_have_their_port_first() {
        let four = [2, 0, 0x12, 0xb5, 10, 0, 0, 1];
        assert_eq!(
            socket_address(2, &four),
            Some(([10, 0, 0, 1].into(), 0x12b5))
        );
        assert_eq!(socket_address(1, &four), None);
        assert_eq!(socket_address(10, &four), None);
    }
}

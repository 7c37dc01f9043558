//! What /proc says of sockets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Both ends of a line of /proc/net/tcp, udp and the like: the local one, then the remote one.
pub fn ends_of(line: &str, is_little_endian: bool) -> [SocketAddr; 2] {
    let mut words = line.split_whitespace().skip(1);
    [(); 2].map(|()| {
        let end = words.next().expect("two ends");
        let (address, port) = end.split_once(':').expect("address and port");
        let port = u16::from_str_radix(port, 16).expect("a port");
        SocketAddr::new(address_of(address, is_little_endian), port)
    })
}

/// The bytes of an address are printed as numbers of the machine's order.
fn address_of(hex: &str, is_little_endian: bool) -> IpAddr {
    let word = |at: usize| {
        let word = u32::from_str_radix(&hex[at..at + 8], 16).expect("hexadecimal");
        if is_little_endian {
            word.to_le_bytes()
        } else {
            word.to_be_bytes()
        }
    };
    if hex.len() == 8 {
        return Ipv4Addr::from(word(0)).into();
    }
    let mut bytes = [0; 16];
    for part in 0..4 {
        bytes[part * 4..part * 4 + 4].copy_from_slice(&word(part * 8));
    }
    Ipv6Addr::from(bytes).into()
}

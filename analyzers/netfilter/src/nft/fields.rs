//! Fields of headers, as nft names them (its `src/proto.c`).

use super::types::Type;

/// A field: name, first bit, bits, type.
pub type Field = (&'static str, u32, u32, Type);

/// A header.
pub struct Header {
    pub name: &'static str,
    pub fields: &'static [Field],
}

const N: Type = Type::NUMBER;

pub static ETHER: Header = Header {
    name: "ether",
    fields: &[
        ("daddr", 0, 48, Type::ETHER),
        ("saddr", 48, 48, Type::ETHER),
        ("type", 96, 16, Type::ETHERTYPE),
    ],
};
/// Where what is behind [`ETHER`] begins.
pub const ETHER_BITS: u32 = 112;
/// Of 802.1Q and 802.1ad, with the bits of a header of the link layer.
pub static VLAN: Header = Header {
    name: "vlan",
    fields: &[
        ("pcp", ETHER_BITS, 3, N),
        ("dei", ETHER_BITS + 3, 1, N),
        ("id", ETHER_BITS + 4, 12, N),
        ("type", ETHER_BITS + 16, 16, Type::ETHERTYPE),
    ],
};
pub static IP: Header = Header {
    name: "ip",
    fields: &[
        ("version", 0, 4, N),
        ("hdrlength", 4, 4, N),
        ("dscp", 8, 6, Type::DSCP),
        ("ecn", 14, 2, Type::ECN),
        ("length", 16, 16, N),
        ("id", 32, 16, N),
        ("frag-off", 48, 16, N),
        ("ttl", 64, 8, N),
        ("protocol", 72, 8, Type::PROTOCOL),
        ("checksum", 80, 16, N),
        ("saddr", 96, 32, Type::IPV4),
        ("daddr", 128, 32, Type::IPV4),
    ],
};
pub static IP6: Header = Header {
    name: "ip6",
    fields: &[
        ("version", 0, 4, N),
        ("dscp", 4, 6, Type::DSCP),
        ("ecn", 10, 2, Type::ECN),
        ("flowlabel", 12, 20, N),
        ("length", 32, 16, N),
        ("nexthdr", 48, 8, Type::PROTOCOL),
        ("hoplimit", 56, 8, N),
        ("saddr", 64, 128, Type::IPV6),
        ("daddr", 192, 128, Type::IPV6),
    ],
};
pub static ARP: Header = Header {
    name: "arp",
    fields: &[
        ("htype", 0, 16, N),
        ("ptype", 16, 16, Type::ETHERTYPE),
        ("hlen", 32, 8, N),
        ("plen", 40, 8, N),
        ("operation", 48, 16, Type::ARPOP),
        ("saddr ether", 64, 48, Type::ETHER),
        ("saddr ip", 112, 32, Type::IPV4),
        ("daddr ether", 144, 48, Type::ETHER),
        ("daddr ip", 192, 32, Type::IPV4),
    ],
};
static TCP: Header = Header {
    name: "tcp",
    fields: &[
        ("sport", 0, 16, Type::SERVICE),
        ("dport", 16, 16, Type::SERVICE),
        ("sequence", 32, 32, N),
        ("ackseq", 64, 32, N),
        ("doff", 96, 4, N),
        ("reserved", 100, 4, N),
        ("flags", 104, 8, Type::TCP_FLAG),
        ("window", 112, 16, N),
        ("checksum", 128, 16, N),
        ("urgptr", 144, 16, N),
    ],
};
static UDP: Header = Header {
    name: "udp",
    fields: &[
        ("sport", 0, 16, Type::SERVICE),
        ("dport", 16, 16, Type::SERVICE),
        ("length", 32, 16, N),
        ("checksum", 48, 16, N),
    ],
};
static UDPLITE: Header = Header {
    name: "udplite",
    fields: &[
        ("sport", 0, 16, Type::SERVICE),
        ("dport", 16, 16, Type::SERVICE),
        ("csumcov", 32, 16, N),
        ("checksum", 48, 16, N),
    ],
};
static SCTP: Header = Header {
    name: "sctp",
    fields: &[
        ("sport", 0, 16, Type::SERVICE),
        ("dport", 16, 16, Type::SERVICE),
        ("vtag", 32, 32, N),
        ("checksum", 64, 32, N),
    ],
};
static DCCP: Header = Header {
    name: "dccp",
    fields: &[
        ("sport", 0, 16, Type::SERVICE),
        ("dport", 16, 16, Type::SERVICE),
    ],
};
static AH: Header = Header {
    name: "ah",
    fields: &[
        ("nexthdr", 0, 8, Type::PROTOCOL),
        ("hdrlength", 8, 8, N),
        ("reserved", 16, 16, N),
        ("spi", 32, 32, N),
        ("sequence", 64, 32, N),
    ],
};
static ESP: Header = Header {
    name: "esp",
    fields: &[("spi", 0, 32, N), ("sequence", 32, 32, N)],
};
static COMP: Header = Header {
    name: "comp",
    fields: &[
        ("nexthdr", 0, 8, Type::PROTOCOL),
        ("flags", 8, 8, Type::HEX),
        ("cpi", 16, 16, N),
    ],
};
static ICMP: Header = Header {
    name: "icmp",
    fields: &[
        ("type", 0, 8, Type::ICMP),
        ("code", 8, 8, Type::ICMP_CODE),
        ("checksum", 16, 16, N),
        ("id", 32, 16, N),
        ("sequence", 48, 16, N),
    ],
};
static ICMP6: Header = Header {
    name: "icmpv6",
    fields: &[
        ("type", 0, 8, Type::ICMP6),
        ("code", 8, 8, Type::ICMP6_CODE),
        ("checksum", 16, 16, N),
        ("id", 32, 16, N),
        ("sequence", 48, 16, N),
    ],
};
/// Where the protocol isn't known.
pub static TRANSPORT: Header = Header {
    name: "th",
    fields: &[
        ("sport", 0, 16, Type::SERVICE),
        ("dport", 16, 16, Type::SERVICE),
    ],
};

/// The header of a protocol of layer 4.
pub fn transport(protocol: u8) -> Option<&'static Header> {
    Some(match protocol {
        1 => &ICMP,
        6 => &TCP,
        17 => &UDP,
        33 => &DCCP,
        50 => &ESP,
        51 => &AH,
        58 => &ICMP6,
        108 => &COMP,
        132 => &SCTP,
        136 => &UDPLITE,
        _ => return None,
    })
}

//! Types of values: how nft writes what is in a register, a set's key or a map's data (its `src/datatype.c`, `src/meta.c`, `src/ct.c`).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::names;
use linux::bytes::{Bytes, text};

/// A type, by the number that sets keep (`enum datatypes` of nft's include/datatype.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Type(pub u32);

impl Type {
    pub const VERDICT: Type = Type(1);
    pub const NFPROTO: Type = Type(2);
    pub const INTEGER: Type = Type(4);
    pub const STRING: Type = Type(5);
    pub const IPV4: Type = Type(7);
    pub const IPV6: Type = Type(8);
    pub const ETHER: Type = Type(9);
    pub const ETHERTYPE: Type = Type(10);
    pub const ARPOP: Type = Type(11);
    pub const PROTOCOL: Type = Type(12);
    pub const SERVICE: Type = Type(13);
    pub const ICMP: Type = Type(14);
    pub const TCP_FLAG: Type = Type(15);
    pub const TIME: Type = Type(18);
    pub const MARK: Type = Type(19);
    pub const IFINDEX: Type = Type(20);
    pub const ARPHRD: Type = Type(21);
    pub const REALM: Type = Type(22);
    pub const CLASSID: Type = Type(23);
    pub const UID: Type = Type(24);
    pub const GID: Type = Type(25);
    pub const CT_STATE: Type = Type(26);
    pub const CT_DIR: Type = Type(27);
    pub const CT_STATUS: Type = Type(28);
    pub const ICMP6: Type = Type(29);
    pub const PKTTYPE: Type = Type(31);
    pub const ICMP_CODE: Type = Type(32);
    pub const ICMP6_CODE: Type = Type(33);
    pub const DEVGROUP: Type = Type(35);
    pub const DSCP: Type = Type(36);
    pub const ECN: Type = Type(37);
    pub const FIB_ADDR: Type = Type(38);
    pub const BOOLEAN: Type = Type(39);
    pub const IFNAME: Type = Type(41);
    pub const TIME_HOUR: Type = Type(44);
    pub const TIME_DAY: Type = Type(45);
    /// Not one of nft's: a number of a payload, in network order.
    pub const NUMBER: Type = Type(1000);
    /// The same in hexadecimal.
    pub const HEX: Type = Type(1001);
    /// Numbers of the machine's own order, shown as decimal ones.
    pub const HOST: Type = Type(1002);

    /// The types that a concatenation has: six bits each.
    pub fn parts(number: u32) -> Vec<Type> {
        let mut parts: Vec<Type> = (0..5)
            .map(|index| Type(number >> (index * 6) & 0x3f))
            .collect();
        parts.retain(|part| part.0 != 0);
        parts.reverse();
        parts
    }

    /// As sets name it.
    pub fn name(self) -> String {
        const NAMES: [&str; 47] = [
            "invalid",
            "verdict",
            "nf_proto",
            "bitmask",
            "integer",
            "string",
            "ll_addr",
            "ipv4_addr",
            "ipv6_addr",
            "ether_addr",
            "ether_type",
            "arp_op",
            "inet_proto",
            "inet_service",
            "icmp_type",
            "tcp_flag",
            "dccp_pkttype",
            "mh_type",
            "time",
            "mark",
            "iface_index",
            "iface_type",
            "realm",
            "classid",
            "uid",
            "gid",
            "ct_state",
            "ct_dir",
            "ct_status",
            "icmpv6_type",
            "ct_label",
            "pkt_type",
            "icmp_code",
            "icmpv6_code",
            "icmpx_code",
            "devgroup",
            "dscp",
            "ecn",
            "fib_addrtype",
            "boolean",
            "ct_event",
            "ifname",
            "igmp_type",
            "date",
            "hour",
            "day",
            "cgroupsv2",
        ];
        NAMES
            .get(self.0 as usize)
            .map_or_else(|| format!("type {}", self.0), |name| (*name).to_owned())
    }

    /// Whether numbers of it are in network order.
    pub fn is_big_endian(self) -> bool {
        matches!(
            self,
            Type::IPV4
                | Type::IPV6
                | Type::ETHER
                | Type::ETHERTYPE
                | Type::ARPOP
                | Type::PROTOCOL
                | Type::SERVICE
                | Type::ICMP
                | Type::ICMP6
                | Type::ICMP_CODE
                | Type::ICMP6_CODE
                | Type::TCP_FLAG
                | Type::NUMBER
                | Type::HEX
                | Type::DSCP
                | Type::ECN
        ) || kernel::KERNEL.big_endian
    }

    /// Bytes as a number.
    pub fn number(self, bytes: &[u8]) -> u128 {
        let push = |sum: u128, byte: &u8| sum << 8 | u128::from(*byte);
        if self.is_big_endian() {
            bytes.iter().take(16).fold(0, push)
        } else {
            bytes.iter().take(16).rev().fold(0, push)
        }
    }

    /// A number as its bytes.
    pub fn bytes(self, number: u128, length: usize) -> Vec<u8> {
        let length = length.min(16);
        if self.is_big_endian() {
            number.to_be_bytes()[16 - length..].to_vec()
        } else {
            number.to_le_bytes()[..length].to_vec()
        }
    }

    /// A value as nft writes it.
    pub fn show(self, bytes: &[u8], interfaces: &BTreeMap<u32, String>) -> String {
        let number = self.number(bytes);
        let named = |names: &[(u128, &str)]| match names.iter().find(|(value, _)| *value == number)
        {
            Some((_, name)) => (*name).to_owned(),
            None => number.to_string(),
        };
        match self {
            Type::IPV4 => Bytes(bytes)
                .ipv4(0)
                .unwrap_or(Ipv4Addr::UNSPECIFIED)
                .to_string(),
            Type::IPV6 => Bytes(bytes)
                .ipv6(0)
                .unwrap_or(Ipv6Addr::UNSPECIFIED)
                .to_string(),
            Type::ETHER => {
                let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                bytes.join(":")
            }
            Type::PROTOCOL => match names::protocol(number as u16) {
                Some(name) => name.to_owned(),
                None => number.to_string(),
            },
            Type::NFPROTO => named(&[(2, "ipv4"), (10, "ipv6")]),
            Type::ETHERTYPE => match number {
                0x0800 => "ip".into(),
                0x0806 => "arp".into(),
                0x86dd => "ip6".into(),
                0x8100 => "8021q".into(),
                0x88a8 => "8021ad".into(),
                other => format!("0x{other:04x}"),
            },
            Type::ARPOP => named(&[
                (1, "request"),
                (2, "reply"),
                (3, "rrequest"),
                (4, "rreply"),
                (8, "inrequest"),
                (9, "inreply"),
                (10, "nak"),
            ]),
            Type::ICMP => named(ICMP),
            Type::ICMP6 => named(ICMP6),
            Type::ICMP_CODE => named(&[
                (0, "net-unreachable"),
                (1, "host-unreachable"),
                (2, "prot-unreachable"),
                (3, "port-unreachable"),
                (4, "frag-needed"),
                (9, "net-prohibited"),
                (10, "host-prohibited"),
                (13, "admin-prohibited"),
            ]),
            Type::ICMP6_CODE => named(&[
                (0, "no-route"),
                (1, "admin-prohibited"),
                (3, "addr-unreachable"),
                (4, "port-unreachable"),
                (5, "policy-fail"),
                (6, "reject-route"),
            ]),
            Type::TCP_FLAG => bits(number, TCP_FLAGS, ","),
            Type::CT_STATE => bits(number, CT_STATES, ","),
            Type::CT_STATUS => bits(number, CT_STATUS, ","),
            Type::CT_DIR => named(&[(0, "original"), (1, "reply")]),
            Type::PKTTYPE => named(&[
                (0, "host"),
                (1, "broadcast"),
                (2, "multicast"),
                (3, "other"),
            ]),
            Type::ARPHRD => named(&[
                (1, "ether"),
                (512, "ppp"),
                (768, "ipip"),
                (772, "loopback"),
                (776, "sit"),
                (778, "ipgre"),
            ]),
            Type::MARK => format!("0x{number:08x}"),
            Type::IFINDEX => match interfaces.get(&(number as u32)) {
                Some(name) => format!("\"{name}\""),
                None => number.to_string(),
            },
            Type::IFNAME | Type::STRING => format!("\"{}\"", text(bytes)),
            Type::CLASSID => {
                let (major, minor) = (number >> 16 & 0xffff, number & 0xffff);
                match number {
                    0 => "none".into(),
                    0xffff_ffff => "root".into(),
                    _ => format!("{major:x}:{minor:x}"),
                }
            }
            Type::DSCP => named(DSCP),
            Type::ECN => named(&[(0, "not-ect"), (1, "ect1"), (2, "ect0"), (3, "ce")]),
            Type::FIB_ADDR => named(&[
                (0, "unspec"),
                (1, "unicast"),
                (2, "local"),
                (3, "broadcast"),
                (4, "anycast"),
                (5, "multicast"),
                (6, "blackhole"),
                (7, "unreachable"),
                (8, "prohibit"),
            ]),
            Type::BOOLEAN => named(&[(0, "missing"), (1, "exists")]),
            Type::TIME => format!("{}s", number / 1000),
            Type::TIME_DAY => named(&[
                (0, "\"Sunday\""),
                (1, "\"Monday\""),
                (2, "\"Tuesday\""),
                (3, "\"Wednesday\""),
                (4, "\"Thursday\""),
                (5, "\"Friday\""),
                (6, "\"Saturday\""),
            ]),
            Type::TIME_HOUR => {
                let (hours, minutes, seconds) = (number / 3600 % 24, number / 60 % 60, number % 60);
                match seconds {
                    0 => format!("\"{hours:02}:{minutes:02}\""),
                    seconds => format!("\"{hours:02}:{minutes:02}:{seconds:02}\""),
                }
            }
            Type::DEVGROUP if number == 0 => "\"default\"".into(),
            Type::HEX => format!("0x{number:x}"),
            _ => number.to_string(),
        }
    }
}

/// Names of the bits that are set; hexadecimal what has none.
pub fn bits(number: u128, names: &[(u128, &str)], separator: &str) -> String {
    let known: u128 = names.iter().map(|(bit, _)| bit).sum();
    let set: Vec<&str> = names
        .iter()
        .filter(|(bit, _)| number & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    if set.is_empty() || number & !known != 0 {
        return format!("0x{number:x}");
    }
    set.join(separator)
}

pub const TCP_FLAGS: &[(u128, &str)] = &[
    (1, "fin"),
    (2, "syn"),
    (4, "rst"),
    (8, "psh"),
    (16, "ack"),
    (32, "urg"),
    (64, "ecn"),
    (128, "cwr"),
];
/// In nft's order.
const CT_STATES: &[(u128, &str)] = &[
    (1, "invalid"),
    (2, "established"),
    (4, "related"),
    (8, "new"),
    (64, "untracked"),
];
const CT_STATUS: &[(u128, &str)] = &[
    (1, "expected"),
    (2, "seen-reply"),
    (4, "assured"),
    (8, "confirmed"),
    (16, "snat"),
    (32, "dnat"),
    (512, "dying"),
];
const ICMP: &[(u128, &str)] = &[
    (0, "echo-reply"),
    (3, "destination-unreachable"),
    (4, "source-quench"),
    (5, "redirect"),
    (8, "echo-request"),
    (9, "router-advertisement"),
    (10, "router-solicitation"),
    (11, "time-exceeded"),
    (12, "parameter-problem"),
    (13, "timestamp-request"),
    (14, "timestamp-reply"),
    (15, "info-request"),
    (16, "info-reply"),
    (17, "address-mask-request"),
    (18, "address-mask-reply"),
];
const ICMP6: &[(u128, &str)] = &[
    (1, "destination-unreachable"),
    (2, "packet-too-big"),
    (3, "time-exceeded"),
    (4, "parameter-problem"),
    (128, "echo-request"),
    (129, "echo-reply"),
    (130, "mld-listener-query"),
    (131, "mld-listener-report"),
    (132, "mld-listener-done"),
    (133, "nd-router-solicit"),
    (134, "nd-router-advert"),
    (135, "nd-neighbor-solicit"),
    (136, "nd-neighbor-advert"),
    (137, "nd-redirect"),
    (138, "router-renumbering"),
    (141, "ind-neighbor-solicit"),
    (142, "ind-neighbor-advert"),
    (143, "mld2-listener-report"),
];
const DSCP: &[(u128, &str)] = &[
    (0x00, "cs0"),
    (0x08, "cs1"),
    (0x10, "cs2"),
    (0x18, "cs3"),
    (0x20, "cs4"),
    (0x28, "cs5"),
    (0x30, "cs6"),
    (0x38, "cs7"),
    (0x01, "lephb"),
    (0x0a, "af11"),
    (0x0c, "af12"),
    (0x0e, "af13"),
    (0x12, "af21"),
    (0x14, "af22"),
    (0x16, "af23"),
    (0x1a, "af31"),
    (0x1c, "af32"),
    (0x1e, "af33"),
    (0x22, "af41"),
    (0x24, "af42"),
    (0x26, "af43"),
    (0x2c, "va"),
    (0x2e, "ef"),
];

//! What the numbers of the kernel are called by the tools.

/// A protocol of layer 4 as /etc/protocols and libxtables call it.
pub fn protocol(number: u16) -> Option<&'static str> {
    Some(match number {
        1 => "icmp",
        2 => "igmp",
        4 => "ipencap",
        6 => "tcp",
        17 => "udp",
        33 => "dccp",
        41 => "ipv6",
        43 => "ipv6-route",
        44 => "ipv6-frag",
        46 => "rsvp",
        47 => "gre",
        50 => "esp",
        51 => "ah",
        58 => "ipv6-icmp",
        59 => "ipv6-nonxt",
        60 => "ipv6-opts",
        89 => "ospf",
        94 => "ipip",
        103 => "pim",
        108 => "ipcomp",
        112 => "vrrp",
        115 => "l2tp",
        132 => "sctp",
        135 => "mobility-header",
        136 => "udplite",
        _ => return None,
    })
}

/// `NFPROTO_*`, include/uapi/linux/netfilter.h.
pub const INET: u8 = 1;
pub const IPV4: u8 = 2;
pub const ARP: u8 = 3;
pub const NETDEV: u8 = 5;
pub const BRIDGE: u8 = 7;
pub const IPV6: u8 = 10;

/// A family as nft calls it.
pub fn family(number: u8) -> String {
    match number {
        INET => "inet".into(),
        IPV4 => "ip".into(),
        ARP => "arp".into(),
        NETDEV => "netdev".into(),
        BRIDGE => "bridge".into(),
        IPV6 => "ip6".into(),
        other => other.to_string(),
    }
}

/// A hook of a family as nft calls it.
pub fn hook(family: u8, number: u32) -> String {
    let names: &[&str] = match family {
        ARP => &["input", "output", "forward"],
        NETDEV => &["ingress", "egress"],
        _ => &[
            "prerouting",
            "input",
            "forward",
            "output",
            "postrouting",
            "ingress",
        ],
    };
    match names.get(number as usize) {
        Some(name) => (*name).into(),
        None => number.to_string(),
    }
}

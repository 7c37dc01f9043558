//! Numbers of rtnetlink as iproute2 names them without its files in /etc (lib/rt_names.c, ip/rtm_map.c).

/// `RTN_*`, include/uapi/linux/rtnetlink.h.
pub fn route_type(number: u8) -> String {
    const NAMES: [&str; 12] = [
        "none",
        "unicast",
        "local",
        "broadcast",
        "anycast",
        "multicast",
        "blackhole",
        "unreachable",
        "prohibit",
        "throw",
        "nat",
        "xresolve",
    ];
    match NAMES.get(usize::from(number)) {
        Some(name) => (*name).to_owned(),
        None => number.to_string(),
    }
}

/// `RTPROT_*`: who made a route.
pub fn protocol(number: u8) -> String {
    let name = match number {
        0 => "unspec",
        1 => "redirect",
        2 => "kernel",
        3 => "boot",
        4 => "static",
        8 => "gated",
        9 => "ra",
        10 => "mrt",
        11 => "zebra",
        12 => "bird",
        13 => "dnrouted",
        14 => "xorp",
        15 => "ntk",
        16 => "dhcp",
        18 => "keepalived",
        42 => "babel",
        99 => "openr",
        186 => "bgp",
        187 => "isis",
        188 => "ospf",
        189 => "rip",
        192 => "eigrp",
        other => return other.to_string(),
    };
    name.to_owned()
}

/// `RT_SCOPE_*`: how far away the destination is.
pub fn scope(number: u8) -> String {
    let name = match number {
        0 => "global",
        200 => "site",
        253 => "link",
        254 => "host",
        255 => "nowhere",
        other => return other.to_string(),
    };
    name.to_owned()
}

/// `RT_TABLE_*`.
pub fn table(number: u32) -> String {
    let name = match number {
        253 => "default",
        254 => "main",
        255 => "local",
        other => return other.to_string(),
    };
    name.to_owned()
}

/// The number of a table that a user names.
pub fn table_number(name: &str) -> Option<u32> {
    match name {
        "default" => Some(253),
        "main" => Some(254),
        "local" => Some(255),
        number => number.parse().ok(),
    }
}

/// `IPPROTO_*`, as `getprotobynumber` names those that rules are made for; others as numbers.
pub fn ip_protocol(number: u8) -> String {
    let name = match number {
        1 => "icmp",
        6 => "tcp",
        17 => "udp",
        33 => "dccp",
        47 => "gre",
        50 => "esp",
        51 => "ah",
        58 => "ipv6-icmp",
        132 => "sctp",
        other => return format!("ipproto-{other}"),
    };
    name.to_owned()
}

/// A type of service as iproute2's file of DSCPs names it, else in hexadecimal.
pub fn tos(number: u8) -> String {
    let name = match number {
        0x28 => "AF11",
        0x30 => "AF12",
        0x38 => "AF13",
        0x48 => "AF21",
        0x50 => "AF22",
        0x58 => "AF23",
        0x68 => "AF31",
        0x70 => "AF32",
        0x78 => "AF33",
        0x88 => "AF41",
        0x90 => "AF42",
        0x98 => "AF43",
        0x20 => "CS1",
        0x40 => "CS2",
        0x60 => "CS3",
        0x80 => "CS4",
        0xa0 => "CS5",
        0xc0 => "CS6",
        0xe0 => "CS7",
        0xb8 => "EF",
        other => return format!("{other:#04x}"),
    };
    name.to_owned()
}

/// `RTAX_*` from 2 on: the names of a route's metrics.
pub const METRICS: [&str; 16] = [
    "mtu",
    "window",
    "rtt",
    "rttvar",
    "ssthresh",
    "cwnd",
    "advmss",
    "reordering",
    "hoplimit",
    "initcwnd",
    "features",
    "rto_min",
    "initrwnd",
    "quickack",
    "congctl",
    "fastopen_no_cookie",
];

/// `RTNH_F_*` in the order in which `ip` prints them.
const HOP_FLAGS: [(u32, &str); 7] = [
    (1, "dead"),
    (4, "onlink"),
    (2, "pervasive"),
    (8, "offload"),
    (64, "trap"),
    (16, "linkdown"),
    (32, "unresolved"),
];

/// Names of a next hop's flags.
pub fn hop_flags(flags: u32) -> Vec<&'static str> {
    HOP_FLAGS
        .into_iter()
        .filter(|(bit, _)| flags & bit != 0)
        .map(|(_, name)| name)
        .collect()
}

/// `NUD_*`, include/uapi/linux/neighbour.h: the names of the states that are set.
pub fn neighbour_states(state: u8) -> Vec<&'static str> {
    const NAMES: [(u8, &str); 8] = [
        (0x01, "INCOMPLETE"),
        (0x02, "REACHABLE"),
        (0x04, "STALE"),
        (0x08, "DELAY"),
        (0x10, "PROBE"),
        (0x20, "FAILED"),
        (0x40, "NOARP"),
        (0x80, "PERMANENT"),
    ];
    NAMES
        .into_iter()
        .filter(|(bit, _)| state & bit != 0)
        .map(|(_, name)| name)
        .collect()
}

/// `NTF_*` in the order in which `ip` prints them.
pub fn neighbour_flags(flags: u32) -> Vec<&'static str> {
    const NAMES: [(u32, &str); 7] = [
        (0x80, "router"),
        (0x08, "proxy"),
        (0x100, "managed"),
        (0x10, "extern_learn"),
        (0x20, "offload"),
        (0x01, "use"),
        (0x40, "sticky"),
    ];
    NAMES
        .into_iter()
        .filter(|(bit, _)| flags & bit != 0)
        .map(|(_, name)| name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_name_is_a_number() {
        assert_eq!(route_type(12), "12");
        assert_eq!(protocol(5), "5");
        assert_eq!(scope(100), "100");
        assert_eq!(table(100), "100");
        assert_eq!(table_number("main"), Some(254));
        assert_eq!(table_number("somewhere"), None);
        assert_eq!(neighbour_states(0), [""; 0]);
        assert_eq!(hop_flags(1 | 4 | 16), ["dead", "onlink", "linkdown"]);
    }
}

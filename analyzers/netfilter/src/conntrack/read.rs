//! What connections of all kernels that track them are made of and counted by.

use std::net::IpAddr;

use linux::bytes::Bytes;

use super::{Connection, HW_OFFLOAD_NAME, Icmp, NamespaceCounts, STATUS, Tuple};

impl NamespaceCounts {
    pub fn add(&mut self, connection: &Connection) {
        self.entries += 1;
        *self
            .by_proto
            .entry(connection.proto.to_owned())
            .or_default() += 1;
        if let Some(state) = &connection.state {
            let name = format!("{} {state}", connection.proto);
            *self.by_state.entry(name).or_default() += 1;
        }
        self.unreplied += u64::from(!connection.has("SEEN_REPLY"));
        self.assured += u64::from(connection.has("ASSURED"));
        self.source_nat += u64::from(connection.has("SRC_NAT"));
        self.destination_nat += u64::from(connection.has("DST_NAT"));
    }
}

/// The bit of [`HW_OFFLOAD_NAME`].
const HW_OFFLOAD: u32 = 15;

/// The names of the bits that are set in `status`.
pub fn status_names(status: u64) -> Vec<String> {
    (0..)
        .zip(STATUS)
        .chain([(HW_OFFLOAD, HW_OFFLOAD_NAME)])
        .filter(|(bit, _)| status >> bit & 1 != 0)
        .map(|(_, name)| name.to_owned())
        .collect()
}

/// The name of a state; its number where it has none.
pub fn named(names: &[&str], state: u64) -> String {
    let name = usize::try_from(state)
        .ok()
        .and_then(|index| names.get(index));
    name.map_or_else(|| state.to_string(), |name| (*name).to_owned())
}

/// `l3proto_name`, net/netfilter/nf_conntrack_standalone.c.
pub fn l3_name(number: u16) -> &'static str {
    match number {
        2 => "ipv4",
        10 => "ipv6",
        _ => "unknown",
    }
}

impl Tuple {
    /// Of addresses and what stands for ports in the protocol: two numbers in network order.
    pub fn new(
        l3num: u16,
        protonum: u8,
        addresses: (IpAddr, IpAddr),
        (from, to): (Bytes<'_>, Bytes<'_>),
        counters: Option<(u64, u64)>,
    ) -> Self {
        let (sport, dport) = (from.be16(0), to.be16(0));
        let mut out = Tuple {
            src: addresses.0,
            dst: addresses.1,
            sport: None,
            dport: None,
            icmp: None,
            keys: None,
            packets: counters.map(|(packets, _)| packets),
            bytes: counters.map(|(_, bytes)| bytes),
            l3num,
            protonum,
        };
        match protonum {
            1 | 58 => {
                out.icmp = Some(Icmp {
                    kind: to.u8(0).unwrap_or(0),
                    code: to.u8(1).unwrap_or(0),
                    id: sport.unwrap_or(0),
                });
            }
            47 => out.keys = sport.zip(dport),
            6 | 17 | 33 | 132 | 136 => (out.sport, out.dport) = (sport, dport),
            _ => {}
        }
        out
    }
}

/// How many chains a table has of those that its size says. Where the last one is its own, all are; else they are counted from the first
/// one, up to where a run of them isn't the table's.
pub fn own_chains(size: u64, is_own: impl Fn(u64) -> bool) -> u64 {
    /// Damage of single chains is no end of a table.
    const RUN: u64 = 64;
    if size == 0 || is_own(size - 1) {
        return size;
    }
    let mut end = 0;
    for index in 0..size {
        if is_own(index) {
            end = index + 1;
        } else if index - end >= RUN {
            return end;
        }
    }
    size
}

#[cfg(test)]
mod tests {
    use super::own_chains;

    #[test]
    fn tables_end_where_chains_are_no_longer_theirs() {
        assert_eq!(own_chains(0, |_| false), 0);
        assert_eq!(own_chains(512, |_| true), 512);
        assert_eq!(own_chains(1 << 32, |index| index < 512), 512);
        // Single chains are damaged, the last one among them.
        assert_eq!(own_chains(512, |index| index % 100 != 11), 512);
        assert_eq!(own_chains(512, |_| false), 0);
    }
}

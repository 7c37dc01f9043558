//! Whether a filter takes a connection.

use std::net::IpAddr;

use super::super::{Connection, Expectation, Tuple, UNREPLIED, l4_name, read};
use super::{Filter, Mark, Network};

impl Filter {
    /// Whether a connection is wanted.
    pub fn takes(&self, connection: &Connection) -> bool {
        let tuples = [&connection.original, &connection.reply];
        let state = |wanted: &String| {
            let named = connection
                .status
                .iter()
                .any(|name| name.eq_ignore_ascii_case(wanted));
            let unreplied = wanted.eq_ignore_ascii_case(UNREPLIED) && !connection.has("SEEN_REPLY");
            let own = connection
                .state
                .as_ref()
                .is_some_and(|own| own.eq_ignore_ascii_case(wanted));
            named || unreplied || own
        };
        self.takes_proto(connection.l3proto, connection.proto, connection.protonum)
            && self.state.as_ref().is_none_or(state)
            && self.takes_ends(&tuples)
            && self
                .zone
                .is_none_or(|wanted| connection.zone.is_some_and(|zone| zone.id == wanted))
            && self
                .mark
                .is_none_or(|wanted| connection.mark.is_some_and(|mark| wanted.takes(mark)))
    }

    /// Whether an expected connection is wanted. It has no state, zone and mark of its own yet.
    pub fn takes_expected(&self, expected: &Expectation) -> bool {
        let tuple = &expected.tuple;
        self.state.is_none()
            && self.zone.is_none()
            && self.mark.is_none()
            && self.takes_proto(
                read::l3_name(tuple.l3num),
                l4_name(tuple.protonum),
                tuple.protonum,
            )
            && self.takes_ends(&[tuple])
    }

    fn takes_proto(&self, l3: &str, l4: &str, number: u8) -> bool {
        self.proto.as_ref().is_none_or(|wanted| {
            let named = |name: &str| name.eq_ignore_ascii_case(wanted);
            named(l3) || named(l4) || wanted.parse() == Ok(number)
        })
    }

    fn takes_ends(&self, tuples: &[&Tuple]) -> bool {
        let mut ends = tuples.iter();
        let address = self
            .address
            .is_none_or(|wanted| ends.any(|tuple| wanted.has(tuple.src) || wanted.has(tuple.dst)));
        address
            && self.port.is_none_or(|wanted| {
                let wanted = Some(wanted);
                tuples
                    .iter()
                    .any(|tuple| tuple.sport == wanted || tuple.dport == wanted)
            })
    }
}

impl Network {
    fn has(self, other: IpAddr) -> bool {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 4),
            IpAddr::V6(address) => (address.to_bits(), 6),
        };
        let ((own, family), (other, other_family)) = (bits(self.address), bits(other));
        let mask = u128::MAX
            .checked_shl(128 - u32::from(self.length))
            .unwrap_or(0);
        family == other_family && (own ^ other) & mask == 0
    }
}

impl Mark {
    fn takes(self, mark: u32) -> bool {
        mark & self.mask == self.value
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Mark, Network};

    #[test]
    fn networks_are_addresses_with_a_prefix() {
        let has = |network: &str, address: &str| {
            let network: Network = network.parse().expect("a network");
            network.has(address.parse().expect("an address"))
        };
        assert!(has("10.0.0.0/8", "10.255.0.1"));
        assert!(!has("10.0.0.0/8", "11.0.0.1"));
        assert!(has("10.0.0.1", "10.0.0.1"));
        assert!(!has("10.0.0.1", "10.0.0.2"));
        assert!(has("0.0.0.0/0", "1.2.3.4"));
        assert!(!has("0.0.0.0/0", "::1"));
        assert!(has("fe80::/10", "febf::1"));
        assert!(!has("fe80::/10", "fec0::1"));
        assert!("10.0.0.0/33".parse::<Network>().is_err());
        assert!("10.0.0/8".parse::<Network>().is_err());
    }

    #[test]
    fn marks_may_have_a_mask() {
        let takes = |wanted: &str, mark| wanted.parse::<Mark>().expect("a mark").takes(mark);
        assert!(takes("0x10/0xf0", 0x1f));
        assert!(!takes("0x10/0xf0", 0x2f));
        assert!(takes("7", 7));
        assert!(!takes("7", 0x17));
        assert!("0x11/0x10".parse::<Mark>().is_err());
        assert!("x".parse::<Mark>().is_err());
    }
}

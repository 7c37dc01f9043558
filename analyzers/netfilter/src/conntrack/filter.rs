//! Which connections are wanted.

use std::net::IpAddr;

use super::{
    Connection, DCCP, Expectation, HW_OFFLOAD_NAME, L4, SCTP, STATUS, TCP, Tuple, UNREPLIED,
};
use crate::names;

/// What connections must have to be shown. An empty one takes all.
#[derive(Debug, Default)]
pub struct Filter {
    pub proto: Option<String>,
    pub state: Option<String>,
    pub address: Option<Network>,
    pub port: Option<u16>,
    pub zone: Option<u16>,
    pub mark: Option<Mark>,
}

/// An address, or all that begin as it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// How many bits count.
    length: u8,
}

/// A mark, and which of its bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    value: u32,
    mask: u32,
}

impl Filter {
    /// Whether it leaves anything out.
    pub fn is_empty(&self) -> bool {
        self.proto.is_none()
            && self.state.is_none()
            && self.address.is_none()
            && self.port.is_none()
            && self.zone.is_none()
            && self.mark.is_none()
    }

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
                super::l3_name(tuple.l3num),
                super::l4_name(tuple.protonum),
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

impl std::str::FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address
            .parse()
            .map_err(|_| format!("{address:?} is no IP address"))?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => most,
            Some(length) => length
                .parse()
                .ok()
                .filter(|length| *length <= most)
                .ok_or_else(|| format!("a prefix has 0 to {most} bits, and not {length:?}"))?,
        };
        Ok(Network { address, length })
    }
}

impl Mark {
    fn takes(self, mark: u32) -> bool {
        mark & self.mask == self.value
    }
}

impl std::str::FromStr for Mark {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            let number = match text.strip_prefix("0x") {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => text.parse(),
            };
            number.map_err(|_| format!("{text:?} is no number of 32 bits"))
        };
        let (value, mask) = match text.split_once('/') {
            Some((value, mask)) => (number(value)?, number(mask)?),
            None => (number(text)?, u32::MAX),
        };
        if value & !mask != 0 {
            return Err(format!("no mark is {value:#x} under the mask {mask:#x}"));
        }
        Ok(Mark { value, mask })
    }
}

/// A protocol as connections have it: by name, by number, or a family.
///
/// # Errors
///
/// It is none, which the error says with all that are.
pub fn protocol(text: &str) -> Result<String, String> {
    let known: Vec<&str> = ["ipv4", "ipv6"]
        .into_iter()
        .chain(L4.iter().map(|number| super::l4_name(*number)))
        .chain(["unknown"])
        .collect();
    if text.parse::<u8>().is_ok() || known.iter().any(|name| name.eq_ignore_ascii_case(text)) {
        return Ok(text.to_owned());
    }
    // What connection tracking doesn't know by name is `unknown` to /proc, and has a number.
    match (0..=255).find(|number| names::protocol(*number) == Some(text)) {
        Some(number) => Ok(number.to_string()),
        None => Err(format!("known are {}, and numbers", known.join(", "))),
    }
}

/// A state or a bit of the status as connections have it.
///
/// # Errors
///
/// It is none, which the error says with all that are.
pub fn state(text: &str) -> Result<String, String> {
    let mut known: Vec<&str> = Vec::new();
    let all = TCP.iter().chain(&SCTP).chain(&DCCP).chain(&STATUS);
    for name in all.chain(&[HW_OFFLOAD_NAME, UNREPLIED]) {
        if !known.contains(name) {
            known.push(name);
        }
    }
    if known.iter().any(|name| name.eq_ignore_ascii_case(text)) {
        Ok(text.to_owned())
    } else {
        Err(format!("known are {}", known.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::{Mark, Network, protocol, state};

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

    #[test]
    fn what_is_unknown_is_answered_by_what_is_known() {
        assert_eq!(protocol("TCP").as_deref(), Ok("TCP"));
        assert_eq!(protocol("132").as_deref(), Ok("132"));
        assert_eq!(protocol("esp").as_deref(), Ok("50"));
        assert!(protocol("bogus").is_err_and(|error| error.contains("udplite")));
        assert!(protocol("256").is_err());
        assert!(state("assured").is_ok());
        assert!(state("bogus").is_err_and(|error| error.contains("SYN_SENT, ")));
    }
}

//! Which connections are wanted.

use std::net::IpAddr;

use super::{DCCP, HW_OFFLOAD_NAME, L4, SCTP, STATUS, TCP, UNREPLIED};
use crate::names;

#[cfg(any(kernel_has = "nf_conntrack_net", kernel_has = "ip_conntrack.tuplehash"))]
mod takes;

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
    use super::{protocol, state};

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

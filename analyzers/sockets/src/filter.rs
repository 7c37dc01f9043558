//! Which sockets are wanted: options as people who know `ss` expect them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use kstruct::Memory;
use linux::Faults;
use linux::app::unknown;

use crate::inet::Ends;
use crate::sock::Base;

/// Which sockets are wanted.
#[derive(clap::Args)]
#[command(next_help_heading = "Which sockets")]
pub struct Filter {
    /// Only those in these states: established, syn-sent, syn-recv, fin-wait-1, fin-wait-2, time-wait, closed, close-wait, last-ack,
    /// listening, closing; or all, connected, synchronized, bucket, big as of ss
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    pub state: Vec<States>,
    /// Only those that listen
    #[arg(short, long)]
    pub listening: bool,
    /// Only IPv4
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// Only IPv6
    #[arg(short = '6', long)]
    pub ipv6: bool,
    /// Only those with this port at either end
    #[arg(long, value_name = "PORT", value_delimiter = ',')]
    pub port: Vec<u16>,
    /// Only those with this port of their own
    #[arg(long, value_name = "PORT", value_delimiter = ',')]
    pub sport: Vec<u16>,
    /// Only those whose peer has this port
    #[arg(long, value_name = "PORT", value_delimiter = ',')]
    pub dport: Vec<u16>,
    /// Only those with this address at either end: an address, or a network as 10.0.0.0/8
    #[arg(long, value_name = "ADDRESS")]
    pub address: Vec<Network>,
    /// Only those with this address of their own
    #[arg(long, value_name = "ADDRESS")]
    pub src: Vec<Network>,
    /// Only those whose peer has this address
    #[arg(long, value_name = "ADDRESS")]
    pub dst: Vec<Network>,
    /// Only those that these processes hold
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub pid: Vec<i32>,
    /// Only those that processes of this name hold
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub process: Vec<String>,
    /// Only those that no process holds
    #[arg(long)]
    pub orphans: bool,
    /// Only those in this network namespace: its inode number, as in `net:[4026531840]`
    #[arg(long, value_name = "INODE", value_delimiter = ',', value_parser = linux::options::netns)]
    pub netns: Vec<u64>,
    /// Only this one: the address of its struct sock, in hexadecimal
    #[arg(long, value_name = "ADDRESS", value_parser = hexadecimal)]
    pub sock: Option<u64>,
    /// Whether there is one with the ports and addresses that are asked for.
    #[arg(skip)]
    seen: AtomicBool,
    /// Each of these, when they were asked about.
    #[arg(skip)]
    ends: OnceLock<Vec<WantedEnd>>,
}

/// A port or an address that is asked for.
struct WantedEnd {
    /// What it is in words, which says at which end, too.
    what: &'static str,
    local: bool,
    remote: bool,
    is: Is,
    /// Whether a socket has it.
    seen: AtomicBool,
}

enum Is {
    Port(u16),
    Network(Network),
}

impl fmt::Display for Is {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Is::Port(port) => port.fmt(f),
            Is::Network(network) => network.fmt(f),
        }
    }
}

impl WantedEnd {
    fn is_of(&self, ends: &Ends) -> bool {
        match &self.is {
            // Who listens has no peer, and that has no port 0.
            Is::Port(0) if self.local => ends.local_port == 0,
            Is::Port(port) => {
                self.local && ends.local_port == *port || self.remote && ends.remote_port == *port
            }
            Is::Network(network) => {
                self.local && network.has(ends.local) || self.remote && network.has(ends.remote)
            }
        }
    }
}

/// To write what is there already would have each thread wait for the others.
fn note(seen: &AtomicBool) {
    if !seen.load(Ordering::Relaxed) {
        seen.store(true, Ordering::Relaxed);
    }
}

fn hexadecimal(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u64::from_str_radix(digits, 16).map_err(|error| format!("not hexadecimal: {error}"))
}

impl Filter {
    /// That there are the namespaces and processes that it names.
    ///
    /// # Errors
    ///
    /// There are not, which the error says.
    pub fn check(&self, k: &Memory, faults: &mut Faults) -> anyhow::Result<()> {
        if !self.netns.is_empty() {
            let inodes = linux::net::inodes(k, faults);
            if let Some(wanted) = self.netns.iter().find(|wanted| !inodes.contains(wanted)) {
                return Err(unknown("network namespace", wanted, inodes));
            }
        }
        if self.pid.is_empty() && self.process.is_empty() {
            return Ok(());
        }
        // What can't be read of the list is a fault where holders are looked for, and where that isn't done since there seems to be no such process.
        let processes: Vec<(i32, String)> = linux::task::leaders(k)
            .map_while(Result::ok)
            .map(|task| (task.pid(), task.comm().to_string()))
            .collect();
        let mut pids = self.pid.iter();
        if let Some(wanted) = pids.find(|wanted| processes.iter().all(|(pid, _)| pid != *wanted)) {
            linux::task::groups(k, faults);
            anyhow::bail!("there is no process {wanted}");
        }
        let mut names = self.process.iter();
        if let Some(wanted) = names.find(|wanted| processes.iter().all(|(_, name)| name != *wanted))
        {
            linux::task::groups(k, faults);
            let mut names: Vec<&String> = processes.iter().map(|(_, name)| name).collect();
            names.sort();
            // The nearest first: there may be hundreds.
            names.sort_by_key(|name| distance(wanted, name));
            return Err(unknown("process of the name", wanted, names));
        }
        Ok(())
    }

    /// Whether all sockets are wanted.
    pub fn is_empty(&self) -> bool {
        let lists = self.state.is_empty() && self.pid.is_empty() && self.process.is_empty();
        let switches = self.listening || self.orphans || self.ipv4 || self.ipv6;
        lists && !switches && self.netns.is_empty() && self.sock.is_none() && !self.names_ends()
    }

    /// Whether ports or addresses are asked for.
    fn names_ends(&self) -> bool {
        let ports = [&self.port, &self.sport, &self.dport];
        let networks = [&self.address, &self.src, &self.dst];
        ports.iter().any(|ports| !ports.is_empty())
            || networks.iter().any(|networks| !networks.is_empty())
    }

    /// That something was found, if one socket was asked for, and that there is one with the ports and addresses that were, whatever else
    /// is wanted of it. Whether there is one with each of them: which there isn't is said.
    ///
    /// # Errors
    ///
    /// There is not: that is not that nothing is unusual about it, and may be that it was mistyped, or that it could not be read.
    pub fn found(&self, count: usize, faults: &Faults) -> anyhow::Result<bool> {
        let among = match faults.count() {
            0 => "",
            _ => " among those that could be read",
        };
        if let Some(sock) = self.sock
            && count == 0
        {
            anyhow::bail!(
                "there is no such socket at {sock:#x}{among}, or the other options don't want it"
            );
        }
        if !self.names_ends() {
            return Ok(true);
        }
        let wanted = self.ends();
        let missing: Vec<String> = wanted
            .iter()
            .filter(|end| !end.seen.load(Ordering::Relaxed))
            .map(|end| format!("{} {}", end.what, end.is))
            .collect();
        let missing = format!("no socket{among} has {}", missing.join(", nor "));
        let is_seen = |end: &WantedEnd| end.seen.load(Ordering::Relaxed);
        if !self.seen.load(Ordering::Relaxed) {
            if !wanted.iter().all(is_seen) {
                anyhow::bail!(missing);
            }
            let wanted: Vec<String> = wanted
                .chunk_by(|one, other| one.what == other.what)
                .map(|same| {
                    let ends: Vec<String> = same.iter().map(|end| end.is.to_string()).collect();
                    let what = same.first().map_or("", |end| end.what);
                    format!("{what} {}", ends.join(" or "))
                })
                .collect();
            anyhow::bail!("no socket{among} has {}", wanted.join(" and "));
        }
        let has_all = wanted.iter().all(is_seen);
        if !has_all {
            eprintln!("{missing}");
        }
        Ok(has_all)
    }

    /// The ports and addresses that are asked for.
    fn ends(&self) -> &[WantedEnd] {
        self.ends.get_or_init(|| {
            let end = |(what, local, remote), is| WantedEnd {
                what,
                local,
                remote,
                is,
                seen: AtomicBool::new(false),
            };
            let ports = [
                (("port", true, true), &self.port),
                (("own port", true, false), &self.sport),
                (("peer's port", false, true), &self.dport),
            ];
            let networks = [
                (("address", true, true), &self.address),
                (("own address", true, false), &self.src),
                (("peer's address", false, true), &self.dst),
            ];
            let ports = ports
                .into_iter()
                .flat_map(|(what, ports)| ports.iter().map(move |port| end(what, Is::Port(*port))));
            let networks = networks.into_iter().flat_map(|(what, networks)| {
                let networks = networks.iter();
                networks.map(move |network| end(what, Is::Network(*network)))
            });
            ports.chain(networks).collect()
        })
    }

    /// Whether a socket is wanted. `ends` are those of IPv4 and IPv6; a question about addresses, ports or the version of IP keeps all
    /// others out.
    pub fn wants(&self, base: &Base, ends: Option<&Ends>) -> bool {
        self.wants_ends(base, ends) && self.wants_base(base)
    }

    fn wants_base(&self, base: &Base) -> bool {
        let any = |wanted: bool, matches: &dyn Fn() -> bool| !wanted || matches();
        any(!self.state.is_empty(), &|| {
            self.state.iter().any(|states| states.has(base.state))
        }) && any(self.listening, &|| base.state == "LISTEN")
            && any(self.orphans, &|| base.holders.is_empty())
            && any(!self.netns.is_empty(), &|| {
                base.netns.is_some_and(|inode| self.netns.contains(&inode))
            })
            && self.sock.is_none_or(|sock| sock == base.address)
            && any(!self.pid.is_empty(), &|| {
                let mut holders = base.holders.iter();
                holders.any(|holder| self.pid.contains(&holder.pid))
            })
            && any(!self.process.is_empty(), &|| {
                base.holders.iter().any(|holder| {
                    let mut names = self.process.iter();
                    names.any(|name| name.as_bytes() == holder.comm.bytes())
                })
            })
    }

    fn wants_ends(&self, base: &Base, ends: Option<&Ends>) -> bool {
        let names_ends = self.names_ends();
        let Some(ends) = ends else {
            return !(self.ipv4 || self.ipv6 || names_ends);
        };
        if names_ends {
            if !self.has_ends(ends) {
                return false;
            }
            note(&self.seen);
        }
        !(self.ipv4 && base.family != "inet" || self.ipv6 && base.family != "inet6")
    }

    fn has_ends(&self, ends: &Ends) -> bool {
        let mut has_all = true;
        for same in self.ends().chunk_by(|one, other| one.what == other.what) {
            let mut has_one = false;
            for wanted in same {
                if wanted.is_of(ends) {
                    has_one = true;
                    note(&wanted.seen);
                }
            }
            has_all &= has_one;
        }
        has_all
    }
}

/// In how many letters two names differ, at least: how many of either the other doesn't have, wherever they are.
fn distance(one: &str, other: &str) -> usize {
    let lacks = |one: &str, other: &str| {
        let mut left: Vec<char> = other.chars().collect();
        let mut lacks = 0;
        for char in one.chars() {
            match left.iter().position(|other| *other == char) {
                Some(place) => drop(left.swap_remove(place)),
                None => lacks += 1,
            }
        }
        lacks
    };
    lacks(one, other) + lacks(other, one)
}

/// Some states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct States(Vec<&'static str>);

/// Names of states that options have, and what is shown for them.
const NAMES: [(&str, &str); 11] = [
    ("established", "ESTAB"),
    ("syn-sent", "SYN-SENT"),
    ("syn-recv", "SYN-RECV"),
    ("fin-wait-1", "FIN-WAIT-1"),
    ("fin-wait-2", "FIN-WAIT-2"),
    ("time-wait", "TIME-WAIT"),
    ("closed", "UNCONN"),
    ("close-wait", "CLOSE-WAIT"),
    ("last-ack", "LAST-ACK"),
    ("listening", "LISTEN"),
    ("closing", "CLOSING"),
];

impl States {
    /// Whether a state, as it is shown, is among them.
    pub fn has(&self, state: &str) -> bool {
        self.0.contains(&state)
    }
}

impl FromStr for States {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = text.to_ascii_lowercase().replace('_', "-");
        let all = || NAMES.iter().map(|(_, shown)| *shown);
        let without = |out: &[&str]| all().filter(|state| !out.contains(state)).collect();
        let states = match &*wanted {
            "all" => all().collect(),
            "connected" => without(&["LISTEN", "UNCONN"]),
            "synchronized" => without(&["LISTEN", "UNCONN", "SYN-SENT"]),
            "bucket" => vec!["SYN-RECV", "TIME-WAIT"],
            "big" => without(&["SYN-RECV", "TIME-WAIT"]),
            other => NAMES
                .iter()
                .filter(|(name, shown)| other == *name || other == shown.to_ascii_lowercase())
                .map(|(_, shown)| *shown)
                .collect(),
        };
        if states.is_empty() {
            let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
            return Err(format!(
                "{text:?} is no state: there is {}; and all, connected, synchronized, bucket, big",
                names.join(", ")
            ));
        }
        Ok(States(states))
    }
}

/// An address, or all that begin as it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    /// Whether an address is in it. Those of IPv4 that an IPv6 socket has (`::ffff:10.0.0.1`) count as what they are.
    pub fn has(self, address: IpAddr) -> bool {
        let prefix = |value: u128, width: u32| {
            value
                .checked_shr(width.saturating_sub(self.bits))
                .unwrap_or(0)
        };
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                prefix(own.to_bits().into(), 32) == prefix(other.to_bits().into(), 32)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                prefix(own.to_bits(), 128) == prefix(other.to_bits(), 128)
            }
            (IpAddr::V4(_), IpAddr::V6(other)) => other
                .to_ipv4_mapped()
                .is_some_and(|other| self.has(other.into())),
            (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = if self.address.is_ipv4() { 32 } else { 128 };
        write!(f, "{}", self.address)?;
        if self.bits != most {
            write!(f, "/{}", self.bits)?;
        }
        Ok(())
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address = address.trim_start_matches('[').trim_end_matches(']');
        let address: IpAddr = address
            .parse()
            .map_err(|_| format!("{address:?} is no address"))?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => bits
                .parse()
                .ok()
                .filter(|bits| *bits <= most)
                .ok_or_else(|| format!("{bits:?} is no length of a prefix"))?,
        };
        Ok(Network { address, bits })
    }
}

#[cfg(test)]
mod tests {
    use super::{Network, States};

    #[test]
    fn networks_have_their_addresses() {
        let has = |network: &str, address: &str| {
            let network: Network = network.parse().unwrap_or_else(|error| panic!("{error}"));
            let address = address.parse().unwrap_or_else(|error| panic!("{error}"));
            network.has(address)
        };
        assert!(has("10.0.0.0/8", "10.255.1.2") && !has("10.0.0.0/8", "11.0.0.0"));
        assert!(has("10.0.0.1", "10.0.0.1") && !has("10.0.0.1", "10.0.0.2"));
        assert!(has("0.0.0.0/0", "1.2.3.4") && has("10.0.0.0/8", "::ffff:10.1.1.1"));
        assert!(has("fd00::/8", "fd12::1") && !has("fd00::/8", "fe80::1") && has("::/0", "::1"));
        assert!(!has("::/0", "1.2.3.4"));
        for bad in ["10.0.0.0/33", "10.0", "x", "::/129", "::/-1"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn states_have_ss_names() {
        let has = |states: &str, state: &str| {
            let states: States = states.parse().unwrap_or_else(|error| panic!("{error}"));
            states.has(state)
        };
        assert!(has("established", "ESTAB") && has("ESTAB", "ESTAB") && has("listen", "LISTEN"));
        assert!(has("connected", "SYN-SENT") && !has("synchronized", "SYN-SENT"));
        assert!(!has("connected", "LISTEN") && has("bucket", "TIME-WAIT") && has("all", "LISTEN"));
        assert!("open".parse::<States>().is_err());
    }
}

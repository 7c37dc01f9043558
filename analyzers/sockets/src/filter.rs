//! Which sockets are wanted: options as people who know `ss` expect them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
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
    #[arg(long, value_name = "INODE", value_delimiter = ',')]
    pub netns: Vec<u64>,
    /// Only this one: the address of its struct sock, in hexadecimal
    #[arg(long, value_name = "ADDRESS", value_parser = hexadecimal)]
    pub sock: Option<u64>,
    /// Whether there is one with the ports and addresses that are asked for.
    #[arg(skip)]
    seen: AtomicBool,
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
        // What can't be read of the list is a fault where holders are looked for.
        let processes: Vec<(i32, String)> = linux::task::leaders(k)
            .map_while(Result::ok)
            .map(|task| (task.pid(), task.comm().to_string()))
            .collect();
        let mut pids = self.pid.iter();
        if let Some(wanted) = pids.find(|wanted| processes.iter().all(|(pid, _)| pid != *wanted)) {
            anyhow::bail!("there is no process {wanted}");
        }
        let mut names = self.process.iter();
        if let Some(wanted) = names.find(|wanted| processes.iter().all(|(_, name)| name != *wanted))
        {
            anyhow::bail!("there is no process of the name {wanted}");
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
    /// is wanted of it.
    ///
    /// # Errors
    ///
    /// There is not: that is not that nothing is unusual about it, and may be that it was mistyped.
    pub fn found(&self, count: usize) -> anyhow::Result<()> {
        if let Some(sock) = self.sock
            && count == 0
        {
            anyhow::bail!(
                "there is no such socket at {sock:#x}, or the other options don't want it"
            );
        }
        if self.names_ends() && !self.seen.load(Ordering::Relaxed) {
            anyhow::bail!("no socket has {}", self.wanted_ends());
        }
        Ok(())
    }

    /// The ports and addresses that are asked for, in words.
    fn wanted_ends(&self) -> String {
        let ports = [
            (&self.port, "port"),
            (&self.sport, "own port"),
            (&self.dport, "peer's port"),
        ];
        let networks = [
            (&self.address, "address"),
            (&self.src, "own address"),
            (&self.dst, "peer's address"),
        ];
        let ports = ports.iter().filter(|(ports, _)| !ports.is_empty());
        let ports = ports.map(|(ports, what)| {
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            format!("{what} {}", ports.join(" or "))
        });
        let networks = networks.iter().filter(|(networks, _)| !networks.is_empty());
        let networks = networks.map(|(networks, what)| {
            let networks: Vec<String> = networks.iter().map(Network::to_string).collect();
            format!("{what} {}", networks.join(" or "))
        });
        let all: Vec<String> = ports.chain(networks).collect();
        all.join(" and ")
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
            // To write what is there already would have each thread wait for the others.
            if !self.seen.load(Ordering::Relaxed) {
                self.seen.store(true, Ordering::Relaxed);
            }
        }
        !(self.ipv4 && base.family != "inet" || self.ipv6 && base.family != "inet6")
    }

    fn has_ends(&self, ends: &Ends) -> bool {
        let port = |ports: &[u16], found: &[u16]| {
            ports.is_empty() || found.iter().any(|port| ports.contains(port))
        };
        let address = |networks: &[Network], found: &[IpAddr]| {
            networks.is_empty()
                || found
                    .iter()
                    .any(|address| networks.iter().any(|network| network.has(*address)))
        };
        port(&self.port, &[ends.local_port, ends.remote_port])
            && port(&self.sport, &[ends.local_port])
            && port(&self.dport, &[ends.remote_port])
            && address(&self.address, &[ends.local, ends.remote])
            && address(&self.src, &[ends.local])
            && address(&self.dst, &[ends.remote])
    }
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
            return Err(format!("{text:?} is no state"));
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

//! `netfilter`: firewalls and tracked connections of a dump.
#![forbid(unsafe_code)]

mod conntrack;
mod hooks;
mod names;
mod net;
#[cfg(kernel_has = "nft_rule.dlen")]
mod nft;
mod report;
mod xtables;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use linux::app::Common;

/// Shows the firewall rules of a dump with their counters, who hooks into the packet path, and tracked connections, of all
/// network namespaces.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  netfilter --core vmcore                          rules, hooks, and how many connections there are
  netfilter --core vmcore iptables --table nat     as `iptables-legacy-save -c -t nat`
  netfilter --core vmcore nft --table filter       as `nft -a list ruleset`
  netfilter --core vmcore hooks                    as `nft list hooks`
  netfilter --core vmcore conntrack --proto tcp --state SYN_SENT --port 443
  netfilter --core vmcore counts --address 10.1.0.0/16 --mark 0x10/0xf0
  netfilter --core vmcore conntrack --format json | jq '.conntrack.connections | group_by(.original.src) | map(length) | max'"
)]
struct Args {
    #[command(flatten)]
    common: Common,
    /// What to show; without any all but single connections, or if connections are filtered, these
    #[arg(value_enum, value_name = "WHAT")]
    what: Vec<What>,
    /// Only this network namespace, by its inode number
    #[arg(long, value_name = "INODE", value_parser = linux::options::netns)]
    netns: Option<u64>,
    /// Only tables of this name
    #[arg(long, value_name = "NAME")]
    table: Option<String>,
    /// Only chains of this name
    #[arg(long, value_name = "NAME")]
    chain: Option<String>,
    /// Rules of nf_tables as their expressions, as `nft --debug=netlink` writes them
    #[arg(long)]
    expressions: bool,
    /// Only connections of this protocol: a name, a number, ipv4 or ipv6
    #[arg(long, value_name = "PROTO", value_parser = conntrack::protocol, help_heading = "Connections")]
    proto: Option<String>,
    /// Only connections in this state: ESTABLISHED, or a bit of their status (ASSURED, SRC_NAT), or UNREPLIED
    #[arg(long, value_name = "STATE", value_parser = conntrack::state, help_heading = "Connections")]
    state: Option<String>,
    /// Only connections with this address in either direction, translated or not
    #[arg(long, value_name = "IP[/BITS]", help_heading = "Connections")]
    address: Option<conntrack::Network>,
    /// Only connections with this port in either direction
    #[arg(long, value_name = "PORT", help_heading = "Connections")]
    port: Option<u16>,
    /// Only connections of this zone
    #[arg(long, value_name = "NUMBER", help_heading = "Connections")]
    zone: Option<u16>,
    /// Only connections with this mark; with a mask, those whose mark has that value under it
    #[arg(long, value_name = "MARK[/MASK]", help_heading = "Connections")]
    mark: Option<conntrack::Mark>,
}

/// What to show.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Tables of iptables-legacy and its like
    Iptables,
    /// The ruleset of nf_tables
    Nft,
    /// Functions at the hooks
    Hooks,
    /// Tracked connections, one by one
    Conntrack,
    /// How many connections there are of each kind
    Counts,
}

impl AsRef<Common> for Args {
    fn as_ref(&self) -> &Common {
        &self.common
    }
}

fn main() -> ExitCode {
    linux::app::run(report::analyze)
}

//! `netfilter`: firewalls and tracked connections of a dump.
#![forbid(unsafe_code)]

#[cfg(kernel_has = "nf_hook_entries.num_hook_entries")]
mod bytes;
#[cfg(kernel_has = "nf_conn.tuplehash")]
mod conntrack;
#[cfg(kernel_has = "nf_hook_entries.num_hook_entries")]
mod functions;
#[cfg(kernel_has = "nf_hook_entries.num_hook_entries")]
mod hooks;
#[cfg(kernel_has = "nf_hook_entries.num_hook_entries")]
mod names;
#[cfg(kernel_has = "nf_hook_entries.num_hook_entries")]
mod net;
#[cfg(kernel_has = "nft_rule.dlen")]
mod nft;
#[cfg(kernel_has = "nf_hook_entries.num_hook_entries")]
mod report;
#[cfg(kernel_has = "sym:xt_pernet_id")]
mod xtables;

use std::net::IpAddr;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use kstruct::Memory;
use linux::Faults;
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
  netfilter --core vmcore conntrack --format json | jq '.conntrack.connections | group_by(.original.src) | map(length) | max'"
)]
#[cfg_attr(
    not(kernel_has = "nf_hook_entries.num_hook_entries"),
    allow(dead_code, reason = "of older kernels nothing is shown yet")
)]
struct Args {
    #[command(flatten)]
    common: Common,
    /// What to show; without any all but single connections
    #[arg(value_enum, value_name = "WHAT")]
    what: Vec<What>,
    /// Only this network namespace, by its inode number
    #[arg(long, value_name = "INODE")]
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
    #[arg(long, value_name = "PROTO", help_heading = "Connections")]
    proto: Option<String>,
    /// Only connections in this state: ESTABLISHED, or a bit of their status (ASSURED, SRC_NAT), or UNREPLIED
    #[arg(long, value_name = "STATE", help_heading = "Connections")]
    state: Option<String>,
    /// Only connections with this address in either direction, translated or not
    #[arg(long, value_name = "IP", help_heading = "Connections")]
    address: Option<IpAddr>,
    /// Only connections with this port in either direction
    #[arg(long, value_name = "PORT", help_heading = "Connections")]
    port: Option<u16>,
    /// Only connections of this zone
    #[arg(long, value_name = "NUMBER", help_heading = "Connections")]
    zone: Option<u16>,
    /// Only connections with this mark
    #[arg(long, value_name = "NUMBER", help_heading = "Connections")]
    mark: Option<u32>,
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
    linux::app::run(analyze)
}

#[cfg(kernel_has = "nf_hook_entries.num_hook_entries")]
fn analyze(k: &Memory, args: &Args, faults: &mut Faults) -> anyhow::Result<report::Netfilter> {
    report::analyze(k, args, faults)
}

/// Kernels before 4.14 keep their hooks in lists.
#[cfg(not(kernel_has = "nf_hook_entries.num_hook_entries"))]
fn analyze(_: &Memory, args: &Args, _: &mut Faults) -> anyhow::Result<Nothing> {
    let wanted = [
        What::Iptables,
        What::Nft,
        What::Hooks,
        What::Conntrack,
        What::Counts,
    ];
    let shown = wanted
        .iter()
        .filter(|what| args.what.is_empty() || args.what.contains(what));
    let names: Vec<String> = shown
        .filter_map(|what| Some(what.to_possible_value()?.get_name().to_owned()))
        .collect();
    anyhow::bail!(
        "this program knows netfilter from Linux 4.14 on: {} can't be shown of this kernel",
        names.join(", ")
    )
}

#[cfg(not(kernel_has = "nf_hook_entries.num_hook_entries"))]
#[derive(serde::Serialize)]
struct Nothing {}

#[cfg(not(kernel_has = "nf_hook_entries.num_hook_entries"))]
impl linux::Report for Nothing {
    fn table(&self) -> String {
        String::new()
    }
}

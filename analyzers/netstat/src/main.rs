//! `netstat`: counters of protocols, and what sockets use.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Parser;
use kstruct::Memory;
use linux::app::Common;
#[cfg(all(
    kernel_has = "netns_mib.tcp_statistics",
    kernel_has = "sym:snmp4_tcp_list",
    kernel_has = "prot_inuse.all"
))]
use linux::app::unknown;
use linux::{Faults, Report};
use netstats::model::{Counter, Namespace, RtCache};
use serde::Serialize;

/// Shows the counters of IP, ICMP, TCP, UDP and others as `nstat` does, for each network namespace, and what sockets use.
///
/// Counters are sums over CPUs, as they were when the dump was made.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  netstat --core vmcore                       all that is not 0
  netstat --core vmcore TcpExt*Drop Listen    names with these in them; * is anything
  netstat --core vmcore --all --devices       zeros too, and IPv6 counters of each interface
  netstat --core vmcore --format json | jq '.namespaces[0].counters[] | select(.value > 0)'"
)]
struct Args {
    #[command(flatten)]
    common: Common,
    /// Only counters whose names have this in them
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Those that are 0, too
    #[arg(long, short = 'z')]
    all: bool,
    /// As of nstat: always so here
    #[arg(short = 'a', hide = true)]
    absolute: bool,
    /// IPv6 counters of each interface, too
    #[arg(long)]
    devices: bool,
    /// Only this network namespace, by its inode number
    #[arg(long, value_name = "INODE", value_parser = linux::options::netns)]
    netns: Option<u64>,
}

impl AsRef<Common> for Args {
    fn as_ref(&self) -> &Common {
        &self.common
    }
}

fn main() -> ExitCode {
    linux::app::run(analyze)
}

#[derive(Serialize)]
struct Counters {
    namespaces: Vec<Namespace>,
    rt_cache: Vec<RtCache>,
}

impl Args {
    fn wants(&self, counter: &Counter) -> bool {
        (self.all || !counter.value.is_zero())
            && (self.names.is_empty() || self.names.iter().any(|name| has(&counter.name, name)))
    }

    /// Of the names that no counter has had so far, leaves those that these don't have either.
    fn find<'c>(&self, missing: &mut Vec<&str>, counters: impl Iterator<Item = &'c Counter>) {
        for counter in counters {
            missing.retain(|name| !has(&counter.name, name));
        }
    }
}

/// Whether parts of a pattern, between which anything may be, are in a name one behind the other, whatever their case.
fn has(name: &str, pattern: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let mut rest = name.as_str();
    for part in pattern.to_ascii_lowercase().split('*') {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    true
}

#[cfg(not(all(
    kernel_has = "netns_mib.tcp_statistics",
    kernel_has = "sym:snmp4_tcp_list",
    kernel_has = "prot_inuse.all"
)))]
fn analyze(_: &Memory, args: &Args, _: &mut Faults) -> anyhow::Result<Counters> {
    let mut missing = Vec::new();
    args.find(&mut missing, std::iter::empty());
    let _ = (args.netns, args.devices, args.wants(&Counter::new("", 0)));
    anyhow::bail!(
        "these bindings don't have this kernel's tables of names of counters (snmp4_tcp_list), as those of BTF alone don't, or the kernel is older than 5.14"
    )
}

#[cfg(all(
    kernel_has = "netns_mib.tcp_statistics",
    kernel_has = "sym:snmp4_tcp_list",
    kernel_has = "prot_inuse.all"
))]
fn analyze(k: &Memory, args: &Args, faults: &mut Faults) -> anyhow::Result<Counters> {
    let cpus = linux::cpu::possible(k)
        .map_err(|fault| anyhow::anyhow!("the mask of CPUs can't be read: {fault}"))?;
    if let Some(wanted) = args.netns {
        let inodes = linux::net::inodes(k, faults);
        if !inodes.contains(&wanted) {
            return Err(unknown("network namespace", wanted, inodes));
        }
    }
    let mut missing: Vec<&str> = args.names.iter().map(String::as_str).collect();
    let mut namespaces = Vec::new();
    for namespace in linux::net::namespaces(k, faults) {
        if args
            .netns
            .is_some_and(|wanted| Some(wanted) != namespace.inode())
        {
            continue;
        }
        let mut reader = netstats::walk::Reader {
            k,
            cpus: &cpus,
            faults,
        };
        let mut found = reader.namespace(namespace);
        let of_devices = found.devices.iter().flat_map(|device| &device.counters);
        args.find(&mut missing, found.counters.iter().chain(of_devices));
        found.counters.retain(|counter| args.wants(counter));
        if !args.devices {
            found.devices.clear();
        }
        for device in &mut found.devices {
            device.counters.retain(|counter| args.wants(counter));
        }
        namespaces.push(found);
    }
    if namespaces.is_empty() {
        return Err(faults.nothing("network namespace"));
    }
    if let Some(name) = missing.first() {
        anyhow::bail!("no counter has {name} in its name; --all shows all of them");
    }
    let rt_cache = faults.check("route cache", netstats::walk::rt_cache(k, &cpus));
    Ok(Counters {
        namespaces,
        rt_cache: rt_cache.unwrap_or_default(),
    })
}

impl Report for Counters {
    fn table(&self) -> String {
        let mut out = String::new();
        let lines = |out: &mut String, counters: &[Counter]| {
            for counter in counters {
                let _ = writeln!(out, "{:<32}{}", counter.name, counter.value);
            }
        };
        for namespace in &self.namespaces {
            let _ = writeln!(out, "== network namespace {}", namespace.netns);
            lines(&mut out, &namespace.counters);
            for device in &namespace.devices {
                let _ = writeln!(out, "-- {}", device.name);
                lines(&mut out, &device.counters);
            }
            out.push_str("-- sockets\n");
            for sockets in &namespace.sockets {
                let _ = write!(out, "{}:", sockets.protocol);
                for (name, value) in &sockets.numbers {
                    let _ = write!(out, " {name} {value}");
                }
                out.push('\n');
            }
            if !namespace.rt6.is_empty() {
                out.push_str("-- IPv6 routing\n");
                lines(&mut out, &namespace.rt6);
            }
        }
        for cpu in &self.rt_cache {
            let _ = writeln!(out, "== IPv4 routing, CPU {}", cpu.cpu);
            lines(&mut out, &cpu.counters);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::has;

    #[test]
    fn names_are_found_by_their_parts() {
        assert!(has("TcpExtListenDrops", "listen"));
        assert!(has("TcpExtListenDrops", "TcpExt*Drop"));
        assert!(!has("TcpExtListenDrops", "Drop*TcpExt"));
        assert!(has("TcpExtListenDrops", "*"));
    }
}

//! `netns`: network namespaces.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Parser;
use kstruct::Memory;
use linux::app::Common;
use linux::{Faults, Report};
use serde::Serialize;

#[cfg(kernel_has = "nsproxy.net_ns")]
mod walk;

/// Shows the network namespaces: their names, who is in them, their interfaces, important settings, and how much they hold.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  netns --core vmcore
  netns --core vmcore --format json | jq '.namespaces[] | select(.tasks == [])'"
)]
struct Args {
    #[command(flatten)]
    common: Common,
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
struct Namespaces {
    namespaces: Vec<Namespace>,
}

#[derive(Serialize)]
struct Namespace {
    /// The inode number, as in `net:[4026531840]`.
    netns: u64,
    /// The `net`.
    #[serde(serialize_with = "linux::app::hex")]
    address: u64,
    /// Its number as the initial namespace sees it (`ip netns`: `id`); none if nobody asked for it.
    nsid: Option<u64>,
    /// The number that is never given again (`SO_NETNS_COOKIE`).
    cookie: Option<u64>,
    /// The inode number of the user namespace that owns it.
    user_ns: Option<u64>,
    /// References that keep it working: of tasks, files, mounts, sockets.
    refcnt: Option<i64>,
    /// Where it is mounted: the last names of the paths, those of `ip netns` among them.
    names: Vec<String>,
    /// Processes in it.
    tasks: Vec<Task>,
    /// How many interfaces it has.
    devices: usize,
    /// Whether the loopback interface is up.
    loopback_is_up: Option<bool>,
    /// Settings by their names in /proc/sys/net.
    sysctls: Vec<(&'static str, i64)>,
    /// How much there is: sockets, routing tables, rules, mounted names.
    sizes: Vec<(&'static str, i64)>,
}

#[derive(Serialize)]
struct Task {
    pid: i32,
    comm: String,
}

#[cfg(not(kernel_has = "nsproxy.net_ns"))]
fn analyze(_: &Memory, _: &Args, _: &mut Faults) -> anyhow::Result<Namespaces> {
    anyhow::bail!("this kernel has no network namespaces")
}

#[cfg(kernel_has = "nsproxy.net_ns")]
fn analyze(k: &Memory, _: &Args, faults: &mut Faults) -> anyhow::Result<Namespaces> {
    let namespaces = walk::namespaces(k, faults);
    if namespaces.is_empty() {
        anyhow::bail!("there is no network namespace");
    }
    Ok(Namespaces { namespaces })
}

impl Report for Namespaces {
    fn table(&self) -> String {
        /// More tasks than these are counted only.
        const SHOWN: usize = 8;
        let mut out = String::new();
        let some = |number: Option<u64>| {
            number.map_or_else(|| "-".to_owned(), |number| number.to_string())
        };
        for namespace in &self.namespaces {
            let _ = write!(
                out,
                "net:[{}]  net {:x}  id {}  cookie {}  user:[{}]",
                namespace.netns,
                namespace.address,
                some(namespace.nsid),
                some(namespace.cookie),
                some(namespace.user_ns)
            );
            if let Some(count) = namespace.refcnt {
                let _ = write!(out, "  references {count}");
            }
            out.push('\n');
            if !namespace.names.is_empty() {
                let _ = writeln!(out, "  names    {}", namespace.names.join(" "));
            }
            let loopback = match namespace.loopback_is_up {
                Some(true) => ", loopback up",
                Some(false) => ", loopback down",
                None => "",
            };
            let _ = writeln!(out, "  devices  {}{loopback}", namespace.devices);
            let _ = write!(out, "  tasks    {}", namespace.tasks.len());
            for task in namespace.tasks.iter().take(SHOWN) {
                let _ = write!(out, "  {} {}", task.pid, task.comm);
            }
            if namespace.tasks.len() > SHOWN {
                out.push_str("  ...");
            }
            out.push('\n');
            for (what, numbers) in [("sysctls", &namespace.sysctls), ("sizes", &namespace.sizes)] {
                let _ = write!(out, "  {what:<8}");
                for (name, value) in numbers {
                    let _ = write!(out, " {name}={value}");
                }
                out.push('\n');
            }
        }
        out
    }
}

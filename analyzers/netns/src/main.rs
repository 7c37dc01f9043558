//! `netns`: network namespaces.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Parser;
use kstruct::Memory;
use linux::app::Common;
use linux::{Faults, Report};
use namespaces::model::Namespace;
use serde::Serialize;

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

#[cfg(not(all(kernel_has = "nsproxy.net_ns", kernel_has = "net.rules_ops")))]
fn analyze(_: &Memory, _: &Args, _: &mut Faults) -> anyhow::Result<Namespaces> {
    anyhow::bail!("this kernel has no network namespaces")
}

#[cfg(all(kernel_has = "nsproxy.net_ns", kernel_has = "net.rules_ops"))]
fn analyze(k: &Memory, _: &Args, faults: &mut Faults) -> anyhow::Result<Namespaces> {
    let namespaces = namespaces::walk::namespaces(k, faults);
    if namespaces.is_empty() {
        return Err(faults.nothing("network namespace"));
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

//! What is shown, as JSON and as text.

use std::fmt::Write as _;

use kstruct::Memory;
use linux::{Faults, Report};
use serde::Serialize;

use crate::functions::Functions;
use crate::hooks::{self, Hook};
use crate::net;
use crate::{Args, What};

#[derive(Serialize)]
pub struct Netfilter {
    #[cfg(kernel_has = "sym:xt_pernet_id")]
    #[serde(skip_serializing_if = "Option::is_none")]
    iptables: Option<Vec<crate::xtables::Table>>,
    #[cfg(kernel_has = "nft_rule.dlen")]
    #[serde(skip_serializing_if = "Option::is_none")]
    nftables: Option<Vec<crate::nft::Table>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hooks: Option<Vec<Hook>>,
    #[cfg(kernel_has = "nf_conn.tuplehash")]
    #[serde(skip_serializing_if = "Option::is_none")]
    conntrack: Option<Conntrack>,
    /// What is not in this kernel, or not loaded.
    absent: Vec<&'static str>,
    /// Whether rules of nf_tables are shown as their expressions.
    #[serde(skip)]
    expressions: bool,
}

#[cfg(kernel_has = "nf_conn.tuplehash")]
#[derive(Serialize)]
struct Conntrack {
    #[serde(skip_serializing_if = "Option::is_none")]
    connections: Option<Vec<crate::conntrack::Connection>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expectations: Option<Vec<crate::conntrack::Expectation>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<crate::conntrack::Counts>,
}

pub fn analyze(k: &Memory, args: &Args, faults: &mut Faults) -> anyhow::Result<Netfilter> {
    let wanted = |what: What| match args.what.as_slice() {
        [] => what != What::Conntrack,
        list => list.contains(&what),
    };
    let namespaces = net::namespaces(k, args.netns, faults);
    if namespaces.is_empty() {
        match args.netns {
            Some(inode) => anyhow::bail!("there is no network namespace {inode}"),
            None => anyhow::bail!("no network namespace could be read"),
        }
    }
    let mut absent = Vec::new();
    let mut functions = Functions::new(k);
    #[cfg(kernel_has = "sym:xt_pernet_id")]
    let iptables = if wanted(What::Iptables) {
        let mut tables = crate::xtables::tables(k, &namespaces, args.table.as_deref(), faults);
        if tables.is_none() {
            absent.push("x_tables");
        }
        for table in tables.iter_mut().flatten() {
            table
                .chains
                .retain(|chain| args.chain.as_ref().is_none_or(|only| chain.name == *only));
        }
        tables
    } else {
        None
    };
    #[cfg(not(kernel_has = "sym:xt_pernet_id"))]
    if wanted(What::Iptables) {
        absent.push("x_tables");
    }
    #[cfg(kernel_has = "nft_rule.dlen")]
    let nftables = if wanted(What::Nft) {
        let mut tables = crate::nft::tables(
            k,
            &namespaces,
            &mut functions,
            args.table.as_deref(),
            faults,
        );
        if tables.is_none() {
            absent.push("nf_tables");
        }
        for table in tables.iter_mut().flatten() {
            table
                .chains
                .retain(|chain| args.chain.as_ref().is_none_or(|only| chain.name == *only));
        }
        tables
    } else {
        None
    };
    #[cfg(not(kernel_has = "nft_rule.dlen"))]
    if wanted(What::Nft) {
        absent.push("nf_tables");
    }
    let hooks = wanted(What::Hooks).then(|| hooks::hooks(&namespaces, &mut functions, faults));
    #[cfg(kernel_has = "nf_conn.tuplehash")]
    let conntrack = if wanted(What::Conntrack) || wanted(What::Counts) {
        let filter = crate::conntrack::Filter {
            proto: args.proto.clone(),
            state: args.state.clone(),
            address: args.address,
            port: args.port,
            zone: args.zone,
            mark: args.mark,
        };
        let table = crate::conntrack::table(k, &namespaces, &filter, faults);
        if table.is_none() {
            absent.push("nf_conntrack");
        }
        table.map(|table| {
            let single = wanted(What::Conntrack);
            Conntrack {
                connections: single.then_some(table.connections),
                expectations: single.then_some(table.expectations),
                counts: wanted(What::Counts).then_some(table.counts),
            }
        })
    } else {
        None
    };
    #[cfg(not(kernel_has = "nf_conn.tuplehash"))]
    if wanted(What::Conntrack) || wanted(What::Counts) {
        absent.push("nf_conntrack");
    }
    Ok(Netfilter {
        #[cfg(kernel_has = "sym:xt_pernet_id")]
        iptables,
        #[cfg(kernel_has = "nft_rule.dlen")]
        nftables,
        hooks,
        #[cfg(kernel_has = "nf_conn.tuplehash")]
        conntrack,
        absent,
        expressions: args.expressions,
    })
}

impl Report for Netfilter {
    fn table(&self) -> String {
        let mut out = String::new();
        #[cfg(kernel_has = "sym:xt_pernet_id")]
        for table in self.iptables.iter().flatten() {
            let _ = writeln!(
                out,
                "# {} tables of network namespace {}",
                table.family, table.netns
            );
            table.text(&mut out);
        }
        #[cfg(kernel_has = "nft_rule.dlen")]
        {
            let mut namespace = None;
            for table in self.nftables.iter().flatten() {
                if namespace != Some(table.netns) {
                    let _ = writeln!(out, "# nf_tables of network namespace {}", table.netns);
                    namespace = Some(table.netns);
                }
                table.write(self.expressions, &mut out);
            }
        }
        if let Some(hooks) = &self.hooks {
            write_hooks(hooks, &mut out);
        }
        #[cfg(kernel_has = "nf_conn.tuplehash")]
        if let Some(conntrack) = &self.conntrack {
            write_conntrack(conntrack, &mut out);
        }
        for name in &self.absent {
            let _ = writeln!(out, "# {name}: not in this kernel, or not loaded");
        }
        out
    }
}

fn write_hooks(hooks: &[Hook], out: &mut String) {
    let mut namespace = None;
    let mut family: Option<(String, Option<String>)> = None;
    let mut place = None;
    let close = |out: &mut String, family: bool| {
        out.push_str(if family { "\t}\n}\n" } else { "\t}\n" });
    };
    for hook in hooks {
        let own = (hook.family.clone(), hook.device.clone());
        if namespace != Some(hook.netns) || family.as_ref() != Some(&own) {
            if family.is_some() {
                close(out, true);
            }
            if namespace != Some(hook.netns) {
                let _ = writeln!(out, "# hooks of network namespace {}", hook.netns);
            }
            let device = hook
                .device
                .as_ref()
                .map_or_else(String::new, |name| format!(" device {name}"));
            let _ = writeln!(out, "family {}{device} {{", hook.family);
            place = None;
        }
        if place != Some(&hook.hook) {
            if place.is_some() {
                close(out, false);
            }
            let _ = writeln!(out, "\thook {} {{", hook.hook);
        }
        let _ = writeln!(out, "\t\t{}", hook.line());
        namespace = Some(hook.netns);
        family = Some(own);
        place = Some(&hook.hook);
    }
    if family.is_some() {
        close(out, true);
    }
}

#[cfg(kernel_has = "nf_conn.tuplehash")]
fn write_conntrack(conntrack: &Conntrack, out: &mut String) {
    if let Some(connections) = &conntrack.connections {
        let mut namespaces: Vec<u64> = connections
            .iter()
            .map(|connection| connection.netns)
            .collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        for namespace in namespaces {
            let _ = writeln!(out, "# connections of network namespace {namespace}");
            for connection in connections.iter().filter(|row| row.netns == namespace) {
                let _ = writeln!(out, "{}{}", connection.line(), connection.more());
            }
        }
    }
    for expectation in conntrack.expectations.iter().flatten() {
        let _ = writeln!(
            out,
            "expected in {}: {} master={:#x}",
            expectation.netns,
            expectation.line(),
            expectation.master
        );
    }
    if let Some(counts) = &conntrack.counts {
        let _ = writeln!(
            out,
            "# {} connections, {} expectations; {} chains, the longest with {} entries; at most {} connections to a namespace",
            counts.entries, counts.expectations, counts.buckets, counts.longest_chain, counts.max
        );
        for row in &counts.namespaces {
            let count = row
                .count
                .map_or_else(|| "?".to_owned(), |count| count.to_string());
            let _ = writeln!(
                out,
                "network namespace {}: {} of {} connections found, {} unreplied, {} assured, {} with source NAT, {} with destination NAT",
                row.netns,
                row.entries,
                count,
                row.unreplied,
                row.assured,
                row.source_nat,
                row.destination_nat
            );
            for (name, number) in row.by_proto.iter().chain(&row.by_state) {
                let _ = writeln!(out, "  {number:>8} {name}");
            }
            let counted: Vec<String> = row
                .statistics
                .iter()
                .filter(|(_, number)| **number != 0)
                .map(|(name, number)| format!("{name} {number}"))
                .collect();
            if !counted.is_empty() {
                let _ = writeln!(out, "  counted: {}", counted.join(", "));
            }
        }
    }
}

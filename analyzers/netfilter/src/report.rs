//! What is shown, as JSON and as text.

use std::fmt::Write as _;

use kstruct::Memory;
use linux::app::unknown;
use linux::symbols::Names;
use linux::{Faults, Report};
use serde::Serialize;

use crate::conntrack::{self, Connection, Counts, Expectation, Filter};
use crate::hooks::{self, Hook};
use crate::net;
use crate::xtables;
use crate::{Args, What};

#[derive(Serialize)]
pub struct Netfilter {
    #[serde(skip_serializing_if = "Option::is_none")]
    iptables: Option<Vec<xtables::Table>>,
    #[cfg(kernel_has = "nft_rule.dlen")]
    #[serde(skip_serializing_if = "Option::is_none")]
    nftables: Option<Vec<crate::nft::Table>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hooks: Option<Vec<Hook>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conntrack: Option<Conntrack>,
    /// What is not in this kernel, or not loaded.
    absent: Vec<&'static str>,
    /// Whether rules of nf_tables are shown as their expressions.
    #[cfg(kernel_has = "nft_rule.dlen")]
    #[serde(skip)]
    expressions: bool,
}

#[derive(Serialize)]
struct Conntrack {
    #[serde(skip_serializing_if = "Option::is_none")]
    connections: Option<Vec<Connection>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expectations: Option<Vec<Expectation>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<Counts>,
    /// What is to be said of the table besides, where it is shown as text.
    #[serde(skip)]
    remarks: Vec<String>,
    /// Whether only some connections were asked for.
    #[serde(skip)]
    is_filtered: bool,
}

pub fn analyze(k: &Memory, args: &Args, faults: &mut Faults) -> anyhow::Result<Netfilter> {
    let filter = Filter {
        proto: args.proto.clone(),
        state: args.state.clone(),
        address: args.address,
        port: args.port,
        zone: args.zone,
        mark: args.mark,
    };
    let wanted = wanted(args, !filter.is_empty())?;
    let mut namespaces = net::namespaces(k, faults);
    if let Some(only) = args.netns {
        let inodes: Vec<u64> = namespaces.iter().map(|namespace| namespace.inode).collect();
        namespaces.retain(|namespace| namespace.inode == only);
        if namespaces.is_empty() {
            return Err(unknown("network namespace", only, inodes));
        }
    }
    if namespaces.is_empty() {
        return Err(faults.nothing("network namespace"));
    }
    let mut absent = Vec::new();
    let names = Names::of(k);
    // What isn't there may have lost its name.
    names.loaded();
    let mut found = |what: What, name: &'static str, is_there: bool| {
        if wanted.contains(&what) && !is_there {
            absent.push(name);
        }
    };
    let is_wanted = |what: What| wanted.contains(&what);
    let mut iptables = is_wanted(What::Iptables)
        .then(|| xtables::tables(k, &namespaces, faults))
        .flatten();
    found(What::Iptables, "x_tables", iptables.is_some());
    #[cfg(kernel_has = "nft_rule.dlen")]
    let mut nftables = is_wanted(What::Nft)
        .then(|| crate::nft::tables(k, &namespaces, &names, faults))
        .flatten();
    #[cfg(kernel_has = "nft_rule.dlen")]
    found(What::Nft, "nf_tables", nftables.is_some());
    #[cfg(not(kernel_has = "nft_rule.dlen"))]
    found(What::Nft, "nf_tables", false);
    let mut all = Tables {
        iptables: iptables.as_mut(),
        #[cfg(kernel_has = "nft_rule.dlen")]
        nftables: nftables.as_mut(),
    };
    if let Some(table) = &args.table {
        all.keep_table(table)?;
    }
    if let Some(chain) = &args.chain {
        all.keep_chain(chain)?;
    }
    let hooks = is_wanted(What::Hooks)
        .then(|| hooks::hooks(&namespaces, &names, faults))
        .flatten();
    found(What::Hooks, "hooks", hooks.is_some());
    let of_connections = is_wanted(What::Conntrack) || is_wanted(What::Counts);
    let conntrack = of_connections
        .then(|| conntrack::table(k, &namespaces, &filter, faults))
        .flatten();
    found(What::Conntrack, "nf_conntrack", conntrack.is_some());
    if !is_wanted(What::Conntrack) {
        found(What::Counts, "nf_conntrack", conntrack.is_some());
    }
    let conntrack = conntrack.map(|table| {
        let single = is_wanted(What::Conntrack);
        // `counts` says both numbers of all.
        let remarks = match single && !is_wanted(What::Counts) {
            true => table.counts.remarks(),
            false => Vec::new(),
        };
        Conntrack {
            remarks,
            connections: single.then_some(table.connections),
            expectations: single.then_some(table.expectations),
            counts: is_wanted(What::Counts).then_some(table.counts),
            is_filtered: !filter.is_empty() || args.netns.is_some(),
        }
    });
    are_absent(&absent, &namespaces, &names, faults);
    names.tell(faults);
    Ok(Netfilter {
        iptables,
        #[cfg(kernel_has = "nft_rule.dlen")]
        nftables,
        hooks,
        conntrack,
        absent,
        #[cfg(kernel_has = "nft_rule.dlen")]
        expressions: args.expressions,
    })
}

/// Modules that may be absent: what they are called here, their names, and a function of each.
const MODULES: [[&str; 3]; 3] = if cfg!(kernel_has = "ipt_table_info.hook_entry") {
    [
        ["x_tables", "ip_tables", "ipt_do_table"],
        ["nf_conntrack", "ip_conntrack", "ip_conntrack_in"],
        ["nf_tables", "nf_tables", "nft_do_chain"],
    ]
} else {
    [
        ["x_tables", "x_tables", "xt_register_table"],
        ["nf_conntrack", "nf_conntrack", "nf_conntrack_in"],
        ["nf_tables", "nf_tables", "nft_do_chain"],
    ]
};

/// Tells of modules that are not there by their names, while something else says that they are: a module has their function, or theirs are at
/// hooks.
fn are_absent(
    absent: &[&'static str],
    namespaces: &[net::Namespace<'_>],
    names: &Names<'_>,
    faults: &mut Faults,
) {
    for [shown, name, function] in MODULES {
        // What is there by its name was not read for another reason.
        let is_there = names.loaded().iter().any(|module| module.name == name);
        if is_there || !absent.contains(&shown) {
            continue;
        }
        if let Some(module) = names.module_with(function) {
            let place = module.memory.first().map_or(0, |(start, _)| *start);
            let what = format_args!("name of the module of {shown}: {}", module.name);
            faults.require(false, what, place);
        }
        if cfg!(kernel_has = "nft_rule.dlen") && shown == "nf_tables" {
            // Who lists hooks counts what can't be read of them.
            let hooks = hooks::hooks(namespaces, names, &mut Faults::default());
            let chain = hooks
                .iter()
                .flatten()
                .find(|hook| hook.owner == "nf_tables");
            let what = "chain of nf_tables, which is not loaded";
            faults.require(chain.is_none(), what, chain.map_or(0, |hook| hook.argument));
        }
    }
}

/// What is to be shown. An option that changes nothing of it is an error.
fn wanted(args: &Args, filters_connections: bool) -> anyhow::Result<Vec<What>> {
    let (tables, connections) = ([What::Iptables, What::Nft], [What::Conntrack, What::Counts]);
    let filters_tables = args.table.is_some() || args.chain.is_some() || args.expressions;
    if args.what.is_empty() {
        return Ok(match (filters_tables, filters_connections) {
            (false, false) => vec![What::Iptables, What::Nft, What::Hooks, What::Counts],
            (true, false) => tables.to_vec(),
            (false, true) => vec![What::Conntrack],
            (true, true) => vec![What::Iptables, What::Nft, What::Conntrack],
        });
    }
    let has = |group: &[What]| group.iter().any(|what| args.what.contains(what));
    if filters_tables && !has(&tables) {
        anyhow::bail!("--table, --chain and --expressions are about iptables and nft");
    }
    if args.expressions && !args.what.contains(&What::Nft) {
        anyhow::bail!("--expressions is about nft");
    }
    if filters_connections && !has(&connections) {
        anyhow::bail!(
            "--proto, --state, --address, --port, --zone and --mark are about conntrack and counts"
        );
    }
    Ok(args.what.clone())
}

/// The tables of both kinds.
struct Tables<'a> {
    iptables: Option<&'a mut Vec<xtables::Table>>,
    #[cfg(kernel_has = "nft_rule.dlen")]
    nftables: Option<&'a mut Vec<crate::nft::Table>>,
}

impl Tables<'_> {
    /// Leaves the tables of a name.
    fn keep_table(&mut self, only: &str) -> anyhow::Result<()> {
        let mut names = Vec::new();
        if let Some(tables) = &mut self.iptables {
            names.extend(tables.iter().map(|table| table.name.clone()));
            tables.retain(|table| table.name == only);
        }
        #[cfg(kernel_has = "nft_rule.dlen")]
        if let Some(tables) = &mut self.nftables {
            names.extend(tables.iter().map(|table| table.name.clone()));
            tables.retain(|table| table.name == only);
        }
        if names.iter().any(|name| name == only) {
            Ok(())
        } else {
            Err(unknown("table", only, names))
        }
    }

    /// Leaves the chains of a name.
    fn keep_chain(&mut self, only: &str) -> anyhow::Result<()> {
        let mut names = Vec::new();
        for table in self
            .iptables
            .iter_mut()
            .flat_map(|tables| tables.iter_mut())
        {
            names.extend(table.chains.iter().map(|chain| chain.name.clone()));
            table.chains.retain(|chain| chain.name == only);
        }
        #[cfg(kernel_has = "nft_rule.dlen")]
        for table in self
            .nftables
            .iter_mut()
            .flat_map(|tables| tables.iter_mut())
        {
            names.extend(table.chains.iter().map(|chain| chain.name.clone()));
            table.chains.retain(|chain| chain.name == only);
        }
        if names.iter().any(|name| name == only) {
            Ok(())
        } else {
            Err(unknown("chain", only, names))
        }
    }
}

impl Report for Netfilter {
    fn table(&self) -> String {
        let mut out = String::new();
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

fn write_conntrack(conntrack: &Conntrack, out: &mut String) {
    if let Some(connections) = &conntrack.connections {
        let mut namespaces: Vec<u64> = connections
            .iter()
            .map(|connection| connection.netns)
            .collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        if namespaces.is_empty() {
            let which = if conntrack.is_filtered {
                " that the options ask for"
            } else {
                ""
            };
            let _ = writeln!(out, "# there are no connections{which}");
        }
        for namespace in namespaces {
            let _ = writeln!(out, "# connections of network namespace {namespace}");
            for connection in connections.iter().filter(|row| row.netns == namespace) {
                let _ = writeln!(out, "{}{}", connection.line(), connection.more());
            }
        }
    }
    for remark in &conntrack.remarks {
        let _ = writeln!(out, "# {remark}");
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

//! x_tables: what iptables-legacy, ip6tables-legacy and arptables-legacy show.
//!
//! A table's rules are one piece of memory (net/ipv4/netfilter/ip_tables.c): entries, each with its matches and a target, chains one
//! behind the other. A chain of a hook begins and ends where the table says; others begin with an entry whose target has their name.
//! That is so since 2.4; how a table's memory is found, and where its entries are counted, is what kernels differ in.

#[cfg(any(
    kernel_has = "sym:xt_pernet_id",
    all(
        kernel_has = "sym:ipt_tables",
        kernel_has = "ipt_table_info.hook_entry"
    )
))]
mod read;

use std::fmt::Write as _;

use serde::Serialize;

#[cfg(any(
    kernel_has = "sym:xt_pernet_id",
    all(
        kernel_has = "sym:ipt_tables",
        kernel_has = "ipt_table_info.hook_entry"
    )
))]
pub use read::tables;

/// Kernels between 2.6.15 and those with `xt_pernet_id`, and those whose module's types are not known.
#[cfg(not(any(
    kernel_has = "sym:xt_pernet_id",
    all(
        kernel_has = "sym:ipt_tables",
        kernel_has = "ipt_table_info.hook_entry"
    )
)))]
pub fn tables(
    _: &kstruct::Memory,
    _: &[crate::net::Namespace<'_>],
    _: &mut linux::Faults,
) -> Option<Vec<Table>> {
    None
}

/// A table of a namespace.
#[derive(Debug, Serialize)]
pub struct Table {
    /// The namespace's inode number.
    pub netns: u64,
    /// `ip`, `ip6`, `arp`
    pub family: String,
    /// `filter`
    pub name: String,
    /// The `xt_table`.
    #[serde(serialize_with = "linux::app::hex")]
    pub address: u64,
    /// The priority of its hooks; `null` where a table doesn't know it.
    pub priority: Option<i32>,
    /// Bytes of its rules.
    pub size: u32,
    pub chains: Vec<Chain>,
}

#[derive(Debug, Serialize)]
pub struct Chain {
    pub name: String,
    /// What becomes of packets at its end: `ACCEPT`, `DROP`; `null` of chains that rules jump to.
    pub policy: Option<String>,
    /// Packets that came to the end of it.
    pub packets: u64,
    pub bytes: u64,
    pub rules: Vec<Rule>,
}

#[derive(Debug, Serialize)]
pub struct Rule {
    pub packets: u64,
    pub bytes: u64,
    /// As `iptables-save` writes it, without the counters: `-A INPUT -p tcp -j DROP`.
    pub text: String,
    pub matches: Vec<Extension>,
    /// Where the packet goes: the name of a target, `ACCEPT`, `RETURN`, or a chain.
    pub target: Extension,
    /// The entry.
    #[serde(serialize_with = "linux::app::hex")]
    pub address: u64,
}

/// A match or target with its own data.
#[derive(Debug, Serialize)]
pub struct Extension {
    pub name: String,
    pub revision: u8,
    /// Whether its data are of a kind that is known here. Others are shown as bytes.
    pub known: bool,
    /// Its options, as `iptables-save` writes them.
    pub options: String,
}

impl Table {
    /// As `iptables-save -c` writes it, without comments.
    pub fn text(&self, out: &mut String) {
        let _ = writeln!(out, "*{}", self.name);
        for chain in &self.chains {
            let policy = chain.policy.as_deref().unwrap_or("-");
            let _ = writeln!(
                out,
                ":{} {policy} [{}:{}]",
                chain.name, chain.packets, chain.bytes
            );
        }
        for rule in self.chains.iter().flat_map(|chain| &chain.rules) {
            let _ = writeln!(out, "[{}:{}] {}", rule.packets, rule.bytes, rule.text);
        }
        out.push_str("COMMIT\n");
    }
}

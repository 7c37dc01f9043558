//! The shape of IPv4's routing tries, as /proc/net/fib_trie and fib_triestat show it (net/ipv4/fib_trie.c).

use kernel::{fib_alias, fib_table, key_vector, tnode, trie};
use kstruct::{View as _, offset_of};

use super::{Context, fib};
use crate::model::{Prefix, Trie, TrieNode, TrieRoute, TrieStats};
use crate::names;

/// What a table's trie is like; `None` for one without routes, which the kernel leaves out of fib_trie.
pub fn of_table<'m>(
    context: &mut Context<'m, '_>,
    table: fib_table<'m>,
    cpus: &[u32],
) -> Option<Trie> {
    const WHAT: &str = "IPv4 routing trie";
    let root = context.faults.check(WHAT, fib::root(table))?;
    let mut found = Trie {
        netns: context.netns,
        table: table.tb_id(),
        nodes: Vec::new(),
        stats: TrieStats::default(),
    };
    below(context, root, 0, &mut found);
    let stats = &mut found.stats;
    // LEAF_SIZE, TNODE_SIZE(0) and pointers to children.
    let node = offset_of!(tnode, kv) + offset_of!(key_vector, tnode);
    let pointer = usize::from(kernel::KERNEL.pointer_size);
    let pointers: u64 = (stats.sizes.iter().enumerate().skip(1))
        .map(|(bits, count)| count.checked_shl(bits as u32).unwrap_or(0))
        .fold(0, u64::wrapping_add);
    stats.pointers = pointers;
    stats.leaf_bytes = (node + pointer) as u64;
    stats.node_bytes = node as u64;
    stats.bytes = ((node + pointer) as u64)
        .wrapping_mul(stats.leaves)
        .wrapping_add((fib_alias::SIZE as u64).wrapping_mul(stats.prefixes))
        .wrapping_add((node as u64).wrapping_mul(stats.inner))
        .wrapping_add((pointer as u64).wrapping_mul(pointers));
    #[cfg(kernel_has = "trie.stats")]
    {
        let counts = counts(context, table, cpus);
        stats.counts = context
            .faults
            .check("counters of a routing trie", counts)
            .unwrap_or_default();
    }
    let _ = cpus;
    Some(found)
}

fn below<'m>(context: &mut Context<'m, '_>, node: key_vector<'m>, level: u32, found: &mut Trie) {
    for (_, child, info) in fib::children(node, context.faults) {
        let address = std::net::Ipv4Addr::from(child.key()).into();
        if fib::is_inner(child) {
            let bits = child.bits();
            found.nodes.push(TrieNode {
                level,
                prefix: Prefix {
                    address,
                    length: 32_u8.saturating_sub(child.pos()).saturating_sub(bits),
                },
                bits,
                full_children: info.full_children(),
                empty_children: info.empty_children(),
                routes: Vec::new(),
            });
            let stats = &mut found.stats;
            stats.inner += 1;
            if let Some(count) = stats.sizes.get_mut(usize::from(bits)) {
                *count += 1;
            }
            stats.null_pointers = stats
                .null_pointers
                .wrapping_add(info.empty_children().into());
            below(context, child, level + 1, found);
            continue;
        }
        let mut routes = Vec::new();
        for alias in fib::aliases(context, child) {
            let what = context.faults.check("IPv4 route", alias.fa_info().deref());
            routes.push(TrieRoute {
                length: 32_u8.saturating_sub(alias.fa_slen()),
                scope: what.map_or(0, |info| info.fib_scope()),
                kind: names::route_type(alias.fa_type()),
                tos: fib::tos(alias),
            });
        }
        let stats = &mut found.stats;
        stats.leaves += 1;
        stats.total_depth += u64::from(level);
        stats.most_depth = stats.most_depth.max(level);
        stats.prefixes += routes.len() as u64;
        found.nodes.push(TrieNode {
            level,
            prefix: Prefix {
                address,
                length: 32,
            },
            bits: 0,
            full_children: 0,
            empty_children: 0,
            routes,
        });
    }
}

/// `trie_show_usage`
#[cfg(kernel_has = "trie.stats")]
fn counts(
    context: &Context<'_, '_>,
    table: fib_table<'_>,
    cpus: &[u32],
) -> Result<Vec<(&'static str, u64)>, kstruct::Fault> {
    let stats = trie::at(context.k, table.tb_data().addr())?.stats();
    let mut sums = [0_u32; 6];
    for cpu in cpus {
        let stats = stats.on_cpu(*cpu)?.deref()?;
        let values = [
            stats.gets(),
            stats.backtrack(),
            stats.semantic_match_passed(),
            stats.semantic_match_miss(),
            stats.null_node_hit(),
            stats.resize_node_skipped(),
        ];
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum = sum.wrapping_add(value);
        }
    }
    let names = [
        "gets",
        "backtracks",
        "semantic match passed",
        "semantic match miss",
        "null node hit",
        "skipped node resize",
    ];
    Ok(names.into_iter().zip(sums.map(u64::from)).collect())
}

//! Kernels whose tables are x_tables', those of each namespace apart (net/netfilter/x_tables.c).

use std::collections::BTreeMap;

use kernel::{sym, xt_table, xt_table_info};
use kstruct::{Fault, FaultKind, Memory, Ptr, Symbol as _, View};
use linux::Faults;
use linux::bytes::Bytes;

use super::{Context, Head, Kind, Layout, Table, entries, hooks};
use crate::names;
use crate::net::{self, Namespace};

/// The families whose tables are read.
const FAMILIES: [u8; 3] = [names::IPV4, names::IPV6, names::ARP];

/// The tables of all namespaces given. `None` if the module isn't loaded.
pub fn tables(k: &Memory, namespaces: &[Namespace<'_>], faults: &mut Faults) -> Option<Vec<Table>> {
    let id = match k.get(sym::xt_pernet_id) {
        Err(Fault {
            kind: FaultKind::NotLoaded(_),
            ..
        }) => return None,
        id => faults.check("xt_pernet_id", id)?,
    };
    let mut out = Vec::new();
    let own_targets = FAMILIES.map(|family| own_targets(k, family));
    for (family, own) in FAMILIES.into_iter().zip(own_targets) {
        let context = Context {
            family,
            sets: BTreeMap::new(),
            own,
            k,
        };
        context.check_own(faults);
    }
    for namespace in namespaces {
        let what = format_args!("tables of namespace {}", namespace.inode);
        let own = net::generic::<kernel::xt_pernet<'_>>(namespace.net, id);
        let own = own.and_then(|own| own.map(Ptr::deref).transpose());
        let Some(Some(own)) = faults.check(what, own) else {
            continue;
        };
        let sets = set_names(*namespace, faults);
        for (family, own_targets) in FAMILIES.into_iter().zip(own_targets) {
            let Some(head) = own.tables().get(family.into()) else {
                continue;
            };
            let context = Context {
                family,
                sets: sets.clone(),
                own: own_targets,
                k,
            };
            for entry in head.entries(xt_table::list) {
                let Some(entry) = faults.check(what, entry) else {
                    continue;
                };
                let what = format!("table {} of namespace {}", entry.name(), namespace.inode);
                let found = table(entry, namespace.inode, &context, faults, &what);
                out.extend(faults.check(&what, found));
            }
        }
    }
    Some(out)
}

/// Where the descriptions of the targets are that the module of a family has of its own (`ipt_builtin_tg` and its like).
fn own_targets(k: &Memory, family: u8) -> Option<[u64; 2]> {
    let first = match family {
        #[cfg(kernel_has = "sym:ipt_builtin_tg")]
        names::IPV4 => sym::ipt_builtin_tg.locate(k).ok()?,
        #[cfg(kernel_has = "sym:ip6t_builtin_tg")]
        names::IPV6 => sym::ip6t_builtin_tg.locate(k).ok()?,
        #[cfg(kernel_has = "sym:arpt_builtin_tg")]
        names::ARP => sym::arpt_builtin_tg.locate(k).ok()?,
        _ => return None,
    };
    let _ = k;
    Some([first, first + kernel::xt_target::SIZE as u64])
}

/// Names of ipset's sets, by the numbers that rules have.
fn set_names(namespace: Namespace<'_>, faults: &mut Faults) -> BTreeMap<u16, String> {
    let mut out = BTreeMap::new();
    #[cfg(all(
        kernel_has = "sym:ip_set_net_id",
        kernel_has = "ip_set_net.ip_set_list"
    ))]
    {
        let k = namespace.net.memory();
        let what = format_args!("sets of namespace {}", namespace.inode);
        let id = match k.get(sym::ip_set_net_id) {
            // Without the module there are no sets.
            Err(Fault {
                kind: FaultKind::NotLoaded(_),
                ..
            }) => return out,
            id => id,
        };
        let Some(id) = faults.check(what, id) else {
            return out;
        };
        let own = net::generic::<kernel::ip_set_net<'_>>(namespace.net, id);
        let list = own.and_then(|own| {
            let Some(own) = own else { return Ok(None) };
            let own = own.deref()?;
            own.ip_set_list().array(own.ip_set_max().into()).map(Some)
        });
        for (index, set) in (0..).zip(
            faults
                .check(what, list)
                .flatten()
                .iter()
                .flat_map(|list| list.iter()),
        ) {
            if let Some(Some(set)) = faults.check(what, set.deref_or_null()) {
                out.insert(index, set.name().to_string());
            }
        }
    }
    let _ = (namespace, faults, &mut out);
    out
}

fn layout(family: u8) -> Option<Layout> {
    match family {
        #[cfg(kernel_has = "ipt_entry.target_offset")]
        names::IPV4 => Some(Layout {
            size: kernel::ipt_entry::SIZE,
            target_offset: kstruct::offset_of!(kernel::ipt_entry, target_offset),
            next_offset: kstruct::offset_of!(kernel::ipt_entry, next_offset),
            counters: kstruct::offset_of!(kernel::ipt_entry, counters),
        }),
        #[cfg(kernel_has = "ip6t_entry.target_offset")]
        names::IPV6 => Some(Layout {
            size: kernel::ip6t_entry::SIZE,
            target_offset: kstruct::offset_of!(kernel::ip6t_entry, target_offset),
            next_offset: kstruct::offset_of!(kernel::ip6t_entry, next_offset),
            counters: kstruct::offset_of!(kernel::ip6t_entry, counters),
        }),
        #[cfg(kernel_has = "arpt_entry.target_offset")]
        names::ARP => Some(Layout {
            size: kernel::arpt_entry::SIZE,
            target_offset: kstruct::offset_of!(kernel::arpt_entry, target_offset),
            next_offset: kstruct::offset_of!(kernel::arpt_entry, next_offset),
            counters: kstruct::offset_of!(kernel::arpt_entry, counters),
        }),
        _ => None,
    }
}

fn table(
    table: xt_table<'_>,
    netns: u64,
    context: &Context<'_>,
    faults: &mut Faults,
    what: &str,
) -> Result<Table, Fault> {
    let k = context.k;
    let info = table.private().cast::<xt_table_info<'_>>().deref()?;
    let Some(layout) = layout(context.family) else {
        return Err(Fault {
            address: table.addr(),
            kind: FaultKind::NotInDump,
        });
    };
    let start = info.entries().addr();
    let blob = k.bytes(start, info.size() as usize)?;
    let cpus = linux::cpu::possible(k)?;
    let entries = entries(start, blob, layout, faults, what, |_, (first, second)| {
        counters(k, &cpus, first, second)
    });
    let head = Head {
        netns,
        name: table.name().to_string(),
        address: table.addr(),
        priority: Some(table.priority()),
        size: info.size(),
        number: info.number(),
        valid_hooks: table.valid_hooks(),
        module: (table.me().deref_or_null()?).map(|module| module.name().to_string()),
        hooks: hooks(
            context.family,
            (&table.name().to_string(), table.valid_hooks()),
            info.hook_entry(),
            info.underflow(),
        ),
    };
    super::table(head, &entries, layout, context, faults, what)
}

/// An entry's counters. With several CPUs, where packets were counted stands a pointer to what each CPU counts
/// (`xt_get_this_cpu_counter`, include/linux/netfilter/x_tables.h).
fn counters(k: &Memory, cpus: &[u32], first: u64, second: u64) -> Result<(u64, u64), Fault> {
    if cpus.len() <= 1 {
        return Ok((first, second));
    }
    let mut sum = (0_u64, 0_u64);
    for cpu in cpus {
        let bytes = Bytes(k.bytes(k.per_cpu_address(k.wrap(first), *cpu)?, 16)?);
        sum.0 = sum.0.wrapping_add(bytes.u64(0).unwrap_or(0));
        sum.1 = sum.1.wrapping_add(bytes.u64(8).unwrap_or(0));
    }
    Ok(sum)
}

/// The name and revision of the match or target at an address.
pub fn kind_of(k: &Memory, address: u64, kind: Kind) -> Result<(String, u8), Fault> {
    if kind == Kind::Match {
        let found = kernel::xt_match::at(k, address)?;
        return Ok((found.name().to_string(), found.revision()));
    }
    let found = kernel::xt_target::at(k, address)?;
    Ok((found.name().to_string(), found.revision()))
}

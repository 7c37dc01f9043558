//! Kernels before x_tables, whose ip_tables has one list of tables (net/ipv4/netfilter/ip_tables.c of 2.6.9). IPv6's and ARP's are of
//! other modules, and not read.

use std::collections::BTreeMap;

use kernel::{ipt_entry, ipt_match, ipt_table, ipt_table_info, ipt_target, sym};
use kstruct::{Fault, FaultKind, Memory, Symbol as _, View as _};
use linux::Faults;
use linux::bytes::Bytes;

use super::{Context, Head, Kind, Layout, Table, entries, hooks};
use crate::names;
use crate::net::Namespace;

const LAYOUT: Layout = Layout {
    size: ipt_entry::SIZE,
    target_offset: kstruct::offset_of!(ipt_entry, target_offset),
    next_offset: kstruct::offset_of!(ipt_entry, next_offset),
    counters: kstruct::offset_of!(ipt_entry, counters),
};

/// The tables. `None` if the module isn't loaded.
pub fn tables(k: &Memory, _: &[Namespace<'_>], faults: &mut Faults) -> Option<Vec<Table>> {
    let head = match k.get(sym::ipt_tables) {
        Err(Fault {
            kind: FaultKind::NotLoaded(_),
            ..
        }) => return None,
        head => faults.check("ipt_tables", head)?,
    };
    let context = Context {
        family: names::IPV4,
        sets: BTreeMap::new(),
        own: own(k),
        k,
    };
    context.check_own(faults);
    let mut out = Vec::new();
    for entry in head.entries(ipt_table::list) {
        let Some(entry) = faults.check("ipt_tables", entry) else {
            continue;
        };
        let what = format!("table {}", entry.name());
        let found = table(entry, &context, faults, &what);
        out.extend(faults.check(&what, found));
    }
    Some(out)
}

/// Where the descriptions of the targets are that ip_tables has of its own.
fn own(k: &Memory) -> Option<[u64; 2]> {
    let standard = sym::ipt_standard_target.locate(k).ok()?;
    Some([standard, sym::ipt_error_target.locate(k).ok()?])
}

fn table(
    table: ipt_table<'_>,
    context: &Context<'_>,
    faults: &mut Faults,
    what: &str,
) -> Result<Table, Fault> {
    let k = context.k;
    let info = table.private().deref()?;
    let start = info.entries().addr();
    let blob = k.bytes(start, info.size() as usize)?;
    let copies = copies(info)?;
    let entries = entries(start, blob, LAYOUT, faults, what, |offset, first| {
        let mut sum = first;
        for copy in copies.iter().skip(1) {
            let place = copy.wrapping_add((offset + LAYOUT.counters) as u64);
            let bytes = Bytes(k.bytes(k.wrap(place), 16)?);
            sum.0 = sum.0.wrapping_add(bytes.u64(0).unwrap_or(0));
            sum.1 = sum.1.wrapping_add(bytes.u64(8).unwrap_or(0));
        }
        Ok(sum)
    });
    let head = Head {
        netns: 0,
        name: table.name().to_string(),
        address: table.addr(),
        priority: None,
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
    super::table(head, &entries, LAYOUT, context, faults, what)
}

/// Where each CPU has its copy of the rules, in which it counts (`get_counters`): one behind the other, their size made up to whole cache
/// lines (`SMP_ALIGN`).
fn copies(info: ipt_table_info<'_>) -> Result<Vec<u64>, Fault> {
    let k = info.memory();
    let first = info.entries().addr();
    let cpus = linux::cpu::possible(k)?;
    // `entries` is aligned to a line. Where it is may fit several sizes of lines: then the second copy must begin as the first.
    let offset = first.wrapping_sub(info.addr());
    let start = |at: u64| k.bytes(k.wrap(at), LAYOUT.counters);
    let sizes = [128, 64, 32].into_iter().filter(|line| offset % line == 0);
    let mut distances = sizes.map(|line| u64::from(info.size()).next_multiple_of(line));
    let is_one = |distance: &u64| {
        let second = first.wrapping_add(*distance);
        matches!((start(first), start(second)), (Ok(one), Ok(other)) if one == other)
    };
    let distance = match cpus.len() {
        ..=1 => Some(0),
        _ => distances.find(is_one),
    };
    let distance = distance.ok_or(Fault {
        address: first,
        kind: FaultKind::Inconsistent,
    })?;
    let copy = |cpu: u32| k.wrap(first.wrapping_add(distance.wrapping_mul(cpu.into())));
    Ok(cpus.into_iter().map(copy).collect())
}

/// The name of the match or target at an address; there are no revisions yet.
pub fn kind_of(k: &Memory, address: u64, kind: Kind) -> Result<(String, u8), Fault> {
    let name = match kind {
        Kind::Match => ipt_match::at(k, address)?.name().to_string(),
        Kind::Target => ipt_target::at(k, address)?.name().to_string(),
    };
    Ok((name, 0))
}

//! Multicast routes and the interfaces of multicast routers (net/ipv4/ipmr.c, net/ipv6/ip6mr.c, net/ipv4/ipmr_base.c).

use kernel::{mr_mfc, mr_table, vif_device};
use kstruct::{Fault, View as _};

use super::Context;
use crate::model::{Family, MulticastInterface, MulticastOutput, MulticastRoute};
use crate::names;

/// Routes and interfaces of all tables of a family.
pub fn of_family(
    context: &mut Context<'_, '_>,
    family: Family,
) -> (Vec<MulticastRoute>, Vec<MulticastInterface>) {
    let (mut routes, mut interfaces) = (Vec::new(), Vec::new());
    for table in tables(context, family) {
        let number = table.id();
        for (index, vif) in (0..).zip(table.vif_table().iter()) {
            let found = interface(context, family, number, index, vif);
            let what = "interfaces of a multicast router";
            interfaces.extend(context.faults.check(what, found).flatten());
        }
        for (is_resolved, list) in [
            (true, table.mfc_cache_list()),
            (false, table.mfc_unres_queue()),
        ] {
            for entry in list.entries(mr_mfc::list) {
                let found = entry.and_then(|entry| {
                    let (src, dst) = addresses(family, entry)?;
                    let mut found = MulticastRoute {
                        netns: context.netns,
                        family,
                        table: number,
                        table_name: names::table(number),
                        src,
                        dst,
                        iif: None,
                        oifs: Vec::new(),
                        resolved: is_resolved,
                        packets: 0,
                        bytes: 0,
                        wrong_if: 0,
                        age: None,
                        at: entry.addr(),
                    };
                    if is_resolved {
                        resolved(context, table, entry, &mut found)?;
                    }
                    Ok(found)
                });
                routes.extend(context.faults.check("multicast routes", found));
            }
        }
    }
    (routes, interfaces)
}

fn tables<'m>(context: &mut Context<'m, '_>, family: Family) -> Vec<mr_table<'m>> {
    let what = "tables of multicast routes";
    let mut found = Vec::new();
    let heads = match family {
        #[cfg(kernel_has = "netns_ipv4.mr_tables")]
        Family::Inet => Some(context.net.ipv4().mr_tables()),
        #[cfg(kernel_has = "netns_ipv6.mr6_tables")]
        Family::Inet6 => Some(context.net.ipv6().mr6_tables()),
        #[cfg(not(all(
            kernel_has = "netns_ipv4.mr_tables",
            kernel_has = "netns_ipv6.mr6_tables"
        )))]
        _ => None,
    };
    for table in heads
        .into_iter()
        .flat_map(|head| head.entries(mr_table::list))
    {
        found.extend(context.faults.check(what, table));
    }
    // Kernels that know one table only.
    #[cfg(kernel_has = "netns_ipv4.mrt")]
    if family == Family::Inet {
        let table = context.net.ipv4().mrt().deref_or_null();
        found.extend(context.faults.check(what, table).flatten());
    }
    #[cfg(kernel_has = "netns_ipv6.mrt6")]
    if family == Family::Inet6 {
        let table = context.net.ipv6().mrt6().deref_or_null();
        found.extend(context.faults.check(what, table).flatten());
    }
    found
}

/// Origin and group: what each family keeps behind the part that both have.
fn addresses(
    family: Family,
    entry: mr_mfc<'_>,
) -> Result<(std::net::IpAddr, std::net::IpAddr), Fault> {
    Ok(match family {
        Family::Inet => {
            let own = kernel::mfc_cache::at(entry.memory(), entry.addr())?;
            (
                super::ipv4(own.mfc_origin()),
                super::ipv4(own.mfc_mcastgrp()),
            )
        }
        Family::Inet6 => {
            let own = kernel::mfc6_cache::at(entry.memory(), entry.addr())?;
            (
                super::ipv6(own.mf6c_origin()).into(),
                super::ipv6(own.mf6c_mcastgrp()).into(),
            )
        }
    })
}

/// `mr_fill_mroute`
fn resolved(
    context: &Context<'_, '_>,
    table: mr_table<'_>,
    entry: mr_mfc<'_>,
    found: &mut MulticastRoute,
) -> Result<(), Fault> {
    /// Of an interface that packets don't leave by.
    const NEVER: u8 = 255;
    let own = entry.mfc_un().res();
    let vifs = table.vif_table();
    found.iif = match vifs.get(entry.mfc_parent().into()) {
        Some(vif) => device(vif)?,
        None => None,
    };
    for (number, (ttl, vif)) in (0..).zip(own.ttls().iter().zip(vifs.iter())) {
        if ttl == NEVER || !(own.minvif()..own.maxvif()).contains(&number) {
            continue;
        }
        if let Some(oif) = device(vif)? {
            found.oifs.push(MulticastOutput {
                vif: number,
                oif,
                ttl,
            });
        }
    }
    let counts = [own.pkt(), own.bytes(), own.wrong_if()];
    // Atomic since 6.11, by the type of which they come as signed numbers.
    #[cfg(kernel_has = "mr_mfc.mfc_un.res.pkt.counter")]
    let counts = counts.map(|count| count.value().cast_unsigned());
    [found.packets, found.bytes, found.wrong_if] = counts;
    found.age = Some(context.clock.age(context.k, own.lastuse()));
    Ok(())
}

fn interface(
    context: &Context<'_, '_>,
    family: Family,
    table: u32,
    number: u32,
    vif: vif_device<'_>,
) -> Result<Option<MulticastInterface>, Fault> {
    Ok(device(vif)?.map(|name| MulticastInterface {
        netns: context.netns,
        family,
        table,
        table_name: names::table(table),
        vif: number,
        name,
        bytes_in: vif.bytes_in(),
        pkts_in: vif.pkt_in(),
        bytes_out: vif.bytes_out(),
        pkts_out: vif.pkt_out(),
        flags: vif.flags(),
        threshold: vif.threshold(),
        rate_limit: vif.rate_limit(),
        local: vif.local(),
        remote: vif.remote(),
    }))
}

fn device(vif: vif_device<'_>) -> Result<Option<String>, Fault> {
    let device = vif.dev().deref_or_null()?;
    Ok(device.map(|device| device.name().to_string()))
}

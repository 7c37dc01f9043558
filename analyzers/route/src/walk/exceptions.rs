//! What was learned of single destinations: path MTUs and redirects (`ip route show cache`).

use std::collections::HashSet;

use kernel::{fib_nh_common, fib_nh_exception, fib6_info, fib6_table};
use kstruct::walk::chain;
use kstruct::{Fault, FaultKind, View as _};

use super::{Context, fib, fib6, hop, inconsistent, ipv4, ipv6, prefix6};
use crate::model::{Exception, Expiry, Family, Hop, Prefix, Route};
use crate::names;

/// `FNHE_HASH_SIZE`, include/net/ip_fib.h.
const BUCKETS: usize = 2048;
/// `FIB6_EXCEPTION_BUCKET_SIZE`, include/net/ip6_fib.h.
const BUCKETS6: usize = 1024;
/// `RTAX_MTU` as an index.
const MTU: usize = 1;
/// `RTF_GATEWAY`, `RTF_EXPIRES`, include/uapi/linux/route.h and ipv6_route.h.
const GATEWAY: u32 = 2;
const EXPIRES: u32 = 0x0040_0000;

/// The exceptions of an IPv4 table (`fnhe_dump_bucket`, net/ipv4/route.c), those that the kernel wouldn't tell of included.
pub fn of_table<'m>(context: &mut Context<'m, '_>, table: kernel::fib_table<'m>) -> Vec<Route> {
    // Routes share next hops, whose exceptions the kernel shows with each.
    fib::each(context, table, |context, _, alias| {
        let mut found = Vec::new();
        let commons = alias.fa_info().deref().and_then(|info| {
            Ok(match context.object(info.nh())? {
                Some(object) => hop::of_object(object)?
                    .into_iter()
                    .map(|(common, _)| common)
                    .collect(),
                None => fib::own_hops(info)?
                    .into_iter()
                    .map(|(common, ..)| common)
                    .collect::<Vec<_>>(),
            })
        });
        for common in context
            .faults
            .check("next hops of a route", commons)
            .unwrap_or_else(Vec::new)
        {
            of_hop(context, table.tb_id(), common, &mut found);
        }
        found
    })
}

fn of_hop(
    context: &mut Context<'_, '_>,
    table: u32,
    common: fib_nh_common<'_>,
    found: &mut Vec<Route>,
) {
    const WHAT: &str = "exceptions of a next hop";
    /// The kernel keeps ten of a bucket (`FNHE_RECLAIM_DEPTH`, twice).
    const LONGEST: usize = 64;
    // Each is in one bucket: what is found again is no table.
    let mut seen = HashSet::new();
    if common.nhc_exceptions().is_null() {
        return;
    }
    let buckets = common.nhc_exceptions().array(BUCKETS);
    let Some(buckets) = context.faults.check(WHAT, buckets) else {
        return;
    };
    for bucket in buckets.iter() {
        let exceptions = chain(Ok(bucket.chain()), fib_nh_exception::fnhe_next);
        for (number, exception) in exceptions.enumerate() {
            let kind = if number == LONGEST {
                Some(FaultKind::TooLarge)
            } else {
                let is_again = exception.is_ok_and(|exception| !seen.insert(exception.addr()));
                is_again.then_some(FaultKind::Inconsistent)
            };
            if let Some(kind) = kind {
                let address = bucket.addr();
                context.faults.add(WHAT, Fault { address, kind });
                return;
            }
            if let Some(exception) = context.faults.check(WHAT, exception) {
                let route = exception4(context, table, exception, common);
                found.extend(context.faults.check("exception", route));
            }
        }
    }
}

/// What `rt_fill_info` says of the route that was made of an exception; of one that no packet took yet, what it would be.
fn exception4(
    context: &mut Context<'_, '_>,
    table: u32,
    exception: fib_nh_exception<'_>,
    common: fib_nh_common<'_>,
) -> Result<Route, Fault> {
    let input = exception.fnhe_rth_input().deref_or_null()?;
    let cached = match input {
        Some(route) => Some(route),
        None => exception.fnhe_rth_output().deref_or_null()?,
    };
    let (mut hop, flags) = hop::hop(common, 1)?;
    let mut metrics: Vec<u32> = vec![0; names::METRICS.len() + 1];
    let mut expires = None;
    let mut kind = "unicast".to_owned();
    let mut refcnt = 0;
    if let Some(route) = cached {
        kind = super::route_type(route.rt_type(), route.addr())?;
        let dst = route.dst();
        metrics = dst_metrics(dst)?;
        refcnt = references(dst);
        if dst.expires() != 0 {
            let expiry = context.expiry(dst.expires());
            expires = (expiry.jiffies > 0).then_some(expiry);
        }
        if expires.is_some() {
            if route.rt_pmtu() != 0
                && let Some(mtu) = metrics.get_mut(MTU)
            {
                *mtu = route.rt_pmtu() as u32;
            }
            if route.rt_mtu_locked() != 0
                && let Some(locks) = metrics.first_mut()
            {
                *locks |= 1 << (MTU + 1);
            }
        }
        hop.gateway = match super::family(route.rt_gw_family().into()) {
            Some(Family::Inet) => Some(ipv4(route.rt_gw4())),
            Some(Family::Inet6) => Some(ipv6(route.rt_gw6()).into()),
            None if route.rt_gw_family() == 0 => None,
            None => return Err(inconsistent(route.addr())),
        };
    }
    let gateway = exception.fnhe_gw();
    let genid = context.net.fnhe_genid().value();
    Ok(Route {
        netns: context.netns,
        family: Family::Inet,
        table,
        table_name: names::table(table),
        kind,
        dst: Prefix {
            address: ipv4(exception.fnhe_daddr()),
            length: 32,
        },
        src: None,
        tos: 0,
        protocol: names::protocol(0),
        scope: names::scope(0),
        prefsrc: None,
        metric: 0,
        flags: Vec::new(),
        nhid: None,
        nexthops: vec![Hop {
            flags: names::hop_flags(flags),
            ..hop
        }],
        multipath: false,
        metrics: context.metric_values(metrics.into_iter()),
        pref: None,
        expires: expires.or_else(|| expiry_of(context, exception.fnhe_expires())),
        iif: None,
        refcnt,
        exception: Some(Exception {
            pmtu: exception.fnhe_pmtu(),
            pmtu_locked: exception.fnhe_mtu_locked(),
            gateway: (gateway != 0).then(|| ipv4(gateway)),
            is_stale: exception.fnhe_genid() != genid
                || exception.fnhe_expires() != 0
                    && context.expiry(exception.fnhe_expires()).jiffies < 0,
            is_unused: cached.is_none(),
            stamp: context.clock.age(context.k, exception.fnhe_stamp()),
        }),
        address: exception.addr(),
    })
}

fn expiry_of(context: &Context<'_, '_>, stamp: u64) -> Option<Expiry> {
    (stamp != 0).then(|| context.expiry(stamp))
}

/// The exceptions of an IPv6 table (`rt6_nh_dump_exceptions`).
pub fn of_table6<'m>(context: &mut Context<'m, '_>, table: fib6_table<'m>) -> Vec<Route> {
    let mut found = Vec::new();
    for info in fib6::infos(context, table) {
        for info in fib6::with_siblings(context, info) {
            let routes = exceptions6(context, table.tb6_id(), info);
            found.extend(
                context
                    .faults
                    .check("exceptions of an IPv6 route", routes)
                    .unwrap_or_default(),
            );
        }
    }
    found
}

fn exceptions6<'m>(
    context: &mut Context<'m, '_>,
    table: u32,
    info: fib6_info<'m>,
) -> Result<Vec<Route>, Fault> {
    const WHAT: &str = "exceptions of an IPv6 next hop";
    let mut found = Vec::new();
    // Those of a next hop object are with each route that uses it.
    let mut hops = Vec::new();
    match context.object(info.nh())? {
        None => hops.push(info.fib6_nh().deref()?),
        Some(object) if !object.is_group() => hops.push(object.nh_info().deref()?.fib6_nh()),
        Some(object) => {
            for (member, _) in hop::members(object)? {
                hops.push(member.nh_info().deref()?.fib6_nh());
            }
        }
    }
    for hop in hops {
        // FIB6_EXCEPTION_BUCKET_FLUSHED is in the lowest bit.
        let (buckets, _) = hop.rt6i_exception_bucket().untagged(1);
        if buckets.is_null() {
            continue;
        }
        for bucket in buckets.array(BUCKETS6)?.iter() {
            for exception in bucket.chain().entries(kernel::rt6_exception::hlist) {
                if let Some(exception) = context.faults.check(WHAT, exception) {
                    let route = exception6(context, table, info, hop, exception);
                    found.extend(context.faults.check("exception", route));
                }
            }
        }
    }
    Ok(found)
}

/// What `rt6_fill_node` says of it.
fn exception6(
    context: &mut Context<'_, '_>,
    table: u32,
    info: fib6_info<'_>,
    hop: kernel::fib6_nh<'_>,
    exception: kernel::rt6_exception<'_>,
) -> Result<Route, Fault> {
    let route = exception.rt6i().deref()?;
    let dst = route.dst();
    let flags = route.rt6i_flags();
    let (hop, _) = hop::hop(hop.nh_common(), 1)?;
    let device = dst.dev().deref_or_null()?;
    let gateway = (flags & GATEWAY != 0).then(|| ipv6(route.rt6i_gateway()).into());
    let metrics = dst_metrics(dst)?;
    let pmtu = metrics.get(MTU).copied().unwrap_or(0);
    let expires =
        (flags & EXPIRES != 0 && dst.expires() != 0).then(|| context.expiry(dst.expires()));
    Ok(Route {
        netns: context.netns,
        family: Family::Inet6,
        table,
        table_name: names::table(table),
        kind: super::route_type(info.fib6_type().into(), info.addr())?,
        dst: prefix6(route.rt6i_dst())?,
        src: None,
        tos: 0,
        protocol: names::protocol(info.fib6_protocol()),
        scope: names::scope(0),
        prefsrc: None,
        metric: info.fib6_metric(),
        flags: Vec::new(),
        nhid: None,
        nexthops: vec![Hop {
            dev: device.map(|device| device.name().to_string()),
            ifindex: device.map_or(0, |device| device.ifindex()),
            gateway,
            flags: Vec::new(),
            ..hop
        }],
        multipath: false,
        metrics: context.metric_values(metrics.into_iter()),
        pref: Some(fib6::preference(flags)),
        expires,
        iif: None,
        refcnt: references(dst),
        exception: Some(Exception {
            pmtu,
            pmtu_locked: false,
            gateway,
            is_stale: expires.is_some_and(|expires| expires.jiffies < 0),
            is_unused: false,
            stamp: context.clock.age(context.k, exception.stamp()),
        }),
        address: exception.addr(),
    })
}

/// `dst_metrics_ptr`: the pointer has two flags in its lowest bits.
fn dst_metrics(dst: kernel::dst_entry<'_>) -> Result<Vec<u32>, Fault> {
    let address = dst._metrics() & !3;
    let metrics = kernel::dst_metrics::at(dst.memory(), address)?;
    Ok(metrics.metrics().iter().collect())
}

/// References to a cached route.
fn references(dst: kernel::dst_entry<'_>) -> i32 {
    #[cfg(kernel_has = "dst_entry.__rcuref")]
    {
        // Counts from 0 for one reference on (include/linux/rcuref.h).
        dst.__rcuref().refcnt().value().wrapping_add(1)
    }
    #[cfg(not(kernel_has = "dst_entry.__rcuref"))]
    {
        dst.__refcnt().value()
    }
}

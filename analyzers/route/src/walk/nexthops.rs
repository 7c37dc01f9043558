//! Next hop objects (net/ipv4/nexthop.c).

use kernel::nexthop;
use kstruct::{Fault, View as _};

use super::{Context, hop};
use crate::model::{Member, Nexthop, Resilient};
use crate::names;

/// A namespace's next hop objects in the order of their numbers.
pub fn nexthops(context: &mut Context<'_, '_>) -> Vec<Nexthop> {
    const WHAT: &str = "next hop objects";
    let mut found = Vec::new();
    for object in context.net.nexthop().rb_root().entries(nexthop::rb_node) {
        if let Some(object) = context.faults.check(WHAT, object) {
            let object = describe(context, object);
            found.extend(context.faults.check(WHAT, object));
        }
    }
    found
}

/// What `nh_fill_node` says of one.
fn describe(context: &Context<'_, '_>, object: nexthop<'_>) -> Result<Nexthop, Fault> {
    let mut out = Nexthop {
        netns: context.netns,
        id: object.id(),
        group: Vec::new(),
        is_group: object.is_group(),
        resilient: None,
        hop: None,
        blackhole: false,
        fdb: false,
        protocol: names::protocol(object.protocol()),
        flags: names::hop_flags(object.nh_flags().into()),
        refcnt: object.refcnt().value(),
        address: object.addr(),
    };
    if object.is_group() {
        let group = object.nh_grp().deref()?;
        out.fdb = group.fdb_nh();
        for entry in group
            .nh_entries()
            .array(usize::from(group.num_nh()))?
            .iter()
        {
            out.group.push(Member {
                id: entry.nh().deref()?.id(),
                weight: entry.weight().into(),
            });
        }
        #[cfg(kernel_has = "nh_group.res_table")]
        if group.resilient() {
            let table = group.res_table().deref()?;
            out.resilient = Some(Resilient {
                buckets: table.num_nh_buckets(),
                idle_timer: context.span(table.idle_timer().into()),
                unbalanced_timer: context.span(table.unbalanced_timer().into()),
                // `nh_res_table_unbalanced_time`
                unbalanced_time: if table.uw_nh_entries().next().addr()
                    == table.uw_nh_entries().addr()
                {
                    context.span(0)
                } else {
                    context.clock.age(context.k, table.unbalanced_since())
                },
            });
        }
        return Ok(out);
    }
    let info = object.nh_info().deref()?;
    out.blackhole = info.reject_nh();
    out.fdb = info.fdb_nh();
    if !info.reject_nh() {
        let (hop, _) = hop::hop(info.fib_nhc(), 1)?;
        out.hop = Some(hop);
    }
    Ok(out)
}

//! Next hop objects (net/ipv4/nexthop.c).

use kernel::nexthop;
use kstruct::{Fault, View as _};

use super::{Context, hop, inconsistent};
use crate::model::{Member, Nexthop, Resilient};
use crate::names;

const WHAT: &str = "next hop objects";

/// A namespace's next hop objects in the order of their numbers.
pub fn objects<'m>(context: &mut Context<'m, '_>) -> Vec<nexthop<'m>> {
    let mut found: Vec<nexthop<'m>> = Vec::new();
    for object in context.net.nexthop().rb_root().entries(nexthop::rb_node) {
        let Some(object) = context.faults.check(WHAT, object) else {
            continue;
        };
        // The tree is sorted by numbers, which are each one's own.
        if found.last().is_some_and(|last| last.id() >= object.id()) {
            context.faults.add(WHAT, inconsistent(object.addr()));
        }
        found.push(object);
    }
    found
}

/// What there is to say of them.
pub fn nexthops<'m>(context: &mut Context<'m, '_>, objects: &[nexthop<'m>]) -> Vec<Nexthop> {
    let mut found = Vec::new();
    for object in objects {
        let object = describe(context, *object);
        found.extend(context.faults.check(WHAT, object));
    }
    found
}

/// What `nh_fill_node` says of one.
fn describe<'m>(context: &mut Context<'m, '_>, object: nexthop<'m>) -> Result<Nexthop, Fault> {
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
        for (member, entry) in hop::members(object)? {
            context.object(member.as_ptr())?;
            out.group.push(Member {
                id: member.id(),
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

//! Rules that say which table is looked up (net/core/fib_rules.c).

use kernel::{fib_rule, fib_rules_ops, fib4_rule, fib6_rule};
use kstruct::{Fault, View as _};
use linux::net::order::be64;

use super::{Context, family, inconsistent, ipv4, prefix6};
use crate::model::{Family, Prefix, Rule};
use crate::names;

/// `FIB_RULE_INVERT`, include/uapi/linux/fib_rules.h.
const INVERT: u32 = 2;

/// A namespace's rules of a family, in the order in which they are tried.
pub fn rules(context: &mut Context<'_, '_>, wanted: Family) -> Vec<Rule> {
    const WHAT: &str = "rules";
    let mut found = Vec::new();
    for ops in context.net.rules_ops().entries(fib_rules_ops::list) {
        let Some(ops) = context.faults.check(WHAT, ops) else {
            continue;
        };
        if family(ops.family()) != Some(wanted) {
            continue;
        }
        for rule in ops.rules_list().entries(fib_rule::list) {
            if let Some(rule) = context.faults.check(WHAT, rule) {
                let rule = self::rule(context, wanted, rule);
                found.extend(context.faults.check(WHAT, rule));
            }
        }
    }
    found
}

/// What `fib_nl_fill_rule` says of a rule.
fn rule(context: &Context<'_, '_>, family: Family, common: fib_rule<'_>) -> Result<Rule, Fault> {
    let k = context.k;
    let (src, dst, dscp, realms) = match family {
        Family::Inet => {
            let rule = fib4_rule::at(k, common.addr())?;
            let prefix = |address, length| {
                (length != 0).then(|| Prefix {
                    address: ipv4(address),
                    length,
                })
            };
            // `fib_nl_newrule` takes no longer ones.
            if rule.src_len() > 32 || rule.dst_len() > 32 {
                return Err(inconsistent(common.addr()));
            }
            #[cfg(kernel_has = "fib4_rule.dscp")]
            let tos = rule.dscp();
            #[cfg(not(kernel_has = "fib4_rule.dscp"))]
            let tos = rule.tos();
            #[cfg(kernel_has = "fib4_rule.tclassid")]
            let realms = rule.tclassid();
            #[cfg(not(kernel_has = "fib4_rule.tclassid"))]
            let realms = 0;
            (
                prefix(rule.src(), rule.src_len()),
                prefix(rule.dst(), rule.dst_len()),
                tos,
                realms,
            )
        }
        Family::Inet6 => {
            let rule = fib6_rule::at(k, common.addr())?;
            let some = |prefix: Prefix| (prefix.length != 0).then_some(prefix);
            #[cfg(kernel_has = "fib6_rule.dscp")]
            let tos = rule.dscp();
            #[cfg(not(kernel_has = "fib6_rule.dscp"))]
            let tos = rule.tclass();
            (
                some(prefix6(rule.src())?),
                some(prefix6(rule.dst())?),
                tos,
                0,
            )
        }
    };
    let name = |name: kstruct::CharArray<'_>| (!name.is_empty()).then(|| name.to_string());
    let uids = (
        common.uid_range().start().val(),
        common.uid_range().end().val(),
    );
    let ports = |range: kernel::fib_rule_port_range<'_>| {
        (range.start() != 0).then(|| (range.start(), range.end()))
    };
    let action = action(common.action());
    let is_goto = action == "goto";
    let ipproto = common.ip_proto();
    Ok(Rule {
        netns: context.netns,
        family,
        priority: common.pref(),
        not: common.flags() & INVERT != 0,
        src,
        dst,
        tos: dscp,
        fwmark: common.mark(),
        fwmask: common.mark_mask(),
        iif: name(common.iifname()),
        iif_detached: !common.iifname().is_empty() && common.iifindex() == -1,
        oif: name(common.oifname()),
        oif_detached: !common.oifname().is_empty() && common.oifindex() == -1,
        l3mdev: common.l3mdev() != 0,
        // All users, which is no condition: `uid_range_set`.
        uid_range: (uids != (0, u32::MAX)).then_some(uids),
        ipproto: (ipproto != 0).then(|| names::ip_protocol(ipproto)),
        sport: ports(common.sport_range()),
        dport: ports(common.dport_range()),
        tun_id: be64(common.tun_id()),
        action,
        table: common.table(),
        table_name: names::table(common.table()),
        suppress_prefixlength: common.suppress_prefixlen(),
        suppress_ifgroup: common.suppress_ifgroup(),
        realms,
        goto: is_goto.then(|| common.target()),
        goto_unresolved: is_goto && common.ctarget().is_null(),
        protocol: names::protocol(common.proto()),
        address: common.addr(),
    })
}

/// `FR_ACT_*`, include/uapi/linux/fib_rules.h; those that end a search are numbered as types of routes.
fn action(number: u8) -> String {
    match number {
        1 => "to_tbl".to_owned(),
        2 => "goto".to_owned(),
        3 => "nop".to_owned(),
        other => names::route_type(other),
    }
}

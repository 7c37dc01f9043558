//! What is done with packets that a filter matches: `tc -s action`, named as in `tc -s -d -j filter show`.

use kstruct::Fault;
use linux::counter::Counter as _;

use super::Look;
use linux::details::{Details, hexadecimal};

/// `TCA_ACT_MAX_PRIO`
const MOST: usize = 32;

/// The actions of a filter.
pub fn actions(exts: kernel::tcf_exts<'_>, look: &Look<'_>) -> Result<Vec<Details>, Fault> {
    let count = usize::try_from(exts.nr_actions()).unwrap_or(0).min(MOST);
    let mut found = Vec::new();
    if exts.actions().is_null() {
        return Ok(found);
    }
    for (index, action) in exts.actions().array(count)?.iter().enumerate() {
        found.push(read(index, action.deref()?, look)?);
    }
    Ok(found)
}

/// How tc calls what is to be done with a packet (`action_n2a`).
fn name_of(action: i32) -> Option<&'static str> {
    const NAMES: [&str; 10] = [
        "continue",
        "pass",
        "reclassify",
        "drop",
        "pipe",
        "stolen",
        "queued",
        "repeat",
        "redirect",
        "trap",
    ];
    let index = usize::try_from(i64::from(action) + 1).ok()?;
    NAMES.get(index).copied()
}

/// What is to be done with the packet then (`TC_ACT_*`, include/uapi/linux/pkt_cls.h).
fn control(action: i32, look: &Look<'_>) -> Details {
    let mut out = Details::new();
    let low = action & 0x0fff_ffff;
    match (action.cast_unsigned() >> 28, action) {
        (1, _) => {
            out.set("type", "jump").set("jump", low);
        }
        (2, _) => {
            out.set("type", "goto").set("chain", low);
        }
        (_, action) => {
            match name_of(action) {
                Some(name) => out.set("type", name),
                None => out.set("type", action),
            };
        }
    }
    let _ = look;
    out
}

fn read(index: usize, action: kernel::tc_action<'_>, look: &Look<'_>) -> Result<Details, Fault> {
    let kind = action.ops().deref()?.kind();
    let mut out = Details::new();
    out.set("order", index as u64 + 1)
        .set("kind", kind.to_string());
    let own = own(&kind.to_string(), action, look, &mut out)?;
    if !own {
        out.set("control_action", control(action.tcfa_action(), look));
    }
    out.set("index", action.tcfa_index())
        .set("ref", action.tcfa_refcnt().value())
        .set("bind", action.tcfa_bindcnt().value());
    let times = action.tcfa_tm();
    let seconds = |then: u64| look.seconds_since(then);
    out.set_some("installed", seconds(times.install()))
        .set_some("last_used", seconds(times.lastuse()));
    if times.firstuse() != 0 {
        out.set_some("first_used", seconds(times.firstuse()));
    }
    out.set("stats", statistics(action, look.cpus)?);
    #[cfg(kernel_has = "tc_action.user_cookie")]
    let cookie = action.user_cookie();
    #[cfg(not(kernel_has = "tc_action.user_cookie"))]
    let cookie = action.act_cookie();
    if let Some(cookie) = cookie.deref_or_null()? {
        // TC_COOKIE_MAX_SIZE
        let length = (cookie.len() as usize).min(16);
        out.set("cookie", hexadecimal(cookie.data().array(length)?.bytes()));
    }
    Ok(out)
}

/// `tcf_action_copy_stats`, net/sched/act_api.c.
fn statistics(action: kernel::tc_action<'_>, cpus: &[u32]) -> Result<Details, Fault> {
    let (mut bytes, mut packets) = (
        action.tcfa_bstats().bytes().count(),
        action.tcfa_bstats().packets().count(),
    );
    let common = action.tcfa_qstats();
    let mut sums = [
        common.drops(),
        common.overlimits(),
        common.requeues(),
        common.backlog(),
        common.qlen(),
    ];
    if !action.cpu_bstats().is_null() {
        (bytes, packets) = (0, 0);
        for cpu in cpus {
            let stats = action.cpu_bstats().on_cpu(*cpu)?.deref()?;
            bytes = bytes.wrapping_add(stats.bytes().count());
            packets = packets.wrapping_add(stats.packets().count());
        }
    }
    if !action.cpu_qstats().is_null() {
        sums = [0; 5];
        for cpu in cpus {
            let stats = action.cpu_qstats().on_cpu(*cpu)?.deref()?;
            let own = [
                stats.drops(),
                stats.overlimits(),
                stats.requeues(),
                stats.backlog(),
                stats.qlen(),
            ];
            for (sum, own) in sums.iter_mut().zip(own) {
                *sum = sum.wrapping_add(own);
            }
        }
    }
    let mut out = Details::new();
    out.set("bytes", bytes).set("packets", packets);
    for (name, sum) in ["drops", "overlimits", "requeues", "backlog", "qlen"]
        .into_iter()
        .zip(sums)
    {
        out.set(name, sum);
    }
    Ok(out)
}

/// What an action of each kind has of its own. Says whether it has told what is done with the packet.
fn own(
    kind: &str,
    action: kernel::tc_action<'_>,
    look: &Look<'_>,
    out: &mut Details,
) -> Result<bool, Fault> {
    use kstruct::View as _;
    // The common part is the first of each.
    let of = action.as_ptr();
    match kind {
        #[cfg(kernel_has = "tcf_gact.tcfg_paction")]
        "gact" => {
            let gact = of.cast::<kernel::tcf_gact<'_>>().deref()?;
            out.set("control_action", control(action.tcfa_action(), look));
            let mut probability = Details::new();
            probability
                .set(
                    "random_type",
                    match gact.tcfg_ptype() {
                        1 => "netrand",
                        2 => "determ",
                        _ => "none",
                    },
                )
                .set("control_action", control(gact.tcfg_paction(), look))
                .set("val", gact.tcfg_pval());
            out.set("prob", probability);
            return Ok(true);
        }
        #[cfg(kernel_has = "tcf_mirred.tcfm_eaction")]
        "mirred" => {
            let mirred = of.cast::<kernel::tcf_mirred<'_>>().deref()?;
            // TCA_EGRESS_REDIR and so on, include/uapi/linux/tc_act/tc_mirred.h.
            let (what, direction) = match mirred.tcfm_eaction() {
                1 => ("redirect", "egress"),
                2 => ("mirror", "egress"),
                3 => ("redirect", "ingress"),
                4 => ("mirror", "ingress"),
                _ => ("unknown", "unknown"),
            };
            out.set("mirred_action", what).set("direction", direction);
            if let Some(device) = mirred.tcfm_dev().deref_or_null()? {
                out.set("to_dev", device.name().to_string());
            }
            #[cfg(kernel_has = "tcf_mirred.tcfm_blockid")]
            if mirred.tcfm_blockid() != 0 {
                out.set("to_block", mirred.tcfm_blockid());
            }
        }
        #[cfg(kernel_has = "tcf_police_params.tcfp_burst")]
        "police" => {
            police(of.cast::<kernel::tcf_police<'_>>().deref()?, out)?;
        }
        #[cfg(kernel_has = "tcf_skbedit_params.queue_mapping")]
        "skbedit" => {
            // SKBEDIT_F_*, include/uapi/linux/tc_act/tc_skbedit.h.
            let edit = of.cast::<kernel::tcf_skbedit<'_>>().deref()?;
            let edit = edit.params().deref()?;
            let flags = edit.flags();
            if flags & 2 != 0 {
                out.set("queue_mapping", edit.queue_mapping());
            }
            if flags & 1 != 0 {
                out.set("priority", crate::qdisc::units::class_id(edit.priority()));
            }
            if flags & 4 != 0 {
                out.set("mark", edit.mark());
            }
            if flags & 0x10 != 0 {
                out.set("mask", format!("{:x}", edit.mask()));
            }
            if flags & 8 != 0 {
                out.set("ptype", edit.ptype());
            }
            out.flag("inheritdsfield", flags & 0x20 != 0);
        }
        #[cfg(kernel_has = "tcf_pedit_parms.tcfp_keys")]
        "pedit" => pedit(of.cast::<kernel::tcf_pedit<'_>>().deref()?, out)?,
        #[cfg(any(kernel_has = "tcf_nat.old_addr", kernel_has = "tcf_nat_parms.old_addr"))]
        "nat" => {
            let nat = of.cast::<kernel::tcf_nat<'_>>().deref()?;
            #[cfg(kernel_has = "tcf_nat_parms.old_addr")]
            let nat = nat.parms().deref()?;
            let length = linux::net::order::be32(nat.mask()).leading_ones();
            // TCA_NAT_FLAG_EGRESS
            out.set(
                "direction",
                if nat.flags() & 1 != 0 {
                    "egress"
                } else {
                    "ingress"
                },
            )
            .set(
                "old_addr",
                format!("{}/{length}", linux::net::address::ipv4(nat.old_addr())),
            )
            .set(
                "new_addr",
                linux::net::address::ipv4(nat.new_addr()).to_string(),
            );
        }
        #[cfg(kernel_has = "tcf_vlan_params.tcfv_push_vid")]
        "vlan" => {
            let vlan = of.cast::<kernel::tcf_vlan<'_>>().deref()?;
            let vlan = vlan.vlan_p().deref()?;
            // TCA_VLAN_ACT_*, include/uapi/linux/tc_act/tc_vlan.h.
            let what = match vlan.tcfv_action() {
                1 => "pop",
                2 => "push",
                3 => "modify",
                4 => "pop_eth",
                5 => "push_eth",
                _ => "unknown",
            };
            out.set("vlan_action", what);
            if what == "push" || what == "modify" {
                out.set("id", vlan.tcfv_push_vid()).set(
                    "protocol",
                    crate::link::kinds::protocol(linux::net::order::be16(vlan.tcfv_push_proto())),
                );
                #[cfg(kernel_has = "tcf_vlan_params.tcfv_push_prio_exists")]
                if vlan.tcfv_push_prio_exists() {
                    out.set("priority", vlan.tcfv_push_prio());
                }
            }
            if what == "push_eth" {
                out.set(
                    "dst_mac",
                    linux::details::colons(vlan.tcfv_push_dst().bytes()),
                )
                .set(
                    "src_mac",
                    linux::details::colons(vlan.tcfv_push_src().bytes()),
                );
            }
        }
        #[cfg(kernel_has = "tcf_csum_params.update_flags")]
        "csum" => {
            // TCA_CSUM_UPDATE_FLAG_*, include/uapi/linux/tc_act/tc_csum.h.
            const NAMES: [&str; 7] = ["iph", "icmp", "igmp", "tcp", "udp", "udplite", "sctp"];
            let flags = of.cast::<kernel::tcf_csum<'_>>().deref()?;
            let flags = flags.params().deref()?.update_flags();
            let names = NAMES.iter().enumerate();
            let names: Vec<&str> = names
                .filter(|(bit, _)| flags >> bit & 1 != 0)
                .map(|(_, name)| *name)
                .collect();
            out.set("csum", names.join(", "));
        }
        #[cfg(kernel_has = "tcf_sample.psample_group_num")]
        "sample" => {
            let sample = of.cast::<kernel::tcf_sample<'_>>().deref()?;
            out.set("rate", sample.rate())
                .set("group", sample.psample_group_num());
            if sample.truncate() {
                out.set("trunc_size", sample.trunc_size());
            }
        }
        #[cfg(kernel_has = "tcf_ct_params.ct_action")]
        "ct" => {
            let ct = of.cast::<kernel::tcf_ct<'_>>().deref()?;
            let ct = ct.params().deref()?;
            // TCA_CT_ACT_*, include/uapi/linux/tc_act/tc_ct.h.
            let flags = ct.ct_action();
            out.flag("commit", flags & 1 != 0)
                .flag("force", flags & 2 != 0)
                .flag("clear", flags & 4 != 0)
                .flag("nat", flags & 8 != 0)
                .flag("nat_src", flags & 16 != 0)
                .flag("nat_dst", flags & 32 != 0);
            if ct.mark_mask() != 0 {
                out.set("mark", format!("{}/{:#x}", ct.mark(), ct.mark_mask()));
            }
            if ct.zone() != 0 {
                out.set("zone", ct.zone());
            }
        }
        #[cfg(kernel_has = "tcf_bpf.bpf_num_ops")]
        "bpf" => {
            let bpf = of.cast::<kernel::tcf_bpf<'_>>().deref()?;
            super::program(bpf.bpf_ops(), bpf.bpf_num_ops(), bpf.bpf_name(), out)?;
        }
        _ => {}
    }
    let _ = (of, look);
    Ok(false)
}

/// `tcf_police_dump`.
#[cfg(kernel_has = "tcf_police_params.tcfp_burst")]
fn police(police: kernel::tcf_police<'_>, out: &mut Details) -> Result<(), Fault> {
    use crate::qdisc::rates::{burst, lengths, rate};

    let parameters = police.params().deref()?;
    if parameters.rate_present() {
        let bytes = parameters.rate().rate_bytes_ps();
        rate(out, "rate", parameters.rate());
        out.set("burst", burst(bytes, parameters.tcfp_burst()));
    }
    out.set("mtu", parameters.tcfp_mtu());
    if parameters.peak_present() {
        rate(out, "peakrate", parameters.peak());
    }
    #[cfg(kernel_has = "tcf_police_params.pps_present")]
    if parameters.pps_present() {
        out.set("pkts_rate", parameters.ppsrate().rate_pkts_ps())
            .set("pkts_burst", parameters.tcfp_pkt_burst());
    }
    // What is done with packets that conform; those that exceed have the common action.
    match name_of(parameters.tcfp_result()) {
        Some(name) => out.set("conform", name),
        None => out.set("conform", parameters.tcfp_result()),
    };
    lengths(out, parameters.rate());
    Ok(())
}

/// `tcf_pedit_dump`.
#[cfg(kernel_has = "tcf_pedit_parms.tcfp_keys")]
fn pedit(pedit: kernel::tcf_pedit<'_>, out: &mut Details) -> Result<(), Fault> {
    let parameters = pedit.parms().deref()?;
    let count = usize::from(parameters.tcfp_nkeys());
    let extended = if parameters.tcfp_keys_ex().is_null() {
        None
    } else {
        Some(parameters.tcfp_keys_ex().array(count)?)
    };
    let mut keys = Vec::new();
    for (index, key) in parameters.tcfp_keys().array(count)?.iter().enumerate() {
        let mut details = Details::new();
        if let Some(extended) = extended.and_then(|extended| extended.get(index)) {
            // enum pedit_header_type, include/uapi/linux/tc_act/tc_pedit.h.
            const TYPES: [&str; 6] = ["network", "eth", "ipv4", "ipv6", "tcp", "udp"];
            let name = TYPES.get(extended.htype().0 as usize).copied();
            details.set("htype", name.unwrap_or("unknown"));
            details.set("offset", key.off());
            details.set("cmd", if extended.cmd().0 == 1 { "add" } else { "set" });
        } else {
            details.set("offset", key.off()).set("cmd", "set");
        }
        details
            .set("val", format!("{:x}", linux::net::order::be32(key.val())))
            .set("mask", format!("{:x}", linux::net::order::be32(key.mask())));
        keys.push(details);
    }
    out.set("nkeys", parameters.tcfp_nkeys()).set("keys", keys);
    Ok(())
}

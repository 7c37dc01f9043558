//! Bonds and their slaves (drivers/net/bonding/bond_netlink.c, bond_procfs.c).
#![cfg(kernel_has = "bonding.params")]

use kernel::net_device;
use kstruct::{Fault, Ptr, View as _};
use linux::Faults;
use linux::net::address::{ipv4, ipv6};
use linux::net::private;

use crate::sound;
use linux::details::{Details, colons};

const MODES: [&str; 7] = [
    "balance-rr",
    "active-backup",
    "balance-xor",
    "broadcast",
    "802.3ad",
    "balance-tlb",
    "balance-alb",
];
/// `BOND_MODE_ACTIVEBACKUP`
const ACTIVE_BACKUP: i32 = 1;
/// `BOND_MODE_8023AD`
const LACP: i32 = 4;

/// The name of a setting's value, or the number if it has none.
fn name(names: &[&str], value: i32) -> String {
    usize::try_from(value)
        .ok()
        .and_then(|index| names.get(index))
        .map_or_else(|| value.to_string(), |name| (*name).to_owned())
}

/// The slaves of a bond by the interfaces that it lies on, with the names of these. They know their bond, and it counts them.
fn slaves<'m>(
    device: net_device<'m>,
    bond: kernel::bonding<'m>,
    faults: &mut Faults,
) -> Vec<(kernel::slave<'m>, String)> {
    let what = &format!("slaves of {}", device.name());
    let before = faults.count();
    let is_lacp = bond.params().mode() == LACP;
    let mut found = Vec::new();
    let lower = device.adj_list().lower();
    for adjacent in lower.entries(kernel::netdev_adjacent::list) {
        let read = adjacent.and_then(|adjacent| {
            let slave = adjacent.private().cast::<kernel::slave<'_>>().deref()?;
            Ok((slave, adjacent.dev().deref()?))
        });
        let Some((slave, own)) = faults.check(what, read) else {
            continue;
        };
        let is_one = slave.dev().addr() == own.addr() && slave.bond().addr() == bond.addr();
        faults.require(is_one, what, slave.addr());
        // `bond_alloc_slave`: in this mode alone.
        let has_lacp = !slave.ad_info().is_null();
        faults.require(
            has_lacp == is_lacp,
            format_args!("mode of {what}"),
            slave.addr(),
        );
        found.push((slave, own.name().to_string()));
    }
    if faults.count() == before && sound::is_settled(device.memory()) {
        let is_all = i32::try_from(found.len()) == Ok(bond.slave_cnt());
        faults.require(is_all, what, bond.addr());
    }
    found
}

/// `bond_fill_info`.
pub fn bond(device: net_device<'_>, faults: &mut Faults) -> Result<Details, Fault> {
    let bond = private::<kernel::bonding<'_>>(device).deref()?;
    let parameters = bond.params();
    let mode = parameters.mode();
    let own = device.name();
    let slaves = slaves(device, bond, faults);
    // One of the slaves by its name.
    let mut one_of = |slave: Ptr<'_, kernel::slave<'_>>, what: &str| {
        let named = slaves.iter().find(|(one, _)| one.addr() == slave.addr());
        let holds = named.is_some() || slave.is_null();
        faults.require(holds, format_args!("{what} slave of {own}"), slave.addr());
        named.map(|(_, name)| name.clone())
    };
    let active = one_of(bond.curr_active_slave(), "active");
    let primary = one_of(bond.primary_slave(), "primary");
    let is_mode = usize::try_from(mode).is_ok_and(|mode| mode < MODES.len());
    faults.require(is_mode, format_args!("mode of {own}"), bond.addr());
    // `bond_change_active_slave`: no slave sends but the active one, and that by which ARP finds out whether there is anybody
    // (`bond_ab_arp_probe`).
    let idle = mode == ACTIVE_BACKUP && bond.curr_active_slave().is_null();
    let probes = bond.current_arp_slave().addr();
    let mut senders = slaves
        .iter()
        .filter(|(slave, _)| slave.backup() == 0 && slave.addr() != probes);
    let idle = idle && sound::is_settled(device.memory());
    if let Some((sender, name)) = senders.next().filter(|_| idle) {
        let what = format_args!("active slave of {own}, which {name} seems to be");
        faults.require(false, what, sender.addr());
    }
    let mut out = Details::new();
    out.set("mode", name(&MODES, mode));
    // bond_uses_primary: active-backup, balance-tlb, balance-alb.
    if [ACTIVE_BACKUP, 5, 6].contains(&mode) {
        out.set_some("active_slave", active);
    }
    let miimon = parameters.miimon();
    out.set("miimon", miimon)
        .set("updelay", parameters.updelay().wrapping_mul(miimon))
        .set("downdelay", parameters.downdelay().wrapping_mul(miimon))
        .set(
            "peer_notify_delay",
            parameters.peer_notif_delay().wrapping_mul(miimon),
        );
    #[cfg(kernel_has = "bond_params.use_carrier")]
    out.set("use_carrier", i32::from(parameters.use_carrier() != 0));
    out.set("arp_interval", parameters.arp_interval());
    #[cfg(kernel_has = "bond_params.missed_max")]
    out.set("arp_missed_max", parameters.missed_max());
    let targets: Vec<String> = parameters
        .arp_targets()
        .iter()
        .filter(|target| *target != 0)
        .map(|target| ipv4(target).to_string())
        .collect();
    if !targets.is_empty() {
        out.set("arp_ip_target", targets);
    }
    #[cfg(kernel_has = "bond_params.ns_targets")]
    {
        let targets: Vec<String> = parameters
            .ns_targets()
            .iter()
            .map(ipv6)
            .filter(|target| !target.is_unspecified())
            .map(|target| target.to_string())
            .collect();
        if !targets.is_empty() {
            out.set("ns_ip6_target", targets);
        }
    }
    const VALIDATE: [&str; 7] = [
        "none",
        "active",
        "backup",
        "all",
        "filter",
        "filter_active",
        "filter_backup",
    ];
    out.set("arp_validate", name(&VALIDATE, parameters.arp_validate()))
        .set(
            "arp_all_targets",
            name(&["any", "all"], parameters.arp_all_targets()),
        );
    out.set_some("primary", primary);
    const POLICIES: [&str; 6] = [
        "layer2",
        "layer3+4",
        "layer2+3",
        "encap2+3",
        "encap3+4",
        "vlan+srcmac",
    ];
    out.set(
        "primary_reselect",
        name(
            &["always", "better", "failure"],
            parameters.primary_reselect(),
        ),
    )
    .set(
        "fail_over_mac",
        name(&["none", "active", "follow"], parameters.fail_over_mac()),
    )
    .set(
        "xmit_hash_policy",
        name(&POLICIES, parameters.xmit_policy()),
    )
    .set("resend_igmp", parameters.resend_igmp())
    .set("num_peer_notif", parameters.num_peer_notif())
    .set("all_slaves_active", parameters.all_slaves_active())
    .set("min_links", parameters.min_links())
    .set("lp_interval", parameters.lp_interval())
    .set("packets_per_slave", parameters.packets_per_slave());
    #[cfg(kernel_has = "bond_params.lacp_active")]
    out.set(
        "ad_lacp_active",
        name(&["off", "on"], parameters.lacp_active()),
    );
    out.set(
        "ad_lacp_rate",
        name(&["slow", "fast"], parameters.lacp_fast()),
    )
    .set(
        "ad_select",
        name(&["stable", "bandwidth", "count"], parameters.ad_select()),
    )
    .set("tlb_dynamic_lb", parameters.tlb_dynamic_lb());
    #[cfg(kernel_has = "bond_params.coupled_control")]
    if mode == LACP {
        out.set("coupled_control", parameters.coupled_control());
    }
    if mode == LACP {
        let system = bond.ad_info().system();
        out.set("ad_system_priority", system.sys_priority()).set(
            "ad_system_mac",
            colons(system.sys_mac_addr().mac_addr_value().bytes()),
        );
    }
    if mode == LACP {
        for (slave, name) in &slaves {
            let read = active_aggregator(*slave, &mut out);
            faults.check(format_args!("aggregator of {name}"), read);
        }
        out.set("ad_actor_sys_prio", parameters.ad_actor_sys_prio())
            .set("ad_user_port_key", parameters.ad_user_port_key())
            .set(
                "ad_actor_system",
                colons(
                    parameters
                        .ad_actor_system()
                        .bytes()
                        .get(..6)
                        .unwrap_or_default(),
                ),
            );
    }
    let names: Vec<String> = slaves.into_iter().map(|(_, name)| name).collect();
    out.set("slaves", names);
    Ok(out)
}

/// What `__bond_3ad_get_active_agg_info` says: of the aggregator that is active.
fn active_aggregator(slave: kernel::slave<'_>, out: &mut Details) -> Result<(), Fault> {
    let Some(info) = slave.ad_info().deref_or_null()? else {
        return Ok(());
    };
    // Each slave has an aggregator of its own; at most one of them is active.
    let aggregator = info.aggregator();
    if aggregator.is_active() == 0 {
        return Ok(());
    }
    let mut details = Details::new();
    details
        .set("aggregator", aggregator.aggregator_identifier())
        .set("num_ports", aggregator.num_of_ports())
        .set("actor_key", aggregator.actor_oper_aggregator_key())
        .set("partner_key", aggregator.partner_oper_aggregator_key())
        .set(
            "partner_mac",
            colons(aggregator.partner_system().mac_addr_value().bytes()),
        );
    out.set("ad_info", details);
    Ok(())
}

/// `bond_fill_slave_info`, and what /proc/net/bonding has besides.
pub fn slave(
    device: net_device<'_>,
    master: net_device<'_>,
    faults: &mut Faults,
) -> Result<Details, Fault> {
    let slave = device
        .rx_handler_data()
        .cast::<kernel::slave<'_>>()
        .deref()?;
    let is_its = slave.dev().addr() == device.addr();
    faults.require(
        is_its,
        format_args!("slave that {} is", device.name()),
        slave.addr(),
    );
    let mode = private::<kernel::bonding<'_>>(master)
        .deref()?
        .params()
        .mode();
    let mut out = Details::new();
    out.set(
        "state",
        if slave.backup() == 0 {
            "ACTIVE"
        } else {
            "BACKUP"
        },
    )
    .set(
        "mii_status",
        name(
            &["UP", "GOING_DOWN", "DOWN", "GOING_BACK"],
            i32::from(slave.link()),
        ),
    )
    .set("link_failure_count", slave.link_failure_count())
    .set(
        "perm_hwaddr",
        colons(
            slave
                .perm_hwaddr()
                .bytes()
                .get(..usize::from(device.addr_len()))
                .unwrap_or_default(),
        ),
    )
    .set("queue_id", slave.queue_id());
    #[cfg(kernel_has = "slave.prio")]
    out.set("prio", slave.prio());
    out.set("speed", slave.speed())
        .set("duplex", slave.duplex());
    if mode == LACP
        && let Some(info) = slave.ad_info().deref_or_null()?
    {
        let read = lacp(info, &mut out);
        faults.check(format_args!("LACP of {}", device.name()), read);
    }
    Ok(out)
}

/// `enum` of bits of a port's state (include/net/bond_3ad.h).
const PORT_STATES: [&str; 8] = [
    "active",
    "short_timeout",
    "aggregating",
    "in_sync",
    "collecting",
    "distributing",
    "defaulted",
    "expired",
];

fn port_states(state: u16) -> Vec<&'static str> {
    PORT_STATES
        .into_iter()
        .enumerate()
        .filter(|(bit, _)| state >> bit & 1 != 0)
        .map(|(_, name)| name)
        .collect()
}

fn lacp(info: kernel::ad_slave_info<'_>, out: &mut Details) -> Result<(), Fault> {
    let port = info.port();
    let partner = port.partner_oper();
    if let Some(aggregator) = port.aggregator().deref_or_null()? {
        out.set("ad_aggregator_id", aggregator.aggregator_identifier());
    }
    let actor_state = u16::from(port.actor_oper_port_state());
    out.set("ad_actor_oper_port_state", actor_state)
        .set("ad_actor_oper_port_state_str", port_states(actor_state))
        .set("ad_partner_oper_port_state", partner.port_state())
        .set(
            "ad_partner_oper_port_state_str",
            port_states(partner.port_state()),
        );
    // AD_CHURN_MONITOR, AD_CHURN, AD_NO_CHURN.
    let churn = |state: u32| name(&["monitoring", "churned", "none"], state.cast_signed());
    out.set("actor_churn_state", churn(port.sm_churn_actor_state().0))
        .set(
            "partner_churn_state",
            churn(port.sm_churn_partner_state().0),
        )
        .set("actor_churned_count", port.churn_actor_count())
        .set("partner_churned_count", port.churn_partner_count());
    let mut actor = Details::new();
    actor
        .set("system_priority", port.actor_system_priority())
        .set(
            "system_mac_address",
            colons(port.actor_system().mac_addr_value().bytes()),
        )
        .set("port_key", port.actor_oper_port_key())
        .set("port_priority", port.actor_port_priority())
        .set("port_number", port.actor_port_number())
        .set("port_state", actor_state);
    let mut other = Details::new();
    other
        .set("system_priority", partner.system_priority())
        .set(
            "system_mac_address",
            colons(partner.system().mac_addr_value().bytes()),
        )
        .set("oper_key", partner.key())
        .set("port_priority", partner.port_priority())
        .set("port_number", partner.port_number())
        .set("port_state", partner.port_state());
    out.set("actor", actor).set("partner", other);
    Ok(())
}

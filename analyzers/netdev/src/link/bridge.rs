//! Bridges, their ports, what they have learned, their VLANs and groups (net/bridge).
#![cfg(all(
    kernel_has = "net_bridge.multicast_ctx",
    kernel_has = "net_bridge_mdb_entry"
))]

use std::collections::BTreeSet;
use std::fmt::Display;

use kernel::net_device;
use kstruct::{Fault, FaultKind, View as _};
use linux::Faults;
use linux::net::address::{ipv4, ipv6};
use linux::net::order::{be16, be64};
use linux::net::private;
use linux::time::{Clock, jiffies_since};

use crate::sound;
use linux::details::{Details, Value, colons};

/// `enum net_bridge_opts`, net/bridge/br_private.h: bits of `net_bridge.options`.
fn option(bridge: kernel::net_bridge<'_>, bit: kernel::net_bridge_opts) -> bool {
    bridge.options() >> (bit.0 & 63) & 1 != 0
}

/// The bridge behind an interface.
pub fn of(device: net_device<'_>) -> Result<kernel::net_bridge<'_>, Fault> {
    private::<kernel::net_bridge<'_>>(device).deref()
}

/// The port that an interface is. It is what the interface's receive handler is told.
fn port_of(device: net_device<'_>) -> Result<kernel::net_bridge_port<'_>, Fault> {
    let port = device.rx_handler_data();
    let port = port.cast::<kernel::net_bridge_port<'_>>().deref()?;
    if port.dev().addr() != device.addr() {
        return Err(contradiction(port.addr()));
    }
    Ok(port)
}

fn contradiction(address: u64) -> Fault {
    let kind = FaultKind::Inconsistent;
    Fault { address, kind }
}

/// The names of a bridge's ports. They know their bridge and their interface, this knows them, and the bridge lies on these and no others.
fn ports(device: net_device<'_>, br: kernel::net_bridge<'_>, faults: &mut Faults) -> Vec<String> {
    let what = &format!("ports of {}", device.name());
    let before = faults.count();
    let lower = device.adj_list().lower();
    let lower = lower.entries(kernel::netdev_adjacent::list);
    let mut below: BTreeSet<u64> = lower.flatten().map(|it| it.dev().addr()).collect();
    let mut names = Vec::new();
    for port in br.port_list().entries(kernel::net_bridge_port::list) {
        let read = port.and_then(|port| Ok((port, port.dev().deref()?)));
        let Some((port, own)) = faults.check(what, read) else {
            continue;
        };
        let is_one = port.br().addr() == br.addr() && own.rx_handler_data().addr() == port.addr();
        faults.require(is_one && below.remove(&own.addr()), what, port.addr());
        names.push(own.name().to_string());
    }
    if faults.count() == before && sound::is_settled(device.memory()) {
        for other in below {
            faults.require(false, what, other);
        }
    }
    names
}

/// That a list has as many as the hash table that has the same.
fn counted(
    found: usize,
    table: kernel::rhashtable<'_>,
    what: &str,
    before: u64,
    faults: &mut Faults,
) {
    // Of what can't be read the number is not known.
    if faults.count() == before && !table.memory().dump().is_live() {
        let counted = i64::from(table.nelems().value());
        faults.require(i64::try_from(found) == Ok(counted), what, table.addr());
    }
}

/// `BR_STATE_*`, include/uapi/linux/if_bridge.h: the name, or the number of one that has none.
fn state(number: u8, what: impl Display, address: u64, faults: &mut Faults) -> String {
    const STATES: [&str; 5] = [
        "disabled",
        "listening",
        "learning",
        "forwarding",
        "blocking",
    ];
    let name = STATES.get(usize::from(number));
    faults.require(name.is_some(), format_args!("state of {what}"), address);
    name.map_or_else(|| number.to_string(), |name| (*name).to_owned())
}

/// Jiffies in hundredths of a second, as user space is told (`jiffies_to_clock_t`).
fn clock_ticks(device: net_device<'_>, jiffies: u64) -> Result<u64, Fault> {
    let hz = linux::time::hz(device.memory())?.unwrap_or(100);
    Ok((u128::from(jiffies) * 100 / u128::from(hz.max(1))) as u64)
}

/// Seconds until a timer fires, in hundredths as user space is told (`br_timer_value`, net/bridge/br_stp_timer.c); 0 if it doesn't run.
fn timer_value(device: net_device<'_>, timer: kernel::timer_list<'_>) -> Result<f64, Fault> {
    // `timer_pending`
    if timer.entry().pprev().is_null() {
        return Ok(0.0);
    }
    let k = device.memory();
    let now = linux::time::jiffies(k)?;
    let left = jiffies_since(k, timer.expires(), now);
    Ok(clock_ticks(device, left)? as f64 / 100.0)
}

/// `8000.2:0:0:0:0:4`
fn identifier(id: kernel::bridge_id<'_>) -> String {
    let mut out = String::new();
    for byte in id.prio().iter() {
        out.push_str(&format!("{byte:02x}"));
    }
    for (index, byte) in id.addr_().iter().enumerate() {
        let before = if index == 0 { '.' } else { ':' };
        out.push_str(&format!("{before}{byte:x}"));
    }
    out
}

/// `br_fill_info`, net/bridge/br_netlink.c.
pub fn bridge(device: net_device<'_>, faults: &mut Faults) -> Result<Details, Fault> {
    use kernel::net_bridge_opts as opts;
    let br = of(device)?;
    let ticks = |jiffies: u64| clock_ticks(device, jiffies);
    let number = |value: bool| u32::from(value);
    let mut out = Details::new();
    let priority = br.bridge_id().prio();
    let priority = u16::from_be_bytes([
        priority.get(0).unwrap_or_default(),
        priority.get(1).unwrap_or_default(),
    ]);
    // What the bridge has been told, as long as another one isn't the root.
    out.set("forward_delay", ticks(br.forward_delay())?)
        .set("hello_time", ticks(br.hello_time())?)
        .set("max_age", ticks(br.max_age())?)
        .set("ageing_time", ticks(br.ageing_time())?)
        .set("stp_state", br.stp_enabled().0)
        .set("priority", priority)
        .set(
            "vlan_filtering",
            number(option(br, opts::BROPT_VLAN_ENABLED)),
        )
        .set(
            "vlan_protocol",
            super::kinds::protocol(be16(br.vlan_proto())),
        )
        .set("bridge_id", identifier(br.bridge_id()))
        .set("root_id", identifier(br.designated_root()))
        .set("root_port", br.root_port())
        .set("root_path_cost", br.root_path_cost())
        .set("topology_change", br.topology_change())
        .set("topology_change_detected", br.topology_change_detected());
    #[cfg(kernel_has = "net_bridge.fdb_n_learned")]
    out.set("fdb_n_learned", br.fdb_n_learned().value())
        .set("fdb_max_learned", br.fdb_max_learned());
    out.set("vlan_default_pvid", br.default_pvid())
        .set(
            "vlan_stats_enabled",
            number(option(br, opts::BROPT_VLAN_STATS_ENABLED)),
        )
        .set(
            "vlan_stats_per_port",
            number(option(br, opts::BROPT_VLAN_STATS_PER_PORT)),
        )
        .set("group_fwd_mask", hex(br.group_fwd_mask().into()))
        .set("group_addr", colons(br.group_addr().bytes()))
        .set(
            "mcast_snooping",
            number(option(br, opts::BROPT_MULTICAST_ENABLED)),
        )
        .set(
            "no_linklocal_learn",
            number(option(br, opts::BROPT_NO_LL_LEARN)),
        )
        .set(
            "mcast_vlan_snooping",
            number(option(br, opts::BROPT_MCAST_VLAN_SNOOPING_ENABLED)),
        );
    let multicast = br.multicast_ctx();
    out.set("mcast_router", multicast.multicast_router())
        .set(
            "mcast_query_use_ifaddr",
            number(option(br, opts::BROPT_MULTICAST_QUERY_USE_IFADDR)),
        )
        .set("mcast_querier", multicast.multicast_querier())
        // RHT_ELASTICITY, which it isn't any more.
        .set("mcast_hash_elasticity", 16_u32)
        .set("mcast_hash_max", br.hash_max())
        .set(
            "mcast_last_member_cnt",
            multicast.multicast_last_member_count(),
        )
        .set(
            "mcast_startup_query_cnt",
            multicast.multicast_startup_query_count(),
        )
        .set(
            "mcast_last_member_intvl",
            ticks(multicast.multicast_last_member_interval())?,
        )
        .set(
            "mcast_membership_intvl",
            ticks(multicast.multicast_membership_interval())?,
        )
        .set(
            "mcast_querier_intvl",
            ticks(multicast.multicast_querier_interval())?,
        )
        .set(
            "mcast_query_intvl",
            ticks(multicast.multicast_query_interval())?,
        )
        .set(
            "mcast_query_response_intvl",
            ticks(multicast.multicast_query_response_interval())?,
        )
        .set(
            "mcast_startup_query_intvl",
            ticks(multicast.multicast_startup_query_interval())?,
        )
        .set(
            "mcast_stats_enabled",
            number(option(br, opts::BROPT_MULTICAST_STATS_ENABLED)),
        )
        .set("mcast_igmp_version", multicast.multicast_igmp_version())
        .set("mcast_mld_version", multicast.multicast_mld_version())
        .set(
            "nf_call_iptables",
            number(option(br, opts::BROPT_NF_CALL_IPTABLES)),
        )
        .set(
            "nf_call_ip6tables",
            number(option(br, opts::BROPT_NF_CALL_IP6TABLES)),
        )
        .set(
            "nf_call_arptables",
            number(option(br, opts::BROPT_NF_CALL_ARPTABLES)),
        );
    for (name, timer) in [
        ("hello_timer", br.hello_timer()),
        ("tcn_timer", br.tcn_timer()),
        ("topology_change_timer", br.topology_change_timer()),
        ("gc_timer", br.gc_work().timer()),
    ] {
        out.set(name, timer_value(device, timer)?);
    }
    out.set("ports", ports(device, br, faults));
    Ok(out)
}

/// As tools print masks: 0 without `0x`.
fn hex(value: u64) -> String {
    match value {
        0 => "0".into(),
        value => format!("{value:#x}"),
    }
}

/// `br_port_fill_attrs`.
pub fn port(device: net_device<'_>, faults: &mut Faults) -> Result<Details, Fault> {
    let port = port_of(device)?;
    let flag = |bit: u32| port.flags() >> bit & 1 != 0;
    let mut out = Details::new();
    out.set(
        "state",
        state(port.state(), device.name(), port.addr(), faults),
    )
    .set("priority", port.priority())
    .set("cost", port.path_cost());
    // BR_HAIRPIN_MODE and so on, include/linux/if_bridge.h.
    for (name, bit) in [
        ("hairpin", 0),
        ("guard", 1),
        ("root_block", 2),
        ("fastleave", 3),
        ("learning", 5),
        ("flood", 6),
    ] {
        out.set(name, flag(bit));
    }
    out.set("id", format!("{:#x}", port.port_id()))
        .set("no", format!("{:#x}", port.port_no()))
        .set("designated_port", port.designated_port())
        .set("designated_cost", port.designated_cost())
        .set("bridge_id", identifier(port.designated_bridge()))
        .set("root_id", identifier(port.designated_root()))
        .set("topology_change_ack", port.topology_change_ack())
        .set("config_pending", port.config_pending());
    for (name, bit) in [("proxy_arp", 8), ("proxy_arp_wifi", 10)] {
        out.set(name, flag(bit));
    }
    out.set("multicast_router", port.multicast_ctx().multicast_router());
    for (name, bit) in [
        ("mcast_flood", 11),
        ("bcast_flood", 14),
        ("mcast_to_unicast", 12),
        ("neigh_suppress", 15),
        ("vlan_tunnel", 13),
        ("isolated", 16),
        ("locked", 21),
        ("mab", 22),
    ] {
        out.set(name, flag(bit));
    }
    out.set("group_fwd_mask", hex(port.group_fwd_mask().into()));
    for (name, timer) in [
        ("message_age_timer", port.message_age_timer()),
        ("forward_delay_timer", port.forward_delay_timer()),
        ("hold_timer", port.hold_timer()),
    ] {
        out.set(name, timer_value(device, timer)?);
    }
    #[cfg(kernel_has = "net_bridge_port.backup_port")]
    if let Some(backup) = port.backup_port().deref_or_null()? {
        out.set("backup_port", backup.dev().deref()?.name().to_string());
    }
    #[cfg(kernel_has = "net_bridge_port.stp_xstats")]
    {
        let stats = port.stp_xstats();
        let mut details = Details::new();
        details
            .set("rx_bpdu", stats.rx_bpdu())
            .set("tx_bpdu", stats.tx_bpdu())
            .set("rx_tcn", stats.rx_tcn())
            .set("tx_tcn", stats.tx_tcn())
            .set("transition_blk", stats.transition_blk())
            .set("transition_fwd", stats.transition_fwd());
        out.set("xstats", details);
    }
    Ok(out)
}

/// What `bridge -s fdb` shows of a bridge: of its ports and of itself (`br_fdb_dump`, `fdb_fill_info`), in the order of its list.
pub fn forwarding(
    device: net_device<'_>,
    clock: Clock,
    faults: &mut Faults,
) -> Result<Vec<Details>, Fault> {
    let k = device.memory();
    let br = of(device)?;
    let seconds = |then: u64| {
        clock
            .hz
            .and_then(|hz| jiffies_since(k, clock.now, then).checked_div(hz))
    };
    let hold = if br.topology_change() != 0 {
        br.forward_delay()
    } else {
        br.ageing_time()
    };
    let what = &format!("forwarding table of {}", device.name());
    let before = faults.count();
    let mut found = Vec::new();
    for entry in br
        .fdb_list()
        .entries(kernel::net_bridge_fdb_entry::fdb_node)
    {
        let read = entry.and_then(|entry| {
            let interface = match entry.dst().deref_or_null()? {
                Some(port) if port.br().addr() != br.addr() => {
                    return Err(contradiction(entry.addr()));
                }
                Some(port) => port.dev().deref()?,
                None => device,
            };
            Ok((entry, interface))
        });
        let Some((entry, interface)) = faults.check(what, read) else {
            continue;
        };
        // BR_FDB_LOCAL and so on, net/bridge/br_private.h.
        let flag = |bit: u32| entry.flags() >> bit & 1 != 0;
        let mut row = Details::new();
        row.set("mac", colons(entry.key().addr_().bytes()));
        row.set("ifname", interface.name().to_string());
        if entry.key().vlan_id() != 0 {
            row.set("vlan", entry.key().vlan_id());
        }
        let mut flags = Vec::new();
        for (name, bit) in [("extern_learn", 4), ("offload", 5), ("sticky", 2)] {
            if flag(bit) {
                flags.push(name);
            }
        }
        row.set("flags", flags)
            .set("master", device.name().to_string())
            .set_some("used", seconds(entry.used()))
            .set_some("updated", seconds(entry.updated()));
        let state = if flag(0) {
            "permanent"
        } else if flag(1) {
            "static"
        } else if !flag(4) && jiffies_since(k, clock.now, entry.updated()) >= hold {
            "stale"
        } else {
            ""
        };
        row.set("state", state);
        found.push(row);
    }
    counted(found.len(), br.fdb_hash_tbl(), what, before, faults);
    Ok(found)
}

/// The addresses of an interface's own filter, which `bridge fdb` shows with `self` (`ndo_dflt_fdb_dump`, net/core/rtnetlink.c).
pub fn own_addresses(device: net_device<'_>) -> Result<Vec<Details>, Fault> {
    /// `ARPHRD_ETHER`
    const ETHERNET: u16 = 1;
    let mut found = Vec::new();
    if device.type_() != ETHERNET {
        return Ok(found);
    }
    let own = linux::net::hardware_address(device)?;
    for list in [device.uc(), device.mc()] {
        for address in list.list().entries(kernel::netdev_hw_addr::list) {
            let address = address?.addr_();
            let bytes = address.bytes().get(..own.len()).unwrap_or_default();
            let mut row = Details::new();
            row.set("mac", colons(bytes))
                .set("flags", vec!["self"])
                .set("state", "permanent");
            found.push(row);
        }
    }
    Ok(found)
}

/// A bridge's own VLANs, or those of a port.
pub fn vlans(
    device: net_device<'_>,
    is_bridge: bool,
    cpus: &[u32],
    faults: &mut Faults,
) -> Result<Vec<Details>, Fault> {
    /// `VLAN_VID_MASK`: the highest number there is is one less.
    const NONE: u16 = 0xfff;
    use linux::counter::Counter as _;
    let group = if is_bridge {
        of(device)?.vlgrp()
    } else {
        port_of(device)?.vlgrp()
    };
    let mut found = Vec::new();
    let Some(group) = group.deref_or_null()? else {
        return Ok(found);
    };
    let what = &format!("VLANs of {}", device.name());
    let (before, mut listed) = (faults.count(), 0);
    for vlan in group.vlan_list().entries(kernel::net_bridge_vlan::vlist) {
        let Some(vlan) = faults.check(what, vlan) else {
            continue;
        };
        listed += 1;
        let is_one = (1..NONE).contains(&vlan.vid());
        faults.require(is_one, what, vlan.addr());
        // BRIDGE_VLAN_INFO_*, include/uapi/linux/if_bridge.h.
        let (brentry, untagged) = (vlan.flags() & 0x20 != 0, vlan.flags() & 4 != 0);
        // A bridge has an entry for each VLAN of its ports; it takes part only in those.
        if is_bridge && !brentry {
            continue;
        }
        let mut flags = Vec::new();
        if vlan.vid() == group.pvid() {
            flags.push("PVID");
        }
        if untagged {
            flags.push("Egress Untagged");
        }
        let mut row = Details::new();
        row.set("vlan", vlan.vid());
        if !flags.is_empty() {
            row.set("flags", flags);
        }
        row.set("state", state(vlan.state(), what, vlan.addr(), faults));
        if vlan.tinfo().tunnel_id() != 0 {
            // The number of the tunnel is its upper half, as a packet of vxlan has it.
            row.set("tunnel_id", be64(vlan.tinfo().tunnel_id()));
        }
        let mut sums = [0_u64; 4];
        if !vlan.stats().is_null() {
            for cpu in cpus {
                let stats = vlan.stats().on_cpu(*cpu).and_then(|stats| stats.deref());
                let Some(stats) = faults.check(what, stats) else {
                    continue;
                };
                sums[0] = sums[0].wrapping_add(stats.rx_bytes().count());
                sums[1] = sums[1].wrapping_add(stats.rx_packets().count());
                sums[2] = sums[2].wrapping_add(stats.tx_bytes().count());
                sums[3] = sums[3].wrapping_add(stats.tx_packets().count());
            }
        }
        row.set("rx_bytes", sums[0])
            .set("rx_packets", sums[1])
            .set("tx_bytes", sums[2])
            .set("tx_packets", sums[3]);
        found.push(row);
    }
    counted(listed, group.vlan_hash(), what, before, faults);
    Ok(found)
}

/// What `bridge -d mdb` shows (`br_mdb_fill_info`, net/bridge/br_mdb.c).
pub fn groups(device: net_device<'_>, faults: &mut Faults) -> Result<Vec<Details>, Fault> {
    let br = of(device)?;
    let what = &format!("groups of {}", device.name());
    let (before, mut listed) = (faults.count(), 0);
    let mut found = Vec::new();
    for entry in br
        .mdb_list()
        .entries(kernel::net_bridge_mdb_entry::mdb_node)
    {
        let Some(entry) = faults.check(what, entry) else {
            continue;
        };
        listed += 1;
        if entry.host_joined() {
            let mut row = group_row(device, entry.addr_());
            row.set("port", device.name().to_string())
                .set("state", "temp")
                .set("flags", Vec::<&str>::new());
            found.push(row);
        }
        let ports = kstruct::walk::chain(
            Ok(entry.ports()),
            |group: kernel::net_bridge_port_group<'_>| group.next(),
        );
        for port in ports {
            let read = port.and_then(|port| {
                let own = port.key().port().deref()?;
                if own.br().addr() != br.addr() {
                    return Err(contradiction(port.addr()));
                }
                Ok((port, own.dev().deref()?))
            });
            let Some((port, interface)) = faults.check(what, read) else {
                continue;
            };
            let mut row = group_row(device, entry.addr_());
            // MDB_PG_FLAGS_*, net/bridge/br_private.h.
            const FLAGS: [(u8, &str); 5] = [
                (2, "offload"),
                (4, "fast_leave"),
                (8, "added_by_star_ex"),
                (16, "blocked"),
                (32, "host_joined"),
            ];
            let flags: Vec<&str> = FLAGS
                .iter()
                .filter(|(flag, _)| port.flags() & flag != 0)
                .map(|(_, name)| *name)
                .collect();
            row.set("port", interface.name().to_string())
                .set(
                    "state",
                    if port.flags() & 1 != 0 {
                        "permanent"
                    } else {
                        "temp"
                    },
                )
                .set("flags", flags)
                .set(
                    "filter_mode",
                    if port.filter_mode() == 0 {
                        "exclude"
                    } else {
                        "include"
                    },
                )
                .set("rt_protocol", port.rt_protocol());
            let mut sources: Vec<Value> = Vec::new();
            for source in port.src_list().entries(kernel::net_bridge_group_src::node) {
                let Some(source) = faults.check(what, source) else {
                    continue;
                };
                let address = source.addr_();
                sources.push(if be16(address.proto()) == 0x86dd {
                    ipv6(address.src().ip6()).to_string().into()
                } else {
                    ipv4(address.src().ip4()).to_string().into()
                });
            }
            if !sources.is_empty() {
                row.set("source_list", sources);
            }
            found.push(row);
        }
    }
    counted(listed, br.mdb_hash_tbl(), what, before, faults);
    Ok(found)
}

fn group_row(device: net_device<'_>, address: kernel::br_ip<'_>) -> Details {
    let mut row = Details::new();
    row.set("dev", device.name().to_string());
    // ETH_P_IP, ETH_P_IPV6; others are hardware addresses.
    let (group, source) = match be16(address.proto()) {
        0x0800 => (
            ipv4(address.dst().ip4()).to_string(),
            Some(address.src().ip4())
                .filter(|source| *source != 0)
                .map(|source| ipv4(source).to_string()),
        ),
        0x86dd => (
            ipv6(address.dst().ip6()).to_string(),
            Some(ipv6(address.src().ip6()))
                .filter(|source| !source.is_unspecified())
                .map(|source| source.to_string()),
        ),
        _ => (colons(address.dst().mac_addr().bytes()), None),
    };
    row.set("grp", group).set_some("src", source);
    if address.vid() != 0 {
        row.set("vid", address.vid());
    }
    row
}

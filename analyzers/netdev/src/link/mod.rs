//! What `ip -d link`, `ethtool -i`, `ethtool -k` and /sys/class/net show of an interface beyond its name, flags and counters.

pub mod bond;
pub mod bridge;
pub mod kinds;
#[cfg(any(
    kernel_has = "vxlan_dev.cfg",
    kernel_has = "geneve_dev.cfg",
    kernel_has = "ip_tunnel.parms.iph",
    kernel_has = "ip6_tnl.parms.link"
))]
pub mod tunnel;

use std::collections::BTreeMap;

use kernel::net_device;
#[cfg(kernel_has = "sym:netdev_features_strings")]
use kernel::sym;
use kstruct::{Fault, Memory};
use linux::Faults;
use serde::Serialize;

use linux::details::{Details, Value};

/// Names of interfaces by their namespace (`net`'s address) and index, by which kernels refer to them.
pub type Names = BTreeMap<(u64, i32), String>;

/// What is said of an interface.
#[derive(Debug, Default, Serialize)]
pub struct Link {
    /// Of all interfaces: named as in `ip -d -j link`.
    pub link: Details,
    /// Of its kind (`info_data` of `ip -d -j link`).
    #[serde(skip_serializing_if = "Details::is_empty")]
    pub info_data: Details,
    /// The kind of what it is a part of: `bond`, `bridge`, `vrf`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub info_slave_kind: Option<String>,
    /// Of its part in that.
    #[serde(skip_serializing_if = "Details::is_empty")]
    pub info_slave_data: Details,
    /// What is switched on, as `ethtool -k` names it.
    pub features: Vec<String>,
    /// `ethtool -i`: `driver`, `bus`, `bus_info`.
    pub driver: Details,
}

/// The namespace that an interface is in, as an address: 0 where there are none.
pub fn namespace(device: net_device<'_>) -> u64 {
    #[cfg(kernel_has = "net_device.nd_net.net")]
    {
        device.nd_net().net().addr()
    }
    #[cfg(not(kernel_has = "net_device.nd_net.net"))]
    {
        let _ = device;
        0
    }
}

/// Reads all of it. What can't be read is left out and counted.
pub fn read(k: &Memory, device: net_device<'_>, names: &Names, faults: &mut Faults) -> Link {
    let name = device.name();
    let mut link = Link::default();
    let generic = generic(k, device, names, &mut link.link);
    faults.check(format_args!("attributes of {name}"), generic);
    let kind = linux::net::kind(device).unwrap_or_default();
    let data = kinds::data(&kind, device, names, faults);
    if let Some(data) = faults.check(format_args!("what {name} has as {kind}"), data) {
        link.info_data = data;
    }
    let slave = slave(device, faults);
    if let Some(Some((kind, data))) = faults.check(format_args!("what {name} is part of"), slave) {
        link.info_slave_kind = Some(kind);
        link.info_slave_data = data;
    }
    let features = features(k, device);
    link.features = faults
        .check(format_args!("features of {name}"), features)
        .unwrap_or_default();
    let driver = driver(device, &kind);
    link.driver = faults
        .check(format_args!("driver of {name}"), driver)
        .unwrap_or_default();
    link
}

/// The interface that this one is a part of, if there is one.
pub fn master(device: net_device<'_>) -> Result<Option<net_device<'_>>, Fault> {
    #[cfg(kernel_has = "netdev_adjacent.master")]
    for upper in device
        .adj_list()
        .upper()
        .entries(kernel::netdev_adjacent::list)
    {
        let upper = upper?;
        if upper.master() {
            return upper.dev().deref().map(Some);
        }
    }
    let _ = device;
    Ok(None)
}

/// What `rtnl_fill_ifinfo` (net/core/rtnetlink.c) says of every interface.
fn generic(
    k: &Memory,
    device: net_device<'_>,
    names: &Names,
    out: &mut Details,
) -> Result<(), Fault> {
    if let Some(master) = master(device)? {
        out.set("master", master.name().to_string());
    }
    if let Some((index, space)) = kinds::lower(device)? {
        lower(device, names, index, space, out)?;
    }
    out.set("link_type", hardware_type(device.type_()))
        .set(
            "linkmode",
            match device.link_mode() {
                1 => "DORMANT",
                2 => "TESTING",
                _ => "DEFAULT",
            },
        )
        .set("group", device.group())
        .set("txqlen", device.tx_queue_len())
        .set("promiscuity", device.promiscuity())
        .set("allmulti", device.allmulti())
        .set("min_mtu", device.min_mtu())
        .set("max_mtu", device.max_mtu())
        .set("num_tx_queues", device.num_tx_queues())
        .set("num_rx_queues", device.num_rx_queues())
        .set("real_num_tx_queues", device.real_num_tx_queues())
        .set("real_num_rx_queues", device.real_num_rx_queues())
        .set("gso_max_size", device.gso_max_size())
        .set("gso_max_segs", device.gso_max_segs());
    #[cfg(kernel_has = "net_device.tso_max_size")]
    out.set("tso_max_size", device.tso_max_size())
        .set("tso_max_segs", device.tso_max_segs());
    #[cfg(kernel_has = "net_device.gro_max_size")]
    out.set("gro_max_size", device.gro_max_size());
    #[cfg(kernel_has = "net_device.gso_ipv4_max_size")]
    out.set("gso_ipv4_max_size", device.gso_ipv4_max_size())
        .set("gro_ipv4_max_size", device.gro_ipv4_max_size());
    let length = usize::from(device.addr_len());
    let broadcast = device.broadcast().bytes();
    let broadcast = broadcast.get(..length).unwrap_or_default();
    if !broadcast.is_empty() {
        let text = linux::net::format_hardware_address(u32::from(device.type_()), broadcast);
        out.set("broadcast", text)
            .flag("link_pointtopoint", device.flags() & POINT_TO_POINT != 0);
    }
    let permanent = device.perm_addr().bytes();
    let permanent = permanent.get(..length).unwrap_or_default();
    let own = linux::net::hardware_address(device)?;
    if permanent.iter().any(|byte| *byte != 0) && permanent != own.bytes() {
        let text = linux::net::format_hardware_address(u32::from(device.type_()), permanent);
        out.set("permaddr", text);
    }
    #[cfg(kernel_has = "dev_ifalias.ifalias")]
    if let Some(alias) = device.ifalias().deref_or_null()? {
        out.set(
            "ifalias",
            alias
                .ifalias()
                .cast::<kstruct::view::Char>()
                .read()?
                .to_string(),
        );
    }
    let others = linux::net::alternative_names(device)?;
    if !others.is_empty() {
        out.set("altnames", others);
    }
    #[cfg(kernel_has = "net_device.proto_down")]
    out.flag("proto_down", device.proto_down());
    #[cfg(kernel_has = "net_device.proto_down_reason")]
    if device.proto_down_reason() != 0 {
        let reasons = device.proto_down_reason();
        let reasons: Vec<String> = (0..32)
            .filter(|bit| reasons >> bit & 1 != 0)
            .map(|bit: u32| bit.to_string())
            .collect();
        out.set("proto_down_reason", reasons);
    }
    #[cfg(kernel_has = "net_device.carrier_up_count")]
    {
        let (up, down) = (
            device.carrier_up_count().value(),
            device.carrier_down_count().value(),
        );
        out.set("carrier_changes", up.wrapping_add(down))
            .set("carrier_up_count", up)
            .set("carrier_down_count", down);
    }
    #[cfg(kernel_has = "inet6_dev.cnf.addr_gen_mode")]
    if let Some(inet6) = device.ip6_ptr().deref_or_null()? {
        // enum in6_addr_gen_mode, include/uapi/linux/if_link.h.
        const MODES: [&str; 4] = ["eui64", "none", "stable_secret", "random"];
        let mode = MODES.get(usize::from(inet6.cnf().addr_gen_mode() as u8));
        out.set_some("inet6_addr_gen_mode", mode.copied());
    }
    #[cfg(kernel_has = "bpf_xdp_entity.prog")]
    xdp(device, out)?;
    if let Some(parent) = device.dev().parent().deref_or_null()? {
        let name = parent.kobj().name();
        if !name.is_null() {
            out.set("parentdev", name.read()?.to_string());
        }
        if let Some(bus) = parent.bus().deref_or_null()? {
            out.set("parentbus", bus.name().read()?.to_string());
        }
    }
    out.set("if_port", device.if_port())
        .set("dev_id", device.dev_id())
        .set("dev_port", device.dev_port());
    #[cfg(kernel_has = "net_device.irq")]
    if device.irq() != 0 {
        out.set("irq", device.irq());
    }
    out.set("watchdog_timeo", device.watchdog_timeo());
    #[cfg(kernel_has = "net_device.gro_flush_timeout")]
    out.set("gro_flush_timeout", device.gro_flush_timeout());
    #[cfg(kernel_has = "net_device.napi_defer_hard_irqs")]
    out.set("napi_defer_hard_irqs", device.napi_defer_hard_irqs());
    #[cfg(kernel_has = "net_device.name_assign_type")]
    out.set("name_assign_type", device.name_assign_type());
    out.set("addr_assign_type", device.addr_assign_type());
    let _ = k;
    Ok(())
}

/// `IFF_POINTOPOINT`
const POINT_TO_POINT: u32 = 1 << 4;

/// `link` and its kin: the interface below this one, which may be in another namespace.
fn lower(
    device: net_device<'_>,
    names: &Names,
    index: i32,
    space: u64,
    out: &mut Details,
) -> Result<(), Fault> {
    let own = namespace(device);
    if space == own || space == 0 {
        if index != device.ifindex() {
            match names.get(&(own, index)) {
                Some(name) => out.set("link", name.clone()),
                None => out.set("link_index", index),
            };
        }
        return Ok(());
    }
    out.set("link_index", index);
    #[cfg(kernel_has = "net.netns_ids")]
    for id in device
        .nd_net()
        .net()
        .deref()?
        .netns_ids()
        .entries::<kernel::net<'_>>()
    {
        let (id, net) = id?;
        if net.addr() == space {
            out.set("link_netnsid", id);
            return Ok(());
        }
    }
    Ok(())
}

/// XDP programs: the mode, the program where there is one only, and all (`rtnl_xdp_fill`; `xdp_dump_json` of iproute2's ip/iplink_xdp.c).
#[cfg(kernel_has = "bpf_xdp_entity.prog")]
fn xdp(device: net_device<'_>, out: &mut Details) -> Result<(), Fault> {
    // enum XDP_ATTACHED_*, include/uapi/linux/if_link.h.
    const SKB: u64 = 2;
    const DRIVER: u64 = 1;
    const HARDWARE: u64 = 3;
    const MULTIPLE: u64 = 4;
    let mut programs = Vec::new();
    // XDP_MODE_SKB, XDP_MODE_DRV, XDP_MODE_HW.
    for (mode, entity) in [SKB, DRIVER, HARDWARE]
        .into_iter()
        .zip(device.xdp_state().iter())
    {
        if let Some(program) = entity.prog().deref_or_null()? {
            programs.push((mode, program_details(program)?));
        }
    }
    let mut shown = Details::new();
    match programs.as_slice() {
        [] => return Ok(()),
        [(mode, program)] => shown.set("mode", *mode).set("prog", program.clone()),
        _ => shown.set("mode", MULTIPLE),
    };
    let attached = programs.into_iter().map(|(mode, program)| {
        let mut one = Details::new();
        one.set("mode", mode).set("prog", program);
        one
    });
    shown.set("attached", attached.collect::<Vec<Details>>());
    out.set("xdp", shown);
    Ok(())
}

/// `bpf_dump_prog_info` of iproute2's lib/bpf_glue.c; nanoseconds since the machine's start.
#[cfg(kernel_has = "bpf_xdp_entity.prog")]
fn program_details(program: kernel::bpf_prog<'_>) -> Result<Details, Fault> {
    let auxiliary = program.aux().deref()?;
    let mut details = Details::new();
    details
        .set("id", auxiliary.id())
        .set("name", auxiliary.name().to_string())
        .set("tag", linux::details::hexadecimal(program.tag().bytes()))
        .set("jited", u64::from(program.jited()))
        .set("load_time", auxiliary.load_time());
    if let Some(user) = auxiliary.user().deref_or_null()? {
        details.set("created_by_uid", user.uid().val());
    }
    #[cfg(kernel_has = "bpf_prog_aux.btf")]
    if let Some(btf) = auxiliary.btf().deref_or_null()? {
        details.set("btf_id", btf.id());
    }
    Ok(details)
}

/// What it is a part of, and what it is there (`rtnl_link_slave_info_fill`).
fn slave(device: net_device<'_>, faults: &mut Faults) -> Result<Option<(String, Details)>, Fault> {
    let _ = &faults;
    let Some(master) = master(device)? else {
        return Ok(None);
    };
    let kind = linux::net::kind(master)?;
    let data = match kind.as_str() {
        #[cfg(kernel_has = "bonding.params")]
        "bond" => bond::slave(device, master, faults)?,
        #[cfg(all(
            kernel_has = "net_bridge_port.state",
            kernel_has = "net_bridge_mdb_entry"
        ))]
        "bridge" => bridge::port(device, faults)?,
        #[cfg(kernel_has = "net_vrf.tb_id")]
        "vrf" => kinds::vrf(master)?,
        #[cfg(kernel_has = "team_port.linkup")]
        "team" => kinds::team_port(device)?,
        _ => Details::new(),
    };
    Ok(Some((kind, data)))
}

/// The names of the features that are on, from the kernel's own table.
fn features(k: &Memory, device: net_device<'_>) -> Result<Vec<String>, Fault> {
    let mut found = Vec::new();
    #[cfg(kernel_has = "sym:netdev_features_strings")]
    {
        /// `ETH_GSTRING_LEN`: each name has as much room. By address, as BTF has no type of the table.
        const ROOM: u64 = 32;
        let table = k.address_of(sym::netdev_features_strings);
        let features = device.features();
        for bit in (0..64).filter(|bit| features >> bit & 1 != 0) {
            let name: kstruct::view::CharPtr<'_> =
                kstruct::Ptr::new(k, table.wrapping_add(bit * ROOM));
            found.push(name.read()?.to_string());
        }
    }
    let _ = (k, device, &mut found);
    Ok(found)
}

/// The driver of the machine's device behind it, and where that is; of others the kind, as `ethtool -i` has it since 5.17.
fn driver(device: net_device<'_>, kind: &str) -> Result<Details, Fault> {
    let mut out = Details::new();
    let Some(parent) = device.dev().parent().deref_or_null()? else {
        // Two have names of their own there.
        match kind {
            "" => {}
            "bond" => {
                out.set("driver", "bonding");
            }
            "vlan" => {
                out.set("driver", "802.1Q VLAN Support");
            }
            kind => {
                out.set("driver", kind);
            }
        }
        return Ok(out);
    };
    if let Some(driver) = parent.driver().deref_or_null()? {
        out.set("driver", driver.name().read()?.to_string());
    }
    if let Some(bus) = parent.bus().deref_or_null()? {
        out.set("bus", bus.name().read()?.to_string());
    }
    let name = parent.kobj().name();
    if !name.is_null() {
        out.set("bus_info", name.read()?.to_string());
    }
    #[cfg(kernel_has = "device.numa_node")]
    out.set("numa_node", parent.numa_node());
    // virtio's parent is the device of the bus that it lies on: what `lspci` has.
    if let Some(above) = parent.parent().deref_or_null()?
        && let Some(bus) = above.bus().deref_or_null()?
        && !above.kobj().name().is_null()
    {
        out.set("parent_bus", bus.name().read()?.to_string())
            .set("parent_bus_info", above.kobj().name().read()?.to_string());
    }
    Ok(out)
}

/// The names that `ip link` has for `ARPHRD_*` (include/uapi/linux/if_arp.h), where the kernel's interfaces have them.
fn hardware_type(number: u16) -> Value {
    match number {
        1 => "ether",
        32 => "infiniband",
        256 => "slip",
        280 => "can",
        512 => "ppp",
        768 => "ipip",
        769 => "tunnel6",
        772 => "loopback",
        776 => "sit",
        778 => "gre",
        779 => "pimreg",
        801 => "ieee802.11",
        823 => "gre6",
        824 => "netlink",
        65534 => "none",
        other => return other.into(),
    }
    .into()
}

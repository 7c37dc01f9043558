//! vxlan (drivers/net/vxlan).

use kernel::net_device;
use kstruct::{Fault, View as _};
use linux::Faults;
use linux::net::order::{be16, be32, socket_address};
use linux::net::private;

use super::super::{Names, namespace};
use super::{link, tos};
use linux::details::{Details, colons};

/// `vxlan_fill_info`, drivers/net/vxlan/vxlan_core.c.
pub fn data(device: net_device<'_>, names: &Names) -> Result<Details, Fault> {
    // VXLAN_F_*, include/net/vxlan.h.
    const LEARN: u32 = 1;
    const UDP_ZERO_CSUM_TX: u32 = 0x40;
    const TTL_INHERIT: u32 = 0x1_0000;
    let vxlan = private::<kernel::vxlan_dev<'_>>(device).deref()?;
    let config = vxlan.cfg();
    let flags = config.flags();
    let mut out = Details::new();
    out.set("id", be32(config.vni()));
    let remote = vxlan.default_dst().remote_ip();
    if let Some((address, _)) = socket_address(remote.sa().sa_family(), remote.sin6().bytes())
        && !address.is_unspecified()
    {
        let name = match (address.is_multicast(), address.is_ipv6()) {
            (true, false) => "group",
            (true, true) => "group6",
            (false, false) => "remote",
            (false, true) => "remote6",
        };
        out.set(name, address.to_string());
    }
    let local = config.saddr();
    if let Some((address, _)) = socket_address(local.sa().sa_family(), local.sin6().bytes())
        && !address.is_unspecified()
    {
        let name = if address.is_ipv6() { "local6" } else { "local" };
        out.set(name, address.to_string());
    }
    link(
        device,
        names,
        vxlan.default_dst().remote_ifindex().cast_signed(),
        &mut out,
    );
    let mut range = Details::new();
    range
        .set("low", config.port_min())
        .set("high", config.port_max());
    out.set("port_range", range);
    out.set("port", be16(config.dst_port()))
        .set("learning", flags & LEARN != 0);
    for (name, flag) in [
        ("proxy", 0x2),
        ("rsc", 0x4),
        ("l2miss", 0x8),
        ("l3miss", 0x10),
        ("remcsum_tx", 0x200),
        ("remcsum_rx", 0x400),
        ("gbp", 0x800),
        ("external", 0x2000),
        ("gpe", 0x4000),
        ("vnifilter", 0x2_0000),
    ] {
        out.flag(name, flags & flag != 0);
    }
    out.set_some("tos", tos(config.tos()));
    if flags & TTL_INHERIT != 0 {
        out.set("ttl", "inherit");
    } else {
        out.set("ttl", config.ttl());
    }
    // enum ifla_vxlan_df, include/uapi/linux/if_link.h.
    out.set(
        "df",
        match config.df().0 {
            1 => "set",
            2 => "inherit",
            _ => "unset",
        },
    );
    if be32(config.label()) != 0 {
        out.set("label", format!("{:#x}", be32(config.label())));
    }
    out.set("ageing", config.age_interval());
    if config.addrmax() != 0 {
        out.set("limit", config.addrmax());
    }
    out.set("udp_csum", flags & UDP_ZERO_CSUM_TX == 0)
        .set("udp_zero_csum6_tx", flags & 0x80 != 0)
        .set("udp_zero_csum6_rx", flags & 0x100 != 0);
    out.set("fdb_entries", vxlan.addrcnt());
    Ok(out)
}

/// What `bridge fdb` shows of a vxlan (`vxlan_fdb_dump`).
pub fn forwarding(
    device: net_device<'_>,
    names: &Names,
    clock: linux::time::Clock,
    faults: &mut Faults,
) -> Result<Vec<Details>, Fault> {
    let k = device.memory();
    let seconds = |then: u64| {
        linux::time::jiffies_since(k, clock.now, then).checked_div(clock.hz.unwrap_or(0))
    };
    /// `NTF_*` and `NUD_*`, include/uapi/linux/neighbour.h.
    const NUD_PERMANENT: u16 = 0x80;
    const NUD_NOARP: u16 = 0x40;
    const NTF_SELF: u16 = 2;
    const NTF_EXT_LEARNED: u16 = 0x10;
    const NTF_OFFLOADED: u16 = 0x20;
    const NTF_ROUTER: u16 = 0x80;
    let vxlan = private::<kernel::vxlan_dev<'_>>(device).deref()?;
    let what = &format!("forwarding table of {}", device.name());
    let (before, mut entries) = (faults.count(), 0);
    let mut found = Vec::new();
    for bucket in vxlan.fdb_head().iter() {
        for entry in bucket.entries(kernel::vxlan_fdb::hlist) {
            let Some(entry) = faults.check(what, entry) else {
                continue;
            };
            entries += 1;
            let mut flags = Vec::new();
            for (name, flag) in [
                ("self", NTF_SELF),
                ("router", NTF_ROUTER),
                ("extern_learn", NTF_EXT_LEARNED),
                ("offload", NTF_OFFLOADED),
            ] {
                if entry.flags() & flag != 0 {
                    flags.push(name);
                }
            }
            let state = match entry.state() {
                state if state & NUD_PERMANENT != 0 => "permanent",
                state if state & NUD_NOARP != 0 => "static",
                _ => "",
            };
            let own_port = be16(vxlan.cfg().dst_port());
            let own_vni = be32(vxlan.default_dst().remote_vni());
            for remote in entry.remotes().entries(kernel::vxlan_rdst::list) {
                let Some(remote) = faults.check(what, remote) else {
                    continue;
                };
                let mut row = Details::new();
                row.set("mac", colons(entry.eth_addr().bytes()));
                let ip = remote.remote_ip();
                if let Some((address, _)) = socket_address(ip.sa().sa_family(), ip.sin6().bytes())
                    && !address.is_unspecified()
                {
                    row.set("dst", address.to_string());
                }
                let port = be16(remote.remote_port());
                if port != 0 && port != own_port {
                    row.set("port", port);
                }
                let vni = be32(remote.remote_vni());
                if vni != own_vni {
                    row.set("vni", vni);
                }
                let index = remote.remote_ifindex().cast_signed();
                if index != 0 {
                    match names.get(&(namespace(device), index)) {
                        Some(name) => row.set("viaIf", name.clone()),
                        None => row.set("viaIfIndex", index),
                    };
                }
                row.set("flags", flags.clone())
                    .set_some("used", seconds(entry.used()))
                    .set_some("updated", seconds(entry.updated()))
                    .set("state", state);
                found.push(row);
            }
        }
    }
    if faults.count() == before && !k.dump().is_live() {
        let holds = i64::from(vxlan.addrcnt()) == entries;
        faults.require(holds, what, vxlan.addr());
    }
    Ok(found)
}

//! Tunnels: vxlan, geneve, and those of IPv4 and IPv6.
#![allow(unused_imports, reason = "kernels may have no such kind")]

use kernel::net_device;
use kstruct::{Fault, View as _};
use linux::net::private;

use super::{Names, namespace};
use crate::details::{Details, colons};
use crate::network::{be16, be32, be64, ipv4 as address4, ipv6 as address6, socket_address};

/// An interface by its index, as `link` of a tunnel: by name, or by number if it is gone.
#[allow(dead_code, reason = "kernels may have no such kind")]
fn link(device: net_device<'_>, names: &Names, index: i32, out: &mut Details) {
    if index == 0 {
        return;
    }
    match names.get(&(namespace(device), index)) {
        Some(name) => out.set("link", name.clone()),
        None => out.set("link", format!("if{index}")),
    };
}

/// `tos`: 1 is taken from the inner packet.
#[allow(dead_code, reason = "kernels may have no such kind")]
fn tos(value: u8) -> Option<String> {
    (value != 0).then(|| format!("{value:#x}"))
}

/// `vxlan_fill_info`, drivers/net/vxlan/vxlan_core.c.
#[cfg(kernel_has = "vxlan_dev.cfg")]
pub fn vxlan(device: net_device<'_>, names: &Names) -> Result<Details, Fault> {
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
#[cfg(kernel_has = "vxlan_dev.cfg")]
pub fn vxlan_forwarding(
    device: net_device<'_>,
    names: &Names,
    clock: linux::time::Clock,
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
    let mut found = Vec::new();
    for bucket in vxlan.fdb_head().iter() {
        for entry in bucket.entries(kernel::vxlan_fdb::hlist) {
            let entry = entry?;
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
                let remote = remote?;
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
    Ok(found)
}

/// `geneve_fill_info`, drivers/net/geneve.c.
#[cfg(kernel_has = "geneve_dev.cfg")]
pub fn geneve(device: net_device<'_>) -> Result<Details, Fault> {
    let config = private::<kernel::geneve_dev<'_>>(device).deref()?.cfg();
    let (info, mut out) = (config.info(), Details::new());
    let key = info.key();
    if config.collect_md() {
        out.set("external", true);
    } else {
        out.set("id", be64(key.tun_id()));
    }
    /// `IP_TUNNEL_INFO_IPV6`
    const IPV6: u8 = 2;
    if info.mode() & IPV6 != 0 {
        out.set("remote6", address6(key.u().ipv6().dst()).to_string());
    } else if key.u().ipv4().dst() != 0 {
        out.set("remote", address4(key.u().ipv4().dst()).to_string());
    }
    if config.ttl_inherit() {
        out.set("ttl", "inherit");
    } else {
        out.set("ttl", key.ttl());
    }
    out.set_some("tos", tos(key.tos()));
    out.set(
        "df",
        match config.df().0 {
            1 => "set",
            2 => "inherit",
            _ => "unset",
        },
    );
    if be32(key.label()) != 0 {
        out.set("label", format!("{:#x}", be32(key.label())));
    }
    out.set("port", be16(key.tp_dst()));
    // TUNNEL_CSUM, IP_TUNNEL_CSUM_BIT.
    #[cfg(kernel_has = "ip_tunnel_parm_kern")]
    let checksum = key.tun_flags().get(0).unwrap_or_default() & 1 != 0;
    #[cfg(not(kernel_has = "ip_tunnel_parm_kern"))]
    let checksum = be16(key.tun_flags()) & 1 != 0;
    if info.mode() & IPV6 == 0 {
        out.set("udp_csum", checksum);
    } else {
        out.set("udp_zero_csum6_tx", !checksum);
    }
    out.set("udp_zero_csum6_rx", !config.use_udp6_rx_checksums());
    Ok(out)
}

/// Bits of `i_flags` and `o_flags`, the same in both of their forms (include/net/ip_tunnels.h).
#[allow(dead_code, reason = "kernels may have no such kind")]
const CSUM: u64 = 1;
#[allow(dead_code, reason = "kernels may have no such kind")]
const KEY: u64 = 4;
#[allow(dead_code, reason = "kernels may have no such kind")]
const SEQ: u64 = 8;

/// Keys, checksums and sequence numbers of GRE.
#[allow(dead_code, reason = "kernels may have no such kind")]
fn gre(flags: [u64; 2], keys: [u32; 2], out: &mut Details) {
    let [input, output] = flags;
    for (name, flags, key) in [("ikey", input, keys[0]), ("okey", output, keys[1])] {
        if flags & KEY != 0 {
            out.set(name, address4(key).to_string());
        }
    }
    for (name, flags, flag) in [
        ("iseq", input, SEQ),
        ("oseq", output, SEQ),
        ("icsum", input, CSUM),
        ("ocsum", output, CSUM),
    ] {
        out.flag(name, flags & flag != 0);
    }
}

/// How packets are put into UDP (`struct ip_tunnel_encap`).
#[cfg(kernel_has = "ip_tunnel_encap.dport")]
#[allow(dead_code, reason = "kernels may have no such kind")]
fn encapsulation(encap: kernel::ip_tunnel_encap<'_>, out: &mut Details) {
    // TUNNEL_ENCAP_*, include/uapi/linux/if_tunnel.h.
    let kind = match encap.type_() {
        0 => return,
        1 => "fou".to_owned(),
        2 => "gue".to_owned(),
        3 => "mpls".to_owned(),
        other => other.to_string(),
    };
    let mut details = Details::new();
    details
        .set("type", kind)
        .set("sport", be16(encap.sport()))
        .set("dport", be16(encap.dport()))
        .set("csum", encap.flags() & 1 != 0)
        .set("csum6", encap.flags() & 2 != 0)
        .set("remcsum", encap.flags() & 4 != 0);
    out.set("encap", details);
}

/// `ipip_fill_info`, `ipip6_fill_info`, `ipgre_fill_info`.
#[cfg(kernel_has = "ip_tunnel.parms.iph")]
pub fn ipv4(kind: &str, device: net_device<'_>, names: &Names) -> Result<Details, Fault> {
    /// `IP_DF`
    const DONT_FRAGMENT: u16 = 0x4000;
    let tunnel = private::<kernel::ip_tunnel<'_>>(device).deref()?;
    let parameters = tunnel.parms();
    let header = parameters.iph();
    let mut out = Details::new();
    if kind == "ipip" || kind == "sit" {
        out.set(
            "proto",
            match (header.protocol(), kind) {
                (4, _) => "ipip".to_owned(),
                (41, _) => "ip6ip".to_owned(),
                (137, _) => "mplsip".to_owned(),
                (0, _) => "any".to_owned(),
                (other, _) => other.to_string(),
            },
        );
    }
    let side = |address: u32| match address {
        0 => "any".to_owned(),
        address => address4(address).to_string(),
    };
    out.set("remote", side(header.daddr()))
        .set("local", side(header.saddr()));
    link(device, names, parameters.link(), &mut out);
    out.set("ttl", header.ttl());
    out.set_some("tos", tos(header.tos()));
    out.set("pmtudisc", be16(header.frag_off()) & DONT_FRAGMENT != 0);
    out.flag("ignore_df", tunnel.ignore_df());
    out.flag("external", tunnel.collect_md());
    #[cfg(kernel_has = "ip_tunnel_parm_kern")]
    let flags =
        [parameters.i_flags(), parameters.o_flags()].map(|flags| flags.get(0).unwrap_or_default());
    #[cfg(not(kernel_has = "ip_tunnel_parm_kern"))]
    let flags = [parameters.i_flags(), parameters.o_flags()].map(|flags| u64::from(be16(flags)));
    #[cfg(kernel_has = "ip_tunnel.erspan_ver")]
    let flags = if kind == "erspan" && tunnel.erspan_ver() != 0 {
        // Sessions have a number in any case (`erspan_fill_info`).
        [flags[0], flags[1] | KEY]
    } else {
        flags
    };
    if kind.starts_with("gre") || kind == "erspan" {
        gre(flags, [parameters.i_key(), parameters.o_key()], &mut out);
    }
    #[cfg(kernel_has = "ip_tunnel.erspan_ver")]
    if kind == "erspan" {
        out.set("erspan_ver", tunnel.erspan_ver());
        match tunnel.erspan_ver() {
            1 => out.set("erspan_index", tunnel.index()),
            _ => out
                .set("erspan_dir", tunnel.dir())
                .set("erspan_hwid", tunnel.hwid()),
        };
    }
    #[cfg(kernel_has = "ip_tunnel.ip6rd.prefixlen")]
    if kind == "sit" {
        let prefix = tunnel.ip6rd();
        if prefix.prefixlen() != 0 {
            out.set("prefix", address6(prefix.prefix()).to_string())
                .set("prefixlen", prefix.prefixlen());
        }
        if prefix.relay_prefixlen() != 0 {
            out.set("relay_prefix", address4(prefix.relay_prefix()).to_string())
                .set("relay_prefixlen", prefix.relay_prefixlen());
        }
    }
    encapsulation(tunnel.encap(), &mut out);
    if tunnel.fwmark() != 0 {
        out.set("fwmark", format!("{:#x}", tunnel.fwmark()));
    }
    out.set("errors", tunnel.err_count());
    Ok(out)
}

/// `ip6_tnl_fill_info`, `ip6gre_fill_info`.
#[cfg(kernel_has = "ip6_tnl.parms.link")]
pub fn ipv6(kind: &str, device: net_device<'_>, names: &Names) -> Result<Details, Fault> {
    // IP6_TNL_F_*, include/uapi/linux/ip6_tunnel.h.
    const IGNORE_ENCAP_LIMIT: u32 = 0x1;
    const ORIGINAL_CLASS: u32 = 0x2;
    const ORIGINAL_LABEL: u32 = 0x4;
    let tunnel = private::<kernel::ip6_tnl<'_>>(device).deref()?;
    let parameters = tunnel.parms();
    let mut out = Details::new();
    if kind == "ip6tnl" {
        out.set(
            "proto",
            match parameters.proto() {
                41 => "ip6ip6".to_owned(),
                4 => "ipip6".to_owned(),
                0 => "any".to_owned(),
                other => other.to_string(),
            },
        );
    }
    let side = |address: kernel::in6_addr<'_>| match address6(address) {
        address if address.is_unspecified() => "any".to_owned(),
        address => address.to_string(),
    };
    out.set("remote", side(parameters.raddr()))
        .set("local", side(parameters.laddr()));
    link(device, names, parameters.link(), &mut out);
    let flags = parameters.flags();
    out.set("ttl", parameters.hop_limit());
    let information = be32(parameters.flowinfo());
    // Each is taken from the inner packet, or has a value.
    if flags & IGNORE_ENCAP_LIMIT != 0 {
        out.set("ip6_tnl_f_ign_encap_limit", true);
    } else {
        out.set("encap_limit", parameters.encap_limit());
    }
    if flags & ORIGINAL_CLASS != 0 {
        out.set("ip6_tnl_f_use_orig_tclass", true);
    } else {
        out.set("tclass", format!("{:#04x}", information >> 20 & 0xff));
    }
    if flags & ORIGINAL_LABEL != 0 {
        out.set("ip6_tnl_f_use_orig_flowlabel", true);
    } else {
        out.set("flowlabel", format!("{:#07x}", information & 0xf_ffff));
    }
    out.set("flags", format!("{flags:#x}"));
    out.flag("external", parameters.collect_md());
    #[cfg(kernel_has = "ip_tunnel_parm_kern")]
    let bits =
        [parameters.i_flags(), parameters.o_flags()].map(|flags| flags.get(0).unwrap_or_default());
    #[cfg(not(kernel_has = "ip_tunnel_parm_kern"))]
    let bits = [parameters.i_flags(), parameters.o_flags()].map(|flags| u64::from(be16(flags)));
    if kind.starts_with("ip6gre") {
        gre(bits, [parameters.i_key(), parameters.o_key()], &mut out);
    }
    encapsulation(tunnel.encap(), &mut out);
    if parameters.fwmark() != 0 {
        out.set("fwmark", format!("{:#x}", parameters.fwmark()));
    }
    Ok(out)
}

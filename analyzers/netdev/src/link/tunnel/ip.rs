//! Tunnels of IPv4 and IPv6, GRE among them (net/ipv4, net/ipv6).

use kernel::net_device;
use kstruct::Fault;
use linux::net::{address, order, private};

use super::super::Names;
use super::link;
use linux::details::Details;

/// Bits of `i_flags` and `o_flags`, the same in both of their forms (include/net/ip_tunnels.h).
const CSUM: u64 = 1;
const KEY: u64 = 4;
const SEQ: u64 = 8;

/// Keys, checksums and sequence numbers of GRE.
fn gre(flags: [u64; 2], keys: [u32; 2], out: &mut Details) {
    let [input, output] = flags;
    for (name, flags, key) in [("ikey", input, keys[0]), ("okey", output, keys[1])] {
        if flags & KEY != 0 {
            out.set(name, address::ipv4(key).to_string());
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
        .set("sport", order::be16(encap.sport()))
        .set("dport", order::be16(encap.dport()))
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
        address => address::ipv4(address).to_string(),
    };
    out.set("remote", side(header.daddr()))
        .set("local", side(header.saddr()));
    link(device, names, parameters.link(), &mut out);
    out.set("ttl", header.ttl());
    out.set_some("tos", super::tos(header.tos()));
    out.set(
        "pmtudisc",
        order::be16(header.frag_off()) & DONT_FRAGMENT != 0,
    );
    out.flag("ignore_df", tunnel.ignore_df());
    out.flag("external", tunnel.collect_md());
    #[cfg(kernel_has = "ip_tunnel_parm_kern")]
    let flags =
        [parameters.i_flags(), parameters.o_flags()].map(|flags| flags.get(0).unwrap_or_default());
    #[cfg(not(kernel_has = "ip_tunnel_parm_kern"))]
    let flags =
        [parameters.i_flags(), parameters.o_flags()].map(|flags| u64::from(order::be16(flags)));
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
            out.set("prefix", address::ipv6(prefix.prefix()).to_string())
                .set("prefixlen", prefix.prefixlen());
        }
        if prefix.relay_prefixlen() != 0 {
            out.set(
                "relay_prefix",
                address::ipv4(prefix.relay_prefix()).to_string(),
            )
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
    let side = |address: kernel::in6_addr<'_>| match address::ipv6(address) {
        address if address.is_unspecified() => "any".to_owned(),
        address => address.to_string(),
    };
    out.set("remote", side(parameters.raddr()))
        .set("local", side(parameters.laddr()));
    link(device, names, parameters.link(), &mut out);
    let flags = parameters.flags();
    out.set("ttl", parameters.hop_limit());
    let information = order::be32(parameters.flowinfo());
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
    let bits =
        [parameters.i_flags(), parameters.o_flags()].map(|flags| u64::from(order::be16(flags)));
    if kind.starts_with("ip6gre") {
        gre(bits, [parameters.i_key(), parameters.o_key()], &mut out);
    }
    encapsulation(tunnel.encap(), &mut out);
    if parameters.fwmark() != 0 {
        out.set("fwmark", format!("{:#x}", parameters.fwmark()));
    }
    Ok(out)
}

//! geneve (drivers/net/geneve.c).

use kernel::net_device;
use kstruct::Fault;
use linux::net::address::{ipv4, ipv6};
use linux::net::order::{be16, be32, be64};
use linux::net::private;

use super::tos;
use linux::details::Details;

/// `geneve_fill_info`, drivers/net/geneve.c.
pub fn data(device: net_device<'_>) -> Result<Details, Fault> {
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
        out.set("remote6", ipv6(key.u().ipv6().dst()).to_string());
    } else if key.u().ipv4().dst() != 0 {
        out.set("remote", ipv4(key.u().ipv4().dst()).to_string());
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

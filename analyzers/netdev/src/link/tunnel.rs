//! Tunnels: vxlan, geneve, and those of IPv4 and IPv6.

#[cfg(kernel_has = "geneve_dev.cfg")]
pub mod geneve;
#[cfg(any(kernel_has = "ip_tunnel.parms.iph", kernel_has = "ip6_tnl.parms.link"))]
pub mod ip;
#[cfg(kernel_has = "vxlan_dev.cfg")]
pub mod vxlan;

/// An interface by its index, as `link` of a tunnel: by name, or by number if it is gone.
#[cfg(any(
    kernel_has = "vxlan_dev.cfg",
    kernel_has = "ip_tunnel.parms.iph",
    kernel_has = "ip6_tnl.parms.link"
))]
fn link(
    device: kernel::net_device<'_>,
    names: &super::Names,
    index: i32,
    out: &mut linux::details::Details,
) {
    if index == 0 {
        return;
    }
    match names.get(&(super::namespace(device), index)) {
        Some(name) => out.set("link", name.clone()),
        None => out.set("link", format!("if{index}")),
    };
}

/// `tos`: 1 is taken from the inner packet.
#[cfg(any(
    kernel_has = "vxlan_dev.cfg",
    kernel_has = "geneve_dev.cfg",
    kernel_has = "ip_tunnel.parms.iph"
))]
fn tos(value: u8) -> Option<String> {
    (value != 0).then(|| format!("{value:#x}"))
}

//! What interfaces of each kind have of their own: each as its `fill_info` says, named as `ip -d -j link` does.

use kernel::net_device;
use kstruct::Fault;
use linux::Faults;
use linux::net::{self, order, private};

use super::Names;
use linux::details::{Details, Value};

/// The interface below this one by its index, and the namespace that it is in, by its address (`dev_get_iflink`, `get_link_net`).
pub fn lower(device: net_device<'_>) -> Result<Option<(i32, u64)>, Fault> {
    let kind = net::kind(device)?;
    if let Some(lower) = lower_device(&kind, device)? {
        return Ok(Some((lower.ifindex(), super::namespace(lower))));
    }
    Ok(match kind.as_str() {
        #[cfg(kernel_has = "ip_tunnel.parms.iph")]
        "ipip" | "sit" | "gre" | "gretap" | "erspan" => {
            let tunnel = private::<kernel::ip_tunnel<'_>>(device).deref()?;
            Some((tunnel.parms().link(), tunnel.net().addr()))
        }
        #[cfg(kernel_has = "ip6_tnl.parms.link")]
        "ip6tnl" | "ip6gre" | "ip6gretap" => {
            let tunnel = private::<kernel::ip6_tnl<'_>>(device).deref()?;
            Some((tunnel.parms().link(), tunnel.net().addr()))
        }
        _ => None,
    })
}

/// The interface below one of a kind that knows it by a pointer.
pub fn lower_device<'m>(
    kind: &str,
    device: net_device<'m>,
) -> Result<Option<net_device<'m>>, Fault> {
    match kind {
        #[cfg(kernel_has = "vlan_dev_priv.real_dev")]
        "vlan" => {
            let vlan = private::<kernel::vlan_dev_priv<'_>>(device).deref()?;
            vlan.real_dev().deref().map(Some)
        }
        #[cfg(kernel_has = "veth_priv.peer")]
        "veth" => {
            let veth = private::<kernel::veth_priv<'_>>(device).deref()?;
            veth.peer().deref_or_null()
        }
        #[cfg(kernel_has = "macvlan_dev.lowerdev")]
        "macvlan" | "macvtap" => {
            let vlan = private::<kernel::macvlan_dev<'_>>(device).deref()?;
            vlan.lowerdev().deref().map(Some)
        }
        #[cfg(kernel_has = "ipvl_dev.phy_dev")]
        "ipvlan" => {
            let vlan = private::<kernel::ipvl_dev<'_>>(device).deref()?;
            vlan.phy_dev().deref().map(Some)
        }
        _ => Ok(None),
    }
}

/// What an interface has as one of its kind. Kinds that are not known have nothing.
pub fn data(
    kind: &str,
    device: net_device<'_>,
    names: &Names,
    faults: &mut Faults,
) -> Result<Details, Fault> {
    let _ = (names, &faults);
    match kind {
        #[cfg(kernel_has = "vlan_dev_priv.real_dev")]
        "vlan" => vlan(device),
        #[cfg(kernel_has = "macvlan_dev.lowerdev")]
        "macvlan" | "macvtap" => macvlan(device),
        #[cfg(kernel_has = "ipvl_dev.phy_dev")]
        "ipvlan" => ipvlan(device),
        #[cfg(kernel_has = "net_vrf.tb_id")]
        "vrf" => vrf(device),
        #[cfg(kernel_has = "tun_struct.numqueues")]
        "tun" => tun(device),
        #[cfg(kernel_has = "team.en_port_count")]
        "team" => team(device),
        #[cfg(kernel_has = "wg_device.incoming_port")]
        "wireguard" => wireguard(device),
        #[cfg(kernel_has = "vxlan_dev.cfg")]
        "vxlan" => super::tunnel::vxlan::data(device, names),
        #[cfg(kernel_has = "geneve_dev.cfg")]
        "geneve" => super::tunnel::geneve::data(device),
        #[cfg(kernel_has = "ip_tunnel.parms.iph")]
        "ipip" | "sit" | "gre" | "gretap" | "erspan" => {
            super::tunnel::ip::ipv4(kind, device, names)
        }
        #[cfg(kernel_has = "ip6_tnl.parms.link")]
        "ip6tnl" | "ip6gre" | "ip6gretap" => super::tunnel::ip::ipv6(kind, device, names),
        #[cfg(kernel_has = "bonding.params")]
        "bond" => super::bond::bond(device, faults),
        #[cfg(all(
            kernel_has = "net_bridge.multicast_ctx",
            kernel_has = "net_bridge_mdb_entry"
        ))]
        "bridge" => super::bridge::bridge(device, faults),
        _ => Ok(Details::new()),
    }
}

/// The names of protocols that tools know by their Ethernet type.
pub fn protocol(number: u16) -> Value {
    match number {
        0x8100 => "802.1Q".into(),
        0x88a8 => "802.1ad".into(),
        other => format!("{other:#06x}").into(),
    }
}

/// `vlan_fill_info`, net/8021q/vlan_netlink.c.
#[cfg(kernel_has = "vlan_dev_priv.real_dev")]
fn vlan(device: net_device<'_>) -> Result<Details, Fault> {
    /// `enum vlan_flags`, include/uapi/linux/if_vlan.h.
    const FLAGS: [&str; 5] = [
        "REORDER_HDR",
        "GVRP",
        "LOOSE_BINDING",
        "MVRP",
        "BRIDGE_BINDING",
    ];
    let vlan = private::<kernel::vlan_dev_priv<'_>>(device).deref()?;
    let flags = FLAGS.iter().enumerate();
    let flags: Vec<&str> = flags
        .filter(|(bit, _)| vlan.flags() >> bit & 1 != 0)
        .map(|(_, name)| *name)
        .collect();
    let mut out = Details::new();
    out.set("protocol", protocol(order::be16(vlan.vlan_proto())))
        .set("id", vlan.vlan_id())
        .set("flags", flags);
    let pair = |from: u32, to: u32| {
        let mut details = Details::new();
        details.set("from", from).set("to", to);
        details
    };
    let ingress = vlan.ingress_priority_map().iter().enumerate();
    let ingress: Vec<Details> = ingress
        .filter(|(_, to)| *to != 0)
        .map(|(from, to)| pair(from as u32, to))
        .collect();
    if !ingress.is_empty() {
        out.set("ingress_qos", ingress);
    }
    let mut egress = Vec::new();
    for first in vlan.egress_priority_map().iter() {
        let chain = kstruct::walk::chain(
            Ok(first),
            |mapping: kernel::vlan_priority_tci_mapping<'_>| mapping.next(),
        );
        for mapping in chain {
            let mapping = mapping?;
            if mapping.vlan_qos() != 0 {
                // Kept as the tag's upper bits.
                egress.push(pair(
                    mapping.priority(),
                    u32::from(mapping.vlan_qos() >> 13),
                ));
            }
        }
    }
    if !egress.is_empty() {
        out.set("egress_qos", egress);
    }
    Ok(out)
}

/// `macvlan_fill_info`, drivers/net/macvlan.c.
#[cfg(kernel_has = "macvlan_dev.lowerdev")]
fn macvlan(device: net_device<'_>) -> Result<Details, Fault> {
    let vlan = private::<kernel::macvlan_dev<'_>>(device).deref()?;
    let port = vlan.port().deref()?;
    let mode = vlan.mode().0;
    let mut out = Details::new();
    // enum macvlan_mode, include/uapi/linux/if_link.h.
    out.set(
        "mode",
        match mode {
            1 => "private".to_owned(),
            2 => "vepa".to_owned(),
            4 => "bridge".to_owned(),
            8 => "passthru".to_owned(),
            16 => "source".to_owned(),
            other => other.to_string(),
        },
    );
    out.flag("nopromisc", vlan.flags() & 1 != 0)
        .flag("nodst", vlan.flags() & 2 != 0);
    #[cfg(kernel_has = "macvlan_dev.bc_queue_len_req")]
    out.set("bcqueuelen", vlan.bc_queue_len_req())
        .set("usedbcqueuelen", port.bc_queue_len_used());
    if vlan.macaddr_count() > 0 || mode == 16 {
        out.set("macaddr_count", vlan.macaddr_count());
        let mut addresses = Vec::new();
        #[cfg(kernel_has = "macvlan_source_entry.hlist")]
        for bucket in port.vlan_source_hash().iter() {
            use kstruct::View as _;

            for entry in bucket.entries(kernel::macvlan_source_entry::hlist) {
                let entry = entry?;
                if entry.vlan().addr() == vlan.addr() {
                    // Room for 64 bits, of which an address has 48.
                    let address = entry.addr_().bytes();
                    addresses.push(linux::details::colons(address.get(..6).unwrap_or_default()));
                }
            }
        }
        out.set("macaddr_data", addresses);
    }
    let _ = port;
    Ok(out)
}

/// `ipvlan_nl_fillinfo`, drivers/net/ipvlan/ipvlan_main.c.
#[cfg(kernel_has = "ipvl_dev.phy_dev")]
fn ipvlan(device: net_device<'_>) -> Result<Details, Fault> {
    let port = private::<kernel::ipvl_dev<'_>>(device)
        .deref()?
        .port()
        .deref()?;
    let mut out = Details::new();
    out.set(
        "mode",
        match port.mode() {
            0 => "l2".to_owned(),
            1 => "l3".to_owned(),
            2 => "l3s".to_owned(),
            other => other.to_string(),
        },
    );
    // IPVLAN_F_PRIVATE, IPVLAN_F_VEPA.
    out.set(
        match port.flags() & 3 {
            1 => "private",
            2 => "vepa",
            _ => "bridge",
        },
        true,
    );
    Ok(out)
}

/// `vrf_fillinfo` and `vrf_fill_slave_info`, drivers/net/vrf.c.
#[cfg(kernel_has = "net_vrf.tb_id")]
pub fn vrf(device: net_device<'_>) -> Result<Details, Fault> {
    let mut out = Details::new();
    out.set(
        "table",
        private::<kernel::net_vrf<'_>>(device).deref()?.tb_id(),
    );
    Ok(out)
}

/// `tun_fill_info`, drivers/net/tun.c.
#[cfg(kernel_has = "tun_struct.numqueues")]
fn tun(device: net_device<'_>) -> Result<Details, Fault> {
    const TUN: u32 = 0x1;
    const NO_PI: u32 = 0x1000;
    const VNET_HDR: u32 = 0x4000;
    const MULTI_QUEUE: u32 = 0x100;
    const PERSIST: u32 = 0x800;
    let tun = private::<kernel::tun_struct<'_>>(device).deref()?;
    let flags = tun.flags();
    let mut out = Details::new();
    out.set("type", if flags & TUN != 0 { "tun" } else { "tap" })
        .set("pi", flags & NO_PI == 0)
        .set("vnet_hdr", flags & VNET_HDR != 0)
        .set("multi_queue", flags & MULTI_QUEUE != 0)
        .set("persist", flags & PERSIST != 0);
    if flags & MULTI_QUEUE != 0 {
        out.set("numqueues", tun.numqueues())
            .set("numdisabled", tun.numdisabled());
    }
    for (name, id) in [("user", tun.owner().val()), ("group", tun.group().val())] {
        if id != u32::MAX {
            out.set(name, id);
        }
    }
    Ok(out)
}

/// What `teamnl` shows; `ip` shows nothing.
#[cfg(kernel_has = "team.en_port_count")]
fn team(device: net_device<'_>) -> Result<Details, Fault> {
    let team = private::<kernel::team<'_>>(device).deref()?;
    let mut out = Details::new();
    if let Some(mode) = team.mode().deref_or_null()?
        && !mode.kind().is_null()
    {
        out.set("mode", mode.kind().read()?.to_string());
    }
    out.set("enabled_ports", team.en_port_count());
    let mut ports = Vec::new();
    for port in team.port_list().entries(kernel::team_port::list) {
        ports.push(port?.dev().deref()?.name().to_string());
    }
    out.set("ports", ports);
    Ok(out)
}

/// The same of a port. Its `team_port` is what the interface's receive handler is told.
#[cfg(kernel_has = "team_port.linkup")]
pub fn team_port(device: net_device<'_>) -> Result<Details, Fault> {
    let port = device
        .rx_handler_data()
        .cast::<kernel::team_port<'_>>()
        .deref()?;
    let mut out = Details::new();
    out.set("linkup", port.linkup())
        .set("speed", port.state().speed())
        .set("duplex", port.state().duplex())
        .set("priority", port.priority())
        .set("queue_id", port.queue_id())
        .set("enabled", port.index() != -1);
    Ok(out)
}

/// What `wg show` shows. The private key and those that two peers share are not read.
#[cfg(kernel_has = "wg_device.incoming_port")]
fn wireguard(device: net_device<'_>) -> Result<Details, Fault> {
    let wg = private::<kernel::wg_device<'_>>(device).deref()?;
    let mut out = Details::new();
    let identity = wg.static_identity();
    if identity.has_identity() {
        out.set("public_key", base64(identity.static_public().bytes()));
    }
    out.set("listen_port", wg.incoming_port());
    if wg.fwmark() != 0 {
        out.set("fwmark", format!("{:#x}", wg.fwmark()));
    }
    let mut peers = Vec::new();
    for peer in wg.peer_list().entries(kernel::wg_peer::peer_list) {
        peers.push(wireguard_peer(peer?)?);
    }
    out.set("peers", peers);
    Ok(out)
}

#[cfg(kernel_has = "wg_device.incoming_port")]
fn wireguard_peer(peer: kernel::wg_peer<'_>) -> Result<Details, Fault> {
    use kstruct::View as _;
    use linux::net::order::socket_address;

    let mut out = Details::new();
    let key = peer.handshake().remote_static();
    out.set("public_key", base64(key.bytes())).set(
        "preshared",
        peer.handshake()
            .preshared_key()
            .iter()
            .any(|byte| byte != 0),
    );
    let endpoint = peer.endpoint();
    let family = endpoint.addr_().sa_family();
    if let Some((address, port)) = socket_address(family, endpoint.addr6().bytes()) {
        out.set(
            "endpoint",
            std::net::SocketAddr::new(address, port).to_string(),
        );
    }
    let mut allowed = Vec::new();
    for node in peer
        .allowedips_list()
        .entries(kernel::allowedips_node::peer_list)
    {
        let node = node?;
        let bits = node.bits().bytes();
        // Kept as numbers of the machine's own order (`swap_endian`, drivers/net/wireguard/allowedips.c).
        let address = match node.bitlen() {
            32 => {
                let mut bytes: [u8; 4] = bits
                    .get(..4)
                    .and_then(|bits| bits.try_into().ok())
                    .unwrap_or_default();
                if !kernel::KERNEL.big_endian {
                    bytes.reverse();
                }
                std::net::IpAddr::from(bytes)
            }
            _ => {
                let mut bytes: [u8; 16] = bits.try_into().unwrap_or_default();
                if !kernel::KERNEL.big_endian {
                    bytes[..8].reverse();
                    bytes[8..].reverse();
                }
                std::net::IpAddr::from(bytes)
            }
        };
        allowed.push(format!("{address}/{}", node.cidr()));
    }
    let handshake = peer.walltime_last_handshake();
    out.set("allowed_ips", allowed)
        .set("latest_handshake", i64::from(handshake.tv_sec()))
        .set("rx_bytes", peer.rx_bytes())
        .set("tx_bytes", peer.tx_bytes())
        .set("persistent_keepalive", peer.persistent_keepalive_interval())
        .set("handshake_attempts", peer.timer_handshake_attempts())
        .set("staged_packets", peer.staged_packet_queue().qlen());
    Ok(out)
}

/// Keys as WireGuard's tools write them.
#[cfg(kernel_has = "wg_device.incoming_port")]
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let mut bits = 0_u32;
        for index in 0..3 {
            bits = bits << 8 | u32::from(chunk.get(index).copied().unwrap_or_default());
        }
        for index in 0..4 {
            if index <= chunk.len() {
                let digit = bits >> (18 - 6 * index) & 63;
                out.push(char::from(DIGITS[digit as usize]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

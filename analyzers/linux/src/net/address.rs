//! IPv4 and IPv6 addresses of interfaces.

use std::net::{Ipv4Addr, Ipv6Addr};

use kernel::net_device;
use kstruct::View as _;
use serde::Serialize;

use super::order::be32;
use crate::Faults;

/// An IPv4 address of an interface.
#[derive(Debug, Serialize)]
pub struct Ipv4 {
    /// The interface's own address.
    pub address: Ipv4Addr,
    /// The other end of a point-to-point link, where it isn't the address itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<Ipv4Addr>,
    /// Bits of the network.
    pub prefix: u8,
    /// The address of all hosts on the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broadcast: Option<Ipv4Addr>,
    /// `global`, `link`, `host`, ...
    pub scope: String,
    /// Whether another address of the same network came first.
    pub secondary: bool,
    /// `eth0:1`
    pub label: String,
}

/// An IPv6 address of an interface.
#[derive(Debug, Serialize)]
pub struct Ipv6 {
    /// The address.
    pub address: Ipv6Addr,
    /// Bits of the network.
    pub prefix: u32,
    /// `global`, `link`, `host`, ...
    pub scope: String,
}

/// An IPv4 address, of a `__be32`.
pub fn ipv4(value: u32) -> Ipv4Addr {
    Ipv4Addr::from(be32(value))
}

/// `IFA_F_SECONDARY`, include/uapi/linux/if_addr.h.
const SECONDARY: u32 = 1;

/// The IPv4 addresses of an interface, in the order of the kernel's list.
pub fn ipv4_addresses(device: net_device<'_>, faults: &mut Faults) -> Vec<Ipv4> {
    let mut found = Vec::new();
    let name = device.name();
    let Some(Some(inet)) = faults.check(
        format_args!("IPv4 configuration of {name}"),
        device
            .ip_ptr()
            .cast::<kernel::in_device<'_>>()
            .deref_or_null(),
    ) else {
        return found;
    };
    let is_own = inet.dev().addr() == device.addr();
    faults.require(
        is_own,
        format_args!("IPv4 configuration of {name}"),
        inet.addr(),
    );
    for address in kstruct::walk::chain(Ok(inet.ifa_list()), kernel::in_ifaddr::ifa_next) {
        let Some(address) = faults.check(format_args!("IPv4 addresses of {name}"), address) else {
            continue;
        };
        let length = u32::from(address.ifa_prefixlen());
        // `inet_make_mask`
        let mask = u32::MAX
            .checked_shl(32_u32.saturating_sub(length))
            .unwrap_or(0);
        faults.require(
            length <= 32
                && be32(address.ifa_mask()) == mask
                && address.ifa_dev().addr() == inet.addr(),
            format_args!("IPv4 address of {name}"),
            address.addr(),
        );
        let (local, peer) = (address.ifa_local(), address.ifa_address());
        let broadcast = address.ifa_broadcast();
        found.push(Ipv4 {
            address: ipv4(local),
            peer: (local != peer).then(|| ipv4(peer)),
            prefix: address.ifa_prefixlen(),
            broadcast: (broadcast != 0).then(|| ipv4(broadcast)),
            scope: scope_name(address.ifa_scope()),
            secondary: u32::from(address.ifa_flags()) & SECONDARY != 0,
            label: address.ifa_label().to_string(),
        });
    }
    found
}

/// The IPv6 addresses of an interface, in the order of the kernel's list.
pub fn ipv6_addresses(device: net_device<'_>, faults: &mut Faults) -> Vec<Ipv6> {
    let mut found = Vec::new();
    let name = device.name();
    let Some(Some(inet)) = faults.check(
        format_args!("IPv6 configuration of {name}"),
        device
            .ip6_ptr()
            .cast::<kernel::inet6_dev<'_>>()
            .deref_or_null(),
    ) else {
        return found;
    };
    let is_own = inet.dev().addr() == device.addr();
    faults.require(
        is_own,
        format_args!("IPv6 configuration of {name}"),
        inet.addr(),
    );
    #[cfg(kernel_has = "inet6_ifaddr.if_list")]
    let list = inet.addr_list().entries(kernel::inet6_ifaddr::if_list);
    #[cfg(not(kernel_has = "inet6_ifaddr.if_list"))]
    let list = kstruct::walk::chain(Ok(inet.addr_list()), kernel::inet6_ifaddr::if_next);
    for address in list {
        let what = format_args!("IPv6 addresses of {name}");
        let Some(address) = faults.check(what, address) else {
            continue;
        };
        let is_own = address.idev().addr() == inet.addr();
        faults.require(
            is_own && u32::from(address.prefix_len()) <= 128,
            what,
            address.addr(),
        );
        found.push(Ipv6 {
            address: ipv6(address.addr_()),
            prefix: u32::from(address.prefix_len()),
            scope: scope_name(ipv6_scope(address.scope().into())),
        });
    }
    found
}

/// An IPv6 address.
pub fn ipv6(address: kernel::in6_addr<'_>) -> Ipv6Addr {
    // A view has all its bytes.
    let bytes: [u8; 16] = address.bytes().try_into().unwrap_or_default();
    Ipv6Addr::from(bytes)
}

/// `IFA_HOST`, `IFA_LINK`, `IFA_SITE` (include/net/if_inet6.h) as the scopes of routes (`rt_scope`, net/ipv6/addrconf.c).
fn ipv6_scope(scope: u32) -> u8 {
    match scope {
        scope if scope & 0x10 != 0 => 254,
        scope if scope & 0x20 != 0 => 253,
        scope if scope & 0x40 != 0 => 200,
        _ => 0,
    }
}

/// `enum rt_scope_t`, include/uapi/linux/rtnetlink.h.
fn scope_name(scope: u8) -> String {
    match scope {
        0 => "global".into(),
        200 => "site".into(),
        253 => "link".into(),
        254 => "host".into(),
        255 => "nowhere".into(),
        other => other.to_string(),
    }
}

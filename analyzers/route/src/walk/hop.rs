//! Next hops, as `fib_nexthop_info` (net/ipv4/fib_semantics.c) tells of them.

use kernel::{fib_nh_common, net_device, nexthop, nh_grp_entry};
use kstruct::{Fault, Memory, Ptr, View as _};
use linux::net::order::be64;

use super::{family, inconsistent, ipv4, ipv6};
use crate::model::{Encap, Family, Hop};
use crate::names;

/// `RTNH_F_DEAD`, `RTNH_F_ONLINK`, `RTNH_F_OFFLOAD`, `RTNH_F_LINKDOWN`, `RTNH_F_TRAP`, include/uapi/linux/rtnetlink.h.
const DEAD: u32 = 1;
const ONLINK: u32 = 4;
const OFFLOAD: u32 = 8;
const LINKDOWN: u32 = 16;
const TRAP: u32 = 64;

/// A next hop and its flags as the kernel tells them.
pub(super) fn hop(common: fib_nh_common<'_>, weight: i32) -> Result<(Hop, u32), Fault> {
    let own = u32::from(common.nhc_flags());
    let device = common.nhc_dev().deref_or_null()?;
    let mut flags = own & (DEAD | LINKDOWN | ONLINK | OFFLOAD | TRAP);
    if own & LINKDOWN != 0
        && let Some(device) = device
        && ignores_down_links(device, family(common.nhc_family().into()))?
    {
        flags |= DEAD;
    }
    let gateway = match family(common.nhc_gw_family().into()) {
        Some(Family::Inet) => Some(ipv4(common.nhc_gw().ipv4())),
        Some(Family::Inet6) => Some(ipv6(common.nhc_gw().ipv6()).into()),
        None if common.nhc_gw_family() == 0 => None,
        None => return Err(inconsistent(common.addr())),
    };
    let hop = Hop {
        dev: device.map(|device| device.name().to_string()),
        ifindex: device.map_or(0, |device| device.ifindex()),
        gateway,
        weight,
        flags: names::hop_flags(flags),
        scope: names::scope(common.nhc_scope()),
        encap: encap(common.nhc_lwtstate())?,
        realm: 0,
        route: None,
    };
    Ok((hop, flags))
}

/// Whether routes over links that are down are taken for dead (`ip_ignore_linkdown`, `ip6_ignore_linkdown`).
fn ignores_down_links(device: net_device<'_>, family: Option<Family>) -> Result<bool, Fault> {
    match family {
        Some(Family::Inet) => {
            let inet = device.ip_ptr().cast::<kernel::in_device<'_>>();
            let Some(inet) = inet.deref_or_null()? else {
                return Ok(false);
            };
            let index = kernel::constants::IPV4_DEVCONF_IGNORE_ROUTES_WITH_LINKDOWN as usize;
            let value = inet.cnf().data().get(index.wrapping_sub(1));
            Ok(value.is_some_and(|value| value != 0))
        }
        Some(Family::Inet6) => {
            let inet = device.ip6_ptr().cast::<kernel::inet6_dev<'_>>();
            let inet = inet.deref_or_null()?;
            Ok(inet.is_some_and(|inet| inet.cnf().ignore_routes_with_linkdown() != 0))
        }
        None => Ok(false),
    }
}

/// The next hops that an object stands for, each with its weight, and whether they are several.
pub(super) fn of_object<'m>(object: nexthop<'m>) -> Result<Vec<(fib_nh_common<'m>, i32)>, Fault> {
    if !object.is_group() {
        return Ok(vec![(object.nh_info().deref()?.fib_nhc(), 1)]);
    }
    let of_member = |(member, entry): (nexthop<'m>, nh_grp_entry<'m>)| {
        Ok((
            member.nh_info().deref()?.fib_nhc(),
            i32::from(entry.weight()),
        ))
    };
    members(object)?.into_iter().map(of_member).collect()
}

/// The members of a group, of which it has some (`nexthop_create_group`); with the last one it is removed. None is a group itself
/// (`valid_group_nh`).
pub(super) fn members<'m>(
    object: nexthop<'m>,
) -> Result<Vec<(nexthop<'m>, nh_grp_entry<'m>)>, Fault> {
    let group = object.nh_grp().deref()?;
    let count = usize::from(group.num_nh());
    if count == 0 {
        return Err(inconsistent(group.addr()));
    }
    let of_entry = |entry: nh_grp_entry<'m>| {
        let member = entry.nh().deref()?;
        if member.is_group() {
            return Err(inconsistent(member.addr()));
        }
        Ok((member, entry))
    };
    let entries = group.nh_entries().array(count)?;
    entries.iter().map(of_entry).collect()
}

/// Whether an object drops packets (`nexthop_is_blackhole`): one by itself, or a group of one.
pub(super) fn is_blackhole(object: nexthop<'_>) -> Result<bool, Fault> {
    if !object.is_group() {
        return Ok(object.nh_info().deref()?.reject_nh());
    }
    match members(object)?.as_slice() {
        [(member, _)] => Ok(member.nh_info().deref()?.reject_nh()),
        _ => Ok(false),
    }
}

/// `LWTUNNEL_ENCAP_*` (include/uapi/linux/lwtunnel.h), and what each kind is given.
pub(super) fn encap(state: Ptr<'_, kernel::lwtunnel_state<'_>>) -> Result<Option<Encap>, Fault> {
    const NAMES: [&str; 11] = [
        "none",
        "mpls",
        "ip",
        "ila",
        "ip6",
        "seg6",
        "bpf",
        "seg6local",
        "rpl",
        "ioam6",
        "xfrm",
    ];
    let Some(state) = state.deref_or_null()? else {
        return Ok(None);
    };
    let number = usize::from(state.type_());
    let kind = NAMES
        .get(number)
        .map_or_else(|| number.to_string(), |name| (*name).to_owned());
    let k = state.memory();
    let data = state.data().addr();
    let detail = match kind.as_str() {
        "ip" | "ip6" => ip_tunnel(k, data, kind == "ip6")?,
        "mpls" => mpls(k, data)?,
        "seg6" => segments(k, data)?,
        _ => String::new(),
    };
    Ok(Some(Encap { kind, detail }))
}

/// `ip_tun_fill_encap_info`, `ip6_tun_fill_encap_info`, net/ipv4/ip_tunnel_core.c.
fn ip_tunnel(k: &Memory, data: u64, is_ipv6: bool) -> Result<String, Fault> {
    let key = kernel::ip_tunnel_info::at(k, data)?.key();
    let id = be64(key.tun_id());
    let (ttl, tos) = (key.ttl(), key.tos());
    Ok(if is_ipv6 {
        let (src, dst) = (key.u().ipv6().src(), key.u().ipv6().dst());
        let (src, dst) = (ipv6(src), ipv6(dst));
        format!("id {id} src {src} dst {dst} hoplimit {ttl} tc {tos} ")
    } else {
        let (src, dst) = (key.u().ipv4().src(), key.u().ipv4().dst());
        let (src, dst) = (ipv4(src), ipv4(dst));
        format!("id {id} src {src} dst {dst} ttl {ttl} tos {tos} ")
    })
}

/// `mpls_fill_encap_info`, net/mpls/mpls_iptunnel.c.
#[cfg(kernel_has = "mpls_iptunnel_encap.labels")]
fn mpls(k: &Memory, data: u64) -> Result<String, Fault> {
    use std::fmt::Write as _;

    /// `MPLS_TTL_PROP_DISABLED`, net/mpls/internal.h: a TTL was given.
    const DISABLED: u32 = 2;
    let encap = kernel::mpls_iptunnel_encap::at(k, data)?;
    let mut out = String::new();
    let labels = encap.label().array(usize::from(encap.labels()))?;
    for (index, label) in labels.iter().enumerate() {
        let slash = if index == 0 { "" } else { "/" };
        let _ = write!(out, "{slash}{label}");
    }
    out.push(' ');
    if u32::from(encap.ttl_propagate()) == DISABLED {
        let _ = write!(out, "ttl {} ", encap.default_ttl());
    }
    Ok(out)
}

/// Without the module's types it is only named.
#[cfg(not(kernel_has = "mpls_iptunnel_encap.labels"))]
fn mpls(_: &Memory, _: u64) -> Result<String, Fault> {
    Ok(String::new())
}

/// `seg6_fill_encap_info`, net/ipv6/seg6_iptunnel.c; the segments are in the order in which they are visited.
#[cfg(kernel_has = "seg6_lwt.tuninfo")]
fn segments(k: &Memory, data: u64) -> Result<String, Fault> {
    use std::fmt::Write as _;

    /// `SEG6_IPTUN_MODE_*`, include/uapi/linux/seg6_iptunnel.h.
    const MODES: [&str; 5] = ["inline", "encap", "l2encap", "encap.red", "l2encap.red"];
    let info = kernel::seg6_lwt::at(k, data)?.tuninfo().deref()?;
    let mode = info.mode();
    let name = usize::try_from(mode)
        .ok()
        .and_then(|mode| MODES.get(mode))
        .map_or_else(|| mode.to_string(), |name| (*name).to_owned());
    let header = info.srh().deref()?;
    let count = usize::from(header.first_segment()) + 1;
    let mut out = format!("mode {name} segs {count} [ ");
    let all = header.segments().array(count)?;
    for index in (0..count).rev() {
        if let Some(segment) = all.get(index) {
            let _ = write!(out, "{} ", ipv6(segment));
        }
    }
    out.push_str("] ");
    Ok(out)
}

/// Kernels without segment routing.
#[cfg(not(kernel_has = "seg6_lwt.tuninfo"))]
fn segments(_: &Memory, _: u64) -> Result<String, Fault> {
    Ok(String::new())
}

//! Filters of `flower` (net/sched/cls_flower.c): what of a packet is looked at, named as in `tc -j filter show`.
#![cfg(kernel_has = "fl_flow_key.tp_range")]

use kstruct::{Fault, View as _};
use linux::net::address::{ipv4, ipv6};
use linux::net::order::{be16, be32};

use super::{Look, add_actions, hardware};
use crate::qdisc::units::class_id;
use linux::details::{Details, colons};

/// `fl_walk`: in the order of their handles.
pub fn filters(
    proto: kernel::tcf_proto<'_>,
    look: &Look<'_>,
    out: &mut Vec<(u64, Details)>,
) -> Result<(), Fault> {
    let head = proto.root().cast::<kernel::cls_fl_head<'_>>().deref()?;
    for entry in head.handle_idr().entries::<kernel::cls_fl_filter<'_>>() {
        let (_, filter) = entry?;
        // A handle may be reserved for a filter that is still being made.
        if let Some(filter) = filter.deref_or_null()? {
            out.push((filter.addr(), one(filter, look)?));
        }
    }
    Ok(())
}

/// `fl_dump`.
fn one(filter: kernel::cls_fl_filter<'_>, look: &Look<'_>) -> Result<Details, Fault> {
    let mut out = Details::new();
    out.set("handle", filter.handle());
    if filter.res().classid() != 0 {
        out.set("classid", class_id(filter.res().classid()));
    }
    let (key, mask) = (filter.key(), filter.mask().deref()?.key());
    let index = key.meta().ingress_ifindex();
    if mask.meta().ingress_ifindex() != 0 {
        // Its number, if there is no such interface any more.
        match interface(look, index) {
            Some(name) => out.set("indev", name),
            None => out.set("indev", index),
        };
    }
    let mut keys = Details::new();
    vlan(key, mask, &mut keys);
    basic(key, mask, &mut keys);
    addresses(key, mask, &mut keys);
    ports(key, mask, &mut keys);
    rest(key, mask, &mut keys);
    tunnel(key, mask, &mut keys);
    out.set("keys", keys);
    hardware(filter.flags(), &mut out);
    add_actions(filter.exts(), look, &mut out)?;
    Ok(out)
}

/// The name of an interface of the same namespace. What is wrong with the list is counted where interfaces are shown.
fn interface(look: &Look<'_>, index: i32) -> Option<String> {
    let net = look.device.nd_net().net().deref().ok()?;
    let devices = net.dev_base_head().entries(kernel::net_device::dev_list);
    let mut devices = devices.map_while(Result::ok);
    let device = devices.find(|device| device.ifindex() == index)?;
    Some(device.name().to_string())
}

fn vlan(key: kernel::fl_flow_key<'_>, mask: kernel::fl_flow_key<'_>, out: &mut Details) {
    let (own, of) = (key.vlan(), mask.vlan());
    if of.vlan_id() != 0 {
        out.set("vlan_id", own.vlan_id());
    }
    if of.vlan_priority() != 0 {
        out.set("vlan_prio", own.vlan_priority());
    }
    if of.vlan_tpid() != 0 && be16(key.basic().n_proto()) != 0 && of.vlan_id() != 0 {
        out.set("vlan_ethtype", protocol(be16(key.basic().n_proto()), "ip"));
    }
    let (own, of) = (key.cvlan(), mask.cvlan());
    if of.vlan_id() != 0 {
        out.set("cvlan_id", own.vlan_id());
    }
    if of.vlan_priority() != 0 {
        out.set("cvlan_prio", own.vlan_priority());
    }
}

/// IPv4's name differs by where it is printed.
fn protocol(number: u16, ip: &str) -> String {
    match number {
        0x0800 => ip.to_owned(),
        0x86dd => "ipv6".into(),
        0x0806 => "arp".into(),
        0x8100 => "802.1Q".into(),
        0x88a8 => "802.1ad".into(),
        other => format!("{other:04x}"),
    }
}

fn basic(key: kernel::fl_flow_key<'_>, mask: kernel::fl_flow_key<'_>, out: &mut Details) {
    for (name, own, of) in [
        ("dst_mac", key.eth().dst(), mask.eth().dst()),
        ("src_mac", key.eth().src(), mask.eth().src()),
    ] {
        let of = of.bytes();
        if of.iter().any(|byte| *byte != 0) {
            out.set(name, format!("{}{}", colons(own.bytes()), length(of)));
        }
    }
    if mask.basic().n_proto() != 0 {
        out.set("eth_type", protocol(be16(key.basic().n_proto()), "ipv4"));
    }
    if mask.basic().ip_proto() != 0 {
        out.set(
            "ip_proto",
            match key.basic().ip_proto() {
                1 => "icmp".to_owned(),
                6 => "tcp".to_owned(),
                17 => "udp".to_owned(),
                58 => "icmpv6".to_owned(),
                132 => "sctp".to_owned(),
                other => format!("{other:02x}"),
            },
        );
    }
    for (name, own, of) in [
        ("ip_tos", key.ip().tos(), mask.ip().tos()),
        ("ip_ttl", key.ip().ttl(), mask.ip().ttl()),
    ] {
        if of == 0xff {
            out.set(name, format_tos(name, own));
        } else if of != 0 {
            out.set(name, format!("{}/{of:x}", format_tos(name, own)));
        }
    }
}

fn format_tos(name: &str, value: u8) -> String {
    if name == "ip_tos" {
        match value {
            0 => "0".into(),
            value => format!("0x{value:x}"),
        }
    } else {
        value.to_string()
    }
}

/// The end of an address with a mask: its length, or the mask itself; nothing for a whole address.
fn length(mask: &[u8]) -> String {
    let bits = mask.iter().map(|byte| byte.count_ones()).sum::<u32>();
    let leading = {
        let mut leading = 0;
        for byte in mask {
            leading += byte.leading_ones();
            if *byte != 0xff {
                break;
            }
        }
        leading
    };
    if bits as usize == mask.len() * 8 {
        String::new()
    } else if bits == leading {
        format!("/{leading}")
    } else {
        format!("/{}", colons(mask))
    }
}

/// `FLOW_DISSECTOR_KEY_IPV4_ADDRS`, include/net/flow_dissector.h.
const ADDRESSES_IPV4: u16 = 2;
const ADDRESSES_IPV6: u16 = 3;

fn addresses(key: kernel::fl_flow_key<'_>, mask: kernel::fl_flow_key<'_>, out: &mut Details) {
    match key.control().addr_type() {
        ADDRESSES_IPV4 => {
            for (name, own, of) in [
                ("dst_ip", key.ipv4().dst(), mask.ipv4().dst()),
                ("src_ip", key.ipv4().src(), mask.ipv4().src()),
            ] {
                address4(name, own, of, out);
            }
        }
        ADDRESSES_IPV6 => {
            for (name, own, of) in [
                ("dst_ip", key.ipv6().dst(), mask.ipv6().dst()),
                ("src_ip", key.ipv6().src(), mask.ipv6().src()),
            ] {
                address6(name, own, of, out);
            }
        }
        _ => {}
    }
}

fn address4(name: &'static str, own: u32, of: u32, out: &mut Details) {
    if of != 0 {
        let end = length(&be32(of).to_be_bytes());
        out.set(name, format!("{}{end}", ipv4(own)));
    }
}

fn address6(
    name: &'static str,
    own: kernel::in6_addr<'_>,
    of: kernel::in6_addr<'_>,
    out: &mut Details,
) {
    if of.bytes().iter().any(|byte| *byte != 0) {
        out.set(name, format!("{}{}", ipv6(own), length(of.bytes())));
    }
}

fn ports(key: kernel::fl_flow_key<'_>, mask: kernel::fl_flow_key<'_>, out: &mut Details) {
    for (name, own, of) in [
        ("dst_port", key.tp().dst(), mask.tp().dst()),
        ("src_port", key.tp().src(), mask.tp().src()),
    ] {
        port(name, own, of, out);
    }
    let (range, of) = (key.tp_range(), mask.tp_range());
    for (name, from, to, of) in [
        (
            "dst_port",
            range.tp_min().dst(),
            range.tp_max().dst(),
            of.tp_min().dst(),
        ),
        (
            "src_port",
            range.tp_min().src(),
            range.tp_max().src(),
            of.tp_min().src(),
        ),
    ] {
        if of != 0 {
            let mut ports = Details::new();
            ports.set("start", be16(from)).set("end", be16(to));
            out.set(name, ports);
        }
    }
}

fn port(name: &'static str, own: u16, of: u16, out: &mut Details) {
    match be16(of) {
        0 => {}
        0xffff => {
            out.set(name, be16(own));
        }
        of => {
            out.set(name, format!("{}/{of:#x}", be16(own)));
        }
    }
}

fn rest(key: kernel::fl_flow_key<'_>, mask: kernel::fl_flow_key<'_>, out: &mut Details) {
    let of = be16(mask.tcp().flags());
    if of != 0 {
        let own = be16(key.tcp().flags());
        let end = if of == 0xffff {
            String::new()
        } else {
            format!("/{of:x}")
        };
        out.set("tcp_flags", format!("{own:#x}{end}"));
    }
    for (name, own, of) in [
        ("icmp_type", key.icmp().type_(), mask.icmp().type_()),
        ("icmp_code", key.icmp().code(), mask.icmp().code()),
    ] {
        if of == 0xff {
            out.set(name, own.to_string());
        } else if of != 0 {
            out.set(name, format!("{own}/{of:x}"));
        }
    }
    let (own, of) = (key.arp(), mask.arp());
    address4("arp_sip", own.sip(), of.sip(), out);
    address4("arp_tip", own.tip(), of.tip(), out);
    if of.op() != 0 {
        out.set(
            "arp_op",
            match own.op() {
                1 => "request".to_owned(),
                2 => "reply".to_owned(),
                other => other.to_string(),
            },
        );
    }
    for (name, own, of) in [
        ("arp_sha", own.sha(), of.sha()),
        ("arp_tha", own.tha(), of.tha()),
    ] {
        if of.bytes().iter().any(|byte| *byte != 0) {
            out.set(
                name,
                format!("{}{}", colons(own.bytes()), length(of.bytes())),
            );
        }
    }
    // TCA_FLOWER_KEY_CT_FLAGS_*, include/uapi/linux/pkt_cls.h.
    const STATES: [&str; 6] = ["new", "est", "rel", "trk", "inv", "rpl"];
    let (own, of) = (key.ct(), mask.ct());
    let states = STATES.iter().enumerate();
    let states: String = states
        .filter(|(bit, _)| of.ct_state() >> bit & 1 != 0)
        .map(|(bit, name)| {
            let sign = if own.ct_state() >> bit & 1 != 0 {
                '+'
            } else {
                '-'
            };
            format!("{sign}{name}")
        })
        .collect();
    if !states.is_empty() {
        out.set("ct_state", states);
    }
    if of.ct_zone() != 0 {
        out.set("ct_zone", own.ct_zone());
    }
    if of.ct_mark() != 0 {
        out.set(
            "ct_mark",
            format!("{:#x}/{:#x}", own.ct_mark(), of.ct_mark()),
        );
    }
    if mask.mpls().used_lses() != 0 {
        out.set(
            "mpls_label",
            key.mpls().ls().get(0).map_or(0, |entry| entry.mpls_label()),
        );
    }
    #[cfg(kernel_has = "fl_flow_key.num_of_vlans")]
    if mask.num_of_vlans().num_of_vlans() != 0 {
        out.set("num_of_vlans", key.num_of_vlans().num_of_vlans());
    }
}

fn tunnel(key: kernel::fl_flow_key<'_>, mask: kernel::fl_flow_key<'_>, out: &mut Details) {
    match key.enc_control().addr_type() {
        ADDRESSES_IPV4 => {
            for (name, own, of) in [
                ("enc_dst_ip", key.enc_ipv4().dst(), mask.enc_ipv4().dst()),
                ("enc_src_ip", key.enc_ipv4().src(), mask.enc_ipv4().src()),
            ] {
                address4(name, own, of, out);
            }
        }
        ADDRESSES_IPV6 => {
            for (name, own, of) in [
                ("enc_dst_ip", key.enc_ipv6().dst(), mask.enc_ipv6().dst()),
                ("enc_src_ip", key.enc_ipv6().src(), mask.enc_ipv6().src()),
            ] {
                address6(name, own, of, out);
            }
        }
        _ => {}
    }
    if mask.enc_key_id().keyid() != 0 {
        out.set("enc_key_id", be32(key.enc_key_id().keyid()));
    }
    for (name, own, of) in [
        ("enc_dst_port", key.enc_tp().dst(), mask.enc_tp().dst()),
        ("enc_src_port", key.enc_tp().src(), mask.enc_tp().src()),
    ] {
        port(name, own, of, out);
    }
    for (name, own, of) in [
        ("enc_tos", key.enc_ip().tos(), mask.enc_ip().tos()),
        ("enc_ttl", key.enc_ip().ttl(), mask.enc_ip().ttl()),
    ] {
        if of != 0 {
            out.set(name, own);
        }
    }
}

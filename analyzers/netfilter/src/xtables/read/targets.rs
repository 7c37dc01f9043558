//! Targets: their options as iptables writes them.

use std::fmt::Write as _;

use linux::bytes::{Bytes, prefix};

use super::Context;
use super::matches::{address, quoted, set_info};
use crate::names;

/// The options of a target; `None` if that kind isn't known, or its data are too short.
pub fn options(name: &str, revision: u8, data: Bytes<'_>, context: &Context<'_>) -> Option<String> {
    let mut out = String::new();
    match name {
        "REJECT" => {
            let names: &[&str] = match context.family {
                names::IPV6 => &[
                    "icmp6-no-route",
                    "icmp6-adm-prohibited",
                    "",
                    "icmp6-addr-unreachable",
                    "icmp6-port-unreachable",
                    "",
                    "tcp-reset",
                    "icmp6-policy-fail",
                    "icmp6-reject-route",
                ],
                _ => &[
                    "icmp-net-unreachable",
                    "icmp-host-unreachable",
                    "icmp-proto-unreachable",
                    "icmp-port-unreachable",
                    "",
                    "icmp-net-prohibited",
                    "icmp-host-prohibited",
                    "tcp-reset",
                    "icmp-admin-prohibited",
                ],
            };
            let with = names
                .get(data.u32(0)? as usize)
                .filter(|name| !name.is_empty())?;
            let _ = write!(out, " --reject-with {with}");
        }
        "LOG" => log(data, &mut out)?,
        "NFLOG" => nflog(data, &mut out)?,
        "MARK" if revision == 2 => {
            let _ = write!(
                out,
                " --set-xmark 0x{:x}/0x{:x}",
                data.u32(0)?,
                data.u32(4)?
            );
        }
        "CONNMARK" => connmark(revision, data, &mut out)?,
        "DNAT" => nat(
            " --to-destination ",
            false,
            revision,
            data,
            context,
            &mut out,
        )?,
        "SNAT" => nat(" --to-source ", false, revision, data, context, &mut out)?,
        "MASQUERADE" | "REDIRECT" => nat(" --to-ports ", true, revision, data, context, &mut out)?,
        "NETMAP" => netmap(data, context, &mut out)?,
        "TCPMSS" => match data.u16(0)? {
            u16::MAX => out.push_str(" --clamp-mss-to-pmtu"),
            mss => {
                let _ = write!(out, " --set-mss {mss}");
            }
        },
        "TOS" if revision == 1 => {
            let _ = write!(
                out,
                " --set-tos 0x{:02x}/0x{:02x}",
                data.u8(0)?,
                data.u8(1)?
            );
        }
        "DSCP" => {
            let _ = write!(out, " --set-dscp 0x{:02x}", data.u8(0)?);
        }
        "TTL" | "HL" => {
            let option = ["set", "inc", "dec"].get(usize::from(data.u8(0)?))?;
            let _ = write!(out, " --{}-{option} {}", name.to_lowercase(), data.u8(1)?);
        }
        "CT" => ct(revision, data, &mut out)?,
        "CHECKSUM" => out.push_str(if data.u8(0)? & 1 != 0 {
            " --checksum-fill"
        } else {
            ""
        }),
        "TPROXY" => {
            let (port, ip) = match revision {
                0 => (data.be16(12)?, data.ipv4(8)?.to_string()),
                1 => (data.be16(24)?, address(data, 8, context)?),
                _ => return None,
            };
            let _ = write!(
                out,
                " --on-port {port} --on-ip {ip} --tproxy-mark 0x{:x}/0x{:x}",
                data.u32(4)?,
                data.u32(0)?
            );
        }
        "CLASSIFY" => {
            let priority = data.u32(0)?;
            let (major, minor) = (priority >> 16, priority & 0xffff);
            let _ = match context.family {
                names::ARP => write!(out, " --set-class {major:x}:{minor:x}"),
                _ => write!(out, " --set-class {major:04x}:{minor:04x}"),
            };
        }
        "NFQUEUE" => {
            let (first, count) = (data.u16(0)?, if revision == 0 { 1 } else { data.u16(2)? });
            let _ = if count > 1 {
                let last = u32::from(first) + u32::from(count) - 1;
                write!(out, " --queue-balance {first}:{last}")
            } else {
                write!(out, " --queue-num {first}")
            };
            let flags = if revision >= 2 { data.u16(4)? } else { 0 };
            out.push_str(if flags & 1 != 0 {
                " --queue-bypass"
            } else {
                ""
            });
            out.push_str(if revision >= 3 && flags & 2 != 0 {
                " --queue-cpu-fanout"
            } else {
                ""
            });
        }
        "SYNPROXY" => {
            let flags = data.u8(0)?;
            out.push_str(if flags & 4 != 0 { " --sack-perm" } else { "" });
            out.push_str(if flags & 8 != 0 { " --timestamp" } else { "" });
            if flags & 2 != 0 {
                let _ = write!(out, " --wscale {}", data.u8(1)?);
            }
            if flags & 1 != 0 {
                let _ = write!(out, " --mss {}", data.u16(2)?);
            }
            out.push_str(if flags & 0x10 != 0 { " --ecn" } else { "" });
        }
        "TEE" => {
            let _ = write!(out, " --gateway {}", address(data, 0, context)?);
            let interface = data.text(16, 16)?;
            if !interface.is_empty() {
                let _ = write!(out, " --oif {interface}");
            }
        }
        "AUDIT" => {
            let kind = ["accept", "drop", "reject"].get(usize::from(data.u8(0)?))?;
            let _ = write!(out, " --type {kind}");
        }
        "SET" if revision >= 1 => set(revision, data, context, &mut out)?,
        "TRACE" | "NOTRACK" => {}
        _ => return None,
    }
    Some(out)
}

/// The name behind `-j`, which may be an older target that became part of another one.
pub fn alias(name: &str, data: Bytes<'_>) -> String {
    const NOTRACK_ALIAS: u16 = 2;
    if name == "CT" && data.u16(0).unwrap_or(0) & NOTRACK_ALIAS != 0 {
        return "NOTRACK".into();
    }
    name.into()
}

fn log(data: Bytes<'_>, out: &mut String) -> Option<()> {
    let (level, flags, prefix) = (data.u8(0)?, data.u8(1)?, data.text(2, 30)?);
    if !prefix.is_empty() {
        let _ = write!(out, " --log-prefix{}", quoted(&prefix));
    }
    if level != 4 {
        let _ = write!(out, " --log-level {level}");
    }
    let all = [
        (1, " --log-tcp-sequence"),
        (2, " --log-tcp-options"),
        (4, " --log-ip-options"),
        (8, " --log-uid"),
        (0x20, " --log-macdecode"),
    ];
    for (bit, option) in all {
        out.push_str(if flags & bit != 0 { option } else { "" });
    }
    Some(())
}

fn nflog(data: Bytes<'_>, out: &mut String) -> Option<()> {
    let (length, group, threshold, flags) =
        (data.u32(0)?, data.u16(4)?, data.u16(6)?, data.u16(8)?);
    let prefix = data.text(12, 64)?;
    if !prefix.is_empty() {
        let _ = write!(out, " --nflog-prefix{}", quoted(&prefix));
    }
    if group != 0 {
        let _ = write!(out, " --nflog-group {group}");
    }
    if flags & 1 != 0 {
        let _ = write!(out, " --nflog-size {length}");
    } else if length != 0 {
        let _ = write!(out, " --nflog-range {length}");
    }
    if threshold != 0 {
        let _ = write!(out, " --nflog-threshold {threshold}");
    }
    Some(())
}

fn connmark(revision: u8, data: Bytes<'_>, out: &mut String) -> Option<()> {
    let (mark, ct_mask, nf_mask) = (data.u32(0)?, data.u32(4)?, data.u32(8)?);
    let (shift, bits, mode) = match revision {
        1 => (0, 0, data.u8(12)?),
        2 => (data.u8(12)?, data.u8(13)?, data.u8(14)?),
        _ => return None,
    };
    let _ = match mode {
        0 => write!(out, " --set-xmark 0x{mark:x}/0x{ct_mask:x}"),
        1 => write!(
            out,
            " --save-mark --nfmask 0x{nf_mask:x} --ctmask 0x{ct_mask:x}"
        ),
        2 => write!(
            out,
            " --restore-mark --nfmask 0x{nf_mask:x} --ctmask 0x{ct_mask:x}"
        ),
        _ => return None,
    };
    if bits != 0 {
        let direction = ["left", "right"].get(usize::from(shift))?;
        let _ = write!(out, " --{direction}-shift-mark {bits}");
    }
    Some(())
}

/// Where the members of the three kinds of ranges are, in the order in which NAT got them.
struct Range {
    flags: u32,
    from: String,
    to: String,
    ports: (u16, u16),
    base: u16,
}

fn range(revision: u8, data: Bytes<'_>, context: &Context<'_>) -> Option<Range> {
    if context.family == names::IPV4 && revision == 0 {
        // struct nf_nat_ipv4_multi_range_compat
        return Some(Range {
            flags: data.u32(4)?,
            from: data.ipv4(8)?.to_string(),
            to: data.ipv4(12)?.to_string(),
            ports: (data.be16(16)?, data.be16(18)?),
            base: 0,
        });
    }
    // struct nf_nat_range, and from revision 2 on nf_nat_range2
    Some(Range {
        flags: data.u32(0)?,
        from: address(data, 4, context)?,
        to: address(data, 20, context)?,
        ports: (data.be16(36)?, data.be16(38)?),
        base: if revision >= 2 { data.be16(40)? } else { 0 },
    })
}

/// `NF_NAT_RANGE_*`, include/uapi/linux/netfilter/nf_nat.h.
fn nat(
    option: &str,
    ports_only: bool,
    revision: u8,
    data: Bytes<'_>,
    context: &Context<'_>,
    out: &mut String,
) -> Option<()> {
    let range = range(revision, data, context)?;
    let has = |bit: u32| range.flags & bit != 0;
    let mut text = String::new();
    if has(1) {
        let brackets = context.family == names::IPV6 && has(2);
        text.push_str(if brackets { "[" } else { "" });
        text.push_str(&range.from);
        if range.from != range.to {
            let _ = write!(text, "-{}", range.to);
        }
        text.push_str(if brackets { "]" } else { "" });
    }
    if has(2) {
        let (from, to) = range.ports;
        let colon = if ports_only && text.is_empty() {
            ""
        } else {
            ":"
        };
        let _ = write!(text, "{colon}{from}");
        if from != to {
            let _ = write!(text, "-{to}");
        }
        if has(0x20) {
            let _ = write!(text, "/{}", range.base);
        }
    }
    if !text.is_empty() {
        let _ = write!(out, "{option}{text}");
    }
    out.push_str(if has(4) { " --random" } else { "" });
    out.push_str(if has(0x10) { " --random-fully" } else { "" });
    out.push_str(if has(8) { " --persistent" } else { "" });
    Some(())
}

/// A range whose ends differ in the bits that the mask has not.
fn netmap(data: Bytes<'_>, context: &Context<'_>, out: &mut String) -> Option<()> {
    let (at, length) = if context.family == names::IPV6 {
        (4, 16)
    } else {
        (8, 4)
    };
    let (from, to) = (data.part(at, length)?, data.part(at + length, length)?);
    let mask: Vec<u8> = from.iter().zip(to).map(|(from, to)| !(from ^ to)).collect();
    let _ = write!(out, " --to {}", address(data, at, context)?);
    let _ = match prefix(&mask) {
        Some(bits) => write!(out, "/{bits}"),
        None => write!(out, "/{}", address(Bytes(&mask), 0, context)?),
    };
    Some(())
}

/// `struct xt_ct_target_info` and its successor, which has a timeout policy's name.
fn ct(revision: u8, data: Bytes<'_>, out: &mut String) -> Option<()> {
    const EVENTS: [&str; 10] = [
        "new",
        "related",
        "destroy",
        "reply",
        "assured",
        "protoinfo",
        "helper",
        "mark",
        "natseqinfo",
        "secmark",
    ];
    let (flags, zone) = (data.u16(0)?, data.u16(2)?);
    if flags & 2 != 0 {
        return Some(());
    }
    out.push_str(if flags & 1 != 0 { " --notrack" } else { "" });
    let helper = data.text(12, 16)?;
    if !helper.is_empty() {
        let _ = write!(out, " --helper {helper}");
    }
    let timeout = if revision >= 1 {
        data.text(28, 32)?
    } else {
        String::new()
    };
    if !timeout.is_empty() {
        let _ = write!(out, " --timeout {timeout}");
    }
    for (option, at, names) in [
        ("--ctevents", 4, &EVENTS[..]),
        ("--expevents", 8, &EVENTS[..1]),
    ] {
        let events = data.u32(at)?;
        if events != 0 {
            let names: Vec<&str> = (0..)
                .zip(names)
                .filter(|(bit, _)| events >> bit & 1 != 0)
                .map(|(_, name)| *name)
                .collect();
            let _ = write!(out, " {option} {}", names.join(","));
        }
    }
    if flags & 0x10 != 0 || zone != 0 {
        let direction = match flags & 0xc {
            4 => "-orig",
            8 => "-reply",
            _ => "",
        };
        let _ = if flags & 0x10 != 0 {
            write!(out, " --zone{direction} mark")
        } else {
            write!(out, " --zone{direction} {zone}")
        };
    }
    Some(())
}

/// `struct xt_set_info_target_v1` to 3: sets to add to, to delete from, and to map by.
fn set(revision: u8, data: Bytes<'_>, context: &Context<'_>, out: &mut String) -> Option<()> {
    /// `IPSET_INVALID_ID`
    const NONE: u16 = u16::MAX;
    let options: &[(&str, usize)] = match revision {
        3 => &[("--add-set", 0), ("--del-set", 4), ("--map-set", 8)],
        _ => &[("--add-set", 0), ("--del-set", 4)],
    };
    let (flags, timeout) = match revision {
        1 => (0, u32::MAX),
        2 => (data.u32(8)?, data.u32(12)?),
        3 => (data.u32(12)?, data.u32(16)?),
        _ => return None,
    };
    for (index, (option, at)) in options.iter().enumerate() {
        if index < 2 && data.u16(*at)? != NONE {
            out.push_str(&set_info(option, data, *at, context)?);
        }
    }
    out.push_str(if flags & 1 != 0 { " --exist" } else { "" });
    if timeout != u32::MAX {
        let _ = write!(out, " --timeout {timeout}");
    }
    if revision == 3 && data.u16(8)? != NONE {
        out.push_str(&set_info("--map-set", data, 8, context)?);
        let all = [
            (0x100, " --map-mark"),
            (0x200, " --map-prio"),
            (0x400, " --map-queue"),
        ];
        for (bit, option) in all {
            out.push_str(if flags & bit != 0 { option } else { "" });
        }
    }
    Some(())
}

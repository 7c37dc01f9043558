//! Matches: their options as iptables writes them (its `extensions/libxt_*.c`, functions `*_save`). Their layouts are those of
//! include/uapi/linux/netfilter/xt_*.h, which all kernels share.

use std::fmt::Write as _;

use linux::bytes::{Bytes, prefix};

use super::{Context, ipv6, not};
use crate::names;

/// The options of a match; `None` if that kind isn't known, or its data are too short.
pub fn options(name: &str, revision: u8, data: Bytes<'_>, context: &Context<'_>) -> Option<String> {
    let mut out = String::new();
    match name {
        "tcp" => tcp(data, &mut out)?,
        "udp" | "udplite" => {
            let inverted = data.u8(8)?;
            ports(data, 0, "--sport", inverted & 1 != 0, &mut out)?;
            ports(data, 4, "--dport", inverted & 2 != 0, &mut out)?;
        }
        "icmp" | "icmp6" => icmp(name, data, &mut out)?,
        "multiport" => multiport(revision, data, &mut out)?,
        // Until 2.6.37: two words and a byte.
        "mark" | "connmark" if revision == 0 => {
            let width = usize::from(kernel::KERNEL.pointer_size);
            let word = |at: usize| match width {
                4 => data.u32(at).map(u64::from),
                _ => data.u64(at),
            };
            let (mark, mask) = (word(0)?, word(width)?);
            let _ = write!(out, "{} --mark 0x{mark:x}", not(data.u8(2 * width)? != 0));
            if mask.count_ones() as usize != width * 8 {
                let _ = write!(out, "/0x{mask:x}");
            }
        }
        "mark" | "connmark" => {
            let (mark, mask) = (data.u32(0)?, data.u32(4)?);
            out.push_str(not(data.u8(8)? != 0));
            out.push_str(" --mark");
            value_and_mask(mark, mask, &mut out);
        }
        "limit" => {
            out.push_str(" --limit");
            rate(data.u32(0)?.into(), 10_000, &mut out);
            if data.u32(4)? != 5 {
                let _ = write!(out, " --limit-burst {}", data.u32(4)?);
            }
        }
        "hashlimit" => hashlimit(revision, data, context, &mut out)?,
        "iprange" if revision == 1 => {
            for (name, at, bit) in [("--src-range", 0, 1), ("--dst-range", 32, 2)] {
                let flags = data.u8(64)?;
                if flags & bit != 0 {
                    let (from, to) = (
                        address(data, at, context)?,
                        address(data, at + 16, context)?,
                    );
                    let _ = write!(out, "{} {name} {from}-{to}", not(flags & bit << 4 != 0));
                }
            }
        }
        "mac" => {
            let address = mac(data.part(0, 6)?);
            let _ = write!(out, "{} --mac-source {address}", not(data.u32(8)? != 0));
        }
        "owner" if revision == 1 => owner(data, &mut out)?,
        "addrtype" => addrtype(revision, data, &mut out)?,
        "set" => set(revision, data, context, &mut out)?,
        "recent" => recent(revision, data, context, &mut out)?,
        "length" => {
            let (from, to) = (data.u16(0)?, data.u16(2)?);
            let _ = write!(
                out,
                "{} --length {}",
                not(data.u8(4)? != 0),
                range(from, to)
            );
        }
        "ttl" | "hl" => {
            let option = match data.u8(0)? {
                0 => format!(" --{name}-eq"),
                1 => format!(" ! --{name}-eq"),
                2 => format!(" --{name}-lt"),
                3 => format!(" --{name}-gt"),
                _ => return None,
            };
            let _ = write!(out, "{option} {}", data.u8(1)?);
        }
        "tos" if revision == 1 => {
            let (mask, value) = (data.u8(0)?, data.u8(1)?);
            let _ = write!(
                out,
                "{} --tos 0x{value:02x}/0x{mask:02x}",
                not(data.u8(2)? != 0)
            );
        }
        "dscp" => {
            let _ = write!(
                out,
                "{} --dscp 0x{:02x}",
                not(data.u8(1)? != 0),
                data.u8(0)?
            );
        }
        "pkttype" => {
            const NAMES: [&str; 4] = ["unicast", "broadcast", "multicast", "otherhost"];
            let kind = data.u32(0)?;
            let kind = NAMES
                .get(kind as usize)
                .map_or_else(|| kind.to_string(), ToString::to_string);
            let _ = write!(out, "{} --pkt-type {kind}", not(data.u32(4)? != 0));
        }
        "physdev" => physdev(data, &mut out)?,
        "statistic" => statistic(data, &mut out)?,
        "string" => string(revision, data, &mut out)?,
        "time" => time(data, &mut out)?,
        "u32" => u32_tests(data, &mut out)?,
        "conntrack" if revision >= 2 => conntrack(revision, data, context, &mut out)?,
        "state" => {
            out.push_str(" --state ");
            out.push_str(&state_names(data.u32(0)?));
        }
        "comment" => {
            let _ = write!(out, " --comment{}", quoted(&data.text(0, 256)?));
        }
        "helper" => {
            let _ = write!(
                out,
                "{} --helper{}",
                not(data.u32(0)? != 0),
                quoted(&data.text(4, 30)?)
            );
        }
        "connbytes" => connbytes(data, &mut out)?,
        "connlimit" => {
            let flags = data.u32(20)?;
            let option = if flags & 1 != 0 { "upto" } else { "above" };
            let mask = data.part(0, if context.family == names::IPV4 { 4 } else { 16 })?;
            let bits: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
            let _ = write!(
                out,
                " --connlimit-{option} {} --connlimit-mask {bits}",
                data.u32(16)?
            );
            if revision >= 1 {
                out.push_str(if flags & 2 != 0 {
                    " --connlimit-daddr"
                } else {
                    " --connlimit-saddr"
                });
            }
        }
        "tcpmss" => {
            let (from, to) = (data.u16(0)?, data.u16(2)?);
            let _ = write!(out, "{} --mss {}", not(data.u8(4)? != 0), range(from, to));
        }
        "esp" => spis(data, "--espspi", data.u8(8)? & 1 != 0, &mut out)?,
        "ah" if context.family == names::IPV4 => {
            spis(data, "--ahspi", data.u8(8)? & 1 != 0, &mut out)?
        }
        "ecn" => {
            let (operation, inverted) = (data.u8(0)?, data.u8(1)?);
            for (bit, option) in [(0x10, "--ecn-tcp-ece"), (0x20, "--ecn-tcp-cwr")] {
                if operation & bit != 0 {
                    let _ = write!(out, "{} {option}", not(inverted & bit != 0));
                }
            }
            if operation & 1 != 0 {
                let _ = write!(
                    out,
                    "{} --ecn-ip-ect {}",
                    not(inverted & 1 != 0),
                    data.u8(2)?
                );
            }
        }
        "cpu" => {
            let _ = write!(out, "{} --cpu {}", not(data.u32(4)? != 0), data.u32(0)?);
        }
        "cluster" => {
            let _ = write!(
                out,
                "{} --cluster-local-nodemask 0x{:08x} --cluster-total-nodes {} --cluster-hash-seed 0x{:08x}",
                not(data.u32(12)? & 1 != 0),
                data.u32(4)?,
                data.u32(0)?,
                data.u32(8)?
            );
        }
        "devgroup" => {
            let flags = data.u32(0)?;
            for (option, at, bit) in [("--src-group", 4, 1), ("--dst-group", 12, 4)] {
                if flags & bit != 0 {
                    let _ = write!(out, "{} {option}", not(flags & bit << 1 != 0));
                    value_and_mask(data.u32(at)?, data.u32(at + 4)?, &mut out);
                }
            }
        }
        "realm" => {
            let _ = write!(out, "{} --realm", not(data.u8(8)? != 0));
            value_and_mask(data.u32(0)?, data.u32(4)?, &mut out);
        }
        "quota" => {
            let _ = write!(
                out,
                "{} --quota {}",
                not(data.u32(0)? & 1 != 0),
                data.u64(8)?
            );
        }
        "socket" => {
            if revision >= 1 {
                let flags = data.u8(0)?;
                for (bit, option) in [
                    (1, " --transparent"),
                    (2, " --nowildcard"),
                    (4, " --restore-skmark"),
                ] {
                    out.push_str(if flags & bit != 0 { option } else { "" });
                }
            }
        }
        "rpfilter" => {
            let flags = data.u8(0)?;
            let all = [
                (1, " --loose"),
                (2, " --validmark"),
                (4, " --accept-local"),
                (8, " --invert"),
            ];
            for (bit, option) in all {
                out.push_str(if flags & bit != 0 { option } else { "" });
            }
        }
        "cgroup" => cgroup(revision, data, &mut out)?,
        "connlabel" => {
            let (bit, flags) = (data.u16(0)?, data.u16(2)?);
            let set = if flags & 2 != 0 { " --set" } else { "" };
            let _ = write!(out, "{} --label \"{bit}\"{set}", not(flags & 1 != 0));
        }
        "sctp" | "dccp" | "osf" | "bpf" | "policy" | "nfacct" | "rateest" | "ipvs" => return None,
        _ => return None,
    }
    Some(out)
}

/// The name behind `-m`, which may be an older match that became part of another one.
pub fn alias(name: &str, revision: u8, data: Bytes<'_>) -> String {
    const STATE_ALIAS: u16 = 1 << 13;
    let flags = data.u16(146).unwrap_or(0);
    if name == "conntrack" && revision == 3 && flags & STATE_ALIAS != 0 {
        return "state".into();
    }
    name.into()
}

/// `xtables_save_string`: quoted where a shell would need it.
pub fn quoted(value: &str) -> String {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || char == '_' || char == '-';
    if !value.is_empty() && value.chars().all(is_plain) {
        return format!(" {value}");
    }
    let mut out = String::from(" \"");
    for char in value.chars() {
        if matches!(char, '"' | '\\' | '\'') {
            out.push('\\');
        }
        out.push(char);
    }
    out.push('"');
    out
}

/// ` 0x1/0xff`: `xtables_print_val_mask`, `xtables_print_mark_mask`.
fn value_and_mask(value: u32, mask: u32, out: &mut String) {
    let _ = match mask {
        u32::MAX => write!(out, " 0x{value:x}"),
        mask => write!(out, " 0x{value:x}/0x{mask:x}"),
    };
}

fn range<T: PartialEq + std::fmt::Display>(from: T, to: T) -> String {
    if from == to {
        from.to_string()
    } else {
        format!("{from}:{to}")
    }
}

fn ports(data: Bytes<'_>, at: usize, option: &str, inverted: bool, out: &mut String) -> Option<()> {
    let (from, to) = (data.u16(at)?, data.u16(at + 2)?);
    if from != 0 || to != u16::MAX {
        let _ = write!(out, "{} {option} {}", not(inverted), range(from, to));
    }
    Some(())
}

fn spis(data: Bytes<'_>, option: &str, inverted: bool, out: &mut String) -> Option<()> {
    let (from, to) = (data.u32(0)?, data.u32(4)?);
    if from != 0 || to != u32::MAX {
        let _ = write!(out, "{} {option} {}", not(inverted), range(from, to));
    }
    Some(())
}

fn tcp(data: Bytes<'_>, out: &mut String) -> Option<()> {
    let inverted = data.u8(11)?;
    ports(data, 0, "--sport", inverted & 1 != 0, out)?;
    ports(data, 4, "--dport", inverted & 2 != 0, out)?;
    let option = data.u8(8)?;
    if option != 0 || inverted & 8 != 0 {
        let _ = write!(out, "{} --tcp-option {option}", not(inverted & 8 != 0));
    }
    let (mask, compare) = (data.u8(9)?, data.u8(10)?);
    if mask != 0 || inverted & 4 != 0 {
        let _ = write!(
            out,
            "{} --tcp-flags {} {}",
            not(inverted & 4 != 0),
            tcp_flags(mask),
            tcp_flags(compare)
        );
    }
    Some(())
}

fn tcp_flags(flags: u8) -> String {
    const NAMES: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
    let set: Vec<&str> = (0..)
        .zip(NAMES)
        .filter(|(bit, _)| flags >> bit & 1 != 0)
        .map(|(_, name)| name)
        .collect();
    if set.is_empty() {
        "NONE".into()
    } else {
        set.join(",")
    }
}

fn icmp(name: &str, data: Bytes<'_>, out: &mut String) -> Option<()> {
    let (kind, from, to) = (data.u8(0)?, data.u8(1)?, data.u8(2)?);
    out.push_str(not(data.u8(3)? & 1 != 0));
    let option = if name == "icmp" {
        "--icmp-type"
    } else {
        "--icmpv6-type"
    };
    if name == "icmp" && kind == 0xff {
        let _ = write!(out, " {option} any");
        return Some(());
    }
    let _ = write!(out, " {option} {kind}");
    if from != 0 || to != 0xff {
        let _ = write!(out, "/{from}");
    }
    Some(())
}

fn multiport(revision: u8, data: Bytes<'_>, out: &mut String) -> Option<()> {
    let inverted = revision >= 1 && data.u8(47)? != 0;
    let option = match data.u8(0)? {
        0 => "--sports",
        1 => "--dports",
        2 => "--ports",
        _ => return None,
    };
    let count = usize::from(data.u8(1)?).min(15);
    let _ = write!(out, "{} {option} ", not(inverted));
    for index in 0..count {
        let is_end_of_range = index > 0 && revision >= 1 && data.u8(32 + index - 1)? != 0;
        let separator = match index {
            0 => "",
            _ if is_end_of_range => ":",
            _ => ",",
        };
        let _ = write!(out, "{separator}{}", data.u16(2 + index * 2)?);
    }
    Some(())
}

/// `print_rate`: what a period is as a rate. `scale` is how many of its units a second has.
fn rate(period: u64, scale: u64, out: &mut String) -> u64 {
    let units = [
        ("day", 86_400 * scale),
        ("hour", 3600 * scale),
        ("min", 60 * scale),
        ("sec", scale),
    ];
    if period == 0 {
        out.push_str(" inf");
        return 0;
    }
    let mut chosen = units[0];
    for unit in &units[1..] {
        let (_, size) = *unit;
        if period > size || size / period < size % period {
            break;
        }
        chosen = *unit;
    }
    let (name, size) = chosen;
    let _ = write!(out, " {}/{name}", size / period);
    size / scale * 1000
}

/// `print_bytes` of libxt_hashlimit.c.
fn byte_rate(cost: u64, burst: u64, out: &mut String) -> u64 {
    const UNITS: [(&str, u64); 3] = [("m", 1 << 20), ("k", 1 << 10), ("", 1)];
    let to_cost = |bytes: u64| u64::from(u32::MAX) / ((bytes >> 4) + 1);
    let per = u64::from(u32::MAX)
        .checked_div(cost)
        .unwrap_or(u32::MAX.into());
    let mut bytes = per.saturating_sub(1) << 4;
    let unit = UNITS[..2]
        .iter()
        .find(|(_, size)| bytes >= *size && to_cost(bytes & !(size - 1)) == cost)
        .unwrap_or(&UNITS[2]);
    let _ = write!(out, " {}{}b/s", bytes / unit.1, unit.0);
    if burst == 0 {
        return 15_000;
    }
    bytes = bytes.wrapping_mul(burst);
    let unit = UNITS[..2]
        .iter()
        .find(|(_, size)| bytes >= *size)
        .unwrap_or(&UNITS[2]);
    let _ = write!(out, " --hashlimit-burst {}{}b", bytes / unit.1, unit.0);
    60_000
}

fn hashlimit(revision: u8, data: Bytes<'_>, context: &Context<'_>, out: &mut String) -> Option<()> {
    // Name, then `struct hashlimit_cfg1`, 2 or 3.
    let (name, mode, average, burst, rest) = match revision {
        1 => (
            data.text(0, 16)?,
            data.u32(16)?,
            data.u32(20)?.into(),
            data.u32(24)?.into(),
            28,
        ),
        2 | 3 => (
            data.text(0, 255)?,
            data.u32(272)?,
            data.u64(256)?,
            data.u64(264)?,
            276,
        ),
        _ => return None,
    };
    let scale = if revision == 1 { 10_000 } else { 1_000_000 };
    let (size, max, interval, expire) = (
        data.u32(rest)?,
        data.u32(rest + 4)?,
        data.u32(rest + 8)?,
        data.u32(rest + 12)?,
    );
    let masks = if revision == 3 { rest + 20 } else { rest + 16 };
    out.push_str(if mode & 0x10 != 0 {
        " --hashlimit-above"
    } else {
        " --hashlimit-upto"
    });
    let quantum = if mode & 0x20 != 0 {
        byte_rate(average, burst, out)
    } else {
        let quantum = rate(average, scale, out);
        let _ = write!(out, " --hashlimit-burst {burst}");
        quantum
    };
    let modes: Vec<&str> = [(4, "srcip"), (8, "srcport"), (1, "dstip"), (2, "dstport")]
        .iter()
        .filter(|(bit, _)| mode & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    if !modes.is_empty() {
        let _ = write!(out, " --hashlimit-mode {}", modes.join(","));
    }
    let _ = write!(out, " --hashlimit-name {name}");
    let whole = if context.family == names::IPV4 {
        32
    } else {
        128
    };
    let options = [
        ("htable-size", size, 0),
        ("htable-max", max, 0),
        ("htable-gcinterval", interval, 1000),
        ("htable-expire", expire, quantum as u32),
        ("srcmask", data.u8(masks)?.into(), whole),
        ("dstmask", data.u8(masks + 1)?.into(), whole),
    ];
    for (option, value, default) in options {
        if value != default {
            let _ = write!(out, " --hashlimit-{option} {value}");
        }
    }
    if revision == 3 && mode & 0x40 != 0 {
        out.push_str(" --hashlimit-rate-match");
        let interval = data.u32(rest + 16)?;
        if interval != 1 {
            let _ = write!(out, " --hashlimit-rate-interval {interval}");
        }
    }
    Some(())
}

/// An address of the rule's family, in 16 bytes.
pub fn address(data: Bytes<'_>, at: usize, context: &Context<'_>) -> Option<String> {
    match context.family {
        names::IPV6 => data.ipv6(at).map(ipv6),
        _ => data.ipv4(at).map(|address| address.to_string()),
    }
}

/// `/24`; nothing for a whole address.
fn mask(data: Bytes<'_>, at: usize, context: &Context<'_>) -> Option<String> {
    let length = if context.family == names::IPV6 { 16 } else { 4 };
    let bytes = data.part(at, length)?;
    Some(match prefix(bytes) {
        Some(bits) if bits as usize == length * 8 => String::new(),
        Some(bits) => format!("/{bits}"),
        None => format!("/{}", address(data, at, context)?),
    })
}

fn mac(bytes: &[u8]) -> String {
    let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(":")
}

fn owner(data: Bytes<'_>, out: &mut String) -> Option<()> {
    let (flags, inverted) = (data.u8(16)?, data.u8(17)?);
    let all = [
        ("--socket-exists", 4, None),
        ("--uid-owner", 1, Some(0)),
        ("--gid-owner", 2, Some(8)),
        ("--suppl-groups", 8, None),
    ];
    for (option, bit, at) in all {
        if flags & bit == 0 {
            continue;
        }
        let _ = write!(out, "{} {option}", not(inverted & bit != 0));
        if let Some(at) = at {
            let (from, to) = (data.u32(at)?, data.u32(at + 4)?);
            let _ = if from == to {
                write!(out, " {from}")
            } else {
                write!(out, " {from}-{to}")
            };
        }
    }
    Some(())
}

fn addrtype(revision: u8, data: Bytes<'_>, out: &mut String) -> Option<()> {
    const NAMES: [&str; 12] = [
        "UNSPEC",
        "UNICAST",
        "LOCAL",
        "BROADCAST",
        "ANYCAST",
        "MULTICAST",
        "BLACKHOLE",
        "UNREACHABLE",
        "PROHIBIT",
        "THROW",
        "NAT",
        "XRESOLVE",
    ];
    let flags = match revision {
        0 => u32::from(data.u32(4)? != 0) | u32::from(data.u32(8)? != 0) << 1,
        _ => data.u32(4)?,
    };
    for (option, at, bit) in [("--src-type", 0, 1), ("--dst-type", 2, 2)] {
        let kinds = data.u16(at)?;
        if kinds != 0 {
            let names: Vec<&str> = (0..)
                .zip(NAMES)
                .filter(|(bit, _)| kinds >> bit & 1 != 0)
                .map(|(_, name)| name)
                .collect();
            let _ = write!(
                out,
                "{} {option} {}",
                not(flags & bit != 0),
                names.join(",")
            );
        }
    }
    if revision > 0 {
        out.push_str(if flags & 4 != 0 {
            " --limit-iface-in"
        } else {
            ""
        });
        out.push_str(if flags & 8 != 0 {
            " --limit-iface-out"
        } else {
            ""
        });
    }
    Some(())
}

/// `struct xt_set_info`: number of the set, how many of its dimensions, which are the source's.
pub fn set_info(option: &str, data: Bytes<'_>, at: usize, context: &Context<'_>) -> Option<String> {
    let (index, dimensions, flags) = (data.u16(at)?, data.u8(at + 2)?, data.u8(at + 3)?);
    let name = context
        .sets
        .get(&index)
        .cloned()
        .unwrap_or_else(|| format!("[set {index}]"));
    let parts: Vec<&str> = (1..=dimensions.min(7))
        .map(|bit| if flags >> bit & 1 != 0 { "src" } else { "dst" })
        .collect();
    Some(format!(" {option} {name} {}", parts.join(",")))
}

fn set(revision: u8, data: Bytes<'_>, context: &Context<'_>, out: &mut String) -> Option<()> {
    if revision == 0 {
        return None;
    }
    let own = data.u8(3)?;
    out.push_str(not(own & 1 != 0));
    out.push_str(&set_info("--match-set", data, 0, context)?);
    if revision == 2 && own & 0x80 != 0 {
        out.push_str(" --return-nomatch");
    }
    if revision < 3 {
        return Some(());
    }
    // Counters to compare with: the number first from revision 4 on, the operation first before.
    let (flags, operations, values) = match revision {
        3 => (data.u32(40)?, [8, 24], [16, 32]),
        4 => (data.u32(40)?, [16, 32], [8, 24]),
        _ => return None,
    };
    out.push_str(if flags & 0x80 != 0 {
        " --return-nomatch"
    } else {
        ""
    });
    out.push_str(if flags & 8 != 0 {
        " ! --update-counters"
    } else {
        ""
    });
    out.push_str(if flags & 0x10 != 0 {
        " ! --update-subcounters"
    } else {
        ""
    });
    for (index, name) in ["packets", "bytes"].into_iter().enumerate() {
        let value = data.u64(values[index])?;
        let _ = match data.u8(operations[index])? {
            1 => write!(out, " --{name}-eq {value}"),
            2 => write!(out, " ! --{name}-eq {value}"),
            3 => write!(out, " --{name}-lt {value}"),
            4 => write!(out, " --{name}-gt {value}"),
            _ => Ok(()),
        };
    }
    Some(())
}

fn recent(revision: u8, data: Bytes<'_>, context: &Context<'_>, out: &mut String) -> Option<()> {
    let (seconds, hits, flags) = (data.u32(0)?, data.u32(4)?, data.u8(8)?);
    out.push_str(not(data.u8(9)? != 0));
    for (bit, option) in [
        (2, " --set"),
        (1, " --rcheck"),
        (4, " --update"),
        (8, " --remove"),
    ] {
        out.push_str(if flags & bit != 0 { option } else { "" });
    }
    if seconds != 0 {
        let _ = write!(out, " --seconds {seconds}");
    }
    out.push_str(if flags & 0x20 != 0 { " --reap" } else { "" });
    if hits != 0 {
        let _ = write!(out, " --hitcount {hits}");
    }
    out.push_str(if flags & 0x10 != 0 { " --rttl" } else { "" });
    let _ = write!(out, " --name {}", data.text(10, 200)?);
    if revision >= 1 {
        let _ = write!(out, " --mask {}", address(data, 212, context)?);
    }
    out.push_str(if data.u8(210)? == 0 {
        " --rsource"
    } else {
        " --rdest"
    });
    Some(())
}

fn physdev(data: Bytes<'_>, out: &mut String) -> Option<()> {
    let (inverted, flags) = (data.u8(64)?, data.u8(65)?);
    let all = [
        ("--physdev-is-in", 8, None),
        ("--physdev-in", 1, Some(0)),
        ("--physdev-is-out", 16, None),
        ("--physdev-out", 2, Some(32)),
        ("--physdev-is-bridged", 4, None),
    ];
    for (option, bit, name) in all {
        if flags & bit != 0 {
            let _ = write!(out, "{} {option}", not(inverted & bit != 0));
            if let Some(at) = name {
                let _ = write!(out, " {}", data.text(at, 16)?);
            }
        }
    }
    Some(())
}

fn statistic(data: Bytes<'_>, out: &mut String) -> Option<()> {
    let inverted = not(data.u16(2)? & 1 != 0);
    let _ = match data.u16(0)? {
        0 => {
            let probability = f64::from(data.u32(4)?) / f64::from(1_u32 << 31);
            write!(
                out,
                " --mode random{inverted} --probability {probability:.11}"
            )
        }
        1 => {
            let every = data.u32(4)?.wrapping_add(1);
            write!(
                out,
                " --mode nth{inverted} --every {every} --packet {}",
                data.u32(8)?
            )
        }
        _ => return None,
    };
    Some(())
}

fn string(revision: u8, data: Bytes<'_>, out: &mut String) -> Option<()> {
    let length = usize::from(data.u8(148)?);
    let pattern = data.part(20, length.min(128))?;
    let flags = data.u8(149)?;
    let inverted = if revision == 0 {
        flags != 0
    } else {
        flags & 1 != 0
    };
    let printable = |byte: &u8| (0x20..0x7f).contains(byte);
    if pattern.last() == Some(&b'\\') || !pattern.iter().all(printable) {
        let _ = write!(out, "{} --hex-string \"|", not(inverted));
        for byte in pattern {
            let _ = write!(out, "{byte:02x}");
        }
        out.push_str("|\"");
    } else {
        let _ = write!(out, "{} --string \"", not(inverted));
        for byte in pattern {
            if matches!(byte, b'"' | b'\\') {
                out.push('\\');
            }
            out.push(char::from(*byte));
        }
        out.push('"');
    }
    let _ = write!(out, " --algo {}", data.text(4, 16)?);
    let (from, to) = (data.u16(0)?, data.u16(2)?);
    if from != 0 {
        let _ = write!(out, " --from {from}");
    }
    if to != u16::MAX {
        let _ = write!(out, " --to {to}");
    }
    if revision > 0 && flags & 2 != 0 {
        out.push_str(" --icase");
    }
    Some(())
}

fn time(data: Bytes<'_>, out: &mut String) -> Option<()> {
    let clock = |seconds: u32| {
        format!(
            "{:02}:{:02}:{:02}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        )
    };
    let (start, stop) = (data.u32(8)?, data.u32(12)?);
    if start != 0 || stop != 86_399 {
        let _ = write!(
            out,
            " --timestart {} --timestop {}",
            clock(start),
            clock(stop)
        );
    }
    let days = data.u32(16)?;
    if days != 0xffff_fffe {
        let days: Vec<String> = (1..32)
            .filter(|day| days >> day & 1 != 0)
            .map(|day: u32| day.to_string())
            .collect();
        let _ = write!(out, " --monthdays {}", days.join(","));
    }
    let days = data.u8(20)?;
    if days != 0xfe {
        const NAMES: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
        let days: Vec<&str> = (1..)
            .zip(NAMES)
            .filter(|(day, _)| days >> day & 1 != 0)
            .map(|(_, name)| name)
            .collect();
        let _ = write!(out, " --weekdays {}", days.join(","));
    }
    for (option, at) in [("--datestart", 0), ("--datestop", 4)] {
        let date = data.u32(at)?;
        // The end of time of 32 bits is shown by 64-bit iptables only.
        let is_default = date == 0 || date == i32::MAX as u32 && kernel::KERNEL.pointer_size == 4;
        if !is_default {
            let (year, month, day) = civil(i64::from(date) / 86_400);
            let _ = write!(
                out,
                " {option} {year:04}-{month:02}-{day:02}T{}",
                clock(date % 86_400)
            );
        }
    }
    let flags = data.u8(21)?;
    out.push_str(if flags & 1 != 0 { " --kerneltz" } else { "" });
    out.push_str(if flags & 2 != 0 { " --contiguous" } else { "" });
    Some(())
}

/// Year, month and day of a number of days since 1970, in the Gregorian calendar.
pub fn civil(days: i64) -> (i64, i64, i64) {
    // Years begin in March here, so that the odd day is the last one; 400 years have 146,097 days.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

fn u32_tests(data: Bytes<'_>, out: &mut String) -> Option<()> {
    // Eleven tests of 180 bytes: locations, values, how many of each.
    const TEST: usize = 180;
    let (count, inverted) = (data.u8(11 * TEST)?, data.u8(11 * TEST + 1)?);
    let _ = write!(out, "{} --u32 \"", not(inverted != 0));
    for index in 0..usize::from(count).min(11) {
        let test = Bytes(data.part(index * TEST, TEST)?);
        if index > 0 {
            out.push_str("&&");
        }
        for number in 0..usize::from(test.u8(176)?).min(11) {
            if number > 0 {
                out.push_str(match test.u8(number * 8 + 4)? {
                    0 => "&",
                    1 => "<<",
                    2 => ">>",
                    3 => "@",
                    _ => return None,
                });
            }
            let _ = write!(out, "0x{:x}", test.u32(number * 8)?);
        }
        out.push('=');
        for number in 0..usize::from(test.u8(177)?).min(11) {
            let (from, to) = (test.u32(88 + number * 8)?, test.u32(92 + number * 8)?);
            out.push_str(if number > 0 { "," } else { "" });
            let _ = if from == to {
                write!(out, "0x{from:x}")
            } else {
                write!(out, "0x{from:x}:0x{to:x}")
            };
        }
    }
    out.push('"');
    Some(())
}

/// `XT_CONNTRACK_STATE_*`
fn state_names(mask: u32) -> String {
    let all = [
        (1, "INVALID"),
        (8, "NEW"),
        (4, "RELATED"),
        (2, "ESTABLISHED"),
        // The oldest match had fewer bits.
        (0x100, "UNTRACKED"),
        (0x40, "SNAT"),
        (0x80, "DNAT"),
    ];
    let names: Vec<&str> = all
        .iter()
        .filter(|(bit, _)| mask & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    names.join(",")
}

/// `struct xt_conntrack_mtinfo2` and 3.
fn conntrack(revision: u8, data: Bytes<'_>, context: &Context<'_>, out: &mut String) -> Option<()> {
    let (wanted, inverted) = (data.u16(146)?, data.u16(148)?);
    let begin = |out: &mut String, bit: u16, option: &str| {
        let is_wanted = wanted >> bit & 1 != 0;
        if is_wanted {
            let _ = write!(out, "{} --{option}", not(inverted >> bit & 1 != 0));
        }
        is_wanted
    };
    let state = if wanted >> 13 & 1 != 0 {
        "state"
    } else {
        "ctstate"
    };
    if begin(out, 0, state) {
        let _ = write!(out, " {}", state_names(data.u16(150)?.into()));
    }
    if begin(out, 1, "ctproto") {
        let _ = write!(out, " {}", data.u16(136)?);
    }
    for (bit, option, at) in [
        (2, "ctorigsrc", 0),
        (3, "ctorigdst", 32),
        (4, "ctreplsrc", 64),
        (5, "ctrepldst", 96),
    ] {
        if begin(out, bit, option) {
            let _ = write!(
                out,
                " {}{}",
                address(data, at, context)?,
                mask(data, at + 16, context)?
            );
        }
    }
    for (bit, option, at) in [
        (8, "ctorigsrcport", 138),
        (9, "ctorigdstport", 140),
        (10, "ctreplsrcport", 142),
        (11, "ctrepldstport", 144),
    ] {
        if begin(out, bit, option) {
            let (from, to) = match revision {
                3 => (data.u16(at)?, data.u16(at + 16)?),
                _ => (data.be16(at)?, 0),
            };
            let to = if to == 0 { from } else { to };
            let _ = write!(out, " {}", range(from, to));
        }
    }
    if begin(out, 6, "ctstatus") {
        let status = data.u16(152)?;
        let all = [
            (1, "EXPECTED"),
            (2, "SEEN_REPLY"),
            (4, "ASSURED"),
            (8, "CONFIRMED"),
        ];
        let names: Vec<&str> = all
            .iter()
            .filter(|(bit, _)| status & bit != 0)
            .map(|(_, name)| *name)
            .collect();
        let names = if status == 0 {
            "NONE".to_owned()
        } else {
            names.join(",")
        };
        let _ = write!(out, " {names}");
    }
    if begin(out, 7, "ctexpire") {
        let _ = write!(out, " {}", range(data.u32(128)?, data.u32(132)?));
    }
    if wanted >> 12 & 1 != 0 {
        out.push_str(if inverted >> 12 & 1 != 0 {
            " --ctdir REPLY"
        } else {
            " --ctdir ORIGINAL"
        });
    }
    Some(())
}

fn connbytes(data: Bytes<'_>, out: &mut String) -> Option<()> {
    let (first, second) = (data.u64(0)?, data.u64(8)?);
    let (from, to) = (first.min(second), first.max(second));
    let _ = write!(out, "{} --connbytes {from}", not(first > second));
    if to != 0 && to < u64::MAX {
        let _ = write!(out, ":{to}");
    }
    let mode = ["packets", "bytes", "avgpkt"]
        .get(usize::from(data.u8(16)?))
        .unwrap_or(&"unknown");
    let direction = ["original", "reply", "both"]
        .get(usize::from(data.u8(17)?))
        .unwrap_or(&"unknown");
    let _ = write!(out, " --connbytes-mode {mode} --connbytes-dir {direction}");
    Some(())
}

fn cgroup(revision: u8, data: Bytes<'_>, out: &mut String) -> Option<()> {
    let path_size = match revision {
        0 => {
            let _ = write!(out, "{} --cgroup {}", not(data.u32(4)? != 0), data.u32(0)?);
            return Some(());
        }
        1 => 4096,
        2 => 512,
        _ => return None,
    };
    if data.u8(0)? != 0 {
        let _ = write!(
            out,
            "{} --path{}",
            not(data.u8(2)? != 0),
            quoted(&data.text(4, path_size)?)
        );
    }
    if data.u8(1)? != 0 {
        let _ = write!(
            out,
            "{} --cgroup {}",
            not(data.u8(3)? != 0),
            data.u32(4 + path_size)?
        );
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::{civil, quoted, rate, tcp_flags};

    #[test]
    fn rates_are_in_the_largest_unit_that_fits() {
        let shown = |period| {
            let mut out = String::new();
            rate(period, 10_000, &mut out);
            out
        };
        assert_eq!(shown(10_000 / 5), " 5/sec");
        assert_eq!(shown(600_000 / 10), " 10/min");
        assert_eq!(shown(10_000 * 3600 / 3), " 3/hour");
        assert_eq!(shown(0), " inf");
    }

    #[test]
    fn dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(19_782), (2024, 2, 29));
        assert_eq!(civil(24_855), (2038, 1, 19));
    }

    #[test]
    fn strings_are_quoted_where_they_must() {
        assert_eq!(quoted("lab-telnet"), " lab-telnet");
        assert_eq!(quoted("two words"), " \"two words\"");
        assert_eq!(quoted("a\"b"), " \"a\\\"b\"");
        assert_eq!(tcp_flags(0x12), "SYN,ACK");
    }
}

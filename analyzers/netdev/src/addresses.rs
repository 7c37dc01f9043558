//! Addresses with all that `ip -d -j addr` says of them (`addr_info`): `inet_fill_ifaddr` of net/ipv4/devinet.c, `inet6_fill_ifaddr` of
//! net/ipv6/addrconf.c.
#![cfg(kernel_has = "in_ifaddr.ifa_tstamp")]

use kernel::net_device;
use kstruct::{Fault, Memory, walk};
use linux::Faults;
use linux::net::address::{ipv4, ipv6};
use linux::time::{Clock, jiffies_since};

use linux::details::Details;

/// `INFINITY_LIFE_TIME`
const FOREVER: u32 = u32::MAX;
/// `IFA_F_PERMANENT`
const PERMANENT: u32 = 0x80;

/// IPv4's first, in the order of the kernel's lists.
pub fn addresses(
    k: &Memory,
    device: net_device<'_>,
    clock: Clock,
    faults: &mut Faults,
) -> Vec<Details> {
    let mut found = Vec::new();
    let name = device.name();
    let read = inet(k, device, clock, &mut found);
    faults.check(format_args!("IPv4 addresses of {name}"), read);
    let read = inet6(k, device, clock, &mut found);
    faults.check(format_args!("IPv6 addresses of {name}"), read);
    found
}

fn inet(
    k: &Memory,
    device: net_device<'_>,
    clock: Clock,
    out: &mut Vec<Details>,
) -> Result<(), Fault> {
    let inet = device.ip_ptr().cast::<kernel::in_device<'_>>();
    let Some(inet) = inet.deref_or_null()? else {
        return Ok(());
    };
    for address in walk::chain(Ok(inet.ifa_list()), kernel::in_ifaddr::ifa_next) {
        let address = address?;
        let mut row = Details::new();
        row.set("family", "inet")
            .set("local", ipv4(address.ifa_local()).to_string());
        if address.ifa_local() != address.ifa_address() {
            row.set("address", ipv4(address.ifa_address()).to_string());
        }
        row.set("prefixlen", address.ifa_prefixlen());
        if address.ifa_rt_priority() != 0 {
            row.set("metric", address.ifa_rt_priority());
        }
        if address.ifa_broadcast() != 0 {
            row.set("broadcast", ipv4(address.ifa_broadcast()).to_string());
        }
        flags(address.ifa_flags(), false, &mut row);
        #[cfg(kernel_has = "in_ifaddr.ifa_proto")]
        protocol(address.ifa_proto(), &mut row);
        row.set("label", address.ifa_label().to_string());
        let age = seconds(k, clock, address.ifa_tstamp());
        // What is permanent has no lifetimes, whatever is in these.
        let (valid, preferred) = match address.ifa_flags() & PERMANENT {
            0 => (address.ifa_valid_lft(), address.ifa_preferred_lft()),
            _ => (FOREVER, FOREVER),
        };
        lifetimes(valid, preferred, age, &mut row);
        out.push(row);
    }
    Ok(())
}

#[cfg(kernel_has = "inet6_ifaddr.if_list")]
fn inet6(
    k: &Memory,
    device: net_device<'_>,
    clock: Clock,
    out: &mut Vec<Details>,
) -> Result<(), Fault> {
    let inet = device.ip6_ptr().cast::<kernel::inet6_dev<'_>>();
    let Some(inet) = inet.deref_or_null()? else {
        return Ok(());
    };
    for address in inet.addr_list().entries(kernel::inet6_ifaddr::if_list) {
        let address = address?;
        let mut row = Details::new();
        row.set("family", "inet6")
            .set("local", ipv6(address.addr_()).to_string());
        #[cfg(kernel_has = "inet6_ifaddr.peer_addr")]
        {
            let peer = ipv6(address.peer_addr());
            if !peer.is_unspecified() {
                row.set("address", peer.to_string());
            }
        }
        row.set("prefixlen", address.prefix_len());
        if address.rt_priority() != 0 {
            row.set("metric", address.rt_priority());
        }
        flags(address.flags(), true, &mut row);
        #[cfg(kernel_has = "inet6_ifaddr.ifa_proto")]
        protocol(address.ifa_proto(), &mut row);
        let age = seconds(k, clock, address.tstamp());
        // One that is permanent may still have stopped to be preferred.
        let (valid, preferred) = (address.valid_lft(), address.prefered_lft());
        let valid = match address.flags() & PERMANENT {
            0 => valid,
            _ if preferred == FOREVER => FOREVER,
            _ => valid,
        };
        lifetimes(valid, preferred, age, &mut row);
        out.push(row);
    }
    Ok(())
}

#[cfg(not(kernel_has = "inet6_ifaddr.if_list"))]
fn inet6(_: &Memory, _: net_device<'_>, _: Clock, _: &mut Vec<Details>) -> Result<(), Fault> {
    Ok(())
}

/// `IFA_F_*`, include/uapi/linux/if_addr.h.
fn flags(flags: u32, is_ipv6: bool, out: &mut Details) {
    let first = if is_ipv6 { "temporary" } else { "secondary" };
    for (name, flag) in [
        (first, 0x1),
        ("nodad", 0x2),
        ("optimistic", 0x4),
        ("dadfailed", 0x8),
        ("home", 0x10),
        ("deprecated", 0x20),
        ("tentative", 0x40),
        ("mngtmpaddr", 0x100),
        ("noprefixroute", 0x200),
        ("autojoin", 0x400),
        ("stable-privacy", 0x800),
    ] {
        out.flag(name, flags & flag != 0);
    }
    out.flag("dynamic", flags & PERMANENT == 0);
}

/// Who added it: `IFAPROT_*`, by number.
#[cfg(any(
    kernel_has = "in_ifaddr.ifa_proto",
    kernel_has = "inet6_ifaddr.ifa_proto"
))]
fn protocol(protocol: u8, out: &mut Details) {
    match protocol {
        0 => {}
        1 => {
            out.set("protocol", "kernel_lo");
        }
        2 => {
            out.set("protocol", "kernel_ra");
        }
        3 => {
            out.set("protocol", "kernel_ll");
        }
        other => {
            out.set("protocol", other);
        }
    }
}

fn seconds(k: &Memory, clock: Clock, then: u64) -> Option<u64> {
    jiffies_since(k, clock.now, then).checked_div(clock.hz?)
}

/// How many seconds an address is still valid, and preferred; 4294967295 is for ever.
fn lifetimes(valid: u32, preferred: u32, age: Option<u64>, out: &mut Details) {
    let left = |lifetime: u32| match age {
        // `valid` is reckoned only if `preferred` is.
        Some(age) if lifetime != FOREVER && preferred != FOREVER => {
            u64::from(lifetime).saturating_sub(age)
        }
        _ => u64::from(lifetime),
    };
    out.set("valid_life_time", left(valid))
        .set("preferred_life_time", left(preferred));
}

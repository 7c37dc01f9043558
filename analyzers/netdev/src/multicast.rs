//! Addresses that an interface listens to, as `ip maddr` shows them.

use kernel::net_device;
use kstruct::{Fault, View as _, walk};
use linux::Faults;
use linux::net::address::{ipv4, ipv6};

use linux::details::{Details, colons};

/// In the order of `ip maddr`: hardware addresses, IPv4, IPv6.
pub fn addresses(device: net_device<'_>, faults: &mut Faults) -> Vec<Details> {
    let mut found = Vec::new();
    let name = device.name();
    let read = link(device, &mut found, faults);
    faults.check(format_args!("multicast addresses of {name}"), read);
    let read = inet(device, &mut found);
    faults.check(format_args!("IPv4 groups of {name}"), read);
    let read = inet6(device, &mut found);
    faults.check(format_args!("IPv6 groups of {name}"), read);
    found
}

/// /proc/net/dev_mcast.
fn link(device: net_device<'_>, out: &mut Vec<Details>, faults: &mut Faults) -> Result<(), Fault> {
    let length = usize::from(device.addr_len());
    for address in device.mc().list().entries(kernel::netdev_hw_addr::list) {
        let address = address?;
        let bytes = address.addr_().bytes();
        let mut row = Details::new();
        row.set("link", colons(bytes.get(..length).unwrap_or_default()))
            .set("users", address.refcount());
        if address.global_use() {
            // Somebody added it by hand.
            row.set("features", "static");
        }
        out.push(row);
    }
    for (what, list) in [("multicast", device.mc()), ("unicast", device.uc())] {
        let mut found = 0;
        for address in list.list().entries(kernel::netdev_hw_addr::list) {
            address?;
            found += 1;
        }
        let what = format_args!("{what} addresses of {}", device.name());
        faults.require(list.count() == found, what, list.addr());
    }
    Ok(())
}

/// /proc/net/igmp.
fn inet(device: net_device<'_>, out: &mut Vec<Details>) -> Result<(), Fault> {
    let Some(inet) = device
        .ip_ptr()
        .cast::<kernel::in_device<'_>>()
        .deref_or_null()?
    else {
        return Ok(());
    };
    for group in walk::chain(Ok(inet.mc_list()), |group: kernel::ip_mc_list<'_>| {
        group.next_rcu()
    }) {
        let group = group?;
        let mut row = Details::new();
        row.set("family", "inet")
            .set("address", ipv4(group.multiaddr()).to_string())
            .set("users", group.users());
        out.push(row);
    }
    Ok(())
}

/// /proc/net/igmp6.
fn inet6(device: net_device<'_>, out: &mut Vec<Details>) -> Result<(), Fault> {
    let Some(inet) = device
        .ip6_ptr()
        .cast::<kernel::inet6_dev<'_>>()
        .deref_or_null()?
    else {
        return Ok(());
    };
    for group in walk::chain(Ok(inet.mc_list()), |group: kernel::ifmcaddr6<'_>| {
        group.next()
    }) {
        let group = group?;
        let mut row = Details::new();
        row.set("family", "inet6")
            .set("address", ipv6(group.mca_addr()).to_string())
            .set("users", group.mca_users());
        out.push(row);
    }
    Ok(())
}

//! Whether what says the same of an interface in two places says the same. If not, it is a fault: nobody knows which of them was damaged.

use kernel::net_device;
use kstruct::{Fault, Memory, View as _};
#[cfg(kernel_has = "vlan_info.nr_vids")]
use kstruct::{Ptr, offset_of};
use linux::Faults;
use linux::net::Namespace;

use crate::link::{self, kinds};

/// Of each interface: its name, its numbers, its queues, and that what is its own knows it.
pub fn interface(namespace: Namespace<'_>, device: net_device<'_>, faults: &mut Faults) {
    /// `MAX_ADDR_LEN`, include/linux/netdevice.h.
    const LONGEST: u8 = 32;
    let name = &device.name().to_string();
    let address = device.addr();
    faults.require(is_name(name), "name of an interface", address);
    let mut require =
        |holds, what: &str| faults.require(holds, format_args!("{what} of {name}"), address);
    require(device.ifindex() > 0, "index");
    require(
        device.addr_len() <= LONGEST,
        "length of the hardware addresses",
    );
    require(
        link::namespace(device) == namespace.net().addr(),
        "network namespace",
    );
    require(
        (1..=device.num_tx_queues()).contains(&device.real_num_tx_queues()),
        "number of transmit queues",
    );
    require(
        (1..=device.num_rx_queues()).contains(&device.real_num_rx_queues()),
        "number of receive queues",
    );
}

/// `dev_valid_name`, net/core/dev.c; since 4.20 there are no colons either.
fn is_name(name: &str) -> bool {
    let is_bad = |c: char| c == '/' || c.is_ascii_whitespace();
    !name.is_empty() && name != "." && name != ".." && !name.contains(is_bad)
}

/// Whether nobody is at work on interfaces, so that what lies on what fits together.
pub fn is_settled(k: &Memory) -> bool {
    !k.dump().is_live() && !linux::net::is_changing(k)
}

/// Of interfaces that lie on others: that these know of it, and that the one that it says it lies on is one of them.
pub fn neighbours(device: net_device<'_>, faults: &mut Faults) {
    let name = &device.name().to_string();
    let address = device.addr();
    let lists = device.adj_list();
    let has = |list: kernel::list_head<'_>, wanted: u64| {
        let mut list = list.entries(kernel::netdev_adjacent::list);
        list.any(|adjacent| adjacent.is_ok_and(|it| it.dev().addr() == wanted))
    };
    for (what, is_below, list) in [
        ("below", true, lists.lower()),
        ("above", false, lists.upper()),
    ] {
        for other in list.entries(kernel::netdev_adjacent::list) {
            let other = other.and_then(|adjacent| adjacent.dev().deref());
            let what = format_args!("interface {what} {name}");
            let Some(other) = faults.check(what, other) else {
                continue;
            };
            let its = other.adj_list();
            let back = if is_below { its.upper() } else { its.lower() };
            faults.require(has(back, address), what, other.addr());
        }
    }
    let kind = linux::net::kind(device).unwrap_or_default();
    // Who can't be read was counted with its attributes.
    let Ok(Some(lower)) = kinds::lower_device(&kind, device) else {
        return;
    };
    let holds = match kind.as_str() {
        #[cfg(kernel_has = "veth_priv.peer")]
        "veth" => {
            // Nothing lies on the other: each is the other's peer.
            let peer = kinds::lower_device(&kind, lower);
            matches!(peer, Ok(Some(peer)) if peer.addr() == address)
        }
        _ => has(lists.lower(), lower.addr()),
    };
    faults.require(
        holds,
        format_args!("interface that {name} lies on"),
        lower.addr(),
    );
    #[cfg(kernel_has = "vlan_info.nr_vids")]
    if kind == "vlan" && holds {
        let slot = vlan_slot(device, lower);
        let slot = faults.check(format_args!("VLANs of {}", lower.name()), slot);
        let is_it = slot.is_none_or(|slot| slot == Some(address));
        faults.require(is_it, format_args!("number of the VLAN {name}"), address);
    }
}

/// The interface that another has for a VLAN's protocol and number; `None` for such as can't be.
#[cfg(kernel_has = "vlan_info.nr_vids")]
fn vlan_slot(device: net_device<'_>, lower: net_device<'_>) -> Result<Option<u64>, Fault> {
    let vlan = linux::net::private::<kernel::vlan_dev_priv<'_>>(device).deref()?;
    // vlan_proto_idx, net/8021q/vlan.h.
    let protocol = match linux::net::order::be16(vlan.vlan_proto()) {
        0x8100 => 0,
        0x88a8 => 1,
        _ => return Ok(None),
    };
    let number = usize::from(vlan.vlan_id());
    if number >= VLAN_PARTS * VLAN_PART {
        return Ok(None);
    }
    let part = protocol * VLAN_PARTS + number / VLAN_PART;
    let part = vlan_part(lower.vlan_info().deref()?.grp(), part)?;
    if part.is_null() {
        return Ok(None);
    }
    let device = part.at((number % VLAN_PART) as u64)?;
    Ok(Some(device.addr()))
}

/// `VLAN_PROTO_NUM`, `VLAN_GROUP_ARRAY_SPLIT_PARTS` and `VLAN_GROUP_ARRAY_PART_LEN`, include/linux/if_vlan.h.
#[cfg(kernel_has = "vlan_info.nr_vids")]
const VLAN_PROTOCOLS: usize = 2;
#[cfg(kernel_has = "vlan_info.nr_vids")]
const VLAN_PARTS: usize = 8;
#[cfg(kernel_has = "vlan_info.nr_vids")]
const VLAN_PART: usize = 512;

/// One part of a group's array, those of the first protocol first; by its place, as BTF has an array of one dimension there.
#[cfg(kernel_has = "vlan_info.nr_vids")]
fn vlan_part<'m>(
    group: kernel::vlan_group<'m>,
    part: usize,
) -> Result<Ptr<'m, Ptr<'m, net_device<'m>>>, Fault> {
    let k = group.memory();
    let parts = group.addr() + offset_of!(kernel::vlan_group, vlan_devices_arrays) as u64;
    let place = parts + part as u64 * u64::from(kernel::KERNEL.pointer_size);
    Ok(Ptr::new(k, k.word(place)?))
}

/// Of one that VLANs lie on: how many it counts.
#[cfg(kernel_has = "vlan_info.nr_vids")]
pub fn vlans(device: net_device<'_>, faults: &mut Faults) {
    let name = device.name();
    let what = format_args!("VLANs of {name}");
    let Some(Some(info)) = faults.check(what, device.vlan_info().deref_or_null()) else {
        return;
    };
    let read = || -> Result<bool, Fault> {
        let mut numbers = 0_usize;
        for number in info.vid_list().entries(kernel::vlan_vid_info::list) {
            number?;
            numbers += 1;
        }
        let mut devices = 0_usize;
        for part in 0..VLAN_PROTOCOLS * VLAN_PARTS {
            let part = vlan_part(info.grp(), part)?;
            if !part.is_null() {
                let part = part.array(VLAN_PART)?;
                devices += part.iter().filter(|device| !device.is_null()).count();
            }
        }
        Ok(info.real_dev().addr() == device.addr()
            && numbers == info.nr_vids() as usize
            && devices == info.grp().nr_vlan_devs() as usize)
    };
    if let Some(holds) = faults.check(what, read()) {
        faults.require(holds, what, info.addr());
    }
}

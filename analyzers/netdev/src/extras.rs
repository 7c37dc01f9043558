//! What is shown of an interface when it is asked for.

use std::collections::BTreeSet;

use kernel::net_device;
use kstruct::Memory;
use linux::Faults;
use linux::time::Clock;
use serde::Serialize;

use crate::link::{self, Link, Names};
use crate::queues::{self, Queues};
use crate::{Part, multicast, sound};
use linux::details::Details;

/// Parts that weren't asked for are missing.
#[derive(Debug, Default, Serialize)]
pub struct Extras {
    #[serde(flatten)]
    pub link: Option<Link>,
    /// As `ip -d addr` shows them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addr_info: Vec<Details>,
    /// As `ip maddr` shows them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub maddr: Vec<Details>,
    /// As `bridge fdb` shows them: of a bridge those of all its ports, of others their own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fdb: Vec<Details>,
    /// As `bridge vlan` shows them, of bridges and their ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vlans: Vec<Details>,
    /// As `bridge mdb` shows them, of bridges.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mdb: Vec<Details>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queues: Option<Queues>,
}

/// `IFF_UP` and `IFF_RUNNING`, include/uapi/linux/if.h.
const IFF_UP: u32 = 1;
const IFF_RUNNING: u32 = 1 << 6;

/// Where an interface is among the others, as the first line of `ip link` tells it.
#[derive(Default)]
pub struct Place {
    /// `eth0` of `vlan5@eth0`; `if7` of one that is in another namespace, `NONE` where a tunnel is bound to none.
    pub below: Option<String>,
    /// What it is a part of.
    pub master: Option<String>,
    /// What `ip` adds to its flags.
    pub marks: Vec<&'static str>,
}

/// What is the same for all interfaces.
pub struct Context<'m> {
    pub parts: &'m [Part],
    pub names: Names,
    /// Whether nobody is at work on interfaces.
    is_settled: bool,
    /// Those that aren't up, by their namespace and index.
    down: BTreeSet<(u64, i32)>,
    /// Of functions, those of modules among them.
    pub functions: linux::symbols::Names<'m>,
}

impl<'m> Context<'m> {
    /// Reads the names of all interfaces.
    pub fn new(k: &'m Memory, parts: &'m [Part], faults: &mut Faults) -> Self {
        let mut names = Names::new();
        let mut down = BTreeSet::new();
        for namespace in linux::net::namespaces(k, faults) {
            // What is wrong with a list is counted where its interfaces are shown.
            for device in namespace.devices().flatten() {
                let key = (link::namespace(device), device.ifindex());
                names.insert(key, device.name().to_string());
                if linux::net::flags::flags(device) & IFF_UP == 0 {
                    down.insert(key);
                }
            }
        }
        Context {
            parts,
            names,
            is_settled: sound::is_settled(k),
            down,
            functions: linux::symbols::Names::of(k),
        }
    }

    /// Where it is among the others, for people.
    pub fn place(&self, device: net_device<'_>, faults: &mut Faults) -> Place {
        let mut place = Place::default();
        let name = device.name();
        let master = link::master(device);
        let master = faults.check(format_args!("what {name} is part of"), master);
        place.master = master.flatten().map(|master| master.name().to_string());
        let own = link::namespace(device);
        let lower = link::kinds::lower(device);
        let lower = faults.check(format_args!("interface below {name}"), lower);
        if let Some((index, space)) = lower.flatten().filter(|it| *it != (device.ifindex(), own)) {
            let known = self.names.get(&(own, index));
            let known = known.filter(|_| space == own || space == 0);
            if known.is_some() && self.down.contains(&(own, index)) {
                place.marks.push("M-DOWN");
            }
            let unknown = || match index {
                0 => "NONE".to_owned(),
                index => format!("if{index}"),
            };
            place.below = Some(known.cloned().unwrap_or_else(unknown));
        }
        let flags = linux::net::flags::flags(device);
        if flags & (IFF_UP | IFF_RUNNING) == IFF_UP {
            place.marks.insert(0, "NO-CARRIER");
        }
        place
    }

    /// What is wanted of an interface.
    pub fn of(
        &self,
        k: &Memory,
        device: net_device<'_>,
        cpus: &[u32],
        clock: Clock,
        faults: &mut Faults,
    ) -> Extras {
        let mut extras = Extras::default();
        if self.parts.contains(&Part::Details) {
            if self.is_settled {
                sound::neighbours(device, faults);
                #[cfg(kernel_has = "vlan_info.nr_vids")]
                sound::vlans(device, faults);
            }
            let link = link::read(k, device, &self.names, faults);
            #[cfg(kernel_has = "in_ifaddr.ifa_tstamp")]
            {
                extras.addr_info = crate::addresses::addresses(k, device, clock, faults);
            }
            extras.maddr = multicast::addresses(device, faults);
            #[cfg(all(
                kernel_has = "net_bridge.multicast_ctx",
                kernel_has = "net_bridge_mdb_entry"
            ))]
            self.bridge(device, &link, cpus, clock, &mut extras, faults);
            #[cfg(kernel_has = "vxlan_dev.cfg")]
            if linux::net::kind(device).is_ok_and(|kind| kind == "vxlan") {
                let read = link::tunnel::vxlan::forwarding(device, &self.names, clock, faults);
                let what = format_args!("forwarding table of {}", device.name());
                let read = faults.check(what, read);
                extras.fdb.extend(read.into_iter().flatten());
            }
            extras.link = Some(link);
        }
        if self.parts.contains(&Part::Queues) {
            extras.queues = Some(queues::read(
                k,
                device,
                cpus,
                clock,
                &self.functions,
                faults,
            ));
        }
        extras
    }

    #[cfg(all(
        kernel_has = "net_bridge.multicast_ctx",
        kernel_has = "net_bridge_mdb_entry"
    ))]
    fn bridge(
        &self,
        device: net_device<'_>,
        link: &Link,
        cpus: &[u32],
        clock: Clock,
        extras: &mut Extras,
        faults: &mut Faults,
    ) {
        use crate::link::bridge;
        let name = device.name();
        let kind = linux::net::kind(device).unwrap_or_default();
        let is_bridge = kind == "bridge";
        let is_port = link.info_slave_kind.as_deref() == Some("bridge");
        if is_bridge {
            let read = bridge::forwarding(device, clock, faults);
            let read = faults.check(format_args!("forwarding table of {name}"), read);
            extras.fdb.extend(read.into_iter().flatten());
            let read = bridge::groups(device, faults);
            let read = faults.check(format_args!("groups of {name}"), read);
            extras.mdb.extend(read.into_iter().flatten());
        }
        if kind != "vxlan" {
            let read = bridge::own_addresses(device);
            let read = faults.check(format_args!("addresses of {name}"), read);
            extras.fdb.extend(read.into_iter().flatten());
        }
        if is_bridge || is_port {
            let read = bridge::vlans(device, is_bridge, cpus, faults);
            let read = faults.check(format_args!("VLANs of {name}"), read);
            extras.vlans.extend(read.into_iter().flatten());
        }
    }
}

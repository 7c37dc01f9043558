//! What is shown of an interface when it is asked for.

use kernel::net_device;
use kstruct::Memory;
use linux::Faults;
use linux::time::Clock;
use serde::Serialize;

use crate::link::{self, Link, Names};
use crate::queues::{self, Queues};
use crate::{Part, multicast};
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

/// What is the same for all interfaces.
pub struct Context<'m> {
    pub parts: &'m [Part],
    pub names: Names,
    /// Of functions, those of modules among them.
    pub functions: linux::symbols::Names<'m>,
}

impl<'m> Context<'m> {
    /// Reads the names of all interfaces, if something is wanted that has them.
    pub fn new(k: &'m Memory, parts: &'m [Part], faults: &mut Faults) -> Self {
        let mut names = Names::new();
        if parts.contains(&Part::Details) {
            for namespace in linux::net::namespaces(k, faults) {
                // What is wrong with a list is counted where its interfaces are shown.
                for device in namespace.devices().flatten() {
                    let key = (link::namespace(device), device.ifindex());
                    names.insert(key, device.name().to_string());
                }
            }
        }
        Context {
            parts,
            names,
            functions: linux::symbols::Names::of(k),
        }
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
                let read = link::tunnel::vxlan::forwarding(device, &self.names, clock);
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
            let read = bridge::forwarding(device, clock);
            let read = faults.check(format_args!("forwarding table of {name}"), read);
            extras.fdb.extend(read.into_iter().flatten());
            let read = bridge::groups(device);
            let read = faults.check(format_args!("groups of {name}"), read);
            extras.mdb.extend(read.into_iter().flatten());
        }
        if kind != "vxlan" {
            let read = bridge::own_addresses(device);
            let read = faults.check(format_args!("addresses of {name}"), read);
            extras.fdb.extend(read.into_iter().flatten());
        }
        if is_bridge || is_port {
            let read = bridge::vlans(device, is_bridge, cpus);
            let read = faults.check(format_args!("VLANs of {name}"), read);
            extras.vlans.extend(read.into_iter().flatten());
        }
    }
}

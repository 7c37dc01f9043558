//! Network namespaces, as sockets refer to them.

use std::collections::HashMap;
use std::sync::OnceLock;

use kernel::{net, net_device, sym};
use kstruct::{Memory, View as _};
use linux::Faults;

/// A network namespace.
pub struct Space<'m> {
    /// The `struct net`.
    pub net: net<'m>,
    /// The inode number by which users know it.
    pub inode: u64,
    devices: OnceLock<HashMap<i32, String>>,
}

/// All namespaces in the order of the kernel's list, the initial one first.
pub struct Spaces<'m> {
    all: Vec<Space<'m>>,
}

impl<'m> Spaces<'m> {
    /// Reads the list.
    pub fn read(k: &'m Memory, faults: &mut Faults) -> Self {
        let mut all = Vec::new();
        if let Some(head) = faults.check("net_namespace_list", k.get(sym::net_namespace_list)) {
            for net in head.entries(net::list) {
                all.extend(
                    faults
                        .check("list of network namespaces", net)
                        .map(|net| Space {
                            net,
                            inode: net.ns().inum().into(),
                            devices: OnceLock::new(),
                        }),
                );
            }
        }
        Spaces { all }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Space<'m>> {
        self.all.iter()
    }

    /// The one at an address; `None` if it isn't on the list, as one that is being taken down.
    pub fn at(&self, address: u64) -> Option<&Space<'m>> {
        self.all.iter().find(|space| space.net.addr() == address)
    }
}

impl Space<'_> {
    /// The name of an interface; `None` if there is none with this number.
    pub fn device(&self, ifindex: i32) -> Option<&str> {
        let devices = self.devices.get_or_init(|| {
            // What can't be read of this list the analyzer of interfaces reports.
            self.net
                .dev_base_head()
                .entries(net_device::dev_list)
                .flatten()
                .map(|device| (device.ifindex(), device.name().to_string()))
                .collect()
        });
        devices.get(&ifindex).map(String::as_str)
    }
}

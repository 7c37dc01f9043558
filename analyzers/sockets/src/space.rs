//! Network namespaces, as sockets refer to them.

use std::collections::HashMap;
use std::sync::OnceLock;

use kernel::{net, net_device, sym};
use kstruct::{Fault, Memory, View as _};
use linux::Faults;

/// A network namespace.
pub struct Space<'m> {
    /// The `struct net`.
    pub net: net<'m>,
    /// The inode number by which users know it.
    pub inode: u64,
    devices: OnceLock<Devices>,
}

/// Its interfaces, and why these are not all.
type Devices = (HashMap<i32, String>, Option<Fault>);

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
    ///
    /// # Errors
    ///
    /// The list of interfaces can't be read to its end, and it isn't in what can be.
    pub fn device(&self, ifindex: i32) -> Result<Option<&str>, Fault> {
        let (devices, fault) = self.devices.get_or_init(|| {
            let (mut devices, mut first) = (HashMap::new(), None);
            for device in self.net.dev_base_head().entries(net_device::dev_list) {
                match device {
                    Ok(device) => {
                        devices.insert(device.ifindex(), device.name().to_string());
                    }
                    Err(fault) => first = first.or(Some(fault)),
                }
            }
            (devices, first)
        });
        match (devices.get(&ifindex), fault) {
            (None, Some(fault)) => Err(*fault),
            (name, _) => Ok(name.map(String::as_str)),
        }
    }
}

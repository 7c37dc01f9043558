//! Network interfaces, as sockets refer to them. There are no namespaces yet.

use std::collections::HashMap;

use kstruct::{Fault, Memory};
use linux::Faults;

/// The one network that there is.
pub struct Space {
    devices: HashMap<i32, String>,
}

/// The same, where others have many.
pub struct Spaces<'m> {
    only: Space,
    memory: std::marker::PhantomData<&'m Memory>,
}

impl<'m> Spaces<'m> {
    /// Reads the list of interfaces.
    pub fn read(k: &'m Memory, faults: &mut Faults) -> Self {
        let mut devices = HashMap::new();
        for network in linux::net::namespaces(k, faults) {
            for device in network.devices() {
                if let Some(device) = faults.check("list of network interfaces", device) {
                    devices.insert(device.ifindex(), device.name().to_string());
                }
            }
        }
        Spaces {
            only: Space { devices },
            memory: std::marker::PhantomData,
        }
    }

    /// That of a socket.
    pub fn at(&self, _: u64) -> Option<&Space> {
        Some(&self.only)
    }
}

impl Space {
    /// The name of an interface; `None` if there is none with this number. That the list of them can't be read was told of before.
    pub fn device(&self, ifindex: i32) -> Result<Option<&str>, Fault> {
        Ok(self.devices.get(&ifindex).map(String::as_str))
    }
}

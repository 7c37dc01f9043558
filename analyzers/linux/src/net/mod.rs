//! Network interfaces.

pub mod address;
pub mod flags;
pub mod order;
pub mod softnet;
pub mod stats;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use kernel::net_device;
use kstruct::{Array, Fault, Memory, Ptr, View as _};

use crate::Faults;

/// A network namespace.
#[derive(Clone, Copy)]
pub struct Namespace<'m> {
    #[cfg(kernel_has = "net.dev_base_head")]
    net: kernel::net<'m>,
    #[cfg(not(kernel_has = "net.dev_base_head"))]
    memory: &'m Memory,
}

/// All network namespaces: the initial one alone in kernels that know no others.
#[cfg(kernel_has = "net.dev_base_head")]
pub fn namespaces<'m>(k: &'m Memory, faults: &mut Faults) -> Vec<Namespace<'m>> {
    let mut found = Vec::new();
    let head = k.get(kernel::sym::net_namespace_list);
    if let Some(head) = faults.check("net_namespace_list", head) {
        for net in head.entries(kernel::net::list) {
            found.extend(
                faults
                    .check("list of network namespaces", net)
                    .map(|net| Namespace { net }),
            );
        }
    }
    found
}

/// All network namespaces: the initial one alone in kernels that know no others.
#[cfg(not(kernel_has = "net.dev_base_head"))]
pub fn namespaces<'m>(k: &'m Memory, _: &mut Faults) -> Vec<Namespace<'m>> {
    vec![Namespace { memory: k }]
}

/// The inode number of each network namespace; in kernels without, of which there is one, 0.
pub fn inodes(k: &Memory, faults: &mut Faults) -> Vec<u64> {
    let all = namespaces(k, faults).into_iter();
    all.map(|namespace| namespace.inode().unwrap_or(0))
        .collect()
}

/// How many sockets of these protocols all namespaces count (`sock_prot_inuse_add`, include/net/sock.h).
///
/// # Errors
///
/// A CPU's counts can't be read, or a namespace.
#[cfg(kernel_has = "prot_inuse.all")]
pub fn sockets_in_use(k: &Memory, protocols: &[kernel::proto<'_>]) -> Result<i64, Fault> {
    let cpus = crate::cpu::possible(k)?;
    let mut faults = Faults::default();
    let mut sum = 0_i64;
    for namespace in namespaces(k, &mut faults) {
        for cpu in &cpus {
            let counts = namespace.net.core().prot_inuse().on_cpu(*cpu)?.deref()?;
            for protocol in protocols {
                let value = counts.val().get(protocol.inuse_idx() as usize);
                sum = sum.wrapping_add(value.map_or(0, i64::from));
            }
        }
    }
    if faults.count() > 0 {
        return Err(Fault {
            address: k.address_of(kernel::sym::net_namespace_list),
            kind: kstruct::FaultKind::Inconsistent,
        });
    }
    Ok(sum)
}

/// Whether somebody has the lock under which interfaces, addresses and routes are changed (`rtnl_lock`): they may be half changed, for as long as
/// it takes until no CPU looks at what was.
pub fn is_changing(k: &Memory) -> bool {
    #[cfg(all(kernel_has = "sym:rtnl_mutex", kernel_has = "mutex.owner"))]
    {
        !k.get(kernel::sym::rtnl_mutex)
            .is_ok_and(|lock| lock.owner().value() == 0)
    }
    // Real-time kernels.
    #[cfg(all(kernel_has = "sym:rtnl_mutex", kernel_has = "mutex.rtmutex"))]
    {
        !k.get(kernel::sym::rtnl_mutex)
            .is_ok_and(|lock| lock.rtmutex().owner().is_null())
    }
    // Nobody knows where the lock is, or who has it.
    #[cfg(not(all(
        kernel_has = "sym:rtnl_mutex",
        any(kernel_has = "mutex.owner", kernel_has = "mutex.rtmutex")
    )))]
    {
        let _ = k;
        true
    }
}

/// That an interface of this name is in some namespace.
///
/// # Errors
///
/// There is none, which the error says with all that there are.
pub fn check_device(k: &Memory, name: &str, faults: &mut Faults) -> anyhow::Result<()> {
    let mut names = Vec::new();
    for namespace in namespaces(k, faults) {
        // Who lists interfaces counts what can't be read of them.
        let devices = namespace.devices().map_while(Result::ok);
        names.extend(devices.map(|device| device.name().to_string()));
    }
    if names.iter().any(|known| known == name) {
        return Ok(());
    }
    Err(crate::app::unknown("interface", name, names))
}

impl<'m> Namespace<'m> {
    /// The kernel's struct.
    #[cfg(kernel_has = "net.dev_base_head")]
    pub fn net(self) -> kernel::net<'m> {
        self.net
    }

    /// The inode number by which users know a namespace (`net:[4026531840]`); `None` before there were namespaces.
    pub fn inode(self) -> Option<u64> {
        #[cfg(kernel_has = "net.ns.inum")]
        {
            Some(self.net.ns().inum().into())
        }
        #[cfg(not(kernel_has = "net.ns.inum"))]
        {
            None
        }
    }

    /// Its interfaces in the order of the kernel's list.
    #[cfg(kernel_has = "net.dev_base_head")]
    pub fn devices(self) -> impl Iterator<Item = Result<net_device<'m>, Fault>> {
        self.net.dev_base_head().entries(net_device::dev_list)
    }

    /// The hash of interfaces by their indices, in which the kernel looks for them (`dev_get_by_index`).
    #[cfg(kernel_has = "net.dev_index_head")]
    fn by_index(self) -> Result<Array<'m, kernel::hlist_head<'m>>, Fault> {
        /// `NETDEV_HASHENTRIES`, include/linux/netdevice.h.
        const BUCKETS: usize = 256;
        self.net.dev_index_head().array(BUCKETS)
    }

    /// The hash of interfaces by their indices, in which the kernel looks for them (`dev_get_by_index`).
    #[cfg(all(
        not(kernel_has = "net.dev_index_head"),
        kernel_has = "sym:dev_index_head"
    ))]
    fn by_index(self) -> Result<Array<'m, kernel::hlist_head<'m>>, Fault> {
        self.memory.get(kernel::sym::dev_index_head)
    }

    /// That the interfaces on the list are those in the hash of their indices.
    #[cfg(any(kernel_has = "net.dev_index_head", kernel_has = "sym:dev_index_head"))]
    pub fn check_devices(self, k: &Memory, faults: &mut Faults) {
        let what = "interfaces by their indices";
        if k.dump().is_live() {
            return;
        }
        #[cfg(kernel_has = "net.dev_index_head")]
        if is_changing(k) {
            return;
        }
        // What is wrong with the list is counted where its interfaces are shown.
        let listed: Result<BTreeSet<u64>, Fault> =
            self.devices().map(|device| Ok(device?.addr())).collect();
        let Ok(mut listed) = listed else {
            return;
        };
        let Some(buckets) = faults.check(what, self.by_index()) else {
            return;
        };
        for (index, bucket) in buckets.iter().enumerate() {
            for device in bucket.entries(net_device::index_hlist) {
                let Some(device) = faults.check(what, device) else {
                    return;
                };
                let own = device.ifindex().cast_unsigned() as usize;
                let is_its = own % buckets.len() == index;
                let is_listed = listed.remove(&device.addr());
                faults.require(is_its && is_listed, what, device.addr());
            }
        }
        for device in listed {
            faults.require(false, what, device);
        }
    }

    /// Old kernels at which there is no hash to look at.
    #[cfg(not(any(kernel_has = "net.dev_index_head", kernel_has = "sym:dev_index_head")))]
    pub fn check_devices(self, _: &Memory, _: &mut Faults) {}

    /// Its interfaces in the order of the kernel's list.
    #[cfg(not(kernel_has = "net.dev_base_head"))]
    pub fn devices(self) -> impl Iterator<Item = Result<net_device<'m>, Fault>> {
        // Before 2.6.24: a pointer to the first, and `next` in each.
        let first = self.memory.get(kernel::sym::dev_base);
        kstruct::walk::chain(first, |device: net_device<'m>| device.next())
    }
}

/// The other names that an interface was given (`ip link property add altname`).
///
/// # Errors
///
/// Their list can't be read.
pub fn alternative_names(device: net_device<'_>) -> Result<Vec<String>, Fault> {
    let mut found = Vec::new();
    #[cfg(kernel_has = "netdev_name_node.list")]
    if let Some(node) = device.name_node().deref_or_null()? {
        for other in node.list().entries(kernel::netdev_name_node::list) {
            found.push(other?.name().read()?.to_string());
        }
    }
    let _ = (device, &mut found);
    Ok(found)
}

/// What drivers keep behind the `net_device`, or point to: `netdev_priv`.
pub fn private<T>(device: net_device<'_>) -> Ptr<'_, T> {
    #[cfg(kernel_has = "net_device.priv")]
    {
        // An array at the end from 6.11 on, a pointer before 2.6.31.
        device.priv_().cast()
    }
    #[cfg(not(kernel_has = "net_device.priv"))]
    {
        /// `NETDEV_ALIGN`, include/linux/netdevice.h.
        const ALIGN: u64 = 32;
        let size = (net_device::SIZE as u64).next_multiple_of(ALIGN);
        Ptr::new(device.memory(), device.addr().wrapping_add(size))
    }
}

/// The name of the kind of interface, as in `ip link add type ...`; empty for those that are not made that way.
pub fn kind(device: net_device<'_>) -> Result<String, Fault> {
    #[cfg(kernel_has = "net_device.rtnl_link_ops")]
    {
        match device.rtnl_link_ops().deref_or_null()? {
            Some(ops) if !ops.kind().is_null() => Ok(ops.kind().read()?.to_string()),
            _ => Ok(String::new()),
        }
    }
    #[cfg(not(kernel_has = "net_device.rtnl_link_ops"))]
    {
        let _ = device;
        Ok(String::new())
    }
}

/// The transmit queues.
#[cfg(kernel_has = "net_device._tx")]
pub fn transmit_queues<'m>(
    device: net_device<'m>,
) -> Result<Array<'m, kernel::netdev_queue<'m>>, Fault> {
    device._tx().array(device.num_tx_queues() as usize)
}

/// The hardware address's bytes.
pub fn hardware_address(device: net_device<'_>) -> Result<Array<'_, u8>, Fault> {
    let length = usize::from(device.addr_len());
    // A pointer since 2.6.34, when a device came to have several addresses; an array of 32 bytes before.
    #[cfg(kernel_has = "net_device.dev_addrs")]
    {
        device.dev_addr().array(length)
    }
    #[cfg(not(kernel_has = "net_device.dev_addrs"))]
    {
        Ptr::new(device.memory(), device.dev_addr().addr())
            .array(length.min(device.dev_addr().len()))
    }
}

/// `ARPHRD_TUNNEL`, `ARPHRD_SIT`, `ARPHRD_IPGRE`: their hardware addresses are IPv4 addresses
/// (include/uapi/linux/if_arp.h).
const IPV4_TUNNELS: [u32; 3] = [768, 776, 778];

/// A hardware address as `ip link` writes it.
pub fn format_hardware_address(hardware_type: u32, bytes: &[u8]) -> String {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes)
        && IPV4_TUNNELS.contains(&hardware_type)
    {
        return std::net::Ipv4Addr::from(bytes).to_string();
    }
    // ARPHRD_TUNNEL6, ARPHRD_IP6GRE.
    if let Ok(bytes) = <[u8; 16]>::try_from(bytes)
        && [769, 823].contains(&hardware_type)
    {
        return std::net::Ipv6Addr::from(bytes).to_string();
    }
    let mut out = String::new();
    for (index, byte) in bytes.iter().enumerate() {
        let colon = if index == 0 { "" } else { ":" };
        let _ = write!(out, "{colon}{byte:02x}");
    }
    out
}

/// The interface's queueing state as the kernel's own names (`enum netdev_state_t`), without their prefix.
pub fn state_names(device: net_device<'_>) -> Vec<String> {
    let state = device.state();
    kernel::netdev_state_t::INFO
        .constants()
        .filter(|(_, bit)| (0..64).contains(bit) && state >> bit & 1 != 0)
        .map(|(name, _)| name.trim_start_matches("__LINK_STATE_").to_owned())
        .collect()
}

/// Whether a bit of `net_device.state` is set.
fn has_state(device: net_device<'_>, bit: u32) -> bool {
    device.state() >> bit & 1 != 0
}

/// Whether the interface is running, as drivers see it.
pub fn is_running(device: net_device<'_>) -> bool {
    has_state(device, kernel::netdev_state_t::__LINK_STATE_START.0)
}

/// Whether it has no carrier.
pub fn has_no_carrier(device: net_device<'_>) -> bool {
    has_state(device, kernel::netdev_state_t::__LINK_STATE_NOCARRIER.0)
}

/// `operstate` of RFC 2863 as `ip link` shows it (`operstate` and `rtnl_fill_ifinfo`); `None` before 2.6.17.
pub fn operational_state(device: net_device<'_>) -> Option<&'static str> {
    #[cfg(kernel_has = "net_device.operstate")]
    {
        const NAMES: [&str; 7] = [
            "UNKNOWN",
            "NOTPRESENT",
            "DOWN",
            "LOWERLAYERDOWN",
            "TESTING",
            "DORMANT",
            "UP",
        ];
        if !is_running(device) {
            return Some("DOWN");
        }
        Some(
            NAMES
                .get(device.operstate() as usize)
                .copied()
                .unwrap_or("invalid"),
        )
    }
    #[cfg(not(kernel_has = "net_device.operstate"))]
    {
        let _ = device;
        None
    }
}

/// When something was last sent (`dev_trans_start`), in jiffies; `None` if nothing was.
pub fn transmit_start(device: net_device<'_>) -> Result<Option<u64>, Fault> {
    #[cfg(kernel_has = "netdev_queue.trans_start")]
    {
        let k = device.memory();
        let now = crate::time::jiffies(k)?;
        let latest = transmit_queues(device)?
            .iter()
            .map(|queue| queue.trans_start())
            .filter(|start| *start != 0)
            .min_by_key(|start| crate::time::jiffies_since(k, now, *start));
        Ok(latest)
    }
    #[cfg(not(kernel_has = "netdev_queue.trans_start"))]
    {
        Ok(Some(device.trans_start()).filter(|start| *start != 0))
    }
}

/// When something was last received, in jiffies, for kernels whose interfaces know it: those before 4.13, by and by.
pub fn last_receive(device: net_device<'_>) -> Option<u64> {
    #[cfg(kernel_has = "net_device.last_rx")]
    {
        Some(device.last_rx()).filter(|last| *last != 0)
    }
    #[cfg(not(kernel_has = "net_device.last_rx"))]
    {
        let _ = device;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::format_hardware_address;

    #[test]
    fn hardware_addresses_are_written_as_ip_does() {
        assert_eq!(
            format_hardware_address(1, &[2, 0, 0, 0, 0, 0xab]),
            "02:00:00:00:00:ab"
        );
        assert_eq!(format_hardware_address(768, &[10, 0, 0, 1]), "10.0.0.1");
        assert_eq!(format_hardware_address(65534, &[]), "");
    }
}

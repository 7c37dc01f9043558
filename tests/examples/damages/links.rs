//! Damages of single words of interfaces: their numbers, their queues, and what lies on what.

use kernel::{
    bonding, in_device, in_ifaddr, napi_struct, net_bridge, net_bridge_port, net_bridge_vlan_group,
    net_device, netdev_hw_addr_list, slave, vlan_dev_priv, vlan_info,
};
use kstruct::{Memory, View as _, offset_of};
use linux::Faults;
use linux::net::{kind, namespaces, private};

use super::Dump;

impl Dump<'_> {
    /// Damages the first interface for which it makes a difference.
    pub fn plant_in_links(&self, damage: &str) {
        let k = &self.memory();
        let all = devices(k);
        let named = |name: &str| {
            let mut all = all.iter().copied();
            all.find(|device| device.name() == name)
                .expect("it is there")
        };
        let of_kind = |wanted: &str| {
            let is_it = |device: &net_device<'_>| kind(*device).is_ok_and(|kind| kind == wanted);
            all.iter().copied().filter(is_it).collect::<Vec<_>>()
        };
        let lo = named("lo");
        match damage {
            "name" => self.device(lo, offset_of!(net_device, name), 1, 0),
            "index" => self.device(lo, offset_of!(net_device, ifindex), 4, 0),
            "address-length" => self.device(lo, offset_of!(net_device, addr_len), 1, 255),
            "namespace" => {
                let place = lo.nd_net().addr();
                self.change(place, |old| old + 64);
            }
            // It is on no list, whose links are right.
            "lost" => {
                let node = named("dummy0").dev_list();
                let (next, prev) = (node.next().addr(), node.prev().addr());
                self.change(prev, |_| next);
                self.change(next + 8, |_| prev);
            }
            // One queue more than there is; more of them in use than there are.
            "queues" => {
                let place = offset_of!(net_device, num_tx_queues);
                self.device(lo, place, 4, u64::from(lo.num_tx_queues()) + 1);
            }
            "real-queues" => self.device(lo, offset_of!(net_device, real_num_tx_queues), 4, 99),
            "napi-function" => self.write(napi(&all) + offset_of!(napi_struct, poll) as u64, 8, 0),
            "napi-weight" => self.write(napi(&all) + offset_of!(napi_struct, weight) as u64, 4, 0),
            "multicast" => {
                let place = lo.mc().addr() + offset_of!(netdev_hw_addr_list, count) as u64;
                self.change(place, |old| old + 1);
            }
            // Another one's addresses; a prefix that isn't the mask's.
            "configuration" => {
                let other = named("dummy0").ip_ptr().addr();
                self.device(lo, offset_of!(net_device, ip_ptr), 8, other);
            }
            "prefix" => {
                let own = lo.ip_ptr().cast::<in_device<'_>>().deref();
                let address = own.expect("it is there").ifa_list().addr();
                self.write(address + offset_of!(in_ifaddr, ifa_prefixlen) as u64, 1, 99);
            }
            "vlan-lower" => {
                let vlan = private::<vlan_dev_priv<'_>>(of_kind("vlan")[0]).addr();
                let place = vlan + offset_of!(vlan_dev_priv, real_dev) as u64;
                self.change(place, |_| lo.addr());
            }
            "vlan-number" => {
                let vlan = private::<vlan_dev_priv<'_>>(of_kind("vlan")[0]).addr();
                self.write(vlan + offset_of!(vlan_dev_priv, vlan_id) as u64, 2, 4000);
            }
            "vlan-count" => {
                let info = named("dummy0").vlan_info().addr();
                self.write(info + offset_of!(vlan_info, nr_vids) as u64, 4, 7);
            }
            "peer" => {
                let veth = private::<kernel::veth_priv<'_>>(of_kind("veth")[0]).addr();
                self.change(veth, |_| lo.addr());
            }
            _ => self.plant_in_masters(damage, named("bond0"), named("br1")),
        }
    }

    /// The same of a bond and a bridge.
    fn plant_in_masters(&self, damage: &str, bond: net_device<'_>, bridge: net_device<'_>) {
        let bond = private::<bonding<'_>>(bond).deref().expect("it is there");
        let first = bond.curr_active_slave().addr();
        let br = private::<net_bridge<'_>>(bridge)
            .deref()
            .expect("it is there");
        let port = br.port_list().entries(net_bridge_port::list).next();
        let port = port.expect("it has one").expect("the dump is sound");
        let of_bond = |offset: usize| bond.addr() + offset as u64;
        let of_bridge = |offset: usize| br.addr() + offset as u64;
        match damage {
            "bond-count" => self.write(of_bond(offset_of!(bonding, slave_cnt)), 4, 7),
            "bond-active" => {
                self.change(of_bond(offset_of!(bonding, curr_active_slave)), |old| {
                    old + 8
                });
            }
            "bond-idle" => {
                self.change(of_bond(offset_of!(bonding, curr_active_slave)), |_| 0);
            }
            "bond-mode" => self.write(bond.params().addr(), 4, 99),
            "bond-slave" => {
                self.change(first + offset_of!(slave, dev) as u64, |_| bond.dev().addr())
            }
            "bridge-table" => self.change(of_bridge(offset_of!(net_bridge, fdb_list)), |_| 0),
            "bridge-groups" => self.change(of_bridge(offset_of!(net_bridge, mdb_list)), |_| 0),
            "bridge-port" => {
                let place = port.addr() + offset_of!(net_bridge_port, dev) as u64;
                self.change(place, |_| bridge.addr());
            }
            "bridge-state" => {
                self.write(
                    port.addr() + offset_of!(net_bridge_port, state) as u64,
                    1,
                    9,
                );
            }
            "bridge-vlans" => {
                let list = br.vlgrp().addr() + offset_of!(net_bridge_vlan_group, vlan_list) as u64;
                self.change(list, |_| list);
                self.change(list + 8, |_| list);
            }
            _ => panic!("there is no damage {damage}"),
        }
    }

    fn device(&self, device: net_device<'_>, offset: usize, bytes: u32, value: u64) {
        self.write(device.addr() + offset as u64, bytes, value);
    }
}

/// All interfaces.
fn devices(k: &Memory) -> Vec<net_device<'_>> {
    let mut found = Vec::new();
    for namespace in namespaces(k, &mut Faults::default()) {
        found.extend(namespace.devices().map(|it| it.expect("the dump is sound")));
    }
    found
}

/// The first NAPI instance of an interface.
fn napi(all: &[net_device<'_>]) -> u64 {
    let mut lists = all.iter().map(|device| device.napi_list());
    let first = lists.find_map(|list| list.entries(napi_struct::dev_list).next());
    first
        .expect("there is one")
        .expect("the dump is sound")
        .addr()
}

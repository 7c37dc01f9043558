//! Damages of single words of routes, next hop objects and neighbours.

use kernel::{
    fib_alias, fib_info, fib_nh_common, fib_table, fib6_info, fib6_node, fib6_table, key_vector,
    neigh_table, neighbour, net, net_device, nexthop, nh_group, nh_grp_entry, rt6key, sym,
};
use kstruct::walk::chain;
use kstruct::{Memory, View as _, offset_of};

use super::Dump;
use super::tables::tables;

impl Dump<'_> {
    /// Damages the first route, object or neighbour for which it makes a difference.
    pub fn plant_in_routes(&self, damage: &str) {
        let k = &self.memory();
        match damage {
            // It has no next hop; one has a gateway of no version of IP; it is of no type.
            "hops" => {
                let alias = self.alias(k, |info| info.nh().is_null());
                let info = alias.fa_info().addr();
                self.write(info + offset_of!(fib_info, fib_nhs) as u64, 4, 0);
            }
            "gateway" => {
                let alias = self.alias(k, |info| gateway_family(info) == Some(2));
                let hop = alias.fa_info().deref().expect("the dump is sound").fib_nh();
                let hop = hop.at(0).expect("it has one").nh_common().addr();
                self.write(hop + offset_of!(fib_nh_common, nhc_gw_family) as u64, 1, 77);
            }
            "type" => {
                let alias = self.alias(k, |_| true).addr();
                self.write(alias + offset_of!(fib_alias, fa_type) as u64, 1, 12);
            }
            // A table's trie is empty.
            "trie" => {
                let table = all_tables(k).find(|table| !aliases(root(*table)).is_empty());
                let root = root(table.expect("there are routes"));
                self.change(root.tnode().addr(), |_| 0);
            }
            // There is a route behind it that it took for a sibling.
            "siblings" => {
                let is_it =
                    |info: fib6_info<'_>| info.fib6_nsiblings() == 0 && !info.fib6_next().is_null();
                let info = self.route6(k, is_it).addr();
                self.write(info + offset_of!(fib6_info, fib6_nsiblings) as u64, 4, 5);
            }
            "no-siblings" => {
                let info = self.route6(k, |info| info.fib6_nsiblings() > 0).addr();
                self.write(info + offset_of!(fib6_info, fib6_nsiblings) as u64, 4, 0);
            }
            "prefix6" => {
                let dst = self.route6(k, |_| true).fib6_dst().addr();
                self.write(dst + offset_of!(rt6key, plen) as u64, 4, 129);
            }
            "type6" => {
                let info = self.route6(k, |_| true).addr();
                self.write(info + offset_of!(fib6_info, fib6_type) as u64, 1, 12);
            }
            "device6" => {
                let info = self.route6(k, |info| info.nh().is_null());
                let hop = info.fib6_nh().addr() + offset_of!(kernel::fib6_nh, nh_common) as u64;
                self.write(hop + offset_of!(fib_nh_common, nhc_dev) as u64, 8, 0);
            }
            // The tree is empty in which the object is that a route uses.
            "object" => {
                let alias = self.alias(k, |info| !info.nh().is_null());
                let info = alias.fa_info().deref().expect("the dump is sound");
                let net = info.fib_net().deref().expect("the dump is sound");
                self.change(net.nexthop().rb_root().addr(), |_| 0);
            }
            // A group of none, one that is a member of itself, and two objects of one number.
            "empty-group" => {
                let group = group(k).nh_grp().addr();
                self.write(group + offset_of!(nh_group, num_nh) as u64, 2, 0);
            }
            "nested-group" => {
                let object = group(k);
                let group = object.nh_grp().deref().expect("the dump is sound");
                let entry = group.nh_entries().addr() + offset_of!(nh_grp_entry, nh) as u64;
                self.change(entry, |_| object.addr());
            }
            "object-number" => {
                let net = namespaces(k).find(|net| objects(*net).len() > 1);
                let objects = objects(net.expect("there are objects"));
                let number = objects[0].id().into();
                let place = objects[1].addr() + offset_of!(nexthop, id) as u64;
                self.write(place, 4, number);
            }
            // Addresses of IPv4 are as long as those of IPv6; those of an interface longer than there is room for.
            "neighbour-key" => {
                let table = k.get(sym::arp_tbl).expect("it is there").addr();
                self.write(table + offset_of!(neigh_table, key_len) as u64, 4, 16);
            }
            "neighbour-device" => {
                let device = reachable(k).dev().addr();
                self.write(device + offset_of!(net_device, addr_len) as u64, 1, 200);
            }
            _ => panic!("there is no damage route-{damage}"),
        }
    }

    /// Writes a number of some bytes.
    pub fn write(&self, place: u64, bytes: u32, value: u64) {
        let mask = u64::MAX >> (64 - 8 * bytes);
        self.change(place, |old| old & !mask | value);
    }

    /// The first IPv4 route with such a `fib_info`.
    fn alias<'m>(&self, k: &'m Memory, is_it: impl Fn(fib_info<'m>) -> bool) -> fib_alias<'m> {
        let mut all = all_tables(k).flat_map(|table| aliases(root(table)));
        let alias = all.find(|alias| is_it(alias.fa_info().deref().expect("the dump is sound")));
        alias.expect("there is such a route")
    }

    /// The first such IPv6 route of table `main`.
    fn route6<'m>(&self, k: &'m Memory, is_it: impl Fn(fib6_info<'m>) -> bool) -> fib6_info<'m> {
        let mut all = namespaces(k).flat_map(routes6);
        all.find(|info| is_it(*info))
            .expect("there is such a route")
    }
}

fn namespaces(k: &Memory) -> impl Iterator<Item = net<'_>> {
    let all = linux::net::namespaces(k, &mut linux::Faults::default());
    all.into_iter().map(|namespace| namespace.net())
}

fn all_tables(k: &Memory) -> impl Iterator<Item = fib_table<'_>> {
    namespaces(k).flat_map(tables)
}

fn root(table: fib_table<'_>) -> key_vector<'_> {
    let root = table.tb_data().cast::<key_vector<'_>>().deref();
    root.expect("the dump is sound")
}

/// The routes below a node of a trie.
fn aliases(node: key_vector<'_>) -> Vec<fib_alias<'_>> {
    let is_root = node.pos() >= 32;
    if !is_root && node.bits() == 0 {
        let all = node.leaf().entries(fib_alias::fa_list);
        return all.map(|alias| alias.expect("the dump is sound")).collect();
    }
    let count = if is_root { 1 } else { 1 << node.bits() };
    let below = node.tnode().array(count).expect("the dump is sound");
    let there = below.iter().filter(|child| !child.is_null());
    there
        .flat_map(|child| aliases(child.deref().expect("the dump is sound")))
        .collect()
}

/// The version of IP of a route's first gateway.
fn gateway_family(info: fib_info<'_>) -> Option<u8> {
    if !info.nh().is_null() {
        return None;
    }
    let hop = info.fib_nh().at(0).expect("the dump is sound");
    Some(hop.nh_common().nhc_gw_family())
}

/// The routes of table `main`.
fn routes6(net: net<'_>) -> Vec<fib6_info<'_>> {
    let table = net.ipv6().fib6_main_tbl().deref();
    let table: fib6_table<'_> = table.expect("IPv6 is on");
    let null = net.ipv6().fib6_null_entry().addr();
    let mut found = Vec::new();
    let mut stack: Vec<fib6_node<'_>> = vec![table.tb6_root()];
    while let Some(node) = stack.pop() {
        let routes = chain(Ok(node.leaf()), fib6_info::fib6_next);
        let routes = routes.map(|info| info.expect("the dump is sound"));
        // RTN_RTINFO
        if node.fn_flags() & 4 != 0 {
            found.extend(routes.filter(|info| info.addr() != null));
        }
        for child in [node.left(), node.right()] {
            stack.extend(child.deref_or_null().expect("the dump is sound"));
        }
    }
    found
}

/// A namespace's next hop objects.
fn objects(net: net<'_>) -> Vec<nexthop<'_>> {
    let all = net.nexthop().rb_root().entries(nexthop::rb_node);
    all.map(|object| object.expect("the dump is sound"))
        .collect()
}

/// The first group.
fn group(k: &Memory) -> nexthop<'_> {
    let mut all = namespaces(k).flat_map(objects);
    all.find(|object| object.is_group())
        .expect("there are groups")
}

/// The first neighbour whose hardware address is known (NUD_PERMANENT, NUD_REACHABLE or NUD_STALE).
fn reachable(k: &Memory) -> neighbour<'_> {
    let table = k.get(sym::arp_tbl).expect("it is there").nht().deref();
    let table = table.expect("it is there");
    let buckets = table.hash_buckets().array(1 << table.hash_shift());
    buckets
        .expect("it is there")
        .iter()
        .flat_map(|first| chain(Ok(first), neighbour::next))
        .map(|entry| entry.expect("the dump is sound"))
        .find(|entry| entry.nud_state() & (0x80 | 0x02 | 0x04) != 0)
        .expect("there are neighbours")
}

//! Damages of tables of routes, neighbours and tracked connections, and of what says where symbols are.

use std::os::unix::fs::FileExt as _;

use kernel::{
    fib_alias, fib_table, key_vector, neigh_hash_table, neighbour, net, nf_conntrack_tuple_hash,
    sym, tnode,
};
use kstruct::walk::chain;
use kstruct::{Fault, Memory, View as _, offset_of};

use super::Dump;

impl Dump<'_> {
    /// Damages one of the kernel's tables.
    pub fn plant_in_tables(&self, damage: &str) {
        let k = &self.memory();
        if let Some(line) = damage.strip_prefix("vmcoreinfo-") {
            return self.change_vmcoreinfo(line);
        }
        if let Some(damage) = damage.strip_prefix("filter-") {
            return self.plant_in_filters(damage);
        }
        if let Some(damage) = damage.strip_prefix("socket-") {
            return self.plant_in_sockets(damage);
        }
        if let Some(damage) = damage.strip_prefix("link-") {
            return self.plant_in_links(damage);
        }
        if let Some(damage) = damage.strip_prefix("route-") {
            return self.plant_in_routes(damage);
        }
        if let Some(damage) = damage.strip_prefix("qdisc-")
            && damage != "root"
        {
            return self.plant_in_qdiscs(damage);
        }
        let net = k.get(sym::init_net).expect("it is there");
        match damage {
            // Counters have no place; an interface has no queue.
            "mib" => {
                let offset = offset_of!(kernel::netns_mib, ip_statistics) as u64;
                self.change(net.mib().addr() + offset, |_| 0);
            }
            "qdisc-root" => {
                let offset = offset_of!(kernel::net_device, qdisc) as u64;
                self.change(net.loopback_dev().addr() + offset, |_| 0);
            }
            // One class more is counted than there is.
            "classes" => {
                let devices = net.dev_base_head().entries(kernel::net_device::dev_list);
                let mut roots = devices.map(|device| {
                    let root = device.and_then(|device| device.qdisc().deref());
                    root.expect("the dump is sound")
                });
                let is_htb = |root: &kernel::Qdisc<'_>| {
                    let ops = root.ops().deref().expect("it is there");
                    ops.id().to_string() == "htb"
                };
                let htb = roots.find(is_htb).expect("an interface has one");
                let own = htb.privdata().cast::<kernel::htb_sched<'_>>().deref();
                let hash = own.expect("it is there").clhash().addr();
                let place = hash + offset_of!(kernel::Qdisc_class_hash, hashelems) as u64;
                self.change(place, |old| old + 1);
            }
            // On the list of another one.
            "fib-list" => self.change(
                tables(net)[0].addr() + offset_of!(fib_table, tb_id) as u64,
                |old| old ^ 1,
            ),
            "fib-alias" => self.change_alias(net, offset_of!(fib_alias, tb_id), 4, 77),
            "fib-prefix" => self.change_alias(net, offset_of!(fib_alias, fa_slen), 1, 33),
            "fib6-null" => self.change(
                net.ipv6().addr() + offset_of!(kernel::netns_ipv6, fib_table_hash) as u64,
                |_| 0,
            ),
            // A list of tables is empty: that of `main`, to which a pointer leads; that of `local`, of which routes tell.
            "fib-main" => self.empty_list(net, 254),
            "fib-local" => self.empty_list(net, 255),
            // The pointer is another table's.
            "fib-pointer" => {
                let local = tables(net).into_iter().find(|table| table.tb_id() == 255);
                let local = local.expect("it is there").addr();
                let main = net.ipv4().addr() + offset_of!(kernel::netns_ipv4, fib_main) as u64;
                self.change(main, |_| local);
            }
            "fib6-main" => self.empty_list6(net, 254),
            "fib6-local" => self.empty_list6(net, 255),
            // A node without its first child; a leaf without routes.
            "fib-child" => self.change(first_child(net), |_| 0),
            "fib-leaf" => {
                let list = first_leaf(net).leaf();
                self.change(list.addr(), |_| 0);
            }
            // One bucket's neighbours are another one's.
            "neighbour-chains" => self.join_neighbours(k),
            // All lists lead to the same tables.
            "fib6-lists" => {
                let lists = net.ipv6().fib_table_hash().array(256).expect("it is there");
                let first = lists
                    .iter()
                    .map(|list| list.first().addr())
                    .find(|first| *first != 0);
                let first = first.expect("it has a table");
                for list in lists.iter().filter(|list| list.first().addr() != first) {
                    self.change(list.addr(), |_| first);
                }
            }
            // A bucket is empty whose neighbours are on no other list: they aren't given up when there are too many.
            "neighbour-bucket" => self.empty_bucket(k),
            // One that is there was not counted.
            "neighbour-count" => {
                let table = k.get(sym::arp_tbl).expect("it is there");
                let entries = table.entries().addr();
                self.change(entries, |old| old & !0xffff_ffff | (old & 0xffff_ffff) - 1);
            }
            // One bucket of many.
            "neighbours" => {
                let table = k.get(sym::arp_tbl).expect("it is there").nht().addr();
                let shift = table + offset_of!(neigh_hash_table, hash_shift) as u64;
                self.change(shift, |old| old & !0xffff_ffff);
            }
            "neighbours-more" => {
                let table = k.get(sym::arp_tbl).expect("it is there").nht().addr();
                let shift = table + offset_of!(neigh_hash_table, hash_shift) as u64;
                self.change(shift, |old| old & !0xffff_ffff | 16);
            }
            "conntrack" => self.cut_conntrack(k),
            _ => panic!("there is no damage {damage}"),
        }
    }

    /// Empties the list that has an IPv4 table, and no other.
    fn empty_list(&self, net: net<'_>, table: usize) {
        let lists = net.ipv4().fib_table_hash().array(256).expect("it is there");
        let list = lists.get(table).expect("it is there");
        assert!(!list.first().is_null());
        self.change(list.addr(), |_| 0);
    }

    /// The same for IPv6.
    fn empty_list6(&self, net: net<'_>, table: usize) {
        let lists = net.ipv6().fib_table_hash().array(256).expect("it is there");
        let list = lists.get(table).expect("it is there");
        assert!(!list.first().is_null());
        self.change(list.addr(), |_| 0);
    }

    /// Empties the first bucket of ARP's table that has permanent neighbours and no others.
    fn empty_bucket(&self, k: &Memory) {
        let table = k.get(sym::arp_tbl).expect("it is there").nht().deref();
        let table = table.expect("it is there");
        let buckets = table.hash_buckets().array(1 << table.hash_shift());
        let buckets = buckets.expect("it is there");
        let is_exempt = |entry: Result<neighbour<'_>, Fault>| {
            let list = entry.expect("the dump is sound").gc_list();
            list.next().addr() == list.addr()
        };
        let bucket = buckets
            .iter()
            .position(|first| !first.is_null() && chain(Ok(first), neighbour::next).all(is_exempt));
        let bucket = bucket.expect("there are permanent neighbours");
        let place = table.hash_buckets().addr() + bucket as u64 * 8;
        self.change(place, |_| 0);
    }

    /// Lets the first bucket that has neighbours lead to those of the second one.
    fn join_neighbours(&self, k: &Memory) {
        let table = k.get(sym::arp_tbl).expect("it is there").nht().deref();
        let table = table.expect("it is there");
        let buckets = table.hash_buckets().array(1 << table.hash_shift());
        let start = table.hash_buckets().addr();
        let mut used = buckets
            .expect("it is there")
            .iter()
            .enumerate()
            .filter(|(_, first)| !first.is_null());
        let (index, _) = used.next().expect("there are neighbours");
        let (_, other) = used.next().expect("there are more");
        self.change(start + index as u64 * 8, |_| other.addr());
    }

    /// Writes a member of the first route of the first table that has one.
    fn change_alias(&self, net: net<'_>, offset: usize, bytes: u32, value: u64) {
        let alias = first_leaf(net).leaf().entries(fib_alias::fa_list).next();
        let alias = alias.expect("it has a route").expect("the dump is sound");
        let place = alias.addr() + offset as u64;
        let mask = (1 << (8 * bytes)) - 1;
        self.change(place, |old| old & !mask | value);
    }

    /// Ends the first chain of connections with the end of another one.
    fn cut_conntrack(&self, k: &Memory) {
        let size = k.get(sym::nf_conntrack_htable_size).expect("it is there");
        let chains = k
            .get(sym::nf_conntrack_hash)
            .and_then(|chains| chains.array(size as usize));
        for (index, chain) in chains.expect("it is there").iter().enumerate() {
            let first = chain.entries(nf_conntrack_tuple_hash::hnnode).next();
            if let Some(first) = first {
                let node = first.expect("the dump is sound").hnnode();
                let other = (index as u64 ^ 1) << 1 | 1;
                self.change(node.addr(), |_| other);
                return;
            }
        }
        panic!("there are no connections");
    }

    /// Changes the last digit of a symbol's line of VMCOREINFO, or makes another name of it, wherever the file has it.
    fn change_vmcoreinfo(&self, line: &str) {
        let (is_address, name) = match line.strip_prefix("without-") {
            Some(name) => (false, name),
            None => (true, line),
        };
        let line = format!("SYMBOL({name})=");
        let mut file = vec![0; self.file.metadata().expect("it is a file").len() as usize];
        self.file
            .read_exact_at(&mut file, 0)
            .expect("it can be read");
        let places: Vec<usize> = memchr::memmem::find_iter(&file, &line).collect();
        assert!(!places.is_empty(), "{line}");
        for place in places {
            // The last but one of 16 digits: symbols may be aligned.
            let byte = if is_address {
                place + line.len() + 14
            } else {
                place + 7
            };
            let old = file[byte];
            if is_address && !old.is_ascii_hexdigit() {
                continue;
            }
            let new = if old == b'0' { b'4' } else { b'0' };
            self.file
                .write_all_at(&[new], byte as u64)
                .expect("it can be written");
            println!("{byte}");
        }
    }
}

/// A namespace's tables of IPv4.
pub fn tables(net: net<'_>) -> Vec<fib_table<'_>> {
    let lists = net.ipv4().fib_table_hash().array(256).expect("it is there");
    let tables = lists
        .iter()
        .flat_map(|list| list.entries(fib_table::tb_hlist));
    tables
        .map(|table| table.expect("the dump is sound"))
        .collect()
}

/// The first leaf of each table that has one.
fn first_leaves(net: net<'_>) -> impl Iterator<Item = key_vector<'_>> {
    tables(net).into_iter().filter_map(|table| {
        let root = table.tb_data().cast::<key_vector<'_>>().deref();
        leaf_below(root.expect("the dump is sound"), 0)
    })
}

fn first_leaf(net: net<'_>) -> key_vector<'_> {
    first_leaves(net).next().expect("there are routes")
}

/// The first leaf below a node of a trie.
fn leaf_below(node: key_vector<'_>, depth: u32) -> Option<key_vector<'_>> {
    assert!(depth < 40, "the dump is sound");
    if node.bits() == 0 && node.pos() < 32 {
        return Some(node);
    }
    let bits = if node.pos() >= 32 { 0 } else { node.bits() };
    let below = node.tnode().array(1 << bits).expect("the dump is sound");
    below
        .iter()
        .filter(|child| !child.is_null())
        .find_map(|child| leaf_below(child.deref().expect("the dump is sound"), depth + 1))
}

/// Where a leaf's parent leads to it, which isn't the trie's root: of the child of that nobody keeps a count.
fn first_child(net: net<'_>) -> u64 {
    let parent = |leaf: key_vector<'_>| {
        let around = leaf.addr() - offset_of!(tnode, kv) as u64;
        let around = tnode::at(leaf.memory(), around).expect("the dump is sound");
        around.parent().addr()
    };
    let mut leaves = first_leaves(net).map(|leaf| (leaf, parent(leaf)));
    let found = leaves.find_map(|(leaf, parent)| {
        let parent = key_vector::at(leaf.memory(), parent).expect("the dump is sound");
        (parent.pos() < 32).then_some((leaf, parent))
    });
    let (leaf, parent) = found.expect("a table has several routes");
    let children = parent.tnode().array(1 << parent.bits());
    let children = children.expect("the dump is sound");
    let place = children
        .iter()
        .position(|child| child.addr() == leaf.addr());
    parent.tnode().addr() + place.expect("it is there") as u64 * 8
}

//! Damages of tracked connections, of tables of rules, of sets and of hooks.

use kernel::{
    bucket_table, module, nf_conn, nf_conntrack_net, nf_conntrack_tuple_hash, nf_hook_entries,
    nft_set, nft_table, rhashtable, sym, xt_pernet, xt_table, xt_table_info, xt_target,
};
use kstruct::{Memory, Ptr, Symbol as _, View as _, offset_of};

use super::Dump;

/// Where FORWARD has its number among those of the hooks.
const FORWARD: usize = 2 * 4;

impl Dump<'_> {
    /// Damages what filters packets.
    pub fn plant_in_filters(&self, damage: &str) {
        let k = &self.memory();
        if let Some(module) = damage.strip_prefix("name-") {
            return self.rename(k, module);
        }
        match damage {
            "no-buckets" => self.change_number(size_of_table(k), |_| 0),
            "odd-buckets" => self.change_number(size_of_table(k), |old| old - 1),
            // Whole pages of buckets, of which there are more.
            "fewer-buckets" => self.change_number(size_of_table(k), |_| 512),
            "more-buckets" => self.change_number(size_of_table(k), |_| 0x10_0000),
            "expect-count" => {
                let id = k.get(sym::nf_conntrack_net_id).expect("it is there");
                let own: nf_conntrack_net<'_> = of_namespace(k, id);
                let place = own.addr() + offset_of!(nf_conntrack_net, expect_count) as u64;
                self.change_number(place, |old| old + 1);
            }
            "expect-size" => self.change_number(expect_size(k), |old| old - 1),
            "expect-buckets" => self.change_number(expect_size(k), |_| 0x10_0000),
            "valid-hooks" => {
                let place = table(k).addr() + offset_of!(xt_table, valid_hooks) as u64;
                self.change_number(place, |old| old & !4);
            }
            "table-name" => {
                let place = table(k).addr() + offset_of!(xt_table, name) as u64;
                self.change(place, |old| old ^ 1);
            }
            // It is the second one (`ipt_builtin_tg`).
            "error-target" => {
                let first = sym::ipt_builtin_tg.locate(k).expect("it is loaded");
                let member = xt_target::SIZE + offset_of!(xt_target, name);
                self.change(first + member as u64, |old| old ^ 1);
            }
            "count" => {
                let id = k.get(sym::nf_conntrack_net_id).expect("it is there");
                let own: nf_conntrack_net<'_> = of_namespace(k, id);
                self.change_number(own.count().addr(), |old| old - 1);
            }
            "namespace" => {
                let place = connection(k).ct_net().addr();
                self.change(place, |_| place);
            }
            "extension" => {
                let ext = connection(k).ext().deref().expect("it has some");
                let used = ext.offset().iter().position(|offset| offset != 0);
                let place = ext.addr() + used.expect("it has some") as u64;
                self.change(place, |old| old | 0xff);
            }
            "protocol" => self.change_reply(k, "protonum"),
            "family" => self.change_reply(k, "l3num"),
            "direction" => self.change_reply(k, "dir"),
            "hook-entry" => {
                self.change_rules(k, FORWARD + offset_of!(xt_table_info, hook_entry), 1)
            }
            "underflow" => self.change_rules(k, FORWARD + offset_of!(xt_table_info, underflow), 1),
            "entries" => self.change_rules(k, offset_of!(xt_table_info, number), 1),
            "no-rules" => {
                let size = rules(k).size();
                self.change_rules(k, offset_of!(xt_table_info, size), size);
            }
            "target" => {
                let first = rules(k).entries().addr();
                let head = kernel::ipt_entry::at(k, first).expect("the dump is sound");
                let place = first + u64::from(head.target_offset());
                self.change(place, |old| old & !0xffff | 8);
            }
            "no-key" => self.change_klen(set(k, "nft_rbtree_walk", 4), 0),
            "long-key" => self.change_klen(set(k, "nft_rbtree_walk", 4), 200),
            "short-key" => self.change_klen(set(k, "nft_rhash_walk", 1), 1),
            "elements" => {
                let root = kernel::nft_rbtree::at(k, set(k, "nft_rbtree_walk", 4).data().addr());
                let root = root.expect("the dump is sound").root().rb_node();
                let root = root.deref().expect("it has elements");
                let left = offset_of!(kernel::rb_node, rb_left) as u64;
                assert!(!root.rb_left().is_null());
                self.change(root.addr() + left, |_| 0);
            }
            "set-count" => {
                let table = hash_table(k);
                self.change_number(table.nelems().addr(), |old| old + 500);
            }
            "set-buckets" => {
                let size = offset_of!(bucket_table, size) as u64;
                self.change_number(hash_table(k).tbl().addr() + size, |old| old - 1);
            }
            "hooks" => self.change(hooks(k).addr(), |old| old - 1),
            "no-hooks" => self.change(hooks(k).addr(), |old| old & !0xffff),
            "no-function" => self.change(hooks(k).hooks().addr(), |_| 0),
            _ => panic!("there is no damage {damage}"),
        }
    }

    /// Changes a number of 4 bytes.
    fn change_number(&self, place: u64, new: impl Fn(u32) -> u32) {
        self.change(place, |old| old & !0xffff_ffff | u64::from(new(old as u32)));
    }

    /// Flips a bit of a module's name.
    fn rename(&self, k: &Memory, name: &str) {
        let mut modules = linux::symbols::modules(k).expect("it is there");
        let module = modules.find_map(|module| {
            let module = module.expect("the dump is sound");
            (module.name() == name).then_some(module)
        });
        let place = module.expect("it is loaded").addr() + offset_of!(module, name) as u64;
        self.change(place, |old| old ^ 1);
    }

    /// Flips a bit of a member of the tuple of answers.
    fn change_reply(&self, k: &Memory, member: &str) {
        let tuple = connection(k).tuplehash().get(1).expect("there are two");
        let (source, destination) = (tuple.tuple().src(), tuple.tuple().dst());
        let place = match member {
            "l3num" => place_of(source, member),
            _ => place_of(destination, member),
        };
        self.change(place, |old| old ^ 1);
    }

    /// Takes something from a number of the table of rules.
    fn change_rules(&self, k: &Memory, offset: usize, less: u32) {
        self.change_number(rules(k).addr() + offset as u64, |old| old - less);
    }

    fn change_klen(&self, set: nft_set<'_>, length: u64) {
        let place = set.addr() + offset_of!(nft_set, klen) as u64;
        self.change(place, |old| old & !0xff | length);
    }
}

/// Where a member is.
fn place_of<'m, T: kstruct::View<'m>>(of: T, member: &str) -> u64 {
    of.addr() + T::INFO.offset_of(member) as u64
}

fn size_of_table(k: &Memory) -> u64 {
    let place = sym::nf_conntrack_htable_size.locate(k);
    place.expect("it is loaded")
}

fn expect_size(k: &Memory) -> u64 {
    let place = sym::nf_ct_expect_hsize.locate(k);
    place.expect("it is loaded")
}

/// What a module has for the initial namespace.
fn of_namespace<'m, T: kstruct::View<'m>>(k: &'m Memory, id: u32) -> T {
    let net = k.get(sym::init_net).expect("it is there");
    let table = net.gen_().deref().expect("it is there").addr();
    let place = k.word(table + u64::from(id) * 8).expect("it is there");
    T::at(k, place).expect("the dump is sound")
}

/// The first connection of the table that has extensions.
fn connection(k: &Memory) -> nf_conn<'_> {
    let size = k.get(sym::nf_conntrack_htable_size).expect("it is there");
    let chains = k
        .get(sym::nf_conntrack_hash)
        .and_then(|chains| chains.array(size as usize));
    let chains = chains.expect("it is there");
    let entries = chains
        .iter()
        .flat_map(|chain| chain.entries(nf_conntrack_tuple_hash::hnnode));
    let originals = entries
        .map(|entry| entry.expect("the dump is sound"))
        .filter(|entry| entry.tuple().dst().dir() == 0);
    let first = nf_conn::phantom(k).tuplehash().addr();
    let mut connections = originals.map(|entry| {
        let start = entry.addr().wrapping_sub(first);
        nf_conn::at(k, start).expect("the dump is sound")
    });
    connections
        .find(|connection| !connection.ext().is_null())
        .expect("there are connections")
}

/// IPv4's table `filter`.
fn table(k: &Memory) -> xt_table<'_> {
    let id = k.get(sym::xt_pernet_id).expect("it is there");
    let own: xt_pernet<'_> = of_namespace(k, id);
    let list = own.tables().get(2).expect("it is there");
    let mut tables = list
        .entries(xt_table::list)
        .map(|table| table.expect("the dump is sound"));
    let table = tables.find(|table| table.name() == "filter");
    table.expect("it is there")
}

/// Its rules.
fn rules(k: &Memory) -> xt_table_info<'_> {
    let info = table(k).private();
    let info: Ptr<'_, xt_table_info<'_>> = info.cast();
    info.deref().expect("the dump is sound")
}

/// The first set with so many elements that a function walks.
fn set<'m>(k: &'m Memory, walk: &str, least: i32) -> nft_set<'m> {
    let names = linux::symbols::Names::of(k);
    let id = k.get(sym::nf_tables_net_id).expect("it is there");
    for net in k
        .get(sym::net_namespace_list)
        .expect("it is there")
        .entries(kernel::net::list)
    {
        let table = net.expect("the dump is sound").gen_().deref();
        let place = table.expect("it is there").addr() + u64::from(id) * 8;
        let own = kernel::nftables_pernet::at(k, k.word(place).expect("it is there"));
        let own = own.expect("the dump is sound");
        let tables = own.tables().entries(nft_table::list);
        let mut sets = tables
            .flat_map(|table| {
                table
                    .expect("the dump is sound")
                    .sets()
                    .entries(nft_set::list)
            })
            .map(|set| set.expect("the dump is sound"));
        let found = sets.find(|set| {
            let ops = set.ops().deref().expect("the dump is sound");
            let name = names.beginning(ops.walk().addr());
            name.is_some_and(|name| name.name == walk) && set.nelems().value() >= least
        });
        if let Some(found) = found {
            return found;
        }
    }
    panic!("there is no set of {walk}");
}

fn hash_table(k: &Memory) -> rhashtable<'_> {
    let own = kernel::nft_rhash::at(k, set(k, "nft_rhash_walk", 1).data().addr());
    own.expect("the dump is sound").ht()
}

/// The first list of several functions at hooks of IPv4.
fn hooks(k: &Memory) -> nf_hook_entries<'_> {
    let net = k.get(sym::init_net).expect("it is there");
    let lists = net.nf().hooks_ipv4();
    let mut lists = lists
        .iter()
        .filter(|list| !list.is_null())
        .map(|list| list.deref().expect("the dump is sound"));
    lists
        .find(|list| list.num_hook_entries() > 1)
        .expect("there are hooks")
}

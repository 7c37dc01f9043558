//! Damages of single words of queueing disciplines, their classes and their filters.

use kernel::{
    Qdisc, Qdisc_class_common, Qdisc_class_hash, clsact_sched_data, fq_codel_sched_data,
    fq_sched_data, gnet_stats_queue, hfsc_class, hfsc_sched, htb_class, htb_sched, net, net_device,
    netdev_queue, prio_sched_data, psched_ratecfg, qdisc_skb_head, sfq_sched_data, sym, tcf_block,
    tcf_proto,
};
use kstruct::{Fault, Memory, View, offset_of};

use super::Dump;

impl Dump<'_> {
    /// Damages the first discipline, class or filter for which it makes a difference.
    pub fn plant_in_qdiscs(&self, damage: &str) {
        let k = &self.memory();
        match damage {
            "hashsize" => {
                let hash = htb(k).clhash().addr();
                self.write(
                    hash + offset_of!(Qdisc_class_hash, hashsize) as u64,
                    4,
                    1 << 20,
                );
            }
            "hashmask" => {
                let hash = htb(k).clhash().addr();
                self.change(
                    hash + offset_of!(Qdisc_class_hash, hashmask) as u64,
                    |old| old ^ 1,
                );
            }
            "flags" => {
                let qdisc = of_kind(k, "htb").addr();
                self.write(qdisc + offset_of!(Qdisc, flags) as u64, 4, 0xffff_ffff);
            }
            // A root is hidden; one that counts per CPU says that it doesn't.
            "hidden" => {
                let qdisc = of_kind(k, "htb").addr();
                self.change(qdisc + offset_of!(Qdisc, flags) as u64, |old| old | 0x80);
            }
            "per-cpu" => {
                let qdisc = of_kind(k, "pfifo_fast").addr();
                self.change(qdisc + offset_of!(Qdisc, flags) as u64, |old| old & !0x20);
            }
            "level" => {
                let class = leaf(k).addr();
                self.write(class + offset_of!(htb_class, level) as u64, 4, 5);
            }
            "depth" => {
                let class = inner(k).addr();
                self.write(class + offset_of!(htb_class, level) as u64, 4, 77);
            }
            // They are their own parents.
            "parent" => {
                let class = leaf(k).addr();
                self.change(class + offset_of!(htb_class, parent) as u64, |_| class);
            }
            "hfsc-parent" => {
                let root = own::<hfsc_sched<'_>>(k, "hfsc").root();
                let class = root.children().entries(hfsc_class::siblings).next();
                let class = class.expect("it has classes").expect("the dump is sound");
                let place = class.addr() + offset_of!(hfsc_class, cl_parent) as u64;
                self.change(place, |_| class.addr());
            }
            "id-minor" => self.change_id(k, |id| id & 0xffff_0000),
            "id-major" => self.change_id(k, |id| id ^ 0x0010_0000),
            // It is another one's.
            "id-twice" => {
                let other = inner(k).common().classid();
                self.change_id(k, |_| other);
            }
            // It is nobody's, but belongs in another bucket.
            "id-bucket" => self.change_id(k, |id| id ^ 1),
            "rate" => {
                let rate = leaf(k).rate().addr();
                self.change(
                    rate + offset_of!(psched_ratecfg, rate_bytes_ps) as u64,
                    |_| 0,
                );
            }
            "ceil" => {
                let ceil = leaf(k).ceil().addr();
                self.change(
                    ceil + offset_of!(psched_ratecfg, rate_bytes_ps) as u64,
                    |_| 0,
                );
            }
            // It is of another discipline's class.
            "leaf" => {
                let below = leaf(k).leaf().q().addr();
                self.change(below + offset_of!(Qdisc, parent) as u64, |old| {
                    old ^ 0x1_0000
                });
            }
            // Of one whose packets are always looked at, and of one whose are if they are wanted.
            "qlen" => self.change_length(k, "pfifo"),
            "qlen-wanted" => self.change_length(k, "netem"),
            "backlog" => {
                let stats = of_kind(k, "netem").qstats().addr();
                let place = stats + offset_of!(gnet_stats_queue, backlog) as u64;
                self.change(place, |old| old ^ 0x100);
            }
            "priority" => {
                let proto = filter(k).addr();
                self.write(proto + offset_of!(tcf_proto, prio) as u64, 4, 0);
            }
            "flows" => {
                let q = own::<fq_codel_sched_data<'_>>(k, "fq_codel").addr();
                self.write(q + offset_of!(fq_codel_sched_data, flows_cnt) as u64, 4, 0);
            }
            "bands" => {
                let q = own::<prio_sched_data<'_>>(k, "prio").addr();
                self.write(q + offset_of!(prio_sched_data, bands) as u64, 4, 1);
            }
            "divisor" => {
                let q = own::<sfq_sched_data<'_>>(k, "sfq").addr();
                self.write(q + offset_of!(sfq_sched_data, divisor) as u64, 4, 1000);
            }
            "buckets" => {
                let q = own::<fq_sched_data<'_>>(k, "fq").addr();
                self.write(q + offset_of!(fq_sched_data, fq_trees_log) as u64, 1, 40);
            }
            "block" => {
                let q = own::<clsact_sched_data<'_>>(k, "clsact");
                let egress = q.egress_block().addr();
                self.change(egress + offset_of!(tcf_block, index) as u64, |old| old ^ 1);
            }
            "queue" => {
                let queue = devices(k).find_map(|device| device._tx().deref().ok());
                let queue = queue.expect("an interface has one").addr();
                self.change(queue + offset_of!(netdev_queue, qdisc) as u64, |_| 0);
            }
            _ => panic!("there is no damage {damage}"),
        }
    }

    /// Changes the number of a class without children.
    fn change_id(&self, k: &Memory, new: impl Fn(u32) -> u32) {
        let common = leaf(k).common();
        let place = common.addr() + offset_of!(Qdisc_class_common, classid) as u64;
        self.write(place, 4, new(common.classid()).into());
    }

    /// One that waits more is counted than there is.
    fn change_length(&self, k: &Memory, kind: &str) {
        let queue = of_kind(k, kind).q().addr();
        let place = queue + offset_of!(qdisc_skb_head, qlen) as u64;
        self.change(place, |old| old + 1);
    }
}

/// All interfaces of all namespaces.
fn devices(k: &Memory) -> impl Iterator<Item = net_device<'_>> {
    let namespaces = k.get(sym::net_namespace_list).expect("it is there");
    let devices = namespaces.entries(net::list).flat_map(|net| {
        let net = net.expect("the dump is sound");
        net.dev_base_head().entries(net_device::dev_list)
    });
    devices.map(|device| device.expect("the dump is sound"))
}

/// All disciplines: of each interface its root, those below, and that of ingress.
fn all(k: &Memory) -> impl Iterator<Item = Qdisc<'_>> {
    let found = devices(k).flat_map(|device| {
        let lists = device.qdisc_hash();
        let mut found: Vec<Result<Qdisc<'_>, Fault>> = vec![device.qdisc().deref()];
        found.extend(lists.iter().flat_map(|list| list.entries(Qdisc::hash)));
        if let Ok(queue) = device.ingress_queue().deref() {
            found.push(queue.qdisc_sleeping().deref());
        }
        found
    });
    found.map(|qdisc| qdisc.expect("the dump is sound"))
}

fn of_kind<'m>(k: &'m Memory, kind: &str) -> Qdisc<'m> {
    let is_it = |qdisc: &Qdisc<'m>| {
        let ops = qdisc.ops().deref().expect("the dump is sound");
        ops.id() == kind
    };
    all(k).find(is_it).expect("an interface has one")
}

/// What the first discipline of a kind has of its own.
fn own<'m, T: View<'m>>(k: &'m Memory, kind: &str) -> T {
    let own = of_kind(k, kind).privdata().cast::<T>().deref();
    own.expect("it is there")
}

fn htb(k: &Memory) -> htb_sched<'_> {
    own(k, "htb")
}

/// The first class of htb that is so.
fn class<'m>(k: &'m Memory, is_it: impl Fn(htb_class<'m>) -> bool) -> htb_class<'m> {
    let hash = htb(k).clhash();
    let buckets = hash.hash().array(hash.hashsize() as usize);
    let buckets = buckets.expect("the dump is sound");
    let member = |class: htb_class<'m>| class.common().hnode();
    let classes = buckets.iter().flat_map(|bucket| bucket.entries(member));
    let mut classes = classes.map(|class| class.expect("the dump is sound"));
    classes
        .find(|class| is_it(*class))
        .expect("there is such a class")
}

/// One without children that has a parent.
fn leaf(k: &Memory) -> htb_class<'_> {
    class(k, |class| {
        class.children() == 0 && !class.parent().is_null()
    })
}

/// One with children.
fn inner(k: &Memory) -> htb_class<'_> {
    class(k, |class| class.children() != 0)
}

/// The first filters of htb.
fn filter(k: &Memory) -> tcf_proto<'_> {
    let block = htb(k).block().deref().expect("the dump is sound");
    let chain = block.chain_list().entries(kernel::tcf_chain::list).next();
    let chain = chain.expect("it has filters").expect("the dump is sound");
    let first = chain.filter_chain().deref();
    first.expect("it has filters")
}

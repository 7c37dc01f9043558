//! Classes of disciplines: those that `tc class show` shows, with the numbers that it shows.
//!
//! A discipline's own are walked as its `walk` of net/sched does, and shown as its `dump_class` and `dump_class_stats` do. What hangs below
//! a class is another discipline (`leaf`), of the interface's list.

#[cfg(kernel_has = "htb_class.common")]
use std::collections::HashMap;
#[cfg(any(
    kernel_has = "htb_class.common",
    kernel_has = "hfsc_class.cl_common",
    kernel_has = "drr_class.common"
))]
use std::collections::HashSet;

use kernel::{Qdisc, net_device};
use kstruct::{Fault, Ptr, View as _, walk};
use linux::Faults;
use serde::Serialize;

use super::imp::{Counters, is_per_cpu};
use super::units::class_id;
use super::{Discipline, is_placeholder, private};
use linux::details::Details;

/// A class, or what takes the place of one: a band of `prio`, a queue of `mq`, a flow of `fq_codel` with packets.
#[derive(Debug, Default, Serialize)]
pub struct Class {
    /// Of the discipline: `htb`.
    pub kind: String,
    /// `1:10`
    pub handle: String,
    /// `root`, or another class, or the discipline: `1:1`, `1:`.
    pub parent: String,
    /// The discipline below it: `10:`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaf: Option<String>,
    /// Where the class is; of what is no struct of its own, where the discipline is.
    #[serde(serialize_with = "linux::app::hex")]
    pub address: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// Packets sent.
    pub packets: u64,
    /// Packets dropped.
    pub drops: u64,
    /// How often a packet had to wait for its rate.
    pub overlimits: u64,
    /// Packets that the driver handed back.
    pub requeues: u64,
    /// Bytes that wait.
    pub backlog: u64,
    /// Packets that wait.
    pub qlen: u64,
    /// Named as in `tc -s -d -j class show`.
    #[serde(skip_serializing_if = "Details::is_empty")]
    pub options: Details,
    /// Counters beyond those that all have.
    #[serde(skip_serializing_if = "Details::is_empty")]
    pub statistics: Details,
}

impl Class {
    fn new(parent: &Discipline, handle: u32, address: u64) -> Self {
        Class {
            kind: parent.kind.clone(),
            handle: class_id(handle),
            parent: parent.handle.clone(),
            address,
            ..Class::default()
        }
    }

    fn count(&mut self, counters: &Counters) {
        self.bytes = counters.bytes;
        self.packets = counters.packets;
        self.drops = counters.drops.into();
        self.overlimits = counters.overlimits.into();
        self.requeues = counters.requeues.into();
        self.backlog = counters.backlog.into();
        self.qlen = counters.qlen.into();
    }

    /// The numbers of the discipline below it, which are the class's own.
    fn count_leaf(&mut self, leaf: Qdisc<'_>, cpus: &[u32]) -> Result<(), Fault> {
        self.leaf = leaf_of(leaf);
        let mut counters = Counters::default();
        counters.add(leaf, cpus)?;
        counters.qlen = queue_length(leaf, cpus)?;
        self.count(&counters);
        Ok(())
    }
}

/// How the name of a leaf is made: without a handle of its own it isn't shown.
fn leaf_of(leaf: Qdisc<'_>) -> Option<String> {
    Some(leaf.handle())
        .filter(|handle| *handle != 0)
        .map(super::handle)
}

/// Packets that wait (`qdisc_qlen_sum`, include/net/sch_generic.h).
fn queue_length(qdisc: Qdisc<'_>, cpus: &[u32]) -> Result<u32, Fault> {
    let mut length = qdisc.qstats().qlen();
    if !is_per_cpu(qdisc) {
        return Ok(length.wrapping_add(qdisc.q().qlen()));
    }
    for cpu in cpus {
        length = length.wrapping_add(qdisc.cpu_qstats().on_cpu(*cpu)?.deref()?.qlen());
    }
    Ok(length)
}

/// The classes of a discipline in the order of `tc class show`.
pub fn classes<'m>(
    parent: &Discipline,
    device: net_device<'m>,
    qdisc: Qdisc<'m>,
    cpus: &[u32],
    faults: &mut Faults,
) -> Vec<Class> {
    let mut out = Vec::new();
    let walk = Walk {
        parent,
        qdisc,
        cpus,
    };
    let ended = match parent.kind.as_str() {
        #[cfg(kernel_has = "htb_class.common")]
        "htb" => walk.htb(&mut out, faults),
        #[cfg(kernel_has = "hfsc_class.cl_common")]
        "hfsc" => walk.hfsc(&mut out, faults),
        #[cfg(kernel_has = "drr_class.common")]
        "drr" => walk.drr(&mut out, faults),
        #[cfg(kernel_has = "prio_sched_data.prio2band")]
        "prio" => walk.prio(&mut out, faults),
        #[cfg(kernel_has = "tbf_sched_data.rate.rate_bytes_ps")]
        "tbf" => walk.only(&mut out, faults, |qdisc| {
            Ok(private::<kernel::tbf_sched_data<'_>>(qdisc)
                .deref()?
                .qdisc())
        }),
        #[cfg(kernel_has = "red_sched_data.parms")]
        "red" => walk.only(&mut out, faults, |qdisc| {
            Ok(private::<kernel::red_sched_data<'_>>(qdisc)
                .deref()?
                .qdisc())
        }),
        #[cfg(kernel_has = "netem_sched_data.slot_config")]
        "netem" => walk.only(&mut out, faults, |qdisc| {
            Ok(private::<kernel::netem_sched_data<'_>>(qdisc)
                .deref()?
                .qdisc())
        }),
        "mq" => walk.queues(&mut out, device, faults),
        #[cfg(kernel_has = "mqprio_sched.mode")]
        "mqprio" => walk.mqprio(&mut out, device, faults),
        #[cfg(kernel_has = "fq_codel_sched_data.memory_limit")]
        "fq_codel" => walk.fq_codel(&mut out),
        #[cfg(kernel_has = "sfq_sched_data.maxdepth")]
        "sfq" => walk.sfq(&mut out),
        #[cfg(kernel_has = "cake_sched_data.rate_mpu")]
        "cake" => walk.cake(&mut out),
        _ => Ok(()),
    };
    faults.check(
        format_args!("classes of {} {}", parent.kind, parent.handle),
        ended,
    );
    out
}

struct Walk<'a, 'm> {
    parent: &'a Discipline,
    qdisc: Qdisc<'m>,
    cpus: &'a [u32],
}

/// Queues and buckets are numbered with 16 bits.
const MOST_BUCKETS: usize = 1 << 16;

/// If more classes of a discipline are wrong in the same way, the others say no more.
#[cfg(any(
    kernel_has = "htb_class.common",
    kernel_has = "hfsc_class.cl_common",
    kernel_has = "drr_class.common"
))]
const MOST_TOLD: usize = 10;

/// The bucket of a class (`qdisc_class_hash`, include/net/sch_generic.h).
#[cfg(any(
    kernel_has = "htb_class.common",
    kernel_has = "hfsc_class.cl_common",
    kernel_has = "drr_class.common"
))]
fn bucket_of(mut id: u32, mask: u32) -> u32 {
    id ^= id >> 8;
    id ^= id >> 4;
    id & mask
}

impl<'m> Walk<'_, 'm> {
    /// The entries of a hash of classes, bucket by bucket (`struct Qdisc_class_hash`).
    #[cfg(any(
        kernel_has = "htb_class.common",
        kernel_has = "hfsc_class.cl_common",
        kernel_has = "drr_class.common"
    ))]
    fn hashed<T: kstruct::View<'m>>(
        &self,
        hash: kernel::Qdisc_class_hash<'m>,
        member: impl Fn(T) -> kernel::Qdisc_class_common<'m> + Copy,
        faults: &mut Faults,
    ) -> Result<Vec<T>, Fault> {
        /// Half as many again as classes can be: it grows when three quarters of it are used (`qdisc_class_hash_grow`).
        const MOST: u32 = 1 << 17;
        let before = faults.count();
        let what = &format!("classes of {} {}", self.parent.kind, self.parent.handle);
        let (size, mask) = (hash.hashsize(), hash.hashmask());
        let is_sound = size.is_power_of_two() && mask == size - 1 && size <= MOST;
        faults.require(is_sound, what, hash.addr());
        let buckets = if is_sound {
            size
        } else {
            // Which of them is wrong isn't known: so many there are.
            size.min(mask.saturating_add(1)).min(MOST)
        };
        let mut found = Vec::new();
        let (mut places, mut ids) = (HashSet::new(), HashSet::new());
        let mut misplaced = Vec::new();
        for (index, bucket) in hash.hash().array(buckets as usize)?.iter().enumerate() {
            for class in bucket.entries(move |class: T| member(class).hnode()) {
                let Some(class) = faults.check(what, class) else {
                    continue;
                };
                let id = member(class).classid();
                let is_new = places.insert(class.addr());
                let holds = is_new
                    && ids.insert(id)
                    && id >> 16 == self.qdisc.handle() >> 16
                    && (!is_sound || bucket_of(id, mask) as usize == index);
                if !holds {
                    misplaced.push((id, class.addr()));
                }
                if is_new {
                    found.push(class);
                }
            }
        }
        if misplaced.len() > 1 && misplaced.len() == found.len() {
            // It isn't all of them that are wrong.
            faults.require(false, format_args!("handle of {what}"), self.qdisc.addr());
        } else {
            for (id, address) in misplaced.into_iter().take(MOST_TOLD) {
                faults.require(false, self.what("id", id), address);
            }
        }
        // Some may be lost without a break in a chain.
        if faults.count() == before {
            let holds = found.len() == hash.hashelems() as usize;
            faults.require(holds, what, hash.addr());
        }
        Ok(found)
    }

    /// How what a class has is called: `level of htb class 1:10`.
    fn what(&self, what: &str, id: u32) -> String {
        format!("{what} of {} class {}", self.parent.kind, class_id(id))
    }

    /// That the discipline below a class says so (`qdisc_create`, `qdisc_create_dflt`), unless it is the one that is below all who have none. Before
    /// 6.14 one could be put below another class than it was made for, and went on naming that one.
    fn check_leaf(&self, class: u32, leaf: Qdisc<'m>, faults: &mut Faults) {
        let holds = leaf.parent() >> 16 == class >> 16 || is_placeholder(leaf);
        faults.require(holds, self.what("leaf", class), leaf.addr());
    }

    /// `htb_walk`, `htb_dump_class`, `htb_dump_class_stats`.
    #[cfg(kernel_has = "htb_class.common")]
    fn htb(&self, out: &mut Vec<Class>, faults: &mut Faults) -> Result<(), Fault> {
        let q = private::<kernel::htb_sched<'m>>(self.qdisc).deref()?;
        let before = faults.count();
        let classes = self.hashed(q.clhash(), kernel::htb_class::common, faults)?;
        let are_all = faults.count() == before;
        let mut children: HashMap<u64, u32> =
            classes.iter().map(|class| (class.addr(), 0)).collect();
        for class in &classes {
            if let Some(count) = children.get_mut(&class.parent().addr()) {
                *count += 1;
            }
        }
        for class in classes {
            self.check_htb(class, are_all.then_some(&children), faults);
            let row = self.htb_class(class, faults);
            out.extend(faults.check(format_args!("htb class {:#x}", class.addr()), row));
        }
        Ok(())
    }

    /// Where a class is in the tree, and what it is given (`htb_change_class`): one with children is a level below its parent, and a root at
    /// the highest level; one without is at level 0. With that, no class is above itself.
    #[cfg(kernel_has = "htb_class.common")]
    fn check_htb(
        &self,
        class: kernel::htb_class<'m>,
        all: Option<&HashMap<u64, u32>>,
        faults: &mut Faults,
    ) {
        /// `TC_HTB_MAXDEPTH` and `TC_HTB_NUMPRIO`, include/uapi/linux/pkt_sched.h.
        const DEPTH: i64 = 8;
        const PRIORITIES: i64 = 8;
        let (id, address) = (class.common().classid(), class.addr());
        let mut require = |holds, what| faults.require(holds, self.what(what, id), address);
        // One that can't be read is counted with the class.
        if let Ok(parent) = class.parent().deref_or_null() {
            let level = i64::from(class.level());
            let above = parent.map_or(DEPTH, |parent| i64::from(parent.level()));
            let holds = match class.children() {
                0 => level == 0 && above > 0,
                _ => level > 0 && level == above - 1,
            };
            require(holds, "level");
            if let Some(all) = all {
                let is_known = parent.is_none_or(|parent| all.contains_key(&parent.addr()));
                require(is_known, "parent");
                let counted = i64::from(class.children());
                let found = all.get(&address).copied().map(i64::from);
                require(found == Some(counted), "children");
            }
        }
        require(class.rate().rate_bytes_ps() != 0, "rate");
        require(class.ceil().rate_bytes_ps() != 0, "ceil");
        let is_leaf = class.level() == 0;
        require(
            !is_leaf || (0..PRIORITIES).contains(&i64::from(class.prio())),
            "prio",
        );
        // HTB_CAN_SEND is the last.
        require(class.cmode().0 <= 2, "mode");
    }

    #[cfg(kernel_has = "htb_class.common")]
    fn htb_class(&self, class: kernel::htb_class<'m>, faults: &mut Faults) -> Result<Class, Fault> {
        use super::rates::{burst, lengths, rate, ticks};

        let mut row = Class::new(self.parent, class.common().classid(), class.addr());
        row.parent = match class.parent().deref_or_null()? {
            Some(parent) => class_id(parent.common().classid()),
            None => "root".into(),
        };
        let mut counters = Counters::default();
        counters.add_basic(class.bstats());
        counters.drops = class.drops();
        counters.overlimits = class.overlimits();
        // Those with children have something else there.
        if class.level() == 0
            && class.children() == 0
            && let Some(leaf) = class.leaf().q().deref_or_null()?
        {
            self.check_leaf(class.common().classid(), leaf, faults);
            row.leaf = leaf_of(leaf);
            let mut below = Counters::default();
            below.add(leaf, self.cpus)?;
            counters.backlog = below.backlog;
            counters.qlen = queue_length(leaf, self.cpus)?;
            row.options.set("prio", class.prio());
            row.options.set("quantum", class.quantum());
        }
        row.count(&counters);
        let (guaranteed, most) = (class.rate(), class.ceil());
        rate(&mut row.options, "rate", guaranteed);
        lengths(&mut row.options, guaranteed);
        rate(&mut row.options, "ceil", most);
        row.options
            .set("burst", burst(guaranteed.rate_bytes_ps(), class.buffer()))
            .set("cburst", burst(most.rate_bytes_ps(), class.cbuffer()))
            .set("level", class.level());
        let stats = class.xstats();
        // `htb_dump_class_stats`: what a slow class may still send can take longer than 32 bits of ticks say.
        let tokens = |nanoseconds| ticks(nanoseconds).clamp(i32::MIN.into(), i32::MAX.into());
        row.statistics
            .set("lended", stats.lends())
            .set("borrowed", stats.borrows())
            .set("giants", stats.giants())
            .set("tokens", tokens(class.tokens()))
            .set("ctokens", tokens(class.ctokens()));
        // HTB_CANT_SEND and so on: whether it waits for its rate.
        row.statistics.set(
            "mode",
            match class.cmode().0 {
                0 => "cant_send",
                1 => "may_borrow",
                _ => "can_send",
            },
        );
        Ok(row)
    }

    /// `hfsc_walk`, `hfsc_dump_class`, `hfsc_dump_class_stats`.
    #[cfg(kernel_has = "hfsc_class.cl_common")]
    fn hfsc(&self, out: &mut Vec<Class>, faults: &mut Faults) -> Result<(), Fault> {
        let q = private::<kernel::hfsc_sched<'m>>(self.qdisc).deref()?;
        let before = faults.count();
        let classes = self.hashed(q.clhash(), kernel::hfsc_class::cl_common, faults)?;
        let all: HashSet<u64> = classes.iter().map(|class| class.addr()).collect();
        let all = (faults.count() == before).then_some(&all);
        for class in classes {
            self.check_hfsc(class, q.root().addr(), all, faults);
            let row = self.hfsc_class(class, faults);
            out.extend(faults.check(format_args!("hfsc class {:#x}", class.addr()), row));
        }
        Ok(())
    }

    /// Where a class is in the tree (`hfsc_adjust_levels`): at level 0 if it has no children, and below its parent. With that, no class is
    /// above itself.
    #[cfg(kernel_has = "hfsc_class.cl_common")]
    fn check_hfsc(
        &self,
        class: kernel::hfsc_class<'m>,
        root: u64,
        all: Option<&HashSet<u64>>,
        faults: &mut Faults,
    ) {
        /// `HFSC_RSC | HFSC_FSC | HFSC_USC`
        const FLAGS: u8 = 7;
        let (id, address) = (class.cl_common().classid(), class.addr());
        let mut require = |holds, what| faults.require(holds, self.what(what, id), address);
        // One that can't be read is counted with the class.
        if let Ok(parent) = class.cl_parent().deref_or_null() {
            let children = class.children();
            let is_leaf = children.next().addr() == children.addr();
            let is_below = parent.is_none_or(|parent| class.level() < parent.level());
            require(is_leaf == (class.level() == 0) && is_below, "level");
            let is_known = match (parent, all) {
                (None, _) => address == root,
                (Some(parent), Some(all)) => all.contains(&parent.addr()),
                (Some(_), None) => true,
            };
            require(is_known, "parent");
        }
        require(class.cl_flags() & !FLAGS == 0, "curves");
    }

    #[cfg(kernel_has = "hfsc_class.cl_common")]
    fn hfsc_class(
        &self,
        class: kernel::hfsc_class<'m>,
        faults: &mut Faults,
    ) -> Result<Class, Fault> {
        let mut row = Class::new(self.parent, class.cl_common().classid(), class.addr());
        row.parent = match class.cl_parent().deref_or_null()? {
            Some(parent) => class_id(parent.cl_common().classid()),
            None => "root".into(),
        };
        let mut counters = Counters::default();
        counters.add_basic(class.bstats());
        counters.add_queue(class.qstats());
        if class.level() == 0
            && let Some(leaf) = class.qdisc().deref_or_null()?
        {
            self.check_leaf(class.cl_common().classid(), leaf, faults);
            row.leaf = leaf_of(leaf);
            let mut below = Counters::default();
            below.add(leaf, self.cpus)?;
            counters.backlog = below.backlog;
            counters.qlen = queue_length(leaf, self.cpus)?;
        }
        row.count(&counters);
        /// `HFSC_RSC`, `HFSC_FSC`, `HFSC_USC`.
        const CURVES: [(&str, u8); 3] = [("rt", 1), ("ls", 2), ("ul", 4)];
        let curves = [class.cl_rsc(), class.cl_fsc(), class.cl_usc()];
        for ((name, flag), curve) in CURVES.into_iter().zip(curves) {
            if class.cl_flags() & flag != 0 {
                row.options.set(name, hfsc_curve(curve));
            }
        }
        row.options.set("level", class.level());
        row.statistics
            .set("period", class.cl_vtperiod())
            .set("work", class.cl_total())
            .set("rtwork", class.cl_cumul());
        Ok(row)
    }

    /// `drr_walk`, `drr_dump_class`, `drr_dump_class_stats`.
    #[cfg(kernel_has = "drr_class.common")]
    fn drr(&self, out: &mut Vec<Class>, faults: &mut Faults) -> Result<(), Fault> {
        let q = private::<kernel::drr_sched<'m>>(self.qdisc).deref()?;
        for class in self.hashed(q.clhash(), kernel::drr_class::common, faults)? {
            let row = self.drr_class(class, faults);
            out.extend(faults.check(format_args!("drr class {:#x}", class.addr()), row));
        }
        Ok(())
    }

    #[cfg(kernel_has = "drr_class.common")]
    fn drr_class(&self, class: kernel::drr_class<'m>, faults: &mut Faults) -> Result<Class, Fault> {
        let id = class.common().classid();
        let mut row = Class::new(self.parent, id, class.addr());
        row.parent = "root".into();
        // Without one nobody would ever get a turn.
        faults.require(class.quantum() != 0, self.what("quantum", id), class.addr());
        let leaf = class.qdisc().deref()?;
        self.check_leaf(id, leaf, faults);
        let mut counters = Counters::default();
        counters.add(leaf, self.cpus)?;
        counters.bytes = 0;
        counters.packets = 0;
        counters.add_basic(class.bstats());
        counters.qlen = queue_length(leaf, self.cpus)?;
        row.count(&counters);
        row.leaf = leaf_of(leaf);
        row.options.set("quantum", class.quantum());
        let deficit = if counters.qlen == 0 {
            0
        } else {
            class.deficit()
        };
        row.statistics.set("deficit", deficit);
        Ok(row)
    }

    /// `prio_walk`, `prio_dump_class`, `prio_dump_class_stats`.
    #[cfg(kernel_has = "prio_sched_data.prio2band")]
    fn prio(&self, out: &mut Vec<Class>, faults: &mut Faults) -> Result<(), Fault> {
        let q = private::<kernel::prio_sched_data<'m>>(self.qdisc).deref()?;
        let bands = usize::try_from(q.bands()).unwrap_or(0);
        for (index, leaf) in q.queues().iter().take(bands).enumerate() {
            out.push(self.below(index as u32 + 1, leaf, faults)?);
        }
        Ok(())
    }

    /// A class that is no more than a discipline below this one.
    fn below(
        &self,
        minor: u32,
        leaf: Ptr<'m, Qdisc<'m>>,
        faults: &mut Faults,
    ) -> Result<Class, Fault> {
        let handle = self.qdisc.handle() | minor;
        let mut row = Class::new(self.parent, handle, self.qdisc.addr());
        let leaf = leaf.deref()?;
        self.check_leaf(handle, leaf, faults);
        row.count_leaf(leaf, self.cpus)?;
        Ok(row)
    }

    /// Disciplines with one class, number 1: `tbf_walk`, `red_walk`, `netem_walk`. They have no counters of it.
    #[cfg(any(
        kernel_has = "tbf_sched_data.rate.rate_bytes_ps",
        kernel_has = "red_sched_data.parms",
        kernel_has = "netem_sched_data.slot_config"
    ))]
    fn only(
        &self,
        out: &mut Vec<Class>,
        faults: &mut Faults,
        leaf: impl FnOnce(Qdisc<'m>) -> Result<Ptr<'m, Qdisc<'m>>, Fault>,
    ) -> Result<(), Fault> {
        let handle = self.qdisc.handle() | 1;
        let mut row = Class::new(self.parent, handle, self.qdisc.addr());
        // netem has none below it until it is given one.
        let leaf = leaf(self.qdisc)?.deref_or_null()?;
        if leaf.is_none() && self.parent.kind == "netem" {
            return Ok(());
        }
        if let Some(leaf) = leaf {
            // They take any minor number for that of their class (`tbf_find`).
            let is_below = leaf.parent() >> 16 == handle >> 16 || is_placeholder(leaf);
            faults.require(is_below, self.what("leaf", handle), leaf.addr());
        }
        row.leaf = leaf.and_then(leaf_of);
        out.push(row);
        Ok(())
    }

    /// `mq_walk`, `mq_dump_class`, `mq_dump_class_stats`: the interface's transmit queues.
    fn queues(
        &self,
        out: &mut Vec<Class>,
        device: net_device<'m>,
        faults: &mut Faults,
    ) -> Result<(), Fault> {
        // Queues are numbered with 16 bits.
        let queues = linux::net::transmit_queues(device)?;
        for (index, queue) in queues.iter().take(MOST_BUCKETS).enumerate() {
            let mut row = self.below(index as u32 + 1, queue.qdisc_sleeping(), faults)?;
            row.parent = "root".into();
            out.push(row);
        }
        Ok(())
    }

    /// `mqprio_walk`, `mqprio_dump_class`, `mqprio_dump_class_stats`: classes of traffic, and behind them the queues, of which each is below
    /// its class.
    #[cfg(kernel_has = "mqprio_sched.mode")]
    fn mqprio(
        &self,
        out: &mut Vec<Class>,
        device: net_device<'m>,
        faults: &mut Faults,
    ) -> Result<(), Fault> {
        /// `TC_H_MIN_PRIORITY`, include/uapi/linux/pkt_sched.h.
        const FIRST_CLASS: u32 = 0xffe0;
        let queues = linux::net::transmit_queues(device)?;
        let classes = usize::try_from(i64::from(device.num_tc())).unwrap_or(0);
        for (index, range) in device.tc_to_txq().iter().take(classes).enumerate() {
            let handle = self.qdisc.handle() | (FIRST_CLASS + index as u32);
            let mut row = Class::new(self.parent, handle, self.qdisc.addr());
            row.parent = "root".into();
            let mut counters = Counters::default();
            let of_class = queues
                .iter()
                .skip(range.offset().into())
                .take(range.count().into());
            for queue in of_class {
                let leaf = queue.qdisc_sleeping().deref()?;
                let before = counters.qlen;
                counters.add(leaf, self.cpus)?;
                counters.qlen = before.wrapping_add(queue_length(leaf, self.cpus)?);
            }
            row.count(&counters);
            out.push(row);
        }
        for (index, queue) in queues.iter().take(MOST_BUCKETS).enumerate() {
            let mut row = self.below(index as u32 + 1, queue.qdisc_sleeping(), faults)?;
            let class = device.tc_to_txq().iter().take(classes).position(|range| {
                let first = usize::from(range.offset());
                (first..first + usize::from(range.count())).contains(&index)
            });
            row.parent = match class {
                Some(class) => class_id(self.qdisc.handle() | (FIRST_CLASS + class as u32)),
                None => "root".into(),
            };
            out.push(row);
        }
        Ok(())
    }

    /// `fq_codel_walk`, `fq_codel_dump_class_stats`: flows that are on a list.
    #[cfg(kernel_has = "fq_codel_sched_data.memory_limit")]
    fn fq_codel(&self, out: &mut Vec<Class>) -> Result<(), Fault> {
        /// More than it may be configured with.
        const MOST: usize = 65536;
        let q = private::<kernel::fq_codel_sched_data<'m>>(self.qdisc).deref()?;
        let count = (q.flows_cnt() as usize).min(MOST);
        let backlogs = q.backlogs().array(count)?;
        for (index, flow) in q.flows().array(count)?.iter().enumerate() {
            let chain = flow.flowchain();
            if chain.next().addr() == chain.addr() {
                continue;
            }
            // Behind the last flow there are none.
            if chain.next().deref()?.prev().addr() != chain.addr() {
                return Err(Fault {
                    address: flow.addr(),
                    kind: kstruct::FaultKind::Inconsistent,
                });
            }
            let mut row = self.flow(index);
            row.qlen = chain_length(flow.head())?;
            row.backlog = backlogs.get(index).unwrap_or_default().into();
            let variables = flow.cvars();
            row.statistics
                .set("deficit", flow.deficit())
                .set("count", variables.count())
                .set("lastcount", variables.lastcount())
                .set(
                    "ldelay",
                    super::units::codel_microseconds(variables.ldelay()),
                )
                .flag("dropping", variables.dropping());
            out.push(row);
        }
        Ok(())
    }

    /// A flow by its number, which is its class's number less one.
    fn flow(&self, index: usize) -> Class {
        let handle = self.qdisc.handle() | (index as u32 + 1) & 0xffff;
        Class::new(self.parent, handle, self.qdisc.addr())
    }

    /// `sfq_walk`, `sfq_dump_class_stats`: buckets with packets.
    #[cfg(kernel_has = "sfq_sched_data.maxdepth")]
    fn sfq(&self, out: &mut Vec<Class>) -> Result<(), Fault> {
        /// `SFQ_EMPTY_SLOT`, net/sched/sch_sfq.c, where the index has 16 bits.
        const EMPTY: u16 = 0xffff;
        let q = private::<kernel::sfq_sched_data<'m>>(self.qdisc).deref()?;
        // One that can't be is counted with the options.
        if !super::own::is_divisor(q.divisor()) {
            return Ok(());
        }
        let divisor = q.divisor() as usize;
        for (index, slot) in q.ht().array(divisor)?.iter().enumerate() {
            if slot == EMPTY {
                continue;
            }
            if u32::from(slot) >= q.maxflows() {
                return Err(Fault {
                    address: q.ht().addr(),
                    kind: kstruct::FaultKind::OutOfRange,
                });
            }
            let slot = q.slots().at(slot.into())?;
            let mut row = self.flow(index);
            row.qlen = slot.qlen().into();
            row.backlog = slot.backlog().into();
            row.statistics.set("allot", slot.allot());
            out.push(row);
        }
        Ok(())
    }

    /// `cake_walk`, `cake_dump_class_stats`: flows that are on a list.
    #[cfg(kernel_has = "cake_sched_data.rate_mpu")]
    fn cake(&self, out: &mut Vec<Class>) -> Result<(), Fault> {
        /// `CAKE_MAX_TINS`
        const MOST_TINS: usize = 8;
        let q = private::<kernel::cake_sched_data<'m>>(self.qdisc).deref()?;
        let order = q.tin_order();
        let tins = order.array(usize::from(q.tin_cnt()).min(MOST_TINS))?;
        for (tin, number) in tins.iter().enumerate() {
            let data = q.tins().at(number.into())?;
            let flows = data.flows();
            for (index, flow) in flows.iter().enumerate() {
                let chain = flow.flowchain();
                if chain.next().addr() == chain.addr() {
                    continue;
                }
                let mut row = self.flow(tin * flows.len() + index);
                row.qlen = chain_length(flow.head())?;
                row.backlog = data.backlogs().get(index).unwrap_or_default().into();
                row.drops = flow.dropped().into();
                let variables = flow.cvars();
                row.statistics
                    .set("deficit", flow.deficit())
                    .set("count", variables.count())
                    .flag("dropping", variables.dropping())
                    .set("blue_prob", variables.p_drop());
                out.push(row);
            }
        }
        Ok(())
    }
}

/// How many packets there are from this one on.
#[cfg(any(
    kernel_has = "fq_codel_sched_data.memory_limit",
    kernel_has = "cake_sched_data.rate_mpu"
))]
fn chain_length<'m>(first: Ptr<'m, kernel::sk_buff<'m>>) -> Result<u64, Fault> {
    let mut length = 0;
    for packet in walk::chain(Ok(first), |packet: kernel::sk_buff<'m>| packet.next()) {
        packet?;
        length += 1;
    }
    Ok(length)
}

/// A service curve in bytes a second and microseconds (`sm2m`, `dx2d`, net/sched/sch_hfsc.c).
#[cfg(kernel_has = "hfsc_class.cl_common")]
fn hfsc_curve(curve: kernel::internal_sc<'_>) -> Details {
    use linux::details::Value;

    /// Ticks of 64 ns in a second; slopes are kept in parts of a byte for each.
    const TICKS: u128 = 15_625_000;
    const SHIFT: u32 = 24;
    let slope = |sm: u64| ((u128::from(sm) * TICKS) >> SHIFT) as u64;
    let mut details = Details::new();
    details
        .set("m1", Value::Rate(slope(curve.sm1())))
        .set(
            "d",
            Value::Time((u128::from(curve.dx()) * 1_000_000 / TICKS) as u64),
        )
        .set("m2", Value::Rate(slope(curve.sm2())));
    details
}

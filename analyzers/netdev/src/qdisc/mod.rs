//! Queueing disciplines: those that `tc qdisc` shows, with the numbers that it shows.

use std::fmt::Display;

use kernel::{Qdisc, net_device};
use kstruct::{Fault, Ptr, View as _};
use serde::Serialize;

use linux::Faults;
use linux::time::Clock;

use crate::Part;

#[cfg(kernel_has = "net_device.qdisc_hash")]
use class::Class;
#[cfg(kernel_has = "net_device.qdisc_hash")]
use linux::details::Details;

#[cfg(kernel_has = "net_device.qdisc_hash")]
mod class;
#[cfg(kernel_has = "net_device.qdisc_hash")]
mod filter;
#[cfg(kernel_has = "net_device.qdisc_hash")]
mod own;
#[cfg(kernel_has = "net_device.qdisc_hash")]
mod packets;
#[cfg(any(
    test,
    kernel_has = "htb_class.common",
    kernel_has = "tbf_sched_data.rate.rate_bytes_ps",
    kernel_has = "tcf_police_params.tcfp_burst"
))]
mod rates;
#[cfg(any(test, kernel_has = "net_device.qdisc_hash"))]
pub mod units;

/// A queueing discipline of an interface.
#[derive(Debug, Serialize)]
pub struct Discipline {
    /// `fq_codel`
    pub kind: String,
    /// As tc writes it: `10:`.
    pub handle: String,
    /// `root`, or the class that it belongs to: `1:10`; `ffff:fff1` for ingress.
    pub parent: String,
    /// The numbers of the blocks of filters that it shares with others.
    #[cfg(kernel_has = "net_device.qdisc_hash")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress_block: Option<u32>,
    #[cfg(kernel_has = "net_device.qdisc_hash")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress_block: Option<u32>,
    /// The `Qdisc`.
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
    /// References to it; tc shows those of roots only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refcnt: Option<i32>,
    /// Packets that wait in each band, where the discipline has bands of its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bands: Vec<u64>,
    /// Named as in `tc -s -d -j qdisc show`, and in its units.
    #[cfg(kernel_has = "net_device.qdisc_hash")]
    #[serde(skip_serializing_if = "Details::is_empty")]
    pub options: Details,
    /// Counters beyond those that all have, named in the same way.
    #[cfg(kernel_has = "net_device.qdisc_hash")]
    #[serde(skip_serializing_if = "Details::is_empty")]
    pub statistics: Details,
    /// As `tc class show` has them.
    #[cfg(kernel_has = "net_device.qdisc_hash")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<Class>,
    /// As `tc filter show` has them.
    #[cfg(all(
        kernel_has = "net_device.qdisc_hash",
        kernel_has = "tcf_block.chain_list"
    ))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<filter::Filter>,
    /// Those that wait in the discipline itself, if they were asked for.
    #[cfg(kernel_has = "net_device.qdisc_hash")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<packets::Packet>,
}

/// `TC_H_ROOT`, include/uapi/linux/pkt_sched.h.
const ROOT: u32 = 0xffff_ffff;
/// `TCQ_F_BUILTIN`, include/net/sch_generic.h: `noop` and the like, which tc does not show.
const BUILTIN: u32 = 1;

/// `10:`
pub fn handle(handle: u32) -> String {
    format!("{:x}:", handle >> 16)
}

/// `1:10`, or `root`: also for a root that the kernel attached by itself, which in old kernels has no parent.
fn parent(parent: u32) -> String {
    match parent {
        ROOT | 0 => "root".into(),
        parent => format!("{:x}:{:x}", parent >> 16, parent & 0xffff),
    }
}

/// The private part of a discipline.
fn private<T>(qdisc: Qdisc<'_>) -> Ptr<'_, T> {
    #[cfg(kernel_has = "Qdisc.privdata")]
    {
        qdisc.privdata().cast()
    }
    #[cfg(not(kernel_has = "Qdisc.privdata"))]
    {
        // Behind the struct: aligned to 64 bytes since 2.6.24 (QDISC_ALIGNTO), to 32 before.
        const ALIGN: u64 = if cfg!(kernel_has = "Qdisc.dev_queue") {
            64
        } else {
            32
        };
        let size = (Qdisc::SIZE as u64).next_multiple_of(ALIGN);
        Ptr::new(qdisc.memory(), qdisc.addr().wrapping_add(size))
    }
}

/// The disciplines of an interface in the order of `tc qdisc` (`tc_dump_qdisc`, net/sched/sch_api.c). Options, classes,
/// filters and packets are read if they are among the parts that are wanted.
pub fn disciplines(
    device: net_device<'_>,
    cpus: &[u32],
    clock: Clock,
    parts: &[Part],
    faults: &mut Faults,
) -> Vec<Discipline> {
    let mut out = Vec::new();
    let name = device.name();
    #[cfg(kernel_has = "net_device.qdisc_hash")]
    if parts.contains(&Part::Qdiscs) || parts.contains(&Part::Queues) {
        imp::check_queues(device, faults);
    }
    for qdisc in attached(device, faults) {
        let discipline = imp::read(device, qdisc, cpus);
        let what = format_args!("qdisc {:#x} of {name}", qdisc.addr());
        let Some(mut discipline) = faults.check(what, discipline) else {
            continue;
        };
        detail(&mut discipline, device, qdisc, cpus, clock, parts, faults);
        out.push(discipline);
    }
    out
}

#[cfg(kernel_has = "net_device.qdisc_hash")]
fn detail(
    discipline: &mut Discipline,
    device: net_device<'_>,
    qdisc: Qdisc<'_>,
    cpus: &[u32],
    clock: Clock,
    parts: &[Part],
    faults: &mut Faults,
) {
    let name = device.name();
    let is_wanted = parts.contains(&Part::Packets);
    if is_wanted || parts.contains(&Part::Qdiscs) && packets::is_plain(&discipline.kind) {
        let what = format_args!("packets of qdisc {:#x} of {name}", qdisc.addr());
        let mut waiting = Vec::new();
        let read = packets::packets(&discipline.kind, qdisc, &mut waiting);
        // A running kernel sends while it is looked at.
        if let Some(true) = faults.check(what, read)
            && !qdisc.memory().dump().is_live()
        {
            // Disciplines without a lock count apart from what they do: each CPU may be about to.
            let unlocked = if imp::is_per_cpu(qdisc) {
                cpus.len()
            } else {
                0
            };
            let holds = packets::are_counted(&waiting, discipline, unlocked as u64);
            faults.require(holds, what, qdisc.addr());
        }
        if is_wanted {
            discipline.waiting = waiting;
        }
    }
    if !parts.contains(&Part::Qdiscs) {
        return;
    }
    // Without the rate some options are missing.
    let own = own::read(&discipline.kind, device, qdisc, clock.hz.unwrap_or(0));
    let what = format_args!("options of qdisc {:#x} of {name}", qdisc.addr());
    if let Some(own) = faults.check(what, own) {
        for option in own.refused {
            faults.require(
                false,
                format_args!("{option} of qdisc {:#x} of {name}", qdisc.addr()),
                qdisc.addr(),
            );
        }
        discipline.options = own.options;
        discipline.statistics = own.statistics;
        discipline.ingress_block = own.ingress_block;
        discipline.egress_block = own.egress_block;
    }
    discipline.classes = class::classes(discipline, device, qdisc, cpus, faults);
    #[cfg(kernel_has = "tcf_block.chain_list")]
    {
        discipline.filters = filter::filters(discipline, device, qdisc, cpus, clock, faults);
    }
}

#[cfg(not(kernel_has = "net_device.qdisc_hash"))]
fn detail(
    _: &mut Discipline,
    _: net_device<'_>,
    _: Qdisc<'_>,
    _: &[u32],
    _: Clock,
    _: &[Part],
    _: &mut Faults,
) {
}

/// The root, what hangs below it, and the one for ingress.
fn attached<'m>(device: net_device<'m>, faults: &mut Faults) -> Vec<Qdisc<'m>> {
    let name = device.name();
    let mut out = Vec::new();
    let root = faults.check(format_args!("qdisc of {name}"), imp::root(device));
    // Without a root that can be read there are still the others.
    let root = root.flatten();
    if let Some(root) = root
        && is_shown(root, &name, faults)
    {
        out.push(root);
    }
    for qdisc in imp::children(device) {
        let Some(qdisc) = faults.check(format_args!("qdiscs of {name}"), qdisc) else {
            continue;
        };
        let is_root = root.is_some_and(|root| root.addr() == qdisc.addr());
        if !is_root && is_shown(qdisc, &name, faults) {
            out.push(qdisc);
        }
    }
    let ingress = faults.check(
        format_args!("ingress qdisc of {name}"),
        imp::ingress(device),
    );
    if let Some(Some(ingress)) = ingress
        && is_shown(ingress, &name, faults)
    {
        out.push(ingress);
    }
    out
}

/// Whether tc shows a discipline. One whose flags can't be is shown: whether it is hidden isn't known.
fn is_shown(qdisc: Qdisc<'_>, device: &impl Display, faults: &mut Faults) -> bool {
    let holds = imp::has_sound_flags(qdisc);
    let what = format_args!("flags of qdisc {:#x} of {device}", qdisc.addr());
    faults.require(holds, what, qdisc.addr());
    !holds || imp::is_visible(qdisc)
}

/// Whether a discipline is of a kind that isn't attached but stands where there is none. What can't be read is not.
fn is_placeholder(qdisc: Qdisc<'_>) -> bool {
    let ops = qdisc.ops().deref();
    ops.is_ok_and(|ops| ops.id() == "noop" || ops.id() == "noqueue")
}

/// Kernels with transmit queues (2.6.27 and later).
#[cfg(kernel_has = "net_device.qdisc_hash")]
mod imp {
    use super::{
        BUILTIN, Discipline, Fault, Qdisc, ROOT, handle, is_placeholder, net_device, parent,
        private,
    };
    use linux::Faults;
    use linux::counter::Counter as _;
    use linux::net::transmit_queues;

    use kstruct::View as _;

    /// `TCQ_F_CPUSTATS` and `TCQ_F_INVISIBLE`, include/net/sch_generic.h.
    const CPU_STATS: u32 = 0x20;
    const INVISIBLE: u32 = 0x80;

    /// All `TCQ_F_*`: up to `TCQ_F_DEQUEUE_DROPS`, and `TCQ_F_WARN_NONWC`. Kernels to come may have what is between.
    const FLAGS: u32 = 0x1_ffff;

    pub fn is_visible(qdisc: Qdisc<'_>) -> bool {
        qdisc.flags() & (BUILTIN | INVISIBLE) == 0
    }

    /// Whether the kernel may have given it these flags: a root is never hidden (`qdisc_hash_add`), and who counts per CPU has what to count
    /// in (`qdisc_alloc`).
    pub fn has_sound_flags(qdisc: Qdisc<'_>) -> bool {
        let flags = qdisc.flags();
        let counts = !qdisc.cpu_bstats().is_null() && !qdisc.cpu_qstats().is_null();
        flags & !FLAGS == 0
            && (flags & BUILTIN == 0 || is_placeholder(qdisc))
            && (flags & INVISIBLE == 0 || qdisc.parent() != ROOT)
            && (flags & CPU_STATS != 0) == counts
    }

    /// Whether it has counters per CPU. If its flags can't be, the pointers tell.
    pub fn is_per_cpu(qdisc: Qdisc<'_>) -> bool {
        if has_sound_flags(qdisc) {
            qdisc.flags() & CPU_STATS != 0
        } else {
            !qdisc.cpu_qstats().is_null()
        }
    }

    /// Of each transmit queue, that its discipline is the one that it was given, or `noop_qdisc` while the interface is down
    /// (`dev_init_scheduler`, `dev_deactivate_queue`).
    pub fn check_queues(device: net_device<'_>, faults: &mut Faults) {
        let name = device.name();
        // Who lists queues counts that they can't be read.
        let queues = transmit_queues(device).into_iter().flat_map(|queues| {
            (0..queues.len()).filter_map(move |index| Some((index, queues.get(index)?)))
        });
        // One that isn't the interface's is behind its last one, which is counted where queues are shown.
        for (index, queue) in queues.take_while(|(_, queue)| queue.dev().addr() == device.addr()) {
            let what = format_args!("qdisc of transmit queue {index} of {name}");
            let given = faults.check(what, queue.qdisc_sleeping().deref());
            let active = faults.check(what, queue.qdisc().deref());
            if let (Some(given), Some(active)) = (given, active) {
                let holds = active.addr() == given.addr() || active.flags() & BUILTIN != 0;
                faults.require(holds, what, queue.addr());
            }
        }
    }

    pub fn root(device: net_device<'_>) -> Result<Option<Qdisc<'_>>, Fault> {
        // It is `noop_qdisc` where there is none (`dev_init_scheduler`).
        device.qdisc().deref().map(Some)
    }

    pub fn children(device: net_device<'_>) -> impl Iterator<Item = Result<Qdisc<'_>, Fault>> {
        let buckets = device.qdisc_hash();
        (0..buckets.len())
            .filter_map(move |index| buckets.get(index))
            .flat_map(|bucket| bucket.entries(Qdisc::hash))
    }

    pub fn ingress(device: net_device<'_>) -> Result<Option<Qdisc<'_>>, Fault> {
        match device.ingress_queue().deref_or_null()? {
            Some(queue) => queue.qdisc_sleeping().deref_or_null(),
            None => Ok(None),
        }
    }

    #[derive(Default)]
    pub struct Counters {
        pub bytes: u64,
        pub packets: u64,
        pub drops: u32,
        pub overlimits: u32,
        pub requeues: u32,
        pub backlog: u32,
        pub qlen: u32,
    }

    impl Counters {
        /// `gnet_stats_add_basic` and `gnet_stats_add_queue`, net/core/gen_stats.c: per-CPU counters where there are any.
        pub fn add(&mut self, qdisc: Qdisc<'_>, cpus: &[u32]) -> Result<(), Fault> {
            let per_cpu = is_per_cpu(qdisc);
            if per_cpu && !qdisc.cpu_bstats().is_null() {
                for cpu in cpus {
                    self.add_basic(qdisc.cpu_bstats().on_cpu(*cpu)?.deref()?);
                }
            } else {
                self.add_basic(qdisc.bstats());
            }
            if per_cpu && !qdisc.cpu_qstats().is_null() {
                for cpu in cpus {
                    self.add_queue(qdisc.cpu_qstats().on_cpu(*cpu)?.deref()?);
                }
            } else {
                self.add_queue(qdisc.qstats());
            }
            Ok(())
        }

        pub fn add_basic(&mut self, stats: kernel::gnet_stats_basic_sync<'_>) {
            self.bytes += stats.bytes().count();
            self.packets += stats.packets().count();
        }

        pub fn add_queue(&mut self, stats: kernel::gnet_stats_queue<'_>) {
            self.qlen = self.qlen.wrapping_add(stats.qlen());
            self.backlog = self.backlog.wrapping_add(stats.backlog());
            self.drops = self.drops.wrapping_add(stats.drops());
            self.requeues = self.requeues.wrapping_add(stats.requeues());
            self.overlimits = self.overlimits.wrapping_add(stats.overlimits());
        }
    }

    pub fn read<'m>(
        device: net_device<'m>,
        qdisc: Qdisc<'m>,
        cpus: &[u32],
    ) -> Result<Discipline, Fault> {
        let ops = qdisc.ops().deref()?;
        let kind = ops.id();
        let mut counters = Counters::default();
        if kind == "mq" || kind == "mqprio" {
            // They have no queue of their own; asked for numbers, they add up those of the transmit queues (mq_dump).
            for queue in transmit_queues(device)?.iter() {
                let child = queue.qdisc_sleeping().deref()?;
                counters.add(child, cpus)?;
                counters.qlen = counters.qlen.wrapping_add(child.q().qlen());
            }
        } else {
            counters.add(qdisc, cpus)?;
            // `qdisc_qlen_sum`: what waits is counted per CPU only by disciplines without a lock.
            if !is_per_cpu(qdisc) {
                counters.qlen = qdisc.qstats().qlen().wrapping_add(qdisc.q().qlen());
            } else {
                counters.qlen = counters.qlen.wrapping_add(qdisc.qstats().qlen());
            }
        }
        #[cfg(kernel_has = "htb_sched.overlimits")]
        if kind == "htb" {
            // Copied to the common counters only when someone asks (htb_dump).
            counters.overlimits = private::<kernel::htb_sched<'_>>(qdisc)
                .deref()?
                .overlimits();
        }
        #[cfg(not(kernel_has = "htb_sched.overlimits"))]
        let _ = private::<()>;
        Ok(Discipline {
            kind: kind.to_string(),
            handle: handle(qdisc.handle()),
            parent: parent(qdisc.parent()),
            ingress_block: None,
            egress_block: None,
            address: qdisc.addr(),
            bytes: counters.bytes,
            packets: counters.packets,
            drops: counters.drops.into(),
            overlimits: counters.overlimits.into(),
            requeues: counters.requeues.into(),
            backlog: counters.backlog.into(),
            qlen: counters.qlen.into(),
            refcnt: Some(qdisc.refcnt().value()),
            bands: Vec::new(),
            options: super::Details::new(),
            statistics: super::Details::new(),
            classes: Vec::new(),
            #[cfg(kernel_has = "tcf_block.chain_list")]
            filters: Vec::new(),
            waiting: Vec::new(),
        })
    }
}

/// Kernels in which an interface has one queue and a list of disciplines.
#[cfg(not(kernel_has = "net_device.qdisc_hash"))]
mod imp {
    use super::{
        BUILTIN, Discipline, Fault, Qdisc, handle, is_placeholder, net_device, parent, private,
    };

    use kstruct::{Array, View as _};

    /// Bands of `pfifo_fast` (net/sched/sch_generic.c).
    const FIFO_BANDS: usize = 3;

    /// All `TCQ_F_*`: `TCQ_F_BUILTIN`, `TCQ_F_THROTTLED`, `TCQ_F_INGRES`, and `TCQ_F_WARN_NONWC` of later ones.
    const FLAGS: u32 = 0x1_0007;

    pub fn is_visible(qdisc: Qdisc<'_>) -> bool {
        qdisc.flags() & BUILTIN == 0
    }

    pub fn has_sound_flags(qdisc: Qdisc<'_>) -> bool {
        let flags = qdisc.flags();
        flags & !FLAGS == 0 && (flags & BUILTIN == 0 || is_placeholder(qdisc))
    }

    pub fn root(device: net_device<'_>) -> Result<Option<Qdisc<'_>>, Fault> {
        device.qdisc_sleeping().deref_or_null()
    }

    pub fn children(device: net_device<'_>) -> impl Iterator<Item = Result<Qdisc<'_>, Fault>> {
        let ingress = device.qdisc_ingress().addr();
        device
            .qdisc_list()
            .entries(Qdisc::list)
            .filter(move |qdisc| !matches!(qdisc, Ok(qdisc) if qdisc.addr() == ingress))
    }

    pub fn ingress(device: net_device<'_>) -> Result<Option<Qdisc<'_>>, Fault> {
        device.qdisc_ingress().deref_or_null()
    }

    pub fn read<'m>(_: net_device<'m>, qdisc: Qdisc<'m>, _: &[u32]) -> Result<Discipline, Fault> {
        let kind = qdisc.ops().deref()?.id();
        let stats = qdisc.stats();
        let bands = if kind == "pfifo_fast" {
            let bands: Array<'m, kernel::sk_buff_head<'m>> = private(qdisc).array(FIFO_BANDS)?;
            bands.iter().map(|band| band.qlen().into()).collect()
        } else {
            Vec::new()
        };
        Ok(Discipline {
            kind: kind.to_string(),
            handle: handle(qdisc.handle()),
            parent: parent(qdisc.parent()),
            address: qdisc.addr(),
            bytes: stats.bytes(),
            packets: stats.packets().into(),
            drops: stats.drops().into(),
            overlimits: stats.overlimits().into(),
            requeues: 0,
            backlog: stats.backlog().into(),
            qlen: qdisc.q().qlen().into(),
            refcnt: None,
            bands,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{handle, parent};

    #[test]
    fn handles_are_written_as_tc_does() {
        assert_eq!(handle(0x0010_0000), "10:");
        assert_eq!(handle(0), "0:");
        assert_eq!(parent(0xffff_ffff), "root");
        assert_eq!(parent(0xffff_fff1), "ffff:fff1");
        assert_eq!(parent(0x0001_0010), "1:10");
    }
}

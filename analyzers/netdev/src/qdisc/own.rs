//! What a discipline of each kind has of its own: its options, and counters beyond those that all have.
//!
//! Names and units are those of `tc -s -d -j qdisc show`. Each function says by its name whose `dump` and `dump_stats` of net/sched it
//! follows.

use kernel::{Qdisc, net_device};
use kstruct::Fault;

use super::private;
use super::units::codel_microseconds;
use linux::details::Details;

/// Options and counters.
#[derive(Debug, Default)]
pub struct Own {
    pub options: Details,
    pub statistics: Details,
    /// Blocks of filters that it shares with others.
    pub ingress_block: Option<u32>,
    pub egress_block: Option<u32>,
    /// What has a value that the kernel would have refused.
    pub refused: Vec<&'static str>,
}

impl Own {
    /// Notes what a discipline's `init` or `change` takes no other values for.
    fn require(&mut self, holds: bool, what: &'static str) {
        if !holds {
            self.refused.push(what);
        }
    }
}

/// Those of one discipline. Kinds that are not known, or whose module these bindings don't have, have none.
pub fn read(kind: &str, device: net_device<'_>, qdisc: Qdisc<'_>, hz: u64) -> Result<Own, Fault> {
    let mut own = Own::default();
    match kind {
        "pfifo" | "bfifo" | "pfifo_head_drop" => {
            own.options.set("limit", qdisc.limit());
        }
        "pfifo_fast" => pfifo_fast(&mut own),
        #[cfg(kernel_has = "fq_codel_sched_data.memory_limit")]
        "fq_codel" => fq_codel(qdisc, &mut own)?,
        #[cfg(kernel_has = "codel_sched_data.params")]
        "codel" => codel(qdisc, &mut own)?,
        #[cfg(kernel_has = "fq_sched_data.timer_slack")]
        "fq" => fq(qdisc, hz, &mut own)?,
        #[cfg(kernel_has = "htb_sched.direct_qlen")]
        "htb" => htb(qdisc, &mut own)?,
        #[cfg(kernel_has = "tbf_sched_data.rate.rate_bytes_ps")]
        "tbf" => tbf(qdisc, &mut own)?,
        #[cfg(kernel_has = "prio_sched_data.prio2band")]
        "prio" => prio(qdisc, &mut own)?,
        #[cfg(kernel_has = "netem_sched_data.slot_config")]
        "netem" => netem(qdisc, &mut own)?,
        #[cfg(kernel_has = "red_sched_data.parms")]
        "red" => red(qdisc, &mut own)?,
        #[cfg(kernel_has = "sfq_sched_data.maxdepth")]
        "sfq" => sfq(qdisc, hz, &mut own)?,
        #[cfg(kernel_has = "hfsc_sched.defcls")]
        "hfsc" => {
            let hfsc = private::<kernel::hfsc_sched<'_>>(qdisc).deref()?;
            if hfsc.defcls() != 0 {
                own.options.set("default", format!("{:#x}", hfsc.defcls()));
            }
        }
        #[cfg(kernel_has = "cake_sched_data.rate_mpu")]
        "cake" => cake(qdisc, &mut own)?,
        #[cfg(kernel_has = "mqprio_sched.mode")]
        "mqprio" => mqprio(device, qdisc, &mut own)?,
        #[cfg(kernel_has = "ingress_sched_data.block_info")]
        "ingress" => {
            let q = private::<kernel::ingress_sched_data<'_>>(qdisc).deref()?;
            own.ingress_block = shared_block(q.block_info(), q.block(), &mut own)?;
        }
        #[cfg(kernel_has = "clsact_sched_data.egress_block_info")]
        "clsact" => {
            let q = private::<kernel::clsact_sched_data<'_>>(qdisc).deref()?;
            own.ingress_block = shared_block(q.ingress_block_info(), q.ingress_block(), &mut own)?;
            own.egress_block = shared_block(q.egress_block_info(), q.egress_block(), &mut own)?;
        }
        _ => {}
    }
    let _ = (device, hz);
    Ok(own)
}

/// The number of a block that others share (`ingress_ingress_block_get`, `clsact_egress_block_get`), which the block itself has, too; 0 is
/// that of one's own.
#[cfg(any(
    kernel_has = "ingress_sched_data.block_info",
    kernel_has = "clsact_sched_data.egress_block_info"
))]
fn shared_block<'m>(
    info: kernel::tcf_block_ext_info<'m>,
    block: kstruct::Ptr<'m, kernel::tcf_block<'m>>,
    own: &mut Own,
) -> Result<Option<u32>, Fault> {
    let index = info.block_index();
    if let Some(block) = block.deref_or_null()? {
        own.require(block.index() == index, "block of filters");
    }
    Ok(Some(index).filter(|index| *index != 0))
}

/// A map of packets' priorities.
fn priority_map(map: impl Iterator<Item = u8>) -> Vec<u8> {
    map.collect()
}

/// `pfifo_fast_dump`, net/sched/sch_generic.c. Its bands and its map are the same for all.
fn pfifo_fast(own: &mut Own) {
    const MAP: [u8; 16] = [1, 2, 2, 2, 1, 2, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1];
    own.options.set("bands", 3_u32);
    own.options.set("priomap", priority_map(MAP.into_iter()));
}

/// `CODEL_DISABLED_THRESHOLD`, include/net/codel.h.
const CODEL_DISABLED: u32 = i32::MAX as u32;

/// `fq_codel_dump`, `fq_codel_dump_stats`.
#[cfg(kernel_has = "fq_codel_sched_data.memory_limit")]
fn fq_codel(qdisc: Qdisc<'_>, own: &mut Own) -> Result<(), Fault> {
    let q = private::<kernel::fq_codel_sched_data<'_>>(qdisc).deref()?;
    let parameters = q.cparams();
    own.require((1..=65536).contains(&q.flows_cnt()), "flows");
    own.require(q.drop_batch_size() != 0, "drop_batch");
    own.options
        .set("limit", qdisc.limit())
        .set("flows", q.flows_cnt())
        .set("quantum", q.quantum())
        .set("target", codel_microseconds(parameters.target()));
    if parameters.ce_threshold() != CODEL_DISABLED {
        own.options.set(
            "ce_threshold",
            codel_microseconds(parameters.ce_threshold()),
        );
    }
    own.options
        .set("interval", codel_microseconds(parameters.interval()))
        .set("memory_limit", q.memory_limit())
        .set("ecn", parameters.ecn())
        .set("drop_batch", q.drop_batch_size());
    let stats = q.cstats();
    let length = |list: kernel::list_head<'_>| -> Result<u64, Fault> {
        let mut length = 0;
        for flow in list.entries(kernel::fq_codel_flow::flowchain) {
            flow?;
            length += 1;
        }
        Ok(length)
    };
    own.statistics
        .set("maxpacket", stats.maxpacket())
        .set("drop_overlimit", q.drop_overlimit())
        .set("new_flow_count", q.new_flow_count())
        .set("ecn_mark", stats.ecn_mark())
        .set("ce_mark", stats.ce_mark())
        .set("memory_used", q.memory_usage())
        .set("drop_overmemory", q.drop_overmemory())
        .set("new_flows_len", length(q.new_flows())?)
        .set("old_flows_len", length(q.old_flows())?);
    Ok(())
}

/// `codel_dump`, `codel_dump_stats`.
#[cfg(kernel_has = "codel_sched_data.params")]
fn codel(qdisc: Qdisc<'_>, own: &mut Own) -> Result<(), Fault> {
    let q = private::<kernel::codel_sched_data<'_>>(qdisc).deref()?;
    let parameters = q.params();
    own.options
        .set("limit", qdisc.limit())
        .set("target", codel_microseconds(parameters.target()));
    if parameters.ce_threshold() != CODEL_DISABLED {
        own.options.set(
            "ce_threshold",
            codel_microseconds(parameters.ce_threshold()),
        );
    }
    own.options
        .set("interval", codel_microseconds(parameters.interval()))
        .set("ecn", parameters.ecn());
    let (variables, stats) = (q.vars(), q.stats());
    own.statistics
        .set("count", variables.count())
        .set("lastcount", variables.lastcount())
        .set("ldelay", codel_microseconds(variables.ldelay()))
        .set("dropping", variables.dropping())
        .set("maxpacket", stats.maxpacket())
        .set("ecn_mark", stats.ecn_mark())
        .set("drop_overlimit", q.drop_overlimit())
        .set("ce_mark", stats.ce_mark());
    Ok(())
}

/// `fq_dump`, `fq_dump_stats`. How long the next packet still waits is reckoned from the clock when somebody asks, and not here.
#[cfg(kernel_has = "fq_sched_data.timer_slack")]
fn fq(qdisc: Qdisc<'_>, hz: u64, own: &mut Own) -> Result<(), Fault> {
    let q = private::<kernel::fq_sched_data<'_>>(qdisc).deref()?;
    // fq_change: up to 256 * 1024 of them.
    own.require((1..=18).contains(&q.fq_trees_log()), "buckets");
    own.require(q.quantum() != 0, "quantum");
    let options = &mut own.options;
    options
        .set("limit", qdisc.limit())
        .set("flow_limit", q.flow_plimit())
        .set("buckets", 1_u64 << (q.fq_trees_log() & 63))
        .set("orphan_mask", q.orphan_mask());
    #[cfg(kernel_has = "fq_sched_data.band_flows")]
    {
        let map = q.prio2band();
        // Two bits for each priority (fq_prio2band).
        let bands = (0..16).map(|priority| {
            let byte = map.get(priority / 4).unwrap_or_default();
            byte >> (2 * (priority % 4)) & 3
        });
        options.set("priomap", priority_map(bands));
        let weights: Vec<i32> = q.band_flows().iter().map(|band| band.quantum()).collect();
        options.set("weights", weights);
    }
    if q.rate_enable() == 0 {
        options.set("pacing", false);
    }
    options
        .set("quantum", q.quantum())
        .set("initial_quantum", q.initial_quantum());
    // `~0UL`, of which tc is told the lower half.
    let most = q.flow_max_rate().min(u64::from(u32::MAX));
    if most != u64::from(u32::MAX) {
        options.set("maxrate", linux::details::Value::Rate(most));
    }
    if q.low_rate_threshold() != 0 {
        options.set(
            "low_rate_threshold",
            linux::details::Value::Rate(q.low_rate_threshold().into()),
        );
    }
    if let Some(delay) = (u64::from(q.flow_refill_delay()) * 1_000_000).checked_div(hz) {
        options.set("refill_delay", linux::details::Value::Time(delay));
    }
    // Kept in nanoseconds; those that are switched off are `~0` microseconds.
    let ce_threshold = q.ce_threshold() / 1000;
    if ce_threshold < u64::from(u32::MAX) {
        options.set("ce_threshold", linux::details::Value::Time(ce_threshold));
    }
    options
        .set("timer_slack", q.timer_slack())
        .set("horizon", linux::details::Value::Time(q.horizon() / 1000))
        .set(
            if q.horizon_drop() == 0 {
                "horizon_cap"
            } else {
                "horizon_drop"
            },
            linux::details::Value::Bool(true),
        );
    #[cfg(kernel_has = "fq_sched_data.stat_internal_packets")]
    let (fast, high) = (0_u64, q.stat_internal_packets());
    #[cfg(not(kernel_has = "fq_sched_data.stat_internal_packets"))]
    let (fast, high) = (q.internal().stat_fastpath_packets(), 0_u64);
    own.statistics
        .set("flows", q.flows())
        .set("inactive", q.inactive_flows())
        .set("throttled_flows", q.throttled_flows())
        .set("gc", q.stat_gc_flows())
        .set("highprio", high)
        .set("fastpath", fast)
        .set("throttled", q.stat_throttled())
        // Both are capped at 32 bits on their way to tc.
        .set(
            "latency",
            q.unthrottle_latency_ns().min(u64::from(u32::MAX)),
        )
        .set("ce_mark", q.stat_ce_mark())
        .set("flows_plimit", q.stat_flows_plimit())
        .set("pkts_too_long", q.stat_pkts_too_long())
        .set("alloc_errors", q.stat_allocation_errors())
        .set("horizon_drops", q.stat_horizon_drops())
        .set("horizon_caps", q.stat_horizon_caps());
    #[cfg(kernel_has = "fq_sched_data.stat_band_drops")]
    own.statistics
        .set(
            "band_drops",
            q.stat_band_drops().iter().collect::<Vec<u64>>(),
        )
        .set(
            "band_pkt_count",
            q.band_pkt_count().iter().collect::<Vec<u32>>(),
        );
    Ok(())
}

/// `htb_dump`.
#[cfg(kernel_has = "htb_sched.direct_qlen")]
fn htb(qdisc: Qdisc<'_>, own: &mut Own) -> Result<(), Fault> {
    let q = private::<kernel::htb_sched<'_>>(qdisc).deref()?;
    own.require(q.rate2quantum() > 0, "r2q");
    own.options
        .set("r2q", q.rate2quantum())
        .set("default", format!("{:#x}", q.defcls().cast_unsigned()))
        .set("direct_packets_stat", q.direct_pkts())
        .set("direct_qlen", q.direct_qlen());
    #[cfg(kernel_has = "htb_sched.offload")]
    own.options.flag("offload", q.offload());
    own.statistics.set("direct_queued", q.direct_queue().qlen());
    Ok(())
}

/// `tbf_dump`, and tc's own reckoning of the latency (`tbf_print_opt`).
#[cfg(kernel_has = "tbf_sched_data.rate.rate_bytes_ps")]
fn tbf(qdisc: Qdisc<'_>, own: &mut Own) -> Result<(), Fault> {
    use super::rates::{burst, lengths, microseconds, rate};

    let q = private::<kernel::tbf_sched_data<'_>>(qdisc).deref()?;
    // Whatever the rate is, tbf_change wants a burst.
    own.require(q.max_size() != 0, "burst");
    let bytes = q.rate().rate_bytes_ps();
    let peak = q.peak().rate_bytes_ps();
    rate(&mut own.options, "rate", q.rate());
    own.options.set("burst", burst(bytes, q.buffer()));
    if peak != 0 {
        rate(&mut own.options, "peakrate", q.peak());
        own.options.set("minburst", burst(peak, q.mtu()));
    }
    let latency = |rate: u64, time: i64| {
        let whole = 1_000_000.0 * (f64::from(q.limit()) / rate as f64);
        whole - microseconds(time) as f64
    };
    let mut longest = latency(bytes, q.buffer());
    if peak != 0 {
        longest = longest.max(latency(peak, q.mtu()));
    }
    own.options.set("limit", q.limit());
    // Without a rate no packet is ever sent.
    if longest.is_finite() {
        own.options
            .set("lat", linux::details::Value::Time(longest as u64));
    }
    lengths(&mut own.options, q.rate());
    own.statistics
        .set("tokens", q.tokens())
        .set("ptokens", q.ptokens());
    Ok(())
}

/// `prio_dump`.
#[cfg(kernel_has = "prio_sched_data.prio2band")]
fn prio(qdisc: Qdisc<'_>, own: &mut Own) -> Result<(), Fault> {
    let q = private::<kernel::prio_sched_data<'_>>(qdisc).deref()?;
    // prio_tune: TCQ_MIN_PRIO_BANDS, TCQ_PRIO_BANDS.
    own.require((2..=16).contains(&q.bands()), "bands");
    let bands = q.bands();
    own.require(
        q.prio2band().iter().all(|band| i32::from(band) < bands),
        "priomap",
    );
    own.options
        .set("bands", q.bands())
        .set("priomap", priority_map(q.prio2band().iter()));
    Ok(())
}

/// A fraction of 2^32, as probabilities and correlations are kept.
#[cfg(kernel_has = "netem_sched_data.slot_config")]
fn fraction(value: u32) -> f64 {
    f64::from(value) / f64::from(u32::MAX)
}

/// `netem_dump`.
#[cfg(kernel_has = "netem_sched_data.slot_config")]
fn netem(qdisc: Qdisc<'_>, own: &mut Own) -> Result<(), Fault> {
    let q = private::<kernel::netem_sched_data<'_>>(qdisc).deref()?;
    // CLG_RANDOM, CLG_4_STATES, CLG_GILB_ELL.
    own.require(q.loss_model().0 <= 2, "loss");
    let seconds = |nanoseconds: i64| nanoseconds as f64 / 1e9;
    let options = &mut own.options;
    options.set("limit", q.limit());
    if q.latency() != 0 {
        let mut delay = Details::new();
        delay
            .set("delay", seconds(q.latency()))
            .set("jitter", seconds(q.jitter()))
            .set("correlation", fraction(q.delay_cor().rho()));
        options.set("delay", delay);
    }
    let correlated = |name, value: u32, correlation: u32| {
        let mut details = Details::new();
        details
            .set(name, fraction(value))
            .set("correlation", fraction(correlation));
        details
    };
    // CLG_4_STATES, CLG_GILB_ELL; p13 and so on as of `struct tc_netem_gimodel` and `tc_netem_gemodel`.
    let clg = q.clg();
    match q.loss_model().0 {
        1 => {
            let mut state = Details::new();
            state
                .set("p13", fraction(clg.a1()))
                .set("p31", fraction(clg.a2()))
                .set("p32", fraction(clg.a3()))
                .set("p14", fraction(clg.a4()))
                .set("p23", fraction(clg.a5()));
            options.set("loss-state", state);
        }
        2 => {
            let mut model = Details::new();
            model
                .set("p", fraction(clg.a1()))
                .set("r", fraction(clg.a2()))
                .set("1-h", 1.0 - fraction(clg.a3()))
                .set("1-k", fraction(clg.a4()));
            options.set("loss-gemodel", model);
        }
        _ if q.loss() != 0 => {
            options.set(
                "loss-random",
                correlated("loss", q.loss(), q.loss_cor().rho()),
            );
        }
        _ => {}
    }
    if q.duplicate() != 0 {
        options.set(
            "duplicate",
            correlated("duplicate", q.duplicate(), q.dup_cor().rho()),
        );
    }
    if q.reorder() != 0 {
        options.set(
            "reorder",
            correlated("reorder", q.reorder(), q.reorder_cor().rho()),
        );
    }
    if q.corrupt() != 0 {
        options.set(
            "corrupt",
            correlated("corrupt", q.corrupt(), q.corrupt_cor().rho()),
        );
    }
    if q.rate() != 0 {
        let mut rate = Details::new();
        rate.set("rate", linux::details::Value::Rate(q.rate()))
            .set("packetoverhead", q.packet_overhead())
            .set("cellsize", q.cell_size())
            .set("celloverhead", q.cell_overhead());
        options.set("rate", rate);
    }
    let slot = q.slot_config();
    if slot.min_delay() != 0 || slot.dist_delay() != 0 {
        let mut details = Details::new();
        details
            .set("min-delay", slot.min_delay())
            .set("max-delay", slot.max_delay())
            .set("distribution-delay", slot.dist_delay())
            .set("distribution-jitter", slot.dist_jitter())
            .set("packets", slot.max_packets())
            .set("bytes", slot.max_bytes());
        options.set("slot", details);
    }
    options.set("ecn", q.ecn() != 0).set("gap", q.gap());
    Ok(())
}

/// `red_dump`, `red_dump_stats`.
#[cfg(kernel_has = "red_sched_data.parms")]
fn red(qdisc: Qdisc<'_>, own: &mut Own) -> Result<(), Fault> {
    let q = private::<kernel::red_sched_data<'_>>(qdisc).deref()?;
    let (parameters, stats) = (q.parms(), q.stats());
    // red_check_params
    #[cfg(kernel_has = "red_sched_data.qe_mark")]
    {
        own.require(parameters.Wlog() < 32, "ewma");
        own.require(parameters.Scell_log() < 32, "Scell_log");
        own.require(parameters.qth_min() <= parameters.qth_max(), "max");
    }
    // TC_RED_ECN and so on, include/uapi/linux/pkt_sched.h. Thresholds are kept in parts of a byte.
    let flags = u32::from(q.flags());
    let whole = |value: u32| value.checked_shr(parameters.Wlog().into()).unwrap_or(0);
    own.options
        .set("limit", q.limit())
        .set("min", whole(parameters.qth_min()))
        .set("max", whole(parameters.qth_max()))
        .set("ecn", flags & 1 != 0)
        .set("harddrop", flags & 2 != 0)
        .set("adaptive", flags & 4 != 0)
        .set("nodrop", flags & 8 != 0)
        .set("ewma", parameters.Wlog())
        .set(
            "probability",
            f64::from(parameters.max_P()) / 4_294_967_296.0,
        )
        .set("Scell_log", parameters.Scell_log());
    own.statistics
        .set(
            "marked",
            stats.prob_mark().wrapping_add(stats.forced_mark()),
        )
        .set("early", stats.prob_drop().wrapping_add(stats.forced_drop()))
        .set("pdrop", stats.pdrop())
        .set("other", 0_u32)
        .set("average_queue", whole(q.vars().qavg() as u32));
    Ok(())
}

/// Whether sfq may have so many buckets (`sfq_change`).
#[cfg(kernel_has = "sfq_sched_data.maxdepth")]
pub fn is_divisor(buckets: u32) -> bool {
    buckets.is_power_of_two() && buckets <= 65536
}

/// `sfq_dump`.
#[cfg(kernel_has = "sfq_sched_data.maxdepth")]
fn sfq(qdisc: Qdisc<'_>, hz: u64, own: &mut Own) -> Result<(), Fault> {
    let q = private::<kernel::sfq_sched_data<'_>>(qdisc).deref()?;
    own.require(is_divisor(q.divisor()), "divisor");
    // SFQ_MAX_DEPTH
    own.require((1..=127).contains(&q.maxdepth()), "depth");
    own.options
        .set("limit", q.limit())
        .set("quantum", q.quantum())
        .set("depth", q.maxdepth())
        .set("headdrop", q.headdrop() != 0)
        .set("divisor", q.divisor())
        .set("flows", q.maxflows());
    let period = u64::from(q.perturb_period().cast_unsigned());
    if period != 0 {
        own.options.set_some("perturb", period.checked_div(hz));
    }
    if let Some(red) = q.red_parms().deref_or_null()? {
        let whole = |value: u32| value.checked_shr(red.Wlog().into()).unwrap_or(0);
        let flags = u32::from(q.flags());
        own.options
            .set("ewma", red.Wlog())
            .set("min", whole(red.qth_min()))
            .set("max", whole(red.qth_max()))
            .set("probability", f64::from(red.max_P()) / 4_294_967_296.0)
            .set("ecn", flags & 1 != 0)
            .set("harddrop", flags & 2 != 0);
    }
    Ok(())
}

/// `cake_dump`, `cake_dump_stats`.
#[cfg(kernel_has = "cake_sched_data.rate_mpu")]
fn cake(qdisc: Qdisc<'_>, own: &mut Own) -> Result<(), Fault> {
    const AUTORATE: u16 = 1 << 1;
    const INGRESS: u16 = 1 << 2;
    const WASH: u16 = 1 << 3;
    const SPLIT_GSO: u16 = 1 << 4;
    const OVERHEAD: u16 = 1 << 0;
    const DIFFSERV: [&str; 5] = [
        "diffserv3",
        "diffserv4",
        "diffserv8",
        "besteffort",
        "precedence",
    ];
    const FLOWS: [&str; 8] = [
        "flowblind",
        "srchost",
        "dsthost",
        "hosts",
        "flows",
        "dual-srchost",
        "dual-dsthost",
        "triple-isolate",
    ];
    /// `CAKE_FLOW_NAT_FLAG`
    const NAT: u8 = 64;
    let q = private::<kernel::cake_sched_data<'_>>(qdisc).deref()?;
    #[cfg(kernel_has = "cake_sched_data.config")]
    compile_error!("this cake keeps its options elsewhere");
    let name = |names: &[&'static str], index: u8| {
        names
            .get(usize::from(index))
            .map_or_else(|| index.to_string(), |name| (*name).to_owned())
    };
    // CAKE_MAX_TINS
    own.require((1..=8).contains(&q.tin_cnt()), "tins");
    let flags = q.rate_flags();
    let options = &mut own.options;
    match q.rate_bps() {
        0 => options.set("bandwidth", "unlimited"),
        rate => options.set("bandwidth", linux::details::Value::Rate(rate)),
    };
    if flags & AUTORATE != 0 {
        options.set("autorate", "autorate-ingress");
    }
    options
        .set("diffserv", name(&DIFFSERV, q.tin_mode()))
        .set("flowmode", name(&FLOWS, q.flow_mode() & !NAT))
        .set("nat", q.flow_mode() & NAT != 0)
        .set("wash", flags & WASH != 0)
        .set("ingress", flags & INGRESS != 0)
        .set(
            "ack-filter",
            name(&["disabled", "enabled", "aggressive"], q.ack_filter()),
        )
        .set("split_gso", flags & SPLIT_GSO != 0)
        .set("rtt", linux::details::Value::Time(q.interval()))
        .set("raw", flags & OVERHEAD == 0)
        .set("atm", name(&["noatm", "atm", "ptm"], q.atm_mode()))
        .set("overhead", q.rate_overhead());
    if q.rate_mpu() != 0 {
        options.set("mpu", q.rate_mpu());
    }
    if q.buffer_config_limit() != 0 {
        options.set("memlimit", q.buffer_config_limit());
    }
    if q.fwmark_mask() != 0 {
        options.set("fwmark", format!("{:#x}", q.fwmark_mask()));
    }
    own.statistics
        .set("memory_used", q.buffer_max_used())
        .set("memory_limit", q.buffer_limit())
        .set(
            "capacity_estimate",
            linux::details::Value::Rate(q.avg_peak_bandwidth()),
        )
        .set("min_network_size", q.min_netlen())
        .set("max_network_size", q.max_netlen())
        .set("min_adj_size", q.min_adjlen())
        .set("max_adj_size", q.max_adjlen())
        .set("avg_hdr_offset", q.avg_netoff().wrapping_add(0x8000) >> 16);
    let tins = cake_tins(q)?;
    own.statistics.set("tins", tins);
    Ok(())
}

#[cfg(kernel_has = "cake_sched_data.rate_mpu")]
fn cake_tins(q: kernel::cake_sched_data<'_>) -> Result<Vec<Details>, Fault> {
    /// `CAKE_MAX_TINS`
    const MOST: usize = 8;
    let mut tins = Vec::new();
    let order = q.tin_order().array(usize::from(q.tin_cnt()).min(MOST))?;
    for index in order.iter() {
        let tin = q.tins().at(index.into())?;
        let parameters = tin.cparams();
        let mut details = Details::new();
        details
            .set(
                "threshold_rate",
                linux::details::Value::Rate(tin.tin_rate_bps()),
            )
            .set("sent_bytes", tin.bytes())
            .set("backlog_bytes", tin.tin_backlog())
            .set("target_us", parameters.target() / 1000)
            .set("interval_us", parameters.interval() / 1000)
            .set("peak_delay_us", tin.peak_delay() / 1000)
            .set("avg_delay_us", tin.avge_delay() / 1000)
            .set("base_delay_us", tin.base_delay() / 1000)
            .set("sent_packets", tin.packets())
            .set("way_indirect_hits", tin.way_hits())
            .set("way_misses", tin.way_misses())
            .set("way_collisions", tin.way_collisions())
            .set("drops", tin.tin_dropped())
            .set("ecn_mark", tin.tin_ecn_mark())
            .set("ack_drops", tin.ack_drops())
            .set(
                "sparse_flows",
                tin.sparse_flow_count()
                    .wrapping_add(tin.decaying_flow_count()),
            )
            .set("bulk_flows", tin.bulk_flow_count())
            .set("unresponsive_flows", tin.unresponsive_flow_count())
            .set("max_pkt_len", tin.max_skblen())
            .set("flow_quantum", tin.flow_quantum());
        tins.push(details);
    }
    Ok(tins)
}

#[cfg(kernel_has = "mqprio_sched.mode")]
fn name_of(names: &[&'static str], index: u16) -> Option<&'static str> {
    names.get(usize::from(index)).copied()
}

/// `mqprio_dump`: the map is the interface's own.
#[cfg(kernel_has = "mqprio_sched.mode")]
fn mqprio(device: net_device<'_>, qdisc: Qdisc<'_>, own: &mut Own) -> Result<(), Fault> {
    let q = private::<kernel::mqprio_sched<'_>>(qdisc).deref()?;
    // netdev_set_num_tc: TC_MAX_QUEUE.
    own.require((0..=16).contains(&i64::from(device.num_tc())), "tc");
    let classes = usize::try_from(i64::from(device.num_tc())).unwrap_or(0);
    let queues: Vec<linux::details::Value> = device
        .tc_to_txq()
        .iter()
        .take(classes)
        .map(|queues| {
            let last = queues.offset().wrapping_add(queues.count()).wrapping_sub(1);
            linux::details::Value::from(vec![queues.offset(), last])
        })
        .collect();
    own.options
        .set("tc", device.num_tc())
        .set("map", priority_map(device.prio_tc_map().iter()))
        .set("queues", queues)
        .set("hw_offload", q.hw_offload() != 0);
    // TC_MQPRIO_MODE_*, TC_MQPRIO_SHAPER_*, include/uapi/linux/pkt_sched.h.
    own.options
        .set_some("mode", name_of(&["dcb", "channel"], q.mode()))
        .set_some("shaper", name_of(&["dcb", "bw_rlimit"], q.shaper()));
    Ok(())
}

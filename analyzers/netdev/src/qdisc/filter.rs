//! Filters, by block and chain, as `tc -s -d -j filter show` names what they have. Each kind is walked as its `walk` of net/sched does.
#![cfg(kernel_has = "tcf_block.chain_list")]

#[cfg(any(
    kernel_has = "tc_u_knode.pcpu_success",
    kernel_has = "cls_mall_head.pf",
    kernel_has = "fl_flow_key.tp_range",
    all(kernel_has = "basic_filter.ematches", kernel_has = "tc_u32_key"),
    kernel_has = "fw_filter.id",
    kernel_has = "cls_bpf_prog.bpf_num_ops",
    kernel_has = "route4_filter.handle"
))]
mod kinds;

use kernel::{Qdisc, net_device};
use kstruct::{Fault, Ptr, walk};
use linux::Faults;
use linux::details::Details;
use linux::net::order;
use linux::time::Clock;
use serde::Serialize;

use super::{Discipline, private};

use kinds::of_kind;

/// A filter; or of a kind and priority, without options, that there are such filters.
#[derive(Debug, Serialize)]
pub struct Filter {
    /// `ingress` or `egress`, where a discipline has filters for both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<&'static str>,
    /// The class whose filters these are, if they aren't the discipline's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The number of a block that interfaces share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<u32>,
    pub protocol: String,
    pub pref: u32,
    pub kind: String,
    pub chain: u32,
    /// The `tcf_proto`, or the kind's own struct.
    #[serde(serialize_with = "linux::app::hex")]
    pub address: u64,
    #[serde(skip_serializing_if = "Details::is_empty")]
    pub options: Details,
}

/// What filters are read with: an interface of their namespace, CPUs, and the time.
type With<'a> = (net_device<'a>, &'a [u32], Clock);

/// The filters of a discipline and of its classes.
pub fn filters(
    discipline: &Discipline,
    device: net_device<'_>,
    qdisc: Qdisc<'_>,
    cpus: &[u32],
    clock: Clock,
    faults: &mut Faults,
) -> Vec<Filter> {
    let what = format!("filters of {} {}", discipline.kind, discipline.handle);
    let mut out = Vec::new();
    let blocks = blocks(&discipline.kind, qdisc);
    let Some(blocks) = faults.check(&what, blocks) else {
        return out;
    };
    for (direction, class, block) in blocks {
        let read = faults.check(&what, block.deref_or_null());
        if let Some(Some(block)) = read {
            of_block(
                direction,
                class,
                block,
                (device, cpus, clock),
                &what,
                &mut out,
                faults,
            );
        }
    }
    out
}

type Block<'m> = (
    Option<&'static str>,
    Option<String>,
    Ptr<'m, kernel::tcf_block<'m>>,
);

/// Where a discipline has its blocks (`tcf_block` of its `Qdisc_class_ops`).
fn blocks<'m>(kind: &str, qdisc: Qdisc<'m>) -> Result<Vec<Block<'m>>, Fault> {
    macro_rules! block {
        ($ty:ty) => {
            vec![(None, None, private::<$ty>(qdisc).deref()?.block())]
        };
    }
    Ok(match kind {
        #[cfg(kernel_has = "htb_sched.block")]
        "htb" => block!(kernel::htb_sched<'m>),
        #[cfg(kernel_has = "prio_sched_data.block")]
        "prio" => block!(kernel::prio_sched_data<'m>),
        #[cfg(kernel_has = "drr_sched.block")]
        "drr" => block!(kernel::drr_sched<'m>),
        #[cfg(kernel_has = "cake_sched_data.block")]
        "cake" => block!(kernel::cake_sched_data<'m>),
        #[cfg(kernel_has = "fq_codel_sched_data.block")]
        "fq_codel" => block!(kernel::fq_codel_sched_data<'m>),
        #[cfg(kernel_has = "sfq_sched_data.block")]
        "sfq" => block!(kernel::sfq_sched_data<'m>),
        #[cfg(kernel_has = "hfsc_class.block")]
        "hfsc" => {
            let hfsc = private::<kernel::hfsc_sched<'m>>(qdisc).deref()?;
            vec![(None, None, hfsc.root().block())]
        }
        #[cfg(kernel_has = "ingress_sched_data.block")]
        "ingress" => {
            let ingress = private::<kernel::ingress_sched_data<'m>>(qdisc).deref()?;
            vec![(Some("ingress"), None, ingress.block())]
        }
        #[cfg(kernel_has = "clsact_sched_data.egress_block")]
        "clsact" => {
            let clsact = private::<kernel::clsact_sched_data<'m>>(qdisc).deref()?;
            vec![
                (Some("ingress"), None, clsact.ingress_block()),
                (Some("egress"), None, clsact.egress_block()),
            ]
        }
        _ => Vec::new(),
    })
}

/// The filters of a block, chain by chain (`tcf_chain_dump`, net/sched/cls_api.c).
fn of_block(
    direction: Option<&'static str>,
    class: Option<String>,
    block: kernel::tcf_block<'_>,
    with: With<'_>,
    what: &str,
    out: &mut Vec<Filter>,
    faults: &mut Faults,
) {
    for chain in block.chain_list().entries(kernel::tcf_chain::list) {
        let Some(chain) = faults.check(what, chain) else {
            continue;
        };
        let mut before = 0;
        let first = chain.filter_chain();
        for proto in walk::chain(Ok(first), |proto: kernel::tcf_proto<'_>| proto.next()) {
            let Some(proto) = faults.check(what, proto) else {
                continue;
            };
            let Some(ops) = faults.check(what, proto.ops().deref()) else {
                continue;
            };
            let kind = ops.kind().to_string();
            let row = |address: u64, options: Details| Filter {
                direction,
                class: class.clone(),
                block: Some(block.index()).filter(|index| *index != 0),
                protocol: ethernet_protocol(order::be16(proto.protocol())),
                pref: proto.prio() >> 16,
                kind: kind.clone(),
                chain: chain.index(),
                address,
                options,
            };
            use kstruct::View as _;
            // Priorities are 16 bits wide, never 0, and in order, each once (`tc_new_tfilter`, `tcf_chain_tp_find`).
            let prio = proto.prio();
            let holds = prio & 0xffff == 0 && prio > before;
            faults.require(
                holds,
                format_args!("priority of {kind} {what}"),
                proto.addr(),
            );
            before = before.max(prio);
            out.push(row(proto.addr(), Details::new()));
            let mut own = Vec::new();
            let read = of_kind(&kind, proto, with, &mut own);
            out.extend(
                own.into_iter()
                    .map(|(address, options)| row(address, options)),
            );
            faults.check(what, read);
        }
    }
}

/// Ethernet's protocols as tc names them (`ll_proto_n2a`).
fn ethernet_protocol(number: u16) -> String {
    match number {
        0x0003 => "all".into(),
        0x0800 => "ip".into(),
        0x0806 => "arp".into(),
        0x86dd => "ipv6".into(),
        0x8100 => "802.1Q".into(),
        0x88a8 => "802.1ad".into(),
        0x8847 => "mpls_uc".into(),
        0x8848 => "mpls_mc".into(),
        0x8863 => "ppp_disc".into(),
        0x8864 => "ppp_ses".into(),
        0x88cc => "LLDP".into(),
        other => format!("[{other}]"),
    }
}

/// A filter's own struct and what it has.
type Own = Vec<(u64, Details)>;

/// There are no types of any kind.
#[cfg(not(any(
    kernel_has = "tc_u_knode.pcpu_success",
    kernel_has = "cls_mall_head.pf",
    kernel_has = "fl_flow_key.tp_range",
    all(kernel_has = "basic_filter.ematches", kernel_has = "tc_u32_key"),
    kernel_has = "fw_filter.id",
    kernel_has = "cls_bpf_prog.bpf_num_ops",
    kernel_has = "route4_filter.handle"
)))]
mod kinds {
    use kstruct::Fault;

    use super::{Own, With};

    pub fn of_kind(
        _: &str,
        _: kernel::tcf_proto<'_>,
        _: With<'_>,
        _: &mut Own,
    ) -> Result<(), Fault> {
        Ok(())
    }
}

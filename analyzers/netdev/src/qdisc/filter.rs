//! Filters, by block and chain, as `tc -s -d -j filter show` names what they have. Each kind is walked as its `walk` of net/sched does.
#![cfg(kernel_has = "tcf_block.chain_list")]

use kernel::Qdisc;
use kstruct::{Fault, Memory, Ptr, walk};
use linux::Faults;
use linux::net::order;
use linux::time::{Clock, jiffies_since};
use serde::Serialize;

use super::units::class_id;
use super::{Discipline, private};
use crate::details::Details;

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

/// What filters are read with.
pub struct Look<'a> {
    pub k: &'a Memory,
    pub cpus: &'a [u32],
    pub clock: Clock,
}

impl Look<'_> {
    /// Whole seconds, as tc has them of clock ticks.
    pub fn seconds_since(&self, then: u64) -> Option<u64> {
        let jiffies = jiffies_since(self.k, self.clock.now, self.k.wrap(then));
        jiffies.checked_div(self.clock.hz?)
    }
}

/// The filters of a discipline and of its classes.
pub fn filters(
    discipline: &Discipline,
    qdisc: Qdisc<'_>,
    look: &Look<'_>,
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
            of_block(direction, class, block, look, &what, &mut out, faults);
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
    look: &Look<'_>,
    what: &str,
    out: &mut Vec<Filter>,
    faults: &mut Faults,
) {
    for chain in block.chain_list().entries(kernel::tcf_chain::list) {
        let Some(chain) = faults.check(what, chain) else {
            continue;
        };
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
            out.push(row(proto.addr(), Details::new()));
            let mut own = Vec::new();
            let read = of_kind(&kind, proto, look, &mut own);
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

fn of_kind(
    kind: &str,
    proto: kernel::tcf_proto<'_>,
    look: &Look<'_>,
    out: &mut Own,
) -> Result<(), Fault> {
    if proto.root().is_null() {
        return Ok(());
    }
    match kind {
        #[cfg(kernel_has = "tc_u_knode.pcpu_success")]
        "u32" => u32_filters(proto, look, out),
        #[cfg(kernel_has = "cls_mall_head.pf")]
        "matchall" => matchall(proto, look, out),
        #[cfg(kernel_has = "fl_flow_key.tp_range")]
        "flower" => super::flower::filters(proto, look, out),
        #[cfg(all(kernel_has = "basic_filter.ematches", kernel_has = "tc_u32_key"))]
        "basic" => basic(proto, look, out),
        #[cfg(kernel_has = "fw_filter.id")]
        "fw" => fw(proto, look, out),
        #[cfg(kernel_has = "cls_bpf_prog.bpf_num_ops")]
        "bpf" => bpf(proto, look, out),
        #[cfg(kernel_has = "route4_filter.handle")]
        "route" => route(proto, look, out),
        _ => {
            let _ = (look, out);
            Ok(())
        }
    }
}

/// Whether a filter may be, and is, in hardware (`TCA_CLS_FLAGS_*`).
pub fn hardware(flags: u32, out: &mut Details) {
    for (name, flag) in [
        ("skip_hw", 1),
        ("skip_sw", 2),
        ("in_hw", 4),
        ("not_in_hw", 8),
    ] {
        out.flag(name, flags & flag != 0);
    }
}

/// Adds a filter's actions.
pub fn add_actions(
    exts: kernel::tcf_exts<'_>,
    look: &Look<'_>,
    out: &mut Details,
) -> Result<(), Fault> {
    #[cfg(kernel_has = "tc_action.tcfa_tm")]
    {
        let actions = super::action::actions(exts, look)?;
        if !actions.is_empty() {
            out.set("actions", actions);
        }
    }
    let _ = (exts, look, out);
    Ok(())
}

/// A handle of u32: table, bucket, node.
#[cfg(kernel_has = "tc_u_knode.pcpu_success")]
fn u32_handle(handle: u32) -> String {
    let mut out = format!("{:x}:", handle >> 20);
    let (bucket, node) = (handle >> 12 & 0xff, handle & 0xfff);
    if bucket != 0 {
        out.push_str(&format!("{bucket:x}"));
    }
    if node != 0 {
        out.push_str(&format!(":{node:x}"));
    }
    out
}

/// `u32_walk`, `u32_dump`.
#[cfg(kernel_has = "tc_u_knode.pcpu_success")]
fn u32_filters(proto: kernel::tcf_proto<'_>, look: &Look<'_>, out: &mut Own) -> Result<(), Fault> {
    use kstruct::View as _;
    /// No table of filters has more.
    const MOST_BUCKETS: usize = 4096;
    let common = proto.data().cast::<kernel::tc_u_common<'_>>().deref()?;
    for table in walk::chain(Ok(common.hlist()), |table: kernel::tc_u_hnode<'_>| {
        table.next()
    }) {
        let table = table?;
        if table.prio() != proto.prio() {
            continue;
        }
        let mut details = Details::new();
        details
            .set("fh", u32_handle(table.handle()))
            .set("ht_divisor", u64::from(table.divisor()) + 1);
        out.push((table.addr(), details));
        let buckets = (table.divisor() as usize).min(MOST_BUCKETS) + 1;
        for first in table.ht().array(buckets)?.iter() {
            for node in walk::chain(Ok(first), |node: kernel::tc_u_knode<'_>| node.next()) {
                let node = node?;
                out.push((node.addr(), u32_node(node, look)?));
            }
        }
    }
    Ok(())
}

#[cfg(kernel_has = "tc_u_knode.pcpu_success")]
fn u32_node(node: kernel::tc_u_knode<'_>, look: &Look<'_>) -> Result<Details, Fault> {
    let selector = node.sel();
    let handle = node.handle();
    let mut out = Details::new();
    out.set("fh", u32_handle(handle))
        .set("order", handle & 0xfff)
        .set("key_ht", format!("{:x}", handle >> 20))
        .set("bkt", format!("{:x}", handle >> 12 & 0xff));
    // TC_U32_TERMINAL
    out.set("terminal", selector.flags() & 1 != 0);
    if node.res().classid() != 0 {
        out.set("flowid", class_id(node.res().classid()));
    }
    if let Some(down) = node.ht_down().deref_or_null()? {
        out.set("link", u32_handle(down.handle()));
    }
    hardware(node.flags(), &mut out);
    let keys = selector.keys().array(usize::from(selector.nkeys()))?;
    let mut hits = vec![0_u64; keys.len()];
    if !node.pf().is_null() {
        let (mut all, mut good) = (0_u64, 0_u64);
        for cpu in look.cpus {
            let counters = node.pf().on_cpu(*cpu)?.deref()?;
            all = all.wrapping_add(counters.rcnt());
            good = good.wrapping_add(counters.rhit());
            for (sum, own) in hits
                .iter_mut()
                .zip(counters.kcnts().array(keys.len())?.iter())
            {
                *sum = sum.wrapping_add(own);
            }
        }
        out.set("rule_hit", all).set("success", good);
    }
    #[cfg(kernel_has = "tc_u_knode.mask")]
    if node.mask() != 0 {
        out.set("mark", format!("{:#x}", node.val()))
            .set("mark_mask", format!("{:#x}", node.mask()));
    }
    let matches: Vec<Details> = keys
        .iter()
        .zip(hits)
        .map(|(key, hits)| {
            let mut details = Details::new();
            details
                .set("value", format!("{:x}", order::be32(key.val())))
                .set("mask", format!("{:x}", order::be32(key.mask())))
                .set("off", key.off());
            if key.offmask() != 0 {
                details.set("offmask", format!("{:x}", key.offmask()));
            }
            details.set("success", hits);
            details
        })
        .collect();
    out.set("matches", matches);
    if selector.hmask() != 0 {
        out.set("hash_mask", format!("{:x}", order::be32(selector.hmask())))
            .set("hash_off", selector.hoff());
    }
    // TC_U32_OFFSET, TC_U32_VAROFFSET.
    if selector.flags() & 6 != 0 {
        let mut offset = Details::new();
        offset
            .set("mask", format!("{:04x}", order::be16(selector.offmask())))
            .set("shift", selector.offshift())
            .set("at", selector.offoff())
            .set("plus", selector.off());
        out.set("offset", offset);
    }
    add_actions(node.exts(), look, &mut out)?;
    Ok(out)
}

/// `mall_dump`.
#[cfg(kernel_has = "cls_mall_head.pf")]
fn matchall(proto: kernel::tcf_proto<'_>, look: &Look<'_>, out: &mut Own) -> Result<(), Fault> {
    use kstruct::View as _;
    let head = proto.root().cast::<kernel::cls_mall_head<'_>>().deref()?;
    let mut details = Details::new();
    details.set("handle", head.handle());
    if head.res().classid() != 0 {
        details.set("flowid", class_id(head.res().classid()));
    }
    hardware(head.flags(), &mut details);
    let mut hits = 0_u64;
    for cpu in look.cpus {
        hits = hits.wrapping_add(head.pf().on_cpu(*cpu)?.deref()?.rhit());
    }
    details.set("rule_hit", hits);
    add_actions(head.exts(), look, &mut details)?;
    out.push((head.addr(), details));
    Ok(())
}

/// `basic_dump`. What the expressions say only their modules know: they are shown by kind, with their bytes.
#[cfg(all(kernel_has = "basic_filter.ematches", kernel_has = "tc_u32_key"))]
fn basic(proto: kernel::tcf_proto<'_>, look: &Look<'_>, out: &mut Own) -> Result<(), Fault> {
    use kstruct::View as _;
    let head = proto.root().cast::<kernel::basic_head<'_>>().deref()?;
    for filter in head.flist().entries(kernel::basic_filter::link) {
        let filter = filter?;
        let mut details = Details::new();
        details.set("handle", filter.handle());
        if filter.res().classid() != 0 {
            details.set("flowid", class_id(filter.res().classid()));
        }
        let tree = filter.ematches();
        let count = usize::from(tree.hdr().nmatches());
        let mut matches = Vec::new();
        if count != 0 {
            for one in tree.matches().array(count)?.iter() {
                matches.push(ematch(one)?);
            }
        }
        details.set("ematches", matches);
        add_actions(filter.exts(), look, &mut details)?;
        out.push((filter.addr(), details));
    }
    Ok(())
}

/// `tcf_em_tree_dump`, net/sched/ematch.c.
#[cfg(all(kernel_has = "basic_filter.ematches", kernel_has = "tc_u32_key"))]
fn ematch(one: kernel::tcf_ematch<'_>) -> Result<Details, Fault> {
    /// `TCF_EM_*`, include/uapi/linux/pkt_cls.h.
    const KINDS: [&str; 10] = [
        "container",
        "cmp",
        "nbyte",
        "u32",
        "meta",
        "text",
        "vlan",
        "canid",
        "ipset",
        "ipt",
    ];
    let mut details = Details::new();
    let kind = match one.ops().deref_or_null()? {
        Some(ops) => usize::try_from(ops.kind()).unwrap_or(usize::MAX),
        None => 0,
    };
    match KINDS.get(kind) {
        Some(name) => details.set("kind", *name),
        None => details.set("kind", kind as u64),
    };
    // TCF_EM_REL_AND, TCF_EM_REL_OR, TCF_EM_INVERT, TCF_EM_SIMPLE.
    let flags = one.flags();
    details.flag("not", flags & 4 != 0);
    details.set_some(
        "then",
        match flags & 3 {
            1 => Some("and"),
            2 => Some("or"),
            _ => None,
        },
    );
    #[cfg(kernel_has = "tcf_em_cmp.opnd")]
    if KINDS.get(kind) == Some(&"cmp") {
        use kstruct::View as _;
        let data: Ptr<'_, kernel::tcf_em_cmp<'_>> = Ptr::new(one.memory(), one.data());
        let cmp = data.deref()?;
        // TCF_EM_ALIGN_*, TCF_EM_OPND_*.
        let width = match cmp.align() {
            1 => "u8",
            2 => "u16",
            4 => "u32",
            _ => "?",
        };
        let operand = ["eq", "gt", "lt"].get(usize::from(cmp.opnd() as u8));
        let mask = match cmp.mask() {
            0 => String::new(),
            mask => format!(" mask {mask:#x}"),
        };
        details.set(
            "expression",
            format!(
                "cmp({width} at {} layer {}{mask} {} {})",
                cmp.off(),
                cmp.layer(),
                operand.unwrap_or(&"?"),
                cmp.val()
            ),
        );
    }
    if KINDS.get(kind) == Some(&"u32") {
        use kstruct::View as _;
        let data: Ptr<'_, kernel::tc_u32_key<'_>> = Ptr::new(one.memory(), one.data());
        let key = data.deref()?;
        let next = if key.offmask() == 0 { "" } else { "nexthdr+" };
        details.set(
            "expression",
            format!(
                "u32({:08x}/{:08x} at {next}{})",
                order::be32(key.val()),
                order::be32(key.mask()),
                key.off()
            ),
        );
    }
    const SIMPLE: u16 = 8;
    let length = (one.datalen() as usize).min(256);
    if flags & SIMPLE != 0 || length == 0 {
        details.set("data", format!("{:x}", one.data()));
    } else {
        use kstruct::View as _;
        let data: Ptr<'_, u8> = Ptr::new(one.memory(), one.data());
        details.set(
            "data",
            crate::details::hexadecimal(data.array(length)?.bytes()),
        );
    }
    Ok(details)
}

/// `fw_walk`, `fw_dump`.
#[cfg(kernel_has = "fw_filter.id")]
fn fw(proto: kernel::tcf_proto<'_>, look: &Look<'_>, out: &mut Own) -> Result<(), Fault> {
    use kstruct::View as _;
    let head = proto.root().cast::<kernel::fw_head<'_>>().deref()?;
    for first in head.ht().iter() {
        for filter in walk::chain(Ok(first), |filter: kernel::fw_filter<'_>| filter.next()) {
            let filter = filter?;
            let mut details = Details::new();
            details.set("handle", format!("{:#x}", filter.id()));
            if head.mask() != u32::MAX {
                details.set("mask", format!("{:#x}", head.mask()));
            }
            if filter.res().classid() != 0 {
                details.set("classid", class_id(filter.res().classid()));
            }
            add_actions(filter.exts(), look, &mut details)?;
            out.push((filter.addr(), details));
        }
    }
    Ok(())
}

/// `route4_walk`, `route4_dump`.
#[cfg(kernel_has = "route4_filter.handle")]
fn route(proto: kernel::tcf_proto<'_>, look: &Look<'_>, out: &mut Own) -> Result<(), Fault> {
    use kstruct::View as _;
    let head = proto.root().cast::<kernel::route4_head<'_>>().deref()?;
    for bucket in head.table().iter() {
        let Some(bucket) = bucket.deref_or_null()? else {
            continue;
        };
        for first in bucket.ht().iter() {
            let chain = walk::chain(Ok(first), |filter: kernel::route4_filter<'_>| filter.next());
            for filter in chain {
                let filter = filter?;
                let handle = filter.handle();
                let mut details = Details::new();
                details.set("fh", format!("{handle:#010x}"));
                if filter.res().classid() != 0 {
                    details.set("flowid", class_id(filter.res().classid()));
                }
                if handle & 0x8000 == 0 {
                    details.set("to", filter.id() & 0xff);
                }
                if handle & 0x8000_0000 != 0 {
                    if handle >> 16 != 0xffff {
                        details.set("fromif", filter.iif());
                    }
                } else {
                    details.set("from", filter.id() >> 16);
                }
                add_actions(filter.exts(), look, &mut details)?;
                out.push((filter.addr(), details));
            }
        }
    }
    Ok(())
}

/// `cls_bpf_walk`, `cls_bpf_dump`.
#[cfg(kernel_has = "cls_bpf_prog.bpf_num_ops")]
fn bpf(proto: kernel::tcf_proto<'_>, look: &Look<'_>, out: &mut Own) -> Result<(), Fault> {
    use kstruct::View as _;
    let head = proto.root().cast::<kernel::cls_bpf_head<'_>>().deref()?;
    for filter in head.plist().entries(kernel::cls_bpf_prog::link) {
        let filter = filter?;
        let mut details = Details::new();
        details.set("handle", format!("{:#x}", filter.handle()));
        if filter.res().classid() != 0 {
            details.set("flowid", class_id(filter.res().classid()));
        }
        details.flag("direct-action", filter.exts_integrated());
        hardware(filter.gen_flags(), &mut details);
        program(
            filter.bpf_ops(),
            filter.bpf_num_ops(),
            filter.bpf_name(),
            &mut details,
        )?;
        if filter.bpf_ops().is_null()
            && let Some(program) = filter.filter().deref_or_null()?
        {
            details
                .set("id", program.aux().deref()?.id())
                .set("tag", crate::details::hexadecimal(program.tag().bytes()));
        }
        add_actions(filter.exts(), look, &mut details)?;
        out.push((filter.addr(), details));
    }
    Ok(())
}

/// A program of BPF: its instructions, if it was given as such, or its name.
#[cfg(any(
    kernel_has = "cls_bpf_prog.bpf_num_ops",
    kernel_has = "tcf_bpf.bpf_num_ops"
))]
pub fn program<'m>(
    instructions: Ptr<'m, kernel::sock_filter<'m>>,
    count: u16,
    name: kstruct::view::CharPtr<'m>,
    out: &mut Details,
) -> Result<(), Fault> {
    if !name.is_null() {
        out.set("bpf_name", name.read()?.to_string());
    }
    if instructions.is_null() {
        return Ok(());
    }
    // BPF_MAXINSNS
    let count = usize::from(count).min(4096);
    let instructions: Vec<Details> = instructions
        .array(count)?
        .iter()
        .map(|one| {
            let mut details = Details::new();
            details
                .set("code", one.code())
                .set("jt", one.jt())
                .set("jf", one.jf())
                .set("k", one.k());
            details
        })
        .collect();
    let mut bytecode = Details::new();
    bytecode
        .set("length", count as u64)
        .set("insns", instructions);
    out.set("bytecode", bytecode);
    Ok(())
}

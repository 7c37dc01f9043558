//! What filters of each kind have.

#[cfg(kernel_has = "tc_action.tcfa_tm")]
mod action;
mod flower;

use kstruct::{Fault, Memory, View as _};
use linux::details::Details;
use linux::time::{Clock, jiffies_since};

use super::{Own, With};
use crate::qdisc::units::class_id;

/// What filters are read with.
pub struct Look<'a> {
    pub k: &'a Memory,
    pub device: kernel::net_device<'a>,
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

/// Reads the filters of a `tcf_proto`.
pub fn of_kind(
    kind: &str,
    proto: kernel::tcf_proto<'_>,
    (device, cpus, clock): With<'_>,
    out: &mut Own,
) -> Result<(), Fault> {
    if proto.root().is_null() {
        return Ok(());
    }
    let look = &Look {
        k: proto.memory(),
        device,
        cpus,
        clock,
    };
    match kind {
        #[cfg(kernel_has = "tc_u_knode.pcpu_success")]
        "u32" => u32_filters(proto, look, out),
        #[cfg(kernel_has = "cls_mall_head.pf")]
        "matchall" => matchall(proto, look, out),
        #[cfg(kernel_has = "fl_flow_key.tp_range")]
        "flower" => flower::filters(proto, look, out),
        #[cfg(all(kernel_has = "basic_filter.ematches", kernel_has = "tc_u32_key"))]
        "basic" => basic(proto, look, out),
        #[cfg(kernel_has = "fw_filter.id")]
        "fw" => fw(proto, look, out),
        #[cfg(kernel_has = "cls_bpf_prog.bpf_num_ops")]
        "bpf" => bpf(proto, look, out),
        #[cfg(kernel_has = "route4_filter.handle")]
        "route" => route(proto, look, out),
        _ => Ok(()),
    }
}

/// Whether a filter may be, and is, in hardware (`TCA_CLS_FLAGS_*`).
#[cfg(any(
    kernel_has = "tc_u_knode.pcpu_success",
    kernel_has = "cls_mall_head.pf",
    kernel_has = "fl_flow_key.tp_range",
    kernel_has = "cls_bpf_prog.bpf_num_ops"
))]
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
        let actions = action::actions(exts, look)?;
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
    /// No table of filters has more.
    const MOST_BUCKETS: usize = 4096;
    let common = proto.data().cast::<kernel::tc_u_common<'_>>().deref()?;
    // What is in all of its tables: its root's was given to it at the same time (u32_init).
    let root = proto.root().cast::<kernel::tc_u_hnode<'_>>().deref()?;
    for table in kstruct::walk::chain(Ok(common.hlist()), |table: kernel::tc_u_hnode<'_>| {
        table.next()
    }) {
        let table = table?;
        if table.prio() != root.prio() {
            continue;
        }
        let mut details = Details::new();
        details
            .set("fh", u32_handle(table.handle()))
            .set("ht_divisor", u64::from(table.divisor()) + 1);
        out.push((table.addr(), details));
        let buckets = (table.divisor() as usize).min(MOST_BUCKETS) + 1;
        for first in table.ht().array(buckets)?.iter() {
            for node in kstruct::walk::chain(Ok(first), |node: kernel::tc_u_knode<'_>| node.next())
            {
                let node = node?;
                out.push((node.addr(), u32_node(node, look)?));
            }
        }
    }
    if root.prio() != proto.prio() {
        return Err(Fault {
            address: root.addr(),
            kind: kstruct::FaultKind::Inconsistent,
        });
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
                .set("value", format!("{:x}", linux::net::order::be32(key.val())))
                .set("mask", format!("{:x}", linux::net::order::be32(key.mask())))
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
        out.set(
            "hash_mask",
            format!("{:x}", linux::net::order::be32(selector.hmask())),
        )
        .set("hash_off", selector.hoff());
    }
    // TC_U32_OFFSET, TC_U32_VAROFFSET.
    if selector.flags() & 6 != 0 {
        let mut offset = Details::new();
        offset
            .set(
                "mask",
                format!("{:04x}", linux::net::order::be16(selector.offmask())),
            )
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
        let data: kstruct::Ptr<'_, kernel::tcf_em_cmp<'_>> =
            kstruct::Ptr::new(one.memory(), one.data());
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
        let data: kstruct::Ptr<'_, kernel::tc_u32_key<'_>> =
            kstruct::Ptr::new(one.memory(), one.data());
        let key = data.deref()?;
        let next = if key.offmask() == 0 { "" } else { "nexthdr+" };
        details.set(
            "expression",
            format!(
                "u32({:08x}/{:08x} at {next}{})",
                linux::net::order::be32(key.val()),
                linux::net::order::be32(key.mask()),
                key.off()
            ),
        );
    }
    const SIMPLE: u16 = 8;
    let length = (one.datalen() as usize).min(256);
    if flags & SIMPLE != 0 || length == 0 {
        details.set("data", format!("{:x}", one.data()));
    } else {
        let data: kstruct::Ptr<'_, u8> = kstruct::Ptr::new(one.memory(), one.data());
        details.set(
            "data",
            linux::details::hexadecimal(data.array(length)?.bytes()),
        );
    }
    Ok(details)
}

/// `fw_walk`, `fw_dump`.
#[cfg(kernel_has = "fw_filter.id")]
fn fw(proto: kernel::tcf_proto<'_>, look: &Look<'_>, out: &mut Own) -> Result<(), Fault> {
    let head = proto.root().cast::<kernel::fw_head<'_>>().deref()?;
    for first in head.ht().iter() {
        for filter in kstruct::walk::chain(Ok(first), |filter: kernel::fw_filter<'_>| filter.next())
        {
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
    let head = proto.root().cast::<kernel::route4_head<'_>>().deref()?;
    for bucket in head.table().iter() {
        let Some(bucket) = bucket.deref_or_null()? else {
            continue;
        };
        for first in bucket.ht().iter() {
            let chain =
                kstruct::walk::chain(Ok(first), |filter: kernel::route4_filter<'_>| filter.next());
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
                .set("tag", linux::details::hexadecimal(program.tag().bytes()));
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
    instructions: kstruct::Ptr<'m, kernel::sock_filter<'m>>,
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

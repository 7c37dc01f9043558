//! Interfaces as text for people.

use std::fmt::Write as _;

use crate::Interface;

impl Interface {
    /// A paragraph of it.
    pub fn describe(&self, out: &mut String) {
        let _ = writeln!(
            out,
            "{}: {}{}  <{}>  mtu {}  {}{}state {}  net_device {:x}",
            self.ifindex,
            self.name,
            self.below
                .as_ref()
                .map_or_else(String::new, |below| format!("@{below}")),
            self.flags.join(","),
            self.mtu,
            self.master
                .as_ref()
                .map_or_else(String::new, |master| format!("master {master}  ")),
            self.operstate
                .map_or_else(String::new, |state| format!("operstate {state}  ")),
            self.state.join("|"),
            self.address,
        );
        let link = match self.mac.as_str() {
            "" => String::new(),
            mac => format!("  link {mac}"),
        };
        let kind = match self.kind.as_str() {
            "" => String::new(),
            kind => format!("  kind {kind}"),
        };
        if !(link.is_empty() && kind.is_empty()) {
            let _ = writeln!(out, "  {link}{kind}");
        }
        for address in &self.ipv4 {
            let peer = address
                .peer
                .map_or_else(String::new, |peer| format!(" peer {peer}"));
            let _ = write!(out, "    inet {}{peer}/{}", address.address, address.prefix);
            if let Some(broadcast) = address.broadcast {
                let _ = write!(out, " brd {broadcast}");
            }
            let secondary = if address.secondary { " secondary" } else { "" };
            let _ = writeln!(out, " scope {}{secondary} {}", address.scope, address.label);
        }
        for address in &self.ipv6 {
            let _ = writeln!(
                out,
                "    inet6 {}/{} scope {}",
                address.address, address.prefix, address.scope
            );
        }
        match (&self.rx, &self.tx) {
            (Some(rx), Some(tx)) => {
                let _ = writeln!(
                    out,
                    "    rx {} packets, {} bytes, {} errors, {} dropped, {} multicast",
                    rx.packets, rx.bytes, rx.errors, rx.dropped, rx.multicast
                );
                let _ = writeln!(
                    out,
                    "    tx {} packets, {} bytes, {} errors, {} dropped, {} collisions",
                    tx.packets, tx.bytes, tx.errors, tx.dropped, tx.collisions
                );
            }
            _ => {
                let _ = writeln!(
                    out,
                    "    counters are not known{}",
                    self.stats_unknown
                        .as_ref()
                        .map_or_else(String::new, |function| {
                            format!(": the driver keeps them, behind {function}")
                        })
                );
            }
        }
        for (what, age) in [("received", &self.last_rx), ("sent", &self.trans_start)] {
            if let Some(age) = age {
                let seconds = age.seconds.map_or_else(
                    || format!("{} jiffies", age.jiffies),
                    |seconds| format!("{seconds:.3} s"),
                );
                let _ = writeln!(out, "    last {what} {seconds} ago");
            }
        }
        for qdisc in &self.qdiscs {
            let _ = write!(
                out,
                "    qdisc {} {} {}",
                qdisc.kind, qdisc.handle, qdisc.parent
            );
            #[cfg(kernel_has = "net_device.qdisc_hash")]
            for (name, block) in [
                ("ingress_block", qdisc.ingress_block),
                ("egress_block", qdisc.egress_block),
            ] {
                if let Some(block) = block {
                    let _ = write!(out, " {name} {block}");
                }
            }
            let _ = write!(
                out,
                "  qlen {}  backlog {}  sent {} packets, {} bytes  dropped {}  overlimits {}  requeues {}",
                qdisc.qlen,
                qdisc.backlog,
                qdisc.packets,
                qdisc.bytes,
                qdisc.drops,
                qdisc.overlimits,
                qdisc.requeues
            );
            if !qdisc.bands.is_empty() {
                let _ = write!(out, "  bands");
                for (index, band) in qdisc.bands.iter().enumerate() {
                    let _ = write!(out, " {index}:{band}");
                }
            }
            out.push('\n');
            #[cfg(kernel_has = "net_device.qdisc_hash")]
            qdisc_details(qdisc, out);
        }
        #[cfg(kernel_has = "net_device.qdisc_hash")]
        self.describe_extras(out);
    }

    #[cfg(kernel_has = "net_device.qdisc_hash")]
    fn describe_extras(&self, out: &mut String) {
        let extras = &self.extras;
        if let Some(link) = &extras.link {
            let _ = writeln!(out, "    details {}", link.link);
            if !link.info_data.is_empty() {
                let _ = writeln!(out, "    {} {}", self.kind, link.info_data);
            }
            if let Some(kind) = &link.info_slave_kind {
                let _ = writeln!(out, "    part of a {kind} {}", link.info_slave_data);
            }
            if !link.driver.is_empty() {
                let _ = writeln!(out, "    {}", link.driver);
            }
            if !link.features.is_empty() {
                let _ = writeln!(out, "    features {}", link.features.join(" "));
            }
        }
        for (what, rows) in [
            ("address", &extras.addr_info),
            ("maddr", &extras.maddr),
            ("fdb", &extras.fdb),
            ("vlan", &extras.vlans),
            ("mdb", &extras.mdb),
        ] {
            for row in rows {
                let _ = writeln!(out, "    {what} {row}");
            }
        }
        if let Some(queues) = &extras.queues {
            describe_queues(queues, out);
        }
    }
}

/// What `tc -d` and `tc class` show of a discipline.
#[cfg(kernel_has = "net_device.qdisc_hash")]
fn qdisc_details(qdisc: &crate::qdisc::Discipline, out: &mut String) {
    for details in [&qdisc.options, &qdisc.statistics] {
        if !details.is_empty() {
            let _ = writeln!(out, "      {details}");
        }
    }
    for class in &qdisc.classes {
        let leaf = class
            .leaf
            .as_ref()
            .map_or_else(String::new, |leaf| format!(" leaf {leaf}"));
        let _ = writeln!(
            out,
            "      class {} {} parent {}{leaf}  qlen {}  backlog {}  sent {} packets, {} bytes  dropped {}  overlimits {}",
            class.kind,
            class.handle,
            class.parent,
            class.qlen,
            class.backlog,
            class.packets,
            class.bytes,
            class.drops,
            class.overlimits,
        );
        for details in [&class.options, &class.statistics] {
            if !details.is_empty() {
                let _ = writeln!(out, "        {details}");
            }
        }
    }
    for packet in &qdisc.waiting {
        let _ = writeln!(
            out,
            "      packet {:x}  {} bytes  protocol {:#06x}  priority {}  mark {:#x}  queue {}  tstamp {}  sk {:x}",
            packet.address,
            packet.len,
            packet.protocol,
            packet.priority,
            packet.mark,
            packet.queue_mapping,
            packet.tstamp,
            packet.sk,
        );
    }
    #[cfg(kernel_has = "tcf_block.chain_list")]
    for filter in qdisc
        .filters
        .iter()
        .filter(|filter| !filter.options.is_empty())
    {
        let _ = write!(out, "      filter");
        if let Some(direction) = filter.direction {
            let _ = write!(out, " {direction}");
        }
        if let Some(block) = filter.block {
            let _ = write!(out, " block {block}");
        }
        let _ = writeln!(
            out,
            " protocol {} pref {} {} chain {}  {}",
            filter.protocol, filter.pref, filter.kind, filter.chain, filter.options
        );
    }
}

#[cfg(kernel_has = "net_device.qdisc_hash")]
fn describe_queues(queues: &crate::queues::Queues, out: &mut String) {
    let age = |age: &linux::time::Age| {
        age.seconds.map_or_else(
            || format!("{} jiffies", age.jiffies),
            |seconds| format!("{seconds:.3} s"),
        )
    };
    for queue in &queues.tx {
        let _ = write!(out, "    tx-{} {:x}", queue.index, queue.address);
        if let Some(qdisc) = &queue.qdisc {
            let _ = write!(out, "  qdisc {qdisc}");
        }
        if !queue.state.is_empty() {
            let _ = write!(out, "  state {}", queue.state.join("|"));
        }
        if let Some(start) = &queue.trans_start {
            let _ = write!(out, "  sent {} ago", age(start));
        }
        let _ = write!(out, "  timeouts {}", queue.tx_timeout);
        if !queue.xps_cpus.is_empty() {
            let _ = write!(out, "  xps {:?}", queue.xps_cpus);
        }
        if let Some(owner) = queue.xmit_lock_owner {
            let _ = write!(out, "  locked by CPU {owner}");
        }
        // Of drivers that use them: who doesn't never queues anything.
        if queue.has_byte_queue_limits {
            let _ = write!(out, "  bql {}", queue.byte_queue_limits);
        }
        out.push('\n');
    }
    for queue in &queues.rx {
        let _ = write!(out, "    rx-{} {:x}", queue.index, queue.address);
        if !queue.rps_cpus.is_empty() {
            let _ = write!(out, "  rps {:?}", queue.rps_cpus);
        }
        if queue.rps_flow_cnt != 0 {
            let _ = write!(out, "  flows {}", queue.rps_flow_cnt);
        }
        out.push('\n');
    }
    // Interfaces without a time to wait have none.
    if let Some(watchdog) = &queues.watchdog
        && (watchdog.timeout.jiffies != 0 || watchdog.is_pending)
    {
        let _ = write!(out, "    watchdog after {}", age(&watchdog.timeout));
        match &watchdog.expires {
            Some(expires) => {
                let _ = writeln!(out, "  looks in {}", age(expires));
            }
            None => out.push_str("  stopped\n"),
        }
    }
    for napi in &queues.napi {
        let _ = write!(
            out,
            "    napi {:x}  id {}  {}  weight {}  state {}  gro {}  waiting {}",
            napi.address,
            napi.napi_id,
            napi.poll,
            napi.weight,
            napi.state.join("|"),
            napi.gro_count,
            napi.rx_count,
        );
        if let Some(irq) = napi.irq {
            let _ = write!(out, "  irq {irq}");
        }
        if napi.threaded {
            out.push_str("  threaded");
        }
        out.push('\n');
    }
}

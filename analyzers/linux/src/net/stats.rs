//! Interface counters, summed over CPUs, queues and lower interfaces as the kernel does when it is asked for them.

use kernel::{net_device, net_device_stats};
use kstruct::Fault;
use serde::Serialize;

/// What the kernel would answer: `struct rtnl_link_stats64`, whose members include/uapi/linux/if_link.h explains.
#[derive(Debug, Default, Clone, Copy, Serialize, PartialEq, Eq)]
pub struct Stats {
    /// Good packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Good bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Bad packets received, of all kinds.
    pub rx_errors: u64,
    /// Packets that could not be sent, of all kinds.
    pub tx_errors: u64,
    /// Packets received that were not processed, for want of memory or of a protocol that wants them.
    pub rx_dropped: u64,
    /// Packets dropped on their way out.
    pub tx_dropped: u64,
    /// Multicast packets received.
    pub multicast: u64,
    /// Collisions while sending.
    pub collisions: u64,
    /// Packets received with a wrong length.
    pub rx_length_errors: u64,
    /// Overflows of what the interface receives into.
    pub rx_over_errors: u64,
    /// Packets received with a wrong checksum (CRC).
    pub rx_crc_errors: u64,
    /// Packets received with a wrong alignment.
    pub rx_frame_errors: u64,
    /// Overflows of the queue for what is received.
    pub rx_fifo_errors: u64,
    /// Packets that the host had no room for.
    pub rx_missed_errors: u64,
    /// Sending that was given up.
    pub tx_aborted_errors: u64,
    /// Sending that lost its carrier.
    pub tx_carrier_errors: u64,
    /// Underflows of the queue for what is sent.
    pub tx_fifo_errors: u64,
    /// Heartbeats of the transceiver that did not come.
    pub tx_heartbeat_errors: u64,
    /// Collisions that came too late.
    pub tx_window_errors: u64,
    /// Compressed packets received.
    pub rx_compressed: u64,
    /// Compressed packets sent.
    pub tx_compressed: u64,
    /// Packets dropped as nobody wanted them on an interface that is not active.
    pub rx_nohandler: u64,
    /// Packets dropped as they were for another host.
    pub rx_otherhost_dropped: u64,
}

/// Copies members of the same name.
macro_rules! stats_from {
    ($source:expr; $($member:ident)*) => {
        Stats { $($member: $source.$member(),)* ..Stats::default() }
    };
}

impl From<net_device_stats<'_>> for Stats {
    fn from(stats: net_device_stats<'_>) -> Self {
        let mut out = stats_from!(stats;
            rx_packets tx_packets rx_bytes tx_bytes rx_errors tx_errors rx_dropped tx_dropped multicast collisions
            rx_length_errors rx_over_errors rx_crc_errors rx_frame_errors rx_fifo_errors rx_missed_errors
            tx_aborted_errors tx_carrier_errors tx_fifo_errors tx_heartbeat_errors);
        // Dropped from the struct in 6.6, and never used by most drivers.
        #[cfg(kernel_has = "net_device_stats.tx_window_errors")]
        {
            out.tx_window_errors = stats.tx_window_errors();
            out.rx_compressed = stats.rx_compressed();
            out.tx_compressed = stats.tx_compressed();
        }
        #[cfg(not(kernel_has = "net_device_stats.tx_window_errors"))]
        let _ = &mut out;
        out
    }
}

/// Why an interface's counters are not known.
#[derive(Debug)]
pub enum Unknown {
    /// Memory could not be read.
    Fault(Fault),
    /// A driver keeps them in structs that these bindings don't have, behind this function.
    Driver(String),
}

impl From<Fault> for Unknown {
    fn from(fault: Fault) -> Self {
        Unknown::Fault(fault)
    }
}

/// An interface's counters, as /proc/net/dev and `ip -s link` show them.
pub fn stats(device: net_device<'_>, cpus: &[u32]) -> Result<Stats, Unknown> {
    imp::stats(device, cpus, 0)
}

/// Kernels whose drivers answer in 64 bits (`dev_get_stats` since 2.6.36).
#[cfg(kernel_has = "net_device_ops.ndo_get_stats64")]
mod imp {
    use super::{Stats, Unknown};
    use kernel::net_device;
    use kstruct::Fault;

    use crate::counter::Counter as _;

    use super::super::{kind, private};

    /// Bonds of bonds of bonds: more than anyone stacks.
    const MAX_DEPTH: u32 = 8;

    pub fn stats(device: net_device<'_>, cpus: &[u32], depth: u32) -> Result<Stats, Unknown> {
        let ops = device.netdev_ops().deref()?;
        let mut out = if !ops.ndo_get_stats64().is_null() {
            driver(device, cpus, ops.ndo_get_stats64(), depth)?
        } else if !ops.ndo_get_stats().is_null() {
            return Err(unknown(ops.ndo_get_stats()));
        } else {
            generic(device, cpus)?
        };
        #[cfg(kernel_has = "net_device.core_stats")]
        if !device.core_stats().is_null() {
            for cpu in cpus {
                let core = device.core_stats().on_cpu(*cpu)?.deref()?;
                out.rx_dropped += core.rx_dropped();
                out.tx_dropped += core.tx_dropped();
                out.rx_nohandler += core.rx_nohandler();
                #[cfg(kernel_has = "net_device_core_stats.rx_otherhost_dropped")]
                {
                    out.rx_otherhost_dropped += core.rx_otherhost_dropped();
                }
            }
        }
        Ok(out)
    }

    fn unknown(function: kstruct::FnPtr<'_>) -> Unknown {
        Unknown::Driver(match function.name() {
            Some(name) => name.to_owned(),
            None => format!("{:#x}", function.addr()),
        })
    }

    /// Interfaces without a function of their own.
    fn generic(device: net_device<'_>, cpus: &[u32]) -> Result<Stats, Fault> {
        #[cfg(kernel_has = "const:NETDEV_PCPU_STAT_TSTATS")]
        if device.pcpu_stat_type() == kernel::netdev_stat_type::NETDEV_PCPU_STAT_TSTATS {
            return tunnel(device, cpus);
        }
        #[cfg(all(
            kernel_has = "pcpu_dstats.rx_drops",
            kernel_has = "const:NETDEV_PCPU_STAT_DSTATS"
        ))]
        if device.pcpu_stat_type() == kernel::netdev_stat_type::NETDEV_PCPU_STAT_DSTATS {
            return dropping(device, cpus);
        }
        let _ = cpus;
        Ok(device.stats().into())
    }

    /// `dev_get_dstats64`: what is dropped is counted per CPU, too.
    #[cfg(kernel_has = "pcpu_dstats.rx_drops")]
    fn dropping(device: net_device<'_>, cpus: &[u32]) -> Result<Stats, Fault> {
        let mut out = Stats::from(device.stats());
        for cpu in cpus {
            let stats = device.dstats().on_cpu(*cpu)?.deref()?;
            out.rx_packets += stats.rx_packets().count();
            out.rx_bytes += stats.rx_bytes().count();
            out.rx_dropped += stats.rx_drops().count();
            out.tx_packets += stats.tx_packets().count();
            out.tx_bytes += stats.tx_bytes().count();
            out.tx_dropped += stats.tx_drops().count();
        }
        Ok(out)
    }

    /// `vrf_get_stats64`, drivers/net/vrf.c, while its counters were its own.
    #[cfg(kernel_has = "pcpu_dstats.rx_pkts")]
    fn vrf(device: net_device<'_>, cpus: &[u32]) -> Result<Stats, Fault> {
        let mut out = Stats::default();
        for cpu in cpus {
            let stats = device.dstats().on_cpu(*cpu)?.deref()?;
            out.rx_packets += stats.rx_pkts();
            out.rx_bytes += stats.rx_bytes();
            out.tx_packets += stats.tx_pkts();
            out.tx_bytes += stats.tx_bytes();
            out.tx_dropped += stats.tx_drps();
        }
        Ok(out)
    }

    /// What the functions of the kernel and of drivers do. Those of modules are known by the kind of interface.
    fn driver(
        device: net_device<'_>,
        cpus: &[u32],
        function: kstruct::FnPtr<'_>,
        depth: u32,
    ) -> Result<Stats, Unknown> {
        match (function.name(), kind(device)?.as_str()) {
            (Some("dev_get_tstats64"), _) => Ok(tunnel(device, cpus)?),
            (Some("loopback_get_stats64"), _) => {
                let (packets, bytes) = light(device, cpus)?;
                Ok(Stats {
                    rx_packets: packets,
                    tx_packets: packets,
                    rx_bytes: bytes,
                    tx_bytes: bytes,
                    ..Stats::default()
                })
            }
            (None, "dummy") => {
                let (packets, bytes) = light(device, cpus)?;
                Ok(Stats {
                    tx_packets: packets,
                    tx_bytes: bytes,
                    ..Stats::default()
                })
            }
            #[cfg(kernel_has = "vlan_dev_priv.vlan_pcpu_stats")]
            (_, "vlan") => Ok(vlan(device, cpus)?),
            #[cfg(kernel_has = "macvlan_dev.pcpu_stats")]
            (_, "macvlan" | "macvtap") => Ok(macvlan(device, cpus)?),
            #[cfg(kernel_has = "ipvl_dev.pcpu_stats")]
            (_, "ipvlan") => Ok(ipvlan(device, cpus)?),
            #[cfg(kernel_has = "pcpu_dstats.rx_pkts")]
            (_, "vrf") => Ok(vrf(device, cpus)?),
            #[cfg(kernel_has = "pcpu_dstats.rx_drops")]
            (Some("dev_get_dstats64"), _) | (_, "vrf") => Ok(dropping(device, cpus)?),
            #[cfg(kernel_has = "team.pcpu_stats")]
            (_, "team") => Ok(team(device, cpus)?),
            #[cfg(kernel_has = "veth_priv")]
            (_, "veth") => Ok(veth(device, cpus)?),
            #[cfg(kernel_has = "bonding.bond_stats")]
            (_, "bond") => bond(device, cpus, depth),
            #[cfg(kernel_has = "ifb_q_private.rx_stats")]
            (_, "ifb") => Ok(ifb(device)?),
            #[cfg(kernel_has = "tun_struct.rx_frame_errors")]
            (_, "tun") => {
                let tun = private::<kernel::tun_struct<'_>>(device).deref()?;
                let mut out = tunnel(device, cpus)?;
                out.rx_frame_errors += tun.rx_frame_errors().counter().count();
                Ok(out)
            }
            #[cfg(kernel_has = "virtnet_info.max_queue_pairs")]
            (_, "") if is_virtio(device)? => Ok(virtio(device)?),
            _ => {
                let _ = (depth, MAX_DEPTH);
                Err(unknown(function))
            }
        }
    }

    /// Cards have no kind: what tells them apart is the driver's name.
    #[cfg(kernel_has = "virtnet_info.max_queue_pairs")]
    fn is_virtio(device: net_device<'_>) -> Result<bool, Fault> {
        let Some(parent) = device.dev().parent().deref_or_null()? else {
            return Ok(false);
        };
        let Some(driver) = parent.driver().deref_or_null()? else {
            return Ok(false);
        };
        Ok(driver.name().read()? == "virtio_net")
    }

    /// `virtnet_stats`, drivers/net/virtio_net.c.
    #[cfg(kernel_has = "virtnet_info.max_queue_pairs")]
    fn virtio(device: net_device<'_>) -> Result<Stats, Fault> {
        let own = private::<kernel::virtnet_info<'_>>(device).deref()?;
        let stats = device.stats();
        let mut out = Stats {
            tx_dropped: Stats::from(stats).tx_dropped,
            tx_fifo_errors: Stats::from(stats).tx_fifo_errors,
            rx_length_errors: Stats::from(stats).rx_length_errors,
            rx_frame_errors: Stats::from(stats).rx_frame_errors,
            ..Stats::default()
        };
        let pairs = usize::from(own.max_queue_pairs());
        for (rq, sq) in own
            .rq()
            .array(pairs)?
            .iter()
            .zip(own.sq().array(pairs)?.iter())
        {
            let (received, sent) = (rq.stats(), sq.stats());
            out.rx_packets += received.packets().count();
            out.rx_bytes += received.bytes().count();
            out.rx_dropped += received.drops().count();
            out.tx_packets += sent.packets().count();
            out.tx_bytes += sent.bytes().count();
            out.tx_errors += sent.tx_timeouts().count();
        }
        Ok(out)
    }

    /// `dev_lstats_read`: packets and bytes.
    fn light(device: net_device<'_>, cpus: &[u32]) -> Result<(u64, u64), Fault> {
        let (mut packets, mut bytes) = (0, 0);
        for cpu in cpus {
            let stats = device.lstats().on_cpu(*cpu)?.deref()?;
            packets += stats.packets().count();
            bytes += stats.bytes().count();
        }
        Ok((packets, bytes))
    }

    /// `dev_get_tstats64`: the struct's own counters, and those per CPU.
    fn tunnel(device: net_device<'_>, cpus: &[u32]) -> Result<Stats, Fault> {
        let mut out = Stats::from(device.stats());
        for cpu in cpus {
            let stats = device.tstats().on_cpu(*cpu)?.deref()?;
            out.rx_packets += stats.rx_packets().count();
            out.rx_bytes += stats.rx_bytes().count();
            out.tx_packets += stats.tx_packets().count();
            out.tx_bytes += stats.tx_bytes().count();
        }
        Ok(out)
    }

    /// `vlan_dev_get_stats64`, net/8021q/vlan_dev.c.
    #[cfg(kernel_has = "vlan_dev_priv.vlan_pcpu_stats")]
    fn vlan(device: net_device<'_>, cpus: &[u32]) -> Result<Stats, Fault> {
        let vlan = private::<kernel::vlan_dev_priv<'_>>(device).deref()?;
        let mut out = Stats::default();
        for cpu in cpus {
            let stats = vlan.vlan_pcpu_stats().on_cpu(*cpu)?.deref()?;
            out.rx_packets += stats.rx_packets().count();
            out.rx_bytes += stats.rx_bytes().count();
            out.multicast += stats.rx_multicast().count();
            out.tx_packets += stats.tx_packets().count();
            out.tx_bytes += stats.tx_bytes().count();
            out.rx_errors += u64::from(stats.rx_errors());
            out.tx_dropped += u64::from(stats.tx_dropped());
        }
        Ok(out)
    }

    /// `macvlan_dev_get_stats64`, drivers/net/macvlan.c.
    #[cfg(kernel_has = "macvlan_dev.pcpu_stats")]
    fn macvlan(device: net_device<'_>, cpus: &[u32]) -> Result<Stats, Fault> {
        let own = private::<kernel::macvlan_dev<'_>>(device).deref()?;
        let mut out = Stats::default();
        for cpu in cpus {
            let stats = own.pcpu_stats().on_cpu(*cpu)?.deref()?;
            out.rx_packets += stats.rx_packets().count();
            out.rx_bytes += stats.rx_bytes().count();
            out.multicast += stats.rx_multicast().count();
            out.tx_packets += stats.tx_packets().count();
            out.tx_bytes += stats.tx_bytes().count();
            out.rx_errors += u64::from(stats.rx_errors());
            out.tx_dropped += u64::from(stats.tx_dropped());
        }
        out.rx_dropped = out.rx_errors;
        Ok(out)
    }

    /// `ipvlan_get_stats64`, drivers/net/ipvlan/ipvlan_main.c.
    #[cfg(kernel_has = "ipvl_dev.pcpu_stats")]
    fn ipvlan(device: net_device<'_>, cpus: &[u32]) -> Result<Stats, Fault> {
        let own = private::<kernel::ipvl_dev<'_>>(device).deref()?;
        let mut out = Stats::default();
        for cpu in cpus {
            let stats = own.pcpu_stats().on_cpu(*cpu)?.deref()?;
            out.rx_packets += stats.rx_pkts().count();
            out.rx_bytes += stats.rx_bytes().count();
            out.multicast += stats.rx_mcast().count();
            out.tx_packets += stats.tx_pkts().count();
            out.tx_bytes += stats.tx_bytes().count();
            out.rx_errors += u64::from(stats.rx_errs());
            out.tx_dropped += u64::from(stats.tx_drps());
        }
        out.rx_dropped = out.rx_errors;
        out.tx_errors = out.tx_dropped;
        Ok(out)
    }

    /// `team_get_stats64`, drivers/net/team.
    #[cfg(kernel_has = "team.pcpu_stats")]
    fn team(device: net_device<'_>, cpus: &[u32]) -> Result<Stats, Fault> {
        let own = private::<kernel::team<'_>>(device).deref()?;
        let mut out = Stats::default();
        for cpu in cpus {
            let stats = own.pcpu_stats().on_cpu(*cpu)?.deref()?;
            out.rx_packets += stats.rx_packets().count();
            out.rx_bytes += stats.rx_bytes().count();
            out.multicast += stats.rx_multicast().count();
            out.tx_packets += stats.tx_packets().count();
            out.tx_bytes += stats.tx_bytes().count();
            out.rx_dropped += u64::from(stats.rx_dropped());
            out.tx_dropped += u64::from(stats.tx_dropped());
            out.rx_nohandler += u64::from(stats.rx_nohandler());
        }
        Ok(out)
    }

    /// `veth_get_stats64`, drivers/net/veth.c: what one end sends, the other receives.
    #[cfg(kernel_has = "veth_priv")]
    fn veth(device: net_device<'_>, cpus: &[u32]) -> Result<Stats, Fault> {
        let own = private::<kernel::veth_priv<'_>>(device).deref()?;
        let sent = veth_sent(device, cpus)?;
        let queues = VethQueues::sum(device)?;
        let mut out = Stats {
            tx_dropped: own.dropped().counter().cast_unsigned() + queues.tx_errors,
            rx_packets: queues.packets,
            rx_bytes: queues.bytes,
            rx_dropped: queues.drops + queues.peer_errors,
            ..sent
        };
        if let Some(peer) = own.peer().deref_or_null()? {
            let received = veth_sent(peer, cpus)?;
            let queues = VethQueues::sum(peer)?;
            out.rx_packets += received.tx_packets;
            out.rx_bytes += received.tx_bytes;
            out.rx_dropped += queues.tx_errors;
            out.tx_dropped += queues.peer_errors;
            out.tx_packets += queues.packets;
            out.tx_bytes += queues.bytes;
        }
        Ok(out)
    }

    /// What one end has sent. The counters' type changed in 6.6, and in older kernels that took the change over; the
    /// members that lead to them are a union.
    #[cfg(kernel_has = "veth_priv")]
    fn veth_sent(device: net_device<'_>, cpus: &[u32]) -> Result<Stats, Fault> {
        let mut out = Stats::default();
        #[cfg(kernel_has = "const:NETDEV_PCPU_STAT_TSTATS")]
        if device.pcpu_stat_type() == kernel::netdev_stat_type::NETDEV_PCPU_STAT_TSTATS {
            for cpu in cpus {
                let stats = device.tstats().on_cpu(*cpu)?.deref()?;
                out.tx_packets += stats.tx_packets().count();
                out.tx_bytes += stats.tx_bytes().count();
            }
            return Ok(out);
        }
        (out.tx_packets, out.tx_bytes) = light(device, cpus)?;
        Ok(out)
    }

    /// What a veth's receive queues count when XDP is in use.
    #[cfg(kernel_has = "veth_priv")]
    #[derive(Default)]
    struct VethQueues {
        packets: u64,
        bytes: u64,
        drops: u64,
        tx_errors: u64,
        peer_errors: u64,
    }

    #[cfg(kernel_has = "veth_priv")]
    impl VethQueues {
        fn sum(device: net_device<'_>) -> Result<Self, Fault> {
            let own = private::<kernel::veth_priv<'_>>(device).deref()?;
            let mut out = VethQueues::default();
            for queue in own.rq().array(device.num_rx_queues() as usize)?.iter() {
                let stats = queue.stats().vs();
                out.packets += stats.xdp_packets();
                out.bytes += stats.xdp_bytes();
                out.drops += stats.rx_drops();
                out.tx_errors += stats.xdp_tx_err();
                out.peer_errors += stats.peer_tq_xdp_xmit_err();
            }
            Ok(out)
        }
    }

    /// `ifb_stats64`, drivers/net/ifb.c.
    #[cfg(kernel_has = "ifb_q_private.rx_stats")]
    fn ifb(device: net_device<'_>) -> Result<Stats, Fault> {
        let ifb = private::<kernel::ifb_dev_private<'_>>(device).deref()?;
        let own = device.stats();
        let mut out = Stats {
            rx_dropped: own.rx_dropped(),
            tx_dropped: own.tx_dropped(),
            ..Stats::default()
        };
        for queue in ifb
            .tx_private()
            .array(device.num_tx_queues() as usize)?
            .iter()
        {
            let (rx, tx) = (queue.rx_stats(), queue.tx_stats());
            out.rx_packets += rx.packets().count();
            out.rx_bytes += rx.bytes().count();
            out.tx_packets += tx.packets().count();
            out.tx_bytes += tx.bytes().count();
        }
        Ok(out)
    }

    /// `bond_get_stats`, drivers/net/bonding/bond_main.c: what was counted before, and what each slave has counted since.
    #[cfg(kernel_has = "bonding.bond_stats")]
    fn bond(device: net_device<'_>, cpus: &[u32], depth: u32) -> Result<Stats, Unknown> {
        if depth > MAX_DEPTH {
            return Err(Unknown::Driver("bonds of bonds without end".into()));
        }
        let bond = private::<kernel::bonding<'_>>(device).deref()?;
        let mut out = Stats::from(bond.bond_stats());
        let lower = device.adj_list().lower();
        for adjacent in lower.entries(kernel::netdev_adjacent::list) {
            let slave = adjacent?.private().cast::<kernel::slave<'_>>().deref()?;
            let new = stats(slave.dev().deref()?, cpus, depth + 1)?;
            out.fold(&new, &Stats::from(slave.slave_stats()));
        }
        Ok(out)
    }
}

#[cfg(kernel_has = "rtnl_link_stats64")]
impl From<kernel::rtnl_link_stats64<'_>> for Stats {
    fn from(stats: kernel::rtnl_link_stats64<'_>) -> Self {
        let mut out = stats_from!(stats;
            rx_packets tx_packets rx_bytes tx_bytes rx_errors tx_errors rx_dropped tx_dropped multicast collisions
            rx_length_errors rx_over_errors rx_crc_errors rx_frame_errors rx_fifo_errors rx_missed_errors
            tx_aborted_errors tx_carrier_errors tx_fifo_errors tx_heartbeat_errors tx_window_errors
            rx_compressed tx_compressed rx_nohandler);
        #[cfg(kernel_has = "rtnl_link_stats64.rx_otherhost_dropped")]
        {
            out.rx_otherhost_dropped = stats.rx_otherhost_dropped();
        }
        #[cfg(not(kernel_has = "rtnl_link_stats64.rx_otherhost_dropped"))]
        let _ = &mut out;
        out
    }
}

impl Stats {
    /// Adds what changed between two readings (`bond_fold_stats`). Counters that went back, or that are only 32 bits wide
    /// and wrapped, are treated as the kernel treats them.
    #[cfg(kernel_has = "bonding.bond_stats")]
    fn fold(&mut self, new: &Stats, old: &Stats) {
        macro_rules! each {
            ($($member:ident)*) => {$(
                let (now, then) = (new.$member, old.$member);
                let delta = if (now | then) >> 32 == 0 {
                    i64::from((now as u32).wrapping_sub(then as u32).cast_signed())
                } else {
                    now.wrapping_sub(then).cast_signed()
                };
                if delta > 0 {
                    self.$member = self.$member.wrapping_add_signed(delta);
                }
            )*};
        }
        each!(rx_packets tx_packets rx_bytes tx_bytes rx_errors tx_errors rx_dropped tx_dropped multicast collisions
            rx_length_errors rx_over_errors rx_crc_errors rx_frame_errors rx_fifo_errors rx_missed_errors
            tx_aborted_errors tx_carrier_errors tx_fifo_errors tx_heartbeat_errors tx_window_errors
            rx_compressed tx_compressed rx_nohandler rx_otherhost_dropped);
    }
}

/// Kernels that ask the driver for the address of its `net_device_stats`.
#[cfg(not(kernel_has = "net_device_ops.ndo_get_stats64"))]
mod imp {
    use super::{Stats, Unknown};
    use kernel::net_device;

    pub fn stats(device: net_device<'_>, cpus: &[u32], _: u32) -> Result<Stats, Unknown> {
        let function = device.get_stats();
        if function.is_null() {
            return Ok(Stats::default());
        }
        match function.name() {
            // drivers/net/loopback.c sums what each CPU counted.
            #[cfg(kernel_has = "sym:loopback_stats")]
            Some("get_stats") => {
                let k = device.memory();
                let mut out = Stats::default();
                for cpu in cpus {
                    let stats = Stats::from(k.per_cpu(kernel::sym::loopback_stats, *cpu)?);
                    out.rx_packets += stats.rx_packets;
                    out.tx_packets += stats.tx_packets;
                    out.rx_bytes += stats.rx_bytes;
                    out.tx_bytes += stats.tx_bytes;
                }
                Ok(out)
            }
            #[cfg(kernel_has = "e1000_adapter.net_stats")]
            Some("e1000_get_stats") => {
                let adapter = super::super::private::<kernel::e1000_adapter<'_>>(device).deref()?;
                Ok(adapter.net_stats().into())
            }
            Some(name) => Err(Unknown::Driver(name.to_owned())),
            None => Err(Unknown::Driver(format!("{:#x}", function.addr()))),
        }
    }

    use kstruct::View as _;
}

//! Counters where kernels since 5.14 have them. Names are the kernel's own: its tables of names (`struct snmp_mib`) are read from the
//! dump, so that they are right whatever a kernel counts.

use kernel::{constants, net_device, snmp_mib, sym};
use kstruct::{Array, Fault, Memory};
use linux::Faults;
use linux::net::Namespace as Netns;

use crate::model::{Counter, Device, Namespace, RtCache, Sockets, Value};

/// What is sent has this bit in the index of `icmpmsg_mib`.
const SENT: usize = 0x100;

/// The sums over CPUs of a struct of counters, in its order.
macro_rules! sums {
    ($k:expr, $pointer:expr, $cpus:expr) => {{
        let pointer = $pointer;
        let mut sums: Vec<u64> = Vec::new();
        for cpu in $cpus {
            let mib = pointer.on_cpu(*cpu)?.deref()?;
            sums.resize(mib.mibs().len(), 0);
            for (sum, value) in sums.iter_mut().zip(mib.mibs().iter()) {
                *sum = sum.wrapping_add(value);
            }
        }
        sums
    }};
}

/// What all namespaces share.
pub struct Reader<'m, 'f> {
    /// The dump.
    pub k: &'m Memory,
    /// CPUs that may ever be there.
    pub cpus: &'f [u32],
    /// What could not be read.
    pub faults: &'f mut Faults,
}

impl<'m> Reader<'m, '_> {
    /// All counters of a namespace.
    pub fn namespace(&mut self, namespace: Netns<'m>) -> Namespace {
        let net = namespace.net();
        let mut counters = Vec::new();
        let v4 = self.ipv4(net, &mut counters);
        self.faults.check("IPv4 counters", v4);
        let v6 = self.ipv6(net, &mut counters);
        self.faults.check("IPv6 counters", v6);
        #[cfg(kernel_has = "sym:xfrm_mib_list")]
        {
            let ipsec = self.ipsec(net, &mut counters);
            self.faults.check("IPsec counters", ipsec);
        }
        let mut devices = Vec::new();
        for device in namespace.devices() {
            if let Some(device) = self.faults.check("list of interfaces", device) {
                let what = format!("IPv6 counters of {}", device.name());
                let found = self.device(device);
                devices.extend(self.faults.check(what, found).flatten());
            }
        }
        let sockets = self.sockets(net);
        let rt6 = self.rt6(net);
        Namespace {
            netns: namespace.inode().unwrap_or_default(),
            counters,
            devices,
            sockets: self
                .faults
                .check("socket counts", sockets)
                .unwrap_or_default(),
            rt6: self
                .faults
                .check("IPv6 routing counts", rt6)
                .unwrap_or_default(),
        }
    }

    /// A table's names and where their counters are, up to an entry without a name.
    fn names(&self, table: Array<'m, snmp_mib<'m>>) -> Result<Vec<(String, usize)>, Fault> {
        let mut found = Vec::new();
        for entry in table.iter() {
            if entry.name().is_null() {
                break;
            }
            let index = usize::try_from(entry.entry()).unwrap_or(usize::MAX);
            found.push((entry.name().read()?.to_string(), index));
        }
        Ok(found)
    }

    /// Counters by the names of a table.
    fn named(
        &self,
        prefix: &str,
        table: Array<'m, snmp_mib<'m>>,
        sums: &[u64],
        out: &mut Vec<Counter>,
    ) -> Result<(), Fault> {
        for (name, index) in self.names(table)? {
            let value = self.k.wrap(sums.get(index).copied().unwrap_or(0));
            out.push(Counter::new(format!("{prefix}{name}"), value));
        }
        Ok(())
    }

    /// /proc/net/snmp and /proc/net/netstat (net/ipv4/proc.c).
    fn ipv4(&self, net: kernel::net<'m>, out: &mut Vec<Counter>) -> Result<(), Fault> {
        let (k, cpus, mib) = (self.k, self.cpus, net.mib());
        let all = net.ipv4().devconf_all().deref()?;
        let forwarding = constants::IPV4_DEVCONF_FORWARDING as usize;
        let forwards = all.data().get(forwarding.wrapping_sub(1)).unwrap_or(0) != 0;
        out.push(Counter::new("IpForwarding", if forwards { 1 } else { 2 }));
        let ttl = u64::from(net.ipv4().sysctl_ip_default_ttl());
        out.push(Counter::new("IpDefaultTTL", ttl));
        let ip = sums!(k, mib.ip_statistics(), cpus);
        // 64 bits wide on all machines.
        for (name, index) in self.names(k.get(sym::snmp4_ipstats_list)?)? {
            out.push(Counter::new(format!("Ip{name}"), sum(&ip, index)));
        }
        self.icmp(net, out)?;
        let tcp = sums!(k, mib.tcp_statistics(), cpus);
        for (name, index) in self.names(k.get(sym::snmp4_tcp_list)?)? {
            let value = k.wrap(sum(&tcp, index));
            // Signed (RFC 2012): -1 is no limit.
            let value = if index == constants::TCP_MIB_MAXCONN as usize {
                Value::Signed(signed(value))
            } else {
                Value::Unsigned(value)
            };
            let name = format!("Tcp{name}");
            out.push(Counter { name, value });
        }
        let udp = k.get(sym::snmp4_udp_list)?;
        self.named("Udp", udp, &sums!(k, mib.udp_statistics(), cpus), out)?;
        #[cfg(kernel_has = "netns_mib.udplite_statistics")]
        self.named(
            "UdpLite",
            udp,
            &sums!(k, mib.udplite_statistics(), cpus),
            out,
        )?;
        let linux = sums!(k, mib.net_statistics(), cpus);
        self.named("TcpExt", k.get(sym::snmp4_net_list)?, &linux, out)?;
        for (name, index) in self.names(k.get(sym::snmp4_ipextstats_list)?)? {
            out.push(Counter::new(format!("IpExt{name}"), sum(&ip, index)));
        }
        #[cfg(all(
            kernel_has = "netns_mib.mptcp_statistics",
            kernel_has = "sym:mptcp_snmp_list"
        ))]
        {
            let mptcp = mib.mptcp_statistics();
            // Allocated when it is needed first (`mptcp_token_new_connect`, `mptcp_conn_request`).
            let mptcp = if mptcp.is_null() {
                Vec::new()
            } else {
                sums!(k, mptcp, cpus)
            };
            self.named("MPTcpExt", k.get(sym::mptcp_snmp_list)?, &mptcp, out)?;
        }
        Ok(())
    }

    /// `icmp_put` and `icmpmsg_put`.
    fn icmp(&self, net: kernel::net<'m>, out: &mut Vec<Counter>) -> Result<(), Fault> {
        let k = self.k;
        let sums = sums!(k, net.mib().icmp_statistics(), self.cpus);
        let messages: Vec<u64> = net
            .mib()
            .icmpmsg_statistics()
            .deref()?
            .mibs()
            .iter()
            .map(|count| i64::from(count.value()).cast_unsigned())
            .collect();
        let mut types = Vec::new();
        for entry in k.get(sym::icmpmibmap)?.iter() {
            if entry.name().is_null() {
                break;
            }
            let index = usize::try_from(entry.index()).unwrap_or(usize::MAX);
            types.push((entry.name().read()?.to_string(), index));
        }
        for (name, index) in [
            ("InMsgs", constants::ICMP_MIB_INMSGS),
            ("InErrors", constants::ICMP_MIB_INERRORS),
            ("InCsumErrors", constants::ICMP_MIB_CSUMERRORS),
        ] {
            let value = k.wrap(sum(&sums, index as usize));
            out.push(Counter::new(format!("Icmp{name}"), value));
        }
        for (name, index) in &types {
            out.push(Counter::new(
                format!("IcmpIn{name}"),
                k.wrap(sum(&messages, *index)),
            ));
        }
        for (name, index) in [
            ("OutMsgs", constants::ICMP_MIB_OUTMSGS),
            ("OutErrors", constants::ICMP_MIB_OUTERRORS),
            #[cfg(kernel_has = "const:ICMP_MIB_RATELIMITGLOBAL")]
            ("OutRateLimitGlobal", constants::ICMP_MIB_RATELIMITGLOBAL),
            #[cfg(kernel_has = "const:ICMP_MIB_RATELIMITGLOBAL")]
            ("OutRateLimitHost", constants::ICMP_MIB_RATELIMITHOST),
        ] {
            let value = k.wrap(sum(&sums, index as usize));
            out.push(Counter::new(format!("Icmp{name}"), value));
        }
        for (name, index) in &types {
            let value = k.wrap(sum(&messages, *index | SENT));
            out.push(Counter::new(format!("IcmpOut{name}"), value));
        }
        for (index, value) in messages.iter().enumerate() {
            if *value != 0 {
                let (way, kind) = direction(index);
                out.push(Counter::new(
                    format!("IcmpMsg{way}Type{kind}"),
                    k.wrap(*value),
                ));
            }
        }
        Ok(())
    }

    /// /proc/net/snmp6 (net/ipv6/proc.c).
    fn ipv6(&self, net: kernel::net<'m>, out: &mut Vec<Counter>) -> Result<(), Fault> {
        let (k, cpus, mib) = (self.k, self.cpus, net.mib());
        // IPv6 was turned off when the kernel was started.
        if mib.ipv6_statistics().is_null() && mib.icmpv6msg_statistics().is_null() {
            return Ok(());
        }
        let ip = sums!(k, mib.ipv6_statistics(), cpus);
        for (name, index) in self.names(k.get(sym::snmp6_ipstats_list)?)? {
            out.push(Counter::new(name, sum(&ip, index)));
        }
        let icmp = sums!(k, mib.icmpv6_statistics(), cpus);
        self.named("", k.get(sym::snmp6_icmp6_list)?, &icmp, out)?;
        let messages: Vec<u64> = mib
            .icmpv6msg_statistics()
            .deref()?
            .mibs()
            .iter()
            .map(|count| i64::from(count.value()).cast_unsigned())
            .collect();
        self.icmp6_messages(&messages, out)?;
        let udp = sums!(k, mib.udp_stats_in6(), cpus);
        self.named("", k.get(sym::snmp6_udp6_list)?, &udp, out)?;
        #[cfg(kernel_has = "netns_mib.udplite_stats_in6")]
        {
            let udplite = sums!(k, mib.udplite_stats_in6(), cpus);
            self.named("", k.get(sym::snmp6_udplite6_list)?, &udplite, out)?;
        }
        Ok(())
    }

    /// `snmp6_seq_show_icmpv6msg`: those whose type has a name, and once more by numbers those that are not 0.
    fn icmp6_messages(&self, messages: &[u64], out: &mut Vec<Counter>) -> Result<(), Fault> {
        let names = self.k.get(sym::icmp6type2name)?;
        for (index, value) in messages.iter().enumerate() {
            let (way, kind) = direction(index);
            if let Some(name) = names.get(kind)
                && !name.is_null()
            {
                let name = format!("Icmp6{way}{}", name.read()?);
                out.push(Counter::new(name, self.k.wrap(*value)));
            }
        }
        for (index, value) in messages.iter().enumerate() {
            if *value != 0 {
                let (way, kind) = direction(index);
                let name = format!("Icmp6{way}Type{kind}");
                out.push(Counter::new(name, self.k.wrap(*value)));
            }
        }
        Ok(())
    }

    /// /proc/net/dev_snmp6; `None` for an interface without IPv6.
    fn device(&self, device: net_device<'m>) -> Result<Option<Device>, Fault> {
        let k = self.k;
        let inet = device.ip6_ptr().cast::<kernel::inet6_dev<'_>>();
        let Some(inet) = inet.deref_or_null()? else {
            return Ok(None);
        };
        let mut counters = Vec::new();
        let stats = inet.stats();
        let ip = sums!(k, stats.ipv6(), self.cpus);
        for (name, index) in self.names(k.get(sym::snmp6_ipstats_list)?)? {
            counters.push(Counter::new(name, sum(&ip, index)));
        }
        // These are common to all CPUs.
        let icmp: Vec<u64> = stats
            .icmpv6dev()
            .deref()?
            .mibs()
            .iter()
            .map(|count| i64::from(count.value()).cast_unsigned())
            .collect();
        self.named("", k.get(sym::snmp6_icmp6_list)?, &icmp, &mut counters)?;
        let messages: Vec<u64> = stats
            .icmpv6msgdev()
            .deref()?
            .mibs()
            .iter()
            .map(|count| i64::from(count.value()).cast_unsigned())
            .collect();
        self.icmp6_messages(&messages, &mut counters)?;
        Ok(Some(Device {
            name: device.name().to_string(),
            ifindex: device.ifindex(),
            counters,
        }))
    }

    /// /proc/net/xfrm_stat (net/xfrm/xfrm_proc.c).
    #[cfg(kernel_has = "sym:xfrm_mib_list")]
    fn ipsec(&self, net: kernel::net<'m>, out: &mut Vec<Counter>) -> Result<(), Fault> {
        let sums = sums!(self.k, net.mib().xfrm_statistics(), self.cpus);
        self.named("", self.k.get(sym::xfrm_mib_list)?, &sums, out)
    }

    /// /proc/net/sockstat and sockstat6 (net/ipv4/proc.c, net/ipv6/proc.c).
    fn sockets(&self, net: kernel::net<'m>) -> Result<Vec<Sockets>, Fault> {
        let (k, cpus) = (self.k, self.cpus);
        let mut used = 0_i64;
        let mut by_protocol = Vec::new();
        for cpu in cpus {
            let inuse = net.core().prot_inuse().on_cpu(*cpu)?.deref()?;
            used = used.wrapping_add(inuse.all().into());
            by_protocol.resize(inuse.val().len(), 0_i64);
            for (sum, value) in by_protocol.iter_mut().zip(inuse.val().iter()) {
                *sum = sum.wrapping_add(value.into());
            }
        }
        let inuse = |protocol: kernel::proto<'_>| {
            let index = protocol.inuse_idx() as usize;
            let value = by_protocol.get(index).copied().unwrap_or(0);
            ("inuse", value.max(0))
        };
        let mut orphans = 0_u32;
        for cpu in cpus {
            orphans = orphans.wrapping_add(k.per_cpu(sym::tcp_orphan_count, *cpu)?);
        }
        let orphans = orphans.cast_signed().max(0).into();
        let memory = |protocol: kernel::proto<'m>| {
            let pages = protocol.memory_allocated().deref()?;
            Ok(("mem", i64::from(pages.value()).max(0)))
        };
        let tcp = k.get(sym::tcp_prot)?;
        let udp = k.get(sym::udp_prot)?;
        let waiting = net.ipv4().tcp_death_row().tw_refcount().value();
        let allocated = tcp.sockets_allocated().deref()?.sum(cpus)?.max(0);
        let line = |protocol, numbers| Sockets { protocol, numbers };
        let mut lines = vec![
            line("sockets", vec![("used", used.max(0))]),
            line(
                "TCP",
                vec![
                    inuse(tcp),
                    ("orphan", orphans),
                    ("tw", i64::from(waiting) - 1),
                    ("alloc", allocated),
                    memory(tcp)?,
                ],
            ),
            line("UDP", vec![inuse(udp), memory(udp)?]),
        ];
        #[cfg(kernel_has = "sym:udplite_prot")]
        lines.push(line("UDPLITE", vec![inuse(k.get(sym::udplite_prot)?)]));
        lines.push(line("RAW", vec![inuse(k.get(sym::raw_prot)?)]));
        lines.push(line("FRAG", fragments(net.ipv4().fqdir().deref()?)));
        let fragments6 = net.ipv6().fqdir();
        if fragments6.is_null() {
            return Ok(lines);
        }
        lines.push(line("TCP6", vec![inuse(k.get(sym::tcpv6_prot)?)]));
        lines.push(line("UDP6", vec![inuse(k.get(sym::udpv6_prot)?)]));
        #[cfg(kernel_has = "sym:udplitev6_prot")]
        lines.push(line("UDPLITE6", vec![inuse(k.get(sym::udplitev6_prot)?)]));
        lines.push(line("RAW6", vec![inuse(k.get(sym::rawv6_prot)?)]));
        lines.push(line("FRAG6", fragments(fragments6.deref()?)));
        Ok(lines)
    }

    /// /proc/net/rt6_stats (`rt6_stats_seq_show`, net/ipv6/route.c).
    fn rt6(&self, net: kernel::net<'m>) -> Result<Vec<Counter>, Fault> {
        let Some(stats) = net.ipv6().rt6_stats().deref_or_null()? else {
            return Ok(Vec::new());
        };
        let entries = net.ipv6().ip6_dst_ops().pcpuc_entries().sum(self.cpus)?;
        let counter = |name: &str, value: i64| Counter::new(name, value.max(0).cast_unsigned());
        Ok(vec![
            counter("fib_nodes", stats.fib_nodes().into()),
            counter("fib_route_nodes", stats.fib_route_nodes().into()),
            counter("fib_rt_alloc", stats.fib_rt_alloc().value().into()),
            counter("fib_rt_entries", stats.fib_rt_entries().into()),
            counter("fib_rt_cache", stats.fib_rt_cache().into()),
            counter("dst_entries", entries),
            counter("fib_discarded_routes", stats.fib_discarded_routes().into()),
        ])
    }
}

/// `rt_cpu_seq_show`, net/ipv4/route.c.
#[cfg(all(kernel_has = "sym:rt_cache_stat", kernel_has = "sym:ipv4_dst_ops"))]
pub fn rt_cache(k: &Memory, cpus: &[u32]) -> Result<Vec<RtCache>, Fault> {
    let entries = k.get(sym::ipv4_dst_ops)?.pcpuc_entries().sum(cpus)?;
    let mut found = Vec::new();
    for cpu in cpus {
        let stat = k.per_cpu(sym::rt_cache_stat, *cpu)?;
        let counters = [
            ("entries", entries.max(0).cast_unsigned()),
            ("in_slow_tot", stat.in_slow_tot().into()),
            ("in_slow_mc", stat.in_slow_mc().into()),
            ("in_no_route", stat.in_no_route().into()),
            ("in_brd", stat.in_brd().into()),
            ("in_martian_dst", stat.in_martian_dst().into()),
            ("in_martian_src", stat.in_martian_src().into()),
            ("out_slow_tot", stat.out_slow_tot().into()),
            ("out_slow_mc", stat.out_slow_mc().into()),
        ];
        found.push(RtCache {
            cpu: *cpu,
            counters: counters
                .map(|(name, value)| Counter::new(name, value))
                .into(),
        });
    }
    Ok(found)
}

/// Kernels that count otherwise.
#[cfg(not(all(kernel_has = "sym:rt_cache_stat", kernel_has = "sym:ipv4_dst_ops")))]
pub fn rt_cache(_: &Memory, _: &[u32]) -> Result<Vec<RtCache>, Fault> {
    Ok(Vec::new())
}

fn sum(sums: &[u64], index: usize) -> u64 {
    sums.get(index).copied().unwrap_or(0)
}

/// Which way messages went, and their type.
fn direction(index: usize) -> (&'static str, usize) {
    (if index & SENT != 0 { "Out" } else { "In" }, index & 0xff)
}

/// A number as wide as the kernel's `long`.
fn signed(value: u64) -> i64 {
    if kernel::KERNEL.pointer_size == 4 {
        i64::from((value as u32).cast_signed())
    } else {
        value.cast_signed()
    }
}

/// Packets that wait for their other fragments.
fn fragments(fqdir: kernel::fqdir<'_>) -> Vec<(&'static str, i64)> {
    vec![
        ("inuse", fqdir.rhashtable().nelems().value().into()),
        ("memory", fqdir.mem().value().into()),
    ]
}

//! `netdev`: every network interface of a dump.
#![forbid(unsafe_code)]
// Each use of something that several modules' structs are shown by is met by one of these.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Parser;
use kernel::net_device;
use kstruct::{Memory, View as _};
use linux::app::{Common, Format, plain_table, table_text};
use linux::net::address::{Ipv4, Ipv6};
use linux::net::softnet::Softnet;
use linux::net::stats::{Stats, Unknown};
use linux::net::{self, Namespace};
use linux::time::{Age, Clock};
use linux::{Faults, Report, cpu};
use qdisc::Discipline;
use serde::Serialize;

#[cfg(kernel_has = "net_device.qdisc_hash")]
mod addresses;
#[cfg(kernel_has = "net_device.qdisc_hash")]
mod extras;
#[cfg(kernel_has = "net_device.qdisc_hash")]
mod link;
#[cfg(kernel_has = "net_device.qdisc_hash")]
mod multicast;
mod qdisc;
#[cfg(kernel_has = "net_device.qdisc_hash")]
mod queues;
mod show;
#[cfg(kernel_has = "net_device.qdisc_hash")]
mod sound;

/// Shows the network interfaces in a dump, in all network namespaces, and each CPU's packet queues.
///
/// Counters are what `ip -s link` would have shown: sums over CPUs, queues and lower interfaces.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  netdev --core vmcore               all interfaces
  netdev --core vmcore eth0 bond0    these two
  netdev --core vmcore -d bond0      all that the kernel knows of it, as `ip -d link`, `bridge` and /sys/class/net show it
  netdev --core vmcore --qdiscs      queueing disciplines with their options, classes and filters, as `tc -s -d`
  netdev --core vmcore --queues      transmit and receive queues, NAPI, watchdog
  netdev --core vmcore --format json | jq '.interfaces[] | select(.rx.dropped > 0)'"
)]
struct Args {
    #[command(flatten)]
    common: Common,
    /// Everything that the kernel knows of an interface: its kind's own, what it is a part of, driver, features, groups, VLANs, forwarding
    /// tables, queues, options of queueing disciplines. JSON always has it
    #[arg(short, long)]
    details: bool,
    /// Queueing disciplines with their options, classes and filters
    #[arg(long)]
    qdiscs: bool,
    /// Transmit and receive queues, NAPI instances, the watchdog
    #[arg(long)]
    queues: bool,
    /// The packets that wait in queueing disciplines, one by one
    #[arg(long)]
    packets: bool,
    /// Only those of the network namespace with this inode number
    #[arg(long, value_name = "INODE", value_parser = linux::options::netns)]
    netns: Option<u64>,
    /// Only interfaces of these names; other names that they were given (`altname`) are known, too
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

/// A part that is read beyond the usual. Old kernels have none of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// What the kernel knows of an interface.
    Details,
    /// Options, classes and filters of queueing disciplines.
    Qdiscs,
    /// Transmit and receive queues.
    Queues,
    /// Packets that wait in queueing disciplines.
    Packets,
}

impl Args {
    /// The parts that are wanted.
    fn parts(&self) -> Vec<Part> {
        let all = self.details || self.common.format == Format::Json;
        let parts = [
            (Part::Details, all),
            (Part::Qdiscs, all || self.qdiscs),
            (Part::Queues, all || self.queues),
            (Part::Packets, self.packets),
        ];
        let wanted = parts.into_iter().filter(|(_, is_wanted)| *is_wanted);
        wanted.map(|(part, _)| part).collect()
    }
}

impl AsRef<Common> for Args {
    fn as_ref(&self) -> &Common {
        &self.common
    }
}

fn main() -> ExitCode {
    linux::app::run(analyze)
}

#[derive(Serialize)]
struct Network {
    interfaces: Vec<Interface>,
    softnet: Vec<Softnet>,
}

#[derive(Serialize)]
struct Interface {
    /// The inode number of its network namespace; `null` in kernels without namespaces.
    netns: Option<u64>,
    ifindex: i32,
    name: String,
    /// The `net_device`.
    #[serde(serialize_with = "linux::app::hex")]
    address: u64,
    kind: String,
    /// `ip link` shows the first two and not `RUNNING`: `NO-CARRIER` of those that are up and don't run, `M-DOWN` where the interface below
    /// isn't up.
    flags: Vec<&'static str>,
    #[serde(serialize_with = "linux::app::hex_u32")]
    flags_value: u32,
    state: Vec<String>,
    operstate: Option<&'static str>,
    mtu: u32,
    mac: String,
    ipv4: Vec<Ipv4>,
    ipv6: Vec<Ipv6>,
    rx: Option<Receive>,
    tx: Option<Transmit>,
    /// All counters, named as in `struct rtnl_link_stats64`.
    stats: Option<Stats>,
    /// Why there are no counters: the driver's function that would know them.
    #[serde(skip_serializing_if = "Option::is_none")]
    stats_unknown: Option<String>,
    /// Since something was last received, where the kernel knows.
    last_rx: Option<Age>,
    /// Since something was last sent.
    trans_start: Option<Age>,
    qdiscs: Vec<Discipline>,
    /// For people, who see it with its name: the interface below.
    #[serde(skip)]
    below: Option<String>,
    /// The same of what it is a part of.
    #[serde(skip)]
    master: Option<String>,
    #[cfg(kernel_has = "net_device.qdisc_hash")]
    #[serde(flatten)]
    extras: extras::Extras,
}

/// The columns of /proc/net/dev.
#[derive(Serialize)]
struct Receive {
    bytes: u64,
    packets: u64,
    errors: u64,
    dropped: u64,
    fifo: u64,
    frame: u64,
    compressed: u64,
    multicast: u64,
}

/// The columns of /proc/net/dev.
#[derive(Serialize)]
struct Transmit {
    bytes: u64,
    packets: u64,
    errors: u64,
    dropped: u64,
    fifo: u64,
    collisions: u64,
    carrier: u64,
    compressed: u64,
}

fn analyze(k: &Memory, args: &Args, faults: &mut Faults) -> anyhow::Result<Network> {
    let cpus = cpu::possible(k)
        .map_err(|fault| anyhow::anyhow!("the mask of CPUs can't be read: {fault}"))?;
    let clock =
        Clock::of(k, faults).map_err(|fault| anyhow::anyhow!("jiffies can't be read: {fault}"))?;
    let parts = args.parts();
    #[cfg(kernel_has = "net_device.qdisc_hash")]
    let context = extras::Context::new(k, &parts, faults);
    if let Some(wanted) = args.netns {
        let inodes = net::inodes(k, faults);
        if !inodes.contains(&wanted) {
            return Err(linux::app::unknown("network namespace", wanted, inodes));
        }
    }
    let mut interfaces = Vec::new();
    let mut shown = Vec::new();
    for namespace in net::namespaces(k, faults) {
        if args
            .netns
            .is_some_and(|wanted| namespace.inode().unwrap_or(0) != wanted)
        {
            continue;
        }
        namespace.check_devices(k, faults);
        for device in namespace.devices() {
            let Some(device) = faults.check("list of interfaces", device) else {
                continue;
            };
            let own = device.name();
            let others = net::alternative_names(device).unwrap_or_default();
            let mut names = args.names.iter();
            let named = names.find(|name| own == name.as_str() || others.contains(name));
            if args.names.is_empty() || named.is_some() {
                shown.extend(named);
                #[cfg(kernel_has = "net_device.qdisc_hash")]
                sound::interface(namespace, device, faults);
                let found = interface(k, namespace, device, &cpus, clock, &parts, faults);
                #[cfg(kernel_has = "net_device.qdisc_hash")]
                let place = context.place(device, faults);
                #[cfg(kernel_has = "net_device.qdisc_hash")]
                let found = Interface {
                    below: place.below,
                    master: place.master,
                    flags: place.marks.into_iter().chain(found.flags).collect(),
                    extras: context.of(k, device, &cpus, clock, faults),
                    ..found
                };
                interfaces.push(found);
            }
        }
    }
    #[cfg(kernel_has = "net_device.qdisc_hash")]
    context.functions.tell(faults);
    for name in &args.names {
        if !shown.contains(&name) {
            net::check_device(k, name, faults)?;
        }
    }
    if interfaces.is_empty() {
        return Err(faults.nothing("interface"));
    }
    let online = cpu::online(k)
        .map_err(|fault| anyhow::anyhow!("the mask of CPUs can't be read: {fault}"))?;
    let softnet = online
        .iter()
        .filter_map(|cpu| {
            faults.check(
                format_args!("softnet_data of CPU {cpu}"),
                net::softnet::softnet(k, *cpu),
            )
        })
        .collect();
    Ok(Network {
        interfaces,
        softnet,
    })
}

fn interface(
    k: &Memory,
    namespace: Namespace<'_>,
    device: net_device<'_>,
    cpus: &[u32],
    clock: Clock,
    parts: &[Part],
    faults: &mut Faults,
) -> Interface {
    let name = device.name();
    let kind = faults.check(format_args!("kind of {name}"), net::kind(device));
    let mac = faults.check(
        format_args!("hardware address of {name}"),
        net::hardware_address(device),
    );
    let trans_start = faults
        .check(
            format_args!("transmit queues of {name}"),
            net::transmit_start(device),
        )
        .flatten();
    let (stats, stats_unknown) = match net::stats::stats(device, cpus) {
        Ok(stats) => (Some(stats), None),
        Err(Unknown::Driver(function)) => (None, Some(function)),
        Err(Unknown::Fault(fault)) => {
            faults.add(format_args!("counters of {name}"), fault);
            (None, None)
        }
    };
    let flags = net::flags::flags(device);
    Interface {
        netns: namespace.inode(),
        ifindex: device.ifindex(),
        name: name.to_string(),
        address: device.addr(),
        kind: kind.unwrap_or_default(),
        flags: net::flags::names(flags),
        flags_value: flags,
        state: net::state_names(device),
        operstate: net::operational_state(device),
        mtu: device.mtu(),
        mac: mac.map_or_else(String::new, |mac| {
            net::format_hardware_address(u32::from(device.type_()), mac.bytes())
        }),
        ipv4: net::address::ipv4_addresses(device, faults),
        ipv6: net::address::ipv6_addresses(device, faults),
        rx: stats.as_ref().map(Receive::from),
        tx: stats.as_ref().map(Transmit::from),
        stats,
        stats_unknown,
        last_rx: net::last_receive(device).map(|then| clock.age(k, then)),
        trans_start: trans_start.map(|then| clock.age(k, then)),
        qdiscs: qdisc::disciplines(device, cpus, clock, parts, faults),
        below: None,
        master: None,
        #[cfg(kernel_has = "net_device.qdisc_hash")]
        extras: extras::Extras::default(),
    }
}

/// The sums that /proc/net/dev shows (`dev_seq_printf_stats`, net/core/net-procfs.c).
impl From<&Stats> for Receive {
    fn from(stats: &Stats) -> Self {
        Receive {
            bytes: stats.rx_bytes,
            packets: stats.rx_packets,
            errors: stats.rx_errors,
            dropped: stats.rx_dropped + stats.rx_missed_errors,
            fifo: stats.rx_fifo_errors,
            frame: stats.rx_length_errors
                + stats.rx_over_errors
                + stats.rx_crc_errors
                + stats.rx_frame_errors,
            compressed: stats.rx_compressed,
            multicast: stats.multicast,
        }
    }
}

impl From<&Stats> for Transmit {
    fn from(stats: &Stats) -> Self {
        Transmit {
            bytes: stats.tx_bytes,
            packets: stats.tx_packets,
            errors: stats.tx_errors,
            dropped: stats.tx_dropped,
            fifo: stats.tx_fifo_errors,
            collisions: stats.collisions,
            carrier: stats.tx_carrier_errors
                + stats.tx_aborted_errors
                + stats.tx_window_errors
                + stats.tx_heartbeat_errors,
            compressed: stats.tx_compressed,
        }
    }
}

impl Report for Network {
    fn table(&self) -> String {
        let mut out = String::new();
        let mut netns = None;
        for interface in &self.interfaces {
            if interface.netns != netns {
                netns = interface.netns;
                let _ = writeln!(
                    out,
                    "== network namespace {}",
                    netns.map_or_else(String::new, |inode| inode.to_string())
                );
            }
            interface.describe(&mut out);
        }
        out.push_str("== softnet\n");
        let rows = self.softnet.iter().map(|cpu| {
            [
                u64::from(cpu.cpu),
                cpu.processed,
                cpu.dropped,
                cpu.time_squeeze,
                cpu.received_rps,
                cpu.flow_limit,
                cpu.input_qlen.into(),
                cpu.process_qlen.into(),
            ]
            .map(|number| number.to_string())
            .to_vec()
        });
        let header = [
            "CPU",
            "PROCESSED",
            "DROPPED",
            "SQUEEZED",
            "RPS",
            "FLOWLIMIT",
            "INPUT",
            "PROCESS",
        ];
        out.push_str(&table_text(&numbers(plain_table(&header, rows), 0)));
        out
    }
}

/// Aligns the columns from `first` on to the right.
fn numbers(mut table: comfy_table::Table, first: usize) -> comfy_table::Table {
    for index in first..table.column_count() {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
    }
    table
}

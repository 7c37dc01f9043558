//! `softnet`: what each CPU has to do with packets.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Parser;
use kstruct::Memory;
use linux::app::{Common, plain_table, table_text};
use linux::net::softnet::Softnet;
use linux::{Faults, Report, cpu, net};
use serde::Serialize;
use softnets::queues::{self, Packet, Queues};

/// Shows each CPU's packet processing: the counters of /proc/net/softnet_stat, packets that wait in its backlog, NAPI instances that it
/// polls, and what its transmit softirq has to do.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  softnet --core vmcore
  softnet --core vmcore --format json | jq '.cpus[] | select(.dropped > 0)'"
)]
struct Args {
    #[command(flatten)]
    common: Common,
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
struct Processing {
    cpus: Vec<Cpu>,
}

#[derive(Serialize)]
struct Cpu {
    #[serde(flatten)]
    softnet: Softnet,
    #[serde(flatten)]
    queues: Queues,
}

fn analyze(k: &Memory, _: &Args, faults: &mut Faults) -> anyhow::Result<Processing> {
    let online = cpu::online(k)
        .map_err(|fault| anyhow::anyhow!("the mask of CPUs can't be read: {fault}"))?;
    let mut cpus = Vec::new();
    for cpu in online {
        let what = format!("softnet_data of CPU {cpu}");
        let Some(softnet) = faults.check(&what, net::softnet::softnet(k, cpu)) else {
            continue;
        };
        let queues = queues::queues(k, cpu, faults);
        let queues = faults.check(&what, queues).unwrap_or_default();
        cpus.push(Cpu { softnet, queues });
    }
    Ok(Processing { cpus })
}

impl Report for Processing {
    fn table(&self) -> String {
        let header = [
            "CPU",
            "PROCESSED",
            "DROPPED",
            "SQUEEZED",
            "RPS",
            "FLOWLIMIT",
            "INPUT",
            "PROCESS",
            "NET_RX",
            "NET_TX",
        ];
        let rows = self.cpus.iter().map(|cpu| {
            let softnet = &cpu.softnet;
            vec![
                softnet.cpu.to_string(),
                softnet.processed.to_string(),
                softnet.dropped.to_string(),
                softnet.time_squeeze.to_string(),
                softnet.received_rps.to_string(),
                softnet.flow_limit.to_string(),
                softnet.input_qlen.to_string(),
                softnet.process_qlen.to_string(),
                number(cpu.queues.net_rx),
                number(cpu.queues.net_tx),
            ]
        });
        let mut table = plain_table(&header, rows);
        for column in table.column_iter_mut() {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
        let mut out = table_text(&table);
        for cpu in &self.cpus {
            describe(&cpu.queues, cpu.softnet.cpu, &mut out);
        }
        out
    }
}

/// A number, or a dash where the kernel doesn't have it.
fn number(number: Option<u64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

/// What waits on a CPU, a line for each.
fn describe(queues: &Queues, cpu: u32, out: &mut String) {
    let packets = |out: &mut String, what: &str, packets: &[Packet]| {
        if packets.is_empty() {
            return;
        }
        let _ = writeln!(out, "CPU {cpu}: {what}: {} packets", packets.len());
        for packet in packets {
            let dev = packet.dev.as_deref().unwrap_or("-");
            let _ = writeln!(
                out,
                "  sk_buff {:x}  {} bytes  protocol {:#06x}  dev {dev}",
                packet.address, packet.len, packet.protocol
            );
        }
    };
    packets(out, "backlog (input_pkt_queue)", &queues.input_packets);
    packets(
        out,
        "backlog being processed (process_queue)",
        &queues.process_packets,
    );
    packets(
        out,
        "sent, to be freed (completion_queue)",
        &queues.completion,
    );
    packets(out, "freed elsewhere (defer_list)", &queues.deferred);
    packets(out, "from IPsec (xfrm_backlog)", &queues.xfrm_backlog);
    for napi in &queues.poll {
        let _ = writeln!(
            out,
            "CPU {cpu}: polls {}  napi_struct {:x}  id {}  weight {}  dev {}  state {}",
            napi.poll,
            napi.address,
            napi.id,
            napi.weight,
            napi.dev.as_deref().unwrap_or("-"),
            napi.state.join("|")
        );
    }
    for qdisc in &queues.output {
        let _ = writeln!(
            out,
            "CPU {cpu}: to be sent: Qdisc {:x}  {}  dev {}",
            qdisc.address,
            qdisc.kind,
            qdisc.dev.as_deref().unwrap_or("-")
        );
    }
    if !queues.rps_waiting.is_empty() {
        let _ = writeln!(
            out,
            "CPU {cpu}: CPUs to be told of packets (rps_ipi_list): {:?}",
            queues.rps_waiting
        );
    }
}

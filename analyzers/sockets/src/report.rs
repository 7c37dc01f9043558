//! Options, and the report.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Parser;
use kstruct::Memory;
use linux::app::{Common, plain_table};
use linux::{Faults, Report};
use serde::Serialize;
use sockets::all::{Line, Sockets};
use sockets::filter::Filter;
use sockets::inet::Ends;
use sockets::sock::{Base, Reader};
use sockets::text::{Text, write_holders};

/// Shows every socket in a dump, in all network namespaces, one line each, in the spirit of `ss -anpe` and of /proc/net: TCP, UDP,
/// UDP-Lite, raw, ping, unix, netlink and packet sockets, and those of other families that a process holds.
///
/// For TCP's own numbers see the analyzer `tcp`.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  sockets --core vmcore                      all sockets
  sockets --core vmcore -u -x                UDP and unix
  sockets --core vmcore --pid 4711           what process 4711 holds
  sockets --core vmcore --orphans -t         TCP sockets that no process holds
  sockets --core vmcore --format json | jq '.unix[] | select(.rx_queue > 0) | .name'"
)]
struct Args {
    #[command(flatten)]
    common: Common,
    /// TCP
    #[arg(short, long, help_heading = "Families: all if none is named")]
    tcp: bool,
    /// UDP, UDP-Lite, ping
    #[arg(short, long, help_heading = "Families: all if none is named")]
    udp: bool,
    /// Raw IP
    #[arg(short = 'w', long, help_heading = "Families: all if none is named")]
    raw: bool,
    /// Unix
    #[arg(short = 'x', long, help_heading = "Families: all if none is named")]
    unix: bool,
    /// Netlink
    #[arg(short = 'k', long, help_heading = "Families: all if none is named")]
    netlink: bool,
    /// Packet
    #[arg(short = '0', long, help_heading = "Families: all if none is named")]
    packet: bool,
    /// All others
    #[arg(long, help_heading = "Families: all if none is named")]
    others: bool,
    /// As of ss: always so here
    #[arg(short, hide = true)]
    all: bool,
    /// As of ss: always so here
    #[arg(short, hide = true)]
    numeric: bool,
    /// As of ss: always so here
    #[arg(short, hide = true)]
    processes: bool,
    /// As of ss: always so here
    #[arg(short, hide = true)]
    extended: bool,
    #[command(flatten)]
    filter: Filter,
}

impl AsRef<Common> for Args {
    fn as_ref(&self) -> &Common {
        &self.common
    }
}

/// Runs the analyzer.
pub fn main() -> ExitCode {
    linux::app::run(analyze)
}

#[derive(Serialize)]
#[serde(transparent)]
struct Found {
    sockets: Sockets,
    /// Whether there is one with each of the ports and addresses that were asked for.
    #[serde(skip)]
    has_all: bool,
}

fn analyze(k: &Memory, args: &Args, faults: &mut Faults) -> anyhow::Result<Found> {
    args.filter.check(k, faults)?;
    let reader = Reader::new(k, faults)?;
    let mut found = Sockets::read(&reader, faults);
    let filter = &args.filter;
    let all = !(args.tcp
        || args.udp
        || args.raw
        || args.unix
        || args.netlink
        || args.packet
        || args.others);
    let wants =
        |asked: bool, base: &Base, ends: Option<&Ends>| filter.wants(base, ends) && (all || asked);
    found
        .tcp
        .retain(|socket| wants(args.tcp, &socket.base, Some(&socket.ends)));
    found.datagram.retain(|socket| {
        let asked = if socket.netid == "raw" {
            args.raw
        } else {
            args.udp
        };
        wants(asked, &socket.base, Some(&socket.ends))
    });
    found
        .unix
        .retain(|socket| wants(args.unix, &socket.base, None));
    found
        .netlink
        .retain(|socket| wants(args.netlink, &socket.base, None));
    found
        .packet
        .retain(|socket| wants(args.packet, &socket.base, None));
    // Those of netlink that are not bound are in no table.
    found.others.retain(|base| {
        let is_netlink = args.netlink && base.family == "netlink";
        wants(args.others || is_netlink, base, None)
    });
    let has_all = filter.found(found.count(), faults)?;
    found.sort();
    Ok(Found {
        sockets: found,
        has_all,
    })
}

/// Where a socket's namespace can't be read, or where there are none.
const NO_NAMESPACE: &str = if cfg!(kernel_has = "net.dev_base_head") {
    "?"
} else {
    "-"
};

/// A socket's columns, and what else there is to say.
fn row(line: &Line<'_>) -> (Vec<String>, String) {
    let base = line.base;
    // Writing to a string doesn't fail.
    let mut holders = Text::default();
    let _ = write_holders(&mut holders, &base.holders);
    let mut last = holders.into_string();
    let _ = write!(last, " ino:{} sock:{:x}", base.inode, base.address);
    if base.uid != 0 {
        let _ = write!(last, " uid:{}", base.uid);
    }
    if base.mark != 0 {
        let _ = write!(last, " fwmark:{:#x}", base.mark);
    }
    if let Some(drops @ 1..) = base.memory.map(|memory| memory.drops) {
        let _ = write!(last, " drops:{drops}");
    }
    last.push_str(&line.more);
    let columns = vec![
        base.netns
            .map_or_else(|| NO_NAMESPACE.to_owned(), |inode| inode.to_string()),
        line.netid.to_owned(),
        base.state.to_owned(),
        line.queues[0].to_string(),
        line.queues[1].to_string(),
        line.local.clone(),
        line.remote.clone(),
    ];
    (columns, last.trim_start().to_owned())
}

impl Report for Found {
    fn is_complete(&self) -> bool {
        self.has_all
    }

    fn table(&self) -> String {
        let header = [
            "NETNS", "NETID", "STATE", "RECV-Q", "SEND-Q", "LOCAL", "PEER",
        ];
        let (rows, details): (Vec<_>, Vec<_>) = self.sockets.lines().map(|line| row(&line)).unzip();
        let mut table = plain_table(&header, rows);
        for column in [3, 4] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(comfy_table::CellAlignment::Right);
            }
        }
        // Not a column of the table: one socket's thousand groups would make all rows as wide.
        let last = std::iter::once("DETAILS").chain(details.iter().map(String::as_str));
        let mut out = String::new();
        for (line, details) in table.lines().zip(last) {
            out.push_str(&line);
            out.push(' ');
            out.push_str(details);
            out.truncate(out.trim_end().len());
            out.push('\n');
        }
        out
    }
}

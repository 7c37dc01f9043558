//! Options, and the report.

use std::net::IpAddr;
use std::process::ExitCode;

use clap::Parser;
use kstruct::{Memory, walk};
use linux::app::{Common, Format};
use linux::{Faults, Report};
use rayon::slice::ParallelSliceMut as _;
use serde::Serialize;
use sockets::filter::Filter;
use sockets::sock::Reader;
use sockets::tcp::{Form, Tcp};

use crate::line::{IPV4_WIDTH, Line, Shown, write_header};

/// Shows every TCP socket in a dump, in all network namespaces, as `ss -tan` would have: connections, listeners with their queues,
/// time-wait sockets, requests, and sockets that are not bound.
///
/// What ss shows with -i, -e, -o and -m the options of the same names show; without any, timers and processes are shown.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  tcp --core vmcore                                all sockets
  tcp --core vmcore -l                             listeners, with their queues
  tcp --core vmcore -tanpieom                      all that ss -tanpieom shows
  tcp --core vmcore --state close-wait --process java
  tcp --core vmcore --dst 10.0.0.0/8 --dport 5432 -i
  tcp --core vmcore --format json | jq '.sockets[] | select(.info.total_retrans > 10) | .local_port'"
)]
struct Args {
    #[command(flatten)]
    common: Common,
    /// Show timers: which, when it expires, retransmissions
    #[arg(short, long)]
    options: bool,
    /// Show uid, inode, mark, cgroup, and the address of the struct sock
    #[arg(short, long)]
    extended: bool,
    /// Show memory: skmem of ss
    #[arg(short, long)]
    memory: bool,
    /// Show what TCP knows of the connection: struct tcp_info
    #[arg(short, long)]
    info: bool,
    /// Show the processes that hold the socket
    #[arg(short, long)]
    processes: bool,
    /// As of ss: always so here
    #[arg(short, hide = true)]
    tcp: bool,
    /// As of ss: always so here
    #[arg(short, hide = true)]
    all: bool,
    /// Show rates as whole numbers, and not as 12.3Mbps
    #[arg(short, long)]
    numeric: bool,
    /// Count sockets by state
    #[arg(short, long)]
    summary: bool,
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
#[allow(clippy::vec_box, reason = "they are large, and sorted")]
struct Sockets {
    sockets: Vec<Box<Tcp>>,
    /// Instead of them, where a table is wanted: their network namespaces and lines.
    #[serde(skip)]
    lines: Vec<(Option<u64>, Line)>,
    /// By state, of each form that it has: a closed connection's FIN-WAIT-2 may be a time-wait socket.
    states: Vec<Count>,
    #[serde(skip)]
    summary: bool,
}

#[derive(Serialize)]
struct Count {
    state: &'static str,
    form: Form,
    count: u64,
}

fn analyze(k: &Memory, args: &Args, faults: &mut Faults) -> anyhow::Result<Sockets> {
    args.filter.check(k, faults)?;
    let any = args.options || args.extended || args.memory || args.info || args.processes;
    let shown = Shown {
        options: args.options || !any,
        extended: args.extended,
        memory: args.memory,
        info: args.info,
        processes: args.processes || !any,
        numeric: args.numeric,
    };
    let is_table = args.common.format == Format::Table;
    let mut reader = Reader::new(k, faults)?;
    reader.wants_info = args.info || !is_table;
    // A socket of which a line is wanted is written by the thread that has just read it, and not kept: memory for 20,000 of them takes
    // longer than all the rest. With their keys beside them: comparing must not read from all over memory.
    let mut keyed = sockets::tcp::each(&reader, faults, |socket| {
        if !args.filter.wants(&socket.base, Some(&socket.ends)) {
            return None;
        }
        let key = key(&socket);
        let (netns, state, form) = (socket.base.netns, socket.base.state, socket.form);
        let kept = if !is_table {
            Kept::Socket(Box::new(socket))
        } else if args.summary {
            Kept::Nothing
        } else {
            Kept::Line(Line::of(&mut String::with_capacity(256), &socket, shown))
        };
        let row = Row {
            netns,
            state,
            form,
            kept,
        };
        Some((key, Box::new(row)))
    });
    keyed.par_sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    let mut states: Vec<Count> = Vec::new();
    for (_, row) in &keyed {
        let Row { state, form, .. } = **row;
        match states
            .iter_mut()
            .find(|count| count.state == state && count.form == form)
        {
            Some(count) => count.count += 1,
            None => states.push(Count {
                state,
                form,
                count: 1,
            }),
        }
    }
    states.sort_by_key(|count| (std::cmp::Reverse(count.count), count.state));
    let mut report = Sockets {
        sockets: Vec::new(),
        lines: Vec::new(),
        states,
        summary: args.summary,
    };
    for (_, row) in keyed {
        match row.kept {
            Kept::Socket(socket) => report.sockets.push(socket),
            Kept::Line(line) => report.lines.push((row.netns, line)),
            Kept::Nothing => {}
        }
    }
    Ok(report)
}

/// A socket that is shown or counted.
struct Row {
    netns: Option<u64>,
    state: &'static str,
    form: Form,
    kept: Kept,
}

/// What is kept of it.
enum Kept {
    /// All of it, for programs.
    Socket(Box<Tcp>),
    /// Its text, for people.
    Line(Line),
    /// It is only counted.
    Nothing,
}

/// The order of sockets: by namespace, listeners first, by addresses, IPv4 first. No two have the same. It is made of bytes, as it is moved
/// as often as it is compared.
fn key(socket: &Tcp) -> [u8; 56] {
    let (base, ends) = (&socket.base, &socket.ends);
    let mut key = [0; 56];
    let mut rest = &mut key[..];
    let mut put = |bytes: &[u8]| {
        let (to, behind) = std::mem::take(&mut rest).split_at_mut(bytes.len());
        to.copy_from_slice(bytes);
        rest = behind;
    };
    // What has none comes first; no namespace has this number.
    put(&base.netns.unwrap_or(0).to_be_bytes());
    put(&[u8::from(base.state != "LISTEN")]);
    for (address, port) in [
        (ends.local, ends.local_port),
        (ends.remote, ends.remote_port),
    ] {
        match address {
            IpAddr::V4(address) => {
                put(&[4]);
                put(&address.octets());
                put(&[0; 12]);
            }
            IpAddr::V6(address) => {
                put(&[6]);
                put(&address.octets());
            }
        }
        put(&port.to_be_bytes());
    }
    put(&base.address.to_be_bytes());
    key
}

impl Report for Sockets {
    fn table(&self) -> String {
        self.parts().concat()
    }

    fn write_table(&self, out: &mut dyn std::io::Write) -> std::io::Result<()> {
        self.parts()
            .iter()
            .try_for_each(|part| out.write_all(part.as_bytes()))
    }
}

impl Sockets {
    /// The table, in parts of some hundred lines.
    fn parts(&self) -> Vec<String> {
        /// Sockets that a thread writes before it takes others.
        const PIECE: usize = 256;
        if self.summary {
            let rows = self.states.iter().map(|count| {
                let form = match count.form {
                    Form::Full => "",
                    Form::TimeWait => "timewait",
                    Form::Request => "request",
                };
                vec![
                    count.state.to_owned(),
                    count.count.to_string(),
                    form.to_owned(),
                ]
            });
            let header = ["STATE", "SOCKETS", "FORM"];
            let table = linux::app::plain_table(&header, rows);
            return vec![linux::app::table_text(&table)];
        }
        let widths = self.lines.iter().map(|(_, line)| line.width);
        let width = widths.max().unwrap_or(IPV4_WIDTH);
        walk::par_index(self.lines.len().div_ceil(PIECE), |index| {
            let start = index * PIECE;
            let end = self.lines.len().min(start + PIECE);
            let mut out = String::with_capacity(PIECE * 128);
            let mut before = start.checked_sub(1).map(|last| self.lines[last].0);
            for (netns, line) in &self.lines[start..end] {
                if before != Some(*netns) {
                    before = Some(*netns);
                    write_header(&mut out, *netns, width);
                }
                line.push(&mut out, width);
            }
            out
        })
    }
}

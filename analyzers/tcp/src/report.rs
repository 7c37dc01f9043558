//! Options, and the report.

use std::io::Write;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU8, Ordering};

use clap::Parser;
use kstruct::{Memory, walk};
use linux::app::{Common, Format};
use linux::{Faults, Report};
use rayon::slice::ParallelSliceMut as _;
use serde::Serialize;
use sockets::filter::Filter;
use sockets::sock::{Reader, Wants};
use sockets::tcp::{Form, Tcp};

use crate::line::{IPV4_WIDTH, Key, Line, Shown, header, key};

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

#[derive(Default, Serialize)]
struct Sockets {
    sockets: Vec<Keyed>,
    /// Instead of them, where a table is wanted, their lines.
    #[serde(skip)]
    lines: Vec<Line>,
    /// How wide columns of addresses must be.
    #[serde(skip)]
    width: usize,
    /// By state, of each form that it has: a closed connection's FIN-WAIT-2 may be a time-wait socket.
    states: Vec<Count>,
    #[serde(skip)]
    summary: bool,
    /// Whether not all were asked for.
    #[serde(skip)]
    is_filtered: bool,
    /// Whether a port or an address was asked for that none has.
    #[serde(skip)]
    lacks_some: bool,
    /// Whether some could not be read.
    #[serde(skip)]
    has_faults: bool,
}

/// A socket with what it is sorted by. It lies elsewhere, as it is large.
#[derive(Serialize)]
#[serde(transparent)]
struct Keyed {
    #[serde(skip)]
    key: Key,
    socket: Box<Tcp>,
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
    reader.wants = Wants {
        info: args.info || !is_table,
        memory: args.memory || !is_table,
        origin: args.extended || !is_table,
    };
    let mut report = Sockets {
        is_filtered: !args.filter.is_empty(),
        ..Sockets::default()
    };
    let wants = |socket: &Tcp| args.filter.wants(&socket.base, Some(&socket.ends));
    if is_table && !args.summary {
        // A socket's line is written by the thread that has just read it, and the socket isn't kept: memory for 20,000 of them takes longer
        // than all the rest.
        let widest = AtomicU8::new(IPV4_WIDTH);
        report.lines = sockets::tcp::each(&reader, faults, |socket| {
            let wanted = wants(&socket).then(|| Line::of(&socket, shown));
            wanted.map(|(line, width)| {
                if width > widest.load(Ordering::Relaxed) {
                    widest.fetch_max(width, Ordering::Relaxed);
                }
                line
            })
        })
        .counted(&reader, faults)
        .taken;
        report.lacks_some = !args.filter.found(report.lines.len(), faults)?;
        report.has_faults = faults.count() > 0;
        report.lines.par_sort_unstable_by(Line::order);
        report.width = widest.into_inner().into();
        return Ok(report);
    }
    report.sockets = sockets::tcp::each(&reader, faults, |socket| {
        wants(&socket).then(|| Keyed {
            key: key(&socket),
            socket: Box::new(socket),
        })
    })
    .counted(&reader, faults)
    .taken;
    report.lacks_some = !args.filter.found(report.sockets.len(), faults)?;
    report.has_faults = faults.count() > 0;
    report
        .sockets
        .par_sort_by(|one, other| one.key.cmp(&other.key));
    report.summary = args.summary;
    let states = &mut report.states;
    for Keyed { socket, .. } in &report.sockets {
        let (state, form) = (socket.base.state, socket.form);
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
    Ok(report)
}

impl Report for Sockets {
    fn is_complete(&self) -> bool {
        !self.lacks_some
    }

    fn table(&self) -> String {
        let mut text = Vec::new();
        // Writing to memory doesn't fail.
        let _ = self.write_table(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    fn write_table(&self, out: &mut dyn Write) -> std::io::Result<()> {
        /// Sockets that a thread writes before it takes others.
        const PIECE: usize = 256;
        if self.sockets.is_empty() && self.lines.is_empty() {
            let such = if self.is_filtered { "such " } else { "" };
            let read = if self.has_faults {
                " could be read"
            } else {
                ""
            };
            return writeln!(out, "no {such}TCP sockets{read}");
        }
        if self.summary {
            return out.write_all(self.counts().as_bytes());
        }
        // Text is written before there is much of it: what comes next takes the same memory.
        let wave = 2 * PIECE * rayon::current_num_threads();
        for begin in (0..self.lines.len()).step_by(wave) {
            let end = self.lines.len().min(begin + wave);
            let pieces = walk::par_index((end - begin).div_ceil(PIECE), |index| {
                let start = begin + index * PIECE;
                self.piece(start..end.min(start + PIECE))
            });
            for piece in pieces {
                out.write_all(&piece)?;
            }
        }
        Ok(())
    }
}

impl Sockets {
    /// The lines from one number to another, with headings where a network namespace begins.
    fn piece(&self, lines: Range<usize>) -> Vec<u8> {
        let mut out = Vec::with_capacity(lines.len() * 128);
        let before = lines.start.checked_sub(1);
        let mut before = before.map(|last| self.lines[last].netns());
        for line in &self.lines[lines] {
            if before != Some(line.netns()) {
                before = Some(line.netns());
                out.extend_from_slice(header(line.netns(), self.width).as_bytes());
            }
            line.push(&mut out, self.width);
        }
        out
    }

    /// How many sockets are in which state.
    fn counts(&self) -> String {
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
        linux::app::table_text(&linux::app::plain_table(&header, rows))
    }
}

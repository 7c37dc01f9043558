//! Options, and the report.

use std::io::Write;
use std::net::IpAddr;
use std::ops::Range;
use std::process::ExitCode;

use clap::Parser;
use kstruct::{Memory, walk};
use linux::app::{Common, Format};
use linux::{Faults, Report};
use rayon::slice::ParallelSliceMut as _;
use serde::Serialize;
use sockets::filter::Filter;
use sockets::sock::{Reader, Wants};
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

#[derive(Default, Serialize)]
#[allow(clippy::vec_box, reason = "they are large, and sorted")]
struct Sockets {
    sockets: Vec<Box<Tcp>>,
    /// Instead of them, where a table is wanted, their lines.
    #[serde(skip)]
    lines: Vec<(Key, Line)>,
    /// The numbers of the lines as they are shown.
    #[serde(skip)]
    order: Vec<u32>,
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
    reader.wants = Wants {
        info: args.info || !is_table,
        memory: args.memory || !is_table,
        origin: args.extended || !is_table,
    };
    let mut report = Sockets::default();
    let wants = |socket: &Tcp| args.filter.wants(&socket.base, Some(&socket.ends));
    if is_table && !args.summary {
        // A socket's line is written by the thread that has just read it, and the socket isn't kept: memory for 20,000 of them takes longer
        // than all the rest.
        report.lines = sockets::tcp::each(&reader, faults, |socket| {
            wants(&socket).then(|| (key(&socket), Line::of(&socket, shown)))
        })
        .taken;
        args.filter.found(report.lines.len())?;
        report.order = order(&report.lines);
        return Ok(report);
    }
    let mut keyed = sockets::tcp::each(&reader, faults, |socket| {
        wants(&socket).then(|| (key(&socket), Some(Box::new(socket))))
    })
    .taken;
    args.filter.found(keyed.len())?;
    let order = order(&keyed).into_iter();
    report.sockets = order.filter_map(|at| keyed[at as usize].1.take()).collect();
    report.summary = args.summary;
    let states = &mut report.states;
    for socket in &report.sockets {
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

/// What orders sockets: by namespace, listeners first, by addresses, IPv4 first. No two have the same. They are the bits of all that, one
/// behind the other: of two IPv4 connections the first word nearly always tells.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key([u128; 4]);

impl Key {
    /// The network namespace's inode number.
    fn netns(&self) -> Option<u64> {
        // No namespace's is 0.
        match (self.0[0] >> 96) as u64 {
            0 => None,
            inode => Some(inode),
        }
    }
}

fn key(socket: &Tcp) -> Key {
    let (base, ends) = (&socket.base, &socket.ends);
    let mut words = [0_u128; 4];
    let mut used = 0;
    let mut push = |value: u128, bits: usize| {
        let (word, within) = (used / 128, used % 128);
        let left = value << (128 - bits);
        words[word] |= left >> within;
        if within + bits > 128 {
            words[word + 1] = left << (128 - within);
        }
        used += bits;
    };
    // `ns_common.inum` has 32 bits.
    push(
        u32::try_from(base.netns.unwrap_or(0))
            .unwrap_or(u32::MAX)
            .into(),
        32,
    );
    push(u128::from(base.state != "LISTEN"), 1);
    push(u128::from(ends.local.is_ipv6()), 1);
    for (address, port) in [
        (ends.local, ends.local_port),
        (ends.remote, ends.remote_port),
    ] {
        match address {
            IpAddr::V4(address) => push(address.to_bits().into(), 32),
            IpAddr::V6(address) => push(address.to_bits(), 128),
        }
        push(port.into(), 16);
    }
    push(base.address.into(), 64);
    Key(words)
}

/// The numbers of sockets in the order of their keys. What is moved is small, and most often all that is compared.
fn order<T: Sync>(keyed: &[(Key, T)]) -> Vec<u32> {
    let mut order: Vec<(u128, u32)> = keyed
        .iter()
        .zip(0..)
        .map(|((key, _), at)| (key.0[0], at))
        .collect();
    let key = |at: u32| keyed[at as usize].0;
    order.par_sort_unstable_by(|(one, at), (other, other_at)| {
        one.cmp(other).then_with(|| key(*at).cmp(&key(*other_at)))
    });
    order.into_iter().map(|(_, at)| at).collect()
}

impl Report for Sockets {
    fn table(&self) -> String {
        let mut text = Vec::new();
        // Writing to memory doesn't fail.
        let _ = self.write_table(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    fn write_table(&self, out: &mut dyn Write) -> std::io::Result<()> {
        /// Sockets that a thread writes before it takes others.
        const PIECE: usize = 256;
        /// Sockets whose text is made before it is written: the next ones take its memory.
        const WAVE: usize = 16 * PIECE;
        if self.summary {
            return out.write_all(self.counts().as_bytes());
        }
        let widths = self.lines.iter().map(|(_, line)| line.width);
        let width = widths.max().unwrap_or(IPV4_WIDTH).into();
        for wave in (0..self.order.len()).step_by(WAVE) {
            let end = self.order.len().min(wave + WAVE);
            let pieces = walk::par_index((end - wave).div_ceil(PIECE), |index| {
                let start = wave + index * PIECE;
                self.piece(start..end.min(start + PIECE), width)
            });
            for piece in pieces {
                out.write_all(piece.as_bytes())?;
            }
        }
        Ok(())
    }
}

impl Sockets {
    /// The lines from one number to another, with headings where a network namespace begins.
    fn piece(&self, lines: Range<usize>, width: usize) -> String {
        let mut out = String::with_capacity(lines.len() * 128);
        let at = |number: u32| &self.lines[number as usize];
        let mut before = lines
            .start
            .checked_sub(1)
            .map(|last| at(self.order[last]).0.netns());
        for (key, line) in self.order[lines].iter().map(|number| at(*number)) {
            if before != Some(key.netns()) {
                before = Some(key.netns());
                write_header(&mut out, key.netns(), width);
            }
            line.push(&mut out, width);
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

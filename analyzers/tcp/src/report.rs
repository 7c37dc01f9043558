//! Options, and the report.

use std::process::ExitCode;

use clap::Parser;
use kstruct::{Memory, walk};
use linux::app::Common;
use linux::{Faults, Report};
use rayon::slice::ParallelSliceMut as _;
use serde::Serialize;
use sockets::filter::Filter;
use sockets::sock::Reader;
use sockets::tcp::{Form, Tcp};

use crate::line::{Shown, write_socket};

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
    /// By state, of each form that it has: a closed connection's FIN-WAIT-2 may be a time-wait socket.
    states: Vec<Count>,
    #[serde(skip)]
    shown: Shown,
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
    let reader = Reader::new(k, faults)?;
    let filter = &args.filter;
    // With their keys beside them: comparing must not read from all over memory.
    let mut keyed: Vec<_> = sockets::tcp::sockets(&reader, faults)
        .into_iter()
        .filter(|socket| filter.wants(&socket.base, Some(&socket.ends)))
        .map(|socket| (key(&socket), socket))
        .collect();
    keyed.par_sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    let sockets: Vec<Box<Tcp>> = keyed.into_iter().map(|(_, socket)| socket).collect();
    let mut states: Vec<Count> = Vec::new();
    for socket in &sockets {
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
    let any = args.options || args.extended || args.memory || args.info || args.processes;
    Ok(Sockets {
        sockets,
        states,
        shown: Shown {
            options: args.options || !any,
            extended: args.extended,
            memory: args.memory,
            info: args.info,
            processes: args.processes || !any,
            numeric: args.numeric,
        },
        summary: args.summary,
    })
}

/// The order of sockets: by namespace, listeners first, by addresses. No two have the same.
fn key(socket: &Tcp) -> impl Ord + Send + use<> {
    let (base, ends) = (&socket.base, &socket.ends);
    (
        base.netns,
        base.state != "LISTEN",
        (ends.local, ends.local_port),
        (ends.remote, ends.remote_port),
        base.address,
    )
}

impl Report for Sockets {
    fn table(&self) -> String {
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
            return linux::app::table_text(&linux::app::plain_table(&header, rows));
        }
        let width = crate::line::width(&self.sockets);
        let pieces = walk::par_index(self.sockets.len().div_ceil(PIECE), |index| {
            let start = index * PIECE;
            let end = self.sockets.len().min(start + PIECE);
            let mut out = String::with_capacity(PIECE * 256);
            let mut before = start
                .checked_sub(1)
                .map(|last| self.sockets[last].base.netns);
            for socket in &self.sockets[start..end] {
                if before != Some(socket.base.netns) {
                    before = Some(socket.base.netns);
                    crate::line::write_header(&mut out, socket.base.netns, width);
                }
                // Writing to a string doesn't fail.
                let _ = write_socket(&mut out, socket, self.shown, width);
            }
            out
        });
        pieces.concat()
    }
}

//! `ps`: every task of a dump.
#![forbid(unsafe_code)]

mod files;
mod held;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use clap::Parser;
use kernel::task_struct;
use kstruct::{Memory, View as _};
use linux::app::{Common, plain_table, table_text};
use linux::{Faults, Report, cpu, mm, task};
use serde::Serialize;

/// Lists the tasks in a dump, in the style of crash's ps.
///
/// Without a selection every process and kernel thread is shown. `>` marks what a CPU was running.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  ps --core vmcore                 all processes and kernel threads
  ps --core vmcore -T -u           the threads of user processes
  ps --core vmcore 1 sshd          task 1 and all tasks named sshd
  ps --core vmcore -S              how many tasks are in which state
  ps --core vmcore -p 4711         a task and its ancestors
  ps --core vmcore --files 4711    what files it has open
  ps --core vmcore --sockets -u    what sockets processes hold"
)]
struct Args {
    #[command(flatten)]
    common: Common,
    /// Show threads, not only the leaders of their groups; -A, -S and selections by id or address find threads anyway
    #[arg(short = 'T', long)]
    threads: bool,
    /// Only kernel threads
    #[arg(short, long, conflicts_with = "user")]
    kernel: bool,
    /// Only user processes
    #[arg(short, long)]
    user: bool,
    /// Only tasks that a CPU was running
    #[arg(short = 'A', long)]
    active: bool,
    /// Count tasks by state
    #[arg(short = 'S', long)]
    summary: bool,
    /// Show the ancestors of the selected tasks too
    #[arg(short, long)]
    parents: bool,
    /// Show the children of the selected tasks too
    #[arg(short, long)]
    children: bool,
    /// Show the arguments of processes, read from their own memory
    #[arg(long)]
    args: bool,
    /// Show the files that processes have open: number, path, flags, position, inode number, mount, address
    #[arg(long)]
    files: bool,
    /// Show the sockets that processes hold
    #[arg(long)]
    sockets: bool,
    /// Only these: a process or thread id, the address of a task_struct (0x...), or a name
    #[arg(value_name = "PID|ADDRESS|NAME")]
    select: Vec<String>,
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
struct Tasks {
    tasks: Vec<Row>,
    states: BTreeMap<char, u64>,
    #[serde(skip)]
    summary: bool,
}

#[derive(Serialize)]
struct Row {
    /// The thread's id; the same as `tgid` for a leader.
    pid: i32,
    tgid: i32,
    /// The process that its exit is told to; `null` if it can't be read, as with the sizes below.
    ppid: Option<i32>,
    cpu: Option<u32>,
    state: char,
    #[serde(serialize_with = "linux::app::hex")]
    address: u64,
    /// `task_struct.comm`.
    comm: String,
    /// The name as /proc shows it.
    name: String,
    /// Threads in its group.
    threads: u64,
    rss_kb: Option<u64>,
    vsz_kb: Option<u64>,
    kernel_thread: bool,
    /// As in /proc/PID/cmdline, with `--args`; `null` if they can't be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<Option<Vec<String>>>,
    /// Whether a CPU was running it.
    active: bool,
    /// With `--files`, what it has open.
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Vec<files::OpenFile>>,
    /// With `--sockets`, those of its files that are sockets.
    #[serde(skip_serializing_if = "Option::is_none")]
    sockets: Option<Vec<held::HeldSocket>>,
}

fn analyze(k: &Memory, args: &Args, faults: &mut Faults) -> anyhow::Result<Tasks> {
    let states = task::States::new(k)
        .map_err(|fault| anyhow::anyhow!("the names of task states can't be read: {fault}"))?;
    let cpus = cpu::possible(k)
        .map_err(|fault| anyhow::anyhow!("the mask of CPUs can't be read: {fault}"))?;
    let online = cpu::online(k)
        .map_err(|fault| anyhow::anyhow!("the mask of CPUs can't be read: {fault}"))?;
    let mut reader = Reader {
        states,
        cpus,
        active: BTreeSet::new(),
        page: k.page_size(),
        memory: args.args.then_some(k),
        faults,
    };
    let mut rows = Vec::new();
    for cpu in &online {
        let current = task::current(k, *cpu);
        if let Some(current) = reader
            .faults
            .check(format_args!("current task of CPU {cpu}"), current)
        {
            reader.active.insert(current.addr());
        }
    }
    for cpu in &online {
        let idle = task::idle(k, *cpu);
        if let Some(idle) = reader
            .faults
            .check(format_args!("idle task of CPU {cpu}"), idle)
        {
            rows.push(reader.row(idle, 1));
        }
    }
    for group in task::groups(k, reader.faults) {
        for thread in &group {
            rows.push(reader.row(*thread, group.len() as u64));
        }
    }
    let mut rows = select(rows, args)?;
    if args.files {
        files::add(k, &mut rows, faults)?;
    }
    if args.sockets {
        held::add(k, &mut rows, faults)?;
    }
    let mut states = BTreeMap::new();
    for row in &rows {
        *states.entry(row.state).or_default() += 1;
    }
    Ok(Tasks {
        tasks: rows,
        states,
        summary: args.summary,
    })
}

struct Reader<'f> {
    states: task::States,
    cpus: Vec<u32>,
    active: BTreeSet<u64>,
    /// Bytes in a page.
    page: u64,
    /// What arguments are read from, if they are wanted.
    memory: Option<&'f Memory>,
    faults: &'f mut Faults,
}

impl Reader<'_> {
    fn row(&mut self, task: task_struct<'_>, threads: u64) -> Row {
        let pid = task.pid();
        let parent = self
            .faults
            .check(format_args!("parent of {pid}"), task.real_parent().deref());
        let mm = self
            .faults
            .check(format_args!("memory of {pid}"), task.mm().deref_or_null());
        let name = self
            .faults
            .check(format_args!("name of {pid}"), task::displayed_name(task));
        let page = self.page;
        let kilobytes = |pages: u64| pages.saturating_mul(page / 1024);
        let resident = match mm {
            Some(Some(mm)) => {
                let pages = mm::resident_pages(mm, &self.cpus);
                self.faults
                    .check(format_args!("resident pages of {pid}"), pages)
            }
            Some(None) => Some(0),
            None => None,
        };
        let total = mm.map(|mm| mm.map_or(0, |mm| mm.total_vm()));
        let args = self.memory.map(|memory| {
            let text = match mm {
                Some(Some(mm)) => mm::arguments(memory, mm),
                Some(None) => Ok(Vec::new()),
                None => return None, // that is a fault already
            };
            let text = self
                .faults
                .check(format_args!("arguments of {pid}"), text)?;
            Some(words(&text))
        });
        Row {
            pid,
            tgid: task.tgid(),
            ppid: parent.map(|parent| parent.tgid()),
            cpu: self
                .faults
                .check(format_args!("CPU of {pid}"), task::cpu(task)),
            state: self.states.letter(task),
            address: task.addr(),
            comm: task.comm().to_string(),
            name: name.unwrap_or_else(|| task.comm().to_string()),
            threads,
            rss_kb: resident.map(kilobytes),
            vsz_kb: total.map(kilobytes),
            kernel_thread: task::is_kernel_thread(task),
            args,
            active: self.active.contains(&task.addr()),
            files: None,
            sockets: None,
        }
    }
}

/// Arguments, which NULs part.
fn words(text: &[u8]) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    text.split(|byte| *byte == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

/// Keeps what was asked for, and its relatives.
fn select(rows: Vec<Row>, args: &Args) -> anyhow::Result<Vec<Row>> {
    let is_one = |row: &Row, wanted: &str| {
        let address = u64::from_str_radix(wanted.trim_start_matches("0x"), 16);
        wanted.parse() == Ok(row.pid) || address == Ok(row.address)
    };
    let is_named = |row: &Row, wanted: &str| wanted == row.comm || wanted == row.name;
    for wanted in &args.select {
        if !rows
            .iter()
            .any(|row| is_one(row, wanted) || is_named(row, wanted))
        {
            anyhow::bail!("no task is {wanted}");
        }
    }
    // Without -T a thread is shown only where it is what was asked for.
    let is_wanted = |row: &Row| {
        let is_shown = args.threads || args.active || args.summary || row.pid == row.tgid;
        if args.select.is_empty() {
            return is_shown;
        }
        args.select
            .iter()
            .any(|wanted| is_one(row, wanted) || (is_shown && is_named(row, wanted)))
    };
    let mut chosen: BTreeSet<usize> = rows
        .iter()
        .enumerate()
        .filter(|(_, row)| {
            is_wanted(row)
                && (!args.kernel || row.kernel_thread)
                && (!args.user || !row.kernel_thread)
                && (!args.active || row.active)
        })
        .map(|(index, _)| index)
        .collect();
    if args.parents {
        let by_pid: BTreeMap<i32, usize> = rows
            .iter()
            .enumerate()
            .rev()
            .map(|(index, row)| (row.pid, index))
            .collect();
        let mut todo: Vec<usize> = chosen.iter().copied().collect();
        while let Some(index) = todo.pop() {
            if let Some(ppid) = rows[index].ppid
                && let Some(parent) = by_pid.get(&ppid)
                && chosen.insert(*parent)
            {
                todo.push(*parent);
            }
        }
    }
    if args.children {
        let parents: BTreeSet<i32> = chosen.iter().map(|index| rows[*index].tgid).collect();
        let children = rows.iter().enumerate().filter(|(_, row)| {
            row.ppid.is_some_and(|ppid| parents.contains(&ppid))
                && row.pid != 0
                && (args.threads || row.pid == row.tgid)
        });
        chosen.extend(children.map(|(index, _)| index));
    }
    Ok(rows
        .into_iter()
        .enumerate()
        .filter(|(index, _)| chosen.contains(index))
        .map(|(_, row)| row)
        .collect())
}

fn or_question_mark(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "?".to_owned(), |value| value.to_string())
}

impl Report for Tasks {
    fn table(&self) -> String {
        if self.summary {
            let rows = self
                .states
                .iter()
                .map(|(state, count)| vec![state.to_string(), count.to_string()]);
            return table_text(&plain_table(&["ST", "TASKS"], rows));
        }
        let rows = self.tasks.iter().map(|row| {
            vec![
                if row.active { ">" } else { "" }.to_owned(),
                row.pid.to_string(),
                or_question_mark(row.ppid),
                or_question_mark(row.cpu),
                format!("{:x}", row.address),
                row.state.to_string(),
                row.threads.to_string(),
                or_question_mark(row.vsz_kb),
                or_question_mark(row.rss_kb),
                if row.kernel_thread {
                    format!("[{}]", row.name)
                } else if let Some(Some(args)) = &row.args
                    && !args.is_empty()
                {
                    // What a process wrote must not steer a terminal.
                    let line = args.join(" ");
                    line.replace(|c: char| c.is_control(), "?")
                } else {
                    row.name.clone()
                },
            ]
        });
        let header = [
            "", "PID", "PPID", "CPU", "TASK", "ST", "THR", "VSZ", "RSS", "COMM",
        ];
        let mut table = plain_table(&header, rows);
        for column in [1, 2, 3, 6, 7, 8] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(comfy_table::CellAlignment::Right);
            }
        }
        let text = table_text(&table);
        let mut out = String::with_capacity(text.len());
        for (index, line) in text.lines().enumerate() {
            out.push_str(line);
            out.push('\n');
            // The first line is the header.
            let Some(row) = index.checked_sub(1).and_then(|index| self.tasks.get(index)) else {
                continue;
            };
            if let Some(files) = &row.files {
                files::describe(files, &mut out);
            }
            if let Some(sockets) = &row.sockets {
                held::describe(sockets, &mut out);
            }
        }
        out
    }
}

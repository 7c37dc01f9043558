//! The frame of an analyzer: options, opening the dump, output, exit status.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use kstruct::{Fault, FaultKind, Memory};
use serde::Serialize;

use crate::options::Source;

/// Options that every analyzer has.
#[derive(clap::Args)]
pub struct Common {
    /// Where the dump is, and how it is opened
    #[command(flatten)]
    pub source: Source,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

/// What to print.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// For programs
    Json,
}

/// What an analyzer found.
pub trait Report: Serialize {
    /// The report as text for people.
    fn table(&self) -> String;

    /// Writes that text. A report that has it in parts writes these one by one.
    fn write_table(&self, out: &mut dyn Write) -> std::io::Result<()> {
        out.write_all(self.table().as_bytes())
    }

    /// Whether all that was asked for is there. If not, the exit status is 2.
    fn is_complete(&self) -> bool {
        true
    }

    /// Whether something is not as it should be: what a check looks for. If so, and all could be read, the exit status is 1.
    fn has_findings(&self) -> bool {
        false
    }
}

/// How many faults are kept word by word. All are counted.
const KEPT: usize = 100;

/// What could not be read, collected beside what could.
#[derive(Default, Serialize)]
pub struct Faults {
    #[serde(rename = "faults")]
    kept: Vec<FaultRow>,
    #[serde(rename = "fault_count")]
    count: u64,
    #[serde(skip)]
    missing: u64,
}

#[derive(Serialize)]
struct FaultRow {
    what: String,
    address: String,
    why: String,
}

impl Faults {
    /// Notes that `what` could not be read.
    pub fn add(&mut self, what: impl std::fmt::Display, fault: Fault) {
        self.count += 1;
        self.missing += u64::from(is_missing(fault.kind));
        if self.kept.len() < KEPT {
            self.kept.push(FaultRow {
                what: what.to_string(),
                address: format!("{:#x}", fault.address),
                why: fault.kind.to_string(),
            });
        }
    }

    /// The value, or `None` and a note.
    pub fn check<T>(&mut self, what: impl std::fmt::Display, value: Result<T, Fault>) -> Option<T> {
        value.map_err(|fault| self.add(what, fault)).ok()
    }

    /// Notes that something contradicts what else is known of `what`, unless it holds.
    pub fn require(&mut self, holds: bool, what: impl std::fmt::Display, address: u64) {
        if !holds {
            let kind = FaultKind::Inconsistent;
            self.add(what, Fault { address, kind });
        }
    }

    /// The error of a command that found nothing of what it shows: if something could not be read, that may be why.
    pub fn nothing(&self, what: &str) -> anyhow::Error {
        match self.count {
            0 => anyhow::anyhow!("there is no {what}"),
            _ => anyhow::anyhow!("no {what} could be read"),
        }
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many of them are the dump's and not the kernel's: memory that is not in it, or can't be had from it.
    pub fn missing(&self) -> u64 {
        self.missing
    }
}

/// Whether memory is not in the dump or can't be had from it, rather than that the kernel has something wrong.
pub fn is_missing(kind: FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::NotInDump
            | FaultKind::Excluded
            | FaultKind::Damaged
            | FaultKind::Truncated
            | FaultKind::MemoryLimit
            | FaultKind::Unreadable
    )
}

/// The outermost object of JSON output.
#[derive(Serialize)]
struct Document<'a, R> {
    kernel: KernelRow,
    #[serde(flatten)]
    report: &'a R,
    #[serde(flatten)]
    faults: &'a Faults,
}

#[derive(Serialize)]
struct KernelRow {
    release: &'static str,
    build_id: &'static str,
    paging_levels: u32,
    kaslr_offset: String,
}

/// A check found something.
const FINDINGS: u8 = 1;
/// Could not read what was asked for, or not all of it.
const UNREADABLE: u8 = 2;

/// Runs an analyzer: reads its options, opens the dump, prints the report.
///
/// The exit status is 0, 1 if a check found something, or 2 if the dump can't be opened, something in it couldn't be read, or something that was asked for isn't there.
pub fn run<A, R>(analyze: impl FnOnce(&Memory, &A, &mut Faults) -> anyhow::Result<R>) -> ExitCode
where
    A: Parser + AsRef<Common>,
    R: Report,
{
    run_with(&A::parse(), analyze)
}

/// The same with options that were read.
pub fn run_with<A, R>(
    args: &A,
    analyze: impl FnOnce(&Memory, &A, &mut Faults) -> anyhow::Result<R>,
) -> ExitCode
where
    A: AsRef<Common>,
    R: Report,
{
    let common = args.as_ref();
    let memory = match common.source.open() {
        Ok(memory) => memory,
        Err(error) => return fail(&format!("{error:#}")),
    };
    let mut faults = Faults::default();
    if let Some(fault) = memory.unconfirmed() {
        faults.add("linux_banner", fault);
    }
    let report = match analyze(&memory, args, &mut faults) {
        Ok(report) => report,
        Err(error) => {
            let mut message = format!("{error:#}");
            let missing = memory.dump().missing_bytes();
            if missing > 0 {
                let core = memory.dump().truncated_file().display();
                message.push_str(&format!(
                    " ({core} is truncated: at least {missing} bytes are missing)"
                ));
            }
            if let Some((limit, 1..)) = memory.dump().memory_limit() {
                message.push_str(&format!(
                    " (the memory limit of {limit} bytes was reached: --memory-limit)"
                ));
            }
            // What isn't there may be among what could not be read.
            tell(&memory, &faults);
            return fail(&message);
        }
    };
    let mut stdout = std::io::stdout();
    let written = match common.format {
        Format::Table => report.write_table(&mut stdout),
        Format::Json => {
            let document = Document {
                kernel: KernelRow {
                    release: memory.kernel().release,
                    build_id: memory.kernel().build_id,
                    paging_levels: memory.paging_levels(),
                    kaslr_offset: format!("{:#x}", memory.kaslr_offset()),
                },
                report: &report,
                faults: &faults,
            };
            match serde_json::to_string_pretty(&document) {
                Ok(text) => stdout.write_all((text + "\n").as_bytes()),
                Err(error) => return fail(&error.to_string()),
            }
        }
    };
    if let Err(error) = written
        && error.kind() != ErrorKind::BrokenPipe
    {
        return fail(&format!("can't write the report: {error}"));
    }
    let status = remarks(&memory, &report, &faults);
    // The process ends: to give back what 20,000 sockets took, one by one, is time that nobody gets anything for.
    std::mem::forget((memory, report, faults));
    status
}

/// Prints what is known without a dump.
pub fn print(format: Format, report: &impl Report) -> ExitCode {
    let text = match format {
        Format::Table => Ok(report.table()),
        Format::Json => serde_json::to_string_pretty(report).map(|text| text + "\n"),
    };
    let written = text
        .map_err(std::io::Error::from)
        .and_then(|text| std::io::stdout().write_all(text.as_bytes()));
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => fail(&error.to_string()),
        _ => ExitCode::SUCCESS,
    }
}

/// Says what could not be read, and what that makes of the exit status.
fn remarks(memory: &Memory, report: &impl Report, faults: &Faults) -> ExitCode {
    let missing = memory.dump().missing_bytes();
    if missing > 0 {
        eprintln!(
            "warning: {} is truncated: at least {missing} bytes are missing",
            memory.dump().truncated_file().display()
        );
    }
    if memory.dump().is_incomplete() {
        eprintln!(
            "warning: {} is marked as incomplete: makedumpfile could not write all of it",
            memory.dump().path().display()
        );
    }
    if let Some((limit, refused @ 1..)) = memory.dump().memory_limit() {
        let reads = if refused == 1 {
            "read was"
        } else {
            "reads were"
        };
        eprintln!(
            "warning: the memory limit of {limit} bytes was reached, and {refused} {reads} refused (--memory-limit)"
        );
    }
    if faults.count == 0 {
        return match (report.is_complete(), report.has_findings()) {
            (true, false) => ExitCode::SUCCESS,
            (true, true) => ExitCode::from(FINDINGS),
            (false, _) => ExitCode::from(UNREADABLE),
        };
    }
    tell(memory, faults);
    ExitCode::from(UNREADABLE)
}

/// Says what could not be read.
fn tell(memory: &Memory, faults: &Faults) {
    match faults.count {
        0 => return,
        1 => eprintln!("1 thing could not be read:"),
        count => eprintln!("{count} things could not be read:"),
    }
    for fault in faults.kept.iter().take(10) {
        eprintln!("  {}: {}: {}", fault.what, fault.address, fault.why);
    }
    if memory.dump().is_live() {
        eprintln!("  (this kernel is running: what changed while it was read may be among them)");
    }
    if faults.count > 10 {
        eprintln!("  ... (--format json has up to {KEPT})");
    }
}

fn fail(message: &str) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::from(UNREADABLE)
}

/// The error for something that was asked for by name or number and that the dump hasn't: it says what there is.
pub fn unknown(
    kind: &str,
    wanted: impl std::fmt::Display,
    known: impl IntoIterator<Item = impl std::fmt::Display>,
) -> anyhow::Error {
    /// More are no help.
    const MOST: usize = 40;
    let mut names: Vec<String> = Vec::new();
    for name in known {
        let name = name.to_string();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let more = match names.len().checked_sub(MOST) {
        None | Some(0) => String::new(),
        Some(more) => format!(" and {more} more"),
    };
    names.truncate(MOST);
    if names.is_empty() {
        return anyhow::anyhow!("there is no {kind} {wanted}, nor any other");
    }
    anyhow::anyhow!(
        "there is no {kind} {wanted}; there is {}{more}",
        names.join(", ")
    )
}

/// A table without borders, its columns two spaces apart.
pub fn plain_table(
    header: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_content_arrangement(comfy_table::ContentArrangement::Disabled)
        .set_header(header.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    table
}

/// The table's text without the blanks at the ends of its lines.
pub fn table_text(table: &comfy_table::Table) -> String {
    let mut out = String::new();
    for line in table.lines() {
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Serializes an address as `0x...`.
pub fn hex<S: serde::Serializer>(address: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{address:#x}"))
}

/// Serializes addresses as `0x...`.
pub fn hexes<S: serde::Serializer>(addresses: &[u64], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(addresses.iter().map(|address| format!("{address:#x}")))
}

/// Serializes flags as `0x...`.
pub fn hex_u32<S: serde::Serializer>(flags: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{flags:#x}"))
}

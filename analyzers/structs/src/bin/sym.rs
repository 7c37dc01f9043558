//! `sym`: symbols by name and by address.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::io::Read as _;
use std::process::ExitCode;

use clap::Parser;
use kstruct::Memory;
use kstruct::types::{Type, near};
use linux::app::Common;
use linux::{Faults, Report};
use serde::Serialize;
use structs::Context;
use structs::context::hexadecimal;
use structs::symbols::{Sources, Symbol, Symbols, matches, variable_of};

/// Translates names to addresses and addresses to names: functions and variables, of the kernel and of loaded modules.
///
/// The names are the dump's own (kallsyms); where a dump has no such list, those that this program was built with.
#[derive(Parser)]
#[command(
    name = "sym",
    version,
    after_help = "Examples:
  sym --core vmcore jiffies schedule          these two
  sym --core vmcore ffffffff81a3c2f0          what lies there, and how far from its start
  sym --core vmcore 'tcp_*ack*'               all that fit the pattern
  sym --core vmcore -q hash                   all that have this in their names
  sym --core vmcore -m nf_conntrack           all of a module
  sym --core vmcore -m bpf                    BPF programs, their trampolines and dispatchers
  grep -o 'ffffffff[0-9a-f]*' stacks | sym --core vmcore -
  sym --core vmcore --format json init_task | jq -r '.symbols[0].address'"
)]
struct Args {
    #[command(flatten)]
    common: Common,
    /// Names, patterns with * and ?, addresses in hexadecimal, NAME+OFFSET; - for those that standard input has, a word each
    #[arg(value_name = "NAME|ADDRESS|-", required_unless_present_any = ["query", "module", "list"])]
    what: Vec<String>,
    /// All symbols that have this in their names
    #[arg(short, long, value_name = "TEXT")]
    query: Vec<String>,
    /// All symbols of this module, or with names, patterns and -q only its own
    #[arg(short, long, value_name = "MODULE")]
    module: Option<String>,
    /// All symbols
    #[arg(short, long)]
    list: bool,
}

impl AsRef<Common> for Args {
    fn as_ref(&self) -> &Common {
        &self.common
    }
}

/// So many names are looked for by going through all.
const FEW: usize = 16;

fn main() -> ExitCode {
    linux::app::run(analyze)
}

#[derive(Serialize)]
struct Found {
    symbols: Vec<Row>,
    /// What was asked for by name or address, and isn't there.
    missing: Vec<String>,
}

#[derive(Serialize)]
struct Row {
    /// What was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    asked: Option<String>,
    /// The address that was asked for, or else the symbol's.
    #[serde(serialize_with = "linux::app::hex")]
    address: u64,
    name: String,
    /// Bytes from the symbol's start to the address.
    offset: u64,
    /// As of `nm`.
    letter: char,
    module: Option<String>,
    section: Option<&'static str>,
    /// Of a variable whose type is known what that takes; of others the distance to the next symbol.
    size: Option<u64>,
    #[serde(rename = "type")]
    ty: Option<String>,
    per_cpu: bool,
    absolute: bool,
    file: Option<&'static str>,
    line: Option<u32>,
    /// Other names of the same place.
    aliases: Vec<String>,
}

fn analyze(k: &Memory, args: &Args, faults: &mut Faults) -> anyhow::Result<Found> {
    let context = Context::of(k)?;
    let sources = Sources::read(k, faults);
    let symbols = Symbols::of(&context, &sources);
    let is_wanted = |symbol: &Symbol<'_>| {
        let module = args.module.as_deref();
        module.is_none() || symbol.module == module
    };
    let words = words(&args.what)?;
    // To sort them costs more than to look through them a few times.
    let by_name = (words.len() > FEW).then(|| symbols.by_name());
    let named = |name: &str| match &by_name {
        Some(names) => names.get(name).cloned().unwrap_or_default(),
        None => symbols.named(name),
    };
    let end = image_end(&context, &symbols);
    let row = |symbol: Symbol<'_>| row(&context, &symbols, symbol, 0, Vec::new());
    let mut rows = Vec::new();
    let mut missing = Vec::new();
    for what in words {
        let before = rows.len();
        if what.contains(['*', '?']) {
            let fits = |symbol: &Symbol<'_>| matches(&what, symbol.name);
            rows.extend(symbols.iter().filter(fits).filter(is_wanted).map(row));
        } else {
            rows.extend(named(&what).into_iter().filter(is_wanted).map(row));
            if rows.len() == before
                && let Some(address) = address(named, &what)
            {
                rows.extend(at(&context, &symbols, end, address));
            }
        }
        if rows.len() == before {
            let among = match faults.count() {
                0 => "",
                _ => " among those that could be read",
            };
            // Each is compared with all.
            let near = match by_name.is_none() {
                true => near(&what, symbols.iter().map(|symbol| symbol.name)).join(", "),
                false => String::new(),
            };
            let colon = if near.is_empty() { "" } else { "; there is " };
            eprintln!("there is no symbol {what}{among}{colon}{near}");
            missing.push(what);
            continue;
        }
        for row in &mut rows[before..] {
            row.asked = Some(what.clone());
        }
    }
    for query in &args.query {
        let fits = |symbol: &Symbol<'_>| symbol.name.contains(query.as_str());
        rows.extend(symbols.iter().filter(fits).filter(is_wanted).map(row));
    }
    if args.what.is_empty() && args.query.is_empty() {
        rows.extend(symbols.iter().filter(is_wanted).map(row));
    }
    context.names.tell(faults);
    if rows.is_empty() {
        match &args.module {
            Some(module) => anyhow::bail!("there is no such symbol of a module {module}"),
            None => return Err(faults.nothing("such symbol")),
        }
    }
    Ok(Found {
        symbols: rows,
        missing,
    })
}

/// What was asked for: words of standard input in the place of `-`.
fn words(what: &[String]) -> anyhow::Result<Vec<String>> {
    let mut words = Vec::new();
    for word in what {
        if word == "-" {
            let mut text = Vec::new();
            std::io::stdin().read_to_end(&mut text)?;
            // What isn't UTF-8 is no symbol either, and says so like others.
            let text = String::from_utf8_lossy(&text);
            words.extend(text.split_whitespace().map(str::to_owned));
        } else {
            words.push(word.clone());
        }
    }
    Ok(words)
}

/// The address that a text is: digits, or a symbol and a distance.
fn address<'s>(named: impl Fn(&str) -> Vec<Symbol<'s>>, text: &str) -> Option<u64> {
    if let Some((name, offset)) = text.split_once('+') {
        let offset = match offset.strip_prefix("0x") {
            Some(digits) => hexadecimal(digits)?,
            None => offset.parse().ok()?,
        };
        return Some(named(name).first()?.address.wrapping_add(offset));
    }
    hexadecimal(text)
}

/// What lies at an address, if it is one of the kernel's or a module's.
fn at(context: &Context<'_>, symbols: &Symbols<'_>, end: Option<u64>, address: u64) -> Option<Row> {
    let (found, offset) = symbols.at(address)?;
    let (symbol, others) = found.split_first()?;
    let symbol = *symbol;
    // Memory of a module has its symbols, and that of a BPF program; all other memory those of the kernel up to where the image ends.
    let loaded = context.names.loaded();
    let module = loaded.iter().find(|module| module.has(address));
    let module = module.map(|module| module.name.as_str());
    let is_in_program = symbol.size.is_some_and(|size| offset < size);
    let module = module.or_else(|| symbol.module.filter(|_| is_in_program));
    if symbol.module != module || (module.is_none() && end.is_some_and(|end| address >= end)) {
        return None;
    }
    let aliases = others.iter().map(|other| other.name.to_owned()).collect();
    Some(row(context, symbols, symbol, offset, aliases))
}

/// Where the kernel's image ends.
fn image_end(context: &Context<'_>, symbols: &Symbols<'_>) -> Option<u64> {
    let listed = symbols.named("_end");
    let listed = listed.iter().find(|symbol| symbol.module.is_none());
    listed.map(|symbol| symbol.address).or_else(|| {
        let known = context.types.variables_named("_end");
        known.first()?.locate(context.k).ok()
    })
}

fn row(
    context: &Context<'_>,
    symbols: &Symbols<'_>,
    symbol: Symbol<'_>,
    offset: u64,
    aliases: Vec<String>,
) -> Row {
    let is_code = matches!(symbol.letter, 'T' | 't' | 'W' | 'w');
    let variable = if is_code {
        None
    } else {
        variable_of(context, symbol)
    };
    let ty = variable
        .map(|variable| variable.ty)
        .filter(|ty| !matches!(ty.shape(), kstruct::types::Shape::Void));
    Row {
        asked: None,
        address: symbol.address.wrapping_add(offset),
        name: symbol.name.to_owned(),
        offset,
        letter: symbol.letter,
        module: symbol.module.map(str::to_owned),
        section: section(symbol.letter),
        size: ty.and_then(Type::size).or_else(|| {
            (!symbol.is_absolute)
                .then(|| symbols.distance_to_next(symbol))
                .flatten()
        }),
        ty: ty.map(|ty| ty.declaration("")),
        per_cpu: variable.is_some_and(|variable| variable.per_cpu),
        absolute: symbol.is_absolute,
        file: variable
            .map(|variable| variable.file)
            .filter(|file| !file.is_empty()),
        line: variable
            .map(|variable| variable.line)
            .filter(|line| *line != 0),
        aliases,
    }
}

/// The kind of section that a letter stands for (nm(1)).
fn section(letter: char) -> Option<&'static str> {
    Some(match letter.to_ascii_lowercase() {
        't' => ".text",
        'd' => ".data",
        'b' => ".bss",
        'r' => ".rodata",
        _ => return None,
    })
}

/// The columns of a symbol.
fn cells(row: &Row) -> [String; 7] {
    let name = match row.offset {
        0 => row.name.clone(),
        offset => format!("{}+{offset:#x}", row.name),
    };
    let module = row
        .module
        .as_ref()
        .map_or_else(String::new, |module| format!("[{module}]"));
    let mut ty = row.ty.clone().unwrap_or_default();
    if row.per_cpu {
        ty.push_str(" (per CPU)");
    }
    let place = match (row.file, row.line) {
        (Some(file), Some(line)) => format!("{file}:{line}"),
        (Some(file), None) => file.to_owned(),
        _ => String::new(),
    };
    let aliases = match row.aliases.is_empty() {
        true => String::new(),
        false => format!(" = {}", row.aliases.join(", ")),
    };
    [
        format!("{:x}", row.address),
        row.letter.to_string(),
        format!("{name}{aliases}"),
        module,
        row.size.map_or_else(String::new, |size| size.to_string()),
        ty,
        place,
    ]
}

impl Report for Found {
    /// There may be 200,000 rows: they are gone through twice, and not kept as cells.
    fn table(&self) -> String {
        let header = ["ADDRESS", "", "NAME", "MODULE", "SIZE", "TYPE", "DECLARED"];
        let mut widths = header.map(str::len);
        for row in &self.symbols {
            for (width, cell) in widths.iter_mut().zip(cells(row)) {
                *width = cell.chars().count().max(*width);
            }
        }
        let mut out = String::new();
        let mut line = |cells: [&str; 7]| {
            let start = out.len();
            for (cell, width) in cells.iter().zip(widths) {
                // Writing to a string doesn't fail.
                let _ = write!(out, " {cell:width$} ");
            }
            out.truncate(out.trim_end().len().max(start));
            out.push('\n');
        };
        line(header);
        for row in &self.symbols {
            line(cells(row).each_ref().map(String::as_str));
        }
        out
    }

    fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }
}

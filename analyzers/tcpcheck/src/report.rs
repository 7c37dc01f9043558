//! Options, and the report.

use std::process::ExitCode;

use clap::Parser;
use clap::builder::PossibleValuesParser;
use kstruct::{Fault, Memory};
use linux::app::Common;
use linux::{Faults, Report};
use serde::Serialize;
use sockets::filter::Filter;
use sockets::sock::Reader;
use sockets::tcp::Tcp;

use crate::rules::{
    Check, Finding, Limits, Look, Member, RULES, Rule, Tables, finding, is_locked, piled_up,
};
use crate::said::many;

/// Reports TCP sockets that are not as they should be, in all network namespaces, each with the reason.
///
/// Options that say which sockets (--port, --state, --netns, ...) leave out what is said of no socket: how long chains are and where they
/// end, and TCP's memory.
///
/// The exit status is 0 if nothing is unusual, 1 if something is, 2 if something could not be read.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  tcpcheck --core vmcore                           everything unusual
  tcpcheck --rules                                 the rules, without a dump
  tcpcheck --core vmcore --rule retransmits --retransmits 8
  tcpcheck --core vmcore --skip close-wait --port 443
  tcpcheck --core vmcore --format json | jq '.findings[] | .rule' | sort | uniq -c"
)]
struct Args {
    #[command(flatten)]
    common: Common,
    /// Only these rules
    #[arg(long = "rule", value_name = "RULE", value_delimiter = ',', value_parser = names())]
    only: Vec<String>,
    /// All but these rules
    #[arg(long, value_name = "RULE", value_delimiter = ',', value_parser = names())]
    skip: Vec<String>,
    /// List the rules of this kernel; that needs no dump
    #[arg(long)]
    rules: bool,
    #[command(flatten, next_help_heading = "Limits")]
    limits: Limits,
    #[command(flatten, next_help_heading = "Sockets")]
    filter: Filter,
}

impl AsRef<Common> for Args {
    fn as_ref(&self) -> &Common {
        &self.common
    }
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(RULES.iter().map(|rule| rule.name))
}

/// Runs the analyzer.
pub fn main() -> ExitCode {
    let args = Args::parse();
    if args.rules {
        let rules = RULES.iter().map(|rule| RuleText {
            name: rule.name,
            sentence: rule.sentence,
        });
        let rules = rules.collect();
        return linux::app::print(args.common.format, &RuleTexts { rules });
    }
    linux::app::run_with(&args, analyze)
}

/// What the rules are, which needs no dump.
#[derive(Serialize)]
struct RuleTexts {
    rules: Vec<RuleText>,
}

#[derive(Serialize)]
struct RuleText {
    name: &'static str,
    sentence: &'static str,
}

impl Report for RuleTexts {
    fn table(&self) -> String {
        let rows = self.rules.iter();
        let rows = rows.map(|rule| vec![rule.name.to_owned(), rule.sentence.to_owned()]);
        linux::app::table_text(&linux::app::plain_table(&["RULE", "WHAT"], rows))
    }
}

#[derive(Serialize)]
struct Checked {
    findings: Vec<Finding>,
    /// How many sockets were looked at.
    sockets: usize,
    /// Those that somebody had locked: what rules say of others may be under way there, and they leave it out.
    #[serde(serialize_with = "linux::app::hexes")]
    locked: Vec<u64>,
    rules: Vec<RuleRow>,
    /// Whether the rules were asked for by their names.
    #[serde(skip)]
    is_only: bool,
    /// Whether a port or an address was asked for that no socket has.
    #[serde(skip)]
    lacks_some: bool,
}

#[derive(Serialize)]
struct RuleRow {
    name: &'static str,
    sentence: &'static str,
    /// How much it found.
    findings: usize,
    /// Why it could not look, or not at all.
    unchecked: Vec<String>,
}

fn analyze(k: &Memory, args: &Args, faults: &mut Faults) -> anyhow::Result<Checked> {
    let is_wanted = |name: &str| {
        (args.only.is_empty() || args.only.iter().any(|only| only == name))
            && !args.skip.iter().any(|skip| skip == name)
    };
    let mut checked = Checked {
        findings: Vec::new(),
        sockets: 0,
        locked: Vec::new(),
        rules: Vec::new(),
        is_only: !args.only.is_empty(),
        lacks_some: false,
    };
    args.filter.check(k, faults)?;
    let mut rules: Vec<&Rule> = RULES.iter().filter(|rule| is_wanted(rule.name)).collect();
    // Nothing that was looked at is not nothing that was found.
    anyhow::ensure!(
        !rules.is_empty(),
        "no rule is left: --skip names all that --rule does"
    );
    if !args.filter.is_empty() {
        rules.retain(|rule| !matches!(rule.check, Check::Whole(_)));
        anyhow::ensure!(
            !rules.is_empty(),
            "no rule is left: {} is of no socket, and the options ask for some",
            args.only.join(", ")
        );
    }
    let mut reader = Reader::new(k, faults)?;
    reader.wants.origin = false;
    let look = Look {
        reader: &reader,
        limits: &args.limits,
    };
    // Each socket is looked at by the thread that has just read it, and not kept: memory for 20,000 of them takes longer than all rules.
    let read = sockets::tcp::each(&reader, faults, |socket| {
        let wants = args.filter.wants(&socket.base, Some(&socket.ends));
        wants.then(|| notes(&rules, look, &socket))
    });
    checked.sockets = read.taken.len();
    checked.lacks_some = !args.filter.found(checked.sockets, faults)?;
    let mut found: Vec<(Vec<Finding>, Vec<Member>)> = Vec::new();
    found.resize_with(rules.len(), Default::default);
    let mut nonsense = Vec::new();
    for note in read.taken.into_iter().flatten() {
        match note {
            Note::Finding(number, finding) => found[number].0.push(finding),
            Note::Member(number, member) => found[number].1.push(member),
            Note::Nonsense(address) => nonsense.push(address),
            Note::Locked(address) => checked.locked.push(address),
            Note::Unread(rule, socket, fault) => {
                faults.add(format_args!("{rule} of TCP socket {socket:#x}"), fault);
            }
        }
    }
    nonsense.sort_unstable();
    checked.locked.sort_unstable();
    let tables = Tables {
        look,
        filter: &args.filter,
        disowned: &read.disowned,
        #[cfg(all(
            kernel_has = "prot_inuse.all",
            kernel_has = "sym:tcp_prot",
            kernel_has = "sym:tcpv6_prot"
        ))]
        in_tables: read.in_tables,
        nonsense,
        unchecked: std::cell::RefCell::default(),
        unread: std::cell::RefCell::default(),
        #[cfg(kernel_has = "inet_hashinfo.lhash2")]
        wants_hashes: rules.iter().any(|rule| rule.name == "wrong-hash"),
        #[cfg(kernel_has = "inet_hashinfo.lhash2")]
        layout: std::sync::OnceLock::new(),
    };
    for (rule, (mut findings, members)) in rules.iter().zip(found) {
        match &rule.check {
            Check::Basics(_) | Check::Socket(_) => {}
            Check::Pile(pile) => {
                let limit = (pile.limit)(&args.limits);
                piled_up(pile, rule.name, limit, members, &mut findings);
            }
            Check::Tables(check) | Check::Whole(check) => {
                check(&tables, rule.name, &mut findings);
            }
        }
        checked.rules.push(RuleRow {
            name: rule.name,
            sentence: rule.sentence,
            findings: findings.len(),
            unchecked: tables.unchecked.take(),
        });
        checked.findings.extend(findings);
    }
    #[cfg(all(
        kernel_has = "inet_bind_bucket.node",
        any(
            kernel_has = "inet_bind_bucket.owners",
            kernel_has = "inet_bind_bucket.bhash2"
        )
    ))]
    if rules.iter().any(|rule| rule.name == "bind") {
        faults.check("bhash", crate::rules::bind::table(k));
    }
    for (what, fault) in tables.unread.take() {
        faults.add(what, fault);
    }
    #[cfg(kernel_has = "inet_hashinfo.lhash2")]
    for (what, fault) in tables
        .layout
        .get()
        .into_iter()
        .flat_map(|layout| &layout.faults)
    {
        faults.add(what, *fault);
    }
    Ok(checked)
}

/// What a rule, by its number, keeps of a socket.
enum Note {
    Finding(usize, Finding),
    Member(usize, Member),
    /// It is no socket.
    Nonsense(u64),
    /// Somebody has it locked.
    Locked(u64),
    /// What a rule could not read of a socket.
    Unread(&'static str, u64, Fault),
}

/// What the rules keep of a socket: mostly nothing.
fn notes(rules: &[&Rule], look: Look<'_, '_>, socket: &Tcp) -> Vec<Note> {
    let mut notes = Vec::new();
    // Also if that one isn't wanted: what isn't a socket has nothing that the others could look at.
    for rule in RULES {
        if let Check::Basics(check) = &rule.check
            && let Some(said) = check(look, socket)
        {
            let number = rules.iter().position(|wanted| wanted.name == rule.name);
            if let Some(fault) = said.unread {
                let unread = Note::Unread(rule.name, socket.base.address, fault);
                notes.extend(number.map(|_| unread));
                continue;
            }
            notes.push(Note::Nonsense(socket.base.address));
            let finding = |number| Note::Finding(number, finding(rule.name, said, socket));
            notes.extend(number.map(finding));
            return notes;
        }
    }
    if is_locked(look, socket) {
        notes.push(Note::Locked(socket.base.address));
    }
    for (number, rule) in rules.iter().enumerate() {
        match &rule.check {
            Check::Socket(check) => {
                let note = check(look, socket).map(|said| match said.unread {
                    Some(fault) => Note::Unread(rule.name, socket.base.address, fault),
                    None => Note::Finding(number, finding(rule.name, said, socket)),
                });
                notes.extend(note);
            }
            Check::Pile(pile) if (pile.belongs)(socket) => {
                notes.push(Note::Member(number, Member::of(socket)));
            }
            Check::Basics(_) | Check::Pile(_) | Check::Tables(_) | Check::Whole(_) => {}
        }
    }
    notes
}

/// A line about sockets that were locked.
fn locked(addresses: &[u64]) -> String {
    /// So many of them are named.
    const NAMED: usize = 8;
    let named = addresses.iter().take(NAMED);
    let named: Vec<String> = named.map(|address| format!("{address:#x}")).collect();
    let more = match addresses.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "locked, so that some rules leave them out: {}: {}{more}\n",
        many(addresses.len(), "socket"),
        named.join(", ")
    )
}

impl Report for Checked {
    fn table(&self) -> String {
        let mut text = String::new();
        if !self.findings.is_empty() {
            let rows = self.findings.iter().map(|finding| {
                vec![
                    finding.rule.to_owned(),
                    finding
                        .netns
                        .map_or_else(String::new, |net| net.to_string()),
                    finding.state.unwrap_or_default().to_owned(),
                    finding.ends.clone().unwrap_or_default(),
                    finding.why.clone(),
                    finding.holders.join(","),
                    finding
                        .address
                        .map_or_else(String::new, |address| format!("{address:#x}")),
                ]
            });
            let header = ["RULE", "NETNS", "STATE", "ENDS", "WHY", "OWNERS", "SOCK"];
            text = linux::app::table_text(&linux::app::plain_table(&header, rows));
        }
        text.push_str(&format!(
            "{}, {}, {}\n",
            many(self.sockets, "socket"),
            many(self.rules.len(), "rule"),
            many(self.findings.len(), "finding")
        ));
        if !self.locked.is_empty() {
            text.push_str(&locked(&self.locked));
        }
        for rule in &self.rules {
            for why in &rule.unchecked {
                text.push_str(&format!("not checked: {}: {why}\n", rule.name));
            }
        }
        text
    }

    fn is_complete(&self) -> bool {
        // What was asked for, and nothing else.
        let is_unchecked = self.is_only && self.rules.iter().any(|rule| !rule.unchecked.is_empty());
        !is_unchecked && !self.lacks_some
    }

    fn has_findings(&self) -> bool {
        !self.findings.is_empty()
    }
}

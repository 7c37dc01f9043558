//! Options, and the report.

use std::process::ExitCode;

use clap::Parser;
use clap::builder::PossibleValuesParser;
use kstruct::Memory;
use linux::app::Common;
use linux::{Faults, Report};
use serde::Serialize;
use sockets::filter::Filter;
use sockets::sock::Reader;
use sockets::tcp::Tcp;

use crate::rules::{Check, Finding, Limits, Look, Member, RULES, Rule, Tables, finding, piled_up};

/// Reports TCP sockets that are not as they should be, in all network namespaces, each with the reason.
///
/// The exit status is 0 if nothing is unusual, 1 if something is, 2 if something could not be read.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  tcpcheck --core vmcore                           everything unusual
  tcpcheck --core vmcore --rules                   the rules, without reading the dump's sockets
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
    /// List the rules of this kernel
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
    linux::app::run(analyze)
}

#[derive(Serialize)]
struct Checked {
    findings: Vec<Finding>,
    /// How many sockets were looked at.
    sockets: usize,
    rules: Vec<RuleRow>,
    #[serde(skip)]
    list_only: bool,
}

#[derive(Serialize)]
struct RuleRow {
    name: &'static str,
    sentence: &'static str,
    /// How much it found.
    findings: usize,
}

fn analyze(k: &Memory, args: &Args, faults: &mut Faults) -> anyhow::Result<Checked> {
    let is_wanted = |name: &str| {
        (args.only.is_empty() || args.only.iter().any(|only| only == name))
            && !args.skip.iter().any(|skip| skip == name)
    };
    let mut checked = Checked {
        findings: Vec::new(),
        sockets: 0,
        rules: Vec::new(),
        list_only: args.rules,
    };
    if args.rules {
        checked.rules.extend(RULES.iter().map(|rule| RuleRow {
            name: rule.name,
            sentence: rule.sentence,
            findings: 0,
        }));
        return Ok(checked);
    }
    args.filter.check(k, faults)?;
    let rules: Vec<&Rule> = RULES.iter().filter(|rule| is_wanted(rule.name)).collect();
    // Nothing that was looked at is not nothing that was found.
    anyhow::ensure!(
        !rules.is_empty(),
        "no rule is left: --skip names all that --rule does"
    );
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
    checked.sockets = read.len();
    let mut found: Vec<(Vec<Finding>, Vec<Member>)> = Vec::new();
    found.resize_with(rules.len(), Default::default);
    for (number, note) in read.into_iter().flatten() {
        match note {
            Note::Finding(finding) => found[number].0.push(finding),
            Note::Member(member) => found[number].1.push(member),
        }
    }
    let tables = Tables::of(look, &args.filter);
    for (rule, (mut findings, members)) in rules.iter().zip(found) {
        match &rule.check {
            Check::Socket(_) => {}
            Check::Pile(pile) => {
                let limit = (pile.limit)(&args.limits);
                piled_up(pile, rule.name, limit, members, &mut findings);
            }
            Check::Tables(check) => check(&tables, rule.name, &mut findings),
        }
        checked.rules.push(RuleRow {
            name: rule.name,
            sentence: rule.sentence,
            findings: findings.len(),
        });
        checked.findings.extend(findings);
    }
    Ok(checked)
}

/// What a rule keeps of a socket.
enum Note {
    Finding(Finding),
    Member(Member),
}

/// What the rules, by their numbers, keep of a socket: mostly nothing.
fn notes(rules: &[&Rule], look: Look<'_, '_>, socket: &Tcp) -> Vec<(usize, Note)> {
    let mut notes = Vec::new();
    for (number, rule) in rules.iter().enumerate() {
        match &rule.check {
            Check::Socket(check) => {
                let why = check(look, socket);
                let finding = why.map(|why| finding(rule.name, why, socket));
                notes.extend(finding.map(|finding| (number, Note::Finding(finding))));
            }
            Check::Pile(pile) if (pile.belongs)(socket) => {
                notes.push((number, Note::Member(Member::of(socket))));
            }
            Check::Pile(_) | Check::Tables(_) => {}
        }
    }
    notes
}

impl Report for Checked {
    fn table(&self) -> String {
        if self.list_only {
            let rows = self
                .rules
                .iter()
                .map(|rule| vec![rule.name.to_owned(), rule.sentence.to_owned()]);
            return linux::app::table_text(&linux::app::plain_table(&["RULE", "WHAT"], rows));
        }
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
                    if finding.address == 0 {
                        String::new()
                    } else {
                        format!("{:#x}", finding.address)
                    },
                ]
            });
            let header = ["RULE", "NETNS", "STATE", "ENDS", "WHY", "OWNERS", "SOCK"];
            text = linux::app::table_text(&linux::app::plain_table(&header, rows));
        }
        text.push_str(&format!(
            "{} sockets, {} rules, {} findings\n",
            self.sockets,
            self.rules.len(),
            self.findings.len()
        ));
        text
    }

    fn has_findings(&self) -> bool {
        !self.findings.is_empty()
    }
}

//! What is measured of one machine of the lab, and how each program is called.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use serde::Deserialize;

use super::measure::{self, Output, Run, Sample};
use super::report::{JobReport, Row};
use super::tools::{self, Tool};
use crate::lab::{self, Machine};
use crate::{build, generate, paths};

/// One machine, and how long to measure.
pub struct Bench<'l> {
    machine: &'l Machine,
    kernel: &'l str,
    runs: u32,
    seconds: f64,
    folder: PathBuf,
}

/// One of several programs that do the same job.
struct Contestant<'c> {
    label: String,
    is_ours: bool,
    /// How to run it, or to install it.
    run: Result<Runner<'c>, String>,
}

/// What came of one run.
struct Outcome {
    sample: Sample,
    /// Whether it did the job.
    is_done: bool,
    note: String,
    /// What the program measured itself: names and seconds.
    parts: Vec<(String, f64)>,
}

impl<'l> Bench<'l> {
    pub fn new(machine: &'l Machine, runs: u32, seconds: f64) -> anyhow::Result<Self> {
        let kernel = machine.release.as_str();
        let folder = paths::bench().join(kernel);
        // What a run that was broken off left would not be fresh.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("can't create {}", folder.display()))?;
        generate::ensure(kernel, Some(&machine.vmlinux))?;
        Ok(Bench {
            machine,
            kernel,
            runs,
            seconds,
            folder,
        })
    }

    /// From vmlinux to bindings in an empty folder.
    pub fn generate(&self) -> anyhow::Result<JobReport> {
        let vmlinux = &self.machine.vmlinux;
        let into = self.folder.join("bindings");
        let ours = Contestant::ours("cargo xtask gen", || {
            let _ = std::fs::remove_dir_all(&into);
            let mut command = xtask()?;
            command.args(["gen", self.kernel, "--into"]).arg(&into);
            let run = succeed(measure::run(&mut command, Output::Discard)?, "gen")?;
            let parts = phases(&run.stderr)
                .into_iter()
                .map(|(name, seconds)| (format!("ours: {name}"), seconds));
            Ok(Outcome {
                parts: parts.collect(),
                ..Outcome::of(&run, "with the modules that analyzers ask for".into())
            })
        });
        let part = |label: &str, option: &'static str, what: &'static str| {
            Contestant::new(label, move || {
                let mut command = xtask()?;
                command.args(["bench", option]).arg(vmlinux);
                let run = succeed(measure::run(&mut command, Output::Keep)?, what)?;
                Ok(Outcome::of(&run, format!("{what}: {}", run.stdout.trim())))
            })
        };
        let print = |tool: Tool,
                     arguments: &'static [&'static str],
                     after: &'static [&'static str],
                     what: &'static str| {
            contestant(tool, |program| {
                Box::new(move || {
                    let mut command = Command::new(&program);
                    command.args(arguments).arg(vmlinux).args(after);
                    let run = measure::run(&mut command, Output::Discard)?;
                    Ok(Outcome::or_failure(&run, what.to_owned()))
                })
            })
        };
        let contestants = vec![
            ours,
            part(
                "vmlinux to model, without modules",
                "--model",
                "a part of gen",
            ),
            part("gimli, every entry once, 2 threads", "--floor", "the floor"),
            print(
                tools::pahole(),
                &["-F", "dwarf", "-j"],
                &[],
                "structs as C, from DWARF, all CPUs",
            ),
            print(
                tools::bpftool(),
                &["btf", "dump", "file"],
                &["format", "c"],
                "types as C, from BTF, without offsets",
            ),
        ];
        let report = self.race("generate bindings", contestants)?;
        let _ = std::fs::remove_dir_all(&into);
        Ok(report)
    }

    /// Compiling the generated crate, with what it depends on and alone, in a fresh target directory.
    pub fn compile(&self) -> anyhow::Result<JobReport> {
        let target = self.folder.join("target");
        let cargo = |arguments: &[&str]| {
            let mut command = build::cargo(self.kernel);
            command
                .env("CARGO_TARGET_DIR", &target)
                .args(arguments)
                .args(["--package", "kernel"]);
            let run = measure::run(&mut command, Output::Discard)?;
            succeed(run, "cargo").map(|run| run.sample)
        };
        let mut rows = Vec::new();
        for (name, arguments) in [
            ("cargo check", &["check"][..]),
            ("cargo build --release", &["build", "--release"]),
        ] {
            eprintln!("{}: {name} of the bindings ...", self.kernel);
            let note = "everything, in an empty target directory".to_owned();
            rows.push(Row::measured(name, &[cargo(arguments)?], true, note));
            let clean = [&["clean"], &arguments[1..]].concat();
            cargo(&clean)?;
            let note = "crate kernel alone".to_owned();
            rows.push(Row::measured(name, &[cargo(arguments)?], true, note));
        }
        let _ = std::fs::remove_dir_all(&target);
        Ok(JobReport::new(self.kernel, "compile the bindings", rows))
    }

    /// Building an analyzer again after its source was touched.
    pub fn rebuild(&self) -> anyhow::Result<JobReport> {
        self.build()?;
        let source = paths::root().join("analyzers/netdev/src/main.rs");
        let ours = Contestant::new("cargo xtask build netdev", || {
            let file = std::fs::File::options().append(true).open(&source);
            file.and_then(|file| file.set_modified(SystemTime::now()))
                .with_context(|| format!("can't touch {}", source.display()))?;
            let mut command = xtask()?;
            command.args(["build", "netdev", "--kernel", self.kernel]);
            let run = succeed(measure::run(&mut command, Output::Discard)?, "build")?;
            Ok(Outcome::of(&run, "after its main.rs was touched".into()))
        });
        self.race("rebuild an analyzer", vec![ours])
    }

    /// From the vmlinux of a kernel that was never seen to an analyzer for it. Other kernels were.
    pub fn unseen(&self) -> anyhow::Result<JobReport> {
        self.build()?;
        let name = "never-seen";
        let vmlinux = self.folder.join(format!("vmlinux-{name}"));
        std::os::unix::fs::symlink(&self.machine.vmlinux, &vmlinux)
            .with_context(|| vmlinux.display().to_string())?;
        let forget = || {
            for folder in [
                paths::selected(name),
                paths::target(name),
                paths::binaries(name),
            ] {
                let _ = std::fs::remove_dir_all(folder);
            }
        };
        let ours = Contestant::new("cargo xtask build netdev", || {
            forget();
            let mut command = xtask()?;
            command.args(["build", "netdev", "--kernel"]).arg(&vmlinux);
            let run = succeed(measure::run(&mut command, Output::Discard)?, "build")?;
            Ok(Outcome::of(&run, "from vmlinux to binary".into()))
        });
        let report = self.race("an analyzer for a new kernel", vec![ours]);
        forget();
        report
    }

    /// All tasks.
    pub fn ps(&self) -> anyhow::Result<JobReport> {
        self.build()?;
        let rows = |stdout: &str| stdout.lines().count().saturating_sub(1);
        self.analyzer("ps -T", &["-T"], "tasks", rows, "ps", "ps.py")
    }

    /// All network interfaces.
    pub fn netdev(&self) -> anyhow::Result<JobReport> {
        self.build()?;
        let rows = |stdout: &str| {
            stdout
                .lines()
                .filter(|line| line.contains("  net_device "))
                .count()
        };
        self.analyzer("netdev", &[], "interfaces", rows, "net", "netdev.py")
    }

    fn analyzer(
        &self,
        job: &str,
        options: &'static [&'static str],
        things: &'static str,
        count: impl Fn(&str) -> usize,
        crash_command: &'static str,
        script: &str,
    ) -> anyhow::Result<JobReport> {
        let name = job.split(' ').next().unwrap_or(job);
        let binary = paths::binaries(self.kernel).join(name);
        let Machine {
            vmlinux, vmcore, ..
        } = self.machine;
        let ours = Contestant::ours(job, || {
            let mut command = Command::new(&binary);
            command.arg("--core").arg(vmcore).args(options);
            let run = succeed(measure::run(&mut command, Output::Keep)?, name)?;
            let note = format!("{} {things}", count(&run.stdout));
            Ok(Outcome::of(&run, note))
        });
        let input = self.folder.join(format!("{crash_command}.crash"));
        std::fs::write(&input, format!("{crash_command}\nexit\n"))
            .with_context(|| format!("can't write {}", input.display()))?;
        let crash = contestant(tools::crash(), |program| {
            Box::new(move || {
                let crash = |options: &[&str]| {
                    let mut command = Command::new(&program);
                    command
                        .args(options)
                        .arg("-i")
                        .arg(&input)
                        .arg(vmlinux)
                        .arg(vmcore);
                    measure::run(&mut command, Output::Keep)
                };
                let run = crash(&["-s"])?;
                if run.status.success() {
                    let note = format!(
                        "{} {things}{}",
                        crash_rows(&run.stdout),
                        complaint(&run).map_or_else(String::new, |line| format!("; says: {line}"))
                    );
                    return Ok(Outcome::of(&run, note));
                }
                // Some failures are silent unless crash is told to debug.
                let line = match complaint(&run) {
                    Some(line) => line,
                    None => {
                        complaint(&crash(&["-s", "-d1"])?).unwrap_or_else(|| run.status.to_string())
                    }
                };
                Ok(Outcome {
                    is_done: false,
                    ..Outcome::of(&run, format!("fails: {line}"))
                })
            })
        });
        let drgn = self.drgn(script, things);
        self.race(job, vec![ours, crash, drgn])
    }

    /// 20,000 TCP connections: each shown, and each looked at by all rules. crash has no command for either.
    pub fn tcp(&self) -> anyhow::Result<Vec<JobReport>> {
        build::compile(
            self.kernel,
            Some(&self.machine.vmlinux),
            &["tcp".to_owned(), "tcpcheck".to_owned()],
            false,
        )?;
        let ours = |name: &'static str, count: fn(&str) -> String, findings: i32| {
            let binary = paths::binaries(self.kernel).join(name);
            Contestant::ours(name, move || {
                let mut command = Command::new(&binary);
                command.arg("--core").arg(&self.machine.vmcore);
                let run = measure::run(&mut command, Output::Keep)?;
                if run.status.code() != Some(findings) {
                    bail!("{name}: {}: {}", run.status, run.stderr);
                }
                Ok(Outcome::of(&run, count(&run.stdout)))
            })
        };
        let sockets = |stdout: &str| {
            let lines = stdout.lines();
            // Each network namespace has two lines of headings.
            let others = lines.clone().filter(|line| line.starts_with("== "));
            format!("{} sockets", lines.count() - 2 * others.count())
        };
        let findings = |stdout: &str| stdout.lines().last().unwrap_or_default().to_owned();
        let shown = vec![ours("tcp", sockets, 0), self.drgn("tcp.py", "sockets")];
        let checked = vec![ours("tcpcheck", findings, 1)];
        Ok(vec![
            self.race("tcp, 20,000 connections", shown)?,
            self.race("tcpcheck, 20,000 connections", checked)?,
            self.populations()?,
        ])
    }

    /// What a connection takes, among a thousand as among a million: the dump is populated with as many copies of one of its own.
    fn populations(&self) -> anyhow::Result<JobReport> {
        const TITLE: &str = "tcpcheck by numbers of connections: the time for each";
        /// Times that each is run.
        const RUNS: usize = 7;
        eprintln!("{}: {TITLE} ...", self.kernel);
        let (bindings, target) = (self.folder.join("populate"), self.folder.join("target"));
        let sources = [
            "analyzers/linux/src",
            "analyzers/sockets/src",
            "tests/examples/populate.rs",
            "tests/src",
        ];
        let mut gen_command = xtask()?;
        gen_command
            .args(["gen", self.kernel, "--into"])
            .arg(&bindings);
        for source in sources {
            gen_command.arg("--used-by").arg(paths::root().join(source));
        }
        succeed(measure::run(&mut gen_command, Output::Discard)?, "gen")?;
        let mut command = build::cargo(self.kernel);
        command
            .env("KSTRUCT_KERNEL", &bindings)
            .env("CARGO_TARGET_DIR", &target)
            .args(["build", "--release", "--package", "tests"])
            .args(["--features", "populate", "--example", "populate"]);
        succeed(measure::run(&mut command, Output::Keep)?, "populate")?;
        let dump = self.folder.join("populated");
        let listeners = self.listeners()?;
        let mut rows = Vec::new();
        for count in [1_000_u64, 10_000, 100_000, 1_000_000] {
            let mut populate = Command::new(target.join("release/examples/populate"));
            populate.arg(&self.machine.vmcore).arg(&dump);
            populate.arg(count.to_string());
            succeed(measure::run(&mut populate, Output::Keep)?, "populate")?;
            let mut seconds = Vec::new();
            let mut said = String::new();
            for _ in 0..RUNS {
                let mut command = Command::new(paths::binaries(self.kernel).join("tcpcheck"));
                command.arg("--core").arg(&dump);
                let run = measure::run(&mut command, Output::Keep)?;
                let last = run.stdout.lines().last().unwrap_or_default();
                // The copies are sound: what the crowd's listeners have is all that there is to find.
                let findings = last.rsplit_once(", ").map(|(_, findings)| findings);
                if !last.starts_with(&format!("{} sockets", count + listeners))
                    || findings != Some("1 finding")
                {
                    bail!(
                        "tcpcheck of {count} connections says: {last} {}",
                        run.stderr
                    );
                }
                said = last.to_owned();
                seconds.push(run.sample.wall_seconds);
            }
            let whole = measure::spread(seconds.iter().copied()).context("it was run")?;
            rows.push(Row {
                is_part: false,
                is_ours: count == 1_000,
                note: format!("in {:.1} ms: {said}", whole.median * 1e3),
                ..Row::part(&format!("{count} connections"), &per_thing(&seconds, count))
            });
        }
        Ok(JobReport::new(self.kernel, TITLE, rows))
    }

    /// How many sockets of the crowd are no connections, and stay.
    fn listeners(&self) -> anyhow::Result<u64> {
        let mut command = Command::new(paths::binaries(self.kernel).join("tcp"));
        command.arg("--core").arg(&self.machine.vmcore).arg("-l");
        let run = succeed(measure::run(&mut command, Output::Keep)?, "tcp -l")?;
        Ok(run.stdout.lines().count().saturating_sub(2) as u64)
    }

    /// A script of `xtask/bench`, by drgn.
    fn drgn<'c>(&'c self, script: &str, things: &'static str) -> Contestant<'c> {
        let script = paths::bench_scripts().join(script);
        let Machine {
            vmlinux, vmcore, ..
        } = self.machine;
        contestant(tools::drgn(), |python| {
            Box::new(move || {
                let mut command = Command::new(&python);
                command.arg(&script).arg(vmlinux).arg(vmcore);
                let run = measure::run(&mut command, Output::Keep)?;
                let own = run
                    .stderr
                    .lines()
                    .last()
                    .map(serde_json::from_str::<DrgnLine>);
                let Some(Ok(own)) = own else {
                    return Ok(Outcome::or_failure(&run, String::new()));
                };
                Ok(Outcome {
                    parts: vec![("drgn: the walk alone".to_owned(), own.walk_seconds)],
                    ..Outcome::or_failure(&run, format!("{} {things}", own.rows))
                })
            })
        })
    }

    /// Walks within one process, without what it takes to start and to find the kernel: by generated code, by hand, by drgn, and by
    /// crash where it has a command for it.
    pub fn walk(&self) -> anyhow::Result<Vec<JobReport>> {
        eprintln!("{}: walk ...", self.kernel);
        let mut command = build::cargo(self.kernel);
        command
            .args(["bench", "--package", "tests", "--features", "lab"])
            .args(["--bench", "walk", "--"])
            .arg(&self.machine.vmcore);
        let run = succeed(
            measure::run(&mut command, Output::Keep)?,
            "the benchmark of walks",
        )?;
        let lines = walk_lines(&run.stdout)?;
        let drgn = self.drgn_walks()?;
        let mut reports = Vec::new();
        for (job, title, crash_command) in WALKS {
            let mut rows = Vec::new();
            let of_job = |line: &&WalkLine| line.job == job;
            for line in lines.iter().filter(of_job) {
                rows.push(Row {
                    is_ours: line.is_ours,
                    is_part: false,
                    note: format!("a {}; {} of them", line.thing, line.count),
                    ..Row::part(&line.name, &per_thing(&line.seconds, line.count))
                });
            }
            let ours = lines.iter().filter(of_job).find(|line| line.is_ours);
            let ours = ours.with_context(|| format!("the benchmark has no job {job}"))?;
            match &drgn {
                Ok((label, lines)) => {
                    for line in lines.iter().filter(of_job) {
                        let same = (line.count, line.sum) == (ours.count, ours.sum);
                        rows.push(Row {
                            is_part: false,
                            note: format!(
                                "{} of them{}",
                                line.count,
                                if same { "" } else { "; finds something else" }
                            ),
                            ..Row::part(label, &per_thing(&line.seconds, line.count))
                        });
                    }
                }
                Err(how) => rows.push(Row::missing("drgn", how.clone())),
            }
            if let Some(command) = crash_command {
                rows.push(self.crash_walk(command, ours.count)?);
            }
            reports.push(JobReport::new(self.kernel, title, rows));
        }
        Ok(reports)
    }

    /// The same walks by a script for drgn; or why there are none.
    fn drgn_walks(&self) -> anyhow::Result<Result<(String, Vec<WalkLine>), String>> {
        let tool = tools::drgn();
        let python = match tool.program {
            Ok(python) => python,
            Err(how) => return Ok(Err(how)),
        };
        let mut command = Command::new(python);
        command
            .arg(paths::bench_scripts().join("walks.py"))
            .args([&self.machine.vmlinux, &self.machine.vmcore]);
        let run = measure::run(&mut command, Output::Keep)?;
        if !run.status.success() {
            let line = run.stderr.trim_end().lines().last().unwrap_or_default();
            return Ok(Err(format!("fails: {line}")));
        }
        Ok(Ok((tool.label, walk_lines(&run.stdout)?)))
    }

    /// A command of crash, within one session: the time is taken before and after it, so that opening the dump doesn't count. Printing
    /// does: crash has no other way to walk.
    fn crash_walk(&self, command: &str, count: u64) -> anyhow::Result<Row> {
        const TIMES: usize = 5;
        let tool = tools::crash();
        let program = match tool.program {
            Ok(program) => program,
            Err(how) => return Ok(Row::missing(&tool.label, how)),
        };
        let input = self.folder.join("walk.crash");
        let output = self.folder.join("walk.out");
        let clock = "!echo clock $(date +%s.%N)\n";
        let once = format!("{clock}{command} > {}\n{clock}", output.display());
        std::fs::write(&input, once.repeat(TIMES) + "exit\n")
            .with_context(|| format!("can't write {}", input.display()))?;
        let mut session = Command::new(program);
        session.args(["-s", "-i"]).arg(&input);
        session.args([&self.machine.vmlinux, &self.machine.vmcore]);
        let run = measure::run(&mut session, Output::Keep)?;
        let clocks: Vec<f64> = run
            .stdout
            .lines()
            .filter_map(|line| line.strip_prefix("clock ")?.trim().parse().ok())
            .collect();
        let rows = std::fs::read_to_string(&output).map_or(0, |text| text.lines().count());
        let label = format!("{}: {command}", tool.label);
        if clocks.len() != 2 * TIMES || rows == 0 {
            let line = complaint(&run).unwrap_or_else(|| run.status.to_string());
            return Ok(Row::missing(&label, format!("fails: {line}")));
        }
        let seconds: Vec<f64> = clocks.chunks(2).map(|pair| pair[1] - pair[0]).collect();
        Ok(Row {
            is_part: false,
            note: format!("with its output, {rows} lines"),
            ..Row::part(&label, &per_thing(&seconds, count))
        })
    }

    /// All memory of a compressed dump once, beside the decompressor alone; the time is that within the process, after opening.
    pub fn scan(&self) -> anyhow::Result<JobReport> {
        const TITLE: &str = "read all of a zlib dump (makedumpfile -c -d 0)";
        let crash = lab::ensure(self.kernel, self.machine.levels, lab::How::Panic)?;
        let dump = self.folder.join("zlib");
        let made = Command::new("makedumpfile")
            .args(["-c", "-d0"])
            .args([&crash.vmcore, &dump])
            .output();
        match made {
            Ok(output) if output.status.success() => {}
            _ => {
                let how =
                    "not run: makedumpfile is missing or fails (apt-get install makedumpfile)";
                let rows = vec![Row::missing("Dump::scan", how.to_owned())];
                return Ok(JobReport::new(self.kernel, TITLE, rows));
            }
        }
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .current_dir(paths::root())
            .args(["build", "--quiet", "--release", "--package", "kstruct"])
            .args(["--example", "scan"]);
        succeed(measure::run(&mut cargo, Output::Discard)?, "cargo build")?;
        let program = paths::root().join("target/release/examples/scan");
        let ways = [
            ("Dump::scan", "scan", "nothing is kept"),
            ("the decompressor alone", "alone", "into one buffer"),
            ("Dump::physical, page by page", "keep", "all pages are kept"),
        ];
        let mut seconds = vec![Vec::new(); ways.len()];
        let mut results = Vec::new();
        for round in 0..self.runs.min(11) as usize {
            for index in 0..ways.len() {
                let index = (index + round) % ways.len();
                let mut command = Command::new(&program);
                command.arg(&dump).arg(ways[index].1);
                let run = succeed(measure::run(&mut command, Output::Keep)?, ways[index].0)?;
                let line: ScanLine = serde_json::from_str(run.stdout.trim())?;
                seconds[index].push(line.seconds);
                results.push((line.pages, line.faults, line.sum));
            }
        }
        let same = results.iter().all(|result| *result == results[0]);
        let (pages, faults, _) = results[0];
        let rows = ways
            .iter()
            .zip(seconds)
            .map(|((name, _, what), seconds)| Row {
                is_ours: *name == ways[0].0,
                is_part: false,
                note: format!(
                    "{pages} pages, {faults} faults; {what}{}",
                    if same {
                        ""
                    } else {
                        "; NOT THE SAME in all ways"
                    }
                ),
                ..Row::part(name, &seconds)
            });
        Ok(JobReport::new(self.kernel, TITLE, rows.collect()))
    }

    /// Builds the analyzers, so that only what follows is measured.
    fn build(&self) -> anyhow::Result<()> {
        build::compile(
            self.kernel,
            Some(&self.machine.vmlinux),
            &["netdev".to_owned(), "ps".to_owned()],
            false,
        )?;
        Ok(())
    }

    /// Lets all run in turns, so that whatever else the machine does meets all of them.
    fn race(&self, job: &str, mut contestants: Vec<Contestant<'_>>) -> anyhow::Result<JobReport> {
        eprintln!("{}: {job} ...", self.kernel);
        let mut outcomes: Vec<Vec<Outcome>> = contestants.iter().map(|_| Vec::new()).collect();
        loop {
            let mut is_over = true;
            for (contestant, outcomes) in contestants.iter_mut().zip(&mut outcomes) {
                let Ok(run) = &mut contestant.run else {
                    continue;
                };
                let spent: f64 = outcomes
                    .iter()
                    .map(|outcome| outcome.sample.wall_seconds)
                    .sum();
                let enough = outcomes.len() >= self.runs as usize
                    || outcomes.len() >= 3 && spent >= self.seconds;
                if !enough {
                    outcomes.push(run()?);
                    is_over = false;
                }
            }
            if is_over {
                break;
            }
        }
        let mut rows = Vec::new();
        for (contestant, outcomes) in contestants.into_iter().zip(outcomes) {
            rows.extend(contestant.rows(outcomes));
        }
        Ok(JobReport::new(self.kernel, job, rows))
    }
}

/// What our scripts for drgn say of themselves.
#[derive(Deserialize)]
struct DrgnLine {
    rows: u64,
    walk_seconds: f64,
}

/// What the example `scan` prints.
#[derive(Deserialize)]
struct ScanLine {
    pages: u64,
    faults: u64,
    sum: u64,
    seconds: f64,
}

/// The walks: the job's name, what it is, and crash's command for it.
const WALKS: [(&str, &str, Option<&str>); 5] = [
    ("tasks", "walk all tasks: pid", Some("ps")),
    ("dentries", "walk all dentries: d_flags", None),
    ("pages", "walk all struct page: flags", Some("kmem -p")),
    (
        "slab",
        "walk the allocated objects of slab cache dentry: d_flags",
        Some("kmem -S dentry"),
    ),
    ("vmalloc", "follow words through vmalloc space", None),
];

/// What the benchmark of walks (`tests/benches/walk`) and the script for drgn print for each way to walk.
#[derive(Deserialize)]
struct WalkLine {
    job: String,
    name: String,
    is_ours: bool,
    count: u64,
    sum: u64,
    thing: String,
    /// Of each walk.
    seconds: Vec<f64>,
}

fn walk_lines(text: &str) -> anyhow::Result<Vec<WalkLine>> {
    let lines = text.lines().map(serde_json::from_str);
    lines
        .collect::<Result<_, _>>()
        .with_context(|| format!("the benchmark printed {text}"))
}

fn per_thing(seconds: &[f64], count: u64) -> Vec<f64> {
    let count = count.max(1) as f64;
    seconds.iter().map(|walk| walk / count).collect()
}

impl<'c> Contestant<'c> {
    fn new(label: &str, run: impl FnMut() -> anyhow::Result<Outcome> + 'c) -> Self {
        Contestant {
            label: label.to_owned(),
            is_ours: false,
            run: Ok(Box::new(run)),
        }
    }

    fn ours(label: &str, run: impl FnMut() -> anyhow::Result<Outcome> + 'c) -> Self {
        Contestant {
            is_ours: true,
            ..Contestant::new(label, run)
        }
    }

    /// The row of all runs, and those of their parts.
    fn rows(self, outcomes: Vec<Outcome>) -> Vec<Row> {
        if let Err(how) = self.run {
            return vec![Row::missing(&self.label, how)];
        }
        let samples: Vec<Sample> = outcomes.iter().map(|outcome| outcome.sample).collect();
        let Some(last) = outcomes.last() else {
            return Vec::new();
        };
        let is_done = outcomes.iter().all(|outcome| outcome.is_done);
        let mut rows = vec![Row {
            is_ours: self.is_ours,
            ..Row::measured(&self.label, &samples, is_done, last.note.clone())
        }];
        for (name, _) in &last.parts {
            let seconds: Vec<f64> = outcomes
                .iter()
                .flat_map(|outcome| &outcome.parts)
                .filter(|(part, _)| part == name)
                .map(|(_, seconds)| *seconds)
                .collect();
            let note = if self.is_ours {
                ""
            } else {
                "compared with our whole process"
            };
            rows.push(Row {
                note: note.to_owned(),
                ..Row::part(name, &seconds)
            });
        }
        rows
    }
}

impl Outcome {
    fn of(run: &Run, note: String) -> Self {
        Outcome {
            sample: run.sample,
            is_done: true,
            note,
            parts: Vec::new(),
        }
    }

    /// That of a program that is not ours, and whose failure is a result too.
    fn or_failure(run: &Run, note: String) -> Self {
        if run.status.success() {
            return Outcome::of(run, note);
        }
        let line = run.stderr.trim_end().lines().last().unwrap_or_default();
        Outcome {
            is_done: false,
            ..Outcome::of(run, format!("fails: {line}"))
        }
    }
}

type Runner<'c> = Box<dyn FnMut() -> anyhow::Result<Outcome> + 'c>;

/// A contestant that may not be installed.
fn contestant<'c>(tool: Tool, runner: impl FnOnce(PathBuf) -> Runner<'c>) -> Contestant<'c> {
    Contestant {
        label: tool.label,
        is_ours: false,
        run: tool.program.map(runner),
    }
}

/// This program.
fn xtask() -> anyhow::Result<Command> {
    let program = std::env::current_exe().context("can't find the program that runs")?;
    let mut command = Command::new(program);
    command.current_dir(Path::new(paths::root()));
    Ok(command)
}

fn succeed(run: Run, what: &str) -> anyhow::Result<Run> {
    if !run.status.success() {
        bail!("{what} failed ({}): {}", run.status, run.stderr.trim_end());
    }
    Ok(run)
}

/// The phases that `gen` prints: `... functions; read in 3.30 s, written in 8.74 s: ...`.
fn phases(stderr: &str) -> Vec<(&'static str, f64)> {
    [("reading", "; read in "), ("writing", ", written in ")]
        .into_iter()
        .filter_map(|(name, before)| {
            let (_, rest) = stderr.rsplit_once(before)?;
            Some((name, rest.split_once(" s")?.0.parse().ok()?))
        })
        .collect()
}

/// How many rows a table of crash has below its headers: those that begin with a number or an address.
fn crash_rows(stdout: &str) -> usize {
    stdout
        .lines()
        .filter_map(|line| {
            line.trim_start_matches(['>', ' '])
                .split_whitespace()
                .next()
        })
        .filter(|first| first.chars().all(|digit| digit.is_ascii_hexdigit()))
        .count()
}

/// The line in which crash says what went wrong: its last error, or else its first warning. Paths are cut to file names.
fn complaint(run: &Run) -> Option<String> {
    let lines = || run.stdout.lines().chain(run.stderr.lines());
    let error = lines().rfind(|line| line.starts_with("crash: ") && line.contains("error"));
    let line = error.or_else(|| lines().find(|line| line.starts_with("WARNING: ")))?;
    let words = line
        .split_whitespace()
        .map(|word| match word.rsplit_once('/') {
            Some((_, file)) => file,
            None => word,
        });
    Some(words.collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gen_prints_is_understood() {
        let line = "6.1: 11560 types, 35001 variables, 46421 functions; read in 3.30 s, written in 8.74 s: 262 files";
        assert_eq!(phases(line), [("reading", 3.30), ("writing", 8.74)]);
        assert_eq!(phases("error"), []);
    }

    #[test]
    fn an_error_says_more_than_a_warning() {
        let run = |stdout: &str| Run {
            sample: Sample {
                wall_seconds: 0.0,
                cpu_seconds: 0.0,
                peak_bytes: 0,
            },
            status: std::process::ExitStatus::default(),
            stdout: stdout.to_owned(),
            stderr: String::new(),
        };
        let warning = "WARNING: /lab/vmcore: odd header\n";
        assert_eq!(
            complaint(&run(warning)).as_deref(),
            Some("WARNING: vmcore: odd header")
        );
        let error = "crash: read error: kernel virtual address: ff  type: \"page_offset_base\"\n";
        assert_eq!(
            complaint(&run(&format!("{warning}{error}"))).as_deref(),
            Some("crash: read error: kernel virtual address: ff type: \"page_offset_base\"")
        );
        assert_eq!(complaint(&run("")), None);
    }

    #[test]
    fn rows_of_crash_are_counted() {
        let ps = "WARNING: active task ffff on cpu 1 not found in PID hash\n\nbt: invalid size request\n\n      PID    PPID  CPU\n>       0       0   0  ffffffffadc1aa40  RU\n      274      -1   1  ffff89d602bc20c0  RU\n";
        assert_eq!(crash_rows(ps), 2);
        assert_eq!(
            crash_rows("   NET_DEVICE     NAME\nffff89d611376000  lo     127.0.0.1\n"),
            1
        );
    }
}

//! `cargo xtask build` and `run`: analyzers for one kernel.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead as _, BufReader, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use kstruct::Dump;
use kstruct_codegen::index::{Identity, Wishes};
use kstruct_codegen::model::AskedBtf;
use serde::Deserialize;

use crate::messages::Message;
use crate::stamp::Lock;
use crate::workspace::{self, Analyzer};
use crate::{debuginfod, find, generate, paths, seed, seen, selected};

/// Options of `cargo xtask build`.
#[derive(clap::Args)]
pub struct BuildArgs {
    /// The kernel: a release, or the name of its vmlinux
    #[arg(long, value_name = "NAME")]
    kernel: String,
    /// Compile against all of the kernel's bindings, and not only against what the analyzers use
    #[arg(long)]
    full: bool,
    /// The analyzers to build; all of them if none is named
    analyzers: Vec<String>,
}

/// Options of `cargo xtask run`.
#[derive(clap::Args)]
pub struct RunArgs {
    /// The analyzer to run
    analyzer: String,
    /// The memory dump to analyze; of a dump that was split, each of its files (--core FILE --core FILE). A raw image of physical memory is
    /// FILE@ADDRESS, with the address of its first byte in hexadecimal (--core memory@0). Without one, the running kernel is analyzed
    #[arg(long, value_name = "DUMP", default_value = kstruct::KCORE)]
    core: Vec<PathBuf>,
    /// The dump's kernel, if it can't be found from the dump
    #[arg(long, value_name = "NAME")]
    kernel: Option<String>,
    /// Options of the analyzer
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Builds analyzers for a kernel and says where they are.
pub fn build(args: &BuildArgs) -> anyhow::Result<()> {
    let (kernel, vmlinux) = find::kernel(&args.kernel)?;
    let all = workspace::analyzers()?;
    let wanted = if args.analyzers.is_empty() {
        all.into_iter().map(|analyzer| analyzer.name).collect()
    } else {
        args.analyzers.clone()
    };
    for path in compile(&kernel, vmlinux.as_deref(), &wanted, args.full)? {
        println!("{}", path.display());
    }
    Ok(())
}

/// Finds the dump's kernel, builds the analyzer for it, and runs it. Gives its exit status.
pub fn run(args: &RunArgs) -> anyhow::Result<u8> {
    let (kernel, vmlinux) = match &args.kernel {
        Some(name) => {
            let (kernel, vmlinux) = find::kernel(name)?;
            seen::record(&args.core[0], &kernel, None, None);
            (kernel, vmlinux)
        }
        None => kernel_of(&Dump::open_parts(&args.core)?)?,
    };
    let analyzers = std::slice::from_ref(&args.analyzer);
    fetch_modules(&kernel, vmlinux.as_deref(), analyzers, &args.core[0])?;
    let binary = compile(&kernel, vmlinux.as_deref(), analyzers, false)?.remove(0);
    let status = Command::new(&binary)
        .args(
            args.core
                .iter()
                .flat_map(|core| [OsStr::new("--core"), core.as_os_str()]),
        )
        .args(&args.rest)
        .status()
        .with_context(|| format!("can't run {}", binary.display()))?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(u8::MAX))
}

/// Fetches the debug information of modules for a kernel that came from a debuginfod server itself. A kernel of a package has them beside it.
fn fetch_modules(
    kernel: &str,
    vmlinux: Option<&Path>,
    analyzers: &[String],
    core: &Path,
) -> anyhow::Result<()> {
    let Some(servers) = debuginfod::Servers::configured()? else {
        return Ok(());
    };
    let Ok(vmlinux) = selected::source(kernel, vmlinux) else {
        return Ok(());
    };
    let fetched = paths::debuginfod().canonicalize();
    if fetched.is_ok_and(|folder| {
        vmlinux
            .canonicalize()
            .is_ok_and(|it| it.starts_with(folder))
    }) {
        let analyzers = named(analyzers)?;
        let packages: Vec<String> = analyzers.into_iter().map(|it| it.package).collect();
        servers.modules(&workspace::modules_of(&packages)?, &vmlinux, core);
    }
    Ok(())
}

/// The name of a kernel, of which all bindings are generated if there are none yet.
pub fn with_all_bindings(name: &str) -> anyhow::Result<String> {
    let (kernel, vmlinux) = find::kernel(name)?;
    generate::ensure(&kernel, vmlinux.as_deref())?;
    Ok(kernel)
}

/// Finds the kernel of a dump: bindings that are there already, or else a vmlinux of its release and build id, and its path.
fn kernel_of(dump: &Dump) -> anyhow::Result<(String, Option<PathBuf>)> {
    let core = dump.path();
    let release = dump.release().with_context(|| {
        format!(
            "{}: neither VMCOREINFO nor the memory names a kernel; give --kernel NAME",
            core.display()
        )
    })?;
    let build_id = dump.vmcoreinfo().get("BUILD-ID");
    let mut known = Vec::new();
    for (name, identity) in known_kernels()? {
        let same_build =
            build_id.is_none_or(|id| identity.build_id.is_empty() || identity.build_id == id);
        if identity.release == release && same_build {
            seen::record(core, &name, Some(&release), build_id);
            return Ok((name, None));
        }
        if !known.contains(&identity.release) {
            known.push(identity.release);
        }
    }
    let error = match find::of_dump(&release, build_id) {
        Ok(vmlinux) => {
            let name = find::name_of(&vmlinux)?;
            seen::record(core, &name, Some(&release), build_id);
            return Ok((name, Some(vmlinux)));
        }
        Err(error) => error,
    };
    seen::record(core, &find::tame(&release), Some(&release), build_id);
    bail!(
        "{}: it is a dump of kernel {release}{}, of which there are no bindings (there are those of {}), and {error:#}. Install the kernel's debug package, or: cargo xtask gen PATH-OF-VMLINUX",
        core.display(),
        build_id.map_or_else(String::new, |id| format!(" (build id {id})")),
        if known.is_empty() {
            "none".to_owned()
        } else {
            known.join(", ")
        },
    )
}

/// The kernels that have bindings of this version, all or what was used of them: their names and what they are.
pub fn known_kernels() -> anyhow::Result<Vec<(String, Identity)>> {
    let mut kernels = Vec::new();
    for folder in [paths::bindings(""), paths::selected("")] {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        let mut entries: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        entries.sort();
        for path in entries {
            if let (Some(name), Some(identity)) = (
                path.file_name().and_then(|name| name.to_str()),
                identity_in(&path),
            ) {
                kernels.push((name.to_owned(), identity));
            }
        }
    }
    Ok(kernels)
}

/// What a kernel's bindings say of themselves; `None` if there are none, or none of this version of kstruct.
pub fn identity(kernel: &str) -> Option<Identity> {
    identity_in(&paths::bindings(kernel))
}

/// What the bindings in a folder say of themselves.
pub fn identity_in(directory: &Path) -> Option<Identity> {
    Identity::parse(&first_line(directory)?)
}

/// What a kernel's bindings, of whatever version, were asked for.
pub fn wishes(kernel: &str) -> Option<Wishes> {
    Wishes::parse(&first_line(&paths::bindings(kernel))?)
}

/// Which kernel bindings of any version are of; what these don't say is empty.
#[derive(Deserialize)]
pub struct Origin {
    #[serde(default)]
    pub build_id: String,
    #[serde(default)]
    pub banner: String,
}

/// Which kernel the bindings in a folder are of, whatever version made them; `None` if there are none.
pub fn origin_in(directory: &Path) -> Option<Origin> {
    let line = first_line(directory)?;
    let row = line.strip_prefix("{\"kernel\":")?.trim_end_matches(',');
    serde_json::from_str(row).ok()
}

/// Whether the bindings in a folder are of some types only: then the index names none.
pub fn is_selection(directory: &Path) -> bool {
    let lines = index(directory).map(|file| BufReader::new(file).lines());
    let second = lines.and_then(|mut lines| lines.nth(1)?.ok());
    second.is_some_and(|line| line.starts_with("\"selection\""))
}

/// Whether the bindings in a folder say where types are declared: those made from BTF can't.
pub fn has_places(directory: &Path) -> bool {
    // Some types have no place; not all that come first.
    const LOOKED_AT: usize = 1000;
    let lines = index(directory).map(|file| BufReader::new(file).lines());
    let mut lines = lines.into_iter().flatten().take(LOOKED_AT);
    lines.any(|line| {
        line.is_ok_and(|it| it.contains("\"file\":\"") && !it.contains("\"file\":\"\""))
    })
}

/// The BTF that a kernel's bindings were made from by hand, if they were.
pub fn btf_of(kernel: &str) -> Option<AskedBtf> {
    wishes(kernel)?.asked.btf
}

fn first_line(directory: &Path) -> Option<String> {
    BufReader::new(index(directory)?).lines().next()?.ok()
}

fn index(directory: &Path) -> Option<File> {
    File::open(directory.join("index.json")).ok()
}

/// The analyzers of these names: a crate's name stands for all of its programs.
pub fn named(wanted: &[String]) -> anyhow::Result<Vec<Analyzer>> {
    let all = workspace::analyzers()?;
    let mut found: Vec<Analyzer> = Vec::new();
    for name in wanted {
        let exact = all.iter().filter(|analyzer| analyzer.name == *name);
        let package = all.iter().filter(|analyzer| analyzer.package == *name);
        let before = found.len();
        found.extend(exact.cloned());
        if found.len() == before {
            found.extend(package.cloned());
        }
        if found.len() == before {
            let names: Vec<&str> = all.iter().map(|analyzer| &*analyzer.name).collect();
            bail!(
                "there is no analyzer {name}; there are {}",
                names.join(", ")
            );
        }
    }
    Ok(found)
}

/// Compiles analyzers for a kernel, each kernel in a target directory of its own, and copies them to where
/// [`paths::binaries`] says.
///
/// They are compiled against what they use of the kernel, or with `full` against all of it.
pub fn compile(
    kernel: &str,
    vmlinux: Option<&Path>,
    analyzers: &[String],
    full: bool,
) -> anyhow::Result<Vec<PathBuf>> {
    let analyzers = named(analyzers)?;
    let packages: BTreeSet<&String> = analyzers.iter().map(|analyzer| &analyzer.package).collect();
    let start = Instant::now();
    let _lock = lock(kernel)?;
    let bindings = if full {
        generate::ensure(kernel, vmlinux)?;
        paths::bindings(kernel)
    } else {
        let packages: Vec<String> = packages.iter().copied().cloned().collect();
        selected::ensure(kernel, vmlinux, &packages)?
    };
    seed::target(&paths::target(kernel), "release");
    let mut command = cargo(kernel);
    command.env("KSTRUCT_KERNEL", &bindings);
    command.args(["build", "--release"]);
    for package in &packages {
        command.args(["--package", package]);
    }
    for analyzer in &analyzers {
        command.args(["--bin", &analyzer.name]);
    }
    let shown: Vec<&str> = analyzers.iter().map(|it| &*it.name).collect();
    let shown = shown.join(", ");
    if !compile_visibly(&mut command, &format!("{shown} for {kernel}"))? {
        bail!("the analyzers do not compile for kernel {kernel}");
    }
    let binaries = paths::binaries(kernel);
    std::fs::create_dir_all(&binaries).with_context(|| binaries.display().to_string())?;
    let mut paths = Vec::new();
    for Analyzer { name, .. } in &analyzers {
        let built = paths::target(kernel).join("release").join(name);
        let copy = binaries.join(name);
        place(&built, &copy).with_context(|| copy.display().to_string())?;
        paths.push(copy);
    }
    eprintln!(
        "built {shown} for {kernel} in {:.1} s",
        start.elapsed().as_secs_f64()
    );
    Ok(paths)
}

/// So long cargo may take without a word: where all is compiled, it takes less.
const SILENT: Duration = Duration::from_secs(1);

/// Runs cargo, which compiles `what`, and shows how far it is: the first time for a kernel, that is a minute. Says whether all went well.
fn compile_visibly(cargo: &mut Command, what: &str) -> anyhow::Result<bool> {
    let is_terminal = std::io::stderr().is_terminal();
    cargo
        .arg(if is_terminal {
            "--message-format=json-diagnostic-rendered-ansi"
        } else {
            "--message-format=json"
        })
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = cargo.spawn().context("can't run cargo")?;
    let output = child.stdout.take().context("cargo has no output")?;
    let start = Instant::now();
    let bar = ProgressBar::no_length().with_style(ProgressStyle::with_template(
        "{spinner} compiling {prefix}, {elapsed}: {pos} crates done{msg}",
    )?);
    bar.set_prefix(what.to_owned());
    std::thread::scope(|scope| {
        let (sender, lines) = mpsc::channel();
        scope.spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            lines.for_each(|line| drop(sender.send(line)));
        });
        let mut is_said = is_terminal;
        loop {
            let line = lines.recv_timeout(Duration::from_millis(100));
            if line == Err(RecvTimeoutError::Disconnected) {
                break;
            }
            if start.elapsed() >= SILENT && !bar.is_finished() {
                bar.tick();
                if !is_said {
                    eprintln!("compiling {what} ...");
                    is_said = true;
                }
            }
            let Some(message) = line.ok().and_then(|line| Message::of(&line)) else {
                continue;
            };
            if message.is_compiled() {
                bar.set_message(format!(", {} the last", message.package()));
                bar.inc(1);
            } else if let Some(text) = message.text() {
                // Cargo has something to say of an error, too.
                if message.is_error() {
                    bar.finish_and_clear();
                }
                bar.suspend(|| eprintln!("{}", text.trim_end()));
            }
        }
    });
    bar.finish_and_clear();
    Ok(child.wait().context("can't run cargo")?.success())
}

/// Locks a kernel's target directory: two builds at once would take each other's binaries away.
pub fn lock(kernel: &str) -> anyhow::Result<Lock> {
    Lock::take(&paths::target(kernel).join("lock"))
}

/// Puts a finished binary where users look for it. Whoever runs the old one keeps it: the new one takes its name, not its
/// place. It is linked, not copied, where that is possible: a file that is open for writing can't be run.
fn place(built: &Path, target: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;

    let inode = |path: &Path| {
        path.metadata()
            .ok()
            .map(|metadata| (metadata.dev(), metadata.ino()))
    };
    if inode(built).is_some() && inode(built) == inode(target) {
        return Ok(());
    }
    let new = target.with_extension(format!("new{}", std::process::id()));
    if std::fs::hard_link(built, &new).is_err() {
        std::fs::copy(built, &new)?;
    }
    std::fs::rename(&new, target)
}

/// Cargo for a kernel. How it optimises stands in the workspace's `Cargo.toml`.
pub fn cargo(kernel: &str) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command
        .current_dir(paths::root())
        .env("KSTRUCT_KERNEL", kernel)
        .env("CARGO_TARGET_DIR", paths::target(kernel))
        .env("CARGO_INCREMENTAL", "0")
        .arg("--quiet");
    command
}

//! Debug information by build id from debuginfod servers, as elfutils' clients ask them: `GET URL/buildid/HEX/debuginfo`.
//!
//! `curl` does the transfer: an HTTP client with TLS in Rust would add 40 CPU-seconds to compiling xtask.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, bail};
use kstruct_codegen::image::Image;
use kstruct_codegen::{btf, dwarf};

use crate::lab::programs;
use crate::{find, loaded, paths, stamp};

/// Servers' URLs, with spaces between them.
const URLS: &str = "DEBUGINFOD_URLS";
/// A server that gives less than [`LEAST`] within so many seconds is not waited for; 0 and less: each is.
const TIMEOUT: &str = "DEBUGINFOD_TIMEOUT";
/// What a client of elfutils waits, in seconds.
const USUAL_TIMEOUT: u64 = 90;
/// What servers call a debug file.
const DEBUG_INFORMATION: &str = "debuginfo";
/// Bytes within the timeout, as debuginfod-client-config(7) has it.
const LEAST: u64 = 100 << 10;

/// The servers that are asked, and where what they give is kept.
pub struct Servers {
    urls: Vec<String>,
    /// Seconds; `None` for ever.
    timeout: Option<u64>,
    /// A tree of debug information.
    tree: PathBuf,
}

impl Servers {
    /// Those that the environment names, if it does.
    pub fn configured() -> anyhow::Result<Option<Self>> {
        let urls = std::env::var(URLS).unwrap_or_default();
        // elfutils' way to say how signatures are to be checked (`ima:enforcing`) stands among them.
        let urls: Vec<String> = urls
            .split_whitespace()
            .filter(|word| !word.starts_with("ima:"))
            .map(str::to_owned)
            .collect();
        if urls.is_empty() {
            return Ok(None);
        }
        let timeout = match std::env::var(TIMEOUT) {
            Ok(text) => {
                let seconds: i64 = text
                    .trim()
                    .parse()
                    .with_context(|| format!("{TIMEOUT}={text}: it is no number of seconds"))?;
                u64::try_from(seconds).ok().filter(|seconds| *seconds != 0)
            }
            Err(_) => Some(USUAL_TIMEOUT),
        };
        Ok(Some(Servers {
            urls,
            timeout,
            tree: paths::debuginfod().join("usr/lib/debug"),
        }))
    }

    /// Fetches the vmlinux of a build id. Where distributions ship debug files without the kernel's data, which say neither the release nor
    /// the banner, the kernel itself is fetched as well, and is what is returned: its debug file is found beside it.
    pub fn vmlinux(&self, id: &str) -> anyhow::Result<PathBuf> {
        let folder = self.tree.join(".build-id").join(&id[..2]);
        let debug = folder.join(format!("{}.debug", &id[2..]));
        self.fetch(id, DEBUG_INFORMATION, &debug)?.found()?;
        let image = Image::open(&debug)?;
        // What dwz moved out of it is a file of its own.
        if !dwarf::is_in(&image)
            && let Some(link) = image.parse()?.alternate_link()?
        {
            let id: String = link.id.iter().map(|byte| format!("{byte:02x}")).collect();
            if let Some((first, rest)) = id.split_at_checked(2) {
                let folder = self.tree.join(".build-id").join(first);
                let file = folder.join(format!("{rest}.debug"));
                self.fetch(&id, DEBUG_INFORMATION, &file)?.found()?;
            }
        }
        let mut found = debug;
        let mut release = dwarf::identity(&image)?.release;
        if release.is_empty() {
            found = folder.join(&id[2..]);
            self.fetch(id, "executable", &found)?.found()?;
            release = dwarf::identity(&Image::open(&found)?)?.release;
        }
        if release.is_empty() {
            bail!("what has build id {id} is no kernel");
        }
        self.link(&release, "vmlinux", &found)?;
        Ok(found)
    }

    /// Fetches the debug file of a module, and puts it where those of the release are looked for.
    fn module(&self, id: &str, release: &str, name: &str) -> anyhow::Result<Got> {
        let (first, rest) = id.split_at_checked(2).context("a build id is longer")?;
        let folder = self.tree.join(".build-id").join(first);
        let debug = folder.join(format!("{rest}.debug"));
        let got = self.fetch(id, DEBUG_INFORMATION, &debug)?;
        if matches!(got, Got::Here) {
            self.link(release, &format!("{name}.ko.debug"), &debug)?;
        }
        Ok(got)
    }

    /// Makes a file known by its release, as a package would. Of two builds of one release it is the last that was asked for.
    fn link(&self, release: &str, name: &str, file: &Path) -> anyhow::Result<()> {
        let folder = self.tree.join("lib/modules").join(find::tame(release));
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let (link, new) = (folder.join(name), folder.join(format!(".new-{name}")));
        let inside = file.strip_prefix(&self.tree).unwrap_or(file);
        let _ = fs::remove_file(&new);
        std::os::unix::fs::symlink(Path::new("../../..").join(inside), &new)?;
        Ok(fs::rename(&new, &link)?)
    }

    /// Fetches those of a kernel's modules that are wanted, were loaded in a dump, and are not here. Without debug information of modules, analyzers say
    /// less: whatever fails is said, and no error.
    pub fn modules(&self, wanted: &BTreeSet<String>, vmlinux: &Path, core: &Path) {
        let done = self.try_modules(wanted, vmlinux, core);
        if let Err(error) = done {
            eprintln!("debug information of modules: {error:#}");
        }
    }

    fn try_modules(
        &self,
        wanted: &BTreeSet<String>,
        vmlinux: &Path,
        core: &Path,
    ) -> anyhow::Result<()> {
        let release = dwarf::identity(&Image::open(vmlinux)?)?.release;
        let is_here =
            |name: &String| find::module(find::Types::Dwarf, vmlinux, &release, name).is_some();
        let mut missing: BTreeSet<&String> = wanted.iter().filter(|name| !is_here(name)).collect();
        // Those of which nobody knows more by asking again.
        let answers = self
            .tree
            .join("lib/modules")
            .join(find::tame(&release))
            .join("asked.json");
        let key = core.canonicalize()?.display().to_string();
        let mut asked: BTreeMap<String, BTreeSet<String>> =
            stamp::read(&answers).unwrap_or_default();
        let before = asked.entry(key).or_default();
        missing.retain(|name| !before.contains(*name));
        if missing.is_empty() {
            return Ok(());
        }
        let ids = loaded::build_ids(vmlinux, core)?;
        let (mut failed, mut absent) = (Vec::new(), Vec::new());
        for name in missing {
            match ids.get(name).map(|id| self.module(id, &release, name)) {
                Some(Err(error)) => {
                    failed.push(format!("{name}: {error:#}"));
                    continue;
                }
                Some(Ok(Got::Nowhere(_))) => absent.push(name.as_str()),
                Some(Ok(Got::Here)) | None => {}
            }
            before.insert(name.clone());
        }
        stamp::write(&answers, &asked)?;
        if !absent.is_empty() {
            eprintln!("loaded, but on no debuginfod server: {}", absent.join(", "));
        }
        if !failed.is_empty() {
            bail!("{}", failed.join("\n"));
        }
        Ok(())
    }

    /// Fetches one file, unless it is there. What is there is whole: it gets its name when it is. The error is what a server failed with, if none has the file.
    fn fetch(&self, id: &str, what: &str, into: &Path) -> anyhow::Result<Got> {
        let folder = into.parent().unwrap_or(into);
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        // Who else fetches it meanwhile is waited for.
        let lock = File::create(self.tree.join("lock")).context("can't lock what servers gave")?;
        if lock.try_lock().is_err() {
            eprintln!("another process asks debuginfod servers; waiting for it");
            lock.lock()?;
        }
        if is_wanted(into, id, what).is_ok() {
            return Ok(Got::Here);
        }
        let part = into.with_extension("part");
        let (mut failures, mut absent) = (Vec::new(), 0);
        for url in &self.urls {
            let url = format!("{}/buildid/{id}/{what}", url.trim_end_matches('/'));
            let start = Instant::now();
            eprintln!("fetching {url} ...");
            let got = self.get(&url, &part).and_then(|is_there| {
                if is_there {
                    is_wanted(&part, id, what)?;
                    fs::rename(&part, into)?;
                }
                Ok(is_there)
            });
            match got {
                Ok(true) => {
                    let megabytes = into.metadata()?.len() as f64 / 1e6;
                    let seconds = start.elapsed().as_secs_f64();
                    eprintln!("fetched {megabytes:.1} MB in {seconds:.1} s");
                    return Ok(Got::Here);
                }
                Ok(false) => {
                    absent += 1;
                    failures.push(format!("{url}: it doesn't have that (404)"));
                }
                Err(error) => failures.push(format!("{url}: {error:#}")),
            }
            let _ = fs::remove_file(&part);
        }
        let said = format!("no debuginfod server gave it: {}", failures.join("; "));
        if absent == self.urls.len() {
            return Ok(Got::Nowhere(said));
        }
        bail!("{said}")
    }

    /// Downloads a file; `false` if the server has none. Some of it may be there after an error.
    fn get(&self, url: &str, into: &Path) -> anyhow::Result<bool> {
        let mut curl = programs::command("curl");
        curl.args(["--fail", "--location", "--globoff"])
            .args(["--proto", "=http,https", "--proto-redir", "=http,https"])
            .args(["--write-out", "%{http_code}"])
            .arg("--output")
            .arg(into);
        if let Some(seconds) = self.timeout {
            let speed = (LEAST / seconds).max(1);
            curl.args(["--connect-timeout", &seconds.to_string()])
                .args(["--speed-time", &seconds.to_string()])
                .args(["--speed-limit", &speed.to_string()]);
        }
        let is_watched = std::io::stderr().is_terminal();
        if is_watched {
            curl.arg("--progress-bar")
                .stderr(std::process::Stdio::inherit());
        } else {
            curl.args(["--silent", "--show-error"]);
        }
        let output = curl
            .arg("--")
            .arg(url)
            .output()
            .context("can't run curl, which debuginfod needs")?;
        if output.status.success() {
            return Ok(true);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        // `curl: (7) Failed to connect`
        let said = said.trim().trim_start_matches("curl: ");
        match (&*output.stdout, output.status.code()) {
            (b"404", _) => Ok(false),
            (_, Some(OPERATION_TIMED_OUT)) => {
                bail!("it didn't answer fast enough ({TIMEOUT}): {said}")
            }
            (_, code) => bail!("curl failed with {}: {said}", code.unwrap_or(-1)),
        }
    }
}

/// What asking all servers came to.
enum Got {
    Here,
    /// No server has it: what each said.
    Nowhere(String),
}

impl Got {
    /// Makes an error of what no server has.
    fn found(self) -> anyhow::Result<()> {
        match self {
            Got::Here => Ok(()),
            Got::Nowhere(said) => bail!("{said}"),
        }
    }
}

/// curl's exit status.
const OPERATION_TIMED_OUT: i32 = 28;

/// Whether a file is what was asked for, and would be of use: one without debug information would be kept for ever.
fn is_wanted(path: &Path, id: &str, what: &str) -> anyhow::Result<()> {
    has_build_id(path, id)?;
    let image = Image::open(path)?;
    if what == DEBUG_INFORMATION
        && !image.parse()?.has_section(".debug_info")
        && !btf::is_in(&image)
    {
        bail!("what it gave has no debug information in it");
    }
    Ok(())
}

/// Whether a file is ELF with this build id; the error says what it is.
fn has_build_id(path: &Path, id: &str) -> anyhow::Result<()> {
    match find::build_id_of(path) {
        Some(found) if found == id => Ok(()),
        Some(found) if !found.is_empty() => bail!("what it gave has build id {found}"),
        _ => bail!("what it gave is no ELF file with a build id"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::sync::{Arc, Mutex};
    use std::thread;

    use super::*;

    const ID: &str = "00112233445566778899aabbccddeeff01234567";

    /// What a server answers.
    type Answer = fn(&str, &mut TcpStream) -> std::io::Result<()>;

    /// A server of HTTP, as long as the test runs; and the paths that it was asked for.
    fn server(answer: Answer) -> (String, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a client");
                let log = Arc::clone(&log);
                thread::spawn(move || {
                    let mut request = Vec::new();
                    let mut byte = [0];
                    while !request.ends_with(b"\r\n\r\n")
                        && stream.read(&mut byte).is_ok_and(|n| n == 1)
                    {
                        request.push(byte[0]);
                    }
                    let request = String::from_utf8_lossy(&request);
                    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                    log.lock().expect("nobody panicked").push(path.clone());
                    // The client may go away.
                    let _ = answer(&path, &mut stream);
                });
            }
        });
        (format!("http://{address}"), asked)
    }

    fn send(stream: &mut TcpStream, length: usize, body: &[u8]) -> std::io::Result<()> {
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        )?;
        stream.write_all(body)
    }

    fn whole(path: &str, stream: &mut TcpStream) -> std::io::Result<()> {
        let id = path.split('/').nth(2).unwrap_or_default();
        let file = elf(id, true);
        send(stream, file.len(), &file)
    }

    fn stripped(path: &str, stream: &mut TcpStream) -> std::io::Result<()> {
        let id = path.split('/').nth(2).unwrap_or_default();
        let file = elf(id, false);
        send(stream, file.len(), &file)
    }

    fn other(_: &str, stream: &mut TcpStream) -> std::io::Result<()> {
        let file = elf("ffffffffffffffffffffffffffffffffffffffff", true);
        send(stream, file.len(), &file)
    }

    fn text(_: &str, stream: &mut TcpStream) -> std::io::Result<()> {
        send(stream, 20, b"<html>Log in!</html>")
    }

    fn truncated(path: &str, stream: &mut TcpStream) -> std::io::Result<()> {
        let id = path.split('/').nth(2).unwrap_or_default();
        let file = elf(id, true);
        send(stream, file.len(), &file[..file.len() / 2])
    }

    fn nothing_there(_: &str, stream: &mut TcpStream) -> std::io::Result<()> {
        stream
            .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    }

    /// Says that something comes, and sends no more of it.
    fn hanging(_: &str, stream: &mut TcpStream) -> std::io::Result<()> {
        send(stream, 1 << 20, b"\x7fELF")?;
        thread::sleep(std::time::Duration::from_secs(60));
        Ok(())
    }

    /// A file of x86_64 with nothing but a build id, and what could be debug information.
    fn elf(id: &str, has_debug_information: bool) -> Vec<u8> {
        use object::write::{Object, StandardSection};
        let bytes: Vec<u8> = (0..id.len() / 2)
            .map(|at| u8::from_str_radix(&id[2 * at..2 * at + 2], 16).expect("hexadecimal"))
            .collect();
        let mut file = Object::new(
            object::BinaryFormat::Elf,
            object::Architecture::X86_64,
            object::Endianness::Little,
        );
        let section = file.add_section(
            Vec::new(),
            b".note.gnu.build-id".to_vec(),
            object::SectionKind::Note,
        );
        let debug = file.add_section(
            Vec::new(),
            b".debug_info".to_vec(),
            object::SectionKind::Debug,
        );
        if has_debug_information {
            file.append_section_data(debug, b"any", 1);
        }
        let mut note = Vec::new();
        for word in [4u32, u32::try_from(bytes.len()).expect("it is short"), 3] {
            note.extend(word.to_le_bytes());
        }
        note.extend(b"GNU\0");
        note.extend(&bytes);
        file.append_section_data(section, &note, 4);
        let _ = file.section_id(StandardSection::Text);
        file.write().expect("a sound file")
    }

    fn servers(tree: &Path, urls: &[&str]) -> Servers {
        Servers {
            urls: urls.iter().map(|url| (*url).to_owned()).collect(),
            timeout: Some(1),
            tree: tree.to_owned(),
        }
    }

    /// What fetching from these servers ends with, after which nothing half is left.
    fn failure(urls: &[&str]) -> String {
        let tree = tempfile::tempdir().expect("a folder");
        let folder = tree.path().join(".build-id/00");
        let into = folder.join("file.debug");
        let error = servers(tree.path(), urls)
            .fetch(ID, "debuginfo", &into)
            .and_then(Got::found)
            .expect_err("nobody has it");
        let left: Vec<_> = fs::read_dir(folder).expect("it is there").collect();
        assert!(left.is_empty(), "{left:?}");
        format!("{error:#}")
    }

    #[test]
    fn what_a_server_has_is_fetched_once() {
        let tree = tempfile::tempdir().expect("a folder");
        let into = tree.path().join(".build-id/00/file.debug");
        let (nobody, _) = server(nothing_there);
        let (url, asked) = server(whole);
        // With and without a slash at its end.
        let urls = [&*nobody, &*format!("{url}/")];
        for _ in 0..2 {
            servers(tree.path(), &urls)
                .fetch(ID, "debuginfo", &into)
                .and_then(Got::found)
                .expect("the second server has it");
            has_build_id(&into, ID).expect("it is what was asked for");
        }
        let expected = [format!("/buildid/{ID}/debuginfo")];
        assert_eq!(*asked.lock().expect("nobody panicked"), expected);
        // What was damaged meanwhile is fetched again, and so is what was kept and is of no use.
        for (bytes, fetched) in [(b"no ELF".to_vec(), 2), (elf(ID, false), 3)] {
            fs::write(&into, bytes).expect("it can be written");
            servers(tree.path(), &urls)
                .fetch(ID, "debuginfo", &into)
                .and_then(Got::found)
                .expect("the second server has it");
            assert_eq!(asked.lock().expect("nobody panicked").len(), fetched);
        }
    }

    #[test]
    fn what_no_server_has_is_said_of_each() {
        let (first, _) = server(nothing_there);
        let (second, _) = server(nothing_there);
        let said = failure(&[&first, &second]);
        for url in [first, second] {
            let expected = format!("{url}/buildid/{ID}/debuginfo: it doesn't have that (404)");
            assert!(said.contains(&expected), "{said}");
        }
    }

    #[test]
    fn what_is_not_it_is_not_kept() {
        let (url, _) = server(other);
        let said = failure(&[&url]);
        assert!(said.contains("what it gave has build id ffff"), "{said}");
        let (url, _) = server(text);
        let said = failure(&[&url]);
        assert!(said.contains("no ELF file with a build id"), "{said}");
        let (url, _) = server(stripped);
        let said = failure(&[&url]);
        assert!(said.contains("no debug information in it"), "{said}");
        let (url, _) = server(truncated);
        let said = failure(&[&url]);
        assert!(said.contains("curl failed with 18"), "{said}");
    }

    #[test]
    fn a_server_that_hangs_or_is_not_there_is_left() {
        let start = Instant::now();
        let (url, _) = server(hanging);
        let said = failure(&[&url]);
        assert!(said.contains("it didn't answer fast enough"), "{said}");
        let seconds = start.elapsed().as_secs();
        assert!(seconds < 30, "{seconds} s");
        // A port that was free a moment ago.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let said = failure(&[&format!("http://{}", port.expect("a port"))]);
        assert!(said.contains("curl failed with 7"), "{said}");
    }
}

//! One boot of the guest under QEMU: wait until it has recorded its truth, stop it while its CPUs are where the truth says,
//! dump its memory, let it go on, and have it record everything once more. Or let it panic, or analyze itself.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use super::how::How;
use super::packages::Package;
use super::programs;
use super::progress::Steps;
use super::qmp::Qmp;
use super::quiet::{amd64_levels, is_quiet};
use super::target::{Quiet, Target};

/// From QEMU's start to READY.
const BOOT_TIMEOUT: Duration = Duration::from_secs(600);
/// From a crowd's network to its truth: 20,000 connections take an emulated CPU long where others use the host's.
const CROWD_TIMEOUT: Duration = Duration::from_secs(900);
/// From the second recording's trigger to its end.
const AFTER_TIMEOUT: Duration = Duration::from_secs(300);
/// How long the guest runs on after the dump before it records again: what still moves then moved at the dump as well.
const RUN_ON: Duration = Duration::from_secs(4);
const MIB: u64 = 1 << 20;
const DISK_SIZE: u64 = 256 * MIB;
/// Room for /proc/vmcore. Of the file, only what was written takes any.
const VMCORE_SIZE: u64 = 4096 * MIB;
/// From the panic to the end of the copy.
const CRASH_TIMEOUT: Duration = Duration::from_secs(300);

/// The crash kernel's word for that, before its size.
const COPIED: &str = "LAB VMCORE ";

/// The tar archives that the recorder writes to its disk, by offset; `recorder.c` has the same numbers.
pub const REGIONS: [(u64, Region); 4] = [
    (0, Region::Tools),
    (96 * MIB, Region::Snapshot),
    (144 * MIB, Region::SnapshotAfter),
    (192 * MIB, Region::ToolsAfter),
];

/// Bytes below which a disk counts as full.
const LEAST_FREE: u64 = 32 * MIB;

/// How the guest's disks are written. QEMU would stop a machine whose disk's file finds no room: it would wait in silence.
const DRIVE: &str = "cache=writeback,rerror=report,werror=report";

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Region {
    Tools,
    Snapshot,
    SnapshotAfter,
    ToolsAfter,
}

/// Boots and leaves `console.log` and the recorder's `disk` in `folder`; of a guest that was stopped `vmcore` and `registers.txt`,
/// of one that panicked `vmcore` and QEMU's dumps.
pub fn run(
    package: &Package,
    initramfs: &Path,
    target: &Target,
    how: How,
    folder: &Path,
    steps: &mut Steps,
) -> Result<()> {
    let mut guest = Guest::start(package, initramfs, target, how, folder)?;
    steps.run("boot", || guest.wait_for("LAB STAGE network", BOOT_TIMEOUT))?;
    let timeout = match how {
        How::Crowd => CROWD_TIMEOUT,
        How::Stop | How::Panic | How::Live => BOOT_TIMEOUT,
    };
    steps.run("state", || guest.wait_for("LAB STAGE recorded", timeout))?;
    steps.run("record", || guest.wait_for("LAB READY", BOOT_TIMEOUT))?;
    match how {
        How::Stop => {
            steps.run("stop and dump", || guest.stop_and_dump(package, target))?;
            guest.qmp.execute("cont", None)?;
            std::thread::sleep(RUN_ON);
            steps.run("record again", || guest.record_again(b"\n"))?;
        }
        How::Panic => {
            steps.run("panic", || guest.panic())?;
            steps.run("QEMU's dumps", || guest.dump_in_every_format())?;
        }
        How::Live => steps.run("analyze itself, record again", || guest.record_again(b"l"))?,
        How::Crowd => steps.run("stop and dump", || guest.stop_and_dump(package, target))?,
    }
    guest.quit()
}

/// A running QEMU. It ends with this value; if this process is killed, the kernel ends QEMU (`setpriv --pdeathsig`).
struct Guest {
    child: Child,
    folder: PathBuf,
    console: PathBuf,
    /// Sockets lie in a short path: a Unix socket's name has at most 107 bytes.
    sockets: PathBuf,
    qmp: Qmp,
    trigger: UnixStream,
    /// Whether it is meant to.
    panics: bool,
}

impl Guest {
    fn start(
        package: &Package,
        initramfs: &Path,
        target: &Target,
        how: How,
        folder: &Path,
    ) -> Result<Self> {
        let console = folder.join("console.log");
        let disk = folder.join("disk");
        let _ = std::fs::remove_file(&console);
        let _ = std::fs::remove_file(&disk);
        File::create(&disk)?.set_len(DISK_SIZE)?;
        let sockets = std::env::temp_dir().join(format!("kstruct-lab-{}", std::process::id()));
        std::fs::create_dir_all(&sockets)?;
        let (qmp_socket, trigger_socket) = (sockets.join("qmp"), sockets.join("trigger"));
        for socket in [&qmp_socket, &trigger_socket] {
            let _ = std::fs::remove_file(socket);
        }

        let mut command = programs::command("setpriv");
        command
            .args(["--pdeathsig", "KILL"])
            .arg(
                programs::find(target.qemu.0)
                    .with_context(|| format!("{} is not on this machine", target.qemu.0))?,
            )
            .args(target.parameters(how))
            .arg("-kernel")
            .arg(package.vmlinuz())
            .arg("-initrd")
            .arg(initramfs)
            .arg("-drive")
            .arg(format!(
                "file={},format=raw,if=none,id=truth,{DRIVE}",
                disk.display()
            ))
            .arg("-device")
            .arg(format!("{},drive=truth", target.disk))
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .arg("-chardev")
            .arg(format!(
                "socket,id=trigger,path={},server=on,wait=off",
                trigger_socket.display()
            ))
            .args(target.trigger);
        if how == How::Panic {
            let vmcore = folder.join("vmcore");
            File::create(&vmcore)?.set_len(VMCORE_SIZE)?;
            command
                .arg("-drive")
                .arg(format!(
                    "file={},format=raw,if=none,id=vmcore,{DRIVE}",
                    vmcore.display()
                ))
                .arg("-device")
                .arg(format!("{},drive=vmcore", target.disk));
        }
        let mut child = command
            .arg("-qmp")
            .arg(format!("unix:{},server=on,wait=off", qmp_socket.display()))
            .stdout(Stdio::null())
            .stderr(File::create(folder.join("qemu.log"))?)
            .spawn()
            .context("can't start QEMU")?;
        match connect(&mut child, &qmp_socket, &trigger_socket) {
            Ok((qmp, trigger)) => Ok(Self {
                child,
                folder: folder.into(),
                console,
                sockets,
                qmp,
                trigger,
                panics: false,
            }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                let _ = std::fs::remove_dir_all(&sockets);
                let said = std::fs::read_to_string(folder.join("qemu.log")).unwrap_or_default();
                Err(error.context(format!("QEMU did not start: {}", said.trim())))
            }
        }
    }

    /// Waits until a line on the console begins with `text`.
    fn wait_for(&mut self, text: &str, timeout: Duration) -> Result<()> {
        let begin = Instant::now();
        loop {
            let console = self.console_text();
            if console.lines().any(|line| line.contains(text)) {
                return Ok(());
            }
            let problem = if let Some(line) = console.lines().find(|line| {
                line.contains("LAB FAILED") || line.contains("Kernel panic") && !self.panics
            }) {
                line.trim().to_string()
            } else if let Some(status) = self.child.try_wait()? {
                format!("QEMU ended with {status}")
            } else if super::free(&self.folder)? < LEAST_FREE {
                // The console's own file may have lost lines by now.
                "the disk is full".to_owned()
            } else if begin.elapsed() > timeout {
                format!("no {text:?} after {} s", timeout.as_secs())
            } else {
                std::thread::sleep(Duration::from_millis(50));
                continue;
            };
            let lines: Vec<_> = console.lines().collect();
            let tail = lines[lines.len().saturating_sub(25)..].join("\n");
            bail!("{problem}; the console ends with:\n{tail}");
        }
    }

    fn console_text(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.console).unwrap_or_default()).replace('\r', "")
    }

    /// Stops the machine when CPU 0 is halted in its idle task and CPU 1 is in the spinner's user code: then no other task
    /// is on a CPU, and none waits for one.
    fn stop_and_dump(&mut self, package: &Package, target: &Target) -> Result<()> {
        let idle = match target.quiet {
            Quiet::X86 | Quiet::S390 => 0,
            Quiet::Arm64 => package.address("cpu_do_idle")?,
            Quiet::Ppc64 => package.address("plpar_hcall_norets_notrace")?,
        };
        let mut registers = String::new();
        let mut quiet = false;
        for _ in 0..100 {
            std::thread::sleep(Duration::from_millis(100));
            self.qmp.execute("stop", None)?;
            registers = self.qmp.human("info registers -a")?;
            quiet = is_quiet(&registers, target, idle);
            if quiet {
                break;
            }
            self.qmp.execute("cont", None)?;
        }
        if !quiet {
            bail!("the CPUs were never quiet in 100 stops:\n{registers}");
        }
        if self.console_text().contains("LAB AFTER") {
            bail!("the recorder went on before the dump");
        }
        let is_amd64 = target.architecture == "amd64";
        let paging = if is_amd64 {
            amd64_levels(&registers)
        } else {
            target.levels
        };
        if paging != target.levels {
            bail!(
                "the guest runs with {paging}-level paging, not {}",
                target.levels
            );
        }
        std::fs::write(self.folder.join("registers.txt"), registers)?;
        self.dump("vmcore", "elf", false)
    }

    fn record_again(&mut self, trigger: &[u8]) -> Result<()> {
        self.trigger
            .write_all(trigger)
            .context("can't trigger the second recording")?;
        self.wait_for("LAB DONE", AFTER_TIMEOUT)
    }

    /// Has the kernel panic, and its crash kernel copy /proc/vmcore.
    fn panic(&mut self) -> Result<()> {
        self.trigger
            .write_all(b"c")
            .context("can't trigger the panic")?;
        self.panics = true;
        self.wait_for(COPIED, CRASH_TIMEOUT)?;
        let console = self.console_text();
        let size = console
            .lines()
            .find_map(|line| line.split_once(COPIED)?.1.trim().parse().ok())
            .with_context(|| format!("no size behind {COPIED:?} on the console"))?;
        File::options()
            .write(true)
            .open(self.folder.join("vmcore"))?
            .set_len(size)?;
        Ok(())
    }

    /// QEMU's dumps of the machine as the crash kernel left it, in every format that this QEMU writes: `qemu-FORMAT`, and
    /// `qemu-elf-paging` with the virtual addresses that the CPUs' page tables have.
    fn dump_in_every_format(&mut self) -> Result<()> {
        self.qmp.execute("stop", None)?;
        let answer = self
            .qmp
            .execute("query-dump-guest-memory-capability", None)?;
        let formats = answer["formats"].as_array().cloned().unwrap_or_default();
        let formats: Vec<_> = formats
            .iter()
            .filter_map(|format| format.as_str())
            // That is for Windows.
            .filter(|format| *format != "win-dmp")
            .collect();
        if !["elf", "kdump-zlib"]
            .iter()
            .all(|format| formats.contains(format))
        {
            bail!("this QEMU writes {formats:?} only");
        }
        for format in formats {
            self.dump(&format!("qemu-{format}"), format, false)?;
        }
        self.dump("qemu-elf-paging", "elf", true)
    }

    fn dump(&mut self, name: &str, format: &str, paging: bool) -> Result<()> {
        let file = self.folder.join(name);
        let arguments = json!({ "paging": paging, "format": format, "protocol": format!("file:{}", file.display()) });
        self.qmp.execute("dump-guest-memory", Some(arguments))?;
        Ok(())
    }

    fn quit(mut self) -> Result<()> {
        self.qmp.execute("quit", None)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.sockets);
    }
}

/// QEMU makes its sockets soon after it has started, one after the other.
fn connect(child: &mut Child, qmp: &Path, trigger: &Path) -> Result<(Qmp, UnixStream)> {
    for _ in 0..200 {
        if let Some(status) = child.try_wait()? {
            bail!("it ended with {status}");
        }
        if qmp.exists()
            && let Ok(trigger) = UnixStream::connect(trigger)
        {
            return Ok((Qmp::connect(qmp)?, trigger));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("its sockets did not appear in 10 s")
}

/// The part of the recorder's disk that begins at `offset`, for tar, which stops at the archive's end by itself.
pub fn open_region(disk: &Path, offset: u64) -> Result<File> {
    let mut file = File::open(disk).with_context(|| format!("can't open {}", disk.display()))?;
    let mut magic = [0; 5];
    file.seek(SeekFrom::Start(offset + 257))?;
    file.read_exact(&mut magic)?;
    if magic != *b"ustar" {
        bail!(
            "the guest wrote nothing at {} MiB of its disk",
            offset / MIB
        );
    }
    file.seek(SeekFrom::Start(offset))?;
    Ok(file)
}

//! One boot of the guest under QEMU: wait until it has recorded its truth, stop it while its CPUs are where the truth says,
//! dump its memory, let it go on, and have it record everything once more.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use super::packages::Package;
use super::programs;
use super::progress::Steps;
use super::qmp::Qmp;
use super::target::{Quiet, Target};

/// From QEMU's start to READY.
const BOOT_TIMEOUT: Duration = Duration::from_secs(300);
/// From the second recording's trigger to its end.
const AFTER_TIMEOUT: Duration = Duration::from_secs(120);
/// How long the guest runs on after the dump before it records again: what still moves then moved at the dump as well.
const RUN_ON: Duration = Duration::from_secs(4);
const MIB: u64 = 1 << 20;
const DISK_SIZE: u64 = 256 * MIB;

/// The tar archives that the recorder writes to its disk, by offset; `recorder.c` has the same numbers.
pub const REGIONS: [(u64, Region); 4] = [
    (0, Region::Tools),
    (96 * MIB, Region::Snapshot),
    (144 * MIB, Region::SnapshotAfter),
    (192 * MIB, Region::ToolsAfter),
];

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Region {
    Tools,
    Snapshot,
    SnapshotAfter,
    ToolsAfter,
}

/// Boots and leaves `vmcore`, `registers.txt`, `console.log` and the recorder's `disk` in `folder`.
pub fn run(
    package: &Package,
    initramfs: &Path,
    target: &Target,
    folder: &Path,
    steps: &mut Steps,
) -> Result<()> {
    let mut guest = Guest::start(package, initramfs, target, folder)?;
    steps.run("boot", || guest.wait_for("LAB STAGE network", BOOT_TIMEOUT))?;
    steps.run("state", || {
        guest.wait_for("LAB STAGE recorded", BOOT_TIMEOUT)
    })?;
    steps.run("record", || guest.wait_for("LAB READY", BOOT_TIMEOUT))?;
    steps.run("stop and dump", || guest.stop_and_dump(package, target))?;
    steps.run("record again", || guest.record_again())?;
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
}

impl Guest {
    fn start(package: &Package, initramfs: &Path, target: &Target, folder: &Path) -> Result<Self> {
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

        let mut child = programs::command("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(
                programs::find(target.qemu.0)
                    .with_context(|| format!("{} is not on this machine", target.qemu.0))?,
            )
            .args(target.parameters())
            .arg("-kernel")
            .arg(package.vmlinuz())
            .arg("-initrd")
            .arg(initramfs)
            .arg("-drive")
            .arg(format!(
                "file={},format=raw,if=none,id=truth,cache=writeback",
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
            .args(target.trigger)
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
            let problem = if let Some(line) = console
                .lines()
                .find(|line| line.contains("LAB FAILED") || line.contains("Kernel panic"))
            {
                line.trim().to_string()
            } else if let Some(status) = self.child.try_wait()? {
                format!("QEMU ended with {status}")
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
        };
        let mut registers = String::new();
        let mut quiet = false;
        for _ in 0..100 {
            std::thread::sleep(Duration::from_millis(100));
            self.qmp.execute("stop", None)?;
            registers = self.qmp.human("info registers -a")?;
            quiet = match target.quiet {
                Quiet::X86 => cpus_are_quiet(&registers, target.cpus()),
                Quiet::Arm64 => arm64_cpus_are_quiet(&registers, idle),
                Quiet::S390 => s390_cpus_are_quiet(&registers),
            };
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
        let paging = if !is_amd64 {
            target.levels
        } else if registers
            .lines()
            .filter_map(|line| register(line, "CR4="))
            .all(|cr4| cr4 & CR4_LA57 != 0)
        {
            5
        } else {
            4
        };
        if paging != target.levels {
            bail!(
                "the guest runs with {paging}-level paging, not {}",
                target.levels
            );
        }
        std::fs::write(self.folder.join("registers.txt"), registers)?;
        let vmcore = self.folder.join("vmcore");
        let arguments = json!({ "paging": false, "format": "elf", "protocol": format!("file:{}", vmcore.display()) });
        self.qmp.execute("dump-guest-memory", Some(arguments))?;
        Ok(())
    }

    fn record_again(&mut self) -> Result<()> {
        self.qmp.execute("cont", None)?;
        std::thread::sleep(RUN_ON);
        self.trigger
            .write_all(b"\n")
            .context("can't trigger the second recording")?;
        self.wait_for("LAB DONE", AFTER_TIMEOUT)
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

/// Bit 12 of CR4: 57-bit linear addresses.
const CR4_LA57: u64 = 1 << 12;

/// Of what `info registers -a` prints for two CPUs; the only one of a machine is the spinner's.
fn cpus_are_quiet(registers: &str, cpus: usize) -> bool {
    let field = |name| -> Vec<u64> {
        registers
            .lines()
            .filter_map(|line| register(line, name))
            .collect()
    };
    if cpus == 1 {
        return field("CPL=") == [3];
    }
    matches!(
        (
            field("HLT=")[..].first(),
            field("CPL=")[..].get(1),
            field("CPL=").len()
        ),
        (Some(1), Some(3), 2)
    )
}

/// Bytes of `cpu_do_idle`, which waits for an interrupt; a randomised kernel lies at a multiple of [`ARM64_ALIGNMENT`].
const ARM64_IDLE: u64 = 128;
const ARM64_ALIGNMENT: u64 = 1 << 21;

/// The same on arm64, where QEMU doesn't print that a CPU waits.
fn arm64_cpus_are_quiet(registers: &str, idle: u64) -> bool {
    let counters: Vec<u64> = registers
        .lines()
        .filter_map(|line| register(line, " PC=").or_else(|| register(line, "PC=")))
        .collect();
    let states: Vec<&str> = registers
        .lines()
        .filter(|line| line.contains("PSTATE="))
        .collect();
    let (Some(pc), [first, second]) = (counters.first(), &states[..]) else {
        return false;
    };
    let is_idle = pc.wrapping_sub(idle) % ARM64_ALIGNMENT < ARM64_IDLE;
    is_idle && !first.contains("EL0t") && second.contains("EL0t")
}

/// Bits of the program-status word's mask (Principles of Operation, chapter 4): the CPU waits; it is in the problem state.
const PSW_WAIT: u64 = 1 << 49;
const PSW_PROBLEM: u64 = 1 << 48;

/// The same on s390x.
fn s390_cpus_are_quiet(registers: &str) -> bool {
    let masks: Vec<u64> = registers
        .lines()
        .filter_map(|line| register(line, "PSW=mask "))
        .collect();
    matches!(masks[..], [first, second] if first & PSW_WAIT != 0 && second & PSW_PROBLEM != 0)
}

/// The hexadecimal value that follows `name` in a line.
fn register(line: &str, name: &str) -> Option<u64> {
    let (_, rest) = line.split_once(name)?;
    u64::from_str_radix(rest.split_whitespace().next()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGISTERS: &str = "\nCPU#0\nRAX=0000000000000000 RBX=0000000000000001\n\
        RIP=ffffffff81a0b1cb RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1\n\
        CR0=80050033 CR2=00007f0000000000 CR3=0000000002a10000 CR4=000006f0\n\
        CPU#1\nRAX=0000000000000000 RBX=0000000000000001\n\
        RIP=0000000000401cf5 RFL=00000246 [---Z-P-] CPL=3 II=0 A20=1 SMM=0 HLT=0\n\
        CR0=80050033 CR2=00007f0000000000 CR3=0000000002a10000 CR4=000016f0\n";

    #[test]
    fn quiet_cpus() {
        assert!(cpus_are_quiet(REGISTERS, 2));
        assert!(!cpus_are_quiet(&REGISTERS.replace("HLT=1", "HLT=0"), 2));
        assert!(!cpus_are_quiet(&REGISTERS.replace("CPL=3", "CPL=0"), 2));
        assert!(!cpus_are_quiet("", 2));
        let cr4: Vec<_> = REGISTERS
            .lines()
            .filter_map(|line| register(line, "CR4="))
            .collect();
        assert_eq!(cr4, [0x6f0, 0x16f0]);
    }
}

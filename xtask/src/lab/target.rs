//! The machines that the lab can make: which Debian kernel, which emulator, and what a guest of another architecture needs
//! beyond the host's own.

use super::how::{CRASH_PARAMETERS, How};
use crate::kernels::packages::Wanted;

/// One kind of machine.
#[derive(Debug)]
pub struct Target {
    /// As `--machine` and `lab.json` have it.
    pub name: &'static str,
    /// Debian's name of the architecture.
    pub architecture: &'static str,
    /// What stands behind the number in a kernel's name: `cloud-amd64`.
    pub flavour: &'static str,
    /// The series whose newest kernels `cargo xtask test --lab --machines` tests.
    pub series: &'static [&'static str],
    /// Levels of page tables.
    pub levels: u8,
    /// The emulator, and Debian's package that has it.
    pub qemu: (&'static str, &'static str),
    /// QEMU's arguments that say what machine it is.
    machine: &'static str,
    /// Whether it has a device by which the kernel hands over VMCOREINFO.
    has_vmcoreinfo: bool,
    /// Where the kernel writes its messages, and what else it is told.
    console: &'static str,
    /// QEMU's arguments for the serial line by which the guest is told to record once more.
    pub trigger: &'static [&'static str],
    /// QEMU's device with the recorder's disk.
    pub disk: &'static str,
    /// QEMU's network card. Its wire leads to a hub with nobody at the other port: without that port, the hub takes no packets.
    network: &'static str,
    /// The compiler of the guest's own program, and the packages that bring it.
    pub compiler: (&'static str, &'static str),
    /// The folder of the architecture's libraries.
    pub triplet: &'static str,
    /// What is loaded before the guest's modules.
    pub modules: &'static [&'static str],
    /// What is done before the guest's `init`, which knows the serial line as /dev/ttyS1.
    pub before_init: Option<&'static str>,
    /// How it is seen that the CPUs are where the truth says.
    pub quiet: Quiet,
}

/// How QEMU prints whether a CPU is idle or in user mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quiet {
    /// `HLT=1`, `CPL=3`
    X86,
    /// The program counter is in `cpu_do_idle`; `EL0t`
    Arm64,
    /// The program-status word's bits for waiting and for the problem state
    S390,
    /// The next instruction is behind the call by which the kernel gives its CPU to the hypervisor; the machine state's bit for the
    /// problem state
    Ppc64,
}

/// What netfilter's modules ask for by its purpose (`crc32c`), so that nothing names it as what they depend on. It is built into the cloud kernels
/// of amd64.
const CRC32C: &str = "crc32c_generic";

const AMD64_4: Target = Target {
    name: "amd64",
    architecture: "amd64",
    flavour: "cloud-amd64",
    series: &["6.1"],
    levels: 4,
    qemu: ("qemu-system-x86_64", "qemu-system-x86"),
    machine: "-M q35 -accel tcg -cpu max,-la57 -m 512 -smp 2,maxcpus=4",
    has_vmcoreinfo: true,
    console: "ttyS0",
    trigger: &["-serial", "chardev:trigger"],
    disk: "virtio-blk-pci",
    // Without a ROM to boot from, which is not installed everywhere.
    network: "virtio-net-pci,romfile=",
    compiler: ("gcc", "gcc libc6-dev"),
    triplet: "x86_64-linux-gnu",
    modules: &[],
    before_init: None,
    quiet: Quiet::X86,
};

const I386_PAE: Target = Target {
    name: "i386-pae",
    architecture: "i386",
    flavour: "686-pae",
    levels: 3,
    qemu: ("qemu-system-i386", "qemu-system-x86"),
    machine: "-M q35 -accel tcg -cpu max -m 512 -smp 2,maxcpus=4",
    compiler: (
        "i686-linux-gnu-gcc",
        "gcc-i686-linux-gnu libc6-dev-i386-cross",
    ),
    triplet: "i386-linux-gnu",
    modules: &[CRC32C],
    ..AMD64_4
};

/// Every kind. The first is what is made of a kernel unless something else is asked for.
pub static TARGETS: [Target; 9] = [
    AMD64_4,
    Target {
        levels: 5,
        machine: "-M q35 -accel tcg -cpu max -m 512 -smp 2,maxcpus=4",
        ..AMD64_4
    },
    Target {
        name: "amd64-full",
        flavour: "amd64",
        series: &["6.1", "6.12"],
        levels: 5,
        machine: "-M q35 -accel tcg -cpu max -m 512 -smp 2,maxcpus=4",
        modules: &[CRC32C],
        ..AMD64_4
    },
    Target {
        name: "amd64-rt",
        flavour: "rt-amd64",
        modules: &[CRC32C],
        ..AMD64_4
    },
    I386_PAE,
    // Its kernels know one CPU only.
    Target {
        name: "i386",
        flavour: "686",
        levels: 2,
        machine: "-M q35 -accel tcg -cpu max -m 512 -smp 1",
        ..I386_PAE
    },
    Target {
        name: "arm64",
        architecture: "arm64",
        flavour: "cloud-arm64",
        levels: 4,
        qemu: ("qemu-system-aarch64", "qemu-system-arm"),
        machine: "-M virt,gic-version=3 -accel tcg -cpu cortex-a72 -m 512 -smp 2",
        console: "ttyAMA0",
        trigger: &["-device", "pci-serial,chardev=trigger"],
        compiler: (
            "aarch64-linux-gnu-gcc",
            "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
        ),
        triplet: "aarch64-linux-gnu",
        modules: &[CRC32C],
        before_init: Some("ln -sf ttyS0 /dev/ttyS1"),
        quiet: Quiet::Arm64,
        ..AMD64_4
    },
    Target {
        name: "s390x",
        architecture: "s390x",
        flavour: "s390x",
        levels: 3,
        qemu: ("qemu-system-s390x", "qemu-system-misc"),
        machine: "-M s390-ccw-virtio -accel tcg -cpu max -m 512 -smp 2",
        has_vmcoreinfo: false,
        // QEMU 7.2 doesn't survive the test of chacha, which wireguard would wait for; nothing encrypts here.
        console: "ttysclp0 cryptomgr.notests",
        trigger: &[
            "-device",
            "virtio-serial-ccw",
            "-device",
            "virtconsole,chardev=trigger",
        ],
        disk: "virtio-blk-ccw",
        network: "virtio-net-ccw",
        compiler: (
            "s390x-linux-gnu-gcc",
            "gcc-s390x-linux-gnu libc6-dev-s390x-cross",
        ),
        triplet: "s390x-linux-gnu",
        modules: &[CRC32C, "virtio_console"],
        before_init: Some("ln -sf hvc0 /dev/ttyS1"),
        quiet: Quiet::S390,
        ..AMD64_4
    },
    Target {
        name: "ppc64le",
        architecture: "ppc64el",
        flavour: "powerpc64le",
        levels: 4,
        qemu: ("qemu-system-ppc64", "qemu-system-ppc"),
        // POWER9 is the first with radix page tables.
        machine: "-M pseries -accel tcg -cpu power9 -m 512 -smp 2",
        has_vmcoreinfo: false,
        console: "hvc0",
        compiler: (
            "powerpc64le-linux-gnu-gcc",
            "gcc-powerpc64le-linux-gnu libc6-dev-ppc64el-cross",
        ),
        triplet: "powerpc64le-linux-gnu",
        modules: &[CRC32C],
        before_init: Some("ln -sf hvc1 /dev/ttyS1"),
        quiet: Quiet::Ppc64,
        ..AMD64_4
    },
];

impl Target {
    /// The machine of that name; of amd64, that with so many levels of page tables.
    pub fn find(name: &str, levels: Option<u8>) -> Option<&'static Target> {
        TARGETS.iter().find(|target| {
            target.name == name && levels.is_none_or(|levels| levels == target.levels)
        })
    }

    /// Whether it is what is made unless something else is asked for.
    pub fn is_usual(&self) -> bool {
        self.name == AMD64_4.name
    }

    /// Whether the guest's programs are the host's own.
    pub fn is_own(&self) -> bool {
        self.architecture == AMD64_4.architecture
    }

    /// The kernels of a series that it can boot.
    pub fn wanted(&self, series: &str) -> Wanted {
        Wanted::of_series(series, self.flavour, self.architecture)
    }

    /// What is shown of it beside the kernel's release.
    pub fn title(&self) -> String {
        format!("{} levels", self.levels)
    }

    /// How often it is booted until all goes well. Three, as a host that is busy may be too slow; a guest with page tables of two levels dies in QEMU
    /// 7.2 three times of four.
    pub fn attempts(&self) -> u32 {
        if self.levels == 2 { 4 } else { 3 }
    }

    /// How many CPUs it has.
    pub fn cpus(&self) -> usize {
        if self.machine.contains("-smp 1") {
            1
        } else {
            2
        }
    }

    /// QEMU's arguments but for file names, and so a part of the recipe's key.
    pub fn parameters(&self, how: How) -> Vec<String> {
        let append = format!(
            "console={} rdinit=/init panic=-1 loglevel=6{}",
            self.console,
            how.kernel_parameters()
        );
        let vmcoreinfo = if self.has_vmcoreinfo {
            " -device vmcoreinfo"
        } else {
            ""
        };
        let mut parameters: Vec<String> = format!(
            "{} -display none -nic none -netdev hubport,id=wire,hubid=0 -netdev hubport,id=end,hubid=0 -device {},netdev=wire,mac=02:00:00:00:96:01 -no-reboot{vmcoreinfo}",
            self.machine, self.network
        )
        .split(' ')
        .map(str::to_owned)
        .collect();
        parameters.extend(["-append".to_owned(), append]);
        parameters
    }

    /// What else makes two machines differ.
    pub fn key_parameters(&self, how: How) -> Vec<String> {
        let mut parameters = self.parameters(how);
        if how == How::Panic {
            parameters.push(CRASH_PARAMETERS.to_owned());
        }
        if !self.is_usual() {
            parameters.extend([self.qemu.0, self.flavour].map(str::to_owned));
            parameters.extend(self.before_init.map(str::to_owned));
        }
        parameters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_found_by_name_and_levels() {
        let found = |name, levels| Target::find(name, levels).map(|target| target.levels);
        assert_eq!(found("amd64", Some(4)), Some(4));
        assert_eq!(found("amd64", Some(5)), Some(5));
        assert_eq!(found("i386-pae", None), Some(3));
        assert_eq!(found("arm64", Some(5)), None);
        assert_eq!(found("vax", None), None);
    }

    #[test]
    fn no_two_machines_have_one_key() {
        let mut keys: Vec<_> = TARGETS
            .iter()
            .flat_map(|target| [How::Stop, How::Panic].map(|how| target.key_parameters(how)))
            .collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 2 * TARGETS.len());
    }

    #[test]
    fn paging_levels_are_the_cpus() {
        let cpu =
            |levels| Target::find("amd64", Some(levels)).map(|target| target.parameters(How::Stop));
        assert!(cpu(4).is_some_and(|list| list.contains(&"max,-la57".to_string())));
        assert!(cpu(5).is_some_and(|list| list.contains(&"max".to_string())));
    }
}

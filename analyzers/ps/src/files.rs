//! The files that a process has open, as /proc/PID/fd and /proc/PID/fdinfo show them (fs/proc/fd.c).

use std::fmt::Write as _;

use kstruct::Memory;
use linux::Faults;
use serde::Serialize;

use crate::Row;

/// An open file.
#[derive(Serialize)]
pub struct OpenFile {
    /// Its number.
    pub fd: u32,
    /// What the link in /proc/PID/fd says; `null` if it can't be read.
    pub path: Option<String>,
    /// `f_flags`, with `O_CLOEXEC` where the process has set that.
    pub flags: u32,
    /// Where the next read or write is.
    pub pos: i64,
    /// The inode number.
    pub inode: Option<u64>,
    /// The number of the mount; `null` in kernels before 2.6.30, too, whose mounts have none.
    pub mount: Option<i32>,
    /// The `struct file`.
    #[serde(serialize_with = "linux::app::hex")]
    pub address: u64,
}

/// `O_CLOEXEC` (include/uapi/asm-generic/fcntl.h).
const CLOSE_ON_EXEC: u32 = 0o2_000_000;

fn name_of(entry: kernel::dentry<'_>) -> Result<String, kstruct::Fault> {
    /// `NAME_MAX` is 255; names that the kernel makes up may be longer.
    const MOST: usize = 4096;
    let name = entry.d_name();
    let length = (name.len() as usize).min(MOST);
    let text = name.name().cast::<u8>().array(length)?;
    Ok(String::from_utf8_lossy(text.bytes()).into_owned())
}

/// Adds to each row what the task has open.
pub fn add(k: &Memory, rows: &mut [Row], faults: &mut Faults) -> anyhow::Result<()> {
    read::add(k, rows, faults)
}

/// Adds a line for each.
pub fn describe(files: &[OpenFile], out: &mut String) {
    for file in files {
        let path = file.path.as_deref().unwrap_or("?");
        // What a process chose must not steer a terminal.
        let path = path.replace(|c: char| c.is_control(), "?");
        let mount = file.mount.map(|mount| format!("  mount {mount}"));
        let mount = mount.unwrap_or_default();
        // Writing to a string doesn't fail.
        let _ = writeln!(
            out,
            "    {:>5}  {path}  flags {:#o}  pos {}  ino {}{mount}  file {:x}",
            file.fd,
            file.flags,
            file.pos,
            crate::or_question_mark(file.inode),
            file.address
        );
    }
}

#[cfg(all(
    kernel_has = "files_struct.max_fds",
    kernel_has = "file.f_vfsmnt",
    kernel_has = "vfsmount.mnt_parent"
))]
#[path = "files/old.rs"]
mod read;

/// Kernels of 2.6.14 to 3.2 have tables of files as newer ones, and mounts as older ones.
#[cfg(not(any(
    all(
        kernel_has = "files_struct.fdt",
        kernel_has = "fdtable.close_on_exec",
        kernel_has = "mount.mnt_parent",
        kernel_has = "dentry_operations.d_dname"
    ),
    all(
        kernel_has = "files_struct.max_fds",
        kernel_has = "file.f_vfsmnt",
        kernel_has = "vfsmount.mnt_parent"
    )
)))]
mod read {
    use super::*;

    pub fn add(_: &Memory, _: &mut [Row], _: &mut Faults) -> anyhow::Result<()> {
        anyhow::bail!("how this kernel keeps its open files and mounts is not known")
    }
}

#[cfg(all(
    kernel_has = "files_struct.fdt",
    kernel_has = "fdtable.close_on_exec",
    kernel_has = "mount.mnt_parent",
    kernel_has = "dentry_operations.d_dname"
))]
mod read {
    use super::*;
    use kernel::{dentry, file, mount, path, task_struct, vfsmount};
    use kstruct::{Fault, View as _, walk};

    pub fn add(k: &Memory, rows: &mut [Row], faults: &mut Faults) -> anyhow::Result<()> {
        // Paths begin where they do for the first process, who asks where there is no dump.
        let mut root = None;
        for task in linux::task::leaders(k).flatten() {
            if task.pid() == 1 {
                let fs = faults.check("root directory of 1", task.fs().deref());
                root = fs.map(|fs| fs.root());
                break;
            }
        }
        for row in rows {
            let files =
                task_struct::at(k, row.address).and_then(|task| task.files().deref_or_null());
            let what = format_args!("open files of {}", row.pid);
            let files = faults.check(what, files).flatten();
            row.files =
                Some(files.map_or_else(Vec::new, |files| open_files(files, root, row.pid, faults)));
        }
        Ok(())
    }

    /// All open files of a process, by number. `root` is where paths begin: what the process that asks has as its root.
    fn open_files(
        files: kernel::files_struct<'_>,
        root: Option<path<'_>>,
        pid: i32,
        faults: &mut Faults,
    ) -> Vec<OpenFile> {
        let mut found = Vec::new();
        let what = |number: u32| format!("file {number} of {pid}");
        let table = files.fdt().deref();
        let Some(table) = faults.check(format_args!("open files of {pid}"), table) else {
            return found;
        };
        let width = u32::from(kernel::KERNEL.pointer_size) * 8;
        let Some(open) = faults.check(
            format_args!("open files of {pid}"),
            linux::file::open_files(files),
        ) else {
            return found;
        };
        for (number, file) in open {
            let Some(file) = faults.check(what(number), file) else {
                continue;
            };
            let word = table.close_on_exec().at(u64::from(number / width));
            let closes = faults
                .check(what(number), word)
                .is_some_and(|word| word >> (number % width) & 1 != 0);
            let flags = file.f_flags() & !CLOSE_ON_EXEC;
            found.push(OpenFile {
                fd: number,
                path: faults.check(what(number), shown_path(file, root)),
                flags: if closes { flags | CLOSE_ON_EXEC } else { flags },
                pos: file.f_pos(),
                inode: faults
                    .check(what(number), file.f_inode().deref())
                    .map(|inode| inode.i_ino()),
                mount: faults
                    .check(what(number), mount_of(file.f_path()))
                    .map(|mount| mount.mnt_id()),
                address: file.addr(),
            });
        }
        found
    }

    fn mount_of(path: path<'_>) -> Result<mount<'_>, Fault> {
        path.mnt().deref()?.container_of(mount::mnt)
    }

    /// `d_path` (fs/d_path.c).
    fn shown_path(file: file<'_>, root: Option<path<'_>>) -> Result<String, Fault> {
        let path = file.f_path();
        let entry = path.dentry().deref()?;
        let mount = path.mnt().deref()?;
        // A file system that makes up names, unless the file is its root and mounted as such.
        let is_root = entry.d_parent().addr() == entry.addr();
        let is_mount_root = is_root && mount.mnt_root().addr() == entry.addr();
        if let Some(operations) = entry.d_op().deref_or_null()?
            && !operations.d_dname().is_null()
            && !is_mount_root
        {
            return made_up_name(entry, operations.d_dname());
        }
        let mut text = path_below(entry, mount, root)?;
        // `d_unlinked`
        if entry.d_hash().pprev().is_null() && !is_root {
            text.push_str(" (deleted)");
        }
        Ok(text)
    }

    /// What file systems that nobody mounts call their files.
    fn made_up_name(
        entry: dentry<'_>,
        function: kstruct::Ptr<'_, kstruct::view::Function>,
    ) -> Result<String, Fault> {
        let inode = entry.d_inode().deref()?;
        let name = || name_of(entry);
        Ok(match function.name() {
            Some("sockfs_dname") => format!("socket:[{}]", inode.i_ino()),
            Some("pipefs_dname") => format!("pipe:[{}]", inode.i_ino()),
            Some("anon_inodefs_dname") => format!("anon_inode:{}", name()?),
            Some("pidfs_dname") => "anon_inode:[pidfd]".to_owned(),
            Some("simple_dname") => format!("/{} (deleted)", name()?),
            #[cfg(all(kernel_has = "inode.i_private", kernel_has = "proc_ns_operations.name"))]
            Some("ns_dname") => {
                let namespace = inode.i_private().cast::<kernel::ns_common<'_>>().deref()?;
                let kind = namespace.ops().deref()?.name().read()?;
                format!("{kind}:[{}]", namespace.inum())
            }
            // What others do isn't known: the function's name says who they are.
            Some(other) => format!("{other}:[{}] {}", inode.i_ino(), name()?),
            None => format!("{:#x}:[{}] {}", function.addr(), inode.i_ino(), name()?),
        })
    }

    /// `prepend_path`
    fn path_below(
        entry: dentry<'_>,
        vfsmount: vfsmount<'_>,
        root: Option<path<'_>>,
    ) -> Result<String, Fault> {
        let mut names = Vec::new();
        let mut place = (entry, vfsmount.container_of(mount::mnt)?);
        // Mounts lie over one another in no circle, and neither do directories: one that does has more steps than there are.
        const MOST_MOUNTS: usize = 10_000;
        for _ in 0..MOST_MOUNTS {
            let (start, here) = place;
            let top = here.mnt().mnt_root().addr();
            let stop = root.filter(|root| root.mnt().addr() == here.mnt().addr());
            let mut last = start;
            for entry in upwards(start) {
                let entry = entry?;
                last = entry;
                let is_root = stop.is_some_and(|root| root.dentry().addr() == entry.addr());
                if is_root {
                    return Ok(joined(&names));
                }
                if entry.addr() == top || entry.d_parent().addr() == entry.addr() {
                    break;
                }
                names.push(name_of(entry)?);
            }
            let parent = here.mnt_parent();
            // The top of all mounts, or of one that is mounted nowhere any more. Else a directory that has no place in its file system.
            if parent.addr() == here.addr() || last.addr() != top {
                return Ok(joined(&names));
            }
            place = (here.mnt_mountpoint().deref()?, parent.deref()?);
        }
        Err(Fault {
            address: entry.addr(),
            kind: kstruct::FaultKind::Cycle,
        })
    }

    /// A directory entry and those that it is below.
    fn upwards(entry: dentry<'_>) -> impl Iterator<Item = Result<dentry<'_>, Fault>> {
        walk::chain(Ok(entry.as_ptr()), |entry: dentry<'_>| {
            let parent = entry.d_parent();
            if parent.addr() == entry.addr() {
                kstruct::Ptr::new(entry.memory(), 0)
            } else {
                parent
            }
        })
    }

    fn joined(names: &[String]) -> String {
        if names.is_empty() {
            return "/".to_owned();
        }
        let mut text = String::new();
        for name in names.iter().rev() {
            text.push('/');
            text.push_str(name);
        }
        text
    }
}

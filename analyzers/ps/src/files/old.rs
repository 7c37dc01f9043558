//! Kernels before 2.6.14: a table of files is in `files_struct` itself, and mounts have no numbers. Names are as `d_path` of 2.6.9 made
//! them (fs/dcache.c): file systems that nobody mounts call their root `socket:` and `pipe:`, and their files `[1234]`.

use kernel::{dentry, file, task_struct, vfsmount};
use kstruct::{Fault, FaultKind, View as _};

use super::{CLOSE_ON_EXEC, Faults, Memory, OpenFile, Row, name_of};

/// `DCACHE_UNHASHED`, include/linux/dcache.h.
const UNHASHED: u32 = 0x10;

/// Where paths begin.
type Root<'m> = Option<(dentry<'m>, vfsmount<'m>)>;

pub fn add(k: &Memory, rows: &mut [Row], faults: &mut Faults) -> anyhow::Result<()> {
    let root = root(k, faults);
    for row in rows {
        let files = task_struct::at(k, row.address).and_then(|task| task.files().deref_or_null());
        let what = format_args!("open files of {}", row.pid);
        let files = faults.check(what, files).flatten();
        row.files =
            Some(files.map_or_else(Vec::new, |files| open_files(files, root, row.pid, faults)));
    }
    Ok(())
}

/// The first process's root, as where there is no dump it is who asks. `None` where the type of what has it is not known: then paths begin
/// where nothing is mounted any more, which is the same but for processes in a chroot.
fn root<'m>(k: &'m Memory, faults: &mut Faults) -> Root<'m> {
    #[cfg(kernel_has = "fs_struct.rootmnt")]
    for task in linux::task::leaders(k).flatten() {
        if task.pid() == 1 {
            let fs = task.fs().deref();
            let place = fs.and_then(|fs| Ok((fs.root().deref()?, fs.rootmnt().deref()?)));
            return faults.check("root directory of 1", place);
        }
    }
    let _ = (k, faults);
    None
}

/// All open files of a process, by number.
fn open_files(
    files: kernel::files_struct<'_>,
    root: Root<'_>,
    pid: i32,
    faults: &mut Faults,
) -> Vec<OpenFile> {
    let what = |number: u32| format!("file {number} of {pid}");
    let open = linux::file::open_files(files);
    let Some(open) = faults.check(format_args!("open files of {pid}"), open) else {
        return Vec::new();
    };
    let k = files.memory();
    let width = u32::from(kernel::KERNEL.pointer_size);
    let mut found = Vec::new();
    for (number, file) in open {
        let Some(file) = faults.check(what(number), file) else {
            continue;
        };
        let place = u64::from(number / (width * 8) * width);
        let word = k.word(k.wrap(files.close_on_exec().addr().wrapping_add(place)));
        let closes = faults
            .check(what(number), word)
            .is_some_and(|word| word >> (number % (width * 8)) & 1 != 0);
        let entry = file.f_dentry().deref();
        let inode = entry.and_then(|entry| Ok(entry.d_inode().deref()?.i_ino()));
        found.push(OpenFile {
            fd: number,
            path: faults.check(what(number), path(file, root)),
            flags: file.f_flags() | if closes { CLOSE_ON_EXEC } else { 0 },
            pos: file.f_pos(),
            inode: faults.check(what(number), inode),
            mount: None,
            address: file.addr(),
        });
    }
    found
}

/// `d_path`
fn path(file: file<'_>, root: Root<'_>) -> Result<String, Fault> {
    /// No path has as many names and mounts (`PATH_MAX`): one that has goes in a circle.
    const MOST: usize = 4096;
    let mut entry = file.f_dentry().deref()?;
    let mut mount = file.f_vfsmnt().deref()?;
    let is_top = |entry: dentry<'_>| entry.d_parent().addr() == entry.addr();
    let is_deleted = !is_top(entry) && entry.d_flags() & UNHASHED != 0;
    let mut names = Vec::new();
    for _ in 0..MOST {
        let is_root =
            root.is_some_and(|(root, of)| root.addr() == entry.addr() && of.addr() == mount.addr());
        let is_last = !is_root && mount.mnt_parent().addr() == mount.addr();
        if is_root || is_last && (entry.addr() == mount.mnt_root().addr() || is_top(entry)) {
            // The last name stands where the slash would be.
            let mut text = if is_root {
                "/".to_owned()
            } else {
                name_of(entry)?
            };
            names.reverse();
            text.push_str(&names.join("/"));
            text.push_str(if is_deleted { " (deleted)" } else { "" });
            return Ok(text);
        }
        if entry.addr() == mount.mnt_root().addr() || is_top(entry) {
            entry = mount.mnt_mountpoint().deref()?;
            mount = mount.mnt_parent().deref()?;
        } else {
            names.push(name_of(entry)?);
            entry = entry.d_parent().deref()?;
        }
    }
    Err(Fault {
        address: file.addr(),
        kind: FaultKind::Cycle,
    })
}

//! The files of processes: a table is in `files_struct` itself, and a file leads to its socket by its inode.

use std::collections::HashMap;

use kernel::{file, files_struct, socket_alloc, sym};
use kstruct::{Fault, FaultKind, Memory, View as _};
use linux::{Faults, task};

use crate::name::Name;
use crate::owner::Held;

/// A process has no more open files (`NR_OPEN`, include/linux/limits.h).
const MOST: usize = 1 << 20;

/// All files of all processes that are sockets.
pub(crate) fn held(k: &Memory, processes: &mut Vec<(i32, Name)>, faults: &mut Faults) -> Vec<Held> {
    let mut held = Vec::new();
    let mut tables: HashMap<u64, Vec<(u32, u64)>> = HashMap::new();
    for group in task::groups(k, faults) {
        let Some(leader) = group.first() else {
            continue;
        };
        let pid = leader.pid();
        let process = processes.len() as u32;
        processes.push((pid, Name::from(leader.comm())));
        let mut own = Vec::with_capacity(1);
        for thread in &group {
            let files = thread.files().addr();
            // None of a zombie.
            if files != 0 && !own.contains(&files) {
                own.push(files);
            }
        }
        for address in own {
            let sockets = tables
                .entry(address)
                .or_insert_with(|| sockets(k, address, pid, faults));
            held.extend(sockets.iter().map(|(fd, socket)| Held {
                socket: *socket,
                process,
                fd: *fd,
            }));
        }
    }
    held
}

/// The numbers and the addresses of the sockets in a table.
fn sockets(k: &Memory, table: u64, pid: i32, faults: &mut Faults) -> Vec<(u32, u64)> {
    let slots = files_struct::at(k, table).and_then(|files| {
        let length = usize::try_from(files.max_fds()).unwrap_or(usize::MAX);
        if length > MOST {
            return Err(Fault {
                address: table,
                kind: FaultKind::TooLarge,
            });
        }
        files.fd().array(length)
    });
    let Some(slots) = faults.check(format_args!("open files of process {pid}"), slots) else {
        return Vec::new();
    };
    let operations = k.address_of(sym::socket_file_ops);
    let mut found = Vec::new();
    for (number, pointer) in (0..).zip(slots.iter()) {
        if pointer.is_null() {
            continue;
        }
        let socket = pointer.deref().and_then(|file| {
            if file.f_op().addr() == operations {
                socket_of(file).map(Some)
            } else {
                Ok(None)
            }
        });
        let what = format_args!("file {number} of process {pid}");
        if let Some(Some(socket)) = faults.check(what, socket) {
            found.push((number, socket));
        }
    }
    found
}

/// `SOCKET_I` (include/net/sock.h). `private_data` is not used yet.
fn socket_of(file: file<'_>) -> Result<u64, Fault> {
    let inode = file.f_dentry().deref()?.d_inode().deref()?;
    let both = inode.container_of(socket_alloc::vfs_inode)?;
    Ok(both.socket().addr())
}

//! Who holds a socket: all processes' tables of open files, gone through once.

use std::sync::atomic::{AtomicBool, Ordering};

use kstruct::Memory;
use linux::Faults;
use rayon::slice::ParallelSliceMut as _;
use serde::Serialize;

use crate::name::Name;

/// A process that has a socket open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// Its id in the initial pid namespace.
    pub pid: i32,
    /// The number of the file.
    pub fd: u32,
    /// The name of its first thread.
    pub comm: Name,
}

/// All sockets that are open files, by the address of their `struct socket`.
#[derive(Default)]
pub struct Owners {
    /// By socket, process and number.
    held: Vec<Held>,
    /// The sockets of the first of each [`STEP`] of them: of a million, they are what a search reads of most, and these stay in a CPU's caches.
    steps: Vec<u64>,
    /// Of the first of those with a socket: whether it was asked who holds it.
    asked: Vec<AtomicBool>,
    /// The processes, as they are listed.
    processes: Vec<(i32, Name)>,
}

/// A file that is a socket. It is small: to search 20,000 of them needs as little memory as can be.
#[derive(Clone, Copy)]
pub(crate) struct Held {
    /// The `struct socket`.
    pub(crate) socket: u64,
    /// Which of the processes has it open.
    pub(crate) process: u32,
    /// The number of the file.
    pub(crate) fd: u32,
}

/// So many of them lie in four lines of memory.
const STEP: usize = 16;

impl Owners {
    /// The numbers between which the first is whose socket is not below an address.
    fn around(&self, socket: u64) -> std::ops::Range<usize> {
        let step = self.steps.partition_point(|first| *first < socket);
        step.saturating_sub(1) * STEP..(step * STEP).min(self.held.len())
    }

    /// The number of the first whose socket is not below an address.
    fn first(&self, socket: u64) -> usize {
        let around = self.around(socket);
        around.start + self.held[around].partition_point(|held| held.socket < socket)
    }

    /// Fetches from memory what [`Self::of`] will read.
    pub(crate) fn prefetch(&self, socket: u64) {
        kstruct::prefetch(&self.held[self.around(socket)]);
    }

    /// Who holds the socket at an address; nobody does if that is 0.
    pub fn of(&self, socket: u64) -> impl Iterator<Item = Holder> {
        let start = self.first(socket);
        if let Some(asked) = self.asked.get(start)
            && self.held[start].socket == socket
        {
            asked.store(true, Ordering::Relaxed);
        }
        self.held[start..]
            .iter()
            .take_while(move |held| held.socket == socket)
            .filter_map(|held| {
                let (pid, comm) = *self.processes.get(held.process as usize)?;
                let fd = held.fd;
                Some(Holder { pid, fd, comm })
            })
    }

    /// The addresses of those that are held, and whose holders nobody asked for, in order.
    pub fn unasked(&self) -> impl Iterator<Item = u64> {
        let mut last = 0;
        self.held
            .iter()
            .zip(&self.asked)
            .filter_map(move |(held, asked)| {
                let is_new = held.socket != last;
                last = held.socket;
                (is_new && !asked.load(Ordering::Relaxed)).then_some(held.socket)
            })
    }

    /// Goes through all processes.
    pub fn read(k: &Memory, faults: &mut Faults) -> Self {
        let mut processes = Vec::new();
        let mut held = files::held(k, &mut processes, faults);
        let pid = |held: &Held| processes.get(held.process as usize).map(|(pid, _)| *pid);
        held.par_sort_unstable_by(|one, other| {
            one.socket
                .cmp(&other.socket)
                .then_with(|| (pid(one), one.fd).cmp(&(pid(other), other.fd)))
        });
        let asked = held.iter().map(|_| AtomicBool::new(false)).collect();
        let steps = held.iter().step_by(STEP).map(|held| held.socket).collect();
        Owners {
            held,
            steps,
            asked,
            processes,
        }
    }
}

#[cfg(all(
    kernel_has = "files_struct.fdt",
    kernel_has = "fdtable.fd",
    kernel_has = "task_struct.files",
    kernel_has = "file.f_op",
    kernel_has = "sym:socket_file_ops"
))]
mod files {
    use kernel::{fdtable, file, sym, task_struct};
    use kstruct::{Fault, FaultKind, Memory, View as _, offset_of, walk};
    use linux::{Faults, task};

    use super::Held;
    use crate::name::Name;

    /// A process has no more open files, whatever it is allowed.
    const MOST: usize = 1 << 24;
    /// Files that a thread looks at before it takes others.
    const PIECE: usize = 1024;
    /// How many files before it is looked at a file is fetched from memory, and how much.
    const AHEAD: usize = 16;
    const FILE: usize = file::SIZE;
    /// What is read of it.
    const MEMBERS: [usize; 2] = [offset_of!(file, f_op), offset_of!(file, private_data)];

    /// A table of open files. Threads share it, and processes may.
    struct Table<'m> {
        /// Whose it is: numbers of processes.
        processes: Vec<u32>,
        fdt: fdtable<'m>,
        length: usize,
    }

    /// All files of all processes that are sockets.
    pub(crate) fn held(
        k: &Memory,
        processes: &mut Vec<(i32, Name)>,
        faults: &mut Faults,
    ) -> Vec<Held> {
        let tables = tables(k, processes, faults);
        let pieces: Vec<(&Table<'_>, usize)> = tables
            .iter()
            .flat_map(|table| (0..table.length).step_by(PIECE).map(move |at| (table, at)))
            .collect();
        let operations = k.address_of(sym::socket_file_ops);
        let found = walk::par_index(pieces.len(), |index| {
            let (table, start) = pieces[index];
            let mut held = Vec::new();
            let mut faults = Vec::new();
            match table.fdt.fd().array(table.length) {
                Ok(slots) => {
                    for number in start..table.length.min(start + PIECE) {
                        if let Some(later) = slots.get(number + AHEAD) {
                            k.prefetch_at(later.addr(), FILE, &MEMBERS);
                        }
                        let Some(pointer) = slots.get(number) else {
                            break;
                        };
                        if pointer.is_null() {
                            continue;
                        }
                        match pointer.deref() {
                            Ok(file) if file.f_op().addr() == operations => {
                                let socket = file.private_data().addr();
                                let fd = number as u32;
                                held.extend(table.processes.iter().map(|process| Held {
                                    socket,
                                    process: *process,
                                    fd,
                                }));
                            }
                            Ok(_) => {}
                            Err(fault) => faults.push((number, fault)),
                        }
                    }
                }
                Err(fault) => faults.push((start, fault)),
            }
            (held, faults)
        });
        let mut all = Vec::with_capacity(found.iter().map(|(held, _)| held.len()).sum());
        for ((held, errors), (table, _)) in found.into_iter().zip(&pieces) {
            all.extend(held);
            for (number, fault) in errors {
                let process = table.processes.first();
                let process = process.and_then(|number| processes.get(*number as usize));
                let pid = process.map_or(0, |(pid, _)| *pid);
                faults.add(format_args!("file {number} of process {pid}"), fault);
            }
        }
        all
    }

    fn tables<'m>(
        k: &'m Memory,
        processes: &mut Vec<(i32, Name)>,
        faults: &mut Faults,
    ) -> Vec<Table<'m>> {
        let mut tables: Vec<(u64, Table<'m>)> = Vec::new();
        let mut places = std::collections::HashMap::new();
        for group in task::groups(k, faults) {
            let Some(leader) = group.first() else {
                continue;
            };
            let pid = leader.pid();
            let process = processes.len() as u32;
            processes.push((pid, Name::from(leader.comm())));
            for address in tables_of(&group) {
                let place = *places.entry(address).or_insert(tables.len());
                if let Some((_, table)) = tables.get_mut(place) {
                    table.processes.push(process);
                    continue;
                }
                let what = format_args!("open files of process {pid}");
                match faults.check(what, table(k, address, process)) {
                    Some((table, fault)) => {
                        let what = format_args!("max_fds of process {pid}");
                        faults.check(what, fault);
                        tables.push((address, table));
                    }
                    None => {
                        places.remove(&address);
                    }
                }
            }
        }
        tables.into_iter().map(|(_, table)| table).collect()
    }

    /// The addresses of a process's tables: one, but for threads that unshared theirs.
    fn tables_of(threads: &[task_struct<'_>]) -> Vec<u64> {
        let mut found = Vec::with_capacity(1);
        for thread in threads {
            let files = thread.files().addr();
            // None of a zombie.
            if files != 0 && !found.contains(&files) {
                found.push(files);
            }
        }
        found
    }

    /// A table, and whether its length is what it was made for: otherwise what is behind the shorter of both isn't looked at.
    fn table(
        k: &Memory,
        address: u64,
        process: u32,
    ) -> Result<(Table<'_>, Result<(), Fault>), Fault> {
        let files = kernel::files_struct::at(k, address)?;
        let fdt = files.fdt().deref()?;
        let (length, is_right) = linux::file::length(files, fdt);
        if length > MOST {
            return Err(Fault {
                address: fdt.addr(),
                kind: FaultKind::TooLarge,
            });
        }
        let table = Table {
            processes: vec![process],
            fdt,
            length,
        };
        Ok((table, is_right))
    }
}

/// Before 2.6.15.
#[cfg(kernel_has = "tcp_hashinfo.__tcp_ehash")]
use crate::old::owner as files;

#[cfg(not(any(
    kernel_has = "tcp_hashinfo.__tcp_ehash",
    all(
        kernel_has = "files_struct.fdt",
        kernel_has = "fdtable.fd",
        kernel_has = "task_struct.files",
        kernel_has = "file.f_op",
        kernel_has = "sym:socket_file_ops"
    )
)))]
mod files {
    use kstruct::Memory;
    use linux::Faults;

    use super::Held;
    use crate::name::Name;

    /// Kernels before 2.6.15 have their tables elsewhere.
    pub(crate) fn held(_: &Memory, _: &mut Vec<(i32, Name)>, _: &mut Faults) -> Vec<Held> {
        Vec::new()
    }
}

//! Who waits for what, what is in rings, and what counts say.

use std::collections::{BTreeMap, BTreeSet};

use kernel::{
    bdev_inode, eventpoll, file, futex_q, inode, io_kiocb, io_ring_ctx, mutex_waiter, sock,
    socket_alloc, super_block, sym, task_struct, wait_queue_entry,
};
use kstruct::{Fault, Memory, Ptr, View as _};
use linux::file::open_files;
use linux::wait::{self, Waiter};
use serde_json::{Value, json};

use super::Result;

/// `S_IFMT` and `S_IFIFO` (include/uapi/linux/stat.h).
const TYPE: u16 = 0o170_000;
const FIFO: u16 = 0o010_000;

pub fn report(k: &Memory, tasks: &[task_struct<'_>]) -> Result<Value> {
    Ok(json!({
        "files": files(k, tasks)?,
        "queues": queues(k, tasks)?,
        "futexes": futexes(k)?,
        "mutexes": mutexes(k, tasks)?,
        "serial": serial(k)?,
        "unix": unix_sockets(k)?,
        "modules": modules(k)?,
        "disks": disks(k)?,
    }))
}

/// Each process's open files, as its leader sees them.
fn all_files<'m>(tasks: &[task_struct<'m>]) -> Result<Vec<(i32, u32, file<'m>)>> {
    let mut found = Vec::new();
    for task in tasks.iter().filter(|task| task.pid() == task.tgid()) {
        if let Some(files) = task.files().deref_or_null()? {
            for (number, file) in open_files(files)? {
                found.push((task.pid(), number, file?));
            }
        }
    }
    Ok(found)
}

/// How many files each process has open, what is in each pipe, what each epoll instance watches, what each io_uring has not told.
fn files(k: &Memory, tasks: &[task_struct<'_>]) -> Result<Value> {
    let mut counts: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    let (mut pipes, mut epolls, mut rings) = (Vec::new(), Vec::new(), Vec::new());
    for (pid, number, file) in all_files(tasks)? {
        counts.entry(pid.to_string()).or_default().push(number);
        let inode = file.f_inode().deref()?;
        if inode.i_mode() & TYPE == FIFO {
            let pipe = inode.i_pipe().deref()?;
            pipes.push(json!([
                pid,
                number,
                inode.i_ino(),
                linux::pipe::bytes(pipe)?
            ]));
        }
        let operations = file.f_op().addr();
        if operations == k.address_of(sym::eventpoll_fops) {
            epolls.push(json!([pid, number, epoll(file)?]));
        }
        if operations == k.address_of(sym::io_uring_fops) {
            let context: Ptr<'_, io_ring_ctx<'_>> = file.private_data().cast();
            let work = context.deref()?.work_llist();
            let untold: Vec<u64> = work
                .entries(|request: io_kiocb<'_>| request.io_task_work().node())
                .map(|request| Ok(request?.cqe().user_data()))
                .collect::<Result<_>>()?;
            rings.push(json!([pid, number, untold]));
        }
    }
    Ok(json!({ "open": counts, "pipes": pipes, "epolls": epolls, "io_urings": rings }))
}

/// The descriptors that an epoll instance watches, and their events; each must be on the wait queues that it says.
fn epoll(file: file<'_>) -> Result<BTreeMap<String, u32>> {
    let instance: Ptr<'_, eventpoll<'_>> = file.private_data().cast();
    let mut found = BTreeMap::new();
    for item in instance.deref()?.rbr().entries(kernel::epitem::rbn) {
        let item = item?;
        found.insert(item.ffd().fd().to_string(), item.event().events());
        for entry in kstruct::walk::chain(Ok(item.pwqlist()), kernel::eppoll_entry::next) {
            let entry = entry?;
            let mut is_there = false;
            for waiter in entry.whead().deref()?.waiters() {
                if let Waiter::Epoll(waiter) = wait::of(waiter?)? {
                    is_there |= waiter.addr() == entry.addr();
                }
            }
            assert!(is_there, "{:#x} is on no queue", entry.addr());
        }
    }
    Ok(found)
}

/// The threads that wait on a queue; other waiters by the name of their function.
fn waiters<'m>(
    queue: impl Iterator<Item = std::result::Result<wait_queue_entry<'m>, Fault>>,
) -> Result<Vec<Value>> {
    queue
        .map(|entry| {
            Ok(match wait::of(entry?)? {
                Waiter::Task(task) => json!(task.pid()),
                Waiter::Poll(task) => json!(["poll", task.pid()]),
                Waiter::Epoll(_) => json!("epoll"),
                Waiter::Other(function) => json!(function.name()),
            })
        })
        .collect()
}

fn queues(k: &Memory, tasks: &[task_struct<'_>]) -> Result<Value> {
    let mut children = Vec::new();
    for task in tasks.iter().filter(|task| task.pid() == task.tgid()) {
        children.extend(waiters(task.signal().deref()?.wait_chldexit().waiters())?);
    }
    let (mut kswapd, mut kcompactd) = (Vec::new(), Vec::new());
    for node in k.get(sym::node_data)?.iter() {
        if let Some(node) = node.deref_or_null()? {
            kswapd.extend(waiters(node.kswapd_wait().waiters())?);
            kcompactd.extend(waiters(node.kcompactd_wait().waiters())?);
        }
    }
    let mut pipes = Vec::new();
    let mut seen = BTreeSet::new();
    for (_, _, file) in all_files(tasks)? {
        let inode = file.f_inode().deref()?;
        if inode.i_mode() & TYPE == FIFO && seen.insert(inode.addr()) {
            let pipe = inode.i_pipe().deref()?;
            pipes.extend(waiters(pipe.rd_wait().waiters())?);
            pipes.extend(waiters(pipe.wr_wait().waiters())?);
        }
    }
    let grace_periods: Vec<i32> = k
        .get(sym::rcu_state)?
        .gp_wq()
        .waiters()
        .map(|entry| Ok(entry?.task().deref()?.pid()))
        .collect::<Result<_>>()?;
    let line = serial_lines(k)?.get(1).expect("ttyS1").port();
    Ok(json!({
        "wait_chldexit": children,
        "kswapd_wait": kswapd,
        "kcompactd_wait": kcompactd,
        "kauditd_wait": waiters(k.get(sym::kauditd_wait)?.waiters())?,
        "pipes": pipes,
        "gp_wq": grace_periods,
        "ttyS1": waiters(line.tty().deref()?.read_wait().waiters())?,
    }))
}

/// Who waits for which futex, by the lists that are sorted by priority.
fn futexes(k: &Memory) -> Result<Value> {
    let data = k.get(sym::__futex_data)?;
    let table = data.queues().array(data.hashsize() as usize)?;
    let mut found = Vec::new();
    for bucket in table.iter() {
        let waiters: Vec<futex_q<'_>> = bucket
            .chain()
            .entries(futex_q::list)
            .collect::<Result<_>>()?;
        assert!(waiters.is_sorted_by_key(|waiter| waiter.list().prio()));
        for waiter in waiters {
            let key = waiter.key().private();
            let place = key.address() + u64::from(key.offset());
            found.push(json!([waiter.task().deref()?.pid(), place]));
        }
    }
    Ok(json!(found))
}

/// Who waits for the mutexes of pipes.
fn mutexes(_: &Memory, tasks: &[task_struct<'_>]) -> Result<Value> {
    let mut found = BTreeSet::new();
    for (_, _, file) in all_files(tasks)? {
        let inode = file.f_inode().deref()?;
        if inode.i_mode() & TYPE == FIFO {
            let mutex = inode.i_pipe().deref()?.mutex();
            for waiter in mutex.wait_list().entries(mutex_waiter::list) {
                found.insert(waiter?.task().deref()?.pid());
            }
        }
    }
    Ok(json!(found))
}

fn serial_lines(k: &Memory) -> Result<kstruct::Array<'_, kernel::uart_state<'_>>> {
    let driver = k.get(sym::serial8250_reg)?;
    driver
        .state()
        .array(usize::try_from(driver.nr()).unwrap_or(0))
}

/// What each serial line that was opened has not sent.
fn serial(k: &Memory) -> Result<Value> {
    let mut found = BTreeMap::new();
    for (number, state) in serial_lines(k)?.iter().enumerate() {
        if let Some(ring) = linux::serial::unsent(state)? {
            let bytes = ring.pieces()?.concat();
            assert_eq!(ring.len() as usize, bytes.len());
            found.insert(
                format!("ttyS{number}"),
                String::from_utf8_lossy(&bytes).into_owned(),
            );
        }
    }
    Ok(json!(found))
}

/// Inode, type and reference count of the Unix sockets of the first network namespace.
fn unix_sockets(k: &Memory) -> Result<Value> {
    let table = k.get(sym::init_net)?.unx().table();
    let mut found = Vec::new();
    // UNIX_HASH_SIZE (include/net/af_unix.h): one half by name, one by inode.
    for bucket in table.buckets().array(512)?.iter() {
        for sock in bucket.entries(|sock: sock<'_>| sock.__sk_common().skc_node()) {
            let sock = sock?;
            let number = match sock.sk_socket().deref_or_null()? {
                Some(socket) => socket
                    .container_of(socket_alloc::socket)?
                    .vfs_inode()
                    .i_ino(),
                None => 0,
            };
            let count = sock.__sk_common().skc_refcnt();
            assert_eq!(count.state(), kstruct::Refcount::of(count.value()));
            found.push(json!([number, sock.sk_type(), count.value()]));
        }
    }
    Ok(json!(found))
}

/// How often each module is used: an atomic number with one more (`MODULE_REF_BASE`).
fn modules(k: &Memory) -> Result<Value> {
    let mut found = BTreeMap::new();
    for module in linux::symbols::modules(k)? {
        let module = module?;
        found.insert(module.name().to_string(), module.refcnt().value() - 1);
    }
    Ok(json!(found))
}

/// Of each disk's queue, what its count of users says.
fn disks(k: &Memory) -> Result<Value> {
    let cpus = linux::cpu::possible(k)?;
    let block: super_block<'_> = k.get(sym::blockdev_superblock)?.deref()?;
    let mut found = BTreeMap::new();
    for inode in block.s_inodes().entries(inode::i_sb_list) {
        let device = inode?.container_of(bdev_inode::vfs_inode)?.bdev();
        let Some(disk) = device.bd_disk().deref_or_null()? else {
            continue;
        };
        let count = linux::cpu::percpu_ref(disk.queue().deref()?.q_usage_counter(), &cpus)?;
        found.insert(
            disk.disk_name().to_string(),
            json!({ "count": count.count, "atomic": count.is_atomic, "dead": count.is_dead }),
        );
    }
    Ok(json!(found))
}

//! The sockets that a process holds.

use std::fmt::Write as _;

use kstruct::Memory;
use linux::Faults;
use serde::Serialize;

use crate::Row;

/// A socket of a process.
#[derive(Serialize)]
pub struct HeldSocket {
    /// The number of its file.
    pub fd: u32,
    /// The kind of socket as ss names it: `tcp`, `u_str`, ...
    pub netid: &'static str,
    /// Its state as ss shows it.
    pub state: &'static str,
    /// What wasn't read yet.
    pub rx_queue: u32,
    /// What wasn't sent, or not acknowledged.
    pub tx_queue: u32,
    /// Its own address, or name.
    pub local: String,
    /// The other end's.
    pub remote: String,
    /// The inode number.
    pub inode: u64,
    /// The `struct sock`.
    #[serde(serialize_with = "linux::app::hex")]
    pub address: u64,
}

/// Adds to each row what sockets the task's process holds.
#[cfg(any(
    kernel_has = "inet_hashinfo.lhash2",
    kernel_has = "tcp_hashinfo.__tcp_ehash"
))]
pub fn add(k: &Memory, rows: &mut [Row], faults: &mut Faults) -> anyhow::Result<()> {
    use std::collections::BTreeMap;

    let reader = sockets::sock::Reader::new(k, faults)?;
    let all = sockets::all::Sockets::read(&reader, faults);
    let mut by_process: BTreeMap<i32, Vec<HeldSocket>> = BTreeMap::new();
    for line in all.lines() {
        for holder in &line.base.holders {
            let held = HeldSocket {
                fd: holder.fd,
                netid: line.netid,
                state: line.base.state,
                rx_queue: line.queues[0],
                tx_queue: line.queues[1],
                local: line.local.clone(),
                remote: line.remote.clone(),
                inode: line.base.inode,
                address: line.base.address,
            };
            by_process.entry(holder.pid).or_default().push(held);
        }
    }
    for row in rows {
        let mut held = Vec::new();
        // Threads hold what their process does.
        if row.pid == row.tgid {
            held = by_process.remove(&row.pid).unwrap_or_default();
        }
        held.sort_by_key(|held| held.fd);
        row.sockets = Some(held);
    }
    Ok(())
}

/// Kernels of 2.6.10 to 4.16.
#[cfg(not(any(
    kernel_has = "inet_hashinfo.lhash2",
    kernel_has = "tcp_hashinfo.__tcp_ehash"
)))]
pub fn add(_: &Memory, _: &mut [Row], _: &mut Faults) -> anyhow::Result<()> {
    anyhow::bail!("this kernel's tables of sockets are not known: they are of 2.6.10 to 4.16")
}

/// Adds a line for each.
pub fn describe(sockets: &[HeldSocket], out: &mut String) {
    for socket in sockets {
        // Writing to a string doesn't fail.
        let _ = writeln!(
            out,
            "    {:>5}  {:<6} {:<10} {:>6} {:>6}  {}  {}  ino {}  sock {:x}",
            socket.fd,
            socket.netid,
            socket.state,
            socket.rx_queue,
            socket.tx_queue,
            socket.local,
            socket.remote,
            socket.inode,
            socket.address
        );
    }
}

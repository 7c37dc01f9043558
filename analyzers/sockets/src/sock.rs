//! What sockets of all families have (`struct sock`), and who reads them.

use std::sync::Arc;

use kstruct::{Fault, Memory, walk};
use linux::Faults;
use linux::time::Clock;
use serde::{Serialize, Serializer};

use crate::owner::{Holder, Owners};
use crate::space::Spaces;

#[cfg(kernel_has = "inet_hashinfo.lhash2")]
use {kernel::sock, kstruct::View as _, std::collections::HashMap};

/// What is read once and needed for each socket.
pub struct Reader<'m> {
    /// The dump.
    pub k: &'m Memory,
    /// All network namespaces.
    pub spaces: Spaces<'m>,
    /// All open files that are sockets.
    pub owners: Owners,
    /// `jiffies`
    pub now: u64,
    /// Jiffies in a second.
    pub hz: u64,
    /// Whether `struct tcp_info` is read of TCP sockets: most of what there is to read of one.
    pub wants_info: bool,
}

impl<'m> Reader<'m> {
    /// Reads namespaces, files and the clock.
    ///
    /// # Errors
    ///
    /// The dump doesn't have the kernel's clock or its rate.
    pub fn new(k: &'m Memory, faults: &mut Faults) -> anyhow::Result<Self> {
        let clock = Clock::of(k, faults)
            .map_err(|fault| anyhow::anyhow!("jiffies can't be read: {fault}"))?;
        let Some(hz) = clock.hz.filter(|hz| *hz != 0) else {
            anyhow::bail!("the rate of the kernel's clock (HZ) is not known");
        };
        Ok(Reader {
            k,
            spaces: Spaces::read(k, faults),
            owners: Owners::read(k, faults),
            now: clock.now,
            hz,
            wants_info: true,
        })
    }

    /// Jiffies from the dump to `then`, a value of `jiffies`; negative if it is past.
    pub fn until(&self, then: u64) -> i64 {
        let unused = 64 - u32::from(kernel::KERNEL.pointer_size) * 8;
        (then.wrapping_sub(self.now) << unused).cast_signed() >> unused
    }

    /// `jiffies_to_msecs` (kernel/time/time.c).
    pub fn milliseconds(&self, jiffies: u64) -> u64 {
        jiffies.saturating_mul(1000).div_ceil(self.hz)
    }

    /// `jiffies_to_usecs`.
    pub fn microseconds(&self, jiffies: u64) -> u64 {
        jiffies.saturating_mul(1_000_000) / self.hz
    }

    /// Applies a function to each address, on all cores, and returns what it gave in their order. `what` names in a fault what
    /// could not be read.
    pub fn read_all<T: Send>(
        &self,
        addresses: &[u64],
        what: &str,
        faults: &mut Faults,
        read: impl Fn(&mut Work<'_, 'm>, u64) -> Result<T, Fault> + Send + Sync,
    ) -> Vec<T> {
        /// Sockets that a thread reads before it takes others.
        const PIECE: usize = 256;
        let pieces = walk::par_index(addresses.len().div_ceil(PIECE), |index| {
            let start = index * PIECE;
            let piece = &addresses[start..addresses.len().min(start + PIECE)];
            let mut work = Work {
                reader: self,
                #[cfg(kernel_has = "inet_hashinfo.lhash2")]
                cgroups: HashMap::new(),
                faults: Vec::new(),
            };
            let mut found = Vec::with_capacity(piece.len());
            for address in piece {
                match read(&mut work, *address) {
                    Ok(socket) => found.push(socket),
                    Err(fault) => work.faults.push((*address, fault)),
                }
            }
            (found, work.faults)
        });
        let mut all = Vec::with_capacity(addresses.len());
        for (found, errors) in pieces {
            all.extend(found);
            for (address, fault) in errors {
                faults.add(format_args!("{what} {address:#x}"), fault);
            }
        }
        all
    }
}

/// What a thread that reads sockets has.
pub struct Work<'a, 'm> {
    /// What is the same for all.
    pub reader: &'a Reader<'m>,
    /// Names by address.
    #[cfg(kernel_has = "inet_hashinfo.lhash2")]
    cgroups: HashMap<u64, Option<Arc<str>>>,
    /// What could not be read of sockets of which the rest could: the socket and the fault.
    pub faults: Vec<(u64, Fault)>,
}

/// What sockets of all families have.
#[derive(Serialize)]
pub struct Base {
    /// The `struct sock`.
    #[serde(serialize_with = "linux::app::hex")]
    pub address: u64,
    /// The `struct socket`, by which files lead to it; 0 for one that has none.
    #[serde(skip)]
    pub socket: u64,
    /// The inode number of its network namespace.
    pub netns: Option<u64>,
    /// The family's name, as in `AF_INET`.
    pub family: &'static str,
    /// `stream`, `dgram`, ...
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// `sk_protocol`: `IPPROTO_TCP`, `NETLINK_ROUTE`.
    pub protocol: u32,
    /// The state as ss shows it.
    pub state: &'static str,
    /// Of its file; 0 for one that has none.
    pub inode: u64,
    /// Who made it; root for one that has no file, as in /proc.
    pub uid: u32,
    /// References to the `struct sock`.
    pub refcount: i32,
    /// `sk` of ss: a number given to a socket when somebody asked for it first, 0 before.
    pub cookie: u64,
    /// `SO_MARK`
    pub mark: u32,
    /// `SO_PRIORITY`
    pub priority: u32,
    /// The interface that it is bound to; 0 for none.
    pub ifindex: i32,
    /// Its name.
    pub device: Option<Box<str>>,
    /// 1: nothing is received any more, 2: nothing is sent.
    pub shutdown: u8,
    /// `sk_err`: an errno that the next call gives.
    pub error: i32,
    /// What ss has as skmem; `null` for what is no full socket.
    pub memory: Option<Skmem>,
    /// The cgroup (version 2) that it was made in.
    #[serde(serialize_with = "text")]
    pub cgroup: Option<Arc<str>>,
    /// The processes that have it open.
    pub holders: Vec<Holder>,
}

fn text<S: Serializer>(text: &Option<Arc<str>>, serializer: S) -> Result<S::Ok, S::Error> {
    text.as_deref().serialize(serializer)
}

/// `sk_get_meminfo` (net/core/sock.c), in bytes: what ss shows as `skmem:(r,rb,t,tb,f,w,o,bl,d)`.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Skmem {
    /// `r`: memory of what was received and not read yet (`sk_rmem_alloc`).
    pub rmem_alloc: u32,
    /// `rb`: how much of that there may be.
    pub rcvbuf: u32,
    /// `t`: memory of what is being sent (`sk_wmem_alloc`, without the socket itself).
    pub wmem_alloc: u32,
    /// `tb`: how much of that there may be.
    pub sndbuf: u32,
    /// `f`: memory accounted for and not used.
    pub fwd_alloc: u32,
    /// `w`: memory of what is queued for sending.
    pub wmem_queued: u32,
    /// `o`: memory of options and filters.
    pub optmem: u32,
    /// `bl`: what arrived while a process had the socket locked.
    pub backlog: u32,
    /// `d`: packets that were dropped.
    pub drops: u32,
}

#[cfg(kernel_has = "inet_hashinfo.lhash2")]
impl Skmem {
    /// Of a socket.
    pub fn of(sk: sock<'_>) -> Self {
        Skmem {
            rmem_alloc: sk.sk_backlog().rmem_alloc().value().cast_unsigned(),
            rcvbuf: sk.sk_rcvbuf().cast_unsigned(),
            // SK_WMEM_ALLOC_BIAS is in it as long as the socket is.
            wmem_alloc: sk.sk_wmem_alloc().value().wrapping_sub(1).cast_unsigned(),
            sndbuf: sk.sk_sndbuf().cast_unsigned(),
            fwd_alloc: sk.sk_forward_alloc().cast_unsigned(),
            wmem_queued: sk.sk_wmem_queued().cast_unsigned(),
            optmem: sk.sk_omem_alloc().value().cast_unsigned(),
            backlog: sk.sk_backlog().len().cast_unsigned(),
            drops: sk.sk_drops().value().cast_unsigned(),
        }
    }
}

impl<'m> Work<'_, 'm> {
    /// The value, or `None` and a note.
    pub fn check<T>(&mut self, socket: u64, value: Result<T, Fault>) -> Option<T> {
        value
            .map_err(|fault| self.faults.push((socket, fault)))
            .ok()
    }

    /// The name of an interface.
    pub fn device(&self, net: u64, ifindex: i32) -> Option<Box<str>> {
        if ifindex == 0 {
            return None;
        }
        let space = self.reader.spaces.at(net)?;
        space.device(ifindex).map(Box::from)
    }
}

#[cfg(kernel_has = "inet_hashinfo.lhash2")]
impl<'m> Work<'_, 'm> {
    /// The inode number of a network namespace.
    pub fn netns(&mut self, socket: u64, net: kstruct::Ptr<'m, kernel::net<'m>>) -> Option<u64> {
        if let Some(space) = self.reader.spaces.at(net.addr()) {
            return Some(space.inode);
        }
        // It is being taken down.
        let net = self.check(socket, net.deref())?;
        Some(net.ns().inum().into())
    }

    /// What all full sockets have.
    pub fn base(&mut self, sk: sock<'m>, state: &'static str) -> Base {
        let common = sk.__sk_common();
        let address = sk.addr();
        let net = common.skc_net().net();
        let ifindex = common.skc_bound_dev_if();
        let mut base = Base {
            address,
            socket: sk.sk_socket().addr(),
            netns: self.netns(address, net),
            family: family_name(common.skc_family()),
            kind: type_name(sk.sk_type().into()),
            protocol: sk.sk_protocol().into(),
            state,
            inode: 0,
            uid: 0,
            refcount: common.skc_refcnt().value(),
            cookie: common.skc_cookie().value().cast_unsigned(),
            mark: sk.sk_mark(),
            priority: sk.sk_priority(),
            ifindex,
            device: self.device(net.addr(), ifindex),
            shutdown: sk.sk_shutdown() as u8,
            error: sk.sk_err(),
            memory: Some(Skmem::of(sk)),
            cgroup: self.cgroup(sk),
            holders: Vec::new(),
        };
        let file = self.check(address, file_of(sk));
        if let Some(Some(file)) = file {
            (base.inode, base.uid) = (file.inode, file.uid);
            base.holders = self.reader.owners.of(base.socket).collect();
        }
        base
    }

    #[cfg(kernel_has = "sock_cgroup_data.cgroup")]
    fn cgroup(&mut self, sk: sock<'m>) -> Option<Arc<str>> {
        let pointer = sk.sk_cgrp_data().cgroup();
        if pointer.is_null() {
            return None;
        }
        if let Some(known) = self.cgroups.get(&pointer.addr()) {
            return known.clone();
        }
        let path = cgroup_path(pointer);
        let path = self.check(sk.addr(), path).map(Arc::from);
        self.cgroups.insert(pointer.addr(), path.clone());
        path
    }

    /// Before 5.15 a word that means several things.
    #[cfg(not(kernel_has = "sock_cgroup_data.cgroup"))]
    fn cgroup(&mut self, _: sock<'m>) -> Option<Arc<str>> {
        let _ = &self.cgroups;
        None
    }
}

/// The path of a cgroup from the root of its hierarchy.
#[cfg(kernel_has = "sock_cgroup_data.cgroup")]
fn cgroup_path(cgroup: kstruct::Ptr<'_, kernel::cgroup<'_>>) -> Result<String, Fault> {
    use std::fmt::Write as _;

    let mut names = Vec::new();
    #[cfg(kernel_has = "kernfs_node.parent")]
    let nodes = walk::chain(Ok(cgroup.deref()?.kn()), kernel::kernfs_node::parent);
    #[cfg(not(kernel_has = "kernfs_node.parent"))]
    let nodes = walk::chain(Ok(cgroup.deref()?.kn()), kernel::kernfs_node::__parent);
    for node in nodes {
        let name = node?.name();
        if !name.is_null() {
            names.push(name.read()?);
        }
    }
    let mut path = String::new();
    // The root's name is empty.
    for name in names.iter().rev().filter(|name| !name.is_empty()) {
        let _ = write!(path, "/{name}");
    }
    if path.is_empty() {
        path.push('/');
    }
    Ok(path)
}

/// What the file of a socket says.
pub struct SocketFile {
    /// Its number (`sock_i_ino`).
    pub inode: u64,
    /// Whose it is (`sock_i_uid`).
    pub uid: u32,
}

#[cfg(not(kernel_has = "inet_hashinfo.lhash2"))]
pub use crate::old::sock::file_of;

/// The file of a socket; `None` for one that no process can have: the kernel's own, closed ones, and those that wait to be accepted.
#[cfg(kernel_has = "inet_hashinfo.lhash2")]
pub fn file_of(sk: sock<'_>) -> Result<Option<SocketFile>, Fault> {
    let Some(socket) = sk.sk_socket().deref_or_null()? else {
        return Ok(None);
    };
    let inode = socket
        .container_of(kernel::socket_alloc::socket)?
        .vfs_inode();
    Ok(Some(SocketFile {
        inode: inode.i_ino(),
        uid: inode.i_uid().val(),
    }))
}

/// Names of address families (include/linux/socket.h).
const FAMILIES: [&str; 46] = [
    "unspec",
    "unix",
    "inet",
    "ax25",
    "ipx",
    "appletalk",
    "netrom",
    "bridge",
    "atmpvc",
    "x25",
    "inet6",
    "rose",
    "decnet",
    "netbeui",
    "security",
    "key",
    "netlink",
    "packet",
    "ash",
    "econet",
    "atmsvc",
    "rds",
    "sna",
    "irda",
    "pppox",
    "wanpipe",
    "llc",
    "ib",
    "mpls",
    "can",
    "tipc",
    "bluetooth",
    "iucv",
    "rxrpc",
    "isdn",
    "phonet",
    "ieee802154",
    "caif",
    "alg",
    "nfc",
    "vsock",
    "kcm",
    "qipcrtr",
    "smc",
    "xdp",
    "mctp",
];

/// `AF_INET6`
pub const INET6: u16 = 10;

/// A family's name in lower case, without `AF_`.
pub fn family_name(family: u16) -> &'static str {
    FAMILIES.get(usize::from(family)).copied().unwrap_or("?")
}

/// `enum sock_type` (include/linux/net.h).
pub fn type_name(kind: u32) -> &'static str {
    match kind {
        1 => "stream",
        2 => "dgram",
        3 => "raw",
        4 => "rdm",
        5 => "seqpacket",
        6 => "dccp",
        10 => "packet",
        _ => "?",
    }
}

/// `TCP_ESTABLISHED` and others (include/net/tcp_states.h), which all families use, as ss shows them.
const STATES: [&str; 13] = [
    "UNKNOWN",
    "ESTAB",
    "SYN-SENT",
    "SYN-RECV",
    "FIN-WAIT-1",
    "FIN-WAIT-2",
    "TIME-WAIT",
    "UNCONN",
    "CLOSE-WAIT",
    "LAST-ACK",
    "LISTEN",
    "CLOSING",
    "SYN-RECV",
];

/// `TCP_ESTABLISHED`
pub const ESTABLISHED: u8 = 1;
/// `TCP_TIME_WAIT`
pub const TIME_WAIT: u8 = 6;
/// `TCP_CLOSE`
pub const CLOSE: u8 = 7;
/// `TCP_LISTEN`
pub const LISTEN: u8 = 10;
/// `TCP_NEW_SYN_RECV`, which to user space is `TCP_SYN_RECV`.
pub const NEW_SYN_RECV: u8 = 12;

/// A state's name.
pub fn state_name(state: u8) -> &'static str {
    STATES.get(usize::from(state)).copied().unwrap_or("UNKNOWN")
}

//! What sockets of all families have (`struct sock`), and who reads them.

use std::sync::{Arc, Mutex, PoisonError};

use kstruct::{Fault, Memory, offset_of};
use linux::Faults;
use linux::time::Clock;
use rayon::iter::{
    IndexedParallelIterator as _, IntoParallelRefIterator as _, ParallelIterator as _,
};
use serde::{Serialize, Serializer};

use crate::owner::{Holder, Owners};
use crate::space::Spaces;

use kernel::sock;
#[cfg(kernel_has = "inet_hashinfo.lhash2")]
use {kstruct::View as _, kstruct::walk, std::collections::HashMap};

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
    /// What is read of each socket.
    pub wants: Wants,
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
            wants: Wants::default(),
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
    /// could not be read. What all sockets have is fetched from memory before it comes to each: waiting for it would take longer than the rest.
    pub fn read_all<T: Send>(
        &self,
        addresses: &[u64],
        what: &str,
        faults: &mut Faults,
        read: impl Fn(&mut Work<'_, 'm>, u64) -> Result<T, Fault> + Send + Sync,
    ) -> Vec<T> {
        self.read_places(addresses, &places(), what, faults, |work, address| {
            read(work, address).map(Some)
        })
    }

    /// Fetches from memory what will be read of the `struct socket` of a socket, and who holds that. By now the socket itself is at hand.
    fn prefetch_owner(&self, address: u64) {
        let place = address.wrapping_add(offset_of!(sock, sk_socket) as u64);
        if let Some(socket) = self.k.word_at_hand(place) {
            let own = socket.wrapping_add(offset_of!(kernel::socket, sk) as u64);
            self.k.prefetch(own, kernel::KERNEL.pointer_size.into());
            self.owners.prefetch(socket);
        }
    }

    /// The same where what is fetched of each socket is said, the lines of memory at these offsets, and where not all that is read is kept.
    pub fn read_places<T: Send>(
        &self,
        addresses: &[u64],
        places: &[usize],
        what: &str,
        faults: &mut Faults,
        read: impl Fn(&mut Work<'_, 'm>, u64) -> Result<Option<T>, Fault> + Send + Sync,
    ) -> Vec<T> {
        /// Sockets that a thread reads at least before others may be taken from it.
        const LEAST: usize = 64;
        /// How many sockets before it is read a socket is fetched from memory.
        const AHEAD: usize = 4;
        /// Sockets that are read before what isn't one is left out.
        const MOST: usize = 1 << 16;
        let length = places.iter().max().map_or(0, |last| last + 1);
        let noted = Mutex::new(Vec::new());
        let begin = || Work {
            reader: self,
            #[cfg(kernel_has = "inet_hashinfo.lhash2")]
            cgroups: HashMap::new(),
            faults: Vec::new(),
        };
        // Each is written where it stays: to gather them from several places takes as much memory again. Not more at a time, as lists of a
        // damaged dump may have a million addresses of nothing.
        let read_some = |addresses: &[u64]| -> Vec<Result<T, LeftOut>> {
            addresses
                .par_iter()
                .enumerate()
                .with_min_len(LEAST)
                .map_init(begin, |work, (index, address)| {
                    if let Some(later) = addresses.get(index + AHEAD) {
                        self.k.prefetch_at(*later, length, places);
                    }
                    if let Some(soon) = addresses.get(index + AHEAD / 2) {
                        self.prefetch_owner(*soon);
                    }
                    let socket = read(work, *address).unwrap_or_else(|fault| {
                        work.faults.push((*address, "", fault));
                        None
                    });
                    if !work.faults.is_empty() {
                        let errors = work.faults.drain(..).map(|fault| (index, fault));
                        // Nobody panics with it locked.
                        noted
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .extend(errors);
                    }
                    socket.ok_or(LeftOut)
                })
                .collect()
        };
        let mut found = Vec::new();
        for some in addresses.chunks(MOST) {
            // In the same memory, which `flatten` would not do.
            let read: Vec<T> = read_some(some).into_iter().filter_map(Result::ok).collect();
            if found.is_empty() {
                found = read;
            } else {
                found.extend(read);
            }
            let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
            // Stable: of one socket in the order in which they were found.
            noted.sort_by_key(|(index, _)| *index);
            for (_, (address, member, fault)) in noted.drain(..) {
                let blank = if member.is_empty() { "" } else { " of " };
                faults.add(format_args!("{member}{blank}{what} {address:#x}"), fault);
            }
        }
        found
    }
}

/// What was read is not kept: it is no socket, or one that isn't wanted.
struct LeftOut;

/// Bytes that a CPU's caches take from memory at once.
pub(crate) const LINE: usize = 64;

/// Where in a socket the lines of memory are that all sockets have.
pub(crate) fn places() -> Vec<usize> {
    const SIZE: usize = <sock<'_> as kstruct::View<'_>>::SIZE;
    (0..SIZE).step_by(LINE).collect()
}

/// What is read of a socket besides its state, ends, queues, timers and holders. Each part lies in memory of its own, and waiting for
/// that is what reading 20,000 sockets takes.
#[derive(Clone, Copy)]
pub struct Wants {
    /// `struct tcp_info` and what the congestion control tells of TCP sockets.
    pub info: bool,
    /// What ss has as skmem.
    pub memory: bool,
    /// Inode and user, which its file has; cgroup, cookie, mark, priority, error, and what is shut down.
    pub origin: bool,
}

impl Default for Wants {
    /// All of it.
    fn default() -> Self {
        Wants {
            info: true,
            memory: true,
            origin: true,
        }
    }
}

/// What a thread that reads sockets has.
pub struct Work<'a, 'm> {
    /// What is the same for all.
    pub reader: &'a Reader<'m>,
    /// Names by address.
    #[cfg(kernel_has = "inet_hashinfo.lhash2")]
    cgroups: HashMap<u64, Option<Arc<str>>>,
    /// What could not be read of sockets of which the rest could: the socket, its member, and the fault.
    pub faults: Vec<(u64, &'static str, Fault)>,
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
    /// Its name; `null` if it isn't there any more.
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
    /// The value, or `None` and a note that names the socket's member that could not be followed.
    pub fn check<T>(
        &mut self,
        socket: u64,
        member: &'static str,
        value: Result<T, Fault>,
    ) -> Option<T> {
        value
            .map_err(|fault| self.faults.push((socket, member, fault)))
            .ok()
    }

    /// The name of the interface of a socket; `None` if there is none with this number, as one that was removed.
    pub fn device(&mut self, socket: u64, net: u64, ifindex: i32) -> Option<Box<str>> {
        if ifindex == 0 {
            return None;
        }
        let name = self.reader.spaces.at(net)?.device(ifindex);
        self.check(socket, "list of interfaces", name)?
            .map(Box::from)
    }
}

impl<'m> Work<'_, 'm> {
    /// What the file of a socket says. If that isn't wanted, it is looked at all the same where no process's file has led to the socket: the
    /// pointer may be damaged.
    pub(crate) fn file(&mut self, base: &mut Base, sk: sock<'m>) {
        if !self.reader.wants.origin && !base.holders.is_empty() {
            return;
        }
        if let Some(Some(file)) = self.check(base.address, "sk_socket", file_of(sk)) {
            (base.inode, base.uid) = (file.inode, file.uid);
        }
    }
}

#[cfg(kernel_has = "inet_hashinfo.lhash2")]
impl<'m> Work<'_, 'm> {
    /// The inode number of a network namespace.
    pub fn netns(&mut self, socket: u64, net: kstruct::Ptr<'m, kernel::net<'m>>) -> Option<u64> {
        if let Some(space) = self.reader.spaces.at(net.addr()) {
            return Some(space.inode);
        }
        // It is being taken down, or is none.
        let net = self.check(socket, "skc_net", net.deref().and_then(is_namespace))?;
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
            cookie: 0,
            mark: 0,
            priority: 0,
            ifindex,
            device: self.device(address, net.addr(), ifindex),
            shutdown: 0,
            error: 0,
            memory: self.reader.wants.memory.then(|| Skmem::of(sk)),
            cgroup: None,
            holders: self.reader.owners.of(sk.sk_socket().addr()).collect(),
        };
        if self.reader.wants.origin {
            base.cookie = common.skc_cookie().value().cast_unsigned();
            base.mark = sk.sk_mark();
            base.priority = sk.sk_priority();
            base.shutdown = sk.sk_shutdown() as u8;
            base.error = sk.sk_err();
            base.cgroup = self.cgroup(sk);
        }
        self.file(&mut base, sk);
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
        let path = self.check(sk.addr(), "sk_cgrp_data", path).map(Arc::from);
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

/// That a network namespace that isn't on the list of them was one: it leads to what is done with those (`setup_net`, `preinit_net`).
#[cfg(kernel_has = "inet_hashinfo.lhash2")]
fn is_namespace(net: kernel::net<'_>) -> Result<kernel::net<'_>, Fault> {
    #[cfg(all(kernel_has = "sym:netns_operations", kernel_has = "ns_common.ops"))]
    if net.ns().ops().addr() != net.memory().address_of(kernel::sym::netns_operations) {
        return Err(Fault {
            address: net.addr(),
            kind: kstruct::FaultKind::Inconsistent,
        });
    }
    Ok(net)
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

/// That all namespaces count as many sockets of these protocols as were found (`sock_prot_inuse_add`). Each CPU may be about to add or to take away
/// one.
#[cfg(kernel_has = "prot_inuse.all")]
pub(crate) fn counted(
    k: &Memory,
    what: &str,
    protocols: &[kstruct::Sym<kernel::proto<'static>>],
    found: usize,
    faults: &mut Faults,
) {
    // One that runs has others by now.
    if k.dump().is_live() {
        return;
    }
    let read = || {
        let protocols: Vec<kernel::proto<'_>> = protocols
            .iter()
            .map(|protocol| k.get(*protocol))
            .collect::<Result<_, Fault>>()?;
        let counted = linux::net::sockets_in_use(k, &protocols)?;
        let under_way = linux::cpu::online(k)?.len() as u64;
        let found = i64::try_from(found).unwrap_or(i64::MAX);
        Ok(counted.abs_diff(found) <= under_way)
    };
    if let Some(holds) = faults.check(format_args!("counts of {what}"), read()) {
        let first = protocols.first().map_or(0, |first| k.address_of(*first));
        faults.require(
            holds,
            format_args!("{what}, of which it counts others"),
            first,
        );
    }
}

//! Unix sockets (net/unix/af_unix.c, net/unix/diag.c).

use std::fmt::Write as _;

use kernel::{hlist_head, sk_buff, sock, sock_common, unix_address, unix_sock};
use kstruct::{Fault, Ptr, View as _, walk};
use linux::Faults;
use serde::Serialize;

use crate::sock::{Base, ESTABLISHED, LISTEN, Reader, Work, file_of, state_name};

/// A unix socket.
#[derive(Serialize)]
pub struct Unix {
    /// What all sockets have.
    #[serde(flatten)]
    pub base: Base,
    /// Its name: a path, or behind `@` an abstract one, whose NULs are `@` too; `null` for none.
    pub name: Option<String>,
    /// The inode of the socket's file in the file system, and the device that this is on; where the name is a path.
    pub vfs_inode: Option<u64>,
    /// `s_dev` of the file system.
    pub vfs_device: Option<u32>,
    /// The `struct sock` at the other end.
    #[serde(serialize_with = "crate::tcp::hex_or_null")]
    pub peer: Option<u64>,
    /// The other end's inode number; 0 where it has none.
    pub peer_inode: u64,
    /// Bytes that were not read yet, of a datagram socket those of the next datagram; of a listener, connections that wait to be accepted.
    pub rx_queue: u32,
    /// Bytes of memory that were sent and not read by the peer; of a listener, how many connections may wait.
    pub tx_queue: u32,
    /// Of a listener: the inode numbers of those that connected and wait.
    pub waiting: Vec<u64>,
    /// The state as /proc/net/unix has it (`SS_UNCONNECTED` and others, include/uapi/linux/net.h).
    pub socket_state: u8,
}

/// The unix sockets of all namespaces.
pub fn sockets(reader: &Reader<'_>, faults: &mut Faults) -> Vec<Unix> {
    let before = faults.count();
    let addresses = addresses(reader, faults);
    #[cfg(all(
        kernel_has = "prot_inuse.all",
        kernel_has = "sym:unix_dgram_proto",
        kernel_has = "sym:unix_stream_proto"
    ))]
    if faults.count() == before {
        let protocols = [
            kernel::sym::unix_dgram_proto,
            kernel::sym::unix_stream_proto,
        ];
        crate::sock::counted(
            reader.k,
            "unix sockets",
            &protocols,
            addresses.len(),
            faults,
        );
    }
    let _ = before;
    reader.read_all(&addresses, "unix socket", faults, read)
}

/// Buckets of a namespace's table: `UNIX_HASH_SIZE` of 6.0 and later (include/net/af_unix.h).
#[cfg(kernel_has = "netns_unix.table")]
const BUCKETS: usize = 512;

#[cfg(kernel_has = "netns_unix.table")]
fn addresses(reader: &Reader<'_>, faults: &mut Faults) -> Vec<u64> {
    let mut all = Vec::new();
    for space in reader.spaces.iter() {
        let what = format_args!("unix sockets of network namespace {}", space.inode);
        let buckets = space.net.unx().table().buckets().array(BUCKETS);
        let Some(buckets) = faults.check(what, buckets) else {
            continue;
        };
        all.extend(gather(buckets, faults));
    }
    all
}

#[cfg(all(
    not(kernel_has = "netns_unix.table"),
    kernel_has = "sym:unix_socket_table"
))]
fn addresses(reader: &Reader<'_>, faults: &mut Faults) -> Vec<u64> {
    let table = reader.k.get(kernel::sym::unix_socket_table);
    match faults.check("unix_socket_table", table) {
        Some(table) => gather(table, faults),
        None => Vec::new(),
    }
}

#[cfg(not(any(kernel_has = "netns_unix.table", kernel_has = "sym:unix_socket_table")))]
fn addresses(_: &Reader<'_>, _: &mut Faults) -> Vec<u64> {
    Vec::new()
}

fn gather<'m, T>(table: kstruct::Array<'m, T>, faults: &mut Faults) -> Vec<u64>
where
    T: kstruct::view::Target<'m, Value = hlist_head<'m>>,
{
    let mut found = Vec::new();
    for bucket in walk::par_walk(table, |bucket| {
        let sockets = bucket.entries(sock_common::skc_node);
        sockets
            .map(|socket| socket.map(sock_common::addr))
            .collect::<Vec<_>>()
    }) {
        for socket in bucket {
            found.extend(faults.check("table of unix sockets", socket));
        }
    }
    found
}

fn read(work: &mut Work<'_, '_>, address: u64) -> Result<Unix, Fault> {
    let socket = unix_sock::at(work.reader.k, address)?;
    let sk = socket.sk();
    let state = sk.__sk_common().skc_state();
    let is_listener = state == LISTEN;
    let base = work.base(sk, state_name(state));
    let peer = work
        .check(address, "peer", socket.peer().deref_or_null())
        .flatten();
    let peer_file = match peer {
        Some(peer) => work
            .check(address, "peer's sk_socket", file_of(peer))
            .flatten(),
        None => None,
    };
    let mut waiting = Vec::new();
    let rx_queue = if is_listener {
        for skb in queue(sk) {
            let connected = skb.and_then(|skb| waiting_inode(skb));
            waiting.extend(work.check(address, "sk_receive_queue", connected));
        }
        sk.sk_receive_queue().qlen()
    } else {
        let length = unread(sk);
        work.check(address, "sk_receive_queue", length).unwrap_or(0)
    };
    let tx_queue = if is_listener {
        u32::from(sk.sk_max_ack_backlog())
    } else {
        base.memory.map_or(0, |memory| memory.wmem_alloc)
    };
    let name = work.check(address, "addr", name(socket)).flatten();
    let file = work.check(address, "path", vfs(socket)).flatten();
    // `unix_seq_show`: SS_CONNECTED 3 or SS_UNCONNECTED 1 of those that have a file, else SS_CONNECTING 2 or SS_DISCONNECTING 4.
    let socket_state = match (sk.sk_socket().is_null(), state == ESTABLISHED) {
        (false, true) => 3,
        (false, false) => 1,
        (true, true) => 2,
        (true, false) => 4,
    };
    Ok(Unix {
        base,
        name,
        vfs_inode: file.map(|(inode, _)| inode),
        vfs_device: file.map(|(_, device)| device),
        peer: peer.map(sock::addr),
        peer_inode: peer_file.map_or(0, |file| file.inode),
        rx_queue,
        tx_queue,
        waiting,
        socket_state,
    })
}

/// `sk_receive_queue`: a ring, in which the head is where it ends.
fn queue<'m>(sk: sock<'m>) -> impl Iterator<Item = Result<sk_buff<'m>, Fault>> {
    let head = sk.sk_receive_queue();
    let (memory, end) = (head.memory(), head.addr());
    let or_end = move |next: u64| Ptr::new(memory, if next == end { 0 } else { next });
    walk::chain(Ok(or_end(head.next().addr())), move |skb: sk_buff<'m>| {
        or_end(skb.next().addr())
    })
}

/// `unix_inq_len`: of a stream what is left of all buffers, otherwise the first one's length.
fn unread(sk: sock<'_>) -> Result<u32, Fault> {
    /// `SOCK_STREAM`, `SOCK_SEQPACKET`
    const OF_CONNECTIONS: [u32; 2] = [1, 5];
    if !OF_CONNECTIONS.contains(&u32::from(sk.sk_type())) {
        return queue(sk)
            .next()
            .transpose()
            .map(|skb| skb.map_or(0, |skb| skb.len()));
    }
    let mut length = 0_u32;
    for skb in queue(sk) {
        let skb = skb?;
        #[cfg(kernel_has = "unix_skb_parms.consumed")]
        {
            let own: Ptr<'_, kernel::unix_skb_parms<'_>> = Ptr::new(
                skb.memory(),
                skb.addr()
                    .wrapping_add(kstruct::offset_of!(sk_buff, cb) as u64),
            );
            length = length.wrapping_add(skb.len().wrapping_sub(own.deref()?.consumed()));
        }
        #[cfg(not(kernel_has = "unix_skb_parms.consumed"))]
        {
            length = length.wrapping_add(skb.len());
        }
    }
    Ok(length)
}

/// The inode of who connected, by the buffer that stands for it in a listener's queue (`sk_diag_dump_icons`).
fn waiting_inode(skb: sk_buff<'_>) -> Result<u64, Fault> {
    let Some(embryo) = skb.sk().deref_or_null()? else {
        return Ok(0);
    };
    let embryo = unix_sock::at(skb.memory(), embryo.addr())?;
    match embryo.peer().deref_or_null()? {
        Some(peer) => Ok(file_of(peer)?.map_or(0, |file| file.inode)),
        None => Ok(0),
    }
}

/// What /proc/net/unix shows as a path.
fn name(socket: unix_sock<'_>) -> Result<Option<String>, Fault> {
    /// `sizeof(struct sockaddr_un)`, of which the family takes two.
    const MOST: u64 = 110;
    const FAMILY: u64 = 2;
    let Some(address) = socket.addr_().deref_or_null()? else {
        return Ok(None);
    };
    let length = u64::try_from(i64::from(address.len()))
        .unwrap_or(0)
        .min(MOST);
    let text = unix_address::phantom(address.memory()).name().addr() + FAMILY;
    let bytes = address.memory().bytes(
        address.addr().wrapping_add(text),
        length.saturating_sub(FAMILY) as usize,
    )?;
    let mut name = String::new();
    // Nobody's NUL counts in a path.
    let bytes = match bytes.split_first() {
        Some((0, rest)) => {
            name.push('@');
            rest
        }
        _ => bytes.strip_suffix(&[0]).unwrap_or(bytes),
    };
    for byte in bytes {
        match byte {
            0 => name.push('@'),
            0x20..=0x7e => name.push(char::from(*byte)),
            other => {
                // Writing to a string doesn't fail.
                let _ = write!(name, "\\x{other:02x}");
            }
        }
    }
    Ok(Some(name))
}

/// The file that the name is: its inode number, and its file system's device (`sk_diag_dump_vfs`).
fn vfs(socket: unix_sock<'_>) -> Result<Option<(u64, u32)>, Fault> {
    #[cfg(kernel_has = "unix_sock.path")]
    let dentry = socket.path().dentry();
    // Before 2.6.39 without the mount beside it.
    #[cfg(not(kernel_has = "unix_sock.path"))]
    let dentry = socket.dentry();
    let Some(dentry) = dentry.deref_or_null()? else {
        return Ok(None);
    };
    let inode = dentry.d_inode().deref()?.i_ino();
    let device = dentry.d_sb().deref()?.s_dev();
    Ok(Some((inode, device)))
}

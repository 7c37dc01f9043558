//! What sockets of all families have.

use kernel::{sock, socket_alloc};
use kstruct::{Fault, View as _};

use crate::sock::{Base, Skmem, SocketFile, Work, family_name, type_name};

impl Skmem {
    /// Of a socket. What arrives while a process has it locked, and what is dropped, isn't counted.
    pub fn of(sk: sock<'_>) -> Self {
        Skmem {
            rmem_alloc: sk.sk_rmem_alloc().counter().cast_unsigned(),
            rcvbuf: sk.sk_rcvbuf().cast_unsigned(),
            wmem_alloc: sk.sk_wmem_alloc().counter().cast_unsigned(),
            sndbuf: sk.sk_sndbuf().cast_unsigned(),
            fwd_alloc: sk.sk_forward_alloc().cast_unsigned(),
            wmem_queued: sk.sk_wmem_queued().cast_unsigned(),
            optmem: sk.sk_omem_alloc().counter().cast_unsigned(),
            backlog: 0,
            drops: 0,
        }
    }
}

impl<'m> Work<'_, 'm> {
    /// What all full sockets have.
    pub fn base(&mut self, sk: sock<'m>, state: &'static str) -> Base {
        let common = sk.__sk_common();
        let address = sk.addr();
        let ifindex = common.skc_bound_dev_if();
        let mut base = Base {
            address,
            socket: sk.sk_socket().addr(),
            netns: None,
            family: family_name(common.skc_family()),
            kind: type_name(sk.sk_type().into()),
            protocol: sk.sk_protocol().into(),
            state,
            inode: 0,
            uid: 0,
            refcount: common.skc_refcnt().counter(),
            // Its address is what it is known by (`tcpdiag_fill`).
            cookie: address,
            mark: 0,
            priority: sk.sk_priority(),
            ifindex,
            device: self.device(address, 0, ifindex),
            shutdown: sk.sk_shutdown(),
            error: sk.sk_err(),
            memory: self.reader.wants.memory.then(|| Skmem::of(sk)),
            cgroup: None,
            holders: self.reader.owners.of(sk.sk_socket().addr()).collect(),
        };
        self.file(&mut base, sk);
        base
    }
}

/// The file of a socket; `None` for one that no process can have.
pub fn file_of(sk: sock<'_>) -> Result<Option<SocketFile>, Fault> {
    let Some(socket) = sk.sk_socket().deref_or_null()? else {
        return Ok(None);
    };
    let inode = socket.container_of(socket_alloc::socket)?.vfs_inode();
    Ok(Some(SocketFile {
        inode: inode.i_ino(),
        uid: inode.i_uid(),
    }))
}

//! Network namespaces, and what modules keep for each of them.

use kernel::net;
use kstruct::{Fault, FaultKind, Memory, Ptr, View as _};
use linux::Faults;

/// A network namespace.
#[derive(Clone, Copy)]
pub struct Namespace<'m> {
    pub net: net<'m>,
    /// The inode number by which users know it.
    pub inode: u64,
}

/// All network namespaces.
pub fn namespaces<'m>(k: &'m Memory, only: Option<u64>, faults: &mut Faults) -> Vec<Namespace<'m>> {
    let head = k.get(kernel::sym::net_namespace_list);
    let Some(head) = faults.check("net_namespace_list", head) else {
        return Vec::new();
    };
    let all = head.entries(net::list).filter_map(|entry| {
        let net = faults.check("list of network namespaces", entry)?;
        let inode = u64::from(net.ns().inum());
        Some(Namespace { net, inode })
    });
    all.filter(|namespace| only.is_none_or(|only| only == namespace.inode))
        .collect()
}

/// What a module registered for each namespace (`net_generic`, include/net/netns/generic.h). `id` is the module's `*_net_id`.
pub fn generic<'m, T>(net: net<'m>, id: u32) -> Result<Option<Ptr<'m, T>>, Fault> {
    let k = net.memory();
    let table = net.gen_().deref()?;
    // The length stands where the first pointers would be.
    let len = table.s().len();
    if id == 0 {
        return Ok(None);
    }
    if id >= len.max(1) && len < 4096 {
        return Err(Fault {
            address: table.addr(),
            kind: FaultKind::OutOfRange,
        });
    }
    let width = u64::from(kernel::KERNEL.pointer_size);
    let place = k.wrap(table.addr().wrapping_add(u64::from(id) * width));
    let address = k.word(place)?;
    Ok((address != 0).then(|| Ptr::new(k, address)))
}

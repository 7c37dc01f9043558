//! Network namespaces, and what modules keep for each of them.

use kstruct::Memory;
use linux::Faults;

#[cfg(any(
    kernel_has = "nft_rule.dlen",
    kernel_has = "nf_conntrack_net",
    kernel_has = "sym:xt_pernet_id"
))]
pub use generic::generic;

/// A network namespace.
#[derive(Clone, Copy)]
pub struct Namespace<'m> {
    #[cfg(kernel_has = "net.gen")]
    pub net: kernel::net<'m>,
    #[cfg(not(kernel_has = "net.gen"))]
    pub k: &'m Memory,
    /// The inode number by which users know it; 0 in kernels that have one only.
    pub inode: u64,
}

/// All network namespaces.
pub fn namespaces<'m>(k: &'m Memory, faults: &mut Faults) -> Vec<Namespace<'m>> {
    linux::net::namespaces(k, faults)
        .into_iter()
        .map(|namespace| Namespace {
            #[cfg(kernel_has = "net.gen")]
            net: namespace.net(),
            #[cfg(not(kernel_has = "net.gen"))]
            k,
            inode: namespace.inode().unwrap_or(0),
        })
        .collect()
}

#[cfg(any(
    kernel_has = "nft_rule.dlen",
    kernel_has = "nf_conntrack_net",
    kernel_has = "sym:xt_pernet_id"
))]
mod generic {
    use kernel::net;
    use kstruct::{Fault, FaultKind, Ptr, View as _};

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
}

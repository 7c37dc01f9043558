//! Directory entries (fs/dcache.c): the trees of file systems, as far as the kernel remembers them.
#![cfg(all(
    kernel_has = "sym:super_blocks",
    any(kernel_has = "dentry.d_children", kernel_has = "dentry.d_subdirs")
))]

use kernel::{dentry, super_block, sym};
use kstruct::walk::Entries;
use kstruct::{Fault, FaultKind, Memory, View as _};

/// The file systems that are mounted, or were (`super_blocks`).
pub fn super_blocks(
    k: &Memory,
) -> Result<impl Iterator<Item = Result<super_block<'_>, Fault>>, Fault> {
    Ok(k.get(sym::super_blocks)?.entries(super_block::s_list))
}

/// What a directory's entries are linked by.
#[cfg(kernel_has = "dentry.d_children")]
type Children<'m> = Entries<'m, dentry<'m>, kernel::hlist_node<'m>>;
#[cfg(not(kernel_has = "dentry.d_children"))]
type Children<'m> = Entries<'m, dentry<'m>, kernel::list_head<'m>>;

/// The entries below one that the kernel remembers. Before 6.8, a cursor that someone has in the directory (`DCACHE_DENTRY_CURSOR`) is
/// among them.
#[inline]
pub fn children(parent: dentry<'_>) -> Children<'_> {
    #[cfg(kernel_has = "dentry.d_children")]
    return parent.d_children().entries(dentry::d_sib);
    #[cfg(not(kernel_has = "dentry.d_children"))]
    return parent.d_subdirs().entries(dentry::d_child);
}

/// One and all below it, each before what is below it. An entry that names another one as its parent is a fault and is not gone into, so
/// that each is met once, whatever is in the dump.
#[inline]
pub fn below(top: dentry<'_>) -> impl Iterator<Item = Result<dentry<'_>, Fault>> {
    let mut first = Some(top);
    // The directories that the walk is in, and what is left of each.
    let mut open: Vec<(u64, Children<'_>)> = Vec::new();
    std::iter::from_fn(move || {
        let entry = match first.take() {
            Some(top) => top,
            None => loop {
                let (parent, rest) = open.last_mut()?;
                match rest.next() {
                    None => {
                        open.pop();
                    }
                    Some(Ok(child)) if child.d_parent().addr() == *parent => break child,
                    Some(Ok(child)) => {
                        return Some(Err(Fault {
                            address: child.addr(),
                            kind: FaultKind::Inconsistent,
                        }));
                    }
                    Some(Err(fault)) => return Some(Err(fault)),
                }
            },
        };
        let below = children(entry);
        if !below.is_at_end() {
            open.push((entry.addr(), below));
        }
        Some(Ok(entry))
    })
}

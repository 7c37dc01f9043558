//! All directory entries of all file systems: their flags.

use std::hint::black_box;

use kernel::dentry;
use kstruct::{Fault, Memory, View as _, offset_of};

use crate::raw::RawDump;
use crate::{BY_HAND, GENERATED, Sum, Way};

pub fn ways<'w>(memory: &'w Memory, raw: &'w RawDump<'w>) -> Result<Vec<Way<'w>>, Fault> {
    let mut roots = Vec::new();
    for block in linux::dentry::super_blocks(memory)? {
        // One that is being taken down has none.
        roots.extend(block?.s_root().deref_or_null()?);
    }
    let addresses: Vec<u64> = roots.iter().map(|root| root.addr()).collect();
    Ok(vec![
        Way {
            name: GENERATED,
            run: Box::new(move || generated(black_box(&roots))),
        },
        Way {
            name: BY_HAND,
            run: Box::new(move || Ok(by_hand(black_box(raw), &addresses))),
        },
    ])
}

#[inline(never)]
fn generated(roots: &[dentry<'_>]) -> Result<Sum, Fault> {
    let mut sum = Sum::default();
    for root in roots {
        for entry in linux::dentry::below(*root) {
            sum.add(entry?.d_flags().into());
        }
    }
    Ok(sum)
}

const FLAGS: u64 = offset_of!(dentry, d_flags) as u64;
/// An hlist since 6.8; before, a list, which ends at its head.
const IS_HLIST: bool = dentry::INFO.find_offset("d_children").is_some();
const CHILDREN: u64 =
    dentry::INFO.offset_of(if IS_HLIST { "d_children" } else { "d_subdirs" }) as u64;
const SIBLING: u64 = dentry::INFO.offset_of(if IS_HLIST { "d_sib" } else { "d_child" }) as u64;

#[inline(never)]
fn by_hand(dump: &RawDump<'_>, roots: &[u64]) -> Sum {
    let mut sum = Sum::default();
    let mut open = Vec::new();
    for root in roots {
        open.push(*root);
        while let Some(entry) = open.pop() {
            sum.add(dump.u32(entry + FLAGS).into());
            let head = entry + CHILDREN;
            let end = if IS_HLIST { 0 } else { head };
            let mut link = dump.u64(head);
            while link != end {
                open.push(link - SIBLING);
                link = dump.u64(link);
            }
        }
    }
    sum
}

//! Areas of vmalloc space (mm/vmalloc.c).
#![cfg(any(kernel_has = "sym:vmap_nodes", kernel_has = "sym:vmap_area_root"))]

use kernel::{sym, vmap_area};
use kstruct::{Fault, Memory};

/// The areas that are in use, as /proc/vmallocinfo lists them.
///
/// 6.9 and later have several trees, each for some stripes of the space.
#[cfg(kernel_has = "sym:vmap_nodes")]
pub fn areas(k: &Memory) -> Result<Vec<Result<vmap_area<'_>, Fault>>, Fault> {
    let count = u64::try_from(k.get(sym::nr_vmap_nodes)?).unwrap_or(0);
    let nodes = k.get(sym::vmap_nodes)?;
    let mut found = Vec::new();
    // `vmap_init_nodes` makes 128 at most.
    for index in 0..count.min(1024) {
        let node = nodes.at(index)?;
        found.extend(node.busy().root().entries(vmap_area::rb_node));
    }
    Ok(found)
}

/// The areas that are in use, as /proc/vmallocinfo lists them.
#[cfg(not(kernel_has = "sym:vmap_nodes"))]
pub fn areas(k: &Memory) -> Result<Vec<Result<vmap_area<'_>, Fault>>, Fault> {
    Ok(k.get(sym::vmap_area_root)?
        .entries(vmap_area::rb_node)
        .collect())
}

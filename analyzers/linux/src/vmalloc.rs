//! Areas of vmalloc space (mm/vmalloc.c).
#![cfg(any(kernel_has = "sym:vmap_nodes", kernel_has = "sym:vmap_area_root"))]

use kernel::{sym, vmap_area};
use kstruct::{Fault, Memory};

/// `vmap_init_nodes` makes 128 at most; a damaged dump may say anything.
#[cfg(kernel_has = "sym:vmap_nodes")]
const MOST_NODES: u64 = 1024;

/// The areas that are in use, as /proc/vmallocinfo lists them.
///
/// 6.9 and later have several trees, each for some stripes of the space.
#[cfg(kernel_has = "sym:vmap_nodes")]
pub fn areas(k: &Memory) -> Result<Vec<Result<vmap_area<'_>, Fault>>, Fault> {
    let count = u64::try_from(k.get(sym::nr_vmap_nodes)?).unwrap_or(0);
    let nodes = k.get(sym::vmap_nodes)?;
    let mut found = Vec::new();
    for index in 0..count.min(MOST_NODES) {
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

/// The areas that were freed and are not given back yet, which /proc/vmallocinfo lists as `unpurged`.
#[cfg(kernel_has = "sym:vmap_nodes")]
pub fn unpurged(k: &Memory) -> Result<Vec<Result<vmap_area<'_>, Fault>>, Fault> {
    let count = u64::try_from(k.get(sym::nr_vmap_nodes)?).unwrap_or(0);
    let nodes = k.get(sym::vmap_nodes)?;
    let mut found = Vec::new();
    for index in 0..count.min(MOST_NODES) {
        found.extend(nodes.at(index)?.lazy().head().entries(vmap_area::list));
    }
    Ok(found)
}

/// The areas that were freed and are not given back yet, which /proc/vmallocinfo lists as `unpurged`.
#[cfg(all(
    not(kernel_has = "sym:vmap_nodes"),
    kernel_has = "sym:purge_vmap_area_list"
))]
pub fn unpurged(k: &Memory) -> Result<Vec<Result<vmap_area<'_>, Fault>>, Fault> {
    Ok(k.get(sym::purge_vmap_area_list)?
        .entries(vmap_area::list)
        .collect())
}

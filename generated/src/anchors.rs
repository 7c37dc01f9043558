//! What the runtime must know of a kernel to find it in a dump.

use kstruct::{Functions, KernelInfo, Words};

use crate::identity;
#[allow(unused_imports, reason = "some kernels have none of the symbols below")]
use crate::sym;

/// The kernel that this program was compiled for.
pub static KERNEL: KernelInfo = KernelInfo {
    release: identity::RELEASE,
    build_id: identity::BUILD_ID,
    banner: identity::BANNER,
    machine: identity::MACHINE,
    pointer_size: identity::POINTER_SIZE,
    big_endian: identity::BIG_ENDIAN,
    banner_address: identity::BANNER_ADDRESS,
    page_table: PAGE_TABLE,
    page_offset_base: PAGE_OFFSET_BASE,
    per_cpu_offset: PER_CPU_OFFSET,
    module_section: crate::loaded::SECTION,
    functions: Functions(identity::FUNCTIONS),
};

#[cfg(kernel_has = "sym:init_top_pgt")]
const PAGE_TABLE: Option<u64> = Some(sym::init_top_pgt.linked_address());
// x86_64 before 4.13.
#[cfg(all(
    not(kernel_has = "sym:init_top_pgt"),
    kernel_has = "sym:init_level4_pgt"
))]
const PAGE_TABLE: Option<u64> = Some(sym::init_level4_pgt.linked_address());
#[cfg(all(
    not(any(kernel_has = "sym:init_top_pgt", kernel_has = "sym:init_level4_pgt")),
    kernel_has = "sym:swapper_pg_dir"
))]
const PAGE_TABLE: Option<u64> = Some(sym::swapper_pg_dir.linked_address());
#[cfg(not(any(
    kernel_has = "sym:init_top_pgt",
    kernel_has = "sym:init_level4_pgt",
    kernel_has = "sym:swapper_pg_dir"
)))]
const PAGE_TABLE: Option<u64> = None;

#[cfg(kernel_has = "sym:page_offset_base")]
const PAGE_OFFSET_BASE: Option<u64> = Some(sym::page_offset_base.linked_address());
#[cfg(not(kernel_has = "sym:page_offset_base"))]
const PAGE_OFFSET_BASE: Option<u64> = None;

#[cfg(kernel_has = "sym:__per_cpu_offset")]
const PER_CPU_OFFSET: Option<Words> = Some(Words {
    address: sym::__per_cpu_offset.linked_address(),
    count: sym::__per_cpu_offset.len() as u32,
});
#[cfg(not(kernel_has = "sym:__per_cpu_offset"))]
const PER_CPU_OFFSET: Option<Words> = None;

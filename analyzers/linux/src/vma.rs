//! A process's mappings.

use kernel::{mm_struct, vm_area_struct};
use kstruct::Fault;

/// The mappings of an address space, by address: what /proc/PID/maps shows, apart from the vsyscall page.
///
/// 6.1 and later keep them in a maple tree.
#[cfg(kernel_has = "mm_struct.mm_mt")]
pub fn vmas<'m>(
    mm: mm_struct<'m>,
) -> impl Iterator<Item = Result<vm_area_struct<'m>, Fault>> + use<'m> {
    use kstruct::View as _;

    let memory = mm.memory();
    mm.mm_mt()
        .entries()
        .map(move |range| vm_area_struct::at(memory, range?.entry))
}

/// The mappings of an address space, by address: what /proc/PID/maps shows, apart from the vsyscall page.
///
/// Before 6.1 they are a list.
#[cfg(all(kernel_has = "mm_struct.mmap", kernel_has = "vm_area_struct.vm_next"))]
pub fn vmas<'m>(
    mm: mm_struct<'m>,
) -> impl Iterator<Item = Result<vm_area_struct<'m>, Fault>> + use<'m> {
    kstruct::walk::chain(Ok(mm.mmap()), |vma: vm_area_struct<'m>| vma.vm_next())
}

/// No kernel of which the bindings are known lacks both.
#[cfg(not(any(
    kernel_has = "mm_struct.mm_mt",
    all(kernel_has = "mm_struct.mmap", kernel_has = "vm_area_struct.vm_next")
)))]
pub fn vmas<'m>(
    _: mm_struct<'m>,
) -> impl Iterator<Item = Result<vm_area_struct<'m>, Fault>> + use<'m> {
    std::iter::empty()
}

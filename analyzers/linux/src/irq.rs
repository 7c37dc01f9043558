//! Interrupts (kernel/irq/irqdesc.c).
#![cfg(any(kernel_has = "sym:sparse_irqs", kernel_has = "sym:irq_desc_tree"))]

use kernel::{irq_desc, sym};
use kstruct::{Fault, Memory, View as _};

/// The interrupts' descriptors by number: a maple tree in 6.5 and later.
#[cfg(kernel_has = "sym:sparse_irqs")]
pub fn descriptors(
    k: &Memory,
) -> Result<impl Iterator<Item = Result<(u64, irq_desc<'_>), Fault>>, Fault> {
    Ok(k.get(sym::sparse_irqs)?.entries().map(move |range| {
        let range = range?;
        Ok((range.first, irq_desc::at(k, range.entry)?))
    }))
}

/// The interrupts' descriptors by number: a radix tree.
#[cfg(not(kernel_has = "sym:sparse_irqs"))]
pub fn descriptors(
    k: &Memory,
) -> Result<impl Iterator<Item = Result<(u64, irq_desc<'_>), Fault>>, Fault> {
    let slots = k.get(sym::irq_desc_tree)?.entries();
    Ok(slots.filter_map(move |slot| {
        let found = slot.and_then(|slot| match slot.entry.pointer() {
            Some(address) => Ok(Some((slot.index, irq_desc::at(k, address)?))),
            None => Ok(None),
        });
        found.transpose()
    }))
}

//! How large a table is, by what the kernel says.

use kstruct::{Fault, FaultKind};

/// The size of a hash table or a ring that lies at `address`. Such are powers of two, as hashes and positions are cut to them by a mask: another
/// number is damaged.
///
/// # Errors
///
/// It is no power of two, or more than there can be.
pub fn power_of_two(address: u64, size: u64, most: u64) -> Result<usize, Fault> {
    let size = Some(size).filter(|size| size.is_power_of_two() && *size <= most);
    size.and_then(|size| usize::try_from(size).ok())
        .ok_or(Fault {
            address,
            kind: FaultKind::Inconsistent,
        })
}

//! Pipes (fs/pipe.c): a ring of buffers, each a part of a page.
#![cfg(all(
    kernel_has = "pipe_inode_info.ring_size",
    kernel_has = "pipe_inode_info.head"
))]

use kernel::{pipe_buffer, pipe_inode_info};
use kstruct::walk::Ring;
use kstruct::{Fault, View as _};

/// The buffers that were written and not yet read, the oldest first. 5.5 and later; before, the ring had other indices.
pub fn buffers(
    pipe: pipe_inode_info<'_>,
) -> Result<impl Iterator<Item = Result<pipe_buffer<'_>, Fault>>, Fault> {
    let ring = Ring::running(
        pipe.memory(),
        pipe.bufs().addr(),
        pipe.ring_size().into(),
        pipe_buffer::SIZE as u64,
        [u32::from(pipe.tail()), u32::from(pipe.head())],
    )?;
    Ok(ring.entries::<pipe_buffer<'_>>())
}

/// How many bytes are in a pipe.
pub fn bytes(pipe: pipe_inode_info<'_>) -> Result<u64, Fault> {
    let mut sum = 0;
    for buffer in buffers(pipe)? {
        sum += u64::from(buffer?.len());
    }
    Ok(sum)
}

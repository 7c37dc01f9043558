//! The kernel's rings (include/linux/kfifo.h, circ_buf.h), told to the runtime.

/// 2.6.36 and later. What `DECLARE_KFIFO` makes is a nameless union with this as its member `kfifo`.
#[cfg(all(kernel_has = "__kfifo.esize", kernel_has = "__kfifo.mask"))]
impl<'m> crate::__kfifo<'m> {
    /// What is in the ring. Of a ring of records of any length (`STRUCT_KFIFO_REC_1`), its bytes with the records' lengths.
    pub fn ring(self) -> Result<kstruct::walk::Ring<'m>, kstruct::Fault> {
        use kstruct::View as _;

        let size = u64::from(self.mask()) + 1;
        let indices = [self.out(), self.in_()];
        let element = self.esize().into();
        kstruct::walk::Ring::running(self.memory(), self.data().addr(), size, element, indices)
    }
}

/// Before: bytes only.
#[cfg(all(kernel_has = "kfifo.buffer", kernel_has = "kfifo.size"))]
impl<'m> crate::kfifo<'m> {
    /// What is in the ring.
    pub fn ring(self) -> Result<kstruct::walk::Ring<'m>, kstruct::Fault> {
        use kstruct::View as _;

        let size = self.size().into();
        let indices = [self.out(), self.in_()];
        kstruct::walk::Ring::running(self.memory(), self.buffer().addr(), size, 1, indices)
    }
}

#[cfg(kernel_has = "circ_buf.head")]
impl<'m> crate::circ_buf<'m> {
    /// What is in the ring, of whose size only its user knows (`UART_XMIT_SIZE`).
    pub fn ring(self, size: u64) -> Result<kstruct::walk::Ring<'m>, kstruct::Fault> {
        use kstruct::View as _;

        // Negative ones are beyond any size.
        let indices = [self.tail(), self.head()].map(|index| i64::from(index).cast_unsigned());
        kstruct::walk::Ring::wrapped(self.memory(), self.buf().addr(), size, indices)
    }
}

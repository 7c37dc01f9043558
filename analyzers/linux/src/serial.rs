//! Serial lines (drivers/tty/serial/serial_core.c).
#![cfg(any(
    kernel_has = "uart_state.xmit",
    kernel_has = "uart_state.port.xmit_fifo.kfifo"
))]

use kernel::uart_state;
use kstruct::Fault;
use kstruct::walk::Ring;

/// What was written to a line and not yet sent. A line that was never opened has no ring: `None`.
///
/// 6.10 and later keep it in a kfifo.
#[cfg(not(kernel_has = "uart_state.xmit"))]
pub fn unsent(state: uart_state<'_>) -> Result<Option<Ring<'_>>, Fault> {
    let fifo = state.port().xmit_fifo().kfifo();
    if fifo.data().is_null() {
        return Ok(None);
    }
    fifo.ring().map(Some)
}

/// What was written to a line and not yet sent. A line that was never opened has no ring: `None`.
#[cfg(kernel_has = "uart_state.xmit")]
pub fn unsent(state: uart_state<'_>) -> Result<Option<Ring<'_>>, Fault> {
    use kstruct::View as _;

    let ring = state.xmit();
    if ring.buf().is_null() {
        return Ok(None);
    }
    // UART_XMIT_SIZE is a page.
    ring.ring(state.memory().page_size()).map(Some)
}

//! The socket's lock: who is at work on it.

#[cfg(all(kernel_has = "sock.sk_lock.owned", kernel_has = "spinlock"))]
use sockets::lock::State;

use super::Look;

/// What is wrong about the lock.
#[cfg(all(kernel_has = "sock.sk_lock.owned", kernel_has = "spinlock"))]
pub fn lock(look: Look<'_, '_>, socket: &sockets::tcp::Tcp) -> Option<crate::said::Said> {
    use crate::said::say;

    if socket.form != sockets::tcp::Form::Full {
        return None;
    }
    let (owned, lock) = read(look, socket.base.address)?;
    match lock {
        _ if !matches!(owned, 0 | 1) => Some(say!(
            "whether a process has locked it (sk_lock.owned) is {owned}, which is neither 0 nor 1",
            owned = owned,
        )),
        State::Impossible(value) => Some(say!(
            "its spin lock (sk_lock.slock) has the value {slock:#x}, which no lock has",
            slock = value,
        )),
        _ => None,
    }
}

/// Whether a process or a CPU has it. A lock that can't be is had by nobody: who would wait for its end?
#[cfg(all(kernel_has = "sock.sk_lock.owned", kernel_has = "spinlock"))]
pub fn is_held(look: Look<'_, '_>, socket: u64) -> bool {
    read(look, socket).is_some_and(|(owned, lock)| owned == 1 || lock == State::Held)
}

/// `owned`, and what the spin lock says.
#[cfg(all(kernel_has = "sock.sk_lock.owned", kernel_has = "spinlock"))]
fn read(look: Look<'_, '_>, socket: u64) -> Option<(i32, State)> {
    use kstruct::View as _;

    let lock = kernel::sock::at(look.reader.k, socket).ok()?.sk_lock();
    Some((lock.owned(), sockets::lock::state(lock.slock())))
}

/// In 2.6.9 it says who has it.
#[cfg(kernel_has = "sock.sk_lock.owner")]
pub fn is_held(look: Look<'_, '_>, socket: u64) -> bool {
    use kstruct::View as _;

    kernel::sock::at(look.reader.k, socket).is_ok_and(|sk| !sk.sk_lock().owner().is_null())
}

#[cfg(not(any(
    all(kernel_has = "sock.sk_lock.owned", kernel_has = "spinlock"),
    kernel_has = "sock.sk_lock.owner"
)))]
pub fn is_held(_: Look<'_, '_>, _: u64) -> bool {
    false
}

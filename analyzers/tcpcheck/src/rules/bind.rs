//! What a port is bound by: a bucket of its own, with a list of the sockets that have it (net/ipv4/inet_hashtables.c).

use kernel::{hlist_node, inet_bind_bucket, inet_connection_sock, inet_sock, sock};
use kstruct::{Fault, View as _, offset_of};
use linux::app::is_missing;
use sockets::tcp::{Form, Tcp};

use super::{Look, is_locked};
use crate::said::{Said, say};

/// Whether what should lead to a node does. Somebody who takes out what is before it leaves that true at any moment.
fn is_led_to(node: hlist_node<'_>) -> Result<bool, Fault> {
    let back = node.pprev();
    Ok(!back.is_null() && back.deref()?.addr() == node.addr())
}

/// `inet_csk_get_port`, `inet_hash_connect`, `__inet_inherit_port`: who has a port is on the list of its bucket, until `inet_put_port`.
pub fn port(look: Look<'_, '_>, socket: &Tcp) -> Option<Said> {
    if socket.form != Form::Full || is_locked(look, socket) {
        return None;
    }
    let (k, address) = (look.reader.k, socket.base.address);
    let connection = inet_connection_sock::at(k, address).ok()?;
    let bucket = connection.icsk_bind_hash();
    if bucket.is_null() {
        // Nor has one that is not connected a port, unless somebody gave it one.
        return (socket.base.state != "UNCONN")
            .then(|| say!("its port is bound by nothing (icsk_bind_hash)"));
    }
    let what = "the list of those that have its port";
    let found = is_owner(connection).and_then(|is_owner| {
        let bucket = bucket.deref()?;
        let own = u16::from_be(inet_sock::at(k, address)?.inet_sport());
        Ok(if !is_owner {
            Some(say!(
                "it is not on {what}, or what is before it there leads elsewhere"
            ))
        } else if bucket.port() != own {
            Some(say!(
                "its port is {own}, and the bucket that binds it is that of port {bound}",
                own = own,
                bound = bucket.port(),
            ))
        } else if is_first(connection, bucket) && !is_led_to(bucket.node())? {
            Some(say!(
                "the bucket of its port {own} is on no chain, or what is before it there leads elsewhere",
                own = own,
            ))
        } else {
            None
        })
    });
    found.unwrap_or_else(|fault| {
        let said = say!("what binds its port can't be followed: {fault}");
        Some(Said {
            unread: is_missing(fault.kind).then_some(fault),
            ..said
        })
    })
}

/// Whether a socket is on the lists of those that have its port.
fn is_owner(connection: inet_connection_sock<'_>) -> Result<bool, Fault> {
    let sk = sock::at(connection.memory(), connection.addr())?;
    // 5.19 to 6.7 have a second list, of those that have its address, too.
    #[cfg(all(
        kernel_has = "sock.sk_bind2_node",
        kernel_has = "inet_connection_sock.icsk_bind2_hash"
    ))]
    if !connection.icsk_bind2_hash().is_null() && !is_led_to(sk.sk_bind2_node())? {
        return Ok(false);
    }
    is_led_to(sk.__sk_common().skc_bind_node())
}

/// Whether a socket is the first that has its port: so that what is wrong about the port is said once.
#[cfg(kernel_has = "inet_bind_bucket.owners")]
fn is_first(connection: inet_connection_sock<'_>, bucket: inet_bind_bucket<'_>) -> bool {
    let owners = bucket.addr() + offset_of!(inet_bind_bucket, owners) as u64;
    sock::at(connection.memory(), connection.addr())
        .is_ok_and(|sk| sk.__sk_common().skc_bind_node().pprev().addr() == owners)
}

/// Later ones have a list for each address, and those of a port on a list.
#[cfg(not(kernel_has = "inet_bind_bucket.owners"))]
fn is_first(connection: inet_connection_sock<'_>, bucket: inet_bind_bucket<'_>) -> bool {
    use kernel::inet_bind2_bucket;

    let second = connection.icsk_bind2_hash();
    let owners = second.addr() + offset_of!(inet_bind2_bucket, owners) as u64;
    let is_first_of_address = sock::at(connection.memory(), connection.addr())
        .is_ok_and(|sk| sk.__sk_common().skc_bind_node().pprev().addr() == owners);
    let head = bucket.addr() + offset_of!(inet_bind_bucket, bhash2) as u64;
    is_first_of_address
        && second
            .deref()
            .is_ok_and(|second| second.bhash_node().pprev().addr() == head)
}

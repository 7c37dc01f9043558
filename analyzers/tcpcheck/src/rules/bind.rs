//! What a port is bound by: a bucket of its own, with a list of the sockets that have it (net/ipv4/inet_hashtables.c).

use kernel::{hlist_node, inet_bind_bucket, inet_connection_sock, inet_sock, sock, sock_common};
use kstruct::{Fault, FaultKind, Memory, View as _};
use linux::app::is_missing;
use sockets::tcp::{Form, Tcp};

use super::{Look, is_locked};
use crate::said::{Said, say};

/// Looks at the table of ports (`tcp_hashinfo.bhash`): that it is there, and as large as what is on its chains says (`inet_bhashfn`). Those on
/// the first ones that aren't empty say enough; where it goes on behind its end as it does before, the end is wrong.
#[cfg(kernel_has = "net.hash_mix")]
pub fn table(k: &Memory) -> Result<(), Fault> {
    /// There are no more (`tcp_init`).
    const MOST: u64 = 1 << 16;
    /// Chains that are looked at.
    const CHAINS: usize = 64;
    /// Behind the table something may fit by chance: the table of ports with addresses, most often.
    const FEW: usize = 4;
    let table = k.get(kernel::sym::tcp_hashinfo)?;
    let size = linux::size::power_of_two(table.addr(), table.bhash_size().into(), MOST)?;
    // How many are where their hash says, and how many there are.
    let count = |chains: std::ops::Range<usize>, size: usize| -> Result<(usize, usize), Fault> {
        let heads = table.bhash().array(chains.end)?;
        let (mut right, mut all) = (0, 0);
        for index in chains {
            let Some(first) = heads.get(index).map(|head| head.chain().first()) else {
                break;
            };
            if first.is_null() {
                continue;
            }
            let own = first.deref().and_then(|node| {
                let bucket = node.container_of(inet_bind_bucket::node)?;
                let net = bucket.ib_net().net().deref()?;
                Ok(net.hash_mix().wrapping_add(bucket.port().into()) as usize & (size - 1))
            });
            if own.is_err_and(|fault: Fault| is_missing(fault.kind)) {
                continue;
            }
            right += usize::from(own == Ok(index));
            all += 1;
            if all == CHAINS {
                break;
            }
        }
        Ok((right, all))
    };
    let wrong = Err(Fault {
        address: table.addr(),
        kind: FaultKind::Inconsistent,
    });
    let (right, all) = count(0..size, size)?;
    // With twice the size half of them fit. One bucket that is damaged is a socket's.
    if all - right > 1 && 4 * (all - right) > all {
        return wrong;
    }
    let mut most = size;
    while (most as u64) < MOST {
        // What can't be read is no part of it.
        let (right, all) = count(most..2 * most, 2 * most).unwrap_or_default();
        if right >= FEW && 2 * right > all {
            return wrong;
        }
        most *= 2;
    }
    Ok(())
}

/// Before 5.1 what is mixed into the hash is made of the namespace's address.
#[cfg(not(kernel_has = "net.hash_mix"))]
pub fn table(k: &Memory) -> Result<(), Fault> {
    let table = k.get(kernel::sym::tcp_hashinfo)?;
    let size = linux::size::power_of_two(table.addr(), table.bhash_size().into(), 1 << 16)?;
    table.bhash().array(size).map(|_| ())
}

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
    #[cfg(kernel_has = "inet_connection_sock.icsk_bind2_hash")]
    if connection.icsk_bind2_hash().is_null() {
        return Some(say!(
            "its port is bound, and its address with it is not (icsk_bind2_hash)"
        ));
    }
    let what = "the list of those that have its port";
    let found = is_owner(connection).and_then(|is_owner| {
        let bucket = bucket.deref()?;
        let own = u16::from_be(inet_sock::at(k, address)?.inet_sport());
        // What the bucket's other sockets have for their port.
        let is_common = || {
            owners(bucket)
                .next()
                .is_some_and(|owner| owner.is_ok_and(|owner| owner.skc_num() == own))
        };
        Ok(if !is_owner {
            Some(say!(
                "it is not on {what}, or what is before it there leads elsewhere"
            ))
        } else if bucket.port() != own && (!is_common() || speaks(connection, owners(bucket))) {
            Some(say!(
                "its port is {own}, and the bucket that binds it is that of port {bound}",
                own = own,
                bound = bucket.port(),
            ))
        } else if !is_led_to(bucket.node())? && speaks(connection, owners(bucket)) {
            Some(say!(
                "the bucket of its port {own} is on no chain, or what is before it there leads elsewhere",
                own = own,
            ))
        } else {
            with_address(connection, own)?
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
    if !is_led_to(sk.sk_bind2_node())? {
        return Ok(false);
    }
    is_led_to(sk.__sk_common().skc_bind_node())
}

/// Whether a socket is the first whole one that has a bucket's port: so that what is wrong about the bucket is said once.
fn speaks<'m>(
    connection: inet_connection_sock<'_>,
    owners: impl Iterator<Item = Result<sock_common<'m>, Fault>>,
) -> bool {
    /// Those in TIME-WAIT that are before it, after which each speaks for itself.
    const MOST: usize = 64;
    // TCP_TIME_WAIT, TCP_NEW_SYN_RECV
    let is_small = |owner: &sock_common<'_>| matches!(owner.skc_state(), 6 | 12);
    let mut owners = owners.take(MOST);
    let whole = owners.find(|owner| !owner.as_ref().is_ok_and(is_small));
    whole.is_none_or(|owner| owner.is_ok_and(|owner| owner.addr() == connection.addr()))
}

/// The sockets that have a bucket's port.
#[cfg(kernel_has = "inet_bind_bucket.owners")]
fn owners(bucket: inet_bind_bucket<'_>) -> impl Iterator<Item = Result<sock_common<'_>, Fault>> {
    bucket.owners().entries(sock_common::skc_bind_node)
}

/// Later ones have a list for each address, and those of a port on a list.
#[cfg(not(kernel_has = "inet_bind_bucket.owners"))]
fn owners(bucket: inet_bind_bucket<'_>) -> impl Iterator<Item = Result<sock_common<'_>, Fault>> {
    use kernel::inet_bind2_bucket;

    let lists = bucket.bhash2().entries(inet_bind2_bucket::bhash_node);
    lists.flat_map(|second| {
        let (second, fault) = match second {
            Ok(second) => (Some(second), None),
            Err(fault) => (None, Some(Err(fault))),
        };
        let owners = second
            .into_iter()
            .flat_map(|second| second.owners().entries(sock_common::skc_bind_node));
        fault.into_iter().chain(owners)
    })
}

/// What is wrong about the bucket that binds a port with an address (`struct inet_bind2_bucket`, since 5.19).
#[cfg(kernel_has = "inet_connection_sock.icsk_bind2_hash")]
fn with_address(connection: inet_connection_sock<'_>, own: u16) -> Result<Option<Said>, Fault> {
    let bucket = connection.icsk_bind2_hash().deref()?;
    let common = sock_common::at(connection.memory(), connection.addr())?;
    let is_of_its_namespace = bucket.ib_net().net().addr() == common.skc_net().net().addr();
    let has_node = is_led_to(bucket.node())?;
    if bucket.port() == own && is_of_its_namespace && has_node {
        return Ok(None);
    }
    #[cfg(kernel_has = "sock.sk_bind2_node")]
    let owners = || {
        let owners = bucket.owners().entries(sock::sk_bind2_node);
        owners.map(|owner| Ok(owner?.__sk_common()))
    };
    #[cfg(not(kernel_has = "sock.sk_bind2_node"))]
    let owners = || bucket.owners().entries(sock_common::skc_bind_node);
    // One that the bucket's other sockets are like has the right bucket; else its pointer leads to a wrong one, and nobody else says so.
    let is_like = |owner: sock_common<'_>| {
        owner.skc_num() == own && owner.skc_net().net().addr() == common.skc_net().net().addr()
    };
    let is_common = owners()
        .next()
        .is_some_and(|owner| owner.is_ok_and(is_like));
    if is_common && !speaks(connection, owners()) {
        return Ok(None);
    }
    let what = "the bucket that binds it with its address (icsk_bind2_hash)";
    Ok(Some(if bucket.port() != own {
        say!(
            "its port is {own}, and {what} is that of port {bound}",
            own = own,
            bound = bucket.port(),
        )
    } else if !is_of_its_namespace {
        say!(
            "its port is {own}, and {what} is of another network namespace",
            own = own
        )
    } else {
        say!(
            "its port is {own}, and {what} is on no chain, or what is before it there leads elsewhere",
            own = own,
        )
    }))
}

/// Older kernels bind ports alone.
#[cfg(not(kernel_has = "inet_connection_sock.icsk_bind2_hash"))]
fn with_address(_: inet_connection_sock<'_>, _: u16) -> Result<Option<Said>, Fault> {
    Ok(None)
}

//! Whether it is a socket, and where one must be.

use kernel::{proto, sock, sock_common};
use kstruct::{Fault, Ptr, View as _};
use linux::app::is_missing;
use sockets::tcp::{Form, Place, Tcp};

use super::{Look, is_locked};
use crate::said::{Said, say};

/// All that is wrong about what a socket must be, and where it hangs.
pub fn not_a_socket(look: Look<'_, '_>, socket: &Tcp) -> Option<Said> {
    /// `IPPROTO_TCP`
    const TCP: u32 = 6;
    let base = &socket.base;
    let is_full = socket.form == Form::Full;
    let has_state = match (socket.place, socket.form) {
        (Place::Connections, Form::Full) => !matches!(base.state, "LISTEN" | "UNCONN" | "UNKNOWN"),
        // What it was when it was a full socket.
        (Place::Connections, Form::TimeWait) => matches!(base.state, "TIME-WAIT" | "FIN-WAIT-2"),
        (Place::Connections, Form::Request) => leads_to_listener(look, socket),
        (Place::Listeners, _) => base.state == "LISTEN",
        (Place::Held | Place::Unseen, _) => is_full && base.state != "UNKNOWN",
    };
    let has_family = matches!(base.family, "inet" | "inet6");
    let has_protocol = !is_full || base.protocol == TCP;
    let has_type = !is_full || base.kind == "stream";
    let functions = functions_of(look, socket);
    let has_functions = matches!(functions, Ok(Functions::Own));
    if has_state && has_family && has_protocol && has_type && has_functions {
        return None;
    }
    let common = sock_common::at(look.reader.k, base.address).ok()?;
    let (state, family) = (common.skc_state(), common.skc_family());
    let mut wrong = Vec::new();
    if !has_state {
        let more = match socket.form {
            Form::Full => "",
            Form::TimeWait => " (time-wait, and it is nothing that is left of a connection)",
            Form::Request => " (a request, and it leads to no listener)",
        };
        wrong.push(format!("its state is {state}{more}"));
    }
    if !has_family {
        wrong.push(format!("its family is {family}"));
    }
    if !has_protocol {
        wrong.push(format!("its protocol is {}", base.protocol));
    }
    if !has_type {
        let sk = sock::at(look.reader.k, base.address).ok()?;
        wrong.push(format!("its type is {}", sk.sk_type()));
    }
    let mut unread = None;
    match functions {
        Ok(Functions::Own) => {}
        // Of its family enough was said.
        Ok(Functions::OtherFamily(_)) if !has_family => {}
        Ok(Functions::OtherFamily(name)) => wrong.push(format!(
            "its family is {family}, and its functions (skc_prot) are those of {name}"
        )),
        Ok(Functions::Foreign) => {
            wrong.push("its functions (skc_prot) are not those of TCP".to_owned());
        }
        Err(fault) => {
            // If it is wrong anyway, what the dump lacks doesn't matter.
            unread = (is_missing(fault.kind) && wrong.is_empty()).then_some(fault);
            wrong.push(format!("its functions (skc_prot) can't be read: {fault}"));
        }
    }
    if base.refcount <= 0 {
        wrong.push(format!("its count of references is {}", base.refcount));
    }
    let place = match socket.place {
        Place::Connections => match bucket_of(look, base.address) {
            Some(bucket) => format!("in bucket {bucket} of the table of connections"),
            None => "in the table of connections".to_owned(),
        },
        Place::Listeners => "in the table of listeners".to_owned(),
        Place::Held | Place::Unseen => "in no table, but held".to_owned(),
    };
    let wrong = wrong.join(", ");
    Some(Said {
        unread,
        ..say!("it is {place}, and {wrong}")
    })
}

/// Whose functions a socket has.
enum Functions {
    /// Those of TCP, and of its family.
    Own,
    /// Those of TCP with this name.
    OtherFamily(&'static str),
    /// Others.
    Foreign,
}

/// `struct proto` by its name, which the copies that others have of TCP's have, too (TLS, BPF's map of sockets, MPTCP).
fn functions_of(look: Look<'_, '_>, socket: &Tcp) -> Result<Functions, Fault> {
    let Some(functions) = proto_of(look, socket)? else {
        return Ok(Functions::Own);
    };
    let (name, family) = match functions.deref()?.name().as_bytes() {
        b"TCP" => ("TCP", "inet"),
        b"TCPv6" => ("TCPv6", "inet6"),
        _ => return Ok(Functions::Foreign),
    };
    // Who makes a socket of IPv6 one of IPv4 (`IPV6_ADDRFORM`) has it locked; what is left of it then has those that it was made with
    // (`sk_prot_creator`), and a request has its listener's. The fixture's of 2.6.9 have those of IPv4.
    let is_own = family == socket.base.family
        || socket.form != Form::Full
        || cfg!(not(kernel_has = "sock_common.skc_prot"))
        || is_locked(look, socket);
    Ok(if is_own {
        Functions::Own
    } else {
        Functions::OtherFamily(name)
    })
}

#[cfg(kernel_has = "sock_common.skc_prot")]
fn proto_of<'m>(look: Look<'_, 'm>, socket: &Tcp) -> Result<Option<Ptr<'m, proto<'m>>>, Fault> {
    Ok(Some(
        sock_common::at(look.reader.k, socket.base.address)?.skc_prot(),
    ))
}

/// In 2.6.9 only whole sockets have one.
#[cfg(not(kernel_has = "sock_common.skc_prot"))]
fn proto_of<'m>(look: Look<'_, 'm>, socket: &Tcp) -> Result<Option<Ptr<'m, proto<'m>>>, Fault> {
    if socket.form != Form::Full {
        return Ok(None);
    }
    Ok(Some(
        sock::at(look.reader.k, socket.base.address)?.sk_prot(),
    ))
}

/// Whether a request leads to a listener, or to one that was closed meanwhile.
#[cfg(kernel_has = "sock_common.skc_listener")]
fn leads_to_listener(look: Look<'_, '_>, socket: &Tcp) -> bool {
    use sockets::sock::{CLOSE, LISTEN};

    let listener = sock_common::at(look.reader.k, socket.base.address)
        .and_then(|common| common.skc_listener().deref());
    listener.is_ok_and(|listener| matches!(listener.__sk_common().skc_state(), LISTEN | CLOSE))
}

#[cfg(not(kernel_has = "sock_common.skc_listener"))]
fn leads_to_listener(_: Look<'_, '_>, _: &Tcp) -> bool {
    true
}

#[cfg(kernel_has = "inet_hashinfo.lhash2")]
fn bucket_of(look: Look<'_, '_>, address: u64) -> Option<usize> {
    sockets::inet::bucket_of(look.reader.k, address)
}

#[cfg(not(kernel_has = "inet_hashinfo.lhash2"))]
fn bucket_of(_: Look<'_, '_>, _: u64) -> Option<usize> {
    None
}

pub fn lost(look: Look<'_, '_>, socket: &Tcp) -> Option<Said> {
    let state = socket.base.state;
    // Who connects puts it into the table with the socket locked.
    if socket.place != Place::Held || state == "UNCONN" || is_locked(look, socket) {
        return None;
    }
    if state == "LISTEN" {
        return Some(say!(
            "it listens, a process holds it, and it is not in the table of listeners: no SYN will find it"
        ));
    }
    match own_bucket(look, socket.base.address) {
        Some(bucket) => Some(say!(
            "a process holds it, and it is not in the table of connections, nor in bucket {bucket}, which its hash names: no packet will find it",
            bucket = bucket,
        )),
        None => Some(say!(
            "a process holds it, and it is not in the table of connections: no packet will find it"
        )),
    }
}

#[cfg(kernel_has = "inet_hashinfo.lhash2")]
fn own_bucket(look: Look<'_, '_>, address: u64) -> Option<usize> {
    sockets::inet::own_bucket(look.reader.k, &look.reader.spaces, address)
}

#[cfg(not(kernel_has = "inet_hashinfo.lhash2"))]
fn own_bucket(_: Look<'_, '_>, _: u64) -> Option<usize> {
    None
}

/// `sock_graft`, `sock_init_data`: each leads to the other. MPTCP's subflows have their connection's.
pub fn foreign_owner(look: Look<'_, '_>, socket: &Tcp) -> Option<Said> {
    let base = &socket.base;
    if base.socket == 0 || socket.form != Form::Full || socket.ulp.bytes() == b"mptcp" {
        return None;
    }
    // What can't be read is said when the socket is.
    let owner = kernel::socket::at(look.reader.k, base.socket).ok()?;
    let other = owner.sk().addr();
    // Some kernels take it away before they wait until all was sent (`SO_LINGER`, `inet_release`).
    let may_linger = matches!(base.state, "FIN-WAIT-1" | "CLOSING" | "LAST-ACK");
    let is_wrong = other != base.address && !(other == 0 && may_linger);
    if !is_wrong {
        return (is_dead(look, socket) && !is_locked(look, socket)).then(|| {
            say!(
                "nobody has it any more (SOCK_DEAD), and it leads to struct socket {owner:#x}",
                owner = base.socket,
            )
        });
    }
    (!is_locked(look, socket)).then(|| {
        say!(
            "it leads to struct socket {owner:#x}, whose own is {other:#x}",
            owner = base.socket,
            other = other,
        )
    })
}

/// `sock_orphan` (include/net/sock.h): who lets go of a socket takes its `struct socket` away, and has it locked.
#[cfg(kernel_has = "sock_common.skc_flags")]
fn is_dead(look: Look<'_, '_>, socket: &Tcp) -> bool {
    /// `1 << SOCK_DEAD`
    const DEAD: u64 = 1;
    sock_common::at(look.reader.k, socket.base.address)
        .is_ok_and(|common| common.skc_flags() & DEAD != 0)
}

/// In 2.6.9 only its spin lock would tell that it is half done.
#[cfg(not(kernel_has = "sock_common.skc_flags"))]
fn is_dead(_: Look<'_, '_>, _: &Tcp) -> bool {
    false
}

pub fn device(_: Look<'_, '_>, socket: &Tcp) -> Option<Said> {
    let ifindex = socket.base.ifindex;
    (ifindex < 0).then(|| {
        say!(
            "it is bound to interface {ifindex}, and none has such a number",
            ifindex = ifindex
        )
    })
}

pub fn refcount(_: Look<'_, '_>, socket: &Tcp) -> Option<Said> {
    // `REFCOUNT_SATURATED` is negative.
    let count = socket.base.refcount;
    // Before 4.4 requests are no sockets, and nobody counts references to them.
    let is_counted =
        cfg!(not(kernel_has = "open_request.rmt_port")) || socket.form != Form::Request;
    (is_counted && count <= 0).then(|| {
        say!(
            "its count of references is {references}",
            references = count
        )
    })
}

//! The hashes by which the kernel finds TCP sockets: include/linux/jhash.h, `inet_ehashfn` and `inet6_ehashfn` (net/ipv4/inet_hashtables.c,
//! net/ipv6/inet6_hashtables.c), `ipv4_portaddr_hash` (include/net/ip.h), `ipv6_portaddr_hash` (include/net/ipv6.h).
//!
//! They are made of words as they lie in memory: addresses and the peer's port in network order, read in the kernel's.

use kernel::sock_common;
use kstruct::{Fault, Memory, View as _};

use crate::sock::INET6;

/// `JHASH_INITVAL`
const START: u32 = 0xdead_beef;

/// `__jhash_final`, of which the last word is the hash.
fn finish([mut a, mut b, mut c]: [u32; 3]) -> u32 {
    for (left, right, turn) in [(14, 11, 25), (16, 4, 14)] {
        c = (c ^ b).wrapping_sub(b.rotate_left(left));
        a = (a ^ c).wrapping_sub(c.rotate_left(right));
        b = (b ^ a).wrapping_sub(a.rotate_left(turn));
    }
    (c ^ b).wrapping_sub(b.rotate_left(24))
}

/// `__jhash_mix`
fn mix([mut a, mut b, mut c]: [u32; 3]) -> [u32; 3] {
    for (first, second, third) in [(4, 6, 8), (16, 19, 4)] {
        a = a.wrapping_sub(c) ^ c.rotate_left(first);
        c = c.wrapping_add(b);
        b = b.wrapping_sub(a) ^ a.rotate_left(second);
        a = a.wrapping_add(c);
        c = c.wrapping_sub(b) ^ b.rotate_left(third);
        b = b.wrapping_add(a);
    }
    [a, b, c]
}

/// `jhash_3words`
fn three_words(words: [u32; 3], initial: u32) -> u32 {
    let start = initial.wrapping_add(START).wrapping_add(3 << 2);
    finish(words.map(|word| word.wrapping_add(start)))
}

/// `jhash_1word`
fn one_word(word: u32, initial: u32) -> u32 {
    let start = initial.wrapping_add(START).wrapping_add(1 << 2);
    finish([word.wrapping_add(start), start, start])
}

/// `jhash2` of four words.
fn four_words([first, second, third, fourth]: [u32; 4], initial: u32) -> u32 {
    let start = initial.wrapping_add(START).wrapping_add(4 << 2);
    let words = [first, second, third].map(|word| word.wrapping_add(start));
    let [a, b, c] = mix(words);
    finish([a.wrapping_add(fourth), b, c])
}

/// An IPv6 address as the kernel's words.
fn words(address: kernel::in6_addr<'_>) -> [u32; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(address.bytes().chunks_exact(4)) {
        // A chunk has all its bytes.
        let bytes = bytes.try_into().unwrap_or_default();
        *word = if kernel::KERNEL.big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        };
    }
    words
}

/// `ipv6_addr_v4mapped`
fn is_mapped([first, second, third, _]: [u32; 4]) -> bool {
    let mark = if kernel::KERNEL.big_endian {
        0xffff
    } else {
        0xffff_0000
    };
    first == 0 && second == 0 && third == mark
}

/// `net_hash_mix`; what it was made of before 5.1 isn't looked at.
fn of_space(common: sock_common<'_>) -> Option<u32> {
    #[cfg(kernel_has = "net.hash_mix")]
    {
        Some(common.skc_net().net().deref().ok()?.hash_mix())
    }
    #[cfg(not(kernel_has = "net.hash_mix"))]
    {
        let _ = common;
        None
    }
}

/// What the kernel mixes into the hashes of connections.
#[derive(Debug, Default, Clone, Copy)]
pub struct Secrets {
    ipv4: Option<u32>,
    /// That of the ports, and that of the peer's address.
    ipv6: Option<(u32, u32)>,
}

impl Secrets {
    /// Whether all is known that the hashes of a version of IP are made of.
    pub fn has(&self, is_ipv6: bool) -> bool {
        if cfg!(not(kernel_has = "net.hash_mix")) {
            false
        } else if is_ipv6 {
            self.ipv6.is_some()
        } else {
            self.ipv4.is_some()
        }
    }

    /// The hash that a connection of IPv4 would have if this were its peer's address, in network order (`inet_ehashfn`, before 6.15); `None` where
    /// the secret or the namespace is not known.
    pub fn of_peer(&self, common: sock_common<'_>, peer: u32) -> Option<u32> {
        let initial = self.ipv4?.wrapping_add(of_space(common)?);
        Some(of_ends(common, common.skc_rcv_saddr(), peer, initial))
    }

    /// Where they are known: since 6.11 they have a place, and in 6.0 and later the dump of a kernel with
    /// `CONFIG_KALLSYMS_ALL` names the variables of functions that they were before.
    ///
    /// # Errors
    ///
    /// The place, or the list of symbols, can't be read.
    pub fn of(k: &Memory) -> Result<Self, Fault> {
        #[cfg(all(
            kernel_has = "sym:net_hotdata",
            kernel_has = "net_hotdata.tcp_protocol.secret"
        ))]
        {
            let hotdata = k.get(kernel::sym::net_hotdata)?;
            #[cfg(all(
                kernel_has = "net_hotdata.tcpv6_protocol.secret",
                kernel_has = "net_hotdata.tcpv6_offload.secret"
            ))]
            let ipv6 = Some((
                hotdata.tcpv6_protocol().secret(),
                hotdata.tcpv6_offload().secret(),
            ));
            #[cfg(not(all(
                kernel_has = "net_hotdata.tcpv6_protocol.secret",
                kernel_has = "net_hotdata.tcpv6_offload.secret"
            )))]
            let ipv6 = None;
            Ok(Secrets {
                ipv4: Some(hotdata.tcp_protocol().secret()),
                ipv6,
            })
        }
        #[cfg(not(all(
            kernel_has = "sym:net_hotdata",
            kernel_has = "net_hotdata.tcp_protocol.secret"
        )))]
        {
            named(k)
        }
    }
}

/// By the dump's list of symbols.
#[cfg(not(all(
    kernel_has = "sym:net_hotdata",
    kernel_has = "net_hotdata.tcp_protocol.secret"
)))]
fn named(k: &Memory) -> Result<Secrets, Fault> {
    const NAMES: [&str; 3] = [
        "inet_ehash_secret",
        "inet6_ehash_secret",
        "ipv6_hash_secret",
    ];
    let Some(symbols) = kstruct::Kallsyms::read(k)? else {
        return Ok(Secrets::default());
    };
    let mut places = [const { Vec::new() }; 3];
    for symbol in symbols.iter() {
        if !symbol.name.contains("_secret") {
            continue;
        }
        for (name, places) in NAMES.iter().zip(&mut places) {
            // gcc puts a number behind the name, and clang the function before it.
            if symbol.name.split('.').any(|part| part == *name) {
                places.push(symbol.address);
            }
        }
    }
    let secret = |places: &[u64]| match *places {
        [place] => {
            // As many as were asked for.
            let bytes = k.bytes(place, 4)?.try_into().unwrap_or_default();
            Ok(Some(if kernel::KERNEL.big_endian {
                u32::from_be_bytes(bytes)
            } else {
                u32::from_le_bytes(bytes)
            }))
        }
        _ => Ok(None),
    };
    // It may be one of those.
    if let Some(fault) = symbols.faults().first()
        && places.iter().any(Vec::is_empty)
    {
        return Err(*fault);
    }
    let [ipv4, ipv6, peer] = places;
    Ok(Secrets {
        ipv4: secret(&ipv4)?,
        ipv6: secret(&ipv6)?.zip(secret(&peer)?),
    })
}

/// Whether a socket's connection is hashed as one of IPv6 (`sk_ehashfn`).
pub fn is_ipv6(common: sock_common<'_>) -> bool {
    common.skc_family() == INET6 && !is_mapped(words(common.skc_v6_daddr()))
}

/// The hash of a connection's addresses, or of what they are made to, and its ports (`inet_ehashfn`, before 6.15).
fn of_ends(common: sock_common<'_>, local: u32, peer: u32, initial: u32) -> u32 {
    let ports = u32::from(common.skc_num()) << 16 | u32::from(common.skc_dport());
    three_words([local, peer, ports], initial)
}

/// Whether a hash is that of a connection's ends (`sk_ehashfn`); `None` where the secret or the namespace is not known.
pub fn is_of_connection(hash: u32, common: sock_common<'_>, secrets: &Secrets) -> Option<bool> {
    let space = of_space(common)?;
    let (own, peers) = (u32::from(common.skc_num()), u32::from(common.skc_dport()));
    // Since 6.15 the socket's own port is added, so that one that connects can try them all with little work; before, it was mixed in.
    let is_of = |local, peer, secret: u32| {
        let initial = secret.wrapping_add(space);
        hash == of_ends(common, local, peer, initial)
            || hash == three_words([local, peer, peers], initial).wrapping_add(own)
    };
    if !is_ipv6(common) {
        let (local, peer) = (common.skc_rcv_saddr(), common.skc_daddr());
        return Some(is_of(local, peer, secrets.ipv4?));
    }
    let (secret, of_peer) = secrets.ipv6?;
    let [.., local] = words(common.skc_v6_rcv_saddr());
    let peer = words(common.skc_v6_daddr());
    // All of the peer's address since 6.5 (and in stable kernels of the time); before, its first two words were one (`__ipv6_addr_jhash`).
    let [first, second, third, fourth] = peer;
    let older = three_words([first ^ second, third, fourth], of_peer);
    Some(is_of(local, four_words(peer, of_peer), secret) || is_of(local, older, secret))
}

/// The hash of a listener by its address and port (`inet_lhash2_bucket_sk`); `None` where its namespace is not known.
#[cfg(not(kernel_has = "inet_hashinfo.listening_hash"))]
pub fn of_listener(common: sock_common<'_>) -> Option<u32> {
    let space = of_space(common)?;
    let hash = if common.skc_family() == INET6 {
        let address = words(common.skc_v6_rcv_saddr());
        if address == [0; 4] {
            one_word(0, space)
        } else if is_mapped(address) {
            one_word(address[3], space)
        } else {
            four_words(address, space)
        }
    } else {
        one_word(common.skc_rcv_saddr(), space)
    };
    Some(hash ^ u32::from(common.skc_num()))
}

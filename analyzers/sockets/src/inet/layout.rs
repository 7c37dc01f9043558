//! How TCP's tables are built: whether each socket is where the kernel looks for it.

use std::collections::HashSet;

use kernel::{hlist_nulls_head, inet_hashinfo, sock_common, spinlock};
use kstruct::{Array, Fault, Memory, View as _, offset_of, walk};
use linux::Faults;

use super::hash::{self, Secrets};
#[cfg(not(kernel_has = "inet_hashinfo.listening_hash"))]
use super::read::LISTENERS;
#[cfg(not(kernel_has = "inet_hashinfo.listening_hash"))]
use super::read::listeners;
use super::read::{buckets, connections, hashinfos, nulls_end};
use crate::lock::is_held;
use crate::space::Spaces;

/// Which of TCP's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// That of connections (`ehash`).
    Connections,
    /// That of listeners (`lhash2`), which since 5.19 is the only one. An older kernel's chains are not looked at.
    Listeners,
}

/// What is not as it should be in a bucket of one of TCP's tables.
#[derive(Debug)]
pub struct Bucket {
    /// Whose.
    pub table: Table,
    /// Its number.
    pub index: usize,
    /// How many sockets are on its chain.
    pub sockets: usize,
    /// Whether the chain was not followed to its end: it leads into another one, into itself, or to what can't be read.
    pub is_cut: bool,
    /// Sockets whose hash says that they are in another bucket: their addresses, and that bucket.
    pub misplaced: Vec<(u64, usize)>,
    /// Sockets whose hash is another one than that of their ends.
    pub rehashed: Vec<Rehashed>,
    /// Sockets whose link back (`pprev`) is not to what leads to them.
    pub unlinked: Vec<Unlinked>,
    /// The socket of another chain into which this one leads, and that chain's number. What is behind it is that chain's.
    pub leads_into: Option<(u64, usize)>,
    /// The number at the end of the chain, if that is the end of another one: what was behind is not found.
    pub foreign_end: Option<u64>,
}

/// A socket whose link back is not to what leads to it.
#[derive(Debug, Clone, Copy)]
pub struct Unlinked {
    /// The socket's address.
    pub address: u64,
    /// Where the link is that leads to it.
    pub from: u64,
    /// Where its link back leads (`pprev`).
    pub back: u64,
}

/// A connection whose hash is not that of its ends.
#[derive(Debug, Clone, Copy)]
pub struct Rehashed {
    /// The socket's address.
    pub address: u64,
    /// Whether it is hashed as one of IPv6.
    pub is_ipv6: bool,
    /// Its hash (`skc_hash`).
    pub hash: u32,
}

/// How TCP's tables are built.
#[derive(Debug, Default)]
pub struct Layout {
    /// Buckets in which something is wrong, or that have many sockets.
    pub odd: Vec<Bucket>,
    /// How many buckets there are for connections.
    pub buckets: usize,
    /// How many sockets are on their chains.
    pub sockets: usize,
    /// Of IPv4 and of IPv6, how many connections have the hash of their ends, and how many another one.
    hashes: [(usize, usize); 2],
    /// What the kernel mixes into hashes, where that was asked for.
    secrets: Option<Secrets>,
    /// What of the tables only this needs, and could not be read.
    pub faults: Vec<(&'static str, Fault)>,
}

impl Layout {
    /// What the hashes of connections of a version of IP say.
    pub fn hashes(&self, is_ipv6: bool) -> Hashes {
        let (same, other) = self.hashes[usize::from(is_ipv6)];
        let (same_ip, _) = self.hashes[usize::from(!is_ipv6)];
        match (same, other) {
            (0, 0) if self.secrets.is_some_and(|secrets| secrets.has(is_ipv6)) => Hashes::Known,
            (0, 0) => Hashes::NoSecret,
            // One function is the other's with more words.
            (0, _) if same_ip > 0 => Hashes::WrongSecret,
            (0, _) => Hashes::Unknown,
            _ => Hashes::Known,
        }
    }
}

/// What is known of the hashes of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hashes {
    /// How they are made, if there are any.
    Known,
    /// How they are made, and the secret isn't the one that they were made with: none is right, and those of the other version of IP are.
    WrongSecret,
    /// None is right: the secret is another one, or the function.
    Unknown,
    /// The dump doesn't say what the secret is.
    NoSecret,
}

/// A table that is looked at.
struct Place {
    table: Table,
    /// Of a socket's hash, the bits that are its bucket's number.
    mask: u32,
    /// What is added to a bucket's number for the end of its chain.
    base: u64,
    secrets: Option<Secrets>,
}

/// Looks at each bucket; those with more than `many` connections are told of. What can't be read is told of by [`super::tcp_tables`].
///
/// A connection's bucket is its hash's lowest bits (`inet_ehash_bucket`), and a listener's those of one of its address and port
/// (`inet_lhash2_bucket_sk`); a chain ends with an odd number which says whose (`INIT_HLIST_NULLS_HEAD`, include/linux/list_nulls.h).
///
/// To find the secret of the hashes takes longer than all else where it has no place: it is looked for if `wants_hashes`.
pub fn layout(k: &Memory, spaces: &Spaces<'_>, many: usize, wants_hashes: bool) -> Layout {
    let mut unsaid = Faults::default();
    let mut layout = Layout::default();
    let mut seen = Vec::new();
    let secrets = wants_hashes.then(|| {
        let secrets =
            Secrets::of(k).map_err(|fault| layout.faults.push(("secret of hashes", fault)));
        secrets.unwrap_or_default()
    });
    layout.secrets = secrets;
    for table in hashinfos(k, spaces, &mut unsaid) {
        // Namespaces with their own table of connections share that of listeners.
        let mut is_new = |address: u64| {
            let is_new = !seen.contains(&address);
            seen.push(address);
            is_new
        };
        let array = connections(table);
        if is_new(table.ehash().addr())
            && let Ok((array, _)) = array
        {
            let place = Place {
                table: Table::Connections,
                mask: array.len() as u32 - 1,
                base: 0,
                secrets,
            };
            layout.buckets += array.len();
            // One lock is for several buckets (`inet_ehash_lockp`).
            let locks = layout.locks(table);
            let lock = |index: usize| {
                let locks = locks.as_ref()?;
                locks.get(index & table.ehash_locks_mask() as usize)
            };
            let head = |index| array.get(index).map(|bucket| bucket.chain());
            layout.add(&place, array.len(), many, head, lock);
        }
        #[cfg(not(kernel_has = "inet_hashinfo.listening_hash"))]
        {
            let array = listeners(table);
            if is_new(table.lhash2().addr())
                && let Ok((array, _)) = array
            {
                let place = Place {
                    table: Table::Listeners,
                    mask: array.len() as u32 - 1,
                    base: LISTENERS,
                    secrets: None,
                };
                let head = |index| array.get(index).map(|bucket| bucket.nulls_head());
                let lock = |index| array.get(index).map(|bucket| bucket.lock());
                // Those of one port that share it are on one chain, however many they are.
                layout.add(&place, array.len(), usize::MAX, head, lock);
            }
        }
    }
    layout
}

/// Fetches from memory what is read of the first socket on a chain.
fn prefetch_first(head: hlist_nulls_head<'_>) {
    const NODE: usize = offset_of!(sock_common, skc_nulls_node);
    let node = head.first().addr();
    if node & 1 == 0 {
        let socket = node.wrapping_sub(NODE as u64);
        let memory = head.memory();
        memory.prefetch(socket, NODE + 2 * usize::from(kernel::KERNEL.pointer_size));
    }
}

impl Layout {
    /// The locks of the table of connections. Without them, what somebody was at work on isn't known to be that.
    fn locks<'m>(&mut self, table: inet_hashinfo<'m>) -> Option<Array<'m, spinlock<'m>>> {
        // A kernel for one CPU has no locks.
        if spinlock::SIZE == 0 {
            return None;
        }
        let count = buckets(table.addr(), table.ehash_locks_mask());
        let count = count.map_err(|fault| ("ehash_locks_mask", fault));
        count
            .and_then(|count| {
                let locks = table.ehash_locks().array(count);
                locks.map_err(|fault| ("ehash_locks", fault))
            })
            .map_err(|fault| self.faults.push(fault))
            .ok()
    }

    fn add<'m>(
        &mut self,
        place: &Place,
        count: usize,
        many: usize,
        head: impl Fn(usize) -> Option<hlist_nulls_head<'m>> + Send + Sync,
        lock: impl Fn(usize) -> Option<spinlock<'m>> + Send + Sync,
    ) {
        /// Buckets that a thread looks at before it takes others.
        const PIECE: usize = 512;
        let pieces = walk::par_index(count.div_ceil(PIECE), |piece| {
            let start = piece * PIECE;
            let mut hashes = [(0, 0); 2];
            let mut sockets = 0;
            let mut odd = Vec::new();
            let mut tangled = Vec::new();
            // Of most there is no more to know than that they are empty.
            let heads: Vec<_> = (start..count.min(start + PIECE))
                .filter_map(|index| Some((index, head(index)?)))
                .filter(|(index, head)| head.first().addr() != place.end(*index))
                .inspect(|(_, head)| prefetch_first(*head))
                .collect();
            for (index, head) in heads {
                let Some(bucket) = Bucket::read(head, index, place, &mut hashes, None) else {
                    tangled.push(index);
                    continue;
                };
                sockets += bucket.sockets;
                // Somebody was about to put a socket in or take one out: not all links need fit together.
                if bucket.sockets > many || bucket.is_odd() && !lock(index).is_some_and(is_held) {
                    odd.push(bucket);
                }
            }
            (sockets, odd, tangled, hashes)
        });
        let mut all_sockets = 0;
        let mut tangled = Vec::new();
        let mut odd = Vec::new();
        for (sockets, some, indexes, hashes) in pieces {
            all_sockets += sockets;
            for (all, (same, other)) in self.hashes.iter_mut().zip(hashes) {
                all.0 += same;
                all.1 += other;
            }
            odd.extend(some);
            tangled.extend(indexes);
        }
        // Of a damaged dump each chain may lead into all others: these are followed one by one, and no socket twice.
        let mut seen = Seen::default();
        let mut again = Vec::new();
        for index in tangled {
            let hashes = &mut self.hashes;
            if let Some(head) = head(index)
                && let Some(bucket) = Bucket::read(head, index, place, hashes, Some(&mut seen))
            {
                again.push(bucket);
            }
        }
        for mut bucket in again {
            bucket.leave_others(&seen);
            all_sockets += bucket.sockets;
            let index = bucket.index;
            if bucket.sockets > many || bucket.is_odd() && !lock(index).is_some_and(is_held) {
                odd.push(bucket);
            }
        }
        odd.sort_by_key(|bucket| bucket.index);
        self.odd.extend(odd);
        if place.table == Table::Connections {
            self.sockets += all_sockets;
        }
    }
}

/// Sockets of chains whose links back are not all right.
#[derive(Default)]
struct Seen {
    /// On the chain of their hash.
    placed: HashSet<u64>,
    /// On another one.
    misplaced: HashSet<u64>,
}

impl Bucket {
    fn is_odd(&self) -> bool {
        !(self.misplaced.is_empty()
            && self.rehashed.is_empty()
            && self.unlinked.is_empty()
            && self.leads_into.is_none()
            && self.foreign_end.is_none())
    }

    /// Takes away what turned out to be on its own chain, too: this one leads into that.
    fn leave_others(&mut self, seen: &Seen) {
        let mut own = self.misplaced.iter();
        let Some(place) = own.position(|(socket, _)| seen.placed.contains(socket)) else {
            return;
        };
        let first = self.misplaced[place];
        let others: HashSet<u64> = self
            .misplaced
            .drain(place..)
            .map(|(socket, _)| socket)
            .collect();
        self.unlinked
            .retain(|unlinked| !others.contains(&unlinked.address));
        self.leads_into = Some(first);
        self.foreign_end = None;
        self.is_cut = true;
    }

    /// Ends with a socket at which the chain leads into another one, or back into itself: that is a wrong link.
    fn end_at(&mut self, address: u64, own: usize, (from, back): (u64, u64)) {
        self.is_cut = true;
        let is_circle =
            own == self.index || self.misplaced.iter().any(|(socket, _)| *socket == address);
        let is_told = self
            .unlinked
            .iter()
            .any(|unlinked| unlinked.address == address);
        if !is_circle {
            self.leads_into = Some((address, own));
        } else if !is_told {
            self.unlinked.push(Unlinked {
                address,
                from,
                back,
            });
        }
    }

    /// Follows a chain. `None` if a link back is not to what leads there, and it isn't said which sockets of such chains were seen.
    fn read(
        head: hlist_nulls_head<'_>,
        index: usize,
        place: &Place,
        hashes: &mut [(usize, usize); 2],
        mut seen: Option<&mut Seen>,
    ) -> Option<Self> {
        let mut bucket = Bucket {
            table: place.table,
            index,
            sockets: 0,
            is_cut: false,
            misplaced: Vec::new(),
            rehashed: Vec::new(),
            unlinked: Vec::new(),
            leads_into: None,
            foreign_end: None,
        };
        let before = *hashes;
        let mut end = head.first().addr();
        // Links are at the beginning of the head and of each node.
        let mut from = head.addr();
        for socket in head.entries(sock_common::skc_nulls_node) {
            let Ok(socket) = socket else {
                // Where it ends can't be known.
                bucket.is_cut = true;
                return Some(bucket);
            };
            let node = socket.skc_nulls_node();
            end = node.next().addr();
            let back = node.pprev().addr();
            let hash = place.hash(socket);
            let own = hash.map_or(index, |hash| (hash & place.mask) as usize);
            if back != from && seen.is_none() {
                *hashes = before;
                return None;
            }
            if let Some(seen) = &mut seen {
                let is_mine = own == index;
                let is_others = back != from
                    && !is_mine
                    && socket.memory().word(back).is_ok_and(|to| to == node.addr());
                let is_new = if is_mine {
                    seen.placed.insert(socket.addr())
                } else {
                    !is_others && seen.misplaced.insert(socket.addr())
                };
                if !is_new {
                    bucket.end_at(socket.addr(), own, (from, back));
                    return Some(bucket);
                }
            }
            bucket.sockets += 1;
            if back != from {
                let address = socket.addr();
                bucket.unlinked.push(Unlinked {
                    address,
                    from,
                    back,
                });
            }
            from = node.addr();
            if own != index {
                bucket.misplaced.push((socket.addr(), own));
                continue;
            }
            let (Some(hash), Some(secrets)) = (hash, &place.secrets) else {
                continue;
            };
            if let Some(is_right) = hash::is_of_connection(hash, socket, secrets) {
                let is_ipv6 = hash::is_ipv6(socket);
                let (same, other) = &mut hashes[usize::from(is_ipv6)];
                if is_right {
                    *same += 1;
                } else {
                    *other += 1;
                    bucket.rehashed.push(Rehashed {
                        address: socket.addr(),
                        is_ipv6,
                        hash,
                    });
                }
            }
        }
        bucket.foreign_end = (end != place.end(index)).then_some(end >> 1);
        Some(bucket)
    }
}

impl Place {
    /// What a bucket's chain ends with.
    fn end(&self, index: usize) -> u64 {
        nulls_end(self.base + index as u64)
    }

    /// The hash by which a socket is put into a bucket.
    fn hash(&self, socket: sock_common<'_>) -> Option<u32> {
        match self.table {
            Table::Connections => Some(socket.skc_hash()),
            #[cfg(not(kernel_has = "inet_hashinfo.listening_hash"))]
            Table::Listeners => hash::of_listener(socket),
            #[cfg(kernel_has = "inet_hashinfo.listening_hash")]
            Table::Listeners => None,
        }
    }
}

//! How TCP's tables are built: whether each socket is where the kernel looks for it.

use std::collections::HashSet;

use kernel::{hlist_nulls_head, sock_common, spinlock};
use kstruct::{Memory, View as _, offset_of, walk};
use linux::Faults;

use super::Chain;
use super::hash::{self, Secrets};
use super::read::{buckets, hashinfos};
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
    /// Whether these are not all: too many of them shouldn't be there.
    pub is_cut: bool,
    /// Sockets whose hash says that they are in another bucket: their addresses, and that bucket.
    pub misplaced: Vec<(u64, usize)>,
    /// Sockets whose hash is another one than that of their ends.
    pub rehashed: Vec<Rehashed>,
    /// Sockets whose link back (`pprev`) is not to what leads to them: their addresses, and to where it is instead.
    pub unlinked: Vec<(u64, u64)>,
    /// The number at the end of the chain, if that is the end of another one: what was behind is not found.
    pub foreign_end: Option<u64>,
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
}

impl Layout {
    /// Whether it is known how connections of this version of IP are hashed: otherwise none has the hash of its ends.
    pub fn knows_hash(&self, is_ipv6: bool) -> bool {
        self.hashes[usize::from(is_ipv6)].0 > 0
    }
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
    let secrets = wants_hashes.then(|| Secrets::of(k));
    for table in hashinfos(k, spaces, &mut unsaid) {
        // Namespaces with their own table of connections share that of listeners.
        let mut is_new = |address: u64| {
            let is_new = !seen.contains(&address);
            seen.push(address);
            is_new
        };
        let array =
            buckets(table.addr(), table.ehash_mask()).and_then(|count| table.ehash().array(count));
        if is_new(table.ehash().addr())
            && let Ok(array) = array
        {
            let place = Place {
                table: Table::Connections,
                mask: table.ehash_mask(),
                base: 0,
                secrets,
            };
            layout.buckets += array.len();
            // One lock is for several buckets (`inet_ehash_lockp`).
            let locks = (table.ehash_locks_mask() as usize)
                .checked_add(1)
                .and_then(|count| table.ehash_locks().array(count).ok());
            let lock = |index: usize| {
                let locks = locks.as_ref()?;
                locks.get(index & table.ehash_locks_mask() as usize)
            };
            let head = |index| array.get(index).map(|bucket| bucket.chain());
            layout.add(&place, array.len(), many, head, lock);
        }
        #[cfg(not(kernel_has = "inet_hashinfo.listening_hash"))]
        {
            /// `LISTENING_NULLS_BASE` (include/net/inet_hashtables.h)
            const BASE: u64 = 1 << 29;
            let array = buckets(table.addr(), table.lhash2_mask())
                .and_then(|count| table.lhash2().array(count));
            if is_new(table.lhash2().addr())
                && let Ok(array) = array
            {
                let place = Place {
                    table: Table::Listeners,
                    mask: table.lhash2_mask(),
                    base: BASE,
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
    if let Some(node) = head.first_node() {
        let socket = node.wrapping_sub(NODE as u64);
        let memory = head.memory();
        memory.prefetch(socket, NODE + 2 * usize::from(kernel::KERNEL.pointer_size));
    }
}

impl Layout {
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
            let heads: Vec<_> = (start..count.min(start + PIECE))
                .filter_map(|index| Some((index, head(index)?)))
                .inspect(|(_, head)| prefetch_first(*head))
                .collect();
            for (index, head) in heads {
                let bucket = Bucket::read(head, index, place, &mut hashes);
                sockets += bucket.sockets;
                // Somebody was about to put a socket in or take one out: not all links need fit together.
                if bucket.sockets > many || bucket.is_odd() && !lock(index).is_some_and(is_held) {
                    odd.push(bucket);
                }
            }
            (sockets, odd, hashes)
        });
        // A socket to which several chains lead is told of once.
        let mut misplaced = HashSet::new();
        let (mut unlinked, mut rehashed) = (HashSet::new(), HashSet::new());
        for (sockets, odd, hashes) in pieces {
            if place.table == Table::Connections {
                self.sockets += sockets;
            }
            for (all, (same, other)) in self.hashes.iter_mut().zip(hashes) {
                all.0 += same;
                all.1 += other;
            }
            for mut bucket in odd {
                bucket
                    .misplaced
                    .retain(|(socket, _)| misplaced.insert(*socket));
                bucket
                    .unlinked
                    .retain(|(socket, _)| unlinked.insert(*socket));
                bucket
                    .rehashed
                    .retain(|wrong| rehashed.insert(wrong.address));
                self.odd.push(bucket);
            }
        }
    }
}

impl Bucket {
    fn is_odd(&self) -> bool {
        !(self.misplaced.is_empty()
            && self.rehashed.is_empty()
            && self.unlinked.is_empty()
            && self.foreign_end.is_none())
    }

    fn read(
        head: hlist_nulls_head<'_>,
        index: usize,
        place: &Place,
        hashes: &mut [(usize, usize); 2],
    ) -> Self {
        /// A chain with so many sockets that shouldn't be there is not followed: it may lead into another one, and that into yet another.
        const MOST: usize = 16;
        let mut bucket = Bucket {
            table: place.table,
            index,
            sockets: 0,
            is_cut: false,
            misplaced: Vec::new(),
            rehashed: Vec::new(),
            unlinked: Vec::new(),
            foreign_end: None,
        };
        let mut end = head.first().addr();
        // Links are at the beginning of the head and of each node.
        let mut from = head.addr();
        for socket in head.sockets() {
            let Ok(socket) = socket else {
                // Where it ends can't be known.
                return bucket;
            };
            if bucket.misplaced.len() + bucket.unlinked.len() >= MOST {
                bucket.is_cut = true;
                return bucket;
            }
            bucket.sockets += 1;
            let node = socket.skc_nulls_node();
            end = node.next().addr();
            let back = node.pprev().addr();
            if back != from {
                bucket.unlinked.push((socket.addr(), back));
            }
            from = node.addr();
            let Some(hash) = place.hash(socket) else {
                continue;
            };
            let own = (hash & place.mask) as usize;
            if own != index {
                bucket.misplaced.push((socket.addr(), own));
                continue;
            }
            let Some(secrets) = &place.secrets else {
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
        let right = (place.base + index as u64) << 1 | 1;
        bucket.foreign_end = (end != right).then_some(end >> 1);
        bucket
    }
}

impl Place {
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

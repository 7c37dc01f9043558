//! Kernels since 5.3, whose two families share their next hops. Differences between them are met in these modules.

pub mod exceptions;
pub mod fib;
pub mod fib6;
pub mod hop;
#[cfg(kernel_has = "mr_mfc.mfc_un")]
pub mod multicast;
pub mod neighbours;
pub mod nexthops;
pub mod rules;
pub mod trie;

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use kernel::{net, nexthop};
use kstruct::{Fault, FaultKind, Memory, Ptr, View};
use linux::Faults;
use linux::net::Namespace;
use linux::net::address;
use linux::time::{Age, Clock};

use crate::model::{Expiry, Family, Metric, Prefix};
use crate::names;

/// What is in that place contradicts what leads to it.
fn inconsistent(address: u64) -> Fault {
    Fault {
        address,
        kind: FaultKind::Inconsistent,
    }
}

/// A routing table, which a namespace has on a list, and some by a pointer, too.
pub(crate) trait Table: Copy {
    /// What all of a namespace are called.
    const ALL: &'static str;
    /// What one is called that the pointer leads to, and no list.
    const LOST: &'static str;

    /// Its number.
    fn number(self) -> u32;
}

/// Holds the table of a number against the namespace's pointer to it, which is set with it and stays (`fib_new_table`,
/// `fib6_tables_init`). Adds it where it is on no list.
pub(crate) fn add_pointed<'m, T: Table + View<'m>>(
    faults: &mut Faults,
    found: &mut Vec<T>,
    number: u32,
    pointer: Ptr<'m, T>,
) {
    let address = pointer.addr();
    let listed = found.iter().find(|table| table.number() == number);
    if listed.is_some_and(|table| table.as_ptr().addr() == address)
        || listed.is_none() && pointer.is_null()
    {
        return;
    }
    let is_lost = listed.is_none();
    if let Some(table) = faults.check(T::ALL, pointer.deref()) {
        let is_it = table.number() == number;
        let what = if is_lost && is_it { T::LOST } else { T::ALL };
        faults.add(what, inconsistent(address));
        if is_lost && is_it {
            found.push(table);
        }
    }
}

/// A namespace whose routing is read, and what is needed for it.
pub struct Context<'m, 'f> {
    /// The dump.
    pub k: &'m Memory,
    /// The namespace.
    pub net: net<'m>,
    /// Its inode number.
    pub netns: u64,
    /// The dump's clock.
    pub clock: Clock,
    /// Names of congestion control algorithms by their keys.
    pub congestion: &'f [(u32, String)],
    /// What could not be read.
    pub faults: &'f mut Faults,
    /// Each IPv4 route that was met, with what it refers to: addresses of a `fib_alias` and a `fib_info`.
    pub(crate) aliases: Vec<(u64, u64)>,
    /// Addresses of its next hop objects, if all could be read.
    objects: Option<HashSet<u64>>,
    /// Those of which was said that they aren't among them.
    lost: HashSet<u64>,
}

impl<'m, 'f> Context<'m, 'f> {
    /// What a namespace's routing is read with.
    pub fn new(
        k: &'m Memory,
        namespace: Namespace<'m>,
        clock: Clock,
        congestion: &'f [(u32, String)],
        faults: &'f mut Faults,
    ) -> Self {
        Context {
            k,
            net: namespace.net(),
            netns: namespace.inode().unwrap_or_default(),
            clock,
            congestion,
            faults,
            aliases: Vec::new(),
            objects: None,
            lost: HashSet::new(),
        }
    }

    /// Lets routes and groups be held against the next hop objects that there are.
    pub fn expect_objects(&mut self, objects: &[nexthop<'m>]) {
        self.objects = Some(objects.iter().map(|object| object.addr()).collect());
    }

    /// The next hop object that a route or a group refers to. One that is removed is taken out of all of them while the lock is held under which
    /// it was taken out of its namespace (`remove_nexthop`, net/ipv4/nexthop.c).
    pub(crate) fn object(
        &mut self,
        pointer: Ptr<'m, nexthop<'m>>,
    ) -> Result<Option<nexthop<'m>>, Fault> {
        let object = pointer.deref_or_null()?;
        let address = pointer.addr();
        let is_lost = object.is_some()
            && (self.objects.as_ref()).is_some_and(|known| !known.contains(&address));
        if is_lost && self.lost.insert(address) {
            let what = "next hop object that its namespace doesn't have";
            self.faults.add(what, inconsistent(address));
        }
        Ok(object)
    }

    /// When a stamp of `jiffies` will be.
    pub(crate) fn expiry(&self, then: u64) -> Expiry {
        let until = self.clock.until(self.k, then);
        let (jiffies, sign) = match until.jiffies {
            0 => (self.clock.age(self.k, then).jiffies, -1),
            ahead => (ahead, 1),
        };
        let jiffies = i64::try_from(jiffies).unwrap_or(i64::MAX) * sign;
        let hz = self.clock.hz.and_then(|hz| i64::try_from(hz).ok());
        Expiry {
            jiffies,
            seconds: hz.and_then(|hz| jiffies.checked_div(hz)),
        }
    }

    /// A span of time in jiffies.
    pub(crate) fn span(&self, jiffies: u64) -> Age {
        self.clock.age(self.k, self.clock.now.wrapping_sub(jiffies))
    }

    /// `rtnetlink_put_metrics`, net/core/rtnetlink.c: those that are set.
    pub(crate) fn metrics(&self, metrics: kernel::dst_metrics<'_>) -> Vec<Metric> {
        self.metric_values(metrics.metrics().iter())
    }

    pub(crate) fn metric_values(&self, values: impl Iterator<Item = u32>) -> Vec<Metric> {
        /// `RTAX_FEATURE_MASK`: the bits above are the kernel's own.
        const FEATURES: u32 = 0x1f;
        let values: Vec<u32> = values.collect();
        // The first, RTAX_LOCK, has a bit for each of the others by their numbers.
        let locks = values.first().copied().unwrap_or(0);
        let mut found = Vec::new();
        for (index, value) in values.iter().copied().enumerate().skip(1) {
            let Some(name) = names::METRICS.get(index - 1).copied() else {
                continue;
            };
            let value = if name == "features" {
                value & FEATURES
            } else {
                value
            };
            if value == 0 {
                continue;
            }
            let text = (name == "congctl").then(|| {
                let known = self.congestion.iter().find(|(key, _)| *key == value);
                known.map_or_else(|| format!("{value:#x}"), |(_, name)| name.clone())
            });
            found.push(Metric {
                name,
                value,
                text,
                locked: locks >> (index + 1) & 1 != 0,
            });
        }
        found
    }
}

/// The congestion control algorithms that the kernel has now, by the key by which routes name them (`tcp_ca_get_name_by_key`,
/// net/ipv4/tcp_cong.c).
#[cfg(kernel_has = "sym:tcp_cong_list")]
pub fn congestion_controls(k: &Memory, faults: &mut Faults) -> Vec<(u32, String)> {
    let what = "list of congestion controls";
    let mut found = Vec::new();
    if let Some(head) = faults.check(what, k.get(kernel::sym::tcp_cong_list)) {
        for algorithm in head.entries(kernel::tcp_congestion_ops::list) {
            if let Some(algorithm) = faults.check(what, algorithm) {
                found.push((algorithm.key(), algorithm.name().to_string()));
            }
        }
    }
    found
}

/// Nobody knows where the list is.
#[cfg(not(kernel_has = "sym:tcp_cong_list"))]
pub fn congestion_controls(_: &Memory, _: &mut Faults) -> Vec<(u32, String)> {
    Vec::new()
}

/// An IPv4 address in network order.
pub(crate) fn ipv4(value: u32) -> IpAddr {
    IpAddr::V4(address::ipv4(value))
}

/// The bytes of an IPv6 address.
pub(crate) fn ipv6(value: kernel::in6_addr<'_>) -> Ipv6Addr {
    address::ipv6(value)
}

/// `struct rt6key`. A length that no address has is a fault.
pub(crate) fn prefix6(key: kernel::rt6key<'_>) -> Result<Prefix, Fault> {
    let length = u8::try_from(key.plen()).ok().filter(|it| *it <= 128);
    Ok(Prefix {
        address: IpAddr::V6(ipv6(key.addr_())),
        length: length.ok_or_else(|| inconsistent(key.addr()))?,
    })
}

/// An IPv4 network whose address is a number in the machine's order.
pub(crate) fn prefix4(key: u32, length: u8) -> Prefix {
    Prefix {
        address: IpAddr::V4(Ipv4Addr::from(key)),
        length,
    }
}

/// The name of a route's type, of which the kernel takes none above `RTN_MAX` (`fib_create_info`, `ip6_route_info_create`). Also given
/// is the address of what has it.
pub(crate) fn route_type(number: u16, address: u64) -> Result<String, Fault> {
    const MOST: u8 = 11;
    let number = u8::try_from(number).ok().filter(|it| *it <= MOST);
    Ok(names::route_type(
        number.ok_or_else(|| inconsistent(address))?,
    ))
}

pub use linux::net::is_changing;

/// `AF_INET` or `AF_INET6`.
pub(crate) fn family(number: i32) -> Option<Family> {
    match number {
        2 => Some(Family::Inet),
        10 => Some(Family::Inet6),
        _ => None,
    }
}

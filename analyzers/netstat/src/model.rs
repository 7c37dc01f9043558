//! What is found, as plain data. Fields are named in JSON as here.

use serde::Serialize;

/// A network namespace's counters.
#[derive(Debug, Serialize)]
pub struct Namespace {
    /// Its inode number.
    pub netns: u64,
    /// Counters of the protocols, named as `nstat` names them: `TcpExtTCPTimeouts`.
    pub counters: Vec<Counter>,
    /// IPv6 counters of each interface.
    pub devices: Vec<Device>,
    /// What sockets use. Numbers of TCP but for `inuse` and `tw` are those of all namespaces.
    pub sockets: Vec<Sockets>,
    /// What IPv6 routing holds, as /proc/net/rt6_stats.
    pub rt6: Vec<Counter>,
}

/// What one CPU counted of IPv4 routing, in all namespaces: a row of /proc/net/stat/rt_cache. Columns that are always 0 are left out.
#[derive(Debug, Serialize)]
pub struct RtCache {
    /// The CPU's number.
    pub cpu: u32,
    /// `entries` (of all CPUs), `in_slow_tot` ...
    pub counters: Vec<Counter>,
}

/// A counter.
#[derive(Debug, Serialize)]
pub struct Counter {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Value,
}

/// A counter's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// What counts.
    Unsigned(u64),
    /// What may be -1, as is `TcpMaxConn`.
    Signed(i64),
}

impl Value {
    /// Whether it is 0.
    pub fn is_zero(self) -> bool {
        matches!(self, Value::Unsigned(0) | Value::Signed(0))
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Unsigned(value) => f.pad(&value.to_string()),
            Value::Signed(value) => f.pad(&value.to_string()),
        }
    }
}

/// IPv6 counters of an interface.
#[derive(Debug, Serialize)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Its number.
    pub ifindex: i32,
    /// Its counters.
    pub counters: Vec<Counter>,
}

/// A line of /proc/net/sockstat.
#[derive(Debug, Serialize)]
pub struct Sockets {
    /// `TCP`, `UDP6`, `FRAG` ...
    pub protocol: &'static str,
    /// Its numbers: `inuse`, `orphan`, `tw`, `alloc`, and `mem` in pages; `memory` of fragments in bytes.
    pub numbers: Vec<(&'static str, i64)>,
}

impl Counter {
    /// A counter that only counts.
    pub fn new(name: impl Into<String>, value: u64) -> Self {
        Counter {
            name: name.into(),
            value: Value::Unsigned(value),
        }
    }
}

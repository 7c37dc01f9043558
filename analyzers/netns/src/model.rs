//! What is found, as plain data. Fields are named in JSON as here.

use serde::Serialize;

/// A network namespace.
#[derive(Serialize)]
pub struct Namespace {
    /// The inode number, as in `net:[4026531840]`.
    pub netns: u64,
    /// The `net`.
    #[serde(serialize_with = "linux::app::hex")]
    pub address: u64,
    /// Its number as the initial namespace sees it (`ip netns`: `id`); none if nobody asked for it.
    pub nsid: Option<u64>,
    /// The number that is never given again (`SO_NETNS_COOKIE`).
    pub cookie: Option<u64>,
    /// The inode number of the user namespace that owns it.
    pub user_ns: Option<u64>,
    /// References that keep it working: of tasks, files, mounts, sockets.
    pub refcnt: Option<i64>,
    /// Where it is mounted: the last names of the paths, those of `ip netns` among them.
    pub names: Vec<String>,
    /// Processes in it.
    pub tasks: Vec<Task>,
    /// How many interfaces it has.
    pub devices: usize,
    /// Whether the loopback interface is up.
    pub loopback_is_up: Option<bool>,
    /// Settings by their names in /proc/sys/net.
    pub sysctls: Vec<(&'static str, i64)>,
    /// How much there is: sockets, routing tables, rules, mounted names.
    pub sizes: Vec<(&'static str, i64)>,
}

/// A process.
#[derive(Serialize)]
pub struct Task {
    /// Its number.
    pub pid: i32,
    /// Its name.
    pub comm: String,
}

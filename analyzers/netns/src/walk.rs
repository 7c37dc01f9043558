//! What there is of network namespaces (include/net/net_namespace.h).

use std::collections::BTreeMap;

use kernel::{constants, ipv4_devconf, net, sym};
use kstruct::{Fault, Memory, Ptr, View as _};
use linux::{Faults, cpu, task};

use crate::model::{Namespace, Task};

/// All of them in the kernel's order.
pub fn namespaces(k: &Memory, faults: &mut Faults) -> Vec<Namespace> {
    let mut tasks = tasks(k, faults);
    let mut names = names(k, faults);
    let cpus = faults
        .check("the mask of CPUs", cpu::possible(k))
        .unwrap_or_default();
    let mut found = Vec::new();
    for namespace in linux::net::namespaces(k, faults) {
        let net = namespace.net();
        let mut devices = 0;
        for device in namespace.devices() {
            if faults.check("list of interfaces", device).is_some() {
                devices += 1;
            }
        }
        let netns = namespace.inode().unwrap_or_default();
        let what = |what: &str| format!("{what} of net:[{netns}]");
        let loopback = loopback_is_up(net);
        let sysctls = faults.check(what("settings"), sysctls(net));
        let sizes = faults.check(what("sizes"), sizes(net, &cpus));
        let owner = net.user_ns().deref();
        let owner = faults.check(what("user namespace"), owner);
        found.push(Namespace {
            netns,
            address: net.addr(),
            nsid: faults.check(what("number"), nsid(k, net)).flatten(),
            cookie: cookie(net),
            user_ns: owner.map(|owner| owner.ns().inum().into()),
            refcnt: references(net),
            names: names.remove(&netns).unwrap_or_default(),
            tasks: tasks.remove(&net.addr()).unwrap_or_default(),
            devices,
            loopback_is_up: faults.check(what("loopback"), loopback).flatten(),
            sysctls: sysctls.unwrap_or_default(),
            sizes: sizes.unwrap_or_default(),
        });
    }
    found
}

/// Processes by the address of their namespace. One that is ending is in none.
fn tasks(k: &Memory, faults: &mut Faults) -> BTreeMap<u64, Vec<Task>> {
    let mut found: BTreeMap<u64, Vec<Task>> = BTreeMap::new();
    for group in task::groups(k, faults) {
        let Some(task) = group.first() else {
            continue;
        };
        let what = format_args!("namespaces of task {}", task.pid());
        let Some(Some(proxy)) = faults.check(what, task.nsproxy().deref_or_null()) else {
            continue;
        };
        found.entry(proxy.net_ns().addr()).or_default().push(Task {
            pid: task.pid(),
            comm: task.comm().to_string(),
        });
    }
    found
}

/// Where namespaces are mounted, by their inode numbers: the last names of the paths. All such mounts are of the one file system of
/// namespaces (fs/nsfs.c).
#[cfg(all(kernel_has = "sym:nsfs_mnt", kernel_has = "mount.mnt_instance"))]
fn names(k: &Memory, faults: &mut Faults) -> BTreeMap<u64, Vec<String>> {
    const WHAT: &str = "mounts of namespaces";
    let mut found: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let file_system = k
        .get(sym::nsfs_mnt)
        .and_then(Ptr::deref)
        .and_then(|mount| mount.mnt_sb().deref());
    let Some(file_system) = faults.check(WHAT, file_system) else {
        return found;
    };
    for mount in file_system.s_mounts().entries(kernel::mount::mnt_instance) {
        let name = mount.and_then(|mount| {
            // The kernel's own mount of the whole.
            if mount.mnt_parent().addr() == mount.addr() {
                return Ok(None);
            }
            let inode = mount.mnt().mnt_root().deref()?.d_inode().deref()?;
            let point = mount.mnt_mountpoint().deref()?;
            let name = point.d_name().name().cast::<kstruct::view::Char>();
            Ok(Some((inode.i_ino(), name.read()?.to_string())))
        });
        if let Some(Some((inode, name))) = faults.check(WHAT, name) {
            // Each mount namespace has a mount of its own.
            let names = found.entry(inode).or_default();
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    found
}

/// Older kernels mount namespaces elsewhere.
#[cfg(not(all(kernel_has = "sym:nsfs_mnt", kernel_has = "mount.mnt_instance")))]
fn names(_: &Memory, _: &mut Faults) -> BTreeMap<u64, Vec<String>> {
    BTreeMap::new()
}

/// The number by which the initial namespace knows it.
#[cfg(kernel_has = "net.netns_ids.idr_rt")]
fn nsid(k: &Memory, wanted: net<'_>) -> Result<Option<u64>, Fault> {
    for entry in k.get(sym::init_net)?.netns_ids().entries::<net<'_>>() {
        let (number, known) = entry?;
        if known.addr() == wanted.addr() {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

#[cfg(not(kernel_has = "net.netns_ids.idr_rt"))]
fn nsid(_: &Memory, _: net<'_>) -> Result<Option<u64>, Fault> {
    Ok(None)
}

#[cfg(kernel_has = "net.net_cookie")]
fn cookie(net: net<'_>) -> Option<u64> {
    Some(net.net_cookie())
}

#[cfg(not(kernel_has = "net.net_cookie"))]
fn cookie(_: net<'_>) -> Option<u64> {
    None
}

/// `ns_common.count`, since 5.11.
#[cfg(kernel_has = "net.ns.count")]
fn references(net: net<'_>) -> Option<i64> {
    Some(net.ns().count().value().into())
}

#[cfg(not(kernel_has = "net.ns.count"))]
fn references(_: net<'_>) -> Option<i64> {
    None
}

fn loopback_is_up(net: net<'_>) -> Result<Option<bool>, Fault> {
    /// `IFF_UP`
    const UP: u32 = 1;
    let device = net.loopback_dev().deref_or_null()?;
    Ok(device.map(|device| u32::from(device.flags()) & UP != 0))
}

/// What most often explains why packets go astray.
fn sysctls(net: net<'_>) -> Result<Vec<(&'static str, i64)>, Fault> {
    let v4 = net.ipv4();
    let all = v4.devconf_all().deref()?;
    let of_all = |number: u32| setting(all, number);
    let mut found = vec![
        (
            "ipv4.conf.all.forwarding",
            of_all(constants::IPV4_DEVCONF_FORWARDING as u32),
        ),
        (
            "ipv4.conf.all.rp_filter",
            of_all(constants::IPV4_DEVCONF_RP_FILTER as u32),
        ),
        (
            "ipv4.conf.all.accept_redirects",
            of_all(constants::IPV4_DEVCONF_ACCEPT_REDIRECTS as u32),
        ),
        (
            "ipv4.conf.all.arp_ignore",
            of_all(constants::IPV4_DEVCONF_ARP_IGNORE as u32),
        ),
        ("ipv4.ip_default_ttl", v4.sysctl_ip_default_ttl().into()),
        ("ipv4.ip_no_pmtu_disc", v4.sysctl_ip_no_pmtu_disc().into()),
        ("ipv4.ip_nonlocal_bind", v4.sysctl_ip_nonlocal_bind().into()),
        ("ipv4.tcp_syncookies", v4.sysctl_tcp_syncookies().into()),
        ("ipv4.tcp_tw_reuse", v4.sysctl_tcp_tw_reuse().into()),
        ("ipv4.tcp_fin_timeout", v4.sysctl_tcp_fin_timeout().into()),
        (
            "ipv4.tcp_max_syn_backlog",
            v4.sysctl_max_syn_backlog().into(),
        ),
        ("core.somaxconn", net.core().sysctl_somaxconn().into()),
    ];
    // The kernel keeps it in jiffies.
    if let Some(hz) = linux::time::hz(net.memory())?.and_then(|hz| i64::try_from(hz).ok()) {
        for (name, value) in &mut found {
            if *name == "ipv4.tcp_fin_timeout" {
                *value = value.checked_div(hz).unwrap_or(*value);
            }
        }
    }
    if let Some(all) = net.ipv6().devconf_all().deref_or_null()? {
        found.push(("ipv6.conf.all.forwarding", i64::from(all.forwarding())));
        found.push(("ipv6.conf.all.disable_ipv6", i64::from(all.disable_ipv6())));
    }
    Ok(found)
}

/// `IPV4_DEVCONF`: numbers begin with 1.
fn setting(all: ipv4_devconf<'_>, number: u32) -> i64 {
    let index = (number as usize).wrapping_sub(1);
    all.data().get(index).map_or(0, i64::from)
}

/// How much a namespace holds.
fn sizes(net: net<'_>, cpus: &[u32]) -> Result<Vec<(&'static str, i64)>, Fault> {
    let mut found = Vec::new();
    #[cfg(kernel_has = "prot_inuse.all")]
    {
        let mut sockets = 0_i64;
        for cpu in cpus {
            let inuse = net.core().prot_inuse().on_cpu(*cpu)?.deref()?;
            sockets = sockets.wrapping_add(inuse.all().into());
        }
        found.push(("sockets", sockets.max(0)));
    }
    let _ = cpus;
    let waiting = net.ipv4().tcp_death_row().tw_refcount().value();
    found.push(("tcp_time_wait", i64::from(waiting) - 1));
    let fragments = net.ipv4().fqdir().deref()?;
    found.push(("ipv4_fragments_bytes", fragments.mem().value().into()));
    if let Some(stats) = net.ipv6().rt6_stats().deref_or_null()? {
        found.push(("ipv6_routes", stats.fib_rt_entries().into()));
    }
    let mut rules = 0_i64;
    for ops in net.rules_ops().entries(kernel::fib_rules_ops::list) {
        for rule in ops?.rules_list().entries(kernel::fib_rule::list) {
            rule?;
            rules += 1;
        }
    }
    found.push(("rules", rules));
    Ok(found)
}

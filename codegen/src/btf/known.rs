//! Well-known variables and their C types. BTF has the types of per-CPU variables only, and an analyzer starts from a few
//! others.
//!
//! The one place where codegen knows kernel variables. It is used for BTF only, and only where the kernel has both the symbol and
//! the type. Each type is the same in all kernels that have BTF (5.2 and later), or a variable stands here with each of its types, of which a
//! kernel has one; what changes otherwise is not here.

use crate::model::{Encoding, Item, ItemId, Kind, Model, Place, Type, Variable};

use super::symbols::Symbols;

/// What a well-known variable is.
enum Is {
    Struct(&'static str),
    Typedef(&'static str),
    Long,
    ULong,
    ULongLong,
    Int,
    UInt,
    /// `atomic_long_t []`, with as many elements as this enumerator says.
    Counters(&'static str),
    /// A struct without a name, by all of its members.
    Nameless(&'static [&'static str]),
    /// A pointer to a struct.
    Pointer(&'static str),
    /// `char *`
    Text,
    /// `unsigned long [3]`
    ThreeULong,
    /// An array of `unsigned long` with as many elements as `struct cpumask` has bits: at least `NR_CPUS`.
    ULongPerCpu,
}

/// Name, type, and the file of the kernel that defines it.
const KNOWN: &[(&str, Is, &str)] = &[
    ("__kfence_pool", Is::Text, "mm/kfence/core.c"),
    (
        "_totalram_pages",
        Is::Typedef("atomic_long_t"),
        "mm/page_alloc.c",
    ),
    ("avenrun", Is::ThreeULong, "kernel/sched/loadavg.c"),
    ("arp_tbl", Is::Struct("neigh_table"), "net/ipv4/arp.c"),
    ("nd_tbl", Is::Struct("neigh_table"), "net/ipv6/ndisc.c"),
    ("nsfs_mnt", Is::Pointer("vfsmount"), "fs/nsfs.c"),
    (
        "tcp_cong_list",
        Is::Struct("list_head"),
        "net/ipv4/tcp_cong.c",
    ),
    (
        "blockdev_superblock",
        Is::Pointer("super_block"),
        "block/bdev.c",
    ),
    ("__cpu_present_mask", Is::Struct("cpumask"), "kernel/cpu.c"),
    ("__cpu_online_mask", Is::Struct("cpumask"), "kernel/cpu.c"),
    ("__cpu_possible_mask", Is::Struct("cpumask"), "kernel/cpu.c"),
    (
        "__per_cpu_offset",
        Is::ULongPerCpu,
        "arch/*/kernel/setup_percpu.c, mm/percpu.c",
    ),
    ("hugetlb_max_hstate", Is::Int, "mm/hugetlb.c"),
    ("init_net", Is::Struct("net"), "net/core/net_namespace.c"),
    (
        "init_uts_ns",
        Is::Struct("uts_namespace"),
        "init/version.c, init/version-timestamp.c",
    ),
    ("init_task", Is::Struct("task_struct"), "init/init_task.c"),
    (
        "irq_desc_tree",
        Is::Struct("xarray"),
        "kernel/irq/irqdesc.c",
    ),
    ("jiffies_64", Is::Typedef("u64"), "kernel/time/timer.c"),
    ("max_pfn", Is::ULong, "mm/memblock.c"),
    ("modules", Is::Struct("list_head"), "kernel/module/main.c"),
    (
        "net_hotdata",
        Is::Struct("net_hotdata"),
        "net/core/hotdata.c",
    ),
    (
        "net_namespace_list",
        Is::Struct("list_head"),
        "net/core/net_namespace.c",
    ),
    (
        "nl_table",
        Is::Pointer("netlink_table"),
        "net/netlink/af_netlink.c",
    ),
    // The log of 5.2 to 5.9.
    ("log_buf", Is::Text, "kernel/printk/printk.c"),
    ("log_buf_len", Is::UInt, "kernel/printk/printk.c"),
    ("log_first_idx", Is::UInt, "kernel/printk/printk.c"),
    ("log_first_seq", Is::ULongLong, "kernel/printk/printk.c"),
    ("log_next_seq", Is::ULongLong, "kernel/printk/printk.c"),
    ("nr_node_ids", Is::UInt, "mm/page_alloc.c"),
    (
        "nr_swap_pages",
        Is::Typedef("atomic_long_t"),
        "mm/swapfile.c",
    ),
    ("nr_threads", Is::Int, "kernel/fork.c"),
    ("nr_vmap_nodes", Is::UInt, "mm/vmalloc.c"),
    (
        "packet_proto",
        Is::Struct("proto"),
        "net/packet/af_packet.c",
    ),
    ("page_offset_base", Is::ULong, "arch/x86/kernel/head64.c"),
    ("panic_cpu", Is::Typedef("atomic_t"), "kernel/panic.c"),
    ("ping_table", Is::Struct("ping_table"), "net/ipv4/ping.c"),
    (
        "prb",
        Is::Pointer("printk_ringbuffer"),
        "kernel/printk/printk.c",
    ),
    (
        "purge_vmap_area_list",
        Is::Struct("list_head"),
        "mm/vmalloc.c",
    ),
    ("raw_prot", Is::Struct("proto"), "net/ipv4/raw.c"),
    (
        "raw_v4_hashinfo",
        Is::Struct("raw_hashinfo"),
        "net/ipv4/raw.c",
    ),
    (
        "raw_v6_hashinfo",
        Is::Struct("raw_hashinfo"),
        "net/ipv6/raw.c",
    ),
    ("rawv6_prot", Is::Struct("proto"), "net/ipv6/raw.c"),
    ("rtnl_mutex", Is::Struct("mutex"), "net/core/rtnetlink.c"),
    ("saved_command_line", Is::Text, "init/main.c"),
    ("slab_caches", Is::Struct("list_head"), "mm/slab_common.c"),
    (
        "socket_file_ops",
        Is::Struct("file_operations"),
        "net/socket.c",
    ),
    (
        "sparse_irqs",
        Is::Struct("maple_tree"),
        "kernel/irq/irqdesc.c",
    ),
    (
        "sysctl_hung_task_timeout_secs",
        Is::ULong,
        "kernel/hung_task.c",
    ),
    ("sysctl_overcommit_kbytes", Is::ULong, "mm/util.c"),
    ("sysctl_overcommit_ratio", Is::Int, "mm/util.c"),
    ("tainted_mask", Is::ULong, "kernel/panic.c"),
    (
        "tcp_hashinfo",
        Is::Struct("inet_hashinfo"),
        "net/ipv4/tcp_ipv4.c",
    ),
    ("tasklist_lock", Is::Typedef("rwlock_t"), "kernel/fork.c"),
    ("tcp_prot", Is::Struct("proto"), "net/ipv4/tcp_ipv4.c"),
    ("tcpv6_prot", Is::Struct("proto"), "net/ipv6/tcp_ipv6.c"),
    ("tick_nsec", Is::ULong, "kernel/time/ntp.c"),
    // Before 6.13, and since.
    (
        "tk_core",
        Is::Nameless(&["seq", "timekeeper"]),
        "kernel/time/timekeeping.c",
    ),
    (
        "tk_core",
        Is::Struct("tk_data"),
        "kernel/time/timekeeping.c",
    ),
    ("total_swap_pages", Is::Long, "mm/swapfile.c"),
    ("totalreserve_pages", Is::ULong, "mm/page_alloc.c"),
    ("udp_prot", Is::Struct("proto"), "net/ipv4/udp.c"),
    ("udp_table", Is::Struct("udp_table"), "net/ipv4/udp.c"),
    (
        "udplite_table",
        Is::Struct("udp_table"),
        "net/ipv4/udplite.c",
    ),
    ("udpv6_prot", Is::Struct("proto"), "net/ipv6/udp.c"),
    (
        "unix_dgram_proto",
        Is::Struct("proto"),
        "net/unix/af_unix.c",
    ),
    (
        "unix_stream_proto",
        Is::Struct("proto"),
        "net/unix/af_unix.c",
    ),
    ("vm_committed_as", Is::Struct("percpu_counter"), "mm/util.c"),
    (
        "vm_node_stat",
        Is::Counters("NR_VM_NODE_STAT_ITEMS"),
        "mm/vmstat.c",
    ),
    (
        "vm_zone_stat",
        Is::Counters("NR_VM_ZONE_STAT_ITEMS"),
        "mm/vmstat.c",
    ),
    ("vmap_area_root", Is::Struct("rb_root"), "mm/vmalloc.c"),
    ("vmap_nodes", Is::Pointer("vmap_node"), "mm/vmalloc.c"),
    ("vmemmap_base", Is::ULong, "arch/x86/kernel/head64.c"),
];

/// Adds the well-known variables that the kernel has and that are not there yet.
pub fn add(model: &mut Model, symbols: &Symbols) {
    for (name, is, _) in KNOWN {
        let Some(address) = symbols.unique.get(*name).copied() else {
            continue;
        };
        if model.variables.iter().any(|known| &*known.name == *name) {
            continue;
        }
        let Some(ty) = ty(model, is) else {
            continue;
        };
        model.variables.push(Variable {
            name: (*name).into(),
            ty,
            address,
            module: None,
            per_cpu: false,
            external: true,
            place: Place::default(),
        });
    }
}

fn ty(model: &Model, is: &Is) -> Option<Type> {
    let word = u32::from(model.kernel.pointer_size);
    let number = |name: &str, size, encoding| Type::Base {
        name: name.into(),
        size,
        encoding,
    };
    let ulong = || number("long unsigned int", word, Encoding::Unsigned);
    match is {
        Is::Struct(name) => Some(Type::Item(tag(model, name)?.0)),
        Is::Typedef(name) => typedef(model, name),
        Is::Long => Some(number("long int", word, Encoding::Signed)),
        Is::ULong => Some(ulong()),
        Is::ULongLong => Some(number("long long unsigned int", 8, Encoding::Unsigned)),
        Is::Int => Some(number("int", 4, Encoding::Signed)),
        Is::UInt => Some(number("unsigned int", 4, Encoding::Unsigned)),
        Is::Counters(count) => {
            let mut enumerators = model.items.iter().flat_map(|item| &item.enumerators);
            let count = enumerators.find(|enumerator| &*enumerator.name == *count)?;
            let count = u64::try_from(count.value).ok()?;
            let counter = typedef(model, "atomic_long_t")?;
            Some(Type::Array(Box::new(counter), Some(count)))
        }
        Is::Pointer(name) => {
            let target = Type::Item(tag(model, name)?.0);
            Some(Type::Pointer(Box::new(target)))
        }
        Is::Nameless(members) => Some(Type::Item(nameless(model, members)?)),
        Is::ThreeULong => Some(Type::Array(Box::new(ulong()), Some(3))),
        Is::Text => Some(Type::Pointer(Box::new(number("char", 1, Encoding::Char)))),
        Is::ULongPerCpu => {
            let bits = tag(model, "cpumask")?.1.size.checked_mul(8)?;
            Some(Type::Array(Box::new(ulong()), Some(bits)))
        }
    }
}

fn typedef(model: &Model, name: &str) -> Option<Type> {
    let mut typedefs = model.typedefs.iter();
    let typedef = typedefs.find(|typedef| &*typedef.name == name)?;
    let target = Box::new(typedef.target.clone());
    Some(Type::Typedef(typedef.name.clone(), target))
}

/// The struct that has no name and these members, if there is but one.
fn nameless(model: &Model, members: &[&str]) -> Option<ItemId> {
    let mut found = model.items.iter().enumerate().filter(|(_, item)| {
        let names = item.members.iter().map(|member| &*member.name);
        item.kind == Kind::Struct && item.name.is_empty() && names.eq(members.iter().copied())
    });
    let (index, _) = found.next()?;
    let is_only = found.next().is_none();
    is_only.then_some(ItemId(index as u32))
}

/// The struct of a name, if there is but one.
fn tag<'m>(model: &'m Model, name: &str) -> Option<(ItemId, &'m Item)> {
    let mut found =
        model.items.iter().enumerate().filter(|(_, item)| {
            item.kind == Kind::Struct && &*item.name == name && !item.by_typedef
        });
    let (index, item) = found.next()?;
    found
        .next()
        .is_none()
        .then_some((ItemId(index as u32), item))
}

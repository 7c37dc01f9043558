//! Prints as JSON what a dump has in containers of all kinds: the test `lab_containers` compares it with what the kernel said of
//! itself, and with what other containers of the same dump say.
#![forbid(unsafe_code)]

mod clocks;
mod frames;
mod waits;

use std::collections::{BTreeMap, BTreeSet};

use kernel::{
    dentry, device_private, inode, kernfs_node, kmem_cache, kobject, mount, subsys_private,
    super_block, sym, task_struct,
};
use kstruct::{Fault, Kallsyms, Memory, Ptr, View as _};
use linux::page::Pages;
use linux::slab::{Object, Slabs};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Fault>;

fn main() -> Result<()> {
    let core = std::env::args_os().nth(1).expect("the dump");
    let k = &Memory::open(core.as_ref(), &kernel::KERNEL, false).expect("the dump can be opened");
    let symbols = Kallsyms::read(k)?.expect("VMCOREINFO names the tables");
    assert_eq!(symbols.faults(), []);
    let slabs = Slabs::of(k)?;
    let tasks = tasks(k)?;
    let report = json!({
        "backwards": backwards(k)?,
        "vmas": vmas(&tasks)?,
        "vm_area_structs": against_slab(k, &slabs, "vm_area_struct", vma_addresses(&tasks)?)?,
        "task_structs": against_slab(k, &slabs, "task_struct", task_addresses(k, &tasks)?)?,
        "dentries": against_slab(k, &slabs, "dentry", hashed_dentries(k, &slabs)?)?,
        "hashed_dentries": hashed(k)?.len(),
        "pids": pids(k)?,
        "sysfs": sysfs(k)?,
        "buses": buses(k)?,
        "irqs": linux::irq::descriptors(k)?.map(|found| Ok(found?.0)).collect::<Result<Vec<_>>>()?,
        "page_cache": page_cache(k)?,
        "mount_ids": mount_ids(k, &slabs)?,
        "clocks": clocks::report(k)?,
        "waits": waits::report(k, &tasks)?,
        "frames": frames::report(k, &slabs)?,
        "slabinfo": slabinfo(k, &slabs)?,
        "committed": committed(k)?,
        "page_flags": page_flags(k)?,
        "vmalloc": vmalloc(k, &symbols)?,
        "symbols": symbols.iter().map(|s| json!([s.address, s.letter, s.name])).collect::<Vec<_>>(),
        "module_symbols": module_symbols(k)?,
    });
    println!("{report}");
    Ok(())
}

/// All threads but the idle ones.
fn tasks(k: &Memory) -> Result<Vec<task_struct<'_>>> {
    let mut found = Vec::new();
    for leader in k.get(sym::init_task)?.tasks().entries(task_struct::tasks) {
        let threads = leader?.signal().deref()?.thread_head();
        for thread in threads.entries(task_struct::thread_node) {
            found.push(thread?);
        }
    }
    Ok(found)
}

/// Whether the list of processes from its end is the list from its start.
fn backwards(k: &Memory) -> Result<bool> {
    let head = k.get(sym::init_task)?.tasks();
    let forth = head.entries(task_struct::tasks);
    let back = head.entries_rev(task_struct::tasks);
    let forth: Vec<u64> = forth.map(|task| Ok(task?.addr())).collect::<Result<_>>()?;
    let mut back: Vec<u64> = back.map(|task| Ok(task?.addr())).collect::<Result<_>>()?;
    back.reverse();
    Ok(forth == back && forth.len() > 50)
}

fn vmas(tasks: &[task_struct<'_>]) -> Result<Value> {
    let mut found = BTreeMap::new();
    for task in tasks.iter().filter(|task| task.pid() == task.tgid()) {
        let Some(mm) = task.mm().deref_or_null()? else {
            continue;
        };
        let mut list = Vec::new();
        for vma in linux::vma::vmas(mm) {
            let vma = vma?;
            let flags = vma.vm_flags();
            let letter = |bit: u64, letter: char| if flags & bit != 0 { letter } else { '-' };
            // VM_READ, VM_WRITE, VM_EXEC, VM_MAYSHARE
            let shared = if flags & 0x80 != 0 { 's' } else { 'p' };
            let offset = match vma.vm_file().is_null() {
                true => 0,
                false => vma.vm_pgoff() << 12,
            };
            list.push(format!(
                "{:08x}-{:08x} {}{}{}{shared} {offset:08x}",
                vma.vm_start(),
                vma.vm_end(),
                letter(1, 'r'),
                letter(2, 'w'),
                letter(4, 'x'),
            ));
        }
        found.insert(task.pid().to_string(), list);
    }
    Ok(json!(found))
}

fn vma_addresses(tasks: &[task_struct<'_>]) -> Result<BTreeSet<u64>> {
    let mut found = BTreeSet::new();
    for task in tasks {
        if let Some(mm) = task.mm().deref_or_null()? {
            for vma in linux::vma::vmas(mm) {
                found.insert(vma?.addr());
            }
        }
    }
    Ok(found)
}

/// The tasks, and the idle tasks of all CPUs that may ever be there, of which the first one's is a variable.
fn task_addresses(k: &Memory, tasks: &[task_struct<'_>]) -> Result<BTreeSet<u64>> {
    let mut found: BTreeSet<u64> = tasks.iter().map(|task| task.addr()).collect();
    for cpu in linux::cpu::possible(k)? {
        found.insert(k.per_cpu(sym::idle_threads, cpu)?.addr());
    }
    found.remove(&0);
    found.remove(&k.address_of(sym::init_task));
    Ok(found)
}

/// What a container has beside what the cache of its objects has that is allocated.
fn against_slab(k: &Memory, slabs: &Slabs<'_>, name: &str, walked: BTreeSet<u64>) -> Result<Value> {
    let (objects, faults) = objects(slabs, cache(k, name)?)?;
    let only = |one: &BTreeSet<u64>, other| {
        let only: Vec<String> = one
            .difference(other)
            .take(20)
            .map(|address| format!("{address:#x}"))
            .collect();
        only
    };
    Ok(json!({
        "walked": walked.len(),
        "allocated": objects.len(),
        "faults": faults,
        "only_walked": only(&walked, &objects),
        "only_allocated": only(&objects, &walked),
        "only_allocated_count": objects.difference(&walked).count(),
    }))
}

fn cache<'m>(k: &'m Memory, name: &str) -> Result<kmem_cache<'m>> {
    for cache in linux::slab::caches(k)? {
        let cache = cache?;
        if cache.name().read()? == name {
            return Ok(cache);
        }
    }
    panic!("there is no cache {name}")
}

fn objects<'m>(slabs: &Slabs<'m>, cache: kmem_cache<'m>) -> Result<(BTreeSet<u64>, usize)> {
    let cpus = linux::cpu::possible(cache.memory())?;
    let all: Vec<_> = slabs.allocated(cache, &cpus)?.collect();
    let faults = all.iter().filter(|object| object.is_err()).count();
    Ok((
        all.into_iter().flatten().map(Object::addr).collect(),
        faults,
    ))
}

/// The dentries in the hash table, on all cores.
fn hashed(k: &Memory) -> Result<BTreeSet<u64>> {
    let shift = k.get(sym::d_hash_shift)?;
    let table = k.get(sym::dentry_hashtable)?.array(1 << (32 - shift))?;
    let buckets = kstruct::walk::par_walk(table, |bucket| {
        bucket
            .entries(dentry::d_hash)
            .map(|dentry| Ok(dentry?.addr()))
            .collect::<Result<Vec<u64>>>()
    });
    let lists: Vec<Vec<u64>> = buckets.into_iter().collect::<Result<_>>()?;
    Ok(lists.into_iter().flatten().collect())
}

/// Those and all that say that they are in no hash table.
fn hashed_dentries(k: &Memory, slabs: &Slabs<'_>) -> Result<BTreeSet<u64>> {
    let mut found = hashed(k)?;
    let (objects, _) = objects(slabs, cache(k, "dentry")?)?;
    for address in objects {
        let dentry = dentry::at(k, address)?;
        // Roots of file systems are on a list of their own by the same link; pipes and sockets are on none.
        let is_root = dentry.d_parent().addr() == address;
        if dentry.d_hash().pprev().is_null() || is_root {
            found.insert(address);
        }
    }
    Ok(found)
}

/// The numbers in init_pid_ns, and whether each is some thread's.
fn pids(k: &Memory) -> Result<Value> {
    let mut found = Vec::new();
    for entry in k.get(sym::init_pid_ns)?.idr().entries::<kernel::pid<'_>>() {
        let (number, pid) = entry?;
        let threads = pid.deref()?.tasks().get(0).map(|list| list.first());
        found.push(json!([
            number,
            threads.is_some_and(|first| !first.is_null())
        ]));
    }
    Ok(json!(found))
}

fn children<'m>(node: kernfs_node<'m>) -> Result<Vec<(String, kernfs_node<'m>)>> {
    let mut found = Vec::new();
    // KERNFS_DIR
    if node.flags() & 0xf == 1 {
        let tree = node.dir().children();
        for child in tree.entries(kernfs_node::rb) {
            let child = child?;
            found.push((child.name().read()?.to_string(), child));
        }
        let in_order: BTreeSet<u64> = found.iter().map(|(_, child)| child.addr()).collect();
        let post_order: Vec<u64> = tree
            .entries_postorder(kernfs_node::rb)
            .map(|child| Ok(child?.addr()))
            .collect::<Result<_>>()?;
        assert_eq!(post_order.len(), found.len());
        assert!(post_order.iter().all(|child| in_order.contains(child)));
    }
    Ok(found)
}

fn child<'m>(mut node: kernfs_node<'m>, path: &str) -> Result<kernfs_node<'m>> {
    for name in path.split('/') {
        let found = children(node)?.into_iter().find(|(found, _)| found == name);
        node = found.unwrap_or_else(|| panic!("/sys has no {path}")).1;
    }
    Ok(node)
}

/// What is in /sys/kernel/slab, and the sections of all modules; how many files there are in all.
fn sysfs(k: &Memory) -> Result<Value> {
    let root = k.get(sym::sysfs_root_kn)?.deref()?;
    let mut sections = Vec::new();
    for (module, node) in children(child(root, "module")?)? {
        for (name, node) in children(node)? {
            if name == "sections" {
                for (section, _) in children(node)? {
                    sections.push(format!("/sys/module/{module}/sections/{section}"));
                }
            }
        }
    }
    let mut caches = Vec::new();
    for (name, _) in children(child(root, "kernel/slab")?)? {
        caches.push(format!("/sys/kernel/slab/{name}"));
    }
    let (mut count, mut todo) = (0, vec![root]);
    while let Some(node) = todo.pop() {
        for (_, child) in children(node)? {
            count += 1;
            todo.push(child);
        }
    }
    Ok(json!({ "sections": sections, "caches": caches, "nodes": count }))
}

/// The devices of each bus: by its klist, and by its folder in sysfs.
fn buses(k: &Memory) -> Result<Value> {
    let root = k.get(sym::sysfs_root_kn)?.deref()?;
    let mut found = BTreeMap::new();
    let buses = k.get(sym::bus_kset)?.deref()?.list();
    for bus in buses.entries(kobject::entry) {
        let bus = bus?;
        let name = bus.name().read()?.to_string();
        let private: subsys_private<'_> =
            bus.container_of(|private: subsys_private<'_>| private.subsys().kobj())?;
        let mut listed = Vec::new();
        for device in private.klist_devices().entries(device_private::knode_bus) {
            let device = device?.device().deref()?;
            listed.push(device.kobj().name().read()?.to_string());
        }
        listed.sort();
        let mut shown: Vec<String> = children(child(root, &format!("bus/{name}/devices"))?)?
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        shown.sort();
        found.insert(name, json!({ "klist": listed, "sysfs": shown }));
    }
    Ok(json!(found))
}

/// Pages of all files, as the mappings count them and as their trees have them.
fn page_cache(k: &Memory) -> Result<Value> {
    let (mut inodes, mut counted, mut walked, mut large) = (0, 0, 0, 0);
    let mut differ = Vec::new();
    for block in k.get(sym::super_blocks)?.entries(super_block::s_list) {
        for inode in block?.s_inodes().entries(inode::i_sb_list) {
            let inode = inode?;
            let mapping = inode.i_data();
            let mut pages = 0;
            for slot in mapping.i_pages().entries() {
                let slot = slot?;
                if slot.entry.pointer().is_some() {
                    pages += slot.span;
                    large += u64::from(slot.span > 1);
                }
            }
            inodes += 1;
            counted += mapping.nrpages();
            walked += pages;
            if pages != mapping.nrpages() {
                differ.push(format!("{:#x}", inode.addr()));
            }
        }
    }
    Ok(
        json!({ "inodes": inodes, "counted": counted, "walked": walked, "large": large, "differ": differ }),
    )
}

/// The ids of mounts: by the IDA, and of all mounts that are allocated.
fn mount_ids(k: &Memory, slabs: &Slabs<'_>) -> Result<Value> {
    let ids: Vec<u64> = k.get(sym::mnt_id_ida)?.ids().collect::<Result<_>>()?;
    let (objects, faults) = objects(slabs, cache(k, "mnt_cache")?)?;
    let mut mounts = BTreeSet::new();
    for address in objects {
        mounts.insert(mount::at(k, address)?.mnt_id());
    }
    Ok(json!({ "ida": ids, "mounts": mounts, "faults": faults }))
}

fn slabinfo(k: &Memory, slabs: &Slabs<'_>) -> Result<Value> {
    let mut found = BTreeMap::new();
    for cache in linux::slab::caches(k)? {
        let cache = cache?;
        let counts = linux::slab::counts(cache)?;
        let (objects, faults) = objects(slabs, cache)?;
        let in_pages: u64 = slabs
            .of_cache(cache)
            .map(|slab| u64::from(slab.objects()))
            .sum();
        found.insert(
            cache.name().read()?.to_string(),
            json!({
                "active": counts.active, "total": counts.total, "slabs": counts.slabs, "size": cache.size(),
                "allocated": objects.len(), "faults": faults,
                "in_pages": in_pages, "slab_pages": slabs.of_cache(cache).count(),
            }),
        );
    }
    Ok(json!(found))
}

/// `vm_committed_as` in pages: exactly, and as the kernel's fast path sees it.
fn committed(k: &Memory) -> Result<Value> {
    let counter = k.get(sym::vm_committed_as)?;
    let exact = counter.sum(&linux::cpu::possible(k)?)?;
    Ok(json!({ "exact": exact, "approximate": counter.count() }))
}

/// How many pages have each flag.
fn page_flags(k: &Memory) -> Result<Value> {
    let pages = Pages::of(k)?;
    let mut found: BTreeMap<&str, u64> = BTreeMap::new();
    for frame in 0..pages.count() {
        let Ok(page) = pages.page(frame) else {
            continue;
        };
        assert_eq!(pages.frame(page.addr())?, frame);
        for name in linux::page::flag_names(page.flags()) {
            *found.entry(name).or_default() += 1;
        }
    }
    Ok(json!(found))
}

fn vmalloc(k: &Memory, symbols: &Kallsyms) -> Result<Value> {
    // Modules lie behind the kernel, with symbols of their own; several functions may be at one address.
    let end = symbols.named("_end").next().map_or(0, |end| end.address);
    let mut functions = BTreeMap::new();
    for module in linux::symbols::modules(k)? {
        for symbol in linux::symbols::of_module(module?)? {
            let symbol = symbol?;
            if symbol.letter.eq_ignore_ascii_case(&'t') {
                functions.entry(symbol.address).or_insert(symbol.name);
            }
        }
    }
    let mut found = Vec::new();
    for area in linux::vmalloc::areas(k)? {
        let area = area?;
        let vm: Ptr<'_, kernel::vm_struct<'_>> = area.vm();
        let Some(vm) = vm.deref_or_null()? else {
            found.push(format!("{} vm_map_ram", area.va_end() - area.va_start()));
            continue;
        };
        let caller = vm.caller().addr();
        let name = match symbols.at(caller) {
            Some((symbol, behind)) if caller < end => format!("{}+{behind:#x}", symbol.name),
            _ => match functions.range(..=caller).next_back() {
                Some((address, name)) => format!("{name}+{:#x}", caller - address),
                None => "?".to_owned(),
            },
        };
        found.push(format!("{} {name}", vm.size()));
    }
    for area in linux::vmalloc::unpurged(k)? {
        let area = area?;
        found.push(format!("{} unpurged", area.va_end() - area.va_start()));
    }
    Ok(json!(found))
}

fn module_symbols(k: &Memory) -> Result<Value> {
    let mut found = Vec::new();
    for module in linux::symbols::modules(k)? {
        let module = module?;
        let name = module.name().to_string();
        for symbol in linux::symbols::of_module(module)? {
            let symbol = symbol?;
            found.push(json!([symbol.address, symbol.letter, symbol.name, name]));
        }
    }
    Ok(json!(found))
}

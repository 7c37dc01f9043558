//! Kernels since 4.14, where each hook has an array of functions (net/netfilter/core.c).

use kernel::{nf_hook_entries, nf_hook_entry, nf_hook_ops};
use kstruct::{Fault, FaultKind, Ptr, View};
use linux::Faults;
use linux::symbols::Names;

use super::{Hook, function};
use crate::names;
use crate::net::Namespace;

/// More functions than any hook takes (`MAX_HOOK_COUNT`).
const MOST: u16 = 1024;

/// All hooks of some namespaces, in the order in which packets meet them.
pub fn hooks(
    namespaces: &[Namespace<'_>],
    functions: &Names<'_>,
    faults: &mut Faults,
) -> Option<Vec<Hook>> {
    let mut out = Vec::new();
    let mut unread: Vec<Fault> = Vec::new();
    for namespace in namespaces {
        let hooks = namespace.net.nf();
        let mut found = |family: u8,
                         number: usize,
                         device: Option<&str>,
                         list: Ptr<'_, nf_hook_entries<'_>>| {
            let place = Place {
                netns: namespace.inode,
                family,
                number: number as u32,
                device,
            };
            out.extend(place.hooks(list, functions, faults));
        };
        for (number, list) in hooks.hooks_ipv4().iter().enumerate() {
            found(names::IPV4, number, None, list);
        }
        for (number, list) in hooks.hooks_ipv6().iter().enumerate() {
            found(names::IPV6, number, None, list);
        }
        #[cfg(kernel_has = "netns_nf.hooks_arp")]
        for (number, list) in hooks.hooks_arp().iter().enumerate() {
            found(names::ARP, number, None, list);
        }
        #[cfg(kernel_has = "netns_nf.hooks_bridge")]
        for (number, list) in hooks.hooks_bridge().iter().enumerate() {
            found(names::BRIDGE, number, None, list);
        }
        #[cfg(kernel_has = "net_device.nf_hooks_ingress")]
        for device in namespace
            .net
            .dev_base_head()
            .entries(kernel::net_device::dev_list)
        {
            let Ok(device) = device.map_err(|fault| unread.push(fault)) else {
                continue;
            };
            let name = device.name().to_string();
            found(names::NETDEV, 0, Some(&name), device.nf_hooks_ingress());
            #[cfg(kernel_has = "net_device.nf_hooks_egress")]
            found(names::NETDEV, 1, Some(&name), device.nf_hooks_egress());
        }
    }
    for fault in unread.drain(..) {
        faults.add("list of interfaces", fault);
    }
    Some(out)
}

/// Where functions hang.
struct Place<'a> {
    netns: u64,
    family: u8,
    number: u32,
    device: Option<&'a str>,
}

impl Place<'_> {
    fn hooks(
        &self,
        list: Ptr<'_, nf_hook_entries<'_>>,
        functions: &Names<'_>,
        faults: &mut Faults,
    ) -> Vec<Hook> {
        let hook = names::hook(self.family, self.number);
        let what = format!(
            "{} hook {hook} of namespace {}",
            names::family(self.family),
            self.netns
        );
        let entries = list.deref_or_null().and_then(|entries| match entries {
            Some(entries) => self::entries(entries),
            None => Ok(Vec::new()),
        });
        let mut out = Vec::new();
        let mut contradicts = None;
        for (entry, ops) in faults.check(&what, entries).unwrap_or_default() {
            // What was removed leaves a function that accepts, until the list is made anew.
            let Some(ops) = faults.check(&what, ops.deref()) else {
                continue;
            };
            let (name, module) = function(functions, entry.hook().addr());
            // What is called is what was registered.
            if entry.hook().is_null()
                || entry.hook().addr() != ops.hook().addr() && !name.starts_with("accept_all")
            {
                contradicts = contradicts.or(Some(entry.addr()));
                continue;
            }
            let is_chain = is_nf_tables(ops, &name);
            let chain = if is_chain {
                faults.check(&what, chain(entry.priv_().cast()))
            } else {
                None
            };
            let owner = match name.as_str() {
                _ if is_chain => "nf_tables",
                "nf_hook_run_bpf" => "bpf",
                _ => "other",
            };
            out.push(Hook {
                netns: self.netns,
                family: names::family(self.family),
                hook: hook.clone(),
                device: self.device.map(ToOwned::to_owned),
                priority: ops.priority(),
                function: name,
                module,
                owner,
                chain,
                argument: entry.priv_().addr(),
            });
        }
        // If their number is wrong, none may fit: that is said once.
        if let Some(address) = contradicts {
            let kind = FaultKind::Inconsistent;
            faults.add(&what, Fault { address, kind });
        }
        out
    }
}

/// Functions, and what was registered for each: the pointers stand behind the functions (`nf_hook_entries_get_hook_ops`).
type Entries<'m> = Vec<(nf_hook_entry<'m>, Ptr<'m, nf_hook_ops<'m>>)>;

fn entries(entries: nf_hook_entries<'_>) -> Result<Entries<'_>, Fault> {
    let k = entries.memory();
    let count = entries.num_hook_entries();
    if count > MOST {
        return Err(Fault {
            address: entries.addr(),
            kind: FaultKind::TooLarge,
        });
    }
    // A list of which nothing is left is given back.
    if count == 0 {
        return Err(Fault {
            address: entries.addr(),
            kind: FaultKind::Inconsistent,
        });
    }
    let first = entries.hooks().addr();
    let hooks = Ptr::<nf_hook_entry<'_>>::new(k, first).array(count.into())?;
    let end = k.wrap(first.wrapping_add(u64::from(count) * nf_hook_entry::SIZE as u64));
    let width = u64::from(kernel::KERNEL.pointer_size);
    let mut out = Vec::new();
    for (index, hook) in hooks.iter().enumerate() {
        let ops = k.word(k.wrap(end.wrapping_add(index as u64 * width)))?;
        out.push((hook, Ptr::new(k, ops)));
    }
    Ok(out)
}

/// Whether it runs a chain of nf_tables, to which its argument points.
fn is_nf_tables(ops: nf_hook_ops<'_>, function: &str) -> bool {
    #[cfg(kernel_has = "nf_hook_ops.hook_ops_type")]
    {
        // NF_HOOK_OP_NF_TABLES
        let _ = function;
        ops.hook_ops_type().0 == 1
    }
    #[cfg(not(kernel_has = "nf_hook_ops.hook_ops_type"))]
    {
        let _ = ops;
        function.starts_with("nft_do_chain")
    }
}

#[cfg(kernel_has = "nft_chain.table")]
fn chain(chain: Ptr<'_, kernel::nft_chain<'_>>) -> Result<String, Fault> {
    let chain = chain.deref()?;
    let table = chain.table().deref()?;
    Ok(format!(
        "{} {} {}",
        names::family(table.family() as u8),
        table.name().read()?,
        chain.name().read()?
    ))
}

#[cfg(not(kernel_has = "nft_chain.table"))]
fn chain(chain: Ptr<'_, kstruct::view::Void>) -> Result<String, Fault> {
    Ok(format!("{:#x}", chain.addr()))
}

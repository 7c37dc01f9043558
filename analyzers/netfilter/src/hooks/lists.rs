//! Kernels before 4.3, which have a list for each family and hook, for all namespaces (`nf_hooks`, net/netfilter/core.c).

use kernel::{nf_hook_ops, sym};
use linux::Faults;
use linux::symbols::Names;

use super::{Hook, function};
use crate::names;
use crate::net::Namespace;

/// All hooks, in the order in which packets meet them.
pub fn hooks(
    namespaces: &[Namespace<'_>],
    functions: &Names<'_>,
    faults: &mut Faults,
) -> Option<Vec<Hook>> {
    let namespace = namespaces.first()?;
    let families = faults.check("nf_hooks", namespace.k.get(sym::nf_hooks))?;
    let mut out = Vec::new();
    for (family, hooks) in (0_u8..).zip(families.iter()) {
        for (number, list) in (0..).zip(hooks.iter()) {
            let family_name = names::family(family);
            let hook = names::hook(family, number);
            for ops in list.entries(nf_hook_ops::list) {
                let what = format_args!("{family_name} hook {hook}");
                let Some(ops) = faults.check(what, ops) else {
                    continue;
                };
                let (name, module) = function(functions, ops.hook().addr());
                out.push(Hook {
                    netns: namespace.inode,
                    family: family_name.clone(),
                    hook: hook.clone(),
                    device: None,
                    priority: ops.priority(),
                    function: name,
                    module,
                    owner: "other",
                    chain: None,
                    argument: 0,
                });
            }
        }
    }
    Some(out)
}

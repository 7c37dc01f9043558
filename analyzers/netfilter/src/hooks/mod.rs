//! Who looks at packets, where and in which order: what `nft list hooks` shows.

#[cfg(kernel_has = "nf_hook_entries.num_hook_entries")]
mod arrays;
#[cfg(all(kernel_has = "sym:nf_hooks", kernel_has = "nf_hook_ops.hooknum"))]
mod lists;

use serde::Serialize;

#[cfg(kernel_has = "nf_hook_entries.num_hook_entries")]
pub use arrays::hooks;
#[cfg(all(kernel_has = "sym:nf_hooks", kernel_has = "nf_hook_ops.hooknum"))]
pub use lists::hooks;

/// A function at a hook.
#[derive(Debug, Serialize)]
pub struct Hook {
    /// The namespace's inode number.
    pub netns: u64,
    /// `ip`, `ip6`, `arp`, `bridge`, `netdev`
    pub family: String,
    /// `prerouting`
    pub hook: String,
    /// Of hooks of one interface.
    pub device: Option<String>,
    /// Lower ones come first.
    pub priority: i32,
    /// The function; its address where the name isn't known.
    pub function: String,
    /// The module that the function is in.
    pub module: Option<String>,
    /// `nf_tables`, `bpf`; `other` for functions of modules.
    pub owner: &'static str,
    /// Of nf_tables: family, table and name of the chain.
    pub chain: Option<String>,
    /// The function's argument.
    #[serde(rename = "priv", serialize_with = "linux::app::hex")]
    pub argument: u64,
}

/// Kernels between 4.3 and 4.13.
#[cfg(not(any(
    kernel_has = "nf_hook_entries.num_hook_entries",
    all(kernel_has = "sym:nf_hooks", kernel_has = "nf_hook_ops.hooknum")
)))]
pub fn hooks(
    _: &[crate::net::Namespace<'_>],
    _: &linux::symbols::Names<'_>,
    _: &mut linux::Faults,
) -> Option<Vec<Hook>> {
    None
}

/// The name and the module of the function that begins at an address; the address where no name is known.
#[cfg(any(
    kernel_has = "nf_hook_entries.num_hook_entries",
    all(kernel_has = "sym:nf_hooks", kernel_has = "nf_hook_ops.hooknum")
))]
fn function(names: &linux::symbols::Names<'_>, address: u64) -> (String, Option<String>) {
    match names.beginning(address) {
        Some(named) => (named.name, named.module),
        None => (format!("{address:#x}"), None),
    }
}

impl Hook {
    /// As `nft list hooks` writes it.
    pub fn line(&self) -> String {
        let priority = match self.priority {
            negative @ ..0 => format!("-{:010}", negative.unsigned_abs()),
            0 => format!(" {:010}", 0),
            positive => format!("+{positive:010}"),
        };
        let what = match &self.chain {
            Some(chain) => format!("chain {chain}"),
            None => self.function.clone(),
        };
        match &self.module {
            Some(module) => format!("{priority} {what} [{module}]"),
            None => format!("{priority} {what}"),
        }
    }
}

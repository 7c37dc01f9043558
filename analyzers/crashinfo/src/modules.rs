//! Loaded modules, as /proc/modules shows them.

use kstruct::Memory;
use linux::Faults;
use serde::Serialize;

/// A module.
#[derive(Serialize)]
pub struct Module {
    pub name: String,
    /// Bytes, with those that it needs only until it is initialised, as long as it has them.
    pub size: u64,
    /// References to it, those of the modules in `used_by` among them; `null` where the kernel can't unload modules.
    pub references: Option<i64>,
    pub used_by: Vec<String>,
    /// It has nothing to be unloaded by.
    pub permanent: bool,
    /// `Live`, `Loading`, `Unloading`.
    pub state: &'static str,
    /// Letters of what it did to the kernel's taint: /proc shows them in parentheses.
    pub taint: String,
    #[serde(serialize_with = "linux::app::hex")]
    pub address: u64,
}

#[cfg(all(kernel_has = "sym:modules", kernel_has = "module.list"))]
pub fn read(k: &Memory, faults: &mut Faults) -> Option<Vec<Module>> {
    let mut found = Vec::new();
    let list = faults.check("list of modules", linux::symbols::modules(k))?;
    for module in list {
        if let Some(module) = faults.check("list of modules", module) {
            found.push(of_module::read(module, faults));
        }
    }
    Some(found)
}

/// A kernel without modules, or of which nothing says where they are.
#[cfg(not(all(kernel_has = "sym:modules", kernel_has = "module.list")))]
pub fn read(_: &Memory, _: &mut Faults) -> Option<Vec<Module>> {
    None
}

#[cfg(all(kernel_has = "sym:modules", kernel_has = "module.list"))]
mod of_module {
    use kernel::module;
    use linux::Faults;

    use super::Module;

    /// What /proc/modules says of a module (`m_show`, kernel/module/procfs.c).
    pub fn read(module: module<'_>, faults: &mut Faults) -> Module {
        let name = module.name().to_string();
        let memory = linux::symbols::memory(module);
        Module {
            size: memory.iter().map(|(_, size)| *size).sum(),
            address: memory.first().map_or(0, |(start, _)| *start),
            references: references(module),
            used_by: used_by(module, &name, faults),
            permanent: is_permanent(module),
            state: state(module),
            taint: taint(module),
            name,
        }
    }

    /// Without the one that keeps it from being unloaded while nobody wants that (`MODULE_REF_BASE`).
    #[cfg(kernel_has = "module.refcnt")]
    fn references(module: module<'_>) -> Option<i64> {
        Some(i64::from(module.refcnt().value()) - 1)
    }

    /// 2.6: each CPU counts its own.
    #[cfg(all(not(kernel_has = "module.refcnt"), kernel_has = "module_ref.count"))]
    fn references(module: module<'_>) -> Option<i64> {
        let counts = module.ref_().iter();
        Some(counts.fold(0, |sum: i64, one| {
            sum.wrapping_add(one.count().counter().into())
        }))
    }

    #[cfg(not(any(kernel_has = "module.refcnt", kernel_has = "module_ref.count")))]
    fn references(_: module<'_>) -> Option<i64> {
        None
    }

    #[cfg(all(
        kernel_has = "module.source_list",
        kernel_has = "module_use.source_list"
    ))]
    fn used_by(module: module<'_>, name: &str, faults: &mut Faults) -> Vec<String> {
        let mut users = Vec::new();
        for user in module
            .source_list()
            .entries(kernel::module_use::source_list)
        {
            let user = user.and_then(|user| user.source().deref());
            let user = faults.check(format_args!("users of module {name}"), user);
            users.extend(user.map(|user| user.name().to_string()));
        }
        users
    }

    #[cfg(not(all(
        kernel_has = "module.source_list",
        kernel_has = "module_use.source_list"
    )))]
    fn used_by(_: module<'_>, _: &str, _: &mut Faults) -> Vec<String> {
        Vec::new()
    }

    #[cfg(all(kernel_has = "module.init", kernel_has = "module.exit"))]
    fn is_permanent(module: module<'_>) -> bool {
        !module.init().is_null() && module.exit().is_null()
    }

    #[cfg(not(all(kernel_has = "module.init", kernel_has = "module.exit")))]
    fn is_permanent(_: module<'_>) -> bool {
        false
    }

    fn state(module: module<'_>) -> &'static str {
        let state = module.state();
        match state.name() {
            Some("MODULE_STATE_LIVE") => "Live",
            Some("MODULE_STATE_COMING") => "Loading",
            Some("MODULE_STATE_GOING") => "Unloading",
            Some("MODULE_STATE_UNFORMED") => "Unformed",
            _ => "?",
        }
    }

    #[cfg(kernel_has = "module.taints")]
    fn taint(module: module<'_>) -> String {
        crate::system::taint_letters(u64::from(module.taints()))
    }

    #[cfg(not(kernel_has = "module.taints"))]
    fn taint(_: module<'_>) -> String {
        String::new()
    }
}

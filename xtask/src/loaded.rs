//! Which modules were loaded when a dump was made: the kernel's own list, by what its debug information says of it.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, bail};
use kstruct::{Functions, KernelInfo, Memory};
use kstruct_codegen::dwarf;
use kstruct_codegen::image::Image;
use kstruct_codegen::model::{Kind, Model};

/// No kernel has so many; the list of a damaged dump may have no end.
const MOST_MODULES: usize = 1 << 16;

/// The names of the modules, as `lsmod` prints them. `module.name` and `module.list` are read where the kernel's DWARF says
/// they are: there are no bindings yet.
pub fn modules(vmlinux: &Path, core: &Path) -> anyhow::Result<BTreeSet<String>> {
    let image = Image::open(vmlinux)?;
    let model = dwarf::read(&image, &[], &|_| ())?;
    let head = address(&model, "modules").with_context(|| {
        format!(
            "{}: it has no list of modules (`modules`)",
            vmlinux.display()
        )
    })?;
    let module = model
        .items
        .iter()
        .find(|item| item.kind == Kind::Struct && &*item.name == "module" && !item.by_typedef)
        .with_context(|| format!("{}: it has no struct module", vmlinux.display()))?;
    let member = |name: &str| {
        let found = module.members.iter().find(|member| &*member.name == name);
        found.with_context(|| format!("{}: struct module has no {name}", vmlinux.display()))
    };
    let (list, name) = (member("list")?, member("name")?);
    let length = usize::try_from(model.size_of(&name.ty).unwrap_or(0))?;

    let memory = Memory::open(core, kernel_info(&model), false)?;
    let head = memory.relocated(head);
    let mut names = BTreeSet::new();
    let mut node = memory.word(head)?;
    for _ in 0..MOST_MODULES {
        if node == head {
            return Ok(names);
        }
        let start = memory.wrap(node.wrapping_sub(list.offset));
        let bytes = memory.bytes(start.wrapping_add(name.offset), length)?;
        let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        names.insert(String::from_utf8_lossy(text).into_owned());
        node = memory.word(node)?;
    }
    bail!("{}: the list of modules does not end", core.display())
}

fn address(model: &Model, name: &str) -> Option<u64> {
    let variable = model
        .variables
        .iter()
        .find(|variable| &*variable.name == name)?;
    Some(variable.address)
}

/// What the generated `kernel::KERNEL` says, as far as it is needed to read memory. It lives as long as the program, like
/// the generated one.
fn kernel_info(model: &Model) -> &'static KernelInfo {
    let kernel = &model.kernel;
    let build_id: String = kernel
        .build_id
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Box::leak(Box::new(KernelInfo {
        release: kernel.release.clone().leak(),
        build_id: build_id.leak(),
        banner: kernel.banner.clone().leak(),
        machine: kernel.machine,
        pointer_size: kernel.pointer_size,
        big_endian: kernel.big_endian,
        banner_address: kernel.banner_address,
        page_table: ["init_top_pgt", "init_level4_pgt", "swapper_pg_dir"]
            .iter()
            .find_map(|name| address(model, name)),
        page_offset_base: address(model, "page_offset_base"),
        per_cpu_offset: None,
        module_section: None,
        functions: Functions(""),
    }))
}

//! Which modules were loaded when a dump was made: the kernel's own list, by what its debug information says of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, bail};
use kstruct::{Functions, KernelInfo, Memory};
use kstruct_codegen::dwarf;
use kstruct_codegen::image::Image;
use kstruct_codegen::model::{Item, Kind, Member, Model};

/// No kernel has so many; the list of a damaged dump may have no end.
const MOST_MODULES: usize = 1 << 16;

/// The names of the modules, as `lsmod` prints them. `module.name` and `module.list` are read where the kernel's DWARF says
/// they are: there are no bindings yet.
pub fn modules(vmlinux: &Path, core: &Path) -> anyhow::Result<BTreeSet<String>> {
    let list = List::read(vmlinux, core)?;
    Ok(list.modules.into_iter().map(|(name, _)| name).collect())
}

/// The build ids of the modules, in hexadecimal. Those of which the dump doesn't have it are left out.
pub fn build_ids(vmlinux: &Path, core: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let list = List::read(vmlinux, core)?;
    let ids = list.modules.iter().filter_map(|(name, start)| {
        let id = list.own_build_id(*start).or_else(|| list.noted(*start))?;
        Some((
            name.clone(),
            id.iter().map(|byte| format!("{byte:02x}")).collect(),
        ))
    });
    Ok(ids.collect())
}

/// The list of modules in a dump.
struct List {
    model: Model,
    memory: Memory,
    /// Each one's name and the address of its `struct module`.
    modules: Vec<(String, u64)>,
}

impl List {
    fn read(vmlinux: &Path, core: &Path) -> anyhow::Result<Self> {
        let image = Image::open(vmlinux)?;
        let model = dwarf::read(&image, &[], &|_| ())?;
        let head = address(&model, "modules").with_context(|| {
            format!(
                "{}: it has no list of modules (`modules`)",
                vmlinux.display()
            )
        })?;
        let of_module = |name: &str| {
            let found = member(&model, "module", name);
            found.with_context(|| format!("{}: struct module has no {name}", vmlinux.display()))
        };
        let (list, name) = (of_module("list")?, of_module("name")?);
        let length = usize::try_from(model.size_of(&name.ty).unwrap_or(0))?;
        let (list, name) = (list.offset, name.offset);

        let memory = Memory::open(core, kernel_info(&model), false)?;
        let head = memory.relocated(head);
        let mut modules = Vec::new();
        let mut node = memory.word(head)?;
        for _ in 0..MOST_MODULES {
            if node == head {
                return Ok(List {
                    model,
                    memory,
                    modules,
                });
            }
            let start = memory.wrap(node.wrapping_sub(list));
            let bytes = memory.bytes(start.wrapping_add(name), length)?;
            modules.push((text(bytes), start));
            node = memory.word(node)?;
        }
        bail!("{}: the list of modules does not end", core.display())
    }

    /// `module.build_id`, which kernels since 5.14 have if they print it in traces (`CONFIG_STACKTRACE_BUILD_ID`).
    fn own_build_id(&self, module: u64) -> Option<&[u8]> {
        let id = member(&self.model, "module", "build_id")?;
        let length = usize::try_from(self.model.size_of(&id.ty)?).ok()?;
        let bytes = self
            .memory
            .bytes(module.wrapping_add(id.offset), length)
            .ok()?;
        bytes.iter().any(|byte| *byte != 0).then_some(bytes)
    }

    /// The note that the kernel shows as /sys/module/NAME/notes/.note.gnu.build-id: `add_notes_attrs` in kernel/module/sysfs.c makes an attribute of
    /// each section with notes.
    fn noted(&self, module: u64) -> Option<&[u8]> {
        let (model, memory) = (&self.model, &self.memory);
        let at = |start: u64, name: &str, of: &str| {
            Some(memory.wrap(start.wrapping_add(member(model, of, name)?.offset)))
        };
        let notes = memory.word(at(module, "notes_attrs", "module")?).ok()?;
        let first = at(notes, "attrs", "module_notes_attrs")?;
        let size = item(model, "bin_attribute")?.size;
        (0..MOST_NOTES).find_map(|index| {
            let attribute = memory.wrap(first.wrapping_add(index.wrapping_mul(size)));
            let name = at(at(attribute, "attr", "bin_attribute")?, "name", "attribute")?;
            let name = memory.bytes(memory.word(name).ok()?, BUILD_ID.len()).ok()?;
            if name != BUILD_ID {
                return None;
            }
            let start = memory
                .word(at(attribute, "private", "bin_attribute")?)
                .ok()?;
            // A header of three words of four bytes, and `GNU\0`.
            let note = memory.bytes(start, 16).ok()?;
            let length = note.get(4..8)?.try_into().ok()?;
            let length = if model.kernel.big_endian {
                u32::from_be_bytes(length)
            } else {
                u32::from_le_bytes(length)
            };
            (note.ends_with(b"GNU\0") && length <= LONGEST_ID)
                .then(|| memory.bytes(start.wrapping_add(16), length as usize).ok())?
        })
    }
}

/// Of a module, with the byte behind it.
const BUILD_ID: &[u8] = b".note.gnu.build-id\0";
/// No module has so many sections with notes.
const MOST_NOTES: u64 = 16;
/// Bytes. SHA-1 has 20.
const LONGEST_ID: u32 = 64;

fn text(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

fn item<'m>(model: &'m Model, name: &str) -> Option<&'m Item> {
    let mut items = model.items.iter();
    items.find(|item| item.kind == Kind::Struct && &*item.name == name && !item.by_typedef)
}

fn member<'m>(model: &'m Model, of: &str, name: &str) -> Option<&'m Member> {
    let mut members = item(model, of)?.members.iter();
    members.find(|member| &*member.name == name)
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

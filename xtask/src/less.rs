//! What bindings would lose if they were made anew from another file: a vmlinux that was copied has its modules beside it no more.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use kstruct_codegen::dwarf;
use kstruct_codegen::image::Image;

use crate::generate::Extras;
use crate::stamp::Input;
use crate::{build, find, paths};

/// So many modules are named.
const NAMED: usize = 3;

/// What the bindings that are there have, whatever version made them, and those of this vmlinux would not; `None` if that is nothing.
pub fn than_there(kernel: &str, vmlinux: &Path, extras: &Extras) -> Option<String> {
    let directory = paths::bindings(kernel);
    let there = build::wishes(kernel)?;
    let mut said = Vec::new();
    if extras.types(vmlinux) == find::Types::Btf && build::has_places(&directory) {
        said.push("DWARF's types before, BTF's now".to_owned());
    }
    said.extend(modules(&there.modules, extras.modules()));
    let with = extras.with();
    let lost = |path: &&PathBuf| !with.contains(path);
    let lost = there.asked.with.iter().filter(lost);
    said.extend(lost.map(|path| format!("the types of {} before, not now", path.display())));
    (!said.is_empty()).then(|| said.join("; "))
}

/// Which modules there were before, and are no more; `None` if there are none.
pub fn modules<'n>(
    before: impl IntoIterator<Item = &'n String>,
    now: impl IntoIterator<Item = &'n String>,
) -> Option<String> {
    let before: BTreeSet<&String> = before.into_iter().collect();
    let now: BTreeSet<&String> = now.into_iter().collect();
    let lost: Vec<&str> = before.difference(&now).map(|name| name.as_str()).collect();
    if lost.is_empty() {
        return None;
    }
    let (named, more) = lost.split_at(lost.len().min(NAMED));
    let named = named.join(", ");
    let missing = match more.len() {
        0 => named,
        more => format!("{named} and {more} more"),
    };
    let before = match before.len() {
        1 => "1 module's".to_owned(),
        count => format!("{count} modules'"),
    };
    let now = match now.len() {
        0 => "none".to_owned(),
        count => count.to_string(),
    };
    Some(format!("{before} types before, {now} now: {missing}"))
}

/// Whether the bindings of this name, which are there, are of this very kernel. `made_from` is what they were made from, if that is known.
pub fn is_same(kernel: &str, vmlinux: &Path, made_from: Option<&Input>) -> anyhow::Result<bool> {
    let known: Vec<&Input> = made_from.into_iter().collect();
    let found = Input::of(vmlinux, &known)?;
    let is_from = |input: &Input| *input == found;
    if made_from.is_some_and(is_from)
        || build::btf_of(kernel).is_some_and(|btf| btf.file == vmlinux)
        || paths::is_fixtures(kernel)
            && Input::of(&paths::fixture_vmlinux(), &[]).is_ok_and(|it| is_from(&it))
    {
        return Ok(true);
    }
    let Some(there) = build::origin_in(&paths::bindings(kernel)) else {
        return Ok(false);
    };
    let id = find::build_id_of(vmlinux).unwrap_or_default();
    if !id.is_empty() && !there.build_id.is_empty() {
        return Ok(id == there.build_id);
    }
    let has_banner = || {
        let banner = Image::open(vmlinux).and_then(|image| dwarf::identity(&image));
        banner.is_ok_and(|it| there.banner.is_empty() || it.banner == there.banner)
    };
    // BTF that was copied, or a compressed vmlinux, has no build id that could be seen.
    if id != there.build_id {
        let is_btf = build::btf_of(kernel).is_some();
        return Ok((is_btf || find::is_compressed(vmlinux)) && has_banner());
    }
    // Neither has one: what they were made from tells, and who doesn't know that goes by the banner.
    Ok(match made_from {
        // This file was compiled anew.
        Some(from) if from.path == found.path => true,
        Some(_) => false,
        None => !paths::is_fixtures(kernel) && has_banner(),
    })
}

//! Bindings of exactly what analyzers use: what `build` compiles, so that one more kernel costs seconds.
//!
//! Nobody lists what an analyzer uses. Its sources, and those of the crates of this workspace that it depends on, are read
//! as tokens; every identifier that names something of the kernel selects it. That is more than what is used (`next` selects
//! every member of that name in the types that are reached), and never less, as long as no macro makes up names.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use kstruct_codegen::{names, output, select};
use serde::{Deserialize, Serialize};

use crate::stamp::{self, Input};
use crate::{build, find, generate, less, paths, workspace};

/// What a selection was made from. If all of this is the same, so are the bindings.
#[derive(Serialize, Deserialize, PartialEq)]
pub struct Stamp {
    /// What made it: a newer one may write other code.
    pub generator: String,
    pub vmlinux: Input,
    /// Modules and other files whose types are there too.
    extras: Vec<Input>,
    identifiers: BTreeSet<String>,
    /// The modules that these analyzers ask for, whether they are there or not.
    modules: BTreeSet<String>,
    /// Of the bindings, as they were written.
    digest: String,
}

/// The stamp beside bindings.
const STAMP: &str = "selection.json";

/// What a kernel's selection was made from.
pub fn stamp(kernel: &str) -> Option<Stamp> {
    stamp::read(&stamp_of(kernel))
}

/// Where that is written.
pub fn stamp_of(kernel: &str) -> PathBuf {
    paths::selected(kernel).join(STAMP)
}

impl Stamp {
    fn inputs(&self) -> impl Iterator<Item = &Input> {
        std::iter::once(&self.vmlinux).chain(&self.extras)
    }

    /// Whether there is all in it that a new one is wanted for.
    fn serves(&self, new: &Stamp) -> bool {
        self.generator == new.generator
            && new.identifiers.is_subset(&self.identifiers)
            && new.modules.is_subset(&self.modules)
    }
}

/// The folder with bindings that serve these analyzers, made anew if need be. Where the kernel's vmlinux is not to be
/// found, those that were made before will do.
pub fn ensure(
    kernel: &str,
    vmlinux: Option<&Path>,
    analyzers: &[String],
) -> anyhow::Result<PathBuf> {
    let folder = paths::selected(kernel);
    let stamp_file = folder.join(STAMP);
    let old = stamp(kernel);
    let is_there = build::identity_in(&folder).is_some()
        && old.as_ref().is_some_and(|old| {
            stamp::digest(&folder, STAMP).is_ok_and(|digest| digest == old.digest)
        });
    let identifiers = identifiers(analyzers)?;

    let vmlinux = match source(kernel, vmlinux) {
        Ok(vmlinux) => vmlinux,
        Err(_)
            if is_there
                && old
                    .as_ref()
                    .is_some_and(|old| identifiers.is_subset(&old.identifiers)) =>
        {
            return Ok(folder);
        }
        Err(_) if build::identity(kernel).is_some() => return Ok(paths::bindings(kernel)),
        Err(error) => {
            return Err(error.context(format!(
                "there are no bindings of kernel {kernel} that fit this version"
            )));
        }
    };
    let known: Vec<&Input> = old.iter().flat_map(Stamp::inputs).collect();
    let mut new = Stamp {
        modules: workspace::modules_of(analyzers)?,
        identifiers,
        extras: Vec::new(),
        generator: stamp::GENERATOR.to_owned(),
        vmlinux: Input::of(&vmlinux, &known)?,
        digest: String::new(),
    };
    if let Some(old) = &old
        && (&old.generator, &old.vmlinux) == (&new.generator, &new.vmlinux)
    {
        // What was selected for others stays, so that building by turns does not compile everything by turns.
        new.modules.extend(old.modules.iter().cloned());
        new.identifiers.extend(old.identifiers.iter().cloned());
    }
    let extras = generate::Extras::again(&new.modules, &vmlinux, kernel)?;
    new.extras = extras
        .files()
        .map(|file| Input::of(file, &known))
        .collect::<anyhow::Result<_>>()?;
    if let Some(old) = &old {
        new.digest.clone_from(&old.digest);
        if is_there && *old == new {
            return Ok(folder);
        }
        if is_there && let Some(less) = less_than(old, &new, &folder, &extras) {
            if old.serves(&new) {
                eprintln!("{kernel}: {} would give less: {less}", vmlinux.display());
                return Ok(folder);
            }
            eprintln!("{kernel}: what was there had more: {less}");
        }
    }
    stamp::remove(&stamp_file)?;

    let start = Instant::now();
    let model = generate::read(&vmlinux, &extras)?;
    let names = names::assign(&model);
    let selection = select::used_by(&model, &names, &new.identifiers);
    let command = format!("cargo xtask build --kernel {kernel}");
    let (files, table) = generate::emitted(&model, &names, Some(&selection), &command)?;
    if let Some(other) = build::origin_in(&folder)
        && other.banner != model.kernel.banner
    {
        eprintln!(
            "{kernel}: another kernel was called so until now: {}",
            other.banner
        );
    }
    output::write(&folder, &files, &table, false)?;
    new.digest = stamp::digest(&folder, STAMP)?;
    stamp::write(&stamp_file, &new)?;
    eprintln!(
        "{kernel}: {} of {} types are used; selected in {:.2} s",
        selection.count(),
        model.items.len(),
        start.elapsed().as_secs_f64()
    );
    Ok(folder)
}

/// What a selection in a folder has, and one of this kernel anew would not.
fn less_than(old: &Stamp, new: &Stamp, folder: &Path, extras: &generate::Extras) -> Option<String> {
    let there = build::identity_in(folder)?;
    // The files may be more or less stripped.
    let has_id = || find::build_id_of(&new.vmlinux.path).is_some_and(|id| id == there.build_id);
    (old.vmlinux == new.vmlinux || has_id())
        .then(|| less::modules(&there.modules, extras.modules()))
        .flatten()
}

/// What a selection is made from: the vmlinux that is given, or was the last time, or is found.
pub fn source(kernel: &str, vmlinux: Option<&Path>) -> anyhow::Result<PathBuf> {
    match (vmlinux, stamp(kernel)) {
        (Some(path), _) => Ok(path.to_owned()),
        // It may have been given as a path the last time, and has its modules there.
        (None, Some(old)) if old.vmlinux.path.is_file() => Ok(old.vmlinux.path),
        (None, _) => generate::source(kernel, None),
    }
}

/// The identifiers in the sources of some analyzers, and of what they depend on in this workspace.
fn identifiers(analyzers: &[String]) -> anyhow::Result<BTreeSet<String>> {
    identifiers_in(workspace::sources(analyzers)?)
}

/// The identifiers in source files, and in all those of folders.
pub fn identifiers_in(mut pending: Vec<PathBuf>) -> anyhow::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    while let Some(path) = pending.pop() {
        let context = || path.display().to_string();
        if path.is_dir() {
            for entry in std::fs::read_dir(&path).with_context(context)? {
                let path = entry?.path();
                if path.is_dir() || path.extension().is_some_and(|extension| extension == "rs") {
                    pending.push(path);
                }
            }
        } else {
            let text = std::fs::read_to_string(&path).with_context(context)?;
            select::identifiers(&text, &mut found);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Removes a selection of a name that no kernel has.
    struct Removed(String);

    impl Drop for Removed {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(paths::selected(&self.0));
        }
    }

    /// A vmlinux that was copied, and its modules weren't.
    #[test]
    fn a_selection_does_not_become_poorer_while_it_serves() {
        let kernel = Removed(format!("test-selected-{}", std::process::id()));
        let kernel = &kernel.0;
        let folder = tempfile::tempdir().expect("a folder");
        let copy = folder.path().join("vmlinux");
        fs::copy(paths::fixture_vmlinux(), &copy).expect("it can be copied");
        let modules = |vmlinux: &Path, analyzer: &str| {
            let made = ensure(kernel, Some(vmlinux), &[analyzer.to_owned()]);
            let identity = build::identity_in(&made.expect("the fixture is sound"));
            identity.expect("it was made").modules.len()
        };
        let whole = modules(&paths::fixture_vmlinux(), "netfilter");
        assert_ne!(whole, 0);
        assert_eq!(modules(&copy, "netfilter"), whole);
        // Of this vmlinux more is wanted than there is.
        assert_eq!(modules(&copy, "ps"), 0);
        assert_eq!(modules(&paths::fixture_vmlinux(), "netfilter"), whole);
    }
}

//! What the workspace's crates say of themselves.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::paths;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
    targets: Vec<Target>,
    dependencies: Vec<Dependency>,
    #[serde(default)]
    metadata: Option<PackageMetadata>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// Set for a crate of this workspace.
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct PackageMetadata {
    #[serde(default)]
    kstruct: Option<Kstruct>,
}

/// `[package.metadata.kstruct]` of an analyzer.
#[derive(Deserialize)]
struct Kstruct {
    /// Modules whose types the analyzer can use, where they are known; `*` stands for those that any crate asks for.
    #[serde(default)]
    modules: Vec<String>,
}

/// The workspace's packages. Cargo is asked once, as each time takes a tenth of a second.
fn packages() -> anyhow::Result<&'static [Package]> {
    static KNOWN: OnceLock<Vec<Package>> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Ok(known);
    }
    let packages = ask_cargo()?;
    Ok(KNOWN.get_or_init(|| packages))
}

fn ask_cargo() -> anyhow::Result<Vec<Package>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1", "--offline"])
        .current_dir(paths::root())
        .output()
        .context("can't run cargo metadata")?;
    if !output.status.success() {
        bail!(
            "cargo metadata failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).context("cargo metadata's output")?;
    Ok(metadata.packages)
}

/// An analyzer: a program of a crate below `analyzers/`.
#[derive(Debug, Clone)]
pub struct Analyzer {
    /// The program's name, which is what users know.
    pub name: String,
    /// The crate's name, which is another where a crate can't have the program's, or has several.
    pub package: String,
}

/// All analyzers by name.
pub fn analyzers() -> anyhow::Result<Vec<Analyzer>> {
    let below = paths::root().canonicalize()?.join("analyzers");
    let mut found: Vec<Analyzer> = packages()?
        .iter()
        .filter(|package| Path::new(&package.manifest_path).starts_with(&below))
        .flat_map(|package| {
            let is_program = |target: &&Target| target.kind.iter().any(|kind| kind == "bin");
            package
                .targets
                .iter()
                .filter(is_program)
                .map(|target| Analyzer {
                    name: target.name.clone(),
                    package: package.name.clone(),
                })
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// These crates, and those of this workspace that they depend on.
fn with_dependencies(crates: &[String]) -> anyhow::Result<Vec<&'static Package>> {
    let packages = packages()?;
    let mut wanted: Vec<&str> = crates.iter().map(String::as_str).collect();
    let mut next = 0;
    let mut found = Vec::new();
    while let Some(name) = wanted.get(next).copied() {
        next += 1;
        let Some(package) = packages.iter().find(|package| package.name == name) else {
            continue;
        };
        found.push(package);
        for dependency in &package.dependencies {
            let is_ours = dependency.path.is_some() && dependency.kind.is_none();
            if is_ours && !wanted.contains(&dependency.name.as_str()) {
                wanted.push(&dependency.name);
            }
        }
    }
    Ok(found)
}

/// Where the sources of these crates are, and of the crates of this workspace that they depend on, but for the runtime,
/// which knows no kernel.
pub fn sources(crates: &[String]) -> anyhow::Result<Vec<PathBuf>> {
    Ok(with_dependencies(crates)?
        .into_iter()
        .filter(|package| package.name != "kstruct")
        .map(|package| Path::new(&package.manifest_path).with_file_name("src"))
        .collect())
}

/// The modules that these crates and those that they depend on ask for.
pub fn modules_of(crates: &[String]) -> anyhow::Result<BTreeSet<String>> {
    let modules = modules(with_dependencies(crates)?);
    if modules.contains(ALL) {
        return wanted_modules();
    }
    Ok(modules)
}

/// The modules that any crate asks for.
pub fn wanted_modules() -> anyhow::Result<BTreeSet<String>> {
    let mut modules = modules(packages()?);
    modules.remove(ALL);
    Ok(modules)
}

/// What asks for the modules that any crate asks for.
const ALL: &str = "*";

fn modules<'p>(packages: impl IntoIterator<Item = &'p Package>) -> BTreeSet<String> {
    packages
        .into_iter()
        .filter_map(|package| package.metadata.as_ref()?.kstruct.as_ref())
        .flat_map(|kstruct| kstruct.modules.iter().cloned())
        .collect()
}

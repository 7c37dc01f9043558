//! What the workspace's crates say of themselves.

use std::collections::BTreeSet;
use std::process::Command;

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
    #[serde(default)]
    metadata: Option<PackageMetadata>,
}

#[derive(Deserialize)]
struct Target {
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
    /// Modules whose types the analyzer can use, where they are known.
    #[serde(default)]
    modules: Vec<String>,
}

fn packages() -> anyhow::Result<Vec<Package>> {
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

/// The names of all analyzers: the crates below `analyzers/` that have a binary.
pub fn analyzers() -> anyhow::Result<Vec<String>> {
    let below = paths::root().canonicalize()?.join("analyzers");
    let mut names: Vec<String> = packages()?
        .into_iter()
        .filter(|package| {
            std::path::Path::new(&package.manifest_path).starts_with(&below)
                && package
                    .targets
                    .iter()
                    .any(|target| target.kind.iter().any(|kind| kind == "bin"))
        })
        .map(|package| package.name)
        .collect();
    names.sort();
    Ok(names)
}

/// The modules that any crate asks for.
pub fn wanted_modules() -> anyhow::Result<BTreeSet<String>> {
    Ok(packages()?
        .into_iter()
        .filter_map(|package| package.metadata?.kstruct)
        .flat_map(|kstruct| kstruct.modules)
        .collect())
}

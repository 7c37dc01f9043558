//! The programs that kstruct is measured beside: where they are, or how to install them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A program that may be there.
pub struct Tool {
    /// Its name, with its version if it is there.
    pub label: String,
    /// Where it is, or how to install it.
    pub program: Result<PathBuf, String>,
}

/// pahole, which prints all structs from DWARF.
pub fn pahole() -> Tool {
    find("pahole", "--version", "dwarves")
}

/// bpftool, which prints all types from BTF.
pub fn bpftool() -> Tool {
    find("bpftool", "version", "bpftool")
}

/// crash: that which `KSTRUCT_CRASH` names, as distributions have old ones.
pub fn crash() -> Tool {
    match std::env::var_os("KSTRUCT_CRASH") {
        Some(path) => versioned("crash", path.into(), "--version"),
        None => find("crash", "--version", "crash"),
    }
}

/// A Python that has drgn: that which `KSTRUCT_DRGN_PYTHON` names, or `python3`, or the one that the program drgn uses.
pub fn drgn() -> Tool {
    const INSTALL: &str = "not installed: python3 -m pip install drgn, or set KSTRUCT_DRGN_PYTHON to a Python that has it";
    let named = std::env::var_os("KSTRUCT_DRGN_PYTHON").map(PathBuf::from);
    let pythons = match named {
        Some(python) => vec![python],
        None => [
            in_path("python3"),
            in_path("drgn").and_then(|drgn| interpreter(&drgn)),
        ]
        .into_iter()
        .flatten()
        .collect(),
    };
    for python in pythons {
        let output = Command::new(&python)
            .args(["-c", "import drgn; print(drgn.__version__)"])
            .output();
        if let Ok(output) = output
            && output.status.success()
        {
            return Tool {
                label: format!("drgn {}", String::from_utf8_lossy(&output.stdout).trim()),
                program: Ok(python),
            };
        }
    }
    Tool {
        label: "drgn".to_owned(),
        program: Err(INSTALL.to_owned()),
    }
}

fn find(name: &str, version: &str, package: &str) -> Tool {
    let Some(path) = in_path(name) else {
        return Tool {
            label: name.to_owned(),
            program: Err(format!("not installed: apt-get install {package}")),
        };
    };
    versioned(name, path, version)
}

fn versioned(name: &str, path: PathBuf, version: &str) -> Tool {
    let text = Command::new(&path)
        .arg(version)
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    Tool {
        label: format!("{name} {}", first_version(&text)).trim().to_owned(),
        program: Ok(path),
    }
}

/// The first word that begins like a version: `8.0.2` of `crash 8.0.2`, `1.24` of `v1.24`.
fn first_version(text: &str) -> &str {
    text.split_whitespace()
        .map(|word| word.strip_prefix('v').unwrap_or(word))
        .find(|word| word.starts_with(|first: char| first.is_ascii_digit()))
        .unwrap_or_default()
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        // Debian puts bpftool where only root looks.
        .chain(["/usr/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// The program that a script's first line names.
fn interpreter(script: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(script).ok()?;
    let line = text.lines().next()?.strip_prefix("#!")?;
    Some(PathBuf::from(line.split_whitespace().next()?))
}

#[cfg(test)]
mod tests {
    use super::first_version;

    #[test]
    fn versions_are_found() {
        assert_eq!(first_version("v1.24\n"), "1.24");
        assert_eq!(first_version("\ncrash 8.0.2\nCopyright (C) 2002"), "8.0.2");
        assert_eq!(first_version("bpftool v7.1.0\nusing libbpf v1.1"), "7.1.0");
        assert_eq!(first_version("none"), "");
    }
}

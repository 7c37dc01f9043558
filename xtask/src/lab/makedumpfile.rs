//! A makedumpfile that writes zstd and snappy, which Debian's is not built with: of its released source, which is kept among the
//! packages, and the program below `target/lab/programs`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::{lab_folder, programs};

/// Releases with the SHA-256 of their source as Debian's archive has it. It keeps only some of them: the first that is there
/// will do.
const RELEASES: [(&str, &str); 3] = [
    (
        "1.7.7",
        "69b4d24ace3024cf2a41f343e162838b62b1b37d6edc7bbad4260fa36217efee",
    ),
    (
        "1.7.6",
        "c949a5b2ad95e5f83a6d1b4faac0972510e4286b0e3257020762e45357816a61",
    ),
    (
        "1.7.2",
        "748583ea4c0b32346008aa53b313e9708f60a8481959c25c76e5c94740032d9b",
    ),
];

const ARCHIVE: &str = "http://deb.debian.org/debian/pool/main/m/makedumpfile";

/// The libraries that it is built with, by their packages.
const LIBRARIES: &str =
    "libbz2-dev libdw-dev libelf-dev liblzo2-dev libsnappy-dev libzstd-dev zlib1g-dev make";

/// The program, built if it isn't there yet.
pub fn ensure() -> Result<PathBuf> {
    let folder = lab_folder()?.join("programs");
    let program = |version: &str| folder.join(format!("makedumpfile-{version}"));
    if let Some((version, _)) = RELEASES
        .iter()
        .find(|(version, _)| program(version).is_file())
    {
        return Ok(program(version));
    }
    std::fs::create_dir_all(&folder)?;
    let (version, source) = fetch(&folder)?;
    let partial = folder.join(format!(".partial-makedumpfile-{version}"));
    let _ = std::fs::remove_dir_all(&partial);
    std::fs::create_dir_all(&partial)?;
    programs::output(
        programs::command("tar")
            .args(["-x", "--no-same-owner", "--strip-components=1", "-C"])
            .arg(&partial)
            .arg("-f")
            .arg(&source),
    )?;
    programs::output(
        programs::command("make")
            .arg("-C")
            .arg(&partial)
            .args([
                "LINKTYPE=dynamic",
                "USELZO=on",
                "USESNAPPY=on",
                "USEZSTD=on",
            ])
            .arg("makedumpfile"),
    )
    .with_context(|| {
        format!("can't build makedumpfile; it needs: apt-get install -y {LIBRARIES}")
    })?;
    std::fs::rename(partial.join("makedumpfile"), program(version))?;
    std::fs::remove_dir_all(&partial)?;
    Ok(program(version))
}

/// The source of one of the releases, downloaded unless it is there. apt compares the checksum.
fn fetch(folder: &Path) -> Result<(&'static str, PathBuf)> {
    let name = |version: &str| format!("makedumpfile_{version}.orig.tar.gz");
    for (version, _) in RELEASES {
        let file = folder.join(name(version));
        if file.is_file() {
            return Ok((version, file));
        }
    }
    let mut errors = Vec::new();
    for (version, checksum) in RELEASES {
        let partial = folder.join(format!(".partial-{}", name(version)));
        let fetched = programs::output(
            programs::command("/usr/lib/apt/apt-helper")
                .arg("download-file")
                .arg(format!("{ARCHIVE}/{}", name(version)))
                .arg(&partial)
                .arg(format!("SHA256:{checksum}")),
        );
        match fetched {
            Ok(_) => {
                let file = folder.join(name(version));
                std::fs::rename(&partial, &file)?;
                return Ok((version, file));
            }
            Err(error) => errors.push(format!("{error:#}")),
        }
        let _ = std::fs::remove_file(&partial);
    }
    bail!(
        "can't download makedumpfile's source: {}",
        errors.join("; ")
    )
}

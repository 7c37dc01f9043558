//! What bindings were made from, and by which generator: while all of that is the same, they need not be made again.
//!
//! A kernel is its build id, wherever its file lies; so are modules.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::Context as _;
use rayon::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{find, paths};

/// This generator: a hash of its sources.
pub const GENERATOR: &str = env!("KSTRUCT_GENERATOR");

/// A larger file without a build id is a dump, and goes by its name, size and time: to read it would take longer than what it is read for.
const LARGEST: u64 = 256 << 20;

/// A file that something was made from. Two are equal if they have the same contents, as far as a build id says that.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Input {
    pub path: PathBuf,
    bytes: u64,
    modified_nanoseconds: u128,
    /// What it is, wherever it lies.
    id: String,
}

impl PartialEq for Input {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Input {
    /// A file as it is now. If it is among those that are known already and has not changed, it is not opened.
    pub fn of(path: &Path, known: &[&Input]) -> anyhow::Result<Self> {
        let context = || path.display().to_string();
        let path = path.canonicalize().with_context(context)?;
        let metadata = path.metadata().with_context(context)?;
        // To open a pipe is to wait for its other end.
        anyhow::ensure!(metadata.is_file(), "{}: not a regular file", path.display());
        let modified = metadata.modified()?.duration_since(UNIX_EPOCH);
        let mut input = Input {
            bytes: metadata.len(),
            modified_nanoseconds: modified.unwrap_or_default().as_nanos(),
            path,
            id: String::new(),
        };
        input.id = match known.iter().find(|known| known.is_unchanged(&input)) {
            Some(known) => known.id.clone(),
            None => input.identify().with_context(context)?,
        };
        Ok(input)
    }

    /// Whether there is a file in its place that is the same.
    pub fn is_still_there(&self) -> bool {
        Input::of(&self.path, &[self]).is_ok_and(|now| now == *self)
    }

    /// What it is, wherever it lies.
    pub fn id(&self) -> &str {
        &self.id
    }

    fn is_unchanged(&self, now: &Input) -> bool {
        (&self.path, self.bytes, self.modified_nanoseconds)
            == (&now.path, now.bytes, now.modified_nanoseconds)
    }

    fn identify(&self) -> std::io::Result<String> {
        // A stripped file has the build id of the whole one, and another size.
        if let Some(id) = find::build_id_of(&self.path) {
            return Ok(format!("build id {id}, {} bytes", self.bytes));
        }
        if self.bytes > LARGEST {
            let (path, time) = (self.path.display(), self.modified_nanoseconds);
            return Ok(format!("{path}, {} bytes, {time}", self.bytes));
        }
        let mut hasher = Sha256::new();
        hash_file(&self.path, &mut hasher)?;
        Ok(format!("sha256 {}", shown(hasher)))
    }
}

fn hash_file(path: &Path, hasher: &mut Sha256) -> std::io::Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            length => hasher.update(&buffer[..length]),
        }
    }
}

fn shown(hasher: Sha256) -> String {
    let bytes = hasher.finalize();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A hash of a few bytes, in hexadecimal.
pub fn hash(bytes: &[u8]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(bytes);
    shown(hasher)
}

/// A hash of all that is in a folder, by which damage shows; `without` is the name of a file at its top that doesn't count.
pub fn digest(folder: &Path, without: &str) -> anyhow::Result<String> {
    let mut files = Vec::new();
    list(folder, &mut files)?;
    files.retain(|file| *file != folder.join(without));
    files.sort();
    let hashes: Vec<Sha256> = files
        .par_iter()
        .map(|file| {
            let mut hasher = Sha256::new();
            hasher.update(
                file.strip_prefix(folder)
                    .unwrap_or(file)
                    .as_os_str()
                    .as_encoded_bytes(),
            );
            hasher.update([0]);
            hash_file(file, &mut hasher)?;
            anyhow::Ok(hasher)
        })
        .collect::<anyhow::Result<_>>()?;
    let mut all = Sha256::new();
    for hash in hashes {
        all.update(hash.finalize());
    }
    Ok(shown(all))
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// Where it is written what a kernel's bindings were made from: not among them, as what was made from the same source is the same.
pub fn of_bindings(kernel: &str) -> PathBuf {
    paths::stamps().join(format!("{kernel}.json"))
}

/// Reads a stamp; `None` if there is none, or none of this version.
pub fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Writes a stamp, or anything like it, in one step.
pub fn write<T: Serialize>(path: &Path, what: &T) -> anyhow::Result<()> {
    let context = || path.display().to_string();
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).with_context(context)?;
    let new = path.with_extension(format!("new{}", std::process::id()));
    fs::write(&new, serde_json::to_vec(what)?).with_context(context)?;
    fs::rename(&new, path).with_context(context)
}

/// Removes a stamp before what it speaks of is changed: of an interrupted run there is none.
pub fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| path.display().to_string())
        }
        _ => Ok(()),
    }
}

/// A lock that is held: a file that is there as long as somebody has it.
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Waits for the lock of this name. The folder that it is in is made, and goes with the lock if nothing else came into it.
    pub fn take(path: &Path) -> anyhow::Result<Self> {
        let context = || format!("can't lock {}", path.display());
        let folder = path.parent().unwrap_or(path);
        loop {
            match fs::create_dir_all(folder) {
                // Who had the lock took the folder away between what failed and the question why it did.
                Err(error)
                    if error.kind() == ErrorKind::AlreadyExists
                        && !folder
                            .symlink_metadata()
                            .is_ok_and(|there| !there.is_dir() && !folder.is_dir()) =>
                {
                    continue;
                }
                made => made.with_context(context)?,
            }
            let file = match File::create(path) {
                Ok(file) => file,
                // Who had it took the folder away.
                Err(error) if error.kind() == ErrorKind::NotFound && !path.is_symlink() => continue,
                Err(error) => return Err(error).with_context(context),
            };
            file.lock().with_context(context)?;
            // Who had it removed this file: others don't wait for it any more.
            let lock = Lock {
                file,
                path: path.to_owned(),
            };
            if lock.is_in_its_place() {
                return Ok(lock);
            }
        }
    }

    fn is_in_its_place(&self) -> bool {
        use std::os::unix::fs::MetadataExt as _;

        let which = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let held = self.file.metadata().map(which).ok();
        held.is_some() && self.path.metadata().map(which).ok() == held
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is held, nobody else puts a file into its place.
        if self.is_in_its_place() {
            let _ = fs::remove_file(&self.path);
            let _ = self.path.parent().map(fs::remove_dir);
        }
    }
}

/// Locks what a folder of bindings holds: two runs at once would mix their files.
pub fn lock(folder: &Path) -> anyhow::Result<Lock> {
    Lock::take(&lock_of(folder)?)
}

/// The file by which a folder is locked: not in it, as the folder may be replaced.
fn lock_of(folder: &Path) -> anyhow::Result<PathBuf> {
    let folder = std::path::absolute(folder)?;
    let name = find::tame(&folder.to_string_lossy());
    // Names of files are short.
    let start = name.char_indices().rev().nth(200).map_or(0, |(at, _)| at);
    Ok(paths::stamps().join(format!("{}.lock", &name[start..])))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn file(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, text).expect("it can be written");
        path
    }

    #[test]
    fn a_file_is_what_is_in_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let one = Input::of(&file(folder, "one", "text"), &[]).expect("it is there");
        let same = Input::of(&file(folder, "same", "text"), &[]).expect("it is there");
        let other = Input::of(&file(folder, "other", "test"), &[]).expect("it is there");
        assert_eq!(one, same);
        assert_ne!(one, other);
        assert!(Input::of(&folder.join("missing"), &[]).is_err());
        // What was known of a file is not believed after it changed.
        let changed = file(folder, "one", "longer");
        let now = Input::of(&changed, &[&one]).expect("it is there");
        assert_ne!(now, one);
        let unchanged = Input::of(&changed, &[&now]).expect("it is there");
        assert_eq!(unchanged.id, now.id);
    }

    #[test]
    fn a_folder_is_what_is_in_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        fs::create_dir(folder.join("net")).expect("a folder");
        file(folder, "net/mod.rs", "struct");
        file(folder, "index.json", "{}");
        let digest = |folder| digest(folder, "stamp").expect("it can be read");
        let whole = digest(folder);
        file(folder, "stamp", "its own stamp doesn't count");
        assert_eq!(digest(folder), whole);
        file(folder, "net/mod.rs", "struck");
        assert_ne!(digest(folder), whole);
        fs::remove_file(folder.join("net/mod.rs")).expect("it is there");
        assert_ne!(digest(folder), whole);
        file(folder, "net/mod.rs", "struct");
        assert_eq!(digest(folder), whole);
        file(folder, "net_mod.rs", "");
        assert_ne!(digest(folder), whole);
    }

    #[test]
    fn one_has_a_lock_at_a_time_and_nothing_stays_of_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("kernel/lock");
        let (inside, entered) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let _lock = Lock::take(&path).expect("it can be locked");
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        entered.fetch_add(1, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(entered.into_inner(), 800);
        assert!(!folder.path().join("kernel").exists());
        // What came beside it stays.
        let lock = Lock::take(&path).expect("it can be locked");
        let other = file(&folder.path().join("kernel"), "release", "");
        drop(lock);
        assert!(!path.exists() && other.exists());
        // Who removes a kernel removes the lock that it holds, too; the next one's stays.
        let lock = Lock::take(&path).expect("it can be locked");
        fs::remove_dir_all(folder.path().join("kernel")).expect("it is there");
        let next = Lock::take(&path).expect("it can be locked");
        drop(lock);
        assert!(path.exists());
        drop(next);
        assert!(!path.exists());
    }

    #[test]
    fn half_a_stamp_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/stamp.json");
        write(&path, &vec![1, 2]).expect("it can be written");
        assert_eq!(read::<Vec<u32>>(&path), Some(vec![1, 2]));
        fs::write(&path, "[1,").expect("it can be written");
        assert_eq!(read::<Vec<u32>>(&path), None);
        for _ in 0..2 {
            remove(&path).expect("it is gone afterwards");
        }
        assert_eq!(read::<Vec<u32>>(&path), None);
    }
}

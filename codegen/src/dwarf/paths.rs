//! Paths of source files, each made once: a kernel's units name the same few thousand headers a million times.

use std::sync::Arc;

use hashbrown::HashMap;

/// The paths made so far, by directory of compilation, directory and name as the unit has them.
#[derive(Default)]
pub struct Paths<'d> {
    known: HashMap<[&'d [u8]; 3], Arc<str>>,
}

impl<'d> Paths<'d> {
    /// The path of a file that the line program names.
    pub fn get(&mut self, base: &'d [u8], directory: &'d [u8], name: &'d [u8]) -> Arc<str> {
        let path = self.known.entry([base, directory, name]);
        path.or_insert_with(|| Arc::from(join(base, directory, name)))
            .clone()
    }
}

/// A file's path: absolute if the compiler was told absolute paths, else relative to the source tree.
pub fn join(base: &[u8], directory: &[u8], name: &[u8]) -> String {
    let mut path = String::new();
    if !name.starts_with(b"/") {
        if !directory.starts_with(b"/") && base.starts_with(b"/") {
            path.push_str(&String::from_utf8_lossy(base));
            path.push('/');
        }
        path.push_str(&String::from_utf8_lossy(directory));
        if !directory.is_empty() {
            path.push('/');
        }
    }
    path.push_str(&String::from_utf8_lossy(name));
    normalised(&path)
}

/// The path without `.`, `..` and doubled slashes, as far as that can be said from the text alone.
fn normalised(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::normalised;

    #[test]
    fn paths_lose_dots() {
        assert_eq!(
            normalised("/b/linux/arch/x86/../../init//main.c"),
            "/b/linux/init/main.c"
        );
        assert_eq!(
            normalised("./include/linux/./sched.h"),
            "include/linux/sched.h"
        );
        assert_eq!(normalised("../../up.h"), "../../up.h");
    }
}

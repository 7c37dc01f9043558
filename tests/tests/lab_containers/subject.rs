//! Copies of dumps that are damaged.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use tests::{root, shown};

/// A copy of a dump that is damaged in one way at a time.
pub struct Subject<'a> {
    /// What damages it.
    program: &'a Path,
    vmcore: File,
    copy: tempfile::NamedTempFile,
    /// Where words of it are damaged.
    places: Vec<u64>,
}

impl<'a> Subject<'a> {
    pub fn of(program: &'a Path, vmcore: &Path) -> Self {
        let copy =
            tempfile::NamedTempFile::new_in(root().join("target/lab")).expect("there is room");
        std::fs::copy(vmcore, copy.path()).expect("there is room for a copy");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(copy.path(), mode).expect("it is ours");
        let vmcore = File::open(vmcore).expect("it was read");
        Subject {
            program,
            vmcore,
            copy,
            places: Vec::new(),
        }
    }

    /// Puts right what was damaged before, and damages a socket; or, without one, a table. Gives where the copy is.
    pub fn damage(&mut self, damage: &str, socket: &str) -> &str {
        for place in self.places.drain(..) {
            let mut word = [0; 8];
            let read = self.vmcore.read_exact_at(&mut word, place);
            read.expect("the word is there");
            let written = self.copy.as_file().write_all_at(&word, place);
            written.expect("it can be written");
        }
        let output = Command::new(self.program)
            .arg(self.copy.path())
            .arg(damage)
            .args((!socket.is_empty()).then_some(socket))
            .output()
            .expect("it was built");
        assert!(output.status.success(), "{damage}: {}", shown(&output));
        let places = String::from_utf8(output.stdout).expect("numbers");
        let places = places
            .lines()
            .map(|place| place.parse::<u64>().expect("a place"));
        self.places.extend(places);
        assert!(!self.places.is_empty(), "{damage}");
        self.copy.path().to_str().expect("paths here are UTF-8")
    }
}

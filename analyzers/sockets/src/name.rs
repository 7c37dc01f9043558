//! Short texts that are kept by value: a process's name, a congestion control's.

use std::fmt;

use kstruct::CharArray;

/// Up to 16 bytes of text; the kernel's arrays for names of processes and congestion controls have no more.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Name([u8; 16]);

impl From<CharArray<'_>> for Name {
    fn from(text: CharArray<'_>) -> Self {
        Name::of(text.as_bytes())
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Name::of(text.as_bytes())
    }
}

impl Name {
    fn of(text: &[u8]) -> Self {
        let mut name = [0; 16];
        for (to, from) in name.iter_mut().zip(text) {
            *to = *from;
        }
        Name(name)
    }

    /// Its bytes, without NUL.
    pub fn bytes(&self) -> &[u8] {
        let end = self.0.iter().position(|byte| *byte == 0);
        &self.0[..end.unwrap_or(self.0.len())]
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.0[0] == 0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(f, self.bytes())
    }
}

impl serde::Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Whether text that somebody else chose is what it looks like.
pub fn is_plain(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b' '..=b'~'))
}

/// Writes text that somebody else chose: what isn't printable must not steer a terminal.
pub fn write_escaped(f: &mut impl fmt::Write, bytes: &[u8]) -> fmt::Result {
    // Mostly it is plain, and there is much of it.
    if is_plain(bytes)
        && let Ok(text) = std::str::from_utf8(bytes)
    {
        return f.write_str(text);
    }
    for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid();
        if valid.chars().any(|char| kstruct::escape_of(char).is_some()) {
            for char in valid.chars() {
                match kstruct::escape_of(char) {
                    Some(escape) => f.write_str(&escape)?,
                    None => f.write_char(char)?,
                }
            }
        } else {
            f.write_str(valid)?;
        }
        for byte in chunk.invalid() {
            write!(f, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::write_escaped;

    #[test]
    fn what_is_not_printable_is_escaped() {
        let mut text = String::new();
        let written = write_escaped(&mut text, b"a\x1b[1m\xff\xc3\xa9\xe2\x80\xaeb");
        assert!(written.is_ok());
        assert_eq!(text, "a\\x1b[1m\\xff\u{e9}\\u{202e}b");
    }
}

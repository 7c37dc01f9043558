use std::collections::BTreeMap;

/// `KEY=value` lines that the kernel leaves for dump tools (Documentation/admin-guide/kdump/vmcoreinfo.rst).
#[derive(Debug, Default, Clone)]
pub struct VmcoreInfo {
    lines: BTreeMap<String, String>,
}

impl VmcoreInfo {
    /// Reads the text that the note has, up to a NUL. Lines without `=` are passed over.
    pub fn parse(text: &[u8]) -> Self {
        let end = text
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(text.len());
        let lines = String::from_utf8_lossy(&text[..end])
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        VmcoreInfo { lines }
    }

    /// Whether there is anything in it.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The value of a key such as `OSRELEASE` or `SYMBOL(init_top_pgt)`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.lines.get(key).map(String::as_str)
    }

    /// `NUMBER(name)`: decimal, as a `long` of the kernel.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.get(&format!("NUMBER({name})"))?.parse().ok()
    }

    /// A value in hexadecimal without prefix: `SYMBOL(name)` and `KERNELOFFSET`.
    pub fn hex(&self, key: &str) -> Option<u64> {
        u64::from_str_radix(self.get(key)?, 16).ok()
    }

    /// All lines, sorted by key.
    pub fn lines(&self) -> impl Iterator<Item = (&str, &str)> {
        self.lines
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::VmcoreInfo;

    #[test]
    fn values_are_read_in_their_own_base() {
        let info = VmcoreInfo::parse(
            b"OSRELEASE=6.1\nKERNELOFFSET=1a000000\nNUMBER(phys_base)=-4096\njunk\n\0X=1\n",
        );
        assert_eq!(info.get("OSRELEASE"), Some("6.1"));
        assert_eq!(info.hex("KERNELOFFSET"), Some(0x1a00_0000));
        assert_eq!(info.number("phys_base"), Some(-4096));
        assert_eq!(info.get("X"), None);
        assert_eq!(info.hex("OSRELEASE"), None);
    }
}

use std::marker::PhantomData;

/// A global or file-static variable of the kernel: its linked address and its type.
pub struct Sym<T> {
    address: u64,
    target: PhantomData<fn() -> T>,
}

impl<T> Sym<T> {
    /// Used by generated code.
    pub const fn new(address: u64) -> Self {
        Sym {
            address,
            target: PhantomData,
        }
    }

    /// The address at which the kernel was linked; see [`crate::Memory::address_of`] for where it was at run time.
    pub const fn linked_address(self) -> u64 {
        self.address
    }
}

impl<T, const L: usize> Sym<[T; L]> {
    /// How many elements the array has.
    #[allow(
        clippy::len_without_is_empty,
        reason = "the kernel has no empty arrays"
    )]
    pub const fn len(self) -> usize {
        L
    }
}

impl<T> Clone for Sym<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Sym<T> {}

/// A per-CPU variable: its address in the template area and its type.
pub struct PerCpu<T> {
    address: u64,
    target: PhantomData<fn() -> T>,
}

impl<T> PerCpu<T> {
    /// Used by generated code.
    pub const fn new(address: u64) -> Self {
        PerCpu {
            address,
            target: PhantomData,
        }
    }

    /// The address in the template area at which the kernel was linked.
    pub const fn linked_address(self) -> u64 {
        self.address
    }
}

impl<T> Clone for PerCpu<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for PerCpu<T> {}

/// Functions by address, as text: lines of `address name`, sorted by address, the address in 16 hexadecimal digits.
#[derive(Debug, Clone, Copy)]
pub struct Functions(pub &'static str);

impl Functions {
    /// The name of the function at exactly this linked address. Where several have it, the first by name.
    pub fn name(self, address: u64) -> Option<&'static str> {
        let (here, name) = parse(self.0.get(self.first_from(address)?..)?)?;
        (here == address).then_some(name)
    }

    /// The function that starts at a linked address, or the last one before it, and how many bytes lie between. Where several start
    /// there, the first by name.
    pub fn at(self, address: u64) -> Option<(&'static str, u64)> {
        if let Some(name) = self.name(address) {
            return Some((name, 0));
        }
        let before = self.0.get(..self.first_from(address)?)?;
        let last = before.trim_end().rfind('\n').map_or(0, |at| at + 1);
        let (place, _) = parse(self.0.get(last..)?)?;
        Some((self.name(place)?, address.checked_sub(place)?))
    }

    /// Where the lines begin whose functions start at this address or behind it.
    fn first_from(self, address: u64) -> Option<usize> {
        let text = self.0;
        // The offsets of a line's start: below `low` all lines are smaller.
        let (mut low, mut high) = (0, text.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let start = text[..middle].rfind('\n').map_or(0, |at| at + 1);
            let (here, _) = parse(&text[start..])?;
            if here < address {
                low = start + text[start..].find('\n')? + 1;
            } else {
                high = start;
            }
        }
        Some(low)
    }

    /// All functions: linked addresses and names, by address.
    pub fn iter(self) -> impl Iterator<Item = (u64, &'static str)> {
        self.0.lines().filter_map(parse)
    }
}

fn parse(line: &'static str) -> Option<(u64, &'static str)> {
    let address = u64::from_str_radix(line.get(..16)?, 16).ok()?;
    let rest = line.get(17..)?;
    Some((address, rest.split('\n').next()?))
}

#[cfg(test)]
mod tests {
    use super::Functions;

    #[test]
    fn functions_are_found_by_their_exact_address() {
        let functions = Functions(
            "0000000000000010 a\n0000000000000020 b\n0000000000000020 b2\nffffffff81000000 start\n",
        );
        assert_eq!(functions.name(0x10), Some("a"));
        assert_eq!(functions.name(0x20), Some("b"));
        assert_eq!(functions.name(0xffff_ffff_8100_0000), Some("start"));
        assert_eq!(functions.name(0x11), None);
        assert_eq!(functions.name(0), None);
        assert_eq!(functions.name(u64::MAX), None);
        assert_eq!(Functions("").name(1), None);
        assert_eq!(functions.at(0x20), Some(("b", 0)));
        assert_eq!(functions.at(0x2f), Some(("b", 0xf)));
        assert_eq!(functions.at(0x1f), Some(("a", 0xf)));
        assert_eq!(functions.at(0xf), None);
        assert_eq!(functions.at(u64::MAX), Some(("start", 0x7eff_ffff)));
        assert_eq!(Functions("").at(1), None);
    }
}

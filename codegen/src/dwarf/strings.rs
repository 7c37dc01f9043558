//! Names as units have them. To look up a name in a section of strings is to wait for memory, and a kernel mentions the
//! same few hundred thousand names ten million times. So tables hold numbers, which can be compared without a look at
//! the text: equal numbers are equal names. (Equal names may have different numbers.)

use std::ffi::CStr;
use std::ops::Deref;

use gimli::Section as _;

use super::Dwarf;

/// A name: where its text is, or for a short one that stands in the entry itself, the text.
///
/// The lowest byte is a length up to [`INLINE`], with the text above it, or says what the rest is an offset of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Name(u64);

/// The longest text that is its own number.
const INLINE: usize = 7;
const IN_STR: u64 = 8;
const IN_LINE_STR: u64 = 9;
/// An index into the unit's own list.
const IN_UNIT: u64 = 10;
/// An index into a list that isn't the unit's.
const IN_LIST: u64 = 11;
const NOWHERE: u64 = 12;

impl Name {
    /// No name.
    pub const EMPTY: Name = Name(0);
    /// A name that could not be read.
    pub const BAD: Name = Name(NOWHERE);

    /// Whether the name has the same meaning in all units of a file.
    pub fn is_global(self) -> bool {
        self.0 & 0xff != IN_UNIT
    }

    /// The name, or else another.
    pub fn or(self, other: Name) -> Name {
        if self == Name::EMPTY { other } else { self }
    }

    /// What the name is, as a word.
    pub fn word(self) -> u64 {
        self.0
    }

    fn inline(text: &[u8]) -> Option<Self> {
        if text.len() > INLINE {
            return None;
        }
        let mut bytes = [0; 8];
        bytes[0] = text.len() as u8;
        bytes[1..=text.len()].copy_from_slice(text);
        Some(Name(u64::from_le_bytes(bytes)))
    }

    /// The string at an offset of `.debug_str`.
    pub fn in_str(offset: u64) -> Self {
        Self::at(offset, IN_STR)
    }

    /// The string at an offset of `.debug_line_str`.
    pub fn in_line_str(offset: u64) -> Self {
        Self::at(offset, IN_LINE_STR)
    }

    /// What stands at an index of a list. Only whoever has the list knows its text.
    pub fn in_list(index: u64) -> Self {
        Self::at(index, IN_LIST)
    }

    fn at(offset: u64, section: u64) -> Self {
        match offset.checked_mul(1 << 8) {
            Some(offset) => Name(offset | section),
            None => Self::BAD,
        }
    }
}

/// The strings that a unit's names are in.
#[derive(Default)]
pub struct Strings<'d> {
    str: &'d [u8],
    line_str: &'d [u8],
    own: Vec<&'d [u8]>,
}

impl<'d> Strings<'d> {
    pub fn new(dwarf: &Dwarf<'d>) -> Self {
        Strings {
            str: dwarf.debug_str.reader().slice(),
            line_str: dwarf.debug_line_str.reader().slice(),
            own: Vec::new(),
        }
    }

    /// The name with this text.
    pub fn name(&mut self, text: &'d [u8]) -> Name {
        Name::inline(text).unwrap_or_else(|| {
            self.own.push(text);
            Name::at(self.own.len() as u64 - 1, IN_UNIT)
        })
    }

    /// The name, if there is a text for it.
    #[inline]
    pub fn checked(&self, name: Name) -> Option<Name> {
        let offset = name.0 >> 8;
        let ends_in = |section: &[u8]| {
            offset < section.len() as u64
                && (section.ends_with(&[0]) || section[offset as usize..].contains(&0))
        };
        let is_good = match name.0 & 0xff {
            IN_STR => ends_in(self.str),
            IN_LINE_STR => ends_in(self.line_str),
            kind => kind != NOWHERE,
        };
        is_good.then_some(name)
    }

    /// Whether the text is empty.
    pub fn is_empty(&self, name: Name) -> bool {
        let offset = (name.0 >> 8) as usize;
        match name.0 & 0xff {
            IN_STR => self.str.get(offset).is_none_or(|byte| *byte == 0),
            IN_LINE_STR => self.line_str.get(offset).is_none_or(|byte| *byte == 0),
            _ => self.text(name).is_empty(),
        }
    }

    /// The text; empty if there is none.
    pub fn text(&self, name: Name) -> Text<'d> {
        let offset = (name.0 >> 8) as usize;
        let string = |section: &'d [u8]| {
            let rest = section.get(offset..).unwrap_or_default();
            let string = CStr::from_bytes_until_nul(rest).unwrap_or_default();
            Text::Long(string.to_bytes())
        };
        match name.0 & 0xff {
            IN_STR => string(self.str),
            IN_LINE_STR => string(self.line_str),
            IN_UNIT => Text::Long(self.own.get(offset).copied().unwrap_or_default()),
            IN_LIST | NOWHERE => Text::Long(&[]),
            _ => Text::Inline(name.0.to_le_bytes()),
        }
    }
}

/// The text of a name.
#[derive(Clone, Copy)]
pub enum Text<'d> {
    Long(&'d [u8]),
    /// A length and as many bytes.
    Inline([u8; 8]),
}

impl Deref for Text<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Text::Long(text) => text,
            Text::Inline([length, text @ ..]) => &text[..usize::from(*length).min(INLINE)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(str: &[u8]) -> Strings<'_> {
        Strings {
            str,
            line_str: &[],
            own: Vec::new(),
        }
    }

    #[test]
    fn names_keep_their_text() {
        let mut strings = strings(b"a name\0more");
        for text in [&b""[..], b"dev", b"1234567", b"12345678"] {
            let name = strings.name(text);
            assert_eq!(&*strings.text(name), text);
            assert_eq!(strings.checked(name), Some(name));
            assert_eq!(name.is_global(), text.len() <= INLINE);
        }
        assert_eq!(&*strings.text(Name::in_str(2)), b"name");
        assert_eq!(strings.name(b""), Name::EMPTY);
    }

    #[test]
    fn what_is_no_string_is_not_good() {
        let strings = strings(b"a name\0more");
        assert_eq!(strings.checked(Name::in_str(6)), Some(Name::in_str(6)));
        assert_eq!(strings.checked(Name::in_str(7)), None);
        assert_eq!(strings.checked(Name::in_line_str(0)), None);
        assert_eq!(strings.checked(Name::in_str(u64::MAX)), None);
        assert_eq!(&*strings.text(Name::in_str(7)), b"");
    }
}

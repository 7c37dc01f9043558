//! What a rule says: a sentence, and the numbers in it by their names.

use std::fmt::{self, Display};

use kstruct::Fault;
use serde::{Serialize, Serializer};

/// What a rule says.
#[derive(Debug)]
pub struct Said {
    /// For people.
    pub why: String,
    /// For programs.
    pub values: Values,
    /// What the dump doesn't have, if that is all that is wrong: nothing is found then.
    pub unread: Option<Fault>,
}

/// The numbers of a sentence.
#[derive(Debug)]
pub struct Values(pub Vec<(&'static str, i64)>);

impl Serialize for Values {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

/// Something that a sentence may count or measure.
pub trait Number {
    /// As a number; the largest one for what is larger.
    fn number(&self) -> i64;
}

macro_rules! numbers {
    ($($integer:ty)*) => {$(
        impl Number for $integer {
            fn number(&self) -> i64 {
                i64::try_from(*self).unwrap_or(i64::MAX)
            }
        }
    )*};
}

numbers!(u8 u16 u32 u64 usize i32 i64);

/// So many of something: `1 byte`, `2 bytes`.
pub struct Many(i64, &'static str);

/// So many of what the word, in the singular, names.
pub fn many(count: impl Number, word: &'static str) -> Many {
    Many(count.number(), word)
}

impl Number for Many {
    fn number(&self) -> i64 {
        self.0
    }
}

impl Display for Many {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0 == 1 { "" } else { "s" };
        write!(f, "{} {}{plural}", self.0, self.1)
    }
}

/// When a timer expires: `next in 200 ms`, `next was due 80 s ago`.
pub struct Due(i64);

/// In so many milliseconds.
pub fn due(milliseconds: i64) -> Due {
    Due(milliseconds)
}

impl Number for Due {
    fn number(&self) -> i64 {
        self.0
    }
}

impl Display for Due {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// From here on seconds say as much.
        const LONG: u64 = 10_000;
        let time = self.0.unsigned_abs();
        let (time, unit) = if time < LONG {
            (time, "ms")
        } else {
            (time / 1000, "s")
        };
        if self.0 < 0 {
            write!(f, "due {time} {unit} ago")
        } else {
            write!(f, "due in {time} {unit}")
        }
    }
}

/// A sentence as [`format!`] makes it. Each name that is given a value is that of a number, which goes to the finding's `values`, too.
macro_rules! say {
    ($text:literal $(, $name:ident = $value:expr)* $(,)?) => {{
        // At once: a name may be that of something that another value is made of.
        let ($($name,)*) = ($($value,)*);
        $crate::said::Said {
            values: $crate::said::Values(vec![
                $((stringify!($name), $crate::said::Number::number(&$name))),*
            ]),
            why: format!($text),
            unread: None,
        }
    }};
}
pub(crate) use say;

#[cfg(test)]
mod tests {
    use super::{due, many};

    #[test]
    fn what_is_past_is_not_ahead() {
        assert_eq!(due(200).to_string(), "due in 200 ms");
        assert_eq!(due(-8_000_000).to_string(), "due 8000 s ago");
        assert_eq!(due(i64::MIN).to_string(), "due 9223372036854775 s ago");
    }

    #[test]
    fn numbers_of_a_sentence_have_their_names() {
        let waits = "in ESTAB";
        let said = say!(
            "{bytes} and {packets} wait {waits}",
            bytes = many(1_u32, "byte"),
            packets = many(2_usize, "packet"),
        );
        assert_eq!(said.why, "1 byte and 2 packets wait in ESTAB");
        assert_eq!(said.values.0, [("bytes", 1), ("packets", 2)]);
    }
}

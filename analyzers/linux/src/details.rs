//! Named values in the order in which a tool prints them: what an interface, a queueing discipline or a filter has of its own.

use std::fmt::{self, Display, Write as _};

use serde::{Serialize, Serializer, ser::SerializeMap as _};

/// Names and values. The names are those of the tool's own JSON (`tc -j`, `ip -j`, `bridge -j`), and so are the units.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Details(Vec<(&'static str, Value)>);

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Shown as its name if it is true.
    Bool(bool),
    /// A number that is never negative.
    Number(u64),
    /// A number with a sign.
    Signed(i64),
    /// A fraction.
    Float(f64),
    /// Bytes a second: a number for programs, `10Mbit` for people.
    Rate(u64),
    /// Microseconds: a number for programs, `5ms` for people.
    Time(u64),
    /// Text.
    Text(String),
    /// Several.
    List(Vec<Value>),
    /// What has values of its own.
    Map(Details),
}

impl Details {
    /// With nothing in it.
    pub fn new() -> Self {
        Details::default()
    }

    /// Adds a value.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) -> &mut Self {
        self.0.push((name, value.into()));
        self
    }

    /// Adds a value where there is one.
    pub fn set_some(&mut self, name: &'static str, value: Option<impl Into<Value>>) -> &mut Self {
        if let Some(value) = value {
            self.set(name, value);
        }
        self
    }

    /// Adds a flag if it is set: tools leave out what is not.
    pub fn flag(&mut self, name: &'static str, is_set: bool) -> &mut Self {
        if is_set {
            self.set(name, true);
        }
        self
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Details {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Bool(value) => value.serialize(serializer),
            Value::Number(value) => value.serialize(serializer),
            Value::Signed(value) => value.serialize(serializer),
            Value::Float(value) => value.serialize(serializer),
            Value::Rate(value) | Value::Time(value) => value.serialize(serializer),
            Value::Text(value) => value.serialize(serializer),
            Value::List(value) => value.serialize(serializer),
            Value::Map(value) => value.serialize(serializer),
        }
    }
}

/// For people: `limit 100 ecn target 5000`. What is false is left out.
impl Display for Details {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut blank = "";
        for (name, value) in &self.0 {
            match value {
                Value::Bool(false) => continue,
                Value::Bool(true) => write!(f, "{blank}{name}")?,
                Value::Map(map) if map.is_empty() => continue,
                Value::List(list) if list.is_empty() => continue,
                Value::Text(text) if text.is_empty() => continue,
                Value::Map(map) => write!(f, "{blank}{name} ({map})")?,
                value => write!(f, "{blank}{name} {value}")?,
            }
            blank = " ";
        }
        Ok(())
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(value) => value.fmt(f),
            Value::Number(value) => value.fmt(f),
            Value::Signed(value) => value.fmt(f),
            Value::Float(value) => value.fmt(f),
            Value::Rate(value) => {
                // As tc does (`tc_print_rate`, lib/utils_math.c of iproute2): a larger unit where nothing is lost, or there are digits enough.
                let mut rate = u128::from(*value) * 8;
                let mut units = ["", "K", "M", "G", "T"].into_iter();
                let mut unit = units.next().unwrap_or_default();
                while rate >= 1000
                    && (rate.is_multiple_of(1000) || rate >= 1_000_000)
                    && let Some(larger) = units.next()
                {
                    rate /= 1000;
                    unit = larger;
                }
                write!(f, "{rate}{unit}bit")
            }
            Value::Time(value) => match value {
                value if *value >= 1_000_000 => write!(f, "{}s", *value as f64 / 1e6),
                value if *value >= 1000 => write!(f, "{}ms", *value as f64 / 1e3),
                value => write!(f, "{value}us"),
            },
            Value::Text(value) => f.write_str(value),
            Value::Map(map) => write!(f, "({map})"),
            Value::List(values) => {
                let mut comma = "";
                for value in values {
                    write!(f, "{comma}{value}")?;
                    comma = ",";
                }
                Ok(())
            }
        }
    }
}

macro_rules! from_numbers {
    ($($ty:ty => $variant:ident as $wide:ty;)*) => {$(
        impl From<$ty> for Value {
            fn from(value: $ty) -> Self {
                Value::$variant(<$wide>::from(value))
            }
        }
    )*};
}

from_numbers! {
    bool => Bool as bool;
    u8 => Number as u64;
    u16 => Number as u64;
    u32 => Number as u64;
    u64 => Number as u64;
    i8 => Signed as i64;
    i16 => Signed as i64;
    i32 => Signed as i64;
    i64 => Signed as i64;
    f64 => Float as f64;
    String => Text as String;
    &str => Text as String;
    Details => Map as Details;
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(values: Vec<T>) -> Self {
        Value::List(values.into_iter().map(Into::into).collect())
    }
}

/// A hardware address, or the like: `02:00:00:00:00:01`.
pub fn colons(bytes: &[u8]) -> String {
    let mut out = String::new();
    for byte in bytes {
        let colon = if out.is_empty() { "" } else { ":" };
        let _ = write!(out, "{colon}{byte:02x}");
    }
    out
}

/// Bytes in hexadecimal without anything between them.
pub fn hexadecimal(bytes: &[u8]) -> String {
    let mut out = String::new();
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Details, Value, colons, hexadecimal};

    #[test]
    fn what_is_false_is_not_shown() {
        let mut inner = Details::new();
        inner.set("count", 2_u32);
        let mut details = Details::new();
        details
            .set("limit", 100_u32)
            .set("ecn", true)
            .set("drop", false)
            .flag("offload", false)
            .flag("headdrop", true)
            .set_some("flows", None::<u32>)
            .set_some("quantum", Some(300_u32))
            .set("ids", vec![1_u32, 2])
            .set("inner", inner)
            .set("rate", Value::Rate(1_250_000))
            .set("target", Value::Time(4999));
        assert_eq!(
            details.to_string(),
            "limit 100 ecn headdrop quantum 300 ids 1,2 inner (count 2) rate 10Mbit target 4.999ms"
        );
        assert!(!details.is_empty());
    }

    #[test]
    fn rates_have_tcs_units() {
        let rates = [
            (12, "96bit"),
            (187, "1496bit"),
            (68_750, "550Kbit"),
            (781_250, "6250Kbit"),
            (7_500_000, "60Mbit"),
            (625_000_000, "5Gbit"),
            (1_234_567_890, "9876Mbit"),
        ];
        for (bytes, text) in rates {
            assert_eq!(Value::Rate(bytes).to_string(), text);
        }
    }

    #[test]
    fn bytes_are_written_with_colons_or_without() {
        assert_eq!(colons(&[2, 0, 0xab]), "02:00:ab");
        assert_eq!(hexadecimal(&[2, 0, 0xab]), "0200ab");
    }
}

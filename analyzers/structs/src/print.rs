//! Values as text and as JSON.

use std::fmt::Write as _;

use kstruct::Fault;
use kstruct::types::{Field, Shape, Type, Value};
use linux::Faults;
use serde_json::{Map, json};

use crate::Context;
use crate::context::Note;

/// How values are shown.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// Numbers in hexadecimal.
    pub hexadecimal: bool,
    /// Each member's address before it.
    pub addresses: bool,
    /// Elements of an array that are shown, in text.
    pub elements: u64,
}

/// What fits into a line of this many characters is not spread over several.
const WIDTH: usize = 100;
/// So many equal elements, one after the other, are shown as one.
const REPEATS: usize = 4;

/// Shows values, and counts what could not be read.
pub struct Printer<'a, 'm> {
    /// The dump.
    pub context: &'a Context<'m>,
    /// How.
    pub style: Style,
    /// What could not be read.
    pub faults: &'a mut Faults,
}

impl Printer<'_, '_> {
    /// A value as C's initialisers write it, `indent` steps from the left margin.
    pub fn text(&mut self, value: &Value, ty: Option<Type>, indent: usize) -> String {
        match value {
            Value::Struct(fields) => self.struct_text(fields, indent),
            Value::Array(elements, count) => self.array_text(elements, *count, ty, indent),
            Value::Fault(fault) => self.fault(*fault),
            Value::Signed(number) => self.signed(*number),
            Value::Unsigned(number) => self.unsigned(*number),
            Value::Bool(value) => value.to_string(),
            Value::Char(byte) => {
                let number = self.unsigned((*byte).into());
                if byte.is_ascii_graphic() || *byte == b' ' {
                    format!("{number} '{}'", char::from(*byte))
                } else {
                    number
                }
            }
            Value::Float(value) => value.to_string(),
            Value::Enum(item, number) => match item.enumerator(*number) {
                Some(name) => name.to_owned(),
                None => flags(*item, *number).unwrap_or_else(|| self.signed(*number)),
            },
            Value::Pointer(address) => {
                let mut out = format!("{address:#x}");
                match target(ty).and_then(|target| self.context.note(*address, target)) {
                    Some(Note::Symbol(symbol)) => {
                        let _ = write!(out, " <{symbol}>");
                    }
                    Some(Note::Text(text)) => {
                        let _ = write!(out, " \"{text}\"");
                    }
                    Some(Note::PerCpu) => out.push_str(" <per-CPU>"),
                    Some(Note::Unread(fault)) => {
                        let _ = write!(out, " {}", self.fault(fault));
                    }
                    None => {}
                }
                out
            }
            Value::Text(bytes) => quoted(bytes),
            Value::Bytes(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
            Value::Deeper => "{...}".to_owned(),
            Value::Nothing => "{}".to_owned(),
        }
    }

    fn struct_text(&mut self, fields: &[Field], indent: usize) -> String {
        if fields.is_empty() {
            return "{}".to_owned();
        }
        let parts: Vec<String> = fields
            .iter()
            .map(|field| {
                let value = self.text(&field.value, Some(field.ty), indent + 1);
                let place = if self.style.addresses {
                    format!("[{:x}] ", field.address)
                } else {
                    String::new()
                };
                match field.name {
                    "" => format!("{place}{value}"),
                    name => format!("{place}{name} = {value}"),
                }
            })
            .collect();
        self.braces(&parts, indent)
    }

    fn braces(&self, parts: &[String], indent: usize) -> String {
        let length: usize = parts.iter().map(|part| part.len() + 2).sum();
        let is_short = length + indent * 2 < WIDTH && !parts.iter().any(|part| part.contains('\n'));
        // The outermost struct has a line for each member.
        if is_short && indent > 0 && !self.style.addresses {
            return format!("{{{}}}", parts.join(", "));
        }
        let (margin, end) = ("  ".repeat(indent + 1), "  ".repeat(indent));
        let mut out = String::from("{\n");
        for part in parts {
            let _ = writeln!(out, "{margin}{part},");
        }
        out.push_str(&end);
        out.push('}');
        out
    }

    fn array_text(
        &mut self,
        elements: &[Value],
        count: u64,
        ty: Option<Type>,
        indent: usize,
    ) -> String {
        let element = element(ty);
        let mut parts = Vec::new();
        let mut at = 0;
        while let Some(value) = elements.get(at) {
            if parts.len() as u64 >= self.style.elements {
                break;
            }
            let same = elements[at..]
                .iter()
                .take_while(|other| *other == value)
                .count();
            let repeats = if same >= REPEATS { same } else { 1 };
            let mut text = self.text(value, element, indent + 1);
            if repeats > 1 {
                let _ = write!(text, " <{repeats} times>");
            }
            parts.push(text);
            at += repeats;
        }
        let left = count.saturating_sub(at as u64);
        if left > 0 && at > 0 {
            parts.push(format!("... {left} more"));
        }
        if parts.is_empty() {
            return "{}".to_owned();
        }
        self.braces(&parts, indent.max(1))
    }

    fn fault(&mut self, fault: Fault) -> String {
        self.faults.add("a member", fault);
        format!("<{}>", fault.kind)
    }

    fn signed(&self, number: i128) -> String {
        if self.style.hexadecimal {
            // A negative number keeps its sign: how many bytes it had isn't known here.
            let sign = if number < 0 { "-" } else { "" };
            format!("{sign}{:#x}", number.unsigned_abs())
        } else {
            number.to_string()
        }
    }

    fn unsigned(&self, number: u128) -> String {
        if self.style.hexadecimal {
            format!("{number:#x}")
        } else {
            number.to_string()
        }
    }

    /// A value for programs: structs are objects, in which members of anonymous members stand among the others; numbers are numbers;
    /// an enum is its name or else its number; a pointer is an object with its address and what is known of that.
    pub fn json(&mut self, value: &Value, ty: Option<Type>) -> serde_json::Value {
        match value {
            Value::Struct(fields) => {
                let mut object = Map::new();
                self.json_fields(fields, &mut object);
                object.into()
            }
            Value::Array(elements, _) => {
                let element = element(ty);
                elements
                    .iter()
                    .map(|value| self.json(value, element))
                    .collect()
            }
            Value::Fault(fault) => {
                self.faults.add("a member", *fault);
                json!({"fault": fault.kind.to_string(), "address": format!("{:#x}", fault.address)})
            }
            Value::Signed(number) => match i64::try_from(*number) {
                Ok(number) => number.into(),
                Err(_) => number.to_string().into(),
            },
            Value::Unsigned(number) => match u64::try_from(*number) {
                Ok(number) => number.into(),
                Err(_) => number.to_string().into(),
            },
            Value::Bool(value) => (*value).into(),
            Value::Char(byte) => (*byte).into(),
            Value::Float(value) => json!(value),
            Value::Enum(item, number) => match item.enumerator(*number) {
                Some(name) => name.into(),
                None => match i64::try_from(*number) {
                    Ok(number) => number.into(),
                    Err(_) => number.to_string().into(),
                },
            },
            Value::Pointer(address) => {
                let mut object = Map::new();
                object.insert("address".to_owned(), format!("{address:#x}").into());
                match target(ty).and_then(|target| self.context.note(*address, target)) {
                    Some(Note::Symbol(symbol)) => {
                        object.insert("symbol".to_owned(), symbol.into());
                    }
                    Some(Note::Text(text)) => {
                        object.insert("text".to_owned(), text.into());
                    }
                    Some(Note::PerCpu) => {
                        object.insert("per_cpu".to_owned(), true.into());
                    }
                    Some(Note::Unread(fault)) => {
                        self.faults.add("a member", fault);
                        object.insert("fault".to_owned(), fault.kind.to_string().into());
                    }
                    None => {}
                }
                object.into()
            }
            Value::Text(bytes) => until_nul(bytes).escape_ascii().to_string().into(),
            Value::Bytes(bytes) => {
                let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                text.into()
            }
            Value::Deeper | Value::Nothing => serde_json::Value::Null,
        }
    }

    fn json_fields(&mut self, fields: &[Field], object: &mut Map<String, serde_json::Value>) {
        for field in fields {
            match (&field.value, field.name) {
                (Value::Struct(inner), "") => self.json_fields(inner, object),
                (_, "") => {}
                (value, name) => {
                    let value = self.json(value, Some(field.ty));
                    object.insert(name.to_owned(), value);
                }
            }
        }
    }
}

/// A number that is the sum of flags that an enum names, as `A|B`.
fn flags(item: kstruct::types::Item, number: i128) -> Option<String> {
    if number <= 0 {
        return None;
    }
    let bits: Vec<(&str, i128)> = item
        .enumerators()
        .filter(|(_, value)| *value > 0 && value.count_ones() == 1)
        .collect();
    // An enum that counts 0, 1, 2, 3 names no flags.
    if item.enumerators().any(|(_, value)| value.count_ones() > 1) || bits.len() < 2 {
        return None;
    }
    let mut left = number;
    let mut names = Vec::new();
    for (name, bit) in bits {
        if left & bit != 0 {
            names.push(name);
            left &= !bit;
        }
    }
    (left == 0).then(|| names.join("|"))
}

fn target(ty: Option<Type>) -> Option<Type> {
    match ty?.stripped() {
        Shape::Pointer(target) => Some(target),
        _ => None,
    }
}

fn element(ty: Option<Type>) -> Option<Type> {
    match ty?.stripped() {
        Shape::Array(element, _) => Some(element),
        _ => None,
    }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0);
    &bytes[..end.unwrap_or(bytes.len())]
}

/// A text in quotes. Large arrays of characters, such as the kernel's log, are shown by their beginning.
fn quoted(bytes: &[u8]) -> String {
    const MOST: usize = 4096;
    let text = until_nul(bytes);
    if text.len() > MOST {
        return format!("\"{}\"...", text[..MOST].escape_ascii());
    }
    format!("\"{}\"", text.escape_ascii())
}

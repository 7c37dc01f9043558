//! Types as C writes them.

use super::{Member, Shape, Type};

/// Beyond this, a type is shown as `...`: function pointers that take function pointers that take function pointers.
const MOST_NESTED: u32 = 8;

impl Type {
    /// The declaration of a name with this type: `char comm[16]`, `int (*open)(struct inode *)`. Without a name, the type's own name.
    pub fn declaration(self, name: &str) -> String {
        let mut out = String::new();
        write(self, name.to_owned(), &mut out, 0);
        out
    }
}

impl Member {
    /// Its declaration, with the width of a bit-field.
    pub fn declaration(self) -> String {
        let text = self.ty.declaration(self.name);
        match self.bits {
            Some((_, width)) => format!("{text}:{width}"),
            None => text,
        }
    }
}

fn write(ty: Type, inner: String, out: &mut String, depth: u32) {
    if depth > MOST_NESTED {
        out.push_str("...");
        return;
    }
    match ty.shape() {
        Shape::Pointer(target) => {
            let inner = match target.shape() {
                Shape::Array(..) | Shape::Function(_) => format!("(*{inner})"),
                _ => format!("*{inner}"),
            };
            write(target, inner, out, depth + 1);
        }
        Shape::Array(element, count) => {
            let count = count.map_or_else(String::new, |count| count.to_string());
            write(element, format!("{inner}[{count}]"), out, depth + 1);
        }
        Shape::Function(function) => {
            let mut parameters: Vec<String> = function
                .parameters()
                .map(|parameter| {
                    let mut text = String::new();
                    write(parameter, String::new(), &mut text, depth + 1);
                    text
                })
                .collect();
            if function.variadic {
                parameters.push("...".to_owned());
            } else if parameters.is_empty() {
                parameters.push("void".to_owned());
            }
            let inner = format!("{inner}({})", parameters.join(", "));
            write(function.result, inner, out, depth + 1);
        }
        Shape::Qualified(qualifier, target) => match target.shape() {
            // A constant array is one of constants, which its element says already.
            Shape::Array(element, _) if matches!(element.shape(), Shape::Qualified(..)) => {
                write(target, inner, out, depth + 1);
            }
            // What is qualified is the pointer, not what it points to.
            Shape::Pointer(_) => {
                let inner = format!("{qualifier} {inner}");
                write(target, inner.trim_end().to_owned(), out, depth + 1);
            }
            _ => {
                out.push_str(qualifier);
                out.push(' ');
                write(target, inner, out, depth + 1);
            }
        },
        Shape::Void => named(out, "void", &inner),
        Shape::Base(name, ..) | Shape::Typedef(name, _) => named(out, name, &inner),
        Shape::Item(item) => named(out, &item.c_name(), &inner),
        Shape::Opaque(kind, name) => named(out, &format!("{} {name}", kind.keyword()), &inner),
    }
}

fn named(out: &mut String, name: &str, inner: &str) {
    out.push_str(name);
    if !inner.is_empty() {
        out.push(' ');
        out.push_str(inner);
    }
}

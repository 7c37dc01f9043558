//! Types as C writes them, for documentation and for the index.

use std::fmt::Write as _;

use crate::model::{Member, Model, Type};

/// Beyond this, a type is shown as `...`: function pointers that take function pointers that take function pointers.
const MAX_DEPTH: u32 = 8;

/// A declaration of `name` with a type: `char comm[16]`, `int (*open)(struct inode *)`.
pub fn declaration(model: &Model, ty: &Type, name: &str) -> String {
    let mut out = String::new();
    write_type(model, ty, name.to_owned(), &mut out, 0);
    out
}

/// A type without a name: `char [16]`.
pub fn type_name(model: &Model, ty: &Type) -> String {
    declaration(model, ty, "")
}

/// A member's declaration, with the width of a bit-field.
pub fn member(model: &Model, member: &Member) -> String {
    let mut out = declaration(model, &member.ty, &member.name);
    if let Some(bits) = member.bits {
        let _ = write!(out, ":{}", bits.size);
    }
    out
}

fn write_type(model: &Model, ty: &Type, inner: String, out: &mut String, depth: u32) {
    if depth > MAX_DEPTH {
        out.push_str("...");
        return;
    }
    match ty {
        Type::Pointer(target) => {
            let inner = match **target {
                Type::Array(..) | Type::Function(_) => format!("(*{inner})"),
                _ => format!("*{inner}"),
            };
            write_type(model, target, inner, out, depth + 1);
        }
        Type::Array(element, count) => {
            let mut inner = inner;
            match count {
                Some(count) => {
                    let _ = write!(inner, "[{count}]");
                }
                None => inner.push_str("[]"),
            }
            write_type(model, element, inner, out, depth + 1);
        }
        Type::Function(prototype) => {
            let mut parameters = Vec::new();
            for parameter in &prototype.parameters {
                let mut text = String::new();
                write_type(model, parameter, String::new(), &mut text, depth + 1);
                parameters.push(text);
            }
            if prototype.variadic {
                parameters.push("...".to_owned());
            } else if parameters.is_empty() {
                parameters.push("void".to_owned());
            }
            let inner = format!("{inner}({})", parameters.join(", "));
            write_type(model, &prototype.result, inner, out, depth + 1);
        }
        Type::Qualified(qualifier, target) => match **target {
            // A constant array is one of constants, which its element says already.
            Type::Array(ref element, _) if matches!(**element, Type::Qualified(..)) => {
                write_type(model, target, inner, out, depth + 1);
            }
            // What is qualified is the pointer, not what it points to.
            Type::Pointer(_) => {
                let inner = if inner.is_empty() {
                    (*qualifier).to_owned()
                } else {
                    format!("{qualifier} {inner}")
                };
                write_type(model, target, inner, out, depth + 1);
            }
            _ => {
                out.push_str(qualifier);
                out.push(' ');
                write_type(model, target, inner, out, depth + 1);
            }
        },
        Type::Void => named(out, "void", &inner),
        Type::Base { name, .. } | Type::Typedef(name, _) => named(out, name, &inner),
        Type::Item(id) => named(out, &model.item(*id).c_name(), &inner),
        Type::Opaque(kind, name) => named(out, &format!("{} {name}", kind.keyword()), &inner),
    }
}

fn named(out: &mut String, name: &str, inner: &str) {
    // Names are shown in documentation; whatever a hostile file calls its types must stay text on one line.
    out.extend(name.chars().take(200).map(printable));
    if !inner.is_empty() {
        out.push(' ');
        out.extend(inner.chars().take(2000).map(printable));
    }
}

/// A name as text on one line, of bounded length, and in the order in which its characters stand.
pub(crate) fn one_line(name: &str) -> String {
    name.chars().take(300).map(printable).collect()
}

/// What is no text in documentation, and what rustc refuses in it and in literals, is an underscore.
pub(crate) fn printable(c: char) -> char {
    if c.is_control()
        || c == '`'
        || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    {
        '_'
    } else {
        c
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{Encoding, Kind, Prototype};

    fn int() -> Type {
        Type::Base {
            name: Arc::from("int"),
            size: 4,
            encoding: Encoding::Signed,
        }
    }

    #[test]
    fn declarators_are_written_inside_out() {
        let model = Model::default();
        let show = |ty: &Type| declaration(&model, ty, "x");
        let pointer = |ty| Type::Pointer(Box::new(ty));
        let array = |ty, count| Type::Array(Box::new(ty), count);
        assert_eq!(show(&int()), "int x");
        assert_eq!(show(&pointer(array(int(), Some(3)))), "int (*x)[3]");
        assert_eq!(show(&array(pointer(int()), None)), "int *x[]");
        // Three rows of four: the outer dimension comes first.
        assert_eq!(show(&array(array(int(), Some(4)), Some(3))), "int x[3][4]");
        let function = Type::Function(Box::new(Prototype {
            result: pointer(Type::Void),
            parameters: vec![
                pointer(Type::Opaque(Kind::Struct, Arc::from("inode"))),
                int(),
            ],
            variadic: true,
        }));
        assert_eq!(
            show(&pointer(function)),
            "void *(*x)(struct inode *, int, ...)"
        );
        let qualified = Type::Qualified("const", Box::new(int()));
        assert_eq!(show(&pointer(qualified.clone())), "const int *x");
        assert_eq!(
            show(&Type::Qualified("const", Box::new(pointer(qualified)))),
            "const int *const x"
        );
        assert_eq!(type_name(&model, &pointer(int())), "int *");
    }
}

//! A type's layout as pahole prints it.

use std::fmt::Write as _;

use super::{Item, Kind, Member, Shape, Type, Types};

/// What a cache line has, in bytes: the machines that are read have the same.
const CACHE_LINE: u64 = 64;
/// Nameless structs in nameless structs are shown no deeper.
const MOST_NESTED: usize = 32;
/// And no layout is longer: of a table that is damaged, a struct may contain itself many times over.
const LONGEST: usize = 1 << 24;

/// All that a name means, one after the other: structs, unions, enums and typedefs. `struct` or another keyword may stand before it.
/// Several types of one name are told apart by their names in the bindings, by which each can be asked for. `None` if there is
/// nothing of that name.
pub fn layouts(types: &'static Types, name: &str) -> Option<String> {
    let (wanted, name) = keyword(name);
    let mut items = types.items_named(name);
    items.retain(|item| wanted.is_none_or(|kind| kind == item.kind));
    let mut out = String::new();
    for typedef in types.typedefs_named(name) {
        let target = match typedef.target.stripped() {
            Shape::Item(item) => Some(item),
            _ => None,
        };
        // The name of a nameless struct: shown with it.
        if wanted.is_some() || target.is_some_and(|item| item.name == name && item.by_typedef) {
            continue;
        }
        let place = place(typedef.file, typedef.line);
        let _ = writeln!(
            out,
            "typedef {};{place}\n",
            typedef.target.declaration(typedef.name)
        );
        if let Some(item) = target
            && items.is_empty()
        {
            items.push(item);
        }
    }
    if items.is_empty() && out.is_empty() {
        return None;
    }
    let several = items.len() > 1;
    for item in &items {
        if several {
            let _ = writeln!(out, "/* in Rust: {} */", item.rust);
        }
        out.push_str(&layout(*item));
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    Some(out)
}

/// A name without the keyword before it, and what that says.
pub fn keyword(name: &str) -> (Option<Kind>, &str) {
    let name = name.trim();
    for kind in [Kind::Struct, Kind::Union, Kind::Enum] {
        if let Some(rest) = name.strip_prefix(kind.keyword())
            && rest.starts_with(char::is_whitespace)
        {
            return (Some(kind), rest.trim_start());
        }
    }
    (None, name)
}

/// One type.
pub fn layout(item: Item) -> String {
    let place = place(item.file, item.line);
    if item.kind == Kind::Enum {
        let mut out = format!("{} {{{place}\n", item.c_name());
        for (name, value) in item.enumerators() {
            let _ = writeln!(out, "\t{name} = {value},");
        }
        let _ = writeln!(out, "\n\t/* size: {} */\n}};", item.size);
        return out;
    }
    let head = if item.by_typedef {
        format!("typedef {}", item.kind.keyword())
    } else {
        item.c_name()
    };
    let mut printer = Printer {
        out: format!("{head} {{{place}\n"),
        line: 0,
    };
    printer.aggregate(item, 0, 1);
    printer.out.push_str(&if item.by_typedef {
        format!("}} {};\n", item.name)
    } else {
        "};\n".to_owned()
    });
    printer.out
}

fn place(file: &str, line: u32) -> String {
    if line == 0 {
        return String::new();
    }
    format!(" /* {file}:{line} */")
}

/// Where a member lies: bits from the start of its struct, and how many.
fn bits(member: &Member) -> (u64, u64) {
    member.bits.unwrap_or_else(|| {
        (
            member.offset.saturating_mul(8),
            size(member.ty).saturating_mul(8),
        )
    })
}

fn size(ty: Type) -> u64 {
    ty.size().unwrap_or(0)
}

/// The nameless struct or union that a type is, or each element of it, and what stands behind the member's name.
fn nameless(ty: Type) -> Option<(Item, String)> {
    match ty.stripped() {
        Shape::Array(element, count) => {
            let (item, rest) = nameless(element)?;
            let count = count.map_or_else(String::new, |count| count.to_string());
            Some((item, format!("[{count}]{rest}")))
        }
        Shape::Item(item) if item.name.is_empty() && item.kind != Kind::Enum => {
            Some((item, String::new()))
        }
        _ => None,
    }
}

struct Printer {
    out: String,
    /// The last cache line whose start was shown.
    line: u64,
}

impl Printer {
    /// Members and summary of a struct, which lies `base` bytes behind the start of what is shown.
    fn aggregate(&mut self, item: Item, base: u64, depth: usize) {
        let mut sums = Sums::default();
        let mut end = 0;
        // Where the storage unit of the bit-field before ends.
        let mut storage = 0;
        for member in item.members() {
            let inner = nameless(member.ty).filter(|_| member.bits.is_none());
            // Unnamed bit-fields are padding.
            if member.name.is_empty() && inner.is_none() {
                continue;
            }
            if self.out.len() > LONGEST {
                break;
            }
            let (start, size) = bits(&member);
            if item.kind != Kind::Union {
                self.hole(end, start, storage, depth, &mut sums);
            }
            self.boundary(base.saturating_add(start / 8), depth);
            if member.bits.is_some() {
                sums.bits = sums.bits.saturating_add(size);
            } else {
                sums.bytes = sums.bytes.saturating_add(size / 8);
            }
            match inner {
                Some((inner, rest)) if depth < MOST_NESTED => {
                    let name = format!("{}{rest}", member.name);
                    let offset = base.saturating_add(member.offset);
                    self.braces(inner, &name, (offset, size / 8), depth);
                }
                _ => self.member(&member, base, depth),
            }
            sums.members += 1;
            end = end.max(start.saturating_add(size));
            storage = if member.bits.is_some() {
                let unit = self::size(member.ty).max(1).saturating_mul(8);
                end.checked_next_multiple_of(unit).unwrap_or(end)
            } else {
                end
            };
        }
        if depth == 1 {
            self.summary(item, end, &sums);
        }
    }

    fn member(&mut self, member: &Member, base: u64, depth: usize) {
        let size = size(member.ty);
        let place = match member.bits {
            Some((at, width)) => {
                // pahole names the storage unit and the bit in it.
                let unit = size.max(1);
                let mut start = at / 8 / unit * unit;
                if (at - start * 8).saturating_add(width) > unit.saturating_mul(8) {
                    start = at / 8;
                }
                format!(
                    "{:>5}:{:>2}{size:>5}",
                    base.saturating_add(start),
                    at - start * 8
                )
            }
            None => format!("{:>5}   {size:>5}", base.saturating_add(member.offset)),
        };
        let text = format!("{};", member.declaration());
        self.indent(depth);
        let _ = writeln!(
            self.out,
            "{text:<width$} /* {place} */",
            width = 58usize.saturating_sub(8 * depth)
        );
    }

    fn braces(&mut self, item: Item, name: &str, place: (u64, u64), depth: usize) {
        self.indent(depth);
        let _ = writeln!(self.out, "{} {{", item.kind.keyword());
        self.aggregate(item, place.0, depth + 1);
        self.indent(depth);
        let text = if name.is_empty() {
            "};".to_owned()
        } else {
            format!("}} {name};")
        };
        let _ = writeln!(
            self.out,
            "{text:<width$} /* {:>5}   {:>5} */",
            place.0,
            place.1,
            width = 58usize.saturating_sub(8 * depth)
        );
    }

    /// What lies unused before a member: as bits up to the end of a bit-field's storage unit, then as bytes.
    fn hole(&mut self, end: u64, start: u64, storage: u64, depth: usize, sums: &mut Sums) {
        let Some(gap) = start.checked_sub(end).filter(|gap| *gap > 0) else {
            return;
        };
        let byte = end.checked_next_multiple_of(8).unwrap_or(end);
        let bits = storage.max(byte).saturating_sub(end).min(gap);
        let bytes = (gap - bits) / 8;
        let bits = gap - bytes * 8;
        self.out.push('\n');
        if bits > 0 {
            sums.bit_holes += 1;
            sums.bit_hole_bits += bits;
            self.indent(depth);
            let _ = writeln!(
                self.out,
                "/* XXX {bits} bit{} hole, try to pack */",
                plural(bits)
            );
        }
        if bytes > 0 {
            sums.holes += 1;
            sums.hole_bytes += bytes;
            self.indent(depth);
            let _ = writeln!(
                self.out,
                "/* XXX {bytes} byte{} hole, try to pack */",
                plural(bytes)
            );
        }
        self.out.push('\n');
    }

    fn boundary(&mut self, offset: u64, depth: usize) {
        let line = offset / CACHE_LINE;
        if line <= self.line {
            return;
        }
        self.line = line;
        self.indent(depth);
        let behind = match offset % CACHE_LINE {
            0 => String::new(),
            bytes => format!(" was {bytes} byte{} ago", plural(bytes)),
        };
        let _ = writeln!(
            self.out,
            "/* --- cacheline {line} boundary ({} bytes){behind} --- */",
            line * CACHE_LINE
        );
    }

    fn summary(&mut self, item: Item, end: u64, sums: &Sums) {
        let out = &mut self.out;
        let size = item.size;
        let _ = writeln!(
            out,
            "\n\t/* size: {size}, cachelines: {}, members: {} */",
            size.div_ceil(CACHE_LINE),
            sums.members
        );
        if item.kind != Kind::Union {
            if sums.holes + sums.bit_holes > 0 {
                let _ = write!(out, "\t/* sum members: {}", sums.bytes);
                if sums.holes > 0 {
                    let _ = write!(
                        out,
                        ", holes: {}, sum holes: {}",
                        sums.holes, sums.hole_bytes
                    );
                }
                out.push_str(" */\n");
            }
            if sums.bits > 0 && sums.holes + sums.bit_holes > 0 {
                let _ = write!(out, "\t/* sum bitfield members: {} bits", sums.bits);
                if sums.bit_holes > 0 {
                    let _ = write!(
                        out,
                        ", bit holes: {}, sum bit holes: {} bits",
                        sums.bit_holes, sums.bit_hole_bits
                    );
                }
                out.push_str(" */\n");
            }
            let bits = end.checked_next_multiple_of(8).unwrap_or(end) - end;
            let padding = size.saturating_sub(end.div_ceil(8));
            if padding > 0 && sums.members > 0 {
                let _ = writeln!(out, "\t/* padding: {padding} */");
            }
            if bits > 0 {
                let _ = writeln!(out, "\t/* bit_padding: {bits} bits */");
            }
        }
        if !size.is_multiple_of(CACHE_LINE) {
            let _ = writeln!(out, "\t/* last cacheline: {} bytes */", size % CACHE_LINE);
        }
    }

    fn indent(&mut self, depth: usize) {
        for _ in 0..depth {
            self.out.push('\t');
        }
    }
}

/// What a summary sums.
#[derive(Default)]
struct Sums {
    members: u64,
    bytes: u64,
    bits: u64,
    holes: u64,
    hole_bytes: u64,
    bit_holes: u64,
    bit_hole_bits: u64,
}

fn plural(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

//! `cargo xtask show`: a type's layout as pahole prints it.

use std::fmt::Write as _;

use anyhow::bail;

use crate::build;
use crate::index::{Index, MemberRow, TypeRow};

/// What a cache line has, in bytes: the machines that are read have the same.
const CACHE_LINE: u64 = 64;
/// Nameless structs in nameless structs are shown no deeper.
const MAX_DEPTH: usize = 32;

/// Options of `cargo xtask show`.
#[derive(clap::Args)]
pub struct Args {
    /// A struct, union, enum or typedef; of several of one name, one can be picked by its name in Rust
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    name: String,
    /// The kernel: a release, or the name of its vmlinux; without it that of KSTRUCT_KERNEL, or the fixture's
    #[arg(long, value_name = "NAME")]
    kernel: Option<String>,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let kernel = match &args.kernel {
        Some(name) => build::with_all_bindings(name)?,
        None => std::env::var("KSTRUCT_KERNEL").unwrap_or_else(|_| "2.6.9".to_owned()),
    };
    let index = Index::open(&kernel)?;
    print!("{}", layouts(&index, &args.name, &kernel)?);
    Ok(())
}

/// All that a name means, one after the other.
fn layouts(index: &Index, wanted: &str, kernel: &str) -> anyhow::Result<String> {
    let name = wanted
        .strip_prefix("struct ")
        .or_else(|| wanted.strip_prefix("union "))
        .or_else(|| wanted.strip_prefix("enum "))
        .unwrap_or(wanted)
        .trim();
    if name.is_empty() {
        bail!("{wanted:?} is no name of a type");
    }
    let mut types = index.types(name)?;
    let mut out = String::new();
    for typedef in index.typedefs(name)? {
        // The name of a nameless struct: shown with it.
        if typedef.ty == name {
            continue;
        }
        let place = place(&typedef.file, typedef.line);
        let _ = writeln!(
            out,
            "typedef {};{place}\n",
            declaration(&typedef.ty, &typedef.name)
        );
        let tag = typedef.ty.rsplit(' ').next().unwrap_or_default();
        if types.is_empty() && tag != name {
            types.extend(
                index
                    .types(tag)?
                    .into_iter()
                    .filter(|row| row.name == typedef.ty),
            );
        }
    }
    if types.is_empty() && out.is_empty() {
        bail!("{}", unknown(index, name, kernel));
    }
    let several = types.len() > 1;
    for row in &types {
        if several {
            let _ = writeln!(out, "/* in Rust: {} */", row.rust);
        }
        out.push_str(&layout(index, row));
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    Ok(out)
}

fn unknown(index: &Index, name: &str, kernel: &str) -> String {
    let mut near: Vec<(f64, &str)> = index
        .names()
        .into_iter()
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(likeness, _)| *likeness > 0.85)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    let near: Vec<&str> = near.iter().take(5).map(|(_, name)| *name).collect();
    if near.is_empty() {
        return format!("kernel {kernel} has no type {name}");
    }
    format!(
        "kernel {kernel} has no type {name}; it has {}",
        near.join(", ")
    )
}

/// One type.
pub fn layout(index: &Index, row: &TypeRow) -> String {
    let place = place(&row.file, row.line);
    if row.kind == "enum" {
        let mut out = format!("{} {{{place}\n", row.name);
        for (name, value) in &row.enumerators {
            let _ = writeln!(out, "\t{name} = {value},");
        }
        let _ = writeln!(out, "\n\t/* size: {} */\n}};", row.size);
        return out;
    }
    let by_typedef = !row.name.contains(' ');
    let head = if by_typedef {
        format!("typedef {}", row.kind)
    } else {
        row.name.clone()
    };
    let mut printer = Printer {
        index,
        out: format!("{head} {{{place}\n"),
        line: 0,
    };
    printer.aggregate(&Aggregate::of(row), 0, 1);
    printer.out.push_str(&if by_typedef {
        format!("}} {};\n", row.name)
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

/// A member, or an anonymous struct with its members.
enum Part {
    Member(MemberRow),
    Anonymous(Aggregate),
}

/// A struct or union, with offsets from the start of what it is flattened into.
struct Aggregate {
    is_union: bool,
    offset: u64,
    size: u64,
    parts: Vec<Part>,
}

impl Aggregate {
    fn of(row: &TypeRow) -> Self {
        let mut groups = row.anonymous.iter().peekable();
        let parts = parts(row, &mut groups, 0, row.members.len());
        Aggregate {
            is_union: row.kind == "union",
            offset: 0,
            size: row.size,
            parts,
        }
    }
}

type Groups<'r> = std::iter::Peekable<std::slice::Iter<'r, crate::index::Group>>;

/// The members from `first` up to `end`, with those of anonymous members put into these.
fn parts(row: &TypeRow, groups: &mut Groups<'_>, first: usize, end: usize) -> Vec<Part> {
    let mut out = Vec::new();
    let mut at = first;
    loop {
        match groups.peek() {
            // Groups stand in the order of their first member; an outer one stands before those in it.
            Some(group) if group.3 <= at && group.3 + group.4 <= end => {
                let crate::index::Group(kind, offset, size, first, count) = (*group).clone();
                groups.next();
                let parts = parts(row, groups, first, first + count);
                at = at.max(first + count);
                out.push(Part::Anonymous(Aggregate {
                    is_union: kind == "union",
                    offset,
                    size,
                    parts,
                }));
            }
            _ if at < end => {
                if let Some(member) = row.members.get(at) {
                    out.push(Part::Member(member.clone()));
                }
                at += 1;
            }
            _ => return out,
        }
    }
}

impl Part {
    /// Where it lies: bits from the start of the outermost struct, and how many.
    fn bits(&self) -> (u64, u64) {
        match self {
            Part::Member(member) => match (member.bit_offset, member.bit_size) {
                (Some(offset), Some(size)) => (offset, size),
                _ => (
                    member.offset.saturating_mul(8),
                    member.size.saturating_mul(8),
                ),
            },
            Part::Anonymous(inner) => {
                (inner.offset.saturating_mul(8), inner.size.saturating_mul(8))
            }
        }
    }
}

struct Printer<'i> {
    index: &'i Index,
    out: String,
    /// The last cache line whose start was shown.
    line: u64,
}

impl Printer<'_> {
    /// Members and summary of a struct. Its offsets lie `base` bytes behind those that are shown.
    fn aggregate(&mut self, aggregate: &Aggregate, base: u64, depth: usize) {
        let mut sums = Sums::default();
        let mut end = aggregate.offset.saturating_mul(8);
        // Where the storage unit of the bit-field before ends.
        let mut storage = 0;
        for part in &aggregate.parts {
            let (start, size) = part.bits();
            if !aggregate.is_union {
                self.hole(end, start, storage, depth, &mut sums);
            }
            self.boundary(base.saturating_add(start / 8), depth);
            match part {
                Part::Member(member) => {
                    if member.bit_size.is_some() {
                        sums.bits += size;
                    } else {
                        sums.bytes += member.size;
                    }
                    self.member(member, base, depth);
                }
                Part::Anonymous(inner) => {
                    sums.bytes += inner.size;
                    self.nested(inner, "", base, depth);
                }
            }
            sums.members += 1;
            end = end.max(start.saturating_add(size));
            storage = match part {
                Part::Member(member) if member.bit_size.is_some() => {
                    end.next_multiple_of(member.size.max(1).saturating_mul(8))
                }
                _ => end,
            };
        }
        if depth == 1 {
            self.summary(aggregate, end, &sums);
        }
    }

    fn member(&mut self, member: &MemberRow, base: u64, depth: usize) {
        let nested = member.nested.as_deref();
        if let Some(row) = nested.and_then(|rust| self.index.by_rust(rust))
            && depth < MAX_DEPTH
        {
            let inner = Aggregate::of(&row);
            let name = declaration(
                member.ty.split_once('}').map_or("", |(_, rest)| rest),
                &member.name,
            );
            let offset = base.saturating_add(member.offset);
            // Its own members count from its start.
            self.braces(
                &row.kind,
                &inner,
                offset,
                name.trim(),
                (offset, member.size),
                depth,
            );
            return;
        }
        let (mut text, place) = match (member.bit_offset, member.bit_size) {
            (Some(at), Some(width)) => {
                // pahole names the storage unit and the bit in it.
                let unit = member.size.max(1);
                let mut start = at / 8 / unit * unit;
                if at - start * 8 + width > unit * 8 {
                    start = at / 8;
                }
                let text = format!("{}:{width}", declaration(&member.ty, &member.name));
                let place = format!(
                    "{:>5}:{:>2}{:>5}",
                    base + start,
                    at - start * 8,
                    member.size
                );
                (text, place)
            }
            _ => {
                let place = format!("{:>5}   {:>5}", base + member.offset, member.size);
                (declaration(&member.ty, &member.name), place)
            }
        };
        text.push(';');
        self.indent(depth);
        let _ = writeln!(
            self.out,
            "{text:<width$} /* {place} */",
            width = 58usize.saturating_sub(8 * depth)
        );
    }

    fn nested(&mut self, inner: &Aggregate, name: &str, base: u64, depth: usize) {
        let kind = if inner.is_union { "union" } else { "struct" };
        let place = (base.saturating_add(inner.offset), inner.size);
        self.braces(kind, inner, base, name, place, depth);
    }

    fn braces(
        &mut self,
        kind: &str,
        inner: &Aggregate,
        base: u64,
        name: &str,
        place: (u64, u64),
        depth: usize,
    ) {
        self.indent(depth);
        let _ = writeln!(self.out, "{kind} {{");
        if depth < MAX_DEPTH {
            self.aggregate(inner, base, depth + 1);
        }
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
        let bits = storage
            .max(end.next_multiple_of(8))
            .saturating_sub(end)
            .min(gap);
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

    fn summary(&mut self, aggregate: &Aggregate, end: u64, sums: &Sums) {
        let out = &mut self.out;
        let size = aggregate.size;
        let _ = writeln!(
            out,
            "\n\t/* size: {size}, cachelines: {}, members: {} */",
            size.div_ceil(CACHE_LINE),
            sums.members
        );
        if !aggregate.is_union {
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
            let bits = end.next_multiple_of(8) - end;
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

/// The declaration of a name with a type that was written without one: `char [16]`, `int (*)(void)`, `void (*[4])(int)`.
fn declaration(ty: &str, name: &str) -> String {
    // The innermost declarator is what the name belongs to.
    let inner = ty.find("(*").map(|at| {
        let mut end = at + 2;
        loop {
            let rest = &ty[end..];
            let skip = ["(*", "*", "const ", "volatile ", "const", " "]
                .iter()
                .find(|text| rest.starts_with(**text));
            match skip {
                Some(text) => end += text.len(),
                None => break end,
            }
        }
    });
    match inner.or_else(|| ty.find('[')) {
        Some(at) => {
            let (before, after) = ty.split_at(at);
            let space = if inner.is_none() && !before.ends_with([' ', '*']) {
                " "
            } else {
                ""
            };
            format!("{before}{space}{name}{after}")
        }
        None if ty.ends_with('*') || ty.is_empty() => format!("{ty}{name}"),
        None => format!("{ty} {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{declaration, layouts};
    use crate::index::Index;

    fn fixture() -> Index {
        Index::open("2.6.9").expect("the fixture's bindings are committed")
    }

    #[test]
    fn names_go_where_c_has_them() {
        for (ty, name, expected) in [
            ("int", "a", "int a"),
            ("char [16]", "comm", "char comm[16]"),
            ("struct sock *", "sk", "struct sock *sk"),
            ("int (*)(void)", "open", "int (*open)(void)"),
            ("void (*[4])(int)", "f", "void (*f[4])(int)"),
            ("int (*)(int (*)(void))", "f", "int (*f)(int (*)(void))"),
            ("struct list_head *[2]", "l", "struct list_head *l[2]"),
        ] {
            assert_eq!(declaration(ty, name), expected);
        }
    }

    #[test]
    fn anonymous_and_nameless_members_stand_in_braces() {
        let expected = "\
struct shape_anonymous { /* lib/dwarf_shapes.c:33 */
	int kind;                                          /*     0       4 */
	union {
		u32 word;                                  /*     4       4 */
		struct {
			u16 half_low;                      /*     4       2 */
			u16 half_high;                     /*     6       2 */
		};                                         /*     4       4 */
		u8 bytes[4];                               /*     4       4 */
	};                                                 /*     4       4 */
	struct {
		int x;                                     /*     8       4 */
		int y;                                     /*    12       4 */
	} named;                                           /*     8       8 */

	/* size: 16, cachelines: 1, members: 3 */
	/* last cacheline: 16 bytes */
};
";
        for name in ["shape_anonymous", "struct shape_anonymous"] {
            let shown = layouts(&fixture(), name, "2.6.9").expect("it is there");
            assert_eq!(shown, expected);
        }
    }

    #[test]
    fn holes_are_those_of_bits_and_bytes() {
        let shown = layouts(&fixture(), "shape_bits", "2.6.9").expect("it is there");
        for line in [
            "/*     0: 6    8 */",
            "/* XXX 2 bits hole, try to pack */",
            "/* sum bitfield members: 49 bits, bit holes: 1, sum bit holes: 2 bits */",
            "/* padding: 1 */",
            "/* bit_padding: 5 bits */",
        ] {
            assert!(shown.contains(line), "{line} is not in\n{shown}");
        }
    }

    #[test]
    fn an_unknown_name_has_neighbours() {
        let error = layouts(&fixture(), "task_strut", "2.6.9").expect_err("there is none");
        assert!(error.to_string().contains("task_struct"), "{error}");
    }
}

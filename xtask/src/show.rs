//! `cargo xtask show`: a type's layout as pahole prints it.

use anyhow::{Context as _, bail};
use kstruct::types::{self, Types};

use crate::{build, paths};

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
    print!("{}", layouts(table(&kernel)?, &args.name, &kernel)?);
    Ok(())
}

/// The table of types of a kernel's bindings, which must be of this version.
pub fn table(kernel: &str) -> anyhow::Result<&'static Types> {
    if build::identity(kernel).is_none() {
        bail!("there are no bindings of kernel {kernel} that fit this version");
    }
    let path = paths::bindings(kernel).join("types.bin");
    let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
    // It is needed until the program ends.
    let table = Types::new(bytes.leak())
        .with_context(|| format!("{}: it is no table of types", path.display()))?;
    Ok(Box::leak(Box::new(table)))
}

/// All that a name means, one after the other.
fn layouts(table: &'static Types, wanted: &str, kernel: &str) -> anyhow::Result<String> {
    match types::layouts(table, wanted) {
        Some(text) => Ok(text),
        None => bail!("{}", unknown(table, types::keyword(wanted).1, kernel)),
    }
}

fn unknown(table: &'static Types, name: &str, kernel: &str) -> String {
    let items = table.items().map(|item| item.name);
    let names = items.chain(table.typedefs().map(|typedef| typedef.name));
    format!(
        "kernel {kernel} has no type {name}{}",
        types::or_near(name, names)
    )
}

#[cfg(test)]
mod tests {
    use super::{layouts, table};
    use kstruct::types::Types;

    fn fixture() -> &'static Types {
        table("2.6.9").expect("the fixture's bindings are committed")
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
            let shown = layouts(fixture(), name, "2.6.9").expect("it is there");
            assert_eq!(shown, expected);
        }
    }

    #[test]
    fn holes_are_those_of_bits_and_bytes() {
        let shown = layouts(fixture(), "shape_bits", "2.6.9").expect("it is there");
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
        let error = layouts(fixture(), "task_strut", "2.6.9").expect_err("there is none");
        assert!(error.to_string().contains("task_struct"), "{error}");
    }
}

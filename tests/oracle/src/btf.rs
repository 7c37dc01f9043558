//! What pahole and bpftool make of a kernel: BTF, from the file itself or made by pahole from its DWARF, as bpftool reads it.
//!
//! BTF's description: the kernel's Documentation/bpf/btf.rst. The rows of bpftool's JSON are those of its
//! `dump_btf_type` (tools/bpf/bpftool/btf.c).

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use object::{Object as _, ReadCache};
use serde::Deserialize;

use crate::{Bits, Error, Kind, Layout, Layouts, MAX_DEPTH, Member, Name};

/// All types of a kernel, and of modules if there are any.
pub struct Btf {
    rows: BTreeMap<u32, Row>,
    pointer_size: u64,
}

/// Whether an ELF file has BTF. What is no ELF file has none.
pub fn is_in(file: &Path) -> std::io::Result<bool> {
    let cache = ReadCache::new(File::open(file)?);
    Ok(object::File::parse(&cache).is_ok_and(|elf| elf.section_by_name(".BTF").is_some()))
}

impl Btf {
    /// The BTF in a file: an ELF file with a section `.BTF`, or nothing but BTF.
    pub fn read(file: &Path) -> Result<Self, Error> {
        let mut btf = Btf {
            rows: rows(file, None)?,
            pointer_size: 0,
        };
        // As libbpf does it: a pointer is as wide as a long.
        let long = btf
            .rows
            .values()
            .find(|row| row.kind == "INT" && LONG.contains(&row.name.as_str()));
        btf.pointer_size = match long {
            Some(long) => long.size,
            None => {
                return Err(Error::Btf {
                    id: 0,
                    what: "there is no long unsigned int",
                });
            }
        };
        Ok(btf)
    }

    /// BTF that pahole makes from a file's DWARF, and writes to `detached`.
    pub fn from_dwarf(file: &Path, detached: &Path) -> Result<Self, Error> {
        let mut option = std::ffi::OsString::from("--btf_encode_detached=");
        option.push(detached);
        let mut pahole = Command::new("pahole");
        pahole
            .args(["-J", "--btf_gen_floats"])
            .arg(option)
            .arg(file);
        run(&mut pahole, "pahole", "dwarves", file)?;
        Self::read(detached)
    }

    /// The types that a module adds to its kernel's, whose BTF is in `base`. Their numbers go on behind those of the kernel, so
    /// that this is used for one module after the other and not for several at once.
    fn with_module(&self, base: &Path, module: &Path) -> Result<BTreeMap<u32, Row>, Error> {
        let rows = rows(module, Some(base))?;
        match rows.keys().find(|id| self.rows.contains_key(id)) {
            Some(id) => Err(Error::Btf {
                id: *id,
                what: "a module has a type of this number and so has the kernel",
            }),
            None => Ok(rows),
        }
    }
}

/// The layouts of all structs and unions with a tag or a typedef's name.
pub fn layouts(btf: &Btf) -> Result<Layouts, Error> {
    let mut layouts = Layouts::new();
    let reader = Reader {
        btf,
        module: &BTreeMap::new(),
    };
    reader.add(btf.rows.values(), &mut layouts)?;
    Ok(layouts)
}

/// Adds the layouts that modules bring. `base` is the file that `btf` was read from.
pub fn add_modules(
    btf: &Btf,
    base: &Path,
    modules: &[PathBuf],
    layouts: &mut Layouts,
) -> Result<(), Error> {
    for module in modules {
        let rows = btf.with_module(base, module)?;
        let reader = Reader { btf, module: &rows };
        reader.add(rows.values(), layouts)?;
    }
    Ok(())
}

#[derive(Deserialize)]
struct Dump {
    types: Vec<Row>,
}

/// A type as bpftool prints it. What a kind of type has not is 0.
#[derive(Deserialize)]
struct Row {
    id: u32,
    kind: String,
    name: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    bits_offset: u64,
    #[serde(default)]
    nr_bits: u64,
    #[serde(default)]
    type_id: u32,
    #[serde(default)]
    nr_elems: u64,
    #[serde(default)]
    members: Vec<RowMember>,
}

#[derive(Deserialize)]
struct RowMember {
    name: String,
    type_id: u32,
    bits_offset: u64,
    #[serde(default)]
    bitfield_size: u64,
}

/// How gcc and clang spell it.
const LONG: [&str; 2] = ["long unsigned int", "unsigned long"];

/// What bpftool prints for an empty name.
const ANONYMOUS: &str = "(anon)";

struct Reader<'b> {
    btf: &'b Btf,
    module: &'b BTreeMap<u32, Row>,
}

impl<'b> Reader<'b> {
    fn add(&self, rows: impl Iterator<Item = &'b Row>, layouts: &mut Layouts) -> Result<(), Error> {
        for row in rows {
            let (target, by_typedef) = match row.kind.as_str() {
                "STRUCT" | "UNION" if row.name != ANONYMOUS => (Some(row), false),
                "TYPEDEF" => (self.untagged(row.type_id)?, true),
                _ => continue,
            };
            let Some(target) = target else { continue };
            let name = Name {
                kind: if target.kind == "STRUCT" {
                    Kind::Struct
                } else {
                    Kind::Union
                },
                by_typedef,
                name: row.name.clone(),
            };
            let mut layout = Layout {
                size: target.size,
                members: Vec::new(),
            };
            self.members(target, "", 0, &mut layout.members, 0)?;
            layouts.entry(name).or_default().insert(layout);
        }
        Ok(())
    }

    fn row(&self, id: u32) -> Result<&'b Row, Error> {
        let row = self.btf.rows.get(&id).or_else(|| self.module.get(&id));
        row.ok_or(Error::Btf {
            id,
            what: "there is no such type",
        })
    }

    /// Appends the members of a struct, which starts at bit `base` of the outermost one.
    fn members(
        &self,
        row: &Row,
        prefix: &str,
        base: u64,
        out: &mut Vec<Member>,
        depth: u32,
    ) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(Error::Circle(row.name.clone()));
        }
        for member in &row.members {
            let start = base + member.bits_offset;
            if member.name == ANONYMOUS {
                let inner = self.without_names(member.type_id)?;
                if is_aggregate(inner) {
                    self.members(inner, prefix, start, out, depth + 1)?;
                }
                // Else it is an unnamed bit-field: padding.
                continue;
            }
            let path = format!("{prefix}{}", member.name);
            let (element, is_array) = self.element(member.type_id)?;
            if let Some(inner) = self.untagged(element)? {
                let prefix = format!("{path}{}.", if is_array { "[]" } else { "" });
                self.members(inner, &prefix, start, out, depth + 1)?;
            }
            let bits = (member.bitfield_size != 0).then_some(Bits {
                offset: start,
                size: member.bitfield_size,
            });
            if bits.is_none() && !start.is_multiple_of(8) {
                return Err(Error::Btf {
                    id: row.id,
                    what: "a member that is no bit-field starts within a byte",
                });
            }
            out.push(Member {
                path,
                offset: start / 8,
                size: self.size(member.type_id, 0)?,
                bits,
            });
        }
        Ok(())
    }

    /// The number of what an array is made of, and whether it is one.
    fn element(&self, mut id: u32) -> Result<(u32, bool), Error> {
        let mut is_array = false;
        for _ in 0..MAX_DEPTH {
            // Number 0 is void, and no row.
            if id == 0 {
                break;
            }
            let row = self.row(id)?;
            match row.kind.as_str() {
                "ARRAY" => is_array = true,
                kind if is_qualifier(kind) => {}
                _ => break,
            }
            id = row.type_id;
        }
        Ok((id, is_array))
    }

    /// The struct or union that a type is, if it has no tag and is not meant by a typedef.
    fn untagged(&self, mut id: u32) -> Result<Option<&'b Row>, Error> {
        for _ in 0..MAX_DEPTH {
            if id == 0 {
                break;
            }
            let row = self.row(id)?;
            if !is_qualifier(&row.kind) {
                return Ok((is_aggregate(row) && row.name == ANONYMOUS).then_some(row));
            }
            id = row.type_id;
        }
        Ok(None)
    }

    /// What is behind typedefs and qualifiers.
    fn without_names(&self, mut id: u32) -> Result<&'b Row, Error> {
        for _ in 0..MAX_DEPTH {
            let row = self.row(id)?;
            if row.kind != "TYPEDEF" && !is_qualifier(&row.kind) {
                return Ok(row);
            }
            id = row.type_id;
        }
        Err(Error::Btf {
            id,
            what: "typedefs without an end",
        })
    }

    /// Bytes of a type.
    fn size(&self, id: u32, depth: u32) -> Result<u64, Error> {
        if id == 0 {
            return Ok(0);
        }
        let row = self.without_names(id)?;
        match row.kind.as_str() {
            // Before BTF's kind_flag, bit-fields were integers of a few bits; pahole no longer writes these.
            "INT" if row.bits_offset != 0 || row.nr_bits != row.size * 8 => Err(Error::Btf {
                id,
                what: "an integer with bits that don't count",
            }),
            "INT" | "FLOAT" | "ENUM" | "ENUM64" | "STRUCT" | "UNION" => Ok(row.size),
            "PTR" => Ok(self.btf.pointer_size),
            "ARRAY" if depth < MAX_DEPTH => {
                let element = self.size(row.type_id, depth + 1)?;
                element.checked_mul(row.nr_elems).ok_or(Error::Btf {
                    id,
                    what: "an array that no memory holds",
                })
            }
            _ => Err(Error::Btf {
                id,
                what: "a member's type has no size",
            }),
        }
    }
}

fn is_aggregate(row: &Row) -> bool {
    row.kind == "STRUCT" || row.kind == "UNION"
}

fn is_qualifier(kind: &str) -> bool {
    matches!(kind, "CONST" | "VOLATILE" | "RESTRICT" | "TYPE_TAG")
}

fn rows(file: &Path, base: Option<&Path>) -> Result<BTreeMap<u32, Row>, Error> {
    let mut bpftool = Command::new(bpftool_path());
    if let Some(base) = base {
        bpftool.arg("-B").arg(base);
    }
    bpftool
        .args(["-j", "btf", "dump", "file"])
        .arg(file)
        .args(["format", "raw"]);
    let output = run(&mut bpftool, "bpftool", "bpftool", file)?;
    let dump: Dump = serde_json::from_slice(&output.stdout).map_err(|error| Error::Json {
        file: file.display().to_string(),
        error,
    })?;
    Ok(dump.types.into_iter().map(|row| (row.id, row)).collect())
}

/// Debian puts it where only root looks for programs.
fn bpftool_path() -> &'static Path {
    let debian = Path::new("/usr/sbin/bpftool");
    if debian.is_file() {
        debian
    } else {
        Path::new("bpftool")
    }
}

fn run(
    command: &mut Command,
    program: &'static str,
    package: &'static str,
    file: &Path,
) -> Result<Output, Error> {
    let output = command.output().map_err(|error| Error::Program {
        program,
        package,
        error,
    })?;
    if output.status.success() {
        return Ok(output);
    }
    let mut message = String::from_utf8_lossy(&output.stderr).into_owned();
    if message.is_empty() {
        message = String::from_utf8_lossy(&output.stdout).into_owned();
    }
    Err(Error::Failed {
        program,
        file: file.display().to_string(),
        message: message.chars().take(2000).collect(),
    })
}

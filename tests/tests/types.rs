//! The table of types (`types.bin`), and what is read by it.

use std::time::{Duration, Instant};

use kstruct::types::{Extent, Types, Value, aggregate, layout};
use kstruct::{EM_S390, FaultKind, Memory};
use kstruct_codegen::dwarf;
use kstruct_codegen::emit;
use kstruct_codegen::image::Image;
use kstruct_codegen::model::{
    Bits, Encoding, Enumerator, Item, ItemId, Kernel, Kind, Member, Model, Place, Type,
};
use kstruct_codegen::names;
use tests::Random;
use tests::machine::{BANNER, Machine};
use tests::types::{compare, table};

fn fixture() -> Model {
    let image = Image::open(&tests::fixture_vmlinux()).expect("it is committed");
    dwarf::read(&image, &[], &|_| ()).expect("it is sound")
}

#[test]
fn the_table_says_what_the_model_says() {
    let model = fixture();
    let found = compare(&model, table(&model));
    assert_eq!(found.differences, [""; 0]);
    assert!(found.items > 100 && found.members > 1000, "{found:?}");
}

/// Whatever is in a table, what is asked of it has an end, and nothing panics.
#[test]
fn a_damaged_table_has_less_in_it() {
    const MOST: Duration = Duration::from_secs(20);
    let model = fixture();
    let sound = emit::table(&model, &names::assign(&model));
    let mut random = Random::new(0x7ab1e);
    for case in 0..300 {
        let mut bytes = sound.clone();
        for _ in 0..=random.below(6) {
            let at = random.below(bytes.len());
            bytes[at] = random.below(256) as u8;
        }
        if case % 5 == 0 {
            bytes.truncate(random.below(bytes.len()));
        }
        let Some(types) = Types::new(bytes.leak()) else {
            continue;
        };
        let types: &'static Types = Box::leak(Box::new(types));
        let start = Instant::now();
        let mut length = 0;
        for item in types.items() {
            length += layout(item).len() + item.flattened().len();
            length += usize::from(item.member("x").is_some());
            length += types.items_named(item.name).len();
        }
        for variable in types.variables() {
            length += variable.ty.declaration(variable.name).len();
            length += types.variables_named(variable.name).len();
            length += usize::from(types.variable_at(variable.address).is_some());
        }
        length += types.typedefs().count();
        assert!(start.elapsed() < MOST, "case {case}: {length}");
    }
}

fn base(name: &str, size: u32, encoding: Encoding) -> Type {
    Type::Base {
        name: name.into(),
        size,
        encoding,
    }
}

fn member(name: &str, ty: Type, offset: u64) -> Member {
    Member {
        name: name.into(),
        ty,
        offset,
        bits: None,
    }
}

fn bits(name: &str, ty: Type, offset: u64, size: u64) -> Member {
    Member {
        name: name.into(),
        ty,
        offset: offset / 8,
        bits: Some(Bits { offset, size }),
    }
}

fn item(kind: Kind, name: &str, size: u64, members: Vec<Member>) -> Item {
    Item {
        kind,
        name: name.into(),
        by_typedef: false,
        size,
        place: Place::default(),
        members,
        enumerators: Vec::new(),
    }
}

/// A big-endian kernel with a struct of everything, one that contains itself, and one that is larger than memory.
fn everything() -> Model {
    let int = || base("int", 4, Encoding::Signed);
    let byte = || base("unsigned char", 1, Encoding::Unsigned);
    let mut colour = item(Kind::Enum, "colour", 4, Vec::new());
    colour.enumerators = [("RED", 1), ("NONE", -1)]
        .map(|(name, value)| Enumerator {
            name: name.into(),
            value,
        })
        .into();
    let inner = item(
        Kind::Union,
        "",
        4,
        vec![member("word", int(), 0), member("first", byte(), 0)],
    );
    let outer = item(
        Kind::Struct,
        "everything",
        64,
        vec![
            member("a", int(), 0),
            bits("b", byte(), 32, 3),
            bits("c", int(), 35, 5),
            member("colour", Type::Item(ItemId(0)), 8),
            member("", Type::Item(ItemId(1)), 12),
            member("p", Type::Pointer(Box::new(int())), 16),
            member(
                "text",
                Type::Array(Box::new(base("char", 1, Encoding::Char)), Some(8)),
                24,
            ),
            member("wide", base("__int128", 16, Encoding::Unsigned), 32),
            member("list", Type::Array(Box::new(int()), Some(2)), 48),
            member("none", Type::Array(Box::new(int()), Some(0)), 56),
            member("float", base("float", 4, Encoding::Float), 56),
            member("tail", Type::Array(Box::new(int()), None), 64),
        ],
    );
    let itself = item(
        Kind::Struct,
        "itself",
        8,
        vec![
            member("", Type::Item(ItemId(3)), 0),
            member("", Type::Item(ItemId(3)), 0),
            member("again", Type::Item(ItemId(3)), 0),
        ],
    );
    let huge = item(
        Kind::Struct,
        "huge",
        1 << 62,
        vec![
            member("start", int(), 0),
            member(
                "all",
                Type::Array(Box::new(Type::Item(ItemId(5))), Some(u64::MAX)),
                8,
            ),
            member("far", int(), u64::MAX - 1),
        ],
    );
    let empty = item(Kind::Struct, "empty", 0, Vec::new());
    Model {
        kernel: Kernel {
            pointer_size: 8,
            big_endian: true,
            machine: EM_S390,
            ..Kernel::default()
        },
        items: vec![colour, inner, outer, itself, huge, empty],
        ..Model::default()
    }
}

/// An s390x machine with these bytes at 0x50_0ff0, of which 16 lie in the first page; the second page may be missing.
fn machine(bytes: &[u8], has_second: bool) -> Memory {
    let mut machine = Machine::new(EM_S390);
    machine.info.banner = BANNER;
    machine.info.banner_address = Some(0x10_0100);
    machine.info.page_table = Some(0x20_0000);
    machine.put(0x10_4100, BANNER.as_bytes());
    machine.entry(0x20_4000, 0, 0x30_0000 | 7 | 1 << 2);
    for segment in 0..8 {
        machine.entry(0x30_0000, segment, segment << 20 | 0x400);
    }
    machine.put(0x50_0ff0, &bytes[..16]);
    if has_second {
        machine.put(0x50_1000, &bytes[16..]);
    }
    machine.opened()
}

fn bytes() -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend((-2_i32).to_be_bytes());
    // b = 5 (101), c = -1 (11111): from the most significant bit on.
    bytes.extend([0b1011_1111, 0, 0, 0]);
    bytes.extend((-1_i32).to_be_bytes());
    bytes.extend(0x0102_0304_u32.to_be_bytes());
    bytes.extend(0x1234_5678_9abc_def0_u64.to_be_bytes());
    bytes.extend(b"text\0\xff\xff\xff");
    bytes.extend((1_u128 << 100).to_be_bytes());
    bytes.extend(7_i32.to_be_bytes());
    bytes.extend((-7_i32).to_be_bytes());
    bytes.extend(1.5_f32.to_be_bytes());
    bytes.extend([0; 4]);
    bytes
}

fn field<'v>(value: &'v Value, name: &str) -> &'v Value {
    let Value::Struct(fields) = value else {
        panic!("{value:?}: no struct");
    };
    let found = fields.iter().find(|field| field.name == name);
    &found.unwrap_or_else(|| panic!("no {name}")).value
}

#[test]
fn values_of_a_big_endian_machine() {
    let types = table(&everything());
    let item = types.items_named("everything")[0];
    let memory = machine(&bytes(), true);
    let value = aggregate(&memory, item, 0x50_0ff0, Extent::default());
    assert_eq!(*field(&value, "a"), Value::Signed(-2));
    assert_eq!(*field(&value, "b"), Value::Unsigned(5));
    assert_eq!(*field(&value, "c"), Value::Signed(-1));
    let Value::Enum(colour, -1) = *field(&value, "colour") else {
        panic!("{:?}", field(&value, "colour"));
    };
    assert_eq!(colour.enumerator(-1), Some("NONE"));
    let union = field(&value, "");
    assert_eq!(*field(union, "word"), Value::Signed(0x0102_0304));
    assert_eq!(*field(union, "first"), Value::Unsigned(1));
    assert_eq!(*field(&value, "p"), Value::Pointer(0x1234_5678_9abc_def0));
    assert_eq!(
        *field(&value, "text"),
        Value::Text(b"text\0\xff\xff\xff".into())
    );
    assert_eq!(*field(&value, "wide"), Value::Unsigned(1 << 100));
    let list = Value::Array(vec![Value::Signed(7), Value::Signed(-7)], 2);
    assert_eq!(*field(&value, "list"), list);
    assert_eq!(*field(&value, "none"), Value::Array(Vec::new(), 0));
    assert_eq!(*field(&value, "float"), Value::Float(1.5));
    assert_eq!(*field(&value, "tail"), Value::Nothing);
}

#[test]
fn of_a_struct_that_is_half_there_the_half_is_shown() {
    let types = table(&everything());
    let item = types.items_named("everything")[0];
    let memory = machine(&bytes(), false);
    let value = aggregate(&memory, item, 0x50_0ff0, Extent::default());
    assert_eq!(*field(&value, "a"), Value::Signed(-2));
    assert_eq!(*field(&value, "c"), Value::Signed(-1));
    let Value::Fault(fault) = *field(&value, "p") else {
        panic!("{value:?}");
    };
    assert_eq!(
        (fault.address, fault.kind),
        (0x50_1000, FaultKind::NotInDump)
    );
}

#[test]
fn types_that_no_compiler_makes_have_an_end() {
    let types = table(&everything());
    let memory = machine(&bytes(), true);
    let start = Instant::now();
    for name in ["itself", "huge", "empty"] {
        let item = types.items_named(name)[0];
        for address in [0x50_0ff0, 0, 1, u64::MAX, u64::MAX - 3, 0x50_1001, 1 << 63] {
            aggregate(&memory, item, address, Extent::default());
        }
        layout(item);
        item.flattened();
        assert!(item.member("missing").is_none(), "{name}");
    }
    assert!(start.elapsed() < Duration::from_secs(60));
}

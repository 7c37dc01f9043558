use kstruct::{Memory, View as _};

use super::bindings::{constants, sym, *};
use super::data;
use crate::view;

pub fn check(memory: &Memory) {
    assert_eq!(large::SIZE, 4 + 100 * 1024 + 4 + 65536);
    let s = memory.get(sym::sample).unwrap();
    assert_eq!((s.first(), s.last()), (1, 2));
    assert_eq!((s.middle(), s.middle().raw().len()), (s.middle(), 102_400));
    assert_eq!(s.middle(), "text");
    let table = s.tables().get(1).unwrap();
    assert_eq!(table.a().get(4095), Some(3));
    assert_eq!(table.a().get(4096), None);
}

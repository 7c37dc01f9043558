use kstruct::{Memory, View as _};

use super::bindings::{constants, sym, *};
use super::data;
use crate::view;

pub fn check(memory: &Memory) {
    let s = memory.get(sym::sample).unwrap();
    let rows: Vec<Vec<i32>> = s.matrix().iter().map(|row| row.iter().collect()).collect();
    assert_eq!(rows, [[1, 2, 3], [4, 5, 6]]);
    let names: Vec<String> = s.names().iter().map(|name| name.to_string()).collect();
    assert_eq!(names, ["one", "two"]);
    assert_eq!(s.points().get(1).unwrap().get(0).unwrap().y(), 6);
    assert_eq!(s.pointers().get(1).unwrap().deref().unwrap().y(), 9);
    assert_eq!(s.letters().iter().collect::<Vec<_>>(), [letter::A, letter::B]);
    assert_eq!(s.bytes().iter().collect::<Vec<u8>>(), [1, 2, 255]);
    assert_eq!(s.signs().iter().collect::<Vec<i8>>(), [-1, 1]);
    assert_eq!(s.flags().iter().collect::<Vec<bool>>(), [true, false]);
    assert_eq!(s.qualified().iter().collect::<Vec<u16>>(), [1, 65535]);
    assert_eq!(s.to_array().deref().unwrap(), "yes");
    let global = memory.get(sym::global).unwrap();
    assert_eq!(global.get(1).unwrap().get(0), Some(3));
}

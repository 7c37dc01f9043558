use kstruct::{Memory, View as _};

use super::bindings::{constants, sym, *};
use super::data;
use crate::view;

pub fn check(memory: &Memory) {
    let s: bits<'_> = view(memory, data::sample);
    assert_eq!((s.a(), s.b(), s.c()), (1, 0x7abc_def0, -3));
    assert_eq!((s.d(), s.e(), s.f()), (-5, 0xab_cdef, true));
    assert_eq!((s.g(), s.h()), (color::BLUE, sign::MINUS));
    assert_eq!((s.i(), s.j(), s.k()), (200, 1025, -6));
    let s: crossing<'_> = view(memory, data::crossing);
    assert_eq!((s.a(), s.b(), s.c()), (0xff, 0x1234, -2));
    assert_eq!((s.d(), s.e(), s.f()), (0x1fed_cba9_8765_4321, 0x12_3456_7890, 0x5a));
    assert_eq!(crossing::SIZE, 18);
    assert!(format!("{s:?}").contains("c: -2"));
}

use kstruct::{Memory, View as _};

use super::bindings::{constants, sym, *};
use super::data;
use crate::view;

pub fn check(memory: &Memory) {
    let s: bits<'_> = view(memory, data::sample);
    assert_eq!((s.a(), s.b(), s.c()), (1, 0x7abc_def0, -3));
    assert_eq!((s.d(), s.e(), s.g()), (-5, 0xab_cdef, color::BLUE));
    let s: crossing<'_> = view(memory, data::crossing);
    assert_eq!((s.a(), s.b(), s.c(), s.d()), (0xff, 0x1234, -2, 0x1fed_cba9_8765_4321));
    let s: numbers<'_> = view(memory, data::numbers);
    assert_eq!((s.s(), s.i(), s.l(), s.u()), (-2, -3, -4, 0x1234_5678_9abc_def0));
    assert_eq!(s.next().addr(), 0x1122_3344_5566_7788);
    assert_eq!(s.list().iter().collect::<Vec<_>>(), [1, -2, 3]);
    assert_eq!((s.color(), s.text()), (color::GREEN, s.text()));
    assert_eq!(s.text(), "abc");
    assert_eq!((s.f(), s.d(), s.byte()), (1.5, -2.5, 9));
}

use kstruct::{Memory, View as _};

use super::bindings::{constants, sym, *};
use super::data;
use crate::view;

pub fn check(memory: &Memory) {
    let s: outer<'_> = view(memory, data::sample);
    assert_eq!((s.before(), s.low(), s.first()), (1, 0x1234, 8));
    assert_eq!((s.one(), s.two(), s.three()), (5, 6, 7));
    assert_eq!(s.letters().raw(), [6 << 5 | 5, 7]);
    assert_eq!(s.as_long() & 0xffff, 0x1234);
    let named: outer__named<'_> = s.named();
    assert_eq!((named.x(), named.y()), (9, 10));
    assert_eq!(s.list().iter().map(outer__list::deep).collect::<Vec<_>>(), [11, 12]);
    assert!(s.pointed().is_null());
    assert_eq!(kstruct::offset_of!(outer, three), 11);
    assert!(format!("{s:?}").contains("two: 6"));
}

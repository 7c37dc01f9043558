use kstruct::{Memory, View as _};

use super::bindings::{constants, sym, *};
use super::data;
use crate::view;

pub fn check(memory: &Memory) {
    let s: mixed<'_> = view(memory, data::sample);
    assert_eq!((s.a(), s.b(), s.c(), s.d(), s.e()), (1, 7, 8, 9, 10));
    let p = s.packed();
    assert_eq!((p.a(), p.b(), p.c(), p.d()), (2, 3, 4, 5));
    assert_eq!((packed::SIZE, aligned::SIZE), (15, 64));
    assert_eq!(s.aligned().a(), 6);
}

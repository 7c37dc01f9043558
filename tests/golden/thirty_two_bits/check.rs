use kstruct::{Memory, View as _};

use super::bindings::{constants, sym, *};
use super::data;
use crate::view;

pub fn check(memory: &Memory) {
    let s: numbers<'_> = view(memory, data::numbers);
    let (l, u, ll): (i64, u64, i64) = (s.l(), s.u(), s.ll());
    assert_eq!((l, u, ll), (-4, 0xffff_fff0, -5));
    assert!(s.next().addr() != 0 && s.next().addr() < 1 << 32);
    let list: Vec<u64> = s.list().iter().collect();
    assert_eq!(list, [1, 0xffff_ffff]);
    assert_eq!((s.bits(), s.call().is_null(), s.text().is_null()), (-6, true, true));
    assert_eq!(numbers::SIZE, 44);
}

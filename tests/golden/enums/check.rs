use kstruct::{Memory, View as _};

use super::bindings::{constants, sym, *};
use super::data;
use crate::view;

pub fn check(memory: &Memory) {
    let s = memory.get(sym::sample).unwrap();
    assert_eq!((s.duplicate(), duplicate::ZERO), (duplicate::ALSO_ZERO, duplicate::ALSO_ZERO));
    assert_eq!((s.negative(), s.negative().0), (negative::LOW, i32::MIN));
    assert_eq!((s.wide(), s.wide().0), (wide::BIG, 0x12_3456_789a));
    assert_eq!((s.widest(), s.widest().0), (widest::MOST, u64::MAX));
    assert_eq!((s.wide_negative(), s.wide_negative().0), (wide_negative::LEAST, i64::MIN));
    assert_eq!((s.tiny(), s.tiny().0), (tiny::TINY, 200u8));
    assert_eq!(s.inner(), enums__inner::INNER);
    assert_eq!((constants::NAMELESS, constants::INNER, constants::MOST), (42, 3, u64::MAX));
    let unknown = memory.get(sym::unknown).unwrap();
    assert_eq!((unknown.0, unknown.name(), format!("{unknown:?}")), (77, None, "77".into()));
    assert_eq!(format!("{:?} {:?}", s.widest(), s.negative()), "MOST LOW");
    assert!(format!("{s:?}").contains("widest: MOST"));
}

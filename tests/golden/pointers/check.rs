use kstruct::{Memory, View as _};

use super::bindings::{constants, sym, *};
use super::data;
use crate::view;

pub fn check(memory: &Memory) {
    let s = memory.get(sym::sample).unwrap();
    assert_eq!(s.one().deref().unwrap().value(), 1);
    assert_eq!(s.two().deref().unwrap().deref().unwrap().value(), 1);
    let next = s.three().deref().unwrap().deref().unwrap().deref().unwrap().next();
    assert_eq!(next.deref().unwrap().value(), 2);
    assert_eq!(s.text().read().unwrap(), "text");
    assert_eq!(s.nothing().cast::<i32>().deref().unwrap(), 12);
    assert_eq!(s.constant().deref().unwrap(), 12);
    assert!(s.unknown().is_null() && s.takes_function().is_null() && s.to_nothing().is_null());
    assert!(!s.function().is_null());
    assert_eq!(s.several().len(), 2);
}

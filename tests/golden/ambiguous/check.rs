use kstruct::{Memory, View as _};

use super::bindings::{constants, sym, *};
use super::data;
use crate::view;

pub fn check(memory: &Memory) {
    let first: differs__input<'_> = view(memory, data::differs);
    assert_eq!(first.old(), 3);
    let second: differs__other<'_> = view(memory, data::other);
    assert_eq!((second.added(), second.new()), (5, 6));
    let uses: uses<'_> = memory.get(sym::uses).unwrap();
    assert_eq!((uses.pointer().deref().unwrap().old(), uses.value().old()), (3, 4));
    let other: other_uses<'_> = memory.get(sym::other_uses).unwrap();
    assert_eq!((other.pointer().deref().unwrap().added(), other.value().new()), (5, 8));
    let shared: shared<'_> = memory.get(sym::shared).unwrap();
    assert_eq!((shared.a(), shared.b()), (1, 2));
    assert_eq!(memory.get(sym::also_shared).unwrap().b(), 10);
}

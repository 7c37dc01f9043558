use kstruct::{Memory, View as _};

use super::bindings::{constants, sym, *};
use super::data;
use crate::view;

pub fn check(memory: &Memory) {
    let s = memory.get(sym::sample).unwrap();
    let values: Vec<i16> = (0..u64::from(s.count()))
        .map(|index| s.elements().at(index).unwrap().value())
        .collect();
    assert_eq!(values, [10, 20, -30]);
    assert_eq!((flexible::SIZE, nothing::SIZE, holder::SIZE), (4, 0, 16));
    let old = memory.get(sym::old).unwrap();
    assert_eq!((old.count(), old.text().addr()), (2, old.addr() + 4));
    let holder = memory.get(sym::holder).unwrap();
    assert_eq!((holder.after(), holder.word(), holder.several().len()), (7, 0x41, 3));
    assert_eq!(holder.nothing().addr(), holder.addr());
    assert_eq!(holder.bytes().addr(), holder.addr() + 8);
}

use kstruct::{Memory, View as _};

use super::bindings::{constants, sym, *};
use super::data;
use crate::view;

pub fn check(memory: &Memory) {
    let s: keywords<'_> = view(memory, data::sample);
    assert_eq!((s.type_(), s.type__(), s.self_(), s.Self_(), s.match_(), s.fn_()), (1, 2, 3, 4, 5, 6));
    assert_eq!((s.crate_(), s.addr_(), s.at_(), s.new(), s.part()), (7, 8, 9, 10, 11));
    assert_eq!((s.a_b(), s.a_b_(), s.x64__()), (12, 13, 14));
    assert_eq!(view::<View_<'_>>(memory, data::view).a(), 21);
    assert_eq!(view::<u32_<'_>>(memory, data::u32).b(), 22);
    assert_eq!(view::<str_<'_>>(memory, data::str).c(), 23);
    assert_eq!(view::<async_<'_>>(memory, data::r#async).d(), 24);
    assert_eq!(view::<Raw_<'_>>(memory, data::raw).f(), 25);
    assert_eq!(memory.get(sym::type_).unwrap(), 27);
    assert_eq!(memory.get(sym::self_).unwrap(), names::name_);
    assert_eq!(format!("{:?} {:?}", names::INFO_, names::Self_), "INFO Self");
    assert_eq!(kstruct::offset_of!(keywords, type), 0);
}

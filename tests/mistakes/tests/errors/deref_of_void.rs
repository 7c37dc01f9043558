use kstruct::{Ptr, view::Void};

fn follow(pointer: Ptr<'_, Void>) {
    let _ = pointer.deref();
}

fn main() {}

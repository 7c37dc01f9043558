use kernel::block_device;
use kstruct::Ptr;

fn follow<'m>(pointer: Ptr<'m, block_device<'m>>) {
    let _ = pointer.deref();
}

fn main() {}

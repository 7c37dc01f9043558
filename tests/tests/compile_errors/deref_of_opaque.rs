use kernel::dentry;
use kstruct::Ptr;

fn follow<'m>(pointer: Ptr<'m, dentry<'m>>) {
    let _ = pointer.deref();
}

fn main() {}

use kstruct::View as _;

const _: usize = kernel::task_struct::INFO.offset_of("piid");

fn main() {}

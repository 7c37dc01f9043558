use kstruct::{Memory, View as _};

fn late(memory: Memory) -> i32 {
    let task = kernel::task_struct::at(&memory, 0).unwrap();
    drop(memory);
    task.pid()
}

fn main() {}

//! What the cases in `errors/` do wrong, done right: they fail for the reason that they are there for.
use kernel::{list_head, task_struct};
use kstruct::view::Void;
use kstruct::{Fault, Memory, Ptr, View as _};

const OFFSET: usize = task_struct::INFO.offset_of("pid");

fn pids(first: task_struct<'_>) -> Result<Vec<i32>, Fault> {
    first
        .tasks()
        .entries(task_struct::tasks)
        .map(|task| Ok(task?.pid()))
        .collect()
}

fn owner<'m>(link: list_head<'m>) -> Result<task_struct<'m>, Fault> {
    link.container_of(task_struct::tasks)
}

fn address(pointer: Ptr<'_, Void>) -> u64 {
    pointer.addr()
}

fn cast<'m>(pointer: Ptr<'m, Void>) -> Result<task_struct<'m>, Fault> {
    pointer.cast::<task_struct>().deref()
}

fn kept<'m>(memory: &'m Memory, at: u64) -> Result<task_struct<'m>, Fault> {
    task_struct::at(memory, at)
}

#[test]
fn what_is_done_right_compiles() {
    let _ = (pids, owner, address, cast, kept);
    const { assert!(OFFSET > 0 && OFFSET < task_struct::SIZE) };
}

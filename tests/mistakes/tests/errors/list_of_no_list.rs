fn walk(task: kernel::task_struct<'_>) {
    let _ = task.tasks().entries(kernel::task_struct::pid);
}

fn main() {}
